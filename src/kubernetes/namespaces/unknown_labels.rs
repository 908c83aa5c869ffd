//! Labels of namespaces that look like those of rolegate and have no effect: a typing error in `rolegate.io/gate` leaves the namespace
//! without a webhook, and the first sign of it is a pod that fails. The same label on a namespace that the webhook configurations exclude
//! has no effect either.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{GATE_LABEL, REQUIRE_ROLE_LABEL};
use crate::support::text;

/// The namespaces that are remembered, so that each is logged once. Further ones are not logged.
const MAX_NAMESPACES: usize = 100;

/// The labels of one namespace that are remembered. Further ones are not logged.
const MAX_LABELS: usize = 8;

const KNOWN: [&str; 2] = [GATE_LABEL, REQUIRE_ROLE_LABEL];

const PREFIX: &str = "rolegate.io/";

/// Logs each such label of a namespace once, until it is removed.
#[derive(Debug, Default)]
pub(super) struct UnknownLabels {
    logged: HashMap<Box<str>, BTreeSet<Box<str>>>,
    /// The namespaces that the webhook configurations exclude.
    excluded: Vec<String>,
}

impl UnknownLabels {
    /// With the namespaces that the webhook configurations exclude.
    pub(super) fn new(excluded: Vec<String>) -> Self {
        Self {
            logged: HashMap::new(),
            excluded,
        }
    }

    /// The labels of a namespace, as they are now.
    pub(super) fn observe(&mut self, namespace: &str, labels: Option<&BTreeMap<String, String>>) {
        for message in self.new_messages(namespace, labels) {
            tracing::warn!("{message}");
        }
    }

    /// What was not logged yet.
    fn new_messages(&mut self, namespace: &str, labels: Option<&BTreeMap<String, String>>) -> Vec<String> {
        let is_excluded = self.excluded.iter().any(|excluded| excluded == namespace);
        let keys = labels.into_iter().flat_map(BTreeMap::keys).map(String::as_str);
        let gate = keys.clone().filter(|key| is_excluded && *key == GATE_LABEL);
        let without_effect: BTreeSet<&str> = gate.chain(unknown(keys)).take(MAX_LABELS).collect();
        if without_effect.is_empty() {
            self.logged.remove(namespace);
            return Vec::new();
        }
        if self.logged.len() >= MAX_NAMESPACES && !self.logged.contains_key(namespace) {
            return Vec::new();
        }
        let logged = self.logged.entry(namespace.into()).or_default();
        logged.retain(|key| without_effect.contains(&**key));
        let new = without_effect.into_iter().filter(|key| logged.insert((*key).into()));
        new.map(|key| message(namespace, key)).collect()
    }

    pub(super) fn forget(&mut self, namespace: &str) {
        self.logged.remove(namespace);
    }

    /// After a list: other namespaces no longer exist.
    pub(super) fn retain(&mut self, exists: impl Fn(&str) -> bool) {
        self.logged.retain(|namespace, _| exists(namespace));
    }
}

/// The labels to log: those that were meant for a label of rolegate, and then all others with the prefix.
fn unknown<'a>(keys: impl Iterator<Item = &'a str> + Clone) -> impl Iterator<Item = &'a str> {
    let unknown = keys.filter(|key| !KNOWN.contains(key));
    let misspelled = unknown.clone().filter(|key| meant(key).is_some());
    misspelled.chain(unknown.filter(|key| meant(key).is_none() && key.starts_with(PREFIX)))
}

/// The label that was probably meant. With the right prefix, only the name after it counts: all names with it have much in common.
fn meant(key: &str) -> Option<&'static str> {
    match key.strip_prefix(PREFIX) {
        Some(name) => {
            let name_of = |label: &'static str| label.strip_prefix(PREFIX).unwrap_or(label);
            let nearest = text::nearest_word(name, KNOWN.map(name_of))?;
            KNOWN.into_iter().find(|label| name_of(label) == nearest)
        }
        None => text::nearest_word(key, KNOWN),
    }
}

fn message(namespace: &str, key: &str) -> String {
    let (namespace, shown) = (text::value(namespace), text::value(key));
    if key == GATE_LABEL {
        return format!(
            "label {shown} of namespace {namespace} has no effect: the chart excludes this namespace, because rolegate must not gate \
             what it needs to start"
        );
    }
    let meant = match meant(key) {
        Some(label) => format!("did you mean {label}?"),
        None => format!("rolegate reads {GATE_LABEL} and {REQUIRE_ROLE_LABEL}"),
    };
    format!("label {shown} of namespace {namespace} has no effect; {meant}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_unknown_if_it_is_under_the_prefix_or_nearly_one_of_rolegates() {
        for (key, unknown) in [
            (GATE_LABEL, false),
            (REQUIRE_ROLE_LABEL, false),
            ("rolegate.io/gates", true),
            ("rolegate.io/Gate", true),
            ("rolegate.io/mode", true),
            ("rolegate.io/require_role", true),
            ("rolegate/gate", true),
            ("role-gate.io/gate", true),
            ("kubernetes.io/metadata.name", false),
            ("pod-security.kubernetes.io/enforce", false),
            ("gate", false),
            ("app.kubernetes.io/managed-by", false),
        ] {
            let found = super::unknown([key].into_iter()).next();
            assert_eq!(found, unknown.then_some(key), "{key}");
        }
        assert_eq!(
            message("jobs", "rolegate.io/gates"),
            "label rolegate.io/gates of namespace jobs has no effect; did you mean rolegate.io/gate?"
        );
        assert_eq!(
            message("jobs", "rolegate.io/owner-team"),
            "label rolegate.io/owner-team of namespace jobs has no effect; rolegate reads rolegate.io/gate and rolegate.io/require-role"
        );
    }

    #[test]
    fn a_typing_error_is_logged_rather_than_another_label_with_the_prefix() {
        for keys in [
            ["rolegate.io/contact", "rolegate.io/gates"],
            ["rolegate.io/gates", "rolegate.io/owner"],
            [GATE_LABEL, "rolegate.io/gates"],
        ] {
            assert_eq!(unknown(keys.into_iter()).next(), Some("rolegate.io/gates"), "{keys:?}");
        }
    }

    #[test]
    fn names_that_only_share_the_prefix_are_not_taken_for_typing_errors() {
        for (key, label) in [
            ("rolegate.io/owner", None),
            ("rolegate.io/team", None),
            ("rolegate.io/mode", None),
            ("rolegate.io/gated", Some(GATE_LABEL)),
            ("rolegate.io/Gate", Some(GATE_LABEL)),
            ("rolegate.io/require_role", Some(REQUIRE_ROLE_LABEL)),
            ("rolegate.io/requires-role", Some(REQUIRE_ROLE_LABEL)),
            ("rolegate/gate", Some(GATE_LABEL)),
            ("rolgate.io/require-role", Some(REQUIRE_ROLE_LABEL)),
        ] {
            assert_eq!(meant(key), label, "{key}");
        }
    }

    #[test]
    fn each_label_of_a_namespace_is_logged_once_until_it_is_removed() {
        let labels = |keys: &[&str]| {
            keys.iter()
                .map(|key| ((*key).to_owned(), String::new()))
                .collect::<BTreeMap<_, _>>()
        };
        let mut unknown = UnknownLabels::default();
        let mut named = |keys: &[&str]| -> Vec<String> {
            let messages = unknown.new_messages("jobs", Some(&labels(keys)));
            let key = |message: &String| message.split(' ').nth(1).unwrap().to_owned();
            messages.iter().map(key).collect()
        };
        let (first, second) = ("rolegate.io/gates", "rolegate.io/require_role");
        assert_eq!(named(&[first, second, GATE_LABEL]), [first, second]);
        assert_eq!(named(&[first, second]), [""; 0]);
        assert_eq!(named(&[second]), [""; 0]);
        assert_eq!(named(&[first, second]), [first]);
        let many: Vec<String> = (0..100).map(|number| format!("rolegate.io/x{number}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!(named(&many).len(), MAX_LABELS);
    }

    #[test]
    fn the_gate_label_of_an_excluded_namespace_is_logged() {
        let labels: BTreeMap<String, String> = [(GATE_LABEL.to_owned(), "enforce".to_owned())].into();
        let mut unknown = UnknownLabels::new(vec!["kube-system".to_owned(), "rolegate".to_owned()]);
        assert_eq!(unknown.new_messages("jobs", Some(&labels)), [""; 0]);
        for namespace in ["kube-system", "rolegate"] {
            let messages = unknown.new_messages(namespace, Some(&labels));
            assert_eq!(messages.len(), 1);
            let start = format!(
                "label rolegate.io/gate of namespace {namespace} has no effect: the chart excludes this namespace"
            );
            assert!(messages[0].starts_with(&start), "{messages:?}");
            assert_eq!(unknown.new_messages(namespace, Some(&labels)), [""; 0]);
        }
    }

    #[test]
    fn as_many_namespaces_are_remembered_as_are_logged() {
        let labels: BTreeMap<String, String> = [("rolegate.io/gates".to_owned(), "warn".to_owned())].into();
        let mut unknown = UnknownLabels::default();
        for number in 0..2 * MAX_NAMESPACES {
            unknown.observe(&format!("jobs-{number}"), Some(&labels));
        }
        assert_eq!(unknown.logged.len(), MAX_NAMESPACES);
        unknown.observe("jobs-1", None);
        unknown.forget("jobs-2");
        unknown.retain(|namespace| namespace == "jobs-3" || namespace == "jobs-1");
        assert_eq!(
            unknown.logged.keys().map(|name| &**name).collect::<Vec<_>>(),
            ["jobs-3"]
        );
    }
}
