//! The filter parsers under the fuzzer.
#![no_main]

use trueline_fuzz::{begin, filter_seeds, filters};

libfuzzer_sys::fuzz_target!(init: begin(filter_seeds()), |text: &str| filters(text));
