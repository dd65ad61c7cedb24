//! A database of before there were blocks, brought forward: nothing is lost, and what was sealed is found as it was.

use super::adopt::adopt;
use super::series::{latest, series};
use crate::logged::{Table, of_runs};
use crate::metrics::MetricPoint;
use crate::schema::MODULE;
use crate::seal::Seal;
use crate::test_databases;
use serde_json::json;
use sha2::{Digest, Sha256};
use trueline_db::{Db, DbError, Module, Tx};

const LONG: usize = 700;

fn fill(tx: &mut Tx<'_>) -> Result<(), DbError> {
    let long = "é".repeat(LONG);
    for (project, id) in [("b", 0i64), ("a", 0), ("a", 3)] {
        tx.execute(
            "INSERT INTO experiments VALUES (?1, ?2, ?3, 'x', 'active', 1, 2)",
            &[project.into(), id.into(), format!("e{id}").into()],
        )?;
    }
    for (id, project, experiment) in [("r1", "a", 3i64), ("r2", "b", 0)] {
        tx.execute(
            "INSERT INTO runs VALUES (?1, ?2, ?3, 'n', 'u', 'by', 'FINISHED', 5, NULL, 'uri', 'active', NULL)",
            &[id.into(), project.into(), experiment.into()],
        )?;
        for (table, value) in [("params", "short"), ("tags", long.as_str())] {
            let sql = format!("INSERT INTO {table} VALUES (?1, 'k', ?2)");
            tx.execute(&sql, &[id.into(), value.into()])?;
        }
    }
    for step in 0..10_000i64 {
        let chunk = i64::from(step >= 6000);
        let params = [step.into(), (step * 10).into(), (step as f64 / 3.0).into(), chunk.into()];
        tx.execute("INSERT INTO metric_points VALUES ('r1', 'loss', ?1, ?2, ?3, 0, ?4)", &params)?;
    }
    tx.execute("INSERT INTO metric_points VALUES ('r1', 'nan', 1, 1, 0.0, 1, 0)", &[])?;
    tx.execute("INSERT INTO latest_metrics VALUES ('r1', 'loss', 9999, 99990, 3333.0, 0)", &[])?;
    tx.execute("INSERT INTO latest_metrics VALUES ('r1', 'nan', 1, 1, 0.0, 1)", &[])?;
    tx.execute("INSERT INTO metric_chunks VALUES ('run', 'r1', 2, 0)", &[])?;
    Ok(())
}

/// What the event of a chunk said, as it was made from rows.
fn sealed(chunk: i64, points: &[(&str, i64, i64, f64, i64)]) -> Seal {
    let mut hash = Sha256::new();
    for (key, step, at_ms, value, is_nan) in points {
        for text in [key, "r1"] {
            hash.update((text.len() as u64).to_be_bytes());
            hash.update(text.as_bytes());
        }
        for word in
            [step.to_be_bytes(), at_ms.to_be_bytes(), value.to_bits().to_be_bytes(), is_nan.to_be_bytes()]
        {
            hash.update(word);
        }
    }
    let payload = json!({ "chunk": chunk, "points": points.len(), "sha256": hex::encode(hash.finalize()) });
    Seal::said("a", "run", "r1", &payload).unwrap()
}

#[test]
fn a_database_of_the_first_schema_is_brought_forward_with_all_that_it_holds() {
    let (_folder, configs) = test_databases::configs("migration");
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for config in configs {
        let first = Module { name: MODULE.name, migrations: &MODULE.migrations[..1] };
        let old = Db::open(&config, &[first]).unwrap();
        runtime.block_on(old.write(fill)).unwrap();
        drop(old);
        let db = Db::open(&config, &[MODULE]).unwrap();
        while runtime.block_on(db.write(adopt)).unwrap() > 0 {}

        let place = |tx: &mut Tx<'_>, id: &str| {
            tx.query_opt("SELECT n, experiment_n FROM runs WHERE id = ?1", &[id.into()]).map(|row| {
                let mut row = row.unwrap();
                (row.take::<i64>(0).unwrap(), row.take::<i64>(1).unwrap())
            })
        };
        let (points, last, texts, experiments) = runtime
            .block_on(db.read(move |tx: &mut Tx<'_>| {
                let (first, second) = (place(tx, "r1")?, place(tx, "r2")?);
                let runs = [first.0, second.0];
                let texts = (of_runs(tx, Table::Params, &runs)?, of_runs(tx, Table::Tags, &runs)?);
                let all =
                    (series(tx, first.0, "loss")?, latest(tx, first.0)?, (runs, texts), (first.1, second.1));
                Ok::<_, crate::TrackingError>(all)
            }))
            .unwrap();
        let expected = |step: i64| MetricPoint { step, at_ms: step * 10, value: step as f64 / 3.0 };
        assert!(points.into_iter().eq((0..10_000).map(expected)));
        assert_eq!(last.len(), 2);
        assert!(last[1].point.value.is_nan());
        assert_eq!(experiments, (2, 3), "by project, then by id");
        let (runs, (params, tags)) = texts;
        for run in runs {
            assert_eq!(params[&run][0].value, "short");
            assert_eq!(tags[&run][0].value, "é".repeat(LONG));
        }

        let row = |step: i64| ("loss", step, step * 10, step as f64 / 3.0, 0);
        let mut zero: Vec<_> = (0..6000).map(row).collect();
        zero.push(("nan", 1, 1, 0.0, 1));
        let one: Vec<_> = (6000..10_000).map(row).collect();
        for (chunk, points) in [(0, zero), (1, one)] {
            let seal = sealed(chunk, &points);
            assert_eq!(runtime.block_on(seal.check(&db)).unwrap(), None, "chunk {chunk}");
        }
    }
}
