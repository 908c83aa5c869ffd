//! Certificates of one's own, from a Secret (`certificates.mode: secret`).

use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use rolegate::certs::issue::{Authority, SubjectName};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::{Value, json};

use crate::cluster::{ExclusiveCluster, Gate};
use crate::release::{NAME, NAMESPACE, Release};
use crate::scenarios::Scenarios;
use crate::traffic::Traffic;
use crate::wait::until;

const DAY: Duration = Duration::from_secs(86_400);

pub(crate) fn register(scenarios: &mut Scenarios) {
    scenarios.serial(a_provided_certificate_and_its_ca_are_replaced_under_traffic_without_a_restart);
}

/// As docs say: first both CAs, then the new certificate, then the new CA alone.
fn a_provided_certificate_and_its_ca_are_replaced_under_traffic_without_a_restart(cluster: &ExclusiveCluster<'_>) {
    let (old, new) = (authority("old"), authority("new"));
    cluster.kubectl(&["create", "namespace", NAMESPACE]);
    put_secret(cluster, &old, DAY, &[&old]);
    let release = cluster.install(json!({"certificates": {"mode": "secret", "secretName": "mine"}}));
    cluster.wait_until_called(&release);
    assert_bundles(cluster, &[&old]);
    let namespace = cluster.namespace("own-certificate", Gate::Enforce);
    let role = namespace.trusted_role(&release, "worker", "default");
    namespace.annotate("default", &role);
    let replicas = release.replicas();

    let traffic = Traffic::start(cluster, &namespace, &role, 2);
    traffic.go_on(10);
    put_secret(cluster, &old, DAY, &[&old, &new]);
    until_bundles(cluster, &[&old, &new]);
    traffic.go_on(10);
    let before = ends(&release);
    put_secret(cluster, &new, 2 * DAY, &[&old, &new]);
    until("the new certificate on each replica", || {
        let now = ends(&release);
        now.iter().zip(&before).all(|(now, before)| now > before).then_some(())
    });
    traffic.go_on(10);
    let tally = traffic.stop();
    // What is pooled was opened under the old certificate; every connection from here on meets the new one.
    release.backend.drop_connections();
    // A call on a connection that is being dropped fails, as it should.
    cluster.wait_until_called(&release);
    let traffic = Traffic::start(cluster, &namespace, &role, 2);
    traffic.go_on(10);
    // What is not listed any more is taken out later, when no replica can still serve it: it does no harm.
    put_secret(cluster, &new, 2 * DAY, &[&new]);
    traffic.go_on(10);
    traffic.stop().assert_all_injected();
    tally.assert_all_injected();
    release.backend.drop_connections();
    cluster.wait_until_called(&release);
    for replica in replicas {
        assert!(replica.is_running());
    }
}

fn authority(name: &str) -> Authority {
    Authority::generate(name, SystemTime::now(), 10 * DAY).unwrap()
}

/// A certificate of this CA, together with these CAs.
fn put_secret(cluster: &ExclusiveCluster<'_>, signer: &Authority, life: Duration, cas: &[&Authority]) {
    let name = SubjectName::parse(&format!("{NAME}.{NAMESPACE}.svc")).unwrap();
    let leaf = signer.issue(&[name], SystemTime::now(), life).unwrap();
    let bundle: String = cas.iter().map(|ca| ca.certificate_pem()).collect();
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "mine", "namespace": NAMESPACE},
        "stringData": {"tls.crt": leaf.certificate_pem(), "tls.key": leaf.key_pem(), "ca.crt": bundle},
    });
    cluster.apply(&secret.to_string()).ok();
}

/// When the certificate of each replica ends.
fn ends(release: &Release) -> Vec<f64> {
    let end = r#"kind="serving""#;
    let replicas = release.replicas();
    replicas
        .iter()
        .map(|replica| replica.metric("rolegate_certificate_expiry_timestamp_seconds", &[end]))
        .collect()
}

#[track_caller]
fn assert_bundles(cluster: &ExclusiveCluster<'_>, cas: &[&Authority]) {
    let expected = certificates(&cas.iter().map(|ca| ca.certificate_pem()).collect::<String>());
    for bundle in bundles(cluster) {
        assert_eq!(bundle, expected);
    }
}

#[track_caller]
fn until_bundles(cluster: &ExclusiveCluster<'_>, cas: &[&Authority]) {
    let expected = certificates(&cas.iter().map(|ca| ca.certificate_pem()).collect::<String>());
    until("the bundle of every entry", || {
        bundles(cluster).iter().all(|bundle| *bundle == expected).then_some(())
    });
}

/// The CAs in each entry of both configurations.
fn bundles(cluster: &ExclusiveCluster<'_>) -> Vec<Vec<Vec<u8>>> {
    let kinds = ["mutatingwebhookconfiguration", "validatingwebhookconfiguration"];
    let configurations = kinds.map(|kind| cluster.json(&["get", kind, NAME]));
    let entries = configurations
        .iter()
        .flat_map(|configuration| configuration["webhooks"].as_array().unwrap());
    let read = |entry: &Value| {
        let bundle = entry["clientConfig"]["caBundle"].as_str().unwrap_or_default();
        certificates(&String::from_utf8(BASE64.decode(bundle).unwrap()).unwrap())
    };
    entries.map(read).collect()
}

fn certificates(pem: &str) -> Vec<Vec<u8>> {
    let mut certificates: Vec<_> = CertificateDer::pem_slice_iter(pem.as_bytes())
        .map(|certificate| certificate.unwrap().to_vec())
        .collect();
    certificates.sort();
    certificates
}
