//! What a scenario has in its hands.

use std::collections::BTreeMap;
use std::fs;
use std::ops::Deref;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use kube::Client;
use serde_json::{Value, json};
use tokio::runtime::{Handle, Runtime};

use crate::control_plane::ControlPlane;
use crate::egress::Egress;
use crate::kubectl::{CommandOutput, Kubectl, run_command};
use crate::process::{Log, RunGuard};
use crate::release::{Release, Surroundings};
use crate::support::tools::Programs;
use crate::wait::until;

/// The account of every role in scenarios.
pub(crate) const ACCOUNT: &str = "111122223333";

/// The issuer as conditions name it.
pub(crate) const ISSUER_HOST: &str = "oidc.eks.us-west-2.amazonaws.com/id/EXAMPLED539D4633E53DE1B71EXAMPLE";

/// A running control plane.
pub(crate) struct Cluster {
    around: Surroundings,
    shared: Mutex<Option<Arc<Release>>>,
    // Last: its threads carry the connections of everything above.
    runtime: Runtime,
}

impl Cluster {
    pub(crate) fn start(programs: Programs) -> Self {
        rolegate::server::tls::install_crypto_provider();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let run = Arc::new(RunGuard::start());
        let socket = run.folder().join("egress.sock");
        let egress = Arc::new(Egress::default());
        egress.listen(&socket, runtime.handle());
        let (kubectl, helm) = (programs.kubectl.clone(), programs.helm.clone());
        let control_plane = Arc::new(ControlPlane::start(&run, programs, &socket));
        let client = control_plane.client(runtime.handle());
        egress.look_up_with(client.clone());
        let kubectl = Kubectl {
            run: Arc::clone(&run),
            program: kubectl,
            kubeconfig: control_plane.kubeconfig(),
        };
        let around = Surroundings {
            run,
            control_plane,
            egress,
            kubectl,
            helm,
            client,
            runtime: runtime.handle().clone(),
        };
        Self {
            around,
            shared: Mutex::new(None),
            runtime,
        }
    }

    /// kubectl as the administrator: `cluster.kubectl(&["get", "nodes"])`.
    pub(crate) fn kubectl(&self, args: &[&str]) -> CommandOutput {
        self.around.kubectl.run(args)
    }

    /// `kubectl apply -f -`.
    pub(crate) fn apply(&self, manifests: &str) -> CommandOutput {
        self.around.kubectl.apply(manifests)
    }

    /// `kubectl … -o json`.
    #[track_caller]
    pub(crate) fn json(&self, args: &[&str]) -> Value {
        self.around.kubectl.json(args)
    }

    /// A client of the administrator, for what kubectl is too slow for.
    pub(crate) fn client(&self) -> Client {
        self.around.client.clone()
    }

    /// The runtime for asynchronous work of a scenario.
    pub(crate) fn runtime(&self) -> Handle {
        self.runtime.handle().clone()
    }

    /// Runs something asynchronous to its end.
    pub(crate) fn run<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    /// The shared release, with default values, installed by the first scenario that asks.
    pub(crate) fn release(&self) -> Arc<Release> {
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        let release = shared.get_or_insert_with(|| {
            let release = Release::install(self.around.clone(), json!({}));
            self.wait_until_called(&release);
            Arc::new(release)
        });
        Arc::clone(release)
    }

    /// A new namespace whose name begins so.
    pub(crate) fn namespace(&self, prefix: &str, gate: Gate) -> Namespace {
        static NEXT: AtomicUsize = AtomicUsize::new(1);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        self.namespace_named(&format!("{prefix}-{number}"), gate)
    }

    /// A new namespace of this very name. It is deleted with its value; of scenarios at the same time only one may use a name.
    pub(crate) fn namespace_named(&self, name: &str, gate: Gate) -> Namespace {
        let labels = gate.value().map_or(json!({}), |mode| json!({"rolegate.io/gate": mode}));
        let manifest =
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}).to_string();
        // A namespace of an earlier scenario may still be going.
        until(&format!("the namespace {name}"), || {
            self.around
                .kubectl
                .run_with_input(&["create", "-f", "-"], &manifest)
                .succeeded()
                .then_some(())
        });
        let namespace = Namespace {
            name: name.to_owned(),
            kubectl: self.around.kubectl.clone(),
        };
        until(&format!("the default ServiceAccount of {name}"), || {
            namespace
                .kubectl(&["get", "serviceaccount", "default"])
                .succeeded()
                .then_some(())
        });
        namespace
    }

    /// Waits until a pod of a gated namespace gets its role: the API server knows the configuration and its caBundle, and the
    /// webhook answers.
    #[track_caller]
    pub(crate) fn wait_until_called(&self, release: &Release) {
        let namespace = self.namespace("first-call", Gate::Enforce);
        let role = namespace.trusted_role(release, "first-call", "default");
        namespace.annotate("default", &role);
        until("an injected pod", || {
            let output = namespace.create_pod("first", "default", &["--dry-run=server"]);
            (output.succeeded() && role_of(&output.json()).as_deref() == Some(&role)).then_some(())
        });
    }

    /// The namespace that a scenario's commands will create; deleted when dropped.
    pub(crate) fn namespace_to_come(&self, name: &str) -> Namespace {
        Namespace {
            name: name.to_owned(),
            kubectl: self.around.kubectl.clone(),
        }
    }

    /// A shell of a person who has kubectl and rolegate.
    pub(crate) fn shell(&self, name: &str) -> Shell {
        let folder = self.folder().join("shells").join(name);
        fs::create_dir_all(folder.join(".bin")).unwrap();
        let kubectl = self.around.kubectl.clone();
        let shell = Shell {
            folder,
            environment: BTreeMap::new(),
            kubectl,
        };
        shell.put_on_path("kubectl", &shell.kubectl.program);
        shell.put_on_path("rolegate", Path::new(env!("CARGO_BIN_EXE_rolegate")));
        shell
    }

    /// The API server's audit log, one event per request; `annotations` contains those of webhooks.
    pub(crate) fn audit_events(&self) -> Vec<Value> {
        self.around.control_plane.audit_events()
    }

    /// The folder of this run; removed at its end.
    pub(crate) fn folder(&self) -> PathBuf {
        self.around.run.folder().to_owned()
    }

    /// Uninstalls the shared release; the next scenario that asks gets a new one.
    pub(crate) fn remove_shared_release(&self) {
        let release = self.shared.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(release) = release {
            release.uninstall().ok();
        }
    }

    /// Ends everything and removes the folder. Called at the end of the run; a killed run is cleaned up by the watchdog.
    pub(crate) fn end(&self) {
        self.around.run.end();
    }
}

/// The cluster, while no other scenario runs: what disturbs others is here.
pub(crate) struct ExclusiveCluster<'a>(pub(crate) &'a Cluster);

impl Deref for ExclusiveCluster<'_> {
    type Target = Cluster;

    fn deref(&self) -> &Cluster {
        self.0
    }
}

impl ExclusiveCluster<'_> {
    /// Installs a separate release for this scenario, with these values, and waits until it is ready. It replaces the shared release until
    /// it is dropped, which uninstalls it.
    pub(crate) fn install(&self, values: Value) -> Release {
        self.remove_shared_release();
        Release::install(self.around.clone(), values)
    }

    /// The same, by another version of Helm.
    pub(crate) fn install_by(&self, helm: PathBuf, values: Value) -> Release {
        self.remove_shared_release();
        Release::install(
            Surroundings {
                helm,
                ..self.around.clone()
            },
            values,
        )
    }

    /// The same, with values of flags that the chart does not accept, and with the replicas' logs as given.
    pub(crate) fn install_with(&self, values: Value, flags: &[(&str, &str)], log: Log) -> Release {
        self.remove_shared_release();
        Release::install_with(self.around.clone(), values, flags, log)
    }

    /// Restarting and compacting: `cluster.control_plane().restart_api_server()`.
    pub(crate) fn control_plane(&self) -> &ControlPlane {
        &self.around.control_plane
    }

    /// What a release is made with, for one that the harness does not know.
    pub(crate) fn surroundings(&self) -> &Surroundings {
        &self.around
    }

    /// Connections of the API server to all webhooks.
    pub(crate) fn egress(&self) -> &Egress {
        &self.around.egress
    }
}

/// The label `rolegate.io/gate` of a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gate {
    Enforce,
    Warn,
    Audit,
    /// No label.
    None,
    /// Another value, such as a misspelled one.
    Other(&'static str),
}

impl Gate {
    fn value(self) -> Option<&'static str> {
        match self {
            Self::Enforce => Some("enforce"),
            Self::Warn => Some("warn"),
            Self::Audit => Some("audit"),
            Self::None => None,
            Self::Other(value) => Some(value),
        }
    }
}

/// A shell, and the folder that it is in.
pub(crate) struct Shell {
    pub(crate) folder: PathBuf,
    pub(crate) environment: BTreeMap<String, String>,
    kubectl: Kubectl,
}

impl Shell {
    pub(crate) fn put_on_path(&self, name: &str, program: &Path) {
        symlink(program, self.folder.join(".bin").join(name)).unwrap();
    }

    /// Types a line.
    pub(crate) fn run(&self, line: &str) -> CommandOutput {
        let mut command = self.kubectl.run.command("sh");
        let path = std::env::var("PATH").unwrap_or_default();
        command
            .env("PATH", format!("{}:{path}", self.folder.join(".bin").display()))
            .env("KUBECONFIG", &self.kubectl.kubeconfig)
            .envs(&self.environment)
            .current_dir(&self.folder)
            .args(["-c", line]);
        run_command("sh", command, &[line], "")
    }
}

/// A namespace of a scenario; deleted when dropped.
#[derive(Debug)]
pub(crate) struct Namespace {
    pub(crate) name: String,
    kubectl: Kubectl,
}

impl Namespace {
    /// kubectl in this namespace.
    pub(crate) fn kubectl(&self, args: &[&str]) -> CommandOutput {
        self.kubectl.run(&[&["-n", &self.name], args].concat())
    }

    /// `kubectl apply -f -` in this namespace.
    pub(crate) fn apply(&self, manifests: &str) -> CommandOutput {
        self.kubectl
            .run_with_input(&["-n", &self.name, "apply", "-f", "-"], manifests)
    }

    /// `kubectl … -o json` in this namespace.
    #[track_caller]
    pub(crate) fn json(&self, args: &[&str]) -> Value {
        self.kubectl.json(&[&["-n", &self.name], args].concat())
    }

    /// `kubectl annotate serviceaccount ACCOUNT eks.amazonaws.com/role-arn=ROLE --overwrite`.
    #[track_caller]
    pub(crate) fn annotate(&self, service_account: &str, role_arn: &str) {
        let annotation = format!("eks.amazonaws.com/role-arn={role_arn}");
        self.kubectl(&[
            "annotate",
            "serviceaccount",
            service_account,
            &annotation,
            "--overwrite",
        ])
        .ok();
    }

    /// Stores a role that trusts one ServiceAccount of this namespace; returns its ARN, which contains the namespace's name.
    #[track_caller]
    pub(crate) fn trusted_role(&self, release: &Release, name: &str, service_account: &str) -> String {
        let role_arn = self.role_arn(name);
        release.put_role(&role_arn, &trust_policy(&self.name, service_account));
        role_arn
    }

    /// An ARN that no other namespace's scenario uses.
    pub(crate) fn role_arn(&self, name: &str) -> String {
        format!("arn:aws:iam::{ACCOUNT}:role/{}/{name}", self.name)
    }

    /// Creates a pod of one container, with more arguments of `kubectl create -o json`.
    pub(crate) fn create_pod(&self, name: &str, service_account: &str, args: &[&str]) -> CommandOutput {
        let pod = json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name},
            "spec": {
                "serviceAccountName": service_account,
                "containers": [{"name": "main", "image": "example"}],
            },
        });
        let create = ["-n", &self.name, "create", "-o", "json", "-f", "-"];
        self.kubectl.run_with_input(&[&create, args].concat(), &pod.to_string())
    }

    /// Creates an object with more arguments of `kubectl create`.
    pub(crate) fn create(&self, manifest: &Value, args: &[&str]) -> CommandOutput {
        let create = ["-n", &self.name, "create", "-f", "-"];
        self.kubectl
            .run_with_input(&[&create, args].concat(), &manifest.to_string())
    }

    /// The first pod of a Job, once the Job controller has made it.
    #[track_caller]
    pub(crate) fn pod_of_job(&self, job: &str) -> Value {
        let label = format!("batch.kubernetes.io/job-name={job}");
        until(&format!("a pod of the Job {job}"), || {
            let pods = self.json(&["get", "pods", "-l", &label]);
            pods["items"].get(0).cloned()
        })
    }

    /// Ends a pod well, as its kubelet would report it.
    #[track_caller]
    pub(crate) fn finish_pod(&self, name: &str) {
        let patch = r#"{"status": {"phase": "Succeeded"}}"#;
        self.kubectl(&[
            "patch",
            "pod",
            name,
            "--subresource=status",
            "--type=merge",
            "-p",
            patch,
        ])
        .ok();
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        self.kubectl.run(&["delete", "namespace", &self.name, "--wait=false"]);
    }
}

/// A trust policy that trusts one ServiceAccount of this cluster.
pub(crate) fn trust_policy(namespace: &str, service_account: &str) -> Value {
    json!({
        "Version": "2012-10-17",
        "Statement": [{
            "Effect": "Allow",
            "Principal": {"Federated": format!("arn:aws:iam::{ACCOUNT}:oidc-provider/{ISSUER_HOST}")},
            "Action": "sts:AssumeRoleWithWebIdentity",
            "Condition": {"StringEquals": {
                format!("{ISSUER_HOST}:sub"): format!("system:serviceaccount:{namespace}:{service_account}"),
                format!("{ISSUER_HOST}:aud"): "sts.amazonaws.com",
            }},
        }],
    })
}

/// `AWS_ROLE_ARN` of a pod's first container.
pub(crate) fn role_of(pod: &Value) -> Option<String> {
    environment(pod, "AWS_ROLE_ARN")
}

/// A variable of a pod's first container.
pub(crate) fn environment(pod: &Value, name: &str) -> Option<String> {
    let variables = pod["spec"]["containers"][0]["env"].as_array()?;
    let variable = variables.iter().find(|variable| variable["name"] == name)?;
    variable["value"].as_str().map(str::to_owned)
}
