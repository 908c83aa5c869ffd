//! moto: AWS's IAM and STS as a real HTTP server on loopback, of the version pinned here, in a virtual environment that is
//! made once and kept in the user's cache folder.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

/// With the AWS CLI, which brings the same SDK as moto does.
const REQUIREMENTS: [&str; 2] = ["moto[server]==5.2.5", "awscli==1.46.3"];

/// Its folder in the cache; another name when the requirements change.
const FOLDER: &str = "moto-5.2.5-awscli-1.46.3";

/// Ends with the test program, whose end closes its standard input.
const SERVE: &str = "import sys, threading
from moto.server import main
threading.Thread(target=main, args=(['-H', '127.0.0.1', '-p', '0'],), daemon=True).start()
sys.stdin.read()";

/// The server, empty, for one test at a time. None, with a message on standard error, when it cannot be started.
pub fn moto(what: &str) -> Option<Moto> {
    static SERVER: OnceLock<Result<Server, String>> = OnceLock::new();
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    match SERVER.get_or_init(Server::start) {
        Ok(server) => {
            let moto = Moto {
                address: server.address,
                _turn: turn,
            };
            moto.request("POST /moto-api/reset", "", "");
            Some(moto)
        }
        Err(why) => not_run(what, why),
    }
}

/// The Python of the virtual environment, which has botocore. None, with a message on standard error, when it cannot be made.
pub fn python(what: &str) -> Option<PathBuf> {
    environment().map_or_else(|why| not_run(what, &why), Some)
}

/// Where a skipped test would go unseen it fails instead.
fn not_run<T>(what: &str, why: &str) -> Option<T> {
    assert!(std::env::var_os("CI").is_none(), "{what} cannot run: {why}");
    say(&format!("NOT RUN: {what}: {why}"));
    None
}

/// A program of the virtual environment: `python3`, `aws`.
///
/// # Panics
/// When it could not be made; [`moto`] says so first.
pub fn program(name: &str) -> PathBuf {
    environment().expect("moto was made ready").with_file_name(name)
}

/// An empty AWS.
pub struct Moto {
    pub address: SocketAddr,
    _turn: MutexGuard<'static, ()>,
}

/// Credentials of an account.
#[derive(Clone, Debug)]
pub struct Credentials {
    pub key: String,
    pub secret: String,
    pub token: String,
}

impl Moto {
    /// Credentials of this account: those of any role of it, which moto takes on trust.
    pub fn credentials(&self, account: &str) -> Credentials {
        let role = format!("arn:aws:iam::{account}:role/tester");
        let xml = self.call(
            "sts",
            None,
            "AssumeRole",
            &[("RoleArn", &role), ("RoleSessionName", "tester")],
        );
        Credentials {
            key: text_of(&xml, "AccessKeyId"),
            secret: text_of(&xml, "SecretAccessKey"),
            token: text_of(&xml, "SessionToken"),
        }
    }

    /// Calls an action that must succeed, and returns its XML.
    pub fn call(
        &self,
        service: &str,
        as_whom: Option<&Credentials>,
        action: &str,
        parameters: &[(&str, &str)],
    ) -> String {
        let mut body = format!("Action={action}&Version=2010-05-08");
        for (name, value) in parameters {
            body.push_str(&format!("&{name}={}", utf8_percent_encode(value, NON_ALPHANUMERIC)));
        }
        let key = as_whom.map_or("AKIAIOSFODNN7EXAMPLE", |credentials| &credentials.key);
        let headers = format!(
            "content-type: application/x-www-form-urlencoded\r\nauthorization: AWS4-HMAC-SHA256 \
             Credential={key}/20260101/us-east-1/{service}/aws4_request, SignedHeaders=host, Signature=0\r\n"
        );
        let answer = self.request("POST /", &headers, &body);
        assert!(answer.starts_with("HTTP/1.1 200"), "{action} {parameters:?}: {answer}");
        answer
    }

    fn request(&self, line: &str, headers: &str, body: &str) -> String {
        let mut stream = TcpStream::connect(self.address).expect("moto listens");
        let request = format!(
            "{line} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n{headers}content-length: {}\r\n\r\n{body}",
            self.address,
            body.len()
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }
}

/// The text of the first element of this name.
pub fn text_of(xml: &str, element: &str) -> String {
    let (_, rest) = xml
        .split_once(&format!("<{element}>"))
        .unwrap_or_else(|| panic!("no {element}: {xml}"));
    rest.split('<').next().unwrap().to_owned()
}

struct Server {
    address: SocketAddr,
    _process: Child,
    _stdin: ChildStdin,
}

impl Server {
    fn start() -> Result<Self, String> {
        let python = environment()?;
        let mut process = Command::new(python)
            .args(["-c", SERVE])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .env_remove("MOTO_ACCOUNT_ID")
            .spawn()
            .map_err(|error| error.to_string())?;
        let stdin = process.stdin.take().unwrap();
        let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let mut output = Vec::new();
        let address = loop {
            let Some(Ok(line)) = lines.next() else {
                return Err(format!("moto did not start:\n{}", output.join("\n")));
            };
            if let Some((_, address)) = line.split_once("Running on http://") {
                break address.trim().parse().map_err(|_| line.clone())?;
            }
            output.push(line);
        };
        // A full pipe would stop it.
        std::thread::spawn(move || for _ in lines.map_while(Result::ok) {});
        Ok(Self {
            address,
            _process: process,
            _stdin: stdin,
        })
    }
}

/// The Python that has moto.
fn environment() -> Result<PathBuf, String> {
    let cache = match (std::env::var_os("XDG_CACHE_HOME"), std::env::var_os("HOME")) {
        (Some(cache), _) if !cache.is_empty() => PathBuf::from(cache),
        (_, Some(home)) => Path::new(&home).join(".cache"),
        _ => return Err("neither XDG_CACHE_HOME nor HOME says where moto may be kept".to_owned()),
    }
    .join("rolegate");
    let folder = cache.join(FOLDER);
    let (python, ready) = (folder.join("bin/python3"), folder.join("ready"));
    fs::create_dir_all(&cache).map_err(|error| format!("{}: {error}", cache.display()))?;
    // Another test program may be making it.
    let lock = File::create(cache.join(format!("{FOLDER}.lock"))).map_err(|error| error.to_string())?;
    lock.lock().map_err(|error| error.to_string())?;
    if ready.exists() {
        return Ok(python);
    }
    say("making a virtual environment with moto for the tests of role source iam, once (some 100 MB, a minute)");
    let _ = fs::remove_dir_all(&folder);
    run(Command::new("python3").args(["-m", "venv"]).arg(&folder))
        .map_err(|why| format!("{why}; install python3 with venv"))?;
    run(Command::new(&python)
        .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"])
        .args(REQUIREMENTS))?;
    File::create(ready).map_err(|error| error.to_string())?;
    Ok(python)
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr)))
}

/// Past the capture of test output.
fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}
