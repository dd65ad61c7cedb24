//! Who may do what: projects, users, tokens, roles, and the Cedar policy that mints an [`Authorized`] for each
//! action. A domain's entry point takes one, so that a forgotten check does not compile.

mod action;
mod authenticate;
mod error;
mod model;
mod policy;
mod schema;
mod store;

pub use action::{
    Action, Approve, Authorized, DeclarePipeline, DeclarePolicy, Deploy, EraseEvent, JudgeVersion,
    ManageProjects, ManageUsers, ManageWebhooks, Predict, ReadLedger, ReadProject, RegisterModel, Replay,
    RunPipeline, VerifyLedger, Watch, WriteData, WriteTracking,
};
pub use authenticate::{Authenticator, Caller, Credentials, TokenHolder};
pub use error::IdentityError;
pub use model::{NewUser, Project, ProjectName, Role, RoleGrant, TokenRow, UserRow};
pub use policy::Policy;
pub use schema::MODULE;
pub use store::{Identity, hash_token};
