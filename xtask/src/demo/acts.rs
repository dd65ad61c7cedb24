//! The acts, in order. Each fails loudly when something did not go as it is told.

use super::operator::{self, Outcome};
use super::replay::{self, ENDPOINT, Part, Parts, Served, UNTOUCHED};
use super::stage::Stage;
use super::{MODEL, release};
use crate::shell;
use anyhow::{Context, ensure};
use serde_json::Value;
use std::process::Command;
use std::time::{Duration, Instant};

const VIEWS: [&str; 5] = ["weather", "weather_metric", "planes", "route_rates", "carrier_rates"];
/// The views of the candidate whose weather comes in degrees Celsius, though it learnt from Fahrenheit.
const SPOILED: &str = "weather_metric@1, planes@1, route_rates@1, carrier_rates@1";
/// Where the replay begins; what was known before it, the first model learns from.
const FIRST: &str = "2013-05-01";
const FIRST_DAYS: Part = Part { from: FIRST, until: "2013-05-03", speed: "max" };
/// Those of the spoiled candidate's canary, a day a second.
const CANARY: Part = Part { from: "2013-05-03", until: "2013-05-08", speed: "86400x" };
/// Training again takes seconds, of which each is most of a day: the summer goes slower than the rest. The last hours of the
/// year in New York are the first of the next in UTC.
const SUMMER: Part = Part { from: "2013-05-08", until: "2013-09-01", speed: "72000x" };
const AUTUMN: Part = Part { from: "2013-09-01", until: "2014-01-02", speed: "140000x" };
/// The months in which training again is to show: before, no new version has answered long enough; and November and
/// December resemble the first model's winter more than the summer that later ones learnt from.
const MONTHS: [&str; 4] = ["2013-07", "2013-08", "2013-09", "2013-10"];

pub(super) fn play(stage: &mut Stage) -> anyhow::Result<()> {
    let mut served = Served::default();
    stage.act(
        1,
        "what the repository declares is made; 336,776 real flights become tables that say when each row was known",
    );
    stage.trueline(&["apply"])?;
    prepare(stage)?;
    stage.act(2, "tables become dataset versions; features are joined as of each question");
    stage.own("sh", &["training_set.sh", "data", "training"])?;
    stage.act(
        3,
        "a model is trained on January to March, as a captured run; a second one is spoiled on purpose",
    );
    train(stage)?;
    stage.act(4, "no endpoint takes it before its gates have passed and a reviewer has agreed");
    judge(stage)?;
    stage.act(5, "it answers the first flights of May, with features and labels as they became known");
    deploy(stage)?;
    served.add(&replay::start(stage, FIRST_DAYS)?.finish()?)?;
    stage.act(6, "the spoiled candidate passes every gate; its canary is taken off by the statistics");
    canary(stage, &mut served)?;
    stage.act(7, "the rest of the year begins; a person deploys it all the same, and rolls back");
    let mut rest = Parts::start(stage, &[SUMMER, AUTUMN], &mut served)?;
    roll_back(stage)?;
    stage.act(8, "the season drifts away, an alert has the model trained again, and it takes over");
    let handled = operator::operate(stage, &mut rest, 2)?;
    stage.act(9, "what was seen, and what was done about it");
    look_back(stage)?;
    stage.act(10, "how one prediction came about");
    trace(stage)?;
    stage.act(11, "the ledger is checked offline, on a copy of the data");
    verify(stage)?;
    stage.act(12, "the year in numbers: what was answered, and what the first model would have answered");
    compare(stage)?;
    sum_up(stage, &served, &handled)?;
    ensure!(served.failed == 0, "{} requests failed", served.failed);
    println!("Every act went as told, in {:.0} s.", stage.seconds());
    Ok(())
}

fn prepare(stage: &Stage) -> anyhow::Result<()> {
    let mut later = stage.command("python", &["prepare.py", "--out", "replay", "--from", FIRST])?;
    let mut later = later.spawn().context("python")?;
    stage.own("python", &["prepare.py", "--out", "data", "--until", FIRST])?;
    ensure!(later.wait()?.success(), "the tables of the replay were not made");
    Ok(())
}

fn train(stage: &Stage) -> anyhow::Result<()> {
    let script = [
        "run",
        "--experiment",
        "flights",
        "--input",
        "training/data.csv",
        "--",
        "python",
        "train.py",
        "--table",
        "training/data.csv",
        "--until",
        FIRST,
    ];
    stage.trueline(&script)?;
    stage.own(
        "python",
        &["train.py", "--table", "training/data.csv", "--until", FIRST, "--seed", "8", "--views", SPOILED],
    )
}

fn judge(stage: &Stage) -> anyhow::Result<()> {
    let first = format!("{MODEL}/1");
    println!("refused: {}", stage.refused(&["endpoint", "deploy", ENDPOINT, &first])?);
    release::approve(stage, &first, "validated on April")?;
    release::crown(stage, &first)
}

fn deploy(stage: &Stage) -> anyhow::Result<()> {
    for view in VIEWS {
        stage.trueline(&["features", "materialize", view])?;
    }
    stage.trueline(&["endpoint", "create", UNTOUCHED])?;
    let first = format!("{MODEL}/1");
    for endpoint in [ENDPOINT, UNTOUCHED] {
        stage.trueline(&["endpoint", "deploy", endpoint, &first, "--reason", "the first model"])?;
    }
    Ok(())
}

fn canary(stage: &Stage, served: &mut Served) -> anyhow::Result<()> {
    let second = format!("{MODEL}/2");
    release::approve(stage, &second, "as good as the champion on April")?;
    release::start_rollout(stage, &second, "20,50", "0.03")?;
    let replay = replay::start(stage, CANARY)?;
    let ended = release::expect_end(stage, "rolled_back");
    served.add(&replay.finish()?)?;
    ended?;
    let answers = stage.json(&["endpoint", "show", ENDPOINT])?;
    let now = &answers["endpoint"]["route"]["variants"][0]["version"];
    ensure!(*now == format!("{MODEL}/1"), "{now} answers after the rollout");
    Ok(())
}

fn roll_back(stage: &Stage) -> anyhow::Result<()> {
    // The tables of the year are read first.
    std::thread::sleep(Duration::from_secs(3));
    stage.trueline(&["endpoint", "deploy", ENDPOINT, &format!("{MODEL}/2"), "--reason", "a second look"])?;
    std::thread::sleep(Duration::from_secs(1));
    let began = Instant::now();
    stage.trueline(&["rollback", ENDPOINT, "--reason", "its answers are too high"])?;
    println!("rolled back in {} ms, the command's own start included", began.elapsed().as_millis());
    Ok(())
}

fn look_back(stage: &Stage) -> anyhow::Result<()> {
    stage.trueline(&["monitor", "show", ENDPOINT])?;
    stage.trueline(&["incident", "list"])?;
    let incidents = stage.json(&["incident", "list"])?;
    let first = incidents["incidents"].as_array().and_then(|all| all.last()).context("no incident")?;
    let id = first["id"].as_str().context("its id")?;
    stage.trueline(&[
        "incident",
        "note",
        id,
        "The season has changed; models are trained again as it does.",
    ])?;
    stage.trueline(&["incident", "show", id])?;
    stage.trueline(&["pipeline", "show", "retrain"])
}

/// AUC by month of both endpoints, by the example's own script.
fn compare(stage: &Stage) -> anyhow::Result<()> {
    let parts = [FIRST_DAYS, CANARY, SUMMER, AUTUMN].map(|part| replay::file(part.from));
    let mut script =
        stage.command("python", &["months.py", "--truth", "replay/flights.csv", "--json", "months.json"])?;
    shell::run(script.args(&parts))?;
    let months: Value = serde_json::from_slice(&std::fs::read(stage.repository().join("months.json"))?)?;
    let mean = |endpoint: &str| {
        let auc = |month| months[month]["endpoints"][endpoint]["auc"].as_f64();
        let sum: Option<f64> = MONTHS.iter().map(auc).sum();
        anyhow::Ok(sum.context("an AUC of each month")? / 4.0)
    };
    let (cared_for, untouched) = (mean(ENDPOINT)?, mean(UNTOUCHED)?);
    println!("mean AUC, July to October: {cared_for:.3} with training again, {untouched:.3} without");
    ensure!(cared_for > untouched, "training again did not show");
    Ok(())
}

fn trace(stage: &Stage) -> anyhow::Result<()> {
    let lines = std::fs::read_to_string(stage.repository().join(format!("predictions-{FIRST}.jsonl")))?;
    let line: Value = serde_json::from_str(lines.lines().nth(100).context("a hundred predictions")?)?;
    stage.trueline(&["trace", line["prediction_id"].as_str().context("an id")?])
}

fn verify(stage: &Stage) -> anyhow::Result<()> {
    let key = stage.command("trueline", &["ledger", "key"])?.output()?;
    let key = String::from_utf8(key.stdout)?.trim().to_owned();
    std::thread::sleep(Duration::from_secs(1));
    let copy = tempfile::tempdir()?;
    // What is told comes after what tells it, since the server goes on writing.
    for part in ["ledger", "trueline.db", "trueline.db-wal", "predictions"] {
        let from = stage.data_dir().join(part);
        if from.exists() {
            shell::run(Command::new("cp").arg("-r").arg(from).arg(copy.path()))?;
        }
    }
    let folder = copy.path().to_str().context("a path")?;
    stage.trueline(&["ledger", "verify", "--key", &key, "--data-dir", folder, "--state"])?;
    let entries = copy.path().join("ledger/tile/entries");
    let full = entries.join("000");
    let bundle = match full.exists() {
        true => full,
        false => std::fs::read_dir(entries.join("000.p"))?.next().context("an entry bundle")??.path(),
    };
    let mut bytes = std::fs::read(&bundle)?;
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&bundle, bytes)?;
    let found = stage.refused(&["ledger", "verify", "--key", &key, "--data-dir", folder, "--files-only"])?;
    println!("one bit flipped in the copy: {found}");
    Ok(())
}

fn sum_up(stage: &Stage, served: &Served, handled: &[(String, Outcome)]) -> anyhow::Result<()> {
    let of = |outcome| {
        handled.iter().filter(move |(_, o)| *o == outcome).map(|(v, _)| v.as_str()).collect::<Vec<_>>()
    };
    let promoted = of(Outcome::Promoted);
    let fired = stage.get("/api/v1/ledger/events?action=alert.firing&limit=1000")?;
    let alerts = fired["events"].as_array().map_or(0, Vec::len);
    println!("\ntrained again and promoted: {}", promoted.join(", "));
    for (what, outcome) in
        [("turned down by its gates", Outcome::TurnedDown), ("undecided at the end", Outcome::Undecided)]
    {
        if !of(outcome).is_empty() {
            println!("trained again and {what}: {}", of(outcome).join(", "));
        }
    }
    println!("alerts that fired: {alerts}");
    println!("rollbacks: {} by the statistics, 1 by a person", 1 + of(Outcome::RolledBack).len());
    println!(
        "requests served: {}   labels told: {}   requests failed: {}",
        served.answered, served.labels, served.failed
    );
    ensure!(!promoted.is_empty(), "no version that was trained again took over");
    Ok(())
}
