//! Records on their way to the prediction log: those that their endpoint does not have logged are left out, and what it has
//! redacted is not in those that are written. Whoever reads the log later never sees it.

use ring::hmac;
use serde_json::Value as Json;
use std::fmt;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;
use trueline_ledger::{Sources, write_private};
use trueline_predictions::{EVERY, Outputs, Record, Scalar, Status};
use trueline_serving::{Answer, LogRules, Predictions, Redaction, ServingError};

/// Bytes of a hash that are logged: so many that no two values ever meet in one.
const HASH: usize = 16;

/// The key under which values are hashed that are not logged as they are.
#[derive(Clone)]
pub struct RedactionKey(Arc<hmac::Key>);

impl fmt::Debug for RedactionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RedactionKey")
    }
}

impl RedactionKey {
    /// Of these bytes.
    #[must_use]
    pub fn new(bytes: &[u8; 32]) -> Self {
        Self(Arc::new(hmac::Key::new(hmac::HMAC_SHA256, bytes)))
    }

    /// Reads the key at `path`, or makes one there, readable by its owner alone.
    ///
    /// # Errors
    /// When it can't be read or made, or is none.
    pub fn open(path: &Path, sources: &Sources) -> std::io::Result<Self> {
        match std::fs::read_to_string(path) {
            Ok(text) => {
                let mut key = [0; 32];
                hex::decode_to_slice(text.trim(), &mut key).map_err(|_| {
                    let told = format!(
                        "{} is no key of 64 hexadecimal digits: put the right file back",
                        path.display()
                    );
                    std::io::Error::new(ErrorKind::InvalidData, told)
                })?;
                Ok(Self::new(&key))
            }
            Err(e) if e.kind() == ErrorKind::NotFound => {
                let key: [u8; 32] = sources.bytes();
                write_private(path, format!("{}\n", hex::encode(key)).as_bytes())?;
                Ok(Self::new(&key))
            }
            Err(e) => Err(e),
        }
    }

    /// What stands for a value in a project: the same for the same value, whatever column and endpoint it is in, and whether
    /// it came as a number or as its text. A value that is missing stays so.
    fn hash(&self, project: &str, value: &Scalar) -> Scalar {
        let text = match value {
            Scalar::Null => return Scalar::Null,
            Scalar::Bool(on) => on.to_string(),
            Scalar::Int(whole) => whole.to_string(),
            Scalar::Float(float) => float.to_string(),
            Scalar::Text(text) => text.clone(),
        };
        let mut context = hmac::Context::with_key(&self.0);
        for part in [project.as_bytes(), &[0], text.as_bytes()] {
            context.update(part);
        }
        Scalar::Text(hex::encode(&context.sign().as_ref()[..HASH]))
    }
}

/// Records as their endpoint has them logged: those that are drawn, without what is redacted.
pub(crate) fn as_declared(
    rules: &LogRules,
    key: &RedactionKey,
    answer: &Answer,
    records: Vec<Record>,
) -> Vec<Record> {
    let why = answer.predictions.as_ref().err().map(ServingError::without_values);
    let unnamed = matches!(&answer.predictions, Ok(Predictions::Array(_)));
    let writing = Writing { rules, key, why, unnamed };
    records.into_iter().filter_map(|record| writing.record(record)).collect()
}

/// How the records of one request are written.
struct Writing<'a> {
    rules: &'a LogRules,
    key: &'a RedactionKey,
    /// Why it failed, without values.
    why: Option<String>,
    /// Whether the answer is one array, which has no name of its own.
    unnamed: bool,
}

impl Writing<'_> {
    fn record(&self, mut record: Record) -> Option<Record> {
        let failed = record.status != Status::Ok;
        record.share = match failed && !self.rules.sample_failures {
            true => EVERY,
            false => self.rules.sample.millionths(),
        };
        let id = record.prediction_id.number();
        let drawn = || self.rules.takes(&record.endpoint, id, record.key.as_deref());
        if record.share != EVERY && !drawn() {
            return None;
        }
        if !self.rules.redact.is_empty() {
            self.redact(&mut record);
        }
        Some(record)
    }

    fn redact(&self, record: &mut Record) {
        let (project, mut redacted) = (record.project.clone(), Vec::new());
        for columns in [&mut record.inputs, &mut record.features] {
            columns.retain_mut(|(name, value)| match self.rules.redaction(name) {
                None => true,
                Some(how) => {
                    redacted.push(name.clone());
                    *value = self.key.hash(&project, value);
                    how == Redaction::Hash
                }
            });
        }
        if let Some(how) = self.rules.redaction(LogRules::KEY)
            && let Some(Scalar::Text(hash)) =
                record.key.take().map(|k| self.key.hash(&project, &Scalar::Text(k)))
        {
            redacted.push(LogRules::KEY.to_owned());
            record.key = (how == Redaction::Hash).then_some(hash);
        }
        self.outputs(&project, &mut record.outputs, &mut redacted);
        if let (Status::Error(told), Some(why)) = (&mut record.status, &self.why) {
            // What a runtime says may quote any value.
            told.clone_from(why);
        }
        redacted.sort_unstable();
        redacted.dedup();
        record.redacted = redacted;
    }

    /// An answer with names is logged as an object of them; one without is redacted as a whole, by the name that it has on
    /// the wires.
    fn outputs(&self, project: &str, outputs: &mut Outputs, redacted: &mut Vec<String>) {
        if let (false, Outputs::One(Scalar::Text(text))) = (self.unnamed, &mut *outputs)
            && let Ok(mut answer @ (Json::Object(_) | Json::Array(_))) = serde_json::from_str(text)
        {
            let before = redacted.len();
            self.json(project, &mut answer, redacted);
            if redacted.len() > before {
                *text = answer.to_string();
            }
        }
        let Some(how) = self.rules.redaction(Predictions::UNNAMED) else { return };
        let whole = match outputs {
            Outputs::None => return,
            Outputs::One(Scalar::Text(text)) if !self.unnamed && text.starts_with('{') => return,
            Outputs::One(value) => value.clone(),
            Outputs::Many(values) => Scalar::Text(format!("{values:?}")),
        };
        redacted.push(Predictions::UNNAMED.to_owned());
        *outputs = match how {
            Redaction::Drop => Outputs::None,
            Redaction::Hash => Outputs::One(self.key.hash(project, &whole)),
        };
    }

    /// Redacts the members of objects by their names, however deep they lie.
    fn json(&self, project: &str, value: &mut Json, redacted: &mut Vec<String>) {
        match value {
            Json::Array(list) => list.iter_mut().for_each(|item| self.json(project, item, redacted)),
            Json::Object(members) => members.retain(|name, member| match self.rules.redaction(name) {
                None => {
                    self.json(project, member, redacted);
                    true
                }
                Some(how) => {
                    redacted.push(name.clone());
                    if let Scalar::Text(hash) = self.key.hash(project, &crate::scalar(member)) {
                        *member = Json::String(hash);
                    }
                    how == Redaction::Hash
                }
            }),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::collections::BTreeMap;
    use trueline_predictions::{PredictionId, Variant};
    use trueline_serving::LogShare;

    fn record(id: u128, outputs: Outputs, status: Status) -> Record {
        Record {
            prediction_id: PredictionId::new(1_000, id),
            project: "p".into(),
            endpoint: "e".into(),
            variant: Variant { model: "m".into(), version: "1".into() },
            event_time_ms: 0,
            received_at_ms: 0,
            key: Some("N14228".into()),
            request_id: "r".into(),
            inputs: vec![("ssn".into(), Scalar::Int(123)), ("hour".into(), Scalar::Int(7))],
            features: vec![("email".into(), Scalar::Text("123".into()))],
            outputs,
            status,
            timings: Vec::new(),
            share: EVERY,
            redacted: Vec::new(),
            assignment: None,
        }
    }

    fn rules(redact: &[(&str, Redaction)]) -> LogRules {
        let redact = redact.iter().map(|(name, how)| ((*name).to_owned(), *how)).collect::<BTreeMap<_, _>>();
        LogRules { redact, ..LogRules::default() }
    }

    fn written(rules: &LogRules, unnamed: bool, record: Record) -> Option<Record> {
        let key = RedactionKey::new(&[7; 32]);
        Writing { rules, key: &key, why: Some("it failed".into()), unnamed }.record(record)
    }

    #[test]
    fn columns_are_dropped_or_hashed_alike_whatever_they_are_called() {
        let rules = rules(&[
            ("ssn", Redaction::Hash),
            ("email", Redaction::Hash),
            ("x-trueline-key", Redaction::Drop),
        ]);
        let out = written(&rules, true, record(1, Outputs::One(Scalar::Float(0.5)), Status::Ok)).unwrap();
        assert_eq!(out.inputs[0].1, out.features[0].1, "123 and \"123\" can be joined");
        assert!(matches!(&out.inputs[0].1, Scalar::Text(hash) if hash.len() == 32 && !hash.contains("123")));
        assert_eq!((&out.inputs[1].1, &out.key), (&Scalar::Int(7), &None));
        assert_eq!(out.redacted, ["email", "ssn", "x-trueline-key"]);
        assert_eq!(out.outputs, Outputs::One(Scalar::Float(0.5)));
        let key = RedactionKey::new(&[7; 32]);
        let of = |project| key.hash(project, &Scalar::Int(123));
        assert_eq!(of("p"), out.inputs[0].1);
        assert_ne!(of("q"), out.inputs[0].1, "another project has other hashes");
        assert_eq!(key.hash("p", &Scalar::Null), Scalar::Null);
    }

    #[test]
    fn a_column_that_is_dropped_is_not_there_and_named() {
        let out =
            written(&rules(&[("ssn", Redaction::Drop)]), true, record(1, Outputs::None, Status::Ok)).unwrap();
        assert_eq!(out.inputs, [("hour".to_owned(), Scalar::Int(7))]);
        assert_eq!(out.redacted, ["ssn"]);
    }

    #[test]
    fn outputs_are_redacted_by_their_names() {
        let rules =
            rules(&[("predict", Redaction::Drop), ("why", Redaction::Drop), ("who", Redaction::Hash)]);
        let answer = json!({ "p": 0.5, "why": "ssn 123", "parts": [{ "who": "123", "q": 1 }] });
        let named = Outputs::One(Scalar::Text(answer.to_string()));
        let out = written(&rules, false, record(1, named, Status::Ok)).unwrap();
        let Outputs::One(Scalar::Text(text)) = &out.outputs else { panic!("{:?}", out.outputs) };
        assert!(!text.contains("123"), "{text}");
        assert!(text.contains("\"p\":0.5") && text.contains("\"q\":1"), "{text}");
        assert_eq!(out.redacted, ["who", "why"]);
        let unnamed = Outputs::Many(vec![0.1, 0.9]);
        assert_eq!(written(&rules, true, record(1, unnamed, Status::Ok)).unwrap().outputs, Outputs::None);
    }

    #[test]
    fn failures_say_no_value_and_are_logged_unless_it_is_declared_otherwise() {
        let failed = || record(1, Outputs::None, Status::Error("ssn: got 123".into()));
        let redacting = rules(&[("ssn", Redaction::Drop)]);
        assert_eq!(written(&redacting, true, failed()).unwrap().status, Status::Error("it failed".into()));
        let few = LogShare::try_from(0.000_001).unwrap();
        let sampling = LogRules { sample: few, ..LogRules::default() };
        assert!(written(&sampling, true, record(1, Outputs::None, Status::Ok)).is_none());
        let kept = written(&sampling, true, failed()).unwrap();
        assert_eq!((kept.share, &kept.status), (EVERY, &Status::Error("ssn: got 123".into())));
        let sampled = LogRules { sample_failures: true, ..sampling };
        assert!(written(&sampled, true, failed()).is_none());
    }

    #[test]
    fn what_is_drawn_says_for_how_many_it_stands() {
        let rules = LogRules { sample: LogShare::try_from(0.25).unwrap(), ..LogRules::default() };
        let all = (0..4_000).filter_map(|id| written(&rules, true, record(id, Outputs::None, Status::Ok)));
        let shares: Vec<u32> = all.map(|record| record.share).collect();
        assert!((900..1_100).contains(&shares.len()), "{}", shares.len());
        assert!(shares.iter().all(|share| *share == 250_000));
    }

    #[test]
    fn a_key_is_made_once_and_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("redaction.key");
        let open = || RedactionKey::open(&path, &Sources::system()).unwrap().hash("p", &Scalar::Int(1));
        assert_eq!(open(), open());
        std::fs::write(&path, "none").unwrap();
        let refused = RedactionKey::open(&path, &Sources::system()).unwrap_err();
        assert!(refused.to_string().contains("put the right file back"));
    }
}
