//! Why a role does not (surely) trust a web identity: the nearest statement, its cause, and words for people.

use super::condition::{Entry, Polarity, Test, TextTest, text_matches};
use super::difference::{self, Reading};
use super::evaluate::{Context, SessionName, judge};
use super::key::{Claim, Given, Key, Request, begins_with};
use super::policy::{ASSUME_ROLE_WITH_WEB_IDENTITY, ActionForm, Effect, Statement};
use super::truth::Truth;
use super::value::{Meaning, Value, Variables, Wildcards};
use super::web_identity::SERVICE_ACCOUNT;
use super::{Cause, Policy, Verdict};
use crate::support::text::{self, quote};

/// The reason of a judgement that is not `trusted`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// The cause, when not trusted.
    pub cause: Option<Cause>,
    /// One line without control characters: which statement, what it wanted, what it got. It names neither the role nor
    /// the ServiceAccount (the caller does), but where its own parts matter. At most 600 characters.
    pub reason: String,
    /// What would mend it, one line, when that can be told (`use StringLike`, `write … instead of …`).
    pub hint: Option<String>,
    /// For `undecided`: the condition keys that only STS can know, as written, without repetition; at most 20.
    pub undecided_keys: Vec<String>,
}

/// The longest reason or hint, in characters.
const LONGEST: usize = 600;
/// How many keys an undecided judgement names.
const MOST_KEYS: usize = 20;
/// How many of several values, services, statements … are shown.
const MOST_SHOWN: usize = 3;

/// Why no statement lets it in, or which one keeps it out.
///
/// The cause is the first, in the order of [`Cause::ALL`], that applies to the nearest statement: a Deny that matches,
/// else the Allow with the fewest failing parts (principal, action, each entry of the condition), the first of equals.
pub(crate) fn not_trusted(policy: &Policy, request: &Request<'_>, denies: Truth) -> Explanation {
    let denying = policy
        .statements
        .iter()
        .filter(|statement| statement.effect == Effect::Deny);
    if denies == Truth::True
        && let Some(statement) = denying
            .clone()
            .find(|statement| statement.applies(request) == Truth::True)
    {
        return explicit_deny(statement, request).finish();
    }
    let allowing = policy
        .statements
        .iter()
        .filter(|statement| statement.effect == Effect::Allow);
    let nearest = allowing
        .map(|statement| Near::new(statement, request))
        .min_by_key(Near::failing_parts);
    let Some(near) = nearest else {
        return Finding::new(
            Cause::OtherCondition,
            "no statement allows anything; every one is a Deny".to_owned(),
        )
        .finish();
    };
    near.wrong_principal_type()
        .or_else(|| near.wrong_provider())
        .or_else(|| near.wrong_action())
        .or_else(|| near.first(provider_arn_in_key))
        .or_else(|| near.first(subject_under_audience_key))
        .or_else(|| near.first(wildcard_taken_literally))
        .or_else(|| near.first(wrong_subject))
        .or_else(|| near.first(wrong_audience))
        .or_else(|| near.first(|near, entry| Some(other_condition(near, entry))))
        .unwrap_or_else(|| Finding::new(Cause::OtherCondition, format!("{} does not apply", near.label())))
        .finish()
}

/// A cause with its words.
struct Finding {
    cause: Cause,
    reason: String,
    hint: Option<String>,
}

impl Finding {
    fn new(cause: Cause, reason: String) -> Self {
        Self {
            cause,
            reason,
            hint: None,
        }
    }
    fn hint(self, hint: String) -> Self {
        Self {
            hint: Some(hint),
            ..self
        }
    }
    fn finish(self) -> Explanation {
        Explanation {
            cause: Some(self.cause),
            reason: text::truncate(&self.reason, LONGEST).into_owned(),
            hint: self.hint.map(|hint| text::truncate(&hint, LONGEST).into_owned()),
            undecided_keys: Vec::new(),
        }
    }
}

/// An Allow statement and what of it fails.
struct Near<'a> {
    statement: &'a Statement,
    request: &'a Request<'a>,
    principal_fails: bool,
    action_fails: bool,
    failing: Vec<&'a Entry>,
}

impl<'a> Near<'a> {
    fn new(statement: &'a Statement, request: &'a Request<'a>) -> Self {
        Self {
            statement,
            request,
            principal_fails: statement.principal(request) == Truth::False,
            action_fails: !statement.actions.mean_web_identity,
            failing: statement
                .entries
                .iter()
                .filter(|entry| entry.truth(request) == Truth::False)
                .collect(),
        }
    }
    fn failing_parts(&self) -> usize {
        usize::from(self.principal_fails) + usize::from(self.action_fails) + self.failing.len()
    }
    fn label(&self) -> String {
        label(self.statement)
    }
    /// What a rule finds of the first failing entry to which it applies.
    fn first(&self, rule: impl Fn(&Self, &Entry) -> Option<Finding>) -> Option<Finding> {
        self.failing.iter().find_map(|entry| rule(self, entry))
    }
    fn provider_arn(&self) -> String {
        text::value_within(&self.request.role.provider_arn(&self.request.identity.issuer), 200)
    }
    fn claim<'k>(&self, key: &'k Key) -> Claim<'k> {
        key.claim(&self.request.identity.issuer)
    }
    /// `"ISSUER:CLAIM"` as it should be written.
    fn right_key(&self, claim: &str) -> String {
        quote(&format!("{}:{claim}", self.request.identity.issuer))
    }

    fn wrong_principal_type(&self) -> Option<Finding> {
        let principals = &self.statement.principals;
        if !self.principal_fails || !principals.federated.is_empty() {
            return None;
        }
        let shown = |what: &str, list: &[Box<str>]| {
            (!list.is_empty()).then(|| format!("{what} {}", text::list(list.iter().map(|one| &**one), MOST_SHOWN)))
        };
        let trusted = [
            shown("the service", &principals.service),
            shown("the AWS principal", &principals.aws),
        ];
        let trusted = trusted.into_iter().flatten().collect::<Vec<_>>().join(" and ");
        let reason = format!("{} trusts {trusted}, not an OIDC provider", self.label());
        let is_for_pod_identity = principals
            .service
            .iter()
            .any(|service| &**service == "pods.eks.amazonaws.com");
        let hint = if is_for_pod_identity {
            format!(
                "the role is made for EKS Pod Identity: associate it there, or add a statement that trusts {}",
                self.provider_arn()
            )
        } else {
            format!(
                "add a statement that trusts {} for {ASSUME_ROLE_WITH_WEB_IDENTITY}",
                self.provider_arn()
            )
        };
        Some(Finding::new(Cause::WrongPrincipalType, reason).hint(hint))
    }

    fn wrong_provider(&self) -> Option<Finding> {
        if self.principal_fails {
            return self.wrong_provider_in_principal();
        }
        self.first(foreign_issuer_in_key)
    }

    fn wrong_provider_in_principal(&self) -> Option<Finding> {
        let (role, issuer) = (self.request.role, &self.request.identity.issuer);
        let differences = self
            .statement
            .principals
            .federated
            .iter()
            .map(|found| (found, difference::of_provider(found, role, issuer)));
        let (found, difference) = differences.min_by_key(|(_, difference)| difference.distance)?;
        // The difference comes first: the two ARNs are long, and messages are cut.
        let reason = format!(
            "{} trusts another provider, {}: {}; the token's is {}",
            self.label(),
            difference.words,
            quote(found),
            quote(&role.provider_arn(issuer)),
        );
        let hint = format!(
            "write {} as the Federated principal and {} in the condition keys",
            self.provider_arn(),
            self.right_key("sub")
        );
        Some(Finding::new(Cause::WrongProvider, reason).hint(hint))
    }

    fn wrong_action(&self) -> Option<Finding> {
        if !self.action_fails {
            return None;
        }
        let actions = &self.statement.actions;
        let shown = text::list(actions.patterns.iter().map(|pattern| &**pattern), MOST_SHOWN);
        let reason = match actions.form {
            ActionForm::Action => format!("{} allows {shown}, not {ASSUME_ROLE_WITH_WEB_IDENTITY}", self.label()),
            ActionForm::NotAction => {
                format!(
                    "{} allows all but {shown} (NotAction), and so not {ASSUME_ROLE_WITH_WEB_IDENTITY}",
                    self.label()
                )
            }
        };
        Some(
            Finding::new(Cause::WrongAction, reason)
                .hint(format!("write \"Action\": \"{ASSUME_ROLE_WITH_WEB_IDENTITY}\"")),
        )
    }
}

fn label(statement: &Statement) -> String {
    match &statement.sid {
        Some(sid) => format!("statement {} (Sid {})", statement.number, quote(sid)),
        None => format!("statement {}", statement.number),
    }
}

fn explicit_deny(statement: &Statement, request: &Request<'_>) -> Finding {
    let mut conditions: Vec<String> = statement.entries.iter().take(2).map(asks).collect();
    match statement.entries.len().saturating_sub(conditions.len()) {
        0 => {}
        more => conditions.push(format!("{more} more")),
    }
    let reason = if conditions.is_empty() {
        format!(
            "{} denies it to every token of {}",
            label(statement),
            quote(request.identity.issuer.as_str())
        )
    } else {
        format!(
            "{} denies it: its condition holds ({})",
            label(statement),
            conditions.join(" and ")
        )
    };
    Finding::new(Cause::ExplicitDeny, reason)
        .hint(format!("remove or narrow the Deny in statement {}", statement.number))
}

fn foreign_issuer_in_key(near: &Near<'_>, entry: &Entry) -> Option<Finding> {
    let Claim::Foreign(owner) = near.claim(&entry.key) else {
        return None;
    };
    if begins_with(owner, "arn:") {
        return None;
    }
    let difference = difference::of_issuer(owner, &near.request.identity.issuer);
    let reason = format!(
        "{} asks {}, a key that is not of the token's issuer {}: {}",
        near.label(),
        asks(entry),
        quote(near.request.identity.issuer.as_str()),
        difference.words
    );
    Some(
        Finding::new(Cause::WrongProvider, reason)
            .hint(format!("write {} as the key", near.right_key(claim_name(entry)))),
    )
}

fn provider_arn_in_key(near: &Near<'_>, entry: &Entry) -> Option<Finding> {
    let Claim::Foreign(owner) = near.claim(&entry.key) else {
        return None;
    };
    if !begins_with(owner, "arn:") {
        return None;
    }
    let reason = format!(
        "{} has the provider's ARN in the condition key {} where the issuer belongs, so that the key is absent",
        near.label(),
        quote(entry.key.as_str())
    );
    let hint = format!("write {} as the key", near.right_key(claim_name(entry)));
    Some(Finding::new(Cause::ProviderArnInConditionKey, reason).hint(hint))
}

/// The claim that a mistaken key is about: what follows its last colon, else what its value looks like.
fn claim_name(entry: &Entry) -> &'static str {
    match entry.key.as_str().rsplit_once(':') {
        Some((_, claim)) if claim.eq_ignore_ascii_case("aud") => "aud",
        _ => "sub",
    }
}

fn subject_under_audience_key(near: &Near<'_>, entry: &Entry) -> Option<Finding> {
    if near.claim(&entry.key) != Claim::Audience {
        return None;
    }
    let value = entry
        .values
        .iter()
        .find(|value| looks_like_subject(value, near.request))?;
    let reason = format!(
        "{} has the subject {} under the key of the audience (:aud), which is {}",
        near.label(),
        quote(&value.text),
        quote(near.request.identity.audience.as_str())
    );
    Some(Finding::new(Cause::AudienceKeyForSubject, reason).hint(format!("write {} as its key", near.right_key("sub"))))
}

fn looks_like_subject(value: &Value, request: &Request<'_>) -> bool {
    begins_with(&value.text, SERVICE_ACCOUNT) || *value.text == *request.identity.subject.as_str()
}

fn wildcard_taken_literally(near: &Near<'_>, entry: &Entry) -> Option<Finding> {
    let Test::Text(TextTest::Equals | TextTest::EqualsIgnoreCase, Polarity::Positive) = entry.operator.test else {
        return None;
    };
    // Where the key is absent, no wildcard would help.
    let Given::Text(got) = entry.key.given(near.request) else {
        return None;
    };
    let with_wildcard = || entry.values.iter().filter(|value| value.has_wildcard());
    let would_match = with_wildcard().find(|value| matches_as_pattern(value, &got, near.request));
    let value = would_match.or_else(|| with_wildcard().next())?;
    let reason = format!(
        "{} wants {} to be {} under {}, which takes * and ? literally; it is {}",
        near.label(),
        key_name(near, &entry.key),
        quote(&value.text),
        operator(entry),
        quote(&got),
    );
    let hint = match would_match {
        Some(_) => "use StringLike".to_owned(),
        None => format!("use StringLike, with a pattern that takes in {}", quote(&got)),
    };
    Some(Finding::new(Cause::WildcardInStringEquals, reason).hint(hint))
}

fn matches_as_pattern(value: &Value, text: &str, request: &Request<'_>) -> bool {
    let variables = if matches!(value.meaning, Meaning::Template(_)) {
        Variables::Known
    } else {
        Variables::PlainText
    };
    let pattern = Value::text(value.text.to_string(), Wildcards::Known, variables);
    text_matches(&pattern, TextTest::Like, text, request) != Truth::False
}

fn wrong_subject(near: &Near<'_>, entry: &Entry) -> Option<Finding> {
    let subject = &near.request.identity.subject;
    match near.claim(&entry.key) {
        Claim::Subject => {}
        // The claim forgotten: what was meant shows in the value.
        Claim::Bare if entry.values.iter().any(|value| looks_like_subject(value, near.request)) => {
            let reason = format!(
                "{} has a subject under the key {}, which names the issuer but no claim, so that the key is absent",
                near.label(),
                quote(entry.key.as_str())
            );
            return Some(
                Finding::new(Cause::WrongSubject, reason).hint(format!("write {} as the key", near.right_key("sub"))),
            );
        }
        _ => return None,
    }
    let got = quote(subject.as_str());
    let Test::Text(test, Polarity::Positive) = entry.operator.test else {
        let reason = format!("{} asks {} of the subject, which is {got}", near.label(), asks(entry));
        return Some(Finding::new(Cause::WrongSubject, reason));
    };
    let reading = if test == TextTest::Like {
        Reading::Pattern
    } else {
        Reading::Literal
    };
    let differences = entry
        .values
        .iter()
        .map(|value| (value, difference::of_subject(&value.text, subject, reading)));
    let (value, difference) = differences.min_by_key(|(_, difference)| difference.distance)?;
    let others = match entry.values.len() {
        0 | 1 => String::new(),
        2 => " or 1 other".to_owned(),
        all => format!(" or {} others", all - 1),
    };
    let reason = format!(
        "{} wants the subject {}{others}, got {got}: {}",
        near.label(),
        quote(&value.text),
        difference.words
    );
    Some(Finding::new(Cause::WrongSubject, reason).hint(format!("write {got} as the subject")))
}

fn wrong_audience(near: &Near<'_>, entry: &Entry) -> Option<Finding> {
    let audience = near.request.identity.audience.as_str();
    let is_forgotten_claim = || entry.values.iter().any(|value| *value.text == *audience);
    match near.claim(&entry.key) {
        Claim::Audience => {
            let got = quote(audience);
            let Test::Text(_, Polarity::Positive) = entry.operator.test else {
                let reason = format!("{} asks {} of the audience, which is {got}", near.label(), asks(entry));
                return Some(Finding::new(Cause::WrongAudience, reason));
            };
            let wanted = shown_values(entry);
            let reason = format!("{} wants the audience {wanted}, got {got}", near.label());
            let hint =
                format!("give the ServiceAccount the audience that the policy wants, or write {got} in the policy");
            Some(Finding::new(Cause::WrongAudience, reason).hint(hint))
        }
        Claim::Bare if is_forgotten_claim() => {
            let reason = format!(
                "{} has an audience under the key {}, which names the issuer but no claim, so that the key is absent",
                near.label(),
                quote(entry.key.as_str())
            );
            Some(Finding::new(Cause::WrongAudience, reason).hint(format!("write {} as the key", near.right_key("aud"))))
        }
        _ => None,
    }
}

fn other_condition(near: &Near<'_>, entry: &Entry) -> Finding {
    let got = match (near.claim(&entry.key), entry.key.given(near.request)) {
        (Claim::Other, _) => "STS hands on no claim of a cluster's token but sub and aud".to_owned(),
        (Claim::Bare, Given::Absent) => "the key names the issuer but no claim, and so is absent".to_owned(),
        (_, Given::Absent) => "a request with a web identity does not carry that key".to_owned(),
        (_, Given::Text(text)) => format!("it is {}", quote(&text)),
        (_, Given::CurrentTime | Given::EpochTime) => "that time has passed".to_owned(),
        (_, Given::SessionName) => "no session name that STS takes can match".to_owned(),
        (_, Given::Unknown) => "whatever it holds, that is false".to_owned(),
    };
    let finding = Finding::new(
        Cause::OtherCondition,
        format!("{} asks {}; {got}", near.label(), asks(entry)),
    );
    match near.claim(&entry.key) {
        Claim::Bare => finding.hint(format!(
            "write {} or {} as the key",
            near.right_key("sub"),
            near.right_key("aud")
        )),
        _ => finding,
    }
}

/// `StringEquals "KEY" of "VALUE", "OTHER"`.
fn asks(entry: &Entry) -> String {
    format!(
        "{} {} of {}",
        operator(entry),
        quote(entry.key.as_str()),
        shown_values(entry)
    )
}

fn shown_values(entry: &Entry) -> String {
    let values = &entry.values;
    let mut shown: Vec<String> = values.iter().take(MOST_SHOWN).map(|value| quote(&value.text)).collect();
    if values.is_empty() {
        shown.push("no value at all".to_owned());
    }
    if values.len() > MOST_SHOWN {
        shown.push(format!("{} more", values.len() - MOST_SHOWN));
    }
    shown.join(", ")
}

fn operator(entry: &Entry) -> String {
    text::value_within(&entry.operator_text, 60)
}

fn key_name(near: &Near<'_>, key: &Key) -> String {
    match near.claim(key) {
        Claim::Subject => "the subject".to_owned(),
        Claim::Audience => "the audience".to_owned(),
        _ => quote(key.as_str()),
    }
}

/// On what it hangs: the entries that cannot be known, of every statement that matters.
pub(crate) fn undecided(policy: &Policy, request: &Request<'_>, allows: Truth) -> Explanation {
    let matters = |statement: &&Statement| {
        let is_settled = statement.effect == Effect::Allow && allows == Truth::True;
        !is_settled && statement.applies(request) == Truth::Unknown
    };
    let statements: Vec<&Statement> = policy.statements.iter().filter(matters).collect();
    let mut keys: Vec<&str> = Vec::new();
    let entries = statements.iter().flat_map(|statement| &statement.entries);
    for entry in entries.filter(|entry| entry.truth(request) == Truth::Unknown) {
        if keys.len() >= MOST_KEYS {
            break;
        }
        for key in unknowable_keys(entry, request) {
            if !keys.iter().any(|known| known.eq_ignore_ascii_case(key)) {
                keys.push(key);
            }
        }
    }
    keys.truncate(MOST_KEYS);
    let mut reason = statements
        .first()
        .map(|statement| hangs_on(statement, request))
        .unwrap_or_default();
    match statements.len() {
        0 | 1 => {}
        2 => reason.push_str("; so it is with 1 other statement"),
        all => reason.push_str(&format!("; so it is with {} other statements", all - 1)),
    }
    if keys.iter().any(|key| key.eq_ignore_ascii_case("sts:RoleSessionName")) {
        reason.push_str(&suggested_session_name(policy, request));
    }
    Explanation {
        cause: None,
        reason: text::truncate(&reason, LONGEST).into_owned(),
        hint: None,
        undecided_keys: keys.into_iter().map(|key| text::value_within(key, 200)).collect(),
    }
}

fn hangs_on(statement: &Statement, request: &Request<'_>) -> String {
    let what = match statement.effect {
        Effect::Allow => "allows it only if",
        Effect::Deny => "may deny it: if",
    };
    let entries = statement
        .entries
        .iter()
        .filter(|entry| entry.truth(request) == Truth::Unknown);
    let asked: Vec<String> = entries.clone().take(MOST_SHOWN).map(asks).collect();
    if asked.is_empty() {
        return format!(
            "{} denies it to the AWS principal \"*\"; whether that is a web identity too, only STS knows",
            label(statement)
        );
    }
    let more = match entries.count().saturating_sub(asked.len()) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!(
        "{} {what} {}{more} holds, which only STS can know",
        label(statement),
        asked.join(" and ")
    )
}

/// The keys for which an entry cannot be decided: its own, or those of its variables.
fn unknowable_keys<'a>(entry: &'a Entry, request: &Request<'_>) -> Vec<&'a str> {
    let is_unknown = |key: &Key| !matches!(key.given(request), Given::Absent | Given::Text(_));
    let own = Some(&entry.key).filter(|key| is_unknown(key));
    let variables = entry
        .values
        .iter()
        .flat_map(Value::variables)
        .filter(|key| is_unknown(key));
    let keys: Vec<&str> = own
        .into_iter()
        .chain(variables)
        .map(Key::as_str)
        .take(MOST_KEYS)
        .collect();
    if keys.is_empty() {
        vec![entry.key.as_str()]
    } else {
        keys
    }
}

/// What the pod's own session name would come to.
fn suggested_session_name(policy: &Policy, request: &Request<'_>) -> String {
    let SessionName::Suggested(name) = request.context.session_name else {
        return String::new();
    };
    let context = Context {
        session_name: SessionName::Assumed(name),
        ..*request.context
    };
    let outcome = match judge(policy, request.role, request.identity, &context).verdict {
        Verdict::Trusted => "with which the policy trusts it",
        Verdict::NotTrusted => "with which the policy does not trust it",
        Verdict::Undecided | Verdict::Unknown => "which leaves it open",
    };
    format!("; the pod's AWS_ROLE_SESSION_NAME gives {}, {outcome}", quote(name))
}
