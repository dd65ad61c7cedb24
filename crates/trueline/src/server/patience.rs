//! How long a request may take and what comes of it be awaited. Clocks are only set for what has to be waited for: most short
//! requests are there whole and are answered at once, and a clock for each would cost more than their answer.

use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Sleep, sleep, timeout};

/// What this comes to within so long; none when it takes longer.
pub(super) async fn within<T>(longest: Duration, work: impl Future<Output = T>) -> Option<T> {
    let mut work = pin!(work);
    match futures::poll!(work.as_mut()) {
        Poll::Ready(done) => Some(done),
        Poll::Pending => timeout(longest, work).await.ok(),
    }
}

/// With what a client is waited for.
#[derive(Debug)]
pub(super) struct Patience {
    longest: Duration,
    /// Rings when it has been too long; set while it is waited for.
    clock: Option<Pin<Box<Sleep>>>,
}

impl Patience {
    /// One that lasts so long.
    pub(super) fn of(longest: Duration) -> Self {
        Self { longest, clock: None }
    }

    /// How long it lasts.
    pub(super) fn longest(&self) -> Duration {
        self.longest
    }

    /// What was waited for has come; what is waited for next may take as long again.
    pub(super) fn rest(&mut self) {
        self.clock = None;
    }

    /// Whether a clock is set.
    #[cfg(test)]
    pub(super) fn is_set(&self) -> bool {
        self.clock.is_some()
    }

    /// Ready when what is waited for since it rested has taken too long.
    pub(super) fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let longest = self.longest;
        self.clock.get_or_insert_with(|| Box::pin(sleep(longest))).as_mut().poll(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::runtime::Builder;

    #[test]
    fn no_clock_is_set_for_what_is_there() {
        // Threads on which no clock can be set: one that is panics.
        let without_clocks = Builder::new_current_thread().build().unwrap();
        assert_eq!(without_clocks.block_on(within(Duration::from_secs(1), async { 7 })), Some(7));
    }

    #[tokio::test]
    async fn what_takes_too_long_is_given_up() {
        assert_eq!(within(Duration::from_millis(1), std::future::pending::<()>()).await, None);
        assert_eq!(within(Duration::MAX, tokio::task::yield_now()).await, Some(()));
    }

    #[tokio::test]
    async fn patience_ends_and_begins_anew() {
        let mut patience = Patience::of(Duration::from_millis(1));
        std::future::poll_fn(|cx| patience.poll_end(cx)).await;
        patience.rest();
        let mut anew = Patience { longest: Duration::from_secs(600), ..patience };
        assert!(futures::poll!(std::future::poll_fn(|cx| anew.poll_end(cx))).is_pending());
    }
}
