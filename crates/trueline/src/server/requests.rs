//! The requests of one connection: how many came, how many were answered, and whether the body of one is still on its way. What
//! waits for heads asks it what the bytes that come belong to.

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use futures::task::AtomicWaker;
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

/// The length of a body that comes in pieces.
const IN_PIECES: u64 = u64::MAX;

/// The requests of a connection so far.
#[derive(Debug, Default)]
pub(super) struct Requests {
    taken: AtomicU64,
    answered: AtomicU64,
    /// Bodies that are still read. It can be after the answer.
    coming: AtomicU64,
    /// How long the last body is.
    length: AtomicU64,
    /// Woken when a body has come to its end after its answer.
    waiting: AtomicWaker,
}

impl Requests {
    /// Counts a request whose head has come whole, and follows its body.
    pub(super) fn take(self: &Arc<Self>, request: Request<Incoming>) -> Request {
        self.begin(request.body().size_hint().exact());
        if request.body().is_end_stream() {
            return request.map(Body::new);
        }
        let coming = self.body();
        request.map(|body| Body::new(Followed { body, _coming: coming }))
    }

    /// A request with a body of this length, if its head says it.
    pub(super) fn begin(&self, length: Option<u64>) {
        self.length.store(length.unwrap_or(IN_PIECES), Ordering::Relaxed);
        self.taken.fetch_add(1, Ordering::Relaxed);
    }

    /// A body that is read until this is dropped.
    pub(super) fn body(self: &Arc<Self>) -> Coming {
        self.coming.fetch_add(1, Ordering::Relaxed);
        Coming(Arc::clone(self))
    }

    /// The answer to a request; the next one may come when it is there.
    pub(super) fn answered_by<F: Future>(
        self: &Arc<Self>,
        answer: F,
    ) -> impl Future<Output = F::Output> + use<F> {
        let requests = Arc::clone(self);
        async move {
            let answer = answer.await;
            requests.answered.fetch_add(1, Ordering::Relaxed);
            answer
        }
    }

    /// How many there were, if all are answered and no body is read any more: what comes now is the head of the next.
    pub(super) fn all(&self) -> Option<u64> {
        self.answered().filter(|_| self.coming.load(Ordering::Acquire) == 0)
    }

    /// How long the body of the last one is; none where it came in pieces.
    pub(super) fn length(&self) -> Option<u64> {
        Some(self.length.load(Ordering::Relaxed)).filter(|length| *length != IN_PIECES)
    }

    /// Has this task woken when nothing but a body is waited for and it has come to its end.
    pub(super) fn wake_after_body(&self, cx: &Context<'_>) {
        if self.answered().is_none() || self.coming.load(Ordering::Acquire) == 0 {
            return;
        }
        self.waiting.register(cx.waker());
        // It may have ended before anybody waited.
        if self.coming.load(Ordering::Acquire) == 0 {
            self.waiting.wake();
        }
    }

    fn answered(&self) -> Option<u64> {
        let taken = self.taken.load(Ordering::Relaxed);
        (self.answered.load(Ordering::Relaxed) == taken).then_some(taken)
    }
}

/// A body that is still read, until this is dropped.
#[derive(Debug)]
pub(super) struct Coming(Arc<Requests>);

impl Drop for Coming {
    fn drop(&mut self) {
        self.0.coming.fetch_sub(1, Ordering::Release);
        self.0.waiting.wake();
    }
}

/// A body as it comes, whose end is noted.
struct Followed {
    body: Incoming,
    _coming: Coming,
}

impl HttpBody for Followed {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
