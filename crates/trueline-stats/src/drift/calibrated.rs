//! PSI against its own null distribution, so that a threshold means the same at 100 rows and at a million.

use serde::{Deserialize, Serialize};

use super::divergence::{psi, smoothed_shares};
use super::window::Window;
use crate::error::{StatsError, open_unit};
use crate::special::{chi_square_quantile_upper, chi_square_upper};

/// PSI, and what chance alone would give.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct CalibratedPsi {
    /// Σ (r - c) ln(r/c) over shares with half a count added to each bin.
    pub psi: f64,
    /// (1/n + 1/m)·χ²_{B-1, 1-α}.
    pub threshold: f64,
    /// P(χ²_{B-1} > psi/(1/n + 1/m)).
    pub p_value: f64,
    /// Bins that hold a value on either side.
    pub bins: usize,
    /// Whether psi exceeds the threshold.
    pub drifted: bool,
    /// Whether each bin is expected to hold five values on both sides, the usual condition for trusting χ².
    pub trustworthy: bool,
}

/// The threshold that PSI exceeds with probability α when nothing has drifted: (1/n + 1/m)·χ²_{B-1, 1-α}
/// (Yurdakul & Naranjo, "Statistical properties of the population stability index", 2020).
///
/// # Errors
/// `alpha` outside (0, 1); an empty side; fewer than two bins.
pub fn psi_threshold(reference: u64, current: u64, bins: usize, alpha: f64) -> Result<f64, StatsError> {
    open_unit("alpha", alpha)?;
    if reference == 0 || current == 0 {
        return Err(StatsError::Empty { what: if reference == 0 { "reference" } else { "current" } });
    }
    if bins < 2 {
        return Err(StatsError::OutOfRange { what: "bins", value: bins as f64, expected: "at least 2" });
    }
    let spread = 1.0 / reference as f64 + 1.0 / current as f64;
    Ok(spread * chi_square_quantile_upper(alpha, (bins - 1) as f64)?)
}

/// The default drift measure: PSI between two windows, judged at level `alpha` against its null.
///
/// Zero rule: half a count is added to every bin of both sides. A fixed fill such as 1e-4 makes one empty bin
/// worth about 0.7 at ten bins, more than any null threshold at 100 rows, and so alarms by itself. Missing
/// values are not bins: judge them with [`super::two_proportion_z`] or [`super::missingness_log_e`]. With one
/// bin nothing can drift: p = 1.
///
/// # Errors
/// The windows' bins differ; `alpha` outside (0, 1); a window without values.
pub fn calibrated_psi(reference: &Window, current: &Window, alpha: f64) -> Result<CalibratedPsi, StatsError> {
    open_unit("alpha", alpha)?;
    if reference.bins() != current.bins() {
        return Err(StatsError::Incompatible { what: "window bins" });
    }
    let occurs = |(r, c): (&u64, &u64)| (r + c > 0).then_some((*r, *c));
    let (left, right): (Vec<u64>, Vec<u64>) =
        reference.counts().iter().zip(current.counts()).filter_map(occurs).unzip();
    let (n, m) = (reference.present(), current.present());
    if n == 0 || m == 0 {
        return Err(StatsError::Empty { what: if n == 0 { "reference" } else { "current" } });
    }
    let bins = left.len();
    if bins < 2 {
        let threshold = 0.0;
        return Ok(CalibratedPsi {
            psi: 0.0,
            threshold,
            p_value: 1.0,
            bins,
            drifted: false,
            trustworthy: true,
        });
    }
    let psi = psi(&smoothed_shares(&left)?, &smoothed_shares(&right)?)?;
    let spread = 1.0 / n as f64 + 1.0 / m as f64;
    let threshold = psi_threshold(n, m, bins, alpha)?;
    let pooled = |(r, c): (&u64, &u64)| (r + c) as f64 / (n + m) as f64 * n.min(m) as f64 >= 5.0;
    Ok(CalibratedPsi {
        psi,
        threshold,
        p_value: chi_square_upper(psi / spread, (bins - 1) as f64)?,
        bins,
        drifted: psi > threshold,
        trustworthy: left.iter().zip(&right).all(pooled),
    })
}
