//! The files of a release, made by the scripts of `release/` that the workflow calls, and the workflows themselves.

#![allow(unreachable_pub, reason = "shared with other suites")]

mod archives;
mod bill_of_materials;
mod chart;
mod formula;
mod krew;
mod notes;
mod sources;
#[path = "../support/mod.rs"]
mod support;
mod versions;
mod workflows;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The commit's time in archives.
const EPOCH: &str = "1700000000";

const PLATFORMS: [&str; 5] = [
    "linux-amd64",
    "linux-arm64",
    "darwin-amd64",
    "darwin-arm64",
    "windows-amd64",
];

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A script of `release/`.
fn script(name: &str) -> Command {
    Command::new(repository().join("release").join(name))
}

/// Standard output of a command that succeeds.
fn succeeds(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", printed(&output));
    String::from_utf8(output.stdout).unwrap()
}

/// Everything that a command prints before it fails.
fn fails(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(!output.status.success(), "{command:?} succeeds: {}", printed(&output));
    printed(&output)
}

fn printed(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// A directory with the archives of a release. The program is the one of the tests, behind a script so that archives stay small.
fn packed() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("programs");
    for platform in PLATFORMS {
        let file = match platform {
            "windows-amd64" => "rolegate.exe",
            _ => "rolegate",
        };
        fs::create_dir_all(program.join(platform)).unwrap();
        let content = format!(
            "#!/usr/bin/env bash\n# {platform}\nexec -a \"$0\" {} \"$@\"\n",
            env!("CARGO_BIN_EXE_rolegate")
        );
        // Not executable: artifacts of workflows lose their modes.
        fs::write(program.join(platform).join(file), content).unwrap();
    }
    succeeds(
        script("archives.sh")
            .arg(VERSION)
            .arg(&program)
            .arg(folder.path().join("dist"))
            .env("SOURCE_DATE_EPOCH", EPOCH),
    );
    folder
}

fn archive(folder: &TempDir, platform: &str) -> PathBuf {
    let extension = if platform.starts_with("windows") {
        "zip"
    } else {
        "tar.gz"
    };
    folder
        .path()
        .join(format!("dist/rolegate-{VERSION}-{platform}.{extension}"))
}
