//! Measures a server and its parts. A developer's tool, never shipped. `cargo xtask bench` runs it; the load generator
//! ([`OpenLoop`], [`ClosedLoop`]) and the [`Histogram`] serve tests as well.

mod commit;
mod histogram;
pub mod http;
mod load;
mod memory;
mod report;
mod startup;

pub use commit::commit;
pub use histogram::Histogram;
pub use load::{ClosedLoop, Exchange, LoadReport, OpenLoop, Until};
pub use memory::Memory;
pub use report::Table;
pub use startup::startup;
