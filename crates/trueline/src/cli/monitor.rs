//! `trueline monitor`, `trueline alert`, `trueline incident`: what is watched, what is wrong, what is done about it.

use super::client::Client;
use super::{Connection, table};
use anyhow::Context;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

#[derive(Subcommand)]
pub(crate) enum MonitorCommand {
    /// Watch an endpoint: drift, missing values and quality over windows in event time
    Create(CreateArgs),
    /// List monitors
    List(Connection),
    /// Show a monitor and its newest windows
    Show {
        /// Name of the monitor
        name: String,
        #[command(flatten)]
        connection: Connection,
    },
}

#[derive(Args)]
pub(crate) struct CreateArgs {
    /// Name: lower-case letters, digits, inner hyphens
    name: String,
    /// The endpoint to watch
    #[arg(long)]
    endpoint: String,
    /// Length of a window in event time, such as 7d, 12h, 30m, 90s
    #[arg(long, default_value = "7d", value_parser = span)]
    window: i64,
    /// How long after its end a window waits for late records
    #[arg(long, default_value = "0s", value_parser = span)]
    lateness: i64,
    /// How long after that labels may take before quality is judged
    #[arg(long, default_value = "0s", value_parser = span)]
    label_wait: i64,
    /// What windows are compared with: the first complete one, or what each version was trained on
    #[arg(long, default_value = "first-window", value_parser = ["first-window", "training"])]
    reference: String,
    /// Watch these features alone; all, if none is named
    #[arg(long = "feature")]
    features: Vec<String>,
    /// When quality alarms: metric:enter:exit, such as auc:0.70:0.72 or log_loss:0.6:0.55
    #[arg(long = "quality", value_parser = quality)]
    quality: Vec<Value>,
    /// Windows in a row that must alarm before an alert fires
    #[arg(long = "for", default_value_t = 1)]
    consecutive: u32,
    /// Address that is told of a firing and of its end
    #[arg(long = "webhook")]
    webhooks: Vec<String>,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Subcommand)]
pub(crate) enum AlertCommand {
    /// List alerts, newest first
    List {
        /// Of this endpoint only
        #[arg(long)]
        endpoint: Option<String>,
        /// In this state only: pending, firing, resolved
        #[arg(long)]
        state: Option<String>,
        #[command(flatten)]
        connection: Connection,
    },
}

/// `7d`, `12h`, `30m`, `90s` in milliseconds.
pub(super) fn span(text: &str) -> Result<i64, String> {
    let wrong = || format!("`{text}` is no span of time: write 7d, 12h, 30m or 90s");
    let unit = text.chars().last().ok_or_else(wrong)?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        _ => return Err(wrong()),
    };
    let number: i64 = text.trim_end_matches(unit).parse().map_err(|_| wrong())?;
    number.checked_mul(seconds * 1_000).filter(|ms| *ms >= 0).ok_or_else(wrong)
}

fn quality(text: &str) -> Result<Value, String> {
    let wrong = || format!("`{text}` is no rule: write metric:enter:exit, such as auc:0.70:0.72");
    let parts: Vec<&str> = text.split(':').collect();
    let [metric, enter, exit] = parts[..] else { return Err(wrong()) };
    let number = |n: &str| n.parse::<f64>().map_err(|_| wrong());
    Ok(json!({ "metric": metric, "enter": number(enter)?, "exit": number(exit)? }))
}

pub(crate) fn monitor(command: MonitorCommand) -> anyhow::Result<()> {
    match command {
        MonitorCommand::Create(args) => create(args),
        MonitorCommand::List(connection) => {
            let all = Client::new(&connection).get("/api/v1/monitors")?;
            table::list(&connection, &all, "monitors", &["name", "endpoint", "created_by", "created_at"])
        }
        MonitorCommand::Show { name, connection } => show(&name, &connection),
    }
}

fn create(args: CreateArgs) -> anyhow::Result<()> {
    let mut spec = json!({
        "window_ms": args.window, "lateness_ms": args.lateness, "label_wait_ms": args.label_wait,
        "reference": args.reference, "quality": args.quality, "for": args.consecutive, "webhooks": args.webhooks,
    });
    if !args.features.is_empty() {
        spec["features"] = json!(args.features);
    }
    let ask = json!({ "name": args.name, "endpoint": args.endpoint, "spec": spec });
    let made = Client::new(&args.connection).send("POST", "/api/v1/monitors", &ask)?;
    if args.connection.json {
        table::json(&made);
    } else {
        table::note(format!("watching; see it with: trueline monitor show {}", args.name));
    }
    Ok(())
}

fn show(name: &str, connection: &Connection) -> anyhow::Result<()> {
    let client = Client::new(connection);
    let monitor = client.get(&format!("/api/v1/monitors/{name}"))?;
    let windows = client.get(&format!("/api/v1/monitors/{name}/windows?limit=20"))?;
    if connection.json {
        table::json(&json!({ "monitor": monitor, "windows": windows["windows"] }));
        return Ok(());
    }
    let reference = &monitor["reference"];
    let source = match reference["state"].as_str() {
        Some("known") => table::cell(reference, "source"),
        Some("unknown") => format!("unknown: {}", table::cell(reference, "reason")),
        _ => "is learnt from the first complete window".to_owned(),
    };
    table::line(format!(
        "{name} watches endpoint {}; its reference: {source}",
        table::cell(&monitor, "endpoint")
    ));
    table::line("");
    let row = |window: &Value| {
        let all = &window["verdicts"][0];
        let state = if window["closed"] == true { "closed" } else { "open" };
        let mut cells = vec![table::cell(window, "start"), state.to_owned(), table::cell(all, "predictions")];
        cells.push(table::cell(&all["quality"], "labelled"));
        cells.extend(["auc", "log_loss"].map(|metric| rounded(&all["quality"][metric])));
        cells.push(breaches(all));
        cells
    };
    let rows = windows["windows"].as_array().context("the server told no windows")?.iter().map(row);
    let heading = ["WINDOW", "STATE", "PREDICTIONS", "LABELLED", "AUC", "LOG LOSS", "BEYOND THEIR LEVEL"];
    table::rows(&heading, &rows.collect::<Vec<_>>());
    Ok(())
}

fn rounded(value: &Value) -> String {
    value.as_f64().map_or_else(|| value.as_str().unwrap_or("–").to_owned(), |v| format!("{v:.4}"))
}

/// Findings that a line of a table names.
const WORST: usize = 3;

/// `psi:hour 0.4312, missing:distance 0.2000 and 2 more`
fn breaches(verdict: &Value) -> String {
    let findings = verdict["findings"].as_array().map(Vec::as_slice).unwrap_or_default();
    let size = |f: &Value| f["value"].as_f64().unwrap_or_default();
    let mut beyond: Vec<&Value> = findings.iter().filter(|f| f["level"] == "breach").collect();
    beyond.sort_by(|a, b| size(b).total_cmp(&size(a)));
    let told = |f: &&Value| format!("{} {}", table::cell(f, "subject"), rounded(&f["value"]));
    let worst: Vec<String> = beyond.iter().take(WORST).map(told).collect();
    match beyond.len().saturating_sub(WORST) {
        0 if worst.is_empty() => "none".to_owned(),
        0 => worst.join(", "),
        more => format!("{} and {more} more", worst.join(", ")),
    }
}

pub(crate) fn alert(command: AlertCommand) -> anyhow::Result<()> {
    let AlertCommand::List { endpoint, state, connection } = command;
    let filter =
        |name: &str, value: Option<String>| value.map_or_else(String::new, |v| format!("&{name}={v}"));
    let path = format!("/api/v1/alerts?limit=100{}{}", filter("endpoint", endpoint), filter("state", state));
    let all = Client::new(&connection).get(&path)?;
    let fields = ["opened_at", "state", "endpoint", "subject", "value", "enter", "incident"];
    table::list(&connection, &all, "alerts", &fields)
}

#[cfg(test)]
mod tests {
    use super::{quality, span};
    use serde_json::json;

    #[test]
    fn spans_and_rules_are_read_or_explained() {
        assert_eq!([span("7d"), span("90s")], [Ok(604_800_000), Ok(90_000)]);
        for bad in ["7", "d", "-1d", "7w", "", "7é", "99999999999999999d"] {
            assert!(span(bad).unwrap_err().contains("write 7d"), "{bad}");
        }
        assert_eq!(quality("auc:0.7:0.72"), Ok(json!({ "metric": "auc", "enter": 0.7, "exit": 0.72 })));
        assert!(quality("auc:0.7").unwrap_err().contains("metric:enter:exit"));
    }
}
