//! Annotations of a pod that have no effect: those that belong on its ServiceAccount, and misspelled ones.

use super::identity::{AUDIENCE, AnnotationRules, STS_REGIONAL_ENDPOINTS, TOKEN_EXPIRATION, is_nearly_role};
use super::selection::{INCLUDE_CONTAINERS, SKIP_CONTAINERS};
use super::view::PodView;
use super::warning::{QUOTED_CHARACTERS, Warning};
use crate::support::text;
use crate::trust::RoleArn;

/// The annotation of a pod that names a role, unless it is the role that the pod has anyway. EKS reads it on ServiceAccounts only.
#[must_use]
pub(crate) fn role_annotation(rules: &AnnotationRules, pod: &PodView<'_>, role: Option<&RoleArn>) -> Option<String> {
    let mut annotations = pod.annotations_with(&rules.prefix);
    let found = annotations.find(|(name, value)| {
        is_nearly_role(name) && !value.is_empty() && role.is_none_or(|role| role.as_str() != *value)
    });
    found.map(|(name, _)| format!("{}{name}", rules.prefix))
}

/// What is wrong with a role annotation of a pod, without the name of the pod.
#[must_use]
pub(crate) fn belongs_on_service_account(key: &str) -> String {
    format!(
        "annotation {} of the pod is ignored: it belongs on the ServiceAccount",
        text::value_within(key, QUOTED_CHARACTERS)
    )
}

/// At most two warnings about settings of the pod that are ignored: one that belongs on the ServiceAccount, and one with a typing error.
pub(crate) fn ignored_settings(rules: &AnnotationRules, pod: &PodView<'_>) -> Vec<Warning> {
    let (mut misplaced, mut misspelled) = (None, None);
    for (name, _) in pod.annotations_with(&rules.prefix) {
        let key = || text::value_within(&format!("{}{name}", rules.prefix), QUOTED_CHARACTERS);
        match name {
            TOKEN_EXPIRATION | SKIP_CONTAINERS | INCLUDE_CONTAINERS => {}
            AUDIENCE | STS_REGIONAL_ENDPOINTS => {
                misplaced.get_or_insert_with(|| Warning::new(&belongs_on_service_account(&key())));
            }
            _ if is_nearly_role(name) => {}
            _ => {
                if let Some(meant) = meant(name) {
                    misspelled.get_or_insert_with(|| {
                        Warning::new(&format!(
                            "annotation {} of the pod is ignored; did you mean {}{meant}?",
                            key(),
                            rules.prefix
                        ))
                    });
                }
            }
        }
    }
    misplaced.into_iter().chain(misspelled).collect()
}

/// The setting of pods that a name was probably meant to be.
fn meant(name: &str) -> Option<&'static str> {
    let lower = name.to_ascii_lowercase();
    // One letter away from the opposite.
    if lower.starts_with("excl") {
        return lower.contains("container").then_some(SKIP_CONTAINERS);
    }
    let near = text::nearest_word(name, [TOKEN_EXPIRATION, SKIP_CONTAINERS, INCLUDE_CONTAINERS]);
    near.or_else(|| lower.contains("expir").then_some(TOKEN_EXPIRATION))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROLE: &str = "arn:aws:iam::111122223333:role/worker";

    fn rules(prefix: &str) -> AnnotationRules {
        AnnotationRules {
            prefix: prefix.to_owned(),
            compose: None,
        }
    }

    fn pod(annotations: &[(&str, &str)]) -> String {
        let annotations: serde_json::Map<_, _> = annotations
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).into()))
            .collect();
        serde_json::json!({"metadata": {"annotations": annotations}}).to_string()
    }

    fn settings(prefix: &str, key: &str) -> Vec<String> {
        let pod = pod(&[(key, "x")]);
        let pod: PodView<'_> = serde_json::from_str(&pod).unwrap();
        let warnings = ignored_settings(&rules(prefix), &pod);
        warnings.iter().map(Warning::to_string).collect()
    }

    #[test]
    fn a_misspelled_setting_of_a_pod_is_named_with_the_one_that_was_meant() {
        for (name, meant) in [
            ("include-container", "include-containers"),
            ("includecontainers", "include-containers"),
            ("inlcude-containers", "include-containers"),
            ("Include-Containers", "include-containers"),
            ("included-containers", "include-containers"),
            ("skip-container", "skip-containers"),
            ("skipContainers", "skip-containers"),
            ("skip_containers", "skip-containers"),
            ("exclude-containers", "skip-containers"),
            ("token-expirations", "token-expiration"),
            ("token-expiry", "token-expiration"),
        ] {
            let key = format!("eks.amazonaws.com/{name}");
            let warning = format!("annotation {key} of the pod is ignored; did you mean eks.amazonaws.com/{meant}?");
            assert_eq!(settings("eks.amazonaws.com/", &key), [warning], "{key}");
        }
        for name in ["audience", "sts-regional-endpoints"] {
            let key = format!("eks.amazonaws.com/{name}");
            let warning = format!("annotation {key} of the pod is ignored: it belongs on the ServiceAccount");
            assert_eq!(settings("eks.amazonaws.com/", &key), [warning], "{key}");
        }
        assert_eq!(settings("example.com/", "example.com/skip-container").len(), 1);
    }

    #[test]
    fn annotations_of_others_are_left_alone() {
        for key in [
            "eks.amazonaws.com/skip-containers",
            "eks.amazonaws.com/include-containers",
            "eks.amazonaws.com/token-expiration",
            "eks.amazonaws.com/skip-pod-identity-webhook",
            "eks.amazonaws.com/compute-type",
            "example.com/skip-container",
            "kubectl.kubernetes.io/default-container",
            "kubectl.kubernetes.io/default-logs-container",
            "iam.amazonaws.com/role",
            "iam.amazonaws.com/external-id",
            "sidecar.istio.io/inject",
            "traffic.sidecar.istio.io/excludeOutboundPorts",
            "vault.hashicorp.com/role",
            "vault.hashicorp.com/agent-inject-containers",
            "cluster-autoscaler.kubernetes.io/safe-to-evict",
            "karpenter.sh/do-not-disrupt",
            "prometheus.io/scrape",
            "role-arn",
        ] {
            assert_eq!(settings("eks.amazonaws.com/", key), [""; 0], "{key}");
            let pod = pod(&[(key, ROLE)]);
            let pod: PodView<'_> = serde_json::from_str(&pod).unwrap();
            assert_eq!(role_annotation(&rules("eks.amazonaws.com/"), &pod, None), None, "{key}");
        }
    }

    #[test]
    fn the_role_of_a_pod_is_ignored_unless_the_pod_has_that_role_anyway() {
        let role = RoleArn::parse(ROLE).unwrap();
        for (name, value, own, found) in [
            ("role-arn", ROLE, None, true),
            ("role-arn", "x", Some(&role), true),
            ("role_arn", ROLE, None, true),
            ("role-arns", ROLE, None, true),
            ("role-arn", ROLE, Some(&role), false),
            ("role-arn", "", None, false),
        ] {
            let key = format!("eks.amazonaws.com/{name}");
            let pod = pod(&[(&key, value)]);
            let pod: PodView<'_> = serde_json::from_str(&pod).unwrap();
            let annotation = role_annotation(&rules("eks.amazonaws.com/"), &pod, own);
            assert_eq!(annotation.as_deref(), found.then_some(&*key), "{key}={value}");
        }
    }

    #[test]
    fn two_settings_have_one_warning_each() {
        let many: Vec<String> = (0..100).map(|number| format!("a.b/skip-container{number}")).collect();
        let mut annotations: Vec<(&str, &str)> = many.iter().map(|key| (key.as_str(), "x")).collect();
        annotations.extend([("a.b/audience", "x"), ("a.b/sts-regional-endpoints", "x")]);
        let pod = pod(&annotations);
        let pod: PodView<'_> = serde_json::from_str(&pod).unwrap();
        assert_eq!(ignored_settings(&rules("a.b/"), &pod).len(), 2);
    }
}
