//! The servers that SDKs ask for credentials: STS, IMDS and container credentials servers, as far as SDKs need them.

use std::io::{self, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use percent_encoding::percent_decode_str;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::json;

use crate::calls::{Arrival, CONTAINER_KEY, NODE_KEY, WEB_IDENTITY_KEY};

/// The addresses that the network namespace has, in addition to 127.0.0.0/8 and ::1.
pub(crate) const ADDRESSES: [&str; 5] = [
    // IMDS.
    "169.254.169.254/32",
    // Container credentials of ECS.
    "169.254.170.2/32",
    // The agent of EKS Pod Identity.
    "169.254.170.23/32",
    "fd00:ec2::23/128",
    // Another host, for URIs that SDKs refuse.
    "10.0.0.5/32",
];

const LISTENERS: [&str; 10] = [
    "169.254.169.254:80",
    "169.254.170.2:80",
    "169.254.170.23:80",
    "[fd00:ec2::23]:80",
    "10.0.0.5:8080",
    "127.0.0.1:8080",
    "127.0.0.5:8080",
    "[::1]:8080",
    // A server with the API of STS that is not from AWS.
    "127.0.0.1:9000",
    TLS_LISTENER,
];

const TLS_LISTENER: &str = "127.0.0.1:443";

/// The names with a certificate: STS, and a container credentials server.
pub(crate) const TLS_NAMES: [&str; 9] = [
    "sts.amazonaws.com",
    "sts.us-west-2.amazonaws.com",
    "sts.us-east-1.amazonaws.com",
    "sts.eu-west-1.amazonaws.com",
    "sts.us-gov-west-1.amazonaws.com",
    "sts.cn-north-1.amazonaws.com.cn",
    "sts-fips.us-west-2.amazonaws.com",
    "sts.amazonaws.com.cn",
    "credentials.example.com",
];

/// The Region of the node.
const NODE_REGION: &str = "eu-west-1";

/// The image's `/etc/hosts`.
pub(crate) fn hosts() -> String {
    format!(
        "127.0.0.1 localhost minio.storage.svc credentials.loopback {}\n::1 localhost\n10.0.0.5 credentials.internal\n",
        TLS_NAMES.join(" ")
    )
}

/// Whether the system has IPv6.
pub(crate) fn has_ipv6() -> bool {
    Path::new("/proc/net/if_inet6").exists()
}

/// What arrived since it was last taken.
#[derive(Clone, Debug, Default)]
pub(crate) struct Arrivals(Arc<Mutex<Vec<Arrival>>>);

impl Arrivals {
    pub(crate) fn take(&self) -> Vec<Arrival> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }

    fn add(&self, arrival: Arrival) {
        self.0.lock().unwrap().push(arrival);
    }
}

/// Listens at every address, each connection on a thread of its own, until the process ends.
pub(crate) fn start(certificate: &[u8], key: &[u8]) -> Arrivals {
    let arrivals = Arrivals::default();
    let tls = Arc::new(tls_config(certificate, key));
    for address in LISTENERS {
        if address.starts_with('[') && !has_ipv6() {
            continue;
        }
        let listener = TcpListener::bind(address).unwrap_or_else(|error| panic!("{address}: {error}"));
        let (arrivals, tls) = (arrivals.clone(), Arc::clone(&tls));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (arrivals, tls) = (arrivals.clone(), Arc::clone(&tls));
                // An SDK that closes the connection early is not an error of the server.
                thread::spawn(move || drop(serve(stream, address, tls, &arrivals)));
            }
        });
    }
    arrivals
}

fn tls_config(certificate: &[u8], key: &[u8]) -> ServerConfig {
    let certificates = CertificateDer::pem_slice_iter(certificate)
        .map(Result::unwrap)
        .collect();
    let key = PrivateKeyDer::from_pem_slice(key).unwrap();
    ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(certificates, key)
        .unwrap()
}

fn serve(stream: TcpStream, listener: &str, tls: Arc<ServerConfig>, arrivals: &Arrivals) -> io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let address = stream.local_addr()?;
    if listener == TLS_LISTENER {
        let connection = ServerConnection::new(tls).map_err(io::Error::other)?;
        let mut stream = StreamOwned::new(connection, stream);
        exchange(&mut stream, "https", address, arrivals)?;
        stream.conn.send_close_notify();
        stream.flush()
    } else {
        let mut stream = stream;
        exchange(&mut stream, "http", address, arrivals)
    }
}

struct Request {
    method: String,
    path: String,
    host: String,
    body: String,
}

struct Response {
    status: &'static str,
    content_type: &'static str,
    body: String,
}

/// One request per connection.
fn exchange<S: Read + Write>(stream: &mut S, scheme: &str, address: SocketAddr, arrivals: &Arrivals) -> io::Result<()> {
    let request = read(&mut BufReader::new(&mut *stream))?;
    let response = answer(&request, scheme, address, arrivals);
    write!(
        stream,
        "HTTP/1.1 {}\r\ncontent-type: {}\r\ncontent-length: {}\r\nx-aws-ec2-metadata-token-ttl-seconds: 21600\r\n\
         connection: close\r\n\r\n{}",
        response.status,
        response.content_type,
        response.body.len(),
        response.body
    )?;
    stream.flush()
}

fn read(reader: &mut impl io::BufRead) -> io::Result<Request> {
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut words = line.split(' ').map(str::to_owned);
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let (mut host, mut length) = (String::new(), 0);
    loop {
        line.clear();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else {
            break;
        };
        match name.to_ascii_lowercase().as_str() {
            "host" => value.trim().clone_into(&mut host),
            "content-length" => length = value.trim().parse().map_err(io::Error::other)?,
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok(Request {
        method,
        path,
        host,
        body: String::from_utf8(body).map_err(io::Error::other)?,
    })
}

fn answer(request: &Request, scheme: &str, address: SocketAddr, arrivals: &Arrivals) -> Response {
    if address.ip().to_string() == "169.254.169.254" {
        return instance_metadata(request, arrivals);
    }
    if !request.body.is_empty() {
        return sts(request, arrivals);
    }
    arrivals.add(Arrival::Container {
        url: format!("{scheme}://{}{}", request.host, request.path),
    });
    ok("application/json", credentials(CONTAINER_KEY))
}

fn instance_metadata(request: &Request, arrivals: &Arrivals) -> Response {
    const ROLES: &str = "/latest/meta-data/iam/security-credentials/";
    if request.path == format!("{ROLES}node") {
        arrivals.add(Arrival::NodeRole);
        return ok("application/json", credentials(NODE_KEY));
    }
    arrivals.add(Arrival::InstanceMetadata {
        path: request.path.clone(),
    });
    match (request.method.as_str(), request.path.as_str()) {
        ("PUT", "/latest/api/token") => ok("text/plain", "token".to_owned()),
        (_, ROLES) => ok("text/plain", "node".to_owned()),
        (_, "/latest/meta-data/placement/region") => ok("text/plain", NODE_REGION.to_owned()),
        _ => Response {
            status: "404 Not Found",
            content_type: "text/plain",
            body: String::new(),
        },
    }
}

/// STS does not verify tokens here. It checks parameters as it is documented, since an SDK that sends none fails there.
fn sts(request: &Request, arrivals: &Arrivals) -> Response {
    let parameter = |name: &str| {
        request
            .body
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .find(|(key, _)| *key == name)
            .map(|(_, value)| {
                percent_decode_str(&value.replace('+', " "))
                    .decode_utf8_lossy()
                    .into_owned()
            })
            .unwrap_or_default()
    };
    let action = parameter("Action");
    if action != "AssumeRoleWithWebIdentity" {
        arrivals.add(Arrival::Sts {
            host: request.host.clone(),
            action,
        });
        return sts_error("InvalidAction");
    }
    let (role, session) = (parameter("RoleArn"), parameter("RoleSessionName"));
    arrivals.add(Arrival::WebIdentity {
        host: request.host.clone(),
        role: role.clone(),
        token: parameter("WebIdentityToken"),
    });
    let fits = |c: char| c.is_ascii_alphanumeric() || "_+=,.@-".contains(c);
    if role.len() < 20 || !(2..=64).contains(&session.len()) || !session.chars().all(fits) {
        return sts_error("ValidationError");
    }
    ok(
        "text/xml",
        format!(
            "<AssumeRoleWithWebIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><AssumeRoleWithWebIdentityResult>\
             <Credentials><AccessKeyId>{WEB_IDENTITY_KEY}</AccessKeyId><SecretAccessKey>secret</SecretAccessKey>\
             <SessionToken>token</SessionToken><Expiration>2036-01-01T00:00:00Z</Expiration></Credentials>\
             <AssumedRoleUser><Arn>arn:aws:sts::111122223333:assumed-role/role/session</Arn>\
             <AssumedRoleId>AROAEXAMPLE:session</AssumedRoleId></AssumedRoleUser>\
             </AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>"
        ),
    )
}

fn sts_error(code: &str) -> Response {
    Response {
        status: "400 Bad Request",
        content_type: "text/xml",
        body: format!(
            "<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>{code}</Message></Error></ErrorResponse>"
        ),
    }
}

fn credentials(key: &str) -> String {
    json!({
        "Code": "Success", "Type": "AWS-HMAC", "LastUpdated": "2026-01-01T00:00:00Z", "AccessKeyId": key, "SecretAccessKey": "secret",
        "Token": "token", "Expiration": "2036-01-01T00:00:00Z"
    })
    .to_string()
}

fn ok(content_type: &'static str, body: String) -> Response {
    Response {
        status: "200 OK",
        content_type,
        body,
    }
}
