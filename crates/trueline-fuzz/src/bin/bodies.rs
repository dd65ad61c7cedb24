//! JSON bodies under the fuzzer.
#![no_main]

use std::sync::{LazyLock, Mutex};
use trueline_fuzz::{Bodies, begin, body_seeds};

static BODIES: LazyLock<Mutex<Bodies>> = LazyLock::new(|| {
    Mutex::new(Bodies::start().unwrap_or_else(|e| panic!("the server does not start: {e}")))
});

libfuzzer_sys::fuzz_target!(
    init: begin(body_seeds()),
    |input: &[u8]| {
        let mut bodies = BODIES.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Err(finding) = bodies.send(input) {
            panic!("{finding}");
        }
    }
);
