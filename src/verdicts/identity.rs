//! The identity of the pods of a ServiceAccount, according to the data in memory.
//!
//! It is the identity that an admission finds for a pod whose containers set none themselves, in the same order: EKS Pod Identity comes
//! before the annotations, and annotations before the identity ConfigMap.

use std::sync::Arc;

use super::standing::Basis;
use crate::associations::{Associations, Lookup};
use crate::kubernetes::identity_map::IdentityMap;
use crate::kubernetes::service_accounts::Stored;
use crate::pod::identity::ServiceAccountIdentity;
use crate::trust::Association;

/// Where identities come from, besides annotations.
#[derive(Clone, Debug, Default)]
pub struct IdentitySources {
    /// EKS Pod Identity associations.
    pub associations: Option<Arc<Associations>>,
    /// `--identity-config-map`.
    pub identity_map: Option<Arc<IdentityMap>>,
}

/// What the pods of a ServiceAccount use.
#[derive(Debug)]
pub(super) enum Credentials {
    /// They have none, or one whose role is not known.
    NotJudged,
    /// A web identity, with a role that is well-formed or not.
    WebIdentity {
        requested: Arc<ServiceAccountIdentity>,
        basis: Basis,
    },
    /// That of an association.
    Association(Arc<Association>),
    /// That of an association that is not known.
    UnknownAssociation,
}

impl IdentitySources {
    /// Whether a ServiceAccount might have an identity without annotations.
    pub(super) fn might_name(&self, namespace: &str, name: &str) -> bool {
        self.is_mapped(namespace, name)
            || matches!(
                self.association(namespace, name),
                Lookup::Association(_) | Lookup::Undescribed(_)
            )
    }

    fn is_mapped(&self, namespace: &str, name: &str) -> bool {
        let map = self.identity_map.as_ref();
        let entry = map.and_then(|map| map.lookup(namespace, name));
        entry.is_some_and(|entry| entry.role().is_some())
    }

    fn association(&self, namespace: &str, name: &str) -> Lookup {
        match &self.associations {
            Some(associations) => associations.in_memory(namespace, name),
            None => Lookup::Absent,
        }
    }

    /// What pods of a ServiceAccount with these annotations use.
    pub(super) fn credentials_of(&self, stored: Stored, namespace: &str, name: &str) -> Credentials {
        let annotations = match stored {
            Stored::Missing => return Credentials::NotJudged,
            Stored::Plain => None,
            Stored::Identity(identity) => Some(identity),
        };
        let basis = match self.association(namespace, name) {
            Lookup::Association(association) => return Credentials::Association(association),
            Lookup::Undescribed(_) => return Credentials::UnknownAssociation,
            Lookup::Absent => Basis::WebIdentity,
            Lookup::Unknown(_) => Basis::PerhapsWebIdentity,
        };
        match IdentityMap::requested(self.identity_map.as_deref(), namespace, name, annotations) {
            Some(requested) if requested.asks_for_role() => Credentials::WebIdentity { requested, basis },
            _ if basis == Basis::PerhapsWebIdentity => Credentials::UnknownAssociation,
            // Such as a key that was probably meant to be the annotation.
            Some(requested) => Credentials::WebIdentity { requested, basis },
            None => Credentials::NotJudged,
        }
    }
}
