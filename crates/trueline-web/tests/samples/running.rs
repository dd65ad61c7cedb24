//! A run, with and without what a run can have.

use super::{URI, ago, charts, hash, shell, to};
use trueline_web::console::Stretch;
use trueline_web::links::FilesOf;
use trueline_web::pages::*;
use trueline_web::parts::{Badge, Lineage, Pair, Reference, TagChange, TagRow};
use trueline_web::{Section, ViewUrl};

fn change(value: Option<&str>, seconds: i64) -> TagChange {
    TagChange {
        value: value.map(ToOwned::to_owned),
        by: "ann".into(),
        at: ago(seconds),
        event: to().event_by_id("e"),
    }
}

fn console() -> Console {
    let line = |class: &str, text: &str| Stretch { class: class.into(), text: text.into() };
    Console {
        files: vec!["output.log".into(), "logs/eval.log".into()],
        path: "output.log".into(),
        size: 48_230,
        version: hash(3),
        text: vec![line("", "epoch 1\n"), line("ansi-red ansi-bold", "loss is NaN\n")],
        is_cut: true,
    }
}

fn sections(run: &str, tab: RunTab) -> Vec<ChartSection> {
    let keys: &[&str] = match tab {
        RunTab::System => &["system/cpu_utilization_percentage", "system/gpu_0/memory_usage_megabytes"],
        _ => &["val/auc", "val/logloss", "train/logloss", "latency_ms"],
    };
    let charts = charts(keys, &[run]).into_iter().zip(keys);
    let charts = charts.map(|(chart, key)| MetricChart { key: (*key).into(), hidden: false, chart });
    ChartSection::sort(charts.collect(), &["train"])
}

pub fn run(full: bool, tab: RunTab) -> RunPage {
    let id = hash(100)[..32].to_owned();
    let mut shell = shell(
        "brisk-owl-412",
        Section::Experiments,
        &[("Experiments", to().experiments()), ("churn-training", to().experiment("12"))],
    );
    shell.as_cli = Some(format!("trueline run show {id}"));
    shell.as_api = Some(format!("{URI}/api/v1/runs/{id}"));
    let word = if tab == RunTab::Overview { "" } else { tab.as_str() };
    let entry = |name: &str, size: Option<u64>| ArtifactEntry {
        name: name.into(),
        path: format!("model/{name}"),
        is_dir: size.is_none(),
        size,
        sha256: size.map(hash),
    };
    let metric = |key: &str, value: f64, step| MetricRow { key: key.into(), value, step, at: ago(700) };
    RunPage {
        shell,
        view: ViewUrl::new(to().run(&id), [("tab", word)]),
        name: "brisk-owl-412".into(),
        status: Badge::state(if full { "FINISHED" } else { "RUNNING" }),
        deleted: false,
        experiment: Reference::to("experiment", "churn-training", to().experiment("12")),
        created_by: "user:ci-churn".into(),
        claimed_user: "runner".into(),
        started_at: Some(ago(1_870)),
        duration_ms: full.then_some(1_215_300),
        source: if full { "train.py @ 4f2a9c1".into() } else { String::new() },
        note: full.then(|| TagRow {
            key: "mlflow.note.content".into(),
            value: Some("Weekly retraining after the price change of May; one more month of tickets.".into()),
            history: vec![change(Some("Weekly retraining"), 900)],
        }),
        parent: full.then(|| Reference::to("run", "weekly", to().run("w"))),
        children: if full {
            vec![RunLine {
                run: Reference::to("run", "fold-1", to().run("f")),
                status: Badge::state("FINISHED"),
                started_at: Some(ago(1_800)),
                duration_ms: Some(61_000),
            }]
        } else {
            vec![]
        },
        more_children: full.then(|| to().experiment("12")),
        models: if full {
            vec![ModelMade {
                id: format!("m-{}", &hash(12)[..32]),
                name: "churn".into(),
                kind: "model".into(),
                status: Badge::state("READY"),
                step: 1199,
                versions: vec![Reference::to("version", "churn/3", to().version("churn", "3"))],
            }]
        } else {
            vec![]
        },
        traces: full.then(|| to().traces_of_run("12", "r")),
        has_console: full,
        console: if full && tab == RunTab::Console { console() } else { Console::default() },
        tab,
        live: (!full).then(|| Live {
            url: to().run_live(&id, tab.as_str(), ""),
            version: hash(9)[..24].to_owned(),
            versions: "{}".into(),
        }),
        choices: ChartChoices { axis: tab.usual_axis(), smooth: 0.6, ..ChartChoices::default() },
        has_system: full,
        params: if full {
            [
                ("booster", "gbtree"),
                (
                    "features",
                    "core,usage_30d,support_tickets,billing_delta,contract_age,plan,region,device,referrer",
                ),
                ("learning_rate", "0.05"),
                ("max_depth", "6"),
                ("model", "xgboost"),
                ("n_estimators", "1200"),
                ("seed", "17"),
                ("subsample", "0.8"),
            ]
            .map(|(k, v)| Pair::new(k, v))
            .to_vec()
        } else {
            vec![]
        },
        metrics: if full {
            vec![
                metric("latency_ms", 4.2, 0),
                metric("train_logloss", 0.180_44, 1199),
                metric("val_auc", 0.923_417_31, 1199),
                metric("val_brier", 0.000_061_2, 1199),
                metric("val_f1", 0.8012, 1199),
                metric("val_logloss", 0.211_03, 1199),
            ]
        } else {
            vec![]
        },
        tags: if full {
            let tag = |key: &str, value: &str| TagRow {
                key: key.into(),
                value: Some(value.into()),
                history: vec![change(Some(value), 600), change(None, 700), change(Some("other"), 800)],
            };
            let gone = TagRow { key: "old".into(), value: None, history: vec![change(None, 500)] };
            vec![
                tag("git.branch", "main"),
                tag("mlflow.source.name", "train.py"),
                tag("team", "retention"),
                gone,
            ]
        } else {
            vec![]
        },
        sections: if full && tab.is_charts() { sections(&id, tab) } else { vec![] },
        inputs: if full {
            vec![
                DatasetInput {
                    name: "customers-2026-05".into(),
                    digest: format!("sha256:{}", hash(5)),
                    context: "training".into(),
                    source: "s3://lake/customers/2026-05/*.parquet".into(),
                    runs: to().experiment("12"),
                },
                DatasetInput {
                    name: "customers-holdout".into(),
                    digest: format!("sha256:{}", hash(6)),
                    context: "validation".into(),
                    source: "s3://lake/customers/holdout.parquet".into(),
                    runs: to().experiment("12"),
                },
            ]
        } else {
            vec![]
        },
        artifacts: if full {
            ArtifactListing {
                parents: vec![("model".into(), "model".into())],
                entries: vec![
                    entry("metadata", None),
                    entry("MLmodel", Some(1_204)),
                    entry("conda.yaml", Some(302)),
                    entry("model.ubj", Some(48_230_114)),
                    entry("requirements.txt", Some(118)),
                ],
                truncated: false,
                open: None,
                elsewhere: None,
            }
        } else {
            ArtifactListing::default()
        },
        lineage: if full {
            Lineage {
                from: vec![
                    Reference::named("code", "retention/churn @ 4f2a9c1"),
                    Reference::named("dataset version", "customers-2026-05"),
                    Reference::named("dataset version", "customers-holdout"),
                ],
                made: vec![
                    Reference::named("logged model", "m-8c1f20aa"),
                    Reference::to("model version", "churn 7", to().version("churn", "7")),
                ],
            }
        } else {
            Lineage::default()
        },
        id,
    }
}

/// A run with a file that is open.
pub fn run_with_open(preview: Preview) -> RunPage {
    let mut page = run(true, RunTab::Artifacts);
    page.artifacts.open = Some(OpenFile {
        name: "scores.csv".into(),
        path: "model/scores.csv".into(),
        download: to().artifact(FilesOf::Run("r"), "model/scores.csv"),
        size: 48_230,
        sha256: Some(hash(11)),
        preview,
    });
    page
}

/// A table of two columns.
pub fn table() -> Preview {
    let rows =
        vec![vec!["why is it late?".into(), "0.52".into()], vec!["when does it land?".into(), String::new()]];
    Preview::Table { columns: vec!["question".into(), "score".into()], rows, more: true }
}
