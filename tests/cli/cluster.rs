//! Which cluster a command talks to, what it learns there, and the errors of everything that can go wrong on the way.

use std::collections::VecDeque;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::Value;

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
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let credentials = Arc::new(Mutex::new(VecDeque::new()));
        let seen = Arc::clone(&credentials);
        std::thread::spawn(move || {
            for connection in listener.incoming().take(MOST_REQUESTS).flatten() {
                // A client that goes away is not a failure of the server.
                let _ = answer(&connection, answers, &seen);
            }
        });
        Self { address, credentials }
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

fn answer(connection: &TcpStream, answers: Answers, seen: &Mutex<VecDeque<String>>) -> std::io::Result<()> {
    let mut lines = BufReader::new(connection).lines();
    let request = lines.next().transpose()?.unwrap_or_default();
    let mut credentials = String::new();
    for line in lines {
        let line = line?;
        if line.is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(": ")
            && name.eq_ignore_ascii_case("authorization")
        {
            credentials = value.to_owned();
        }
    }
    seen.lock().unwrap().push_back(credentials);
    let (status, body) = answers(request.split(' ').nth(1).unwrap_or_default());
    write!(
        &mut &*connection,
        "HTTP/1.1 {status} status\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
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
        let mut command = command(arguments);
        command
            .current_dir(self.0.path())
            .env("HOME", self.0.path())
            .env_remove("KUBECONFIG")
            .env_remove("KUBERNETES_SERVICE_HOST")
            .envs(variables.iter().copied());
        finish(command, "")
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

    // Manifests are judged with the issuer of the cluster, too.
    fs::create_dir(home.path("roles")).unwrap();
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
        &["--kubeconfig garbage: not a kubeconfig"],
    );
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

#[test]
fn a_program_gives_the_credentials_of_all_requests() {
    let api = Api::start(cluster);
    let home = Home::new();
    let status = r#"{"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": {"token": "from-a-program"}}"#;
    let runs = home.path("runs");
    let program = home.program(
        "bin/plugin",
        &format!("echo run >> {}\necho '{status}'", runs.display()),
    );
    home.write(
        ".kube/config",
        &kubeconfig(&[("here", &api.url())], &exec(&program, "interactiveMode: Never")),
    );
    fs::create_dir(home.path("roles")).unwrap();
    let ran = home.run(&["audit", "--role-source", "files=roles"], &[]);
    assert!(ran.out.contains("jobs"), "{}{}", ran.out, ran.err);
    let credentials: Vec<String> = api.credentials.lock().unwrap().iter().cloned().collect();
    assert!(credentials.len() > 1, "{credentials:?}");
    assert!(
        credentials.iter().all(|sent| sent == "Bearer from-a-program"),
        "{credentials:?}"
    );
    // kube starts it for a token and for a client certificate when it creates a client, and not for each request.
    let times = fs::read_to_string(&runs).unwrap().lines().count();
    assert!((1..=3).contains(&times), "{times}");
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
    assert_error(
        &against(&api.url(), &check),
        &["403 Forbidden", "name it with --issuer"],
    );

    let api = Api::start(|_| (200, "<html>a proxy</html>".to_owned()));
    assert_error(
        &against(&api.url(), &check),
        &["expected JSON with `issuer`", "--issuer"],
    );
    assert_error(
        &against(&api.url(), &audit),
        &[
            "the answer is not one of a Kubernetes API server",
            "`server` of the kubeconfig",
        ],
    );

    // TLS with a server that has none.
    let url = api.url().replace("http:", "https:");
    assert_error(&against(&url, &audit), &["TLS with the API server failed"]);
}

#[test]
fn a_certificate_that_cannot_be_verified_is_not_accepted() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let signed = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(signed.signing_key.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![signed.cert.der().clone()], key)
        .unwrap();
    let config = Arc::new(config);
    std::thread::spawn(move || {
        for mut connection in listener.incoming().take(MOST_REQUESTS).flatten() {
            let mut tls = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
            // It fails: the client goes away.
            let _ = tls.complete_io(&mut connection);
        }
    });
    let home = Home::new();
    home.write(
        ".kube/config",
        &kubeconfig(&[("here", &format!("https://{address}"))], "{token: abc}"),
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
