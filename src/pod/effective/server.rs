//! The container credentials server that a container sets, and whether SDKs call it.

use std::net::Ipv4Addr;

use super::NoIdentity;
use crate::pod::environment::{Environment, Known};
use crate::pod::variables::{
    AUTHORIZATION_TOKEN, AUTHORIZATION_TOKEN_FILE, CREDENTIALS_FULL_URI, CREDENTIALS_RELATIVE_URI,
};

/// A container credentials server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CredentialsServer {
    /// The agent of EKS Pod Identity.
    Agent,
    /// Another one, named by this variable.
    Own(&'static str),
    /// SDKs do not ask it, or it does not answer without a token.
    Refused(NoIdentity),
    /// The value of this variable is not known.
    Unknown(&'static str),
}

/// Where the agent listens on each node.
const AGENT_URIS: [&str; 2] = [
    "http://169.254.170.23/v1/credentials",
    "http://[fd00:ec2::23]/v1/credentials",
];

/// The server that SDKs ask; none when no variable names one. The relative URI wins over the full one.
pub(super) fn find(environment: &Environment<'_>, agent_uri: &str) -> Option<CredentialsServer> {
    match environment.get(CREDENTIALS_RELATIVE_URI) {
        Known::Unknown => return Some(CredentialsServer::Unknown(CREDENTIALS_RELATIVE_URI)),
        Known::Text(uri) if !uri.is_empty() => return Some(CredentialsServer::Own(CREDENTIALS_RELATIVE_URI)),
        Known::Text(_) | Known::Absent => {}
    }
    let uri = match environment.get(CREDENTIALS_FULL_URI) {
        Known::Text(uri) if !uri.is_empty() => uri,
        Known::Text(_) | Known::Absent => return None,
        Known::Unknown => return Some(CredentialsServer::Unknown(CREDENTIALS_FULL_URI)),
    };
    let has_token = [AUTHORIZATION_TOKEN_FILE, AUTHORIZATION_TOKEN]
        .iter()
        .any(|name| environment.get(name).may_be_set());
    Some(if uri == agent_uri || AGENT_URIS.contains(&&*uri) {
        if has_token {
            CredentialsServer::Agent
        } else {
            CredentialsServer::Refused(NoIdentity::NoAgentToken)
        }
    } else if is_accepted_by_sdks(&uri) {
        CredentialsServer::Own(CREDENTIALS_FULL_URI)
    } else {
        CredentialsServer::Refused(NoIdentity::RefusedUri)
    })
}

/// Whether SDKs ask a server at this URI: `https:`, or `http:` at a loopback address or at one of the link-local addresses of ECS
/// and EKS.
pub(crate) fn is_accepted_by_sdks(uri: &str) -> bool {
    let Some((scheme, rest)) = uri.split_once("://") else {
        return false;
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host_and_port = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let host = match host_and_port.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _)) => address,
        None => host_and_port.split(':').next().unwrap_or_default(),
    };
    match scheme {
        _ if host.is_empty() => false,
        "https" => true,
        "http" => {
            ["169.254.170.2", "169.254.170.23", "fd00:ec2::23", "::1", "localhost"].contains(&host)
                || host.parse::<Ipv4Addr>().is_ok_and(|address| address.is_loopback())
        }
        _ => false,
    }
}
