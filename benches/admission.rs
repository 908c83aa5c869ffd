//! A whole admission without the network: the bytes of a Job's pod in, the bytes of the answer out; and what each layer of the HTTP
//! endpoint adds to it.
//!
//! `cargo bench --bench admission`. Goal: at most 8 µs for an injection, on one core of an ordinary server.

#![allow(missing_docs, reason = "a benchmark has no public API")]

use std::fs;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::response::Response;
use axum::routing::{MethodRouter, post};
use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use futures::FutureExt as _;
use http_body_util::Full;
use hyper::StatusCode;
use rolegate::admission::pods::{
    Admission, AdmissionSettings, Answer, ClusterState, Endpoint, Record, Recorder, SkipLabel,
};
use rolegate::admission::review_kind::{PathMode, ReviewKind};
use rolegate::admission::webhook::Webhook;
use rolegate::decision::{DecisionSettings, Mode};
use rolegate::http::deadline::Deadline;
use rolegate::http::layers::RejectionLayer;
use rolegate::http::rejection::json_response;
use rolegate::http::reviewer::{Call, Reviewer};
use rolegate::http::reviews;
use rolegate::kubernetes::service_accounts::ServiceAccounts;
use rolegate::kubernetes::service_accounts::manifests::ManifestServiceAccounts;
use rolegate::pod::identity::{AnnotationRules, Defaults};
use rolegate::pod::settings::{PodIdentitySettings, WebIdentitySettings};
use rolegate::roles::files::{FileRoles, WhenMissing};
use rolegate::roles::{RoleCache, RoleCacheSettings};
use rolegate::server::limits::Limits;
use rolegate::telemetry::metrics::{ByNamespace, Metrics};
use rolegate::trust::{Audience, Issuer, RoleArn};
use serde_json::{Value, json};
use tokio::time::Instant;
use tower::{ServiceBuilder, ServiceExt as _};

const ISSUER: &str = "oidc.eks.us-west-2.amazonaws.com/id/EXAMPLED539D4633E53DE1B71EXAMPLE";
const ROLE: &str = "arn:aws:iam::111122223333:role/worker";
const POD: &str = include_str!("data/job-pod-review.json");

/// Reads each record, as telemetry does.
struct Seen;

impl Recorder for Seen {
    fn record(&self, record: &Record<'_>) {
        black_box(record);
    }
}

fn admission(folder: &std::path::Path, policy_for: &str) -> Admission {
    let accounts = format!(
        "apiVersion: v1\nkind: ServiceAccount\nmetadata:\n  name: worker\n  namespace: jobs\n  annotations:\n    \
         eks.amazonaws.com/role-arn: {ROLE}\n"
    );
    fs::write(folder.join("accounts.yaml"), accounts).unwrap();
    let roles = folder.join("roles/111122223333");
    fs::create_dir_all(&roles).unwrap();
    let policy = format!(
        r#"{{"Version":"2012-10-17","Statement":[{{"Effect":"Allow","Principal":{{"Federated":"arn:aws:iam::111122223333:oidc-provider/{ISSUER}"}},
        "Action":"sts:AssumeRoleWithWebIdentity","Condition":{{"StringEquals":{{"{ISSUER}:sub":"system:serviceaccount:{policy_for}",
        "{ISSUER}:aud":"sts.amazonaws.com"}}}}}}]}}"#
    );
    fs::write(roles.join("worker.json"), policy).unwrap();
    let rules = Arc::new(AnnotationRules {
        prefix: "eks.amazonaws.com/".to_owned(),
        compose: None,
    });
    let files = FileRoles::open(folder.join("roles"), WhenMissing::NoSuchRole, FileRoles::POLL).unwrap();
    let cache = RoleCache::new(
        vec![Arc::new(files)],
        RoleCacheSettings {
            ttl: Duration::from_secs(3600),
            max_stale: Duration::from_secs(3600),
            read_timeout: Duration::from_secs(1),
            capacity: 100,
        },
    );
    let state = ClusterState {
        issuer: Issuer::parse(ISSUER).unwrap(),
        accounts: Arc::new(ServiceAccounts::Manifests(
            ManifestServiceAccounts::load(folder, rules.clone()).unwrap(),
        )),
        namespaces: None,
        identity_map: None,
        container_credentials: None,
        associations: None,
        cache,
    };
    let settings = AdmissionSettings {
        docs_url: None,
        mode: Mode::Enforce,
        rules: (*rules).clone(),
        defaults: Defaults {
            audience: Audience::new("sts.amazonaws.com"),
            expiration_seconds: 86_400,
            regional_sts: false,
        },
        web_identity: WebIdentitySettings {
            mount_path: "/var/run/secrets/eks.amazonaws.com/serviceaccount".to_owned(),
            region: Some("us-west-2".to_owned()),
            disable_instance_metadata: false,
            role_session_name: false,
            api_audience: None,
        },
        pod_identity: PodIdentitySettings {
            full_uri: "http://169.254.170.23/v1/credentials".to_owned(),
            audience: "pods.eks.amazonaws.com".to_owned(),
            mount_path: "/var/run/secrets/pods.eks.amazonaws.com/serviceaccount".to_owned(),
            volume_name: "eks-pod-identity-token".to_owned(),
            token_path: "eks-pod-identity-token".to_owned(),
            region: None,
            disable_instance_metadata: false,
        },
        decision: DecisionSettings::default(),
        skip_label: SkipLabel::Honored,
    };
    Admission::new(settings, state)
}

fn admissions(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let _entered = runtime.enter();
    let folder = tempfile::TempDir::new().unwrap();
    let admission = admission(folder.path(), "jobs:worker");
    let far = Instant::now() + Duration::from_secs(3600);
    // Reads the policy into the role cache: from now on everything is answered from memory.
    runtime.block_on(admission_entry(&admission, far));

    let mut group = criterion.benchmark_group("admission");
    group.throughput(Throughput::Bytes(POD.len() as u64));
    group.bench_function("inject", |bencher| {
        bencher.iter(|| {
            let answer = admission
                .review(
                    black_box(POD.as_bytes()),
                    PathMode::Named(Mode::Enforce),
                    Endpoint::Mutating,
                    far,
                    &Seen,
                )
                .now_or_never();
            match answer {
                Some(Answer::Review(json)) => black_box(json),
                other => panic!("not answered from memory: {other:?}"),
            }
        });
    });
    group.finish();
}

async fn admission_entry(admission: &Admission, deadline: Instant) {
    let answer = admission
        .review(
            POD.as_bytes(),
            PathMode::Named(Mode::Enforce),
            Endpoint::Mutating,
            deadline,
            &Seen,
        )
        .await;
    let Answer::Review(json) = answer else {
        panic!("no answer: {answer:?}")
    };
    assert!(
        String::from_utf8(json).unwrap().contains("JSONPatch"),
        "the pod is injected"
    );
    assert!(RoleArn::parse(ROLE).is_ok());
}

/// What a warning at apply costs next to a pod: a Deployment, and an Argo Workflow of 500 templates, whose account every template names.
fn workloads(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let _entered = runtime.enter();
    let folder = tempfile::TempDir::new().unwrap();
    let webhook = Webhook {
        admission: admission(folder.path(), "jobs:other"),
        metrics: Metrics::new(ByNamespace::No),
        audit: None,
        events: None,
    };
    let container =
        json!({"name": "main", "image": "example.com/app:1", "args": ["--from", "{{inputs.parameters.day}}"]});
    let pod_spec = json!({"serviceAccountName": "worker", "containers": [container]});
    let templates: Vec<Value> = (0..500)
        .map(|number| json!({"name": format!("step-{number}"), "serviceAccountName": "worker", "container": container}))
        .collect();
    let deployment = review("apps", "Deployment", json!({"template": {"spec": pod_spec}}));
    let workflow = review(
        "argoproj.io",
        "Workflow",
        json!({"entrypoint": "step-0", "templates": templates}),
    );
    let far = Instant::now() + Duration::from_secs(3600);
    let pods = ReviewKind::MutatePods(PathMode::Named(Mode::Enforce));
    let mut group = criterion.benchmark_group("workloads");
    for (name, kind, body) in [
        ("pod", pods, POD.to_owned()),
        ("deployment", ReviewKind::ValidateWorkloads, deployment),
        ("workflow-500", ReviewKind::ValidateWorkloads, workflow),
    ] {
        let answer = |now| webhook.review(kind, body.as_bytes(), now, far);
        // Reads the policy into the role cache; each of them is refused or warned about.
        match runtime.block_on(answer(Instant::now())) {
            Answer::Review(json) => assert!(String::from_utf8(json).unwrap().contains("does not trust")),
            other => panic!("no answer: {other:?}"),
        }
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_function(name, |bencher| {
            // A refusal reads the file of the role again, so that it cannot be answered from memory.
            bencher.iter(|| match runtime.block_on(answer(Instant::now())) {
                Answer::Review(json) => black_box(json),
                other => panic!("no answer: {other:?}"),
            });
        });
    }
    group.finish();
}

/// A review of an object that is created.
fn review(group: &str, kind: &str, spec: Value) -> String {
    let version = if group == "apps" { "v1" } else { "v1alpha1" };
    let kind = json!({"group": group, "version": version, "kind": kind});
    json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": "705ab4f5-6393-11e8-b7cc-42010a800002",
            "kind": kind,
            "requestKind": kind,
            "namespace": "jobs",
            "operation": "CREATE",
            "object": {
                "apiVersion": format!("{group}/{version}"),
                "kind": kind["kind"],
                "metadata": {"name": "nightly", "namespace": "jobs"},
                "spec": spec,
            },
        },
    })
    .to_string()
}

/// Returns a body of the same size as the answer to the review.
struct Parrot;

impl Reviewer for Parrot {
    async fn review(&self, _call: Call) -> Response {
        answer().await
    }
}

async fn answer() -> Response {
    json_response(StatusCode::OK, vec![b' '; 1500])
}

/// The HTTP endpoint without a connection: its router with one layer more each time, and at last with the webhook.
fn endpoint(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let _entered = runtime.enter();
    let folder = tempfile::TempDir::new().unwrap();
    let webhook = Webhook {
        admission: admission(folder.path(), "jobs:worker"),
        metrics: Metrics::new(ByNamespace::No),
        audit: None,
        events: None,
    };
    let far = Instant::now() + Duration::from_secs(3600);
    runtime.block_on(admission_entry(&webhook.admission, far));

    let limits = Arc::new(Limits::default());
    let parrot = Arc::new(Parrot);
    let kind = Some(ReviewKind::MutatePods(PathMode::Named(Mode::Enforce)));
    let route = || post(answer);
    let deadline = || ServiceBuilder::new().map_request(Deadline::start);
    let rejections = ServiceBuilder::new().layer(RejectionLayer::new(Arc::clone(&parrot), kind));
    let stacks = [
        ("router", router_of(route())),
        ("deadline", router_of(route().layer(deadline()))),
        (
            "rejections",
            router_of(route().layer(rejections.map_request(Deadline::start))),
        ),
        ("body", reviews::router(parrot, &limits)),
        ("webhook", reviews::router(Arc::new(webhook), &limits)),
    ];
    let mut group = criterion.benchmark_group("endpoint");
    for (name, router) in stacks {
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let request = Request::post("/mutate/enforce?timeout=2s")
                    .header("content-type", "application/json")
                    .body(Full::new(Bytes::from_static(POD.as_bytes())))
                    .unwrap();
                let response = router.clone().oneshot(request).now_or_never().unwrap().unwrap();
                assert_eq!(response.status(), StatusCode::OK);
                black_box(response)
            });
        });
    }
    group.finish();
}

fn router_of(route: MethodRouter) -> Router {
    Router::new().route("/mutate/enforce", route)
}

criterion_group!(benches, admissions, workloads, endpoint);
criterion_main!(benches);
