//! The environment variables that the AWS SDKs take their identity from.

use super::view::Container;

pub(super) const ROLE_ARN: &str = "AWS_ROLE_ARN";
pub(super) const WEB_IDENTITY_TOKEN_FILE: &str = "AWS_WEB_IDENTITY_TOKEN_FILE";
pub(super) const ROLE_SESSION_NAME: &str = "AWS_ROLE_SESSION_NAME";
pub(super) const ACCESS_KEY_ID: &str = "AWS_ACCESS_KEY_ID";
pub(super) const SECRET_ACCESS_KEY: &str = "AWS_SECRET_ACCESS_KEY";
/// Older names of the two, which the SDK for Go still reads.
pub(super) const OLD_ACCESS_KEY: &str = "AWS_ACCESS_KEY";
pub(super) const OLD_SECRET_KEY: &str = "AWS_SECRET_KEY";
/// Where requests to STS go instead of to AWS.
pub(super) const ENDPOINTS: [&str; 2] = ["AWS_ENDPOINT_URL_STS", "AWS_ENDPOINT_URL"];
/// boto3 reads both, JavaScript and Rust only the first.
pub(super) const PROFILES: [&str; 2] = ["AWS_PROFILE", "AWS_DEFAULT_PROFILE"];
pub(super) const SHARED_CREDENTIALS_FILE: &str = "AWS_SHARED_CREDENTIALS_FILE";
pub(super) const CREDENTIALS_FULL_URI: &str = "AWS_CONTAINER_CREDENTIALS_FULL_URI";
pub(super) const CREDENTIALS_RELATIVE_URI: &str = "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI";
pub(super) const AUTHORIZATION_TOKEN: &str = "AWS_CONTAINER_AUTHORIZATION_TOKEN";
pub(super) const AUTHORIZATION_TOKEN_FILE: &str = "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE";
pub(super) const DEFAULT_REGION: &str = "AWS_DEFAULT_REGION";
pub(super) const REGION: &str = "AWS_REGION";
pub(super) const STS_REGIONAL_ENDPOINTS: &str = "AWS_STS_REGIONAL_ENDPOINTS";
pub(super) const METADATA_DISABLED: &str = "AWS_EC2_METADATA_DISABLED";

pub(super) fn sets_any(container: &Container<'_>, names: &[&str]) -> bool {
    names.iter().any(|name| container.sets(name))
}
