//! Custom resource definitions that other projects publish, on the API server while a scenario needs them.

use std::fs;
use std::path::{Path, PathBuf};

use rolegate::workloads::ResourceType;

use crate::cluster::ExclusiveCluster;

/// Installed definitions; deleted when dropped, with their objects.
pub(crate) struct Crds<'c> {
    cluster: &'c ExclusiveCluster<'c>,
    files: Vec<PathBuf>,
}

impl<'c> Crds<'c> {
    pub(crate) const fn new(cluster: &'c ExclusiveCluster<'c>) -> Self {
        Self {
            cluster,
            files: Vec::new(),
        }
    }

    /// Installs what folders define of these resources, and returns when objects can be created. Versions of objects are converted
    /// without the webhook of their project, which does not run.
    pub(crate) fn install<'r>(
        &mut self,
        folders: &[PathBuf],
        resources: impl Iterator<Item = &'r ResourceType> + Clone,
    ) {
        let mut files = Vec::new();
        for folder in folders {
            let found = definitions(folder, resources.clone());
            assert!(!found.is_empty(), "no CRD of the table in {}", folder.display());
            files.extend(found);
        }
        let flags = flags(&files);
        self.files.extend(files);
        let with_files = |args: &[&'static str]| -> Vec<String> {
            let args = args.iter().map(|arg| (*arg).to_owned());
            args.chain(flags.iter().cloned()).collect()
        };
        let kubectl = |args: &[String]| {
            let args: Vec<&str> = args.iter().map(String::as_str).collect();
            self.cluster.kubectl(&args)
        };
        // Larger than the annotation that a client-side apply writes.
        kubectl(&with_files(&["apply", "--server-side"])).ok();
        let crds = kubectl(&with_files(&["get", "-o", "json"])).json();
        let one = [crds.clone()];
        for crd in crds["items"].as_array().map_or(&one[..], Vec::as_slice) {
            let name = crd["metadata"]["name"].as_str().expect("a name");
            if crd["spec"]["conversion"]["strategy"] == "Webhook" {
                let none = r#"[{"op": "replace", "path": "/spec/conversion", "value": {"strategy": "None"}}]"#;
                self.cluster
                    .kubectl(&["patch", "customresourcedefinition", name, "--type=json", "-p", none])
                    .ok();
            }
        }
        kubectl(&with_files(&["wait", "--for=condition=Established", "--timeout=120s"])).ok();
    }
}

impl Drop for Crds<'_> {
    fn drop(&mut self) {
        if self.files.is_empty() {
            return;
        }
        let flags = flags(&self.files);
        let flags = flags.iter().map(String::as_str);
        let delete = ["delete", "--ignore-not-found", "--wait=false"].into_iter();
        self.cluster.kubectl(&delete.chain(flags).collect::<Vec<_>>());
    }
}

/// Files as arguments of kubectl.
fn flags(files: &[PathBuf]) -> Vec<String> {
    let files = files.iter();
    files.map(|file| format!("--filename={}", file.display())).collect()
}

/// The files of a folder that define one of these resources.
fn definitions<'r>(folder: &Path, resources: impl Iterator<Item = &'r ResourceType> + Clone) -> Vec<PathBuf> {
    let defines = |text: &str| {
        let has = |key: &str, value: &str| {
            text.lines().any(|line| {
                let written = line.trim().strip_prefix(key).and_then(|rest| rest.strip_prefix(": "));
                written.is_some_and(|written| written.trim_matches('"') == value)
            })
        };
        has("kind", "CustomResourceDefinition")
            && resources
                .clone()
                .any(|resource| has("group", &resource.group) && has("plural", &resource.plural))
    };
    let is_yaml = |path: &PathBuf| {
        path.extension()
            .is_some_and(|extension| extension == "yaml" || extension == "yml")
    };
    let mut files: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.unwrap().path())
        .filter(is_yaml)
        .filter(|path| fs::read_to_string(path).is_ok_and(|text| defines(&text)))
        .collect();
    files.sort();
    files
}
