//! Traces of an experiment and one of them, with and without what they can have.

use super::{URI, ago, hash, shell, to};
use trueline_web::pages::*;
use trueline_web::parts::{Badge, Pair, Reference, Tone};
use trueline_web::{Section, ViewUrl};

fn assessment(name: &str, value: &str, tone: Tone, span: Option<&str>) -> AssessmentRow {
    AssessmentRow {
        name: name.into(),
        value: value.into(),
        tone,
        kind: "feedback",
        source: "human ann".into(),
        rationale: "It names the right gate.".into(),
        span: span.map(ToOwned::to_owned),
        valid: true,
        at: ago(60),
    }
}

fn row(failed: bool) -> TraceRow {
    TraceRow {
        id: format!("tr-{}", &hash(20)[..32]),
        name: "answer".into(),
        request: "Why is it late?".into(),
        response: "Because of the wind.".into(),
        state: if failed { Badge::new(Tone::Bad, "Error") } else { Badge::new(Tone::Good, "Ok") },
        started_at: ago(120),
        took_ms: Some(1_240),
        tokens: (!failed).then_some(1_234),
        session: "s-1".into(),
        assessments: vec![assessment("correct", "true", Tone::Good, None)],
    }
}

fn experiment() -> Reference {
    Reference::to("experiment", "support-bot", to().experiment("12"))
}

pub fn traces(full: bool) -> TracesPage {
    let rows = if full { vec![row(false), row(true)] } else { vec![] };
    TracesPage {
        shell: shell("Traces", Section::Experiments, &[("Experiments", to().experiments())]),
        view: ViewUrl::new(to().traces("12"), [("sort", "-latency")]),
        experiment: experiment(),
        run: full.then(|| Reference::to("run", "brisk-owl-412", to().run("r"))),
        filter_problem: full.then(|| "It can't be read.".into()),
        pager: Pager { rows: rows.len(), noun: "trace", next_cursor: None },
        traces: rows,
        tracking_uri: URI.into(),
    }
}

fn node(id: &str, kind: &str, bar: (u32, u32), below: Vec<SpanNode>) -> SpanNode {
    SpanNode {
        id: id.into(),
        name: format!("span {id}"),
        kind: kind.into(),
        href: to().span("tr-1", id),
        here: id == "b",
        failed: id == "b",
        from: bar.0,
        width: bar.1,
        took_us: Some(i64::from(bar.1) * 1240),
        below,
    }
}

pub fn trace(full: bool) -> TracePage {
    let tree = node(
        "a",
        "CHAIN",
        (0, 1000),
        vec![node("b", "LLM", (100, 700), vec![]), node("c", "", (800, 4), vec![])],
    );
    let open = SpanDetail {
        id: "b".into(),
        name: "span b".into(),
        kind: "LLM".into(),
        state: Badge::new(Tone::Bad, "Error"),
        message: "the model did not answer".into(),
        started_at: ago(120),
        after_us: 124_000,
        took_us: Some(868_000),
        inputs: Some("{\n  \"question\": \"Why is it late?\"\n}".into()),
        outputs: None,
        attributes: vec![Pair::new("mlflow.llm.model", "small")],
        events: vec![SpanEventRow {
            name: "exception".into(),
            after_us: 868_000,
            is_exception: true,
            attributes: vec![Pair::new("exception.message", "timed out")],
        }],
        links: vec![],
        assessments: vec![assessment("grounded", "no", Tone::Bad, Some("b"))],
    };
    TracePage {
        shell: shell("answer", Section::Experiments, &[("Experiments", to().experiments())]),
        view: ViewUrl::new(to().trace("tr-1"), [("span", "b")]),
        row: row(full),
        experiment: experiment(),
        runs: if full { vec![Reference::to("run", "brisk-owl-412", to().run("r"))] } else { vec![] },
        user: if full { "ann".into() } else { String::new() },
        cost: full.then_some(0.0021),
        tags: if full { vec![Pair::new("env", "prod")] } else { vec![] },
        metadata: if full { vec![Pair::new("mlflow.trace.session", "s-1")] } else { vec![] },
        roots: if full { vec![tree] } else { vec![] },
        spans: 3,
        truncated: false,
        open: full.then_some(open),
        file: (!full).then(|| to().trace_file("p", "tr-1")),
    }
}
