//! The tables of webhooks.

use trueline_db::{Migration, Module};

/// The webhooks' part of the schema.
pub const MODULE: Module = Module {
    name: "webhooks",
    migrations: &[Migration {
        version: 1,
        // `since` is the place of the event in the ledger that began a subscription: what happened before it is not told.
        sql: "
CREATE TABLE webhooks (
    id TEXT PRIMARY KEY,
    project TEXT NOT NULL,
    name TEXT NOT NULL,
    url TEXT NOT NULL,
    description TEXT,
    status TEXT NOT NULL,
    secret TEXT,
    created_at_ms BIGINT NOT NULL,
    updated_at_ms BIGINT NOT NULL,
    deleted_at_ms BIGINT
);
CREATE INDEX webhooks_project ON webhooks (project, created_at_ms);
CREATE TABLE webhook_topics (
    webhook TEXT NOT NULL REFERENCES webhooks (id),
    topic TEXT NOT NULL,
    place BIGINT NOT NULL,
    since BIGINT NOT NULL,
    PRIMARY KEY (webhook, topic)
);
CREATE TABLE webhook_deliveries (
    id TEXT PRIMARY KEY,
    webhook TEXT NOT NULL REFERENCES webhooks (id),
    event TEXT NOT NULL,
    topic TEXT NOT NULL,
    body TEXT NOT NULL,
    created_at_ms BIGINT NOT NULL
);
CREATE INDEX webhook_deliveries_webhook ON webhook_deliveries (webhook, created_at_ms);
CREATE TABLE webhook_attempts (
    delivery TEXT NOT NULL,
    attempt BIGINT NOT NULL,
    at_ms BIGINT NOT NULL,
    took_ms BIGINT NOT NULL,
    status BIGINT,
    error TEXT,
    PRIMARY KEY (delivery, attempt)
);
",
    }],
};
