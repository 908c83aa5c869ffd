//! A soak, on demand: honest load on two replicas while attacks and faults take turns, and what it costs in memory, descriptors
//! and time.
//!
//! ```console
//! $ ROLEGATE_SOAK_MINUTES=30 cargo test --test e2e -- --ignored soak
//! ```
//!
//! The first and the last phase are quiet, as are those between rounds, and are compared. Latency is printed and never a reason to fail.

mod attacks;
mod client;
mod figures;
mod honest;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime};

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::Api;
use kube::api::{Patch, PatchParams};
use rolegate::certs::issue::Authority;
use serde_json::{Value, json};

use crate::cluster::{ExclusiveCluster, Gate, trust_policy};
use crate::process::{Log, Signal};
use crate::release::{NAME, NAMESPACE, ROLES, Release};
use crate::scenarios::Scenarios;

use attacks::Attackers;
use figures::{Figures, Observer};
use honest::Honest;

const MINUTES: &str = "ROLEGATE_SOAK_MINUTES";

const DEFAULT_MINUTES: u32 = 30;

/// A shorter run has no room for all phases of two rounds.
const FEWEST_MINUTES: u32 = 12;

/// What a first round leaves in memory is compared with what the last one leaves.
const FEWEST_ROUNDS: u32 = 2;

/// The shortest that `rolegate serve` accepts, so that CAs rotate during the run.
const CA_LIFETIME: Duration = Duration::from_secs(600);

/// Longer than the API server is away: a certificate is renewed after two thirds of it, and not without the API server.
const CERTIFICATE_LIFETIME: Duration = Duration::from_secs(240);

/// How long the API server is away in one phase, at most.
const OUTAGE: Duration = Duration::from_secs(20);

/// After the API server is back: the longest until a replica has noticed it and reads from it again.
const AFTER_OUTAGE: Duration = Duration::from_secs(10);

pub(crate) fn register(scenarios: &mut Scenarios) {
    scenarios.on_demand(honest_reviews_are_answered_while_attacks_and_faults_take_turns);
}

/// What happens in a phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    FirstQuiet,
    IdleConnections,
    AdminConnections,
    OneByteBodies,
    StalledBodies,
    ForgedReviews,
    ApiServerOutage,
    RoleFilesRewritten,
    RoleFilesRemoved,
    UnreadLog,
    Signals,
    CaRotation,
    Quiet,
    LastQuiet,
}

const DISTURBED: [Phase; 11] = [
    Phase::IdleConnections,
    Phase::AdminConnections,
    Phase::OneByteBodies,
    Phase::StalledBodies,
    Phase::ForgedReviews,
    Phase::ApiServerOutage,
    Phase::RoleFilesRewritten,
    Phase::RoleFilesRemoved,
    Phase::UnreadLog,
    Phase::Signals,
    Phase::CaRotation,
];

impl Phase {
    /// All phases of a run of so many minutes: as many rounds as leave each phase about a minute, and two at least.
    fn plan(minutes: u32) -> Vec<Self> {
        let rounds = (minutes / 11).max(FEWEST_ROUNDS);
        let mut phases = vec![Self::FirstQuiet];
        for round in 1..=rounds {
            phases.extend(DISTURBED);
            phases.push(if round == rounds { Self::LastQuiet } else { Self::Quiet });
        }
        phases
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::FirstQuiet => "quiet, first",
            Self::IdleConnections => "4,300 idle TLS connections",
            Self::AdminConnections => "4,096 admin connections",
            Self::OneByteBodies => "1,024 bodies of one byte",
            Self::StalledBodies => "four stalled bodies of 16 MiB",
            Self::ForgedReviews => "forged reviews",
            Self::ApiServerOutage => "API server stopped and started",
            Self::RoleFilesRewritten => "role files rewritten",
            Self::RoleFilesRemoved => "role files removed and restored",
            Self::UnreadLog => "log not read",
            Self::Signals => "SIGHUP and SIGUSR1",
            Self::CaRotation => "new CA announced",
            Self::Quiet => "quiet, between",
            Self::LastQuiet => "quiet, last",
        }
    }
}

fn honest_reviews_are_answered_while_attacks_and_faults_take_turns(cluster: &ExclusiveCluster<'_>) {
    let minutes = minutes();
    let seconds = |life: Duration| format!("{}s", life.as_secs());
    let release = cluster.install_with(
        json!({"timeoutSeconds": 5}),
        &[
            ("--ca-lifetime", &seconds(CA_LIFETIME)),
            ("--certificate-lifetime", &seconds(CERTIFICATE_LIFETIME)),
        ],
        Log::Pipe,
    );
    cluster.wait_until_called(&release);
    let namespace = cluster.namespace("soak", Gate::Enforce);
    let role = namespace.trusted_role(&release, "worker", "worker");
    let foreign = namespace.role_arn("foreign");
    release.put_role(&foreign, &trust_policy(&namespace.name, "another"));
    for (name, role) in [("worker", &role), ("stranger", &foreign)] {
        namespace.kubectl(&["create", "serviceaccount", name]).ok();
        namespace.annotate(name, role);
    }

    let figures = Arc::new(Figures::default());
    let honest = Honest::start(cluster, &release, &namespace.name, &role, &figures);
    let attackers = Attackers::new(&release, &honest);
    let observer = Observer::start(&release, &figures);
    let phases = Phase::plan(minutes);
    let length = Duration::from_secs(60) * minutes / u32::try_from(phases.len()).unwrap();
    for phase in phases {
        figures.begin(phase);
        let end = Instant::now() + length;
        run(phase, end, cluster, &release, &namespace.name, &honest, &attackers);
        // One more sample, after what the phase did.
        observer.sample();
        eprintln!("soak: {}", figures.line(phase));
    }
    let rotations = honest.end();
    observer.end();

    let build = if cfg!(debug_assertions) { "debug" } else { "release" };
    println!("\n{minutes} minutes, {length:?} per phase, {build} build, {rotations} CA rotations\n");
    println!("{}", figures.table());
    println!("{}", figures.comparison());
    for replica in release.replicas() {
        assert!(replica.is_running(), "{} has ended:\n{}", replica.name, replica.log());
    }
    // The first CA has expired by then.
    assert!(rotations > 0, "no CA was rotated in {minutes} minutes");
    figures.assert_all_well();
    figures.assert_attacked();
}

fn minutes() -> u32 {
    let minutes = std::env::var(MINUTES).map_or(DEFAULT_MINUTES, |minutes| {
        minutes
            .parse()
            .unwrap_or_else(|error| panic!("{MINUTES}={minutes}: {error}; set it to a number of minutes"))
    });
    assert!(
        minutes >= FEWEST_MINUTES,
        "{MINUTES}={minutes}: a run takes at least {FEWEST_MINUTES} minutes"
    );
    minutes
}

/// Does what belongs to a phase until its end.
fn run(
    phase: Phase,
    end: Instant,
    cluster: &ExclusiveCluster<'_>,
    release: &Release,
    namespace: &str,
    honest: &Honest,
    attackers: &Attackers,
) {
    match phase {
        Phase::FirstQuiet | Phase::Quiet | Phase::LastQuiet => sleep_until(end),
        Phase::IdleConnections => attackers.hold_idle_connections(end),
        Phase::AdminConnections => attackers.hold_admin_connections(end),
        Phase::OneByteBodies => attackers.stall_small_bodies(end),
        Phase::StalledBodies => attackers.stall_large_bodies(end),
        Phase::ForgedReviews => attackers.forge_reviews(end),
        Phase::ApiServerOutage => interrupt_api_server(end, cluster, honest),
        Phase::RoleFilesRewritten => rewrite_roles(end, cluster),
        Phase::RoleFilesRemoved => remove_roles(end, cluster),
        Phase::UnreadLog => {
            let signal = |signal| {
                release
                    .replicas()
                    .iter()
                    .for_each(|replica| replica.signal_reader(signal))
            };
            signal(Signal::Stop);
            attackers.cause_refusals(end, namespace, "stranger");
            signal(Signal::Continue);
        }
        Phase::Signals => {
            while Instant::now() < end {
                for replica in release.replicas() {
                    replica.signal(Signal::HangUp);
                    replica.signal(Signal::User1);
                }
                sleep(Duration::from_millis(500));
            }
        }
        Phase::CaRotation => {
            announce_ca(cluster);
            sleep_until(end);
        }
    }
}

fn sleep_until(end: Instant) {
    sleep(end.saturating_duration_since(Instant::now()));
}

fn interrupt_api_server(end: Instant, cluster: &ExclusiveCluster<'_>, honest: &Honest) {
    let outage = honest.api_server_is_away();
    let left = end.saturating_duration_since(Instant::now());
    cluster.control_plane().stop_api_server(Signal::Terminate);
    sleep(OUTAGE.min(left / 3));
    cluster.control_plane().start_api_server();
    cluster.control_plane().wait_ready();
    sleep(AFTER_OUTAGE);
    drop(outage);
    sleep_until(end);
}

fn roles(cluster: &ExclusiveCluster<'_>) -> Api<ConfigMap> {
    Api::namespaced(cluster.client(), NAMESPACE)
}

fn role_files(cluster: &ExclusiveCluster<'_>) -> BTreeMap<String, String> {
    let map = cluster.run(roles(cluster).get(ROLES)).unwrap();
    map.data.unwrap_or_default()
}

fn put_role_files(cluster: &ExclusiveCluster<'_>, data: &Value) {
    let patch = Patch::Merge(json!({"data": data}));
    cluster
        .run(roles(cluster).patch(ROLES, &PatchParams::default(), &patch))
        .unwrap();
}

/// The same policies in new files, several times a second.
fn rewrite_roles(end: Instant, cluster: &ExclusiveCluster<'_>) {
    let files = role_files(cluster);
    let mut indent = String::new();
    while Instant::now() < end {
        indent.push(if indent.len() > 100 { '\n' } else { ' ' });
        let rewritten: BTreeMap<_, _> = files
            .iter()
            .map(|(key, file)| (key, format!("{file}{indent}")))
            .collect();
        put_role_files(cluster, &json!(rewritten));
        sleep(Duration::from_millis(250));
    }
    put_role_files(cluster, &json!(files));
}

/// All role files are removed at the same time and restored; the last good contents stay in use.
fn remove_roles(end: Instant, cluster: &ExclusiveCluster<'_>) {
    let files = role_files(cluster);
    while Instant::now() < end {
        put_role_files(cluster, &Value::Null);
        sleep(Duration::from_secs(3));
        put_role_files(cluster, &json!(files));
        sleep(Duration::from_secs(3));
    }
}

/// Puts a CA next to the one in use, as a replica does after two thirds of its lifetime. The replicas do the rest.
fn announce_ca(cluster: &ExclusiveCluster<'_>) {
    let secrets: Api<Secret> = Api::namespaced(cluster.client(), NAMESPACE);
    let name = format!("{NAME}-tls");
    let data = cluster.run(secrets.get(&name)).unwrap().data.unwrap_or_default();
    if data.contains_key("next.crt") {
        return;
    }
    let ca = Authority::generate("rolegate soak", SystemTime::now(), CA_LIFETIME).unwrap();
    let next = json!({"stringData": {"next.crt": ca.certificate_pem(), "next.key": ca.key_pem()}});
    cluster
        .run(secrets.patch(&name, &PatchParams::default(), &Patch::Merge(next)))
        .unwrap();
}
