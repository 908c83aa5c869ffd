//! Which ServiceAccounts an object refers to: a table of workload resources, and its reader.
//!
//! `resources.json` describes, for each resource, where its pods or ServiceAccount names are and what an absent name means. The table does
//! not contain which identity a ServiceAccount has, or whether an object should be admitted.
//!
//! The notation of its paths: dots separate fields, `[]` is every item of a list, `{}` every value of a map and `{key}` the value of a
//! key with dots. A path that begins with a dot starts where the reference is, any other path at the object.

mod json;
mod path;
mod references;
mod scan;
mod tokens;

use std::sync::LazyLock;

use serde::Deserialize;

use self::path::Path;
pub use self::references::{Account, MAX_PLACES, Reference, every_reference, references};
pub use self::scan::written_accounts;
pub use self::tokens::{TokenReference, TokenResource, token_resource, token_resources, tokens};

/// A row of the table: a resource, and what its objects refer to.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Resource {
    /// What the row is about.
    #[serde(flatten)]
    pub resource_type: ResourceType,
    /// Whether an object with a controller is left out, because the controller's own object is read.
    #[serde(default)]
    skip_controlled: bool,
    #[serde(default)]
    references: Vec<Place>,
    /// Where whole objects are that the table describes, too.
    #[serde(default)]
    objects: Vec<Path>,
}

/// What identifies a resource, in this table and in that of tokens.
#[derive(Debug, Deserialize)]
pub struct ResourceType {
    /// The API group; empty for the core group.
    pub group: String,
    /// The versions whose objects are read like this.
    pub versions: Vec<String>,
    /// The plural name, as in a rule of a webhook.
    #[serde(rename = "resource")]
    pub plural: String,
    /// The kind of its objects.
    pub kind: String,
    /// Whether its objects have no namespace.
    #[serde(default)]
    pub cluster: bool,
    /// Where the paths of the row come from: repository, commit and file, or documentation.
    pub source: String,
}

impl ResourceType {
    /// Whether it is this kind, in any version.
    #[must_use]
    pub fn is_kind(&self, group: &str, kind: &str) -> bool {
        self.group == group && self.kind == kind
    }

    /// Whether objects of this version are read like this.
    #[must_use]
    pub fn has_version(&self, version: &str) -> bool {
        self.versions.iter().any(|listed| listed == version)
    }
}

/// Where an object refers to a ServiceAccount.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Place {
    /// What has to exist; one reference per match.
    at: Path,
    /// Whether `at` is a pod template.
    #[serde(default)]
    pod: bool,
    /// Where the name can be; the first that is not empty is used.
    #[serde(default)]
    accounts: Vec<Path>,
    absent: Absent,
    /// Where the annotations of a ServiceAccount are that the object's controller creates.
    #[serde(default)]
    annotations: Option<Path>,
    /// Only for objects that have one of these fields, not `false` or empty.
    #[serde(default)]
    when: Vec<Path>,
    /// Only for places that have none of these fields.
    #[serde(default)]
    unless: Vec<Path>,
}

/// What an absent name means.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(from = "String")]
enum Absent {
    /// The ServiceAccount `default`.
    Default,
    /// The name is decided elsewhere.
    Unknown,
    /// The object's name, followed by this suffix.
    Derived(String),
}

impl From<String> for Absent {
    fn from(text: String) -> Self {
        match text.strip_prefix("{name}") {
            Some(suffix) => Self::Derived(suffix.to_owned()),
            None if text == "default" => Self::Default,
            None => Self::Unknown,
        }
    }
}

/// The table, sorted by group, resource and version.
#[must_use]
pub fn resources() -> &'static [Resource] {
    static RESOURCES: LazyLock<Vec<Resource>> =
        // INVARIANT: the text is part of the program, and `tests/workloads.rs` parses it.
        LazyLock::new(|| serde_json::from_str(include_str!("resources.json")).unwrap_or_default());
    &RESOURCES
}

/// What the table has for a group, version and kind.
#[derive(Clone, Copy, Debug)]
pub enum Listed {
    /// This row.
    As(&'static Resource),
    /// The kind, in other versions only.
    InOtherVersions,
    /// Nothing.
    No,
}

/// The versions of a kind that the table has.
#[must_use]
pub fn versions(group: &str, kind: &str) -> Vec<&'static str> {
    let rows = resources().iter().map(|row| &row.resource_type);
    rows.filter(|listed| listed.is_kind(group, kind))
        .flat_map(|listed| listed.versions.iter().map(String::as_str))
        .collect()
}

/// Looks up the row of a group, version and kind.
#[must_use]
pub fn lookup(group: &str, version: &str, kind: &str) -> Listed {
    let mut listed = Listed::No;
    for resource in resources() {
        if resource.resource_type.is_kind(group, kind) {
            if resource.resource_type.has_version(version) {
                return Listed::As(resource);
            }
            listed = Listed::InOtherVersions;
        }
    }
    listed
}
