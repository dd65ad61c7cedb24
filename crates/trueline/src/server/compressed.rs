//! Pages are compressed before they go to the thread that writes them: a megabyte takes some 12 ms, for which all other
//! connections of that thread would wait. What is too large to be held as a whole is compressed as it is written.

use axum::body::{Body, HttpBody, to_bytes};
use axum::http::{Extensions, HeaderMap, StatusCode, Version, header};
use axum::response::Response;
use axum::{Router, middleware::map_response};
use tokio::runtime::{Handle, RuntimeFlavor};
use tower_http::compression::CompressionLayer;

/// The largest page that is compressed as a whole.
const LARGEST: u64 = 16 << 20;
/// Pages that are compressed within a millisecond hold up nobody.
const QUICK: u64 = 64 << 10;

/// How many bytes an answer has before it is compressed.
#[derive(Clone, Copy, Debug)]
struct Plain(u64);

/// The faces, which compress their pages.
pub(super) fn compressing(faces: Router) -> Router {
    faces.layer(map_response(note_length)).layer(CompressionLayer::new().compress_when(is_page))
}

/// Pages and their files are worth compressing; artifacts mostly are compressed, and JSON of a loopback client need not be.
fn is_page(_: StatusCode, _: Version, headers: &HeaderMap, _: &Extensions) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    ["text/html", "text/css", "text/javascript", "image/svg+xml"].iter().any(|page| kind.starts_with(page))
}

async fn note_length(mut response: Response) -> Response {
    if let Some(length) = response.body().size_hint().exact() {
        response.extensions_mut().insert(Plain(length));
    }
    response
}

/// An answer whose page is compressed already, if it is one and not too large.
pub(super) async fn compressed(mut response: Response) -> Response {
    let plain = response.extensions_mut().remove::<Plain>().map(|Plain(length)| length);
    // Of a page whose head alone was asked for there is nothing to compress.
    let Some(length) = plain.filter(|length| (1..=LARGEST).contains(length)) else { return response };
    if !response.headers().contains_key(header::CONTENT_ENCODING) {
        return response;
    }
    let (head, body) = response.into_parts();
    let whole = to_bytes(body, usize::MAX);
    let whole = match Handle::try_current() {
        Ok(handle) if length > QUICK && handle.runtime_flavor() == RuntimeFlavor::MultiThread => {
            tokio::task::block_in_place(|| handle.block_on(whole))
        }
        _ => whole.await,
    };
    match whole {
        Ok(bytes) => Response::from_parts(head, Body::from(bytes)),
        // The connection ends as it would have in the middle of the body.
        Err(error) => {
            let failed = futures::stream::iter([Err::<axum::body::Bytes, _>(error)]);
            Response::from_parts(head, Body::from_stream(failed))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::extract::Request;
    use axum::http::HeaderValue;
    use axum::response::{Html, IntoResponse};
    use axum::routing::get;
    use std::io::Read;
    use std::sync::{Arc, Mutex};
    use tower::ServiceExt;

    const PAGE: &str = "<p>page</p>";

    async fn asked(answer: Response) -> Response {
        let answer = Arc::new(Mutex::new(Some(answer)));
        let once = move || std::future::ready(answer.lock().unwrap().take().unwrap());
        let faces = Router::new().route("/", get(once));
        let request = Request::get("/").header(header::ACCEPT_ENCODING, "gzip").body(Body::empty());
        let Ok(response) = compressing(faces).oneshot(request.unwrap()).await;
        compressed(response).await
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_page_is_compressed_as_a_whole_whatever_its_size() {
        for length in [1, 20_000] {
            let page = PAGE.repeat(length);
            let answer = asked(Html(page.clone()).into_response()).await;
            assert_eq!(
                answer.headers().get(header::CONTENT_ENCODING),
                Some(&HeaderValue::from_static("gzip"))
            );
            assert!(answer.body().size_hint().exact().is_some(), "{length}: it is made");
            let bytes = to_bytes(answer.into_body(), usize::MAX).await.unwrap();
            let mut read = String::new();
            flate2::read::GzDecoder::new(&*bytes).read_to_string(&mut read).unwrap();
            assert_eq!(read, page);
        }
    }

    #[tokio::test]
    async fn what_comes_in_pieces_and_what_is_no_page_goes_as_it_comes() {
        let pieces = futures::stream::iter([Ok::<_, axum::Error>(PAGE)]);
        let answer = asked(Html(Body::from_stream(pieces)).into_response()).await;
        assert!(answer.headers().contains_key(header::CONTENT_ENCODING));
        assert_eq!(answer.body().size_hint().exact(), None);
        let answer = asked(axum::Json(PAGE).into_response()).await;
        assert!(!answer.headers().contains_key(header::CONTENT_ENCODING));
    }
}
