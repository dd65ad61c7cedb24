//! Where the onnxruntime library may lie: which files are tried, in which order. Nothing is loaded here.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

/// The variable that names the library's file, which other programs that use onnxruntime read too.
pub(crate) const VARIABLE: &str = "ORT_DYLIB_PATH";

/// Where to look for the library.
#[derive(Clone, Debug, Default)]
pub struct Search {
    /// The library's file. When it is named, nothing else is tried.
    pub path: Option<PathBuf>,
    /// Python interpreters whose `onnxruntime` package may bring it, the first that has it before others.
    pub pythons: Vec<PathBuf>,
}

/// What a search has to try, and what it says of itself when nothing of that is there.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// Files that are there, the best first.
    pub(crate) files: Vec<PathBuf>,
    /// What was looked at, in the same order.
    pub(crate) looked: Vec<String>,
}

/// What of the process's surroundings a search depends on.
#[derive(Debug, Default)]
pub(crate) struct Surroundings {
    pub(crate) variable: Option<OsString>,
    pub(crate) virtual_env: Option<PathBuf>,
    pub(crate) path: Option<OsString>,
    pub(crate) executable: Option<PathBuf>,
    /// Library folders of the system.
    pub(crate) folders: Vec<PathBuf>,
}

impl Surroundings {
    /// Those of this process.
    pub(crate) fn of_process() -> Self {
        Self {
            variable: std::env::var_os(VARIABLE).filter(|v| !v.is_empty()),
            virtual_env: std::env::var_os("VIRTUAL_ENV").map(PathBuf::from),
            path: std::env::var_os("PATH"),
            executable: std::env::current_exe().ok(),
            folders: [
                "/usr/local/lib",
                "/usr/lib/x86_64-linux-gnu",
                "/usr/lib/aarch64-linux-gnu",
                "/usr/lib64",
                "/usr/lib",
            ]
            .map(PathBuf::from)
            .into(),
        }
    }
}

impl Search {
    /// The files to try.
    pub(crate) fn plan(&self, around: &Surroundings) -> Plan {
        let named = self.path.clone().map(|path| (path, "the path that was given"));
        let variable = || around.variable.clone().map(|v| (PathBuf::from(v), VARIABLE));
        if let Some((path, by)) = named.or_else(variable) {
            let looked = vec![format!("{} ({by})", path.display())];
            return Plan { files: vec![path], looked };
        }
        let mut plan = Plan::default();
        for python in &self.pythons {
            plan.look_beside_python(python);
        }
        if let Some(environment) = &around.virtual_env {
            plan.look_in_prefix(environment);
        }
        let on_path = around.path.iter().flat_map(std::env::split_paths).map(|dir| dir.join("python3"));
        if let Some(python) = on_path.into_iter().find(|python| python.is_file()) {
            plan.look_beside_python(&python);
        }
        if let Some(folder) = around.executable.as_deref().and_then(Path::parent) {
            plan.look_in_folder(folder);
            plan.look_in_folder(&folder.join("../lib"));
        }
        for folder in &around.folders {
            plan.look_in_folder(folder);
        }
        plan
    }
}

impl Plan {
    /// An interpreter stands in `<prefix>/bin`; where it is a link, its package may be beside the link (a virtual
    /// environment) or beside what the link leads to.
    fn look_beside_python(&mut self, python: &Path) {
        let prefix = |python: &Path| python.parent().and_then(Path::parent).map(Path::to_path_buf);
        let real = python.canonicalize().ok().and_then(|real| prefix(&real));
        let linked = prefix(python);
        for prefix in linked.iter().chain(real.iter().filter(|real| Some(*real) != linked.as_ref())) {
            self.look_in_prefix(prefix);
        }
    }

    fn look_in_prefix(&mut self, prefix: &Path) {
        self.looked.push(format!("{}/lib/python3.*/site-packages/onnxruntime/capi", prefix.display()));
        for lib in ["lib", "lib64"] {
            for version in entries(&prefix.join(lib), |name| name.starts_with("python3")) {
                for packages in ["site-packages", "dist-packages"] {
                    self.add_from(&version.join(packages).join("onnxruntime/capi"));
                }
            }
        }
    }

    fn look_in_folder(&mut self, folder: &Path) {
        self.looked.push(folder.display().to_string());
        self.add_from(folder);
    }

    fn add_from(&mut self, folder: &Path) {
        let library = |name: &str| name.starts_with("libonnxruntime.so") || name == "libonnxruntime.dylib";
        for file in entries(folder, library) {
            if !self.files.contains(&file) {
                self.files.push(file);
            }
        }
    }
}

/// Entries of a folder by their names, the last in the order of names first, so that newer versions come before.
fn entries(folder: &Path, wanted: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    let Ok(listed) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut names: Vec<OsString> = listed
        .flatten()
        .map(|entry| entry.file_name())
        .filter(|name: &OsString| OsStr::to_str(name).is_some_and(&wanted))
        .collect();
    names.sort_by_key(|name| std::cmp::Reverse(numbers(name)));
    names.into_iter().map(|name| folder.join(name)).collect()
}

/// The numbers in a name, so that `python3.11` comes after `python3.9`.
fn numbers(name: &OsStr) -> Vec<u64> {
    let text = name.to_string_lossy();
    text.split(|c: char| !c.is_ascii_digit()).filter_map(|digits| digits.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn touch(path: &Path) {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, b"").unwrap();
    }

    #[test]
    fn a_named_file_is_the_only_one_that_is_tried() {
        let around = Surroundings { variable: Some("/b.so".into()), ..Surroundings::default() };
        let named = Search { path: Some("/a.so".into()), ..Search::default() };
        assert_eq!(
            named.plan(&around).files,
            [PathBuf::from("/a.so")],
            "the option comes before the variable"
        );
        let plan = Search::default().plan(&around);
        assert_eq!(plan.files, [PathBuf::from("/b.so")]);
        assert!(plan.looked[0].contains(VARIABLE));
    }

    #[test]
    fn the_package_of_an_interpreter_is_found_the_newest_version_first() {
        let dir = tempfile::tempdir().unwrap();
        let capi =
            |python: &str| dir.path().join(format!("venv/lib/{python}/site-packages/onnxruntime/capi"));
        touch(&capi("python3.9").join("libonnxruntime.so.1.30.0"));
        touch(&capi("python3.11").join("libonnxruntime.so.1.9.0"));
        touch(&capi("python3.11").join("libonnxruntime.so.1.31.1"));
        touch(&capi("python3.11").join("libonnxruntime_providers_shared.so"));
        touch(&dir.path().join("usr/lib/libonnxruntime.so"));
        let search = Search { pythons: vec![dir.path().join("venv/bin/python")], ..Search::default() };
        let around = Surroundings { folders: vec![dir.path().join("usr/lib")], ..Surroundings::default() };
        let plan = search.plan(&around);
        let expected = [
            capi("python3.11").join("libonnxruntime.so.1.31.1"),
            capi("python3.11").join("libonnxruntime.so.1.9.0"),
            capi("python3.9").join("libonnxruntime.so.1.30.0"),
            dir.path().join("usr/lib/libonnxruntime.so"),
        ];
        assert_eq!(plan.files, expected);
    }

    #[test]
    fn a_search_without_a_find_tells_where_it_looked() {
        let dir = tempfile::tempdir().unwrap();
        let path = Some(dir.path().join("bin").into_os_string());
        touch(&dir.path().join("bin/python3"));
        let plan = Search::default().plan(&Surroundings { path, ..Surroundings::default() });
        assert!(plan.files.is_empty());
        assert!(plan.looked.iter().any(|l| l.contains("site-packages/onnxruntime")), "{:?}", plan.looked);
    }
}
