//! The workloads and ServiceAccounts in the documents.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use serde_json::value::to_raw_value;
use serde_json::{Value, json};

use crate::commands::documents::{Document, Object};
use crate::pod::identity::AnnotationRules;
use crate::support::text;
use crate::trust::RoleArn;
use crate::workloads::{self, Account, Listed};

/// What refers to a ServiceAccount: a pod template, or a field from which a controller makes pods.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Workload {
    kind: String,
    name: String,
    pub(super) namespace: String,
    pub(super) service_account: String,
    /// Whether the ServiceAccount is named in the object. Otherwise it is `default`, or the controller creates it.
    is_named: bool,
    /// The annotations that the controller writes to the ServiceAccount.
    annotations: Option<BTreeMap<String, Option<String>>>,
    /// Where it is in the object, if the object has several: `spec.tasks[1].template`.
    path: Option<String>,
    /// Where its pod template is in the document; None for one without containers, to which nothing can be added.
    pub(super) pointer: Option<String>,
    template: Value,
}

impl Workload {
    /// `KIND NAMESPACE/NAME`, and the path of one of several.
    pub(super) fn title(&self) -> String {
        let title = title(&self.kind, &self.namespace, &self.name);
        match &self.path {
            Some(path) => format!("{title} {}", text::value(path)),
            None => title,
        }
    }

    /// The pod that is made of it, as JSON. A controller generates the names of its pods.
    pub(super) fn pod(&self) -> Result<String> {
        let mut pod = self.template.clone();
        if let Value::Object(fields) = &mut pod {
            if let Some(Value::Object(spec)) = fields.get_mut("spec") {
                // The resource can name it outside the pod template.
                spec.insert("serviceAccountName".to_owned(), json!(self.service_account));
            }
            if self.kind != "Pod" {
                let generated = json!(format!("{}-", self.name));
                match fields.get_mut("metadata") {
                    Some(Value::Object(metadata)) => _ = metadata.insert("generateName".to_owned(), generated),
                    _ => _ = fields.insert("metadata".to_owned(), json!({"generateName": generated})),
                }
            }
        }
        Ok(serde_json::to_string(&pod)?)
    }
}

fn title(kind: &str, namespace: &str, name: &str) -> String {
    format!("{} {}/{}", text::value(kind), text::value(namespace), text::value(name))
}

/// The ServiceAccounts of the documents, as a manifest, and the ones that are missing.
pub(super) struct ServiceAccounts {
    /// A List of JSON with every ServiceAccount and ConfigMap. With a role for them, also the ServiceAccounts that are not in the input.
    pub(super) manifest: String,
    /// Namespace and name of those that objects name, and that are neither in the input nor have a role. `default` exists in every
    /// namespace and rarely is in a manifest.
    pub(super) missing: Vec<(String, String)>,
}

/// The ServiceAccounts of the documents; `role` is that of the ServiceAccounts that are not in the input.
pub(super) fn service_accounts(
    documents: &[Document<'_>],
    namespace: &str,
    role: Option<&RoleArn>,
    rules: &AnnotationRules,
) -> Result<ServiceAccounts> {
    let mut items = Vec::new();
    let mut present = BTreeSet::new();
    let mut created = BTreeMap::new();
    // And whether an object names it.
    let mut referred = BTreeMap::new();
    for document in documents {
        for object in document.objects() {
            let (group, _, kind) = group_version_kind(&object);
            if group.is_empty() && matches!(kind, "ServiceAccount" | "ConfigMap") {
                if kind == "ServiceAccount" {
                    present.insert((namespace_of(&object, namespace), object.name().to_owned()));
                }
                items.push(manifest(&object, namespace));
            }
        }
        for workload in workloads(document, namespace)? {
            let account = (workload.namespace, workload.service_account);
            if let Some(annotations) = workload.annotations {
                created.insert(account, annotations);
            } else {
                *referred.entry(account).or_insert(false) |= workload.is_named;
            }
        }
    }
    for ((namespace, name), annotations) in created {
        if present.insert((namespace.clone(), name.clone())) {
            items.push(json!({
                "apiVersion": "v1",
                "kind": "ServiceAccount",
                "metadata": {"namespace": namespace, "name": name, "annotations": annotations},
            }));
        }
    }
    let absent = referred.into_iter().filter(|(account, _)| !present.contains(account));
    let missing = match role {
        Some(role) => {
            for ((namespace, name), _) in absent {
                let key = format!("{}role-arn", rules.prefix);
                items.push(json!({
                    "apiVersion": "v1",
                    "kind": "ServiceAccount",
                    "metadata": {"namespace": namespace, "name": name, "annotations": {key: role.as_str()}},
                }));
            }
            Vec::new()
        }
        None => absent
            .filter(|((_, name), is_named)| *is_named && name != "default")
            .map(|(account, _)| account)
            .collect(),
    };
    Ok(ServiceAccounts {
        manifest: json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string(),
        missing,
    })
}

/// A ServiceAccount or ConfigMap as a manifest of its own, with what its list and the flags say of it.
fn manifest(object: &Object<'_>, namespace: &str) -> Value {
    let mut manifest = object.value.clone();
    if let Value::Object(fields) = &mut manifest {
        for (field, value) in [("apiVersion", object.api_version), ("kind", object.kind)] {
            if let Some(value) = value {
                fields.insert(field.to_owned(), json!(value));
            }
        }
    }
    if let (Some(Value::Object(metadata)), None) = (manifest.get_mut("metadata"), object.namespace()) {
        metadata.insert("namespace".to_owned(), json!(namespace));
    }
    manifest
}

/// The workloads of a document, in their order. What has no namespace is left out: its pods run in namespaces that are not known.
pub(super) fn workloads(document: &Document<'_>, namespace: &str) -> Result<Vec<Workload>> {
    let mut found = Vec::new();
    for object in document.objects() {
        let (group, version, kind) = group_version_kind(&object);
        let Listed::As(resource) = workloads::lookup(group, version, kind) else {
            continue;
        };
        if resource.resource_type.cluster {
            continue;
        }
        let place = object.pointer();
        let object_json = to_raw_value(object.value)?;
        let references = workloads::every_reference(resource, &object_json);
        let is_one_of_several = references.len() > 1;
        for reference in references {
            let template: Option<Value> = reference
                .template()
                .map(|template| serde_json::from_str(template.get()))
                .transpose()?;
            let has_containers = template.as_ref().is_some_and(has_containers);
            found.push(Workload {
                kind: kind.to_owned(),
                name: object.name().to_owned(),
                namespace: namespace_of(&object, namespace),
                service_account: reference.account.name().to_owned(),
                is_named: matches!(reference.account, Account::Written(_)),
                annotations: reference.annotations(),
                path: is_one_of_several.then(|| reference.path.clone()),
                pointer: has_containers.then(|| format!("{place}{}", reference.pointer)),
                template: template.unwrap_or_else(|| json!({"spec": {}})),
            });
        }
    }
    Ok(found)
}

/// Whether a pod template has a list of containers, or something else in its place, which is an error.
fn has_containers(template: &Value) -> bool {
    let has = |list: &str| match template.get("spec").and_then(|spec| spec.get(list)) {
        None | Some(Value::Null) => false,
        Some(Value::Array(containers)) => !containers.is_empty(),
        Some(_) => true,
    };
    has("containers") || has("initContainers")
}

/// Workloads in versions whose fields are not known: title, `apiVersion`, and the versions that are known.
pub(super) fn of_other_versions(document: &Document<'_>, namespace: &str) -> Vec<(String, String, String)> {
    let mut found = Vec::new();
    for object in document.objects() {
        let (group, version, kind) = group_version_kind(&object);
        if let Listed::InOtherVersions = workloads::lookup(group, version, kind) {
            let known = workloads::versions(group, kind);
            let title = title(kind, &namespace_of(&object, namespace), object.name());
            found.push((title, format!("{group}/{version}"), known.join(", ")));
        }
    }
    found
}

fn group_version_kind<'a>(object: &Object<'a>) -> (&'a str, &'a str, &'a str) {
    let (group, version) = object.group_version();
    (group, version, object.kind.unwrap_or_default())
}

fn namespace_of(object: &Object<'_>, default: &str) -> String {
    object.namespace().unwrap_or(default).to_owned()
}
