//! A reader of the part of UBJSON that XGBoost writes: big-endian numbers, `L` lengths, typed arrays.
//! Every length is checked against the bytes that remain before anything is allocated for it.

use crate::document::{ArrayBuilder, MAX_DEPTH, Value};
use crate::error::LoadError;

/// Reads one document; nothing may follow it.
pub(crate) fn read(bytes: &[u8]) -> Result<Value, LoadError> {
    let mut reader = Reader { bytes, at: 0 };
    let marker = reader.byte("a value")?;
    let value = reader.value(marker, 0)?;
    if reader.at == bytes.len() {
        Ok(value)
    } else {
        Err(reader.syntax("something follows the document".into()))
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn syntax(&self, problem: String) -> LoadError {
        LoadError::Syntax { offset: self.at, problem }
    }

    fn take(&mut self, count: usize, inside: &'static str) -> Result<&'a [u8], LoadError> {
        let end = self.at.checked_add(count).filter(|&end| end <= self.bytes.len());
        let slice = end.and_then(|end| self.bytes.get(self.at..end));
        let slice = slice.ok_or(LoadError::Truncated { offset: self.bytes.len(), inside })?;
        self.at += count;
        Ok(slice)
    }

    fn array_of<const N: usize>(&mut self, inside: &'static str) -> Result<[u8; N], LoadError> {
        let mut out = [0; N];
        out.copy_from_slice(self.take(N, inside)?);
        Ok(out)
    }

    fn byte(&mut self, inside: &'static str) -> Result<u8, LoadError> {
        Ok(self.array_of::<1>(inside)?[0])
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn expect(&mut self, mark: u8, inside: &'static str) -> Result<(), LoadError> {
        let found = self.byte(inside)?;
        if found == mark {
            return Ok(());
        }
        self.at -= 1;
        Err(self.syntax(format!("`{}` should stand in {inside}, and byte {found:#04x} does", mark as char)))
    }

    /// A length: `L` and eight bytes, not negative.
    fn length(&mut self, inside: &'static str) -> Result<usize, LoadError> {
        self.expect(b'L', inside)?;
        let length = i64::from_be_bytes(self.array_of(inside)?);
        usize::try_from(length)
            .map_err(|_| self.syntax(format!("the length {length} of {inside} is impossible")))
    }

    fn string(&mut self, inside: &'static str) -> Result<Box<str>, LoadError> {
        let length = self.length(inside)?;
        let bytes = self.take(length, inside)?;
        std::str::from_utf8(bytes)
            .map(Box::from)
            .map_err(|_| self.syntax(format!("{inside} that is not UTF-8")))
    }

    fn value(&mut self, marker: u8, depth: usize) -> Result<Value, LoadError> {
        const NUMBER: &str = "a number";
        Ok(match marker {
            b'{' => self.object(depth)?,
            b'[' => self.array(depth)?,
            b'S' => Value::Text(self.string("a string")?),
            b'Z' => Value::Null,
            b'T' => Value::Bool(true),
            b'F' => Value::Bool(false),
            b'i' => Value::Int(i8::from_be_bytes(self.array_of(NUMBER)?).into()),
            b'U' | b'C' => Value::Int(u8::from_be_bytes(self.array_of(NUMBER)?).into()),
            b'I' => Value::Int(i16::from_be_bytes(self.array_of(NUMBER)?).into()),
            b'l' => Value::Int(i32::from_be_bytes(self.array_of(NUMBER)?).into()),
            b'L' => Value::Int(i64::from_be_bytes(self.array_of(NUMBER)?)),
            b'd' => Value::Float(f32::from_be_bytes(self.array_of(NUMBER)?)),
            b'D' => Value::Float(f64::from_be_bytes(self.array_of(NUMBER)?) as f32),
            other => {
                self.at -= 1;
                return Err(self.syntax(format!("byte {other:#04x} marks no value that XGBoost writes")));
            }
        })
    }

    fn check_depth(&self, depth: usize) -> Result<(), LoadError> {
        if depth >= MAX_DEPTH {
            return Err(LoadError::TooDeep { offset: self.at, limit: MAX_DEPTH });
        }
        Ok(())
    }

    fn array(&mut self, depth: usize) -> Result<Value, LoadError> {
        self.check_depth(depth)?;
        const ARRAY: &str = "an array";
        match self.peek() {
            Some(b'$') => {
                self.at += 1;
                let kind = self.byte(ARRAY)?;
                self.expect(b'#', ARRAY)?;
                let count = self.length(ARRAY)?;
                self.typed_array(kind, count)
            }
            Some(b'#') => {
                self.at += 1;
                let count = self.length(ARRAY)?;
                // Each item takes at least its marker.
                if count > self.bytes.len() - self.at {
                    return Err(LoadError::Truncated { offset: self.bytes.len(), inside: ARRAY });
                }
                let mut array = ArrayBuilder::new();
                for _ in 0..count {
                    let marker = self.byte(ARRAY)?;
                    array.push(self.value(marker, depth + 1)?);
                }
                Ok(array.finish())
            }
            _ => {
                let mut array = ArrayBuilder::new();
                loop {
                    match self.byte(ARRAY)? {
                        b']' => return Ok(array.finish()),
                        marker => array.push(self.value(marker, depth + 1)?),
                    }
                }
            }
        }
    }

    fn typed_array(&mut self, kind: u8, count: usize) -> Result<Value, LoadError> {
        Ok(match kind {
            b'i' => Value::Ints(self.numbers(count, |b: [u8; 1]| i8::from_be_bytes(b).into())?),
            b'U' => Value::Ints(self.numbers(count, |b: [u8; 1]| u8::from_be_bytes(b).into())?),
            b'I' => Value::Ints(self.numbers(count, |b: [u8; 2]| i16::from_be_bytes(b).into())?),
            b'l' => Value::Ints(self.numbers(count, |b: [u8; 4]| i32::from_be_bytes(b).into())?),
            b'L' => Value::Ints(self.numbers(count, i64::from_be_bytes)?),
            b'd' => Value::Floats(self.numbers(count, f32::from_be_bytes)?),
            b'D' => Value::Floats(self.numbers(count, |b: [u8; 8]| f64::from_be_bytes(b) as f32)?),
            other => {
                return Err(self.syntax(format!("byte {other:#04x} is no element type that XGBoost writes")));
            }
        })
    }

    fn numbers<const N: usize, T>(
        &mut self,
        count: usize,
        decode: fn([u8; N]) -> T,
    ) -> Result<Vec<T>, LoadError> {
        // Saturation is safe: no file has that many bytes, so `take` refuses.
        let bytes = self.take(count.saturating_mul(N), "an array")?;
        let (chunks, _) = bytes.as_chunks::<N>();
        Ok(chunks.iter().map(|chunk| decode(*chunk)).collect())
    }

    fn object(&mut self, depth: usize) -> Result<Value, LoadError> {
        self.check_depth(depth)?;
        let mut entries = Vec::new();
        while self.peek() != Some(b'}') {
            let key = self.string("a key")?;
            let marker = self.byte("an object")?;
            entries.push((key, self.value(marker, depth + 1)?));
        }
        self.at += 1;
        Value::object(entries).map_err(|key| self.syntax(format!("the key `{key}` occurs twice")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn length(n: i64) -> Vec<u8> {
        [b"L".as_slice(), &n.to_be_bytes()].concat()
    }

    fn typed(kind: u8, count: i64, body: &[u8]) -> Vec<u8> {
        [b"[$".as_slice(), &[kind], b"#", &length(count), body].concat()
    }

    #[test]
    fn reads_every_kind_that_xgboost_writes() {
        let text = [b"S".as_slice(), &length(2), "é".as_bytes()].concat();
        let cases: Vec<(Vec<u8>, Value)> = vec![
            (
                typed(b'd', 2, &[0x3f, 0x80, 0, 0, 0xff, 0x80, 0, 0]),
                Value::Floats(vec![1.0, f32::NEG_INFINITY]),
            ),
            (typed(b'l', 1, &[0xff, 0xff, 0xff, 0xff]), Value::Ints(vec![-1])),
            (typed(b'L', 1, &[0, 0, 0, 0, 0, 0, 1, 0]), Value::Ints(vec![256])),
            (typed(b'U', 2, &[0, 255]), Value::Ints(vec![0, 255])),
            (typed(b'i', 2, &[0, 255]), Value::Ints(vec![0, -1])),
            (typed(b'I', 1, &[1, 0]), Value::Ints(vec![256])),
            (typed(b'D', 1, &1.5_f64.to_be_bytes()), Value::Floats(vec![1.5])),
            (text, Value::Text("é".into())),
            (b"[i\x01i\xff]".to_vec(), Value::Ints(vec![1, -1])),
            ([b"[#".as_slice(), &length(2), b"TZ"].concat(), Value::List(vec![Value::Int(1), Value::Null])),
            (
                [b"{".as_slice(), &length(1), b"ad\x3f\x80\0\0}"].concat(),
                Value::Object(vec![("a".into(), Value::Float(1.0))]),
            ),
            (b"D\x3f\xf0\0\0\0\0\0\0".to_vec(), Value::Float(1.0)),
            (b"C\x41".to_vec(), Value::Int(65)),
        ];
        for (bytes, expected) in cases {
            assert_eq!(read(&bytes).unwrap(), expected, "{bytes:?}");
            for end in 0..bytes.len() {
                assert!(
                    matches!(read(&bytes[..end]), Err(LoadError::Truncated { .. })),
                    "{bytes:?} cut at {end}"
                );
            }
        }
    }

    #[test]
    fn lengths_are_checked_before_memory_is_taken() {
        for count in [1 << 40, i64::MAX] {
            for bytes in [
                typed(b'L', count, &[]),
                typed(b'U', count, &[]),
                [b"[#".as_slice(), &length(count)].concat(),
            ] {
                assert!(matches!(read(&bytes), Err(LoadError::Truncated { .. })));
            }
            assert!(matches!(
                read(&[b"S".as_slice(), &length(count)].concat()),
                Err(LoadError::Truncated { .. })
            ));
        }
        assert!(matches!(read(&typed(b'U', -1, &[])), Err(LoadError::Syntax { .. })));
    }

    #[test]
    fn refuses_deep_nesting() {
        assert!(matches!(read(&vec![b'['; 1 << 20]), Err(LoadError::TooDeep { .. })));
    }

    #[test]
    fn refuses_what_xgboost_does_not_write() {
        for bytes in
            [b"N".to_vec(), b"Hi\x01".to_vec(), typed(b'Z', 9, &[]), b"{i\x01a}".to_vec(), b"TT".to_vec()]
        {
            assert!(matches!(read(&bytes), Err(LoadError::Syntax { .. })), "{bytes:?}");
        }
        let twice = [b"{".as_slice(), &length(1), b"aT", &length(1), b"aT}"].concat();
        assert!(read(&twice).unwrap_err().to_string().contains("occurs twice"));
        let not_utf8 = [b"S".as_slice(), &length(1), b"\xff"].concat();
        assert!(matches!(read(&not_utf8), Err(LoadError::Syntax { .. })));
    }
}
