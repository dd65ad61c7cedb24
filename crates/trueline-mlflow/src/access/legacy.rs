//! Permissions by kind of resource, as clients up to 3.12 ask for them: `…/permissions/{create,get,update,delete}`. They are
//! the same direct grants. That the caller may manage the resource was judged before.

use super::Answer;
use crate::error::WireError;
use crate::fields::Fields;
use crate::{App, Caller, Mlflow, reply};
use axum::Router;
use axum::extract::State;
use axum::routing::{delete, get, patch, post};
use serde_json::{Value as Json, json};
use std::sync::Arc;
use trueline_flows::Session;
use trueline_identity::{AccessRole, Account, IdentityError, Permission, Resource, ResourceKind};

/// A kind of resource in the words of these calls.
#[derive(Clone, Copy)]
struct Kind {
    path: &'static str,
    kind: ResourceKind,
    /// The field that holds a permission in an answer.
    answer: &'static str,
    /// How messages call it.
    title: &'static str,
    /// The fields that name a resource.
    names: &'static [&'static str],
    /// Whether a name is unique in a workspace alone, which is told with it then.
    in_workspace: bool,
}

const KINDS: [Kind; 6] = [
    Kind {
        path: "/2.0/mlflow/experiments/permissions",
        kind: ResourceKind::Experiment,
        answer: "experiment_permission",
        title: "Experiment permission",
        names: &["experiment_id"],
        in_workspace: false,
    },
    Kind {
        path: "/2.0/mlflow/registered-models/permissions",
        kind: ResourceKind::RegisteredModel,
        answer: "registered_model_permission",
        title: "Registered model permission",
        names: &["name"],
        in_workspace: true,
    },
    Kind {
        path: "/3.0/mlflow/scorers/permissions",
        kind: ResourceKind::Scorer,
        answer: "scorer_permission",
        title: "Scorer permission",
        names: &["experiment_id", "scorer_name"],
        in_workspace: false,
    },
    Kind {
        path: "/3.0/mlflow/gateway/secrets/permissions",
        kind: ResourceKind::GatewaySecret,
        answer: "gateway_secret_permission",
        title: "Gateway secret permission",
        names: &["secret_id"],
        in_workspace: false,
    },
    Kind {
        path: "/3.0/mlflow/gateway/endpoints/permissions",
        kind: ResourceKind::GatewayEndpoint,
        answer: "gateway_endpoint_permission",
        title: "Gateway endpoint permission",
        names: &["endpoint_id"],
        in_workspace: false,
    },
    Kind {
        path: "/3.0/mlflow/gateway/model-definitions/permissions",
        kind: ResourceKind::GatewayModelDefinition,
        answer: "gateway_model_definition_permission",
        title: "Gateway model definition permission",
        names: &["model_definition_id"],
        in_workspace: false,
    },
];

pub(super) fn routes() -> Router<Arc<Mlflow>> {
    KINDS.into_iter().fold(Router::new(), |routes, kind| {
        let path = |verb: &str| format!("{}/{verb}", kind.path);
        routes
            .route(&path("create"), post(move |app, caller, fields| create(kind, app, caller, fields)))
            .route(&path("get"), get(move |app, caller, fields| read(kind, app, caller, fields)))
            .route(&path("update"), patch(move |app, caller, fields| update(kind, app, caller, fields)))
            .route(&path("delete"), delete(move |app, caller, fields| remove(kind, app, caller, fields)))
    })
}

/// The direct grants of a user by kind, as clients up to 3.12 expect them with the user.
pub(super) fn with_permissions(account: &Account, roles: &[AccessRole]) -> Json {
    let mut user = super::users::rendered(account);
    for kind in KINDS.iter().take(3) {
        let mut listed = Vec::new();
        for role in roles.iter().filter(|role| role.owner_number() == Some(account.number)) {
            for grant in role.permissions.iter().map(|p| &p.grant).filter(|g| g.kind == kind.kind) {
                let names: Vec<&str> = grant.pattern.splitn(kind.names.len(), '/').collect();
                listed.push(kind.rendered(&names, &role.workspace, account, grant.permission));
            }
        }
        user[format!("{}s", kind.answer)] = Json::Array(listed);
    }
    user
}

impl Kind {
    fn rendered(&self, names: &[&str], workspace: &str, account: &Account, permission: Permission) -> Json {
        let mut told = json!({ "user_id": account.number, "permission": permission.as_str() });
        for (field, value) in self.names.iter().zip(names) {
            told[*field] = json!(value);
        }
        if self.in_workspace {
            told["workspace"] = json!(workspace);
        }
        told
    }
}

/// What a request names.
struct Asked {
    kind: Kind,
    names: Vec<String>,
    user: String,
    resource: Resource,
}

impl Asked {
    async fn read(kind: Kind, app: &Mlflow, session: &Session, fields: &Fields) -> Result<Self, WireError> {
        let names = kind.names.iter().map(|name| fields.required(name)).collect::<Result<Vec<_>, _>>()?;
        let user = fields.required("username")?;
        let mut granted = kind.kind;
        // In these calls a prompt is a model.
        if granted == ResourceKind::RegisteredModel
            && app.registry.is_prompt(&session.leave()?, &names[0]).await?
        {
            granted = ResourceKind::Prompt;
        }
        let resource = Resource::new(&session.project().name, granted, names.join("/"));
        Ok(Self { kind, names, user, resource })
    }

    fn rendered(&self, account: &Account, permission: Permission) -> Json {
        let names: Vec<&str> = self.names.iter().map(String::as_str).collect();
        let told = self.kind.rendered(&names, &self.resource.workspace, account, permission);
        json!({ self.kind.answer: told })
    }

    /// The same error, in the words of these calls.
    fn reworded(&self, error: IdentityError) -> WireError {
        let workspace = self.kind.in_workspace.then(|| format!("workspace={}", self.resource.workspace));
        let names = self.kind.names.iter().zip(&self.names).map(|(field, value)| format!("{field}={value}"));
        let named: Vec<String> = workspace.into_iter().chain(names).collect();
        let (title, named, user) = (self.kind.title, named.join(", "), &self.user);
        match error {
            IdentityError::Taken(_) => {
                IdentityError::Taken(format!("{title} ({named}, username={user}) already exists.")).into()
            }
            IdentityError::Missing(message) if message.starts_with("Permission for user") => {
                IdentityError::Missing(format!("{title} with {named} and username={user} not found")).into()
            }
            other => other.into(),
        }
    }
}

async fn create(kind: Kind, State(app): App, Caller(session): Caller, fields: Fields) -> Answer {
    let asked = Asked::read(kind, &app, &session, &fields).await?;
    let permission = Permission::parse(&fields.required("permission")?)?;
    let leave = session.leave()?;
    let granted =
        app.access.identity().grant_directly(&leave, &asked.user, &asked.resource, permission).await;
    let account = granted.map_err(|e| asked.reworded(e))?;
    Ok(reply::json(&asked.rendered(&account, permission)))
}

async fn read(kind: Kind, State(app): App, Caller(session): Caller, fields: Fields) -> Answer {
    let asked = Asked::read(kind, &app, &session, &fields).await?;
    let found = app.access.identity().direct_grant(&asked.user, &asked.resource).await;
    let (account, permission) = found.map_err(|e| asked.reworded(e))?;
    Ok(reply::json(&asked.rendered(&account, permission)))
}

async fn update(kind: Kind, State(app): App, Caller(session): Caller, fields: Fields) -> Answer {
    let asked = Asked::read(kind, &app, &session, &fields).await?;
    let permission = Permission::parse(&fields.required("permission")?)?;
    let leave = session.leave()?;
    let changed =
        app.access.identity().change_direct_grant(&leave, &asked.user, &asked.resource, permission).await;
    changed.map_err(|e| asked.reworded(e))?;
    Ok(reply::empty())
}

async fn remove(kind: Kind, State(app): App, Caller(session): Caller, fields: Fields) -> Answer {
    let asked = Asked::read(kind, &app, &session, &fields).await?;
    let leave = session.leave()?;
    let gone = app.access.identity().revoke_directly(&leave, &asked.user, &asked.resource).await;
    gone.map_err(|e| asked.reworded(e))?;
    Ok(reply::empty())
}
