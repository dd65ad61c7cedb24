//! What must hold on SQLite and on PostgreSQL alike.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use trueline_db::{Config, Db, DbError, Durability, Limits, Migration, Module, Tx};

const MODULE: Module = Module {
    name: "both",
    migrations: &[Migration {
        version: 1,
        sql: "CREATE TABLE words (id BIGINT PRIMARY KEY, word TEXT NOT NULL); CREATE TABLE numbers (n BIGINT);",
    }],
};

/// A fresh database of each kind, with a folder that keeps the first alive.
fn databases(name: &str) -> (tempfile::TempDir, Vec<Db>) {
    databases_with(name, Limits { readers: 1, postgres_writers: 2, ..Limits::default() })
}

fn databases_with(name: &str, limits: Limits) -> (tempfile::TempDir, Vec<Db>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("test.db");
    let mut configs = vec![Config::Sqlite { path, durability: Durability::Full, limits }];
    configs.extend(common::postgres(name, limits));
    (folder, configs.iter().map(|config| Db::open(config, &[MODULE]).unwrap()).collect())
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

#[test]
fn nul_in_text_is_refused_by_name_in_writes_and_reads() {
    let (_folder, all) = databases("nul");
    for db in all {
        runtime().block_on(async {
            let write = db.write(|tx: &mut Tx<'_>| {
                tx.execute("INSERT INTO words (id, word) VALUES (1, ?1)", &["a\0b".into()]).map(drop)
            });
            assert!(matches!(write.await, Err(DbError::Nul)), "{:?}", db.dialect());
            let read = db.read(|tx: &mut Tx<'_>| {
                tx.query("SELECT id FROM words WHERE word = ?1", &["\0".into()]).map(drop)
            });
            assert!(matches!(read.await, Err(DbError::Nul)), "{:?}", db.dialect());
            // The connection is none the worse for it.
            let write = db.write(|tx: &mut Tx<'_>| {
                tx.execute("INSERT INTO words (id, word) VALUES (1, ?1)", &["ab".into()])
            });
            assert_eq!(write.await.unwrap(), 1);
        });
    }
}

#[test]
fn a_connection_that_the_server_ended_is_made_anew_without_the_caller_noticing() {
    let (_folder, all) = databases("ended");
    let Some(db) = all.iter().find(|db| db.dialect() == trueline_db::Dialect::Postgres) else { return };
    runtime().block_on(async {
        for id in 0..4_i64 {
            let write = db.write(move |tx: &mut Tx<'_>| {
                tx.execute("INSERT INTO words (id, word) VALUES (?1, 'x')", &[id.into()])
            });
            assert_eq!(write.await.unwrap(), 1);
            let others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                 WHERE datname = current_database() AND pid <> pg_backend_pid()";
            db.write(move |tx: &mut Tx<'_>| tx.query(others, &[]).map(drop)).await.unwrap();
        }
        let count = db.read(|tx: &mut Tx<'_>| tx.scalar::<i64>("SELECT COUNT(*) FROM words", &[]));
        assert_eq!(count.await.unwrap(), Some(4));
    });
}

#[test]
fn statements_and_locks_on_postgresql_do_not_wait_for_ever() {
    let (_folder, all) = databases("timeouts");
    let Some(db) = all.iter().find(|db| db.dialect() == trueline_db::Dialect::Postgres) else { return };
    runtime().block_on(async {
        for (setting, expected) in [
            ("statement_timeout", "30s"),
            ("lock_timeout", "10s"),
            ("idle_in_transaction_session_timeout", "1min"),
        ] {
            let read = db.read(move |tx: &mut Tx<'_>| {
                tx.scalar::<String>("SELECT current_setting(?1)", &[setting.into()])
            });
            assert_eq!(read.await.unwrap().as_deref(), Some(expected), "{setting}");
        }
    });
}

#[test]
fn however_many_want_one_row_each_gets_its_turn() {
    const JOBS: i64 = 300;
    let limits = Limits { readers: 1, postgres_writers: 8, retries: 5, ..Limits::default() };
    let (_folder, all) = databases_with("turns", limits);
    for db in all {
        let runtime = runtime();
        let add = |tx: &mut Tx<'_>| {
            let count: Option<String> = tx.scalar("SELECT word FROM words WHERE id = 1", &[])?;
            let next = count.map_or(0, |count| count.parse::<i64>().unwrap()) + 1;
            tx.execute(
                "INSERT INTO words (id, word) VALUES (1, ?1) ON CONFLICT (id) DO UPDATE SET word = excluded.word",
                &[next.to_string().into()],
            )
        };
        let jobs: Vec<_> = (0..JOBS)
            .map(|_| {
                let db = db.clone();
                runtime.spawn(async move { db.write(add).await })
            })
            .collect();
        runtime.block_on(async {
            for job in jobs {
                job.await.unwrap().unwrap();
            }
            let count = db.read(|tx: &mut Tx<'_>| tx.scalar::<String>("SELECT word FROM words", &[]));
            assert_eq!(count.await.unwrap(), Some(JOBS.to_string()), "{:?}", db.dialect());
        });
    }
}

#[test]
fn rows_that_are_inserted_together_are_each_there_once() {
    let (_folder, all) = databases("rows");
    for db in all {
        runtime().block_on(async {
            let insert = |count: i64, word: &'static str| {
                db.write(move |tx: &mut Tx<'_>| {
                    let rows = (0..count).map(|id| vec![id.into(), word.into()]).collect();
                    let update = "ON CONFLICT (id) DO UPDATE SET word = excluded.word";
                    tx.insert_rows("INSERT INTO words (id, word)", rows, update)
                })
            };
            for (rows, word) in [(0, "none"), (77, "first"), (5, "second")] {
                insert(rows, word).await.unwrap();
            }
            let count = |word: &'static str| {
                db.read(move |tx: &mut Tx<'_>| {
                    tx.scalar::<i64>("SELECT COUNT(*) FROM words WHERE word = ?1", &[word.into()])
                })
            };
            assert_eq!((count("first").await.unwrap(), count("second").await.unwrap()), (Some(72), Some(5)));
        });
    }
}

#[test]
fn inserts_that_go_together_are_there_for_the_next_statement_and_in_their_order() {
    let (_folder, all) = databases("together");
    for db in all {
        runtime().block_on(async {
            let job = |tx: &mut Tx<'_>| {
                let word = |id: i64, word: &str| vec![id.into(), word.into()];
                let insert = "INSERT INTO words (id, word) VALUES (?1, ?2)";
                tx.insert(insert, word(1, "it's ?1"))?;
                tx.insert("INSERT INTO numbers (n) VALUES (?1)", vec![7i64.into()])?;
                assert!(tx.changed() >= 2);
                let both = "SELECT COUNT(*) FROM words, numbers WHERE word = 'it''s ?1' AND n = 7";
                assert_eq!(tx.scalar::<i64>(both, &[])?, Some(1));
                // The second finds the first.
                tx.insert("INSERT INTO numbers (n) VALUES (?1)", vec![8i64.into()])?;
                tx.insert(insert, word(2, "first"))?;
                let update = "INSERT INTO words (id, word) VALUES (?1, ?2) ON CONFLICT (id) DO UPDATE SET word = excluded.word";
                tx.insert(update, word(2, "second"))
            };
            db.write(job).await.unwrap();
            let found = db.read(|tx: &mut Tx<'_>| tx.scalar::<String>("SELECT word FROM words WHERE id = 2", &[]));
            assert_eq!(found.await.unwrap(), Some("second".to_owned()), "{:?}", db.dialect());

            // What the database says of the last of them is what the job comes to.
            let twice = |tx: &mut Tx<'_>| {
                tx.insert("INSERT INTO numbers (n) VALUES (?1)", vec![9i64.into()])?;
                tx.insert("INSERT INTO words (id, word) VALUES (?1, ?2)", vec![1i64.into(), "again".into()])?;
                Ok::<_, DbError>(())
            };
            assert!(db.write(twice).await.is_err(), "{:?}", db.dialect());
            let count = db.read(|tx: &mut Tx<'_>| tx.scalar::<i64>("SELECT COUNT(*) FROM numbers", &[]));
            assert_eq!(count.await.unwrap(), Some(2), "nothing of it stays");
        });
    }
}
