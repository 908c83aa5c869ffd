//! The bundled example, compiled into the program: its files, and what each of its ServiceAccounts shows.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde_json::Value;

/// The issuer of the example's cluster.
pub(super) const ISSUER: &str = "https://oidc.eks.us-west-2.amazonaws.com/id/EXAMPLED539D4633E53DE1B71EXAMPLE";

/// The review of a Job's pod, as an API server posts it.
const REVIEW: &str = include_str!("../../../examples/standalone/review.json");

macro_rules! example_files {
    ($($path:literal),* $(,)?) => {
        [$(($path, include_str!(concat!("../../../examples/standalone/", $path)))),*]
    };
}

/// What `serve --standalone` reads.
const FILES: [(&str, &str); 8] = example_files![
    "serviceaccounts.yaml",
    "roles/111122223333/my-jobs-role.json",
    "roles/111122223333/ack-s3-controller.json",
    "roles/111122223333/ecs-task-role.json",
    "roles/111122223333/api.json",
    "roles/111122223333/data-lake.json",
    "roles/111122223333/model-training.json",
    "roles/111122223333/finance-export.json",
];

/// One ServiceAccount of the example.
#[derive(Debug)]
pub(super) struct Scenario {
    pub(super) namespace: &'static str,
    pub(super) service_account: &'static str,
    /// The role's name.
    pub(super) role: Option<&'static str>,
    /// What it shows.
    pub(super) description: &'static str,
    pub(super) expected: Expected,
}

/// The expected response to a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expected {
    /// Admitted with its identity.
    Injected,
    /// Admitted with its identity and a warning.
    InjectedWithWarning,
    /// Refused.
    Refused,
    /// Admitted unchanged.
    Unchanged,
}

impl Expected {
    pub(super) const fn holds(self, allowed: bool, changed: bool, warnings: usize) -> bool {
        match self {
            Self::Injected => allowed && changed && warnings == 0,
            Self::InjectedWithWarning => allowed && changed && warnings > 0,
            Self::Refused => !allowed,
            Self::Unchanged => allowed && !changed && warnings == 0,
        }
    }
}

/// In the order in which they are shown.
pub(super) const SCENARIOS: [Scenario; 8] = [
    Scenario {
        namespace: "my-jobs",
        service_account: "default",
        role: Some("my-jobs-role"),
        description: "The role trusts this ServiceAccount (:sub) and this audience (:aud).",
        expected: Expected::Injected,
    },
    Scenario {
        namespace: "ack-system",
        service_account: "ack-s3-controller",
        role: Some("ack-s3-controller"),
        description: "The role trusts this ServiceAccount (:sub) and requires no audience.",
        expected: Expected::Injected,
    },
    Scenario {
        namespace: "reports",
        service_account: "report",
        role: Some("ecs-task-role"),
        description: "The role trusts ECS tasks only.",
        expected: Expected::Refused,
    },
    Scenario {
        namespace: "staging",
        service_account: "api",
        role: Some("api"),
        description: "The role trusts the ServiceAccount of this name in another namespace.",
        expected: Expected::Refused,
    },
    Scenario {
        namespace: "data",
        service_account: "etl",
        role: Some("data-lake"),
        description: "The role is meant to trust every ServiceAccount of the namespace, but its * is taken literally.",
        expected: Expected::Refused,
    },
    Scenario {
        namespace: "ml",
        service_account: "trainer",
        role: Some("model-training"),
        description: "The role trusts the OIDC provider of another cluster.",
        expected: Expected::Refused,
    },
    Scenario {
        namespace: "finance",
        service_account: "exporter",
        role: Some("finance-export"),
        description: "The role trusts this ServiceAccount from one network only, which only STS knows.",
        expected: Expected::InjectedWithWarning,
    },
    Scenario {
        namespace: "web",
        service_account: "default",
        role: None,
        description: "The ServiceAccount has no role annotation.",
        expected: Expected::Unchanged,
    },
];

/// The review of a pod of this ServiceAccount.
pub(super) fn review(scenario: &Scenario) -> Result<Value> {
    let mut review: Value = serde_json::from_str(REVIEW).context("review.json")?;
    for (place, text) in [
        ("/request/namespace", scenario.namespace),
        ("/request/object/metadata/namespace", scenario.namespace),
        ("/request/object/spec/serviceAccountName", scenario.service_account),
        ("/request/object/spec/serviceAccount", scenario.service_account),
    ] {
        *review
            .pointer_mut(place)
            .with_context(|| format!("review.json has no {place}"))? = text.into();
    }
    Ok(review)
}

/// The example's files in a temporary directory, which is removed on drop.
pub(super) struct Unpacked {
    directory: PathBuf,
}

impl Unpacked {
    pub(super) fn new() -> io::Result<Self> {
        let name = format!("rolegate-demo-{}-{:08x}", std::process::id(), fastrand::u32(..));
        let directory = std::env::temp_dir().join(name);
        // Not `create_dir_all`: an existing directory belongs to something else.
        fs::create_dir(&directory)?;
        let unpacked = Self { directory };
        for (path, text) in FILES {
            let file = unpacked.directory.join(path);
            if let Some(parent) = file.parent() {
                fs::create_dir_all(parent)?;
            }
            fs::write(file, text)?;
        }
        Ok(unpacked)
    }

    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }
}

impl Drop for Unpacked {
    fn drop(&mut self) {
        // Some kilobytes in the directory for temporary files may be left.
        let _ = fs::remove_dir_all(&self.directory);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every file below a directory.
    fn shipped(directory: &Path, files: &mut Vec<String>) {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                shipped(&path, files);
            } else {
                files.push(path.to_str().unwrap().to_owned());
            }
        }
    }

    #[test]
    fn the_program_bundles_what_the_repository_ships() {
        let root = format!("{}/examples/standalone/", env!("CARGO_MANIFEST_DIR"));
        let mut files = Vec::new();
        shipped(Path::new(&root), &mut files);
        let mut shipped: Vec<&str> = files.iter().map(|file| file.strip_prefix(&root).unwrap()).collect();
        shipped.retain(|file| !["README.md", "review.json"].contains(file));
        shipped.sort_unstable();
        let mut bundled: Vec<&str> = FILES.iter().map(|(path, _)| *path).collect();
        bundled.sort_unstable();
        assert_eq!(bundled, shipped);
    }

    #[test]
    fn unpacked_files_are_removed() {
        let unpacked = Unpacked::new().unwrap();
        let directory = unpacked.directory().to_owned();
        assert!(directory.join("roles/111122223333/api.json").is_file());
        drop(unpacked);
        assert!(!directory.exists());
    }
}
