//! The role sources that `--role-source` names.

use std::cell::Cell;
use std::collections::HashMap;
use std::io::{IsTerminal as _, Write as _};
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use futures::stream::{self, StreamExt as _};
use tokio::time::{Instant, timeout};
#[cfg(feature = "aws")]
use tokio::time::{sleep, timeout_at};
use tokio_util::sync::CancellationToken;

use super::assume_role::AssumeRole;
use super::serve::RoleSourceSpec;
use crate::kubernetes::{self, list_watch::WatchTiming};
#[cfg(feature = "aws")]
use crate::roles::aws::AwsUser;
use crate::roles::files::{FileRoles, WhenMissing};
use crate::roles::{Answer, Entry, KnownProvider, RoleCache, RoleCacheSettings, RoleDocument, RoleObjects, RoleSource};
use crate::trust::{AccountId, Issuer, Partition, RoleArn};

/// The longest that a command waits for one role. Nobody's pod waits here, so it may be long.
const PATIENCE: Duration = Duration::from_secs(30);

/// No command lasts as long.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// What flags say about reading AWS.
#[derive(Clone, Debug, Default)]
#[cfg_attr(
    not(feature = "aws"),
    expect(dead_code, reason = "flags are understood all the same")
)]
pub(crate) struct AwsAccess {
    /// `--assume-role`.
    pub(crate) assume: Vec<AssumeRole>,
    /// The Region whose endpoints are asked when neither environment nor profile set one.
    pub(crate) region: Option<String>,
    /// `--profile`.
    pub(crate) profile: Option<String>,
    /// Whom messages about AWS advise.
    pub(crate) advice: Advice,
}

/// Whom messages about AWS advise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Advice {
    /// The operator of a pod: its ServiceAccount needs a role.
    #[default]
    Operator,
    /// The person who ran the command: a profile is missing, or a login.
    Person,
}

impl AwsAccess {
    /// As a command reads AWS: on a person's machine, or in a pod (a Job, `kubectl exec`).
    pub(crate) fn of_command() -> Self {
        let advice = match std::env::var_os("KUBERNETES_SERVICE_HOST") {
            Some(_) => Advice::Operator,
            None => Advice::Person,
        };
        Self {
            advice,
            ..Self::default()
        }
    }
}

/// Opens the sources, to be asked in this order. The last one knows that a role it lacks does not exist.
///
/// # Errors
/// Which source cannot be opened, and why.
pub(crate) async fn open(specs: &[RoleSourceSpec], aws: &AwsAccess) -> Result<Vec<Arc<dyn RoleSource>>, String> {
    let last = specs.len().saturating_sub(1);
    let mut sources = Vec::with_capacity(specs.len());
    for (place, spec) in specs.iter().enumerate() {
        let when_missing = if place == last {
            WhenMissing::NoSuchRole
        } else {
            WhenMissing::NotMine
        };
        sources.extend(open_one(spec, when_missing, aws).await?);
    }
    Ok(sources)
}

async fn open_one(
    spec: &RoleSourceSpec,
    when_missing: WhenMissing,
    aws: &AwsAccess,
) -> Result<Vec<Arc<dyn RoleSource>>, String> {
    match spec {
        RoleSourceSpec::Files(directory) => {
            let files = FileRoles::open(directory, when_missing, FileRoles::POLL).map_err(|error| error.to_string())?;
            Ok(vec![Arc::new(files)])
        }
        RoleSourceSpec::Ack => Ok(vec![Arc::new(RoleObjects::ack(
            client(spec).await?,
            WatchTiming::default(),
        ))]),
        RoleSourceSpec::Crossplane => Ok(vec![Arc::new(RoleObjects::crossplane(
            client(spec).await?,
            WatchTiming::default(),
        ))]),
        RoleSourceSpec::Iam => iam(aws),
    }
}

/// A client of the cluster whose objects a source reads.
async fn client(spec: &RoleSourceSpec) -> Result<kube::Client, String> {
    let config = kube::Config::infer().await.map_err(|error| {
        format!("role source {spec}: no cluster to read roles from ({error}); set KUBECONFIG or run in a pod")
    })?;
    kubernetes::client(&config)
        .map_err(|error| format!("role source {spec}: cannot talk to {}: {error}", config.cluster_url))
}

#[cfg(feature = "aws")]
fn iam(aws: &AwsAccess) -> Result<Vec<Arc<dyn RoleSource>>, String> {
    Ok(crate::roles::aws::open(&iam_settings(aws)))
}

#[cfg(feature = "aws")]
fn iam_settings(aws: &AwsAccess) -> crate::roles::aws::IamSettings {
    let assume = aws
        .assume
        .iter()
        .map(|assumed| (assumed.account.clone(), assumed.role.clone()));
    crate::roles::aws::IamSettings {
        assume: assume.collect(),
        region: aws.region.clone(),
        profile: aws.profile.clone(),
        user: match aws.advice {
            Advice::Operator => AwsUser::Pod,
            Advice::Person => AwsUser::Person,
        },
    }
}

/// What writes trust policies to the roles of an account.
///
/// # Errors
/// That there are no credentials for it.
#[cfg(feature = "aws")]
pub(crate) async fn editor(aws: &AwsAccess, account: &AccountId) -> Result<crate::roles::aws::RoleEditor, String> {
    crate::roles::aws::open_editor(&iam_settings(aws), account).await
}

#[cfg(not(feature = "aws"))]
fn iam(_aws: &AwsAccess) -> Result<Vec<Arc<dyn RoleSource>>, String> {
    Err(WITHOUT_AWS.to_owned())
}

#[cfg(not(feature = "aws"))]
pub(super) const WITHOUT_AWS: &str =
    "this rolegate was built without the cargo feature `aws` and cannot ask AWS; use files=DIR";

/// Partition and account of rolegate's own credentials, asked of STS for as long as `patience`.
///
/// # Errors
/// One line that says why they are not known.
#[cfg(feature = "aws")]
pub(crate) async fn own_account(aws: &AwsAccess, patience: Duration) -> Result<(Partition, AccountId), String> {
    /// STS is asked again after this long.
    const PAUSE: Duration = Duration::from_secs(1);
    let settings = iam_settings(aws);
    let give_up = Instant::now() + patience;
    loop {
        let asked = timeout_at(give_up, crate::roles::aws::caller(&settings)).await;
        let why = match asked {
            Ok(Ok(caller)) => return Ok((caller.partition, caller.account)),
            Ok(Err(why)) => why.to_string(),
            Err(_) => "sts:GetCallerIdentity: AWS did not answer in time".to_owned(),
        };
        if Instant::now() + PAUSE >= give_up {
            return Err(why);
        }
        sleep(PAUSE).await;
    }
}

/// As with the feature; but nobody can be asked.
#[cfg(not(feature = "aws"))]
pub(crate) async fn own_account(_aws: &AwsAccess, _patience: Duration) -> Result<(Partition, AccountId), String> {
    Err(WITHOUT_AWS.to_owned())
}

/// What was read of a role.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    /// Its trust policy.
    pub(crate) entry: Entry,
    /// The OIDC provider in its account.
    pub(crate) provider: KnownProvider,
}

/// Reads one role through the sources, once.
///
/// # Errors
/// When a source cannot be opened at all: which, and why.
pub(crate) fn read(
    specs: &[RoleSourceSpec],
    aws: &AwsAccess,
    role: &RoleArn,
    issuer: &Issuer,
) -> Result<Found, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("no runtime for reading roles: {error}"))?;
    let mut found = runtime.block_on(read_all(specs, aws, std::slice::from_ref(role), issuer))?;
    found.remove(role).ok_or_else(|| format!("{role} was not read"))
}

/// The document of one role, as its source gives it, with the name of the source.
///
/// # Errors
/// That no source has it, and why.
pub(crate) fn document(
    specs: &[RoleSourceSpec],
    aws: &AwsAccess,
    role: &RoleArn,
) -> Result<(&'static str, RoleDocument), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("no runtime for reading roles: {error}"))?;
    runtime.block_on(async {
        let sources = open(specs, aws).await?;
        let stop = CancellationToken::new();
        let running = join_all(sources.iter().map(|source| source.run(stop.clone())));
        let reading = async {
            let found = timeout(PATIENCE, first_document(&sources, role)).await;
            stop.cancel();
            found.unwrap_or_else(|_| Err(format!("{role}: no answer within {} s", PATIENCE.as_secs())))
        };
        let (found, _) = tokio::join!(reading, running);
        found
    })
}

async fn first_document(
    sources: &[Arc<dyn RoleSource>],
    role: &RoleArn,
) -> Result<(&'static str, RoleDocument), String> {
    for source in sources {
        match source.read(role, Instant::now()).await {
            Answer::Role(document) => return Ok((source.name(), document)),
            Answer::NotMine => {}
            Answer::NoSuchRole { hint: None } => {
                return Err(format!("{role} does not exist (role source {})", source.name()));
            }
            Answer::NoSuchRole { hint: Some(hint) } => {
                return Err(format!("{role} does not exist (role source {}): {hint}", source.name()));
            }
            Answer::CannotRead(why) | Answer::Failed(why) | Answer::Throttled(why) => {
                return Err(format!(
                    "{role} could not be read from role source {}: {why}",
                    source.name()
                ));
            }
        }
    }
    Err(format!("{role} is not known to any role source"))
}

/// How many roles are read at once: a source over the network limits itself, and files need no more.
const READS_AT_ONCE: usize = 16;

/// With more roles than this, all of an account are listed first: IAM lists 1000 a call.
const LIST_ABOVE: usize = 3;

/// Reads these roles through the sources, each once, and the issuer's OIDC provider in their accounts.
///
/// # Errors
/// As [`read`].
pub(crate) async fn read_all(
    specs: &[RoleSourceSpec],
    aws: &AwsAccess,
    roles: &[RoleArn],
    issuer: &Issuer,
) -> Result<HashMap<RoleArn, Found>, String> {
    let settings = RoleCacheSettings {
        // What is listed first is still good when all else is read.
        ttl: LONGEST,
        max_stale: LONGEST,
        read_timeout: PATIENCE,
        capacity: roles.len().max(1),
    };
    let sources = open(specs, aws).await?;
    let cache = RoleCache::new(sources.clone(), settings);
    cache.check_providers_of(issuer.clone());
    let reads = stream::iter(roles).map(|role| {
        let cache = &cache;
        async move {
            let deadline = Instant::now().checked_add(PATIENCE).unwrap_or_else(Instant::now);
            let entry = cache.entry(role, deadline).await;
            let provider = cache.provider(role, deadline).await;
            (role.clone(), Found { entry, provider })
        }
    });
    // A source that watches answers only while it runs.
    let stop = CancellationToken::new();
    let running = join_all(sources.iter().map(|source| source.run(stop.clone())));
    let reading = async {
        if roles.len() > LIST_ABOVE {
            let progress = Progress::default();
            cache.list(roles, |listed| progress.tell(listed)).await;
            progress.clear();
        }
        let found = reads.buffer_unordered(READS_AT_ONCE).collect().await;
        cache.stop().await;
        stop.cancel();
        found
    };
    let (found, _) = tokio::join!(reading, running);
    Ok(found)
}

/// A line on the terminal of somebody who waits for AWS; nothing where nobody looks.
#[derive(Debug, Default)]
struct Progress {
    told: Cell<bool>,
}

impl Progress {
    fn tell(&self, listed: usize) {
        if std::io::stderr().is_terminal() {
            // Whoever closed standard error does not look.
            let _ = write!(std::io::stderr(), "\rreading roles from AWS: {listed} …");
            self.told.set(true);
        }
    }

    fn clear(&self) {
        if self.told.get() {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}
