//! `trueline features`: views declared in a file, training sets joined, the online store loaded, fed and read.

use super::client::Client;
use super::{Connection, table};
use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};
use std::io::BufRead;
use std::path::{Path, PathBuf};

/// Rows that are sent at once.
const PUSH_ROWS: usize = 5_000;

#[derive(Subcommand)]
pub(crate) enum FeaturesCommand {
    /// Declare the entities and views of a YAML or JSON file
    Apply {
        /// The file: `entities` and `views`, on their own or below `features`
        file: PathBuf,
        #[command(flatten)]
        connection: Connection,
    },
    /// List feature views
    List(Connection),
    /// Show a view with its loads
    Show {
        /// `view`, or a version of it, `view@2`
        view: String,
        #[command(flatten)]
        connection: Connection,
    },
    /// Make a training set: a dataset's rows with the features that were known at their times
    Join(JoinArgs),
    /// Load the newest rows of a view's dataset into the online store
    #[command(alias = "materialise")]
    Materialize {
        /// `view`, or a version of it, `view@2`
        view: String,
        /// Rows from this time on (RFC 3339)
        #[arg(long)]
        start: Option<String>,
        /// Rows up to this time (RFC 3339)
        #[arg(long)]
        end: Option<String>,
        #[command(flatten)]
        connection: Connection,
    },
    /// Push rows into the online store: JSON objects, one a line
    Push {
        /// `view`, or a version of it, `view@2`
        view: String,
        /// The file; standard input when left out
        file: Option<PathBuf>,
        #[command(flatten)]
        connection: Connection,
    },
    /// Read the newest features of a key
    Get {
        /// `view`, or a version of it, `view@2`
        view: String,
        /// The key, each column as `name=value`
        #[arg(required = true)]
        keys: Vec<String>,
        /// The time at which the features must still be true (RFC 3339)
        #[arg(long)]
        at: Option<String>,
        #[command(flatten)]
        connection: Connection,
    },
}

#[derive(Args)]
pub(crate) struct JoinArgs {
    /// Dataset whose rows are joined: `flights`, `flights@3`
    rows: String,
    /// Name of the dataset that the training set becomes a version of
    #[arg(long)]
    name: String,
    /// Column that says as of when a row must know its features
    #[arg(long)]
    timestamp: String,
    /// View to join: `weather`, `weather@2`, or `weather:temp,wind` for some of its features; may be given more than once
    #[arg(long = "view", required = true)]
    views: Vec<String>,
    /// Call features `view__feature`
    #[arg(long)]
    full_names: bool,
    #[command(flatten)]
    connection: Connection,
}

pub(crate) fn run(command: FeaturesCommand) -> anyhow::Result<()> {
    match command {
        FeaturesCommand::Apply { file, connection } => apply(&file, &connection),
        FeaturesCommand::List(connection) => list(&connection),
        FeaturesCommand::Show { view, connection } => show(&view, &connection),
        FeaturesCommand::Join(args) => join(&args),
        FeaturesCommand::Materialize { view, start, end, connection } => {
            let client = Client::new(&connection);
            let body = json!({ "start": start, "end": end });
            let accepted =
                client.send("POST", &format!("/api/v1/feature-views/{view}/materialisations"), &body)?;
            let done = client.follow(&accepted)?;
            report(&connection, &done, |d| {
                format!(
                    "{}: {} rows read, {} written",
                    table::cell(d, "view"),
                    d["rows_read"],
                    d["rows_written"]
                )
            });
            Ok(())
        }
        FeaturesCommand::Push { view, file, connection } => push(&view, file.as_deref(), &connection),
        FeaturesCommand::Get { view, keys, at, connection } => get(&view, &keys, at, &connection),
    }
}

/// Prints an answer as JSON or as one line.
fn report(connection: &Connection, answer: &Value, line: impl Fn(&Value) -> String) {
    if connection.json { table::json(answer) } else { table::line(line(answer)) }
}

/// The entities and views that a YAML or JSON file declares.
pub(crate) fn declaration(file: &Path) -> anyhow::Result<Value> {
    let text = std::fs::read_to_string(file).with_context(|| format!("can't read {}", file.display()))?;
    // YAML contains JSON.
    let mut declared: Value = serde_saphyr::from_str(&text)
        .with_context(|| format!("{} is neither YAML nor JSON", file.display()))?;
    if declared["features"].is_object() {
        declared = declared["features"].take();
    }
    if !declared.is_object() {
        bail!("{} declares no features: it needs `entities` and `views`", file.display());
    }
    Ok(declared)
}

fn apply(file: &Path, connection: &Connection) -> anyhow::Result<()> {
    let declared = declaration(file)?;
    let applied = Client::new(connection).send("POST", "/api/v1/feature-declarations", &declared)?;
    report(connection, &applied, |a| {
        let named = |key: &str| {
            let names = a[key].as_array().into_iter().flatten().filter_map(Value::as_str);
            names.collect::<Vec<_>>().join(", ")
        };
        let changed: Vec<String> = ["entities", "views"]
            .into_iter()
            .filter(|key| !named(key).is_empty())
            .map(|key| format!("{key} declared: {}", named(key)))
            .collect();
        let changed = if changed.is_empty() { "nothing to change".to_owned() } else { changed.join("; ") };
        format!("{changed} ({} as they were)", a["unchanged"])
    });
    Ok(())
}

fn words(value: &Value) -> String {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).collect::<Vec<_>>().join(", ")
}

fn list(connection: &Connection) -> anyhow::Result<()> {
    let answer = Client::new(connection).get("/api/v1/feature-views")?;
    if connection.json {
        table::json(&answer);
        return Ok(());
    }
    let row = |v: &Value| {
        let mut row: Vec<String> = ["reference", "dataset"].iter().map(|f| table::cell(v, f)).collect();
        row.extend([
            words(&v["join_keys"]),
            table::cell(v, "timestamp"),
            table::cell(v, "ttl"),
            words(&v["features"]),
        ]);
        row
    };
    let rows: Vec<Vec<String>> = answer["views"].as_array().into_iter().flatten().map(row).collect();
    table::rows(&["VIEW", "DATASET", "KEYS", "TIMESTAMP", "TTL", "FEATURES"], &rows);
    Ok(())
}

fn show(view: &str, connection: &Connection) -> anyhow::Result<()> {
    let answer = Client::new(connection).get(&format!("/api/v1/feature-views/{view}"))?;
    if connection.json {
        table::json(&answer);
        return Ok(());
    }
    table::line(format!("{} over {}", table::cell(&answer, "reference"), table::cell(&answer, "dataset")));
    table::line(format!("keys {}; features {}", words(&answer["join_keys"]), words(&answer["features"])));
    let fields = ["at", "version", "dataset", "dataset_number", "start", "end", "rows_read", "rows_written"];
    let row = |m: &Value| fields.iter().map(|f| table::cell(m, f)).collect();
    let rows: Vec<Vec<String>> =
        answer["materialisations"].as_array().into_iter().flatten().map(row).collect();
    table::rows(&["LOADED AT", "VIEW VERSION", "DATASET", "VERSION", "FROM", "TO", "READ", "WRITTEN"], &rows);
    Ok(())
}

/// `weather@2:temp,wind` as the API takes it.
fn choice(text: &str) -> Value {
    let (view, features) = text.split_once(':').unwrap_or((text, ""));
    let features: Vec<&str> = features.split(',').map(str::trim).filter(|f| !f.is_empty()).collect();
    json!({ "view": view, "features": features })
}

fn join(args: &JoinArgs) -> anyhow::Result<()> {
    let client = Client::new(&args.connection);
    let body = json!({
        "name": args.name, "rows": args.rows, "timestamp": args.timestamp,
        "views": args.views.iter().map(|v| choice(v)).collect::<Vec<_>>(), "full_feature_names": args.full_names,
    });
    let accepted = client.send("POST", "/api/v1/training-sets", &body)?;
    let made = client.follow(&accepted)?;
    if args.connection.json {
        table::json(&made);
        return Ok(());
    }
    for view in made["recipe"]["views"].as_array().into_iter().flatten() {
        table::note(format!(
            "{}@{}: {} of {} rows have a match",
            table::cell(view, "view"),
            view["version"],
            view["rows_matched"],
            made["rows"]
        ));
    }
    table::note(format!("{}@{}", args.name, made["number"]));
    table::line(table::cell(&made, "id"));
    Ok(())
}

fn push(view: &str, file: Option<&Path>, connection: &Connection) -> anyhow::Result<()> {
    let client = Client::new(connection);
    let lines: Box<dyn BufRead> = match file {
        Some(path) => Box::new(std::io::BufReader::new(
            std::fs::File::open(path).with_context(|| format!("can't read {}", path.display()))?,
        )),
        None => Box::new(std::io::stdin().lock()),
    };
    let (mut written, mut skipped) = (0, 0);
    let mut send = |rows: &mut Vec<Value>| -> anyhow::Result<()> {
        let body = json!({ "rows": std::mem::take(rows) });
        let pushed = client.send("POST", &format!("/api/v1/feature-views/{view}/rows"), &body)?;
        written += pushed["written"].as_u64().unwrap_or(0);
        skipped += pushed["skipped"].as_u64().unwrap_or(0);
        Ok(())
    };
    let mut rows = Vec::new();
    for (number, line) in lines.lines().enumerate() {
        let line = line?;
        if line.trim().is_empty() {
            continue;
        }
        rows.push(serde_json::from_str(&line).with_context(|| format!("line {} is no JSON", number + 1))?);
        if rows.len() == PUSH_ROWS {
            send(&mut rows)?;
        }
    }
    if !rows.is_empty() {
        send(&mut rows)?;
    }
    let done = json!({ "written": written, "skipped": skipped });
    report(connection, &done, |d| format!("{} rows written, {} not newer", d["written"], d["skipped"]));
    Ok(())
}

/// A key's value: a number or a truth value when it reads as one, else text.
fn key(text: &str) -> anyhow::Result<(String, Value)> {
    let (name, value) =
        text.split_once('=').with_context(|| format!("`{text}` is no key: write it as name=value"))?;
    let value = match serde_json::from_str::<Value>(value) {
        Ok(read @ (Value::Number(_) | Value::Bool(_) | Value::String(_))) => read,
        _ => json!(value),
    };
    Ok((name.to_owned(), value))
}

fn get(view: &str, keys: &[String], at: Option<String>, connection: &Connection) -> anyhow::Result<()> {
    let key = keys.iter().map(|k| key(k)).collect::<anyhow::Result<Map<_, _>>>()?;
    let body = json!({ "keys": [key], "at": at });
    let answer =
        Client::new(connection).send("POST", &format!("/api/v1/feature-views/{view}/lookups"), &body)?;
    let found = &answer["results"][0];
    if connection.json {
        table::json(found);
        return Ok(());
    }
    match found["values"].as_object() {
        Some(values) => {
            table::note(format!(
                "{} as of {}",
                table::cell(found, "status"),
                table::cell(found, "event_time")
            ));
            let rows: Vec<Vec<String>> =
                values.keys().map(|name| vec![name.clone(), table::cell(&found["values"], name)]).collect();
            table::rows(&["FEATURE", "VALUE"], &rows);
            Ok(())
        }
        None => bail!(
            "{} has no row for this key; load it with `trueline features materialize {view}`",
            table::cell(&answer, "view")
        ),
    }
}
