//! A model copied out of a bucket: all objects below a folder, each to its own place.

use anyhow::{Context, ensure};
use futures::TryStreamExt;
use std::path::{Component, Path};
use tokio::io::AsyncWriteExt;
use trueline_blobs::Bucket;

/// Copies what lies below `s3://bucket/folder`, reached by the variables that MLflow and Amazon's own tools read.
pub(crate) fn copy(uri: &str, to: &Path) -> anyhow::Result<()> {
    let bucket = Bucket::open(uri, |name| std::env::var(name).ok())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let objects = bucket.below("").await?;
        ensure!(!objects.is_empty(), "nothing lies at {uri}: name the folder that has the file MLmodel");
        for object in objects {
            let path = Path::new(&object.path);
            let plain = path.components().all(|part| matches!(part, Component::Normal(_)));
            ensure!(plain, "the bucket lists `{}`, which is no file's name", object.path);
            let place = to.join(path);
            if let Some(folder) = place.parent() {
                tokio::fs::create_dir_all(folder).await?;
            }
            let mut file = tokio::fs::File::create(&place).await?;
            let mut bytes = std::pin::pin!(bucket.get(&object, None).await?);
            while let Some(some) = bytes.try_next().await? {
                file.write_all(&some).await?;
            }
            file.flush().await.with_context(|| format!("{} can't be written", place.display()))?;
        }
        Ok(())
    })
}
