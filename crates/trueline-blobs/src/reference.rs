//! What refers to a blob, as the domains tell it to whoever collects blobs that nothing refers to.

/// Something that refers to a blob.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// SHA-256 of the blob's bytes.
    pub sha256: String,
    /// The size that the blob must have, where that is known.
    pub size: Option<u64>,
    /// Who refers to it, in words.
    pub by: String,
}

impl Reference {
    /// Of a blob whose size is known.
    #[must_use]
    pub fn sized(sha256: &str, size: u64, by: String) -> Self {
        Self { sha256: sha256.to_owned(), size: Some(size), by }
    }

    /// Of a blob whose size is not known.
    #[must_use]
    pub fn of_any_size(sha256: &str, by: String) -> Self {
        Self { sha256: sha256.to_owned(), size: None, by }
    }
}

/// Some references of one kind, and where the next begin.
#[derive(Clone, Debug, Default)]
pub struct References {
    /// The references.
    pub found: Vec<Reference>,
    /// The cursor of the last row that was read; none when there is no further.
    pub next: Option<String>,
}

impl References {
    /// From the rows of a page, each with its cursor and its references; a page that is not full is the last.
    #[must_use]
    pub fn of(rows: Vec<(String, Vec<Reference>)>, full: usize) -> Self {
        let next = rows.last().filter(|_| rows.len() >= full).map(|(cursor, _)| cursor.clone());
        Self { found: rows.into_iter().flat_map(|(_, references)| references).collect(), next }
    }
}
