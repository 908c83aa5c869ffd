//! The web identity that a projected ServiceAccount token carries: issuer, subject, audience.

use std::fmt;
use std::sync::Arc;

/// A cluster's OIDC issuer without `https://`. A trailing slash is part of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Issuer(Arc<str>);

impl Issuer {
    /// Parses an issuer, with or without `https://`.
    ///
    /// # Errors
    /// When it is empty, has another scheme, blanks or control characters, or a query or fragment.
    pub fn parse(_text: &str) -> Result<Self, IssuerError> {
        todo!()
    }
    /// Without the scheme.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
    /// The Region in an EKS issuer (`oidc.eks.REGION.amazonaws.com…`, `oidc-eks.REGION.api.aws…`), else none.
    #[must_use]
    pub fn region(&self) -> Option<&str> {
        todo!()
    }
}

/// Why a text is no issuer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IssuerError {}

impl fmt::Display for IssuerError {
    fn fmt(&self, _f: &mut fmt::Formatter<'_>) -> fmt::Result {
        todo!()
    }
}

impl std::error::Error for IssuerError {}

/// The `sub` of a token; for a pod `system:serviceaccount:NAMESPACE:NAME`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Subject(Arc<str>);

impl Subject {
    /// The subject of a ServiceAccount's tokens.
    #[must_use]
    pub fn service_account(_namespace: &str, _name: &str) -> Self {
        todo!()
    }
    /// Any subject text (`check --batch`).
    #[must_use]
    pub fn from_text(text: &str) -> Self {
        Self(text.into())
    }
    /// The whole subject.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
    /// Namespace and name, when it is a ServiceAccount's.
    #[must_use]
    pub fn namespace_and_name(&self) -> Option<(&str, &str)> {
        todo!()
    }
}

/// The `aud` of a token.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Audience(Arc<str>);

impl Audience {
    /// Any text.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(text.into())
    }
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What a token says of its holder.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct WebIdentity {
    /// Who issued the token.
    pub issuer: Issuer,
    /// Whom it is for.
    pub subject: Subject,
    /// What it is for.
    pub audience: Audience,
}
