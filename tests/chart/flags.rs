//! The chart and the program agree on flags: the program accepts what is rendered, a flag that the chart sets cannot be set twice, and
//! `settings` accepts all others.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::{Value, json};

use crate::documents::{UPDATE, differs_or_update};
use crate::settings::forms;
use crate::{chart, folder, for_each_documented, read};

/// What a flag takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Takes {
    Switch,
    Value,
}

/// The flags of `rolegate serve`, from its help.
pub(crate) fn flags() -> BTreeMap<String, Takes> {
    let help = Command::new(env!("CARGO_BIN_EXE_rolegate"))
        .args(["serve", "--help"])
        .output()
        .unwrap();
    let flags: BTreeMap<String, Takes> = String::from_utf8(help.stdout)
        .unwrap()
        .lines()
        .filter_map(|line| line.trim_start().strip_prefix("--"))
        .filter_map(|line| {
            let end = line.find([' ', '[']).unwrap_or(line.len());
            let (name, rest) = line.split_at(end);
            match rest {
                "[=<BOOL>]" => Some((name.to_owned(), Takes::Switch)),
                _ if rest.trim_start().starts_with('<') => Some((name.to_owned(), Takes::Value)),
                _ => None,
            }
        })
        .collect();
    assert!(flags.len() > 30, "the help reads differently: {flags:?}");
    flags
}

/// The flags that the chart refuses in `settings`, with what to do instead.
pub(crate) fn reserved() -> BTreeMap<String, String> {
    table("rolegate.reserved")
}

/// The flags of amazon-eks-pod-identity-webhook that the chart refuses in `settings`, with what to do instead.
pub(crate) fn of_the_eks_webhook() -> BTreeMap<String, String> {
    table("rolegate.flagsOfTheEksWebhook")
}

/// A table of templates/_args.tpl.
fn table(name: &str) -> BTreeMap<String, String> {
    let text = read("templates/_args.tpl");
    let block = text.split(&format!("define \"{name}\" -}}}}")).nth(1).unwrap();
    let block = block.split("{{- end").next().unwrap();
    serde_saphyr::from_str(block).unwrap()
}

#[test]
fn the_program_accepts_every_command_line_that_is_rendered() {
    for_each_documented(|rendered| {
        let output = Command::new(env!("CARGO_BIN_EXE_rolegate"))
            .args(rendered.args())
            .env_clear()
            .env("HOME", "/nonexistent")
            .env("KUBECONFIG", "/nonexistent")
            .output()
            .unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            stderr.contains("no cluster to serve"),
            "{:?}: {stderr}",
            rendered.args()
        );
    });
}

#[test]
fn a_flag_that_the_chart_sets_cannot_be_set_twice() {
    let Some(chart) = chart() else { return };
    let (flags, reserved) = (flags(), reserved());
    for (flag, instead) in &reserved {
        assert!(flags.contains_key(flag), "the program has no flag --{flag}");
        let error = chart
            .try_render(&json!({"settings": {(flag): "x"}}))
            .err()
            .expect("it was taken");
        let expected = format!("settings.{flag}: this flag is set by the chart; {instead}");
        assert!(error.contains(&expected), "{error}");
        let says_what_to_do = ["use ", "remove it: "].iter().any(|start| instead.starts_with(start));
        assert!(says_what_to_do, "{flag}: {instead}");
    }
    for_each_documented(|rendered| {
        let given: BTreeSet<&str> = rendered
            .args()
            .into_iter()
            .skip(1)
            .map(|arg| arg.trim_start_matches("--").split('=').next().unwrap())
            .filter(|flag| flag != &"role-source")
            .collect();
        let times = |flag: &&str| rendered.flag(flag).len();
        assert!(given.iter().all(|flag| times(flag) == 1), "{:?}", rendered.args());
    });
    let everything = [
        json!({"issuer": "example.com", "identityConfigMap": "a/b"}),
        json!({"certificates": {"mode": "secret", "secretName": "mine"}}),
    ];
    for values in everything {
        for arg in chart.render(&values).args().into_iter().skip(1) {
            let flag = arg.trim_start_matches("--").split('=').next().unwrap();
            assert!(reserved.contains_key(flag), "--{flag} can be set twice");
        }
    }
}

/// Every flag of amazon-eks-pod-identity-webhook 0.6.17.
const FLAGS_OF_THE_EKS_WEBHOOK: [&str; 32] = [
    "annotation-prefix",
    "aws-default-region",
    "compose-role-arn",
    "container-credentials-audience",
    "container-credentials-full-uri",
    "container-credentials-token-mount-path",
    "container-credentials-token-path",
    "container-credentials-token-volume-name",
    "enable-debugging-handlers",
    "in-cluster",
    "kube-api",
    "kubeconfig",
    "metrics-port",
    "namespace",
    "port",
    "resync-period",
    "service-account-lookup-grace-period",
    "service-name",
    "sts-regional-endpoint",
    "tls-cert",
    "tls-cipher-suites",
    "tls-key",
    "tls-min-version",
    "tls-secret",
    "token-audience",
    "token-expiration",
    "token-mount-path",
    "version",
    "watch-config-map",
    "watch-container-credentials-config",
    // Two of its log library.
    "v",
    "logtostderr",
];

#[test]
fn flags_of_the_eks_webhook_are_accepted_or_say_what_to_use() {
    let Some(chart) = chart() else { return };
    let (flags, reserved, theirs) = (flags(), reserved(), of_the_eks_webhook());
    for flag in FLAGS_OF_THE_EKS_WEBHOOK {
        let is_known = flags.contains_key(flag) || theirs.contains_key(flag);
        assert!(is_known, "nothing says what --{flag} is here");
    }
    let values = read("values.yaml");
    for (flag, instead) in &theirs {
        assert!(!reserved.contains_key(flag), "{flag} is in both tables");
        let error = chart
            .try_render(&json!({"settings": {(flag): "x"}}))
            .err()
            .expect("it was accepted");
        let expected = format!("settings.{flag}: this is a flag of amazon-eks-pod-identity-webhook; {instead}");
        assert!(error.contains(&expected), "{error}");
        let Some(named) = instead.strip_prefix("use ") else {
            assert!(instead.starts_with("remove it: "), "{instead}");
            continue;
        };
        for name in named.split([',', ' ']).filter(|word| word.starts_with("settings.")) {
            let name = name.trim_start_matches("settings.");
            assert!(
                flags.contains_key(name) && !reserved.contains_key(name) && !theirs.contains_key(name),
                "{flag}: settings.{name} is not accepted"
            );
        }
        let first = named.split([',', ' ', '.']).next().unwrap();
        assert!(
            values.contains(&format!("\n{first}:")),
            "{flag}: there is no value {first}"
        );
    }
    let cases = [
        ("aws-default-region", "use settings.aws-region"),
        ("sts-regional-endpoint", "use settings.sts-regional-endpoints"),
        (
            "watch-config-map",
            "use identityConfigMap, such as kube-system/pod-identity-webhook",
        ),
        (
            "watch-container-credentials-config",
            "use settings.container-credentials-config",
        ),
    ];
    for (flag, instead) in cases {
        assert_eq!(theirs[flag], instead);
    }
}

#[test]
fn settings_accept_every_other_flag() {
    let mut expected = String::from(
        "    \"settings\": {\n      \"type\": [\"object\", \"null\"],\n      \"additionalProperties\": false,\n      \"properties\": {\n",
    );
    let mut definitions = forms();
    definitions.extend(of_the_eks_webhook().into_keys().map(|flag| (flag, "ofTheEksWebhook")));
    definitions.extend(reserved().into_keys().map(|flag| (flag, "setByTheChart")));
    let lines: Vec<String> = definitions
        .into_iter()
        .map(|(flag, definition)| format!("        \"{flag}\": {{\"$ref\": \"#/definitions/{definition}\"}}"))
        .collect();
    expected += &lines.join(",\n");
    expected += "\n      }\n    }";
    let file = folder().join("values.schema.json");
    let schema = read("values.schema.json");
    let begin = schema
        .find("    \"settings\": {\n      \"type\"")
        .expect("the definition of settings");
    let length = schema[begin..].find("\n    }").unwrap() + "\n    }".len();
    let updated = schema.replacen(&schema[begin..begin + length], &expected, 1);
    assert!(
        !differs_or_update(&file, &updated),
        "the flags of `rolegate serve` changed: run {UPDATE}=1 cargo test --test chart, and give flags that the chart sets to \
         rolegate.reserved in templates/_args.tpl"
    );
}

#[test]
fn settings_accept_the_types_that_people_write() {
    let Some(chart) = chart() else { return };
    let cases: [(&str, Value, &[&str]); 10] = [
        ("trust-ttl", json!("30s"), &["30s"]),
        ("trust-ttl", json!(30), &["30"]),
        ("metrics-namespace", json!(true), &["true"]),
        ("honor-skip-label", json!(false), &["false"]),
        ("token-expiration", json!(86400), &["86400"]),
        ("aws-account-id", json!(111_122_223_333_u64), &["111122223333"]),
        ("aws-account-id", json!("000000000000"), &["000000000000"]),
        (
            "log-level",
            json!("info,rolegate::roles=debug"),
            &["info,rolegate::roles=debug"],
        ),
        (
            "assume-role",
            json!([
                "111122223333=arn:aws:iam::111122223333:role/a",
                "444455556666=arn:aws:iam::444455556666:role/a"
            ]),
            &[
                "111122223333=arn:aws:iam::111122223333:role/a",
                "444455556666=arn:aws:iam::444455556666:role/a",
            ],
        ),
        ("aws-region", Value::Null, &[]),
    ];
    for (flag, value, expected) in cases {
        let rendered = chart.render(&json!({"settings": {(flag): value}}));
        assert_eq!(rendered.flag(flag), expected, "{flag} {value}");
    }
    let path = folder();
    let arguments = [
        "template",
        "rolegate",
        path.to_str().unwrap(),
        "--set",
        "settings.token-expiration=3600,settings.metrics-namespace=true",
    ];
    let typed = chart.helm(&arguments, &json!({})).unwrap();
    assert!(typed.contains("--token-expiration=3600\""));
    assert!(typed.contains("--metrics-namespace=true\""));
}

#[test]
fn values_of_their_own_become_flags() {
    let Some(chart) = chart() else { return };
    let cases = [
        (json!({}), "issuer", vec![]),
        (
            json!({"issuer": "https://example.com/a"}),
            "issuer",
            vec!["https://example.com/a"],
        ),
        (json!({"onUnknown": "deny"}), "on-unknown", vec!["deny"]),
        (json!({"requireRole": "enforce"}), "require-role", vec!["enforce"]),
        // `off` without quotes.
        (json!({"requireRole": false}), "require-role", vec!["off"]),
        (json!({"identityConfigMap": "a/b"}), "identity-config-map", vec!["a/b"]),
        (json!({"events": false}), "events", vec!["false"]),
        (json!({"events": true}), "events", vec!["true"]),
        (
            json!({"inject": false}),
            "validating-webhook-configuration",
            vec!["rolegate"],
        ),
        (json!({"listenAddress": "[::]"}), "listen", vec!["[::]:8443"]),
        (
            json!({"certificates": {"caLifetime": "1000h", "lifetime": "10h30m"}}),
            "certificate-lifetime",
            vec!["10h30m"],
        ),
    ];
    for (values, flag, expected) in cases {
        assert_eq!(chart.render(&values).flag(flag), expected, "{values}");
    }
}
