//! The requests that wait for a worker: first come, first served, so many and no more. Who goes away takes its place along.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// Why a request can't wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// So many wait already.
    Full(usize),
    /// Nobody will take it.
    Closed,
}

#[derive(Debug)]
struct Waiting<T> {
    next: u64,
    list: VecDeque<(u64, T)>,
    closed: bool,
}

/// A bounded queue.
#[derive(Debug)]
pub(crate) struct Queue<T> {
    limit: usize,
    waiting: Mutex<Waiting<T>>,
    come: Notify,
}

/// A place in a queue, given up when it is dropped.
#[derive(Debug)]
pub(crate) struct Ticket<'a, T> {
    queue: &'a Queue<T>,
    number: u64,
}

impl<T> Queue<T> {
    pub(crate) fn new(limit: usize) -> Self {
        let waiting = Waiting { next: 0, list: VecDeque::new(), closed: false };
        Self { limit, waiting: Mutex::new(waiting), come: Notify::new() }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting<T>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stands in line.
    pub(crate) fn push(&self, item: T) -> Result<Ticket<'_, T>, Refusal> {
        let mut waiting = self.waiting();
        if waiting.closed {
            return Err(Refusal::Closed);
        }
        if waiting.list.len() >= self.limit {
            return Err(Refusal::Full(waiting.list.len()));
        }
        let number = waiting.next;
        waiting.next += 1;
        waiting.list.push_back((number, item));
        drop(waiting);
        self.come.notify_one();
        Ok(Ticket { queue: self, number })
    }

    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.waiting().list.len()
    }

    /// The next one; waits for it. For one caller at a time; may be dropped without losing one.
    pub(crate) async fn pop(&self) -> T {
        loop {
            if let Some(item) = self.try_pop() {
                return item;
            }
            self.come.notified().await;
        }
    }

    pub(crate) fn try_pop(&self) -> Option<T> {
        self.waiting().list.pop_front().map(|(_, item)| item)
    }

    /// Takes nobody more.
    pub(crate) fn close(&self) {
        self.waiting().closed = true;
    }
}

impl<T> Ticket<'_, T> {
    /// Gives the place up; answers whether it still waited.
    pub(crate) fn leave(self) -> bool {
        self.give_up()
    }

    fn give_up(&self) -> bool {
        let mut waiting = self.queue.waiting();
        // Numbers rise along the line.
        let found = waiting.list.binary_search_by_key(&self.number, |(number, _)| *number);
        let gone = found.ok().and_then(|at| waiting.list.remove(at));
        drop(waiting);
        gone.is_some()
    }
}

impl<T> Drop for Ticket<'_, T> {
    fn drop(&mut self) {
        self.give_up();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Clone, Debug)]
    enum Step {
        Push,
        Leave(usize),
        Pop,
    }

    proptest! {
        #[test]
        fn who_came_first_goes_first_and_never_more_wait_than_may(
            steps in prop::collection::vec(
                prop_oneof![3 => Just(Step::Push), 1 => (0_usize..9).prop_map(Step::Leave), 2 => Just(Step::Pop)], 0..80),
            limit in 0_usize..6,
        ) {
            let queue = Queue::new(limit);
            let (mut tickets, mut model) = (Vec::new(), VecDeque::new());
            for (number, step) in steps.into_iter().enumerate() {
                match step {
                    Step::Push => match queue.push(number) {
                        Ok(ticket) => {
                            prop_assert!(model.len() < limit);
                            tickets.push((number, ticket));
                            model.push_back(number);
                        }
                        Err(refusal) => prop_assert_eq!((refusal, model.len()), (Refusal::Full(limit), limit)),
                    },
                    Step::Leave(at) if at < tickets.len() => {
                        let (number, ticket) = tickets.remove(at);
                        drop(ticket);
                        model.retain(|n| *n != number);
                    }
                    Step::Leave(_) => {}
                    Step::Pop => prop_assert_eq!(queue.try_pop(), model.pop_front()),
                }
                prop_assert_eq!(queue.len(), model.len());
            }
            queue.close();
            prop_assert_eq!(queue.push(0).err(), Some(Refusal::Closed));
        }
    }
}
