//! Files of models under the fuzzer.
#![no_main]

use trueline_fuzz::{begin, model_seeds, models};

libfuzzer_sys::fuzz_target!(init: begin(model_seeds()), |input: &[u8]| models(input));
