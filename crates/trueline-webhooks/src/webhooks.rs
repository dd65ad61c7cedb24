//! Webhooks in the database: made, changed, listed, deleted. A deleted one keeps its row, so that its deliveries can be read.

use crate::{NewWebhook, Page, Status, Topic, Webhook, WebhookError, WebhookUpdate, Webhooks, rules};
use serde_json::json;
use trueline_db::{Row, Tx};
use trueline_identity::{Authorized, ManageWebhooks};
use trueline_ledger::{EventId, LedgerTx, NewEvent, ProjectId};

const COLUMNS: &str = "id, name, url, description, status, created_at_ms, updated_at_ms FROM webhooks";

impl Webhooks {
    /// Makes a webhook. The names that its address holds are looked up by the caller.
    ///
    /// # Errors
    /// [`WebhookError::Invalid`], or what the ledger says.
    pub async fn create(
        &self,
        leave: &Authorized<ManageWebhooks>,
        new: NewWebhook,
    ) -> Result<Webhook, WebhookError> {
        rules::name(&new.name)?;
        let target = self.rules.target(&new.url)?;
        let topics = distinct(&new.topics)?;
        let id = uuid(self.ledger.sources().bytes());
        let secret = self.sealed(&id, new.secret.as_deref())?;
        let project = leave.project().clone();
        self.ledger
            .write(leave.actor(), move |tx| {
                let now = tx.now();
                tx.execute(
                    "INSERT INTO webhooks (id, project, name, url, description, status, secret, created_at_ms,
                                           updated_at_ms)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?8)",
                    &[
                        (&id).into(),
                        (&project).into(),
                        (&new.name).into(),
                        (&new.url).into(),
                        new.description.clone().into(),
                        new.status.as_str().into(),
                        secret.clone().into(),
                        now.into(),
                    ],
                )?;
                let words: Vec<String> = topics.iter().map(|t| t.word()).collect();
                // An address may hold a token, so the ledger is told the host alone.
                let event = NewEvent::new(&project, "webhook.created", "webhook", &id).with(json!({
                    "name": new.name, "host": target.host, "topics": words, "status": new.status.as_str(),
                    "signed": secret.is_some(),
                }));
                let since = emit_and_place(tx, event)?;
                subscribe(tx, &id, &topics, since)?;
                get(tx, &project, &id)
            })
            .await
    }

    /// One webhook.
    ///
    /// # Errors
    /// [`WebhookError::NotFound`].
    pub async fn webhook(
        &self,
        leave: &Authorized<ManageWebhooks>,
        id: &str,
    ) -> Result<Webhook, WebhookError> {
        let (project, id) = (leave.project().clone(), id.to_owned());
        self.ledger.db().read(move |tx| get(tx, &project, &id)).await
    }

    /// Webhooks, newest first.
    ///
    /// # Errors
    /// What the database says.
    pub async fn webhooks(
        &self,
        leave: &Authorized<ManageWebhooks>,
        offset: u64,
        limit: u32,
    ) -> Result<Page<Webhook>, WebhookError> {
        let project = leave.project().clone();
        let offset = i64::try_from(offset).unwrap_or(i64::MAX);
        self.ledger
            .db()
            .read(move |tx| {
                let sql = format!(
                    "SELECT {COLUMNS} WHERE project = ?1 AND deleted_at_ms IS NULL
                     ORDER BY created_at_ms DESC, id LIMIT ?2 OFFSET ?3"
                );
                let params = [(&project).into(), (i64::from(limit) + 1).into(), offset.into()];
                let rows = tx.query(&sql, &params)?;
                let mut items =
                    rows.into_iter().map(|row| webhook_from(tx, row)).collect::<Result<Vec<_>, _>>()?;
                let more = items.len() > limit as usize;
                items.truncate(limit as usize);
                Ok(Page { items, more })
            })
            .await
    }

    /// Changes a webhook. A topic that it had before is told without a gap; one that is new, and all of a webhook that is made
    /// active, from now on.
    ///
    /// # Errors
    /// [`WebhookError::NotFound`], [`WebhookError::Invalid`], or what the ledger says.
    pub async fn update(
        &self,
        leave: &Authorized<ManageWebhooks>,
        id: &str,
        update: WebhookUpdate,
    ) -> Result<Webhook, WebhookError> {
        if let Some(name) = &update.name {
            rules::name(name)?;
        }
        let host = update.url.as_deref().map(|url| self.rules.target(url)).transpose()?.map(|t| t.host);
        let topics = update.topics.as_deref().map(distinct).transpose()?;
        let secret = self.sealed(id, update.secret.as_deref())?;
        let (project, id) = (leave.project().clone(), id.to_owned());
        self.ledger
            .write(leave.actor(), move |tx| {
                let before = get(tx, &project, &id)?;
                // MLflow's clients see a change by its time, which has to move on.
                let now = tx.now().max(before.updated_at_ms + 1);
                let status = update.status.unwrap_or(before.status);
                tx.execute(
                    "UPDATE webhooks SET name = COALESCE(?2, name), url = COALESCE(?3, url),
                         description = COALESCE(?4, description), secret = COALESCE(?5, secret), status = ?6,
                         updated_at_ms = ?7
                     WHERE id = ?1",
                    &[
                        (&id).into(),
                        update.name.clone().into(),
                        update.url.clone().into(),
                        update.description.clone().into(),
                        secret.clone().into(),
                        status.as_str().into(),
                        now.into(),
                    ],
                )?;
                let words: Option<Vec<String>> =
                    topics.as_ref().map(|t| t.iter().map(|t| t.word()).collect());
                let event = NewEvent::new(&project, "webhook.updated", "webhook", &id).with(json!({
                    "name": update.name, "host": host, "topics": words, "status": status.as_str(),
                    "new_secret": secret.is_some(),
                }));
                let since = emit_and_place(tx, event)?;
                if let Some(topics) = &topics {
                    resubscribe(tx, &id, &before.topics, topics, since)?;
                }
                if before.status == Status::Disabled && status == Status::Active {
                    let params = [(&id).into(), since.into()];
                    tx.execute("UPDATE webhook_topics SET since = ?2 WHERE webhook = ?1", &params)?;
                }
                get(tx, &project, &id)
            })
            .await
    }

    /// Ends a webhook, and forgets its secret.
    ///
    /// # Errors
    /// [`WebhookError::NotFound`], or what the ledger says.
    pub async fn delete(&self, leave: &Authorized<ManageWebhooks>, id: &str) -> Result<(), WebhookError> {
        let (project, id) = (leave.project().clone(), id.to_owned());
        self.ledger
            .write(leave.actor(), move |tx| {
                get(tx, &project, &id)?;
                let params = [(&id).into(), tx.now().into()];
                tx.execute(
                    "UPDATE webhooks SET deleted_at_ms = ?2, updated_at_ms = ?2, secret = NULL WHERE id = ?1",
                    &params,
                )?;
                tx.execute("DELETE FROM webhook_topics WHERE webhook = ?1", &[(&id).into()])?;
                tx.emit(NewEvent::new(&project, "webhook.deleted", "webhook", &id))?;
                Ok(())
            })
            .await
    }

    fn sealed(&self, id: &str, secret: Option<&str>) -> Result<Option<String>, WebhookError> {
        secret.map(|secret| self.key.seal(id, secret, self.ledger.sources().bytes())).transpose()
    }
}

/// Records an event and tells its place in the ledger.
fn emit_and_place(tx: &mut LedgerTx<'_, '_>, event: NewEvent) -> Result<i64, WebhookError> {
    let id: EventId = tx.emit(event)?;
    Ok(tx.place(&id)?)
}

/// The topics without repetitions; there must be one.
fn distinct(topics: &[Topic]) -> Result<Vec<Topic>, WebhookError> {
    let mut out = Vec::new();
    for topic in topics {
        if !out.contains(topic) {
            out.push(*topic);
        }
    }
    if out.is_empty() {
        return Err(WebhookError::Invalid(
            "Webhook events must be a non-empty list of WebhookEvent objects: [].".to_owned(),
        ));
    }
    Ok(out)
}

fn subscribe(tx: &mut Tx<'_>, id: &str, topics: &[Topic], since: i64) -> Result<(), WebhookError> {
    for (place, topic) in (0_i64..).zip(topics) {
        tx.execute(
            "INSERT INTO webhook_topics (webhook, topic, place, since) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (webhook, topic) DO UPDATE SET place = excluded.place",
            &[id.into(), topic.word().into(), place.into(), since.into()],
        )?;
    }
    Ok(())
}

fn resubscribe(
    tx: &mut Tx<'_>,
    id: &str,
    before: &[Topic],
    after: &[Topic],
    since: i64,
) -> Result<(), WebhookError> {
    for gone in before.iter().filter(|topic| !after.contains(topic)) {
        tx.execute(
            "DELETE FROM webhook_topics WHERE webhook = ?1 AND topic = ?2",
            &[id.into(), gone.word().into()],
        )?;
    }
    subscribe(tx, id, after, since)
}

fn get(tx: &mut Tx<'_>, project: &ProjectId, id: &str) -> Result<Webhook, WebhookError> {
    let sql = format!("SELECT {COLUMNS} WHERE id = ?1 AND project = ?2 AND deleted_at_ms IS NULL");
    let row = tx.query_opt(&sql, &[id.into(), project.into()])?;
    webhook_from(tx, row.ok_or_else(|| WebhookError::NotFound(id.to_owned()))?)
}

fn webhook_from(tx: &mut Tx<'_>, mut row: Row) -> Result<Webhook, WebhookError> {
    let id: String = row.take(0)?;
    let status: String = row.take(4)?;
    let topics =
        tx.query("SELECT topic FROM webhook_topics WHERE webhook = ?1 ORDER BY place", &[(&id).into()])?;
    Ok(Webhook {
        id,
        name: row.take(1)?,
        url: row.take(2)?,
        description: row.take(3)?,
        topics: topics
            .into_iter()
            .map(|mut t| Topic::of_word(&t.take::<String>(0)?))
            .collect::<Result<_, _>>()?,
        status: Status::parse(&status)
            .ok_or(WebhookError::Stored { what: "a webhook's status", why: status })?,
        created_at_ms: row.take(5)?,
        updated_at_ms: row.take(6)?,
    })
}

/// Random bytes as a version 4 UUID (RFC 9562), the form of MLflow's webhook ids.
fn uuid(mut bytes: [u8; 16]) -> String {
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    dashed(bytes)
}

/// 16 bytes as text in the form of a UUID.
pub(crate) fn dashed(bytes: [u8; 16]) -> String {
    let text = hex::encode(bytes);
    [&text[..8], &text[8..12], &text[12..16], &text[16..20], &text[20..]].join("-")
}
