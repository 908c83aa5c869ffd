//! The certificate in service with its key, and the CAs that client certificates must be signed by. They are replaced while serving;
//! each handshake uses the current ones.

use std::sync::Arc;

use arc_swap::{ArcSwap, ArcSwapOption};
use jiff::Timestamp;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{DigitallySignedStruct, DistinguishedName, RootCertStore, SignatureScheme};

use super::x509;

/// A certificate chain with its private key, known to belong together.
#[derive(Clone, Debug)]
pub struct Pair {
    certified: Arc<CertifiedKey>,
    not_after: Option<Timestamp>,
}

/// Why clients reject a certificate at some moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OutsideValidity {
    /// It has expired.
    #[error("the certificate expired at {0}; renew it")]
    Expired(Timestamp),
    /// Its validity has not begun.
    #[error(
        "the certificate is not valid before {0}; wait, or correct the clock of this machine or of the machine that issued it"
    )]
    NotYetValid(Timestamp),
}

impl Pair {
    /// Reads a chain (leaf first) and a key (PKCS#8, PKCS#1 or SEC1), both PEM.
    ///
    /// # Errors
    /// What is wrong with either, or that they do not belong together.
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, PairError> {
        let chain = certificates(chain).map_err(|error| PairError::Certificate(error.to_string()))?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| PairError::Key(error.to_string()))?;
        Self::from_der(chain, key)
    }

    /// The same from DER.
    ///
    /// # Errors
    /// As [`Pair::from_pem`].
    pub(crate) fn from_der(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Result<Self, PairError> {
        let key = aws_lc_rs::sign::any_supported_type(&key).map_err(|error| PairError::Key(error.to_string()))?;
        let not_after = chain
            .iter()
            .filter_map(|certificate| x509::not_after(certificate))
            .min();
        let certified = CertifiedKey::new(chain, key);
        certified.keys_match().map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => PairError::Mismatch,
            other => PairError::Certificate(other.to_string()),
        })?;
        Ok(Self {
            certified: Arc::new(certified),
            not_after,
        })
    }

    /// The server's own certificate, DER.
    #[must_use]
    pub fn leaf(&self) -> Option<&[u8]> {
        self.certified.cert.first().map(|leaf| &**leaf)
    }

    /// Whether the server's own certificate is valid at a moment. Other certificates of the chain can be expired: clients choose which
    /// of them they need.
    ///
    /// # Errors
    /// When it was, or will be.
    pub fn valid_at(&self, now: Timestamp) -> Result<(), OutsideValidity> {
        match self.leaf().and_then(x509::validity) {
            Some(validity) if validity.not_after < now => Err(OutsideValidity::Expired(validity.not_after)),
            Some(validity) if validity.not_before > now => Err(OutsideValidity::NotYetValid(validity.not_before)),
            Some(_) | None => Ok(()),
        }
    }

    /// When the first certificate of the chain expires.
    #[must_use]
    pub const fn not_after(&self) -> Option<Timestamp> {
        self.not_after
    }
}

/// Why a certificate and a key cannot be served.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PairError {
    /// The certificate is malformed.
    #[error("the certificate is not usable: {0}")]
    Certificate(String),
    /// The key is malformed.
    #[error("the private key is not usable: {0}")]
    Key(String),
    /// Both are well-formed, but the key belongs to another certificate.
    #[error("the private key does not belong to the certificate")]
    Mismatch,
    /// Both can be used, but clients reject the certificate now.
    #[error("{0}")]
    OutsideValidity(OutsideValidity),
}

/// Why a PEM text is not a usable bundle of certificates.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BundleError {
    /// It has no certificate.
    #[error("it contains no PEM block CERTIFICATE")]
    Empty,
    /// It is not PEM.
    #[error("{0}")]
    Pem(String),
    /// A certificate in it cannot be used.
    #[error("a certificate in it is not usable: {0}")]
    Certificate(String),
}

/// The certificate in service. Empty until the first pair is put in: until then, handshakes fail.
#[derive(Debug, Default)]
pub struct Serving {
    pair: ArcSwapOption<Pair>,
}

impl Serving {
    /// Without a certificate.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Serves this pair from the next handshake on.
    pub fn swap(&self, pair: Pair) {
        self.pair.store(Some(Arc::new(pair)));
    }

    /// Whether there is a certificate to serve.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.pair.load().is_some()
    }

    /// When the certificate in service expires.
    #[must_use]
    pub fn not_after(&self) -> Option<Timestamp> {
        self.pair.load().as_ref().and_then(|pair| pair.not_after)
    }
}

impl ResolvesServerCert for Serving {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.pair.load().as_ref().map(|pair| pair.certified.clone())
    }
}

/// The CAs that client certificates must be signed by (`--client-ca`).
#[derive(Debug)]
pub struct ClientCa {
    verifier: ArcSwap<Verifier>,
}

impl ClientCa {
    /// Trusts client certificates that this verifier accepts.
    #[must_use]
    pub fn new(verifier: Verifier) -> Arc<Self> {
        Arc::new(Self {
            verifier: ArcSwap::from_pointee(verifier),
        })
    }

    /// Uses another verifier from the next handshake on.
    pub fn swap(&self, verifier: Verifier) {
        self.verifier.store(Arc::new(verifier));
    }
}

/// Verifies client certificates against a bundle of CAs.
#[derive(Clone, Debug)]
pub struct Verifier(Arc<dyn ClientCertVerifier>);

impl Verifier {
    /// Trusts the CAs of a PEM bundle.
    ///
    /// # Errors
    /// What is wrong with the bundle.
    pub fn from_pem(bundle: &[u8]) -> Result<Self, BundleError> {
        let mut roots = RootCertStore::empty();
        for certificate in certificates(bundle)? {
            roots
                .add(certificate)
                .map_err(|error| BundleError::Certificate(error.to_string()))?;
        }
        let provider = Arc::new(aws_lc_rs::default_provider());
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
            .build()
            .map(Self)
            .map_err(|error| BundleError::Certificate(error.to_string()))
    }
}

impl ClientCertVerifier for ClientCa {
    /// None: hints would be borrowed from a value that might be swapped, and clients do not need them.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.verifier
            .load()
            .0
            .verify_client_cert(end_entity, intermediates, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier.load().0.verify_tls12_signature(message, cert, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier.load().0.verify_tls13_signature(message, cert, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.load().0.supported_verify_schemes()
    }
}

/// The certificates of a PEM text, at least one.
pub(super) fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, BundleError> {
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|error| BundleError::Pem(error.to_string()))?;
    if certificates.is_empty() {
        return Err(BundleError::Empty);
    }
    Ok(certificates)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn issued() -> (String, String) {
        let issued = rcgen::generate_simple_self_signed(vec!["rolegate.example".to_owned()]).unwrap();
        (issued.cert.pem(), issued.signing_key.serialize_pem())
    }

    #[test]
    fn a_pair_must_belong_together() {
        let ((certificate, key), (_, other_key)) = (issued(), issued());
        assert!(
            Pair::from_pem(certificate.as_bytes(), key.as_bytes())
                .unwrap()
                .not_after()
                .is_some()
        );
        assert_eq!(
            Pair::from_pem(certificate.as_bytes(), other_key.as_bytes()).unwrap_err(),
            PairError::Mismatch
        );
    }

    #[test]
    fn a_certificate_is_valid_from_its_first_to_its_last_second() {
        let mut params = rcgen::CertificateParams::new(vec!["rolegate.example".to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2026, 1, 2);
        params.not_after = rcgen::date_time_ymd(2026, 3, 4);
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let pair = Pair::from_pem(certificate.pem().as_bytes(), key.serialize_pem().as_bytes()).unwrap();
        let at = |time: &str| pair.valid_at(time.parse().unwrap()).map_err(|why| why.to_string());
        assert_eq!(at("2026-01-02T00:00:00Z"), Ok(()));
        assert_eq!(at("2026-03-04T00:00:00Z"), Ok(()));
        assert_eq!(
            at("2026-03-04T00:00:01Z").unwrap_err(),
            "the certificate expired at 2026-03-04T00:00:00Z; renew it"
        );
        let early = at("2026-01-01T23:59:59Z").unwrap_err();
        assert!(
            early.starts_with("the certificate is not valid before 2026-01-02T00:00:00Z; "),
            "{early}"
        );
    }

    #[test]
    fn what_is_missing_is_named() {
        let (certificate, key) = issued();
        let no_certificate = Pair::from_pem(key.as_bytes(), key.as_bytes()).unwrap_err();
        assert!(matches!(no_certificate, PairError::Certificate(_)), "{no_certificate}");
        let no_key = Pair::from_pem(certificate.as_bytes(), certificate.as_bytes()).unwrap_err();
        assert!(matches!(no_key, PairError::Key(_)), "{no_key}");
        assert_eq!(Verifier::from_pem(b"").unwrap_err(), BundleError::Empty);
    }

    #[test]
    fn keys_are_read_in_each_form_that_tools_write() {
        // The same P-256 key as PKCS#8 and as SEC1; `openssl req -newkey rsa` and `openssl ecparam` differ like this.
        let (certificate, pkcs8) = issued();
        let key = rcgen::KeyPair::from_pem(&pkcs8).unwrap();
        let der = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        assert!(matches!(der, PrivateKeyDer::Pkcs8(_)));
        assert!(Pair::from_pem(certificate.as_bytes(), pkcs8.as_bytes()).is_ok());
    }
}
