//! Rollouts, monitors and incidents.

use super::{ago, hash, shell, to};
use trueline_web::Section;
use trueline_web::pages::*;
use trueline_web::parts::{Badge, Reference, Spark, Tone};

fn auc() -> Spark {
    Spark::new("AUC by window", &[Some(0.84), Some(0.83), None, Some(0.79)], Some(0.8))
}

pub fn watched() -> Watched {
    let state = Badge::new(Tone::Bad, "2 alerts fire");
    Watched { state, href: to().monitor("churn-inputs"), quality: auc(), auc: None }
}

fn version(number: &str) -> Reference {
    Reference::to("version", format!("churn {number}"), to().version("churn", number))
}

pub fn bandit() -> BanditPart {
    let arm = |number: &str, share: &str, mean: &str, interval: &str, best: &str| BanditArm {
        version: version(number),
        name: format!("churn/{number}"),
        share: share.into(),
        rewards: 1_200,
        mean: mean.into(),
        interval: interval.into(),
        best: best.into(),
    };
    let decision = |word: &str, shares: &str, reason: &str| BanditDecisionRow {
        decision: Badge::new(Tone::Busy, word),
        shares: shares.into(),
        reason: reason.into(),
        by: "the bandit".into(),
        at: ago(60_000),
    };
    BanditPart {
        shell: shell("churn-score", Section::Endpoints, &[]),
        endpoint: "churn-score".into(),
        id: hash(9)[..32].to_owned(),
        state: Badge::new(Tone::Busy, "Running"),
        open: true,
        can_stop: true,
        rewarded: "for right predictions".into(),
        arms: vec![
            arm("6", "8.25 %", "0.61", "0.55 to 0.66", "1.2 %"),
            arm("7", "91.75 %", "0.7", "0.66 to 0.74", "98.8 %"),
        ],
        started_by: "ann".into(),
        started_at: ago(900_000),
        ends_at: ago(-900_000),
        read_to: Some(ago(90_000)),
        not_counted: "12 predictions without a label in time".into(),
        confidence: "95".into(),
        decisions: vec![
            decision("Allotted", "8.25 / 91.75 %", "churn/6: mean 0.6100 of 1200, best with 1.2 %"),
            decision("Started", "50 / 50 %", ""),
        ],
    }
}

pub fn rollout() -> RolloutPart {
    let check = |name: &str, says: Badge, candidate: &str| RolloutCheck {
        name: name.into(),
        candidate: candidate.into(),
        baseline: "0.301 to 0.323".into(),
        effect: "0.106 to 0.223".into(),
        allowed: "± 0.03".into(),
        evidence: "7,990".into(),
        says,
    };
    let step = |share: &str, state: Badge, takes: &str| RolloutStep {
        share: share.into(),
        state,
        takes: takes.into(),
    };
    RolloutPart {
        shell: shell("churn-score", Section::Endpoints, &[]),
        endpoint: "churn-score".into(),
        id: hash(4)[..32].to_owned(),
        state: Badge::new(Tone::Busy, "Running"),
        open: true,
        candidate: version("7"),
        baseline: "churn 6".into(),
        steps: vec![
            step("10 %", Badge::new(Tone::Busy, "Now"), "at least 100 requests and 1 min"),
            step("100 %", Badge::new(Tone::Quiet, "Ahead"), ""),
        ],
        started_by: "ann".into(),
        started_at: ago(300_000),
        ends_at: ago(-300_000),
        numbers: Some(RolloutNumbers {
            at: ago(1_000),
            candidate: 282,
            baseline: 2_649,
            unreadable_batches: 2,
            p_value: "0.000125".into(),
            alpha: "0.05".into(),
            checks: vec![
                check("Mean prediction", Badge::new(Tone::Bad, "Harm"), "0.429 to 0.508"),
                check("Failed requests", Badge::new(Tone::Wait, "Not clear yet"), "≤ 1.5 %"),
            ],
            shadow: Some(RolloutShadow {
                asked: 1_204,
                failed: 1,
                shed: 12,
                rows: 1_203,
                rows_differing: 31,
                largest: "0.212".into(),
                latency: "p95 2.1 to 2.6 ms beside 1.9 to 2.4 ms".into(),
                example: Some(Reference::to("prediction", "01", to().prediction("01"))),
                failure: Some((
                    Reference::to("prediction", "02", to().prediction("02")),
                    "it fell over".into(),
                )),
            }),
            labels: Some("118 of the candidate, 1,012 of the baseline, 3 left out".into()),
        }),
        decisions: vec![RolloutDecisionRow {
            decision: Badge::new(Tone::Busy, "Started"),
            share: "10 %".into(),
            reason: "a first look at 7".into(),
            by: "ann".into(),
            at: ago(300_000),
        }],
        earlier: vec![RolloutRow {
            candidate: version("5"),
            state: Badge::new(Tone::Bad, "Rolled back"),
            reason: "the p95 latency is too high".into(),
            by: "ann".into(),
            at: ago(90_000_000),
        }],
        can_decide: true,
    }
}

pub fn monitors() -> MonitorsPage {
    MonitorsPage {
        shell: shell("Monitors", Section::Monitors, &[]),
        monitors: vec![MonitorRow {
            name: "churn-inputs".into(),
            endpoint: "churn-score".into(),
            state: Badge::new(Tone::Bad, "2 alerts fire"),
            quality: auc(),
            auc: None,
            window_ms: 604_800_000,
            newest: Some(ago(604_800_000)),
            created_by: "ann".into(),
            created_at: ago(900_000_000),
        }],
    }
}

pub fn monitor(full: bool) -> MonitorPage {
    let feature = |name: &str, psi: f64, shown: bool| FeatureDrift {
        name: name.into(),
        state: if psi > 0.1 { Badge::new(Tone::Bad, "Drifted") } else { Badge::new(Tone::Good, "As learnt") },
        psi: Spark::new(name, &[Some(0.01), Some(psi)], Some(0.1)),
        newest: Some(psi),
        level: Some(0.1),
        missing_percent: None,
        href: format!("{}?feature={name}", to().monitor("churn-inputs")),
        shown,
    };
    let window = |quality: &str, beyond: &[&str]| WindowRow {
        start: ago(1_209_600_000),
        end: ago(604_800_000),
        state: Badge::new(Tone::Quiet, "Closed"),
        predictions: 6_518,
        labelled_percent: None,
        quality: [quality, quality, quality].map(str::to_owned),
        beyond: beyond.iter().map(|b| (*b).to_owned()).collect(),
    };
    MonitorPage {
        shell: shell("churn-inputs", Section::Monitors, &[("Monitors", to().monitors())]),
        name: "churn-inputs".into(),
        state: Badge::new(Tone::Bad, "2 alerts fire"),
        endpoint: "churn-score".into(),
        window_ms: 604_800_000,
        reference: "the first complete window, of 962 predictions".into(),
        incident: full.then(|| hash(6)[..32].to_owned()),
        charts: match full {
            true => vec![Chart {
                title: "AUC".into(),
                unit: None,
                series: vec![ChartSeries {
                    name: "AUC".into(),
                    url: to().monitor_series("churn-inputs", "quality:auc"),
                }],
                small: false,
                last: Some(0.79),
            }],
            false => vec![],
        },
        axis: Axis::Time,
        features: if full {
            vec![feature("tenure", 0.31, true), feature("plan", 0.02, false)]
        } else {
            vec![]
        },
        windows: match full {
            true => vec![window("unknown", &["drift of tenure", "a", "b", "c"]), window("0.79", &[])],
            false => vec![],
        },
    }
}

fn row(open: bool) -> IncidentRow {
    IncidentRow {
        id: hash(6)[..32].to_owned(),
        endpoint: "churn-score".into(),
        state: if open { Badge::new(Tone::Bad, "Open") } else { Badge::new(Tone::Good, "Resolved") },
        firing: u64::from(open) * 2,
        opened_at: ago(7_200_000),
        resolved: (!open).then(|| (ago(3_600_000), "ann".to_owned())),
    }
}

pub fn incidents(full: bool) -> IncidentsPage {
    IncidentsPage {
        shell: shell("Incidents", Section::Incidents, &[]),
        incidents: if full { vec![row(true), row(false)] } else { vec![] },
    }
}

pub fn incident() -> IncidentPage {
    let line = |kind: Badge, words: &str, alerts: &[(&str, &str)]| StoryLine {
        at: ago(7_000_000),
        kind,
        actor: "system:monitoring".into(),
        words: words.into(),
        window: (!alerts.is_empty()).then(|| ago(604_800_000)),
        alerts: alerts.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect(),
    };
    IncidentPage {
        shell: shell("Incident on churn-score", Section::Incidents, &[("Incidents", to().incidents())]),
        incident: row(true),
        story: vec![
            line(
                Badge::new(Tone::Bad, "Firing"),
                "2 alerts began",
                &[("drift of tenure", "0.31"), ("AUC", "0.79")],
            ),
            line(Badge::new(Tone::Warn, "Rolled back"), "Now answering: churn/6. Why: it is too slow", &[]),
            line(Badge::new(Tone::Quiet, "Note"), "The import of Monday was late.", &[]),
        ],
        firing: vec![("drift of tenure".into(), "0.31".into(), "0.1".into())],
    }
}
