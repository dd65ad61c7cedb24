//! What answers right now: an immutable state that requests read and a change replaces whole.

use crate::error::ServingError;
use crate::model::{LoadedModel, ModelSpec};
use crate::plane::VariantStatus;
use crate::snapshot::{Access, EndpointSnapshot};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use trueline_ledger::ProjectId;

/// Endpoints by the names of project and endpoint.
pub(crate) type Endpoints = HashMap<(String, String), Arc<LiveEndpoint>>;

#[derive(Clone, Debug, Default)]
pub(crate) struct Live {
    pub(crate) endpoints: Endpoints,
    pub(crate) access: Access,
}

#[derive(Debug)]
pub(crate) struct LiveEndpoint {
    pub(crate) snapshot: EndpointSnapshot,
    pub(crate) variants: Vec<LiveVariant>,
    total: u64,
}

#[derive(Debug)]
pub(crate) struct LiveVariant {
    pub(crate) model: Arc<LoadedModel>,
    weight: u32,
    requests: AtomicU64,
    errors: AtomicU64,
}

impl Live {
    pub(crate) fn endpoint(&self, project: &str, endpoint: &str) -> Option<&Arc<LiveEndpoint>> {
        self.endpoints.get(&(project.to_owned(), endpoint.to_owned()))
    }

    /// A model that answers for some endpoint of the project.
    pub(crate) fn model(&self, project: &ProjectId, spec: &ModelSpec) -> Option<Arc<LoadedModel>> {
        let mut models = self.endpoints.values().flat_map(|e| e.variants.iter().map(|v| &v.model));
        models.find(|m| m.is(project, spec)).map(Arc::clone)
    }

    /// The models of endpoints that `next` has no longer or answers otherwise.
    pub(crate) fn left_by<'l>(&'l self, next: &Self) -> impl Iterator<Item = &'l Arc<LoadedModel>> {
        let gone =
            |(key, e): &(&_, &Arc<LiveEndpoint>)| next.endpoints.get(*key).is_none_or(|n| !Arc::ptr_eq(n, e));
        self.endpoints.iter().filter(gone).flat_map(|(_, e)| e.variants.iter().map(|v| &v.model))
    }
}

impl LiveEndpoint {
    pub(crate) fn new(snapshot: EndpointSnapshot, variants: Vec<LiveVariant>) -> Result<Self, ServingError> {
        let total = variants.iter().map(|v| u64::from(v.weight)).sum();
        if total == 0 {
            return Err(ServingError::State(format!("endpoint `{}` has no variants", snapshot.name)));
        }
        Ok(Self { snapshot, variants, total })
    }

    pub(crate) fn key(&self) -> (String, String) {
        (self.snapshot.project_name.clone(), self.snapshot.name.clone())
    }

    /// The variant of a sticky value, or of a lot.
    pub(crate) fn pick(&self, sticky: Option<&str>, lot: u64) -> &LiveVariant {
        let place = share(sticky.map_or(lot, |s| self.lot_of(s)), self.total);
        &self.variants[at(self.variants.iter().map(|v| v.weight), place)]
    }

    /// The lot of a sticky value: the same value always draws the same one, apart for each endpoint.
    fn lot_of(&self, sticky: &str) -> u64 {
        let hash = Sha256::new().chain_update(&self.snapshot.name).chain_update([0]).chain_update(sticky);
        let bytes: [u8; 32] = hash.finalize().into();
        u64::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3], bytes[4], bytes[5], bytes[6], bytes[7]])
    }
}

/// A lot's place among `total` shares: proportional rather than a remainder, so that weights which are scaled (1 and 1,
/// 50 and 50) leave every sticky value where it is.
#[allow(clippy::cast_possible_truncation)]
fn share(lot: u64, total: u64) -> u64 {
    ((u128::from(lot) * u128::from(total)) >> 64) as u64
}

/// The variant at a place, when the weights are laid end to end.
fn at(weights: impl Iterator<Item = u32>, place: u64) -> usize {
    let mut end = 0;
    let mut last = 0;
    for (i, weight) in weights.enumerate() {
        end += u64::from(weight);
        last = i;
        if place < end {
            break;
        }
    }
    last
}

impl LiveVariant {
    pub(crate) fn new(model: Arc<LoadedModel>, weight: u32) -> Self {
        Self { model, weight, requests: AtomicU64::new(0), errors: AtomicU64::new(0) }
    }

    pub(crate) fn count(&self, failed: bool) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.errors.fetch_add(u64::from(failed), Ordering::Relaxed);
    }

    pub(crate) fn status(&self) -> VariantStatus {
        VariantStatus {
            version: self.model.spec().name(),
            weight: self.weight,
            requests: self.requests.load(Ordering::Relaxed),
            errors: self.errors.load(Ordering::Relaxed),
            heap_bytes: self.model.heap_bytes(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_follow_the_weights() {
        let weights = [90_u32, 10];
        let mut counts = [0_u32; 2];
        for i in 0..10_000_u64 {
            // Weyl's sequence: evenly spread lots.
            let lot = i.wrapping_mul(0x9E37_79B9_7F4A_7C15);
            counts[at(weights.into_iter(), share(lot, 100))] += 1;
        }
        assert!((985..=1015).contains(&counts[1]), "{counts:?}");
    }

    #[test]
    fn scaled_weights_leave_everybody_in_place() {
        for i in 0..1_000_u64 {
            let lot = i.wrapping_mul(0x9E37_79B9_7F4A_7C15);
            let one = at([3_u32, 1].into_iter(), share(lot, 4));
            assert_eq!(one, at([75_u32, 25].into_iter(), share(lot, 100)));
        }
        assert_eq!(at([1_u32, 1].into_iter(), share(u64::MAX, 2)), 1);
    }
}
