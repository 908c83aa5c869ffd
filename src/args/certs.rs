//! The flags of `rolegate certs`.

use std::path::PathBuf;

use clap::Args;

use super::switch::{Default::Off, SwitchArg as _};
use crate::certs::issue::SubjectName;

/// What `--help` prints after the flags.
const AFTER_HELP: &str = "\
Writes ca.crt, ca.key, tls.crt and tls.key. Only their owner can read the keys (0600). The certificate is valid for \
localhost, 127.0.0.1, ::1 and the given names, from ten minutes before now.

Exit codes:
  0  written
  2  not written: a file already exists (--force replaces all four), or usage error

Examples:
  For a webhook on this machine
    rolegate certs
    rolegate serve --standalone DIR --issuer URL \\
      --tls-cert certs/tls.crt --tls-key certs/tls.key

  For a webhook that a cluster reaches by name
    rolegate certs --dns-name rolegate.rolegate-system.svc --days 7";

/// The flags of `rolegate certs`.
#[derive(Args, Clone, Debug)]
#[command(after_long_help = AFTER_HELP)]
pub(crate) struct CertsArgs {
    /// Directory to write to; created if it does not exist
    #[arg(long, value_name = "DIR", default_value = "certs")]
    dir: PathBuf,

    /// DNS names of the serving certificate, in addition to localhost
    ///
    /// May be repeated or separated by commas.
    #[arg(long, value_name = "NAME", value_delimiter = ',', value_parser = dns_name)]
    dns_name: Vec<SubjectName>,

    /// IP addresses of the serving certificate, in addition to 127.0.0.1 and ::1
    ///
    /// May be repeated or separated by commas.
    #[arg(long, value_name = "ADDRESS", value_delimiter = ',', value_parser = ip_address)]
    ip: Vec<SubjectName>,

    /// Validity of both certificates in days, 1 to 3650
    #[arg(long, value_name = "DAYS", default_value = "365", value_parser = clap::value_parser!(u32).range(1..=3650))]
    days: u32,

    /// Replace existing files
    #[arg(long, switch = Off)]
    force: bool,
}

/// What to issue, and where to.
pub(crate) struct CertsSettings {
    pub(crate) directory: PathBuf,
    /// Each once.
    pub(crate) names: Vec<SubjectName>,
    pub(crate) days: u32,
    pub(crate) existing: Existing,
}

/// What happens to existing files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Existing {
    Keep,
    Replace,
}

impl CertsArgs {
    pub(crate) fn settings(self) -> CertsSettings {
        let Self {
            dir,
            dns_name,
            ip,
            days,
            force,
        } = self;
        let mut names = SubjectName::loopback();
        for name in dns_name.into_iter().chain(ip) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        CertsSettings {
            directory: dir,
            names,
            days,
            existing: if force { Existing::Replace } else { Existing::Keep },
        }
    }
}

fn dns_name(text: &str) -> Result<SubjectName, String> {
    SubjectName::parse(text).and_then(|name| match name {
        SubjectName::Dns(_) => Ok(name),
        SubjectName::Ip(_) => Err("expected a DNS name; set an IP address with --ip".to_owned()),
    })
}

fn ip_address(text: &str) -> Result<SubjectName, String> {
    let address = text
        .parse()
        .map_err(|_| "expected an IP address, such as 10.0.0.1 or fd00::1".to_owned())?;
    Ok(SubjectName::Ip(address))
}
