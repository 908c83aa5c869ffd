//! The environment variables that give a container its identity.

use crate::pod::view::Container;

pub(super) const ROLE_ARN: &str = "AWS_ROLE_ARN";
pub(super) const WEB_IDENTITY_TOKEN_FILE: &str = "AWS_WEB_IDENTITY_TOKEN_FILE";
pub(super) const CREDENTIALS_FULL_URI: &str = "AWS_CONTAINER_CREDENTIALS_FULL_URI";
const CREDENTIALS_RELATIVE_URI: &str = "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI";
pub(super) const AUTHORIZATION_TOKEN_FILE: &str = "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE";

pub(super) fn sets_any(container: &Container<'_>, names: &[&str]) -> bool {
    names.iter().any(|name| container.sets(name))
}

/// EKS's own webhook gave the container a Pod Identity association, and the container has no web identity.
pub(super) fn has_foreign_pod_identity(container: &Container<'_>) -> bool {
    sets_any(container, &[CREDENTIALS_FULL_URI, CREDENTIALS_RELATIVE_URI])
        && !sets_any(container, &[ROLE_ARN, WEB_IDENTITY_TOKEN_FILE])
}
