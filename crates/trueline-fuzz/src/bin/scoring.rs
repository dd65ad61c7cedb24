//! Requests of the scoring wires under the fuzzer.
#![no_main]

use std::sync::{LazyLock, Mutex};
use trueline_fuzz::{Scoring, begin, scoring_seeds};

static SCORING: LazyLock<Mutex<Scoring>> =
    LazyLock::new(|| Mutex::new(Scoring::start().unwrap_or_else(|e| panic!("the model is not served: {e}"))));

libfuzzer_sys::fuzz_target!(
    init: begin(scoring_seeds()),
    |input: &[u8]| {
        let mut scoring = SCORING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Err(finding) = scoring.send(input) {
            panic!("{finding}");
        }
    }
);
