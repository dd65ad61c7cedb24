//! Where a run comes from, as git and the interpreter of a folder tell it: commit, uncommitted changes, untracked files,
//! packages. The command line asks it for `trueline run`, the server for the steps of pipelines.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use trueline_tracking::Capture;

/// Untracked files above this size are named but not kept: they are data, which belongs into a dataset.
const LARGEST_UNTRACKED: u64 = 10 << 20;
/// Variables that choose seeds, threads and devices.
const VARIABLES: &[&str] = &["PYTHONHASHSEED", "CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS", "TZ", "LANG"];

/// Keeps bytes as a blob of the project; answers their SHA-256.
pub type Keep<'a> = &'a mut dyn FnMut(Vec<u8>) -> Result<String, String>;

/// What an untracked file that was not kept has in the place of its SHA-256.
const NOT_KEPT: &str = "not kept";

/// Whether a capture kept an untracked file.
#[must_use]
pub fn was_kept(sha256: &str) -> bool {
    !sha256.starts_with(NOT_KEPT)
}

/// The code in a folder: commit, remote, changes and untracked files of the repository that it lies in.
///
/// # Errors
/// What `keep` says.
pub fn capture_code(dir: &Path, keep: Keep<'_>) -> Result<Capture, String> {
    let git = |args: &[&str]| output_of(dir, "git", args);
    let commit = git(&["rev-parse", "HEAD"]).and_then(text);
    let root = git(&["rev-parse", "--show-toplevel"]).and_then(text);
    let diff = commit.as_ref().and_then(|_| git(&["diff", "HEAD", "--binary"]));
    let diff = diff.filter(|d| !d.is_empty()).map(&mut *keep).transpose()?;
    let mut untracked = BTreeMap::new();
    if let Some(root) = &root {
        let root = Path::new(root);
        for path in listed(output_of(root, "git", &["ls-files", "-z", "--others", "--exclude-standard"])) {
            let full = root.join(&path);
            let small = std::fs::metadata(&full).is_ok_and(|m| m.len() <= LARGEST_UNTRACKED);
            let bytes = if small { std::fs::read(&full).ok() } else { None };
            let sha256 = match bytes {
                Some(bytes) => keep(bytes)?,
                None => format!("{NOT_KEPT}: above {} MiB or unreadable", LARGEST_UNTRACKED >> 20),
            };
            untracked.insert(path, sha256);
        }
    }
    Ok(Capture {
        working_dir: git(&["rev-parse", "--show-prefix"]).and_then(text).unwrap_or_default(),
        remote: git(&["config", "--get", "remote.origin.url"]).and_then(text),
        repository: root,
        commit,
        diff,
        untracked,
        platform: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
        ..Capture::default()
    })
}

/// The packages and the version of the interpreter that a command runs on.
///
/// # Errors
/// What `keep` says.
pub fn capture_environment(
    dir: &Path,
    command: &[String],
    keep: Keep<'_>,
) -> Result<(Option<String>, Option<String>), String> {
    let python = interpreter_of(command);
    let packages = packages(dir, python).map(keep).transpose()?;
    Ok((packages, output_of(dir, python, &["--version"]).and_then(text)))
}

/// The packages that an interpreter has, one to a line with its version.
#[must_use]
pub fn packages(dir: &Path, python: &str) -> Option<Vec<u8>> {
    output_of(dir, python, &["-m", "pip", "freeze", "--all"])
}

/// Those variables that choose seeds, threads and devices.
pub fn seeds(variables: impl Iterator<Item = (String, String)>) -> BTreeMap<String, String> {
    let chosen = |name: &str| VARIABLES.contains(&name) || name.to_uppercase().contains("SEED");
    variables.filter(|(name, _)| chosen(name)).collect()
}

/// The Python that a command runs on: the first of its words that is one, or that on the path.
#[must_use]
pub fn interpreter_of(command: &[String]) -> &str {
    let python = |word: &&str| {
        let name = Path::new(word).file_name().and_then(|n| n.to_str()).unwrap_or_default();
        name.starts_with("python") && !name.ends_with(".py")
    };
    command.iter().flat_map(|word| word.split_whitespace()).find(python).unwrap_or("python3")
}

/// The files below a folder that git tracks, or neither tracks nor ignores; none without git.
pub(crate) fn files_of(dir: &Path) -> Option<Vec<String>> {
    let all = ["ls-files", "-z", "--cached", "--others", "--exclude-standard"];
    output_of(dir, "git", &all).map(|bytes| listed(Some(bytes)))
}

fn output_of(dir: &Path, program: &str, args: &[&str]) -> Option<Vec<u8>> {
    let done = Command::new(program).args(args).current_dir(dir).output().ok()?;
    done.status.success().then_some(done.stdout)
}

fn text(bytes: Vec<u8>) -> Option<String> {
    let text = String::from_utf8(bytes).ok()?;
    Some(text.trim().to_owned()).filter(|t| !t.is_empty())
}

fn listed(bytes: Option<Vec<u8>>) -> Vec<String> {
    let bytes = bytes.unwrap_or_default();
    let names = bytes.split(|b| *b == 0).filter_map(|name| std::str::from_utf8(name).ok());
    names.filter(|name| !name.is_empty()).map(ToOwned::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_python_of_a_command_is_asked_for_its_packages() {
        let command = |words: &[&str]| words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>();
        assert_eq!(
            interpreter_of(&command(&["/opt/venv/bin/python3.11", "a.py"])),
            "/opt/venv/bin/python3.11"
        );
        assert_eq!(interpreter_of(&command(&["sh", "-c", "cd x && ./bin/python a.py"])), "./bin/python");
        assert_eq!(interpreter_of(&command(&["make"])), "python3");
    }
}
