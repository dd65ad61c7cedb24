//! Permissions on single resources, with MLflow's words (3.13 and later): what a grant is, and which one governs.
//!
//! Grants are looked for rung by rung: on a thing's own kind first (`run`), then on what holds it (`experiment`). The first
//! rung on which there is any grant decides. On one rung `DENY` wins, else the highest; a grant that allows something never
//! allows less than the default.

use crate::IdentityError;

/// What may be done with a resource. Each allows what those before it allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Permission {
    /// Nothing, whatever else was granted on the same rung.
    Deny,
    /// Nothing.
    NoPermissions,
    /// See it.
    Read,
    /// See and use it.
    Use,
    /// Change it.
    Edit,
    /// Delete it, and say who may do what with it.
    Manage,
}

impl Permission {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Deny, Self::NoPermissions, Self::Read, Self::Use, Self::Edit, Self::Manage];

    /// MLflow's word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Deny => "DENY",
            Self::NoPermissions => "NO_PERMISSIONS",
            Self::Read => "READ",
            Self::Use => "USE",
            Self::Edit => "EDIT",
            Self::Manage => "MANAGE",
        }
    }

    /// Reads MLflow's word.
    ///
    /// # Errors
    /// [`IdentityError::Invalid`], naming those that there are.
    pub fn parse(word: &str) -> Result<Self, IdentityError> {
        Self::ALL.into_iter().find(|p| p.as_str() == word).ok_or_else(|| {
            IdentityError::Invalid(format!(
                "Invalid permission '{word}'. Valid permissions are: ('READ', 'USE', 'EDIT', 'MANAGE', \
                 'NO_PERMISSIONS', 'DENY')"
            ))
        })
    }

    /// Whether it lets one see the resource.
    #[must_use]
    pub fn can_read(self) -> bool {
        self >= Self::Read
    }

    /// Whether it lets one use the resource.
    #[must_use]
    pub fn can_use(self) -> bool {
        self >= Self::Use
    }
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $word:literal, $by_id:literal;)*) => {
        /// A kind of resource that can be granted.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum ResourceKind { $($(#[$doc])* $name),* }

        impl ResourceKind {
            /// All kinds.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// MLflow's word.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $word),* }
            }

            /// Whether single ones can be granted; else all of a workspace alone.
            #[must_use]
            pub fn by_id(self) -> bool {
                match self { $(Self::$name => $by_id),* }
            }
        }
    };
}

kinds! {
    /// A workspace: who may be in it, and who is its admin.
    Workspace = "workspace", false;
    /// An experiment, with what it holds.
    Experiment = "experiment", true;
    /// A registered model, with its versions.
    RegisteredModel = "registered_model", true;
    /// A prompt, with its versions.
    Prompt = "prompt", true;
    /// A scorer, `experiment/name`.
    Scorer = "scorer", true;
    /// A secret of the gateway.
    GatewaySecret = "gateway_secret", true;
    /// An endpoint of the gateway.
    GatewayEndpoint = "gateway_endpoint", true;
    /// A model definition of the gateway.
    GatewayModelDefinition = "gateway_model_definition", true;
    /// A server in the MCP registry.
    McpServer = "mcp_server", true;
    /// Runs.
    Run = "run", false;
    /// Traces.
    Trace = "trace", false;
    /// Assessments of traces.
    Assessment = "assessment", false;
    /// Logged models.
    LoggedModel = "logged_model", false;
    /// Review queues.
    ReviewQueue = "review_queue", false;
    /// Versions of registered models.
    RegisteredModelVersion = "registered_model_version", false;
    /// Versions of prompts.
    PromptVersion = "prompt_version", false;
    /// Versions of scorers.
    ScorerVersion = "scorer_version", false;
    /// Versions of servers in the MCP registry.
    McpServerVersion = "mcp_server_version", false;
}

impl ResourceKind {
    /// Reads MLflow's word.
    ///
    /// # Errors
    /// [`IdentityError::Invalid`], naming those that there are.
    pub fn parse(word: &str) -> Result<Self, IdentityError> {
        Self::ALL.iter().copied().find(|k| k.as_str() == word).ok_or_else(|| {
            let mut words: Vec<&str> = Self::ALL.iter().map(|k| k.as_str()).collect();
            words.sort_unstable();
            IdentityError::Invalid(format!(
                "Invalid resource type '{word}'. Valid resource types are: ({})",
                words.iter().map(|w| format!("'{w}'")).collect::<Vec<_>>().join(", ")
            ))
        })
    }

    /// Checks that a pattern can be granted on this kind.
    ///
    /// # Errors
    /// [`IdentityError::Invalid`].
    pub fn check(self, pattern: &str) -> Result<(), IdentityError> {
        let kind = self.as_str();
        if pattern.is_empty() || (pattern != "*" && !self.by_id()) {
            return Err(IdentityError::Invalid(format!(
                "Invalid resource_pattern '{pattern}' for resource_type='{kind}'. This resource type supports only wildcard \
                 ('*') grants."
            )));
        }
        Ok(())
    }
}

/// A permission that somebody holds, by a role or directly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// On what kind.
    pub kind: ResourceKind,
    /// On which: an id, or `*` for all of the workspace.
    pub pattern: String,
    /// What.
    pub permission: Permission,
}

/// A place where grants on a thing are looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rung {
    /// The kind.
    pub kind: ResourceKind,
    /// The id; none for kinds that are granted as a whole.
    pub id: Option<String>,
}

impl Rung {
    /// One resource.
    #[must_use]
    pub fn one(kind: ResourceKind, id: impl Into<String>) -> Self {
        Self { kind, id: Some(id.into()) }
    }

    /// All of a kind.
    #[must_use]
    pub fn all(kind: ResourceKind) -> Self {
        Self { kind, id: None }
    }

    fn matches(&self, grant: &Grant) -> bool {
        let one = self.kind.by_id() && self.id.as_deref() == Some(grant.pattern.as_str());
        grant.kind == self.kind && (grant.pattern == "*" || one)
    }

    fn fold(&self, grants: &[Grant]) -> Option<Permission> {
        let found = grants.iter().filter(|g| self.matches(g)).map(|g| g.permission);
        let (denied, best) = found.fold((false, None), |(denied, best), p| match p {
            Permission::Deny => (true, best),
            other => (denied, best.max(Some(other))),
        });
        if denied { Some(Permission::Deny) } else { best }
    }
}

/// What holds where nothing was granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standard {
    /// A grant that allows something allows at least this.
    pub floor: Permission,
    /// What holds without a grant.
    pub absent: Permission,
}

/// Whether somebody with these grants is the admin of their workspace, whom no grant restricts.
#[must_use]
pub fn is_workspace_admin(grants: &[Grant]) -> bool {
    grants.iter().any(|g| g.kind == ResourceKind::Workspace && g.permission == Permission::Manage)
}

/// The permission that governs a thing.
#[must_use]
pub fn governing(grants: &[Grant], rungs: &[Rung], default: Standard) -> Permission {
    if is_workspace_admin(grants) {
        return Permission::Manage;
    }
    let floored = |p: Permission| if p > Permission::NoPermissions { p.max(default.floor) } else { p };
    floored(rungs.iter().find_map(|rung| rung.fold(grants)).unwrap_or(default.absent))
}

#[cfg(test)]
mod tests {
    use super::*;

    const READ: Standard = Standard { floor: Permission::Read, absent: Permission::Read };
    const NOTHING: Standard =
        Standard { floor: Permission::NoPermissions, absent: Permission::NoPermissions };

    fn grant(kind: ResourceKind, pattern: &str, permission: Permission) -> Grant {
        Grant { kind, pattern: pattern.to_owned(), permission }
    }

    #[test]
    fn without_a_grant_the_default_holds() {
        let rungs = [Rung::one(ResourceKind::Experiment, "1")];
        assert_eq!(governing(&[], &rungs, READ), Permission::Read);
        assert_eq!(governing(&[], &rungs, NOTHING), Permission::NoPermissions);
        let other = [grant(ResourceKind::Experiment, "2", Permission::Manage)];
        assert_eq!(governing(&other, &rungs, READ), Permission::Read);
    }

    #[test]
    fn on_one_rung_the_highest_holds_and_a_denial_before_all() {
        let rungs = [Rung::one(ResourceKind::Experiment, "1")];
        let mut grants = vec![
            grant(ResourceKind::Experiment, "1", Permission::Read),
            grant(ResourceKind::Experiment, "*", Permission::Edit),
        ];
        assert_eq!(governing(&grants, &rungs, NOTHING), Permission::Edit);
        grants.push(grant(ResourceKind::Experiment, "*", Permission::Deny));
        assert_eq!(governing(&grants, &rungs, NOTHING), Permission::Deny);
    }

    #[test]
    fn the_first_rung_with_a_grant_decides() {
        let rungs = [Rung::all(ResourceKind::Run), Rung::one(ResourceKind::Experiment, "1")];
        let grants = [
            grant(ResourceKind::Run, "*", Permission::Deny),
            grant(ResourceKind::Experiment, "1", Permission::Manage),
        ];
        assert_eq!(governing(&grants, &rungs, READ), Permission::Deny);
        assert_eq!(governing(&grants[1..], &rungs, READ), Permission::Manage);
    }

    #[test]
    fn a_grant_allows_no_less_than_the_default_but_nothing_stays_nothing() {
        let default = Standard { floor: Permission::Edit, absent: Permission::Edit };
        let rungs = [Rung::one(ResourceKind::Prompt, "p")];
        let with = |p| governing(&[grant(ResourceKind::Prompt, "p", p)], &rungs, default);
        assert_eq!(with(Permission::Read), Permission::Edit);
        assert_eq!(with(Permission::NoPermissions), Permission::NoPermissions);
        assert_eq!(with(Permission::Deny), Permission::Deny);
    }

    #[test]
    fn nobody_restricts_the_admin_of_a_workspace() {
        let grants = [
            grant(ResourceKind::Workspace, "*", Permission::Manage),
            grant(ResourceKind::Experiment, "1", Permission::Deny),
        ];
        assert_eq!(
            governing(&grants, &[Rung::one(ResourceKind::Experiment, "1")], NOTHING),
            Permission::Manage
        );
    }

    #[test]
    fn parts_are_granted_as_a_whole_alone() {
        assert!(ResourceKind::Run.check("*").is_ok());
        let told = ResourceKind::Run.check("r1").unwrap_err().to_string();
        assert!(told.contains("supports only wildcard"), "{told}");
        assert!(ResourceKind::Workspace.check("default").is_err());
        assert!(
            ResourceKind::parse("bogus")
                .unwrap_err()
                .to_string()
                .starts_with("Invalid resource type 'bogus'")
        );
    }
}
