//! How much memory loaded models may take, and which of them are unloaded to keep within that. Who loads and unloads them is
//! not here: this is arithmetic.

/// Loaded models to which nothing routes any more and which stay all the same, so that a return to one is a swap.
const KEPT: usize = 8;

/// How much memory loaded models may take, those of Python workers included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ModelMemory {
    /// As much as they want.
    #[default]
    Unlimited,
    /// So many bytes. Those that were not asked for longest are unloaded, and loaded again when they are asked.
    Bytes(usize),
    /// So many bytes. Nothing is unloaded to keep within that, except that to which nothing routes: whoever loads models is told
    /// when they are too many.
    Fixed(usize),
}

impl ModelMemory {
    /// The bytes, if there is a limit.
    #[must_use]
    pub fn limit(self) -> Option<usize> {
        match self {
            Self::Unlimited => None,
            Self::Bytes(bytes) | Self::Fixed(bytes) => Some(bytes),
        }
    }
}

/// A loaded model.
#[derive(Clone, Copy, Debug)]
pub(super) struct Held {
    /// What it takes of memory.
    pub(super) bytes: usize,
    /// When it was asked last.
    pub(super) asked: u64,
    /// Whether a request, a rollout or anybody else needs it at the moment.
    pub(super) busy: bool,
    /// Whether an endpoint may ask it.
    pub(super) routed: bool,
}

/// What loaded models have to keep within.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Bytes that they may take, if that is held by unloading some.
    pub(super) bytes: Option<usize>,
    /// How many may stay to which nothing routes.
    pub(super) unrouted: usize,
}

impl ModelMemory {
    pub(super) fn bounds(self) -> Bounds {
        match self {
            Self::Unlimited => Bounds { bytes: None, unrouted: KEPT },
            Self::Bytes(bytes) => Bounds { bytes: Some(bytes), unrouted: KEPT },
            Self::Fixed(_) => Bounds { bytes: None, unrouted: 0 },
        }
    }
}

/// Which of the loaded models are to be unloaded, so that they and `wanted` bytes keep within their bounds: of those that are not
/// busy, those that were asked longest ago, and no more of them than needed. Where no room is wanted, the one that was asked last
/// stays, however large it is. Of those to which nothing routes only so many stay in any case.
pub(super) fn to_unload(held: &[Held], bounds: Bounds, wanted: usize) -> Vec<usize> {
    let mut idle: Vec<usize> = (0..held.len()).filter(|i| !held[*i].busy).collect();
    idle.sort_by_key(|i| held[*i].asked);
    let unrouted = |i: &usize| !held[*i].routed;
    let surplus = held.iter().filter(|h| !h.routed).count().saturating_sub(bounds.unrouted);
    let mut gone: Vec<usize> = idle.iter().copied().filter(unrouted).take(surplus).collect();
    let Some(limit) = bounds.bytes else { return gone };
    let stays = |i: &usize| !gone.contains(i);
    let bytes = (0..held.len()).filter(stays).map(|i| held[i].bytes);
    let mut used = bytes.fold(wanted, usize::saturating_add);
    let last = asked_last(held).filter(|_| wanted == 0);
    for next in idle.into_iter().filter(|i| stays(i) && Some(*i) != last).collect::<Vec<_>>() {
        if used <= limit {
            break;
        }
        used -= held[next].bytes.min(used);
        gone.push(next);
    }
    gone
}

fn asked_last(held: &[Held]) -> Option<usize> {
    (0..held.len()).max_by_key(|i| held[*i].asked)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn held() -> impl Strategy<Value = Held> {
        (0_usize..100, any::<u64>(), any::<bool>(), prop::bool::weighted(0.7))
            .prop_map(|(bytes, asked, busy, routed)| Held { bytes, asked, busy, routed })
    }

    fn used(held: &[Held], gone: &[usize], wanted: usize) -> usize {
        wanted
            + held.iter().enumerate().filter(|(i, _)| !gone.contains(i)).map(|(_, h)| h.bytes).sum::<usize>()
    }

    fn within(bytes: Option<usize>) -> Bounds {
        Bounds { bytes, unrouted: KEPT }
    }

    proptest! {
        #[test]
        fn what_was_asked_longest_ago_goes_and_no_more_than_needed(
            held in proptest::collection::vec(held(), 0..40),
            limit in 0_usize..2_000,
            wanted in prop_oneof![Just(0), 0_usize..200],
        ) {
            let surplus = to_unload(&held, within(None), wanted);
            let gone = to_unload(&held, within(Some(limit)), wanted);
            prop_assert!(gone.iter().all(|i| !held[*i].busy), "what is busy stays");
            let last = asked_last(&held).filter(|_| wanted == 0);
            prop_assert!(last.is_none_or(|last| surplus.contains(&last) || !gone.contains(&last)));
            let fits = used(&held, &gone, wanted) <= limit;
            let stays = |i: &usize| !held[*i].busy && !gone.contains(i) && Some(*i) != last;
            prop_assert!(fits || (0..held.len()).filter(stays).count() == 0, "it fits, or nothing else could go");
            // What goes for want of memory was asked no later than anything idle that stays.
            let for_memory: Vec<usize> = gone.iter().copied().filter(|i| !surplus.contains(i)).collect();
            for i in (0..held.len()).filter(stays) {
                prop_assert!(for_memory.iter().all(|g| held[*g].asked <= held[i].asked));
            }
            if let Some((_, before)) = for_memory.split_last() {
                let fewer: Vec<usize> = surplus.iter().chain(before).copied().collect();
                prop_assert!(used(&held, &fewer, wanted) > limit, "one less would not have done");
            }
        }

        #[test]
        fn of_what_nothing_routes_to_only_so_many_stay(
            held in proptest::collection::vec(held(), 0..40),
            most in 0_usize..10,
        ) {
            let gone = to_unload(&held, Bounds { bytes: None, unrouted: most }, 0);
            prop_assert!(gone.iter().all(|i| !held[*i].routed && !held[*i].busy));
            let left = (0..held.len()).filter(|i| !held[*i].routed && !gone.contains(i));
            let (idle, all) = (left.clone().filter(|i| !held[*i].busy).count(), left.count());
            prop_assert!(all <= most || idle == 0);
            let unrouted = held.iter().filter(|h| !h.routed).count();
            prop_assert!(gone.len() <= unrouted.saturating_sub(most));
        }
    }
}
