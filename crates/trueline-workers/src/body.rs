//! The body of a frame: bytes beside the head, or a file in memory that goes with the frame as a descriptor.
//!
//! Mapping a file would need `unsafe`, and a worker that truncates a file while it is mapped ends the server with SIGBUS. So
//! this side writes and reads with `pwrite` and `pread`, piece by piece, out of a buffer that stays in the processor's cache;
//! the Python side maps.

use bytes::Bytes;
use rustix::fs::{MemfdFlags, fcntl_get_seals, memfd_create};
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;

/// Bytes that are converted and written at once.
pub(crate) const PIECE: usize = 128 << 10;

/// A body that is to be sent or has come.
#[derive(Debug)]
pub(crate) enum Body {
    /// Follows the head on the socket.
    Inline(Bytes),
    /// In a memfd, with its length.
    Apart(File, u64),
}

impl Body {
    /// A body that came apart, when the file is what the header says.
    pub(crate) fn apart(fd: OwnedFd, length: u64) -> io::Result<Self> {
        // Only files in memory have seals. A pipe or a file on a network would make whoever reads wait.
        fcntl_get_seals(&fd).map_err(|_| io::Error::other("the descriptor is not a file in memory"))?;
        let file = File::from(fd);
        let holds = file.metadata()?.len();
        if holds < length {
            return Err(io::Error::other(format!("its file holds {holds} bytes of {length}")));
        }
        Ok(Self::Apart(file, length))
    }

    /// Bytes that it has.
    pub(crate) fn len(&self) -> u64 {
        match self {
            Self::Inline(bytes) => bytes.len() as u64,
            Self::Apart(_, length) => *length,
        }
    }

    /// Reads the bytes from `at` into all of `into`.
    pub(crate) fn read_at(&self, at: u64, into: &mut [u8]) -> io::Result<()> {
        match self {
            Self::Apart(file, _) => file.read_exact_at(into, at),
            Self::Inline(bytes) => {
                let begin = usize::try_from(at).ok();
                let piece = begin.and_then(|b| bytes.get(b..b.checked_add(into.len())?));
                into.copy_from_slice(piece.ok_or(io::ErrorKind::UnexpectedEof)?);
                Ok(())
            }
        }
    }

    /// All of it.
    pub(crate) fn bytes(&self) -> io::Result<Bytes> {
        match self {
            Self::Inline(bytes) => Ok(bytes.clone()),
            Self::Apart(_, length) => {
                let mut all = vec![0; usize::try_from(*length).map_err(io::Error::other)?];
                self.read_at(0, &mut all)?;
                Ok(all.into())
            }
        }
    }
}

/// A body as it is written, from its first byte to its last.
#[derive(Debug)]
pub(crate) enum Writer {
    Inline(Vec<u8>),
    Apart(File, u64),
}

impl Writer {
    /// For a body of so many bytes: apart when they are more than `apart_above`.
    pub(crate) fn new(length: u64, apart_above: u64) -> io::Result<Self> {
        if length <= apart_above {
            return Ok(Self::Inline(Vec::with_capacity(usize::try_from(length).map_err(io::Error::other)?)));
        }
        let file = File::from(memfd_create("trueline-request", MemfdFlags::CLOEXEC)?);
        file.set_len(length)?;
        Ok(Self::Apart(file, 0))
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Inline(all) => all.extend_from_slice(bytes),
            Self::Apart(file, at) => {
                file.write_all_at(bytes, *at)?;
                *at += bytes.len() as u64;
            }
        }
        Ok(())
    }

    /// Goes on at this place; what is between are zeros.
    pub(crate) fn pad_to(&mut self, place: u64) {
        match self {
            Self::Inline(all) => all.resize(usize::try_from(place).unwrap_or(usize::MAX), 0),
            Self::Apart(_, at) => *at = place,
        }
    }

    pub(crate) fn finish(self) -> Body {
        match self {
            Self::Inline(all) => Body::Inline(all.into()),
            Self::Apart(file, at) => Body::Apart(file, at),
        }
    }
}
