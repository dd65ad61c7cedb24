//! Whether a series of measurements grows: medians of its first and last quarter, and a slope that single outliers don't bend.

/// Points that the slope is taken from, at most: its pairs grow with the square.
const MOST_POINTS: usize = 500;

/// How a series goes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Trend {
    /// The median of the first quarter of the points.
    pub(super) first: f64,
    /// The median of the last quarter.
    pub(super) last: f64,
    /// The median of the slopes of all pairs of points, in units a second (Theil 1950, Sen 1968).
    pub(super) slope_per_s: f64,
}

impl Trend {
    /// Of points in the order of time, `(seconds, value)`; none of fewer than eight.
    pub(super) fn of(points: &[(f64, f64)]) -> Option<Self> {
        if points.len() < 8 {
            return None;
        }
        let quarter = points.len() / 4;
        let values = |part: &[(f64, f64)]| part.iter().map(|p| p.1).collect::<Vec<_>>();
        let thin: Vec<(f64, f64)> =
            points.iter().copied().step_by(points.len().div_ceil(MOST_POINTS)).collect();
        let mut slopes = Vec::with_capacity(thin.len() * thin.len() / 2);
        for (i, (t, v)) in thin.iter().enumerate() {
            let later = thin[i + 1..].iter().filter(|(u, _)| u > t);
            slopes.extend(later.map(|(u, w)| (w - v) / (u - t)));
        }
        Some(Self {
            first: median(&values(&points[..quarter])),
            last: median(&values(&points[points.len() - quarter..])),
            slope_per_s: median(&slopes),
        })
    }
}

/// The median: the mean of the middle two, where there are two.
pub(super) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => f64::NAN,
        odd if odd % 2 == 1 => sorted[middle],
        _ => f64::midpoint(sorted[middle - 1], sorted[middle]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_its_slope_also_with_outliers_and_a_flat_series_has_none() {
        let seconds = (0..2_000).map(f64::from);
        let line: Vec<(f64, f64)> = seconds.clone().map(|t| (t, 100.0 + 0.5 * t)).collect();
        let of_line = Trend::of(&line).unwrap();
        assert!((of_line.slope_per_s - 0.5).abs() < 1e-9, "{of_line:?}");
        assert!(of_line.last > of_line.first + 700.0, "{of_line:?}");
        let spiky = |(t, v): (f64, f64)| if t % 10.0 == 3.0 { (t, v + 5_000.0) } else { (t, v) };
        let of_spiky = Trend::of(&line.into_iter().map(spiky).collect::<Vec<_>>()).unwrap();
        assert!((of_spiky.slope_per_s - 0.5).abs() < 0.05, "{of_spiky:?}");
        let flat: Vec<(f64, f64)> = seconds.map(|t| (t, 7.0 + t % 2.0)).collect();
        let of_flat = Trend::of(&flat).unwrap();
        assert!(
            of_flat.slope_per_s.abs() < 1e-3 && (of_flat.last - of_flat.first).abs() < 1e-9,
            "{of_flat:?}"
        );
    }

    #[test]
    fn a_few_points_show_no_trend() {
        assert_eq!(Trend::of(&[(0.0, 1.0); 7]), None);
        assert_eq!(median(&[3.0, 1.0]), 2.0);
        assert_eq!(median(&[3.0, 1.0, 9.0]), 3.0);
    }
}
