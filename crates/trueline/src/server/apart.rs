//! Requests that may take long, on threads that others wait for: they are answered on the common ones.

use axum::body::{Body, HttpBody, to_bytes};
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use futures::stream;
use trueline_flows::{CommonThreads, STOPPING};

/// Has a request of a scoring wire answered where it takes nobody's time.
pub(super) async fn apart(common: &CommonThreads, request: Request, next: Next) -> Response {
    if !CommonThreads::are_elsewhere() || trueline_inference::is_short(&request) {
        return next.run(request).await;
    }
    // In a box, so that short ones don't carry the room about that this needs.
    Box::pin(elsewhere(common, request, next)).await
}

async fn elsewhere(common: &CommonThreads, request: Request, next: Next) -> Response {
    let uri = request.uri().clone();
    let request = whole(request).await;
    let answered = common.run(async { next.run(request).await }).await;
    answered.unwrap_or_else(|| trueline_inference::unavailable(uri.path(), STOPPING))
}

/// A request with its body, if it says how long that is: piece by piece it would go from thread to thread, and wake both.
async fn whole(request: Request) -> Request {
    // Of one that is too large it is only told that it is.
    let length = request.body().size_hint().exact();
    if length.is_none_or(|length| length > trueline_inference::LARGEST_BODY as u64) {
        return request;
    }
    let (head, body) = request.into_parts();
    let body = match to_bytes(body, usize::MAX).await {
        Ok(bytes) => Body::from(bytes),
        // Whoever reads it tells the caller, in the words of the wire.
        Err(error) => Body::from_stream(stream::iter([Err::<axum::body::Bytes, _>(error)])),
    };
    Request::from_parts(head, body)
}
