//! `trueline ledger export`: the ledger as a folder or a tar file, from a running server or from a data directory.

use super::client::Client;
use super::{Connection, table};
use crate::server::layout;
use anyhow::{Context, bail, ensure};
use clap::Args;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;
use trueline_db::Db;
use trueline_ledger::{Export, ExportedEvent, LedgerFiles, LedgerHead, LedgerKey, Sources, exported_events};

/// Events fetched at a time.
const PAGE: u32 = 500;
/// How often a running server is asked for a newer checkpoint, when an erasure is not under one yet.
const TRIES: u32 = 50;
const PAUSE: Duration = Duration::from_millis(200);

#[derive(Args)]
pub(crate) struct ExportArgs {
    /// Where it goes: a file that ends in .tar, or a folder that is empty or missing
    #[arg(long)]
    out: PathBuf,
    /// Read this data directory, or a copy of it, instead of asking a server
    #[arg(long)]
    data_dir: Option<PathBuf>,
    #[command(flatten)]
    connection: Connection,
}

/// Where the events come from.
trait Source {
    /// The newest checkpoint and the public key that signed it.
    fn head(&self) -> anyhow::Result<(LedgerHead, String)>;
    /// The events from an index on.
    fn events(&self, from: u64) -> anyhow::Result<Vec<ExportedEvent>>;
}

struct Server(Client);

impl Source for Server {
    fn head(&self) -> anyhow::Result<(LedgerHead, String)> {
        let answer = self.0.get("/api/v1/ledger")?;
        let note = answer["checkpoint"]["note"].as_str().context("there is no checkpoint yet")?;
        Ok((LedgerHead::parse(note)?, table::cell(&answer, "key")))
    }

    fn events(&self, from: u64) -> anyhow::Result<Vec<ExportedEvent>> {
        let text = self.0.get_text(&format!("/api/v1/ledger/export?cursor={from}&limit={PAGE}"))?;
        text.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
    }
}

struct DataDir<'a>(&'a Path);

impl Source for DataDir<'_> {
    fn head(&self) -> anyhow::Result<(LedgerHead, String)> {
        let folder = self.0.join(layout::LEDGER);
        let head = LedgerFiles::read_head(&folder)?
            .with_context(|| format!("there is no ledger in {}", self.0.display()))?;
        let key = LedgerKey::open(&self.0.join(layout::KEY), &folder, &Sources::system())?;
        Ok((head, key.public()))
    }

    fn events(&self, from: u64) -> anyhow::Result<Vec<ExportedEvent>> {
        let database = self.0.join(layout::DATABASE);
        ensure!(
            database.exists(),
            "there is no {}: if the database is PostgreSQL, export from the running server, without --data-dir",
            database.display()
        );
        Ok(Db::inspect(&database, |tx| exported_events(tx, from, PAGE))?)
    }
}

pub(crate) fn export(args: &ExportArgs) -> anyhow::Result<()> {
    let source: Box<dyn Source> = match &args.data_dir {
        Some(folder) => Box::new(DataDir(folder)),
        None => Box::new(Server(Client::new(&args.connection))),
    };
    let size = if is_tar(&args.out) {
        ensure!(!args.out.exists(), "{} is there already; name another file", args.out.display());
        let beside = args.out.with_extension("tar.new");
        let folder = args.out.with_extension("tar.parts");
        let size = write(source.as_ref(), &folder)?;
        pack(&folder, &beside).with_context(|| format!("can't write {}", beside.display()))?;
        fs::rename(&beside, &args.out)?;
        fs::remove_dir_all(&folder)?;
        size
    } else {
        write(source.as_ref(), &args.out)?
    };
    table::line(format!("{size} events in {}", args.out.display()));
    table::note(format!(
        "Check it anywhere: trueline ledger verify --key <key> --export {}",
        args.out.display()
    ));
    Ok(())
}

/// Writes the events up to the newest checkpoint, and beyond to a later one when it takes that to explain an erasure.
fn write(source: &dyn Source, folder: &Path) -> anyhow::Result<u64> {
    let mut export = Export::begin(folder)?;
    for _ in 0..TRIES {
        let (head, key) = source.head()?;
        while export.size() < head.size {
            let events = source.events(export.size())?;
            ensure!(!events.is_empty(), "entry {} is under the checkpoint, but can't be had", export.size());
            let left = usize::try_from(head.size - export.size()).unwrap_or(usize::MAX);
            events.iter().take(left).try_for_each(|event| export.push(event))?;
        }
        if export.is_explained() {
            export.finish(&head, &key)?;
            return Ok(head.size);
        }
        std::thread::sleep(PAUSE);
    }
    bail!(
        "a payload is missing, and no event under the checkpoint says that it was erased: start the server on this data \
         directory once, so that it signs what is waiting, or run `trueline ledger verify` to see what is wrong"
    )
}

pub(crate) fn is_tar(path: &Path) -> bool {
    path.extension().is_some_and(|e| e.eq_ignore_ascii_case("tar"))
}

fn pack(folder: &Path, file: &Path) -> std::io::Result<()> {
    let mut tar = tar::Builder::new(File::create(file)?);
    tar.mode(tar::HeaderMode::Deterministic);
    tar.append_dir_all(".", folder)?;
    tar.into_inner()?.sync_all()
}
