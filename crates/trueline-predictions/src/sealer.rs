//! The sealer: the thread that hashes closed segments and writes their indexes, so that no append waits for it.

use crate::LogError;
use crate::stream::{Stream, Streams};
use crossbeam_channel::{Receiver, RecvTimeoutError};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{oneshot, watch};

/// How long to wait after the disk refused an index.
const TRY_AGAIN: Duration = Duration::from_secs(10);

/// What there is to seal.
#[derive(Debug)]
pub(crate) enum Sealing {
    /// A stream has a closed segment.
    Closed(Arc<Stream>),
    /// Whatever is closed anywhere; somebody waits for it.
    All(oneshot::Sender<Result<(), LogError>>),
}

/// Works until the writer is gone and its last word is heard.
pub(crate) fn run(streams: &Streams, work: &Receiver<Sealing>, sealed: &watch::Sender<u64>) {
    // What was closed when the process before this one ended.
    let mut again = seal_all(streams, sealed).is_err();
    loop {
        let next = if again { work.recv_timeout(TRY_AGAIN) } else { work.recv().map_err(Into::into) };
        match next {
            Ok(Sealing::Closed(stream)) => again |= seal(&stream, sealed).is_err(),
            Ok(Sealing::All(reply)) => {
                let result = seal_all(streams, sealed);
                again = result.is_err();
                let _ = reply.send(result);
            }
            Err(RecvTimeoutError::Timeout) => again = seal_all(streams, sealed).is_err(),
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

fn seal_all(streams: &Streams, sealed: &watch::Sender<u64>) -> Result<(), LogError> {
    // One that fails must not keep the others waiting.
    let results: Vec<_> = streams.all().iter().map(|stream| seal(stream, sealed)).collect();
    results.into_iter().collect()
}

fn seal(stream: &Stream, sealed: &watch::Sender<u64>) -> Result<(), LogError> {
    match stream.segments.seal_closed() {
        Ok(0) => Ok(()),
        Ok(done) => {
            sealed.send_modify(|n| *n += done as u64);
            Ok(())
        }
        Err(error) => {
            tracing::error!(stream = ?stream.name, %error, "a segment of the prediction log can't be sealed yet");
            Err(error)
        }
    }
}
