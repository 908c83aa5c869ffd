//! Events as the API server keeps them: what it refuses, and what a patch may change.

use serde_json::{Value, json};
use tokio::time::Instant;

use super::fake_api::Fault;

/// A request about Events.
#[derive(Clone, Debug)]
pub struct EventCall {
    pub verb: &'static str,
    pub at: Instant,
    pub body: Value,
}

#[derive(Debug, Default)]
pub struct Events {
    pub stored: Vec<Value>,
    pub calls: Vec<EventCall>,
    pub create_fault: Option<Fault>,
    pub patch_fault: Option<Fault>,
    /// Namespaces that take nothing new.
    pub terminating: Vec<String>,
    version: u64,
}

/// A code, and the object or the reason.
pub type Answered = (u16, Value);

impl Events {
    pub fn create(&mut self, namespace: &str, event: &Value) -> Answered {
        if self.terminating.iter().any(|gone| gone == namespace) {
            let mut status = status(403, "Forbidden", "unable to create new content: it is being terminated");
            status["details"] = json!({"causes": [{"reason": "NamespaceTerminating", "field": "metadata.namespace"}]});
            return (403, status);
        }
        let name = event["metadata"]["name"].as_str().unwrap();
        if self.find(namespace, name).is_some() {
            return (409, status(409, "AlreadyExists", "events already exists"));
        }
        if let Some(why) = invalid(namespace, event) {
            return (422, status(422, "Invalid", &why));
        }
        self.version += 1;
        let mut event = event.clone();
        event["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.stored.push(event.clone());
        (201, event)
    }

    pub fn patch(&mut self, namespace: &str, name: &str, patch: &Value) -> Answered {
        let Some(at) = self.find(namespace, name) else {
            return (404, status(404, "NotFound", "events not found"));
        };
        let old = self.stored[at].clone();
        let mut new = old.clone();
        json_patch::merge(&mut new, patch);
        if new["metadata"]["resourceVersion"] != old["metadata"]["resourceVersion"] {
            return (409, status(409, "Conflict", "the object has been modified"));
        }
        if let Some(why) = invalid(namespace, &new) {
            return (422, status(422, "Invalid", &why));
        }
        for fixed in ["note", "reason", "regarding", "eventTime", "reportingInstance"] {
            if new[fixed] != old[fixed] {
                return (422, status(422, "Invalid", &format!("{fixed}: field is immutable")));
            }
        }
        if new != old {
            self.version += 1;
            new["metadata"]["resourceVersion"] = json!(self.version.to_string());
            self.stored[at] = new.clone();
        }
        (200, new)
    }

    fn find(&self, namespace: &str, name: &str) -> Option<usize> {
        self.stored
            .iter()
            .position(|event| event["metadata"]["namespace"] == namespace && event["metadata"]["name"] == name)
    }
}

/// The reason why the API server would reject an Event.
fn invalid(namespace: &str, event: &Value) -> Option<String> {
    let text = |pointer: &str| event.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let limits = [
        ("/note", 1024),
        ("/reportingInstance", 128),
        ("/action", 128),
        ("/reason", 128),
        ("/regarding/uid", 1024),
        ("/reportingController", 317),
        ("/metadata/name", 253),
    ];
    for (pointer, limit) in limits {
        let value = text(pointer);
        if value.is_empty() || value.len() > limit {
            return Some(format!("{pointer}: must have 1 to {limit} bytes, has {}", value.len()));
        }
    }
    let subdomain = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
    };
    if !text("/metadata/name").split('.').all(subdomain) {
        return Some(format!("metadata.name: {}", text("/metadata/name")));
    }
    let micro =
        |time: &str| time.len() == "2026-01-01T00:00:00.000000Z".len() && time.parse::<jiff::Timestamp>().is_ok();
    if !micro(text("/eventTime")) {
        return Some(format!("eventTime: {}", text("/eventTime")));
    }
    if let Some(series) = event.get("series")
        && (series["count"].as_u64().is_none_or(|count| count < 2) || !micro(text("/series/lastObservedTime")))
    {
        return Some(format!("series: {series}"));
    }
    let agrees = ["Normal", "Warning"].contains(&text("/type"))
        && text("/regarding/namespace") == namespace
        && text("/metadata/namespace") == namespace
        && ["deprecatedCount", "deprecatedSource", "deprecatedFirstTimestamp"]
            .iter()
            .all(|old| event.get(old).is_none());
    (!agrees).then(|| "type, namespace or deprecated fields".to_owned())
}

fn status(code: u16, reason: &str, message: &str) -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": code,
        "reason": reason, "message": message})
}
