//! One saved model made into many that answer alike and of which no two files are the same bytes: each format has a place for
//! words that change nothing.

use anyhow::Context;
use std::path::Path;

/// The words that make a model of this number another one.
fn words(number: u32) -> String {
    format!("version {number} of a soak")
}

/// A file of a saved model as it is in the version of this number; files that are no model's stay as they are.
///
/// # Errors
/// When the file is not what its name says.
pub(super) fn file(name: &str, bytes: Vec<u8>, number: u32) -> anyhow::Result<Vec<u8>> {
    let told = words(number);
    let kind = Path::new(name).extension().and_then(|kind| kind.to_str());
    match kind {
        Some("ubj") => after(&bytes, b"attributes{", &attribute("soak", &told)),
        Some("lgb") => after(&bytes, b"\nparameters:\n", format!("[soak: {told}]\n").as_bytes()),
        Some("onnx") => Ok([bytes, doc_string(&told)].concat()),
        _ => Ok(bytes),
    }
    .with_context(|| format!("{name} can't be made another model"))
}

fn after(bytes: &[u8], place: &[u8], told: &[u8]) -> anyhow::Result<Vec<u8>> {
    let at = bytes.windows(place.len()).position(|here| here == place);
    let at = at.context("it has no place for words")? + place.len();
    Ok([&bytes[..at], told, &bytes[at..]].concat())
}

/// An attribute of an XGBoost model in UBJSON: lengths are 64 bits, the most significant first.
fn attribute(name: &str, value: &str) -> Vec<u8> {
    let text = |text: &str| [&b"L"[..], &(text.len() as u64).to_be_bytes(), text.as_bytes()].concat();
    [text(name), b"S".to_vec(), text(value)].concat()
}

/// The field `doc_string` of an ONNX model in protobuf, number 6: where it comes again, the last one counts.
fn doc_string(told: &str) -> Vec<u8> {
    // A length of one byte has seven bits.
    let told = &told.as_bytes()[..told.len().min(127)];
    [&[6 << 3 | 2, u8::try_from(told.len()).unwrap_or(127)], told].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_differs_from_the_next_in_its_models_file_alone() {
        let xgboost = b"{L\0\0\0\0\0\0\0\x07learner{L\0\0\0\0\0\0\0\x0aattributes{}}}".to_vec();
        let first = file("model.ubj", xgboost.clone(), 1).unwrap();
        assert_ne!(first, file("model.ubj", xgboost, 2).unwrap());
        let expected = b"attributes{L\0\0\0\0\0\0\0\x04soakSL\0\0\0\0\0\0\0\x13version 1 of a soak}";
        assert!(first.windows(expected.len()).any(|here| here == expected));
        assert_eq!(file("MLmodel", b"flavors:".to_vec(), 1).unwrap(), b"flavors:");
    }

    #[test]
    fn what_has_no_place_for_words_is_told() {
        let told = file("model.ubj", b"{}".to_vec(), 1).unwrap_err();
        assert!(format!("{told:#}").contains("model.ubj"), "{told:#}");
    }

    #[test]
    fn an_onnx_models_words_come_last() {
        let bytes = file("model.onnx", vec![8, 1], 1).unwrap();
        assert_eq!(bytes[..4], [8, 1, 50, 19]);
    }
}
