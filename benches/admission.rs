//! A whole admission without the network: the bytes of a Job's pod in, the bytes of the answer out.
//!
//! `cargo bench --bench admission`. Goal: at most 8 µs for an injection, on one core of an ordinary server.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "a benchmark says what it expects by panicking"
)]

use std::fs;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use futures::FutureExt as _;
use rolegate::admission::pods::{
    Admission, AdmissionSettings, Answer, ClusterState, Endpoint, Record, Recorder, SkipLabel,
};
use rolegate::admission::review_kind::PathMode;
use rolegate::decision::{DecisionSettings, Mode};
use rolegate::kubernetes::service_accounts::ServiceAccounts;
use rolegate::kubernetes::service_accounts::manifests::ManifestServiceAccounts;
use rolegate::pod::identity::{AnnotationRules, Defaults};
use rolegate::pod::inject::{PodIdentitySettings, WebIdentitySettings};
use rolegate::roles::files::{FileRoles, WhenMissing};
use rolegate::roles::{RoleCache, RoleCacheSettings};
use rolegate::trust::{Audience, Issuer, RoleArn};
use tokio::time::Instant;

const ISSUER: &str = "oidc.eks.us-west-2.amazonaws.com/id/EXAMPLED539D4633E53DE1B71EXAMPLE";
const ROLE: &str = "arn:aws:iam::111122223333:role/worker";
const POD: &str = include_str!("data/job-pod-review.json");

/// Looks at what it is given, as telemetry would.
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
        identity_map: None,
        container_credentials: None,
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

criterion_group!(benches, admissions);
criterion_main!(benches);
