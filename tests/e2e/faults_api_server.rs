//! An API server that restarts, forgets, is slow or cannot be reached.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serde_json::{Value, json};

use crate::cluster::{ExclusiveCluster, Gate, Namespace, role_of};
use crate::control_plane::ISSUER;
use crate::faults_races::trust_any;
use crate::link::Flow;
use crate::process::Signal;
use crate::release::{NAME, Release};
use crate::replica::Replica;
use crate::rolegate_calls::{calls_since, user_of};
use crate::scenarios::Scenarios;
use crate::traffic::Traffic;
use crate::wait::until;

pub(crate) fn register(scenarios: &mut Scenarios) {
    scenarios.serial(after_a_restart_of_the_api_server_pods_have_their_roles);
    scenarios.serial(after_etcd_compaction_everything_is_listed_again_and_nothing_is_lost);
    scenarios.serial(while_the_watch_is_broken_service_accounts_are_read_directly);
    scenarios.serial(without_the_api_server_known_accounts_are_served_and_others_wait);
    scenarios.serial(a_slow_api_server_delays_or_refuses_pods_and_admits_none_unchecked);
    scenarios.serial(a_replica_is_ready_once_it_has_listed_and_never_unready_again);
}

fn after_a_restart_of_the_api_server_pods_have_their_roles(cluster: &ExclusiveCluster<'_>) {
    let release = cluster.install(json!({}));
    let (namespace, role) = gated(cluster, &release, "restarted");
    let probes = Probes::start(&release);

    restart(cluster, || ());

    let traffic = Traffic::start(cluster, &namespace, &role, 4);
    traffic.go_on(50);
    account(&namespace, "later", &role);
    let pod = namespace.create_pod("later", "later", &[]).json();
    assert_eq!(role_of(&pod).as_deref(), Some(&*role));
    until_known(cluster, &release);
    traffic.stop().assert_all_injected();
    probes.assert_always_ready();
}

fn after_etcd_compaction_everything_is_listed_again_and_nothing_is_lost(cluster: &ExclusiveCluster<'_>) {
    let release = cluster.install(json!({}));
    let (namespace, role) = gated(cluster, &release, "compacted");
    let other = namespace.role_arn("other");
    release.put_role(&other, &trust_any(&namespace.name));
    for name in ["goes", "changes"] {
        account(&namespace, name, &role);
    }
    until_known(cluster, &release);
    let probes = Probes::start(&release);
    let before = cluster.audit_events().len();

    release.api_link.valve.set(Flow::Refused);
    release.api_link.valve.cut();
    namespace.kubectl(&["delete", "serviceaccount", "goes"]).ok();
    namespace.annotate("changes", &other);
    // One more than those that go, so that memory is seen to be behind by the number of ServiceAccounts alone.
    for name in ["comes", "comes-too"] {
        account(&namespace, name, &role);
    }
    restart(cluster, || cluster.control_plane().compact_etcd());
    release.api_link.valve.set(Flow::Open);

    until_known(cluster, &release);
    // The API server writes the audit event of a call after its answer.
    until("a list of each replica in the audit log", || {
        let lists = calls_since(cluster, before)
            .into_iter()
            .filter(|call| call["verb"] == "list" && call["objectRef"]["resource"] == "serviceaccounts")
            .count();
        (lists >= release.replicas().len()).then_some(())
    });
    // From memory: the API server is unreachable.
    release.api_link.valve.set(Flow::Refused);
    for (account, expected) in [("changes", &other), ("comes", &role), ("default", &role)] {
        until("memory that is up to date", || {
            let pod = namespace.create_pod(account, account, &["--dry-run=server"]);
            (pod.succeeded() && role_of(&pod.json()).as_deref() == Some(expected)).then_some(())
        });
    }
    release.api_link.valve.set(Flow::Open);
    probes.assert_always_ready();
}

fn while_the_watch_is_broken_service_accounts_are_read_directly(cluster: &ExclusiveCluster<'_>) {
    let release = cluster.install(json!({}));
    let (namespace, role) = gated(cluster, &release, "unwatched");
    let other = namespace.role_arn("other");
    release.put_role(&other, &trust_any(&namespace.name));
    until_known(cluster, &release);
    let probes = Probes::start(&release);

    let rules = cluster.json(&["get", "clusterrole", NAME])["rules"].clone();
    set_rules(cluster, &without_watch(&rules));
    let can_watch = || {
        let user = user_of(NAME);
        let asked = [
            "auth",
            "can-i",
            "watch",
            "serviceaccounts",
            "--all-namespaces",
            "--as",
            &user,
        ];
        cluster.kubectl(&asked).succeeded()
    };
    until("a ServiceAccount that may not watch", || (!can_watch()).then_some(()));
    release.api_link.valve.cut();
    until_logged(&release, "watch of ServiceAccounts failed");

    // Memory still holds the old role: an answer from it would be the wrong one.
    namespace.annotate("default", &other);
    for number in 0..10 {
        let pod = namespace
            .create_pod(&format!("changed-{number}"), "default", &[])
            .json();
        assert_eq!(role_of(&pod).as_deref(), Some(&*other));
    }
    account(&namespace, "later", &role);
    let pod = namespace.create_pod("later", "later", &[]).json();
    assert_eq!(role_of(&pod).as_deref(), Some(&*role));

    set_rules(cluster, &rules);
    until_logged(&release, "watch of ServiceAccounts reconnected");
    until_known(cluster, &release);
    probes.assert_always_ready();
}

fn without_the_api_server_known_accounts_are_served_and_others_wait(cluster: &ExclusiveCluster<'_>) {
    // Time for the API server's second try, on a slow machine too.
    let release = cluster.install(json!({"timeoutSeconds": 5}));
    let (namespace, role) = gated(cluster, &release, "unasked");
    until_known(cluster, &release);
    let probes = Probes::start(&release);

    release.api_link.valve.set(Flow::Refused);
    release.api_link.valve.cut();
    account(&namespace, "later", &role);
    let known = namespace.create_pod("known", "default", &[]).json();
    assert_eq!(role_of(&known).as_deref(), Some(&*role));
    let why = namespace.create_pod("unknown", "later", &[]).refused();
    assert!(why.contains("failed calling webhook"), "{why}");

    // The answer was 503 with Retry-After: a pod whose second try finds the way open is created, with its role.
    let refused = answered_by_error(&release);
    let second = thread::scope(|scope| {
        let second = scope.spawn(|| namespace.create_pod("second-try", "later", &[]));
        until("a first try that failed", || {
            (answered_by_error(&release) > refused).then_some(())
        });
        release.api_link.valve.set(Flow::Open);
        second.join().unwrap()
    });
    assert_eq!(role_of(&second.json()).as_deref(), Some(&*role));
    until_known(cluster, &release);
    probes.assert_always_ready();
}

fn a_slow_api_server_delays_or_refuses_pods_and_admits_none_unchecked(cluster: &ExclusiveCluster<'_>) {
    let release = cluster.install(json!({"timeoutSeconds": 3}));
    let (namespace, role) = gated(cluster, &release, "slow");
    until_known(cluster, &release);

    release.api_link.valve.set_delay(Duration::from_millis(200));
    account(&namespace, "soon", &role);
    let pod = namespace.create_pod("soon", "soon", &[]).json();
    assert_eq!(role_of(&pod).as_deref(), Some(&*role));

    release.api_link.valve.set_delay(Duration::from_secs(20));
    account(&namespace, "late", &role);
    let why = namespace.create_pod("late", "late", &[]).refused();
    assert!(why.contains("failed calling webhook"), "{why}");
    let known = namespace.create_pod("known", "default", &[]).json();
    assert_eq!(role_of(&known).as_deref(), Some(&*role));

    release.api_link.valve.set_delay(Duration::ZERO);
    release.api_link.valve.cut();
    until("an API server that answers", || {
        let pod = namespace.create_pod("late", "late", &[]);
        pod.succeeded()
            .then(|| assert_eq!(role_of(&pod.json()).as_deref(), Some(&*role)))
    });
}

fn a_replica_is_ready_once_it_has_listed_and_never_unready_again(cluster: &ExclusiveCluster<'_>) {
    // The issuer is configured, so that startup does not wait for the API server to report it.
    let release = cluster.install(json!({"issuer": ISSUER, "replicaCount": 1}));
    let (namespace, role) = gated(cluster, &release, "readiness");
    release.api_link.valve.set(Flow::Silent);

    let replica = release.start_replica_without_waiting();
    let report = until("a report of what is missing", || match replica.get("/readyz") {
        Ok((503, report)) => Some(report),
        Ok((status, report)) => panic!("{status} without a list: {report}"),
        Err(_) => None,
    });
    assert!(report.contains("[missing] ServiceAccounts are listed"), "{report}");
    assert!(matches!(replica.get("/livez"), Ok((200, _))));

    release.api_link.valve.set(Flow::Open);
    replica.wait_ready();
    let probes = Probes::start(&release);
    release.api_link.valve.set(Flow::Refused);
    release.api_link.valve.cut();
    until_logged(&release, "watch of ServiceAccounts failed");
    let pod = namespace.create_pod("meanwhile", "default", &[]).json();
    assert_eq!(role_of(&pod).as_deref(), Some(&*role));
    release.api_link.valve.set(Flow::Open);
    until_logged(&release, "watch of ServiceAccounts reconnected");
    probes.assert_always_ready();
}

/// Kills the API server (a graceful shutdown would wait a minute for its watches), and starts it again.
fn restart(cluster: &ExclusiveCluster<'_>, meanwhile: impl FnOnce()) {
    let control_plane = cluster.control_plane();
    control_plane.stop_api_server(Signal::Kill);
    meanwhile();
    control_plane.start_api_server();
    control_plane.wait_ready();
}

/// A gated namespace whose ServiceAccount `default` has a role that trusts all of them.
fn gated(cluster: &ExclusiveCluster<'_>, release: &Release, prefix: &str) -> (Namespace, String) {
    cluster.wait_until_called(release);
    let namespace = cluster.namespace(prefix, Gate::Enforce);
    let role = namespace.role_arn("worker");
    release.put_role(&role, &trust_any(&namespace.name));
    namespace.annotate("default", &role);
    (namespace, role)
}

/// Creates a ServiceAccount with a role.
fn account(namespace: &Namespace, name: &str, role: &str) {
    let account = json!({
        "apiVersion": "v1", "kind": "ServiceAccount",
        "metadata": {"name": name, "annotations": {"eks.amazonaws.com/role-arn": role}},
    });
    namespace.apply(&account.to_string()).ok();
}

/// Waits until every replica has as many ServiceAccounts with roles in memory as there are.
#[track_caller]
fn until_known(cluster: &ExclusiveCluster<'_>, release: &Release) {
    until("replicas that know every ServiceAccount", || {
        let all = cluster.json(&["get", "serviceaccounts", "--all-namespaces"]);
        let with_role = all["items"]
            .as_array()?
            .iter()
            .filter(|account| !account["metadata"]["annotations"]["eks.amazonaws.com/role-arn"].is_null())
            .count();
        let knows = |replica: &Arc<Replica>| {
            let known = replica.metric("rolegate_service_accounts", &[r#"state="with-role""#]);
            (known - f64::from(u32::try_from(with_role).unwrap())).abs() < 0.5
        };
        release.replicas().iter().all(knows).then_some(())
    });
}

#[track_caller]
fn until_logged(release: &Release, words: &str) {
    for replica in release.replicas() {
        until(&format!("{words:?} in the log of {}", replica.name), || {
            replica.log().contains(words).then_some(())
        });
    }
}

fn answered_by_error(release: &Release) -> f64 {
    let errors = |replica: &Arc<Replica>| replica.metric("rolegate_decisions_total", &[r#"action="error""#]);
    release.replicas().iter().map(errors).sum()
}

fn set_rules(cluster: &ExclusiveCluster<'_>, rules: &Value) {
    let patch = json!({"rules": rules}).to_string();
    cluster
        .kubectl(&["patch", "clusterrole", NAME, "--type=merge", "-p", &patch])
        .ok();
}

fn without_watch(rules: &Value) -> Value {
    let mut rules = rules.clone();
    for rule in rules.as_array_mut().unwrap() {
        if rule["resources"] == json!(["serviceaccounts"]) {
            rule["verbs"].as_array_mut().unwrap().retain(|verb| verb != "watch");
        }
    }
    rules
}

/// The readiness probes of all replicas, more often than a kubelet asks.
struct Probes {
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<usize, String>>>,
}

impl Probes {
    fn start(release: &Release) -> Self {
        let replicas = release.replicas();
        let ended = Arc::new(AtomicBool::new(false));
        let thread = thread::spawn({
            let ended = Arc::clone(&ended);
            move || {
                let mut asked = 0;
                while !ended.load(Ordering::Relaxed) {
                    for replica in &replicas {
                        replica.check_ready()?;
                        asked += 1;
                    }
                    thread::sleep(Duration::from_millis(50));
                }
                Ok(asked)
            }
        });
        Self {
            ended,
            thread: Some(thread),
        }
    }

    #[track_caller]
    fn assert_always_ready(mut self) {
        self.ended.store(true, Ordering::Relaxed);
        let asked = self.thread.take().unwrap().join().unwrap();
        assert!(matches!(asked, Ok(asked) if asked > 0), "{asked:?}");
    }
}

impl Drop for Probes {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
    }
}
