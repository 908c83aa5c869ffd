//! An Allow statement that does not allow a web identity: how close it is, what is wrong with it, and what would correct it.

use std::collections::BTreeSet;

use super::fault::{Carried, Fault, Requirement};
use crate::support::text::starts_with_ignore_case;
use crate::trust::action::Action;
use crate::trust::arn::PROVIDER;
use crate::trust::condition::key::{Claim, Given};
use crate::trust::condition::value::{Meaning, Value, Variables, Wildcards};
use crate::trust::condition::{Condition, Polarity, Test, TextTest, text_matches};
use crate::trust::edit::{self, Edit};
use crate::trust::mismatch::{self, Mismatches, Reading};
use crate::trust::policy::{ActionForm, Policy, Statement, storable};
use crate::trust::request::{Request, WebRequest};
use crate::trust::ternary::Ternary;
use crate::trust::web_identity::SERVICE_ACCOUNT;

/// How far a statement is from letting the web identity in; less is nearer.
///
/// A statement that names an OIDC provider for the web identity action comes before any that does not: a role that trusts both a
/// service and a cluster is explained by its statement for the cluster. Then the kinship of its provider with the token's,
/// then the number of faults, then how far its subjects are off. Between equals, the first in the document wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank {
    is_for_something_else: bool,
    kinship: u8,
    faults: usize,
    subjects: usize,
}

pub(super) struct Near<'a> {
    pub(super) statement: &'a Statement,
    request: &'a WebRequest<'a>,
    /// The weightiest first; at least one.
    pub(super) faults: Vec<Fault>,
    /// The `Federated` principal that the first fault is about, with how it differs; none where the principal matches.
    provider: Option<(&'a str, Mismatches)>,
    /// The first conditions that are false; at most [`MAX_FAILING`].
    failing: Vec<&'a Condition>,
    /// Whether more are false than that.
    more_fail: bool,
}

/// How many false conditions of a statement are explained and corrected. IAM's 8192 characters leave room for a few dozen; a
/// document from a file may have any number, and the time for each must not grow with the others.
const MAX_FAILING: usize = 16;

impl<'a> Near<'a> {
    pub(super) fn new(statement: &'a Statement, request: &'a WebRequest<'a>) -> Self {
        let mut failing: Vec<&Condition> = statement
            .conditions
            .iter()
            .filter(|condition| condition.truth(request) == Ternary::False)
            .take(MAX_FAILING.saturating_add(1))
            .collect();
        let more_fail = failing.len() > MAX_FAILING;
        failing.truncate(MAX_FAILING);
        let mut near = Self {
            statement,
            request,
            faults: Vec::new(),
            provider: None,
            failing,
            more_fail,
        };
        if statement.principal(request) == Ternary::False {
            near.provider = near.nearest_provider();
        }
        near.faults = near.find_faults();
        near
    }

    pub(super) fn rank(&self) -> Rank {
        let names_provider = self.named_providers().any(is_oidc);
        let subjects = self
            .failing
            .iter()
            .filter_map(|condition| match condition.operator.test {
                Test::Text(test, Polarity::Positive) if self.claim(condition) == Claim::Subject => {
                    Some(self.nearest_subject(condition, test)?.1.distance)
                }
                _ => None,
            });
        Rank {
            is_for_something_else: !(names_provider && self.statement.actions.mean(Action::AssumeRoleWithWebIdentity)),
            kinship: self.kinship(),
            faults: self.faults.len(),
            subjects: subjects.sum(),
        }
    }

    /// The `Federated` principals, and OIDC providers that are listed as another kind of principal.
    fn named_providers(&self) -> impl Iterator<Item = &'a str> {
        let principals = &self.statement.principals;
        let misplaced = self.misplaced_provider().map(|(_, found)| found);
        principals.federated.iter().map(|found| &**found).chain(misplaced)
    }

    /// An OIDC provider under `AWS` or `Service`, with the element's name.
    fn misplaced_provider(&self) -> Option<(&'static str, &'a str)> {
        let principals = &self.statement.principals;
        let issuer = self.request.identity.issuer.as_str();
        let of_element = |element, list: &'a [Box<str>]| {
            let mut names = list.iter().map(|one| &**one);
            let is_one = |one: &str| one.contains(PROVIDER) || one == issuer || mismatch::are_both_of_eks(one, one);
            Some((element, names.find(|one| is_one(one))?))
        };
        of_element("AWS", &principals.aws).or_else(|| of_element("Service", &principals.service))
    }

    /// 0 for the token's own provider; then those that have its host and account, its host, its account, neither.
    fn kinship(&self) -> u8 {
        if self.statement.principal(self.request) == Ternary::True {
            return 0;
        }
        let own = self.request.identity.issuer.as_str();
        let of_one = |found: &str| {
            let (account, name) = match found.split_once(PROVIDER) {
                Some((start, name)) => (start.rsplit(':').next().unwrap_or_default(), name),
                None => ("", found),
            };
            let name = name.strip_prefix("https://").unwrap_or(name);
            let has_host = mismatch::host(name) == mismatch::host(own) || mismatch::are_both_of_eks(name, own);
            match (has_host, account == self.request.role.account()) {
                (true, true) => 1,
                (true, false) => 2,
                (false, true) => 3,
                (false, false) => 4,
            }
        };
        self.named_providers().map(of_one).min().unwrap_or(5)
    }

    fn nearest_provider(&self) -> Option<(&'a str, Mismatches)> {
        let (role, issuer) = (self.request.role, &self.request.identity.issuer);
        self.statement
            .principals
            .federated
            .iter()
            .map(|found| (&**found, mismatch::of_provider(found, role, issuer)))
            .min_by_key(|(found, mismatches)| (!is_oidc(found), mismatches.distance))
    }

    /// The issuer whose provider the statement trusts instead; its keys are the same fault.
    fn trusted_issuer(&self) -> Option<&'a str> {
        let (found, _) = self.provider.as_ref()?;
        let name = found.split_once(PROVIDER).map_or(*found, |(_, name)| name);
        Some(name.strip_prefix("https://").unwrap_or(name))
    }

    fn claim<'k>(&self, condition: &'k Condition) -> Claim<'k> {
        condition.key.claim(&self.request.identity.issuer)
    }

    fn find_faults(&self) -> Vec<Fault> {
        let mut faults: Vec<Fault> = Vec::new();
        if let Some((found, mismatches)) = &self.provider {
            faults.push(Fault::Provider {
                found: (*found).to_owned(),
                mismatches: mismatches.list.clone(),
            });
        } else if self.statement.principal(self.request) == Ternary::False {
            let principal_type = self.principal_type();
            if self.misplaced_provider().is_none() {
                // The whole statement is for another kind of principal.
                return vec![principal_type];
            }
            faults.push(principal_type);
        }
        if !self.statement.actions.mean(Action::AssumeRoleWithWebIdentity) {
            let actions = self.statement.actions.patterns.iter();
            faults.push(Fault::Action {
                actions: actions.map(ToString::to_string).collect(),
                excluded: self.statement.actions.form == ActionForm::NotAction,
            });
        }
        let mut foreign_owners: Vec<&str> = Vec::new();
        for condition in &self.failing {
            let fault = self.of_condition(condition);
            // The keys of one other issuer are one fault, and the same one as its provider.
            if let Claim::Foreign(owner) = self.claim(condition)
                && !starts_with_ignore_case(owner, "arn:")
            {
                let bare = owner.strip_prefix("https://").unwrap_or(owner);
                let is_known = foreign_owners.iter().any(|known| known.eq_ignore_ascii_case(bare));
                let is_of_provider = self
                    .trusted_issuer()
                    .is_some_and(|issuer| issuer.eq_ignore_ascii_case(bare));
                foreign_owners.push(bare);
                if is_known || is_of_provider {
                    faults.extend(self.value_under_foreign_key(condition));
                    continue;
                }
                faults.push(fault);
                faults.extend(self.value_under_foreign_key(condition));
                continue;
            }
            faults.push(fault);
        }
        // If both are swapped, one sentence is enough.
        if faults
            .iter()
            .any(|fault| matches!(fault, Fault::SubjectUnderAudienceKey { swapped: true, .. }))
        {
            faults.retain(|fault| !matches!(fault, Fault::Subject { .. }));
        }
        faults.sort_by_key(|fault| (fault.cause(), matches!(fault, Fault::ProviderInKey { .. })));
        faults.dedup();
        if faults.is_empty() {
            // An Allow that applies neither surely nor possibly has a part that is false.
            faults.push(Fault::NothingAllowed);
        }
        faults
    }

    fn principal_type(&self) -> Fault {
        let principals = &self.statement.principals;
        let texts = |list: &[Box<str>]| list.iter().map(ToString::to_string).collect();
        Fault::PrincipalType {
            services: texts(&principals.service),
            aws: texts(&principals.aws),
            misplaced_provider: self
                .misplaced_provider()
                .map(|(element, found)| (element, found.to_owned())),
        }
    }

    /// A subject or audience that would still be wrong once the key is right; left out for the statement of an unrelated issuer,
    /// which serves others.
    fn value_under_foreign_key(&self, condition: &Condition) -> Option<Fault> {
        if self.kinship() > 2 {
            return None;
        }
        let Test::Text(test, Polarity::Positive) = condition.operator.test else {
            return None;
        };
        let claim = claim_in(condition)?;
        let needed = self.needed(claim);
        let fits = |value: &Value| text_matches(value, test, needed, self.request) != Ternary::False;
        if condition.values.iter().any(fits) {
            return None;
        }
        let wildcard = self.wildcard_taken_literally(condition, needed);
        Some(wildcard.unwrap_or_else(|| match claim {
            ClaimName::Subject => self.wrong_subject(condition, test),
            ClaimName::Audience => self.wrong_audience(condition),
        }))
    }

    fn wrong_audience(&self, condition: &Condition) -> Fault {
        let mismatches = match (&*condition.values, condition.operator.test) {
            ([only], Test::Text(_, Polarity::Positive)) => {
                mismatch::of_audience(&only.text, self.request.identity.audience.as_str())
            }
            _ => Vec::new(),
        };
        Fault::Audience {
            requirement: Requirement::of(condition),
            mismatches,
            key_without_claim: false,
        }
    }

    fn needed(&self, claim: ClaimName) -> &'a str {
        match claim {
            ClaimName::Subject => self.request.identity.subject.as_str(),
            ClaimName::Audience => self.request.identity.audience.as_str(),
        }
    }

    /// What is wrong with a condition that is false.
    fn of_condition(&self, condition: &Condition) -> Fault {
        match self.claim(condition) {
            Claim::Foreign(owner) if starts_with_ignore_case(owner, "arn:") => Fault::ProviderArnInKey {
                key: condition.key.as_str().to_owned(),
            },
            Claim::Foreign(owner) => Fault::ProviderInKey {
                requirement: Requirement::of(condition),
                owner: owner.to_owned(),
                mismatches: mismatch::of_issuer(owner, &self.request.identity.issuer).list,
            },
            Claim::Audience => self
                .subject_under_audience_key(condition)
                .or_else(|| self.wildcard_taken_literally(condition, self.needed(ClaimName::Audience)))
                .unwrap_or_else(|| self.wrong_audience(condition)),
            Claim::Subject => self
                .wildcard_taken_literally(condition, self.needed(ClaimName::Subject))
                .unwrap_or_else(|| match condition.operator.test {
                    Test::Text(test, Polarity::Positive) => self.wrong_subject(condition, test),
                    _ => Fault::Subject {
                        requirement: Requirement::of(condition),
                        mismatches: Vec::new(),
                        key_without_claim: false,
                    },
                }),
            Claim::Bare => self.key_without_claim(condition),
            Claim::Other | Claim::None => match condition.key.given(self.request) {
                Given::Text(given) => self.wildcard_taken_literally(condition, &given),
                // Where the key is absent, no wildcard would help.
                _ => None,
            }
            .unwrap_or_else(|| self.other_condition(condition)),
        }
    }

    fn key_without_claim(&self, condition: &Condition) -> Fault {
        let requirement = Requirement::of(condition);
        match condition.values.iter().find_map(|value| self.looks_like(value)) {
            Some(ClaimName::Subject) => Fault::Subject {
                requirement,
                mismatches: Vec::new(),
                key_without_claim: true,
            },
            Some(ClaimName::Audience) => Fault::Audience {
                requirement,
                mismatches: Vec::new(),
                key_without_claim: true,
            },
            None => Fault::Condition {
                requirement,
                carried: Carried::NoClaim,
            },
        }
    }

    /// Which claim a value belongs to, by its look.
    fn looks_like(&self, value: &Value) -> Option<ClaimName> {
        let identity = self.request.identity;
        if starts_with_ignore_case(&value.text, SERVICE_ACCOUNT) || *value.text == *identity.subject.as_str() {
            return Some(ClaimName::Subject);
        }
        (*value.text == *identity.audience.as_str()).then_some(ClaimName::Audience)
    }

    fn subject_under_audience_key(&self, condition: &Condition) -> Option<Fault> {
        let is = |value: &&Value, claim| self.looks_like(value) == Some(claim);
        let value = condition.values.iter().find(|value| is(value, ClaimName::Subject))?;
        let swapped = self.failing.iter().any(|other| {
            self.claim(other) == Claim::Subject && other.values.iter().any(|value| is(&value, ClaimName::Audience))
        });
        Some(Fault::SubjectUnderAudienceKey {
            value: value.text.to_string(),
            swapped,
        })
    }

    fn wildcard_taken_literally(&self, condition: &Condition, given: &str) -> Option<Fault> {
        let Test::Text(TextTest::Equals | TextTest::EqualsIgnoreCase, Polarity::Positive) = condition.operator.test
        else {
            return None;
        };
        let would_match = with_wildcard(condition).find(|value| matches_as_pattern(value, given, self.request));
        let value = would_match.or_else(|| with_wildcard(condition).next())?;
        Some(Fault::WildcardTakenLiterally {
            requirement: Requirement::of(condition),
            value: value.text.to_string(),
            would_match: would_match.is_some(),
        })
    }

    fn wrong_subject(&self, condition: &Condition, test: TextTest) -> Fault {
        let mut requirement = Requirement::of(condition);
        let mut mismatches = Vec::new();
        if let Some((nearest, found)) = self.nearest_subject(condition, test) {
            mismatches = found.list;
            let mut values: Vec<&str> = vec![&nearest.text];
            let mut seen: BTreeSet<&str> = values.iter().copied().collect();
            values.extend(
                condition
                    .values
                    .iter()
                    .map(|value| &*value.text)
                    .filter(|text| seen.insert(text)),
            );
            requirement.more = values.len().saturating_sub(Requirement::MAX_VALUES);
            let shown = values.into_iter().take(Requirement::MAX_VALUES);
            requirement.values = shown.map(str::to_owned).collect();
        }
        Fault::Subject {
            requirement,
            mismatches,
            key_without_claim: false,
        }
    }

    fn nearest_subject<'e>(&self, condition: &'e Condition, test: TextTest) -> Option<(&'e Value, Mismatches)> {
        let reading = if test == TextTest::Like {
            Reading::Pattern
        } else {
            Reading::Literal
        };
        let subject = &self.request.identity.subject;
        condition
            .values
            .iter()
            .map(|value| {
                let variables = match value.meaning {
                    Meaning::Template(_) => Variables::Known,
                    _ => Variables::PlainText,
                };
                (value, mismatch::of_subject(&value.text, subject, reading, variables))
            })
            .min_by_key(|(_, mismatches)| mismatches.distance)
    }

    fn other_condition(&self, condition: &Condition) -> Fault {
        let carried = match (self.claim(condition), condition.key.given(self.request)) {
            (Claim::Other, _) => Carried::UnknownClaim,
            (_, Given::Absent) => Carried::Absent,
            (_, Given::Text(text)) => Carried::Text(text.into_owned()),
            (_, Given::CurrentTime | Given::EpochTime) => Carried::PastTime,
            (_, Given::SessionName) => Carried::SessionName,
            (_, Given::Beginning(_) | Given::Set(_) | Given::Unknown) => Carried::Anything,
        };
        Fault::Condition {
            requirement: Requirement::of(condition),
            carried,
        }
    }

    /// The edits that correct the statement in place: only what matches no identity is replaced, and only if the result trusts the web
    /// identity. Empty if something else has to be done.
    pub(super) fn corrections(&self, policy: &Policy) -> Vec<Edit> {
        let edits = self.correct_all().unwrap_or_default();
        if edit::makes_trusted(policy, &edits, self.request) {
            edits
        } else {
            Vec::new()
        }
    }

    fn correct_all(&self) -> Option<Vec<Edit>> {
        let principals = &self.statement.principals;
        let count = [&principals.federated, &principals.service, &principals.aws]
            .iter()
            .map(|list| list.len())
            .sum::<usize>();
        if count != 1 || self.more_fail {
            return None;
        }
        let statement = self.statement.number;
        let mut edits = Vec::new();
        if principals.federated.is_empty() {
            let (element, found) = self.misplaced_provider()?;
            let issuer = &self.request.identity.issuer;
            let is_own = self.request.role.is_provider_arn(found, issuer)
                || mismatch::of_provider(found, self.request.role, issuer).may_be_replaced();
            if !is_own {
                return None;
            }
            edits.push(Edit::MovePrincipal {
                statement,
                element,
                found: found.to_owned(),
            });
        }
        if let Some((found, mismatches)) = &self.provider {
            if !mismatches.may_be_replaced() {
                return None;
            }
            edits.push(Edit::ReplacePrincipal {
                statement,
                found: (*found).to_owned(),
            });
        }
        if !self.statement.actions.mean(Action::AssumeRoleWithWebIdentity) {
            let [action] = self.statement.actions.patterns.as_slice() else {
                return None;
            };
            // An action that does not exist; another one may be there for a reason.
            if self.statement.actions.form != ActionForm::Action || storable::is_sts_action(action) {
                return None;
            }
            edits.push(Edit::ReplaceAction {
                statement,
                found: action.to_string(),
            });
        }
        // Where no identity can have the provider, the keys show which identity the statement was meant for.
        let is_of_another = |condition: &&Condition| match self.claim(condition) {
            Claim::Foreign(owner) => !mismatch::of_issuer(owner, &self.request.identity.issuer).may_be_replaced(),
            _ => false,
        };
        if self.provider.is_some() && self.failing.iter().copied().any(|condition| is_of_another(&condition)) {
            return None;
        }
        for condition in &self.failing {
            edits.extend(self.correct_condition(condition)?);
        }
        Some(edits)
    }

    fn correct_condition(&self, condition: &Condition) -> Option<Vec<Edit>> {
        let statement = self.statement.number;
        let operator = condition.operator_text.to_string();
        let key = condition.key.as_str().to_owned();
        let Test::Text(test, Polarity::Positive) = condition.operator.test else {
            return None;
        };
        let replace_key = |claim: ClaimName| Edit::ReplaceKey {
            statement,
            operator: operator.clone(),
            key: key.clone(),
            claim: claim.as_str(),
        };
        match self.claim(condition) {
            // No token of this provider has the key: the statement trusts no identity.
            Claim::Foreign(_) | Claim::Bare | Claim::Other => {
                let claim =
                    claim_in(condition).or_else(|| condition.values.iter().find_map(|value| self.looks_like(value)))?;
                let mut edits = vec![replace_key(claim)];
                let needed = self.needed(claim);
                // From then on, the values are under the new key.
                let new_key = edit::key(self.request, claim.as_str());
                if condition
                    .values
                    .iter()
                    .any(|value| text_matches(value, test, needed, self.request) != Ternary::False)
                {
                    return Some(edits);
                }
                edits.push(
                    self.expand_wildcards(condition, test, needed, &new_key)
                        .or_else(|| self.correct_value(condition, test, claim, new_key.clone()))?,
                );
                Some(edits)
            }
            Claim::Audience => {
                let has_subject_key = self
                    .statement
                    .conditions
                    .iter()
                    .any(|other| self.claim(other) == Claim::Subject);
                let is_subject = |value: &Value| self.looks_like(value) == Some(ClaimName::Subject);
                let all_subjects = condition.values.iter().all(is_subject);
                // Where the subject is wrong as well, the two are swapped: then this has to be the right one.
                let subject_is_right = !self.failing.iter().any(|other| self.claim(other) == Claim::Subject);
                let is_own = |value: &Value| *value.text == *self.request.identity.subject.as_str();
                let value = condition.values.iter().find(|value| is_subject(value));
                match value {
                    // Tokens with another audience in the list are trusted, too.
                    Some(_) if !has_subject_key && all_subjects => Some(vec![replace_key(ClaimName::Subject)]),
                    Some(value) if condition.values.len() == 1 && (subject_is_right || is_own(value)) => {
                        Some(vec![Edit::ReplaceValue {
                            statement,
                            operator,
                            key,
                            found: value.text.to_string(),
                            claim: ClaimName::Audience.as_str(),
                        }])
                    }
                    Some(_) => None,
                    None => self
                        .correct_value(condition, test, ClaimName::Audience, key)
                        .map(|edit| vec![edit]),
                }
            }
            Claim::Subject => self
                .expand_wildcards(condition, test, self.needed(ClaimName::Subject), &key)
                .or_else(|| self.correct_value(condition, test, ClaimName::Subject, key.clone()))
                .map(|edit| vec![edit]),
            Claim::None => None,
        }
    }

    /// A value with `*` or `?` moved to where they are expanded, if that lets the web identity in.
    fn expand_wildcards(&self, condition: &Condition, test: TextTest, needed: &str, key: &str) -> Option<Edit> {
        let is_literal = matches!(test, TextTest::Equals | TextTest::EqualsIgnoreCase);
        let expands = |value: &Value| matches_as_pattern(value, needed, self.request);
        (is_literal && with_wildcard(condition).any(expands)).then(|| Edit::ReplaceOperator {
            statement: self.statement.number,
            operator: condition.operator_text.to_string(),
            key: key.to_owned(),
            with: "StringLike",
        })
    }

    /// The nearest value replaced, if it matches no identity and was meant for this one.
    fn correct_value(&self, condition: &Condition, test: TextTest, claim: ClaimName, key: String) -> Option<Edit> {
        let found = match claim {
            ClaimName::Subject => {
                let (value, mismatches) = self.nearest_subject(condition, test)?;
                let is_audience = self.looks_like(value) == Some(ClaimName::Audience);
                (mismatches.may_be_replaced() || is_audience).then_some(value)?
            }
            ClaimName::Audience => {
                let of = |value: &Value| mismatch::of_audience(&value.text, self.request.identity.audience.as_str());
                let is_unfinished = |value: &&Value| {
                    let mismatches = of(value);
                    !mismatches.is_empty() && mismatches.iter().all(mismatch::Mismatch::matches_no_identity)
                };
                condition.values.iter().find(is_unfinished)?
            }
        };
        Some(Edit::ReplaceValue {
            statement: self.statement.number,
            operator: condition.operator_text.to_string(),
            key,
            found: found.text.to_string(),
            claim: claim.as_str(),
        })
    }
}

/// The claims of a token that a policy can require.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ClaimName {
    Subject,
    Audience,
}

impl ClaimName {
    fn as_str(self) -> &'static str {
        match self {
            Self::Subject => "sub",
            Self::Audience => "aud",
        }
    }
}

/// The claim that a key is about, however its issuer is written: what follows its last colon or slash.
fn claim_in(condition: &Condition) -> Option<ClaimName> {
    let key = condition
        .key
        .as_str()
        .trim_end_matches(|c: char| c.is_whitespace() || matches!(c, '"' | '\''));
    let claim = key.rsplit([':', '/']).next().unwrap_or_default();
    match claim.to_ascii_lowercase().as_str() {
        "sub" | "subject" => Some(ClaimName::Subject),
        "aud" | "audience" => Some(ClaimName::Audience),
        _ => None,
    }
}

fn with_wildcard(condition: &Condition) -> impl Iterator<Item = &Value> {
    condition.values.iter().filter(|value| value.has_wildcard())
}

pub(super) fn matches_as_pattern(value: &Value, text: &str, request: &Request<'_>) -> bool {
    let variables = if matches!(value.meaning, Meaning::Template(_)) {
        Variables::Known
    } else {
        Variables::PlainText
    };
    let pattern = Value::text(value.text.to_string(), Wildcards::Known, variables);
    text_matches(&pattern, TextTest::Like, text, request) != Ternary::False
}

/// Whether a `Federated` principal names an OIDC provider, in whatever form: its ARN, or the issuer alone.
fn is_oidc(found: &str) -> bool {
    let is_issuer = !starts_with_ignore_case(found, "arn:") && found.contains('/');
    found.contains("oidc-provider") || is_issuer
}
