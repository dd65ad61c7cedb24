//! Every page with realistic data, and with none: for the tests and the gallery.
#![allow(
    clippy::unwrap_used,
    missing_docs,
    unreachable_pub,
    reason = "samples are written by hand and tested"
)]

mod registry;
mod running;
mod serving;
mod tracing;
mod watching;

pub use registry::*;
pub use running::{run, run_with_open, table};
pub use serving::*;
pub use tracing::{trace, traces};

use jiff::Timestamp;
use serde_json::json;
use trueline_web::pages::*;
use trueline_web::parts::{Badge, Bars, Cell, Lineage, Pair, Reference, Tone};
use trueline_web::{Caller, Crumb, Links, Section, Shell, ViewUrl};

const PROJECT: &str = "churn-prediction";
const NOW: i64 = 1_780_000_000;
const URI: &str = "http://127.0.0.1:5700";

/// A text that would do harm if it were not escaped.
pub const HOSTILE: &str = "<script>alert('x')</script>";

fn ago(seconds: i64) -> Timestamp {
    Timestamp::from_second(NOW - seconds).unwrap()
}

fn hash(seed: u64) -> String {
    (0..4).map(|i| format!("{:016x}", (seed + i).wrapping_mul(0x9e37_79b9_7f4a_7c15))).collect()
}

fn to() -> Links {
    Links::new(Some(PROJECT))
}

fn shell(title: &str, current: Section, crumbs: &[(&str, String)]) -> Shell {
    let mut way: Vec<_> = crumbs.iter().map(|(label, href)| Crumb::to(*label, href.clone())).collect();
    way.push(Crumb::here(title));
    Shell {
        projects: vec![PROJECT.into(), "default".into(), "fraud-scoring".into(), "pricing".into()],
        caller: Some(Caller {
            name: "ann".into(),
            roles: vec!["contributor".into(), "reviewer".into()],
            can_sign_out: true,
        }),
        current: Some(current),
        crumbs: way,
        request_id: "01jx4q8m2v7k".into(),
        as_cli: Some(format!("trueline --project {PROJECT} {} list", title.to_lowercase())),
        as_api: Some(format!("{URI}/api/v1/{}?project={PROJECT}", title.to_lowercase())),
        ..Shell::new(title, Some(PROJECT), Timestamp::from_second(NOW).unwrap())
    }
}

fn event(
    index: u64,
    seconds: i64,
    actor: &str,
    action: &str,
    resource: Reference,
    detail: &str,
) -> EventLine {
    EventLine {
        index: Some(index),
        id: hash(index)[..32].to_owned(),
        at: ago(seconds),
        actor: actor.into(),
        action: action.into(),
        resource,
        detail: detail.into(),
        project: PROJECT.into(),
        erased: false,
    }
}

fn events() -> Vec<EventLine> {
    let run = |name: &str| Reference::to("run", name, to().run(&hash(7)[..32]));
    let version = |v: &str| Reference::to("version", format!("churn {v}"), to().version("churn", v));
    let mut list = vec![
        event(
            48_213,
            4,
            "user:ann",
            "alias.set",
            Reference::to("alias", "champion", to().model("churn")),
            "of churn to version 7",
        ),
        event(48_212, 95, "user:bo", "version.approved", version("7"), "after 3 of 3 gates"),
        event(
            48_211,
            130,
            "system:gates",
            "task.done",
            Reference::named("task", "judge churn 7 against champion"),
            "",
        ),
        event(48_210, 611, "user:ci-churn", "version.registered", version("7"), "from run brisk-owl-412"),
        event(
            48_209,
            640,
            "user:ci-churn",
            "artifact.written",
            Reference::named("artifact", "model/model.ubj"),
            "in run brisk-owl-412",
        ),
        event(48_208, 655, "user:ci-churn", "run.logged", run("brisk-owl-412"), "with 6 metrics"),
        event(
            48_207,
            1_850,
            "user:ci-churn",
            "run.inputs_logged",
            run("brisk-owl-412"),
            "with customers-2026-05",
        ),
        event(48_206, 1_870, "user:ci-churn", "run.created", run("brisk-owl-412"), "in churn-training"),
        event(
            48_205,
            7_400,
            "user:dora",
            "role.granted",
            Reference::named("user", "bo"),
            "as reviewer of churn-prediction",
        ),
        event(
            48_204,
            9_200,
            "user:dora",
            "token.created",
            Reference::named("token", "CI of churn-training"),
            "for ci-churn",
        ),
        event(
            48_203,
            88_000,
            "user:ann",
            "model.described",
            Reference::to("model", "churn", to().model("churn")),
            "",
        ),
        event(48_202, 90_100, "user:ann", "run.deleted", run("quiet-elk-009"), ""),
        event(
            48_201,
            260_000,
            "user:eve",
            "event.erased",
            Reference::to("event", "41007", to().event(41_007)),
            "on request of the data subject",
        ),
        event(
            48_200,
            300_000,
            "user:ann",
            "experiment.created",
            Reference::to("experiment", "churn-training", to().experiment("12")),
            "",
        ),
    ];
    list[11].erased = true;
    list
}

pub fn home(full: bool) -> HomePage {
    let mut shell = shell("Home", Section::Home, &[]);
    shell.as_cli = Some(format!("trueline --project {PROJECT} status"));
    HomePage {
        shell,
        start: (!full).then(|| GetStarted { tracking_uri: URI.into() }),
        endpoints: vec![],
        waiting: if full {
            vec![
                Waiting {
                    state: Badge::new(Tone::Wait, "Approval"),
                    what: "Approve or reject version 8 of churn".into(),
                    href: to().version("churn", "8"),
                    since: ago(2_400),
                },
                Waiting {
                    state: Badge::new(Tone::Warn, "Diverged"),
                    what: "The artifacts of churn 6 changed after it was frozen".into(),
                    href: to().version("churn", "6"),
                    since: ago(50_000),
                },
            ]
        } else {
            vec![]
        },
        changed: if full { events().into_iter().take(9).collect() } else { vec![] },
        may_read_ledger: true,
        running: if full {
            vec![
                TaskRow {
                    id: "t1".into(),
                    state: Badge::state("running"),
                    what: "Import runs from mlflow.example".into(),
                    href: None,
                    progress: Some((41_200, 96_000)),
                    since: ago(1_240),
                },
                TaskRow {
                    id: "t2".into(),
                    state: Badge::state("running"),
                    what: "Freeze the files of churn 8".into(),
                    href: Some(to().version("churn", "8")),
                    progress: None,
                    since: ago(31),
                },
                TaskRow {
                    id: "t3".into(),
                    state: Badge::state("queued"),
                    what: "Verify the ledger".into(),
                    href: None,
                    progress: None,
                    since: ago(12),
                },
            ]
        } else {
            vec![]
        },
    }
}

/// Home with served names.
pub fn home_live() -> HomePage {
    HomePage { endpoints: endpoints(true).endpoints, ..home(true) }
}

pub fn experiments(full: bool) -> ExperimentsPage {
    let row = |id: &str, name: &str, about: &str, last: Option<i64>, made: i64| ExperimentRow {
        id: id.into(),
        name: name.into(),
        description: about.into(),
        last_run_at: last.map(ago),
        created_at: ago(made),
        deleted: false,
    };
    let experiments = if full {
        vec![
            row(
                "12",
                "churn-training",
                "Weekly training of the churn model on the last 24 months of customers",
                Some(1_870),
                300_000,
            ),
            row(
                "11",
                "churn-sweep-2026-05",
                "Sweep over depth, rate and regularisation",
                Some(180_000),
                420_000,
            ),
            row("9", "uplift", "Who stays because of the offer", Some(1_200_000), 6_000_000),
            row("7", "feature-ablation", "", Some(4_000_000), 9_000_000),
            row(
                "3",
                "baselines",
                "Logistic regression and a constant, to know what is worth anything",
                Some(20_000_000),
                40_000_000,
            ),
            row("0", "Default", "", None, 70_000_000),
        ]
    } else {
        vec![]
    };
    ExperimentsPage {
        shell: shell("Experiments", Section::Experiments, &[]),
        view: ViewUrl::new(to().experiments(), [("sort", "-last_run_at")]),
        pager: Pager {
            rows: experiments.len(),
            noun: "experiment",
            next_cursor: full.then(|| "ZXhw".into()),
        },
        experiments,
        tracking_uri: URI.into(),
    }
}

pub fn experiment(full: bool) -> ExperimentPage {
    let metrics = ["val_auc", "val_logloss", "val_f1", "train_logloss", "latency_ms"];
    let params = ["model", "learning_rate", "max_depth", "n_estimators", "subsample", "features"];
    let columns: Vec<_> = metrics
        .iter()
        .map(|m| Column::metric(m))
        .chain(params.iter().map(|p| Column::param(p, !matches!(*p, "model" | "features"))))
        .collect();
    let group = |key: &str, title: &str, columns: &[Column]| ColumnGroup {
        key: key.into(),
        title: title.into(),
        columns: columns.to_vec(),
        folded: false,
    };
    let groups = vec![group("metrics.", "Metrics", &columns[..5]), group("params.", "Params", &columns[5..])];
    let mut choices = columns;
    choices.extend(["val_brier", "epoch_time_s"].map(Column::metric));
    choices.extend([Column::param("seed", true), Column::tag("git.branch"), Column::tag("team")]);
    let names = [
        "brisk-owl",
        "calm-pike",
        "deft-hare",
        "keen-wren",
        "mild-lynx",
        "neat-crow",
        "odd-seal",
        "pale-moth",
        "rare-ibex",
        "sly-heron",
    ];
    let runs: Vec<_> = (0..if full { 28_usize } else { 0 })
        .map(|i| {
            let x = i as f64;
            let status =
                ["FINISHED", "FINISHED", "RUNNING", "FINISHED", "FAILED", "FINISHED", "FINISHED", "KILLED"]
                    [i % 8];
            let broken = status == "FAILED";
            let metric = |v: f64| Cell::metric((!broken).then_some(v));
            RunRow {
                id: hash(100 + i as u64)[..32].to_owned(),
                name: format!("{}-{}", names[i % 10], 412 - i * 3),
                status: Badge::state(status),
                created_by: ["user:ann", "user:ci-churn", "user:bo"][i % 3].into(),
                started_at: Some(ago(1_870 + i as i64 * 5_400)),
                duration_ms: Some(183_000 + (i as i64 * 7_919) % 900_000),
                selected: i == 1,
                cells: vec![
                    metric(0.923_417 - x * 0.001_37),
                    metric(0.211_03 + x * 0.002_9),
                    metric(0.801_2 - x * 0.002),
                    metric(0.180_44 + x * 0.003_1),
                    if i % 3 == 1 { Cell::Missing } else { metric(4.2 + (x * 1.7) % 6.0) },
                    Cell::param(Some(["xgboost", "lightgbm", "logreg"][i % 3])),
                    Cell::param(Some(["0.05", "0.1", "0.03"][i % 3])),
                    if i % 3 == 2 { Cell::Missing } else { Cell::param(Some(["6", "8"][i % 2])) },
                    Cell::param(Some(["1200", "800", "16000"][i % 3])),
                    Cell::param(Some("0.8")),
                    Cell::param(Some("core,usage_30d,support_tickets,billing_delta")),
                ],
            }
        })
        .collect();
    let mut shell = shell("churn-training", Section::Experiments, &[("Experiments", to().experiments())]);
    shell.as_cli =
        Some("trueline runs list --experiment churn-training --order-by 'metrics.val_auc DESC'".into());
    ExperimentPage {
        shell,
        view: ViewUrl::new(to().experiment("12"), [("sort", "-metrics.val_auc")]),
        id: "12".into(),
        name: "churn-training".into(),
        description: "Weekly training of the churn model on the last 24 months of customers.".into(),
        created_at: ago(300_000),
        artifact_location: "mlflow-artifacts:/12".into(),
        tags: if full { vec![Pair::new("team", "retention")] } else { vec![] },
        history: vec![],
        filter_problem: None,
        groups: if full { groups } else { vec![] },
        all_columns: choices.len(),
        choices: if full { choices } else { vec![] },
        next_cursor: full.then(|| "50".into()),
        views: vec![SavedView {
            name: "best by AUC".into(),
            href: "?sort=-metrics.val_auc".into(),
            current: true,
        }],
        view_query: "sort=-metrics.val_auc".into(),
        view_name: String::new(),
        can_save: true,
        feed: RunTableFeed { total: if full { 41_233 } else { 0 }, ..RunTableFeed::default() },
        runs,
        tracking_uri: URI.into(),
    }
}

/// An experiment whose filter can't be read.
pub fn experiment_bad_filter() -> ExperimentPage {
    ExperimentPage {
        view: ViewUrl::new(to().experiment("12"), [("filter", "metrics.val_auc >> 0.9")]),
        filter_problem: Some("After metrics.val_auc comes a comparison (=, !=, >, >=, <, <=), but here stands “>>”, at character 17.".into()),
        ..experiment(true)
    }
}

fn charts(names: &[&str], runs: &[&str]) -> Vec<Chart> {
    names
        .iter()
        .map(|key| Chart {
            title: (*key).into(),
            unit: key.ends_with("_ms").then(|| "ms".into()),
            series: runs
                .iter()
                .map(|r| ChartSeries { name: (*r).into(), url: format!("/api/v1/runs/{r}/metrics/{key}") })
                .collect(),
            small: false,
            last: (runs.len() == 1).then_some(if key.ends_with("auc") { 0.853_417 } else { 0.271_3 }),
        })
        .collect()
}

pub fn compare() -> ComparePage {
    let names = ["brisk-owl-412", "calm-pike-409", "deft-hare-406"];
    let row = |key: &str, cells: [Option<&str>; 3]| ComparedRow {
        key: key.into(),
        cells: cells.map(Cell::param).to_vec(),
    };
    ComparePage {
        shell: shell(
            "Compare runs",
            Section::Experiments,
            &[("Experiments", to().experiments()), ("churn-training", to().experiment("12"))],
        ),
        view: ViewUrl::new(to().compare(), names.map(|n| ("run", n))),
        runs: names
            .iter()
            .map(|n| ComparedRun {
                id: (*n).into(),
                name: (*n).into(),
                status: Badge::state("FINISHED"),
                started_at: Some(ago(9_000)),
            })
            .collect(),
        sections: vec![
            ComparedSection {
                title: "Metrics",
                rows: vec![
                    row("val_auc", [Some("0.923417"), Some("0.922047"), Some("0.920677")]),
                    row("val_logloss", [Some("0.21103"), Some("0.21393"), None]),
                ],
            },
            ComparedSection {
                title: "Params",
                rows: vec![
                    row("learning_rate", [Some("0.05"), Some("0.1"), Some("0.03")]),
                    row("model", [Some("xgboost"), Some("lightgbm"), Some("logreg")]),
                    row("seed", [Some("17"); 3]),
                    row("subsample", [Some("0.8"); 3]),
                ],
            },
        ],
        charts: charts(&["val_auc", "val_logloss"], &names),
        axis: Axis::Step,
        left_out: 0,
        rows: 6,
        next_cursor: None,
        csv_url: "/p/churn-prediction/compare.csv".into(),
        charts_at: (0, 2),
        plot: Plot::default(),
    }
}

fn dataset_row(name: &str, number: i64, made_here: bool) -> DatasetRow {
    DatasetRow {
        name: name.into(),
        number,
        id: hash(u64::try_from(number).unwrap()),
        rows: 336_776,
        size: 31_053_850,
        made_here,
        created_by: "user:ann".into(),
        created_at: ago(7_200 * number),
    }
}

pub fn datasets(full: bool) -> DatasetsPage {
    let datasets =
        if full { vec![dataset_row("customers", 3, false), dataset_row("train", 1, true)] } else { vec![] };
    DatasetsPage {
        shell: shell("Data", Section::Data, &[]),
        view: ViewUrl::new(to().datasets(), [("cursor", "")]),
        pager: Pager { rows: datasets.len(), noun: "dataset", next_cursor: None },
        datasets,
    }
}

pub fn dataset() -> DatasetPage {
    DatasetPage {
        shell: shell("customers", Section::Data, &[("Data", to().datasets())]),
        name: "customers".into(),
        versions: (1..=3).rev().map(|n| dataset_row("customers", n, false)).collect(),
    }
}

pub fn dataset_version(full: bool) -> DatasetVersionPage {
    let data = |label: &str| Reference::to("dataset version", label, to().dataset_version("customers", &3));
    let view = || Reference::to("feature view", "usage@2", to().feature_view("usage@2"));
    let column = |name: &str, kind: &str, number: bool| ColumnRow {
        name: name.into(),
        kind: kind.into(),
        missing: "1.4 %".into(),
        distinct: Some(4_812),
        estimated: number,
        min: number.then(|| "0".to_owned()),
        median: number.then(|| "38.5".to_owned()),
        max: number.then(|| "912".to_owned()),
        bars: number.then(|| Bars::new(vec![5, 40, 80, 61, 22, 3, 0, 1], "0", "912")),
        frequent: if number { vec![] } else { vec![("EWR".into(), 120_835), (HOSTILE.into(), 12)] },
    };
    let recipe = RecipeFacts {
        rows: data("customers@3"),
        timestamp: "asked_at".into(),
        views: vec![JoinedView {
            view: view(),
            dataset: data("usage@9"),
            features: vec!["minutes_7d".into(), "calls_7d".into()],
            ttl: Some("7d".into()),
            matched: 330_102,
        }],
    };
    let name = if full { "train" } else { "customers" };
    DatasetVersionPage {
        shell: shell(&format!("{name} 1"), Section::Data, &[("Data", to().datasets())]),
        version: dataset_row(name, 1, full),
        columns: vec![column("minutes_7d", "float64", true), column("origin", "string", false)],
        files: vec![DataFile {
            name: "training-set.parquet".into(),
            rows: 336_776,
            size: 31_053_850,
            sha256: hash(4),
            href: "/projects/churn-prediction/api/v1/datasets/train/versions/1/files/0".into(),
        }],
        recipe: full.then_some(recipe),
        lineage: match full {
            true => Lineage { from: vec![data("customers@3"), view()], made: vec![] },
            false => Lineage::default(),
        },
    }
}

fn view_row(name: &str) -> ViewRow {
    ViewRow {
        name: name.into(),
        version: 2,
        dataset: "usage".into(),
        join_keys: vec!["customer".into()],
        features: vec!["minutes_7d".into(), "calls_7d".into()],
        ttl: Some("7d".into()),
        created_at: ago(90_000),
    }
}

pub fn features(full: bool) -> FeaturesPage {
    let entity = EntityRow {
        name: "customer".into(),
        join_key: "customer".into(),
        description: "Who has a contract".into(),
    };
    FeaturesPage {
        shell: shell("Features", Section::Features, &[]),
        views: if full { vec![view_row("usage"), view_row("tickets")] } else { vec![] },
        entities: if full { vec![entity] } else { vec![] },
    }
}

pub fn feature_view(full: bool) -> FeatureViewPage {
    let load = LoadRow {
        at: ago(600),
        version: 2,
        dataset: Reference::to("dataset version", "usage@9", to().dataset_version("usage", &9)),
        read: 1_204_331,
        written: 40_112,
    };
    let feature = |name: &str| FeatureRow {
        name: name.into(),
        kind: full.then(|| "float64".to_owned()),
        missing: full.then(|| "0 %".to_owned()),
    };
    FeatureViewPage {
        shell: shell("usage@2", Section::Features, &[("Features", to().features())]),
        view: view_row("usage"),
        description: "How much a customer used the service".into(),
        timestamp: Some("day".into()),
        created: full.then(|| "written_at".to_owned()),
        created_by: "user:ann".into(),
        features: vec![feature("minutes_7d"), feature("calls_7d")],
        loads: if full { vec![load] } else { vec![] },
        lineage: Lineage::default(),
    }
}

fn ledger_page(events: Vec<EventLine>, head: Option<LedgerHead>, verification: Verification) -> LedgerPage {
    LedgerPage {
        shell: Shell { as_cli: Some("trueline ledger tail".into()), ..shell("Ledger", Section::Ledger, &[]) },
        view: ViewUrl::new(to().ledger(), [("", "")]),
        pager: Pager {
            rows: events.len(),
            noun: "event",
            next_cursor: (!events.is_empty()).then(|| "48199".into()),
        },
        events,
        actions: ["run.", "run.created", "version.", "alias.set", "token."].map(ToOwned::to_owned).to_vec(),
        head,
        verification,
        can_verify: true,
    }
}

pub fn ledger(full: bool) -> LedgerPage {
    if !full {
        return ledger_page(vec![], None, Verification::Never);
    }
    let head = LedgerHead {
        tree_size: 48_214,
        root_hash: "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=".into(),
        signed_at: ago(3),
        key_id: "trueline.example/ledger+5f2c9a01".into(),
        origin: "trueline.example/ledger".into(),
        verify_command: "trueline ledger verify ./ledger --key ledger.pub".into(),
    };
    ledger_page(events(), Some(head), Verification::Sound { at: ago(5_100), entries: 48_190, elsewhere: 0 })
}

/// A ledger that somebody wrote into.
pub fn ledger_failing() -> LedgerPage {
    let failing = Verification::Failing {
        at: ago(45),
        index: 47_002,
        finding: "the payload does not hash to what the leaf says".into(),
        findings: 3,
    };
    LedgerPage { verification: failing, ..ledger(true) }
}

pub fn event_page(erased: bool) -> EventPage {
    let line = if erased { events().remove(11) } else { events().remove(1) };
    EventPage {
        shell: shell(
            &format!("Event {}", line.index.unwrap()),
            Section::Ledger,
            &[("Ledger", to().ledger())],
        ),
        event: line,
        on_behalf_of: None,
        decision: Some("policy 14: reviewers approve".into()),
        request: Some("01jx4q8m2v7k".into()),
        leaf_hash: Some(hash(77)),
        payload_hash: hash(78),
        proof_url: Some("/api/v1/ledger/entries/48212/proof".into()),
        proof_size: Some(48_214),
        payload: if erased {
            Payload::Erased { by: Some(48_201), actor: "user:eve".into(), at: ago(260_000) }
        } else {
            Payload::Json(json!({
                "model": "churn", "version": "7", "digest": format!("sha256:{}", hash(41)),
                "comment": "AUC +0.004 on the holdout; calibration unchanged.",
                "gates": [{"name": "auc_vs_champion", "passed": true, "value": 0.9234, "threshold": 0.9190}]
            }))
        },
        previous: Some(48_211),
        next: Some(48_213),
    }
}

pub fn search(full: bool) -> SearchPage {
    let mut shell = shell("Search", Section::Home, &[]);
    shell.current = None;
    shell.query = if full { "churn".into() } else { HOSTILE.into() };
    let hit = |what: Reference, context: &str, at: i64| Hit {
        what,
        context: context.into(),
        project: PROJECT.into(),
        at: Some(ago(at)),
    };
    let hits = if full {
        vec![
            hit(Reference::to("model", "churn", to().model("churn")), "", 4),
            hit(Reference::to("model version", "churn 7", to().version("churn", "7")), "@champion", 611),
            hit(Reference::to("experiment", "churn-training", to().experiment("12")), "", 1_870),
            hit(Reference::to("run", "churn-smoke-3", to().run("r")), "churn-training", 400_000),
        ]
    } else {
        vec![]
    };
    SearchPage {
        view: ViewUrl::new("/search", [("q", shell.query.clone())]),
        shell,
        pager: Pager { rows: hits.len(), noun: "result", next_cursor: None },
        hits,
    }
}

pub fn settings(part: &str, full: bool) -> SettingsPage {
    let few = |n: usize| if full { n } else { 0 };
    let body = match part {
        "projects" => SettingsBody::Projects(
            [
                (PROJECT, 9_000_000_i64),
                ("default", 70_000_000),
                ("fraud-scoring", 2_000_000),
                ("pricing", 400_000),
            ]
            .iter()
            .take(few(4))
            .map(|(n, s)| ProjectRow {
                name: (*n).into(),
                roles: if *n == "pricing" { vec![] } else { vec!["contributor".into(), "reviewer".into()] },
                created_at: ago(*s),
            })
            .collect(),
        ),
        "users" => SettingsBody::Users(
            [
                ("ann", "contributor of churn-prediction"),
                ("bo", "reviewer of churn-prediction"),
                ("ci-churn", "contributor of churn-prediction"),
                ("dora", "admin of the whole server"),
            ]
            .iter()
            .take(few(4))
            .map(|(n, r)| UserRow { name: (*n).into(), roles: vec![(*r).into()], created_at: ago(7_400) })
            .collect(),
        ),
        "roles" => SettingsBody::Roles {
            grants: [
                ("ann", "contributor", Some(PROJECT)),
                ("bo", "reviewer", Some(PROJECT)),
                ("dora", "admin", None),
                ("eve", "auditor", None),
            ]
            .iter()
            .take(few(4))
            .map(|(u, r, p)| Grant { user: (*u).into(), role: (*r).into(), project: p.map(Into::into) })
            .collect(),
            users: ["ann", "bo", "ci-churn", "dora", "eve"].map(Into::into).to_vec(),
            roles: [
                ("viewer", "Sees the project."),
                ("contributor", "Logs runs and registers versions."),
                ("reviewer", "Approves versions, and sees the project."),
                ("admin", "Everything but approving."),
                ("auditor", "Sees everything, the ledger included, and changes nothing."),
            ]
            .map(|(r, w)| (r.into(), w.into()))
            .to_vec(),
        },
        "storage" => SettingsBody::Storage {
            rules: vec!["What was deleted can be restored for 30 days; then it is deleted for good.".into()],
            last: full.then(|| CollectionView {
                state: Badge::new(Tone::Good, "Done"),
                at: ago(3_600),
                dry_run: true,
                error: None,
                projects: vec![CollectedRow {
                    project: PROJECT.into(),
                    purged: "2 runs, 1 logged model".into(),
                    kept_back: 1,
                    freed: 7_340_032,
                    left: 1_073_741_824,
                }],
            }),
        },
        _ => SettingsBody::Tokens {
            tokens: [
                ("a1", "CI of churn-training", "Active"),
                ("b2", "Notebook on the lab machine", "Active"),
                ("c3", "Old importer", "Expired"),
                ("d4", "Demo", "Revoked"),
            ]
            .iter()
            .take(few(4))
            .map(|(id, label, state)| TokenRow {
                id: (*id).into(),
                label: (*label).into(),
                user: "ci-churn".into(),
                state: Badge::state(state),
                can_revoke: *state == "Active",
                created_at: ago(9_200),
            })
            .collect(),
            fresh: full.then(|| FreshToken {
                label: "CI of churn-training".into(),
                secret: "tl_example_shown_once_4Zr8".into(),
            }),
            tracking_uri: URI.into(),
        },
    };
    SettingsPage { shell: shell("Settings", Section::Settings, &[]), can_change: true, problem: None, body }
}

pub fn error(signed_in: bool) -> ErrorPage {
    let mut shell = shell("Version not found", Section::Models, &[]);
    (shell.as_cli, shell.as_api) = (None, None);
    if !signed_in {
        (shell.caller, shell.project) = (None, None);
    }
    ErrorPage {
        shell,
        problem: Problem {
            status: 404,
            title: "Version not found".into(),
            detail: "The model churn has no version 12; its newest is 8.".into(),
            what_to_do: "Look at the versions that exist, or register one from a run.".into(),
            command: Some("trueline versions list churn".into()),
            code: "version-not-found".into(),
        },
    }
}

pub fn sign_in(failed: bool) -> SignInPage {
    SignInPage {
        shell: Shell::new("Sign in", None, Timestamp::from_second(NOW).unwrap()),
        next: to().home(),
        problem: failed
            .then(|| "This token is not known, has ended or was revoked. Ask an admin for a new one.".into()),
    }
}

/// All pages by name, rendered.
pub fn all() -> Vec<(&'static str, String)> {
    use askama::Template as _;
    vec![
        ("home", home(true).render().unwrap()),
        ("home-empty", home(false).render().unwrap()),
        ("home-live", home_live().render().unwrap()),
        ("experiments", experiments(true).render().unwrap()),
        ("experiments-empty", experiments(false).render().unwrap()),
        ("experiment", experiment(true).render().unwrap()),
        ("experiment-empty", experiment(false).render().unwrap()),
        ("experiment-bad-filter", experiment_bad_filter().render().unwrap()),
        ("run", run(true, RunTab::Overview).render().unwrap()),
        ("run-empty", run(false, RunTab::Overview).render().unwrap()),
        ("run-charts", run(true, RunTab::Charts).render().unwrap()),
        ("run-system", run(true, RunTab::System).render().unwrap()),
        ("run-charts-empty", run(false, RunTab::Charts).render().unwrap()),
        ("run-artifacts", run(true, RunTab::Artifacts).render().unwrap()),
        ("run-preview", run_with_open(table()).render().unwrap()),
        ("traces", traces(true).render().unwrap()),
        ("traces-empty", traces(false).render().unwrap()),
        ("trace", trace(true).render().unwrap()),
        ("trace-without-spans", trace(false).render().unwrap()),
        ("run-console", run(true, RunTab::Console).render().unwrap()),
        ("run-console-empty", run(false, RunTab::Console).render().unwrap()),
        ("run-artifacts-empty", run(false, RunTab::Artifacts).render().unwrap()),
        ("compare", compare().render().unwrap()),
        ("models", models(true).render().unwrap()),
        ("models-empty", models(false).render().unwrap()),
        ("model", model(true).render().unwrap()),
        ("model-empty", model(false).render().unwrap()),
        ("version", version(true).render().unwrap()),
        ("version-empty", version(false).render().unwrap()),
        ("logged-models", logged_models(true).render().unwrap()),
        ("logged-models-empty", logged_models(false).render().unwrap()),
        ("logged-model", logged_model(true).render().unwrap()),
        ("logged-model-empty", logged_model(false).render().unwrap()),
        ("logged-model-artifacts", logged_model_artifacts().render().unwrap()),
        ("datasets", datasets(true).render().unwrap()),
        ("datasets-empty", datasets(false).render().unwrap()),
        ("dataset", dataset().render().unwrap()),
        ("dataset-version", dataset_version(true).render().unwrap()),
        ("dataset-version-files", dataset_version(false).render().unwrap()),
        ("features", features(true).render().unwrap()),
        ("features-empty", features(false).render().unwrap()),
        ("feature-view", feature_view(true).render().unwrap()),
        ("feature-view-empty", feature_view(false).render().unwrap()),
        ("endpoints", endpoints(true).render().unwrap()),
        ("endpoints-empty", endpoints(false).render().unwrap()),
        ("endpoint", endpoint(true).render().unwrap()),
        ("endpoint-empty", endpoint(false).render().unwrap()),
        ("monitors", watching::monitors().render().unwrap()),
        ("monitor", watching::monitor(true).render().unwrap()),
        ("monitor-empty", watching::monitor(false).render().unwrap()),
        ("incidents", watching::incidents(true).render().unwrap()),
        ("incidents-empty", watching::incidents(false).render().unwrap()),
        ("incident", watching::incident().render().unwrap()),
        ("prediction", prediction(true).render().unwrap()),
        ("prediction-gaps", prediction(false).render().unwrap()),
        ("logged-predictions", logged_predictions(50, false).render().unwrap()),
        ("logged-predictions-none-so-far", logged_predictions(0, true).render().unwrap()),
        ("logged-predictions-empty", logged_predictions(0, false).render().unwrap()),
        ("find-prediction", find_prediction().render().unwrap()),
        ("ledger", ledger(true).render().unwrap()),
        ("ledger-empty", ledger(false).render().unwrap()),
        ("ledger-failing", ledger_failing().render().unwrap()),
        ("event", event_page(false).render().unwrap()),
        ("event-erased", event_page(true).render().unwrap()),
        ("search", search(true).render().unwrap()),
        ("search-empty", search(false).render().unwrap()),
        ("settings-projects", settings("projects", true).render().unwrap()),
        ("settings-projects-empty", settings("projects", false).render().unwrap()),
        ("settings-users", settings("users", true).render().unwrap()),
        ("settings-users-empty", settings("users", false).render().unwrap()),
        ("settings-roles", settings("roles", true).render().unwrap()),
        ("settings-roles-empty", settings("roles", false).render().unwrap()),
        ("settings-tokens", settings("tokens", true).render().unwrap()),
        ("settings-tokens-empty", settings("tokens", false).render().unwrap()),
        ("settings-storage", settings("storage", true).render().unwrap()),
        ("settings-storage-empty", settings("storage", false).render().unwrap()),
        ("error", error(true).render().unwrap()),
        ("error-outside", error(false).render().unwrap()),
        ("sign-in", sign_in(false).render().unwrap()),
        ("sign-in-failed", sign_in(true).render().unwrap()),
    ]
}
