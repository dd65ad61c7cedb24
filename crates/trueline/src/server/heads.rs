//! How long the head of a request may take to come. A client that sends half of one and falls silent would keep its connection
//! open for good. A clock is set only when something of a head has come and its end has to be waited for: most heads come whole,
//! and a connection that rests between two requests waits for none.

use super::patience::Patience;
use super::requests::Requests;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The bytes with which a connection of HTTP/2 begins.
const PREFACE: usize = 24;

/// What has come since nothing was waited for: of a head, and behind it.
#[derive(Debug, Default)]
struct Came {
    /// Whether a line of the head has come that is not empty. Empty ones before it are no part of it.
    has_line: bool,
    /// Whether something has come of the line that is not at its end.
    in_line: bool,
    /// How many bytes have come behind the head, once it is whole.
    behind: Option<u64>,
    /// The last bytes.
    tail: [u8; 3],
}

impl Came {
    fn add(&mut self, bytes: &[u8]) {
        self.behind = match self.behind {
            Some(before) => Some(before + bytes.len() as u64),
            None => self.end_of_head(bytes).map(|end| (bytes.len() - end) as u64),
        };
        for byte in &bytes[bytes.len().saturating_sub(self.tail.len())..] {
            self.tail.rotate_left(1);
            self.tail[2] = *byte;
        }
    }

    /// Where the head ends in these bytes: behind the first line that is empty, as lenient as the reader is about line ends.
    fn end_of_head(&mut self, bytes: &[u8]) -> Option<usize> {
        let is_blank = |text: &[u8]| matches!(text, b"" | b"\r");
        let mut at = 0;
        while let Some(length) = bytes[at..].iter().position(|byte| *byte == b'\n') {
            let empty = !self.in_line && is_blank(&bytes[at..at + length]);
            at += length + 1;
            if empty && self.has_line {
                return Some(at);
            }
            self.has_line |= !empty;
            self.in_line = false;
        }
        if !is_blank(&bytes[at..]) {
            (self.has_line, self.in_line) = (true, true);
        }
        None
    }

    /// Whether it ends as heads do, and bodies that come in pieces.
    fn ends_with_empty_line(&self) -> bool {
        self.tail == *b"\n\r\n" || self.tail[1..] == *b"\n\n"
    }

    /// That what is left is a head that has begun.
    fn is_head(&mut self) {
        let in_line = self.tail[2] != b'\n' && self.tail[1..] != *b"\n\r";
        *self = Self { has_line: true, in_line, behind: None, tail: self.tail };
    }
}

/// A connection that fails when the head of a request has been on its way for too long.
#[derive(Debug)]
pub(super) struct Heads<S> {
    connection: S,
    requests: Arc<Requests>,
    /// How many requests there were when something of the next one came.
    begun: Option<u64>,
    /// What came since then.
    came: Came,
    /// How many more bytes are looked at.
    looks_at: usize,
    patience: Patience,
}

impl<S> Heads<S> {
    /// Of HTTP/1.1, where each request has a head of its own.
    pub(super) fn one_by_one(connection: S, requests: Arc<Requests>, longest: Duration) -> Self {
        let (begun, came, patience) = (None, Came::default(), Patience::of(longest));
        Self { connection, requests, begun, came, looks_at: usize::MAX, patience }
    }

    /// Of HTTP/2, where heads are pieces among others: how it begins is waited for, and no more.
    pub(super) fn among_others(connection: S, longest: Duration) -> Self {
        Self { looks_at: PREFACE, ..Self::one_by_one(connection, Arc::default(), longest) }
    }

    /// Notes what came.
    fn came(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        if let Some(next) = self.requests.all().filter(|next| self.begun != Some(*next)) {
            if self.has_left(next) {
                self.came.is_head();
            } else {
                self.came = Came::default();
                self.patience.rest();
            }
            self.begun = Some(next);
        }
        match self.looks_at {
            usize::MAX => self.came.add(bytes),
            _ => self.looks_at = self.looks_at.saturating_sub(bytes.len()),
        }
    }

    /// Whether something of the next head has come, when there were so many requests and all are answered. Where several came
    /// at once, where each of them ends is not known: they have left something unless the last one ends as a head does. What
    /// has not may be closed as if it had, which a client that sends so has to expect of a server.
    fn has_left(&self, requests: u64) -> bool {
        match (self.begun.map(|begun| requests - begun), self.came.behind, self.requests.length()) {
            (None, ..) => false,
            (Some(0), ..) => true,
            (Some(1), Some(behind), Some(length)) => behind > length,
            _ => !self.came.ends_with_empty_line(),
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
        self.looks_at > 0 && self.requests.all().is_some_and(|requests| self.has_left(requests))
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
            self.came(&buffer.filled()[before..]);
            return Poll::Ready(read);
        }
        if !self.is_awaited() {
            self.patience.rest();
            self.requests.wake_after_body(cx);
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
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::task::{Wake, Waker};
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    const SOON: Duration = Duration::from_millis(1);

    #[derive(Default)]
    struct Woken(AtomicBool);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::SeqCst);
        }
    }

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
        sends(&mut client, &mut heads, b"POST / HTTP/1.1\r\n\r").await;
        assert!(waits(&mut heads), "it is not whole");
        sends(&mut client, &mut heads, b"\n").await;
        requests.begin(Some(4));
        assert!(!waits(&mut heads), "its head has come");
        sends(&mut client, &mut heads, b"body").await;
        assert!(!waits(&mut heads), "it is no head");
        requests.answered_by(async {}).await;
        assert!(!waits(&mut heads), "it rests");
        sends(&mut client, &mut heads, b"G").await;
        assert!(waits(&mut heads), "the next one begins");
        sends(&mut client, &mut heads, b"ET /\n\n").await;
        assert!(waits(&mut heads), "by and by");
        requests.begin(Some(0));
        requests.answered_by(async {}).await;
        assert!(!waits(&mut heads), "and was answered");
    }

    #[tokio::test]
    async fn what_comes_of_a_head_with_the_request_before_it_is_not_waited_for_without_end() {
        let whole = "\r\nGET / HTTP/1.1\r\nhost: h\r\n\r\n";
        for (came, lengths, left) in [
            (format!("{whole}GET / H"), [Some(0), None], true),
            (format!("{whole}body"), [Some(4), None], false),
            (format!("{whole}bodyG"), [Some(4), None], true),
            (format!("{whole}1\r\nx\r\n0\r\n\r\n"), [None, None], false),
            (format!("{whole}1\r\nx\r\n0\r\n\r\nGET"), [None, None], true),
            (format!("{whole}{whole}"), [Some(0), Some(0)], false),
            (format!("{whole}{whole}GET /\r\n"), [Some(0), Some(0)], true),
        ] {
            let (mut client, requests, mut heads) = one_by_one();
            sends(&mut client, &mut heads, came.as_bytes()).await;
            let taken = if came.matches("host").count() == 2 { 2 } else { 1 };
            for length in &lengths[..taken] {
                requests.begin(*length);
                assert!(!waits(&mut heads), "{came:?}: nothing is late before its answer");
                requests.answered_by(async {}).await;
            }
            assert_eq!(waits(&mut heads), left, "{came:?}");
            // Drop by drop it does not get more time.
            sends(&mut client, &mut heads, b"x").await;
            assert!(waits(&mut heads), "{came:?}");
            if left {
                let late = heads.read_u8().await.unwrap_err();
                assert_eq!(late.kind(), io::ErrorKind::TimedOut, "{came:?}");
            }
        }
    }

    #[tokio::test]
    async fn a_body_that_is_read_on_after_its_answer_is_no_head() {
        let (mut client, requests, mut heads) = one_by_one();
        sends(&mut client, &mut heads, b"POST / HTTP/1.1\r\n\r\n").await;
        requests.begin(Some(8));
        let body = requests.body();
        requests.answered_by(async {}).await;
        sends(&mut client, &mut heads, b"half").await;
        assert!(!waits(&mut heads), "it is read");
        sends(&mut client, &mut heads, b"and more").await;
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(Arc::clone(&woken));
        let (mut cx, mut read) = (Context::from_waker(&waker), [0; 8]);
        assert!(Pin::new(&mut heads).poll_read(&mut cx, &mut ReadBuf::new(&mut read)).is_pending());
        drop(body);
        assert!(woken.0.load(Ordering::SeqCst), "what is left of the next head gets its clock");
        assert!(waits(&mut heads));
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
