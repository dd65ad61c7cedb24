//! Connections, and the threads that answer them. Each thread has a loop of its own and keeps the connections that it was given,
//! so that a request is read, answered and written where it came, and wakes nobody else.
//!
//! ```text
//!   listener ── accept ── thread with the fewest connections ─┬─ HTTP/1.1: read ─ answer ─ write
//!                                                             └─ HTTP/2 ─▶ the common threads, since one connection
//!                                                                          brings many requests at a time
//! ```
//!
//! What takes long is no work for these threads, since the other connections of one would wait for it: requests that look long
//! are answered elsewhere (`apart`), and so are models asked that compute long, and large answers logged and written.

use super::heads::Heads;
use super::http::App;
use super::requests::Requests;
use axum::extract::Request;
use futures::FutureExt as _;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use std::convert::Infallible;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

/// Threads for each core. While one is off its core, or has an answer that takes long after all, all that it was given waits: the
/// more there are, the fewer wait. But requests that came meanwhile are answered in a row by one, where each of many would be woken,
/// which takes longer than a short answer.
const PER_CORE: usize = 2;
/// On whatever machine.
const FEWEST: usize = 4;
/// What each of them may have read files beside it.
const READERS: usize = 16;
/// How a connection of HTTP/2 begins.
const HTTP_2: &[u8] = b"PRI";
/// How long a connection may say nothing at all before it is closed.
const SILENCE: Duration = Duration::from_secs(60);
/// For how long nothing is accepted when no more files can be opened.
const EXHAUSTED: Duration = Duration::from_secs(1);

/// What answers on every thread.
#[derive(Clone)]
struct Answering {
    app: App,
    /// How long the head of a request may take to come.
    head: Duration,
    /// The common threads.
    home: Handle,
    /// Whether nothing more is begun.
    stopping: watch::Receiver<bool>,
    /// Held by whoever has something to finish.
    working: mpsc::Sender<()>,
}

/// A thread, as the one who accepts connections knows it.
struct Thread {
    open: Arc<AtomicUsize>,
    give: mpsc::UnboundedSender<Given>,
}

/// A connection that a thread has.
struct Given {
    connection: std::net::TcpStream,
    _open: Open,
}

/// One more connection of a thread, until it is dropped.
struct Open(Arc<AtomicUsize>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Answers connections until `stop`, and then until what was begun is done; dropped before, it cuts them off.
///
/// # Errors
/// When a thread can't be started.
pub(super) async fn answer(
    listener: TcpListener,
    app: App,
    head: Duration,
    stop: impl Future<Output = ()>,
) -> io::Result<()> {
    let (tell, stopping) = watch::channel(false);
    let (working, mut all_done) = mpsc::channel(1);
    // Nothing is ever sent: it ends with this future, and with it what it watches over.
    let (_alive, alive) = watch::channel(());
    let answering = Answering { app, head, home: Handle::current(), stopping, working };
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let started =
        (0..FEWEST.max(cores * PER_CORE)).map(|n| Thread::start(n, answering.clone(), alive.clone()));
    let threads = started.collect::<io::Result<Vec<_>>>()?;
    drop(answering);

    let mut stop = pin!(stop);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut stop => break,
        };
        if let Err(error) = accepted.and_then(|(connection, _)| give(&threads, connection)) {
            refused(&error).await;
        }
    }
    drop((listener, threads));
    tell.send_replace(true);
    // Nobody sends: it is over when all have let go.
    while all_done.recv().await.is_some() {}
    Ok(())
}

/// Hands a connection to the thread that has the fewest.
fn give(threads: &[Thread], connection: TcpStream) -> io::Result<()> {
    connection.set_nodelay(true)?;
    let connection = connection.into_std()?;
    if let Some(thread) = threads.iter().min_by_key(|thread| thread.open.load(Ordering::Relaxed)) {
        thread.open.fetch_add(1, Ordering::Relaxed);
        let open = Open(Arc::clone(&thread.open));
        // A thread is there until nobody can give it anything.
        drop(thread.give.send(Given { connection, _open: open }));
    }
    Ok(())
}

/// Waits until nothing more is begun.
async fn told(stopping: &mut watch::Receiver<bool>) {
    drop(stopping.wait_for(|stop| *stop).await);
}

/// What became of a client before it was let in is its own affair; when files have run out, the others need time to end.
async fn refused(error: &io::Error) {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, InvalidInput, NotConnected};
    let of_one = [ConnectionAborted, ConnectionRefused, ConnectionReset, InvalidInput, NotConnected]
        .contains(&error.kind());
    if !of_one {
        tracing::error!(%error, "no connection can be accepted for a second; are too many open?");
        tokio::time::sleep(EXHAUSTED).await;
    }
}

impl Thread {
    fn start(number: usize, answering: Answering, mut alive: watch::Receiver<()>) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(READERS)
            .build()?;
        let (give, given) = mpsc::unbounded_channel();
        let work = async move {
            tokio::select! {
                () = answering.work(given) => {}
                _ = alive.changed() => {}
            }
        };
        let thread = std::thread::Builder::new().name(format!("answers-{number}"));
        thread.spawn(move || runtime.block_on(work))?;
        Ok(Self { open: Arc::default(), give })
    }
}

impl Answering {
    /// Answers what is given, until no more is and all of it is done.
    async fn work(self, mut given: mpsc::UnboundedReceiver<Given>) {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                next = given.recv() => match next {
                    Some(given) => drop(connections.spawn(self.clone().welcome(given))),
                    None => break,
                },
                Some(_) = connections.join_next() => {}
            }
        }
        while connections.join_next().await.is_some() {}
    }

    /// Answers a connection here, or has it answered where there is room for what it brings.
    async fn welcome(self, given: Given) {
        let mut stopping = self.stopping.clone();
        let welcomed = async {
            let connection = TcpStream::from_std(given.connection)?;
            let mut first = [0; HTTP_2.len()];
            let many = tokio::select! {
                seen = connection.peek(&mut first) => first[..seen?] == *HTTP_2,
                () = told(&mut stopping) => return Ok(()),
                () = tokio::time::sleep(SILENCE) => return Ok(()),
            };
            if !many {
                let requests = Arc::new(Requests::default());
                let heads = Heads::one_by_one(connection, Arc::clone(&requests), self.head);
                self.converse(Builder::new(TokioExecutor::new()), heads, requests).await;
                return Ok(());
            }
            let connection = connection.into_std()?;
            let home = self.home.clone();
            home.spawn(async move {
                match TcpStream::from_std(connection) {
                    Ok(connection) => {
                        let heads = Heads::among_others(connection, self.head);
                        // What only begins like HTTP/2 is refused: nobody would wait for its heads.
                        let builder = Builder::new(TokioExecutor::new()).http2_only();
                        self.converse(builder, heads, Arc::default()).await;
                    }
                    Err(error) => tracing::debug!(%error, "a connection was lost"),
                }
            });
            io::Result::Ok(())
        };
        if let Err(error) = welcomed.await {
            tracing::debug!(%error, "a connection was lost");
        }
    }

    /// Answers the requests of a connection.
    async fn converse(
        self,
        builder: Builder<TokioExecutor>,
        connection: Heads<TcpStream>,
        requests: Arc<Requests>,
    ) {
        let Self { app, mut stopping, working: _working, .. } = self;
        let answer = service_fn(move |request: Request<Incoming>| {
            // Moved about by whoever takes it, so it lies where it need not move.
            let answer = Box::pin(app.clone().answer(requests.take(request)));
            requests.answered_by(answer.map(Ok::<_, Infallible>))
        });
        let mut talk = pin!(builder.serve_connection(TokioIo::new(connection), answer));
        let done = tokio::select! {
            done = talk.as_mut() => done,
            () = told(&mut stopping) => {
                talk.as_mut().graceful_shutdown();
                talk.await
            }
        };
        if let Err(error) = done {
            tracing::debug!(error, "a connection ended");
        }
    }
}
