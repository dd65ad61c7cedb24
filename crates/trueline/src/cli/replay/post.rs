//! Requests in flight: threads that each keep a connection, take the next job and hand back what came of it. Nothing is
//! tried again: a request that fails has failed.

use super::super::client::{Answered, Client};
use super::timeline::Question;
use anyhow::Context;
use crossbeam_channel::{Receiver, Sender, unbounded};
use serde_json::Value;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The header that names the version which answered.
const VARIANT: &str = "x-trueline-variant";

/// What a request is for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Work {
    /// One question.
    Predict(Question),
    /// So many rows of features.
    Push(usize),
    /// So many labels.
    Labels(usize),
}

/// A request to send.
pub(super) struct Job {
    pub(super) work: Work,
    pub(super) path: String,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: String,
}

/// What came of it, and how long it took from sending to the whole answer.
pub(super) struct Outcome {
    pub(super) work: Work,
    pub(super) result: Result<Success, String>,
    pub(super) took: Duration,
}

/// An answer with a status of 2xx.
pub(super) struct Success(Answered);

/// The answer to one question.
pub(super) struct Predicted {
    pub(super) id: String,
    pub(super) prediction: Value,
    pub(super) variant: Option<String>,
}

impl Success {
    pub(super) fn body(&self) -> Value {
        serde_json::from_str(&self.0.body).unwrap_or_default()
    }

    /// Reads an answer to one question; without an id it is no success.
    pub(super) fn predicted(self) -> Result<Predicted, String> {
        let mut body = self.body();
        let Some(id) = body["prediction_ids"][0].as_str().map(str::to_owned) else {
            return Err(format!("the answer has no prediction id: {}", self.0.body));
        };
        Ok(Predicted { id, prediction: body["predictions"][0].take(), variant: self.0.header })
    }
}

/// The threads.
pub(super) struct Post {
    jobs: Sender<Job>,
    outcomes: Receiver<Outcome>,
    under_way: usize,
}

impl Post {
    pub(super) fn start(client: Client, in_flight: usize) -> Self {
        let (jobs, taken) = unbounded::<Job>();
        let (done, outcomes) = unbounded();
        let client = Arc::new(client);
        for _ in 0..in_flight {
            let (client, taken, done) = (client.clone(), taken.clone(), done.clone());
            std::thread::spawn(move || {
                for job in taken {
                    // Nobody waits any more when the replay has ended.
                    if done.send(send(&client, job)).is_err() {
                        return;
                    }
                }
            });
        }
        Self { jobs, outcomes, under_way: 0 }
    }

    /// Hands a request to the next thread that is free.
    pub(super) fn send(&mut self, job: Job) {
        // The threads live as long as this end of the channel.
        if self.jobs.send(job).is_ok() {
            self.under_way += 1;
        }
    }

    /// The next outcome; `None` when nothing is under way.
    pub(super) fn next(&mut self) -> anyhow::Result<Option<Outcome>> {
        if self.under_way == 0 {
            return Ok(None);
        }
        let outcome = self.outcomes.recv().context("the threads of the replay have ended")?;
        self.under_way -= 1;
        Ok(Some(outcome))
    }
}

fn send(client: &Client, job: Job) -> Outcome {
    let began = Instant::now();
    let result = client.post(&job.path, &job.headers, job.body, VARIANT).map_err(|e| format!("{e:#}"));
    let result = result.and_then(|answer| match answer.status {
        200..300 => Ok(Success(answer)),
        status => Err(format!("{status}: {}", answer.body.trim())),
    });
    Outcome { work: job.work, result, took: began.elapsed() }
}
