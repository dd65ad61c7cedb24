//! Quality and segments of a rollout, as `trueline rollout show` tells them beside what it compares of all traffic.

use super::rollout::interval;
use super::table;
use serde_json::Value;

/// A row for quality, and for each thing that is compared in each segment.
pub(super) fn rows(numbers: &Value) -> Vec<Vec<String>> {
    let quality = Some(&numbers["quality"]).filter(|q| !q.is_null());
    let measure = quality.map(|q| format!("mean loss ({})", table::cell(q, "measure").replace('_', " ")));
    let measure = measure.unwrap_or_default();
    let whole = quality.map(|q| loss(&measure, q));
    let of = |parts: &'_ Value| parts.as_array().cloned().unwrap_or_default();
    let segments = of(&numbers["segments"]).into_iter().flat_map(|part| segment(&part));
    let losses = of(&numbers["quality"]["segments"]);
    let losses =
        losses.iter().map(|part| loss(&format!("{measure} where {}", table::cell(part, "name")), part));
    whole.into_iter().chain(segments).chain(losses).collect()
}

fn row(name: String, of: &Value, effect: String, allowed: String, log_e: &Value) -> Vec<String> {
    let log_e = format!("{:.2}", log_e["log_e"].as_f64().unwrap_or_default());
    vec![name, interval(&of["candidate"]), interval(&of["baseline"]), effect, allowed, log_e]
}

fn loss(name: &str, loss: &Value) -> Vec<String> {
    let allowed = format!("{} more", table::cell(loss, "allowed_difference"));
    row(name.to_owned(), &loss["mean"], interval(&loss["difference"]), allowed, loss)
}

fn segment(part: &Value) -> [Vec<String>; 3] {
    let name = |what: &str| format!("{what} where {}", table::cell(part, "name"));
    let rate = |what: &str, rate: &Value| {
        let (effect, allowed) = (interval(&rate["ratio"]), table::cell(rate, "allowed_ratio"));
        row(name(what), &rate["rate"], format!("{effect} times"), format!("{allowed} times"), rate)
    };
    let mean = &part["prediction"];
    let allowed = format!("{} either way", table::cell(mean, "allowed_shift"));
    [
        rate("failed requests", &part["errors"]),
        row(name("mean prediction"), &mean["mean"], interval(&mean["shift"]), allowed, mean),
        rate("slow requests", &part["slow"]),
    ]
}

/// How many labels were compared, and which were not.
pub(super) fn label_lines(quality: &Value) {
    if quality.is_null() {
        return;
    }
    let cell = |of: &Value, field: &str| table::cell(of, field);
    let (units, out) = (&quality["units"], &quality["left_out"]);
    table::line(format!(
        "labels: {} of the version, {} beside it; left out: {} corrections, {} of failed requests, {} that can't be compared, {} without their key, {} of answers that are redacted",
        cell(units, "candidate"),
        cell(units, "baseline"),
        cell(out, "corrections"),
        cell(out, "failed"),
        cell(out, "incomparable"),
        cell(out, "without_key"),
        cell(out, "redacted")
    ));
    let odd = &quality["incomparable"];
    if odd["baseline"] != 0 || odd["candidate"] != 0 {
        table::line(format!(
            "answers that can't be compared with their label count as the largest loss: {} of the version, {} beside it",
            cell(odd, "candidate"),
            cell(odd, "baseline")
        ));
    }
    if quality["comparable"] == false {
        table::line(
            "more than 1 % of the answers beside the version can't be compared with their label, so quality can't be shown to be \
             within limits",
        );
    }
    if quality["range_fits"] == false {
        table::line(
            "more than 1 % of the losses are out of range, so quality can't be shown to be within limits",
        );
    }
}
