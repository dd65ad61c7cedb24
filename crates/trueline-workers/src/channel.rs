//! Frames over the socket to a worker, and the descriptors that travel with them.

use crate::body::Body;
use crate::frame::{Decoder, FrameError, HEADER, Header, Kind};
use bytes::Bytes;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use std::collections::VecDeque;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use tokio::io::Interest;
use tokio::net::UnixStream;

/// Bytes that are taken from the socket at once: an answer that is not apart comes whole, as a rule.
const TAKEN: usize = 96 << 10;
/// Descriptors that may wait for their frames. A frame has one.
const MOST_DESCRIPTORS: usize = 8;

/// A frame with its body.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) kind: Kind,
    pub(crate) id: u32,
    pub(crate) head: Bytes,
    pub(crate) body: Body,
}

/// Why there are no more frames.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ChannelError {
    #[error("the worker closed its socket")]
    Closed,
    #[error("{0}")]
    Frame(#[from] FrameError),
    #[error("a descriptor is missing, or one came that no frame speaks of")]
    Descriptor,
    #[error("its socket: {0}")]
    Socket(#[from] io::Error),
}

/// The server's end of a worker's socket.
#[derive(Debug)]
pub(crate) struct Channel {
    socket: UnixStream,
    decoder: Decoder,
    descriptors: VecDeque<OwnedFd>,
    taken: Vec<u8>,
}

impl Channel {
    /// A channel, and the worker's end of it. Bodies of answers may have so many bytes.
    pub(crate) fn pair(most_body: u64) -> io::Result<(Self, OwnedFd)> {
        let (own, other) = std::os::unix::net::UnixStream::pair()?;
        own.set_nonblocking(true)?;
        let channel = Self {
            socket: UnixStream::from_std(own)?,
            decoder: Decoder::new(most_body),
            descriptors: VecDeque::new(),
            taken: vec![0; TAKEN],
        };
        Ok((channel, other.into()))
    }

    /// Sends a frame, with a descriptor beside the one that its body may be in. Must not be dropped half-way.
    pub(crate) async fn send(
        &self,
        kind: Kind,
        id: u32,
        head: &[u8],
        body: &Body,
        beside: Option<BorrowedFd<'_>>,
    ) -> io::Result<()> {
        let length = u32::try_from(head.len()).map_err(io::Error::other)?;
        let apart = matches!(body, Body::Apart(..));
        let header = Header { kind, apart, id, head: length, body: body.len() }.to_bytes();
        let (inline, file): (&[u8], _) = match body {
            Body::Inline(bytes) => (bytes, None),
            Body::Apart(file, _) => (&[], Some(file.as_fd())),
        };
        let descriptors: Vec<BorrowedFd<'_>> = file.into_iter().chain(beside).collect();
        let all = HEADER + head.len() + inline.len();
        let mut sent = 0;
        while sent < all {
            sent += self
                .socket
                .async_io(Interest::WRITABLE, || {
                    let mut parts = [IoSlice::new(&header), IoSlice::new(head), IoSlice::new(inline)];
                    let mut left = parts.as_mut_slice();
                    IoSlice::advance_slices(&mut left, sent);
                    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
                    let mut ancillary = SendAncillaryBuffer::new(&mut space);
                    // They go with the first byte.
                    if sent == 0 && !descriptors.is_empty() {
                        ancillary.push(SendAncillaryMessage::ScmRights(&descriptors));
                    }
                    Ok(sendmsg(&self.socket, left, &mut ancillary, SendFlags::NOSIGNAL)?)
                })
                .await?;
        }
        Ok(())
    }

    /// The next frame. May be dropped at any time: what has come is kept.
    pub(crate) async fn receive(&mut self) -> Result<Message, ChannelError> {
        loop {
            if let Some(frame) = self.decoder.next()? {
                let body = if frame.header.apart {
                    let fd = self.descriptors.pop_front().ok_or(ChannelError::Descriptor)?;
                    Body::apart(fd, frame.header.body)?
                } else {
                    Body::Inline(frame.inline)
                };
                return Ok(Message { kind: frame.header.kind, id: frame.header.id, head: frame.head, body });
            }
            let (socket, descriptors, taken) = (&self.socket, &mut self.descriptors, &mut self.taken);
            let received = socket.async_io(Interest::READABLE, || take(socket, taken, descriptors)).await;
            let received = match received {
                // So ends one that has not read all that it was sent.
                Err(e) if e.kind() == io::ErrorKind::ConnectionReset => 0,
                others => others?,
            };
            if received == 0 {
                return Err(ChannelError::Closed);
            }
            if self.descriptors.len() > MOST_DESCRIPTORS {
                return Err(ChannelError::Descriptor);
            }
            self.decoder.push(&self.taken[..received]);
        }
    }
}

fn take(socket: &UnixStream, into: &mut [u8], descriptors: &mut VecDeque<OwnedFd>) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut parts = [IoSliceMut::new(into)];
    let received = recvmsg(socket, &mut parts, &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            descriptors.extend(rights);
        }
    }
    Ok(received.bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::body::Writer;

    fn body(content: &[u8], apart_above: u64) -> Body {
        let mut writer = Writer::new(content.len() as u64, apart_above).unwrap();
        writer.write(content).unwrap();
        writer.finish()
    }

    fn other_end(fd: OwnedFd) -> Channel {
        let socket = std::os::unix::net::UnixStream::from(fd);
        socket.set_nonblocking(true).unwrap();
        let socket = UnixStream::from_std(socket).unwrap();
        Channel {
            socket,
            decoder: Decoder::new(1 << 30),
            descriptors: VecDeque::new(),
            taken: vec![0; TAKEN],
        }
    }

    #[tokio::test]
    async fn bodies_arrive_whether_they_are_inline_or_apart() {
        let (one, fd) = Channel::pair(1 << 30).unwrap();
        let mut other = other_end(fd);
        let content: Vec<u8> = (0..300_000_u32).map(|n| (n % 251) as u8).collect();
        for apart_above in [u64::MAX, 100] {
            let sent = body(&content, apart_above);
            let send = async {
                for id in 0..3 {
                    one.send(Kind::Predict, id, b"{}", &sent, None).await.unwrap();
                }
            };
            let receive = async {
                for id in 0..3 {
                    let message = other.receive().await.unwrap();
                    assert_eq!(
                        (message.kind, message.id, &message.head[..]),
                        (Kind::Predict, id, &b"{}"[..])
                    );
                    assert_eq!(matches!(message.body, Body::Apart(..)), apart_above == 100);
                    assert_eq!(message.body.bytes().unwrap(), content);
                }
            };
            tokio::join!(send, receive);
        }
        drop(one);
        assert!(matches!(other.receive().await, Err(ChannelError::Closed)));
    }

    #[tokio::test]
    async fn a_file_that_is_no_memory_or_too_short_is_refused() {
        let send = async |file: std::fs::File, length: u64| {
            let (mut one, fd) = Channel::pair(1 << 30).unwrap();
            let other = other_end(fd);
            let sent = Body::Apart(file, length);
            other.send(Kind::Answer, 1, b"", &sent, None).await.unwrap();
            one.receive().await.unwrap_err().to_string()
        };
        let (_, pipe) = std::io::pipe().unwrap();
        let refused = send(std::fs::File::from(OwnedFd::from(pipe)), 10).await;
        assert!(refused.contains("not a file in memory"), "{refused}");
        let Body::Apart(short, _) = body(b"short", 0) else { panic!("it is inline") };
        let refused = send(short, 10).await;
        assert!(refused.contains("holds 5 bytes of 10"), "{refused}");
    }

    #[tokio::test]
    async fn a_frame_that_speaks_of_a_descriptor_comes_with_one() {
        let (mut one, fd) = Channel::pair(1 << 30).unwrap();
        let header = Header { kind: Kind::Answer, apart: true, id: 1, head: 0, body: 10 };
        std::io::Write::write_all(&mut std::os::unix::net::UnixStream::from(fd), &header.to_bytes()).unwrap();
        assert!(matches!(one.receive().await, Err(ChannelError::Descriptor)));
    }
}
