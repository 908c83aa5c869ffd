//! One `Role` object: which role it is, and whether AWS has it so.

use std::borrow::Cow;
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use kube::core::DynamicResourceScope;
use serde::Deserialize;
use serde_json::Value;

use crate::roles::source::RoleDocument;
use crate::trust::{Origin, RoleArn};

/// A kind of `Role` objects, and where their fields are.
#[derive(Debug)]
pub(super) struct Definition {
    /// In log lines.
    pub(super) what: &'static str,
    group: &'static str,
    version: &'static str,
    arn: &'static str,
    policy: &'static str,
    tags: Option<&'static str>,
    /// The conditions that say that AWS has what the object says: the first of them that the object has decides.
    settled: &'static [&'static str],
    /// A condition that says that it never will.
    failed: Option<&'static str>,
}

/// ACK writes what it was asked for to `spec`, and when AWS has it so, to the condition `Ready`; controllers of before 2025
/// know only `ACK.ResourceSynced`.
pub(super) const ACK: &[Definition] = &[Definition {
    what: "ACK's Role objects (roles.iam.services.k8s.aws)",
    group: "iam.services.k8s.aws",
    version: "v1alpha1",
    arn: "/status/ackResourceMetadata/arn",
    policy: "/spec/assumeRolePolicyDocument",
    // The controller adds tags of its own, which the object does not show.
    tags: None,
    settled: &["Ready", "ACK.ResourceSynced"],
    failed: Some("ACK.Terminal"),
}];

/// Crossplane copies what it saw at AWS to `status.atProvider`; `Synced` says that it could look.
pub(super) const CROSSPLANE: &[Definition] = &[
    crossplane(
        "Crossplane's Role objects (roles.iam.aws.upbound.io)",
        "iam.aws.upbound.io",
    ),
    crossplane(
        "Crossplane's namespaced Role objects (roles.iam.aws.m.upbound.io)",
        "iam.aws.m.upbound.io",
    ),
];

const fn crossplane(what: &'static str, group: &'static str) -> Definition {
    Definition {
        what,
        group,
        version: "v1beta1",
        arn: "/status/atProvider/arn",
        policy: "/status/atProvider/assumeRolePolicy",
        tags: Some("/status/atProvider/tagsAll"),
        settled: &["Synced"],
        failed: None,
    }
}

/// A `Role` object as received. Nothing is assumed about its fields: one object of another shape must not stop the
/// list that it is in.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct RoleObject {
    metadata: ObjectMeta,
    #[serde(default)]
    spec: Value,
    #[serde(default)]
    status: Value,
}

/// What an object comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// AWS has this role, with this policy.
    Settled(RoleArn, RoleDocument),
    /// Not yet, not for sure, or the object does not say which role it is or with which policy.
    Unsettled,
}

impl RoleObject {
    /// `NAMESPACE/NAME`, or the name of an object of the cluster.
    pub(super) fn name(&self) -> String {
        let name = self.metadata.name.as_deref().unwrap_or_default();
        match &self.metadata.namespace {
            Some(namespace) => format!("{namespace}/{name}"),
            None => name.to_owned(),
        }
    }

    pub(super) fn state(&self, definition: &Definition) -> State {
        if !self.is_settled(definition) {
            return State::Unsettled;
        }
        let text = |pointer| self.at(pointer).and_then(Value::as_str);
        let role = text(definition.arn).map(RoleArn::parse);
        match (role, text(definition.policy)) {
            (Some(Ok(role)), Some(policy)) => State::Settled(
                role,
                RoleDocument {
                    origin: Origin::Stored,
                    policy: Arc::from(policy),
                    tags: definition.tags.and_then(|pointer| self.tags(pointer)),
                },
            ),
            _ => State::Unsettled,
        }
    }

    fn is_settled(&self, definition: &Definition) -> bool {
        // What is about to be deleted may be gone from AWS already.
        if self.metadata.deletion_timestamp.is_some() {
            return false;
        }
        if definition.failed.is_some_and(|kind| self.condition(kind) == Some(true)) {
            return false;
        }
        let reported = definition.settled.iter().find_map(|kind| self.condition(kind));
        reported == Some(true)
    }

    /// Whether a condition holds now: none when the object does not have it. One that was written about a former generation
    /// of the object says nothing about this one.
    fn condition(&self, kind: &str) -> Option<bool> {
        let conditions = self.status.get("conditions")?.as_array()?;
        let condition = conditions
            .iter()
            .find(|condition| condition.get("type").and_then(Value::as_str) == Some(kind))?;
        let observed = condition.get("observedGeneration").and_then(Value::as_i64);
        let is_current = match (observed, self.metadata.generation) {
            (Some(observed), Some(generation)) => observed >= generation,
            _ => true,
        };
        Some(is_current && condition.get("status").and_then(Value::as_str) == Some("True"))
    }

    fn at(&self, pointer: &str) -> Option<&Value> {
        let (_, path) = pointer.split_once('/')?;
        let (field, rest) = path.split_at_checked(path.find('/')?)?;
        match field {
            "spec" => self.spec.pointer(rest),
            "status" => self.status.pointer(rest),
            _ => None,
        }
    }

    fn tags(&self, pointer: &str) -> Option<Arc<[(String, String)]>> {
        let tags = self.at(pointer)?.as_object()?.iter();
        tags.map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
            .collect()
    }
}

impl Resource for RoleObject {
    type DynamicType = &'static Definition;
    type Scope = DynamicResourceScope;

    fn kind(_: &&'static Definition) -> Cow<'static, str> {
        "Role".into()
    }

    fn group(definition: &&'static Definition) -> Cow<'static, str> {
        definition.group.into()
    }

    fn version(definition: &&'static Definition) -> Cow<'static, str> {
        definition.version.into()
    }

    fn plural(_: &&'static Definition) -> Cow<'static, str> {
        "roles".into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const ARN: &str = "arn:aws:iam::111122223333:role/job";

    fn ack(edit: impl FnOnce(&mut Value)) -> State {
        let mut object = json!({
            "metadata": {"name": "job", "namespace": "infra", "generation": 3},
            "spec": {"name": "job", "assumeRolePolicyDocument": "{}"},
            "status": {
                "ackResourceMetadata": {"arn": ARN, "ownerAccountID": "111122223333", "region": "us-west-2"},
                "conditions": [{"type": "ACK.ResourceSynced", "status": "True"}],
            },
        });
        edit(&mut object);
        let object: RoleObject = serde_json::from_value(object).unwrap();
        object.state(&ACK[0])
    }

    fn settled(policy: &str) -> State {
        let document = RoleDocument {
            origin: Origin::Stored,
            policy: policy.into(),
            tags: None,
        };
        State::Settled(RoleArn::parse(ARN).unwrap(), document)
    }

    #[test]
    fn an_ack_role_counts_once_it_is_synced_with_aws() {
        assert_eq!(ack(|_| {}), settled("{}"));
        let conditions = |conditions: Value| ack(|object| object["status"]["conditions"] = conditions);
        for (reported, state) in [
            (json!([{"type": "Ready", "status": "True"}]), settled("{}")),
            (json!([]), State::Unsettled),
            (json!(null), State::Unsettled),
            (json!("text"), State::Unsettled),
            (
                json!([{"type": "ACK.ResourceSynced", "status": "False"}]),
                State::Unsettled,
            ),
            (
                json!([{"type": "ACK.ResourceSynced", "status": "Unknown"}]),
                State::Unsettled,
            ),
            // The newer condition is the better one.
            (
                json!([{"type": "ACK.ResourceSynced", "status": "True"}, {"type": "Ready", "status": "False"}]),
                State::Unsettled,
            ),
            (
                json!([{"type": "ACK.ResourceSynced", "status": "True"}, {"type": "ACK.Terminal", "status": "True"}]),
                State::Unsettled,
            ),
            (
                json!([{"type": "ACK.ResourceSynced", "status": "True"}, {"type": "ACK.Terminal", "status": "False"}]),
                settled("{}"),
            ),
            // About the generation before this edit.
            (
                json!([{"type": "Ready", "status": "True", "observedGeneration": 2}]),
                State::Unsettled,
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
        assert_eq!(state, State::Unsettled);
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
            assert_eq!(ack(edit), State::Unsettled);
        }
    }

    #[test]
    fn a_crossplane_role_counts_as_observed() {
        for definition in CROSSPLANE {
            let object = |synced: &str| -> State {
                let object: RoleObject = serde_json::from_value(json!({
                    "metadata": {"name": "job"},
                    "spec": {"forProvider": {"assumeRolePolicy": "{\"asked\": \"for\"}"}},
                    "status": {
                        "atProvider": {"arn": ARN, "assumeRolePolicy": "{\"seen\": true}", "tagsAll": {"team": "blue"}},
                        "conditions": [{"type": "Ready", "status": "True"}, {"type": "Synced", "status": synced}],
                    },
                }))
                .unwrap();
                object.state(definition)
            };
            let State::Settled(role, document) = object("True") else {
                panic!("{definition:?}")
            };
            assert_eq!((role.as_str(), &*document.policy), (ARN, "{\"seen\": true}"));
            assert_eq!(
                document.tags.unwrap().to_vec(),
                [("team".to_owned(), "blue".to_owned())]
            );
            assert_eq!(object("False"), State::Unsettled);
        }
    }
}
