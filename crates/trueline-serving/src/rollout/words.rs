//! Decisions in words, with their numbers, as the ledger and people keep them.

use super::course::Move;
use super::plan::Plan;
use super::quality::{LossReport, QualityReport, precise};
use super::report::{MeanReport, RateReport, Report};
use super::segment_tests::SegmentReport;
use super::shadow::{ShadowReport, ShareReport};
use trueline_stats::sequential::{Interval, MissingReason};

/// What the arms are called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    /// What answered before.
    pub baseline: String,
    /// What wants to answer.
    pub candidate: String,
}

/// Why this is done.
#[must_use]
pub fn explain(what: Move, plan: &Plan, report: &Report, names: &Names) -> String {
    match what {
        Move::Stay => standing(report, names),
        // Only the shadow comes before the first step.
        Move::Step(0) => after_shadow(plan, report, names),
        Move::Step(step) => {
            let share = plan.share(step).map_or(0.0, super::Share::percent);
            format!(
                "nothing speaks against {}: it goes on to {share} %. {}",
                names.candidate,
                standing(report, names)
            )
        }
        Move::Promote => {
            format!("harm by {} is within what is allowed: {}", names.candidate, standing(report, names))
        }
        Move::RollBack => harm(report, names),
        Move::GiveUp => format!("the time is over before the numbers speak: {}", open(report)),
        Move::Hold => {
            format!("{}, so a person decides: {}", unsettled(report), open(report))
        }
    }
}

/// All metrics, the one that says most against the candidate first.
fn harm(report: &Report, names: &Names) -> String {
    let mut said = vec![
        (report.errors.log_e, errors(&report.errors, names)),
        (report.prediction.log_e, prediction(&report.prediction, names)),
        (report.latency.slow.log_e, latency(report, names)),
    ];
    if let Some(shadow) = &report.shadow {
        said.push((shadow.differing.log_e, differing(shadow, names)));
        said.push((shadow.failing.log_e, failing(shadow, names)));
    }
    said.extend(report.segments.iter().flat_map(|segment| in_segment(segment, report.segments.len(), names)));
    said.extend(report.quality.iter().flat_map(|all| quality_harm(all, names)));
    said.sort_by(|a, b| b.0.total_cmp(&a.0));
    format!("{} ({})", said[0].1, evidence(report))
}

fn evidence(report: &Report) -> String {
    let of_shadow =
        report.shadow.as_ref().map(|s| format!(", {} in shadow before", s.asked)).unwrap_or_default();
    format!(
        "p = {}, rolled back from {} on, over all metrics and looks; {} and {} requests{of_shadow}",
        number(report.p_value),
        number(report.alpha),
        report.requests.candidate,
        report.requests.baseline
    )
}

/// What is seen of a segment, with the logarithm of what it weighs beside the whole.
fn in_segment(segment: &SegmentReport, segments: usize, names: &Names) -> [(f64, String); 3] {
    let said = |log_e: f64, what: String| {
        (log_e - precise(segments).ln(), format!("where {}, {what}", segment.name))
    };
    let slow = &segment.slow;
    [
        said(segment.errors.log_e, errors(&segment.errors, names)),
        said(segment.prediction.log_e, prediction(&segment.prediction, names)),
        said(
            slow.log_e,
            format!(
                "{} of {} of {} were slow, {} of {} of {}",
                slow.bad.candidate,
                slow.units.candidate,
                names.candidate,
                slow.bad.baseline,
                slow.units.baseline,
                names.baseline
            ),
        ),
    ]
}

/// What labels say, of everything and of each segment.
fn quality_harm(quality: &QualityReport, names: &Names) -> Vec<(f64, String)> {
    let count = precise(quality.segments.len()).ln();
    let apart = quality
        .segments
        .iter()
        .map(|s| (s.loss.log_e - count, format!("where {}, {}", s.name, loss(&s.loss, quality, names))));
    std::iter::once((quality.loss.log_e, loss(&quality.loss, quality, names))).chain(apart).collect()
}

fn loss(loss: &LossReport, quality: &QualityReport, names: &Names) -> String {
    let odd = loss.incomparable;
    let silent = match odd.candidate + odd.baseline {
        0 => String::new(),
        _ => format!(
            " ({} answers of {} and {} of {} can't be compared with their labels: each is the largest loss)",
            odd.candidate, names.candidate, odd.baseline, names.baseline
        ),
    };
    format!(
        "the mean loss ({}) of {} is {} over {} labelled, of {} {} over {}: a difference {} where {} is allowed{silent}",
        quality.measure.as_str().replace('_', " "),
        names.candidate,
        between(loss.mean.candidate),
        loss.units.candidate,
        names.baseline,
        between(loss.mean.baseline),
        loss.units.baseline,
        between(loss.difference),
        number(loss.allowed_difference)
    )
}

/// Why the first step is taken.
fn after_shadow(plan: &Plan, report: &Report, names: &Names) -> String {
    let share = plan.share(0).map_or(0.0, super::Share::percent);
    let shown = report.shadow.as_ref().map_or_else(String::new, |shadow| {
        format!(" {}; {}", differing(shadow, names), failing(shadow, names))
    });
    format!("in shadow {} did what is allowed: it goes on to {share} %.{shown}", names.candidate)
}

fn differing(shadow: &ShadowReport, names: &Names) -> String {
    let example = shadow.example.as_ref().map_or_else(String::new, |worst| {
        let by = worst.by.map_or_else(|| "in kind".to_owned(), |by| format!("by {}", number(by)));
        format!(", most of all prediction {}, {by}", worst.prediction_id)
    });
    format!(
        "{} answers {} of {} otherwise than {}{example}: {}",
        names.candidate,
        shadow.differing.hits,
        units(&shadow.differing),
        names.baseline,
        share_of(&shadow.differing)
    )
}

fn failing(shadow: &ShadowReport, names: &Names) -> String {
    let example = shadow.failure.as_ref().map_or_else(String::new, |last| format!(" ({})", last.reason));
    format!(
        "{} failed {} of {} that {} answered{example}: {}",
        names.candidate,
        shadow.failing.hits,
        units(&shadow.failing),
        names.baseline,
        share_of(&shadow.failing)
    )
}

fn units(share: &ShareReport) -> String {
    format!("{} request{}", share.units, if share.units == 1 { "" } else { "s" })
}

/// A share in percent, with what is allowed.
fn share_of(share: &ShareReport) -> String {
    let percent =
        Interval { lower: share.share.lower.map(|v| v * 100.0), upper: share.share.upper.map(|v| v * 100.0) };
    format!("{} % where {} % is allowed", between(percent), number(share.allowed * 100.0))
}

fn standing(report: &Report, names: &Names) -> String {
    let labels = report.quality.as_ref();
    let labels = labels.map(|all| format!("; {}", loss(&all.loss, all, names))).unwrap_or_default();
    format!(
        "{}; {}; {}{labels}",
        errors(&report.errors, names),
        prediction(&report.prediction, names),
        latency(report, names)
    )
}

fn errors(rate: &RateReport, names: &Names) -> String {
    format!(
        "{} of {} of {} failed, {} of {} of {}: {} where {} times is allowed",
        rate.bad.candidate,
        rate.units.candidate,
        names.candidate,
        rate.bad.baseline,
        rate.units.baseline,
        names.baseline,
        times(rate.ratio, &names.baseline),
        number(rate.allowed_ratio)
    )
}

fn times(ratio: Interval, of: &str) -> String {
    match (ratio.lower, ratio.upper) {
        (Some(low), Some(high)) if low > 0.0 => {
            format!("between {} and {} times the rate of {of}", number(low), number(high))
        }
        (Some(low), None) if low > 0.0 => format!("at least {} times the rate of {of}", number(low)),
        (_, Some(high)) => format!("at most {} times the rate of {of}", number(high)),
        _ => format!("how many times the rate of {of} is not known"),
    }
}

fn prediction(mean: &MeanReport, names: &Names) -> String {
    let shift = match (mean.shift.lower, mean.shift.upper) {
        (Some(low), Some(high)) if low > 0.0 || high < 0.0 => {
            format!(
                "a shift of at least {} and at most {}",
                number(low.max(-high)),
                number(low.abs().max(high.abs()))
            )
        }
        (Some(low), Some(high)) => format!("a shift of at most {}", number(low.abs().max(high.abs()))),
        _ => "a shift that is not known".to_owned(),
    };
    let allowed = mean.allowed_shift.map_or_else(
        || "what is allowed is not fixed yet".to_owned(),
        |m| format!("{} is allowed", number(m)),
    );
    format!(
        "the mean prediction of {} is {}, of {} {}: {shift} where {allowed}",
        names.candidate,
        between(mean.mean.candidate),
        names.baseline,
        between(mean.mean.baseline)
    )
}

fn latency(report: &Report, names: &Names) -> String {
    let latency = &report.latency;
    format!(
        "the p{} latency of {} is {} ms, of {} {} ms, where {} times is allowed; {} and {} requests were slow",
        number(latency.quantile * 100.0),
        names.candidate,
        between(latency.at_quantile_ms.candidate),
        names.baseline,
        between(latency.at_quantile_ms.baseline),
        number(latency.allowed_latency_ratio),
        latency.slow.bad.candidate,
        latency.slow.bad.baseline
    )
}

fn between(interval: Interval) -> String {
    match (interval.lower, interval.upper) {
        (Some(low), Some(high)) => format!("between {} and {}", number(low), number(high)),
        (Some(low), None) => format!("at least {}", number(low)),
        (None, Some(high)) => format!("at most {}", number(high)),
        (None, None) => "not known".to_owned(),
    }
}

/// Why the numbers do not settle it.
fn unsettled(report: &Report) -> String {
    match (report.unreadable_batches, report.missing.is_empty()) {
        (0, _) | (_, false) => "the time is over before the numbers speak".to_owned(),
        (_, true) => "the numbers are not all that was seen".to_owned(),
    }
}

/// What promotion still waits for.
fn open(report: &Report) -> String {
    let lost = match report.unreadable_batches {
        0 => return waited_for(report),
        1 => "1 batch of another server".to_owned(),
        many => format!("{many} batches of other servers"),
    };
    let rest = match report.missing.is_empty() {
        true => "the rest shows no harm beyond what is allowed".to_owned(),
        false => waited_for(report),
    };
    format!("{lost} can't be read, and what was seen there is lost; {rest}")
}

fn waited_for(report: &Report) -> String {
    let each = report.missing.iter().map(|missing| match missing.reason {
        MissingReason::Observations { needed } => {
            format!("{} needs {needed} more observations", missing.name)
        }
        MissingReason::Precision { expected_observations: Some(n) } => {
            format!("{} would need about {n} observations of the candidate in all", missing.name)
        }
        MissingReason::Precision { expected_observations: None } => {
            format!("{} is not shown to be within what is allowed", missing.name)
        }
    });
    match report.missing.is_empty() {
        true => "it did not get its requests".to_owned(),
        false => each.collect::<Vec<_>>().join(", "),
    }
}

/// Three digits that count.
fn number(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return format!("{value}");
    }
    let size = value.abs().log10().floor();
    if !(-4.0..6.0).contains(&size) {
        return format!("{value:.2e}");
    }
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let digits = (2.0 - size).max(0.0) as usize;
    let text = format!("{value:.digits$}");
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits_that_count() {
        for (value, text) in
            [(0.03, "0.03"), (0.319_87, "0.32"), (1.5, "1.5"), (12_345.6, "12346"), (0.0, "0"), (95.0, "95")]
        {
            assert_eq!(number(value), text);
        }
        assert_eq!(number(1.234e-9), "1.23e-9");
    }
}
