//! To be written.
use crate::pod::identity::ServiceAccountIdentity;
use std::sync::Arc;
/// The identity ConfigMap.
#[derive(Debug)]
pub struct IdentityMap {}
impl IdentityMap {
    /// Looks up.
    pub fn lookup(&self, _namespace: &str, _name: &str) -> Option<Arc<ServiceAccountIdentity>> {
        todo!()
    }
}
