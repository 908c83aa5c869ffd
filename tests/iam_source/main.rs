//! The role source `iam`: the real program and the real SDK against moto, with and without injected faults. Nothing here ever calls AWS:
//! the endpoint is a proxy on loopback, and the instance metadata is turned off.

// Without the feature there is no such source.
#![cfg(feature = "aws")]

mod apply;
mod audit;
mod check;
mod credentials;
mod editor;
#[allow(unreachable_pub, reason = "one test binary")]
#[allow(dead_code, reason = "the scenarios on a control plane need more of it")]
mod moto;
mod profiles;
#[path = "../webhook/program.rs"]
#[allow(dead_code, unreachable_pub, reason = "each test binary uses its part")]
mod program;
#[allow(unreachable_pub, reason = "one test binary")]
mod proxy;
mod serve;

use std::process::{Command, Stdio};

use serde_json::{Value, json};

use self::moto::{Credentials, Moto};
use self::program::ISSUER;
use self::proxy::Proxy;

/// The account of rolegate's own credentials.
const OWN: &str = "111122223333";

/// Another account.
const OTHER: &str = "444455556666";

/// AWS with two accounts, and the proxy in front of it.
struct Aws {
    moto: Moto,
    proxy: Proxy,
    own: Credentials,
    other: Credentials,
}

impl Aws {
    /// None, with a message on standard error, when moto is not available.
    fn start(what: &str) -> Option<Self> {
        let moto = moto::moto(what)?;
        let (own, other) = (moto.credentials(OWN), moto.credentials(OTHER));
        let proxy = Proxy::before(moto.address);
        let aws = Self {
            moto,
            proxy,
            own,
            other,
        };
        aws.create_provider(&aws.own, &["sts.amazonaws.com"]);
        Some(aws)
    }

    fn create_provider(&self, account: &Credentials, client_ids: &[&str]) {
        let url = format!("https://{ISSUER}");
        let names: Vec<_> = (1..=client_ids.len())
            .map(|n| format!("ClientIDList.member.{n}"))
            .collect();
        let mut parameters = vec![
            ("Url", url.as_str()),
            ("ThumbprintList.member.1", "9e99a48a9960b14926bb7f3b02e22da2b0ab7280"),
        ];
        parameters.extend(names.iter().map(String::as_str).zip(client_ids.iter().copied()));
        self.moto
            .call("iam", Some(account), "CreateOpenIDConnectProvider", &parameters);
    }

    fn delete_provider(&self) {
        let arn = format!("arn:aws:iam::{OWN}:oidc-provider/{ISSUER}");
        let parameters = [("OpenIDConnectProviderArn", arn.as_str())];
        self.moto
            .call("iam", Some(&self.own), "DeleteOpenIDConnectProvider", &parameters);
    }

    /// A role of rolegate's own account that trusts this ServiceAccount of namespace `jobs`; its ARN.
    fn create_role(&self, path: &str, name: &str, trusts: &str) -> String {
        self.create_role_in(OWN, path, name, trusts)
    }

    fn create_role_in(&self, account: &str, path: &str, name: &str, trusts: &str) -> String {
        let credentials = if account == OWN { &self.own } else { &self.other };
        let policy = trusting(account, trusts).to_string();
        self.moto.call(
            "iam",
            Some(credentials),
            "CreateRole",
            &[
                ("RoleName", name),
                ("Path", path),
                ("AssumeRolePolicyDocument", &policy),
            ],
        );
        format!("arn:aws:iam::{account}:role{path}{name}")
    }

    fn update_trust_policy(&self, name: &str, trusts: &str) {
        let policy = trusting(OWN, trusts).to_string();
        let parameters = [("RoleName", name), ("PolicyDocument", &policy)];
        self.moto
            .call("iam", Some(&self.own), "UpdateAssumeRolePolicy", &parameters);
    }

    fn delete_role(&self, name: &str) {
        self.moto
            .call("iam", Some(&self.own), "DeleteRole", &[("RoleName", name)]);
    }

    /// The program with this AWS for its only one.
    fn rolegate(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rolegate"));
        let inherited = std::env::vars_os().map(|(name, _)| name);
        for name in inherited.filter(|name| is_foreign(&name.to_string_lossy())) {
            command.env_remove(name);
        }
        command.envs(self.environment()).stdin(Stdio::null());
        command
    }

    /// What makes this AWS the only one of a program.
    fn environment(&self) -> [(&'static str, String); 8] {
        [
            ("AWS_ACCESS_KEY_ID", self.own.key.clone()),
            ("AWS_SECRET_ACCESS_KEY", self.own.secret.clone()),
            ("AWS_SESSION_TOKEN", self.own.token.clone()),
            ("AWS_ENDPOINT_URL", self.proxy.url()),
            ("AWS_REGION", "us-west-2".to_owned()),
            ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
            ("AWS_CONFIG_FILE", "/dev/null".to_owned()),
            ("AWS_SHARED_CREDENTIALS_FILE", "/dev/null".to_owned()),
        ]
    }

    /// `rolegate check` of ServiceAccount `jobs/loader`: exit code and report.
    fn check(&self, role: &str, more: &[&str]) -> (i32, Value) {
        finish_check(self.rolegate(), role, more)
    }
}

fn finish_check(mut command: Command, role: &str, more: &[&str]) -> (i32, Value) {
    let output = command
        .args([
            "check",
            "-o",
            "json",
            "--namespace",
            "jobs",
            "--service-account",
            "loader",
        ])
        .args(["--issuer", ISSUER, "--role-arn", role])
        .args(more)
        .output()
        .unwrap();
    let report = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("no report: {}", String::from_utf8_lossy(&output.stderr)));
    (output.status.code().unwrap(), report)
}

/// Variables that the program would inherit from the person who runs the tests.
fn is_foreign(name: &str) -> bool {
    name.starts_with("AWS_")
        || name.starts_with("ROLEGATE_")
        || name == "KUBERNETES_SERVICE_HOST"
        || name.to_ascii_lowercase().ends_with("_proxy")
}

/// A trust policy that trusts a ServiceAccount of namespace `jobs`.
fn trusting(account: &str, service_account: &str) -> Value {
    json!({"Version": "2012-10-17", "Statement": [{
        "Effect": "Allow",
        "Principal": {"Federated": format!("arn:aws:iam::{account}:oidc-provider/{ISSUER}")},
        "Action": "sts:AssumeRoleWithWebIdentity",
        "Condition": {"StringEquals": {
            format!("{ISSUER}:sub"): format!("system:serviceaccount:jobs:{service_account}"),
            format!("{ISSUER}:aud"): "sts.amazonaws.com",
        }},
    }]})
}
