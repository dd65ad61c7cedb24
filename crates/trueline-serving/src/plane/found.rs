//! Where a request finds its endpoint: once, whatever is then decided by it.

use super::DataPlane;
use crate::cause::Cause;
use crate::error::ServingError;
use crate::live::LiveEndpoint;
use std::sync::Arc;

/// An endpoint as it answered when a request came. Cheap to clone.
#[derive(Clone, Debug)]
pub struct FoundEndpoint(pub(super) Arc<LiveEndpoint>);

impl FoundEndpoint {
    /// Whether a version behind it may compute for long over so many rows, on the thread that asks it.
    #[must_use]
    pub fn computes_long(&self, rows: usize) -> bool {
        self.0.variants.iter().any(|variant| variant.slot.computes_long(rows))
    }
}

impl DataPlane {
    /// An endpoint of a project, both by name.
    ///
    /// # Errors
    /// [`ServingError::NotFound`] and [`ServingError::NotLoaded`].
    pub fn find(&self, project: &str, endpoint: &str) -> Result<FoundEndpoint, ServingError> {
        let found = self.inner.live.load().endpoint(project, endpoint).map(Arc::clone);
        found.map(FoundEndpoint).ok_or_else(|| self.does_not_answer(project, endpoint))
    }

    fn does_not_answer(&self, project: &str, endpoint: &str) -> ServingError {
        match self.why_left_out(project, endpoint) {
            Some(reason) => {
                self.refused(project, endpoint, Cause::NotLoaded);
                ServingError::NotLoaded(format!(
                    "endpoint `{endpoint}` can't answer until its model can be loaded: {reason}"
                ))
            }
            None => ServingError::NotFound(format!(
                "no endpoint `{endpoint}` answers in project `{project}`: deploy a version to it with \
                 `trueline endpoint deploy`"
            )),
        }
    }
}
