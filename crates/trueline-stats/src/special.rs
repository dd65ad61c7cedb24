//! Special functions that the tests need: incomplete gamma and beta (in logs), normal and chi-square tails.
//! `lgamma` and `erfc` come from `libm` (FreeBSD msun); the rest is written here, with its source, and held
//! against scipy.

use std::f64::consts::{LN_2, PI, SQRT_2};

use crate::error::{StatsError, open_unit, positive};

/// ln Γ(x), x > 0.
#[must_use]
pub fn ln_gamma(x: f64) -> f64 {
    libm::lgamma(x)
}

/// ln B(a, b) = ln Γ(a) + ln Γ(b) - ln Γ(a+b), a, b > 0.
#[must_use]
pub fn ln_beta(a: f64, b: f64) -> f64 {
    ln_gamma(a) + ln_gamma(b) - ln_gamma(a + b)
}

/// ln Σ exp(v) without overflow; minus infinity for an empty slice.
#[must_use]
pub fn log_sum_exp(values: &[f64]) -> f64 {
    let peak = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if peak.is_infinite() {
        return peak;
    }
    peak + values.iter().map(|v| (v - peak).exp()).sum::<f64>().ln()
}

/// ln(1 - e^x) for x <= 0, accurate at both ends (Mächler 2012, "Accurately computing log(1 - exp(-|a|))").
#[must_use]
pub fn ln_one_minus_exp(x: f64) -> f64 {
    if x > -LN_2 { (-x.exp_m1()).ln() } else { (-x.exp()).ln_1p() }
}

/// Both tails of the regularised incomplete beta function in logs: (ln I_x(a,b), ln(1 - I_x(a,b))), a, b > 0.
///
/// Continued fraction DLMF 8.17.22 by the modified Lentz method, evaluated on the side where it converges
/// fast, so the smaller tail keeps its relative precision however far out it lies. Terms needed grow as
/// √max(a, b).
#[must_use]
pub fn ln_beta_tails(a: f64, b: f64, x: f64) -> (f64, f64) {
    if x <= 0.0 {
        return (f64::NEG_INFINITY, 0.0);
    }
    if x >= 1.0 {
        return (0.0, f64::NEG_INFINITY);
    }
    let prefix = a * x.ln() + b * (-x).ln_1p() - ln_beta(a, b);
    if x < (a + 1.0) / (a + b + 2.0) {
        let lower = (prefix + beta_fraction(a, b, x).ln() - a.ln()).min(0.0);
        (lower, ln_one_minus_exp(lower))
    } else {
        let upper = (prefix + beta_fraction(b, a, 1.0 - x).ln() - b.ln()).min(0.0);
        (ln_one_minus_exp(upper), upper)
    }
}

/// The upper bound of a rate after `hits` of `trials`, by Clopper & Pearson (1934): the θ with P(Bin(trials, θ) <= hits) =
/// `miss`, above which the rate lies with a chance of at most `miss`. 1 where every trial was a hit.
#[must_use]
pub fn upper_rate(hits: u64, trials: u64, miss: f64) -> f64 {
    if hits >= trials {
        return 1.0;
    }
    let (mut low, mut high) = (hits as f64 / trials as f64, 1.0);
    for _ in 0..60 {
        let middle = 0.5 * (low + high);
        // P(Bin <= k) = 1 - I_θ(k+1, n-k)
        if ln_beta_tails((hits + 1) as f64, (trials - hits) as f64, middle).1 > miss.ln() {
            low = middle;
        } else {
            high = middle;
        }
    }
    high
}

fn beta_fraction(a: f64, b: f64, x: f64) -> f64 {
    const TINY: f64 = 1e-300;
    const MOST_TERMS: u32 = 1_000_000;
    let away_from_zero = |v: f64| if v.abs() < TINY { TINY } else { v };
    let mut c = 1.0;
    let mut d = 1.0 / away_from_zero(1.0 - (a + b) * x / (a + 1.0));
    let mut fraction = d;
    for term in 1..MOST_TERMS {
        let m = f64::from(term);
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        d = 1.0 / away_from_zero(1.0 + even * d);
        c = away_from_zero(1.0 + even / c);
        fraction *= d * c;
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        d = 1.0 / away_from_zero(1.0 + odd * d);
        c = away_from_zero(1.0 + odd / c);
        fraction *= d * c;
        if (d * c - 1.0).abs() < 1e-15 {
            break;
        }
    }
    fraction
}

/// The upper regularised incomplete gamma function Q(a, x) = Γ(a, x)/Γ(a), a > 0, x >= 0.
///
/// Series DLMF 8.11.4 below a+1, continued fraction DLMF 8.9.2 (Lentz) above.
#[must_use]
pub fn gamma_upper(a: f64, x: f64) -> f64 {
    if x <= 0.0 {
        return 1.0;
    }
    let prefix = a * x.ln() - x - ln_gamma(a);
    if x < a + 1.0 {
        let (mut term, mut sum, mut k) = (1.0 / a, 1.0 / a, a);
        while term > sum * 1e-17 {
            k += 1.0;
            term *= x / k;
            sum += term;
        }
        return (1.0 - (prefix + sum.ln()).exp()).clamp(0.0, 1.0);
    }
    let mut b = x + 1.0 - a;
    let mut c = 1e300;
    let mut d = 1.0 / b;
    let mut fraction = d;
    for step in 1..1_000_000_u32 {
        let i = f64::from(step);
        let numerator = -i * (i - a);
        b += 2.0;
        d = 1.0 / (numerator * d + b);
        c = b + numerator / c;
        fraction *= d * c;
        if (d * c - 1.0).abs() < 1e-15 {
            break;
        }
    }
    (prefix + fraction.ln()).exp().clamp(0.0, 1.0)
}

/// P(χ²_dof > x).
///
/// # Errors
/// `dof` must be positive.
pub fn chi_square_upper(x: f64, dof: f64) -> Result<f64, StatsError> {
    positive("degrees of freedom", dof)?;
    Ok(gamma_upper(dof / 2.0, x.max(0.0) / 2.0))
}

/// The x with P(χ²_dof > x) = `upper`: the (1 - upper) quantile. Bisection on [`chi_square_upper`], to 1e-14
/// relative.
///
/// # Errors
/// `dof` must be positive and `upper` inside (0, 1).
pub fn chi_square_quantile_upper(upper: f64, dof: f64) -> Result<f64, StatsError> {
    open_unit("upper tail", upper)?;
    positive("degrees of freedom", dof)?;
    let (mut low, mut high) = (0.0, dof + 10.0);
    while gamma_upper(dof / 2.0, high / 2.0) > upper {
        low = high;
        high *= 2.0;
    }
    while high - low > 1e-14 * high {
        let middle = 0.5 * (low + high);
        if middle <= low || middle >= high {
            break;
        }
        if gamma_upper(dof / 2.0, middle / 2.0) > upper {
            low = middle;
        } else {
            high = middle;
        }
    }
    Ok(0.5 * (low + high))
}

/// P(Z > z) for a standard normal Z: erfc(z/√2)/2.
#[must_use]
pub fn normal_upper(z: f64) -> f64 {
    0.5 * libm::erfc(z / SQRT_2)
}

/// The z with P(Z > z) = `upper`. Newton steps on ln P from the tail expansion's first term.
///
/// # Errors
/// `upper` must be inside (0, 1).
pub fn normal_quantile_upper(upper: f64) -> Result<f64, StatsError> {
    open_unit("upper tail", upper)?;
    if upper > 0.5 {
        return Ok(-normal_quantile_upper(1.0 - upper)?);
    }
    let mut z = (-2.0 * upper.ln()).sqrt() - 1.0;
    for _ in 0..60 {
        let tail = normal_upper(z);
        let density = (-0.5 * z * z).exp() / (2.0 * PI).sqrt();
        let step = tail * (tail.ln() - upper.ln()) / density;
        z += step;
        if step.abs() <= 1e-15 * (1.0 + z.abs()) {
            break;
        }
    }
    Ok(z)
}

/// ln n! - [ln √(2πn) + n ln n - n]: what Stirling's formula leaves out (Loader 2000). n >= 0.
fn stirling_error(n: f64) -> f64 {
    if n <= 15.0 {
        return if n == 0.0 {
            0.0
        } else {
            ln_gamma(n + 1.0) - (n + 0.5) * n.ln() + n - 0.5 * (2.0 * PI).ln()
        };
    }
    let nn = n * n;
    (1.0 / 12.0 - (1.0 / 360.0 - (1.0 / 1260.0 - (1.0 / 1680.0 - 1.0 / (1188.0 * nn)) / nn) / nn) / nn) / n
}

/// Loader's deviance x ln(x/m) + m - x, without cancellation near x = m.
fn deviance(x: f64, mean: f64) -> f64 {
    if (x - mean).abs() < 0.1 * (x + mean) {
        let v = (x - mean) / (x + mean);
        let mut sum = (x - mean) * v;
        let mut power = 2.0 * x * v;
        for odd in (3..2000).step_by(2) {
            power *= v * v;
            let next = sum + power / f64::from(odd);
            if next == sum {
                break;
            }
            sum = next;
        }
        return sum;
    }
    x * (x / mean).ln() + mean - x
}

/// The binomial probability C(n,x) p^x (1-p)^(n-x) to almost full precision (Loader 2000, "Fast and accurate
/// computation of binomial probabilities"). 0 <= x <= n integers, p in [0, 1].
#[must_use]
pub fn binomial_pmf(x: f64, n: f64, p: f64) -> f64 {
    let q = 1.0 - p;
    if p <= 0.0 {
        return f64::from(x == 0.0);
    }
    if q <= 0.0 {
        return f64::from(x == n);
    }
    if x == 0.0 {
        return (n * (-p).ln_1p()).exp();
    }
    if x == n {
        return (n * p.ln()).exp();
    }
    let exponent = stirling_error(n)
        - stirling_error(x)
        - stirling_error(n - x)
        - deviance(x, n * p)
        - deviance(n - x, n * q);
    exponent.exp() * (n / (2.0 * PI * x * (n - x))).sqrt()
}
