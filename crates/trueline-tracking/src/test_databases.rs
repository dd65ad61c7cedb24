//! Databases for tests. PostgreSQL is asked when `TRUELINE_TEST_POSTGRES` names one, as `cargo xtask test` does.

use trueline_db::{Config, Durability, Limits};

/// An empty database of each kind, and the folder that the first lies in.
pub(crate) fn configs(name: &str) -> (tempfile::TempDir, Vec<Config>) {
    let folder = tempfile::tempdir().unwrap();
    let limits = Limits { readers: 1, postgres_writers: 1, ..Limits::default() };
    let path = folder.path().join("test.db");
    let mut configs = vec![Config::Sqlite { path, durability: Durability::Full, limits }];
    if let Ok(base) = std::env::var("TRUELINE_TEST_POSTGRES") {
        let name = format!("tracking_{name}_{}", std::process::id());
        let mut client = postgres::Client::connect(&base, postgres::NoTls).unwrap();
        client.batch_execute(&format!("DROP DATABASE IF EXISTS {name}")).unwrap();
        client.batch_execute(&format!("CREATE DATABASE {name}")).unwrap();
        let (server, _) = base.rsplit_once('/').unwrap();
        configs.push(Config::Postgres { url: format!("{server}/{name}"), limits });
    }
    (folder, configs)
}
