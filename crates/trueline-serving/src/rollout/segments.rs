//! Parts of the traffic that are looked at apart: which a plan declares, and in which a request lies. What is compared in
//! each is `segment_tests`.

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use std::collections::BTreeSet;

/// The largest number of segments, the rest of each column among them: each has tests of its own, and each takes of alpha.
const MOST_SEGMENTS: usize = 8;
/// The longest name of a column, and the longest value, in characters.
const LONGEST: usize = 200;

/// Segments by the values of an input column. What has another value, or none, is the rest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SegmentColumn {
    /// The input's name.
    pub column: String,
    /// A text, a number or a boolean for each segment.
    pub values: Vec<Json>,
    /// Whether promotion waits until harm is excluded in each of its segments. The rest is never waited for: nobody said that
    /// there is any.
    #[serde(default = "SegmentColumn::required")]
    pub required: bool,
}

/// A segment among those of a plan.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Segment {
    /// As people read it.
    pub(super) name: String,
    /// Whether promotion waits for it.
    pub(super) required: bool,
}

/// The segments in which something lies, at most one of each column.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct InSegments(u8);

impl InSegments {
    /// Their places among the segments of the plan, of which there are so many.
    pub(super) fn places(self, all: usize) -> impl Iterator<Item = usize> {
        (0..all.min(MOST_SEGMENTS)).filter(move |place| self.0 & (1 << place) != 0)
    }
}

impl SegmentColumn {
    fn required() -> bool {
        true
    }

    /// The place of a value among its segments; the last one is the rest.
    fn place(&self, value: &Json) -> usize {
        self.values.iter().position(|own| same(own, value)).unwrap_or(self.values.len())
    }
}

/// Whether two values are one, whichever kind of number they are.
fn same(a: &Json, b: &Json) -> bool {
    match (a.as_f64(), b.as_f64()) {
        (Some(a), Some(b)) => (a - b).abs() <= 0.0,
        _ => a == b,
    }
}

fn is_value(value: &Json) -> bool {
    match value {
        Json::String(text) => text.chars().count() <= LONGEST,
        Json::Number(_) | Json::Bool(_) => true,
        Json::Null | Json::Array(_) | Json::Object(_) => false,
    }
}

/// Checks the segments of a plan.
pub(super) fn check(declared: &[SegmentColumn]) -> Result<(), String> {
    for (i, own) in declared.iter().enumerate() {
        let SegmentColumn { column, values, .. } = own;
        if column.is_empty() || column.chars().count() > LONGEST {
            return Err(format!("a segment's column has a name of 1 to {LONGEST} characters"));
        }
        if declared[..i].iter().any(|earlier| earlier.column == *column) {
            return Err(format!(
                "the segments of column `{column}` are declared twice: name all its values at once"
            ));
        }
        if values.is_empty() || !values.iter().all(is_value) {
            return Err(format!(
                "the segments of column `{column}` need values: texts of up to {LONGEST} characters, numbers or booleans"
            ));
        }
        if values.iter().enumerate().any(|(i, value)| values[..i].iter().any(|earlier| same(earlier, value)))
        {
            return Err(format!("the segments of column `{column}` name a value twice"));
        }
    }
    let all: usize = declared.iter().map(|own| own.values.len() + 1).sum();
    match all > MOST_SEGMENTS {
        true => Err(format!(
            "there are at most {MOST_SEGMENTS} segments, the rest of each column among them, not {all}: name those that matter most"
        )),
        false => Ok(()),
    }
}

/// Checks that each column of the segments is one of those that requests have.
pub(crate) fn check_known(declared: &[SegmentColumn], known: &BTreeSet<String>) -> Result<(), String> {
    match declared.iter().find(|own| !known.contains(&own.column)) {
        None => Ok(()),
        Some(unknown) => {
            let known: Vec<String> = known.iter().map(|name| format!("`{name}`")).collect();
            Err(format!(
                "the segments' column `{}` is none that the versions take, whose signatures name {}: name one of these",
                unknown.column,
                known.join(", ")
            ))
        }
    }
}

/// All segments of a plan, column by column, each column's rest last.
pub(super) fn all(declared: &[SegmentColumn]) -> Vec<Segment> {
    let of = |own: &SegmentColumn| {
        let (column, required) = (own.column.clone(), own.required);
        let named = own.values.iter().map(|value| {
            let value = value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned);
            Segment { name: format!("{} = {value}", own.column), required }
        });
        let named: Vec<Segment> = named.collect();
        named
            .into_iter()
            .chain(std::iter::once(Segment { name: format!("{column} = any other"), required: false }))
    };
    declared.iter().flat_map(of).collect()
}

/// The segments in which something lies that has these values by column. A column of which nothing is known has none of its
/// segments; one that is missing is null.
#[must_use]
pub fn segments_of(declared: &[SegmentColumn], value_of: impl Fn(&str) -> Option<Json>) -> InSegments {
    let (mut bits, mut first) = (0, 0);
    for own in declared {
        if let Some(value) = value_of(&own.column) {
            bits |= 1 << (first + own.place(&value));
        }
        first += own.values.len() + 1;
    }
    InSegments(bits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn declared() -> Vec<SegmentColumn> {
        let read = json!([{ "column": "country", "values": ["DE", "FR"] }, { "column": "class", "values": [1], "required": false }]);
        serde_json::from_value(read).unwrap()
    }

    #[test]
    fn something_lies_in_one_segment_of_each_column_of_which_it_is_known() {
        let places = |country: Json, class: Option<Json>| {
            let value_of =
                |column: &str| if column == "country" { Some(country.clone()) } else { class.clone() };
            segments_of(&declared(), value_of).places(5).collect::<Vec<_>>()
        };
        assert_eq!(places(json!("FR"), Some(json!(1.0))), [1, 3], "1.0 is 1");
        assert_eq!(places(json!("IT"), Some(json!("1"))), [2, 4], "a text is no number");
        assert_eq!(places(Json::Null, None), [2]);
        let names: Vec<_> = all(&declared()).into_iter().map(|s| (s.name, s.required)).collect();
        let rest = |name: &str| (name.to_owned(), false);
        assert_eq!(names[1], ("country = FR".to_owned(), true));
        assert_eq!(names[2..], [rest("country = any other"), rest("class = 1"), rest("class = any other")]);
    }

    #[test]
    fn a_column_that_nobody_takes_is_refused_with_those_that_there_are() {
        let known = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        assert_eq!(check_known(&declared(), &known(&["class", "country", "hour"])), Ok(()));
        let told = check_known(&declared(), &known(&["hour", "class"])).unwrap_err();
        assert!(told.contains("column `country`") && told.contains("name `class`, `hour`:"), "{told}");
    }

    #[test]
    fn segments_that_make_no_sense_are_refused() {
        let wrong = |segments: Json| {
            let read: Vec<SegmentColumn> = serde_json::from_value(segments).unwrap();
            check(&read).unwrap_err()
        };
        assert_eq!(check(&declared()), Ok(()));
        assert!(wrong(json!([{ "column": "a", "values": [] }])).contains("need values"));
        assert!(wrong(json!([{ "column": "a", "values": [[1]] }])).contains("need values"));
        assert!(wrong(json!([{ "column": "a", "values": [1, 1.0] }])).contains("twice"));
        assert!(
            wrong(json!([{ "column": "a", "values": [1] }, { "column": "a", "values": [2] }]))
                .contains("twice")
        );
        assert!(wrong(json!([{ "column": "a", "values": [1, 2, 3, 4, 5, 6, 7, 8] }])).contains("at most 8"));
    }
}
