//! Limits on texts, with MLflow's words.

use crate::TraceError;
use crate::model::Pairs;

pub(crate) const LONGEST_KEY: usize = 250;
const LONGEST_TAG: usize = 8000;
const LONGEST_NAME: usize = 4096;
const LONGEST_SESSION: usize = 250;
/// Where `mlflow.llm.model` and its provider are cut.
pub(crate) const LONGEST_MODEL: usize = 500;

const NAME_RULE: &str = "Names may only contain alphanumerics, underscores (_), dashes (-), periods (.), spaces ( ), \
                         colon(:) and slashes (/).";

/// The years 1 to 9999, as protobuf has them.
const MOMENTS: std::ops::RangeInclusive<i64> = -62_135_596_800_000..=253_402_300_799_999;
/// The longest duration of protobuf: about 10,000 years.
const LONGEST_MS: i64 = 315_576_000_000_000;

/// Checks a time; sums of what passes fit 64 bits.
pub(crate) fn moment(what: &str, ms: i64) -> Result<(), TraceError> {
    match MOMENTS.contains(&ms) {
        true => Ok(()),
        false => TraceError::invalid(format!(
            "Invalid value {ms} for parameter '{what}' supplied. It must lie in the years 1 to 9999, in milliseconds since \
             1970."
        )),
    }
}

/// Checks a duration.
pub(crate) fn duration(what: &str, ms: i64) -> Result<(), TraceError> {
    match (-LONGEST_MS..=LONGEST_MS).contains(&ms) {
        true => Ok(()),
        false => TraceError::invalid(format!(
            "Invalid value {ms} for parameter '{what}' supplied. It must be at most {LONGEST_MS} milliseconds."
        )),
    }
}

/// The text without the character that no database keeps, cut to a number of characters.
pub(crate) fn cut(text: &str, longest: usize) -> String {
    text.chars().filter(|c| *c != '\0').take(longest).collect()
}

fn within(what: &str, text: &str, longest: usize) -> Result<(), TraceError> {
    if text.chars().count() > longest {
        return TraceError::invalid(format!("'{what}' exceeds the maximum length of {longest} characters"));
    }
    Ok(())
}

/// Checks a tag's key as MLflow checks one that is set by itself.
pub(crate) fn tag_key(key: &str) -> Result<(), TraceError> {
    let allowed = |c: char| c.is_alphanumeric() || "_-. :/".contains(c);
    let normal = !key.starts_with('/') && key.split('/').all(|part| !["", ".", ".."].contains(&part));
    if key.is_empty() || !key.chars().all(allowed) || !normal {
        return TraceError::invalid(format!(
            "Invalid value {} for parameter 'key' supplied: {NAME_RULE}",
            serde_json::Value::from(key)
        ));
    }
    within("key", key, LONGEST_KEY)
}

/// A tag's value, cut as MLflow cuts it.
pub(crate) fn tag_value(value: &str) -> String {
    cut(value, LONGEST_TAG)
}

pub(crate) fn name(name: &str) -> Result<(), TraceError> {
    within("Trace name", name, LONGEST_NAME)
}

pub(crate) fn session(session: &str) -> Result<(), TraceError> {
    within("Session ID", session, LONGEST_SESSION)
}

/// Pairs of a whole trace, as rows keep them.
pub(crate) fn pairs(pairs: Pairs) -> Result<Pairs, TraceError> {
    for key in pairs.keys() {
        within("key", key, LONGEST_KEY)?;
    }
    Ok(pairs.into_iter().map(|(key, value)| (key, tag_value(&value))).collect())
}

/// An id that a client has made.
pub(crate) fn id(what: &str, id: &str) -> Result<(), TraceError> {
    if id.is_empty() {
        return TraceError::invalid(format!("Missing value for required parameter '{what}'."));
    }
    within(what, id, LONGEST_KEY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_tags_are_normal_paths_of_known_characters() {
        for good in ["a", "a.b", "env:prod", "a/b c", "é"] {
            assert!(tag_key(good).is_ok(), "{good}");
        }
        for bad in ["", "/a", "a//b", "../a", "a\\b", "a\nb"] {
            assert!(tag_key(bad).is_err(), "{bad}");
        }
        let long = tag_key(&"x".repeat(251)).unwrap_err().to_string();
        assert_eq!(long, "'key' exceeds the maximum length of 250 characters");
    }

    #[test]
    fn values_are_cut_at_characters_and_lose_what_no_database_keeps() {
        assert_eq!(cut("a\0éb", 2), "aé");
        assert_eq!(tag_value(&"é".repeat(9000)).chars().count(), 8000);
    }

    #[test]
    fn times_stay_where_their_sums_fit() {
        assert!(moment("t", 1_763_736_000_123).is_ok());
        assert!(moment("t", i64::MAX).is_err());
        assert!(moment("t", i64::MIN).is_err());
        assert!(duration("d", i64::MIN).is_err());
        assert!(duration("d", 0).is_ok());
    }

    #[test]
    fn a_session_that_is_too_long_is_refused() {
        let told = session(&"s".repeat(251)).unwrap_err().to_string();
        assert_eq!(told, "'Session ID' exceeds the maximum length of 250 characters");
    }
}
