//! The chart accepts a value exactly if the program does, so that a mistake is an error of `helm install` and not a pod that restarts.

use std::collections::BTreeMap;
use std::process::Command;

use serde_json::{Map, Value, json};

use crate::flags::{Takes, flags, of_the_eks_webhook, reserved};
use crate::{Chart, chart};

/// The values of a flag in `settings`.
struct Form {
    /// A definition of values.schema.json.
    definition: &'static str,
    accepted: &'static [&'static str],
    rejected: &'static [&'static str],
}

/// Any text but an empty one.
const TEXT: Form = Form {
    definition: "text",
    accepted: &["a", "sts.amazonaws.com", "/etc/rolegate/a b.json"],
    rejected: &[""],
};

const MOUNT_PATH: Form = Form {
    definition: "mountPath",
    accepted: &["/token", "/a/b/", "//a", "/a b", "C:\\token", "c:/token", "\\token"],
    rejected: &["", "token", "./token", "/", "//", "/a:b", "C:token", "/a\tb"],
};

const SWITCH: Form = Form {
    definition: "switch",
    accepted: &[
        "true", "false", "True", "False", "TRUE", "FALSE", "t", "f", "T", "F", "1", "0",
    ],
    rejected: &["", "maybe", "yes", "on", "2", "tRUE", " true"],
};

const ROLE: &str = "arn:aws:iam::111122223333:role/reader";

/// The form of each flag that takes a value and can be set in `settings`.
fn form(flag: &str) -> Form {
    match flag {
        "annotation-prefix" => Form {
            definition: "annotationPrefix",
            accepted: &["eks.amazonaws.com", "eks.amazonaws.com/", "example"],
            rejected: &["", "/", "Example.com", "a..b", "-a", "a_b", "https://a", "a/b"],
        },
        "api-audience"
        | "token-audience"
        | "container-credentials-audience"
        | "client-ca"
        | "container-credentials-config" => TEXT,
        "assume-role" => Form {
            definition: "assumeRole",
            accepted: &[
                "444455556666=arn:aws:iam::444455556666:role/reader",
                "444455556666=arn:aws-us-gov:iam::444455556666:role/a/b/reader",
                "444455556666=arn:aws:iam::444455556666:role/r,111122223333=arn:aws:iam::111122223333:role/odd:role/it's/r",
                "444455556666=arn:aws:iam::444455556666:role/a/aws-reserved/r",
            ],
            rejected: &[
                "",
                "reader",
                "arn:aws:iam::444455556666:role/reader",
                "444455556666=reader",
                "4444=arn:aws:iam::4444:role/reader",
                "444455556666=arn:aws:iam::444455556666:user/reader",
                "444455556666=arn:aws:iam::444455556666:role/",
                "444455556666=arn:aws:iam::444455556666:role//reader",
                "444455556666=arn:aws:iam::444455556666:role/a b",
                "444455556666=arn:aws:iam:us-west-2:444455556666:role/reader",
                "444455556666=arn:aws:iam::444455556666:role/aws-reserved/r",
                "444455556666=arn:aws:iam::444455556666:role/reader,",
                "444455556666=arn:aws:iam::444455556666:role/reader,444455556666=arn:aws:iam::444455556666:role/aws-service-role/b",
                // Of another account, and one account twice.
                "444455556666=arn:aws:iam::111122223333:role/reader",
                "444455556666=arn:aws:iam::444455556666:role/a,444455556666=arn:aws:iam::444455556666:role/b",
            ],
        },
        // It is opened.
        "audit-log" => Form {
            definition: "text",
            accepted: &["-", "/dev/stdout", "/nonexistent/audit.jsonl"],
            rejected: &[""],
        },
        "audit-log-rotate" => Form {
            definition: "auditLogRotate",
            accepted: &["never"],
            rejected: &["", "daily", "Never"],
        },
        "aws-account-id" => Form {
            definition: "accountId",
            accepted: &["111122223333", "000000000000"],
            rejected: &[
                "",
                "1",
                "11112222333",
                "1111222233334",
                "1111-2222-3333",
                "11112222333a",
            ],
        },
        "aws-partition" => Form {
            definition: "partition",
            accepted: &["aws", "aws-cn", "aws-us-gov", "aws-iso-e", "x-9"],
            rejected: &["", "AWS", "aws_cn", "aws cn"],
        },
        "aws-region" => Form {
            definition: "region",
            accepted: &["auto", "us-west-2", "eusc-de-east-1"],
            rejected: &[
                "",
                "us_west_2",
                "US-WEST-2",
                "us-west-2 ",
                "us-west",
                "us-west-2a",
                "uswest2",
            ],
        },
        "container-credentials-full-uri" => Form {
            definition: "credentialsUri",
            accepted: &[
                "http://169.254.170.23/v1/credentials",
                "http://169.254.170.2",
                "http://[fd00:ec2::23]/v1/credentials",
                "http://[::1]:8080/x",
                "http://localhost:8080/a?b#c",
                "http://127.0.0.1/",
                "http://127.1.2.255:80",
                "https://credentials.example.com/v1",
                "https://user@credentials.example.com:8443",
                "https://[2001:db8::1]:8443/x",
            ],
            rejected: &[
                "",
                "/v1/credentials",
                "169.254.170.23/v1/credentials",
                "ftp://localhost",
                "http://",
                "https://",
                "https:///v1",
                "http://credentials.example.com/v1",
                "http://169.254.170.24/",
                "http://127.0.0.256/",
                "http://128.0.0.1/",
                "http://[fd00:ec2::24]/",
                "http://localhost.example.com/",
            ],
        },
        "container-credentials-token-mount-path" | "token-mount-path" => MOUNT_PATH,
        "container-credentials-token-path" => Form {
            definition: "tokenPath",
            accepted: &["token", "a/b", "a//b", "a/", "..a", "...", "a/.b", ".", "./a", "a b"],
            rejected: &["", "/token", "..", "../a", "a/../b", "a/..", "a\tb"],
        },
        "container-credentials-token-volume-name" => Form {
            definition: "volumeName",
            accepted: &["a", "eks-pod-identity-token", "0"],
            rejected: &[
                "",
                "a.b",
                "A",
                "-a",
                "a-",
                "a_b",
                "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
            ],
        },
        "docs-url" => Form {
            definition: "docsUrl",
            accepted: &[
                "https://example.com/causes",
                "http://example.com/",
                "https://example.com/a?b=c&d",
            ],
            rejected: &[
                "",
                "example.com",
                "ftp://example.com",
                "https://example.com/#a",
                "https://example.com/a b",
                "https://<x>",
            ],
        },
        "log-format" => Form {
            definition: "logFormat",
            accepted: &["text", "json"],
            rejected: &["", "JSON", "yaml"],
        },
        "log-level" => Form {
            definition: "logLevel",
            accepted: &[
                "error",
                "warn",
                "info",
                "debug",
                "trace",
                "off",
                "INFO",
                "Debug",
                "0",
                "5",
                "info,rolegate::roles=debug",
                "rolegate::roles=debug",
                "info, rolegate::admission=trace",
                "off,my-crate=warn",
            ],
            rejected: &[
                "",
                "verbose",
                "warning",
                "6",
                "-1",
                "info,",
                "rolegate::roles",
                "rolegate=verbose",
                "rolegate=",
                "info;debug",
            ],
        },
        "token-expiration" => Form {
            definition: "duration",
            accepted: &["600", "86400", "10m", "24h", "1h30m", "600s", "600000ms", "00600"],
            rejected: &["", "599", "86401", "9m59s", "24h1s", "600500ms", "1d", "ten", "0"],
        },
        "trust-max-stale" => Form {
            definition: "duration",
            accepted: &["60s", "1h", "168h", "604800", "10m30s", "60000ms"],
            rejected: &["", "abc", "168h1ms", "999999999999", "1h 30m", "-1h", "1.5h", "59s"],
        },
        "trust-read-timeout" => Form {
            definition: "duration",
            accepted: &["1ms", "700ms", "1", "30s", "30000ms", "1s500ms"],
            rejected: &["", "abc", "0", "0s", "30s1ms", "31", "1us", "1m"],
        },
        "trust-ttl" => Form {
            definition: "duration",
            accepted: &[
                "1s",
                "30",
                "1000ms",
                "1h",
                "0h1m",
                "08s",
                "59m59s999ms",
                "000000000000000000001s",
            ],
            rejected: &[
                "",
                "abc",
                "0",
                "999ms",
                "24h1ms",
                "86401",
                "5x",
                "s",
                "5 s",
                "+5",
                "1m1h",
                "1s1s",
                "30S",
                "5µs",
                "2h",
                "1h2",
                "99999999999999999999h30s",
                "5124095576030432h30s",
                "18446744073709551616s30ms",
            ],
        },
        _ => panic!("settings.{flag} has no form: which values does the program accept?"),
    }
}

/// The flags that `settings` accepts, each with its form.
pub(crate) fn forms() -> BTreeMap<String, &'static str> {
    tested()
        .into_iter()
        .map(|(flag, form)| (flag, form.definition))
        .collect()
}

fn tested() -> Vec<(String, Form)> {
    let (reserved, of_the_eks_webhook) = (reserved(), of_the_eks_webhook());
    let is_accepted = |flag: &String| !reserved.contains_key(flag) && !of_the_eks_webhook.contains_key(flag);
    let form_of = |(flag, takes): (String, Takes)| match takes {
        Takes::Switch => (flag, SWITCH),
        Takes::Value => {
            let form = form(&flag);
            (flag, form)
        }
    };
    flags()
        .into_iter()
        .filter(|(flag, _)| is_accepted(flag))
        .map(form_of)
        .collect()
}

/// Whether `rolegate serve` starts with these flags, as far as it can without a cluster.
fn is_parsed(arguments: &[String]) -> bool {
    let composes = arguments
        .iter()
        .any(|argument| argument.starts_with("--compose-role-arn"));
    let output = Command::new(env!("CARGO_BIN_EXE_rolegate"))
        .arg("serve")
        .args(arguments)
        // Otherwise, AWS is asked for the account.
        .args(composes.then_some("--aws-account-id=111122223333"))
        .env_clear()
        .env("HOME", "/nonexistent")
        .env("KUBECONFIG", "/nonexistent")
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {stderr}");
    !stderr.contains("For more information, try '--help'")
}

fn flag(name: &str, value: &str) -> String {
    format!("--{name}={value}")
}

fn rejection(chart: &Chart, settings: &Value) -> Option<String> {
    chart.try_render(&json!({"settings": settings})).err()
}

#[test]
fn the_program_and_the_chart_accept_the_same_values() {
    let Some(chart) = chart() else { return };
    let tested = tested();
    for (name, form) in &tested {
        for value in form.accepted {
            assert!(is_parsed(&[flag(name, value)]), "the program rejects --{name}={value}");
        }
        for value in form.rejected {
            assert!(!is_parsed(&[flag(name, value)]), "the program accepts --{name}={value}");
            let error = rejection(&chart, &json!({(name): value})).unwrap_or_else(|| {
                panic!("the chart accepts settings.{name}={value:?}, which the program rejects");
            });
            let is_named =
                error.contains(&format!("at '/settings/{name}")) || error.contains(&format!("settings.{name}"));
            assert!(is_named, "settings.{name}={value:?}: {error}");
        }
    }
    // One value of each flag at a time: they do not depend on each other.
    let most = tested.iter().map(|(_, form)| form.accepted.len()).max().unwrap();
    for round in 0..most {
        let settings: Map<String, Value> = tested
            .iter()
            .filter_map(|(name, form)| Some((name.clone(), json!(form.accepted.get(round)?))))
            .collect();
        let rendered = chart.render(&json!({"settings": settings}));
        for (name, value) in settings {
            assert_eq!(rendered.flag(&name), [value.as_str().unwrap()], "{name}");
        }
    }
}

#[test]
fn the_program_and_the_chart_accept_the_same_combinations() {
    let Some(chart) = chart() else { return };
    for (settings, is_accepted) in [
        (json!({"trust-ttl": "1h"}), true),
        (json!({"trust-ttl": "61m"}), false),
        (json!({"trust-ttl": "2h", "trust-max-stale": "2h"}), true),
        (json!({"trust-ttl": "2h", "trust-max-stale": "7199s"}), false),
        (json!({"trust-max-stale": "59999ms"}), false),
        (json!({"trust-ttl": "10", "trust-max-stale": "30"}), true),
        (json!({"audit-log-rotate": "hourly"}), false),
        (json!({"audit-log-rotate": "hourly", "audit-log": "-"}), false),
        (json!({"audit-log-rotate": "hourly", "audit-log": "/dev/stdout"}), false),
        (
            json!({"audit-log-rotate": "hourly", "audit-log": "/nonexistent/audit"}),
            true,
        ),
    ] {
        let arguments: Vec<String> = settings
            .as_object()
            .unwrap()
            .iter()
            .map(|(name, value)| flag(name, value.as_str().unwrap()))
            .collect();
        assert_eq!(is_parsed(&arguments), is_accepted, "{arguments:?}");
        let error = rejection(&chart, &settings);
        assert_eq!(error.is_none(), is_accepted, "{settings}: {error:?}");
        if let Some(error) = error {
            assert!(error.contains("settings."), "{error}");
        }
    }
    let list = json!({"assume-role": ["444455556666=arn:aws:iam::444455556666:role/a", "444455556666=arn:aws:iam::444455556666:role/b"]});
    let error = rejection(&chart, &list).expect("one account twice was accepted");
    assert!(
        error.contains("settings.assume-role: account 444455556666 is named twice"),
        "{error}"
    );
}

/// Numbers and booleans without quotes, which become text only in the command line.
#[test]
fn values_without_quotes_are_checked_too() {
    let Some(chart) = chart() else { return };
    for settings in [
        json!({"trust-ttl": 0}),
        json!({"trust-ttl": -5}),
        json!({"trust-ttl": 1.5}),
        json!({"trust-ttl": 86401}),
        json!({"trust-ttl": true}),
        json!({"trust-ttl": ["30s"]}),
        json!({"token-expiration": 599}),
        json!({"aws-account-id": 11_112_222_333_u64}),
        json!({"aws-region": 5}),
        json!({"log-level": true}),
        json!({"log-level": 6}),
        json!({"log-format": true}),
        json!({"metrics-namespace": 2}),
        json!({"token-audience": ["one", "two"]}),
        json!({"assume-role": []}),
    ] {
        let error = rejection(&chart, &settings).unwrap_or_else(|| panic!("{settings} was accepted"));
        assert!(
            error.contains("/settings/") || error.contains("settings."),
            "{settings}: {error}"
        );
    }
    for (name, value, expected) in [
        // `off` without quotes.
        ("log-level", json!(false), "off"),
        ("log-level", json!(3), "3"),
        ("metrics-namespace", json!(1), "1"),
        ("trust-ttl", json!(3600), "3600"),
        ("token-expiration", json!(86400), "86400"),
    ] {
        let rendered = chart.render(&json!({"settings": {(name): value}}));
        assert_eq!(rendered.flag(name), [expected], "{name}");
        assert!(is_parsed(&[flag(name, expected)]), "{name}");
    }
}

/// Values of their own that become a flag. The chart may reject more, but nothing that is usual.
#[test]
fn values_of_their_own_are_accepted_only_if_the_program_accepts_them() {
    let Some(chart) = chart() else { return };
    type Accepted = &'static [&'static str];
    let cases: [(&str, &str, Accepted, Accepted); 6] = [
        (
            "/issuer",
            "issuer",
            &[
                "https://oidc.eks.us-west-2.amazonaws.com/id/EXAMPLE",
                "HTTPS://example.com:8443/a",
                "example.com",
                "oidc-eks.us-west-2.api.aws/id/EXAMPLE",
                "https://example.com/a/",
            ],
            &[
                "https://",
                "http://example.com",
                "https://a/b?c",
                "https://a?b",
                "https://a#b",
                "a b",
                "/a",
                "https://a/b://c",
                "<issuer>",
                "$ISSUER",
                "https://example.com/{id}",
                "EXAMPLED539D4633E53DE1B71EXAMPLE",
                "id/EXAMPLED539D4633E53DE1B71EXAMPLE",
                "https://example.com/.well-known/openid-configuration",
                "oidc.eks.us-west-2.amazonaws.com",
                "oidc.eks.us-west-2.amazonaws.com/EXAMPLE",
                "https://oidc.eks.us-west-2.amazonaws.com/id/EXAMPLE/",
                "https://oidc.eks.us-west-2.amazonaws.com/id/EXAMPLE/keys",
                "oidc-eks.us-west-2.api.aws/id/",
            ],
        ),
        (
            "/identityConfigMap",
            "identity-config-map",
            &["kube-system/pod-identity-webhook", "a/b.c"],
            &["a", "a/", "/b", "A/b", "a.b/c", "a/b/c"],
        ),
        (
            "/podIdentity/clusterName",
            "cluster-name",
            &["production", "a_B-1"],
            &["-a", "a.b", "a b", "_a"],
        ),
        (
            "/podIdentity/clusterArn",
            "cluster-arn",
            &[
                "arn:aws:eks:us-west-2:111122223333:cluster/a",
                "arn:aws-us-gov:eks:us-gov-west-1:111122223333:cluster/a",
            ],
            &[
                "a",
                "arn:aws:eks:us:111122223333:cluster/a",
                "arn:aws:eks:us-west:111122223333:cluster/a",
                "arn:aws:eks:us-west-2:1111:cluster/a",
                "arn:aws:eks:us-west-2:111122223333:cluster/",
                "arn:aws:eks::111122223333:cluster/a",
            ],
        ),
        ("/onUnknown", "on-unknown", &["inject", "deny"], &["refuse", "", "Deny"]),
        (
            "/requireRole",
            "require-role",
            &["off", "warn", "enforce"],
            &["", "audit", "true"],
        ),
    ];
    for (pointer, name, accepted, rejected) in cases {
        let source = if name.starts_with("cluster-") {
            "--association-source=eks"
        } else {
            "--events=false"
        };
        let parsed = |value: &str| is_parsed(&[source.to_owned(), flag(name, value)]);
        for value in accepted {
            assert!(parsed(value), "the program rejects --{name}={value}");
            assert_eq!(chart.render(&at(pointer, value)).flag(name), [*value], "{pointer}");
        }
        for value in rejected {
            assert!(!parsed(value), "the program accepts --{name}={value}");
            let error = chart.try_render(&at(pointer, value)).err();
            let error =
                error.unwrap_or_else(|| panic!("the chart accepts {pointer}={value:?}, which the program rejects"));
            assert!(
                error.contains(&format!("at '{pointer}'")),
                "{pointer}={value:?}: {error}"
            );
        }
    }
}

#[test]
fn listen_addresses_are_those_that_the_program_accepts() {
    let Some(chart) = chart() else { return };
    for (address, is_accepted) in [
        ("0.0.0.0", true),
        ("127.0.0.1", true),
        ("255.255.255.255", true),
        ("[::]", true),
        ("[::1]", true),
        ("[2001:db8::1]", true),
        ("[1:2:3:4:5:6:7:8]", true),
        ("[1::8]", true),
        ("[1:2:3:4:5:6:7::]", true),
        ("[::2:3:4:5:6:7:8]", true),
        ("256.0.0.0", false),
        ("1.2.3", false),
        ("01.2.3.4", false),
        ("::", false),
        ("[]", false),
        ("[:::]", false),
        ("[1::2::3]", false),
        ("[1:2:3:4:5:6:7:8:9]", false),
        ("[12345::]", false),
        ("example.com", false),
    ] {
        assert_eq!(
            is_parsed(&[format!("--listen={address}:8443")]),
            is_accepted,
            "{address}"
        );
        // The program can be tested on a loopback address; in a pod, nothing could connect to it.
        let is_loopback = ["127.0.0.1", "[::1]"].contains(&address);
        let rendered = chart.try_render(&json!({"listenAddress": address}));
        assert_eq!(rendered.is_ok(), is_accepted && !is_loopback, "{address}");
    }
}

/// Nothing reads these at startup: AWS or its webhook fails with them later.
#[test]
fn rolegates_own_role_is_the_arn_of_a_role() {
    let Some(chart) = chart() else { return };
    let annotated = |key: &str, value: &str| json!({"serviceAccount": {"annotations": {(key): value}}});
    let role_arn = "eks.amazonaws.com/role-arn";
    for role in [
        ROLE,
        "arn:aws-us-gov:iam::111122223333:role/team/reader",
        "arn:aws-cn:iam::111122223333:role/a+b=c,d.e@f_g-h",
    ] {
        assert!(is_role(role), "{role}");
        chart.render(&json!({"aws": {"roleArn": role}}));
        chart.render(&annotated(role_arn, role));
    }
    for role in [
        "rolegate",
        "role/rolegate",
        "arn:aws:iam::111122223333:role/",
        "arn:aws:iam::1111:role/a",
        "arn:aws:iam::111122223333:instance-profile/a",
        "arn:aws:sts::111122223333:assumed-role/a/b",
        "arn:aws:iam::ACCOUNT:role/a",
        "arn:aws:iam::111122223333:role/aws-service-role/a",
        "arn:aws:iam::111122223333:role/aws-reserved/sso/a",
        "\"arn:aws:iam::111122223333:role/a\"",
        " arn:aws:iam::111122223333:role/a",
    ] {
        assert!(!is_role(role), "{role}");
        for (values, place) in [
            (json!({"aws": {"roleArn": role}}), "/aws/roleArn"),
            (
                annotated(role_arn, role),
                "/serviceAccount/annotations/eks.amazonaws.com~1role-arn",
            ),
        ] {
            let error = chart
                .try_render(&values)
                .err()
                .unwrap_or_else(|| panic!("{values} was accepted"));
            assert!(error.contains(place), "{values}: {error}");
        }
    }
    for (key, value) in [
        // The default of charts that contain this one: no role.
        (role_arn, ""),
        ("eks.amazonaws.com/audience", "sts.amazonaws.com"),
        // What Go's ParseBool and ParseInt accept, as EKS's webhook reads them.
        ("eks.amazonaws.com/sts-regional-endpoints", "true"),
        ("eks.amazonaws.com/sts-regional-endpoints", "False"),
        ("eks.amazonaws.com/sts-regional-endpoints", "1"),
        ("eks.amazonaws.com/token-expiration", "600"),
        ("eks.amazonaws.com/token-expiration", "+3600"),
        ("eks.amazonaws.com/token-expiration", "03600"),
        ("eks.amazonaws.com/token-expiration", "86400"),
        ("example.com/role-arn", "rolegate"),
        ("example.com/role_arn", "rolegate"),
        ("meta.helm.sh/release-name", "rolegate"),
    ] {
        chart.render(&annotated(key, value));
    }
    for (key, value) in [
        ("eks.amazonaws.com/role_arn", ROLE),
        ("eks.amazonaws.com/rolearn", ROLE),
        ("eks.amazonaws.com/Role-Arn", ROLE),
        ("eks.amazon.com/role-arn", ROLE),
        ("eks.amazonaws.com.role-arn", ROLE),
        ("role-arn", ROLE),
        ("eks.amazonaws.com/audiences", "sts.amazonaws.com"),
        ("eks.amazonaws.com/audience", ""),
        ("eks.amazonaws.com/sts-regional-endpoints", "yes"),
        ("eks.amazonaws.com/sts-regional-endpoints", "tRUE"),
        ("eks.amazonaws.com/token-expiration", "599"),
        ("eks.amazonaws.com/token-expiration", "86401"),
        ("eks.amazonaws.com/token-expiration", "1h"),
    ] {
        let error = chart
            .try_render(&annotated(key, value))
            .err()
            .unwrap_or_else(|| panic!("{key}={value} was accepted"));
        let places = [
            format!("at '/serviceAccount/annotations/{}'", key.replace('/', "~1")),
            format!(
                "serviceAccount.annotations: {key} is not an annotation that EKS reads; expected eks.amazonaws.com/role-arn"
            ),
        ];
        assert!(
            places.iter().any(|place| error.contains(place)),
            "{key}={value}: {error}"
        );
    }
}

/// What the program calls the ARN of a role.
fn is_role(text: &str) -> bool {
    rolegate::trust::RoleArn::parse(text).is_ok()
}

/// Values with one value at this place.
fn at(pointer: &str, value: &str) -> Value {
    pointer
        .rsplit('/')
        .filter(|key| !key.is_empty())
        .fold(json!(value), |inner, key| json!({(key): inner}))
}
