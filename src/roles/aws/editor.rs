//! Reads one role and replaces its trust policy, for `rolegate trust-policy --apply`. The webhook never writes.
//!
//! Each function makes one call and reports its outcome: the person who ran the command decides whether to run it again.

use std::sync::Arc;

use aws_sdk_iam::operation::update_assume_role_policy::UpdateAssumeRolePolicyError;

use super::{AccountRoles, Whose};
use crate::aws::{AwsSettings, Fault, Session, shortened};
use crate::support::text;
use crate::trust::{AccountId, RoleArn};

/// Reads and writes the roles of one account.
#[derive(Debug)]
pub struct RoleEditor {
    account: AccountId,
    roles: AccountRoles,
}

/// A role as IAM has it now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CurrentRole {
    /// The one that was asked for, path included.
    pub arn: RoleArn,
    /// The text of its trust policy: JSON, byte for byte as it was written.
    pub document: String,
    /// Keys and values.
    pub tags: Vec<(String, String)>,
}

/// An editor of the roles of an account: with the credentials of the person who runs the command, or with those of the role that
/// `--assume-role` names for the account.
///
/// # Errors
/// One line: there are no credentials, or they are of another account.
pub async fn open_editor(settings: &AwsSettings, account: &AccountId) -> Result<RoleEditor, String> {
    let session = Arc::new(Session::new(settings));
    let assumed = settings.assume.iter().find(|(assumed, _)| assumed == account);
    let whose = match assumed {
        Some((account, role)) => Whose::Assumed {
            account: account.clone(),
            role: role.clone(),
        },
        None => Whose::Own,
    };
    let roles = AccountRoles::new(session, whose);
    roles.check_caller().await.map_err(reason)?;
    match roles.account() {
        Some(own) if own != account => Err(format!(
            "the AWS credentials are of account {own}, not {account}; use a --profile of that account, or --assume-role \
             {account}=ROLE_ARN"
        )),
        _ => Ok(RoleEditor {
            account: account.clone(),
            roles,
        }),
    }
}

impl RoleEditor {
    /// Reads a role.
    ///
    /// # Errors
    /// One line that names the role and the next step.
    pub async fn read(&self, role: &RoleArn) -> Result<CurrentRole, String> {
        self.check_account(role)?;
        let found = self.roles.get_role(role).await.map_err(|fault| failed(role, fault))?;
        let found = found.ok_or_else(|| absent(role))?;
        if found.arn != role.as_str() {
            return Err(elsewhere(role, &found.arn));
        }
        // IAM hands out what is percent-encoded; `+` stays `+`.
        let encoded = found.assume_role_policy_document.unwrap_or_default();
        let document = percent_encoding::percent_decode_str(&encoded).decode_utf8();
        match document {
            Ok(document) if !document.is_empty() => Ok(CurrentRole {
                arn: role.clone(),
                document: document.into_owned(),
                tags: found
                    .tags
                    .unwrap_or_default()
                    .into_iter()
                    .map(|tag| (tag.key, tag.value))
                    .collect(),
            }),
            _ => Err(format!(
                "{role}: iam:GetRole: the response contains no trust policy; run the command again"
            )),
        }
    }

    /// Replaces the trust policy of a role. `document` is plain JSON.
    ///
    /// # Errors
    /// One line that names the role and the next step. Unless it says otherwise, the trust policy is what it was.
    pub async fn write(&self, role: &RoleArn, document: &str) -> Result<(), String> {
        self.check_account(role)?;
        let client = self.roles.client().await;
        let call = client
            .update_assume_role_policy()
            .role_name(role.name())
            .policy_document(document);
        let Err(error) = call.send().await else { return Ok(()) };
        if let Some(refusal) = error.as_service_error().and_then(|error| refusal(role, error)) {
            return Err(refusal);
        }
        let is_answer = error.as_service_error().is_some();
        let reason = match self.roles.fault("iam:UpdateAssumeRolePolicy", &error).await {
            Fault::Absent => absent(role),
            fault => failed(role, fault),
        };
        Err(if is_answer {
            reason
        } else {
            format!(
                "{reason}; the trust policy might have been changed all the same; compare it with: aws iam get-role --role-name {}",
                role.name()
            )
        })
    }

    fn check_account(&self, role: &RoleArn) -> Result<(), String> {
        if role.account() == self.account.as_str() {
            return Ok(());
        }
        Err(format!(
            "{role}: the AWS credentials are for account {}; use a --profile of account {}",
            self.account,
            role.account()
        ))
    }
}

/// IAM's own objection to a new trust policy.
fn refusal(role: &RoleArn, error: &UpdateAssumeRolePolicyError) -> Option<String> {
    use UpdateAssumeRolePolicyError as E;
    let reason_given = |message: Option<&str>| shortened(message.unwrap_or("no message"));
    Some(match error {
        E::MalformedPolicyDocumentException(error) => format!(
            "{role}: IAM does not accept the new trust policy ({}); remove or replace what it names",
            reason_given(error.message())
        ),
        E::LimitExceededException(error) => format!(
            "{role}: the new trust policy is too long for this account ({}); remove statements, or ask for a higher quota \
             \"Role trust policy length\" in Service Quotas",
            reason_given(error.message())
        ),
        E::UnmodifiableEntityException(error) => format!(
            "{role}: only the AWS service that owns the role can change it ({}); use another role",
            reason_given(error.message())
        ),
        _ => return None,
    })
}

fn reason(fault: Fault) -> String {
    fault.into_reason().to_string()
}

fn failed(role: &RoleArn, fault: Fault) -> String {
    format!("{role}: {}", reason(fault))
}

fn absent(role: &RoleArn) -> String {
    format!(
        "{role} does not exist; check its name and account, or create it: aws iam create-role --role-name {}",
        role.name()
    )
}

/// `GetRole` finds a role by its name, whatever its path.
fn elsewhere(role: &RoleArn, found: &str) -> String {
    match RoleArn::parse(found) {
        Ok(found) => format!("{role} does not exist; the role of that name is {found}: use that ARN"),
        Err(error) => format!(
            "{role} does not exist; the role of that name is {}, which cannot be used: {error}",
            text::value(found)
        ),
    }
}
