//! OpenReports on an API server with the published CRDs.

use std::fs;

use serde_json::json;

use crate::cluster::{Cluster, Gate, trust_policy};
use crate::scenarios::Scenarios;
use crate::wait::until_ok;

const CRDS: [&str; 2] = [
    include_str!("../schemas/openreports.io_reports.yaml"),
    include_str!("../schemas/openreports.io_clusterreports.yaml"),
];

pub(crate) fn register(scenarios: &mut Scenarios) {
    scenarios.parallel(reports_of_an_audit_are_stored_as_they_are_printed);
}

fn reports_of_an_audit_are_stored_as_they_are_printed(cluster: &Cluster) {
    for crd in CRDS {
        cluster.apply(crd).ok();
    }
    let namespace = cluster.namespace("audited", Gate::Enforce);
    let shell = cluster.shell("reports");
    let roles = shell.folder.join("manifests/roles/111122223333");
    fs::create_dir_all(&roles).unwrap();
    fs::write(
        roles.join("job.json"),
        trust_policy(&namespace.name, "good").to_string(),
    )
    .unwrap();
    let account = |name: &str| {
        json!({
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": {
                "name": name,
                "namespace": namespace.name,
                "annotations": {"eks.amazonaws.com/role-arn": "arn:aws:iam::111122223333:role/job"},
            },
        })
    };
    for name in ["good", "bad"] {
        let file = shell.folder.join(format!("manifests/{name}.yaml"));
        fs::write(file, account(name).to_string()).unwrap();
    }
    let issuer = crate::control_plane::ISSUER;
    let line = format!(
        "rolegate audit --standalone manifests --issuer {issuer} --output openreports > reports.yaml; \
         kubectl apply --server-side --validate=strict --filename reports.yaml"
    );
    // Twice: the second audit updates the report of the first one.
    for _ in 0..2 {
        until_ok("the reports are stored", || {
            let output = shell.run(&line);
            if output.succeeded() { Ok(()) } else { Err(output) }
        });
    }
    let report = namespace.json(&["get", "reports.openreports.io", "rolegate-audit"]);
    assert_eq!(report["summary"]["fail"], 1, "{report:#}");
    assert_eq!(report["summary"]["pass"], 1, "{report:#}");
    let result = &report["results"][0];
    assert_eq!(result["rule"], "wrong-subject", "{report:#}");
    assert_eq!(result["resources"][0]["name"], "bad");
    assert!(result["properties"]["fix"].is_string(), "{report:#}");
}
