//! What `check` says of one web identity, for programs and for people.

use std::fmt::{self, Write as _};

use serde::Serialize;

use crate::cli::Exit;
use crate::cli::output::{BAD, COMMAND, DOUBT, GOOD, STRONG, Styled, fields};
use crate::iam::{Cause, Judgement, Lint, RoleArn, Verdict, WebIdentity};
use crate::support::text::{self, shell::Command};

/// One judgement. Its JSON is documented in `docs/reference/check.md`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Report {
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
pub(crate) struct LintReport {
    code: &'static str,
    message: String,
}

impl fmt::Display for LintReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.message, self.code)
    }
}

impl From<Lint> for LintReport {
    fn from(Lint { code, message, .. }: Lint) -> Self {
        Self { code, message }
    }
}

impl Report {
    pub(crate) fn about(role: &RoleArn, identity: &WebIdentity) -> Self {
        Self {
            fix: trust_policy_command(role, identity),
            ..Self::of(role.to_string(), identity)
        }
    }

    /// Nothing is known yet.
    fn of(role_arn: String, identity: &WebIdentity) -> Self {
        Self {
            verdict: Verdict::Unknown.as_str(),
            cause: None,
            reason: String::new(),
            hint: None,
            undecided_keys: Vec::new(),
            lints: Vec::new(),
            role_arn,
            issuer: identity.issuer.as_str().to_owned(),
            subject: identity.subject.as_str().to_owned(),
            audience: identity.audience.as_str().to_owned(),
            policy_from: None,
            fix: None,
            exit: Exit::Unclear,
        }
    }

    pub(crate) fn with_policy_from(self, origin: String) -> Self {
        Self {
            policy_from: Some(origin),
            ..self
        }
    }

    pub(crate) fn unknown(self, reason: &str) -> Self {
        Self {
            reason: reason.to_owned(),
            fix: None,
            ..self
        }
    }

    pub(crate) fn no_such_role(self, hint: Option<&str>) -> Self {
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

    pub(crate) fn malformed(self, error: &str) -> Self {
        let reason = format!("IAM would not store this policy: {error}");
        Self {
            verdict: super::batch::MALFORMED,
            reason,
            ..self
        }
    }

    pub(crate) fn judged(self, judgement: Judgement, lints: Vec<LintReport>) -> Self {
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

    /// With another command than the one that prints the right policy.
    pub(crate) fn with_fix(self, fix: String) -> Self {
        Self { fix: Some(fix), ..self }
    }

    /// The role annotation is there and names no role.
    pub(crate) fn malformed_annotation(
        value: &str,
        identity: &WebIdentity,
        key: &str,
        error: &str,
        annotate: String,
    ) -> Self {
        Self {
            verdict: super::batch::MALFORMED,
            cause: Some(Cause::MalformedAnnotation.as_str()),
            reason: format!("{} is no role ARN: {error}", text::value(key)),
            fix: Some(annotate),
            exit: Exit::No,
            ..Self::of(text::value(value), identity)
        }
    }

    /// Only a key that was probably meant to be the role annotation is there.
    pub(crate) fn look_alike(identity: &WebIdentity, key: &str, prefix: &str, annotate: String) -> Self {
        Self {
            verdict: super::batch::MALFORMED,
            cause: Some(Cause::NoRole.as_str()),
            reason: format!(
                "the annotation {} gives no role; {prefix}role-arn would",
                text::value(key)
            ),
            fix: Some(annotate),
            exit: Exit::No,
            ..Self::of(String::new(), identity)
        }
    }

    pub(crate) const fn exit(&self) -> Exit {
        self.exit
    }

    pub(crate) const fn word(&self) -> &'static str {
        self.verdict
    }

    pub(crate) const fn cause(&self) -> Option<&'static str> {
        self.cause
    }

    pub(crate) fn role(&self) -> &str {
        &self.role_arn
    }

    pub(crate) fn reason(&self) -> &str {
        &self.reason
    }

    pub(crate) fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    pub(crate) fn fix(&self) -> Option<&str> {
        self.fix.as_deref()
    }

    pub(crate) fn lints(&self) -> &[LintReport] {
        &self.lints
    }

    /// For people: the verdict first, then the words, then what was judged.
    pub(crate) fn text(&self) -> String {
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
            let _ = writeln!(text, "  {} {lint}", Styled(DOUBT, "too wide:"));
        }
        text.push('\n');
        let mut rows = vec![
            ("role", self.role_arn.clone()),
            ("issuer", self.issuer.clone()),
            ("subject", self.subject.clone()),
            ("audience", text::value(&self.audience)),
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
    let mut command = Command::new("rolegate trust-policy")
        .flag("--account")
        .arg(role.account())
        .flag("--issuer")
        .arg(identity.issuer.as_str())
        .flag("--namespace")
        .arg(namespace)
        .flag("--service-account")
        .arg(service_account);
    if role.partition() != "aws" {
        command = command.flag("--partition").arg(role.partition());
    }
    if identity.audience.as_str() != crate::cli::values::DEFAULT_AUDIENCE {
        command = command.flag("--audience").arg(identity.audience.as_str());
    }
    command.finish()
}
