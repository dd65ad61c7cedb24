//! What a model wants of its environment, as MLflow writes it beside the `MLmodel` file: `python_env.yaml` with
//! `requirements.txt`, or, when there is nothing else, the pip section of `conda.yaml`.

use super::error::EnvironmentError;
use serde::Deserialize;
use serde_json::Value as Json;
use sha2::{Digest, Sha256};
use std::path::{Component, Path, PathBuf};

/// The largest of the files that are read, in bytes.
const LARGEST_FILE: u64 = 1 << 20;
/// How deep files of requirements may name others.
const DEEPEST: usize = 4;

/// What a model wants of its environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirements {
    /// The version of Python, such as `3.11.7`.
    pub python: String,
    /// What is installed first, because what follows may be built with it: `setuptools==80.10.2`.
    pub build: Vec<String>,
    /// Requirements, as pip takes them.
    pub packages: Vec<String>,
    /// Files of requirements.
    pub files: Vec<PathBuf>,
    /// All that the files say, with those that they name.
    text: String,
}

#[derive(Deserialize)]
struct PythonEnv {
    python: Option<String>,
    #[serde(default)]
    build_dependencies: Vec<String>,
    #[serde(default)]
    dependencies: Vec<String>,
}

#[derive(Deserialize)]
struct Conda {
    #[serde(default)]
    dependencies: Vec<Json>,
}

impl Requirements {
    /// Reads them from a model's folder.
    ///
    /// # Errors
    /// [`EnvironmentError::Requirements`].
    pub fn of(model: &Path) -> Result<Self, EnvironmentError> {
        let wrong = |file: &Path, why: String| EnvironmentError::Requirements { file: file.to_owned(), why };
        let (env, conda) = (model.join("python_env.yaml"), model.join("conda.yaml"));
        let mut found = if env.exists() {
            let read = |text: String| Self::of_python_env(model, &text);
            read_text(&env).and_then(read).map_err(|why| wrong(&env, why))?
        } else if conda.exists() {
            read_text(&conda).and_then(|text| Self::of_conda(&text)).map_err(|why| wrong(&conda, why))?
        } else {
            let why = "there is neither this nor conda.yaml; log the model with MLflow 2 or later, or name an interpreter";
            return Err(wrong(&env, why.to_owned()));
        };
        for file in &found.files {
            read_all(model, file, 0, &mut found.text).map_err(|why| wrong(file, why))?;
        }
        Ok(found)
    }

    fn of_python_env(model: &Path, text: &str) -> Result<Self, String> {
        let env: PythonEnv = serde_saphyr::from_str(text).map_err(|e| e.to_string())?;
        let python = env.python.ok_or("it names no version of Python")?;
        let (mut packages, mut files) = (Vec::new(), Vec::new());
        for line in env.dependencies {
            match line.trim().strip_prefix("-r ") {
                Some(file) => files.push(model.join(inside(file.trim())?)),
                None => packages.push(line),
            }
        }
        let python = version(&python)?;
        Ok(Self { python, build: env.build_dependencies, packages, files, text: String::new() })
    }

    fn of_conda(text: &str) -> Result<Self, String> {
        let conda: Conda = serde_saphyr::from_str(text).map_err(|e| e.to_string())?;
        let (mut python, mut build, mut packages, mut others) = (None, Vec::new(), Vec::new(), Vec::new());
        for dependency in conda.dependencies {
            if let Some(pip) = dependency.get("pip").and_then(Json::as_array) {
                packages.extend(pip.iter().filter_map(Json::as_str).map(str::to_owned));
                continue;
            }
            let line =
                dependency.as_str().ok_or_else(|| format!("its dependency {dependency} is no text"))?;
            let at = line.find(['<', '>', '=', '!']).unwrap_or(line.len());
            let (name, rest) = line.split_at(at);
            let number = rest.trim_start_matches(['<', '>', '=', '!']);
            let operator = &rest[..rest.len() - number.len()];
            match name.trim() {
                "python" => python = Some(version(number)?),
                "pip" | "setuptools" | "wheel" => {
                    // pip has no `=`.
                    let operator = if operator == "=" { "==" } else { operator };
                    build.push(format!("{}{operator}{number}", name.trim()));
                }
                _ => others.push(line.to_owned()),
            }
        }
        if !others.is_empty() {
            // MLflow leaves them out too when it makes an environment without conda.
            tracing::warn!(?others, "packages of conda are left out of the environment");
        }
        let python = python.ok_or("it names no version of Python")?;
        Ok(Self { python, build, packages, files: Vec::new(), text: String::new() })
    }

    /// What environments are kept by: equal requirements have equal keys.
    #[must_use]
    pub fn key(&self, protocol: u32) -> String {
        let mut hash = Sha256::new();
        let lists = [&self.build, &self.packages].map(|list| list.join("\n"));
        for part in [&protocol.to_string(), &self.python, &lists[0], &lists[1], &self.text] {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        hex::encode(&hash.finalize()[..16])
    }

    /// All of them, to be read by people.
    pub(super) fn text(&self) -> String {
        let lines = [&self.build[..], &self.packages[..]].concat().join("\n");
        format!("python {}\n{lines}\n{}", self.python, self.text)
    }
}

/// The version, when it is one: it becomes an argument of `uv`.
fn version(text: &str) -> Result<String, String> {
    let text = text.trim();
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '.';
    match text.starts_with(|c: char| c.is_ascii_digit()) && text.chars().all(plain) {
        true => Ok(text.to_owned()),
        false => Err(format!("`{text}` is no version of Python")),
    }
}

/// A path, when it stays in the model's folder.
fn inside(path: &str) -> Result<&Path, String> {
    let found = Path::new(path);
    match found.components().all(|c| matches!(c, Component::Normal(_) | Component::CurDir)) {
        true => Ok(found),
        false => Err(format!("it names `{path}`, which is not in the model's folder")),
    }
}

fn read_text(path: &Path) -> Result<String, String> {
    let size = std::fs::metadata(path).map_err(|e| e.to_string())?.len();
    if size > LARGEST_FILE {
        return Err(format!("it has {size} bytes, more than {LARGEST_FILE}"));
    }
    std::fs::read_to_string(path).map_err(|e| e.to_string())
}

/// Appends a file of requirements and those that it names: they too make the environment what it is.
fn read_all(model: &Path, file: &Path, depth: usize, text: &mut String) -> Result<(), String> {
    if depth > DEEPEST {
        return Err("files of requirements name each other too deeply".to_owned());
    }
    let found = read_text(file)?;
    for line in found.lines() {
        let named = ["-r ", "-c ", "--requirement ", "--constraint "];
        if let Some(other) = named.iter().find_map(|option| line.trim().strip_prefix(option)) {
            read_all(model, &model.join(inside(other.trim())?), depth + 1, text)?;
        }
    }
    text.push_str(&found);
    text.push('\n');
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENV: &str = "python: 3.11.7\nbuild_dependencies:\n- pip==23.2.1\n- setuptools==80.10.2\n- wheel\ndependencies:\n\
                       - -r requirements.txt\n";
    const CONDA: &str = "channels:\n- conda-forge\ndependencies:\n- python=3.10.13\n- pip<=23.2.1\n- libgcc\n- pip:\n  - \
                         mlflow==3.1\n  - numpy\nname: mlflow-env\n";

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        folder
    }

    #[test]
    fn what_mlflow_writes_is_read() {
        let model =
            folder(&[("python_env.yaml", ENV), ("requirements.txt", "numpy\n"), ("conda.yaml", CONDA)]);
        let found = Requirements::of(model.path()).unwrap();
        assert_eq!((found.python.as_str(), found.build.len(), found.packages.len()), ("3.11.7", 3, 0));
        assert_eq!(found.files, [model.path().join("requirements.txt")]);
        let model = folder(&[("conda.yaml", CONDA)]);
        let found = Requirements::of(model.path()).unwrap();
        assert_eq!(
            (found.python.as_str(), found.packages),
            ("3.10.13", vec!["mlflow==3.1".into(), "numpy".into()])
        );
        assert_eq!(found.build, ["pip<=23.2.1"]);
    }

    #[test]
    fn the_key_is_that_of_what_is_said_and_not_of_where() {
        let files = [("python_env.yaml", ENV), ("requirements.txt", "-c constraints.txt\nnumpy\n")];
        let key = |constraints| {
            let model = folder(&[&files[..], &[("constraints.txt", constraints)]].concat());
            Requirements::of(model.path()).unwrap().key(1)
        };
        assert_eq!(key("numpy<3"), key("numpy<3"));
        assert_ne!(key("numpy<3"), key("numpy<2"));
        let model = folder(&[("conda.yaml", CONDA)]);
        let found = Requirements::of(model.path()).unwrap();
        assert_ne!(found.key(1), found.key(2));
    }

    #[test]
    fn what_is_missing_or_leads_outside_is_refused_with_a_reason() {
        let refused =
            |files: &[(&str, &str)]| Requirements::of(folder(files).path()).unwrap_err().to_string();
        assert!(refused(&[]).contains("neither this nor conda.yaml"));
        assert!(refused(&[("python_env.yaml", ENV)]).contains("requirements.txt"));
        let outside = ("requirements.txt", "-r ../../secrets\n");
        assert!(refused(&[("python_env.yaml", ENV), outside]).contains("not in the model's folder"));
        let itself = ("requirements.txt", "-r requirements.txt\n");
        assert!(refused(&[("python_env.yaml", ENV), itself]).contains("too deeply"));
        assert!(refused(&[("python_env.yaml", "python: --help\n")]).contains("no version of Python"));
        assert!(refused(&[("conda.yaml", "dependencies: [pip]\n")]).contains("no version of Python"));
    }
}
