//! The cost of one pod: reading it, reading its annotations, and injecting it, which writes the patch. The pod is that of a Job (2.4 KB),
//! as an API server sends it: with defaults and managed fields, and without a name.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use rolegate::pod::concerns::Concerns;
use rolegate::pod::effective::EffectiveIdentities;
use rolegate::pod::identity::{
    AnnotationRules, Defaults, Requested, ServiceAccountIdentity, WebIdentityRequest, resolve,
};
use rolegate::pod::inject::{SetSessionName, web_identity};
use rolegate::pod::settings::{PodIdentitySettings, WebIdentitySettings};
use rolegate::pod::view::PodView;
use rolegate::trust::{Audience, RoleArn};

const JOB_POD: &str = include_str!("data/job-pod.json");
const ROLE: &str = "arn:aws:iam::111122223333:role/batch/report-writer";

fn pod(criterion: &mut Criterion) {
    let rules = AnnotationRules {
        prefix: "eks.amazonaws.com/".to_owned(),
        compose: None,
    };
    let defaults = Defaults {
        audience: Audience::new("sts.amazonaws.com"),
        expiration_seconds: 86_400,
        regional_sts: true,
    };
    let settings = WebIdentitySettings {
        mount_path: "/var/run/secrets/eks.amazonaws.com/serviceaccount".to_owned(),
        region: Some("us-west-2".to_owned()),
        disable_instance_metadata: false,
        role_session_name: false,
        api_audience: None,
    };
    let agent = PodIdentitySettings {
        full_uri: "http://169.254.170.23/v1/credentials".to_owned(),
        audience: "pods.eks.amazonaws.com".to_owned(),
        mount_path: "/var/run/secrets/pods.eks.amazonaws.com/serviceaccount".to_owned(),
        volume_name: "eks-pod-identity-token".to_owned(),
        token_path: "eks-pod-identity-token".to_owned(),
        region: None,
        disable_instance_metadata: false,
    };
    let request = WebIdentityRequest {
        role: RoleArn::parse(ROLE).expect("a role ARN"),
        audience: defaults.audience.clone(),
        expiration_seconds: 86_400,
        regional_sts: true,
    };
    let account = ServiceAccountIdentity::from_annotations(&rules, [("eks.amazonaws.com/role-arn", ROLE)]);

    criterion.bench_function("pod/read", |bencher| {
        bencher.iter(|| serde_json::from_str::<PodView<'_>>(black_box(JOB_POD)).expect("a pod"));
    });
    let view: PodView<'_> = serde_json::from_str(JOB_POD).expect("a pod");
    criterion.bench_function("pod/inject", |bencher| {
        let identities = EffectiveIdentities::of_pod(&rules, &view, &settings, &agent);
        bencher.iter(|| {
            web_identity(
                &rules,
                black_box(&view),
                &identities,
                &request,
                &settings,
                SetSessionName::No,
            )
        });
    });
    criterion.bench_function("pod/all", |bencher| {
        bencher.iter(|| {
            let view: PodView<'_> = serde_json::from_str(black_box(JOB_POD)).expect("a pod");
            let (Requested::WebIdentity(request), _) = resolve(&rules, account.as_ref(), &view, &defaults) else {
                unreachable!("the ServiceAccount has a role");
            };
            let identities = EffectiveIdentities::of_pod(&rules, &view, &settings, &agent);
            black_box(Concerns::of(&identities, Some(&request.role), &settings));
            web_identity(&rules, &view, &identities, &request, &settings, SetSessionName::No)
        });
    });
}

criterion_group!(benches, pod);
criterion_main!(benches);
