//! What a cut leaves and what it takes, with writers of our own: is the disk of the crash tests a fair one?
//!
//! Each writer is this test binary once more, with the disk's library loaded and the name of the writer to be.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use rusqlite::Connection;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use trueline_crashtest::{Disk, Rng};
use trueline_db::{Config, Db, DbError, Durability, Limits, Tx};

/// Where a writer writes.
const FOLDER: &str = "CRASHTEST_FOLDER";

struct Writer {
    child: Child,
    lines: std::io::Lines<BufReader<ChildStdout>>,
}

impl Writer {
    /// Runs the ignored test `name` of this file as a writer on `disk`.
    fn start(disk: &Disk, name: &str) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", name, "--ignored", "--nocapture", "--test-threads=1"]);
        command.env(FOLDER, disk.root()).stdout(Stdio::piped());
        disk.attach(&mut command);
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    /// Waits for the next line of the writer that starts so, and gives the rest of it.
    fn told(&mut self, prefix: &str) -> String {
        loop {
            let line = self.lines.next().expect("the writer ended early").unwrap();
            if let Some(rest) = line.strip_prefix(prefix) {
                return rest.to_owned();
            }
        }
    }

    /// Kills it; answers the last number that it acknowledged.
    fn kill(mut self) -> i64 {
        self.child.kill().unwrap();
        let numbers =
            self.lines.by_ref().map_while(Result::ok).filter_map(|l| l.strip_prefix("ack ")?.parse().ok());
        numbers.last().unwrap_or(-1)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The folder of this process, when it is a writer; the tests below that are writers do nothing otherwise.
fn folder() -> Option<PathBuf> {
    std::env::var_os(FOLDER).map(PathBuf::from)
}

fn tell(line: &str) {
    let mut out = std::io::stdout();
    // The test runner has begun a line already.
    writeln!(out, "\n{line}").unwrap();
    out.flush().unwrap();
}

fn wait_to_be_killed() -> ! {
    tell("done");
    loop {
        std::thread::park();
    }
}

fn sync(path: &Path) {
    File::open(path).unwrap().sync_all().unwrap();
}

fn disk() -> (tempfile::TempDir, Disk) {
    let work = tempfile::tempdir().unwrap();
    let disk = Disk::new(work.path()).unwrap();
    (work, disk)
}

fn insert_rows(synchronous: &str) {
    let Some(folder) = folder() else { return };
    let db = Connection::open(folder.join("rows.db")).unwrap();
    db.pragma_update(None, "journal_mode", "WAL").unwrap();
    db.pragma_update(None, "synchronous", synchronous).unwrap();
    // Checkpoints, and with them a WAL that begins anew, come often.
    db.pragma_update(None, "wal_autocheckpoint", 20).unwrap();
    db.execute_batch("CREATE TABLE IF NOT EXISTS rows (n INTEGER PRIMARY KEY, filler BLOB)").unwrap();
    let first: i64 = db.query_row("SELECT COALESCE(MAX(n), -1) + 1 FROM rows", [], |r| r.get(0)).unwrap();
    for n in first.. {
        db.execute("INSERT INTO rows VALUES (?1, randomblob(1 + ?1 * 37 % 3000))", [n]).unwrap();
        tell(&format!("ack {n}"));
    }
}

#[test]
#[ignore = "a writer for the tests of this file"]
fn writer_synchronous_full() {
    insert_rows("FULL");
}

#[test]
#[ignore = "a writer for the tests of this file"]
fn writer_synchronous_off() {
    insert_rows("OFF");
}

#[test]
#[ignore = "a writer for the tests of this file"]
fn writer_that_is_killed_before_its_fsync() {
    let Some(folder) = folder() else { return };
    let db = Connection::open(folder.join("rows.db")).unwrap();
    db.pragma_update(None, "synchronous", "OFF").unwrap();
    db.execute("INSERT INTO rows VALUES (1, zeroblob(5000))", []).unwrap();
    wait_to_be_killed();
}

#[test]
#[ignore = "a writer for the tests of this file"]
fn server_that_shows_the_rows() {
    let Some(folder) = folder() else { return };
    let (path, limits) = (folder.join("rows.db"), Limits::default());
    let db = Db::open(&Config::Sqlite { path, durability: Durability::Full, limits }, &[]).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let rows: i64 = runtime
        .block_on(db.write(|tx: &mut Tx<'_>| {
            tx.execute("CREATE TABLE IF NOT EXISTS rows (n INTEGER PRIMARY KEY, filler BLOB)", &[])?;
            Ok::<_, DbError>(tx.scalar("SELECT COUNT(*) FROM rows", &[])?.unwrap_or(-1))
        }))
        .unwrap();
    tell(&format!("shown {rows}"));
    wait_to_be_killed();
}

#[test]
fn what_a_restarted_server_shows_is_durable_though_its_writer_was_killed_before_the_fsync() {
    let (_work, disk) = disk();
    let mut server = Writer::start(&disk, "server_that_shows_the_rows");
    assert_eq!(server.told("shown "), "0");
    server.kill();
    let mut writer = Writer::start(&disk, "writer_that_is_killed_before_its_fsync");
    writer.told("done");
    writer.kill();
    let mut server = Writer::start(&disk, "server_that_shows_the_rows");
    assert_eq!(server.told("shown "), "1");
    server.kill();
    disk.cut(0.0, &mut Rng::new(3)).unwrap();
    let db = Connection::open(disk.root().join("rows.db")).unwrap();
    assert_eq!(db.query_row("SELECT COUNT(*) FROM rows", [], |row| row.get::<_, i64>(0)).unwrap(), 1);
}

/// The last row of the database; an error when it is missing or damaged.
fn last_row(disk: &Disk) -> rusqlite::Result<i64> {
    let db = Connection::open(disk.root().join("rows.db"))?;
    let told: String = db.query_row("PRAGMA integrity_check", [], |r| r.get(0))?;
    assert_eq!(told, "ok");
    let (rows, last): (i64, i64) =
        db.query_row("SELECT COUNT(*), MAX(n) FROM rows", [], |r| Ok((r.get(0)?, r.get(1)?)))?;
    assert_eq!(rows, last + 1, "rows in the middle are missing");
    Ok(last)
}

/// Rounds of a writer that is cut after a few hundred rows; answers whether rows were lost in each of them.
fn rows_lost(writer: &str, rounds: u64) -> Vec<bool> {
    let (_work, disk) = disk();
    let mut rng = Rng::new(7);
    let round = |i: u64| {
        let mut process = Writer::start(&disk, writer);
        let mut told = String::new();
        for _ in 0..rng.within(20..170) {
            told = process.told("ack ");
        }
        let acknowledged = process.kill().max(told.parse().unwrap());
        assert!(disk.was_attached());
        let survival = if i.is_multiple_of(2) { 0.0 } else { rng.unit() };
        disk.cut(survival, &mut rng).unwrap();
        !last_row(&disk).is_ok_and(|last| last >= acknowledged)
    };
    (0..rounds).map(round).collect()
}

#[test]
fn sqlite_with_synchronous_full_keeps_what_it_acknowledged() {
    assert_eq!(rows_lost("writer_synchronous_full", 10), [false; 10]);
}

#[test]
fn sqlite_with_synchronous_off_loses_what_it_acknowledged() {
    assert!(rows_lost("writer_synchronous_off", 1)[0]);
}

#[test]
#[ignore = "a writer for the tests of this file"]
fn writer_of_files() {
    let Some(root) = folder() else { return };
    let write = |path: &str, text: &str| {
        let mut file = File::create(root.join(path)).unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file
    };
    write("bytes and name", "durable").sync_all().unwrap();
    write("name alone", "lost");
    write("replaced", "old").sync_data().unwrap();
    write("removed", "still there").sync_all().unwrap();
    fs::create_dir(root.join("folder")).unwrap();
    fs::create_dir_all(root.join("spool")).unwrap();
    write("spool/moved", "durable").sync_all().unwrap();
    sync(&root.join("spool"));
    sync(&root);

    write("bytes alone", "no name leads to them").sync_all().unwrap();
    write("bytes and name", "durable, and more that is not");
    write("new", "new").sync_all().unwrap();
    fs::rename(root.join("new"), root.join("replaced")).unwrap();
    fs::remove_file(root.join("removed")).unwrap();
    write("folder/file", "in a folder that is not fsynced").sync_all().unwrap();
    fs::create_dir(root.join("blobs")).unwrap();
    fs::rename(root.join("spool/moved"), root.join("folder/moved")).unwrap();
    wait_to_be_killed();
}

#[test]
#[ignore = "a writer for the tests of this file"]
fn writer_of_moved_files() {
    let Some(root) = folder() else { return };
    for folder in ["spool", "blobs"] {
        fs::create_dir(root.join(folder)).unwrap();
    }
    let mut file = File::create(root.join("spool/1")).unwrap();
    file.write_all(b"moved").unwrap();
    file.sync_all().unwrap();
    sync(&root.join("spool"));
    fs::rename(root.join("spool/1"), root.join("blobs/1")).unwrap();
    sync(&root.join("blobs"));
    sync(&root);
    wait_to_be_killed();
}

fn cut_after(writer: &str, survival: f64) -> (tempfile::TempDir, Disk) {
    let (work, disk) = disk();
    cut_after_on(&disk, writer, survival);
    (work, disk)
}

fn cut_after_on(disk: &Disk, writer: &str, survival: f64) {
    let mut process = Writer::start(disk, writer);
    process.told("done");
    process.kill();
    disk.cut(survival, &mut Rng::new(1)).unwrap();
}

/// All files below a folder with their text.
fn files(root: &Path) -> Vec<(String, String)> {
    fn walk(root: &Path, folder: &Path, out: &mut Vec<(String, String)>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(root, &path, out);
            } else {
                let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
                out.push((name, fs::read_to_string(&path).unwrap()));
            }
        }
    }
    let mut out = Vec::new();
    walk(root, root, &mut out);
    out.sort();
    out
}

fn expected(files: &[(&str, &str)]) -> Vec<(String, String)> {
    files.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
}

#[test]
fn a_cut_leaves_what_was_fsynced_and_nothing_else() {
    let (_work, disk) = cut_after("writer_of_files", 0.0);
    let left = expected(&[
        ("bytes and name", "durable"),
        ("name alone", ""),
        ("removed", "still there"),
        ("replaced", "old"),
        ("spool/moved", "durable"),
    ]);
    assert_eq!(files(disk.root()), left);
}

#[test]
fn a_file_is_not_left_under_its_old_name_once_its_new_one_is_durable() {
    let (_work, disk) = cut_after("writer_of_moved_files", 0.0);
    assert_eq!(files(disk.root()), expected(&[("blobs/1", "moved")]));
}

#[test]
fn where_fsyncs_are_not_believed_all_is_lost_and_elsewhere_nothing_is() {
    let (_work, mut disk) = disk();
    disk.disbelieve("spool");
    cut_after_on(&disk, "writer_of_spooled_files", 0.0);
    assert_eq!(files(disk.root()), expected(&[("spooled", "durable")]));
}

#[test]
#[ignore = "a writer for the tests of this file"]
fn writer_of_spooled_files() {
    let Some(root) = folder() else { return };
    fs::create_dir(root.join("spool")).unwrap();
    for path in ["spool/1", "spooled"] {
        let mut file = File::create(root.join(path)).unwrap();
        file.write_all(b"durable").unwrap();
        file.sync_all().unwrap();
    }
    sync(&root.join("spool"));
    sync(&root);
    wait_to_be_killed();
}

#[test]
fn with_a_chance_of_one_nothing_is_lost() {
    let (_work, disk) = cut_after("writer_of_files", 1.0);
    let left = expected(&[
        ("bytes alone", "no name leads to them"),
        ("bytes and name", "durable, and more that is not"),
        ("folder/file", "in a folder that is not fsynced"),
        ("folder/moved", "durable"),
        ("name alone", "lost"),
        ("replaced", "new"),
    ]);
    assert_eq!(files(disk.root()), left);
}

#[test]
fn a_second_cut_takes_nothing_more() {
    let (_work, disk) = cut_after("writer_of_files", 0.0);
    let left = files(disk.root());
    let lost = disk.cut(0.0, &mut Rng::new(2)).unwrap();
    assert_eq!((lost.names, lost.sectors), (0, 0));
    assert_eq!(files(disk.root()), left);
}
