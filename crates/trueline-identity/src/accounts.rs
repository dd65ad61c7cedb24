//! Users as MLflow has them: with a number and a password, admin of the server or not.

use crate::store::{insert_grant, require_user};
use crate::{Authorized, Caller, Identity, IdentityError, ManageUsers, Role, RoleGrant};
use serde_json::json;
use trueline_db::{Row, Tx};
use trueline_ledger::{Actor, LedgerTx, NewEvent, ProjectId};

/// A user as MLflow sees one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// The number by which MLflow's clients know the user.
    pub number: i64,
    /// The name.
    pub name: String,
    /// Whether the user is an admin of the server.
    pub is_admin: bool,
}

/// The longest user name in bytes.
const LONGEST_NAME: usize = 255;
const ADMIN: RoleGrant = RoleGrant { role: Role::Admin, project: None };
const COLUMNS: &str = "SELECT a.number, a.user_name,
        (SELECT COUNT(*) FROM role_grants g WHERE g.user_name = a.user_name AND g.project = 'server' AND g.role = 'admin')
    FROM accounts a";

/// MLflow's users have names of any form; basic authentication can't carry a colon in one.
fn check_name(name: &str) -> Result<(), IdentityError> {
    if name.is_empty()
        || name.len() > LONGEST_NAME
        || name.contains(':')
        || name.chars().any(char::is_control)
    {
        return Err(IdentityError::Invalid(format!(
            "Invalid username '{name}': use 1 to {LONGEST_NAME} bytes, without colons and control characters."
        )));
    }
    Ok(())
}

pub(crate) fn unknown(name: &str) -> IdentityError {
    IdentityError::Missing(format!("User with username={name} not found"))
}

impl Identity {
    /// Makes a user with a password, given as its hash.
    ///
    /// # Errors
    /// [`IdentityError::Taken`], [`IdentityError::Invalid`], or what the ledger says.
    pub async fn create_account(
        &self,
        leave: &Authorized<ManageUsers>,
        name: &str,
        password: String,
    ) -> Result<Account, IdentityError> {
        check_name(name)?;
        let name = name.to_owned();
        let made = self.ledger().write(leave.actor(), move |tx| insert(tx, &name, &password, false)).await;
        self.users_seen.changed();
        made
    }

    /// Makes the first admin, unless there is a user of that name or an admin with a password already.
    ///
    /// # Errors
    /// What the ledger says.
    pub async fn ensure_admin(&self, name: &str, password: String) -> Result<bool, IdentityError> {
        check_name(name)?;
        let name = name.to_owned();
        let made = self
            .ledger()
            .write(&Actor::system("start"), move |tx| {
                if find(tx, &name)?.is_some() {
                    return Ok(false);
                }
                insert(tx, &name, &password, true).map(|_| true)
            })
            .await;
        self.users_seen.changed();
        made
    }

    /// Whether an admin can come in with a password.
    ///
    /// # Errors
    /// What the database says.
    pub async fn has_admin_with_password(&self) -> Result<bool, IdentityError> {
        self.ledger()
            .db()
            .read(|tx: &mut Tx<'_>| {
                let sql = "SELECT 1 FROM accounts a JOIN role_grants g ON g.user_name = a.user_name
                           WHERE a.password IS NOT NULL AND g.project = 'server' AND g.role = 'admin' LIMIT 1";
                Ok(tx.query_opt(sql, &[])?.is_some())
            })
            .await
    }

    /// One user. Who asks for another than itself needs leave to manage users; that is the caller's to check.
    ///
    /// # Errors
    /// [`IdentityError::Missing`], or what the database says.
    pub async fn account(&self, name: &str) -> Result<Account, IdentityError> {
        let name = name.to_owned();
        self.ledger().db().read(move |tx| find(tx, &name)?.ok_or_else(|| unknown(&name))).await
    }

    /// All users, by number.
    ///
    /// # Errors
    /// What the database says.
    pub async fn accounts(&self) -> Result<Vec<Account>, IdentityError> {
        self.ledger()
            .db()
            .read(|tx: &mut Tx<'_>| {
                let rows = tx.query(&format!("{COLUMNS} ORDER BY a.number"), &[])?;
                rows.into_iter().map(|mut row| account_from(&mut row)).collect()
            })
            .await
    }

    /// Sets a user's password, given as its hash.
    ///
    /// # Errors
    /// [`IdentityError::Missing`], or what the ledger says.
    pub async fn set_password(
        &self,
        leave: &Authorized<ManageUsers>,
        name: &str,
        password: String,
    ) -> Result<(), IdentityError> {
        self.write_password(leave.actor(), name, password).await
    }

    /// Sets the caller's own password, given as its hash. That the old one was told is the caller's to check.
    ///
    /// # Errors
    /// [`IdentityError::Missing`], or what the ledger says.
    pub async fn set_own_password(&self, caller: &Caller, password: String) -> Result<(), IdentityError> {
        let name = caller.user().ok_or_else(|| unknown(&caller.principal()))?;
        self.write_password(&caller.actor(), name, password).await
    }

    async fn write_password(&self, actor: &Actor, name: &str, password: String) -> Result<(), IdentityError> {
        let name = name.to_owned();
        self.ledger()
            .write(actor, move |tx| {
                let params = [(&name).into(), (&password).into()];
                if tx.execute("UPDATE accounts SET password = ?2 WHERE user_name = ?1", &params)? == 0 {
                    return Err(unknown(&name));
                }
                tx.emit(NewEvent::new(&ProjectId::server(), "user.password_set", "user", &name))?;
                Ok(())
            })
            .await
    }

    /// Makes a user an admin of the server, or no longer one.
    ///
    /// # Errors
    /// [`IdentityError::Missing`], [`IdentityError::LastAdmin`], or what the ledger says.
    pub async fn set_admin(
        &self,
        leave: &Authorized<ManageUsers>,
        name: &str,
        is_admin: bool,
    ) -> Result<(), IdentityError> {
        self.account(name).await?;
        match is_admin {
            true => self.grant(leave, name, ADMIN).await,
            false => self.revoke_grant(leave, name, ADMIN).await,
        }
    }

    /// Deletes a user with all tokens, roles and permissions. The ledger keeps what the user did.
    ///
    /// # Errors
    /// [`IdentityError::Missing`], [`IdentityError::LastAdmin`], or what the ledger says.
    pub async fn delete_account(
        &self,
        leave: &Authorized<ManageUsers>,
        name: &str,
    ) -> Result<(), IdentityError> {
        let name = name.to_owned();
        self.ledger()
            .write(leave.actor(), move |tx| {
                let account = find(tx, &name)?.ok_or_else(|| unknown(&name))?;
                let others = "SELECT COUNT(*) FROM role_grants WHERE role = 'admin' AND project = 'server'
                              AND user_name <> ?1";
                if account.is_admin && tx.scalar::<i64>(others, &[(&name).into()])? == Some(0) {
                    return Err(IdentityError::LastAdmin(name.clone()));
                }
                for sql in [
                    "DELETE FROM access_permissions WHERE role IN (SELECT id FROM access_roles WHERE owner = ?1)",
                    "DELETE FROM access_members WHERE user_name = ?1",
                    "DELETE FROM access_roles WHERE owner = ?1",
                    "DELETE FROM tokens WHERE user_name = ?1",
                    "DELETE FROM role_grants WHERE user_name = ?1",
                    "DELETE FROM accounts WHERE user_name = ?1",
                    "DELETE FROM users WHERE name = ?1",
                ] {
                    tx.execute(sql, &[(&name).into()])?;
                }
                tx.emit(NewEvent::new(&ProjectId::server(), "user.deleted", "user", &name))?;
                Ok(())
            })
            .await
    }

    /// The stored hash of the caller's own password.
    ///
    /// # Errors
    /// What the database says.
    pub async fn stored_password(&self, caller: &Caller) -> Result<Option<String>, IdentityError> {
        match caller.user() {
            Some(name) => self.password_of(name).await,
            None => Ok(None),
        }
    }

    /// A fresh salt for a password.
    #[must_use]
    pub fn salt(&self) -> [u8; 16] {
        self.ledger().sources().bytes()
    }

    /// A fresh secret by which a form proves that this server gave it out.
    #[must_use]
    pub fn form_secret(&self) -> String {
        self.ledger().sources().id()
    }

    /// A user's stored hash, none when there is no such user or no password.
    pub(crate) async fn password_of(&self, name: &str) -> Result<Option<String>, IdentityError> {
        let name = name.to_owned();
        self.ledger()
            .db()
            .read(move |tx: &mut Tx<'_>| {
                let sql = "SELECT password FROM accounts WHERE user_name = ?1";
                let found: Option<Option<String>> = tx.scalar(sql, &[(&name).into()])?;
                Ok(found.flatten())
            })
            .await
    }
}

fn insert(
    tx: &mut LedgerTx<'_, '_>,
    name: &str,
    password: &str,
    is_admin: bool,
) -> Result<Account, IdentityError> {
    if require_user(tx, name).is_ok() {
        return Err(IdentityError::Taken(format!("User (username={name}) already exists.")));
    }
    let now = tx.now();
    tx.execute("INSERT INTO users (name, created_at_ms) VALUES (?1, ?2)", &[name.into(), now.into()])?;
    tx.execute(
        "INSERT INTO accounts (user_name, password) VALUES (?1, ?2)",
        &[name.into(), password.into()],
    )?;
    let roles: &[RoleGrant] = if is_admin { &[ADMIN] } else { &[] };
    for role in roles {
        insert_grant(tx, name, role)?;
    }
    let event = NewEvent::new(&ProjectId::server(), "user.created", "user", name);
    tx.emit(event.with(json!({ "roles": roles })))?;
    find(tx, name)?.ok_or_else(|| unknown(name))
}

pub(crate) fn find(tx: &mut Tx<'_>, name: &str) -> Result<Option<Account>, IdentityError> {
    let row = tx.query_opt(&format!("{COLUMNS} WHERE a.user_name = ?1"), &[name.into()])?;
    row.map(|mut row| account_from(&mut row)).transpose()
}

fn account_from(row: &mut Row) -> Result<Account, IdentityError> {
    Ok(Account { number: row.take(0)?, name: row.take(1)?, is_admin: row.take(2)? })
}
