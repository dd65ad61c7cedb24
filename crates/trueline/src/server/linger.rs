//! What becomes of a request's body that nobody read to its end. An answer can be ready before the body has come: a file
//! that is too large, a token that opens nothing. Were the connection closed then, a client that is still sending would
//! find a broken pipe instead of the answer. So the rest is read and forgotten, for a while.

use super::patience::Awaited;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use axum::http::header;
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::time::timeout;

/// For how long a client may go on sending what nobody wants.
const LONGEST: Duration = Duration::from_secs(30);
/// For how long it may be silent meanwhile.
const SILENCE: Duration = Duration::from_secs(5);

/// A request of which is read to its end, for a while, what the rest of the server leaves.
pub(crate) fn lingering(request: Request) -> Request {
    // Who asks whether to send at all has sent nothing, and would be told to.
    let asks_first = request.headers().contains_key(header::EXPECT);
    if asks_first || request.body().is_end_stream() {
        return request;
    }
    request.map(|body| Body::new(Lingering(Awaited::new(body))))
}

/// A body whose rest is read when it is dropped.
struct Lingering(Awaited);

impl HttpBody for Lingering {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = Pin::new(&mut self.0).poll_frame(cx);
        if matches!(frame, Poll::Ready(None | Some(Err(_)))) {
            self.0 = Awaited::default();
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}

impl Drop for Lingering {
    fn drop(&mut self) {
        if self.0.is_end_stream() {
            return;
        }
        let mut rest = std::mem::take(&mut self.0).into_body();
        if let Ok(runtime) = Handle::try_current() {
            let reading = async move { while let Ok(Some(Ok(_))) = timeout(SILENCE, rest.frame()).await {} };
            runtime.spawn(timeout(LONGEST, reading));
        }
    }
}
