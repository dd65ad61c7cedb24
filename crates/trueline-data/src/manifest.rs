//! What a dataset version consists of, and how one is named.

use crate::DataError;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fmt;
use trueline_query::{Column, Format};

/// The layout of the manifest, which is part of what is hashed.
const LAYOUT: u32 = 1;
const LONGEST_NAME: usize = 200;
const LONGEST_FILE_NAME: usize = 1024;
/// Fewer digits of an id would be ambiguous soon; also, no version's number has as many.
const SHORTEST_ID: usize = 8;

/// A file of a dataset version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    /// SHA-256 of its bytes.
    pub sha256: String,
    /// Its size in bytes.
    pub size: u64,
    /// Its rows.
    pub rows: u64,
    /// How it is written.
    pub format: Format,
}

/// What a version's id is the hash of: files and columns, in their order. Names and paths are not part of it, so
/// that the same bytes are the same version wherever they come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    v: u32,
    /// The columns.
    pub columns: Vec<Column>,
    /// The files.
    pub files: Vec<FileEntry>,
}

impl Manifest {
    /// Of columns and files.
    #[must_use]
    pub fn new(columns: Vec<Column>, files: Vec<FileEntry>) -> Self {
        Self { v: LAYOUT, columns, files }
    }

    /// The version's id: SHA-256 of the manifest as compact JSON.
    #[must_use]
    pub fn id(&self) -> String {
        let bytes = serde_json::to_vec(self).unwrap_or_default();
        hex::encode(Sha256::digest(bytes))
    }

    /// The rows of all files.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.files.iter().map(|f| f.rows).sum()
    }

    /// The bytes of all files.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.files.iter().map(|f| f.size).sum()
    }
}

/// A file that is to become part of a version, as it was uploaded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedFile {
    /// What the user calls it; its ending tells its format.
    pub name: String,
    /// SHA-256 of its bytes.
    pub sha256: String,
    /// Its size in bytes.
    pub size: u64,
}

impl NamedFile {
    /// The format that its name tells.
    ///
    /// # Errors
    /// [`DataError::Invalid`].
    pub fn format(&self) -> Result<Format, DataError> {
        if self.name.is_empty() || self.name.len() > LONGEST_FILE_NAME {
            return Err(DataError::Invalid(format!(
                "a file's name has 1 to {LONGEST_FILE_NAME} bytes; this one has {}",
                self.name.len()
            )));
        }
        Format::of_name(&self.name).ok_or_else(|| {
            DataError::Invalid(format!(
                "{} is of no known format: name it .csv, .csv.gz or .parquet",
                self.name
            ))
        })
    }
}

/// Checks the name of a dataset or of anything that is declared beside one.
///
/// # Errors
/// [`DataError::Invalid`].
pub fn check_name(name: &str) -> Result<(), DataError> {
    let fine = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
    let starts = name.chars().next().is_some_and(|c| c.is_ascii_alphanumeric() || c == '_');
    if starts && name.len() <= LONGEST_NAME && name.chars().all(fine) {
        return Ok(());
    }
    Err(DataError::Invalid(format!(
        "`{name}` can't be a dataset's name: take letters, digits, `_`, `-` and `.`, at most {LONGEST_NAME}, beginning \
         with a letter or digit"
    )))
}

/// Which version of a dataset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Which {
    /// The newest.
    Newest,
    /// By its number.
    Number(i64),
    /// By the beginning of its id.
    Id(String),
}

/// A dataset version as people name it: `flights`, `flights@2`, `flights@3f9a61c0`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatasetRef {
    /// The dataset.
    pub name: String,
    /// The version.
    pub which: Which,
}

impl DatasetRef {
    /// Reads a name.
    ///
    /// # Errors
    /// [`DataError::Invalid`].
    pub fn parse(text: &str) -> Result<Self, DataError> {
        let (name, which) = text.split_once('@').map_or((text, None), |(n, w)| (n, Some(w)));
        check_name(name)?;
        let is_id =
            |w: &str| w.len() >= SHORTEST_ID && w.len() <= 64 && w.bytes().all(|b| b.is_ascii_hexdigit());
        let which = match which {
            None | Some("latest") => Which::Newest,
            Some(w) if is_id(w) => Which::Id(w.to_ascii_lowercase()),
            Some(w) => Which::Number(w.parse().map_err(|_| {
                DataError::Invalid(format!(
                    "`{text}` names no version: write `{name}`, `{name}@2` or `{name}@<8 or more digits of its id>`"
                ))
            })?),
        };
        Ok(Self { name: name.to_owned(), which })
    }
}

impl fmt::Display for DatasetRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.which {
            Which::Newest => f.write_str(&self.name),
            Which::Number(n) => write!(f, "{}@{n}", self.name),
            Which::Id(id) => write!(f, "{}@{id}", self.name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_named_in_three_ways() {
        let which = |text: &str| DatasetRef::parse(text).unwrap().which;
        assert_eq!(which("flights"), Which::Newest);
        assert_eq!(which("flights@12"), Which::Number(12));
        assert_eq!(which("flights@3F9A61C0"), Which::Id("3f9a61c0".to_owned()));
        for bad in ["", "a/b", "../x", ".hidden", "a@", "a@x", "a b"] {
            assert!(DatasetRef::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_id_depends_on_bytes_rows_and_columns_and_on_their_order() {
        let file = |sha: &str| FileEntry { sha256: sha.to_owned(), size: 1, rows: 1, format: Format::Csv };
        let column = |name: &str| Column { name: name.to_owned(), kind: "int64".to_owned() };
        let manifest =
            |files: &[&str]| Manifest::new(vec![column("a")], files.iter().map(|f| file(f)).collect());
        assert_eq!(manifest(&["x", "y"]).id(), manifest(&["x", "y"]).id());
        assert_ne!(manifest(&["x", "y"]).id(), manifest(&["y", "x"]).id());
        assert_ne!(manifest(&["x"]).id(), Manifest::new(vec![column("b")], vec![file("x")]).id());
    }
}
