//! The rows of `rows.json`.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::Value;

/// The SDKs, as rows name them.
pub(crate) const SDKS: [&str; 3] = ["boto3", "javascript", "go"];

/// A pod, what SDKs do in its container, and what rolegate answers.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Row {
    pub(crate) name: String,
    /// A part of the pod's specification. The first container is the one that is run.
    pub(crate) pod: Value,
    /// The pod's annotations.
    #[serde(default)]
    pub(crate) annotations: BTreeMap<String, String>,
    /// The name of the container that is run, if it is not the first one.
    pub(crate) container: Option<String>,
    /// The flags of `serve`, instead of [`default_flags`].
    #[serde(default = "default_flags")]
    pub(crate) flags: Vec<String>,
    /// One of [`crate::admission::ACCOUNTS`].
    pub(crate) service_account: String,
    /// What the cluster has, per name.
    #[serde(default)]
    pub(crate) config_maps: BTreeMap<String, BTreeMap<String, String>>,
    #[serde(default)]
    pub(crate) secrets: BTreeMap<String, BTreeMap<String, String>>,
    /// The variables of the image.
    #[serde(default)]
    pub(crate) image: BTreeMap<String, String>,
    /// What each SDK calls; nothing for a pod that is refused.
    #[serde(default)]
    pub(crate) calls: BTreeMap<String, String>,
    /// A part of the error of each SDK whose call is `error`.
    #[serde(default)]
    pub(crate) says: BTreeMap<String, String>,
    pub(crate) expect: Expect,
    /// Why an SDK may use another identity without a warning.
    pub(crate) by_design: Option<String>,
    /// Whether a runtime can mount the token into the container.
    #[serde(default)]
    pub(crate) token_mount: TokenMount,
}

/// The answer and the line in the audit log.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Expect {
    /// The cause of the refusal, or the verdict if it has no cause.
    pub(crate) refused: Option<String>,
    /// The role and the audience that were evaluated.
    pub(crate) role: Option<String>,
    pub(crate) audience: Option<String>,
    pub(crate) verdict: Option<String>,
    /// Whether a warning says that the identity is not used, or might not be.
    pub(crate) not_used: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum TokenMount {
    #[default]
    Possible,
    /// The container does not start once the token is mounted, so the pod is refused.
    Impossible,
}

/// Every row.
///
/// # Panics
/// When a row is incomplete or contradicts itself.
pub(crate) fn all() -> Vec<Row> {
    let rows: Vec<Row> = serde_json::from_str(include_str!("rows.json")).expect("rows.json");
    let mut names = BTreeSet::new();
    for row in &rows {
        assert!(names.insert(&row.name), "two rows are named {:?}", row.name);
        let with_calls: Vec<&str> = row.calls.keys().map(String::as_str).collect();
        let mut expected: Vec<&str> = if row.expect.refused.is_some() {
            Vec::new()
        } else {
            SDKS.to_vec()
        };
        expected.sort_unstable();
        assert_eq!(with_calls, expected, "calls of {:?}", row.name);
        let errors: Vec<&String> = row
            .calls
            .iter()
            .filter(|(_, call)| *call == "error")
            .map(|(sdk, _)| sdk)
            .collect();
        assert_eq!(row.says.keys().collect::<Vec<_>>(), errors, "errors of {:?}", row.name);
    }
    rows
}

/// Most clusters have a Region.
fn default_flags() -> Vec<String> {
    ["--aws-region", "us-west-2"].map(str::to_owned).to_vec()
}
