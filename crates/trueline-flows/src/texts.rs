//! Which texts a request may carry: those that both databases can keep. PostgreSQL has no U+0000 in a text, so no face
//! takes it.

use serde_json::Value as Json;

/// A request holds U+0000.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Texts can't hold the character U+0000 (NUL): take it out.")]
pub struct NulCharacter;

/// Checks all texts of a JSON body, keys too.
///
/// # Errors
/// [`NulCharacter`].
pub fn check_texts(body: &Json) -> Result<(), NulCharacter> {
    match body {
        Json::String(text) => check(text),
        Json::Array(list) => list.iter().try_for_each(check_texts),
        Json::Object(map) => {
            map.iter().try_for_each(|(key, value)| check(key).and_then(|()| check_texts(value)))
        }
        Json::Null | Json::Bool(_) | Json::Number(_) => Ok(()),
    }
}

/// Checks a path with its query as it was sent, still encoded.
///
/// # Errors
/// [`NulCharacter`].
pub fn check_path_and_query(encoded: &str) -> Result<(), NulCharacter> {
    if encoded.contains("%00") { Err(NulCharacter) } else { Ok(()) }
}

fn check(text: &str) -> Result<(), NulCharacter> {
    if text.contains('\0') { Err(NulCharacter) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_nul_is_found_wherever_it_hides() {
        for bad in [json!("a\0"), json!({ "a\0": 1 }), json!({ "a": ["b", { "c": "\0" }] })] {
            assert_eq!(check_texts(&bad), Err(NulCharacter), "{bad}");
        }
        assert_eq!(check_texts(&json!({ "a": ["%00", 0, null] })), Ok(()));
        assert!(check_path_and_query("/runs/a%00b?x=1").is_err());
        assert!(check_path_and_query("/runs/a%2000?x=1").is_ok());
    }
}
