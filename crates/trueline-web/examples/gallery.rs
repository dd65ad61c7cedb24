//! Serves every page with sample data on the loopback, to be looked at:
//! `cargo run -p trueline-web --example gallery [port]`, then `http://127.0.0.1:5799/`.

#[path = "../tests/samples/mod.rs"]
mod samples;

use axum::extract::Path;
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};

const CSP: &str =
    "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'";

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let port = std::env::args().nth(1).unwrap_or_else(|| "5799".to_owned());
    let app = Router::new()
        .route("/", get(index))
        .route("/gallery/{name}", get(page))
        .route("/api/v1/runs/{run}/metrics/{key}", get(series))
        .merge(trueline_web::assets());
    let listener = tokio::net::TcpListener::bind(format!("127.0.0.1:{port}")).await?;
    axum::serve(listener, app).await
}

async fn index() -> Html<String> {
    let links =
        samples::all().iter().map(|(n, _)| format!("<li><a href=/gallery/{n}>{n}</a>")).collect::<String>();
    Html(format!("<!doctype html><title>Gallery</title><ul>{links}</ul>"))
}

async fn page(Path(name): Path<String>) -> Response {
    match samples::all().into_iter().find(|(n, _)| *n == name) {
        Some((_, html)) => ([(header::CONTENT_SECURITY_POLICY, CSP)], Html(html)).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

/// A learning curve with a gap and two markers.
async fn series(Path((run, key)): Path<(String, String)>) -> Json<Value> {
    let shift = f64::from(run.bytes().map(u32::from).sum::<u32>() % 17) / 200.0;
    let points: Vec<_> = (0..240_i32)
        .map(|i| {
            let x = f64::from(i);
            let noise = ((x * 12.9898).sin() * 43_758.545).fract() * 0.01;
            let fall = 0.5 * (-x / 60.0).exp();
            let value = if key.ends_with("auc") {
                0.92 - shift - fall * 0.6 + noise
            } else {
                0.2 + shift + fall + noise
            };
            let value = (i != 57 && i != 58).then_some(value);
            let at =
                jiff::Timestamp::from_second(1_779_998_000 + i64::from(i) * 5).ok().map(|t| t.to_string());
            json!({"step": i * 5, "at": at, "value": value})
        })
        .collect();
    let markers = json!([{"step": 600, "at": "2026-05-28T20:03:20Z", "label": "rate halved"}]);
    Json(json!({"points": points, "markers": markers}))
}
