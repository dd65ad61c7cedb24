//! What a model reads besides the request: features by key, from wherever a flow keeps them.

use crate::error::ServingError;
use crate::frame::Frame;
use trueline_ledger::{Millis, ProjectId};
use trueline_tensors::Tensor;

/// Gives the features that a version names, for each row of a request, in bounded time and without the database.
pub trait FeatureSource: Send + Sync + std::fmt::Debug {
    /// The features of `views` for the rows of `frame`, as of `at_ms` (milliseconds since 1970), a column each; null where
    /// none is known.
    ///
    /// # Errors
    /// [`ServingError::Input`] when the request lacks a key, [`ServingError::Features`] when they can't be read in time.
    fn features(
        &self,
        project: &ProjectId,
        views: &[String],
        frame: &Frame,
        at_ms: Millis,
    ) -> Result<Vec<Tensor>, ServingError>;
}

/// Where there is no online store.
#[derive(Clone, Copy, Debug)]
pub struct NoFeatures;

impl FeatureSource for NoFeatures {
    fn features(
        &self,
        _: &ProjectId,
        views: &[String],
        _: &Frame,
        _: Millis,
    ) -> Result<Vec<Tensor>, ServingError> {
        Err(ServingError::Features(format!(
            "the model reads the features {views:?}, and there is no online store here: serve it with `trueline server`"
        )))
    }
}
