//! Roles that ACK's and Crossplane's controllers manage: their objects are written with kubectl, and their status as the
//! controllers write it.

use serde_json::{Value, json};

use crate::cluster::{ACCOUNT, ExclusiveCluster, Gate, Namespace, role_of, trust_policy};
use crate::release::{NAME, Release};
use crate::rolegate_calls::calls_since;
use crate::scenarios::Scenarios;
use crate::wait::{until, until_ok};

pub(crate) const ACK_CRD: &str = include_str!("crds/ack.yaml");
const CROSSPLANE_CRDS: &str = include_str!("crds/crossplane.yaml");

pub(crate) fn register(scenarios: &mut Scenarios) {
    scenarios.serial(roles_of_objects_are_judged_once_settled);
}

fn roles_of_objects_are_judged_once_settled(cluster: &ExclusiveCluster<'_>) {
    // Neither CRD is installed yet, and no other source knows these roles.
    let before = cluster.audit_events().len();
    let release = cluster.install(json!({"roleSources": ["ack", "crossplane"], "roleFiles": {"configMap": ""}}));
    let jobs = cluster.namespace("objects", Gate::Enforce);
    let kinds = [
        Kind::Ack,
        Kind::Crossplane("iam.aws.upbound.io"),
        Kind::Crossplane("iam.aws.m.upbound.io"),
    ];
    for kind in kinds {
        let name = kind.role();
        jobs.kubectl(&["create", "serviceaccount", name]).ok();
        jobs.annotate(name, &arn(name));
        // Admitted, with a warning: no source knows the role.
        let output = jobs.create_pod(&format!("{name}-early"), name, &[]);
        assert!(
            output.warnings().iter().any(|warning| warning.ends_with("(unknown)")),
            "{output:?}"
        );
    }
    until("the log says that the objects are not served", || {
        (release.log().matches("does not serve").count() >= 3).then_some(())
    });

    cluster.apply(ACK_CRD).ok();
    cluster.apply(CROSSPLANE_CRDS).ok();
    for kind in kinds {
        let (name, group) = (kind.role(), kind.group());
        let object = format!("roles.{group}/{name}");
        until_ok("the object is taken", || {
            let output = jobs.apply(&kind.object(&jobs, "somebody-else").to_string());
            output.succeeded().then_some(()).ok_or(output.stderr)
        });
        settle(&jobs, &object, &kind.status(&jobs, "somebody-else", "False"));
        settle(&jobs, &object, &kind.status(&jobs, "somebody-else", "True"));
        // A change that the watch reports is read again at once.
        let mut number = 0;
        let refusal = until("a refusal", || {
            number += 1;
            let output = jobs.create_pod(&format!("{name}-stranger-{number}"), name, &["--dry-run=server"]);
            (!output.succeeded()).then_some(output.stderr)
        });
        assert!(refusal.contains("(wrong-subject)"), "{refusal}");

        jobs.apply(&kind.object(&jobs, name).to_string()).ok();
        settle(&jobs, &object, &kind.status(&jobs, name, "True"));
        let pod = format!("{name}-trusted");
        until_ok("the fixed role lets the pod in", || {
            let output = jobs.create_pod(&pod, name, &[]);
            (output.succeeded() && output.warnings().is_empty())
                .then_some(())
                .ok_or(output.stderr)
        });
        assert_eq!(role_of(&jobs.json(&["get", "pod", &pod])), Some(arn(name)));

        // Not believed any more: unknown, so admitted with a warning.
        settle(&jobs, &object, &kind.status(&jobs, "somebody-else", "False"));
        let mut number = 0;
        until("doubt", || {
            number += 1;
            let output = jobs.create_pod(&format!("{name}-doubt-{number}"), name, &["--dry-run=server"]);
            output
                .warnings()
                .iter()
                .any(|warning| warning.ends_with("(unknown)"))
                .then_some(())
        });
    }
    // One line a change of state, and not one a request.
    assert_eq!(
        release.log().matches("does not serve").count(),
        3 * release.replicas().len()
    );
    each_permission_is_used_and_needed(
        cluster,
        &release,
        before,
        "roles",
        &[
            ("iam.services.k8s.aws", "iam.services.k8s.aws"),
            ("iam.aws.upbound.io", "iam.aws.upbound.io"),
            ("iam.aws.m.upbound.io", "iam.aws.upbound.io"),
        ],
    );
    // The CRDs stay: they go with the cluster.
}

/// The chart's rights to these objects: each was used, and a replica that lacks one says so. `groups`: each API group, and the group by
/// which its rule is found.
pub(crate) fn each_permission_is_used_and_needed(
    cluster: &ExclusiveCluster<'_>,
    release: &Release,
    before: usize,
    resource: &str,
    groups: &[(&str, &str)],
) {
    for (group, rule_of) in groups {
        for (verb, other) in [("list", "watch"), ("watch", "list")] {
            let used = calls_since(cluster, before).iter().any(|call| {
                let object = &call["objectRef"];
                call["verb"] == verb && object["resource"] == resource && object["apiGroup"] == *group
            });
            assert!(used, "{verb} on {resource}.{group} was never used");
            let role = cluster.json(&["get", "clusterrole", NAME]);
            let rules = role["rules"].as_array().unwrap();
            let place = rules
                .iter()
                .position(|rule| rule["apiGroups"].as_array().unwrap().contains(&json!(rule_of)))
                .unwrap();
            let set = |verbs: Value| {
                let patch = json!([{"op": "replace", "path": format!("/rules/{place}/verbs"), "value": verbs}]);
                cluster
                    .kubectl(&[
                        "patch",
                        "clusterrole",
                        NAME,
                        "--type=json",
                        "--patch",
                        &patch.to_string(),
                    ])
                    .ok();
            };
            set(json!([other]));
            let replica = release.start_replica();
            let words = format!("cannot {verb} resource \"{resource}\" in API group \"{group}\"");
            until(&words, || {
                replica.log().replace('\\', "").contains(&words).then_some(())
            });
            release.kill(&replica);
            set(rules[place]["verbs"].clone());
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Ack,
    /// By its group.
    Crossplane(&'static str),
}

impl Kind {
    const fn group(self) -> &'static str {
        match self {
            Self::Ack => "iam.services.k8s.aws",
            Self::Crossplane(group) => group,
        }
    }

    /// The role's name, and its ServiceAccount's.
    fn role(self) -> &'static str {
        match self {
            Self::Ack => "by-ack",
            Self::Crossplane("iam.aws.upbound.io") => "by-crossplane",
            Self::Crossplane(_) => "by-crossplane-namespaced",
        }
    }

    /// The object as its author writes it; the role trusts this ServiceAccount.
    fn object(self, jobs: &Namespace, trusted: &str) -> Value {
        let policy = trust_policy(&jobs.name, trusted).to_string();
        let name = self.role();
        match self {
            Self::Ack => json!({
                "apiVersion": "iam.services.k8s.aws/v1alpha1", "kind": "Role", "metadata": {"name": name},
                "spec": {"name": name, "assumeRolePolicyDocument": policy},
            }),
            Self::Crossplane(group) => json!({
                "apiVersion": format!("{group}/v1beta1"), "kind": "Role", "metadata": {"name": name},
                "spec": {"forProvider": {"assumeRolePolicy": policy}},
            }),
        }
    }

    /// The status as its controller writes it.
    fn status(self, jobs: &Namespace, trusted: &str, settled: &str) -> Value {
        let arn = arn(self.role());
        match self {
            Self::Ack => json!({"status": {
                "ackResourceMetadata": {"arn": arn, "ownerAccountID": ACCOUNT, "region": "us-west-2"},
                "conditions": [{"type": "ACK.ResourceSynced", "status": settled}],
            }}),
            Self::Crossplane(_) => json!({"status": {
                "atProvider": {"arn": arn, "assumeRolePolicy": trust_policy(&jobs.name, trusted).to_string()},
                "conditions": [{"type": "Synced", "status": settled}, {"type": "Ready", "status": "True"}],
            }}),
        }
    }
}

fn arn(name: &str) -> String {
    format!("arn:aws:iam::{ACCOUNT}:role/{name}")
}

pub(crate) fn settle(jobs: &Namespace, object: &str, status: &Value) {
    let patch = status.to_string();
    jobs.kubectl(&[
        "patch",
        object,
        "--subresource=status",
        "--type=merge",
        "--patch",
        &patch,
    ])
    .ok();
}
