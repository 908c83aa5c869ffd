//! The SDK's configuration, read once: Region, endpoints, credentials, and the identity of those credentials.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use aws_config::environment::EnvironmentVariableRegionProvider;
use aws_config::meta::region::RegionProviderChain;
use aws_config::profile::{ProfileFileCredentialsProvider, ProfileFileRegionProvider};
use aws_config::provider_config::ProviderConfig;
use aws_config::retry::RetryConfig;
use aws_config::sts::AssumeRoleProvider;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use tokio::sync::OnceCell;

use super::fault::{self, Call, Fault};
use super::origin::{NoCredentials, Origin};
use super::region;
use super::reject_truncated::RejectTruncated;
use super::settings::{AwsSettings, AwsUser};
use crate::trust::{AccountId, Partition, RoleArn};

/// A connection attempt that takes longer goes to an address that drops packets.
const CONNECT: Duration = Duration::from_secs(3);

/// The timeout of one call. A page of a thousand roles is some 2 MB of XML.
const CALL: Duration = Duration::from_secs(30);

/// How CloudTrail names what rolegate does under an assumed role.
const SESSION_NAME: &str = "rolegate";

/// Whose credentials rolegate has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The account of the credentials.
    pub account: AccountId,
    /// Its partition.
    pub partition: Partition,
    /// The user or assumed role, an ARN.
    pub arn: String,
}

/// The SDK, configured when it is first used.
#[derive(Debug)]
pub(crate) struct Session {
    region_hint: Option<String>,
    profile: Option<String>,
    user: AwsUser,
    configured: OnceCell<Configured>,
    caller: OnceCell<Caller>,
    /// Why there are no credentials that AWS accepts. A command does not look for them twice: the outcome would be the same, and looking
    /// can take seconds.
    no_credentials: OnceLock<Arc<str>>,
}

/// What is known once the configuration is read.
#[derive(Debug)]
struct Configured {
    sdk: SdkConfig,
    origin: Origin,
}

impl Session {
    /// Reads nothing yet.
    pub(crate) fn new(settings: &AwsSettings) -> Self {
        let assumed = || {
            let (_, role) = settings.assume.first()?;
            Some(region::of_partition(role.partition()).to_owned())
        };
        Self {
            region_hint: settings.region.clone().or_else(assumed),
            profile: settings.profile.clone(),
            user: settings.user,
            configured: OnceCell::new(),
            caller: OnceCell::new(),
            no_credentials: OnceLock::new(),
        }
    }

    /// Who uses AWS.
    pub(crate) const fn user(&self) -> AwsUser {
        self.user
    }

    /// Where the credentials come from.
    pub(crate) async fn origin(&self) -> &Origin {
        &self.configured().await.origin
    }

    /// Why there are no credentials that AWS accepts, once a command has looked for them in vain.
    pub(crate) fn no_credentials(&self) -> Option<&Arc<str>> {
        self.no_credentials.get()
    }

    /// A client of IAM with rolegate's own credentials, or with those of a role that they assume.
    pub(crate) async fn iam(&self, assume: Option<&RoleArn>) -> aws_sdk_iam::Client {
        let config = &self.configured().await.sdk;
        // The role cache limits and retries calls for all roles together; the SDK would do so for each call by itself.
        let mut builder = aws_sdk_iam::config::Builder::from(config)
            .retry_config(RetryConfig::disabled())
            .interceptor(RejectTruncated);
        if let Some(role) = assume {
            let provider = AssumeRoleProvider::builder(role.as_str())
                .session_name(SESSION_NAME)
                .configure(config)
                .build()
                .await;
            builder = builder.credentials_provider(provider);
        }
        aws_sdk_iam::Client::from_conf(builder.build())
    }

    /// A client of EKS with rolegate's own credentials, in the Region of the cluster where that is known.
    pub(crate) async fn eks(&self, region: Option<&str>) -> aws_sdk_eks::Client {
        let config = &self.configured().await.sdk;
        // The associations' cache limits and retries calls for all of them together.
        let mut builder = aws_sdk_eks::config::Builder::from(config).retry_config(RetryConfig::disabled());
        if let Some(region) = region {
            builder = builder.region(Region::new(region.to_owned()));
        }
        aws_sdk_eks::Client::from_conf(builder.build())
    }

    /// The identity of the credentials, once STS has answered.
    pub(crate) fn known_caller(&self) -> Option<&Caller> {
        self.caller.get()
    }

    /// The identity of the credentials. STS is asked until it has answered once.
    pub(crate) async fn caller(&self) -> Result<&Caller, Fault> {
        self.caller.get_or_try_init(|| self.ask_caller()).await
    }

    async fn ask_caller(&self) -> Result<Caller, Fault> {
        const ACTION: &str = "sts:GetCallerIdentity";
        if let Some(reason) = self.no_credentials.get() {
            return Err(Fault::Credentials(Arc::clone(reason)));
        }
        let Configured { sdk, origin } = self.configured().await;
        let client = aws_sdk_sts::Client::new(sdk);
        let answer = client.get_caller_identity().send().await;
        let answer = answer.map_err(|error| {
            let explained = match self.user {
                AwsUser::Pod => None,
                AwsUser::Person => origin.explain(ACTION, None, &error),
            };
            let call = Call {
                action: ACTION,
                whose: "rolegate",
                assumed: None,
                origin,
            };
            let fault = match explained {
                Some(NoCredentials { reason, .. }) => Fault::Credentials(reason.into()),
                None => fault::of(&call, &error),
            };
            match (self.user, fault) {
                (AwsUser::Person, Fault::Credentials(reason)) => {
                    Fault::Credentials(Arc::clone(self.no_credentials.get_or_init(|| reason)))
                }
                (_, fault) => fault,
            }
        })?;
        let arn = answer.arn().unwrap_or_default();
        let account = answer.account().and_then(AccountId::parse);
        let partition = region::partition_of(arn).and_then(Partition::parse);
        match (account, partition) {
            (Some(account), Some(partition)) => Ok(Caller {
                account,
                partition,
                arn: arn.to_owned(),
            }),
            _ => Err(Fault::Failed(
                format!("{ACTION}: the response contains no account; check AWS_ENDPOINT_URL_STS").into(),
            )),
        }
    }

    async fn configured(&self) -> &Configured {
        let read = || async {
            let profile = self.profile.as_deref();
            let (sdk, origin) = tokio::join!(
                load(self.region_hint.clone(), profile),
                Origin::read(self.user, profile)
            );
            Configured { sdk, origin }
        };
        self.configured.get_or_init(read).await
    }
}

async fn load(hint: Option<String>, profile: Option<&str>) -> SdkConfig {
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(CONNECT)
        .operation_timeout(CALL)
        .build();
    let region = region(hint, profile).await;
    let loader = aws_config::defaults(BehaviorVersion::latest())
        .region(region.clone())
        .timeout_config(timeouts);
    let Some(profile) = profile else {
        return loader.load().await;
    };
    // As with the AWS CLI, a profile that is named on the command line wins over credentials of the environment. The SDK's
    // default chain asks the environment first, whatever the profile.
    let credentials = ProfileFileCredentialsProvider::builder()
        .profile_name(profile)
        .configure(&ProviderConfig::without_region().with_region(region))
        .build();
    loader
        .profile_name(profile)
        .credentials_provider(credentials)
        .load()
        .await
}

/// The Region of environment or profile, as everywhere with AWS's SDKs; else one of the right partition. The instance's
/// metadata is not used: from within pods it mostly cannot be reached, and trying takes seconds.
async fn region(hint: Option<String>, profile: Option<&str>) -> Option<Region> {
    let of_profile = match profile {
        Some(profile) => ProfileFileRegionProvider::builder().profile_name(profile).build(),
        None => ProfileFileRegionProvider::new(),
    };
    let configured = RegionProviderChain::first_try(EnvironmentVariableRegionProvider::new()).or_else(of_profile);
    if let Some(region) = configured.region().await {
        return Some(region);
    }
    let hint = hint.unwrap_or_else(|| {
        let own_role = std::env::var("AWS_ROLE_ARN").unwrap_or_default();
        let partition = region::partition_of(&own_role).unwrap_or("aws");
        region::of_partition(partition).to_owned()
    });
    Some(Region::new(hint))
}
