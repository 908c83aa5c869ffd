//! Which cluster a command talks to, what it learns there, and the errors of everything that can go wrong on the way.

use std::collections::VecDeque;
use std::fs;
use std::io::{self, BufRead as _, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};

use super::{ISSUER, ROLE, Ran, command, finish, policy};

/// More requests than any test makes.
const MOST_REQUESTS: usize = 50;

/// What the API server answers: status and body by path.
type Answers = fn(&str) -> (u16, String);

/// An API server on loopback.
struct Api {
    address: SocketAddr,
    /// The value of `Authorization` of each request.
    credentials: Arc<Mutex<VecDeque<String>>>,
}

impl Api {
    fn start(answers: Answers) -> Self {
        Self::with_connections(answers, |connection, answer| answer(connection, ""))
    }

    /// Over TLS. Also accepts a client certificate, which is recorded as `certificate`.
    fn start_tls(answers: Answers, tls: &Tls) -> Self {
        let config = Arc::clone(&tls.server);
        Self::with_connections(answers, move |connection, answer| {
            let session = ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut stream = StreamOwned::new(session, connection);
            // The certificate is known after the handshake.
            while stream.conn.is_handshaking() {
                stream.conn.complete_io(&mut stream.sock)?;
            }
            let certificate = stream.conn.peer_certificates().map_or("", |_| "certificate");
            answer(&mut stream, certificate)?;
            stream.conn.send_close_notify();
            stream.flush()
        })
    }

    fn with_connections(
        answers: Answers,
        serve: impl Fn(&mut TcpStream, &dyn Fn(&mut dyn ReadWrite, &str) -> io::Result<()>) -> io::Result<()>
        + Send
        + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let credentials = Arc::new(Mutex::new(VecDeque::new()));
        let seen = Arc::clone(&credentials);
        std::thread::spawn(move || {
            for mut connection in listener.incoming().take(MOST_REQUESTS).flatten() {
                // A client that goes away is not a failure of the server.
                let _ = serve(&mut connection, &|stream, certificate| {
                    answer(stream, answers, certificate, &seen)
                });
            }
        });
        Self { address, credentials }
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The credentials of all requests so far.
    fn seen(&self) -> Vec<String> {
        self.credentials.lock().unwrap().iter().cloned().collect()
    }
}

/// A connection, with or without TLS.
trait ReadWrite: Read + Write {}

impl<T: Read + Write> ReadWrite for T {}

fn answer(
    stream: &mut dyn ReadWrite,
    answers: Answers,
    certificate: &str,
    seen: &Mutex<VecDeque<String>>,
) -> io::Result<()> {
    let mut lines = BufReader::new(&mut *stream).lines();
    let request = lines.next().transpose()?.unwrap_or_default();
    let mut credentials = certificate.to_owned();
    for line in lines {
        let line = line?;
        if line.is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(": ")
            && name.eq_ignore_ascii_case("authorization")
        {
            credentials += value;
        }
    }
    seen.lock().unwrap().push_back(credentials);
    let (status, body) = answers(request.split(' ').nth(1).unwrap_or_default());
    write!(
        stream,
        "HTTP/1.1 {status} status\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
}

/// A name that only a proxy of the tests resolves.
const NAME: &str = "api.cluster.example.com";

/// The certificates of a cluster: one for its server and one for a client, each its own CA.
struct Tls {
    server: Arc<ServerConfig>,
    /// `certificate-authority-data`.
    ca: String,
    /// Certificate and key, PEM.
    client: (String, String),
}

impl Tls {
    fn new() -> Self {
        let signed = rcgen::generate_simple_self_signed(vec![NAME.to_owned(), "127.0.0.1".to_owned()]).unwrap();
        let client = rcgen::generate_simple_self_signed(vec!["client".to_owned()]).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut clients = RootCertStore::empty();
        clients.add(client.cert.der().clone()).unwrap();
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(clients), Arc::clone(&provider));
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(signed.signing_key.serialize_der()));
        let server = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier.allow_unauthenticated().build().unwrap())
            .with_single_cert(vec![signed.cert.der().clone()], key)
            .unwrap();
        Self {
            server: Arc::new(server),
            ca: STANDARD.encode(signed.cert.pem()),
            client: (client.cert.pem(), client.signing_key.serialize_pem()),
        }
    }
}

/// A proxy on loopback, HTTP (CONNECT) and SOCKS5, that connects everything to one address.
struct Proxy {
    address: SocketAddr,
    /// The host and port of each request, and its `Proxy-Authorization`.
    requests: Arc<Mutex<Vec<(String, String)>>>,
}

impl Proxy {
    fn start(to: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&requests);
        std::thread::spawn(move || {
            for connection in listener.incoming().take(MOST_REQUESTS).flatten() {
                let seen = Arc::clone(&seen);
                std::thread::spawn(move || drop(forward(connection, to, &seen)));
            }
        });
        Self { address, requests }
    }

    /// The hosts of the requests since the last call.
    fn hosts(&self) -> Vec<String> {
        let requests = std::mem::take(&mut *self.requests.lock().unwrap());
        requests.into_iter().map(|(host, _)| host).collect()
    }
}

fn forward(mut client: TcpStream, to: SocketAddr, seen: &Mutex<Vec<(String, String)>>) -> io::Result<()> {
    let mut first = [0];
    client.peek(&mut first)?;
    let (request, accepted): (_, &[u8]) = if first == [5] {
        (socks(&mut client)?, &[5, 0, 0, 1, 0, 0, 0, 0, 0, 0])
    } else {
        (connect(&mut client)?, b"HTTP/1.1 200 OK\r\n\r\n")
    };
    seen.lock().unwrap().push(request);
    let server = TcpStream::connect(to)?;
    client.write_all(accepted)?;
    let (mut from, mut into) = (client.try_clone()?, server.try_clone()?);
    let up = std::thread::spawn(move || {
        let _ = io::copy(&mut from, &mut into);
        into.shutdown(Shutdown::Write)
    });
    let (mut from, mut into) = (server, client);
    let _ = io::copy(&mut from, &mut into);
    let _ = into.shutdown(Shutdown::Both);
    up.join().unwrap()
}

/// A request of HTTP: host and port, and the credentials.
fn connect(client: &mut TcpStream) -> io::Result<(String, String)> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        client.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    let host = head.strip_prefix("CONNECT ").unwrap().split(' ').next().unwrap();
    let credentials = head.lines().find_map(|line| line.strip_prefix("Proxy-Authorization: "));
    Ok((host.to_owned(), credentials.unwrap_or_default().to_owned()))
}

/// A request of SOCKS5 without authentication, for a name (RFC 1928).
fn socks(client: &mut TcpStream) -> io::Result<(String, String)> {
    let mut greeting = [0; 2];
    client.read_exact(&mut greeting)?;
    client.read_exact(&mut vec![0; greeting[1].into()])?;
    client.write_all(&[5, 0])?;
    let mut head = [0; 5];
    client.read_exact(&mut head)?;
    assert_eq!(head[..4], [5, 1, 0, 3], "connect to a name");
    let mut name = vec![0; head[4].into()];
    client.read_exact(&mut name)?;
    let mut port = [0; 2];
    client.read_exact(&mut port)?;
    let name = String::from_utf8(name).unwrap();
    Ok((format!("{name}:{}", u16::from_be_bytes(port)), String::new()))
}

/// A cluster with one ServiceAccount.
fn cluster(path: &str) -> (u16, String) {
    if path.starts_with("/.well-known/openid-configuration") {
        return (200, format!(r#"{{"issuer": "https://{ISSUER}"}}"#));
    }
    let account = format!(
        r#"{{"metadata": {{"namespace": "jobs", "name": "default", "annotations": {{"eks.amazonaws.com/role-arn": "{ROLE}"}}}}}}"#
    );
    (
        200,
        format!(
            r#"{{"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadataList", "metadata": {{}}, "items": [{account}]}}"#
        ),
    )
}

/// The same, without a namespace `gone`.
fn without_gone(path: &str) -> (u16, String) {
    if path.contains("/namespaces/gone/") {
        let empty =
            r#"{"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadataList", "metadata": {}, "items": []}"#;
        return (200, empty.to_owned());
    }
    cluster(path)
}

/// A namespace with a typing error does not pass.
#[test]
fn a_namespace_that_the_cluster_does_not_have_is_an_error() {
    let api = Api::start(without_gone);
    let home = Home::new();
    home.write(".kube/config", &kubeconfig(&[("here", &api.url())], "{}"));
    let roles = format!(
        r#"{{"Role": {{"Arn": "{ROLE}", "AssumeRolePolicyDocument": {}}}}}"#,
        super::correct_policy()
    );
    home.write("roles/job.json", &roles);
    let missing = "error: namespace gone has no ServiceAccount, not even default";
    for (namespaces, reported) in [("gone", false), ("jobs,gone", true)] {
        let ran = home.run(&[&AUDIT[..], &["-n", namespaces]].concat(), &[]);
        assert_eq!(ran.code, 2, "{}{}", ran.out, ran.err);
        assert!(ran.err.contains(missing), "{}", ran.err);
        assert_eq!(ran.out.contains("jobs/default"), reported, "{}", ran.out);
    }
}

#[test]
fn a_namespace_that_is_named_twice_is_one() {
    let home = Home::new();
    let audit = |answers: Answers, namespaces: &str| {
        let api = Api::start(answers);
        home.write(".kube/config", &kubeconfig(&[("here", &api.url())], "{}"));
        home.write("roles/none.json", r#"{"Roles": []}"#);
        home.run(&[&AUDIT[..], &["-o", "json", "-n", namespaces]].concat(), &[])
    };
    let ran = audit(without_gone, "gone,gone");
    assert_eq!(
        (ran.code, ran.err.matches("namespace gone").count()),
        (2, 1),
        "{}",
        ran.err
    );
    let (once, twice) = (audit(with_deployment, "gone"), audit(with_deployment, "gone,gone"));
    assert_eq!((twice.out, twice.err), (once.out, once.err));
}

#[test]
fn without_a_namespace_of_the_cluster_every_format_has_an_empty_report() {
    for format in super::reports::formats() {
        let api = Api::start(without_gone);
        let home = Home::new();
        home.write(".kube/config", &kubeconfig(&[("here", &api.url())], "{}"));
        let ran = home.run(&[&AUDIT[..], &["-n", "gone", "-o", &format]].concat(), &[]);
        assert_eq!(ran.code, 2, "{}{}", ran.out, ran.err);
        assert!(ran.err.contains("error: namespace gone has"), "{}", ran.err);
        super::reports::assert_is_empty(&format, &ran.out);
    }
}

/// Namespace `gone` has a Deployment, and no ServiceAccount, not even `default`.
fn with_deployment(path: &str) -> (u16, String) {
    if path.contains("/namespaces/gone/deployments") {
        let deployment = json!({"metadata": {"namespace": "gone", "name": "api"},
            "spec": {"template": {"spec": {"containers": [{"name": "main"}]}}}});
        let list = json!({"apiVersion": "apps/v1", "kind": "DeploymentList", "metadata": {}, "items": [deployment]});
        return (200, list.to_string());
    }
    without_gone(path)
}

#[test]
fn a_workload_proves_that_its_namespace_exists() {
    let api = Api::start(with_deployment);
    let home = Home::new();
    home.write(".kube/config", &kubeconfig(&[("here", &api.url())], "{}"));
    home.write("roles/none.json", r#"{"Roles": []}"#);
    let ran = home.run(&[&AUDIT[..], &["-n", "gone"]].concat(), &[]);
    assert!(!ran.err.contains("namespace gone"), "{}", ran.err);
    // Its pods could not be created without the ServiceAccount.
    assert!(
        ran.code == 1 && ran.out.contains("gone/default (Deployment api)"),
        "{}{}",
        ran.out,
        ran.err
    );
}

/// It would be a call per association.
#[test]
fn a_namespace_with_a_typing_error_costs_no_call_of_aws() {
    let api = Api::start(without_gone);
    let home = Home::new();
    home.write(".kube/config", &kubeconfig(&[("here", &api.url())], "{}"));
    let audit = |namespace: &str| {
        let aws = TcpListener::bind("127.0.0.1:0").unwrap();
        aws.set_nonblocking(true).unwrap();
        let mut command = home.command(&[
            "audit",
            "--association-source",
            "eks",
            "--cluster-name",
            "prod",
            "-n",
            namespace,
        ]);
        command
            .env("AWS_ENDPOINT_URL", format!("http://{}", aws.local_addr().unwrap()))
            .env("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
            .env("AWS_SECRET_ACCESS_KEY", "example")
            .env("AWS_REGION", "us-west-2");
        // The connection is accepted and never answered.
        let mut child = command.stderr(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
        loop {
            if aws.accept().is_ok() {
                child.kill().unwrap();
                child.wait().unwrap();
                return true;
            }
            if let Some(status) = child.try_wait().unwrap() {
                assert_eq!(status.code(), Some(2));
                return aws.accept().is_ok();
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    };
    assert!(!audit("gone"));
    assert!(audit("jobs"));
}

fn status(code: u16, reason: &str, message: &str) -> (u16, String) {
    let body = format!(
        r#"{{"kind": "Status", "apiVersion": "v1", "metadata": {{}}, "status": "Failure", "message": "{message}", "reason": "{reason}", "code": {code}}}"#
    );
    (code, body)
}

/// A home directory of a test, with policies and kubeconfigs.
struct Home(tempfile::TempDir);

impl Home {
    fn new() -> Self {
        let home = Self(tempfile::tempdir().unwrap());
        home.write(
            "policy.json",
            &policy("StringEquals", "system:serviceaccount:jobs:default"),
        );
        home
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }

    /// A program that a kubeconfig can name.
    fn program(&self, name: &str, script: &str) -> PathBuf {
        let path = self.write(name, &format!("#!/bin/sh\n{script}\n"));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    /// `rolegate` with this home directory, outside of any pod.
    fn run(&self, arguments: &[&str], variables: &[(&str, &Path)]) -> Ran {
        let mut command = self.command(arguments);
        command.envs(variables.iter().copied());
        finish(command, "")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = command(arguments);
        command
            .current_dir(self.0.path())
            .env("HOME", self.0.path())
            .env_remove("KUBECONFIG")
            .env_remove("KUBERNETES_SERVICE_HOST");
        command
    }

    /// `check` of a policy that trusts `jobs/default` in the cluster of [`ISSUER`], without saying which cluster or namespace.
    fn check(&self, more: &[&str]) -> Ran {
        let arguments = [
            "check",
            "--policy",
            "policy.json",
            "--role-arn",
            ROLE,
            "--service-account",
            "default",
        ];
        self.run(&[&arguments[..], more].concat(), &[])
    }
}

/// A kubeconfig with a context per server, the first of them current, all in namespace `jobs`.
fn kubeconfig(servers: &[(&str, &str)], user: &str) -> String {
    let contexts = servers
        .iter()
        .map(|(name, _)| format!("- {{name: {name}, context: {{cluster: {name}, user: someone, namespace: jobs}}}}\n"));
    let clusters = servers
        .iter()
        .map(|(name, server)| format!("- {{name: {name}, cluster: {{server: \"{server}\"}}}}\n"));
    format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: {}\ncontexts:\n{}clusters:\n{}users:\n- name: someone\n  user: {user}\n",
        servers[0].0,
        contexts.collect::<String>(),
        clusters.collect::<String>(),
    )
}

fn exec(program: &Path, more: &str) -> String {
    format!(
        r#"{{exec: {{apiVersion: client.authentication.k8s.io/v1, command: "{}", {more}}}}}"#,
        program.display()
    )
}

/// One line per error, without what only a Rust programmer reads.
fn assert_plain(ran: &Ran) {
    assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{}", ran.err);
    assert!(ran.err.starts_with("error: "), "{}", ran.err);
    for internal in [
        "os error",
        "Error(",
        "Error:",
        "Output {",
        "ExitStatus",
        "Some(",
        "infer",
        "\\\"",
        "client error",
    ] {
        assert!(!ran.err.contains(internal), "{internal}: {}", ran.err);
    }
}

fn assert_error(ran: &Ran, words: &[&str]) {
    assert_plain(ran);
    for word in words {
        assert!(ran.err.contains(word), "{word}: {}", ran.err);
    }
}

#[test]
fn the_issuer_and_the_namespace_are_those_of_the_context() {
    let api = Api::start(cluster);
    let home = Home::new();
    home.write(".kube/config", &kubeconfig(&[("here", &api.url())], "{token: abc}"));
    let ran = home.check(&[]);
    assert_eq!(ran.code, 0, "{}{}", ran.out, ran.err);
    assert!(ran.out.contains("system:serviceaccount:jobs:default"), "{}", ran.out);
    assert_eq!(
        api.credentials.lock().unwrap().pop_front().as_deref(),
        Some("Bearer abc")
    );

    // Manifests are evaluated with the issuer of the cluster, too.
    home.write("roles/none.json", r#"{"Roles": []}"#);
    let account = format!(
        "apiVersion: v1\nkind: ServiceAccount\nmetadata:\n  name: default\n  namespace: jobs\n  annotations:\n    eks.amazonaws.com/role-arn: {ROLE}\n"
    );
    home.write("account.yaml", &account);
    let ran = home.run(
        &[
            "audit",
            "--file",
            "account.yaml",
            "--role-source",
            "files=roles",
            "-o",
            "json",
        ],
        &[],
    );
    let report: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(report["serviceAccounts"][0]["issuer"], ISSUER, "{}{}", ran.out, ran.err);

    // Flags win.
    assert_eq!(home.check(&["-n", "reports"]).code, 1);
    assert_eq!(home.check(&["--issuer", "https://other.example.com"]).code, 1);

    let ran = home.run(
        &[
            "trust-policy",
            "--account",
            "111122223333",
            "--service-account",
            "default",
        ],
        &[],
    );
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(
        ran.out
            .contains(&format!("\"{ISSUER}:sub\": \"system:serviceaccount:jobs:default\"")),
        "{}",
        ran.out
    );

    let manifest = home.write(
        "pod.yaml",
        "apiVersion: v1\nkind: Pod\nmetadata: {name: a, namespace: jobs}\nspec: {serviceAccountName: default, containers: [{name: a}]}\n",
    );
    let roles = format!(
        r#"{{"Role": {{"Arn": "{ROLE}", "AssumeRolePolicyDocument": {}}}}}"#,
        super::correct_policy()
    );
    home.write("roles/job.json", &roles);
    let manifest = manifest.to_str().unwrap();
    let ran = home.run(
        &[
            "inject",
            "-f",
            manifest,
            "--role-arn",
            ROLE,
            "--role-source",
            "files=roles",
        ],
        &[],
    );
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(ran.out.contains("AWS_ROLE_ARN"), "{}", ran.out);

    for namespaces in [&[][..], &["-A"], &["-n", "jobs"]] {
        let ran = home.run(&[&["audit", "--role-source", "files=roles"], namespaces].concat(), &[]);
        assert_eq!(ran.code, 0, "{}{}", ran.out, ran.err);
        assert!(ran.out.contains("jobs"), "{}", ran.out);
    }
    let ran = home.run(&["audit", "-A", "-n", "jobs"], &[]);
    assert_error(&ran, &["--all-namespaces", "--namespace"]);
}

#[test]
fn the_kubeconfig_and_the_context_are_chosen_as_for_kubectl() {
    let api = Api::start(cluster);
    let closed = format!(
        "http://{}",
        TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
    );
    let home = Home::new();
    home.write(".kube/config", &kubeconfig(&[("closed", &closed)], "{token: abc}"));
    let two = home.write(
        "two",
        &kubeconfig(&[("other", &closed), ("here", &api.url())], "{token: abc}"),
    );
    assert_eq!(home.check(&["--kubeconfig", "two", "--context", "here"]).code, 0);
    assert_error(
        &home.check(&["--kubeconfig", "two"]),
        &[&closed, "connection refused", "--issuer", "--context"],
    );
    assert_error(&home.check(&[]), &["connection refused"]);

    // The first file that sets something wins, and a file that does not exist is skipped.
    let first = home.write("first", "apiVersion: v1\nkind: Config\ncurrent-context: here\n");
    let list = std::env::join_paths([home.path("gone"), first.clone(), two]).unwrap();
    let arguments = [
        "check",
        "--policy",
        "policy.json",
        "--role-arn",
        ROLE,
        "--service-account",
        "default",
    ];
    let ran = home.run(&arguments, &[("KUBECONFIG", Path::new(&list))]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    let ran = home.run(&arguments, &[("KUBECONFIG", &first)]);
    assert_error(&ran, &["first", "here", "--kubeconfig"]);
    let ran = home.run(&arguments, &[("KUBECONFIG", &home.path("gone"))]);
    assert_error(&ran, &["--issuer and --namespace are not set", "KUBECONFIG", "gone"]);
}

#[test]
fn paths_in_a_kubeconfig_are_relative_to_it() {
    let api = Api::start(cluster);
    let home = Home::new();
    home.write("sub/token", "from-a-file");
    home.write("sub/config", &kubeconfig(&[("here", &api.url())], "{tokenFile: token}"));
    let ran = home.check(&["--kubeconfig", "sub/config"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert_eq!(
        api.credentials.lock().unwrap().pop_front().as_deref(),
        Some("Bearer from-a-file")
    );
    fs::remove_file(home.path("sub/token")).unwrap();
    let ran = home.check(&["--kubeconfig", "sub/config"]);
    assert!(ran.err.contains("token") && ran.code == 2, "{}", ran.err);
}

#[test]
fn a_kubeconfig_that_cannot_be_used_is_named_with_the_next_step() {
    let home = Home::new();
    assert_error(
        &home.check(&[]),
        &[
            "--issuer and --namespace are not set",
            "KUBECONFIG is not set",
            ".kube/config does not exist",
            "--kubeconfig FILE",
        ],
    );
    assert_error(&home.check(&["-n", "jobs"]), &["--issuer is not set", "set --issuer"]);
    assert_error(
        &home.check(&["--issuer", ISSUER]),
        &["--namespace is not set", "set --namespace"],
    );
    assert_error(
        &home.run(&["audit"], &[]),
        &[
            "no cluster to audit: KUBECONFIG is not set",
            "--kubeconfig FILE",
            "--file PATH",
        ],
    );
    assert_error(
        &home.check(&["--kubeconfig", "gone"]),
        &["--kubeconfig gone: no such file"],
    );
    assert_error(
        &home.check(&["--context", "here"]),
        &["--context here", ".kube/config does not exist"],
    );
    home.write("garbage", "contexts: {{{");
    assert_error(
        &home.check(&["--kubeconfig", "garbage"]),
        &["--kubeconfig garbage: not a kubeconfig: line 1 column "],
    );
    // The lines of the file around the mistake can have a token.
    let shown = home.check(&["--kubeconfig", "garbage"]).err;
    assert!(!shown.contains("-->") && !shown.contains("{{{"), "{shown}");
    assert_error(
        &home.check(&["--kubeconfig", "."]),
        &["--kubeconfig .: it is a directory"],
    );
    let names = kubeconfig(
        &[("staging", "http://127.0.0.1:9"), ("production", "http://127.0.0.1:9")],
        "{}",
    );
    home.write("two", &names);
    assert_error(
        &home.check(&["--kubeconfig", "two", "--context", "prod"]),
        &["--context prod: two has no such context", "staging, production"],
    );
    home.write(
        "none",
        &names.replace("current-context: staging", "current-context: \"\""),
    );
    assert_error(
        &home.check(&["--kubeconfig", "none"]),
        &["none has no current context", "--context: staging, production"],
    );
    home.write(
        "dangling",
        &names.replace("current-context: staging", "current-context: old"),
    );
    assert_error(
        &home.check(&["--kubeconfig", "dangling"]),
        &[
            "the current context old of dangling does not exist",
            "staging, production",
        ],
    );
    home.write("no-cluster", &names.replace("cluster: staging", "cluster: lost"));
    assert_error(
        &home.check(&["--kubeconfig", "no-cluster"]),
        &["no-cluster", "lost", "--context"],
    );
}

/// A home directory whose cluster is `server`, and whose credentials come from a program that counts its runs in `runs` and prints this
/// status.
fn home_with_program(server: &str, cluster: &str, status: &Value) -> Home {
    let home = Home::new();
    let credential =
        json!({"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": status});
    // RUN is the number of the run.
    let script = format!(
        "cat >> {stdin}\necho \"$KUBERNETES_EXEC_INFO\" >> {runs}\nsed \"s/RUN/$(($(wc -l < {runs})))/\" <<'END'\n{credential}\nEND",
        stdin = home.path("stdin").display(),
        runs = home.path("runs").display()
    );
    let program = home.program("bin/plugin", &script);
    let user = exec(&program, "interactiveMode: IfAvailable");
    let text =
        kubeconfig(&[("here", server)], &user).replace("cluster: {server:", &format!("cluster: {{{cluster} server:"));
    home.write(".kube/config", &text);
    home.write("roles/none.json", r#"{"Roles": []}"#);
    home
}

impl Home {
    /// What the program of [`home_with_program`] received in each of its runs.
    fn runs(&self) -> Vec<Value> {
        let runs = fs::read_to_string(self.path("runs")).unwrap();
        runs.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

const AUDIT: [&str; 3] = ["audit", "--role-source", "files=roles"];

#[test]
fn a_program_gives_the_credentials_of_all_requests_and_runs_once() {
    for status in [
        json!({"token": "from-a-program"}),
        json!({"token": "from-a-program", "expirationTimestamp": "2999-01-01T00:00:00Z"}),
    ] {
        let api = Api::start(cluster);
        let home = home_with_program(&api.url(), "", &status);
        let ran = home.run(&AUDIT, &[]);
        assert!(ran.out.contains("jobs"), "{}{}", ran.out, ran.err);
        let credentials = api.seen();
        assert!(credentials.len() > 1, "{credentials:?}");
        assert!(
            credentials.iter().all(|sent| sent == "Bearer from-a-program"),
            "{credentials:?}"
        );
        let info = json!({
            "apiVersion": "client.authentication.k8s.io/v1",
            "kind": "ExecCredential",
            // Standard input is a pipe.
            "spec": {"interactive": false},
        });
        assert_eq!(home.runs(), [info]);
    }
}

#[test]
fn a_token_that_expires_is_replaced() {
    let api = Api::start(cluster);
    let expired = json!({"token": "token-RUN", "expirationTimestamp": "2020-01-01T00:00:00Z"});
    let home = home_with_program(&api.url(), "", &expired);
    let ran = home.run(&AUDIT, &[]);
    assert!(ran.out.contains("jobs"), "{}{}", ran.out, ran.err);
    // The first run is that of the client; its token has expired when the first request is sent.
    let expected: Vec<String> = (0..api.seen().len())
        .map(|place| format!("Bearer token-{}", place + 2))
        .collect();
    assert_eq!(api.seen(), expected);
    assert_eq!(home.runs().len(), expected.len() + 1);
}

#[test]
fn a_program_gives_a_client_certificate_and_runs_once() {
    let tls = Tls::new();
    let api = Api::start_tls(cluster, &tls);
    let (certificate, key) = &tls.client;
    let status = json!({"clientCertificateData": certificate, "clientKeyData": key});
    let ca = format!("certificate-authority-data: {},", tls.ca);
    let home = home_with_program(&format!("https://{}", api.address), &ca, &status);
    let ran = home.run(&AUDIT, &[]);
    assert!(ran.out.contains("jobs"), "{}{}", ran.out, ran.err);
    let seen = api.seen();
    assert!(
        seen.len() > 1 && seen.iter().all(|sent| sent == "certificate"),
        "{seen:?}"
    );
    assert_eq!(home.runs().len(), 1);
}

#[test]
fn what_is_piped_to_a_command_is_not_for_the_program() {
    let api = Api::start(cluster);
    let home = home_with_program(&api.url(), "", &json!({"token": "from-a-program"}));
    let mut piped = command(&["audit", "--file", "-", "--role-source", "files=roles"]);
    piped
        .current_dir(home.0.path())
        .env("HOME", home.0.path())
        .env_remove("KUBECONFIG");
    let account = format!(
        "apiVersion: v1\nkind: ServiceAccount\nmetadata:\n  name: piped\n  annotations:\n    eks.amazonaws.com/role-arn: {ROLE}\n"
    );
    let ran = finish(piped, &account);
    assert!(ran.out.contains("piped"), "{}{}", ran.out, ran.err);
    assert_eq!(fs::read_to_string(home.path("stdin")).unwrap(), "");

    let asks = fs::read_to_string(home.path(".kube/config")).unwrap();
    home.write(".kube/config", &asks.replace("IfAvailable", "Always"));
    assert_error(
        &home.run(&AUDIT, &[]),
        &[
            "plugin\" of the kubeconfig cannot be started",
            "interactiveMode is Always",
            "not a terminal",
        ],
    );
    assert_eq!(home.runs().len(), 1);
}

#[test]
fn the_proxy_of_the_kubeconfig_is_used() {
    let tls = Tls::new();
    let api = Api::start_tls(cluster, &tls);
    let proxy = Proxy::start(api.address);
    let home = Home::new();
    let server = format!("https://{NAME}:6443");
    let through = |url: &str, variables: &[(&str, &Path)]| {
        let text = kubeconfig(&[("here", &server)], "{token: abc}");
        let more = format!(
            "cluster: {{certificate-authority-data: {}, proxy-url: \"{url}\", server:",
            tls.ca
        );
        home.write(".kube/config", &text.replace("cluster: {server:", &more));
        home.run(
            &["audit", "--issuer", ISSUER, "--role-source", "files=roles"],
            variables,
        )
    };
    home.write("roles/none.json", r#"{"Roles": []}"#);
    // NO_PROXY is not about it.
    let except = [
        ("NO_PROXY", Path::new("*")),
        ("HTTPS_PROXY", Path::new("http://127.0.0.1:9")),
    ];
    for (scheme, user) in [("http", ""), ("http", "someone:a%40b@"), ("socks5", "")] {
        let ran = through(&format!("{scheme}://{user}{}", proxy.address), &except);
        assert!(ran.out.contains("jobs"), "{scheme}: {}{}", ran.out, ran.err);
        let requests = std::mem::take(&mut *proxy.requests.lock().unwrap());
        assert!(!requests.is_empty());
        let credentials = if user.is_empty() {
            String::new()
        } else {
            format!("Basic {}", STANDARD.encode("someone:a@b"))
        };
        for request in requests {
            assert_eq!(request, (format!("{NAME}:6443"), credentials.clone()), "{scheme}");
        }
    }

    for (url, words) in [
        (
            "ftp://user:secret@127.0.0.1",
            &[
                "`proxy-url` of cluster here: the scheme ftp is not supported",
                "http, https and socks5",
            ][..],
        ),
        (
            "socks5://user:secret@127.0.0.1",
            &["`proxy-url` of cluster here", "not for socks5"],
        ),
        (
            "127.0.0.1:3128",
            &["`proxy-url` of cluster here: not a URL such as http://", "--context"],
        ),
        // Nothing listens there.
        (
            "http://127.0.0.1:9",
            &[
                "the proxy cannot be reached: connection refused",
                "check the proxy in `proxy-url`",
            ],
        ),
        (
            "socks5://127.0.0.1:9",
            &[
                "the proxy did not connect to the API server",
                "check the proxy in `proxy-url`",
            ],
        ),
    ] {
        let ran = through(url, &[]);
        assert_error(&ran, words);
        assert!(!ran.err.contains("secret"), "{}", ran.err);
    }
    let refusing = Api::start(|_| (407, String::new()));
    let ran = through(&refusing.url(), &[]);
    assert_error(
        &ran,
        &["the proxy did not connect to the API server: proxy authorization required"],
    );
}

#[test]
fn the_proxy_of_the_environment_is_used_unless_the_cluster_is_an_exception() {
    let tls = Tls::new();
    let api = Api::start_tls(cluster, &tls);
    let proxy = Proxy::start(api.address);
    let home = Home::new();
    home.write("roles/none.json", r#"{"Roles": []}"#);
    let url = format!("http://{}", proxy.address);
    let audit = |server: &str, except: &str| {
        let text = kubeconfig(&[("here", server)], "{token: abc}");
        let more = format!("cluster: {{certificate-authority-data: {}, server:", tls.ca);
        home.write(".kube/config", &text.replace("cluster: {server:", &more));
        let variables = [("HTTPS_PROXY", Path::new(&url)), ("NO_PROXY", Path::new(except))];
        home.run(
            &["audit", "--issuer", ISSUER, "--role-source", "files=roles"],
            &variables,
        )
    };
    // Elements that are empty are common, and mean nothing.
    let named = format!("https://{NAME}:6443");
    let ran = audit(&named, "other.example.com,,127.0.0.1,");
    assert!(ran.out.contains("jobs"), "{}{}", ran.out, ran.err);
    let hosts = proxy.hosts();
    assert!(
        hosts.len() > 1 && hosts.iter().all(|host| *host == format!("{NAME}:6443")),
        "{hosts:?}"
    );

    // Without the proxy, the name does not exist.
    let ran = audit(&named, ".cluster.example.com");
    assert_error(&ran, &["the API server cannot be reached"]);
    // A loopback address is not for a proxy.
    let ran = audit(&format!("https://{}", api.address), "");
    assert!(ran.out.contains("jobs"), "{}{}", ran.out, ran.err);
    assert_eq!(proxy.hosts(), Vec::<String>::new());
}

#[test]
fn a_program_that_gives_no_credentials_is_named_with_what_it_printed() {
    let home = Home::new();
    let server = "http://127.0.0.1:9";
    let run = |program: &Path, more: &str| {
        home.write(".kube/config", &kubeconfig(&[("here", server)], &exec(program, more)));
        home.check(&[])
    };
    let hint = r#"interactiveMode: Never, installHint: "Install it:\n  brew install example-login\n""#;
    let ran = run(Path::new("example-login"), hint);
    assert_error(
        &ran,
        &[
            "exec plugin \"example-login\" of the kubeconfig is not in PATH",
            "\nInstall it:\n  brew install example-login",
        ],
    );
    let ran = run(&home.path("bin/gone"), "interactiveMode: Never");
    assert_error(&ran, &["bin/gone\" of the kubeconfig does not exist", "--context"]);
    let locked = home.write("locked", "#!/bin/sh\n");
    assert_error(
        &run(&locked, "interactiveMode: Never"),
        &["locked\" of the kubeconfig cannot be started", "ermission denied"],
    );

    let script =
        "echo 'Unable to locate credentials.' >&2\necho 'You can configure them with \"login\".' >&2\nexit 253";
    let failing = home.program("failing", script);
    let ran = run(&failing, "interactiveMode: Never");
    assert_error(
        &ran,
        &[
            "failed (exit code 253):\nUnable to locate credentials.\nYou can configure them with \"login\".\n",
            "--issuer is not set",
        ],
    );
    // A program that can ask the user writes to the terminal itself.
    let ran = run(&failing, "interactiveMode: IfAvailable, args: [get-token, \"a b\"]");
    assert_eq!(ran.code, 2);
    assert!(
        ran.err
            .starts_with("Unable to locate credentials.\nYou can configure them with \"login\".\nerror: "),
        "{}",
        ran.err
    );
    assert!(ran.err.contains("failing get-token 'a b'"), "{}", ran.err);

    let silent = home.program("silent", "echo hello");
    assert_error(
        &run(&silent, "interactiveMode: Never"),
        &["silent\" of the kubeconfig did not print an ExecCredential", "run"],
    );
}

#[test]
fn answers_of_the_api_server_that_are_errors_say_what_to_do() {
    let home = Home::new();
    let against = |url: &str, arguments: &[&str]| {
        home.write(".kube/config", &kubeconfig(&[("here", url)], "{token: abc}"));
        home.run(arguments, &[])
    };
    let check = [
        "check",
        "--policy",
        "policy.json",
        "--role-arn",
        ROLE,
        "--service-account",
        "default",
    ];
    let audit = ["audit", "--issuer", ISSUER];

    let api = Api::start(|_| status(401, "Unauthorized", "Unauthorized"));
    assert_error(
        &against(&api.url(), &check),
        &[
            "401 Unauthorized",
            "--issuer",
            "log in to the cluster again",
            "--context",
        ],
    );
    assert_error(
        &against(&api.url(), &audit),
        &["cannot list ServiceAccounts: 401", "log in to the cluster again"],
    );

    let api = Api::start(|_| {
        status(
            403,
            "Forbidden",
            "serviceaccounts is forbidden: User dev cannot list resource serviceaccounts",
        )
    });
    assert_error(
        &against(&api.url(), &audit),
        &["403 Forbidden", "User dev", "this needs `list` on serviceaccounts"],
    );
    assert_error(&against(&api.url(), &check), &["403 Forbidden", "set it with --issuer"]);

    let api = Api::start(|_| (200, "<html>a proxy</html>".to_owned()));
    assert_error(
        &against(&api.url(), &check),
        &["expected JSON with `issuer`", "--issuer"],
    );
    assert_error(
        &against(&api.url(), &audit),
        &[
            "the response is not from a Kubernetes API server",
            "`server` of the kubeconfig",
        ],
    );

    // TLS with a server that has none.
    let url = api.url().replace("http:", "https:");
    assert_error(&against(&url, &audit), &["TLS with the API server failed"]);
}

#[test]
fn a_certificate_that_cannot_be_verified_is_not_accepted() {
    let api = Api::start_tls(cluster, &Tls::new());
    let home = Home::new();
    home.write(
        ".kube/config",
        &kubeconfig(&[("here", &format!("https://{}", api.address))], "{token: abc}"),
    );
    let ran = home.run(&["audit", "--issuer", ISSUER], &[]);
    assert_error(
        &ran,
        &[
            "the certificate of the API server cannot be verified",
            "certificate-authority-data",
        ],
    );
}

/// Takes as long as the timeout of connecting, two seconds.
#[test]
fn an_api_server_that_accepts_connections_and_does_not_answer_is_reported() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap();
    let home = Home::new();
    home.write(
        ".kube/config",
        &kubeconfig(&[("here", &format!("https://{address}"))], "{token: abc}"),
    );
    // It is asked for the ServiceAccounts, and then for nothing else.
    let ran = home.run(&["audit", "--issuer", ISSUER], &[]);
    assert_error(
        &ran,
        &[
            "cannot list ServiceAccounts: the API server cannot be reached: it does not respond",
            "check that the cluster runs and can be reached from here",
            "--context",
        ],
    );
    assert_error(
        &home.check(&[]),
        &[
            "the API server cannot be reached: it does not respond",
            "set it with --issuer",
        ],
    );
    // It could not list the ServiceAccounts with an issuer, either.
    let ran = home.run(&["audit"], &[]);
    assert_error(&ran, &["cannot list ServiceAccounts: ", "it does not respond"]);
    assert!(!ran.err.contains("--issuer"), "{}", ran.err);
}

#[test]
fn a_cluster_is_not_named_where_none_is_used() {
    let home = Home::new();
    home.write("accounts/.keep", "");
    let standalone = ["--standalone", "accounts", "--issuer", ISSUER];
    for command in ["serve", "audit"] {
        for flag in ["--context", "--kubeconfig"] {
            let ran = home.run(&[&[command, flag, "x"], &standalone[..]].concat(), &[]);
            assert_error(
                &ran,
                &[
                    flag,
                    "--standalone",
                    "remove one of the two",
                    &format!("Usage: rolegate {command}"),
                ],
            );
        }
    }
    // A variable may be set for other commands.
    let set = [("ROLEGATE_CONTEXT", Path::new("x"))];
    let ran = home.run(&[&["audit"], &standalone[..]].concat(), &set);
    assert!(
        ran.err.contains("nothing to audit") && !ran.err.contains("--context"),
        "{}",
        ran.err
    );
    // It says what to use if that is in a variable, too.
    let both = [set[0], ("ROLEGATE_STANDALONE", Path::new("accounts"))];
    let ran = home.run(&["audit", "--issuer", ISSUER], &both);
    assert_error(&ran, &["--context", "--standalone"]);
    // Roles can be in a cluster where ServiceAccounts are not.
    let ran = home.run(
        &[&["audit", "--role-source", "ack", "--context", "x"], &standalone[..]].concat(),
        &[],
    );
    assert!(!ran.err.contains("remove one of the two"), "{}", ran.err);
}

#[test]
fn serve_names_the_cluster_that_it_cannot_use() {
    let home = Home::new();
    let ran = home.run(&["serve", "--kubeconfig", "gone"], &[]);
    assert_eq!(ran.code, 2);
    assert!(
        ran.err.contains("cannot start: --kubeconfig gone: no such file"),
        "{}",
        ran.err
    );
    home.write(
        "two",
        &kubeconfig(
            &[("staging", "http://127.0.0.1:9"), ("production", "http://127.0.0.1:9")],
            "{}",
        ),
    );
    let ran = home.run(&["serve", "--kubeconfig", "two", "--context", "prod"], &[]);
    assert!(ran.code == 2 && ran.err.contains("staging, production"), "{}", ran.err);
    let ran = home.run(&["serve"], &[]);
    assert!(ran.code == 2 && ran.err.contains("no cluster to serve"), "{}", ran.err);
}

/// The client of the API server would wait for the writer of a FIFO, and read a device without end.
#[test]
fn files_that_a_kubeconfig_names_are_regular_and_bounded() {
    let home = Home::new();
    let made = std::process::Command::new("mkfifo").arg(home.path("fifo")).status();
    assert!(made.unwrap().success());
    home.write("certificate", "certificate");
    let server = [("here", "https://127.0.0.1:9")];
    for (file, expected) in [
        ("fifo", "it is a FIFO, not a regular file"),
        ("/dev/zero", "it is a device, not a regular file"),
        ("gone", "no such file"),
    ] {
        for (user, field) in [
            (
                format!("{{client-certificate: {file}, client-key: certificate}}"),
                "client-certificate",
            ),
            (
                format!("{{client-certificate: certificate, client-key: {file}}}"),
                "client-key",
            ),
            (format!("{{tokenFile: {file}}}"), "tokenFile"),
        ] {
            home.write("config", &kubeconfig(&server, &user));
            let ran = home.check(&["--kubeconfig", "config"]);
            assert_plain(&ran);
            let named = format!("config: user someone: {field} {file}: {expected}");
            assert!(ran.err.contains(&named), "{}", ran.err);
        }
        let cluster = kubeconfig(&server, "{}").replace(
            "cluster: {server",
            &format!("cluster: {{certificate-authority: {file}, server"),
        );
        home.write("config", &cluster);
        let ran = home.run(&["serve", "--kubeconfig", "config"], &[]);
        let named = format!("config: cluster here: certificate-authority {file}: {expected}");
        assert!(ran.code == 2 && ran.err.contains(&named), "{}", ran.err);
    }
}
