//! Issues: what is wrong with an application, as its traces show. An assessment of the kind `issue` links a trace to one: its
//! name is the issue's id.

use crate::model::Page;
use crate::places::{self, column};
use crate::rules;
use crate::{TraceError, Traces};
use serde_json::json;
use trueline_db::{Row, Tx, Value};
use trueline_identity::{Authorized, ReadProject, WriteTracking};
use trueline_ledger::{LedgerTx, Millis, NewEvent, ProjectId};
use trueline_search::sql::{ColumnType, Place, Places, compile};
use trueline_search::{Entity, Expr, Field};

const COLUMNS: &str = "i.id, i.experiment, i.name, i.description, i.status, i.severity, i.root_causes, i.categories, \
     i.source_run, i.created_at_ms, i.updated_at_ms, i.created_by";
const TRACES: &str = "(SELECT COUNT(DISTINCT a.trace) FROM assessments a WHERE a.project = i.project AND a.kind = 'issue' \
     AND a.name = i.id)";

/// What has become of an issue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IssueStatus {
    /// Nobody has judged it yet.
    #[default]
    Pending,
    /// It is none.
    Rejected,
    /// It was mended.
    Resolved,
}

impl IssueStatus {
    const ALL: [Self; 3] = [Self::Pending, Self::Rejected, Self::Resolved];

    /// Its word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Rejected => "rejected",
            Self::Resolved => "resolved",
        }
    }

    /// Reads its word.
    ///
    /// # Errors
    /// [`TraceError::Invalid`].
    pub fn parse(word: &str) -> Result<Self, TraceError> {
        known("status", word, Self::ALL, Self::as_str)
    }
}

/// How bad an issue is; the least first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum IssueSeverity {
    /// Not at all.
    NotAnIssue,
    /// A little.
    Low,
    /// Rather.
    Medium,
    /// Very.
    High,
}

impl IssueSeverity {
    const ALL: [Self; 4] = [Self::NotAnIssue, Self::Low, Self::Medium, Self::High];

    /// Its word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotAnIssue => "not_an_issue",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
        }
    }

    /// Reads its word.
    ///
    /// # Errors
    /// [`TraceError::Invalid`].
    pub fn parse(word: &str) -> Result<Self, TraceError> {
        known("severity", word, Self::ALL, Self::as_str)
    }

    /// As rows keep it, so that they are in order: -1 when nobody has said it.
    fn rank(severity: Option<Self>) -> i64 {
        severity.map_or(-1, |severity| severity as i64)
    }

    fn ranked(rank: i64) -> Option<Self> {
        Self::ALL.into_iter().find(|severity| *severity as i64 == rank)
    }
}

fn known<T: Copy, const N: usize>(
    what: &str,
    word: &str,
    all: [T; N],
    as_str: fn(T) -> &'static str,
) -> Result<T, TraceError> {
    all.into_iter().find(|one| as_str(*one) == word).ok_or_else(|| {
        let words = all.map(|one| format!("'{}'", as_str(one))).join(", ");
        TraceError::Invalid(format!(
            "Invalid value '{word}' for parameter '{what}'. It must be one of {words}"
        ))
    })
}

/// What is told of an issue when it is made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewIssue {
    /// A few words.
    pub name: String,
    /// All of it.
    pub description: String,
    /// What has become of it.
    pub status: IssueStatus,
    /// How bad it is, when somebody has said it.
    pub severity: Option<IssueSeverity>,
    /// Where it comes from.
    pub root_causes: Vec<String>,
    /// What it is about.
    pub categories: Vec<String>,
    /// The run that found it.
    pub source_run: Option<String>,
    /// Who found it, as the client has it.
    pub created_by: Option<String>,
}

/// An issue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issue {
    /// `iss-` and 32 hexadecimal digits.
    pub id: String,
    /// Its experiment.
    pub experiment: i64,
    /// What is told of it.
    pub told: NewIssue,
    /// When it was made.
    pub created_at_ms: Millis,
    /// When it was changed for the last time.
    pub updated_at_ms: Millis,
    /// How many traces show it, when that was asked.
    pub traces: Option<i64>,
}

/// What changes of an issue; the rest stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IssueUpdate {
    /// Another name.
    pub name: Option<String>,
    /// Another description.
    pub description: Option<String>,
    /// Another status.
    pub status: Option<IssueStatus>,
    /// Another severity.
    pub severity: Option<IssueSeverity>,
}

/// Which issues are asked for. The worst come first, then, when traces are counted, those that most show, then the newest.
#[derive(Clone, Debug)]
pub struct IssueSearch {
    /// Of this experiment; of all when none is named.
    pub experiment: Option<i64>,
    /// That meet this.
    pub filter: Expr,
    /// Whether the traces are counted that show each.
    pub counts_traces: bool,
    /// Skip so many.
    pub offset: u64,
    /// Give at most so many.
    pub limit: u64,
}

/// The fields that issues are searched by.
struct IssuePlaces;

impl Places for IssuePlaces {
    fn place(&self, field: &Field) -> Option<Place> {
        match (field.entity, field.key.as_str()) {
            (Entity::Attribute, "status") => column("i.status", ColumnType::Text),
            (Entity::Attribute, "source_run_id") => column("i.source_run", ColumnType::Text),
            _ => None,
        }
    }
}

/// Reads a list of texts, as a column of ours or of MLflow's has it: JSON, or nothing when it is empty.
#[must_use]
pub fn read_texts(json: Option<String>) -> Vec<String> {
    json.and_then(|json| serde_json::from_str(&json).ok()).unwrap_or_default()
}

/// Writes what [`read_texts`] reads.
#[must_use]
pub fn written_texts(texts: &[String]) -> Option<String> {
    (!texts.is_empty()).then(|| json!(texts).to_string())
}

fn read(row: &mut Row) -> Result<Issue, TraceError> {
    Ok(Issue {
        id: row.take(0)?,
        experiment: row.take(1)?,
        told: NewIssue {
            name: row.take(2)?,
            description: row.take(3)?,
            status: IssueStatus::parse(&row.take::<String>(4)?)?,
            severity: IssueSeverity::ranked(row.take(5)?),
            root_causes: read_texts(row.take(6)?),
            categories: read_texts(row.take(7)?),
            source_run: row.take(8)?,
            created_by: row.take(11)?,
        },
        created_at_ms: row.take(9)?,
        updated_at_ms: row.take(10)?,
        traces: None,
    })
}

fn find(tx: &mut Tx<'_>, project: &ProjectId, id: &str) -> Result<Option<Issue>, TraceError> {
    let sql = format!("SELECT {COLUMNS} FROM issues i WHERE i.project = ?1 AND i.id = ?2");
    tx.query_opt(&sql, &[project.into(), id.into()])?.map(|mut row| read(&mut row)).transpose()
}

fn get(tx: &mut Tx<'_>, project: &ProjectId, id: &str) -> Result<Issue, TraceError> {
    find(tx, project, id)?.ok_or_else(|| TraceError::NotFound(format!("Issue with ID '{id}' not found")))
}

fn insert(tx: &mut Tx<'_>, project: &ProjectId, issue: &Issue) -> Result<(), TraceError> {
    let told = &issue.told;
    tx.execute(
        "INSERT INTO issues (project, id, experiment, name, description, status, severity, root_causes, categories,
             source_run, created_at_ms, updated_at_ms, created_by)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
        &[
            project.into(),
            (&issue.id).into(),
            issue.experiment.into(),
            (&told.name).into(),
            (&told.description).into(),
            told.status.as_str().into(),
            IssueSeverity::rank(told.severity).into(),
            written_texts(&told.root_causes).into(),
            written_texts(&told.categories).into(),
            told.source_run.as_ref().into(),
            issue.created_at_ms.into(),
            issue.updated_at_ms.into(),
            told.created_by.as_ref().into(),
        ],
    )?;
    Ok(())
}

/// All that is told of an issue, for its event.
fn event(project: &ProjectId, action: &'static str, issue: &Issue, source: Option<&str>) -> NewEvent {
    let told = &issue.told;
    NewEvent::new(project, action, "issue", issue.id.clone()).with(json!({
        "experiment": issue.experiment.to_string(),
        "name": told.name,
        "description": told.description,
        "status": told.status.as_str(),
        "severity": told.severity.map(IssueSeverity::as_str),
        "root_causes": told.root_causes,
        "categories": told.categories,
        "run": told.source_run,
        "created_by": told.created_by,
        "source": source,
    }))
}

/// All issues of a project, the oldest first.
pub(crate) fn all(tx: &mut Tx<'_>, project: &ProjectId) -> Result<Vec<Issue>, TraceError> {
    let sql = format!("SELECT {COLUMNS} FROM issues i WHERE i.project = ?1 ORDER BY i.created_at_ms, i.id");
    tx.query(&sql, &[project.into()])?.iter_mut().map(read).collect()
}

/// Deletes the issues of an experiment; answers how many.
pub(crate) fn purge(tx: &mut Tx<'_>, project: &ProjectId, experiment: i64) -> Result<u64, TraceError> {
    let sql = "DELETE FROM issues WHERE project = ?1 AND experiment = ?2";
    Ok(tx.execute(sql, &[project.into(), experiment.into()])?)
}

fn search(tx: &mut Tx<'_>, project: &ProjectId, asked: &IssueSearch) -> Result<Page<Issue>, TraceError> {
    let mut params: Vec<Value> = vec![project.into()];
    let condition = compile(&asked.filter, &IssuePlaces, 2)?;
    params.extend(condition.params.into_iter().map(places::value));
    let mut sql = format!("SELECT {COLUMNS}");
    let mut order = "i.severity DESC".to_owned();
    if asked.counts_traces {
        sql.push_str(&format!(", {TRACES} AS traces"));
        order.push_str(", traces DESC");
    }
    sql.push_str(&format!(" FROM issues i WHERE i.project = ?1 AND {}", condition.sql));
    if let Some(experiment) = asked.experiment {
        params.push(experiment.into());
        sql.push_str(&format!(" AND i.experiment = ?{}", params.len()));
    }
    let bounded = |n: u64| Value::Int(i64::try_from(n).unwrap_or(i64::MAX));
    params.extend([bounded(asked.limit.saturating_add(1)), bounded(asked.offset)]);
    let (limit, offset) = (params.len() - 1, params.len());
    sql.push_str(&format!(
        " ORDER BY {order}, i.created_at_ms DESC, i.id DESC LIMIT ?{limit} OFFSET ?{offset}"
    ));
    let counted = |row: &mut Row| {
        let issue = read(row)?;
        Ok(Issue { traces: if asked.counts_traces { Some(row.take(12)?) } else { None }, ..issue })
    };
    let mut items =
        tx.query(&sql, &params)?.iter_mut().map(counted).collect::<Result<Vec<_>, TraceError>>()?;
    let limit = usize::try_from(asked.limit).unwrap_or(usize::MAX);
    let more = items.len() > limit;
    items.truncate(limit);
    Ok(Page { items, more })
}

impl Traces {
    /// Makes an issue. Whether there is such an experiment is for the caller to know.
    ///
    /// # Errors
    /// [`TraceError::Invalid`] for a name that is too long.
    pub async fn create_issue(
        &self,
        leave: &Authorized<WriteTracking>,
        experiment: i64,
        told: NewIssue,
    ) -> Result<Issue, TraceError> {
        rules::id("name", &told.name)?;
        let project = leave.project().clone();
        self.ledger
            .write(leave.actor(), move |tx| {
                let (id, now) = (format!("iss-{}", tx.derived_id("issue")), tx.now());
                let issue = Issue {
                    id,
                    experiment,
                    told: told.clone(),
                    created_at_ms: now,
                    updated_at_ms: now,
                    traces: None,
                };
                insert(tx, &project, &issue)?;
                tx.emit(event(&project, "issue.created", &issue, None))?;
                Ok(issue)
            })
            .await
    }

    /// One issue.
    ///
    /// # Errors
    /// [`TraceError::NotFound`].
    pub async fn issue(&self, leave: &Authorized<ReadProject>, id: String) -> Result<Issue, TraceError> {
        let project = leave.project().clone();
        self.ledger.db().read(move |tx| get(tx, &project, &id)).await
    }

    /// Changes an issue.
    ///
    /// # Errors
    /// [`TraceError::NotFound`], [`TraceError::Invalid`] for a name that is too long.
    pub async fn update_issue(
        &self,
        leave: &Authorized<WriteTracking>,
        id: String,
        update: IssueUpdate,
    ) -> Result<Issue, TraceError> {
        update.name.as_deref().map_or(Ok(()), |name| rules::id("name", name))?;
        let project = leave.project().clone();
        self.ledger.write(leave.actor(), move |tx| change(tx, &project, &id, &update)).await
    }

    /// The issues that meet a filter.
    ///
    /// # Errors
    /// [`TraceError::Invalid`] for a filter that names no field.
    pub async fn search_issues(
        &self,
        leave: &Authorized<ReadProject>,
        asked: IssueSearch,
    ) -> Result<Page<Issue>, TraceError> {
        let project = leave.project().clone();
        self.ledger.db().read(move |tx| search(tx, &project, &asked)).await
    }

    /// Takes in an issue of another server with its id, unless it is here; answers whether it is new.
    ///
    /// # Errors
    /// [`TraceError::Invalid`] for a name that is too long, or what the ledger says.
    pub async fn import_issue(
        &self,
        leave: &Authorized<WriteTracking>,
        source: &str,
        issue: Issue,
    ) -> Result<bool, TraceError> {
        rules::id("name", &issue.told.name)?;
        let (project, source) = (leave.project().clone(), source.to_owned());
        self.ledger
            .write(leave.actor(), move |tx| {
                if find(tx, &project, &issue.id)?.is_some() {
                    return Ok(false);
                }
                insert(tx, &project, &issue)?;
                tx.emit(event(&project, "issue.imported", &issue, Some(&source)))?;
                Ok(true)
            })
            .await
    }
}

fn change(
    tx: &mut LedgerTx<'_, '_>,
    project: &ProjectId,
    id: &str,
    update: &IssueUpdate,
) -> Result<Issue, TraceError> {
    let before = get(tx, project, id)?;
    let mut after = Issue { updated_at_ms: tx.now(), ..before.clone() };
    let told = &mut after.told;
    told.name = update.name.clone().unwrap_or_else(|| before.told.name.clone());
    told.description = update.description.clone().unwrap_or_else(|| before.told.description.clone());
    told.status = update.status.unwrap_or(before.told.status);
    told.severity = update.severity.or(before.told.severity);
    tx.execute(
        "UPDATE issues SET name = ?3, description = ?4, status = ?5, severity = ?6, updated_at_ms = ?7
         WHERE project = ?1 AND id = ?2",
        &[
            project.into(),
            id.into(),
            (&after.told.name).into(),
            (&after.told.description).into(),
            after.told.status.as_str().into(),
            IssueSeverity::rank(after.told.severity).into(),
            after.updated_at_ms.into(),
        ],
    )?;
    tx.emit(event(project, "issue.updated", &after, None))?;
    Ok(after)
}
