//! A few crashes of the real server: `kill -9` and power cuts under load, and the control that must be found out.
//! `cargo xtask crash` runs 50 rounds of each on the server as it is shipped.

#![allow(clippy::unwrap_used)]

use trueline_crashtest::{Length, Mode, Plan, run};

fn plan(mode: Mode) -> Plan {
    Plan {
        binary: env!("CARGO_BIN_EXE_trueline").into(),
        length: Length::Rounds(2),
        mode,
        seed: 1,
        clients: 6,
    }
}

#[test]
fn a_server_that_crashes_keeps_what_it_acknowledged_and_without_fsyncs_it_is_found_out() {
    let mut told = Vec::new();
    let passed = run(&plan(Mode::All), &mut told).unwrap();
    assert!(passed, "{}", String::from_utf8_lossy(&told));
}
