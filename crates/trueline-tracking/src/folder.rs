//! Plain files below a folder of this machine, for artifacts that clients write there themselves or that the proxy is
//! told to keep as files. Each part of a path is opened from the folder above it and no symbolic link is followed, so
//! that whoever may write below the folder can't lead the server out of it.

use rustix::fs::{self, AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

/// Uploads under way lie here, below the folder's root, so that a rename puts them into place.
const UPLOADS: &str = ".trueline-uploads";
/// How deep folders may lie in each other.
const DEEPEST: usize = 128;

/// A folder of plain files.
#[derive(Clone, Debug)]
pub(crate) struct Folder {
    root: PathBuf,
}

/// What a folder holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PlainEntry {
    pub(crate) name: String,
    /// The size in bytes of a file; none of a folder.
    pub(crate) size: Option<u64>,
}

/// A file that is open for reading.
#[derive(Debug)]
pub(crate) struct PlainFile {
    pub(crate) file: File,
    pub(crate) size: u64,
    /// Changes when the file does.
    pub(crate) etag: String,
}

/// A file that is being written; dropping it leaves nothing behind.
#[derive(Debug)]
pub(crate) struct PlainPut {
    uploads: OwnedFd,
    name: String,
    file: File,
    placed: bool,
}

impl PlainPut {
    /// The file, to be written.
    pub(crate) fn file(&self) -> io::Result<File> {
        self.file.try_clone()
    }
}

impl Drop for PlainPut {
    fn drop(&mut self) {
        if !self.placed {
            let _ = fs::unlinkat(&self.uploads, &self.name, AtFlags::empty());
        }
    }
}

fn folder_flags() -> OFlags {
    OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC
}

/// Whether there is nothing that could be read: no such name, a link, a file where a folder should be.
fn is_nothing(error: &io::Error) -> bool {
    let codes = [Errno::NOENT, Errno::NOTDIR, Errno::LOOP, Errno::NAMETOOLONG];
    codes.iter().any(|code| error.raw_os_error() == Some(code.raw_os_error()))
}

fn or_nothing<T>(found: io::Result<T>) -> io::Result<Option<T>> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(error) if is_nothing(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

fn parts(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter(|part| !part.is_empty())
}

/// A path as the folder above its last part, and that part.
fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

impl Folder {
    pub(crate) fn new(root: PathBuf) -> Self {
        Self { root }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Removes what uploads left that a stop cut off.
    pub(crate) fn clear_uploads(&self) -> io::Result<()> {
        match or_nothing(self.open_folder(UPLOADS))? {
            Some(uploads) => empty(&uploads, DEEPEST),
            None => Ok(()),
        }
    }

    fn open_root(&self) -> io::Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(fs::open(&self.root, flags, Mode::empty())?)
    }

    fn open_folder(&self, path: &str) -> io::Result<OwnedFd> {
        let mut folder = self.open_root()?;
        for part in parts(path) {
            folder = fs::openat(&folder, part, folder_flags(), Mode::empty())?;
        }
        Ok(folder)
    }

    /// Opens a folder, which is made with those above it when it is missing.
    fn make_folder(&self, path: &str) -> io::Result<OwnedFd> {
        std::fs::create_dir_all(&self.root)?;
        let mut folder = self.open_root()?;
        for part in parts(path) {
            match fs::mkdirat(&folder, part, Mode::from_raw_mode(0o777)) {
                Ok(()) => fs::fsync(&folder)?,
                Err(Errno::EXIST) => {}
                Err(other) => return Err(other.into()),
            }
            folder = fs::openat(&folder, part, folder_flags(), Mode::empty())?;
        }
        Ok(folder)
    }

    /// What a folder holds, by name; nothing when there is no such folder.
    pub(crate) fn entries(&self, path: &str) -> io::Result<Vec<PlainEntry>> {
        match or_nothing(self.open_folder(path))? {
            Some(folder) => entries(&folder),
            None => Ok(Vec::new()),
        }
    }

    /// Opens a file; none when there is no such file.
    pub(crate) fn open(&self, path: &str) -> io::Result<Option<PlainFile>> {
        let (above, name) = split(path);
        let Some(folder) = or_nothing(self.open_folder(above))? else { return Ok(None) };
        // Without waiting: a pipe that nobody writes to would never open.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let opened = fs::openat(&folder, name, flags, Mode::empty()).map_err(io::Error::from);
        let Some(file) = or_nothing(opened)?.map(File::from) else { return Ok(None) };
        let about = file.metadata()?;
        if !about.is_file() {
            return Ok(None);
        }
        let changed = about.modified()?.duration_since(UNIX_EPOCH).map_or(0, |age| age.as_nanos());
        Ok(Some(PlainFile { file, size: about.len(), etag: format!("{changed:x}-{:x}", about.len()) }))
    }

    /// The paths of all files below a folder, relative to it, in order.
    pub(crate) fn below(&self, path: &str) -> io::Result<Vec<String>> {
        let mut files = Vec::new();
        if let Some(folder) = or_nothing(self.open_folder(path))? {
            walk(&folder, "", DEEPEST, &mut files)?;
        }
        files.sort();
        Ok(files)
    }

    /// Begins a file, which [`Folder::place`] gives its path.
    pub(crate) fn begin(&self, id: &str) -> io::Result<PlainPut> {
        let uploads = self.make_folder(UPLOADS)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let file = File::from(fs::openat(&uploads, id, flags, Mode::from_raw_mode(0o666))?);
        Ok(PlainPut { uploads, name: id.to_owned(), file, placed: false })
    }

    /// Gives a file its path, in place of what was there, once it is durable.
    pub(crate) fn place(&self, mut put: PlainPut, path: &str) -> io::Result<()> {
        put.file.sync_all()?;
        let (above, name) = split(path);
        let folder = self.make_folder(above)?;
        fs::renameat(&put.uploads, &put.name, &folder, name)?;
        put.placed = true;
        Ok(fs::fsync(&folder)?)
    }

    /// Removes a file, or a folder with all below it; answers the paths of the files that are gone.
    pub(crate) fn remove(&self, path: &str) -> io::Result<Vec<String>> {
        let (above, name) = split(path);
        let Some(parent) = or_nothing(self.open_folder(above))? else { return Ok(Vec::new()) };
        let mut gone = Vec::new();
        match fs::openat(&parent, name, folder_flags(), Mode::empty()) {
            Ok(folder) => {
                walk(&folder, &format!("{path}/"), DEEPEST, &mut gone)?;
                empty(&folder, DEEPEST)?;
                fs::unlinkat(&parent, name, AtFlags::REMOVEDIR)?;
            }
            Err(Errno::NOTDIR | Errno::LOOP) => {
                fs::unlinkat(&parent, name, AtFlags::empty())?;
                gone.push(path.to_owned());
            }
            Err(Errno::NOENT) => return Ok(gone),
            Err(other) => return Err(other.into()),
        }
        fs::fsync(&parent)?;
        Ok(gone)
    }
}

/// Names and kinds of what a folder holds. Links, pipes and names that are no text are left out.
fn listed(folder: impl AsFd) -> io::Result<Vec<(String, FileType)>> {
    let mut found = Vec::new();
    for entry in fs::Dir::read_from(&folder)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().to_str() else { continue };
        if name == "." || name == ".." || name == UPLOADS {
            continue;
        }
        let kind = match entry.file_type() {
            FileType::Unknown => kind_of(&folder, name)?,
            known => known,
        };
        if matches!(kind, FileType::RegularFile | FileType::Directory) {
            found.push((name.to_owned(), kind));
        }
    }
    Ok(found)
}

fn kind_of(folder: impl AsFd, name: &str) -> io::Result<FileType> {
    let about = fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(FileType::from_raw_mode(about.st_mode))
}

fn entries(folder: &OwnedFd) -> io::Result<Vec<PlainEntry>> {
    let mut out = Vec::new();
    for (name, kind) in listed(folder)? {
        let size = match kind {
            FileType::RegularFile => {
                // One that went away meanwhile is not listed.
                let about = fs::statat(folder, &name, AtFlags::SYMLINK_NOFOLLOW).map_err(io::Error::from);
                let Some(about) = or_nothing(about)? else { continue };
                Some(u64::try_from(about.st_size).unwrap_or(0))
            }
            _ => None,
        };
        out.push(PlainEntry { name, size });
    }
    out.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(out)
}

fn too_deep() -> io::Error {
    io::Error::other(format!("folders lie more than {DEEPEST} deep in each other"))
}

fn walk(folder: &OwnedFd, prefix: &str, deeper: usize, files: &mut Vec<String>) -> io::Result<()> {
    let deeper = deeper.checked_sub(1).ok_or_else(too_deep)?;
    for (name, kind) in listed(folder)? {
        let path = format!("{prefix}{name}");
        if kind == FileType::RegularFile {
            files.push(path);
            continue;
        }
        let inner = fs::openat(folder, &name, folder_flags(), Mode::empty()).map_err(io::Error::from);
        if let Some(inner) = or_nothing(inner)? {
            walk(&inner, &format!("{path}/"), deeper, files)?;
        }
    }
    Ok(())
}

/// Removes all that a folder holds; links are removed, not what they point at.
fn empty(folder: &OwnedFd, deeper: usize) -> io::Result<()> {
    let deeper = deeper.checked_sub(1).ok_or_else(too_deep)?;
    for entry in fs::Dir::read_from(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        match fs::openat(folder, name, folder_flags(), Mode::empty()) {
            Ok(inner) => {
                empty(&inner, deeper)?;
                fs::unlinkat(folder, name, AtFlags::REMOVEDIR)?;
            }
            Err(Errno::NOTDIR | Errno::LOOP) => fs::unlinkat(folder, name, AtFlags::empty())?,
            Err(other) => return Err(other.into()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};

    fn put(folder: &Folder, path: &str, bytes: &[u8]) {
        let put = folder.begin("one").unwrap();
        put.file().unwrap().write_all(bytes).unwrap();
        folder.place(put, path).unwrap();
    }

    fn text(folder: &Folder, path: &str) -> Option<String> {
        let mut text = String::new();
        folder.open(path).unwrap()?.file.read_to_string(&mut text).unwrap();
        Some(text)
    }

    #[test]
    fn files_are_put_listed_read_and_removed() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::new(dir.path().join("made-when-needed"));
        assert_eq!(folder.entries("").unwrap(), []);
        put(&folder, "a/b/x.txt", b"one");
        put(&folder, "a/b/x.txt", b"two");
        put(&folder, "a/y", b"");
        assert_eq!(text(&folder, "a/b/x.txt").as_deref(), Some("two"));
        let named = |name: &str, size| PlainEntry { name: name.into(), size };
        assert_eq!(folder.entries("").unwrap(), [named("a", None)]);
        assert_eq!(folder.entries("a").unwrap(), [named("b", None), named("y", Some(0))]);
        assert_eq!(folder.entries("a/y").unwrap(), []);
        assert_eq!(folder.below("a").unwrap(), ["b/x.txt", "y"]);
        assert_eq!(folder.remove("a/b").unwrap(), ["a/b/x.txt"]);
        assert_eq!(folder.remove("a/y").unwrap(), ["a/y"]);
        assert!(folder.remove("a/y").unwrap().is_empty());
        assert_eq!(folder.below("").unwrap(), Vec::<String>::new());
    }

    #[test]
    fn an_upload_that_is_given_up_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::new(dir.path().to_owned());
        let put = folder.begin("one").unwrap();
        put.file().unwrap().write_all(b"half").unwrap();
        drop(put);
        assert_eq!(std::fs::read_dir(dir.path().join(UPLOADS)).unwrap().count(), 0);
        assert_eq!(folder.entries("").unwrap(), []);
    }

    #[test]
    fn no_link_leads_out_of_the_folder() {
        let outside = tempfile::tempdir().unwrap();
        std::fs::write(outside.path().join("secret"), "secret").unwrap();
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::new(dir.path().to_owned());
        std::os::unix::fs::symlink(outside.path(), dir.path().join("way")).unwrap();
        std::os::unix::fs::symlink(outside.path().join("secret"), dir.path().join("file")).unwrap();
        assert_eq!(text(&folder, "way/secret"), None);
        assert_eq!(text(&folder, "file"), None);
        assert_eq!(folder.entries("way").unwrap(), []);
        assert_eq!(folder.entries("").unwrap(), []);
        let put = folder.begin("one").unwrap();
        put.file().unwrap().write_all(b"x").unwrap();
        assert!(folder.place(put, "way/x").is_err());
        folder.remove("way").unwrap();
        assert!(outside.path().join("secret").exists());
    }
}
