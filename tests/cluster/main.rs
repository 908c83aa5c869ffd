//! Stories on a real control plane: etcd, kube-apiserver and kube-controller-manager on loopback, the chart installed by helm,
//! and the program run as its Deployment says.
//!
//! ```console
//! $ cargo test --test with_control_plane                    # all
//! $ cargo test --test with_control_plane -- management      # those with that in their names
//! $ cargo test --test with_control_plane -- --list
//! ```
//!
//! # Writing a story
//!
//! A story is a function in a file `stories_*.rs` (`faults_*.rs` for faults), whose name states what holds, and which that file's `register`
//! registers. It fails by panicking; what was typed, what was answered and the logs of the webhook are then shown by the harness.
//!
//! - `fn(&Cluster)`, registered with `beside_others`: shares the cluster and the default release (`cluster.release()`) with
//!   other stories at the same time. It works in namespaces of its own: `cluster.namespace("prefix", Gate::Enforce)`, whose
//!   value deletes it in the end and is the place for `kubectl`, `apply`, `annotate`, `create_pod`, `pod_of_job`.
//! - `fn(&Alone)`, registered with `alone`: has everything to itself, after the others. `cluster.install(values)` gives a release
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
mod kubectl;
mod link;
#[path = "../iam_source/moto.rs"]
#[allow(unreachable_pub, reason = "another test program has it as a module, too")]
mod moto;
mod mounts;
mod objects;
mod process;
mod rbac;
mod release;
mod replica;
mod rolegate_calls;
mod stories;
mod stories_calls;
mod stories_certificates;
mod stories_chart;
mod stories_guides;
mod stories_harness;
mod stories_injection;
mod stories_jobs;
mod stories_namespaces;
mod stories_refusals;
mod stories_warnings;
#[path = "../support/mod.rs"]
mod support;
mod traffic;
mod wait;

use stories::Stories;

fn main() {
    let mut stories = Stories::default();
    aws::register(&mut stories);
    objects::register(&mut stories);
    stories_certificates::register(&mut stories);
    stories_jobs::register(&mut stories);
    stories_guides::register(&mut stories);
    stories_calls::register(&mut stories);
    stories_warnings::register(&mut stories);
    stories_injection::register(&mut stories);
    stories_namespaces::register(&mut stories);
    stories_refusals::register(&mut stories);
    faults_api_server::register(&mut stories);
    faults_hang::register(&mut stories);
    faults_races::register(&mut stories);
    faults_replicas::register(&mut stories);
    stories_chart::register(&mut stories);
    stories_harness::register(&mut stories);
    faults_share::register(&mut stories);
    faults_own_certificate::register(&mut stories);
    faults_uninstall::register(&mut stories);
    rbac::register(&mut stories);
    stories.tell()
}
