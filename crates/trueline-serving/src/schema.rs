//! The tables of serving's control plane, and what the ledger keeps of the prediction log.

use trueline_db::{Migration, Module};

/// Serving's part of the schema.
pub const MODULE: Module = Module {
    name: "serving",
    migrations: &[
        FIRST,
        SHADOWS,
        LOG_RULES,
        SEGMENTS_END,
        ARCHIVE,
        BANDITS,
        TRIALS,
        SET_ASIDE,
        SEGMENTS_OF_SERVERS,
    ],
};

const FIRST: Migration = Migration {
    version: 1,
    sql: "
CREATE TABLE endpoints (
    project TEXT NOT NULL,
    name TEXT NOT NULL,
    log_mode TEXT NOT NULL,
    sticky_header TEXT,
    created_by TEXT NOT NULL,
    created_at_ms BIGINT NOT NULL,
    PRIMARY KEY (project, name)
);
CREATE TABLE endpoint_routes (
    project TEXT NOT NULL,
    endpoint TEXT NOT NULL,
    generation BIGINT NOT NULL,
    change TEXT NOT NULL,
    variants TEXT NOT NULL,
    reason TEXT NOT NULL,
    rollout TEXT,
    rolled_back BIGINT NOT NULL,
    changed_by TEXT NOT NULL,
    changed_at_ms BIGINT NOT NULL,
    PRIMARY KEY (project, endpoint, generation)
);
CREATE TABLE prediction_segments (
    project TEXT NOT NULL,
    stream TEXT NOT NULL,
    number BIGINT NOT NULL,
    sha256 TEXT NOT NULL,
    PRIMARY KEY (project, stream, number)
);
CREATE TABLE rollouts (
    project TEXT NOT NULL,
    id TEXT NOT NULL,
    endpoint TEXT NOT NULL,
    candidate TEXT NOT NULL,
    baseline TEXT NOT NULL,
    plan TEXT NOT NULL,
    state TEXT NOT NULL,
    step BIGINT NOT NULL,
    step_since_ms BIGINT NOT NULL,
    reason TEXT NOT NULL,
    started_by TEXT NOT NULL,
    started_at_ms BIGINT NOT NULL,
    ended_at_ms BIGINT,
    PRIMARY KEY (project, id)
);
CREATE INDEX rollouts_by_endpoint ON rollouts (project, endpoint, started_at_ms);
CREATE INDEX rollouts_by_state ON rollouts (state);
CREATE TABLE rollout_decisions (
    project TEXT NOT NULL,
    rollout TEXT NOT NULL,
    number BIGINT NOT NULL,
    decision TEXT NOT NULL,
    share_percent DOUBLE PRECISION NOT NULL,
    reason TEXT NOT NULL,
    numbers TEXT,
    decided_by TEXT NOT NULL,
    decided_at_ms BIGINT NOT NULL,
    PRIMARY KEY (project, rollout, number)
);
CREATE TABLE rollout_evidence (
    project TEXT NOT NULL,
    rollout TEXT NOT NULL,
    state TEXT NOT NULL,
    numbers TEXT NOT NULL,
    saved_at_ms BIGINT NOT NULL,
    PRIMARY KEY (project, rollout)
);
",
};

/// The candidate of a rollout in shadow: 1 while the rollout is there, and the route that asks it.
const SHADOWS: Migration = Migration {
    version: 2,
    sql: "
ALTER TABLE rollouts ADD COLUMN shadowing BIGINT NOT NULL DEFAULT 0;
ALTER TABLE endpoint_routes ADD COLUMN shadow TEXT;
",
};

/// What of an endpoint's predictions is logged, as JSON; nothing declared where it is null.
const LOG_RULES: Migration =
    Migration { version: 3, sql: "ALTER TABLE endpoints ADD COLUMN log_rules TEXT;" };

/// When a segment of the prediction log was deleted, because it was kept for long enough; null while it is there.
const SEGMENTS_END: Migration =
    Migration { version: 4, sql: "ALTER TABLE prediction_segments ADD COLUMN deleted_at_ms BIGINT;" };

/// Where a segment of the prediction log was archived, as JSON, until when what is in it came, and when the copy was deleted.
const ARCHIVE: Migration = Migration {
    version: 5,
    sql: "
ALTER TABLE prediction_segments ADD COLUMN archived TEXT;
ALTER TABLE prediction_segments ADD COLUMN archived_until_ms BIGINT;
ALTER TABLE prediction_segments ADD COLUMN archive_deleted_at_ms BIGINT;
",
};

/// Bandits, and the one whose shares a route has.
const BANDITS: Migration = Migration {
    version: 6,
    sql: "
ALTER TABLE endpoint_routes ADD COLUMN bandit TEXT;
CREATE TABLE bandits (
    project TEXT NOT NULL,
    id TEXT NOT NULL,
    endpoint TEXT NOT NULL,
    arms TEXT NOT NULL,
    plan TEXT NOT NULL,
    state TEXT NOT NULL,
    shares TEXT NOT NULL,
    generation BIGINT NOT NULL,
    allotted_at_ms BIGINT NOT NULL,
    log_cursor TEXT NOT NULL,
    reason TEXT NOT NULL,
    started_by TEXT NOT NULL,
    started_at_ms BIGINT NOT NULL,
    ended_at_ms BIGINT,
    PRIMARY KEY (project, id)
);
CREATE INDEX bandits_by_endpoint ON bandits (project, endpoint, started_at_ms);
CREATE INDEX bandits_by_state ON bandits (state);
CREATE TABLE bandit_decisions (
    project TEXT NOT NULL,
    bandit TEXT NOT NULL,
    number BIGINT NOT NULL,
    decision TEXT NOT NULL,
    generation BIGINT NOT NULL,
    shares TEXT NOT NULL,
    reason TEXT NOT NULL,
    numbers TEXT,
    decided_by TEXT NOT NULL,
    decided_at_ms BIGINT NOT NULL,
    PRIMARY KEY (project, bandit, number)
);
CREATE TABLE bandit_evidence (
    project TEXT NOT NULL,
    bandit TEXT NOT NULL,
    state TEXT NOT NULL,
    numbers TEXT NOT NULL,
    saved_at_ms BIGINT NOT NULL,
    PRIMARY KEY (project, bandit)
);
",
};

/// Evidence of rollouts and of bandits alike: one row of each trial, written by one server at a time, and what the others have
/// seen, on its way there.
const TRIALS: Migration = Migration {
    version: 7,
    sql: "
CREATE TABLE trial_evidence (
    project TEXT NOT NULL,
    trial TEXT NOT NULL,
    holder TEXT NOT NULL,
    epoch BIGINT NOT NULL,
    held_until_ms BIGINT NOT NULL,
    positions TEXT NOT NULL,
    state TEXT,
    numbers TEXT,
    saved_at_ms BIGINT,
    PRIMARY KEY (project, trial)
);
INSERT INTO trial_evidence (project, trial, holder, epoch, held_until_ms, positions, state, numbers, saved_at_ms)
    SELECT project, rollout, '', 0, 0, '{}', state, numbers, saved_at_ms FROM rollout_evidence;
INSERT INTO trial_evidence (project, trial, holder, epoch, held_until_ms, positions, state, numbers, saved_at_ms)
    SELECT project, bandit, '', 0, 0, '{}', state, numbers, saved_at_ms FROM bandit_evidence;
DROP TABLE rollout_evidence;
DROP TABLE bandit_evidence;
CREATE TABLE trial_batches (
    project TEXT NOT NULL,
    trial TEXT NOT NULL,
    server TEXT NOT NULL,
    number BIGINT NOT NULL,
    position TEXT NOT NULL,
    body TEXT NOT NULL,
    sent_at_ms BIGINT NOT NULL,
    PRIMARY KEY (project, trial, server, number)
);
",
};

/// Why a batch is no part of the evidence of its trial, where it could not be taken in; null while it waits.
const SET_ASIDE: Migration =
    Migration { version: 8, sql: "ALTER TABLE trial_batches ADD COLUMN set_aside TEXT;" };

/// The server whose log a segment is part of; empty in a database that one server has for itself, and where it was recorded before,
/// until the server that has these bytes says that it is its own. The table has a new name, so that a server of before that still
/// runs fails, instead of changing other servers' rows.
const SEGMENTS_OF_SERVERS: Migration = Migration {
    version: 9,
    sql: "
CREATE TABLE sealed_segments (
    project TEXT NOT NULL,
    stream TEXT NOT NULL,
    server TEXT NOT NULL,
    number BIGINT NOT NULL,
    sha256 TEXT NOT NULL,
    deleted_at_ms BIGINT,
    archived TEXT,
    archived_until_ms BIGINT,
    archive_deleted_at_ms BIGINT,
    PRIMARY KEY (project, stream, server, number)
);
INSERT INTO sealed_segments
    SELECT project, stream, '', number, sha256, deleted_at_ms, archived, archived_until_ms, archive_deleted_at_ms
    FROM prediction_segments;
DROP TABLE prediction_segments;
",
};

#[cfg(test)]
#[path = "migration_tests.rs"]
mod tests;
