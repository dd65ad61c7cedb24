//! Registered models, their versions, and models as runs logged them.

use super::{HOSTILE, ago, hash, shell, to};
use trueline_web::pages::*;
use trueline_web::parts::{Badge, Lineage, Pair, Reference, TagRow, Tone};
use trueline_web::{Section, ViewUrl};

fn signature() -> Signature {
    let field =
        |name: &str, kind: &str, optional: bool| Field { name: name.into(), kind: kind.into(), optional };
    Signature {
        inputs: vec![
            field("age_of_contract_d", "long", false),
            field("usage_30d", "double", false),
            field("tickets_90d", "long", true),
            field("plan", "string", false),
        ],
        outputs: vec![field("", "tensor(float32, [-1])", false)],
        params: vec![],
    }
}

fn model_id() -> String {
    format!("m-{}", &hash(12)[..32])
}

fn source_run() -> Reference {
    Reference::to("run", "brisk-owl-412", to().run("r"))
}

pub fn logged_models(full: bool) -> LoggedModelsPage {
    let row = |ready: bool, auc: Option<f64>| LoggedModelRow {
        id: model_id(),
        name: "churn".into(),
        status: Badge::state(if ready { "READY" } else { "UPLOAD_FAILED" }),
        kind: if ready { "agent".into() } else { String::new() },
        run: Some(source_run()),
        versions: if ready {
            vec![Reference::to("version", "churn/3", to().version("churn", "3"))]
        } else {
            vec![]
        },
        metrics: vec![auc, Some(0.31)],
        created_at: ago(700),
    };
    let models = if full { vec![row(true, Some(0.912_345)), row(false, None)] } else { vec![] };
    LoggedModelsPage {
        shell: shell("Logged models", Section::Experiments, &[("Experiments", to().experiments())]),
        view: ViewUrl::new(to().logged_models("12"), [("sort", "-metrics.val/auc")]),
        experiment: Reference::to("experiment", "churn-training", to().experiment("12")),
        filter_problem: full.then(|| "It can't be read.".into()),
        metrics: vec!["val/auc".into(), "val/logloss".into()],
        pager: Pager { rows: models.len(), noun: "model", next_cursor: None },
        models,
    }
}

pub fn logged_model(full: bool) -> LoggedModelPage {
    let metric = |key: &str, dataset: Option<(String, String)>| ModelMetricRow {
        key: key.into(),
        value: 0.912_345,
        step: 1199,
        dataset,
        run: source_run(),
    };
    let tag = TagRow { key: "team".into(), value: Some(HOSTILE.into()), history: vec![] };
    LoggedModelPage {
        shell: shell("churn", Section::Experiments, &[("Experiments", to().experiments())]),
        view: ViewUrl::new(to().logged_model(&model_id()), [("tab", "")]),
        id: model_id(),
        name: "churn".into(),
        status: Badge::state(if full { "READY" } else { "PENDING" }),
        kind: if full { "agent".into() } else { String::new() },
        experiment: Reference::to("experiment", "churn-training", to().experiment("12")),
        run: full.then(source_run),
        versions: if full {
            vec![Reference::to("version", "churn/3", to().version("churn", "3"))]
        } else {
            vec![]
        },
        created_by: "user:ann".into(),
        created_at: ago(700),
        updated_at: ago(600),
        flavours: if full { vec!["xgboost".into(), "python_function".into()] } else { vec![] },
        signature: full.then(signature),
        params: if full { vec![Pair::new("depth", "6")] } else { vec![] },
        metrics: if full {
            vec![metric("val/auc", Some(("customers".into(), hash(5)))), metric("val/logloss", None)]
        } else {
            vec![]
        },
        note: full.then(|| TagRow { value: Some("The smaller one.".into()), ..tag.clone() }),
        tags: if full { vec![tag] } else { vec![] },
        artifacts: None,
        lineage: if full { Lineage { from: vec![source_run()], made: vec![] } } else { Lineage::default() },
    }
}

pub fn logged_model_artifacts() -> LoggedModelPage {
    let file = |name: &str, size: u64| ArtifactEntry {
        name: name.into(),
        path: name.into(),
        is_dir: false,
        size: Some(size),
        sha256: Some(hash(size)),
    };
    let entries = vec![file("MLmodel", 1_204), file("model.ubj", 48_230_114)];
    LoggedModelPage {
        view: ViewUrl::new(to().logged_model(&model_id()), [("tab", "artifacts")]),
        artifacts: Some(ArtifactListing { entries, ..ArtifactListing::default() }),
        ..logged_model(true)
    }
}

pub fn models(full: bool) -> ModelsPage {
    let alias = |a: &str, v: &str| AliasRow { alias: a.into(), version: v.into() };
    let models = if full {
        vec![
            ModelRow {
                name: "churn".into(),
                description: "Probability that a customer leaves within 60 days".into(),
                latest: Some("8".into()),
                aliases: vec![alias("champion", "7"), alias("challenger", "8")],
                updated_at: ago(4),
            },
            ModelRow {
                name: "uplift".into(),
                description: String::new(),
                latest: Some("2".into()),
                aliases: vec![alias("champion", "2")],
                updated_at: ago(1_100_000),
            },
            ModelRow {
                name: "ticket/topic-classifier".into(),
                description: "Routes a support ticket".into(),
                latest: None,
                aliases: vec![],
                updated_at: ago(8_000_000),
            },
        ]
    } else {
        vec![]
    };
    ModelsPage {
        shell: shell("Models", Section::Models, &[]),
        view: ViewUrl::new(to().models(), [("sort", "-updated_at")]),
        pager: Pager { rows: models.len(), noun: "model", next_cursor: None },
        models,
    }
}

pub fn model(full: bool) -> ModelPage {
    let states = [
        "PENDING_REGISTRATION",
        "READY",
        "DIVERGED",
        "READY",
        "FAILED_REGISTRATION",
        "READY",
        "READY",
        "READY",
    ];
    let versions: Vec<_> = (0..if full { 8_usize } else { 0 })
        .map(|i| VersionRow {
            version: (8 - i).to_string(),
            state: Badge::state(states[i]),
            release: (i < 4).then(|| Badge::new(Tone::Good, "Releasable")),
            aliases: match i {
                0 => vec!["challenger".into()],
                1 => vec!["champion".into()],
                _ => vec![],
            },
            run: Some(Reference::to("run", format!("brisk-owl-{}", 415 - i * 3), to().run("r"))),
            size: (i != 0 && i != 4).then_some(48_230_114 - i as u64 * 1_200_000),
            digest: (i != 0 && i != 4).then(|| format!("sha256:{}", hash(i as u64 + 40))),
            created_by: "user:ci-churn".into(),
            created_at: ago(31 + i as i64 * 604_800),
        })
        .collect();
    ModelPage {
        shell: shell("churn", Section::Models, &[("Models", to().models())]),
        view: ViewUrl::new(to().model("churn"), [("", "")]),
        name: "churn".into(),
        description: "Probability that a customer leaves within 60 days.".into(),
        created_at: ago(9_000_000),
        updated_at: ago(4),
        aliases: if full {
            vec![
                AliasRow { alias: "champion".into(), version: "7".into() },
                AliasRow { alias: "challenger".into(), version: "8".into() },
            ]
        } else {
            vec![]
        },
        pager: Pager { rows: versions.len(), noun: "version", next_cursor: None },
        versions,
        policy: full.then(|| PolicyCard {
            aliases: vec!["champion".into(), "production".into()],
            approvals: "2 reviewers who did not make the version, for 30 days".into(),
            gates: vec![("auc".into(), "val_auc is at least 0.7".into())],
            declared_by: "user:ada".into(),
            declared_at: ago(1_200_000),
        }),
        tags: if full { vec![Pair::new("owner", "retention"), Pair::new("risk", "medium")] } else { vec![] },
    }
}

pub fn release() -> Release {
    let gate = |name: &str, asks: &str, state: &str, value: Option<f64>, bound: f64, unit| GateLine {
        name: name.into(),
        asks: asks.into(),
        state: Badge::state(state),
        value,
        bound: value.map(|_| bound),
        unit,
        champion: (name == "no worse").then(|| "6".into()),
        reason: format!("{name}: told with its numbers"),
    };
    Release {
        state: Badge::new(Tone::Wait, "Not releasable"),
        missing: vec![
            "it has 1 of 2 approvals (that of sam does not count: the policy was changed since)".into(),
        ],
        gates: vec![
            gate("auc", "val_auc is at least 0.7", "passed", Some(0.912_345), 0.7, ""),
            gate(
                "no worse",
                "val_auc is lower than the champion's by 0.01 at most",
                "failed",
                Some(-0.02),
                -0.01,
                "",
            ),
            gate("fast", "quantile 0.99 of 200 requests is at most 5 ms", "passed", Some(0.41), 5.0, "ms"),
            gate("schema", "whoever calls the champion can call it", "stale", None, 0.0, ""),
        ],
        judged: Some((ago(300), "ci-churn".into())),
        may_judge: true,
        approved: 1,
        required: 2,
        decisions: vec![
            DecisionRow {
                by: "rita".into(),
                decision: Badge::state("approved"),
                at: ago(200),
                until: ago(-2_000_000),
                lapsed: None,
                comment: "Checked the slices of small plans.".into(),
            },
            DecisionRow {
                by: "sam".into(),
                decision: Badge::state("approved"),
                at: ago(90_000),
                until: ago(-1_900_000),
                lapsed: Some("the policy was changed since".into()),
                comment: String::new(),
            },
        ],
        form: DecisionForm::Open { decided: false },
    }
}

pub fn version(full: bool) -> VersionPage {
    let file = |path: &str, size: u64| FrozenFile { path: path.into(), size, sha256: hash(size) };
    VersionPage {
        shell: shell(
            "churn version 7",
            Section::Models,
            &[("Models", to().models()), ("churn", to().model("churn"))],
        ),
        model: "churn".into(),
        version: "7".into(),
        state: Badge::state(if full { "READY" } else { "PENDING_REGISTRATION" }),
        state_reason: String::new(),
        diverged: full,
        release: full.then(release),
        description: if full {
            "Trained on data to the end of May, with support tickets.".into()
        } else {
            String::new()
        },
        aliases: if full { vec!["champion".into()] } else { vec![] },
        created_by: "user:ci-churn".into(),
        created_at: ago(611),
        run: full.then(|| Reference::to("run", "brisk-owl-412", to().run("r"))),
        flavours: if full { vec!["xgboost".into(), "python_function".into()] } else { vec![] },
        manifest: full.then(|| Manifest {
            digest: format!("sha256:{}", hash(41)),
            size: 48_231_738,
            files: vec![
                file("MLmodel", 1_204),
                file("conda.yaml", 302),
                file("model.ubj", 48_230_114),
                file("requirements.txt", 118),
            ],
        }),
        signature: full.then(signature),
        tags: if full {
            vec![Pair::new("validated_by", "nightly"), Pair::new("region", "eu")]
        } else {
            vec![]
        },
        lineage: if full {
            Lineage {
                from: vec![
                    Reference::to("run", "brisk-owl-412", to().run("r")),
                    Reference::to("experiment", "churn-training", to().experiment("12")),
                    Reference::named("dataset version", "customers-2026-05"),
                ],
                made: vec![Reference::to("alias", "@champion of churn", to().model("churn"))],
            }
        } else {
            Lineage::default()
        },
    }
}
