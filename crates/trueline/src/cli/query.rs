//! `trueline query`: SQL over the prediction log, as a table, CSV, JSON or a Parquet file.

use super::client::Client;
use super::{Connection, table};
use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use serde_json::{Value, json};
use std::fs::File;
use std::io::{IsTerminal, Write, stdout};
use std::path::PathBuf;
use std::sync::Arc;
use trueline_query::arrow_array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
use trueline_query::{ParquetFile, QueryError};

#[derive(Args)]
pub(crate) struct QueryArgs {
    /// One SELECT over the tables `predictions` and `labels`, in SQLite's words
    sql: String,
    /// Predictions of this endpoint only
    #[arg(long)]
    endpoint: Option<String>,
    /// Predictions from this event time on only, such as 2026-01-31T12:00:00Z
    #[arg(long)]
    since: Option<String>,
    /// Predictions before this event time only
    #[arg(long)]
    until: Option<String>,
    /// Rows at most
    #[arg(long, default_value_t = 1_000)]
    limit: u32,
    /// How the answer is written; --json is --format json
    #[arg(long, value_enum, default_value = "table")]
    format: Format,
    /// File to write to instead of standard output
    #[arg(long, short)]
    out: Option<PathBuf>,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Format {
    /// For people
    Table,
    /// Comma-separated values with a header
    Csv,
    /// A list of objects
    Json,
    /// Apache Parquet
    Parquet,
}

pub(crate) fn run(args: &QueryArgs) -> anyhow::Result<()> {
    let format = if args.connection.json { Format::Json } else { args.format };
    if format == Format::Parquet && args.out.is_none() && stdout().is_terminal() {
        bail!("Parquet is nothing to look at: name a file with --out, or lead the output into one");
    }
    let ask = json!({
        "sql": args.sql, "endpoint": args.endpoint, "since": args.since, "until": args.until, "limit": args.limit,
    });
    let told = Client::new(&args.connection).send("POST", "/api/v1/queries", &ask)?;
    let answer = Answer::of(&told).context("the server's answer is none")?;
    match &args.out {
        None => write(&answer, format, stdout())?,
        Some(path) => {
            let file = File::create(path).with_context(|| format!("can't write {}", path.display()))?;
            write(&answer, format, file)?;
        }
    }
    if told["truncated"] == true {
        table::note(format!("there are more rows than {}: ask for more with --limit", args.limit));
    }
    Ok(())
}

struct Answer {
    columns: Vec<String>,
    rows: Vec<Vec<Value>>,
}

impl Answer {
    fn of(told: &Value) -> Option<Self> {
        let columns = told["columns"].as_array()?.iter().map(|c| c.as_str().map(str::to_owned));
        let columns = columns.collect::<Option<_>>()?;
        let rows =
            told["rows"].as_array()?.iter().map(|row| row.as_array().cloned()).collect::<Option<_>>()?;
        Some(Self { columns, rows })
    }
}

fn write(answer: &Answer, format: Format, to: impl Write + Send) -> anyhow::Result<()> {
    match format {
        Format::Table => text_table(answer, to),
        Format::Csv => csv(answer, to),
        Format::Json => objects(answer, to),
        Format::Parquet => Ok(parquet(answer, to)?),
    }
}

/// A value without JSON's quotes.
fn bare(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn text_table(answer: &Answer, mut to: impl Write) -> anyhow::Result<()> {
    let cells: Vec<Vec<String>> = answer.rows.iter().map(|row| row.iter().map(bare).collect()).collect();
    let headings: Vec<&str> = answer.columns.iter().map(String::as_str).collect();
    Ok(to.write_all(table::aligned(&headings, &cells).as_bytes())?)
}

fn csv(answer: &Answer, to: impl Write) -> anyhow::Result<()> {
    let mut writer = csv::Writer::from_writer(to);
    writer.write_record(&answer.columns)?;
    for row in &answer.rows {
        writer.write_record(row.iter().map(bare))?;
    }
    Ok(writer.flush()?)
}

fn objects(answer: &Answer, mut to: impl Write) -> anyhow::Result<()> {
    let object = |row: &Vec<Value>| -> Value {
        answer.columns.iter().cloned().zip(row.iter().cloned()).collect::<serde_json::Map<_, _>>().into()
    };
    let all: Vec<Value> = answer.rows.iter().map(object).collect();
    serde_json::to_writer_pretty(&mut to, &all)?;
    Ok(writeln!(to)?)
}

/// Whole numbers, numbers or texts: what all values of a column are.
fn column(answer: &Answer, at: usize) -> ArrayRef {
    let values = || answer.rows.iter().map(|row| row.get(at).filter(|v| !v.is_null()));
    if values().flatten().all(Value::is_i64) {
        return Arc::new(values().map(|v| v.and_then(Value::as_i64)).collect::<Int64Array>());
    }
    if values().flatten().all(Value::is_number) {
        return Arc::new(values().map(|v| v.and_then(Value::as_f64)).collect::<Float64Array>());
    }
    Arc::new(values().map(|v| v.map(bare)).collect::<StringArray>())
}

fn parquet(answer: &Answer, to: impl Write + Send) -> Result<(), QueryError> {
    let columns = answer.columns.iter().enumerate().map(|(at, name)| (name, column(answer, at), true));
    let batch = RecordBatch::try_from_iter_with_nullable(columns)?;
    let mut file = ParquetFile::begin(to, batch.schema())?;
    file.append(&batch)?;
    file.finish().map(drop)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn written(format: Format) -> String {
        let told = json!({ "columns": ["id", "x"], "rows": [["a,b", 1.5], [null, 2]] });
        let mut out = Vec::new();
        write(&Answer::of(&told).unwrap(), format, &mut out).unwrap();
        String::from_utf8_lossy(&out).into_owned()
    }

    #[test]
    fn answers_are_written_as_they_are_asked_for() {
        assert_eq!(written(Format::Csv), "id,x\n\"a,b\",1.5\n,2\n");
        assert_eq!(written(Format::Table), "id   x\na,b  1.5\n     2\n");
        assert!(written(Format::Json).contains("\"id\": null"), "{}", written(Format::Json));
        assert!(written(Format::Parquet).starts_with("PAR1"));
    }
}
