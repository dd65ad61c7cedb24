//! Measures a server and its parts. A developer's tool, never shipped. `cargo xtask bench` runs it; the load generator
//! ([`OpenLoop`], [`ClosedLoop`]) and the [`Histogram`] serve tests as well.

mod artifacts;
mod commit;
mod histogram;
pub mod http;
mod load;
mod memory;
mod predict;
mod process;
mod report;
mod serving;
mod startup;
mod stream;
mod tracking;

pub use artifacts::artifacts;
pub use commit::commit;
pub use histogram::Histogram;
pub use load::{ClosedLoop, Exchange, LoadReport, OpenLoop, Until};
pub use memory::Memory;
pub use predict::predict;
pub use report::Table;
pub use serving::{Peers, serving};
pub use startup::startup;
pub use tracking::{Against, points, runs, tracking};
