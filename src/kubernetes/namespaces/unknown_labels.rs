//! Labels of namespaces that look like those of rolegate and have no effect: a typing error in `rolegate.io/gate` leaves the namespace
//! without a webhook, and the first sign of it is a pod that fails.

use std::collections::{BTreeMap, HashMap};

use super::{GATE_LABEL, REQUIRE_ROLE_LABEL};
use crate::support::text;

/// The namespaces that are remembered, so that each is logged once. Further ones are not logged.
const MAX_NAMESPACES: usize = 100;

const KNOWN: [&str; 2] = [GATE_LABEL, REQUIRE_ROLE_LABEL];

const PREFIX: &str = "rolegate.io/";

/// Logs the first such label of a namespace once, until it is another.
#[derive(Debug, Default)]
pub(super) struct UnknownLabels {
    logged: HashMap<Box<str>, Box<str>>,
}

impl UnknownLabels {
    /// The labels of a namespace, as they are now.
    pub(super) fn observe(&mut self, namespace: &str, labels: Option<&BTreeMap<String, String>>) {
        let mut keys = labels.into_iter().flat_map(BTreeMap::keys);
        let Some(key) = keys.find(|key| is_unknown(key)) else {
            self.logged.remove(namespace);
            return;
        };
        let is_logged = self.logged.get(namespace).is_some_and(|logged| **logged == **key);
        if is_logged || (self.logged.len() >= MAX_NAMESPACES && !self.logged.contains_key(namespace)) {
            return;
        }
        self.logged.insert(namespace.into(), key.as_str().into());
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

fn is_unknown(key: &str) -> bool {
    !KNOWN.contains(&key) && (key.starts_with(PREFIX) || text::nearest_word(key, KNOWN).is_some())
}

fn message(namespace: &str, key: &str) -> String {
    let (namespace, shown) = (text::value(namespace), text::value(key));
    let meant = match text::nearest_word(key, KNOWN) {
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
            assert_eq!(is_unknown(key), unknown, "{key}");
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
