//! The chart of a release: its image is set, by digest, and its home, which the runbooks of its alerts are below.

use std::process::Command;

use super::support::tools;
use super::{VERSION, fails, script, succeeds};

const HOME: &str = "https://git.example.com/owner/rolegate";

const DIGEST: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

#[test]
fn the_packaged_chart_names_its_image_by_digest() {
    let helm = match tools::helm() {
        Ok(helm) => helm,
        Err(missing) => return missing.skip("tests of the packaged chart"),
    };
    let folder = tempfile::tempdir().unwrap();
    let package_with_home = |image: &str, digest: &str, home: &str| {
        let mut command = script("chart.sh");
        command
            .args([image, digest, home])
            .arg(folder.path())
            .env("HELM", &helm);
        command
    };
    let package = |image: &str, digest: &str| package_with_home(image, digest, HOME);
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

    let shown = succeeds(Command::new(&helm).args(["show", "chart"]).arg(&chart));
    let lines: Vec<&str> = shown.lines().collect();
    assert!(lines.contains(&format!("home: {HOME}").as_str()), "{shown}");
    assert!(lines.contains(&format!("- {HOME}").as_str()), "{shown}");
    let rendered = succeeds(Command::new(&helm).args(["template", "rolegate"]).arg(&chart).args([
        "--set=metrics.prometheusRule.enabled=true",
        "--show-only=templates/metrics/prometheusrule.yaml",
    ]));
    let alerts = rendered.lines().filter(|line| line.contains("- alert: ")).count();
    let runbook = format!("runbook_url: {HOME}/blob/v{VERSION}/docs/runbooks.md#rolegate");
    let runbooks = rendered
        .lines()
        .filter(|line| line.trim().starts_with(&runbook))
        .count();
    assert!(alerts > 0 && runbooks == alerts, "{runbooks} of {alerts}: {rendered}");

    let printed = fails(&mut package_with_home(
        "registry.example.com/owner/rolegate",
        DIGEST,
        "owner/rolegate",
    ));
    assert!(
        printed.contains("owner/rolegate is not the URL of a repository"),
        "{printed}"
    );
    let printed = fails(&mut package("registry.example.com/owner/rolegate", "sha256:0123"));
    assert!(printed.contains("sha256:0123 is not a digest"), "{printed}");
    for image in ["owner/rolegate:0.1.0", "owner/rolegate@sha256:0123"] {
        let printed = fails(&mut package(image, DIGEST));
        assert!(printed.contains("must be a repository, without a tag"), "{printed}");
    }
}
