//! What a run has printed: the files that its client uploads, by their names, and the end of one of them.

use super::{Failure, Visitor, Web, artifacts};
use crate::console;
use crate::pages::Console;
use trueline_tracking::{ArtifactEntry, ArtifactPath, OpenArtifact, RunData};

/// Files that may hold output: more are never listed.
const MOST: usize = 100;

fn root(app: &Web, visitor: &Visitor, run: &RunData) -> Result<Option<ArtifactPath>, Failure> {
    Ok(app.tracking.artifact_path(&visitor.session.leave()?, &run.run.artifact_uri))
}

/// The paths of the files that hold what a run has printed.
pub(super) async fn files(app: &Web, visitor: &Visitor, run: &RunData) -> Result<Vec<String>, Failure> {
    let Some(root) = root(app, visitor, run)? else { return Ok(Vec::new()) };
    let leave = visitor.session.leave()?;
    let mut found = Vec::new();
    for name in console::NAMES {
        let file = app.tracking.artifact(&leave, &root.join(name)?).await;
        found.extend(artifacts::found(file)?.map(|_| name.to_owned()));
    }
    for entry in app.tracking.list_artifacts(&leave, &root.join(console::FOLDER)?, MOST).await? {
        if let ArtifactEntry::File { name, .. } = entry
            && console::is_log(&name)
        {
            found.push(format!("{}/{name}", console::FOLDER));
        }
    }
    Ok(found)
}

/// The file that is asked for, else the first.
async fn chosen(
    app: &Web,
    visitor: &Visitor,
    run: &RunData,
    files: &[String],
    asked: &str,
) -> Result<Option<(String, OpenArtifact)>, Failure> {
    let path = files.iter().find(|f| *f == asked).or(files.first());
    let (Some(path), Some(root)) = (path, root(app, visitor, run)?) else { return Ok(None) };
    let file = app.tracking.artifact(&visitor.session.leave()?, &root.join(path)?).await?;
    Ok(Some((path.clone(), file)))
}

/// A word that is another one once there are other files or the chosen one has changed.
pub(super) async fn version(
    app: &Web,
    visitor: &Visitor,
    run: &RunData,
    files: Vec<String>,
    asked: &str,
) -> Result<String, Failure> {
    let chosen = chosen(app, visitor, run, &files, asked).await?;
    Ok(chosen.map(|(path, file)| format!("{}\n{path}\n{}", files.join("\n"), file.etag)).unwrap_or_default())
}

/// The end of the file that is asked for, else of the first.
pub(super) async fn end(
    app: &Web,
    visitor: &Visitor,
    run: &RunData,
    files: Vec<String>,
    asked: &str,
) -> Result<Console, Failure> {
    let Some((path, file)) = chosen(app, visitor, run, &files, asked).await? else {
        return Ok(Console::default());
    };
    let size = file.size;
    let version = format!("{}\n{path}\n{}", files.join("\n"), file.etag);
    let from = size.saturating_sub(console::TAIL);
    let bytes = artifacts::bytes(app, &visitor.session.leave()?, file, from..size).await?;
    Ok(Console { files, path, size, version, text: console::tail(&bytes, from > 0), is_cut: from > 0 })
}
