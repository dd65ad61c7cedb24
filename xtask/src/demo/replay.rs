//! Replays of the year's flights through both endpoints: the one that is cared for, and the one that nobody touches again.

use super::stage::Stage;
use anyhow::{Context, ensure};
use serde_json::Value;
use std::collections::VecDeque;
use std::process::{Child, Stdio};

/// What is cared for.
pub(super) const ENDPOINT: &str = "delays";
/// What stays as it was at first, to compare with: the same questions, the same features, the first version for ever.
pub(super) const UNTOUCHED: &str = "delays-untouched";

/// A part of the year: the flights between two dates, and how fast they go, as `trueline replay --speed` takes it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part {
    pub(super) from: &'static str,
    pub(super) until: &'static str,
    pub(super) speed: &'static str,
}

/// A part of the year that is being replayed in the background.
pub(super) struct Replay {
    child: Child,
}

/// Starts to replay a part.
pub(super) fn start(stage: &Stage, Part { from, until, speed }: Part) -> anyhow::Result<Replay> {
    let rows =
        ["replay", ENDPOINT, "replay/flights.csv", "--compare", UNTOUCHED, "--event-time", "event_time"];
    let part = ["--from", from, "--until", until, "--speed", speed];
    let labels = ["--label", "late", "--label-time", "arrived_at", "--label-delay", "1d"];
    let mut pushes = Vec::new();
    for (view, table) in [
        ("weather", "weather"),
        // The spoiled candidate's own view is fed from somewhere else: in degrees Celsius.
        ("weather_metric", "weather_celsius"),
        ("route_rates", "route_rates"),
        ("carrier_rates", "carrier_rates"),
    ] {
        pushes.extend(["--push".to_owned(), format!("{view}=replay/{table}.csv")]);
    }
    let out = file(from);
    let mut command = stage.command("trueline", &[&rows[..], &part, &labels].concat())?;
    command.args(pushes).args(["--out", &out, "--json"]).stdout(Stdio::piped());
    Ok(Replay { child: command.spawn().context("the replay")? })
}

/// Where the answers of the part that begins at a date stand.
pub(super) fn file(from: &str) -> String {
    format!("predictions-{from}.jsonl")
}

impl Replay {
    /// Waits for its end; answers what it tells.
    pub(super) fn finish(self) -> anyhow::Result<Value> {
        let done = self.child.wait_with_output()?;
        ensure!(done.status.success(), "the replay ended with {}", done.status);
        Ok(serde_json::from_slice(&done.stdout)?)
    }
}

/// Parts that are replayed in the background, one after the other.
pub(super) struct Parts<'a> {
    stage: &'a Stage,
    current: Option<Replay>,
    next: VecDeque<Part>,
    served: &'a mut Served,
}

impl<'a> Parts<'a> {
    /// Starts the first of them; what they serve is added up.
    pub(super) fn start(stage: &'a Stage, parts: &[Part], served: &'a mut Served) -> anyhow::Result<Self> {
        let mut next: VecDeque<Part> = parts.iter().copied().collect();
        let current = next.pop_front().map(|part| start(stage, part)).transpose()?;
        Ok(Self { stage, current, next, served })
    }

    /// Whether all of them are over; when one is, the next one starts.
    pub(super) fn are_over(&mut self) -> anyhow::Result<bool> {
        let Some(mut current) = self.current.take() else { return Ok(true) };
        if current.child.try_wait()?.is_none() {
            self.current = Some(current);
            return Ok(false);
        }
        self.served.add(&current.finish()?)?;
        self.current = self.next.pop_front().map(|part| start(self.stage, part)).transpose()?;
        Ok(self.current.is_none())
    }
}

/// What was served over all parts.
#[derive(Default)]
pub(super) struct Served {
    pub(super) answered: u64,
    pub(super) failed: u64,
    pub(super) labels: u64,
}

impl Served {
    /// Adds what a replay told, and says it.
    pub(super) fn add(&mut self, told: &Value) -> anyhow::Result<()> {
        let count = |pointer: &str| {
            told.pointer(pointer).and_then(Value::as_u64).with_context(|| format!("{pointer} in {told}"))
        };
        self.answered += count("/predictions/answered")?;
        self.failed += count("/predictions/failed")? + count("/pushes_and_labels_failed")?;
        self.labels += count("/labels/told")?;
        let predictions = &told["predictions"];
        println!(
            "replayed: {} answered ({}/s, p50 {} ms, p99 {} ms), {} failed, {} labels",
            predictions["answered"],
            predictions["per_second"],
            predictions["p50_ms"],
            predictions["p99_ms"],
            predictions["failed"],
            told["labels"]["told"]
        );
        Ok(())
    }
}
