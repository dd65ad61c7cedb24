//! The charts of one run: a chart for each metric, in sections, as the URL asks for them.

use super::Visitor;
use super::runs::series_url;
use crate::links::ViewUrl;
use crate::pages::{
    Axis, Chart, ChartChoices, ChartSection, ChartSeries, MetricChart, RunTab, SYSTEM, system_unit,
};
use trueline_tracking::{LoggedMetric, RunData};

/// Whether a metric is one of the machine's.
pub(super) fn is_system(metric: &LoggedMetric) -> bool {
    metric.key.starts_with(SYSTEM)
}

/// The charts of a tab, in sections.
pub(super) fn sections(
    visitor: &Visitor,
    run: &RunData,
    tab: RunTab,
    choices: &ChartChoices,
    view: &ViewUrl,
) -> Vec<ChartSection> {
    let wanted = choices.search.to_lowercase();
    let chart = |metric: &LoggedMetric| {
        let key = &metric.key;
        let unit = system_unit(key);
        let chart = Chart {
            title: title(key, unit),
            unit: unit.map(ToOwned::to_owned),
            series: vec![ChartSeries {
                name: run.run.name.clone(),
                url: series_url(visitor.project(), run.run.id.as_str(), key),
            }],
            last: Some(metric.point.value),
            // Over steps, what was logged without one is hardly more than a number.
            small: choices.axis == Axis::Step && metric.point.step == 0,
        };
        MetricChart { key: key.clone(), hidden: !key.to_lowercase().contains(&wanted), chart }
    };
    let own = run.metrics.iter().filter(|m| is_system(m) == (tab == RunTab::System));
    let mut charts: Vec<MetricChart> = own.map(chart).collect();
    charts.sort_by_key(|c| c.chart.small);
    let closed: Vec<&str> = view.all("closed").collect();
    ChartSection::sort(charts, &closed)
}

/// A metric's name as a title. The unit stands beside it, so it need not end with it.
fn title(key: &str, unit: Option<&str>) -> String {
    let Some(name) = key.strip_prefix(SYSTEM) else { return key.to_owned() };
    let short = match unit {
        Some("%") => name.trim_end_matches("_percentage").trim_end_matches("_percent"),
        Some("MB") => name.trim_end_matches("_megabytes"),
        Some("W") => name.trim_end_matches("_watts"),
        _ => name,
    };
    short.replace('_', " ")
}

#[cfg(test)]
mod tests {
    use super::title;

    #[test]
    fn a_title_leaves_out_what_stands_beside_it() {
        assert_eq!(title("system/cpu_utilization_percentage", Some("%")), "cpu utilization");
        assert_eq!(title("system/gpu.0.temp", Some("°C")), "gpu.0.temp");
        assert_eq!(title("val/auc_percentage", None), "val/auc_percentage");
    }
}
