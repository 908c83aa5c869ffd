//! The controllers of JobSet and Argo Workflows, on demand: where they report the message of a refused pod, and how its pods are created
//! once the role trusts them.
//!
//! ```console
//! $ cargo test --test e2e -- --ignored job_controllers
//! ```
//!
//! Go builds the controllers from the modules of the projects. They are installed with the manifests in these modules, and run with the
//! permissions of the ServiceAccounts there. The webhooks of JobSet take part; their certificate is issued here, as cert-manager would.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use rolegate::certs::issue::{Authority, SubjectName};
use serde_json::{Value, json};

use crate::cluster::{ExclusiveCluster, Gate, Namespace, trust_policy};
use crate::control_plane::{free_address, http};
use crate::job_systems;
use crate::process::Process;
use crate::release::Release;
use crate::scenarios::Scenarios;
use crate::support::published::{GoFolder, go_folders};
use crate::support::tools;
use crate::wait::{until, until_ok};

pub(crate) fn register(scenarios: &mut Scenarios) {
    scenarios.on_demand(a_refused_jobset_is_reported_by_its_jobs_and_continues_by_itself);
    scenarios.on_demand(a_refused_workflow_ends_with_the_message_in_its_status);
    scenarios.on_demand(a_workflow_continues_by_itself_if_refusals_are_transient_errors);
}

const DAY: Duration = Duration::from_secs(86_400);

fn a_refused_jobset_is_reported_by_its_jobs_and_continues_by_itself(cluster: &ExclusiveCluster<'_>) {
    let release = cluster.release();
    let _jobset = start_jobset(cluster);
    let refused = Refused::new(cluster, &release, "jobset");
    let namespace = &refused.namespace;
    let template = json!({"spec": {"backoffLimit": 0, "template": {"spec": {
        "restartPolicy": "Never",
        "serviceAccountName": SERVICE_ACCOUNT,
        "containers": [{"name": "main", "image": "example"}],
    }}}});
    let jobset = json!({
        "apiVersion": "jobset.x-k8s.io/v1alpha2",
        "kind": "JobSet",
        "metadata": {"name": "training"},
        "spec": {"replicatedJobs": [{"name": "workers", "replicas": 2, "template": template}]},
    });
    // JobSet's webhook answers a moment after its probe.
    until_ok("a JobSet", || {
        let output = namespace.create(&jobset, &[]);
        output.succeeded().then_some(()).ok_or(output)
    });
    let created = namespace.json(&["get", "jobset", "training"]);
    assert_eq!(created["spec"]["network"]["enableDNSHostnames"], true, "{created:#}");

    let of_jobset = ["--selector", "jobset.sigs.k8s.io/jobset-name=training"];
    let described = until("Events of both Jobs", || {
        // Of several objects, kubectl shows Events only with this flag.
        let describe = [&["describe", "job", "--show-events"], &of_jobset[..]].concat();
        let described = namespace.kubectl(&describe).ok();
        (described.matches(&refused.line).count() >= 2).then_some(described)
    });
    assert!(described.contains("FailedCreate"), "{described}");
    assert!(
        described.contains("  docs     rolegate explain wrong-subject"),
        "{described}"
    );
    let events = namespace
        .kubectl(&["get", "events", "--field-selector", "reason=FailedCreate"])
        .ok();
    let shown = events.lines().filter(|line| line.contains(&refused.line));
    assert!(shown.count() >= 2, "{events}");
    let described = namespace.kubectl(&["describe", "jobset", "training"]).ok();
    assert!(!described.contains("does not trust"), "{described}");

    until("retries of both Jobs", || {
        (refused.refusals(&release) >= 6).then_some(())
    });
    let status = &namespace.json(&["get", "jobset", "training"])["status"];
    assert!(
        status["restarts"].as_u64().unwrap_or(0) == 0 && status["terminalState"].is_null(),
        "{status:#}"
    );

    refused.fix(&release);
    let pods = until("a pod of each Job", || {
        let pods = namespace.json(&[&["get", "pods"], &of_jobset[..]].concat());
        let pods = pods["items"].as_array().unwrap().clone();
        (pods.len() == 2).then_some(pods)
    });
    for pod in pods {
        assert_eq!(role_of(&pod).as_deref(), Some(&*refused.role), "{pod:#}");
        namespace.finish_pod(pod["metadata"]["name"].as_str().unwrap());
    }
    namespace
        .kubectl(&["wait", "jobset/training", "--for=condition=Completed", "--timeout=60s"])
        .ok();
}

fn a_refused_workflow_ends_with_the_message_in_its_status(cluster: &ExclusiveCluster<'_>) {
    let release = cluster.release();
    let _argo = start_argo_workflows(cluster, "");
    let refused = Refused::new(cluster, &release, "workflow");
    let namespace = &refused.namespace;

    let steps = json!({"steps": [[{"name": "export", "template": "main"}]]});
    let dag = json!({"dag": {"tasks": [{"name": "export", "template": "main"}]}});
    let shapes = [
        ("pod", None, json!({}), "Error", true),
        // The default of `retryPolicy` is OnFailure, and a refused pod is an error.
        ("retried", None, json!({"retryStrategy": {"limit": "3"}}), "Error", true),
        ("steps", Some(steps), json!({}), "Failed", true),
        ("dag", Some(dag), json!({}), "Error", false),
    ];
    let refusals = shapes.len();
    for (name, entrypoint, main, phase, is_in_workflow_message) in shapes {
        namespace.create(&workflow(name, entrypoint, main), &[]).ok();
        let status = until(&format!("the end of {name}"), || {
            let status = namespace.json(&["get", "workflow", name])["status"].clone();
            status["finishedAt"].is_string().then_some(status)
        });
        assert_eq!(status["phase"], phase, "{name}: {status:#}");
        assert!(messages(&status).contains(&refused.line), "{name}: {status:#}");
        let message = status["message"].as_str().unwrap_or_default();
        assert_eq!(
            message.contains(&refused.line),
            is_in_workflow_message,
            "{name}: {status:#}"
        );
        let row = namespace.kubectl(&["get", "workflow", name]).ok();
        assert_eq!(row.contains(&refused.line), is_in_workflow_message, "{row}");
        let described = until(&format!("the Event of {name}"), || {
            let described = namespace.kubectl(&["describe", "workflow", name]).ok();
            described.contains("WorkflowNodeError").then_some(described)
        });
        assert!(described.contains(&refused.line), "{described}");
    }
    until("one refusal per Workflow", || {
        (refused.refusals(&release) == refusals).then_some(())
    });

    let on_error = json!({"retryStrategy": {"limit": "100", "retryPolicy": "OnError", "backoff": {"duration": "1s"}}});
    namespace.create(&workflow("on-error", None, on_error), &[]).ok();
    until("a retry", || (refused.refusals(&release) >= refusals + 2).then_some(()));
    refused.fix(&release);
    refused.assert_pod_with_role("on-error");
    namespace.create(&workflow("again", None, json!({})), &[]).ok();
    refused.assert_pod_with_role("again");
}

fn a_workflow_continues_by_itself_if_refusals_are_transient_errors(cluster: &ExclusiveCluster<'_>) {
    let release = cluster.release();
    let guide = include_str!("../../docs/guides/refused.md");
    let (_, after) = guide.split_once("name: TRANSIENT_ERROR_PATTERN\n    value: ").unwrap();
    let _argo = start_argo_workflows(cluster, after.lines().next().unwrap());
    let refused = Refused::new(cluster, &release, "transient");
    let namespace = &refused.namespace;
    namespace.create(&workflow("export", None, json!({})), &[]).ok();
    until("a second refusal", || (refused.refusals(&release) >= 2).then_some(()));
    let status = &namespace.json(&["get", "workflow", "export"])["status"];
    assert_eq!(status["phase"], "Running", "{status:#}");
    assert!(messages(status).contains(&refused.line), "{status:#}");
    refused.fix(&release);
    refused.assert_pod_with_role("export");
}

/// Whose role trusts another namespace at first.
const SERVICE_ACCOUNT: &str = "exporter";

/// A namespace with a ServiceAccount whose pods are refused.
struct Refused {
    namespace: Namespace,
    role: String,
    /// Line 1 of the refusal.
    line: String,
}

impl Refused {
    fn new(cluster: &ExclusiveCluster<'_>, release: &Release, prefix: &str) -> Self {
        let namespace = cluster.namespace(prefix, Gate::Enforce);
        let role = namespace.role_arn(SERVICE_ACCOUNT);
        release.put_role(&role, &trust_policy("production", SERVICE_ACCOUNT));
        namespace.kubectl(&["create", "serviceaccount", SERVICE_ACCOUNT]).ok();
        namespace.annotate(SERVICE_ACCOUNT, &role);
        let line = format!(
            "IAM role \"{SERVICE_ACCOUNT}\" does not trust ServiceAccount {}/{SERVICE_ACCOUNT}: its trust policy allows \
             production/{SERVICE_ACCOUNT} (wrong-subject)",
            namespace.name
        );
        Self { namespace, role, line }
    }

    fn fix(&self, release: &Release) {
        release.put_role(&self.role, &trust_policy(&self.namespace.name, SERVICE_ACCOUNT));
    }

    fn refusals(&self, release: &Release) -> usize {
        let reviews = release.reviews(&self.namespace.name);
        reviews.iter().filter(|review| review["action"] == "deny").count()
    }

    /// Waits for a pod of this Workflow.
    #[track_caller]
    fn assert_pod_with_role(&self, workflow: &str) {
        let label = format!("workflows.argoproj.io/workflow={workflow}");
        let pod = until(&format!("a pod of {workflow}"), || {
            let pods = self.namespace.json(&["get", "pods", "--selector", &label]);
            pods["items"].get(0).cloned()
        });
        assert_eq!(role_of(&pod).as_deref(), Some(&*self.role), "{pod:#}");
    }
}

/// `AWS_ROLE_ARN` of the container `main`.
fn role_of(pod: &Value) -> Option<String> {
    let containers = pod["spec"]["containers"].as_array()?;
    let main = containers.iter().find(|container| container["name"] == "main")?;
    let variables = main["env"].as_array()?;
    let role = variables.iter().find(|variable| variable["name"] == "AWS_ROLE_ARN")?;
    role["value"].as_str().map(str::to_owned)
}

/// A Workflow with the template `main`, which runs a container; it is the entrypoint unless there is another.
fn workflow(name: &str, entrypoint: Option<Value>, mut main: Value) -> Value {
    main["name"] = json!("main");
    // Without a command, the controller would ask the registry for that of the image.
    main["container"] = json!({"image": "example", "command": ["export"]});
    let mut templates = vec![main];
    let first = entrypoint.map_or("main", |mut entrypoint| {
        entrypoint["name"] = json!("entrypoint");
        templates.push(entrypoint);
        "entrypoint"
    });
    json!({
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Workflow",
        "metadata": {"name": name},
        "spec": {"entrypoint": first, "serviceAccountName": SERVICE_ACCOUNT, "templates": templates},
    })
}

/// The messages of a Workflow's nodes.
fn messages(status: &Value) -> String {
    let nodes = status["nodes"].as_object().into_iter().flatten();
    let messages: Vec<&str> = nodes.filter_map(|(_, node)| node["message"].as_str()).collect();
    messages.join("\n")
}

/// A job system with its controller; removed when dropped.
struct JobSystem<'c> {
    cluster: &'c ExclusiveCluster<'c>,
    manifests: String,
    /// With the permissions of the controller.
    kubeconfig: PathBuf,
    _namespace: Namespace,
    controller: Option<Process>,
}

impl Drop for JobSystem<'_> {
    fn drop(&mut self) {
        let delete = ["delete", "--ignore-not-found", "--wait=false", "-k"];
        self.cluster.kubectl(&[&delete[..], &[&self.manifests]].concat());
    }
}

/// What a job system is installed with.
struct Manifests {
    /// They are a kustomization.
    published: GoFolder,
    namespace: &'static str,
    service_account: &'static str,
    /// One of their CRDs.
    crd: &'static str,
    /// `go.sum` of the module that builds the controller.
    pins: &'static str,
}

const JOBSET: Manifests = Manifests {
    published: GoFolder {
        folder: "config/default",
        ..job_systems::JOBSET
    },
    namespace: "jobset-system",
    service_account: "jobset-controller-manager",
    crd: "jobsets.jobset.x-k8s.io",
    pins: include_str!("jobset/go.sum"),
};

const ARGO_WORKFLOWS: Manifests = Manifests {
    published: GoFolder {
        folder: "manifests/cluster-install",
        ..job_systems::ARGO_WORKFLOWS
    },
    namespace: "argo",
    service_account: "argo",
    crd: "workflows.argoproj.io",
    pins: include_str!("argo-workflows/go.sum"),
};

impl Manifests {
    /// Without a controller: the nodes on which the Deployment in the manifests would run it do not exist.
    fn install<'c>(&self, cluster: &'c ExclusiveCluster<'c>) -> JobSystem<'c> {
        let GoFolder { module, sum, .. } = self.published;
        let pin = format!("{} {sum}\n", module.replacen('@', " ", 1));
        assert!(
            self.pins.contains(&pin),
            "the controller is of another version than {module}"
        );
        let folders = go_folders(&[self.published]).unwrap_or_else(|missing| panic!("{missing}"));
        let folder = cluster.folder().join(self.namespace);
        fs::create_dir_all(&folder).unwrap();
        let system = JobSystem {
            cluster,
            manifests: folders[0].display().to_string(),
            kubeconfig: folder.join("kubeconfig"),
            _namespace: cluster.namespace_named(self.namespace, Gate::None),
            controller: None,
        };
        cluster
            .kubectl(&["apply", "--server-side", "-k", &system.manifests])
            .ok();
        let crd = format!("customresourcedefinition/{}", self.crd);
        cluster
            .kubectl(&["wait", &crd, "--for=condition=Established", "--timeout=120s"])
            .ok();

        let token = cluster
            .kubectl(&["create", "token", self.service_account, "-n", self.namespace])
            .ok();
        let token_file = folder.join("token");
        fs::write(&token_file, token.trim()).unwrap();
        let control_plane = cluster.control_plane();
        let kubeconfig = control_plane.kubeconfig_of(control_plane.api, &token_file, self.namespace);
        fs::write(&system.kubeconfig, kubeconfig).unwrap();
        system
    }
}

fn start_argo_workflows<'c>(cluster: &'c ExclusiveCluster<'c>, transient_errors: &str) -> JobSystem<'c> {
    let program = tools::argo_workflows().unwrap_or_else(|missing| panic!("{missing}"));
    let mut argo = ARGO_WORKFLOWS.install(cluster);
    let run = &cluster.surroundings().run;
    let mut command = run.command(&program);
    command
        .arg(&argo.kubeconfig)
        .arg(ARGO_WORKFLOWS.namespace)
        .env("TRANSIENT_ERROR_PATTERN", transient_errors);
    argo.controller = Some(run.start_process("argo-workflows", command));
    argo
}

fn start_jobset<'c>(cluster: &'c ExclusiveCluster<'c>) -> JobSystem<'c> {
    const SERVICE: &str = "jobset-webhook-service";
    let program = tools::jobset().unwrap_or_else(|missing| panic!("{missing}"));
    let mut jobset = JOBSET.install(cluster);
    let folder = jobset.kubeconfig.parent().unwrap();
    let (webhooks, probes) = (free_address(), free_address());
    let host = SubjectName::parse(&format!("{SERVICE}.{}.svc", JOBSET.namespace)).unwrap();
    let authority = Authority::generate("jobset", SystemTime::now(), DAY).unwrap();
    let leaf = authority.issue(&[host], SystemTime::now(), DAY).unwrap();
    let configuration = json!({
        "apiVersion": "config.jobset.x-k8s.io/v1alpha1",
        "kind": "Configuration",
        "leaderElection": {"leaderElect": false},
        "internalCertManagement": {"enable": false},
        "webhook": {"host": webhooks.ip(), "port": webhooks.port(), "certDir": folder},
        "metrics": {"bindAddress": "0"},
        "health": {"healthProbeBindAddress": probes},
    });
    for (name, content) in [
        ("tls.crt", leaf.certificate_pem()),
        ("tls.key", leaf.key_pem()),
        ("configuration.json", &configuration.to_string()),
    ] {
        fs::write(folder.join(name), content).unwrap();
    }
    trust(cluster, &authority);
    let backend = cluster.egress().backend(JOBSET.namespace, SERVICE);
    backend.add("jobset", [("9443".to_owned(), webhooks)].into());
    let run = &cluster.surroundings().run;
    let mut command = run.command(&program);
    command
        .arg("--config")
        .arg(folder.join("configuration.json"))
        .env("KUBECONFIG", &jobset.kubeconfig);
    jobset.controller = Some(run.start_process("jobset", command));
    until_ok("a ready JobSet controller", || {
        match http(probes, "GET", "/readyz", "")? {
            (200, _) => Ok(()),
            (status, body) => Err(format!("{status}: {body}")),
        }
    });
    jobset
}

/// Adds the CA to the configurations of JobSet's webhooks.
fn trust(cluster: &ExclusiveCluster<'_>, authority: &Authority) {
    let ca_bundle = BASE64.encode(authority.certificate_pem());
    for (kind, name) in [
        ("mutatingwebhookconfiguration", "jobset-mutating-webhook-configuration"),
        (
            "validatingwebhookconfiguration",
            "jobset-validating-webhook-configuration",
        ),
    ] {
        let configuration = cluster.json(&["get", kind, name]);
        let webhooks = configuration["webhooks"].as_array().expect("webhooks").len();
        let patch: Vec<Value> = (0..webhooks)
            .map(|index| {
                let path = format!("/webhooks/{index}/clientConfig/caBundle");
                json!({"op": "add", "path": path, "value": ca_bundle})
            })
            .collect();
        cluster
            .kubectl(&["patch", kind, name, "--type=json", "-p", &json!(patch).to_string()])
            .ok();
    }
}
