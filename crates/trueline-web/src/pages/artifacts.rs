//! The files of a run or of a logged model: a folder of them, and one that is open.

use crate::format;

/// A file or a directory.
#[derive(Clone, Debug)]
pub struct ArtifactEntry {
    /// Its name within the directory.
    pub name: String,
    /// Its path from the root.
    pub path: String,
    /// Whether it is a directory.
    pub is_dir: bool,
    /// Its size in bytes.
    pub size: Option<u64>,
    /// Its digest, hexadecimal.
    pub sha256: Option<String>,
}

/// A directory of artifacts.
#[derive(Clone, Debug, Default)]
pub struct ArtifactListing {
    /// The directories from the root to here, each with its path; empty at the root.
    pub parents: Vec<(String, String)>,
    /// What is in it, directories first.
    pub entries: Vec<ArtifactEntry>,
    /// Whether there is more than the page shows.
    pub truncated: bool,
    /// The file that is open.
    pub open: Option<OpenFile>,
    /// Where the files lie, when this server does not keep them.
    pub elsewhere: Option<String>,
}

impl ArtifactListing {
    pub(crate) fn is_open(&self, path: &str) -> bool {
        self.open.as_ref().is_some_and(|file| file.path == path)
    }
}

/// A file that is open.
#[derive(Clone, Debug)]
pub struct OpenFile {
    /// Its name.
    pub name: String,
    /// Its path from the root.
    pub path: String,
    /// Where its bytes are.
    pub download: String,
    /// Its size in bytes.
    pub size: u64,
    /// Its digest, hexadecimal, when the server knows it.
    pub sha256: Option<String>,
    /// What is shown of it.
    pub preview: Preview,
}

/// What is shown of a file.
#[derive(Clone, Debug)]
pub enum Preview {
    /// A picture at this address.
    Picture(String),
    /// A page at this address, which can reach nothing from within its frame.
    Page(String),
    /// Rows under headings.
    Table {
        /// The headings.
        columns: Vec<String>,
        /// A text for each heading.
        rows: Vec<Vec<String>>,
        /// Whether there are more rows or columns.
        more: bool,
    },
    /// A text, or the beginning of it.
    Text {
        /// The text.
        text: String,
        /// How many bytes of the file it is, when not all.
        first: Option<u64>,
    },
    /// Nothing, for this reason.
    Nothing(String),
}

impl Preview {
    /// What is said below a preview that is not of the whole file.
    pub(crate) fn part(&self) -> Option<String> {
        match self {
            Self::Table { columns, rows, more: true } => Some(format!(
                "The first {} and {} are shown; the download has all.",
                format::counted(rows.len() as u64, "row"),
                format::counted(columns.len() as u64, "column")
            )),
            Self::Text { first: Some(first), .. } => {
                Some(format!("The first {} are shown; the download has all.", format::bytes(*first)))
            }
            _ => None,
        }
    }
}
