//! Where the API server is authenticated (`--client-ca`), other clients learn nothing and cause nothing.

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use rustls::ClientConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::program::{Folder, Program};
use crate::reviews::{creation, job_pod};

/// Every path that serves reviews.
const ROUTES: [&str; 11] = [
    "/mutate",
    "/mutate/enforce",
    "/mutate/warn",
    "/mutate/audit",
    "/mutate/misspelt",
    "/validate/pods",
    "/validate/pods/enforce",
    "/validate/pods/warn",
    "/validate/pods/audit",
    "/validate/pods/misspelt",
    "/validate/workloads",
];

/// A CA that signs the certificates of clients.
struct ClientAuthority(CertifiedIssuer<'static, KeyPair>);

impl ClientAuthority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn client(&self, purpose: ExtendedKeyUsagePurpose) -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["kube-apiserver".to_owned()]).unwrap();
        params.extended_key_usages = vec![purpose];
        let certificate = params.signed_by(&key, &self.0).unwrap();
        let key = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap();
        (certificate.der().clone(), key)
    }
}

/// A client that shows this certificate, if any.
fn connector(folder: &Folder, shown: Option<(CertificateDer<'static>, PrivateKeyDer<'static>)>) -> TlsConnector {
    let mut roots = rustls::RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(folder.ca().as_bytes()).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    TlsConnector::from(Arc::new(match shown {
        Some((certificate, key)) => config.with_client_auth_cert(vec![certificate], key).unwrap(),
        None => config.with_no_client_auth(),
    }))
}

/// All that comes back for a review until the connection ends. With TLS 1.3, a client learns only after its handshake that it is rejected.
async fn answer(program: &Program, connector: &TlsConnector, route: &str, body: &str) -> Vec<u8> {
    let mut received = Vec::new();
    let stream = TcpStream::connect(program.reviews()).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let Ok(mut stream) = connector.connect(name, stream).await else {
        return received;
    };
    let request = format!(
        "POST {route} HTTP/1.1\r\nhost: rolegate\r\ncontent-type: application/json\r\nconnection: close\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    );
    let _rejected = stream.write_all(request.as_bytes()).await;
    let _rejected = stream.read_to_end(&mut received).await;
    received
}

#[tokio::test]
async fn a_client_that_is_not_the_api_server_learns_nothing_on_any_path() {
    let folder = Folder::new();
    let arn = folder.role("worker", &Folder::trusting("jobs", "worker"));
    folder.account("other", "worker", &[("eks.amazonaws.com/role-arn", &arn)]);
    let (ours, theirs) = (ClientAuthority::new(), ClientAuthority::new());
    folder.write("clients.crt", &ours.0.pem());
    let audit = folder.path().join("audit.log");
    let flags = [
        "--client-ca",
        &folder.path().join("clients.crt").display().to_string(),
        "--audit-log",
        &audit.display().to_string(),
        "--log-level",
        "debug",
    ];
    let program = Program::serve(&folder, &flags);
    let review = creation(&job_pod("other", "worker")).to_string();

    let strangers = [
        None,
        Some(theirs.client(ExtendedKeyUsagePurpose::ClientAuth)),
        Some(ours.client(ExtendedKeyUsagePurpose::ServerAuth)),
    ];
    for shown in strangers {
        let stranger = connector(&folder, shown);
        for route in ROUTES {
            let received = answer(&program, &stranger, route, &review).await;
            assert_eq!(String::from_utf8_lossy(&received), "", "{route}");
        }
    }
    // Neither the review nor its rejection is recorded: no request was read, so there is nothing to refuse or to write an Event about.
    let (_, metrics) = program.get("/metrics").await;
    let counted: f64 = metrics
        .lines()
        .filter(|line| line.starts_with("rolegate_decisions_total{"))
        .map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap())
        .sum();
    assert!(counted.abs() < 0.5, "{metrics}");
    assert_eq!(program.log_lines("arn:aws:iam"), [""; 0]);

    let api_server = connector(&folder, Some(ours.client(ExtendedKeyUsagePurpose::ClientAuth)));
    for route in ROUTES {
        let received = answer(&program, &api_server, route, &review).await;
        let text = String::from_utf8(received).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{route}: {text}"));
        let answered: Value = serde_json::from_str(body).unwrap();
        assert!(head.starts_with("HTTP/1.1 200 "), "{route}: {head}");
        assert_eq!(answered["kind"], "AdmissionReview", "{route}");
    }
}
