//! Bodies of CSV, read as pandas reads them: a header of names, then rows; a column gets the narrowest type that holds all
//! of it, and words such as `NA` stand for what is missing.

use crate::body::unique;
use crate::lacking::Lacking;
use std::collections::{HashMap, HashSet};
use trueline_serving::Frame;
use trueline_tensors::{Tensor, Values};

/// What pandas takes for a missing value.
const MISSING: [&str; 18] = [
    "", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A",
    "NA", "NULL", "NaN", "None", "n/a", "nan",
];

/// Reads a body. Columns of texts, as the model has them, are left as they are: `007` is no number there.
pub(crate) fn frame(body: &[u8], texts: &[String]) -> Result<Frame, String> {
    let wrong =
        |e: csv::Error| format!("Failed to parse input as a Pandas DataFrame: the CSV can't be read: {e}");
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(body);
    let names = names(reader.headers().map_err(wrong)?.iter());
    if names.is_empty() {
        return Err("Failed to parse input as a Pandas DataFrame: No columns to parse from file".to_owned());
    }
    let mut columns: Vec<Vec<String>> = vec![Vec::new(); names.len()];
    let mut lacking = Lacking::default();
    for (row, record) in reader.records().enumerate() {
        let record = record.map_err(wrong)?;
        if record.len() > names.len() {
            let (expected, saw) = (names.len(), record.len());
            return Err(format!(
                "Failed to parse input as a Pandas DataFrame: the CSV can't be read: expected {expected} fields in row \
                 {row}, saw {saw}"
            ));
        }
        lacking
            .add(names.len() - record.len())
            .map_err(|e| format!("Failed to parse input as a Pandas DataFrame: {e}"))?;
        // What a row lacks at its end is missing.
        let cells = record.iter().chain(std::iter::repeat(""));
        columns.iter_mut().zip(cells).for_each(|(column, cell)| column.push(cell.to_owned()));
    }
    let typed = |(name, cells): (String, Vec<String>)| {
        let values = if texts.contains(&name) { as_texts(cells) } else { typed(cells) };
        Tensor::column(name, values)
    };
    unique(names.into_iter().zip(columns).map(typed).collect())
}

/// The names of a header, each another one: pandas counts those that come again, and calls an empty one by its place.
fn names<'h>(header: impl Iterator<Item = &'h str>) -> Vec<String> {
    let header: Vec<String> = header
        .enumerate()
        .map(|(i, name)| if name.is_empty() { format!("Unnamed: {i}") } else { name.to_owned() })
        .collect();
    let given: HashSet<&str> = header.iter().map(String::as_str).collect();
    let mut taken: HashSet<String> = HashSet::with_capacity(header.len());
    let mut counts: HashMap<&str, usize> = HashMap::new();
    let mut names = Vec::with_capacity(header.len());
    for name in &header {
        let mut own = name.clone();
        while taken.contains(&own) || own != *name && given.contains(own.as_str()) {
            let count = counts.entry(name).or_default();
            *count += 1;
            own = format!("{name}.{count}");
        }
        taken.insert(own.clone());
        names.push(own);
    }
    names
}

fn is_missing(cell: &str) -> bool {
    cell == "null" || MISSING.contains(&cell)
}

fn as_texts(cells: Vec<String>) -> Values {
    Values::Text(cells.into_iter().map(|cell| (!is_missing(&cell)).then_some(cell)).collect())
}

fn typed(cells: Vec<String>) -> Values {
    let whole: Option<Vec<i64>> = cells.iter().map(|cell| cell.trim().parse().ok()).collect();
    if let Some(whole) = whole {
        return Values::Int64(whole);
    }
    let floats: Option<Vec<f64>> = cells.iter().map(|cell| float(cell)).collect();
    if let Some(floats) = floats {
        return Values::Fp64(floats);
    }
    let truths: Option<Vec<bool>> = cells.iter().map(|cell| truth(cell)).collect();
    truths.map_or_else(|| as_texts(cells), Values::Bool)
}

/// A float, NaN where it is missing.
fn float(cell: &str) -> Option<f64> {
    if is_missing(cell) {
        return Some(f64::NAN);
    }
    match cell.trim() {
        word if word.eq_ignore_ascii_case("nan") => None,
        number => number.parse().ok(),
    }
}

fn truth(cell: &str) -> Option<bool> {
    match cell {
        "True" | "TRUE" | "true" => Some(true),
        "False" | "FALSE" | "false" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn column(text: &str) -> Values {
        frame(text.as_bytes(), &[]).unwrap().columns()[0].values().clone()
    }

    #[test]
    fn columns_get_the_types_that_pandas_gives_them() {
        assert_eq!(column("a\n1\n-2\n"), Values::Int64(vec![1, -2]));
        assert_eq!(column("a\nTrue\nfalse\n"), Values::Bool(vec![true, false]));
        assert_eq!(column("a\nx\nNA\n"), Values::Text(vec![Some("x".into()), None]));
        let Values::Fp64(floats) = column("a,b\n1,x\n,y\ninf,z\n") else { panic!() };
        assert!(floats[0] == 1.0 && floats[1].is_nan() && floats[2] == f64::INFINITY);
        let texts = frame(b"zip\n007\nNA\n", &["zip".to_owned()]).unwrap();
        assert_eq!(texts.columns()[0].values(), &Values::Text(vec![Some("007".into()), None]));
        assert_eq!(column("a\n\"x, y\"\n"), Values::Text(vec![Some("x, y".into())]));
    }

    #[test]
    fn names_that_come_again_are_counted_and_empty_ones_have_their_place() {
        let frame = frame(b"a,,a,a.1,a\n1,2,3,4\n", &[]).unwrap();
        let names: Vec<&str> = frame.columns().iter().map(Tensor::name).collect();
        assert_eq!(names, ["a", "Unnamed: 1", "a.2", "a.1", "a.3"]);
        let Values::Fp64(last) = frame.columns()[4].values() else { panic!("{frame:?}") };
        assert!(last[0].is_nan(), "what a row lacks is missing");
    }

    #[test]
    fn what_is_no_csv_is_refused() {
        assert!(frame(b"", &[]).unwrap_err().contains("No columns to parse"));
        assert!(frame(b"a,b\n1,2,3\n", &[]).unwrap_err().contains("expected 2 fields in row 0, saw 3"));
        assert!(frame(b"a\n\xff\n", &[]).is_err());
    }

    proptest! {
        #[test]
        fn no_body_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            drop(frame(&bytes, &[]));
        }
    }
}
