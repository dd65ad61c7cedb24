//! Thinning a series out for a chart, so that nothing that could be seen is lost: each stretch keeps its least and its
//! greatest value and its first NaN, the series its first and its last point.

use crate::metrics::MetricPoint;
use std::collections::BTreeSet;

/// At most `most` points of a series, in its order; at least the first and the last, and the least and the greatest of all.
pub(crate) fn thinned(points: Vec<MetricPoint>, most: usize) -> Vec<MetricPoint> {
    let most = most.max(4);
    if points.len() <= most {
        return points;
    }
    let (first, last) = (0, points.len() - 1);
    // Two points for each stretch, or three where there are NaNs, besides the first and the last.
    let with_nan = most >= 5 && points.iter().any(|p| p.value.is_nan());
    let stretches = (most - 2) / if with_nan { 3 } else { 2 };
    let mut kept = Vec::with_capacity(most);
    kept.push(first);
    for stretch in 0..stretches {
        let from = 1 + (last - 1) * stretch / stretches;
        let to = 1 + (last - 1) * (stretch + 1) / stretches;
        let stretch = &points[from..to];
        let (low, high) = extremes(stretch);
        let nan = stretch.iter().position(|p| p.value.is_nan()).filter(|_| with_nan);
        let chosen: BTreeSet<usize> = [low, high].into_iter().chain(nan).collect();
        kept.extend(chosen.into_iter().map(|at| from + at));
    }
    kept.push(last);
    kept.into_iter().map(|i| points[i]).collect()
}

/// Where the least and the greatest value are; a NaN is either only among NaNs.
fn extremes(points: &[MetricPoint]) -> (usize, usize) {
    let (mut low, mut high) = (0, 0);
    for (i, point) in points.iter().enumerate().skip(1) {
        if point.value < points[low].value || points[low].value.is_nan() {
            low = i;
        }
        if point.value > points[high].value || points[high].value.is_nan() {
            high = i;
        }
    }
    (low, high)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn series(values: &[f64]) -> Vec<MetricPoint> {
        let point = |(step, value): (usize, &f64)| MetricPoint { step: step as i64, at_ms: 0, value: *value };
        values.iter().enumerate().map(point).collect()
    }

    proptest! {
        #[test]
        fn first_last_least_and_greatest_stay_in_order(
            values in prop::collection::vec(-1e9..1e9f64, 5..2000),
            most in 4usize..300,
        ) {
            let all = series(&values);
            let kept = thinned(all.clone(), most);
            prop_assert!(kept.len() <= most.max(4));
            prop_assert!(kept.is_sorted_by(|a, b| a.step < b.step));
            prop_assert_eq!(kept.first(), all.first());
            prop_assert_eq!(kept.last(), all.last());
            let least = |p: &[MetricPoint]| p.iter().map(|p| p.value).fold(f64::INFINITY, f64::min);
            let greatest = |p: &[MetricPoint]| p.iter().map(|p| p.value).fold(f64::NEG_INFINITY, f64::max);
            prop_assert_eq!(least(&kept), least(&all));
            prop_assert_eq!(greatest(&kept), greatest(&all));
        }
    }

    #[test]
    fn a_nan_hides_no_value() {
        let mut values = vec![f64::NAN; 1000];
        values[500] = 3.0;
        values[501] = -3.0;
        let kept = thinned(series(&values), 10);
        assert!(kept.iter().any(|p| p.value == 3.0) && kept.iter().any(|p| p.value == -3.0));
    }

    #[test]
    fn a_nan_among_numbers_is_kept() {
        let mut values: Vec<f64> = (0..1000).map(f64::from).collect();
        values[500] = f64::NAN;
        for most in [4, 5, 10, 100] {
            let kept = thinned(series(&values), most);
            assert!(kept.len() <= most, "{most}: {}", kept.len());
            let has_nan = kept.iter().any(|p| p.value.is_nan());
            assert!(has_nan || most == 4, "{most}");
        }
    }
}
