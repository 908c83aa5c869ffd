//! Issues CAs and serving certificates, ECDSA P-256. The time is passed in; nothing is read or written here.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, SystemTime};

use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod,
    KeyPair, KeyUsagePurpose, SanType, date_time_ymd,
};

use super::serving::{BundleError, Pair, PairError, certificates};
use super::x509::{self, CaIdentity};
use crate::support::dns;

/// How long before its creation a certificate becomes valid: clocks of API servers and nodes differ by minutes.
pub const BACKDATED: Duration = Duration::from_secs(10 * 60);

/// A name in a serving certificate.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum SubjectName {
    /// A DNS name; its first label may be `*`.
    Dns(String),
    /// An address.
    Ip(IpAddr),
}

impl SubjectName {
    /// The names of every development certificate: `localhost`, `127.0.0.1` and `::1`.
    #[must_use]
    pub fn loopback() -> Vec<Self> {
        vec![
            Self::Dns("localhost".to_owned()),
            Self::Ip(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            Self::Ip(IpAddr::V6(Ipv6Addr::LOCALHOST)),
        ]
    }

    /// Parses a DNS name (RFC 1123, a leading `*.` allowed) or an IP address.
    ///
    /// # Errors
    /// What was expected.
    pub fn parse(text: &str) -> Result<Self, String> {
        if let Ok(address) = text.parse() {
            return Ok(Self::Ip(address));
        }
        let name = text.strip_prefix("*.").unwrap_or(text).to_ascii_lowercase();
        if text.len() <= 253 && name.split('.').all(dns::is_label) {
            return Ok(Self::Dns(text.to_owned()));
        }
        Err("expected a DNS name, such as rolegate.example.com, or an IP address".to_owned())
    }
}

impl fmt::Display for SubjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns(name) => f.write_str(name),
            Self::Ip(address) => address.fmt(f),
        }
    }
}

/// A CA that signs serving certificates.
pub struct Authority {
    certificate: String,
    key: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// Creates a CA with a new key, valid from [`BACKDATED`] before `now` until `validity` after it.
    ///
    /// # Errors
    /// When there is no randomness, or a certificate cannot hold the time.
    pub fn generate(common_name: &str, now: SystemTime, validity: Duration) -> Result<Self, IssueError> {
        let key = KeyPair::generate()?;
        let mut params = parameters(common_name, now, validity)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key)?.pem();
        Ok(Self {
            certificate,
            key: key.serialize_pem(),
            issuer: Issuer::new(params, key),
        })
    }

    /// A stored CA: its certificate and its private key (PKCS#8), both PEM.
    ///
    /// # Errors
    /// What is wrong with either, that they do not belong together, or that nothing can be signed with them.
    pub fn from_pem(certificate: &str, key: &str) -> Result<Self, AuthorityError> {
        let der = match certificates(certificate.as_bytes())
            .map_err(AuthorityError::Certificate)?
            .as_slice()
        {
            [der] => der.clone(),
            several => return Err(AuthorityError::Several(several.len())),
        };
        Pair::from_pem(certificate.as_bytes(), key.as_bytes()).map_err(AuthorityError::Pair)?;
        if !x509::is_ca(&der) {
            return Err(AuthorityError::NotACa);
        }
        let CaIdentity {
            subject,
            key_identifier,
        } = x509::ca_identity(&der).ok_or(AuthorityError::Subject)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = subject;
        if let Some(identifier) = key_identifier {
            params.key_identifier_method = KeyIdMethod::PreSpecified(identifier);
        }
        let pair = KeyPair::from_pem(key).map_err(AuthorityError::Key)?;
        let issuer = Issuer::new(params, pair);
        // Clients compare names as bytes, so that the copy of the subject is checked on a certificate that is thrown away.
        let probe = CertificateParams::default()
            .signed_by(issuer.key(), &issuer)
            .map_err(AuthorityError::Key)?;
        if !x509::is_issued_by(probe.der(), &der) {
            return Err(AuthorityError::Subject);
        }
        Ok(Self {
            certificate: certificate.to_owned(),
            key: key.to_owned(),
            issuer,
        })
    }

    /// The CA's certificate, PEM: what clients must trust.
    #[must_use]
    pub fn certificate_pem(&self) -> &str {
        &self.certificate
    }

    /// The CA's private key, PKCS#8 PEM. A secret.
    #[must_use]
    pub fn key_pem(&self) -> &str {
        &self.key
    }

    /// Issues a serving certificate for these names with a new key, valid from [`BACKDATED`] before `now` until `validity` after it.
    ///
    /// # Errors
    /// As [`Authority::generate`].
    pub fn issue(&self, names: &[SubjectName], now: SystemTime, validity: Duration) -> Result<Leaf, IssueError> {
        let key = KeyPair::generate()?;
        let mut params = parameters("rolegate", now, validity)?;
        params.subject_alt_names = names.iter().map(alternative_name).collect::<Result<_, _>>()?;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&key, &self.issuer)?.pem();
        Ok(Leaf {
            certificate,
            key: key.serialize_pem(),
        })
    }
}

/// Without the key.
impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority")
            .field("certificate", &self.certificate)
            .finish_non_exhaustive()
    }
}

/// A serving certificate and its key.
#[derive(Clone)]
pub struct Leaf {
    certificate: String,
    key: String,
}

impl Leaf {
    /// The certificate, PEM.
    #[must_use]
    pub fn certificate_pem(&self) -> &str {
        &self.certificate
    }

    /// The private key, PKCS#8 PEM. A secret.
    #[must_use]
    pub fn key_pem(&self) -> &str {
        &self.key
    }
}

/// Without the key.
impl fmt::Debug for Leaf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leaf")
            .field("certificate", &self.certificate)
            .finish_non_exhaustive()
    }
}

/// Why a certificate could not be issued.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// The time is before 1970 or after the year 9999.
    #[error("a certificate cannot have these times: check the clock and the validity")]
    Time,
    /// The library's error: there is no randomness, or a certificate cannot hold a name.
    #[error("the certificate could not be created: {0}")]
    Generation(#[from] rcgen::Error),
}

/// Why a stored CA cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// The certificate is malformed.
    #[error("the certificate is not usable: {0}")]
    Certificate(BundleError),
    /// There are several certificates: a chain or a bundle instead of a CA.
    #[error("there are {0} certificates where one is expected")]
    Several(usize),
    /// The certificate or the key cannot be used, or they do not belong together.
    #[error(transparent)]
    Pair(PairError),
    /// The certificate must not sign others.
    #[error("the certificate is not a CA certificate (basicConstraints: CA:TRUE)")]
    NotACa,
    /// Its subject cannot be written as the issuer of other certificates.
    #[error(
        "the certificate's subject cannot be repeated as an issuer: use one in which each attribute appears once, as a UTF-8 or printable string, such as /C=DE/O=Example/CN=rolegate"
    )]
    Subject,
    /// The key cannot sign certificates.
    #[error("the private key is not usable: {0}; PKCS#8 is expected")]
    Key(rcgen::Error),
}

fn parameters(common_name: &str, now: SystemTime, validity: Duration) -> Result<CertificateParams, IssueError> {
    let now = now
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_err(|_| IssueError::Time)?;
    let end = now.checked_add(validity).ok_or(IssueError::Time)?;
    let epoch = date_time_ymd(1970, 1, 1);
    let at = |since_epoch: Duration| {
        // Whole seconds: a certificate has no fractions, and both ends must be rounded in the same way.
        let offset = Duration::from_secs(since_epoch.as_secs())
            .try_into()
            .map_err(|_| IssueError::Time)?;
        epoch
            .checked_add(offset)
            .filter(|time| time.year() <= 9999)
            .ok_or(IssueError::Time)
    };
    let mut params = CertificateParams::default();
    params.not_before = at(now.saturating_sub(BACKDATED))?;
    params.not_after = at(end)?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    Ok(params)
}

fn alternative_name(name: &SubjectName) -> Result<SanType, IssueError> {
    Ok(match name {
        SubjectName::Dns(name) => SanType::DnsName(Ia5String::try_from(name.as_str())?),
        SubjectName::Ip(address) => SanType::IpAddress(*address),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rustls::client::WebPkiServerVerifier;
    use rustls::client::danger::ServerCertVerifier;
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};

    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);
    const NOW: Duration = Duration::from_secs(1_800_000_000);

    fn now() -> SystemTime {
        SystemTime::UNIX_EPOCH + NOW
    }

    /// Verifies the leaf for this name at this time, as a client that trusts the CA.
    fn verify(authority: &Authority, leaf: &Leaf, name: &str, at: Duration) -> Result<(), rustls::Error> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut roots = rustls::RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_slice(authority.certificate_pem().as_bytes()).unwrap())
            .unwrap();
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
            .build()
            .unwrap();
        let certificate = CertificateDer::from_pem_slice(leaf.certificate_pem().as_bytes()).unwrap();
        let name = ServerName::try_from(name.to_owned()).unwrap();
        verifier
            .verify_server_cert(&certificate, &[], &name, &[], UnixTime::since_unix_epoch(at))
            .map(|_| ())
    }

    #[test]
    fn a_leaf_is_trusted_for_its_names_and_no_others() {
        let authority = Authority::generate("test CA", now(), 10 * DAY).unwrap();
        let mut names = SubjectName::loopback();
        names.push(SubjectName::parse("rolegate.example.com").unwrap());
        names.push(SubjectName::parse("10.1.2.3").unwrap());
        let leaf = authority.issue(&names, now(), DAY).unwrap();
        for name in ["localhost", "127.0.0.1", "::1", "rolegate.example.com", "10.1.2.3"] {
            assert_eq!(verify(&authority, &leaf, name, NOW), Ok(()), "{name}");
        }
        for name in ["example.com", "10.1.2.4", "a.rolegate.example.com"] {
            assert!(verify(&authority, &leaf, name, NOW).is_err(), "{name}");
        }
    }

    #[test]
    fn a_leaf_is_valid_from_ten_minutes_ago_to_the_end_of_its_validity() {
        let authority = Authority::generate("test CA", now(), 10 * DAY).unwrap();
        let leaf = authority.issue(&SubjectName::loopback(), now(), DAY).unwrap();
        let second = Duration::from_secs(1);
        for (at, good) in [
            (NOW - BACKDATED - second, false),
            (NOW - BACKDATED, true),
            (NOW, true),
            (NOW + DAY, true),
            (NOW + DAY + second, false),
        ] {
            assert_eq!(verify(&authority, &leaf, "localhost", at).is_ok(), good, "{at:?}");
        }
    }

    #[test]
    fn another_ca_of_the_same_name_is_not_trusted() {
        let authority = Authority::generate("test CA", now(), DAY).unwrap();
        let other = Authority::generate("test CA", now(), DAY).unwrap();
        let leaf = authority.issue(&SubjectName::loopback(), now(), DAY).unwrap();
        assert!(verify(&other, &leaf, "localhost", NOW).is_err());
    }

    #[test]
    fn a_server_can_use_certificate_and_key() {
        let authority = Authority::generate("test CA", now(), DAY).unwrap();
        let leaf = authority.issue(&SubjectName::loopback(), now(), DAY).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let chain = vec![CertificateDer::from_pem_slice(leaf.certificate_pem().as_bytes()).unwrap()];
        let key = PrivateKeyDer::from_pem_slice(leaf.key_pem().as_bytes()).unwrap();
        rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
    }

    #[test]
    fn a_stored_ca_signs_as_it_did() {
        let made = Authority::generate("test CA", now(), 10 * DAY).unwrap();
        let stored = Authority::from_pem(made.certificate_pem(), made.key_pem()).unwrap();
        let leaf = stored.issue(&SubjectName::loopback(), now(), DAY).unwrap();
        assert_eq!(verify(&made, &leaf, "localhost", NOW), Ok(()));
        assert_eq!(stored.certificate_pem(), made.certificate_pem());
        assert_eq!(stored.key_pem(), made.key_pem());
    }

    /// As `openssl req -x509 -subj /C=DE/O=Example/OU=Platform/CN=rolegate` makes it: a country as a printable string, the rest UTF-8.
    fn ca_of_a_company(subject: &[(DnType, rcgen::DnValue)]) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let mut params = parameters("", now(), 10 * DAY).unwrap();
        params.distinguished_name = DistinguishedName::new();
        for (kind, value) in subject {
            params.distinguished_name.push(kind.clone(), value.clone());
        }
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
    }

    #[test]
    fn a_ca_with_a_full_subject_signs_what_clients_trust() {
        let utf8 = |text: &str| rcgen::DnValue::Utf8String(text.to_owned());
        let (certificate, key) = ca_of_a_company(&[
            (
                DnType::CountryName,
                rcgen::DnValue::PrintableString("DE".try_into().unwrap()),
            ),
            (DnType::OrganizationName, utf8("Example GmbH & Co. KG")),
            (DnType::OrganizationalUnitName, utf8("Plattform Größe")),
            (DnType::CommonName, utf8("rolegate CA")),
            (DnType::from_oid(&[1, 2, 840, 113_549, 1, 9, 1]), {
                rcgen::DnValue::Ia5String("ca@example.com".try_into().unwrap())
            }),
        ]);
        let authority = Authority::from_pem(&certificate, &key).unwrap();
        let leaf = authority.issue(&SubjectName::loopback(), now(), DAY).unwrap();
        assert_eq!(verify(&authority, &leaf, "localhost", NOW), Ok(()));
    }

    #[test]
    fn a_ca_whose_subject_cannot_be_repeated_is_refused() {
        let teletex = rcgen::DnValue::TeletexString("rolegate".try_into().unwrap());
        let (certificate, key) = ca_of_a_company(&[(DnType::CommonName, teletex)]);
        let error = Authority::from_pem(&certificate, &key).unwrap_err().to_string();
        assert!(error.contains("/C=DE/O=Example/CN=rolegate"), "{error}");
    }

    #[test]
    fn what_cannot_sign_is_not_a_ca() {
        let (made, other) = (
            Authority::generate("test CA", now(), DAY).unwrap(),
            Authority::generate("test CA", now(), DAY).unwrap(),
        );
        let leaf = made.issue(&SubjectName::loopback(), now(), DAY).unwrap();
        let two = format!("{}{}", made.certificate_pem(), other.certificate_pem());
        for (certificate, key, why) in [
            ("", made.key_pem(), "no PEM block CERTIFICATE"),
            (made.certificate_pem(), "", "the private key is not usable"),
            (made.certificate_pem(), other.key_pem(), "does not belong"),
            (leaf.certificate_pem(), leaf.key_pem(), "not a CA certificate"),
            (&two, made.key_pem(), "2 certificates"),
        ] {
            let error = Authority::from_pem(certificate, key).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn keys_are_not_printed() {
        let authority = Authority::generate("test CA", now(), DAY).unwrap();
        let leaf = authority.issue(&SubjectName::loopback(), now(), DAY).unwrap();
        assert!(!format!("{leaf:?} {authority:?}").contains("PRIVATE"));
    }

    #[test]
    fn names_are_dns_names_or_addresses() {
        for good in [
            "a",
            "a.b-c.example",
            "*.example.com",
            "10.0.0.1",
            "::1",
            "fe80::1",
            "XN--NXASMQ.example",
        ] {
            assert_eq!(
                SubjectName::parse(good).map(|name| name.to_string()),
                Ok(good.to_owned())
            );
        }
        for bad in [
            "",
            "*",
            "a..b",
            "-a",
            "a-",
            "a b",
            "https://a",
            "a_b",
            "a.*.b",
            "é.example",
            "a:443",
        ] {
            assert!(SubjectName::parse(bad).is_err(), "{bad}");
        }
        assert!(SubjectName::parse(&"a.".repeat(127)).is_err());
    }

    #[test]
    fn times_that_no_certificate_can_hold_are_errors() {
        let before_epoch = SystemTime::UNIX_EPOCH - DAY;
        assert!(matches!(
            Authority::generate("test CA", before_epoch, DAY),
            Err(IssueError::Time)
        ));
        assert!(matches!(
            Authority::generate("test CA", now(), Duration::MAX),
            Err(IssueError::Time)
        ));
        assert!(matches!(
            Authority::generate("test CA", now(), 10_000 * 366 * DAY),
            Err(IssueError::Time)
        ));
    }
}
