//! Measuring files: their columns, rows and profile. The types are settled first, then one scan sees every cell once.

use crate::manifest::{FileEntry, Manifest, NamedFile};
use crate::{Data, DataError};
use bytes::Bytes;
use trueline_blobs::LocalFile;
use trueline_ledger::ProjectId;
use trueline_query::{Part, Profiler, QueryError, TableProfile, infer, scan};

/// Files with all that is known of them.
#[derive(Clone, Debug)]
pub struct Measured {
    /// Files and columns.
    pub manifest: Manifest,
    /// What the files are called.
    pub file_names: Vec<String>,
    /// The profile for people.
    pub profile: TableProfile,
    /// The blob with the profile's states, which can be merged and compared.
    pub states: String,
}

impl Data {
    /// Measures files whose bytes are here.
    ///
    /// # Errors
    /// [`DataError::Invalid`], [`DataError::Table`], [`DataError::Blob`].
    pub async fn measure(&self, project: &ProjectId, files: Vec<NamedFile>) -> Result<Measured, DataError> {
        let namespace = Self::namespace(project);
        let mut parts = Vec::new();
        let mut held: Vec<LocalFile> = Vec::new();
        for file in &files {
            let local = self.blobs.local_file(&namespace, &file.sha256).await?;
            let (name, path, format) = (file.name.clone(), local.path().to_owned(), file.format()?);
            parts.push(Part { name, path, format });
            held.push(local);
        }
        let file_names = files.iter().map(|f| f.name.clone()).collect();
        let measured = tokio::task::spawn_blocking(move || {
            let measured = profile(&files, &parts);
            drop(held);
            measured
        });
        let (manifest, profiler) = measured.await.map_err(|e| DataError::Invalid(e.to_string()))??;
        let states = serde_json::to_vec(&profiler.states()).map_err(|e| DataError::Invalid(e.to_string()))?;
        let states = self.blobs.put_bytes(&namespace, Bytes::from(states)).await?.sha256;
        Ok(Measured { manifest, file_names, profile: profiler.profile(), states })
    }
}

fn profile(files: &[NamedFile], parts: &[Part]) -> Result<(Manifest, Profiler), QueryError> {
    let schema = infer(parts)?;
    let mut profiler = Profiler::new(&schema)?;
    let mut entries = Vec::new();
    for (file, part) in files.iter().zip(parts) {
        let before = profiler.rows();
        for batch in scan(vec![part.clone()], &schema, None)? {
            profiler.observe(&batch?)?;
        }
        let rows = profiler.rows() - before;
        let (sha256, size) = (file.sha256.clone(), file.size);
        entries.push(FileEntry { sha256, size, rows, format: part.format });
    }
    Ok((Manifest::new(trueline_query::columns_of(&schema), entries), profiler))
}
