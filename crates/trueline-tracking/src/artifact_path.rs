//! A path in a tree of artifacts, and how URIs name one.

use crate::TrackingError;
use crate::places::Tree;

/// The longest path in bytes. Paths are keys of an index, whose rows PostgreSQL limits to 2704 bytes.
const LONGEST_PATH: usize = 1024;

/// Below this the proxy is reached over HTTP.
const PROXY: &str = "/api/2.0/mlflow-artifacts/artifacts";

/// A path with each run of slashes as one, and none in front, as MLflow reads what a URI says.
fn single_slashes(path: &str) -> String {
    path.split('/').filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/")
}

/// A path in a tree of artifacts: relative, with no part that is empty, `.` or `..`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ArtifactPath {
    tree: Tree,
    path: String,
}

impl ArtifactPath {
    fn proxied(path: String) -> Self {
        Self { tree: Tree::Proxied, path }
    }

    pub(crate) fn within(self, tree: Tree) -> Self {
        Self { tree, ..self }
    }

    pub(crate) fn tree(&self) -> Tree {
        self.tree
    }

    /// As a column keeps it.
    pub(crate) fn stored(&self) -> String {
        format!("{}:{}", self.tree.word(), self.path)
    }

    /// What a column kept.
    pub(crate) fn from_stored(text: &str) -> Option<Self> {
        let (tree, path) = text.split_once(':')?;
        let tree = [Tree::Proxied, Tree::Shared].into_iter().find(|t| t.word() == tree)?;
        Some(Self::parse(path).ok()?.within(tree))
    }

    /// Checks a path of the proxy's tree. Control characters are refused: no file system or listing shows them, and a line break in a path
    /// could pass for another file.
    ///
    /// # Errors
    /// [`TrackingError::Invalid`].
    pub fn parse(path: &str) -> Result<Self, TrackingError> {
        let trimmed = path.trim_end_matches('/');
        if trimmed.is_empty() && path.len() <= 1 {
            return Ok(Self::proxied(String::new()));
        }
        if trimmed.len() > LONGEST_PATH {
            return Err(TrackingError::Invalid(format!(
                "Invalid path: it has {} bytes, the longest allowed has {LONGEST_PATH}.",
                trimmed.len()
            )));
        }
        let fine = |part: &str| !part.is_empty() && part != "." && part != ".." && !part.contains('\\');
        if !trimmed.contains(char::is_control) && trimmed.split('/').all(fine) {
            return Ok(Self::proxied(trimmed.to_owned()));
        }
        Err(TrackingError::Invalid("Invalid path".to_owned()))
    }

    /// The path that an `mlflow-artifacts:` URI of this server names, or the address of the proxy itself.
    #[must_use]
    pub fn from_uri(uri: &str) -> Option<Self> {
        if uri.starts_with("http:") || uri.starts_with("https:") {
            let (_, below) = uri.split_once(PROXY)?;
            return Self::parse(&single_slashes(below)).ok();
        }
        let rest = uri.strip_prefix("mlflow-artifacts:")?;
        // With an authority (`mlflow-artifacts://host/…`) the path begins after it.
        let path = match rest.strip_prefix("//") {
            Some(with_host) => with_host.split_once('/')?.1,
            None => rest.trim_start_matches('/'),
        };
        Self::parse(&single_slashes(path)).ok()
    }

    /// Whether this is the root of the tree.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.path.is_empty()
    }

    /// What is left of this path below `folder`: empty for the folder itself, none when it lies elsewhere.
    #[must_use]
    pub fn below(&self, folder: &Self) -> Option<&str> {
        if self.tree != folder.tree {
            return None;
        }
        match self.path.strip_prefix(&folder.path)? {
            "" => Some(""),
            rest if folder.is_root() => Some(rest),
            rest => rest.strip_prefix('/'),
        }
    }

    /// The path as text; empty for the root.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.path
    }

    /// A path below this one.
    ///
    /// # Errors
    /// [`TrackingError::Invalid`].
    pub fn join(&self, below: &str) -> Result<Self, TrackingError> {
        let joined = match (self.is_root(), below.is_empty()) {
            (_, true) => return Ok(self.clone()),
            (true, false) => Self::parse(below)?,
            (false, false) => Self::parse(&format!("{}/{below}", self.path))?,
        };
        Ok(joined.within(self.tree))
    }

    /// What every path below this one starts with.
    pub(crate) fn prefix(&self) -> String {
        if self.is_root() { String::new() } else { format!("{}/", self.path) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_inside_the_tree() {
        for good in ["", "a", "1/r/artifacts/model/MLmodel", "a/b/"] {
            assert!(ArtifactPath::parse(good).is_ok(), "{good}");
        }
        let long = "x".repeat(LONGEST_PATH + 1);
        for bad in ["../x", "a/../b", "/a", "a//b", "./a", "a\\b", "a/\0", "a\nb", "a\u{85}b", "//", &long] {
            assert!(ArtifactPath::parse(bad).is_err(), "{bad:?}");
        }
        assert!(ArtifactPath::parse(&long[1..]).is_ok());
    }

    #[test]
    fn a_uri_of_this_server_names_a_path() {
        let path = |uri| ArtifactPath::from_uri(uri).map(|p| p.as_str().to_owned());
        assert_eq!(path("mlflow-artifacts:/1/r/artifacts"), Some("1/r/artifacts".into()));
        assert_eq!(path("mlflow-artifacts://host:5/1/r"), Some("1/r".into()));
        assert_eq!(path("mlflow-artifacts:/models//x/"), Some("models/x".into()));
        assert_eq!(path("http://host:5/api/2.0/mlflow-artifacts/artifacts/1/r"), Some("1/r".into()));
        assert_eq!(path("http://host:5/elsewhere/1/r"), None);
        assert_eq!(path("s3://bucket/x"), None);
    }

    #[test]
    fn a_path_lies_below_whole_folders_only() {
        let path = |text| ArtifactPath::parse(text).unwrap();
        assert_eq!(path("1/r/a").below(&path("1/r")), Some("a"));
        assert_eq!(path("1/r").below(&path("1/r")), Some(""));
        assert_eq!(path("1/r").below(&path("")), Some("1/r"));
        assert_eq!(path("1/run").below(&path("1/r")), None);
    }
}
