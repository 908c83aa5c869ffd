//! ServiceAccounts in objects that the table does not describe.

use serde_json::Value;

use super::MAX_PLACES;
use crate::support::dns;

/// Where an object has something like the spec of a pod, `containers` next to `serviceAccountName`, and the ServiceAccount that is
/// written there: path and name. What an absent name means is not known, so it is left out.
#[must_use]
pub fn written_accounts(object: &Value) -> Vec<(String, &str)> {
    let mut found = Vec::new();
    let mut pending = vec![(String::new(), object)];
    let mut seen: usize = 0;
    while let Some((path, value)) = pending.pop() {
        seen = seen.saturating_add(1);
        if seen > MAX_PLACES {
            break;
        }
        match value {
            Value::Object(fields) => {
                if let Some(name) = account_of(value) {
                    found.push((path.clone(), name));
                }
                let dot = if path.is_empty() { "" } else { "." };
                let below = fields.iter().filter(|(_, value)| value.is_object() || value.is_array());
                pending.extend(below.map(|(key, value)| (format!("{path}{dot}{key}"), value)));
            }
            Value::Array(items) => {
                let items = items.iter().enumerate();
                pending.extend(items.map(|(index, item)| (format!("{path}[{index}]"), item)));
            }
            _ => {}
        }
    }
    found.sort_unstable();
    found
}

/// The ServiceAccount of what looks like the spec of a pod.
fn account_of(spec: &Value) -> Option<&str> {
    let containers = spec.get("containers")?.as_array()?;
    if !containers
        .iter()
        .any(|container| container.get("name").is_some_and(Value::is_string))
    {
        return None;
    }
    ["serviceAccountName", "serviceAccount"]
        .iter()
        .find_map(|field| spec.get(field)?.as_str().filter(|name| !name.is_empty()))
        .filter(|name| dns::is_subdomain(name))
}
