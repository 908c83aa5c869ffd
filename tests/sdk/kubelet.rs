//! What the kubelet gives a container: its variables, and the folders of its volumes. Independent of rolegate's code.
//!
//! The order and expansion of variables is that of `makeEnvironment` in `pkg/kubelet/kubelet_pods.go` and of
//! `third_party/forked/golang/expansion` in Kubernetes.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use libtest_mimic::Trial;
use serde_json::{Value, json};

use crate::admission::NAMESPACE;
use crate::base64;
use crate::rows::Row;

/// The audience of a token that does not name one: the API server's own.
const API_AUDIENCE: &str = "https://kubernetes.default.svc";

/// The variables of the Service `kubernetes`, which every container has.
const SERVICES: [(&str, &str); 5] = [
    ("KUBERNETES_SERVICE_HOST", "10.96.0.1"),
    ("KUBERNETES_SERVICE_PORT", "443"),
    ("KUBERNETES_SERVICE_PORT_HTTPS", "443"),
    ("KUBERNETES_PORT", "tcp://10.96.0.1:443"),
    ("KUBERNETES_PORT_443_TCP_PORT", "443"),
];

/// A folder or file that is mounted into a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mount {
    pub(crate) source: PathBuf,
    pub(crate) path: String,
    pub(crate) access: Access,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    ReadOnly,
    ReadWrite,
}

/// The variables of a container, without those of its image.
pub(crate) fn environment(row: &Row, pod: &Value, container: &Value) -> BTreeMap<String, String> {
    let services: BTreeMap<String, String> = SERVICES.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    let mut variables = BTreeMap::new();
    for source in list(&container["envFrom"]) {
        let prefix = source["prefix"].as_str().unwrap_or_default();
        let (reference, objects) = if source["secretRef"].is_object() {
            (&source["secretRef"], &row.secrets)
        } else {
            (&source["configMapRef"], &row.config_maps)
        };
        for (key, value) in object(reference, objects).into_iter().flatten() {
            variables.insert(format!("{prefix}{key}"), value.clone());
        }
    }
    for variable in list(&container["env"]) {
        let name = variable["name"].as_str().expect("a name");
        let text = variable["value"].as_str().unwrap_or_default();
        let value = if text.is_empty() && variable["valueFrom"].is_object() {
            match value_from(&variable["valueFrom"], row, pod) {
                Some(value) => value,
                None => continue,
            }
        } else {
            expand(text, |name| variables.get(name).or_else(|| services.get(name)).cloned())
        };
        variables.insert(name.to_owned(), value);
    }
    for (name, value) in services {
        variables.entry(name).or_insert(value);
    }
    variables
}

/// The mounts of a container, with the folders of the pod's volumes below `folder`, in the order of the runtime: containerd sorts them by
/// the number of parts of their paths.
pub(crate) fn mounts(row: &Row, pod: &Value, container: &Value, folder: &Path) -> Vec<Mount> {
    let mut mounts: Vec<Mount> = list(&container["volumeMounts"])
        .map(|mount| {
            let name = mount["name"].as_str().expect("a name");
            let volume = list(&pod["spec"]["volumes"])
                .find(|volume| volume["name"] == name)
                .unwrap_or_else(|| panic!("no volume {name}"));
            let (source, access) = volume_folder(row, pod, volume, &folder.join(name));
            let source = match mount["subPath"].as_str() {
                Some(below) => {
                    let source = source.join(below);
                    if access == Access::ReadWrite {
                        fs::create_dir_all(&source).unwrap();
                    }
                    source
                }
                None => source,
            };
            let access = if mount["readOnly"] == true {
                Access::ReadOnly
            } else {
                access
            };
            Mount {
                source,
                path: mount["mountPath"].as_str().expect("a path").to_owned(),
                access,
            }
        })
        .collect();
    mounts.sort_by_key(|mount| clean(&mount.path).matches('/').count());
    mounts
}

/// Go's `filepath.Clean` of an absolute path.
fn clean(path: &str) -> String {
    let mut parts = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

/// The folder of a volume, written once per pod.
fn volume_folder(row: &Row, pod: &Value, volume: &Value, folder: &Path) -> (PathBuf, Access) {
    let mut files = Vec::new();
    if volume["emptyDir"].is_object() {
        fs::create_dir_all(folder).unwrap();
        return (folder.to_owned(), Access::ReadWrite);
    }
    if volume["secret"].is_object() {
        files.extend(keys(&volume["secret"], "secretName", &row.secrets));
    } else if volume["configMap"].is_object() {
        files.extend(keys(&volume["configMap"], "name", &row.config_maps));
    } else if volume["downwardAPI"].is_object() {
        files.extend(downward(&volume["downwardAPI"], pod));
    } else {
        assert!(
            volume["projected"].is_object(),
            "not a volume that a row can have: {volume}"
        );
        for source in list(&volume["projected"]["sources"]) {
            files.extend(projected(source, row, pod));
        }
    }
    fs::create_dir_all(folder).unwrap();
    for (path, content) in files {
        let path = folder.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    (folder.to_owned(), Access::ReadOnly)
}

fn projected(source: &Value, row: &Row, pod: &Value) -> Vec<(String, String)> {
    let token = &source["serviceAccountToken"];
    if token.is_object() {
        let audience = token["audience"].as_str().filter(|audience| !audience.is_empty());
        let path = token["path"].as_str().expect("a path").to_owned();
        return vec![(path, web_token(audience.unwrap_or(API_AUDIENCE), &row.service_account))];
    }
    if source["secret"].is_object() {
        return keys(&source["secret"], "name", &row.secrets);
    }
    if source["downwardAPI"].is_object() {
        return downward(&source["downwardAPI"], pod);
    }
    if source["configMap"]["name"] == "kube-root-ca.crt" {
        return vec![("ca.crt".to_owned(), String::new())];
    }
    keys(&source["configMap"], "name", &row.config_maps)
}

/// The files of a Secret or ConfigMap.
fn keys(source: &Value, name: &str, objects: &BTreeMap<String, BTreeMap<String, String>>) -> Vec<(String, String)> {
    let Some(object) = object_named(source[name].as_str(), source, objects) else {
        return Vec::new();
    };
    let files = object.iter().map(|(key, value)| (key.clone(), value.clone()));
    match source["items"].as_array() {
        None => files.collect(),
        Some(items) => items
            .iter()
            .map(|item| {
                let text = |field: &str| item[field].as_str().expect("text").to_owned();
                (text("path"), object[&text("key")].clone())
            })
            .collect(),
    }
}

fn downward(source: &Value, pod: &Value) -> Vec<(String, String)> {
    list(&source["items"])
        .map(|item| {
            (
                item["path"].as_str().expect("a path").to_owned(),
                field(&item["fieldRef"], pod),
            )
        })
        .collect()
}

/// A token of the ServiceAccount for an audience, without a signature.
fn web_token(audience: &str, service_account: &str) -> String {
    let header = json!({"alg": "RS256", "typ": "JWT"});
    let claims = json!({"aud": [audience], "sub": format!("system:serviceaccount:{NAMESPACE}:{service_account}")});
    let encoded = [header, claims].map(|part| base64::encode(part.to_string().as_bytes()));
    format!("{}.{}.c2lnbmF0dXJl", encoded[0], encoded[1])
}

/// None for an optional key that does not exist: the kubelet then skips the variable.
fn value_from(source: &Value, row: &Row, pod: &Value) -> Option<String> {
    if source["fieldRef"].is_object() {
        return Some(field(&source["fieldRef"], pod));
    }
    let (reference, objects) = if source["secretKeyRef"].is_object() {
        (&source["secretKeyRef"], &row.secrets)
    } else {
        (&source["configMapKeyRef"], &row.config_maps)
    };
    let key = reference["key"]
        .as_str()
        .unwrap_or_else(|| panic!("not a source that a row can have: {source}"));
    let value = object(reference, objects).and_then(|object| object.get(key));
    assert!(
        value.is_some() || reference["optional"] == true,
        "the container does not start: {source}"
    );
    value.cloned()
}

fn field(reference: &Value, pod: &Value) -> String {
    let path = reference["fieldPath"].as_str().expect("a path");
    let value = match path {
        "metadata.name" => "report-x7k2p",
        "metadata.namespace" => NAMESPACE,
        "spec.serviceAccountName" => pod["spec"]["serviceAccountName"].as_str().expect("a name"),
        "status.podIP" => "10.0.0.9",
        "status.hostIP" => "10.0.0.1",
        "spec.nodeName" => "node-1",
        other => other
            .strip_prefix("metadata.annotations['")
            .and_then(|rest| rest.strip_suffix("']"))
            .map(|key| pod["metadata"]["annotations"][key].as_str().unwrap_or_default())
            .unwrap_or_else(|| panic!("not a field that a row can have: {other}")),
    };
    value.to_owned()
}

fn object<'o>(
    reference: &Value,
    objects: &'o BTreeMap<String, BTreeMap<String, String>>,
) -> Option<&'o BTreeMap<String, String>> {
    object_named(reference["name"].as_str(), reference, objects)
}

fn object_named<'o>(
    name: Option<&str>,
    reference: &Value,
    objects: &'o BTreeMap<String, BTreeMap<String, String>>,
) -> Option<&'o BTreeMap<String, String>> {
    let object = objects.get(name.expect("a name"));
    assert!(
        object.is_some() || reference["optional"] == true,
        "the container does not start: {reference}"
    );
    object
}

/// `$(NAME)` is the value of an earlier variable, or stays; `$$` is a dollar sign.
fn expand(text: &str, value_of: impl Fn(&str) -> Option<String>) -> String {
    let mut expanded = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        expanded.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        if let Some(after) = after.strip_prefix('$') {
            expanded.push('$');
            rest = after;
        } else if let Some((name, after)) = after.strip_prefix('(').and_then(|inner| inner.split_once(')')) {
            expanded.push_str(&value_of(name).unwrap_or_else(|| format!("$({name})")));
            rest = after;
        } else {
            expanded.push('$');
            rest = after;
        }
    }
    expanded.push_str(rest);
    expanded
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        Trial::test("kubelet::variables_are_expanded_as_kubernetes_does", || {
            // From `third_party/forked/golang/expansion/expand_test.go`.
            let cases = [
                ("$(VAR_A)", "A"),
                ("___$(VAR_B)___", "___B___"),
                ("$(VAR_A)-1$(VAR_A)", "A-1A"),
                ("f000-$$VAR_A", "f000-$VAR_A"),
                ("$$(VAR_A)", "$(VAR_A)"),
                ("$$$(VAR_A)", "$A"),
                ("$$$$(VAR_A)", "$$(VAR_A)"),
                ("$(VAR_DNE)", "$(VAR_DNE)"),
                ("foo$(VAR_A", "foo$(VAR_A"),
                ("$VAR_A", "$VAR_A"),
                ("$", "$"),
                ("$()", "$()"),
                ("$(VAR_REF)", "$(VAR_A)"),
            ];
            let values = BTreeMap::from([("VAR_A", "A"), ("VAR_B", "B"), ("VAR_REF", "$(VAR_A)")]);
            for (text, expanded) in cases {
                assert_eq!(
                    expand(text, |name| values.get(name).map(|value| (*value).to_owned())),
                    expanded
                );
            }
            Ok(())
        }),
        Trial::test("kubelet::paths_are_cleaned_as_go_does", || {
            assert_eq!(clean("/var//run/./a/../b/"), "/var/run/b");
            assert_eq!(clean("/.."), "/");
            Ok(())
        }),
    ]
}
