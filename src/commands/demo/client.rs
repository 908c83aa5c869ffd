//! What an API server is to a webhook: HTTP/1.1 over TLS on one connection that is kept.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Request, header};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;

/// A connection to the webhook.
pub(super) struct Client {
    sender: SendRequest<Full<Bytes>>,
    address: SocketAddr,
    connection: JoinHandle<()>,
}

impl Client {
    /// Connects, and trusts nobody but this CA.
    pub(super) async fn connect(address: SocketAddr, authority: &str) -> Result<Self, String> {
        let told = |error: &dyn std::fmt::Display| format!("the webhook at {address} cannot be reached: {error}");
        let mut roots = rustls::RootCertStore::empty();
        let certificate = CertificateDer::from_pem_slice(authority.as_bytes()).map_err(|error| told(&error))?;
        roots.add(certificate).map_err(|error| told(&error))?;
        let config = rustls::ClientConfig::builder()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let stream = TcpStream::connect(address).await.map_err(|error| told(&error))?;
        // A review must not wait for the answer to what was sent before it.
        stream.set_nodelay(true).map_err(|error| told(&error))?;
        let name = ServerName::IpAddress(address.ip().into());
        let stream = TlsConnector::from(Arc::new(config))
            .connect(name, stream)
            .await
            .map_err(|error| told(&error))?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| told(&error))?;
        let connection = tokio::spawn(async {
            // Its end is seen by whoever sends on it.
            let _ = connection.await;
        });
        Ok(Self {
            sender,
            address,
            connection,
        })
    }

    /// Posts a review and returns the answer.
    pub(super) async fn post(&mut self, path: &str, review: &Value) -> Result<Value, String> {
        let told = |error: &dyn std::fmt::Display| format!("no answer to a review: {error}");
        let request = Request::post(path)
            .header(header::HOST, self.address.to_string())
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, "application/json, */*")
            .header(header::USER_AGENT, concat!("rolegate-demo/", env!("CARGO_PKG_VERSION")))
            .body(Full::new(Bytes::from(review.to_string())))
            .map_err(|error| told(&error))?;
        // The connection may still be putting the last answer away.
        self.sender.ready().await.map_err(|error| told(&error))?;
        let response = self.sender.send_request(request).await.map_err(|error| told(&error))?;
        let status = response.status();
        let body = response
            .into_body()
            .collect()
            .await
            .map_err(|error| told(&error))?
            .to_bytes();
        if !status.is_success() {
            return Err(told(&format!("{status}: {}", String::from_utf8_lossy(&body))));
        }
        serde_json::from_slice(&body).map_err(|error| told(&error))
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.connection.abort();
    }
}
