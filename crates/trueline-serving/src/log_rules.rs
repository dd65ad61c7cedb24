//! What of an endpoint's predictions is logged, and how: which of them are drawn, and which columns are not logged as they
//! are. Who writes the log is not here; this decides, so that the same prediction is decided alike everywhere.

use crate::error::ServingError;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use trueline_ledger::Millis;
use trueline_stats::hash::mix64;

/// The most columns that one endpoint declares to be redacted.
const MOST_COLUMNS: usize = 1_000;
/// The longest name of a column in bytes.
const LONGEST_NAME: usize = 500;

/// The share of predictions that are logged, in millionths, so that it compares exactly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct LogShare(u32);

impl LogShare {
    /// All of them.
    pub const EVERY: Self = Self(1_000_000);

    /// In millionths.
    #[must_use]
    pub fn millionths(self) -> u32 {
        self.0
    }

    /// Whether a number that is evenly spread over all of 64 bits falls into the share.
    #[allow(clippy::cast_possible_truncation)]
    fn takes(self, lot: u64) -> bool {
        let place = ((u128::from(lot) * u128::from(Self::EVERY.0)) >> 64) as u32;
        place < self.0
    }
}

impl Default for LogShare {
    fn default() -> Self {
        Self::EVERY
    }
}

impl TryFrom<f64> for LogShare {
    type Error = String;

    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    fn try_from(ratio: f64) -> Result<Self, String> {
        let millionths = (ratio * f64::from(Self::EVERY.0)).round();
        if !(1.0..=f64::from(Self::EVERY.0)).contains(&millionths) {
            return Err(format!("`{ratio}` is no share of predictions to log: give one from 0.000001 to 1"));
        }
        Ok(Self(millionths as u32))
    }
}

impl From<LogShare> for f64 {
    fn from(share: LogShare) -> Self {
        Self::from(share.0) / Self::from(LogShare::EVERY.0)
    }
}

/// What is drawn when not all predictions are logged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SampleBy {
    /// Each prediction, by its id.
    #[default]
    Id,
    /// Each caller, by the key that it stays with one variant by: all of its predictions are logged, or none. Predictions
    /// that come without a key are drawn by their ids.
    Key,
}

/// What is logged instead of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Redaction {
    /// Nothing.
    Drop,
    /// A keyed hash, the same for the same value, so that it can be joined by.
    Hash,
}

/// How long predictions are kept: a number of days, `"forever"`, or `"default"` for as long as the server keeps them where
/// nothing is declared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Json", into = "Json")]
pub enum KeepLog {
    /// As the server does.
    #[default]
    Default,
    /// Nothing is deleted.
    Forever,
    /// So many days.
    Days(u32),
}

impl KeepLog {
    /// The longest, in days: a hundred years.
    pub const MOST_DAYS: u32 = 36_500;

    /// In milliseconds, where the server keeps what nothing is declared for so long; none is for ever.
    #[must_use]
    pub fn millis(self, usual: Option<Millis>) -> Option<Millis> {
        const DAY: Millis = 24 * 60 * 60 * 1000;
        match self {
            Self::Default => usual,
            Self::Forever => None,
            Self::Days(days) => Some(Millis::from(days) * DAY),
        }
    }
}

impl TryFrom<Json> for KeepLog {
    type Error = String;

    fn try_from(said: Json) -> Result<Self, String> {
        let days = |n: u64| u32::try_from(n).ok().filter(|days| (1..=Self::MOST_DAYS).contains(days));
        match &said {
            Json::String(word) if word == "default" => Some(Self::Default),
            Json::String(word) if word == "forever" => Some(Self::Forever),
            Json::Number(n) => n.as_u64().and_then(days).map(Self::Days),
            _ => None,
        }
        .ok_or_else(|| {
            let most = Self::MOST_DAYS;
            format!(
                "`{said}` is no time to keep predictions: say 1 to {most} days, \"forever\" or \"default\""
            )
        })
    }
}

impl From<KeepLog> for Json {
    fn from(keep: KeepLog) -> Self {
        match keep {
            KeepLog::Default => "default".into(),
            KeepLog::Forever => "forever".into(),
            KeepLog::Days(days) => days.into(),
        }
    }
}

/// What of an endpoint's predictions is logged.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LogRules {
    /// Counts up with each change; 0 before the first.
    pub revision: i64,
    /// When it was changed.
    pub since_ms: Millis,
    /// The share of predictions that are logged.
    pub sample: LogShare,
    /// What is drawn.
    pub sample_by: SampleBy,
    /// Whether requests that failed are drawn like others; usually all of them are logged.
    pub sample_failures: bool,
    /// Columns of inputs, features and outputs that are not logged as they are. [`LogRules::KEY`] stands for the caller's key.
    pub redact: BTreeMap<String, Redaction>,
    /// How long what was logged is kept.
    #[serde(rename = "keep_days")]
    pub keep: KeepLog,
}

impl LogRules {
    /// The name by which the caller's key is redacted, whichever header brings it.
    pub const KEY: &str = "x-trueline-key";

    /// Checks what somebody declares.
    ///
    /// # Errors
    /// [`ServingError::Invalid`].
    pub fn check(&self) -> Result<(), ServingError> {
        let invalid = |why: String| Err(ServingError::Invalid(why));
        if self.redact.len() > MOST_COLUMNS {
            return invalid(format!(
                "{} columns are to be redacted; at most {MOST_COLUMNS} can be",
                self.redact.len()
            ));
        }
        if let Some(bad) = self.redact.keys().find(|name| name.is_empty() || name.len() > LONGEST_NAME) {
            return invalid(format!("`{bad}` can't name a column: use 1 to {LONGEST_NAME} bytes"));
        }
        Ok(())
    }

    /// Whether a record is written otherwise than as it came: what the path of a request asks first.
    #[must_use]
    pub fn change_records(&self) -> bool {
        self.sample != LogShare::EVERY || !self.redact.is_empty()
    }

    /// Whether a prediction is logged: by its id, or by its caller's key where that is declared. It is drawn anew for each
    /// endpoint, and apart from the draw of variants, so that each variant's predictions are logged in the same share.
    #[must_use]
    pub fn takes(&self, endpoint: &str, id: u128, key: Option<&str>) -> bool {
        if self.sample == LogShare::EVERY {
            return true;
        }
        let lot = match (self.sample_by, key) {
            (SampleBy::Key, Some(key)) => lot_of_key(endpoint, key),
            _ => lot_of_id(id),
        };
        self.sample.takes(lot)
    }

    /// Whether a prediction that was made at this time was left out by these rules, as far as its id tells. Of callers that
    /// are drawn by their keys it tells nothing.
    #[must_use]
    pub fn left_out(&self, endpoint: &str, id: u128, made_at_ms: Millis) -> bool {
        self.sample_by == SampleBy::Id && made_at_ms >= self.since_ms && !self.takes(endpoint, id, None)
    }

    /// How a column is redacted, if it is. Of an array, `name[3]` goes with `name`.
    #[must_use]
    pub fn redaction(&self, column: &str) -> Option<Redaction> {
        let own = self.redact.get(column);
        let array = || self.redact.get(column.strip_suffix(']')?.rsplit_once('[')?.0);
        own.or_else(array).copied()
    }
}

fn lot_of_id(id: u128) -> u64 {
    // Ids of one request follow one another, and begin with their time: both halves count, mixed.
    let [high, low] = [(id >> 64) as u64, id as u64];
    mix64(mix64(high) ^ low)
}

fn lot_of_key(endpoint: &str, key: &str) -> u64 {
    let hash = Sha256::new().chain_update("prediction log\0").chain_update(endpoint).chain_update([0]);
    let bytes: [u8; 32] = hash.chain_update(key).finalize().into();
    u64::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3], bytes[4], bytes[5], bytes[6], bytes[7]])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sampled(ratio: f64, sample_by: SampleBy) -> LogRules {
        LogRules {
            sample: LogShare::try_from(ratio).unwrap(),
            sample_by,
            since_ms: 100,
            ..LogRules::default()
        }
    }

    #[test]
    fn the_share_of_ids_that_is_declared_is_taken() {
        let rules = sampled(0.1, SampleBy::Id);
        // As requests of many rows make them: consecutive from a start.
        let taken = (0..100_000_u128).filter(|i| rules.takes("e", (7 << 80) + i, Some("k"))).count();
        assert!((9_600..10_400).contains(&taken), "{taken}");
        assert!(LogRules::default().takes("e", 1, None));
    }

    #[test]
    fn a_larger_share_takes_all_that_a_smaller_one_took() {
        let (small, large) = (sampled(0.1, SampleBy::Id), sampled(0.3, SampleBy::Id));
        assert!((0..10_000).all(|id| !small.takes("e", id, None) || large.takes("e", id, None)));
    }

    #[test]
    fn a_caller_is_logged_as_a_whole_and_drawn_anew_for_each_endpoint() {
        let rules = sampled(0.5, SampleBy::Key);
        let mut differ = 0;
        for caller in 0..1_000 {
            let key = caller.to_string();
            let first = rules.takes("e", 1, Some(&key));
            assert!((2..20).all(|id| rules.takes("e", id, Some(&key)) == first));
            differ += usize::from(rules.takes("f", 1, Some(&key)) != first);
        }
        assert!((400..600).contains(&differ), "{differ}");
    }

    #[test]
    fn what_was_left_out_is_known_since_the_rules_are_in_force() {
        let rules = sampled(0.5, SampleBy::Id);
        let out = (0..100).find(|id| !rules.takes("e", *id, None)).unwrap();
        assert!(rules.left_out("e", out, 100));
        assert!(!rules.left_out("e", out, 99), "other rules were in force");
        assert!(!sampled(0.5, SampleBy::Key).left_out("e", out, 100), "its key is not known");
        assert!((0..100).all(|id| !LogRules::default().left_out("e", id, 100)));
    }

    #[test]
    fn shares_are_exact_or_refused() {
        let share: LogShare = serde_json::from_str("0.1").unwrap();
        assert_eq!((share.millionths(), serde_json::to_string(&share).unwrap().as_str()), (100_000, "0.1"));
        for bad in ["0", "1.1", "-1", "0.0000001"] {
            assert!(serde_json::from_str::<LogShare>(bad).unwrap_err().to_string().contains("0.000001 to 1"));
        }
    }

    #[test]
    fn how_long_predictions_are_kept_is_a_number_of_days_or_one_of_two_words() {
        let read = |text: &str| serde_json::from_str::<KeepLog>(text).map_err(|e| e.to_string());
        for (text, keep, millis) in [
            ("90", KeepLog::Days(90), Some(90 * 86_400_000)),
            ("\"forever\"", KeepLog::Forever, None),
            ("\"default\"", KeepLog::Default, Some(7)),
        ] {
            assert_eq!(read(text), Ok(keep));
            assert_eq!(serde_json::to_string(&keep).unwrap(), text);
            assert_eq!(keep.millis(Some(7)), millis);
        }
        for bad in ["0", "-1", "1.5", "36501", "\"later\"", "null"] {
            assert!(read(bad).unwrap_err().contains("1 to 36500 days"), "{bad}");
        }
        assert_eq!(
            serde_json::from_str::<LogRules>("{}").unwrap().keep,
            KeepLog::Default,
            "as it was stored"
        );
    }

    #[test]
    fn columns_are_redacted_by_name_and_arrays_with_their_places() {
        let redact =
            BTreeMap::from([("ssn".to_owned(), Redaction::Drop), ("x[1]".to_owned(), Redaction::Hash)]);
        let rules = LogRules { redact, ..LogRules::default() };
        assert_eq!(rules.redaction("ssn[12]"), Some(Redaction::Drop));
        assert_eq!((rules.redaction("x[1]"), rules.redaction("x[2]")), (Some(Redaction::Hash), None));
        assert_eq!(rules.redaction("ssn2"), None);
        assert!(rules.check().is_ok());
        let unnamed = LogRules { redact: BTreeMap::from([(String::new(), Redaction::Drop)]), ..rules };
        assert!(unnamed.check().is_err());
    }
}
