//! Where the AWS credentials come from, and what to do when there are none.
//!
//! The SDK's errors refer to parts of the SDK. The readers of our errors have a profile of the shared configuration (a person) or a
//! ServiceAccount with a role (a pod), and need to know what to do.

use std::borrow::Cow;
use std::error::Error;

use aws_config::profile::{self, Profile, ProfileSet};
use aws_credential_types::provider::error::{CredentialsError, TokenError};

use super::error_text::{causes, chain, shortened};
use super::settings::AwsUser;
use crate::support::text::{self, shell};
use crate::trust::RoleArn;

/// How many `source_profile` are followed. The SDK reports a loop as an error; this only bounds the search for its cause.
const LONGEST_CHAIN: usize = 10;

/// Where the credentials come from, as far as messages need it.
#[derive(Debug)]
pub(crate) enum Origin {
    /// A pod's: what its ServiceAccount has.
    Pod,
    /// Those of the person who ran the command.
    Person(Selection),
}

/// The profile of a command.
#[derive(Debug)]
pub(crate) struct Selection {
    /// None when neither `--profile` nor `AWS_PROFILE` is set.
    named: Option<Named>,
    /// The shared configuration, or why it cannot be read.
    profiles: Result<ProfileSet, String>,
}

/// A profile that was named.
#[derive(Debug)]
struct Named {
    profile: String,
    by: By,
}

/// What named it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    /// `--profile`: nothing else has credentials.
    Flag,
    /// `AWS_PROFILE`: credentials in the environment win over it.
    Variable,
}

impl Origin {
    /// Reads the shared configuration, if a person is to be advised. `named` is `--profile`.
    pub(crate) async fn read(user: AwsUser, named: Option<&str>) -> Self {
        match user {
            AwsUser::Pod => Self::Pod,
            AwsUser::Person => {
                let variable = || std::env::var("AWS_PROFILE").ok().filter(|name| !name.is_empty());
                let named = match named {
                    Some(profile) => Some((profile.to_owned(), By::Flag)),
                    None => variable().map(|profile| (profile, By::Variable)),
                };
                let named = named.map(|(profile, by)| Named { profile, by });
                Self::Person(Selection::read(named).await)
            }
        }
    }

    /// Who reads the messages.
    pub(crate) const fn user(&self) -> AwsUser {
        match self {
            Self::Pod => AwsUser::Pod,
            Self::Person(_) => AwsUser::Person,
        }
    }

    /// What messages call the credentials.
    pub(crate) fn credentials(&self) -> Cow<'static, str> {
        match self {
            Self::Pod => "the credentials of rolegate".into(),
            Self::Person(Selection {
                named: Some(Named { profile, by: By::Flag }),
                ..
            }) => format!("the credentials of {}", quoted(profile)).into(),
            Self::Person(_) => "the credentials in use".into(),
        }
    }

    /// Why there are no credentials and what to do. None when the error is about something else. `assumed` is the role of
    /// `--assume-role` whose credentials are missing; rolegate's own were found before.
    pub(crate) fn explain(
        &self,
        action: &str,
        assumed: Option<&RoleArn>,
        error: &(dyn Error + 'static),
    ) -> Option<NoCredentials> {
        let causes = Causes::of(error)?;
        let reason = match (self, assumed) {
            (Self::Pod, _) => of_pod(action, OwnRole::of_environment(), assumed, &causes),
            (Self::Person(_), Some(role)) => of_assumed(action, role, &causes),
            (Self::Person(selection), None) => selection.explain(&causes),
        };
        Some(NoCredentials {
            reason,
            is_lasting: causes.are_lasting(),
        })
    }
}

/// Why there are no credentials.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NoCredentials {
    /// With the next step, on one line.
    pub(crate) reason: String,
    /// Whether the next step has to be taken first. A source that did not answer might answer the next time.
    pub(crate) is_lasting: bool,
}

/// The parts of an error about credentials.
#[derive(Debug)]
struct Causes {
    kind: Kind,
    /// The error and its causes, one line.
    message: String,
    /// The error of the last source of credentials, one line.
    why: String,
}

/// What happened to the credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// No source had any.
    NothingFound,
    /// The same, and why: of the SDK's default chain, the list of places where it looked.
    NotLoaded,
    /// A source had not answered when the SDK gave up.
    Late,
    /// There is no access token of AWS SSO.
    NoToken,
    /// A source failed.
    Failed,
}

impl Causes {
    /// None when the error is not about credentials.
    fn of(error: &(dyn Error + 'static)) -> Option<Self> {
        let message = chain(error);
        // The innermost one: a provider wraps the error of the one before it.
        let of_credentials = causes(error).filter_map(|cause| cause.downcast_ref::<CredentialsError>());
        let Some(last) = of_credentials.last() else {
            // The SDK's cache of credentials has a time limit whose error type is private.
            return message.contains("identity resolver").then(|| Self {
                kind: Kind::Late,
                why: message.clone(),
                message,
            });
        };
        let why = last.source().map_or_else(|| last.to_string(), chain);
        let kind = match last {
            _ if causes(error).any(|cause| cause.is::<TokenError>()) => Kind::NoToken,
            CredentialsError::ProviderTimedOut(_) => Kind::Late,
            CredentialsError::CredentialsNotLoaded(_) if last.source().is_none() => Kind::NothingFound,
            CredentialsError::CredentialsNotLoaded(_) => Kind::NotLoaded,
            _ => Kind::Failed,
        };
        Some(Self { kind, message, why })
    }

    /// Whether AWS refused to hand out credentials.
    fn are_denied(&self) -> bool {
        // STS's errors reach us as texts: whose call it was, and so the type, depends on the source of the credentials.
        ["AccessDenied", "InvalidIdentityToken", "Not authorized"]
            .iter()
            .any(|word| self.message.contains(word))
    }

    /// Whether the token that they would be exchanged for has expired.
    fn are_expired(&self) -> bool {
        self.message.contains("ExpiredToken")
    }

    fn are_lasting(&self) -> bool {
        let is_missing = matches!(self.kind, Kind::NothingFound | Kind::NotLoaded | Kind::NoToken);
        is_missing || self.are_denied() || self.are_expired()
    }
}

/// Whether rolegate's pod has a role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OwnRole {
    /// The SDK looks for its credentials only where a variable says.
    Injected,
    /// The SDK's last attempt is the instance's metadata, which often does not answer to pods.
    NotInjected,
}

impl OwnRole {
    fn of_environment() -> Self {
        let is_set = |name: &&str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let variables = ["AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_FULL_URI"];
        if variables.iter().any(is_set) {
            Self::Injected
        } else {
            Self::NotInjected
        }
    }
}

fn of_pod(action: &str, own: OwnRole, assumed: Option<&RoleArn>, causes: &Causes) -> String {
    let message = shortened(&causes.message);
    if causes.are_denied() {
        format!("{action}: rolegate is not allowed to assume its role; check the trust policy of the role ({message})")
    } else if causes.are_expired() {
        format!("{action}: rolegate has an expired token; check the token's volume ({message})")
    } else if matches!(causes.kind, Kind::Failed | Kind::Late) && (own == OwnRole::Injected || assumed.is_some()) {
        let role = assumed.map_or("its role", RoleArn::as_str);
        let why = shortened(&causes.why);
        format!(
            "{action}: rolegate did not get the credentials of {role}: {why}; check the token's volume, and that rolegate can reach AWS STS \
             or the EKS Pod Identity agent"
        )
    } else {
        // What the SDK adds is the list of places where it looked.
        format!("{action}: rolegate has no AWS credentials; give its ServiceAccount a role")
    }
}

fn of_assumed(action: &str, role: &RoleArn, causes: &Causes) -> String {
    let why = shortened(&causes.why);
    if causes.are_denied() {
        return format!(
            "{action}: the AWS credentials are not allowed to assume {role}; check the trust policy of that role, and whether the IAM policy of the credentials allows sts:AssumeRole ({why})"
        );
    }
    let role_word = shell_word(role.as_str());
    format!(
        "{action}: no credentials of {role}: {why}; compare with: aws sts assume-role --role-session-name rolegate \
         --role-arn {role_word}"
    )
}

impl Selection {
    async fn read(named: Option<Named>) -> Self {
        // File system and environment are the real ones by default; their types are internal to the SDK.
        let (files, environment, locations) = Default::default();
        let selected = named.as_ref().map(|named| Cow::Owned(named.profile.clone()));
        let profiles = profile::load(&files, &environment, &locations, selected).await;
        let profiles = profiles.map_err(|error| shortened(&chain(&error)));
        Self { named, profiles }
    }

    fn explain(&self, causes: &Causes) -> String {
        let profiles = match &self.profiles {
            Ok(profiles) => profiles,
            Err(error) => return format!("the AWS configuration cannot be read: {error}; fix the file that it names"),
        };
        let profile = profiles.get_profile(profiles.selected_profile());
        match (&self.named, profile) {
            (Some(named), None) => absent(&named.profile),
            (Some(named), Some(profile)) => of_profile(profiles, profile, causes)
                .unwrap_or_else(|| in_general(Some((profile.name(), named.by)), causes)),
            // The last source is the instance's metadata; where there is none, the request takes a while to fail.
            (None, _) if matches!(causes.kind, Kind::NothingFound | Kind::NotLoaded | Kind::Late) => NOTHING.to_owned(),
            (None, Some(profile)) => of_profile(profiles, profile, causes).unwrap_or_else(|| in_general(None, causes)),
            (None, None) => in_general(None, causes),
        }
    }
}

fn absent(name: &str) -> String {
    let is_readable = |c: char| c.is_ascii_alphanumeric() || "_-/.%@:+".contains(c);
    let next = if name.chars().all(is_readable) {
        "list the profiles: aws configure list-profiles"
    } else {
        // The AWS CLI takes more.
        "the AWS SDK accepts only letters, digits and _-/.%@:+ in names; rename the profile"
    };
    format!("{} does not exist in {}; {next}", quoted(name), files())
}

/// Without a profile, and without any other source.
const NOTHING: &str = "no AWS credentials found; set AWS_PROFILE or --profile, or run: aws configure";

/// What the profile itself explains.
fn of_profile(profiles: &ProfileSet, profile: &Profile, causes: &Causes) -> Option<String> {
    let base = base_of(profiles, profile);
    let (name, of_base) = (quoted(profile.name()), shell_word(base.name()));
    let source = if base.name() == profile.name() {
        String::new()
    } else {
        format!(" of its source {}", quoted(base.name()))
    };
    let has = |key: &str| base.get(key).is_some();
    if has("sso_session") || has("sso_start_url") {
        // A profile without `sso_session` is read by code whose error types are private.
        let says = |word: &str| causes.message.contains(word);
        if causes.kind == Kind::NoToken
            || says("UnauthorizedException")
            || says("sso/cache")
            || says("cached SSO token")
        {
            return Some(format!(
                "{name}: the SSO session{source} has expired or was never started; run: aws sso login --profile {of_base}"
            ));
        }
        if says("ForbiddenException") {
            return Some(format!(
                "{name}: your SSO user is not assigned to the account and the permission set{source}; check its \
                 sso_account_id and sso_role_name ({})",
                shortened(&causes.why)
            ));
        }
    }
    for key in ["credential_process", "login_session"] {
        if has(key) && causes.message.contains("cargo feature") {
            return Some(format!(
                "{name}: rolegate does not support {key}{source}; leave --profile and AWS_PROFILE unset and run: \
                 eval \"$(aws configure export-credentials --profile {} --format env)\"",
                shell_word(profile.name())
            ));
        }
    }
    None
}

/// The profile at the end of the `source_profile` of a profile: the one that says where credentials come from.
fn base_of<'a>(profiles: &'a ProfileSet, profile: &'a Profile) -> &'a Profile {
    let next = |profile: &&Profile| profiles.get_profile(profile.get("source_profile")?);
    std::iter::successors(Some(profile), next)
        .take(LONGEST_CHAIN)
        .last()
        .unwrap_or(profile)
}

fn in_general(profile: Option<(&str, By)>, causes: &Causes) -> String {
    let why = shortened(&causes.why);
    let subject = profile.map_or_else(|| "the AWS credentials".to_owned(), |(profile, _)| quoted(profile));
    let compare = match profile {
        Some((profile, _)) => format!("aws sts get-caller-identity --profile {}", shell_word(profile)),
        None => "aws sts get-caller-identity".to_owned(),
    };
    match (causes.kind, profile) {
        _ if causes.are_denied() => {
            format!("{subject}: AWS does not allow assuming the role; check the trust policy of the role ({why})")
        }
        (Kind::NothingFound, _) | (Kind::NotLoaded, Some((_, By::Variable))) => {
            format!("{subject}: it contains no credentials; compare with: {compare}")
        }
        (Kind::Late, _) => {
            format!("{subject}: no credentials in time; check the connection to AWS (proxy, VPN), then run: {compare}")
        }
        _ => {
            let why = why.trim_end_matches('.');
            format!("{subject}: the credentials cannot be read: {why}; compare with: {compare}")
        }
    }
}

/// Where the SDK looks for profiles.
fn files() -> String {
    let file = |variable: &str, default: &str| match std::env::var(variable) {
        Ok(path) => shortened(&path),
        Err(_) => default.to_owned(),
    };
    format!(
        "{} or {}",
        file("AWS_CONFIG_FILE", "~/.aws/config"),
        file("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials")
    )
}

/// `profile "work"`, whatever the name holds.
fn quoted(name: &str) -> String {
    format!("profile {}", text::quote(name))
}

/// A word for a shell; a placeholder for what no shell can be given as it is.
fn shell_word(word: &str) -> Cow<'_, str> {
    shell::word(word).unwrap_or(Cow::Borrowed("NAME"))
}

#[cfg(test)]
mod tests {
    #[expect(deprecated, reason = "the crate that these names moved to is not a dependency")]
    use aws_config::profile::profile_file::{ProfileFileKind, ProfileFiles};
    use futures::FutureExt as _;

    use super::*;

    /// The shared configuration with this text, and the profile that is selected.
    #[expect(deprecated, reason = "the crate that these names moved to is not a dependency")]
    fn profiles(config: &str, selected: &'static str) -> Result<ProfileSet, String> {
        let locations = ProfileFiles::builder()
            .with_contents(ProfileFileKind::Config, config)
            .build();
        let (files, environment) = Default::default();
        let profiles = profile::load(&files, &environment, &locations, Some(selected.into()));
        Ok(profiles.now_or_never().unwrap().unwrap())
    }

    /// What a person reads whose profile has these keys, when the SDK fails like this.
    fn advice(keys: &str, by: By, error: CredentialsError) -> String {
        let selection = Selection {
            named: Some(Named {
                profile: "work".to_owned(),
                by,
            }),
            profiles: profiles(&format!("[profile work]\n{keys}\n"), "work"),
        };
        Origin::Person(selection)
            .explain("iam:GetRole", None, &error)
            .unwrap()
            .reason
    }

    const SSO: &str = "sso_session = company";

    #[test]
    fn the_type_of_an_error_decides_what_is_advised() {
        let token = || CredentialsError::provider_error(TokenError::provider_error("no file"));
        assert!(advice(SSO, By::Flag, token()).ends_with("run: aws sso login --profile work"));
        // The same text, of something else.
        let other = CredentialsError::provider_error("no file");
        assert!(advice(SSO, By::Flag, other).contains("cannot be read: no file"));
        let nowhere = || CredentialsError::not_loaded("no credentials found in chain. Attempted: Environment, Profile");
        assert!(advice("", By::Variable, nowhere()).contains("it contains no credentials"));
        assert!(
            advice("", By::Flag, CredentialsError::not_loaded("`region` was missing")).contains("`region` was missing")
        );
        let late = CredentialsError::provider_timed_out(std::time::Duration::from_secs(5));
        assert!(advice(SSO, By::Flag, late).contains("in time"));
        let invalid = CredentialsError::invalid_configuration("profile formed\n an infinite loop\u{1b}");
        let text = advice("", By::Flag, invalid);
        assert!(text.contains("profile formed an infinite loop\\u{1b}"), "{text}");
    }

    #[test]
    fn what_is_not_about_credentials_is_left_to_others() {
        let error = std::io::Error::other("connection reset");
        assert_eq!(Origin::Pod.explain("iam:GetRole", None, &error), None);
    }

    #[test]
    fn a_pod_is_advised_about_its_role_and_its_token() {
        for (error, expected) in [
            (
                CredentialsError::not_loaded_no_source(),
                "iam:GetRole: rolegate has no AWS credentials; give its ServiceAccount a role",
            ),
            (
                CredentialsError::provider_error("AccessDenied: not authorized"),
                "iam:GetRole: rolegate is not allowed to assume its role; check the trust policy of the role (an error occurred while loading \
                 credentials: AccessDenied: not authorized)",
            ),
            (
                CredentialsError::provider_error("ExpiredToken: old"),
                "iam:GetRole: rolegate has an expired token; check the token's volume (an error occurred while loading \
                 credentials: ExpiredToken: old)",
            ),
        ] {
            let explained = Origin::Pod.explain("iam:GetRole", None, &error).unwrap();
            assert_eq!((&*explained.reason, explained.is_lasting), (expected, true));
        }
    }

    #[test]
    fn a_pod_with_a_role_is_not_advised_to_give_it_one() {
        let other = RoleArn::parse("arn:aws:iam::444455556666:role/reader").unwrap();
        let late = || CredentialsError::provider_timed_out(std::time::Duration::from_secs(5));
        let refused = || CredentialsError::provider_error("connection refused");
        let missing = CredentialsError::not_loaded_no_source;
        let [advice, connection] = ["give its ServiceAccount a role", "can reach AWS STS"];
        for (own, assumed, error, expected) in [
            (OwnRole::Injected, None, refused(), connection),
            (OwnRole::Injected, None, late(), connection),
            (OwnRole::Injected, None, missing(), advice),
            (OwnRole::NotInjected, None, refused(), advice),
            (OwnRole::NotInjected, None, late(), advice),
            (OwnRole::NotInjected, Some(&other), refused(), connection),
        ] {
            let reason = of_pod("iam:GetRole", own, assumed, &Causes::of(&error).unwrap());
            assert!(reason.contains(expected), "{own:?}, {assumed:?}, {error:?}: {reason}");
        }
        assert_eq!(
            of_pod("iam:GetRole", OwnRole::Injected, None, &Causes::of(&refused()).unwrap()),
            "iam:GetRole: rolegate did not get the credentials of its role: connection refused; check the token's volume, and that \
             rolegate can reach AWS STS or the EKS Pod Identity agent"
        );
    }

    #[test]
    fn a_source_of_credentials_that_does_not_answer_might_answer_later() {
        let seconds = std::time::Duration::from_secs(5);
        for error in [
            CredentialsError::provider_timed_out(seconds),
            CredentialsError::provider_error("connection refused"),
        ] {
            assert!(!Origin::Pod.explain("iam:GetRole", None, &error).unwrap().is_lasting);
        }
    }

    #[test]
    fn a_role_that_cannot_be_assumed_is_named() {
        let role = RoleArn::parse("arn:aws:iam::444455556666:role/it's/reader").unwrap();
        let origin = || {
            Origin::Person(Selection {
                named: None,
                profiles: profiles("", "default"),
            })
        };
        let advice = |error| origin().explain("iam:GetRole", Some(&role), &error).unwrap().reason;
        let denied = advice(CredentialsError::provider_error("AccessDenied: no"));
        assert!(
            denied.contains("not allowed to assume arn:aws:iam::444455556666:role/it's/reader"),
            "{denied}"
        );
        let other = advice(CredentialsError::provider_error("oops"));
        assert!(
            other.ends_with("--role-arn \"arn:aws:iam::444455556666:role/it's/reader\""),
            "{other}"
        );
    }
}
