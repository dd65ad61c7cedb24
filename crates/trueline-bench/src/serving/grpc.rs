//! As little gRPC as a load generator needs: one call of `ModelInfer` at a time on each of many HTTP/2 connections, with
//! tensors as raw bytes. The messages hold what is sent and looked at here, by the numbers of the protocol's definition.

use crate::http::Answer;
use crate::load::{Exchange, LoadReport};
use anyhow::{Context, ensure};
use bytes::{BufMut, Bytes, BytesMut};
use h2::client::SendRequest;
use http::{HeaderMap, Request};
use prost::Message;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

#[derive(Clone, PartialEq, Message)]
pub(super) struct InferRequest {
    #[prost(string, tag = "1")]
    pub(super) model_name: String,
    #[prost(message, repeated, tag = "5")]
    pub(super) inputs: Vec<Tensor>,
    #[prost(bytes = "bytes", repeated, tag = "7")]
    pub(super) raw_input_contents: Vec<Bytes>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct InferResponse {
    #[prost(message, repeated, tag = "5")]
    pub(super) outputs: Vec<Tensor>,
    #[prost(bytes = "bytes", repeated, tag = "6")]
    pub(super) raw_output_contents: Vec<Bytes>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Tensor {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(string, tag = "2")]
    pub(super) datatype: String,
    #[prost(int64, repeated, tag = "3")]
    pub(super) shape: Vec<i64>,
    #[prost(message, optional, tag = "5")]
    pub(super) contents: Option<Contents>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Contents {
    #[prost(float, repeated, tag = "6")]
    pub(super) fp32s: Vec<f32>,
    #[prost(double, repeated, tag = "7")]
    pub(super) fp64s: Vec<f64>,
}

/// The bytes of a call: a message that is not compressed, after its length.
pub(super) fn framed(message: &InferRequest) -> Bytes {
    let length = message.encoded_len();
    let mut bytes = BytesMut::with_capacity(5 + length);
    bytes.put_u8(0);
    // Longer messages than 4 GiB are not made here.
    bytes.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    bytes.put_slice(&message.encode_to_vec());
    bytes.freeze()
}

/// One call; the first value of the answer.
pub(super) fn ask(address: SocketAddr, call: &Bytes, timeout: Duration) -> anyhow::Result<f64> {
    let answer = runtime()?.block_on(async {
        let mut connection = open(address).await?;
        tokio::time::timeout(timeout, infer(&mut connection, address, call.clone())).await?
    })?;
    ensure!(answer.status == 200, "{}", String::from_utf8_lossy(&answer.body));
    let message = InferResponse::decode(answer.body.get(5..).context("an answer without a message")?)?;
    let output = message.outputs.first().context("no output")?;
    if let Some(contents) = &output.contents
        && let Some(first) = contents.fp64s.first().copied().or(contents.fp32s.first().map(|v| f64::from(*v)))
    {
        return Ok(first);
    }
    let raw = message.raw_output_contents.first().context("an output without values")?;
    match (output.datatype.as_str(), raw.first_chunk::<4>(), raw.first_chunk::<8>()) {
        ("FP32", Some(bytes), _) => Ok(f64::from(f32::from_le_bytes(*bytes))),
        ("FP64", _, Some(bytes)) => Ok(f64::from_le_bytes(*bytes)),
        (other, ..) => anyhow::bail!("an output of type {other} and {} bytes", raw.len()),
    }
}

/// Calls as fast as answers come, all connections on one thread.
pub(super) fn closed_loop(
    address: SocketAddr,
    call: &Bytes,
    connections: usize,
    duration: Duration,
    timeout: Duration,
) -> anyhow::Result<LoadReport> {
    runtime()?.block_on(async {
        let mut opened = Vec::new();
        for _ in 0..connections {
            opened.push(open(address).await?);
        }
        let start = Instant::now();
        let mut tasks = JoinSet::new();
        for mut connection in opened {
            let call = call.clone();
            tasks.spawn(async move {
                let mut report = LoadReport::default();
                while start.elapsed() < duration {
                    let due_at = Instant::now();
                    let called = infer(&mut connection, address, call.clone());
                    let answer = match tokio::time::timeout(timeout, called).await {
                        Ok(answer) => answer.map_err(io::Error::other),
                        Err(late) => Err(late.into()),
                    };
                    let exchange = Exchange {
                        number: report.latency.count(),
                        due_at,
                        sent_at: due_at,
                        received_at: Instant::now(),
                        answer: answer.as_ref(),
                    };
                    report.add(&exchange);
                    if answer.is_err() {
                        // Of no more use, as in the loop over HTTP/1.1.
                        match open(address).await {
                            Ok(fresh) => connection = fresh,
                            Err(_) => break,
                        }
                    }
                }
                report
            });
        }
        let mut report = LoadReport::default();
        while let Some(one) = tasks.join_next().await {
            report = report.merge(one?);
        }
        Ok(LoadReport { elapsed: start.elapsed(), ..report })
    })
}

fn runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

async fn open(address: SocketAddr) -> anyhow::Result<SendRequest<Bytes>> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = h2::client::handshake(stream).await?;
    // What goes wrong with the connection is told to the call that is under way.
    tokio::spawn(async move { drop(connection.await) });
    Ok(sender)
}

/// One call: 200 with the framed message, or 500 with the service's words.
async fn infer(
    connection: &mut SendRequest<Bytes>,
    address: SocketAddr,
    call: Bytes,
) -> anyhow::Result<Answer> {
    let request = Request::post(format!("http://{address}/inference.GRPCInferenceService/ModelInfer"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())?;
    futures::future::poll_fn(|context| connection.poll_ready(context)).await?;
    let (response, mut stream) = connection.send_request(request, false)?;
    stream.send_data(call, true)?;
    let (head, mut data) = response.await?.into_parts();
    let mut body = Vec::new();
    while let Some(chunk) = data.data().await {
        let chunk = chunk?;
        data.flow_control().release_capacity(chunk.len())?;
        body.extend_from_slice(&chunk);
    }
    let trailers = data.trailers().await?;
    // A refusal may come in the head, without trailers.
    let ends: &HeaderMap = trailers.as_ref().unwrap_or(&head.headers);
    let said = |name: &str| ends.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
    match said("grpc-status").as_str() {
        "0" => Ok(Answer { status: 200, body }),
        status => {
            let words = format!("gRPC status `{status}`: {}", said("grpc-message"));
            Ok(Answer { status: 500, body: words.into_bytes() })
        }
    }
}
