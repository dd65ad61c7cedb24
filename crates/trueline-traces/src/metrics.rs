//! Numbers over many traces, spans or assessments: counts, sums, means, extremes and percentiles, by dimensions and by time.
//!
//! A percentile `p` of `n` values lies at `p (n - 1)` among them in their order and is interpolated between its two
//! neighbours. With `r` for a value's place, from 0, it is the sum of values weighted by `max(0, 1 - |r - p (n - 1)|)`, which
//! both databases can say.

mod catalogue;

use crate::filter::Conditions;
use crate::{TraceError, Traces};
use catalogue::Metric;
use std::collections::BTreeMap;
use trueline_db::{Row, Tx};
use trueline_identity::{Authorized, ReadProject};
use trueline_ledger::{Millis, ProjectId};
use trueline_search::mlflow::{MetricField, MetricFilter, parse_metric_filter};
use trueline_search::{Comparison, Entity, Expr, Field, Op, Value as Wanted};

/// The dimension of time.
const TIME: &str = "time_bucket";

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// Traces.
    Traces,
    /// Their spans.
    Spans,
    /// What was said of them.
    Assessments,
}

impl View {
    fn word(self) -> &'static str {
        match self {
            Self::Traces => "TRACES",
            Self::Spans => "SPANS",
            Self::Assessments => "ASSESSMENTS",
        }
    }

    /// Reads its word.
    ///
    /// # Errors
    /// [`TraceError::Invalid`].
    pub fn parse(word: &str) -> Result<Self, TraceError> {
        let found =
            [Self::Traces, Self::Spans, Self::Assessments].into_iter().find(|view| view.word() == word);
        found.ok_or_else(|| {
            TraceError::Invalid(format!(
                "view_type must be one of ['TRACES', 'SPANS', 'ASSESSMENTS'], got '{word}'"
            ))
        })
    }
}

/// How values are drawn together.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Aggregation {
    /// How many.
    Count,
    /// Their sum.
    Sum,
    /// Their mean.
    Avg,
    /// The least.
    Min,
    /// The greatest.
    Max,
    /// The value that so many of a hundred lie below.
    Percentile(f64),
}

impl Aggregation {
    /// Reads its word and, for a percentile, its number.
    ///
    /// # Errors
    /// [`TraceError::Invalid`].
    pub fn parse(word: &str, percentile: Option<f64>) -> Result<Self, TraceError> {
        let plain = match word {
            "PERCENTILE" => {
                return match percentile {
                    None => TraceError::invalid("Percentile value is required for PERCENTILE aggregation"),
                    Some(p) if !(0.0..=100.0).contains(&p) => {
                        TraceError::invalid(format!("Percentile value must be between 0 and 100, got {p}"))
                    }
                    Some(p) => Ok(Self::Percentile(p)),
                };
            }
            "COUNT" => Self::Count,
            "SUM" => Self::Sum,
            "AVG" => Self::Avg,
            "MIN" => Self::Min,
            "MAX" => Self::Max,
            _ => return TraceError::invalid(format!("Unsupported aggregation type: {word}")),
        };
        match percentile {
            None => Ok(plain),
            Some(_) => TraceError::invalid(format!(
                "Percentile value is only allowed for PERCENTILE aggregation type, got {word}"
            )),
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Count => "COUNT",
            Self::Sum => "SUM",
            Self::Avg => "AVG",
            Self::Min => "MIN",
            Self::Max => "MAX",
            Self::Percentile(_) => "PERCENTILE",
        }
    }

    /// The name of its number in an answer.
    fn label(self) -> String {
        match self {
            Self::Percentile(p) if p.fract() == 0.0 => format!("P{p:.1}"),
            Self::Percentile(p) => format!("P{p}"),
            other => other.word().to_owned(),
        }
    }

    /// Over the column `v`, with a value's place in `r` and the number of values in `n`.
    fn sql(self, conditions: &mut Conditions, distinct: bool) -> String {
        match self {
            Self::Count if distinct => "CAST(COUNT(DISTINCT v) AS DOUBLE PRECISION)".to_owned(),
            Self::Count => "CAST(COUNT(v) AS DOUBLE PRECISION)".to_owned(),
            Self::Percentile(p) => {
                let p = conditions.bind(p / 100.0);
                let distance = format!("ABS(r - CAST({p} AS DOUBLE PRECISION) * (n - 1))");
                format!("SUM(CASE WHEN {distance} < 1 THEN (1 - {distance}) * v ELSE 0 END)")
            }
            other => format!("{}(v)", other.word()),
        }
    }
}

/// What is asked.
#[derive(Clone, Debug)]
pub struct MetricQuery {
    /// Of these experiments.
    pub experiments: Vec<i64>,
    /// What is counted.
    pub view: View,
    /// Which number of it.
    pub metric: String,
    /// How it is drawn together; one number for each.
    pub aggregations: Vec<Aggregation>,
    /// Apart for each value of these.
    pub dimensions: Vec<String>,
    /// Each must hold; one comparison each.
    pub filters: Vec<String>,
    /// Apart for each span of time of so many seconds.
    pub interval_seconds: Option<i64>,
    /// From then on.
    pub from_ms: Option<Millis>,
    /// Up to then.
    pub to_ms: Option<Millis>,
    /// At most so many points.
    pub limit: u64,
}

/// One point of an answer.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricPoint {
    /// The metric.
    pub metric: String,
    /// The values of the dimensions; `time_bucket` is its beginning in RFC 3339.
    pub dimensions: BTreeMap<String, String>,
    /// A number for each aggregation, where there is one.
    pub values: BTreeMap<String, f64>,
}

impl MetricQuery {
    fn metric(&self) -> Result<&'static Metric, TraceError> {
        let metric = catalogue::find(self.view, &self.metric)?;
        let refused: Vec<&str> = self
            .aggregations
            .iter()
            .map(|a| a.word())
            .filter(|word| !metric.aggregations.contains(word))
            .collect();
        if !refused.is_empty() {
            return TraceError::invalid(format!(
                "Found invalid aggregation_type(s): {}. Supported aggregation types: {}",
                catalogue::listed(&refused),
                catalogue::listed(metric.aggregations)
            ));
        }
        let known: Vec<&str> = metric.dimensions.iter().map(|(name, _)| *name).collect();
        let refused: Vec<&str> =
            self.dimensions.iter().map(String::as_str).filter(|name| !known.contains(name)).collect();
        if !refused.is_empty() {
            return TraceError::invalid(format!(
                "Found invalid dimension(s): {}. Supported dimensions: {}",
                catalogue::listed(&refused),
                catalogue::listed(&known)
            ));
        }
        let interval = self.interval_seconds.filter(|seconds| *seconds != 0);
        if interval.is_some() && (self.from_ms.is_none() || self.to_ms.is_none()) {
            return TraceError::invalid(
                "start_time_ms and end_time_ms are required if time_interval_seconds is set",
            );
        }
        if interval.is_some_and(|seconds| !(1..=MOST_SECONDS).contains(&seconds)) {
            return TraceError::invalid(format!("time_interval_seconds must be from 1 to {MOST_SECONDS}"));
        }
        Ok(metric)
    }

    /// The dimensions as names and SQL, time first.
    fn groups(&self, conditions: &mut Conditions, metric: &Metric) -> Vec<(String, String)> {
        let mut groups = Vec::new();
        if let Some(seconds) = self.interval_seconds.filter(|seconds| *seconds != 0) {
            let size = conditions.bind(seconds.saturating_mul(1000));
            let time = catalogue::time(self.view);
            // Written so that times before 1970 fall into the earlier span too.
            groups.push((TIME.to_owned(), format!("({time} - (({time} % {size}) + {size}) % {size})")));
        }
        for wanted in &self.dimensions {
            let found = metric.dimensions.iter().find(|(name, _)| name == wanted);
            groups.extend(found.map(|(name, sql)| ((*name).to_owned(), (*sql).to_owned())));
        }
        groups
    }

    /// The statement that answers, and the names of its first columns.
    fn statement(&self, conditions: &mut Conditions) -> Result<(String, Vec<String>), TraceError> {
        let metric = self.metric()?;
        let mut wheres = vec![catalogue::source(self.view, conditions)];
        wheres.push(format!("{} IS NOT NULL", metric.value));
        for filter in &self.filters {
            wheres.push(self.condition(conditions, &parse_metric_filter(filter)?)?);
        }
        let time = catalogue::range_time(self.view, metric);
        for (bound, op) in [(self.from_ms, ">="), (self.to_ms, "<=")] {
            if let Some(bound) = bound {
                wheres.push(format!("{time} {op} {}", conditions.bind(bound)));
            }
        }
        let groups = self.groups(conditions, metric);
        wheres.extend(groups.iter().map(|(_, sql)| format!("{sql} IS NOT NULL")));
        let names: Vec<String> = (0..groups.len()).map(|n| format!("g{n}")).collect();
        let columns: Vec<String> =
            groups.iter().zip(&names).map(|((_, sql), name)| format!("{sql} AS {name}, ")).collect();
        let inner = format!(
            "SELECT {}{} AS v FROM {} WHERE {}",
            columns.concat(),
            metric.value,
            catalogue::from(self.view),
            wheres.join(" AND ")
        );
        let inner = match self.aggregations.iter().any(|a| matches!(a, Aggregation::Percentile(_))) {
            false => inner,
            true => {
                let apart = if names.is_empty() {
                    String::new()
                } else {
                    format!("PARTITION BY {}", names.join(", "))
                };
                format!(
                    "SELECT q.*, ROW_NUMBER() OVER ({apart} ORDER BY v) - 1 AS r, COUNT(*) OVER ({apart}) AS n \
                     FROM ({inner}) q"
                )
            }
        };
        let mut selected = names.clone();
        selected.extend(self.aggregations.iter().map(|a| a.sql(conditions, metric.distinct)));
        let grouped = match names.is_empty() {
            true => String::new(),
            false => format!(" GROUP BY {0} ORDER BY {0}", names.join(", ")),
        };
        let limit = conditions.bind(i64::try_from(self.limit).unwrap_or(i64::MAX));
        let sql = format!("SELECT {} FROM ({inner}) m{grouped} LIMIT {limit}", selected.join(", "));
        Ok((sql, groups.into_iter().map(|(name, _)| name).collect()))
    }

    fn condition(&self, conditions: &mut Conditions, filter: &MetricFilter) -> Result<String, TraceError> {
        let of_trace = |entity, key: &str| {
            let field = Field { entity, key: key.to_owned() };
            Expr::Comparison(Comparison {
                field,
                op: Op::Eq,
                value: Some(Wanted::Text(filter.value.clone())),
            })
        };
        let trace = match &filter.field {
            MetricField::TraceStatus => of_trace(Entity::Attribute, "status"),
            MetricField::TraceTag(key) => of_trace(Entity::Tag, key),
            MetricField::TraceMetadata(key) => of_trace(Entity::RequestMetadata, key),
            MetricField::SpanName => return self.own(conditions, View::Spans, "s.name", filter),
            MetricField::SpanStatus => return self.own(conditions, View::Spans, "s.status", filter),
            MetricField::SpanType => return self.own(conditions, View::Spans, "s.kind", filter),
            MetricField::AssessmentName => return self.own(conditions, View::Assessments, "a.name", filter),
            MetricField::AssessmentType => return self.own(conditions, View::Assessments, "a.kind", filter),
        };
        let condition = conditions.of(&trace)?;
        Ok(match self.view {
            View::Assessments => format!(
                "EXISTS (SELECT 1 FROM traces t WHERE t.project = a.project AND t.id = a.trace AND {condition})"
            ),
            _ => condition,
        })
    }

    fn own(
        &self,
        conditions: &mut Conditions,
        view: View,
        column: &str,
        filter: &MetricFilter,
    ) -> Result<String, TraceError> {
        if self.view != view {
            let what = if view == View::Assessments { "assessment" } else { "span" };
            let word = view.word();
            return TraceError::invalid(format!(
                "Filtering by {what} is only supported for {word} view type"
            ));
        }
        Ok(format!("{column} = {}", conditions.bind(filter.value.as_str())))
    }

    fn point(&self, row: &mut Row, names: &[String]) -> Result<Option<MetricPoint>, TraceError> {
        let mut dimensions = BTreeMap::new();
        for (n, name) in names.iter().enumerate() {
            let told = match name.as_str() {
                TIME => rfc3339(row.take(n)?),
                _ => row.take(n)?,
            };
            dimensions.insert(name.clone(), told);
        }
        let mut values = BTreeMap::new();
        for (n, aggregation) in self.aggregations.iter().enumerate() {
            if let Some(value) = row.take::<Option<f64>>(names.len() + n)? {
                values.insert(aggregation.label(), value);
            }
        }
        Ok((!values.is_empty()).then(|| MetricPoint { metric: self.metric.clone(), dimensions, values }))
    }

    fn run(&self, tx: &mut Tx<'_>, project: &ProjectId) -> Result<Vec<MetricPoint>, TraceError> {
        let mut conditions = Conditions::new(tx.dialect(), project, &self.experiments);
        let (sql, names) = self.statement(&mut conditions)?;
        let mut rows = tx.query(&sql, &conditions.params)?;
        rows.iter_mut().filter_map(|row| self.point(row, &names).transpose()).collect()
    }
}

/// A hundred years: more would not fit 64 bits of nanoseconds.
const MOST_SECONDS: i64 = 100 * 366 * 86_400;

fn rfc3339(ms: Millis) -> String {
    let second = jiff::Timestamp::from_millisecond(ms).unwrap_or_default();
    second.strftime("%Y-%m-%dT%H:%M:%S+00:00").to_string()
}

impl Traces {
    /// Numbers over many traces, spans or assessments.
    ///
    /// # Errors
    /// [`TraceError::Invalid`] for a metric, aggregation, dimension or filter that there is not.
    pub async fn metrics(
        &self,
        leave: &Authorized<ReadProject>,
        query: MetricQuery,
    ) -> Result<Vec<MetricPoint>, TraceError> {
        let project = leave.project().clone();
        self.ledger.db().read(move |tx| query.run(tx, &project)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_named_as_python_prints_them() {
        assert_eq!(Aggregation::Percentile(50.0).label(), "P50.0");
        assert_eq!(Aggregation::Percentile(99.9).label(), "P99.9");
        assert_eq!(Aggregation::parse("SUM", None).unwrap(), Aggregation::Sum);
        assert!(Aggregation::parse("PERCENTILE", Some(101.0)).is_err());
        assert!(Aggregation::parse("AVG", Some(50.0)).is_err());
    }

    #[test]
    fn a_span_of_time_is_told_by_its_beginning() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00+00:00");
        assert_eq!(rfc3339(1_763_736_000_000), "2025-11-21T14:40:00+00:00");
    }
}
