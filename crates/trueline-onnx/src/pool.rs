//! A pool of sessions: as many as there may be, made when they are needed, waited for within bounds. It knows nothing of
//! what a session is.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How a pool is bounded.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// The most sessions.
    pub(crate) sessions: usize,
    /// The most who wait.
    pub(crate) waiting: usize,
    /// The longest wait.
    pub(crate) wait: Duration,
}

/// Why nothing was taken from a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Too many wait already: so many.
    Full(usize),
    /// It was waited as long as may be.
    Timeout,
}

#[derive(Debug)]
struct State<T> {
    /// The one that was given back last is taken first: its memory is warm.
    idle: Vec<T>,
    /// Those there are, idle, taken, or on their way.
    there: usize,
    /// The most there may be, which goes down when one can't be made.
    most: usize,
    waiting: usize,
    growing: bool,
}

/// A pool.
#[derive(Debug)]
pub(crate) struct Pool<T> {
    state: Mutex<State<T>>,
    free: Condvar,
    bounds: Bounds,
}

impl<T> Pool<T> {
    /// A pool that has one so far.
    pub(crate) fn new(first: T, bounds: Bounds) -> Self {
        let most = bounds.sessions.max(1);
        let state = State { idle: vec![first], there: 1, most, waiting: 0, growing: false };
        Self { state: Mutex::new(state), free: Condvar::new(), bounds }
    }

    fn state(&self) -> MutexGuard<'_, State<T>> {
        // Nothing panics while it holds the lock, and a count that is off would be no worse than a stop.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many there are.
    pub(crate) fn there(&self) -> usize {
        self.state().there
    }

    /// Does something with one of them, and waits for it within the bounds and until `deadline`. `grow` is called, without
    /// the lock, by one who finds none idle while there may be more; it must see to it that [`Pool::grown`] is called, and
    /// not wait for that. `act` must not panic, or the pool is one short from then on.
    pub(crate) fn with<R>(
        &self,
        deadline: Option<Instant>,
        grow: impl FnOnce(),
        act: impl FnOnce(&mut T) -> R,
    ) -> Result<R, Refusal> {
        let mut item = self.take(deadline, grow)?;
        let result = act(&mut item);
        let mut state = self.state();
        state.idle.push(item);
        let wake = state.waiting > 0;
        drop(state);
        if wake {
            self.free.notify_one();
        }
        Ok(result)
    }

    fn take(&self, deadline: Option<Instant>, grow: impl FnOnce()) -> Result<T, Refusal> {
        let mut state = self.state();
        if let Some(item) = state.idle.pop() {
            return Ok(item);
        }
        if state.waiting >= self.bounds.waiting {
            return Err(Refusal::Full(state.waiting));
        }
        state.waiting += 1;
        if !state.growing && state.there < state.most {
            (state.growing, state.there) = (true, state.there + 1);
            drop(state);
            grow();
            state = self.state();
        }
        let longest = Instant::now() + self.bounds.wait;
        let until = deadline.map_or(longest, |deadline| deadline.min(longest));
        loop {
            if let Some(item) = state.idle.pop() {
                state.waiting -= 1;
                return Ok(item);
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                state.waiting -= 1;
                return Err(Refusal::Timeout);
            }
            state = self.free.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// What growing came to: another one, or none, and then no more is tried.
    pub(crate) fn grown(&self, made: Option<T>) {
        let mut state = self.state();
        state.growing = false;
        match made {
            Some(item) => state.idle.push(item),
            None => {
                state.there -= 1;
                state.most = state.there;
            }
        }
        drop(state);
        self.free.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Barrier, mpsc};
    use std::thread;

    fn bounds(sessions: usize, waiting: usize, wait: Duration) -> Bounds {
        Bounds { sessions, waiting, wait }
    }

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn one_who_comes_alone_never_makes_it_grow() {
        let pool = Pool::new(7, bounds(4, 4, LONG));
        for _ in 0..10 {
            assert_eq!(pool.with(None, || panic!("nothing to grow for"), |item| *item), Ok(7));
        }
        assert_eq!(pool.there(), 1);
    }

    #[test]
    fn it_grows_to_its_bound_and_nobody_shares() {
        let pool = Pool::new(AtomicUsize::new(0), bounds(3, 100, LONG));
        let most = AtomicUsize::new(0);
        let start = Barrier::new(8);
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    start.wait();
                    for _ in 0..200 {
                        let grow = || {
                            scope.spawn(|| pool.grown(Some(AtomicUsize::new(0))));
                        };
                        let together = pool.with(None, grow, |item| {
                            let together = item.fetch_add(1, Ordering::SeqCst);
                            thread::yield_now();
                            item.fetch_sub(1, Ordering::SeqCst);
                            together
                        });
                        assert_eq!(together, Ok(0));
                        most.fetch_max(pool.there(), Ordering::SeqCst);
                    }
                });
            }
        });
        assert!(most.load(Ordering::SeqCst) <= 3);
        let state = pool.state();
        assert_eq!((state.idle.len(), state.waiting), (state.there, 0));
    }

    #[test]
    fn waiting_is_bounded_in_number_and_time() {
        let pool = &Pool::new((), bounds(1, 1, LONG));
        let (taken, is_taken) = mpsc::channel();
        let (done, is_done) = mpsc::channel::<()>();
        thread::scope(|scope| {
            scope.spawn(move || {
                pool.with(
                    None,
                    || (),
                    |()| {
                        taken.send(()).unwrap();
                        is_done.recv().unwrap();
                    },
                )
            });
            is_taken.recv().unwrap();
            let now = Instant::now();
            assert_eq!(
                pool.with(Some(now), || (), |()| ()),
                Err(Refusal::Timeout),
                "the deadline ends a wait"
            );
            let waits = scope.spawn(move || pool.with(None, || (), |()| ()));
            while pool.state().waiting == 0 {
                thread::yield_now();
            }
            assert_eq!(pool.with(None, || (), |()| ()), Err(Refusal::Full(1)));
            done.send(()).unwrap();
            assert_eq!(waits.join().unwrap(), Ok(()));
        });
    }

    #[test]
    fn one_that_can_not_be_made_is_not_tried_again() {
        let pool = Pool::new((), bounds(4, 4, LONG));
        let tries = AtomicUsize::new(0);
        let grow = || {
            tries.fetch_add(1, Ordering::SeqCst);
            pool.grown(None);
        };
        pool.with(None, grow, |()| {
            let now = Some(Instant::now());
            assert_eq!(pool.with(now, grow, |()| ()), Err(Refusal::Timeout));
            assert_eq!(pool.with(now, grow, |()| ()), Err(Refusal::Timeout));
        })
        .unwrap();
        assert_eq!((tries.load(Ordering::SeqCst), pool.there()), (1, 1));
    }
}
