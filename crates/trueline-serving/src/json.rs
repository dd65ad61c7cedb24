//! JSON as Python writes it: `NaN`, `Infinity` and `-Infinity` stand for floats that JSON has no word for.

use serde_json::Value as Json;

/// Reads JSON. `NaN` outside of texts becomes null, `Infinity` and `-Infinity` become texts that a column of floats reads.
///
/// # Errors
/// What is wrong with it.
pub fn parse_json(bytes: &[u8]) -> Result<Json, serde_json::Error> {
    serde_json::from_slice(bytes).or_else(|first| match std::str::from_utf8(bytes) {
        Ok(text) => serde_json::from_str(&strict_json(text)),
        Err(_) => Err(first),
    })
}

/// The text with null for `NaN`, and with texts for infinities, as [`parse_json`] reads them.
#[must_use]
pub fn strict_json(text: &str) -> String {
    const WORDS: [(&str, &str); 3] =
        [("NaN", "null"), ("-Infinity", "\"-Infinity\""), ("Infinity", "\"Infinity\"")];
    let mut out = String::with_capacity(text.len() + 16);
    let mut rest = text;
    while let Some(at) = rest.find(['"', 'N', 'I', '-']) {
        let (before, from) = rest.split_at(at);
        out.push_str(before);
        if from.starts_with('"') {
            let end = end_of_text(from);
            out.push_str(&from[..end]);
            rest = &from[end..];
        } else if let Some((word, instead)) = WORDS.into_iter().find(|(word, _)| from.starts_with(word)) {
            out.push_str(instead);
            rest = &from[word.len()..];
        } else {
            out.push_str(&from[..1]);
            rest = &from[1..];
        }
    }
    out.push_str(rest);
    out
}

/// Where the text that begins here ends, its quotes included.
fn end_of_text(from: &str) -> usize {
    let mut escaped = false;
    for (i, byte) in from.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return i + 1,
            _ => {}
        }
    }
    from.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn words_for_floats_are_read_outside_of_texts_alone() {
        let read = parse_json(br#"{"a": [NaN, -Infinity, Infinity, -1], "NaN": "Infinity \" NaN"}"#).unwrap();
        assert_eq!(read, json!({ "a": [null, "-Infinity", "Infinity", -1], "NaN": "Infinity \" NaN" }));
        for bad in [&b"NaN NaN"[..], b"{\"a\": Nan}", b"\xff"] {
            assert!(parse_json(bad).is_err());
        }
    }
}
