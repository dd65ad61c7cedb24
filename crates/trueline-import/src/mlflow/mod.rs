//! MLflow's stores: a database of any version from 2.22 on, or a folder of files.

mod evaluation;
mod experiments;
mod folder;
mod inputs;
mod models;
mod registry;
mod runs;
mod schema;
mod traces;

use crate::artifacts::Copying;
use crate::importer::{Importer, Progress, Target};
use crate::{Artifacts, ImportError, Report};
use schema::Schema;
use std::path::{Path, PathBuf};
use tokio::runtime::Handle;
use trueline_db::{Db, Tx};

/// What to import, and how.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// What becomes of artifacts.
    pub artifacts: Artifacts,
    /// The folder that `mlflow-artifacts:/` stands for: what MLflow's server was given as `--artifacts-destination`.
    pub artifacts_root: Option<PathBuf>,
    /// The workspace to take, of databases that have them; `default` when none is named.
    pub workspace: Option<String>,
}

/// Where MLflow keeps its things.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Store {
    /// An SQLite file.
    Sqlite(PathBuf),
    /// A PostgreSQL server, with its URL.
    Postgres(String),
    /// A folder `mlruns`.
    Folder(PathBuf),
}

impl Store {
    /// Reads what was given: `sqlite:///…`, `postgresql://…`, or the path of a file or folder.
    ///
    /// # Errors
    /// [`ImportError::Source`] when it is none of these.
    pub fn parse(text: &str) -> Result<Self, ImportError> {
        if let Some(path) = text.strip_prefix("sqlite:///") {
            return Self::file(text, Path::new(path));
        }
        if let Some((scheme, rest)) = text.split_once("://") {
            let (scheme, _driver) = scheme.split_once('+').unwrap_or((scheme, ""));
            return match scheme {
                "postgresql" | "postgres" => Ok(Self::Postgres(format!("postgres://{rest}"))),
                "file" => Self::folder(text, Path::new(rest)),
                "http" | "https" => Err(ImportError::source(
                    text,
                    "that is a server; name what it keeps its things in: its --backend-store-uri",
                )),
                other => Err(ImportError::source(
                    text,
                    format!(
                        "databases of the kind `{other}` are not read; SQLite, PostgreSQL and folders `mlruns` are"
                    ),
                )),
            };
        }
        let path = Path::new(text);
        if path.is_dir() { Self::folder(text, path) } else { Self::file(text, path) }
    }

    fn file(text: &str, path: &Path) -> Result<Self, ImportError> {
        match path.is_file() {
            true => Ok(Self::Sqlite(path.to_owned())),
            false => Err(ImportError::source(text, format!("there is no file {}", path.display()))),
        }
    }

    fn folder(text: &str, path: &Path) -> Result<Self, ImportError> {
        match path.is_dir() {
            true => Ok(Self::Folder(path.to_owned())),
            false => Err(ImportError::source(text, format!("there is no folder {}", path.display()))),
        }
    }

    /// How the ledger names it: without a password.
    fn label(&self) -> String {
        let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        match self {
            Self::Sqlite(path) => format!("mlflow sqlite {}", absolute(path).display()),
            Self::Folder(path) => format!("mlflow folder {}", absolute(path).display()),
            Self::Postgres(url) => {
                let place = url.rsplit_once('@').map_or(url.as_str(), |(_, place)| place);
                format!("mlflow postgres {}", place.trim_start_matches("postgres://"))
            }
        }
    }

    /// The folder that relative paths begin at, and the one that MLflow's server keeps artifacts in when it is not told.
    fn surroundings(&self) -> (PathBuf, Option<PathBuf>) {
        let base = match self {
            Self::Sqlite(path) | Self::Folder(path) => path.parent().map(Path::to_owned).unwrap_or_default(),
            Self::Postgres(_) => PathBuf::new(),
        };
        let base = std::path::absolute(if base.as_os_str().is_empty() { Path::new(".") } else { &base })
            .unwrap_or(base);
        let beside = base.join("mlartifacts");
        (base, beside.is_dir().then_some(beside))
    }
}

/// Imports all that a store of MLflow holds. Blocks; `runtime` does the writing.
///
/// # Errors
/// When the store can't be read, or the target can't be written. What came in until then stays, and an import that is run
/// again goes on.
pub fn import(
    store: &Store,
    options: &Options,
    target: Target,
    runtime: Handle,
    progress: Progress,
) -> Result<Report, ImportError> {
    let (base, beside) = store.surroundings();
    let root = options.artifacts_root.clone().or(beside);
    let copying = Copying::new(options.artifacts, root, base);
    let mut importer = Importer::new(runtime, target, store.label(), copying, progress);
    let workspace = options.workspace.as_deref().unwrap_or(schema::DEFAULT_WORKSPACE);
    let read = |tx: &mut Tx<'_>| database(tx, workspace, &mut importer);
    match store {
        Store::Sqlite(path) => Db::inspect(path, read)?,
        Store::Postgres(url) => Db::inspect_postgres(url, read)?,
        Store::Folder(path) => folder::read(path, &mut importer)?,
    }
    importer.finish()
}

/// Reads a database, in the order in which things refer to each other.
fn database(tx: &mut Tx<'_>, workspace: &str, importer: &mut Importer) -> Result<(), ImportError> {
    let schema = Schema::read(tx, workspace, importer)?;
    let experiments = experiments::read(tx, &schema, importer)?;
    runs::read(tx, &schema, &experiments, importer)?;
    models::read(tx, &schema, &experiments, importer)?;
    importer.settle()?;
    traces::read(tx, &schema, &experiments, importer)?;
    evaluation::datasets(tx, &schema, importer)?;
    evaluation::scorers(tx, &schema, &experiments, importer)?;
    evaluation::issues(tx, &schema, &experiments, importer)?;
    importer.copy_artifacts()?;
    registry::read(tx, &schema, importer)?;
    schema.rest(tx, importer)
}

/// An optional text, where MLflow writes nothing or an empty one.
fn given(text: Option<String>) -> Option<String> {
    text.filter(|t| !t.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_known_by_how_it_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("mlflow.db");
        std::fs::write(&file, "").unwrap();
        let path = file.to_str().unwrap();
        assert_eq!(Store::parse(path).unwrap(), Store::Sqlite(file.clone()));
        assert_eq!(Store::parse(&format!("sqlite:///{path}")).unwrap(), Store::Sqlite(file.clone()));
        let here = folder.path().to_str().unwrap();
        assert_eq!(Store::parse(here).unwrap(), Store::Folder(folder.path().to_owned()));
        let url = "postgresql+psycopg2://u:secret@db:5432/mlflow";
        let store = Store::parse(url).unwrap();
        assert_eq!(store, Store::Postgres("postgres://u:secret@db:5432/mlflow".into()));
        assert_eq!(store.label(), "mlflow postgres db:5432/mlflow");
        for wrong in ["mysql://u@h/d", "http://127.0.0.1:5000", "/no/such/place", "sqlite:////no/such.db"] {
            let error = Store::parse(wrong).unwrap_err().to_string();
            assert!(error.contains(wrong), "{error}");
        }
    }
}
