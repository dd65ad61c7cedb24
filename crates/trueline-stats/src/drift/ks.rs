//! The two-sample Kolmogorov-Smirnov test, exact and asymptotic, as scipy's `ks_2samp` decides between them.
//! The one-sample distribution behind the asymptotic form is in `kolmogorov`.

use super::divergence::sorted;
use super::kolmogorov::kolmogorov_upper;
use crate::error::StatsError;

/// Up to this size of the larger sample the exact distribution is used (scipy's `MAX_AUTO_N`).
const LARGEST_EXACT: usize = 10_000;

/// How the p-value is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KsMethod {
    /// Exact while the larger sample has at most 10,000 values, else asymptotic.
    Auto,
    /// Lattice paths, O(n·m) time and O(m) memory.
    Exact,
    /// The one-sample distribution at n·m/(n+m) observations.
    Asymptotic,
}

/// Statistic and two-sided p-value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct KsTest {
    /// sup |F - G|.
    pub statistic: f64,
    /// P(D >= statistic) if both samples come from one continuous distribution. With ties it is conservative.
    pub p_value: f64,
    /// True when the p-value is from the exact distribution.
    pub exact: bool,
}

/// Kolmogorov-Smirnov test of two samples. The statistic is computed in integers, hence exactly.
///
/// # Errors
/// A sample is empty or holds a value that is not finite.
pub fn ks_test(reference: &[f64], current: &[f64], method: KsMethod) -> Result<KsTest, StatsError> {
    let (reference, current) = (sorted(reference, "reference")?, sorted(current, "current")?);
    let (n, m) = (reference.len() as u64, current.len() as u64);
    let gap = largest_gap(&reference, &current);
    let divisor = greatest_common_divisor(n, m);
    let statistic = gap as f64 / (n as f64 * m as f64);
    let exact = match method {
        KsMethod::Auto => reference.len().max(current.len()) <= LARGEST_EXACT,
        KsMethod::Exact => true,
        KsMethod::Asymptotic => false,
    };
    let p_value = if !exact {
        let effective = n as f64 * m as f64 / (n + m) as f64;
        kolmogorov_upper(effective.round_ties_even() as u64, statistic)
    } else if gap == 0 {
        1.0
    } else if n == m {
        equal_sizes(n, gap / n)
    } else {
        lattice(n.max(m), n.min(m), divisor, gap / divisor)
    };
    Ok(KsTest { statistic, p_value: p_value.clamp(0.0, 1.0), exact })
}

/// max |i·m - j·n| over the steps of both empirical distributions; a multiple of gcd(n, m).
fn largest_gap(reference: &[f64], current: &[f64]) -> u64 {
    let (n, m) = (reference.len() as u64, current.len() as u64);
    let (mut i, mut j, mut largest) = (0_usize, 0_usize, 0);
    while i < reference.len() && j < current.len() {
        let at = reference[i].min(current[j]);
        while reference.get(i).is_some_and(|&x| x <= at) {
            i += 1;
        }
        while current.get(j).is_some_and(|&x| x <= at) {
            j += 1;
        }
        largest = largest.max((i as u64 * m).abs_diff(j as u64 * n));
    }
    largest
}

fn greatest_common_divisor(mut a: u64, mut b: u64) -> u64 {
    while b > 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// P(D >= h/n) for n = m: 2·A0(1 - A1(1 - A2(…))), A_k the ratio of neighbouring binomials (Gnedenko &
/// Korolyuk 1951).
fn equal_sizes(n: u64, h: u64) -> f64 {
    let mut p = 0.0;
    for k in (0..=n / h).rev() {
        let mut factor = 1.0;
        for j in 0..h {
            factor = (n as f64 - (k * h + j) as f64) * factor / (n + k * h + j + 1) as f64;
        }
        p = factor * (1.0 - p);
    }
    2.0 * p
}

/// P(D >= h/lcm): the share of lattice paths from (0,0) to (m,n), m > n, that leave the band |x·n/g - y·m/g|
/// < h (Hodges 1958). A(x,y) = A(x-1,y)·x/(x+y) + A(x,y-1)·y/(x+y) with A = 1 outside the band: the outer
/// probability is summed itself, so small p-values keep their precision, which 1 - (inner probability) does
/// not.
fn lattice(m: u64, n: u64, divisor: u64, h: u64) -> f64 {
    let (m_step, n_step) = (m / divisor, n / divisor);
    let outside = |x: u64, y: u64| (x * n_step).abs_diff(y * m_step) >= h;
    let mut column = vec![1.0; n as usize + 1];
    for (y, cell) in (0..).zip(column.iter_mut()) {
        if outside(0, y) {
            break;
        }
        *cell = 0.0;
    }
    let (mut from, mut to) = (0_u64, 0_u64);
    for x in 1..=m {
        // The band of column x: y from `from` to before `to`; both only move up.
        while from <= n && x * n_step >= from * m_step + h {
            column[from as usize] = 1.0;
            from += 1;
        }
        to = to.max(from);
        while to <= n && !outside(x, to) {
            to += 1;
        }
        let mut below = if from == 0 { 0.0 } else { 1.0 };
        for y in from..to {
            let cell = &mut column[y as usize];
            below = (*cell * x as f64 + below * y as f64) / (x + y) as f64;
            *cell = below;
        }
    }
    column[n as usize]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_samples_match_counting_by_hand() {
        // n = m = 3, disjoint: 2 of C(6,3) = 20 orders have D = 1.
        let test = ks_test(&[1.0, 2.0, 3.0], &[4.0, 5.0, 6.0], KsMethod::Exact).unwrap();
        assert!((test.statistic - 1.0).abs() < 1e-15 && (test.p_value - 0.1).abs() < 1e-15);
        // n = 2, m = 1: D = 1 in 2 of 3 orders.
        let test = ks_test(&[1.0, 2.0], &[3.0], KsMethod::Exact).unwrap();
        assert!((test.p_value - 2.0 / 3.0).abs() < 1e-15, "{}", test.p_value);
        assert!((ks_test(&[1.0, 1.0], &[1.0], KsMethod::Exact).unwrap().p_value - 1.0).abs() < 1e-15);
        assert!(ks_test(&[f64::NAN], &[1.0], KsMethod::Auto).is_err());
    }
}
