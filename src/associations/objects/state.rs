//! What an object proves about the association of a ServiceAccount.

use std::sync::Arc;

use crate::associations::source::ClusterId;
use crate::support::text;
use crate::trust::{Association, ClusterArn, RoleArn, SessionTags};

/// A namespace, and the name of something in it.
pub(super) type Pair = (Arc<str>, Arc<str>);

/// Whether EKS has the association of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// EKS has it.
    Settled(Settled),
    /// Not yet, not for sure, or not any more: why, as the end of a sentence about the object.
    Unsettled(Arc<str>),
}

/// An association, as its object describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Settled {
    pub(super) cluster: Option<ClusterArn>,
    pub(super) id: Option<Arc<str>>,
    pub(super) role: NamedRole,
    pub(super) target_role: Option<NamedRole>,
    pub(super) session_tags: SessionTags,
    pub(super) external_id: Option<Arc<str>>,
    /// Since when EKS has it so.
    pub(super) since: Option<jiff::Timestamp>,
}

/// How an object names a role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NamedRole {
    /// It does not.
    Missing,
    /// By a text that should be an ARN.
    Arn(Arc<str>),
    /// By a `Role` object of ACK.
    Reference(Pair),
}

/// The role of a `Role` object of ACK.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RoleObject {
    pub(super) arn: RoleArn,
    /// Since when the object exists.
    pub(super) created: Option<jiff::Timestamp>,
}

impl Settled {
    /// The association of a ServiceAccount, with the roles that it refers to.
    ///
    /// # Errors
    /// Which role is not known, and why.
    pub(super) fn association(
        &self,
        (namespace, service_account): &Pair,
        referenced: impl Fn(&Pair) -> Result<RoleObject, String>,
    ) -> Result<Association, String> {
        let resolve = |role: &NamedRole, field: &str| match role {
            NamedRole::Missing => Err(format!("it has no {field}")),
            NamedRole::Arn(arn) => RoleArn::parse(arn)
                .map_err(|error| format!("its {field} {} is not a role ARN: {error}", text::quote(arn))),
            NamedRole::Reference(reference) => {
                let role = referenced(reference)?;
                // EKS was given the role of the former object of this name.
                match (role.created, self.since) {
                    (Some(created), Some(since)) if created > since => Err(format!(
                        "the Role object {} was created after the association",
                        text::value(&format!("{}/{}", reference.0, reference.1))
                    )),
                    _ => Ok(role.arn),
                }
            }
        };
        Ok(Association {
            cluster: self.cluster.clone(),
            namespace: Arc::clone(namespace),
            service_account: Arc::clone(service_account),
            id: self.id.clone(),
            role: resolve(&self.role, "role")?,
            target_role: self
                .target_role
                .as_ref()
                .map(|role| resolve(role, "target role"))
                .transpose()?,
            session_tags: self.session_tags,
            external_id: self.external_id.clone(),
        })
    }
}

/// Whether an object is about the cluster. Where it does not say so yet, it might be.
pub(super) fn is_of(cluster: &ClusterId, arn: Option<&ClusterArn>, name: Option<&str>) -> bool {
    match (arn, &cluster.arn, name) {
        (Some(arn), Some(ours), _) => arn == ours,
        (Some(arn), None, _) => *arn.name() == *cluster.name,
        (None, _, Some(name)) => *name == *cluster.name,
        (None, _, None) => true,
    }
}
