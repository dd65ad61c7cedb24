//! What a data plane counts of its endpoints and their variants, in the text of Prometheus. The data plane keeps these figures
//! itself, since only it knows when nobody answers by them any longer.

use std::fmt::Write;
use trueline_serving::{BOUNDS_US, DataPlane, Metered, Meters, Times};

/// The lines of all endpoints.
pub(crate) fn endpoints(plane: &DataPlane) -> String {
    plane.show_meters(|all| {
        let mut text = String::new();
        // Writing to a text can't fail.
        let _ = counters(&mut text, all).and_then(|()| histograms(&mut text, all));
        text
    })
}

type All<'a> = [(&'a Metered, &'a Meters)];

fn counters(text: &mut String, all: &All<'_>) -> std::fmt::Result {
    head(text, "trueline_predictions_total", "counter", "Rows that were answered.")?;
    for (of, meters) in all.iter().filter(|(of, _)| of.variant.is_some()) {
        writeln!(text, "trueline_predictions_total{{{}}} {}", labels(of), meters.rows())?;
    }
    head(text, "trueline_prediction_errors_total", "counter", "Requests that were not answered, by cause.")?;
    for (of, meters) in all {
        let labels = labels(of);
        for (cause, count) in meters.errors().filter(|(cause, _)| match of.variant {
            Some(_) => cause.reaches_a_version(),
            None => cause.reaches_none(),
        }) {
            let cause = cause.as_str();
            writeln!(text, "trueline_prediction_errors_total{{{labels},cause=\"{cause}\"}} {count}")?;
        }
    }
    let told = "Predictions that were not drawn to be logged, as their endpoint declares.";
    head(text, "trueline_predictions_left_out_total", "counter", told)?;
    for (of, meters) in all.iter().filter(|(of, _)| of.variant.is_none()) {
        writeln!(text, "trueline_predictions_left_out_total{{{}}} {}", labels(of), meters.left_out())?;
    }
    Ok(())
}

fn histograms(text: &mut String, all: &All<'_>) -> std::fmt::Result {
    const WHOLE: &str = "trueline_prediction_duration_seconds";
    const PART: &str = "trueline_prediction_stage_duration_seconds";
    let variants = || all.iter().filter(|(of, _)| of.variant.is_some());
    head(text, WHOLE, "histogram", "Time from request to prediction.")?;
    for (of, meters) in variants() {
        histogram(text, WHOLE, &labels(of), meters.took())?;
    }
    head(text, PART, "histogram", "Parts of that time by stage.")?;
    for (of, meters) in variants() {
        let labels = labels(of);
        for (cost, times) in meters.costs() {
            histogram(text, PART, &format!("{labels},stage=\"{}\"", cost.as_str()), times)?;
        }
    }
    Ok(())
}

fn head(text: &mut String, name: &str, kind: &str, told: &str) -> std::fmt::Result {
    writeln!(text, "# HELP {name} {told}\n# TYPE {name} {kind}")
}

#[allow(clippy::cast_precision_loss)]
fn histogram(text: &mut String, name: &str, labels: &str, times: &Times) -> std::fmt::Result {
    let up_to = times.up_to();
    for (bound, count) in BOUNDS_US.iter().zip(up_to) {
        writeln!(text, "{name}_bucket{{{labels},le=\"{}\"}} {count}", *bound as f64 / 1e6)?;
    }
    let all = up_to[BOUNDS_US.len()];
    writeln!(text, "{name}_bucket{{{labels},le=\"+Inf\"}} {all}")?;
    writeln!(text, "{name}_sum{{{labels}}} {}", times.sum_us() as f64 / 1e6)?;
    writeln!(text, "{name}_count{{{labels}}} {all}")
}

fn labels(of: &Metered) -> String {
    let mut labels = format!("project=\"{}\",endpoint=\"{}\"", escaped(&of.project), escaped(&of.endpoint));
    if let Some(variant) = &of.variant {
        labels.push_str(&format!(",variant=\"{}\"", escaped(variant)));
    }
    labels
}

/// A label's value: a model may be called almost anything.
fn escaped(value: &str) -> String {
    value.replace('\\', r"\\").replace('"', r#"\""#).replace('\n', r"\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_labels_are_escaped() {
        let of = Metered {
            project: "default".to_owned(),
            endpoint: "delays".to_owned(),
            variant: Some("a\\b\"c\nd/1".to_owned()),
        };
        assert_eq!(labels(&of), r#"project="default",endpoint="delays",variant="a\\b\"c\nd/1""#);
    }

    #[test]
    fn a_histogram_counts_up_to_each_bound() {
        let mut text = String::new();
        histogram(&mut text, "took", "a=\"b\"", &Times::default()).unwrap();
        assert!(text.starts_with("took_bucket{a=\"b\",le=\"0.0005\"} 0\n"), "{text}");
        assert!(text.contains("le=\"10\"} 0\ntook_bucket{a=\"b\",le=\"+Inf\"} 0\n"), "{text}");
        assert!(text.ends_with("took_sum{a=\"b\"} 0\ntook_count{a=\"b\"} 0\n"), "{text}");
    }
}
