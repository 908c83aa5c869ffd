//! One `Role` object: which role it is, and its trust policy.

use std::sync::Arc;

use serde_json::Value;

use crate::kubernetes::managed_objects::{Definition, Kind, ManagedObject};
use crate::roles::source::RoleDocument;
use crate::trust::{Origin, RoleArn};

/// A kind of `Role` objects, and where their fields are.
#[derive(Debug)]
pub(super) struct RoleKind {
    definition: Definition,
    arn: &'static str,
    policy: &'static str,
    tags: Option<&'static str>,
}

/// ACK writes what it was asked for to `spec`, and when AWS has it so, to the condition `Ready`; controllers of before 2025
/// know only `ACK.ResourceSynced`.
pub(super) const ACK: &[RoleKind] = &[RoleKind {
    definition: Definition {
        what: "ACK's Role objects (roles.iam.services.k8s.aws)",
        group: "iam.services.k8s.aws",
        version: "v1alpha1",
        kind: "Role",
        plural: "roles",
        settled: &["Ready", "ACK.ResourceSynced"],
        failed: Some("ACK.Terminal"),
    },
    arn: "/status/ackResourceMetadata/arn",
    policy: "/spec/assumeRolePolicyDocument",
    // The controller adds tags of its own, which the object does not show.
    tags: None,
}];

/// Crossplane copies the role in AWS to `status.atProvider`; the condition `Synced` shows that it could read it.
pub(super) const CROSSPLANE: &[RoleKind] = &[
    crossplane(
        "Crossplane's Role objects (roles.iam.aws.upbound.io)",
        "iam.aws.upbound.io",
    ),
    crossplane(
        "Crossplane's namespaced Role objects (roles.iam.aws.m.upbound.io)",
        "iam.aws.m.upbound.io",
    ),
];

const fn crossplane(what: &'static str, group: &'static str) -> RoleKind {
    RoleKind {
        definition: Definition {
            what,
            group,
            version: "v1beta1",
            kind: "Role",
            plural: "roles",
            settled: &["Synced"],
            failed: None,
        },
        arn: "/status/atProvider/arn",
        policy: "/status/atProvider/assumeRolePolicy",
        tags: Some("/status/atProvider/tagsAll"),
    }
}

impl RoleKind {
    /// What is watched.
    pub(super) fn watched(&'static self) -> Kind<RoleArn, RoleDocument> {
        Kind {
            definition: &self.definition,
            read: Arc::new(|object| self.role(object)),
        }
    }

    /// The role, if AWS has it as the object says, and the object says which role it is and with which policy.
    fn role(&self, object: &ManagedObject) -> Option<(RoleArn, RoleDocument)> {
        object.settled(&self.definition).ok()?;
        let text = |pointer| object.at(pointer).and_then(Value::as_str);
        let role = RoleArn::parse(text(self.arn)?).ok()?;
        let document = RoleDocument {
            origin: Origin::Stored,
            policy: Arc::from(text(self.policy)?),
            tags: self.tags.and_then(|pointer| tags(object.at(pointer)?)),
        };
        Some((role, document))
    }
}

fn tags(tags: &Value) -> Option<Arc<[(String, String)]>> {
    let tags = tags.as_object()?.iter();
    tags.map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const ARN: &str = "arn:aws:iam::111122223333:role/job";

    fn ack(edit: impl FnOnce(&mut Value)) -> Option<(RoleArn, RoleDocument)> {
        let mut object = json!({
            "metadata": {"name": "job", "namespace": "infra", "generation": 3},
            "spec": {"name": "job", "assumeRolePolicyDocument": "{}"},
            "status": {
                "ackResourceMetadata": {"arn": ARN, "ownerAccountID": "111122223333", "region": "us-west-2"},
                "conditions": [{"type": "ACK.ResourceSynced", "status": "True"}],
            },
        });
        edit(&mut object);
        ACK[0].role(&serde_json::from_value(object).unwrap())
    }

    fn settled(policy: &str) -> Option<(RoleArn, RoleDocument)> {
        let document = RoleDocument {
            origin: Origin::Stored,
            policy: policy.into(),
            tags: None,
        };
        Some((RoleArn::parse(ARN).unwrap(), document))
    }

    #[test]
    fn an_ack_role_counts_once_it_is_synced_with_aws() {
        assert_eq!(ack(|_| {}), settled("{}"));
        let conditions = |conditions: Value| ack(|object| object["status"]["conditions"] = conditions);
        for (reported, state) in [
            (json!([{"type": "Ready", "status": "True"}]), settled("{}")),
            (json!([]), None),
            (json!(null), None),
            (json!("text"), None),
            (json!([{"type": "ACK.ResourceSynced", "status": "False"}]), None),
            (json!([{"type": "ACK.ResourceSynced", "status": "Unknown"}]), None),
            // The newer condition is the better one.
            (
                json!([{"type": "ACK.ResourceSynced", "status": "True"}, {"type": "Ready", "status": "False"}]),
                None,
            ),
            (
                json!([{"type": "ACK.ResourceSynced", "status": "True"}, {"type": "ACK.Terminal", "status": "True"}]),
                None,
            ),
            (
                json!([{"type": "ACK.ResourceSynced", "status": "True"}, {"type": "ACK.Terminal", "status": "False"}]),
                settled("{}"),
            ),
            // About the generation before this edit.
            (
                json!([{"type": "Ready", "status": "True", "observedGeneration": 2}]),
                None,
            ),
            (
                json!([{"type": "Ready", "status": "True", "observedGeneration": 3}]),
                settled("{}"),
            ),
        ] {
            assert_eq!(conditions(reported.clone()), state, "{reported}");
        }
    }

    #[test]
    fn an_object_that_is_being_deleted_does_not_count() {
        let state = ack(|object| object["metadata"]["deletionTimestamp"] = json!("2026-11-22T10:00:00Z"));
        assert_eq!(state, None);
    }

    #[test]
    fn a_settled_object_without_arn_or_policy_is_unsettled() {
        let edits: [fn(&mut Value); 5] = [
            |object| object["status"]["ackResourceMetadata"] = json!({}),
            |object| object["status"]["ackResourceMetadata"]["arn"] = json!("job"),
            |object| object["spec"] = json!(null),
            |object| object["spec"]["assumeRolePolicyDocument"] = json!({"Version": "2012-10-17"}),
            |object| {
                object.as_object_mut().unwrap().remove("spec");
            },
        ];
        for edit in edits {
            assert_eq!(ack(edit), None);
        }
    }

    #[test]
    fn a_crossplane_role_counts_as_observed() {
        for kind in CROSSPLANE {
            let object = |synced: &str| {
                let object: ManagedObject = serde_json::from_value(json!({
                    "metadata": {"name": "job"},
                    "spec": {"forProvider": {"assumeRolePolicy": "{\"asked\": \"for\"}"}},
                    "status": {
                        "atProvider": {"arn": ARN, "assumeRolePolicy": "{\"seen\": true}", "tagsAll": {"team": "blue"}},
                        "conditions": [{"type": "Ready", "status": "True"}, {"type": "Synced", "status": synced}],
                    },
                }))
                .unwrap();
                kind.role(&object)
            };
            let Some((role, document)) = object("True") else {
                panic!("{kind:?}")
            };
            assert_eq!((role.as_str(), &*document.policy), (ARN, "{\"seen\": true}"));
            assert_eq!(
                document.tags.unwrap().to_vec(),
                [("team".to_owned(), "blue".to_owned())]
            );
            assert_eq!(object("False"), None);
        }
    }
}
