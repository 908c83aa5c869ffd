//! One file: its format, recognized by its content, and the roles that it defines.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Component, Path};
use std::sync::Arc;

use serde::de::{Error as _, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::found::{FoundRole, FoundTrust, RoleKey, is_of_aws};
use super::terraform;
use crate::roles::source::RoleDocument;
use crate::support::text;
use crate::trust::{Origin, RoleArn};

/// The formats, for a file that has none of them.
const FORMATS: &str = "the output of `aws iam get-role`, `aws iam list-roles` or `aws iam \
                       get-account-authorization-details`, `terraform show -json` of a plan or a state, or a trust policy \
                       at ACCOUNT/PATH/NAME.json";

/// What is wrong with a file.
#[derive(Debug)]
pub(super) struct Flaw {
    /// Line and column, both from 1.
    pub(super) position: Option<(usize, usize)>,
    pub(super) problem: String,
}

/// Reads the roles of a file at a path below the directory.
pub(super) fn read(bytes: &[u8], below: &Path) -> Result<Vec<FoundRole>, Flaw> {
    let text = utf8(bytes)?;
    if text.trim_ascii().is_empty() {
        return Err(first_line(format!("is empty; expected {FORMATS}")));
    }
    let keys = serde_json::from_str::<Keys>(text).map_err(|error| match error.is_data() {
        true => flaw(&error, ""),
        false => flaw(&error, "is not JSON: "),
    })?;
    if keys.has("RoleDetailList") {
        let output = parse::<AuthorizationDetails>(text, "the output of `aws iam get-account-authorization-details`")?;
        Ok(output.roles.into_iter().filter_map(CliRole::found).collect())
    } else if keys.has("Roles") {
        let output = parse::<ListRoles>(text, "the output of `aws iam list-roles`")?;
        Ok(output.roles.into_iter().filter_map(CliRole::found).collect())
    } else if keys.has("Role") {
        let output = parse::<GetRole>(text, "the output of `aws iam get-role`")?;
        Ok(output.role.found().into_iter().collect())
    } else if keys.has("format_version") {
        let show = parse::<terraform::Show>(text, "the output of `terraform show -json`")?;
        show.roles(below).map_err(|(arn, problem)| Flaw {
            position: find(text, &arn),
            problem,
        })
    } else if keys.has("Statement") || keys.has("Version") || keys.has("Id") {
        Ok(vec![FoundRole {
            key: key_of(below)?,
            trust: FoundTrust::Document(RoleDocument {
                origin: Origin::Written,
                policy: text.into(),
                tags: None,
            }),
        }])
    } else if keys.has("terraform_version") {
        Err(first_line(
            "this is Terraform's own state file; write it with `terraform show -json` instead".to_owned(),
        ))
    } else {
        Err(first_line(format!(
            "contains no role that can be read; expected {FORMATS}"
        )))
    }
}

/// The role that a bare policy belongs to, from the path of its file.
fn key_of(below: &Path) -> Result<RoleKey, Flaw> {
    let misplaced = |why: &str| {
        first_line(format!(
            "a trust policy without its role must be at ACCOUNT/[PATH/]NAME.json, such as 111122223333/team/loader.json: {why}"
        ))
    };
    let parts: Option<Vec<&str>> = below
        .components()
        .map(|part| match part {
            Component::Normal(part) => part.to_str(),
            _ => None,
        })
        .collect();
    let parts = parts.ok_or_else(|| misplaced("its path is not UTF-8"))?;
    let Some((account, path_and_name)) = parts.split_first().filter(|(_, rest)| !rest.is_empty()) else {
        return Err(misplaced("it is not in the directory of an account"));
    };
    if account.len() != 12 || !account.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(misplaced("the first directory is not an account of twelve digits"));
    }
    let path_and_name = path_and_name.join("/");
    let path_and_name = path_and_name.strip_suffix(".json").unwrap_or(&path_and_name);
    let arn = format!("arn:aws:iam::{account}:role/{path_and_name}");
    let role = RoleArn::parse(&arn).map_err(|error| misplaced(&format!("{arn} is not a valid role ARN: {error}")))?;
    Ok(RoleKey::parts(Some(role.account()), role.path(), role.name()))
}

impl RoleKey {
    pub(super) fn parts(account: Option<&str>, path: &str, name: &str) -> Self {
        Self::Parts {
            account: account.map(Arc::from),
            path_and_name: format!("{path}{name}").into(),
        }
    }
}

#[derive(Deserialize)]
struct GetRole {
    #[serde(rename = "Role")]
    role: CliRole,
}

#[derive(Deserialize)]
struct ListRoles {
    #[serde(rename = "Roles")]
    roles: Vec<CliRole>,
}

#[derive(Deserialize)]
struct AuthorizationDetails {
    #[serde(rename = "RoleDetailList")]
    roles: Vec<CliRole>,
}

/// A role as the AWS CLI prints it.
#[derive(Deserialize)]
struct CliRole {
    #[serde(rename = "Arn")]
    arn: CliArn,
    #[serde(rename = "AssumeRolePolicyDocument")]
    policy: PolicyText,
    #[serde(rename = "Tags")]
    tags: Option<Vec<Tag>>,
}

#[derive(Deserialize)]
struct Tag {
    #[serde(rename = "Key")]
    key: String,
    #[serde(rename = "Value", default)]
    value: String,
}

impl CliRole {
    fn found(self) -> Option<FoundRole> {
        let CliArn::Role(arn) = self.arn else { return None };
        let tags = self
            .tags
            .map(|tags| tags.into_iter().map(|tag| (tag.key, tag.value)).collect());
        let document = RoleDocument {
            origin: Origin::Stored,
            policy: self.policy.0,
            tags,
        };
        Some(FoundRole {
            key: RoleKey::Arn(arn),
            trust: FoundTrust::Document(document),
        })
    }
}

enum CliArn {
    Role(RoleArn),
    /// Every account has roles that belong to AWS services, and listings hold them; no pod can ask for one.
    OfAws,
}

impl<'de> Deserialize<'de> for CliArn {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        match RoleArn::parse(&text) {
            Ok(role) => Ok(Self::Role(role)),
            Err(_) if is_of_aws(&text) => Ok(Self::OfAws),
            Err(error) => Err(D::Error::custom(format_args!(
                "expected a role's ARN, found {}: {error}",
                text::quote(&text)
            ))),
        }
    }
}

/// A trust policy as an object, as JSON text or percent-encoded. An object is kept as it was written: a key that is there
/// twice must still be seen when the policy is parsed.
struct PolicyText(Arc<str>);

impl<'de> Deserialize<'de> for PolicyText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        let text = raw.get();
        if text == "null" {
            return Err(D::Error::custom("expected a trust policy, found null"));
        }
        if !text.starts_with('"') {
            return Ok(Self(text.into()));
        }
        serde_json::from_str::<String>(text)
            .map(|text| Self(text.into()))
            .map_err(D::Error::custom)
    }
}

/// The names of the entries of an object, whatever they hold.
struct Keys(BTreeSet<String>);

impl Keys {
    fn has(&self, name: &str) -> bool {
        self.0.contains(name)
    }
}

impl<'de> Deserialize<'de> for Keys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;

        impl<'de> Visitor<'de> for Object {
            type Value = Keys;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "an object: {FORMATS}")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Keys, A::Error> {
                let mut keys = BTreeSet::new();
                while let Some((key, IgnoredAny)) = map.next_entry::<String, IgnoredAny>()? {
                    keys.insert(key);
                }
                Ok(Keys(keys))
            }
        }

        deserializer.deserialize_map(Object)
    }
}

fn parse<'a, T: Deserialize<'a>>(text: &'a str, format: &str) -> Result<T, Flaw> {
    serde_json::from_str(text).map_err(|error| flaw(&error, &format!("looks like {format}, but: ")))
}

fn flaw(error: &serde_json::Error, introduction: &str) -> Flaw {
    let (line, column) = (error.line(), error.column());
    let message = error.to_string();
    let message = message
        .strip_suffix(&format!(" at line {line} column {column}"))
        .unwrap_or(&message);
    Flaw {
        position: Some((line.max(1), column.max(1))),
        problem: format!("{introduction}{message}"),
    }
}

fn first_line(problem: String) -> Flaw {
    Flaw {
        position: Some((1, 1)),
        problem,
    }
}

/// Some editors write a byte order mark; it is not part of the JSON.
fn utf8(bytes: &[u8]) -> Result<&str, Flaw> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    std::str::from_utf8(bytes).map_err(|error| {
        let good = bytes.get(..error.valid_up_to()).unwrap_or_default();
        let problem = "expected JSON in UTF-8, found a byte that is not".to_owned();
        Flaw {
            position: Some(position_after(good)),
            problem,
        }
    })
}

/// The position of a text in a file.
fn find(text: &str, needle: &str) -> Option<(usize, usize)> {
    let before = text.split(needle).next().filter(|before| before.len() < text.len())?;
    Some(position_after(before.as_bytes()))
}

fn position_after(bytes: &[u8]) -> (usize, usize) {
    let line = bytes.iter().filter(|byte| **byte == b'\n').count() + 1;
    let column = bytes.iter().rev().take_while(|byte| **byte != b'\n').count() + 1;
    (line, column)
}
