//! Legitimate load: reviews sent directly to each replica, and pods created through the API server.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::api::DeleteParams;
use kube::{Api, Client as KubeClient};
use serde_json::Value;
use tokio::runtime::Runtime;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use super::client::{Client, Connection, Trust};
use super::figures::{Figures, Outcome};
use crate::cluster::ExclusiveCluster;
use crate::release::{NAME, NAMESPACE, Release};
use crate::reviews::{creation, job_pod};
use crate::traffic::{create_pod, has_role};
use crate::wait::until_ok;

/// Nothing else in the soak connects from here.
const SOURCE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 3);

/// The pause between two reviews of one client. There are two clients per replica, so two replicas get 50 reviews per second.
const REVIEW_INTERVAL: Duration = Duration::from_millis(80);

/// The pause between two pods that are created through the API server.
const POD_INTERVAL: Duration = Duration::from_millis(500);

/// The number of reviews after which a client opens a new connection.
const REVIEWS_PER_CONNECTION: usize = 20;

/// A response that takes longer counts as missing.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Honest {
    shared: Arc<Shared>,
    pub(crate) trust: Trust,
    runtime: Option<Runtime>,
}

#[derive(Default)]
struct Shared {
    ended: AtomicBool,
    /// The number of times that an outage of the API server has begun or ended; odd during an outage.
    outages: AtomicUsize,
    cas: Mutex<BTreeSet<Vec<u8>>>,
}

/// The API server is down until this is dropped.
pub(crate) struct Outage<'a>(&'a Shared);

impl Drop for Outage<'_> {
    fn drop(&mut self) {
        self.0.outages.fetch_add(1, Ordering::SeqCst);
    }
}

impl Honest {
    pub(crate) fn start(
        cluster: &ExclusiveCluster<'_>,
        release: &Release,
        namespace: &str,
        role: &str,
        figures: &Arc<Figures>,
    ) -> Self {
        let shared = Arc::new(Shared::default());
        let kube = cluster.client();
        let bundle = until_ok("the CA bundle", || cluster.run(ca_bundle(&kube)));
        let trust = Trust::new(&bundle);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        for replica in release.replicas() {
            let client = Client {
                trust: trust.clone(),
                source: SOURCE,
                target: replica.ports["8443"],
            };
            for (account, expected) in [
                ("worker", Expected::Injected(role.to_owned())),
                ("stranger", Expected::Refused),
            ] {
                let reviewer = Reviewer {
                    client: client.clone(),
                    replica: replica.name.clone(),
                    body: Bytes::from(creation(&job_pod(namespace, account)).to_string()),
                    expected,
                    shared: Arc::clone(&shared),
                    figures: Arc::clone(figures),
                };
                runtime.spawn(reviewer.run());
            }
        }
        runtime.spawn(follow_cas(kube.clone(), trust.clone(), Arc::clone(&shared)));
        let pods = create_pods(
            kube,
            namespace.to_owned(),
            role.to_owned(),
            Arc::clone(&shared),
            Arc::clone(figures),
        );
        runtime.spawn(pods);
        Self {
            shared,
            trust,
            runtime: Some(runtime),
        }
    }

    /// Until the result is dropped, requests that require the API server can fail.
    pub(crate) fn api_server_is_away(&self) -> Outage<'_> {
        self.shared.outages.fetch_add(1, Ordering::SeqCst);
        Outage(&self.shared)
    }

    /// Stops the load; returns how often the CA that signs was replaced.
    pub(crate) fn end(mut self) -> usize {
        self.shared.ended.store(true, Ordering::Relaxed);
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(Duration::from_secs(2));
        }
        let cas = self.shared.cas.lock().unwrap_or_else(PoisonError::into_inner).len();
        cas.saturating_sub(1)
    }
}

impl Drop for Honest {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Relaxed);
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Shared {
    fn is_running(&self) -> bool {
        !self.ended.load(Ordering::Relaxed)
    }

    fn outages(&self) -> usize {
        self.outages.load(Ordering::SeqCst)
    }

    /// Whether the API server was down at any time since `before` was read.
    fn was_away_since(&self, before: usize) -> bool {
        before % 2 == 1 || self.outages() != before
    }
}

async fn ca_bundle(client: &KubeClient) -> Result<Vec<u8>, String> {
    let configuration = Api::<MutatingWebhookConfiguration>::all(client.clone())
        .get(NAME)
        .await
        .map_err(|error| error.to_string())?;
    let entry = configuration.webhooks.into_iter().flatten().next();
    let bundle = entry.and_then(|entry| entry.client_config.ca_bundle);
    bundle.map(|bundle| bundle.0).ok_or_else(|| "no caBundle".to_owned())
}

/// Trusts what the API server trusts, and counts the CAs that sign.
async fn follow_cas(client: KubeClient, trust: Trust, shared: Arc<Shared>) {
    let secrets: Api<Secret> = Api::namespaced(client.clone(), NAMESPACE);
    while shared.is_running() {
        if let Ok(bundle) = ca_bundle(&client).await {
            trust.replace(&bundle);
        }
        if let Ok(secret) = secrets.get(&format!("{NAME}-tls")).await
            && let Some(ca) = secret.data.and_then(|mut data| data.remove("ca.crt"))
        {
            shared.cas.lock().unwrap_or_else(PoisonError::into_inner).insert(ca.0);
        }
        sleep(Duration::from_secs(2)).await;
    }
}

enum Expected {
    /// Decided from memory and files, even without the API server.
    Injected(String),
    /// Read again before it is refused: requires the API server.
    Refused,
}

/// One client of one replica.
struct Reviewer {
    client: Client,
    replica: String,
    body: Bytes,
    expected: Expected,
    shared: Arc<Shared>,
    figures: Arc<Figures>,
}

impl Reviewer {
    async fn run(self) {
        let mut ticks = interval(REVIEW_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut connection = None;
        for number in 0_usize.. {
            ticks.tick().await;
            if !self.shared.is_running() {
                return;
            }
            if number % REVIEWS_PER_CONNECTION == 0 {
                connection = None;
            }
            let (begun, outages) = (Instant::now(), self.shared.outages());
            let phase = self.figures.phase();
            let answer = match timeout(PATIENCE, self.exchange(&mut connection)).await {
                Ok(answer) => answer,
                Err(_) => Err(format!("no answer in {PATIENCE:?}")),
            };
            if answer.is_err() {
                connection = None;
            }
            let took = begun.elapsed();
            let mut outcome = self.outcome(answer);
            if matches!(self.expected, Expected::Refused)
                && matches!(outcome, Outcome::Failed(_))
                && self.shared.was_away_since(outages)
            {
                outcome = Outcome::Excused;
            }
            self.figures.reviewed(phase, took, outcome);
        }
    }

    /// If a request on a kept-alive connection fails, it is sent again on a new one, as Go's client does.
    async fn exchange(&self, connection: &mut Option<Connection>) -> Result<(u16, Bytes), String> {
        if let Some(kept) = connection
            && let Ok(answer) = kept.post("/mutate/enforce", self.body.clone()).await
        {
            return Ok(answer);
        }
        let opened = connection.insert(self.client.connect().await?);
        opened.post("/mutate/enforce", self.body.clone()).await
    }

    fn outcome(&self, answer: Result<(u16, Bytes), String>) -> Outcome {
        let (status, body) = match answer {
            Ok(answer) => answer,
            Err(error) => return Outcome::Failed(format!("{}: {error}", self.replica)),
        };
        let text = String::from_utf8_lossy(&body);
        if status != 200 {
            return Outcome::Failed(format!("{}: {status} {text}", self.replica));
        }
        let review: Value = serde_json::from_slice(&body).unwrap_or_default();
        let response = &review["response"];
        let is_right = match &self.expected {
            Expected::Refused => response["allowed"] == false,
            Expected::Injected(role) => response["allowed"] == true && patch_names(response, role),
        };
        if is_right {
            Outcome::Right
        } else {
            Outcome::Wrong(format!("{}: {text}", self.replica))
        }
    }
}

fn patch_names(response: &Value, role: &str) -> bool {
    let patch = BASE64.decode(response["patch"].as_str().unwrap_or_default());
    patch.is_ok_and(|patch| {
        let patch = String::from_utf8_lossy(&patch);
        patch.contains("AWS_ROLE_ARN") && patch.contains(role)
    })
}

/// Creates one pod after the other, and deletes each again.
async fn create_pods(client: KubeClient, namespace: String, role: String, shared: Arc<Shared>, figures: Arc<Figures>) {
    let pods: Api<Pod> = Api::namespaced(client.clone(), &namespace);
    for number in 0_usize.. {
        sleep(POD_INTERVAL).await;
        if !shared.is_running() {
            return;
        }
        let (phase, outages) = (figures.phase(), shared.outages());
        let name = format!("soak-{number}");
        let outcome = match create_pod(&client, &namespace, &name, "worker").await {
            Ok(pod) if has_role(&pod, &role) => Outcome::Right,
            Ok(_) => Outcome::Wrong(format!("the pod {name} was created without its role")),
            Err(_) if shared.was_away_since(outages) => Outcome::Excused,
            Err(error) => Outcome::Failed(format!("the pod {name}: {error}")),
        };
        figures.created(phase, outcome);
        let _ = pods.delete(&name, &DeleteParams::default().grace_period(0)).await;
    }
}
