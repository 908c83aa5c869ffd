//! `rolegate certs`: a CA and a serving certificate for a webhook that runs on a developer's machine.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use clap::{ArgAction, Args};

use super::output::{self, COMMAND, GOOD, Styled, fields};
use super::{Exit, values};
use crate::certs::issue::{Authority, IssueError, SubjectName};
use crate::support::text::shell::Command;

const DAY: Duration = Duration::from_secs(86_400);

/// What `--help` says below the flags.
const AFTER_HELP: &str = "\
Writes ca.crt, ca.key, tls.crt and tls.key; the keys are readable by their owner only (0600). The certificate is good for
localhost, 127.0.0.1, ::1 and the names that are given, from ten minutes ago.

Exit codes:
  0  written
  2  not written: a file exists already (--force replaces all four), or bad use

Examples:
  For a webhook on this machine
    rolegate certs
    rolegate serve --standalone DIR --issuer URL \\
      --tls-cert certs/tls.crt --tls-key certs/tls.key

  For one that a cluster reaches under a name
    rolegate certs --dns-name rolegate.rolegate-system.svc --days 7";

/// The flags of `rolegate certs`.
#[derive(Args, Clone, Debug)]
#[command(after_long_help = AFTER_HELP)]
pub(crate) struct CertsArgs {
    /// Where to write; made if it does not exist
    #[arg(long, value_name = "DIR", default_value = "certs")]
    dir: PathBuf,

    /// DNS names of the serving certificate, beside localhost
    ///
    /// May be repeated or separated by commas.
    #[arg(long, value_name = "NAME", value_delimiter = ',', value_parser = dns_name)]
    dns_name: Vec<SubjectName>,

    /// IP addresses of the serving certificate, beside 127.0.0.1 and ::1
    ///
    /// May be repeated or separated by commas.
    #[arg(long, value_name = "ADDRESS", value_delimiter = ',', value_parser = ip_address)]
    ip: Vec<SubjectName>,

    /// Days that both certificates are good for, 1 to 3650
    #[arg(long, value_name = "DAYS", default_value = "365", value_parser = clap::value_parser!(u32).range(1..=3650))]
    days: u32,

    /// Replace files that exist
    #[arg(long, value_name = "BOOL", default_value = "false", default_missing_value = "true", num_args = 0..=1, require_equals = true, action = ArgAction::Set, value_parser = values::switch)]
    force: bool,
}

/// Runs the command.
pub(crate) fn run(args: CertsArgs) -> Exit {
    let CertsArgs {
        dir,
        dns_name,
        ip,
        days,
        force,
    } = args;
    let mut names = SubjectName::loopback();
    for name in dns_name.into_iter().chain(ip) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let existing = if force { Existing::Replace } else { Existing::Keep };
    let written = issue(&names, SystemTime::now(), DAY.saturating_mul(days))
        .map_err(|error| error.to_string())
        .and_then(|files| write_all(&dir, &files, existing));
    if let Err(message) = written {
        output::error(message);
        return Exit::Unclear;
    }
    match output::print(&told(&dir, &names, days)) {
        Ok(()) => Exit::Yes,
        Err(error) => {
            output::error(format!("standard output: {error}"));
            Exit::Unclear
        }
    }
}

/// Whether files that exist are replaced.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Existing {
    Keep,
    Replace,
}

/// A file to be written.
struct Output {
    name: &'static str,
    mode: u32,
    text: String,
}

fn issue(names: &[SubjectName], now: SystemTime, validity: Duration) -> Result<[Output; 4], IssueError> {
    let authority = Authority::generate("rolegate development CA", now, validity)?;
    let leaf = authority.issue(names, now, validity)?;
    Ok([
        Output {
            name: "ca.crt",
            mode: 0o644,
            text: authority.certificate_pem().to_owned(),
        },
        Output {
            name: "ca.key",
            mode: 0o600,
            text: authority.key_pem().to_owned(),
        },
        Output {
            name: "tls.crt",
            mode: 0o644,
            text: leaf.certificate_pem().to_owned(),
        },
        Output {
            name: "tls.key",
            mode: 0o600,
            text: leaf.key_pem().to_owned(),
        },
    ])
}

/// All four or none of them: first it is seen that nothing is in the way.
fn write_all(dir: &Path, files: &[Output], existing: Existing) -> Result<(), String> {
    let failed = |path: &Path, error: io::Error| format!("{}: {error}", path.display());
    fs::create_dir_all(dir).map_err(|error| failed(dir, error))?;
    if existing == Existing::Keep {
        for file in files {
            let path = dir.join(file.name);
            if path.symlink_metadata().is_ok() {
                return Err(format!(
                    "{} exists; --force replaces it, --dir DIR writes elsewhere",
                    path.display()
                ));
            }
        }
    }
    for file in files {
        let path = dir.join(file.name);
        write_new(&path, file).map_err(|error| failed(&path, error))?;
    }
    Ok(())
}

/// Written beside and renamed into place: a webhook that is re-reading the file never sees half of it, and a file that
/// was readable by others does not keep that.
fn write_new(path: &Path, Output { name, mode, text }: &Output) -> io::Result<()> {
    let beside = path.with_file_name(format!(".{name}.{}", std::process::id()));
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(*mode)
        .open(&beside)?;
    let written = file
        .write_all(text.as_bytes())
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::rename(&beside, path));
    if written.is_err() {
        // The error that matters is the one that is returned.
        let _ = fs::remove_file(&beside);
    }
    written
}

fn told(dir: &Path, names: &[SubjectName], days: u32) -> String {
    let file = |name: &str| dir.join(name).display().to_string();
    let shown = names.iter().map(SubjectName::to_string).collect::<Vec<_>>().join(", ");
    let rows = fields(&[
        (
            "ca.crt",
            "the CA's certificate: clients trust it, caBundle holds it".to_owned(),
        ),
        (
            "ca.key",
            "its key, secret: signs more certificates, is not needed to serve".to_owned(),
        ),
        ("tls.crt", "the serving certificate".to_owned()),
        ("tls.key", "its key, secret".to_owned()),
        ("good for", shown),
        ("days", days.to_string()),
    ]);
    let (certificate, key) = (file("tls.crt"), file("tls.key"));
    let serve = Command::new("rolegate serve --standalone DIR --issuer URL")
        .flag("--tls-cert")
        .arg(&certificate)
        .flag("--tls-key")
        .arg(&key)
        .finish()
        .unwrap_or_default();
    let sign = Styled(GOOD, "✓");
    let command = Styled(COMMAND, serve);
    let dir = dir.display();
    format!("{sign} wrote a development CA and a serving certificate to {dir}\n\n{rows}\nNext:\n  {command}\n")
}

fn dns_name(text: &str) -> Result<SubjectName, String> {
    SubjectName::parse(text).and_then(|name| match name {
        SubjectName::Dns(_) => Ok(name),
        SubjectName::Ip(_) => Err("expected a DNS name; --ip takes addresses".to_owned()),
    })
}

fn ip_address(text: &str) -> Result<SubjectName, String> {
    let address = text
        .parse()
        .map_err(|_| "expected an IP address, such as 10.0.0.1 or fd00::1".to_owned())?;
    Ok(SubjectName::Ip(address))
}
