//! The identity that annotations request: keys, precedence, bounds, warnings.

use std::num::IntErrorKind;

use super::view::PodView;
use super::warning::{QUOTED_CHARACTERS, Warning, quoted};
use crate::support::text;
use crate::trust::{AccountId, Audience, Partition, RoleArn, RoleArnError};

/// Token lifetimes that Kubernetes and STS take, in seconds.
pub(crate) const EXPIRATION_SECONDS: std::ops::RangeInclusive<u32> = 600..=86_400;

const ROLE_ARN: &str = "role-arn";
pub(super) const AUDIENCE: &str = "audience";
pub(super) const STS_REGIONAL_ENDPOINTS: &str = "sts-regional-endpoints";
pub(super) const TOKEN_EXPIRATION: &str = "token-expiration";

/// How annotations are read.
#[derive(Clone, Debug)]
pub struct AnnotationRules {
    /// With its slash: `eks.amazonaws.com/`.
    pub prefix: String,
    /// Where a bare `path/name` belongs (`--compose-role-arn`); none: a bare name is a mistake.
    pub compose: Option<(Partition, AccountId)>,
}

impl AnnotationRules {
    fn key(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }
}

/// The defaults of an identity, which annotations can override.
#[derive(Clone, Debug)]
pub struct Defaults {
    /// `--token-audience`.
    pub audience: Audience,
    /// `--token-expiration`, seconds.
    pub expiration_seconds: u32,
    /// `--sts-regional-endpoints`.
    pub regional_sts: bool,
}

/// What one ServiceAccount's annotations (or its entry in the identity ConfigMap) say, parsed once when read. Lean: a
/// cluster has 100,000 of them, nearly all with a good role ARN and nothing else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceAccountIdentity {
    role: Option<RoleArn>,
    rare: Option<Box<Rare>>,
}

/// Values that only few ServiceAccounts set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Rare {
    malformed: Option<MalformedAnnotation>,
    audience: Option<Audience>,
    regional_sts: Option<Setting<bool>>,
    expiration_seconds: Option<Setting<u32>>,
    /// A key that was probably meant to be the role's; only kept while no role is requested.
    look_alike: Option<Box<str>>,
    /// A key under the prefix that was probably meant to be another setting's, and that one.
    misspelled: Option<(Box<str>, &'static str)>,
}

/// A setting as it was read: its value, and the mistake to report to the author.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Setting<T> {
    /// None: unreadable, the next in precedence decides.
    value: Option<T>,
    mistake: Option<Box<Mistake>>,
}

impl<T> Setting<T> {
    const fn good(value: T) -> Self {
        Self {
            value: Some(value),
            mistake: None,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Mistake {
    key: String,
    written: String,
}

impl ServiceAccountIdentity {
    /// Reads annotations; none when no key concerns rolegate (neither ours nor a look-alike).
    ///
    /// An empty value of `role-arn` or `audience` requests nothing, as if the key were absent: that is what templates leave
    /// behind when a value is not given, and the reference webhook does not act on such a role either.
    #[must_use]
    pub fn from_annotations<'a>(
        rules: &AnnotationRules,
        annotations: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Option<Self> {
        let mut role = None;
        let mut long_audience = None;
        let mut rare = Rare::default();
        for (key, value) in annotations {
            match key.strip_prefix(rules.prefix.as_str()) {
                Some(ROLE_ARN) => match read_role(rules, key, value) {
                    Some(Ok(read)) => role = Some(read),
                    Some(Err(malformed)) => rare.malformed = Some(malformed),
                    None => {}
                },
                Some(AUDIENCE) => match read_audience(key, value) {
                    Ok(audience) => rare.audience = audience,
                    Err(malformed) => long_audience = Some(malformed),
                },
                Some(STS_REGIONAL_ENDPOINTS) => rare.regional_sts = Some(read_switch(key, value)),
                Some(TOKEN_EXPIRATION) => rare.expiration_seconds = Some(read_seconds(key, value)),
                _ if rare.look_alike.is_none() && looks_like_role_arn(rules, key) => rare.look_alike = Some(key.into()),
                Some(name) if rare.misspelled.is_none() => {
                    rare.misspelled = meant_setting(name).map(|meant| (key.into(), meant));
                }
                _ => {}
            }
        }
        Self::lean(role, rare, long_audience)
    }

    /// An entry of the identity ConfigMap: `{"RoleARN":…,"Audience":…,"UseRegionalSTS":…,"TokenExpiration":…}`. What is
    /// empty or zero is absent: the format comes from a Go struct, which has no other word for it.
    #[must_use]
    pub(crate) fn from_config_map_entry(
        rules: &AnnotationRules,
        role_arn: &str,
        audience: Option<&str>,
        regional_sts: Option<bool>,
        token_expiration: Option<i64>,
    ) -> Option<Self> {
        let (role, malformed) = match read_role(rules, "RoleARN", role_arn) {
            Some(Ok(role)) => (Some(role), None),
            Some(Err(malformed)) => (None, Some(malformed)),
            None => (None, None),
        };
        let (audience, long_audience) = match audience.map_or(Ok(None), |value| read_audience("Audience", value)) {
            Ok(audience) => (audience, None),
            Err(malformed) => (None, Some(malformed)),
        };
        let rare = Rare {
            malformed,
            audience,
            regional_sts: regional_sts.map(Setting::good),
            expiration_seconds: token_expiration
                .filter(|seconds| *seconds != 0)
                .map(|seconds| within_bounds(seconds, "TokenExpiration", || seconds.to_string())),
            look_alike: None,
            misspelled: None,
        };
        Self::lean(role, rare, long_audience)
    }

    /// `long_audience` matters only next to a role.
    fn lean(mut role: Option<RoleArn>, mut rare: Rare, long_audience: Option<MalformedAnnotation>) -> Option<Self> {
        if let (Some(_), Some(malformed)) = (&role, long_audience) {
            role = None;
            rare.malformed = Some(malformed);
        }
        if role.is_some() || rare.malformed.is_some() {
            rare.look_alike = None;
        }
        // Without a role, no setting has an effect.
        if role.is_none() {
            rare.misspelled = None;
        }
        let rare = (rare != Rare::default()).then(|| Box::new(rare));
        (role.is_some() || rare.is_some()).then_some(Self { role, rare })
    }

    /// Whether a role is asked for, well-formed or not.
    #[must_use]
    pub(crate) fn asks_for_role(&self) -> bool {
        self.role.is_some() || self.malformed().is_some()
    }

    /// The role, when one is asked for and well-formed.
    #[must_use]
    pub fn role(&self) -> Option<&RoleArn> {
        self.role.as_ref()
    }

    /// The annotation that keeps the identity from being given.
    #[must_use]
    pub fn malformed(&self) -> Option<&MalformedAnnotation> {
        self.rare.as_ref()?.malformed.as_ref()
    }

    /// A key that was probably meant to be the role annotation's, while no role is requested.
    #[must_use]
    pub fn look_alike(&self) -> Option<&str> {
        self.rare.as_ref()?.look_alike.as_deref()
    }

    /// The audience, when the ServiceAccount names its own.
    #[must_use]
    pub fn audience(&self) -> Option<&Audience> {
        self.rare.as_ref()?.audience.as_ref()
    }
}

/// An annotation without which no identity can be given: the role's is not a role ARN, or the audience is too long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MalformedAnnotation {
    /// The annotation's key, prefix included; `RoleARN` for an entry of the identity ConfigMap.
    pub key: String,
    /// Its value, as written.
    pub value: String,
    /// What is wrong with it.
    pub error: AnnotationError,
}

/// What is wrong with an annotation. `Display` is one sentence fragment, as [`RoleArnError`] has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnnotationError {
    /// It is not a role ARN.
    #[error(transparent)]
    Role(#[from] RoleArnError),
    /// An audience of so many characters.
    #[error("it has {0} characters; IAM registers at most {MAX_AUDIENCE_CHARS} for an OIDC provider")]
    AudienceTooLong(usize),
}

/// The longest audience that can be registered as a client ID of an IAM OIDC provider, in characters.
pub const MAX_AUDIENCE_CHARS: usize = 255;

/// The web identity that a pod is to be given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebIdentityRequest {
    /// The annotated role.
    pub role: RoleArn,
    /// What the token is issued for.
    pub audience: Audience,
    /// Seconds.
    pub expiration_seconds: u32,
    /// `AWS_STS_REGIONAL_ENDPOINTS=regional`.
    pub regional_sts: bool,
}

/// What the annotations of ServiceAccount and pod come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Requested {
    /// No role.
    Nothing,
    /// A role.
    WebIdentity(WebIdentityRequest),
    /// An annotation without which no identity can be given is malformed.
    Malformed(Box<MalformedAnnotation>),
}

/// Resolves what a pod requests: the pod's annotations win over the ServiceAccount's, those over the defaults. What is out
/// of bounds or unreadable is clamped or defaulted, with a warning.
#[must_use]
pub fn resolve(
    rules: &AnnotationRules,
    account: Option<&ServiceAccountIdentity>,
    pod: &PodView<'_>,
    defaults: &Defaults,
) -> (Requested, Vec<Warning>) {
    let mut warnings = Vec::new();
    let Some(account) = account else {
        return (Requested::Nothing, warnings);
    };
    if let Some(malformed) = account.malformed() {
        return (Requested::Malformed(Box::new(malformed.clone())), warnings);
    }
    let Some(role) = &account.role else {
        let look_alike = account.look_alike();
        warnings.extend(look_alike.map(|key| Warning::new(&did_you_mean(key, &rules.prefix))));
        return (Requested::Nothing, warnings);
    };
    if let Some((key, meant)) = account.rare.as_ref().and_then(|rare| rare.misspelled.as_ref()) {
        warnings.push(Warning::new(&is_ignored(key, &rules.prefix, meant)));
    }
    let request = WebIdentityRequest {
        role: role.clone(),
        audience: account.audience().unwrap_or(&defaults.audience).clone(),
        expiration_seconds: expiration(rules, Some(account), pod, defaults.expiration_seconds, &mut warnings),
        regional_sts: regional_sts(Some(account), defaults, &mut warnings),
    };
    (Requested::WebIdentity(request), warnings)
}

/// What a pod is given by EKS Pod Identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PodIdentityRequest {
    /// Lifetime of the token, seconds.
    pub expiration_seconds: u32,
    /// `AWS_STS_REGIONAL_ENDPOINTS=regional`.
    pub regional_sts: bool,
}

/// Resolves what EKS Pod Identity gives a pod: the pod's annotation wins over the ServiceAccount's, that over the
/// default; `default_seconds` is the default lifetime, jittered by the caller (this module has no randomness).
#[must_use]
pub(crate) fn resolve_pod_identity(
    rules: &AnnotationRules,
    account: Option<&ServiceAccountIdentity>,
    pod: &PodView<'_>,
    defaults: &Defaults,
    default_seconds: u32,
) -> (PodIdentityRequest, Vec<Warning>) {
    let mut warnings = Vec::new();
    let request = PodIdentityRequest {
        expiration_seconds: expiration(rules, account, pod, default_seconds, &mut warnings),
        regional_sts: regional_sts(account, defaults, &mut warnings),
    };
    (request, warnings)
}

/// None for an empty value: no role is requested.
fn read_role(rules: &AnnotationRules, key: &str, value: &str) -> Option<Result<RoleArn, MalformedAnnotation>> {
    if value.is_empty() {
        return None;
    }
    let role = match &rules.compose {
        Some((partition, account)) if !value.contains("arn:") => RoleArn::compose(partition, account, value),
        _ => RoleArn::parse(value),
    };
    Some(role.map_err(|error| MalformedAnnotation {
        key: key.to_owned(),
        value: value.to_owned(),
        error: error.into(),
    }))
}

/// None for an empty value: the default is used.
fn read_audience(key: &str, value: &str) -> Result<Option<Audience>, MalformedAnnotation> {
    let length = value.chars().count();
    if length > MAX_AUDIENCE_CHARS {
        return Err(MalformedAnnotation {
            key: key.to_owned(),
            value: value.to_owned(),
            error: AnnotationError::AudienceTooLong(length),
        });
    }
    Ok((!value.is_empty()).then(|| Audience::new(value)))
}

/// The words of Go's `strconv.ParseBool`, which the reference webhook reads this with.
fn read_switch(key: &str, value: &str) -> Setting<bool> {
    match value {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Setting::good(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Setting::good(false),
        _ => Setting {
            value: None,
            mistake: Some(Box::new(Mistake {
                key: key.to_owned(),
                written: value.to_owned(),
            })),
        },
    }
}

/// The numbers of Go's `strconv.ParseInt` to base 10: a sign is taken, blanks and underscores are not. A number that fits
/// no integer is out of bounds like any other, not unreadable.
fn read_seconds(key: &str, value: &str) -> Setting<u32> {
    let seconds = value.parse::<i64>().or_else(|error| match error.kind() {
        IntErrorKind::PosOverflow => Ok(i64::MAX),
        IntErrorKind::NegOverflow => Ok(i64::MIN),
        _ => Err(()),
    });
    match seconds {
        Ok(seconds) => within_bounds(seconds, key, || value.to_owned()),
        Err(()) => Setting {
            value: None,
            mistake: Some(Box::new(Mistake {
                key: key.to_owned(),
                written: value.to_owned(),
            })),
        },
    }
}

fn within_bounds(seconds: i64, key: &str, written: impl FnOnce() -> String) -> Setting<u32> {
    let (least, most) = (*EXPIRATION_SECONDS.start(), *EXPIRATION_SECONDS.end());
    let clamped = seconds.clamp(least.into(), most.into());
    Setting {
        value: u32::try_from(clamped).ok(),
        mistake: (clamped != seconds).then(|| {
            Box::new(Mistake {
                key: key.to_owned(),
                written: written(),
            })
        }),
    }
}

fn expiration(
    rules: &AnnotationRules,
    account: Option<&ServiceAccountIdentity>,
    pod: &PodView<'_>,
    default: u32,
    warnings: &mut Vec<Warning>,
) -> u32 {
    let of_pod = pod.annotation(&rules.prefix, TOKEN_EXPIRATION);
    let of_pod = of_pod.map(|value| read_seconds(&rules.key(TOKEN_EXPIRATION), value));
    let of_account = account.and_then(|account| account.rare.as_ref()?.expiration_seconds.as_ref());
    // The first that can be read decides; mistakes found before it are reported together with the number that is used.
    let consulted = [
        of_pod.as_ref(),
        of_account.filter(|_| of_pod.as_ref().is_none_or(|own| own.value.is_none())),
    ];
    let used = consulted
        .into_iter()
        .flatten()
        .find_map(|setting| setting.value)
        .unwrap_or(default);
    for setting in consulted.into_iter().flatten() {
        let Some(mistake) = &setting.mistake else { continue };
        let what = match setting.value {
            Some(_) => format!(
                "is outside {} to {} seconds",
                EXPIRATION_SECONDS.start(),
                EXPIRATION_SECONDS.end()
            ),
            None => "is not a number of seconds".to_owned(),
        };
        warnings.push(Warning::new(&format!(
            "{} {} {what}: {used} is used",
            mistake.key,
            quoted(&mistake.written)
        )));
    }
    used
}

fn regional_sts(account: Option<&ServiceAccountIdentity>, defaults: &Defaults, warnings: &mut Vec<Warning>) -> bool {
    let Some(setting) = account.and_then(|account| account.rare.as_ref()?.regional_sts.as_ref()) else {
        return defaults.regional_sts;
    };
    let used = setting.value.unwrap_or(defaults.regional_sts);
    if let Some(mistake) = &setting.mistake {
        let written = quoted(&mistake.written);
        warnings.push(Warning::new(&format!(
            "{} {written} is neither true nor false: {used} is used",
            mistake.key
        )));
    }
    used
}

/// The sentence about an annotation that looks like the role annotation, for warnings and for reports.
pub(crate) fn did_you_mean(look_alike: &str, prefix: &str) -> String {
    is_ignored(look_alike, prefix, ROLE_ARN)
}

fn is_ignored(key: &str, prefix: &str, meant: &str) -> String {
    format!(
        "annotation {} is ignored; did you mean {prefix}{meant}?",
        text::value_within(key, QUOTED_CHARACTERS)
    )
}

/// The setting that a name under the prefix was probably meant to be: a typing error, or a longer or shorter name for it. Other names
/// under the prefix may be those of other programs.
fn meant_setting(name: &str) -> Option<&'static str> {
    const SETTINGS: [(&str, &str); 3] = [
        (AUDIENCE, "audience"),
        (STS_REGIONAL_ENDPOINTS, "regional"),
        (TOKEN_EXPIRATION, "expiration"),
    ];
    let near = text::nearest_word(name, SETTINGS.map(|(setting, _)| setting));
    near.or_else(|| {
        let lower = name.to_ascii_lowercase();
        let named = SETTINGS.into_iter().find(|(_, word)| lower.contains(word));
        named.map(|(setting, _)| setting)
    })
}

/// Whether a key was probably meant to be the role's: the name of a role annotation, in one of the usual spellings or with typing errors,
/// under our own prefix or under a domain that people take for it. With a prefix of our own, the key that the rest of the world uses is
/// one too. Other programs have annotations whose names end in `role-arn` as well, so their domains must not be near.
fn looks_like_role_arn(rules: &AnnotationRules, key: &str) -> bool {
    const DOMAINS: [&str; 5] = [
        "eks.amazonaws.com",
        "eks.amazon.com",
        "iam.amazonaws.com",
        "iam.amazon.com",
        "sts.amazonaws.com",
    ];
    // Of nearly every key, only its length is looked at.
    let name_length = key.len() - key.rfind('/').map_or(0, |slash| slash + 1);
    if key.len() > 80 || (name_length > 20 && !ends_like_role_arn(key)) {
        return false;
    }
    let Some((domain, name)) = key.split_once('/') else {
        // A bare `role` is anyone's.
        let letters = letters(key);
        return is_nearly_role_arn(&letters, 1) || is_whole_key(rules, &letters);
    };
    let own_domain = rules.prefix.trim_end_matches('/');
    let known = || DOMAINS.into_iter().chain([own_domain]);
    if known().any(|known| known.eq_ignore_ascii_case(domain)) {
        return is_nearly_role(name);
    }
    let name = letters(name);
    let is_near = |known: &str| strsim::levenshtein(&domain.to_ascii_lowercase(), known) <= known.len() / 5;
    is_nearly_role_arn(&name, 1) && (is_domain_of_aws(domain) || known().any(is_near))
}

/// Whether a name under the prefix was meant to be that of the role annotation, which it may be.
pub(super) fn is_nearly_role(name: &str) -> bool {
    if name.len() > 20 {
        return false;
    }
    let letters = letters(name);
    is_role_name(&letters) || is_nearly_role_arn(&letters, 2)
}

/// Other words for the role, as letters.
fn is_role_name(letters: &str) -> bool {
    matches!(
        letters,
        "role"
            | "roles"
            | "rol"
            | "iamrole"
            | "iamroles"
            | "rolename"
            | "iamrolename"
            | "arn"
            | "rolearn"
            | "iamrolearn"
    )
}

/// Whether so many typing errors make it `role-arn` or `iam-role-arn`.
fn is_nearly_role_arn(letters: &str, errors: usize) -> bool {
    ["rolearn", "iamrolearn"]
        .iter()
        .any(|known| letters.len().abs_diff(known.len()) <= errors && strsim::levenshtein(letters, known) <= errors)
}

/// Whether a key without a slash was meant to be the whole key: `eks.amazonaws.com.role-arn`.
fn is_whole_key(rules: &AnnotationRules, found: &str) -> bool {
    ["eks.amazonaws.com/", rules.prefix.as_str()]
        .iter()
        .any(|prefix| strsim::levenshtein(found, &letters(&format!("{prefix}{ROLE_ARN}"))) <= 2)
}

fn ends_like_role_arn(key: &str) -> bool {
    key.get(key.len().saturating_sub(4)..)
        .is_some_and(|end| end.eq_ignore_ascii_case("-arn") || end.eq_ignore_ascii_case("earn"))
}

/// Whether a domain consists of the words of AWS: `eks.aws.amazon.com`, `aws.amazonaws.com`.
fn is_domain_of_aws(domain: &str) -> bool {
    domain.split('.').all(|label| {
        ["eks", "iam", "sts", "aws", "amazon", "amazonaws", "com"]
            .iter()
            .any(|word| word.eq_ignore_ascii_case(label))
    })
}

/// In lower case, without what separates words.
fn letters(text: &str) -> String {
    let letters = text
        .chars()
        .filter(|character| !matches!(character, '-' | '_' | '.' | '/' | ' '));
    letters.map(|character| character.to_ascii_lowercase()).collect()
}

#[cfg(test)]
mod tests;
