//! One object of a controller, and whether it is in sync with AWS.

use std::borrow::Cow;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use kube::core::DynamicResourceScope;
use serde::Deserialize;
use serde_json::Value;

use crate::support::text;

/// A kind of objects.
#[derive(Debug)]
pub(crate) struct Definition {
    /// In log lines.
    pub(crate) what: &'static str,
    pub(crate) group: &'static str,
    pub(crate) version: &'static str,
    pub(crate) kind: &'static str,
    pub(crate) plural: &'static str,
    /// The conditions that show that the object is in sync with AWS: the first of them that the object has decides.
    pub(crate) settled: &'static [&'static str],
    /// A condition that shows that it never will be.
    pub(crate) failed: Option<&'static str>,
}

/// An object as received. Nothing is assumed about its fields: one object of another shape must not stop the list that it is in.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct ManagedObject {
    metadata: ObjectMeta,
    #[serde(default)]
    spec: Value,
    #[serde(default)]
    status: Value,
}

/// What a condition means for the current generation of the object.
struct Condition<'a> {
    is_current: bool,
    status: &'a str,
    message: &'a str,
    since: Option<&'a str>,
}

impl ManagedObject {
    /// `NAMESPACE/NAME`, or the name of an object of the cluster.
    pub(crate) fn name(&self) -> String {
        let name = self.metadata.name.as_deref().unwrap_or_default();
        match &self.metadata.namespace {
            Some(namespace) => format!("{namespace}/{name}"),
            None => name.to_owned(),
        }
    }

    /// Its name within its namespace.
    pub(crate) fn short_name(&self) -> Option<&str> {
        self.metadata.name.as_deref()
    }

    /// Its namespace; none for an object of the cluster.
    pub(crate) fn namespace(&self) -> Option<&str> {
        self.metadata.namespace.as_deref()
    }

    /// Since when it exists.
    pub(crate) fn created(&self) -> Option<jiff::Timestamp> {
        self.metadata.creation_timestamp.as_ref().map(|time| time.0)
    }

    /// What is about to be deleted might be gone from AWS already.
    pub(crate) fn is_being_deleted(&self) -> bool {
        self.metadata.deletion_timestamp.is_some()
    }

    /// Whether its controller reports that it is in sync with AWS.
    ///
    /// # Errors
    /// Why not, as the end of a sentence about the object.
    pub(crate) fn settled(&self, definition: &Definition) -> Result<(), String> {
        if self.is_being_deleted() {
            return Err("is being deleted".to_owned());
        }
        if let Some(kind) = definition.failed
            && let Some(failed) = self.condition(kind)
            && failed.is_current
            && failed.status == "True"
        {
            return Err(format!("has the condition {kind}{}", failed.explanation()));
        }
        let Some((kind, condition)) = self.settling(definition) else {
            let kinds = definition.settled.join(" or ");
            return Err(format!("has no condition {kinds} yet"));
        };
        match (condition.is_current, condition.status) {
            (true, "True") => Ok(()),
            (false, _) => Err(format!("was edited after its controller wrote the condition {kind}")),
            (true, status) => Err(format!(
                "has the condition {kind}={}{}",
                text::value(status),
                condition.explanation()
            )),
        }
    }

    /// Since when it is settled.
    pub(crate) fn settled_since(&self, definition: &Definition) -> Option<jiff::Timestamp> {
        let (_, condition) = self.settling(definition)?;
        condition.since?.parse().ok()
    }

    /// The condition that decides.
    fn settling(&self, definition: &Definition) -> Option<(&'static str, Condition<'_>)> {
        let mut conditions = definition.settled.iter();
        conditions.find_map(|kind| Some((*kind, self.condition(kind)?)))
    }

    /// A condition for an earlier generation of the object does not apply to the current one.
    fn condition(&self, kind: &str) -> Option<Condition<'_>> {
        let conditions = self.status.get("conditions")?.as_array()?;
        let condition = conditions
            .iter()
            .find(|condition| condition.get("type").and_then(Value::as_str) == Some(kind))?;
        let observed = condition.get("observedGeneration").and_then(Value::as_i64);
        let field = |name: &str| condition.get(name).and_then(Value::as_str);
        Some(Condition {
            is_current: match (observed, self.metadata.generation) {
                (Some(observed), Some(generation)) => observed >= generation,
                _ => true,
            },
            status: field("status").unwrap_or_default(),
            message: field("message").unwrap_or_default(),
            since: field("lastTransitionTime"),
        })
    }

    /// The text at a pointer that begins with `/spec/` or `/status/`; none where it is absent, empty or not a text.
    pub(crate) fn text(&self, pointer: &str) -> Option<&str> {
        self.at(pointer)?.as_str().filter(|text| !text.is_empty())
    }

    /// The value at a pointer that begins with `/spec/` or `/status/`.
    pub(crate) fn at(&self, pointer: &str) -> Option<&Value> {
        let (_, path) = pointer.split_once('/')?;
        let (field, rest) = path.split_at_checked(path.find('/')?)?;
        match field {
            "spec" => self.spec.pointer(rest),
            "status" => self.status.pointer(rest),
            _ => None,
        }
    }
}

impl Condition<'_> {
    fn explanation(&self) -> String {
        if self.message.is_empty() {
            String::new()
        } else {
            format!(": {}", text::value(self.message))
        }
    }
}

impl Resource for ManagedObject {
    type DynamicType = &'static Definition;
    type Scope = DynamicResourceScope;

    fn kind(definition: &&'static Definition) -> Cow<'static, str> {
        definition.kind.into()
    }

    fn group(definition: &&'static Definition) -> Cow<'static, str> {
        definition.group.into()
    }

    fn version(definition: &&'static Definition) -> Cow<'static, str> {
        definition.version.into()
    }

    fn plural(definition: &&'static Definition) -> Cow<'static, str> {
        definition.plural.into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}
