//! The limits at the door: bodies, requests at a time, time, memory.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{On, Server, text, wait_until};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

const MIB: u64 = 1 << 20;
const PROXY: &str = "/api/2.0/mlflow-artifacts/artifacts";

fn connect(server: &Server) -> TcpStream {
    let stream = TcpStream::connect(server.url.strip_prefix("http://").unwrap()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
}

/// Begins a request whose body is yet to come.
fn begin(server: &Server, method: &str, path: &str, length: u64) -> TcpStream {
    begin_with(server, method, path, length, "")
}

/// Begins an upload, and waits until the server takes it: it asks for the body, so it works on the request.
fn begin_upload(server: &Server, path: &str, length: u64) -> TcpStream {
    let mut stream = begin_with(server, "PUT", path, length, "expect: 100-continue\r\n");
    let mut told = [0; 25];
    stream.read_exact(&mut told).unwrap();
    assert_eq!(text(&told), "HTTP/1.1 100 Continue\r\n\r\n");
    stream
}

fn begin_with(server: &Server, method: &str, path: &str, length: u64, more: &str) -> TcpStream {
    let mut stream = connect(server);
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\nconnection: close\r\n\
         content-length: {length}\r\n{more}\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream
}

fn answer(mut stream: TcpStream) -> String {
    let mut bytes = Vec::new();
    // A server that refuses a body closes without reading it, which the system tells as a reset.
    let mut buffer = [0; 4096];
    while let Ok(n @ 1..) = stream.read(&mut buffer) {
        bytes.extend_from_slice(&buffer[..n]);
    }
    text(&bytes)
}

/// A line of `/proc/<pid>/status`, in bytes.
fn memory(server: &Server, line: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let found = status.lines().find_map(|l| l.strip_prefix(line)).unwrap();
    found.trim_start_matches(':').trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

#[test]
fn a_json_body_of_300_mb_is_refused_before_it_is_read() {
    let server = Server::start(On::Sqlite);
    server.get("/api/v1/whoami");
    let before = memory(&server, "VmHWM");
    for (path, told) in [
        ("/api/2.0/mlflow/experiments/create", "INVALID_PARAMETER_VALUE"),
        ("/api/v1/projects", "\"code\":\"too-large\""),
    ] {
        let mut stream = begin(&server, "POST", path, 300 * MIB);
        // Two MiB of it are enough for a refusal.
        stream.write_all(&vec![b' '; 2 << 20]).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let answer = answer(stream);
        assert!(answer.starts_with("HTTP/1.1 413"), "{path}: {answer}");
        assert!(answer.contains(told), "{path}: {answer}");
    }
    let grown = memory(&server, "VmHWM") - before;
    assert!(grown < 16 * MIB, "memory grew by {grown} bytes");
}

#[test]
fn who_still_sends_what_is_refused_gets_the_answer_and_not_a_broken_pipe() {
    let server = Server::start(On::Sqlite);
    let path = "/api/2.0/mlflow/experiments/create";
    let mut stream = begin(&server, "POST", path, 80 * MIB);
    stream.write_all(&vec![b' '; MIB as usize]).unwrap();
    // By now it has been refused.
    std::thread::sleep(Duration::from_millis(500));
    for _ in 1..80 {
        stream.write_all(&vec![b' '; MIB as usize]).expect("the server still reads");
    }
    let refused = answer(stream);
    assert!(refused.starts_with("HTTP/1.1 413"), "{refused}");

    // Who asks first has sent nothing, and is not told to. This one says of no type that it would send.
    let mut stream = connect(&server);
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nexpect: 100-continue\r\ncontent-length: {}\r\n\r\n",
        80 * MIB
    );
    stream.write_all(head.as_bytes()).unwrap();
    let refused = answer(stream);
    assert!(refused.starts_with("HTTP/1.1 400"), "{refused}");
}

#[test]
fn lists_may_be_larger_than_other_bodies() {
    let server = Server::start(On::Sqlite);
    let made = server.ok("/api/2.0/mlflow/runs/create", json!({ "experiment_id": "0" }));
    let run = made["run"]["info"]["run_id"].clone();
    let tag = |n: usize| json!({ "key": format!("t{n}"), "value": "é".repeat(8000) });
    let tags: Vec<Value> = (0..100).map(tag).collect();
    let body = json!({ "run_id": run, "tags": tags });
    assert!(body.to_string().len() as u64 > MIB);
    server.ok("/api/2.0/mlflow/runs/log-batch", body);
}

#[test]
fn a_request_beyond_the_places_is_told_to_come_again() {
    let server = Server::start_with(&[("TRUELINE_MAX_REQUESTS", "1")]);
    let upload = begin_upload(&server, &format!("{PROXY}/1/r/artifacts/slow"), 10);
    let ask = |path: &str| {
        let mut stream = connect(&server);
        let head = format!("GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        answer(stream).to_lowercase()
    };
    let refused = ask("/api/v1/whoami");
    assert!(refused.starts_with("http/1.1 503"), "{refused}");
    assert!(refused.contains("\r\nretry-after: 1\r\n"), "{refused}");
    assert!(
        refused.contains("application/problem+json") && refused.contains("\"code\":\"unavailable\""),
        "{refused}"
    );
    let refused = ask("/api/2.0/mlflow/experiments/get?experiment_id=0");
    assert!(refused.starts_with("http/1.1 503") && refused.contains("temporarily_unavailable"), "{refused}");
    assert!(refused.contains("\r\nretry-after: 1\r\n"), "{refused}");
    assert_eq!(server.get("/health").0, 200);
    drop(upload);
    wait_until("the place is free again", || ask("/api/v1/whoami").starts_with("http/1.1 200"));
}

#[test]
fn a_request_that_takes_too_long_is_given_up() {
    let server = Server::start_with(&[("TRUELINE_REQUEST_TIMEOUT", "1")]);
    let stalled = answer(begin(&server, "POST", "/api/2.0/mlflow/experiments/create", 10));
    assert!(stalled.starts_with("HTTP/1.1 503"), "{stalled}");
    assert!(stalled.contains("took too long"), "{stalled}");
    assert_eq!(server.get("/api/v1/whoami").0, 200);
}

const WHOLE: &str = "GET /health HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n";

/// Sends this and reads what answers each `WHOLE` in it.
fn ask_on(stream: &mut TcpStream, sent: &str) {
    stream.write_all(sent.as_bytes()).unwrap();
    sent.matches(WHOLE).for_each(|_| read_on(stream, b"\r\n\r\nOK"));
}

/// Reads up to this end, and no further, for the connection stays.
fn read_on(stream: &mut TcpStream, end: &[u8]) {
    let mut told = Vec::new();
    while !told.ends_with(end) {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap_or_else(|e| panic!("{e} after {:?}", text(&told)));
        told.extend_from_slice(&byte);
    }
}

/// Sends this and waits until the server closes the connection, which it does not within 20 s otherwise.
fn closes(mut stream: TcpStream, half: &str) {
    stream.write_all(half.as_bytes()).unwrap();
    match stream.read_to_end(&mut Vec::new()) {
        Ok(_) => {}
        // With something of it unread, closing is told so.
        Err(e) if e.kind() == std::io::ErrorKind::ConnectionReset => {}
        Err(e) => panic!("{half:?} is waited for: {e}"),
    }
}

/// A request whose answer has no body, and which has one itself.
fn refused_with(length: &str, body: &str) -> String {
    format!("POST /health HTTP/1.1\r\nhost: 127.0.0.1\r\n{length}\r\n\r\n{body}")
}

#[test]
fn a_connection_that_brings_half_a_head_is_closed_and_one_that_rests_is_not() {
    let server = Server::start_with(&[("TRUELINE_HEAD_TIMEOUT", "1")]);
    let mut resting = connect(&server);
    ask_on(&mut resting, WHOLE);
    closes(connect(&server), "POST /endpoints/e/invo");
    closes(connect(&server), "PRI * HTTP/2.0\r\n");
    closes(connect(&server), "PRIX / HTTP/1.1\r\nx-slow: no HTTP/2");
    let mut asked_before = connect(&server);
    ask_on(&mut asked_before, WHOLE);
    closes(asked_before, "GET /health HTTP/1.1\r\nx-slow: ");
    // It has rested for longer by now than a head may take.
    ask_on(&mut resting, WHOLE);
}

#[test]
fn half_a_head_that_comes_with_the_request_before_it_is_not_waited_for_either() {
    let server = Server::start_with(&[("TRUELINE_HEAD_TIMEOUT", "1")]);
    let counted = refused_with("content-length: 2", "{}");
    let in_pieces = refused_with("transfer-encoding: chunked", "2\r\n{}\r\n0\r\n\r\n");
    let mut resting = Vec::new();
    for before in [WHOLE, &counted, &in_pieces, &format!("{counted}{WHOLE}")] {
        closes(connect(&server), &format!("{before}GET /health HT"));
        let mut whole = connect(&server);
        ask_on(&mut whole, &format!("{before}{WHOLE}"));
        resting.push(whole);
    }
    closes(connect(&server), "GET /heal");
    resting.iter_mut().for_each(|stream| ask_on(stream, WHOLE));
}

#[test]
fn a_body_that_is_read_on_after_its_answer_has_its_time() {
    let server = Server::start_with(&[("TRUELINE_HEAD_TIMEOUT", "1")]);
    let mut sending = connect(&server);
    sending.write_all(refused_with("content-length: 4", "").as_bytes()).unwrap();
    read_on(&mut sending, b"\r\n\r\n");
    for piece in ["{ ", " }"] {
        sending.write_all(piece.as_bytes()).unwrap();
        // That takes as long as a head may.
        closes(connect(&server), "GET /heal");
    }
    ask_on(&mut sending, WHOLE);
}

/// Sends a request whole and reads the answer, in lower case.
fn exchange(server: &Server, method: &str, path: &str, more: &str) -> String {
    let mut stream = connect(server);
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\ncontent-length: 0\r\n{more}\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    answer(stream).to_lowercase()
}

/// A path of each scoring protocol, and how a refusal begins in its words.
const WORDINGS: [(&str, &str); 5] = [
    ("/endpoints/e/invocations", "\r\n\r\n{\"error_code\":"),
    ("/projects/default/endpoints/e/labels", "\r\n\r\n{\"error_code\":"),
    ("/v2/models/e/infer", "\r\n\r\n{\"error\":"),
    ("/projects/default/v1/models/e:predict", "\r\n\r\n{\"error\":"),
    ("/inference.GRPCInferenceService/ModelInfer", "\r\ngrpc-message:"),
];

#[test]
fn a_scoring_request_that_is_turned_away_is_told_so_in_the_words_of_its_protocol() {
    let server = Server::start_with(&[("TRUELINE_MAX_REQUESTS", "1")]);
    let mut slow = begin_with(&server, "POST", "/v2/models/e/infer", 10, "expect: 100-continue\r\n");
    let mut told = [0; 25];
    slow.read_exact(&mut told).unwrap();
    assert_eq!(text(&told), "HTTP/1.1 100 Continue\r\n\r\n", "it has the place");
    for (path, words) in WORDINGS {
        let refused = exchange(&server, "POST", path, "content-type: application/json\r\n");
        assert!(refused.contains(words), "{path}: {refused}");
        match path.starts_with("/inference.") {
            true => assert!(refused.contains("\r\ngrpc-status: 14\r\n"), "{path}: {refused}"),
            false => {
                assert!(refused.starts_with("http/1.1 503"), "{path}: {refused}");
                assert!(refused.contains("\r\nretry-after: 1\r\n"), "{path}: {refused}");
                assert!(refused.contains("as many requests as it may"), "{path}: {refused}");
            }
        }
    }
    drop(slow);
    wait_until("the place is free again", || {
        exchange(&server, "GET", "/v2/health/live", "").starts_with("http/1.1 200")
    });

    for (path, words) in WORDINGS {
        let refused = exchange(&server, "POST", path, "content-encoding: snappy\r\n");
        assert!(refused.contains(words), "{path}: {refused}");
        match path.starts_with("/inference.") {
            true => assert!(refused.contains("\r\ngrpc-status: 12\r\n"), "{path}: {refused}"),
            false => assert!(refused.starts_with("http/1.1 415"), "{path}: {refused}"),
        }
        assert!(refused.contains("\r\naccept-encoding: gzip"), "{path}: {refused}");
    }
}

#[test]
fn a_scoring_request_that_takes_too_long_is_given_up_in_the_words_of_its_protocol() {
    let server = Server::start_with(&[("TRUELINE_REQUEST_TIMEOUT", "1")]);
    for (path, words) in WORDINGS {
        // gRPC has the client's own deadlines, and reads what comes by and by.
        if path.starts_with("/inference.") {
            continue;
        }
        let stalled = answer(begin(&server, "POST", path, 10)).to_lowercase();
        assert!(stalled.starts_with("http/1.1 503") && stalled.contains(words), "{path}: {stalled}");
        assert!(stalled.contains("took too long"), "{path}: {stalled}");
    }
}

#[test]
fn a_scoring_request_that_is_too_large_is_refused_in_the_words_of_its_protocol() {
    let server = Server::start(On::Sqlite);
    for (path, words) in [WORDINGS[0], WORDINGS[2]] {
        let mut stream = begin(&server, "POST", path, 65 * MIB);
        for _ in 0..65 {
            stream.write_all(&vec![b' '; MIB as usize]).unwrap();
        }
        // Without an endpoint nothing is read of a body, but that it is too large is seen before.
        let refused = answer(stream).to_lowercase();
        assert!(refused.contains(words), "{path}: {refused}");
        assert!(refused.starts_with("http/1.1 413"), "{path}: {refused}");
    }
}

#[test]
fn made_up_methods_are_one_label() {
    let server = Server::start(On::Sqlite);
    for method in ["FOO", "BAR"] {
        server.call(method, "/api/v1/whoami", None, &[]);
    }
    let metrics = text(&server.call_bytes("GET", "/metrics", None, &[]).1);
    assert!(metrics.contains("method=\"other\""), "{metrics}");
    assert!(!metrics.contains("FOO") && !metrics.contains("BAR"), "{metrics}");
}

/// Sends an artifact of so many MiB and reads it back; answers by how much the server's memory grew at most.
fn stream_artifact(server: &Server, mib: u64) -> u64 {
    let path = format!("{PROXY}/1/r/artifacts/large.bin");
    let chunk: Vec<u8> = (0..MIB).map(|i| (i * 31 % 251) as u8).collect();
    // Each MiB begins with its number, so that none can stand for another.
    let numbered = |n: u64| [&n.to_be_bytes()[..], &chunk[8..]].concat();
    server.get("/api/v1/whoami");
    let before = memory(server, "VmHWM");
    let mut upload = begin(server, "PUT", &path, mib * MIB);
    let mut sent = Sha256::new();
    for n in 0..mib {
        let chunk = numbered(n);
        sent.update(&chunk);
        upload.write_all(&chunk).unwrap();
    }
    let answered = answer(upload);
    assert!(answered.starts_with("HTTP/1.1 200"), "{answered}");

    let agent: ureq::Agent = ureq::Agent::config_builder().build().into();
    let mut download = agent
        .get(format!("{}{path}", server.url))
        .call()
        .unwrap()
        .into_body()
        .into_with_config()
        .limit(u64::MAX)
        .reader();
    let (mut received, mut length) = (Sha256::new(), 0);
    let mut buffer = vec![0; 1 << 20];
    loop {
        let n = download.read(&mut buffer).unwrap();
        if n == 0 {
            break;
        }
        length += n as u64;
        received.update(&buffer[..n]);
    }
    assert_eq!(length, mib * MIB);
    assert_eq!(hex::encode(received.finalize()), hex::encode(sent.finalize()));
    memory(server, "VmHWM") - before
}

#[test]
fn a_large_artifact_is_streamed_and_not_held() {
    let grown = stream_artifact(&Server::start(On::Sqlite), 256);
    assert!(grown < 64 * MIB, "memory grew by {grown} bytes");
}

/// `cargo test -p trueline --test limits -- --ignored --nocapture` prints the numbers.
#[test]
#[ignore = "moves 5 GB"]
fn an_artifact_of_5_gb_is_streamed_and_not_held() {
    let server = Server::start(On::Sqlite);
    let grown = stream_artifact(&server, 5 * 1024);
    println!("peak RSS {} MiB, grown by {} MiB", memory(&server, "VmHWM") / MIB, grown / MIB);
    assert!(grown < 64 * MIB, "memory grew by {grown} bytes");
}
