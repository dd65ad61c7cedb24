//! What was measured: a table for people, JSON for programs.

use crate::{Histogram, LoadReport};
use serde_json::{Value as Json, json};
use std::fmt;

/// Everything that one run has measured.
#[derive(Clone, Debug, Default)]
pub struct Table {
    lines: Vec<Line>,
}

#[derive(Clone, Debug)]
struct Line {
    group: String,
    name: String,
    value: f64,
    unit: &'static str,
    at_most: Option<f64>,
    at_least: Option<f64>,
    /// Why there is no number.
    instead: Option<String>,
}

impl Table {
    /// Notes a number.
    pub fn add(&mut self, group: &str, name: &str, value: f64, unit: &'static str) {
        self.lines.push(Line {
            group: group.to_owned(),
            name: name.to_owned(),
            value,
            unit,
            at_most: None,
            at_least: None,
            instead: None,
        });
    }

    /// Notes why there is no number. What was to be at least something is not reached then.
    pub fn add_none(&mut self, group: &str, name: &str, why: String, at_least: Option<f64>) {
        self.add(group, name, f64::NAN, "");
        if let Some(line) = self.lines.last_mut() {
            (line.at_least, line.instead) = (at_least, Some(why));
        }
    }

    /// Notes a number that has a budget.
    pub fn add_with_budget(&mut self, group: &str, name: &str, value: f64, unit: &'static str, at_most: f64) {
        self.add(group, name, value, unit);
        if let Some(line) = self.lines.last_mut() {
            line.at_most = Some(at_most);
        }
    }

    /// Notes a number that should not be smaller.
    pub fn add_at_least(&mut self, group: &str, name: &str, value: f64, unit: &'static str, at_least: f64) {
        self.add(group, name, value, unit);
        if let Some(line) = self.lines.last_mut() {
            line.at_least = Some(at_least);
        }
    }

    /// Notes the quantiles of latencies.
    pub fn add_latency(&mut self, group: &str, what: &str, latency: &Histogram) {
        for (name, q) in [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999)] {
            self.add(group, &format!("{what}, {name}"), latency.quantile(q).as_secs_f64() * 1e3, "ms");
        }
        self.add(group, &format!("{what}, max"), latency.max().as_secs_f64() * 1e3, "ms");
    }

    /// Notes what an open-loop load came to.
    pub fn add_load(&mut self, group: &str, what: &str, load: &LoadReport) {
        self.add(group, &format!("{what}, rate"), load.rate_per_s(), "/s");
        self.add_latency(group, what, &load.latency);
        #[allow(clippy::cast_precision_loss)]
        self.add_with_budget(group, &format!("{what}, failed"), load.failed as f64, "", 0.0);
    }

    /// Whether every number is within its budget.
    #[must_use]
    pub fn within_budget(&self) -> bool {
        self.lines.iter().all(Line::within_budget)
    }

    /// The table for programs: `{"lines": [{"group", "name", "value", "unit", "at_most", "at_least", "instead"}]}`.
    #[must_use]
    pub fn json(&self) -> Json {
        let line = |l: &Line| json!({ "group": l.group, "name": l.name, "value": l.value, "unit": l.unit, "at_most": l.at_most, "at_least": l.at_least, "instead": l.instead });
        json!({ "lines": self.lines.iter().map(line).collect::<Vec<_>>() })
    }
}

impl Line {
    fn within_budget(&self) -> bool {
        self.at_most.is_none_or(|most| self.value <= most)
            && self.at_least.is_none_or(|least| self.value >= least)
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.lines.iter().map(|l| l.name.chars().count()).max().unwrap_or(0);
        // What is said of a group later stands with it.
        let mut groups: Vec<&str> = Vec::new();
        for line in &self.lines {
            if !groups.contains(&line.group.as_str()) {
                groups.push(&line.group);
            }
        }
        let place = |line: &Line| groups.iter().position(|group| *group == line.group);
        let mut lines: Vec<&Line> = self.lines.iter().collect();
        lines.sort_by_key(|line| place(line));
        let mut group = None;
        for line in lines {
            if group != Some(&line.group) {
                writeln!(f, "\n{}", line.group)?;
                group = Some(&line.group);
            }
            let digits = if line.value.abs() >= 1000.0 || line.value.fract() == 0.0 { 0 } else { 2 };
            match &line.instead {
                Some(why) => write!(f, "  {:<width$} {why}", line.name)?,
                None => write!(f, "  {:<width$} {:>12.digits$} {}", line.name, line.value, line.unit)?,
            }
            match (line.at_most, line.at_least) {
                (Some(most), _) if line.within_budget() => writeln!(f, "  (at most {most})")?,
                (Some(most), _) => writeln!(f, "  OVER ITS BUDGET of {most}")?,
                (None, Some(least)) if line.within_budget() => writeln!(f, "  (at least {least})")?,
                (None, Some(least)) => writeln!(f, "  NOT REACHED: {least}")?,
                (None, None) => writeln!(f)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_over_its_budget_is_named_and_the_numbers_are_in_the_json() {
        let mut table = Table::default();
        table.add_with_budget("start", "ready", 12.5, "ms", 300.0);
        assert!(table.within_budget());
        table.add_with_budget("start", "memory", 61.0, "MiB", 60.0);
        assert!(!table.within_budget());
        let text = table.to_string();
        assert!(text.contains("12.50 ms  (at most 300)"), "{text}");
        assert!(text.contains("61 MiB  OVER ITS BUDGET of 60"), "{text}");
        assert_eq!(table.json()["lines"][1]["value"], 61.0);
        let mut none = Table::default();
        none.add_none("ratio", "faster", "no fair figure".to_owned(), None);
        assert!(none.within_budget() && none.to_string().contains("faster no fair figure"));
        none.add_none("ratio", "faster", "no fair figure".to_owned(), Some(2.0));
        assert!(!none.within_budget() && none.json()["lines"][1]["value"].is_null());
        let mut ratio = Table::default();
        ratio.add_at_least("ratio", "faster", 62.0, "", 100.0);
        assert!(!ratio.within_budget() && ratio.to_string().contains("NOT REACHED: 100"));
    }
}
