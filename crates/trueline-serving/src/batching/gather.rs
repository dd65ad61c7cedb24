//! Who waits for a model, who goes with whom, and when. It is told the time and has no tasks: see [`super::batcher`] for
//! those.

use super::latency::Latency;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Whether two requests may be answered by one call.
pub(super) trait Alike {
    fn alike(&self, other: &Self) -> bool;
}

/// How much may be answered at once, and how much may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Rows of one batch. A request that has more goes alone.
    pub(crate) rows: usize,
    /// Requests of one batch.
    pub(crate) requests: usize,
    /// Rows that may wait. A request that has more may wait alone.
    pub(crate) waiting_rows: usize,
    /// Requests that may wait.
    pub(crate) waiting_requests: usize,
    /// Calls that the runtime works on at once.
    pub(crate) lanes: usize,
}

impl Limits {
    /// Batches of up to 1,024 rows, for so many lanes; 1,024 requests of twice the largest one's rows may wait.
    pub(crate) fn of(lanes: usize) -> Self {
        let waiting_rows = 2 * crate::model::MOST_ROWS;
        Self { rows: 1_024, requests: 256, waiting_rows, waiting_requests: 1_024, lanes: lanes.max(1) }
    }
}

/// A request that waits.
#[derive(Debug)]
pub(super) struct Waiting<T> {
    ticket: u64,
    pub(super) rows: usize,
    pub(super) came: Instant,
    pub(super) deadline: Instant,
    pub(super) load: T,
}

/// Too much waits already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Full {
    pub(super) requests: usize,
    pub(super) rows: usize,
}

/// What is to be done now.
#[derive(Debug)]
pub(super) enum Next<T> {
    /// These go together, and have a lane.
    Send(Vec<Waiting<T>>),
    /// Others are waited for until then.
    WaitUntil(Instant),
    /// Nothing, until somebody comes or a lane is free.
    Nothing,
}

/// The queue of one model.
#[derive(Debug)]
pub(super) struct Gather<T> {
    limits: Limits,
    busy: usize,
    /// Oldest first.
    waiting: VecDeque<Waiting<T>>,
    waiting_rows: usize,
    next_ticket: u64,
    latency: Latency,
}

impl<T: Alike> Gather<T> {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            busy: 0,
            waiting: VecDeque::new(),
            waiting_rows: 0,
            next_ticket: 0,
            latency: Latency::default(),
        }
    }

    /// Takes a lane for a request that has nobody before it, if there is one.
    pub(super) fn pass(&mut self) -> bool {
        let passes = self.waiting.is_empty() && self.busy < self.limits.lanes;
        self.busy += usize::from(passes);
        passes
    }

    /// Has a request wait; its ticket is what [`Gather::leave`] takes.
    pub(super) fn arrive(
        &mut self,
        now: Instant,
        rows: usize,
        deadline: Instant,
        load: T,
    ) -> Result<u64, Full> {
        let limits = &self.limits;
        let full = self.waiting.len() >= limits.waiting_requests
            || (!self.waiting.is_empty() && self.waiting_rows + rows > limits.waiting_rows);
        if full {
            return Err(Full { requests: self.waiting.len(), rows: self.waiting_rows });
        }
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.waiting_rows += rows;
        self.waiting.push_back(Waiting { ticket, rows, came: now, deadline, load });
        Ok(ticket)
    }

    /// Lets go of a request that nobody wants to be answered any more. One that was sent is not here.
    pub(super) fn leave(&mut self, ticket: u64) -> Option<T> {
        // Tickets are in order, and stay so whoever leaves.
        let place = self.waiting.binary_search_by_key(&ticket, |w| w.ticket).ok()?;
        let gone = self.waiting.remove(place)?;
        self.waiting_rows -= gone.rows;
        Some(gone.load)
    }

    /// Gives a lane back.
    pub(super) fn done(&mut self) {
        self.busy = self.busy.saturating_sub(1);
    }

    /// Takes note of a call that was answered: how long it took, and how long the last request of it had waited.
    pub(super) fn note(&mut self, now: Instant, rows: usize, took: Duration, waited: Duration) {
        self.latency.note(now, rows, took, waited);
    }

    /// From now on every request goes by itself.
    pub(super) fn go_alone(&mut self) {
        self.limits.requests = 1;
    }

    /// Whether requests may go together.
    pub(super) fn joins(&self) -> bool {
        self.limits.requests > 1
    }

    /// Lets go of all that waits.
    pub(super) fn drain(&mut self) -> VecDeque<Waiting<T>> {
        self.waiting_rows = 0;
        std::mem::take(&mut self.waiting)
    }

    /// What is to be done now. Requests whose time is over are let go of.
    pub(super) fn next(&mut self, now: Instant) -> Next<T> {
        if self.busy >= self.limits.lanes {
            return Next::Nothing;
        }
        self.waiting.retain(|w| w.deadline > now);
        self.waiting_rows = self.waiting.iter().map(|w| w.rows).sum();
        let Some(batch) = self.batch() else { return Next::Nothing };
        // Nobody waits for company at the cost of those who could not be part of it.
        if !batch.full && batch.places.len() == self.waiting.len() {
            let latest = batch.earliest_deadline.checked_sub(self.latency.of(batch.rows)).unwrap_or(now);
            let patience = self.latency.patience(batch.places.len(), batch.rows);
            let until = (batch.last_came + patience).min(latest);
            if until > now {
                return Next::WaitUntil(until);
            }
        }
        self.busy += 1;
        self.waiting_rows -= batch.rows;
        Next::Send(self.take(&batch.places))
    }

    /// The oldest request, and as many of those behind it as are alike and fit, in their order.
    fn batch(&self) -> Option<Batch> {
        let (limits, oldest) = (&self.limits, self.waiting.front()?);
        let mut batch = Batch {
            places: Vec::new(),
            rows: 0,
            full: false,
            last_came: oldest.came,
            earliest_deadline: oldest.deadline,
        };
        // Without rows there would be nothing to tell whose answer is whose.
        let apart = |w: &Waiting<T>| w.rows == 0;
        for (place, waiting) in self.waiting.iter().enumerate() {
            if place > 0 && (apart(oldest) || apart(waiting) || !oldest.load.alike(&waiting.load)) {
                continue;
            }
            if place > 0 && batch.rows + waiting.rows > limits.rows {
                // Not overtaken by a smaller one that came later.
                batch.full = true;
                break;
            }
            batch.places.push(place);
            batch.rows += waiting.rows;
            batch.last_came = waiting.came;
            batch.earliest_deadline = batch.earliest_deadline.min(waiting.deadline);
            if batch.places.len() >= limits.requests {
                break;
            }
        }
        batch.full |= batch.places.len() >= limits.requests || batch.rows >= limits.rows || apart(oldest);
        Some(batch)
    }

    fn take(&mut self, places: &[usize]) -> Vec<Waiting<T>> {
        let mut taken = Vec::with_capacity(places.len());
        let mut wanted = places.iter().copied().peekable();
        let all = std::mem::take(&mut self.waiting);
        for (place, waiting) in all.into_iter().enumerate() {
            match wanted.next_if_eq(&place) {
                Some(_) => taken.push(waiting),
                None => self.waiting.push_back(waiting),
            }
        }
        taken
    }
}

/// Who could go now, by their places in the queue.
struct Batch {
    places: Vec<usize>,
    rows: usize,
    /// Whether nobody else could go with them.
    full: bool,
    last_came: Instant,
    earliest_deadline: Instant,
}
