//! The protocol over gRPC, on the same port. Metadata of a call are headers of its request, so tokens, projects and sticky
//! keys come as they do over REST.

use super::codec::Messages;
use super::datatype::{self, Wire};
use super::messages::{
    Choice, Contents, Empty, Index, Indexed, InferRequest, InferResponse, InputTensor, IsSo, ModelMetadata,
    NamesModel, NamesRepositoryModel, OutputTensor, Parameter, ServerMetadata, TensorMetadata,
};
use super::rest::{ids, no_unload, number};
use super::{EXTENSIONS, Wanted, frame, outputs, shape, tensor};
use crate::ask::{Caller, cards, known, wake, written};
use crate::deadline::deadline;
use crate::error::Refusal;
use crate::{App, LARGEST_BODY, unhurried};
use axum::body::Body;
use axum::extract::{Extension, Path, Request, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use std::future::Future;
use std::pin::Pin;
use tonic::codec::CompressionEncoding;
use tonic::server::{Grpc, UnaryService};
use tonic::{Code, Status};
use trueline_flows::{Knock, Predicted};
use trueline_serving::TensorCard;
use trueline_tensors::{DataType, Tensor, Values};

type Answer<R> = Pin<Box<dyn Future<Output = Result<tonic::Response<R>, Status>> + Send>>;

/// A call's method: a function of what came with the call and the message.
struct Method<F> {
    call: Call,
    run: F,
}

/// What came with a call besides its message.
#[derive(Clone)]
struct Call {
    app: App,
    knock: Knock,
    headers: HeaderMap,
}

impl<M, R, F, Fut> UnaryService<M> for Method<F>
where
    F: Fn(Call, M) -> Fut,
    Fut: Future<Output = Result<R, Refusal>> + Send + 'static,
    R: Send + 'static,
{
    type Response = R;
    type Future = Answer<R>;

    fn call(&mut self, request: tonic::Request<M>) -> Answer<R> {
        let answer = (self.run)(self.call.clone(), request.into_inner());
        Box::pin(async move { answer.await.map(tonic::Response::new).map_err(|refusal| status(&refusal)) })
    }
}

/// A refusal in gRPC's codes.
fn status(refusal: &Refusal) -> Status {
    let code = match refusal.status().as_u16() {
        400 | 413 | 422 => Code::InvalidArgument,
        401 => Code::Unauthenticated,
        403 => Code::PermissionDenied,
        404 => Code::NotFound,
        429 => Code::ResourceExhausted,
        415 | 501 => Code::Unimplemented,
        503 => Code::Unavailable,
        504 => Code::DeadlineExceeded,
        _ => Code::Internal,
    };
    Status::new(code, refusal.message())
}

/// The answer to a call that is refused before it is looked at.
pub(crate) fn refused(refusal: &Refusal) -> Response {
    status(refusal).into_http::<Body>().into_response()
}

/// Answers a call of the service.
pub(crate) async fn call(
    State(app): State<App>,
    Extension(knock): Extension<Knock>,
    Path(method): Path<String>,
    request: Request,
) -> Response {
    let call = Call { app, knock, headers: request.headers().clone() };
    match method.as_str() {
        "ServerLive" => unary(call, request, async |_, _: Empty| Ok(IsSo { so: true })).await,
        "ServerReady" => unary(call, request, server_ready).await,
        "ServerMetadata" => unary(call, request, async |_, _: Empty| Ok(server())).await,
        "ModelReady" => unary(call, request, model_ready).await,
        "ModelMetadata" => unary(call, request, model_metadata).await,
        "ModelInfer" => unary(call, request, infer).await,
        "RepositoryIndex" => unary(call, request, index).await,
        "RepositoryModelLoad" => unary(call, request, load).await,
        "RepositoryModelUnload" => unary(call, request, unload).await,
        other => refused(&Refusal::not_there(format!("the service has no method `{other}`"))),
    }
}

async fn unary<M, R, F, Fut>(call: Call, request: Request, run: F) -> Response
where
    M: prost::Message + Default + 'static,
    R: prost::Message + Default + 'static,
    F: Fn(Call, M) -> Fut,
    Fut: Future<Output = Result<R, Refusal>> + Send + 'static,
{
    let mut grpc = Grpc::new(Messages::<M, R>::default())
        .apply_max_message_size_config(Some(LARGEST_BODY), None)
        .accept_compressed(CompressionEncoding::Gzip)
        .send_compressed(CompressionEncoding::Gzip);
    let response = grpc.unary(Method { call, run }, request).await;
    response.map(Body::new)
}

fn server() -> ServerMetadata {
    ServerMetadata {
        name: "trueline".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        extensions: EXTENSIONS.map(ToOwned::to_owned).to_vec(),
    }
}

async fn server_ready(call: Call, _: Empty) -> Result<IsSo, Refusal> {
    Ok(IsSo { so: call.app.plane.readiness().is_ready() })
}

async fn model_ready(call: Call, named: NamesModel) -> Result<IsSo, Refusal> {
    let found = cards(&call.app, &call.knock, &named.name, number(&named.version)?);
    match found {
        Ok(_) => Ok(IsSo { so: true }),
        Err(refusal) if [404, 503].contains(&refusal.status().as_u16()) => Ok(IsSo { so: false }),
        Err(refusal) => Err(refusal),
    }
}

async fn model_metadata(call: Call, named: NamesModel) -> Result<ModelMetadata, Refusal> {
    let cards = cards(&call.app, &call.knock, &named.name, number(&named.version)?)?;
    let tensors = |list: &[TensorCard]| {
        let one = |t: &TensorCard| TensorMetadata {
            name: t.name.clone(),
            datatype: datatype::name(t.data_type).to_owned(),
            shape: t.shape.clone(),
        };
        list.iter().map(one).collect()
    };
    Ok(ModelMetadata {
        name: named.name,
        versions: cards.iter().map(|c| c.version.to_string()).collect(),
        platform: cards[0].platform.to_string(),
        inputs: tensors(&cards[0].inputs),
        outputs: tensors(&cards[0].outputs),
    })
}

async fn index(call: Call, _: Empty) -> Result<Index, Refusal> {
    let models = known(&call.app, &call.knock).into_iter().map(|known| Indexed {
        version: known.card.version.to_string(),
        state: known.state().to_owned(),
        name: known.model,
        reason: known.why_not.unwrap_or_default(),
    });
    Ok(Index { models: models.collect() })
}

async fn load(call: Call, named: NamesRepositoryModel) -> Result<Empty, Refusal> {
    let deadline = deadline(&call.headers, call.knock.began)?;
    wake(&call.app, &call.knock, &named.model_name, deadline).await.map(|()| Empty {})
}

async fn unload(call: Call, named: NamesRepositoryModel) -> Result<Empty, Refusal> {
    cards(&call.app, &call.knock, &named.model_name, None)?;
    Err(Refusal::not_there(no_unload(&named.model_name)))
}

async fn infer(call: Call, request: InferRequest) -> Result<InferResponse, Refusal> {
    let version = number(&request.model_version)?;
    let caller = Caller::admitted(&call.app, call.knock, request.model_name.clone(), version)?;
    let raw = !request.raw_input_contents.is_empty();
    let size = request.raw_input_contents.iter().map(|b| b.len()).sum();
    let (inputs, contents) = (request.inputs, request.raw_input_contents);
    let inputs = unhurried(size, || tensors(inputs, &contents)).map_err(Refusal::bad);
    let frame = caller.counted(inputs.and_then(frame))?;
    let predicted = caller.ask(&call.headers, frame).await?;
    let wanted: Vec<Wanted> =
        request.outputs.into_iter().map(|o| Wanted { name: o.name, binary: None }).collect();
    let (model_name, id) = (request.model_name, request.id);
    let respond = move |Predicted { served, ids: list, predictions, .. }| {
        let ids = Parameter { choice: Some(Choice::Text(ids(&list))) };
        let mut response = InferResponse {
            model_name,
            model_version: served.version.to_string(),
            id,
            parameters: [("prediction_ids".to_owned(), ids)].into(),
            ..InferResponse::default()
        };
        // What came as bytes is answered in bytes.
        for output in outputs(predictions, &wanted)? {
            if raw {
                response.raw_output_contents.push(datatype::write(output.values()));
            }
            response.outputs.push(OutputTensor {
                name: output.name().to_owned(),
                datatype: datatype::name(output.values().data_type()).to_owned(),
                shape: output.shape().iter().map(|n| i64::try_from(*n).unwrap_or(i64::MAX)).collect(),
                contents: (!raw).then(|| contents_of(output.values())),
            });
        }
        Ok(response)
    };
    written(&call.app, predicted, respond).await?
}

fn tensors(inputs: Vec<InputTensor>, raw: &[prost::bytes::Bytes]) -> Result<Vec<Tensor>, String> {
    if !raw.is_empty() && raw.len() != inputs.len() {
        return Err(format!("{} raw contents came for {} inputs", raw.len(), inputs.len()));
    }
    let read = |(i, input): (usize, InputTensor)| {
        let name = input.name.as_str();
        let wrong = |why: String| format!("input `{name}`: {why}");
        let dimensions = shape(&input.shape, name)?;
        let wire = Wire::parse(&input.datatype).map_err(wrong)?;
        let values = match (raw.get(i), input.contents) {
            (Some(_), Some(_)) => return Err(wrong("it has both contents and raw contents".to_owned())),
            (Some(bytes), None) => wire.read(bytes, dimensions.iter().product()).map_err(wrong)?,
            (None, contents) => values_of(wire, contents.unwrap_or_default()).map_err(wrong)?,
        };
        tensor(name, dimensions, values)
    };
    inputs.into_iter().enumerate().map(read).collect()
}

/// Values that came by their type.
fn values_of(wire: Wire, contents: Contents) -> Result<Values, String> {
    fn narrow<W: Copy, N: TryFrom<W>>(list: &[W]) -> Result<Vec<N>, String> {
        list.iter()
            .map(|v| N::try_from(*v).map_err(|_| "a value is too large for its datatype".to_owned()))
            .collect()
    }
    Ok(match wire {
        Wire::Fp16 => return Err("FP16 comes as raw contents alone".to_owned()),
        Wire::Same(DataType::Bool) => Values::Bool(contents.bools),
        Wire::Same(DataType::Int8) => Values::Int8(narrow(&contents.ints)?),
        Wire::Same(DataType::Int16) => Values::Int16(narrow(&contents.ints)?),
        Wire::Same(DataType::Int32) => Values::Int32(contents.ints),
        Wire::Same(DataType::Int64) => Values::Int64(contents.int64s),
        Wire::Same(DataType::Uint8) => Values::Uint8(narrow(&contents.uints)?),
        Wire::Same(DataType::Uint16) => Values::Uint16(narrow(&contents.uints)?),
        Wire::Same(DataType::Uint32) => Values::Uint32(contents.uints),
        Wire::Same(DataType::Uint64) => Values::Uint64(contents.uint64s),
        Wire::Same(DataType::Fp32) => Values::Fp32(contents.fp32s),
        Wire::Same(DataType::Fp64) => Values::Fp64(contents.fp64s),
        Wire::Same(DataType::Bytes | DataType::Text | DataType::Json) => datatype::texts(contents.bytes),
    })
}

fn contents_of(values: &Values) -> Contents {
    let mut contents = Contents::default();
    match values {
        Values::Bool(list) => contents.bools = list.clone(),
        Values::Int8(list) => contents.ints = list.iter().map(|v| (*v).into()).collect(),
        Values::Int16(list) => contents.ints = list.iter().map(|v| (*v).into()).collect(),
        Values::Int32(list) => contents.ints = list.clone(),
        Values::Int64(list) => contents.int64s = list.clone(),
        Values::Uint8(list) => contents.uints = list.iter().map(|v| (*v).into()).collect(),
        Values::Uint16(list) => contents.uints = list.iter().map(|v| (*v).into()).collect(),
        Values::Uint32(list) => contents.uints = list.clone(),
        Values::Uint64(list) => contents.uint64s = list.clone(),
        Values::Fp32(list) => contents.fp32s = list.clone(),
        Values::Fp64(list) => contents.fp64s = list.clone(),
        other => contents.bytes = datatype::strings_of(other),
    }
    contents
}
