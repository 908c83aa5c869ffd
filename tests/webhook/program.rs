//! The real program, started on free loopback ports and stopped again; and a client that speaks to it as an API server does.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use rolegate::certs::issue::{Authority, SubjectName};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// The cluster's issuer in these tests.
pub const ISSUER: &str = "oidc.eks.us-west-2.amazonaws.com/id/EXAMPLED539D4633E53DE1B71EXAMPLE";

/// Longer than anything here takes; reached only when something hangs.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A folder for `--standalone`, with the certificate that the program serves.
pub struct Folder {
    root: TempDir,
    authority: Authority,
}

impl Folder {
    /// With `default` ServiceAccounts in no namespace and no roles yet.
    pub fn new() -> Self {
        let root = TempDir::new().unwrap();
        fs::create_dir(root.path().join("roles")).unwrap();
        let authority = Authority::generate("test", SystemTime::now(), Duration::from_secs(90 * 24 * 3600)).unwrap();
        let folder = Self { root, authority };
        folder.renew_certificate();
        folder
    }

    /// Writes a new serving certificate of the same CA.
    pub fn renew_certificate(&self) {
        self.renew_certificate_as_of(SystemTime::now());
    }

    /// The same, valid for as long as given.
    pub fn renew_certificate_for(&self, lifetime: Duration) {
        self.write_certificate(SystemTime::now(), lifetime);
    }

    /// The same, valid from ten minutes before this moment to an hour after it.
    pub fn renew_certificate_as_of(&self, issued: SystemTime) {
        self.write_certificate(issued, Duration::from_secs(3600));
    }

    fn write_certificate(&self, issued: SystemTime, lifetime: Duration) {
        let leaf = self
            .authority
            .issue(&SubjectName::loopback(), issued, lifetime)
            .unwrap();
        self.write("tls.crt", leaf.certificate_pem());
        self.write("tls.key", leaf.key_pem());
    }

    pub fn path(&self) -> &Path {
        self.root.path()
    }

    /// The CA of the serving certificate.
    pub fn ca(&self) -> &str {
        self.authority.certificate_pem()
    }

    pub fn write(&self, name: &str, content: &str) {
        // Written to another file and renamed, so that no reader sees half of it.
        let target = self.path().join(name);
        let written = self.path().join("..new");
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::write(&written, content).unwrap();
        fs::rename(written, target).unwrap();
    }

    /// Adds a ServiceAccount with these annotations.
    pub fn account(&self, namespace: &str, name: &str, annotations: &[(&str, &str)]) -> &Self {
        let mut text = format!(
            "apiVersion: v1\nkind: ServiceAccount\nmetadata:\n  name: {name}\n  namespace: {namespace}\n  uid: 7c3b1c1e-{}\n",
            name.len()
        );
        if !annotations.is_empty() {
            text.push_str("  annotations:\n");
        }
        for (key, value) in annotations {
            text.push_str(&format!("    {key}: {}\n", serde_json::to_string(value).unwrap()));
        }
        self.write(&format!("{namespace}-{name}.yaml"), &text);
        self
    }

    /// Adds a role of account 111122223333 with this trust policy, as a bare policy file.
    pub fn role(&self, name: &str, policy: &Value) -> String {
        self.write(&format!("roles/111122223333/{name}.json"), &policy.to_string());
        format!("arn:aws:iam::111122223333:role/{name}")
    }

    /// The trust policy that trusts this ServiceAccount.
    pub fn trusting(namespace: &str, name: &str) -> Value {
        policy_with(serde_json::json!({"StringEquals": {
            format!("{ISSUER}:sub"): format!("system:serviceaccount:{namespace}:{name}"),
            format!("{ISSUER}:aud"): "sts.amazonaws.com",
        }}))
    }
}

/// A trust policy for the cluster's provider with this condition.
pub fn policy_with(condition: Value) -> Value {
    serde_json::json!({"Version": "2012-10-17", "Statement": [{
        "Effect": "Allow",
        "Principal": {"Federated": format!("arn:aws:iam::111122223333:oidc-provider/{ISSUER}")},
        "Action": "sts:AssumeRoleWithWebIdentity",
        "Condition": condition,
    }]})
}

/// The running program.
pub struct Program {
    child: Child,
    log: Arc<Mutex<Vec<String>>>,
    lines: Mutex<Receiver<String>>,
    /// Whether the log, a pipe, is not read.
    unread: Arc<AtomicBool>,
    /// Where reviews are posted.
    pub reviews: SocketAddr,
    /// Probes and metrics.
    pub admin: SocketAddr,
    connector: TlsConnector,
}

impl Program {
    /// Serves a folder with these flags more.
    pub fn serve(folder: &Folder, flags: &[&str]) -> Self {
        Self::try_serve(folder, flags).unwrap_or_else(|(status, log)| panic!("did not start ({status}):\n{log}"))
    }

    /// The same, or how the program ended and what it printed.
    pub fn try_serve(folder: &Folder, flags: &[&str]) -> Result<Self, (ExitStatus, String)> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rolegate"));
        command.arg("serve").args(["--standalone", path(folder.path())]);
        command.args(["--issuer", &format!("https://{ISSUER}")]);
        Self::start(command, folder, flags)
    }

    /// Serves the cluster of an API server, with the roles of a folder.
    pub fn serve_cluster(folder: &Folder, api_server: &str, flags: &[&str]) -> Self {
        folder.write("kubeconfig", &kubeconfig(api_server));
        let mut command = Command::new(env!("CARGO_BIN_EXE_rolegate"));
        let roles = format!("files={}", path(&folder.path().join("roles")));
        command
            .env("KUBECONFIG", folder.path().join("kubeconfig"))
            .args(["serve", "--role-source", &roles]);
        Self::start(command, folder, flags).unwrap_or_else(|(status, log)| panic!("did not start ({status}):\n{log}"))
    }

    /// Starts a command that serves a folder's certificate, with these flags more.
    pub fn start(mut command: Command, folder: &Folder, flags: &[&str]) -> Result<Self, (ExitStatus, String)> {
        let mut child = command
            .args([
                "--listen",
                "127.0.0.1:0",
                "--admin-listen",
                "127.0.0.1:0",
                "--log-format",
                "json",
            ])
            .args([
                "--tls-cert",
                path(&folder.path().join("tls.crt")),
                "--tls-key",
                path(&folder.path().join("tls.key")),
            ])
            .args(flags)
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = child.stderr.take().unwrap();
        let (sender, lines) = channel();
        let log = Arc::new(Mutex::new(Vec::new()));
        let kept = log.clone();
        let unread = Arc::new(AtomicBool::new(false));
        let paused = unread.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                while paused.load(Ordering::SeqCst) {
                    std::thread::sleep(Duration::from_millis(10));
                }
                kept.lock().unwrap().push(line.clone());
                let _ = sender.send(line);
            }
        });
        let mut addresses = [None, None];
        let begun = Instant::now();
        while addresses.iter().any(Option::is_none) {
            let line = match lines.recv_timeout(PATIENCE.saturating_sub(begun.elapsed())) {
                Ok(line) => line,
                Err(_) => {
                    let _ = child.kill();
                    let status = child.wait().unwrap();
                    return Err((status, log.lock().unwrap().join("\n")));
                }
            };
            for (address, words) in addresses
                .iter_mut()
                .zip(["reviews over HTTPS", "probes and metrics over HTTP"])
            {
                if line.contains(words) {
                    *address = Some(address_in(&line));
                }
            }
        }
        let [reviews, admin] = addresses.map(Option::unwrap);
        let connector = connector(folder.authority.certificate_pem());
        Ok(Self {
            child,
            log,
            lines: Mutex::new(lines),
            unread,
            reviews,
            admin,
            connector,
        })
    }

    /// Posts a review and returns the status and the JSON that came back.
    pub async fn post(&self, route: &str, body: impl Into<Bytes>) -> (u16, Value) {
        let (status, _, body) = self
            .send("POST", route, &[("content-type", "application/json")], body.into())
            .await;
        let json = serde_json::from_slice(&body).unwrap_or(Value::Null);
        (status, json)
    }

    /// Posts a review that must be answered, and returns its `response`.
    pub async fn review(&self, route: &str, review: &Value) -> Value {
        let (status, json) = self.post(route, review.to_string()).await;
        assert_eq!(status, 200, "{json}");
        assert_eq!(json["kind"], "AdmissionReview");
        assert_eq!(json["response"]["uid"], review["request"]["uid"]);
        json["response"].clone()
    }

    /// Sends any request over a connection of its own.
    pub async fn send(
        &self,
        method: &str,
        route: &str,
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> (u16, hyper::HeaderMap, Bytes) {
        let stream = self.stream().await;
        let mut request = hyper::Request::builder()
            .method(method)
            .uri(route)
            .header("host", "rolegate.rolegate.svc")
            .header("accept", "application/json, */*");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        exchange(stream, request.body(Full::new(body)).unwrap()).await
    }

    /// A TLS connection to where reviews are posted, to send anything.
    pub async fn stream(&self) -> TlsStream<TcpStream> {
        let stream = TcpStream::connect(self.reviews).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        self.connector.connect(name, stream).await.unwrap()
    }

    /// The address that serves reviews.
    pub fn reviews(&self) -> SocketAddr {
        self.reviews
    }

    /// What the admin server answers.
    pub async fn get(&self, route: &str) -> (u16, String) {
        let stream = TcpStream::connect(self.admin).await.unwrap();
        let request = hyper::Request::builder()
            .uri(route)
            .header("host", "admin")
            .body(Full::new(Bytes::new()))
            .unwrap();
        let (status, _, body) = exchange(stream, request).await;
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    /// The value of a metric's sample, by its whole name with labels.
    pub async fn metric(&self, sample: &str) -> Option<f64> {
        let (_, text) = self.get("/metrics").await;
        text.lines()
            .find_map(|line| line.strip_prefix(sample)?.trim().parse().ok())
    }

    /// Waits for a log line that contains these words.
    pub fn wait_for_log(&self, words: &str) -> String {
        let begun = Instant::now();
        if let Some(line) = self.log.lock().unwrap().iter().find(|line| line.contains(words)) {
            return line.clone();
        }
        loop {
            let line = self
                .lines
                .lock()
                .unwrap()
                .recv_timeout(PATIENCE.saturating_sub(begun.elapsed()));
            match line {
                Ok(line) if line.contains(words) => return line,
                Ok(_) => {}
                Err(_) => panic!("no log line holds {words:?}:\n{}", self.log.lock().unwrap().join("\n")),
            }
        }
    }

    /// The log lines so far that contain these words.
    pub fn log_lines(&self, words: &str) -> Vec<String> {
        self.log
            .lock()
            .unwrap()
            .iter()
            .filter(|line| line.contains(words))
            .cloned()
            .collect()
    }

    /// Stops reading the log, which is a pipe.
    pub fn stop_reading(&self) {
        self.unread.store(true, Ordering::SeqCst);
    }

    /// Reads the log again.
    pub fn resume_reading(&self) {
        self.unread.store(false, Ordering::SeqCst);
    }

    /// The id of its process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal by its name (`TERM`).
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill")
            .args([&format!("-{name}"), &self.id().to_string()])
            .status()
            .unwrap();
        assert!(status.success());
    }

    /// Waits for the end.
    pub fn wait(&mut self) -> ExitStatus {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(begun.elapsed() < PATIENCE, "the program did not end");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Repeats a request until the response is as expected: for changes that the program detects after a while.
pub async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, mut ask: impl FnMut() -> F) -> T {
    let begun = Instant::now();
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(begun.elapsed() < PATIENCE, "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A kubeconfig for an API server that requires no credentials.
pub fn kubeconfig(api_server: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: test\nclusters:\n- name: test\n  cluster:\n    server: {api_server}\n\
         users:\n- name: test\n  user: {{}}\ncontexts:\n- name: test\n  context:\n    cluster: test\n    user: test\n"
    )
}

fn address_in(line: &str) -> SocketAddr {
    let value: Value = serde_json::from_str(line).unwrap();
    let address = value
        .pointer("/fields/address")
        .or_else(|| value.get("address"))
        .and_then(Value::as_str);
    address
        .unwrap_or_else(|| panic!("no address in {line}"))
        .parse()
        .unwrap()
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn connector(ca: &str) -> TlsConnector {
    let mut roots = rustls::RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(ca.as_bytes()).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    TlsConnector::from(Arc::new(config))
}

async fn exchange<S>(stream: S, request: hyper::Request<Full<Bytes>>) -> (u16, hyper::HeaderMap, Bytes)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .unwrap();
    let driver = tokio::spawn(connection);
    let (head, body) = sender.send_request(request).await.unwrap().into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    drop(sender);
    let _ = driver.await;
    (head.status.as_u16(), head.headers, body)
}
