//! The rules for keys, values and counts, with MLflow's limits and words (`mlflow/utils/validation.py`).

use crate::TrackingError;
use crate::model::KeyValue;

pub(crate) const LONGEST_KEY: usize = 250;
pub(crate) const LONGEST_PARAM: usize = 6000;
pub(crate) const LONGEST_RUN_TAG: usize = 8000;
pub(crate) const LONGEST_EXPERIMENT_NAME: usize = 500;
pub(crate) const LONGEST_EXPERIMENT_TAG: usize = 20_000;
const MOST_METRICS: usize = 1000;
const MOST_PARAMS: usize = 100;
const MOST_TAGS: usize = 100;
const MOST_IN_ALL: usize = 1000;

const NAME_RULE: &str = "Names may only contain alphanumerics, underscores (_), dashes (-), periods (.), spaces ( ), \
                         colon(:) and slashes (/).";

/// Python's `repr` of a string, as MLflow quotes values in some of its messages.
pub(crate) fn json_quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// What a key is of, and where it stands in a request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Named {
    what: &'static str,
    /// Its place in its list, when the request brought a list.
    at: Option<usize>,
}

impl Named {
    pub(crate) const METRIC: Self = Self { what: "metric", at: None };
    pub(crate) const PARAM: Self = Self { what: "param", at: None };
    pub(crate) const TAG: Self = Self { what: "tag", at: None };

    /// As an item of a list.
    pub(crate) fn at(self, at: usize) -> Self {
        Self { at: Some(at), ..self }
    }

    /// What MLflow calls a field of it.
    pub(crate) fn field(self, field: &str) -> String {
        match self.at {
            None => field.to_owned(),
            Some(at) => format!("{}s[{at}].{field}", self.what),
        }
    }

    fn key_field(self) -> String {
        self.field(if self.what == "metric" { "name" } else { "key" })
    }

    /// What MLflow calls the key when it is too long.
    fn long_key(self) -> String {
        match self.what {
            "metric" => "Metric name".to_owned(),
            "param" => "Param key".to_owned(),
            _ => self.key_field(),
        }
    }
}

/// Checks a metric's, param's or tag's key.
pub(crate) fn key(of: Named, key: &str) -> Result<(), TrackingError> {
    let allowed = |c: char| c.is_alphanumeric() || "_-. :/".contains(c);
    if key.is_empty() {
        return Err(TrackingError::Invalid(format!(
            "Missing value for required parameter '{}'.",
            of.key_field()
        )));
    }
    if !key.chars().all(allowed) {
        return Err(TrackingError::Invalid(format!(
            "Invalid value {} for parameter '{}' supplied: {NAME_RULE}",
            json_quoted(key),
            of.key_field()
        )));
    }
    if !is_normal_path(key) {
        return Err(TrackingError::Invalid(format!(
            "Invalid value {} for parameter '{}' supplied: Names may be treated as files in certain cases, and must \
             not resolve to other names when treated as such. This name would resolve to '{}'",
            json_quoted(key),
            of.key_field(),
            normal_path(key)
        )));
    }
    if key.chars().count() > LONGEST_KEY {
        return Err(TrackingError::Invalid(format!(
            "'{}' exceeds the maximum length of {LONGEST_KEY} characters",
            of.long_key()
        )));
    }
    Ok(())
}

/// What `posixpath.normpath` makes of a path.
fn normal_path(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|p| *p != "..") => drop(parts.pop()),
            ".." if rooted => {}
            other => parts.push(other),
        }
    }
    let joined = parts.join("/");
    match (rooted, joined.is_empty()) {
        (true, _) => format!("/{joined}"),
        (false, true) => ".".to_owned(),
        (false, false) => joined,
    }
}

fn is_normal_path(path: &str) -> bool {
    let normal = normal_path(path);
    path == normal && normal != "." && !normal.starts_with("..") && !normal.starts_with('/')
}

/// Checks the id of a logged model that a client names.
pub(crate) fn model_id(id: &str) -> Result<(), TrackingError> {
    if id.chars().count() > LONGEST_KEY {
        return Err(TrackingError::Invalid(format!(
            "'model_id' exceeds the maximum length of {LONGEST_KEY} characters"
        )));
    }
    Ok(())
}

/// Cuts a value that is too long, as MLflow does by default.
pub(crate) fn truncated(value: &str, longest: usize) -> String {
    match value.char_indices().nth(longest) {
        Some((end, _)) => value[..end].to_owned(),
        None => value.to_owned(),
    }
}

/// Cuts the values of a list, so that rows and events say the same.
pub(crate) fn cut(list: Vec<KeyValue>, longest: usize) -> Vec<KeyValue> {
    list.into_iter().map(|pair| KeyValue { value: truncated(&pair.value, longest), ..pair }).collect()
}

/// Checks the counts of one batch.
pub(crate) fn batch(metrics: usize, params: usize, tags: usize) -> Result<(), TrackingError> {
    let counted =
        [("metrics", metrics, MOST_METRICS), ("params", params, MOST_PARAMS), ("tags", tags, MOST_TAGS)];
    for (what, count, most) in counted {
        if count > most {
            return Err(TrackingError::Invalid(format!(
                "A batch logging request can contain at most {most} {what}. Got {count} {what}. Please split up {what} \
                 across multiple requests and try again."
            )));
        }
    }
    let total = metrics + params + tags;
    if total > MOST_IN_ALL {
        return Err(TrackingError::Invalid(format!(
            "A batch logging request can contain at most {MOST_IN_ALL} metrics, params, and tags. Got {total}. Please \
             split up metrics, params, and tags across multiple requests and try again."
        )));
    }
    Ok(())
}

/// Checks an experiment's name.
pub(crate) fn experiment_name(name: &str) -> Result<(), TrackingError> {
    if name.trim().is_empty() {
        return Err(TrackingError::Invalid(format!("Invalid experiment name: '{name}'")));
    }
    if name.chars().count() > LONGEST_EXPERIMENT_NAME {
        return Err(TrackingError::Invalid(format!(
            "'name' exceeds the maximum length of {LONGEST_EXPERIMENT_NAME} characters"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_follow_the_rule_of_normal_paths() {
        for good in ["a", "a/b", "train.loss", "a b:c-d_e", "é"] {
            assert!(key(Named::METRIC, good).is_ok(), "{good}");
        }
        for bad in ["", "/a", "a//b", "a/", "./a", "../a", "a/..", "a\\b", "a\nb", "."] {
            assert!(key(Named::METRIC, bad).is_err(), "{bad}");
        }
        let error = key(Named::METRIC, "a\\b").unwrap_err().to_string();
        assert!(
            error.starts_with(r#"Invalid value "a\\b" for parameter 'name' supplied: Names may only"#),
            "{error}"
        );
        let error = key(Named::METRIC, &"x".repeat(251)).unwrap_err().to_string();
        assert_eq!(error, "'Metric name' exceeds the maximum length of 250 characters");
        let of = |named: Named, bad: &str| key(named, bad).unwrap_err().to_string();
        assert!(of(Named::METRIC.at(0), "../bad").contains("for parameter 'metrics[0].name' supplied"));
        assert!(of(Named::PARAM.at(2), "a\\b").contains("for parameter 'params[2].key' supplied"));
        assert!(of(Named::TAG, "").contains("required parameter 'key'"));
    }

    #[test]
    fn long_values_are_cut_at_characters() {
        assert_eq!(truncated("aéb", 2), "aé");
        assert_eq!(truncated("ab", 2), "ab");
        assert_eq!(cut(vec![KeyValue::new("k", "abc")], 2), [KeyValue::new("k", "ab")]);
    }
}
