//! Recovery: reads a segment that was not sealed, and takes off its end what is no whole batch.

use crate::LogError;
use crate::files::sync_parent;
use crate::frame::{FrameFault, FrameReader, MAX_FRAME, is_zero_from};
use crate::segment::Live;
use std::fs::File;
use std::io::{Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// Bytes that a recovery took off the end of a segment, because they were no whole batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The segment.
    pub segment: PathBuf,
    /// Its length now.
    pub kept: u64,
    /// Bytes taken off.
    pub cut: u64,
    /// Where they are kept: only when they are more than an append that was under way.
    pub aside: Option<PathBuf>,
}

/// Reads a segment that was not sealed, cuts what is no whole batch off its end, and makes the rest durable.
pub(crate) fn recover(number: u64, path: &Path) -> Result<(Live, Option<Cut>), LogError> {
    let io = |e| LogError::io(path, &e);
    let file = File::options().read(true).write(true).open(path).map_err(io)?;
    let size = file.metadata().map_err(io)?.len();
    let mut live = Live::new(number, path.to_owned());
    let mut frames = FrameReader::open(path, 0, size)?;
    let mut batch = Vec::new();
    let fault = loop {
        match frames.next() {
            Ok(Some(frame)) => {
                batch.extend(frame.heads(path)?);
                if frame.ends_batch() {
                    batch.drain(..).for_each(|placed| live.take_in(&placed));
                    live.bytes = frame.end();
                }
            }
            Ok(None) => break None,
            Err(FrameFault::Io(error)) => return Err(io(error)),
            Err(fault) => break Some(fault),
        }
    };
    let cut = if live.bytes < size { Some(cut(&file, &live, size, fault.as_ref())?) } else { None };
    // After a kill the bytes may be in the system's memory only.
    file.sync_all().map_err(io)?;
    Ok((live, cut))
}

fn cut(file: &File, live: &Live, size: u64, fault: Option<&FrameFault>) -> Result<Cut, LogError> {
    let io = |e| LogError::io(&live.path, &e);
    let aside = match fault {
        // A write that was under way: part of a batch, or of a frame, or zeros where bytes never came.
        None => None,
        Some(FrameFault::Torn { offset }) if size - offset <= MAX_FRAME as u64 => None,
        Some(FrameFault::Bad { offset, .. }) if is_zero_from(file, *offset).map_err(io)? => None,
        Some(_) => Some(set_aside(file, live, size)?),
    };
    file.set_len(live.bytes).map_err(io)?;
    let cut = Cut { segment: live.path.clone(), kept: live.bytes, cut: size - live.bytes, aside };
    tracing::warn!(segment = %cut.segment.display(), kept = cut.kept, cut = cut.cut, "cut a torn tail");
    Ok(cut)
}

/// Keeps bytes that might be more than a torn write: nothing of the log is destroyed on a guess.
fn set_aside(mut file: &File, live: &Live, size: u64) -> Result<PathBuf, LogError> {
    let path = live.path.with_extension(format!("cut-{}-{size}", live.bytes));
    let io = |e| LogError::io(&path, &e);
    file.seek(SeekFrom::Start(live.bytes)).map_err(io)?;
    let mut copy = File::create(&path).map_err(io)?;
    std::io::copy(&mut file, &mut copy).map_err(io)?;
    copy.sync_all().map_err(io)?;
    sync_parent(&path)?;
    Ok(path)
}
