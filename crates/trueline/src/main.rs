//! The binary; what it does is the library's.

mod allocator;

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: allocator::Collecting = allocator::Collecting;

fn main() -> ExitCode {
    trueline::run()
}
