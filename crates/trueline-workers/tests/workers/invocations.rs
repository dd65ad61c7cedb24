//! Bodies, as MLflow's own scoring server answers them.

use crate::house::{body_of, soon, start};
use serde_json::{Value as Json, json};
use trueline_workers::Invocation;

#[tokio::test]
async fn bodies_are_answered_with_the_status_and_the_words_of_mlflow() {
    let worker = start("sklearn").await;
    let ask = async |content_type: &str, body: &str| {
        let invocation = Invocation { content_type: content_type.to_owned(), body: body.to_owned().into() };
        let reply = worker.invoke(&invocation, soon()).await.unwrap();
        (reply.status, reply.content_type.clone(), String::from_utf8(reply.body.to_vec()).unwrap(), reply)
    };
    let (status, kind, body, _) = ask("text/csv", "a,b,c\n1.0,1.0,1.0\n-1.0,-1.0,-1.0\n").await;
    assert_eq!(
        (status, kind.as_str(), body.as_str()),
        (200, "application/json", r#"{"predictions": [true, false]}"#)
    );
    let (status, _, body, _) =
        ask("application/json; charset=utf-8", r#"{"inputs": {"a": [1.0], "b": [1.0], "c": [1.0]}}"#).await;
    assert_eq!((status, body.as_str()), (200, r#"{"predictions": [true]}"#));
    let (status, kind, body, reply) = ask("application/json", "{").await;
    let said: Json = serde_json::from_str(&body).unwrap();
    assert_eq!(
        (status, kind.as_str(), &said["error_code"]),
        (400, "application/json", &json!("BAD_REQUEST"))
    );
    assert!(reply.exception.unwrap().traceback.contains("JSONDecodeError"));
    let (status, kind, body, _) = ask("image/png", "").await;
    assert_eq!((status, kind.as_str()), (415, "text/plain; charset=utf-8"));
    assert!(body.contains("only supports the following content types"), "{body}");
    let (status, _, body, _) = ask("application/json", r#"{"dataframe_records": [{"a": 1.0}]}"#).await;
    assert_eq!(status, 400);
    assert!(body.contains("missing inputs"), "{body}");
}

#[tokio::test]
async fn an_answer_that_is_no_json_is_an_error_of_the_server_and_the_traceback_is_for_the_log() {
    let worker = start("acts").await;
    let act = |what: &str| body_of(&json!({"dataframe_split": {"columns": ["act"], "data": [[what]]}}));
    let reply = worker.invoke(&act("unserializable"), soon()).await.unwrap();
    assert_eq!((reply.status, &reply.body[..]), (500, &b"Internal Server Error"[..]));
    assert!(reply.exception.unwrap().traceback.contains("is not JSON serializable"));
    let reply = worker.invoke(&act("raise this"), soon()).await.unwrap();
    assert_eq!(reply.status, 400, "so says MLflow");
    let large = "x".repeat(300_000);
    let reply = worker.invoke(&act(&format!("answer text{}", &large[..0])), soon()).await.unwrap();
    assert_eq!(reply.body, br#"{"predictions": "a text"}"#[..]);
    let reply = worker.invoke(&act(&large), soon()).await.unwrap();
    assert_eq!(reply.body, format!(r#"{{"predictions": ["{large}"]}}"#), "through memory both ways");
}

#[tokio::test]
async fn bodies_of_chats_are_answered_without_a_wrapper() {
    let worker = start("chat").await;
    let body = body_of(&json!({"messages": [{"role": "user", "content": "hi"}]}));
    let reply = worker.invoke(&body, soon()).await.unwrap();
    let said: Json = serde_json::from_slice(&reply.body).unwrap();
    let content = said["choices"][0]["message"]["content"].as_str().unwrap();
    assert!(content.contains("hi"), "{content}");
    assert!(said.get("predictions").is_none());
}
