//! Associations from a directory of JSON files.
//!
//! Every `*.json` below the directory is read; its format is recognized by its content: output of
//! `aws eks describe-pod-identity-association` and of `aws eks list-pod-identity-associations`, and of `terraform show -json` for a
//! plan or a state. A list contains no roles: it proves that an association exists, but not what its roles are.
//!
//! At startup, an invalid file is an error. Later, an invalid edit changes nothing, and neither does a directory that becomes empty.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::source::{AccountName, ClusterId, Found, HeldAssociations};
use crate::support::reload::{self, Reloaded, Source};
use crate::support::{files, text, tree};
use crate::trust::{Association, ClusterArn, RoleArn, SessionTags};

/// The association source `files=DIR`.
#[derive(Debug)]
pub struct FileAssociations {
    directory: Arc<Reloaded<Directory>>,
    when_missing: WhenMissing,
}

/// What the source answers for a ServiceAccount that no file names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenMissing {
    /// Another source may know it.
    Unlisted,
    /// It has no association: for the last source.
    Absent,
}

/// Why a file cannot be used: its path, the place, and what was expected.
#[derive(Debug, thiserror::Error)]
#[error("{}: {problem}", path.display())]
pub struct AssociationFilesError {
    path: PathBuf,
    problem: String,
}

/// How often the files are read again.
const EVERY: Duration = reload::INTERVAL;

/// How many other clusters a warning names.
const CLUSTERS_SHOWN: usize = 3;

const FORMATS: &str = "expected the output of `aws eks describe-pod-identity-association` or `aws eks \
                       list-pod-identity-associations`, or `terraform show -json` of a plan or a state";

impl FileAssociations {
    /// Reads a directory.
    ///
    /// # Errors
    /// The first invalid file, and where.
    pub fn open(
        directory: impl Into<PathBuf>,
        cluster: ClusterId,
        when_missing: WhenMissing,
    ) -> Result<Self, AssociationFilesError> {
        let directory = directory.into();
        Ok(Self {
            directory: Reloaded::load(Directory { directory, cluster })?,
            when_missing,
        })
    }

    /// What to check if the files have associations, but only of other clusters.
    #[must_use]
    pub fn only_of_others(&self) -> Option<String> {
        let held = self.directory.peek();
        if !held.accounts.is_empty() || held.others.is_empty() {
            return None;
        }
        let Directory { directory, cluster } = self.directory.source();
        let clusters: Vec<String> = held.others.keys().map(|name| text::value(name)).collect();
        let count: usize = held.others.values().sum();
        Some(format!(
            "{} has {count} {} of {}, none of {}; check --cluster-name and --cluster-arn",
            text::line(&directory.display().to_string()),
            if count == 1 { "association" } else { "associations" },
            match clusters.as_slice() {
                [one] => format!("cluster {one}"),
                several => format!(
                    "the clusters {}",
                    text::list(several.iter().map(String::as_str), CLUSTERS_SHOWN)
                ),
            },
            cluster.name
        ))
    }
}

impl HeldAssociations for FileAssociations {
    fn name(&self) -> &'static str {
        "files"
    }

    fn find(&self, namespace: &str, service_account: &str) -> Found {
        let held = self.directory.peek();
        let found = held
            .accounts
            .get(namespace)
            .and_then(|accounts| accounts.get(service_account));
        match (found, self.when_missing) {
            (Some(found), _) => found.clone(),
            (None, WhenMissing::Unlisted) => Found::Unlisted,
            (None, WhenMissing::Absent) => Found::Absent,
        }
    }

    fn all(&self) -> Vec<Arc<Association>> {
        let held = self.directory.peek();
        let found = held.accounts.values().flat_map(HashMap::values);
        found
            .filter_map(|found| match found {
                Found::Association(association) => Some(Arc::clone(association)),
                _ => None,
            })
            .collect()
    }

    fn accounts(&self) -> Vec<AccountName> {
        let held = self.directory.peek();
        let accounts = held.accounts.iter().flat_map(|(namespace, accounts)| {
            let namespace: Arc<str> = (**namespace).into();
            accounts
                .keys()
                .map(move |name| (Arc::clone(&namespace), (**name).into()))
        });
        accounts.collect()
    }

    fn changes(&self) -> Vec<watch::Receiver<u64>> {
        vec![self.directory.changes()]
    }

    fn refresh(&self) -> BoxFuture<'_, ()> {
        self.directory.reload().map(drop).boxed()
    }

    fn run(&self, stop: CancellationToken) -> BoxFuture<'_, ()> {
        let poll = Arc::clone(&self.directory).poll(EVERY, |_| {});
        async move {
            stop.run_until_cancelled(poll).await;
        }
        .boxed()
    }

    fn reload_failures(&self) -> u64 {
        self.directory.failures()
    }
}

/// What the files contain.
#[derive(Debug, Default)]
struct Held {
    /// By namespace and ServiceAccount.
    accounts: HashMap<Box<str>, HashMap<Box<str>, Found>>,
    /// How many associations other clusters have, by the names of the clusters.
    others: BTreeMap<String, usize>,
}

#[derive(Debug)]
struct Directory {
    directory: PathBuf,
    cluster: ClusterId,
}

impl Directory {
    fn error(path: &Path, problem: impl Into<String>) -> AssociationFilesError {
        AssociationFilesError {
            path: path.to_owned(),
            problem: problem.into(),
        }
    }
}

impl Source for Directory {
    type Content = Vec<(PathBuf, Vec<u8>)>;
    type Value = Held;
    type Error = AssociationFilesError;

    fn name(&self) -> String {
        format!("associations in {}", self.directory.display())
    }

    fn read(&self) -> Result<Self::Content, AssociationFilesError> {
        let tree = tree::walk(&self.directory).map_err(|(path, error)| Self::error(&path, error.to_string()))?;
        let read = |path: PathBuf| match files::read(&path) {
            Ok(bytes) => Ok((path, bytes)),
            Err(error) => Err(Self::error(&path, error.to_string())),
        };
        tree.files.into_iter().map(read).collect()
    }

    fn parse(&self, content: &Self::Content) -> Result<Held, AssociationFilesError> {
        if content.is_empty() {
            return Err(Self::error(&self.directory, "it no longer contains a *.json file"));
        }
        self.parse_first(content)
    }

    fn parse_first(&self, content: &Self::Content) -> Result<Held, AssociationFilesError> {
        let mut held = Held::default();
        for (path, bytes) in content {
            let found =
                understand(bytes, &self.cluster, &mut held.others).map_err(|problem| Self::error(path, problem))?;
            for one in found {
                let accounts = held.accounts.entry((*one.namespace).into()).or_default();
                let other = accounts.get(&*one.service_account);
                match (other, &one.found) {
                    // The entry that has a role counts.
                    (None | Some(Found::Undescribed(_)), _) => {
                        accounts.insert((*one.service_account).into(), one.found);
                    }
                    (Some(_), Found::Undescribed(_)) => {}
                    (Some(other), found) if other == found => {}
                    (Some(_), _) => {
                        return Err(Self::error(
                            path,
                            format!(
                                "another file has a different association for ServiceAccount {}/{}; remove one of them",
                                text::value(&one.namespace),
                                text::value(&one.service_account)
                            ),
                        ));
                    }
                }
            }
        }
        Ok(held)
    }
}

/// What a file contains about a ServiceAccount of the cluster.
struct FileEntry {
    namespace: String,
    service_account: String,
    found: Found,
}

fn understand(
    bytes: &[u8],
    cluster: &ClusterId,
    others: &mut BTreeMap<String, usize>,
) -> Result<Vec<FileEntry>, String> {
    let json: Value = serde_json::from_slice(bytes).map_err(|error| format!("is not JSON: {error}"))?;
    let entries = if let Some(association) = json.get("association") {
        vec![association]
    } else if let Some(Value::Array(associations)) = json.get("associations") {
        associations.iter().collect()
    } else if json.get("format_version").is_some() {
        return terraform(&json, cluster, others);
    } else {
        return Err(format!("it contains no association; {FORMATS}"));
    };
    let mut found = Vec::with_capacity(entries.len());
    for entry in entries {
        let described =
            Described::deserialize(entry).map_err(|error| format!("an association is malformed: {error}"))?;
        found.extend(described.entry(
            cluster,
            others,
            "the output of `aws eks list-pod-identity-associations` has no roles; add the output of `aws eks describe-pod-identity-association`",
        )?);
    }
    Ok(found)
}

/// An association, as the AWS CLI prints it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Described {
    cluster_name: Option<String>,
    namespace: Option<String>,
    service_account: Option<String>,
    role_arn: Option<String>,
    target_role_arn: Option<String>,
    association_arn: Option<String>,
    association_id: Option<String>,
    #[serde(default)]
    disable_session_tags: Option<bool>,
    external_id: Option<String>,
}

impl Described {
    /// None for an association of another cluster, which is counted in `others`. `without_role`: the reason for one whose role is not
    /// known.
    fn entry(
        self,
        cluster: &ClusterId,
        others: &mut BTreeMap<String, usize>,
        without_role: &str,
    ) -> Result<Option<FileEntry>, String> {
        if let Some(name) = self.cluster_name.filter(|name| **name != *cluster.name) {
            *others.entry(name).or_default() += 1;
            return Ok(None);
        }
        let (Some(namespace), Some(service_account)) = (self.namespace, self.service_account) else {
            return Err("an association has no namespace or no ServiceAccount".to_owned());
        };
        let role = |arn: &str, field: &str| {
            RoleArn::parse(arn).map_err(|error| {
                format!(
                    "the association of {}/{}: {field} {} is not a role ARN: {error}",
                    text::value(&namespace),
                    text::value(&service_account),
                    text::quote(arn)
                )
            })
        };
        let given = |text: Option<String>| text.filter(|text| !text.is_empty());
        let target = given(self.target_role_arn)
            .map(|arn| role(&arn, "targetRoleArn"))
            .transpose()?;
        let found = match given(self.role_arn) {
            None => Found::Undescribed(without_role.into()),
            Some(arn) => {
                let of_arn = self.association_arn.as_deref().and_then(ClusterArn::of_association);
                Found::Association(Arc::new(Association {
                    cluster: of_arn.or_else(|| cluster.arn.clone()),
                    namespace: (*namespace).into(),
                    service_account: (*service_account).into(),
                    id: given(self.association_id).map(Into::into),
                    role: role(&arn, "roleArn")?,
                    target_role: target,
                    session_tags: match self.disable_session_tags {
                        Some(true) => SessionTags::Disabled,
                        Some(false) | None => SessionTags::Enabled,
                    },
                    external_id: given(self.external_id).map(Into::into),
                }))
            }
        };
        Ok(Some(FileEntry {
            namespace,
            service_account,
            found,
        }))
    }
}

/// The associations of a plan or a state: what will be, else what is.
fn terraform(
    show: &Value,
    cluster: &ClusterId,
    others: &mut BTreeMap<String, usize>,
) -> Result<Vec<FileEntry>, String> {
    let values = show.get("planned_values").or_else(|| show.get("values"));
    let mut modules: Vec<&Value> = values
        .and_then(|values| values.get("root_module"))
        .into_iter()
        .collect();
    let mut found = Vec::new();
    while let Some(module) = modules.pop() {
        let list = |key| module.get(key).and_then(Value::as_array).into_iter().flatten();
        modules.extend(list("child_modules"));
        for resource in list("resources") {
            if resource.get("type").and_then(Value::as_str) != Some("aws_eks_pod_identity_association") {
                continue;
            }
            let address = resource.get("address").and_then(Value::as_str).unwrap_or_default();
            let attribute = |key| {
                let value = resource.get("values").and_then(|values| values.get(key));
                value.and_then(Value::as_str).map(str::to_owned)
            };
            let tags = resource
                .get("values")
                .and_then(|values| values.get("disable_session_tags"));
            let described = Described {
                cluster_name: attribute("cluster_name"),
                namespace: attribute("namespace"),
                service_account: attribute("service_account"),
                role_arn: attribute("role_arn"),
                target_role_arn: attribute("target_role_arn"),
                association_arn: attribute("association_arn"),
                association_id: attribute("association_id"),
                disable_session_tags: tags.and_then(Value::as_bool),
                external_id: attribute("external_id"),
            };
            let without_role = format!("{}: its role is known only after apply", text::value(address));
            if described.namespace.is_none() || described.service_account.is_none() {
                continue;
            }
            found.extend(described.entry(cluster, others, &without_role)?);
        }
    }
    Ok(found)
}
