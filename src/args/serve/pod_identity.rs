//! Which pods use EKS Pod Identity and what is injected for it.

use std::path::PathBuf;

use clap::Args;

use crate::args::values::not_empty;
use crate::pod::effective::is_accepted_by_sdks;
use crate::pod::settings::{PodIdentitySettings, WebIdentitySettings};
use crate::support::dns;

/// EKS Pod Identity.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "EKS Pod Identity")]
pub(crate) struct PodIdentityArgs {
    /// ServiceAccounts that use EKS Pod Identity, JSON
    ///
    /// {"identities": [{"namespace": …, "serviceAccount": …}]}; reloaded when it changes; takes precedence over web identity.
    #[arg(long, value_name = "FILE")]
    container_credentials_config: Option<PathBuf>,

    /// AWS_CONTAINER_CREDENTIALS_FULL_URI
    #[arg(long, value_name = "URI", default_value = "http://169.254.170.23/v1/credentials", value_parser = full_uri)]
    container_credentials_full_uri: String,

    /// Audience of the token
    #[arg(long, value_name = "AUDIENCE", default_value = "pods.eks.amazonaws.com", value_parser = not_empty)]
    container_credentials_audience: String,

    /// Where the token is mounted
    #[arg(long, value_name = "PATH", default_value = "/var/run/secrets/pods.eks.amazonaws.com/serviceaccount", value_parser = mount_path)]
    container_credentials_token_mount_path: String,

    /// Name of the token's volume
    #[arg(long, value_name = "NAME", default_value = "eks-pod-identity-token", value_parser = volume_name)]
    container_credentials_token_volume_name: String,

    /// Path of the token within its mount
    #[arg(long, value_name = "PATH", default_value = "eks-pod-identity-token", value_parser = token_path)]
    container_credentials_token_path: String,
}

impl PodIdentityArgs {
    /// The list of ServiceAccounts, and the injection. The Region and the instance metadata are those of a web identity.
    pub(crate) fn settings(self, web_identity: &WebIdentitySettings) -> (Option<PathBuf>, PodIdentitySettings) {
        let Self {
            container_credentials_config,
            container_credentials_full_uri,
            container_credentials_audience,
            container_credentials_token_mount_path,
            container_credentials_token_volume_name,
            container_credentials_token_path,
        } = self;
        let settings = PodIdentitySettings {
            full_uri: container_credentials_full_uri,
            audience: container_credentials_audience,
            mount_path: container_credentials_token_mount_path,
            volume_name: container_credentials_token_volume_name,
            token_path: container_credentials_token_path,
            region: web_identity.region.clone(),
            disable_instance_metadata: web_identity.disable_instance_metadata,
        };
        (container_credentials_config, settings)
    }
}

/// Kubernetes refuses a mount path with a colon; a relative one would depend on the container's image.
pub(super) fn mount_path(text: &str) -> Result<String, String> {
    let is_windows = text.as_bytes().get(1) == Some(&b':');
    let path = if is_windows {
        text.get(2..).unwrap_or_default()
    } else {
        text
    };
    if path.starts_with(['/', '\\']) && !path.contains(':') && !text.chars().any(char::is_control) {
        not_empty(text.trim_end_matches('/'))
    } else {
        Err("expected an absolute path without a colon".to_owned())
    }
}

fn full_uri(text: &str) -> Result<String, String> {
    if is_accepted_by_sdks(text) {
        Ok(text.to_owned())
    } else {
        Err(
            "expected a URI that AWS SDKs accept: https://…, or http:// with a loopback address, 169.254.170.2, 169.254.170.23 or \
             [fd00:ec2::23]"
                .to_owned(),
        )
    }
}

fn volume_name(text: &str) -> Result<String, String> {
    if dns::is_label(text) {
        Ok(text.to_owned())
    } else {
        Err("expected a volume name: 1 to 63 of a-z, 0-9 and -, beginning and ending with a letter or digit".to_owned())
    }
}

/// The rule of Kubernetes for a path in a projected volume: relative, without `..`.
fn token_path(text: &str) -> Result<String, String> {
    let is_relative = !text.is_empty() && !text.starts_with('/') && !text.split('/').any(|part| part == "..");
    if is_relative && !text.chars().any(char::is_control) {
        Ok(text.to_owned())
    } else {
        Err("expected a relative path without ..".to_owned())
    }
}
