//! The functions that the fuzz targets in `fuzz/` call; compiled only for them. Each function takes arbitrary bytes, and panics if a
//! property does not hold.

#![allow(clippy::panic, reason = "a panic is how a fuzz target reports")]

use std::path::Path;

use serde_json::Value;

use crate::admission::review;
use crate::pod::concerns::Concerns;
use crate::pod::effective::EffectiveIdentities;
use crate::pod::identity::{AnnotationRules, WebIdentityRequest};
use crate::pod::inject::{self, SetSessionName};
use crate::pod::settings::{PodIdentitySettings, WebIdentitySettings};
use crate::pod::view::PodView;
use crate::trust::{Audience, Context, Issuer, Policy, RoleArn, Subject, WebIdentity, judge};

const ROLE: &str = "arn:aws:iam::111122223333:role/worker";
const ISSUER: &str = "oidc.eks.us-west-2.amazonaws.com/id/EXAMPLED539D4633E53DE1B71EXAMPLE";

/// A review is read quickly as it is read by `serde_json`, and the patch of its pod applies to the pod.
pub fn review(body: &[u8]) {
    let quick = review::parse_quickly::<PodView<'_>>(body);
    let thorough = review::parse::<PodView<'_>>(body);
    assert_eq!(format!("{quick:?}"), format!("{thorough:?}"));
    let Ok(request) = quick else { return };
    let Some(pod) = request.object() else { return };
    let rules = AnnotationRules {
        prefix: "eks.amazonaws.com/".to_owned(),
        compose: None,
    };
    let web = WebIdentitySettings {
        mount_path: "/var/run/secrets/eks.amazonaws.com/serviceaccount".to_owned(),
        region: Some("us-west-2".to_owned()),
        disable_instance_metadata: true,
        role_session_name: true,
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
    let Ok(role) = RoleArn::parse(ROLE) else { return };
    let request = WebIdentityRequest {
        role,
        audience: Audience::new("sts.amazonaws.com"),
        expiration_seconds: 86_400,
        regional_sts: true,
    };
    let identities = EffectiveIdentities::of_pod(&rules, pod, &web, &agent);
    let concerns = Concerns::of(&identities, Some(&request.role), &web);
    for warning in &concerns.warnings {
        assert!(!warning.as_str().chars().any(char::is_control));
    }
    let injected = inject::web_identity(&rules, pod, &identities, &request, &web, SetSessionName::FromPodName);
    let Ok(injection) = injected else { return };
    let patch: json_patch::Patch = match serde_json::from_slice(injection.patch.as_json()) {
        Ok(patch) => patch,
        Err(error) => panic!("the patch is not a JSON patch: {error}"),
    };
    // Only one occurrence of a repeated key is left in a `Value`.
    let Ok(Value::Object(mut whole)) = serde_json::from_slice::<Value>(body) else {
        return;
    };
    let object = whole.get_mut("request").and_then(|request| request.get_mut("object"));
    let Some(object) = object.filter(|object| object.to_string().len() < body.len().saturating_mul(2)) else {
        return;
    };
    if let Err(error) = json_patch::patch(object, &patch) {
        panic!("the patch does not apply: {error}");
    }
}

/// A policy that IAM would store is read as one that is stored, and its evaluation is the same twice.
pub fn policy(document: &[u8]) {
    let Ok(text) = std::str::from_utf8(document) else {
        return;
    };
    let stored = Policy::parse(text);
    if Policy::parse_written(text).is_ok() {
        assert!(stored.is_ok());
    }
    drop(Policy::parse_encoded(text));
    let (Ok(policy), Ok(role), Ok(issuer)) = (stored, RoleArn::parse(ROLE), Issuer::parse(ISSUER)) else {
        return;
    };
    let identity = WebIdentity {
        issuer,
        subject: Subject::service_account("jobs", "worker"),
        audience: Audience::new("sts.amazonaws.com"),
    };
    let judged = || judge(&policy, &role, &identity, &Context::default());
    let (one, other) = (judged(), judged());
    assert_eq!(format!("{one:?}"), format!("{other:?}"));
}

/// Every format of role files, also under the name of a bare policy.
pub fn role_file(document: &[u8]) {
    for below in ["roles.json", "111122223333/worker.json"] {
        crate::roles::files::read_for_fuzzing(document, Path::new(below));
    }
}
