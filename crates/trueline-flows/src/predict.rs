//! A prediction is asked for: the endpoint's snapshot picks a variant, the variant answers, the answer is logged. The
//! database takes no part.

use crate::common_threads::{CommonThreads, STOPPING};
use crate::log_as_declared::{RedactionKey, as_declared};
use std::sync::Arc;
use std::time::{Duration, Instant};
use trueline_identity::hash_token;
use trueline_ledger::{Millis, Sources};
use trueline_predictions::{
    Assignment, EVERY, LogError, Outputs, PredictionId, PredictionLog, Record, Scalar, Stage, Status, Unit,
    Variant,
};
use trueline_serving::rollout::{Beside, Drawn};
use trueline_serving::{
    Admission, Answer, Ask, Cause, Cost, DataPlane, FeatureSource, FoundEndpoint, Frame, LogMode,
    Predictions, Served, ServingError,
};
use trueline_tensors::{Tensor, Values};

/// Values of an answer, or rows, beyond which they are noted and written where nobody waits for a thread of its own meanwhile.
const LARGE: usize = 10_000;

/// Who stands at an endpoint's door, as the server's outer layer saw it.
#[derive(Clone, Debug)]
pub struct Knock {
    /// The project's name.
    pub project: String,
    /// The caller's token.
    pub token: Option<String>,
    /// The request's id.
    pub request: String,
    /// When the request came, before its body did.
    pub began: Instant,
}

/// What is asked of an endpoint.
#[derive(Debug)]
pub struct PredictionRequest {
    /// The project's name.
    pub project: String,
    /// The endpoint's name.
    pub endpoint: String,
    /// The version that is wanted, whatever the weights say.
    pub version: Option<i64>,
    /// The input.
    pub frame: Frame,
    /// Whose prediction it is: makes the caller stay with one variant, and is logged.
    pub key: Option<String>,
    /// When what is predicted happens, in milliseconds since 1970; now, if it is not said.
    pub event_time_ms: Option<Millis>,
    /// Until when the caller waits; what is not begun by then is not begun.
    pub deadline: Option<Instant>,
    /// The request's id.
    pub request: String,
    /// When reading the request began.
    pub began: Instant,
    /// How long it took to read, in microseconds.
    pub parse_us: u64,
}

/// An answered request.
#[derive(Debug)]
pub struct Predicted {
    /// Who answered.
    pub served: Arc<Served>,
    /// An id for each row.
    pub ids: Vec<PredictionId>,
    /// The predictions.
    pub predictions: Predictions,
    /// Whether writing it takes longer than others should wait for.
    pub is_large: bool,
}

/// A failure of this story.
#[derive(Debug, thiserror::Error)]
pub enum PredictError {
    /// The endpoint refused.
    #[error(transparent)]
    Serving(#[from] ServingError),
    /// The answer was to be logged first, and could not.
    #[error(
        "the prediction was not answered, because it could not be logged and its endpoint requires that: {0}"
    )]
    NotLogged(#[source] LogError),
}

/// What answers predictions. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Predictor {
    /// Endpoints that answer.
    pub plane: DataPlane,
    /// Where answers are logged, if they are.
    pub log: Option<Arc<PredictionLog>>,
    /// Where features are looked up.
    pub features: Arc<dyn FeatureSource>,
    /// What redacted values are hashed under.
    pub redaction: RedactionKey,
    /// Clock and randomness.
    pub sources: Sources,
    /// Where what takes long is predicted.
    pub common: CommonThreads,
}

impl Predictor {
    /// What a caller may do with an endpoint.
    #[must_use]
    pub fn admit(&self, knock: &Knock, endpoint: &str) -> Admission {
        let token = knock.token.as_deref().map(hash_token);
        self.plane.admit(&knock.project, endpoint, token.as_deref())
    }

    /// Predicts.
    ///
    /// # Errors
    /// [`PredictError`].
    pub async fn predict(&self, request: PredictionRequest) -> Result<Predicted, PredictError> {
        let endpoint = self.plane.find(&request.project, &request.endpoint)?;
        if !endpoint.computes_long(request.frame.rows()) {
            return self.predict_here(endpoint, request).await;
        }
        let own = self.clone();
        // In a box, so that short ones don't carry the room about that this needs.
        let later = async move {
            // When its turn comes, something else may answer.
            let endpoint = own.plane.find(&request.project, &request.endpoint)?;
            own.predict_here(endpoint, request).await
        };
        Box::pin(self.common.run(later)).await.unwrap_or_else(stopping)
    }

    async fn predict_here(
        &self,
        endpoint: FoundEndpoint,
        request: PredictionRequest,
    ) -> Result<Predicted, PredictError> {
        let answered = self.answered(&endpoint, request).await?;
        if !answered.is_large {
            return self.noted(answered).await;
        }
        // The model has answered, and its rollout has counted that: what is logged and counted of it is not left to who waits.
        let own = self.clone();
        let later = async move { own.noted(answered).await };
        Box::pin(self.common.finish(later)).await.unwrap_or_else(stopping)
    }

    /// Has the endpoint answer.
    async fn answered(
        &self,
        endpoint: &FoundEndpoint,
        request: PredictionRequest,
    ) -> Result<Answered, ServingError> {
        let asked = Instant::now();
        let received_at_ms = self.sources.now();
        let at_ms = request.event_time_ms.unwrap_or(received_at_ms);
        let answer = self.ask(endpoint, &request, at_ms).await?;
        let features_us = u64::try_from(answer.features_took.as_micros()).unwrap_or(u64::MAX);
        let queued_us = u64::try_from(answer.batched.queued.as_micros()).unwrap_or(u64::MAX);
        let runtime_us = micros(asked).saturating_sub(features_us).saturating_sub(queued_us);
        let random = u128::from_le_bytes(self.sources.bytes());
        let ids = Ids { ms: u64::try_from(received_at_ms).unwrap_or(0), random };
        let times = Times { features_us, queued_us, runtime_us };
        let values = answer.predictions.as_ref();
        let is_large =
            request.frame.rows() > LARGE || values.is_ok_and(|values| values.is_larger_than(LARGE));
        Ok(Answered { request, answer, received_at_ms, at_ms, times, ids, is_large })
    }

    /// Logs and counts an answer, and has a candidate in the shadow asked the same.
    async fn noted(&self, answered: Answered) -> Result<Predicted, PredictError> {
        let logged = match &self.log {
            Some(log) => {
                let make = || self.declared(&answered.answer, answered.records());
                let records = if answered.is_large { CommonThreads::undisturbed(make) } else { make() };
                keep(log, &answered.answer, records).await
            }
            None => Ok(()),
        };
        let Answered { request, answer, at_ms, times, ids, is_large, .. } = answered;
        let served = answer.served;
        let came_to = match (&answer.predictions, &logged) {
            (Err(error), _) => Err(Cause::from(error)),
            (Ok(_), Err(_)) => Err(Cause::NotLogged),
            (Ok(_), Ok(())) => Ok(request.frame.rows()),
        };
        served.count(came_to, request.began, Instant::now());
        let spent = [
            (Cost::Parse, request.parse_us),
            (Cost::Features, times.features_us),
            (Cost::Queue, times.queued_us),
            (Cost::Runtime, times.runtime_us),
        ];
        spent.into_iter().for_each(|(of, us)| served.cost(of, Duration::from_micros(us)));
        logged.map_err(PredictError::NotLogged)?;
        let predictions = answer.predictions?;
        if let Some(shadow) = answer.shadow {
            shadow.ask(Beside {
                frame: &request.frame,
                features: &answer.features,
                predictions: &predictions,
                project: &served.project,
                source: &self.features,
                at_ms,
                id_of: move |row| ids.of(row).to_string(),
            });
        }
        let ids = (0..request.frame.rows()).map(|row| ids.of(row)).collect();
        Ok(Predicted { served, ids, predictions, is_large })
    }

    /// Records as their endpoint has them logged; what is left out is counted.
    fn declared(&self, answer: &Answer, records: Vec<Record>) -> Vec<Record> {
        let Some(rules) = &answer.log_rules else { return records };
        let all = records.len();
        let kept = as_declared(rules, &self.redaction, answer, records);
        answer.served.left_out(all - kept.len());
        kept
    }

    async fn ask(
        &self,
        endpoint: &FoundEndpoint,
        request: &PredictionRequest,
        at_ms: Millis,
    ) -> Result<Answer, ServingError> {
        let ask = Ask {
            endpoint,
            version: request.version,
            frame: &request.frame,
            sticky: request.key.as_deref(),
            lot: u64::from_le_bytes(self.sources.bytes()),
            at_ms,
            deadline: request.deadline,
            features: &*self.features,
        };
        self.plane.ask(&ask).await
    }
}

/// What becomes of a request that is answered elsewhere when nothing is any more.
fn stopping() -> Result<Predicted, PredictError> {
    Err(ServingError::Busy(STOPPING.to_owned()).into())
}

/// Logs the answer as its endpoint wants it. What a refused request leaves behind never makes it fail otherwise.
async fn keep(log: &PredictionLog, answer: &Answer, records: Vec<Record>) -> Result<(), LogError> {
    if answer.served.log == LogMode::Required && answer.predictions.is_ok() {
        return log.append_required(&records).await;
    }
    // What it drops, it counts.
    if let Err(error) = log.append_best_effort(&records) {
        tracing::debug!(%error, "a prediction was not logged");
    }
    Ok(())
}

fn micros(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX)
}

/// The ids of a request's rows: consecutive, from a random start.
#[derive(Clone, Copy)]
struct Ids {
    ms: u64,
    random: u128,
}

impl Ids {
    fn of(self, row: usize) -> PredictionId {
        PredictionId::new(self.ms, self.random.wrapping_add(row as u128))
    }
}

/// A request with its answer, which nobody has noted yet.
struct Answered {
    request: PredictionRequest,
    answer: Answer,
    received_at_ms: Millis,
    /// When what is predicted happens.
    at_ms: Millis,
    times: Times,
    ids: Ids,
    /// Whether noting it takes longer than others should wait for.
    is_large: bool,
}

/// Where the time of a request went, in microseconds.
#[derive(Clone, Copy)]
struct Times {
    features_us: u64,
    queued_us: u64,
    runtime_us: u64,
}

impl Answered {
    /// A record for each row; for a request that was refused, one without inputs.
    fn records(&self) -> Vec<Record> {
        match &self.answer.predictions {
            Ok(predictions) => {
                let frame = &self.request.frame;
                let row = |i| {
                    let inputs = frame.cells().map(|c| (c.name(), cell(c.values(), c.index(i)))).collect();
                    self.record(i, inputs, outputs_of(predictions, i, frame.rows()), Status::Ok)
                };
                (0..frame.rows()).map(row).collect()
            }
            Err(error) => vec![self.record(0, Vec::new(), Outputs::None, Status::Error(error.to_string()))],
        }
    }

    fn record(&self, row: usize, inputs: Vec<(String, Scalar)>, outputs: Outputs, status: Status) -> Record {
        let Self { request, answer, .. } = self;
        let served = &answer.served;
        Record {
            prediction_id: self.ids.of(row),
            project: served.project.to_string(),
            endpoint: request.endpoint.clone(),
            variant: Variant { model: served.model.clone(), version: served.version.to_string() },
            event_time_ms: self.at_ms,
            received_at_ms: self.received_at_ms,
            key: request.key.clone(),
            request_id: request.request.clone(),
            inputs,
            features: row_of(&answer.features, row),
            outputs,
            status,
            timings: vec![
                (Stage::Parse, request.parse_us),
                (Stage::Features, self.times.features_us),
                (Stage::Queue, self.times.queued_us),
                (Stage::Runtime, self.times.runtime_us),
                (Stage::Total, micros(request.began)),
            ],
            share: EVERY,
            redacted: Vec::new(),
            assignment: answer.drawn.as_ref().map(|drawn| assignment(drawn, row, request.frame.rows())),
        }
    }
}

/// The lot of a request, as the record of one of its rows tells it.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn assignment(drawn: &Drawn, row: usize, rows: usize) -> Assignment {
    let unit = match (drawn.by_key, rows) {
        (true, _) => Unit::Key,
        (false, 0 | 1) => Unit::Request,
        (false, _) => Unit::Row(u32::try_from(row).unwrap_or(u32::MAX)),
    };
    // A chance lies between 0 and 1.
    let millionths = (drawn.chance * f64::from(EVERY)).round() as u32;
    Assignment { trial: drawn.trial.clone(), chance: millionths.clamp(1, EVERY), unit }
}

/// The answer to one row: a value, numbers, or what is neither as JSON.
fn outputs_of(predictions: &Predictions, row: usize, rows: usize) -> Outputs {
    if let Predictions::Array(one) = predictions
        && one.rows() == rows
    {
        let own = row * one.width()..(row + 1) * one.width();
        match one.values() {
            Values::Fp32(list) if one.is_column() => return Outputs::One(Scalar::Float(list[row].into())),
            Values::Fp64(list) if one.is_column() => return Outputs::One(Scalar::Float(list[row])),
            Values::Fp32(list) => return Outputs::Many(list[own].iter().copied().map(f64::from).collect()),
            Values::Fp64(list) => return Outputs::Many(list[own].to_vec()),
            _ => {}
        }
    }
    Outputs::One(scalar(&predictions.row(row, rows)))
}

fn row_of(columns: &[Tensor], row: usize) -> Vec<(String, Scalar)> {
    columns.iter().map(|c| (c.name().to_owned(), cell(c.values(), row))).collect()
}

/// A value as it is logged; a float that is no number is missing.
fn cell(values: &Values, at: usize) -> Scalar {
    match values {
        Values::Fp64(list) if !list[at].is_nan() => Scalar::Float(list[at]),
        Values::Fp32(list) if !list[at].is_nan() => Scalar::Float(f64::from(list[at])),
        Values::Int64(list) => Scalar::Int(list[at]),
        other => scalar(&other.json(at)),
    }
}

/// What was logged as JSON has it; a float that is no number is missing.
pub(crate) fn json_of(scalar: &Scalar) -> serde_json::Value {
    match scalar {
        Scalar::Null => serde_json::Value::Null,
        Scalar::Bool(on) => (*on).into(),
        Scalar::Int(whole) => (*whole).into(),
        Scalar::Float(float) => (*float).into(),
        Scalar::Text(text) => text.as_str().into(),
    }
}

/// A JSON value as it is logged; what is neither a number nor a text is logged as JSON.
#[must_use]
pub fn scalar(value: &serde_json::Value) -> Scalar {
    use serde_json::Value as Json;
    match value {
        Json::Null => Scalar::Null,
        Json::Bool(on) => Scalar::Bool(*on),
        Json::Number(n) => match (n.as_i64(), n.as_f64()) {
            (Some(whole), _) => Scalar::Int(whole),
            (None, Some(float)) => Scalar::Float(float),
            (None, None) => Scalar::Text(n.to_string()),
        },
        Json::String(text) => Scalar::Text(text.clone()),
        other => Scalar::Text(other.to_string()),
    }
}
