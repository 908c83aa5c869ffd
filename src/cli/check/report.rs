//! What `check` says of one web identity, for programs and for people.

use std::fmt::Write as _;

use serde::Serialize;

use crate::cli::Exit;
use crate::cli::output::{BAD, COMMAND, DOUBT, GOOD, STRONG, Styled, fields, shell_word};
use crate::iam::{Cause, Judgement, Lint, RoleArn, Verdict, WebIdentity};
use crate::pod::escape_control;

/// One judgement. Its JSON is documented in `docs/reference/check.md`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Report {
    verdict: &'static str,
    cause: Option<&'static str>,
    reason: String,
    hint: Option<String>,
    undecided_keys: Vec<String>,
    lints: Vec<LintReport>,
    role_arn: String,
    issuer: String,
    subject: String,
    audience: String,
    policy_from: Option<String>,
    /// The command that prints the right policy, where that would help.
    fix: Option<String>,
    #[serde(skip)]
    exit: Exit,
}

/// Something too wide in the policy.
#[derive(Debug, Serialize)]
pub(super) struct LintReport {
    code: &'static str,
    message: String,
}

impl From<Lint> for LintReport {
    fn from(Lint { code, message, .. }: Lint) -> Self {
        Self { code, message }
    }
}

impl Report {
    pub(super) fn about(role: &RoleArn, identity: &WebIdentity) -> Self {
        Self {
            verdict: Verdict::Unknown.as_str(),
            cause: None,
            reason: String::new(),
            hint: None,
            undecided_keys: Vec::new(),
            lints: Vec::new(),
            role_arn: role.to_string(),
            issuer: identity.issuer.as_str().to_owned(),
            subject: identity.subject.as_str().to_owned(),
            audience: identity.audience.as_str().to_owned(),
            policy_from: None,
            fix: trust_policy_command(role, identity),
            exit: Exit::Unclear,
        }
    }

    pub(super) fn with_policy_from(self, origin: String) -> Self {
        Self {
            policy_from: Some(origin),
            ..self
        }
    }

    pub(super) fn unknown(self, reason: &str) -> Self {
        Self {
            reason: reason.to_owned(),
            fix: None,
            ..self
        }
    }

    pub(super) fn no_such_role(self, hint: Option<&str>) -> Self {
        Self {
            verdict: Verdict::NotTrusted.as_str(),
            cause: Some(Cause::RoleNotFound.as_str()),
            reason: "no role of this ARN exists".to_owned(),
            hint: hint.map(str::to_owned),
            fix: None,
            exit: Exit::No,
            ..self
        }
    }

    pub(super) fn malformed(self, error: &str) -> Self {
        let reason = format!("IAM would not store this policy: {error}");
        Self {
            verdict: super::batch::MALFORMED,
            reason,
            ..self
        }
    }

    pub(super) fn judged(self, judgement: Judgement, lints: Vec<LintReport>) -> Self {
        let Judgement { verdict, explanation } = judgement;
        let exit = match verdict {
            Verdict::Trusted => Exit::Yes,
            Verdict::NotTrusted => Exit::No,
            Verdict::Undecided | Verdict::Unknown => Exit::Unclear,
        };
        // Nothing is wrong with a policy that depends on what only STS knows.
        let fix = self.fix.filter(|_| verdict == Verdict::NotTrusted);
        let (cause, reason, hint, undecided_keys) = match explanation {
            Some(why) => (why.cause.map(Cause::as_str), why.reason, why.hint, why.undecided_keys),
            None => (None, TRUSTED.to_owned(), None, Vec::new()),
        };
        let verdict = verdict.as_str();
        Self {
            verdict,
            cause,
            reason,
            hint,
            undecided_keys,
            lints,
            fix,
            exit,
            ..self
        }
    }

    pub(super) fn exit(&self) -> Exit {
        self.exit
    }

    /// For people: the verdict first, then the words, then what was judged.
    pub(super) fn text(&self) -> String {
        let (style, sign, word) = match self.verdict {
            "trusted" => (GOOD, "✓", "trusted"),
            "not-trusted" => (BAD, "✗", "not trusted"),
            other => (DOUBT, "?", other),
        };
        let mut text = format!("{style}{sign} {word}{style:#}");
        // Writing to a String cannot fail.
        let _ = match self.cause {
            Some(cause) => writeln!(text, "  {STRONG}{cause}{STRONG:#}"),
            None => writeln!(text),
        };
        let _ = writeln!(text, "  {}", self.reason);
        if let Some(hint) = &self.hint {
            let _ = writeln!(text, "  {hint}");
        }
        for lint in &self.lints {
            let _ = writeln!(
                text,
                "  {} {} ({})",
                Styled(DOUBT, "too wide:"),
                lint.message,
                lint.code
            );
        }
        text.push('\n');
        let mut rows = vec![
            ("role", self.role_arn.clone()),
            ("issuer", self.issuer.clone()),
            ("subject", self.subject.clone()),
            ("audience", escape_control(&self.audience).into_owned()),
        ];
        rows.extend(self.policy_from.as_ref().map(|origin| ("policy", origin.clone())));
        text.push_str(&fields(&rows));
        if let Some(fix) = &self.fix {
            let _ = writeln!(
                text,
                "\nThe policy that is right (--merge FILE adds it to one that exists):\n  {}",
                Styled(COMMAND, fix)
            );
        }
        text
    }
}

/// The reason of a judgement that is trusted.
pub(super) const TRUSTED: &str = "the trust policy lets this web identity assume the role";

/// The command that prints the policy which trusts this web identity; none for a subject that is no ServiceAccount's.
pub(super) fn trust_policy_command(role: &RoleArn, identity: &WebIdentity) -> Option<String> {
    let (namespace, service_account) = identity.subject.namespace_and_name()?;
    let mut command = format!(
        "rolegate trust-policy --account {} --issuer {} --namespace {} --service-account {}",
        role.account(),
        shell_word(identity.issuer.as_str()),
        shell_word(namespace),
        shell_word(service_account)
    );
    if role.partition() != "aws" {
        let _ = write!(command, " --partition {}", role.partition());
    }
    if identity.audience.as_str() != crate::cli::values::DEFAULT_AUDIENCE {
        let _ = write!(command, " --audience {}", shell_word(identity.audience.as_str()));
    }
    Some(command)
}
