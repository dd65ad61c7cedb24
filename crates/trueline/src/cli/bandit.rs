//! `trueline bandit`: the traffic of an endpoint goes where the rewards are.

use super::client::Client;
use super::{Connection, table};
use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Map, Value, json};

#[derive(Subcommand)]
pub(crate) enum BanditCommand {
    /// Allot an endpoint's traffic among versions by the rewards that their predictions earn
    Start(Box<StartArgs>),
    /// Show the newest bandit of an endpoint: its arms, their rewards, its decisions
    Show {
        /// Name of the endpoint
        endpoint: String,
        #[command(flatten)]
        connection: Connection,
    },
    /// End the bandit of an endpoint: the shares stay as they are, or one version answers alone
    Stop(StopArgs),
}

#[derive(Args)]
pub(crate) struct StartArgs {
    /// Name of the endpoint
    endpoint: String,
    /// The versions, such as delays/4 delays@challenger
    #[arg(required = true, num_args = 2..)]
    versions: Vec<String>,
    /// What of label and prediction is the reward [default: label]
    #[arg(long, value_enum)]
    reward: Option<Measure>,
    /// Where the reward lies, as low,high [default: 0,1]
    #[arg(long, value_delimiter = ',', num_args = 2, allow_negative_numbers = true)]
    range: Option<Vec<f64>>,
    /// Less of the reward is better
    #[arg(long)]
    minimise: bool,
    /// From which score on a prediction says yes, for accuracy [default: 0.5]
    #[arg(long)]
    threshold: Option<f64>,
    /// Seconds from a prediction to when its label must be there [default: 3600]
    #[arg(long)]
    label_within: Option<u64>,
    /// What becomes of a prediction without a label by then [default: skip]
    #[arg(long, value_enum)]
    without_label: Option<WithoutLabel>,
    /// The least share of a version, in percent [default: 5]
    #[arg(long)]
    floor: Option<f64>,
    /// Seconds between two allotments at the least [default: 60]
    #[arg(long)]
    every: Option<u64>,
    /// Rewards between two allotments at the least [default: 50]
    #[arg(long)]
    least_rewards: Option<u64>,
    /// Shares change when one of them would by so many percent of the traffic [default: 2]
    #[arg(long)]
    hysteresis: Option<f64>,
    /// After so many seconds a reward counts half for the shares [default: it always counts]
    #[arg(long)]
    half_life: Option<u64>,
    /// The chance that any version's interval ever misses the truth [default: 0.05]
    #[arg(long)]
    alpha: Option<f64>,
    /// With this probability a version is known to be the best, [default: 0.95]
    #[arg(long)]
    sure: Option<f64>,
    /// and when its interval lies better than the others' by this much [default: 0]
    #[arg(long)]
    margin: Option<f64>,
    /// Then have it answer alone; else it is only told
    #[arg(long)]
    promote: bool,
    /// After so many seconds it is over, and the shares stay [default: 30 days]
    #[arg(long)]
    longest_seconds: Option<u64>,
    /// Why, for the ledger
    #[arg(long, default_value = "")]
    reason: String,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Clone, Copy, ValueEnum)]
enum Measure {
    /// The label itself, as a number
    Label,
    /// 1 where the prediction is what the label says, else 0
    Accuracy,
    /// The distance between prediction and label
    AbsoluteError,
}

#[derive(Clone, Copy, ValueEnum)]
enum WithoutLabel {
    /// It does not count
    Skip,
    /// It has the worst reward
    Worst,
}

#[derive(Args)]
pub(crate) struct StopArgs {
    /// Name of the endpoint
    endpoint: String,
    /// The version that is to answer alone
    #[arg(long)]
    to: Option<String>,
    /// Why, for the ledger
    #[arg(long, default_value = "")]
    reason: String,
    #[command(flatten)]
    connection: Connection,
}

impl StartArgs {
    /// What was said, and nothing of what was not: the server has the defaults.
    fn plan(&self) -> Value {
        let measure = self.reward.map(|measure| match measure {
            Measure::Label => "label",
            Measure::Accuracy => "accuracy",
            Measure::AbsoluteError => "absolute_error",
        });
        let without = self.without_label.map(|without| match without {
            WithoutLabel::Skip => "skip",
            WithoutLabel::Worst => "worst",
        });
        let fraction = |percent: Option<f64>| json!(percent.map(|p| p / 100.0));
        let reward = said([
            ("measure", json!(measure)),
            ("range", json!(self.range)),
            ("goal", json!(self.minimise.then_some("minimise"))),
            ("threshold", json!(self.threshold)),
        ]);
        let finish = said([
            ("probability", json!(self.sure)),
            ("margin", json!(self.margin)),
            ("then", json!(self.promote.then_some("promote"))),
        ]);
        Value::Object(said([
            ("reward", Value::Object(reward)),
            ("label_within_seconds", json!(self.label_within)),
            ("without_label", json!(without)),
            ("floor", fraction(self.floor)),
            ("every_seconds", json!(self.every)),
            ("least_rewards", json!(self.least_rewards)),
            ("hysteresis", fraction(self.hysteresis)),
            ("half_life_seconds", json!(self.half_life)),
            ("alpha", json!(self.alpha)),
            ("finish", Value::Object(finish)),
            ("longest_seconds", json!(self.longest_seconds)),
        ]))
    }
}

fn said<const N: usize>(fields: [(&str, Value); N]) -> Map<String, Value> {
    fields.into_iter().filter(|(_, v)| !v.is_null()).map(|(k, v)| (k.to_owned(), v)).collect()
}

pub(crate) fn run(command: BanditCommand) -> anyhow::Result<()> {
    match command {
        BanditCommand::Start(args) => {
            let ask = json!({ "versions": args.versions, "plan": args.plan(), "reason": args.reason });
            let path = format!("/api/v1/endpoints/{}/bandits", args.endpoint);
            let started = Client::new(&args.connection).send("POST", &path, &ask)?;
            tell(&args.connection, &started);
            if !args.connection.json {
                table::note(format!("see how it does: trueline bandit show {}", args.endpoint));
            }
        }
        BanditCommand::Show { endpoint, connection } => {
            let found = Client::new(&connection).get(&format!("/api/v1/endpoints/{endpoint}"))?;
            if found["bandit"].is_null() {
                anyhow::bail!(
                    "endpoint `{endpoint}` never had a bandit: start one with `trueline bandit start {endpoint} <versions>`"
                );
            }
            tell(&connection, &found["bandit"]);
            if !connection.json {
                decisions(&found["bandit"]);
            }
        }
        BanditCommand::Stop(args) => {
            let ask = json!({ "to": args.to, "reason": args.reason });
            let path = format!("/api/v1/endpoints/{}/bandits/end", args.endpoint);
            let ended = Client::new(&args.connection).send("POST", &path, &ask)?;
            tell(&args.connection, &ended);
        }
    }
    Ok(())
}

fn tell(connection: &Connection, bandit: &Value) {
    if connection.json {
        return table::json(bandit);
    }
    let cell = |field: &str| table::cell(bandit, field);
    table::line(format!(
        "bandit {} of {}: {}, since {}",
        cell("id"),
        cell("endpoint"),
        cell("state"),
        cell("started_at")
    ));
    table::line(cell("reason"));
    table::line("");
    arms(bandit);
}

/// The arms with their shares, and what is known of their rewards.
fn arms(bandit: &Value) {
    let known = |i: usize| &bandit["numbers"]["arms"][i];
    let number = |value: &Value| value.as_f64().map_or_else(|| "–".to_owned(), |v| format!("{v:.4}"));
    let row = |(i, arm): (usize, &Value)| {
        let (known, interval) = (known(i), &known(i)["interval"]);
        let best = known["probability_best"]
            .as_f64()
            .map_or_else(|| "–".to_owned(), |p| format!("{:.1} %", p * 100.0));
        vec![
            table::cell(arm, "version"),
            format!("{} %", table::cell(arm, "share_percent")),
            known["rewards"].as_u64().unwrap_or_default().to_string(),
            number(&known["mean"]),
            format!("{} to {}", number(&interval["lower"]), number(&interval["upper"])),
            best,
        ]
    };
    let arms = bandit["arms"].as_array().map(Vec::as_slice).unwrap_or_default();
    let rows: Vec<Vec<String>> = arms.iter().enumerate().map(row).collect();
    table::rows(&["VERSION", "SHARE", "REWARDS", "MEAN", "INTERVAL", "BEST WITH"], &rows);
    let tally = &bandit["numbers"]["tally"];
    if !tally.is_null() {
        let cell = |field: &str| table::cell(tally, field);
        table::line("");
        table::line(format!(
            "{} rewards, {} of failures; {} predictions without a label in time, {} of keys or requests that counted before, {} unusable; read to {}",
            cell("rewards"),
            cell("failed"),
            cell("without_label"),
            cell("repeated"),
            cell("unusable"),
            table::cell(bandit, "read_to")
        ));
        if let Some(lost @ 1..) = tally["unreadable_batches"].as_u64() {
            table::line(format!(
                "batches of other servers that can't be read: {lost}; their rewards are lost, and an end is only proposed"
            ));
        }
    }
}

fn decisions(bandit: &Value) {
    let row = |d: &Value| {
        let shares = d["share_percents"].as_array().map(Vec::as_slice).unwrap_or_default();
        let shares: Vec<String> = shares.iter().map(ToString::to_string).collect();
        vec![
            table::cell(d, "decided_at"),
            table::cell(d, "decision"),
            format!("{} %", shares.join(" / ")),
            table::cell(d, "decided_by"),
            table::cell(d, "reason"),
        ]
    };
    let all = bandit["decisions"].as_array().map(Vec::as_slice).unwrap_or_default();
    let rows: Vec<Vec<String>> = all.iter().map(row).collect();
    table::line("");
    table::rows(&["WHEN", "DECISION", "SHARES", "BY", "WHY"], &rows);
}
