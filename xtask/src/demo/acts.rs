//! The acts, in order. Each fails loudly when something did not go as it is told.

use super::stage::Stage;
use crate::shell;
use anyhow::{Context, ensure};
use serde_json::Value;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const MODEL: &str = "flight-delay";
const ENDPOINT: &str = "delays";
const VIEWS: [&str; 5] = ["weather", "weather_metric", "planes", "route_rates", "carrier_rates"];
/// The views of the candidate whose weather comes in degrees Celsius, though it learnt from Fahrenheit.
const SPOILED: &str = "weather_metric@1, planes@1, route_rates@1, carrier_rates@1";
/// What is replayed: a part before and a part after the spoiled candidate.
const FIRST: &str = "2013-05-01";
const CANARY: &str = "2013-05-08";
const LATER: &str = "2013-06-09";
const END: &str = "2013-06-23";

/// What was served over all acts.
#[derive(Default)]
struct Served {
    answered: u64,
    failed: u64,
    labels: u64,
}

pub(super) fn play(stage: &mut Stage) -> anyhow::Result<()> {
    let mut served = Served::default();
    stage.act(1, "336,776 real flights become tables, each row with the moment at which it was known");
    prepare(stage)?;
    stage.act(2, "tables become dataset versions; features are joined as of each question");
    stage.own("sh", &["training_set.sh", "data", "training"])?;
    stage.act(
        3,
        "a model is trained on January to March, as a captured run; a second one is spoiled on purpose",
    );
    train(stage)?;
    stage.act(4, "no endpoint takes it before its gates have passed and a reviewer has agreed");
    release(stage)?;
    stage.act(
        5,
        "it answers; a week of flights goes through it, with features and labels as they became known",
    );
    deploy(stage)?;
    served.add(replay(stage, FIRST, CANARY)?.finish()?)?;
    stage.act(6, "the spoiled candidate passes every gate; its canary is taken off by the statistics");
    canary(stage, &mut served)?;
    stage.act(7, "a person deploys it all the same, and rolls back, while requests go on");
    roll_back(stage, &mut served)?;
    stage.act(8, "the season drifts away from the first week, and is seen");
    watch(stage)?;
    stage.act(9, "how one prediction came about");
    trace(stage)?;
    stage.act(10, "the ledger is checked offline, on a copy of the data");
    verify(stage)?;
    println!(
        "\nrequests served: {}   labels told: {}   requests failed: {}",
        served.answered, served.labels, served.failed
    );
    ensure!(served.failed == 0, "{} requests failed", served.failed);
    println!("Every act went as told, in {:.1} s.", stage.seconds());
    Ok(())
}

fn prepare(stage: &Stage) -> anyhow::Result<()> {
    let mut later =
        stage.command("python", &["prepare.py", "--out", "replay", "--from", FIRST, "--until", END])?;
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

fn release(stage: &Stage) -> anyhow::Result<()> {
    stage.trueline(&["model", "policy", "set", MODEL, "policy.yaml"])?;
    stage.trueline(&["apply", "-f", "trueline.yaml"])?;
    let first = format!("{MODEL}/1");
    println!("refused: {}", stage.refused(&["endpoint", "deploy", ENDPOINT, &first])?);
    approve(stage, &first, "validated on April")?;
    let (alias, body) = (
        "/api/2.0/mlflow/registered-models/alias",
        serde_json::json!({ "name": MODEL, "alias": "champion", "version": "1" }),
    );
    let request = ureq::post(format!("{}{alias}", stage.url())).content_type("application/json");
    request.header("authorization", format!("Bearer {}", stage.admin())).send(body.to_string())?;
    println!("`champion` points at {first}");
    Ok(())
}

fn approve(stage: &Stage, version: &str, comment: &str) -> anyhow::Result<()> {
    stage.trueline(&["gate", "run", version])?;
    stage.trueline_as_reviewer(&["approve", version, "--comment", comment])
}

fn deploy(stage: &Stage) -> anyhow::Result<()> {
    for view in VIEWS {
        stage.trueline(&["features", "materialize", view])?;
    }
    stage.trueline(&[
        "endpoint",
        "deploy",
        ENDPOINT,
        &format!("{MODEL}/1"),
        "--reason",
        "the first model",
    ])?;
    let create =
        ["monitor", "create", ENDPOINT, "--endpoint", ENDPOINT, "--window", "7d", "--lateness", "1h"];
    stage.trueline(&[&create[..], &["--label-wait", "2d", "--quality", "auc:0.66:0.68"]].concat())
}

/// A replay that goes on in the background.
struct Replay {
    child: Child,
}

fn replay(stage: &Stage, from: &str, until: &str) -> anyhow::Result<Replay> {
    let rows = [
        "replay",
        ENDPOINT,
        "replay/flights.csv",
        "--event-time",
        "event_time",
        "--from",
        from,
        "--until",
        until,
    ];
    let labels = ["--label", "late", "--label-time", "arrived_at", "--label-delay", "1d"];
    let pushes = [
        "--push",
        "weather=replay/weather.csv",
        "--push",
        "weather_metric=replay/weather_celsius.csv",
        "--push",
        "route_rates=replay/route_rates.csv",
        "--push",
        "carrier_rates=replay/carrier_rates.csv",
    ];
    let out = format!("predictions-{from}.jsonl");
    let all = [&rows[..], &labels, &pushes, &["--out", &out, "--json"]].concat();
    let child = stage.command("trueline", &all)?.stdout(Stdio::piped()).spawn().context("the replay")?;
    Ok(Replay { child })
}

impl Replay {
    fn finish(self) -> anyhow::Result<Value> {
        let done = self.child.wait_with_output()?;
        ensure!(done.status.success(), "the replay ended with {}", done.status);
        Ok(serde_json::from_slice(&done.stdout)?)
    }
}

impl Served {
    fn add(&mut self, told: Value) -> anyhow::Result<()> {
        let count = |group: &str, name: &str| {
            told[group][name].as_u64().with_context(|| format!("{group}.{name} in {told}"))
        };
        self.answered += count("predictions", "answered")?;
        self.failed += count("predictions", "failed")?;
        self.labels += count("labels", "told")?;
        let predictions = &told["predictions"];
        println!(
            "replayed: {} answered ({}/s, p50 {} ms, p99 {} ms), {} failed, {} labels",
            predictions["answered"],
            predictions["per_second"],
            predictions["p50_ms"],
            predictions["p99_ms"],
            predictions["failed"],
            told["labels"]["told"]
        );
        Ok(())
    }
}

fn canary(stage: &Stage, served: &mut Served) -> anyhow::Result<()> {
    let second = format!("{MODEL}/2");
    approve(stage, &second, "as good as the champion on April")?;
    let start = [
        "rollout",
        "start",
        ENDPOINT,
        &second,
        "--steps",
        "10,30",
        "--step-seconds",
        "5",
        "--margin-shift",
        "0.03",
    ];
    stage.trueline(&start)?;
    let replay = replay(stage, CANARY, LATER)?;
    let ended = until(stage, Duration::from_secs(120), |stage| {
        let rollout = stage.json(&["rollout", "show", ENDPOINT])?;
        Ok((rollout["state"] != "running").then_some(rollout))
    });
    served.add(replay.finish()?)?;
    let rollout = ended?;
    ensure!(rollout["state"] == "rolled_back", "the spoiled candidate was not taken off: {rollout}");
    stage.trueline(&["rollout", "show", ENDPOINT])?;
    let answers = stage.json(&["endpoint", "show", ENDPOINT])?;
    let now = &answers["endpoint"]["route"]["variants"][0]["version"];
    ensure!(*now == format!("{MODEL}/1"), "{now} answers after the rollout");
    Ok(())
}

/// Asks until there is something.
fn until<T>(
    stage: &Stage,
    limit: Duration,
    ask: impl Fn(&Stage) -> anyhow::Result<Option<T>>,
) -> anyhow::Result<T> {
    let began = Instant::now();
    loop {
        if let Some(found) = ask(stage)? {
            return Ok(found);
        }
        ensure!(began.elapsed() < limit, "nothing had come of it after {} s", limit.as_secs());
        std::thread::sleep(Duration::from_millis(500));
    }
}

fn roll_back(stage: &Stage, served: &mut Served) -> anyhow::Result<()> {
    let replay = replay(stage, LATER, END)?;
    std::thread::sleep(Duration::from_secs(2));
    stage.trueline(&["endpoint", "deploy", ENDPOINT, &format!("{MODEL}/2"), "--reason", "a second look"])?;
    std::thread::sleep(Duration::from_secs(1));
    let began = Instant::now();
    stage.trueline(&["rollback", ENDPOINT, "--reason", "its answers are too high"])?;
    println!("rolled back in {} ms, the command's own start included", began.elapsed().as_millis());
    served.add(replay.finish()?)?;
    Ok(())
}

fn watch(stage: &Stage) -> anyhow::Result<()> {
    let alerts = until(stage, Duration::from_secs(60), |stage| {
        let alerts = stage.json(&["alert", "list"])?;
        let firing =
            alerts["alerts"].as_array().is_some_and(|all| all.iter().any(|a| a["state"] == "firing"));
        Ok(firing.then_some(alerts))
    });
    alerts.context("no alert has fired")?;
    stage.trueline(&["monitor", "show", ENDPOINT])?;
    stage.trueline(&["alert", "list"])?;
    stage.trueline(&["incident", "list"])
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
    for part in ["ledger", "trueline.db", "trueline.db-wal"] {
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
