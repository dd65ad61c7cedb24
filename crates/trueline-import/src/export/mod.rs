//! `trueline export mlflow`: a database as MLflow 3.17.2 makes it, of what a project holds. Rows are read in one snapshot,
//! page by page and series by series, and written as they come, so that memory does not grow with the project.

mod artifacts;
mod evaluation;
mod registry;
mod report;
mod runs;
mod schema;
mod sheet;
mod traces;

use crate::ImportError;
use crate::mlflow::Store;
use artifacts::Files;
pub use report::Exported;
use sheet::{Sheet, Table};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use tokio::runtime::Handle;
use trueline_db::{NewDatabase, Tx};
use trueline_identity::{Authorized, ReadProject};
use trueline_tracking::Tracking;

const HEAD: Table = Table { name: "alembic_version", columns: &["version_num"] };
const WORKSPACES: Table = Table { name: "workspaces", columns: &["name", "description"] };

/// Where an export goes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum To {
    /// A new SQLite file.
    Sqlite(PathBuf),
    /// An empty PostgreSQL database, with its URL.
    Postgres(String),
}

impl To {
    /// Reads what was given: `sqlite:///…`, `postgresql://…`, or the path of a file.
    ///
    /// # Errors
    /// [`ImportError::NoTarget`] when it is none of these, or there is something already.
    pub fn parse(text: &str) -> Result<Self, ImportError> {
        let path = match text.split_once("://") {
            None => Path::new(text),
            Some(("sqlite", rest)) => Path::new(rest.strip_prefix('/').unwrap_or(rest)),
            Some(_) => {
                return match Store::parse(text) {
                    Ok(Store::Postgres(url)) => Ok(Self::Postgres(url)),
                    _ => Err(ImportError::no_target(
                        text,
                        "name an SQLite file (sqlite:///mlflow.db) or a PostgreSQL database (postgresql://…)",
                    )),
                };
            }
        };
        if path.exists() {
            return Err(ImportError::no_target(text, "it is there already; name a file that is not"));
        }
        Ok(Self::Sqlite(path.to_owned()))
    }

    fn label(&self) -> String {
        match self {
            Self::Sqlite(path) => path.display().to_string(),
            Self::Postgres(url) => url.rsplit_once('@').map_or(url.as_str(), |(_, place)| place).to_owned(),
        }
    }

    fn create(&self) -> Result<NewDatabase, ImportError> {
        match self {
            Self::Sqlite(path) => NewDatabase::sqlite(path),
            Self::Postgres(url) => NewDatabase::postgres(url),
        }
        .map_err(ImportError::Target)
    }
}

/// Is told how far an export is.
pub type Progress = Box<dyn FnMut(&Exported) + Send>;

/// What is exported, and how it is read.
pub struct Project<'p> {
    /// Leave to read it.
    pub read: &'p Authorized<ReadProject>,
    /// For its artifacts.
    pub tracking: &'p Tracking,
    /// The threads that read them.
    pub runtime: &'p Handle,
}

/// An export under way.
struct Export<'e> {
    read: &'e Authorized<ReadProject>,
    sheet: Sheet,
    artifacts: Files<'e>,
    report: Exported,
    progress: Progress,
}

impl Export<'_> {
    fn tell(&mut self) {
        (self.progress)(&self.report);
    }
}

/// Makes the database, and copies artifacts to `folder` when one is named. Blocks. `tx` is a snapshot of the database that
/// the project is in. A database is there when it is whole, and not before.
///
/// # Errors
/// When the target is not empty or can't be written, or the database can't be read.
pub fn export(
    tx: &mut Tx<'_>,
    project: &Project<'_>,
    to: &To,
    folder: Option<&Path>,
    progress: Progress,
) -> Result<Exported, ImportError> {
    let folder = folder.map(empty_folder).transpose()?;
    let mut export = Export {
        read: project.read,
        sheet: Sheet::new(to.create()?)?,
        artifacts: Files {
            runtime: project.runtime,
            tracking: project.tracking,
            read: project.read,
            folder,
            moved: HashMap::new(),
        },
        report: Exported::to(&to.label()),
        progress,
    };
    export.sheet.put(&HEAD, vec![schema::HEAD.into()])?;
    let default = vec!["default".into(), "Default workspace for legacy resources".into()];
    export.sheet.put(&WORKSPACES, default)?;
    runs::write(tx, &mut export)?;
    traces::write(tx, &mut export)?;
    evaluation::write(tx, &mut export)?;
    registry::write(tx, &mut export)?;
    let Export { sheet, artifacts, mut report, mut progress, .. } = export;
    artifacts.copy_blobs(tx, &mut report, |report| progress(report))?;
    let too_long = sheet.finish()?;
    for ((table, column, longest), count) in too_long.cut {
        let why = format!("they were cut to the {longest} characters that MLflow has room for");
        report.miss(&format!("values of {table}.{column}"), count, why);
    }
    for ((table, column, longest), count) in too_long.left_out {
        let why =
            format!("MLflow has room for {longest} characters of {column} on PostgreSQL; SQLite has more");
        report.miss(&format!("rows of {table}"), count, why);
    }
    progress(&report);
    Ok(report.finished())
}

/// A folder that is new or empty, absolute.
fn empty_folder(folder: &Path) -> Result<PathBuf, ImportError> {
    std::fs::create_dir_all(folder).map_err(|e| ImportError::file(folder, e))?;
    let mut entries = std::fs::read_dir(folder).map_err(|e| ImportError::file(folder, e))?;
    if entries.next().is_some() {
        return Err(ImportError::file(folder, "it is not empty; name a folder that is, for the artifacts"));
    }
    std::path::absolute(folder).map_err(|e| ImportError::file(folder, e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_known_by_how_it_is_written_and_not_written_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.db");
        let url = format!("sqlite:///{}", path.display());
        assert_eq!(To::parse(&url).unwrap(), To::Sqlite(path.clone()));
        std::fs::write(&path, "").unwrap();
        assert!(To::parse(&url).unwrap_err().to_string().contains("there already"));
        let postgres = To::parse("postgresql+psycopg2://u:secret@h/d").unwrap();
        assert_eq!(postgres, To::Postgres("postgres://u:secret@h/d".into()));
        assert_eq!(postgres.label(), "h/d");
        for wrong in ["mysql://u@h/d", "http://127.0.0.1:5000"] {
            assert!(To::parse(wrong).unwrap_err().to_string().contains(wrong));
        }
    }
}
