//! The SDK's configuration, read once: Region, endpoints, credentials; and who those credentials are.

use std::time::Duration;

use aws_config::environment::EnvironmentVariableRegionProvider;
use aws_config::meta::region::RegionProviderChain;
use aws_config::profile::ProfileFileRegionProvider;
use aws_config::retry::RetryConfig;
use aws_config::sts::AssumeRoleProvider;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use tokio::sync::OnceCell;

use super::fault::{self, Fault};
use super::region;
use super::whole::WholeAnswers;
use crate::iam::{AccountId, Partition, RoleArn};

/// A connection that takes longer is to a place that drops packets.
const CONNECT: Duration = Duration::from_secs(3);

/// The longest that one call may take. A page of a thousand roles is some 2 MB of XML.
const CALL: Duration = Duration::from_secs(30);

/// How CloudTrail names what rolegate does under an assumed role.
const SESSION_NAME: &str = "rolegate";

/// Whose credentials rolegate has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The account that they are of.
    pub account: AccountId,
    /// Its partition.
    pub partition: Partition,
    /// The user or assumed role, an ARN.
    pub arn: String,
}

/// The SDK, configured when it is first used.
#[derive(Debug)]
pub(super) struct Session {
    region_hint: Option<String>,
    config: OnceCell<SdkConfig>,
    caller: OnceCell<Caller>,
}

impl Session {
    /// `region_hint`: for when neither environment nor profile set a Region.
    pub(super) fn new(region_hint: Option<String>) -> Self {
        Self {
            region_hint,
            config: OnceCell::new(),
            caller: OnceCell::new(),
        }
    }

    /// A client of IAM with rolegate's own credentials, or with those of a role that they assume.
    pub(super) async fn iam(&self, assume: Option<&RoleArn>) -> aws_sdk_iam::Client {
        let config = self.config().await;
        // The book paces calls, waits and tries again for all roles together; the SDK would do so for each by itself.
        let mut builder = aws_sdk_iam::config::Builder::from(config)
            .retry_config(RetryConfig::disabled())
            .interceptor(WholeAnswers);
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

    /// Who the credentials are, as far as it was asked.
    pub(super) fn known_caller(&self) -> Option<&Caller> {
        self.caller.get()
    }

    /// Who the credentials are: asked of STS until it answered once.
    pub(super) async fn caller(&self) -> Result<&Caller, Fault> {
        self.caller.get_or_try_init(|| self.ask_caller()).await
    }

    async fn ask_caller(&self) -> Result<Caller, Fault> {
        const ACTION: &str = "sts:GetCallerIdentity";
        let client = aws_sdk_sts::Client::new(self.config().await);
        let answer = client.get_caller_identity().send().await;
        let answer = answer.map_err(|error| fault::of(ACTION, "rolegate", &error))?;
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
                format!("{ACTION}: the answer names no account; check AWS_ENDPOINT_URL_STS").into(),
            )),
        }
    }

    async fn config(&self) -> &SdkConfig {
        self.config.get_or_init(|| load(self.region_hint.clone())).await
    }
}

async fn load(hint: Option<String>) -> SdkConfig {
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(CONNECT)
        .operation_timeout(CALL)
        .build();
    aws_config::defaults(BehaviorVersion::latest())
        .region(region(hint).await)
        .timeout_config(timeouts)
        .load()
        .await
}

/// The Region of environment or profile, as everywhere with AWS's SDKs; else one of the right partition. The instance's
/// metadata is not asked: from within pods it mostly cannot be reached, and trying takes seconds.
async fn region(hint: Option<String>) -> Option<Region> {
    let configured = RegionProviderChain::first_try(EnvironmentVariableRegionProvider::new())
        .or_else(ProfileFileRegionProvider::new());
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
