//! One request to a webhook: signed, to an address that its rules allow, noted down, tried again when that may help.

use crate::outgoing::{self, Allowed, Post, Unsent};
use crate::tell_webhooks::{body, example};
use serde_json::json;
use std::net::IpAddr;
use trueline_identity::{Authorized, ManageWebhooks};
use trueline_ledger::{Actor, Ledger, LedgerTx, Millis, Sources};
use trueline_tasks::{Lease, TaskError, complete, fail, give_up};
use trueline_webhooks::{Attempt, Delivery, Rules, Topic, WebhookError, Webhooks};

const FIRST_WAIT_MS: Millis = 1_000;
/// No pause before another attempt is longer, whatever a webhook asks for.
const LONGEST_WAIT_MS: Millis = 60_000;

impl Allowed for Rules {
    fn allows(&self, address: IpAddr) -> bool {
        Self::allows(self, address)
    }
}

/// What came of a test of a webhook.
#[derive(Clone, Debug)]
pub struct Trial {
    /// Status and body of the answer, or why there was none.
    pub answer: Result<(u16, String), String>,
}

/// What came of one request, and what is to be done about it.
enum Outcome {
    Arrived { status: u16, body: String },
    Refused { status: Option<u16>, why: String, body: String, again: Option<Millis> },
}

fn send(rules: &Rules, sources: &Sources, delivery: &Delivery) -> Outcome {
    let timestamp = sources.now().div_euclid(1_000);
    let mut headers =
        vec![("x-mlflow-delivery-id", delivery.id.clone()), ("x-mlflow-timestamp", timestamp.to_string())];
    if let Some(signature) = delivery.signature(timestamp) {
        headers.push(("x-mlflow-signature", signature));
    }
    let refused = |why: String, again| Outcome::Refused { status: None, why, body: String::new(), again };
    // The rules may be stricter than when the webhook was made.
    let target = match rules.target(&delivery.url) {
        Ok(target) => target,
        Err(error) => return refused(error.to_string(), None),
    };
    let request =
        Post { address: &target.url, headers: &headers, body: &delivery.body, patience: rules.patience };
    match outgoing::post(rules, &request) {
        Ok(answer) if (200..300).contains(&answer.status) => {
            Outcome::Arrived { status: answer.status, body: answer.body }
        }
        Ok(answer) => {
            let may_help = matches!(answer.status, 429 | 500..=599);
            let asked = answer.retry_after.and_then(|s| Millis::try_from(s).ok()?.checked_mul(1_000));
            Outcome::Refused {
                status: Some(answer.status),
                why: format!("the webhook answered {}", answer.status),
                body: answer.body,
                again: may_help.then(|| asked.unwrap_or(0)),
            }
        }
        Err(Unsent::Forbidden(why)) => refused(why, None),
        Err(Unsent::Unreachable(why)) => refused(format!("the webhook can't be reached: {why}"), Some(0)),
    }
}

/// Doubles with each attempt, a little off so that many deliveries don't come back at one moment; at least as long as the
/// webhook asked for.
fn pause(attempt: i64, asked: Millis, random: u16) -> Millis {
    let doubled = FIRST_WAIT_MS << (attempt - 1).clamp(0, 6);
    (doubled + Millis::from(random % 500)).max(asked).min(LONGEST_WAIT_MS)
}

/// Does the task of telling one webhook of one thing. After a crash it may be told again, under the same delivery id.
///
/// # Errors
/// What went wrong, in words, when it is not the webhook's doing; the worker tries again.
pub async fn deliver_webhook(webhooks: Webhooks, ledger: Ledger, lease: Lease) -> Result<(), String> {
    let id = lease.payload["delivery"].as_str().unwrap_or_default().to_owned();
    let Some(delivery) = webhooks.delivery(&id).await.map_err(|e| e.to_string())? else {
        let gone = json!({ "dropped": "the webhook was deleted or switched off" });
        return finish(&ledger, move |tx| complete(tx, &lease, &gone)).await;
    };
    let (rules, sources) = (webhooks.rules().clone(), ledger.sources().clone());
    let at_ms = sources.now();
    let sending = tokio::task::spawn_blocking(move || send(&rules, &sources, &delivery));
    let outcome = sending.await.map_err(|e| e.to_string())?;
    let (status, error) = match &outcome {
        Outcome::Arrived { status, .. } => (Some(*status), None),
        Outcome::Refused { status, why, .. } => (*status, Some(why.clone())),
    };
    let took_ms = ledger.sources().now() - at_ms;
    let attempt = Attempt { attempt: lease.attempt, at_ms, took_ms, status: status.map(Into::into), error };
    webhooks.note_attempt(&id, attempt).await.map_err(|e| e.to_string())?;
    match outcome {
        Outcome::Arrived { status, .. } => {
            finish(&ledger, move |tx| complete(tx, &lease, &json!({ "status": status }))).await
        }
        Outcome::Refused { why, again: Some(asked), .. } => {
            let wait = pause(lease.attempt, asked, u16::from_le_bytes(ledger.sources().bytes()));
            finish(&ledger, move |tx| fail(tx, &lease, &why, wait)).await
        }
        Outcome::Refused { why, again: None, .. } => {
            finish(&ledger, move |tx| give_up(tx, &lease, &why)).await
        }
    }
}

async fn finish<F>(ledger: &Ledger, end: F) -> Result<(), String>
where
    F: Fn(&mut LedgerTx<'_, '_>) -> Result<(), TaskError> + Send + 'static,
{
    ledger.write(&Actor::system("webhooks"), end).await.map_err(|e: TaskError| e.to_string())
}

/// Checks that an address keeps the rules, and so does all that its name leads to now.
///
/// # Errors
/// [`WebhookError::Invalid`], in MLflow's words.
pub async fn check_webhook_address(webhooks: &Webhooks, address: &str) -> Result<(), WebhookError> {
    let rules = webhooks.rules();
    let target = rules.target(address)?;
    if rules.private {
        return Ok(());
    }
    let found = tokio::net::lookup_host((target.host.as_str(), target.port)).await.map_err(|error| {
        WebhookError::Invalid(format!("Cannot resolve webhook URL hostname '{}': {error}", target.host))
    })?;
    found.into_iter().try_for_each(|address| rules.check_address(&target.host, address.ip()))
}

/// Sends an example to a webhook, once, and tells what came of it.
///
/// # Errors
/// [`WebhookError::NotFound`], [`WebhookError::Sealed`], or what the database says; what the webhook does is no error.
pub async fn try_webhook(
    webhooks: &Webhooks,
    leave: &Authorized<ManageWebhooks>,
    id: &str,
    topic: Option<Topic>,
) -> Result<Trial, WebhookError> {
    let (webhook, sources) = (webhooks.webhook(leave, id).await?, webhooks.sources());
    let topic = topic.or_else(|| webhook.topics.first().copied()).unwrap_or(Topic::ModelCreated);
    let body = body(topic, sources.now(), example(topic));
    let delivery = webhooks.trial(leave, &webhook, &body).await?;
    let (rules, sources) = (webhooks.rules().clone(), sources.clone());
    let sent = tokio::task::spawn_blocking(move || send(&rules, &sources, &delivery)).await;
    Ok(Trial {
        answer: match sent {
            Ok(Outcome::Arrived { status, body } | Outcome::Refused { status: Some(status), body, .. }) => {
                Ok((status, body))
            }
            Ok(Outcome::Refused { why, .. }) => Err(format!("Failed to test webhook: {why}")),
            Err(stopped) => Err(format!("Failed to test webhook: {stopped}")),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_and_are_at_least_what_the_webhook_asks_for_within_a_minute() {
        assert_eq!([1, 2, 3, 20].map(|n| pause(n, 0, 0)), [1_000, 2_000, 4_000, 60_000]);
        assert_eq!(pause(1, 5_000, 499), 5_000);
        assert_eq!(pause(1, 3_600_000, 0), 60_000);
        assert_eq!(pause(2, 0, 499), 2_499);
    }
}
