//! A real S3 server over a folder, for tests and measurements. It is `s3s-fs`, which checks signatures, of headers and of
//! addresses alike, and keeps objects as files of the folder, so that a test can look at them from behind. It listens on
//! loopback, in a thread of its own.

use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use s3s::access::{S3Access, S3AccessContext};
use s3s::auth::SimpleAuth;
use s3s::path::S3Path;
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s::{S3Result, s3_error};
use s3s_fs::FileSystem;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

/// The key that opens it.
pub const KEY: &str = "trueline-test";
/// The key's secret.
pub const SECRET: &str = "trueline-test-secret";

/// A server that runs until it is dropped.
#[derive(Debug)]
pub struct S3Server {
    address: SocketAddr,
    root: PathBuf,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl S3Server {
    /// Serves a folder, whose folders are the buckets, on a free port.
    ///
    /// # Errors
    /// When the folder can't be used, or no port is free.
    pub fn start(root: &Path) -> io::Result<Self> {
        Self::start_at(root, SocketAddr::from(([127, 0, 0, 1], 0)))
    }

    /// The same at an address, as after a restart.
    ///
    /// # Errors
    /// As for [`S3Server::start`].
    pub fn start_at(root: &Path, address: SocketAddr) -> io::Result<Self> {
        let files = FileSystem::new(root).map_err(|e| io::Error::other(format!("{e:?}")))?;
        let mut service = S3ServiceBuilder::new(files);
        service.set_auth(SimpleAuth::from_single(KEY, SECRET));
        service.set_access(Doorkeeper { root: root.to_owned() });
        let service = service.build();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let listener = std::net::TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let (stop, stopped) = oneshot::channel();
        // On a thread of its own even while it starts: callers may be asynchronous themselves.
        let thread = std::thread::spawn(move || {
            runtime.block_on(async {
                if let Ok(listener) = TcpListener::from_std(listener) {
                    serve(listener, service, stopped).await;
                }
            });
            runtime.shutdown_background();
        });
        Ok(Self { address, root: root.to_owned(), stop: Some(stop), thread: Some(thread) })
    }

    /// Makes a bucket.
    ///
    /// # Errors
    /// What the disk says.
    pub fn make_bucket(&self, name: &str) -> io::Result<()> {
        std::fs::create_dir_all(self.root.join(name))
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its address for clients.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The variables by which a client finds it and is let in.
    #[must_use]
    pub fn variables(&self) -> [(&'static str, String); 4] {
        [
            ("MLFLOW_S3_ENDPOINT_URL", self.endpoint()),
            ("AWS_ACCESS_KEY_ID", KEY.to_owned()),
            ("AWS_SECRET_ACCESS_KEY", SECRET.to_owned()),
            ("AWS_DEFAULT_REGION", "us-east-1".to_owned()),
        ]
    }
}

impl Drop for S3Server {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Lets in who has signed, and nobody to a bucket that is not there, which `s3s-fs` would make.
struct Doorkeeper {
    root: PathBuf,
}

#[async_trait::async_trait]
impl S3Access for Doorkeeper {
    async fn check(&self, cx: &mut S3AccessContext<'_>) -> S3Result<()> {
        if cx.credentials().is_none() {
            return Err(s3_error!(AccessDenied, "Signature is required"));
        }
        match cx.s3_path() {
            S3Path::Bucket { bucket } | S3Path::Object { bucket, .. }
                if !self.root.join(&**bucket).is_dir() =>
            {
                Err(s3_error!(NoSuchBucket, "The specified bucket does not exist"))
            }
            _ => Ok(()),
        }
    }
}

async fn serve(listener: TcpListener, service: S3Service, mut stopped: oneshot::Receiver<()>) {
    let mut connections = JoinSet::new();
    loop {
        let socket = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = &mut stopped => break,
        };
        let Ok((socket, _)) = socket else { continue };
        let _ = socket.set_nodelay(true);
        let service = service.clone();
        connections.spawn(async move {
            let server = Builder::new(TokioExecutor::new());
            // What goes wrong on a connection is its client's to tell.
            drop(server.serve_connection(TokioIo::new(socket), service).await);
        });
        while connections.try_join_next().is_some() {}
    }
}
