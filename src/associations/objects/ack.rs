//! `PodIdentityAssociation` objects of ACK's EKS controller.
//!
//! The controller copies the association in EKS to `spec`, except where `spec` refers to another object: then the association's own ARN
//! contains the cluster, and the `Role` object of ACK's IAM controller contains the ARN of the role.

use std::sync::Arc;

use serde_json::Value;

use super::state::{NamedRole, Pair, RoleObject, Settled, State, is_of};
use crate::associations::source::ClusterId;
use crate::kubernetes::managed_objects::{Definition, Kind, ManagedObject};
use crate::trust::{ClusterArn, RoleArn, SessionTags};

static ASSOCIATIONS: Definition = Definition {
    what: "ACK's PodIdentityAssociation objects (podidentityassociations.eks.services.k8s.aws)",
    group: "eks.services.k8s.aws",
    version: "v1alpha1",
    kind: "PodIdentityAssociation",
    plural: "podidentityassociations",
    settled: &["Ready", "ACK.ResourceSynced"],
    failed: Some("ACK.Terminal"),
};

static ROLES: Definition = Definition {
    what: "ACK's Role objects, which associations refer to (roles.iam.services.k8s.aws)",
    group: "iam.services.k8s.aws",
    version: "v1alpha1",
    kind: "Role",
    plural: "roles",
    settled: &["Ready", "ACK.ResourceSynced"],
    failed: Some("ACK.Terminal"),
};

/// The associations of a cluster.
pub(super) fn associations(cluster: ClusterId) -> Kind<Pair, State> {
    Kind {
        definition: &ASSOCIATIONS,
        read: Arc::new(move |object| association(object, &cluster)),
    }
}

/// The roles that associations refer to.
pub(super) fn roles() -> Kind<Pair, RoleObject> {
    Kind {
        definition: &ROLES,
        read: Arc::new(role),
    }
}

/// None for an object of another cluster, or of no ServiceAccount.
fn association(object: &ManagedObject, cluster: &ClusterId) -> Option<(Pair, State)> {
    let arn = ["/status/ackResourceMetadata/arn", "/status/associationARN"]
        .into_iter()
        .find_map(|pointer| ClusterArn::of_association(object.text(pointer)?));
    if !is_of(cluster, arn.as_ref(), object.text("/spec/clusterName")) {
        return None;
    }
    let pair = (
        object.text("/spec/namespace")?.into(),
        object.text("/spec/serviceAccount")?.into(),
    );
    let state = match (object.settled(&ASSOCIATIONS), arn) {
        (Err(why), _) => State::Unsettled(why.into()),
        // Which cluster it is of is not known before.
        (Ok(()), None) => State::Unsettled("has no ARN of an association yet".into()),
        (Ok(()), Some(arn)) => State::Settled(Settled {
            cluster: Some(arn),
            id: object.text("/status/associationID").map(Into::into),
            role: named(object, "/spec/roleARN", "/spec/roleRef/from").unwrap_or(NamedRole::Missing),
            target_role: named(object, "/spec/targetRoleARN", "/spec/targetRoleRef/from"),
            session_tags: match object.at("/spec/disableSessionTags").and_then(Value::as_bool) {
                Some(true) => SessionTags::Disabled,
                Some(false) | None => SessionTags::Enabled,
            },
            external_id: object.text("/status/externalID").map(Into::into),
            since: object.settled_since(&ASSOCIATIONS),
        }),
    };
    Some((pair, state))
}

/// A role of an association; none where it names none.
fn named(object: &ManagedObject, arn: &str, reference: &str) -> Option<NamedRole> {
    if let Some(arn) = object.text(arn) {
        return Some(NamedRole::Arn(arn.into()));
    }
    let field = |name: &str| {
        object
            .at(reference)?
            .get(name)?
            .as_str()
            .filter(|text| !text.is_empty())
    };
    let namespace = field("namespace").or_else(|| object.namespace()).unwrap_or_default();
    Some(NamedRole::Reference((namespace.into(), field("name")?.into())))
}

/// The role of an object. It needs not be in sync: an edit of the role does not change its ARN.
fn role(object: &ManagedObject) -> Option<(Pair, RoleObject)> {
    if object.is_being_deleted() {
        return None;
    }
    let role = RoleObject {
        arn: RoleArn::parse(object.text("/status/ackResourceMetadata/arn")?).ok()?,
        created: object.created(),
    };
    Some(((object.namespace()?.into(), object.short_name()?.into()), role))
}
