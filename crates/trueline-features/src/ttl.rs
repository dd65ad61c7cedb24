//! How long a feature value stays true: `6h`, `30m`, `90s`, `7d`.

use crate::FeatureError;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

const UNITS: [(&str, i64); 4] = [("d", 86_400), ("h", 3600), ("m", 60), ("s", 1)];
const MICROS: i64 = 1_000_000;

/// A span of whole seconds above zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ttl(i64);

impl Ttl {
    /// Reads `6h`, `30m`, `90s` or `7d`.
    ///
    /// # Errors
    /// [`FeatureError::Invalid`].
    pub fn parse(text: &str) -> Result<Self, FeatureError> {
        let unit = UNITS.iter().find_map(|(unit, seconds)| Some((text.strip_suffix(unit)?, *seconds)));
        let seconds = unit.and_then(|(n, seconds)| n.parse::<i64>().ok()?.checked_mul(seconds));
        // Microseconds must fit too.
        match seconds.filter(|s| *s > 0 && s.checked_mul(MICROS).is_some()) {
            Some(seconds) => Ok(Self(seconds)),
            None => Err(FeatureError::Invalid(format!(
                "`{text}` is no span of time: write `90s`, `30m`, `6h` or `7d`, or leave ttl out for no limit"
            ))),
        }
    }

    /// The span in microseconds.
    #[must_use]
    pub fn micros(self) -> i64 {
        self.0 * MICROS
    }
}

impl fmt::Display for Ttl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, seconds) = UNITS.into_iter().find(|(_, s)| self.0 % s == 0).unwrap_or(("s", 1));
        write!(f, "{}{unit}", self.0 / seconds)
    }
}

impl Serialize for Ttl {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Ttl {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(from)?).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::Ttl;

    #[test]
    fn spans_are_read_and_shown_in_their_largest_unit() {
        let shown = |text: &str| Ttl::parse(text).unwrap().to_string();
        assert_eq!([shown("90s"), shown("120m"), shown("48h"), shown("7d")], ["90s", "2h", "2d", "7d"]);
        assert_eq!(Ttl::parse("1s").unwrap().micros(), 1_000_000);
        for bad in ["", "0h", "-1h", "6", "h", "6w", "99999999999999d"] {
            assert!(Ttl::parse(bad).is_err(), "{bad}");
        }
    }
}
