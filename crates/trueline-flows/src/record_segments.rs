//! What the prediction log has sealed is written down in the ledger, once for each segment, whatever crashes.

use tokio::sync::watch;
use trueline_ledger::ProjectId;
use trueline_predictions::{PredictionLog, Sealed, StreamName};
use trueline_serving::{SealedSegment, SealedSegments, ServingError};

const LABELS: &str = "labels";
const ENDPOINTS: &str = "endpoints/";

/// The stream's name within its project.
pub(crate) fn name_of(stream: &StreamName) -> String {
    stream.endpoint().map_or_else(|| LABELS.to_owned(), |endpoint| format!("{ENDPOINTS}{endpoint}"))
}

/// The stream of a project that has this name.
pub(crate) fn stream_of(project: &str, name: &str) -> Option<StreamName> {
    let project = project.to_owned();
    if name == LABELS {
        return Some(StreamName::Labels { project });
    }
    let endpoint = name.strip_prefix(ENDPOINTS)?.to_owned();
    Some(StreamName::Predictions { project, endpoint })
}

/// What the ledger says of a segment of a server's log.
pub(crate) fn segment_of(sealed: &Sealed, server: &str) -> SealedSegment {
    SealedSegment {
        project: ProjectId::new(sealed.stream.project()),
        stream: name_of(&sealed.stream),
        server: server.to_owned(),
        number: sealed.segment,
        bytes: sealed.bytes,
        records: sealed.records,
        sha256: hex::encode(sealed.sha256),
        event_time_ms: sealed.event_time_ms,
    }
}

/// Records every sealed segment that was not recorded yet.
///
/// # Errors
/// What the database says; the next call goes on from there.
pub async fn record_segments(log: &PredictionLog, segments: &SealedSegments) -> Result<(), ServingError> {
    for stream in log.streams() {
        let project = ProjectId::new(stream.project());
        let last = segments.last(&project, &name_of(&stream)).await?;
        for sealed in log.sealed_after(&stream, last) {
            segments.record(segment_of(&sealed, segments.server())).await?;
        }
    }
    Ok(())
}

/// Records segments as they are sealed, until the server stops.
pub async fn run_segment_recorder(
    log: &PredictionLog,
    segments: &SealedSegments,
    mut stopping: watch::Receiver<bool>,
) {
    /// How soon it is tried again after the database failed.
    const TRY_AGAIN: std::time::Duration = std::time::Duration::from_secs(2);
    let mut seals = log.seals();
    loop {
        seals.mark_unchanged();
        let done = record_segments(log, segments).await;
        if let Err(error) = &done {
            tracing::debug!(%error, "sealed predictions were not recorded yet");
        }
        let again = async {
            match done {
                Ok(()) => drop(seals.changed().await),
                Err(_) => tokio::time::sleep(TRY_AGAIN).await,
            }
        };
        tokio::select! {
            _ = stopping.wait_for(|stop| *stop) => return,
            () = again => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_found_by_its_name() {
        let project = "default".to_owned();
        let labels = StreamName::Labels { project: project.clone() };
        let named_like_it = StreamName::Predictions { project, endpoint: "labels".to_owned() };
        for stream in [labels, named_like_it] {
            assert_eq!(stream_of("default", &name_of(&stream)), Some(stream));
        }
        assert_eq!(stream_of("default", "elsewhere"), None);
    }
}
