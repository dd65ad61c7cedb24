//! The small parts that pages are made of. Each renders itself, so that a template writes `{{ run.status }}` and
//! gets icon and word. All are escaped inside; that is why they count as safe HTML.

use crate::format;
use askama::Template;
use askama::filters::HtmlSafe;
use jiff::Timestamp;

/// A drawing of the sprite in `templates/sprite.html`, without a word beside it: decoration only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Template)]
#[template(
    ext = "html",
    source = r##"<svg class="icon" aria-hidden="true"><use href="#i-{{ self.0 }}"/></svg>"##
)]
pub struct Icon(pub &'static str);

impl HtmlSafe for Icon {}

/// How a state is to be taken. It decides icon and colour; the word says what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// As it should be.
    Good,
    /// Wants a look.
    Warn,
    /// Broken.
    Bad,
    /// At work.
    Busy,
    /// Waits.
    Wait,
    /// Nothing known, or nothing to say.
    Quiet,
}

impl Tone {
    fn class(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Warn => "warn",
            Self::Bad => "bad",
            Self::Busy => "busy",
            Self::Wait => "wait",
            Self::Quiet => "quiet",
        }
    }

    /// Its icon.
    #[must_use]
    pub fn icon(self) -> Icon {
        Icon(match self {
            Self::Good => "check-circle",
            Self::Warn => "warn",
            Self::Bad => "x-circle",
            Self::Busy => "spin",
            Self::Wait => "clock",
            Self::Quiet => "circle",
        })
    }
}

/// A state: icon and word, and only then a colour.
#[derive(Clone, Debug, PartialEq, Eq, Template)]
#[template(
    ext = "html",
    source = r#"<span class="badge {{ tone.class() }}">{{ tone.icon() }}{{ word }}</span>"#
)]
pub struct Badge {
    /// How it is to be taken.
    pub tone: Tone,
    /// What it is.
    pub word: String,
}

impl HtmlSafe for Badge {}

impl Badge {
    /// A state by tone and word.
    pub fn new(tone: Tone, word: impl Into<String>) -> Self {
        Self { tone, word: word.into() }
    }

    pub(crate) fn class(&self) -> &'static str {
        self.tone.class()
    }

    /// A state by MLflow's and the house's own words for runs, versions and tasks: `FINISHED`, `READY`, `queued`.
    #[must_use]
    pub fn state(word: &str) -> Self {
        let lower = word.to_lowercase().replace('_', " ");
        let tone = match lower.as_str() {
            "finished" | "ready" | "done" | "ok" | "active" | "approved" | "passed" => Tone::Good,
            "running" | "copying" => Tone::Busy,
            "scheduled" | "queued" | "pending" | "pending registration" | "pending upload" => Tone::Wait,
            "failed" | "failed registration" | "upload failed" | "rejected" => Tone::Bad,
            "killed" | "diverged" | "expired" | "on hold" => Tone::Warn,
            _ => Tone::Quiet,
        };
        let word = match lower.as_str() {
            "killed" => "stopped".to_owned(),
            _ => lower,
        };
        let mut letters = word.chars();
        let word = letters.next().map_or_else(String::new, |c| c.to_uppercase().chain(letters).collect());
        Self { tone, word }
    }
}

/// A time: told from now, with the absolute one and its zone to machines and on hover.
#[derive(Clone, Copy, Debug, Template)]
#[template(
    ext = "html",
    source = r#"<time datetime="{{ at }}" title="{{ format::absolute(*at) }}">{{ format::relative(*at, *now) }}</time>"#
)]
pub struct When {
    pub(crate) at: Timestamp,
    pub(crate) now: Timestamp,
}

impl HtmlSafe for When {}

/// A text to be copied, shown in full or shortened, with its button. Without JavaScript it is selected and copied
/// by hand; the button is not shown then.
#[derive(Clone, Debug, Template)]
#[template(
    ext = "html",
    source = r##"<span class="copy"><code title="{{ text }}">{{ shown }}</code><button type="button" class="ghost" data-copy="{{ text }}" aria-label="Copy {{ what }}"><svg class="icon" aria-hidden="true"><use href="#i-copy"/></svg></button></span>"##
)]
pub struct Copy {
    text: String,
    shown: String,
    what: &'static str,
}

impl HtmlSafe for Copy {}

impl Copy {
    /// The whole text.
    #[must_use]
    pub fn all(text: &str, what: &'static str) -> Self {
        Self { text: text.to_owned(), shown: text.to_owned(), what }
    }

    /// A digest or an id, shortened to what people compare.
    #[must_use]
    pub fn short(text: &str, what: &'static str) -> Self {
        Self { text: text.to_owned(), shown: format::short_digest(text), what }
    }
}

/// A command to be typed into a terminal.
#[derive(Clone, Debug, Template)]
#[template(
    ext = "html",
    source = r##"<div class="command"><pre tabindex="0" role="group" aria-label="Command"><code>{{ self.0 }}</code></pre><button type="button" class="ghost" data-copy="{{ self.0 }}" aria-label="Copy command"><svg class="icon" aria-hidden="true"><use href="#i-copy"/></svg></button></div>"##
)]
pub struct Command(pub String);

impl HtmlSafe for Command {}

impl Command {
    /// A command.
    pub fn new(text: impl std::fmt::Display) -> Self {
        Self(text.to_string())
    }
}

/// What stands in a cell of a table of values.
#[derive(Clone, Debug, PartialEq, Template)]
#[template(
    ext = "html",
    source = r#"{% match self %}{% when Self::Missing %}<td class="num missing"><span class="sr">missing</span><span aria-hidden="true">–</span></td>{% when Self::Number(v) %}<td class="num" title="{{ v }}">{{ format::number(**v) }}</td>{% when Self::Text(v) %}<td class="text"><span class="clip" title="{{ v }}">{{ v }}</span></td>{% endmatch %}"#
)]
pub enum Cell {
    /// Not logged.
    Missing,
    /// A metric, or a param that is a number.
    Number(f64),
    /// Any other param.
    Text(String),
}

impl HtmlSafe for Cell {}

impl Cell {
    /// A param's value: right-aligned when it is a number.
    #[must_use]
    pub fn param(text: Option<&str>) -> Self {
        match text {
            None => Self::Missing,
            Some(t) => t
                .parse::<f64>()
                .ok()
                .filter(|n| n.is_finite())
                .map_or_else(|| Self::Text(t.to_owned()), Self::Number),
        }
    }

    /// A metric's value.
    #[must_use]
    pub fn metric(value: Option<f64>) -> Self {
        value.map_or(Self::Missing, Self::Number)
    }
}

/// A cell whose value is unlike most of its row.
#[derive(Clone, Copy, Debug, Template)]
#[template(
    ext = "html",
    source = r#"{% match self.0 %}{% when Cell::Missing %}<td class="num missing unlike"><span class="sr">missing, unlike most</span><span aria-hidden="true">–</span></td>{% when Cell::Number(v) %}<td class="num unlike" title="{{ v }}, unlike most">{{ format::number(**v) }}</td>{% when Cell::Text(v) %}<td class="text unlike"><span class="clip" title="{{ v }}, unlike most">{{ v }}</span></td>{% endmatch %}"#
)]
pub struct Unlike<'c>(pub &'c Cell);

impl HtmlSafe for Unlike<'_> {}

/// How values spread, as small bars; its words are for those who don't see it.
#[derive(Clone, Debug, PartialEq, Eq, Template)]
#[template(
    ext = "html",
    source = r#"<svg class="bars" role="img" aria-label="{{ label }}" viewBox="0 0 {{ bars.len() * 4 }} 20" preserveAspectRatio="none">{% for (place, height) in bars %}<rect x="{{ place * 4 }}" y="{{ 20 - height }}" width="3" height="{{ height }}"/>{% endfor %}</svg>"#
)]
pub struct Bars {
    bars: Vec<(usize, u64)>,
    label: String,
}

impl HtmlSafe for Bars {}

impl Bars {
    /// Of the counts of equally wide bins from `low` to `high`. A bin that is not empty can be seen.
    #[must_use]
    pub fn new(counts: Vec<u64>, low: &str, high: &str) -> Self {
        let most = counts.iter().copied().max().unwrap_or(0).max(1);
        let height = |count: u64| (count * 20 / most).max(u64::from(count > 0));
        let fullest = counts.iter().position(|c| *c == most).map_or(0, |i| i + 1);
        let label =
            format!("{} equal bins from {low} to {high}; the fullest is number {fullest}", counts.len());
        Self { bars: counts.into_iter().map(height).enumerate().collect(), label }
    }
}

/// Numbers over time as a small line, with the level at which they alarm as a dashed one; what is unknown leaves a gap.
#[derive(Clone, Debug, PartialEq, Eq, Template)]
#[template(
    ext = "html",
    source = r#"<svg class="spark" role="img" aria-label="{{ label }}" viewBox="-3 -3 126 30">{% if !level.is_empty() %}<path class="level" d="{{ level }}"/>{% endif %}<path d="{{ path }}"/></svg>"#
)]
pub struct Spark {
    path: String,
    level: String,
    label: String,
}

impl HtmlSafe for Spark {}

impl Spark {
    const WIDTH: f64 = 120.0;
    const HEIGHT: f64 = 24.0;

    /// Of values, oldest first; `label` says of what.
    #[must_use]
    pub fn new(label: impl std::fmt::Display, values: &[Option<f64>], level: Option<f64>) -> Self {
        let known = || values.iter().flatten().copied().chain(level).filter(|v| v.is_finite());
        let (low, high) = known().fold((f64::MAX, f64::MIN), |(l, h), v| (l.min(v), h.max(v)));
        let span = if high > low { high - low } else { 1.0 };
        let height = |value: f64| Self::HEIGHT * (1.0 - (value - low) / span);
        let step = Self::WIDTH / values.len().saturating_sub(1).max(1) as f64;
        let mut path = String::new();
        let mut after_gap = true;
        for (i, value) in values.iter().enumerate() {
            let Some(value) = value.filter(|v| v.is_finite()) else {
                after_gap = true;
                continue;
            };
            let (x, y) = (i as f64 * step, height(value));
            // A lone number is a dot: a line of no length with round ends.
            path.push_str(&if after_gap { format!("M{x:.1} {y:.1}h0") } else { format!("L{x:.1} {y:.1}") });
            after_gap = false;
        }
        let newest = values.last().copied().flatten().map_or_else(|| "unknown".to_owned(), format::number);
        Self {
            path,
            level: level.map(|l| format!("M0 {:.1}H{}", height(l), Self::WIDTH)).unwrap_or_default(),
            label: format!("{label}: {} values, newest {newest}", values.len()),
        }
    }
}

/// Why something was done. A long reason is folded: its beginning is shown, and all of it when asked for.
#[derive(Clone, Debug, PartialEq, Eq, Template)]
#[template(
    ext = "html",
    source = r#"{% if self.0.is_empty() %}<span class="muted">–</span>{% else %}{% match self.beginning() %}{% when Some(beginning) %}<details class="values"><summary>{{ beginning }}…</summary>{{ self.0 }}</details>{% when None %}{{ self.0 }}{% endmatch %}{% endif %}"#
)]
pub struct Reason(pub String);

impl HtmlSafe for Reason {}

impl Reason {
    /// Characters that are shown at once, and of the beginning of a longer one.
    const LONGEST: usize = 140;
    const BEGINNING: usize = 90;

    fn beginning(&self) -> Option<String> {
        let long = self.0.chars().count() > Self::LONGEST;
        long.then(|| self.0.chars().take(Self::BEGINNING).collect())
    }
}

/// Something that a page links to: `kind` says what it is, `label` how it is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// Its kind in the words of the house: `run`, `model version`, `dataset`.
    pub kind: String,
    /// Its name.
    pub label: String,
    /// Its page, when there is one.
    pub href: Option<String>,
}

impl Reference {
    /// A thing with a page.
    pub fn to(kind: &str, label: impl Into<String>, href: impl Into<String>) -> Self {
        Self { kind: kind.to_owned(), label: label.into(), href: Some(href.into()) }
    }

    /// A thing without a page.
    pub fn named(kind: &str, label: impl Into<String>) -> Self {
        Self { kind: kind.to_owned(), label: label.into(), href: None }
    }

    pub(crate) fn icon(&self) -> Icon {
        Icon(match self.kind.as_str() {
            "run" => "play",
            "experiment" => "flask",
            "model" | "version" | "model version" | "logged model" | "alias" => "cube",
            "dataset" | "dataset version" => "database",
            "feature view" | "entity" => "columns",
            "source" | "code" => "code",
            "endpoint" => "broadcast",
            "prediction" => "target",
            "user" | "token" | "role" => "user",
            "project" => "folder",
            "event" => "ledger",
            _ => "circle",
        })
    }
}

/// The name of a thing, which leads to its page when it has one.
#[derive(Clone, Copy, Debug, Template)]
#[template(
    ext = "html",
    source = r#"{% match self.0.href %}{% when Some(href) %}<a href="{{ href }}">{{ self.0.label }}</a>{% when None %}{{ self.0.label }}{% endmatch %}"#
)]
pub struct Link<'r>(pub &'r Reference);

impl HtmlSafe for Link<'_> {}

/// What a thing came from and what came from it.
#[derive(Clone, Debug, Default)]
pub struct Lineage {
    /// Upstream.
    pub from: Vec<Reference>,
    /// Downstream.
    pub made: Vec<Reference>,
}

/// A key and its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// The key.
    pub key: String,
    /// The value.
    pub value: String,
}

impl Pair {
    /// A pair.
    pub fn new(key: impl Into<String>, value: impl Into<String>) -> Self {
        Self { key: key.into(), value: value.into() }
    }
}

/// What a tag was set to, by whom and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TagChange {
    /// The value; none when the tag was taken away.
    pub value: Option<String>,
    /// Who.
    pub by: String,
    /// When.
    pub at: Timestamp,
    /// The page of the event that says so.
    pub event: String,
}

/// A tag with its history.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TagRow {
    /// Its key.
    pub key: String,
    /// Its value; none when it was taken away.
    pub value: Option<String>,
    /// Its changes, the newest first; empty where nothing is recorded, or for who may not see it.
    pub history: Vec<TagChange>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_has_an_icon_and_a_word() {
        let html = Badge::state("FINISHED").render().unwrap();
        assert_eq!(
            html,
            r##"<span class="badge good"><svg class="icon" aria-hidden="true"><use href="#i-check-circle"/></svg>Finished</span>"##
        );
        assert_eq!(Badge::state("PENDING_REGISTRATION").word, "Pending registration");
        assert_eq!(Badge::state("").word, "");
    }

    #[test]
    fn a_time_has_both_forms() {
        let at = Timestamp::from_second(1_780_000_000).unwrap();
        let now = Timestamp::from_second(1_780_000_090).unwrap();
        let html = When { at, now }.render().unwrap();
        assert!(html.contains(r#"datetime="2026-05-28T20:26:40Z""#), "{html}");
        assert!(html.contains(r#"title="2026-05-28 20:26:40 UTC">1 min ago<"#), "{html}");
    }

    #[test]
    fn bars_show_every_bin_that_holds_something() {
        let html = Bars::new(vec![0, 1, 1000], "0", "3").render().unwrap();
        assert!(html.contains(r#"<rect x="0" y="20" width="3" height="0"/>"#), "{html}");
        assert!(html.contains(r#"<rect x="4" y="19" width="3" height="1"/>"#), "{html}");
        assert!(html.contains("the fullest is number 3"), "{html}");
    }

    #[test]
    fn a_spark_leaves_gaps_where_nothing_is_known_and_draws_its_level() {
        let spark = Spark::new("AUC", &[Some(0.0), Some(1.0), None, Some(0.5)], Some(1.0));
        assert_eq!(spark.path, "M0.0 24.0h0L40.0 0.0M120.0 12.0h0");
        assert_eq!(spark.level, "M0 0.0H120");
        assert_eq!(spark.label, "AUC: 4 values, newest 0.5");
        let unknown = Spark::new("AUC", &[None], None);
        assert_eq!((unknown.path.as_str(), unknown.level.as_str()), ("", ""));
    }

    #[test]
    fn a_long_reason_is_folded_and_a_short_one_is_not() {
        assert_eq!(Reason("too slow <".into()).render().unwrap(), "too slow &#60;");
        let long = Reason("because ".repeat(20)).render().unwrap();
        assert!(long.starts_with(r#"<details class="values"><summary>because "#), "{long}");
        assert!(long.contains("…</summary>") && long.contains(&"because ".repeat(20)), "{long}");
        assert!(Reason(String::new()).render().unwrap().contains('–'));
    }

    #[test]
    fn a_cell_never_shows_zero_for_missing() {
        assert!(Cell::param(None).render().unwrap().contains("–"));
        assert!(Cell::param(Some("0.1")).render().unwrap().contains(r#"class="num""#));
        assert!(Cell::param(Some("adam")).render().unwrap().contains(r#"class="text""#));
        assert!(Cell::param(Some("<b>")).render().unwrap().contains("&#60;b&#62;"));
    }
}
