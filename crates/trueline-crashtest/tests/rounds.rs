//! A few rounds of each mode against a real server; `cargo xtask crash` runs many.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use trueline_crashtest::{Mode, Plan, run};

#[test]
#[ignore = "needs a server's binary in TRUELINE_BIN; `cargo xtask crash --quick` builds and sets it"]
fn nothing_acknowledged_is_lost_and_the_control_is_found_out() {
    let binary = std::env::var_os("TRUELINE_BIN").expect("TRUELINE_BIN names the server's binary");
    let plan = Plan { binary: binary.into(), rounds: 3, mode: Mode::All, seed: 1, clients: 8 };
    let mut told = Vec::new();
    let passed = run(&plan, &mut told).unwrap();
    assert!(passed, "{}", String::from_utf8_lossy(&told));
}
