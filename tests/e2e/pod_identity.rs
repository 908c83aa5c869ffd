//! EKS Pod Identity next to EKS's own webhook, which comes first and learns of associations late.

use std::fs;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use futures::StreamExt as _;
use futures::stream;
use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use kube::api::PostParams;
use kube::{Api, Client};
use rolegate::certs::issue::{Authority, SubjectName};
use serde_json::{Value, json};

use crate::cluster::{ExclusiveCluster, Gate};
use crate::control_plane::free_address;
use crate::process::Process;
use crate::scenarios::Scenarios;
use crate::stand_in::{CLUSTER, DESCRIBE, Eks, Fault, LIST};
use crate::support::tools;
use crate::traffic::create_pod;
use crate::wait::until;

const DAY: Duration = Duration::from_secs(86_400);

const PODS: usize = 300;

/// Pods in flight at a time.
const AT_ONCE: usize = 8;

/// Pods of the comparison without rolegate.
const ALONE: usize = 20;

const AGENT: &str = "AWS_CONTAINER_CREDENTIALS_FULL_URI";

pub(crate) fn register(scenarios: &mut Scenarios) {
    scenarios.serial(pods_created_right_after_their_association_have_credentials);
}

fn pods_created_right_after_their_association_have_credentials(cluster: &ExclusiveCluster<'_>) {
    let program = match tools::eks_webhook() {
        Ok(program) => program,
        Err(missing) => return missing.skip("the scenario of EKS's own webhook (tests/e2e/pod_identity.rs)"),
    };
    let eks = Eks::start();
    let associated = cluster.namespace("behind-association", Gate::Enforce);
    let alone = cluster.namespace("eks-alone", Gate::None);
    // What EKS's webhook knows; it learns of nothing else in this scenario.
    let pairs = json!({"identities": [{"namespace": associated.name, "serviceAccount": "known"},
                                       {"namespace": associated.name, "serviceAccount": "tagless"}]});
    let webhook = EksWebhook::start(cluster, &program, &pairs, &[&associated.name, &alone.name]);
    let release = cluster.install(json!({
        "podIdentity": {"clusterName": CLUSTER},
        "aws": {"region": "us-west-2"},
        "extraEnv": [
            {"name": "AWS_ENDPOINT_URL_EKS", "value": eks.url()},
            {"name": "AWS_ACCESS_KEY_ID", "value": "AKIDEXAMPLE"},
            {"name": "AWS_SECRET_ACCESS_KEY", "value": "EXAMPLE"},
        ],
    }));
    let role = associated.role_arn("pods");
    release.put_role(&role, &letting_in(&["sts:AssumeRole", "sts:TagSession"]));
    let tagless = associated.role_arn("tagless");
    release.put_role(&tagless, &letting_in(&["sts:AssumeRole"]));
    for (name, role) in [("known", &role), ("tagless", &tagless)] {
        associated.kubectl(&["create", "serviceaccount", name]).ok();
        eks.create(&associated.name, name, role);
    }

    // EKS's webhook injects what it knows, and rolegate evaluates that.
    let pod = until("a pod that EKS's webhook has injected", || {
        let output = associated.create_pod("known", "known", &["--dry-run=server"]);
        output
            .succeeded()
            .then(|| output.json())
            .filter(|pod| variables(pod) == 1)
    });
    assert_eq!(variables(&pod), 1, "{pod:#}");
    let refusal = associated.create_pod("tagless", "tagless", &[]).refused();
    assert!(refusal.contains("(tag-session-not-allowed)"), "{refusal}");

    // Alone, EKS's webhook lets the pod of a new association start without credentials.
    let (without, _) = cluster.run(race(cluster.client(), &alone.name, &eks, &role, ALONE));
    assert_eq!(without, 0, "EKS's webhook knew associations that it was not told of");
    eks.forget_calls();
    let (with, failed) = cluster.run(race(cluster.client(), &associated.name, &eks, &role, PODS));
    println!(
        "{with} of {PODS} pods have credentials; calls: {} of List, {} of Describe",
        eks.calls_of(LIST),
        eks.calls_of(DESCRIBE)
    );
    assert_eq!((with, failed), (PODS, Vec::new()));

    // While EKS does not answer, nothing is refused for it.
    eks.suffers(Fault::Status(503));
    associated.kubectl(&["create", "serviceaccount", "new"]).ok();
    let output = associated.create_pod("new", "new", &[]);
    assert!(output.succeeded(), "{output:?}");
    assert!(
        output.warnings().iter().any(|warning| warning.ends_with("(unknown)")),
        "{output:?}"
    );
    drop(webhook);
}

/// Creates an association and its pod right behind it, so many times. How many pods have the variables of the agent, and which were not
/// created.
async fn race(client: Client, namespace: &str, eks: &Eks, role: &str, count: usize) -> (usize, Vec<String>) {
    let pods = (0..count).map(|number| {
        let client = client.clone();
        async move {
            let name = format!("worker-{number}");
            let account = json!({"metadata": {"name": name}});
            Api::<ServiceAccount>::namespaced(client.clone(), namespace)
                .create(&PostParams::default(), &serde_json::from_value(account).unwrap())
                .await
                .unwrap();
            eks.create(namespace, &name, role);
            tokio::time::sleep(Duration::from_millis(1)).await;
            (name.clone(), create_pod(&client, namespace, &name, &name).await)
        }
    });
    let created: Vec<(String, Result<Pod, kube::Error>)> = stream::iter(pods).buffer_unordered(AT_ONCE).collect().await;
    let (mut with, mut failed) = (0, Vec::new());
    for (name, created) in created {
        match created {
            Ok(pod) => with += usize::from(variables(&serde_json::to_value(pod).unwrap()) == 1),
            Err(error) => failed.push(format!("{name}: {error}")),
        }
    }
    (with, failed)
}

/// How often the first container has the variable that names the agent.
fn variables(pod: &Value) -> usize {
    let env = pod["spec"]["containers"][0]["env"].as_array();
    env.into_iter()
        .flatten()
        .filter(|variable| variable["name"] == AGENT)
        .count()
}

fn letting_in(actions: &[&str]) -> Value {
    json!({"Version": "2012-10-17", "Statement": [{
        "Effect": "Allow", "Principal": {"Service": "pods.eks.amazonaws.com"}, "Action": actions,
    }]})
}

/// EKS's webhook, as EKS configures it: it comes before ours by its name, and pods start without it while it is away.
struct EksWebhook<'a> {
    cluster: &'a ExclusiveCluster<'a>,
    _process: Process,
}

const CONFIGURATION: &str = "pod-identity-webhook";

impl<'a> EksWebhook<'a> {
    fn start(cluster: &'a ExclusiveCluster<'a>, program: &std::path::Path, pairs: &Value, namespaces: &[&str]) -> Self {
        let folder = cluster.folder().join(CONFIGURATION);
        fs::create_dir_all(&folder).unwrap();
        let write = |name: &str, content: &str| {
            let path = folder.join(name);
            fs::write(&path, content).unwrap();
            path
        };
        let service = "default";
        let host = SubjectName::parse(&format!("{CONFIGURATION}.{service}.svc")).unwrap();
        let authority = Authority::generate("eks", SystemTime::now(), DAY).unwrap();
        let leaf = authority
            .issue(std::slice::from_ref(&host), SystemTime::now(), DAY)
            .unwrap();
        let address = free_address();
        let around = cluster.surroundings();
        let mut command = around.run.command(program);
        command
            .arg(address.to_string())
            .arg(write("tls.crt", leaf.certificate_pem()))
            .arg(write("tls.key", leaf.key_pem()))
            .arg(around.control_plane.kubeconfig())
            .arg(write("pairs.json", &pairs.to_string()));
        let process = around.run.start_process(CONFIGURATION, command);
        until("EKS's webhook listens", || std::net::TcpStream::connect(address).ok());
        let backend = cluster.egress().backend(service, CONFIGURATION);
        backend.add("eks", [("8443".to_owned(), address)].into());
        let objects = json!({"apiVersion": "v1", "kind": "List", "items": [
            {
                "apiVersion": "v1", "kind": "Service", "metadata": {"name": CONFIGURATION, "namespace": service},
                "spec": {"ports": [{"port": 443, "targetPort": 8443}]},
            },
            {
                "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration",
                "metadata": {"name": CONFIGURATION},
                "webhooks": [{
                    "name": "iam-for-pods.amazonaws.com",
                    "clientConfig": {
                        "service": {"name": CONFIGURATION, "namespace": service, "path": "/mutate"},
                        "caBundle": BASE64.encode(authority.certificate_pem()),
                    },
                    "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}],
                    "namespaceSelector": {"matchExpressions": [
                        {"key": "kubernetes.io/metadata.name", "operator": "In", "values": namespaces}]},
                    "admissionReviewVersions": ["v1beta1"],
                    "sideEffects": "None",
                    "failurePolicy": "Ignore",
                    "reinvocationPolicy": "IfNeeded",
                    "timeoutSeconds": 10,
                }],
            },
        ]});
        cluster.apply(&objects.to_string()).ok();
        Self {
            cluster,
            _process: process,
        }
    }
}

impl Drop for EksWebhook<'_> {
    fn drop(&mut self) {
        self.cluster
            .kubectl(&["delete", "mutatingwebhookconfiguration", CONFIGURATION]);
        self.cluster
            .kubectl(&["delete", "service", CONFIGURATION, "-n", "default"]);
    }
}
