//! Roles of a Terraform (or OpenTofu) plan or state, as `terraform show -json` prints it.
//!
//! A state contains every role with its ARN. A plan contains the future state, `planned_values`, without everything that is known only
//! after apply.
//!
//! - A role whose **policy** is known only after apply exists, and its trust policy is unknown.
//! - A role whose **ARN** is known only after apply, as that of every new role, is known by path and name. Its account is that of
//!   `aws_caller_identity` if the configuration reads it once, otherwise any account: a lookup of a role with that path and name finds it,
//!   unless another file contains the whole ARN.
//! - A role that is replaced under the same path and name keeps its ARN, which is then taken from the state before.
//! - A role that the plan removes does not exist. Roles that the configuration only reads (`data "aws_iam_role"`) do.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use super::found::{FoundRole, FoundTrust, RoleKey, is_of_aws};
use crate::roles::source::RoleDocument;
use crate::support::text;
use crate::trust::{Origin, RoleArn};

/// The output of `terraform show -json`.
#[derive(Deserialize)]
pub(super) struct Show {
    values: Option<Values>,
    planned_values: Option<Values>,
    prior_state: Option<State>,
}

#[derive(Deserialize)]
struct State {
    values: Option<Values>,
}

#[derive(Deserialize)]
struct Values {
    root_module: Option<Module>,
}

#[derive(Deserialize)]
struct Module {
    #[serde(default)]
    resources: Vec<Resource>,
    #[serde(default)]
    child_modules: Vec<Module>,
}

#[derive(Deserialize)]
struct Resource {
    #[serde(default)]
    address: String,
    #[serde(default, rename = "type")]
    kind: String,
    #[serde(default)]
    mode: Mode,
    values: Option<Attributes>,
}

#[derive(Clone, Copy, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Mode {
    #[default]
    Managed,
    Data,
    #[serde(other)]
    Other,
}

/// The few attributes that matter. Other kinds of resources have attributes of these names and of any type.
#[derive(Clone, Default, Deserialize)]
struct Attributes {
    arn: Option<Value>,
    name: Option<Value>,
    path: Option<Value>,
    assume_role_policy: Option<Value>,
    tags_all: Option<Value>,
    tags: Option<Value>,
    account_id: Option<Value>,
}

/// Whether a role is or will be.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tense {
    Is,
    WillBe,
}

impl Show {
    /// Its roles; `file` is what reasons call it.
    ///
    /// # Errors
    /// The text that should be a role's ARN, and why it is not one.
    pub(super) fn roles(self, file: &Path) -> Result<Vec<FoundRole>, (String, String)> {
        let before = resources(self.prior_state.and_then(|state| state.values));
        let (now, tense) = match (self.planned_values, self.values) {
            (Some(planned), _) => (resources(Some(planned)), Tense::WillBe),
            (None, Some(state)) => (resources(Some(state)), Tense::Is),
            (None, None) => (Vec::new(), Tense::Is),
        };
        let account = only_account(before.iter().chain(&now));
        let roles_before: BTreeMap<_, _> = before
            .iter()
            .filter(|resource| resource.is_role())
            .map(|role| (role.address.as_str(), role))
            .collect();
        let mut found = Vec::new();
        let mut defined = BTreeSet::new();
        for role in now.iter().filter(|resource| resource.is_role()) {
            defined.insert(role.address.as_str());
            let before = roles_before.get(role.address.as_str()).copied();
            found.extend(role.found(before, tense, account.as_deref(), file)?);
        }
        let only_read = roles_before
            .values()
            .filter(|role| role.mode == Mode::Data || tense == Tense::Is);
        for role in only_read.filter(|role| !defined.contains(role.address.as_str())) {
            found.extend(role.found(None, Tense::Is, account.as_deref(), file)?);
        }
        Ok(found)
    }
}

fn resources(values: Option<Values>) -> Vec<Resource> {
    let mut found = Vec::new();
    let mut modules: Vec<_> = values.and_then(|values| values.root_module).into_iter().collect();
    while let Some(module) = modules.pop() {
        found.extend(module.resources);
        modules.extend(module.child_modules);
    }
    found
}

/// The account that the configuration works in, when it says so and means one.
fn only_account<'a>(resources: impl Iterator<Item = &'a Resource>) -> Option<String> {
    let accounts: BTreeSet<_> = resources
        .filter(|resource| resource.kind == "aws_caller_identity")
        .filter_map(|identity| text(identity.values.as_ref()?.account_id.as_ref()))
        .collect();
    let mut accounts = accounts.into_iter();
    accounts.next().filter(|_| accounts.next().is_none()).map(str::to_owned)
}

impl Resource {
    fn is_role(&self) -> bool {
        self.kind == "aws_iam_role" && self.mode != Mode::Other
    }

    fn found(
        &self,
        before: Option<&Self>,
        tense: Tense,
        account: Option<&str>,
        file: &Path,
    ) -> Result<Option<FoundRole>, (String, String)> {
        let attributes = self.values.clone().unwrap_or_default();
        let Some(key) = self.key(&attributes, before, account)? else {
            return Ok(None);
        };
        let trust = match text(attributes.assume_role_policy.as_ref()) {
            Some(policy) => {
                let tags = tags(attributes.tags_all.as_ref().or(attributes.tags.as_ref()));
                FoundTrust::Document(RoleDocument {
                    origin: Origin::Written,
                    policy: policy.into(),
                    tags,
                })
            }
            None => {
                let (address, file) = (&self.address, file.display());
                let why = match tense {
                    Tense::WillBe => format!("the trust policy of {address} is known only after apply ({file})"),
                    Tense::Is => format!("{address} has no assume_role_policy ({file})"),
                };
                FoundTrust::Unknown((*text::line(&why)).into())
            }
        };
        Ok(Some(FoundRole { key, trust }))
    }

    /// None when not even its name is known, or when it belongs to an AWS service.
    fn key(
        &self,
        attributes: &Attributes,
        before: Option<&Self>,
        account: Option<&str>,
    ) -> Result<Option<RoleKey>, (String, String)> {
        let name = text(attributes.name.as_ref());
        let path = text(attributes.path.as_ref()).unwrap_or("/");
        let same_place = before.and_then(|before| before.values.as_ref()).filter(|before| {
            name.is_some() && text(before.name.as_ref()) == name && text(before.path.as_ref()).unwrap_or("/") == path
        });
        let arn = text(attributes.arn.as_ref()).or_else(|| text(same_place?.arn.as_ref()));
        match (arn, name) {
            (Some(arn), _) => match RoleArn::parse(arn) {
                Ok(role) => Ok(Some(RoleKey::Arn(role))),
                Err(_) if is_of_aws(arn) => Ok(None),
                Err(error) => {
                    let problem = format!(
                        "{}: expected a role's ARN, found {}: {error}",
                        self.address,
                        text::quote(arn)
                    );
                    Err((arn.to_owned(), problem))
                }
            },
            (None, Some(name)) => Ok(Some(RoleKey::parts(account, path, name))),
            (None, None) => Ok(None),
        }
    }
}

fn text(value: Option<&Value>) -> Option<&str> {
    value.and_then(Value::as_str).filter(|text| !text.is_empty())
}

fn tags(value: Option<&Value>) -> Option<std::sync::Arc<[(String, String)]>> {
    let tags = value?.as_object()?;
    Some(
        tags.iter()
            .map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_owned()))
            .collect(),
    )
}
