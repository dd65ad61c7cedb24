//! Endpoints and the line of a prediction.

use super::{ago, events, hash, shell, to};
use trueline_web::Section;
use trueline_web::ViewUrl;
use trueline_web::pages::*;
use trueline_web::parts::{Badge, Copy, Pair, Reference, Spark, Tone};
use trueline_web::rate_chart::RateChart;

fn share(number: &str, percent: f64) -> Share {
    Share {
        version: Reference::to("version", format!("churn {number}"), to().version("churn", number)),
        percent,
    }
}

fn row(name: &str, state: Badge, shares: Vec<Share>, requests: Option<u64>) -> EndpointRow {
    EndpointRow {
        name: name.into(),
        href: to().endpoint(name),
        state,
        generation: requests.map(|_| 12),
        since: requests.map(|_| ago(300_000)),
        log: "best-effort",
        traffic: requests.map(|requests| LatelyCame {
            rates: Spark::new("Requests", &[Some(310.0), Some(371.0), Some(355.0)], Some(0.0)),
            per_second: 371.2,
            p99_ms: Some(1.9),
            counted: Traffic { requests, errors: requests / 4000 },
        }),
        shares: Shares(shares),
        watched: requests.map(|_| super::watching::watched()),
    }
}

pub fn endpoints(full: bool) -> EndpointsPage {
    let rows = vec![
        row(
            "churn-score",
            Badge::new(Tone::Good, "Live"),
            vec![share("6", 90.0), share("7", 10.0)],
            Some(48_120),
        ),
        row("churn-batch", Badge::new(Tone::Bad, "Not answering"), vec![share("5", 100.0)], None),
        row("uplift", Badge::new(Tone::Wait, "Nothing deployed"), vec![], None),
    ];
    EndpointsPage {
        shell: shell("Endpoints", Section::Endpoints, &[]),
        endpoints: if full { rows } else { vec![] },
    }
}

fn route(generation: i64, change: Badge, shares: Vec<Share>, reason: &str) -> RouteRow {
    RouteRow {
        generation,
        change,
        shares: Shares(shares),
        reason: reason.into(),
        by: "ann".into(),
        at: ago(300_000 - generation * 20_000),
    }
}

fn chart() -> RateChart {
    let steady: Vec<f64> = (0..59).map(|i| 330.0 + f64::from(i % 7) * 9.0).collect();
    let tried: Vec<f64> = (0..59).map(|i| if i < 20 { 0.0 } else { 41.0 + f64::from(i % 5) }).collect();
    let failed: Vec<f64> = (0..59).map(|i| if i % 30 == 29 { 2.0 } else { 0.0 }).collect();
    RateChart::new("Requests in a second", "15 minutes ago")
        .with(&[(Some(1), "churn 6", &steady), (Some(2), "churn 7", &tried), (None, "not answered", &failed)])
        .marked([(20.0 / 59.0, "generation 12".to_owned())].into_iter())
}

pub fn live() -> LivePart {
    let live = |number: &str, requests: u64, per_second: f64| LiveRow {
        version: share(number, 0.0).version,
        traffic: Traffic { requests, errors: 3 },
        per_second,
        latency_ms: if per_second > 0.0 { [Some(0.2123), Some(0.4), Some(1.9)] } else { [None; 3] },
        causes: Causes(if number == "6" { vec![("input does not fit", 11)] } else { vec![] }),
        loaded: number == "6",
        heap_bytes: 1_420_000,
    };
    let figures = LiveFigures {
        per_second: "371".to_owned(),
        latency: [("p50", Some("0.21".to_owned())), ("p95", Some("0.4".to_owned())), ("p99", None)],
        requests: 48_120,
        causes: Causes(vec![("request refused", 1_204), ("input does not fit", 11)]),
        chart: chart(),
    };
    LivePart {
        next: to().endpoint_live("churn-score"),
        again: false,
        state: Badge::new(Tone::Good, "Live"),
        generation: Some(12),
        figures: Some(figures),
        rows: vec![live("6", 43_308, 371.2), live("7", 4_812, 0.0)],
    }
}

pub fn endpoint(full: bool) -> EndpointPage {
    let served = |number: &str, percent: f64, release: Option<Badge>| ServedVersion {
        share: share(number, percent),
        aliases: if number == "6" { vec!["champion".into()] } else { vec![] },
        digest: format!("sha256:{}", hash(3)),
        release,
    };
    let deployed = || Badge::new(Tone::Good, "Deployed");
    let history = vec![
        route(12, deployed(), vec![share("6", 90.0), share("7", 10.0)], "a first look at 7"),
        route(11, Badge::new(Tone::Warn, "Rolled back"), vec![share("6", 100.0)], "5 took twice the time"),
        route(10, deployed(), vec![share("5", 100.0)], ""),
    ];
    EndpointPage {
        shell: shell("churn-score", Section::Endpoints, &[("Endpoints", to().endpoints())]),
        view: ViewUrl::new(to().endpoint("churn-score"), [("", ""); 0]),
        name: "churn-score".into(),
        state: if full { Badge::new(Tone::Good, "Live") } else { Badge::new(Tone::Wait, "Nothing deployed") },
        log: "required",
        log_rules: if full {
            vec!["10 % of predictions".to_owned(), "without ssn".to_owned()]
        } else {
            Vec::new()
        },
        on_disk: full.then(|| OnDisk { bytes: 48_230_000, since: ago(800_000) }),
        dropped: if full { 12 } else { 0 },
        sticky_header: full.then(|| "x-customer".into()),
        created_by: "ann".into(),
        created_at: ago(900_000),
        live: full.then(live),
        versions: if full {
            vec![
                served("6", 90.0, Some(Badge::new(Tone::Good, "Passed"))),
                served("7", 10.0, Some(Badge::new(Tone::Warn, "Not passed"))),
            ]
        } else {
            vec![]
        },
        roll_back: if full { RollBack::To(history[1].clone()) } else { RollBack::Forbidden },
        history: if full { history } else { vec![] },
        pager: Pager { rows: 3, noun: "route", next_cursor: full.then(|| "10".into()) },
        rollout: full.then(super::watching::rollout),
        bandit: full.then(super::watching::bandit),
        ask: full.then(ask),
    }
}

fn ask() -> AskIt {
    let body = serde_json::json!({
        "dataframe_split": { "columns": ["tenure", "monthly"], "data": [[12.0, 79.99], [3.0, 20.5]] },
    });
    let asked = trueline_web::snippets::Asked {
        address: "http://127.0.0.1:5700",
        project: "churn-prediction",
        endpoint: "churn-score",
        token: true,
        body: &body,
        signature: None,
    };
    AskIt {
        path: asked.path(),
        predictions: to().prediction(""),
        body: trueline_web::snippets::input(&body),
        is_logged: true,
        of: "churn/6".into(),
        snippets: asked.snippets(),
    }
}

/// With all stations, or with those that can't be told any more.
pub fn prediction(full: bool) -> PredictionPage {
    let id = &hash(9)[..32];
    let mut asked = Station::new("target", "Prediction", "churn-score answered");
    asked.facts = vec![
        Fact::new("Received", Told::At(ago(4_000))),
        Fact::new("Request", Told::Code("01jx4q8m2v7k".into())),
        Fact::new("Time", Told::Text("reading 12 µs, model 140 µs, all 201 µs".into())),
    ];
    asked.values = vec![("Inputs", vec![Pair::new("tenure", "12"), Pair::new("monthly", "79.99")])];
    let mut version = Station::new("cube", "Version", "churn 6");
    version.href = Some(to().version("churn", "6"));
    version.facts = vec![Fact::new("Manifest", Told::Id(Copy::all(&hash(3), "digest of the manifest")))];
    let mut gates = Station::new("check", "Gates and approvals, as they stand now", "2 of 2 approvals");
    gates.state = Some(Badge::new(Tone::Good, "Passed"));
    gates.checks = vec![
        (Badge::new(Tone::Good, "Passed"), "better than the champion: 0.91 is not below 0.89".into()),
        (Badge::new(Tone::Good, "Approved"), "bea: looked at the segments".into()),
    ];
    let gap = "The endpoint's route at that time is not known any more.";
    PredictionPage {
        shell: shell("Prediction", Section::Endpoints, &[("Endpoints", to().endpoints())]),
        id: id.to_owned(),
        state: Badge::new(Tone::Good, "Answered"),
        endpoint: Reference::to("endpoint", "churn-score", to().endpoint("churn-score")),
        version: share("6", 0.0).version,
        at: ago(4_000),
        answer: "0.8123456239700317".into(),
        label: full.then(|| "1".into()),
        stations: match full {
            true => vec![asked, version, gates],
            false => vec![asked, Station::missing("broadcast", "Route", gap)],
        },
        events: if full { events().into_iter().take(4).collect() } else { vec![] },
    }
}

/// A page of the log, what a search that gave up shows, and an empty log.
pub fn logged_predictions(rows: usize, gave_up: bool) -> LoggedPredictionsPage {
    let row = |n: usize| {
        let failed = n % 4 == 3;
        PredictionRow {
            id: hash(n as u64)[..32].to_owned(),
            state: if failed { Badge::new(Tone::Bad, "Failed") } else { Badge::new(Tone::Good, "Answered") },
            answer: if failed { "column `tenure` is missing".into() } else { "0.8123456239700317".into() },
            version: share("6", 0.0).version,
            key: n.is_multiple_of(2).then(|| format!("customer-{n}")),
            at: ago(4_000 * (n as i64 + 1)),
            took_us: (n != 2).then_some(201),
        }
    };
    let filtered = if gave_up { "customer-9" } else { "" };
    let mut shell = shell("Predictions", Section::Endpoints, &[("Endpoints", to().endpoints())]);
    shell.as_cli = Some("trueline prediction list churn-score".into());
    LoggedPredictionsPage {
        view: ViewUrl::new(to().endpoint_predictions("churn-score"), [("key", filtered)]),
        endpoint: "churn-score".into(),
        rows: (0..rows).map(row).collect(),
        pager: Pager {
            rows,
            noun: "prediction",
            next_cursor: (rows > 0 || gave_up).then(|| "3-512-0".into()),
        },
        gave_up: gave_up.then(|| GaveUp { looked_at: 100_000, back_to: Some(ago(7_200_000)) }),
        filter_problem: None,
        times: [String::new(), String::new()],
        versions: vec!["churn/6".into(), "churn/7".into()],
        first: "curl http://127.0.0.1:5700/projects/churn-prediction/endpoints/churn-score/invocations"
            .into(),
        shell,
    }
}

pub fn find_prediction() -> FindPredictionPage {
    FindPredictionPage {
        shell: shell("Find a prediction", Section::Endpoints, &[("Endpoints", to().endpoints())]),
        asked: "abc".into(),
        problem: Some("“abc” is no prediction id: those have 32 hexadecimal digits.".into()),
    }
}
