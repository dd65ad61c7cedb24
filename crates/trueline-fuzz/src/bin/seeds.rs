//! Writes the seeds, a file each, below the folder that is named.

use std::path::Path;
use trueline_fuzz::{body_seeds, filter_seeds, model_seeds, scoring_seeds};

fn main() -> std::io::Result<()> {
    let folder = std::env::args_os().nth(1).unwrap_or_else(|| "target/fuzz".into());
    let seeds = Path::new(&folder).join("seeds");
    for (target, inputs) in [
        ("filters", filter_seeds()),
        ("bodies", body_seeds()),
        ("scoring", scoring_seeds()),
        ("models", model_seeds()),
    ] {
        let folder = seeds.join(target);
        std::fs::create_dir_all(&folder)?;
        for (n, input) in inputs.iter().enumerate() {
            std::fs::write(folder.join(format!("{n:03}")), input)?;
        }
    }
    Ok(())
}
