//! A large artifact up and down: into the data directory, and through a real S3 server; beside what the disk, SHA-256 and
//! that S3 server do by themselves in the same run.

use crate::http::{Connection, post_json};
use crate::stream::{PIECE, Pattern, get, put};
use crate::{Memory, Table};
use anyhow::{Context, ensure};
use rustix::fs::{Advice, fadvise};
use serde_json::{Value as Json, json};
use sha2::{Digest, Sha256};
use std::convert::Infallible;
use std::fs::File;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};
use trueline_blobs::Bucket;
use trueline_crashtest::{Launch, Server};
use trueline_s3server::S3Server;

const PROXY: &str = "/api/2.0/mlflow-artifacts";
const TIMEOUT: Duration = Duration::from_secs(900);
const MB: f64 = 1e6;
/// What is to be reached, unless the disk is slower.
const FAST_ENOUGH: f64 = 500.0;
/// A disk's speed differs that much from one minute to the next.
const AS_FAST_AS_THE_DISK: f64 = 0.85;
/// Memory under load has this budget everywhere.
const MOST_MEMORY_MIB: f64 = 250.0;
/// Bytes that are hashed for the speed of hashing.
const HASHED: u64 = 2 << 30;
/// The parts of an upload by signed addresses, and how many are sent at once, as MLflow's client has it.
const PART: u64 = 100 << 20;
const SENDERS: usize = 4;

/// Bytes in a time, in MB/s.
#[allow(clippy::cast_precision_loss)]
fn rate(bytes: u64, began: Instant) -> f64 {
    bytes as f64 / MB / began.elapsed().as_secs_f64()
}

/// What the disk does by itself, in MB/s.
#[derive(Clone, Copy)]
struct Disk {
    write: f64,
    read: f64,
}

impl Disk {
    fn measure(folder: &Path, bytes: u64) -> anyhow::Result<Self> {
        let path = folder.join("bare");
        let began = Instant::now();
        let mut file = File::create(&path)?;
        let mut pattern = Pattern::new();
        for number in 0..bytes.div_ceil(PIECE as u64) {
            file.write_all(pattern.piece(number))?;
        }
        file.sync_all()?;
        let write = rate(bytes, began);
        forget(&path)?;
        let began = Instant::now();
        let (mut file, mut piece) = (File::open(&path)?, vec![0; PIECE]);
        while file.read(&mut piece)? > 0 {}
        let read = rate(bytes, began);
        std::fs::remove_file(path)?;
        Ok(Self { write, read })
    }
}

/// Has the system forget what it holds of files in memory, so that they are read from the disk.
fn forget(path: &Path) -> anyhow::Result<()> {
    if path.is_dir() {
        for entry in std::fs::read_dir(path)? {
            forget(&entry?.path())?;
        }
        return Ok(());
    }
    let file = File::open(path)?;
    file.sync_all()?;
    Ok(fadvise(&file, 0, None, Advice::DontNeed)?)
}

fn hashing() -> f64 {
    let (mut hash, mut pattern) = (Sha256::new(), Pattern::new());
    let began = Instant::now();
    for number in 0..HASHED / PIECE as u64 {
        hash.update(pattern.piece(number));
    }
    std::hint::black_box(hash.finalize());
    rate(HASHED, began)
}

/// Measures the server `binary` with an artifact of so many bytes, in a folder of the disk that is meant.
///
/// # Errors
/// When a server does not start, or does not give back what it was given.
pub fn artifacts(binary: &Path, bytes: u64, work: &Path, table: &mut Table) -> anyhow::Result<()> {
    std::fs::create_dir_all(work)?;
    let folder = tempfile::tempdir_in(work)?;
    let disk = Disk::measure(folder.path(), bytes)?;
    let group = "the machine by itself";
    table.add(group, "disk, one file written and fsynced", disk.write, "MB/s");
    table.add(group, "disk, the same file read", disk.read, "MB/s");
    table.add(group, "SHA-256 on one thread", hashing(), "MB/s");
    in_data_directory(binary, bytes, folder.path(), disk, table)?;
    through_s3(binary, bytes, folder.path(), disk, table)
}

fn memory(server: &Server, group: &str, name: &str, table: &mut Table) -> anyhow::Result<()> {
    let peak = Memory::of(server.process_id())?.peak_mib;
    table.add_with_budget(group, name, peak, "MiB", MOST_MEMORY_MIB);
    Ok(())
}

fn in_data_directory(
    binary: &Path,
    bytes: u64,
    work: &Path,
    disk: Disk,
    table: &mut Table,
) -> anyhow::Result<()> {
    #[allow(clippy::cast_precision_loss)]
    let group = format!("{:.2} GB in the data directory", bytes as f64 / 1e9);
    let data = work.join("data");
    let launch = Launch::new(binary, work, &data)?;
    let server = launch.start(None)?;
    let address = SocketAddr::from(([127, 0, 0, 1], launch.port()));
    memory(&server, &group, "server's peak memory before", table)?;
    let path = format!("{PROXY}/artifacts/0/r/artifacts/large.bin");
    let began = Instant::now();
    put(address, &path, 0, bytes)?;
    let enough = FAST_ENOUGH.min(disk.write * AS_FAST_AS_THE_DISK);
    table.add_at_least(&group, "up", rate(bytes, began), "MB/s", enough);
    forget(&data)?;
    let began = Instant::now();
    get(address, &path, bytes)?;
    let enough = FAST_ENOUGH.min(disk.read * AS_FAST_AS_THE_DISK);
    table.add_at_least(&group, "down", rate(bytes, began), "MB/s", enough);
    let began = Instant::now();
    get(address, &path, bytes)?;
    table.add(&group, "down, from the system's memory", rate(bytes, began), "MB/s");
    memory(&server, &group, "server's peak memory after", table)?;
    server.stop()?;
    Ok(std::fs::remove_dir_all(data)?)
}

/// What the S3 server does by itself, in MB/s: an upload in parts straight to it, and a download.
fn bare_s3(s3: &S3Server, bytes: u64, root: &Path) -> anyhow::Result<(f64, f64)> {
    let variables = s3.variables();
    let find = |name: &str| variables.iter().find(|(n, _)| *n == name).map(|(_, value)| value.clone());
    let bucket = Bucket::open("s3://bench/bare", find)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut pattern = Pattern::new();
        let pieces = (0..bytes.div_ceil(PIECE as u64)).map(move |number| {
            let left = bytes - number * PIECE as u64;
            let piece = pattern.piece(number);
            let n = piece.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            Ok::<_, Infallible>(bytes::Bytes::copy_from_slice(&piece[..n]))
        });
        let began = Instant::now();
        let stored = bucket.put("x", futures::stream::iter(pieces), u64::MAX, async |_| Ok(())).await?;
        forget(&root.join("bench"))?;
        let up = rate(bytes, began);
        let began = Instant::now();
        let mut down = std::pin::pin!(bucket.get(&stored.object, None).await?);
        let mut got = 0;
        while let Some(piece) = futures::StreamExt::next(&mut down).await {
            got += piece?.len() as u64;
        }
        ensure!(got == bytes, "{got} of {bytes} bytes came back");
        let rates = (up, rate(bytes, began));
        bucket.remove("x").await?;
        Ok(rates)
    })
}

fn through_s3(binary: &Path, bytes: u64, work: &Path, disk: Disk, table: &mut Table) -> anyhow::Result<()> {
    let root = work.join("s3");
    std::fs::create_dir(&root)?;
    let s3 = S3Server::start(&root)?;
    s3.make_bucket("bench")?;
    let (bare_up, bare_down) = bare_s3(&s3, bytes, &root)?;
    #[allow(clippy::cast_precision_loss)]
    let group = format!("{:.2} GB through a real S3 server", bytes as f64 / 1e9);
    table.add(&group, "the S3 server by itself, up in parts and brought to the disk", bare_up, "MB/s");
    table.add(&group, "the S3 server by itself, down", bare_down, "MB/s");
    let mut variables = s3.variables().map(|(name, value)| (name.to_owned(), value)).to_vec();
    variables.push(("MLFLOW_ARTIFACTS_DESTINATION".to_owned(), "s3://bench/mlflow".to_owned()));
    let launch = Launch::new(binary, work, &work.join("data-s3"))?.with_variables(variables);
    let server = launch.start(None)?;
    let address = SocketAddr::from(([127, 0, 0, 1], launch.port()));
    memory(&server, &group, "server's peak memory before", table)?;
    let path = format!("{PROXY}/artifacts/0/r/artifacts/large.bin");
    let began = Instant::now();
    put(address, &path, 0, bytes)?;
    forget(&root.join("bench"))?;
    let enough = FAST_ENOUGH.min(disk.write.min(bare_up) * AS_FAST_AS_THE_DISK);
    let name = "up through the proxy and brought to the disk";
    table.add_at_least(&group, name, rate(bytes, began), "MB/s", enough);
    let began = Instant::now();
    get(address, &path, bytes)?;
    let enough = FAST_ENOUGH.min(disk.read.min(bare_down) * AS_FAST_AS_THE_DISK);
    table.add_at_least(&group, "down through the proxy", rate(bytes, began), "MB/s", enough);
    std::fs::remove_dir_all(root.join("bench/mlflow"))?;
    let began = Instant::now();
    in_parts(address, bytes)?;
    forget(&root.join("bench"))?;
    let name = "up in parts by signed addresses and brought to the disk";
    table.add(&group, name, rate(bytes, began), "MB/s");
    get(address, &format!("{PROXY}/artifacts/0/r/artifacts/parts.bin"), bytes)?;
    memory(&server, &group, "server's peak memory after", table)?;
    server.stop()
}

fn ask(address: SocketAddr, path: &str, body: &Json) -> anyhow::Result<Json> {
    let answer = Connection::open(address, TIMEOUT)?.ask(&post_json(path, &body.to_string()))?;
    ensure!(answer.status == 200, "{path}: {}", String::from_utf8_lossy(&answer.body));
    Ok(serde_json::from_slice(&answer.body).unwrap_or_default())
}

/// An upload as MLflow's client makes it: the server signs addresses, the parts go to the bucket, the server has them put
/// together.
fn in_parts(address: SocketAddr, bytes: u64) -> anyhow::Result<()> {
    let parts = bytes.div_ceil(PART);
    let name = "parts.bin";
    let begun = json!({ "path": name, "num_parts": parts });
    let begun = ask(address, &format!("{PROXY}/mpu/create/0/r/artifacts"), &begun)?;
    let urls: Vec<&str> =
        begun["credentials"].as_array().into_iter().flatten().filter_map(|c| c["url"].as_str()).collect();
    ensure!(urls.len() as u64 == parts, "{} addresses for {parts} parts", urls.len());
    let send = |index: usize| {
        let url = urls[index].strip_prefix("http://").context("an address")?;
        let (host, path) = url.split_once('/').context("a path")?;
        let first = index as u64 * PART;
        let etag = put(host.parse()?, &format!("/{path}"), first / PIECE as u64, PART.min(bytes - first))?;
        Ok::<_, anyhow::Error>(json!({ "part_number": index + 1, "etag": etag }))
    };
    let (send, count) = (&send, urls.len());
    let sent = std::thread::scope(|scope| {
        let senders: Vec<_> = (0..SENDERS)
            .map(|sender| scope.spawn(move || (sender..count).step_by(SENDERS).map(send).collect::<Vec<_>>()))
            .collect();
        let sent = senders.into_iter().flat_map(|sender| sender.join().unwrap_or_default());
        sent.collect::<anyhow::Result<Vec<_>>>()
    })?;
    ensure!(sent.len() as u64 == parts, "{} of {parts} parts were sent", sent.len());
    let ended = json!({ "path": name, "upload_id": begun["upload_id"], "parts": sent });
    ask(address, &format!("{PROXY}/mpu/complete/0/r/artifacts"), &ended)?;
    Ok(())
}
