//! The files of a directory that are read.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Every `*.json` below a directory, sorted. Symbolic links are followed. Names that begin with `..` are skipped: the
/// mount of a ConfigMap or Secret keeps its generations there (`..data`, `..2026_11_22…`), and its visible names are links
/// into them.
///
/// # Errors
/// The directory that could not be read.
pub(super) fn json_files(directory: &Path) -> Result<Vec<PathBuf>, (PathBuf, io::Error)> {
    let mut found = Vec::new();
    let real = fs::canonicalize(directory).map_err(|error| (directory.to_owned(), error))?;
    walk(directory, &mut vec![real], &mut found)?;
    found.sort_unstable();
    Ok(found)
}

/// `within`: the real paths of the directories on the way here, so that a link to one of them is not followed forever.
fn walk(directory: &Path, within: &mut Vec<PathBuf>, found: &mut Vec<PathBuf>) -> Result<(), (PathBuf, io::Error)> {
    let failed = |error| (directory.to_owned(), error);
    for entry in fs::read_dir(directory).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if entry.file_name().as_encoded_bytes().starts_with(b"..") {
            continue;
        }
        let path = entry.path();
        let is_json = path.extension().is_some_and(|extension| extension == "json");
        match fs::metadata(&path) {
            Ok(metadata) if metadata.is_dir() => {
                // The files of a directory that was removed meanwhile are gone too.
                let Ok(real) = fs::canonicalize(&path) else { continue };
                if within.contains(&real) {
                    continue;
                }
                within.push(real);
                walk(&path, within, found)?;
                within.pop();
            }
            // Pipes and devices would block the reader.
            Ok(metadata) if metadata.is_file() && is_json => found.push(path),
            // A link to nothing: reading it returns the error.
            Err(_) if is_json => found.push(path),
            _ => {}
        }
    }
    Ok(())
}
