//! Whether the control role can do its work: not only read, but write. The answer is remembered for a moment, so that
//! whoever asks often costs nothing.

use std::time::{Duration, Instant};
use tokio::sync::Mutex;
use trueline_ledger::Ledger;

/// For how long an answer holds.
const HOLDS: Duration = Duration::from_secs(1);
/// How long the database may take to write a row before it counts as not ready.
const PATIENCE: Duration = Duration::from_secs(5);

/// Asks the database and remembers what it said.
#[derive(Debug)]
pub(crate) struct Readiness {
    ledger: Ledger,
    last: Mutex<Option<(Instant, Result<(), String>)>>,
}

impl Readiness {
    pub(crate) fn new(ledger: Ledger) -> Self {
        Self { ledger, last: Mutex::default() }
    }

    /// Whether a row can be written, or why not.
    pub(crate) async fn control(&self) -> Result<(), String> {
        let mut last = self.last.lock().await;
        if let Some((at, answer)) = &*last
            && at.elapsed() < HOLDS
        {
            return answer.clone();
        }
        let written = tokio::time::timeout(PATIENCE, self.ledger.heartbeat("control")).await;
        let answer = match written {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!("the database took more than {} s to write a row", PATIENCE.as_secs())),
        };
        *last = Some((Instant::now(), answer.clone()));
        answer
    }
}
