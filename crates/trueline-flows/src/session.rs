//! A request enters: who is it, in which project, and may it do what it wants?

use crate::permissions::{PermissionRules, Readable};
use std::collections::HashMap;
use std::sync::{Arc, RwLock};
use trueline_identity::{
    Action, Authenticator, Authorized, Caller, Credentials, Identity, IdentityError, Permission, Policy,
    Project, ReadLedger, ReadProject,
};
use trueline_ledger::ProjectId;

/// The door that every request comes through. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Access {
    identity: Identity,
    authenticator: Authenticator,
    policy: Policy,
    projects: Arc<RwLock<HashMap<String, Project>>>,
    permissions: Option<PermissionRules>,
}

/// How many projects are remembered at most.
const REMEMBERED: usize = 10_000;

/// A caller in a project.
#[derive(Clone, Debug)]
pub struct Session {
    caller: Caller,
    project: Project,
    policy: Policy,
    /// What governs the resource that the request names, where users have permissions on resources.
    permission: Option<Permission>,
    /// What a search may find, where users have permissions on resources.
    readable: Readable,
}

/// What the server's outer layer leaves in a request's extensions: who calls and in which project, or why not. Each face
/// tells a refusal in its own form.
#[derive(Clone, Debug)]
pub struct Entry(pub Result<Session, Arc<IdentityError>>);

impl Access {
    /// Of these parts.
    #[must_use]
    pub fn new(identity: Identity, authenticator: Authenticator, policy: Policy) -> Self {
        Self { identity, authenticator, policy, projects: Arc::default(), permissions: None }
    }

    /// The same, where users have permissions on single resources.
    #[must_use]
    pub fn with_permissions(self, rules: PermissionRules) -> Self {
        Self { permissions: Some(rules), ..self }
    }

    /// The rules for permissions on single resources; none where there are none.
    #[must_use]
    pub fn permissions(&self) -> Option<PermissionRules> {
        self.permissions
    }

    /// The domain of identity.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    pub(crate) fn authenticator(&self) -> &Authenticator {
        &self.authenticator
    }

    /// The policy that gives leave.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Lets a caller into a project.
    ///
    /// A project that the caller may not see is answered like one that does not exist, so that names do not leak.
    ///
    /// # Errors
    /// [`IdentityError::Unauthenticated`], [`IdentityError::NotFound`].
    pub async fn enter(&self, credentials: Credentials, project: &str) -> Result<Session, IdentityError> {
        let caller = self.authenticator.caller(credentials).await?;
        let project_row = self.project(project).await?;
        let policy = self.policy.clone();
        let session =
            Session { caller, project: project_row, policy, permission: None, readable: Readable::all() };
        // Where users have permissions on single resources, each request is judged by what it names.
        if session.leave::<ReadProject>().is_ok() || self.may_hold_permissions(&session) {
            return Ok(session);
        }
        Err(IdentityError::NotFound { kind: "project", name: project.to_owned() })
    }

    /// A project by name. It is read once: a project is never renamed or deleted, so what was found stays true.
    async fn project(&self, name: &str) -> Result<Project, IdentityError> {
        let known = self.projects.read().ok().and_then(|projects| projects.get(name).cloned());
        if let Some(project) = known {
            return Ok(project);
        }
        let found = self.identity.project(name).await?;
        if let Ok(mut projects) = self.projects.write()
            && projects.len() < REMEMBERED
        {
            projects.insert(name.to_owned(), found.clone());
        }
        Ok(found)
    }

    /// Whether credentials are those of somebody.
    ///
    /// # Errors
    /// [`IdentityError::Unauthenticated`].
    pub async fn known(&self, credentials: Credentials) -> Result<(), IdentityError> {
        self.authenticator.caller(credentials).await.map(drop)
    }

    /// The projects that a caller may see.
    ///
    /// # Errors
    /// What the database says.
    pub async fn visible_projects(&self, session: &Session) -> Result<Vec<Project>, IdentityError> {
        let all = self.identity.projects().await?;
        let visible = |p: &Project| self.policy.authorize::<ReadProject>(&session.caller, &p.id).is_ok();
        Ok(all.into_iter().filter(visible).collect())
    }

    /// Has changes to users, roles and tokens take effect at once.
    pub fn identity_changed(&self) {
        self.authenticator.forget();
    }
}

impl Session {
    /// The project.
    #[must_use]
    pub fn project(&self) -> &Project {
        &self.project
    }

    /// Who is calling.
    #[must_use]
    pub fn caller(&self) -> &Caller {
        &self.caller
    }

    /// Leave to do `A` in this project, with the resource that the session is about if it is about one.
    ///
    /// # Errors
    /// [`IdentityError::Denied`].
    pub fn leave<A: Action>(&self) -> Result<Authorized<A>, IdentityError> {
        self.policy.authorize_on(&self.caller, &self.project.id, self.permission)
    }

    /// The same session, about a resource on which a permission governs.
    #[must_use]
    pub fn about(&self, permission: Permission) -> Self {
        Self { permission: Some(permission), ..self.clone() }
    }

    /// The same session, whose searches find no more than this.
    #[must_use]
    pub fn finding(&self, readable: Readable) -> Self {
        Self { readable, ..self.clone() }
    }

    /// What searches may find.
    #[must_use]
    pub fn readable(&self) -> &Readable {
        &self.readable
    }

    /// The projects whose events the caller may read: all (none is named) with leave for the server, else this one.
    ///
    /// # Errors
    /// [`IdentityError::Denied`].
    pub fn readable_ledgers(&self) -> Result<Option<Vec<String>>, IdentityError> {
        if self.server_leave::<ReadLedger>().is_ok() {
            return Ok(None);
        }
        let here: Authorized<ReadLedger> = self.leave()?;
        Ok(Some(vec![here.project().to_string()]))
    }

    /// Leave to do `A` on the whole server.
    ///
    /// # Errors
    /// [`IdentityError::Denied`].
    pub fn server_leave<A: Action>(&self) -> Result<Authorized<A>, IdentityError> {
        self.policy.authorize(&self.caller, &ProjectId::server())
    }
}
