//! The grammar of LightGBM's model text: lines, `key=value` sections, arrays of numbers set apart by spaces.
//! Knows no key by meaning; every array grows with the text that it is read from, never on the word of a count.

use crate::document::shorten;
use crate::error::LoadError;

/// The lines of a file, one after the other. Ends of lines are `\n` or `\r\n`.
#[derive(Debug, Clone)]
pub(super) struct Lines<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Lines<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    /// Position of the next line, in bytes from the start of the file.
    pub(super) fn offset(&self) -> usize {
        self.at
    }

    /// The next line, which stays the next one.
    pub(super) fn peek(&self) -> Option<&'a str> {
        self.clone().next()
    }
}

impl<'a> Iterator for Lines<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let rest = self.text.get(self.at..).filter(|rest| !rest.is_empty())?;
        let length = rest.find('\n').unwrap_or(rest.len());
        self.at += (length + 1).min(rest.len());
        let line = &rest[..length];
        Some(line.strip_suffix('\r').unwrap_or(line))
    }
}

/// A run of `key=value` lines: the header of a file, or one tree.
#[derive(Debug)]
pub(super) struct Section<'a> {
    /// What errors call it: nothing for the header, `Tree=3` for a tree.
    name: String,
    entries: Vec<(&'a str, &'a str)>,
}

impl<'a> Section<'a> {
    pub(super) fn new(name: String) -> Self {
        Self { name, entries: Vec::new() }
    }

    /// Takes in a line. A line without `=` is a key without a value.
    ///
    /// A key that is not among `known` is refused: a key that came later, as `is_linear` did within version 3, may
    /// change what the others mean.
    pub(super) fn push(&mut self, line: &'a str, known: &[&str]) -> Result<(), LoadError> {
        let (key, value) = line.split_once('=').unwrap_or((line, ""));
        if !known.contains(&key) {
            return Err(LoadError::Unsupported {
                what: format!("the line `{}` of a LightGBM model", shorten(&self.path(key))),
                remedy: super::load::PYTHON_RUNTIME,
            });
        }
        if self.find(key).is_some() {
            return Err(LoadError::Inconsistent {
                path: self.path(key),
                problem: "it stands there twice".into(),
            });
        }
        self.entries.push((key, value));
        Ok(())
    }

    /// The name of a key in errors.
    pub(super) fn path(&self, key: &str) -> String {
        if self.name.is_empty() { key.to_owned() } else { format!("{}.{key}", self.name) }
    }

    pub(super) fn find(&self, key: &str) -> Option<&'a str> {
        self.entries.iter().find(|(k, _)| *k == key).map(|(_, value)| *value)
    }

    pub(super) fn get(&self, key: &str) -> Result<&'a str, LoadError> {
        self.find(key).ok_or_else(|| LoadError::Missing { path: self.path(key) })
    }

    /// One whole number between `range`'s ends.
    pub(super) fn count(
        &self,
        key: &str,
        range: std::ops::RangeInclusive<usize>,
    ) -> Result<usize, LoadError> {
        let text = self.get(key)?;
        text.trim().parse().ok().filter(|count| range.contains(count)).ok_or_else(|| self.bad(key, text))
    }

    /// The numbers of an array, exactly `expected` of them.
    pub(super) fn numbers<T: std::str::FromStr>(
        &self,
        key: &str,
        expected: usize,
    ) -> Result<Vec<T>, LoadError> {
        let text = self.get(key)?;
        let numbers =
            words(text).map(|word| word.parse().map_err(|_| self.bad(key, word))).collect::<Result<_, _>>();
        let numbers: Vec<T> = numbers?;
        if numbers.len() != expected {
            return Err(LoadError::Length { path: self.path(key), expected, found: numbers.len() });
        }
        Ok(numbers)
    }

    pub(super) fn bad(&self, key: &str, text: &str) -> LoadError {
        LoadError::BadNumber { path: self.path(key), text: shorten(text) }
    }
}

/// The words of a list; LightGBM skips empty ones.
pub(super) fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(' ').filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_with_either_sort_of_newline() {
        let mut lines = Lines::new("tree\r\n\nlast");
        assert_eq!(lines.peek(), Some("tree"));
        assert_eq!((lines.next(), lines.offset()), (Some("tree"), 6));
        assert_eq!((lines.next(), lines.next(), lines.next()), (Some(""), Some("last"), None));
        assert_eq!(lines.offset(), 11);
    }

    #[test]
    fn sections_tell_where_they_stand() {
        let mut section = Section::new("Tree=3".into());
        section.push("threshold=0.5  -1e-35 ", &["threshold"]).unwrap();
        assert_eq!(section.numbers::<f64>("threshold", 2).unwrap(), [0.5, -1e-35]);
        assert_eq!(
            section.numbers::<f64>("threshold", 3).unwrap_err(),
            LoadError::Length { path: "Tree=3.threshold".into(), expected: 3, found: 2 }
        );
        assert!(matches!(section.numbers::<i32>("threshold", 2), Err(LoadError::BadNumber { .. })));
        assert!(matches!(section.push("threshold=1", &["threshold"]), Err(LoadError::Inconsistent { .. })));
        assert!(matches!(section.push("weather=1", &["threshold"]), Err(LoadError::Unsupported { .. })));
        assert_eq!(section.get("shape").unwrap_err(), LoadError::Missing { path: "Tree=3.shape".into() });
    }
}
