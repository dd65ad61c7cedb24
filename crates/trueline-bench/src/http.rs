//! As little HTTP/1.1 as a load generator needs: one kept connection, a request's bytes out, an answer in. Blocking, and
//! without retries, so that a failure is one.

use std::io::{self, BufRead, BufReader, Error, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Larger than any head of these tests.
const LARGEST_HEAD: u64 = 64 << 10;
/// Larger than any body of these tests.
const LARGEST_BODY: u64 = 1 << 30;

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The whole body.
    pub body: Vec<u8>,
}

/// A connection that is kept from request to request.
#[derive(Debug)]
pub struct Connection {
    stream: BufReader<TcpStream>,
    closes: bool,
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
        Ok(Self { stream: BufReader::new(stream), closes: false })
    }

    /// Sends a request and reads its answer to the end. After an error the connection is of no more use.
    ///
    /// # Errors
    /// What the network says, or `InvalidData` when what came is no HTTP/1.1 answer.
    pub fn ask(&mut self, request: &[u8]) -> io::Result<Answer> {
        self.stream.get_mut().write_all(request)?;
        loop {
            let answer = self.read_answer()?;
            // 1xx tells that the answer is still to come.
            if answer.status >= 200 {
                return Ok(answer);
            }
        }
    }

    /// Whether the server has said that it closes the connection now.
    #[must_use]
    pub fn closes(&self) -> bool {
        self.closes
    }

    fn read_answer(&mut self) -> io::Result<Answer> {
        let status_line = self.line()?;
        let code = status_line.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok());
        let status: u16 = code.ok_or_else(|| bad(format!("`{status_line}` is no status line")))?;
        let (mut length, mut chunked) = (None, false);
        loop {
            let line = self.line()?;
            if line.is_empty() {
                break;
            }
            let (name, value) = line.split_once(':').ok_or_else(|| bad(format!("`{line}` is no header")))?;
            let value = value.trim();
            match name.to_ascii_lowercase().as_str() {
                "content-length" => {
                    length = Some(value.parse::<u64>().map_err(|_| bad(format!("`{line}` is no length")))?);
                }
                "transfer-encoding" => chunked = value.eq_ignore_ascii_case("chunked"),
                "connection" => self.closes |= value.eq_ignore_ascii_case("close"),
                _ => {}
            }
        }
        let body = match (status, length) {
            (100..=199 | 204 | 304, _) => Vec::new(),
            _ if chunked => self.chunks()?,
            (_, Some(length)) => self.exactly(length)?,
            (_, None) => return Err(bad("an answer without a length".to_owned())),
        };
        Ok(Answer { status, body })
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        self.stream.by_ref().take(LARGEST_HEAD).read_line(&mut line)?;
        match line.strip_suffix("\r\n") {
            Some(line) => Ok(line.to_owned()),
            None => Err(Error::new(ErrorKind::UnexpectedEof, "the connection ended before the answer")),
        }
    }

    fn exactly(&mut self, length: u64) -> io::Result<Vec<u8>> {
        if length > LARGEST_BODY {
            return Err(bad(format!("a body of {length} bytes")));
        }
        let mut body = vec![0; usize::try_from(length).map_err(|e| bad(e.to_string()))?];
        self.stream.read_exact(&mut body)?;
        Ok(body)
    }

    fn chunks(&mut self) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let line = self.line()?;
            let size = line.split(';').next().unwrap_or_default();
            let size =
                u64::from_str_radix(size.trim(), 16).map_err(|_| bad(format!("a chunk of `{line}`")))?;
            if size == 0 {
                // Trailers, then an empty line.
                while !self.line()?.is_empty() {}
                return Ok(body);
            }
            body.extend(self.exactly(size)?);
            if !self.line()?.is_empty() {
                return Err(bad("a chunk that is longer than it says".to_owned()));
            }
        }
    }
}

fn bad(what: String) -> Error {
    Error::new(ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;
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
    fn an_answer_that_is_cut_off_is_a_failure() {
        for text in ["", "HTTP/1.1 200 OK\r\nconte", "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhello"] {
            let error = hears(text).ask(&get("/one/path")).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::UnexpectedEof, "{text}");
        }
    }
}
