//! `trueline ledger`: its key and events from a server, its verification offline.

use super::client::Client;
use super::export::{self, ExportArgs};
use super::{Connection, table};
use crate::server::layout;
use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use serde_json::json;
use std::path::{Path, PathBuf};
use trueline_db::Db;
use trueline_flows::verify_offline;
use trueline_ledger::{Report, Verification, verify_export, verify_files};

#[derive(Subcommand)]
pub(crate) enum LedgerCommand {
    /// Print the public key that checkpoints are signed with; keep it apart from the server
    Key(Connection),
    /// Print the newest signed checkpoint; keep it, to find a rollback later
    Checkpoint(Connection),
    /// List the newest events
    Events {
        /// How many
        #[arg(long, default_value_t = 20)]
        limit: u32,
        #[command(flatten)]
        connection: Connection,
    },
    /// Write the ledger to a folder or a tar file, which can be checked anywhere, without a server or a database
    Export(ExportArgs),
    /// Check a copy of a data directory or an export, offline: names the first bad entry if anything was changed
    Verify(VerifyArgs),
}

#[derive(Args)]
pub(crate) struct VerifyArgs {
    /// The data directory, or a copy of it
    #[arg(long, env = "TRUELINE_DATA_DIR", default_value = "trueline-data")]
    data_dir: PathBuf,
    /// An export to check instead: a folder or a tar file
    #[arg(long, conflicts_with_all = ["state", "files_only"])]
    export: Option<PathBuf>,
    /// The public key to trust, or a file that holds it; from `trueline ledger key`, kept elsewhere
    #[arg(long)]
    key: String,
    /// An earlier checkpoint that the log must go on from
    #[arg(long)]
    checkpoint: Option<PathBuf>,
    /// Replay what the events say of versions, aliases and the like and compare it with the rows, and the sealed segments of
    /// the prediction log with their digests
    #[arg(long)]
    state: bool,
    /// Check the tiles alone, without the database (it is on PostgreSQL, or was not copied)
    #[arg(long)]
    files_only: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(command: LedgerCommand) -> anyhow::Result<()> {
    match command {
        LedgerCommand::Key(connection) => {
            let head = Client::new(&connection).get("/api/v1/ledger")?;
            table::line(table::cell(&head, "key"));
        }
        LedgerCommand::Checkpoint(connection) => {
            let head = Client::new(&connection).get("/api/v1/ledger")?;
            let note = head["checkpoint"]["note"].as_str().context("there is no checkpoint yet")?;
            table::line(note.trim_end());
        }
        LedgerCommand::Events { limit, connection } => events(limit, &connection)?,
        LedgerCommand::Export(args) => export::export(&args)?,
        LedgerCommand::Verify(args) => verify(&args)?,
    }
    Ok(())
}

fn events(limit: u32, connection: &Connection) -> anyhow::Result<()> {
    let answer = Client::new(connection).get(&format!("/api/v1/ledger/events?limit={limit}"))?;
    if connection.json {
        table::json(&answer);
        return Ok(());
    }
    let list = answer["events"].as_array().cloned().unwrap_or_default();
    let rows: Vec<Vec<String>> = list
        .iter()
        .map(|e| {
            let on = format!("{} {}", table::cell(&e["resource"], "kind"), table::cell(&e["resource"], "id"));
            ["index", "at", "actor", "action"].iter().map(|f| table::cell(e, f)).chain([on]).collect()
        })
        .collect();
    table::rows(&["INDEX", "AT", "WHO", "WHAT", "ON"], &rows);
    Ok(())
}

fn verify(args: &VerifyArgs) -> anyhow::Result<()> {
    let key = match std::fs::read_to_string(&args.key) {
        Ok(text) => text,
        Err(_) => args.key.clone(),
    };
    let earlier = args
        .checkpoint
        .as_ref()
        .map(|p| std::fs::read(p).with_context(|| format!("can't read {}", p.display())))
        .transpose()?;
    let found = match &args.export {
        Some(export) => check_export(export, &key, earlier.as_deref())?,
        None => check(args, &key, earlier.as_deref())?,
    };
    if args.json {
        table::json(&match &found {
            Ok(report) => json!({ "ok": true, "report": report }),
            Err(finding) => json!({ "ok": false, "finding": finding }),
        });
    }
    match found {
        Ok(report) => {
            if !args.json {
                table::line(format!("ok: {} entries, root {}", report.entries, report.root));
                tell_rest(&report);
            }
            Ok(())
        }
        Err(finding) => bail!("the ledger does not hold: {finding}"),
    }
}

/// What holds, but not as fully as somebody may think.
fn tell_rest(report: &Report) {
    table::note(format!(
        "{} payloads erased, {} events not under the checkpoint yet",
        report.erased, report.waiting
    ));
    if report.erased_unconfirmed > 0 {
        table::note(format!(
            "{} of the erasures are not under the checkpoint yet: check again with a newer one",
            report.erased_unconfirmed
        ));
    }
    if report.deleted_segments > 0 {
        table::note(format!(
            "{} segments of the prediction log were deleted under retention, each as an event tells",
            report.deleted_segments
        ));
    }
    if report.unknowable > 0 {
        table::note(format!(
            "{} rows can't be compared, because what the ledger said of them was erased",
            report.unknowable
        ));
    }
}

fn check(args: &VerifyArgs, key: &str, earlier: Option<&[u8]>) -> anyhow::Result<Verification> {
    let folders = layout::checked_folders(&args.data_dir);
    let report = match verify_files(&folders.ledger, key, earlier)? {
        Ok(report) => report,
        Err(finding) => return Ok(Err(finding)),
    };
    if args.files_only {
        return Ok(Ok(report));
    }
    let database = args.data_dir.join(layout::DATABASE);
    require(&database)?;
    Ok(Db::inspect(&database, |tx| verify_offline(tx, &folders, report, args.state))?)
}

fn check_export(export: &Path, key: &str, earlier: Option<&[u8]>) -> anyhow::Result<Verification> {
    if !export::is_tar(export) {
        return Ok(verify_export(export, key, earlier)?);
    }
    let file = std::fs::File::open(export).with_context(|| format!("can't read {}", export.display()))?;
    let unpacked = tempfile::tempdir()?;
    tar::Archive::new(file)
        .unpack(unpacked.path())
        .with_context(|| format!("{} is not a tar file", export.display()))?;
    Ok(verify_export(unpacked.path(), key, earlier)?)
}

fn require(database: &Path) -> anyhow::Result<()> {
    if database.exists() {
        return Ok(());
    }
    bail!(
        "there is no {}: name the data directory with --data-dir, or check the tiles alone with --files-only",
        database.display()
    )
}
