//! `rolegate certs`: a CA and a serving certificate for a webhook on a developer's machine.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, anyhow, bail};

use super::exit::Exit;
use super::output::{self, COMMAND, GOOD, Styled, fields};
use crate::args::certs::{CertsArgs, CertsSettings, Existing};
use crate::certs::issue::{Authority, IssueError, SubjectName};
use crate::support::text::shell::Command;
use crate::support::{files, platform};

const DAY: Duration = Duration::from_hours(24);

/// Runs the command.
pub(super) fn run(args: CertsArgs) -> Result<Exit> {
    let CertsSettings {
        directory,
        names,
        days,
        existing,
    } = args.settings();
    let files = issue(&names, SystemTime::now(), DAY.saturating_mul(days))?;
    write_all(&directory, &files, existing)?;
    output::print(&summary(&directory, &names, days))?;
    Ok(Exit::Yes)
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

/// All four or none of them: nothing is written if one is in the way.
fn write_all(directory: &Path, files: &[Output], existing: Existing) -> Result<()> {
    fs::create_dir_all(directory).map_err(|error| {
        let (directory, why) = (directory.display(), files::why(&error));
        anyhow!("--dir {directory}: the directory cannot be created ({why}); name another one")
    })?;
    if existing == Existing::Keep {
        for file in files {
            let path = directory.join(file.name);
            if path.symlink_metadata().is_ok() {
                bail!(
                    "{} exists; --force replaces it, --dir DIR writes elsewhere",
                    path.display()
                );
            }
        }
    }
    for file in files {
        let path = directory.join(file.name);
        write_new(&path, file).with_context(|| path.display().to_string())?;
    }
    Ok(())
}

/// Writes a temporary file and renames it into place: a webhook that re-reads the file never sees half of it, and the mode of a
/// file that was readable by others is not kept.
fn write_new(path: &Path, Output { name, mode, text }: &Output) -> io::Result<()> {
    let temporary = path.with_file_name(format!(".{name}.{}", std::process::id()));
    let mut file = platform::with_mode(OpenOptions::new().write(true).create_new(true), *mode).open(&temporary)?;
    let written = file
        .write_all(text.as_bytes())
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        // The error that matters is the one that is returned.
        let _ = fs::remove_file(&temporary);
    }
    written
}

fn summary(dir: &Path, names: &[SubjectName], days: u32) -> String {
    let file = |name: &str| dir.join(name).display().to_string();
    let shown = names.iter().map(SubjectName::to_string).collect::<Vec<_>>().join(", ");
    let rows = fields(
        &[
            (
                "ca.crt",
                "the CA's certificate: for caBundle and for clients to trust".to_owned(),
            ),
            (
                "ca.key",
                "its private key: signs more certificates, is not needed to serve".to_owned(),
            ),
            ("tls.crt", "the serving certificate".to_owned()),
            ("tls.key", "its private key".to_owned()),
            ("valid for", shown),
            ("days", days.to_string()),
        ],
        output::width(),
    );
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
