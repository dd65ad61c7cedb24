//! Searches against an oracle that looks at every run: whatever the filter, order and page, the three ways of searching give
//! what it gives, on both databases.

use super::runs::{Bounds, Patience, find};
use super::table::all as whole;
use super::{Page, RunSearch};
use crate::TrackingError;
use crate::experiments::numbers;
use crate::known_runs::KnownRuns;
use crate::logged::split;
use crate::model::{ExperimentId, ViewType};
use crate::schema::MODULE;
use crate::test_databases;
use proptest::prelude::*;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use trueline_db::{Db, DbError, Tx};
use trueline_ledger::ProjectId;
use trueline_search::mlflow::OrderBy;
use trueline_search::{Comparison, Entity, Expr, Field, Number, NumberKind, Op, Value as Literal};

const RUNS: usize = 200;
const PROJECT: &str = "p";

/// A run as the oracle knows it.
#[derive(Clone, Debug, Default)]
struct Known {
    id: String,
    experiment: i64,
    start: Option<i64>,
    status: &'static str,
    deleted: bool,
    texts: BTreeMap<(Entity2, &'static str), String>,
    metrics: BTreeMap<&'static str, f64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Entity2 {
    Param,
    Tag,
}

/// Runs with few different values, so that there are ties, with gaps, NaN and values that are longer than the index.
fn known() -> Vec<Known> {
    let mut seed = 11u64;
    let mut random = move |below: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % below
    };
    let long = |end: &str| format!("{}{end}", "é".repeat(250));
    let words = ["a".to_owned(), "B".to_owned(), "ab%_\\".to_owned(), long("x"), long("y"), long("")];
    (0..RUNS)
        .map(|i| {
            let mut run = Known {
                id: format!("{:032x}", random(u64::MAX >> 34) << 8 | i as u64),
                experiment: random(2) as i64 + 1,
                start: (random(12) > 0).then(|| random(40) as i64),
                status: ["RUNNING", "FINISHED"][random(2) as usize],
                deleted: random(10) == 0,
                ..Known::default()
            };
            for metric in ["m", "n"] {
                match random(8) {
                    0 => {}
                    1 => drop(run.metrics.insert(metric, f64::NAN)),
                    _ => drop(run.metrics.insert(metric, random(12) as f64 / 2.0)),
                }
            }
            for (entity, key) in [(Entity2::Param, "p"), (Entity2::Tag, "t")] {
                if random(6) > 0 {
                    run.texts.insert((entity, key), words[random(words.len() as u64) as usize].clone());
                }
            }
            run
        })
        .collect()
}

fn fill(tx: &mut Tx<'_>, runs: &[Known]) -> Result<(), DbError> {
    for n in 1..=2i64 {
        tx.execute(
            "INSERT INTO experiments (project, id, name, artifact_location, lifecycle, created_at_ms, updated_at_ms, n)
             VALUES (?1, ?2, ?3, '', 'active', 0, 0, ?4)",
            &[PROJECT.into(), n.into(), format!("e{n}").into(), (n + 10).into()],
        )?;
    }
    for (n, run) in (1i64..).zip(runs) {
        let experiment_n = run.experiment + 10;
        let lifecycle = if run.deleted { "deleted" } else { "active" };
        tx.execute(
            "INSERT INTO runs (n, id, project, experiment, experiment_n, name, claimed_user, created_by, status, start_time,
                               artifact_uri, lifecycle)
             VALUES (?1, ?2, ?3, ?4, ?5, ?2, '', '', ?6, ?7, '', ?8)",
            &[
                n.into(),
                run.id.as_str().into(),
                PROJECT.into(),
                run.experiment.into(),
                experiment_n.into(),
                run.status.into(),
                run.start.into(),
                lifecycle.into(),
            ],
        )?;
        for (key, value) in &run.metrics {
            let (stored, nan) = if value.is_nan() { (0.0, true) } else { (*value, false) };
            tx.execute(
                "INSERT INTO latest_metrics (run, key, step, at_ms, value, is_nan, experiment_n)
                 VALUES (?1, ?2, 0, 0, ?3, ?4, ?5)",
                &[n.into(), (*key).into(), stored.into(), nan.into(), experiment_n.into()],
            )?;
        }
        for ((entity, key), value) in &run.texts {
            let table = if *entity == Entity2::Param { "params" } else { "tags" };
            let (value, rest) = split(value);
            tx.execute(
                &format!(
                    "INSERT INTO {table} (run, key, value, rest, experiment_n) VALUES (?1, ?2, ?3, ?4, ?5)"
                ),
                &[n.into(), (*key).into(), value.into(), rest.into(), experiment_n.into()],
            )?;
        }
    }
    Ok(())
}

fn databases(name: &str) -> (tempfile::TempDir, Vec<Db>) {
    let (folder, configs) = test_databases::configs(name);
    (folder, configs.iter().map(|config| Db::open(config, &[MODULE]).unwrap()).collect())
}

/// What a run has for a field.
#[derive(Clone, Debug, PartialEq)]
enum Has {
    Number(f64),
    Text(String),
}

fn has(run: &Known, field: &Field) -> Option<Has> {
    let text = |entity| run.texts.iter().find(|((e, key), _)| *e == entity && *key == field.key);
    match field.entity {
        Entity::Metric => run.metrics.get(field.key.as_str()).map(|v| Has::Number(*v)),
        Entity::Param => text(Entity2::Param).map(|(_, v)| Has::Text(v.clone())),
        Entity::Tag => text(Entity2::Tag).map(|(_, v)| Has::Text(v.clone())),
        _ => match field.key.as_str() {
            "start_time" => run.start.map(|v| Has::Number(v as f64)),
            _ => Some(Has::Text(run.status.to_owned())),
        },
    }
}

fn like(text: &[char], pattern: &[char]) -> bool {
    match pattern.split_first() {
        None => text.is_empty(),
        Some(('%', rest)) => (0..=text.len()).any(|i| like(&text[i..], rest)),
        Some((c, rest)) => {
            text.split_first().is_some_and(|(t, after)| (*c == '_' || c == t) && like(after, rest))
        }
    }
}

fn meets(run: &Known, filter: &Expr) -> bool {
    let Comparison { field, op, value } = match filter {
        Expr::And(list) => return list.iter().all(|e| meets(run, e)),
        Expr::Or(list) => return list.iter().any(|e| meets(run, e)),
        Expr::Not(inner) => return !meets(run, inner),
        Expr::Comparison(comparison) => comparison,
    };
    let Some(has) = has(run, field) else { return *op == Op::IsNull };
    let ordered = |o: Option<Ordering>| match (op, o) {
        (Op::Ne, None) => true,
        (_, None) => false,
        (Op::Eq, Some(o)) => o.is_eq(),
        (Op::Ne, Some(o)) => o.is_ne(),
        (Op::Lt, Some(o)) => o.is_lt(),
        (Op::Le, Some(o)) => o.is_le(),
        (Op::Gt, Some(o)) => o.is_gt(),
        (_, Some(o)) => o.is_ge(),
    };
    match (op, has, value) {
        (Op::IsNull, ..) => false,
        (Op::IsNotNull, ..) => true,
        (Op::Like, Has::Text(text), Some(Literal::Text(pattern))) => {
            like(&text.chars().collect::<Vec<_>>(), &pattern.chars().collect::<Vec<_>>())
        }
        (Op::In, Has::Text(text), Some(Literal::List(list))) => list.contains(&text),
        (_, Has::Text(text), Some(Literal::Text(other))) => ordered(text.partial_cmp(other)),
        (_, Has::Number(number), Some(Literal::Number(other))) => {
            ordered(number.partial_cmp(&other.as_f64()))
        }
        other => unreachable!("{other:?}"),
    }
}

fn compare(a: &Known, b: &Known, orders: &[OrderBy]) -> Ordering {
    for order in orders {
        let rank = |has: &Option<Has>| match has {
            None => 2,
            Some(Has::Number(v)) if v.is_nan() => 1,
            Some(_) => 0,
        };
        let (x, y) = (has(a, &order.field), has(b, &order.field));
        let values = match (&x, &y) {
            (Some(Has::Number(x)), Some(Has::Number(y))) => x.partial_cmp(y).unwrap_or(Ordering::Equal),
            (Some(Has::Text(x)), Some(Has::Text(y))) => x.cmp(y),
            _ => Ordering::Equal,
        };
        let values = if order.ascending { values } else { values.reverse() };
        let both = rank(&x).cmp(&rank(&y)).then(values);
        if both.is_ne() {
            return both;
        }
    }
    b.start.cmp(&a.start).then_with(|| a.id.cmp(&b.id))
}

fn field(entity: Entity, key: &str) -> Field {
    Field { entity, key: key.to_owned() }
}

fn comparison() -> impl Strategy<Value = Expr> {
    let numbers = (
        prop_oneof![
            Just(field(Entity::Metric, "m")),
            Just(field(Entity::Metric, "n")),
            Just(field(Entity::Metric, "none")),
            Just(field(Entity::Attribute, "start_time")),
        ],
        prop::sample::select(vec![Op::Eq, Op::Ne, Op::Lt, Op::Le, Op::Gt, Op::Ge]),
        0i64..12,
    )
        .prop_map(|(field, op, n)| {
            let number = match field.entity {
                Entity::Metric => NumberKind::Real(n as f64 / 2.0),
                _ => NumberKind::Int(n * 3),
            };
            let value = Literal::Number(Number { text: String::new(), kind: number });
            Expr::from(Comparison { field, op, value: Some(value) })
        });
    let long = |end: &str| format!("{}{end}", "é".repeat(250));
    let texts =
        vec!["a".to_owned(), "B".to_owned(), "zz".to_owned(), "ab%_\\".to_owned(), long(""), long("x")];
    let texts = (
        prop_oneof![
            Just(field(Entity::Param, "p")),
            Just(field(Entity::Tag, "t")),
            Just(field(Entity::Param, "none")),
        ],
        prop::sample::select(vec![Op::Eq, Op::Ne, Op::Like, Op::In, Op::IsNull, Op::IsNotNull]),
        prop::sample::subsequence(texts, 1..4),
        prop::sample::select(vec!["%", "a%", "%x", "%é%", "_", "B", "%\\"]),
    )
        .prop_map(|(field, op, texts, pattern)| {
            let value = match op {
                Op::Like => Some(Literal::Text(pattern.to_owned())),
                Op::In => Some(Literal::List(texts)),
                Op::IsNull | Op::IsNotNull => None,
                _ => Some(Literal::Text(texts[0].clone())),
            };
            Expr::from(Comparison { field, op, value })
        });
    let status = Expr::from(Comparison {
        field: field(Entity::Attribute, "status"),
        op: Op::Eq,
        value: Some(Literal::Text("FINISHED".to_owned())),
    });
    prop_oneof![3 => numbers, 3 => texts, 1 => Just(status)]
}

fn filter() -> impl Strategy<Value = Expr> {
    let inner = comparison().prop_recursive(2, 6, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Expr::And),
            prop::collection::vec(inner.clone(), 1..3).prop_map(Expr::Or),
            inner.prop_map(|e| Expr::Not(Box::new(e))),
        ]
    });
    prop_oneof![1 => Just(Expr::always()), 3 => prop::collection::vec(inner.clone(), 1..3).prop_map(Expr::And), 2 => inner]
}

fn orders() -> impl Strategy<Value = Vec<OrderBy>> {
    let one = prop::sample::select(vec![
        (Entity::Metric, "m"),
        (Entity::Metric, "none"),
        (Entity::Param, "p"),
        (Entity::Tag, "t"),
        (Entity::Attribute, "start_time"),
        (Entity::Attribute, "status"),
    ]);
    let one = (one, any::<bool>())
        .prop_map(|((entity, key), ascending)| OrderBy { field: field(entity, key), ascending });
    prop::collection::vec(one, 0..3)
}

#[test]
fn whatever_is_asked_every_way_of_searching_gives_what_looking_at_all_gives() {
    let (_folder, all) = databases("oracle");
    let runs = known();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for db in &all {
        let runs = runs.clone();
        runtime.block_on(db.write(move |tx: &mut Tx<'_>| fill(tx, &runs))).unwrap();
    }
    let patience = |sample, most| Patience { sample, most };
    let none = patience(0, 0);
    let tiny = Bounds { few: 0, several: 0, glance: none, patience: none, short: 4, medium: 16, long: 30 };
    let ways = [
        Bounds::MEASURED,
        Bounds { few: 30, patience: patience(20, 40), ..tiny },
        Bounds { few: 10, several: 60, glance: patience(8, 20), patience: patience(30, 80), ..tiny },
        Bounds { few: RUNS, ..tiny },
        tiny,
    ];
    let experiments = prop_oneof![Just(vec![1]), Just(vec![2, 1]), Just(vec![7]), Just(vec![])];
    let asked = (filter(), orders(), experiments, 0u64..20, 1u64..40, 0usize..3);
    let cases = ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(cases, |((filter, order_by, experiments, offset, limit, view) in asked)| {
        let view = [ViewType::ActiveOnly, ViewType::DeletedOnly, ViewType::All][view];
        let seen = |run: &&Known| {
            experiments.contains(&run.experiment)
                && view.lifecycle().is_none_or(|l| (l.as_str() == "deleted") == run.deleted)
                && meets(run, &filter)
        };
        let mut expected: Vec<&Known> = runs.iter().filter(seen).collect();
        expected.sort_by(|a, b| compare(a, b, &order_by));
        let more = expected.len() as u64 > offset + limit;
        let page: Vec<&str> =
            expected.iter().skip(offset as usize).take(limit as usize).map(|r| r.id.as_str()).collect();
        let experiments = experiments.iter().map(|id| ExperimentId(*id)).collect();
        let search =
            RunSearch { experiments, filter: filter.clone(), order_by: order_by.clone(), view, offset, limit };
        for db in &all {
            let (project, of) = (ProjectId::new(PROJECT), search.clone());
            let rows = runtime.block_on(db.read(move |tx: &mut Tx<'_>| whole(tx, &project, &of))).unwrap();
            let rows: Vec<&Known> = rows.iter().map(|n| &runs[*n as usize - 1]).collect();
            prop_assert_eq!(rows.len(), expected.len(), "{:?}", db.dialect());
            // A table leaves runs that are equal in all that was asked for, and in their start, as they come.
            let sorted = |a: &&Known, b: &&Known| {
                let order = compare(a, b, &order_by);
                order.is_le() || a.start == b.start && compare(a, &Known { id: a.id.clone(), ..(*b).clone() }, &order_by).is_eq()
            };
            prop_assert!(rows.is_sorted_by(sorted), "{:?}", db.dialect());
            let ids = |runs: &[&Known]| runs.iter().map(|r| r.id.clone()).collect::<std::collections::BTreeSet<_>>();
            prop_assert_eq!(ids(&rows), ids(&expected));
            for bounds in ways {
                let search = search.clone();
                let project = ProjectId::new(PROJECT);
                let found = runtime
                    .block_on(db.read(move |tx: &mut Tx<'_>| {
                        let numbers = numbers(tx, &project, &search.experiments)?;
                        let Page { items, more } = find(tx, &numbers, &search, bounds)?;
                        let items = KnownRuns::default().read(tx, &project, &items)?;
                        Ok::<_, TrackingError>(Page { items, more })
                    }))
                    .unwrap();
                let found_ids: Vec<&str> = found.items.iter().map(|r| r.run.id.as_str()).collect();
                prop_assert_eq!(&found_ids, &page, "{:?} {:?}", db.dialect(), bounds);
                prop_assert_eq!(found.more, more, "{:?} {:?}", db.dialect(), bounds);
            }
        }
    });
}

#[test]
fn values_of_params_come_back_whole() {
    let (_folder, all) = databases("values");
    let runs = known();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for db in &all {
        let filled = runs.clone();
        runtime.block_on(db.write(move |tx: &mut Tx<'_>| fill(tx, &filled))).unwrap();
        let numbers: Vec<i64> = (1..=RUNS as i64).collect();
        let found = runtime
            .block_on(db.read(move |tx: &mut Tx<'_>| {
                crate::logged::of_runs(tx, crate::logged::Table::Params, &numbers)
            }))
            .unwrap();
        for (n, run) in (1i64..).zip(&runs) {
            let is = found.get(&n).and_then(|pairs| pairs.first()).map(|pair| &pair.value);
            assert_eq!(is, run.texts.get(&(Entity2::Param, "p")));
        }
    }
}
