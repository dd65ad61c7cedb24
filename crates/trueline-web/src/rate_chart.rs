//! Rates over the last minutes as a small chart that is drawn here: a line for each version, what failed, and the moments at
//! which the route changed. The browser only stretches it.

use crate::format::{number, three_digits};
use askama::Template;
use askama::filters::HtmlSafe;

/// A line of the chart.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Line {
    /// Its colour, or that it tells of failures.
    class: String,
    path: String,
    name: String,
    newest: String,
}

/// A moment that is marked.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Mark {
    x: String,
    told: String,
}

/// Rates of several series over the same stretch of time.
#[derive(Clone, Debug, PartialEq, Eq, Template)]
#[template(path = "rate_chart.html")]
pub struct RateChart {
    title: String,
    from: String,
    top: String,
    lines: Vec<Line>,
    marks: Vec<Mark>,
    label: String,
}

impl HtmlSafe for RateChart {}

impl RateChart {
    const WIDTH: f64 = 600.0;
    const HEIGHT: f64 = 100.0;

    /// An empty chart: what it shows in which unit, and when it begins.
    #[must_use]
    pub fn new(title: &str, from: &str) -> Self {
        Self {
            title: title.to_owned(),
            from: from.to_owned(),
            top: String::new(),
            lines: Vec::new(),
            marks: Vec::new(),
            label: String::new(),
        }
    }

    /// With these series by the number of their colour, none for failures, and by name; rates are oldest first.
    #[must_use]
    pub fn with(mut self, series: &[(Option<usize>, &str, &[f64])]) -> Self {
        let highest = series.iter().flat_map(|(.., rates)| rates.iter().copied()).fold(0.0, f64::max);
        let top = round_up(highest);
        let line = |(colour, name, rates): &(Option<usize>, &str, &[f64])| Line {
            class: colour.map_or_else(|| "failed".to_owned(), |colour| format!("c{colour}")),
            path: path(rates, top),
            name: (*name).to_owned(),
            newest: number(three_digits(rates.last().copied().unwrap_or_default())),
        };
        self.lines = series.iter().map(line).collect();
        let told: Vec<String> = self.lines.iter().map(|l| format!("{} now {}", l.name, l.newest)).collect();
        self.label = format!(
            "{} since {}, at most {}: {}",
            self.title,
            self.from,
            number(three_digits(highest)),
            told.join(", ")
        );
        self.top = number(top);
        self
    }

    /// With moments marked, each told by its place from 0 at the beginning to 1 now.
    #[must_use]
    pub fn marked(mut self, marks: impl Iterator<Item = (f64, String)>) -> Self {
        let within = marks.filter(|(place, _)| (0.0..=1.0).contains(place));
        self.marks =
            within.map(|(place, told)| Mark { x: format!("{:.1}", place * Self::WIDTH), told }).collect();
        self
    }
}

fn path(rates: &[f64], top: f64) -> String {
    let step = RateChart::WIDTH / rates.len().saturating_sub(1).max(1) as f64;
    let mut path = String::with_capacity(rates.len() * 12);
    for (i, rate) in rates.iter().enumerate() {
        let (x, y) = (i as f64 * step, RateChart::HEIGHT * (1.0 - rate / top));
        path.push_str(&format!("{}{x:.1} {y:.1}", if i == 0 { 'M' } else { 'L' }));
    }
    path
}

/// The next of 1, 2 and 5 times a power of ten, so that the axis has a number that is easily read.
fn round_up(highest: f64) -> f64 {
    if highest <= 0.0 {
        return 1.0;
    }
    let power = highest.log10().floor() as i32;
    let unit = 10_f64.powi(power.abs());
    let times = |factor: f64| if power < 0 { factor / unit } else { factor * unit };
    [1.0, 2.0, 5.0].map(times).into_iter().find(|top| *top >= highest).unwrap_or_else(|| times(10.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_axis_ends_at_a_number_that_is_easily_read() {
        for (highest, top) in
            [(0.0, 1.0), (0.07, 0.1), (0.2, 0.2), (1.0, 1.0), (3.3, 5.0), (371.0, 500.0), (7_000.0, 1e4)]
        {
            assert_eq!(round_up(highest), top, "{highest}");
        }
    }

    #[test]
    fn lines_share_an_axis_and_are_told_in_words() {
        let chart = RateChart::new("Requests a second", "15 minutes ago")
            .with(&[(Some(1), "delays 1", &[0.0, 2.0, 1.0]), (None, "Not answered", &[0.0, 0.0, 1.0 / 3.0])])
            .marked([(0.5, "generation 2".to_owned()), (-0.1, "long ago".to_owned())].into_iter());
        assert_eq!(chart.lines[0].path, "M0.0 100.0L300.0 0.0L600.0 50.0");
        assert_eq!((chart.top.as_str(), chart.lines[1].class.as_str()), ("2", "failed"));
        assert_eq!(
            chart.label,
            "Requests a second since 15 minutes ago, at most 2: delays 1 now 1, Not answered now 0.333"
        );
        assert_eq!(chart.marks, [Mark { x: "300.0".into(), told: "generation 2".into() }]);
        assert!(chart.render().unwrap().contains("generation 2"));
    }
}
