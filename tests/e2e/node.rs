//! A simulated node, for what users type: `helm install --wait`, `kubectl rollout status`, `helm test`.
//!
//! It does what the scheduler and a kubelet do, as far as these commands can see it. A pod of rolegate's image is a process of the
//! program, with the pod's arguments, volumes and token. Any other pod only has the status of one that runs, or of one that has
//! succeeded if it is not restarted. Logs and shells of pods are missing: no kubelet answers the API server.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node as KubernetesNode, Pod, Service};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};

use crate::egress::Backend;
use crate::mounts::Mounts;
use crate::process::{Log, Signal};
use crate::release::{NAMESPACE, Surroundings};
use crate::replica::{Plan, Replica};

/// The name of the node.
const NAME: &str = "node";

/// How often pods are looked at.
const INTERVAL: Duration = Duration::from_millis(200);

/// How often the node reports that it is ready. Kubernetes waits for 40 s.
const HEARTBEAT: Duration = Duration::from_secs(10);

/// The node, until it is dropped; its pods are deleted with it.
pub(crate) struct Node {
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Node {
    pub(crate) fn start(around: &Surroundings) -> Self {
        // Pods of an earlier release would be started, too, until the garbage collector has deleted them.
        let gone = [
            "wait",
            "--for=delete",
            "pod",
            "--all",
            "--timeout=60s",
            "--namespace",
            NAMESPACE,
        ];
        around.kubectl.run(&gone);
        let kubelet = Kubelet {
            around: around.clone(),
            containers: BTreeMap::new(),
            addresses: BTreeMap::new(),
        };
        around.runtime.block_on(kubelet.register()).unwrap();
        let ended = Arc::new(AtomicBool::new(false));
        let thread = thread::spawn({
            let ended = Arc::clone(&ended);
            move || kubelet.run(&ended)
        });
        Self {
            ended,
            thread: Some(thread),
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Kubelet {
    around: Surroundings,
    /// The pods of rolegate's image, by uid.
    containers: BTreeMap<String, Container>,
    /// Of all pods, by uid.
    addresses: BTreeMap<String, String>,
}

/// A pod that is a process.
struct Container {
    replica: Replica,
    mounts: Mounts,
    /// The Services that send connections to it.
    backends: Vec<Arc<Backend>>,
    is_terminating: bool,
}

impl Container {
    /// New connections do not go to it.
    fn leave_services(&mut self) {
        for backend in self.backends.drain(..) {
            backend.take_out(&self.replica.name);
        }
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        self.leave_services();
    }
}

impl Kubelet {
    fn client(&self) -> Client {
        self.around.client.clone()
    }

    fn pods(&self, namespace: &str) -> Api<Pod> {
        Api::namespaced(self.client(), namespace)
    }

    async fn register(&self) -> kube::Result<()> {
        let mut node = KubernetesNode::default();
        node.metadata.name = Some(NAME.to_owned());
        Api::all(self.client()).create(&PostParams::default(), &node).await?;
        self.report_ready().await
    }

    async fn report_ready(&self) -> kube::Result<()> {
        let now = Timestamp::now().to_string();
        let ready = json!({"status": {
            "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady", "lastHeartbeatTime": now}],
            "allocatable": {"cpu": "64", "memory": "64Gi", "pods": "1000"},
        }});
        let nodes = Api::<KubernetesNode>::all(self.client());
        nodes
            .patch_status(NAME, &PatchParams::default(), &Patch::Merge(ready))
            .await?;
        Ok(())
    }

    fn run(mut self, ended: &AtomicBool) {
        let runtime = self.around.runtime.clone();
        let mut reported = Instant::now();
        while !ended.load(Ordering::Relaxed) {
            thread::sleep(INTERVAL);
            if reported.elapsed() >= HEARTBEAT {
                reported = Instant::now();
                let _ = runtime.block_on(self.report_ready());
            }
            // An API server that is away: nothing changes.
            let pods = Api::<Pod>::all(self.client());
            let everywhere = ListParams::default();
            let pods = runtime.block_on(pods.list(&everywhere));
            for pod in pods.map(|pods| pods.items).unwrap_or_default() {
                // A pod that has changed meanwhile is looked at again.
                let _ = runtime.block_on(self.attend_to(&json!(pod)));
            }
        }
        let _ = runtime.block_on(self.leave());
    }

    /// One step of a pod's life.
    async fn attend_to(&mut self, pod: &Value) -> Result<(), String> {
        let metadata = &pod["metadata"];
        match pod["spec"]["nodeName"].as_str() {
            None => return self.bind(pod).await,
            Some(NAME) => {}
            Some(_) => return Ok(()),
        }
        if !metadata["deletionTimestamp"].is_null() {
            return self.end(pod).await;
        }
        if pod["status"]["phase"] == "Succeeded" {
            return Ok(());
        }
        if !is_rolegate(pod) {
            let never_ends = pod["spec"]["restartPolicy"] == "Always";
            return self
                .report(pod, if never_ends { State::Running } else { State::Succeeded })
                .await;
        }
        let uid = text(&metadata["uid"]);
        if !self.containers.contains_key(uid) {
            let container = self.start(pod).await?;
            self.containers.insert(uid.to_owned(), container);
        }
        self.follow(uid, pod).await
    }

    async fn bind(&self, pod: &Value) -> Result<(), String> {
        let (namespace, name) = names(pod);
        let binding = json!({
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": name, "namespace": namespace},
            "target": {"apiVersion": "v1", "kind": "Node", "name": NAME},
        });
        let bound: kube::Result<Value> = self
            .pods(namespace)
            .create_subresource("binding", name, &PostParams::default(), &binding)
            .await;
        bound.map(drop).map_err(|error| error.to_string())
    }

    async fn start(&self, pod: &Value) -> Result<Container, String> {
        let (namespace, name) = names(pod);
        let (around, spec) = (&self.around, &pod["spec"]);
        let folder = around.run.folder().join(format!("volumes-{name}"));
        let mounts = Mounts::new(folder, self.client(), namespace, spec, &spec["containers"][0]);
        mounts.sync().await?;
        let kubeconfig = if spec["automountServiceAccountToken"] == false {
            None
        } else {
            let account = text(&spec["serviceAccountName"]);
            Some(
                around
                    .write_kubeconfig(name, namespace, account, around.control_plane.api)
                    .await?,
            )
        };
        let replica = Replica::start(
            &around.run,
            &Plan {
                name,
                namespace,
                pod: spec,
                mounts: &mounts,
                kubeconfig: kubeconfig.as_deref(),
                log: Log::File,
            },
        );
        Ok(Container {
            replica,
            mounts,
            backends: Vec::new(),
            is_terminating: false,
        })
    }

    async fn follow(&mut self, uid: &str, pod: &Value) -> Result<(), String> {
        let address = self.address(pod);
        let Some(container) = self.containers.get_mut(uid) else {
            return Ok(());
        };
        let _ = container.mounts.sync().await;
        let state = match container.replica.exit_status() {
            Some(status) if status.success() => State::Succeeded,
            Some(_) => State::Crashed(container.replica.log()),
            None if container.replica.check_ready().is_ok() => State::Running,
            None => State::Starting,
        };
        if matches!(state, State::Succeeded | State::Crashed(_)) {
            container.leave_services();
        } else if matches!(state, State::Running) && container.backends.is_empty() {
            let (name, ports) = (&container.replica.name, &container.replica.ports);
            container.backends = backends(&self.around, pod).await?;
            self.around.egress.add_pod(&address, ports.clone());
            for backend in &container.backends {
                backend.add(name, ports.clone());
            }
        }
        self.report(pod, state).await
    }

    /// The address of a pod, each time the same.
    fn address(&mut self, pod: &Value) -> String {
        let number = self.addresses.len();
        let new = || format!("10.244.{}.{}", number / 250, number % 250 + 1);
        let uid = text(&pod["metadata"]["uid"]).to_owned();
        self.addresses.entry(uid).or_insert_with(new).clone()
    }

    /// Writes the status, if it is another one.
    async fn report(&mut self, pod: &Value, state: State) -> Result<(), String> {
        let begun = &pod["metadata"]["creationTimestamp"];
        let (phase, ready, container_state) = match state {
            State::Starting => ("Running", false, json!({"running": {"startedAt": begun}})),
            State::Running => ("Running", true, json!({"running": {"startedAt": begun}})),
            State::Succeeded => (
                "Succeeded",
                false,
                json!({"terminated": {"exitCode": 0, "reason": "Completed"}}),
            ),
            State::Crashed(log) => {
                let waiting = json!({"reason": "CrashLoopBackOff", "message": log.lines().last()});
                ("Running", false, json!({"waiting": waiting}))
            }
        };
        let reported = &pod["status"]["containerStatuses"][0];
        if reported["ready"] == ready && reported["state"] == container_state {
            return Ok(());
        }
        let condition = |kind: &str, status: bool| {
            let status = if status { "True" } else { "False" };
            json!({"type": kind, "status": status, "lastTransitionTime": begun})
        };
        let containers = pod["spec"]["containers"].as_array().into_iter().flatten();
        let statuses: Vec<Value> = containers
            .map(|container| {
                json!({
                    "name": container["name"], "image": container["image"], "imageID": "", "restartCount": 0,
                    "ready": ready, "started": ready, "state": container_state,
                })
            })
            .collect();
        let address = self.address(pod);
        let status = json!({"status": {
            "phase": phase,
            "startTime": begun,
            "hostIP": "127.0.0.1",
            "podIP": address,
            "podIPs": [{"ip": address}],
            "containerStatuses": statuses,
            "conditions": [
                condition("PodScheduled", true), condition("Initialized", true),
                condition("ContainersReady", ready), condition("Ready", ready),
            ],
        }});
        let (namespace, name) = names(pod);
        let patched = self
            .pods(namespace)
            .patch_status(name, &PatchParams::default(), &Patch::Merge(status))
            .await;
        patched.map(drop).map_err(|error| error.to_string())
    }

    /// Sends SIGTERM. The pod is removed when its process has ended.
    async fn end(&mut self, pod: &Value) -> Result<(), String> {
        let uid = text(&pod["metadata"]["uid"]);
        if let Some(container) = self.containers.get_mut(uid) {
            if !container.is_terminating {
                container.is_terminating = true;
                container.leave_services();
                container.replica.signal(Signal::Terminate);
            }
            if container.replica.is_running() {
                return Ok(());
            }
            self.containers.remove(uid);
        }
        self.delete(pod).await.map_err(|error| error.to_string())
    }

    async fn delete(&self, pod: &Value) -> kube::Result<()> {
        let (namespace, name) = names(pod);
        let now = DeleteParams::default().grace_period(0);
        self.pods(namespace).delete(name, &now).await.map(drop)
    }

    /// Deletes the pods and the node, so that no namespace waits for them.
    async fn leave(&mut self) -> kube::Result<()> {
        self.containers.clear();
        let of_node = ListParams::default().fields(&format!("spec.nodeName={NAME}"));
        for pod in Api::<Pod>::all(self.client()).list(&of_node).await?.items {
            let _ = self.delete(&json!(pod)).await;
        }
        let nodes = Api::<KubernetesNode>::all(self.client());
        nodes.delete(NAME, &DeleteParams::default()).await.map(drop)
    }
}

/// What a kubelet would report. A process that has failed is not started again.
enum State {
    Starting,
    Running,
    Succeeded,
    /// With its log.
    Crashed(String),
}

/// The Services of the pod's namespace that select it.
async fn backends(around: &Surroundings, pod: &Value) -> Result<Vec<Arc<Backend>>, String> {
    let (namespace, _) = names(pod);
    let services = Api::<Service>::namespaced(around.client.clone(), namespace);
    let services = services.list(&ListParams::default()).await;
    let services = services.map_err(|error| error.to_string())?.items;
    let selects = |service: &Service| {
        let selector = service.spec.as_ref().and_then(|spec| spec.selector.as_ref());
        let is_label = |(key, value): (&String, &String)| pod["metadata"]["labels"][key] == *value;
        selector.is_some_and(|selector| !selector.is_empty() && selector.iter().all(is_label))
    };
    let names = services
        .into_iter()
        .filter(selects)
        .filter_map(|service| service.metadata.name);
    Ok(names.map(|name| around.egress.backend(namespace, &name)).collect())
}

/// Whether the repository of the image is called so, in whichever registry.
fn is_rolegate(pod: &Value) -> bool {
    let image = text(&pod["spec"]["containers"][0]["image"]);
    let repository = image.split('@').next().unwrap_or_default();
    let name = repository.rsplit('/').next().unwrap_or_default();
    name.split(':').next() == Some("rolegate")
}

fn names(pod: &Value) -> (&str, &str) {
    (text(&pod["metadata"]["namespace"]), text(&pod["metadata"]["name"]))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
