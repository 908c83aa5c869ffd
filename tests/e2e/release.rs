//! The chart, installed by helm, and its replicas, run as a kubelet would.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use kube::Client;
use serde_json::{Value, json};
use tokio::runtime::Handle;

use crate::control_plane::ControlPlane;
use crate::egress::{Backend, Egress};
use crate::kubectl::{CommandOutput, Kubectl, run_command};
use crate::link::Link;
use crate::mounts::{Mounts, request_token};
use crate::process::{Log, RunGuard, Signal};
use crate::replica::{Plan, Replica};
use crate::wait::{until, until_ok};

/// The release's name, and with it that of its Deployment, Service, ServiceAccount and webhook configurations.
pub(crate) const NAME: &str = "rolegate";

/// Where it is installed.
pub(crate) const NAMESPACE: &str = "rolegate-system";

/// The ConfigMap that holds the roles of scenarios.
pub(crate) const ROLES: &str = "roles";

/// How often volumes are looked at. A kubelet takes up to a minute; tests do not have to wait that long.
const SYNC_INTERVAL: Duration = Duration::from_millis(200);

/// What a release needs of the cluster.
#[derive(Clone)]
pub(crate) struct Surroundings {
    pub(crate) run: Arc<RunGuard>,
    pub(crate) control_plane: Arc<ControlPlane>,
    pub(crate) egress: Arc<Egress>,
    pub(crate) kubectl: Kubectl,
    pub(crate) helm: PathBuf,
    pub(crate) client: Client,
    pub(crate) runtime: Handle,
}

impl Surroundings {
    /// Writes a kubeconfig with a token of a ServiceAccount, for a pod of this name; returns its path.
    pub(crate) async fn write_kubeconfig(
        &self,
        pod: &str,
        namespace: &str,
        account: &str,
        server: SocketAddr,
    ) -> Result<String, String> {
        let token = request_token(&self.client, namespace, account, None).await?;
        let file = |ending: &str| self.run.folder().join(format!("{pod}.{ending}"));
        let (token_file, kubeconfig) = (file("token"), file("kubeconfig"));
        fs::write(&token_file, token).unwrap();
        let content = self.control_plane.kubeconfig_of(server, &token_file, namespace);
        fs::write(&kubeconfig, content).unwrap();
        Ok(kubeconfig.display().to_string())
    }
}

/// How soon kube-proxy learns that a pod terminates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Notice {
    /// It has taken the pod out before the pod gets SIGTERM.
    Before,
    /// This long after the pod gets SIGTERM; new connections still arrive until then.
    After(Duration),
}

/// An installed release. Dropping it uninstalls it and ends its replicas.
pub(crate) struct Release {
    around: Surroundings,
    values: Mutex<Value>,
    log: Log,
    running: Arc<Mutex<Running>>,
    /// New connections from the API server, and faults before the replicas.
    pub(crate) backend: Arc<Backend>,
    /// The replicas' way to the API server, to be cut.
    pub(crate) api_link: Arc<Link>,
    started: AtomicUsize,
    installed: AtomicBool,
}

#[derive(Default)]
struct Running {
    template: Value,
    mounts: Option<Arc<Followed>>,
    replicas: Vec<Arc<Replica>>,
}

impl Release {
    /// `helm install` with these values over the tests' own, then the replicas that the Deployment asks for, ready.
    pub(crate) fn install(around: Surroundings, values: Value) -> Self {
        let release = Self::install_without_waiting(around, values);
        release.wait_ready();
        release
    }

    /// Without waiting until the replicas are ready.
    pub(crate) fn install_without_waiting(around: Surroundings, values: Value) -> Self {
        let release = Self::prepare(around, values);
        release.helm_install().ok();
        release.follow_deployment();
        release
    }

    /// With values of flags that the chart does not accept, and with the replicas' logs as given.
    pub(crate) fn install_with(around: Surroundings, values: Value, flags: &[(&str, &str)], log: Log) -> Self {
        let mut release = Self::prepare(around, values);
        release.log = log;
        release.helm_install().ok();
        let deployment = release.deployment();
        let mut args = deployment["spec"]["template"]["spec"]["containers"][0]["args"].clone();
        for arg in args.as_array_mut().unwrap() {
            for (flag, value) in flags {
                if arg.as_str().is_some_and(|arg| arg.starts_with(&format!("{flag}="))) {
                    *arg = json!(format!("{flag}={value}"));
                }
            }
        }
        let path = "/spec/template/spec/containers/0/args";
        let patch = json!([{"op": "replace", "path": path, "value": args}]).to_string();
        let kubectl = &release.around.kubectl;
        kubectl
            .run(&[
                "patch",
                "deployment",
                NAME,
                "-n",
                NAMESPACE,
                "--type=json",
                "-p",
                &patch,
            ])
            .ok();
        release.follow_deployment();
        release.wait_ready();
        release
    }

    /// The prerequisites of `helm install`: the namespace and the ConfigMap of roles.
    pub(crate) fn prepare(around: Surroundings, values: Value) -> Self {
        let _ = around.kubectl.run(&["create", "namespace", NAMESPACE]);
        let roles =
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": ROLES, "namespace": NAMESPACE}});
        around.kubectl.apply(&roles.to_string()).ok();

        let mut merged = own_values();
        merge(&mut merged, &values);
        Self {
            backend: around.egress.backend(NAMESPACE, NAME),
            api_link: Arc::new(Link::to(around.control_plane.api, &around.runtime)),
            values: Mutex::new(merged),
            log: Log::default(),
            running: Arc::default(),
            started: AtomicUsize::new(0),
            installed: AtomicBool::new(false),
            around,
        }
    }

    fn helm_install(&self) -> CommandOutput {
        let values = self.values_file();
        self.installed.store(true, Ordering::Relaxed);
        self.helm(&["install", NAME, &chart(), "--namespace", NAMESPACE, "--values", &values])
    }

    /// `helm upgrade` with more values over those before, with more arguments (such as `--server-side=false`); when it
    /// succeeds, the replicas roll if the pod template changed.
    pub(crate) fn upgrade(&self, values: Value, args: &[&str]) -> CommandOutput {
        merge(&mut lock(&self.values), &values);
        let values = self.values_file();
        let chart = chart();
        let upgrade = ["upgrade", NAME, &chart, "--namespace", NAMESPACE, "--values", &values];
        let output = self.helm(&[&upgrade, args].concat());
        if output.succeeded() {
            self.follow_deployment();
        }
        output
    }

    /// What a tool that renders the chart itself applies: the output of `helm template` with the values of the release.
    pub(crate) fn template(&self) -> String {
        let values = self.values_file();
        let chart = chart();
        let template = ["template", NAME, &chart, "--namespace", NAMESPACE, "--values", &values];
        self.helm(&[&template, ["--skip-tests"].as_slice()].concat()).ok()
    }

    /// `helm rollback` to a revision.
    pub(crate) fn rollback(&self, revision: u32, args: &[&str]) -> CommandOutput {
        let revision = revision.to_string();
        let rollback = ["rollback", NAME, &revision, "--namespace", NAMESPACE];
        let output = self.helm(&[&rollback, args].concat());
        if output.succeeded() {
            self.follow_deployment();
        }
        output
    }

    /// `helm uninstall`, and the replicas end.
    pub(crate) fn uninstall(&self) -> CommandOutput {
        self.installed.store(false, Ordering::Relaxed);
        let output = self.helm(&["uninstall", NAME, "--namespace", NAMESPACE, "--wait"]);
        let old = std::mem::take(&mut *lock(&self.running));
        for replica in &old.replicas {
            replica.signal(Signal::Kill);
        }
        // Also those of an upgrade that failed halfway: later releases have the same backend.
        self.backend.take_out_all();
        output
    }

    /// From now on, this is helm.
    pub(crate) fn use_helm(&mut self, program: PathBuf) {
        self.around.helm = program;
    }

    /// Any helm command.
    pub(crate) fn helm(&self, args: &[&str]) -> CommandOutput {
        let mut command = self.around.run.command(&self.around.helm);
        command.env("KUBECONFIG", &self.around.kubectl.kubeconfig).args(args);
        run_command("helm", command, args, "")
    }

    /// The replicas that were started and not ended through this release.
    pub(crate) fn replicas(&self) -> Vec<Arc<Replica>> {
        lock(&self.running).replicas.clone()
    }

    /// One of them.
    #[track_caller]
    pub(crate) fn replica(&self, index: usize) -> Arc<Replica> {
        Arc::clone(self.replicas().get(index).expect("there are fewer replicas"))
    }

    /// Waits until each replica is ready by its probe.
    #[track_caller]
    pub(crate) fn wait_ready(&self) {
        for replica in self.replicas() {
            replica.wait_ready();
        }
    }

    /// Deletes a pod of the Deployment as `kubectl delete pod` would: SIGTERM, and it gets no new connections; returns its exit
    /// status. The Deployment is one replica short afterwards; see `start_replica`.
    #[track_caller]
    pub(crate) fn terminate(&self, replica: &Replica, notice: Notice) -> std::process::ExitStatus {
        if notice == Notice::Before {
            self.backend.take_out(&replica.name);
        }
        replica.signal(Signal::Terminate);
        if let Notice::After(lag) = notice {
            thread::sleep(lag);
            self.backend.take_out(&replica.name);
        }
        let status = replica.wait();
        self.forget(replica);
        status
    }

    /// Kills a replica (SIGKILL). New connections still go to it and are refused, until `forget`.
    #[track_caller]
    pub(crate) fn kill(&self, replica: &Replica) {
        replica.signal(Signal::Kill);
        replica.wait();
    }

    /// Takes a replica that has ended off the caches.
    pub(crate) fn forget(&self, replica: &Replica) {
        lock(&self.running)
            .replicas
            .retain(|running| running.name != replica.name);
        self.backend.take_out(&replica.name);
    }

    /// Starts one more replica of the Deployment as it is now; it gets connections once it is ready.
    pub(crate) fn start_replica(&self) -> Arc<Replica> {
        let replica = self.start_replica_without_waiting();
        replica.wait_ready();
        self.add_endpoint(&replica);
        replica
    }

    /// The same, at once; it gets no connections until `add_endpoint`.
    pub(crate) fn start_replica_without_waiting(&self) -> Arc<Replica> {
        self.launch()
    }

    /// The volumes of its replicas.
    #[track_caller]
    pub(crate) fn mounts(&self) -> Arc<Mounts> {
        let running = lock(&self.running);
        Arc::clone(&running.mounts.as_ref().expect("a template").mounts)
    }

    /// New connections go to a replica too.
    pub(crate) fn add_endpoint(&self, replica: &Replica) {
        self.backend.add(&replica.name, replica.ports.clone());
    }

    /// What all replicas logged that still run.
    pub(crate) fn log(&self) -> String {
        self.replicas().iter().map(|replica| replica.log()).collect()
    }

    /// The lines of a namespace in the audit logs of the replicas. A review is in the log a moment after it was answered.
    pub(crate) fn reviews(&self, namespace: &str) -> Vec<Value> {
        let logs = self.replicas().into_iter().map(|replica| replica.output());
        let lines: Vec<Value> = logs
            .flat_map(|log| {
                log.lines()
                    .filter_map(|line| serde_json::from_str(line).ok())
                    .collect::<Vec<_>>()
            })
            .collect();
        lines
            .into_iter()
            .filter(|line: &Value| line["namespace"] == namespace)
            .collect()
    }

    /// Stores a role's trust policy, as `aws iam get-role` prints it, where the replicas read it; returns once they can.
    #[track_caller]
    pub(crate) fn put_role(&self, role_arn: &str, policy: &Value) {
        let key = role_key(role_arn);
        let file = json!({"Role": {
            "RoleName": role_arn.rsplit('/').next(), "Arn": role_arn, "AssumeRolePolicyDocument": policy,
        }})
        .to_string();
        self.patch_roles(&json!({"data": {&key: file}}));
        self.wait_for_file(&key, Some(&file));
    }

    #[track_caller]
    fn patch_roles(&self, patch: &Value) {
        let patch = patch.to_string();
        let args = [
            "patch",
            "configmap",
            ROLES,
            "-n",
            NAMESPACE,
            "--type=merge",
            "-p",
            &patch,
        ];
        self.around.kubectl.run(&args).ok();
    }

    /// Waits until a key of the ConfigMap has arrived in the mount.
    #[track_caller]
    fn wait_for_file(&self, key: &str, content: Option<&str>) {
        let Some(followed) = lock(&self.running).mounts.clone() else {
            return;
        };
        let Some(folder) = followed.folder_of_config_map(ROLES) else {
            return;
        };
        until(&format!("{key} in the mount"), || {
            let found = fs::read_to_string(folder.join(key)).ok();
            (found.as_deref() == content).then_some(())
        });
    }

    /// Reads the Deployment back and runs what it says: as many replicas, and new ones for old when the pod template changed.
    /// Each new one is ready before an old one gets SIGTERM; returns when the old ones have ended.
    pub(crate) fn follow_deployment(&self) {
        let deployment = self.deployment();
        let spec = &deployment["spec"];
        let wanted = usize::try_from(spec["replicas"].as_u64().unwrap_or(1)).unwrap();
        let template = &spec["template"];
        let mut old = Vec::new();
        if lock(&self.running).template != *template {
            old = self.replicas();
            self.take_template(template);
            lock(&self.running).replicas.clear();
            if old.is_empty() {
                self.start_together(wanted);
            }
        }
        let mut ending: Vec<_> = self.replicas().into_iter().skip(wanted).collect();
        for replica in &ending {
            self.ask_to_stop(replica);
        }
        let mut old = old.into_iter();
        while self.replicas().len() < wanted {
            self.start_replica();
            if let Some(replaced) = old.next() {
                self.ask_to_stop(&replaced);
                ending.push(replaced);
            }
        }
        for replica in old {
            self.ask_to_stop(&replica);
            ending.push(replica);
        }
        for replica in ending {
            replica.wait();
        }
    }

    fn ask_to_stop(&self, replica: &Replica) {
        self.forget(replica);
        replica.signal(Signal::Terminate);
    }

    fn deployment(&self) -> Value {
        self.around.kubectl.json(&["get", "deployment", NAME, "-n", NAMESPACE])
    }

    /// The first replicas start at the same moment, as they do in a cluster.
    fn start_together(&self, count: usize) {
        let replicas: Vec<_> = (0..count).map(|_| self.launch()).collect();
        for replica in replicas {
            // Those that are not ready get no connections; a scenario that expects failures looks at them itself.
            let (backend, running) = (Arc::clone(&self.backend), Arc::clone(&self.running));
            thread::spawn(move || {
                while replica.is_running() {
                    if replica.check_ready().is_ok() {
                        // The release may have ended meanwhile.
                        let running = lock(&running);
                        if running.replicas.iter().any(|other| other.name == replica.name) {
                            backend.add(&replica.name, replica.ports.clone());
                        }
                        return;
                    }
                    thread::sleep(Duration::from_millis(20));
                }
            });
        }
    }

    fn take_template(&self, template: &Value) {
        let turn = self.started.load(Ordering::Relaxed);
        let folder = self.around.run.folder().join(format!("volumes-{turn}-{}", unique()));
        let pod = &template["spec"];
        let client = self.around.client.clone();
        let mounts = Mounts::new(folder, client, NAMESPACE, pod, &pod["containers"][0]);
        let followed = Followed::start(mounts, pod, &self.around.runtime);
        let mut running = lock(&self.running);
        running.template = template.clone();
        running.mounts = Some(Arc::new(followed));
    }

    fn launch(&self) -> Arc<Replica> {
        let number = self.started.fetch_add(1, Ordering::Relaxed);
        let name = format!("{NAME}-{}-{number}", unique());
        let (template, followed) = {
            let running = lock(&self.running);
            (running.template.clone(), running.mounts.clone().expect("a template"))
        };
        let kubeconfig = self.kubeconfig_of(&name, &template["spec"]);
        let replica = Arc::new(Replica::start(
            &self.around.run,
            &Plan {
                name: &name,
                namespace: NAMESPACE,
                pod: &template["spec"],
                mounts: &followed.mounts,
                kubeconfig: kubeconfig.as_deref(),
                log: self.log,
            },
        ));
        lock(&self.running).replicas.push(Arc::clone(&replica));
        replica
    }

    /// A kubeconfig with a token of the pod's ServiceAccount, if the pod would get one.
    fn kubeconfig_of(&self, replica: &str, pod: &Value) -> Option<String> {
        let around = &self.around;
        let account = pod["serviceAccountName"].as_str().unwrap_or("default");
        let stored = around
            .kubectl
            .json(&["get", "serviceaccount", account, "-n", NAMESPACE]);
        let automatic = pod["automountServiceAccountToken"]
            .as_bool()
            .or(stored["automountServiceAccountToken"].as_bool())
            .unwrap_or(true);
        if !automatic {
            return None;
        }
        let file = around.write_kubeconfig(replica, NAMESPACE, account, self.api_link.address);
        Some(around.runtime.block_on(file).unwrap())
    }

    fn values_file(&self) -> String {
        let path = self.around.run.folder().join(format!("values-{}.json", unique()));
        fs::write(&path, lock(&self.values).to_string()).unwrap();
        path.display().to_string()
    }
}

impl Drop for Release {
    fn drop(&mut self) {
        if self.installed.load(Ordering::Relaxed) {
            self.uninstall();
        }
    }
}

/// What the tests need of the chart's values: policies from the ConfigMap, since there is no AWS, and an audit log to read.
fn own_values() -> Value {
    json!({
        "image": {"repository": "registry.example.com/rolegate"},
        "roleSources": [],
        "roleFiles": {"configMap": ROLES},
        "settings": {"audit-log": "-"},
    })
}

fn chart() -> String {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("charts/rolegate")
        .display()
        .to_string()
}

/// Objects are joined, everything else is replaced.
fn merge(into: &mut Value, from: &Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from.clone(),
    }
}

/// A ConfigMap's key may hold no slash.
fn role_key(role_arn: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
    format!("{}.json", role_arn.chars().map(plain).collect::<String>())
}

/// A number that no other call gets.
fn unique() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// Volumes, with the thread that follows their objects.
struct Followed {
    mounts: Arc<Mounts>,
    config_maps: BTreeMap<String, PathBuf>,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Followed {
    /// Waits until everything is there, as a pod waits in ContainerCreating.
    #[track_caller]
    fn start(mounts: Mounts, pod: &Value, runtime: &Handle) -> Self {
        let mounts = Arc::new(mounts);
        until_ok("the volumes of the Deployment", || runtime.block_on(mounts.sync()));
        let volumes = pod["volumes"].as_array().into_iter().flatten();
        let config_maps = volumes
            .filter_map(|volume| {
                let map = volume["configMap"]["name"].as_str()?.to_owned();
                Some((map, mounts.folder().join(volume["name"].as_str()?)))
            })
            .collect();
        let ended = Arc::new(AtomicBool::new(false));
        let thread = thread::spawn({
            let (mounts, ended, runtime) = (Arc::clone(&mounts), Arc::clone(&ended), runtime.clone());
            move || {
                while !ended.load(Ordering::Relaxed) {
                    thread::sleep(SYNC_INTERVAL);
                    // If the API server is down or the object was deleted, the mounted content stays.
                    let _ = runtime.block_on(mounts.sync());
                }
            }
        });
        Self {
            mounts,
            config_maps,
            ended,
            thread: Some(thread),
        }
    }

    fn folder_of_config_map(&self, name: &str) -> Option<PathBuf> {
        self.config_maps.get(name).cloned()
    }
}

impl Drop for Followed {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
