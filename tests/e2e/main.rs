//! Scenarios on a real control plane: etcd, kube-apiserver and kube-controller-manager on loopback, the chart installed by helm,
//! and the program run as its Deployment says.
//!
//! ```console
//! $ cargo test --test e2e                    # all
//! $ cargo test --test e2e -- management      # those with that in their names
//! $ cargo test --test e2e -- --list
//! ```
//!
//! # Writing a scenario
//!
//! A scenario is a function in a file `stories_*.rs` (`faults_*.rs` for faults), whose name states what holds, and which that file's `register`
//! registers. It fails by panicking; what was typed, what was answered and the logs of the webhook are then shown by the harness.
//!
//! - `fn(&Cluster)`, registered with `parallel`: shares the cluster and the default release (`cluster.release()`) with
//!   other scenarios at the same time. It works in namespaces of its own: `cluster.namespace("prefix", Gate::Enforce)`, whose
//!   value deletes it in the end and is the place for `kubectl`, `apply`, `annotate`, `create_pod`, `pod_of_job`.
//! - `fn(&ExclusiveCluster)`, registered with `serial`: has everything to itself, after the others. `cluster.install(values)` gives a release
//!   of its own (`upgrade`, `rollback`, `terminate`, `kill`, `start_replica`, `api_link`, `backend` for faults on the way);
//!   `cluster.control_plane()` restarts the API server and compacts etcd.
//!
//! Roles: `namespace.trusted_role(&release, "name", "service-account")` stores one that trusts it; `release.put_role(arn, policy)`
//! stores any. Waiting: `until` and `until_ok` look again until something is so. Nothing may fail on time alone.
//!
//! ```ignore
//! fn a_job_gets_its_role(cluster: &Cluster) {
//!     let release = cluster.release();
//!     let namespace = cluster.namespace("jobs", Gate::Enforce);
//!     let role = namespace.trusted_role(&release, "reports", "default");
//!     namespace.annotate("default", &role);
//!     namespace.kubectl(&["create", "job", "nightly", "--image=example"]).ok();
//!     assert_eq!(role_of(&namespace.pod_of_job("nightly")), Some(role));
//! }
//! ```

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "tests say what they expect by panicking"
)]

mod aws;
mod calls;
mod certificates;
mod chart;
mod cluster;
mod control_plane;
mod egress;
mod faults_api_server;
mod faults_hang;
mod faults_own_certificate;
mod faults_races;
mod faults_replicas;
mod faults_share;
mod faults_uninstall;
mod guides;
mod harness;
mod injection;
mod jobs;
mod kubectl;
mod link;
#[path = "../iam_source/moto.rs"]
#[allow(unreachable_pub, reason = "another test program has it as a module, too")]
mod moto;
mod mounts;
mod namespaces;
mod objects;
mod process;
mod rbac;
mod refusals;
mod release;
mod replica;
mod rolegate_calls;
mod scenarios;
#[path = "../support/mod.rs"]
mod support;
mod traffic;
mod wait;
mod warnings;

use scenarios::Scenarios;

fn main() {
    let mut scenarios = Scenarios::default();
    aws::register(&mut scenarios);
    objects::register(&mut scenarios);
    certificates::register(&mut scenarios);
    jobs::register(&mut scenarios);
    guides::register(&mut scenarios);
    calls::register(&mut scenarios);
    warnings::register(&mut scenarios);
    injection::register(&mut scenarios);
    namespaces::register(&mut scenarios);
    refusals::register(&mut scenarios);
    faults_api_server::register(&mut scenarios);
    faults_hang::register(&mut scenarios);
    faults_races::register(&mut scenarios);
    faults_replicas::register(&mut scenarios);
    chart::register(&mut scenarios);
    harness::register(&mut scenarios);
    faults_share::register(&mut scenarios);
    faults_own_certificate::register(&mut scenarios);
    faults_uninstall::register(&mut scenarios);
    rbac::register(&mut scenarios);
    scenarios.run()
}
