//! What `trueline run` and pipeline steps capture of a run, so that it can be reproduced: commit, uncommitted
//! changes, environment, command, seeds and inputs by hash.

use crate::model::RunId;
use crate::{Tracking, TrackingError, runs};
use bytes::Bytes;
use futures::Stream;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::BTreeMap;
use trueline_identity::{Authorized, ReadProject, WriteTracking};
use trueline_ledger::{Edge, NewEvent, Node};

/// The captured origin of a run. Files are blobs, named by their SHA-256.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capture {
    /// The command and its arguments.
    pub command: Vec<String>,
    /// The folder that it ran in, relative to the repository's root.
    pub working_dir: String,
    /// The commit that was checked out.
    pub commit: Option<String>,
    /// Where the repository came from.
    pub remote: Option<String>,
    /// Where the repository was on the machine that it ran on.
    #[serde(default)]
    pub repository: Option<String>,
    /// Blob of `git diff HEAD --binary`, when there were uncommitted changes.
    pub diff: Option<String>,
    /// Files that git does not track, by path, as blobs.
    #[serde(default)]
    pub untracked: BTreeMap<String, String>,
    /// Blob of the installed packages with versions.
    pub environment: Option<String>,
    /// The interpreter's version.
    pub interpreter: Option<String>,
    /// Operating system and processor.
    pub platform: String,
    /// Variables of the environment that choose seeds or devices.
    #[serde(default)]
    pub variables: BTreeMap<String, String>,
    /// Declared inputs: path and SHA-256.
    #[serde(default)]
    pub inputs: BTreeMap<String, String>,
}

fn is_commit_id(text: &str) -> bool {
    (4..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_hexdigit())
}

impl Tracking {
    /// Keeps a file that belongs to a capture; answers its SHA-256.
    ///
    /// # Errors
    /// [`TrackingError::Blob`], also beyond `limit` bytes.
    pub async fn put_capture_file<S, E>(
        &self,
        leave: &Authorized<WriteTracking>,
        bytes: S,
        limit: u64,
    ) -> Result<String, TrackingError>
    where
        S: Stream<Item = Result<Bytes, E>> + Send,
        E: std::fmt::Display,
    {
        Ok(self.blobs.put(&Self::namespace(leave.project()), bytes, limit).await?.sha256)
    }

    /// Records where a run came from.
    ///
    /// # Errors
    /// [`TrackingError::NotFound`], [`TrackingError::Exists`] when it has a capture, [`TrackingError::Invalid`] for a
    /// deleted run or a commit that is no commit id.
    pub async fn set_capture(
        &self,
        leave: &Authorized<WriteTracking>,
        run: &RunId,
        capture: Capture,
    ) -> Result<(), TrackingError> {
        if capture.commit.as_deref().is_some_and(|c| !is_commit_id(c)) {
            return Err(TrackingError::Invalid(
                "the capture's `commit` is no commit id: give 4 to 64 hexadecimal digits, or leave it out"
                    .to_owned(),
            ));
        }
        let (project, run) = (leave.project().clone(), run.clone());
        self.ledger
            .write(leave.actor(), move |tx| {
                runs::require_active(tx, &project, &run)?;
                let made = tx.execute(
                    "INSERT INTO run_captures (run, body) VALUES (?1, ?2) ON CONFLICT DO NOTHING",
                    &[(&run).into(), json!(capture).to_string().into()],
                )?;
                if made == 0 {
                    return Err(TrackingError::Exists(format!("Run {run} has a capture already")));
                }
                let event = NewEvent::new(&project, "run.captured", "run", run.as_str());
                let event = tx.emit(event.with(json!(capture)))?;
                if let Some(commit) = &capture.commit {
                    let own = Node::new("run", run.as_str());
                    tx.link(&event, &Edge::new(&project, own, "ran", Node::new("commit", commit)))?;
                }
                Ok(())
            })
            .await
    }

    /// Where a run came from, when it was captured.
    ///
    /// # Errors
    /// [`TrackingError::NotFound`] without the run.
    pub async fn capture(
        &self,
        leave: &Authorized<ReadProject>,
        run: &RunId,
    ) -> Result<Option<Capture>, TrackingError> {
        let (project, run) = (leave.project().clone(), run.clone());
        self.ledger
            .db()
            .read(move |tx| {
                runs::get(tx, &project, &run)?;
                let body: Option<String> =
                    tx.scalar("SELECT body FROM run_captures WHERE run = ?1", &[(&run).into()])?;
                Ok(body.and_then(|b| serde_json::from_str(&b).ok()))
            })
            .await
    }
}
