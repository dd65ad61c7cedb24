//! What a target does before its first input.

use std::path::Path;

/// Names the folder to which a target writes what it starts from.
const SEEDS: &str = "TRUELINE_FUZZ_SEEDS";

/// Writes the seeds, a file each, where the fuzzer looks for them, and has it spare panics that the product contains.
///
/// # Panics
/// When they can't be written.
pub fn begin(seeds: Vec<Vec<u8>>) {
    trueline_query::keep_contained_panics_quiet();
    let Some(folder) = std::env::var_os(SEEDS) else { return };
    for (n, seed) in seeds.into_iter().enumerate() {
        let file = Path::new(&folder).join(format!("{n:03}"));
        std::fs::write(&file, seed).unwrap_or_else(|e| panic!("{} can't be written: {e}", file.display()));
    }
}
