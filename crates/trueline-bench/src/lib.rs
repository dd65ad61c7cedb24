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
mod rollout;
mod serving;
mod soak;
mod stage;
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
pub use rollout::{Releases, rollout};
pub use serving::{Peers, serving};
pub use soak::{Onnx, Soak, soak};
pub use startup::startup;
pub use tracking::{Against, points, runs, tracking};
