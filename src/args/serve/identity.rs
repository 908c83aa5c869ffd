//! How annotations are read and what is injected for a web identity.

use std::str::FromStr;

use clap::Args;

use super::pod_identity::mount_path;
use crate::args::duration;
use crate::args::namespaced_name::NamespacedName;
use crate::args::switch::{Default::Off, SwitchArg as _};
use crate::args::values::{self, AnnotationPrefix};
use crate::decision::messages::commands::DEFAULT_AUDIENCE;
use crate::pod::identity::{Defaults, EXPIRATION_SECONDS};
use crate::pod::settings::WebIdentitySettings;
use crate::trust::{AccountId, Audience, Partition, is_region};

/// Annotations and their defaults, and the injection of a web identity.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Identity and injection")]
pub(crate) struct IdentityArgs {
    /// Prefix of the annotations, with or without its slash
    #[arg(long, value_name = "PREFIX", default_value = "eks.amazonaws.com", value_parser = values::annotation_prefix)]
    annotation_prefix: AnnotationPrefix,

    /// Audience of tokens, unless an annotation sets it
    #[arg(long, value_name = "AUDIENCE", default_value = DEFAULT_AUDIENCE, value_parser = values::audience)]
    token_audience: Audience,

    /// Audience of projected tokens for which the pod does not set one
    ///
    /// The first of the API server's --api-audiences. A container whose own token file is such a token is evaluated for
    /// this audience; without the flag, its verdict is unknown.
    #[arg(long, value_name = "AUDIENCE", value_parser = values::audience)]
    api_audience: Option<Audience>,

    /// Lifetime of tokens, unless an annotation sets it
    ///
    /// Seconds from 600 to 86400, or a duration from 10m to 24h.
    #[arg(long, value_name = "SECONDS", default_value = "86400", value_parser = token_expiration)]
    token_expiration: u32,

    /// Where the token is mounted
    #[arg(long, value_name = "PATH", default_value = "/var/run/secrets/eks.amazonaws.com/serviceaccount", value_parser = mount_path)]
    token_mount_path: String,

    /// AWS_REGION and AWS_DEFAULT_REGION for containers that set neither
    ///
    /// `auto` is the Region in an EKS issuer.
    #[arg(long, value_name = "REGION", value_parser = AwsRegion::from_str)]
    aws_region: Option<AwsRegion>,

    /// Set AWS_STS_REGIONAL_ENDPOINTS=regional, unless an annotation disables it
    #[arg(long, switch = Off)]
    sts_regional_endpoints: bool,

    /// Accept a bare `path/name` in the role annotation as a role of one account
    ///
    /// The account is --aws-account-id and the partition --aws-partition. Without --aws-account-id, it is the account
    /// of rolegate's own credentials, as AWS STS reports it at startup.
    #[arg(long, switch = Off)]
    compose_role_arn: bool,

    /// Account of composed role ARNs, twelve digits
    #[arg(long, value_name = "ACCOUNT", value_parser = values::account)]
    aws_account_id: Option<AccountId>,

    /// Partition of composed role ARNs: aws, aws-cn, aws-us-gov … (default: aws, or the partition that STS reports)
    #[arg(long, value_name = "PARTITION", hide_possible_values = true, value_parser = values::partition())]
    aws_partition: Option<Partition>,

    /// ConfigMap that maps ServiceAccounts without annotations to roles
    ///
    /// Its key `config` holds JSON: {"NAMESPACE/NAME": {"RoleARN": …, "Audience": …, "UseRegionalSTS": …,
    /// "TokenExpiration": …}}; the namespace * matches any. Annotations take precedence.
    #[arg(long, value_name = "NAMESPACE/NAME", value_parser = NamespacedName::from_str)]
    identity_config_map: Option<NamespacedName>,

    /// Set AWS_ROLE_SESSION_NAME to the pod's name
    ///
    /// Only if the name is certain to satisfy the rules of STS and the trust policy does not refuse it.
    #[arg(long, switch = Off)]
    role_session_name: bool,

    /// Set AWS_EC2_METADATA_DISABLED=true, so that SDKs do not fall back to the node's role
    #[arg(long, switch = Off)]
    disable_instance_metadata: bool,
}

/// The same as settings.
pub(crate) struct IdentitySettings {
    pub(crate) annotation_prefix: AnnotationPrefix,
    pub(crate) bare_names: BareNames,
    pub(crate) config_map: Option<NamespacedName>,
    pub(crate) defaults: Defaults,
    pub(crate) region: Option<AwsRegion>,
    /// Without a Region, which may depend on the cluster's issuer.
    pub(crate) web_identity: WebIdentitySettings,
}

/// The meaning of a role annotation that does not contain an ARN.
pub(crate) enum BareNames {
    /// A mistake.
    Rejected,
    /// A role of this account.
    OfAccount(Partition, AccountId),
    /// A role of the account of rolegate's own credentials, in their partition unless another is named.
    OfOwnAccount(Option<Partition>),
}

impl IdentityArgs {
    pub(crate) fn settings(self) -> IdentitySettings {
        let Self {
            annotation_prefix,
            token_audience,
            api_audience,
            token_expiration,
            token_mount_path,
            aws_region,
            sts_regional_endpoints,
            compose_role_arn,
            aws_account_id,
            aws_partition,
            identity_config_map,
            role_session_name,
            disable_instance_metadata,
        } = self;
        IdentitySettings {
            annotation_prefix,
            bare_names: match (compose_role_arn, aws_account_id) {
                (false, _) => BareNames::Rejected,
                (true, None) => BareNames::OfOwnAccount(aws_partition),
                (true, Some(account)) => match values::composed(aws_partition, account) {
                    Some((partition, account)) => BareNames::OfAccount(partition, account),
                    None => BareNames::Rejected,
                },
            },
            config_map: identity_config_map,
            defaults: Defaults {
                audience: token_audience,
                expiration_seconds: token_expiration,
                regional_sts: sts_regional_endpoints,
            },
            region: aws_region,
            web_identity: WebIdentitySettings {
                mount_path: token_mount_path,
                region: None,
                disable_instance_metadata,
                role_session_name,
                api_audience,
            },
        }
    }
}

/// The value of `--aws-region`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum AwsRegion {
    /// The Region in an EKS issuer.
    Auto,
    /// This one.
    Named(String),
}

impl FromStr for AwsRegion {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "auto" {
            return Ok(Self::Auto);
        }
        if text.len() > 63 || !is_region(text) {
            return Err("expected a Region such as us-west-2, or auto for the one in an EKS issuer".to_owned());
        }
        Ok(Self::Named(text.to_owned()))
    }
}

fn token_expiration(text: &str) -> Result<u32, String> {
    let expected = || {
        format!(
            "expected seconds from {} to {} (or 10m to 24h)",
            EXPIRATION_SECONDS.start(),
            EXPIRATION_SECONDS.end()
        )
    };
    let duration = duration::parse(text).map_err(|_| expected())?;
    let seconds = u32::try_from(duration.as_secs()).map_err(|_| expected())?;
    if duration.subsec_nanos() == 0 && EXPIRATION_SECONDS.contains(&seconds) {
        Ok(seconds)
    } else {
        Err(expected())
    }
}
