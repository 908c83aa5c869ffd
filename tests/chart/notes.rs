//! What `helm install` prints.

use serde_json::{Value, json};

use crate::{Chart, NAMESPACE, chart, documented, folder};

/// What Helm prints after an installation with these values.
pub(crate) fn notes(chart: &Chart, values: &Value) -> String {
    let path = folder();
    let install = [
        "install",
        "rolegate",
        path.to_str().unwrap(),
        "--namespace",
        NAMESPACE,
        "--dry-run=client",
    ];
    let text = chart
        .helm(&install, values)
        .unwrap_or_else(|error| panic!("{values}: {error}"));
    text.split_once("NOTES:\n").expect("notes").1.to_owned()
}

/// Text with its paragraphs on one line each.
pub(crate) fn unwrapped(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn every_source_of_trust_policies_is_listed_in_order() {
    let Some(chart) = chart() else { return };
    let mounted = json!([{"name": "more", "mountPath": "/etc/more"}]);
    let cases = [
        (
            json!({}),
            "Trust policies come from IAM (iam). rolegate's own role requires",
        ),
        (
            json!({"roleSources": ["crossplane"]}),
            "Trust policies come from objects of Crossplane (crossplane). 3.",
        ),
        (
            json!({"roleSources": null, "roleFiles": {"configMap": "files"}}),
            "Trust policies come from ConfigMap files in namespace rolegate-system (roleFiles.configMap). The ConfigMap must exist.",
        ),
        (
            json!({
                "roleSources": ["ack", "files=/etc/more", "iam"],
                "roleFiles": {"configMap": "files"},
                "extraVolumes": [{"name": "more", "emptyDir": {}}],
                "extraVolumeMounts": mounted,
            }),
            "Trust policies come from these sources, in this order: - objects of ACK (ack) - files in /etc/more - IAM (iam) - ConfigMap \
             files in namespace rolegate-system (roleFiles.configMap) The ConfigMap must exist.",
        ),
    ];
    for (values, expected) in cases {
        let notes = unwrapped(&notes(&chart, &values));
        assert!(notes.contains(expected), "{values}: {notes}");
    }
    let both = json!({"roleFiles": {"configMap": "files"}});
    let notes = unwrapped(&notes(&chart, &both));
    for part in [
        "configmap files --from-file=NAME.json",
        "rolegate's own role requires iam:GetRole",
        "trust policies that only IAM has are unknown: pods are injected with a warning",
    ] {
        assert!(notes.contains(part), "no {part:?} in {notes}");
    }
}

#[test]
fn only_a_role_counts_as_rolegates_own_role() {
    let Some(chart) = chart() else { return };
    let role = "arn:aws:iam::111122223333:role/rolegate";
    let missing = "No role is set for rolegate itself.";
    let cases = [
        (json!({}), true),
        (json!({"serviceAccount": {"annotations": {"team": "x"}}}), true),
        (
            json!({"serviceAccount": {"annotations": {"eks.amazonaws.com/audience": "sts.amazonaws.com"}}}),
            true,
        ),
        (
            json!({"serviceAccount": {"annotations": {"eks.amazonaws.com/role-arn": role}}}),
            false,
        ),
        (json!({"aws": {"roleArn": role}}), false),
        (
            json!({"extraEnv": [{"name": "AWS_ACCESS_KEY_ID", "value": "x"}]}),
            false,
        ),
        (json!({"extraEnv": [{"name": "HTTPS_PROXY", "value": "x"}]}), true),
        // AWS is not asked for anything.
        (json!({"roleSources": ["ack"]}), false),
        (
            json!({"roleSources": ["ack"], "podIdentity": {"clusterName": "a", "sources": ["ack"]}}),
            false,
        ),
        (
            json!({"roleSources": ["ack"], "podIdentity": {"clusterName": "a"}}),
            true,
        ),
        // The chart does not know the annotations of this ServiceAccount.
        (json!({"serviceAccount": {"create": false, "name": "mine"}}), false),
    ];
    for (values, expected) in cases {
        let notes = unwrapped(&notes(&chart, &values));
        assert_eq!(notes.contains(missing), expected, "{values}: {notes}");
    }
    let notes = notes(&chart, &json!({"serviceAccount": {"create": false, "name": "mine"}}));
    let expected = "The chart does not create ServiceAccount mine: unless it has a role already, annotate it (EKS)";
    assert!(unwrapped(&notes).contains(expected), "{notes}");
}

/// Commands are not wrapped, so that they can be copied.
#[test]
fn text_fits_a_terminal_of_80_columns() {
    let Some(chart) = chart() else { return };
    let mut cases = documented();
    let long = "a-namespace-whose-name-is-as-long-as-they-can-be";
    cases.push((
        "long names".to_owned(),
        json!({"namespaceOverride": long, "certificates": {"mode": "secret", "secretName": "mine"}, "inject": false}),
    ));
    for (name, values) in cases {
        let notes = notes(&chart, &values);
        for line in notes.lines().filter(|line| !line.starts_with("     ")) {
            let is_one_word = line.split_whitespace().count() == 1;
            assert!(line.chars().count() <= 80 || is_one_word, "{name}: {line}");
            assert_eq!(line, line.trim_end(), "{name}");
        }
        assert!(!notes.contains("\n\n\n"), "{name}: {notes}");
        // Each line holds as many words as fit.
        let lines: Vec<&str> = notes.lines().collect();
        for pair in lines.windows(2) {
            let [line, next] = pair else { unreachable!() };
            let is_text = |line: &str| !line.starts_with("     ") && !line.is_empty();
            let starts = next.trim_start().starts_with("- ");
            if is_text(line) && is_text(next) && !starts {
                let word = next.split_whitespace().next().unwrap();
                assert!(
                    line.chars().count() + 1 + word.chars().count() > 80,
                    "{name}: {line}\n{next}"
                );
            }
        }
    }
}
