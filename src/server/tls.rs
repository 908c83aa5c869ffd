//! The TLS configuration: versions, the serving certificate, and client certificates.

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::server::NoServerSessionStorage;
use rustls::version::{TLS12, TLS13};
use tokio_rustls::TlsAcceptor;

use crate::certs::serving::{ClientCa, Serving};

/// Makes aws-lc-rs the crypto provider of the process. Called once, before the first client or server is created; later calls have no
/// effect.
///
/// Where two providers are compiled in, rustls does not choose one and panics at the first handshake; naming ours keeps a
/// dependency's new default from doing that.
pub fn install_crypto_provider() {
    // An error means that a provider is already installed.
    let _ = aws_lc_rs::default_provider().install_default();
}

/// Accepts TLS 1.2 and 1.3 with HTTP/1.1 and the certificate that `serving` holds at the time of the handshake; with a `client_ca`,
/// only from clients that it signed.
///
/// # Errors
/// The crypto provider does not support these versions; the one that is compiled in does.
pub fn acceptor(serving: Arc<Serving>, client_ca: Option<Arc<ClientCa>>) -> Result<TlsAcceptor, rustls::Error> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(provider).with_protocol_versions(&[&TLS13, &TLS12])?;
    let builder = match client_ca {
        Some(client_ca) => builder.with_client_cert_verifier(client_ca),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_cert_resolver(serving);
    // The API server speaks HTTP/1.1 to webhooks and keeps its connections.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    // It does not resume sessions either, and a session must not outlive the certificates that it was checked against.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(TlsAcceptor::from(Arc::new(config)))
}
