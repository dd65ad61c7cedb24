//! Spans come in: what can be worked out before the transaction is, then all traces of a request are written in one.

use crate::conventions::{known_service, quoted, translate};
use crate::model::{Home, IN_STORE, Pairs, TraceState, keys as trace_keys};
use crate::preview::{Role, preview};
use crate::rows::{PairKind, TraceRow, merge, set_pairs};
use crate::span::{Attributes, NewSpan, SpanStatus, attribute, kept, keys, unquoted};
use crate::span_row::SpanRow;
use crate::usage::{self, Node};
use crate::value::Value;
use crate::{TraceError, Traces, links, rules};
use serde_json::json;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use trueline_db::Tx;
use trueline_identity::{Authorized, WriteTracking};
use trueline_ledger::{LedgerTx, NewEvent, ProjectId};

/// What the spans of one trace say of it.
struct Batch {
    trace: String,
    spans: Vec<SpanRow>,
    first_ms: i64,
    last_ms: Option<i64>,
    state: Option<TraceState>,
    request: Option<String>,
    response: Option<String>,
    session: Option<String>,
    user: Option<String>,
    name: Option<String>,
    tags: Pairs,
    usage: Vec<Node>,
    cost: Vec<Node>,
    has_root: bool,
}

const NANOS_PER_MILLI: i64 = 1_000_000;

/// The attributes of a span as they are kept.
fn attributes(span: &NewSpan) -> Attributes {
    let mut attributes: Attributes = Vec::with_capacity(span.attributes.len() + 1);
    for (key, value) in &span.attributes {
        attributes.retain(|(known, _)| known != key);
        attributes.push((key.clone(), kept(value)));
    }
    // The id that the client claims is not believed.
    attributes.retain(|(key, _)| key != keys::REQUEST_ID);
    attributes.push((keys::REQUEST_ID.to_owned(), quoted(&span.trace_id())));
    if span.parent.is_none()
        && let Some(service) = known_service(&span.resource)
    {
        attributes.retain(|(key, _)| key != keys::SERVICE);
        attributes.push((keys::SERVICE.to_owned(), quoted(service)));
    }
    translate(&mut attributes, &span.events);
    attributes
}

impl Batch {
    fn new(trace: String) -> Self {
        Self {
            trace,
            spans: Vec::new(),
            first_ms: i64::MAX,
            last_ms: None,
            state: None,
            request: None,
            response: None,
            session: None,
            user: None,
            name: None,
            tags: Pairs::new(),
            usage: Vec::new(),
            cost: Vec::new(),
            has_root: false,
        }
    }

    fn take(&mut self, span: &NewSpan) -> Result<(), TraceError> {
        let attributes = attributes(span);
        let (id, parent) = (span.hex_id(), span.hex_parent());
        let cost = attribute(&attributes, keys::COST);
        self.first_ms = self.first_ms.min(span.started_ns / NANOS_PER_MILLI);
        self.last_ms = self.last_ms.max(span.ended_ns.map(|ns| ns / NANOS_PER_MILLI));
        let told = |key: &str| attribute(&attributes, key);
        self.usage.push(Node::new(&id, parent.as_deref(), told(keys::USAGE)));
        self.cost.push(Node::new(&id, parent.as_deref(), cost));
        let words = |key: &str| told(key).map(unquoted).filter(|text| !text.is_empty());
        if self.session.is_none() {
            self.session = words(keys::SESSION).or_else(|| words(keys::CONVERSATION));
            self.session.as_deref().map_or(Ok(()), rules::session)?;
        }
        if self.user.is_none() {
            self.user = words(keys::USER).map(|user| rules::tag_value(&user));
        }
        for (key, value) in span.resource.iter() {
            let text = value.as_text().map_or_else(|| value.to_json(), ToOwned::to_owned);
            self.tag_from_resource(key, &text);
        }
        if span.parent.is_none() {
            self.take_root(span, &attributes);
        }
        self.spans.push(SpanRow::new(span, &attributes));
        Ok(())
    }

    fn tag_from_resource(&mut self, key: &str, text: &str) {
        let reserved = key.starts_with("telemetry.sdk.") || key.starts_with("mlflow.");
        if !reserved && rules::tag_key(key).is_ok() && !self.tags.contains_key(key) {
            self.tags.insert(key.to_owned(), rules::tag_value(text));
        }
    }

    fn take_root(&mut self, span: &NewSpan, attributes: &Attributes) {
        self.has_root = true;
        let failed = span.status == SpanStatus::Error;
        self.state.get_or_insert(if failed { TraceState::Error } else { TraceState::Ok });
        self.request = attribute(attributes, keys::INPUTS).map(|json| preview(json, Role::User));
        self.response = attribute(attributes, keys::OUTPUTS).map(|json| preview(json, Role::Assistant));
        for (key, json) in attributes {
            let Some(tag) = key.strip_prefix(keys::TAG_PREFIX).filter(|tag| rules::tag_key(tag).is_ok())
            else {
                continue;
            };
            let text = rules::tag_value(&unquoted(json));
            match tag {
                trace_keys::NAME => self.name = Some(text).filter(|name| rules::name(name).is_ok()),
                trace_keys::SPANS_LOCATION | trace_keys::ARTIFACT_LOCATION => {}
                _ => drop(self.tags.insert(tag.to_owned(), text)),
            }
        }
    }

    fn write(&self, tx: &mut LedgerTx<'_, '_>, project: &ProjectId, home: &Home) -> Result<(), TraceError> {
        let artifacts = home.artifacts_of(&self.trace);
        let mut row = TraceRow::new(&self.trace, home.experiment, artifacts, self.first_ms);
        self.tell(&mut row, Vec::new());
        if !row.insert(tx, project)? {
            let before = TraceRow::get(tx, project, &self.trace)?;
            row = before.clone();
            if let Some(place) = row.spans_location.as_deref().filter(|place| *place != IN_STORE) {
                return Err(TraceError::State(format!(
                    "Cannot log spans because one or more traces are unavailable for DB-backed span writes: other='{}' \
                     (its spans are kept in {place}).",
                    self.trace
                )));
            }
            // A parent may have come before its children, or after them.
            let nodes = match told(&self.usage) || told(&self.cost) {
                true => self.stored_nodes(tx, project)?,
                false => Vec::new(),
            };
            self.tell(&mut row, nodes);
            row.save(tx, project)?;
            row.follow(tx, project, &before)?;
        }
        SpanRow::save(tx, project, (&self.trace, row.experiment), &self.spans)?;
        self.write_pairs(tx, project, &row)
    }

    /// Adds to a trace's row what these spans tell of it, beside those that came before.
    fn tell(&self, row: &mut TraceRow, before: Vec<(Node, Node)>) {
        row.spans_location = Some(IN_STORE.to_owned());
        self.take_times(row);
        if let Some(state) = self.state.filter(|_| row.state.is_open()) {
            row.state = state;
        }
        row.request_preview = row.request_preview.take().or_else(|| self.request.clone());
        row.response_preview = row.response_preview.take().or_else(|| self.response.clone());
        row.name = self.name.clone().or(row.name.take());
        row.session = row.session.take().or_else(|| self.session.clone());
        self.take_usage(row, before);
    }

    /// A trace lasts from the first start to the last end, unless the client has said it.
    fn take_times(&self, row: &mut TraceRow) {
        if row.finalized {
            return;
        }
        let ended = row.took_ms.map(|took| row.started_ms + took).max(self.last_ms);
        row.started_ms = row.started_ms.min(self.first_ms);
        row.took_ms = ended.map(|ended| ended - row.started_ms);
    }

    fn take_usage(&self, row: &mut TraceRow, before: Vec<(Node, Node)>) {
        let tokens = told(&self.usage) && !(row.finalized && row.tokens.iter().any(Option::is_some));
        let cost = told(&self.cost) && !(row.finalized && row.cost.iter().any(Option::is_some));
        if !tokens && !cost {
            return;
        }
        let (mut usage_nodes, mut cost_nodes) = (self.usage.clone(), self.cost.clone());
        for (usage, cost) in before {
            usage_nodes.push(usage);
            cost_nodes.push(cost);
        }
        if let Some(totals) = usage::tokens(&usage_nodes).filter(|_| tokens) {
            merge(&mut row.tokens, &totals);
        }
        if let Some(totals) = usage::cost(&cost_nodes).filter(|_| cost) {
            merge(&mut row.cost, &totals);
        }
    }

    /// Usage and cost of the spans that came with earlier requests.
    fn stored_nodes(&self, tx: &mut Tx<'_>, project: &ProjectId) -> Result<Vec<(Node, Node)>, TraceError> {
        let here: BTreeSet<&str> = self.spans.iter().map(|span| span.id.as_str()).collect();
        let sql = "SELECT id, parent, content FROM spans WHERE project = ?1 AND trace = ?2";
        let mut nodes = Vec::new();
        for mut row in tx.query(sql, &[project.into(), (&self.trace).into()])? {
            let (id, parent): (String, Option<String>) = (row.take(0)?, row.take(1)?);
            if here.contains(id.as_str()) {
                continue;
            }
            let content: Value = Value::parse(&row.take::<String>(2)?).unwrap_or_default();
            let told = |key| content.get("attributes").and_then(|a| a.get(key)).and_then(Value::as_text);
            let node = |key| Node::new(&id, parent.as_deref(), told(key));
            nodes.push((node(keys::USAGE), node(keys::COST)));
        }
        Ok(nodes)
    }

    fn write_pairs(&self, tx: &mut Tx<'_>, project: &ProjectId, row: &TraceRow) -> Result<(), TraceError> {
        set_pairs(tx, project, row, self.tags.iter().map(|(key, value)| (PairKind::Tag, key, value)))?;
        if let Some(user) = &self.user {
            tx.insert(
                "INSERT INTO trace_pairs (project, trace, kind, key, value, experiment, started_ms)
                 VALUES (?1, ?2, 'metadata', ?3, ?4, ?5, ?6) ON CONFLICT (project, trace, kind, key) DO NOTHING",
                vec![
                    project.into(),
                    (&row.id).into(),
                    trace_keys::USER.into(),
                    user.into(),
                    row.experiment.into(),
                    row.started_ms.into(),
                ],
            )?;
        }
        Ok(())
    }
}

/// Whether any span tells of it.
fn told(nodes: &[Node]) -> bool {
    nodes.iter().any(|node| node.told.is_some())
}

fn batches(spans: &[NewSpan]) -> Result<Vec<Batch>, TraceError> {
    let mut batches: BTreeMap<String, Batch> = BTreeMap::new();
    for span in spans {
        let trace = span.trace_id();
        batches.entry(trace.clone()).or_insert_with(|| Batch::new(trace)).take(span)?;
    }
    Ok(batches.into_values().collect())
}

/// One event for the request: which traces it told of, and a digest over the spans as they are kept.
fn event(project: &ProjectId, experiment: i64, batches: &[Batch], run: Option<&str>) -> NewEvent {
    let mut digest = Sha256::new();
    for span in batches.iter().flat_map(|batch| &batch.spans) {
        digest.update(span.content.as_bytes());
        digest.update([0]);
    }
    let counts: BTreeMap<&str, usize> =
        batches.iter().map(|batch| (batch.trace.as_str(), batch.spans.len())).collect();
    let event = match batches {
        [only] => NewEvent::new(project, "trace.spans_logged", "trace", only.trace.clone()),
        _ => NewEvent::new(project, "trace.spans_logged", "experiment", experiment.to_string()),
    };
    event.with(json!({
        "experiment": experiment.to_string(), "spans": counts, "sha256": hex::encode(digest.finalize()), "run": run,
    }))
}

impl Traces {
    /// Keeps spans of one or more traces; traces that are not there yet are made. Those whose root is among the spans are
    /// linked to `run`, if one is named.
    ///
    /// # Errors
    /// [`TraceError::Invalid`] for a session id that is too long, [`TraceError::State`] when a trace's spans are kept
    /// elsewhere.
    pub async fn log_spans(
        &self,
        leave: &Authorized<WriteTracking>,
        home: Home,
        spans: &[NewSpan],
        run: Option<String>,
    ) -> Result<(), TraceError> {
        let batches = batches(spans)?;
        if batches.is_empty() {
            return Ok(());
        }
        let project = leave.project().clone();
        let event = event(&project, home.experiment, &batches, run.as_deref());
        self.ledger
            .write(leave.actor(), move |tx| {
                for batch in &batches {
                    batch.write(tx, &project, &home)?;
                }
                let event = tx.emit(event.clone())?;
                if let Some(run) = &run {
                    for batch in batches.iter().filter(|batch| batch.has_root) {
                        links::to_run(tx, &project, &event, &batch.trace, run)?;
                    }
                }
                Ok(())
            })
            .await
    }
}
