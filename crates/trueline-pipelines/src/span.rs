//! A span of time as people write it: `30s`, `10m`, `2h`, `7d`.

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A span of time in milliseconds, written as a number with its unit: `500ms`, `30s`, `10m`, `2h`, `7d`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(i64);

const UNITS: [(&str, i64); 5] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

impl Span {
    /// Of so many seconds.
    #[must_use]
    pub const fn seconds(seconds: i64) -> Self {
        Self(seconds * 1_000)
    }

    /// In milliseconds.
    #[must_use]
    pub const fn millis(self) -> i64 {
        self.0
    }

    /// Reads `10m`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let factor = UNITS.iter().find(|(name, _)| *name == unit.trim())?.1;
        number.parse::<i64>().ok()?.checked_mul(factor).map(Self)
    }
}

impl std::fmt::Display for Span {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let whole = |factor: i64| self.0 % factor == 0 && self.0 >= factor;
        let (unit, factor) = UNITS.into_iter().rev().find(|(_, f)| whole(*f)).unwrap_or(("s", 1_000));
        write!(f, "{}{unit}", self.0 / factor)
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        let text = String::deserialize(input)?;
        Self::parse(&text).ok_or_else(|| {
            serde::de::Error::custom(format!("`{text}` is no span of time: write 30s, 10m, 2h or 7d"))
        })
    }
}

impl JsonSchema for Span {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Span".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "description": "A span of time: 500ms, 30s, 10m, 2h, 7d",
            "pattern": "^[0-9]+(ms|s|m|h|d)$"
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Span;

    #[test]
    fn a_span_is_read_and_written_with_its_largest_whole_unit() {
        for text in ["500ms", "30s", "10m", "2h", "7d", "0s"] {
            assert_eq!(Span::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(Span::parse("90s").unwrap().to_string(), "90s");
        assert_eq!(Span::parse("120s").unwrap().to_string(), "2m");
    }

    #[test]
    fn what_has_no_unit_or_is_too_long_is_no_span() {
        for text in ["", "5", "m", "-5s", "1w", "99999999999999999d"] {
            assert_eq!(Span::parse(text), None, "{text}");
        }
    }
}
