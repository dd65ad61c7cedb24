//! `trueline prediction`: what an endpoint was asked and answered, from the newest back.

use super::client::Client;
use super::{Connection, table};
use clap::{Args, Subcommand};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

#[derive(Subcommand)]
pub(crate) enum PredictionCommand {
    /// List logged predictions of an endpoint, newest first
    List(Box<ListArgs>),
}

#[derive(Args)]
pub(crate) struct ListArgs {
    /// Name of the endpoint
    endpoint: String,
    /// The prediction of this id
    #[arg(long)]
    id: Option<String>,
    /// Those of a caller with this key
    #[arg(long)]
    key: Option<String>,
    /// Those whose requests came from then on, as 2026-01-31T12:00:00Z
    #[arg(long)]
    from: Option<String>,
    /// Those whose requests came before then
    #[arg(long)]
    to: Option<String>,
    /// Those that were answered, or those that failed
    #[arg(long, value_parser = ["answered", "failed"])]
    outcome: Option<String>,
    /// Those of a version, such as delays/4, or of a model
    #[arg(long)]
    version: Option<String>,
    /// How many at the most
    #[arg(long, default_value_t = 50)]
    limit: u32,
    /// Where to go on, as the list before said
    #[arg(long)]
    cursor: Option<String>,
    #[command(flatten)]
    connection: Connection,
}

pub(crate) fn run(command: PredictionCommand) -> anyhow::Result<()> {
    match command {
        PredictionCommand::List(args) => list(&args),
    }
}

fn list(args: &ListArgs) -> anyhow::Result<()> {
    let found = Client::new(&args.connection).get(&args.path())?;
    if args.connection.json {
        table::json(&found);
        return Ok(());
    }
    let all = found["predictions"].as_array().map(Vec::as_slice).unwrap_or_default();
    let answer = |p: &Value| match &p["error"] {
        Value::Null => p["output"].to_string(),
        why => format!("failed: {}", why.as_str().unwrap_or_default()),
    };
    let row = |p: &Value| {
        let own = ["id", "received_at", "version", "key"].map(|f| table::cell(p, f));
        own.into_iter().chain([answer(p)]).collect()
    };
    let rows: Vec<Vec<String>> = all.iter().map(row).collect();
    table::rows(&["ID", "RECEIVED", "VERSION", "KEY", "ANSWER"], &rows);
    if found["gave_up"] == true {
        let (looked, back) = (&found["looked_at"], table::cell(&found, "looked_back_to"));
        table::note(format!("looked at {looked} predictions, back to {back}, and no further"));
    }
    if let Some(cursor) = found["next_cursor"].as_str() {
        table::note(format!("go on with: --cursor {cursor}"));
    }
    Ok(())
}

impl ListArgs {
    fn path(&self) -> String {
        let asked = [
            ("id", &self.id),
            ("key", &self.key),
            ("from", &self.from),
            ("to", &self.to),
            ("outcome", &self.outcome),
            ("version", &self.version),
            ("cursor", &self.cursor),
        ];
        let pairs = asked.iter().filter_map(|(name, value)| {
            value.as_ref().map(|v| format!("&{name}={}", utf8_percent_encode(v, NON_ALPHANUMERIC)))
        });
        let pairs: String = pairs.collect();
        format!("/api/v1/endpoints/{}/predictions?limit={}{pairs}", self.endpoint, self.limit)
    }
}
