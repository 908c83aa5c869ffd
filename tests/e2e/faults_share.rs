//! The share of a replica that comes later: API servers keep their connections, so it would get nothing.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hyper::StatusCode;
use rolegate::certs::issue::{Authority, SubjectName};
use rolegate::certs::serving::{Pair, Serving};
use rolegate::http::rejection::json_response;
use rolegate::http::reviewer::{Call, Reviewer};
use rolegate::http::reviews::router;
use rolegate::server::accept::{self, Transport};
use rolegate::server::connections::Connections;
use rolegate::server::limits::Limits;
use rolegate::server::shutdown::Lifecycle;
use rolegate::server::tls::acceptor;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::cluster::{ExclusiveCluster, Gate};
use crate::scenarios::Scenarios;
use crate::traffic::create_pod;
use crate::wait::PATIENCE;

const DAY: Duration = Duration::from_secs(86_400);

/// Calls after the second server came.
const CALLS: usize = 200;

pub(crate) fn register(scenarios: &mut Scenarios) {
    scenarios.serial(connections_that_close_by_age_give_a_later_replica_its_share);
}

/// The server of the webhook itself, with limits that no flag sets.
fn connections_that_close_by_age_give_a_later_replica_its_share(cluster: &ExclusiveCluster<'_>) {
    let never = share_of_the_second(cluster, "kept", Duration::from_secs(3600));
    let soon = share_of_the_second(cluster, "closed", Duration::from_millis(200));
    println!("a second replica gets {never} of {CALLS} calls when connections stay, {soon} when they close by age");
    assert_eq!(never, 0, "connections stay: the second replica should have got nothing");
    assert!(
        soon > 0,
        "connections close: the second replica should have got its share"
    );
}

fn share_of_the_second(cluster: &ExclusiveCluster<'_>, name: &str, age: Duration) -> usize {
    let namespace = cluster.namespace(name, Gate::Other("share"));
    let authority = Authority::generate("share", SystemTime::now(), DAY).unwrap();
    let host = SubjectName::parse(&format!("{name}.{}.svc", namespace.name)).unwrap();
    let server = || {
        let leaf = authority
            .issue(std::slice::from_ref(&host), SystemTime::now(), DAY)
            .unwrap();
        let serving = Serving::new();
        serving.swap(Pair::from_pem(leaf.certificate_pem().as_bytes(), leaf.key_pem().as_bytes()).unwrap());
        cluster.run(Server::start(serving, age))
    };
    let backend = cluster.egress().backend(&namespace.name, name);
    let (first, second) = (server(), server());
    let ports = |server: &Server| [("8443".to_owned(), server.address)].into();
    backend.add("first", ports(&first));
    let configuration = Configuration::apply(cluster, &namespace.name, name, authority.certificate_pem());

    let pods = |from: usize, count: usize| {
        cluster.run(async {
            for number in from..from + count {
                let pod = format!("pod-{number}");
                create_pod(&cluster.client(), &namespace.name, &pod, "default")
                    .await
                    .unwrap();
            }
        });
    };
    // Until the API server has taken up the configuration.
    let begun = std::time::Instant::now();
    let mut made = 0;
    while first.calls() == 0 {
        assert!(begun.elapsed() < PATIENCE, "the API server does not call");
        pods(made, 1);
        made += 1;
    }
    backend.add("second", ports(&second));
    pods(made, CALLS);
    drop(configuration);
    assert!(first.calls() + second.calls() >= CALLS, "calls were lost");
    second.calls()
}

/// Says yes and counts.
#[derive(Clone, Default)]
struct Yes(Arc<AtomicUsize>);

impl Reviewer for Yes {
    async fn review(&self, call: Call) -> axum::response::Response {
        self.0.fetch_add(1, Ordering::Relaxed);
        let review: Value = serde_json::from_slice(&call.body).unwrap();
        let answer = json!({
            "apiVersion": "admission.k8s.io/v1",
            "kind": "AdmissionReview",
            "response": {"uid": review["request"]["uid"], "allowed": true},
        });
        json_response(StatusCode::OK, answer.to_string().into_bytes())
    }
}

struct Server {
    address: SocketAddr,
    yes: Yes,
    life: Lifecycle,
}

impl Server {
    async fn start(serving: Arc<Serving>, age: Duration) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let limits = Arc::new(Limits {
            age,
            age_jitter: age / 10,
            ..Limits::default()
        });
        let (yes, life) = (Yes::default(), Lifecycle::new());
        let router = router(Arc::new(yes.clone()), &limits);
        let server = accept::Server {
            listener,
            transport: Transport::Tls(acceptor(serving, None).unwrap()),
            connections: Connections::at_most(limits.connections),
            limits,
            life: life.clone(),
        };
        tokio::spawn(server.serve(move |_peer| router.clone()));
        Self { address, yes, life }
    }

    fn calls(&self) -> usize {
        self.yes.0.load(Ordering::Relaxed)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.life.stop();
    }
}

/// A webhook configuration and its Service.
struct Configuration<'a> {
    cluster: &'a ExclusiveCluster<'a>,
    name: String,
}

impl<'a> Configuration<'a> {
    fn apply(cluster: &'a ExclusiveCluster<'a>, namespace: &str, service: &str, ca: &str) -> Self {
        let name = format!("share-{service}");
        let service_object = json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": service, "namespace": namespace},
            "spec": {"ports": [{"port": 443, "targetPort": 8443}]},
        });
        let configuration = json!({
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "MutatingWebhookConfiguration",
            "metadata": {"name": name},
            "webhooks": [{
                "name": "share.example.com",
                "clientConfig": {
                    "service": {"name": service, "namespace": namespace, "path": "/mutate"},
                    "caBundle": BASE64.encode(ca),
                },
                "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}],
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
                "admissionReviewVersions": ["v1"],
                "sideEffects": "None",
                "failurePolicy": "Fail",
            }],
        });
        let both = json!({"apiVersion": "v1", "kind": "List", "items": [service_object, configuration]});
        cluster.apply(&both.to_string()).ok();
        Self { cluster, name }
    }
}

impl Drop for Configuration<'_> {
    fn drop(&mut self) {
        self.cluster
            .kubectl(&["delete", "mutatingwebhookconfiguration", &self.name]);
    }
}
