//! Writes the trust policy that is right for a ServiceAccount, alone or into a policy that exists.
//!
//! Right means: this subject and this audience of this issuer, by `StringEquals`, and nobody else. Whatever stands in an
//! existing document stays: its elements, their order, numbers as they are written.

mod document;

use std::fmt;

use self::document::{Json, value_of};

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

#[cfg(test)]
mod tests {
    use super::*;

    const ISSUER: &str = "oidc.eks.us-west-2.amazonaws.com/id/EXAMPLED539D4633E53DE1B71EXAMPLE";

    fn grant(audience: &str) -> Grant {
        Grant::to_service_account(
            Partition::parse("aws").unwrap(),
            AccountId::parse("111122223333").unwrap(),
            Issuer::parse(ISSUER).unwrap(),
            ("jobs", "default"),
            Audience::new(audience),
        )
    }

    /// A statement in the right form for these values, each as JSON.
    fn statement(subjects: &str, audiences: &str) -> String {
        format!(
            r#"{{"Effect":"Allow","Principal":{{"Federated":"arn:aws:iam::111122223333:oidc-provider/{ISSUER}"}},"Action":"sts:AssumeRoleWithWebIdentity","Condition":{{"StringEquals":{{"{ISSUER}:sub":{subjects},"{ISSUER}:aud":{audiences}}}}}}}"#
        )
    }

    fn document(statements: &str) -> String {
        format!(r#"{{"Version":"2012-10-17","Statement":{statements}}}"#)
    }

    /// White space between tokens taken away.
    fn compact(json: &str) -> String {
        json.lines()
            .map(str::trim_start)
            .collect::<String>()
            .replace("\": ", "\":")
    }

    fn merge(document: &str) -> Merged {
        grant("sts.amazonaws.com").merge(document).unwrap()
    }

    #[test]
    fn a_document_is_printed_in_lines_of_two_blanks_a_level() {
        let nested = r#"{"a":[1,{"b":"c"}],"d":{},"e":[]}"#;
        let printed = Json::parse(nested).unwrap().print();
        assert_eq!(
            printed,
            "{\n  \"a\": [\n    1,\n    {\n      \"b\": \"c\"\n    }\n  ],\n  \"d\": {},\n  \"e\": []\n}"
        );
    }

    const OURS: &str = r#""system:serviceaccount:jobs:default""#;
    const OTHER: &str = r#""system:serviceaccount:prod:default""#;
    const AUDIENCE: &str = r#""sts.amazonaws.com""#;

    #[test]
    fn the_policy_is_what_a_person_would_write() {
        let wanted = document(&format!("[{}]", statement(OURS, AUDIENCE)));
        assert_eq!(compact(&grant("sts.amazonaws.com").policy()), wanted);
    }

    #[test]
    fn a_subject_joins_a_statement_of_exactly_this_form() {
        let both = statement(&format!("[{OTHER},{OURS}]"), AUDIENCE);
        let cases = [
            (statement(OTHER, AUDIENCE), both.clone()),
            (statement(&format!("[{OTHER}]"), AUDIENCE), both.clone()),
            (
                statement(OTHER, AUDIENCE).replace(r#"{"Effect""#, r#"{"Sid":"Jobs","Effect""#),
                both.replace(r#"{"Effect""#, r#"{"Sid":"Jobs","Effect""#),
            ),
            (
                statement(OTHER, AUDIENCE)
                    .replace("StringEquals", "stringequals")
                    .replace(":sub", ":SUB"),
                both.replace("StringEquals", "stringequals").replace(":sub", ":SUB"),
            ),
            (
                statement(OTHER, r#"["sts.amazonaws.com"]"#),
                both.replace(AUDIENCE, r#"["sts.amazonaws.com"]"#),
            ),
        ];
        for (before, after) in cases {
            for (before, after) in [
                (before.clone(), after.clone()),
                (format!("[{before}]"), format!("[{after}]")),
            ] {
                let merged = merge(&document(&before));
                assert_eq!(
                    (compact(&merged.json), merged.change),
                    (document(&after), Change::AddedSubject(0))
                );
                assert!(merged.obstacle.is_none());
            }
        }
    }

    #[test]
    fn any_other_statement_stays_as_it_is_and_one_is_added() {
        let right = statement(OTHER, AUDIENCE);
        let others = [
            // A subject there would be let in with other audiences, too.
            statement(OTHER, r#"["sts.amazonaws.com","other"]"#),
            statement(OTHER, r#""other""#),
            right.replace("StringEquals", "StringLike"),
            right.replace("StringEquals", "StringEqualsIfExists"),
            right.replace("StringEquals", "ForAnyValue:StringEquals"),
            right.replace("111122223333", "444455556666"),
            right.replace("sts:AssumeRoleWithWebIdentity", "sts:*"),
            right.replace(r#""Condition":{"#, r#""Condition":{"Bool":{"aws:SecureTransport":"true"},"#),
            right.replace(&format!(r#","{ISSUER}:aud":{AUDIENCE}"#), ""),
            right.replace(":aud", ":amr"),
            right.replace(r#""Principal":{"#, r#""Principal":{"Service":"ec2.amazonaws.com","#),
            r#"{"Effect":"Allow","Principal":{"Service":"pods.eks.amazonaws.com"},"Action":["sts:AssumeRole","sts:TagSession"]}"#
                .to_owned(),
        ];
        for other in others {
            let merged = merge(&document(&other));
            let wanted = document(&format!("[{other},{}]", statement(OURS, AUDIENCE)));
            assert_eq!(
                (compact(&merged.json), merged.change),
                (wanted, Change::AddedStatement(1))
            );
            assert!(merged.obstacle.is_none());
        }
    }

    #[test]
    fn what_already_trusts_is_left_alone() {
        for statements in [
            statement(OURS, AUDIENCE),
            statement(&format!("[{OTHER},{OURS}]"), AUDIENCE),
            statement(r#""system:serviceaccount:jobs:*""#, AUDIENCE).replace("StringEquals", "StringLike"),
        ] {
            let merged = merge(&document(&statements));
            assert_eq!(
                (compact(&merged.json), merged.change),
                (document(&statements), Change::Nothing)
            );
        }
    }

    #[test]
    fn order_numbers_and_escapes_survive() {
        let document = r#"{"Id":"a\"\\\u00fc","Statement":[{"Condition":{"NumericLessThan":{"aws:Unheard":[1.50,1e3]},"Bool":{"aws:SecureTransport":true}},"Action":"sts:AssumeRole","Principal":{"AWS":"arn:aws:iam::111122223333:root"},"Effect":"Allow","Sid":"z"}],"Version":"2012-10-17"}"#;
        let merged = merge(document);
        let kept = document.replace("\\u00fc", "ü");
        let (kept, _) = kept.split_once(r#"],"Version""#).unwrap();
        assert!(compact(&merged.json).starts_with(kept), "{}", merged.json);
        assert!(
            compact(&merged.json).ends_with(r#"],"Version":"2012-10-17"}"#),
            "{}",
            merged.json
        );
    }

    #[test]
    fn a_deny_that_stays_in_the_way_is_told_and_merging_again_still_changes_nothing() {
        let deny = statement(OURS, AUDIENCE).replace("Allow", "Deny");
        let merged = merge(&document(&deny));
        assert_eq!(merged.change, Change::AddedStatement(1));
        assert_eq!(merged.obstacle.unwrap().verdict, Verdict::NotTrusted);
        let again = merge(&merged.json);
        assert_eq!((again.json, again.change), (merged.json, Change::Nothing));
        assert_eq!(again.obstacle.unwrap().verdict, Verdict::NotTrusted);
    }

    #[test]
    fn a_dollar_and_a_brace_mean_themselves() {
        let grant = grant("${aws:username}");
        assert!(grant.policy().contains(r#""${$}{aws:username}""#));
        let old = document(&statement(OTHER, AUDIENCE)).replace("2012-10-17", "2008-10-17");
        for document in [document(&statement(OTHER, AUDIENCE)), old] {
            let merged = grant.merge(&document).unwrap();
            assert!(merged.obstacle.is_none(), "{}", merged.json);
        }
    }

    #[test]
    fn a_malformed_document_is_an_error_and_no_panic() {
        assert_eq!(
            grant("x").merge("{}").unwrap_err().to_string(),
            "the document: Statement is missing"
        );
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        for text in [
            "",
            "null",
            "[]",
            "{}",
            &document("[]"),
            &document("7"),
            &deep,
            &document(&deep),
        ] {
            assert!(
                matches!(grant("x").merge(text), Err(MergeError::Malformed(_))),
                "{:.40}",
                text
            );
        }
    }

    #[test]
    fn white_space_between_tokens_is_free() {
        for (json, characters) in [
            ("", 0),
            ("{}", 2),
            (" { \"a b\" :\t[ 1 ,\r\n2 ] } ", 13),
            (r#"{"a\" b": "c\\"}"#, 15),
            (r#"{"a\"  b":1}"#, 12),
            (r#"{"a\\"  : 1}"#, 9),
            (r#"{"é": "日"}"#, 9),
        ] {
            assert_eq!(size(json), characters, "{json}");
        }
        let policy = grant("sts.amazonaws.com").policy();
        assert_eq!(size(&policy), compact(&policy).chars().count());
    }
}
