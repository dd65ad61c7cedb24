//! What fuzzing starts from does no harm: so the harness works, and a seed that finds something is told here first.

#![allow(clippy::unwrap_used)]

use trueline_fuzz::{Bodies, body_seeds, filter_seeds, filters};

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
