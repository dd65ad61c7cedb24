//! Where artifacts lie, as the server was started. Bytes that come through the proxy (`mlflow-artifacts:`) are blobs, or
//! plain files below a destination, or objects of a bucket. When new experiments are placed in a folder of this machine instead, clients write
//! there themselves, and the server reads what they wrote. Anything else (`s3:`, another machine's disk) is out of reach.

use crate::TrackingError;
use crate::artifact_path::ArtifactPath;
use crate::folder::Folder;
use crate::model::ExperimentId;
use std::path::{Component, Path, PathBuf};
use trueline_blobs::Bucket;
use trueline_ledger::ProjectId;

/// Where the proxy's artifacts are found.
const PROXIED: &str = "mlflow-artifacts:/";
/// Below it lie the artifacts of projects other than the default one, as MLflow has it for workspaces.
const WORKSPACES: &str = "workspaces";

/// Which tree of artifacts a path belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Tree {
    /// What comes and goes through the proxy.
    Proxied,
    /// The folder that clients write to themselves.
    Shared,
}

impl Tree {
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Proxied => "proxied",
            Self::Shared => "shared",
        }
    }
}

/// How artifacts at a path are kept.
pub(crate) enum Kept {
    /// As blobs, by rows of a table.
    Blobs,
    /// As plain files of this folder, at this path.
    Plain(Folder, String),
    /// As objects of this bucket, at this path of it.
    Bucket(Bucket, String),
    /// The path leads into the folders of other projects; nothing is found there, and nothing is put.
    ForOthers,
}

/// What keeps the proxy's bytes.
#[derive(Clone, Debug)]
enum Destination {
    Blobs,
    Folder(Folder),
    Bucket(Bucket),
}

/// Where artifacts lie.
#[derive(Clone, Debug)]
pub struct ArtifactPlaces {
    /// What the locations of new experiments begin with.
    root: String,
    /// The folder behind `root`, when it is one of this machine.
    shared: Option<Folder>,
    destination: Destination,
}

impl Default for ArtifactPlaces {
    /// All artifacts come through the proxy and are kept as blobs.
    fn default() -> Self {
        Self { root: PROXIED.to_owned(), shared: None, destination: Destination::Blobs }
    }
}

/// A place that can't be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlaceError {
    /// The proxy keeps bytes as blobs or in a folder.
    #[error(
        "artifacts can't be kept at `{0}`: name a folder of this machine or a bucket (s3://bucket/folder), or leave it out to keep them in the data directory"
    )]
    NoFolder(String),
    /// The folder can't be used.
    #[error("the folder `{}` can't be used for artifacts: {error}; check that the server may write there", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the disk says.
        error: std::io::Error,
    },
}

/// The path on this machine that a location names: a path as it is, or a `file:` URI.
fn local_path(location: &str) -> Option<PathBuf> {
    let Some(rest) = location.strip_prefix("file:") else {
        // A letter and a colon would be a scheme like `s3:`.
        return (!location.contains(':')).then(|| PathBuf::from(location));
    };
    let path = match rest.strip_prefix("//") {
        Some(with_host) => {
            let (host, _) = with_host.split_once('/')?;
            (host.is_empty() || host.eq_ignore_ascii_case("localhost")).then(|| &with_host[host.len()..])?
        }
        None => rest,
    };
    let path = percent_encoding::percent_decode_str(path).decode_utf8().ok()?;
    Some(PathBuf::from(path.into_owned()))
}

/// A URI with more path; what follows a `?` or `#` stays at its end.
pub(crate) fn below(uri: &str, path: &str) -> String {
    let end = uri.find(['?', '#']).filter(|_| uri.contains(':')).unwrap_or(uri.len());
    let (place, rest) = uri.split_at(end);
    format!("{}/{path}{rest}", place.strip_suffix('/').unwrap_or(place))
}

/// A location as a client gives it for an experiment: a path is made absolute, as MLflow does.
pub(crate) fn resolved(location: String) -> Result<String, TrackingError> {
    if location.contains(':') {
        return Ok(location);
    }
    let path = std::path::absolute(&location).map_err(|_| {
        TrackingError::Invalid(format!(
            "Invalid value \"{location}\" for parameter 'artifact_location' supplied."
        ))
    })?;
    Ok(path.to_string_lossy().into_owned())
}

/// A path with all its parts as text, relative to nothing; none when it is no plain path.
fn plain_text(path: &Path) -> Option<String> {
    let mut out = Vec::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => out.push(name.to_str()?),
            _ => return None,
        }
    }
    Some(out.join("/"))
}

impl ArtifactPlaces {
    /// Places as a server is told them: `root` for new experiments, `destination` for the proxy's bytes.
    ///
    /// # Errors
    /// [`PlaceError`] when a folder can't be used or the destination is none.
    pub fn new(root: Option<&str>, destination: Option<&str>) -> Result<Self, PlaceError> {
        let mut places = Self::default();
        if let Some(root) = root.filter(|root| !root.starts_with(PROXIED.trim_end_matches('/'))) {
            let failed = |error| PlaceError::Folder { path: root.into(), error };
            let folder = local_path(root).map(std::path::absolute).transpose().map_err(failed)?;
            // A relative path means another folder to each client; MLflow makes it absolute as well.
            places.root = match &folder {
                Some(folder) if !root.starts_with("file:") => folder.to_string_lossy().into_owned(),
                _ => root.to_owned(),
            };
            places.shared = folder.map(Folder::new);
        } else if let Some(root) = root {
            root.clone_into(&mut places.root);
        }
        if let Some(destination) = destination {
            let path = local_path(destination).ok_or_else(|| PlaceError::NoFolder(destination.to_owned()))?;
            let failed = |error| PlaceError::Folder { path: path.clone(), error };
            std::fs::create_dir_all(&path).map_err(failed)?;
            let folder = Folder::new(std::path::absolute(&path).map_err(failed)?);
            folder.clear_uploads().map_err(failed)?;
            places.destination = Destination::Folder(folder);
        }
        Ok(places)
    }

    /// The same, with the proxy's bytes as objects of a bucket.
    #[must_use]
    pub fn in_bucket(self, bucket: Bucket) -> Self {
        Self { destination: Destination::Bucket(bucket), ..self }
    }

    /// The bucket that keeps the proxy's bytes.
    pub(crate) fn bucket(&self) -> Option<&Bucket> {
        match &self.destination {
            Destination::Bucket(bucket) => Some(bucket),
            Destination::Blobs | Destination::Folder(_) => None,
        }
    }

    /// Where a new experiment's artifacts go. Projects share no folder; the proxy keeps them apart itself.
    pub(crate) fn of_experiment(&self, project: &ProjectId, id: ExperimentId) -> String {
        match own_folder(project) {
            // The proxy keeps projects apart itself, and a client reaches it under the address that chose the project.
            Some(_) if ArtifactPath::from_uri(&self.root).is_some() => below(PROXIED, &id.to_string()),
            Some(own) => below(&self.root, &format!("{own}/{id}")),
            None => below(&self.root, &id.to_string()),
        }
    }

    /// The path that a URI names, when it is one of this project that the server can read.
    pub(crate) fn path_of(&self, project: &ProjectId, uri: &str) -> Option<ArtifactPath> {
        if let Some(path) = ArtifactPath::from_uri(uri) {
            return Some(path);
        }
        let path = local_path(uri)?;
        let below = plain_text(path.strip_prefix(self.shared.as_ref()?.root()).ok()?)?;
        let below = match own_folder(project) {
            Some(own) => below.strip_prefix(&own)?.strip_prefix('/')?.to_owned(),
            None => below,
        };
        let path = ArtifactPath::parse(&below).ok()?.within(Tree::Shared);
        matches!(self.kept(project, &path), Kept::Plain(..)).then_some(path)
    }

    /// How the artifacts of a project are kept at a path.
    pub(crate) fn kept(&self, project: &ProjectId, path: &ArtifactPath) -> Kept {
        let shared = self.shared.clone().map_or(Destination::Blobs, Destination::Folder);
        let destination = match path.tree() {
            Tree::Proxied => self.destination.clone(),
            Tree::Shared => shared,
        };
        let path = path.as_str();
        let below = match own_folder(project) {
            Some(own) if path.is_empty() => own,
            Some(own) => format!("{own}/{path}"),
            None if matches!(destination, Destination::Blobs) => return Kept::Blobs,
            None if path.split('/').next() == Some(WORKSPACES) => return Kept::ForOthers,
            None => path.to_owned(),
        };
        match destination {
            Destination::Blobs => Kept::Blobs,
            Destination::Folder(folder) => Kept::Plain(folder, below),
            Destination::Bucket(bucket) => Kept::Bucket(bucket, below),
        }
    }
}

/// The folder of a project below a folder that all share; none for the default project.
fn own_folder(project: &ProjectId) -> Option<String> {
    (*project != ProjectId::default_project()).then(|| format!("{WORKSPACES}/{project}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(places: &ArtifactPlaces, project: &str, uri: &str) -> Option<String> {
        let project = ProjectId::new(project);
        let path = places.path_of(&project, uri)?;
        Some(match places.kept(&project, &path) {
            Kept::Blobs => format!("blobs {}", path.as_str()),
            Kept::Plain(folder, below) => folder.root().join(below).display().to_string(),
            Kept::Bucket(bucket, below) => format!("{}/{below}", bucket.uri()),
            Kept::ForOthers => "others".to_owned(),
        })
    }

    #[test]
    fn without_being_told_otherwise_all_artifacts_are_blobs() {
        let places = ArtifactPlaces::default();
        assert_eq!(
            places.of_experiment(&ProjectId::default_project(), ExperimentId(3)),
            "mlflow-artifacts:/3"
        );
        assert_eq!(places.of_experiment(&ProjectId::new("p1"), ExperimentId(3)), "mlflow-artifacts:/3");
        assert_eq!(found(&places, "default", "mlflow-artifacts:/3/r").as_deref(), Some("blobs 3/r"));
        assert_eq!(found(&places, "default", "file:///etc/passwd"), None);
        assert_eq!(found(&places, "default", "s3://bucket/3"), None);
    }

    #[test]
    fn more_path_goes_before_query_and_fragment() {
        assert_eq!(below("mysql://u@h/db?driver=x", "1/r"), "mysql://u@h/db/1/r?driver=x");
        assert_eq!(below("s3://b/sub/#part", "1"), "s3://b/sub/1#part");
        assert_eq!(below("mlflow-artifacts:/", "0"), "mlflow-artifacts:/0");
        assert_eq!(below("/data/what?", "1"), "/data/what?/1");
        assert_eq!(resolved("s3://b".into()).unwrap(), "s3://b");
        assert!(resolved("runs".into()).unwrap().starts_with('/'));
    }

    #[test]
    fn a_folder_for_new_experiments_is_read_and_nothing_beside_it() {
        let places = ArtifactPlaces::new(Some("file:///data/my%20runs/"), None).unwrap();
        let location = places.of_experiment(&ProjectId::default_project(), ExperimentId(1));
        assert_eq!(location, "file:///data/my%20runs/1");
        let run = |below: &str| found(&places, "default", &format!("file:///data/my%20runs/{below}"));
        assert_eq!(run("1/r/artifacts").as_deref(), Some("/data/my runs/1/r/artifacts"));
        assert_eq!(found(&places, "default", "/data/my runs/1").as_deref(), Some("/data/my runs/1"));
        for outside in ["../secret", "1/../../secret", "workspaces/p1/1/r"] {
            assert_eq!(run(outside), None, "{outside}");
        }
        assert_eq!(found(&places, "default", "file://host/data/my%20runs/1"), None);
    }

    #[test]
    fn a_project_finds_its_own_folder_alone() {
        let places = ArtifactPlaces::new(Some("/data"), None).unwrap();
        let location = places.of_experiment(&ProjectId::new("p1"), ExperimentId(1));
        assert_eq!(location, "/data/workspaces/p1/1");
        assert_eq!(found(&places, "p1", &location).as_deref(), Some("/data/workspaces/p1/1"));
        assert_eq!(found(&places, "p2", &location), None);
        assert_eq!(found(&places, "p1", "/data/1"), None);
    }

    #[test]
    fn a_destination_keeps_the_proxys_files_apart_by_project() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        let places = ArtifactPlaces::new(None, Some(root.to_str().unwrap())).unwrap();
        let at = |project: &str, uri| found(&places, project, uri).unwrap();
        assert_eq!(at("default", "mlflow-artifacts:/1/r"), root.join("1/r").display().to_string());
        let own = root.join("workspaces/p1/1/r");
        assert_eq!(at("p1", "mlflow-artifacts:/1/r"), own.display().to_string());
        let path = ArtifactPath::parse("workspaces/p1/1/r").unwrap();
        assert!(matches!(places.kept(&ProjectId::default_project(), &path), Kept::ForOthers));
        let refused = ArtifactPlaces::new(None, Some("gs://bucket/x")).unwrap_err().to_string();
        assert!(refused.contains("`gs://bucket/x`"), "{refused}");
    }
    #[test]
    fn a_bucket_keeps_them_where_mlflow_would() {
        let bucket = Bucket::open("s3://team/mlflow", |_| None).unwrap();
        let places = ArtifactPlaces::new(None, None).unwrap().in_bucket(bucket);
        let at = |project: &str, uri| found(&places, project, uri).unwrap();
        assert_eq!(at("default", "mlflow-artifacts:/1/r/artifacts/x"), "s3://team/mlflow/1/r/artifacts/x");
        assert_eq!(at("p1", "mlflow-artifacts:/1/r"), "s3://team/mlflow/workspaces/p1/1/r");
        assert_eq!(at("default", "mlflow-artifacts:/workspaces/p1/1/r"), "others");
        assert_eq!(found(&places, "default", "s3://team/mlflow/1/r"), None);
    }
}
