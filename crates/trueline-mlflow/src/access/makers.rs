//! What follows a request that made, renamed or deleted a resource: who makes one may do everything with it, and grants
//! follow a resource's name.

use crate::Mlflow;
use crate::fields::Fields;
use axum::body::{Body, to_bytes};
use axum::http::Method;
use axum::response::{IntoResponse, Response};
use trueline_flows::Session;
use trueline_identity::{Authorized, IdentityError, Permission, Resource, ResourceKind, UpdateResource};

use crate::error::WireError;

/// What a successful request made of a resource.
pub(super) enum Made {
    /// A resource of this kind, whose id is in the answer or is this.
    New(ResourceKind, Option<String>),
    /// Another name for a model or prompt.
    Renamed(String, String),
    /// An end of resources of these kinds with this id.
    Gone(Vec<ResourceKind>, String),
}

/// The largest answer to a request that makes something.
const LARGEST_ANSWER: usize = 16 << 20;
const MODELS: [ResourceKind; 2] = [ResourceKind::RegisteredModel, ResourceKind::Prompt];

impl Made {
    /// What a request will have made if it succeeds.
    pub(super) fn of(method: &Method, path: &str, fields: &Fields) -> Option<Self> {
        let text = |name: &str| fields.text(name).ok().flatten();
        let scorer = || Some(format!("{}/{}", text("experiment_id")?, text("name")?));
        match (method.as_str(), path) {
            ("POST", "/2.0/mlflow/experiments/create") => Some(Self::New(ResourceKind::Experiment, None)),
            ("POST", "/2.0/mlflow/registered-models/create") => {
                let tags = fields.pairs("tags").unwrap_or_default();
                let is_prompt = tags.iter().any(|t| t.key == "mlflow.prompt.is_prompt");
                Some(Self::New(MODELS[usize::from(is_prompt)], text("name")))
            }
            ("POST", "/3.0/mlflow/scorers/register") => {
                Some(Self::New(ResourceKind::Scorer, Some(scorer()?)))
            }
            ("POST", "/2.0/mlflow/registered-models/rename") => {
                Some(Self::Renamed(text("name")?, text("new_name")?))
            }
            ("DELETE", "/2.0/mlflow/registered-models/delete") => {
                Some(Self::Gone(MODELS.to_vec(), text("name")?))
            }
            ("DELETE", "/3.0/mlflow/scorers/delete") if fields.any("version").is_none() => {
                Some(Self::Gone(vec![ResourceKind::Scorer], scorer()?))
            }
            _ => None,
        }
    }

    /// Has grants follow, and passes the answer on.
    pub(super) async fn follow(self, app: &Mlflow, session: &Session, response: Response) -> Response {
        let (parts, body) = response.into_parts();
        let bytes = match to_bytes(body, LARGEST_ANSWER).await {
            Ok(bytes) => bytes,
            Err(error) => return WireError::internal(error.to_string()).into_response(),
        };
        match self.record(app, session, &bytes).await {
            Ok(()) => Response::from_parts(parts, Body::from(bytes)),
            Err(error) => WireError::from(error).into_response(),
        }
    }

    async fn record(self, app: &Mlflow, session: &Session, answer: &[u8]) -> Result<(), IdentityError> {
        let workspace = &session.project().name;
        // The request was allowed to make or end it, so it may say so.
        let leave: Authorized<UpdateResource> = session.about(Permission::Edit).leave()?;
        let identity = app.access.identity();
        match self {
            Self::New(kind, id) => {
                let told = || {
                    let answer: serde_json::Value = serde_json::from_slice(answer).ok()?;
                    Some(answer["experiment_id"].as_str()?.to_owned())
                };
                let (Some(id), Some(user)) = (id.or_else(told), session.caller().user()) else {
                    return Ok(());
                };
                identity.grant_to_maker(&leave, user, &Resource::new(workspace, kind, id)).await
            }
            Self::Renamed(from, to) => {
                for kind in MODELS {
                    identity.rename_grants(&leave, &Resource::new(workspace, kind, &from), &to).await?;
                }
                Ok(())
            }
            Self::Gone(kinds, id) => {
                for kind in kinds {
                    identity.drop_grants(&leave, &Resource::new(workspace, kind, &id)).await?;
                }
                Ok(())
            }
        }
    }
}
