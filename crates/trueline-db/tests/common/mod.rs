//! Databases for the tests. PostgreSQL is asked when `TRUELINE_TEST_POSTGRES` names one, as `cargo xtask test` does.

use trueline_db::{Config, Limits};

/// A fresh database of PostgreSQL's, if there is a server.
pub(crate) fn postgres(name: &str, limits: Limits) -> Option<Config> {
    let base = std::env::var("TRUELINE_TEST_POSTGRES").ok()?;
    let name = format!("db_{name}_{}", std::process::id());
    let mut client = postgres::Client::connect(&base, postgres::NoTls).unwrap();
    client.batch_execute(&format!("DROP DATABASE IF EXISTS {name}")).unwrap();
    client.batch_execute(&format!("CREATE DATABASE {name}")).unwrap();
    let (server, _) = base.rsplit_once('/').unwrap();
    Some(Config::Postgres { url: format!("{server}/{name}"), limits })
}
