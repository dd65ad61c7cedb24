//! Projects, users, role grants and tokens in the database.

use crate::users_seen::UsersSeen;
use crate::{
    Authorized, IdentityError, ManageProjects, ManageUsers, NewUser, Project, ProjectName, Role, RoleGrant,
    TokenRow, UserRow,
};
use serde_json::json;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::sync::Arc;
use trueline_db::{DbError, Tx};
use trueline_ledger::{Actor, Ledger, LedgerTx, Millis, NewEvent, ProjectId};

/// The domain of identity. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Identity {
    ledger: Ledger,
    pub(crate) users_seen: Arc<UsersSeen>,
}

/// The hash under which a token is kept. Tokens are 256 random bits, so a plain hash does; passwords would not.
#[must_use]
pub fn hash_token(token: &str) -> String {
    hex::encode(Sha256::digest(token.as_bytes()))
}

fn grants_of(tx: &mut Tx<'_>, user: &str) -> Result<Vec<(ProjectId, Role)>, DbError> {
    let mut grants = Vec::new();
    for mut row in tx.query("SELECT project, role FROM role_grants WHERE user_name = ?1", &[user.into()])? {
        let project = ProjectId::new(row.take::<String>(0)?);
        if let Some(role) = Role::parse(&row.take::<String>(1)?) {
            grants.push((project, role));
        }
    }
    Ok(grants)
}

impl Identity {
    /// Over a ledger.
    #[must_use]
    pub fn new(ledger: Ledger) -> Self {
        Self { ledger, users_seen: Arc::default() }
    }

    pub(crate) fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    pub(crate) fn now(&self) -> Millis {
        self.ledger.sources().now()
    }

    fn fresh_secret(&self) -> String {
        format!("tl_{}", hex::encode(self.ledger.sources().bytes::<32>()))
    }

    /// Makes sure that the default project exists; run at start.
    ///
    /// # Errors
    /// What the ledger says.
    pub async fn ensure_default_project(&self) -> Result<(), IdentityError> {
        self.ledger
            .write(&Actor::system("start"), |tx| {
                let id = ProjectId::default_project();
                if project_row(tx, "default")?.is_some() {
                    return Ok(());
                }
                insert_project(tx, &id, "default")
            })
            .await
    }

    /// Makes a project.
    ///
    /// # Errors
    /// [`IdentityError::Exists`], or what the ledger says.
    pub async fn create_project(
        &self,
        leave: &Authorized<ManageProjects>,
        name: &ProjectName,
    ) -> Result<Project, IdentityError> {
        let name = name.as_str().to_owned();
        self.ledger
            .write(leave.actor(), move |tx| {
                if project_row(tx, &name)?.is_some() {
                    return Err(IdentityError::Exists { kind: "project", name: name.clone() });
                }
                let id = ProjectId::new(format!("p-{}", &tx.derived_id("project")[..12]));
                insert_project(tx, &id, &name)?;
                Ok(Project { id, name: name.clone(), created_at_ms: tx.now() })
            })
            .await
    }

    /// The project called `name`. Whether the caller may see it is asked afterwards, by its id.
    ///
    /// # Errors
    /// [`IdentityError::NotFound`], or what the database says.
    pub async fn project(&self, name: &str) -> Result<Project, IdentityError> {
        let name = name.to_owned();
        self.ledger
            .db()
            .read(move |tx| {
                project_row(tx, &name)?
                    .ok_or_else(|| IdentityError::NotFound { kind: "project", name: name.clone() })
            })
            .await
    }

    /// All projects, by name.
    ///
    /// # Errors
    /// What the database says.
    pub async fn projects(&self) -> Result<Vec<Project>, IdentityError> {
        self.ledger.db().read(all_projects).await
    }

    /// Makes a user with roles, and for the first one a token in the same transaction: the local caller ends with it, so
    /// nobody could make that token afterwards. Its secret is seen this one time.
    ///
    /// # Errors
    /// [`IdentityError::Exists`], [`IdentityError::FirstUserMustBeAdmin`], [`IdentityError::NotFound`] for a
    /// project in a grant, or what the ledger says.
    pub async fn create_user(
        &self,
        leave: &Authorized<ManageUsers>,
        user: NewUser,
    ) -> Result<(UserRow, Option<String>), IdentityError> {
        ProjectName::parse(&user.name)?;
        let secret = self.fresh_secret();
        let made = self
            .ledger
            .write(leave.actor(), move |tx| {
                let name = &user.name;
                let first = tx.scalar::<i64>("SELECT COUNT(*) FROM users", &[])? == Some(0);
                let admin = user.roles.iter().any(|g| g.role == Role::Admin && g.project.is_none());
                if first && !admin {
                    return Err(IdentityError::FirstUserMustBeAdmin(name.clone()));
                }
                let now = tx.now();
                let made = tx.execute(
                    "INSERT INTO users (name, created_at_ms) VALUES (?1, ?2) ON CONFLICT DO NOTHING",
                    &[name.into(), now.into()],
                )?;
                if made == 0 {
                    return Err(IdentityError::Exists { kind: "user", name: name.clone() });
                }
                tx.execute("INSERT INTO accounts (user_name) VALUES (?1)", &[name.into()])?;
                for grant in &user.roles {
                    insert_grant(tx, name, grant)?;
                }
                tx.emit(
                    NewEvent::new(&ProjectId::server(), "user.created", "user", name)
                        .with(json!({ "roles": user.roles })),
                )?;
                let made = UserRow { name: name.clone(), created_at_ms: now, roles: user.roles.clone() };
                if !first {
                    return Ok((made, None));
                }
                insert_token(tx, name, "made with the first user", &hash_token(&secret))?;
                Ok((made, Some(secret.clone())))
            })
            .await;
        self.users_seen.changed();
        made
    }

    /// Gives a user a role.
    ///
    /// # Errors
    /// [`IdentityError::NotFound`], or what the ledger says.
    pub async fn grant(
        &self,
        leave: &Authorized<ManageUsers>,
        user: &str,
        grant: RoleGrant,
    ) -> Result<(), IdentityError> {
        let user = user.to_owned();
        self.ledger
            .write(leave.actor(), move |tx| {
                require_user(tx, &user)?;
                if insert_grant(tx, &user, &grant)? == 0 {
                    return Ok(());
                }
                tx.emit(
                    NewEvent::new(&ProjectId::server(), "role.granted", "user", &user).with(json!(grant)),
                )?;
                Ok(())
            })
            .await
    }

    /// Takes a role from a user.
    ///
    /// # Errors
    /// [`IdentityError::LastAdmin`], [`IdentityError::NotFound`], or what the ledger says.
    pub async fn revoke_grant(
        &self,
        leave: &Authorized<ManageUsers>,
        user: &str,
        grant: RoleGrant,
    ) -> Result<(), IdentityError> {
        let user = user.to_owned();
        self.ledger
            .write(leave.actor(), move |tx| {
                require_user(tx, &user)?;
                let project = grant_project(tx, &grant)?;
                let admins = "SELECT COUNT(*) FROM role_grants WHERE role = 'admin' AND project = 'server'
                              AND user_name <> ?1";
                let server_admin = grant.role == Role::Admin && grant.project.is_none();
                if server_admin && tx.scalar::<i64>(admins, &[(&user).into()])? == Some(0) {
                    return Err(IdentityError::LastAdmin(user.clone()));
                }
                let gone = tx.execute(
                    "DELETE FROM role_grants WHERE user_name = ?1 AND project = ?2 AND role = ?3",
                    &[(&user).into(), (&project).into(), grant.role.as_str().into()],
                )?;
                if gone > 0 {
                    tx.emit(
                        NewEvent::new(&ProjectId::server(), "role.revoked", "user", &user).with(json!(grant)),
                    )?;
                }
                Ok(())
            })
            .await
    }

    /// All users with their roles, by name.
    ///
    /// # Errors
    /// What the database says.
    pub async fn users(&self, _leave: &Authorized<ManageUsers>) -> Result<Vec<UserRow>, IdentityError> {
        self.ledger.db().read(read_users).await
    }

    /// Makes a token for a user; the answer is the only time that its secret is seen.
    ///
    /// # Errors
    /// [`IdentityError::NotFound`], or what the ledger says.
    pub async fn create_token(
        &self,
        leave: &Authorized<ManageUsers>,
        user: &str,
        label: &str,
    ) -> Result<(TokenRow, String), IdentityError> {
        let secret = self.fresh_secret();
        let hash = hash_token(&secret);
        let (user, label) = (user.to_owned(), label.to_owned());
        let row = self
            .ledger
            .write(leave.actor(), move |tx| {
                require_user(tx, &user)?;
                insert_token(tx, &user, &label, &hash)
            })
            .await?;
        Ok((row, secret))
    }

    /// Ends a token.
    ///
    /// # Errors
    /// [`IdentityError::NotFound`], or what the ledger says.
    pub async fn revoke_token(&self, leave: &Authorized<ManageUsers>, id: &str) -> Result<(), IdentityError> {
        let id = id.to_owned();
        self.ledger
            .write(leave.actor(), move |tx| {
                let now = tx.now();
                let gone = tx.execute(
                    "UPDATE tokens SET revoked_at_ms = ?2 WHERE id = ?1 AND revoked_at_ms IS NULL",
                    &[(&id).into(), now.into()],
                )?;
                if gone == 0 {
                    return Err(IdentityError::NotFound { kind: "token", name: id.clone() });
                }
                tx.emit(NewEvent::new(&ProjectId::server(), "token.revoked", "token", &id))?;
                Ok(())
            })
            .await
    }

    /// All tokens, newest first, without their secrets.
    ///
    /// # Errors
    /// What the database says.
    pub async fn tokens(&self, _leave: &Authorized<ManageUsers>) -> Result<Vec<TokenRow>, IdentityError> {
        self.ledger
            .db()
            .read(|tx| {
                let rows = tx.query(
                    "SELECT id, user_name, label, created_at_ms, revoked_at_ms FROM tokens
                     ORDER BY created_at_ms DESC, id",
                    &[],
                )?;
                let row = |mut row: trueline_db::Row| {
                    Ok(TokenRow {
                        id: row.take(0)?,
                        user: row.take(1)?,
                        label: row.take(2)?,
                        created_at_ms: row.take(3)?,
                        revoked_at_ms: row.take(4)?,
                    })
                };
                rows.into_iter().map(row).collect()
            })
            .await
    }

    /// Whether anybody has been made a user.
    ///
    /// # Errors
    /// What the database says.
    pub async fn has_users(&self) -> Result<bool, IdentityError> {
        let look = async || {
            let found = self.ledger.db().ask("SELECT name FROM users LIMIT 1", Vec::new()).await?;
            Ok(!found.is_empty())
        };
        self.users_seen.any(look).await
    }

    pub(crate) async fn roles_granted_to(&self, user: &str) -> Result<Vec<(ProjectId, Role)>, IdentityError> {
        let user = user.to_owned();
        self.ledger.db().read(move |tx| Ok(grants_of(tx, &user)?)).await
    }

    pub(crate) async fn user_by_token(
        &self,
        hash: &str,
    ) -> Result<Option<(String, Vec<(ProjectId, Role)>)>, IdentityError> {
        let hash = hash.to_owned();
        self.ledger
            .db()
            .read(move |tx| {
                let user: Option<String> = tx.scalar(
                    "SELECT user_name FROM tokens WHERE hash = ?1 AND revoked_at_ms IS NULL",
                    &[(&hash).into()],
                )?;
                let Some(user) = user else { return Ok(None) };
                let grants = grants_of(tx, &user)?;
                Ok(Some((user, grants)))
            })
            .await
    }

    /// Hash, user and roles of every token that was not revoked.
    pub(crate) async fn tokens_that_hold(
        &self,
    ) -> Result<Vec<(String, String, Vec<(ProjectId, Role)>)>, IdentityError> {
        self.ledger
            .db()
            .read(move |tx| {
                let rows = tx.query("SELECT hash, user_name FROM tokens WHERE revoked_at_ms IS NULL", &[])?;
                rows.into_iter()
                    .map(|mut row| {
                        let (hash, user): (String, String) = (row.take(0)?, row.take(1)?);
                        let grants = grants_of(tx, &user)?;
                        Ok((hash, user, grants))
                    })
                    .collect()
            })
            .await
    }
}

fn project_from(row: &mut trueline_db::Row) -> Result<Project, IdentityError> {
    let id = ProjectId::new(row.take::<String>(0)?);
    Ok(Project { id, name: row.take(1)?, created_at_ms: row.take(2)? })
}

/// All projects, by name.
///
/// # Errors
/// What the database says.
pub fn all_projects(tx: &mut Tx<'_>) -> Result<Vec<Project>, IdentityError> {
    let rows = tx.query("SELECT id, name, created_at_ms FROM projects ORDER BY name", &[])?;
    rows.into_iter().map(|mut row| project_from(&mut row)).collect()
}

pub(crate) fn project_row(tx: &mut Tx<'_>, name: &str) -> Result<Option<Project>, IdentityError> {
    tx.query_opt("SELECT id, name, created_at_ms FROM projects WHERE name = ?1", &[name.into()])?
        .map(|mut row| project_from(&mut row))
        .transpose()
}

pub(crate) fn insert_project(
    tx: &mut LedgerTx<'_, '_>,
    id: &ProjectId,
    name: &str,
) -> Result<(), IdentityError> {
    let now = tx.now();
    tx.execute(
        "INSERT INTO projects (id, name, created_at_ms) VALUES (?1, ?2, ?3)",
        &[id.into(), name.into(), now.into()],
    )?;
    tx.emit(NewEvent::new(id, "project.created", "project", name).with(json!({ "name": name })))?;
    Ok(())
}

pub(crate) fn require_user(tx: &mut Tx<'_>, name: &str) -> Result<(), IdentityError> {
    tx.query_opt("SELECT name FROM users WHERE name = ?1", &[name.into()])?
        .map(drop)
        .ok_or_else(|| IdentityError::NotFound { kind: "user", name: name.to_owned() })
}

/// The project column of a grant: a project's id, or `server`.
fn grant_project(tx: &mut Tx<'_>, grant: &RoleGrant) -> Result<String, IdentityError> {
    let Some(name) = &grant.project else { return Ok(ProjectId::server().to_string()) };
    let project = project_row(tx, name)?;
    project
        .map(|p| p.id.to_string())
        .ok_or_else(|| IdentityError::NotFound { kind: "project", name: name.clone() })
}

fn insert_token(
    tx: &mut LedgerTx<'_, '_>,
    user: &str,
    label: &str,
    hash: &str,
) -> Result<TokenRow, IdentityError> {
    let id = tx.derived_id("token")[..12].to_owned();
    let now = tx.now();
    tx.execute(
        "INSERT INTO tokens (id, user_name, label, hash, created_at_ms) VALUES (?1, ?2, ?3, ?4, ?5)",
        &[(&id).into(), user.into(), label.into(), hash.into(), now.into()],
    )?;
    tx.emit(
        NewEvent::new(&ProjectId::server(), "token.created", "token", &id)
            .with(json!({ "user": user, "label": label })),
    )?;
    let (user, label) = (user.to_owned(), label.to_owned());
    Ok(TokenRow { id, user, label, created_at_ms: now, revoked_at_ms: None })
}

pub(crate) fn insert_grant(tx: &mut Tx<'_>, user: &str, grant: &RoleGrant) -> Result<u64, IdentityError> {
    let project = grant_project(tx, grant)?;
    Ok(tx.execute(
        "INSERT INTO role_grants (user_name, project, role) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING",
        &[user.into(), project.into(), grant.role.as_str().into()],
    )?)
}

fn read_users(tx: &mut Tx<'_>) -> Result<Vec<UserRow>, IdentityError> {
    let mut users = BTreeMap::new();
    for mut row in tx.query("SELECT name, created_at_ms FROM users", &[])? {
        let name: String = row.take(0)?;
        users.insert(name.clone(), UserRow { name, created_at_ms: row.take(1)?, roles: Vec::new() });
    }
    let grants = tx.query(
        "SELECT g.user_name, g.role, p.name FROM role_grants g LEFT JOIN projects p ON p.id = g.project
         ORDER BY g.user_name, p.name, g.role",
        &[],
    )?;
    for mut row in grants {
        let (user, role): (String, String) = (row.take(0)?, row.take(1)?);
        if let (Some(user), Some(role)) = (users.get_mut(&user), Role::parse(&role)) {
            user.roles.push(RoleGrant { role, project: row.take(2)? });
        }
    }
    Ok(users.into_values().collect())
}
