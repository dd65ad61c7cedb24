//! The rules for names, aliases and tags, with MLflow's limits and words.

use crate::RegistryError;
use crate::model::{KeyValue, NewVersion, VersionNumber};

/// In bytes. A name stands in keys together with a tag's key or an alias, of up to 255 characters.
const LONGEST_NAME: usize = 1024;
const LONGEST_ID: usize = 500;
const LONGEST_ALIAS: usize = 255;
const LONGEST_TAG_KEY: usize = 250;
const LONGEST_TAG_VALUE: usize = 100_000;

/// Checks that a text can name a model.
///
/// # Errors
/// [`RegistryError::Invalid`].
pub fn model_name(name: &str) -> Result<(), RegistryError> {
    if name.is_empty() {
        return Err(RegistryError::Invalid("Registered model name cannot be empty.".to_owned()));
    }
    if name.contains(['/', ':']) {
        return Err(RegistryError::Invalid(format!(
            "Invalid model name '{name}'. Names cannot contain '/' or ':'."
        )));
    }
    fits("model name", name, LONGEST_NAME)
}

/// Checks a text that is part of an index: PostgreSQL limits a row of one to 2704 bytes.
fn fits(what: &str, text: &str, longest: usize) -> Result<(), RegistryError> {
    if text.len() <= longest {
        return Ok(());
    }
    Err(RegistryError::Invalid(format!(
        "Invalid {what}: it has {} bytes, the longest allowed has {longest}.",
        text.len()
    )))
}

/// Checks the ids that a new version names.
pub(crate) fn origin(new: &NewVersion) -> Result<(), RegistryError> {
    let ids = [("run_id", &new.run_id), ("model_id", &new.model_id)];
    ids.into_iter().try_for_each(|(what, id)| fits(what, id.as_deref().unwrap_or_default(), LONGEST_ID))
}

pub(crate) fn alias(alias: &str) -> Result<(), RegistryError> {
    if alias.is_empty() {
        return Err(RegistryError::Invalid("Registered model alias name cannot be empty.".to_owned()));
    }
    if alias.chars().count() > LONGEST_ALIAS {
        return Err(RegistryError::Invalid(format!(
            "'Registered model alias name' exceeds the maximum length of {LONGEST_ALIAS} characters"
        )));
    }
    let fine = |c: char| c.is_alphanumeric() || "_-.".contains(c);
    if !alias.chars().all(fine) {
        return Err(RegistryError::Invalid(format!(
            "Invalid alias name: '{alias}'. Names may only contain alphanumerics, underscores (_), dashes (-), and periods (.)."
        )));
    }
    if alias.eq_ignore_ascii_case("latest") {
        return Err(RegistryError::Invalid("'latest' alias name (case insensitive) is reserved.".to_owned()));
    }
    let digits = alias.strip_prefix(['v', 'V']).unwrap_or_default();
    if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(RegistryError::Invalid(format!("Version alias name '{alias}' is reserved.")));
    }
    Ok(())
}

pub(crate) fn tag(kind: &str, tag: &KeyValue) -> Result<(), RegistryError> {
    let fine = |c: char| c.is_alphanumeric() || "_-. :/".contains(c);
    if tag.key.is_empty() || !tag.key.chars().all(fine) {
        return Err(RegistryError::Invalid(format!(
            "Invalid value {} for parameter 'key' supplied: Names may only contain alphanumerics, underscores (_), dashes \
             (-), periods (.), spaces ( ), colon(:) and slashes (/).",
            serde_json::Value::from(tag.key.as_str())
        )));
    }
    let limits = [("key", &tag.key, LONGEST_TAG_KEY), ("value", &tag.value, LONGEST_TAG_VALUE)];
    for (part, text, longest) in limits {
        if text.chars().count() > longest {
            return Err(RegistryError::Invalid(format!(
                "'{kind} {part}' exceeds the maximum length of {longest} characters"
            )));
        }
    }
    Ok(())
}

/// Reads a version's number as the wire carries it.
pub(crate) fn version(text: &str) -> Result<VersionNumber, RegistryError> {
    text.parse()
        .map_err(|_| RegistryError::Invalid(format!("Parameter 'version' must be an integer, got '{text}'.")))
}

impl crate::VersionKey {
    /// Reads a key whose number is text, as the wire carries it.
    ///
    /// # Errors
    /// [`RegistryError::Invalid`].
    pub fn parse(model: &str, number: &str) -> Result<Self, RegistryError> {
        Ok(Self::new(model, version(number)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserved_aliases_are_refused() {
        assert!(alias("champion").is_ok());
        for bad in ["", "latest", "LATEST", "v1", "V22", "a b", "a/b", &"x".repeat(256)] {
            assert!(alias(bad).is_err(), "{bad}");
        }
        assert_eq!(alias("v1").unwrap_err().to_string(), "Version alias name 'v1' is reserved.");
    }

    #[test]
    fn model_names_have_no_slash_or_colon() {
        let error = model_name("a/b").unwrap_err().to_string();
        assert_eq!(error, "Invalid model name 'a/b'. Names cannot contain '/' or ':'.");
        assert!(model_name(&"x".repeat(LONGEST_NAME)).is_ok());
        let error = model_name(&"x".repeat(LONGEST_NAME + 1)).unwrap_err().to_string();
        assert_eq!(error, "Invalid model name: it has 1025 bytes, the longest allowed has 1024.");
    }
}
