//! What models are run by: switches that `server` and `serve` have in common.

use super::model_memory::MemoryLimit;
use clap::Args;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use trueline_serving::{ModelMemory, OnnxSearch, PythonWorkers, Runtimes};
use trueline_workers::{Environments, Interpreter};

#[derive(Args, Clone, Debug)]
pub(crate) struct RuntimeArgs {
    /// Python workers, for models that only MLflow can load: `uv` makes each an environment of its own requirements, a path
    /// names an interpreter that has all of them, `off` lets none be started
    #[arg(long, env = "TRUELINE_PYTHON_WORKERS", default_value = "uv", value_name = "uv|PYTHON|off")]
    python_workers: Pythons,
    /// The library that runs ONNX models; without it the one of the `onnxruntime` Python package, where it is found
    #[arg(long, env = "TRUELINE_ONNXRUNTIME", value_name = "FILE")]
    onnxruntime: Option<PathBuf>,
    /// Memory that loaded models may take, Python workers included: a size, a share of what the machine or the container has, or
    /// `off`. Beyond it those that were asked longest ago are unloaded, and loaded again when they are asked
    #[arg(long, env = "TRUELINE_MODEL_MEMORY", default_value = "50%", value_name = "SIZE|SHARE|off")]
    model_memory: MemoryLimit,
    /// Keep values of requests out of errors
    #[arg(long, env = "TRUELINE_HIDE_VALUES")]
    hide_values: bool,
}

/// Which Python workers have, if there may be any.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Pythons {
    Off,
    Made,
    Given(PathBuf),
}

impl FromStr for Pythons {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "off" => Ok(Self::Off),
            "uv" => Ok(Self::Made),
            path if Path::new(path).is_file() => Ok(Self::Given(path.into())),
            path => Err(format!("`{path}` is none of `uv`, `off` and the path of an interpreter")),
        }
    }
}

impl RuntimeArgs {
    /// How much memory models may take.
    pub(crate) fn memory(&self) -> ModelMemory {
        self.model_memory.here()
    }

    /// The runtimes, with environments kept below `folder`.
    pub(crate) fn runtimes(&self, folder: &Path) -> Runtimes {
        let interpreter = match &self.python_workers {
            Pythons::Off => None,
            Pythons::Made => Some(Interpreter::Made),
            Pythons::Given(path) => Some(Interpreter::Given(path.clone())),
        };
        // An interpreter that is given may bring the library along.
        let pythons = match &self.python_workers {
            Pythons::Given(path) => vec![path.clone()],
            _ => Vec::new(),
        };
        Runtimes {
            onnx: OnnxSearch { path: self.onnxruntime.clone(), pythons },
            python: interpreter.map(|interpreter| PythonWorkers {
                environments: Environments::new(folder.join("python")),
                interpreter,
            }),
            hide_values: self.hide_values,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_are_made_given_or_off() {
        assert_eq!("off".parse(), Ok(Pythons::Off));
        assert_eq!("uv".parse(), Ok(Pythons::Made));
        let here = std::env::current_exe().unwrap();
        assert_eq!(here.to_string_lossy().parse(), Ok(Pythons::Given(here)));
        assert!("python-of-nowhere".parse::<Pythons>().unwrap_err().contains("none of `uv`"));
    }
}
