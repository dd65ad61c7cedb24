//! Whether a series of measurements grows: medians of its first and last quarter, a slope that single outliers don't bend, and
//! the interval that the slope of its second half lies in, once what goes with something that comes and goes is taken off.

/// Points that the slope is taken from, at most: its pairs grow with the square.
const MOST_POINTS: usize = 500;

/// The part of a series that makes one point of the second half. Measurements that follow each other within seconds are alike,
/// and an interval from all of them would be narrower than what is known.
const MINUTE_S: f64 = 60.0;
/// The normal distribution's quantile for an interval of 95 %.
const Z: f64 = 1.959_964;

/// A measurement.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Point {
    pub(super) at_s: f64,
    pub(super) value: f64,
    /// Something that comes and goes, and may have a part in the value.
    pub(super) beside: f64,
}

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
        Some(Self {
            first: median(&values(&points[..quarter])),
            last: median(&values(&points[points.len() - quarter..])),
            slope_per_s: median(&slopes(&thin)),
        })
    }
}

/// The slope of a series, with what it may be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Slope {
    /// The median of the slopes of all pairs of points, in units a second.
    pub(super) per_s: f64,
    /// The lower end of its interval of 95 %: above zero, the series grows.
    pub(super) least_per_s: f64,
    /// The upper end.
    pub(super) most_per_s: f64,
    /// What the value has for each unit of what comes and goes beside it, which is taken off.
    pub(super) per_beside: f64,
}

impl Slope {
    /// Of the second half of points in the order of time, each minute of which is its median; none of fewer than five minutes.
    ///
    /// The interval is that of Sen 1968: with n points, N = n(n−1)/2 slopes in order, and C = z·√(n(n−1)(2n+5)/18), the slopes
    /// numbered (N−C)/2 and (N+C)/2 + 1. How sure it is what goes with what lies beside is no part of it.
    pub(super) fn of_second_half(points: &[Point]) -> Option<Self> {
        let minutes = minutes(second_half(points));
        if minutes.len() < 5 {
            return None;
        }
        let per_beside = per_beside(&minutes);
        let rest = |minute: &Point| (minute.at_s, minute.value - per_beside * minute.beside);
        let slopes = slopes(&minutes.iter().map(rest).collect::<Vec<_>>());
        let n = count(minutes.len());
        let spread = Z * (n * (n - 1.0) * (2.0 * n + 5.0) / 18.0).sqrt();
        let aside = rounded_down((count(slopes.len()) - spread) / 2.0).saturating_sub(1);
        Some(Self {
            per_s: median(&slopes),
            least_per_s: slopes[aside],
            most_per_s: slopes[slopes.len() - 1 - aside],
            per_beside,
        })
    }
}

/// What goes with a unit of what lies beside: the median of what the value loses where that falls from one point to the next. While
/// it rises it goes as time does, and what grows could be either. Never below zero, and zero where it never falls.
fn per_beside(points: &[Point]) -> f64 {
    let falls = points.windows(2).filter(|pair| pair[1].beside < pair[0].beside);
    let losses = falls.map(|pair| (pair[1].value - pair[0].value) / (pair[1].beside - pair[0].beside));
    let losses: Vec<f64> = losses.collect();
    if losses.is_empty() { 0.0 } else { median(&losses).max(0.0) }
}

#[allow(clippy::cast_precision_loss)]
fn count(of: usize) -> f64 {
    of as f64
}

/// Zero if it is less.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn rounded_down(number: f64) -> usize {
    number.max(0.0) as usize
}

fn second_half(points: &[Point]) -> &[Point] {
    let (Some(first), Some(last)) = (points.first(), points.last()) else { return points };
    let middle = f64::midpoint(first.at_s, last.at_s);
    &points[points.partition_point(|point| point.at_s < middle)..]
}

/// The median of each whole minute, at its middle.
fn minutes(points: &[Point]) -> Vec<Point> {
    let (Some(first), Some(last)) = (points.first(), points.last()) else { return Vec::new() };
    let mut minutes = Vec::new();
    let mut from = first.at_s;
    // The last point of a whole minute comes up to one sample before its end.
    while from + MINUTE_S <= last.at_s + MINUTE_S / 10.0 {
        let of_minute: Vec<&Point> =
            points.iter().filter(|point| (from..from + MINUTE_S).contains(&point.at_s)).collect();
        let median_of =
            |of: fn(&Point) -> f64| median(&of_minute.iter().map(|point| of(point)).collect::<Vec<_>>());
        if !of_minute.is_empty() {
            let (value, beside) = (median_of(|point| point.value), median_of(|point| point.beside));
            minutes.push(Point { at_s: from + MINUTE_S / 2.0, value, beside });
        }
        from += MINUTE_S;
    }
    minutes
}

/// The slopes of all pairs of points that do not lie above each other, in order.
fn slopes(points: &[(f64, f64)]) -> Vec<f64> {
    let mut slopes = Vec::with_capacity(points.len() * points.len() / 2);
    for (i, (t, v)) in points.iter().enumerate() {
        let later = points[i + 1..].iter().filter(|(u, _)| u > t);
        slopes.extend(later.map(|(u, w)| (w - v) / (u - t)));
    }
    slopes.sort_by(f64::total_cmp);
    slopes
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

    /// Half an hour of measurements every two seconds.
    fn half_an_hour(value: impl Fn(f64) -> f64) -> Vec<Point> {
        let point = |at_s| Point { at_s, value: value(at_s), beside: 0.0 };
        (0..900).map(|n| point(f64::from(n) * 2.0)).collect()
    }

    /// A wave over minutes and a jitter about a line.
    fn wave(per_s: f64) -> impl Fn(f64) -> f64 {
        move |t| 90.0 + per_s * t + 1.5 * (t / 97.0).sin() + (t * 7.0) % 2.0
    }

    #[test]
    fn the_slope_of_the_second_half_is_told_from_zero_when_it_grows_and_only_then() {
        let flat = Slope::of_second_half(&half_an_hour(wave(0.0))).unwrap();
        assert!(flat.least_per_s < 0.0 && flat.most_per_s > 0.0, "{flat:?}");
        let per_s = 20.0 / 3_600.0;
        let grows = Slope::of_second_half(&half_an_hour(wave(per_s))).unwrap();
        assert!(grows.least_per_s > 0.0, "{grows:?}");
        assert!((grows.least_per_s..grows.most_per_s).contains(&per_s), "{grows:?}");
    }

    /// Teeth of five minutes and 7 high, the last one cut off in its middle, about a line; they go with what is told beside.
    fn teeth(per_s: f64, are_told: bool) -> Vec<Point> {
        let at = |t: f64| (t % 300.0) / 300.0;
        let line = wave(per_s);
        let mut points = half_an_hour(|t| line(t) + 7.0 * at(t));
        points.iter_mut().for_each(|point| point.beside = if are_told { 32.0 * at(point.at_s) } else { 0.0 });
        points
    }

    #[test]
    fn a_tooth_that_is_cut_off_is_no_growth_where_what_it_goes_with_is_told() {
        let growth = |slope: &Slope| slope.per_s * 3_600.0;
        let untold = Slope::of_second_half(&teeth(0.0, false)).unwrap();
        assert!(growth(&untold) > 10.0, "{untold:?}");
        let told = Slope::of_second_half(&teeth(0.0, true)).unwrap();
        assert!(growth(&told).abs() < 5.0 && told.least_per_s < 0.0 && told.most_per_s > 0.0, "{told:?}");
        assert!((0.1..0.4).contains(&told.per_beside), "{told:?}");
        let grows = Slope::of_second_half(&teeth(30.0 / 3_600.0, true)).unwrap();
        assert!(grows.least_per_s > 0.0 && (20.0..40.0).contains(&growth(&grows)), "{grows:?}");
    }

    #[test]
    fn a_leak_is_found_wherever_teeth_begin_and_however_few_there_are() {
        for period in [300.0, 480.0, 840.0, 1_700.0, 3_600.0] {
            for phase in (0..10).map(|tenth| f64::from(tenth) / 10.0 * period) {
                let at = |t: f64| (t + phase) % period / period;
                let line = wave(200.0 / 3_600.0);
                let mut points = half_an_hour(|t| line(t) + 7.0 * at(t));
                points.iter_mut().for_each(|point| point.beside = 32.0 * at(point.at_s));
                let grows = Slope::of_second_half(&points).unwrap();
                assert!(grows.least_per_s > 0.0, "teeth of {period} s, {phase} s on: {grows:?}");
            }
        }
    }

    #[test]
    fn what_happens_in_the_first_half_is_not_held_against_the_second() {
        let wave = wave(0.0);
        let fills = half_an_hour(|t| wave(t) + (t / 20.0).min(40.0));
        let after = Slope::of_second_half(&fills).unwrap();
        assert!(after.least_per_s <= 0.0, "{after:?}");
        let points: Vec<(f64, f64)> = fills.iter().map(|point| (point.at_s, point.value)).collect();
        assert!(Trend::of(&points).unwrap().slope_per_s > 0.0);
    }

    #[test]
    fn a_few_points_show_no_trend() {
        assert_eq!(Slope::of_second_half(&half_an_hour(wave(0.0))[..240]), None);
        assert_eq!(Trend::of(&[(0.0, 1.0); 7]), None);
        assert_eq!(median(&[3.0, 1.0]), 2.0);
        assert_eq!(median(&[3.0, 1.0, 9.0]), 3.0);
    }
}
