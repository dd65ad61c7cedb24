//! What happens to models and prompts is told to the webhooks that want to know: events of the registry, in order, at least
//! once, each turned into the body that MLflow sends. Sending it is [`crate::deliver_webhook`]'s matter.

use serde_json::{Map, Value as Json, json};
use std::time::Duration;
use tokio::sync::watch;
use trueline_ledger::{Cursor, EventRow, Ledger, ProjectId};
use trueline_tasks::Tasks;
use trueline_webhooks::{Happening, Topic, WebhookError, Webhooks};

const CURSOR: &str = "webhooks";
/// How many indexes of the log are looked at in one go.
const STRETCH: i64 = 5_000;
const POLL: Duration = Duration::from_millis(200);
const TRY_AGAIN: Duration = Duration::from_secs(2);
/// The events of the registry that webhooks are told of.
const TOLD: &[&str] = &[
    "model.created",
    "model.tagged",
    "model.untagged",
    "version.registered",
    "version.tagged",
    "version.untagged",
    "alias.set",
    "alias.deleted",
];
/// Tags by which MLflow keeps a prompt as a model; a receiver does not see them.
const IS_PROMPT: &str = "mlflow.prompt.is_prompt";
const PROMPT_TYPE: &str = "_mlflow_prompt_type";
const PROMPT_TEXT: &str = "mlflow.prompt.text";

/// Queues deliveries for what happens until `stop` says so.
pub async fn tell_webhooks(
    ledger: Ledger,
    webhooks: Webhooks,
    tasks: Tasks,
    mut stop: watch::Receiver<bool>,
) {
    let cursor = Cursor::new(ledger.db().clone(), CURSOR);
    loop {
        let wait = match tell_next(&cursor, &webhooks, &tasks).await {
            Ok(true) => Duration::ZERO,
            Ok(false) => POLL,
            Err(error) => {
                tracing::warn!(%error, "events can't be told to webhooks; trying again");
                TRY_AGAIN
            }
        };
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return,
            () = tokio::time::sleep(wait) => {}
        }
    }
}

/// Tells the next events, and whether there were any.
async fn tell_next(cursor: &Cursor, webhooks: &Webhooks, tasks: &Tasks) -> Result<bool, WebhookError> {
    let Some((events, until)) = cursor.next_of(TOLD, STRETCH).await? else { return Ok(false) };
    let mut queued = 0;
    for event in &events {
        if let Some(happening) = happening(event) {
            queued += webhooks.tell(happening).await?;
        }
    }
    cursor.advance(until).await?;
    if queued > 0 {
        tasks.ring();
    }
    Ok(true)
}

/// What an event means to webhooks, if anything.
fn happening(event: &EventRow) -> Option<Happening> {
    let (topic, data) = told(event)?;
    Some(Happening {
        project: ProjectId::new(event.project.clone()),
        event: event.id.clone(),
        place: event.position(),
        topic,
        body: body(topic, event.at_ms, data),
    })
}

/// The body of a request.
pub(crate) fn body(topic: Topic, at_ms: i64, data: Json) -> Json {
    let at = jiff::Timestamp::from_millisecond(at_ms).unwrap_or_default();
    json!({ "entity": topic.entity(), "action": topic.action(), "timestamp": at.to_string(), "data": data })
}

fn told(event: &EventRow) -> Option<(Topic, Json)> {
    // Nothing can be told of an erased event.
    let payload = event.payload.as_ref()?;
    let tags = tags(&payload["tags"]);
    let is_prompt = payload["is_prompt"].as_bool().unwrap_or_else(|| tags.contains_key(IS_PROMPT));
    let either = |prompt: Topic, model: Topic| if is_prompt { prompt } else { model };
    let text = |field: &str| payload[field].as_str().filter(|t| !t.is_empty());
    let id = event.resource.id.as_str();
    // A model's name holds no slash.
    let version = || id.rsplit_once('/');
    Some(match event.action.as_str() {
        "model.created" => (
            either(Topic::PromptCreated, Topic::ModelCreated),
            json!({ "name": id, "tags": shown(tags, is_prompt), "description": payload["description"] }),
        ),
        "model.tagged" if is_prompt => {
            (Topic::PromptTagSet, json!({ "name": id, "key": payload["key"], "value": payload["value"] }))
        }
        "model.untagged" if is_prompt => {
            (Topic::PromptTagDeleted, json!({ "name": id, "key": payload["key"] }))
        }
        "version.registered" => {
            let number = payload["version"].to_string();
            let mut data = json!({
                "name": payload["model"], "version": number, "description": text("description"),
            });
            if is_prompt {
                data["template"] = tags.get(PROMPT_TEXT).cloned().unwrap_or_default();
            } else {
                data["source"] = payload["source"].clone();
                data["run_id"] = json!(text("run_id"));
            }
            data["tags"] = shown(tags, is_prompt);
            (either(Topic::PromptVersionCreated, Topic::VersionCreated), data)
        }
        "version.tagged" => {
            let (name, number) = version()?;
            let data =
                json!({ "name": name, "version": number, "key": payload["key"], "value": payload["value"] });
            (either(Topic::PromptVersionTagSet, Topic::VersionTagSet), data)
        }
        "version.untagged" => {
            let (name, number) = version()?;
            let data = json!({ "name": name, "version": number, "key": payload["key"] });
            (either(Topic::PromptVersionTagDeleted, Topic::VersionTagDeleted), data)
        }
        "alias.set" => {
            let number = payload["after"].to_string();
            let data = json!({ "name": payload["model"], "alias": payload["alias"], "version": number });
            (either(Topic::PromptAliasCreated, Topic::AliasCreated), data)
        }
        "alias.deleted" => {
            let data = json!({ "name": payload["model"], "alias": payload["alias"] });
            (either(Topic::PromptAliasDeleted, Topic::AliasDeleted), data)
        }
        _ => return None,
    })
}

/// A list of `{key, value}` as an object.
fn tags(list: &Json) -> Map<String, Json> {
    let pair = |tag: &Json| Some((tag["key"].as_str()?.to_owned(), tag["value"].clone()));
    list.as_array().into_iter().flatten().filter_map(pair).collect()
}

fn shown(mut tags: Map<String, Json>, is_prompt: bool) -> Json {
    if is_prompt {
        for hidden in [IS_PROMPT, PROMPT_TYPE, PROMPT_TEXT] {
            tags.remove(hidden);
        }
    }
    Json::Object(tags)
}

/// An example of what is told of a topic, for a test of a webhook; MLflow's own examples.
pub(crate) fn example(topic: Topic) -> Json {
    let of = |thing: &str| (format!("example_{thing}"), format!("An example {thing}"));
    let (model, _) = of("model");
    let (prompt, about_prompt) = of("prompt");
    let tags = json!({ "example_key": "example_value" });
    let (key, value, alias) = ("example_key", "example_value", "example_alias");
    match topic {
        Topic::ModelCreated => {
            json!({ "name": model, "tags": tags, "description": "An example registered model" })
        }
        Topic::VersionCreated => json!({
            "name": model, "version": "1", "source": "models:/123", "run_id": "abcd1234abcd5678", "tags": tags,
            "description": "An example model version",
        }),
        Topic::VersionTagSet => json!({ "name": model, "version": "1", "key": key, "value": value }),
        Topic::VersionTagDeleted => json!({ "name": model, "version": "1", "key": key }),
        Topic::AliasCreated => json!({ "name": model, "alias": alias, "version": "1" }),
        Topic::AliasDeleted => json!({ "name": model, "alias": alias }),
        Topic::PromptCreated => json!({ "name": prompt, "tags": tags, "description": about_prompt }),
        Topic::PromptVersionCreated => json!({
            "name": prompt, "version": "1", "template": "Hello {{name}}!", "tags": tags,
            "description": "An example prompt version",
        }),
        Topic::PromptTagSet => json!({ "name": prompt, "key": key, "value": value }),
        Topic::PromptTagDeleted => json!({ "name": prompt, "key": key }),
        Topic::PromptVersionTagSet => json!({ "name": prompt, "version": "1", "key": key, "value": value }),
        Topic::PromptVersionTagDeleted => json!({ "name": prompt, "version": "1", "key": key }),
        Topic::PromptAliasCreated => json!({ "name": prompt, "alias": alias, "version": "1" }),
        Topic::PromptAliasDeleted => json!({ "name": prompt, "alias": alias }),
        Topic::BudgetExceeded => json!({
            "budget_policy_id": "bp-abc123", "budget_unit": "USD", "budget_amount": 100.0, "current_spend": 105.5,
            "duration_unit": "MONTHS", "duration_value": 1, "target_scope": "WORKSPACE", "workspace": "default",
            "window_start": 1_704_067_200_000_i64,
        }),
    }
}
