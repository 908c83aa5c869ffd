//! Labels of namespaces that look like those of rolegate and have no effect: a typing error in `rolegate.io/gate` leaves the namespace
//! without a webhook, and the first sign of it is a pod that fails.

use std::collections::{BTreeMap, HashMap};

use super::{GATE_LABEL, REQUIRE_ROLE_LABEL};
use crate::support::text;

/// The namespaces that are remembered, so that each is logged once. Further ones are not logged.
const MAX_NAMESPACES: usize = 100;

const KNOWN: [&str; 2] = [GATE_LABEL, REQUIRE_ROLE_LABEL];

const PREFIX: &str = "rolegate.io/";

/// Logs one such label of a namespace once, until it is another.
#[derive(Debug, Default)]
pub(super) struct UnknownLabels {
    logged: HashMap<Box<str>, Box<str>>,
}

impl UnknownLabels {
    /// The labels of a namespace, as they are now.
    pub(super) fn observe(&mut self, namespace: &str, labels: Option<&BTreeMap<String, String>>) {
        let keys = labels.into_iter().flat_map(BTreeMap::keys).map(String::as_str);
        let Some(key) = unknown(keys) else {
            self.logged.remove(namespace);
            return;
        };
        let is_logged = self.logged.get(namespace).is_some_and(|logged| **logged == *key);
        if is_logged || (self.logged.len() >= MAX_NAMESPACES && !self.logged.contains_key(namespace)) {
            return;
        }
        self.logged.insert(namespace.into(), key.into());
        tracing::warn!("{}", message(namespace, key));
    }

    pub(super) fn forget(&mut self, namespace: &str) {
        self.logged.remove(namespace);
    }

    /// After a list: other namespaces no longer exist.
    pub(super) fn retain(&mut self, exists: impl Fn(&str) -> bool) {
        self.logged.retain(|namespace, _| exists(namespace));
    }
}

/// The label to log: one that was meant for a label of rolegate, or else any other with the prefix.
fn unknown<'a>(keys: impl Iterator<Item = &'a str> + Clone) -> Option<&'a str> {
    let mut unknown = keys.filter(|key| !KNOWN.contains(key));
    let misspelled = unknown.clone().find(|key| meant(key).is_some());
    misspelled.or_else(|| unknown.find(|key| key.starts_with(PREFIX)))
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
            let found = super::unknown([key].into_iter());
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
            assert_eq!(unknown(keys.into_iter()), Some("rolegate.io/gates"), "{keys:?}");
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
