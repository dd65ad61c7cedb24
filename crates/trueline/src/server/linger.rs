//! The body of a request on its way. A client that stops sending is not waited for without end. And nobody need read a body to
//! its end: an answer can be ready before the body has come, because a file is too large or a token opens nothing. Were the
//! connection closed then, a client that is still sending would find a broken pipe instead of the answer. So the rest is read
//! and forgotten, for a while.

use super::patience::Patience;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use axum::http::header;
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::time::timeout;

/// For how long a client may send nothing while its body is awaited.
const SILENCE: Duration = Duration::from_secs(30);
/// For how long a client may go on sending what nobody wants.
const LONGEST: Duration = Duration::from_secs(30);
/// For how long it may be silent meanwhile.
const SILENCE_UNHEARD: Duration = Duration::from_secs(5);

/// A request whose body is waited for with patience, and of which is read to its end, for a while, what the rest of the server
/// leaves.
pub(crate) fn lingering(request: Request) -> Request {
    if request.body().is_end_stream() {
        return request;
    }
    // Who asks whether to send at all has sent nothing, and would be told to.
    let lingers = !request.headers().contains_key(header::EXPECT);
    request.map(|body| Body::new(Coming { body, lingers, patience: Patience::of(SILENCE) }))
}

/// A body that fails when its client has been silent for too long, and whose rest may be read when it is dropped.
struct Coming {
    body: Body,
    lingers: bool,
    patience: Patience,
}

fn silent_for(longest: Duration) -> axum::Error {
    let why = format!("nothing more of the body came for {longest:?}");
    axum::Error::new(io::Error::new(io::ErrorKind::TimedOut, why))
}

impl HttpBody for Coming {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Ready(frame) => frame,
            Poll::Pending => {
                std::task::ready!(self.patience.poll_end(cx));
                Some(Err(silent_for(self.patience.longest())))
            }
        };
        self.patience.rest();
        if matches!(frame, None | Some(Err(_))) {
            self.body = Body::empty();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Coming {
    fn drop(&mut self) {
        if !self.lingers || self.body.is_end_stream() {
            return;
        }
        let mut rest = std::mem::take(&mut self.body);
        if let Ok(runtime) = Handle::try_current() {
            let reading =
                async move { while let Ok(Some(Ok(_))) = timeout(SILENCE_UNHEARD, rest.frame()).await {} };
            runtime.spawn(timeout(LONGEST, reading));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::StreamExt;
    use tokio::runtime::Builder;

    fn coming(body: Body, longest: Duration) -> Body {
        Body::new(Coming { body, lingers: false, patience: Patience::of(longest) })
    }

    #[test]
    fn no_clock_is_set_for_a_body_that_is_there() {
        // Threads on which no clock can be set: one that is panics.
        let without_clocks = Builder::new_current_thread().build().unwrap();
        let read = coming(Body::from("rows"), SILENCE).collect();
        assert_eq!(without_clocks.block_on(read).unwrap().to_bytes(), "rows");
    }

    #[tokio::test]
    async fn a_body_that_stops_fails() {
        let begun = futures::stream::iter([Ok::<_, axum::Error>("piece")]);
        let pieces = Body::from_stream(begun.chain(futures::stream::pending()));
        let mut body = coming(pieces, Duration::from_millis(1));
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "piece");
        let ended = body.frame().await.unwrap().unwrap_err();
        assert_eq!(ended.to_string(), "nothing more of the body came for 1ms");
    }

    #[tokio::test]
    async fn who_asks_whether_to_send_is_waited_for_and_not_lingered_with() {
        let asked = |expects: &[(&str, &str)]| {
            let pieces = futures::stream::pending::<Result<Bytes, axum::Error>>();
            let mut request = Request::builder();
            for (name, value) in expects {
                request = request.header(*name, *value);
            }
            lingering(request.body(Body::from_stream(pieces)).unwrap())
        };
        let tasks = || Handle::current().metrics().num_alive_tasks();
        let before = tasks();
        drop(asked(&[("expect", "100-continue")]));
        assert_eq!(tasks(), before, "nothing is read");
        drop(asked(&[]));
        assert_eq!(tasks(), before + 1, "the rest is read");
    }
}
