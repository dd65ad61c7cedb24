//! Parts of the wire that a server was told to leave out: the artifact proxy (`--no-serve-artifacts`), or all but it
//! (`--artifacts-only`). What is off answers 503 with MLflow's words.

use axum::extract::{MatchedPath, Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

/// What of the wire is answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Modes {
    /// All of it.
    #[default]
    All,
    /// The artifact proxy alone.
    ArtifactsOnly,
    /// All but the artifact proxy.
    NoArtifacts,
}

/// Stops a request to a part that is off.
pub(crate) async fn admit(State(modes): State<Modes>, request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().map_or(request.uri().path(), MatchedPath::as_str);
    match refusal(modes, route) {
        Some(told) => (StatusCode::SERVICE_UNAVAILABLE, told).into_response(),
        None => next.run(request).await,
    }
}

fn refusal(modes: Modes, route: &str) -> Option<String> {
    let proxied = route.contains("/mlflow-artifacts/");
    match (modes, proxied) {
        (Modes::All, _) | (Modes::ArtifactsOnly, true) | (Modes::NoArtifacts, false) => None,
        (Modes::ArtifactsOnly, false) => Some(format!(
            "Endpoint: {route} disabled due to the mlflow server running in `--artifacts-only` mode. To enable tracking \
             server functionality, run `mlflow server` without `--artifacts-only`"
        )),
        (Modes::NoArtifacts, true) => Some(format!(
            "Endpoint: {route} disabled due to the mlflow server running with `--no-serve-artifacts`. To enable artifacts \
             server functionality, run `mlflow server` with `--serve-artifacts`"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_off_says_so_in_mlflows_words() {
        let proxy = "/api/2.0/mlflow-artifacts/artifacts/{*path}";
        let runs = "/api/2.0/mlflow/runs/get";
        assert!(refusal(Modes::All, proxy).is_none() && refusal(Modes::All, runs).is_none());
        assert!(
            refusal(Modes::ArtifactsOnly, proxy).is_none() && refusal(Modes::NoArtifacts, runs).is_none()
        );
        let told = refusal(Modes::ArtifactsOnly, runs).unwrap();
        assert!(
            told.starts_with(
                "Endpoint: /api/2.0/mlflow/runs/get disabled due to the mlflow server running in"
            )
        );
        assert!(refusal(Modes::NoArtifacts, proxy).unwrap().contains("`--no-serve-artifacts`"));
    }
}
