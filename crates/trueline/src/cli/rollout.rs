//! `trueline rollout`: a version takes over an endpoint in steps, or is taken off again.

use super::client::Client;
use super::rehearse::{self, RehearseArgs};
use super::{Connection, rollout_parts, table};
use anyhow::Context;
use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};

#[derive(Subcommand)]
pub(crate) enum RolloutCommand {
    /// Give a version a growing share of an endpoint's traffic, for as long as the numbers allow it
    Start(Box<StartArgs>),
    /// Put an endpoint's logged traffic to a version before anybody gets its answers, and tell what differs
    Rehearse(RehearseArgs),
    /// List rollouts, newest first
    List {
        /// Those of this endpoint alone
        #[arg(long)]
        endpoint: Option<String>,
        #[command(flatten)]
        connection: Connection,
    },
    /// Show a rollout: how far it is, its numbers, its decisions
    Show {
        /// Its id, or the name of an endpoint for its newest
        rollout: String,
        #[command(flatten)]
        connection: Connection,
    },
    /// End a rollout: what answered before answers alone again
    Cancel(EndArgs),
    /// End a rollout by having its version answer alone, whatever the numbers say
    Promote(EndArgs),
}

#[derive(Args)]
pub(crate) struct StartArgs {
    /// Name of the endpoint
    endpoint: String,
    /// The version, such as delays/4 or delays@challenger
    version: String,
    /// A file with the plan as the REST API takes it, in YAML or JSON; what is said besides goes before it
    #[arg(long)]
    plan: Option<PathBuf>,
    /// Shares of the traffic in percent, one step after the other [default: 5,20,50]
    #[arg(long, value_delimiter = ',')]
    steps: Vec<f64>,
    /// Before the first step, ask the version beside what answers, without anybody getting its answers
    #[arg(long)]
    shadow: bool,
    /// Share of the requests that it is asked in shadow, in percent [default: 100]
    #[arg(long)]
    shadow_share: Option<f64>,
    /// Requests in shadow before the first step [default: 100]
    #[arg(long)]
    shadow_requests: Option<u64>,
    /// Seconds in shadow before the first step [default: 60]
    #[arg(long)]
    shadow_seconds: Option<u64>,
    /// How far two numbers may lie apart and still be the same answer, in shadow [default: 0.05]
    #[arg(long)]
    tolerance: Option<f64>,
    /// The same as a share of what answers now; both are added [default: 0]
    #[arg(long)]
    tolerance_relative: Option<f64>,
    /// The share of requests that may be answered differently in shadow [default: 0.1]
    #[arg(long)]
    most_differing: Option<f64>,
    /// The share of requests that the version may fail in shadow [default: 0.01]
    #[arg(long)]
    most_failing: Option<f64>,
    /// Requests of the version in each step before the next [default: 100]
    #[arg(long)]
    step_requests: Option<u64>,
    /// Seconds of each step before the next [default: 60]
    #[arg(long)]
    step_seconds: Option<u64>,
    /// After so many seconds it is over [default: a day]
    #[arg(long)]
    longest_seconds: Option<u64>,
    /// What becomes of it then, when the numbers have not spoken [default: hold]
    #[arg(long, value_enum)]
    on_inconclusive: Option<OnInconclusive>,
    /// The chance of ever taking off a version that does no harm [default: 0.05]
    #[arg(long)]
    alpha: Option<f64>,
    /// How many times as often as before requests may fail [default: 1.5]
    #[arg(long)]
    margin_error_ratio: Option<f64>,
    /// How far the mean prediction may move [default: 0.03]
    #[arg(long)]
    margin_shift: Option<f64>,
    /// The same as a share of the mean before; the larger counts [default: 0]
    #[arg(long)]
    margin_shift_relative: Option<f64>,
    /// Where predictions lie, as low,high [default: 0,1]
    #[arg(long, value_delimiter = ',', num_args = 2, allow_negative_numbers = true)]
    prediction_range: Option<Vec<f64>>,
    /// How many times as long as before answers may take, at the 95th percentile [default: 1.5]
    #[arg(long)]
    margin_latency_ratio: Option<f64>,
    /// Answers below so many milliseconds are never slow [default: 1]
    #[arg(long)]
    latency_floor_ms: Option<f64>,
    /// Why, for the ledger
    #[arg(long, default_value = "")]
    reason: String,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Clone, Copy, ValueEnum)]
enum OnInconclusive {
    /// It waits for a person
    Hold,
    /// The version is taken off
    RollBack,
}

#[derive(Args)]
pub(crate) struct EndArgs {
    /// Its id
    rollout: String,
    /// Why, for the ledger
    #[arg(long, default_value = "")]
    reason: String,
    #[command(flatten)]
    connection: Connection,
}

impl StartArgs {
    /// The shadow; null when nothing of it was said.
    fn shadow(&self) -> Value {
        let tolerance =
            said([("absolute", json!(self.tolerance)), ("relative", json!(self.tolerance_relative))]);
        let mut shadow = said([
            ("share_percent", json!(self.shadow_share)),
            ("least_requests", json!(self.shadow_requests)),
            ("least_seconds", json!(self.shadow_seconds)),
            ("most_differing", json!(self.most_differing)),
            ("most_failing", json!(self.most_failing)),
        ]);
        if !tolerance.is_empty() {
            shadow.insert("tolerance".to_owned(), Value::Object(tolerance));
        }
        match self.shadow || !shadow.is_empty() {
            true => Value::Object(shadow),
            false => Value::Null,
        }
    }

    /// What was said, and nothing of what was not: the server has the defaults.
    fn plan(&self) -> Value {
        let shares = match self.steps.as_slice() {
            [] if self.step_requests.is_some() || self.step_seconds.is_some() => &[5.0, 20.0, 50.0],
            said => said,
        };
        let step = |share: &f64| {
            let minima = [("least_requests", self.step_requests), ("least_seconds", self.step_seconds)];
            let mut step = said(minima.map(|(name, value)| (name, json!(value))));
            step.insert("share_percent".to_owned(), json!(share));
            Value::Object(step)
        };
        let limits = said([
            ("alpha", json!(self.alpha)),
            ("error_ratio", json!(self.margin_error_ratio)),
            ("prediction_shift", json!(self.margin_shift)),
            ("prediction_shift_relative", json!(self.margin_shift_relative)),
            ("prediction_range", json!(self.prediction_range)),
            ("latency_ratio", json!(self.margin_latency_ratio)),
            ("latency_floor_ms", json!(self.latency_floor_ms)),
        ]);
        let word = |on| if matches!(on, OnInconclusive::Hold) { "hold" } else { "roll_back" };
        let mut plan = said([
            ("shadow", self.shadow()),
            ("longest_seconds", json!(self.longest_seconds)),
            ("on_inconclusive", json!(self.on_inconclusive.map(word))),
            ("limits", Value::Object(limits)),
        ]);
        if !shares.is_empty() {
            plan.insert("steps".to_owned(), shares.iter().map(step).collect());
        }
        Value::Object(plan)
    }
}

/// The plan of a file with what was said over it.
fn planned(file: Option<&Path>, said: Value) -> anyhow::Result<Value> {
    let Some(file) = file else { return Ok(said) };
    let text = std::fs::read_to_string(file).with_context(|| format!("{} can't be read", file.display()))?;
    let mut plan: Value = serde_saphyr::from_str(&text)
        .with_context(|| format!("{} is no plan: write it as YAML or JSON", file.display()))?;
    anyhow::ensure!(plan.is_object(), "{} is no plan: it has no fields", file.display());
    lay_over(&mut plan, said);
    Ok(plan)
}

/// Fields of objects one by one; anything else as a whole.
fn lay_over(under: &mut Value, over: Value) {
    match (under, over) {
        (Value::Object(under), Value::Object(over)) => {
            over.into_iter()
                .for_each(|(name, value)| lay_over(under.entry(name).or_insert(Value::Null), value));
        }
        (under, over) => *under = over,
    }
}

fn said<const N: usize>(fields: [(&str, Value); N]) -> Map<String, Value> {
    fields.into_iter().filter(|(_, v)| !v.is_null()).map(|(k, v)| (k.to_owned(), v)).collect()
}

pub(crate) fn run(command: RolloutCommand) -> anyhow::Result<()> {
    match command {
        RolloutCommand::Start(args) => {
            let plan = planned(args.plan.as_deref(), args.plan())?;
            let ask = json!({ "version": args.version, "plan": plan, "reason": args.reason });
            let path = format!("/api/v1/endpoints/{}/rollouts", args.endpoint);
            let started = Client::new(&args.connection).send("POST", &path, &ask)?;
            tell(&args.connection, &started);
            if !args.connection.json {
                table::note(format!("see how it does: trueline rollout show {}", args.endpoint));
            }
        }
        RolloutCommand::Rehearse(args) => rehearse::run(&args)?,
        RolloutCommand::List { endpoint, connection } => {
            let path = endpoint.map_or_else(
                || "/api/v1/rollouts".to_owned(),
                |name| format!("/api/v1/endpoints/{name}/rollouts"),
            );
            let all = Client::new(&connection).get(&path)?;
            match connection.json {
                true => table::json(&all),
                false => show(all["rollouts"].as_array().map(Vec::as_slice).unwrap_or_default()),
            }
        }
        RolloutCommand::Show { rollout, connection } => {
            let found = find(&Client::new(&connection), &rollout)?;
            tell(&connection, &found);
            if !connection.json {
                numbers(&found);
                decisions(&found);
            }
        }
        RolloutCommand::Cancel(args) => end(&args, "cancellation")?,
        RolloutCommand::Promote(args) => end(&args, "promotion")?,
    }
    Ok(())
}

/// By its id; else the newest of an endpoint of that name.
fn find(client: &Client, rollout: &str) -> anyhow::Result<Value> {
    // An id is 32 hexadecimal digits; whatever else it is, it names an endpoint.
    if rollout.len() == 32 && rollout.chars().all(|c| c.is_ascii_hexdigit()) {
        return client.get(&format!("/api/v1/rollouts/{rollout}"));
    }
    let endpoint = client.get(&format!("/api/v1/endpoints/{rollout}"))?;
    match &endpoint["rollout"] {
        Value::Null => {
            anyhow::bail!("endpoint `{rollout}` never had a rollout: start one with `trueline rollout start`")
        }
        found => Ok(found.clone()),
    }
}

fn end(args: &EndArgs, how: &str) -> anyhow::Result<()> {
    let path = format!("/api/v1/rollouts/{}/{how}", args.rollout);
    let done = Client::new(&args.connection).send("POST", &path, &json!({ "reason": args.reason }))?;
    tell(&args.connection, &done);
    Ok(())
}

fn tell(connection: &Connection, rollout: &Value) {
    match connection.json {
        true => table::json(rollout),
        false => show(std::slice::from_ref(rollout)),
    }
}

fn show(rollouts: &[Value]) {
    let row = |r: &Value| {
        let baseline = r["baseline"].as_array().map(Vec::as_slice).unwrap_or_default();
        let baseline: Vec<String> = baseline.iter().map(|v| table::cell(v, "version")).collect();
        let share = format!("{} %", table::cell(r, "share_percent"));
        let steps = r["plan"]["steps"].as_array().map_or(0, Vec::len);
        let step = match r["shadowing"].as_bool() {
            Some(true) => "shadow".to_owned(),
            _ => format!("{} of {steps}", r["step"].as_u64().unwrap_or_default() + 1),
        };
        vec![
            table::cell(r, "id"),
            table::cell(r, "endpoint"),
            table::cell(&r["candidate"], "version"),
            baseline.join(", "),
            table::cell(r, "state"),
            step,
            share,
            table::cell(r, "started_at"),
        ]
    };
    let rows: Vec<Vec<String>> = rollouts.iter().map(row).collect();
    table::rows(&["ROLLOUT", "ENDPOINT", "VERSION", "BESIDE", "STATE", "STEP", "SHARE", "STARTED"], &rows);
}

/// `0.31 to 0.37`
pub(super) fn interval(value: &Value) -> String {
    let end = |field: &str| value[field].as_f64().map_or_else(|| "?".to_owned(), |v| format!("{v:.4}"));
    format!("{} to {}", end("lower"), end("upper"))
}

fn numbers(rollout: &Value) {
    let n = &rollout["numbers"];
    if n.is_null() {
        return;
    }
    let log_e = |v: &Value| format!("{:.2}", v["log_e"].as_f64().unwrap_or_default());
    let (errors, mean, latency) = (&n["errors"], &n["prediction"], &n["latency"]);
    let pair = |name: &str, v: &Value, effect: String, allowed: String, e: String| {
        vec![name.to_owned(), interval(&v["candidate"]), interval(&v["baseline"]), effect, allowed, e]
    };
    let allowed = |v: &Value, field: &str, unit: &str| format!("{}{unit}", table::cell(v, field));
    let slow = &latency["slow"];
    let compared = [
        pair(
            "failed requests",
            &errors["rate"],
            format!("{} times", interval(&errors["ratio"])),
            allowed(errors, "allowed_ratio", " times"),
            log_e(errors),
        ),
        pair(
            "mean prediction",
            &mean["mean"],
            interval(&mean["shift"]),
            allowed(mean, "allowed_shift", " either way"),
            log_e(mean),
        ),
        pair(
            "slow requests",
            &slow["rate"],
            format!("{} times", interval(&slow["ratio"])),
            allowed(latency, "allowed_latency_ratio", " times the latency"),
            log_e(slow),
        ),
    ];
    let rows: Vec<Vec<String>> =
        shadow_rows(&n["shadow"]).into_iter().chain(compared).chain(rollout_parts::rows(n)).collect();
    table::line("");
    table::rows(&["WHAT", "VERSION", "BESIDE", "EFFECT", "ALLOWED", "LN E"], &rows);
    table::line("");
    shadow_lines(&n["shadow"]);
    rollout_parts::label_lines(&n["quality"]);
    let requests = &n["requests"];
    table::line(format!(
        "{} requests of the version, {} beside it; p = {}, taken off from {} on",
        table::cell(requests, "candidate"),
        table::cell(requests, "baseline"),
        table::cell(n, "p_value"),
        table::cell(n, "alpha")
    ));
    missing(&n["missing"]);
    if let Some(lost @ 1..) = n["unreadable_batches"].as_u64() {
        table::line(format!(
            "batches of other servers that can't be read: {lost}; what they saw is lost, so a person decides"
        ));
    }
}

/// What the next step out of the shadow, or promotion, waits for.
fn missing(missing: &Value) {
    for one in missing.as_array().into_iter().flatten() {
        let (name, reason) = (table::cell(one, "name").replace("shadow_", "shadow "), &one["reason"]);
        let waits = match (reason["needed"].as_u64(), reason["expected_observations"].as_u64()) {
            (Some(needed), _) => format!("{needed} more observations"),
            (None, Some(all)) => format!("about {all} observations in all"),
            (None, None) => "being within what is allowed".to_owned(),
        };
        table::line(format!("waits for {name}: {waits}"));
    }
}

/// What was compared in shadow; nothing without one.
fn shadow_rows(shadow: &Value) -> Vec<Vec<String>> {
    let one = |name: &str, share: &Value| {
        let allowed = format!("at most {}", table::cell(share, "allowed"));
        let log_e = format!("{:.2}", share["log_e"].as_f64().unwrap_or_default());
        vec![name.to_owned(), interval(&share["share"]), String::new(), String::new(), allowed, log_e]
    };
    match shadow.is_null() {
        true => Vec::new(),
        false => vec![
            one("differing in shadow", &shadow["differing"]),
            one("failing in shadow", &shadow["failing"]),
        ],
    }
}

fn shadow_lines(shadow: &Value) {
    if shadow.is_null() {
        return;
    }
    let cell = |field: &str| table::cell(shadow, field);
    table::line(format!(
        "in shadow: {} requests asked, {} failed, {} not asked because too many waited; {} of {} rows differ, numbers by {} at the most",
        cell("asked"),
        cell("failed"),
        cell("shed"),
        cell("rows_differing"),
        cell("rows"),
        cell("largest_difference")
    ));
    if !shadow["example"].is_null() {
        let id = table::cell(&shadow["example"], "prediction_id");
        table::line(format!("differs most: {id} (see it with `trueline trace {id}`)"));
    }
    if !shadow["failure"].is_null() {
        let failure = |field: &str| table::cell(&shadow["failure"], field);
        table::line(format!("failed last: {}: {}", failure("prediction_id"), failure("reason")));
    }
}

fn decisions(rollout: &Value) {
    let row = |d: &Value| {
        let share = format!("{} %", table::cell(d, "share_percent"));
        let who = ["decided_at", "decided_by", "decision"].iter().map(|f| table::cell(d, f));
        who.chain([share, table::cell(d, "reason")]).collect()
    };
    let rows: Vec<Vec<String>> =
        rollout["decisions"].as_array().map(|all| all.iter().map(row).collect()).unwrap_or_default();
    table::line("");
    table::rows(&["AT", "WHO", "WHAT", "SHARE", "WHY"], &rows);
}
