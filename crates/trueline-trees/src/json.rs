//! A small JSON reader for model files, bounded in depth and in memory by the length of its input.
//! Not `serde_json`, for two reasons: XGBoost writes `NaN` and `Infinity`, and its numbers are f32, which must
//! be rounded once from the text, not by way of f64.

use crate::document::{ArrayBuilder, MAX_DEPTH, Value};
use crate::error::LoadError;

/// Reads one document; only white space may follow it.
pub(crate) fn read(bytes: &[u8]) -> Result<Value, LoadError> {
    let mut reader = Reader { bytes, at: 0 };
    let value = reader.value(0)?;
    reader.skip_space();
    match reader.peek() {
        None => Ok(value),
        Some(_) => Err(reader.syntax("something follows the document")),
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn syntax(&self, problem: &str) -> LoadError {
        LoadError::Syntax { offset: self.at, problem: problem.to_owned() }
    }

    fn truncated(&self, inside: &'static str) -> LoadError {
        LoadError::Truncated { offset: self.bytes.len(), inside }
    }

    fn value(&mut self, depth: usize) -> Result<Value, LoadError> {
        self.skip_space();
        match self.peek() {
            None => Err(self.truncated("a JSON value")),
            Some(b'{') => self.object(depth),
            Some(b'[') => self.array(depth),
            Some(b'"') => Ok(Value::Text(self.string()?.into())),
            Some(b'n') => self.word(b"null", Value::Null),
            Some(b't') => self.word(b"true", Value::Bool(true)),
            Some(b'f') => self.word(b"false", Value::Bool(false)),
            Some(b'N') => self.word(b"NaN", Value::Float(f32::NAN)),
            Some(b'I') => self.word(b"Infinity", Value::Float(f32::INFINITY)),
            Some(b'-') if self.bytes.get(self.at + 1) == Some(&b'I') => {
                self.word(b"-Infinity", Value::Float(f32::NEG_INFINITY))
            }
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(_) => Err(self.syntax("a value should begin here")),
        }
    }

    fn word(&mut self, word: &'static [u8], value: Value) -> Result<Value, LoadError> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        if rest.starts_with(word) {
            self.at += word.len();
            Ok(value)
        } else if word.starts_with(rest) {
            Err(self.truncated("a word"))
        } else {
            Err(self.syntax("an unknown word"))
        }
    }

    fn digits(&mut self) -> usize {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        self.at - start
    }

    /// Integers become [`Value::Int`], the rest is rounded to the nearest f32, as `strtof` does.
    fn number(&mut self) -> Result<Value, LoadError> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        if self.digits() == 0 {
            return Err(self.syntax("a number lacks its digits"));
        }
        let mut whole = true;
        if self.peek() == Some(b'.') {
            whole = false;
            self.at += 1;
            self.digits();
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            whole = false;
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            if self.digits() == 0 {
                return Err(self.syntax("an exponent lacks its digits"));
            }
        }
        let text =
            std::str::from_utf8(self.bytes.get(start..self.at).unwrap_or_default()).unwrap_or_default();
        if whole && let Ok(int) = text.parse() {
            return Ok(Value::Int(int));
        }
        text.parse().map(Value::Float).map_err(|_| self.syntax("a number that does not parse"))
    }

    fn string(&mut self) -> Result<String, LoadError> {
        self.at += 1;
        let mut out = Vec::new();
        loop {
            match self.peek() {
                None => return Err(self.truncated("a string")),
                Some(b'"') => break self.at += 1,
                Some(b'\\') => {
                    let c = self.escape()?;
                    out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                }
                Some(byte) => {
                    out.push(byte);
                    self.at += 1;
                }
            }
        }
        String::from_utf8(out).map_err(|_| self.syntax("a string that is not UTF-8 ends here"))
    }

    fn escape(&mut self) -> Result<char, LoadError> {
        let code = self.bytes.get(self.at + 1).copied().ok_or_else(|| self.truncated("a string"))?;
        self.at += 2;
        Ok(match code {
            b'"' => '"',
            b'\\' => '\\',
            b'/' => '/',
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let high = self.hex4()?;
                let low = if (0xD800..0xDC00).contains(&high)
                    && self.bytes.get(self.at..self.at + 2) == Some(br"\u".as_slice())
                {
                    self.at += 2;
                    Some(self.hex4()?)
                } else {
                    None
                };
                char::decode_utf16([Some(high), low].into_iter().flatten())
                    .next()
                    .and_then(Result::ok)
                    .ok_or_else(|| self.syntax("half of a surrogate pair"))?
            }
            _ => return Err(self.syntax("an unknown escape")),
        })
    }

    fn hex4(&mut self) -> Result<u16, LoadError> {
        let digits = self.bytes.get(self.at..self.at + 4).ok_or_else(|| self.truncated("a string"))?;
        let code = std::str::from_utf8(digits)
            .ok()
            .filter(|text| text.bytes().all(|b| b.is_ascii_hexdigit()))
            .and_then(|text| u16::from_str_radix(text, 16).ok())
            .ok_or_else(|| self.syntax("an escape that is not four hexadecimal digits"))?;
        self.at += 4;
        Ok(code)
    }

    fn enter(&mut self, depth: usize) -> Result<(), LoadError> {
        if depth >= MAX_DEPTH {
            return Err(LoadError::TooDeep { offset: self.at, limit: MAX_DEPTH });
        }
        self.at += 1;
        self.skip_space();
        Ok(())
    }

    /// After an item: `true` when another one follows, `false` after the closing mark.
    fn more(&mut self, close: u8, inside: &'static str) -> Result<bool, LoadError> {
        self.skip_space();
        match self.peek() {
            None => Err(self.truncated(inside)),
            Some(b',') => {
                self.at += 1;
                self.skip_space();
                Ok(true)
            }
            Some(byte) if byte == close => {
                self.at += 1;
                Ok(false)
            }
            Some(_) => Err(self.syntax("a comma or the closing bracket should stand here")),
        }
    }

    fn array(&mut self, depth: usize) -> Result<Value, LoadError> {
        self.enter(depth)?;
        let mut array = ArrayBuilder::new();
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(array.finish());
        }
        loop {
            array.push(self.value(depth + 1)?);
            if !self.more(b']', "an array")? {
                return Ok(array.finish());
            }
        }
    }

    fn object(&mut self, depth: usize) -> Result<Value, LoadError> {
        self.enter(depth)?;
        let mut entries = Vec::new();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(Value::Object(entries));
        }
        loop {
            match self.peek() {
                Some(b'"') => {}
                None => return Err(self.truncated("an object")),
                Some(_) => return Err(self.syntax("a key should begin here")),
            }
            let key = self.string()?;
            self.skip_space();
            match self.peek() {
                Some(b':') => self.at += 1,
                None => return Err(self.truncated("an object")),
                Some(_) => return Err(self.syntax("a colon should stand here")),
            }
            entries.push((key.into(), self.value(depth + 1)?));
            if !self.more(b'}', "an object")? {
                return Value::object(entries)
                    .map_err(|key| self.syntax(&format!("the key `{key}` occurs twice")));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_xgboost_writes() {
        let value = read(br#" {"a":[1,2.5E0,NaN,-Infinity],"b":"x\"\u00e9\ud83d\ude00","c":[true,false],"d":{},"e":null} "#);
        let Value::Object(entries) = value.unwrap() else { panic!("not an object") };
        let Value::Floats(a) = &entries[0].1 else { panic!("not packed") };
        assert_eq!(a[..2], [1.0, 2.5]);
        assert!(a[2].is_nan() && a[3] == f32::NEG_INFINITY);
        assert_eq!(entries[1].1, Value::Text("x\"é😀".into()));
        assert_eq!(entries[2].1, Value::Ints(vec![1, 0]));
    }

    #[test]
    fn rounds_once_to_f32() {
        // Just above the middle of two neighbouring f32; by way of f64 it would fall on the middle and go to even.
        assert_eq!(read(b"1.00000005960464477539062500001").unwrap(), Value::Float(1.000_000_1));
        assert_eq!(read(b"1E-45").unwrap(), Value::Float(f32::from_bits(1)));
    }

    #[test]
    fn every_prefix_is_truncated_or_damaged() {
        let whole = br#"{"a":[1,2.5E0,"x\u00e9",{"b":null,"c":true}]}"#;
        for end in 0..whole.len() {
            let error = read(&whole[..end]).unwrap_err();
            assert!(
                matches!(error, LoadError::Truncated { .. } | LoadError::Syntax { .. }),
                "{end}: {error}"
            );
        }
    }

    #[test]
    fn refuses_deep_nesting() {
        assert!(matches!(read(&vec![b'['; 1 << 20]), Err(LoadError::TooDeep { limit: MAX_DEPTH, .. })));
    }

    #[test]
    fn refuses_a_key_that_occurs_twice() {
        let error = read(br#"{"a":1,"b":2,"a":3}"#).unwrap_err();
        assert!(error.to_string().contains("`a` occurs twice"), "{error}");
    }

    #[test]
    fn refuses_what_is_not_json() {
        for text in
            ["[1 2]", "[1,]", "{\"a\" 1}", "nul ", "\"\\x\"", "\"\\ud800\"", "[1]x", "-", "1e", "{1:2}", "?"]
        {
            let error = read(text.as_bytes()).unwrap_err();
            assert!(matches!(error, LoadError::Syntax { .. }), "{text}: {error}");
        }
        assert!(matches!(read(b"\"\xff\""), Err(LoadError::Syntax { .. })));
    }
}
