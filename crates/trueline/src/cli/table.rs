//! Output: tables with aligned columns, JSON, and complaints.

#![allow(clippy::print_stdout, clippy::print_stderr)]

use super::Connection;
use anyhow::bail;
use serde_json::Value;

/// Prints a value as JSON.
pub(crate) fn json(value: &Value) {
    println!("{}", serde_json::to_string_pretty(value).unwrap_or_default());
}

/// Prints one line of data.
pub(crate) fn line(text: impl std::fmt::Display) {
    println!("{text}");
}

/// Tells the person something that is not data.
pub(crate) fn note(text: impl std::fmt::Display) {
    eprintln!("{text}");
}

/// Prints rows under a heading, columns aligned.
pub(crate) fn rows(heading: &[&str], rows: &[Vec<String>]) {
    print!("{}", aligned(heading, rows));
}

/// Rows under a heading as lines, columns aligned.
pub(crate) fn aligned(heading: &[&str], rows: &[Vec<String>]) -> String {
    let width = |i: usize| {
        let cells = rows.iter().filter_map(|r| r.get(i)).map(|c| c.chars().count());
        cells.chain([heading[i].chars().count()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..heading.len()).map(width).collect();
    let line = |cells: Vec<&str>| {
        let padded = cells.iter().zip(&widths).map(|(c, w)| format!("{c:<w$}"));
        format!("{}\n", padded.collect::<Vec<_>>().join("  ").trim_end())
    };
    let lines = rows.iter().map(|row| line(row.iter().map(String::as_str).collect()));
    std::iter::once(line(heading.to_vec())).chain(lines).collect()
}

/// A field of an object as text; a dash when it is missing.
pub(crate) fn cell(value: &Value, field: &str) -> String {
    match &value[field] {
        Value::Null => "–".to_owned(),
        Value::String(text) => text.clone(),
        Value::Number(number) if number.is_f64() => number.as_f64().map_or_else(String::new, brief),
        other => other.to_string(),
    }
}

/// A number as people read it: four significant digits. `--json` has them all.
fn brief(number: f64) -> String {
    match number.abs() {
        size if size != 0.0 && !(1e-4..1e9).contains(&size) => format!("{number:.3e}"),
        size => {
            let digits = (1..=4).take_while(|d| size >= 10_f64.powi(*d)).count();
            let text = format!("{number:.*}", 3_usize.saturating_sub(digits) + usize::from(size < 1.0));
            let whole = text.trim_end_matches('0').trim_end_matches('.');
            if text.contains('.') { whole.to_owned() } else { text }
        }
    }
}

/// Prints a list that the server told, with these fields of each item; as JSON when the caller wants that.
pub(crate) fn list(connection: &Connection, all: &Value, name: &str, fields: &[&str]) -> anyhow::Result<()> {
    if connection.json {
        json(all);
        return Ok(());
    }
    let Some(items) = all[name].as_array() else { bail!("the server told no {name}") };
    let rows: Vec<Vec<String>> =
        items.iter().map(|item| fields.iter().map(|f| cell(item, f)).collect()).collect();
    let heading: Vec<String> = fields.iter().map(|f| f.replace('_', " ").to_uppercase()).collect();
    self::rows(&heading.iter().map(String::as_str).collect::<Vec<_>>(), &rows);
    Ok(())
}

/// Tells what went wrong, with its causes.
pub(crate) fn complain(error: &anyhow::Error) {
    let causes: Vec<String> = error.chain().map(ToString::to_string).collect();
    eprintln!("error: {}", causes.join(": "));
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn numbers_in_tables_have_the_digits_that_people_read() {
        let row = json!({
            "a": 0.645_799_178_9, "b": 3.243_53, "c": 1234.567, "d": 0.5, "e": 1e-7, "f": 0.0, "g": 12, "h": 2.0, "i": null
        });
        let cells = ["a", "b", "c", "d", "e", "f", "g", "h", "i"].map(|field| cell(&row, field));
        assert_eq!(cells, ["0.6458", "3.244", "1235", "0.5", "1.000e-7", "0", "12", "2", "–"]);
    }
}
