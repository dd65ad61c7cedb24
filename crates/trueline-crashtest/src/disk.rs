//! A disk whose power can be cut: everything that was written below its root but not fsynced is lost.
//!
//! A library (`shim.c`, compiled when a test starts) is loaded into the process that writes. It keeps, beside the root,
//! what is durable: the bytes of each file at its last fsync and the names of each folder at its last fsync, under ids
//! that stay with an inode. A cut, after the process was killed, puts the root back to that:
//!
//! ```text
//!   root/…          what the process sees        ─┐
//!   shadow/f/<id>   bytes at the last fsync       ├─►  root/…  as after the power came back
//!   shadow/d/<id>   names at the last fsync      ─┘
//! ```
//!
//! A file whose name is durable and whose bytes are not is empty then; a file whose bytes are durable and whose name is
//! not is gone. One thing is taken for granted, as every file system in use has it: a rename is atomic, so a file is not
//! left under its old name once its new one is durable.
//!
//! A real cut loses not everything but an arbitrary part. With a chance above 0, each sector that was written but not
//! fsynced, and each name that was made or removed, survives with that chance, apart from all others. (Of several
//! unsynced writes to one sector, the last or none survives.)

use crate::Rng;
use anyhow::{Context, bail};
use rustix::fs::XattrFlags;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

const SHIM: &str = include_str!("shim.c");
const ATTRIBUTE: &str = "user.trueline.crashtest";
/// What a disk writes whole or not at all.
const SECTOR: usize = 512;
const CHUNK: usize = 2048 * SECTOR;

/// The folder that a process writes to and what is durable of it.
#[derive(Debug)]
pub struct Disk {
    root: PathBuf,
    shadow: PathBuf,
    library: PathBuf,
    disbelieved: Option<PathBuf>,
}

/// What a cut took.
#[derive(Clone, Copy, Debug, Default)]
pub struct Lost {
    /// Names that are not there any more, or lead to an older file.
    pub names: usize,
    /// Sectors that are older than what the process had written.
    pub sectors: usize,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Id(String);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    folder: bool,
    id: Id,
}

type Names = BTreeMap<String, Entry>;
/// Names by folder.
type Tree = BTreeMap<Id, Names>;

impl Disk {
    /// An empty disk below `work`. Needs a C compiler, and a file system with user attributes (ext4, XFS, btrfs, tmpfs
    /// since Linux 6.6).
    ///
    /// # Errors
    /// When one of them is missing.
    pub fn new(work: &Path) -> anyhow::Result<Self> {
        let (root, shadow, library) = (work.join("root"), work.join("shadow"), work.join("shim.so"));
        fs::create_dir_all(&root)?;
        fs::create_dir_all(shadow.join("f"))?;
        fs::create_dir_all(shadow.join("d"))?;
        compile(work, &library)?;
        let disk =
            Self { root: root.canonicalize()?, shadow: shadow.canonicalize()?, library, disbelieved: None };
        give_id(&disk.root, &Id("0".repeat(16)))?;
        Ok(disk)
    }

    /// The folder whose power can be cut. It is durable itself; nothing in it is until it is fsynced.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Fsyncs in a folder below the root, and of all that lies in it, count for nothing from now on, as if the program
    /// had forgotten them: for a control.
    pub fn disbelieve(&mut self, folder: impl AsRef<Path>) {
        self.disbelieved = Some(self.root.join(folder));
    }

    /// Has a process run on this disk.
    pub fn attach(&self, command: &mut Command) {
        command.env("LD_PRELOAD", &self.library);
        command.env("CRASHTEST_ROOT", &self.root).env("CRASHTEST_SHADOW", &self.shadow);
        if let Some(folder) = &self.disbelieved {
            command.env("CRASHTEST_DISBELIEVED", folder);
        }
    }

    /// Whether a process that was given to [`Disk::attach`] took the library: a static binary does not.
    #[must_use]
    pub fn was_attached(&self) -> bool {
        self.shadow.join("loaded").exists()
    }

    /// Cuts the power. The process must be dead. `survival` is the chance of each write that was not fsynced.
    ///
    /// # Errors
    /// What the file system says.
    pub fn cut(&self, survival: f64, rng: &mut Rng) -> anyhow::Result<Lost> {
        let mut live = Live::default();
        live.walk(&self.root, rng)?;
        let durable = self.durable_names()?;
        let tree = settle_names(durable, &live, survival, rng);
        let mut after =
            Restored { disk: self, live: &live, tree: &tree, placed: BTreeMap::new(), lost: Lost::default() };
        after.lost.names = names_lost(&live, &tree);
        let restored = self.root.with_extension("restored");
        after.folder(&Id("0".repeat(16)), &restored, survival, rng)?;
        let (placed, lost) = (after.placed, after.lost);
        self.forget_all_but(&placed)?;
        fs::remove_dir_all(&self.root)?;
        fs::rename(&restored, &self.root)?;
        Ok(lost)
    }

    fn durable_names(&self) -> anyhow::Result<Tree> {
        let mut tree = Tree::new();
        for file in fs::read_dir(self.shadow.join("d"))? {
            let file = file?;
            let text = fs::read_to_string(file.path())?;
            let names: Option<Names> = text.lines().map(parse_name).collect();
            let names = names.with_context(|| format!("{} is damaged", file.path().display()))?;
            tree.insert(Id(file.file_name().to_string_lossy().into_owned()), names);
        }
        Ok(tree)
    }

    fn durable_bytes(&self, id: &Id) -> PathBuf {
        self.shadow.join("f").join(&id.0)
    }

    /// Removes what no name leads to any more: nothing can bring it back.
    fn forget_all_but(&self, placed: &BTreeMap<Id, PathBuf>) -> anyhow::Result<()> {
        for kind in ["f", "d"] {
            for file in fs::read_dir(self.shadow.join(kind))? {
                let file = file?;
                if !placed.contains_key(&Id(file.file_name().to_string_lossy().into_owned())) {
                    fs::remove_file(file.path())?;
                }
            }
        }
        Ok(())
    }
}

fn compile(work: &Path, library: &Path) -> anyhow::Result<()> {
    let source = work.join("shim.c");
    fs::write(&source, SHIM)?;
    let compiler = std::env::var_os("CC").unwrap_or_else(|| "cc".into());
    let flags = ["-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-pthread"];
    let mut command = Command::new(&compiler);
    command.args(flags).arg("-o").arg(library).arg(&source).arg("-ldl");
    let done = command.output().with_context(|| {
        format!("can't run {}: install a C compiler, or name one with CC", compiler.display())
    })?;
    if !done.status.success() {
        bail!("the shim does not compile:\n{}", String::from_utf8_lossy(&done.stderr));
    }
    Ok(())
}

fn parse_name(line: &str) -> Option<(String, Entry)> {
    let mut parts = line.splitn(3, ' ');
    let (kind, id, name) = (parts.next()?, parts.next()?, parts.next()?);
    Some((name.to_owned(), Entry { folder: kind == "d", id: Id(id.to_owned()) }))
}

fn give_id(path: &Path, id: &Id) -> anyhow::Result<()> {
    rustix::fs::setxattr(path, ATTRIBUTE, id.0.as_bytes(), XattrFlags::empty()).with_context(|| {
        format!(
            "can't set a user attribute on {}: set TMPDIR to a folder on ext4, XFS or btrfs",
            path.display()
        )
    })
}

/// What the process sees, at the moment of the cut.
#[derive(Debug, Default)]
struct Live {
    tree: Tree,
    place: BTreeMap<Id, PathBuf>,
}

impl Live {
    fn walk(&mut self, folder: &Path, rng: &mut Rng) -> anyhow::Result<Id> {
        let id = id_of(folder, rng);
        self.place.insert(id.clone(), folder.to_owned());
        let mut names = Names::new();
        for child in fs::read_dir(folder)? {
            let child = child?;
            let is_folder = child.file_type()?.is_dir();
            let id = if is_folder { self.walk(&child.path(), rng)? } else { id_of(&child.path(), rng) };
            self.place.insert(id.clone(), child.path());
            let name = child.file_name().into_string().ok().context("a name is not UTF-8")?;
            names.insert(name, Entry { folder: is_folder, id });
        }
        self.tree.insert(id.clone(), names);
        Ok(id)
    }
}

/// The id of what is at a path; what no fsync has met yet gets one now.
fn id_of(path: &Path, rng: &mut Rng) -> Id {
    let mut id = [0_u8; 16];
    match rustix::fs::getxattr(path, ATTRIBUTE, &mut id[..]) {
        Ok(16) => Id(String::from_utf8_lossy(&id).into_owned()),
        _ => Id(format!("{:016x}", rng.number())),
    }
}

/// The names after the cut: the durable ones, and of the others those that chance lets survive.
fn settle_names(mut tree: Tree, live: &Live, survival: f64, rng: &mut Rng) -> Tree {
    if survival > 0.0 {
        for (folder, names) in &live.tree {
            let kept = tree.entry(folder.clone()).or_default();
            for (name, entry) in names {
                if kept.get(name) != Some(entry) && rng.chance(survival) {
                    kept.insert(name.clone(), entry.clone());
                }
            }
            kept.retain(|name, entry| {
                names.contains_key(name) || live.place.contains_key(&entry.id) || !rng.chance(survival)
            });
        }
    }
    drop_renamed(&mut tree, &live.tree);
    tree
}

/// A rename is atomic: what is under a name that it has now is not under one that it had before.
fn drop_renamed(tree: &mut Tree, live: &Tree) {
    let lives = |folder: &Id, name: &String, entry: &Entry| {
        live.get(folder).and_then(|names| names.get(name)).is_some_and(|now| now == entry)
    };
    let mut arrived = BTreeSet::new();
    for (folder, names) in tree.iter() {
        let here = names.iter().filter(|(name, entry)| lives(folder, name, entry));
        arrived.extend(here.map(|(_, entry)| entry.id.clone()));
    }
    for (folder, names) in tree.iter_mut() {
        names.retain(|name, entry| !arrived.contains(&entry.id) || lives(folder, name, entry));
    }
}

fn names_lost(live: &Live, tree: &Tree) -> usize {
    let kept = |folder: &Id, name: &String| tree.get(folder).and_then(|names| names.get(name));
    let of_folder = |(folder, names): (&Id, &Names)| {
        names.iter().filter(|(name, entry)| kept(folder, name) != Some(entry)).count()
    };
    live.tree.iter().map(of_folder).sum()
}

/// The root as it is made again, and the shadow with it.
struct Restored<'a> {
    disk: &'a Disk,
    live: &'a Live,
    tree: &'a Tree,
    placed: BTreeMap<Id, PathBuf>,
    lost: Lost,
}

impl Restored<'_> {
    fn folder(&mut self, id: &Id, at: &Path, survival: f64, rng: &mut Rng) -> anyhow::Result<()> {
        if self.placed.insert(id.clone(), at.to_owned()).is_some() {
            bail!("the folder {} would be in two places", at.display());
        }
        fs::create_dir(at)?;
        give_id(at, id)?;
        let names = self.tree.get(id).cloned().unwrap_or_default();
        let mut kept = File::create(self.disk.shadow.join("d").join(&id.0))?;
        for (name, entry) in &names {
            let place = at.join(name);
            if entry.folder {
                self.folder(&entry.id, &place, survival, rng)?;
            } else {
                self.file(&entry.id, &place, survival, rng)?;
            }
            writeln!(kept, "{} {} {name}", if entry.folder { 'd' } else { 'f' }, entry.id.0)?;
        }
        Ok(())
    }

    fn file(&mut self, id: &Id, at: &Path, survival: f64, rng: &mut Rng) -> anyhow::Result<()> {
        if let Some(other) = self.placed.get(id) {
            return Ok(fs::hard_link(other, at)?);
        }
        let durable = self.disk.durable_bytes(id);
        let bytes = File::options().read(true).write(true).create(true).truncate(false).open(&durable)?;
        if let Some(live) = self.live.place.get(id) {
            let sectors = settle_sectors(&bytes, &File::open(live)?, survival, rng)?;
            self.lost.sectors += sectors;
        }
        fs::copy(&durable, at)?;
        give_id(at, id)?;
        self.placed.insert(id.clone(), at.to_owned());
        Ok(())
    }
}

/// Lets sectors of `live` that are not in `durable` survive by chance; answers how many did not.
fn settle_sectors(durable: &File, live: &File, survival: f64, rng: &mut Rng) -> anyhow::Result<usize> {
    let (had, has) = (durable.metadata()?.len(), live.metadata()?.len());
    let mut lost = 0;
    let mut at = 0;
    while at < has {
        let now = chunk(live, at)?;
        let before = chunk(durable, at)?;
        for (i, sector) in now.chunks(SECTOR).enumerate() {
            let from = i * SECTOR;
            let old = before.get(from..).map(|rest| &rest[..rest.len().min(sector.len())]);
            if old == Some(sector) {
                continue;
            }
            if rng.chance(survival) {
                durable.write_all_at(sector, at + from as u64)?;
            } else {
                lost += 1;
            }
        }
        at += CHUNK as u64;
    }
    if has < had {
        if rng.chance(survival) {
            durable.set_len(has)?;
        } else {
            lost += 1;
        }
    }
    Ok(lost)
}

fn chunk(file: &File, at: u64) -> std::io::Result<Vec<u8>> {
    let mut bytes = vec![0; CHUNK];
    let mut have = 0;
    while have < CHUNK {
        match file.read_at(&mut bytes[have..], at + have as u64)? {
            0 => break,
            n => have += n,
        }
    }
    bytes.truncate(have);
    Ok(bytes)
}
