//! The tree of values that both readers (JSON and UBJSON) produce, and typed access to it by path.
//! Knows nothing of models; what the values mean is `load`'s business.

use crate::error::LoadError;

/// Arrays and objects may nest this deep. XGBoost's own files nest 8 deep.
pub(crate) const MAX_DEPTH: usize = 32;

/// One value of a model document. Arrays of numbers are packed, for they are nearly all of a model.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Int(i64),
    Float(f32),
    Text(Box<str>),
    Ints(Vec<i64>),
    Floats(Vec<f32>),
    List(Vec<Value>),
    /// Sorted by key, keys unique.
    Object(Vec<(Box<str>, Value)>),
}

impl Value {
    fn kind(&self) -> &'static str {
        match self {
            Value::Null => "null",
            Value::Bool(_) => "a boolean",
            Value::Int(_) => "an integer",
            Value::Float(_) => "a number",
            Value::Text(_) => "a string",
            Value::Ints(_) | Value::Floats(_) | Value::List(_) => "an array",
            Value::Object(_) => "an object",
        }
    }

    /// Builds an object; `Err` names a key that occurs twice.
    pub(crate) fn object(mut entries: Vec<(Box<str>, Value)>) -> Result<Value, Box<str>> {
        entries.sort_by(|a, b| a.0.cmp(&b.0));
        if let Some(twice) = entries.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(twice[0].0.clone());
        }
        Ok(Value::Object(entries))
    }
}

/// An array under construction: packed as long as it holds only numbers (or only booleans, kept as 0 and 1,
/// as XGBoost before 1.6 wrote `default_left`).
#[derive(Debug)]
pub(crate) struct ArrayBuilder(Value);

impl ArrayBuilder {
    pub(crate) fn new() -> Self {
        Self(Value::Ints(Vec::new()))
    }

    pub(crate) fn push(&mut self, item: Value) {
        match (&mut self.0, item) {
            (Value::Ints(ints), Value::Int(i)) => ints.push(i),
            (Value::Ints(ints), Value::Bool(b)) => ints.push(i64::from(b)),
            (Value::Floats(floats), Value::Float(f)) => floats.push(f),
            (Value::Floats(floats), Value::Int(i)) => floats.push(i as f32),
            (Value::Ints(ints), Value::Float(f)) => {
                let mut floats: Vec<f32> = ints.iter().map(|&i| i as f32).collect();
                floats.push(f);
                self.0 = Value::Floats(floats);
            }
            (Value::List(list), item) => list.push(item),
            (_, item) => {
                let mut list: Vec<Value> = match std::mem::replace(&mut self.0, Value::Null) {
                    Value::Ints(ints) => ints.into_iter().map(Value::Int).collect(),
                    Value::Floats(floats) => floats.into_iter().map(Value::Float).collect(),
                    _ => Vec::new(),
                };
                list.push(item);
                self.0 = Value::List(list);
            }
        }
    }

    pub(crate) fn finish(self) -> Value {
        self.0
    }
}

/// Where a value stands in the document; printed in errors as `learner.gradient_booster.name`.
#[derive(Debug, Clone, Copy)]
enum Path<'a> {
    Root,
    Key(&'a Path<'a>, &'a str),
    Item(&'a Path<'a>, usize),
}

impl std::fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Path::Root => Ok(()),
            Path::Key(Path::Root, key) => f.write_str(key),
            Path::Key(parent, key) => write!(f, "{parent}.{key}"),
            Path::Item(parent, index) => write!(f, "{parent}[{index}]"),
        }
    }
}

/// A value together with its path, so that every error can say where it arose.
#[derive(Debug, Clone, Copy)]
pub(crate) struct At<'v, 'p> {
    value: &'v Value,
    path: Path<'p>,
}

impl<'v> At<'v, '_> {
    pub(crate) fn root(value: &'v Value) -> Self {
        Self { value, path: Path::Root }
    }

    pub(crate) fn path(&self) -> String {
        self.path.to_string()
    }

    fn wrong(&self, expected: &'static str) -> LoadError {
        LoadError::WrongType { path: self.path(), expected, found: self.value.kind() }
    }

    fn lookup(&self, key: &str) -> Result<Option<&'v Value>, LoadError> {
        match self.value {
            Value::Object(entries) => Ok(entries
                .binary_search_by(|(k, _)| (**k).cmp(key))
                .ok()
                .and_then(|i| entries.get(i))
                .map(|(_, value)| value)),
            _ => Err(self.wrong("an object")),
        }
    }

    /// The value under `key`, `None` when the key is absent.
    pub(crate) fn find<'s>(&'s self, key: &'s str) -> Result<Option<At<'v, 's>>, LoadError> {
        Ok(self.lookup(key)?.map(|value| At { value, path: Path::Key(&self.path, key) }))
    }

    /// The value under `key`.
    pub(crate) fn get<'s>(&'s self, key: &'s str) -> Result<At<'v, 's>, LoadError> {
        self.find(key)?.ok_or_else(|| LoadError::Missing { path: Path::Key(&self.path, key).to_string() })
    }

    /// The items of an array that holds anything but plain numbers.
    pub(crate) fn items(&self) -> Result<impl ExactSizeIterator<Item = At<'v, '_>>, LoadError> {
        let list: &[Value] = match self.value {
            Value::List(list) => list,
            Value::Ints(ints) if ints.is_empty() => &[],
            Value::Ints(_) | Value::Floats(_) => {
                return Err(LoadError::WrongType {
                    path: self.path(),
                    expected: "an array of objects or strings",
                    found: "an array of numbers",
                });
            }
            _ => return Err(self.wrong("an array")),
        };
        Ok(list.iter().enumerate().map(|(i, value)| At { value, path: Path::Item(&self.path, i) }))
    }

    pub(crate) fn text(&self) -> Result<&'v str, LoadError> {
        match self.value {
            Value::Text(text) => Ok(text),
            _ => Err(self.wrong("a string")),
        }
    }

    pub(crate) fn int(&self) -> Result<i64, LoadError> {
        match self.value {
            Value::Int(i) => Ok(*i),
            _ => Err(self.wrong("an integer")),
        }
    }

    pub(crate) fn ints(&self) -> Result<&'v [i64], LoadError> {
        match self.value {
            Value::Ints(ints) => Ok(ints),
            Value::Floats(_) | Value::List(_) => Err(LoadError::WrongType {
                path: self.path(),
                expected: "an array of integers",
                found: "an array of something else",
            }),
            _ => Err(self.wrong("an array of integers")),
        }
    }

    /// Numbers as f32. An array written wholly without fractions arrives as integers; it is converted.
    pub(crate) fn floats(&self) -> Result<std::borrow::Cow<'v, [f32]>, LoadError> {
        match self.value {
            Value::Floats(floats) => Ok(std::borrow::Cow::Borrowed(floats)),
            Value::Ints(ints) => Ok(ints.iter().map(|&i| i as f32).collect()),
            Value::List(_) => Err(LoadError::WrongType {
                path: self.path(),
                expected: "an array of numbers",
                found: "an array of something else",
            }),
            _ => Err(self.wrong("an array of numbers")),
        }
    }

    /// An integer that XGBoost writes as a string (`"num_feature": "30"`).
    pub(crate) fn text_int(&self) -> Result<i64, LoadError> {
        let text = self.text()?;
        text.trim().parse().map_err(|_| LoadError::BadNumber { path: self.path(), text: shorten(text) })
    }

    /// Length of an array of any kind.
    pub(crate) fn len(&self) -> Result<usize, LoadError> {
        match self.value {
            Value::Ints(v) => Ok(v.len()),
            Value::Floats(v) => Ok(v.len()),
            Value::List(v) => Ok(v.len()),
            _ => Err(self.wrong("an array")),
        }
    }
}

/// At most 40 characters of text that came from a file, for an error message.
pub(crate) fn shorten(text: &str) -> String {
    if text.chars().count() <= 40 {
        text.to_owned()
    } else {
        text.chars().take(40).chain("…".chars()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrays_stay_packed_while_they_hold_numbers() {
        let mut array = ArrayBuilder::new();
        array.push(Value::Int(1));
        array.push(Value::Float(2.5));
        array.push(Value::Int(3));
        assert_eq!(array.finish(), Value::Floats(vec![1.0, 2.5, 3.0]));
    }

    #[test]
    fn mixed_arrays_become_lists_without_losing_items() {
        let mut array = ArrayBuilder::new();
        array.push(Value::Int(1));
        array.push(Value::Text("a".into()));
        assert_eq!(array.finish(), Value::List(vec![Value::Int(1), Value::Text("a".into())]));
    }

    #[test]
    fn errors_name_the_path() {
        let doc =
            Value::object(vec![("a".into(), Value::List(vec![Value::object(vec![]).unwrap()]))]).unwrap();
        let root = At::root(&doc);
        let a = root.get("a").unwrap();
        let first = a.items().unwrap().next().unwrap();
        assert_eq!(first.get("b").unwrap_err(), LoadError::Missing { path: "a[0].b".into() });
    }
}
