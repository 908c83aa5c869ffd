//! etcd, kube-apiserver and kube-controller-manager on loopback, in a folder of their own.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread::sleep;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, KeyUsagePurpose};
use serde_json::{Value, json};
use tokio::runtime::Handle;

use crate::process::{Process, RunGuard, Signal};
use crate::support::tools::Programs;
use crate::wait::{until, until_ok};

/// Who signs the tokens of ServiceAccounts, as on EKS.
pub(crate) const ISSUER: &str = "https://oidc.eks.us-west-2.amazonaws.com/id/EXAMPLED539D4633E53DE1B71EXAMPLE";

/// How long an API server may take for its answers after SIGTERM.
const GRACE: Duration = Duration::from_secs(1);

const AUDIT_POLICY: &str = r#"{"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"],
    "rules": [{"level": "Metadata"}]}"#;

/// The control plane as it runs.
#[derive(Debug)]
pub(crate) struct ControlPlane {
    run: Arc<RunGuard>,
    programs: Programs,
    files: Files,
    pub(crate) api: SocketAddr,
    etcd_address: SocketAddr,
    /// Bearer token of `system:masters`.
    admin_token: String,
    etcd: Mutex<Option<Process>>,
    api_server: Mutex<Option<Process>>,
    controller_manager: Mutex<Option<Process>>,
}

#[derive(Debug)]
struct Files {
    folder: PathBuf,
    ca: String,
}

impl Files {
    fn path(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }
}

impl ControlPlane {
    /// Starts all three; returns when the API server is ready and the controllers work.
    pub(crate) fn start(run: &Arc<RunGuard>, programs: Programs, egress_socket: &Path) -> Self {
        let folder = run.folder().join("control-plane");
        fs::create_dir(&folder).unwrap();
        let (admin_token, controller_token) = (random_token(), random_token());
        let files = write_files(folder, egress_socket, &admin_token, &controller_token);
        let control_plane = Self {
            run: Arc::clone(run),
            programs,
            files,
            api: free_address(),
            etcd_address: free_address(),
            admin_token,
            etcd: Mutex::new(None),
            api_server: Mutex::new(None),
            controller_manager: Mutex::new(None),
        };
        control_plane.write_kubeconfig("admin.kubeconfig", control_plane.api, &control_plane.admin_token);
        control_plane.write_kubeconfig("controllers.kubeconfig", control_plane.api, &controller_token);
        control_plane.start_etcd();
        control_plane.start_api_server();
        // The controllers give up when the API server is not there within 10 s, which a slow machine may take.
        control_plane.wait_for_api_server();
        control_plane.start_controller_manager();
        control_plane.wait_ready();
        control_plane
    }

    /// The administrator's.
    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.files.folder.join("admin.kubeconfig")
    }

    /// A client of the administrator.
    pub(crate) fn client(&self, runtime: &Handle) -> Client {
        let kubeconfig = Kubeconfig::read_from(self.kubeconfig()).unwrap();
        runtime.block_on(async {
            let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
                .await
                .unwrap();
            // The test must see creations that fail.
            config.default_retry = false;
            Client::try_from(config).unwrap()
        })
    }

    /// A kubeconfig for a user with a bearer token that is read from a file.
    pub(crate) fn kubeconfig_of(&self, server: SocketAddr, token_file: &Path, namespace: &str) -> String {
        kubeconfig(&self.files.ca, server, &json!({"tokenFile": token_file}), namespace).to_string()
    }

    fn write_kubeconfig(&self, name: &str, server: SocketAddr, token: &str) {
        let content = kubeconfig(&self.files.ca, server, &json!({"token": token}), "default");
        fs::write(self.files.folder.join(name), content.to_string()).unwrap();
    }

    /// Ends the API server and starts it again where it was.
    pub(crate) fn restart_api_server(&self) {
        self.stop_api_server(Signal::Terminate);
        self.start_api_server();
        self.wait_ready();
    }

    /// Ends the API server; etcd and the controllers go on. It waits a minute for its watches, unless it gets a second signal.
    pub(crate) fn stop_api_server(&self, signal: Signal) {
        let Some(process) = self.api_server.lock().unwrap().take() else {
            return;
        };
        process.signal(signal);
        sleep(GRACE);
        process.signal(signal);
        process.wait();
    }

    pub(crate) fn start_api_server(&self) {
        let files = &self.files;
        let mut command = self.run.command(&self.programs.api_server);
        command
            .arg(format!("--etcd-servers=http://{}", self.etcd_address))
            .arg(format!("--secure-port={}", self.api.port()))
            .args(["--bind-address=127.0.0.1", "--advertise-address=127.0.0.1"])
            .arg("--endpoint-reconciler-type=none")
            .arg(format!("--cert-dir={}", files.path("certificates")))
            .arg(format!("--tls-cert-file={}", files.path("server.crt")))
            .arg(format!("--tls-private-key-file={}", files.path("server.key")))
            .arg(format!("--token-auth-file={}", files.path("tokens.csv")))
            .arg("--authorization-mode=RBAC")
            .arg("--service-cluster-ip-range=10.96.0.0/16")
            .arg(format!("--service-account-issuer={ISSUER}"))
            .arg(format!(
                "--service-account-key-file={}",
                files.path("service-accounts.pub")
            ))
            .arg(format!(
                "--service-account-signing-key-file={}",
                files.path("service-accounts.key")
            ))
            .arg("--api-audiences=https://kubernetes.default.svc")
            .arg(format!("--egress-selector-config-file={}", files.path("egress.json")))
            .arg(format!("--audit-policy-file={}", files.path("audit-policy.json")))
            .arg(format!("--audit-log-path={}", files.path("audit.log")))
            // In MB: events are counted from the first to the last, so the file is never rotated.
            .arg("--audit-log-maxsize=10000")
            .arg("--shutdown-delay-duration=0s");
        let process = self.run.start_process("kube-apiserver", command);
        *self.api_server.lock().unwrap() = Some(process);
    }

    fn start_etcd(&self) {
        let (client, peer) = (
            format!("http://{}", self.etcd_address),
            format!("http://{}", free_address()),
        );
        let mut command = self.run.command(&self.programs.etcd);
        command
            .arg(format!("--data-dir={}", self.files.path("etcd")))
            .arg(format!("--listen-client-urls={client}"))
            .arg(format!("--advertise-client-urls={client}"))
            .arg(format!("--listen-peer-urls={peer}"))
            .arg(format!("--initial-advertise-peer-urls={peer}"))
            .arg(format!("--initial-cluster=default={peer}"))
            .arg("--unsafe-no-fsync");
        *self.etcd.lock().unwrap() = Some(self.run.start_process("etcd", command));
    }

    fn start_controller_manager(&self) {
        let files = &self.files;
        let mut command = self.run.command(&self.programs.controller_manager);
        command
            .arg(format!("--kubeconfig={}", files.path("controllers.kubeconfig")))
            .args(["--leader-elect=false", "--secure-port=0"])
            .arg("--use-service-account-credentials")
            .arg(format!(
                "--service-account-private-key-file={}",
                files.path("service-accounts.key")
            ))
            .arg(format!("--root-ca-file={}", files.path("ca.crt")));
        let process = self.run.start_process("kube-controller-manager", command);
        *self.controller_manager.lock().unwrap() = Some(process);
    }

    /// Waits until the API server is ready and a controller has made the first ServiceAccount.
    #[track_caller]
    pub(crate) fn wait_ready(&self) {
        self.wait_for_api_server();
        until_ok("the first ServiceAccount", || {
            self.assert_running();
            self.kubectl(&["get", "serviceaccount", "default"])
        });
    }

    #[track_caller]
    fn wait_for_api_server(&self) {
        until_ok("a ready API server", || {
            self.assert_running();
            self.kubectl(&["get", "--raw", "/readyz"])
        });
    }

    fn kubectl(&self, args: &[&str]) -> Result<(), String> {
        let mut command = self.run.command(&self.programs.kubectl);
        command.env("KUBECONFIG", self.kubeconfig()).args(args);
        let output = command.output().unwrap();
        if output.status.success() {
            return Ok(());
        }
        Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
    }

    #[track_caller]
    fn assert_running(&self) {
        for part in [&self.etcd, &self.api_server, &self.controller_manager] {
            if let Some(process) = part.lock().unwrap().as_ref()
                && let Some(status) = process.exit_status()
            {
                let log = process.log();
                let first = log.lines().count().saturating_sub(10);
                let last: Vec<_> = log.lines().skip(first).collect();
                panic!("{} has ended ({status}):\n{}", process.name, last.join("\n"));
            }
        }
    }

    /// Forgets etcd's history: a client that resumes an older watch gets 410. The API server serves watches from its own
    /// memory; only one that was restarted after this has to say so.
    pub(crate) fn compact_etcd(&self) {
        let all = self.etcd_call("/v3/kv/range", &json!({"key": BASE64.encode("/"), "limit": 1}));
        let revision = all["header"]["revision"].clone();
        let answer = self.etcd_call("/v3/kv/compaction", &json!({"revision": revision, "physical": true}));
        assert!(answer["header"].is_object(), "etcd did not compact: {answer}");
    }

    /// A call of etcd's JSON gateway.
    fn etcd_call(&self, path: &str, body: &Value) -> Value {
        let (status, text) = http(self.etcd_address, "POST", path, &body.to_string()).unwrap();
        assert_eq!(status, 200, "{text}");
        serde_json::from_str(&text).unwrap()
    }

    /// The API server's audit log, one event per request.
    pub(crate) fn audit_events(&self) -> Vec<Value> {
        let log = fs::read_to_string(self.files.path("audit.log")).unwrap_or_default();
        // The last line may still be written.
        log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }
}

fn write_files(folder: PathBuf, egress_socket: &Path, admin_token: &str, controller_token: &str) -> Files {
    let (ca, certificate, key) = serving_certificate();
    let egress = json!({
        "apiVersion": "apiserver.k8s.io/v1beta1",
        "kind": "EgressSelectorConfiguration",
        "egressSelections": [{
            "name": "cluster",
            "connection": {"proxyProtocol": "HTTPConnect", "transport": {"uds": {"udsName": egress_socket}}},
        }],
    });
    let tokens = format!(
        "{admin_token},admin,admin,\"system:masters\"\n\
         {controller_token},system:kube-controller-manager,controllers,\n"
    );
    let service_accounts = KeyPair::generate().unwrap();
    for (name, content) in [
        ("ca.crt", ca.as_str()),
        ("server.crt", &certificate),
        ("server.key", &key),
        ("service-accounts.key", &service_accounts.serialize_pem()),
        ("service-accounts.pub", &service_accounts.public_key_pem()),
        ("tokens.csv", &tokens),
        ("egress.json", &egress.to_string()),
        ("audit-policy.json", AUDIT_POLICY),
    ] {
        fs::write(folder.join(name), content).unwrap();
    }
    Files { folder, ca }
}

/// A CA, and a certificate and a key of the API server, PEM.
fn serving_certificate() -> (String, String, String) {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let names = ["127.0.0.1", "localhost", "kubernetes.default.svc", "10.96.0.1"].map(str::to_owned);
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(names).unwrap().signed_by(&key, &ca).unwrap();
    (ca.pem(), certificate.pem(), key.serialize_pem())
}

fn kubeconfig(ca: &str, server: SocketAddr, user: &Value, namespace: &str) -> Value {
    let cluster = json!({"server": format!("https://{server}"), "certificate-authority-data": BASE64.encode(ca)});
    json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "test", "cluster": cluster}],
        "users": [{"name": "user", "user": user}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "user", "namespace": namespace}}],
        "current-context": "test",
    })
}

fn random_token() -> String {
    let mut bytes = [0; 16];
    fs::File::open("/dev/urandom").unwrap().read_exact(&mut bytes).unwrap();
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A loopback address without a listener, from below the ports that the system gives to clients: one that is free now
/// stays so until its server binds it.
pub(crate) fn free_address() -> SocketAddr {
    const FIRST: u16 = 12_000;
    const MANY: u16 = 20_000;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Two runs at once begin at different places.
    let begin = u16::try_from(std::process::id().wrapping_mul(97) % u32::from(MANY)).unwrap();
    until("a free port", || {
        let offset = begin.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % MANY;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, FIRST + offset));
        TcpListener::bind(address).is_ok().then_some(address)
    })
}

/// One HTTP request without TLS: the answer's status and body.
pub(crate) fn http(address: SocketAddr, method: &str, path: &str, body: &str) -> Result<(u16, String), String> {
    let attempt = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        // 1.0: the body ends with the connection and is never cut into chunks.
        write!(
            stream,
            "{method} {path} HTTP/1.0\r\nhost: {address}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    let answer = attempt().map_err(|error| format!("{method} {path} at {address}: {error}"))?;
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .ok_or(format!("{method} {path} at {address}: an answer without a head"))?;
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok())
        .ok_or(format!("{method} {path} at {address}: {head}"))?;
    Ok((status, body.to_owned()))
}
