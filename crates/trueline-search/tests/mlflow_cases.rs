//! Every filter and `order_by` string in the table is judged as MLflow 3.18 judged it.

use serde::Deserialize;
use serde_json::{Value as Json, json};
use trueline_search::mlflow::{self, Clause, FilterError, Kind};
use trueline_search::{Entity, NumberKind, Value};

/// Cases that are judged otherwise here, each with the reason. There are none.
const KNOWN_DIFFERENCES: &[(&str, &str, &str)] = &[];

#[derive(Deserialize)]
struct Case {
    kind: String,
    filter: String,
    ok: Option<Json>,
    error: Option<String>,
    code: Option<String>,
}

fn kind(name: &str) -> Kind {
    match name {
        "runs" => Kind::Runs,
        "experiments" => Kind::Experiments,
        "registered_models" => Kind::RegisteredModels,
        "model_versions" => Kind::ModelVersions,
        "traces" => Kind::Traces,
        "logged_models" => Kind::LoggedModels,
        "evaluation_datasets" => Kind::EvaluationDatasets,
        other => panic!("unknown kind {other}"),
    }
}

fn clause_json(clause: &Clause) -> Json {
    let value = match &clause.value {
        None => Json::Null,
        // MLflow leaves a metric's number as text until it is compared.
        Some(Value::Number(number)) if clause.field.entity == Entity::Metric => json!(number.text),
        Some(Value::Number(number)) => match number.kind {
            NumberKind::Int(int) => json!(int),
            NumberKind::Real(real) => json!(real),
        },
        Some(Value::Text(text)) => json!(text),
        Some(Value::List(texts)) => json!(texts),
    };
    json!({
        "type": clause.field.entity.name(),
        "key": clause.field.key,
        "comparator": clause.comparator,
        "value": value,
    })
}

/// Sorts what stands between braces: Python prints a set in any order.
fn sort_sets(message: &str) -> String {
    let mut out = String::new();
    let mut rest = message;
    while let Some((before, (set, after))) =
        rest.split_once('{').and_then(|(before, tail)| tail.split_once('}').map(|tail| (before, tail)))
    {
        let mut members: Vec<&str> = set.split(", ").collect();
        members.sort_unstable();
        out.push_str(&format!("{before}{{{}}}", members.join(", ")));
        rest = after;
    }
    out + rest
}

fn verdict(case: &Case) -> Result<Json, FilterError> {
    match case.kind.split_once('.') {
        None => mlflow::parse_clauses(kind(&case.kind), &case.filter)
            .map(|clauses| clauses.iter().map(clause_json).collect()),
        Some((searched, _)) => mlflow::parse_order_by(kind(searched), &case.filter)
            .map(|order| json!([order.field.entity.name(), order.field.key, order.ascending])),
    }
}

#[test]
fn every_case_is_judged_as_mlflow_judges_it() {
    let path = std::env::var("MLFLOW_FILTER_CASES").unwrap_or_else(|_| {
        concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/mlflow-filter-cases.jsonl").to_owned()
    });
    let cases = std::fs::read_to_string(path).unwrap();
    let mut differences = Vec::new();
    let mut count = 0;
    for line in cases.lines() {
        let case: Case = serde_json::from_str(line).unwrap();
        if KNOWN_DIFFERENCES.iter().any(|(kind, filter, _)| (*kind, *filter) == (&*case.kind, &*case.filter))
        {
            continue;
        }
        count += 1;
        let expected = match (&case.ok, &case.error) {
            (Some(ok), _) => Ok(ok.clone()),
            (None, error) => Err((case.code.clone().unwrap(), sort_sets(error.as_ref().unwrap()))),
        };
        let found = verdict(&case).map_err(|error| (error.code().to_owned(), sort_sets(&error.to_string())));
        if found != expected {
            differences.push(format!("{} {:?}\n  {found:?}\n  {expected:?}", case.kind, case.filter));
        }
    }
    assert!(count > 0);
    assert!(differences.is_empty(), "{} of {count} differ:\n{}", differences.len(), differences.join("\n"));
}
