//! Which image the pods run, and with which secrets it is pulled.

use serde_json::json;

use crate::{IMAGE, NAMESPACE, chart, documented, folder, for_each_documented};

#[test]
fn an_image_is_required_and_the_error_says_how_to_get_one() {
    let Some(chart) = chart() else { return };
    let path = folder();
    let template = ["template", "rolegate", path.to_str().unwrap(), "--namespace", NAMESPACE];
    for values in [
        json!({}),
        json!({"image": {"tag": "1.2.3"}}),
        json!({"test": {"enabled": false}}),
    ] {
        let error = chart
            .helm_without_image(&template, &values)
            .expect_err("it rendered without an image");
        for part in [
            "image.repository is required",
            "docs/image.md",
            "--set image.repository=",
        ] {
            assert!(error.contains(part), "{values}: no {part:?} in {error}");
        }
    }
    for (name, values) in documented() {
        if name.ends_with(".yaml") {
            let rendered = chart.helm_without_image(&template, &values);
            assert!(rendered.is_ok(), "{name}: {rendered:?}");
        }
    }
    let page = folder().join("../../docs/image.md");
    assert!(page.is_file(), "the error names {}", page.display());
}

#[test]
fn the_image_is_named_by_tag_or_digest() {
    let Some(chart) = chart() else { return };
    let digest = format!("sha256:{}", "0".repeat(64));
    let cases = [
        (json!({}), format!("{IMAGE}:{}", env!("CARGO_PKG_VERSION"))),
        (json!({"tag": "1.2.3"}), format!("{IMAGE}:1.2.3")),
        (
            json!({"repository": "images.example.com:5000/a/b", "tag": "x"}),
            "images.example.com:5000/a/b:x".to_owned(),
        ),
        (json!({"tag": "1.2.3", "digest": digest}), format!("{IMAGE}@{digest}")),
    ];
    for (image, expected) in cases {
        let rendered = chart.render(&json!({"image": image}));
        assert_eq!(rendered.container()["image"], expected);
        for pod in rendered.of_kind("Pod") {
            assert_eq!(pod["spec"]["containers"][0]["image"], expected);
        }
    }
    let version = crate::read("Chart.yaml");
    assert!(version.contains(&format!("appVersion: {}", env!("CARGO_PKG_VERSION"))));
}

#[test]
fn a_global_registry_replaces_that_of_the_image() {
    let Some(chart) = chart() else { return };
    let cases = [
        ("", "images.example.com/a/rolegate", "images.example.com/a/rolegate"),
        (
            "mirror.example.com",
            "images.example.com/a/rolegate",
            "mirror.example.com/a/rolegate",
        ),
        (
            "mirror.example.com:5000",
            "images.example.com:443/rolegate",
            "mirror.example.com:5000/rolegate",
        ),
        (
            "mirror.example.com/cache",
            "localhost/rolegate",
            "mirror.example.com/cache/rolegate",
        ),
        // The first part is not a registry.
        (
            "mirror.example.com",
            "security/rolegate",
            "mirror.example.com/security/rolegate",
        ),
        ("mirror.example.com", "rolegate", "mirror.example.com/rolegate"),
    ];
    for (registry, repository, expected) in cases {
        let image = json!({"repository": repository, "tag": "x"});
        let rendered = chart.render(&json!({"global": {"imageRegistry": registry}, "image": image}));
        assert_eq!(rendered.container()["image"], format!("{expected}:x"));
        assert_eq!(
            rendered.of_kind("Pod")[0]["spec"]["containers"][0]["image"],
            format!("{expected}:x")
        );
    }
}

#[test]
fn secrets_of_the_chart_and_of_its_parent_pull_the_image() {
    let Some(chart) = chart() else { return };
    let cases = [
        (json!([]), json!([]), json!(null)),
        (json!([]), json!([{"name": "a"}]), json!([{"name": "a"}])),
        (json!(["a"]), json!([]), json!([{"name": "a"}])),
        (
            json!([{"name": "a"}, "b"]),
            json!([{"name": "c"}, {"name": "b"}]),
            json!([{"name": "a"}, {"name": "b"}, {"name": "c"}]),
        ),
    ];
    for (global, own, expected) in cases {
        let rendered = chart.render(&json!({"global": {"imagePullSecrets": global}, "imagePullSecrets": own}));
        for pod in [rendered.pod(), &rendered.of_kind("Pod")[0]["spec"]] {
            assert_eq!(pod["imagePullSecrets"], expected, "{global} {own}");
        }
    }
}

#[test]
fn the_notes_say_when_the_image_is_a_placeholder() {
    let Some(chart) = chart() else { return };
    let path = folder();
    let install = ["install", "rolegate", path.to_str().unwrap(), "--dry-run=client"];
    let cases = [
        ("registry.example.com/rolegate", true),
        ("example.org/rolegate", true),
        ("111122223333.dkr.ecr.us-west-2.amazonaws.com/rolegate", true),
        ("registry.myexample.com/rolegate", false),
        ("210987654321.dkr.ecr.us-west-2.amazonaws.com/rolegate", false),
        ("ghcr.io/111122223333/rolegate", false),
    ];
    for (repository, is_placeholder) in cases {
        let notes = chart
            .helm(&install, &json!({"image": {"repository": repository, "tag": "x"}}))
            .unwrap();
        let (_, notes) = notes.split_once("NOTES:").unwrap();
        let warning = notes.contains("WARNING: the image is a placeholder");
        assert_eq!(warning, is_placeholder, "{repository}");
        assert_eq!(
            notes.contains(&format!("     {repository}:x\n")),
            is_placeholder,
            "{repository}"
        );
    }
}

#[test]
fn every_pod_has_an_image_of_a_registry() {
    for_each_documented(|rendered| {
        for pod in rendered
            .of_kind("Pod")
            .into_iter()
            .map(|pod| &pod["spec"])
            .chain([rendered.pod()])
        {
            let image = pod["containers"][0]["image"].as_str().unwrap();
            assert!(
                image.split('/').next().unwrap().contains('.'),
                "{image} is of a default registry"
            );
        }
    });
}
