//! The text of an explanation: the clause of line 1, the rows, the reason on one line, the edit that corrects it.

use crate::support::text::{self, quote};
use crate::trust::{
    Carried, Edit, Explanation, Fault, Mismatch, Requirement, RoleArn, StatementLabel, Verdict, WebIdentity,
};

/// The longest reason or hint, in characters.
const LONGEST: usize = 600;
/// How many of several values, services, actions … are named.
const MAX_SHOWN: usize = 3;
const ACTION: &str = "sts:AssumeRoleWithWebIdentity";
const SERVICE_ACCOUNT: &str = "system:serviceaccount:";

/// An explanation with what it is about.
#[derive(Clone, Copy)]
pub struct ExplanationText<'a> {
    /// The role.
    pub role: &'a RoleArn,
    /// The web identity.
    pub identity: &'a WebIdentity,
    /// Why.
    pub explanation: &'a Explanation,
}

/// `statement 1`, `statement 1 (Sid "Jobs")`.
pub(super) fn label(statement: &StatementLabel) -> String {
    match &statement.sid {
        Some(sid) => format!("statement {} (Sid {})", statement.number, text::quote_within(sid, 63)),
        None => format!("statement {}", statement.number),
    }
}

impl ExplanationText<'_> {
    /// Every fault of the statement on one line, of at most 600 characters.
    #[must_use]
    pub fn reason(&self) -> String {
        let label = self.explanation.statement.as_ref().map(label);
        let sentences: Vec<String> = self
            .explanation
            .faults
            .iter()
            .map(|fault| self.sentence(fault))
            .collect();
        let faults = sentences.join("; it also ");
        let reason = match label {
            Some(label) => format!("{label} {faults}"),
            None => faults,
        };
        text::truncate(&text::line(&reason), LONGEST).into_owned()
    }

    /// What corrects it, on one line of at most 600 characters: edits that take nothing away from anybody, or what to decide.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let edits = self.edits();
        let hint = if edits.is_empty() {
            self.without_an_edit()?
        } else {
            edits
        };
        Some(text::truncate(&hint, LONGEST).into_owned())
    }

    /// The correction in place, where there is one; additions are what the command of the fix does.
    pub(super) fn correction(&self) -> Option<String> {
        let in_place = |edit: &Edit| !matches!(edit, Edit::AddSubject { .. } | Edit::AddStatement);
        let edits = &self.explanation.edits;
        (!edits.is_empty() && edits.iter().all(in_place)).then(|| self.edits())
    }

    /// The faults after the first, in at most so many lines.
    pub(super) fn others(&self, max_lines: usize) -> Vec<String> {
        let mut sentences: Vec<String> = self
            .explanation
            .faults
            .iter()
            .skip(1)
            .map(|fault| text::line(&format!("it {}", self.sentence(fault))).into_owned())
            .collect();
        if sentences.len() > max_lines.max(1) {
            let rest = sentences.split_off(max_lines.max(1).saturating_sub(1));
            sentences.push(rest.join("; "));
        }
        sentences
    }

    /// What line 1 says after the names.
    pub(super) fn clause(&self) -> String {
        match self.explanation.faults.first() {
            Some(fault) => self.clause_of(fault),
            None => "its trust policy does not apply".to_owned(),
        }
    }

    fn clause_of(&self, fault: &Fault) -> String {
        let statement = self.explanation.statement.as_ref().map_or_else(
            || "its trust policy".to_owned(),
            |one| format!("statement {} of its trust policy", one.number),
        );
        match fault {
            Fault::NoProvider => format!(
                "account {} has no OIDC provider for the cluster's issuer",
                self.role.account()
            ),
            Fault::AudienceNotRegistered { .. } => format!(
                "the OIDC provider in account {} does not list the audience {}",
                self.role.account(),
                quote(self.identity.audience.as_str())
            ),
            Fault::Denied { .. } => format!("{statement} denies it"),
            Fault::NothingAllowed => "its trust policy has no statement that allows it".to_owned(),
            Fault::PrincipalType {
                misplaced_provider: Some((element, _)),
                ..
            } => format!("its trust policy lists the OIDC provider under {element} instead of Federated"),
            Fault::PrincipalType { services, aws, .. } if services.is_empty() && *aws == ["*"] => {
                "its trust policy allows only AWS principals (*)".to_owned()
            }
            Fault::PrincipalType { services, aws, .. } => {
                format!("its trust policy allows only {}", list(services.iter().chain(aws)))
            }
            Fault::Provider { found, mismatches } => {
                provider_clause("the OIDC provider in its trust policy", mismatches).unwrap_or_else(|| {
                    let issuer = found
                        .split_once(":oidc-provider/")
                        .map_or(&**found, |(_, issuer)| issuer);
                    match mismatches.as_slice() {
                        [Mismatch::Saml] => {
                            "its trust policy names a SAML provider instead of an OIDC provider".to_owned()
                        }
                        [Mismatch::OtherIssuer | Mismatch::Path | Mismatch::OtherProvider] => {
                            format!("its trust policy names another OIDC provider, {}", text::value(issuer))
                        }
                        _ => format!("its trust policy names another OIDC provider: {}", phrases(mismatches)),
                    }
                })
            }
            Fault::ProviderInKey { owner, mismatches, .. } => {
                provider_clause("a condition key of its trust policy", mismatches).unwrap_or_else(|| {
                    let what = "its trust policy has a condition key of another issuer";
                    match mismatches.as_slice() {
                        [Mismatch::OtherIssuer | Mismatch::Path] => format!("{what}, {}", text::value(owner)),
                        _ => format!("{what}: {}", phrases(mismatches)),
                    }
                })
            }
            Fault::Action {
                actions,
                excluded: false,
            } => format!("its trust policy allows {}, not {ACTION}", list(actions)),
            Fault::Action { actions, .. } => {
                format!("its trust policy excludes {ACTION} (NotAction {})", list(actions))
            }
            Fault::ProviderArnInKey { .. } => {
                "a condition key of its trust policy has the provider's ARN instead of the issuer".to_owned()
            }
            Fault::SubjectUnderAudienceKey { swapped: true, .. } => {
                "its trust policy has the values of :sub and :aud swapped".to_owned()
            }
            Fault::SubjectUnderAudienceKey { .. } => {
                "its trust policy has the subject under the audience key (:aud)".to_owned()
            }
            Fault::WildcardTakenLiterally {
                requirement,
                value,
                would_match,
            } => {
                let wildcard = if value.contains('*') { '*' } else { '?' };
                let short = value.strip_prefix(SERVICE_ACCOUNT).unwrap_or(value);
                let fix = if *would_match { "; use StringLike" } else { "" };
                format!(
                    "{} does not expand the {wildcard} in {}{fix}",
                    text::value_within(&requirement.operator, 60),
                    quote(short)
                )
            }
            Fault::Subject {
                key_without_claim: true,
                ..
            } => "a condition key of its trust policy lacks :sub".to_owned(),
            Fault::Subject {
                requirement,
                mismatches,
                ..
            } => subject_clause(requirement, mismatches),
            Fault::Audience {
                key_without_claim: true,
                ..
            } => "a condition key of its trust policy lacks :aud".to_owned(),
            Fault::Audience { requirement, .. } if requirement.negated => format!(
                "its trust policy excludes the audience {}",
                quote(self.identity.audience.as_str())
            ),
            Fault::Audience {
                requirement,
                mismatches,
                ..
            } => format!(
                "its trust policy requires the audience {}, the token has {}{}",
                values(requirement),
                quote(self.identity.audience.as_str()),
                after_colon(mismatches)
            ),
            Fault::Condition {
                requirement,
                carried: Carried::Absent,
            } => format!(
                "its trust policy requires {}, which no request with a web identity has",
                text::value(&requirement.key)
            ),
            Fault::Condition {
                requirement,
                carried: Carried::UnknownClaim,
            } => {
                let issuer = self.identity.issuer.as_str();
                let claim = requirement
                    .key
                    .get(issuer.len().saturating_add(1)..)
                    .unwrap_or_default();
                format!(
                    "its trust policy requires the claim {}; STS passes on only sub and aud",
                    quote(claim)
                )
            }
            Fault::Condition { requirement, carried } => format!(
                "its trust policy requires {}; {}",
                short_requirement(requirement),
                self.carried(carried)
            ),
            Fault::DependsOn { conditions, denies, .. } => match (conditions.as_slice(), denies) {
                ([], _) => format!("{statement} might deny it; only STS knows"),
                (_, true) => format!("{statement} might deny it, which depends on {}", self.open_keys()),
                (_, false) => format!("its trust policy depends on {}, which only STS knows", self.open_keys()),
            },
        }
    }

    /// The keys that an undecided verdict depends on.
    fn open_keys(&self) -> String {
        list(&self.explanation.undecided_keys)
    }

    /// What is allowed and what would be needed, as written in policies.
    pub(super) fn allowed_and_needed(&self) -> Option<(String, String)> {
        let provider = || self.role.provider_arn(&self.identity.issuer);
        let key = |claim: &str| format!("{}:{claim}", self.identity.issuer);
        let (allowed, needed) = match self.explanation.faults.first()? {
            Fault::PrincipalType { services, aws, .. } => {
                // What is trusted now stays trusted: one more is needed.
                let allowed = list(services.iter().chain(aws));
                return Some((text::value(&allowed), format!("{} as well", text::value(&provider()))));
            }
            Fault::Provider { found, .. } => (found.clone(), provider()),
            Fault::ProviderInKey { requirement, .. } => {
                let claim = if requirement.key.to_ascii_lowercase().trim_end().ends_with("aud") {
                    "aud"
                } else {
                    "sub"
                };
                (format!("key {}", requirement.key), format!("key {}", key(claim)))
            }
            Fault::Action { actions, excluded } => {
                let prefix = if *excluded { "all but " } else { "" };
                (format!("{prefix}{}", list(actions)), ACTION.to_owned())
            }
            Fault::ProviderArnInKey { key: found } => {
                let claim = if found.ends_with("aud") { "aud" } else { "sub" };
                (format!("key {found}"), format!("key {}", key(claim)))
            }
            Fault::SubjectUnderAudienceKey { value, .. } => (format!("aud {value}"), format!("sub {value}")),
            Fault::WildcardTakenLiterally { requirement, value, .. } => (
                format!("{} {value}", requirement.operator),
                format!("StringLike {value}"),
            ),
            Fault::Subject { requirement, .. } => (values_bare(requirement), self.identity.subject.as_str().to_owned()),
            Fault::Audience { requirement, .. } => {
                (values_bare(requirement), self.identity.audience.as_str().to_owned())
            }
            Fault::AudienceNotRegistered { listed } => (
                if listed.is_empty() {
                    "none".to_owned()
                } else {
                    list(listed)
                },
                self.identity.audience.as_str().to_owned(),
            ),
            Fault::NoProvider
            | Fault::Denied { .. }
            | Fault::NothingAllowed
            | Fault::Condition { .. }
            | Fault::DependsOn { .. } => return None,
        };
        Some((text::value(&allowed), text::value(&needed)))
    }

    /// A predicate of the statement: what it does or lacks.
    fn sentence(&self, fault: &Fault) -> String {
        let provider = || quote(&self.role.provider_arn(&self.identity.issuer));
        let subject = || quote(self.identity.subject.as_str());
        let audience = || quote(self.identity.audience.as_str());
        match fault {
            Fault::NoProvider => format!(
                "account {} has no OIDC provider for {}",
                self.role.account(),
                self.identity.issuer
            ),
            Fault::AudienceNotRegistered { listed } => format!(
                "the OIDC provider {} of account {} does not list the audience {} among its client IDs ({})",
                self.identity.issuer,
                self.role.account(),
                audience(),
                if listed.is_empty() {
                    "none".to_owned()
                } else {
                    list(listed)
                }
            ),
            Fault::Denied { conditions, .. } if conditions.is_empty() => {
                format!("denies every token of {}", quote(self.identity.issuer.as_str()))
            }
            Fault::Denied { conditions, more: 0 } => format!(
                "denies the request, because its {} ({})",
                if conditions.len() == 1 {
                    "condition holds"
                } else {
                    "conditions hold"
                },
                requirements(conditions)
            ),
            Fault::Denied { conditions, more } => format!(
                "denies the request, because its conditions hold ({} and {more} more)",
                requirements(conditions)
            ),
            Fault::NothingAllowed => "no statement allows anything; every one is a Deny".to_owned(),
            Fault::PrincipalType {
                misplaced_provider: Some((element, found)),
                ..
            } => format!(
                "lists the OIDC provider {} under {element}; it belongs under Federated",
                quote(found)
            ),
            Fault::PrincipalType { services, aws, .. } => {
                let part = |what: &str, list: &[String]| {
                    let plural = if list.len() == 1 { "" } else { "s" };
                    (!list.is_empty()).then(|| format!("{what}{plural} {}", self::list(list)))
                };
                let trusted = [part("the service", services), part("the AWS principal", aws)];
                let trusted: Vec<String> = trusted.into_iter().flatten().collect();
                format!("trusts {}, not an OIDC provider", trusted.join(" and "))
            }
            Fault::Provider { found, mismatches } => format!(
                "trusts another provider, {}: {}; the token's provider is {}",
                quote(found),
                phrases(mismatches),
                provider()
            ),
            Fault::ProviderInKey {
                requirement,
                mismatches,
                ..
            } => format!(
                "requires {}, where the key is not of the token's issuer {}: {}",
                long_requirement(requirement),
                quote(self.identity.issuer.as_str()),
                phrases(mismatches)
            ),
            Fault::Action {
                actions,
                excluded: false,
            } => format!("allows {}, not {ACTION}", quoted_list(actions)),
            Fault::Action { actions, .. } => {
                format!(
                    "allows all but {} (NotAction), and so not {ACTION}",
                    quoted_list(actions)
                )
            }
            Fault::ProviderArnInKey { key } => format!(
                "has the provider's ARN in the condition key {}, where the issuer belongs; no token has such a key",
                quote(key)
            ),
            Fault::SubjectUnderAudienceKey { value, swapped } => {
                let swapped = if *swapped {
                    "; the values of :sub and :aud are swapped"
                } else {
                    ""
                };
                format!(
                    "has the subject {} under the key of the audience (:aud); the token's audience is {}{swapped}",
                    quote(value),
                    audience()
                )
            }
            Fault::WildcardTakenLiterally { requirement, value, .. } => format!(
                "requires {} to equal {} under {}, which does not expand * and ?",
                self.key_name(&requirement.key),
                quote(value),
                text::value_within(&requirement.operator, 60)
            ),
            Fault::Subject {
                requirement,
                key_without_claim: true,
                ..
            } => format!(
                "has a subject under the key {}, which names the issuer but no claim; no token has such a key",
                quote(&requirement.key)
            ),
            Fault::Subject {
                requirement,
                mismatches,
                ..
            } if mismatches.is_empty() || requirement.negated => {
                format!(
                    "requires {}; the token's subject is {}",
                    long_requirement(requirement),
                    subject()
                )
            }
            Fault::Subject {
                requirement,
                mismatches,
                ..
            } => format!(
                "requires the subject {}, the token has {}: {}",
                values(requirement),
                subject(),
                phrases(mismatches)
            ),
            Fault::Audience {
                requirement,
                key_without_claim: true,
                ..
            } => format!(
                "has an audience under the key {}, which names the issuer but no claim; no token has such a key",
                quote(&requirement.key)
            ),
            Fault::Audience { requirement, .. } if requirement.negated => {
                format!(
                    "requires {}; the token's audience is {}",
                    long_requirement(requirement),
                    audience()
                )
            }
            Fault::Audience {
                requirement,
                mismatches,
                ..
            } => {
                format!(
                    "requires the audience {}, the token has {}{}",
                    values(requirement),
                    audience(),
                    after_colon(mismatches)
                )
            }
            Fault::Condition { requirement, carried } => {
                format!("requires {}; {}", long_requirement(requirement), self.carried(carried))
            }
            Fault::DependsOn {
                conditions,
                more,
                denies,
                other_statements,
                session_name,
            } => self.depends_on(conditions, *more, *denies, *other_statements, session_name.as_ref()),
        }
    }

    fn depends_on(
        &self,
        conditions: &[Requirement],
        more: usize,
        denies: bool,
        other_statements: usize,
        session_name: Option<&(String, Verdict)>,
    ) -> String {
        let mut sentence = if conditions.is_empty() {
            "denies the AWS principal \"*\"; whether that includes a web identity, only STS knows".to_owned()
        } else {
            let is_one = conditions.len().saturating_add(more) == 1;
            let more = match more {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            format!(
                "{} if {}{more} {}, which only STS knows",
                if denies { "denies it" } else { "allows it only" },
                requirements(conditions),
                if is_one { "holds" } else { "hold" }
            )
        };
        match other_statements {
            0 => {}
            1 => sentence.push_str("; the same applies to 1 other statement"),
            others => sentence.push_str(&format!("; the same applies to {others} other statements")),
        }
        if let Some((name, verdict)) = session_name {
            let outcome = match verdict {
                Verdict::Trusted => "with which the policy trusts it",
                Verdict::NotTrusted => "with which the policy does not trust it",
                Verdict::Undecided | Verdict::Unknown => "with which it is still undecided",
            };
            sentence.push_str(&format!(
                "; the pod's AWS_ROLE_SESSION_NAME is {}, {outcome}",
                quote(name)
            ));
        }
        sentence
    }

    fn key_name(&self, key: &str) -> String {
        let issuer = self.identity.issuer.as_str();
        match key
            .get(..issuer.len())
            .filter(|owner| owner.eq_ignore_ascii_case(issuer))
        {
            Some(owner) => match key.get(owner.len()..).map(str::to_ascii_lowercase).as_deref() {
                Some(":sub") => "the subject".to_owned(),
                Some(":aud") => "the audience".to_owned(),
                _ => quote(key),
            },
            None => quote(key),
        }
    }

    fn carried(&self, carried: &Carried) -> String {
        match carried {
            Carried::UnknownClaim => "STS passes on only the claims sub and aud of a cluster's token".to_owned(),
            Carried::NoClaim => "the key names the issuer but no claim".to_owned(),
            Carried::Absent => "a request with a web identity does not have this key".to_owned(),
            Carried::Text(text) => format!("its value is {}", quote(text)),
            Carried::PastTime => "that time has passed".to_owned(),
            Carried::SessionName => "no session name that STS accepts can match".to_owned(),
            Carried::Anything => "this is false for every value".to_owned(),
        }
    }

    fn edits(&self) -> String {
        let mut edits: Vec<String> = self.explanation.edits.iter().map(|edit| self.edit(edit)).collect();
        // The same key can appear under two operators.
        edits.dedup();
        edits.join("; ")
    }

    fn edit(&self, edit: &Edit) -> String {
        let key = |claim: &str| quote(&format!("{}:{claim}", self.identity.issuer));
        let claimed = |claim: &str| match claim {
            "aud" => quote(self.identity.audience.as_str()),
            _ => quote(self.identity.subject.as_str()),
        };
        match edit {
            Edit::AddSubject { statement, key, .. } => format!(
                "add {} to the values of {} in statement {statement}",
                claimed("sub"),
                quote(key)
            ),
            Edit::AddStatement => format!(
                "add a statement for {} and keep the others",
                quote(&self.role.provider_arn(&self.identity.issuer))
            ),
            Edit::ReplacePrincipal { statement, found } => format!(
                "in statement {statement}, replace the Federated principal {} with {}",
                quote(found),
                quote(&self.role.provider_arn(&self.identity.issuer))
            ),
            Edit::MovePrincipal {
                statement,
                element,
                found,
            } => format!(
                "in statement {statement}, replace the {element} principal {} with the Federated principal {}",
                quote(found),
                quote(&self.role.provider_arn(&self.identity.issuer))
            ),
            Edit::ReplaceAction { statement, found } => {
                format!(
                    "in statement {statement}, replace the action {} with \"{ACTION}\"",
                    quote(found)
                )
            }
            Edit::ReplaceKey {
                statement,
                key: found,
                claim,
                ..
            } => format!(
                "in statement {statement}, replace the key {} with {}",
                quote(found),
                key(claim)
            ),
            Edit::ReplaceOperator {
                statement,
                operator,
                key,
                with,
            } => format!(
                "in statement {statement}, use {with} instead of {} for {}, which allows the whole pattern",
                text::value_within(operator, 60),
                quote(key)
            ),
            Edit::ReplaceValue {
                statement,
                key,
                found,
                claim,
                ..
            } => format!(
                "in statement {statement}, replace {} with {} under {}",
                quote(found),
                claimed(claim),
                quote(key)
            ),
        }
    }

    /// What to do where no edit is sure to help.
    fn without_an_edit(&self) -> Option<String> {
        let statement = self.explanation.statement.as_ref().map(|one| one.number);
        match (self.explanation.faults.first()?, statement) {
            (Fault::Denied { .. }, Some(number)) => Some(format!("remove or narrow the Deny in statement {number}")),
            (Fault::NoProvider, _) => Some("create the OIDC provider once per account and cluster".to_owned()),
            (Fault::AudienceNotRegistered { .. }, _) => Some(
                "add the audience to the client IDs of the provider, or correct the audience annotation".to_owned(),
            ),
            // Something can always be added, and only a Deny is stronger.
            (fault, _) if fault.cause().is_some() => {
                Some("a Deny in the policy might still refuse it after this is corrected".to_owned())
            }
            _ => None,
        }
    }
}

/// A clause about the cluster, where it is another one, or about how the text is written; none about anything else.
fn provider_clause(what: &str, mismatches: &[Mismatch]) -> Option<String> {
    let cluster = mismatches.iter().find_map(|one| match one {
        Mismatch::Cluster { found, needed } => {
            let names = if what.starts_with("the ") {
                "its trust policy"
            } else {
                what
            };
            Some(format!(
                "{names} names EKS cluster {}, not {}",
                text::value(found),
                text::value(needed)
            ))
        }
        _ => None,
    });
    let is_misspelled = |one: &Mismatch| {
        matches!(
            one,
            Mismatch::Scheme(_)
                | Mismatch::SlashBefore
                | Mismatch::SlashMissing
                | Mismatch::SlashAdded
                | Mismatch::SlashBeforeClaim
                | Mismatch::ProviderPath
                | Mismatch::ClaimAdded(_)
                | Mismatch::NoIssuer
                | Mismatch::Part
                | Mismatch::Case
                | Mismatch::Placeholder
                | Mismatch::Wildcard
                | Mismatch::AnyProvider
                | Mismatch::BareIssuer
                | Mismatch::ArnStart
                | Mismatch::Blank
                | Mismatch::Quotes
        )
    };
    let is_wrong = mismatches.iter().any(is_misspelled);
    cluster.or_else(|| is_wrong.then(|| format!("{what} is wrong: {}", phrases(mismatches))))
}

fn subject_clause(requirement: &Requirement, mismatches: &[Mismatch]) -> String {
    let first = requirement.values.first().map_or("", String::as_str);
    if requirement.negated || requirement.values.is_empty() {
        return format!(
            "its trust policy excludes it ({} {})",
            text::value_within(&requirement.operator, 60),
            values(requirement)
        );
    }
    match mismatches {
        [Mismatch::SeveralInOne] => {
            return "its trust policy has several subjects in one string, where a list is needed".to_owned();
        }
        [Mismatch::VariableUnderOldVersion, ..] => {
            return "its trust policy has a variable as the subject, but not the Version \"2012-10-17\"".to_owned();
        }
        _ => {}
    }
    let is_plain = mismatches.iter().all(|one| {
        matches!(
            one,
            Mismatch::Namespace { .. } | Mismatch::Name { .. } | Mismatch::NamespaceAndName
        )
    });
    let account = first
        .strip_prefix(SERVICE_ACCOUNT)
        .and_then(|rest| rest.split_once(':'));
    let others = match requirement
        .values
        .len()
        .saturating_sub(1)
        .saturating_add(requirement.more)
    {
        0 => String::new(),
        1 => " and 1 other".to_owned(),
        others => format!(" and {others} others"),
    };
    match account {
        Some((namespace, name)) if is_plain => {
            format!(
                "its trust policy allows {}{others}",
                text::value(&format!("{namespace}/{name}"))
            )
        }
        _ => {
            format!(
                "its trust policy allows {}{others}: {}",
                quote(first),
                phrases(mismatches)
            )
        }
    }
}

/// `: it has a space at one end`, where there is anything to say.
fn after_colon(mismatches: &[Mismatch]) -> String {
    if mismatches.is_empty() {
        String::new()
    } else {
        format!(": {}", phrases(mismatches))
    }
}

fn phrases(mismatches: &[Mismatch]) -> String {
    let phrases: Vec<String> = mismatches.iter().map(phrase).collect();
    phrases.join(", ")
}

/// One difference in words, about the text in the policy.
fn phrase(mismatch: &Mismatch) -> String {
    match mismatch {
        Mismatch::Scheme(scheme) => format!("{scheme} was left in"),
        Mismatch::SlashBefore => "it has an extra slash before the issuer".to_owned(),
        Mismatch::ProviderPath => "an extra oidc-provider/ was left in".to_owned(),
        Mismatch::ClaimAdded(claim) => format!("it has {claim} at its end, which belongs in condition keys only"),
        Mismatch::SlashBeforeClaim => "it has a slash before the claim, where a colon belongs".to_owned(),
        Mismatch::NoIssuer => "the issuer is missing".to_owned(),
        Mismatch::Part => "it is only a part of the issuer".to_owned(),
        Mismatch::SlashMissing => "the slash at its end is missing".to_owned(),
        Mismatch::SlashAdded => "it has an extra slash at its end".to_owned(),
        Mismatch::Case => "it differs in upper and lower case".to_owned(),
        Mismatch::Placeholder => "a placeholder was not filled in".to_owned(),
        Mismatch::Variable => "its variables do not make it this subject".to_owned(),
        Mismatch::VariableUnderOldVersion => "variables are not replaced unless Version is \"2012-10-17\"".to_owned(),
        Mismatch::Wildcard | Mismatch::AnyProvider => {
            "it has a wildcard, and wildcards are not expanded there".to_owned()
        }
        Mismatch::Host { found, needed, .. } => format!("host {} instead of {needed}", text::value(found)),
        Mismatch::Region { found, needed } => format!("Region {} instead of {needed}", text::value(found)),
        Mismatch::Cluster { found, needed } => {
            format!(
                "EKS cluster ID {} instead of {}",
                text::value(found),
                text::value(needed)
            )
        }
        Mismatch::Path => "another path".to_owned(),
        Mismatch::OtherIssuer => "another issuer".to_owned(),
        Mismatch::BareIssuer => "it is an issuer, not the ARN of its provider".to_owned(),
        Mismatch::OtherProvider => "another identity provider".to_owned(),
        Mismatch::Saml => "a SAML provider".to_owned(),
        Mismatch::NotAProvider => "it is not the ARN of an OIDC provider".to_owned(),
        Mismatch::Partition { found, needed } => format!("partition {} instead of {needed}", text::value(found)),
        Mismatch::Account { found, .. } if found.is_empty() => "the account is missing".to_owned(),
        Mismatch::Account { found, needed } => {
            format!("account {} instead of the role's account {needed}", quote(found))
        }
        Mismatch::ArnStart => "it does not start with arn:PARTITION:iam::".to_owned(),
        Mismatch::Blank => "it has a space at one end".to_owned(),
        Mismatch::BlankInside => "it contains a space".to_owned(),
        Mismatch::OtherPrefix => format!("it does not start with {SERVICE_ACCOUNT}"),
        Mismatch::NoName => "the name is missing".to_owned(),
        Mismatch::Quotes => "it has quotation marks inside".to_owned(),
        Mismatch::Prefix => format!("{SERVICE_ACCOUNT} is missing"),
        Mismatch::SlashForColon => "it has a slash where a colon belongs".to_owned(),
        Mismatch::NoNamespace => "the namespace is missing".to_owned(),
        Mismatch::SeveralInOne => "several subjects are in one string, where a list is needed".to_owned(),
        Mismatch::Namespace { found, needed } => format!("namespace {} instead of {}", quote(found), quote(needed)),
        Mismatch::Name { found, needed } => format!("name {} instead of {}", quote(found), quote(needed)),
        Mismatch::NamespaceAndName => "another namespace and name".to_owned(),
        Mismatch::NotAServiceAccount => "it is not the subject of a ServiceAccount".to_owned(),
        Mismatch::OtherSubject => "another subject".to_owned(),
    }
}

fn list<'a>(texts: impl IntoIterator<Item = &'a String>) -> String {
    let texts: Vec<&str> = texts.into_iter().map(String::as_str).collect();
    text::list(texts.into_iter(), MAX_SHOWN)
}

fn quoted_list(texts: &[String]) -> String {
    text::quoted_list(texts.iter().map(String::as_str), MAX_SHOWN)
}

/// `"A", "B" and 2 others`.
fn values(requirement: &Requirement) -> String {
    let shown: Vec<String> = requirement.values.iter().map(|value| quote(value)).collect();
    let shown = if shown.is_empty() {
        "[]".to_owned()
    } else {
        shown.join(" or ")
    };
    match requirement.more {
        0 => shown,
        1 => format!("{shown} or 1 other"),
        more => format!("{shown} or {more} others"),
    }
}

/// `A, B and 2 more`, as written in the policy.
fn values_bare(requirement: &Requirement) -> String {
    let shown = requirement.values.join(", ");
    match (requirement.negated, requirement.more) {
        (true, _) => format!("all but {shown}"),
        (false, 0) => shown,
        (false, more) => format!("{shown} and {more} more"),
    }
}

/// `StringEquals "KEY": "VALUE"`.
fn long_requirement(requirement: &Requirement) -> String {
    format!(
        "{} {}: {}",
        text::value_within(&requirement.operator, 60),
        quote(&requirement.key),
        values(requirement)
    )
}

/// `aws:PrincipalOrgID (StringEquals)`.
fn short_requirement(requirement: &Requirement) -> String {
    format!(
        "{} ({})",
        text::value(&requirement.key),
        text::value_within(&requirement.operator, 60)
    )
}

fn requirements(conditions: &[Requirement]) -> String {
    let shown: Vec<String> = conditions.iter().map(long_requirement).collect();
    shown.join(" and ")
}
