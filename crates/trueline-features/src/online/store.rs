//! Reading the online store, and handing writes to its writer.

use super::writer::{self, Entry, Job, Pushed};
use super::{Keys, OnlineError, OnlineRow, OnlineView};
use crate::ViewRef;
use crossbeam_channel::{Sender, TrySendError, bounded};
use quick_cache::UnitWeighter;
use quick_cache::sync::Cache;
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition, TableError};
use serde::Serialize;
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::oneshot;
use trueline_ledger::ProjectId;

pub(super) const ROWS: TableDefinition<'static, &[u8], &[u8]> = TableDefinition::new("rows");
/// Views by project and reference, as JSON.
const VIEWS: TableDefinition<'static, (&str, &str), &[u8]> = TableDefinition::new("views");

/// Rows held in memory.
const HOT_ROWS: u64 = 100_000;
/// Rows that memory is taken for at once.
const FIRST_ROWS: usize = 1_000;
/// Pages of the file held in memory.
const PAGE_CACHE: usize = 32 << 20;
/// Pushes that may wait.
const QUEUE: usize = 256;

/// What the writer and the readers share.
pub(super) struct Shared {
    pub(super) db: Database,
    hot: Cache<Box<[u8]>, Arc<OnlineRow>>,
    /// Counts commits; held while hot rows are replaced.
    commits: Mutex<u64>,
}

impl Shared {
    fn commits(&self) -> MutexGuard<'_, u64> {
        self.commits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Shows what was committed.
    pub(super) fn committed(&self, rows: impl Iterator<Item = (Box<[u8]>, Arc<OnlineRow>)>) {
        let mut commits = self.commits();
        *commits += 1;
        rows.for_each(|(key, row)| self.hot.insert(key, row));
    }

    fn hot(&self, key: &[u8]) -> Option<Arc<OnlineRow>> {
        self.hot.get(key)
    }

    fn read(&self, key: &[u8]) -> Result<Option<Arc<OnlineRow>>, OnlineError> {
        if let Some(row) = self.hot(key) {
            return Ok(Some(row));
        }
        let seen = *self.commits();
        let table = self.db.begin_read()?.open_table(ROWS)?;
        let Some(bytes) = table.get(key)? else { return Ok(None) };
        let row = OnlineRow::decode(bytes.value())
            .ok_or_else(|| OnlineError::Store("a row's bytes are broken".to_owned()))?;
        let row = Arc::new(row);
        // A commit since then may have shown a newer row already, which this one must not hide.
        let commits = self.commits();
        if *commits == seen {
            self.hot.insert(key.into(), row.clone());
        }
        Ok(Some(row))
    }
}

type Views = HashMap<ProjectId, HashMap<String, BTreeMap<i64, Arc<OnlineView>>>>;

struct Inner {
    shared: Arc<Shared>,
    views: RwLock<Views>,
    /// Both until the drop.
    queue: Option<Sender<Job>>,
    writer: Option<JoinHandle<()>>,
}

impl Drop for Inner {
    /// Waits until the writer has let go of the file, so that it can be opened again.
    fn drop(&mut self) {
        self.queue = None;
        if let Some(writer) = self.writer.take() {
            drop(writer.join());
        }
    }
}

/// The online store of one server. Cheap to clone.
#[derive(Clone)]
pub struct OnlineStore {
    inner: Arc<Inner>,
}

impl std::fmt::Debug for OnlineStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OnlineStore").finish_non_exhaustive()
    }
}

/// What was found for a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// A row that is true.
    Present,
    /// No row.
    NotFound,
    /// A row that is older than the view's ttl allows.
    OutsideMaxAge,
}

/// A row that was looked up.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// Whether there is one, and whether it is still true.
    pub status: Status,
    /// The row, also when it is too old.
    pub row: Option<Arc<OnlineRow>>,
}

fn insert(views: &mut Views, project: &ProjectId, view: OnlineView) {
    let versions = views.entry(project.clone()).or_default().entry(view.name.clone()).or_default();
    versions.insert(view.version, Arc::new(view));
}

fn load(db: &Database) -> Result<Views, OnlineError> {
    let mut views = Views::new();
    let table = match db.begin_read()?.open_table(VIEWS) {
        Ok(table) => table,
        Err(TableError::TableDoesNotExist(_)) => {
            let setup = db.begin_write()?;
            setup.open_table(ROWS)?;
            setup.open_table(VIEWS)?;
            setup.commit()?;
            return Ok(views);
        }
        Err(other) => return Err(other.into()),
    };
    for entry in table.iter()? {
        let (key, value) = entry?;
        let view = serde_json::from_slice(value.value())
            .map_err(|e| OnlineError::Store(format!("the view {} is broken: {e}", key.value().1)))?;
        insert(&mut views, &ProjectId::new(key.value().0), view);
    }
    Ok(views)
}

/// Makes the file, whole or not at all: its first pages are written one after the other, and one that lacks some of them
/// would never open again.
fn make(path: &Path) -> Result<(), OnlineError> {
    let unfinished = path.with_extension("unfinished");
    match std::fs::remove_file(&unfinished) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e.into()),
        _ => {}
    }
    drop(Database::create(&unfinished)?);
    File::open(&unfinished)?.sync_all()?;
    std::fs::rename(&unfinished, path)?;
    match path.parent() {
        Some(folder) if folder != Path::new("") => Ok(File::open(folder)?.sync_all()?),
        _ => Ok(()),
    }
}

impl OnlineStore {
    /// Opens the store in a file, which is made if it is missing.
    ///
    /// # Errors
    /// What the disk says, or that another process has the file.
    pub fn open(path: &Path) -> Result<Self, OnlineError> {
        if !path.exists() {
            make(path)?;
        }
        let db = Database::builder().set_cache_size(PAGE_CACHE).open(path)?;
        let views = RwLock::new(load(&db)?);
        let shared = Arc::new(Shared {
            db,
            hot: Cache::with_weighter(FIRST_ROWS, HOT_ROWS, UnitWeighter),
            commits: Mutex::new(0),
        });
        let (queue, jobs) = bounded(QUEUE);
        let writers = shared.clone();
        let writer = std::thread::Builder::new()
            .name("online-writer".to_owned())
            .spawn(move || writer::run(&writers, &jobs))
            .map_err(|e| OnlineError::Store(e.to_string()))?;
        let inner = Inner { shared, views, queue: Some(queue), writer: Some(writer) };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Makes a view known, durably.
    ///
    /// # Errors
    /// What the disk says.
    pub async fn declare(&self, project: &ProjectId, view: OnlineView) -> Result<(), OnlineError> {
        let (store, project) = (self.clone(), project.clone());
        blocking(move || {
            let transaction = store.inner.shared.db.begin_write()?;
            let bytes = serde_json::to_vec(&view).map_err(|e| OnlineError::Store(e.to_string()))?;
            let reference = view.reference().to_string();
            transaction
                .open_table(VIEWS)?
                .insert((project.as_str(), reference.as_str()), bytes.as_slice())?;
            transaction.commit()?;
            let mut views = store.inner.views.write().unwrap_or_else(PoisonError::into_inner);
            insert(&mut views, &project, view);
            Ok(())
        })
        .await
    }

    /// A view that was declared; its newest version when none is named.
    #[must_use]
    pub fn view(&self, project: &ProjectId, wanted: &ViewRef) -> Option<Arc<OnlineView>> {
        let views = self.inner.views.read().unwrap_or_else(PoisonError::into_inner);
        let versions = views.get(project)?.get(&wanted.name)?;
        match wanted.version {
            Some(version) => versions.get(&version).cloned(),
            None => versions.last_key_value().map(|(_, view)| view.clone()),
        }
    }

    fn known(&self, project: &ProjectId, wanted: &ViewRef) -> Result<Arc<OnlineView>, OnlineError> {
        self.view(project, wanted).ok_or_else(|| OnlineError::UnknownView(wanted.to_string()))
    }

    /// The newest row of a key. Microseconds for a hot row; otherwise it reads the disk, so an async caller that must
    /// not wait takes [`OnlineStore::lookup`].
    ///
    /// # Errors
    /// [`OnlineError::UnknownView`], [`OnlineError::Invalid`] when the key is not the view's.
    pub fn get(
        &self,
        project: &ProjectId,
        view: &ViewRef,
        keys: &Keys,
    ) -> Result<Option<Arc<OnlineRow>>, OnlineError> {
        let view = self.known(project, view)?;
        view.check(keys)?;
        self.inner.shared.read(&keys.encode(project.as_str(), &view.name, view.version))
    }

    /// The newest rows of several keys within `deadline`, in the order of the keys. `at_us` is the time that ages are
    /// measured at: that of the request, or of the event in a replay; without it no row is too old.
    ///
    /// # Errors
    /// As for [`OnlineStore::get`], and [`OnlineError::Deadline`].
    pub async fn lookup(
        &self,
        project: &ProjectId,
        view: &ViewRef,
        keys: &[Keys],
        at_us: Option<i64>,
        deadline: Duration,
    ) -> Result<Vec<Found>, OnlineError> {
        let view = self.known(project, view)?;
        keys.iter().try_for_each(|k| view.check(k))?;
        let keys = keys.iter().map(|k| k.encode(project.as_str(), &view.name, view.version));
        let mut rows: Vec<_> = keys.map(|key| (self.inner.shared.hot(&key), key)).collect();
        if rows.iter().any(|(row, _)| row.is_none()) {
            let shared = self.inner.shared.clone();
            let reading = blocking(move || {
                for (row, key) in &mut rows {
                    if row.is_none() {
                        *row = shared.read(key)?;
                    }
                }
                Ok(rows)
            });
            let late = |_| OnlineError::Deadline { limit_ms: deadline.as_millis() };
            rows = tokio::time::timeout(deadline, reading).await.map_err(late)??;
        }
        Ok(rows.into_iter().map(|(row, _)| found(row, &view, at_us)).collect())
    }

    /// Writes rows that are not older than what is there; answers once they are durable.
    ///
    /// # Errors
    /// [`OnlineError::UnknownView`], [`OnlineError::Invalid`], [`OnlineError::Busy`], or what the disk says.
    pub async fn push(
        &self,
        project: &ProjectId,
        view: &ViewRef,
        rows: Vec<(Keys, OnlineRow)>,
    ) -> Result<Pushed, OnlineError> {
        let view = self.known(project, view)?;
        let entry = |(keys, row): (Keys, OnlineRow)| {
            view.check(&keys)?;
            if row.values.len() != view.features.len() {
                return Err(OnlineError::Invalid(format!(
                    "view {} has {} features, a row {}",
                    view.name,
                    view.features.len(),
                    row.values.len()
                )));
            }
            Ok((keys.encode(project.as_str(), &view.name, view.version), row))
        };
        let rows = rows.into_iter().map(entry).collect::<Result<Vec<Entry>, _>>()?;
        let (done, answer) = oneshot::channel();
        let stopped = || OnlineError::Store("its writer has stopped".to_owned());
        let queue = self.inner.queue.as_ref().ok_or_else(stopped)?;
        queue.try_send(Job { rows, done }).map_err(|error| match error {
            TrySendError::Full(_) => OnlineError::Busy { waiting: QUEUE },
            TrySendError::Disconnected(_) => stopped(),
        })?;
        answer.await.map_err(|_| stopped())?
    }
}

fn found(row: Option<Arc<OnlineRow>>, view: &OnlineView, at_us: Option<i64>) -> Found {
    let oldest = at_us.zip(view.ttl).map(|(at, ttl)| at.saturating_sub(ttl.micros()));
    let status = match &row {
        None => Status::NotFound,
        Some(row) if oldest.is_some_and(|oldest| row.event_us < oldest) => Status::OutsideMaxAge,
        Some(_) => Status::Present,
    };
    Found { status, row }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, OnlineError> + Send + 'static,
) -> Result<T, OnlineError> {
    tokio::task::spawn_blocking(work).await.map_err(|e| OnlineError::Store(e.to_string()))?
}
