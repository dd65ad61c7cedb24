//! The distribution of the one-sample Kolmogorov statistic D_n, by the regions of Simard & L'Ecuyer,
//! "Computing the two-sided Kolmogorov-Smirnov distribution" (J. Stat. Software 2011), with scipy's choice of
//! method in each.

use std::f64::consts::PI;

use crate::special::{binomial_pmf, ln_gamma};

/// P(D_n >= d) for a sample of `n` from a continuous distribution.
///
/// Exact (Ruben-Gambino, Durbin's matrix by Marsaglia, Tsang & Wang 2003, twice Smirnov's one-sided tail) but
/// for large n with small n·d², where Pelz & Good (1976) is good to five digits or more. `n` = 0 gives 1.
#[must_use]
pub fn kolmogorov_upper(n: u64, d: f64) -> f64 {
    let size = n as f64;
    let t = size * d;
    if n == 0 || d <= 0.0 || t <= 0.5 {
        return 1.0;
    }
    if d >= 1.0 {
        return 0.0;
    }
    let scaled = t * d;
    let upper = if t <= 1.0 {
        1.0 - (ln_gamma(size + 1.0) + size * ((2.0 * t - 1.0).ln() - size.ln())).exp()
    } else if t >= size - 1.0 {
        2.0 * (1.0 - d).powf(size)
    } else if d >= 0.5 || scaled >= 4.0 || (n > 140 && scaled >= 2.2) {
        2.0 * smirnov_upper(n, d)
    } else if n <= 140 || (n <= 100_000 && size * d.powf(1.5) <= 1.4) {
        1.0 - durbin_matrix(n, d)
    } else {
        pelz_good_upper(size, d)
    };
    upper.clamp(0.0, 1.0)
}

/// Smirnov's one-sided tail P(D_n^+ >= d) = d Σ_{j<=n(1-d)} C(n,j) (d + j/n)^{j-1} (1 - d - j/n)^{n-j}, each
/// term a binomial probability at x = d + j/n, over x.
fn smirnov_upper(n: u64, d: f64) -> f64 {
    let size = n as f64;
    let last = (size * (1.0 - d)).floor() as u64;
    let term = |j: u64| {
        let x = d + j as f64 / size;
        if x >= 1.0 { 0.0 } else { binomial_pmf(j as f64, size, x) / x }
    };
    d * (0..=last).map(term).sum::<f64>()
}

/// P(D_n < d) by the k-th diagonal element of Durbin's matrix to the power n, times n!/n^n.
fn durbin_matrix(n: u64, d: f64) -> f64 {
    let t = n as f64 * d;
    let k = t.ceil() as usize;
    let h = k as f64 - t;
    let matrix = Matrix::durbin(2 * k - 1, h);
    let (power, mut exponent) = matrix.raised_to(n);
    let mut p = power.at(k - 1, k - 1);
    for i in 1..=n {
        p *= i as f64 / n as f64;
        if p < SMALL {
            p /= SMALL;
            exponent -= 1;
        }
    }
    p * SMALL.powi(-exponent)
}

/// 2^-128: a power of two, so that rescaling loses no bits.
const SMALL: f64 = 1.0 / (1_u128 << 127) as f64 / 2.0;

#[derive(Clone)]
struct Matrix {
    order: usize,
    cells: Vec<f64>,
}

impl Matrix {
    fn at(&self, row: usize, column: usize) -> f64 {
        self.cells[row * self.order + column]
    }

    fn durbin(order: usize, h: f64) -> Self {
        let factorial_inverse: Vec<f64> = (0..=order)
            .scan(1.0, |f, i| {
                if i > 0 {
                    *f /= i as f64;
                }
                Some(*f)
            })
            .collect();
        let mut matrix = Self { order, cells: vec![0.0; order * order] };
        for row in 0..order {
            for column in 1..=(row + 1).min(order - 1) {
                matrix.cells[row * order + column] = factorial_inverse[row + 1 - column];
            }
        }
        let edge: Vec<f64> = (1..=order).map(|i| (1.0 - h.powi(i as i32)) * factorial_inverse[i]).collect();
        for (i, &value) in edge.iter().enumerate() {
            matrix.cells[i * order] = value;
            matrix.cells[(order - 1) * order + order - 1 - i] = value;
        }
        let corner = (2.0 * h - 1.0).max(0.0).powi(order as i32) - 2.0 * h.powi(order as i32);
        matrix.cells[(order - 1) * order] = (1.0 + corner) * factorial_inverse[order];
        matrix
    }

    fn times(&self, other: &Self) -> Self {
        let order = self.order;
        let mut product = Self { order, cells: vec![0.0; order * order] };
        for row in 0..order {
            for inner in 0..order {
                let factor = self.at(row, inner);
                for column in 0..order {
                    product.cells[row * order + column] += factor * other.at(inner, column);
                }
            }
        }
        product
    }

    /// (M, e) with self^power = M · 2^(128 e).
    fn raised_to(&self, mut power: u64) -> (Self, i32) {
        let mut base = self.clone();
        let mut base_exponent = 0;
        let mut result: Option<(Self, i32)> = None;
        while power > 0 {
            if power & 1 == 1 {
                result = Some(match result {
                    Some((matrix, exponent)) => (matrix.times(&base), exponent + base_exponent),
                    None => (base.clone(), base_exponent),
                });
            }
            power >>= 1;
            if power > 0 {
                base = base.times(&base);
                base_exponent *= 2;
                if base.at(base.order / 2, base.order / 2) > 1.0 / SMALL {
                    base.cells.iter_mut().for_each(|cell| *cell *= SMALL);
                    base_exponent += 1;
                }
            }
        }
        result.unwrap_or((self.clone(), 0))
    }
}

/// 1 - [K0(z) + K1(z)/√n + K2(z)/n + K3(z)/n^{3/2}], z = d√n (Pelz & Good 1976), in the theta-transformed
/// form that converges fast for small z.
fn pelz_good_upper(n: f64, d: f64) -> f64 {
    let z = n.sqrt() * d;
    let (z2, z3, z4, z6, z8) = (z.powi(2), z.powi(3), z.powi(4), z.powi(6), z.powi(8));
    let (p2, p4, p6) = (PI.powi(2), PI.powi(4), PI.powi(6));
    let root = (2.0 * PI).sqrt();
    let (mut k0, mut k1, mut k2, mut k3) = (0.0, 0.0, 0.0, 0.0);
    let terms = (16.0 * z / PI).ceil() as i32;
    for k in (1..=terms).rev() {
        let m2 = f64::from(2 * k - 1).powi(2);
        let weight = (-m2 * p2 / (8.0 * z2)).exp();
        k0 += weight;
        k1 += weight * (p2 / 4.0 * m2 - z2);
        k2 += weight
            * (6.0 * z6
                + 2.0 * z4
                + (2.0 * z4 - 5.0 * z2) * p2 / 4.0 * m2
                + p4 * (1.0 - 2.0 * z2) / 16.0 * m2 * m2);
        k3 += weight
            * (-30.0 * z6 - 90.0 * z8
                + p2 * (135.0 * z4 - 96.0 * z6) / 4.0 * m2
                + p4 * (212.0 * z4 - 60.0 * z2) / 16.0 * m2 * m2
                + p6 * (5.0 - 30.0 * z2) / 64.0 * m2 * m2 * m2);
    }
    let (mut extra2, mut extra3) = (0.0, 0.0);
    for k in (1..=terms).rev() {
        let square = f64::from(k * k);
        let weight = (-p2 * square / (2.0 * z2)).exp() * square;
        extra2 += weight;
        extra3 += weight * (3.0 * z2 - p2 * square);
    }
    let cdf = k0 * root / z
        + k1 * root / (6.0 * z4) / n.sqrt()
        + (k2 * root / (72.0 * z.powi(7)) - extra2 * p2 * root / (36.0 * z3)) / n
        + (k3 * root / (6480.0 * z.powi(10)) + extra3 * p2 * root / (216.0 * z6)) / n.powf(1.5);
    1.0 - cdf
}
