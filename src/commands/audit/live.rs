//! The workloads of a cluster.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::accounts::scopes;
use super::workloads::Workload;
use crate::kubernetes::api_error;
use crate::kubernetes::objects::{self, ListError};
use crate::support::text;
use crate::workloads::{self, Listed, Resource, ResourceType, TokenResource};

/// The most references that are kept.
const MOST: usize = 200_000;

/// The groups that every cluster has.
const BUILT_IN: [&str; 3] = ["", "apps", "batch"];

/// What was read.
#[derive(Debug, Default)]
pub(super) struct Live {
    pub(super) workloads: Vec<Workload>,
    /// Those of the selected namespaces that have an object of one of the resources, whatever it refers to.
    pub(super) namespaces: BTreeSet<String>,
    /// What could not be read, in few lines.
    pub(super) problems: Vec<String>,
}

/// The workloads of the table's resources that the cluster has, in these namespaces or in all if there are none.
pub(super) async fn read(client: &kube::Client, namespaces: &[String]) -> Live {
    let mut problems = Vec::new();
    let served = match objects::groups(client).await {
        Ok(served) => served,
        Err(error) => {
            let why = api_error::one_line(&error);
            if !api_error::is_answer(&error) {
                return Live {
                    problems: vec![format!("cannot list API groups: {why}")],
                    ..Live::default()
                };
            }
            problems.push(format!(
                "cannot list API groups: {why}; only the built-in workloads are read"
            ));
            Default::default()
        }
    };
    let mut found = Vec::new();
    let mut seen = BTreeSet::new();
    let scopes = scopes(namespaces);
    let mut forbidden = Vec::new();
    let mut done = std::collections::HashSet::new();
    let pods = workloads::resources().iter().map(Read::Pods);
    let tokens = workloads::token_resources().iter().map(Read::Tokens);
    for read in pods.chain(tokens) {
        let ResourceType {
            group,
            versions,
            plural,
            cluster,
            ..
        } = read.resource_type();
        // Templates of the whole cluster have no namespace, but tokens are of a ServiceAccount.
        if *cluster && (matches!(read, Read::Pods(_)) || !namespaces.is_empty()) {
            continue;
        }
        let version = versions.iter().find(|version| {
            let versions = served.get(group);
            BUILT_IN.contains(&group.as_str()) || versions.is_some_and(|versions| versions.contains(version))
        });
        // Two rows can be two versions of the same objects.
        let Some(version) = version.filter(|_| done.insert((group, plural))) else {
            continue;
        };
        let name = match group.as_str() {
            "" => plural.clone(),
            group => format!("{plural}.{group}"),
        };
        let mut forbidden_in = Vec::new();
        for namespace in scopes.iter().copied() {
            let path = path(group, version, plural, namespace);
            let mut each = |object: &RawValue| {
                seen.extend(
                    namespace
                        .filter(|namespace| !seen.contains(*namespace))
                        .map(str::to_owned),
                );
                if found.len() < MOST {
                    add(&mut found, read, object);
                }
            };
            match objects::list(client, &path, &mut each).await {
                Ok(()) => {}
                Err(ListError::NotServed) => break,
                Err(ListError::Forbidden) => forbidden_in.push(namespace.unwrap_or_default()),
                Err(ListError::Failed(why)) => {
                    problems.push(format!("cannot list {name}: {why}"));
                    break;
                }
            }
        }
        if forbidden_in.len() == scopes.len() {
            forbidden.push(name);
        } else if !forbidden_in.is_empty() {
            forbidden.push(format!("{name} in {}", forbidden_in.join(", ")));
        }
    }
    if !forbidden.is_empty() {
        let names = text::list(forbidden.iter().map(String::as_str), 20);
        problems.push(format!(
            "these workloads were not read, because the permission `list` on them is missing: {names}"
        ));
    }
    if found.len() >= MOST {
        problems.push(format!(
            "only the first {MOST} references of workloads are read; select namespaces with -n"
        ));
    }
    Live {
        workloads: found,
        namespaces: seen,
        problems,
    }
}

fn path(group: &str, version: &str, plural: &str, namespace: Option<&str>) -> String {
    let root = match group {
        "" => format!("/api/{version}"),
        group => format!("/apis/{group}/{version}"),
    };
    match namespace {
        Some(namespace) => format!("{root}/namespaces/{namespace}/{plural}"),
        None => format!("{root}/{plural}"),
    }
}

/// How the objects of a resource are read.
#[derive(Clone, Copy)]
enum Read {
    Pods(&'static Resource),
    Tokens(&'static TokenResource),
}

impl Read {
    const fn resource_type(self) -> &'static ResourceType {
        match self {
            Self::Pods(resource) => &resource.resource_type,
            Self::Tokens(resource) => &resource.resource_type,
        }
    }
}

fn add(found: &mut Vec<Workload>, read: Read, raw: &RawValue) {
    let Ok(object) = serde_json::from_str::<Object>(raw.get()) else {
        return;
    };
    let Some(metadata) = object.metadata.as_ref() else {
        return;
    };
    let Some(name) = &metadata.name else { return };
    let namespace = metadata.namespace.as_deref().unwrap_or_default();
    match read {
        Read::Pods(_) if object.is_finished() || metadata.owners().any(Owner::is_read) => {}
        Read::Pods(resource) => {
            let named = (resource.resource_type.kind.as_str(), namespace, name.as_str());
            let references = workloads::references(resource, raw);
            found.extend(references.iter().map(|reference| Workload::of(named, reference, None)));
        }
        Read::Tokens(resource) => {
            let named = (resource.resource_type.kind.as_str(), namespace, name.as_str());
            let tokens = workloads::tokens(resource, raw);
            found.extend(tokens.iter().map(|token| Workload::of_token(named, token, None)));
        }
    }
}

/// What decides whether an object still creates pods of its own.
#[derive(Deserialize)]
struct Object {
    #[serde(default)]
    metadata: Option<Metadata>,
    #[serde(default)]
    status: Option<Status>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    #[serde(default)]
    namespace: Option<String>,
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    owner_references: Option<Vec<Owner>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Owner {
    #[serde(default)]
    api_version: String,
    #[serde(default)]
    kind: String,
    #[serde(default)]
    controller: Option<bool>,
}

#[derive(Deserialize)]
struct Status {
    /// Of a pod.
    #[serde(default)]
    phase: Option<Box<RawValue>>,
    /// Of a Job.
    #[serde(default)]
    conditions: Option<Box<RawValue>>,
}

impl Metadata {
    fn owners(&self) -> impl Iterator<Item = &Owner> {
        self.owner_references.iter().flatten()
    }
}

impl Owner {
    /// Whether it controls the object and is in the table itself, so that its own template is read.
    fn is_read(&self) -> bool {
        let (group, version) = self.api_version.split_once('/').unwrap_or(("", &self.api_version));
        let is_listed = !matches!(workloads::lookup(group, version, &self.kind), Listed::No);
        self.controller == Some(true) && is_listed
    }
}

impl Object {
    /// Whether it is a pod or a Job that has ended.
    fn is_finished(&self) -> bool {
        #[derive(Deserialize)]
        struct Condition {
            #[serde(rename = "type")]
            kind: String,
            status: String,
        }
        let Some(Status { phase, conditions }) = &self.status else {
            return false;
        };
        let phase = phase
            .as_ref()
            .is_some_and(|phase| matches!(phase.get(), "\"Succeeded\"" | "\"Failed\""));
        let conditions: Vec<Condition> = conditions
            .as_ref()
            .and_then(|conditions| serde_json::from_str(conditions.get()).ok())
            .unwrap_or_default();
        let is_end = |one: &Condition| matches!(one.kind.as_str(), "Complete" | "Failed") && one.status == "True";
        phase || conditions.iter().any(is_end)
    }
}
