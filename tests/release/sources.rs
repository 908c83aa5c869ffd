//! A copy of the files that scripts read, so that a test can change one.

use std::fs;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use super::repository;

const FILES: [&str; 7] = [
    "Cargo.toml",
    "Cargo.lock",
    "CHANGELOG.md",
    "Dockerfile",
    "action.yml",
    "charts/rolegate/Chart.yaml",
    "charts/rolegate/values.yaml",
];

pub struct Sources(TempDir);

impl Sources {
    pub fn copy() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let scripts = fs::read_dir(repository().join("release")).unwrap();
        let scripts = scripts.map(|entry| format!("release/{}", entry.unwrap().file_name().to_str().unwrap()));
        for file in scripts.chain(FILES.map(str::to_owned)) {
            let to = folder.path().join(&file);
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            fs::copy(repository().join(&file), to).unwrap();
        }
        Self(folder)
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Replaces the only occurrence of a text.
    pub fn edit(&self, file: &str, from: &str, to: &str) {
        let path = self.path().join(file);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{file} has no {from:?}");
        fs::write(path, text.replacen(from, to, 1)).unwrap();
    }

    pub fn script(&self, name: &str) -> Command {
        Command::new(self.path().join("release").join(name))
    }
}
