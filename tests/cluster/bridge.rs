//! Until the program keeps its own certificates: one from a Secret, and the `caBundle` written from here. Does nothing once
//! the program knows `--tls-secret`, and goes then.

use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use rolegate::certs::issue::{Authority, SubjectName};
use serde_json::{Value, json};

use crate::kubectl::Kubectl;
use crate::release::{NAME, NAMESPACE};

fn help() -> &'static str {
    static HELP: OnceLock<String> = OnceLock::new();
    HELP.get_or_init(|| {
        let output = Command::new(env!("CARGO_BIN_EXE_rolegate"))
            .args(["serve", "--help"])
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    })
}

pub(crate) fn is_needed() -> bool {
    !help().contains("--tls-secret")
}

/// Whether the program knows a flag of the chart.
pub(crate) fn knows(arg: &str) -> bool {
    let flag = arg.split('=').next().unwrap_or_default();
    !flag.starts_with("--") || help().contains(flag)
}

/// The values that go with a Secret made here, and its CA.
pub(crate) fn secret(kubectl: &Kubectl) -> (Value, String) {
    let (now, day) = (SystemTime::now(), Duration::from_secs(86400));
    let ca = Authority::generate("test", now, day).unwrap();
    let name = SubjectName::parse(&format!("{NAME}.{NAMESPACE}.svc")).unwrap();
    let leaf = ca.issue(&[name], now, day).unwrap();
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "mine", "namespace": NAMESPACE},
        "stringData": {"tls.crt": leaf.certificate_pem(), "tls.key": leaf.key_pem(), "ca.crt": ca.certificate_pem()},
    });
    kubectl.apply(&secret.to_string()).ok();
    (
        json!({"certificates": {"mode": "secret", "secretName": "mine"}}),
        BASE64.encode(ca.certificate_pem()),
    )
}

pub(crate) fn write_bundle(kubectl: &Kubectl, ca: &str) {
    for kind in ["mutatingwebhookconfiguration", "validatingwebhookconfiguration"] {
        let said = kubectl.run(&["get", kind, NAME, "-o", "json"]);
        if !said.succeeded() {
            continue;
        }
        let entries = said.json()["webhooks"].as_array().map_or(0, Vec::len);
        let patch: Vec<_> = (0..entries)
            .map(|entry| json!({"op": "add", "path": format!("/webhooks/{entry}/clientConfig/caBundle"), "value": ca}))
            .collect();
        kubectl
            .run(&[
                "patch",
                kind,
                NAME,
                "--type=json",
                "-p",
                &Value::from(patch).to_string(),
            ])
            .ok();
    }
}
