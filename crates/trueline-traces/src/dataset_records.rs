//! Records of evaluation datasets: inputs, what came out, what was expected. A record is known by its inputs: one that comes
//! again with the same inputs changes the first.

use crate::dataset_schema::{profile, schema, sorted};
use crate::datasets::{USER, digest, event, get};
use crate::value::to_json;
use crate::{TraceError, Traces};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value as Json, json};
use sha2::{Digest, Sha256};
use trueline_db::{DbError, Row, Tx, Value};
use trueline_identity::{Authorized, ReadProject, WriteTracking};
use trueline_ledger::{LedgerTx, Millis, ProjectId};

const COLUMNS: &str = "r.id, r.inputs, r.outputs, r.expectations, r.tags, r.source, r.source_id, r.source_type, \
     r.created_at_ms, r.updated_at_ms, r.created_by, r.updated_by FROM evaluation_records r";
const SOURCES: [&str; 5] = ["UNSPECIFIED", "TRACE", "HUMAN", "DOCUMENT", "CODE"];

/// Members of a JSON object.
type Members = Map<String, Json>;

/// A record as it comes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NewRecord {
    /// What goes in.
    pub inputs: Members,
    /// What came out; `Some(null)` takes away what was there.
    pub outputs: Option<Json>,
    /// What was expected.
    pub expectations: Members,
    /// Its tags.
    pub tags: Members,
    /// Where it comes from: `{"source_type", "source_data"}`.
    pub source: Option<Json>,
}

/// A record as it is kept.
#[derive(Clone, Debug, PartialEq)]
pub struct DatasetRecord {
    /// Its id, `dr-` and 32 hexadecimal digits.
    pub id: String,
    /// What goes in.
    pub inputs: Json,
    /// What came out.
    pub outputs: Option<Json>,
    /// What was expected.
    pub expectations: Option<Json>,
    /// Its tags.
    pub tags: Json,
    /// Where it comes from.
    pub source: Option<Json>,
    /// The trace or document that it comes from.
    pub source_id: Option<String>,
    /// What kind of thing that is.
    pub source_type: Option<String>,
    /// When it was made.
    pub created_at_ms: Millis,
    /// When it was changed last.
    pub updated_at_ms: Millis,
    /// Who made it, as the client says.
    pub created_by: Option<String>,
    /// Who changed it last, as the client says.
    pub updated_by: Option<String>,
}

/// A page of records.
#[derive(Clone, Debug)]
pub struct RecordPage {
    /// The records.
    pub items: Vec<DatasetRecord>,
    /// Where the next page begins.
    pub next: Option<String>,
}

/// How many records a request made and changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Upserted {
    /// Made.
    pub inserted: i64,
    /// Changed.
    pub updated: i64,
}

/// Where a record comes from, checked.
#[derive(Clone, Debug)]
struct Source {
    json: Json,
    kind: String,
    id: Option<String>,
}

impl Source {
    fn read(told: &Json) -> Result<Self, TraceError> {
        let kind = told.get("source_type").and_then(Json::as_str).unwrap_or_default().to_uppercase();
        let kind = kind.trim_start_matches("SOURCE_TYPE_").to_owned();
        if !SOURCES.contains(&kind.as_str()) {
            return TraceError::invalid(format!(
                "Invalid dataset record source type: {kind}. Valid source types: ['{}']",
                SOURCES.join("', '")
            ));
        }
        let data = told.get("source_data").filter(|data| data.is_object()).cloned();
        let data = data.unwrap_or_else(|| Json::Object(Map::new()));
        let key = if kind == "TRACE" { "trace_id" } else { "source_id" };
        let id = data.get(key).and_then(Json::as_str).map(ToOwned::to_owned);
        Ok(Self { json: json!({ "source_type": kind, "source_data": data }), kind, id })
    }
}

/// What tells records of these inputs from others.
pub(crate) fn hash(inputs: &Json) -> String {
    hex::encode(Sha256::digest(to_json(&sorted(inputs))))
}

impl NewRecord {
    fn hash(&self) -> String {
        hash(&Json::Object(self.inputs.clone()))
    }

    fn user(&self) -> Option<&str> {
        self.tags.get(USER).and_then(Json::as_str)
    }
}

fn read(row: &mut Row) -> Result<DatasetRecord, TraceError> {
    let json = |text: Option<String>| text.and_then(|text| serde_json::from_str::<Json>(&text).ok());
    let object = |found: Option<Json>| found.unwrap_or_else(|| Json::Object(Map::new()));
    Ok(DatasetRecord {
        id: row.take(0)?,
        inputs: object(json(row.take(1)?)),
        outputs: json(row.take(2)?),
        expectations: json(row.take(3)?),
        tags: object(json(row.take(4)?)),
        source: json(row.take(5)?),
        source_id: row.take(6)?,
        source_type: row.take(7)?,
        created_at_ms: row.take(8)?,
        updated_at_ms: row.take(9)?,
        created_by: row.take(10)?,
        updated_by: row.take(11)?,
    })
}

/// Shows the records of a dataset in turn, each with its hash.
pub(crate) fn each<E: From<TraceError> + From<DbError>>(
    tx: &mut Tx<'_>,
    project: &ProjectId,
    dataset: &str,
    mut see: impl FnMut(DatasetRecord, String) -> Result<(), E>,
) -> Result<(), E> {
    let sql = COLUMNS.replace(" FROM", ", r.input_hash FROM");
    let sql = format!("SELECT {sql} WHERE r.project = ?1 AND r.dataset = ?2 ORDER BY r.created_at_ms, r.id");
    tx.each(&sql, &[project.into(), dataset.into()], |row| {
        let hash = row.take(12)?;
        see(read(row)?, hash)
    })
}

/// The members of a column with new ones over them; none if there are none.
fn merged(kept: Option<String>, new: &Members) -> Option<String> {
    let kept: Option<Members> = kept.and_then(|text| serde_json::from_str(&text).ok());
    if kept.is_none() && new.is_empty() {
        return None;
    }
    let mut members = kept.unwrap_or_default();
    members.extend(new.clone());
    Some(to_json(&members))
}

/// Writes one record; answers whether it is new.
fn upsert(
    tx: &mut LedgerTx<'_, '_>,
    project: &ProjectId,
    dataset: &str,
    (n, record): (usize, &NewRecord),
) -> Result<bool, TraceError> {
    let (hash, now, user) = (record.hash(), tx.now(), record.user());
    let outputs = record.outputs.as_ref().filter(|outputs| !outputs.is_null()).map(to_json);
    let found = tx.query_opt(
        "SELECT id, outputs, expectations, tags FROM evaluation_records
         WHERE project = ?1 AND dataset = ?2 AND input_hash = ?3",
        &[project.into(), dataset.into(), (&hash).into()],
    )?;
    let Some(mut row) = found else {
        let source = record.source.as_ref().map(Source::read).transpose()?;
        let id = format!("dr-{}", tx.derived_id(&format!("record {n}")));
        let text = |members: &Members| (!members.is_empty()).then(|| to_json(members));
        let params: [Value; 14] = [
            project.into(),
            dataset.into(),
            id.into(),
            hash.into(),
            to_json(&record.inputs).into(),
            outputs.into(),
            text(&record.expectations).into(),
            text(&record.tags).into(),
            source.as_ref().map(|source| to_json(&source.json)).into(),
            source.as_ref().and_then(|source| source.id.clone()).into(),
            source.map(|source| source.kind).into(),
            now.into(),
            now.into(),
            user.into(),
        ];
        tx.execute(
            "INSERT INTO evaluation_records (project, dataset, id, input_hash, inputs, outputs, expectations, tags, source,
                 source_id, source_type, created_at_ms, updated_at_ms, created_by, updated_by)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?14)",
            &params,
        )?;
        return Ok(true);
    };
    let id: String = row.take(0)?;
    let kept: Option<String> = row.take(1)?;
    let outputs = if record.outputs.is_some() { outputs } else { kept };
    tx.execute(
        "UPDATE evaluation_records SET outputs = ?4, expectations = ?5, tags = ?6, updated_at_ms = ?7,
             updated_by = COALESCE(?8, updated_by) WHERE project = ?1 AND dataset = ?2 AND id = ?3",
        &[
            project.into(),
            dataset.into(),
            id.into(),
            outputs.into(),
            merged(row.take(2)?, &record.expectations).into(),
            merged(row.take(3)?, &record.tags).into(),
            now.into(),
            user.into(),
        ],
    )?;
    Ok(false)
}

/// Writes a record of another server unless there is one of its id or inputs; answers how many that were.
pub(crate) fn insert_whole(
    tx: &mut Tx<'_>,
    project: &ProjectId,
    dataset: &str,
    record: &DatasetRecord,
    hash: &str,
) -> Result<u64, TraceError> {
    let text = |json: &Option<Json>| json.as_ref().map(to_json);
    let tags = record.tags.as_object().filter(|tags| !tags.is_empty());
    let made = tx.execute(
        "INSERT INTO evaluation_records (project, dataset, id, input_hash, inputs, outputs, expectations, tags, source,
             source_id, source_type, created_at_ms, updated_at_ms, created_by, updated_by)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15) ON CONFLICT DO NOTHING",
        &[
            project.into(),
            dataset.into(),
            (&record.id).into(),
            hash.into(),
            to_json(&record.inputs).into(),
            text(&record.outputs).into(),
            text(&record.expectations).into(),
            tags.map(to_json).into(),
            text(&record.source).into(),
            record.source_id.as_ref().into(),
            record.source_type.as_ref().into(),
            record.created_at_ms.into(),
            record.updated_at_ms.into(),
            record.created_by.as_ref().into(),
            record.updated_by.as_ref().into(),
        ],
    )?;
    Ok(made)
}

fn count(tx: &mut Tx<'_>, project: &ProjectId, dataset: &str) -> Result<i64, TraceError> {
    let sql = "SELECT COUNT(*) FROM evaluation_records WHERE project = ?1 AND dataset = ?2";
    Ok(tx.scalar(sql, &[project.into(), dataset.into()])?.unwrap_or(0))
}

/// Where a page begins: after this time and id.
fn cursor(token: &str) -> Result<(Millis, String), TraceError> {
    let read = || {
        let text = String::from_utf8(STANDARD.decode(token).ok()?).ok()?;
        let (at, id) = text.split_once(':')?;
        Some((at.parse().ok()?, id.to_owned()))
    };
    read().ok_or_else(|| TraceError::Invalid(format!("Invalid page token '{token}'")))
}

impl Traces {
    /// Adds records to an evaluation dataset, or changes those with the same inputs.
    ///
    /// # Errors
    /// [`TraceError::NotFound`], [`TraceError::Invalid`] for a source that is of no known kind.
    pub async fn upsert_records(
        &self,
        leave: &Authorized<WriteTracking>,
        dataset: String,
        records: Vec<NewRecord>,
    ) -> Result<Upserted, TraceError> {
        let project = leave.project().clone();
        let hashes = records.iter().fold(Sha256::new(), |hash, record| hash.chain_update(record.hash()));
        let sha256 = hex::encode(hashes.finalize());
        self.ledger
            .write(leave.actor(), move |tx| {
                let kept = get(tx, &project, &dataset)?;
                let mut done = Upserted::default();
                for record in records.iter().enumerate() {
                    match upsert(tx, &project, &dataset, record)? {
                        true => done.inserted += 1,
                        false => done.updated += 1,
                    }
                }
                let user = records.iter().filter_map(NewRecord::user).next_back();
                let schema = match (kept.schema.as_deref(), records.is_empty()) {
                    (None, true) => None,
                    (kept, _) => Some(to_json(&schema(kept, &records))),
                };
                let now = tx.now();
                let profile = profile(count(tx, &project, &dataset)?).or(kept.profile);
                tx.execute(
                    "UPDATE evaluation_datasets SET schema = ?3, profile = ?4, digest = ?5, updated_at_ms = ?6,
                         updated_by = ?7 WHERE project = ?1 AND id = ?2",
                    &[
                        (&project).into(),
                        (&dataset).into(),
                        schema.into(),
                        profile.into(),
                        digest(&kept.name, now).into(),
                        now.into(),
                        user.into(),
                    ],
                )?;
                let told = json!({ "inserted": done.inserted, "updated": done.updated, "inputs_sha256": sha256 });
                tx.emit(event(&project, "evaluation_dataset.records_upserted", &dataset).with(told))?;
                Ok(done)
            })
            .await
    }

    /// A page of records, the oldest first.
    ///
    /// # Errors
    /// [`TraceError::NotFound`], [`TraceError::Invalid`] for a token that is none.
    pub async fn records(
        &self,
        leave: &Authorized<ReadProject>,
        dataset: String,
        limit: u64,
        token: Option<String>,
    ) -> Result<RecordPage, TraceError> {
        let after = token.as_deref().map(cursor).transpose()?.unwrap_or((i64::MIN, String::new()));
        let project = leave.project().clone();
        self.ledger
            .db()
            .read(move |tx| {
                get(tx, &project, &dataset)?;
                let sql = format!(
                    "SELECT {COLUMNS} WHERE r.project = ?1 AND r.dataset = ?2
                     AND (r.created_at_ms > ?3 OR (r.created_at_ms = ?3 AND r.id > ?4))
                     ORDER BY r.created_at_ms, r.id LIMIT ?5"
                );
                let most = i64::try_from(limit.saturating_add(1)).unwrap_or(i64::MAX);
                let (at, id) = &after;
                let params = [(&project).into(), (&dataset).into(), (*at).into(), id.into(), most.into()];
                let mut items =
                    tx.query(&sql, &params)?.iter_mut().map(read).collect::<Result<Vec<_>, _>>()?;
                let limit = usize::try_from(limit).unwrap_or(usize::MAX);
                let more = items.len() > limit;
                items.truncate(limit);
                let last = items.last().filter(|_| more);
                let next = last.map(|last| STANDARD.encode(format!("{}:{}", last.created_at_ms, last.id)));
                Ok(RecordPage { items, next })
            })
            .await
    }

    /// Deletes records; answers how many. Those that are not there are passed over.
    ///
    /// # Errors
    /// [`TraceError::NotFound`] for the dataset.
    pub async fn delete_records(
        &self,
        leave: &Authorized<WriteTracking>,
        dataset: String,
        ids: Vec<String>,
    ) -> Result<u64, TraceError> {
        let project = leave.project().clone();
        self.ledger
            .write(leave.actor(), move |tx| {
                get(tx, &project, &dataset)?;
                let mut deleted = 0;
                for id in &ids {
                    let sql =
                        "DELETE FROM evaluation_records WHERE project = ?1 AND dataset = ?2 AND id = ?3";
                    deleted += tx.execute(sql, &[(&project).into(), (&dataset).into(), id.into()])?;
                }
                if deleted == 0 {
                    return Ok(0);
                }
                let left = count(tx, &project, &dataset)?;
                let profile = profile(left).unwrap_or_else(|| "null".to_owned());
                tx.execute(
                    "UPDATE evaluation_datasets SET profile = ?3 WHERE project = ?1 AND id = ?2",
                    &[(&project).into(), (&dataset).into(), profile.into()],
                )?;
                let told = json!({ "records": ids, "deleted": deleted });
                tx.emit(event(&project, "evaluation_dataset.records_deleted", &dataset).with(told))?;
                Ok(deleted)
            })
            .await
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn record(json: Json) -> NewRecord {
        let object = |key: &str| json.get(key).and_then(Json::as_object).cloned().unwrap_or_default();
        NewRecord {
            inputs: object("inputs"),
            outputs: json.get("outputs").cloned(),
            expectations: object("expectations"),
            ..NewRecord::default()
        }
    }

    #[test]
    fn a_record_is_known_by_its_inputs_whatever_their_order() {
        let one: Json = serde_json::from_str(r#"{"inputs": {"a": 1, "b": 2}, "outputs": 1}"#).unwrap();
        let other: Json = serde_json::from_str(r#"{"inputs": {"b": 2, "a": 1}, "outputs": 2}"#).unwrap();
        assert_eq!(record(one).hash(), record(other).hash());
        assert_ne!(record(json!({"inputs": {"a": 1}})).hash(), record(json!({"inputs": {"a": 2}})).hash());
    }

    #[test]
    fn a_source_names_the_trace_that_it_is() {
        let source =
            Source::read(&json!({"source_type": "trace", "source_data": {"trace_id": "tr-1"}})).unwrap();
        assert_eq!((source.kind.as_str(), source.id.as_deref()), ("TRACE", Some("tr-1")));
        assert!(Source::read(&json!({"source_type": "dream"})).is_err());
    }

    #[test]
    fn a_page_begins_after_a_time_and_an_id() {
        assert_eq!(cursor(&STANDARD.encode("12:dr-1")).unwrap(), (12, "dr-1".to_owned()));
        assert!(cursor("x").is_err());
    }
}
