//! The names of a table's columns. A client sends the same with each request, and in one of a single row they are most of
//! it: what was read before is not read again.

use serde::de::{Deserializer, Error, Visitor};
use serde_json::Number;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::cell::RefCell;
use std::fmt;
use std::sync::Arc;

/// Lists that a thread remembers: one for each model that is asked by turns.
const REMEMBERED: usize = 8;
/// A longer one is read each time: names take more room than their text, and each thread has its own.
const LONGEST_REMEMBERED: usize = 4 << 10;

/// What a table calls its columns. No name is in it twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ColumnNames {
    /// Nothing but their places, from 0 on, and how many there are.
    Numbers(usize),
    /// Their names.
    Names(Arc<[Arc<str>]>),
}

thread_local! {
    /// As they were written, those that were asked for last in front.
    static RECENT: RefCell<Vec<(Box<str>, ColumnNames)>> = const { RefCell::new(Vec::new()) };
}

impl ColumnNames {
    /// Reads a list of names and numbers.
    ///
    /// # Errors
    /// When it is none, or has a name twice; `body` finds the words for it.
    pub(crate) fn read(written: &RawValue) -> Result<Self, serde_json::Error> {
        let written = written.get();
        if written.len() > LONGEST_REMEMBERED {
            return Self::parse(written);
        }
        RECENT.with_borrow_mut(|remembers| {
            let place = match remembers.iter().position(|(text, _)| **text == *written) {
                Some(place) => place,
                None => {
                    let names = Self::parse(written)?;
                    remembers.truncate(REMEMBERED - 1);
                    remembers.push((written.into(), names));
                    remembers.len() - 1
                }
            };
            remembers[..=place].rotate_right(1);
            Ok(remembers[0].1.clone())
        })
    }

    /// How many columns it names.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Numbers(count) => *count,
            Self::Names(names) => names.len(),
        }
    }

    fn parse(written: &str) -> Result<Self, serde_json::Error> {
        let names: Vec<Name<'_>> = serde_json::from_str(written)?;
        if names.iter().enumerate().all(|(place, name)| name.is(place)) {
            return Ok(Self::Numbers(names.len()));
        }
        let names: Arc<[Arc<str>]> = names.into_iter().map(Name::text).collect();
        let mut sorted: Vec<&str> = names.iter().map(|name| &**name).collect();
        sorted.sort_unstable();
        if sorted.windows(2).any(|two| two[0] == two[1]) {
            return Err(serde_json::Error::custom("a name is given twice"));
        }
        Ok(Self::Names(names))
    }
}

/// A column's name; pandas has columns that are named by numbers.
enum Name<'n> {
    Text(Cow<'n, str>),
    Number(Number),
}

impl<'de> serde::Deserialize<'de> for Name<'de> {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        reader.deserialize_any(Named)
    }
}

/// Reads a column's name. None is read twice, as serde does where it has to find out of which kind something is.
struct Named;

impl<'de> Visitor<'de> for Named {
    type Value = Name<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text or a number")
    }
    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Name<'de>, E> {
        Ok(Name::Text(Cow::Borrowed(text)))
    }
    fn visit_str<E: Error>(self, text: &str) -> Result<Name<'de>, E> {
        Ok(Name::Text(Cow::Owned(text.to_owned())))
    }
    fn visit_u64<E: Error>(self, number: u64) -> Result<Name<'de>, E> {
        Ok(Name::Number(number.into()))
    }
    fn visit_i64<E: Error>(self, number: i64) -> Result<Name<'de>, E> {
        Ok(Name::Number(number.into()))
    }
    fn visit_f64<E: Error>(self, number: f64) -> Result<Name<'de>, E> {
        Number::from_f64(number).map(Name::Number).ok_or_else(|| E::custom("no number"))
    }
}

impl Name<'_> {
    /// Whether it is the number of a place.
    fn is(&self, place: usize) -> bool {
        matches!(self, Self::Number(number) if number.as_u64().map(usize::try_from) == Some(Ok(place)))
    }

    fn text(self) -> Arc<str> {
        match self {
            Self::Text(text) => text.into(),
            Self::Number(number) => number.to_string().into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(written: &str) -> Result<ColumnNames, serde_json::Error> {
        ColumnNames::read(serde_json::from_str(written)?)
    }

    fn names(written: &str) -> Vec<String> {
        match read(written).unwrap() {
            ColumnNames::Names(names) => names.iter().map(|name| name.to_string()).collect(),
            ColumnNames::Numbers(count) => panic!("{count} numbers"),
        }
    }

    #[test]
    fn names_may_be_numbers_and_places_are_no_names() {
        assert_eq!(names(r#"["a", 7, "\u00e9", -0.5]"#), ["a", "7", "é", "-0.5"]);
        assert_eq!(names("[1, 0]"), ["1", "0"]);
        assert_eq!(read("[0, 1, 2]").unwrap(), ColumnNames::Numbers(3));
        assert_eq!(read("[]").unwrap(), ColumnNames::Numbers(0));
    }

    #[test]
    fn what_is_wrong_is_refused_each_time() {
        for wrong in [r#"["a", "b", "a"]"#, r#"["7", 7]"#, "[null]", "[[1]]", "{}", "7"] {
            assert!(read(wrong).is_err() && read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_names_that_comes_again_is_the_one_that_was_read() {
        let shared = |names: &ColumnNames, other: &ColumnNames| match (names, other) {
            (ColumnNames::Names(a), ColumnNames::Names(b)) => Arc::ptr_eq(a, b),
            _ => false,
        };
        let first = read(r#"["a", "b"]"#).unwrap();
        for other in 1..REMEMBERED {
            assert_eq!(names(&format!("[\"c{other}\"]")), [format!("c{other}")]);
            assert!(shared(&read(r#"["a", "b"]"#).unwrap(), &first), "after {other} others");
        }
        for other in 0..REMEMBERED {
            names(&format!("[\"d{other}\"]"));
        }
        let again = read(r#"["a", "b"]"#).unwrap();
        assert!(again == first && !shared(&again, &first), "no more than so many are remembered");
        let long = format!("[\"{}\"]", "n".repeat(LONGEST_REMEMBERED));
        assert!(!shared(&read(&long).unwrap(), &read(&long).unwrap()));
    }
}
