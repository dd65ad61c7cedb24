//! SQL over a project's prediction log: what is sealed and what was made durable a moment ago, copied into tables that are
//! there for one question. The log itself is only read.

use crate::archive::{ArchiveReader, ArchivedRow};
use crate::predict::json_of;
use crate::record_segments::{name_of, stream_of};
use serde_json::{Value as Json, json};
use std::collections::{BTreeSet, HashSet};
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use trueline_blobs::BlobError;
use trueline_identity::{Authorized, ReadProject};
use trueline_ledger::Millis;
use trueline_predictions::{
    Columns, Cursor, EVERY, Label, LogError, Outputs, Page, PredictionId, PredictionLog, Record, Scalar,
    Scan, Stage, Status, StreamName,
};
use trueline_query::{QueryError, Sql, SqlAnswer, SqlMost, SqlValue};
use trueline_serving::{ArchivedSegment, EndpointName, ServingError};

/// Questions that are answered at once.
const AT_ONCE: usize = 2;
/// Records and labels that one question reads at most.
const MOST_READ: u64 = 2_000_000;
/// How long reading and answering may take together.
const TIME: Duration = Duration::from_secs(60);
/// Bytes that an answer may have.
const ANSWER_BYTES: usize = 16 << 20;
/// Items of a page.
const PAGE: usize = 2_000;

const TABLES: &str = "
CREATE TABLE predictions (
    prediction_id TEXT, endpoint TEXT, model TEXT, version INTEGER, event_time TEXT, event_time_ms INTEGER,
    received_at TEXT, received_at_ms INTEGER, key TEXT, request_id TEXT, inputs TEXT, features TEXT, output,
    outputs TEXT, error TEXT, parse_us INTEGER, features_us INTEGER, queue_us INTEGER, runtime_us INTEGER,
    total_us INTEGER, share REAL, weight REAL, redacted TEXT
);
CREATE TABLE labels (
    prediction_id TEXT, value, event_time TEXT, event_time_ms INTEGER, received_at TEXT, received_at_ms INTEGER,
    source TEXT, holds INTEGER
);";
const PREDICTION: &str = "INSERT INTO predictions VALUES
    (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23)";
const LABEL: &str = "INSERT INTO labels VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 0)";
/// The last label to arrive for a prediction holds, whichever server it came to.
const LABELS_LOADED: &str = "
CREATE INDEX labels_of ON labels (prediction_id, received_at_ms);
UPDATE labels SET holds = 1 WHERE rowid IN (
    SELECT first_value(rowid) OVER (PARTITION BY prediction_id ORDER BY received_at_ms DESC, rowid DESC)
    FROM labels);";

/// A question to the log.
#[derive(Clone, Debug)]
pub struct LogQuestion {
    /// One statement of SQL that reads.
    pub sql: String,
    /// Of one endpoint's predictions only.
    pub endpoint: Option<EndpointName>,
    /// Of predictions with an event time in here only.
    pub event_time_ms: Option<Range<Millis>>,
    /// Rows of the answer at most.
    pub rows: usize,
}

/// What the log says.
#[derive(Clone, Debug)]
pub struct LogAnswer {
    /// The answer.
    pub answer: SqlAnswer,
    /// Predictions that were read.
    pub predictions: u64,
    /// Labels that were read.
    pub labels: u64,
}

/// A failure of this story.
#[derive(Debug, thiserror::Error)]
pub enum LogQueryError {
    /// The question.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// The log can't be read.
    #[error(transparent)]
    Log(#[from] LogError),
    /// Too much is asked about.
    #[error(
        "the question is about more than {MOST_READ} predictions and labels: narrow it to an endpoint or a span of event times"
    )]
    TooMuch,
    /// Others ask.
    #[error("{AT_ONCE} questions are being answered; ask again in a moment")]
    Busy,
    /// The archive can't be read.
    #[error("the archive of predictions: {0}")]
    Archive(#[from] BlobError),
    /// What the archive holds can't be looked up.
    #[error(transparent)]
    Serving(#[from] ServingError),
    /// An object of the archive is another than was put there.
    #[error("{0} is not what was archived: its SHA-256 differs from the ledger's; restore the object")]
    Changed(String),
    /// The log was swept meanwhile.
    #[error("predictions were deleted from the log while they were read; ask again")]
    Swept,
    /// The reading thread ended.
    #[error("the log could not be read: {0}")]
    Thread(String),
}

/// What answers questions to the log. Cheap to clone.
#[derive(Clone, Debug)]
pub struct LogQueries {
    log: Arc<PredictionLog>,
    archive: Option<ArchiveReader>,
    places: Arc<Semaphore>,
}

impl LogQueries {
    /// Over a log.
    #[must_use]
    pub fn new(log: Arc<PredictionLog>) -> Self {
        Self { log, archive: None, places: Arc::new(Semaphore::new(AT_ONCE)) }
    }

    /// With an archive, which is read where the log holds no longer what was archived.
    #[must_use]
    pub fn with_archive(self, archive: Option<ArchiveReader>) -> Self {
        Self { archive, ..self }
    }

    /// Answers a question about the caller's project.
    ///
    /// # Errors
    /// [`LogQueryError`].
    pub async fn ask(
        &self,
        leave: &Authorized<ReadProject>,
        question: LogQuestion,
    ) -> Result<LogAnswer, LogQueryError> {
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| LogQueryError::Busy)?;
        let archive = match &self.archive {
            Some(reader) => Some(Archive {
                reader: reader.clone(),
                held: reader.held(leave.project()).await?,
                handle: Handle::current(),
            }),
            None => None,
        };
        let asked = Asked { log: Arc::clone(&self.log), archive, project: leave.project().to_string() };
        let ask = move || {
            let _place = place;
            answer(&asked, &question)
        };
        tokio::task::spawn_blocking(ask).await.map_err(|e| LogQueryError::Thread(e.to_string()))?
    }
}

/// What a question is asked of.
struct Asked {
    log: Arc<PredictionLog>,
    archive: Option<Archive>,
    project: String,
}

/// What the archive holds of the project.
struct Archive {
    reader: ArchiveReader,
    held: Vec<ArchivedSegment>,
    handle: Handle,
}

impl Asked {
    /// Whether a segment is read from the log of this server, `own`, which removed all of the stream through a number. One that no server has
    /// claimed yet is known by its bytes.
    fn is_here(&self, own: &str, stream: &StreamName, segment: &ArchivedSegment, removed: u64) -> bool {
        let has_bytes = || {
            let sealed = self.log.sealed_after(stream, segment.number.saturating_sub(1));
            let there = sealed.first().filter(|sealed| sealed.segment == segment.number);
            there.is_some_and(|sealed| hex::encode(sealed.sha256) == segment.sha256)
        };
        segment.number > removed && (segment.server == own || segment.server.is_empty() && has_bytes())
    }

    /// The project's predictions, endpoint by endpoint: here, or of other servers in the archive.
    fn streams(&self) -> BTreeSet<StreamName> {
        let held = self.archive.iter().flat_map(|archive| &archive.held);
        let archived = held.filter_map(|held| stream_of(&self.project, &held.stream));
        let here = self.log.streams().into_iter().filter(|stream| stream.project() == self.project);
        here.chain(archived).filter(|stream| stream.endpoint().is_some()).collect()
    }

    /// Gives what the archive alone has of a stream, of which all through a number was removed here, to `visit`; it stops early
    /// when the time is over.
    fn archived(
        &self,
        stream: &StreamName,
        removed: u64,
        within: Option<&Range<Millis>>,
        until: Instant,
        mut visit: impl FnMut(&ArchivedRow<'_>) -> Result<(), LogQueryError>,
    ) -> Result<(), LogQueryError> {
        let Some(archive) = &self.archive else { return Ok(()) };
        let name = name_of(stream);
        let of_stream = archive.held.iter().filter(|held| held.stream == name);
        let own = archive.reader.segments.server();
        for segment in of_stream.filter(|held| !self.is_here(own, stream, held, removed)) {
            for object in &segment.copy.objects {
                archive.reader.read(&archive.handle, object, within, until, &mut visit)?;
            }
        }
        Ok(())
    }

    /// Something that was to be read here may have gone, and was not read there.
    fn check_not_swept(&self, stream: &StreamName, removed: u64) -> Result<(), LogQueryError> {
        let swept = self.archive.is_some() && self.log.removed_through(stream) != removed;
        if swept { Err(LogQueryError::Swept) } else { Ok(()) }
    }
}

fn answer(asked: &Asked, question: &LogQuestion) -> Result<LogAnswer, LogQueryError> {
    let (log, project) = (&asked.log, &asked.project);
    let mut loading = Loading { sql: Sql::begin(TABLES, TIME)?, read: 0 };
    let until = loading.sql.until();
    let within = question.event_time_ms.clone();
    let narrowed = question.endpoint.is_some() || within.is_some();
    let mut known = HashSet::new();
    for stream in asked.streams() {
        let Some(endpoint) = stream.endpoint() else { continue };
        if question.endpoint.as_ref().is_some_and(|asked| asked.as_str() != endpoint) {
            continue;
        }
        let removed = log.removed_through(&stream);
        asked.archived(&stream, removed, within.as_ref(), until, |row| {
            known.extend(row.prediction_id().filter(|_| narrowed));
            loading.put(PREDICTION, row.prediction())
        })?;
        loading.sql.in_time()?;
        let page = |scan: &Scan| log.scan(project, endpoint, scan);
        loading.load(within.clone(), page, PREDICTION, prediction, |one| {
            known.extend(narrowed.then_some(one.prediction_id));
            true
        })?;
        asked.check_not_swept(&stream, removed)?;
    }
    let predictions = loading.read;
    // A label has an event time of its own, so all of them are looked at; those of other predictions are not put in.
    let wanted = |id: &PredictionId| !narrowed || known.contains(id);
    let stream = StreamName::Labels { project: project.clone() };
    let removed = log.removed_through(&stream);
    asked.archived(&stream, removed, None, until, |row| {
        match row.prediction_id().is_some_and(|id| wanted(&id)) {
            true => loading.put(LABEL, row.label()),
            false => Ok(()),
        }
    })?;
    loading.sql.in_time()?;
    let of_wanted = |one: &Label| wanted(&one.prediction_id);
    loading.load(None, |scan| log.scan_labels(project, scan), LABEL, label, of_wanted)?;
    asked.check_not_swept(&stream, removed)?;
    let labels = loading.read - predictions;
    loading.sql.run(LABELS_LOADED)?;
    let most = SqlMost { rows: question.rows, bytes: ANSWER_BYTES };
    Ok(LogAnswer { answer: loading.sql.ask(&question.sql, most)?, predictions, labels })
}

struct Loading {
    sql: Sql,
    read: u64,
}

impl Loading {
    fn load<T, R: IntoIterator<Item = SqlValue>>(
        &mut self,
        event_time_ms: Option<Range<Millis>>,
        page: impl Fn(&Scan) -> Result<Page<T>, LogError>,
        statement: &str,
        row: impl Fn(&T) -> R,
        mut wanted: impl FnMut(&T) -> bool,
    ) -> Result<(), LogQueryError> {
        let until = Some(self.sql.until());
        let mut scan = Scan { from: Cursor::START, event_time_ms, limit: PAGE, until };
        loop {
            let found = page(&scan)?;
            self.sql.in_time()?;
            for item in found.items.iter().filter(|item| wanted(item)) {
                self.put(statement, row(item))?;
            }
            if found.end {
                return Ok(());
            }
            scan.from = found.next;
        }
    }

    fn put(&mut self, statement: &str, row: impl IntoIterator<Item = SqlValue>) -> Result<(), LogQueryError> {
        self.read += 1;
        if self.read > MOST_READ {
            return Err(LogQueryError::TooMuch);
        }
        // A clock is cheap, and the rows of an object come from a disk or a network.
        self.sql.in_time()?;
        Ok(self.sql.insert(statement, row)?)
    }
}

pub(crate) fn text(text: impl Into<String>) -> SqlValue {
    SqlValue::Text(text.into())
}

/// A time as text that sorts as the times do: all have the same digits.
pub(crate) fn time(ms: Millis) -> SqlValue {
    match jiff::Timestamp::from_millisecond(ms) {
        Ok(at) => text(at.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()),
        Err(_) => SqlValue::Null,
    }
}

fn value(scalar: &Scalar) -> SqlValue {
    match scalar {
        Scalar::Null => SqlValue::Null,
        Scalar::Bool(on) => SqlValue::Int(i64::from(*on)),
        Scalar::Int(whole) => SqlValue::Int(*whole),
        Scalar::Float(float) => SqlValue::Float(*float),
        Scalar::Text(told) => text(told),
    }
}

fn columns(columns: &Columns) -> SqlValue {
    let all: serde_json::Map<String, Json> =
        columns.iter().map(|(name, value)| (name.clone(), json_of(value))).collect();
    text(Json::Object(all).to_string())
}

fn prediction(record: &Record) -> Vec<SqlValue> {
    let stage = |stage: Stage| {
        let found = record.timings.iter().find(|(of, _)| *of == stage);
        found.map_or(SqlValue::Null, |(_, us)| SqlValue::Int(i64::try_from(*us).unwrap_or(i64::MAX)))
    };
    let (output, outputs) = match &record.outputs {
        Outputs::None => (SqlValue::Null, SqlValue::Null),
        Outputs::One(one) => (value(one), SqlValue::Null),
        Outputs::Many(many) => (SqlValue::Null, text(json!(many).to_string())),
    };
    let error = match &record.status {
        Status::Ok => SqlValue::Null,
        Status::Error(why) => text(why),
    };
    let (share, every) = (f64::from(record.share), f64::from(EVERY));
    let variant = &record.variant;
    vec![
        text(record.prediction_id.to_string()),
        text(&record.endpoint),
        text(&variant.model),
        variant.version.parse().map_or_else(|_| text(&variant.version), SqlValue::Int),
        time(record.event_time_ms),
        SqlValue::Int(record.event_time_ms),
        time(record.received_at_ms),
        SqlValue::Int(record.received_at_ms),
        record.key.as_ref().map_or(SqlValue::Null, text),
        text(&record.request_id),
        columns(&record.inputs),
        columns(&record.features),
        output,
        outputs,
        error,
        stage(Stage::Parse),
        stage(Stage::Features),
        stage(Stage::Queue),
        stage(Stage::Runtime),
        stage(Stage::Total),
        SqlValue::Float(share / every),
        SqlValue::Float(every / share),
        text(json!(record.redacted).to_string()),
    ]
}

fn label(label: &Label) -> Vec<SqlValue> {
    vec![
        text(label.prediction_id.to_string()),
        value(&label.value),
        time(label.event_time_ms),
        SqlValue::Int(label.event_time_ms),
        time(label.received_at_ms),
        SqlValue::Int(label.received_at_ms),
        text(&label.source),
    ]
}
