//! `PodIdentityAssociation` objects of Crossplane's provider-upjet-aws, of the cluster and of its namespaces.
//!
//! The provider copies the association in EKS to `status.atProvider`; the condition `Synced` shows that it could read it.

use std::sync::Arc;

use serde_json::Value;

use super::state::{NamedRole, Pair, Settled, State, is_of};
use crate::associations::source::ClusterId;
use crate::kubernetes::managed_objects::{Definition, Kind, ManagedObject};
use crate::trust::{ClusterArn, SessionTags};

static KINDS: [Definition; 2] = [
    definition(
        "Crossplane's PodIdentityAssociation objects (podidentityassociations.eks.aws.upbound.io)",
        "eks.aws.upbound.io",
    ),
    definition(
        "Crossplane's namespaced PodIdentityAssociation objects (podidentityassociations.eks.aws.m.upbound.io)",
        "eks.aws.m.upbound.io",
    ),
];

const fn definition(what: &'static str, group: &'static str) -> Definition {
    Definition {
        what,
        group,
        version: "v1beta1",
        kind: "PodIdentityAssociation",
        plural: "podidentityassociations",
        settled: &["Synced"],
        failed: None,
    }
}

/// The associations of a cluster.
pub(super) fn associations(cluster: &ClusterId) -> Vec<Kind<Pair, State>> {
    let kinds = KINDS.iter().map(|definition| {
        let cluster = cluster.clone();
        Kind {
            definition,
            read: Arc::new(move |object: &ManagedObject| association(object, definition, &cluster)) as _,
        }
    });
    kinds.collect()
}

/// None for an object of another cluster, or of no ServiceAccount.
fn association(object: &ManagedObject, definition: &Definition, cluster: &ClusterId) -> Option<(Pair, State)> {
    let observed = |field: &str| object.text(&format!("/status/atProvider/{field}"));
    let asked = |field: &str| {
        object
            .text(&format!("/spec/forProvider/{field}"))
            .or_else(|| object.text(&format!("/spec/initProvider/{field}")))
    };
    let known = |field: &str| observed(field).or_else(|| asked(field));
    let arn = observed("associationArn").and_then(ClusterArn::of_association);
    if !is_of(cluster, arn.as_ref(), known("clusterName")) {
        return None;
    }
    let pair = (known("namespace")?.into(), known("serviceAccount")?.into());
    let is_observed =
        observed("clusterName").is_some() && observed("namespace").is_some() && observed("serviceAccount").is_some();
    let state = match object.settled(definition) {
        Err(why) => State::Unsettled(why.into()),
        Ok(()) if !is_observed => State::Unsettled("has no observed association in status.atProvider yet".into()),
        Ok(()) => State::Settled(Settled {
            cluster: arn.or_else(|| cluster.arn.clone()),
            id: observed("associationId").map(Into::into),
            role: observed("roleArn").map_or(NamedRole::Missing, |arn| NamedRole::Arn(arn.into())),
            target_role: observed("targetRoleArn").map(|arn| NamedRole::Arn(arn.into())),
            session_tags: match object
                .at("/status/atProvider/disableSessionTags")
                .and_then(Value::as_bool)
            {
                Some(true) => SessionTags::Disabled,
                Some(false) | None => SessionTags::Enabled,
            },
            external_id: observed("externalId").map(Into::into),
            since: None,
        }),
    };
    Some((pair, state))
}
