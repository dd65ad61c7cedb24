//! The training set of real flights has what pandas' `merge_asof` finds, row by row.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{On, Server, python, text};
use std::path::Path;
use std::process::Command;
use trueline_query::{Format, Part, RecordBatch, infer, json_column, scan};

const FEATURES: [&str; 3] = ["temp", "wind_speed", "precip"];
const DECLARED: &str = "
entities: [{ name: airport, join_key: origin }]
views:
  - { name: weather, dataset: weather, entities: [airport], timestamp: time_hour, ttl: 30m,
      features: [temp, wind_speed, precip] }
";

fn ok(server: &Server, args: &[&str]) {
    let done = server.cli(args);
    assert!(done.status.success(), "{args:?}: {}", text(&done.stderr));
}

/// The features of a file, row by row.
fn features(path: &Path) -> Vec<[serde_json::Value; 3]> {
    let name = path.file_name().unwrap().to_string_lossy().into_owned();
    let part = Part { format: Format::of_name(&name).unwrap(), name, path: path.to_owned() };
    let schema = infer(std::slice::from_ref(&part)).unwrap();
    let wanted = FEATURES.map(ToOwned::to_owned);
    let rows = |batch: RecordBatch| {
        let columns: Vec<_> = (0..3).map(|i| json_column(FEATURES[i], batch.column(i)).unwrap()).collect();
        (0..batch.num_rows()).map(|row| [0, 1, 2].map(|i| columns[i][row].clone())).collect::<Vec<_>>()
    };
    scan(vec![part], &schema, Some(&wanted)).unwrap().flat_map(|b| rows(b.unwrap())).collect()
}

#[test]
fn a_training_set_of_flights_has_what_pandas_finds() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../python/tests/asof_expected.py");
    let judged = Command::new(python()).arg(script).arg(folder.path()).output().unwrap();
    assert!(judged.status.success(), "{}", text(&judged.stderr));
    let server = Server::start(On::Sqlite);
    ok(&server, &["data", "add", &at("flights.csv")]);
    ok(&server, &["data", "add", &at("weather.csv")]);
    std::fs::write(folder.path().join("features.yaml"), DECLARED).unwrap();
    ok(&server, &["features", "apply", &at("features.yaml")]);
    ok(
        &server,
        &["features", "join", "flights", "--name", "train", "--timestamp", "as_of", "--view", "weather"],
    );
    ok(&server, &["data", "get", "train", "--to", &at("")]);
    let (found, expected) = (
        features(&folder.path().join("training-set.parquet")),
        features(&folder.path().join("expected.csv")),
    );
    assert_eq!(found.len(), expected.len());
    let differing = found.iter().zip(&expected).position(|(a, b)| a != b);
    assert_eq!(differing, None, "{:?}", differing.map(|i| (&found[i], &expected[i])));
}
