//! What a server holds on the disk, by what lies in its data directory.

use std::path::Path;

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
        }
    }
}

#[allow(clippy::cast_precision_loss)]
fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

fn bytes(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(found) if found.is_dir() => bytes(&entry.path()),
            Ok(found) => found.len(),
            Err(_) => 0,
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_added_up_by_where_they_lie() {
        let data = tempfile::tempdir().unwrap();
        assert_eq!(Disk::of(data.path()), Disk::default());
        for (place, bytes) in [("blobs/p/sha256", 1 << 20), ("models/one", 2 << 20), ("models/two", 1 << 20)]
        {
            let folder = data.path().join(place);
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(folder.join("file"), vec![0; bytes]).unwrap();
        }
        let expected = Disk { all_mib: 4.0, blobs_mib: 1.0, models_mib: 3.0, models: 2.0 };
        assert_eq!(Disk::of(data.path()), expected);
    }
}
