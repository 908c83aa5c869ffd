//! Associations in the form in which `aws eks describe-pod-identity-association` prints them, and lines of `--batch` about them.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;
use serde_json::value::RawValue;

use super::line::{policy_of, unreadable};
use crate::decision::Judged;
use crate::support::text::quote;
use crate::trust::{Association, ClusterArn, Context, Hop, PodName, RoleArn, SessionTags, Verdict, judge_association};

/// The reason of a verdict `trusted`.
pub(super) const TRUSTED: &str = "the trust policy lets EKS Pod Identity assume the role";

/// What `mechanism` is in a line about an association.
pub(super) const MECHANISM: &str = "pod-identity";

const FIELDS: [&str; 10] = [
    "mechanism",
    "hop",
    "clusterArn",
    "namespace",
    "serviceAccount",
    "podName",
    "generateName",
    "association",
    "roleArn",
    "policy",
];

/// Evaluates one line.
///
/// # Errors
/// Which field is wrong, in one line.
pub(super) fn judge_line(line: &[u8], now: Option<i64>) -> Result<(Judged, Cow<'static, str>), String> {
    let fields: BTreeMap<Cow<'_, str>, &RawValue> = serde_json::from_slice(line).map_err(|error| unreadable(&error))?;
    if let Some(unknown) = fields.keys().find(|field| !FIELDS.contains(&&***field)) {
        return Err(format!(
            "{}: no such field of a request with mechanism {MECHANISM}; known are {}",
            quote(unknown),
            FIELDS.join(", ")
        ));
    }
    let raw = |name: &str| fields.get(name).copied().filter(|raw| raw.get() != "null");
    let text = |name: &str| match raw(name).map(|raw| serde_json::from_str::<String>(raw.get())) {
        None => Ok(None),
        Some(Ok(text)) => Ok(Some(text).filter(|text| !text.is_empty())),
        Some(Err(_)) => Err(format!("{name}: expected a string")),
    };
    match text("mechanism")?.as_deref() {
        Some(MECHANISM) => {}
        other => {
            return Err(format!(
                "mechanism: {} is not known; write {MECHANISM}, or leave it out for a web identity",
                quote(other.unwrap_or_default())
            ));
        }
    }
    let described: Value = match raw("association") {
        Some(raw) => serde_json::from_str(raw.get()).map_err(|_| "association: it is not valid JSON".to_owned())?,
        None => Value::Object(serde_json::Map::new()),
    };
    let role_arn = role("roleArn", text("roleArn")?)?;
    let mut read = Described::read("association.", &described)?;
    read.cluster = match text("clusterArn")? {
        Some(arn) => Some(ClusterArn::parse(&arn).map_err(|error| format!("clusterArn: {error}"))?),
        None => read.cluster,
    };
    read.namespace = same("namespace", text("namespace")?, read.namespace)?;
    read.service_account = same("serviceAccount", text("serviceAccount")?, read.service_account)?;
    let hop = match text("hop")?.as_deref() {
        Some("primary") => Hop::Primary,
        Some("target") => Hop::Target,
        Some(other) => return Err(format!("hop: {} is not valid; write primary or target", quote(other))),
        None if role_arn.is_some() && role_arn == read.target_role => Hop::Target,
        None => Hop::Primary,
    };
    match hop {
        Hop::Primary => read.role = same_role(hop, role_arn, read.role)?,
        Hop::Target => read.target_role = same_role(hop, role_arn, read.target_role)?,
    }
    if hop == Hop::Target && read.target_role.is_none() {
        return Err(
            "roleArn: it is missing, and so is association.targetRoleArn; hop target requires one of them".to_owned(),
        );
    }
    let association = read.association()?;
    let pod_name = (text("podName")?, text("generateName")?);
    let pod_name = match &pod_name {
        (Some(name), _) => PodName::Known(name),
        (None, Some(beginning)) => PodName::Beginning(beginning),
        (None, None) => PodName::Unknown,
    };
    let policy = policy_of(raw("policy").ok_or("policy: it is missing")?)?;
    let context = Context {
        now,
        ..Context::default()
    };
    let judgment = judge_association(hop, &policy, &association, pod_name, &context);
    let role = association.role_of(hop).unwrap_or(&association.role).clone();
    let judged = Judged::of(role, judgment);
    let reason = match judged.verdict {
        Verdict::Trusted => Cow::Borrowed(TRUSTED),
        _ => Cow::Owned(judged.reason_of_association(&association, hop)),
    };
    Ok((judged, reason))
}

/// Reads an association: the output of `aws eks describe-pod-identity-association`, whole or with `--query association`.
///
/// # Errors
/// Which field is wrong or missing, in one line.
pub(super) fn parse(text: &str) -> Result<Association, String> {
    let whole: Value = serde_json::from_str(text.trim_start_matches('\u{feff}')).map_err(|error| {
        format!("it is not JSON ({error}); write the output of aws eks describe-pod-identity-association")
    })?;
    let described = whole.get("association").unwrap_or(&whole);
    if described.get("roleArn").is_none() && whole.get("associations").is_some() {
        return Err(
            "a list of associations has no roles; write the output of aws eks describe-pod-identity-association"
                .to_owned(),
        );
    }
    Described::read("association.", described)?.association()
}

/// What is known of an association.
struct Described {
    /// Before the name of a field in an error.
    prefix: &'static str,
    cluster: Option<ClusterArn>,
    namespace: Option<String>,
    service_account: Option<String>,
    id: Option<String>,
    role: Option<RoleArn>,
    target_role: Option<RoleArn>,
    session_tags: SessionTags,
    external_id: Option<String>,
}

impl Described {
    /// Reads what the AWS CLI prints. Fields that are not needed are ignored: AWS adds new ones.
    fn read(prefix: &'static str, value: &Value) -> Result<Self, String> {
        let Value::Object(fields) = value else {
            return Err(format!("{}: expected an object", prefix.trim_end_matches('.')));
        };
        let text = |name: &str| match fields.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone()).filter(|text| !text.is_empty())),
            Some(_) => Err(format!("{prefix}{name}: expected a string")),
        };
        let arn = |name: &str| role(&format!("{prefix}{name}"), text(name)?);
        let session_tags = match fields.get("disableSessionTags") {
            None | Some(Value::Null | Value::Bool(false)) => SessionTags::Enabled,
            Some(Value::Bool(true)) => SessionTags::Disabled,
            Some(_) => return Err(format!("{prefix}disableSessionTags: expected true or false")),
        };
        Ok(Self {
            prefix,
            cluster: text("associationArn")?.and_then(|arn| ClusterArn::of_association(&arn)),
            namespace: text("namespace")?,
            service_account: text("serviceAccount")?,
            id: text("associationId")?,
            role: arn("roleArn")?,
            target_role: arn("targetRoleArn")?,
            session_tags,
            external_id: text("externalId")?,
        })
    }

    /// The association, if nothing that every association has is missing.
    fn association(self) -> Result<Association, String> {
        let prefix = self.prefix;
        let missing = |name: &str| format!("{prefix}{name}: it is missing");
        Ok(Association {
            cluster: self.cluster,
            namespace: self.namespace.ok_or_else(|| missing("namespace"))?.into(),
            service_account: self.service_account.ok_or_else(|| missing("serviceAccount"))?.into(),
            id: self.id.map(Arc::from),
            role: self.role.ok_or_else(|| missing("roleArn"))?,
            target_role: self.target_role,
            session_tags: self.session_tags,
            external_id: self.external_id.map(Arc::from),
        })
    }
}

fn role(name: &str, arn: Option<String>) -> Result<Option<RoleArn>, String> {
    arn.map(|arn| RoleArn::parse(&arn).map_err(|error| format!("{name}: {error}")))
        .transpose()
}

/// A field of the line that the association has, too.
fn same(name: &str, of_line: Option<String>, of_association: Option<String>) -> Result<Option<String>, String> {
    match (of_line, of_association) {
        (Some(line), Some(association)) if line != association => Err(format!(
            "{name}: it is {}, but the association is for {}",
            quote(&line),
            quote(&association)
        )),
        (line, association) => Ok(line.or(association)),
    }
}

fn same_role(hop: Hop, of_line: Option<RoleArn>, of_association: Option<RoleArn>) -> Result<Option<RoleArn>, String> {
    match (of_line, of_association) {
        (Some(line), Some(association)) if line != association => Err(format!(
            "roleArn: it is {line}, but the {hop} role of the association is {association}"
        )),
        (line, association) => Ok(line.or(association)),
    }
}
