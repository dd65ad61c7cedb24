//! The filter parsers under the fuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| trueline_fuzz::filters(text));
