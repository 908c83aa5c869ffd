//! Why role files could not be read.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::support::text;

/// Why a directory of role files could not be read. `Display` is one line: file, line, column, what is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct RoleFilesError {
    /// The file, or the directory.
    pub file: PathBuf,
    /// Line and column, both from 1, where they are known.
    pub position: Option<(usize, usize)>,
    /// What was found and what was expected.
    pub problem: String,
}

impl RoleFilesError {
    pub(super) fn unreadable((path, error): (PathBuf, io::Error)) -> Self {
        Self {
            file: path,
            position: None,
            problem: format!("cannot be read: {error}"),
        }
    }

    /// A directory without files. `other` is a file in it whose name does not end in `.json`.
    pub(super) fn none(directory: &Path, other: Option<&Path>) -> Self {
        let step = match other.and_then(Path::file_name) {
            Some(name) => format!(
                "the names of role files must end in .json, unlike {}",
                text::value(&name.to_string_lossy())
            ),
            None => "add one".to_owned(),
        };
        Self {
            file: directory.to_owned(),
            position: None,
            problem: format!("has no role file (*.json); {step}"),
        }
    }

    /// A directory that had files.
    pub(super) fn emptied(directory: &Path) -> Self {
        let problem = r#"no longer has any role files; to remove all roles, write {"Roles": []} to a .json file in it"#;
        Self {
            file: directory.to_owned(),
            position: None,
            problem: problem.to_owned(),
        }
    }
}

impl fmt::Display for RoleFilesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&text::line(&self.file.display().to_string()))?;
        if let Some((line, column)) = self.position {
            write!(f, ":{line}:{column}")?;
        }
        write!(f, ": {}", text::line(&self.problem))
    }
}
