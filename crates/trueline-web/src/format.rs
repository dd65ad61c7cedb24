//! Numbers, sizes, durations and times as people read them. What is missing is "–", never 0.

use jiff::Timestamp;

/// What stands for a missing value.
pub const MISSING: &str = "–";

/// A number with up to six significant digits, in plain notation where that stays short.
#[must_use]
pub fn number(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "∞" } else { "−∞" }.to_owned();
    }
    if value.fract() == 0.0 && value.abs() < 1e12 {
        return minus(&group(&format!("{value:.0}")));
    }
    // Rounded to six digits first, so that the power is that of the rounded number.
    let rounded = format!("{value:.5e}");
    let (mantissa, power) = rounded.split_once('e').unwrap_or((&rounded, "0"));
    let power: i32 = power.parse().unwrap_or(0);
    if (-4..12).contains(&power) {
        let digits = usize::try_from(5 - power).unwrap_or(0);
        minus(&group(trimmed(&format!("{value:.digits$}"))))
    } else {
        minus(&format!("{}e{power}", trimmed(mantissa)))
    }
}

/// Without the zeros that end a fraction.
fn trimmed(text: &str) -> &str {
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { text }
}

/// A true minus sign has the width of a digit.
fn minus(text: &str) -> String {
    text.replace('-', "−")
}

/// Groups the digits before the point by thousands, with a comma, from five digits on.
fn group(text: &str) -> String {
    let (sign, rest) = text.strip_prefix('-').map_or(("", text), |r| ("-", r));
    let (whole, fraction) = rest.split_once('.').map_or((rest, None), |(w, f)| (w, Some(f)));
    let mut grouped = String::with_capacity(text.len() + 4);
    for (i, digit) in whole.chars().enumerate() {
        if i > 0 && whole.len() > 4 && (whole.len() - i).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    match fraction {
        Some(f) => format!("{sign}{grouped}.{f}"),
        None => format!("{sign}{grouped}"),
    }
}

/// A count, with thousands set apart.
#[must_use]
pub fn count(value: u64) -> String {
    group(&value.to_string())
}

/// A number of which three digits are enough: a rate, a time that was measured.
#[must_use]
pub fn three_digits(value: f64) -> f64 {
    if value == 0.0 || !value.is_finite() {
        return 0.0;
    }
    let places = 2 - value.abs().log10().floor() as i32;
    let unit = 10_f64.powi(places.abs());
    if places < 0 { (value / unit).round() * unit } else { (value * unit).round() / unit }
}

/// A count with its noun: `1 run`, `12 runs`, `3 entries`.
#[must_use]
pub fn counted(value: u64, noun: &str) -> String {
    match noun.strip_suffix('y') {
        _ if value == 1 => format!("{} {noun}", count(value)),
        // "day" and "key" only take an s.
        Some(stem) if !stem.ends_with(['a', 'e', 'o', 'u']) => format!("{} {stem}ies", count(value)),
        _ => format!("{} {noun}s", count(value)),
    }
}

/// Whether a text is a finite number.
#[must_use]
pub fn is_number(text: &str) -> bool {
    text.trim().parse::<f64>().is_ok_and(f64::is_finite)
}

/// Bytes in decimal units, as file managers and object stores count them.
#[must_use]
pub fn bytes(value: u64) -> String {
    const UNITS: [&str; 6] = ["kB", "MB", "GB", "TB", "PB", "EB"];
    if value < 1000 {
        return format!("{value} B");
    }
    let mut size = value as f64;
    let mut unit = "B";
    for next in UNITS {
        // What would be rounded up to 1000 belongs to the next unit.
        if size < 999.5 {
            break;
        }
        size /= 1000.0;
        unit = next;
    }
    if size < 9.95 { format!("{size:.1} {unit}") } else { format!("{size:.0} {unit}") }
}

/// A duration by its two largest units: `850 ms`, `4.2 s`, `3 min 20 s`, `2 h 5 min`, `3 d 4 h`.
#[must_use]
pub fn duration_ms(value: i64) -> String {
    let ms = value.max(0);
    let pair = |big: i64, big_unit: &str, small: i64, small_unit: &str| match small {
        0 => format!("{big} {big_unit}"),
        _ => format!("{big} {big_unit} {small} {small_unit}"),
    };
    match ms {
        0..1000 => format!("{ms} ms"),
        1000..60_000 => format!("{}.{} s", ms / 1000, ms % 1000 / 100),
        60_000..3_600_000 => pair(ms / 60_000, "min", ms % 60_000 / 1000, "s"),
        3_600_000..86_400_000 => pair(ms / 3_600_000, "h", ms % 3_600_000 / 60_000, "min"),
        _ => pair(ms / 86_400_000, "d", ms % 86_400_000 / 3_600_000, "h"),
    }
}

/// A duration of less than a second to the microsecond: `412 µs`, `8.25 ms`; a longer one as [`duration_ms`] has it.
#[must_use]
pub fn duration_us(value: i64) -> String {
    let us = value.max(0);
    match us {
        0..1000 => format!("{us} µs"),
        1000..100_000 => {
            let hundredths = us / 10;
            let text = format!("{}.{:02}", hundredths / 100, hundredths % 100);
            format!("{} ms", trimmed(&text))
        }
        _ => duration_ms(us / 1000),
    }
}

/// How long ago, or in how long, by the largest unit.
#[must_use]
pub fn relative(at: Timestamp, now: Timestamp) -> String {
    let ms = now.as_millisecond() - at.as_millisecond();
    let (past, s) = (ms >= 0, ms.abs() / 1000);
    let span = match s {
        0..10 => return "just now".to_owned(),
        10..60 => format!("{s} s"),
        60..3600 => format!("{} min", s / 60),
        3600..86_400 => format!("{} h", s / 3600),
        86_400..5_184_000 => format!("{} d", s / 86_400),
        5_184_000..63_072_000 => format!("{} mo", s / 2_629_800),
        _ => format!("{} y", s / 31_557_600),
    };
    if past { format!("{span} ago") } else { format!("in {span}") }
}

/// The time with its zone, to the second.
#[must_use]
pub fn absolute(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

/// Ids that nobody compares by eye, shortened within a text of parts: `b6139ce9…/train`, `m-75cedfb1…`, `delays/3@9265bc82…`.
#[must_use]
pub fn short_ids(text: &str) -> String {
    let short = |part: &str| {
        let word = part.trim_end_matches(BETWEEN_PARTS);
        let (kind, hex) = word.strip_prefix("m-").map_or(("", word), |hex| ("m-", hex));
        let is_id = hex.len() >= 32 && hex.bytes().all(|b| b.is_ascii_hexdigit());
        if is_id { format!("{kind}{}…{}", &hex[..8], &part[word.len()..]) } else { part.to_owned() }
    };
    text.split_inclusive(BETWEEN_PARTS).map(short).collect()
}

/// What stands between the parts of a name.
const BETWEEN_PARTS: [char; 2] = ['/', '@'];

/// The day of a time.
#[must_use]
pub fn day(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d").to_string()
}

/// A digest short enough to read: what is before the colon, and eight digits.
#[must_use]
pub fn short_digest(digest: &str) -> String {
    let (kind, hex) = digest.split_once(':').map_or(("", digest), |(k, h)| (k, h));
    let head: String = hex.chars().take(if kind.is_empty() { 12 } else { 8 }).collect();
    if kind.is_empty() { head } else { format!("{kind}:{head}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_six_digits() {
        for (value, text) in [
            (0.0, "0"),
            (0.912_345_678, "0.912346"),
            (0.05, "0.05"),
            (0.001_234_567_8, "0.00123457"),
            (12.5, "12.5"),
            (1_234.567_89, "1234.57"),
            (1_234_567.0, "1,234,567"),
            (123_456.789, "123,457"),
            (-0.25, "−0.25"),
            (0.000_012_345, "1.2345e−5"),
            (3e15, "3e15"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "∞"),
        ] {
            assert_eq!(number(value), text, "{value}");
        }
    }

    #[test]
    fn three_digits_are_enough_for_what_was_measured() {
        let told = [1_234.5, 0.012_345, 99.95, 0.0, f64::NAN].map(three_digits);
        assert_eq!(told, [1_230.0, 0.0123, 100.0, 0.0, 0.0]);
    }

    #[test]
    fn counts_agree_with_their_noun() {
        assert_eq!(counted(1, "entry"), "1 entry");
        assert_eq!(counted(48_190, "entry"), "48,190 entries");
        assert_eq!(counted(0, "run"), "0 runs");
        assert_eq!(counted(30, "day"), "30 days");
    }

    #[test]
    fn sizes_and_durations_have_units() {
        assert_eq!(bytes(999), "999 B");
        assert_eq!(bytes(1_000), "1.0 kB");
        assert_eq!(bytes(999_600), "1.0 MB");
        assert_eq!(bytes(48_230_000), "48 MB");
        assert_eq!(duration_ms(850), "850 ms");
        assert_eq!(duration_ms(4_250), "4.2 s");
        assert_eq!(duration_ms(200_000), "3 min 20 s");
        assert_eq!(duration_ms(7_500_000), "2 h 5 min");
        assert_eq!(duration_us(412), "412 µs");
        assert_eq!(duration_us(8_250), "8.25 ms");
        assert_eq!(duration_us(8_000), "8 ms");
        assert_eq!(duration_us(2_500_000), "2.5 s");
    }

    #[test]
    fn times_are_told_from_now() {
        let now = Timestamp::from_second(1_780_000_000).unwrap();
        let ago = |s: i64| relative(Timestamp::from_second(1_780_000_000 - s).unwrap(), now);
        assert_eq!(ago(3), "just now");
        assert_eq!(ago(150), "2 min ago");
        assert_eq!(ago(-7200), "in 2 h");
        assert_eq!(ago(40 * 86_400), "40 d ago");
        assert_eq!(absolute(now), "2026-05-28 20:26:40 UTC");
    }

    #[test]
    fn ids_are_shortened_and_names_are_not() {
        assert_eq!(short_ids("b6139ce9e17aa05fd7f8804e2f566757/train"), "b6139ce9…/train");
        assert_eq!(short_ids("m-75cedfb11e26aad1b2740c31984b7f8d"), "m-75cedfb1…");
        assert_eq!(short_ids("flight-delay/1"), "flight-delay/1");
        let segment = "endpoints/delays/11@9265bc82d49bb2493a19aea97fde2078";
        assert_eq!(short_ids(segment), "endpoints/delays/11@9265bc82…");
        assert_eq!(short_ids("a//b@/"), "a//b@/");
    }

    #[test]
    fn digests_are_shortened_with_their_kind() {
        assert_eq!(short_digest("sha256:0123456789abcdef"), "sha256:01234567");
        assert_eq!(short_digest("0123456789abcdef"), "0123456789ab");
    }
}
