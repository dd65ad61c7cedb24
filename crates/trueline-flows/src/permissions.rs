//! Permissions on single resources (`--app-name basic-auth`): which one governs for a caller, and what searches may find.

use crate::session::{Access, Session};
use std::collections::BTreeSet;
use trueline_identity::{Grant, IdentityError, Permission, ResourceKind, Rung, Standard, governing};

/// How permissions on single resources are resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PermissionRules {
    /// What holds where nothing was granted.
    pub default: Permission,
    /// Whether there are workspaces, in which nothing holds without a grant.
    pub workspaces: bool,
    /// Whether the default holds in the default workspace all the same.
    pub default_workspace_open: bool,
}

/// The name of the project, and workspace, that is there from the start.
pub const DEFAULT_WORKSPACE: &str = "default";

/// What a search may find of a kind of resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readable {
    /// All but these.
    AllBut(BTreeSet<String>),
    /// These alone.
    Only(BTreeSet<String>),
}

impl Readable {
    /// Everything.
    #[must_use]
    pub fn all() -> Self {
        Self::AllBut(BTreeSet::new())
    }

    /// Whether it holds for a resource.
    #[must_use]
    pub fn allows(&self, id: &str) -> bool {
        match self {
            Self::AllBut(hidden) => !hidden.contains(id),
            Self::Only(shown) => shown.contains(id),
        }
    }
}

/// What a caller holds in a workspace, and what holds there without a grant.
#[derive(Clone, Debug)]
pub struct Holdings {
    grants: Vec<Grant>,
    standard: Standard,
}

impl Holdings {
    /// What governs a resource, looked for rung by rung.
    #[must_use]
    pub fn governing(&self, rungs: &[Rung]) -> Permission {
        governing(&self.grants, rungs, self.standard)
    }

    /// What the workspace itself grants.
    #[must_use]
    pub fn of_workspace(&self) -> Permission {
        let nothing = Permission::NoPermissions;
        let standard = Standard { floor: nothing, absent: nothing };
        governing(&self.grants, &[Rung::all(ResourceKind::Workspace)], standard)
    }

    /// What searches may find of a kind whose parts, such as runs, may be granted apart.
    #[must_use]
    pub fn readable(&self, parts: &[ResourceKind], kind: ResourceKind) -> Readable {
        let may_read = |id: &str| {
            let mut rungs: Vec<Rung> = parts.iter().copied().map(Rung::all).collect();
            rungs.push(Rung::one(kind, id));
            self.governing(&rungs).can_read()
        };
        let named =
            self.grants.iter().filter(|g| g.kind == kind && g.pattern != "*").map(|g| g.pattern.clone());
        // No id is empty, so this asks for one that no grant names.
        let by_default = may_read("");
        let exceptions = named.filter(|id| may_read(id) != by_default).collect();
        if by_default { Readable::AllBut(exceptions) } else { Readable::Only(exceptions) }
    }
}

impl Access {
    /// What a caller holds in a workspace.
    ///
    /// # Errors
    /// What the database says.
    pub async fn holdings(
        &self,
        user: &str,
        workspace: &str,
        rules: PermissionRules,
    ) -> Result<Holdings, IdentityError> {
        let grants = self.identity().grants_in(user, workspace).await?;
        let open = !rules.workspaces || rules.default_workspace_open && workspace == DEFAULT_WORKSPACE;
        let by_default = if open { rules.default } else { Permission::NoPermissions };
        // What is granted on the workspace holds for what is in it.
        let of_workspace = grants.iter().filter(|g| g.kind == ResourceKind::Workspace).map(|g| g.permission);
        let absent = of_workspace.max().unwrap_or(by_default).max(by_default);
        Ok(Holdings { grants, standard: Standard { floor: rules.default, absent } })
    }

    /// What the session's caller holds in its workspace; all of it for an admin of the server.
    ///
    /// # Errors
    /// What the database says.
    pub async fn holdings_of(
        &self,
        session: &Session,
        rules: PermissionRules,
    ) -> Result<Holdings, IdentityError> {
        let user = session.caller().user().filter(|_| !session.caller().is_server_admin());
        match user {
            Some(user) => self.holdings(user, &session.project().name, rules).await,
            None => {
                let (floor, absent) = (Permission::Manage, Permission::Manage);
                Ok(Holdings { grants: Vec::new(), standard: Standard { floor, absent } })
            }
        }
    }

    /// Whether a user may hold permissions in the project of a session, so that its requests are judged one by one.
    pub(crate) fn may_hold_permissions(&self, session: &Session) -> bool {
        let is_default = session.project().name == DEFAULT_WORKSPACE;
        let user = session.caller().user().is_some();
        user && self.permissions().is_some_and(|rules| rules.workspaces || is_default)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holdings(default: Permission, grants: &[(&str, Permission)]) -> Holdings {
        let grant = |(id, permission): &(&str, Permission)| Grant {
            kind: ResourceKind::Experiment,
            pattern: (*id).to_owned(),
            permission: *permission,
        };
        let grants = grants.iter().map(grant).collect();
        Holdings { grants, standard: Standard { floor: default, absent: default } }
    }

    fn ids(list: &[&str]) -> BTreeSet<String> {
        list.iter().map(|id| (*id).to_owned()).collect()
    }

    #[test]
    fn where_all_is_readable_searches_hide_what_is_not() {
        let held = holdings(Permission::Read, &[("1", Permission::NoPermissions), ("2", Permission::Edit)]);
        assert_eq!(held.readable(&[], ResourceKind::Experiment), Readable::AllBut(ids(&["1"])));
    }

    #[test]
    fn where_nothing_is_readable_searches_show_what_was_granted() {
        let held = holdings(Permission::NoPermissions, &[("1", Permission::Deny), ("2", Permission::Use)]);
        assert_eq!(held.readable(&[], ResourceKind::Experiment), Readable::Only(ids(&["2"])));
        assert!(!held.readable(&[], ResourceKind::Experiment).allows("3"));
    }

    #[test]
    fn a_grant_on_all_parts_goes_before_those_on_what_holds_them() {
        let mut held = holdings(Permission::Read, &[("1", Permission::Manage)]);
        held.grants.push(Grant {
            kind: ResourceKind::Run,
            pattern: "*".to_owned(),
            permission: Permission::Deny,
        });
        let readable = held.readable(&[ResourceKind::Run], ResourceKind::Experiment);
        assert_eq!(readable, Readable::Only(ids(&[])));
    }
}
