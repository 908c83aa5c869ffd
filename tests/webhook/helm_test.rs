//! The pod that `helm test` creates, as the chart renders it.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::injection::patched;
use crate::program::{Folder, Program};
use crate::reviews::creation;
use crate::tools;

/// The objects of the chart's test; none where Helm is missing.
fn rendered() -> Option<Vec<Value>> {
    let helm = match tools::helm() {
        Ok(helm) => helm,
        Err(missing) => {
            missing.skip("the pod of helm test");
            return None;
        }
    };
    let chart = Path::new(env!("CARGO_MANIFEST_DIR")).join("charts/rolegate");
    let output = Command::new(helm)
        .args(["template", "rolegate", chart.to_str().unwrap()])
        .args(["--show-only", "templates/tests/gated-pod.yaml"])
        .args(["--set", "image.repository=registry.example.com/rolegate"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let objects = serde_saphyr::from_multiple(&String::from_utf8(output.stdout).unwrap());
    Some(objects.expect("Helm renders YAML"))
}

fn of_kind<'a>(objects: &'a [Value], kind: &str) -> &'a Value {
    objects.iter().find(|object| object["kind"] == kind).unwrap()
}

/// An alert or a person who reads metrics must not find a role that is not trusted, only because the installation was tested.
#[tokio::test]
async fn the_pod_is_injected_and_leaves_no_verdict() {
    let Some(objects) = rendered() else { return };
    let namespace = of_kind(&objects, "Namespace");
    let name = namespace["metadata"]["name"].as_str().unwrap();
    let mode = namespace["metadata"]["labels"]["rolegate.io/gate"].as_str().unwrap();
    let folder = Folder::new();
    folder.write("account.yaml", &of_kind(&objects, "ServiceAccount").to_string());
    let audit = folder.path().join("audit.log");
    let mut program = Program::serve(&folder, &["--audit-log", audit.to_str().unwrap(), "--drain", "0s"]);

    let pod = of_kind(&objects, "Pod");
    let response = program.review(&format!("/mutate/{mode}"), &creation(pod)).await;
    let injected = patched(pod, &response);
    let mounted = &pod["spec"]["containers"][0]["volumeMounts"][0]["name"];
    let volumes = injected["spec"]["volumes"].as_array().unwrap();
    assert!(volumes.iter().any(|volume| volume["name"] == *mounted), "{injected}");
    let variables = injected["spec"]["containers"][0]["env"].as_array().unwrap();
    let role = json!({"name": "AWS_ROLE_ARN", "value": format!("arn:aws:iam::111122223333:role/{name}")});
    assert!(variables.contains(&role), "{injected}");

    let (_, metrics) = program.get("/metrics").await;
    let counted: Vec<&str> = metrics
        .lines()
        .filter(|line| line.starts_with("rolegate_decisions_total{") && !line.ends_with(" 0"))
        .collect();
    let expected =
        format!(r#"rolegate_decisions_total{{action="inject",verdict="",cause="identity-not-used",mode="{mode}"}} 1"#);
    assert_eq!(counted, [expected]);
    program.signal("TERM");
    program.wait();
    let audit = std::fs::read_to_string(audit).unwrap();
    let line: Value = serde_json::from_str(audit.lines().next().unwrap()).unwrap();
    assert_eq!(
        (&line["verdict"], &line["action"]),
        (&Value::Null, &json!("inject")),
        "{line}"
    );
}
