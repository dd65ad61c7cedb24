//! A data directory without a server: for what is too large to go through one, such as an import. It holds the server's
//! lock meanwhile. What it writes gets its place in the ledger at the server's next start.

use super::assemble::ServerConfig;
use super::{MODULES, data_dir, layout, lock};
use anyhow::Context;
use std::path::Path;
use trueline_blobs::Blobs;
use trueline_db::{Config, Db, DbError, Tx};
use trueline_flows::{CollectOrder, Collection, Collector};
use trueline_identity::{Authorized, Caller, CollectStorage, Identity, IdentityError, Policy, ProjectName};
use trueline_ledger::{Ledger, ProjectId, Sources};
use trueline_registry::Registry;
use trueline_traces::Traces;
use trueline_tracking::{ArtifactPlaces, Tracking};

/// The parts of a server that keep things, without its doors.
pub(crate) struct Offline {
    pub(crate) tracking: Tracking,
    pub(crate) registry: Registry,
    pub(crate) traces: Traces,
    ledger: Ledger,
    blobs: Blobs,
    policy: Policy,
    identity: Identity,
    caller: Caller,
    config: Config,
    _lock: lock::DirectoryLock,
}

impl Offline {
    /// Opens a data directory, which is made if it is missing. Whoever may read and write it may do all that an admin may.
    pub(crate) fn open(folder: &Path, database: Option<String>) -> anyhow::Result<Self> {
        data_dir::make(folder)?;
        let lock = lock::acquire(&folder.join(layout::LOCK))
            .context("this works on the data directory of a server that is stopped")?;
        let config = ServerConfig::database_in(folder, database.as_deref());
        let db = Db::open(&config, MODULES)?;
        let ledger = Ledger::new(db, Sources::system());
        let blobs = Blobs::local(&folder.join(layout::BLOBS))?;
        Ok(Self {
            tracking: Tracking::new(ledger.clone(), blobs.clone()),
            registry: Registry::new(ledger.clone()),
            traces: Traces::new(ledger.clone()),
            ledger: ledger.clone(),
            blobs,
            policy: Policy::built_in()?,
            identity: Identity::new(ledger),
            caller: Caller::local(None),
            config,
            _lock: lock,
        })
    }

    /// Opens a data directory that is there.
    pub(crate) fn open_existing(folder: &Path, database: Option<String>) -> anyhow::Result<Self> {
        let there = folder.join(layout::DATABASE).exists() || (database.is_some() && folder.exists());
        anyhow::ensure!(
            there,
            "there is no data of a server in {}; name its data directory with --data-dir, and its PostgreSQL, when it has one, \
             with --database",
            folder.display()
        );
        Self::open(folder, database)
    }

    /// Reads the database in one snapshot, for as long as it takes.
    pub(crate) fn inspect<T, E: From<DbError>>(
        &self,
        job: impl FnOnce(&mut Tx<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        match &self.config {
            Config::Sqlite { path, .. } => Db::inspect(path, job),
            Config::Postgres { url, .. } => Db::inspect_postgres(url, job),
        }
    }

    /// How many users have accounts.
    pub(crate) async fn users(&self) -> anyhow::Result<u64> {
        Ok(self.identity.accounts().await?.len() as u64)
    }

    /// The project of a name.
    pub(crate) async fn existing_project(&self, name: &str) -> anyhow::Result<ProjectId> {
        self.tracking.adopt_old_points().await?;
        Ok(self.identity.project(name).await?.id)
    }

    /// With artifacts where the server is told to keep them.
    pub(crate) fn with_places(self, places: ArtifactPlaces) -> Self {
        Self { tracking: self.tracking.with_places(places), ..self }
    }

    /// The project of a name, which is made if it is missing.
    pub(crate) async fn project(&self, name: &str) -> anyhow::Result<ProjectId> {
        self.identity.ensure_default_project().await?;
        self.tracking.adopt_old_points().await?;
        // What a purge has yet to clear may lie where an import is about to put things.
        self.tracking.finish_purges().await?;
        match self.identity.project(name).await {
            Ok(project) => Ok(project.id),
            Err(IdentityError::NotFound { .. }) => {
                let leave = self.policy.authorize(&self.caller, &ProjectId::server())?;
                let name = ProjectName::parse(name)?;
                let made = self.identity.create_project(&leave, &name).await?;
                Ok(made.id)
            }
            Err(other) => Err(other.into()),
        }
    }

    /// Deletes for good and collects.
    pub(crate) async fn collect(&self, order: CollectOrder) -> anyhow::Result<Collection> {
        let leave: Authorized<CollectStorage> = self.leave(&ProjectId::server())?;
        let collector = Collector {
            ledger: self.ledger.clone(),
            identity: self.identity.clone(),
            tracking: self.tracking.clone(),
            traces: self.traces.clone(),
            registry: self.registry.clone(),
            blobs: self.blobs.clone(),
        };
        Ok(collector.collect(order, leave.actor()).await?)
    }

    /// Leave to do something in a project.
    pub(crate) fn leave<A: trueline_identity::Action>(
        &self,
        project: &ProjectId,
    ) -> anyhow::Result<trueline_identity::Authorized<A>> {
        Ok(self.policy.authorize(&self.caller, project)?)
    }
}
