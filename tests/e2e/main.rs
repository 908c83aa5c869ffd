//! End-to-end scenarios on a real control plane.
//!
//! etcd, kube-apiserver and kube-controller-manager run on loopback addresses. helm installs the chart, and the program runs as specified
//! in the Deployment that is read back from the API server. There are no nodes, so pods stay pending. A scenario that needs a finished pod
//! writes the pod's status, or starts a simulated node (`node.rs`).
//!
//! # Running
//!
//! ```console
//! $ cargo e2e                                  # the container image, then all scenarios
//! $ cargo test --test e2e -- certificates      # scenarios with this in their names
//! $ cargo test --test e2e -- --list
//! $ cargo test --test e2e -- --ignored job_controllers                  # on demand: the controllers of JobSet and Argo Workflows
//! $ ROLEGATE_SOAK_MINUTES=30 cargo test --test e2e -- --ignored soak    # on demand: attacks and faults under load
//! $ cargo test --test e2e -- --ignored a_cluster_to_try                 # on demand: a cluster for kubectl and helm, until Ctrl-C
//! ```
//!
//! The programs of the control plane come from `KUBEBUILDER_ASSETS`, or are built with Go from the modules pinned in `control-plane/` and
//! `helm/`. Without either, the scenarios are skipped, or fail if `CI` is set (`tests/support/tools.rs`). Everything is removed at the end;
//! a watchdog does this if the test process is killed.
//!
//! # When a scenario fails
//!
//! It fails by panicking. The report shows the panic, the last commands with their output, and the end of each log that was written
//! since the scenario began.
//!
//! # Writing a scenario
//!
//! A scenario is a function whose name states the expected behavior. It is in a file for its topic (`faults_*.rs` for faults), and that
//! file's `register` adds it to the run.
//!
//! - **Parallel**: `fn(&Cluster)`, added with `parallel`. It shares the cluster and the default release (`cluster.release()`) with
//!   other scenarios that run at the same time, and works in namespaces of its own: `cluster.namespace("prefix", Gate::Enforce)`
//!   returns one that is deleted when it goes out of scope and offers `kubectl`, `apply`, `annotate`, `create_pod`, `pod_of_job`.
//! - **Serial**: `fn(&ExclusiveCluster)`, added with `serial`. It has the cluster to itself, after all parallel scenarios, and can
//!   install a release of its own (`cluster.install(values)` with `upgrade`, `rollback`, `terminate`, `kill`, `start_replica`, and
//!   `api_link`, `backend` for network faults), restart the API server and compact etcd (`cluster.control_plane()`).
//! - **On demand**: like a serial scenario, added with `on_demand`. It takes a long time and only runs with `--ignored`.
//!
//! Roles: `namespace.trusted_role(&release, "name", "service-account")` stores a role that trusts the ServiceAccount;
//! `release.put_role(arn, policy)` stores any role. Waiting: `until` and `until_ok` poll until a condition holds. No scenario may
//! depend on how fast the machine is.
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

mod association_objects;
mod aws;
mod calls;
mod certificates;
mod chart;
mod cluster;
mod cluster_to_try;
mod control_plane;
mod custom_resources;
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
mod helm_3;
mod injection;
mod job_controllers;
mod job_systems;
mod jobs;
mod kubectl;
mod link;
#[path = "../iam_source/moto.rs"]
#[allow(dead_code, unreachable_pub, reason = "other test programs have it as a module, too")]
mod moto;
mod mounts;
mod namespaces;
mod node;
mod objects;
mod pod_identity;
mod process;
mod rbac;
mod refusals;
mod release;
mod replica;
mod reports;
#[path = "../webhook/reviews.rs"]
#[allow(dead_code, unreachable_pub, reason = "another test program has it as a module, too")]
mod reviews;
mod rolegate_calls;
mod scenarios;
mod soak;
#[path = "../eks_source/stand_in.rs"]
#[allow(dead_code, unreachable_pub, reason = "another test program has it as a module, too")]
mod stand_in;
#[path = "../support/mod.rs"]
mod support;
mod tokens;
mod traffic;
mod wait;
mod warnings;

use scenarios::Scenarios;

fn main() {
    let mut scenarios = Scenarios::default();
    aws::register(&mut scenarios);
    objects::register(&mut scenarios);
    pod_identity::register(&mut scenarios);
    association_objects::register(&mut scenarios);
    certificates::register(&mut scenarios);
    jobs::register(&mut scenarios);
    job_systems::register(&mut scenarios);
    tokens::register(&mut scenarios);
    guides::register(&mut scenarios);
    calls::register(&mut scenarios);
    warnings::register(&mut scenarios);
    injection::register(&mut scenarios);
    namespaces::register(&mut scenarios);
    refusals::register(&mut scenarios);
    reports::register(&mut scenarios);
    faults_api_server::register(&mut scenarios);
    faults_hang::register(&mut scenarios);
    faults_races::register(&mut scenarios);
    faults_replicas::register(&mut scenarios);
    chart::register(&mut scenarios);
    helm_3::register(&mut scenarios);
    harness::register(&mut scenarios);
    faults_share::register(&mut scenarios);
    faults_own_certificate::register(&mut scenarios);
    faults_uninstall::register(&mut scenarios);
    rbac::register(&mut scenarios);
    job_controllers::register(&mut scenarios);
    soak::register(&mut scenarios);
    cluster_to_try::register(&mut scenarios);
    scenarios.run()
}
