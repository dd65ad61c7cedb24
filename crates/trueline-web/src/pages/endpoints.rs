//! Endpoints: what is served, and one served name with its traffic, its versions and how its route came to be.

use super::{Pager, RolloutPart};
use crate::links::ViewUrl;
use crate::parts::{Badge, Cell, Reference, Spark};
use crate::shell::Shell;
use askama::Template;
use askama::filters::HtmlSafe;
use jiff::Timestamp;

/// A version's share of an endpoint's traffic.
#[derive(Clone, Debug)]
pub struct Share {
    /// The version, with its page.
    pub version: Reference,
    /// Its share in percent.
    pub percent: f64,
}

impl Share {
    pub(crate) fn told(&self) -> String {
        format!("{} %", crate::format::number((self.percent * 100.0).round() / 100.0))
    }
}

/// The versions behind an endpoint, as a bar and in words.
#[derive(Clone, Debug, Default, Template)]
#[template(path = "endpoint_shares.html")]
pub struct Shares(pub Vec<Share>);

impl HtmlSafe for Shares {}

/// A part of the bar, in hundredths of its length.
pub(crate) struct Segment {
    pub(crate) from: f64,
    pub(crate) length: f64,
    pub(crate) colour: usize,
}

impl Shares {
    /// Colours that series have.
    const COLOURS: usize = 7;

    pub(crate) fn segments(&self) -> Vec<Segment> {
        let mut from = 0.0;
        let segment = |(i, share): (usize, &Share)| {
            let segment = Segment { from, length: share.percent, colour: Self::colour(&i) };
            from += share.percent;
            segment
        };
        self.0.iter().enumerate().map(segment).collect()
    }

    pub(crate) fn colour(index: &usize) -> usize {
        index % Self::COLOURS + 1
    }
}

/// What a version or an endpoint has answered since it was loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Requests.
    pub requests: u64,
    /// Requests of those that were refused or failed.
    pub errors: u64,
}

impl Traffic {
    pub(crate) fn errors_percent(self) -> Cell {
        let percent = || (self.errors as f64 * 10_000.0 / self.requests as f64).round() / 100.0;
        let known = (self.requests > 0).then(percent);
        Cell::metric(known)
    }
}

/// What monitors say of an endpoint.
#[derive(Clone, Debug)]
pub struct Watched {
    /// Whether alerts fire.
    pub state: Badge,
    /// The monitor's page.
    pub href: String,
    /// AUC by window, oldest first.
    pub quality: Spark,
    /// The newest AUC that labels tell; none while it is unknown.
    pub auc: Option<f64>,
}

/// A served name in one line.
#[derive(Clone, Debug)]
pub struct EndpointRow {
    /// Its name.
    pub name: String,
    /// Its page.
    pub href: String,
    /// Whether it answers.
    pub state: Badge,
    /// The versions that answer, with their shares.
    pub shares: Shares,
    /// Counts the changes of its route; none before the first deployment.
    pub generation: Option<i64>,
    /// Since when this route is in force.
    pub since: Option<Timestamp>,
    /// Whether answers wait for the log: `required`, `best-effort`.
    pub log: &'static str,
    /// What it has answered; none while nothing is loaded.
    pub traffic: Option<Traffic>,
    /// What its monitor says; none without one.
    pub watched: Option<Watched>,
}

impl EndpointRow {
    pub(crate) fn cells(&self) -> [Cell; 2] {
        let requests = Cell::metric(self.traffic.map(|t| t.requests as f64));
        [requests, self.traffic.map_or(Cell::Missing, Traffic::errors_percent)]
    }
}

/// All endpoints of a project.
#[derive(Clone, Debug, Template)]
#[template(path = "endpoints.html")]
pub struct EndpointsPage {
    /// What all pages share.
    pub shell: Shell,
    /// The endpoints, by name.
    pub endpoints: Vec<EndpointRow>,
}

/// How one version does.
#[derive(Clone, Debug)]
pub struct LiveRow {
    /// The version, with its page.
    pub version: Reference,
    /// What it has answered.
    pub traffic: Traffic,
    /// Requests in a second, since the page was asked the last time.
    pub per_second: Option<f64>,
    /// What its model takes of memory, in bytes.
    pub heap_bytes: u64,
}

impl LiveRow {
    pub(crate) fn cells(&self) -> [Cell; 3] {
        let requests = Cell::Number(self.traffic.requests as f64);
        [Cell::metric(self.per_second), requests, self.traffic.errors_percent()]
    }
}

/// The part of an endpoint's page that tells its traffic. The browser asks for it again every few seconds; what it saw
/// the last time is in the address, so the server remembers nothing.
#[derive(Clone, Debug, Template)]
#[template(path = "endpoint_live.html")]
pub struct LivePart {
    /// Where the next one is.
    pub next: String,
    /// Whether the browser asked for it again, so that the badge beside the title is replaced too.
    pub again: bool,
    /// Whether the endpoint answers.
    pub state: Badge,
    /// The generation that answers.
    pub generation: Option<i64>,
    /// How its versions do.
    pub rows: Vec<LiveRow>,
}

impl HtmlSafe for LivePart {}

/// A version behind an endpoint.
#[derive(Clone, Debug)]
pub struct ServedVersion {
    /// Its share.
    pub share: Share,
    /// The aliases that point to it.
    pub aliases: Vec<String>,
    /// The digest of its frozen files.
    pub digest: String,
    /// Where it stands with gates and approvals; none when its model has no policy.
    pub release: Option<Badge>,
}

/// A route in one line.
#[derive(Clone, Debug)]
pub struct RouteRow {
    /// Counts up with each change.
    pub generation: i64,
    /// How it came to be.
    pub change: Badge,
    /// The versions that answered.
    pub shares: Shares,
    /// Why; may be empty.
    pub reason: String,
    /// Who changed it.
    pub by: String,
    /// When.
    pub at: Timestamp,
}

/// What the visitor may roll back to.
#[derive(Clone, Debug)]
pub enum RollBack {
    /// Nothing: the visitor may not.
    Forbidden,
    /// Nothing, and why.
    Impossible(String),
    /// This route.
    To(RouteRow),
}

/// How an endpoint is asked from elsewhere.
#[derive(Clone, Debug)]
pub struct Snippet {
    /// Names it on the page.
    pub id: &'static str,
    /// What it is written for.
    pub title: &'static str,
    /// What must be installed; may be empty.
    pub needs: &'static str,
    /// The command or program.
    pub text: String,
}

/// The part of an endpoint's page that tries it: a form, and how the same is asked from elsewhere.
#[derive(Clone, Debug, Template)]
#[template(path = "endpoint_ask.html")]
pub struct AskIt {
    /// The scoring route.
    pub path: String,
    /// The page of a prediction, without its id.
    pub predictions: String,
    /// The input that the form is filled with.
    pub body: String,
    /// Whether that was logged with the model, or made up as its signature has it.
    pub is_logged: bool,
    /// The version that it is of.
    pub of: String,
    /// How it is asked from elsewhere; curl first.
    pub snippets: Vec<Snippet>,
}

impl HtmlSafe for AskIt {}

/// What the log holds of an endpoint.
#[derive(Clone, Debug)]
pub struct OnDisk {
    /// Bytes of its records.
    pub bytes: u64,
    /// When the first of them came.
    pub since: Timestamp,
}

/// One endpoint. The view reads `cursor`, a place in the history.
#[derive(Clone, Debug, Template)]
#[template(path = "endpoint.html")]
pub struct EndpointPage {
    /// What all pages share.
    pub shell: Shell,
    /// The view.
    pub view: ViewUrl,
    /// Its name.
    pub name: String,
    /// Whether it answers.
    pub state: Badge,
    /// Whether answers wait for the log.
    pub log: &'static str,
    /// What of its predictions is logged, where that is not all as it comes.
    pub log_rules: Vec<String>,
    /// What the log holds; none before the first prediction.
    pub on_disk: Option<OnDisk>,
    /// Records that were lost since the server started.
    pub dropped: u64,
    /// The header whose value makes a caller stay with one version.
    pub sticky_header: Option<String>,
    /// Who made it.
    pub created_by: String,
    /// When.
    pub created_at: Timestamp,
    /// Its traffic; none before the first deployment.
    pub live: Option<LivePart>,
    /// The versions that answer.
    pub versions: Vec<ServedVersion>,
    /// Its routes, newest first.
    pub history: Vec<RouteRow>,
    /// Where the history's page ends.
    pub pager: Pager,
    /// What the visitor may roll back to.
    pub roll_back: RollBack,
    /// The newest rollout; none when there never was one.
    pub rollout: Option<RolloutPart>,
    /// How it is tried; none before the first deployment.
    pub ask: Option<AskIt>,
}

impl EndpointPage {
    pub(crate) fn shares(&self) -> Shares {
        Shares(self.versions.iter().map(|v| v.share.clone()).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shares(percents: &[f64]) -> Shares {
        let share = |p: &f64| Share { version: Reference::named("version", "delays 1"), percent: *p };
        Shares(percents.iter().map(share).collect())
    }

    #[test]
    fn the_parts_of_the_bar_stand_one_behind_the_other() {
        let segments = shares(&[90.0, 7.5, 2.5]).segments();
        let ends: Vec<f64> = segments.iter().map(|s| s.from + s.length).collect();
        assert_eq!(ends, [90.0, 97.5, 100.0]);
        assert_eq!(segments[2].colour, 3);
    }

    #[test]
    fn shares_are_told_with_two_digits_at_the_most() {
        assert_eq!(shares(&[100.0 / 3.0]).0[0].told(), "33.33 %");
        assert_eq!(shares(&[90.0]).0[0].told(), "90 %");
    }

    #[test]
    fn errors_without_requests_are_missing_not_zero() {
        assert_eq!(Traffic::default().errors_percent(), Cell::Missing);
        assert_eq!(Traffic { requests: 200, errors: 1 }.errors_percent(), Cell::Number(0.5));
    }
}
