//! `/webhooks`, `/webhooks/{id}` and `/webhooks/{id}/test`.

use crate::error::WireError;
use crate::fields::Fields;
use crate::paging::Paging;
use crate::{App, Caller, Mlflow, render, reply};
use axum::Router;
use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing::{get, post};
use serde_json::{Value as Json, json};
use std::sync::Arc;
use trueline_flows::{check_webhook_address, try_webhook};
use trueline_webhooks::{NewWebhook, Status, Topic, Webhook, WebhookUpdate};

type Answer = Result<Response, WireError>;

pub(crate) fn routes() -> Router<Arc<Mlflow>> {
    Router::new()
        .route("/webhooks", post(create).get(list))
        .route("/webhooks/{id}", get(by_id).patch(update).delete(remove))
        .route("/webhooks/{id}/test", post(test))
}

fn rendered(webhook: &Webhook) -> Json {
    let event = |topic: &Topic| json!({ "entity": topic.entity().to_uppercase(), "action": topic.action().to_uppercase() });
    let events: Vec<Json> = webhook.topics.iter().map(event).collect();
    render::compact(json!({
        "webhook_id": webhook.id, "name": webhook.name, "description": webhook.description, "url": webhook.url,
        "events": events, "status": webhook.status.as_str(), "creation_timestamp": webhook.created_at_ms,
        "last_updated_timestamp": webhook.updated_at_ms,
    }))
}

fn one(webhook: &Webhook) -> Response {
    reply::json(&json!({ "webhook": rendered(webhook) }))
}

fn topic(event: &Fields) -> Result<Topic, WireError> {
    let (entity, action) = (event.required("entity")?, event.required("action")?);
    Ok(Topic::parse(&entity.to_lowercase(), &action.to_lowercase())?)
}

/// An unknown word is ignored, as protobuf has it.
fn status(fields: &Fields) -> Result<Option<Status>, WireError> {
    Ok(fields.text("status")?.and_then(|word| Status::parse(&word)))
}

async fn create(State(app): App, Caller(session): Caller, fields: Fields) -> Answer {
    let (name, url) = (fields.required("name")?, fields.required("url")?);
    let events = fields.messages("events")?;
    if events.is_empty() {
        return Err(crate::fields::missing("events"));
    }
    let leave = session.leave()?;
    check_webhook_address(&app.webhooks, &url).await?;
    let new = NewWebhook {
        name,
        url,
        description: fields.given("description")?,
        topics: events.iter().map(topic).collect::<Result<_, _>>()?,
        secret: fields.given("secret")?,
        status: status(&fields)?.unwrap_or(Status::Active),
    };
    Ok(one(&app.webhooks.create(&leave, new).await?))
}

async fn list(State(app): App, Caller(session): Caller, fields: Fields) -> Answer {
    // Nought is protobuf's word for nothing said.
    let asked = fields.integer("max_results")?.filter(|n| *n != 0).unwrap_or(100);
    let limit = u32::try_from(asked).ok().filter(|n| (1..=1000).contains(n));
    let limit = limit.ok_or_else(|| WireError::invalid("max_results must be between 1 and 1000."))?;
    let page = Paging { offset: Paging::offset_of(&fields)?, limit: limit.into() };
    let found = app.webhooks.webhooks(&session.leave()?, page.offset, limit).await?;
    let webhooks: Vec<Json> = found.items.iter().map(rendered).collect();
    let answer = json!({ "webhooks": webhooks, "next_page_token": page.next_token(found.more) });
    Ok(reply::json(&render::compact(answer)))
}

async fn by_id(State(app): App, Caller(session): Caller, Path(id): Path<String>) -> Answer {
    Ok(one(&app.webhooks.webhook(&session.leave()?, &id).await?))
}

async fn update(State(app): App, Caller(session): Caller, Path(id): Path<String>, fields: Fields) -> Answer {
    let leave = session.leave()?;
    let (url, events) = (fields.given("url")?, fields.messages("events")?);
    if let Some(url) = &url {
        check_webhook_address(&app.webhooks, url).await?;
    }
    let topics: Vec<Topic> = events.iter().map(topic).collect::<Result<_, _>>()?;
    let update = WebhookUpdate {
        name: fields.given("name")?,
        url,
        description: fields.given("description")?,
        topics: Some(topics).filter(|t| !t.is_empty()),
        secret: fields.given("secret")?,
        status: status(&fields)?,
    };
    Ok(one(&app.webhooks.update(&leave, &id, update).await?))
}

async fn remove(State(app): App, Caller(session): Caller, Path(id): Path<String>) -> Answer {
    app.webhooks.delete(&session.leave()?, &id).await?;
    Ok(reply::empty())
}

async fn test(State(app): App, Caller(session): Caller, Path(id): Path<String>, fields: Fields) -> Answer {
    let event = fields.message("event")?;
    let topic = event.text("entity")?.map(|_| topic(&event)).transpose()?;
    let trial = try_webhook(&app.webhooks, &session.leave()?, &id, topic).await?;
    let result = match trial.answer {
        Ok((status, body)) => {
            json!({ "success": status < 300, "response_status": status, "response_body": body })
        }
        Err(why) => json!({ "success": false, "error_message": why }),
    };
    Ok(reply::json(&json!({ "result": result })))
}
