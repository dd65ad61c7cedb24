//! The binary; what it does is the library's.

use mimalloc::MiMalloc;
use std::process::ExitCode;

/// Requests make many small values on one thread and drop them on another, at which the system's allocator is slow. Without
/// huge pages (`no_thp`), which take 20 MiB more at rest.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    trueline::run()
}
