//! What is served now: the certificate and its key, and the CAs that clients must be signed by. Whoever issues or re-reads
//! them swaps them in; each handshake takes what is there.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
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

impl Pair {
    /// Reads a chain (leaf first) and a key (PKCS#8, PKCS#1 or SEC1), both PEM.
    ///
    /// # Errors
    /// What is wrong with either, or that they do not belong together.
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, PairError> {
        let chain = certificates(chain).map_err(PairError::Certificate)?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| PairError::Key(error.to_string()))?;
        Self::from_der(chain, key)
    }

    /// The same from DER.
    ///
    /// # Errors
    /// As [`Pair::from_pem`].
    pub fn from_der(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> Result<Self, PairError> {
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

    /// The certificate that is shown first, DER.
    #[must_use]
    pub fn leaf(&self) -> Option<&[u8]> {
        self.certified.cert.first().map(|leaf| &**leaf)
    }

    /// When the first certificate of the chain ends.
    #[must_use]
    pub const fn not_after(&self) -> Option<Timestamp> {
        self.not_after
    }
}

/// Why a certificate and a key cannot be served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PairError {
    /// The certificate's text is wrong.
    Certificate(String),
    /// The key's text is wrong.
    Key(String),
    /// Each is well-formed, but the key is another certificate's.
    Mismatch,
}

impl fmt::Display for PairError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Certificate(why) => write!(f, "the certificate is not usable: {why}"),
            Self::Key(why) => write!(f, "the private key is not usable: {why}"),
            Self::Mismatch => f.write_str("the private key does not belong to the certificate"),
        }
    }
}

impl std::error::Error for PairError {}

/// What is served now. Empty until a pair is put in: until then handshakes fail.
#[derive(Debug, Default)]
pub struct Serving {
    pair: ArcSwapOption<Pair>,
}

impl Serving {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Serves this pair from the next handshake on.
    pub fn swap(&self, pair: Pair) {
        self.pair.store(Some(Arc::new(pair)));
    }

    /// Whether there is something to serve.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.pair.load().is_some()
    }

    /// When what is served ends.
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

/// The CAs that sign the certificates of clients (`--client-ca`).
#[derive(Debug)]
pub struct ClientCa {
    verifier: arc_swap::ArcSwap<Verifier>,
}

#[derive(Debug)]
struct Verifier(Arc<dyn ClientCertVerifier>);

impl ClientCa {
    /// Trusts the certificates of a PEM bundle.
    ///
    /// # Errors
    /// What is wrong with the bundle.
    pub fn from_pem(bundle: &[u8]) -> Result<Arc<Self>, String> {
        Ok(Arc::new(Self {
            verifier: arc_swap::ArcSwap::from_pointee(verifier(bundle)?),
        }))
    }

    /// Trusts another bundle from the next handshake on.
    ///
    /// # Errors
    /// What is wrong with the bundle; the former one stays.
    pub fn swap(&self, bundle: &[u8]) -> Result<(), String> {
        self.verifier.store(Arc::new(verifier(bundle)?));
        Ok(())
    }
}

fn verifier(bundle: &[u8]) -> Result<Verifier, String> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(bundle)? {
        roots.add(certificate).map_err(|error| error.to_string())?;
    }
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    verifier.build().map(Verifier).map_err(|error| error.to_string())
}

impl ClientCertVerifier for ClientCa {
    /// None: a hint would have to be borrowed from what may be swapped, and a client needs none.
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
pub(super) fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|error| error.to_string())?;
    if certificates.is_empty() {
        return Err("it holds no PEM block CERTIFICATE".to_owned());
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
    fn what_is_missing_is_named() {
        let (certificate, key) = issued();
        let no_certificate = Pair::from_pem(key.as_bytes(), key.as_bytes()).unwrap_err();
        assert!(matches!(no_certificate, PairError::Certificate(_)), "{no_certificate}");
        let no_key = Pair::from_pem(certificate.as_bytes(), certificate.as_bytes()).unwrap_err();
        assert!(matches!(no_key, PairError::Key(_)), "{no_key}");
        assert!(ClientCa::from_pem(b"").unwrap_err().contains("CERTIFICATE"));
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
