//! How long a request may take and its body be awaited. Clocks are only set for what has to be waited for: most short requests
//! are there whole and are answered at once, and a clock for each would cost more than their answer.

use axum::body::{Body, Bytes, HttpBody};
use http_body::{Frame, SizeHint};
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Sleep, sleep, timeout};

/// For how long a client may send nothing while its body is awaited.
const SILENCE: Duration = Duration::from_secs(30);

/// What this comes to within so long; none when it takes longer.
pub(super) async fn within<T>(longest: Duration, work: impl Future<Output = T>) -> Option<T> {
    let mut work = pin!(work);
    match futures::poll!(work.as_mut()) {
        Poll::Ready(done) => Some(done),
        Poll::Pending => timeout(longest, work).await.ok(),
    }
}

/// A body that fails when its client has been silent for too long.
pub(super) struct Awaited {
    body: Body,
    longest: Duration,
    /// Rings when it has been; set while it is.
    silent: Option<Pin<Box<Sleep>>>,
}

impl Awaited {
    pub(super) fn new(body: Body) -> Self {
        Self { body, longest: SILENCE, silent: None }
    }

    /// What nobody waits for any more.
    pub(super) fn into_body(self) -> Body {
        self.body
    }
}

impl Default for Awaited {
    fn default() -> Self {
        Self::new(Body::empty())
    }
}

fn silent_for(longest: Duration) -> axum::Error {
    let why = format!("nothing more of the body came for {longest:?}");
    axum::Error::new(io::Error::new(io::ErrorKind::TimedOut, why))
}

impl HttpBody for Awaited {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) {
            self.silent = None;
            return Poll::Ready(frame);
        }
        let longest = self.longest;
        let silent = self.silent.get_or_insert_with(|| Box::pin(sleep(longest)));
        silent.as_mut().poll(cx).map(|()| Some(Err(silent_for(longest))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::StreamExt;
    use http_body_util::BodyExt;
    use tokio::runtime::{Builder, Runtime};

    /// Threads on which no clock can be set: one that is panics.
    fn without_clocks() -> Runtime {
        Builder::new_current_thread().build().unwrap()
    }

    #[test]
    fn no_clock_is_set_for_what_is_there() {
        let read = async {
            let body = Body::new(Awaited::new(Body::from("rows")));
            body.collect().await.unwrap().to_bytes()
        };
        let done = without_clocks().block_on(within(Duration::from_secs(1), read));
        assert_eq!(done.unwrap(), "rows");
    }

    #[tokio::test]
    async fn what_takes_too_long_is_given_up() {
        assert_eq!(within(Duration::from_millis(1), std::future::pending::<()>()).await, None);
        assert_eq!(within(Duration::MAX, tokio::task::yield_now()).await, Some(()));
    }

    #[tokio::test]
    async fn a_body_that_stops_fails() {
        let begun = futures::stream::iter([Ok::<_, axum::Error>("piece")]);
        let pieces = Body::from_stream(begun.chain(futures::stream::pending()));
        let mut body = Awaited { longest: Duration::from_millis(1), ..Awaited::new(pieces) };
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "piece");
        let ended = body.frame().await.unwrap().unwrap_err();
        assert_eq!(ended.to_string(), "nothing more of the body came for 1ms");
    }
}
