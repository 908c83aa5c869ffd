use serde_json::json;

use super::*;

fn view(text: &str) -> PodView<'_> {
    serde_json::from_str(text).unwrap()
}

/// The same pod as it is, with every string written in escapes, and with the bytes given one by one.
fn views_of(pod: &serde_json::Value, check: impl Fn(&PodView<'_>)) {
    let plain = pod.to_string();
    check(&view(&plain));
    let escaped = escape_everything(pod);
    assert_eq!(serde_json::from_str::<serde_json::Value>(&escaped).unwrap(), *pod);
    check(&view(&escaped));
}

fn escape_everything(value: &serde_json::Value) -> String {
    let quote = |text: &str| {
        let units: String = text.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect();
        format!("\"{units}\"")
    };
    match value {
        serde_json::Value::String(text) => quote(text),
        serde_json::Value::Array(items) => {
            format!(
                "[{}]",
                items.iter().map(escape_everything).collect::<Vec<_>>().join(",")
            )
        }
        serde_json::Value::Object(fields) => {
            let fields = fields
                .iter()
                .map(|(key, value)| format!("{}:{}", quote(key), escape_everything(value)));
            format!("{{{}}}", fields.collect::<Vec<_>>().join(","))
        }
        other => other.to_string(),
    }
}

#[test]
fn what_is_read_of_a_pod_is_the_same_with_and_without_escapes() {
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": "web-1", "generateName": "web-",
            "labels": {"app": "a\"b", "eks.amazonaws.com/skip-pod-identity-webhook": ""},
            "annotations": {"kubernetes.io/config.mirror": "x", "eks.amazonaws.com/token-expiration": "3600"},
            "ownerReferences": [
                {"kind": "Job", "name": "no", "controller": false},
                {"kind": "ReplicaSet", "name": "web", "controller": true, "uid": "1"},
            ],
            "managedFields": [{"fieldsV1": {"f:metadata": {}}}],
        },
        "spec": {
            "serviceAccountName": "reader",
            "containers": [{"name": "app", "env": [{"name": "AWS_ROLE_SESSION_NAME", "value": "me"}]}],
            "volumes": [{
                "name": "aws-iam-token",
                "projected": {"sources": [{"serviceAccountToken": {"audience": "vault", "path": "token"}}]},
            }],
        },
    });
    views_of(&pod, |pod| {
        assert_eq!(pod.name(), Some("web-1"));
        assert_eq!(pod.generate_name(), Some("web-"));
        assert_eq!(pod.service_account_name(), "reader");
        assert_eq!(pod.label("app"), Some("a\"b"));
        assert_eq!(pod.label("eks.amazonaws.com/skip-pod-identity-webhook"), Some(""));
        assert_eq!(pod.label("other"), None);
        assert_eq!(pod.controller(), Some(("ReplicaSet", "web")));
        let (_, _, container) = pod.containers().next().unwrap();
        let variables: Vec<_> = container
            .variables()
            .iter()
            .map(|own| (own.name(), own.value()))
            .collect();
        assert_eq!(variables, [("AWS_ROLE_SESSION_NAME", "me")]);
        assert_eq!(pod.token_audience(), Some("vault"));
        assert_eq!(pod.annotation("eks.amazonaws.com/", "token-expiration"), Some("3600"));
        assert_eq!(pod.annotation("example.com/", "token-expiration"), None);
        assert!(pod.is_mirror() && pod.has_spec() && !pod.is_windows());
    });
}

#[test]
fn texts_without_escapes_are_borrowed() {
    let text = r#"{"metadata":{"name":"web-1","labels":{"app":"x"}},"spec":{"serviceAccountName":"r\u0065ader"}}"#;
    let pod = view(text);
    let within = |part: &str| text.as_bytes().as_ptr_range().contains(&part.as_ptr());
    assert!(within(pod.name().unwrap()) && within(pod.label("app").unwrap()));
    assert!(!within(pod.service_account_name()));
    assert_eq!(pod.service_account_name(), "reader");
}

#[test]
fn what_is_absent_empty_or_null_reads_the_same() {
    for text in [
        "{}",
        r#"{"metadata":null}"#,
        r#"{"metadata":{},"spec":{}}"#,
        r#"{"metadata":{"name":"","generateName":"","labels":{},"annotations":{},"ownerReferences":[]},
            "spec":{"serviceAccountName":"","containers":[],"volumes":[]}}"#,
        r#"{"metadata":{"name":null,"generateName":null,"labels":null,"annotations":null,"ownerReferences":null},
            "spec":{"serviceAccountName":null,"containers":null,"initContainers":null,"ephemeralContainers":null,
                    "volumes":null,"os":null,"nodeSelector":null}}"#,
        r#"{"metadata":{"labels":{"app":null},"annotations":{"kubernetes.io/config.mirror":null},
                        "ownerReferences":[null,{"controller":null,"kind":null,"name":null}]},
            "spec":{"containers":[null,{"name":null,"env":null,"volumeMounts":null},
                                  {"env":[null,{"name":null,"value":null}],"volumeMounts":[null,{"name":null,"mountPath":null}]}],
                    "volumes":[null,{"name":null,"projected":null,"hostPath":null},
                               {"name":"aws-iam-token","projected":{"sources":null}},
                               {"projected":{"sources":[null,{"serviceAccountToken":null},
                                                        {"serviceAccountToken":{"audience":null,"path":null}}]}}],
                    "os":{"name":null},"nodeSelector":{"kubernetes.io/os":null,"beta.kubernetes.io/os":null}}}"#,
    ] {
        let pod = view(text);
        assert_eq!(
            (pod.name(), pod.generate_name(), pod.controller()),
            (None, None, None),
            "{text}"
        );
        assert_eq!(pod.service_account_name(), "default", "{text}");
        assert_eq!((pod.label("app"), pod.token_audience()), (None, None), "{text}");
        assert!(!pod.is_mirror() && !pod.is_windows(), "{text}");
    }
    assert!(!view(r#"{"spec":null}"#).has_spec());
    assert!(view(r#"{"spec":{}}"#).has_spec());
}

#[test]
fn a_null_container_keeps_its_place() {
    let pod = view(r#"{"spec":{"containers":[null,{"name":"app"}]}}"#);
    let places: Vec<_> = pod
        .containers()
        .map(|(list, index, container)| (list, index, container.name()))
        .collect();
    assert_eq!(places, [(ContainerList::Main, 1, "app")]);
}

#[test]
fn a_wrong_type_or_a_field_given_twice_is_an_error_that_names_it() {
    for (text, error) in [
        ("[]", "expected a pod (an object)"),
        ("null", "expected a pod (an object)"),
        (r#"{"metadata":[]}"#, "expected metadata (an object)"),
        (r#"{"metadata":{"name":1}}"#, "expected a string"),
        (
            r#"{"metadata":{"labels":["a"]}}"#,
            "expected a map of strings (an object)",
        ),
        (r#"{"metadata":{"labels":{"a":1}}}"#, "expected a string"),
        (
            r#"{"metadata":{"annotations":{"x/token-expiration":3600}}}"#,
            "expected a string",
        ),
        (
            r#"{"metadata":{"ownerReferences":[{"controller":"true"}]}}"#,
            "expected a boolean",
        ),
        (r#"{"spec":[]}"#, "expected a pod's spec (an object)"),
        (r#"{"spec":{"containers":{}}}"#, "expected a sequence"),
        (r#"{"spec":{"containers":["app"]}}"#, "expected a container (an object)"),
        (
            r#"{"spec":{"containers":[{"env":{}}]}}"#,
            "expected a list of environment variables",
        ),
        (
            r#"{"spec":{"containers":[{"env":[{"name":true}]}]}}"#,
            "expected a string",
        ),
        (
            r#"{"spec":{"containers":[{"volumeMounts":[[]]}]}}"#,
            "expected a volume mount (an object)",
        ),
        (r#"{"spec":{"volumes":[3]}}"#, "expected a volume (an object)"),
        (
            r#"{"spec":{"volumes":[{"projected":{"sources":[{"serviceAccountToken":"x"}]}}]}}"#,
            "serviceAccountToken",
        ),
        (r#"{"metadata":{},"metadata":{}}"#, "duplicate field `metadata`"),
        (r#"{"metadata":null,"metadata":{}}"#, "duplicate field `metadata`"),
        (
            r#"{"spec":{"containers":[],"\u0063ontainers":[]}}"#,
            "duplicate field `containers`",
        ),
        (
            r#"{"spec":{"volumes":[{"name":"a","name":"b"}]}}"#,
            "duplicate field `name`",
        ),
        (
            r#"{"spec":{"volumes":[{"projected":null,"projected":{}}]}}"#,
            "duplicate field `projected`",
        ),
    ] {
        let message = serde_json::from_str::<PodView<'_>>(text).unwrap_err().to_string();
        assert!(message.contains(error), "{text}: {message}");
    }
}

#[test]
fn a_pod_is_for_windows_by_its_os_or_its_node_selector() {
    for (spec, windows) in [
        (json!({"os": {"name": "windows"}}), true),
        (json!({"os": {"name": "linux"}}), false),
        (json!({"nodeSelector": {"kubernetes.io/os": "windows"}}), true),
        (json!({"nodeSelector": {"beta.kubernetes.io/os": "windows"}}), true),
        (json!({"nodeSelector": {"kubernetes.io/arch": "windows"}}), false),
        (json!({"nodeSelector": {"kubernetes.io/os": "linux"}}), false),
    ] {
        views_of(&json!({ "spec": spec }), |pod| {
            assert_eq!(pod.is_windows(), windows, "{spec}")
        });
    }
}

#[test]
fn a_token_volume_is_a_projected_token_at_its_path_with_an_audience() {
    let volume = |volume: serde_json::Value| json!({"spec": {"volumes": [volume]}});
    let sources =
        |sources: serde_json::Value| volume(json!({"name": "aws-iam-token", "projected": {"sources": sources}}));
    for (pod, audience) in [
        (
            sources(json!([{"serviceAccountToken": {"audience": "a", "path": "token"}}])),
            Some("a"),
        ),
        (
            sources(json!([{"configMap": {}}, {"serviceAccountToken": {"audience": "a", "path": "token"}}])),
            Some("a"),
        ),
        (
            sources(json!([{"serviceAccountToken": {"audience": "a", "path": "other"}}])),
            None,
        ),
        (sources(json!([{"serviceAccountToken": {"path": "token"}}])), None),
        (
            sources(json!([{"serviceAccountToken": {"audience": "", "path": "token"}}])),
            None,
        ),
        (sources(json!([{"configMap": {"name": "x"}}])), None),
        (
            volume(json!({"name": "aws-iam-token", "hostPath": {"path": "/"}})),
            None,
        ),
        (
            volume(json!({
                "name": "other", "projected": {"sources": [{"serviceAccountToken": {"audience": "a", "path": "token"}}]},
            })),
            None,
        ),
    ] {
        views_of(&pod, |view| assert_eq!(view.token_audience(), audience, "{pod}"));
    }
}

#[test]
fn other_variables_are_kept_only_where_one_of_ours_may_refer_to_them() {
    let kept = |env: serde_json::Value| {
        let pod = json!({"spec": {"containers": [{"name": "app", "env": env}]}});
        let names = std::cell::RefCell::new(Vec::new());
        views_of(&pod, |view| {
            let (_, _, container) = view.containers().next().unwrap();
            names.borrow_mut().push(
                container
                    .variables()
                    .iter()
                    .map(|own| own.name().to_owned())
                    .collect::<Vec<_>>()
                    .join(" "),
            );
        });
        let mut names = names.into_inner();
        names.dedup();
        names.join("; ")
    };
    let entry = |name: &str, value: &str| json!({"name": name, "value": value});
    let from = json!({"name": "AWS_A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}});
    assert_eq!(
        kept(json!([entry("A", "1"), entry("AWS_A", "x"), entry("B", "$(A)")])),
        "AWS_A"
    );
    assert_eq!(
        kept(json!([entry("A", "1"), entry("AWS_A", "$(A)"), null, entry("B", "")])),
        "A AWS_A B"
    );
    assert_eq!(kept(json!([entry("A", "1"), entry("AWS_A", "$$")])), "A AWS_A");
    assert_eq!(kept(json!([entry("A", "1"), from])), "AWS_A");
}
