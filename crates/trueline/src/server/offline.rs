//! A data directory without a server: for what is too large to go through one, such as an import. It holds the server's
//! lock meanwhile. What it writes gets its place in the ledger at the server's next start.

use super::assemble::ServerConfig;
use super::{MODULES, data_dir, layout, lock};
use anyhow::Context;
use std::path::Path;
use trueline_blobs::Blobs;
use trueline_db::Db;
use trueline_identity::{Caller, Identity, IdentityError, Policy, ProjectName};
use trueline_ledger::{Ledger, ProjectId, Sources};
use trueline_registry::Registry;
use trueline_tracking::{ArtifactPlaces, Tracking};

/// The parts of a server that keep things, without its doors.
pub(crate) struct Offline {
    pub(crate) tracking: Tracking,
    pub(crate) registry: Registry,
    policy: Policy,
    identity: Identity,
    caller: Caller,
    _lock: lock::DirectoryLock,
}

impl Offline {
    /// Opens a data directory, which is made if it is missing. Whoever may read and write it may do all that an admin may.
    pub(crate) fn open(folder: &Path, database: Option<String>) -> anyhow::Result<Self> {
        data_dir::make(folder)?;
        let lock = lock::acquire(&folder.join(layout::LOCK))
            .context("an import works on the data directory of a server that is stopped")?;
        let db = Db::open(&ServerConfig::database_in(folder, database.as_deref()), MODULES)?;
        let ledger = Ledger::new(db, Sources::system());
        let blobs = Blobs::local(&folder.join(layout::BLOBS))?;
        Ok(Self {
            tracking: Tracking::new(ledger.clone(), blobs),
            registry: Registry::new(ledger.clone()),
            policy: Policy::built_in()?,
            identity: Identity::new(ledger),
            caller: Caller::local(None),
            _lock: lock,
        })
    }

    /// With artifacts where the server is told to keep them.
    pub(crate) fn with_places(self, places: ArtifactPlaces) -> Self {
        Self { tracking: self.tracking.with_places(places), ..self }
    }

    /// The project of a name, which is made if it is missing.
    pub(crate) async fn project(&self, name: &str) -> anyhow::Result<ProjectId> {
        self.identity.ensure_default_project().await?;
        self.tracking.adopt_old_points().await?;
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

    /// Leave to do something in a project.
    pub(crate) fn leave<A: trueline_identity::Action>(
        &self,
        project: &ProjectId,
    ) -> anyhow::Result<trueline_identity::Authorized<A>> {
        Ok(self.policy.authorize(&self.caller, project)?)
    }
}
