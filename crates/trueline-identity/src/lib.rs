//! Who may do what: projects, users, tokens, roles, and the Cedar policy that mints an [`Authorized`] for each
//! action. A domain's entry point takes one, so that a forgotten check does not compile.

mod accounts;
mod action;
mod authenticate;
mod error;
mod grants;
mod model;
mod password;
mod passwords;
mod permission;
mod policy;
mod roles;
mod schema;
mod store;
mod users_seen;
mod workspaces;

pub use accounts::Account;

pub use action::{
    Action, Approve, Authorized, CollectStorage, DeclarePipeline, DeclarePolicy, DeleteResource, Deploy,
    EraseEvent, JudgeVersion, ManageProjects, ManageResource, ManageUsers, ManageWebhooks, Predict,
    ReadLedger, ReadProject, ReadResource, RegisterModel, Replay, RunPipeline, UpdateResource, UseResource,
    VerifyLedger, Watch, WriteData, WriteTracking,
};
pub use authenticate::{Authenticator, Caller, Credentials, TokenHolder};
pub use error::IdentityError;
pub use grants::Resource;
pub use model::{NewUser, Project, ProjectName, Role, RoleGrant, TokenRow, UserRow};
pub use password::{hash_password, verify_password};
pub use permission::{Grant, Permission, ResourceKind, Rung, Standard, governing, is_workspace_admin};
pub use policy::Policy;
pub use roles::{AccessRole, Membership, RolePermission};
pub use schema::MODULE;
pub use store::{Identity, all_projects, hash_token};
pub use workspaces::Workspace;
