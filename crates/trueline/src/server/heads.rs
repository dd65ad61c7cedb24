//! How long the head of a request may take to come. A client that sends half of one and falls silent would keep its connection
//! open for good. A clock is set only when something of a head has come and its end has to be waited for: most heads come whole,
//! and a connection that rests between two requests waits for none.

use super::patience::Patience;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The bytes with which a connection of HTTP/2 begins.
const PREFACE: usize = 24;

/// The requests of a connection so far.
#[derive(Debug, Default)]
pub(super) struct Requests {
    taken: AtomicU64,
    answered: AtomicU64,
}

impl Requests {
    /// An answer to a request whose head has come whole; the next one may come when it is there.
    pub(super) fn answered_by<F: Future>(
        self: &Arc<Self>,
        answer: F,
    ) -> impl Future<Output = F::Output> + use<F> {
        self.taken.fetch_add(1, Ordering::Relaxed);
        let requests = Arc::clone(self);
        async move {
            let answer = answer.await;
            requests.answered.fetch_add(1, Ordering::Relaxed);
            answer
        }
    }

    /// How many there were, if all are answered: what comes now is the head of the next.
    fn all(&self) -> Option<u64> {
        let taken = self.taken.load(Ordering::Relaxed);
        (self.answered.load(Ordering::Relaxed) == taken).then_some(taken)
    }
}

/// A connection that fails when the head of a request has been on its way for too long.
#[derive(Debug)]
pub(super) struct Heads<S> {
    connection: S,
    requests: Arc<Requests>,
    /// How many requests there were when something of the next one came.
    begun: Option<u64>,
    /// How many more bytes are looked at.
    looks_at: usize,
    patience: Patience,
}

impl<S> Heads<S> {
    /// Of HTTP/1.1, where each request has a head of its own.
    pub(super) fn one_by_one(connection: S, requests: Arc<Requests>, longest: Duration) -> Self {
        Self { connection, requests, begun: None, looks_at: usize::MAX, patience: Patience::of(longest) }
    }

    /// Of HTTP/2, where heads are pieces among others: how it begins is waited for, and no more.
    pub(super) fn among_others(connection: S, longest: Duration) -> Self {
        Self { looks_at: PREFACE, ..Self::one_by_one(connection, Arc::default(), longest) }
    }

    /// Notes that so many bytes came.
    fn came(&mut self, bytes: usize) {
        if self.looks_at < usize::MAX {
            self.looks_at = self.looks_at.saturating_sub(bytes);
        }
        let next = self.requests.all();
        if bytes > 0 && self.begun != next {
            self.begun = next;
            self.patience.rest();
        }
    }

    /// While an answer is on its way, the head behind it is not late.
    fn went(&mut self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if matches!(written, Poll::Ready(Ok(1..))) {
            self.patience.rest();
        }
        written
    }

    fn is_awaited(&self) -> bool {
        self.looks_at > 0 && self.begun.is_some() && self.begun == self.requests.all()
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Heads<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        if let Poll::Ready(read) = Pin::new(&mut self.connection).poll_read(cx, buffer) {
            self.came(buffer.filled().len() - before);
            return Poll::Ready(read);
        }
        if !self.is_awaited() {
            self.patience.rest();
            return Poll::Pending;
        }
        std::task::ready!(self.patience.poll_end(cx));
        let why = format!("the head of a request has not come whole within {:?}", self.patience.longest());
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, why)))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Heads<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.connection).poll_write(cx, bytes);
        self.went(written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.connection).poll_write_vectored(cx, pieces);
        self.went(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.connection.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    const SOON: Duration = Duration::from_millis(1);

    fn one_by_one() -> (DuplexStream, Arc<Requests>, Heads<DuplexStream>) {
        let (client, server) = duplex(256);
        let requests = Arc::new(Requests::default());
        (client, Arc::clone(&requests), Heads::one_by_one(server, requests, SOON))
    }

    async fn sends(client: &mut DuplexStream, heads: &mut Heads<DuplexStream>, text: &[u8]) {
        client.write_all(text).await.unwrap();
        let mut read = vec![0; text.len()];
        heads.read_exact(&mut read).await.unwrap();
    }

    /// Whether what comes next is waited for, with a clock or without.
    fn waits(heads: &mut Heads<DuplexStream>) -> bool {
        let mut read = [0; 8];
        let mut cx = Context::from_waker(std::task::Waker::noop());
        assert!(Pin::new(&mut *heads).poll_read(&mut cx, &mut ReadBuf::new(&mut read)).is_pending());
        heads.patience.is_set()
    }

    #[tokio::test]
    async fn half_a_head_is_not_waited_for_without_end() {
        let (mut client, _, mut heads) = one_by_one();
        sends(&mut client, &mut heads, b"GET / HTTP").await;
        let late = heads.read_u8().await.unwrap_err();
        assert_eq!(late.kind(), io::ErrorKind::TimedOut);
        assert_eq!(late.to_string(), "the head of a request has not come whole within 1ms");
    }

    #[tokio::test]
    async fn no_clock_is_set_before_a_head_begins_and_after_it_was_taken() {
        let (mut client, requests, mut heads) = one_by_one();
        assert!(!waits(&mut heads), "nothing has come");
        sends(&mut client, &mut heads, b"POST / HTTP/1.1").await;
        let answer = requests.answered_by(async {});
        assert!(!waits(&mut heads), "its head has come");
        sends(&mut client, &mut heads, b"body").await;
        assert!(!waits(&mut heads), "it is no head");
        answer.await;
        assert!(!waits(&mut heads), "it rests");
        sends(&mut client, &mut heads, b"G").await;
        assert!(waits(&mut heads), "the next one begins");
        sends(&mut client, &mut heads, b"ET").await;
        assert!(waits(&mut heads), "by and by");
        requests.answered_by(async {}).await;
        assert!(!waits(&mut heads), "and was answered");
    }

    #[tokio::test]
    async fn only_how_it_begins_is_waited_for_on_a_connection_of_http_2() {
        let (mut client, server) = duplex(256);
        let mut heads = Heads::among_others(server, SOON);
        sends(&mut client, &mut heads, b"PRI * HTTP/2.0").await;
        assert!(waits(&mut heads));
        sends(&mut client, &mut heads, b"\r\n\r\nSM\r\n\r\n").await;
        assert!(!waits(&mut heads));
        sends(&mut client, &mut heads, b"frames").await;
        assert!(!waits(&mut heads));
    }
}
