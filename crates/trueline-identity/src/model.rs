//! Projects, users, roles and tokens as values.

use crate::IdentityError;
use serde::{Deserialize, Serialize};
use trueline_ledger::{Millis, ProjectId};

/// The name of a project or user: what people type and URLs carry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct ProjectName(String);

impl ProjectName {
    /// Checks a name: 1 to 63 lower-case letters, digits and inner hyphens.
    ///
    /// # Errors
    /// [`IdentityError::BadName`].
    pub fn parse(name: &str) -> Result<Self, IdentityError> {
        let letter = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        let inner = name.chars().all(|c| letter(c) || c == '-');
        let ends = name.chars().next().is_some_and(letter) && name.chars().last().is_some_and(letter);
        if name.len() > 63 || !inner || !ends || name == "server" {
            return Err(IdentityError::BadName { name: name.to_owned() });
        }
        Ok(Self(name.to_owned()))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A tenancy boundary.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Project {
    /// What keys and events carry.
    pub id: ProjectId,
    /// What people type.
    pub name: String,
    /// When it was made.
    pub created_at_ms: Millis,
}

/// What a user may do in a project, or, granted for the server, in all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Sees the project.
    Viewer,
    /// Logs runs and registers versions.
    Contributor,
    /// Approves versions, and sees the project.
    Reviewer,
    /// Everything but approving.
    Admin,
    /// Sees everything, the ledger included, and changes nothing.
    Auditor,
}

impl Role {
    /// All roles.
    pub const ALL: [Self; 5] = [Self::Viewer, Self::Contributor, Self::Reviewer, Self::Admin, Self::Auditor];

    /// The role's word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Contributor => "contributor",
            Self::Reviewer => "reviewer",
            Self::Admin => "admin",
            Self::Auditor => "auditor",
        }
    }

    /// Reads the role's word.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|r| r.as_str() == text)
    }
}

/// A role in a project; no project means the whole server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoleGrant {
    /// The role.
    pub role: Role,
    /// The project's name, or none for the server.
    pub project: Option<String>,
}

/// A user to be made.
#[derive(Clone, Debug, Deserialize)]
pub struct NewUser {
    /// The name.
    pub name: String,
    /// What the user may do.
    #[serde(default)]
    pub roles: Vec<RoleGrant>,
}

/// A user with roles.
#[derive(Clone, Debug, Serialize)]
pub struct UserRow {
    /// The name.
    pub name: String,
    /// When it was made.
    pub created_at_ms: Millis,
    /// What the user may do.
    pub roles: Vec<RoleGrant>,
}

/// A token without its secret, which is shown once and kept hashed.
#[derive(Clone, Debug, Serialize)]
pub struct TokenRow {
    /// Its id.
    pub id: String,
    /// Whose it is.
    pub user: String,
    /// What it is for.
    pub label: String,
    /// When it was made.
    pub created_at_ms: Millis,
    /// When it was revoked.
    pub revoked_at_ms: Option<Millis>,
}

#[cfg(test)]
mod tests {
    use super::ProjectName;

    #[test]
    fn names_are_lower_case_words_with_inner_hyphens() {
        for good in ["a", "fraud-eu", "7", "a1-b2"] {
            assert!(ProjectName::parse(good).is_ok(), "{good}");
        }
        for bad in ["", "-a", "a-", "A", "a b", "a/b", "server", "é", &"a".repeat(64)] {
            assert!(ProjectName::parse(bad).is_err(), "{bad}");
        }
    }
}
