//! Load over HTTP. An open loop sends on a schedule, whether earlier answers have come or not, and counts a request's
//! latency from the moment at which it was due: a server that stalls is charged for every request that had to wait
//! (no coordinated omission). A closed loop sends as fast as answers come, to find the peak.
//!
//! ```text
//!   due:   0    1    2    3    4    5          request n is due at start + n / rate
//!          │    │    │    │    │    │
//!   conn 1 ├──────────────┤├──┤├─┤             the next free connection takes the next request;
//!   conn 2      ├──┤├─────────┤ …              when none is free it is sent late, and its latency grows
//! ```
//!
//! The load shares its processors with what it measures, so it takes as little of them as it can ([`lines`]), and stops nobody
//! who works on one ([`aside`]).

mod aside;
mod lines;

use crate::Histogram;
use crate::http::Answer;
use lines::{Lines, Plan};
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

/// How many failures are kept with their words.
const TOLD: usize = 10;
/// Between which the connections are shared out.
const THREADS: usize = 2;

/// Requests at a fixed rate.
#[derive(Clone, Debug)]
pub struct OpenLoop<R> {
    /// The server.
    pub address: SocketAddr,
    /// Requests per second.
    pub rate_per_s: f64,
    /// For how long requests are due.
    pub duration: Duration,
    /// The most requests that can be under way.
    pub connections: usize,
    /// A request without an answer for so long has failed.
    pub timeout: Duration,
    /// The bytes of request `n`, from 0; made before it is due.
    pub request: R,
}

/// Requests as fast as answers come.
#[derive(Clone, Debug)]
pub struct ClosedLoop<R> {
    /// The server.
    pub address: SocketAddr,
    /// When it ends.
    pub until: Until,
    /// Connections, each with one request under way.
    pub connections: usize,
    /// A request without an answer for so long has failed.
    pub timeout: Duration,
    /// The bytes of request `n`, from 0.
    pub request: R,
}

/// How a load waits for what comes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Waits {
    /// As a program does that has nothing else to do: its processor may sleep, and being woken is part of what it measures.
    Asleep,
    /// Awake, on a processor that does nothing else: what it measures is the server and the network.
    Awake,
}

/// When a closed loop ends.
#[derive(Clone, Copy, Debug)]
pub enum Until {
    /// After this time.
    Elapsed(Duration),
    /// After so many requests.
    Sent(u64),
}

/// One request and what became of it, for a callback.
#[derive(Debug)]
pub struct Exchange<'a> {
    /// Its number, from 0.
    pub number: u64,
    /// When it should have been sent.
    pub due_at: Instant,
    /// When it was sent.
    pub sent_at: Instant,
    /// When its answer was there whole, or it failed.
    pub received_at: Instant,
    /// The answer; an error when none came.
    pub answer: Result<&'a Answer, &'a io::Error>,
}

/// What a load came to.
#[derive(Clone, Debug, Default)]
pub struct LoadReport {
    /// From the moment at which a request was due to its whole answer; failed ones too.
    pub latency: Histogram,
    /// From the moment at which a request was due to its sending: when this is large, connections or the generator's
    /// processor were too few, or the server was too slow.
    pub lag: Histogram,
    /// Answers by status.
    pub statuses: BTreeMap<u16, u64>,
    /// Requests without an answer, or with one other than 2xx.
    pub failed: u64,
    /// The first failures, in words.
    pub failures: Vec<String>,
    /// From the start to the last answer.
    pub elapsed: Duration,
}

impl LoadReport {
    /// Requests that were answered with 2xx.
    #[must_use]
    pub fn succeeded(&self) -> u64 {
        self.latency.count() - self.failed
    }

    /// Successful requests per second.
    #[must_use]
    pub fn rate_per_s(&self) -> f64 {
        #[allow(clippy::cast_precision_loss)]
        let n = self.succeeded() as f64;
        n / self.elapsed.as_secs_f64().max(f64::MIN_POSITIVE)
    }

    pub(crate) fn add(&mut self, exchange: &Exchange<'_>) {
        self.latency.record(exchange.received_at.duration_since(exchange.due_at));
        self.lag.record(exchange.sent_at.duration_since(exchange.due_at));
        let failure = match exchange.answer {
            Ok(answer) => {
                *self.statuses.entry(answer.status).or_default() += 1;
                let said = || format!("{}: {}", answer.status, String::from_utf8_lossy(&answer.body));
                (!(200..300).contains(&answer.status)).then(said)
            }
            Err(error) => Some(error.to_string()),
        };
        if let Some(words) = failure {
            self.failed += 1;
            self.failures.push(format!("request {}: {words}", exchange.number));
            self.failures.truncate(TOLD);
        }
    }

    pub(crate) fn merge(mut self, other: Self) -> Self {
        self.latency.merge(&other.latency);
        self.lag.merge(&other.lag);
        for (status, n) in other.statuses {
            *self.statuses.entry(status).or_default() += n;
        }
        self.failed += other.failed;
        self.failures.extend(other.failures);
        self.failures.truncate(TOLD);
        self
    }
}

impl<B: AsRef<[u8]> + Send, R: Fn(u64) -> B + Sync> OpenLoop<R> {
    /// Sends the load.
    ///
    /// # Errors
    /// When the first connections can't be made; a failure after that is part of the report.
    pub fn run(&self) -> io::Result<LoadReport> {
        self.run_with(|_| ())
    }

    /// Sends the load and hands every exchange to `each`, from many threads and in no order.
    ///
    /// # Errors
    /// As for [`OpenLoop::run`].
    pub fn run_with(&self, each: impl Fn(&Exchange<'_>) + Sync) -> io::Result<LoadReport> {
        #[allow(clippy::cast_precision_loss)]
        let due = |start: Instant, n: u64| {
            let after = Duration::try_from_secs_f64(n as f64 / self.rate_per_s).unwrap_or(Duration::MAX);
            (after < self.duration).then(|| start + after)
        };
        let to = To { address: self.address, timeout: self.timeout, waits: Waits::Asleep };
        drive(&to, self.connections, &self.request, due, each)
    }
}

impl<B: AsRef<[u8]> + Send, R: Fn(u64) -> B + Sync> ClosedLoop<R> {
    /// Sends the load; a request is due when its connection is free.
    ///
    /// # Errors
    /// As for [`OpenLoop::run`].
    pub fn run(&self) -> io::Result<LoadReport> {
        self.run_with(Waits::Asleep)
    }

    /// The same from a caller that waits awake, so that being woken is no part of what is measured.
    ///
    /// # Errors
    /// As for [`OpenLoop::run`].
    pub fn run_awake(&self) -> io::Result<LoadReport> {
        self.run_with(Waits::Awake)
    }

    fn run_with(&self, waits: Waits) -> io::Result<LoadReport> {
        let due = |start: Instant, n: u64| match self.until {
            Until::Elapsed(time) => (start.elapsed() < time).then(Instant::now),
            Until::Sent(all) => (n < all).then(Instant::now),
        };
        let to = To { address: self.address, timeout: self.timeout, waits };
        drive(&to, self.connections, &self.request, due, |_| ())
    }
}

/// Where requests go, and how their answers are waited for.
struct To {
    address: SocketAddr,
    timeout: Duration,
    waits: Waits,
}

/// Sends requests over all connections; `due` answers when a request is due, or that there are no more.
fn drive<B: AsRef<[u8]> + Send>(
    to: &To,
    connections: usize,
    request: &(impl Fn(u64) -> B + Sync),
    due: impl Fn(Instant, u64) -> Option<Instant> + Sync,
    each: impl Fn(&Exchange<'_>) + Sync,
) -> io::Result<LoadReport> {
    let connections = connections.max(1);
    let threads = THREADS.min(connections);
    let next = AtomicU64::new(0);
    let share = |thread: usize| connections / threads + usize::from(thread < connections % threads);
    let opened = (0..threads).map(|thread| Lines::open(to, share(thread))).collect::<io::Result<Vec<_>>>()?;
    let start = Instant::now();
    let plan = &Plan { to, next: &next, start, request, due: &due, each: &each };
    let go = |lines: Lines<B>| aside::stand().and_then(|()| lines.run(plan));
    let reports = std::thread::scope(|scope| {
        let threads: Vec<_> = opened.into_iter().map(|lines| scope.spawn(move || go(lines))).collect();
        let join = |thread: std::thread::ScopedJoinHandle<'_, _>| {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        let merged = |all: io::Result<LoadReport>, more: io::Result<LoadReport>| Ok(all?.merge(more?));
        threads.into_iter().map(join).fold(Ok(LoadReport::default()), merged)
    })?;
    Ok(LoadReport { elapsed: start.elapsed(), ..reports })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::get;
    use std::io::{BufRead, BufReader, Write};
    use std::net::{TcpListener, TcpStream};
    use std::sync::Mutex;

    const STALL: Duration = Duration::from_millis(300);

    /// Answers every request by its path: `/stall` after a while, `/refuse` with 503, `/cut` not at all.
    fn serve(stream: TcpStream) {
        let mut writer = stream.try_clone().unwrap();
        for line in BufReader::new(stream).lines() {
            let Ok(line) = line else { return };
            let Some(path) = line.strip_prefix("GET ").and_then(|rest| rest.split(' ').next()) else {
                continue;
            };
            let status = match path {
                "/cut" => return writer.shutdown(std::net::Shutdown::Both).unwrap(),
                "/refuse" => "503 Service Unavailable",
                "/stall" => {
                    std::thread::sleep(STALL);
                    "200 OK"
                }
                _ => "200 OK",
            };
            writer.write_all(format!("HTTP/1.1 {status}\r\ncontent-length: 2\r\n\r\nok").as_bytes()).unwrap();
        }
    }

    fn server() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                std::thread::spawn(move || serve(stream.unwrap()));
            }
        });
        address
    }

    fn open_loop<R: Fn(u64) -> Vec<u8>>(connections: usize, request: R) -> OpenLoop<R> {
        let (address, timeout) = (server(), Duration::from_secs(5));
        OpenLoop {
            address,
            rate_per_s: 200.0,
            duration: Duration::from_millis(500),
            connections,
            timeout,
            request,
        }
    }

    #[test]
    fn a_stall_is_charged_to_every_request_that_was_due_during_it() {
        let load = open_loop(1, |n| get(if n == 10 { "/stall" } else { "/" }));
        let report = load.run().unwrap();
        assert_eq!((report.latency.count(), report.failed), (100, 0), "{:?}", report.failures);
        assert!(report.latency.max() >= STALL);
        // 60 requests were due while the only connection was taken: the middle one waited half of the stall.
        assert!(report.latency.quantile(0.7) >= STALL / 3, "{:?}", report.latency.quantile(0.7));
        assert!(report.lag.quantile(0.7) >= STALL / 3, "the wait is before the sending");
    }

    #[test]
    fn refused_and_broken_requests_are_failures_and_the_load_goes_on() {
        let load = open_loop(4, |n| get(["/", "/refuse", "/cut", "/"][usize::try_from(n % 4).unwrap()]));
        let seen = Mutex::new(Vec::new());
        let report = load.run_with(|e| seen.lock().unwrap().push((e.number, e.answer.is_ok()))).unwrap();
        assert_eq!((report.succeeded(), report.failed), (50, 50));
        assert_eq!(report.statuses, BTreeMap::from([(200, 50), (503, 25)]));
        assert_eq!(report.failures.len(), TOLD);
        let mut seen = seen.into_inner().unwrap();
        seen.sort_unstable();
        let expected: Vec<_> = (0..100).map(|n| (n, n % 4 != 2)).collect();
        assert_eq!(seen, expected);
    }

    #[test]
    fn a_closed_loop_sends_as_many_as_it_was_told() {
        let (address, until) = (server(), Until::Sent(1000));
        let timeout = Duration::from_secs(5);
        let report =
            ClosedLoop { address, until, connections: 3, timeout, request: |_| get("/") }.run().unwrap();
        assert_eq!((report.succeeded(), report.failed), (1000, 0));
    }
}
