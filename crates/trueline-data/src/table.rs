//! A dataset version as a table that can be scanned.

use crate::{Data, DataError, DatasetVersion};
use trueline_blobs::LocalFile;
use trueline_ledger::ProjectId;
use trueline_query::{Column, ColumnState, Part, QueryError, Scan, SchemaRef, arrow_schema, infer, scan};

/// The files of a version, held on this machine's disk for as long as this lives.
#[derive(Debug)]
pub struct Table {
    parts: Vec<Part>,
    schema: SchemaRef,
    _held: Vec<LocalFile>,
}

impl Table {
    /// The columns.
    #[must_use]
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Reads `columns`, or all.
    ///
    /// # Errors
    /// [`QueryError::NoColumn`].
    pub fn scan(&self, columns: Option<&[String]>) -> Result<Scan, QueryError> {
        scan(self.parts.clone(), &self.schema, columns)
    }
}

/// The largest profile that is read, in bytes.
const LARGEST_STATES: u64 = 256 << 20;

impl Data {
    /// What was seen of the columns of a version, in a form that can be compared. Who may read it was asked when the version
    /// was found.
    ///
    /// # Errors
    /// [`DataError::Blob`]; [`DataError::Invalid`] when it is not what was written.
    pub async fn states(
        &self,
        project: &ProjectId,
        version: &DatasetVersion,
    ) -> Result<Vec<(Column, ColumnState)>, DataError> {
        let bytes = self.blobs.get_bytes(&Self::namespace(project), &version.states, LARGEST_STATES).await?;
        serde_json::from_slice(&bytes).map_err(|e| {
            let (name, number) = (&version.name, version.number);
            DataError::Invalid(format!("the profile of {name}@{number} can't be read: {e}"))
        })
    }

    /// Opens a version for reading. Who may read it was asked when the version was found.
    ///
    /// # Errors
    /// [`DataError::Blob`], [`DataError::Table`].
    pub async fn table(&self, project: &ProjectId, version: &DatasetVersion) -> Result<Table, DataError> {
        let namespace = Self::namespace(project);
        let (mut parts, mut held) = (Vec::new(), Vec::new());
        for (entry, name) in version.manifest.files.iter().zip(&version.file_names) {
            let local = self.blobs.local_file(&namespace, &entry.sha256).await?;
            parts.push(Part { name: name.clone(), path: local.path().to_owned(), format: entry.format });
            held.push(local);
        }
        // Parquet files tell their exact types; those of CSV files are in the manifest.
        let all_parquet = parts.iter().all(|p| p.format == trueline_query::Format::Parquet);
        let schema = if all_parquet { infer(&parts)? } else { arrow_schema(&version.manifest.columns) };
        Ok(Table { parts, schema, _held: held })
    }
}
