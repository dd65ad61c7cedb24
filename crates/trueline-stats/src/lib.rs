//! The statistics Trueline decides by: release tests, drift, model quality, column profiles. Everything here
//! is a pure function or a small state that adds, merges and serialises; no clock, no I/O, no global
//! randomness. Times, seeds and allocations are passed in.
//!
//! States derive serde and hold no infinite or NaN field, so that they survive a JSON column. Read them back
//! with `serde_json`'s `float_roundtrip` feature if the last bit of a float matters.

pub mod allotment;
pub mod drift;
mod error;
pub mod hash;
mod moments;
pub mod prng;
pub mod profile;
pub mod quality;
pub mod sequential;
pub mod special;

pub use error::StatsError;
pub use moments::Moments;
