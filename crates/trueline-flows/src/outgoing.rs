//! A request to an address that somebody outside the house chose: one POST, no redirects, no proxy, and to no address that
//! its rules forbid. Names are looked up here and the connection goes to what was looked up, so that a name can't be turned
//! round between check and use.

use std::fmt::Debug;
use std::io::Read;
use std::net::IpAddr;
use std::time::Duration;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};

/// How much of an answer is read.
const ANSWER_BYTES: u64 = 64 << 10;
const FORBIDDEN: &str = "it leads to an address that no webhook may have";

/// Which addresses may be reached.
pub(crate) trait Allowed: Clone + Debug + Send + Sync + 'static {
    /// Whether this one may.
    fn allows(&self, address: IpAddr) -> bool;
}

/// A request.
pub(crate) struct Post<'a> {
    pub(crate) address: &'a str,
    pub(crate) headers: &'a [(&'static str, String)],
    pub(crate) body: &'a str,
    /// How long all of it may take.
    pub(crate) patience: Duration,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Seconds after which it may be tried again.
    pub(crate) retry_after: Option<u64>,
    pub(crate) body: String,
}

/// Why nothing came back. The text does not tell the address, which may hold a secret.
#[derive(Debug)]
pub(crate) enum Unsent {
    /// It may not be sent there, now or later.
    Forbidden(String),
    /// It did not arrive this time.
    Unreachable(String),
}

/// Looks names up, and refuses those that lead where no request may go.
#[derive(Debug)]
struct Guarded<A> {
    allowed: A,
    inner: DefaultResolver,
}

impl<A: Allowed> Resolver for Guarded<A> {
    fn resolve(
        &self,
        uri: &ureq::http::Uri,
        config: &ureq::config::Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let found = self.inner.resolve(uri, config, timeout)?;
        match found.iter().all(|address| self.allowed.allows(address.ip())) {
            true => Ok(found),
            false => Err(ureq::Error::BadUri(FORBIDDEN.to_owned())),
        }
    }
}

/// Sends a JSON body. It blocks.
pub(crate) fn post<A: Allowed>(allowed: &A, request: &Post<'_>) -> Result<Answer, Unsent> {
    let config = ureq::Agent::config_builder()
        .timeout_global(Some(request.patience))
        .max_redirects(0)
        .proxy(None)
        .http_status_as_error(false)
        .build();
    let resolver = Guarded { allowed: allowed.clone(), inner: DefaultResolver::default() };
    let agent = ureq::Agent::with_parts(config, DefaultConnector::new(), resolver);
    let mut ask = agent.post(request.address).header("content-type", "application/json");
    for (name, value) in request.headers {
        ask = ask.header(*name, value);
    }
    let mut answer = ask.send(request.body).map_err(|error| match error {
        ureq::Error::BadUri(why) => Unsent::Forbidden(why),
        other => Unsent::Unreachable(other.to_string()),
    })?;
    let retry_after = answer.headers().get("retry-after").and_then(|v| v.to_str().ok()?.trim().parse().ok());
    let mut body = Vec::new();
    // What an answer says is told to people alone, so half of one will do.
    let _ = answer.body_mut().as_reader().take(ANSWER_BYTES).read_to_end(&mut body);
    let body = String::from_utf8_lossy(&body).into_owned();
    Ok(Answer { status: answer.status().as_u16(), retry_after, body })
}
