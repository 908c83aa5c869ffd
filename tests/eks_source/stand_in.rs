//! The two calls of the EKS API that rolegate makes, as an HTTP server on loopback that records calls and injects faults. moto has no
//! EKS Pod Identity. `validate.py` compares its answers with the service model of botocore.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use percent_encoding::percent_decode_str;
use serde_json::{Map, Value, json};

/// The cluster whose associations it has.
pub const CLUSTER: &str = "prod";

/// The account and Region of the cluster.
pub const ACCOUNT: &str = "111122223333";
pub const REGION: &str = "us-west-2";

pub const LIST: &str = "eks:ListPodIdentityAssociations";
pub const DESCRIBE: &str = "eks:DescribePodIdentityAssociation";

/// What happens to calls.
#[derive(Clone, Debug)]
pub enum Fault {
    None,
    /// Calls of this action get this status, error code and message.
    Error(&'static str, u16, &'static str, &'static str),
    /// Every page of a list but the first one.
    LaterPages(u16, &'static str, &'static str),
    /// Answers come this late.
    Late(Duration),
    /// The connection is closed without an answer.
    Cut,
    /// Half of the answer, with the length of half.
    Half,
    /// Announces the length of the complete response, but sends only half of it.
    Torn,
    /// An answer that is not JSON.
    NoJson,
    /// A status without a body.
    Status(u16),
}

/// A call that was made.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Call {
    /// As policies name it.
    pub action: &'static str,
    /// The ARN that a policy has to allow.
    pub resource: String,
    /// The path with its query, whose parameters are sorted.
    pub target: String,
}

/// Listens until the test program ends.
pub struct Eks {
    pub address: SocketAddr,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    associations: Mutex<Vec<Value>>,
    made: Mutex<usize>,
    fault: Mutex<Option<Fault>>,
    calls: Mutex<Vec<Call>>,
    /// How many associations a page has at most, and whether a list begins with an empty page.
    page: Mutex<Option<usize>>,
    begins_empty: Mutex<bool>,
}

struct Response {
    status: u16,
    error: Option<String>,
    body: String,
}

impl Eks {
    pub fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State::default());
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = Arc::clone(&shared);
                std::thread::spawn(move || state.serve(stream));
            }
        });
        Self { address, state }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn suffers(&self, fault: Fault) {
        *self.state.fault.lock().unwrap() = Some(fault);
    }

    /// Creates an association with this role, and returns its ID.
    pub fn create(&self, namespace: &str, service_account: &str, role: &str) -> String {
        let mut made = self.state.made.lock().unwrap();
        *made += 1;
        let id = format!("a-{:0>17}", *made);
        self.state.associations.lock().unwrap().push(json!({
            "clusterName": CLUSTER,
            "namespace": namespace,
            "serviceAccount": service_account,
            "roleArn": role,
            "associationArn": arn_of(&id),
            "associationId": id,
            "tags": {"team": "data"},
            "createdAt": 1_764_350_000.25,
            "modifiedAt": 1_764_350_000.25,
            "disableSessionTags": false,
        }));
        id
    }

    /// Changes fields of an association; null removes one.
    pub fn update(&self, id: &str, fields: &Value) {
        let mut associations = self.state.associations.lock().unwrap();
        let found = associations.iter_mut().find(|one| one["associationId"] == id).unwrap();
        for (name, value) in fields.as_object().unwrap() {
            if value.is_null() {
                found.as_object_mut().unwrap().remove(name);
            } else {
                found[name] = value.clone();
            }
        }
    }

    pub fn delete(&self, id: &str) {
        let mut associations = self.state.associations.lock().unwrap();
        associations.retain(|one| one["associationId"] != id);
    }

    /// What `DescribePodIdentityAssociation` returns.
    pub fn association(&self, id: &str) -> Value {
        let associations = self.state.associations.lock().unwrap();
        associations
            .iter()
            .find(|one| one["associationId"] == id)
            .unwrap()
            .clone()
    }

    /// Pages with so many associations at most.
    pub fn pages_of(&self, most: usize) {
        *self.state.page.lock().unwrap() = Some(most);
    }

    /// The first page of a list has a token but no association.
    pub fn begin_lists_with_an_empty_page(&self) {
        *self.state.begins_empty.lock().unwrap() = true;
    }

    pub fn calls(&self) -> Vec<Call> {
        self.state.calls.lock().unwrap().clone()
    }

    pub fn calls_of(&self, action: &str) -> usize {
        self.calls().iter().filter(|call| call.action == action).count()
    }

    pub fn forget_calls(&self) {
        self.state.calls.lock().unwrap().clear();
    }
}

fn arn_of(id: &str) -> String {
    format!("arn:aws:eks:{REGION}:{ACCOUNT}:podidentityassociation/{CLUSTER}/{id}")
}

impl State {
    /// Serves one request per connection: a connection that is kept open would outlive a change of fault.
    fn serve(&self, mut stream: TcpStream) {
        let Some(head) = read_head(&mut stream) else { return };
        let target = head.split(' ').nth(1).unwrap_or_default();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let mut parameters: Vec<(String, String)> = query
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .map(|(name, value)| {
                (
                    name.to_owned(),
                    percent_decode_str(value).decode_utf8_lossy().into_owned(),
                )
            })
            .collect();
        parameters.sort();
        let segments: Vec<&str> = path.trim_matches('/').split('/').collect();
        let (cluster, id) = match segments.as_slice() {
            ["clusters", cluster, "pod-identity-associations"] => (*cluster, None),
            ["clusters", cluster, "pod-identity-associations", id] => (*cluster, Some(*id)),
            _ => return respond(&mut stream, &error(404, "UnknownOperationException", "no such call"), 0),
        };
        let (action, resource) = match id {
            None => (LIST, format!("arn:aws:eks:{REGION}:{ACCOUNT}:cluster/{cluster}")),
            Some(id) => (DESCRIBE, arn_of(id)),
        };
        let written: Vec<_> = parameters
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        self.calls.lock().unwrap().push(Call {
            action,
            resource,
            target: format!("{path}?{}", written.join("&")),
        });
        if !head.contains(&format!("/{REGION}/eks/aws4_request")) {
            let message = "Credential should be scoped to a valid Region and to service eks.";
            return respond(&mut stream, &error(403, "InvalidSignatureException", message), 0);
        }
        let answer = || match (cluster == CLUSTER, id) {
            (false, _) => error(
                404,
                "ResourceNotFoundException",
                &format!("No cluster found for name: {cluster}."),
            ),
            (true, None) => self.list(&parameters),
            (true, Some(id)) => self.describe(id),
        };
        let is_later_page = parameters.iter().any(|(name, _)| name == "nextToken");
        match self.fault.lock().unwrap().clone().unwrap_or(Fault::None) {
            Fault::Error(of, status, code, message) if of == action => {
                respond(&mut stream, &error(status, code, message), 0);
            }
            Fault::LaterPages(status, code, message) if is_later_page => {
                respond(&mut stream, &error(status, code, message), 0);
            }
            Fault::Late(late) => {
                std::thread::sleep(late);
                respond(&mut stream, &answer(), 0);
            }
            Fault::Cut => {}
            Fault::Half => {
                let mut answer = answer();
                answer.body.truncate(answer.body.len() / 2);
                respond(&mut stream, &answer, 0);
            }
            Fault::Torn => {
                let mut answer = answer();
                let missing = answer.body.len() / 2;
                answer.body.truncate(answer.body.len() - missing);
                respond(&mut stream, &answer, missing);
            }
            Fault::NoJson => {
                let body = "<html><body>Welcome to the hotel's WLAN".to_owned();
                let (status, error) = (200, None);
                respond(&mut stream, &Response { status, error, body }, 0);
            }
            Fault::Status(status) => {
                let (error, body) = (None, String::new());
                respond(&mut stream, &Response { status, error, body }, 0);
            }
            Fault::None | Fault::Error(..) | Fault::LaterPages(..) => respond(&mut stream, &answer(), 0),
        }
    }

    fn list(&self, parameters: &[(String, String)]) -> Response {
        let parameter = |wanted: &str| {
            let found = parameters.iter().find(|(name, _)| name == wanted);
            found.map(|(_, value)| value.as_str())
        };
        let invalid = |message: &str| error(400, "InvalidParameterException", message);
        let most: usize = match parameter("maxResults").map_or(Ok(100), str::parse) {
            Ok(most @ 1..=100) => most,
            _ => return invalid("maxResults must be between 1 and 100"),
        };
        let most = self.page.lock().unwrap().map_or(most, |page| most.min(page));
        let (begin, is_first) = match parameter("nextToken") {
            None => (0, true),
            Some(token) => match token.strip_prefix("page-of/+=").and_then(|begin| begin.parse().ok()) {
                Some(begin) => (begin, false),
                None => return invalid("nextToken is not valid"),
            },
        };
        let associations = self.associations.lock().unwrap();
        let is_asked_for = |one: &&Value| {
            [("namespace", "namespace"), ("serviceAccount", "serviceAccount")]
                .into_iter()
                .all(|(name, field)| parameter(name).is_none_or(|wanted| one[field] == wanted))
        };
        let found: Vec<_> = associations.iter().filter(is_asked_for).map(summary).collect();
        let is_empty = is_first && *self.begins_empty.lock().unwrap();
        let end = if is_empty { 0 } else { found.len().min(begin + most) };
        let page: Vec<_> = found.get(begin..end).unwrap_or_default().to_vec();
        let mut body = json!({"associations": page});
        if is_empty || end < found.len() {
            body["nextToken"] = json!(format!("page-of/+={end}"));
        }
        Response {
            status: 200,
            error: None,
            body: body.to_string(),
        }
    }

    fn describe(&self, id: &str) -> Response {
        let associations = self.associations.lock().unwrap();
        match associations.iter().find(|one| one["associationId"] == id) {
            Some(association) => Response {
                status: 200,
                error: None,
                body: json!({"association": association}).to_string(),
            },
            None => error(
                404,
                "ResourceNotFoundException",
                &format!("No association found for id: {id}."),
            ),
        }
    }
}

/// What a list has of an association.
fn summary(association: &Value) -> Value {
    const FIELDS: [&str; 6] = [
        "clusterName",
        "namespace",
        "serviceAccount",
        "associationArn",
        "associationId",
        "ownerArn",
    ];
    let fields = FIELDS.into_iter().filter_map(|field| {
        let value = association.get(field)?;
        Some((field.to_owned(), value.clone()))
    });
    Value::Object(fields.collect::<Map<_, _>>())
}

fn error(status: u16, code: &str, message: &str) -> Response {
    Response {
        status,
        error: Some(code.to_owned()),
        body: json!({"message": message}).to_string(),
    }
}

fn read_head(stream: &mut TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let read = stream.read(&mut chunk).ok().filter(|read| *read > 0)?;
        bytes.extend_from_slice(&chunk[..read]);
        let text = String::from_utf8_lossy(&bytes);
        // Both calls are GETs: they have no body.
        if let Some((head, _)) = text.split_once("\r\n\r\n") {
            return Some(head.to_owned());
        }
    }
}

/// `missing`: how many bytes the length says more than there are.
fn respond(stream: &mut TcpStream, response: &Response, missing: usize) {
    let error = response
        .error
        .as_ref()
        .map_or_else(String::new, |code| format!("x-amzn-errortype: {code}\r\n"));
    let head = format!(
        "HTTP/1.1 {} x\r\ncontent-type: application/json\r\nx-amzn-requestid: 7a62c49f-347e-4fc4-9331-6e8eEXAMPLE\r\n{error}\
         connection: close\r\ncontent-length: {}\r\n\r\n",
        response.status,
        response.body.len() + missing
    );
    let _ = stream
        .write_all(head.as_bytes())
        .and_then(|()| stream.write_all(response.body.as_bytes()));
}
