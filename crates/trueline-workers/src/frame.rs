//! Frames as bytes: the header, and the decoder that cuts a stream into frames. Pure: no socket, no file.
//!
//! What comes from a worker comes from code of a model, so nothing here trusts a length: memory is taken for bytes that have
//! come, never for bytes that were announced.

use bytes::{Buf, Bytes, BytesMut};

/// Bytes of a header.
pub(crate) const HEADER: usize = 24;
const MAGIC: [u8; 4] = *b"TLw1";
/// The flag of a body that is in a memfd.
const APART: u8 = 1;
/// The largest head: the names and places of tensors, params, a traceback.
const LONGEST_HEAD: u32 = 16 << 20;

/// What a frame is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// To the worker: what to load, and how.
    Start = 1,
    /// From the worker: the versions of what it runs on.
    Hello = 2,
    /// From the worker: the model is loaded.
    Ready = 3,
    /// From the worker: there will be no hello, or no model.
    Failed = 4,
    /// To the worker: tensors.
    Predict = 5,
    /// To the worker: a body as it came over HTTP.
    Invoke = 6,
    /// From the worker: the answer to either.
    Answer = 7,
}

impl Kind {
    fn of(byte: u8) -> Option<Self> {
        use Kind::{Answer, Failed, Hello, Invoke, Predict, Ready, Start};
        [Start, Hello, Ready, Failed, Predict, Invoke, Answer].into_iter().find(|k| *k as u8 == byte)
    }
}

/// The header of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) kind: Kind,
    /// Whether the body is in a memfd that comes with the frame.
    pub(crate) apart: bool,
    /// The number of the request; 0 where there is none.
    pub(crate) id: u32,
    /// Bytes of the head.
    pub(crate) head: u32,
    /// Bytes of the body.
    pub(crate) body: u64,
}

/// Why bytes are no frame.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FrameError {
    #[error("a frame begins with {0:02x?}; something else writes to the worker's socket")]
    Magic([u8; 4]),
    #[error("a frame is of the unknown kind {0}")]
    Kind(u8),
    #[error("a frame has the unknown flags {0:#x}")]
    Flags(u8),
    #[error("a frame's head has {length} bytes, more than {limit}")]
    Head { length: u32, limit: u32 },
    #[error("a frame's body has {length} bytes, more than {limit}")]
    Body { length: u64, limit: u64 },
}

impl Header {
    pub(crate) fn to_bytes(self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        bytes[..4].copy_from_slice(&MAGIC);
        bytes[4] = self.kind as u8;
        bytes[5] = if self.apart { APART } else { 0 };
        bytes[8..12].copy_from_slice(&self.id.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.head.to_le_bytes());
        bytes[16..].copy_from_slice(&self.body.to_le_bytes());
        bytes
    }

    /// Reads a header whose body may have so many bytes.
    pub(crate) fn parse(bytes: &[u8; HEADER], most_body: u64) -> Result<Self, FrameError> {
        let mut rest = bytes.as_slice();
        let mut magic = [0; 4];
        rest.copy_to_slice(&mut magic);
        if magic != MAGIC {
            return Err(FrameError::Magic(magic));
        }
        let kind = rest.get_u8();
        let kind = Kind::of(kind).ok_or(FrameError::Kind(kind))?;
        let flags = rest.get_u8();
        if flags & !APART != 0 || rest.get_u16_le() != 0 {
            return Err(FrameError::Flags(flags));
        }
        let (id, head, body) = (rest.get_u32_le(), rest.get_u32_le(), rest.get_u64_le());
        if head > LONGEST_HEAD {
            return Err(FrameError::Head { length: head, limit: LONGEST_HEAD });
        }
        if body > most_body {
            return Err(FrameError::Body { length: body, limit: most_body });
        }
        Ok(Self { kind, apart: flags & APART != 0, id, head, body })
    }

    /// Bytes that follow the header on the socket.
    fn follows(&self) -> u64 {
        u64::from(self.head) + if self.apart { 0 } else { self.body }
    }
}

/// A frame as it came over the socket; a body that is apart is not in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) header: Header,
    pub(crate) head: Bytes,
    pub(crate) inline: Bytes,
}

/// Cuts a stream of bytes into frames.
#[derive(Debug)]
pub(crate) struct Decoder {
    received: BytesMut,
    header: Option<Header>,
    most_body: u64,
}

impl Decoder {
    pub(crate) fn new(most_body: u64) -> Self {
        Self { received: BytesMut::new(), header: None, most_body }
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.received.extend_from_slice(bytes);
    }

    /// The next frame, when all of it has come.
    pub(crate) fn next(&mut self) -> Result<Option<Frame>, FrameError> {
        let header = match self.header {
            Some(header) => header,
            None => {
                let Some(bytes) = self.received.first_chunk() else { return Ok(None) };
                let header = Header::parse(bytes, self.most_body)?;
                self.received.advance(HEADER);
                *self.header.insert(header)
            }
        };
        if (self.received.len() as u64) < header.follows() {
            return Ok(None);
        }
        self.header = None;
        let head = self.received.split_to(header.head as usize).freeze();
        // What has come fits into memory, and so does its length.
        let inline = if header.apart { 0 } else { header.body as usize };
        let inline = self.received.split_to(inline).freeze();
        Ok(Some(Frame { header, head, inline }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn header() -> impl Strategy<Value = Header> {
        (1_u8..=7, any::<bool>(), any::<u32>(), 0_u32..2_000, 0_u64..2_000).prop_map(
            |(kind, apart, id, head, body)| Header { kind: Kind::of(kind).unwrap(), apart, id, head, body },
        )
    }

    proptest! {
        #[test]
        fn frames_come_out_as_they_went_in_however_the_stream_was_cut(
            headers in prop::collection::vec(header(), 0..6),
            cut in 1_usize..700,
        ) {
            let mut stream = Vec::new();
            for header in &headers {
                stream.extend(header.to_bytes());
                stream.extend(vec![7; header.follows() as usize]);
            }
            let mut decoder = Decoder::new(2_000);
            let mut found = Vec::new();
            for piece in stream.chunks(cut) {
                decoder.push(piece);
                while let Some(frame) = decoder.next().unwrap() {
                    prop_assert_eq!(frame.head.len(), frame.header.head as usize);
                    prop_assert_eq!(frame.inline.len() as u64, if frame.header.apart { 0 } else { frame.header.body });
                    found.push(frame.header);
                }
            }
            prop_assert_eq!(found, headers);
        }

        #[test]
        fn any_bytes_are_frames_or_refused_and_take_no_more_memory_than_they_are(
            bytes in prop::collection::vec(any::<u8>(), 0..300),
            honest in any::<bool>(),
        ) {
            let mut decoder = Decoder::new(u64::MAX);
            if honest {
                decoder.push(&MAGIC);
            }
            decoder.push(&bytes);
            while let Ok(Some(_)) = decoder.next() {}
            prop_assert!(decoder.received.capacity() <= 1_024);
        }
    }

    #[test]
    fn lengths_beyond_the_limits_are_refused_before_anything_is_waited_for() {
        let header = Header { kind: Kind::Answer, apart: false, id: 1, head: 10, body: 1 << 40 };
        let refused = Header::parse(&header.to_bytes(), 1 << 20);
        assert_eq!(refused, Err(FrameError::Body { length: 1 << 40, limit: 1 << 20 }));
        let header = Header { head: u32::MAX, body: 0, ..header };
        let refused = Header::parse(&header.to_bytes(), 1 << 20);
        assert_eq!(refused, Err(FrameError::Head { length: u32::MAX, limit: LONGEST_HEAD }));
    }
}
