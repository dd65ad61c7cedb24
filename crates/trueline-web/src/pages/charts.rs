//! Charts as pages have them: what is drawn, over what and how, and in which sections.

use crate::links::ViewUrl;
use serde_json::json;
use std::collections::BTreeMap;

/// What the points of a chart are drawn over, as `?axis=` has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Axis {
    /// The step that was logged.
    #[default]
    Step,
    /// The time that was logged.
    Time,
    /// How long after the run's start that was.
    Relative,
}

impl Axis {
    /// The word in the URL.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Step => "step",
            Self::Time => "time",
            Self::Relative => "relative",
        }
    }

    /// Reads the word in the URL; anything else is the step.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        match text {
            "time" => Self::Time,
            "relative" => Self::Relative,
            _ => Self::Step,
        }
    }
}

/// A line of a chart.
#[derive(Clone, Debug)]
pub struct ChartSeries {
    /// What it is called in the legend.
    pub name: String,
    /// Where its points are: JSON of
    /// `{"points": [{"step": 0, "at": "2026-05-28T20:26:40Z", "value": 0.5}], "markers": [{"step": 4, "at": …,
    /// "label": "checkpoint"}]}`, in the order of the steps, thinned by the server with extremes kept. A value that
    /// is no number is `null`; `markers` may be absent.
    pub url: String,
}

/// A chart.
#[derive(Clone, Debug)]
pub struct Chart {
    /// The metric.
    pub title: String,
    /// Its unit, when known.
    pub unit: Option<String>,
    /// Its lines.
    pub series: Vec<ChartSeries>,
    /// The latest value, for those who see no chart.
    pub last: Option<f64>,
    /// Whether it is hardly more than a number, and drawn low.
    pub small: bool,
}

impl Chart {
    pub(crate) fn data(&self) -> String {
        let lines: Vec<_> = self.series.iter().map(|s| json!({"name": s.name, "url": s.url})).collect();
        serde_json::Value::from(lines).to_string()
    }
}

/// What a metric's name begins with when the machine is measured, as `mlflow.enable_system_metrics_logging()` has it.
pub const SYSTEM: &str = "system/";
/// The most that a curve is smoothed: more is a straight line.
const MOST_SMOOTHING: f64 = 0.99;

/// How the charts of a run are drawn, as the URL has it: `axis`, `scale=log`, `smooth=0.6`, `q` (in the metric's
/// name) and `closed`, once for each section that is folded.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ChartChoices {
    /// What they are drawn over.
    pub axis: Axis,
    /// Whether values are drawn over their logarithm.
    pub log: bool,
    /// The weight of what came before, from 0 (not smoothed) to 0.99.
    pub smooth: f64,
    /// What the names of the metrics must hold.
    pub search: String,
}

impl ChartChoices {
    /// Reads the URL. Where it says nothing of the axis, `axis` is it.
    #[must_use]
    pub fn parse(view: &ViewUrl, axis: Axis) -> Self {
        let smooth = view.get("smooth").parse().unwrap_or(0.0_f64);
        Self {
            axis: if view.get("axis").is_empty() { axis } else { Axis::parse(view.get("axis")) },
            log: view.get("scale") == "log",
            smooth: if smooth.is_finite() { smooth.clamp(0.0, MOST_SMOOTHING) } else { 0.0 },
            search: view.get("q").trim().to_owned(),
        }
    }

    pub(crate) fn scale(&self) -> &'static str {
        if self.log { "log" } else { "linear" }
    }
}

/// A chart of the metric that it is known by.
#[derive(Clone, Debug)]
pub struct MetricChart {
    /// The metric.
    pub key: String,
    /// Whether the search leaves it out.
    pub hidden: bool,
    /// Its chart.
    pub chart: Chart,
}

/// The charts of metrics that begin alike: `train/loss` and `train/auc` are of the section `train`.
#[derive(Clone, Debug)]
pub struct ChartSection {
    /// What they begin with; empty for those without a slash.
    pub name: String,
    /// Whether it is folded.
    pub closed: bool,
    /// Its charts.
    pub charts: Vec<MetricChart>,
}

impl ChartSection {
    /// Charts by sections, those without a prefix first.
    #[must_use]
    pub fn sort(charts: Vec<MetricChart>, closed: &[&str]) -> Vec<Self> {
        let mut sections: BTreeMap<String, Vec<MetricChart>> = BTreeMap::new();
        for chart in charts {
            let below = chart.key.strip_prefix(SYSTEM).unwrap_or(&chart.key);
            let name = below.split_once('/').map_or("", |(name, _)| name);
            sections.entry(name.to_owned()).or_default().push(chart);
        }
        let section = |(name, charts): (String, _)| {
            let closed = closed.contains(&name.as_str());
            Self { name, closed, charts }
        };
        sections.into_iter().map(section).collect()
    }

    pub(crate) fn title(&self) -> &str {
        if self.name.is_empty() { "Without a prefix" } else { &self.name }
    }

    pub(crate) fn shown(&self) -> usize {
        self.charts.iter().filter(|c| !c.hidden).count()
    }
}

/// The unit of a system metric, by the endings that MLflow's and W&B's clients give their names.
#[must_use]
pub fn system_unit(key: &str) -> Option<&'static str> {
    const ENDINGS: [(&str, &str); 12] = [
        ("_percentage", "%"),
        ("_percent", "%"),
        ("Percent", "%"),
        ("cpu", "%"),
        ("_megabytes", "MB"),
        ("MB", "MB"),
        ("GB", "GB"),
        ("_watts", "W"),
        ("powerWatts", "W"),
        ("_celsius", "°C"),
        ("temp", "°C"),
        ("_bytes", "B"),
    ];
    let name = key.strip_prefix(SYSTEM)?;
    ENDINGS.into_iter().find(|(ending, _)| name.ends_with(ending)).map(|(_, unit)| unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(key: &str) -> MetricChart {
        let chart = Chart { title: key.into(), unit: None, series: vec![], last: None, small: false };
        MetricChart { key: key.into(), hidden: false, chart }
    }

    #[test]
    fn metrics_that_begin_alike_stand_together() {
        let keys = ["val/auc", "loss", "train/loss", "train/auc/macro", "system/gpu_0/memory"];
        let sections = ChartSection::sort(keys.map(chart).to_vec(), &["val"]);
        let told: Vec<(&str, usize, bool)> =
            sections.iter().map(|s| (s.name.as_str(), s.charts.len(), s.closed)).collect();
        assert_eq!(told, [("", 1, false), ("gpu_0", 1, false), ("train", 2, false), ("val", 1, true)]);
    }

    #[test]
    fn system_metrics_have_units() {
        for (key, unit) in [
            ("system/cpu_utilization_percentage", Some("%")),
            ("system/network_receive_megabytes", Some("MB")),
            ("system/gpu_0_power_usage_watts", Some("W")),
            ("system/gpu.0.temp", Some("°C")),
            ("system/proc.memory.rssMB", Some("MB")),
            ("system/jobs", None),
            ("share_percentage", None),
        ] {
            assert_eq!(system_unit(key), unit, "{key}");
        }
    }

    #[test]
    fn choices_that_the_url_gets_wrong_are_the_usual_ones() {
        let view = |pairs: &[(&str, &str)]| ViewUrl::new("/x", pairs.to_vec());
        let wrong = [("axis", "sideways"), ("smooth", "NaN"), ("scale", "cubic")];
        assert_eq!(ChartChoices::parse(&view(&wrong), Axis::Time), ChartChoices::default());
        assert_eq!(ChartChoices::parse(&view(&[("smooth", "7")]), Axis::Time).smooth, MOST_SMOOTHING);
        assert_eq!(ChartChoices::parse(&view(&[]), Axis::Relative).axis, Axis::Relative);
    }
}
