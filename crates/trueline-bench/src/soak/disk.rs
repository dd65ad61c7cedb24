//! What a server holds on the disk, by what lies in its data directory.

use std::path::{Path, PathBuf};

/// What a data directory holds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Disk {
    /// All of it.
    pub(super) all_mib: f64,
    /// The frozen files of versions, and artifacts.
    pub(super) blobs_mib: f64,
    /// Copies of models whose runtimes open files by themselves.
    pub(super) models_mib: f64,
    /// How many such models there are copies of.
    pub(super) models: f64,
    /// The largest segment of the prediction log that is not sealed.
    pub(super) open_segment_mib: f64,
}

impl Disk {
    /// Of a data directory that is in use: what goes while it is looked at is not counted.
    pub(super) fn of(data: &Path) -> Self {
        let copies = std::fs::read_dir(data.join("models")).map_or(0, |all| all.flatten().count());
        Self {
            all_mib: mib(bytes(data)),
            blobs_mib: mib(bytes(&data.join("blobs"))),
            models_mib: mib(bytes(&data.join("models"))),
            models: f64::from(u32::try_from(copies).unwrap_or(u32::MAX)),
            open_segment_mib: mib(files(&data.join("predictions"))
                .into_iter()
                .filter(is_open)
                .map(|(_, n)| n)
                .max()
                .unwrap_or(0)),
        }
    }
}

#[allow(clippy::cast_precision_loss)]
fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

fn bytes(folder: &Path) -> u64 {
    files(folder).into_iter().map(|(_, bytes)| bytes).sum()
}

/// A segment has its index beside it once it is sealed.
fn is_open((file, _): &(PathBuf, u64)) -> bool {
    file.extension().is_some_and(|it| it == "log") && !file.with_extension("idx").exists()
}

/// All files beneath a folder, with their bytes.
fn files(folder: &Path) -> Vec<(PathBuf, u64)> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .flat_map(|entry| match entry.metadata() {
            Ok(found) if found.is_dir() => files(&entry.path()),
            Ok(found) => vec![(entry.path(), found.len())],
            Err(_) => Vec::new(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_added_up_by_where_they_lie() {
        let data = tempfile::tempdir().unwrap();
        assert_eq!(Disk::of(data.path()), Disk::default());
        let log = "predictions/p/endpoints/e";
        for (folder, name, mib) in [
            ("blobs/p/sha256", "file", 1),
            ("models/one", "file", 2),
            ("models/two", "file", 1),
            (log, "1.log", 5),
            (log, "1.idx", 1),
            (log, "2.log", 3),
        ] {
            let folder = data.path().join(folder);
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(folder.join(name), vec![0; mib << 20]).unwrap();
        }
        let expected =
            Disk { all_mib: 13.0, blobs_mib: 1.0, models_mib: 3.0, models: 2.0, open_segment_mib: 3.0 };
        assert_eq!(Disk::of(data.path()), expected);
    }
}
