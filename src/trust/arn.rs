//! ARNs of roles and of OIDC providers.

use std::fmt;
use std::sync::Arc;

use super::web_identity::Issuer;
use crate::support::text::is_hidden;

/// The ARN of an IAM role, `arn:PARTITION:iam::ACCOUNT:role[/PATH]/NAME`, parsed once; cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RoleArn {
    // INVARIANT: contains `:role/` after the account, and a name after its last slash. Only `parse` makes one. The
    // parts are found on demand: a cluster has 100,000 of these, and a search of some 80 bytes costs less than they would.
    text: Arc<str>,
}

/// What values are wrapped in by mistake.
const QUOTES: [char; 7] = ['"', '\'', '`', '“', '”', '‘', '’'];

/// What separates an account from the path or name of its role.
const ROLE: &str = ":role/";

/// The longest ARN that IAM takes, in characters.
const LONGEST_ARN: usize = 2048;
/// The longest path, slashes included, in characters.
const LONGEST_PATH: usize = 512;
/// The longest name, in characters.
const LONGEST_NAME: usize = 64;

impl RoleArn {
    /// Parses a role ARN. Sizes and alphabets are those of IAM's `Role` data type; partitions are an open set.
    ///
    /// # Errors
    /// What is wrong with it, and the likely mistake.
    pub fn parse(text: &str) -> Result<Self, RoleArnError> {
        match check(text) {
            Ok(()) => Ok(Self { text: text.into() }),
            // These mistakes break the ARN in many places; name the mistake, not the first place.
            Err(error) => Err(mistake_in_the_value(text).unwrap_or(error)),
        }
    }
    /// The ARN that a value becomes without the whitespace, the characters that do not print, and the quotation marks around it. None if
    /// that is not a role ARN, or if nothing is around it.
    #[must_use]
    pub(crate) fn cleaned(text: &str) -> Option<Self> {
        let is_around = |c: char| c.is_whitespace() || is_hidden(c) || QUOTES.contains(&c);
        let trimmed = text.trim_matches(is_around);
        (trimmed.len() < text.len()).then(|| Self::parse(trimmed).ok())?
    }

    /// The ARN made of `[path/]name` in an account (`--compose-role-arn`); a whole ARN is taken as it is.
    ///
    /// # Errors
    /// As [`RoleArn::parse`].
    pub fn compose(partition: &Partition, account: &AccountId, path_and_name: &str) -> Result<Self, RoleArnError> {
        if path_and_name.is_empty() {
            return Err(RoleArnError::Empty);
        }
        if path_and_name.starts_with("arn:") {
            return Self::parse(path_and_name);
        }
        let path_and_name = path_and_name.strip_prefix('/').unwrap_or(path_and_name);
        Self::parse(&format!("arn:{partition}:iam::{account}{ROLE}{path_and_name}"))
    }
    /// The whole ARN, as written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
    /// `aws`, `aws-cn` …
    #[must_use]
    pub fn partition(&self) -> &str {
        self.text.split(':').nth(1).unwrap_or_default()
    }
    /// Twelve digits.
    #[must_use]
    pub fn account(&self) -> &str {
        self.text.split(':').nth(4).unwrap_or_default()
    }
    /// With both slashes; `/` when there is none.
    #[must_use]
    pub fn path(&self) -> &str {
        let (owner, _) = self.halves();
        // The slash before the path is the last character of `:role/`.
        let resource = self.text.get(owner.len() + ROLE.len() - 1..).unwrap_or("/");
        resource
            .rfind('/')
            .and_then(|last| resource.get(..=last))
            .unwrap_or("/")
    }
    /// The name alone, what `GetRole` takes.
    #[must_use]
    pub fn name(&self) -> &str {
        self.text.rsplit('/').next().unwrap_or_default()
    }
    /// The ARN that the OIDC provider of an issuer has in this role's account and partition.
    #[must_use]
    pub fn provider_arn(&self, issuer: &Issuer) -> String {
        format!("{}{PROVIDER}{}", self.halves().0, issuer.as_str())
    }
    /// Whether a text is [`RoleArn::provider_arn`], byte for byte; allocates nothing.
    pub(crate) fn is_provider_arn(&self, text: &str, issuer: &Issuer) -> bool {
        let account = text
            .strip_suffix(issuer.as_str())
            .and_then(|text| text.strip_suffix(PROVIDER));
        account.is_some_and(|account| {
            let rest = self.text.strip_prefix(account);
            // A path may hold a second `:role/`; what precedes the first contains no slash.
            rest.is_some_and(|rest| rest.starts_with(ROLE)) && !account.contains('/')
        })
    }

    /// `arn:PARTITION:iam::ACCOUNT`, and path and name.
    fn halves(&self) -> (&str, &str) {
        self.text.split_once(ROLE).unwrap_or((&self.text, ""))
    }
}

/// What separates an account from the issuer of its OIDC provider.
pub(crate) const PROVIDER: &str = ":oidc-provider/";

impl fmt::Display for RoleArn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for RoleArn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}

impl std::str::FromStr for RoleArn {
    type Err = RoleArnError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

/// An AWS partition: `aws`, `aws-cn`, `aws-us-gov` … an open set of `[a-z0-9-]+`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Partition(Arc<str>);

impl Partition {
    /// The partitions that AWS has.
    pub const KNOWN: [&str; 8] = [
        "aws",
        "aws-cn",
        "aws-us-gov",
        "aws-eusc",
        "aws-iso",
        "aws-iso-b",
        "aws-iso-e",
        "aws-iso-f",
    ];

    /// Parses a partition: one or more of `a-z`, `0-9` and `-`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        is_partition(text).then(|| Self(text.into()))
    }
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::str::FromStr for Partition {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::parse(text).ok_or_else(|| "expected a partition such as aws, aws-cn or aws-us-gov".to_owned())
    }
}

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An AWS account: exactly twelve digits.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AccountId(Arc<str>);

impl AccountId {
    /// Parses an account: twelve ASCII digits.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        check_account(text).is_ok().then(|| Self(text.into()))
    }
    /// Twelve digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a text is not a role ARN. `Display` is one sentence fragment for the author, without the value itself, e.g.
/// `it is the ARN of an instance profile; annotate the role that it contains` (control characters never appear in it).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum RoleArnError {
    /// Nothing is there.
    #[error("it is empty; write arn:aws:iam::ACCOUNT:role/NAME")]
    Empty,
    /// A blank, tab, newline or other character that does not print.
    #[error("it contains whitespace or another character that does not print; remove it")]
    Blank,
    /// Wrapped in quotation marks.
    #[error("it is wrapped in quotation marks; remove them")]
    Quoted,
    /// `<ACCOUNT_ID>`, `${…}`, `{{ … }}`, `ACCOUNT_ID`.
    #[error("it still contains a placeholder; fill in the real value")]
    Placeholder,
    /// A role's name, with or without its path.
    #[error("it is a role's name without the ARN; write arn:aws:iam::ACCOUNT:role/NAME")]
    BareName,
    /// Something else that does not begin with `arn:`.
    #[error("it does not begin with arn:; write arn:aws:iam::ACCOUNT:role/NAME")]
    NotAnArn,
    /// Fewer than six parts.
    #[error("it has too few parts; write arn:aws:iam::ACCOUNT:role/NAME")]
    TooFewParts,
    /// No partition, or one with characters beyond `[a-z0-9-]`.
    #[error("its partition is invalid; expected aws, aws-cn, aws-us-gov or another word in lowercase")]
    Partition,
    /// `arn:aws:sts::…:assumed-role/…`.
    #[error("it is the ARN of an assumed role (a session); write arn:aws:iam::ACCOUNT:role/NAME, the role behind it")]
    AssumedRole,
    /// The ARN of another service.
    #[error("it is the ARN of another service; a role's begins with arn:aws:iam::")]
    OtherService,
    /// A Region where IAM has none.
    #[error("it contains a Region, but roles have none; leave it empty as in arn:aws:iam::ACCOUNT:role/NAME")]
    Region,
    /// No account.
    #[error("it contains no account; write the twelve digits after iam::")]
    NoAccount,
    /// This many digits, which is not twelve.
    #[error("its account has {0} digit{plural}; an account has twelve", plural = if *.0 == 1 { "" } else { "s" })]
    AccountDigits(usize),
    /// An account that is not all digits.
    #[error("its account is not a number of twelve digits")]
    AccountNotDigits,
    /// `role:name`.
    #[error("it has role: where role/ belongs; write arn:aws:iam::ACCOUNT:role/NAME")]
    RoleColon,
    /// An instance profile.
    #[error("it is the ARN of an instance profile; annotate the role that it contains")]
    InstanceProfile,
    /// A user.
    #[error("it is the ARN of a user; a pod needs a role")]
    User,
    /// A group.
    #[error("it is the ARN of a group; a pod needs a role")]
    Group,
    /// A managed policy.
    #[error("it is the ARN of a policy; annotate the role that the policy is attached to")]
    Policy,
    /// An account (`:root`).
    #[error("it is the ARN of an account (root); a pod needs a role")]
    Root,
    /// An OIDC or SAML provider.
    #[error("it is the ARN of an identity provider; annotate the role that trusts it")]
    Provider,
    /// Neither a role nor one of the above.
    #[error("it is not the ARN of a role; write arn:aws:iam::ACCOUNT:role/NAME")]
    OtherResource,
    /// Nothing after the last slash.
    #[error("it has no role name after the last slash")]
    NoName,
    /// More than 64 characters.
    #[error("its role name has {0} characters; IAM allows 64")]
    NameTooLong(usize),
    /// A character beyond `[A-Za-z0-9_+=,.@-]`.
    #[error("its role name contains a character that IAM does not allow; letters, digits and _+=,.@- are allowed")]
    NameCharacter,
    /// More than 512 characters.
    #[error("its path has {0} characters; IAM allows 512")]
    PathTooLong(usize),
    /// Empty between its slashes, or with a character that does not print in ASCII.
    #[error("its path has two slashes in a row or contains a character that is not printable ASCII")]
    Path,
    /// More than 2048 characters.
    #[error("it has {0} characters; an ARN has at most 2048")]
    TooLong(usize),
    /// `role/aws-service-role/…`.
    #[error("it is a service-linked role, which only its AWS service can assume; use a role of your own")]
    ServiceLinked,
    /// `role/aws-reserved/…`.
    #[error("it is a role that AWS reserves (path /aws-reserved/), which no pod can assume; use a role of your own")]
    Reserved,
}

fn check(text: &str) -> Result<(), RoleArnError> {
    if text.is_empty() {
        return Err(RoleArnError::Empty);
    }
    let parts = text.strip_prefix("arn:").ok_or(RoleArnError::NotAnArn)?;
    let mut parts = parts.splitn(5, ':');
    let mut next = || parts.next().ok_or(RoleArnError::TooFewParts);
    let (partition, service, region, account, resource) = (next()?, next()?, next()?, next()?, next()?);
    if !is_partition(partition) {
        return Err(RoleArnError::Partition);
    }
    if service == "sts" && resource.starts_with("assumed-role") {
        return Err(RoleArnError::AssumedRole);
    }
    if service != "iam" {
        return Err(RoleArnError::OtherService);
    }
    // Managed policies of AWS have `aws` for an account: naming the kind of resource helps more than what is wrong with the account.
    let path_and_name = resource.strip_prefix("role/").ok_or_else(|| other_resource(resource))?;
    if !region.is_empty() {
        return Err(RoleArnError::Region);
    }
    check_account(account)?;
    check_path_and_name(path_and_name)?;
    match text.len() {
        length if length > LONGEST_ARN => Err(RoleArnError::TooLong(length)),
        // Twenty characters are the least that IAM takes; `arn:` to `role/` are more already.
        _ => Ok(()),
    }
}

fn is_partition(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'))
}

pub(crate) fn check_account(text: &str) -> Result<(), RoleArnError> {
    let is_digits = text.bytes().all(|byte| byte.is_ascii_digit());
    match text.len() {
        0 => Err(RoleArnError::NoAccount),
        _ if !is_digits => Err(RoleArnError::AccountNotDigits),
        12 => Ok(()),
        found => Err(RoleArnError::AccountDigits(found)),
    }
}

fn check_path_and_name(path_and_name: &str) -> Result<(), RoleArnError> {
    let (path, name) = match path_and_name.rsplit_once('/') {
        Some((path, name)) => (Some(path), name),
        None => (None, path_and_name),
    };
    if let Some(path) = path {
        // With the slashes around it.
        let length = path.chars().count() + 2;
        if length > LONGEST_PATH {
            return Err(RoleArnError::PathTooLong(length));
        }
        if path.is_empty() || !path.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(RoleArnError::Path);
        }
        match path.split('/').next() {
            Some("aws-service-role") => return Err(RoleArnError::ServiceLinked),
            Some("aws-reserved") => return Err(RoleArnError::Reserved),
            _ => {}
        }
    }
    if name.is_empty() {
        return Err(RoleArnError::NoName);
    }
    if !name.bytes().all(is_name_byte) {
        return Err(RoleArnError::NameCharacter);
    }
    if name.len() > LONGEST_NAME {
        return Err(RoleArnError::NameTooLong(name.len()));
    }
    Ok(())
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"_+=,.@-".contains(&byte)
}

fn other_resource(resource: &str) -> RoleArnError {
    match resource.split(['/', ':']).next().unwrap_or_default() {
        "role" if resource.starts_with("role:") => RoleArnError::RoleColon,
        "role" => RoleArnError::NoName,
        "instance-profile" => RoleArnError::InstanceProfile,
        "assumed-role" => RoleArnError::AssumedRole,
        "user" => RoleArnError::User,
        "group" => RoleArnError::Group,
        "policy" => RoleArnError::Policy,
        "root" => RoleArnError::Root,
        "oidc-provider" | "saml-provider" => RoleArnError::Provider,
        _ => RoleArnError::OtherResource,
    }
}

/// Mistakes that spoil a value as a whole, checked only for what is not a role ARN: paths can contain quotes and braces.
fn mistake_in_the_value(text: &str) -> Option<RoleArnError> {
    if text.chars().any(|c| c.is_whitespace() || is_hidden(c)) {
        // A template may hold blanks of its own.
        let without_blanks: String = text.chars().filter(|c| !c.is_whitespace()).collect();
        return Some(if holds_placeholder(&without_blanks) {
            RoleArnError::Placeholder
        } else {
            RoleArnError::Blank
        });
    }
    if text.starts_with(QUOTES) || text.ends_with(QUOTES) {
        return Some(RoleArnError::Quoted);
    }
    if holds_placeholder(text) {
        return Some(RoleArnError::Placeholder);
    }
    let is_bare_name =
        !text.is_empty() && !text.contains(':') && text.split('/').all(|part| part.bytes().all(is_name_byte));
    is_bare_name.then_some(RoleArnError::BareName)
}

fn holds_placeholder(text: &str) -> bool {
    const BRACKETS: [(&str, char); 4] = [("${", '}'), ("{{", '}'), ("<", '>'), ("$(", ')')];
    let in_brackets = BRACKETS
        .iter()
        .any(|(open, close)| text.split_once(open).is_some_and(|(_, rest)| rest.contains(*close)));
    // `arn:aws:iam::ACCOUNT_ID:role/name`, `arn:aws:iam::$ACCOUNT:role/name`
    let account = text.split(':').nth(4).unwrap_or_default();
    let in_account = account.starts_with('$')
        || (account.contains(|c: char| c.is_ascii_alphabetic())
            && text.contains(ROLE)
            && account
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "_-{}[]".contains(c)));
    in_brackets || in_account
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_arn_has_its_parts() {
        for (text, partition, path, name) in [
            ("arn:aws:iam::111122223333:role/app", "aws", "/", "app"),
            (
                "arn:aws-us-gov:iam::111122223333:role/team/a/app",
                "aws-us-gov",
                "/team/a/",
                "app",
            ),
            (
                "arn:aws-test:iam::111122223333:role/odd:role/it's<x>/a_+=,.@-Z9",
                "aws-test",
                "/odd:role/it's<x>/",
                "a_+=,.@-Z9",
            ),
            ("arn:x-9:iam::111122223333:role/a//b/c", "x-9", "/a//b/", "c"),
        ] {
            let arn = RoleArn::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(
                (arn.partition(), arn.account(), arn.path(), arn.name()),
                (partition, "111122223333", path, name)
            );
            assert_eq!((arn.as_str(), arn.to_string().as_str()), (text, text));
            assert_eq!(format!("{arn:?}"), format!("{text:?}"));
            let issuer = Issuer::parse("https://issuer.example/a/").unwrap();
            let provider = format!("arn:{partition}:iam::111122223333:oidc-provider/issuer.example/a/");
            assert_eq!(arn.provider_arn(&issuer), provider);
            assert!(arn.is_provider_arn(&provider, &issuer));
            for other in [
                provider.trim_end_matches('/'),
                &provider.to_uppercase(),
                &provider.replace("111122223333", "444455556666"),
                "",
            ] {
                assert!(!arn.is_provider_arn(other, &issuer), "{other}");
            }
        }
    }

    #[test]
    fn each_mistake_has_its_name() {
        use RoleArnError as E;
        let long_name = format!("arn:aws:iam::111122223333:role/{}", "a".repeat(65));
        let long_path = format!("arn:aws:iam::111122223333:role/{}/a", "p".repeat(511));
        let long_partition = format!("arn:{}:iam::111122223333:role/a", "a".repeat(2048));
        for (text, error) in [
            ("", E::Empty),
            (" arn:aws:iam::111122223333:role/app", E::Blank),
            ("arn:aws:iam::111122223333:role/app\n", E::Blank),
            ("arn:aws:iam::111122223333:role/my app", E::Blank),
            ("arn:aws:iam::111122223333:role/app\u{7f}", E::Blank),
            ("arn:aws:iam::111122223333:role/my\u{200b}app", E::Blank),
            ("\u{feff}arn:aws:iam::111122223333:role/app", E::Blank),
            ("\"arn:aws:iam::111122223333:role/app\"", E::Quoted),
            ("arn:aws:iam::111122223333:role/app'", E::Quoted),
            ("arn:aws:iam::<ACCOUNT_ID>:role/app", E::Placeholder),
            ("arn:aws:iam::<account id>:role/app", E::Placeholder),
            ("arn:aws:iam::${ACCOUNT}:role/app", E::Placeholder),
            ("arn:aws:iam::$ACCOUNT:role/app", E::Placeholder),
            ("arn:aws:iam::ACCOUNT_ID:role/app", E::Placeholder),
            ("arn:aws:iam::{{ .Values.account }}:role/app", E::Placeholder),
            ("arn:aws:iam::111122223333:role/${NAME}", E::Placeholder),
            ("arn:${AWS::Partition}:iam::111122223333:role/app", E::Placeholder),
            ("<ROLE_ARN>", E::Placeholder),
            ("app", E::BareName),
            ("team/app", E::BareName),
            ("role/app", E::BareName),
            ("https://example.com/role", E::NotAnArn),
            ("ARN:aws:iam::111122223333:role/app", E::NotAnArn),
            ("arn:aws:iam:111122223333:role/app", E::TooFewParts),
            ("arn:aws", E::TooFewParts),
            ("arn::iam::111122223333:role/app", E::Partition),
            ("arn:AWS:iam::111122223333:role/app", E::Partition),
            ("arn:aws:sts::111122223333:assumed-role/app/session", E::AssumedRole),
            ("arn:aws:iam::111122223333:assumed-role/app", E::AssumedRole),
            ("arn:aws:s3:::bucket", E::OtherService),
            ("arn:aws:sts::111122223333:federated-user/app", E::OtherService),
            ("arn:aws:iam:us-west-2:111122223333:role/app", E::Region),
            ("arn:aws:iam:::role/app", E::NoAccount),
            ("arn:aws:iam::11112222333:role/app", E::AccountDigits(11)),
            ("arn:aws:iam::1111222233334:role/app", E::AccountDigits(13)),
            ("arn:aws:iam::1111-2222-3333:role/app", E::AccountNotDigits),
            ("arn:aws:iam::111122223333:role:app", E::RoleColon),
            ("arn:aws:iam::111122223333:instance-profile/app", E::InstanceProfile),
            ("arn:aws:iam::111122223333:user/app", E::User),
            ("arn:aws:iam::111122223333:group/app", E::Group),
            ("arn:aws:iam::aws:policy/AdministratorAccess", E::Policy),
            ("arn:aws:iam::111122223333:root", E::Root),
            ("arn:aws:iam::111122223333:oidc-provider/issuer.example", E::Provider),
            ("arn:aws:iam::111122223333:roles/app", E::OtherResource),
            ("arn:aws:iam::111122223333:", E::OtherResource),
            ("arn:aws:iam::111122223333:role", E::NoName),
            ("arn:aws:iam::111122223333:role/", E::NoName),
            ("arn:aws:iam::111122223333:role/team/", E::NoName),
            (&long_name, E::NameTooLong(65)),
            ("arn:aws:iam::111122223333:role/app:x", E::NameCharacter),
            ("arn:aws:iam::111122223333:role/äpp", E::NameCharacter),
            (&long_path, E::PathTooLong(513)),
            ("arn:aws:iam::111122223333:role//app", E::Path),
            ("arn:aws:iam::111122223333:role/tëam/app", E::Path),
            (&long_partition, E::TooLong(2077)),
            (
                "arn:aws:iam::111122223333:role/aws-service-role/eks.amazonaws.com/AWSServiceRoleForAmazonEKS",
                E::ServiceLinked,
            ),
            (
                "arn:aws:iam::111122223333:role/aws-reserved/sso.amazonaws.com/AWSReservedSSO_Admin_0",
                E::Reserved,
            ),
        ] {
            assert_eq!(RoleArn::parse(text).map(|arn| arn.to_string()), Err(error), "{text}");
            assert!(error.to_string().starts_with("it"), "{error}");
            assert!(!error.to_string().contains(char::is_control));
        }
    }

    #[test]
    fn sizes_are_taken_up_to_their_bound() {
        RoleArn::parse(&format!("arn:aws:iam::111122223333:role/{}", "a".repeat(64))).unwrap();
        RoleArn::parse(&format!("arn:aws:iam::111122223333:role/{}/a", "p".repeat(510))).unwrap();
        let rest = ":iam::111122223333:role/a";
        let partition = "a".repeat(2048 - "arn:".len() - rest.len());
        RoleArn::parse(&format!("arn:{partition}{rest}")).unwrap();
    }

    #[test]
    fn a_name_is_composed_with_partition_and_account() {
        let compose = |name| {
            let (partition, account) = (
                Partition::parse("aws-cn").unwrap(),
                AccountId::parse("444455556666").unwrap(),
            );
            RoleArn::compose(&partition, &account, name).map(|arn| arn.to_string())
        };
        assert_eq!(compose("app").unwrap(), "arn:aws-cn:iam::444455556666:role/app");
        assert_eq!(
            compose("/team/app").unwrap(),
            "arn:aws-cn:iam::444455556666:role/team/app"
        );
        assert_eq!(
            compose("arn:aws:iam::111122223333:role/app").unwrap(),
            "arn:aws:iam::111122223333:role/app"
        );
        assert_eq!(compose(""), Err(RoleArnError::Empty));
        assert_eq!(compose("my app"), Err(RoleArnError::Blank));
        assert_eq!(Partition::parse("AWS"), None);
        assert_eq!(Partition::parse(""), None);
        assert_eq!(AccountId::parse("1234"), None);
    }
}
