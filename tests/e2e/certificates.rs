//! Automatically managed certificates: one CA for all replicas, in `caBundle` whatever helm does, and renewed without
//! anybody noticing.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::{Api, ApiResource, DynamicObject, PostParams};
use kube::core::GroupVersionKind;
use kube::{Client, ResourceExt as _};
use rolegate::certs::clock::HandClock;
use rolegate::certs::issue::SubjectName;
use rolegate::certs::self_managed::{ConfigurationKind, ConfigurationName, SelfManaged, Settings};
use rolegate::certs::serving::Serving;
use rolegate::certs::status::Status;
use rolegate::http::rejection::json_response;
use rolegate::http::reviewer::{Call, Reviewer};
use rolegate::http::reviews::router;
use rolegate::kubernetes::list_watch::WatchTiming;
use rolegate::server::accept::{Server, Transport};
use rolegate::server::connections::Connections;
use rolegate::server::limits::Limits;
use rolegate::server::shutdown::Lifecycle;
use rolegate::server::tls::acceptor;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::chart::serve_cert_manager;
use crate::cluster::{Cluster, ExclusiveCluster, Gate, role_of};
use crate::egress::Backend;
use crate::release::{NAME, NAMESPACE};
use crate::scenarios::Scenarios;
use crate::wait::{PATIENCE, until, until_ok};

pub(crate) fn register(scenarios: &mut Scenarios) {
    scenarios.parallel(replicas_that_start_at_once_agree_on_one_ca);
    scenarios.parallel(both_replicas_of_the_chart_are_trusted_by_one_ca);
    scenarios.serial(helm_never_leaves_a_bundle_without_the_ca);
    scenarios.serial(emptied_secrets_and_bundles_are_restored_with_the_same_ca);
    scenarios.serial(rotation_under_traffic_loses_no_call);
    scenarios.serial(a_provided_certificate_is_trusted_by_its_ca);
    scenarios.serial(a_certificate_of_cert_manager_is_served_and_its_ca_is_left_to_the_injector);
}

fn replicas_that_start_at_once_agree_on_one_ca(cluster: &Cluster) {
    let namespace = cluster.namespace("same-moment", Gate::None);
    cluster.run(async {
        for round in 0..10 {
            let name = format!("{}-{round}", namespace.name);
            let client = cluster.client();
            put_empty_secret(&client, &namespace.name, &name).await;
            put_configuration(&client, &namespace.name, &name).await;
            let clock = HandClock::new(SystemTime::now());
            let replicas: Vec<_> = (0..4)
                .map(|_| Replica::look_after(&client, &clock, &namespace.name, &name))
                .collect();
            for replica in &replicas {
                replica.until_trusted().await;
            }
            // Each replica serves a certificate of a CA in the bundle, and that holds one.
            let bundles = bundles_of(&client, &name).await;
            let ca = secret_of(&client, &namespace.name, &name).await["ca.crt"].clone();
            assert_eq!(bundles, [ca.clone(), ca], "round {round}");
            for replica in replicas {
                replica.stop();
            }
            remove_configuration(&client, &name).await;
        }
    });
}

fn both_replicas_of_the_chart_are_trusted_by_one_ca(cluster: &Cluster) {
    let release = cluster.release();
    let state = cluster.run(State::read(&cluster.client()));
    let ca = state.ca().expect("a CA in the Secret");
    assert!(state.is_right(&ca), "{state:?}");
    assert!(state.bundles.len() >= 9, "an entry a gate: {state:?}");
    assert_eq!(release.replicas().len(), 2);
    for replica in release.replicas() {
        let now = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap()
            .as_secs_f64();
        let days = |kind: &str| {
            let ends = replica.metric(
                "rolegate_certificate_expiry_timestamp_seconds",
                &[&format!("kind=\"{kind}\"")],
            );
            ((ends - now) / 86_400.0).round()
        };
        assert_eq!((days("serving"), days("ca")), (30.0, 365.0));
        let (_, readiness) = replica.get("/readyz").unwrap();
        assert!(
            readiness.contains("[ok] its CA is in caBundle of the webhook configurations"),
            "{readiness}"
        );
    }
}

fn helm_never_leaves_a_bundle_without_the_ca(cluster: &ExclusiveCluster<'_>) {
    let release = cluster.install(json!({}));
    let client = cluster.client();
    let state = cluster.run(State::read(&client));
    let ca = state.ca().expect("a CA in the Secret");
    assert!(state.is_right(&ca));

    let server_side: &[&str] = &[];
    let client_side: &[&str] = &["--server-side=false"];
    // A new pod template would end the replicas; what is shown here is what the same replicas do.
    let steps: [(&str, Value, &[&str]); 8] = [
        ("the same again", json!({}), server_side),
        ("an entry more", json!({"jobNamespaces": ["some"]}), server_side),
        ("other rules", json!({"timeoutSeconds": 3}), server_side),
        ("an entry less", json!({"jobNamespaces": []}), server_side),
        (
            "an entry more, client-side",
            json!({"jobNamespaces": ["some"]}),
            client_side,
        ),
        ("other rules, client-side", json!({"timeoutSeconds": 2}), client_side),
        ("an entry less, client-side", json!({"jobNamespaces": []}), client_side),
        (
            "server-side again",
            json!({"timeoutSeconds": 1}),
            &["--server-side=true"],
        ),
    ];
    for (what, values, args) in steps {
        let watched = Watched::start(&client, cluster, &ca);
        release.upgrade(values, args).ok();
        watched.end(what);
    }
    let watched = Watched::start(&client, cluster, &ca);
    release.rollback(3, &[]).ok();
    watched.end("a rollback to an entry more");
    for force in [
        &["--force-replace", "--server-side=false"][..],
        &["--force-conflicts", "--server-side=true"],
    ] {
        let watched = Watched::start(&client, cluster, &ca);
        release.upgrade(json!({"timeoutSeconds": 2}), force).ok();
        watched.end(&force.join(" "));
    }
    assert_eq!(release.replicas().len(), 2);
    cluster.wait_until_called(&release);

    // One kind of configuration goes, and comes back without a bundle.
    for warnings in [false, true] {
        release
            .upgrade(json!({"workloadWarnings": {"enabled": warnings}}), &[])
            .ok();
        until("every entry has the CA again", || {
            let state = cluster.run(State::read(&client));
            (state.is_right(&ca) && (state.bundles.len() >= 9) == warnings).then_some(())
        });
    }
}

fn emptied_secrets_and_bundles_are_restored_with_the_same_ca(cluster: &ExclusiveCluster<'_>) {
    let release = cluster.install(json!({}));
    let client = cluster.client();
    let ca = cluster.run(State::read(&client)).ca().expect("a CA in the Secret");
    let secret_name = format!("{NAME}-tls");
    let secret = ["patch", "secret", &secret_name, "-n", NAMESPACE];
    let remove_data = &["--type=json", "-p", r#"[{"op": "remove", "path": "/data"}]"#][..];
    let spoil = &["--type=merge", "-p", r#"{"data": {"ca.key": "bm9uc2Vuc2U="}}"#];
    let mutating = ["patch", "mutatingwebhookconfiguration", NAME];
    let empty = r#"[{"op": "remove", "path": "/webhooks/0/clientConfig/caBundle"}]"#;
    let rubbish = r#"[{"op": "replace", "path": "/webhooks/1/clientConfig/caBundle", "value": "Cg=="}]"#;

    for args in [
        [&secret[..], remove_data].concat(),
        [&secret[..], spoil].concat(),
        [&mutating[..], &["--type=json", "-p", empty]].concat(),
        [&mutating[..], &["--type=json", "-p", rubbish]].concat(),
    ] {
        let watched = Watched::start(&client, cluster, &ca);
        cluster.kubectl(&args).ok();
        watched.end(args.last().unwrap());
    }
    let log = release.log();
    assert!(
        log.contains(&format!(
            "Secret {NAMESPACE}/{NAME}-tls has no usable CA: ca.crt with ca.key"
        )),
        "{log}"
    );

    // A deleted Secret is logged as missing; one that is recreated without data is filled with the same CA.
    cluster
        .kubectl(&["delete", "secret", &format!("{NAME}-tls"), "-n", NAMESPACE])
        .ok();
    until("the log says so", || {
        release.log().contains("-tls does not exist").then_some(())
    });
    assert!(release.replica(0).check_ready().is_ok(), "what was ready stays ready");
    // helm makes what is missing.
    release.upgrade(json!({}), &[]).ok();
    until("the CA is back", || {
        (cluster.run(State::read(&client)).ca().as_ref() == Some(&ca)).then_some(())
    });
    cluster.wait_until_called(&release);
}

/// The clock of the replicas is moved by hand, the API server's is not: all happens from 15 minutes before now to ten
/// minutes after, which certificates allow for.
fn rotation_under_traffic_loses_no_call(cluster: &ExclusiveCluster<'_>) {
    const BEFORE_NOW: Duration = Duration::from_secs(15 * 60);
    const STEP: Duration = Duration::from_secs(15);
    const STEPS: u32 = 96;

    let namespace = cluster.namespace("rotation", Gate::None);
    let name = namespace.name.as_str();
    let client = cluster.client();
    let backend = cluster.egress().backend(name, name);
    namespace.apply(&service(name)).ok();
    let clock = HandClock::new(SystemTime::now() - BEFORE_NOW);
    let mut replicas = cluster.run(async {
        put_empty_secret(&client, name, name).await;
        put_configuration(&client, name, name).await;
        let mut replicas = Vec::new();
        for number in 0..2 {
            replicas.push(Replica::serve(&client, &clock, name, &backend, number).await);
        }
        replicas
    });
    until_ok("a first call", || cluster.run(call(&client, name)));

    let traffic = Traffic::start(cluster, &client, name);
    let mut seen = BTreeMap::new();
    for step in 0..STEPS {
        clock.advance(STEP);
        traffic.until_calls(3);
        // Now and then a replica makes way for a new one.
        if step % 8 == 7 {
            let number = usize::try_from(step).unwrap();
            cluster.run(async {
                replicas.push(Replica::serve(&client, &clock, name, &backend, number).await);
                let old: Replica = replicas.remove(0);
                old.leave(&backend).await;
            });
        }
        let secret = cluster.run(secret_of(&client, name, name));
        let keys: Vec<String> = secret.keys().cloned().collect();
        let state = (
            keys.join(" "),
            cluster.run(bundles_of(&client, name))[0].matches("BEGIN").count(),
        );
        seen.entry(state).or_insert(step);
    }
    let calls = traffic.end();
    for replica in replicas {
        replica.stop();
    }
    cluster.run(remove_configuration(&client, name));
    let seen: Vec<_> = seen.into_keys().collect();
    let expected = [
        ("ca.crt ca.key", 1),
        ("ca.crt ca.key next.crt next.key", 2),
        ("ca.crt ca.key previous.crt previous.until", 2),
    ];
    assert_eq!(seen, expected.map(|(keys, count)| (keys.to_owned(), count)));
    assert!(calls >= 3 * u64::from(STEPS), "{calls}");
}

fn a_provided_certificate_is_trusted_by_its_ca(cluster: &ExclusiveCluster<'_>) {
    const OWN: &str = "own-certificate";
    cluster.kubectl(&["create", "namespace", NAMESPACE]);
    let put = || {
        let ca = rolegate::certs::issue::Authority::generate("ours", SystemTime::now(), DAY).unwrap();
        let names = [SubjectName::parse(&format!("{NAME}.{NAMESPACE}.svc")).unwrap()];
        let leaf = ca.issue(&names, SystemTime::now(), DAY).unwrap();
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": OWN, "namespace": NAMESPACE},
            "stringData": {"tls.crt": leaf.certificate_pem(), "tls.key": leaf.key_pem(), "ca.crt": ca.certificate_pem()}});
        cluster.apply(&secret.to_string()).ok();
        ca.certificate_pem().replace("\r\n", "\n")
    };
    let ca = put();
    let release = cluster.install(json!({"certificates": {"mode": "secret", "secretName": OWN}}));
    let client = cluster.client();
    let bundles = || {
        let mut bundles = cluster.run(State::read(&client)).bundles;
        bundles.dedup();
        bundles
    };
    assert_eq!(bundles(), [ca]);
    cluster.wait_until_called(&release);

    // A new CA is added next to the old one, because some replicas still serve the old certificate.
    let new = put();
    until("the new CA in each bundle", || {
        let bundles = bundles();
        (bundles.len() == 1 && bundles[0].contains(&new)).then_some(())
    });
    release.backend.drop_connections();
    cluster.wait_until_called(&release);
    drop(release);
    cluster.kubectl(&["delete", "secret", OWN, "-n", NAMESPACE]).ok();
}

/// cert-manager signs into the Secret that the chart ships, and its cainjector writes `caBundle`; the scenario does both.
fn a_certificate_of_cert_manager_is_served_and_its_ca_is_left_to_the_injector(cluster: &ExclusiveCluster<'_>) {
    serve_cert_manager(cluster);
    cluster.kubectl(&["create", "namespace", NAMESPACE]);
    let ca = rolegate::certs::issue::Authority::generate("cert-manager", SystemTime::now(), DAY).unwrap();
    let names = [SubjectName::parse(&format!("{NAME}.{NAMESPACE}.svc")).unwrap()];
    let leaf = ca.issue(&names, SystemTime::now(), DAY).unwrap();
    let signed = json!({
        "stringData": {"tls.crt": leaf.certificate_pem(), "tls.key": leaf.key_pem(), "ca.crt": ca.certificate_pem()},
    });
    let secret = format!("{NAME}-tls");
    let release = thread::scope(|scope| {
        scope.spawn(|| {
            let fill = [
                "-n",
                NAMESPACE,
                "patch",
                "secret",
                &secret,
                "--type=merge",
                "--patch",
                &signed.to_string(),
            ];
            until("the Secret that the chart ships", || {
                cluster.kubectl(&fill).succeeded().then_some(())
            });
        });
        // Like a kubelet, it starts no replica before the Secret is filled.
        cluster.install(json!({"certificates": {"mode": "cert-manager"}}))
    });
    let certificate = cluster.json(&["-n", NAMESPACE, "get", "certificates.cert-manager.io", NAME]);
    assert_eq!(
        certificate["spec"]["secretName"],
        format!("{NAME}-tls"),
        "{certificate}"
    );
    let bundle = BASE64.encode(ca.certificate_pem());
    for kind in ["mutatingwebhookconfiguration", "validatingwebhookconfiguration"] {
        let configuration = cluster.json(&["get", kind, NAME]);
        let from = &configuration["metadata"]["annotations"]["cert-manager.io/inject-ca-from"];
        assert_eq!(from, &format!("{NAMESPACE}/{NAME}"), "{configuration}");
        let entries = configuration["webhooks"].as_array().unwrap().iter().enumerate();
        let patch: Value = entries
            .map(|(place, entry)| {
                assert_eq!(
                    entry["clientConfig"]["caBundle"],
                    Value::Null,
                    "only the injector writes it"
                );
                json!({"op": "add", "path": format!("/webhooks/{place}/clientConfig/caBundle"), "value": bundle})
            })
            .collect();
        cluster
            .kubectl(&["patch", kind, NAME, "--type=json", "--patch", &patch.to_string()])
            .ok();
    }
    cluster.wait_until_called(&release);
    let jobs = cluster.namespace("cert-manager-jobs", Gate::Enforce);
    let role = jobs.trusted_role(&release, "worker", "default");
    jobs.annotate("default", &role);
    let pod = jobs.create_pod("worker", "default", &[]).json();
    assert_eq!(role_of(&pod), Some(role));
}

const DAY: Duration = Duration::from_secs(86_400);

/// The CA and the bundles of the chart's release, as they are in the cluster.
#[derive(Debug)]
pub(crate) struct State {
    /// PEM of the Secret's CA.
    ca: Option<String>,
    /// PEM of each entry of both configurations.
    bundles: Vec<String>,
}

impl State {
    pub(crate) async fn read(client: &Client) -> Self {
        let secret = secret_of(client, NAMESPACE, &format!("{NAME}-tls")).await;
        let mut bundles = Vec::new();
        for kind in ["MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"] {
            if let Some(object) = configurations(client, kind).get_opt(NAME).await.unwrap() {
                bundles.extend(entries(&object));
            }
        }
        Self {
            ca: secret.get("ca.crt").cloned(),
            bundles,
        }
    }

    pub(crate) fn ca(&self) -> Option<String> {
        self.ca.clone().filter(|ca| ca.contains("BEGIN CERTIFICATE"))
    }

    pub(crate) fn is_right(&self, ca: &str) -> bool {
        self.ca.as_deref() == Some(ca) && self.bundles.iter().all(|bundle| bundle == ca)
    }
}

/// Continuously reads the state of the cluster.
pub(crate) struct Watched<'a> {
    cluster: &'a Cluster,
    client: Client,
    ca: String,
    over: Arc<AtomicBool>,
    /// How long something was wrong, at most.
    wrong: Arc<Mutex<Duration>>,
    thread: thread::JoinHandle<()>,
}

impl<'a> Watched<'a> {
    pub(crate) fn start(client: &Client, cluster: &'a Cluster, ca: &str) -> Self {
        let (over, wrong) = (Arc::new(AtomicBool::new(false)), Arc::<Mutex<Duration>>::default());
        let thread = {
            let (client, ca, over, wrong) = (client.clone(), ca.to_owned(), over.clone(), wrong.clone());
            let runtime = cluster.runtime();
            thread::spawn(move || {
                let mut since = None;
                while !over.load(Ordering::Relaxed) {
                    let looked = Instant::now();
                    if runtime.block_on(State::read(&client)).is_right(&ca) {
                        since = None;
                    } else {
                        let begun: Instant = *since.get_or_insert(looked);
                        let mut longest = wrong.lock().unwrap();
                        *longest = longest.max(begun.elapsed());
                    }
                    thread::sleep(Duration::from_millis(5));
                }
            })
        };
        Self {
            cluster,
            client: client.clone(),
            ca: ca.to_owned(),
            over,
            wrong,
            thread,
        }
    }

    /// Waits until the state is right and stays right for a moment; prints how long it was not.
    #[track_caller]
    pub(crate) fn end(self, what: &str) {
        until(&format!("{what}: every entry and the Secret have the CA"), || {
            let state = self.cluster.run(State::read(&self.client));
            state.is_right(&self.ca).then_some(())
        });
        self.over.store(true, Ordering::Relaxed);
        self.thread.join().unwrap();
        let wrong = *self.wrong.lock().unwrap();
        println!("{what}: wrong for {wrong:?} at most");
        // A second is what is promised; a machine that does other things meanwhile is given more.
        assert!(wrong < Duration::from_secs(10), "{what}: wrong for {wrong:?}");
    }
}

/// Creates, again and again.
struct Traffic {
    calls: Arc<Mutex<Result<u64, String>>>,
    over: Arc<AtomicBool>,
    thread: thread::JoinHandle<()>,
}

impl Traffic {
    fn start(cluster: &Cluster, client: &Client, namespace: &str) -> Self {
        let (calls, over) = (Arc::new(Mutex::new(Ok(0))), Arc::new(AtomicBool::new(false)));
        let thread = {
            let (calls, over, client) = (calls.clone(), over.clone(), client.clone());
            let (runtime, namespace) = (cluster.runtime(), namespace.to_owned());
            thread::spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    let called = runtime.block_on(call(&client, &namespace));
                    let mut calls = calls.lock().unwrap();
                    *calls = calls.clone().and_then(|count| called.map(|()| count + 1));
                }
            })
        };
        Self { calls, over, thread }
    }

    fn count(&self) -> u64 {
        self.calls
            .lock()
            .unwrap()
            .clone()
            .unwrap_or_else(|error| panic!("a call was lost: {error}"))
    }

    fn until_calls(&self, more: u64) {
        let wanted = self.count() + more;
        until("calls", || (self.count() >= wanted).then_some(()));
    }

    fn end(self) -> u64 {
        self.over.store(true, Ordering::Relaxed);
        let calls = self.count();
        self.thread.join().unwrap();
        calls
    }
}

/// A replica within this process, with a clock that is moved by hand.
struct Replica {
    name: String,
    status: Arc<Status>,
    tasks: Vec<JoinHandle<()>>,
    life: Lifecycle,
}

impl Replica {
    fn look_after(client: &Client, clock: &HandClock, namespace: &str, name: &str) -> Self {
        Self::with_serving(client, clock, namespace, name, Serving::new())
    }

    fn with_serving(client: &Client, clock: &HandClock, namespace: &str, name: &str, serving: Arc<Serving>) -> Self {
        let settings = Settings {
            secret_namespace: namespace.to_owned(),
            secret_name: name.to_owned(),
            configurations: vec![ConfigurationName {
                kind: ConfigurationKind::Mutating,
                name: name.to_owned(),
            }],
            names: vec![SubjectName::parse(&format!("{name}.{namespace}.svc")).unwrap()],
            ca_lifetime: Duration::from_secs(30 * 60),
            certificate_lifetime: Duration::from_secs(20 * 60),
        };
        let clock = Arc::new(clock.clone());
        let managed = SelfManaged::new(client, settings, clock, WatchTiming::default(), serving);
        Self {
            name: name.to_owned(),
            status: managed.status(),
            tasks: vec![tokio::spawn(managed.run())],
            life: Lifecycle::new(),
        }
    }

    /// One that answers calls.
    async fn serve(client: &Client, clock: &HandClock, name: &str, backend: &Backend, number: usize) -> Self {
        let serving = Serving::new();
        let mut replica = Self::with_serving(client, clock, name, name, serving.clone());
        replica.name = format!("{name}-{number}");
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        // A pooled connection would hide a wrong bundle: each is closed after its first answer.
        let limits = Arc::new(Limits {
            age: Duration::ZERO,
            ..Limits::default()
        });
        let router = router(Arc::new(Yes), &limits);
        let server = Server {
            listener,
            transport: Transport::Tls(acceptor(serving, None).unwrap()),
            connections: Connections::at_most(limits.connections),
            limits,
            life: replica.life.clone(),
        };
        replica
            .tasks
            .push(tokio::spawn(server.serve(move |_peer| router.clone())));
        replica.until_trusted().await;
        backend.add(&replica.name, BTreeMap::from([("8443".to_owned(), address)]));
        replica
    }

    async fn until_trusted(&self) {
        let begun = Instant::now();
        while !self.status.is_trusted() {
            assert!(begun.elapsed() < PATIENCE, "{} is not trusted", self.name);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// As a pod that terminates: it gets no new connections, and ends its answers.
    async fn leave(mut self, backend: &Backend) {
        backend.take_out(&self.name);
        self.life.drain();
        tokio::time::sleep(Duration::from_millis(300)).await;
        self.life.stop();
        if let Some(server) = self.tasks.pop() {
            server.await.unwrap();
        }
        self.stop();
    }

    fn stop(self) {
        for task in self.tasks {
            task.abort();
        }
    }
}

/// Allows everything.
struct Yes;

impl Reviewer for Yes {
    async fn review(&self, call: Call) -> axum::response::Response {
        let review: Value = serde_json::from_slice(&call.body).unwrap();
        let answer = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
            "response": {"uid": review["request"]["uid"], "allowed": true}});
        json_response(hyper::StatusCode::OK, answer.to_string().into_bytes())
    }
}

/// A creation that the webhook must allow.
async fn call(client: &Client, namespace: &str) -> Result<(), String> {
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    let mut object = ConfigMap::default();
    object.metadata.generate_name = Some("call-".to_owned());
    let params = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    let created = api.create(&params, &object).await;
    created.map(|_| ()).map_err(|error| error.to_string())
}

async fn put_empty_secret(client: &Client, namespace: &str, name: &str) {
    let api: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let mut secret = Secret::default();
    secret.metadata.name = Some(name.to_owned());
    api.create(&PostParams::default(), &secret).await.unwrap();
}

/// A configuration of two entries, of which each is called for each ConfigMap.
async fn put_configuration(client: &Client, namespace: &str, name: &str) {
    let entry = |entry: &str| {
        json!({
            "name": format!("{entry}.rotation.example"),
            "clientConfig": {"service": {"name": name, "namespace": namespace, "path": "/mutate/enforce", "port": 443}},
            "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["configmaps"]}],
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
            "admissionReviewVersions": ["v1"],
            "sideEffects": "None",
            "failurePolicy": "Fail",
            "timeoutSeconds": 10,
        })
    };
    let object = json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": name},
        "webhooks": [entry("one"), entry("two")],
    });
    let object: DynamicObject = serde_json::from_value(object).unwrap();
    let api = configurations(client, "MutatingWebhookConfiguration");
    api.create(&PostParams::default(), &object).await.unwrap();
}

async fn remove_configuration(client: &Client, name: &str) {
    let api = configurations(client, "MutatingWebhookConfiguration");
    api.delete(name, &kube::api::DeleteParams::default()).await.unwrap();
}

fn service(name: &str) -> String {
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
        "spec": {"ports": [{"port": 443, "targetPort": 8443}]}})
    .to_string()
}

fn configurations(client: &Client, kind: &str) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk("admissionregistration.k8s.io", "v1", kind);
    Api::all_with(client.clone(), &ApiResource::from_gvk(&kind))
}

async fn bundles_of(client: &Client, name: &str) -> Vec<String> {
    let object = configurations(client, "MutatingWebhookConfiguration")
        .get(name)
        .await
        .unwrap();
    assert_eq!(object.name_any(), name);
    entries(&object)
}

/// The text of each entry's bundle.
fn entries(object: &DynamicObject) -> Vec<String> {
    let entries = object.data["webhooks"].as_array().into_iter().flatten();
    entries
        .map(|entry| {
            let bundle = entry["clientConfig"]["caBundle"].as_str().unwrap_or_default();
            String::from_utf8(BASE64.decode(bundle).unwrap()).unwrap()
        })
        .collect()
}

/// The data of a Secret, with line ends as in a bundle; none when it does not exist.
async fn secret_of(client: &Client, namespace: &str, name: &str) -> BTreeMap<String, String> {
    let api: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let secret = api.get_opt(name).await.unwrap().unwrap_or_default();
    let data = secret.data.unwrap_or_default().into_iter();
    data.map(|(key, value)| (key, String::from_utf8(value.0).unwrap().replace("\r\n", "\n")))
        .collect()
}
