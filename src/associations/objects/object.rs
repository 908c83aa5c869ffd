//! One object: which association it is, and whether AWS has it so.

use std::borrow::Cow;
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use kube::core::DynamicResourceScope;
use serde::Deserialize;
use serde_json::Value;

use crate::associations::source::{ClusterId, Found};
use crate::trust::{Association, ClusterArn, RoleArn, SessionTags};

/// A kind of objects.
#[derive(Debug)]
pub(super) struct Definition {
    /// In log lines.
    pub(super) what: &'static str,
    group: &'static str,
    version: &'static str,
    kind: &'static str,
    plural: &'static str,
    fields: Fields,
    /// The conditions that say that AWS has what the object says: the first of them that the object has decides.
    settled: &'static [&'static str],
    /// Whether it is a role that associations refer to.
    pub(super) is_role: bool,
}

/// Where an object has what it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fields {
    /// ACK: what was asked for in `spec`, what AWS gave in `status`.
    Ack,
    /// Crossplane: what was seen at AWS in `status.atProvider`.
    Crossplane,
}

pub(super) const ACK: &[Definition] = &[
    Definition {
        what: "ACK's PodIdentityAssociation objects (podidentityassociations.eks.services.k8s.aws)",
        group: "eks.services.k8s.aws",
        version: "v1alpha1",
        kind: "PodIdentityAssociation",
        plural: "podidentityassociations",
        fields: Fields::Ack,
        settled: &["Ready", "ACK.ResourceSynced"],
        is_role: false,
    },
    Definition {
        what: "ACK's Role objects (roles.iam.services.k8s.aws)",
        group: "iam.services.k8s.aws",
        version: "v1alpha1",
        kind: "Role",
        plural: "roles",
        fields: Fields::Ack,
        settled: &[],
        is_role: true,
    },
];

pub(super) const CROSSPLANE: &[Definition] = &[
    crossplane(
        "Crossplane's PodIdentityAssociation objects (podidentityassociations.eks.aws.upbound.io)",
        "eks.aws.upbound.io",
    ),
    crossplane(
        "Crossplane's namespaced PodIdentityAssociation objects (podidentityassociations.eks.aws.m.upbound.io)",
        "eks.aws.m.upbound.io",
    ),
];

const fn crossplane(what: &'static str, group: &'static str) -> Definition {
    Definition {
        what,
        group,
        version: "v1beta1",
        kind: "PodIdentityAssociation",
        plural: "podidentityassociations",
        fields: Fields::Crossplane,
        settled: &["Synced"],
        is_role: false,
    }
}

/// An object as received. Nothing is assumed about its fields: one object of another shape must not stop the list that it is in.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Object {
    metadata: ObjectMeta,
    #[serde(default)]
    spec: Value,
    #[serde(default)]
    status: Value,
}

/// What an object says of a ServiceAccount of the cluster.
#[derive(Clone, Debug)]
pub(super) struct Said {
    pub(super) namespace: Arc<str>,
    pub(super) service_account: Arc<str>,
    object: Arc<str>,
    is_settled: bool,
    arn: Option<ClusterArn>,
    id: Option<Arc<str>>,
    role: RoleField,
    target_role: RoleField,
    session_tags: SessionTags,
    external_id: Option<Arc<str>>,
}

/// A role in an object.
#[derive(Clone, Debug)]
enum RoleField {
    None,
    Arn(Arc<str>),
    /// `NAMESPACE/NAME` of the object that it is.
    Reference(Arc<str>),
}

impl Said {
    /// The association; `role` looks up what a reference leads to.
    pub(super) fn found(&self, cluster: &ClusterId, role: impl Fn(&str) -> Option<RoleArn>) -> Found {
        let object = crate::support::text::value(&self.object);
        if !self.is_settled {
            return Found::Unknown(
                format!("PodIdentityAssociation object {object} is not in sync with AWS yet").into(),
            );
        }
        let resolve = |field: &RoleField| match field {
            RoleField::None => Ok(None),
            RoleField::Arn(arn) => RoleArn::parse(arn).map(Some).map_err(|error| error.to_string()),
            RoleField::Reference(name) => role(name)
                .map(Some)
                .ok_or_else(|| format!("Role object {} has no ARN", crate::support::text::value(name))),
        };
        match (resolve(&self.role), resolve(&self.target_role)) {
            (Ok(Some(role)), Ok(target_role)) => Found::Association(Arc::new(Association {
                cluster: self.arn.clone().or_else(|| cluster.arn.clone()),
                namespace: Arc::clone(&self.namespace),
                service_account: Arc::clone(&self.service_account),
                id: self.id.clone(),
                role,
                target_role,
                session_tags: self.session_tags,
                external_id: self.external_id.clone(),
            })),
            (Ok(None), _) => Found::Undescribed(format!("PodIdentityAssociation object {object} names no role").into()),
            (Err(why), _) | (_, Err(why)) => {
                Found::Undescribed(format!("PodIdentityAssociation object {object}: {why}").into())
            }
        }
    }
}

impl Object {
    /// `NAMESPACE/NAME`, or the name of an object of the cluster.
    pub(super) fn name(&self) -> String {
        let name = self.metadata.name.as_deref().unwrap_or_default();
        match &self.metadata.namespace {
            Some(namespace) => format!("{namespace}/{name}"),
            None => name.to_owned(),
        }
    }

    /// The ARN of an ACK role that AWS has.
    pub(super) fn role_arn(&self) -> Option<RoleArn> {
        RoleArn::parse(self.status.pointer("/ackResourceMetadata/arn")?.as_str()?).ok()
    }

    /// None for an association of another cluster, or one that names no ServiceAccount.
    pub(super) fn says(&self, definition: &Definition, cluster: &ClusterId) -> Option<Said> {
        let text = |pointer: &str| {
            let (root, rest) = match definition.fields {
                Fields::Ack if pointer.starts_with("/status") => (&self.status, pointer.strip_prefix("/status")),
                Fields::Ack => (&self.spec, Some(pointer)),
                Fields::Crossplane => (self.status.get("atProvider")?, Some(pointer)),
            };
            let found = root.pointer(rest?)?;
            found.as_str().filter(|text| !text.is_empty()).map(Arc::<str>::from)
        };
        let (association_arn, id, role, target, external_id) = match definition.fields {
            Fields::Ack => (
                text("/status/associationARN").or_else(|| text("/status/ackResourceMetadata/arn")),
                text("/status/associationID"),
                self.role_field(text("/roleARN"), "roleRef"),
                self.role_field(text("/targetRoleARN"), "targetRoleRef"),
                text("/status/externalID"),
            ),
            Fields::Crossplane => (
                text("/associationArn"),
                text("/associationId"),
                text("/roleArn").map_or(RoleField::None, RoleField::Arn),
                text("/targetRoleArn").map_or(RoleField::None, RoleField::Arn),
                text("/externalId"),
            ),
        };
        let arn = association_arn.as_deref().and_then(ClusterArn::of_association);
        let name = arn
            .as_ref()
            .map(|arn| Arc::from(arn.name()))
            .or_else(|| text("/clusterName"));
        // One whose cluster is not known yet may be ours.
        if name.is_some_and(|name: Arc<str>| name != cluster.name) {
            return None;
        }
        let tags = match definition.fields {
            Fields::Ack => self.spec.get("disableSessionTags"),
            Fields::Crossplane => self.status.pointer("/atProvider/disableSessionTags"),
        };
        // Until it was created, Crossplane has it in what it is to be.
        let of_spec = |pointer: &str| {
            let found = self.spec.pointer("/forProvider")?.pointer(pointer)?.as_str()?;
            Some(Arc::<str>::from(found))
        };
        Some(Said {
            namespace: text("/namespace").or_else(|| of_spec("/namespace"))?,
            service_account: text("/serviceAccount").or_else(|| of_spec("/serviceAccount"))?,
            object: self.name().into(),
            is_settled: self.is_settled(definition) && (arn.is_some() || id.is_some()),
            arn,
            id,
            role,
            target_role: target,
            session_tags: match tags.and_then(Value::as_bool) {
                Some(true) => SessionTags::Disabled,
                Some(false) | None => SessionTags::Enabled,
            },
            external_id,
        })
    }

    /// ACK leaves references where they are; their namespace is that of the object unless they say otherwise.
    fn role_field(&self, arn: Option<Arc<str>>, reference: &str) -> RoleField {
        if let Some(arn) = arn {
            return RoleField::Arn(arn);
        }
        let from = self.spec.get(reference).and_then(|reference| reference.get("from"));
        let part = |name| from.and_then(|from| from.get(name)).and_then(Value::as_str);
        match part("name") {
            None => RoleField::None,
            Some(name) => {
                let own = self.metadata.namespace.as_deref().unwrap_or_default();
                let namespace = part("namespace").filter(|text| !text.is_empty()).unwrap_or(own);
                RoleField::Reference(format!("{namespace}/{name}").into())
            }
        }
    }

    fn is_settled(&self, definition: &Definition) -> bool {
        // What is about to be deleted may be gone from AWS already.
        if self.metadata.deletion_timestamp.is_some() || self.condition("ACK.Terminal") == Some(true) {
            return false;
        }
        let reported = definition.settled.iter().find_map(|kind| self.condition(kind));
        reported == Some(true)
    }

    /// Whether a condition holds now: none when the object does not have it. One that was written about a former generation of the object
    /// says nothing about this one.
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
}

impl Resource for Object {
    type DynamicType = &'static Definition;
    type Scope = DynamicResourceScope;

    fn kind(definition: &&'static Definition) -> Cow<'static, str> {
        definition.kind.into()
    }

    fn group(definition: &&'static Definition) -> Cow<'static, str> {
        definition.group.into()
    }

    fn version(definition: &&'static Definition) -> Cow<'static, str> {
        definition.version.into()
    }

    fn plural(definition: &&'static Definition) -> Cow<'static, str> {
        definition.plural.into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}
