//! What fuzzing starts from does no harm: so the harness works, and a seed that finds something is told here first.

#![allow(clippy::unwrap_used)]

use trueline_fuzz::{Bodies, Scoring, body_seeds, filter_seeds, filters, model_seeds, models, scoring_seeds};

#[test]
fn filters_of_the_seeds_come_to_an_end() {
    for seed in filter_seeds() {
        filters(std::str::from_utf8(&seed).unwrap());
    }
}

#[test]
fn bodies_of_the_seeds_are_answered_without_a_fault_of_the_server() {
    let mut bodies = Bodies::start().unwrap();
    let findings: Vec<String> =
        body_seeds().iter().filter_map(|seed| bodies.send(seed).err()).map(|f| f.to_string()).collect();
    assert!(findings.is_empty(), "{}", findings.join("\n\n"));
}

#[test]
fn requests_of_the_seeds_are_answered_without_a_fault_of_the_server() {
    let mut scoring = Scoring::start().unwrap();
    let findings: Vec<String> =
        scoring_seeds().iter().filter_map(|seed| scoring.send(seed).err()).map(|f| f.to_string()).collect();
    assert!(findings.is_empty(), "{}", findings.join("\n\n"));
}

#[test]
fn models_of_the_seeds_are_read_or_refused() {
    for seed in model_seeds() {
        models(&seed);
        // Damaged a little, too.
        for at in (0..seed.len()).step_by(97) {
            let mut damaged = seed.clone();
            damaged[at] ^= 0x41;
            models(&damaged);
        }
    }
}
