//! Why there is no environment, and what to do.

use std::path::PathBuf;
use std::time::Duration;

/// Why there is no environment.
#[derive(Debug, thiserror::Error)]
pub enum EnvironmentError {
    /// The model's requirements can't be read.
    #[error("the environment of a model can't be told from {}: {why}", file.display())]
    Requirements {
        /// The file.
        file: PathBuf,
        /// Why.
        why: String,
    },
    /// There is no `uv`.
    #[error(
        "`uv`, which makes Python environments, is not to be found ({searched}); install it (https://docs.astral.sh/uv, or \
         `pip install uv`), name it in TRUELINE_UV, or have the model served by an interpreter that is there"
    )]
    NoUv {
        /// Where it was searched for.
        searched: String,
    },
    /// There is no such Python, and none can be had.
    #[error(
        "Python {version} is missing and could not be had; run `uv python install {version}` where the server runs, or have \
         the model served by an interpreter that is there. uv said:\n{tail}"
    )]
    NoPython {
        /// The version.
        version: String,
        /// The last that uv said.
        tail: String,
    },
    /// uv failed.
    #[error(
        "the environment could not be made: `uv {what}` {why}. If a package is not to be had, change the model's requirements; \
         if the registry is not to be reached, name one in UV_INDEX_URL. uv said:\n{tail}"
    )]
    Failed {
        /// What it was to do.
        what: &'static str,
        /// How it ended.
        why: String,
        /// The last that it said.
        tail: String,
    },
    /// It took too long.
    #[error(
        "the environment was not made within {limit:?}, while others may have been at it; ask again. uv said:\n{tail}"
    )]
    Slow {
        /// How long it had.
        limit: Duration,
        /// The last that uv said.
        tail: String,
    },
    /// An interpreter that was named is not there.
    #[error("there is no interpreter at {}: {source}; name another", python.display())]
    NoInterpreter {
        /// The interpreter.
        python: PathBuf,
        /// What the disk says.
        source: std::io::Error,
    },
    /// The folder of environments can't be written.
    #[error("the folder of environments, {}: {source}", folder.display())]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// What the disk says.
        source: std::io::Error,
    },
}
