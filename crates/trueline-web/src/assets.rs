//! The files that pages load, embedded in the binary. The path of each holds a hash of its content, so a browser
//! may keep it for ever and a new binary is seen at once. Our own modules share one hash of them all, so that
//! `import "./charts.js"` leads to the same address as the page's script element does.

use axum::Router;
use axum::extract::Path;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use sha2::{Digest, Sha256};
use std::fmt::Write as _;
use std::sync::LazyLock;

struct Asset {
    name: &'static str,
    mime: &'static str,
    body: &'static [u8],
    hash: String,
}

const CSS: &str = "text/css; charset=utf-8";
const JS: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

macro_rules! files {
    ($($mime:ident $name:literal),* $(,)?) => {
        vec![$(asset($name, $mime, include_bytes!(concat!("../assets/", $name)))),*]
    };
}

static ASSETS: LazyLock<Vec<Asset>> = LazyLock::new(|| {
    let mut assets = files![
        CSS "app.css",
        JS "theme.js",
        JS "app.js",
        JS "charts.js",
        JS "cells.js",
        JS "runs.js",
        JS "runs-body.js",
        JS "runs-columns.js",
        JS "runs-feed.js",
        JS "runs-head.js",
        JS "runs-picks.js",
        JS "runs-row.js",
        JS "compare.js",
        JS "compare-axes.js",
        JS "compare-contour.js",
        JS "compare-parallel.js",
        JS "compare-scatter.js",
        JS "run.js",
        JS "series.js",
        JS "try.js",
        SVG "favicon.svg",
        JS "vendor/htmx/htmx.min.js",
        JS "vendor/echarts/echarts.common.min.js",
    ];
    let is_module = |asset: &Asset| asset.mime == JS && !asset.name.starts_with("vendor/");
    let modules: Vec<u8> = assets.iter().filter(|a| is_module(a)).flat_map(|a| a.body).copied().collect();
    let shared = hash(&modules);
    assets.iter_mut().filter(|a| is_module(a)).for_each(|a| a.hash.clone_from(&shared));
    assets
});

fn asset(name: &'static str, mime: &'static str, body: &'static [u8]) -> Asset {
    Asset { name, mime, body, hash: hash(body) }
}

/// 64 bits name a file well enough: this is a cache key, not a proof.
fn hash(body: &[u8]) -> String {
    Sha256::digest(body).iter().take(8).fold(String::with_capacity(16), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The URL of an embedded file, for example `app.css`. An unknown name gives a path that answers 404.
#[must_use]
pub fn url(name: &str) -> String {
    let hash = ASSETS.iter().find(|a| a.name == name).map_or("missing", |a| a.hash.as_str());
    format!("/assets/{hash}/{name}")
}

/// Serves `/assets/<hash>/<name>`. With the hash of the present content the answer may be kept for ever; with an
/// older one (a page rendered before an upgrade) the present file is served and must be asked for again.
pub fn assets<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new().route("/assets/{hash}/{*name}", get(serve))
}

async fn serve(Path((hash, name)): Path<(String, String)>, headers: HeaderMap) -> Response {
    let Some(asset) = ASSETS.iter().find(|a| a.name == name) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let etag = format!("\"{}\"", asset.hash);
    let caching = if hash == asset.hash { "public, max-age=31536000, immutable" } else { "no-cache" };
    let common = [(header::ETAG, etag.clone()), (header::CACHE_CONTROL, caching.to_owned())];
    let known = headers.get(header::IF_NONE_MATCH).and_then(|v| v.to_str().ok());
    // A compressing layer may have weakened the tag on the way out.
    if known.is_some_and(|v| v.split(',').any(|t| t.trim().trim_start_matches("W/") == etag)) {
        return (StatusCode::NOT_MODIFIED, common).into_response();
    }
    let kind = [(header::CONTENT_TYPE, asset.mime), (header::X_CONTENT_TYPE_OPTIONS, "nosniff")];
    (common, kind, asset.body).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;
    use axum::http::Request;
    use http_body_util::BodyExt as _;
    use tower::ServiceExt as _;

    async fn get(path: &str, tag: Option<&str>) -> Response {
        let mut request = Request::get(path);
        if let Some(tag) = tag {
            request = request.header(header::IF_NONE_MATCH, tag);
        }
        assets::<()>().oneshot(request.body(Body::empty()).unwrap()).await.unwrap()
    }

    fn field(answer: &Response, name: header::HeaderName) -> String {
        answer.headers().get(name).map(|v| v.to_str().unwrap().to_owned()).unwrap_or_default()
    }

    #[tokio::test]
    async fn the_present_file_may_be_kept_for_ever() {
        let answer = get(&url("app.css"), None).await;
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(field(&answer, header::CONTENT_TYPE), CSS);
        assert!(field(&answer, header::CACHE_CONTROL).contains("immutable"));
        let tag = field(&answer, header::ETAG);
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        assert!(body.starts_with(b"/*"));
        let again = get(&url("app.css"), Some(&format!("W/{tag}"))).await;
        assert_eq!(again.status(), StatusCode::NOT_MODIFIED);
    }

    #[tokio::test]
    async fn a_page_from_before_an_upgrade_still_gets_its_styles() {
        let answer = get("/assets/0123456789abcdef/app.css", None).await;
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(field(&answer, header::CACHE_CONTROL), "no-cache");
    }

    #[tokio::test]
    async fn an_unknown_file_is_not_found() {
        assert_eq!(get(&url("secrets.txt"), None).await.status(), StatusCode::NOT_FOUND);
    }

    #[test]
    fn a_module_that_another_imports_has_the_address_that_pages_give_it() {
        let folder = |name: &str| url(name).trim_end_matches(name).to_owned();
        for asset in ASSETS.iter().filter(|a| a.mime == JS && !a.name.starts_with("vendor/")) {
            let text = std::str::from_utf8(asset.body).unwrap();
            let imports = text.split(" from \"./").skip(1).chain(text.split("import(\"./").skip(1));
            for imported in imports.filter_map(|rest| rest.split('"').next()) {
                assert_eq!(folder(imported), folder(asset.name), "{} imports {imported}", asset.name);
            }
        }
        assert_ne!(folder("app.css"), folder("charts.js"));
    }

    #[test]
    fn nothing_is_loaded_from_elsewhere() {
        for asset in ASSETS.iter().filter(|a| !a.name.starts_with("vendor/") && a.mime != SVG) {
            let text = std::str::from_utf8(asset.body).unwrap();
            assert!(!text.contains("http://") && !text.contains("https://"), "{}", asset.name);
        }
    }
}
