//! The tables of a replay, read into memory as the texts that are sent, in the order of their times.

use anyhow::{Context, bail};
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde_json::{Map, Value};
use std::io::{BufRead, BufReader};
use std::path::Path;
use trueline_query::{Format, Part, infer, json_column, scan};

type Record = Map<String, Value>;

/// Which columns of the table mean what.
pub(super) struct Subject<'a> {
    pub(super) event_time: &'a str,
    pub(super) label: Option<&'a str>,
    pub(super) label_time: Option<&'a str>,
    pub(super) label_delay_us: i64,
    pub(super) columns: &'a [String],
    pub(super) key: Option<&'a str>,
}

/// A row that is asked about.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Asked {
    /// Its place in the table, from 0.
    pub(super) number: u64,
    pub(super) at_us: i64,
    /// What is sent, as JSON.
    pub(super) record: Box<str>,
    pub(super) key: Option<Box<str>>,
    pub(super) truth: Option<Truth>,
}

/// A label and when it is told.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Truth {
    pub(super) at_us: i64,
    /// As JSON.
    pub(super) value: Box<str>,
}

/// Rows of a feature view, in the order of their times.
#[derive(Debug)]
pub(super) struct Feed {
    pub(super) view: String,
    pub(super) rows: Vec<Told>,
}

/// A row of features.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) at_us: i64,
    /// As JSON.
    pub(super) record: Box<str>,
}

/// The rows to ask about, by event time; rows of one time in the order of the table.
pub(super) fn subjects(path: &Path, subject: &Subject<'_>) -> anyhow::Result<Vec<Asked>> {
    let mut rows = Vec::new();
    each(path, |number, mut record| {
        let at_us = required_time(&record, subject.event_time)?;
        let truth = truth(&mut record, subject, at_us)?;
        let key = subject.key.and_then(|k| record.get(k)).filter(|v| !v.is_null()).map(plain);
        if !subject.columns.is_empty() {
            record = only(&record, subject.columns)?;
        }
        let record = Value::Object(record).to_string().into();
        rows.push(Asked { number, at_us, record, key, truth });
        Ok(())
    })?;
    rows.sort_by_key(|r| r.at_us);
    Ok(rows)
}

/// Takes the label out of a record, so that it is not sent with the question.
fn truth(record: &mut Record, subject: &Subject<'_>, at_us: i64) -> anyhow::Result<Option<Truth>> {
    let Some(label) = subject.label else { return Ok(None) };
    let value = record.remove(label).with_context(|| format!("there is no column `{label}`"))?;
    let known = match subject.label_time {
        Some(column) => {
            let time = record.remove(column).with_context(|| format!("there is no column `{column}`"))?;
            if !value.is_null() && time.is_null() {
                bail!("a label has no time in `{column}`");
            }
            if time.is_null() { at_us } else { time_of(&time, column)? }
        }
        None => at_us,
    };
    if value.is_null() {
        return Ok(None);
    }
    Ok(Some(Truth { at_us: known.saturating_add(subject.label_delay_us), value: value.to_string().into() }))
}

/// A view's rows by the time at which they became known.
pub(super) fn feed(view: &str, path: &Path, time: &str, columns: &[String]) -> anyhow::Result<Feed> {
    let mut rows = Vec::new();
    each(path, |_, record| {
        let at_us = required_time(&record, time)?;
        rows.push(Told { at_us, record: Value::Object(only(&record, columns)?).to_string().into() });
        Ok(())
    })?;
    rows.sort_by_key(|r| r.at_us);
    Ok(Feed { view: view.to_owned(), rows })
}

fn only(record: &Record, columns: &[String]) -> anyhow::Result<Record> {
    let pick = |name: &String| {
        let value = record.get(name).with_context(|| format!("there is no column `{name}`"))?;
        Ok((name.clone(), value.clone()))
    };
    columns.iter().map(pick).collect()
}

/// A value as a header's text.
fn plain(value: &Value) -> Box<str> {
    match value {
        Value::String(text) => text.as_str().into(),
        other => other.to_string().into(),
    }
}

/// Hands every row of a table to `take` with its number.
fn each(path: &Path, mut take: impl FnMut(u64, Record) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let name = path.display().to_string();
    let mut number = 0;
    let mut next = |record: Record| {
        take(number, record).with_context(|| format!("{name}, row {}", number + 1))?;
        number += 1;
        anyhow::Ok(())
    };
    if let Some(format) = Format::of_name(&name) {
        let part = Part { name: name.clone(), path: path.to_owned(), format };
        let schema = infer(std::slice::from_ref(&part)).with_context(|| format!("can't read {name}"))?;
        for batch in scan(vec![part], &schema, None)? {
            let batch = batch?;
            let mut columns = Vec::new();
            for (field, array) in schema.fields().iter().zip(batch.columns()) {
                columns.push((field.name(), json_column(field.name(), array)?.into_iter()));
            }
            for _ in 0..batch.num_rows() {
                let cell = |(name, values): &mut (&String, std::vec::IntoIter<Value>)| {
                    (name.clone(), values.next().unwrap_or_default())
                };
                next(columns.iter_mut().map(cell).collect())?;
            }
        }
        return Ok(());
    }
    if !name.ends_with(".jsonl") {
        bail!("{name} is of no known format: it must end in .csv, .csv.gz, .parquet or .jsonl");
    }
    let file = std::fs::File::open(path).with_context(|| format!("can't read {name}"))?;
    for line in BufReader::new(file).lines() {
        let line = line?;
        if !line.trim().is_empty() {
            next(serde_json::from_str(&line).with_context(|| format!("{name}: `{line}` is no object"))?)?;
        }
    }
    Ok(())
}

fn required_time(record: &Record, column: &str) -> anyhow::Result<i64> {
    let value = record.get(column).with_context(|| format!("there is no column `{column}`"))?;
    time_of(value, column)
}

fn time_of(value: &Value, column: &str) -> anyhow::Result<i64> {
    match value {
        Value::String(text) => time_of_text(text).with_context(|| format!("column `{column}`")),
        other => bail!("column `{column}`: {other} is no time: write it as RFC 3339"),
    }
}

/// A time as RFC 3339, or a date with or without a time of day, which is UTC; in microseconds since 1970.
pub(super) fn time_of_text(text: &str) -> anyhow::Result<i64> {
    let at = text.parse::<Timestamp>().ok().or_else(|| {
        let civil: DateTime = text.parse().ok()?;
        Some(civil.to_zoned(TimeZone::UTC).ok()?.timestamp())
    });
    let at =
        at.with_context(|| format!("`{text}` is no time: write it as RFC 3339, 2013-07-01T12:00:00Z"))?;
    Ok(at.as_microsecond())
}

/// A time as RFC 3339.
pub(super) fn text_of_time(us: i64) -> String {
    Timestamp::from_microsecond(us).map_or_else(|_| us.to_string(), |t| t.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(name: &str, text: &str) -> (tempfile::TempDir, std::path::PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        (folder, path)
    }

    const SUBJECT: Subject<'static> = Subject {
        event_time: "t",
        label: Some("y"),
        label_time: Some("known"),
        label_delay_us: 1_000_000,
        columns: &[],
        key: Some("k"),
    };

    #[test]
    fn rows_come_by_time_without_their_labels_from_csv_and_json_lines_alike() {
        let csv =
            "t,k,x,y,known\n1970-01-01T00:00:09Z,b,2.5,1,1970-01-01T00:00:20Z\n1970-01-01T00:00:05Z,a,,,\n";
        let lines = concat!(
            r#"{"t": "1970-01-01T00:00:09Z", "k": "b", "x": 2.5, "y": 1, "known": "1970-01-01T00:00:20Z"}"#,
            "\n\n",
            r#"{"t": "1970-01-01T00:00:05Z", "k": "a", "x": null, "y": null, "known": null}"#
        );
        let (_keep, csv) = written("rows.csv", csv);
        let (_keep_too, lines) = written("rows.jsonl", lines);
        let rows = subjects(&csv, &SUBJECT).unwrap();
        assert_eq!(rows, subjects(&lines, &SUBJECT).unwrap());
        assert_eq!((rows[0].number, rows[0].at_us, &rows[0].truth), (1, 5_000_000, &None));
        let sent: Value = serde_json::from_str(&rows[0].record).unwrap();
        assert_eq!(sent, serde_json::json!({ "t": "1970-01-01T00:00:05Z", "k": "a", "x": null }));
        let truth = Truth { at_us: 21_000_000, value: "1".into() };
        assert_eq!((rows[1].truth.as_ref(), rows[1].key.as_deref()), (Some(&truth), Some("b")));
    }

    #[test]
    fn what_is_wrong_with_a_table_is_told_with_its_row() {
        let told = |name: &str, text: &str| {
            let (_keep, path) = written(name, text);
            format!("{:#}", subjects(&path, &SUBJECT).unwrap_err())
        };
        assert!(told("a.csv", "t,k,y\n1970-01-01,a,1\n").contains("row 1: there is no column `known`"));
        assert!(told("a.csv", "t,y,known\n1970-01-01,1,\n").contains("a label has no time in `known`"));
        assert!(told("a.jsonl", r#"{"t": "noon"}"#).contains("`noon` is no time"));
        assert!(told("a.jsonl", "[]").contains("is no object"));
        assert!(told("a.xlsx", "").contains("no known format"));
    }
}
