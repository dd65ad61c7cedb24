//! What can be shown of a file that somebody logged: as what, and how much of it. Nothing here reads a store.

use serde_json::Value;

/// Bytes of a text that are shown.
pub(crate) const TEXT: u64 = 512 << 10;
/// The largest JSON that is read as such; a longer one is shown as text.
pub(crate) const JSON: u64 = 2 << 20;
/// The largest picture or page that is shown.
pub(crate) const WHOLE: u64 = 32 << 20;
/// Rows and columns of a table that are shown.
const ROWS: usize = 500;
const COLUMNS: usize = 100;
/// Characters of one cell that are shown.
const CELL: usize = 300;

/// As what a file is shown, by the ending of its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A picture of this type, which browsers show and can't be made to run.
    Picture(&'static str),
    /// A page, which is shown in a frame that can reach nothing.
    Page,
    /// A table whose cells stand between these.
    Table(u8),
    /// JSON.
    Json,
    /// Text, if its bytes are.
    Text,
}

/// What a file is shown as.
pub(crate) fn kind(name: &str) -> Kind {
    let ending = name.rsplit_once('.').map_or("", |(_, ending)| ending).to_ascii_lowercase();
    match ending.as_str() {
        "png" => Kind::Picture("image/png"),
        "jpg" | "jpeg" => Kind::Picture("image/jpeg"),
        "gif" => Kind::Picture("image/gif"),
        "webp" => Kind::Picture("image/webp"),
        "avif" => Kind::Picture("image/avif"),
        "bmp" => Kind::Picture("image/bmp"),
        "ico" => Kind::Picture("image/x-icon"),
        "svg" => Kind::Picture("image/svg+xml"),
        "html" | "htm" => Kind::Page,
        "csv" => Kind::Table(b','),
        "tsv" => Kind::Table(b'\t'),
        "json" | "ipynb" | "geojson" => Kind::Json,
        _ => Kind::Text,
    }
}

/// How many bytes are read to show a file of this kind and size.
pub(crate) fn wanted(kind: Kind, size: u64) -> u64 {
    match kind {
        Kind::Json if size <= JSON => size,
        _ => size.min(TEXT),
    }
}

/// The beginning of a text, without half a character at its end; none when the bytes are no text.
pub(crate) fn text(bytes: &[u8], is_cut: bool) -> Option<String> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        // Only the cut may have split a character.
        Err(error) if is_cut && error.error_len().is_none() => {
            std::str::from_utf8(&bytes[..error.valid_up_to()]).ok()?
        }
        Err(_) => return None,
    };
    (!text.contains('\0')).then(|| text.to_owned())
}

/// Rows of texts under headings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Grid {
    pub(crate) columns: Vec<String>,
    pub(crate) rows: Vec<Vec<String>>,
    /// Whether there are more rows or columns than these.
    pub(crate) more: bool,
}

impl Grid {
    fn new(columns: Vec<String>, rows: Vec<Vec<String>>, cut: bool) -> Self {
        let width = columns.len();
        let more = cut || rows.len() > ROWS || width > COLUMNS;
        let row = |mut row: Vec<String>| {
            row.resize(width, String::new());
            row.truncate(COLUMNS);
            row.into_iter().map(short).collect()
        };
        let rows = rows.into_iter().take(ROWS).map(row).collect();
        Self { columns: columns.into_iter().take(COLUMNS).map(short).collect(), rows, more }
    }

    /// The table of a text whose cells stand between `delimiter` (RFC 4180), or none when it is no table.
    pub(crate) fn separated(text: &str, delimiter: u8, is_cut: bool) -> Option<Self> {
        // What a cut leaves of the last row is no row.
        let text = if is_cut { text.rsplit_once('\n').map_or("", |(whole, _)| whole) } else { text };
        let mut reader =
            csv::ReaderBuilder::new().delimiter(delimiter).flexible(true).from_reader(text.as_bytes());
        let cells = |record: &csv::StringRecord| record.iter().map(ToOwned::to_owned).collect::<Vec<_>>();
        let columns = reader.headers().map(cells).ok()?;
        let rows =
            reader.records().take(ROWS + 1).map(|r| r.map(|r| cells(&r))).collect::<Result<_, _>>().ok()?;
        (!columns.is_empty()).then(|| Self::new(columns, rows, is_cut))
    }

    /// The table that `mlflow.log_table` writes: `{"columns": […], "data": [[…], …]}`.
    pub(crate) fn of_json(json: &Value) -> Option<Self> {
        let columns = json.get("columns")?.as_array()?;
        let data = json.get("data")?.as_array()?;
        if columns.is_empty()
            || json.as_object()?.keys().any(|k| !["columns", "data", "index"].contains(&k.as_str()))
        {
            return None;
        }
        let cell = |value: &Value| match value {
            Value::String(text) => text.clone(),
            Value::Null => String::new(),
            other => other.to_string(),
        };
        let row = |row: &Value| Some(row.as_array()?.iter().map(cell).collect::<Vec<_>>());
        let rows = data.iter().take(ROWS + 1).map(row).collect::<Option<Vec<_>>>()?;
        Some(Self::new(columns.iter().map(cell).collect(), rows, false))
    }
}

fn short(text: String) -> String {
    match text.char_indices().nth(CELL) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_file_is_shown_by_its_ending_and_scripts_are_texts() {
        for (name, expected) in [
            ("images/loss%step%1.PNG", Kind::Picture("image/png")),
            ("report.html", Kind::Page),
            ("a.tsv", Kind::Table(b'\t')),
            ("table.json", Kind::Json),
            ("run.js", Kind::Text),
            ("page.xhtml", Kind::Text),
            ("notes.md", Kind::Text),
            ("MLmodel", Kind::Text),
        ] {
            assert_eq!(kind(name), expected, "{name}");
        }
    }

    #[test]
    fn bytes_that_are_no_text_are_not_shown_and_a_cut_splits_no_character() {
        assert_eq!(text("\u{feff}Bär".as_bytes(), false).as_deref(), Some("Bär"));
        let bytes = "Bär".as_bytes();
        assert_eq!(text(&bytes[..2], true).as_deref(), Some("B"));
        assert_eq!(text(&bytes[..2], false), None);
        assert_eq!(text(b"PK\x03\x04\0\0", true), None);
        assert_eq!(text(b"\xff\xfe", true), None);
    }

    #[test]
    fn a_table_of_texts_is_read_with_quotes_and_ragged_rows() {
        let grid = Grid::separated("a,b\n\"x, y\",2\n3\n4,5,6\n", b',', false).unwrap();
        assert_eq!(grid.columns, ["a", "b"]);
        assert_eq!(grid.rows, [["x, y", "2"], ["3", ""], ["4", "5"]]);
        assert!(!grid.more);
        let cut = Grid::separated("a\n1\n22", b',', true).unwrap();
        assert_eq!((cut.rows, cut.more), (vec![vec!["1".to_owned()]], true));
        assert_eq!(Grid::separated("", b',', false), None);
    }

    #[test]
    fn a_long_table_is_cut_and_says_so() {
        let text = format!("n\n{}", "1\n".repeat(ROWS + 1));
        let grid = Grid::separated(&text, b',', false).unwrap();
        assert_eq!((grid.rows.len(), grid.more), (ROWS, true));
    }

    #[test]
    fn the_tables_of_mlflow_are_read_from_json_and_other_json_is_not() {
        let table = json!({ "columns": ["q", "score"], "data": [["why?", 0.5], ["how?", null]] });
        let grid = Grid::of_json(&table).unwrap();
        assert_eq!(grid.rows, [["why?", "0.5"], ["how?", ""]]);
        for other in [json!({ "columns": ["a"] }), json!([1]), json!({ "columns": ["a"], "data": [1] })] {
            assert_eq!(Grid::of_json(&other), None, "{other}");
        }
        assert_eq!(Grid::of_json(&json!({ "columns": ["a"], "data": [], "model": 1 })), None);
    }
}
