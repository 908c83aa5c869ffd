//! The environment of a container, as the kubelet creates it from the pod: the entries of `env` in their order, with `$(NAME)` expanded.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::HashMap;

use super::view::{Container, EnvVar};

/// What is known of a variable at admission.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Known<'v> {
    /// No entry of `env` sets it. `envFrom` and the image may.
    Absent,
    /// This text; it may be empty.
    Text(Cow<'v, str>),
    /// `valueFrom`, or computed from something that is not in the pod.
    Unknown,
}

impl Known<'_> {
    /// The text, when it is known and not empty.
    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) if !text.is_empty() => Some(text),
            _ => None,
        }
    }

    /// Neither absent nor known to be empty.
    pub(super) fn may_be_set(&self) -> bool {
        match self {
            Self::Absent => false,
            Self::Text(text) => !text.is_empty(),
            Self::Unknown => true,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        matches!(self, Self::Text(text) if text.is_empty())
    }
}

/// The longest value that is computed, in bytes. A role ARN or a path that is longer is not one.
const LONGEST_COMPUTED: usize = 4096;

/// How many references are followed one behind the other.
const DEEPEST: u32 = 64;

/// The environment of a container.
pub(super) enum Environment<'v> {
    /// Nothing refers to other variables: values are as written.
    AsWritten(&'v [EnvVar<'v>]),
    /// Only what is asked for is computed, each entry once: a pod may have 100,000 entries that refer to a large one.
    Computed {
        variables: &'v [EnvVar<'v>],
        /// The places of each name, in their order.
        places: HashMap<&'v str, Vec<usize>>,
        has_env_from: bool,
        computed: RefCell<HashMap<usize, Known<'v>>>,
    },
}

impl<'v> Environment<'v> {
    pub(super) fn of(container: &'v Container<'_>) -> Self {
        let variables = container.variables();
        if !variables.iter().any(EnvVar::is_computed) {
            return Self::AsWritten(variables);
        }
        let mut places: HashMap<&str, Vec<usize>> = HashMap::with_capacity(variables.len());
        for (place, variable) in variables.iter().enumerate() {
            places.entry(variable.name()).or_default().push(place);
        }
        Self::Computed {
            variables,
            places,
            has_env_from: container.has_env_from(),
            computed: RefCell::default(),
        }
    }

    /// The last entry of a name counts.
    pub(super) fn get(&self, name: &str) -> Known<'v> {
        match self {
            Self::AsWritten(variables) => {
                let last = variables.iter().rfind(|variable| variable.name() == name);
                last.map_or(Known::Absent, as_written)
            }
            Self::Computed { places, .. } => {
                let last = places.get(name).and_then(|places| places.last());
                last.map_or(Known::Absent, |place| self.value(*place, 0))
            }
        }
    }

    /// The value of the entry at a place, which `depth` references led to.
    fn value(&self, place: usize, depth: u32) -> Known<'v> {
        let Self::Computed {
            variables,
            places,
            has_env_from,
            computed,
        } = self
        else {
            return Known::Absent;
        };
        let Some(variable) = variables.get(place) else {
            return Known::Absent;
        };
        if !variable.is_computed() {
            return as_written(variable);
        }
        if let Some(known) = computed.borrow().get(&place) {
            return known.clone();
        }
        if depth == DEEPEST {
            return Known::Unknown;
        }
        let value = expand(variable.value(), |name| {
            // Only earlier entries count.
            let earlier = places.get(name).and_then(|places| {
                let behind = places.partition_point(|earlier| *earlier < place);
                places.get(behind.checked_sub(1)?)
            });
            match earlier {
                Some(earlier) => self.value(*earlier, depth + 1),
                None if *has_env_from || may_be_service_variable(name) => Known::Unknown,
                None => Known::Absent,
            }
        });
        computed.borrow_mut().insert(place, value.clone());
        value
    }
}

/// An optional `valueFrom` whose object is absent leaves an earlier entry of the name in place: unknown like any other.
fn as_written<'v>(variable: &'v EnvVar<'_>) -> Known<'v> {
    if variable.value().is_empty() && variable.has_value_from() {
        Known::Unknown
    } else {
        Known::Text(Cow::Borrowed(variable.value()))
    }
}

/// Expands as the kubelet does: `$(NAME)` is replaced once, `$$` is `$`, and a name that is absent stays as it is written.
fn expand<'v>(value: &str, lookup: impl Fn(&str) -> Known<'v>) -> Known<'v> {
    let mut expanded = String::new();
    let mut rest = value;
    while let Some((before, behind)) = rest.split_once('$') {
        expanded.push_str(before);
        let reference = behind.strip_prefix('(').and_then(|name| name.split_once(')'));
        if let Some((name, after)) = reference {
            match lookup(name) {
                Known::Unknown => return Known::Unknown,
                Known::Text(text) => expanded.push_str(&text),
                Known::Absent => expanded.extend(["$(", name, ")"]),
            }
            rest = after;
        } else {
            expanded.push('$');
            rest = behind.strip_prefix('$').unwrap_or(behind);
        }
        if expanded.len() > LONGEST_COMPUTED {
            return Known::Unknown;
        }
    }
    expanded.push_str(rest);
    if expanded.len() > LONGEST_COMPUTED {
        return Known::Unknown;
    }
    Known::Text(Cow::Owned(expanded))
}

/// Whether the kubelet may set a variable of this name for a Service: `DB_SERVICE_HOST`, `DB_PORT_5432_TCP_ADDR` ….
fn may_be_service_variable(name: &str) -> bool {
    name.contains("_SERVICE_HOST") || name.contains("_SERVICE_PORT") || name.contains("_PORT")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// What is known of `AWS_X`, the last of the variables that are set.
    fn known(env: &Value, has_env_from: bool) -> Known<'static> {
        let mut container = json!({"name": "app", "env": env});
        if has_env_from {
            container["envFrom"] = json!([{"configMapRef": {"name": "settings"}}]);
        }
        let text = container.to_string();
        let container: Container<'_> = serde_json::from_str(&text).unwrap();
        match Environment::of(&container).get("AWS_X") {
            Known::Absent => Known::Absent,
            Known::Unknown => Known::Unknown,
            Known::Text(text) => Known::Text(text.into_owned().into()),
        }
    }

    fn text(text: &str) -> Known<'static> {
        Known::Text(text.to_owned().into())
    }

    fn computed(value: &str) -> Known<'static> {
        known(
            &json!([
                {"name": "A", "value": "a"}, {"name": "B", "value": "$(A)b"}, {"name": "EMPTY"},
                {"name": "DOLLAR", "value": "$$(A)"}, {"name": "FROM", "valueFrom": {"fieldRef": {}}},
                {"name": "AWS_X", "value": value}, {"name": "LATER", "value": "l"},
            ]),
            false,
        )
    }

    #[test]
    fn references_are_expanded_as_the_kubelet_does() {
        for (value, expanded) in [
            ("$(A)", "a"),
            ("x$(A)y$(B)", "xayab"),
            ("$$(A)", "$(A)"),
            ("$$$(A)", "$a"),
            // One pass: what an expansion brings in is not expanded.
            ("$(DOLLAR)", "$(A)"),
            ("$(LATER)", "$(LATER)"),
            ("$(NOT_THERE)-$(A)", "$(NOT_THERE)-a"),
            ("$(EMPTY)", ""),
            ("$(A", "$(A"),
            ("$A$", "$A$"),
            ("$()", "$()"),
            ("$((A))", "$((A))"),
        ] {
            assert_eq!(computed(value), text(expanded), "{value}");
        }
        for value in ["$(FROM)", "a$(KUBERNETES_SERVICE_HOST)", "$(DB_PORT_5432_TCP_ADDR)"] {
            assert_eq!(computed(value), Known::Unknown, "{value}");
        }
    }

    #[test]
    fn the_last_entry_counts_and_env_from_may_set_what_is_not_listed() {
        let entry = |name: &str, value: &str| json!({"name": name, "value": value});
        let from = json!({"name": "AWS_X", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k", "optional": true}}});
        for (env, has_env_from, expected) in [
            (json!([]), true, Known::Absent),
            (json!([entry("AWS_X", "1"), entry("AWS_X", "2")]), false, text("2")),
            (json!([entry("AWS_X", "1"), entry("AWS_X", "")]), false, text("")),
            (json!([entry("AWS_X", "1"), from]), false, Known::Unknown),
            (json!([from, entry("AWS_X", "1")]), false, text("1")),
            (json!([from, entry("AWS_X", "$$1")]), false, text("$1")),
            (json!([entry("AWS_X", "$(C)")]), false, text("$(C)")),
            (json!([entry("AWS_X", "$(C)")]), true, Known::Unknown),
            (json!([entry("C", "c"), entry("AWS_X", "$(C)")]), true, text("c")),
            (json!([{"name": "AWS_X"}, null]), false, text("")),
        ] {
            assert_eq!(known(&env, has_env_from), expected, "{env}");
        }
    }

    #[test]
    fn values_that_double_are_not_followed_without_end() {
        let mut env = vec![json!({"name": "A0", "value": "0123456789"})];
        for n in 1..60 {
            env.push(json!({"name": format!("A{n}"), "value": format!("$(A{0})$(A{0})", n - 1)}));
        }
        env.push(json!({"name": "AWS_X", "value": "$(A8)"}));
        assert_eq!(known(&json!(env), false), text(&"0123456789".repeat(256)));
        env.push(json!({"name": "AWS_X", "value": "$(A59)"}));
        assert_eq!(known(&json!(env), false), Known::Unknown);
        // A chain that only grows longer, not larger.
        let mut env = vec![json!({"name": "A0", "value": "a"})];
        for n in 1..100_000 {
            env.push(json!({"name": format!("A{n}"), "value": format!("$(A{})", n - 1)}));
        }
        env.push(json!({"name": "AWS_X", "value": "$(A60)"}));
        assert_eq!(known(&json!(env), false), text("a"));
        env.push(json!({"name": "AWS_X", "value": "$(A99999)"}));
        assert_eq!(known(&json!(env), false), Known::Unknown);
    }

    #[test]
    fn only_what_is_asked_for_is_computed() {
        let mut env = vec![json!({"name": "A", "value": "a".repeat(4000)})];
        for n in 0..1_000 {
            env.push(json!({"name": format!("B{n}"), "value": "$(A)"}));
        }
        env.push(json!({"name": "AWS_X", "value": "$(B7)"}));
        let container = json!({"name": "app", "env": env}).to_string();
        let container: Container<'_> = serde_json::from_str(&container).unwrap();
        let environment = Environment::of(&container);
        assert!(environment.get("AWS_X").text().is_some());
        let Environment::Computed { computed, .. } = &environment else {
            panic!("something is computed")
        };
        assert_eq!(computed.borrow().len(), 2);
    }
}
