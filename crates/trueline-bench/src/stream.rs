//! Bodies of any size over HTTP/1.1 in constant memory: a pattern that is sent, and compared when it comes back.

use anyhow::{Context, bail, ensure};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Bytes sent and read at a time.
pub(crate) const PIECE: usize = 1 << 20;
/// For how long the other side may be silent: a large upload is put together and brought to the disk in that time.
const PATIENCE: Duration = Duration::from_secs(900);

/// Bytes that no file system or link can make smaller, the same in each run: a piece that is repeated, with its number at
/// its beginning.
#[derive(Clone, Debug)]
pub(crate) struct Pattern {
    piece: Vec<u8>,
}

impl Pattern {
    pub(crate) fn new() -> Self {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut piece = Vec::with_capacity(PIECE);
        while piece.len() < PIECE {
            // xorshift64 (Marsaglia 2003).
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            piece.extend_from_slice(&state.to_le_bytes());
        }
        Self { piece }
    }

    /// The piece with this number.
    pub(crate) fn piece(&mut self, number: u64) -> &[u8] {
        self.piece[..8].copy_from_slice(&number.to_le_bytes());
        &self.piece
    }
}

/// The status and headers of an answer, as text.
struct Head {
    status: u16,
    headers: Vec<(String, String)>,
}

impl Head {
    fn read(from: &mut impl BufRead) -> anyhow::Result<Self> {
        let mut line = String::new();
        from.read_line(&mut line)?;
        let status = line.split(' ').nth(1).and_then(|code| code.parse().ok());
        let status = status.with_context(|| format!("`{line}` is no status line"))?;
        let mut headers = Vec::new();
        loop {
            line.clear();
            from.read_line(&mut line)?;
            match line.trim_end().split_once(':') {
                Some((name, value)) => headers.push((name.to_ascii_lowercase(), value.trim().to_owned())),
                None => return Ok(Self { status, headers }),
            }
        }
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }
}

fn connect(address: SocketAddr) -> anyhow::Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// Sends `bytes` bytes of the pattern from a piece on; answers the ETag of what was made.
pub(crate) fn put(address: SocketAddr, path: &str, first: u64, bytes: u64) -> anyhow::Result<String> {
    let mut stream = connect(address)?;
    let head = format!("PUT {path} HTTP/1.1\r\nhost: {address}\r\ncontent-length: {bytes}\r\n\r\n");
    stream.write_all(head.as_bytes())?;
    let (mut pattern, mut number, mut left) = (Pattern::new(), first, bytes);
    while left > 0 {
        let piece = pattern.piece(number);
        let n = piece.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        stream.write_all(&piece[..n])?;
        left -= n as u64;
        number += 1;
    }
    let mut answer = BufReader::new(stream);
    let head = Head::read(&mut answer)?;
    if head.status != 200 {
        let mut told = String::new();
        let _ = answer.take(2_000).read_to_string(&mut told);
        bail!("PUT {path}: {} {told}", head.status);
    }
    Ok(head.get("etag").unwrap_or_default().to_owned())
}

/// Reads what [`put`] sent from the first piece on, and compares it.
pub(crate) fn get(address: SocketAddr, path: &str, bytes: u64) -> anyhow::Result<()> {
    let mut stream = connect(address)?;
    stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: {address}\r\n\r\n").as_bytes())?;
    let mut answer = BufReader::with_capacity(PIECE, stream);
    let head = Head::read(&mut answer)?;
    ensure!(head.status == 200, "GET {path}: {}", head.status);
    ensure!(head.get("content-length") == Some(&bytes.to_string()), "GET {path}: not {bytes} bytes");
    let (mut pattern, mut number, mut left) = (Pattern::new(), 0, bytes);
    let mut got = vec![0; PIECE];
    while left > 0 {
        let n = PIECE.min(usize::try_from(left).unwrap_or(usize::MAX));
        answer.read_exact(&mut got[..n])?;
        ensure!(got[..n] == pattern.piece(number)[..n], "GET {path}: other bytes in piece {number}");
        left -= n as u64;
        number += 1;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_differ_by_their_number_alone() {
        let mut pattern = Pattern::new();
        let one = pattern.piece(1).to_vec();
        assert_eq!(one.len(), PIECE);
        assert_ne!(one, pattern.piece(2));
        assert_eq!(one, Pattern::new().piece(1));
    }
}
