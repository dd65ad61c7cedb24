//! Settings: projects, users, roles, tokens, and what is deleted for good.

use crate::parts::Badge;
use crate::shell::Shell;
use askama::Template;
use jiff::Timestamp;

/// A project.
#[derive(Clone, Debug)]
pub struct ProjectRow {
    /// Its name.
    pub name: String,
    /// The caller's roles in it.
    pub roles: Vec<String>,
    /// When it was made.
    pub created_at: Timestamp,
}

/// A user.
#[derive(Clone, Debug)]
pub struct UserRow {
    /// The name.
    pub name: String,
    /// The roles held, in words: `admin of churn`.
    pub roles: Vec<String>,
    /// When the user was made.
    pub created_at: Timestamp,
}

/// A role that a user holds.
#[derive(Clone, Debug)]
pub struct Grant {
    /// The user.
    pub user: String,
    /// The role.
    pub role: String,
    /// The project; none for the whole server.
    pub project: Option<String>,
}

/// A token, without its secret.
#[derive(Clone, Debug)]
pub struct TokenRow {
    /// Its id.
    pub id: String,
    /// What it is for.
    pub label: String,
    /// Whose it is.
    pub user: String,
    /// Whether it is good: active, revoked.
    pub state: Badge,
    /// Whether it can be revoked.
    pub can_revoke: bool,
    /// When it was made.
    pub created_at: Timestamp,
}

/// A token just made: the only moment at which its secret is known.
#[derive(Clone)]
pub struct FreshToken {
    /// What it is for.
    pub label: String,
    /// The secret.
    pub secret: String,
}

impl std::fmt::Debug for FreshToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FreshToken").field("label", &self.label).finish_non_exhaustive()
    }
}

/// What a collection did in a project, or would do.
#[derive(Clone, Debug)]
pub struct CollectedRow {
    /// The project.
    pub project: String,
    /// Experiments, runs and logged models, in words.
    pub purged: String,
    /// How many are kept back.
    pub kept_back: u64,
    /// Bytes of blobs that went.
    pub freed: u64,
    /// Bytes of blobs that stay.
    pub left: u64,
}

/// The newest collection.
#[derive(Clone, Debug)]
pub struct CollectionView {
    /// How it stands.
    pub state: Badge,
    /// When it was asked for.
    pub at: Timestamp,
    /// Whether it only told what would go.
    pub dry_run: bool,
    /// Why it failed.
    pub error: Option<String>,
    /// Each project.
    pub projects: Vec<CollectedRow>,
}

/// Which settings are shown.
#[derive(Clone, Debug)]
pub enum SettingsBody {
    /// The projects. A new one is made by POST of `name` to the page itself.
    Projects(Vec<ProjectRow>),
    /// The users. A new one is made by POST of `name` to the page itself.
    Users(Vec<UserRow>),
    /// The roles held. One is granted by POST of `user`, `role` and `project` (empty: the server) to the page itself.
    Roles {
        /// Who holds what.
        grants: Vec<Grant>,
        /// The users that a role can be given to.
        users: Vec<String>,
        /// Each role with what it may do, as a sentence.
        roles: Vec<(String, String)>,
    },
    /// The tokens. A new one is made by POST of `label` to the page itself.
    Tokens {
        /// The tokens.
        tokens: Vec<TokenRow>,
        /// The one that was just made.
        fresh: Option<FreshToken>,
        /// The server's URL as the caller reached it.
        tracking_uri: String,
    },
    /// What is deleted for good. A collection is asked for by POST of `dry_run` to the page itself.
    Storage {
        /// The rules, a sentence each.
        rules: Vec<String>,
        /// The newest collection.
        last: Option<CollectionView>,
    },
}

/// Settings.
#[derive(Clone, Debug, Template)]
#[template(path = "settings.html")]
pub struct SettingsPage {
    /// What all pages share.
    pub shell: Shell,
    /// Whether the caller may change what is shown.
    pub can_change: bool,
    /// What went wrong with the form, as a sentence.
    pub problem: Option<String>,
    /// What is shown.
    pub body: SettingsBody,
}

impl SettingsPage {
    pub(crate) fn tabs(&self) -> [(&'static str, &'static str, bool); 5] {
        let here = match self.body {
            SettingsBody::Projects(_) => "projects",
            SettingsBody::Users(_) => "users",
            SettingsBody::Roles { .. } => "roles",
            SettingsBody::Tokens { .. } => "tokens",
            SettingsBody::Storage { .. } => "storage",
        };
        let all = [
            ("Projects", "projects"),
            ("Users", "users"),
            ("Roles", "roles"),
            ("Tokens", "tokens"),
            ("Storage", "storage"),
        ];
        all.map(|(label, part)| (label, part, part == here))
    }
}
