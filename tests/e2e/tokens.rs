//! `rolegate audit` of a cluster with controllers that exchange tokens of ServiceAccounts without a pod: one object or more per row of
//! their table, on the CRDs that External Secrets, cert-manager and Flux publish in their Go modules.
//!
//! `tests/workload-cases/tokens.json` has the objects, each with the rows of the report that it should have.

use std::collections::BTreeSet;
use std::fs;

use rolegate::workloads;
use serde_json::{Value, json};

use crate::cluster::{ExclusiveCluster, Gate, trust_policy};
use crate::control_plane::ISSUER;
use crate::custom_resources::Crds;
use crate::scenarios::Scenarios;
use crate::support::published::{self, GoFolder};
use crate::wait::until_ok;

pub(crate) fn register(scenarios: &mut Scenarios) {
    scenarios.serial(tokens_that_controllers_request_are_audited);
}

/// The modules of the controllers, with the folders of their CRDs.
const CONTROLLERS: [GoFolder; 4] = [
    GoFolder {
        module: "github.com/external-secrets/external-secrets@v0.16.2",
        sum: "h1:iNY+gIgSyL5higXTfnz+hdPCaiB/43UiHLqE7HBpj68=",
        folder: "config/crds/bases",
    },
    GoFolder {
        module: "github.com/cert-manager/cert-manager@v1.21.2",
        sum: "h1:UWgoYM+KLNtRlqmoWOKjKBOBUPVHeepQ6/ac3ERJW68=",
        folder: "deploy/crds",
    },
    GoFolder {
        module: "github.com/fluxcd/source-controller@v1.9.6",
        sum: "h1:nG534/bI6nVpyHra7ONAk6xDB3xPsVT+EOLHZHXPrrc=",
        folder: "config/crd/bases",
    },
    GoFolder {
        module: "github.com/fluxcd/kustomize-controller@v1.9.6",
        sum: "h1:XB+G3A0mky0j5uVHZWv4oSlS2RvZBoNIUhstIvY0JKE=",
        folder: "config/crd/bases",
    },
];

/// Groups whose CRDs are not available, and why. `tests/cli/audit.rs` has an object of their resources.
const NOT_PUBLISHED: [(&str, &str); 1] = [(
    "image.toolkit.fluxcd.io",
    "github.com/fluxcd/image-reflector-controller is not served by the module proxy",
)];

fn tokens_that_controllers_request_are_audited(cluster: &ExclusiveCluster<'_>) {
    let namespace = cluster.namespace("tokens", Gate::None);
    // That of the ServiceAccounts of a ClusterIssuer.
    let of_issuers = cluster.namespace_named("cert-manager", Gate::None);
    let cases = include_str!("../workload-cases/tokens.json").replace("NAMESPACE", &namespace.name);
    let cases: Vec<Value> = serde_json::from_str(&cases).unwrap();
    assert_every_row_has_an_object(&cases);

    let shell = cluster.shell("tokens");
    let roles = shell.folder.join("roles");
    fs::create_dir_all(&roles).unwrap();
    for (name, trusted) in [("trusted", "trusted"), ("other", "another")] {
        let role = json!({"Role": {
            "RoleName": name,
            "Arn": format!("arn:aws:iam::111122223333:role/{name}"),
            "AssumeRolePolicyDocument": trust_policy(&namespace.name, trusted),
        }});
        fs::write(roles.join(format!("{name}.json")), role.to_string()).unwrap();
    }
    for (account, role) in [
        ("trusted", Some("trusted")),
        ("untrusted", Some("other")),
        ("plain", None),
    ] {
        namespace.kubectl(&["create", "serviceaccount", account]).ok();
        if let Some(role) = role {
            namespace.annotate(account, &format!("arn:aws:iam::111122223333:role/{role}"));
        }
    }
    of_issuers.kubectl(&["create", "serviceaccount", "plain"]).ok();

    let mut crds = Crds::new(cluster);
    let folders = published::go_folders(&CONTROLLERS).unwrap_or_else(|missing| panic!("{missing}"));
    crds.install(
        &folders,
        workloads::token_resources().iter().map(|row| &row.resource_type),
    );
    for case in &cases {
        let object = case["object"].to_string();
        until_ok("an answer of the API server", || {
            let output = namespace.apply(&object);
            // The API server serves a CRD a moment after it is established.
            if output.stderr.contains("no matches for kind") {
                return Err(output.to_string());
            }
            Ok(output)
        })
        .ok();
    }

    let audit = format!("rolegate audit --issuer {ISSUER} --role-source files=roles");
    let output = shell.run(&format!("{audit} --output json"));
    assert_eq!((output.code, output.stderr.as_str()), (Some(1), ""), "{output}");
    let namespaces = [&namespace.name, &of_issuers.name];
    let report: Value = serde_json::from_str(&output.stdout).unwrap();
    let reported: BTreeSet<String> = report["serviceAccounts"]
        .as_array()
        .expect("the rows")
        .iter()
        .filter(|row| row["kind"] == "workload" && namespaces.iter().any(|name| row["namespace"] == **name))
        .map(|row| line(row, &row["objectKind"], &row["objectName"]))
        .collect();
    let expected: BTreeSet<String> = cases
        .iter()
        .flat_map(|case| {
            let object = &case["object"];
            let rows = case["rows"].as_array().expect("each case has rows").iter();
            rows.map(|row| line(row, &object["kind"], &object["metadata"]["name"]))
        })
        .collect();
    assert_eq!(reported, expected, "{output}");
    drop(crds);
}

/// A row of a report in one line.
fn line(row: &Value, kind: &Value, name: &Value) -> String {
    let row = |field: &str| row[field].as_str().unwrap_or("-");
    format!(
        "{} {}, {}: {}/{}, {}, {}, {}",
        kind.as_str().expect("a kind"),
        name.as_str().expect("a name"),
        row("objectPath"),
        row("namespace"),
        row("serviceAccount"),
        row("verdict"),
        row("cause"),
        row("roleArn")
    )
}

/// Every row of the table has an object whose token is reported as a finding, or its absence has a reason.
fn assert_every_row_has_an_object(cases: &[Value]) {
    for row in workloads::token_resources().iter().map(|row| &row.resource_type) {
        if NOT_PUBLISHED.iter().any(|(group, _)| *group == row.group) {
            continue;
        }
        let is_of_row = |object: &Value| {
            let versions = row.versions.iter().map(|version| format!("{}/{version}", row.group));
            object["kind"] == *row.kind && versions.into_iter().any(|version| object["apiVersion"] == version)
        };
        let finds = |case: &&Value| {
            let rows = case["rows"].as_array().expect("each case has rows");
            rows.iter().any(|row| row["verdict"] == "not-trusted")
        };
        let mut objects = cases.iter().filter(|case| is_of_row(&case["object"]));
        assert!(
            objects.any(|case| finds(&case)),
            "no object of {}/{}",
            row.group,
            row.kind
        );
    }
}
