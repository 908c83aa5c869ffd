//! Where the webhook reads trust policies and how long it keeps them.

use std::str::FromStr as _;
use std::time::Duration;

use clap::Args;

use crate::args::assume_role::{self, AssumeRole};
use crate::args::duration;
use crate::args::role_source::RoleSourceSpec;
use crate::args::usage::UsageError;
use crate::args::values;
use crate::roles::RoleCacheSettings;

const MILLISECOND: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const LONGEST_TTL: Duration = Duration::from_hours(24);
const LONGEST_STALE: Duration = Duration::from_hours(168);
const LONGEST_READ: Duration = Duration::from_secs(30);

/// Role sources and the role cache.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Trust policies")]
pub(crate) struct TrustPoliciesArgs {
    /// Role sources to read trust policies from, in this order: iam, ack, crossplane, files=DIR
    ///
    /// May be repeated or separated by commas. If a source does not know a role, the next one is used. Default: iam, or
    /// files=DIR/roles with --standalone DIR. AWS is configured as for every AWS SDK: the default credential chain,
    /// AWS_REGION, AWS_ENDPOINT_URL, AWS_USE_FIPS_ENDPOINT.
    #[arg(long, value_name = "SOURCE", value_delimiter = ',', hide_possible_values = true, value_parser = values::suggesting::<RoleSourceSpec>(RoleSourceSpec::KINDS))]
    pub(super) role_source: Vec<RoleSourceSpec>,

    /// Another account to read roles from, and the role in it to assume for that
    ///
    /// May be repeated or separated by commas. Roles of accounts that are neither named here nor the account of
    /// rolegate's own credentials cannot be read: their verdict is unknown.
    #[arg(long, value_name = "ACCOUNT=ROLE_ARN", value_delimiter = ',', value_parser = AssumeRole::from_str)]
    assume_role: Vec<AssumeRole>,

    /// How long a trust policy is fresh after it was read
    ///
    /// After that, it is re-read in the background while the cached copy is used. From 1s to 24h.
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = duration::between(SECOND, LONGEST_TTL))]
    trust_ttl: Duration,

    /// Maximum age of a cached trust policy; the verdict of an older one is unknown
    ///
    /// From 1s to 168h, and at least --trust-ttl.
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = duration::between(SECOND, LONGEST_STALE))]
    trust_max_stale: Duration,

    /// Maximum time that a pod waits for a trust policy to be read
    ///
    /// Applies only if the role is not cached, or if the pod is about to be refused. From 1ms to 30s; the API server's
    /// timeout applies as well.
    #[arg(long, value_name = "DURATION", default_value = "700ms", value_parser = duration::between(MILLISECOND, LONGEST_READ))]
    trust_read_timeout: Duration,
}

/// The same as settings.
pub(crate) struct TrustPolicySettings {
    /// In the order in which they are asked; empty if no flag names one.
    pub(crate) sources: Vec<RoleSourceSpec>,
    pub(crate) assume_role: Vec<AssumeRole>,
    pub(crate) cache: RoleCacheSettings,
}

impl TrustPoliciesArgs {
    pub(super) fn validate(&self) -> Result<(), UsageError> {
        if self.trust_max_stale < self.trust_ttl {
            return Err(UsageError::conflict(format!(
                "--trust-max-stale ({}) must be at least --trust-ttl ({})",
                duration::display(self.trust_max_stale),
                duration::display(self.trust_ttl)
            )));
        }
        assume_role::refuse_repeated(&self.assume_role)
    }

    /// `capacity`: how many roles the cache keeps.
    pub(crate) fn settings(self, capacity: usize) -> TrustPolicySettings {
        let Self {
            role_source,
            assume_role,
            trust_ttl,
            trust_max_stale,
            trust_read_timeout,
        } = self;
        TrustPolicySettings {
            sources: role_source,
            assume_role,
            cache: RoleCacheSettings {
                ttl: trust_ttl,
                max_stale: trust_max_stale,
                read_timeout: trust_read_timeout,
                capacity,
            },
        }
    }
}
