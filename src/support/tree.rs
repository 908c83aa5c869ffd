//! The files of a directory that are read.

use std::collections::HashSet;
use std::fs::{self, DirEntry};
use std::io;
use std::path::{Path, PathBuf};

use crate::support::files::{MOST_ENTRIES, Stamp};
use crate::support::platform::FileId;

/// What a walk of a directory found.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    /// Every file with one of the extensions, sorted: regular files, and what has such a name and must be refused by it, such as a FIFO.
    pub(crate) files: Vec<PathBuf>,
    /// The first of the other files in the order of their paths, except hidden ones: where no file has the extension, it explains why.
    pub(crate) other: Option<PathBuf>,
    /// The directory and those below it, as they were before they were read.
    pub(crate) directories: Vec<(PathBuf, Stamp)>,
}

/// Why a directory could not be walked: which one, and the error.
pub(crate) type Unreadable = (PathBuf, io::Error);

/// Every `*.json` below a directory. Symbolic links are followed. A directory that several paths lead to is entered once, by the path
/// without links if there is one, so that directories that link to each other take no longer than others. Names that begin with `..`
/// are skipped: the mount of a ConfigMap or Secret keeps its generations there (`..data`, `..2026_11_22…`), and its visible names are
/// links into them.
///
/// # Errors
/// The directory that could not be read, or that has too many entries.
pub(crate) fn walk(directory: &Path) -> Result<Tree, Unreadable> {
    walk_at_most(directory, &["json"], MOST_ENTRIES)
}

/// As [`walk`], for files with one of these extensions.
///
/// # Errors
/// As [`walk`].
pub(crate) fn walk_for(directory: &Path, extensions: &[&str]) -> Result<Tree, Unreadable> {
    walk_at_most(directory, extensions, MOST_ENTRIES)
}

fn walk_at_most(directory: &Path, extensions: &[&str], most: usize) -> Result<Tree, Unreadable> {
    let mut walk = Walk {
        root: directory,
        extensions,
        most,
        entries: 0,
        entered: HashSet::new(),
        links: vec![directory.to_owned()],
        tree: Tree::default(),
    };
    // Directories that are reached without a link come first.
    while !walk.links.is_empty() {
        let mut links = std::mem::take(&mut walk.links);
        links.sort_unstable();
        for link in links {
            let mut pending = vec![link];
            while let Some(directory) = pending.pop() {
                walk.enter(directory, &mut pending)?;
            }
        }
    }
    walk.tree.files.sort_unstable();
    Ok(walk.tree)
}

struct Walk<'a> {
    root: &'a Path,
    extensions: &'a [&'a str],
    most: usize,
    entries: usize,
    /// The directories that were entered.
    entered: HashSet<DirectoryId>,
    /// Links to directories that are entered later.
    links: Vec<PathBuf>,
    tree: Tree,
}

/// What distinguishes a directory from all others.
#[derive(Debug, PartialEq, Eq, Hash)]
enum DirectoryId {
    File(FileId),
    /// Its path without links, where the system reports nothing else.
    Path(PathBuf),
}

impl Walk<'_> {
    /// Reads a directory. Directories in it are added to `pending`, links to directories to `self.links`.
    fn enter(&mut self, directory: PathBuf, pending: &mut Vec<PathBuf>) -> Result<(), Unreadable> {
        let failed = |error| (directory.clone(), error);
        let read = Stamp::read(&directory).and_then(|stamp| Ok((stamp, fs::read_dir(&directory)?)));
        let (stamp, entries) = match read {
            Ok(read) => read,
            // The files of a directory that was removed meanwhile are gone too.
            Err(error) if error.kind() == io::ErrorKind::NotFound && directory != self.root => return Ok(()),
            Err(error) => return Err(failed(error)),
        };
        let id = match stamp.identity() {
            Some(id) => DirectoryId::File(id),
            None => DirectoryId::Path(fs::canonicalize(&directory).map_err(failed)?),
        };
        if !self.entered.insert(id) {
            return Ok(());
        }
        for entry in entries {
            self.add(&entry.map_err(failed)?, pending).map_err(failed)?;
            self.entries += 1;
            if self.entries > self.most {
                let why = format!("it and the directories below it have more than {} entries", self.most);
                return Err((self.root.to_owned(), io::Error::other(why)));
            }
        }
        self.tree.directories.push((directory, stamp));
        Ok(())
    }

    fn add(&mut self, entry: &DirEntry, pending: &mut Vec<PathBuf>) -> io::Result<()> {
        if entry.file_name().as_encoded_bytes().starts_with(b"..") {
            return Ok(());
        }
        let (kind, path) = (entry.file_type()?, entry.path());
        if kind.is_dir() {
            pending.push(path);
        } else if kind.is_symlink() && fs::metadata(&path).is_ok_and(|target| target.is_dir()) {
            self.links.push(path);
        } else if path
            .extension()
            .is_some_and(|extension| self.extensions.iter().any(|wanted| extension == *wanted))
        {
            self.tree.files.push(path);
        } else if !entry.file_name().as_encoded_bytes().starts_with(b".")
            && self.tree.other.as_ref().is_none_or(|other| path < *other)
        {
            self.tree.other = Some(path);
        }
        Ok(())
    }
}

/// Whether a file was deleted: the directory that it was in is there, or was deleted with it. A file that became something else, and one
/// behind a broken link, was not.
pub(crate) fn is_deleted(path: &Path) -> bool {
    let there = path.ancestors().find(|part| part.symlink_metadata().is_ok());
    there.is_some_and(|part| part != path && part.is_dir())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn files(tree: &Tree, root: &Path) -> Vec<String> {
        let below = |path: &PathBuf| path.strip_prefix(root).unwrap().display().to_string();
        tree.files.iter().map(below).collect()
    }

    #[test]
    fn a_directory_is_entered_once_by_the_path_without_links() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        // Entered once per path, 24 directories with links to all others would take longer than the universe exists.
        let names: Vec<_> = (0..24).map(|number| format!("d{number:02}")).collect();
        for name in &names {
            fs::create_dir(root.join(name)).unwrap();
            fs::write(root.join(name).join("role.json"), "{}").unwrap();
        }
        for name in &names {
            for other in names.iter().filter(|other| *other != name) {
                symlink(root.join(other), root.join(name).join(format!("a-{other}"))).unwrap();
            }
        }
        symlink(".", root.join("self")).unwrap();
        let tree = walk(root).unwrap();
        let expected: Vec<_> = names.iter().map(|name| format!("{name}/role.json")).collect();
        assert_eq!(files(&tree, root), expected);
        assert_eq!(tree.directories.len(), 25);
    }

    #[test]
    fn too_many_entries_are_an_error_that_names_the_directory() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("team")).unwrap();
        for number in 0..5 {
            fs::write(dir.path().join(format!("team/{number}.txt")), "").unwrap();
        }
        assert!(walk_at_most(dir.path(), &["json"], 6).is_ok());
        let (path, error) = walk_at_most(dir.path(), &["json"], 5).unwrap_err();
        assert_eq!(path, dir.path());
        assert_eq!(
            error.to_string(),
            "it and the directories below it have more than 5 entries"
        );
    }

    #[test]
    fn only_a_file_whose_directory_is_there_or_deleted_counts_as_deleted() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        fs::create_dir_all(path("team/sub.json")).unwrap();
        fs::write(path("file"), "").unwrap();
        symlink("nothing", path("broken")).unwrap();
        symlink("team", path("link")).unwrap();
        for (name, expected) in [
            ("team/gone.json", true),
            ("gone/deep/gone.json", true),
            ("link/gone.json", true),
            ("team/sub.json", false),
            ("file/gone.json", false),
            ("broken", false),
            ("broken/gone.json", false),
        ] {
            assert_eq!(is_deleted(&path(name)), expected, "{name}");
        }
    }
}
