//! Condition keys, and their values in a request of `AssumeRoleWithWebIdentity`; [`pod_identity`] has their values in a request of EKS
//! Auth.
//!
//! The sources are the IAM reference's pages on global condition keys and on keys for web identity federation, and what
//! was observed on STS where they are silent. A key that is not listed here can have any value or be absent.

pub(in crate::trust) mod pod_identity;

use std::borrow::Cow;

use super::service_prefixes::is_service_prefix;
use crate::support::text::starts_with_ignore_case;
use crate::trust::request::{Caller, Request, SessionName};
use crate::trust::web_identity::{Issuer, WebIdentity};

/// A condition key as written in a policy; its name ignores case.
#[derive(Clone, Debug)]
pub(crate) struct ConditionKey {
    text: Box<str>,
    kind: Kind,
}

/// What follows from a key's name alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A claim of some issuer's tokens; whose, the request decides.
    Claim,
    /// Never there in a request with a web identity.
    Absent,
    /// `sts:RoleAuthorizedByIdp`: there, and `false`.
    AuthorizedByIdp,
    /// The role's account.
    Account,
    /// `aws:PrincipalType`: `User` (observed on STS).
    PrincipalType,
    /// `aws:userid`: the provider's ARN (observed on STS).
    UserId,
    /// Chosen by the caller of STS, but always there.
    SessionName,
    /// A tag of the role; the tag's name follows the first slash.
    RoleTag,
    /// STS is served over TLS only.
    SecureTransport,
    CurrentTime,
    EpochTime,
    /// None of these.
    Unnamed,
}

const NAMED: [(&str, Kind); 24] = [
    ("sts:RoleAuthorizedByIdp", Kind::AuthorizedByIdp),
    ("sts:RoleSessionName", Kind::SessionName),
    ("sts:TransitiveTagKeys", Kind::Absent),
    ("sts:SourceIdentity", Kind::Absent),
    ("sts:ExternalId", Kind::Absent),
    ("sts:DurationSeconds", Kind::Absent),
    ("aws:TagKeys", Kind::Absent),
    ("aws:PrincipalArn", Kind::Absent),
    ("aws:TokenIssueTime", Kind::Absent),
    ("aws:SourceIdentity", Kind::Absent),
    ("aws:username", Kind::Absent),
    ("aws:SourceArn", Kind::Absent),
    ("aws:SourceAccount", Kind::Absent),
    ("aws:SourceOrgID", Kind::Absent),
    ("aws:SourceOrgPaths", Kind::Absent),
    ("aws:AssumedRoot", Kind::Absent),
    ("sts:AWSServiceName", Kind::Absent),
    ("iam:PassedToService", Kind::Absent),
    ("aws:ResourceAccount", Kind::Account),
    ("aws:PrincipalAccount", Kind::Account),
    ("aws:PrincipalType", Kind::PrincipalType),
    ("aws:userid", Kind::UserId),
    ("aws:SecureTransport", Kind::SecureTransport),
    ("aws:CurrentTime", Kind::CurrentTime),
];

/// Families of keys by how their names begin.
const FAMILIES: [(&str, Kind); 11] = [
    ("aws:RequestTag/", Kind::Absent),
    ("aws:PrincipalTag/", Kind::Absent),
    ("aws:PrincipalOrg", Kind::Absent),
    ("aws:MultiFactorAuth", Kind::Absent),
    ("aws:CalledVia", Kind::Absent),
    ("aws:PrincipalServiceName", Kind::Absent),
    ("aws:Ec2InstanceSource", Kind::Absent),
    ("identitystore:", Kind::Absent),
    ("saml:", Kind::Absent),
    ("aws:ResourceTag/", Kind::RoleTag),
    ("iam:ResourceTag/", Kind::RoleTag),
];

/// What a request contains under a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Given<'a> {
    /// Nothing, for sure.
    Absent,
    /// This.
    Text(Cow<'a, str>),
    /// A text that begins so.
    Beginning(&'a str),
    /// These, under a key that holds several.
    Set(&'static [&'static str]),
    /// A session name: something, of its own alphabet.
    SessionName,
    /// The time of the request, as a date.
    CurrentTime,
    /// The time of the request, in seconds since the epoch.
    EpochTime,
    /// It may be absent or hold anything.
    Unknown,
}

/// What a key is to the issuer of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Claim<'a> {
    /// `ISSUER:sub`.
    Subject,
    /// `ISSUER:aud`.
    Audience,
    /// Another claim of the issuer, none of which STS hands on.
    Other,
    /// The issuer without a claim.
    Bare,
    /// A claim of another issuer, which is this one.
    Foreign(&'a str),
    /// No claim at all.
    None,
}

impl ConditionKey {
    pub(crate) fn new(text: &str) -> Self {
        Self {
            text: text.into(),
            kind: kind(text),
        }
    }

    /// As written.
    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it is `sts:RoleSessionName`.
    pub(crate) fn is_session_name(&self) -> bool {
        self.kind == Kind::SessionName
    }

    /// Whether it is the time of the request.
    pub(crate) fn is_time(&self) -> bool {
        matches!(self.kind, Kind::CurrentTime | Kind::EpochTime)
    }

    /// Whether it is a tag of the role.
    pub(crate) fn is_role_tag(&self) -> bool {
        self.kind == Kind::RoleTag
    }

    /// What it is to the issuer of a token.
    pub(crate) fn claim(&self, issuer: &Issuer) -> Claim<'_> {
        if !matches!(self.kind, Kind::Claim | Kind::Unnamed) {
            return Claim::None;
        }
        let issuer = issuer.as_str();
        if let Some((owner, rest)) = self.text.split_at_checked(issuer.len())
            && (owner == issuer || owner.eq_ignore_ascii_case(issuer))
        {
            match rest.strip_prefix(':') {
                Some(claim) if claim.eq_ignore_ascii_case("sub") => return Claim::Subject,
                Some(claim) if claim.eq_ignore_ascii_case("aud") => return Claim::Audience,
                Some(_) => return Claim::Other,
                // Without a dot it does not look like an issuer's key, but it is this issuer's.
                None if rest.is_empty() => return Claim::Bare,
                None => {}
            }
        }
        match self.kind {
            Kind::Claim => Claim::Foreign(owner(&self.text)),
            _ => Claim::None,
        }
    }

    /// What a request carries under it.
    pub(crate) fn given<'a>(&self, request: &Request<'a>) -> Given<'a> {
        match &request.caller {
            Caller::WebIdentity(identity) => self.given_by_web_identity(request, identity),
            Caller::PodIdentity(of) => self.given_by_pod_identity(request, of),
        }
    }

    fn given_by_web_identity<'a>(&self, request: &Request<'a>, identity: &'a WebIdentity) -> Given<'a> {
        match self.kind {
            Kind::Claim | Kind::Unnamed => match self.claim(&identity.issuer) {
                Claim::Subject => Given::Text(identity.subject.as_str().into()),
                Claim::Audience => Given::Text(identity.audience.as_str().into()),
                Claim::Other | Claim::Foreign(_) => Given::Absent,
                Claim::Bare if self.kind == Kind::Claim => Given::Absent,
                Claim::Bare | Claim::None => Given::Unknown,
            },
            Kind::Absent => Given::Absent,
            Kind::AuthorizedByIdp => Given::Text("false".into()),
            Kind::Account => Given::Text(request.role.account().into()),
            Kind::PrincipalType => Given::Text("User".into()),
            Kind::UserId => Given::Text(request.role.provider_arn(&identity.issuer).into()),
            Kind::SessionName => match request.context.session_name {
                SessionName::Assumed(name) => Given::Text(name.into()),
                SessionName::Unknown | SessionName::Suggested(_) => Given::SessionName,
            },
            Kind::RoleTag => self.role_tag(request),
            Kind::SecureTransport => Given::Text("true".into()),
            Kind::CurrentTime => Given::CurrentTime,
            Kind::EpochTime => Given::EpochTime,
        }
    }

    fn role_tag<'a>(&self, request: &Request<'a>) -> Given<'a> {
        let Some(tags) = request.context.role_tags else {
            return Given::Unknown;
        };
        let Some((_, name)) = self.text.split_once('/') else {
            return Given::Unknown;
        };
        // IAM keeps no two tags whose keys differ in case alone.
        tags.iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map_or(Given::Absent, |(_, value)| Given::Text(value.as_str().into()))
    }
}

fn kind(text: &str) -> Kind {
    if let Some((_, kind)) = NAMED.iter().find(|(name, _)| name.eq_ignore_ascii_case(text)) {
        return *kind;
    }
    if text.eq_ignore_ascii_case("aws:EpochTime") {
        return Kind::EpochTime;
    }
    // Before the look of an issuer: the name of a tag may hold dots and colons.
    if let Some((_, kind)) = FAMILIES
        .iter()
        .find(|(beginning, _)| starts_with_ignore_case(text, beginning))
    {
        return *kind;
    }
    // Before the look of an issuer as well: a key of a service may name an identity provider behind its prefix.
    let is_of_a_service = text
        .split_once(':')
        .is_some_and(|(prefix, _)| is_service_prefix(prefix));
    if !is_of_a_service && looks_like_claim(text) {
        Kind::Claim
    } else {
        Kind::Unnamed
    }
}

/// The part before the last colon; the whole, when it has none but that of its scheme; nothing for a claim alone.
fn owner(text: &str) -> &str {
    match text.rsplit_once(':') {
        Some((_, rest)) if rest.starts_with("//") => text,
        Some((owner, _)) => owner,
        None if is_claim(text) => "",
        None => text,
    }
}

/// Whether a key was meant as a claim of an issuer, also one that was written wrong: with a placeholder left in, with a part
/// of the issuer only, or with its scheme or its provider's ARN.
fn looks_like_claim(text: &str) -> bool {
    let owner = owner(text);
    let is_issuer =
        owner.contains('.') || starts_with_ignore_case(owner, "https://") || starts_with_ignore_case(owner, "arn:");
    let holds_what_no_prefix_does = owner.contains(['$', '{', '<', '/']);
    // Also alone: a key of AWS has a prefix.
    let has_claim = is_claim(text.rsplit(':').next().unwrap_or_default());
    is_issuer || holds_what_no_prefix_does || has_claim
}

fn is_claim(text: &str) -> bool {
    text.eq_ignore_ascii_case("sub") || text.eq_ignore_ascii_case("aud")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trust::arn::RoleArn;
    use crate::trust::request::{Context, WebRequest};
    use crate::trust::web_identity::{Audience, Subject, WebIdentity};

    fn given(key: &str, issuer: &str, tags: Option<&[(String, String)]>) -> String {
        let role = RoleArn::parse("arn:aws:iam::111122223333:role/app").unwrap();
        let identity = WebIdentity {
            issuer: Issuer::parse(issuer).unwrap(),
            subject: Subject::from_text("SUB"),
            audience: Audience::new("AUD"),
        };
        let context = Context {
            role_tags: tags,
            ..Context::default()
        };
        let request = WebRequest::new(&role, &identity, &context);
        match ConditionKey::new(key).given(&request) {
            Given::Text(text) => text.into_owned(),
            other => format!("{other:?}").to_lowercase(),
        }
    }

    #[test]
    fn an_issuer_that_begins_like_another_is_another() {
        let issuer = Issuer::parse("issuer.example/id/A").unwrap();
        for (key, claim) in [
            ("issuer.example/id/A:sub", Claim::Subject),
            ("Issuer.example/id/a:AUD", Claim::Audience),
            ("issuer.example/id/A:sub:x", Claim::Other),
            ("issuer.example/id/A", Claim::Bare),
            ("issuer.example/id/AB:sub", Claim::Foreign("issuer.example/id/AB")),
            ("issuer.example/id/A/:sub", Claim::Foreign("issuer.example/id/A/")),
            ("issuer.example/id/:sub", Claim::Foreign("issuer.example/id/")),
        ] {
            assert_eq!(ConditionKey::new(key).claim(&issuer), claim, "{key}");
        }
    }

    #[test]
    fn every_documented_key_is_known_absent_or_unknowable() {
        const I: &str = "issuer.example/id/A";
        for (key, value) in [
            ("issuer.example/id/A:sub", "SUB"),
            ("issuer.example/id/A:aud", "AUD"),
            ("ISSUER.example/id/a:SUB", "SUB"),
            ("issuer.example/id/A:amr", "absent"),
            ("issuer.example/id/A:sub:x", "absent"),
            ("issuer.example/id/A", "absent"),
            ("issuer.example/id/A/:sub", "absent"),
            ("https://issuer.example/id/A:sub", "absent"),
            ("HTTPS://localhost:sub", "absent"),
            ("https://issuer.example/id/A", "absent"),
            ("http://localhost", "absent"),
            ("sub", "absent"),
            ("AUD", "absent"),
            ("eks:sub", "unknown"),
            (
                "arn:aws:iam::111122223333:oidc-provider/issuer.example/id/A:sub",
                "absent",
            ),
            ("arn:x", "unknown"),
            ("other.example:sub", "absent"),
            ("other.example", "absent"),
            ("localhost:sub", "absent"),
            ("localhost:amr", "unknown"),
            ("EXAMPLED539D4633E53DE1B71EXAMPLE:sub", "absent"),
            ("id/EXAMPLED539D4633E53DE1B71EXAMPLE:AUD", "absent"),
            ("${OIDC_PROVIDER}:sub", "absent"),
            ("$oidc_provider:sub", "absent"),
            ("<OIDC_PROVIDER>:amr", "absent"),
            ("${OIDC_PROVIDER}", "absent"),
            ("aws:TransactionContext/IdentityProvider/example.com:dept", "unknown"),
            ("s3:ExistingObjectTag/a.b:sub", "unknown"),
            ("kms:EncryptionContext:aws.example:aud", "unknown"),
            ("SAML:aud", "absent"),
            ("saml:namequalifier", "absent"),
            ("identitystore:UserId", "absent"),
            ("aws:SourceOrgPaths", "absent"),
            ("aws:AssumedRoot", "absent"),
            ("aws:PrincipalServiceNamesList", "absent"),
            ("aws:Ec2InstanceSourceVpc", "absent"),
            ("sts:AWSServiceName", "absent"),
            ("iam:PassedToService", "absent"),
            ("sts:RoleAuthorizedByIdp", "false"),
            ("aws:RequestTag/team", "absent"),
            ("aws:TagKeys", "absent"),
            ("STS:transitivetagkeys", "absent"),
            ("aws:PrincipalTag/a.b:c", "absent"),
            ("sts:SourceIdentity", "absent"),
            ("sts:ExternalId", "absent"),
            ("sts:DurationSeconds", "absent"),
            ("aws:PrincipalArn", "absent"),
            ("aws:MultiFactorAuthPresent", "absent"),
            ("aws:MultiFactorAuthAge", "absent"),
            ("aws:TokenIssueTime", "absent"),
            ("aws:SourceIdentity", "absent"),
            ("aws:username", "absent"),
            ("aws:PrincipalOrgID", "absent"),
            ("aws:PrincipalOrgPaths", "absent"),
            ("aws:SourceArn", "absent"),
            ("aws:SourceAccount", "absent"),
            ("aws:SourceOrgID", "absent"),
            ("aws:CalledVia", "absent"),
            ("aws:CalledViaFirst", "absent"),
            ("aws:ResourceAccount", "111122223333"),
            ("aws:PrincipalAccount", "111122223333"),
            ("aws:PrincipalType", "User"),
            (
                "aws:userid",
                "arn:aws:iam::111122223333:oidc-provider/issuer.example/id/A",
            ),
            ("sts:RoleSessionName", "sessionname"),
            ("aws:ResourceTag/team", "unknown"),
            ("aws:ResourceTag/a.b:c", "unknown"),
            ("iam:ResourceTag/team", "unknown"),
            ("aws:SecureTransport", "true"),
            ("aws:CurrentTime", "currenttime"),
            ("aws:EpochTime", "epochtime"),
            ("aws:SourceIp", "unknown"),
            ("aws:SourceVpc", "unknown"),
            ("aws:SourceVpce", "unknown"),
            ("aws:VpcSourceIp", "unknown"),
            ("aws:RequestedRegion", "unknown"),
            ("aws:UserAgent", "unknown"),
            ("aws:Referer", "unknown"),
            ("aws:FederatedProvider", "unknown"),
            ("aws:PrincipalIsAWSService", "unknown"),
            ("aws:ViaAWSService", "unknown"),
            ("aws:ResourceOrgID", "unknown"),
            ("aws:RequestTag", "unknown"),
            ("anything:else", "unknown"),
            ("", "unknown"),
        ] {
            assert_eq!(given(key, I, None), value, "{key}");
        }
    }

    #[test]
    fn an_issuer_without_a_dot_still_owns_its_keys() {
        assert_eq!(given("localhost:8443:sub", "localhost:8443", None), "SUB");
        assert_eq!(given("localhost:8443:amr", "localhost:8443", None), "absent");
        // It may be anybody's, as it does not look like an issuer's.
        assert_eq!(given("localhost:8443", "localhost:8443", None), "unknown");
    }

    #[test]
    fn a_slash_at_an_issuers_end_is_part_of_it() {
        assert_eq!(given("issuer.example/:sub", "issuer.example/", None), "SUB");
        assert_eq!(given("issuer.example:sub", "issuer.example/", None), "absent");
    }

    #[test]
    fn role_tags_are_known_when_they_were_read() {
        let tags = [
            ("Team".to_owned(), "blue".to_owned()),
            ("a.b:c".to_owned(), "x".to_owned()),
        ];
        assert_eq!(given("aws:ResourceTag/team", "issuer.example", Some(&tags)), "blue");
        assert_eq!(given("IAM:resourcetag/Team", "issuer.example", Some(&tags)), "blue");
        assert_eq!(given("aws:ResourceTag/a.b:c", "issuer.example", Some(&tags)), "x");
        assert_eq!(given("aws:ResourceTag/other", "issuer.example", Some(&tags)), "absent");
        assert_eq!(given("aws:ResourceTag/other", "issuer.example", Some(&[])), "absent");
    }
}
