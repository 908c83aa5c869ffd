//! The response to a review, and what its patch adds to the pod.

use anyhow::{Context as _, Result, anyhow};
use base64::Engine as _;
use serde::Deserialize;
use serde_json::Value;

/// The `response` of an AdmissionReview.
pub(super) struct Answer {
    pub(super) allowed: bool,
    pub(super) code: Option<u16>,
    pub(super) message: Option<String>,
    pub(super) warnings: Vec<String>,
    /// The operations; an empty list without a patch.
    pub(super) patch: Value,
}

#[derive(Deserialize)]
struct Wire {
    response: WireResponse,
}

#[derive(Deserialize)]
struct WireResponse {
    allowed: bool,
    #[serde(default)]
    status: Option<WireStatus>,
    #[serde(default)]
    warnings: Vec<String>,
    #[serde(default)]
    patch: Option<String>,
}

#[derive(Deserialize)]
struct WireStatus {
    #[serde(default)]
    code: Option<u16>,
    #[serde(default)]
    message: Option<String>,
}

impl Answer {
    pub(super) fn read(answer: &Value) -> Result<Self> {
        Self::decode(answer).context("a response that no API server would accept")
    }

    fn decode(answer: &Value) -> Result<Self> {
        let Wire { response } = Wire::deserialize(answer)?;
        let patch = match response.patch {
            None => Value::Array(Vec::new()),
            Some(encoded) => {
                let decoded = base64::engine::general_purpose::STANDARD.decode(encoded)?;
                serde_json::from_slice(&decoded)?
            }
        };
        let (code, message) = response
            .status
            .map_or((None, None), |status| (status.code, status.message));
        Ok(Self {
            allowed: response.allowed,
            code,
            message,
            warnings: response.warnings,
            patch,
        })
    }
}

/// What is in the pod after the patch and was not in it before.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Added {
    pub(super) tokens: Vec<Token>,
    pub(super) containers: Vec<Container>,
}

/// A projected ServiceAccount token.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) volume: String,
    pub(super) audience: String,
    pub(super) seconds: u64,
}

/// What was added to containers, which are grouped by it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Container {
    pub(super) names: Vec<String>,
    pub(super) variables: Vec<(String, String)>,
    pub(super) mounts: Vec<String>,
}

impl Added {
    pub(super) fn is_empty(&self) -> bool {
        self.tokens.is_empty() && self.containers.is_empty()
    }

    /// Applies a patch to the review's pod and compares.
    pub(super) fn by(patch: &Value, review: &Value) -> Result<Self> {
        let before = review
            .pointer("/request/object")
            .context("a review without an object")?;
        let mut after = before.clone();
        let patch: json_patch::Patch =
            serde_json::from_value(patch.clone()).context("a response without a JSON patch")?;
        json_patch::patch(&mut after, &patch)
            .map_err(|error| anyhow!("a patch that does not apply to the pod: {error}"))?;
        let mut added = Self {
            tokens: new_in(before, &after, "/spec/volumes")
                .iter()
                .filter_map(token)
                .collect(),
            ..Self::default()
        };
        for list in ["/spec/initContainers", "/spec/containers"] {
            let containers = |pod: &Value| pod.pointer(list).and_then(Value::as_array).cloned().unwrap_or_default();
            for (before, after) in containers(before).iter().zip(containers(&after)) {
                added.container(before, &after);
            }
        }
        Ok(added)
    }

    fn container(&mut self, before: &Value, after: &Value) {
        let variables: Vec<_> = new_in(before, after, "/env").iter().filter_map(variable).collect();
        let mounts: Vec<_> = new_in(before, after, "/volumeMounts")
            .iter()
            .filter_map(|mount| text(mount, "/mountPath"))
            .collect();
        if variables.is_empty() && mounts.is_empty() {
            return;
        }
        let name = text(after, "/name").unwrap_or_default();
        match self
            .containers
            .iter_mut()
            .find(|same| same.variables == variables && same.mounts == mounts)
        {
            Some(same) => same.names.push(name),
            None => self.containers.push(Container {
                names: vec![name],
                variables,
                mounts,
            }),
        }
    }
}

fn token(volume: &Value) -> Option<Token> {
    let token = volume.pointer("/projected/sources/0/serviceAccountToken")?;
    Some(Token {
        volume: text(volume, "/name")?,
        audience: text(token, "/audience")?,
        seconds: token.pointer("/expirationSeconds").and_then(Value::as_u64)?,
    })
}

fn variable(variable: &Value) -> Option<(String, String)> {
    Some((text(variable, "/name")?, text(variable, "/value").unwrap_or_default()))
}

fn text(value: &Value, place: &str) -> Option<String> {
    value.pointer(place).and_then(Value::as_str).map(str::to_owned)
}

/// The elements of a list that were not in it before.
fn new_in(before: &Value, after: &Value, place: &str) -> Vec<Value> {
    let list = |value: &Value| {
        value
            .pointer(place)
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default()
    };
    let old = list(before);
    list(after)
        .into_iter()
        .filter(|element| !old.contains(element))
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn containers_with_the_same_additions_are_grouped() {
        let review = json!({"request": {"object": {"spec": {"containers": [
            {"name": "a"}, {"name": "b", "env": [{"name": "X", "value": "1"}]}, {"name": "c"},
        ]}}}});
        let patch = json!([
            {"op": "add", "path": "/spec/containers/0/env", "value": [{"name": "AWS_ROLE_ARN", "value": "r"}]},
            {"op": "add", "path": "/spec/containers/1/env/-", "value": {"name": "AWS_ROLE_ARN", "value": "r"}},
        ]);
        let added = Added::by(&patch, &review).unwrap();
        let variables = vec![("AWS_ROLE_ARN".to_owned(), "r".to_owned())];
        let names = vec!["a".to_owned(), "b".to_owned()];
        assert_eq!(
            added.containers,
            [Container {
                names,
                variables,
                mounts: Vec::new()
            }]
        );
    }
}
