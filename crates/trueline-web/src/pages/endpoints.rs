//! Endpoints: what is served, and one served name with its traffic, its versions and how its route came to be.

use super::{BanditPart, Pager, RolloutPart};
use crate::format::{number, three_digits};
use crate::links::ViewUrl;
use crate::parts::{Badge, Cell, Reference, Spark, Tone};
use crate::rate_chart::RateChart;
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

/// Requests that came to a version or an endpoint.
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
    /// What came to it lately; none while nothing is loaded.
    pub traffic: Option<LatelyCame>,
    /// What its monitor says; none without one.
    pub watched: Option<Watched>,
}

/// What came to an endpoint in the last quarter of an hour.
#[derive(Clone, Debug)]
pub struct LatelyCame {
    /// Requests in a second, oldest first.
    pub rates: Spark,
    /// The same, in the last minute.
    pub per_second: f64,
    /// The 99th percentile of the time that requests took, in milliseconds.
    pub p99_ms: Option<f64>,
    /// Requests, and those that were not answered.
    pub counted: Traffic,
}

impl LatelyCame {
    pub(crate) fn rate(&self) -> String {
        number(three_digits(self.per_second))
    }
}

impl EndpointRow {
    pub(crate) fn cells(&self) -> [Cell; 2] {
        let p99 = self.traffic.as_ref().and_then(|t| t.p99_ms).map(three_digits);
        [Cell::metric(p99), self.traffic.as_ref().map_or(Cell::Missing, |t| t.counted.errors_percent())]
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

/// Why requests were not answered: each cause in words, with how often.
#[derive(Clone, Debug, Default, Template)]
#[template(
    ext = "html",
    source = r#"<span class="chips">{% for (cause, count) in self.0 %}<span class="chip bad">{{ Tone::Bad.icon() }}{{ cause }} {{ crate::format::count(**count) }}</span>{% endfor %}</span>"#
)]
pub struct Causes(pub Vec<(&'static str, u64)>);

impl HtmlSafe for Causes {}

impl Causes {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// How one version does.
#[derive(Clone, Debug)]
pub struct LiveRow {
    /// The version, with its page.
    pub version: Reference,
    /// What it has answered.
    pub traffic: Traffic,
    /// Requests in a second, in the last minute.
    pub per_second: f64,
    /// Median, 95th and 99th percentile of the time that requests took in the last quarter of an hour, in milliseconds.
    pub latency_ms: [Option<f64>; 3],
    /// Requests that were not answered in the last quarter of an hour.
    pub causes: Causes,
    /// Whether its model is in memory.
    pub loaded: bool,
    /// What its model takes of memory while it is loaded, in bytes.
    pub heap_bytes: u64,
}

impl LiveRow {
    pub(crate) fn recent_cells(&self) -> [Cell; 4] {
        let [p50, p95, p99] = self.latency_ms.map(|ms| Cell::metric(ms.map(three_digits)));
        [Cell::Number(three_digits(self.per_second)), p50, p95, p99]
    }

    pub(crate) fn cells(&self) -> [Cell; 2] {
        [Cell::Number(self.traffic.requests as f64), self.traffic.errors_percent()]
    }
}

/// The last minutes of an endpoint.
#[derive(Clone, Debug)]
pub struct LiveFigures {
    /// Requests in a second, in the last minute.
    pub per_second: String,
    /// How long requests took in the last minute: the name of the quantile, and milliseconds.
    pub latency: [(&'static str, Option<String>); 3],
    /// Requests in the last quarter of an hour.
    pub requests: u64,
    /// Requests of those that were not answered.
    pub causes: Causes,
    /// Requests in a second over the last quarter of an hour.
    pub chart: RateChart,
}

/// The part of an endpoint's page that tells its traffic. The browser asks for it again every few seconds.
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
    /// What came lately; none while nothing is loaded.
    pub figures: Option<LiveFigures>,
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
    /// The newest bandit; none when there never was one.
    pub bandit: Option<BanditPart>,
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
