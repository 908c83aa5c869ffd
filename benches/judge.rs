//! The cost of an evaluation and of a parse. Goal: less than 5 µs for the evaluation of a policy of ordinary size.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use rolegate::trust::{Audience, Context, Issuer, Policy, RoleArn, Subject, WebIdentity, judge};

const ISSUER: &str = "oidc.eks.us-west-2.amazonaws.com/id/EXAMPLED539D4633E53DE1B71EXAMPLE";

fn statement(subject: &str) -> String {
    format!(
        r#"{{"Effect": "Allow",
            "Principal": {{"Federated": "arn:aws:iam::111122223333:oidc-provider/{ISSUER}"}},
            "Action": "sts:AssumeRoleWithWebIdentity",
            "Condition": {{"StringLike": {{"{ISSUER}:sub": "{subject}"}}, "StringEquals": {{"{ISSUER}:aud": "sts.amazonaws.com"}}}}}}"#
    )
}

fn policy(subjects: &[&str]) -> String {
    let statements: Vec<String> = subjects.iter().map(|subject| statement(subject)).collect();
    format!(
        r#"{{"Version": "2012-10-17", "Statement": [{}]}}"#,
        statements.join(",")
    )
}

fn judgments(criterion: &mut Criterion) {
    let role = RoleArn::parse("arn:aws:iam::111122223333:role/my-jobs-role").unwrap();
    let identity = WebIdentity {
        issuer: Issuer::parse(ISSUER).unwrap(),
        subject: Subject::service_account("my-jobs", "default"),
        audience: Audience::new("sts.amazonaws.com"),
    };
    let context = Context {
        now: Some(1_767_225_600),
        ..Context::default()
    };
    let exact = policy(&["system:serviceaccount:my-jobs:default"]);
    let pattern = policy(&["system:serviceaccount:my-*:def*"]);
    let five = policy(&[
        "system:serviceaccount:a:*",
        "system:serviceaccount:b:*",
        "system:serviceaccount:c:*",
        "system:serviceaccount:d:*",
        "system:serviceaccount:my-jobs:*",
    ]);
    let refused = policy(&["system:serviceaccount:my-prod:default"]);
    for (name, text) in [
        ("trusted", &exact),
        ("trusted by pattern", &pattern),
        ("trusted by the fifth", &five),
        ("refused", &refused),
    ] {
        let parsed = Policy::parse(text).unwrap();
        criterion.bench_function(&format!("judge/{name}"), |bencher| {
            bencher.iter(|| judge(black_box(&parsed), black_box(&role), black_box(&identity), &context));
        });
    }
    criterion.bench_function("parse/one statement", |bencher| {
        bencher.iter(|| Policy::parse(black_box(&exact)))
    });
}

criterion_group!(benches, judgments);
criterion_main!(benches);
