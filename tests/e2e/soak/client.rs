//! A TLS client from an address of its own, which trusts what `caBundle` contains.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::Request;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::release::{NAME, NAMESPACE};

/// The CAs that clients trust: `caBundle` as it was read last.
#[derive(Clone)]
pub(crate) struct Trust(Arc<Mutex<Arc<ClientConfig>>>);

impl Trust {
    pub(crate) fn new(bundle: &[u8]) -> Self {
        Self(Arc::new(Mutex::new(config(bundle))))
    }

    pub(crate) fn replace(&self, bundle: &[u8]) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = config(bundle);
    }

    fn connector(&self) -> TlsConnector {
        TlsConnector::from(Arc::clone(&self.0.lock().unwrap_or_else(PoisonError::into_inner)))
    }
}

fn config(bundle: &[u8]) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(bundle) {
        roots.add(certificate.unwrap()).unwrap();
    }
    Arc::new(
        ClientConfig::builder()
            .with_root_certificates(roots)
            .with_no_client_auth(),
    )
}

pub(crate) fn server_name() -> String {
    format!("{NAME}.{NAMESPACE}.svc")
}

/// A TCP connection from this loopback address.
pub(crate) async fn connect_from(source: Ipv4Addr, target: SocketAddr) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::from((source, 0)))?;
    socket.connect(target).await
}

#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) trust: Trust,
    pub(crate) source: Ipv4Addr,
    pub(crate) target: SocketAddr,
}

impl Client {
    pub(crate) async fn stream(&self) -> io::Result<TlsStream<TcpStream>> {
        let stream = connect_from(self.source, self.target).await?;
        stream.set_nodelay(true)?;
        let name = ServerName::try_from(server_name()).unwrap();
        self.trust.connector().connect(name, stream).await
    }

    pub(crate) async fn connect(&self) -> Result<Connection, String> {
        let stream = self.stream().await.map_err(|error| format!("TLS: {error}"))?;
        let (requests, connection) = handshake(TokioIo::new(stream))
            .await
            .map_err(|error| error.to_string())?;
        // Ends with its connection.
        tokio::spawn(connection);
        Ok(Connection(requests))
    }
}

/// A connection that is kept for more requests.
pub(crate) struct Connection(SendRequest<Full<Bytes>>);

impl Connection {
    /// The status and the body of the answer.
    pub(crate) async fn post(&mut self, path: &str, body: Bytes) -> Result<(u16, Bytes), String> {
        let request = Request::post(path)
            .header("host", server_name())
            .header("content-type", "application/json")
            .body(Full::new(body))
            .unwrap();
        self.0.ready().await.map_err(|error| error.to_string())?;
        let answer = self.0.send_request(request).await.map_err(|error| error.to_string())?;
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await.map_err(|error| error.to_string())?;
        Ok((status, body.to_bytes()))
    }
}
