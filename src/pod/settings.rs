//! The settings of the injection, from flags.

use crate::trust::Audience;

/// The settings of the injection of a web identity.
#[derive(Clone, Debug)]
pub struct WebIdentitySettings {
    /// `--token-mount-path`, by default `/var/run/secrets/eks.amazonaws.com/serviceaccount`.
    pub mount_path: String,
    /// `AWS_REGION` and `AWS_DEFAULT_REGION`; none: not set.
    pub region: Option<String>,
    /// `--disable-instance-metadata`.
    pub disable_instance_metadata: bool,
    /// `--role-session-name`.
    pub role_session_name: bool,
    /// `--api-audience`: the audience of tokens that name none. None: not known.
    pub api_audience: Option<Audience>,
}

/// The settings of EKS Pod Identity (`--container-credentials-…`).
#[derive(Clone, Debug)]
pub struct PodIdentitySettings {
    /// `AWS_CONTAINER_CREDENTIALS_FULL_URI`.
    pub full_uri: String,
    /// Audience of the token.
    pub audience: String,
    /// Where the token is mounted.
    pub mount_path: String,
    /// Name of the volume.
    pub volume_name: String,
    /// Path of the token within the mount.
    pub token_path: String,
    /// As for a web identity.
    pub region: Option<String>,
    /// As for a web identity.
    pub disable_instance_metadata: bool,
}
