//! What is not a valid review is refused with a reason: never a panic, never an admission.

use hyper::body::Bytes;
use serde_json::{Value, json};

use crate::program::{Folder, Program};
use crate::reviews::{creation, job_pod};

#[tokio::test]
async fn bad_bodies_are_4xx_with_a_status_that_says_why() {
    let folder = Folder::new();
    let program = Program::serve(&folder, &[]);
    let whole = creation(&job_pod("jobs", "default")).to_string();
    let mut beta = creation(&job_pod("jobs", "default"));
    beta["apiVersion"] = json!("admission.k8s.io/v1beta1");
    let mut no_spec = creation(&job_pod("jobs", "default"));
    no_spec["request"]["object"].as_object_mut().unwrap().remove("spec");
    let mut config_map =
        creation(&json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"namespace": "jobs"}, "data": {}}));
    config_map["request"]["kind"]["kind"] = json!("ConfigMap");
    let mut secret = creation(&job_pod("jobs", "default"));
    secret["request"]["object"]["kind"] = json!("Secret");
    let mut spec_is_text = creation(&job_pod("jobs", "default"));
    spec_is_text["request"]["object"]["spec"] = json!("none");
    let mut no_operation = creation(&job_pod("jobs", "default"));
    no_operation["request"].as_object_mut().unwrap().remove("operation");
    let mut other_operation = creation(&job_pod("jobs", "default"));
    other_operation["request"]["operation"] = json!("INVENT");
    let nested = whole.replace(
        r#""securityContext":{}"#,
        &format!(r#""securityContext":{}"#, "[".repeat(100_000)),
    );
    let in_containers = whole.replace(r#""containers":["#, &format!(r#""containers":{}"#, "[".repeat(100_000)));
    for (what, body, words) in [
        ("empty", Vec::new(), "empty"),
        ("truncated", whole.as_bytes()[..whole.len() / 2].to_vec(), "EOF"),
        ("no JSON", b"apiVersion: v1".to_vec(), "admission.k8s.io/v1"),
        (
            "wrong kind of review",
            br#"{"apiVersion":"v1","kind":"Pod"}"#.to_vec(),
            "Pod",
        ),
        ("v1beta1", beta.to_string().into_bytes(), "v1beta1"),
        ("wrong object", config_map.to_string().into_bytes(), "ConfigMap"),
        (
            "an object of another kind than the request names",
            secret.to_string().into_bytes(),
            "Secret",
        ),
        (
            "invalid UTF-8",
            whole
                .replace("daily", "\u{1}")
                .into_bytes()
                .into_iter()
                .map(|b| if b == 1 { 0xff } else { b })
                .collect(),
            "UTF-8",
        ),
        ("no operation", no_operation.to_string().into_bytes(), "operation"),
        (
            "an unknown operation",
            other_operation.to_string().into_bytes(),
            "operation",
        ),
        ("a pod without spec", no_spec.to_string().into_bytes(), "spec"),
        (
            "a spec that is text",
            spec_is_text.to_string().into_bytes(),
            "invalid type",
        ),
        ("nested without end", nested.into_bytes(), "admission.k8s.io/v1"),
        (
            "containers nested without end",
            in_containers.into_bytes(),
            "admission.k8s.io/v1",
        ),
        ("brackets only", "[".repeat(100_000).into_bytes(), "admission.k8s.io/v1"),
    ] {
        for route in ["/mutate", "/mutate/audit", "/validate/pods/enforce"] {
            let (status, json) = program.post(route, body.clone()).await;
            assert_eq!(status, 400, "{what} on {route}: {json}");
            assert_eq!(json["kind"], "Status", "{what}: {json}");
            assert_eq!(json["apiVersion"], "v1");
            assert_eq!(json["status"], "Failure");
            assert_eq!(json["code"], 400);
            let message = json["message"].as_str().unwrap();
            assert!(message.contains(words), "{what}: {message}");
        }
    }
    // It is still there.
    assert_eq!(program.post("/mutate", whole).await.0, 200);
}

/// Of two fields with one name, readers disagree about which counts: no pod is evaluated by one while the other is created.
#[tokio::test]
async fn a_field_that_is_there_twice_is_refused() {
    let folder = Folder::new();
    let program = Program::serve(&folder, &[]);
    let review = creation(&job_pod("jobs", "default"));
    let whole = review.to_string();
    let twice = |object: &Value, within: &str, field: &str| {
        let other = json!({field: object[field]}).to_string();
        let other = other
            .strip_prefix('{')
            .and_then(|other| other.strip_suffix('}'))
            .unwrap();
        assert!(whole.contains(within));
        whole.replacen(within, &format!("{within}{other},"), 1)
    };
    let request = r#""request":{"#;
    let pod = r#""object":{"#;
    let cases = [
        (
            "request",
            whole.replacen('{', &format!("{{\"request\":{},", review["request"]), 1),
        ),
        ("kind", whole.replacen('{', r#"{"kind":"AdmissionReview","#, 1)),
        ("uid", twice(&review["request"], request, "uid")),
        ("kind", twice(&review["request"], request, "kind")),
        ("namespace", twice(&review["request"], request, "namespace")),
        ("operation", twice(&review["request"], request, "operation")),
        ("object", twice(&review["request"], request, "object")),
        ("oldObject", twice(&review["request"], request, "oldObject")),
        ("dryRun", twice(&review["request"], request, "dryRun")),
        ("metadata", twice(&review["request"]["object"], pod, "metadata")),
        ("spec", twice(&review["request"]["object"], pod, "spec")),
    ];
    for (field, body) in cases {
        for route in ["/mutate", "/validate/pods/enforce"] {
            let (status, json) = program.post(route, body.clone()).await;
            let message = json["message"].as_str().unwrap_or_default();
            assert_eq!(status, 400, "{field}: {json}");
            assert!(
                message.contains(&format!("duplicate field `{field}`")),
                "{field}: {message}"
            );
        }
    }
    assert_eq!(program.post("/mutate", whole).await.0, 200);
}

/// Nothing has validated a forged review. The longest names of Kubernetes have 253 characters.
#[tokio::test]
async fn lines_about_a_review_are_short_whatever_its_values_are() {
    const LINE: usize = 8 * 1024;
    let folder = Folder::new();
    let arn = folder.role("worker", &Folder::trusting("jobs", "worker"));
    folder.account("other", "worker", &[("eks.amazonaws.com/role-arn", &arn)]);
    let audit = folder.path().join("audit.log");
    let flags = [
        "--audit-log",
        audit.to_str().unwrap(),
        "--log-level",
        "debug",
        "--require-role",
        "enforce",
    ];
    let program = Program::serve(&folder, &flags);
    let long = "x".repeat(300_000);
    let review = creation(&job_pod("other", "worker"));
    let with = |change: &dyn Fn(&mut Value)| {
        let mut review = review.clone();
        change(&mut review["request"]);
        review
    };
    let container = |number: usize| {
        json!({
            "name": format!("{number}-{long}"),
            "image": "example",
            "env": [{"name": "AWS_ACCESS_KEY_ID", "value": "x"}, {"name": "AWS_SECRET_ACCESS_KEY", "value": "x"}],
        })
    };
    let reviews = [
        with(&|request| request["uid"] = json!("u".repeat(1_000_000))),
        with(&|request| {
            request["object"]["metadata"]["annotations"]["eks.amazonaws.com/audience"] = json!(long);
        }),
        with(&|request| request["object"]["metadata"]["name"] = json!(long)),
        with(&|request| request["object"]["metadata"]["generateName"] = json!(long)),
        with(&|request| request["object"]["spec"]["serviceAccountName"] = json!(long)),
        with(&|request| {
            request["namespace"] = json!(long);
            request["object"]["metadata"]["namespace"] = json!(long);
        }),
        with(&|request| {
            request["object"]["spec"]["containers"] = (0..40).map(container).collect();
        }),
        with(&|request| request["object"]["metadata"]["ownerReferences"][0]["name"] = json!(long)),
    ];
    for review in &reviews {
        let response = program.review("/mutate/enforce", review).await;
        assert!(
            response["status"]["message"]
                .as_str()
                .is_none_or(|message| message.len() < LINE)
        );
    }
    let lines = crate::program::eventually("the audit log is written", || async {
        let text = std::fs::read_to_string(&audit).ok()?;
        (text.lines().count() == reviews.len()).then_some(text)
    })
    .await;
    for line in lines.lines() {
        assert!(line.len() < LINE, "{} bytes: {}…", line.len(), &line[..500]);
    }
    let log = program.log_lines("");
    assert!(log.iter().any(|line| line.contains("refused a pod")));
    for line in log {
        assert!(line.len() < LINE, "{} bytes: {}…", line.len(), &line[..500]);
    }
}

/// The API server never compresses; a body is not inflated, whatever its headers say.
#[tokio::test]
async fn a_compressed_body_is_refused() {
    let folder = Folder::new();
    let program = Program::serve(&folder, &[]);
    let gzip = Bytes::from_static(&[
        0x1f, 0x8b, 0x08, 0, 0, 0, 0, 0, 0, 0xff, 0xab, 0xae, 0x05, 0, 0x43, 0xbf, 0xa6, 0xa3, 2, 0, 0, 0,
    ]);
    for encoding in ["gzip", "identity"] {
        let headers = [("content-type", "application/json"), ("content-encoding", encoding)];
        let (status, _, body) = program.send("POST", "/mutate", &headers, gzip.clone()).await;
        let json: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!((status, &json["kind"]), (400, &json!("Status")), "{json}");
    }
}

#[tokio::test]
async fn twenty_megabytes_are_too_many_and_the_client_gets_413() {
    let folder = Folder::new();
    let program = Program::serve(&folder, &[]);
    let (status, json) = program.post("/mutate", vec![b' '; 20 << 20]).await;
    assert_eq!(
        (status, &json["reason"]),
        (413, &json!("RequestEntityTooLarge")),
        "{json}"
    );
}

#[tokio::test]
async fn a_review_of_fourteen_megabytes_is_answered() {
    let folder = Folder::new();
    folder.account("jobs", "plain", &[]);
    let program = Program::serve(&folder, &[]);
    let mut pod = job_pod("jobs", "plain");
    pod["metadata"]["annotations"]["big"] = json!("<".repeat(2_300_000));
    let body = creation(&pod).to_string().replace('<', "\\u003c");
    assert!(body.len() > 13_000_000);
    let (status, json) = program.post("/mutate?timeout=30s", body).await;
    assert_eq!((status, &json["response"]["allowed"]), (200, &json!(true)));
}

#[tokio::test]
async fn other_content_types_methods_and_paths() {
    let folder = Folder::new();
    let program = Program::serve(&folder, &[]);
    let review = Bytes::from(creation(&job_pod("jobs", "default")).to_string());
    for (method, route, content_type, expected) in [
        ("POST", "/mutate", "text/plain", 415),
        ("POST", "/mutate", "application/yaml", 415),
        ("POST", "/mutate", "application/json; charset=utf-8", 200),
        ("GET", "/mutate", "application/json", 405),
        ("POST", "/", "application/json", 404),
        ("POST", "/validate/nothing", "application/json", 404),
    ] {
        let (status, _, body) = program
            .send(method, route, &[("content-type", content_type)], review.clone())
            .await;
        assert_eq!(status, expected, "{method} {route} {content_type}");
        if expected != 200 {
            let json: Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(
                (&json["kind"], &json["code"]),
                (&json!("Status"), &json!(expected)),
                "{json}"
            );
        }
    }
    let (status, _, _) = program.send("POST", "/mutate", &[], review).await;
    assert_eq!(status, 415, "no content type at all");
}

#[tokio::test]
async fn broken_files_stop_the_start_and_name_themselves() {
    for (file, content, words) in [
        (
            "broken.yaml",
            "kind: ServiceAccount\nmetadata: [\n",
            &["broken.yaml"][..],
        ),
        (
            "list.yaml",
            "kind: ServiceAccount\nmetadata:\n  name: [a]\n",
            &["list.yaml"],
        ),
        ("roles/broken.json", "{\"Role\": {", &["broken.json:1:10"]),
        ("roles/other.json", "{\"a\": 1}", &["other.json"]),
    ] {
        let folder = Folder::new();
        folder.write(file, content);
        let Err((status, log)) = Program::try_serve(&folder, &[]) else {
            panic!("{file} was taken")
        };
        assert_eq!(status.code(), Some(2), "{log}");
        for word in words {
            assert!(log.contains(word), "{file}: {log}");
        }
    }
}

#[test]
fn errors_of_flags_and_variables_name_them_and_their_values() {
    for (flags, variables, words) in [
        (
            &["--mode", "strict"][..],
            &[][..],
            &["--mode", "enforce, warn or audit"][..],
        ),
        (&["--drain", "soon"], &[], &["--drain"]),
        (
            &[],
            &[("ROLEGATE_TRUST_TTL", "tomorrow")],
            &["ROLEGATE_TRUST_TTL", "5s, 1m or 1h"],
        ),
        (
            &[],
            &[("ROLEGATE_MODE", "strict")],
            &["ROLEGATE_MODE", "enforce, warn or audit"],
        ),
        (&["--token-expiration", "5"], &[], &["--token-expiration", "600"]),
    ] {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_rolegate"))
            .args(["serve", "--standalone", ".", "--issuer", "oidc.example.com"])
            .args(flags)
            .envs(variables.iter().copied())
            .output()
            .unwrap();
        let printed = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{printed}");
        for word in words {
            assert!(
                printed.contains(word),
                "{flags:?} {variables:?} lacks {word}: {printed}"
            );
        }
    }
}
