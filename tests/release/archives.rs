//! Archives of the program, and their checksums.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use super::support::tools;
use super::{PLATFORMS, VERSION, archive, fails, packed, repository, script, succeeds};

/// The content of each archive: types and names.
fn content(archive: &Path) -> BTreeSet<String> {
    if archive.extension().is_some_and(|extension| extension == "zip") {
        let listed = succeeds(Command::new("python3").args(["-m", "zipfile", "-l"]).arg(archive));
        let names = listed.lines().skip(1).filter_map(|line| line.split_whitespace().next());
        let files = names.filter(|name| !name.ends_with('/'));
        return files.map(|name| format!("- {name}")).collect();
    }
    let listed = succeeds(
        Command::new("tar")
            .arg("--list")
            .arg("--verbose")
            .arg("--file")
            .arg(archive),
    );
    let entries = listed
        .lines()
        .map(|line| (&line[..10], line.split_whitespace().last().unwrap()));
    entries
        .filter(|(mode, _)| !mode.starts_with('d'))
        .map(|(mode, name)| {
            let is_program = mode.starts_with("-rwxr-xr-x");
            assert!(is_program || mode == "-rw-r--r--", "{mode} {name}");
            format!("{} {name}", if is_program { "x" } else { "-" })
        })
        .collect()
}

#[test]
fn each_archive_has_the_program_the_plugin_the_license_and_completions() {
    let folder = packed();
    let platforms = fs::read_to_string(repository().join("release/platforms")).unwrap();
    assert_eq!(platforms.lines().collect::<Vec<_>>(), PLATFORMS);
    for platform in PLATFORMS {
        let (mode, program, plugin) = if platform.starts_with("windows") {
            ("-", "rolegate.exe", "kubectl-rolegate.cmd")
        } else {
            ("x", "rolegate", "kubectl-rolegate")
        };
        let mut expected = BTreeSet::new();
        if !platform.starts_with("windows") {
            expected.insert(format!("x rolegate-{VERSION}-{platform}/kubectl_complete-rolegate"));
        }
        for (mode, file) in [
            (mode, program),
            (mode, plugin),
            ("-", "LICENSE"),
            ("-", "README.md"),
            ("-", "CHANGELOG.md"),
            ("-", "completions/rolegate.bash"),
            ("-", "completions/_rolegate"),
            ("-", "completions/rolegate.fish"),
            ("-", "completions/_rolegate.ps1"),
        ] {
            expected.insert(format!("{mode} rolegate-{VERSION}-{platform}/{file}"));
        }
        assert_eq!(content(&archive(&folder, platform)), expected, "{platform}");
    }
}

#[test]
fn what_is_unpacked_runs_also_as_a_plugin_of_kubectl() {
    let folder = packed();
    succeeds(
        Command::new("tar")
            .arg("--extract")
            .arg("--file")
            .arg(archive(&folder, "linux-amd64"))
            .current_dir(folder.path()),
    );
    let unpacked = folder.path().join(format!("rolegate-{VERSION}-linux-amd64"));
    for program in ["rolegate", "kubectl-rolegate"] {
        let printed = succeeds(Command::new(unpacked.join(program)).arg("--version"));
        assert!(printed.starts_with(&format!("rolegate {VERSION}")), "{printed}");
    }
    for (file, expected) in [
        ("rolegate.bash", "complete -F _rolegate"),
        ("_rolegate", "#compdef rolegate"),
        ("rolegate.fish", "complete -c rolegate"),
        ("_rolegate.ps1", "Register-ArgumentCompleter"),
    ] {
        let text = fs::read_to_string(unpacked.join("completions").join(file)).unwrap();
        assert!(text.contains(expected), "{file}");
    }
    let zip = archive(&folder, "windows-amd64");
    let windows = folder.path().join("windows");
    succeeds(
        Command::new("python3")
            .args(["-m", "zipfile", "-e"])
            .arg(zip)
            .arg(&windows),
    );
    let plugin = windows.join(format!("rolegate-{VERSION}-windows-amd64/kubectl-rolegate.cmd"));
    assert_eq!(fs::read_to_string(plugin).unwrap(), "@\"%~dp0rolegate.exe\" %*\r\n");
}

/// As a shell asks kubectl for completions.
#[test]
fn kubectl_completes_the_plugin_of_an_unpacked_archive() {
    let kubectl = match tools::kubectl() {
        Ok(kubectl) => kubectl,
        Err(missing) => return missing.skip("the test of completions by kubectl"),
    };
    let folder = packed();
    succeeds(
        Command::new("tar")
            .arg("--extract")
            .arg("--file")
            .arg(archive(&folder, "linux-amd64"))
            .current_dir(folder.path()),
    );
    let unpacked = folder.path().join(format!("rolegate-{VERSION}-linux-amd64"));
    let path = format!("{}:{}", unpacked.display(), std::env::var("PATH").unwrap());
    let completed = |words: &[&str]| {
        let mut command = Command::new(&kubectl);
        command.args(["__complete", "rolegate"]).args(words).env("PATH", &path);
        command.env("HOME", folder.path()).env_remove("KUBECONFIG");
        let printed = succeeds(&mut command);
        // The last line is for the shell.
        let lines = printed.lines().take_while(|line| !line.starts_with(':'));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(completed(&["aud"]), ["audit"]);
    assert_eq!(completed(&["check", "--output", ""]), ["text", "json", "yaml"]);
    assert_eq!(completed(&["check", "--output=js"]), ["json"]);
    assert_eq!(completed(&["audit", "--kubec"]), ["--kubeconfig"]);
}

#[test]
fn the_same_programs_lead_to_the_same_archives() {
    let (one, other) = (packed(), packed());
    for platform in PLATFORMS {
        let same = fs::read(archive(&one, platform)).unwrap() == fs::read(archive(&other, platform)).unwrap();
        assert!(same, "{platform}");
    }
}

#[test]
fn a_missing_program_is_an_error() {
    let folder = packed();
    fs::remove_file(folder.path().join("programs/darwin-arm64/rolegate")).unwrap();
    let printed = fails(
        script("archives.sh")
            .arg(VERSION)
            .arg(folder.path().join("programs"))
            .arg(folder.path().join("again")),
    );
    assert!(printed.contains("darwin-arm64/rolegate"), "{printed}");
}

#[test]
fn checksums_cover_every_file_and_detect_a_change() {
    let folder = packed();
    let dist = folder.path().join("dist");
    let sums = || succeeds(script("checksums.sh").arg(&dist));
    sums();
    let first = fs::read_to_string(dist.join("SHA256SUMS")).unwrap();
    let names: Vec<&str> = first.lines().map(|line| line.split_once("  ").unwrap().1).collect();
    let mut expected: Vec<String> = PLATFORMS
        .map(|platform| {
            archive(&folder, platform)
                .file_name()
                .unwrap()
                .to_str()
                .unwrap()
                .to_owned()
        })
        .to_vec();
    expected.sort();
    assert_eq!(names, expected);
    // The file with the sums does not list itself.
    sums();
    assert_eq!(fs::read_to_string(dist.join("SHA256SUMS")).unwrap(), first);

    let check = || {
        let mut command = Command::new("sha256sum");
        command.args(["--check", "--strict", "SHA256SUMS"]).current_dir(&dist);
        command
    };
    succeeds(&mut check());
    fs::write(archive(&folder, "linux-arm64"), "another").unwrap();
    assert!(fails(&mut check()).contains("linux-arm64.tar.gz: FAILED"));
}
