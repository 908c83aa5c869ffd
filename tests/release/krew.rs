//! The manifest for krew: krew's own validator reads it, and krew installs each archive from it.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use tempfile::TempDir;

use super::support::tools::{self, ReleaseTools};
use super::{PLATFORMS, VERSION, archive, fails, packed, script, succeeds};

const REPOSITORY: &str = "https://example.com/owner/rolegate";

/// Each platform is downloaded once; a few more in case krew tries again.
const MOST_REQUESTS: usize = 20;

fn tools() -> Option<ReleaseTools> {
    tools::release()
        .inspect_err(|missing| missing.skip("tests of the krew manifest"))
        .ok()
}

/// Serves the files of a directory on loopback, a bounded number of times. Returns the URL.
fn serve(directory: PathBuf) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for connection in listener.incoming().take(MOST_REQUESTS) {
            let Ok(mut connection) = connection else { continue };
            let mut request = Vec::new();
            let mut byte = [0];
            while !request.ends_with(b"\r\n\r\n") && connection.read(&mut byte).is_ok_and(|read| read == 1) {
                request.push(byte[0]);
            }
            let request = String::from_utf8_lossy(&request).into_owned();
            let name = request
                .split_whitespace()
                .nth(1)
                .unwrap_or_default()
                .trim_start_matches('/');
            let answer = match fs::read(directory.join(name)) {
                Ok(content) => {
                    let mut answer = format!(
                        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                        content.len()
                    )
                    .into_bytes();
                    answer.extend(content);
                    answer
                }
                Err(_) => b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_vec(),
            };
            let _ = connection.write_all(&answer);
        }
    });
    url
}

/// The manifest, under the name that krew requires.
fn manifest(folder: &TempDir, downloads: &str) -> PathBuf {
    let text = succeeds(
        script("krew.sh")
            .args([VERSION, REPOSITORY, downloads])
            .arg(folder.path().join("dist")),
    );
    let path = folder.path().join("rolegate.yaml");
    fs::write(&path, text).unwrap();
    path
}

/// A directory with a `kubectl` whose only plugin is krew: the validator runs `kubectl krew install`.
fn kubectl(folder: &TempDir, krew: &Path) -> PathBuf {
    let bin = folder.path().join("bin");
    fs::create_dir(&bin).unwrap();
    let kubectl = bin.join("kubectl");
    let text = format!(
        "#!/bin/sh\n[ \"$1\" = krew ] || exit 1\nshift\nexec {} \"$@\"\n",
        krew.display()
    );
    fs::write(&kubectl, text).unwrap();
    fs::set_permissions(kubectl, fs::Permissions::from_mode(0o755)).unwrap();
    bin
}

/// The validator, which installs the archive of each platform.
fn validate(tools: &ReleaseTools, folder: &TempDir, manifest: &Path) -> Command {
    let path = kubectl(folder, &tools.krew).display().to_string() + ":" + &std::env::var("PATH").unwrap();
    let mut command = Command::new(&tools.validate_krew_manifest);
    command.arg("-manifest").arg(manifest).env("PATH", path);
    command
}

#[test]
fn krew_installs_every_platform_from_the_manifest() {
    let Some(tools) = tools() else { return };
    let folder = packed();
    let downloads = serve(folder.path().join("dist"));
    let manifest = manifest(&folder, &downloads);
    let output = validate(&tools, &folder, &manifest).output().unwrap();
    let printed = super::printed(&output);
    assert!(output.status.success(), "{printed}");
    let all = format!("all {} spec.platforms installed fine", PLATFORMS.len());
    assert!(printed.contains(&all), "{printed}");
}

#[test]
fn the_installed_plugin_runs() {
    let Some(tools) = tools() else { return };
    let folder = packed();
    let manifest = manifest(&folder, "https://example.com");
    let root = folder.path().join("krew");
    succeeds(
        Command::new(&tools.krew)
            .arg("install")
            .arg("--manifest")
            .arg(manifest)
            .arg("--archive")
            .arg(archive(&folder, "linux-amd64"))
            .env("KREW_ROOT", &root)
            .env("KREW_OS", "linux")
            .env("KREW_ARCH", "amd64"),
    );
    let printed = succeeds(Command::new(root.join("bin/kubectl-rolegate")).arg("--version"));
    assert!(printed.starts_with(&format!("rolegate {VERSION}")), "{printed}");
}

#[test]
fn another_archive_than_that_of_the_manifest_is_not_installed() {
    let Some(tools) = tools() else { return };
    let folder = packed();
    let downloads = serve(folder.path().join("dist"));
    let manifest = manifest(&folder, &downloads);
    fs::copy(archive(&folder, "linux-amd64"), archive(&folder, "darwin-arm64")).unwrap();
    let printed = fails(&mut validate(&tools, &folder, &manifest));
    assert!(printed.contains("checksum does not match"), "{printed}");
}
