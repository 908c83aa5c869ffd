//! A trust policy, compiled for evaluation.

mod error;
mod not_json;
mod parse;
pub(super) mod storable;

use self::error::Place;
pub use self::error::PolicyError;
use super::action::Action;
use super::condition::Condition;
use super::condition::value::Variables;
use super::glob;
use super::size::{DEFAULT_QUOTA, size};

/// A well-formed trust policy, compiled for evaluation.
#[derive(Debug)]
pub struct Policy {
    pub(crate) statements: Box<[Statement]>,
    /// Whether `${…}` is a variable.
    pub(crate) variables: Variables,
    mentions_role_session_name: bool,
    mentions_role_tags: bool,
    mentions_time: bool,
    unstorable: Box<[PolicyError]>,
    origin: Origin,
    /// Characters as IAM counts them, where there are more than the default quota.
    over_default_quota: Option<usize>,
}

/// Whether IAM has stored a document. A document that IAM has stored is evaluated as it is; a document that is being written must also
/// satisfy IAM's rules for storing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Origin {
    /// IAM stores it: an answer of its API, or the output of the AWS CLI.
    #[default]
    Stored,
    /// A person or a tool wrote it: a bare document, Terraform.
    Written,
}

/// One statement of a policy.
#[derive(Clone, Debug)]
pub(crate) struct Statement {
    /// From 1.
    pub(crate) number: usize,
    /// Not empty.
    pub(crate) sid: Option<Box<str>>,
    pub(crate) effect: Effect,
    pub(crate) principals: Principals,
    pub(crate) actions: Actions,
    pub(crate) conditions: Box<[Condition]>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    Allow,
    Deny,
}

/// Whom a statement is about; at least one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Principals {
    pub(crate) federated: Vec<Box<str>>,
    pub(crate) service: Vec<Box<str>>,
    pub(crate) aws: Vec<Box<str>>,
}

/// What a statement is about.
#[derive(Clone, Debug)]
pub(crate) struct Actions {
    pub(crate) form: ActionForm,
    pub(crate) patterns: Vec<Box<str>>,
    /// Which of the actions that are ever asked for it means, found once.
    pub(crate) meant: Meant,
}

/// Whether a statement means each of these actions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Meant {
    assume_role_with_web_identity: bool,
    assume_role: bool,
    tag_session: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ActionForm {
    Action,
    NotAction,
}

impl ActionForm {
    /// The element's name.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Action => "Action",
            Self::NotAction => "NotAction",
        }
    }
}

impl Actions {
    pub(crate) fn new(form: ActionForm, patterns: Vec<Box<str>>) -> Self {
        let lowered: Vec<String> = patterns.iter().map(|pattern| pattern.to_ascii_lowercase()).collect();
        let means = |action: Action| {
            let wanted = action.as_str().to_ascii_lowercase();
            let is_listed = lowered.iter().any(|pattern| glob::matches(pattern, &wanted));
            match form {
                ActionForm::Action => is_listed,
                ActionForm::NotAction => !is_listed,
            }
        };
        Self {
            form,
            patterns,
            meant: Meant {
                assume_role_with_web_identity: means(Action::AssumeRoleWithWebIdentity),
                assume_role: means(Action::AssumeRole),
                tag_session: means(Action::TagSession),
            },
        }
    }

    /// Whether an action is meant.
    pub(crate) const fn mean(&self, action: Action) -> bool {
        match action {
            Action::AssumeRoleWithWebIdentity => self.meant.assume_role_with_web_identity,
            Action::AssumeRole => self.meant.assume_role,
            Action::TagSession => self.meant.tag_session,
        }
    }
}

impl Policy {
    /// Parses a policy document from its JSON text. Takes time and space linear in its length, whatever it holds. IAM
    /// stores at most 8192 characters; what is longer is read all the same, because it is not in force through us.
    ///
    /// # Errors
    /// Where and how it breaks IAM's grammar.
    pub fn parse(json: &str) -> Result<Self, PolicyError> {
        let json = json.trim_start_matches('\u{feff}');
        let mut policy = parse::document(json)?;
        policy.unstorable = storable::refusals(json, &policy.statements).into();
        // White space is free, so a short text needs no counting.
        policy.over_default_quota = (json.len() > DEFAULT_QUOTA)
            .then(|| size(json))
            .filter(|characters| *characters > DEFAULT_QUOTA);
        Ok(policy)
    }
    /// As [`Policy::parse`], for a document that is being written and that IAM has not seen yet.
    ///
    /// # Errors
    /// Also where IAM would refuse to store it (`Policy::unstorable`).
    pub fn parse_written(json: &str) -> Result<Self, PolicyError> {
        let policy = Self::parse(json)?;
        match policy.unstorable.first() {
            Some(refusal) => Err(refusal.clone()),
            None => Ok(policy),
        }
    }
    /// Why IAM would refuse to store this document, the first reason of each kind: characters, size, `Sid`s, actions,
    /// `Federated` principals. Empty for nearly every document; IAM is known to hold older ones that it would refuse today.
    #[must_use]
    pub(crate) fn unstorable(&self) -> &[PolicyError] {
        &self.unstorable
    }
    /// Parses a document as `GetRole` and `ListRoles` hand it out: percent-encoded (`+` stays `+`). Text that starts
    /// with `{` after white space is taken as it is.
    ///
    /// # Errors
    /// As [`Policy::parse`].
    pub fn parse_encoded(text: &str) -> Result<Self, PolicyError> {
        if text.trim_start().starts_with('{') {
            return Self::parse(text);
        }
        match percent_encoding::percent_decode_str(text).decode_utf8() {
            Ok(json) => Self::parse(&json),
            Err(_) => Err(PolicyError::new(
                &Place::Document,
                "its percent escapes do not make UTF-8 text",
            )),
        }
    }
    /// How many characters it has, as IAM counts them, where that is more than the default quota of a trust policy.
    #[must_use]
    pub(crate) const fn over_default_quota(&self) -> Option<usize> {
        self.over_default_quota
    }
    /// The policy, as one of this origin.
    #[must_use]
    pub(crate) fn of_origin(self, origin: Origin) -> Self {
        Self { origin, ..self }
    }
    /// Why IAM would refuse to store it, for a document that IAM has not stored yet.
    #[must_use]
    pub(crate) fn objection(&self) -> Option<&PolicyError> {
        match self.origin {
            Origin::Stored => None,
            Origin::Written => self.unstorable.first(),
        }
    }
    /// The same document with other statements, for evaluating an edit of it.
    pub(crate) fn with_statements(&self, statements: Vec<Statement>) -> Self {
        Self {
            statements: statements.into(),
            unstorable: Box::default(),
            ..*self
        }
    }
    /// Whether any statement depends on `sts:RoleSessionName`.
    #[must_use]
    pub fn mentions_role_session_name(&self) -> bool {
        self.mentions_role_session_name
    }
    /// Whether any statement depends on a tag of the role (`aws:ResourceTag/…`, `iam:ResourceTag/…`), which `ListRoles` does not
    /// return.
    #[must_use]
    pub(crate) fn mentions_role_tags(&self) -> bool {
        self.mentions_role_tags
    }
    /// Whether any statement depends on the time of the request (`aws:CurrentTime`, `aws:EpochTime`): where none does, the
    /// evaluation does not need [`Context::now`](super::Context::now).
    #[must_use]
    pub fn mentions_time(&self) -> bool {
        self.mentions_time
    }
}
