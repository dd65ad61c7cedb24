//! The spans of a trace as a page has them: a tree with the place of each in the trace's time, and one span in full.

use crate::links::Links;
use crate::pages::{AssessmentRow, SpanDetail, SpanEventRow, SpanNode};
use crate::parts::{Badge, Pair, Reference, Tone};
use jiff::Timestamp;
use std::collections::{BTreeSet, HashMap};
use trueline_traces::{SpanContent, Value, unpacked};

/// Spans that a page shows.
pub(super) const MOST: usize = 2000;
/// Spans below each other that are shown so; deeper ones stand side by side.
const DEPTH: usize = 40;
/// Bytes of one value that are shown.
const LONGEST: usize = 100 << 10;
/// The parts of a trace's time that bars are measured in.
const WHOLE: i64 = 1000;
/// A bar is never narrower than this, or it could not be seen.
const NARROWEST: i64 = 4;

const INPUTS: &str = "mlflow.spanInputs";
const OUTPUTS: &str = "mlflow.spanOutputs";
const KIND: &str = "mlflow.spanType";
/// Attributes that are told elsewhere on the page.
const TOLD: [&str; 4] = [INPUTS, OUTPUTS, KIND, "mlflow.traceRequestId"];

/// From when to when a trace lasts, in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Time {
    from: i64,
    to: i64,
}

impl Time {
    pub(super) fn of(spans: &[SpanContent]) -> Self {
        let from = spans.iter().map(|s| s.start_time_unix_nano).min().unwrap_or(0);
        let ends = spans.iter().map(|s| s.end_time_unix_nano.unwrap_or(s.start_time_unix_nano));
        Self { from, to: ends.max().unwrap_or(from).max(from + 1) }
    }

    /// Where a span's bar begins and how wide it is, in thousandths. A span that goes on reaches to the end.
    fn bar(self, span: &SpanContent) -> (u32, u32) {
        let part = |ns: i64| {
            let passed = i128::from(ns.clamp(self.from, self.to)) - i128::from(self.from);
            let whole = i128::from(self.to) - i128::from(self.from);
            i64::try_from(passed * i128::from(WHOLE) / whole).unwrap_or(WHOLE)
        };
        let from = part(span.start_time_unix_nano).min(WHOLE - NARROWEST);
        let to = part(span.end_time_unix_nano.unwrap_or(self.to)).max(from + NARROWEST);
        let small = |n: i64| u32::try_from(n).unwrap_or(0);
        (small(from), small(to - from))
    }
}

fn took_us(span: &SpanContent) -> Option<i64> {
    Some(span.end_time_unix_nano?.saturating_sub(span.start_time_unix_nano) / 1000)
}

fn kind(span: &SpanContent) -> String {
    match span.attribute(KIND) {
        Some(Value::Text(kind)) if kind != "UNKNOWN" => kind,
        _ => String::new(),
    }
}

fn failed(span: &SpanContent) -> bool {
    span.status.code.ends_with("ERROR")
}

struct Tree<'s> {
    spans: &'s [SpanContent],
    below: HashMap<String, Vec<usize>>,
    seen: BTreeSet<usize>,
    time: Time,
    trace: &'s str,
    to: &'s Links,
    open: &'s str,
}

impl Tree<'_> {
    fn node(&mut self, at: usize, depth: usize) -> Vec<SpanNode> {
        if !self.seen.insert(at) {
            return Vec::new();
        }
        let span = &self.spans[at];
        let id = span.id();
        let children = self.below.get(&id).cloned().unwrap_or_default();
        let below: Vec<SpanNode> = children.into_iter().flat_map(|c| self.node(c, depth + 1)).collect();
        let (from, width) = self.time.bar(span);
        let (below, beside) = if depth < DEPTH { (below, Vec::new()) } else { (Vec::new(), below) };
        let node = SpanNode {
            name: span.name.clone(),
            kind: kind(span),
            href: self.to.span(self.trace, &id),
            here: id == self.open,
            failed: failed(span),
            from,
            width,
            took_us: took_us(span),
            below,
            id,
        };
        std::iter::once(node).chain(beside).collect()
    }
}

/// The tree of spans that are in the order of their times. A span whose parent is not there is a root.
pub(super) fn tree(spans: &[SpanContent], trace: &str, to: &Links, open: &str) -> Vec<SpanNode> {
    let ids: BTreeSet<String> = spans.iter().map(SpanContent::id).collect();
    let mut below: HashMap<String, Vec<usize>> = HashMap::new();
    let mut roots = Vec::new();
    for (at, span) in spans.iter().enumerate() {
        match span.parent().filter(|parent| ids.contains(parent)) {
            Some(parent) => below.entry(parent).or_default().push(at),
            None => roots.push(at),
        }
    }
    // Spans that are each other's parents would be seen by nobody.
    roots.extend(0..spans.len());
    let seen = BTreeSet::new();
    let mut tree = Tree { spans, below, seen, time: Time::of(spans), trace, to, open };
    roots.into_iter().flat_map(|root| tree.node(root, 0)).collect()
}

/// A value as people read it: text as it is, anything else as JSON with line breaks; a long one is cut.
pub(super) fn readable(value: &Value) -> String {
    let text = match value {
        Value::Text(text) => text.clone(),
        other => serde_json::to_string_pretty(other).unwrap_or_default(),
    };
    if text.len() <= LONGEST {
        return text;
    }
    let end = (0..=LONGEST).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    format!("{}\n… {} more", &text[..end], crate::format::bytes((text.len() - end) as u64))
}

fn pairs<'v>(attributes: impl Iterator<Item = &'v (String, Value)>) -> Vec<Pair> {
    attributes.map(|(key, value)| Pair::new(key, readable(&unpacked(value)))).collect()
}

/// What an event tells of itself; of an exception the type and the message first, the stack last.
fn told_of(event: &trueline_traces::SpanEvent) -> Vec<Pair> {
    let mut told = pairs(event.attributes.iter());
    told.sort_by_key(|pair| match pair.key.as_str() {
        "exception.type" => 0,
        "exception.message" => 1,
        "exception.stacktrace" => 3,
        _ => 2,
    });
    told
}

/// One span in full.
pub(super) fn detail(
    span: &SpanContent,
    time: Time,
    to: &Links,
    assessments: &[AssessmentRow],
) -> SpanDetail {
    let id = span.id();
    let began = span.start_time_unix_nano;
    let event = |event: &trueline_traces::SpanEvent| SpanEventRow {
        name: event.name.clone(),
        after_us: event.time_unix_nano.saturating_sub(began) / 1000,
        is_exception: event.name == "exception",
        attributes: told_of(event),
    };
    let link = |link: &trueline_traces::SpanLink| {
        Reference::to(
            "trace",
            crate::format::short_ids(&link.trace_id),
            to.span(&link.trace_id, &link.span_id),
        )
    };
    let state = match span.status.code.trim_start_matches("STATUS_CODE_") {
        "OK" => Badge::new(Tone::Good, "Ok"),
        "ERROR" => Badge::new(Tone::Bad, "Error"),
        _ => Badge::new(Tone::Quiet, "Not said"),
    };
    SpanDetail {
        name: span.name.clone(),
        kind: kind(span),
        state,
        message: span.status.message.clone().unwrap_or_default(),
        started_at: Timestamp::from_nanosecond(began.into()).unwrap_or(Timestamp::UNIX_EPOCH),
        after_us: began.saturating_sub(time.from) / 1000,
        took_us: took_us(span),
        inputs: span.attribute(INPUTS).map(|v| readable(&v)),
        outputs: span.attribute(OUTPUTS).map(|v| readable(&v)),
        attributes: pairs(span.attributes.iter().filter(|(key, _)| !TOLD.contains(&key.as_str()))),
        events: span.events.iter().map(event).collect(),
        links: span.links.iter().map(link).collect(),
        assessments: assessments.iter().filter(|a| a.span.as_deref() == Some(&id)).cloned().collect(),
        id,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn span(id: u8, parent: Option<u8>, from: i64, to: Option<i64>) -> SpanContent {
        // Any text that is no base64 is an id of its own.
        let name = |id: u8| format!("s-{id}");
        let content = json!({
            "trace_id": "t", "span_id": name(id), "parent_span_id": parent.map(name), "name": format!("n{id}"),
            "start_time_unix_nano": from, "end_time_unix_nano": to, "status": {"code": "STATUS_CODE_ERROR", "message": "late"},
            "attributes": {"mlflow.spanType": "\"LLM\"", "mlflow.spanInputs": "{\"z\": 1, \"a\": \"ü\"}", "k": "1"},
            "events": [{"name": "exception", "time_unix_nano": from + 5000, "attributes": {"exception.type": "ValueError"}}],
        });
        serde_json::from_value(content).unwrap()
    }

    fn outline(nodes: &[SpanNode]) -> String {
        let one = |n: &SpanNode| match n.below.is_empty() {
            true => n.name.clone(),
            false => format!("{}({})", n.name, outline(&n.below)),
        };
        nodes.iter().map(one).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn spans_stand_below_their_parents_and_none_is_lost() {
        let spans = [
            span(1, None, 0, Some(100)),
            span(2, Some(1), 10, Some(50)),
            span(3, Some(2), 20, Some(30)),
            span(4, Some(9), 60, Some(70)),
            span(5, Some(6), 80, None),
            span(6, Some(5), 80, None),
        ];
        let roots = tree(&spans, "tr-1", &Links::new(Some("p")), "s-3");
        assert_eq!(outline(&roots), "n1(n2(n3)) n4 n5(n6)");
        assert!(roots[0].below[0].below[0].here);
        assert_eq!(roots[0].href, "/p/p/traces/tr-1?span=s-1#span-s-1");
    }

    #[test]
    fn a_bar_is_where_the_span_was_and_can_always_be_seen() {
        let spans = [
            span(1, None, 1000, Some(2000)),
            span(2, Some(1), 1500, Some(1500)),
            span(3, Some(1), 2000, None),
        ];
        let time = Time::of(&spans);
        assert_eq!(time.bar(&spans[0]), (0, 1000));
        assert_eq!(time.bar(&spans[1]), (500, 4));
        assert_eq!(time.bar(&spans[2]), (996, 4));
        let moment = [span(1, None, 7, Some(7))];
        assert_eq!(Time::of(&moment).bar(&moment[0]).0, 0);
    }

    #[test]
    fn a_deep_tree_is_shown_without_going_as_deep() {
        let spans: Vec<SpanContent> =
            (0..200).map(|i| span(i, i.checked_sub(1), i64::from(i), Some(300))).collect();
        let mut nodes = tree(&spans, "t", &Links::new(None), "");
        let mut depth = 0;
        while let Some(first) = nodes.first() {
            depth += 1;
            nodes = first.below.clone();
        }
        assert_eq!(depth, DEPTH + 1);
    }

    #[test]
    fn a_span_is_told_in_full() {
        let spans = [span(1, None, 0, Some(2_000_000))];
        let told = detail(&spans[0], Time::of(&spans), &Links::new(None), &[]);
        assert_eq!(told.inputs.as_deref(), Some("{\n  \"z\": 1,\n  \"a\": \"ü\"\n}"));
        assert_eq!((told.kind.as_str(), told.took_us, told.message.as_str()), ("LLM", Some(2000), "late"));
        assert_eq!(told.attributes, [Pair::new("k", "1")]);
        assert!(told.events[0].is_exception && told.events[0].after_us == 5);
    }
}
