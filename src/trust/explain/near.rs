//! An Allow statement that does not let a web identity in: how near it is, what is wrong with it, and what would correct it.

use super::super::arn::PROVIDER;
use super::super::condition::{Entry, Polarity, Test, TextTest, text_matches};
use super::super::edit::{self, Edit};
use super::super::key::{Claim, Given, Request, begins_with};
use super::super::mismatch::{self, Mismatches, Reading};
use super::super::policy::{ActionForm, Policy, Statement};
use super::super::storable;
use super::super::truth::Truth;
use super::super::value::{Meaning, Value, Variables, Wildcards};
use super::super::web_identity::SERVICE_ACCOUNT;
use super::fault::{Carried, Fault, Requirement};

/// How far a statement is from letting the web identity in; less is nearer.
///
/// A statement that names an OIDC provider for the web identity action comes before any that does not: a role that trusts a
/// service beside a cluster is explained by its statement for the cluster. Then the kinship of its provider with the token's,
/// then the number of faults. Equals are told apart by their order in the document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank {
    is_for_something_else: bool,
    kinship: u8,
    faults: usize,
}

pub(super) struct Near<'a> {
    pub(super) statement: &'a Statement,
    request: &'a Request<'a>,
    /// The weightiest first; at least one.
    pub(super) faults: Vec<Fault>,
    /// The `Federated` principal that the first fault is about, with how it differs; none where the principal matches.
    provider: Option<(&'a str, Mismatches)>,
    failing: Vec<&'a Entry>,
}

impl<'a> Near<'a> {
    pub(super) fn new(statement: &'a Statement, request: &'a Request<'a>) -> Self {
        let failing = statement
            .entries
            .iter()
            .filter(|entry| entry.truth(request) == Truth::False)
            .collect();
        let mut near = Self {
            statement,
            request,
            faults: Vec::new(),
            provider: None,
            failing,
        };
        if statement.principal(request) == Truth::False {
            near.provider = near.nearest_provider();
        }
        near.faults = near.find_faults();
        near
    }

    pub(super) fn rank(&self) -> Rank {
        let names_provider = self.statement.principals.federated.iter().any(|found| is_oidc(found));
        Rank {
            is_for_something_else: !(names_provider && self.statement.actions.mean_web_identity),
            kinship: self.kinship(),
            faults: self.faults.len(),
        }
    }

    /// 0 for the token's own provider; then those that have its host and account, its host, its account, neither.
    fn kinship(&self) -> u8 {
        if self.statement.principal(self.request) == Truth::True {
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
        self.statement
            .principals
            .federated
            .iter()
            .map(|found| of_one(found))
            .min()
            .unwrap_or(5)
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

    fn claim<'k>(&self, entry: &'k Entry) -> Claim<'k> {
        entry.key.claim(&self.request.identity.issuer)
    }

    fn find_faults(&self) -> Vec<Fault> {
        let mut faults: Vec<Fault> = Vec::new();
        if let Some((found, mismatches)) = &self.provider {
            faults.push(Fault::Provider {
                found: (*found).to_owned(),
                mismatches: mismatches.list.clone(),
            });
        } else if self.statement.principal(self.request) == Truth::False {
            // It is there for somebody else, and so is all the rest of it.
            return vec![self.principal_type()];
        }
        if !self.statement.actions.mean_web_identity {
            let actions = self.statement.actions.patterns.iter();
            faults.push(Fault::Action {
                actions: actions.map(ToString::to_string).collect(),
                excluded: self.statement.actions.form == ActionForm::NotAction,
            });
        }
        let mut foreign_owners: Vec<&str> = Vec::new();
        for entry in &self.failing {
            let fault = self.of_entry(entry);
            // The keys of one other issuer are one fault, and the same one as its provider.
            if let Claim::Foreign(owner) = self.claim(entry)
                && !begins_with(owner, "arn:")
            {
                let bare = owner.strip_prefix("https://").unwrap_or(owner);
                let is_known = foreign_owners.iter().any(|known| known.eq_ignore_ascii_case(bare));
                let is_of_provider = self
                    .trusted_issuer()
                    .is_some_and(|issuer| issuer.eq_ignore_ascii_case(bare));
                foreign_owners.push(bare);
                if is_known || is_of_provider {
                    faults.extend(self.value_under_foreign_key(entry));
                    continue;
                }
                faults.push(fault);
                faults.extend(self.value_under_foreign_key(entry));
                continue;
            }
            faults.push(fault);
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
            misplaced_provider: principals
                .aws
                .iter()
                .find(|aws| aws.contains(PROVIDER))
                .map(ToString::to_string),
        }
    }

    /// A subject or audience that would still be wrong once the key is right; of no interest in the statement of an issuer that
    /// is no kin, which serves others.
    fn value_under_foreign_key(&self, entry: &Entry) -> Option<Fault> {
        if self.kinship() > 2 {
            return None;
        }
        let Test::Text(test, Polarity::Positive) = entry.operator.test else {
            return None;
        };
        let claim = claim_in(entry)?;
        let needed = self.needed(claim);
        let fits = |value: &Value| text_matches(value, test, needed, self.request) != Truth::False;
        if entry.values.iter().any(fits) {
            return None;
        }
        match claim {
            ClaimName::Subject => Some(self.wrong_subject(entry, test)),
            ClaimName::Audience => Some(Fault::Audience {
                requirement: Requirement::of(entry),
                key_without_claim: false,
            }),
        }
    }

    fn needed(&self, claim: ClaimName) -> &'a str {
        match claim {
            ClaimName::Subject => self.request.identity.subject.as_str(),
            ClaimName::Audience => self.request.identity.audience.as_str(),
        }
    }

    /// What is wrong with an entry that is false.
    fn of_entry(&self, entry: &Entry) -> Fault {
        match self.claim(entry) {
            Claim::Foreign(owner) if begins_with(owner, "arn:") => Fault::ProviderArnInKey {
                key: entry.key.as_str().to_owned(),
            },
            Claim::Foreign(owner) => Fault::ProviderInKey {
                requirement: Requirement::of(entry),
                owner: owner.to_owned(),
                mismatches: mismatch::of_issuer(owner, &self.request.identity.issuer).list,
            },
            Claim::Audience => self
                .subject_under_audience_key(entry)
                .or_else(|| self.wildcard_taken_literally(entry))
                .unwrap_or_else(|| Fault::Audience {
                    requirement: Requirement::of(entry),
                    key_without_claim: false,
                }),
            Claim::Subject => self
                .wildcard_taken_literally(entry)
                .unwrap_or_else(|| match entry.operator.test {
                    Test::Text(test, Polarity::Positive) => self.wrong_subject(entry, test),
                    _ => Fault::Subject {
                        requirement: Requirement::of(entry),
                        mismatches: Vec::new(),
                        key_without_claim: false,
                    },
                }),
            Claim::Bare => self.key_without_claim(entry),
            Claim::Other | Claim::None => self
                .wildcard_taken_literally(entry)
                .unwrap_or_else(|| self.other_condition(entry)),
        }
    }

    fn key_without_claim(&self, entry: &Entry) -> Fault {
        let requirement = Requirement::of(entry);
        match entry.values.iter().find_map(|value| self.looks_like(value)) {
            Some(ClaimName::Subject) => Fault::Subject {
                requirement,
                mismatches: Vec::new(),
                key_without_claim: true,
            },
            Some(ClaimName::Audience) => Fault::Audience {
                requirement,
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
        if begins_with(&value.text, SERVICE_ACCOUNT) || *value.text == *identity.subject.as_str() {
            return Some(ClaimName::Subject);
        }
        (*value.text == *identity.audience.as_str()).then_some(ClaimName::Audience)
    }

    fn subject_under_audience_key(&self, entry: &Entry) -> Option<Fault> {
        let is = |value: &&Value, claim| self.looks_like(value) == Some(claim);
        let value = entry.values.iter().find(|value| is(value, ClaimName::Subject))?;
        let swapped = self.failing.iter().any(|other| {
            self.claim(other) == Claim::Subject && other.values.iter().any(|value| is(&value, ClaimName::Audience))
        });
        Some(Fault::SubjectUnderAudienceKey {
            value: value.text.to_string(),
            swapped,
        })
    }

    fn wildcard_taken_literally(&self, entry: &Entry) -> Option<Fault> {
        let Test::Text(TextTest::Equals | TextTest::EqualsIgnoreCase, Polarity::Positive) = entry.operator.test else {
            return None;
        };
        // Where the key is absent, no wildcard would help.
        let Given::Text(given) = entry.key.given(self.request) else {
            return None;
        };
        let would_match = with_wildcard(entry).find(|value| matches_as_pattern(value, &given, self.request));
        let value = would_match.or_else(|| with_wildcard(entry).next())?;
        Some(Fault::WildcardTakenLiterally {
            requirement: Requirement::of(entry),
            value: value.text.to_string(),
            would_match: would_match.is_some(),
        })
    }

    fn wrong_subject(&self, entry: &Entry, test: TextTest) -> Fault {
        let nearest = self.nearest_subject(entry, test);
        let mut requirement = Requirement::of(entry);
        let mismatches = match nearest {
            Some((value, mismatches)) => {
                requirement.values.retain(|other| *other != *value.text);
                requirement.values.insert(0, value.text.to_string());
                requirement.values.truncate(Requirement::MAX_VALUES);
                mismatches.list
            }
            None => Vec::new(),
        };
        Fault::Subject {
            requirement,
            mismatches,
            key_without_claim: false,
        }
    }

    fn nearest_subject<'e>(&self, entry: &'e Entry, test: TextTest) -> Option<(&'e Value, Mismatches)> {
        let reading = if test == TextTest::Like {
            Reading::Pattern
        } else {
            Reading::Literal
        };
        let subject = &self.request.identity.subject;
        entry
            .values
            .iter()
            .map(|value| (value, mismatch::of_subject(&value.text, subject, reading)))
            .min_by_key(|(_, mismatches)| mismatches.distance)
    }

    fn other_condition(&self, entry: &Entry) -> Fault {
        let carried = match (self.claim(entry), entry.key.given(self.request)) {
            (Claim::Other, _) => Carried::UnknownClaim,
            (_, Given::Absent) => Carried::Absent,
            (_, Given::Text(text)) => Carried::Text(text.into_owned()),
            (_, Given::CurrentTime | Given::EpochTime) => Carried::PastTime,
            (_, Given::SessionName) => Carried::SessionName,
            (_, Given::Unknown) => Carried::Anything,
        };
        Fault::Condition {
            requirement: Requirement::of(entry),
            carried,
        }
    }

    /// What corrects the statement where it stands: only what can serve nobody is replaced, and only if the outcome trusts
    /// the web identity. Empty when something else has to be done.
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
        let is_alone = principals.federated.len() == 1 && principals.service.is_empty() && principals.aws.is_empty();
        if !is_alone {
            return None;
        }
        let statement = self.statement.number;
        let mut edits = Vec::new();
        if let Some((found, mismatches)) = &self.provider {
            if !mismatches.serves_nobody() {
                return None;
            }
            edits.push(Edit::ReplacePrincipal {
                statement,
                found: (*found).to_owned(),
            });
        }
        if !self.statement.actions.mean_web_identity {
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
        for entry in &self.failing {
            edits.extend(self.correct_entry(entry)?);
        }
        Some(edits)
    }

    fn correct_entry(&self, entry: &Entry) -> Option<Vec<Edit>> {
        let statement = self.statement.number;
        let operator = entry.operator_text.to_string();
        let key = entry.key.as_str().to_owned();
        let Test::Text(test, Polarity::Positive) = entry.operator.test else {
            return None;
        };
        let replace_key = |claim: ClaimName| Edit::ReplaceKey {
            statement,
            operator: operator.clone(),
            key: key.clone(),
            claim: claim.as_str(),
        };
        match self.claim(entry) {
            // No token of this provider has the key: the statement serves nobody.
            Claim::Foreign(_) | Claim::Bare | Claim::Other => {
                let claim = claim_in(entry).or_else(|| entry.values.iter().find_map(|value| self.looks_like(value)))?;
                let mut edits = vec![replace_key(claim)];
                let needed = self.needed(claim);
                if !entry
                    .values
                    .iter()
                    .any(|value| text_matches(value, test, needed, self.request) != Truth::False)
                {
                    // The new key is what the value stands under from then on.
                    edits.push(self.correct_value(entry, test, claim, edit::key(self.request, claim.as_str()))?);
                }
                Some(edits)
            }
            Claim::Audience => {
                let has_subject_key = self
                    .statement
                    .entries
                    .iter()
                    .any(|other| self.claim(other) == Claim::Subject);
                let is_subject = |value: &Value| self.looks_like(value) == Some(ClaimName::Subject);
                let all_subjects = entry.values.iter().all(is_subject);
                let value = entry.values.iter().find(|value| is_subject(value));
                match value {
                    // Tokens with another audience that stands there, too, are let in.
                    Some(_) if !has_subject_key && all_subjects => Some(vec![replace_key(ClaimName::Subject)]),
                    Some(value) if entry.values.len() == 1 => Some(vec![Edit::ReplaceValue {
                        statement,
                        operator,
                        key,
                        found: value.text.to_string(),
                        claim: ClaimName::Audience.as_str(),
                    }]),
                    _ => None,
                }
            }
            Claim::Subject => {
                let is_literal = matches!(test, TextTest::Equals | TextTest::EqualsIgnoreCase);
                let subject = self.request.identity.subject.as_str();
                let expands = |value: &Value| matches_as_pattern(value, subject, self.request);
                if is_literal && with_wildcard(entry).any(expands) {
                    return Some(vec![Edit::ReplaceOperator {
                        statement,
                        operator,
                        key,
                        with: "StringLike",
                    }]);
                }
                self.correct_value(entry, test, ClaimName::Subject, key)
                    .map(|edit| vec![edit])
            }
            Claim::None => None,
        }
    }

    /// The nearest value replaced, if it is one that can stand for nobody.
    fn correct_value(&self, entry: &Entry, test: TextTest, claim: ClaimName, key: String) -> Option<Edit> {
        let found = match claim {
            ClaimName::Subject => {
                let (value, mismatches) = self.nearest_subject(entry, test)?;
                let is_audience = self.looks_like(value) == Some(ClaimName::Audience);
                (mismatches.serves_nobody() || is_audience).then_some(value)?
            }
            ClaimName::Audience => {
                let value = entry.values.first()?;
                mismatch::holds_placeholder(&value.text).then_some(value)?
            }
        };
        Some(Edit::ReplaceValue {
            statement: self.statement.number,
            operator: entry.operator_text.to_string(),
            key,
            found: found.text.to_string(),
            claim: claim.as_str(),
        })
    }
}

/// The claims of a token that a policy can ask for.
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
fn claim_in(entry: &Entry) -> Option<ClaimName> {
    let key = entry.key.as_str().trim_end();
    let claim = key.rsplit([':', '/']).next().unwrap_or_default();
    match claim.to_ascii_lowercase().as_str() {
        "sub" | "subject" => Some(ClaimName::Subject),
        "aud" | "audience" => Some(ClaimName::Audience),
        _ => None,
    }
}

fn with_wildcard(entry: &Entry) -> impl Iterator<Item = &Value> {
    entry.values.iter().filter(|value| value.has_wildcard())
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

/// Whether a `Federated` principal names an OIDC provider, in whatever form: its ARN, or the issuer alone.
fn is_oidc(found: &str) -> bool {
    let is_issuer = !begins_with(found, "arn:") && found.contains('/');
    found.contains("oidc-provider") || is_issuer
}
