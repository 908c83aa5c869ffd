//! Reads roles through the sources in `--role-source`.

use std::cell::Cell;
use std::collections::HashMap;
use std::io::{IsTerminal as _, Write as _};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use futures::future::join_all;
use futures::stream::{self, StreamExt as _};
use tokio::time::{Instant, timeout};
#[cfg(feature = "aws")]
use tokio::time::{sleep, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::cluster::Cluster;
use super::input;
use crate::args::aws::{AwsAccess, Reader};
use crate::args::role_source::RoleSourceSpec;
#[cfg(feature = "aws")]
use crate::aws::{AwsSettings, AwsUser};
use crate::kubernetes::list_watch::WatchTiming;
use crate::roles::files::{FileRoles, WhenMissing};
use crate::roles::{
    Answer, KnownProvider, RoleCache, RoleCacheSettings, RoleDocument, RoleEntry, RoleObjects, RoleSource,
};
use crate::trust::{AccountId, Issuer, Partition, RoleArn};

/// How long a command waits for one role. No pod waits for it, so it can be long.
const PATIENCE: Duration = Duration::from_secs(30);

/// Longer than any command runs.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// Who reads a command's messages about AWS: a person at a machine, unless it runs in a pod (a Job, `kubectl exec`).
pub(super) fn reader() -> Reader {
    match std::env::var_os("KUBERNETES_SERVICE_HOST") {
        Some(_) => Reader::Operator,
        None => Reader::Person,
    }
}

/// How long sources are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    /// While the program serves: they follow changes.
    Serve,
    /// For one report: what was read once is not read again.
    Once,
}

/// Opens the sources in their order. A role that the last one does not know does not exist.
///
/// # Errors
/// Which source cannot be opened, and why.
pub(super) async fn open(
    specs: &[RoleSourceSpec],
    aws: &AwsAccess,
    cluster: &Cluster,
    used: Use,
) -> Result<Vec<Arc<dyn RoleSource>>> {
    let last = specs.len().saturating_sub(1);
    let mut sources = Vec::with_capacity(specs.len());
    for (place, spec) in specs.iter().enumerate() {
        let when_missing = if place == last {
            WhenMissing::NoSuchRole
        } else {
            WhenMissing::NotMine
        };
        sources.extend(open_one(spec, when_missing, aws, cluster, used).await?);
    }
    Ok(sources)
}

async fn open_one(
    spec: &RoleSourceSpec,
    when_missing: WhenMissing,
    aws: &AwsAccess,
    cluster: &Cluster,
    used: Use,
) -> Result<Vec<Arc<dyn RoleSource>>> {
    match spec {
        RoleSourceSpec::Files(directory) => {
            let step = "create it, or set other sources with --role-source";
            input::check_directory("role source files=", directory, step)?;
            let files = FileRoles::open(directory, when_missing, FileRoles::POLL)?;
            Ok(vec![Arc::new(match used {
                Use::Serve => {
                    match files.without_files() {
                        Some(error) => warn!(
                            "{error}; until it has one, no role is known, and every pod is admitted with a warning (to define that no role \
                             exists, write {{\"Roles\": []}} to a .json file in it)"
                        ),
                        None => info!(directory = %directory.display(), roles = files.len(), "read role files"),
                    }
                    files
                }
                Use::Once => files.without_changes(),
            })])
        }
        RoleSourceSpec::Ack => Ok(vec![Arc::new(RoleObjects::ack(
            client(spec, cluster).await?,
            WatchTiming::default(),
        ))]),
        RoleSourceSpec::Crossplane => Ok(vec![Arc::new(RoleObjects::crossplane(
            client(spec, cluster).await?,
            WatchTiming::default(),
        ))]),
        RoleSourceSpec::Iam => iam(aws),
    }
}

/// A client of the cluster whose objects a source reads.
async fn client(spec: &RoleSourceSpec, cluster: &Cluster) -> Result<kube::Client> {
    cluster
        .client("read roles from", "set --kubeconfig FILE or run in a pod")
        .await
        .with_context(|| format!("role source {spec}"))
}

#[cfg(feature = "aws")]
fn iam(aws: &AwsAccess) -> Result<Vec<Arc<dyn RoleSource>>> {
    Ok(crate::roles::aws::open(&aws_settings(aws)))
}

#[cfg(feature = "aws")]
pub(super) fn aws_settings(aws: &AwsAccess) -> AwsSettings {
    let assume = aws
        .assume_role
        .iter()
        .map(|assumed| (assumed.account.clone(), assumed.role.clone()));
    AwsSettings {
        assume: assume.collect(),
        region: aws.region.clone(),
        profile: aws.profile.clone(),
        user: match aws.reader {
            Reader::Operator => AwsUser::Pod,
            Reader::Person => AwsUser::Person,
        },
    }
}

/// Writes trust policies to the roles of an account.
///
/// # Errors
/// That there are no credentials for it.
#[cfg(feature = "aws")]
pub(super) async fn editor(aws: &AwsAccess, account: &AccountId) -> Result<crate::roles::aws::RoleEditor> {
    let opened = crate::roles::aws::open_editor(&aws_settings(aws), account).await;
    opened.map_err(|error| anyhow!("{error}"))
}

#[cfg(not(feature = "aws"))]
fn iam(_aws: &AwsAccess) -> Result<Vec<Arc<dyn RoleSource>>> {
    Err(anyhow!(WITHOUT_AWS))
}

#[cfg(not(feature = "aws"))]
pub(super) const WITHOUT_AWS: &str =
    "this rolegate was built without the cargo feature `aws` and cannot call AWS; use files=DIR";

/// Partition and account of rolegate's own credentials, from STS, which is called for as long as `patience`.
///
/// # Errors
/// Why they are not known.
#[cfg(feature = "aws")]
pub(super) async fn own_account(aws: &AwsAccess, patience: Duration) -> Result<(Partition, AccountId)> {
    /// The pause between two calls.
    const PAUSE: Duration = Duration::from_secs(1);
    let settings = aws_settings(aws);
    let give_up = Instant::now() + patience;
    loop {
        let asked = timeout_at(give_up, crate::roles::aws::caller(&settings)).await;
        let why = match asked {
            Ok(Ok(caller)) => return Ok((caller.partition, caller.account)),
            Ok(Err(why)) => why.to_string(),
            Err(_) => "sts:GetCallerIdentity: AWS did not respond in time".to_owned(),
        };
        if Instant::now() + PAUSE >= give_up {
            bail!(why);
        }
        sleep(PAUSE).await;
    }
}

/// Without the feature there is no client of STS.
#[cfg(not(feature = "aws"))]
pub(super) async fn own_account(_aws: &AwsAccess, _patience: Duration) -> Result<(Partition, AccountId)> {
    Err(anyhow!(WITHOUT_AWS))
}

/// What was read of a role.
#[derive(Clone, Debug)]
pub(super) struct Found {
    /// Its trust policy.
    pub(super) entry: RoleEntry,
    /// The OIDC provider in its account.
    pub(super) provider: KnownProvider,
}

/// Reads one role through the sources, once.
///
/// # Errors
/// When a source cannot be opened at all: which, and why.
pub(super) async fn read(
    specs: &[RoleSourceSpec],
    aws: &AwsAccess,
    cluster: &Cluster,
    role: &RoleArn,
    issuer: &Issuer,
) -> Result<Found> {
    let mut found = read_all(specs, aws, cluster, std::slice::from_ref(role), issuer).await?;
    found.remove(role).with_context(|| format!("{role} was not read"))
}

/// The document of one role, as its source gives it, with the name of the source.
///
/// # Errors
/// That no source has it, and why.
pub(super) async fn document(
    specs: &[RoleSourceSpec],
    aws: &AwsAccess,
    cluster: &Cluster,
    role: &RoleArn,
) -> Result<(&'static str, RoleDocument)> {
    let sources = open(specs, aws, cluster, Use::Once).await?;
    let stop = CancellationToken::new();
    let running = join_all(sources.iter().map(|source| source.run(stop.clone())));
    let reading = async {
        let found = timeout(PATIENCE, first_document(&sources, role)).await;
        stop.cancel();
        found.unwrap_or_else(|_| Err(anyhow!("{role}: no response within {} s", PATIENCE.as_secs())))
    };
    let (found, _) = tokio::join!(reading, running);
    found
}

async fn first_document(sources: &[Arc<dyn RoleSource>], role: &RoleArn) -> Result<(&'static str, RoleDocument)> {
    let mut cannot = None;
    for source in sources {
        match source.read(role, Instant::now()).await {
            Answer::Role(document) => return Ok((source.name(), document)),
            Answer::NotMine => {}
            Answer::NoSuchRole { hint: None } => {
                bail!("{role} does not exist (role source {})", source.name());
            }
            Answer::NoSuchRole { hint: Some(hint) } => {
                bail!("{role} does not exist (role source {}): {hint}", source.name());
            }
            // The next source may know it.
            Answer::CannotRead(why) => {
                cannot.get_or_insert((source.name(), why));
            }
            Answer::Failed(why) | Answer::Throttled(why) => {
                bail!("{role} could not be read from role source {}: {why}", source.name());
            }
        }
    }
    if let Some((source, why)) = cannot {
        bail!("{role} could not be read from role source {source}: {why}");
    }
    bail!("{role} is not known to any role source")
}

/// `role source iam`, `role sources iam and files=roles`.
pub(super) fn named(specs: &[RoleSourceSpec]) -> String {
    let names: Vec<String> = specs.iter().map(ToString::to_string).collect();
    match names.split_last() {
        Some((last, others)) if !others.is_empty() => format!("role sources {} and {last}", others.join(", ")),
        _ => format!("role source {}", names.concat()),
    }
}

/// How many roles are read at once: a source over the network limits its own calls, and files need no more.
const READS_AT_ONCE: usize = 16;

/// Above this number of roles, all roles of the account are listed first: IAM lists 1000 per call.
const LIST_ABOVE: usize = 3;

/// Reads these roles through the sources, each once, and the issuer's OIDC provider in their accounts.
///
/// # Errors
/// As [`read`].
pub(super) async fn read_all(
    specs: &[RoleSourceSpec],
    aws: &AwsAccess,
    cluster: &Cluster,
    roles: &[RoleArn],
    issuer: &Issuer,
) -> Result<HashMap<RoleArn, Found>> {
    with_cache(specs, aws, cluster, roles.len(), issuer, async |cache| {
        read_into(&cache, roles).await
    })
    .await
}

/// Reads these roles with a cache, each once, and the issuer's OIDC provider in their accounts.
pub(super) async fn read_into(cache: &RoleCache, roles: &[RoleArn]) -> HashMap<RoleArn, Found> {
    let progress = Progress::on(std::io::stderr().is_terminal(), Instant::now());
    if roles.len() > LIST_ABOVE {
        let show = |listed| progress.show(&format!("listing roles: {listed} …"), Instant::now());
        cache.list(roles, show).await;
    }
    let (total, done) = (roles.len(), Cell::new(0_usize));
    let (progress, done) = (&progress, &done);
    let reads = stream::iter(roles).map(|role| async move {
        let deadline = patience();
        let entry = cache.entry(role, deadline).await;
        let provider = cache.provider(role, deadline).await;
        done.set(done.get().saturating_add(1));
        progress.show(&format!("reading roles: {} of {total}", done.get()), Instant::now());
        (role.clone(), Found { entry, provider })
    });
    let found = reads.buffer_unordered(READS_AT_ONCE).collect().await;
    progress.clear();
    found
}

/// When a command stops to wait for what it reads now.
pub(super) fn patience() -> Instant {
    Instant::now().checked_add(PATIENCE).unwrap_or_else(Instant::now)
}

/// Runs `work` with a cache of at most `capacity` roles of the sources, which reads each role once, and the issuer's OIDC provider.
///
/// # Errors
/// As [`read`].
pub(super) async fn with_cache<T>(
    specs: &[RoleSourceSpec],
    aws: &AwsAccess,
    cluster: &Cluster,
    capacity: usize,
    issuer: &Issuer,
    work: impl AsyncFnOnce(Arc<RoleCache>) -> T,
) -> Result<T> {
    let settings = RoleCacheSettings {
        // What is listed first is still fresh when the last role is read.
        ttl: LONGEST,
        max_stale: LONGEST,
        read_timeout: PATIENCE,
        capacity: capacity.max(1),
    };
    let sources = open(specs, aws, cluster, Use::Once).await?;
    let cache = RoleCache::new(sources.clone(), settings);
    cache.check_providers_of(issuer.clone());
    // A source that watches objects knows them only while it runs.
    let stop = CancellationToken::new();
    let running = join_all(sources.iter().map(|source| source.run(stop.clone())));
    let working = async {
        let done = work(Arc::clone(&cache)).await;
        cache.stop().await;
        stop.cancel();
        done
    };
    let (done, _) = tokio::join!(working, running);
    Ok(done)
}

/// How long roles are read without a progress line.
const QUIET: Duration = Duration::from_secs(1);

/// A progress line on a terminal.
#[derive(Debug)]
struct Progress {
    /// None where it would not be on a terminal.
    shown_from: Option<Instant>,
    is_shown: Cell<bool>,
}

impl Progress {
    fn on(is_terminal: bool, now: Instant) -> Self {
        Self {
            shown_from: now.checked_add(QUIET).filter(|_| is_terminal),
            is_shown: Cell::new(false),
        }
    }

    fn show(&self, what: &str, now: Instant) {
        if let Some(line) = self.line(what, now) {
            // A closed standard error has no reader.
            let _ = write!(std::io::stderr(), "{line}");
            self.is_shown.set(true);
        }
    }

    /// Replaces the line that is there.
    fn line(&self, what: &str, now: Instant) -> Option<String> {
        self.shown_from
            .filter(|from| now >= *from)
            .map(|_| format!("\r{what}\x1b[K"))
    }

    fn clear(&self) {
        if self.is_shown.get() {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::cluster::ClusterArgs;

    #[test]
    fn sources_are_named_in_their_order() {
        let files = RoleSourceSpec::Files("roles".into());
        assert_eq!(named(&[RoleSourceSpec::Iam]), "role source iam");
        let several = [RoleSourceSpec::Ack, RoleSourceSpec::Iam, files];
        assert_eq!(named(&several), "role sources ack, iam and files=roles");
    }
    #[test]
    fn progress_is_shown_on_a_terminal_after_a_second() {
        let began = Instant::now();
        let after = |seconds: u64| began + Duration::from_secs(seconds);
        let progress = Progress::on(true, began);
        assert_eq!(progress.line("reading roles: 1 of 9", began), None);
        let line = progress.line("reading roles: 2 of 9", after(1));
        assert_eq!(line.as_deref(), Some("\rreading roles: 2 of 9\x1b[K"));
        let piped = Progress::on(false, began);
        assert_eq!(piped.line("reading roles: 2 of 9", after(60)), None);
    }

    /// The policy that each of these roles has, in sources that were opened before the second role was added and the first was changed.
    async fn policies(used: Use) -> [Option<String>; 2] {
        let directory = tempfile::tempdir().unwrap();
        let write = |name: &str, policy: &str| {
            let account = directory.path().join("111122223333");
            std::fs::create_dir_all(&account).unwrap();
            std::fs::write(account.join(format!("{name}.json")), policy).unwrap();
        };
        write("changed", r#"{"Statement": [], "Id": "one"}"#);
        let spec = RoleSourceSpec::Files(directory.path().to_owned());
        let aws = AwsAccess {
            assume_role: Vec::new(),
            region: None,
            profile: None,
            reader: Reader::Person,
        };
        let cluster = Cluster::new(ClusterArgs::default());
        let sources = open(&[spec], &aws, &cluster, used).await.unwrap();
        write("changed", r#"{"Statement": [], "Id": "other"}"#);
        write("added", r#"{"Statement": [], "Id": "added"}"#);
        let read = ["changed", "added"].map(|name| {
            let source = Arc::clone(&sources[0]);
            async move {
                let role = RoleArn::parse(&format!("arn:aws:iam::111122223333:role/{name}")).unwrap();
                match source.read(&role, Instant::now()).await {
                    Answer::Role(document) => Some(document.policy.to_string()),
                    _ => None,
                }
            }
        });
        let [changed, added] = read;
        [changed.await, added.await]
    }

    /// Otherwise an audit would look at all files for each role.
    #[tokio::test]
    async fn a_report_is_of_the_files_as_they_were_when_it_began() {
        let has = |policy: &Option<String>, id: &str| policy.as_ref().is_some_and(|policy| policy.contains(id));
        let [changed, added] = policies(Use::Once).await;
        assert!(has(&changed, "one") && added.is_none(), "{changed:?} {added:?}");
        let [changed, added] = policies(Use::Serve).await;
        assert!(has(&changed, "other") && has(&added, "added"), "{changed:?} {added:?}");
    }
}
