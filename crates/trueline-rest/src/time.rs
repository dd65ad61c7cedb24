//! Times as RFC 3339 with zone.

use trueline_ledger::Millis;

/// A time for a person or program: `2013-07-01T12:00:00.5Z`.
#[must_use]
pub fn rfc3339(at: Millis) -> String {
    jiff::Timestamp::from_millisecond(at).map_or_else(|_| at.to_string(), |t| t.to_string())
}

#[cfg(test)]
mod tests {
    #[test]
    fn times_carry_their_zone() {
        assert_eq!(super::rfc3339(1_372_680_000_500), "2013-07-01T12:00:00.5Z");
    }
}
