//! Which steps need not run again. A step's key is the hash of everything that it is declared to depend on; what was made
//! under a key is kept as blobs, and put back instead of being made again.

use crate::model::{PipelineRun, StepTask};
use crate::workspace::{declared_files, hashes};
use crate::{Command, PipelineError, Pipelines, StepSpec};
use futures::TryStreamExt;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::path::Path;
use tokio::io::AsyncWriteExt;
use tokio_util::io::ReaderStream;
use trueline_blobs::{Blobs, Namespace};
use trueline_ledger::{LedgerTx, ProjectId};

/// The largest file that a step may make, in bytes.
const LARGEST_OUTPUT: u64 = 64 << 30;

/// A file that a step made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputFile {
    /// The blob that it is kept as.
    pub sha256: String,
    /// Its size in bytes.
    pub size: u64,
    /// Whether it may be run.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub executable: bool,
}

/// What a step made, by path.
pub type Outputs = BTreeMap<String, OutputFile>;

/// Everything that a step depends on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KeyParts {
    /// Its command, params filled in.
    pub command: Command,
    /// The variables that it declares, params filled in.
    pub environment: BTreeMap<String, String>,
    /// The hashes of the files that it reads, by path: declared, named by the command, or made by steps before it.
    pub inputs: BTreeMap<String, String>,
    /// The paths that it makes.
    pub outputs: Vec<String>,
}

impl KeyParts {
    /// What a step in a working copy depends on. Outputs of earlier steps lie in the copy, so their hashes are among those
    /// of the inputs; those of steps that it only waits for are added by `waited_for`.
    ///
    /// # Errors
    /// [`PipelineError::Files`] for an input that is not there.
    pub fn of(
        step: &StepSpec,
        params: &BTreeMap<String, String>,
        root: &Path,
        waited_for: &BTreeMap<String, String>,
    ) -> Result<Self, PipelineError> {
        let (command, environment) = step.resolved(params)?;
        let mut inputs = hashes(root, &step.inputs)?;
        let named = command.words().into_iter().filter(|word| is_plain(word) && root.join(word).is_file());
        let named: Vec<String> = named.map(|word| word.trim_start_matches("./").to_owned()).collect();
        inputs.extend(hashes(root, &named)?);
        inputs.extend(waited_for.iter().map(|(path, hash)| (path.clone(), hash.clone())));
        Ok(Self { command, environment, inputs, outputs: step.outputs.clone() })
    }

    /// The hash of it all.
    #[must_use]
    pub fn key(&self) -> String {
        hex::encode(Sha256::digest(json!(self).to_string().as_bytes()))
    }
}

/// Whether a word of a command can name a file in the working copy.
fn is_plain(word: &str) -> bool {
    !word.is_empty() && !word.starts_with('/') && !word.split('/').any(|part| part == "..")
}

/// Remembers what was made under a key; the first to make it stays.
pub(crate) fn remember(
    tx: &mut LedgerTx<'_, '_>,
    run: &PipelineRun,
    task: &StepTask,
    key: &str,
    outputs: &Outputs,
) -> Result<(), PipelineError> {
    let now = tx.now();
    tx.execute(
        "INSERT INTO step_cache (project, cache_key, outputs, pipeline_run, run, created_at_ms)
         VALUES (?1, ?2, ?3, ?4, (SELECT run FROM step_attempts WHERE id = ?5), ?6)
         ON CONFLICT (project, cache_key) DO UPDATE SET outputs = excluded.outputs,
             pipeline_run = excluded.pipeline_run, run = excluded.run, created_at_ms = excluded.created_at_ms",
        &[
            (&run.project).into(),
            key.into(),
            json!(outputs).to_string().into(),
            (&run.id).into(),
            (&task.attempt).into(),
            now.into(),
        ],
    )?;
    Ok(())
}

impl Pipelines {
    /// What was made under a key before, and by which run of a pipeline.
    ///
    /// # Errors
    /// What the database says.
    pub async fn cached(
        &self,
        project: &ProjectId,
        key: &str,
    ) -> Result<Option<(Outputs, String)>, PipelineError> {
        let (project, key) = (project.clone(), key.to_owned());
        self.ledger
            .db()
            .read(move |tx| {
                let row = tx.query_opt(
                    "SELECT outputs, pipeline_run FROM step_cache WHERE project = ?1 AND cache_key = ?2",
                    &[(&project).into(), (&key).into()],
                )?;
                let Some(mut row) = row else { return Ok(None) };
                let outputs = serde_json::from_str(&row.take::<String>(0)?).ok();
                let made_by: String = row.take(1)?;
                Ok(outputs.map(|outputs| (outputs, made_by)))
            })
            .await
    }
}

/// Keeps everything that a step was to make as blobs.
///
/// # Errors
/// [`PipelineError::Files`] for an output that is not there, or what the store says.
pub async fn keep_outputs(
    blobs: &Blobs,
    project: &ProjectId,
    root: &Path,
    paths: &[String],
) -> Result<Outputs, PipelineError> {
    let namespace = Namespace::new(project.as_str());
    let mut kept = Outputs::new();
    for path in paths {
        for file in declared_files(root, path)? {
            let full = root.join(&file);
            let failed = |e: std::io::Error| PipelineError::files(&full, e);
            let source = tokio::fs::File::open(&full).await.map_err(failed)?;
            let mode = source.metadata().await.map_err(failed)?.permissions();
            let blob = blobs.put(&namespace, ReaderStream::new(source), LARGEST_OUTPUT).await?;
            let executable = std::os::unix::fs::PermissionsExt::mode(&mode) & 0o100 != 0;
            kept.insert(file, OutputFile { sha256: blob.sha256, size: blob.size, executable });
        }
    }
    Ok(kept)
}

/// Puts what a step made before into a working copy. Nothing is touched when a blob is missing.
///
/// # Errors
/// [`PipelineError::Blob`] for one that is missing, or what the disk says.
pub async fn restore_outputs(
    blobs: &Blobs,
    project: &ProjectId,
    root: &Path,
    outputs: &Outputs,
) -> Result<(), PipelineError> {
    let namespace = Namespace::new(project.as_str());
    for file in outputs.values() {
        blobs.size(&namespace, &file.sha256).await?;
    }
    for (path, file) in outputs {
        let full = root.join(path);
        let failed = |e: std::io::Error| PipelineError::files(&full, e);
        if let Some(parent) = full.parent() {
            tokio::fs::create_dir_all(parent).await.map_err(failed)?;
        }
        // A link or another step's leftover must not be written through.
        drop(tokio::fs::remove_file(&full).await);
        let mut target = tokio::fs::File::create(&full).await.map_err(failed)?;
        let mut stream = std::pin::pin!(blobs.get(&namespace, &file.sha256, None).await?);
        while let Some(bytes) = stream.try_next().await? {
            target.write_all(&bytes).await.map_err(failed)?;
        }
        target.flush().await.map_err(failed)?;
        if file.executable {
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
            tokio::fs::set_permissions(&full, mode).await.map_err(failed)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(yaml: &str) -> StepSpec {
        serde_saphyr::from_str(yaml).unwrap()
    }

    fn key(step: &StepSpec, root: &Path, day: &str) -> String {
        let params = BTreeMap::from([("day".to_owned(), day.to_owned())]);
        KeyParts::of(step, &params, root, &BTreeMap::new()).unwrap().key()
    }

    #[test]
    fn a_key_changes_with_everything_that_is_declared_and_with_nothing_else() {
        let root = tempfile::tempdir().unwrap();
        for (file, text) in [("in.csv", "1"), ("train.py", "a"), ("other.txt", "x")] {
            std::fs::write(root.path().join(file), text).unwrap();
        }
        let declared =
            step("{name: a, command: python train.py, inputs: [in.csv], environment: {D: '${day}'}}");
        let first = key(&declared, root.path(), "1");
        std::fs::write(root.path().join("other.txt"), "y").unwrap();
        assert_eq!(key(&declared, root.path(), "1"), first, "a file that nothing declares");
        assert_ne!(key(&declared, root.path(), "2"), first, "a param that the environment holds");
        std::fs::write(root.path().join("train.py"), "b").unwrap();
        let second = key(&declared, root.path(), "1");
        assert_ne!(second, first, "a file that the command names");
        std::fs::write(root.path().join("in.csv"), "2").unwrap();
        assert_ne!(key(&declared, root.path(), "1"), second, "a declared input");
        std::fs::write(root.path().join("in.csv"), "1").unwrap();
        assert_eq!(key(&declared, root.path(), "1"), second, "the same content again");
    }

    #[tokio::test]
    async fn what_a_step_made_comes_back_as_it_was() {
        let (root, store) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let blobs = Blobs::local(store.path()).unwrap();
        let project = ProjectId::default_project();
        std::fs::create_dir_all(root.path().join("out/deep")).unwrap();
        std::fs::write(root.path().join("out/deep/a"), "1").unwrap();
        let paths = ["out".to_owned()];
        let kept = keep_outputs(&blobs, &project, root.path(), &paths).await.unwrap();
        assert_eq!(kept.keys().collect::<Vec<_>>(), ["out/deep/a"]);
        std::fs::remove_dir_all(root.path().join("out")).unwrap();
        restore_outputs(&blobs, &project, root.path(), &kept).await.unwrap();
        assert_eq!(std::fs::read_to_string(root.path().join("out/deep/a")).unwrap(), "1");
        let missing = keep_outputs(&blobs, &project, root.path(), &["none".to_owned()]).await;
        assert!(matches!(missing, Err(PipelineError::Files { .. })));
    }
}
