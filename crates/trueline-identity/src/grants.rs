//! What is granted to a user directly: kept as a role of the user's own, as MLflow does from 3.13 on, so that there is one
//! kind of grant.

use crate::accounts::{find, unknown};
use crate::roles::{grant_from, insert_permission, insert_role, join, told};
use crate::{
    Account, Authorized, Grant, Identity, IdentityError, ManageResource, Permission, ResourceKind,
    UpdateResource,
};
use serde_json::json;
use trueline_db::Tx;
use trueline_ledger::{Actor, LedgerTx, NewEvent, ProjectId};

/// A resource of a workspace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    /// The workspace.
    pub workspace: String,
    /// The kind.
    pub kind: ResourceKind,
    /// The id, or `*` for all of the kind.
    pub id: String,
}

impl Resource {
    /// In a workspace.
    #[must_use]
    pub fn new(workspace: &str, kind: ResourceKind, id: impl Into<String>) -> Self {
        Self { workspace: workspace.to_owned(), kind, id: id.into() }
    }

    fn event(&self, action: &'static str) -> NewEvent {
        NewEvent::new(&ProjectId::server(), action, self.kind.as_str(), &self.id)
    }

    fn params(&self) -> [trueline_db::Value; 3] {
        [(&self.workspace).into(), self.kind.as_str().into(), (&self.id).into()]
    }
}

/// What a direct grant does to one that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Create,
    Set,
}

impl Identity {
    /// Grants a user a permission that the user does not have directly yet.
    ///
    /// # Errors
    /// [`IdentityError::Missing`] without the user, [`IdentityError::Taken`], [`IdentityError::Invalid`].
    pub async fn grant_directly(
        &self,
        leave: &Authorized<ManageResource>,
        user: &str,
        resource: &Resource,
        permission: Permission,
    ) -> Result<Account, IdentityError> {
        self.put_grant(leave.actor(), user, resource, permission, Mode::Create).await
    }

    /// Gives who made a resource all rights on it.
    ///
    /// # Errors
    /// What the ledger says.
    pub async fn grant_to_maker(
        &self,
        leave: &Authorized<UpdateResource>,
        user: &str,
        resource: &Resource,
    ) -> Result<(), IdentityError> {
        self.put_grant(leave.actor(), user, resource, Permission::Manage, Mode::Set).await.map(drop)
    }

    async fn put_grant(
        &self,
        actor: &Actor,
        user: &str,
        resource: &Resource,
        permission: Permission,
        mode: Mode,
    ) -> Result<Account, IdentityError> {
        resource.kind.check(&resource.id)?;
        let (user, resource) = (user.to_owned(), resource.clone());
        self.ledger()
            .write(actor, move |tx| {
                let account = find(tx, &user)?.ok_or_else(|| unknown(&user))?;
                let role = own_role(tx, &account, &resource.workspace)?;
                let grant = Grant { kind: resource.kind, pattern: resource.id.clone(), permission };
                if insert_permission(tx, role, &grant)?.is_none() {
                    if mode == Mode::Create {
                        return Err(IdentityError::Taken(format!(
                            "Permission for user={user} on resource_type={}, resource_id={} already exists.",
                            resource.kind.as_str(),
                            resource.id
                        )));
                    }
                    set(tx, &user, &resource, permission)?;
                }
                let mut payload = told(&grant);
                payload["user"] = json!(user);
                payload["workspace"] = json!(resource.workspace);
                tx.emit(resource.event("permission.granted").with(payload))?;
                Ok(account)
            })
            .await
    }

    /// Grants a user a permission, whatever was granted directly before.
    ///
    /// # Errors
    /// [`IdentityError::Missing`] without the user, [`IdentityError::Invalid`], or what the ledger says.
    pub async fn set_direct_grant(
        &self,
        leave: &Authorized<ManageResource>,
        user: &str,
        resource: &Resource,
        permission: Permission,
    ) -> Result<Account, IdentityError> {
        self.put_grant(leave.actor(), user, resource, permission, Mode::Set).await
    }

    /// Changes what a user was granted directly.
    ///
    /// # Errors
    /// [`IdentityError::Missing`], [`IdentityError::Invalid`], or what the ledger says.
    pub async fn change_direct_grant(
        &self,
        leave: &Authorized<ManageResource>,
        user: &str,
        resource: &Resource,
        permission: Permission,
    ) -> Result<(), IdentityError> {
        resource.kind.check(&resource.id)?;
        let (user, resource) = (user.to_owned(), resource.clone());
        self.ledger()
            .write(leave.actor(), move |tx| {
                find(tx, &user)?.ok_or_else(|| unknown(&user))?;
                if set(tx, &user, &resource, permission)? == 0 {
                    return Err(not_granted(&user, &resource));
                }
                let payload = json!({ "user": user, "permission": permission.as_str() });
                tx.emit(resource.event("permission.granted").with(payload))?;
                Ok(())
            })
            .await
    }

    /// Takes from a user what was granted directly.
    ///
    /// # Errors
    /// [`IdentityError::Missing`], or what the ledger says.
    pub async fn revoke_directly(
        &self,
        leave: &Authorized<ManageResource>,
        user: &str,
        resource: &Resource,
    ) -> Result<(), IdentityError> {
        let (user, resource) = (user.to_owned(), resource.clone());
        self.ledger()
            .write(leave.actor(), move |tx| {
                find(tx, &user)?.ok_or_else(|| unknown(&user))?;
                let [workspace, kind, id] = resource.params();
                let gone = tx.execute(
                    "DELETE FROM access_permissions WHERE resource_type = ?2 AND pattern = ?3 AND role IN
                         (SELECT id FROM access_roles WHERE owner = ?4 AND workspace = ?1)",
                    &[workspace, kind, id, (&user).into()],
                )?;
                if gone == 0 {
                    return Err(not_granted(&user, &resource));
                }
                tx.emit(resource.event("permission.revoked").with(json!({ "user": user })))?;
                Ok(())
            })
            .await
    }

    /// What a user was granted directly on a resource, with the user.
    ///
    /// # Errors
    /// [`IdentityError::Missing`], or what the database says.
    pub async fn direct_grant(
        &self,
        user: &str,
        resource: &Resource,
    ) -> Result<(Account, Permission), IdentityError> {
        let (user, resource) = (user.to_owned(), resource.clone());
        self.ledger()
            .db()
            .read(move |tx: &mut Tx<'_>| {
                let account = find(tx, &user)?.ok_or_else(|| unknown(&user))?;
                let [workspace, kind, id] = resource.params();
                let row = tx.query_opt(
                    "SELECT p.resource_type, p.pattern, p.permission FROM access_permissions p
                     JOIN access_roles r ON r.id = p.role
                     WHERE r.workspace = ?1 AND p.resource_type = ?2 AND p.pattern = ?3 AND r.owner = ?4",
                    &[workspace, kind, id, (&user).into()],
                )?;
                let mut row = row.ok_or_else(|| not_granted(&user, &resource))?;
                Ok((account, grant_from(&mut row, 0)?.permission))
            })
            .await
    }

    /// Takes all direct grants on a resource away, when it is gone: another of its name begins without.
    ///
    /// # Errors
    /// What the ledger says.
    pub async fn drop_grants(
        &self,
        leave: &Authorized<UpdateResource>,
        resource: &Resource,
    ) -> Result<(), IdentityError> {
        let resource = resource.clone();
        self.ledger()
            .write(leave.actor(), move |tx| {
                let gone = tx.execute(
                    "DELETE FROM access_permissions WHERE resource_type = ?2 AND pattern = ?3 AND role IN
                         (SELECT id FROM access_roles WHERE owner IS NOT NULL AND workspace = ?1)",
                    &resource.params(),
                )?;
                if gone > 0 {
                    tx.emit(resource.event("permission.dropped").with(json!({ "grants": gone })))?;
                }
                Ok(())
            })
            .await
    }

    /// Moves all direct grants on a resource along with its new name.
    ///
    /// # Errors
    /// What the ledger says.
    pub async fn rename_grants(
        &self,
        leave: &Authorized<UpdateResource>,
        resource: &Resource,
        name: &str,
    ) -> Result<(), IdentityError> {
        let (resource, name) = (resource.clone(), name.to_owned());
        self.ledger()
            .write(leave.actor(), move |tx| {
                let [workspace, kind, id] = resource.params();
                let moved = tx.execute(
                    "UPDATE access_permissions SET pattern = ?4 WHERE resource_type = ?2 AND pattern = ?3 AND role IN
                         (SELECT id FROM access_roles WHERE owner IS NOT NULL AND workspace = ?1)",
                    &[workspace, kind, id, (&name).into()],
                )?;
                if moved > 0 {
                    tx.emit(resource.event("permission.renamed").with(json!({ "name": name, "grants": moved })))?;
                }
                Ok(())
            })
            .await
    }
}

fn not_granted(user: &str, resource: &Resource) -> IdentityError {
    IdentityError::Missing(format!(
        "Permission for user={user} on resource_type={}, resource_id={} not found.",
        resource.kind.as_str(),
        resource.id
    ))
}

/// The user's own role in a workspace, made when there is none.
fn own_role(tx: &mut LedgerTx<'_, '_>, account: &Account, workspace: &str) -> Result<i64, IdentityError> {
    let sql = "SELECT id FROM access_roles WHERE owner = ?1 AND workspace = ?2";
    if let Some(id) = tx.scalar::<i64>(sql, &[(&account.name).into(), workspace.into()])? {
        return Ok(id);
    }
    let name = format!("__user_{}__", account.number);
    let id = insert_role(tx, workspace, &name, None, Some(&account.name))?;
    join(tx, account, id)?;
    Ok(id)
}

fn set(
    tx: &mut LedgerTx<'_, '_>,
    user: &str,
    resource: &Resource,
    permission: Permission,
) -> Result<u64, IdentityError> {
    let [workspace, kind, id] = resource.params();
    Ok(tx.execute(
        "UPDATE access_permissions SET permission = ?5 WHERE resource_type = ?2 AND pattern = ?3 AND role IN
             (SELECT id FROM access_roles WHERE owner = ?4 AND workspace = ?1)",
        &[workspace, kind, id, user.into(), permission.as_str().into()],
    )?)
}
