//! What an SDK did for its credentials.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::base64;

/// The keys that the servers hand out.
pub(crate) const WEB_IDENTITY_KEY: &str = "ASIAWEBIDENTITY00000";
pub(crate) const CONTAINER_KEY: &str = "ASIACONTAINER0000000";
pub(crate) const NODE_KEY: &str = "ASIANODEROLE00000000";

/// The STS that SDKs call with the default flags; rows name any other.
const USUAL_STS: &str = "sts.us-west-2.amazonaws.com";

/// A request that reached a server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Arrival {
    /// `AssumeRoleWithWebIdentity`.
    WebIdentity { host: String, role: String, token: String },
    /// Another action of STS.
    Sts { host: String, action: String },
    /// A GET at a container credentials server.
    Container { url: String },
    /// Credentials of the node's role.
    NodeRole,
    /// Anything else at IMDS.
    InstanceMetadata { path: String },
}

/// The credentials that an SDK resolved, and where from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    WebIdentity {
        role: String,
        audience: String,
        host: String,
    },
    Keys(String),
    Container(String),
    NodeRole,
    Error(String),
}

impl Call {
    /// From what arrived at the servers, and what the SDK's program printed.
    ///
    /// # Panics
    /// When both contradict each other.
    pub(crate) fn of(arrivals: &[Arrival], printed: &str) -> Self {
        let outcome: Value = serde_json::from_str(printed).unwrap_or_else(|_| panic!("printed {printed:?}"));
        let Some(key) = outcome["accessKeyId"].as_str() else {
            return Self::Error(outcome["error"].as_str().expect("a key or an error").to_owned());
        };
        let found = match key {
            WEB_IDENTITY_KEY => arrivals.iter().rev().find_map(|arrival| match arrival {
                Arrival::WebIdentity { host, role, token } => Some(Self::WebIdentity {
                    role: role.clone(),
                    audience: audience_of(token),
                    host: host.clone(),
                }),
                _ => None,
            }),
            CONTAINER_KEY => arrivals.iter().rev().find_map(|arrival| match arrival {
                Arrival::Container { url } => Some(Self::Container(url.clone())),
                _ => None,
            }),
            NODE_KEY => arrivals.contains(&Arrival::NodeRole).then_some(Self::NodeRole),
            key => Some(Self::Keys(key.to_owned())),
        };
        found.unwrap_or_else(|| panic!("the key {key} was resolved, but the servers saw {arrivals:?}"))
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WebIdentity { role, audience, host } if host == USUAL_STS => {
                write!(f, "web-identity {role} {audience}")
            }
            Self::WebIdentity { role, audience, host } => write!(f, "web-identity {role} {audience} at {host}"),
            Self::Keys(key) => write!(f, "keys {key}"),
            Self::Container(url) => write!(f, "container {url}"),
            Self::NodeRole => f.write_str("node role"),
            Self::Error(_) => f.write_str("error"),
        }
    }
}

/// The audience of a token.
fn audience_of(token: &str) -> String {
    token
        .split('.')
        .nth(1)
        .and_then(base64::decode)
        .and_then(|claims| serde_json::from_slice::<Value>(&claims).ok())
        .and_then(|claims| claims["aud"][0].as_str().map(str::to_owned))
        .unwrap_or_else(|| "(not a token)".to_owned())
}
