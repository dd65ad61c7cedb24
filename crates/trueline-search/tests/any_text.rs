//! Whatever the text, a verdict comes back, soon and without a panic.

use std::time::{Duration, Instant};

use proptest::prelude::*;
use trueline_search::mlflow::{
    FilterError, Kind, MAX_BYTES, parse_filter, parse_issue_filter, parse_metric_filter, parse_order_by,
    parse_order_by_list,
};

fn judge(text: &str) {
    for kind in Kind::ALL {
        let _ = parse_filter(kind, text);
        let _ = parse_order_by(kind, text);
    }
    let _ = parse_issue_filter(text);
    let _ = parse_metric_filter(text);
}

/// Scraps that mean something to the grammar, so that chance makes near misses.
fn scraps() -> impl Strategy<Value = String> {
    let scrap = prop::sample::select(vec![
        "metrics.a",
        "params.b",
        "tags.`x y`",
        "run_id",
        "timestamp",
        "span.content",
        "feedback.c",
        "=",
        "!=",
        ">",
        "LIKE",
        "IN",
        "NOT",
        "IS",
        "NULL",
        "AND",
        "OR",
        "AS",
        "'v'",
        "\"v\"",
        "'",
        "\"",
        "`",
        "(",
        ")",
        "[",
        "]",
        ",",
        ".",
        ";",
        "1",
        "1.5e3",
        "-",
        "*",
        "::",
        ":=",
        "--",
        "/*",
        "*/",
        "# ",
        "\\",
        "é",
        "\n",
        " ",
        "%s",
        "('a',",
        "DESC",
        "GO",
        "WHERE",
    ]);
    prop::collection::vec((scrap, prop::sample::select(vec!["", " "])), 0..40)
        .prop_map(|scraps| scraps.into_iter().flat_map(|(scrap, gap)| [scrap, gap]).collect())
}

proptest! {
    #[test]
    fn any_text_gets_a_verdict(text in any::<String>()) {
        judge(&text);
    }

    #[test]
    fn any_near_miss_gets_a_verdict(text in scraps()) {
        judge(&text);
    }
}

#[test]
fn the_worst_texts_take_no_longer_than_their_length() {
    let units = [
        "'", "\"", "`", "\\'", "(", "[", "/*", "1", "a ", "a.", "a   ", "''", "-", "a=", "a,", "a=1 ", "$",
        "%(",
    ];
    let mut texts: Vec<String> = units.iter().map(|unit| unit.repeat(MAX_BYTES / unit.len())).collect();
    texts.push(format!("run_id IN ({}", "'a".repeat(30_000)));
    texts.push(format!("run_id IN {}{}", "(".repeat(4_000), ")".repeat(4_000)));
    for text in texts {
        let start = Instant::now();
        let _ = parse_filter(Kind::Runs, &text);
        let _ = parse_order_by(Kind::Runs, &text);
        // A second or so unoptimised; what grows with the square takes minutes.
        assert!(start.elapsed() < Duration::from_secs(20), "{:?}… took {:?}", &text[..8], start.elapsed());
    }
}

#[test]
fn a_sign_among_the_letters_of_the_pattern_is_a_name_of_its_own() {
    for text in ["×(", "a.×", "a.× = 1", "×", "÷(", "tags.×(1)"] {
        judge(text);
    }
}

#[test]
fn a_text_beyond_the_limit_is_refused() {
    let text = "x".repeat(MAX_BYTES + 1);
    assert!(matches!(parse_filter(Kind::Runs, &text), Err(FilterError::Invalid(_))));
    assert!(matches!(parse_order_by(Kind::Runs, &text), Err(FilterError::Invalid(_))));
}

#[test]
fn a_field_stands_once_in_a_list_of_orders() {
    let error = parse_order_by_list(Kind::Runs, &["created", "attributes.start_time DESC"]).unwrap_err();
    assert_eq!(error.code(), "INTERNAL_ERROR");
    assert_eq!(
        error.to_string(),
        "`order_by` contains duplicate fields: ['created', 'attributes.start_time DESC']"
    );
    assert_eq!(parse_order_by_list(Kind::Runs, &["metrics.a", "params.a"]).map(|orders| orders.len()), Ok(2));
}

#[test]
fn the_store_refuses_comparators_that_the_parser_lets_pass() {
    for (kind, text, message) in [
        (
            Kind::Runs,
            "metrics.a == 1",
            "Invalid comparator '==' not one of '{'!=', '<', '<=', '=', '>', '>='}",
        ),
        (
            Kind::Runs,
            "dataset.name > 'x'",
            "Invalid comparator '>' not one of '{'!=', '=', 'ILIKE', 'IN', 'LIKE', 'NOT IN'}",
        ),
        (
            Kind::Runs,
            "params.a > 'x'",
            "Invalid comparator '>' not one of '{'!=', '=', 'ILIKE', 'IS NOT NULL', 'IS NULL', 'LIKE'}'",
        ),
        (Kind::Experiments, "tags.k > 'v'", "Invalid comparator for tag: >"),
        (
            Kind::Experiments,
            "creation_time > 1.5",
            "Invalid value for numeric attribute 'creation_time': '1.5'",
        ),
        (Kind::RegisteredModels, "name > 'x'", "Invalid comparator for attribute: >"),
        (
            Kind::ModelVersions,
            "version_number LIKE 1",
            "Invalid comparator for attribute version_number: LIKE",
        ),
        (Kind::Traces, "issue.id != 'x'", "issue.id comparator '!=' not one of '{'='}'"),
    ] {
        assert_eq!(parse_filter(kind, text).unwrap_err().to_string(), message, "{text}");
    }
}
