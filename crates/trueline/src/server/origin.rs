//! Whether a request comes from where it says: a page of another origin can make a browser send requests to a loopback
//! server, which trusts whoever is on the machine. The switches are those of MLflow's security middleware; without them
//! a loopback server answers to its own names, and takes changes from pages of its own alone, but for MLflow's wire,
//! which takes them from any page of this machine.

use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use clap::Args;

const INVALID_HOST: &str = "Invalid Host header - possible DNS rebinding attack detected";
const BLOCKED: &str = "Cross-origin request blocked";
const METHODS: HeaderValue = HeaderValue::from_static("GET, POST, PUT, DELETE, OPTIONS, PATCH");
/// How long a browser may remember what it was allowed, in seconds.
const REMEMBER: HeaderValue = HeaderValue::from_static("600");
const TRUE: HeaderValue = HeaderValue::from_static("true");

/// Who may reach the server from a browser.
#[derive(Args, Clone, Debug)]
pub(crate) struct OriginArgs {
    /// Names that the server answers to, with `*` for any text: app.example,10.0.*; without it, its own names on
    /// loopback, and any elsewhere
    #[arg(long, env = "MLFLOW_SERVER_ALLOWED_HOSTS", value_delimiter = ',', value_name = "HOSTS")]
    allowed_hosts: Vec<String>,
    /// Origins whose pages may call the API, with `*` for any text: `https://app.example`
    #[arg(long, env = "MLFLOW_SERVER_CORS_ALLOWED_ORIGINS", value_delimiter = ',', value_name = "ORIGINS")]
    cors_allowed_origins: Vec<String>,
    /// Which pages may show this server's in a frame: SAMEORIGIN, DENY or NONE for no word on it
    #[arg(long, env = "MLFLOW_SERVER_X_FRAME_OPTIONS", default_value = "SAMEORIGIN", value_parser = frame_options)]
    x_frame_options: HeaderValue,
    /// Ask nothing about hosts and origins; for a server behind a proxy that does
    #[arg(long, env = "MLFLOW_SERVER_DISABLE_SECURITY_MIDDLEWARE")]
    disable_security_middleware: bool,
}

fn frame_options(text: &str) -> Result<HeaderValue, String> {
    match text.to_ascii_uppercase().as_str() {
        word @ ("SAMEORIGIN" | "DENY" | "NONE") => HeaderValue::from_str(word).map_err(|e| e.to_string()),
        _ => Err(format!("`{text}` is none of SAMEORIGIN, DENY, NONE")),
    }
}

/// The rules of one server.
#[derive(Clone, Debug)]
pub(crate) struct OriginRules {
    args: OriginArgs,
    /// The server listens on loopback alone.
    loopback: bool,
}

impl OriginRules {
    pub(crate) fn new(args: OriginArgs, loopback: bool) -> Self {
        Self { args, loopback }
    }

    /// The answer to a request that is not let in: a refusal, or what a browser asks before it sends one.
    pub(crate) fn turn_away(&self, method: &Method, path: &str, headers: &HeaderMap) -> Option<Response> {
        if self.args.disable_security_middleware {
            return None;
        }
        let host = text(headers, &header::HOST);
        if !self.answers_to(host) {
            return Some((StatusCode::FORBIDDEN, INVALID_HOST).into_response());
        }
        let origin = headers.get(header::ORIGIN)?;
        let allowed = self.allows(path, origin.to_str().unwrap_or("null"), host);
        if *method == Method::OPTIONS && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD) {
            return Some(preflight(allowed, headers));
        }
        (!method.is_safe() && !allowed).then(|| (StatusCode::FORBIDDEN, BLOCKED).into_response())
    }

    /// Adds what browsers want to be told with an answer.
    pub(crate) fn mark(&self, asked: &Asked, headers: &mut HeaderMap) {
        if self.args.disable_security_middleware {
            return;
        }
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        if self.args.x_frame_options != "NONE" {
            headers.insert(header::X_FRAME_OPTIONS, self.args.x_frame_options.clone());
        }
        let Some(Foreigner { origin, host, path }) = &asked.0 else { return };
        let told = origin.to_str().unwrap_or("null");
        // The server's own pages need no leave.
        if is_api(path) && self.allows(path, told, host) && !told.ends_with(&format!("://{host}")) {
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
            headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, TRUE);
            headers.append(header::VARY, HeaderValue::from_static("Origin"));
        }
    }

    fn answers_to(&self, host: &str) -> bool {
        match self.args.allowed_hosts.as_slice() {
            [] => !self.loopback || host_is_loopback(host),
            hosts => hosts.iter().any(|allowed| matches(allowed.trim(), host)),
        }
    }

    /// Whether pages of an origin may change something here.
    fn allows(&self, path: &str, origin: &str, host: &str) -> bool {
        let listed = self.args.cors_allowed_origins.iter().any(|allowed| matches(allowed.trim(), origin));
        let local = || origin.split_once("://").is_some_and(|(_, authority)| host_is_loopback(authority));
        (listed && is_api(path)) || (is_mlflow(path) && local()) || !origin_is_foreign(origin, host)
    }
}

/// What of a request is needed to mark its answer; nothing of one that no page sent.
#[derive(Clone, Debug)]
pub(crate) struct Asked(Option<Foreigner>);

/// A page that sent a request, to what.
#[derive(Clone, Debug)]
struct Foreigner {
    origin: HeaderValue,
    host: String,
    path: String,
}

impl Asked {
    pub(crate) fn of(path: &str, headers: &HeaderMap) -> Self {
        let asking = |origin: &HeaderValue| Foreigner {
            origin: origin.clone(),
            host: text(headers, &header::HOST).to_owned(),
            path: path.to_owned(),
        };
        Self(headers.get(header::ORIGIN).map(asking))
    }
}

fn text<'h>(headers: &'h HeaderMap, name: &HeaderName) -> &'h str {
    headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default()
}

/// What a browser is told that asks whether a page may send a request.
fn preflight(allowed: bool, asked: &HeaderMap) -> Response {
    if !allowed {
        return (StatusCode::BAD_REQUEST, "Disallowed CORS origin").into_response();
    }
    let mut response = StatusCode::NO_CONTENT.into_response();
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, METHODS);
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, REMEMBER);
    if let Some(wanted) = asked.get(header::ACCESS_CONTROL_REQUEST_HEADERS) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, wanted.clone());
    }
    response
}

/// A path without the project that it may begin with.
fn within_project(path: &str) -> &str {
    let below = path.strip_prefix("/projects/").and_then(|rest| rest.find('/').map(|at| &rest[at..]));
    below.unwrap_or(path)
}

fn is_api(path: &str) -> bool {
    let path = within_project(path);
    path.starts_with("/api/") || path.starts_with("/ajax-api/")
}

fn is_mlflow(path: &str) -> bool {
    is_api(path) && within_project(path).split('/').nth(3).is_some_and(|part| part.starts_with("mlflow"))
}

/// Whether a text is what a pattern says, in which `*` stands for any text.
fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| text.strip_prefix(first)) else { return false };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        match parts.peek() {
            None => return rest.ends_with(part),
            Some(_) => match rest.find(part) {
                Some(at) => rest = &rest[at + part.len()..],
                None => return false,
            },
        }
    }
    true
}

/// The name part of a `Host` header.
fn name_of(host: &str) -> &str {
    match host.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    }
}

/// Whether a `Host` header names this machine. A request without one comes from no browser.
fn host_is_loopback(host: &str) -> bool {
    let name = name_of(host);
    let loopback = name.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback() || ip.is_unspecified());
    host.is_empty() || loopback || name.eq_ignore_ascii_case("localhost")
}

/// Whether an `Origin` header names another place than the `Host` header.
fn origin_is_foreign(origin: &str, host: &str) -> bool {
    let Some((_, authority)) = origin.split_once("://") else { return true };
    let same = authority.eq_ignore_ascii_case(host);
    // `localhost` and `127.0.0.1` on the same port are one server.
    let port = |a: &str| a.rsplit_once(':').map(|(_, p)| p.to_owned());
    let both_here = host_is_loopback(authority) && host_is_loopback(host) && port(authority) == port(host);
    !(same || both_here)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUNS: &str = "/api/2.0/mlflow/runs/create";

    fn rules(hosts: &[&str], origins: &[&str]) -> OriginRules {
        let owned = |list: &[&str]| list.iter().map(ToString::to_string).collect();
        let args = OriginArgs {
            allowed_hosts: owned(hosts),
            cors_allowed_origins: owned(origins),
            x_frame_options: HeaderValue::from_static("SAMEORIGIN"),
            disable_security_middleware: false,
        };
        OriginRules::new(args, true)
    }

    fn headers(list: &[(HeaderName, &str)]) -> HeaderMap {
        list.iter().map(|(name, value)| (name.clone(), HeaderValue::from_str(value).unwrap())).collect()
    }

    fn status(rules: &OriginRules, method: &Method, path: &str, host: &str, origin: &str) -> Option<u16> {
        let mut asked = headers(&[(header::HOST, host), (header::ACCESS_CONTROL_REQUEST_METHOD, "POST")]);
        if !origin.is_empty() {
            asked.insert(header::ORIGIN, HeaderValue::from_str(origin).unwrap());
        }
        rules.turn_away(method, path, &asked).map(|r| r.status().as_u16())
    }

    #[test]
    fn hosts_of_this_machine() {
        for here in ["localhost:5700", "127.0.0.1", "127.0.0.1:80", "[::1]:5700", ""] {
            assert!(host_is_loopback(here), "{here}");
        }
        for elsewhere in ["evil.example", "evil.example:5700", "10.0.0.1", "127.0.0.1.evil.example"] {
            assert!(!host_is_loopback(elsewhere), "{elsewhere}");
        }
    }

    #[test]
    fn origins_of_other_places_are_foreign() {
        assert!(!origin_is_foreign("http://localhost:5700", "127.0.0.1:5700"));
        assert!(!origin_is_foreign("https://ml.example", "ml.example"));
        assert!(origin_is_foreign("http://evil.example", "127.0.0.1:5700"));
        assert!(origin_is_foreign("http://localhost:8080", "127.0.0.1:5700"));
        assert!(origin_is_foreign("null", "127.0.0.1:5700"));
    }

    #[test]
    fn patterns_have_stars_for_any_text() {
        for (pattern, text) in
            [("a", "a"), ("*", ""), ("10.*", "10.1.2"), ("*.x:*", "a.x:80"), ("a*b*c", "a-b-c")]
        {
            assert!(matches(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in
            [("a", "ab"), ("10.*", "110.1"), ("*.x", "a.xy"), ("a*b*c", "a-c-b"), ("ab*b", "ab")]
        {
            assert!(!matches(pattern, text), "{pattern} {text}");
        }
    }

    #[test]
    fn a_loopback_server_answers_to_its_own_names_or_to_those_it_is_told() {
        let get = |rules: &OriginRules, host| status(rules, &Method::GET, RUNS, host, "");
        assert_eq!(get(&rules(&[], &[]), "localhost:5000"), None);
        assert_eq!(get(&rules(&[], &[]), "evil.example:5000"), Some(403));
        assert_eq!(get(&rules(&["app.example:*"], &[]), "app.example:80"), None);
        assert_eq!(get(&rules(&["app.example:*"], &[]), "localhost:80"), Some(403));
    }

    #[test]
    fn changes_come_from_own_pages_and_listed_origins() {
        let post =
            |rules: &OriginRules, path, origin| status(rules, &Method::POST, path, "127.0.0.1:5000", origin);
        let (usual, listed) = (rules(&[], &[]), rules(&[], &["https://*.example"]));
        assert_eq!(post(&usual, RUNS, "http://malicious.example"), Some(403));
        assert_eq!(post(&usual, RUNS, "http://localhost:3000"), None);
        assert_eq!(post(&usual, "/api/v1/projects", "http://localhost:3000"), Some(403));
        assert_eq!(post(&usual, "/api/v1/projects", "http://localhost:5000"), None);
        assert_eq!(post(&listed, RUNS, "https://app.example"), None);
        assert_eq!(post(&listed, "/projects/a/api/2.0/mlflow/runs/create", "https://app.example"), None);
        assert_eq!(post(&listed, "/login", "https://app.example"), Some(403));
        assert_eq!(post(&listed, RUNS, "null"), Some(403));
    }

    #[test]
    fn browsers_that_ask_first_are_told() {
        let options = |origin| status(&rules(&[], &[]), &Method::OPTIONS, RUNS, "127.0.0.1:5000", origin);
        assert_eq!(options("http://localhost:3000"), Some(204));
        assert_eq!(options("http://evil.example"), Some(400));
        let asked = headers(&[(header::HOST, "127.0.0.1:5000"), (header::ORIGIN, "http://localhost:3000")]);
        let mut answer = HeaderMap::new();
        rules(&[], &[]).mark(&Asked::of(RUNS, &asked), &mut answer);
        assert_eq!(answer[header::ACCESS_CONTROL_ALLOW_ORIGIN], "http://localhost:3000");
        assert_eq!(answer[header::X_FRAME_OPTIONS], "SAMEORIGIN");
    }
}
