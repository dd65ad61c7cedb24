//! The tables of tracking.

use trueline_db::{Migration, Module};

/// Tables of points, whose digest an event records when a series is sealed (rule 2); and the editions of runs, which only
/// tell that something was changed.
pub(crate) const POINTS: &[&str] = &[
    "latest_metrics",
    "logged_model_metrics",
    "metric_blocks",
    "metric_chunks",
    "metric_inbox",
    "metric_points_v1",
    "run_editions",
];

/// Params and tags keep so many characters of their value in the column that is indexed, and the rest beside it: rows of
/// an index are limited in size on PostgreSQL.
pub(crate) const INDEXED_CHARS: usize = 250;

/// Tracking's part of the schema.
pub const MODULE: Module = Module {
    name: "tracking",
    migrations: &[
        Migration { version: 1, sql: V1 },
        Migration { version: 2, sql: V2 },
        Migration { version: 3, sql: V3 },
        Migration { version: 4, sql: V4 },
        Migration { version: 5, sql: V5 },
        Migration { version: 6, sql: V6 },
        Migration { version: 7, sql: V7 },
    ],
};

const V1: &str = "
CREATE TABLE experiments (
    project TEXT NOT NULL,
    id BIGINT NOT NULL,
    name TEXT NOT NULL,
    artifact_location TEXT NOT NULL,
    lifecycle TEXT NOT NULL,
    created_at_ms BIGINT NOT NULL,
    updated_at_ms BIGINT NOT NULL,
    PRIMARY KEY (project, id),
    UNIQUE (project, name)
);
CREATE TABLE experiment_tags (
    project TEXT NOT NULL,
    experiment BIGINT NOT NULL,
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (project, experiment, key)
);
CREATE TABLE runs (
    id TEXT PRIMARY KEY,
    project TEXT NOT NULL,
    experiment BIGINT NOT NULL,
    name TEXT NOT NULL,
    claimed_user TEXT NOT NULL,
    created_by TEXT NOT NULL,
    status TEXT NOT NULL,
    start_time BIGINT,
    end_time BIGINT,
    artifact_uri TEXT NOT NULL,
    lifecycle TEXT NOT NULL,
    deleted_at_ms BIGINT
);
CREATE INDEX runs_started ON runs (project, experiment, lifecycle, start_time);
CREATE TABLE params (
    run TEXT NOT NULL,
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (run, key)
);
CREATE INDEX params_key ON params (key, run);
CREATE TABLE tags (
    run TEXT NOT NULL,
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (run, key)
);
CREATE INDEX tags_key ON tags (key, run);
CREATE TABLE metric_points (
    run TEXT NOT NULL,
    key TEXT NOT NULL,
    step BIGINT NOT NULL,
    at_ms BIGINT NOT NULL,
    value DOUBLE PRECISION NOT NULL,
    is_nan BIGINT NOT NULL,
    chunk BIGINT NOT NULL,
    PRIMARY KEY (run, key, step, at_ms, value, is_nan)
);
CREATE TABLE latest_metrics (
    run TEXT NOT NULL,
    key TEXT NOT NULL,
    step BIGINT NOT NULL,
    at_ms BIGINT NOT NULL,
    value DOUBLE PRECISION NOT NULL,
    is_nan BIGINT NOT NULL,
    PRIMARY KEY (run, key)
);
CREATE INDEX latest_metrics_value ON latest_metrics (key, is_nan, value, run);
CREATE TABLE datasets (
    id TEXT PRIMARY KEY,
    project TEXT NOT NULL,
    experiment BIGINT NOT NULL,
    name TEXT NOT NULL,
    digest TEXT NOT NULL,
    source_type TEXT NOT NULL,
    source TEXT NOT NULL,
    schema TEXT,
    profile TEXT,
    UNIQUE (project, experiment, name, digest)
);
CREATE TABLE run_inputs (
    run TEXT NOT NULL,
    dataset TEXT NOT NULL,
    context TEXT,
    tags TEXT NOT NULL,
    PRIMARY KEY (run, dataset)
);
CREATE INDEX run_inputs_dataset ON run_inputs (dataset);
CREATE TABLE run_models (
    run TEXT NOT NULL,
    direction TEXT NOT NULL,
    model TEXT NOT NULL,
    step BIGINT NOT NULL,
    PRIMARY KEY (run, direction, model)
);
CREATE TABLE logged_models (
    id TEXT PRIMARY KEY,
    project TEXT NOT NULL,
    experiment BIGINT NOT NULL,
    name TEXT NOT NULL,
    model_type TEXT,
    source_run TEXT,
    artifact_uri TEXT NOT NULL,
    status TEXT NOT NULL,
    lifecycle TEXT NOT NULL,
    created_by TEXT NOT NULL,
    created_at_ms BIGINT NOT NULL,
    updated_at_ms BIGINT NOT NULL
);
CREATE INDEX logged_models_newest ON logged_models (project, experiment, created_at_ms);
CREATE TABLE logged_model_params (
    model TEXT NOT NULL,
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (model, key)
);
CREATE TABLE logged_model_tags (
    model TEXT NOT NULL,
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (model, key)
);
CREATE TABLE logged_model_metrics (
    model TEXT NOT NULL,
    key TEXT NOT NULL,
    step BIGINT NOT NULL,
    at_ms BIGINT NOT NULL,
    value DOUBLE PRECISION NOT NULL,
    is_nan BIGINT NOT NULL,
    run TEXT NOT NULL,
    dataset_name TEXT,
    dataset_digest TEXT,
    chunk BIGINT NOT NULL,
    PRIMARY KEY (model, key, step, at_ms, value, is_nan, run)
);
CREATE TABLE metric_chunks (
    kind TEXT NOT NULL,
    owner TEXT NOT NULL,
    chunk BIGINT NOT NULL,
    points BIGINT NOT NULL,
    PRIMARY KEY (kind, owner)
);
CREATE INDEX metric_chunks_open ON metric_chunks (kind, owner) WHERE points > 0;
CREATE TABLE artifacts (
    project TEXT NOT NULL,
    path TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    size BIGINT NOT NULL,
    updated_at_ms BIGINT NOT NULL,
    PRIMARY KEY (project, path)
);
CREATE TABLE run_captures (
    run TEXT PRIMARY KEY,
    body TEXT NOT NULL
);
CREATE TABLE run_reproductions (
    project TEXT NOT NULL,
    id TEXT NOT NULL,
    run TEXT NOT NULL,
    again TEXT,
    verdict TEXT NOT NULL,
    body TEXT NOT NULL,
    created_by TEXT NOT NULL,
    created_at_ms BIGINT NOT NULL,
    PRIMARY KEY (project, id)
);
CREATE INDEX run_reproductions_of_run ON run_reproductions (project, run);
";

/// Runs and experiments get numbers, by which what was logged to them lies together; params, tags and latest values carry
/// the experiment's, so that an index finds them by value within it. Points move to blocks of whole series.
///
/// The points of before are left where they were, under another name; `adopt_old_points` moves them when the server starts.
const V2: &str = "
ALTER TABLE experiments ADD COLUMN n BIGINT;
UPDATE experiments SET n = (SELECT COUNT(*) FROM experiments e
    WHERE e.project < experiments.project OR (e.project = experiments.project AND e.id <= experiments.id));
CREATE UNIQUE INDEX experiments_number ON experiments (n);

ALTER TABLE runs RENAME TO runs_v1;
DROP INDEX runs_started;
CREATE TABLE runs (
    n {serial},
    id TEXT NOT NULL UNIQUE,
    project TEXT NOT NULL,
    experiment BIGINT NOT NULL,
    experiment_n BIGINT NOT NULL,
    name TEXT NOT NULL,
    claimed_user TEXT NOT NULL,
    created_by TEXT NOT NULL,
    status TEXT NOT NULL,
    start_time BIGINT,
    end_time BIGINT,
    artifact_uri TEXT NOT NULL,
    lifecycle TEXT NOT NULL,
    deleted_at_ms BIGINT
);
INSERT INTO runs (id, project, experiment, experiment_n, name, claimed_user, created_by, status, start_time, end_time,
                  artifact_uri, lifecycle, deleted_at_ms)
SELECT r.id, r.project, r.experiment, e.n, r.name, r.claimed_user, r.created_by, r.status, r.start_time, r.end_time,
       r.artifact_uri, r.lifecycle, r.deleted_at_ms
FROM runs_v1 r JOIN experiments e ON e.project = r.project AND e.id = r.experiment
ORDER BY r.start_time, r.id;
DROP TABLE runs_v1;
CREATE INDEX runs_started ON runs (experiment_n, start_time, lifecycle, n);
CREATE INDEX runs_ended ON runs (experiment_n, end_time, n);
CREATE INDEX runs_named ON runs (experiment_n, name, n);
CREATE INDEX runs_status ON runs (experiment_n, status, n);
CREATE INDEX runs_user ON runs (experiment_n, claimed_user, n);

ALTER TABLE params RENAME TO params_v1;
DROP INDEX params_key;
CREATE TABLE params (
    run BIGINT NOT NULL,
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    rest TEXT,
    experiment_n BIGINT NOT NULL,
    PRIMARY KEY (run, key)
) {clustered};
INSERT INTO params (run, key, value, rest, experiment_n)
SELECT r.n, p.key, SUBSTR(p.value, 1, 250), CASE WHEN LENGTH(p.value) > 250 THEN SUBSTR(p.value, 251) END, r.experiment_n
FROM params_v1 p JOIN runs r ON r.id = p.run ORDER BY r.n, p.key;
DROP TABLE params_v1;
CREATE INDEX params_value ON params (experiment_n, key, value, run);

ALTER TABLE tags RENAME TO tags_v1;
DROP INDEX tags_key;
CREATE TABLE tags (
    run BIGINT NOT NULL,
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    rest TEXT,
    experiment_n BIGINT NOT NULL,
    PRIMARY KEY (run, key)
) {clustered};
INSERT INTO tags (run, key, value, rest, experiment_n)
SELECT r.n, t.key, SUBSTR(t.value, 1, 250), CASE WHEN LENGTH(t.value) > 250 THEN SUBSTR(t.value, 251) END, r.experiment_n
FROM tags_v1 t JOIN runs r ON r.id = t.run ORDER BY r.n, t.key;
DROP TABLE tags_v1;
CREATE INDEX tags_value ON tags (experiment_n, key, value, run);

ALTER TABLE latest_metrics RENAME TO latest_metrics_v1;
DROP INDEX latest_metrics_value;
CREATE TABLE latest_metrics (
    run BIGINT NOT NULL,
    key TEXT NOT NULL,
    step BIGINT NOT NULL,
    at_ms BIGINT NOT NULL,
    value DOUBLE PRECISION NOT NULL,
    is_nan BIGINT NOT NULL,
    experiment_n BIGINT NOT NULL,
    PRIMARY KEY (run, key)
) {clustered};
INSERT INTO latest_metrics (run, key, step, at_ms, value, is_nan, experiment_n)
SELECT r.n, m.key, m.step, m.at_ms, m.value, m.is_nan, r.experiment_n
FROM latest_metrics_v1 m JOIN runs r ON r.id = m.run ORDER BY r.n, m.key;
DROP TABLE latest_metrics_v1;
CREATE INDEX latest_metrics_value ON latest_metrics (experiment_n, key, is_nan, value, run);

CREATE TABLE metric_inbox (
    id {serial},
    run BIGINT NOT NULL,
    body BYTEA NOT NULL
);
CREATE INDEX metric_inbox_run ON metric_inbox (run);
CREATE TABLE metric_blocks (
    run BIGINT NOT NULL,
    key TEXT NOT NULL,
    block BIGINT NOT NULL,
    chunk BIGINT NOT NULL,
    points BIGINT NOT NULL,
    body BYTEA NOT NULL,
    PRIMARY KEY (run, key, block)
);
ALTER TABLE metric_points RENAME TO metric_points_v1;
";

/// Inputs of a run in the order of logging.
const V3: &str = "
ALTER TABLE run_inputs ADD COLUMN position BIGINT NOT NULL DEFAULT 0;
";

/// What was deleted is found by when that was. Of what was purged a row stays, so that no number is given twice and what is
/// left of it is found after a crash.
const V4: &str = "
ALTER TABLE logged_models ADD COLUMN deleted_at_ms BIGINT;
CREATE INDEX runs_deleted ON runs (project, deleted_at_ms, n) WHERE deleted_at_ms IS NOT NULL;
CREATE INDEX runs_undated ON runs (project) WHERE lifecycle = 'deleted' AND deleted_at_ms IS NULL;
CREATE INDEX logged_models_deleted ON logged_models (project, deleted_at_ms, id) WHERE deleted_at_ms IS NOT NULL;
CREATE INDEX logged_models_undated ON logged_models (project) WHERE lifecycle = 'deleted' AND deleted_at_ms IS NULL;
CREATE TABLE purged (
    project TEXT NOT NULL,
    kind TEXT NOT NULL,
    id TEXT NOT NULL,
    n BIGINT NOT NULL,
    number BIGINT NOT NULL,
    folder TEXT,
    at_ms BIGINT NOT NULL,
    cleared BIGINT NOT NULL,
    PRIMARY KEY (project, kind, id)
);
CREATE INDEX purged_uncleared ON purged (at_ms) WHERE cleared = 0;
CREATE INDEX purged_n ON purged (kind, n);
";

/// Uploads in parts that a bucket keeps, and the digests of objects that were read once.
const V5: &str = "
CREATE TABLE bucket_uploads (
    place TEXT NOT NULL,
    id TEXT NOT NULL,
    path TEXT NOT NULL,
    begun_at_ms BIGINT NOT NULL,
    PRIMARY KEY (place, id)
);
CREATE TABLE object_digests (
    place TEXT NOT NULL,
    path TEXT NOT NULL,
    etag TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    PRIMARY KEY (place, path)
);
";

/// How often what is told of a run was changed. It lies apart from the runs, because transactions that read a run to write
/// points are not to fail when its points are folded meanwhile.
const V6: &str = "
CREATE TABLE run_editions (
    run BIGINT PRIMARY KEY,
    edition BIGINT NOT NULL
);
";

/// A run's oldest rows of the inbox are the next of an index; PostgreSQL would look for them among those of all runs.
const V7: &str = "
CREATE INDEX metric_inbox_oldest ON metric_inbox (run, id);
DROP INDEX metric_inbox_run;
";
