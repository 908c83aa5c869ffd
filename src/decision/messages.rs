//! Every sentence about a decision or an explanation that people read: refusals, warnings, Events, and the output of commands.
//!
//! Line 1 can be understood on its own, because `kubectl get events` and many job systems show nothing else: what is wrong, for whom, what
//! the policy allows instead, and the cause in parentheses. It is followed by aligned rows of `label  value`: what was found, what is
//! needed, how to fix it, and where to read more. A command is complete and quoted for a shell, or it is omitted.

mod association;
pub(crate) mod commands;
mod containers;
pub mod explanation;
mod pod_identity;
pub(crate) mod workload;

pub use self::association::about_association;
use super::{DecisionSettings, Finding, Judged, Owner, RequireRole, Why};
use crate::pod::Warning;
use crate::pod::identity::{AnnotationError, MalformedAnnotation, did_you_mean};
use crate::pod::misplaced::belongs_on_service_account;
use crate::support::text;
use crate::trust::{Cause, RoleArn, Verdict, WebIdentity};

/// The longest first line, in characters.
pub const FIRST_LINE_CHARS: usize = 200;

/// The most lines that a message has.
pub const MAX_LINES: usize = 9;

/// If the first line would be too long, names in it are shortened to this many characters.
const SHORT_NAME_CHARS: usize = 30;

/// A message: a line that can be understood on its own, and rows with details.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    first: String,
    rows: Vec<(&'static str, String)>,
    /// Whether the fix is explained where the documentation is, so that it does not stand alone.
    fix_needs_docs: bool,
}

/// The ServiceAccount that a first line is about.
pub(crate) struct Subject<'a> {
    pub(crate) namespace: &'a str,
    pub(crate) service_account: &'a str,
}

impl Message {
    /// A message whose first line is `IAM role "ROLE" PREDICATE ServiceAccount NAMESPACE/NAME: CLAUSE (WORD)`.
    pub(crate) fn about_role(role: &str, predicate: &str, subject: &Subject<'_>, clause: &str, word: &str) -> Self {
        let line = |role: &str, namespace: &str, name: &str, clause: &str| {
            format!("IAM role \"{role}\" {predicate} ServiceAccount {namespace}/{name}: {clause} ({word})")
        };
        Self::first_line(role, subject, clause, line)
    }

    /// A message whose first line is `ServiceAccount NAMESPACE/NAME CLAUSE (WORD)`.
    fn about_account(subject: &Subject<'_>, clause: &str, word: &str) -> Self {
        let line = |_: &str, namespace: &str, name: &str, clause: &str| {
            format!("ServiceAccount {namespace}/{name}{clause} ({word})")
        };
        Self::first_line("", subject, clause, line)
    }

    /// The longest form of a line that fits: first, names are shortened in the middle, then the clause at its end.
    fn first_line(
        role: &str,
        subject: &Subject<'_>,
        clause: &str,
        line: impl Fn(&str, &str, &str, &str) -> String,
    ) -> Self {
        let clause = &*text::escape(clause);
        let (role, namespace, name) = (
            text::value(role),
            text::value(subject.namespace),
            text::value(subject.service_account),
        );
        let whole = line(&role, &namespace, &name, clause);
        if whole.chars().count() <= FIRST_LINE_CHARS {
            return Self::new(whole);
        }
        let with_names = |most: usize| {
            let short = |text: &str| text::shorten(text, most).into_owned();
            let (role, namespace, name) = (short(&role), short(&namespace), short(&name));
            let others = line(&role, &namespace, &name, "").chars().count();
            let left = FIRST_LINE_CHARS.saturating_sub(others);
            (line(&role, &namespace, &name, &text::truncate(clause, left)), left)
        };
        // Half of the clause is more useful than complete names.
        let (first, left) = with_names(text::MAX_VALUE_CHARS);
        if left >= clause.chars().count().div_ceil(2).max(40) {
            return Self::new(first);
        }
        Self::new(with_names(SHORT_NAME_CHARS).0)
    }

    fn new(first: String) -> Self {
        Self {
            first,
            rows: Vec::new(),
            fix_needs_docs: false,
        }
    }

    fn row(mut self, label: &'static str, value: impl Into<Option<String>>) -> Self {
        if let Some(value) = value.into() {
            self.rows.push((label, text::escape(&value).into_owned()));
        }
        self
    }

    /// The rows of a fix that is a goal, not a command, and of the documentation that says how to reach it.
    fn fix_with_docs(mut self, fix: &str, docs: String) -> Self {
        self.fix_needs_docs = true;
        self.row("fix", fix.to_owned()).row("docs", docs)
    }

    /// Adds a row if line 1 does not contain the complete value.
    fn row_if_cut(self, label: &'static str, value: &str) -> Self {
        let value = text::escape(value);
        if self.first.contains(&*value) {
            return self;
        }
        self.row(label, value.into_owned())
    }

    /// Line 1.
    #[must_use]
    pub fn first(&self) -> &str {
        &self.first
    }

    /// The rows: label and value.
    pub fn rows(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.rows.iter().map(|(label, value)| (*label, value.as_str()))
    }

    /// The value of a row.
    fn value_of(&self, wanted: &str) -> Option<&str> {
        self.rows().find(|(label, _)| *label == wanted).map(|(_, value)| value)
    }

    /// The whole message: at most [`MAX_LINES`] lines and 2 KiB. A row that does not fit is left out as a whole.
    #[must_use]
    pub fn text(&self) -> String {
        let mut message = self.first.clone();
        let mut lines = 1;
        for (label, value) in self.rows() {
            let line = format!("\n  {label:7}  {value}");
            if lines < MAX_LINES && message.len().saturating_add(line.len()) <= text::MAX_MESSAGE_BYTES {
                message.push_str(&line);
                lines += 1;
            }
        }
        message
    }

    /// Two warnings: line 1, and how to fix it, with the problem unless the fix is a command that can be copied as it is.
    #[must_use]
    pub fn warnings(&self) -> Vec<Warning> {
        let fits = |line: &String| line.chars().count() <= Warning::MAX_CHARACTERS;
        let line = |label: &str| Some(format!("fix: {}", self.value_of(label)?));
        let with_docs = || Some(format!("{}; see {}", line("fix")?, self.value_of("docs")?));
        let with_problem = || {
            let is_command = |fix: &str| fix.starts_with("kubectl ") && !fix.contains(commands::ROLE_PLACEHOLDER);
            let fix = self.value_of("fix").filter(|fix| !is_command(fix))?;
            Some(format!("fix: {fix} ({})", self.value_of("problem")?))
        };
        let complete = self.fix_needs_docs.then(with_docs).flatten();
        let problem = || Some(format!("fix: {}", self.value_of("problem")?));
        let fixes = [complete, with_problem(), line("fix"), problem(), line("docs")];
        let fix = fixes.into_iter().flatten().find(fits);
        [Some(self.first.clone()), fix]
            .into_iter()
            .flatten()
            .map(|line| Warning::new(&line))
            .collect()
    }
}

/// A message on one line, as for a table: line 1, then what to do, in at most `max_bytes`. A part that does not fit is omitted completely.
#[must_use]
pub fn one_line(message: &str, max_bytes: usize) -> String {
    let mut lines = message.lines();
    let mut line = text::truncate_bytes(lines.next().unwrap_or_default(), max_bytes).into_owned();
    for (label, value) in lines.filter_map(|row| row.trim_start().split_once("  ")) {
        let part = format!("; {label}: {}", value.trim_start());
        if matches!(label, "fix" | "then" | "docs") && line.len().saturating_add(part.len()) <= max_bytes {
            line.push_str(&part);
        }
    }
    line
}

/// The message of a refusal.
pub(super) fn refusal(finding: &Finding<'_>, owner: &Owner<'_>) -> Message {
    let message = about(finding, owner);
    match owner
        .restart
        .and_then(|restart| commands::restart(restart, owner.namespace))
    {
        // Above the documentation, in the order of the steps.
        Some(command) => {
            let docs = message.rows.len().saturating_sub(1);
            let mut message = message;
            message.rows.insert(docs, ("then", command));
            message
        }
        None => message,
    }
}

/// The warnings about a finding: the same text as in a refusal. Empty if there is nothing to warn about.
pub(super) fn warnings(settings: DecisionSettings, finding: &Finding<'_>, owner: &Owner<'_>) -> Vec<Warning> {
    match finding {
        Finding::NoRole { .. } | Finding::NoIdentity { .. } if settings.require_role == RequireRole::Off => Vec::new(),
        Finding::OwnCredentials { .. } if !settings.checks_own_credentials() => Vec::new(),
        Finding::Judged(judged, _) | Finding::Associated { judged, .. } if judged.verdict == Verdict::Trusted => {
            Vec::new()
        }
        _ => about(finding, owner).warnings(),
    }
}

fn about(finding: &Finding<'_>, owner: &Owner<'_>) -> Message {
    let subject = Subject {
        namespace: owner.namespace,
        service_account: owner.service_account,
    };
    let docs = |word: &str| docs(owner.docs_url, word);
    match finding {
        Finding::NoRole { account_exists, of_pod } => {
            let word = Cause::NoRole.as_str();
            let (clause, fix) = if *account_exists {
                let annotate = commands::annotate(&subject, owner.prefix);
                (
                    " has no IAM role, and this namespace requires one",
                    annotate.unwrap_or_else(|| ANNOTATE.to_owned()),
                )
            } else {
                // It cannot be annotated.
                (
                    " does not exist, and this namespace requires an IAM role",
                    CREATE_ACCOUNT.to_owned(),
                )
            };
            Message::about_account(&subject, clause, word)
                .row("note", of_pod.map(belongs_on_service_account))
                .row("fix", fix)
                .row("docs", docs(word))
        }
        Finding::Malformed(malformed) => of_malformed(malformed, &subject, owner.prefix, docs),
        Finding::Conflict(conflict) => {
            let word = Cause::Conflict.as_str();
            let clause = format!(": the pod conflicts with its token: {}", conflict.message);
            Message::about_account(&subject, &clause, word)
                .row_if_cut("found", &conflict.message)
                .row("fix", conflict.fix.to_owned())
                .row("docs", docs(word))
        }
        Finding::Judged(judged, identity) => of_role(judged, identity, &subject, docs),
        Finding::Associated {
            judged,
            association,
            hop,
        } => association::of_role(judged, association, *hop, docs),
        Finding::NoAssociation { cluster } => pod_identity::no_association(&subject, *cluster, docs),
        Finding::AssociationNotInjected => pod_identity::not_injected(&subject, docs),
        Finding::UnsupportedCompute(compute) => {
            pod_identity::unsupported_compute(&subject, *compute, owner.prefix, docs)
        }
        Finding::AssociationUnreadable { why, .. } => pod_identity::unreadable(&subject, why, docs),
        Finding::Unverifiable { container, others, why } => {
            let word = Verdict::Unknown.as_str();
            let (clause, fix) = containers::unverifiable(container, *others, why);
            Message::about_account(&subject, &clause, word)
                .row("fix", fix)
                .row("docs", docs(word))
        }
        Finding::OwnCredentials {
            container,
            others,
            variable,
        } => {
            let word = Verdict::Unknown.as_str();
            let (clause, fix) = containers::own_credentials(container, *others, variable);
            Message::about_account(&subject, &clause, word)
                .row("fix", fix)
                .row("docs", docs(word))
        }
        Finding::NoIdentity { container, others, why } => {
            let word = Cause::NoRole.as_str();
            let (clause, fix) = containers::no_identity(container, *others, *why);
            Message::about_account(&subject, &clause, word)
                .row("fix", fix)
                .row("docs", docs(word))
        }
    }
}

/// The message about a role in the output of commands: the same as in a refusal.
#[must_use]
pub fn about_judged(judged: &Judged, identity: &WebIdentity, namespace: &str, service_account: &str) -> Message {
    let subject = Subject {
        namespace,
        service_account,
    };
    of_role(judged, identity, &subject, |word| docs(None, word))
}

/// The message about a malformed role annotation in the output of commands: the same as in a refusal.
#[must_use]
pub(crate) fn about_malformed(
    malformed: &MalformedAnnotation,
    namespace: &str,
    service_account: &str,
    prefix: &str,
) -> Message {
    let subject = Subject {
        namespace,
        service_account,
    };
    of_malformed(malformed, &subject, prefix, |word| docs(None, word))
}

/// The message about a ServiceAccount with an annotation that looks like the role annotation, in the output of commands.
#[must_use]
pub(crate) fn about_look_alike(key: &str, namespace: &str, service_account: &str, prefix: &str) -> Message {
    let subject = Subject {
        namespace,
        service_account,
    };
    let word = Cause::NoRole.as_str();
    let clause = format!(": {}", did_you_mean(key, prefix));
    Message::about_account(&subject, &clause, word)
        .row("fix", commands::annotate(&subject, prefix))
        .row("docs", docs(None, word))
}

fn of_malformed(
    malformed: &MalformedAnnotation,
    subject: &Subject<'_>,
    prefix: &str,
    docs: impl Fn(&str) -> String,
) -> Message {
    let word = Cause::MalformedAnnotation.as_str();
    let fix = match malformed.error {
        AnnotationError::AudienceTooLong(_) => Some(format!("shorten {}, or remove it", text::value(&malformed.key))),
        AnnotationError::Role(_) => {
            // What was meant is known if the ARN is only wrapped in something.
            let role = RoleArn::cleaned(&malformed.value);
            match (malformed.key.starts_with(prefix), role) {
                (true, Some(role)) => commands::annotate_with(subject, prefix, role.as_str()),
                (true, None) => commands::annotate(subject, prefix),
                (false, Some(role)) => Some(format!("set {} to {role}", text::value(&malformed.key))),
                (false, None) => Some(format!("set {} to the ARN of an IAM role", text::value(&malformed.key))),
            }
        }
    };
    Message::about_account(subject, &malformed_clause(malformed, prefix), word)
        .row("found", text::quote(&malformed.value))
        .row("problem", malformed.error.to_string())
        .row("fix", fix)
        .row("docs", docs(word))
}

/// Where the ServiceAccount itself is missing.
const CREATE_ACCOUNT: &str = "create the ServiceAccount with a role annotation, or correct its name in the workload";

const ANNOTATE: &str = "annotate the ServiceAccount with the ARN of an IAM role";

/// Where a cause or verdict is documented.
fn docs(docs_url: Option<&str>, word: &str) -> String {
    match docs_url {
        Some(url) => format!("{url}#{word}"),
        None => format!("rolegate explain {word}"),
    }
}

fn malformed_clause(malformed: &MalformedAnnotation, prefix: &str) -> String {
    let what = if malformed.key.starts_with(prefix) {
        "annotation "
    } else {
        ""
    };
    let (key, value) = (text::value(&malformed.key), text::quote_within(&malformed.value, 63));
    match malformed.error {
        AnnotationError::Role(_) => format!(": {what}{key}={value} is not a role ARN"),
        AnnotationError::AudienceTooLong(_) => format!(": {what}{key}={value} is too long for an audience"),
    }
}

fn of_role(judged: &Judged, identity: &WebIdentity, subject: &Subject<'_>, docs: impl Fn(&str) -> String) -> Message {
    let name = judged.role.name();
    let role = &judged.role;
    let role_row = || text::value(role.as_str());
    // The policy that was evaluated may have changed since.
    let as_read = judged
        .copy_age
        .map_or_else(String::new, |age| format!(", as read {} s ago", age.as_secs()));
    let trust_policy = || commands::trust_policy(role, identity);
    match &judged.why {
        Why::Trusted => Message::new(format!(
            "IAM role \"{name}\" trusts ServiceAccount {}/{}",
            text::value(subject.namespace),
            text::value(subject.service_account)
        )),
        Why::NoSuchRole { hint } => {
            let word = Cause::RoleNotFound.as_str();
            let account = role.account();
            let line = |role: &str, namespace: &str, name: &str, clause: &str| {
                format!(
                    "IAM role \"{role}\" does not exist in account {account}; ServiceAccount {namespace}/{name} requests it{clause} \
                     ({word})"
                )
            };
            let create = commands::trust_policy_for_new_role(role, identity);
            Message::first_line(name, subject, "", line)
                .row("role", role_row() + &as_read)
                .row("note", hint.as_deref().map(text::value))
                .row(
                    "fix",
                    match create {
                        Some(command) => {
                            format!("correct the ARN, or create the role; its trust policy: {command}")
                        }
                        None => "correct the ARN, or create the role".to_owned(),
                    },
                )
                .row("docs", docs(word))
        }
        Why::Malformed(reason) | Why::Unreadable(reason) => {
            let (clause, fix, word) = match &judged.why {
                Why::Malformed(_) => (
                    format!("its trust policy is malformed: {reason}"),
                    "correct the trust policy",
                    "malformed",
                ),
                _ => (
                    format!("its trust policy could not be read: {reason}"),
                    "make sure that rolegate can read the role",
                    Verdict::Unknown.as_str(),
                ),
            };
            Message::about_role(name, "could not be checked for", subject, &clause, word)
                .row("role", role_row())
                .row_if_cut("reason", &text::truncate(&text::line(reason), 600))
                .fix_with_docs(fix, docs(word))
        }
        Why::Explained(explanation) => {
            let explained = explanation::ExplanationText {
                role,
                identity,
                explanation,
            };
            let fix = match (judged.verdict, judged.cause) {
                (Verdict::NotTrusted, Some(cause @ (Cause::ProviderNotFound | Cause::AudienceNotRegistered))) => {
                    commands::provider(cause, role, identity)
                }
                (Verdict::NotTrusted, Some(Cause::ExplicitDeny)) => explained.hint(),
                (Verdict::NotTrusted, _) => trust_policy().or_else(|| explained.hint()),
                _ => None,
            };
            let word = judged.cause.map_or(judged.verdict.as_str(), Cause::as_str);
            let predicate = match (judged.verdict, judged.cause) {
                (Verdict::NotTrusted, Some(Cause::ProviderNotFound | Cause::AudienceNotRegistered)) => {
                    "cannot be assumed by"
                }
                (Verdict::NotTrusted, _) => "does not trust",
                _ => "might not trust",
            };
            let mut message = Message::about_role(name, predicate, subject, &explained.clause(), word).row(
                "role",
                match &explanation.statement {
                    Some(statement) => format!("{}, {}{as_read}", role_row(), explanation::label(statement)),
                    None => role_row() + &as_read,
                },
            );
            message = match explained.allowed_and_needed() {
                Some((allowed, needed)) => message.row("allowed", allowed).row("needed", needed),
                None => message.row_if_cut("reason", &explained.reason()),
            };
            let correction = explained.correction();
            let room = MAX_LINES.saturating_sub(
                // Line 1, what is there so far, and the fix, its second step and the documentation.
                1 + message.rows.len() + usize::from(correction.is_some()) + 3,
            );
            for also in explained.others(room.max(1)) {
                message = message.row("also", also);
            }
            message.row("edit", correction).row("fix", fix).row("docs", docs(word))
        }
    }
}

impl Judged {
    /// The reason on one line: the statement and all of its faults, with what it requires and what the token has. Empty if trusted.
    #[must_use]
    pub fn reason(&self, identity: &WebIdentity) -> String {
        match &self.why {
            Why::Trusted => String::new(),
            Why::NoSuchRole { .. } => format!("no role has this ARN in account {}", self.role.account()),
            Why::Malformed(reason) | Why::Unreadable(reason) => text::line(reason).into_owned(),
            Why::Explained(explanation) => explanation::ExplanationText {
                role: &self.role,
                identity,
                explanation,
            }
            .reason(),
        }
    }

    /// How to correct the policy, on one line, if that is known.
    #[must_use]
    pub fn hint(&self, identity: &WebIdentity) -> Option<String> {
        match &self.why {
            Why::Trusted | Why::Malformed(_) | Why::Unreadable(_) => None,
            Why::NoSuchRole { hint } => hint.as_deref().map(text::value),
            Why::Explained(explanation) => explanation::ExplanationText {
                role: &self.role,
                identity,
                explanation,
            }
            .hint(),
        }
    }
}
