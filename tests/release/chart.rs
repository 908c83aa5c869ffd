//! The chart of a release: its image is set, by digest.

use std::process::Command;

use super::support::tools;
use super::{VERSION, fails, script, succeeds};

const DIGEST: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

#[test]
fn the_packaged_chart_names_its_image_by_digest() {
    let helm = match tools::helm() {
        Ok(helm) => helm,
        Err(missing) => return missing.skip("tests of the packaged chart"),
    };
    let folder = tempfile::tempdir().unwrap();
    let package = |image: &str, digest: &str| {
        let mut command = script("chart.sh");
        command.args([image, digest]).arg(folder.path()).env("HELM", &helm);
        command
    };
    succeeds(&mut package("registry.example.com:5000/owner/rolegate", DIGEST));
    let chart = folder.path().join(format!("rolegate-{VERSION}.tgz"));
    let rendered = succeeds(Command::new(&helm).args(["template", "rolegate"]).arg(&chart).args([
        "--namespace",
        "rolegate",
        "--show-only",
        "templates/deployment.yaml",
    ]));
    let image = format!("registry.example.com:5000/owner/rolegate@{DIGEST}");
    let images: Vec<&str> = rendered
        .lines()
        .filter_map(|line| line.trim().strip_prefix("image: "))
        .map(|image| image.trim_matches('"'))
        .collect();
    assert_eq!(images, [image.as_str()]);

    let printed = fails(&mut package("registry.example.com/owner/rolegate", "sha256:0123"));
    assert!(printed.contains("sha256:0123 is not a digest"), "{printed}");
    for image in ["owner/rolegate:0.1.0", "owner/rolegate@sha256:0123"] {
        let printed = fails(&mut package(image, DIGEST));
        assert!(printed.contains("must be a repository, without a tag"), "{printed}");
    }
}
