//! The workflows and the scripts that they call.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::support::tools::{self, Missing};
use super::{fails, repository, succeeds};

fn workflows() -> Vec<PathBuf> {
    let files = fs::read_dir(repository().join(".github/workflows")).unwrap();
    let files: Vec<PathBuf> = files.map(|entry| entry.unwrap().path()).collect();
    assert!(files.len() >= 2, "{files:?}");
    files
}

fn yaml(path: &Path) -> Value {
    serde_saphyr::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

/// The jobs of a workflow.
fn jobs(workflow: &Value) -> impl Iterator<Item = (&String, &Value)> {
    workflow["jobs"].as_object().unwrap().iter()
}

/// The steps of a job.
fn steps(job: &Value) -> impl Iterator<Item = &Value> {
    job["steps"].as_array().into_iter().flatten()
}

/// Whether shellcheck is there; says that tests did not run otherwise.
fn has_shellcheck() -> bool {
    let found = Command::new("shellcheck").arg("--version").output().is_ok();
    if !found {
        Missing::Tool("no shellcheck (Debian: apt-get install shellcheck)".to_owned()).skip("tests of shell scripts");
    }
    found
}

#[test]
fn actionlint_accepts_the_workflows() {
    let tools = match tools::release() {
        Ok(tools) => tools,
        Err(missing) => return missing.skip("tests of the workflows"),
    };
    // It passes the scripts of the workflows to shellcheck.
    if !has_shellcheck() {
        return;
    }
    succeeds(
        Command::new(&tools.actionlint)
            .args(workflows())
            .current_dir(repository()),
    );

    // A workflow that uses the action of this repository, with an input that exists and one that does not.
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join(".github/workflows");
    fs::create_dir_all(&directory).unwrap();
    fs::create_dir(folder.path().join(".git")).unwrap();
    fs::copy(repository().join("action.yml"), folder.path().join("action.yml")).unwrap();
    let lint = |input: &str, script: &str| {
        let text = format!(
            "on: push\njobs:\n  audit:\n    runs-on: ubuntu-24.04\n    steps:\n      - uses: ./\n        with:\n          \
             path: manifests\n          issuer: https://oidc.eks.us-west-2.amazonaws.com/id/EXAMPLE\n          \
             {input}: sarif\n      - run: {script}\n"
        );
        let path = directory.join("audit.yml");
        fs::write(&path, text).unwrap();
        let mut command = Command::new(&tools.actionlint);
        command.arg("-no-color").arg(path).current_dir(folder.path());
        command
    };
    succeeds(&mut lint("format", "ls \"$HOME\""));
    let printed = fails(&mut lint("formats", "ls \"$HOME\""));
    assert!(
        printed.contains("input \"formats\" is not defined in action \"rolegate audit\""),
        "{printed}"
    );
    let printed = fails(&mut lint("format", "ls $HOME"));
    assert!(printed.contains("SC2086"), "{printed}");
}

#[test]
fn shellcheck_accepts_the_scripts() {
    if !has_shellcheck() {
        return;
    }
    let mut scripts = Vec::new();
    for folder in [".ci", "benches", "book", "image", "release"] {
        for entry in fs::read_dir(repository().join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() && fs::read(&path).unwrap().starts_with(b"#!") {
                scripts.push(path);
            }
        }
    }
    assert!(scripts.len() > 10, "{scripts:?}");
    succeeds(Command::new("shellcheck").args(scripts));

    let action = yaml(&repository().join("action.yml"));
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("action.sh");
    for step in action["runs"]["steps"].as_array().unwrap() {
        fs::write(&script, format!("#!/bin/bash\n{}", step["run"].as_str().unwrap())).unwrap();
        succeeds(Command::new("shellcheck").arg(&script));
    }
}

#[test]
fn every_job_ends_in_time_and_states_its_permissions() {
    for path in workflows() {
        let workflow = yaml(&path);
        let everything = workflow["permissions"].as_object().unwrap();
        assert!(everything.values().all(|access| access == "read"), "{everything:?}");
        assert!(workflow["concurrency"]["group"].is_string(), "{}", path.display());
        for (name, job) in jobs(&workflow) {
            let calls_workflow = job["uses"].is_string();
            let minutes = job["timeout-minutes"].as_u64();
            assert!(
                calls_workflow || minutes.is_some_and(|minutes| minutes <= 120),
                "{name}"
            );
            let permissions = job["permissions"].as_object();
            assert!(!everything.is_empty() || permissions.is_some(), "{name}");
            let can = |permission: &str| {
                let found = permissions.and_then(|permissions| permissions.get(permission));
                found.is_some_and(|access| access == "write")
            };
            // Only a job that publishes can write, and no job that runs code of dependencies can write or sign.
            let scripts: String = steps(job).filter_map(|step| step["run"].as_str()).collect();
            assert!(!can("contents") || scripts.contains("gh release create"), "{name}");
            assert!(!can("id-token") || scripts.contains("cosign sign"), "{name}");
            let writes = can("contents") || can("id-token");
            assert!(!(writes && scripts.contains("cargo ")), "{name}");
        }
    }
}

#[test]
fn actions_are_pinned_and_checkouts_keep_no_token() {
    for path in workflows() {
        let workflow = yaml(&path);
        for (name, job) in jobs(&workflow) {
            for step in steps(job) {
                let Some(action) = step["uses"].as_str() else { continue };
                let (_, version) = action.split_once('@').unwrap();
                let is_major = version
                    .strip_prefix('v')
                    .is_some_and(|major| major.parse::<u32>().is_ok());
                let is_commit = version.len() == 40 && version.chars().all(|c| c.is_ascii_hexdigit());
                assert!(is_major || is_commit, "{name}: {action}");
                if action.starts_with("actions/checkout@") {
                    assert_eq!(step["with"]["persist-credentials"], false, "{name}");
                }
            }
        }
    }
}

/// Text of tags, branches and pull requests must not be read as a script.
#[test]
fn scripts_contain_no_expressions() {
    for path in workflows() {
        let workflow = yaml(&path);
        for (name, job) in jobs(&workflow) {
            for script in steps(job).filter_map(|step| step["run"].as_str()) {
                assert!(!script.contains("${{"), "{name}: {script}");
            }
        }
    }
}

#[test]
fn the_release_calls_every_script_and_builds_every_platform() {
    let workflow = yaml(&repository().join(".github/workflows/release.yml"));
    let called: String = jobs(&workflow)
        .flat_map(|(_, job)| steps(job))
        .filter_map(|step| step["run"].as_str())
        .collect();
    for entry in fs::read_dir(repository().join("release")).unwrap() {
        let name = entry.unwrap().file_name().to_str().unwrap().to_owned();
        if name.ends_with(".sh") {
            assert!(called.contains(&format!("release/{name}")), "{name} is not called");
        }
    }
    let matrix = &workflow["jobs"]["programs"]["strategy"]["matrix"]["include"];
    let built: Vec<&str> = matrix
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["platform"].as_str().unwrap())
        .collect();
    assert_eq!(built, super::PLATFORMS);
}

/// The workflow uses the versions of Helm and of Rust that the tests use.
#[test]
fn the_release_uses_the_tested_versions() {
    let text = fs::read_to_string(repository().join(".github/workflows/release.yml")).unwrap();
    let pins = fs::read_to_string(repository().join("tests/e2e/helm/go.mod")).unwrap();
    let helm = pins
        .lines()
        .find_map(|line| line.trim().strip_prefix("helm.sh/helm/v4 "))
        .and_then(|rest| rest.split_whitespace().next())
        .unwrap();
    assert!(text.contains(&format!("version: {helm}\n")), "Helm {helm}");
    let rust = env!("CARGO_PKG_RUST_VERSION");
    assert!(text.contains(&format!("rust:{rust}-bookworm")) && text.contains(&format!("toolchain install {rust} ")));
    let ci = fs::read_to_string(repository().join(".ci/run")).unwrap();
    let install = "cargo-cyclonedx";
    for text in [&text, &ci] {
        let line = text
            .lines()
            .find(|line| line.contains("install") && line.ends_with(install))
            .unwrap();
        assert!(line.contains("--version 0.5.9"), "{line}");
    }
}
