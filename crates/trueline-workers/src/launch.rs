//! A worker's process from its start until it is ready: the handshake, the load, the first prediction.

use crate::body::Body;
use crate::channel::{Channel, ChannelError, Message};
use crate::error::StartError;
use crate::frame::Kind;
use crate::output::{Tail, follow};
use crate::process::{Process, ending, resident_bytes};
use crate::request::Request;
use crate::spec::{Limits, WorkerSpec};
use crate::variables;
use crate::wire::{self, Failure, PROTOCOL, Start, Versions};
use std::io::PipeWriter;
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

/// Lines of a worker's output that are part of a message.
pub(crate) const SHOWN_LINES: usize = 20;
/// How often its memory is looked at while it is at work.
pub(crate) const LOOK: Duration = Duration::from_millis(100);
/// How long a worker that has closed its socket has to end.
const CLOSED: Duration = Duration::from_secs(2);

/// A worker's process that is ready.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) process: Process,
    pub(crate) channel: Channel,
    pub(crate) tail: Tail,
    pub(crate) facts: Facts,
    /// Its closing makes the kernel kill the worker with its group. Held, never written to.
    _lifeline: PipeWriter,
}

/// What is known of a worker that is ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The number of its process.
    pub pid: u32,
    /// What it runs on.
    pub versions: Versions,
    /// The memory that it held when it was ready, in bytes.
    pub resident_bytes: u64,
    /// How long it took to be ready.
    pub took: Duration,
}

/// Starts a process and has it ready.
pub(crate) async fn launch(spec: &WorkerSpec) -> Result<Running, StartError> {
    let began = Instant::now();
    let not_started = |source| StartError::Spawn {
        worker: spec.name.clone(),
        python: spec.environment.python.clone(),
        source,
    };
    let (channel, others) = Channel::pair(spec.limits.body_bytes).map_err(not_started)?;
    let (reader, lifeline) = std::io::pipe().map_err(not_started)?;
    let mut process = Process::start(command(spec, Stdio::from(others))).map_err(not_started)?;
    let tail = Tail::default();
    let (stdout, stderr) = process.output();
    let pipes = [("stdout", stdout.map(Into::into)), ("stderr", stderr.map(Into::into))];
    let follow = |(stream, pipe): (_, Option<OwnedFd>)| {
        Some(tokio::spawn(follow(pipe?, spec.name.clone(), stream, tail.clone())))
    };
    let pipes = pipes.into_iter().filter_map(follow).collect();
    let mut starting = Starting { spec, process, channel, tail, pipes, stage: "starting", began };
    let start = Start::of(spec).and_then(|s| serde_json::to_vec(&s).ok());
    let start = start.ok_or_else(|| not_started(std::io::Error::other("its folder's name is no text")))?;
    let empty = Body::Inline(bytes::Bytes::new());
    // It fits into the socket's buffer, so this does not wait for Python.
    let sent = starting.channel.send(Kind::Start, 0, &start, &empty, Some(reader.as_fd())).await;
    drop(reader);
    let versions = match sent {
        Ok(()) => starting.greet().await?,
        // It has ended already, and tells why.
        Err(e) => return Err(starting.closed(e).await),
    };
    starting.load().await?;
    if let Some(request) = &spec.warm {
        starting.warm(request).await?;
    }
    starting.look()?;
    let Starting { process, channel, tail, .. } = starting;
    let resident_bytes = resident_bytes(process.pid()).unwrap_or_default();
    let facts = Facts { pid: process.pid(), versions, resident_bytes, took: began.elapsed() };
    Ok(Running { process, channel, tail, facts, _lifeline: lifeline })
}

fn command(spec: &WorkerSpec, socket: Stdio) -> Command {
    let mut command = Command::new(&spec.environment.python);
    variables::for_worker(&mut command);
    let threads = spec.threads.max(1).to_string();
    for name in ["OMP", "OPENBLAS", "MKL", "NUMEXPR"] {
        command.env(format!("{name}_NUM_THREADS"), &threads);
    }
    command
        // Whoever serves a model tells nobody of it.
        .env("MLFLOW_DISABLE_TELEMETRY", "true")
        .env("PYTHONUTF8", "1")
        .envs(&spec.variables)
        .args(["-u", "-s"])
        .arg(&spec.environment.script)
        .current_dir(std::env::temp_dir())
        .stdin(socket)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// What a process holds and may hold, when it holds more.
pub(crate) fn over(process: &Process, limits: &Limits) -> Option<(u64, u64)> {
    let limit = limits.memory_bytes?;
    let held = resident_bytes(process.pid())?;
    (held > limit).then_some((held, limit))
}

struct Starting<'a> {
    spec: &'a WorkerSpec,
    process: Process,
    channel: Channel,
    tail: Tail,
    /// What follows its output, until that is closed.
    pipes: Vec<JoinHandle<std::io::Result<()>>>,
    stage: &'static str,
    began: Instant,
}

impl Starting<'_> {
    async fn greet(&mut self) -> Result<Versions, StartError> {
        self.stage = "importing MLflow";
        let message = self.next().await?;
        if message.kind == Kind::Failed {
            let exception = self.read::<Failure>(&message)?.exception();
            return Err(StartError::Environment { worker: self.spec.name.clone(), exception });
        }
        let versions: Versions = self.expect(&message, Kind::Hello)?;
        if versions.protocol != PROTOCOL {
            let (spoken, own) = (versions.protocol, PROTOCOL);
            return Err(StartError::Protocol { worker: self.spec.name.clone(), spoken, own });
        }
        Ok(versions)
    }

    async fn load(&mut self) -> Result<(), StartError> {
        self.stage = "loading the model";
        let message = self.next().await?;
        if message.kind == Kind::Failed {
            let exception = self.read::<Failure>(&message)?.exception();
            return Err(StartError::Load { worker: self.spec.name.clone(), exception });
        }
        self.expect::<serde_json::Value>(&message, Kind::Ready).map(drop)
    }

    async fn warm(&mut self, request: &Request) -> Result<(), StartError> {
        self.stage = "predicting its example";
        let failed = |why: String| StartError::Warm { worker: self.spec.name.clone(), why };
        let packed = wire::pack(request, &self.spec.limits).map_err(failed)?;
        let sent = self.channel.send(packed.kind, 0, &packed.head, &packed.body, None);
        let late = self.began + self.spec.limits.start;
        let sent = tokio::time::timeout_at(late.into(), sent).await.map_err(|_| self.slow())?;
        if let Err(e) = sent {
            return Err(self.closed(e).await);
        }
        let message = self.next().await?;
        let failed = |why: String| StartError::Warm { worker: self.spec.name.clone(), why };
        match request {
            Request::Columns(_) => {
                wire::prediction(&self.spec.name, &message).map(drop).map_err(|e| failed(e.to_string()))
            }
            Request::Invocation(_) => {
                let reply = wire::reply(&self.spec.name, &message).map_err(|e| failed(e.to_string()))?;
                match reply.status {
                    200 => Ok(()),
                    _ => Err(failed(String::from_utf8_lossy(&reply.body).into_owned())),
                }
            }
        }
    }

    /// The next frame, unless the process ends or takes too long.
    async fn next(&mut self) -> Result<Message, StartError> {
        let late = self.began + self.spec.limits.start;
        let received = loop {
            tokio::select! {
                biased;
                received = self.channel.receive() => break received,
                // What it sent before it ended may still be there.
                _ = self.process.ended() => {
                    let last = tokio::time::timeout(CLOSED, self.channel.receive()).await;
                    break last.unwrap_or(Err(ChannelError::Closed));
                }
                () = tokio::time::sleep_until(late.into()) => return Err(self.slow()),
                () = tokio::time::sleep(LOOK) => self.look()?,
            }
        };
        match received {
            Ok(message) => Ok(message),
            Err(error @ ChannelError::Closed) => Err(self.closed(error).await),
            Err(e) => Err(self.ended(format!("sent what is no frame ({e})"))),
        }
    }

    async fn closed(&mut self, error: impl std::fmt::Display) -> StartError {
        let ended = tokio::time::timeout(CLOSED, self.process.ended()).await;
        let why =
            ended.ok().and_then(Result::ok).map_or_else(|| format!("closed its socket ({error})"), ending);
        // What it wrote last is still on its way: a few steps of the tasks that read it.
        for pipe in &mut self.pipes {
            let _ = tokio::time::timeout(CLOSED, pipe).await;
        }
        self.ended(why)
    }

    fn look(&self) -> Result<(), StartError> {
        match over(&self.process, &self.spec.limits) {
            Some((held, limit)) => {
                Err(StartError::Memory { worker: self.spec.name.clone(), stage: self.stage, held, limit })
            }
            None => Ok(()),
        }
    }

    fn read<T: serde::de::DeserializeOwned>(&self, message: &Message) -> Result<T, StartError> {
        serde_json::from_slice(&message.head)
            .map_err(|e| self.ended(format!("sent a head that can't be read ({e})")))
    }

    fn expect<T: serde::de::DeserializeOwned>(&self, message: &Message, kind: Kind) -> Result<T, StartError> {
        if message.kind != kind {
            return Err(self.ended(format!("sent {:?} where {kind:?} belongs", message.kind)));
        }
        self.read(message)
    }

    fn ended(&self, why: String) -> StartError {
        let tail = self.tail.last(SHOWN_LINES);
        StartError::Ended { worker: self.spec.name.clone(), why, stage: self.stage, tail }
    }

    fn slow(&self) -> StartError {
        let (limit, tail) = (self.spec.limits.start, self.tail.last(SHOWN_LINES));
        StartError::Slow { worker: self.spec.name.clone(), stage: self.stage, limit, tail }
    }
}
