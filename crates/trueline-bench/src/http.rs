//! As little HTTP/1.1 as a load generator needs: a request's bytes out, an answer in, over a kept connection. Without
//! retries, so that a failure is one.

use std::io::{self, Error, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Larger than any head of these tests.
const LARGEST_HEAD: usize = 64 << 10;
const MOST_HEADERS: usize = 64;
/// Larger than any body of these tests.
const LARGEST_BODY: u64 = 1 << 30;
/// What is read at once, at least.
const SPACE: usize = 16 << 10;

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The whole body.
    pub body: Vec<u8>,
}

/// A connection that is kept from request to request, for one caller who waits.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    inbox: Inbox,
}

/// The bytes of a request with a JSON body.
#[must_use]
pub fn post_json(path: &str, body: &str) -> Vec<u8> {
    post_json_with(path, &[], body)
}

/// The same with headers of its own.
#[must_use]
pub fn post_json_with(path: &str, headers: &[(&str, &str)], body: &str) -> Vec<u8> {
    post(path, "application/json", headers, body.as_bytes())
}

/// The bytes of a request with a body of any type.
#[must_use]
pub fn post(path: &str, content_type: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: {content_type}\r\ncontent-length: {length}\r\n\
         {headers}\r\n"
    );
    [head.as_bytes(), body].concat()
}

/// The bytes of a request without a body.
#[must_use]
pub fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n").into_bytes()
}

impl Connection {
    /// Connects. `timeout` bounds the connecting and every wait for bytes after it.
    ///
    /// # Errors
    /// What the network says.
    pub fn open(address: SocketAddr, timeout: Duration) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, timeout)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(timeout))?;
        stream.set_write_timeout(Some(timeout))?;
        Ok(Self { stream, inbox: Inbox::default() })
    }

    /// Sends a request and reads its answer to the end. After an error the connection is of no more use.
    ///
    /// # Errors
    /// What the network says, or `InvalidData` when what came is no HTTP/1.1 answer.
    pub fn ask(&mut self, request: &[u8]) -> io::Result<Answer> {
        self.stream.write_all(request)?;
        loop {
            if let Some(answer) = self.inbox.answer()? {
                return Ok(answer);
            }
            self.inbox.read(&mut self.stream)?;
        }
    }

    /// Whether the server has said that it closes the connection now.
    #[must_use]
    pub fn closes(&self) -> bool {
        self.inbox.closes
    }
}

/// What has come over a connection and was not asked for yet.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    bytes: Vec<u8>,
    /// Up to where `bytes` are what came.
    end: usize,
    /// The head of the answer whose body is still to come.
    head: Option<Head>,
    /// Whether the server has said that it closes the connection.
    pub(crate) closes: bool,
}

#[derive(Debug)]
struct Head {
    status: u16,
    /// Where what has not been looked at begins.
    at: usize,
    body: Body,
}

#[derive(Debug)]
enum Body {
    Of(usize),
    /// What came of it so far.
    Chunked(Vec<u8>),
    /// Its last chunk is there; trailers follow.
    Trailers(Vec<u8>),
}

impl Inbox {
    /// Reads once.
    pub(crate) fn read(&mut self, mut from: impl Read) -> io::Result<()> {
        if self.bytes.len() - self.end < SPACE {
            let whole = match &self.head {
                Some(Head { at, body: Body::Of(length), .. }) => at + length,
                _ => 0,
            };
            self.bytes.resize(whole.max(self.end + SPACE), 0);
        }
        let n = from.read(&mut self.bytes[self.end..])?;
        if n == 0 {
            return Err(Error::new(ErrorKind::UnexpectedEof, "the connection ended before the answer"));
        }
        self.end += n;
        Ok(())
    }

    /// The next answer, if it is there whole. What says 1xx only tells that the answer is still to come.
    pub(crate) fn answer(&mut self) -> io::Result<Option<Answer>> {
        loop {
            if self.head.is_none() {
                self.head = self.read_head()?;
            }
            let Some(mut head) = self.head.take() else { return Ok(None) };
            let Some(body) = self.read_body(&mut head)? else {
                self.head = Some(head);
                return Ok(None);
            };
            self.bytes.copy_within(head.at..self.end, 0);
            self.end -= head.at;
            if head.status >= 200 {
                return Ok(Some(Answer { status: head.status, body }));
            }
        }
    }

    fn read_head(&mut self) -> io::Result<Option<Head>> {
        let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
        let mut response = httparse::Response::new(&mut headers);
        let parsed = response.parse(&self.bytes[..self.end]).map_err(|e| bad(e.to_string()))?;
        let httparse::Status::Complete(at) = parsed else {
            let too_long = self.end > LARGEST_HEAD;
            return if too_long { Err(bad("a head without an end".to_owned())) } else { Ok(None) };
        };
        let status = response.code.unwrap_or_default();
        let (mut length, mut chunked) = (None, false);
        for header in response.headers.iter() {
            let value = std::str::from_utf8(header.value).map_err(|e| bad(e.to_string()))?.trim();
            if header.name.eq_ignore_ascii_case("content-length") {
                length = Some(value.parse().map_err(|_| bad(format!("`{value}` is no length")))?);
            } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
                chunked = value.eq_ignore_ascii_case("chunked");
            } else if header.name.eq_ignore_ascii_case("connection") {
                self.closes |= value.eq_ignore_ascii_case("close");
            }
        }
        let body = match (status, length) {
            (100..=199 | 204 | 304, _) => Body::Of(0),
            _ if chunked => Body::Chunked(Vec::new()),
            (_, Some(length)) => Body::Of(bounded(length)?),
            (_, None) => return Err(bad("an answer without a length".to_owned())),
        };
        Ok(Some(Head { status, at, body }))
    }

    /// The body, if it is there whole; `head` then tells where the next answer begins.
    fn read_body(&self, head: &mut Head) -> io::Result<Option<Vec<u8>>> {
        loop {
            let came = &self.bytes[head.at..self.end];
            match &mut head.body {
                Body::Of(length) => {
                    let Some(body) = came.get(..*length) else { return Ok(None) };
                    head.at += *length;
                    return Ok(Some(body.to_vec()));
                }
                Body::Chunked(body) => {
                    let size = httparse::parse_chunk_size(came).map_err(|e| bad(e.to_string()))?;
                    let httparse::Status::Complete((from, size)) = size else { return Ok(None) };
                    let size = bounded(size)?;
                    if size == 0 {
                        head.at += from;
                        head.body = Body::Trailers(std::mem::take(body));
                        continue;
                    }
                    let Some(chunk) = came.get(from..from + size + 2) else { return Ok(None) };
                    let Some(chunk) = chunk.strip_suffix(b"\r\n") else {
                        return Err(bad("a chunk that is longer than it says".to_owned()));
                    };
                    body.extend_from_slice(chunk);
                    head.at += from + size + 2;
                }
                Body::Trailers(body) => {
                    let Some(line) = came.windows(2).position(|two| two == b"\r\n") else { return Ok(None) };
                    head.at += line + 2;
                    if line == 0 {
                        return Ok(Some(std::mem::take(body)));
                    }
                }
            }
        }
    }
}

fn bounded(length: u64) -> io::Result<usize> {
    let fits = usize::try_from(length).ok().filter(|_| length <= LARGEST_BODY);
    fits.ok_or_else(|| bad(format!("a body of {length} bytes")))
}

fn bad(what: String) -> Error {
    Error::new(ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader};
    use std::net::TcpListener;

    /// A connection to a peer that says `text` and closes.
    fn hears(text: &'static str) -> Connection {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            let (mut peer, _) = listener.accept().unwrap();
            // A peer that closes with the request unread resets the connection.
            let request = BufReader::new(peer.try_clone().unwrap()).lines().map(Result::unwrap);
            assert!(request.take_while(|line| !line.is_empty()).count() > 0);
            peer.write_all(text.as_bytes()).unwrap();
        });
        Connection::open(address, Duration::from_secs(5)).unwrap()
    }

    #[test]
    fn bodies_with_a_length_and_in_chunks_are_read_whole_on_one_connection() {
        let mut connection = hears(
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello\
             HTTP/1.1 404 Not Found\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n3;x=1\r\nabc\r\n1\r\nd\r\n0\r\n\r\n",
        );
        let first = connection.ask(&get("/one/path")).unwrap();
        assert_eq!((first.status, first.body.as_slice()), (200, &b"hello"[..]));
        assert!(!connection.closes());
        let second = connection.ask(b"").unwrap();
        assert_eq!((second.status, second.body.as_slice()), (404, &b"abcd"[..]));
        assert!(connection.closes());
    }

    #[test]
    fn an_answer_reads_the_same_however_its_bytes_come() {
        let text = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello\
             HTTP/1.1 201 Created\r\ntransfer-encoding: chunked\r\n\r\n3;x=1\r\nabc\r\n1\r\nd\r\n0\r\nt: 1\r\n\r\n";
        for step in 1..text.len() {
            let (mut inbox, mut answers) = (Inbox::default(), Vec::new());
            for some in text.as_bytes().chunks(step) {
                inbox.read(some).unwrap();
                while let Some(answer) = inbox.answer().unwrap() {
                    answers.push((answer.status, answer.body));
                }
            }
            assert_eq!(answers, [(200, b"hello".to_vec()), (201, b"abcd".to_vec())], "{step} bytes at once");
            assert_eq!(inbox.end, 0, "nothing is left");
        }
    }

    #[test]
    fn what_is_no_answer_is_refused() {
        let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
        for text in [
            "220 mail.example\r\n".to_owned(),
            "HTTP/1.1 200 OK\r\n\r\n".to_owned(),
            "HTTP/1.1 200 OK\r\ncontent-length: 2147483648\r\n\r\n".to_owned(),
            format!("{chunked}x\r\n"),
            format!("{chunked}2\r\nabc\r\n"),
        ] {
            let mut inbox = Inbox::default();
            inbox.read(text.as_bytes()).unwrap();
            assert_eq!(inbox.answer().unwrap_err().kind(), ErrorKind::InvalidData, "{text}");
        }
    }

    #[test]
    fn an_answer_that_is_cut_off_is_a_failure() {
        for text in ["", "HTTP/1.1 200 OK\r\nconte", "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhello"] {
            let error = hears(text).ask(&get("/one/path")).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::UnexpectedEof, "{text}");
        }
    }
}
