//! Drift: how far a window lies from its reference, and whether that is more than chance. `bins` and `window`
//! count; `divergence`, `ks`, `proportions` measure; `calibrated` judges PSI against its null; `evidently`
//! and `nannyml` reproduce those libraries' numbers, with their quirks.

mod bins;
mod calibrated;
mod divergence;
pub mod evidently;
mod kolmogorov;
mod ks;
pub mod nannyml;
mod proportions;
mod window;

pub use bins::ReferenceBins;
pub use calibrated::{CalibratedPsi, calibrated_psi, psi_threshold};
pub use divergence::{
    hellinger, jensen_shannon_distance, kullback_leibler, l_infinity, normalised_wasserstein, psi,
    smoothed_shares, wasserstein,
};
pub use kolmogorov::kolmogorov_upper;
pub use ks::{KsMethod, KsTest, ks_test};
pub use proportions::{
    ChiSquareTest, ProportionTest, chi_square_contingency, chi_square_goodness_of_fit, missingness_log_e,
    two_proportion_z,
};
pub use window::{CategoryWindow, Window};
