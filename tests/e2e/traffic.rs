//! Pods by the hundred, faster than kubectl can be started, and the outcome of each.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::api::PostParams;
use kube::{Api, Client};
use serde_json::json;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::cluster::{Cluster, Namespace, role_of};
use crate::wait::until;

/// Between two pods of one creator.
const PAUSE: Duration = Duration::from_millis(10);

/// The outcomes of the pods of a scenario.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    /// Created, with the role.
    pub(crate) injected: usize,
    /// Created, but without the role: what must never be.
    pub(crate) without_role: Vec<String>,
    /// Not created, and why.
    pub(crate) failed: Vec<String>,
}

impl Tally {
    /// None was created without its role.
    #[track_caller]
    pub(crate) fn assert_no_pod_without_identity(&self) {
        assert!(
            self.without_role.is_empty(),
            "pods without identity: {:?}",
            self.without_role
        );
    }

    /// All were created, each with its role.
    #[track_caller]
    pub(crate) fn assert_all_injected(&self) {
        self.assert_no_pod_without_identity();
        let first = self.failed.first();
        let many = self.failed.len();
        assert!(
            many == 0,
            "{many} pods, in addition to {}, were not created: {first:?}",
            self.injected
        );
        assert!(self.injected > 0, "no pod was created at all");
    }

    pub(crate) fn count(&mut self, name: &str, created: Result<Pod, kube::Error>, role: &str) {
        match created {
            Ok(pod) if has_role(&pod, role) => self.injected += 1,
            Ok(_) => self.without_role.push(name.to_owned()),
            Err(error) => self.failed.push(format!("{name}: {error}")),
        }
    }
}

/// Creators of pods that go on until they are stopped. Each waits for an answer before its next pod.
pub(crate) struct Traffic {
    shared: Arc<Shared>,
    tasks: Vec<JoinHandle<()>>,
    runtime: Handle,
}

#[derive(Default)]
struct Shared {
    tally: Mutex<Tally>,
    asked: AtomicUsize,
    ended: AtomicBool,
}

impl Traffic {
    /// So many creators of pods of the ServiceAccount `default`, which are to get this role.
    pub(crate) fn start(cluster: &Cluster, namespace: &Namespace, role: &str, creators: usize) -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let turn = NEXT.fetch_add(1, Ordering::Relaxed);
        let shared = Arc::new(Shared::default());
        let runtime = cluster.runtime();
        let tasks = (0..creators)
            .map(|_| {
                let (client, shared) = (cluster.client(), Arc::clone(&shared));
                let (namespace, role) = (namespace.name.clone(), role.to_owned());
                runtime.spawn(async move {
                    while !shared.ended.load(Ordering::Relaxed) {
                        let name = format!("traffic-{turn}-{}", shared.asked.fetch_add(1, Ordering::Relaxed));
                        let created = create_pod(&client, &namespace, &name, "default").await;
                        shared.with(|tally| tally.count(&name, created, &role));
                        sleep(PAUSE).await;
                    }
                })
            })
            .collect();
        Self { shared, tasks, runtime }
    }

    pub(crate) fn tally(&self) -> Tally {
        self.shared.with(|tally| tally.clone())
    }

    /// Waits until so many more pods are created.
    #[track_caller]
    pub(crate) fn go_on(&self, more: usize) {
        let wanted = self.tally().injected + more;
        until(&format!("{more} more pods"), || {
            (self.tally().injected >= wanted).then_some(())
        });
    }

    /// Waits for the last answers.
    pub(crate) fn stop(self) -> Tally {
        self.shared.ended.store(true, Ordering::Relaxed);
        for task in self.tasks {
            self.runtime.block_on(task).unwrap();
        }
        self.shared.with(|tally| tally.clone())
    }
}

impl Shared {
    fn with<T>(&self, look: impl FnOnce(&mut Tally) -> T) -> T {
        look(&mut self.tally.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A pod of one container.
pub(crate) async fn create_pod(
    client: &Client,
    namespace: &str,
    name: &str,
    service_account: &str,
) -> Result<Pod, kube::Error> {
    let pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {"serviceAccountName": service_account, "containers": [{"name": "main", "image": "example"}]},
    });
    let pod = serde_json::from_value(pod).unwrap();
    Api::<Pod>::namespaced(client.clone(), namespace)
        .create(&PostParams::default(), &pod)
        .await
}

pub(crate) fn has_role(pod: &Pod, role: &str) -> bool {
    let pod = serde_json::to_value(pod).unwrap();
    role_of(&pod).as_deref() == Some(role)
}
