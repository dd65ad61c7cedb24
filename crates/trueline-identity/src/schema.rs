//! The tables of identity.

use trueline_db::{Migration, Module};

/// Identity's part of the schema.
pub const MODULE: Module =
    Module { name: "identity", migrations: &[USERS_AND_TOKENS, PASSWORDS_AND_PERMISSIONS] };

const USERS_AND_TOKENS: Migration = Migration {
    version: 1,
    sql: "
CREATE TABLE projects (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    created_at_ms BIGINT NOT NULL
);
CREATE TABLE users (
    name TEXT PRIMARY KEY,
    created_at_ms BIGINT NOT NULL
);
CREATE TABLE role_grants (
    user_name TEXT NOT NULL REFERENCES users (name),
    project TEXT NOT NULL,
    role TEXT NOT NULL,
    PRIMARY KEY (user_name, project, role)
);
CREATE TABLE tokens (
    id TEXT PRIMARY KEY,
    user_name TEXT NOT NULL REFERENCES users (name),
    label TEXT NOT NULL,
    hash TEXT NOT NULL UNIQUE,
    created_at_ms BIGINT NOT NULL,
    revoked_at_ms BIGINT
);
",
};

/// MLflow's users have numbers, and passwords if they have any; roles hold permissions on resources by workspace. A role
/// with an owner holds what was granted to that user directly.
const PASSWORDS_AND_PERMISSIONS: Migration = Migration {
    version: 2,
    sql: "
CREATE TABLE accounts (
    number {serial},
    user_name TEXT NOT NULL UNIQUE,
    password TEXT
);
INSERT INTO accounts (user_name) SELECT name FROM users ORDER BY created_at_ms, name;
CREATE TABLE access_roles (
    id {serial},
    workspace TEXT NOT NULL,
    name TEXT NOT NULL,
    description TEXT,
    owner TEXT,
    UNIQUE (workspace, name)
);
CREATE TABLE access_permissions (
    id {serial},
    role BIGINT NOT NULL,
    resource_type TEXT NOT NULL,
    pattern TEXT NOT NULL,
    permission TEXT NOT NULL,
    UNIQUE (role, resource_type, pattern)
);
CREATE INDEX access_permissions_resource ON access_permissions (resource_type, pattern);
CREATE TABLE access_members (
    id {serial},
    user_name TEXT NOT NULL,
    role BIGINT NOT NULL,
    UNIQUE (user_name, role)
);
CREATE TABLE project_notes (
    project TEXT PRIMARY KEY,
    description TEXT NOT NULL
);
CREATE INDEX access_members_role ON access_members (role);
",
};
