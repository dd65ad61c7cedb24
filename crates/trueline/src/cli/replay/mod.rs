//! `trueline replay`: rows of a table go through an endpoint in the order of their event time, features are pushed and labels
//! told at the moments at which they would have been known. What has happened later is never seen earlier: see `timeline`.

mod post;
mod progress;
mod table;
mod tally;
mod timeline;

use self::post::{Job, Outcome, Post, Work};
use self::table::{Feed, Subject};
use self::tally::Tally;
use self::timeline::{Question, Timeline, Window};
use super::client::Client;
use super::{Connection, table as output};
use anyhow::{Context, bail};
use clap::Args;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use trueline_features::Ttl;

/// Rows of features in one request.
const PUSH_ROWS: usize = 5_000;
/// Labels in one request.
const LABELS: usize = 1_000;

/// What is replayed, and how.
#[derive(Args)]
pub(crate) struct ReplayArgs {
    /// The endpoint that is asked
    endpoint: String,
    /// Rows to ask about: CSV (also gzipped), Parquet or JSON lines (.jsonl)
    rows: PathBuf,
    /// Column that says when a row is asked about
    #[arg(long)]
    event_time: String,
    /// Column with the truth; it is never sent with the question. Rows where it is missing get no label
    #[arg(long)]
    label: Option<String>,
    /// Column that says when the truth was known; without it, the event time
    #[arg(long, requires = "label")]
    label_time: Option<String>,
    /// How long after that the label is told: 90s, 30m, 6h, 1d
    #[arg(long, requires = "label", value_parser = span)]
    label_delay: Option<Span>,
    /// Columns that are sent; all but the label's, when left out
    #[arg(long, value_delimiter = ',')]
    columns: Vec<String>,
    /// Another endpoint that is asked the same at the same moments and told the same labels; may be given more than once
    #[arg(long = "compare", value_name = "ENDPOINT")]
    compared: Vec<String>,
    /// Column by whose value callers stay with one variant (`x-trueline-key`)
    #[arg(long)]
    key: Option<String>,
    /// Features to push as they become known, as view=file; may be given more than once
    #[arg(long = "push", value_parser = feed)]
    pushes: Vec<(String, PathBuf)>,
    /// Leave out rows before this time (RFC 3339); features from before it are pushed all the same
    #[arg(long)]
    from: Option<String>,
    /// Leave out rows from this time on
    #[arg(long)]
    until: Option<String>,
    /// Event time whose requests are under way together; all are answered before the next such window starts
    #[arg(long, default_value = "1h", value_parser = span)]
    window: Span,
    /// `max`, or how many times faster than event time, as 3600x
    #[arg(long, default_value = "max", value_parser = speed)]
    speed: Speed,
    /// Requests under way at once
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=1024))]
    in_flight: u16,
    /// File for the predictions with their ids, as JSON lines
    #[arg(long)]
    out: Option<PathBuf>,
    /// Go on where the replay that wrote --out ended: what it holds is not asked again
    #[arg(long, requires = "out")]
    resume: bool,
    #[command(flatten)]
    connection: Connection,
}

/// A span of event time in microseconds.
#[derive(Clone, Copy, Debug)]
struct Span(i64);

/// Event seconds for a second of ours; without a limit when `None`.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Speed(Option<f64>);

fn span(text: &str) -> Result<Span, String> {
    Ttl::parse(text)
        .map(|t| Span(t.micros()))
        .map_err(|_| format!("`{text}` is no span: write 30m, 6h or 1d"))
}

fn speed(text: &str) -> Result<Speed, String> {
    if text == "max" {
        return Ok(Speed(None));
    }
    let factor =
        text.strip_suffix('x').and_then(|n| n.parse::<f64>().ok()).filter(|f| f.is_finite() && *f > 0.0);
    factor.map(|f| Speed(Some(f))).ok_or_else(|| format!("`{text}` is no speed: write max, or 3600x"))
}

fn feed(text: &str) -> Result<(String, PathBuf), String> {
    let (view, file) = text.split_once('=').ok_or_else(|| format!("`{text}`: write view=file"))?;
    Ok((view.to_owned(), file.into()))
}

impl ReplayArgs {
    /// What is asked, the endpoint itself first.
    fn endpoints(&self) -> anyhow::Result<Vec<&str>> {
        let mut all = vec![self.endpoint.as_str()];
        for name in &self.compared {
            if all.contains(&name.as_str()) {
                bail!("endpoint {name} is named twice: --compare takes another one");
            }
            all.push(name);
        }
        Ok(all)
    }
}

pub(crate) fn run(args: &ReplayArgs) -> anyhow::Result<()> {
    let endpoints = args.endpoints()?;
    let client = Client::with_connections(&args.connection, usize::from(args.in_flight));
    let subject = Subject {
        event_time: &args.event_time,
        label: args.label.as_deref(),
        label_time: args.label_time.as_deref(),
        label_delay_us: args.label_delay.map_or(0, |d| d.0),
        columns: &args.columns,
        key: args.key.as_deref(),
    };
    let limit = |text: &Option<String>| text.as_deref().map(table::time_of_text).transpose();
    let (from, until) = (limit(&args.from)?, limit(&args.until)?);
    let mut rows = table::subjects(&args.rows, &subject)?;
    rows.retain(|r| from.is_none_or(|t| r.at_us >= t) && until.is_none_or(|t| r.at_us < t));
    if rows.is_empty() {
        bail!("{} has no row to replay in that time", args.rows.display());
    }
    let feeds = args
        .pushes
        .iter()
        .map(|(view, file)| read_feed(&client, view, file))
        .collect::<Result<Vec<_>, _>>()?;

    let mut timeline = Timeline::new(rows, feeds, args.window.0, endpoints.len());
    let out = match &args.out {
        Some(path) if args.resume => Some(resume_out(path, &endpoints, &mut timeline)?),
        Some(path) => Some(BufWriter::new(File::create(path).with_context(|| cannot_write(path))?)),
        None => None,
    };
    let post = Post::start(client, usize::from(args.in_flight));
    let replay = Replay { args, endpoints, timeline, post, tally: Tally::default(), out };
    let tally = replay.run()?;
    report(&tally, &args.connection);
    if tally.failed() > 0 {
        bail!("{} requests failed; the first: {}", tally.failed(), tally.first_failure());
    }
    Ok(())
}

/// A view's rows, in the columns that the view has.
fn read_feed(client: &Client, view: &str, file: &Path) -> anyhow::Result<Feed> {
    let told = client.get(&format!("/api/v1/feature-views/{view}"))?;
    let words = |field: &str| told[field].as_array().into_iter().flatten().filter_map(Value::as_str);
    let time = told["timestamp"].as_str().with_context(|| {
        format!("view {view} has no timestamp, so its rows are always true: load it with `trueline features materialize {view}`")
    })?;
    let columns: Vec<String> = words("join_keys")
        .chain(words("features"))
        .chain(told["created"].as_str())
        .chain([time])
        .map(str::to_owned)
        .collect();
    table::feed(view, file, time, &columns)
}

fn cannot_write(path: &Path) -> String {
    format!("can't write {}", path.display())
}

/// Opens the file of predictions to go on after what it holds; the timeline takes the ids that are there.
fn resume_out(path: &Path, endpoints: &[&str], timeline: &mut Timeline) -> anyhow::Result<BufWriter<File>> {
    let (mut known, mut whole) = (HashMap::new(), 0);
    if let Ok(file) = File::open(path) {
        let mut lines = BufReader::new(file);
        let mut line = String::new();
        // The last line may have been cut off.
        while lines.read_line(&mut line)? > 0 && line.ends_with('\n') {
            let told: Value =
                serde_json::from_str(&line).with_context(|| format!("{}: {line}", path.display()))?;
            let (Some(name), Some(row), Some(id)) =
                (told["endpoint"].as_str(), told["row"].as_u64(), told["prediction_id"].as_str())
            else {
                bail!("{} was not written by a replay: {line}", path.display());
            };
            let Some(endpoint) = endpoints.iter().position(|e| *e == name) else {
                bail!("{} has predictions of endpoint {name}, which is not asked", path.display());
            };
            known.insert((endpoint, row), Box::from(id));
            whole += line.len() as u64;
            line.clear();
        }
    }
    timeline.take_known(known);
    let mut options = File::options();
    let mut file = options.write(true).create(true).open(path).with_context(|| cannot_write(path))?;
    file.set_len(whole)?;
    file.seek(SeekFrom::End(0))?;
    Ok(BufWriter::new(file))
}

struct Replay<'a> {
    args: &'a ReplayArgs,
    endpoints: Vec<&'a str>,
    timeline: Timeline,
    post: Post,
    tally: Tally,
    out: Option<BufWriter<std::fs::File>>,
}

impl Replay<'_> {
    fn run(mut self) -> anyhow::Result<Tally> {
        let began = Instant::now();
        let mut progress = progress::Progress::new(self.timeline.predictions_to_make());
        let mut first_us = None;
        while let Some(window) = self.timeline.next_window() {
            let start_us = window.start_us;
            let since_first = start_us - *first_us.get_or_insert(start_us);
            self.keep_pace(began, since_first);
            self.tell(&window)?;
            self.ask(&window)?;
            progress.show(start_us, &self.tally, began.elapsed());
        }
        for labels in self.timeline.last_labels() {
            self.tell_labels(&labels);
            self.wait(|_, _| ())?;
        }
        self.tally.elapsed = began.elapsed();
        progress.finish(&self.tally, began.elapsed());
        Ok(self.tally)
    }

    fn keep_pace(&self, began: Instant, event_us: i64) {
        if let Speed(Some(factor)) = self.args.speed {
            #[allow(clippy::cast_precision_loss)]
            let due = event_us as f64 / 1e6 / factor;
            std::thread::sleep(Duration::from_secs_f64(due.max(0.0)).saturating_sub(began.elapsed()));
        }
    }

    /// What has become known before the window: features, and labels of earlier windows.
    fn tell(&mut self, window: &Window) -> anyhow::Result<()> {
        for (feed, range) in self.timeline.known_features(window) {
            let feed = &self.timeline.feeds[feed];
            for rows in feed.rows[range].chunks(PUSH_ROWS) {
                let texts: Vec<&str> = rows.iter().map(|r| &*r.record).collect();
                let body = format!("{{\"rows\":[{}]}}", texts.join(","));
                let path = format!("/api/v1/feature-views/{}/rows", feed.view);
                self.post.send(Job { work: Work::Push(rows.len()), path, headers: Vec::new(), body });
            }
        }
        let labels = self.timeline.known_labels(window);
        self.tell_labels(&labels);
        self.wait(|_, _| ())
    }

    fn tell_labels(&mut self, rows: &[usize]) {
        for (endpoint, name) in self.endpoints.iter().enumerate() {
            for rows in rows.chunks(LABELS) {
                let label = |row: &usize| self.timeline.label(Question { row: *row, endpoint });
                let labels: Vec<String> = rows.iter().filter_map(label).collect();
                self.tally.unanswered += rows.len() - labels.len();
                if labels.is_empty() {
                    continue;
                }
                let body = format!("{{\"labels\":[{}]}}", labels.join(","));
                let path = format!("/endpoints/{name}/labels");
                self.post.send(Job { work: Work::Labels(labels.len()), path, headers: Vec::new(), body });
            }
        }
    }

    fn ask(&mut self, window: &Window) -> anyhow::Result<()> {
        let of = |name: &&str| format!("/endpoints/{name}/invocations");
        let paths: Vec<String> = self.endpoints.iter().map(of).collect();
        for question in self.timeline.to_ask(window) {
            let asked = &self.timeline.rows[question.row];
            let mut headers = vec![("x-trueline-event-time", asked.at_us.div_euclid(1000).to_string())];
            headers.extend(asked.key.as_deref().map(|key| ("x-trueline-key", key.to_owned())));
            let body = format!("{{\"dataframe_records\":[{}]}}", asked.record);
            let path = paths[question.endpoint].clone();
            self.post.send(Job { work: Work::Predict(question), path, headers, body });
        }
        let mut answered = Vec::new();
        self.wait(|question, answer| answered.push((question, answer)))?;
        answered.sort_unstable_by_key(|(question, _)| *question);
        for (question, answer) in answered {
            let at = &self.timeline.rows[question.row];
            if let Some(out) = &mut self.out {
                let line = json!({
                    "endpoint": self.endpoints[question.endpoint], "row": at.number,
                    "event_time": table::text_of_time(at.at_us), "prediction_id": answer.id,
                    "prediction": answer.prediction, "variant": answer.variant,
                });
                writeln!(out, "{line}").context("can't write the predictions")?;
            }
            self.timeline.take(question, answer.id);
        }
        if let Some(out) = &mut self.out {
            out.flush().context("can't write the predictions")?;
        }
        Ok(())
    }

    /// Waits until everything that was sent is answered.
    fn wait(&mut self, mut predicted: impl FnMut(Question, post::Predicted)) -> anyhow::Result<()> {
        while let Some(Outcome { work, result, took }) = self.post.next()? {
            match (work, result) {
                (Work::Predict(question), result) => match result.and_then(|a| a.predicted()) {
                    Ok(answer) => {
                        self.tally.predicted(took);
                        predicted(question, answer);
                    }
                    Err(told) => self.tally.prediction_failed(took, told),
                },
                (Work::Push(rows), Ok(answer)) => self.tally.pushed(rows, &answer.body()),
                (Work::Labels(labels), Ok(answer)) => self.tally.labelled(labels, &answer.body()),
                (Work::Push(_) | Work::Labels(_), Err(told)) => self.tally.telling_failed(told),
            }
        }
        Ok(())
    }
}

fn report(tally: &Tally, connection: &Connection) {
    let told = tally.to_json();
    if connection.json {
        output::json(&told);
        return;
    }
    let line = |name: &str, text: String| vec![name.to_owned(), text];
    let p = &told["predictions"];
    output::rows(
        &["REPLAYED", ""],
        &[
            line("predictions", format!("{} answered, {} failed", p["answered"], p["failed"])),
            line("", format!("{} a second, p50 {} ms, p99 {} ms", p["per_second"], p["p50_ms"], p["p99_ms"])),
            line("labels", format!("{} told, {} new", told["labels"]["told"], told["labels"]["new"])),
            line("feature rows", format!("{} pushed", told["feature_rows"]["pushed"])),
            line("time", format!("{} s", told["elapsed_s"])),
        ],
    );
    for failure in &tally.failures {
        output::note(format!("failed: {failure}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_speed_is_max_or_a_factor() {
        assert_eq!(speed("max"), Ok(Speed(None)));
        assert_eq!(speed("3600x"), Ok(Speed(Some(3600.0))));
        for bad in ["", "x", "0x", "-1x", "fast", "infx", "NaNx"] {
            assert!(speed(bad).is_err(), "{bad}");
        }
    }
}
