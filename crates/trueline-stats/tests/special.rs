//! Special functions against scipy 1.17.1; the calls are in `tests/golden/sequential.py`.
//! Tolerances are relative, and for the smaller tail where there are two.

#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use trueline_stats::special::{
    binomial_pmf, chi_square_quantile_upper, gamma_upper, ln_beta_tails, ln_gamma, normal_quantile_upper,
    normal_upper,
};

fn close(ours: f64, golden: f64, relative: f64) {
    assert!((ours - golden).abs() <= relative * golden.abs().max(1e-300), "{ours:e} against {golden:e}");
}

#[test]
fn gamma_functions_match_scipy() {
    for (x, golden) in [
        (0.5, 0.5723649429247),
        (3.7, 1.428072326665388),
        (1e-3, 6.907178885383853),
        (12345.6, 103959.18506616844),
    ] {
        close(ln_gamma(x), golden, 1e-14);
    }
    for (a, x, golden) in [
        (0.5, 0.3, 0.4385780260809997),
        (4.5, 2.0, 0.9114125268316792),
        (4.5, 30.0, 1.3406780483959625e-9),
        (100.0, 90.0, 0.84177901081357),
        (1000.0, 1200.0, 1.288160608628143e-9),
    ] {
        close(gamma_upper(a, x), golden, 1e-11);
    }
}

#[test]
fn incomplete_beta_tails_match_scipy_in_logs() {
    for (a, b, x, lower, upper) in [
        (2.0, 3.0, 0.4, -0.6447380413522579, -0.744019510933702),
        (0.5, 0.5, 0.01, -2.752494986597868, -0.06589256902921664),
        (120.5, 2000.0, 0.02, -52.14750400617648, 0.0),
        (99.0, 1.0, 0.99, -0.9949832494966436, -0.46160640506588335),
        (5000.0, 5000.0, 0.52, -3.147141153995238e-5, -10.366446730047485),
    ] {
        let (ours_lower, ours_upper) = ln_beta_tails(a, b, x);
        close(ours_lower, lower, 1e-10);
        assert!((ours_upper - upper).abs() < 1e-10, "{ours_upper} against {upper}");
    }
}

#[test]
fn chi_square_and_normal_tails_match_scipy() {
    for (upper, dof, golden) in [
        (0.05, 9.0, 16.91897760462045),
        (0.01, 9.0, 21.665994333461928),
        (0.001, 1.0, 10.827566170662733),
        (0.5, 30.0, 29.336031516661585),
        (1e-10, 4.0, 52.66796321106174),
    ] {
        close(chi_square_quantile_upper(upper, dof).unwrap(), golden, 1e-12);
    }
    for (z, golden) in [
        (0.0, 0.5),
        (1.0, 0.15865525393145707),
        (1.959963984540054, 0.025),
        (6.0, 9.865876450376946e-10),
        (20.0, 2.7536241186061556e-89),
        (-2.0, 0.9772498680518208),
    ] {
        close(normal_upper(z), golden, 1e-13);
    }
    for (upper, golden) in
        [(0.025, 1.9599639845400545), (0.9, -1.2815515655446004), (1e-12, 7.034483825301131)]
    {
        close(normal_quantile_upper(upper).unwrap(), golden, 1e-13);
    }
    assert!(normal_quantile_upper(0.5).unwrap().abs() < 1e-15);
}

#[test]
fn binomial_probabilities_keep_full_precision_at_large_n() {
    for (x, n, p, golden) in [
        (3.0, 10.0, 0.3, 0.2668279319999998),
        (0.0, 10.0, 0.3, 0.0282475249),
        (500.0, 1000.0, 0.5, 0.025225018178360804),
        (5600.0, 5739.0, 0.98, 0.002969920800892829),
        (40.0, 5739.0, 0.01, 0.0032182230102253215),
    ] {
        close(binomial_pmf(x, n, p), golden, 1e-12);
    }
}
