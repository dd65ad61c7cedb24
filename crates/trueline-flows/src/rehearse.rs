//! A rehearsal before any exposure: the newest logged predictions of an endpoint are put to a version, and what it says is
//! compared with what was answered. Callers notice nothing: the live endpoint, its rollout and its log are left alone.

use crate::deploy::{DeployError, DeployLeave, Deployments, WantedVariant, spec};
use crate::predict::json_of;
use futures::StreamExt;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use trueline_predictions::{
    LogError, Look, Outputs, PredictionLog, Record, RecordFilter, Scalar, Stage, Status,
};
use trueline_serving::{
    EndpointName, Frame, LoadedModel, RehearsalReport, Rehearsed, ServingError, Signature, Tolerance,
};
use trueline_tensors::{Builder, Tensor};

/// The most predictions of one rehearsal.
pub const MOST_REHEARSED: usize = 10_000;
/// Looks at the log for one rehearsal, each of which brings 4 MiB at most.
const MOST_LOOKS: usize = 16;
/// The log is read no further once this is over.
const LONGEST_READING: Duration = Duration::from_secs(10);
/// The version is asked no more once this is over.
const LONGEST: Duration = Duration::from_secs(30);
/// Questions to the version at once.
const AT_ONCE: usize = 8;
/// Rehearsals of one server at once.
const MOST_AT_ONCE: usize = 2;

/// A failure of this story.
#[derive(Debug, thiserror::Error)]
pub enum RehearseError {
    /// Serving or the registry refused.
    #[error(transparent)]
    Deploy(#[from] DeployError),
    /// The prediction log can't be read.
    #[error(transparent)]
    Log(#[from] LogError),
    /// Others are under way.
    #[error(
        "{MOST_AT_ONCE} rehearsals are under way, which is all that this server does at once: try again in a minute"
    )]
    Busy,
    /// The work stopped.
    #[error("a rehearsal stopped: {0}")]
    Stopped(String),
}

impl From<ServingError> for RehearseError {
    fn from(error: ServingError) -> Self {
        Self::Deploy(error.into())
    }
}

/// What rehearsing needs. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Rehearsals {
    log: Arc<PredictionLog>,
    deployments: Deployments,
    turns: Arc<Semaphore>,
}

/// What is to be rehearsed.
#[derive(Clone, Debug)]
pub struct RehearsalOrder {
    /// The version.
    pub version: WantedVariant,
    /// Only predictions with an event time in here, in milliseconds since 1970.
    pub event_time_ms: Option<Range<i64>>,
    /// At most this many, the newest.
    pub limit: usize,
    /// How far numbers may lie apart.
    pub tolerance: Tolerance,
    /// Why, for the ledger.
    pub reason: String,
}

/// A rehearsal that is over.
#[derive(Clone, Debug)]
pub struct Rehearsal {
    /// The version, `name/number`.
    pub version: String,
    /// What it came to.
    pub report: RehearsalReport,
}

impl Rehearsals {
    /// Over this log, of these endpoints.
    #[must_use]
    pub fn new(log: Arc<PredictionLog>, deployments: Deployments) -> Self {
        Self { log, deployments, turns: Arc::new(Semaphore::new(MOST_AT_ONCE)) }
    }

    /// Rehearses, and has the ledger know what came of it.
    ///
    /// # Errors
    /// [`ServingError::NotFound`] without the endpoint, [`ServingError::Invalid`] for a limit or tolerance that makes no sense,
    /// those of a deployment for the version, [`RehearseError::Busy`].
    pub async fn rehearse(
        &self,
        leave: &DeployLeave,
        endpoint: &EndpointName,
        order: RehearsalOrder,
    ) -> Result<Rehearsal, RehearseError> {
        let parts = &self.deployments;
        check(&order)?;
        parts.endpoints.get(&leave.read, endpoint).await?;
        let candidate = spec(&parts.registry, &leave.read, &order.version).await?;
        let _turn = Arc::clone(&self.turns).try_acquire_owned().map_err(|_| RehearseError::Busy)?;
        let model = parts.plane.loaded(&leave.project.id, &candidate).await?;
        let (log, project, name) =
            (Arc::clone(&self.log), leave.project.id.to_string(), endpoint.to_string());
        let filter = RecordFilter { event_time_ms: order.event_time_ms, ..RecordFilter::default() };
        let handle = Handle::current();
        // Files are read and trees are scored there, apart from the threads that answer requests.
        let work = move || -> Result<RehearsalReport, RehearseError> {
            let found = newest(&log, (&project, &name), &filter, order.limit, LONGEST_READING)?;
            let mut report = handle.block_on(ask_all(&model, &found.records, order.tolerance))?;
            report.cut_short |= found.cut_short;
            Ok(report)
        };
        let done = tokio::task::spawn_blocking(work).await;
        let report = done.map_err(|e| RehearseError::Stopped(e.to_string()))??;
        parts.endpoints.rehearsed(&leave.deploy, endpoint, &candidate, &report, order.reason).await?;
        Ok(Rehearsal { version: candidate.name(), report })
    }
}

fn check(order: &RehearsalOrder) -> Result<(), ServingError> {
    order.tolerance.check()?;
    if order.limit == 0 || order.limit > MOST_REHEARSED {
        let why = format!("a rehearsal takes 1 to {MOST_REHEARSED} predictions, not {}", order.limit);
        return Err(ServingError::Invalid(why));
    }
    match &order.event_time_ms {
        Some(range) if range.is_empty() => {
            Err(ServingError::Invalid("a rehearsal's `from` lies before its `to`".to_owned()))
        }
        _ => Ok(()),
    }
}

/// What of the log is put to the version.
struct Newest {
    records: Vec<Record>,
    /// There may be more that are wanted: reading ended before.
    cut_short: bool,
}

/// The newest predictions that are wanted, so many of them that they fit into memory and are found in this time.
fn newest(
    log: &PredictionLog,
    (project, endpoint): (&str, &str),
    filter: &RecordFilter,
    limit: usize,
    time: Duration,
) -> Result<Newest, LogError> {
    let until = Instant::now() + time;
    let (mut records, mut before) = (Vec::new(), None);
    for _ in 0..MOST_LOOKS {
        let left = limit - records.len();
        let look = Look { filter: filter.clone(), before, limit: left, most: u64::MAX, until: Some(until) };
        let page = log.look(project, endpoint, &look)?;
        records.extend(page.items);
        before = page.next;
        if before.is_none() || records.len() >= limit || Instant::now() >= until {
            break;
        }
    }
    let cut_short = before.is_some() && records.len() < limit;
    Ok(Newest { records, cut_short })
}

/// Puts what was logged to the version, until all of it was or the time is over.
async fn ask_all(
    model: &LoadedModel,
    records: &[Record],
    tolerance: Tolerance,
) -> Result<RehearsalReport, RehearseError> {
    let broken = |e: trueline_stats::StatsError| RehearseError::Stopped(e.to_string());
    let deadline = Instant::now() + LONGEST;
    let answered = |r: &&Record| r.status == Status::Ok && r.outputs != Outputs::None;
    let redacted = records.iter().filter(|r| !r.redacted.is_empty()).count();
    let whole = records.iter().filter(|r| r.redacted.is_empty());
    let asked = whole.filter(answered);
    let without_answer = records.len() - redacted - asked.clone().count();
    let mut seen = Rehearsed::new(tolerance).map_err(broken)?;
    let questions = asked.take_while(|_| Instant::now() < deadline).map(|r| ask(model, r, deadline));
    let mut answers = futures::stream::iter(questions).buffer_unordered(AT_ONCE);
    while let Some((record, answer, took)) = answers.next().await {
        let id = record.prediction_id.to_string();
        match answer {
            // It was under way when the time was over, which says nothing of the version.
            Err(ServingError::TimedOut(_)) if Instant::now() >= deadline => {}
            // The ledger keeps it for good.
            Err(error) => seen.failed(&id, &error.without_values()),
            Ok(now) => {
                let took_then = record.timings.iter().find(|(stage, _)| *stage == Stage::Runtime);
                #[allow(clippy::cast_precision_loss)]
                let took_then = took_then.map(|(_, us)| *us as f64 / 1e3);
                let times = (took_then, took.as_secs_f64() * 1e3);
                let then = logged(&record.outputs, &now);
                seen.answered(&id, &then, &now, times).map_err(broken)?;
            }
        }
    }
    Ok(seen.report(records.len() as u64, without_answer as u64, redacted as u64))
}

type Answer<'r> = (&'r Record, Result<serde_json::Value, ServingError>, Duration);

async fn ask<'r>(model: &LoadedModel, record: &'r Record, deadline: Instant) -> Answer<'r> {
    let began = Instant::now();
    let answer = match frame(record, model.signature()) {
        Ok(frame) => model.predict_until(&frame, Some(deadline)).await.0.map(|p| p.row(0, 1)),
        Err(why) => Err(ServingError::Invalid(format!("what was logged can't be asked again: {why}"))),
    };
    (record, answer, began.elapsed())
}

/// What was answered then. What is neither number nor text was logged as the text of its JSON.
fn logged(outputs: &Outputs, now: &serde_json::Value) -> serde_json::Value {
    match outputs {
        Outputs::None => serde_json::Value::Null,
        Outputs::Many(values) => values.iter().map(|v| serde_json::Value::from(*v)).collect(),
        Outputs::One(Scalar::Text(text)) if !now.is_string() => {
            serde_json::from_str(text).unwrap_or_else(|_| text.as_str().into())
        }
        Outputs::One(one) => json_of(one),
    }
}

/// The request of one logged row, with the features that were read for it then.
fn frame(record: &Record, signature: &Signature) -> Result<Frame, String> {
    let values: Vec<(&str, &Scalar)> =
        record.inputs.iter().chain(&record.features).map(|(name, value)| (name.as_str(), value)).collect();
    match signature {
        Signature::Tensors(wanted) => {
            let named: Vec<&str> = wanted.iter().filter_map(|t| t.name.as_deref()).collect();
            match (named.is_empty(), by_place(&values, "")) {
                (true, Some(array)) => Ok(Frame::array(array)),
                _ => Frame::named(arrays(&values, &named)),
            }
        }
        Signature::Columns(columns) if columns.iter().any(|c| values.iter().any(|(n, _)| *n == c.name)) => {
            Frame::named(columns_of(&values))
        }
        _ => match by_place(&values, "") {
            Some(array) => Ok(Frame::array(array)),
            None => Frame::named(columns_of(&values)),
        },
    }
}

fn column(name: &str, value: &Scalar) -> Tensor {
    Tensor::column(name, std::iter::once(json_of(value)).collect::<Builder>().finish())
}

fn columns_of(values: &[(&str, &Scalar)]) -> Vec<Tensor> {
    values.iter().map(|(name, value)| column(name, value)).collect()
}

/// Arrays of these names, whose values were logged as `name[0]`, `name[1]`, …; what is not one of theirs is a column.
fn arrays(values: &[(&str, &Scalar)], names: &[&str]) -> Vec<Tensor> {
    let found: Vec<Tensor> = names.iter().filter_map(|name| by_place(values, name)).collect();
    let of = |column: &str| {
        let base = column.split_once('[').map_or(column, |(base, _)| base);
        found.iter().any(|array| array.name() == base)
    };
    let rest = values.iter().filter(|(name, _)| !of(name)).map(|(name, value)| column(name, value));
    rest.chain(found.iter().cloned()).collect()
}

/// The values of one row of an array, which were logged under their places: `0`, `1`, … without a name, else `name[0]`, ….
fn by_place(values: &[(&str, &Scalar)], name: &str) -> Option<Tensor> {
    let place = |at: usize| if name.is_empty() { at.to_string() } else { format!("{name}[{at}]") };
    let found: Vec<&Scalar> = (0..values.len())
        .map_while(|at| {
            let wanted = place(at);
            values.iter().find(|(logged, _)| *logged == wanted).map(|(_, value)| *value)
        })
        .collect();
    if found.is_empty() || (name.is_empty() && found.len() < values.len()) {
        return None;
    }
    let width = found.len();
    let values = found.into_iter().map(json_of).collect::<Builder>().finish();
    Tensor::new(name, vec![1, width], values).ok()
}
