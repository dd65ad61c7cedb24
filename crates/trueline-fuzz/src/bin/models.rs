//! Files of models under the fuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| trueline_fuzz::models(input));
