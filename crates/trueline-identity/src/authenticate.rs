//! Who is calling: a token's user or a password's, or `local` on a loopback server that has no users yet.

use crate::passwords::Passwords;
use crate::store::{Identity, hash_token};
use crate::{IdentityError, Role};
use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, RwLock};
use trueline_ledger::{Actor, Millis, ProjectId};

/// For how long a token's roles are remembered; a change made by this process is seen at once.
const REMEMBER_MS: Millis = 2_000;

/// What a request brings to prove who it is.
#[derive(Clone, Debug, Default)]
pub struct Credentials {
    /// A bearer token, or the password of basic authentication.
    pub token: Option<String>,
    /// The user that basic authentication names.
    pub user: Option<String>,
    /// The request's id, for the events that it causes.
    pub request: Option<String>,
}

/// Who is calling, with the roles that hold now.
#[derive(Clone, Debug)]
pub struct Caller {
    user: Option<String>,
    part: Option<&'static str>,
    grants: Grants,
    request: Option<String>,
}

impl Caller {
    /// The caller on a loopback server without users: an admin who can't approve.
    #[must_use]
    pub fn local(request: Option<String>) -> Self {
        Self { user: None, part: None, grants: Arc::new([(ProjectId::server(), Role::Admin)]), request }
    }

    /// A part of the server that acts by itself, as a contributor in every project; never for somebody who asks.
    #[must_use]
    pub fn system(part: &'static str) -> Self {
        let grants: Grants = Arc::new([(ProjectId::server(), Role::Contributor)]);
        Self { user: None, part: Some(part), grants, request: None }
    }

    /// `user:ann`, `local` or `system:<part>`.
    #[must_use]
    pub fn principal(&self) -> String {
        match (&self.user, self.part) {
            (Some(user), _) => format!("user:{user}"),
            (None, Some(part)) => format!("system:{part}"),
            (None, None) => "local".to_owned(),
        }
    }

    /// The user, when it is one.
    #[must_use]
    pub fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    /// Whether it is an admin of the whole server.
    #[must_use]
    pub fn is_server_admin(&self) -> bool {
        self.roles_in(&ProjectId::server()).contains(&Role::Admin)
    }

    pub(crate) fn actor(&self) -> Actor {
        let request = self.request.clone();
        Actor { principal: self.principal(), on_behalf_of: None, decision: None, request }
    }

    /// Whether a token proved who it is.
    #[must_use]
    pub fn has_token(&self) -> bool {
        self.user.is_some()
    }

    /// The request's id.
    #[must_use]
    pub fn request(&self) -> Option<&str> {
        self.request.as_deref()
    }

    /// The projects in which a role was granted; [`ProjectId::server`] stands for all.
    #[must_use]
    pub fn granted_in(&self) -> Vec<ProjectId> {
        let mut projects: Vec<ProjectId> = self.grants.iter().map(|(p, _)| p.clone()).collect();
        projects.sort();
        projects.dedup();
        projects
    }

    /// The roles that hold in a project: those granted there and those granted for the server.
    #[must_use]
    pub fn roles_in(&self, project: &ProjectId) -> Vec<Role> {
        let server = ProjectId::server();
        let here = self.grants.iter().filter(|(p, _)| p == project || *p == server);
        let mut roles: Vec<Role> = here.map(|(_, r)| *r).collect();
        roles.sort();
        roles.dedup();
        roles
    }
}

/// A token that holds now, with who comes with it.
#[derive(Clone, Debug)]
pub struct TokenHolder {
    /// The hash of the token, see [`hash_token`].
    pub hash: String,
    /// Its user.
    pub caller: Caller,
}

type Grants = Arc<[(ProjectId, Role)]>;
type Found = (String, Vec<(ProjectId, Role)>);

/// Tokens begin with this, so that a password that is one need not be hashed slowly first.
pub(crate) fn looks_like_a_token(secret: &str) -> bool {
    secret
        .strip_prefix("tl_")
        .is_some_and(|rest| rest.len() == 64 && rest.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// Callers by the hashes of their tokens, for a short time.
#[derive(Debug, Default)]
struct Remembered {
    callers: HashMap<String, (Millis, String, Grants)>,
    /// Counts the changes, so that what was read before a change is not remembered after it.
    changes: u64,
}

/// Turns credentials into a caller.
#[derive(Clone, Debug)]
pub struct Authenticator {
    identity: Identity,
    loopback: bool,
    remembered: Arc<RwLock<Remembered>>,
    passwords: Option<Passwords>,
}

impl Authenticator {
    /// For a server that listens on loopback alone, or not.
    #[must_use]
    pub fn new(identity: Identity, loopback: bool) -> Self {
        Self { identity, loopback, remembered: Arc::default(), passwords: None }
    }

    /// The same, that lets users in with their passwords too.
    #[must_use]
    pub fn with_passwords(self) -> Self {
        let passwords = Passwords::new(self.identity.clone());
        Self { passwords: Some(passwords), ..self }
    }

    /// Forgets what it remembers, after users, roles or tokens changed.
    pub fn forget(&self) {
        if let Ok(mut remembered) = self.remembered.write() {
            remembered.callers.clear();
            remembered.changes += 1;
        }
    }

    /// Whether a caller without a token is `local`: on loopback, as long as there are no users.
    ///
    /// # Errors
    /// What the database says.
    pub async fn is_open(&self) -> Result<bool, IdentityError> {
        Ok(self.loopback && !self.identity.has_users().await?)
    }

    /// Everybody who may come with a token now, for those who must know without asking the database.
    ///
    /// # Errors
    /// What the database says.
    pub async fn holders(&self) -> Result<Vec<TokenHolder>, IdentityError> {
        let holder = |(hash, user, grants): (String, String, Vec<(ProjectId, Role)>)| TokenHolder {
            hash,
            caller: Caller { user: Some(user), part: None, grants: grants.into(), request: None },
        };
        Ok(self.identity.tokens_that_hold().await?.into_iter().map(holder).collect())
    }

    /// Who is calling.
    ///
    /// # Errors
    /// [`IdentityError::Unauthenticated`] with what to do about it.
    pub async fn caller(&self, credentials: Credentials) -> Result<Caller, IdentityError> {
        let Some(token) = credentials.token else {
            if self.is_open().await? {
                return Ok(Caller::local(credentials.request));
            }
            return Err(IdentityError::Unauthenticated(
                "this server has users, so it needs a token: set MLFLOW_TRACKING_TOKEN (or TRUELINE_TOKEN for the \
                 trueline command); an admin makes one with `trueline token create <user>`"
                    .to_owned(),
            ));
        };
        let (user, grants) = match (&self.passwords, credentials.user) {
            (Some(passwords), Some(user)) if !looks_like_a_token(&token) => {
                let key = passwords.key(&user, &token);
                self.remembered(&key, passwords.user_with(&user, &token, &key)).await?
            }
            _ => {
                let hash = hash_token(&token);
                self.remembered(&hash, self.user_with_token(&hash)).await?
            }
        };
        Ok(Caller { user: Some(user), part: None, grants, request: credentials.request })
    }

    async fn user_with_token(&self, hash: &str) -> Result<Found, IdentityError> {
        self.identity.user_by_token(hash).await?.ok_or_else(|| {
            IdentityError::Unauthenticated(
                "this token is not known or was revoked; an admin makes a new one with `trueline token create \
                 <user>`"
                    .to_owned(),
            )
        })
    }

    /// What is remembered under a key, or what is found now, which is remembered then.
    async fn remembered(
        &self,
        hash: &str,
        found: impl Future<Output = Result<Found, IdentityError>>,
    ) -> Result<(String, Grants), IdentityError> {
        let now = self.identity.now();
        let mut before = None;
        if let Ok(remembered) = self.remembered.read() {
            if let Some((at, user, grants)) = remembered.callers.get(hash)
                && now - at < REMEMBER_MS
            {
                return Ok((user.clone(), Arc::clone(grants)));
            }
            before = Some(remembered.changes);
        }
        let (user, grants) = found.await?;
        let grants: Grants = grants.into();
        if let Ok(mut remembered) = self.remembered.write()
            && before == Some(remembered.changes)
        {
            remembered.callers.retain(|_, (at, _, _)| now - *at < REMEMBER_MS);
            remembered.callers.insert(hash.to_owned(), (now, user.clone(), Arc::clone(&grants)));
        }
        Ok((user, grants))
    }
}
