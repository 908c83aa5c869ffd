//! Writes the trust policy that is right for a ServiceAccount, alone or into a policy that exists.
//!
//! Right means: this subject and this audience of this issuer, by `StringEquals`, and nobody else. Whatever stands in an
//! existing document stays: its elements, their order, numbers as they are written.

use std::fmt;

use serde_json::value::RawValue;

use super::{
    AccountId, Audience, Context, Issuer, Judgement, Partition, Policy, PolicyError, RoleArn, Subject, Verdict,
    WebIdentity, judge,
};

/// Characters that a trust policy may have by default (an IAM quota of the account).
pub const DEFAULT_QUOTA: usize = 2048;

/// Characters that a trust policy may have when the quota was raised as far as AWS raises it.
pub const LARGEST_QUOTA: usize = 8192;

const ACTION: &str = "sts:AssumeRoleWithWebIdentity";

/// Who is to be trusted by the roles of an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The role's partition.
    pub partition: Partition,
    /// The role's account, which also holds the OIDC provider.
    pub account: AccountId,
    /// Who comes.
    pub identity: WebIdentity,
}

/// What became of an existing policy.
#[derive(Clone, Debug)]
pub struct Merged {
    /// The document, indented by two; ends without a newline.
    pub json: String,
    /// What was done.
    pub change: Change,
    /// The judgement of the result when it is not `trusted`: a `Deny` of the document still stands in the way, or may.
    pub obstacle: Option<Judgement>,
}

/// What merging did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// The document trusts the identity already.
    Nothing,
    /// The subject went into the list of a statement, counted from 0.
    AddedSubject(usize),
    /// A statement was added, counted from 0.
    AddedStatement(usize),
}

/// Why a document cannot be merged into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MergeError {
    /// It is no trust policy.
    Malformed(PolicyError),
    /// It is one, but not in a form that can be written again (never seen; the grammar leaves no room for it).
    Unreadable(String),
}

impl fmt::Display for MergeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(error) => error.fmt(f),
            Self::Unreadable(what) => write!(f, "the document cannot be read: {what}"),
        }
    }
}

impl std::error::Error for MergeError {}

/// The characters of a document as IAM counts them against its quota: white space between tokens is free.
#[must_use]
pub fn size(json: &str) -> usize {
    let mut count = 0_usize;
    let (mut in_text, mut escaped) = (false, false);
    for character in json.chars() {
        if in_text {
            match character {
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                '"' => in_text = false,
                _ => {}
            }
        } else if character == '"' {
            in_text = true;
        } else if matches!(character, ' ' | '\t' | '\n' | '\r') {
            continue;
        }
        count = count.saturating_add(1);
    }
    count
}

impl Grant {
    /// The whole policy that trusts this identity and no other; indented by two, without a newline at its end.
    #[must_use]
    pub fn policy(&self) -> String {
        let statement = self.statement(Variables::Substituted);
        Json::Object(vec![
            ("Version".to_owned(), Json::text("2012-10-17")),
            ("Statement".to_owned(), Json::List(vec![statement])),
        ])
        .print()
    }

    /// Adds the trust to a document that exists. Merging again changes nothing.
    ///
    /// A statement that already trusts subjects of this issuer and audience in exactly the right form gets the subject
    /// into its list; otherwise a statement is added at the end.
    ///
    /// # Errors
    /// When the document is no trust policy: the place, and what was expected.
    pub fn merge(&self, document: &str) -> Result<Merged, MergeError> {
        let before = self.judge(&Policy::parse(document).map_err(MergeError::Malformed)?);
        let mut root = Json::parse(document).map_err(MergeError::Unreadable)?;
        let Json::Object(entries) = &mut root else {
            return Err(MergeError::Unreadable("it is no object".to_owned()));
        };
        let variables = match value_of(entries, "Version") {
            Some(Json::Text(version)) if version == "2012-10-17" => Variables::Substituted,
            _ => Variables::PlainText,
        };
        let change = match before.verdict {
            Verdict::Trusted => Change::Nothing,
            _ => self.add(entries, variables)?,
        };
        let json = root.print();
        let after = Policy::parse(&json).map_err(MergeError::Malformed)?;
        let obstacle = Some(self.judge(&after)).filter(|judgement| judgement.verdict != Verdict::Trusted);
        Ok(Merged { json, change, obstacle })
    }

    fn add(&self, entries: &mut [(String, Json)], variables: Variables) -> Result<Change, MergeError> {
        let Some((_, statements)) = entries.iter_mut().find(|(key, _)| key == "Statement") else {
            return Err(MergeError::Unreadable("it has no Statement".to_owned()));
        };
        let mut list = statements.clone().into_list();
        let subject = self.subject(variables);
        for (index, statement) in list.iter_mut().enumerate() {
            let Some(subjects) = self.subjects_of(statement, variables) else {
                continue;
            };
            let mut values = subjects.clone().into_list();
            if values.contains(&subject) {
                return Ok(Change::Nothing);
            }
            values.push(subject);
            *subjects = Json::List(values);
            *statements = statements.like(list);
            return Ok(Change::AddedSubject(index));
        }
        let index = list.len();
        list.push(self.statement(variables));
        *statements = Json::List(list);
        Ok(Change::AddedStatement(index))
    }

    /// The values of `:sub` in a statement that has exactly the form which [`Grant::statement`] writes, give or take a
    /// `Sid`, the order of its elements and lists of one; nothing of any other statement is touched.
    fn subjects_of<'a>(&self, statement: &'a mut Json, variables: Variables) -> Option<&'a mut Json> {
        let Json::Object(elements) = statement else { return None };
        let known = ["Sid", "Effect", "Principal", "Action", "Condition"];
        let effect = value_of(elements, "Effect")?.is_just("Allow");
        let action = value_of(elements, "Action")?.is_just(ACTION);
        let principal = match value_of(elements, "Principal")? {
            Json::Object(kinds) => kinds.len() == 1 && value_of(kinds, "Federated")?.is_just(&self.provider_arn()),
            _ => false,
        };
        if !(effect && action && principal && elements.iter().all(|(key, _)| known.contains(&key.as_str()))) {
            return None;
        }
        let (_, condition) = elements.iter_mut().find(|(key, _)| key == "Condition")?;
        let Json::Object(operators) = condition else {
            return None;
        };
        let [(operator, Json::Object(keys))] = operators.as_mut_slice() else {
            return None;
        };
        if !operator.eq_ignore_ascii_case("StringEquals") || keys.len() != 2 {
            return None;
        }
        let audience = literal(self.identity.audience.as_str(), variables);
        let (_, audiences) = keys
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(&self.key("aud")))?;
        if !audiences.is_just(&audience) {
            return None;
        }
        let subject = self.key("sub");
        keys.iter_mut()
            .find(|(key, _)| key.eq_ignore_ascii_case(&subject))
            .map(|(_, subjects)| subjects)
    }

    fn statement(&self, variables: Variables) -> Json {
        let audience = Json::Text(literal(self.identity.audience.as_str(), variables));
        let object = |entries: Vec<(&str, Json)>| {
            Json::Object(
                entries
                    .into_iter()
                    .map(|(key, value)| (key.to_owned(), value))
                    .collect(),
            )
        };
        let conditions = vec![(self.key("sub"), self.subject(variables)), (self.key("aud"), audience)];
        object(vec![
            ("Effect", Json::text("Allow")),
            (
                "Principal",
                object(vec![("Federated", Json::Text(self.provider_arn()))]),
            ),
            ("Action", Json::text(ACTION)),
            ("Condition", object(vec![("StringEquals", Json::Object(conditions))])),
        ])
    }

    fn subject(&self, variables: Variables) -> Json {
        Json::Text(literal(self.identity.subject.as_str(), variables))
    }

    fn provider_arn(&self) -> String {
        let (partition, account) = (self.partition.as_str(), self.account.as_str());
        format!(
            "arn:{partition}:iam::{account}:oidc-provider/{}",
            self.identity.issuer.as_str()
        )
    }

    fn key(&self, claim: &str) -> String {
        format!("{}:{claim}", self.identity.issuer.as_str())
    }

    /// As for any role of the account: no rule of trust depends on a role's name.
    fn judge(&self, policy: &Policy) -> Judgement {
        match RoleArn::compose(&self.partition, &self.account, "any") {
            Ok(role) => judge(policy, &role, &self.identity, &Context::default()),
            // A partition so long that no ARN holds it; nothing can be said of it.
            Err(_) => Judgement {
                verdict: Verdict::Undecided,
                explanation: None,
            },
        }
    }
}

impl Grant {
    /// A grant to a ServiceAccount.
    #[must_use]
    pub fn to_service_account(
        partition: Partition,
        account: AccountId,
        issuer: Issuer,
        (namespace, name): (&str, &str),
        audience: Audience,
    ) -> Self {
        let subject = Subject::service_account(namespace, name);
        Self {
            partition,
            account,
            identity: WebIdentity {
                issuer,
                subject,
                audience,
            },
        }
    }
}

/// Whether `${…}` in a value is a variable: only under Version 2012-10-17.
#[derive(Clone, Copy)]
enum Variables {
    Substituted,
    PlainText,
}

/// A value as `StringEquals` takes it to mean itself.
fn literal(text: &str, variables: Variables) -> String {
    match variables {
        Variables::Substituted => text.replace("${", "${$}{"),
        Variables::PlainText => text.to_owned(),
    }
}

fn value_of<'a>(entries: &'a [(String, Json)], wanted: &str) -> Option<&'a Json> {
    entries.iter().find(|(key, _)| key == wanted).map(|(_, value)| value)
}

/// JSON that keeps the order of keys, and numbers as they are written: IAM compares them as text.
#[derive(Clone, Debug, PartialEq)]
enum Json {
    /// A number, `true`, `false` or `null`, as written.
    Plain(String),
    Text(String),
    List(Vec<Self>),
    Object(Vec<(String, Self)>),
}

impl Json {
    fn text(text: &str) -> Self {
        Self::Text(text.to_owned())
    }

    /// Whether it is this text, alone or in a list of one.
    fn is_just(&self, wanted: &str) -> bool {
        match self {
            Self::Text(text) => text == wanted,
            Self::List(values) => matches!(values.as_slice(), [Self::Text(text)] if text == wanted),
            _ => false,
        }
    }

    /// One value is a list of one.
    fn into_list(self) -> Vec<Self> {
        match self {
            Self::List(values) => values,
            only => vec![only],
        }
    }

    /// A list of one in the form that `self` has: alone, or as a list.
    fn like(&self, mut list: Vec<Self>) -> Self {
        match (self, list.pop()) {
            (Self::Object(_), Some(only)) if list.is_empty() => only,
            (_, last) => Self::List(list.into_iter().chain(last).collect()),
        }
    }

    fn parse(text: &str) -> Result<Self, String> {
        let raw: &RawValue = serde_json::from_str(text).map_err(|error| error.to_string())?;
        Self::from_raw(raw, DEEPEST)
    }

    /// Each level is read on its own. A well-formed policy is at most seven deep.
    fn from_raw(raw: &RawValue, depth_left: usize) -> Result<Self, String> {
        let depth_left = depth_left.checked_sub(1).ok_or("it is nested too deep")?;
        let text = raw.get();
        let told = |error: serde_json::Error| error.to_string();
        Ok(match text.bytes().next() {
            Some(b'{') => {
                let Entries(entries) = serde_json::from_str(text).map_err(told)?;
                let read = |(key, value): (String, &RawValue)| Ok((key, Self::from_raw(value, depth_left)?));
                Self::Object(entries.into_iter().map(read).collect::<Result<_, String>>()?)
            }
            Some(b'[') => {
                let values: Vec<&RawValue> = serde_json::from_str(text).map_err(told)?;
                let read = |value| Self::from_raw(value, depth_left);
                Self::List(values.into_iter().map(read).collect::<Result<_, String>>()?)
            }
            Some(b'"') => Self::Text(serde_json::from_str(text).map_err(told)?),
            _ => Self::Plain(text.to_owned()),
        })
    }

    fn print(&self) -> String {
        let mut out = String::new();
        self.print_into(&mut out, 0);
        out
    }

    fn print_into(&self, out: &mut String, depth: usize) {
        match self {
            Self::Plain(text) => out.push_str(text),
            Self::Text(text) => out.push_str(&quoted(text)),
            Self::List(values) => print_block(out, depth, '[', ']', values, |value, out, depth| {
                value.print_into(out, depth)
            }),
            Self::Object(entries) => print_block(out, depth, '{', '}', entries, |(key, value), out, depth| {
                out.push_str(&quoted(key));
                out.push_str(": ");
                value.print_into(out, depth);
            }),
        }
    }
}

/// How deep a document may be nested: twice what the grammar of policies allows.
const DEEPEST: usize = 16;

fn print_block<T>(
    out: &mut String,
    depth: usize,
    open: char,
    close: char,
    items: &[T],
    print: impl Fn(&T, &mut String, usize),
) {
    let deeper = depth.saturating_add(1);
    out.push(open);
    for (index, item) in items.iter().enumerate() {
        out.push_str(if index == 0 { "\n" } else { ",\n" });
        out.push_str(&"  ".repeat(deeper));
        print(item, out, deeper);
    }
    if !items.is_empty() {
        out.push('\n');
        out.push_str(&"  ".repeat(depth));
    }
    out.push(close);
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// An object's entries in their order, values unread.
struct Entries<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> serde::Deserialize<'de> for Entries<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Entries<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Entries(entries))
            }
        }
        deserializer.deserialize_map(Visitor)
    }
}
