//! Which certificate is served, and to whom.

use std::time::Duration;

use rolegate::certs::files::CertificateFiles;
use rolegate::certs::serving::{ClientCa, Serving, Verifier};

use crate::rig::{Authority, Client, roomy, self_signed, server, server_with, soon};

const OFTEN: Duration = Duration::from_millis(10);

/// Waits until a client's luck has changed.
async fn until_served(client: &Client, served: bool) {
    soon(async {
        while client.is_served().await != served {
            tokio::time::sleep(OFTEN).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_new_certificate_is_for_new_connections() {
    let server = server(roomy()).await;
    let mut before = server.client().connect().await;
    let renewed = self_signed();
    server.serving.swap(renewed.pair());

    assert!(
        !server.client().is_served().await,
        "the old certificate is not served any more"
    );
    assert!(Client::trusting(&renewed).of(server.address).is_served().await);
    assert_eq!(before.post("/mutate", "{}").await.code, 200, "what was open stays open");
}

#[tokio::test]
async fn files_are_read_again_and_a_wrong_pair_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let files = CertificateFiles {
        certificate: directory.path().join("tls.crt"),
        key: directory.path().join("tls.key"),
        client_ca: None,
    };
    let (first, second) = (self_signed(), self_signed());
    first.write(&files.certificate, &files.key);
    let serving = Serving::new();
    let reloaded = files.clone().load(serving.clone()).unwrap();
    let failures = reloaded.reload_failures();
    tokio::spawn(reloaded.run(OFTEN));
    let server = server_with(roomy(), serving, None).await;
    let client = |certificate| Client::trusting(certificate).of(server.address);
    assert!(client(&first).is_served().await);

    // The certificate of one and the key of the other: as between two writes, or by mistake.
    std::fs::write(&files.certificate, &second.certificate).unwrap();
    soon(async {
        while failures() == 0 {
            tokio::time::sleep(OFTEN).await;
        }
    })
    .await;
    assert!(client(&first).is_served().await, "the last good pair stays");
    tokio::time::sleep(OFTEN * 10).await;
    assert_eq!(failures(), 1, "reported once, not at each check");

    std::fs::write(&files.key, &second.key).unwrap();
    until_served(&client(&second), true).await;

    std::fs::remove_file(&files.key).unwrap();
    soon(async {
        while failures() < 2 {
            tokio::time::sleep(OFTEN).await;
        }
    })
    .await;
    assert!(client(&second).is_served().await);
}

#[tokio::test]
async fn a_start_with_a_wrong_pair_names_the_files() {
    let directory = tempfile::tempdir().unwrap();
    let files = CertificateFiles {
        certificate: directory.path().join("tls.crt"),
        key: directory.path().join("tls.key"),
        client_ca: None,
    };
    let error = files.clone().load(Serving::new()).unwrap_err().to_string();
    assert!(error.contains("cannot read") && error.contains("tls.crt"), "{error}");

    self_signed().write(&files.certificate, &files.key);
    std::fs::write(&files.key, self_signed().key).unwrap();
    let error = files.clone().load(Serving::new()).unwrap_err().to_string();
    assert!(
        error.contains("tls.key") && error.contains("does not belong"),
        "{error}"
    );

    std::fs::write(&files.key, "nothing").unwrap();
    let error = files.load(Serving::new()).unwrap_err().to_string();
    assert!(error.contains("tls.key") && error.contains("private key"), "{error}");
}

#[tokio::test]
async fn clients_must_be_signed_by_the_clients_ca() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let client_ca = ClientCa::new(Verifier::from_pem(ours.pem().as_bytes()).unwrap());
    let server = server_with(roomy(), Serving::new(), Some(client_ca.clone())).await;
    let (known, unknown) = (
        server.client().showing(ours.client()),
        server.client().showing(theirs.client()),
    );

    assert!(known.is_served().await);
    assert!(!unknown.is_served().await);
    assert!(!server.client().is_served().await, "a client must show something");

    client_ca.swap(Verifier::from_pem(theirs.pem().as_bytes()).unwrap());
    assert!(!known.is_served().await);
    assert!(unknown.is_served().await);
}
