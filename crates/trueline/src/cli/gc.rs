//! `trueline gc`: deletes for good what was deleted long ago and collects blobs that nothing refers to, on a running server or
//! in the data directory of one that is stopped.

use super::client::Client;
use super::{Connection, table};
use crate::server::Offline;
use clap::Args;
use serde_json::{Value, json};
use std::path::PathBuf;
use trueline_flows::{CollectOrder, Retention};
use trueline_pipelines::Span;

#[derive(Args)]
pub(crate) struct GcArgs {
    /// Change nothing; tell what would go
    #[arg(long)]
    dry_run: bool,
    /// Purge what was deleted so long ago, whatever the server keeps: 30d, 12h, 0s
    #[arg(long, value_name = "TIME", value_parser = span)]
    older_than: Option<Span>,
    /// Leave blobs that were put less long ago: somebody may be about to say what they are for
    #[arg(long, value_name = "TIME", value_parser = span)]
    grace: Option<Span>,
    /// Work on this data directory, whose server must be stopped, instead of asking a server
    #[arg(long)]
    data_dir: Option<PathBuf>,
    /// PostgreSQL that the server of the data directory uses: postgres://user:password@host:port/name
    #[arg(long, requires = "data_dir", hide_env_values = true)]
    database: Option<String>,
    #[command(flatten)]
    connection: Connection,
}

/// Reads a span of time.
pub(crate) fn span(text: &str) -> Result<Span, String> {
    Span::parse(text).ok_or_else(|| format!("`{text}` is no span of time: write 30s, 10m, 2h or 7d"))
}

pub(crate) fn run(args: &GcArgs) -> anyhow::Result<()> {
    let found = match &args.data_dir {
        Some(folder) => offline(args, folder)?,
        None => {
            let client = Client::new(&args.connection);
            let wanted = json!({
                "dry_run": args.dry_run,
                "older_than_ms": args.older_than.map(Span::millis),
                "grace_ms": args.grace.map(Span::millis),
            });
            client.follow(&client.send("POST", "/api/v1/collections", &wanted)?)?
        }
    };
    if args.connection.json {
        table::json(&found);
    } else {
        show(&found);
    }
    Ok(())
}

fn offline(args: &GcArgs, folder: &std::path::Path) -> anyhow::Result<Value> {
    let place = Offline::open(folder, args.database.clone())?;
    let rules = Retention::default().order(args.dry_run);
    let order = CollectOrder {
        keep_ms: args.older_than.map(Span::millis).or(rules.keep_ms),
        grace_ms: args.grace.map_or(rules.grace_ms, Span::millis),
        ..rules
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let found = runtime.block_on(place.collect(order))?;
    if !args.dry_run {
        table::note("The events of this collection get their place in the ledger when the server starts.");
    }
    Ok(json!(found))
}

/// Bytes as people read them.
fn size(value: &Value) -> String {
    let bytes = value.as_u64().unwrap_or(0);
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    #[allow(clippy::cast_precision_loss)]
    let mut shown = bytes as f64;
    let mut unit = 0;
    while shown >= 1024.0 && unit + 1 < units.len() {
        shown /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{shown:.1} {}", units[unit]) }
}

fn show(found: &Value) {
    let projects = found["projects"].as_array().cloned().unwrap_or_default();
    let row = |p: &Value| {
        let purged = |what: &str| p["purged"][what].to_string();
        vec![
            table::cell(p, "project"),
            purged("experiments"),
            purged("runs"),
            purged("logged_models"),
            purged("kept_back"),
            p["removed"]["count"].to_string(),
            size(&p["removed"]["bytes"]),
            size(&p["kept"]["bytes"]),
        ]
    };
    let rows: Vec<Vec<String>> = projects.iter().map(row).collect();
    let heading = ["PROJECT", "EXPERIMENTS", "RUNS", "MODELS", "KEPT BACK", "BLOBS", "FREED", "LEFT"];
    table::rows(&heading, &rows);
    if found["dry_run"] == true {
        table::note("Nothing was changed: these would go. Run it without --dry-run to have them go.");
    }
}
