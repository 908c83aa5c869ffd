//! Values that would have no effect, or another one than intended: the error names the value and the next step.

use rolegate::trust::Issuer;
use serde_json::{Value, json};

use crate::{Chart, chart};

const ROLE: &str = "arn:aws:iam::111122223333:role/rolegate";

/// The chart fails with each of these parts in the error.
pub(crate) fn rejects(chart: &Chart, values: &Value, parts: &[&str]) {
    let error = chart
        .try_render(values)
        .err()
        .unwrap_or_else(|| panic!("{values} was accepted"));
    for part in parts {
        assert!(error.contains(part), "{values}: no {part:?} in {error}");
    }
}

#[test]
fn the_image_has_neither_scheme_nor_tag_nor_digest() {
    let Some(chart) = chart() else { return };
    let image = |repository: &str| json!({"image": {"repository": repository}});
    for (repository, expected) in [
        (
            "registry.example.com/rolegate:0.1.0",
            "has a tag; expected registry.example.com/rolegate, with the tag in image.tag",
        ),
        ("rolegate:0.1.0", "has a tag; expected rolegate"),
        ("localhost:5000/a:b", "has a tag; expected localhost:5000/a,"),
        (
            "https://registry.example.com/rolegate",
            "has a scheme; expected registry.example.com/rolegate",
        ),
        ("oci://registry.example.com/rolegate", "has a scheme"),
        (
            "registry.example.com/rolegate@sha256:0000",
            "has a digest; expected registry.example.com/rolegate, with the digest in image.digest",
        ),
        ("registry.example.com//rolegate", "is not the name of an image"),
        ("registry.example.com/Rolegate", "is not the name of an image"),
        ("registry.example.com:x/rolegate", "is not the name of an image"),
    ] {
        rejects(
            &chart,
            &image(repository),
            &[&format!("image.repository: {repository} {expected}")],
        );
    }
    for repository in [
        "rolegate",
        "security/rolegate",
        "localhost:5000/rolegate",
        "registry.example.com:443/a/b__c/d-e.f",
        "111122223333.dkr.ecr.us-west-2.amazonaws.com/rolegate",
    ] {
        chart.render(&image(repository));
    }
}

#[test]
fn values_that_would_have_no_effect_are_rejected() {
    let Some(chart) = chart() else { return };
    let annotated = json!({"eks.amazonaws.com/role-arn": ROLE});
    let other = "arn:aws:iam::111122223333:role/other";
    let cases: [(Value, &[&str]); 26] = [
        (
            json!({"serviceAccount": {"create": false, "name": "mine", "annotations": annotated}}),
            &[
                "serviceAccount.annotations has no effect",
                "ServiceAccount mine in namespace rolegate-system",
                "set serviceAccount.create to true",
            ],
        ),
        (
            json!({"serviceAccount": {"create": false, "labels": {"a": "b"}}}),
            &["serviceAccount.labels has no effect", "ServiceAccount default"],
        ),
        (
            json!({"podIdentity": {"sources": ["ack"]}}),
            &[
                "podIdentity.sources has no effect",
                "set podIdentity.clusterName or podIdentity.clusterArn",
            ],
        ),
        (
            json!({"aws": {"roleArn": ROLE}, "serviceAccount": {"annotations": {"eks.amazonaws.com/role-arn": other}}}),
            &["aws.roleArn", ROLE, other, "name different roles: remove one"],
        ),
        (
            json!({"aws": {"audience": "mine"}}),
            &["aws.audience has no effect without aws.roleArn"],
        ),
        (
            json!({"aws": {"roleArn": ROLE, "region": "cn-north-1"}}),
            &[
                "aws.roleArn: arn:aws:iam",
                "partition aws, but aws.region (cn-north-1) to partition aws-cn",
                "set a Region of partition aws in aws.region",
            ],
        ),
        (
            json!({"aws": {"region": "us-gov-west-1"}, "serviceAccount": {"annotations": annotated}}),
            &["serviceAccount.annotations: arn:aws:iam", "partition aws-us-gov"],
        ),
        (
            json!({
                "aws": {"region": "us-west-2"},
                "podIdentity": {"clusterArn": "arn:aws-cn:eks:cn-north-1:111122223333:cluster/a"},
            }),
            &[
                "podIdentity.clusterArn: arn:aws-cn:eks",
                "partition aws-cn, but aws.region (us-west-2)",
            ],
        ),
        (
            json!({"listenAddress": "127.0.0.1"}),
            &[
                "listenAddress: neither the API server nor probes can connect to 127.0.0.1",
                "set 0.0.0.0",
            ],
        ),
        (
            json!({"listenAddress": "127.1.2.3"}),
            &["listenAddress", "a loopback address"],
        ),
        (
            json!({"listenAddress": "[::1]"}),
            &["listenAddress", "a loopback address"],
        ),
        (
            json!({"listenAddress": "[0:0:0:0:0:0:0:1]"}),
            &["listenAddress", "a loopback address"],
        ),
        (
            json!({"listenAddress": "[::ffff:7f00:1]"}),
            &["listenAddress", "a loopback address"],
        ),
        (
            json!({"listenAddress": "localhost"}),
            &["/listenAddress", "does not match pattern"],
        ),
        (
            json!({"listenAddress": "::1"}),
            &["/listenAddress", "does not match pattern"],
        ),
        (
            json!({"certificates": {"issuerRef": {"name": "corporate"}}}),
            &[
                "certificates.issuerRef has no effect in mode self-managed",
                "set certificates.mode to cert-manager",
            ],
        ),
        (
            json!({"certificates": {"mode": "secret", "secretName": "mine", "issuerRef": {"kind": "ClusterIssuer"}}}),
            &["certificates.issuerRef has no effect in mode secret"],
        ),
        (
            json!({"certificates": {"mode": "cert-manager", "issuerRef": {"kind": "ClusterIssuer"}}}),
            &["certificates.issuerRef has no effect without certificates.issuerRef.name"],
        ),
        (
            json!({"certificates": {"mode": "cert-manager", "issuerRef": {"name": "corporate"}, "caLifetime": "9000h"}}),
            &[
                "certificates.caLifetime has no effect with certificates.issuerRef.name",
                "remove it",
            ],
        ),
        (
            json!({"certificates": {"mode": "secret", "secretName": "mine", "caLifetime": "9000h"}}),
            &["certificates.caLifetime has no effect in mode secret"],
        ),
        (
            json!({"certificates": {"mode": "secret", "secretName": "mine", "lifetime": "24h"}}),
            &["certificates.lifetime has no effect in mode secret"],
        ),
        (
            json!({"aws": {"region": "us-west-2"}, "extraEnv": [{"name": "AWS_REGION", "value": "us-east-1"}]}),
            &[
                "extraEnv: AWS_REGION is already set by aws.region",
                "remove it from extraEnv",
            ],
        ),
        (
            json!({"extraEnv": [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]}),
            &["extraEnv: A is listed twice"],
        ),
        (
            json!({"roleSources": ["files=/roles"]}),
            &[
                "roleSources: no volume is mounted at /roles",
                "extraVolumeMounts, or use roleFiles.configMap",
            ],
        ),
        (
            json!({"roleSources": ["files=/etc/rolegate/roles"]}),
            &["roleSources: no volume is mounted at /etc/rolegate/roles"],
        ),
        (
            json!({"podIdentity": {"clusterName": "a", "sources": ["files=/associations"]}}),
            &["podIdentity.sources: no volume is mounted at /associations"],
        ),
    ];
    for (values, parts) in cases {
        rejects(&chart, &values, parts);
    }
    // The variables of the container are those that the chart has a value for.
    for name in ["AWS_ROLE_ARN", "AWS_WEB_IDENTITY_TOKEN_FILE"] {
        let values = json!({"aws": {"roleArn": ROLE}, "extraEnv": [{"name": name, "value": "x"}]});
        rejects(
            &chart,
            &values,
            &[&format!("extraEnv: {name} is already set by aws.roleArn")],
        );
    }
}

#[test]
fn what_has_an_effect_is_accepted() {
    let Some(chart) = chart() else { return };
    for values in [
        json!({"aws": {"roleArn": ROLE, "audience": "mine"}}),
        json!({"aws": {"roleArn": ROLE}, "serviceAccount": {"annotations": {"eks.amazonaws.com/role-arn": ROLE}}}),
        json!({"extraEnv": [{"name": "AWS_REGION", "value": "us-west-2"}]}),
        json!({"podIdentity": {"sources": []}}),
        json!({"certificates": {"mode": "cert-manager", "caLifetime": "9000h", "lifetime": "800h"}}),
        // The CA of an issuer has its own lifetime.
        json!({"certificates": {"mode": "cert-manager", "issuerRef": {"name": "corporate"}, "lifetime": "9000h"}}),
        json!({"listenAddress": "[::10:1]"}),
        json!({"listenAddress": "[2001:db8::1]"}),
    ] {
        chart.render(&values);
    }
    let with_mount = |source: &str, path: &str| {
        json!({
            "roleSources": [source],
            "extraVolumes": [{"name": "more", "emptyDir": {}}],
            "extraVolumeMounts": [{"name": "more", "mountPath": path}],
        })
    };
    for (source, path) in [
        ("files=/roles", "/roles"),
        ("files=/roles/", "/roles"),
        ("files=/roles/team", "/roles/"),
        ("files=/roles", "/roles/team"),
        ("files=/roles", "/roles/a.json"),
    ] {
        chart.render(&with_mount(source, path));
    }
    for (source, path) in [("files=/roles", "/roles2"), ("files=/roles2", "/roles")] {
        rejects(
            &chart,
            &with_mount(source, path),
            &["roleSources: no volume is mounted at"],
        );
    }
}

#[test]
fn volumes_of_users_have_other_names_than_those_of_the_chart() {
    let Some(chart) = chart() else { return };
    let files = |volume: &str, mount: &str, path: &str| {
        json!({
            "roleFiles": {"configMap": "files"},
            "extraVolumes": [{"name": volume, "emptyDir": {}}],
            "extraVolumeMounts": [{"name": mount, "mountPath": path}],
        })
    };
    rejects(
        &chart,
        &files("roles", "roles", "/a"),
        &["extraVolumes: there is already a volume roles: use another name"],
    );
    rejects(
        &chart,
        &files("more", "mroe", "/a"),
        &["extraVolumeMounts: volume mroe does not exist; add it to extraVolumes"],
    );
    rejects(
        &chart,
        &files("more", "more", "/etc/rolegate/roles/"),
        &["extraVolumeMounts: there is already a mount at /etc/rolegate/roles/"],
    );
    chart.render(&files("more", "more", "/etc/rolegate/more"));
    chart.render(&files("more", "roles", "/b"));
}

#[test]
fn regions_have_the_form_of_their_names() {
    let Some(chart) = chart() else { return };
    let values = [
        (json!({"aws": {"region": "REGION"}}), "aws.region"),
        (json!({"settings": {"aws-region": "REGION"}}), "settings.aws-region"),
    ];
    for (values, name) in values {
        let of = |region: &str| serde_json::from_str::<Value>(&values.to_string().replace("REGION", region)).unwrap();
        for (region, partition) in [
            ("us-west-2", "aws"),
            ("us-gov-west-1", "aws-us-gov"),
            ("cn-north-1", "aws-cn"),
            ("us-iso-east-1", "aws-iso"),
            ("us-isob-east-1", "aws-iso-b"),
            ("eu-isoe-west-1", "aws-iso-e"),
            ("us-isof-south-1", "aws-iso-f"),
            ("eusc-de-east-1", "aws-eusc"),
            ("mx-central-1", "aws"),
            ("il-central-1", "aws"),
            ("ap-southeast-7", "aws"),
        ] {
            let mut values = of(region);
            if name == "aws.region" {
                // The program has the same partition for it.
                let issuer = Issuer::parse(&format!("https://oidc.eks.{region}.amazonaws.com/id/EXAMPLE")).unwrap();
                assert_eq!(issuer.partition(), partition);
                values["aws"]["roleArn"] = json!(format!("arn:{partition}:iam::111122223333:role/rolegate"));
            }
            chart.render(&values);
        }
        for region in ["us-west", "uswest2", "us", "west-2", "2", "us--west-2", "us-west-2-"] {
            let expected = format!("{name}: {region} is not the name of a Region; expected a name such as us-west-2");
            rejects(&chart, &of(region), &[&expected]);
        }
        let expected = format!("{name}: us-west-2a is an Availability Zone; set its Region, us-west-2");
        rejects(&chart, &of("us-west-2a"), &[&expected]);
    }
}
