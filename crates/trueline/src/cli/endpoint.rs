//! `trueline endpoint` and `trueline rollback`: what answers predictions.

use super::client::Client;
use super::{Connection, table};
use anyhow::{Context, bail};
use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};
use trueline_pipelines::Span;
use trueline_serving::KeepLog;

#[derive(Subcommand)]
pub(crate) enum EndpointCommand {
    /// Make an endpoint; nothing answers there until a version is deployed
    Create(CreateArgs),
    /// Have versions answer: model/3 or model@alias, with :weight behind it for a share of the traffic
    Deploy(DeployArgs),
    /// Declare what of an endpoint's predictions is logged; shows it when nothing is declared
    Log(LogArgs),
    /// List endpoints
    List(Connection),
    /// Show an endpoint: what answers, how it does, what answered before
    Show {
        /// Name of the endpoint
        name: String,
        #[command(flatten)]
        connection: Connection,
    },
}

#[derive(Args)]
pub(crate) struct CreateArgs {
    /// Name: lower-case letters, digits, inner hyphens
    name: String,
    /// Whether an answer waits until its record in the prediction log is durable
    #[arg(long, value_enum, default_value = "best-effort")]
    log: Log,
    /// Header whose value makes a caller stay with one variant; `x-trueline-key` always does
    #[arg(long)]
    sticky_header: Option<String>,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Clone, Copy, ValueEnum)]
enum Log {
    /// An answer leaves only when its record is durable, else 503
    Required,
    /// An answer never waits; what could not be logged is counted
    BestEffort,
}

#[derive(Args)]
pub(crate) struct DeployArgs {
    /// Name of the endpoint
    name: String,
    /// Versions that are to answer, such as delays/3, delays@champion or delays/4:10
    #[arg(required = true)]
    variants: Vec<String>,
    /// Go on to the version that an alias points at whenever it moves
    #[arg(long)]
    follow: bool,
    /// Why, for the ledger
    #[arg(long, default_value = "")]
    reason: String,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Args)]
pub(crate) struct LogArgs {
    /// Name of the endpoint
    name: String,
    /// Share of predictions to log, from 0.000001 to 1
    #[arg(long)]
    sample: Option<f64>,
    /// What is drawn: each prediction by its id, or each caller by its key
    #[arg(long, value_enum)]
    sample_by: Option<SampleBy>,
    /// Whether requests that failed are drawn like others; all of them are logged else
    #[arg(long)]
    sample_failures: Option<bool>,
    /// Columns that are not logged as they are, such as ssn,email=hash: `drop`, the usual, leaves a value out, `hash` puts a
    /// keyed hash in its place, `keep` logs it again; `x-trueline-key` stands for the caller's key
    #[arg(long, value_delimiter = ',')]
    redact: Vec<String>,
    /// Days for which predictions are kept, `forever`, or `default` for as long as the server keeps them where nothing is
    /// declared; what is older is deleted
    #[arg(long, value_name = "DAYS", value_parser = keep_days)]
    keep_days: Option<KeepLog>,
    /// Why, for the ledger
    #[arg(long, default_value = "")]
    reason: String,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Clone, Copy, ValueEnum)]
enum SampleBy {
    /// Each prediction by its id
    Id,
    /// Each caller by the key that it stays with one variant by
    Key,
}

#[derive(Args)]
pub(crate) struct RollbackArgs {
    /// Name of the endpoint
    endpoint: String,
    /// Why, for the ledger
    #[arg(long, default_value = "")]
    reason: String,
    #[command(flatten)]
    connection: Connection,
}

pub(crate) fn run(command: EndpointCommand) -> anyhow::Result<()> {
    match command {
        EndpointCommand::Create(args) => {
            let log = if matches!(args.log, Log::Required) { "required" } else { "best-effort" };
            let ask = json!({ "name": args.name, "log": log, "sticky_header": args.sticky_header });
            let made = Client::new(&args.connection).send("POST", "/api/v1/endpoints", &ask)?;
            tell(&args.connection, &made);
            if !args.connection.json {
                table::note(format!(
                    "deploy a version to it: trueline endpoint deploy {} <model>/<version>",
                    args.name
                ));
            }
        }
        EndpointCommand::Deploy(args) => {
            let ask = json!({ "variants": args.variants, "reason": args.reason, "follow": args.follow });
            let path = format!("/api/v1/endpoints/{}/routes", args.name);
            tell(&args.connection, &Client::new(&args.connection).send("POST", &path, &ask)?);
        }
        EndpointCommand::Log(args) => log(&args)?,
        EndpointCommand::List(connection) => {
            let all = Client::new(&connection).get("/api/v1/endpoints")?;
            if connection.json {
                table::json(&all);
            } else {
                show(all["endpoints"].as_array().map(Vec::as_slice).unwrap_or_default());
            }
        }
        EndpointCommand::Show { name, connection } => {
            let client = Client::new(&connection);
            let endpoint = client.get(&format!("/api/v1/endpoints/{name}"))?;
            let routes = client.get(&format!("/api/v1/endpoints/{name}/routes?limit=20"))?;
            if connection.json {
                table::json(&json!({ "endpoint": endpoint, "routes": routes["routes"] }));
                return Ok(());
            }
            show(std::slice::from_ref(&endpoint));
            live(&endpoint);
            table::line("");
            show_logged(&endpoint["logged"]);
            left_out(&endpoint);
            not_followed(&endpoint);
            history(&routes);
        }
    }
    Ok(())
}

pub(crate) fn roll_back(args: &RollbackArgs) -> anyhow::Result<()> {
    let path = format!("/api/v1/endpoints/{}/rollbacks", args.endpoint);
    let done = Client::new(&args.connection).send("POST", &path, &json!({ "reason": args.reason }))?;
    tell(&args.connection, &done);
    Ok(())
}

fn tell(connection: &Connection, endpoint: &Value) {
    if connection.json {
        table::json(endpoint);
    } else {
        show(std::slice::from_ref(endpoint));
    }
}

/// What is not said stays as it is declared.
fn log(args: &LogArgs) -> anyhow::Result<()> {
    let client = Client::new(&args.connection);
    let mut endpoint = client.get(&format!("/api/v1/endpoints/{}", args.name))?;
    if let Some(mut ask) = declared(args, &endpoint["log_rules"])? {
        ask["reason"] = json!(args.reason);
        endpoint = client.send("PUT", &format!("/api/v1/endpoints/{}/log", args.name), &ask)?;
    }
    if args.connection.json {
        table::json(&json!({ "log_rules": endpoint["log_rules"], "logged": endpoint["logged"] }));
    } else {
        show_log(&endpoint);
    }
    Ok(())
}

/// What is to be in force after this; none when nothing is declared.
fn declared(args: &LogArgs, rules: &Value) -> anyhow::Result<Option<Value>> {
    let mut ask = rules.clone();
    ask.as_object_mut()
        .context("the server does not tell what it logs: is it older than this?")?
        .remove("since");
    let before = ask.clone();
    if let Some(share) = args.sample {
        ask["sample"] = json!(share);
    }
    if let Some(by) = args.sample_by {
        ask["sample_by"] = json!(if matches!(by, SampleBy::Key) { "key" } else { "id" });
    }
    if let Some(on) = args.sample_failures {
        ask["sample_failures"] = json!(on);
    }
    if let Some(keep) = args.keep_days {
        ask["keep_days"] = json!(keep);
    }
    for column in &args.redact {
        let (name, how) = column.rsplit_once('=').unwrap_or((column, "drop"));
        let columns = ask["redact"].as_object_mut().context("the server tells no columns")?;
        match how {
            "drop" | "hash" => drop(columns.insert(name.to_owned(), json!(how))),
            "keep" => drop(columns.remove(name)),
            _ => bail!("`{how}` is no way to redact `{name}`: write {name}=drop, {name}=hash or {name}=keep"),
        }
    }
    Ok((ask != before).then_some(ask))
}

fn keep_days(text: &str) -> Result<KeepLog, String> {
    KeepLog::try_from(text.parse::<u64>().map_or_else(|_| json!(text), |days| json!(days)))
}

/// `90d`, `for ever`, or what the server does.
fn kept(endpoint: &Value) -> String {
    let (declared, in_force) = (&endpoint["log_rules"]["keep_days"], &endpoint["logged"]["kept_ms"]);
    let span = in_force.as_i64().and_then(|ms| Span::parse(&format!("{ms}ms")));
    let time = span.map_or_else(|| "for ever".to_owned(), |span| span.to_string());
    if declared == "default" { format!("{time} (the server's)") } else { time }
}

fn show_log(endpoint: &Value) {
    let (rules, logged) = (&endpoint["log_rules"], &endpoint["logged"]);
    let redact: Vec<String> = rules["redact"]
        .as_object()
        .map(|columns| {
            columns
                .iter()
                .map(|(name, _)| format!("{name}={}", table::cell(&rules["redact"], name)))
                .collect()
        })
        .unwrap_or_default();
    let columns = if redact.is_empty() { "none".to_owned() } else { redact.join(", ") };
    let failures = if rules["sample_failures"] == true { "drawn, too" } else { "all" };
    let row = vec![
        table::cell(endpoint, "log"),
        format!("{} by {}", rules["sample"], table::cell(rules, "sample_by")),
        failures.to_owned(),
        columns,
        kept(endpoint),
    ];
    table::rows(&["LOG", "SHARE", "FAILURES", "REDACTED", "KEPT"], &[row]);
    table::line("");
    show_logged(logged);
}

/// What is there, what was lost, and what was deleted because it was old enough.
fn show_logged(logged: &Value) {
    let numbers = ["records", "bytes", "segments", "oldest", "deleted_until", "dropped", "failed_appends"];
    let head =
        ["RECORDS", "BYTES", "SEGMENTS", "OLDEST", "DELETED UNTIL", "LOST SINCE THE START", "FAILED APPENDS"];
    table::rows(&head, &[numbers.map(|field| table::cell(logged, field)).to_vec()]);
}

/// `delays/3 90 %, delays/4 10 %`
fn shares(variants: &Value) -> String {
    let variants = variants.as_array().map(Vec::as_slice).unwrap_or_default();
    let total: f64 = variants.iter().filter_map(|v| v["weight"].as_f64()).sum();
    let share = |v: &Value| {
        let percent = v["weight"].as_f64().unwrap_or_default() / total * 100.0;
        let alias = v["follows"].as_str().map(|a| format!(" (@{a})")).unwrap_or_default();
        format!("{}{alias} {percent:.4} %", table::cell(v, "version")).replace(".0000", "")
    };
    match variants {
        [] => "nothing yet".to_owned(),
        some => some.iter().map(share).collect::<Vec<_>>().join(", "),
    }
}

fn show(endpoints: &[Value]) {
    let row = |e: &Value| {
        let generation = table::cell(&e["route"], "generation");
        let log = table::cell(e, "log");
        vec![
            table::cell(e, "name"),
            generation,
            shares(&e["route"]["variants"]),
            log,
            table::cell(e, "invocations_path"),
        ]
    };
    let rows: Vec<Vec<String>> = endpoints.iter().map(row).collect();
    table::rows(&["ENDPOINT", "GENERATION", "ANSWERED BY", "LOG", "PATH"], &rows);
}

/// How each version does, and last the endpoint as a whole when that is more than one version. Requests that reach no version
/// are told of the endpoint alone.
fn live(endpoint: &Value) {
    let live = &endpoint["live"];
    let variants = live["variants"].as_array().map(Vec::as_slice).unwrap_or_default();
    table::line("");
    let since = |v: &Value| {
        let mut cells = ["version", "requests", "errors", "heap_bytes"].map(|field| table::cell(v, field));
        if v["loaded"] == false {
            cells[3] = format!("asleep, {} when loaded", cells[3]);
        }
        cells.to_vec()
    };
    let rows: Vec<Vec<String>> = variants.iter().map(since).collect();
    table::rows(&["VARIANT", "REQUESTS", "ERRORS", "BYTES IN MEMORY"], &rows);
    if variants.is_empty() {
        return;
    }
    table::line("");
    let mut rows: Vec<Vec<String>> = variants.iter().map(|v| lately(&table::cell(v, "version"), v)).collect();
    rows.push(lately("together", live));
    let heads =
        ["LAST 15 MINUTES", "REQUESTS/S NOW", "REQUESTS", "P50 MS", "P95 MS", "P99 MS", "NOT ANSWERED"];
    table::rows(&heads, &rows);
}

/// `delays/3`, its figures of late, `input 3, timed_out 1`
fn lately(name: &str, of: &Value) -> Vec<String> {
    let whole = &of["last_15_minutes"];
    let errors = whole["errors"].as_object().map(|causes| {
        causes.iter().map(|(cause, count)| format!("{cause} {count}")).collect::<Vec<_>>().join(", ")
    });
    let mut row =
        vec![name.to_owned(), table::cell(&of["last_minute"], "per_second"), table::cell(whole, "requests")];
    row.extend(["p50", "p95", "p99"].map(|quantile| table::cell(&whole["latency_ms"], quantile)));
    row.push(errors.filter(|told| !told.is_empty()).unwrap_or_else(|| "none".to_owned()));
    row
}

/// Says why nothing answers that should.
fn left_out(endpoint: &Value) {
    if let Some(why) = endpoint["left_out"].as_str() {
        table::line("");
        table::line(format!("it does not answer, and is tried again every second: {why}"));
    }
}

/// Says why what an alias points at does not answer.
fn not_followed(endpoint: &Value) {
    if let Some(why) = endpoint["not_followed"]["why"].as_str() {
        let cell = |field| table::cell(&endpoint["not_followed"], field);
        table::line("");
        table::line(format!("{} points at {}, which does not answer: {why}", cell("alias"), cell("version")));
    }
}

fn history(routes: &Value) {
    let row = |r: &Value| {
        let who = ["generation", "changed_at", "changed_by", "change"].iter().map(|f| table::cell(r, f));
        who.chain([shares(&r["variants"]), table::cell(r, "reason")]).collect()
    };
    let rows: Vec<Vec<String>> =
        routes["routes"].as_array().map(|all| all.iter().map(row).collect()).unwrap_or_default();
    table::line("");
    table::rows(&["GENERATION", "AT", "WHO", "WHAT", "ANSWERED BY", "WHY"], &rows);
}
