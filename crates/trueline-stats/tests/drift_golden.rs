//! Drift measures against Evidently 0.7.23, NannyML and scipy 1.17.1: the numbers of `expected_evidently.txt`
//! and `expected_nannyml.txt`, made by `golden.py` and `golden_nml2.py`; the rest by `tests/golden/drift.py`.

#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use std::collections::BTreeMap;

use trueline_stats::drift::{
    KsMethod, chi_square_contingency, chi_square_goodness_of_fit, evidently, hellinger, kolmogorov_upper,
    ks_test, l_infinity, nannyml, normalised_wasserstein, two_proportion_z, wasserstein,
};

fn close(ours: f64, golden: f64, relative: f64) {
    assert!((ours - golden).abs() <= relative * golden.abs(), "{ours:e} against {golden:e}");
}

fn unit(i: u64, a: u64) -> f64 {
    ((i * a) % 10_007) as f64 / 10_007.0
}

fn sample(n: u64, a: u64, shift: f64) -> Vec<f64> {
    (0..n).map(|i| unit(i, a) * 10.0 + shift).collect()
}

fn check_evidently(reference: &[f64], current: &[f64], golden: [f64; 5]) {
    let shares = evidently::numeric_shares(reference, current, false).unwrap();
    close(evidently::filled_psi(shares.clone()).unwrap(), golden[0], 1e-13);
    close(evidently::jensen_shannon(&shares).unwrap(), golden[1], 1e-13);
    close(evidently::filled_kullback_leibler(shares).unwrap(), golden[2], 1e-13);
    close(normalised_wasserstein(reference, current).unwrap(), golden[3], 1e-12);
    close(evidently::numeric_hellinger(reference, current).unwrap(), golden[4], 1e-13);
}

#[test]
fn evidently_numbers_at_500_and_400_rows() {
    let (reference, current) = (sample(500, 7_919, 0.0), sample(400, 104_729, 0.5));
    let golden = [
        0.07049222617345581,
        0.09290842754541567,
        0.034724524645226115,
        0.16837321464666333,
        0.09338431177991673,
    ];
    check_evidently(&reference, &current, golden);
    let ks = ks_test(&reference, &current, KsMethod::Auto).unwrap();
    close(ks.p_value, 0.48375346168567085, 1e-13);
    assert!(ks.exact);
}

#[test]
fn evidently_numbers_at_5000_and_4000_rows() {
    let (reference, current) = (sample(5_000, 7_919, 0.0), sample(4_000, 104_729, 0.5));
    let golden = [
        0.1191957117668818,
        0.11857466774498962,
        0.060156472760223664,
        0.16931766188552572,
        0.12027095542881859,
    ];
    check_evidently(&reference, &current, golden);
    close(ks_test(&reference, &current, KsMethod::Auto).unwrap().p_value, 2.2035658800611108e-05, 1e-14);
}

#[test]
fn evidently_numbers_beyond_the_exact_limit() {
    let mut reference = sample(6_000, 7_919, 0.0);
    reference.extend(sample(6_000, 7_907, 0.0));
    let mut current = sample(6_000, 104_729, 0.2);
    current.extend(sample(5_000, 104_723, 0.2));
    let golden = [
        0.014286164066609765,
        0.042141198856916535,
        0.007141557237757015,
        0.06844333322533883,
        0.042199633482450497,
    ];
    check_evidently(&reference, &current, golden);
    let ks = ks_test(&reference, &current, KsMethod::Auto).unwrap();
    close(ks.p_value, 0.014492932793295204, 1e-12);
    assert!(!ks.exact);
}

fn categories(n: u64, a: u64, width: f64) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for i in 0..n {
        let letter = ["a", "b", "c", "d", "e", "f", "g"][((unit(i, a) * width) as usize).min(6)];
        *counts.entry(letter.to_owned()).or_insert(0) += 1;
    }
    counts
}

#[test]
fn evidently_numbers_of_categories() {
    for (n, m, golden) in [
        (500, 400, [1.056136538576016, 0.2283390215708137, 0.15296321304788885, 0.2720356001394379]),
        (5_000, 4_000, [1.0453317799239707, 0.22725578309053335, 0.15146129737839092, 0.27077293870146346]),
    ] {
        let (reference, current) = (categories(n, 7_919, 6.0), categories(m, 104_729, 7.0));
        let shares = evidently::category_shares(&reference, &current).unwrap();
        close(evidently::filled_psi(shares.clone()).unwrap(), golden[0], 1e-13);
        close(evidently::jensen_shannon(&shares).unwrap(), golden[1], 1e-13);
        close(hellinger(&shares.0, &shares.1).unwrap(), golden[3], 1e-13);
        close(evidently::filled_kullback_leibler(shares).unwrap(), golden[2], 1e-13);
        let mut expected: Vec<u64> = reference.into_values().collect();
        expected.push(0);
        let seen: Vec<u64> = current.into_values().collect();
        assert!(chi_square_goodness_of_fit(&expected, &seen).unwrap().p_value.abs() < 1e-300);
    }
    close(two_proportion_z((200, 500), (185, 400)).unwrap().p_value, 0.05968158432630788, 1e-12);
}

#[test]
fn few_distinct_values_are_categories_and_integers_make_unit_bins() {
    let reference: Vec<f64> = (0..500_u64).map(|i| ((i * 7_919) % 25) as f64).collect();
    let current: Vec<f64> = (0..400_u64).map(|i| ((i * 104_729) % 25) as f64).collect();
    assert_eq!(evidently::numeric_shares(&reference, &current, true).unwrap().0.len(), 11);
    assert_eq!(evidently::numeric_shares(&reference, &current, false).unwrap().0.len(), 11);
    let few: Vec<f64> = (0..100_u32).map(|i| f64::from(i % 4)).collect();
    assert_eq!(
        evidently::numeric_shares(&few, &[0.0, 9.0], false).unwrap(),
        (vec![0.25, 0.25, 0.25, 0.25, 0.0], vec![0.5, 0.0, 0.0, 0.0, 0.5])
    );
}

#[test]
fn nannyml_numbers_of_the_first_chunk() {
    let column = |n: u64, offset: u64, shift: f64| -> Vec<f64> {
        (offset..offset + n).map(|i| unit(i, 7_919) * 10.0 + shift).collect()
    };
    let letters = |n: u64, offset: u64| -> Vec<u64> {
        let mut counts = vec![0; 4];
        (offset..offset + n).for_each(|i| counts[((unit(i, 1_299_709).powi(2) * 4.0) as usize).min(3)] += 1);
        counts
    };
    let (reference, chunk) = (column(5_000, 1, 0.0), column(500, 6_000, 0.5));
    close(ks_test(&reference, &chunk, KsMethod::Auto).unwrap().statistic, 0.0528, 1e-12);
    close(wasserstein(&reference, &chunk).unwrap(), 0.48770540621564906, 1e-12);
    let shares = nannyml::numeric_shares(&reference, &chunk).unwrap();
    close(nannyml::jensen_shannon(&shares).unwrap(), 0.1873073158473906, 1e-12);
    close(hellinger(&shares.0, &shares.1).unwrap(), 0.17939229532616566, 1e-12);
    let (reference, chunk) = (letters(5_000, 1), letters(500, 6_000));
    close(chi_square_contingency(&reference, &chunk).unwrap().statistic, 1.0430856527572447, 1e-12);
    let share = |counts: &[u64]| -> Vec<f64> {
        let total: u64 = counts.iter().sum();
        counts.iter().map(|&count| count as f64 / total as f64).collect()
    };
    let shares = (share(&reference), share(&chunk));
    close(nannyml::jensen_shannon(&shares).unwrap(), 0.020551352209365603, 1e-10);
    close(l_infinity(&shares.0, &shares.1).unwrap(), 0.014000000000000012, 1e-12);
    close(hellinger(&shares.0, &shares.1).unwrap(), 0.01711177671842328, 1e-10);
}

#[test]
fn the_kolmogorov_distribution_matches_scipy_in_every_region() {
    for (n, d, golden, relative) in KOLMOGOROV {
        close(kolmogorov_upper(n, d), golden, relative);
    }
}

#[test]
fn chi_square_matches_scipy() {
    let fit = chi_square_goodness_of_fit(&[50, 30, 20], &[22, 19, 9]).unwrap();
    close(fit.statistic, CHI_SQUARE[0], 1e-13);
    close(fit.p_value, CHI_SQUARE[1], 1e-12);
    let table = chi_square_contingency(&[50, 30, 20], &[22, 19, 9]).unwrap();
    close(table.statistic, CHI_SQUARE[2], 1e-13);
    close(table.p_value, CHI_SQUARE[3], 1e-12);
    for (n, m, golden) in KS_EXACT {
        let p = ks_test(&sample(n, 7_919, 0.0), &sample(m, 104_729, 1.5), KsMethod::Exact).unwrap().p_value;
        close(p, golden, 1e-13);
    }
}

const KOLMOGOROV: [(u64, f64, f64, f64); 13] = [
    (10, 0.06, 0.9999999999628411, 1e-12),
    (10, 0.95, 1.9531250000000172e-13, 1e-12),
    (50, 0.6, 9.634070456142374e-18, 1e-11),
    (50, 0.1, 0.6623112704658186, 1e-12),
    (50, 0.2, 0.03143877776953241, 1e-11),
    (50, 0.4, 9.86356336441006e-08, 1e-12),
    (1000, 0.0008, 1.0, 1e-11),
    (1000, 0.02, 0.8108971656895577, 1e-12),
    (5739, 0.012, 0.37736243893678234, 1e-11),
    (5739, 0.0177, 0.054218811269734934, 1e-12),
    (100000, 0.003, 0.3284563327726956, 1e-09),
    (3000000, 0.0004, 0.7229927521576703, 1e-09),
    (1000, 0.1, 3.703687096817711e-09, 1e-12),
];
const CHI_SQUARE: [f64; 4] = [1.5266666666666668, 0.4661101341822671, 0.9720267417311752, 0.6150735831923397];
const KS_EXACT: [(u64, u64, f64); 5] = [
    (7, 5, 0.6388888888888888),
    (300, 300, 0.0009055129810100997),
    (1000, 900, 5.307024804886215e-10),
    (20, 2000, 0.19736344314357135),
    (6000, 6000, 1.5542467139498705e-59),
];
