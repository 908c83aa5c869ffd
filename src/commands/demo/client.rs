//! Acts as the API server: HTTP/1.1 over TLS on one connection that is kept alive.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
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
use tokio_rustls::client::TlsStream;

/// A connection to the webhook.
pub(super) struct Client {
    sender: SendRequest<Full<Bytes>>,
    address: SocketAddr,
    connection: JoinHandle<()>,
}

impl Client {
    /// Connects to a webhook whose certificate this CA has signed.
    pub(super) async fn connect(address: SocketAddr, authority: &str) -> Result<Self> {
        let (sender, connection) = connect(address, authority)
            .await
            .with_context(|| format!("cannot connect to the webhook at {address}"))?;
        let connection = tokio::spawn(async {
            // Its end is an error of the next request.
            let _ = connection.await;
        });
        Ok(Self {
            sender,
            address,
            connection,
        })
    }

    /// Posts a review and returns the response.
    pub(super) async fn post(&mut self, path: &str, review: &Value) -> Result<Value> {
        let request = Request::post(path)
            .header(header::HOST, self.address.to_string())
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, "application/json, */*")
            .header(header::USER_AGENT, concat!("rolegate-demo/", env!("CARGO_PKG_VERSION")))
            .body(Full::new(Bytes::from(review.to_string())))?;
        self.send(request).await.context("no response to a review")
    }

    async fn send(&mut self, request: Request<Full<Bytes>>) -> Result<Value> {
        // The connection may still be busy with the end of the last response.
        self.sender.ready().await?;
        let response = self.sender.send_request(request).await?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        if !status.is_success() {
            bail!("{status}: {}", String::from_utf8_lossy(&body));
        }
        Ok(serde_json::from_slice(&body)?)
    }
}

type Connection = http1::Connection<TokioIo<TlsStream<TcpStream>>, Full<Bytes>>;

async fn connect(address: SocketAddr, authority: &str) -> Result<(SendRequest<Full<Bytes>>, Connection)> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.as_bytes())?)?;
    let config = rustls::ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(address).await?;
    // A review must not wait for the acknowledgment of what was sent before it.
    stream.set_nodelay(true)?;
    let name = ServerName::IpAddress(address.ip().into());
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
    Ok(http1::handshake(TokioIo::new(stream)).await?)
}

impl Drop for Client {
    fn drop(&mut self) {
        self.connection.abort();
    }
}
