//! `rolegate certs`.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::rolegate;

fn modes(directory: &Path) -> Vec<(String, u32)> {
    let mut modes: Vec<(String, u32)> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            (
                entry.file_name().into_string().unwrap(),
                entry.metadata().unwrap().permissions().mode() & 0o777,
            )
        })
        .collect();
    modes.sort();
    modes
}

#[test]
fn keys_are_for_their_owner_only() {
    let directory = tempfile::tempdir().unwrap();
    let certs = directory.path().join("a/certs");
    let ran = rolegate(&[
        "certs",
        "--dir",
        certs.to_str().unwrap(),
        "--dns-name",
        "rolegate.example.com",
        "--ip",
        "10.0.0.1",
    ]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    let umasked = modes(&certs);
    let names: Vec<&str> = umasked.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["ca.crt", "ca.key", "tls.crt", "tls.key"]);
    for (name, mode) in &umasked {
        assert!(!name.ends_with(".key") || *mode == 0o600, "{name}: {mode:o}");
    }
    for word in [
        "rolegate.example.com",
        "10.0.0.1",
        "localhost",
        "::1",
        "--tls-cert",
        "tls.key",
    ] {
        assert!(ran.out.contains(word), "{word}: {}", ran.out);
    }
}

#[test]
fn nothing_is_overwritten_unless_forced() {
    let directory = tempfile::tempdir().unwrap();
    let dir = directory.path().to_str().unwrap();
    fs::write(directory.path().join("tls.key"), "mine").unwrap();
    let ran = rolegate(&["certs", "--dir", dir]);
    assert_eq!((ran.code, ran.out.as_str()), (2, ""));
    assert!(
        ran.err.contains("tls.key exists") && ran.err.contains("--force"),
        "{}",
        ran.err
    );
    assert_eq!(modes(directory.path()).len(), 1, "no other file is written");
    let ran = rolegate(&["certs", "--dir", dir, "--force"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(
        fs::read_to_string(directory.path().join("tls.key"))
            .unwrap()
            .contains("PRIVATE KEY")
    );
    assert!(modes(directory.path()).contains(&("tls.key".to_owned(), 0o600)));
}

#[test]
fn an_invalid_name_is_a_usage_error() {
    for (flag, value, word) in [
        ("--dns-name", "10.0.0.1", "--ip"),
        ("--dns-name", "a b", "DNS name"),
        ("--ip", "localhost", "IP address"),
    ] {
        let ran = rolegate(&["certs", flag, value]);
        assert_eq!(ran.code, 2);
        assert!(ran.err.contains(flag) && ran.err.contains(word), "{}", ran.err);
    }
}
