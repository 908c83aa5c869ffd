//! The chart as it is published: packaged, pushed to an OCI registry, and installed from there.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::json;

use crate::{NAMESPACE, chart, folder, support};

#[test]
fn what_is_pulled_from_a_registry_is_what_was_pushed_and_renders_the_same() {
    let Some(chart) = chart() else { return };
    let scratch = tempfile::tempdir().unwrap();
    let registry = match support::tools::registry() {
        Ok(program) => Registry::start(&program, scratch.path()),
        Err(missing) => return missing.skip("the test of the chart in an OCI registry"),
    };
    let ours = folder();
    let (packages, pulled) = (scratch.path().join("packages"), scratch.path().join("pulled"));
    let file = format!("rolegate-{}.tgz", env!("CARGO_PKG_VERSION"));
    let package = packages.join(&file);
    let repository = format!("oci://{}/charts", registry.address);
    let published = format!("{repository}/rolegate");

    let package_folder = packages.to_str().unwrap();
    chart
        .run(&["package", ours.to_str().unwrap(), "--destination", package_folder])
        .unwrap();
    chart
        .run(&["push", package.to_str().unwrap(), &repository, "--plain-http"])
        .unwrap();
    fs::create_dir(&pulled).unwrap();
    let version = ["--version", env!("CARGO_PKG_VERSION"), "--plain-http"];
    let pull = ["pull", &published, "--destination", pulled.to_str().unwrap()];
    chart.run(&[&pull, version.as_slice()].concat()).unwrap();
    assert!(
        fs::read(&package).unwrap() == fs::read(pulled.join(&file)).unwrap(),
        "the registry returned another package"
    );

    let release = ["template", "rolegate"];
    let namespace = ["--namespace", NAMESPACE];
    let from_folder = [release.as_slice(), &[ours.to_str().unwrap()], &namespace].concat();
    let from_registry = [release.as_slice(), &[&published], &namespace, &version].concat();
    for (name, values) in crate::documented() {
        let expected = chart.helm(&from_folder, &values).unwrap();
        assert_eq!(chart.helm(&from_registry, &values).unwrap(), expected, "{name}");
    }
    // The schema is part of the package.
    let error = chart.helm(&from_registry, &json!({"replicas": 3})).unwrap_err();
    assert!(error.contains("'replicas' not allowed"), "{error}");
    // The examples are not.
    let entries = Command::new("tar").arg("-tzf").arg(&package).output().unwrap();
    let entries = String::from_utf8(entries.stdout).unwrap();
    assert!(entries.contains("rolegate/values.schema.json"), "{entries}");
    assert!(!entries.contains("rolegate/examples"), "{entries}");
}

/// A registry on a free port of loopback, without TLS. Dropping it ends it.
struct Registry {
    process: Child,
    address: String,
}

impl Registry {
    fn start(program: &Path, scratch: &Path) -> Self {
        let storage = scratch.join("registry");
        let settings = json!({
            "version": "0.1",
            "storage": {"filesystem": {"rootdirectory": storage}},
            "http": {"addr": "127.0.0.1:0"},
        });
        // JSON is YAML.
        let file = scratch.join("registry.yaml");
        fs::write(&file, settings.to_string()).unwrap();
        let mut process = Command::new(program)
            .arg("serve")
            .arg(&file)
            .env("OTEL_TRACES_EXPORTER", "none")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(process.stderr.take().unwrap());
        let mut seen = String::new();
        let address = loop {
            let mut line = String::new();
            let length = log.read_line(&mut line).unwrap();
            assert!(length > 0, "the registry ended:\n{seen}");
            if let Some((_, rest)) = line.split_once("listening on ") {
                break rest
                    .chars()
                    .take_while(|c| c.is_ascii_digit() || ".:".contains(*c))
                    .collect();
            }
            seen += &line;
        };
        // Else the registry blocks once the pipe is full.
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        Self { process, address }
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
