//! Deliveries: one per webhook and event, each a task; and what came of each attempt.

use crate::webhooks::dashed;
use crate::{Topic, Webhook, WebhookError, Webhooks, sign};
use serde::Serialize;
use serde_json::{Value as Json, json};
use sha2::{Digest, Sha256};
use trueline_db::Tx;
use trueline_identity::{Authorized, ManageWebhooks};
use trueline_ledger::{Actor, EventId, LedgerTx, Millis, ProjectId};
use trueline_tasks::{NewTask, enqueue};

/// The kind of the tasks that tell webhooks.
pub const DELIVERY_TASK: &str = "webhook.deliver";

/// For how long deliveries and their attempts are kept.
const KEPT_MS: Millis = 30 * 24 * 3_600_000;
/// How many deliveries of a webhook are listed at most.
const LISTED: u32 = 200;

/// Something happened that webhooks are told of.
#[derive(Clone, Debug)]
pub struct Happening {
    /// Where.
    pub project: ProjectId,
    /// The event that tells of it.
    pub event: EventId,
    /// The event's place in the ledger.
    pub place: i64,
    /// What it is.
    pub topic: Topic,
    /// The whole body that is sent, but for what depends on the webhook.
    pub body: Json,
}

/// A request that is to be made now.
#[derive(Clone)]
pub struct Delivery {
    /// Its id, the same at every attempt, so that a receiver can tell a repetition.
    pub id: String,
    /// Whose it is.
    pub webhook: String,
    /// Where it goes.
    pub url: String,
    /// What is sent.
    pub body: String,
    secret: Option<String>,
}

impl Delivery {
    /// The signature at a time in seconds since 1970; none without a secret.
    #[must_use]
    pub fn signature(&self, timestamp: i64) -> Option<String> {
        self.secret.as_deref().map(|secret| sign(secret, &self.id, timestamp, &self.body))
    }
}

/// What came of one try.
#[derive(Clone, Debug, Serialize)]
pub struct Attempt {
    /// Which it was, from 1.
    pub attempt: i64,
    /// When it began.
    pub at_ms: Millis,
    /// How long it took.
    pub took_ms: Millis,
    /// What the webhook answered.
    pub status: Option<i64>,
    /// Why it was no success.
    pub error: Option<String>,
}

/// A delivery with its attempts, for those who look.
#[derive(Clone, Debug, Serialize)]
pub struct ToldDelivery {
    /// Its id, which the receiver sees.
    pub id: String,
    /// The event of the ledger that it tells of.
    pub event: EventId,
    /// What happened, as `entity.action`.
    pub topic: String,
    /// When it was queued.
    pub created_at_ms: Millis,
    /// Its attempts, in order; it arrived when the last has no error.
    pub attempts: Vec<Attempt>,
}

impl Webhooks {
    /// Queues a delivery for each active webhook that wants to know of this, and tells for how many. The same happening may
    /// come again: its deliveries are queued once.
    ///
    /// # Errors
    /// What the ledger says.
    pub async fn tell(&self, happening: Happening) -> Result<usize, WebhookError> {
        let asked = happening.clone();
        let wanting = self.ledger.db().read(move |tx| wanting(tx, &asked)).await?;
        if wanting.is_empty() {
            return Ok(0);
        }
        let max_attempts = self.rules.retries.saturating_add(1);
        self.ledger
            .write(&Actor::system("webhooks"), move |tx| {
                let mut queued = 0;
                for webhook in self::wanting(tx, &happening)? {
                    queued += usize::from(queue(tx, &webhook, &happening, max_attempts)?);
                }
                Ok(queued)
            })
            .await
    }

    /// The request that a task is to make; none when its webhook was deleted or switched off in the meantime.
    ///
    /// # Errors
    /// [`WebhookError::Sealed`], or what the database says.
    pub async fn delivery(&self, id: &str) -> Result<Option<Delivery>, WebhookError> {
        let asked = id.to_owned();
        let found = self.ledger.db().read(move |tx: &mut Tx<'_>| {
            let row = tx.query_opt(
                "SELECT w.id, w.url, w.secret, d.body FROM webhook_deliveries d JOIN webhooks w ON w.id = d.webhook
                 WHERE d.id = ?1 AND w.deleted_at_ms IS NULL AND w.status = 'ACTIVE'",
                &[(&asked).into()],
            )?;
            let Some(mut row) = row else { return Ok(None) };
            let sealed: Option<String> = row.take(2)?;
            let (webhook, url, body) = (row.take(0)?, row.take(1)?, row.take(3)?);
            Ok::<_, WebhookError>(Some((Delivery { id: asked.clone(), webhook, url, body, secret: None }, sealed)))
        });
        let Some((delivery, sealed)) = found.await? else { return Ok(None) };
        let secret = self.opened(&delivery.webhook, sealed)?;
        Ok(Some(Delivery { secret, ..delivery }))
    }

    /// A request that tells a webhook of an example, now and once, whether it is active or not.
    ///
    /// # Errors
    /// [`WebhookError::NotFound`], [`WebhookError::Sealed`], or what the database says.
    pub async fn trial(
        &self,
        leave: &Authorized<ManageWebhooks>,
        webhook: &Webhook,
        body: &Json,
    ) -> Result<Delivery, WebhookError> {
        let (project, id) = (leave.project().clone(), webhook.id.clone());
        let sealed = self.ledger.db().read(move |tx: &mut Tx<'_>| {
            let sql = "SELECT secret FROM webhooks WHERE id = ?1 AND project = ?2 AND deleted_at_ms IS NULL";
            let sealed: Option<Option<String>> = tx.scalar(sql, &[(&id).into(), (&project).into()])?;
            sealed.ok_or_else(|| WebhookError::NotFound(id.clone()))
        });
        let secret = self.opened(&webhook.id, sealed.await?)?;
        let (id, url) = (dashed(self.ledger.sources().bytes()), webhook.url.clone());
        Ok(Delivery { id, webhook: webhook.id.clone(), url, body: body.to_string(), secret })
    }

    /// Notes down what came of an attempt.
    ///
    /// # Errors
    /// What the database says.
    pub async fn note_attempt(&self, delivery: &str, attempt: Attempt) -> Result<(), WebhookError> {
        let delivery = delivery.to_owned();
        self.ledger
            .db()
            .bookkeep(move |tx: &mut Tx<'_>| {
                tx.execute(
                    "INSERT INTO webhook_attempts (delivery, attempt, at_ms, took_ms, status, error)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6)
                     ON CONFLICT (delivery, attempt) DO UPDATE SET at_ms = excluded.at_ms,
                         took_ms = excluded.took_ms, status = excluded.status, error = excluded.error",
                    &[
                        (&delivery).into(),
                        attempt.attempt.into(),
                        attempt.at_ms.into(),
                        attempt.took_ms.into(),
                        attempt.status.into(),
                        attempt.error.clone().into(),
                    ],
                )?;
                Ok(())
            })
            .await
    }

    /// The newest deliveries of a webhook with their attempts.
    ///
    /// # Errors
    /// [`WebhookError::NotFound`], or what the database says.
    pub async fn deliveries(
        &self,
        leave: &Authorized<ManageWebhooks>,
        webhook: &str,
    ) -> Result<Vec<ToldDelivery>, WebhookError> {
        let webhook = self.webhook(leave, webhook).await?.id;
        self.ledger
            .db()
            .read(move |tx: &mut Tx<'_>| {
                let rows = tx.query(
                    "SELECT id, event, topic, created_at_ms FROM webhook_deliveries WHERE webhook = ?1
                     ORDER BY created_at_ms DESC, id LIMIT ?2",
                    &[(&webhook).into(), LISTED.into()],
                )?;
                rows.into_iter()
                    .map(|mut row| {
                        let id: String = row.take(0)?;
                        let attempts = attempts(tx, &id)?;
                        let (event, topic, created_at_ms) = (row.take(1)?, row.take(2)?, row.take(3)?);
                        Ok(ToldDelivery { id, event, topic, created_at_ms, attempts })
                    })
                    .collect()
            })
            .await
    }

    fn opened(&self, webhook: &str, sealed: Option<String>) -> Result<Option<String>, WebhookError> {
        sealed.map(|sealed| self.key.open_sealed(webhook, &sealed)).transpose()
    }
}

fn attempts(tx: &mut Tx<'_>, delivery: &str) -> Result<Vec<Attempt>, WebhookError> {
    let rows = tx.query(
        "SELECT attempt, at_ms, took_ms, status, error FROM webhook_attempts WHERE delivery = ?1 ORDER BY attempt",
        &[delivery.into()],
    )?;
    rows.into_iter()
        .map(|mut row| {
            Ok(Attempt {
                attempt: row.take(0)?,
                at_ms: row.take(1)?,
                took_ms: row.take(2)?,
                status: row.take(3)?,
                error: row.take(4)?,
            })
        })
        .collect()
}

/// The webhooks that want to know of a happening.
fn wanting(tx: &mut Tx<'_>, happening: &Happening) -> Result<Vec<String>, WebhookError> {
    let rows = tx.query(
        "SELECT w.id FROM webhooks w JOIN webhook_topics t ON t.webhook = w.id
         WHERE w.project = ?1 AND t.topic = ?2 AND t.since < ?3 AND w.status = 'ACTIVE' AND w.deleted_at_ms IS NULL
         ORDER BY w.id",
        &[(&happening.project).into(), happening.topic.word().into(), happening.place.into()],
    )?;
    rows.into_iter().map(|mut row| Ok(row.take(0)?)).collect()
}

fn queue(
    tx: &mut LedgerTx<'_, '_>,
    webhook: &str,
    happening: &Happening,
    max_attempts: u32,
) -> Result<bool, WebhookError> {
    let (id, now) = (delivery_id(webhook, &happening.event), tx.now());
    let made = tx.execute(
        "INSERT INTO webhook_deliveries (id, webhook, event, topic, body, created_at_ms)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT (id) DO NOTHING",
        &[
            (&id).into(),
            webhook.into(),
            (&happening.event).into(),
            happening.topic.word().into(),
            happening.body.to_string().into(),
            now.into(),
        ],
    )?;
    if made == 0 {
        return Ok(false);
    }
    forget_old(tx, webhook, now - KEPT_MS)?;
    let project = happening.project.clone();
    let payload = json!({ "delivery": id, "webhook": webhook });
    enqueue(tx, &NewTask { project, kind: DELIVERY_TASK, payload, max_attempts })?;
    Ok(true)
}

fn forget_old(tx: &mut Tx<'_>, webhook: &str, before: Millis) -> Result<(), WebhookError> {
    let params = [webhook.into(), before.into()];
    tx.execute(
        "DELETE FROM webhook_attempts WHERE delivery IN
             (SELECT id FROM webhook_deliveries WHERE webhook = ?1 AND created_at_ms < ?2)",
        &params,
    )?;
    tx.execute("DELETE FROM webhook_deliveries WHERE webhook = ?1 AND created_at_ms < ?2", &params)?;
    Ok(())
}

/// The same for the same event and webhook, whoever computes it, so that an event that is seen twice is told once.
fn delivery_id(webhook: &str, event: &str) -> String {
    let digest = Sha256::digest(format!("{webhook} {event}"));
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    dashed(bytes)
}

#[cfg(test)]
mod tests {
    use super::delivery_id;

    #[test]
    fn a_delivery_is_known_by_its_webhook_and_event() {
        assert_eq!(delivery_id("w", "e"), delivery_id("w", "e"));
        assert_ne!(delivery_id("w", "e"), delivery_id("w", "f"));
        assert_ne!(delivery_id("w", "e"), delivery_id("v", "e"));
        assert_eq!(delivery_id("w", "e").len(), 36);
    }
}
