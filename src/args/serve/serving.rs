//! Where the webhook listens and how it shuts down.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::args::duration;
use crate::args::switch::{Default::Off, SwitchArg as _};
use crate::args::usage::UsageError;

const LONGEST_DRAIN: Duration = Duration::from_mins(10);

/// Listeners, the directory of a webhook without a cluster, shutdown.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Serving")]
pub(crate) struct ServingArgs {
    /// Address for admission reviews (HTTPS)
    ///
    /// An IP address and a port. `:8443` listens on every IPv4 address; port 0 picks a free port, which is logged.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "0.0.0.0:8443", value_parser = listen_address)]
    pub(crate) listen: SocketAddr,

    /// Address for probes, metrics and /roles (HTTP)
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "0.0.0.0:8080", value_parser = listen_address)]
    pub(crate) admin_listen: SocketAddr,

    /// Serve /roles to remote clients, not only to loopback addresses
    ///
    /// The endpoint lists the cached roles and the state of their trust policies.
    #[arg(long, switch = Off)]
    pub(crate) admin_allow_remote_roles: bool,

    /// Serve from a directory, without a cluster
    ///
    /// ServiceAccounts are read from DIR/*.yaml and *.yml (documents and Lists; other kinds are skipped), trust
    /// policies from DIR/roles/ unless --role-source is set. The certificate is self-signed unless --tls-cert and
    /// --tls-key are set. Events are not written, and ServiceAccounts are not evaluated again after admission. Requires
    /// --issuer.
    #[arg(long, value_name = "DIR", requires = "issuer")]
    pub(crate) standalone: Option<PathBuf>,

    /// How long to keep accepting connections after SIGTERM
    ///
    /// API servers keep using their connections to a terminating pod; each connection is closed after its next
    /// response. A second signal stops the process at once. From 0s to 10m.
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = duration::between(Duration::ZERO, LONGEST_DRAIN))]
    pub(crate) drain: Duration,
}

impl ServingArgs {
    pub(super) fn validate(&self) -> Result<(), UsageError> {
        if self.listen == self.admin_listen && self.listen.port() != 0 {
            return Err(UsageError::conflict(format!(
                "--listen and --admin-listen are both {}; give each its own port",
                self.listen
            )));
        }
        Ok(())
    }
}

fn listen_address(text: &str) -> Result<SocketAddr, String> {
    let expanded = match text.strip_prefix("localhost:") {
        Some(port) => format!("{}:{port}", Ipv4Addr::LOCALHOST),
        None if text.starts_with(':') => format!("{}{text}", Ipv4Addr::UNSPECIFIED),
        None => text.to_owned(),
    };
    expanded
        .parse()
        .map_err(|_| "expected an IP address and a port, such as 0.0.0.0:8443, [::]:8443 or :8443".to_owned())
}
