//! Roles of MLflow's kind: named sets of permissions in a workspace, with their members. Not to be mixed up with
//! [`crate::Role`], the few roles that the server itself knows.

use crate::accounts::{find, unknown};
use crate::{Account, Authorized, Grant, Identity, IdentityError, ManageResource, Permission, ResourceKind};
use serde_json::json;
use std::collections::BTreeSet;
use trueline_db::{Row, Tx};
use trueline_ledger::{LedgerTx, NewEvent, ProjectId};

/// A role with its permissions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessRole {
    /// Its number.
    pub id: i64,
    /// Its name, unique in the workspace.
    pub name: String,
    /// The workspace.
    pub workspace: String,
    /// What it is for.
    pub description: Option<String>,
    /// What its members may do.
    pub permissions: Vec<RolePermission>,
}

impl AccessRole {
    /// The number of the user whose direct grants it holds, when it holds such.
    #[must_use]
    pub fn owner_number(&self) -> Option<i64> {
        own_number(&self.name)
    }
}

/// Names of this form are kept for what is granted to users directly.
fn own_number(name: &str) -> Option<i64> {
    name.strip_prefix("__user_")?.strip_suffix("__")?.parse().ok()
}

/// A permission of a role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RolePermission {
    /// Its number.
    pub id: i64,
    /// The role's number.
    pub role: i64,
    /// What is granted on what.
    pub grant: Grant,
}

/// That a user has a role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Membership {
    /// Its number.
    pub id: i64,
    /// The user's number.
    pub user: i64,
    /// The role's number.
    pub role: i64,
}

fn missing(what: String) -> IdentityError {
    IdentityError::Missing(format!("{what} not found"))
}

fn check_role_name(name: &str) -> Result<(), IdentityError> {
    if own_number(name).is_some() {
        return Err(IdentityError::Invalid(format!("Role name '{name}' is reserved.")));
    }
    if name.trim().is_empty() {
        return Err(IdentityError::Invalid("Role name cannot be empty.".to_owned()));
    }
    Ok(())
}

fn changed(action: &'static str, role: i64) -> NewEvent {
    NewEvent::new(&ProjectId::server(), action, "access_role", role.to_string())
}

impl Identity {
    /// Makes a role in a workspace.
    ///
    /// # Errors
    /// [`IdentityError::Taken`], [`IdentityError::Invalid`], or what the ledger says.
    pub async fn create_role(
        &self,
        leave: &Authorized<ManageResource>,
        workspace: &str,
        name: &str,
        description: Option<String>,
    ) -> Result<AccessRole, IdentityError> {
        check_role_name(name)?;
        let (workspace, name) = (workspace.to_owned(), name.to_owned());
        self.ledger()
            .write(leave.actor(), move |tx| {
                refuse_taken(tx, &workspace, &name, None)?;
                let id = insert_role(tx, &workspace, &name, description.as_deref(), None)?;
                tx.emit(
                    changed("access_role.created", id).with(json!({ "workspace": workspace, "name": name })),
                )?;
                role(tx, id)
            })
            .await
    }

    /// One role.
    ///
    /// # Errors
    /// [`IdentityError::Missing`], or what the database says.
    pub async fn role(&self, id: i64) -> Result<AccessRole, IdentityError> {
        self.ledger().db().read(move |tx| role(tx, id)).await
    }

    /// The role that a permission belongs to.
    ///
    /// # Errors
    /// [`IdentityError::Missing`], or what the database says.
    pub async fn role_of_permission(&self, permission: i64) -> Result<AccessRole, IdentityError> {
        self.ledger()
            .db()
            .read(move |tx| {
                let found = role_permission(tx, permission)?;
                role(tx, found.role)
            })
            .await
    }

    /// The roles of these workspaces, or of all.
    ///
    /// # Errors
    /// What the database says.
    pub async fn roles(&self, workspaces: Option<Vec<String>>) -> Result<Vec<AccessRole>, IdentityError> {
        let wanted = move |role: &AccessRole| workspaces.as_ref().is_none_or(|w| w.contains(&role.workspace));
        let all = self.ledger().db().read(|tx| roles_where(tx, "1 = 1", &[])).await?;
        Ok(all.into_iter().filter(wanted).collect())
    }

    /// Changes a role's name or description; what is `None` stays.
    ///
    /// # Errors
    /// [`IdentityError::Missing`], [`IdentityError::Taken`], [`IdentityError::Invalid`], or what the ledger says.
    pub async fn update_role(
        &self,
        leave: &Authorized<ManageResource>,
        id: i64,
        name: Option<String>,
        description: Option<String>,
    ) -> Result<AccessRole, IdentityError> {
        name.as_deref().map_or(Ok(()), check_role_name)?;
        self.ledger()
            .write(leave.actor(), move |tx| {
                let before = role(tx, id)?;
                if let Some(name) = &name {
                    refuse_taken(tx, &before.workspace, name, Some(id))?;
                }
                tx.execute(
                    "UPDATE access_roles SET name = COALESCE(?2, name), description = COALESCE(?3, description)
                     WHERE id = ?1",
                    &[id.into(), name.clone().into(), description.clone().into()],
                )?;
                tx.emit(changed("access_role.updated", id).with(json!({ "name": name })))?;
                role(tx, id)
            })
            .await
    }

    /// Deletes a role; its members lose what it granted.
    ///
    /// # Errors
    /// [`IdentityError::Missing`], or what the ledger says.
    pub async fn delete_role(
        &self,
        leave: &Authorized<ManageResource>,
        id: i64,
    ) -> Result<(), IdentityError> {
        self.ledger()
            .write(leave.actor(), move |tx| {
                let before = role(tx, id)?;
                for table in ["access_permissions", "access_members"] {
                    tx.execute(&format!("DELETE FROM {table} WHERE role = ?1"), &[id.into()])?;
                }
                tx.execute("DELETE FROM access_roles WHERE id = ?1", &[id.into()])?;
                tx.emit(changed("access_role.deleted", id).with(json!({ "name": before.name })))?;
                Ok(())
            })
            .await
    }

    /// Gives a role a permission.
    ///
    /// # Errors
    /// [`IdentityError::Missing`], [`IdentityError::Taken`], [`IdentityError::Invalid`], or what the ledger says.
    pub async fn add_role_permission(
        &self,
        leave: &Authorized<ManageResource>,
        id: i64,
        grant: Grant,
    ) -> Result<RolePermission, IdentityError> {
        grant.kind.check(&grant.pattern)?;
        self.ledger()
            .write(leave.actor(), move |tx| {
                role(tx, id)?;
                let Some(made) = insert_permission(tx, id, &grant)? else {
                    return Err(IdentityError::Taken(format!(
                        "Role permission (role_id={id}, resource_type={}, resource_pattern={}) already exists.",
                        grant.kind.as_str(),
                        grant.pattern
                    )));
                };
                tx.emit(changed("access_role.permitted", id).with(told(&grant)))?;
                role_permission(tx, made)
            })
            .await
    }

    /// Changes a permission of a role.
    ///
    /// # Errors
    /// [`IdentityError::Missing`], [`IdentityError::Invalid`], or what the ledger says.
    pub async fn update_role_permission(
        &self,
        leave: &Authorized<ManageResource>,
        id: i64,
        permission: Permission,
    ) -> Result<RolePermission, IdentityError> {
        self.ledger()
            .write(leave.actor(), move |tx| {
                let mut found = role_permission(tx, id)?;
                found.grant.permission = permission;
                let params = [id.into(), permission.as_str().into()];
                tx.execute("UPDATE access_permissions SET permission = ?2 WHERE id = ?1", &params)?;
                tx.emit(changed("access_role.permitted", found.role).with(told(&found.grant)))?;
                Ok(found)
            })
            .await
    }

    /// Takes a permission from a role.
    ///
    /// # Errors
    /// [`IdentityError::Missing`], or what the ledger says.
    pub async fn remove_role_permission(
        &self,
        leave: &Authorized<ManageResource>,
        id: i64,
    ) -> Result<(), IdentityError> {
        self.ledger()
            .write(leave.actor(), move |tx| {
                let found = role_permission(tx, id)?;
                tx.execute("DELETE FROM access_permissions WHERE id = ?1", &[id.into()])?;
                tx.emit(changed("access_role.withdrawn", found.role).with(told(&found.grant)))?;
                Ok(())
            })
            .await
    }

    /// Gives a user a role.
    ///
    /// # Errors
    /// [`IdentityError::Missing`], [`IdentityError::Taken`], or what the ledger says.
    pub async fn assign_role(
        &self,
        leave: &Authorized<ManageResource>,
        user: &str,
        id: i64,
    ) -> Result<Membership, IdentityError> {
        let user = user.to_owned();
        self.ledger()
            .write(leave.actor(), move |tx| {
                let account = find(tx, &user)?.ok_or_else(|| unknown(&user))?;
                role(tx, id)?;
                let Some(membership) = join(tx, &account, id)? else {
                    return Err(IdentityError::Taken(format!(
                        "User role assignment (user_id={}, role_id={id}) already exists",
                        account.number
                    )));
                };
                tx.emit(changed("access_role.assigned", id).with(json!({ "user": user })))?;
                Ok(membership)
            })
            .await
    }

    /// Takes a role from a user.
    ///
    /// # Errors
    /// [`IdentityError::Missing`], or what the ledger says.
    pub async fn unassign_role(
        &self,
        leave: &Authorized<ManageResource>,
        user: &str,
        id: i64,
    ) -> Result<(), IdentityError> {
        let user = user.to_owned();
        self.ledger()
            .write(leave.actor(), move |tx| {
                let account = find(tx, &user)?.ok_or_else(|| unknown(&user))?;
                let params = [(&user).into(), id.into()];
                if tx.execute("DELETE FROM access_members WHERE user_name = ?1 AND role = ?2", &params)? == 0
                {
                    let number = account.number;
                    return Err(missing(format!("User role assignment (user_id={number}, role_id={id})")));
                }
                tx.emit(changed("access_role.unassigned", id).with(json!({ "user": user })))?;
                Ok(())
            })
            .await
    }

    /// The roles that a user has, that of direct grants among them.
    ///
    /// # Errors
    /// What the database says.
    pub async fn roles_of(&self, user: &str) -> Result<Vec<AccessRole>, IdentityError> {
        let user = user.to_owned();
        self.ledger()
            .db()
            .read(move |tx| {
                let mine = "id IN (SELECT role FROM access_members WHERE user_name = ?1)";
                roles_where(tx, mine, &[(&user).into()])
            })
            .await
    }

    /// Who has a role.
    ///
    /// # Errors
    /// What the database says.
    pub async fn members(&self, id: i64) -> Result<Vec<Membership>, IdentityError> {
        self.ledger()
            .db()
            .read(move |tx: &mut Tx<'_>| {
                let rows = tx.query(
                    "SELECT m.id, a.number, m.role FROM access_members m JOIN accounts a ON a.user_name = m.user_name
                     WHERE m.role = ?1 ORDER BY m.id",
                    &[id.into()],
                )?;
                rows.into_iter()
                    .map(|mut row| Ok(Membership { id: row.take(0)?, user: row.take(1)?, role: row.take(2)? }))
                    .collect()
            })
            .await
    }

    /// Everything that is granted to a user in a workspace.
    ///
    /// # Errors
    /// What the database says.
    pub async fn grants_in(&self, user: &str, workspace: &str) -> Result<Vec<Grant>, IdentityError> {
        let (user, workspace) = (user.to_owned(), workspace.to_owned());
        self.ledger()
            .db()
            .read(move |tx: &mut Tx<'_>| {
                let rows = tx.query(
                    "SELECT p.resource_type, p.pattern, p.permission FROM access_members m
                     JOIN access_roles r ON r.id = m.role JOIN access_permissions p ON p.role = r.id
                     WHERE m.user_name = ?1 AND r.workspace = ?2",
                    &[(&user).into(), (&workspace).into()],
                )?;
                rows.into_iter().map(|mut row| grant_from(&mut row, 0)).collect()
            })
            .await
    }

    /// The workspaces in which a user has a role, and those of which the user is admin.
    ///
    /// # Errors
    /// What the database says.
    pub async fn workspaces_of(
        &self,
        user: &str,
    ) -> Result<(BTreeSet<String>, BTreeSet<String>), IdentityError> {
        let roles = self.roles_of(user).await?;
        let grants = |role: &AccessRole| role.permissions.iter().map(|p| p.grant.clone()).collect::<Vec<_>>();
        let admin = roles.iter().filter(|r| crate::is_workspace_admin(&grants(r)));
        let admin = admin.map(|r| r.workspace.clone()).collect();
        Ok((roles.into_iter().map(|r| r.workspace).collect(), admin))
    }
}

pub(crate) fn told(grant: &Grant) -> serde_json::Value {
    json!({
        "resource_type": grant.kind.as_str(), "pattern": grant.pattern, "permission": grant.permission.as_str(),
    })
}

fn refuse_taken(tx: &mut Tx<'_>, workspace: &str, name: &str, but: Option<i64>) -> Result<(), IdentityError> {
    let sql = "SELECT id FROM access_roles WHERE workspace = ?1 AND name = ?2";
    let found: Option<i64> = tx.scalar(sql, &[workspace.into(), name.into()])?;
    if found.is_some_and(|id| Some(id) != but) {
        return Err(IdentityError::Taken(format!(
            "Role (name={name}, workspace={workspace}) already exists."
        )));
    }
    Ok(())
}

pub(crate) fn insert_role(
    tx: &mut Tx<'_>,
    workspace: &str,
    name: &str,
    description: Option<&str>,
    owner: Option<&str>,
) -> Result<i64, IdentityError> {
    let id: Option<i64> = tx.scalar(
        "INSERT INTO access_roles (workspace, name, description, owner) VALUES (?1, ?2, ?3, ?4) RETURNING id",
        &[workspace.into(), name.into(), description.into(), owner.into()],
    )?;
    id.ok_or_else(|| missing(format!("Role with name={name}")))
}

/// The number of the new permission, none when the role has one on the same resource.
pub(crate) fn insert_permission(
    tx: &mut LedgerTx<'_, '_>,
    role: i64,
    grant: &Grant,
) -> Result<Option<i64>, IdentityError> {
    Ok(tx.scalar(
        "INSERT INTO access_permissions (role, resource_type, pattern, permission) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (role, resource_type, pattern) DO NOTHING RETURNING id",
        &[role.into(), grant.kind.as_str().into(), (&grant.pattern).into(), grant.permission.as_str().into()],
    )?)
}

/// The new membership, none when the user has the role.
pub(crate) fn join(
    tx: &mut Tx<'_>,
    account: &Account,
    role: i64,
) -> Result<Option<Membership>, IdentityError> {
    let id: Option<i64> = tx.scalar(
        "INSERT INTO access_members (user_name, role) VALUES (?1, ?2) ON CONFLICT (user_name, role) DO NOTHING
         RETURNING id",
        &[(&account.name).into(), role.into()],
    )?;
    Ok(id.map(|id| Membership { id, user: account.number, role }))
}

fn role(tx: &mut Tx<'_>, id: i64) -> Result<AccessRole, IdentityError> {
    roles_where(tx, "id = ?1", &[id.into()])?.pop().ok_or_else(|| missing(format!("Role with id={id}")))
}

fn roles_where(
    tx: &mut Tx<'_>,
    condition: &str,
    params: &[trueline_db::Value],
) -> Result<Vec<AccessRole>, IdentityError> {
    let sql =
        format!("SELECT id, name, workspace, description FROM access_roles WHERE {condition} ORDER BY id");
    let rows = tx.query(&sql, params)?;
    rows.into_iter()
        .map(|mut row| {
            let id: i64 = row.take(0)?;
            let permissions = tx.query(
                "SELECT id, role, resource_type, pattern, permission FROM access_permissions WHERE role = ?1 ORDER BY id",
                &[id.into()],
            )?;
            let permissions = permissions.into_iter().map(|mut row| permission_from(&mut row));
            Ok(AccessRole {
                id,
                name: row.take(1)?,
                workspace: row.take(2)?,
                description: row.take(3)?,
                permissions: permissions.collect::<Result<_, IdentityError>>()?,
            })
        })
        .collect()
}

fn role_permission(tx: &mut Tx<'_>, id: i64) -> Result<RolePermission, IdentityError> {
    let sql = "SELECT id, role, resource_type, pattern, permission FROM access_permissions WHERE id = ?1";
    let row = tx.query_opt(sql, &[id.into()])?;
    permission_from(&mut row.ok_or_else(|| missing(format!("Role permission with id={id}")))?)
}

fn permission_from(row: &mut Row) -> Result<RolePermission, IdentityError> {
    Ok(RolePermission { id: row.take(0)?, role: row.take(1)?, grant: grant_from(row, 2)? })
}

pub(crate) fn grant_from(row: &mut Row, first: usize) -> Result<Grant, IdentityError> {
    Ok(Grant {
        kind: ResourceKind::parse(&row.take::<String>(first)?)?,
        pattern: row.take(first + 1)?,
        permission: Permission::parse(&row.take::<String>(first + 2)?)?,
    })
}
