//! What prevents a container from using its identity, or might: warnings for the author, and the names of the containers for the audit log.
//!
//! A pod that starts and then uses other credentials fails silently. Each warning about that ends with the cause `identity-not-used`,
//! and a second line says how to fix it.

use std::collections::BTreeMap;

use super::effective::{ContainerIdentity, EffectiveIdentities, Identity, Incomplete, NoIdentity, StaticKeys};
use super::environment::{Environment, Known};
use super::settings::WebIdentitySettings;
use super::variables::{
    ACCESS_KEY_ID, AUTHORIZATION_TOKEN_FILE, CREDENTIALS_FULL_URI, CREDENTIALS_RELATIVE_URI, DEFAULT_REGION, ENDPOINTS,
    METADATA_DISABLED, OLD_ACCESS_KEY, OLD_SECRET_KEY, PROFILES, REGION, ROLE_ARN, ROLE_SESSION_NAME,
    SECRET_ACCESS_KEY, SHARED_CREDENTIALS_FILE, WEB_IDENTITY_TOKEN_FILE,
};
use super::view::TOKEN_VOLUME;
use super::warning::{Warning, quoted};
use crate::trust::{Cause, RoleArn, partition_of_region};

/// What was found in the containers of a pod whose ServiceAccount has a role.
#[derive(Debug, Default)]
pub struct Concerns<'p> {
    /// For the author: per concern what is wrong, then `fix: …`.
    pub warnings: Vec<Warning>,
    /// The containers of which at least one AWS SDK does not, or might not, use the identity; at most [`MOST_NAMED`].
    pub not_used: Vec<&'p str>,
}

/// How many containers are named in records.
pub const MOST_NAMED: usize = 16;

/// How many concerns are reported to the author, each on two lines. The API server cuts all warnings together at 4096 characters.
const MOST_REPORTED: usize = 6;

impl<'p> Concerns<'p> {
    /// Finds them. Containers with the same concern share a warning. `injected` is the role of containers without one of their
    /// own; none when no role is injected.
    #[must_use]
    pub fn of(
        identities: &EffectiveIdentities<'p>,
        injected: Option<&RoleArn>,
        settings: &WebIdentitySettings,
    ) -> Self {
        let mut found: BTreeMap<Concern<'_>, Vec<&'p str>> = BTreeMap::new();
        let mut not_used = Vec::new();
        for container in identities.containers() {
            let concerns = of_container(container, injected, settings);
            if not_used.len() < MOST_NAMED && concerns.iter().any(Concern::is_about_identity) {
                not_used.push(container.name());
            }
            for concern in concerns {
                found.entry(concern).or_default().push(container.name());
            }
        }
        let more = found.len().saturating_sub(MOST_REPORTED);
        let mut warnings: Vec<Warning> = found
            .iter()
            .take(MOST_REPORTED)
            .flat_map(|(concern, names)| concern.warnings(names))
            .collect();
        if more > 0 {
            warnings.push(Warning::new(&format!(
                "{more} more warnings about containers are not shown"
            )));
        }
        Self { warnings, not_used }
    }
}

/// One thing that is wrong with a container; the worst first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Concern<'p> {
    None(NoIdentity),
    /// Its web identity is incomplete, and a container credentials server decides.
    Incomplete(Incomplete),
    StaticKeys,
    MissingAgentToken(String),
    MisplacedMount {
        mounted_at: &'p str,
        token_file: String,
    },
    OtherPartition {
        variable: &'static str,
        region: String,
        partition: String,
    },
    RegionMissing {
        variables: &'static str,
        partition: String,
    },
    PossibleStaticKeys,
    OldKeyNames,
    KeyIdAlone,
    Profile(&'static str),
    Endpoint(&'static str),
    EmptyVariable(&'static str),
    /// Its value; none when that is not known.
    InstanceMetadata(Option<String>),
}

fn of_container<'p>(
    container: &ContainerIdentity<'p>,
    injected: Option<&RoleArn>,
    settings: &WebIdentitySettings,
) -> Vec<Concern<'p>> {
    let mut concerns = Vec::new();
    let role = match container.identity() {
        Identity::Skipped => return concerns,
        Identity::None(why) => {
            concerns.push(Concern::None(*why));
            return concerns;
        }
        Identity::StaticKeys => {
            concerns.push(Concern::StaticKeys);
            return concerns;
        }
        Identity::PodIdentity | Identity::ContainerCredentials { .. } => {
            concerns.extend(container.incomplete().map(Concern::Incomplete));
            concerns.extend(keys(container));
            let missing = container.missing_agent_token();
            concerns.extend(missing.map(|path| Concern::MissingAgentToken(path.to_owned())));
            // boto3 takes the empty value for an address.
            let environment = Environment::of(container.container);
            if environment.get(CREDENTIALS_RELATIVE_URI).is_empty() {
                concerns.push(Concern::EmptyVariable(CREDENTIALS_RELATIVE_URI));
            }
            concerns.extend(instance_metadata(&environment, settings));
            return concerns;
        }
        Identity::Unknown(_) => None,
        Identity::WebIdentity(own) => Some(&own.role),
        Identity::Injected if injected.is_none() => return concerns,
        Identity::Injected => {
            concerns.extend(
                container
                    .misplaced_mount()
                    .map(|(mounted_at, token_file)| Concern::MisplacedMount {
                        mounted_at,
                        token_file: token_file.to_owned(),
                    }),
            );
            injected
        }
    };
    concerns.extend(keys(container));
    if container.container.variables().is_empty() && role.is_none_or(|role| role.partition() == "aws") {
        return concerns;
    }
    let environment = Environment::of(container.container);
    for variable in PROFILES.into_iter().chain([SHARED_CREDENTIALS_FILE]) {
        if environment.get(variable).may_be_set() {
            concerns.push(Concern::Profile(variable));
        }
    }
    for variable in ENDPOINTS {
        if is_foreign_endpoint(&environment.get(variable)) {
            concerns.push(Concern::Endpoint(variable));
        }
    }
    for variable in [REGION, DEFAULT_REGION, PROFILES[0], ROLE_SESSION_NAME] {
        if environment.get(variable).is_empty() {
            concerns.push(Concern::EmptyVariable(variable));
        }
    }
    if let Some(role) = role {
        region(container, &environment, role, settings, &mut concerns);
    }
    concerns.extend(instance_metadata(&environment, settings));
    concerns
}

/// A value of the author's where `true` would be added.
fn instance_metadata<'p>(environment: &Environment<'_>, settings: &WebIdentitySettings) -> Option<Concern<'p>> {
    if !settings.disable_instance_metadata {
        return None;
    }
    match environment.get(METADATA_DISABLED) {
        Known::Text(value) if !value.eq_ignore_ascii_case("true") => {
            Some(Concern::InstanceMetadata(Some(value.into_owned())))
        }
        Known::Unknown => Some(Concern::InstanceMetadata(None)),
        Known::Text(_) | Known::Absent => None,
    }
}

/// Whether requests to STS go to something that is not AWS's by its name.
fn is_foreign_endpoint(value: &Known<'_>) -> bool {
    let Some(url) = value.text() else {
        return value.may_be_set();
    };
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let host = rest.split(['/', ':', '?']).next().unwrap_or_default();
    !["amazonaws.com", "amazonaws.com.cn", "api.aws", "amazonaws.eu"]
        .iter()
        .any(|domain| host.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.')))
}

fn keys<'p>(container: &ContainerIdentity<'_>) -> Option<Concern<'p>> {
    match container.keys() {
        StaticKeys::Possible => Some(Concern::PossibleStaticKeys),
        StaticKeys::OldNames => Some(Concern::OldKeyNames),
        StaticKeys::IdAlone => Some(Concern::KeyIdAlone),
        StaticKeys::Absent | StaticKeys::Set => None,
    }
}

/// STS of one partition does not know the roles of another. Without a Region of its own, an SDK calls STS in partition `aws`; boto3
/// reads `AWS_DEFAULT_REGION` only, JavaScript and Java read `AWS_REGION` only.
fn region(
    container: &ContainerIdentity<'_>,
    environment: &Environment<'_>,
    role: &RoleArn,
    settings: &WebIdentitySettings,
    concerns: &mut Vec<Concern<'_>>,
) {
    let partition = role.partition();
    let own = [DEFAULT_REGION, REGION].map(|variable| (variable, environment.get(variable)));
    for (variable, value) in &own {
        if let Some(region) = value.text()
            && partition_of_region(region) != partition
        {
            concerns.push(Concern::OtherPartition {
                variable,
                region: region.to_owned(),
                partition: partition.to_owned(),
            });
        }
    }
    let is_injected = own.iter().all(|(_, value)| *value == Known::Absent) && injected_region(settings, role).is_some();
    // What `envFrom` sets is not known. In partition `aws`, JavaScript and Java take the Region from instance metadata.
    let is_found_elsewhere = partition == "aws" && !(settings.disable_instance_metadata && own[0].1.may_be_set());
    if is_found_elsewhere || is_injected || container.container.has_env_from() {
        return;
    }
    let variables = match own.map(|(_, value)| value.may_be_set()) {
        [true, true] => return,
        [true, false] => REGION,
        [false, true] => DEFAULT_REGION,
        [false, false] => "AWS_REGION and AWS_DEFAULT_REGION",
    };
    concerns.push(Concern::RegionMissing {
        variables,
        partition: partition.to_owned(),
    });
}

/// The Region that is injected for a role: none of another partition than the role's.
pub(super) fn injected_region<'s>(settings: &'s WebIdentitySettings, role: &RoleArn) -> Option<&'s str> {
    let region = settings.region.as_deref()?;
    (partition_of_region(region) == role.partition()).then_some(region)
}

const NODE: &str = "AWS SDKs fail or use the role of the node";

impl Concern<'_> {
    /// Whether an SDK might use other credentials; otherwise it is only a setting that does not take effect.
    const fn is_about_identity(&self) -> bool {
        !matches!(self, Self::InstanceMetadata(_))
    }

    fn warnings(&self, names: &[&str]) -> Vec<Warning> {
        let first = names.first().copied().unwrap_or_default();
        let (who, is_one) = match names.len() {
            0 | 1 => (format!("container {}", quoted(first)), true),
            count => (format!("containers {} and {} more", quoted(first), count - 1), false),
        };
        let verb = |one: &'static str, several: &'static str| if is_one { one } else { several };
        let sets = verb("sets", "set");
        let what = match self {
            Self::None(why) => format!("{who} {sets} {}", why.clause()),
            Self::Incomplete(why) => format!("{who} {sets} {}: its web identity is not used", why.clause()),
            Self::StaticKeys => format!(
                "{who} {sets} {ACCESS_KEY_ID} and {SECRET_ACCESS_KEY}: most AWS SDKs use these and not the IAM role"
            ),
            Self::MissingAgentToken(path) => format!(
                "{who} {sets} {AUTHORIZATION_TOKEN_FILE} to {}, where nothing is mounted: AWS SDKs fail",
                quoted(path)
            ),
            Self::PossibleStaticKeys => format!(
                "{who} {} {ACCESS_KEY_ID} or {SECRET_ACCESS_KEY} from outside the pod: if both exist, most AWS SDKs use them",
                verb("gets", "get")
            ),
            Self::OldKeyNames => {
                format!(
                    "{who} {sets} static keys by older names ({OLD_ACCESS_KEY}, {OLD_SECRET_KEY}): some AWS SDKs use these"
                )
            }
            Self::KeyIdAlone => {
                format!("{who} {sets} {ACCESS_KEY_ID} without {SECRET_ACCESS_KEY}: boto3 and the AWS CLI fail")
            }
            Self::MisplacedMount { mounted_at, token_file } => format!(
                "{who} {} {TOKEN_VOLUME} at {}, but {WEB_IDENTITY_TOKEN_FILE} is {token_file}: {NODE}",
                verb("mounts", "mount"),
                quoted(mounted_at),
            ),
            Self::OtherPartition {
                variable,
                region,
                partition,
            } => format!(
                "{who} {sets} {variable} to {}, but the IAM role is in partition {partition}: AWS SDKs call STS in another partition",
                quoted(region)
            ),
            Self::RegionMissing { variables, partition } => format!(
                "{who} {} {variables}: some AWS SDKs find no Region of partition {partition}, where the IAM role is",
                verb("does not set", "do not set")
            ),
            Self::Profile(variable) => format!("{who} {sets} {variable}: the IAM role might not be used"),
            Self::Endpoint(variable) => {
                format!(
                    "{who} {sets} {variable}: AWS SDKs might ask another server than AWS STS for the role's credentials"
                )
            }
            Self::EmptyVariable(variable) => format!("{who} {sets} {variable} to an empty value: some AWS SDKs fail"),
            Self::InstanceMetadata(value) => {
                let value = value
                    .as_ref()
                    .map_or_else(|| "a value from outside the pod".to_owned(), |value| quoted(value));
                format!("{who} {sets} {METADATA_DISABLED} to {value}: AWS SDKs can use the role of the node")
            }
        };
        let cause = if self.is_about_identity() {
            format!(" ({})", Cause::IdentityNotUsed.as_str())
        } else {
            String::new()
        };
        vec![
            Warning::new(&format!("{what}{cause}")),
            Warning::new(&format!("fix: {}", self.fix())),
        ]
    }

    fn fix(&self) -> String {
        match self {
            Self::None(why) => why.fix(),
            Self::Incomplete(why) => NoIdentity::Incomplete(*why).fix(),
            Self::StaticKeys | Self::PossibleStaticKeys | Self::KeyIdAlone => {
                format!("remove {ACCESS_KEY_ID} and {SECRET_ACCESS_KEY} from the container")
            }
            Self::MissingAgentToken(_) => {
                format!(
                    "remove {CREDENTIALS_FULL_URI} and {AUTHORIZATION_TOKEN_FILE}; EKS and rolegate set what is needed"
                )
            }
            Self::MisplacedMount { .. } => format!("remove the mount of {TOKEN_VOLUME}; rolegate adds its own"),
            Self::OtherPartition {
                variable, partition, ..
            } => {
                format!("set {variable} to a Region of partition {partition}")
            }
            Self::RegionMissing { partition, .. } => {
                format!("set {REGION} and {DEFAULT_REGION} to a Region of partition {partition}")
            }
            Self::OldKeyNames => format!("remove {OLD_ACCESS_KEY} and {OLD_SECRET_KEY} from the container"),
            Self::Endpoint(variable) => {
                format!("remove {variable}, or set the endpoint of the one service that needs it (AWS_ENDPOINT_URL_S3)")
            }
            Self::Profile(variable) | Self::EmptyVariable(variable) => format!("remove {variable} from the container"),
            Self::InstanceMetadata(_) => format!("remove {METADATA_DISABLED} from the container"),
        }
    }
}

impl NoIdentity {
    /// What a container does so that it has no identity, to follow `container "app" sets`.
    #[must_use]
    pub fn what(self) -> String {
        match self {
            Self::Incomplete(why) => why.clause(),
            Self::RefusedUri => format!("{CREDENTIALS_FULL_URI} to an address that AWS SDKs refuse"),
            Self::NoAgentToken => format!("{CREDENTIALS_FULL_URI}, but no token for the EKS Pod Identity agent"),
        }
    }

    /// The same with what follows from it.
    fn clause(self) -> String {
        match self {
            Self::Incomplete(_) => format!("{}: {NODE}", self.what()),
            Self::RefusedUri => format!("{}: they fail", self.what()),
            Self::NoAgentToken => format!("{}: the agent refuses requests without one", self.what()),
        }
    }
}

impl NoIdentity {
    /// What gives the container an identity.
    #[must_use]
    pub fn fix(self) -> String {
        match self {
            Self::Incomplete(_) => {
                format!(
                    "remove {ROLE_ARN} and {WEB_IDENTITY_TOKEN_FILE}, which rolegate then sets, or give both a value"
                )
            }
            Self::RefusedUri | Self::NoAgentToken => {
                format!("remove {CREDENTIALS_FULL_URI}; rolegate then injects the IAM role")
            }
        }
    }
}

impl Incomplete {
    fn clause(self) -> String {
        match self {
            Self::Empty(variable) => format!("{variable} to an empty value"),
            Self::Missing { set, unset } => format!("{set} but not {unset}"),
        }
    }
}

#[cfg(test)]
mod tests;
