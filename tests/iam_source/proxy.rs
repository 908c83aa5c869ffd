//! A proxy in front of moto that counts calls and injects faults.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimePrinter;

/// What happens to calls of IAM; STS goes through unless it says so.
#[derive(Clone, Debug)]
pub enum Fault {
    None,
    /// This status, error code and message.
    Error(u16, &'static str, &'static str),
    /// The same for one action only.
    ErrorOf(&'static str, u16, &'static str, &'static str),
    /// Answers come this late.
    Late(Duration),
    /// The connection is closed without an answer.
    Cut,
    /// Half of the answer, with the length of half.
    HalfXml,
    /// A response that is not XML.
    NoXml,
    /// A status without a body.
    Status(u16),
    /// AWS's clock is so many minutes ahead of ours, and it refuses what is signed more than five off.
    ClockAhead(i64),
}

/// Listens until the test program ends.
pub struct Proxy {
    pub address: SocketAddr,
    state: Arc<State>,
}

struct State {
    behind: SocketAddr,
    fault: Mutex<Fault>,
    calls: Mutex<Vec<String>>,
}

impl Proxy {
    pub fn before(behind: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State {
            behind,
            fault: Mutex::new(Fault::None),
            calls: Mutex::default(),
        });
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = Arc::clone(&shared);
                std::thread::spawn(move || state.serve(stream));
            }
        });
        Self { address, state }
    }

    pub fn suffers(&self, fault: Fault) {
        *self.state.fault.lock().unwrap() = fault;
    }

    /// The calls so far, as policies name them: `iam:GetRole`.
    pub fn calls(&self) -> Vec<String> {
        self.state.calls.lock().unwrap().clone()
    }

    pub fn calls_of(&self, action: &str) -> usize {
        self.calls().iter().filter(|call| *call == action).count()
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl State {
    /// Serves one request per connection: a connection that is kept open would outlive a change of fault.
    fn serve(&self, mut stream: TcpStream) {
        let Some((head, body)) = read_request(&mut stream) else {
            return;
        };
        let action = form_value(&body, "Action").unwrap_or_default();
        let service = if head.contains("/sts/aws4_request") {
            "sts"
        } else {
            "iam"
        };
        self.calls.lock().unwrap().push(format!("{service}:{action}"));
        let fault = self.fault.lock().unwrap().clone();
        let is_iam = service == "iam";
        match fault {
            Fault::Error(status, code, message) if is_iam => respond(&mut stream, status, &error(code, message), 0),
            Fault::ErrorOf(of, status, code, message) if of == action => {
                respond(&mut stream, status, &error(code, message), 0)
            }
            Fault::Status(status) if is_iam => respond(&mut stream, status, "", 0),
            Fault::NoXml if is_iam => respond(&mut stream, 200, "<html><body>Welcome to the hotel's WLAN", 0),
            Fault::Cut if is_iam => {}
            Fault::HalfXml if is_iam => {
                let answer = self.forward(&head, &body);
                let half = answer.1.get(..answer.1.len() / 2).unwrap_or_default().to_owned();
                respond(&mut stream, answer.0, &half, 0);
            }
            Fault::ClockAhead(minutes) if is_iam && minutes_off(&head, minutes) > 5 => {
                let message = "Signature expired: 20260101T000000Z is now earlier than 20260101T001000Z";
                respond(&mut stream, 403, &error("SignatureDoesNotMatch", message), minutes);
            }
            Fault::Late(late) if is_iam => {
                std::thread::sleep(late);
                let (status, answer) = self.forward(&head, &body);
                respond(&mut stream, status, &answer, 0);
            }
            fault => {
                let (status, answer) = self.forward(&head, &body);
                let ahead = if let Fault::ClockAhead(minutes) = fault {
                    minutes
                } else {
                    0
                };
                respond(&mut stream, status, &answer, ahead);
            }
        }
    }

    fn forward(&self, head: &str, body: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.behind).unwrap();
        let mut lines = head.split("\r\n").filter(|line| !line.is_empty());
        let mut request = format!("{}\r\nconnection: close\r\n", lines.next().unwrap());
        for line in lines.filter(|line| !line.to_ascii_lowercase().starts_with("connection:")) {
            request.push_str(line);
            request.push_str("\r\n");
        }
        stream.write_all(format!("{request}\r\n{body}").as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let status = answer
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok())
            .unwrap_or(500);
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        (status, body.to_owned())
    }
}

fn read_request(stream: &mut TcpStream) -> Option<(String, String)> {
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let read = stream.read(&mut chunk).ok().filter(|read| *read > 0)?;
        bytes.extend_from_slice(&chunk[..read]);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length")
                .then(|| value.trim().parse::<usize>().ok())?
        });
        if body.len() >= length.unwrap_or(0) {
            return Some((head.to_owned(), body.to_owned()));
        }
    }
}

fn respond(stream: &mut TcpStream, status: u16, body: &str, ahead: i64) {
    let now = Timestamp::from_second(epoch() + 60 * ahead).unwrap();
    let date = DateTimePrinter::new().timestamp_to_rfc9110_string(&now).unwrap();
    let head = format!(
        "HTTP/1.1 {status} x\r\ndate: {date}\r\ncontent-type: text/xml\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let _ = stream
        .write_all(head.as_bytes())
        .and_then(|()| stream.write_all(body.as_bytes()));
}

fn error(code: &str, message: &str) -> String {
    format!(
        "<ErrorResponse xmlns=\"https://iam.amazonaws.com/doc/2010-05-08/\"><Error><Type>Sender</Type><Code>{code}</Code>\
         <Message>{message}</Message></Error><RequestId>7a62c49f-347e-4fc4-9331-6e8eEXAMPLE</RequestId></ErrorResponse>"
    )
}

/// How far the time of a signature is from AWS's clock.
fn minutes_off(head: &str, ahead: i64) -> i64 {
    let stamp = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("x-amz-date").then(|| value.trim().to_owned())
    });
    let stamp = stamp.expect("calls are signed");
    let signed = jiff::fmt::strtime::parse("%Y%m%dT%H%M%S%z", stamp.replace('Z', "+0000")).unwrap();
    let signed = signed.to_timestamp().unwrap().as_second();
    (epoch() + 60 * ahead - signed).abs() / 60
}

fn epoch() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap()
}

fn form_value(body: &str, name: &str) -> Option<String> {
    body.split('&')
        .find_map(|pair| pair.split_once('=').filter(|(key, _)| *key == name))
        .map(|(_, value)| value.to_owned())
}
