//! A webhook that takes connections and never answers.

use std::time::{Duration, Instant};

use futures::future::join_all;
use k8s_openapi::api::batch::v1::Job;
use kube::Api;
use kube::api::PostParams;
use serde_json::{Value, json};

use crate::cluster::{ExclusiveCluster, Gate, Namespace, role_of};
use crate::process::Signal;
use crate::scenarios::Scenarios;
use crate::wait::until;

/// Jobs whose pods wait for the webhook.
const GATED: usize = 60;

pub(crate) fn register(scenarios: &mut Scenarios) {
    scenarios.serial(a_webhook_that_hangs_lets_no_gated_pod_pass);
}

/// Also prints how much slower ungated Jobs get, which docs/operations.md quotes. It is not asserted: it depends on `timeoutSeconds` and
/// on the Job controller, whose five workers all wait for pods of gated Jobs.
fn a_webhook_that_hangs_lets_no_gated_pod_pass(cluster: &ExclusiveCluster<'_>) {
    let timeout = std::env::var("ROLEGATE_TEST_HANG_TIMEOUT").ok();
    let timeout: u32 = timeout.and_then(|text| text.parse().ok()).unwrap_or(2);
    let release = cluster.install(json!({"timeoutSeconds": timeout}));
    cluster.wait_until_called(&release);
    let gated = cluster.namespace("hanging", Gate::Enforce);
    let ungated = cluster.namespace("ungated", Gate::None);
    let role = gated.trusted_role(&release, "worker", "default");
    gated.annotate("default", &role);
    let usual = time_to_first_pod(&ungated, "before");

    for replica in release.replicas() {
        replica.signal(Signal::Stop);
    }
    let applying = Instant::now();
    gated.apply(&job("first").to_string()).ok();
    let applying = applying.elapsed();
    create_jobs(cluster, &gated);
    let hanging = time_to_first_pod(&ungated, "during");
    let passed = pods(&gated);
    for replica in release.replicas() {
        replica.signal(Signal::Continue);
    }

    println!(
        "timeoutSeconds {timeout}: an ungated Job has its pod after {usual:.1?} usually, and after {hanging:.1?} behind {GATED} \
         gated Jobs while the webhook hangs; `kubectl apply` of a gated Job takes {applying:.1?} then"
    );
    assert_eq!(
        passed,
        Vec::<Value>::new(),
        "pods of gated Jobs without an answer of the webhook"
    );
    // The Job controller retries automatically.
    until("pods of gated Jobs", || (!pods(&gated).is_empty()).then_some(()));
    for pod in pods(&gated) {
        assert_eq!(role_of(&pod).as_deref(), Some(&*role));
    }
}

/// Applies all Jobs at the same time, because the webhook that warns about Jobs hangs for each of them, too.
fn create_jobs(cluster: &ExclusiveCluster<'_>, namespace: &Namespace) {
    let jobs = Api::<Job>::namespaced(cluster.client(), &namespace.name);
    let creations = (0..GATED).map(|number| {
        let (jobs, job) = (&jobs, job(&format!("gated-{number}")));
        async move {
            let job = serde_json::from_value(job).unwrap();
            jobs.create(&PostParams::default(), &job).await.unwrap();
        }
    });
    cluster.run(join_all(creations));
}

fn time_to_first_pod(namespace: &Namespace, name: &str) -> Duration {
    let begun = Instant::now();
    namespace.apply(&job(name).to_string()).ok();
    namespace.pod_of_job(name);
    begun.elapsed()
}

fn pods(namespace: &Namespace) -> Vec<Value> {
    namespace.json(&["get", "pods"])["items"].as_array().unwrap().clone()
}

fn job(name: &str) -> Value {
    json!({
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name},
        "spec": {"template": {"spec": {
            "restartPolicy": "Never",
            "containers": [{"name": "main", "image": "example"}],
        }}},
    })
}
