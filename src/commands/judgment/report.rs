//! The report about one identity, for programs and for people: `check` prints one, `audit` one per ServiceAccount and association.

use std::fmt::{self, Write as _};

use serde::Serialize;

use crate::commands::exit::Exit;
use crate::commands::output::{self, BAD, COMMAND, DOUBT, GOOD, STRONG, Styled, fields};
use crate::commands::wrap::wrap;
use crate::decision::messages::{self, Message};
use crate::decision::{Judged, Why};
use crate::pod::identity::MalformedAnnotation;
use crate::reports::{Item, Level, Object, Remark};
use crate::support::text;
use crate::trust::{Association, Cause, Hop, Lint, PolicyError, RoleArn, Verdict, WebIdentity};

/// The verdict on an input that cannot be read.
pub(crate) const MALFORMED: &str = "malformed";

/// The verdict on an object without a role.
pub(crate) const NOT_JUDGED: &str = "none";

/// The reason of a verdict `trusted`.
pub(crate) const TRUSTED: &str = "the trust policy lets this web identity assume the role";

/// The same of an association.
const TRUSTED_ASSOCIATION: &str = "the trust policies let EKS Pod Identity assume the roles";

/// The reason of a policy that IAM would refuse.
pub(crate) fn not_stored(error: &PolicyError) -> String {
    format!("IAM would refuse this policy: {error}")
}

const fn exit_of(verdict: Verdict) -> Exit {
    match verdict {
        Verdict::Trusted => Exit::Yes,
        Verdict::NotTrusted => Exit::No,
        Verdict::Undecided | Verdict::Unknown => Exit::Unclear,
    }
}

/// One evaluation. Its JSON is documented in `docs/reference/check.md`.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Report {
    verdict: &'static str,
    cause: Option<&'static str>,
    /// Line 1 of the message.
    summary: String,
    reason: String,
    hint: Option<String>,
    undecided_keys: Vec<String>,
    lints: Vec<LintReport>,
    role_arn: String,
    /// None for an association, as the two after it.
    issuer: Option<String>,
    subject: Option<String>,
    audience: Option<String>,
    policy_from: Option<String>,
    /// What to do: a command where there is one.
    fix: Option<String>,
    #[serde(skip)]
    message: Message,
    #[serde(skip)]
    exit: Exit,
}

/// A remark about the policy, independent of the verdict.
#[derive(Clone, Debug, Serialize)]
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
    /// Of a role that was evaluated, or could not be evaluated.
    pub(crate) fn of_judged(
        judged: Judged,
        identity: WebIdentity,
        lints: Vec<LintReport>,
        policy_from: Option<String>,
    ) -> Self {
        let (namespace, name) = identity.subject.namespace_and_name().unwrap_or_default();
        let message = messages::about_judged(&judged, &identity, namespace, name);
        let exit = exit_of(judged.verdict);
        let (reason, undecided_keys) = match &judged.why {
            Why::Trusted => (TRUSTED.to_owned(), Vec::new()),
            Why::Explained(explanation) => (judged.reason(&identity), explanation.undecided_keys.clone()),
            _ => (judged.reason(&identity), Vec::new()),
        };
        Self {
            verdict: judged.verdict.as_str(),
            cause: judged.cause.map(Cause::as_str),
            reason,
            hint: judged.hint(&identity),
            undecided_keys,
            lints,
            policy_from,
            ..Self::about(message, judged.role.to_string(), &identity, exit)
        }
    }

    /// Of a role of an association that was evaluated, or could not be evaluated.
    pub(crate) fn of_hop(
        judged: &Judged,
        association: &Association,
        hop: Hop,
        lints: Vec<LintReport>,
        policy_from: Option<String>,
    ) -> Self {
        let message = messages::about_association(judged, association, hop);
        let reason = match &judged.why {
            Why::Trusted => TRUSTED_ASSOCIATION.to_owned(),
            Why::Malformed(reason) => format!("IAM would refuse this policy: {reason}"),
            _ => judged.reason_of_association(association, hop),
        };
        let undecided_keys = match &judged.why {
            Why::Explained(explanation) => explanation.undecided_keys.clone(),
            _ => Vec::new(),
        };
        Self {
            verdict: match &judged.why {
                Why::Malformed(_) => MALFORMED,
                _ => judged.verdict.as_str(),
            },
            cause: judged.cause.map(Cause::as_str),
            reason,
            undecided_keys,
            lints,
            policy_from,
            ..Self::with_message(message, judged.role.to_string(), exit_of(judged.verdict))
        }
    }

    /// With one more lint.
    pub(crate) fn with_lint(mut self, lint: Option<Lint>) -> Self {
        self.lints.extend(lint.map(LintReport::from));
        self
    }

    /// Of a policy that IAM would refuse.
    pub(crate) fn malformed(role: RoleArn, identity: WebIdentity, error: &str, policy_from: Option<String>) -> Self {
        let judged = Judged::unknown(role, Why::Malformed(error.to_owned()));
        Self {
            verdict: MALFORMED,
            reason: format!("IAM would refuse this policy: {error}"),
            ..Self::of_judged(judged, identity, Vec::new(), policy_from)
        }
    }

    /// The role annotation is there and is not the ARN of a role.
    pub(crate) fn malformed_annotation(malformed: &MalformedAnnotation, identity: WebIdentity, prefix: &str) -> Self {
        let (namespace, name) = identity.subject.namespace_and_name().unwrap_or_default();
        let message = messages::about_malformed(malformed, namespace, name, prefix);
        Self {
            verdict: MALFORMED,
            cause: Some(Cause::MalformedAnnotation.as_str()),
            reason: format!("{} is not a role ARN: {}", text::value(&malformed.key), malformed.error),
            ..Self::about(message, malformed.value.clone(), &identity, Exit::No)
        }
    }

    /// Only a key that was probably meant to be the role annotation is there.
    pub(crate) fn look_alike(identity: WebIdentity, key: &str, prefix: &str) -> Self {
        let (namespace, name) = identity.subject.namespace_and_name().unwrap_or_default();
        let message = messages::about_look_alike(key, namespace, name, prefix);
        Self {
            verdict: MALFORMED,
            cause: Some(Cause::NoRole.as_str()),
            reason: format!(
                "the annotation {} does not set a role; use {prefix}role-arn",
                text::value(key)
            ),
            ..Self::about(message, String::new(), &identity, Exit::No)
        }
    }

    /// Of an object that refers to a ServiceAccount.
    pub(crate) fn of_object(message: Message, verdict: Option<Verdict>, cause: Option<Cause>, exit: Exit) -> Self {
        Self {
            verdict: verdict.map_or(NOT_JUDGED, Verdict::as_str),
            cause: cause.map(Cause::as_str),
            reason: message.first().to_owned(),
            ..Self::with_message(message, String::new(), exit)
        }
    }

    /// Without remarks, which belong to another row.
    pub(crate) fn without_lints(self) -> Self {
        Self {
            lints: Vec::new(),
            ..self
        }
    }

    fn about(message: Message, role_arn: String, identity: &WebIdentity, exit: Exit) -> Self {
        Self {
            issuer: Some(identity.issuer.as_str().to_owned()),
            subject: Some(identity.subject.as_str().to_owned()),
            audience: Some(identity.audience.as_str().to_owned()),
            ..Self::with_message(message, role_arn, exit)
        }
    }

    fn with_message(message: Message, role_arn: String, exit: Exit) -> Self {
        let fix = message.rows().find(|(label, _)| *label == "fix");
        Self {
            verdict: Verdict::Unknown.as_str(),
            cause: None,
            summary: message.first().to_owned(),
            reason: String::new(),
            hint: None,
            undecided_keys: Vec::new(),
            lints: Vec::new(),
            role_arn,
            issuer: None,
            subject: None,
            audience: None,
            policy_from: None,
            fix: fix.map(|(_, fix)| fix.to_owned()),
            message,
            exit,
        }
    }

    /// With the lints of another report.
    pub(crate) fn with_lints_of(mut self, other: Self) -> Self {
        self.lints.extend(other.lints);
        self
    }

    /// With another role in its row: a message about a target role names that.
    pub(crate) fn with_role(self, role_arn: String) -> Self {
        Self { role_arn, ..self }
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

    /// As a finding about an object whose identity it is.
    pub(crate) fn item(&self, kind: &str, namespace: &str, name: &str) -> Item {
        let level = match self.exit {
            Exit::Yes => Level::Pass,
            Exit::Unclear => Level::Unclear,
            Exit::No => Level::Fail,
        };
        let object = Object {
            kind,
            namespace,
            name,
            role: &self.role_arn,
        };
        let lints = self.lints.iter().map(|LintReport { code, message }| Remark {
            code,
            message: message.clone(),
        });
        Item::new(
            object,
            (level, self.verdict, self.cause),
            self.message.first(),
            self.message.rows(),
        )
        .with_lints(lints)
    }

    pub(crate) const fn message(&self) -> &Message {
        &self.message
    }

    pub(crate) fn lints(&self) -> &[LintReport] {
        &self.lints
    }

    /// For people: the verdict, the message, what was evaluated.
    pub(crate) fn text(&self) -> String {
        self.wrapped(output::width())
    }

    fn wrapped(&self, columns: Option<usize>) -> String {
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
        wrap(&mut text, &self.summary, columns.unwrap_or(usize::MAX), "", "");
        text.push('\n');
        let mut rows: Vec<(&str, String)> = self
            .message
            .rows()
            .map(|(label, value)| match label {
                "fix" => (label, Styled(COMMAND, output::as_typed(value)).to_string()),
                "docs" => (label, output::as_typed(value).into_owned()),
                _ => (label, value.to_owned()),
            })
            .collect();
        if rows.iter().all(|(label, _)| *label != "role") {
            rows.insert(0, ("role", text::value(&self.role_arn)));
        }
        let steps = rows
            .iter()
            .position(|(label, _)| matches!(*label, "edit" | "fix" | "docs"))
            .unwrap_or(rows.len());
        let judged = [
            ("issuer", self.issuer.as_ref()),
            ("subject", self.subject.as_ref()),
            ("audience", self.audience.as_ref()),
            ("policy", self.policy_from.as_ref()),
        ];
        let judged = judged
            .into_iter()
            .filter_map(|(label, value)| Some((label, text::value(value?))));
        rows.splice(steps..steps, judged);
        text.push_str(&fields(&rows, columns));
        for lint in &self.lints {
            let note = format!("{} {lint}", Styled(DOUBT, "note:"));
            wrap(&mut text, &note, columns.unwrap_or(usize::MAX), "  ", "        ");
        }
        text
    }
}
