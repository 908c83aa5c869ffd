//! What the documents hold: pod templates and ServiceAccounts.

use std::collections::BTreeSet;

use anyhow::Result;
use serde_json::{Value, json};

use crate::commands::documents::Document;
use crate::pod::identity::AnnotationRules;
use crate::support::text;
use crate::trust::RoleArn;

/// The kinds whose pod templates are injected: group, kind, and the pointer to the template.
const TEMPLATES: [(&str, &str, &str); 9] = [
    ("", "Pod", ""),
    ("", "ReplicationController", "/spec/template"),
    ("", "PodTemplate", "/template"),
    ("apps", "Deployment", "/spec/template"),
    ("apps", "ReplicaSet", "/spec/template"),
    ("apps", "StatefulSet", "/spec/template"),
    ("apps", "DaemonSet", "/spec/template"),
    ("batch", "Job", "/spec/template"),
    ("batch", "CronJob", "/spec/jobTemplate/spec/template"),
];

/// A pod template of a document.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Template {
    kind: String,
    name: String,
    pub(super) namespace: String,
    pub(super) service_account: String,
    /// Where it is in the document.
    pub(super) pointer: String,
    template: Value,
}

impl Template {
    /// `KIND NAMESPACE/NAME`.
    pub(super) fn title(&self) -> String {
        format!(
            "{} {}/{}",
            text::value(&self.kind),
            text::value(&self.namespace),
            text::value(&self.name)
        )
    }

    /// The pod that is made of it, as JSON. A controller generates the names of its pods.
    pub(super) fn pod(&self) -> Result<String> {
        let mut pod = self.template.clone();
        if self.kind != "Pod" {
            let generated = json!(format!("{}-", self.name));
            match pod.get_mut("metadata") {
                Some(Value::Object(metadata)) => _ = metadata.insert("generateName".to_owned(), generated),
                _ => {
                    if let Value::Object(fields) = &mut pod {
                        fields.insert("metadata".to_owned(), json!({"generateName": generated}));
                    }
                }
            }
        }
        Ok(serde_json::to_string(&pod)?)
    }
}

/// The ServiceAccounts of the documents, as a manifest, and the ones that are missing.
pub(super) struct ServiceAccounts {
    /// A List of JSON with every ServiceAccount and ConfigMap. With a role for them, also the ServiceAccounts that are not in the input.
    pub(super) manifest: String,
    /// Namespace and name of those that pod templates name, and that are neither in the input nor have a role. `default` exists in every
    /// namespace and rarely is in a manifest.
    pub(super) missing: Vec<(String, String)>,
}

/// The ServiceAccounts of the documents; `role` is that of the ServiceAccounts that are not in the input.
pub(super) fn service_accounts(
    documents: &[Document<'_>],
    namespace: &str,
    role: Option<&RoleArn>,
    rules: &AnnotationRules,
) -> ServiceAccounts {
    let mut items = Vec::new();
    let mut present = BTreeSet::new();
    let mut named = BTreeSet::new();
    for document in documents {
        for (_, object) in objects(document) {
            let (group, kind) = group_and_kind(object);
            if group.is_empty() && matches!(kind, "ServiceAccount" | "ConfigMap") {
                let mut item = object.clone();
                if let Some(Value::Object(metadata)) = item.get_mut("metadata") {
                    metadata.entry("namespace").or_insert_with(|| json!(namespace));
                }
                if kind == "ServiceAccount" {
                    present.insert((namespace_of(object, namespace), name_of(object)));
                }
                items.push(item);
            }
        }
        for template in templates(document, namespace) {
            named.insert((template.namespace, template.service_account));
        }
    }
    let absent = named.difference(&present).cloned();
    let missing = match role {
        Some(role) => {
            for (namespace, name) in absent {
                let key = format!("{}role-arn", rules.prefix);
                items.push(json!({
                    "apiVersion": "v1",
                    "kind": "ServiceAccount",
                    "metadata": {"namespace": namespace, "name": name, "annotations": {key: role.as_str()}},
                }));
            }
            Vec::new()
        }
        None => absent.filter(|(_, name)| name != "default").collect(),
    };
    ServiceAccounts {
        manifest: json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string(),
        missing,
    }
}

/// The pod templates of a document, in their order.
pub(super) fn templates(document: &Document<'_>, namespace: &str) -> Vec<Template> {
    let mut found = Vec::new();
    for (place, object) in objects(document) {
        let (group, kind) = group_and_kind(object);
        for (_, _, below) in TEMPLATES.iter().filter(|row| (row.0, row.1) == (group, kind)) {
            let Some(template) = object
                .pointer(below)
                .filter(|template| template.get("spec").is_some_and(Value::is_object))
            else {
                continue;
            };
            let account = ["/spec/serviceAccountName", "/spec/serviceAccount"]
                .iter()
                .find_map(|field| text_at(template, field));
            found.push(Template {
                kind: kind.to_owned(),
                name: name_of(object),
                namespace: namespace_of(object, namespace),
                service_account: account.unwrap_or("default").to_owned(),
                pointer: format!("{place}{below}"),
                template: template.clone(),
            });
        }
    }
    found
}

/// The objects of a document, each with the pointer to it: itself, or the items of a List.
fn objects<'a>(document: &'a Document<'_>) -> Vec<(String, &'a Value)> {
    let Some(object) = document.object() else {
        return Vec::new();
    };
    let is_list = group_and_kind(object).1.ends_with("List");
    match object.get("items").and_then(Value::as_array) {
        Some(items) if is_list => items
            .iter()
            .enumerate()
            .map(|(index, item)| (format!("/items/{index}"), item))
            .collect(),
        _ => vec![(String::new(), object)],
    }
}

fn group_and_kind(object: &Value) -> (&str, &str) {
    let version = object.get("apiVersion").and_then(Value::as_str).unwrap_or("v1");
    let group = version.split_once('/').map_or("", |(group, _)| group);
    (group, object.get("kind").and_then(Value::as_str).unwrap_or_default())
}

fn name_of(object: &Value) -> String {
    let name = text_at(object, "/metadata/name").or_else(|| text_at(object, "/metadata/generateName"));
    name.unwrap_or_default().to_owned()
}

fn namespace_of(object: &Value, default: &str) -> String {
    text_at(object, "/metadata/namespace").unwrap_or(default).to_owned()
}

/// A string that is not empty.
fn text_at<'a>(object: &'a Value, pointer: &str) -> Option<&'a str> {
    object.pointer(pointer)?.as_str().filter(|text| !text.is_empty())
}
