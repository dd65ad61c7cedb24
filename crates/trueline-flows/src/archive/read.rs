//! Archived segments read back for a question: fetched, held against the digest that the ledger has, and read row by row.

use super::PredictionArchive;
use crate::query_log::{LogQueryError, text, time};
use serde_json::Value as Json;
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io;
use std::ops::Range;
use std::time::Instant;
use tokio::runtime::Handle;
use trueline_blobs::{Blobs, NamedTempFile};
use trueline_ledger::{Millis, ProjectId};
use trueline_predictions::PredictionId;
use trueline_query::arrow_array::ArrayAccessor;
use trueline_query::arrow_array::cast::AsArray;
use trueline_query::arrow_array::types::{Float64Type, Int64Type, TimestampMillisecondType};
use trueline_query::{Format, Part, RecordBatch, SqlValue, infer, scan};
use trueline_serving::{ArchivedObject, ArchivedSegment, SealedSegments, ServingError};

/// What reads the archive. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ArchiveReader {
    /// Where it is.
    pub archive: PredictionArchive,
    /// What the ledger knows of it.
    pub segments: SealedSegments,
    /// Where files are fetched to.
    pub blobs: Blobs,
}

impl ArchiveReader {
    /// What the archive holds of a project. What lies in another place, since the archive has moved, is left out.
    pub(crate) async fn held(&self, project: &ProjectId) -> Result<Vec<ArchivedSegment>, ServingError> {
        let mut held = self.segments.archived(project).await?;
        let place = self.archive.objects.uri();
        held.retain(|segment| segment.copy.place == place);
        Ok(held)
    }

    /// The rows of an object with an event time within these bounds, in its order, as far as there is time. Waits for the archive:
    /// call it where blocking is allowed.
    pub(crate) fn read(
        &self,
        handle: &Handle,
        object: &ArchivedObject,
        within: Option<&Range<Millis>>,
        until: Instant,
        mut visit: impl FnMut(&ArchivedRow<'_>) -> Result<(), LogQueryError>,
    ) -> Result<(), LogQueryError> {
        let (first, last) = object.event_time_ms;
        if within.is_some_and(|range| range.end <= first || range.start > last) {
            return Ok(());
        }
        let Some(file) = self.fetch(handle, object, until)? else { return Ok(()) };
        let part = Part { name: object.path.clone(), path: file.path().to_owned(), format: Format::Parquet };
        let schema = infer(std::slice::from_ref(&part))?;
        for batch in scan(vec![part], &schema, None)? {
            let batch = batch?;
            if Instant::now() >= until {
                return Ok(());
            }
            for row in 0..batch.num_rows() {
                let row = ArchivedRow { batch: &batch, row };
                let at = row.millis("event_time");
                if within.is_none_or(|range| at.is_some_and(|at| range.contains(&at))) {
                    visit(&row)?;
                }
            }
        }
        Ok(())
    }

    /// None when the time is over.
    fn fetch(
        &self,
        handle: &Handle,
        object: &ArchivedObject,
        until: Instant,
    ) -> Result<Option<NamedTempFile>, LogQueryError> {
        let file = self.blobs.spool()?;
        let fetched = handle.block_on(async {
            tokio::time::timeout_at(until.into(), self.archive.objects.fetch(&object.path, file.path())).await
        });
        let Ok(fetched) = fetched else { return Ok(None) };
        fetched?;
        let mut hash = Sha256::new();
        io::copy(&mut File::open(file.path()).map_err(trueline_blobs::BlobError::from)?, &mut hash)
            .map_err(trueline_blobs::BlobError::from)?;
        if hex::encode(hash.finalize()) == object.sha256 {
            return Ok(Some(file));
        }
        Err(LogQueryError::Changed(format!("{}/{}", self.archive.objects.uri(), object.path)))
    }
}

/// A row of an archived table. A column that is not there, or of another type, has no values.
#[derive(Clone, Copy)]
pub(crate) struct ArchivedRow<'a> {
    batch: &'a RecordBatch,
    row: usize,
}

impl ArchivedRow<'_> {
    pub(crate) fn text(&self, column: &str) -> Option<&str> {
        let values = self.batch.column_by_name(column)?.as_string_opt::<i32>()?;
        at(values, self.row)
    }

    fn number(&self, column: &str) -> SqlValue {
        let values = self.batch.column_by_name(column).and_then(|c| c.as_primitive_opt::<Float64Type>());
        values.and_then(|v| at(v, self.row)).map_or(SqlValue::Null, SqlValue::Float)
    }

    fn whole(&self, column: &str) -> SqlValue {
        let values = self.batch.column_by_name(column).and_then(|c| c.as_primitive_opt::<Int64Type>());
        values.and_then(|v| at(v, self.row)).map_or(SqlValue::Null, SqlValue::Int)
    }

    fn millis(&self, column: &str) -> Option<Millis> {
        let values = self.batch.column_by_name(column)?.as_primitive_opt::<TimestampMillisecondType>()?;
        at(values, self.row)
    }

    fn said(&self, column: &str) -> SqlValue {
        self.text(column).map_or(SqlValue::Null, text)
    }

    fn when(&self, column: &str) -> [SqlValue; 2] {
        let ms = self.millis(column);
        [ms.map_or(SqlValue::Null, time), ms.map_or(SqlValue::Null, SqlValue::Int)]
    }

    pub(crate) fn prediction_id(&self) -> Option<PredictionId> {
        PredictionId::parse(self.text("prediction_id")?)
    }

    /// The row as the table `predictions` of a question has it.
    pub(crate) fn prediction(&self) -> Vec<SqlValue> {
        let version = self.text("version").unwrap_or_default();
        let (output, outputs) = match self.text("output_json").map(serde_json::from_str) {
            Some(Ok(many @ Json::Array(_))) => (SqlValue::Null, text(many.to_string())),
            Some(Ok(Json::Null)) => (self.number("output"), SqlValue::Null),
            Some(Ok(one)) => (value(&one), SqlValue::Null),
            _ => (SqlValue::Null, SqlValue::Null),
        };
        let mut row = vec![self.said("prediction_id"), self.said("endpoint"), self.said("model")];
        row.push(version.parse().map_or_else(|_| text(version), SqlValue::Int));
        row.extend(self.when("event_time"));
        row.extend(self.when("received_at"));
        row.extend(["key", "request_id", "inputs", "features"].map(|column| self.said(column)));
        row.extend([output, outputs, self.said("error")]);
        let stages = ["parse_us", "features_us", "queue_us", "runtime_us", "total_us"];
        row.extend(stages.map(|column| self.whole(column)));
        row.extend([self.number("share"), self.number("weight"), self.said("redacted")]);
        row
    }

    /// The row as the table `labels` of a question has it.
    pub(crate) fn label(&self) -> Vec<SqlValue> {
        let told = self.text("value_json").and_then(|json| serde_json::from_str(json).ok());
        let mut row = vec![self.said("prediction_id"), told.as_ref().map_or(SqlValue::Null, value)];
        row.extend(self.when("event_time"));
        row.extend(self.when("received_at"));
        row.push(self.said("source"));
        row
    }
}

fn value(json: &Json) -> SqlValue {
    match json {
        Json::Null => SqlValue::Null,
        Json::Bool(on) => SqlValue::Int(i64::from(*on)),
        Json::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => SqlValue::Int(whole),
            (None, Some(float)) => SqlValue::Float(float),
            (None, None) => SqlValue::Null,
        },
        Json::String(told) => text(told),
        Json::Array(_) | Json::Object(_) => text(json.to_string()),
    }
}

fn at<A: ArrayAccessor>(values: A, row: usize) -> Option<A::Item> {
    (row < values.len() && values.is_valid(row)).then(|| values.value(row))
}
