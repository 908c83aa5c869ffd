//! A server to try, and clients that speak to it as they like.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rolegate::admission::review_kind::ReviewKind;
use rolegate::certs::serving::{ClientCa, Pair, Serving};
use rolegate::http::rejection::json_response;
use rolegate::http::reviewer::{Call, Reviewer};
use rolegate::http::reviews::router;
use rolegate::server::accept::{Server as Listener, Transport};
use rolegate::server::connections::Connections;
use rolegate::server::limits::Limits;
use rolegate::server::shutdown::Lifecycle;
use rolegate::server::tls::acceptor;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Longer than anything here takes on a slow machine: only what never comes runs into it.
pub(crate) const LONG: Duration = Duration::from_secs(20);

pub(crate) const NAME: &str = "rolegate.example";

/// Limits that no test meets by accident.
pub(crate) fn roomy() -> Limits {
    Limits {
        handshake: LONG,
        header: LONG,
        body: LONG,
        age: Duration::from_secs(600),
        age_jitter: Duration::ZERO,
        drain: Duration::ZERO,
        stop: LONG,
        ..Limits::default()
    }
}

/// Waits for something that is sure to come.
pub(crate) async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(LONG, what).await.expect("it did not happen")
}

/// A certificate and its key, PEM.
#[derive(Clone)]
pub(crate) struct Issued {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

pub(crate) fn self_signed() -> Issued {
    let issued = rcgen::generate_simple_self_signed(vec![NAME.to_owned()]).unwrap();
    Issued {
        certificate: issued.cert.pem(),
        key: issued.signing_key.serialize_pem(),
    }
}

impl Issued {
    pub(crate) fn pair(&self) -> Pair {
        Pair::from_pem(self.certificate.as_bytes(), self.key.as_bytes()).unwrap()
    }

    pub(crate) fn der(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(self.certificate.as_bytes()).unwrap()
    }

    pub(crate) fn write(&self, certificate: &Path, key: &Path) {
        std::fs::write(certificate, &self.certificate).unwrap();
        std::fs::write(key, &self.key).unwrap();
    }
}

/// A CA that signs the certificates of clients.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    pub(crate) fn client(&self) -> Issued {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["kube-apiserver".to_owned()]).unwrap();
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
        Issued {
            certificate: params.signed_by(&key, &self.0).unwrap().pem(),
            key: key.serialize_pem(),
        }
    }
}

/// Answers with what it received. `/validate/workloads` waits until the test lets it.
#[derive(Clone)]
pub(crate) struct Parrot {
    waiting: Arc<watch::Sender<usize>>,
    may_answer: Arc<Semaphore>,
}

impl Reviewer for Parrot {
    async fn review(&self, call: Call) -> axum::response::Response {
        if call.kind == ReviewKind::ValidateWorkloads {
            self.waiting.send_modify(|waiting| *waiting += 1);
            self.may_answer.acquire().await.unwrap().forget();
        }
        json_response(StatusCode::OK, call.body.into())
    }
}

/// A server that runs.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) serving: Arc<Serving>,
    pub(crate) certificate: Issued,
    pub(crate) life: Lifecycle,
    pub(crate) connections: Connections,
    pub(crate) task: JoinHandle<()>,
    parrot: Parrot,
}

pub(crate) async fn server(limits: Limits) -> Server {
    server_with(limits, Serving::new(), None).await
}

/// The same without TLS, as the admin listener is.
pub(crate) async fn plain_server(limits: Limits) -> Server {
    start(limits, Serving::new(), |_| Transport::Plain).await
}

pub(crate) async fn server_with(limits: Limits, serving: Arc<Serving>, client_ca: Option<Arc<ClientCa>>) -> Server {
    start(limits, serving, |serving| {
        Transport::Tls(acceptor(serving, client_ca).unwrap())
    })
    .await
}

async fn start(limits: Limits, serving: Arc<Serving>, transport: impl FnOnce(Arc<Serving>) -> Transport) -> Server {
    let certificate = self_signed();
    if !serving.is_ready() {
        serving.swap(certificate.pair());
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (life, connections) = (Lifecycle::new(), Connections::at_most(limits.connections));
    let parrot = Parrot {
        waiting: Arc::new(watch::channel(0).0),
        may_answer: Arc::new(Semaphore::new(0)),
    };
    let limits = Arc::new(limits);
    let router = router(Arc::new(parrot.clone()), &limits);
    let listener = Listener {
        listener,
        transport: transport(serving.clone()),
        limits,
        life: life.clone(),
        connections: connections.clone(),
    };
    let task = tokio::spawn(listener.serve(move |_peer| router.clone()));
    Server {
        address,
        serving,
        certificate,
        life,
        connections,
        task,
        parrot,
    }
}

impl Server {
    /// A client that trusts this server's certificate.
    pub(crate) fn client(&self) -> Client {
        Client::trusting(&self.certificate).of(self.address)
    }

    /// Waits until so many requests have come to the handler to wait there.
    pub(crate) async fn until_waiting(&self, requests: usize) {
        soon(self.parrot.waiting.subscribe().wait_for(|waiting| *waiting >= requests))
            .await
            .unwrap();
    }

    /// Lets so many of them be answered.
    pub(crate) fn let_answer(&self, requests: usize) {
        self.parrot.may_answer.add_permits(requests);
    }

    /// Waits until so many connections are open.
    pub(crate) async fn until_open(&self, connections: usize) {
        soon(async {
            while self.connections.open() != connections {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        })
        .await;
    }
}

/// How a client connects.
#[derive(Clone)]
pub(crate) struct Client {
    trusted: Issued,
    address: Option<SocketAddr>,
    versions: &'static [&'static SupportedProtocolVersion],
    identity: Option<Issued>,
    source: Option<IpAddr>,
}

impl Client {
    pub(crate) fn trusting(certificate: &Issued) -> Self {
        Self {
            trusted: certificate.clone(),
            address: None,
            versions: rustls::DEFAULT_VERSIONS,
            identity: None,
            source: None,
        }
    }

    pub(crate) fn of(mut self, address: SocketAddr) -> Self {
        self.address = Some(address);
        self
    }

    pub(crate) fn speaking(mut self, versions: &'static [&'static SupportedProtocolVersion]) -> Self {
        self.versions = versions;
        self
    }

    /// Connects from this address.
    pub(crate) fn from(mut self, source: [u8; 4]) -> Self {
        self.source = Some(source.into());
        self
    }

    pub(crate) fn showing(mut self, identity: Issued) -> Self {
        self.identity = Some(identity);
        self
    }

    /// A TLS connection to do anything with.
    pub(crate) async fn try_stream(&self) -> std::io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(self.trusted.der()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(self.versions)
            .unwrap();
        let config = config.with_root_certificates(roots);
        let config = match &self.identity {
            None => config.with_no_client_auth(),
            Some(identity) => {
                let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).unwrap();
                config.with_client_auth_cert(vec![identity.der()], key).unwrap()
            }
        };
        let socket = TcpSocket::new_v4()?;
        if let Some(source) = self.source {
            socket.bind(SocketAddr::new(source, 0))?;
        }
        let stream = socket.connect(self.address.unwrap()).await?;
        TlsConnector::from(Arc::new(config))
            .connect(ServerName::try_from(NAME).unwrap(), stream)
            .await
    }

    pub(crate) async fn stream(&self) -> TlsStream<TcpStream> {
        soon(self.try_stream()).await.unwrap()
    }

    /// A connection that speaks HTTP/1.1.
    pub(crate) async fn connect(&self) -> Connection {
        let (requests, connection) = handshake(TokioIo::new(self.stream().await)).await.unwrap();
        // Ends with its connection.
        tokio::spawn(connection);
        Connection { requests }
    }

    /// Whether a connection can be made and used at all. With TLS 1.3 a client that shows no certificate learns that only
    /// when it reads.
    pub(crate) async fn is_served(&self) -> bool {
        let exchange = async {
            let (mut requests, connection) = handshake(TokioIo::new(self.try_stream().await.ok()?)).await.ok()?;
            tokio::spawn(connection);
            requests.send_request(post("/mutate", "{}")).await.ok()
        };
        soon(exchange).await.is_some()
    }
}

/// A keep-alive connection.
pub(crate) struct Connection {
    requests: SendRequest<Full<Bytes>>,
}

impl Connection {
    pub(crate) async fn post(&mut self, path: &str, body: impl Into<Bytes>) -> Answer {
        self.send(post(path, body)).await
    }

    pub(crate) async fn send(&mut self, request: Request<Full<Bytes>>) -> Answer {
        soon(self.requests.ready()).await.unwrap();
        let response = soon(self.requests.send_request(request)).await.unwrap();
        Answer::of(response).await
    }

    /// Waits until the server closes it.
    pub(crate) async fn until_closed(&mut self) {
        soon(async {
            while !self.requests.is_closed() {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        })
        .await;
    }
}

pub(crate) fn post(path: &str, body: impl Into<Bytes>) -> Request<Full<Bytes>> {
    let request = Request::post(path)
        .header("host", NAME)
        .header("content-type", "application/json");
    request.body(Full::new(body.into())).unwrap()
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) code: u16,
    pub(crate) headers: hyper::HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    async fn of(response: Response<hyper::body::Incoming>) -> Self {
        let (head, body) = response.into_parts();
        let body = soon(body.collect()).await.unwrap().to_bytes();
        Self {
            code: head.status.as_u16(),
            headers: head.headers,
            body,
        }
    }

    /// The `message` of a `metav1.Status` with this code and reason.
    pub(crate) fn status(&self, code: u16, reason: &str) -> String {
        assert_eq!(self.code, code, "{}", String::from_utf8_lossy(&self.body));
        assert_eq!(self.headers["content-type"], "application/json");
        let status: serde_json::Value = serde_json::from_slice(&self.body).unwrap();
        assert_eq!(status["kind"], "Status");
        assert_eq!(status["apiVersion"], "v1");
        assert_eq!(status["status"], "Failure");
        assert_eq!(status["code"], code);
        assert_eq!(status["reason"], reason);
        status["message"].as_str().unwrap().to_owned()
    }

    pub(crate) fn closes(&self) -> bool {
        self.headers.get("connection").is_some_and(|value| value == "close")
    }
}

/// Everything that comes until the other side closes, a reset included.
pub(crate) async fn read_to_end(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> String {
    let mut text = Vec::new();
    // How it was closed does not matter; what came before does.
    let _ = soon(stream.read_to_end(&mut text)).await;
    String::from_utf8_lossy(&text).into_owned()
}
