//! Files that flags name; `-` is standard input.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use anyhow::{Error, Result, anyhow, bail};

use crate::support::files;

/// Opens a regular file of bounded length, or a stream of any length (`-` is standard input), for a reader that works line by line.
///
/// # Errors
/// Which flag and file, and why not.
pub(super) fn open(flag: &str, file: &Path) -> Result<Box<dyn Read>> {
    if is_stream(file) {
        return open_stream(file).map_err(|error| unreadable(flag, file, &error));
    }
    match files::open(file) {
        // It may grow while it is read.
        Ok((opened, _)) => Ok(Box::new(opened.take(files::LIMIT))),
        Err(error) if error.kind() == io::ErrorKind::FileTooLarge => {
            bail!("{flag} {}: {error}; pass it on standard input, as -", name(file))
        }
        Err(error) => Err(unreadable(flag, file, &error)),
    }
}

fn open_stream(file: &Path) -> io::Result<Box<dyn Read>> {
    if file.as_os_str() == "-" {
        return Ok(Box::new(io::stdin().lock()));
    }
    Ok(Box::new(File::open(file)?))
}

/// The name of the file in messages.
pub(super) fn name(file: &Path) -> String {
    if file.as_os_str() == "-" {
        "standard input".to_owned()
    } else {
        file.display().to_string()
    }
}

/// Reads a whole text that a flag names. A trust policy has at most 8,192 characters, so a file over the limit is a mistake.
///
/// # Errors
/// Which flag and file, and why not.
pub(super) fn read(flag: &str, file: &Path) -> Result<String> {
    text(file).map_err(|error| unreadable(flag, file, &error))
}

/// The error of a file that a flag names.
fn unreadable(flag: &str, file: &Path, error: &io::Error) -> Error {
    let step = match error.kind() {
        io::ErrorKind::NotFound => "; specify a file that exists, or - for standard input",
        _ if file.is_dir() => "; name a file in it",
        _ => "",
    };
    anyhow!("{flag} {}: {}{step}", name(file), files::why(error))
}

/// Checks that a directory which a flag names can be listed.
///
/// # Errors
/// Which flag and directory, why not, and what to do.
pub(super) fn check_directory(flag: &str, directory: &Path, step: &str) -> Result<()> {
    let problem = match fs::metadata(directory) {
        Ok(data) if data.is_dir() => return Ok(()),
        Ok(_) => bail!(
            "{flag}{}: it is not a directory; name the directory that the file is in",
            directory.display()
        ),
        Err(error) if error.kind() == io::ErrorKind::NotFound => "no such directory".to_owned(),
        Err(error) => files::why(&error),
    };
    bail!("{flag}{}: {problem}; {step}", directory.display())
}

/// Reads a whole text.
///
/// # Errors
/// Why not, without the name of the file.
pub(super) fn text(file: &Path) -> io::Result<String> {
    let bytes = read_bytes(file)?;
    let invalid = |why: &str| io::Error::new(io::ErrorKind::InvalidData, why);
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        let why = "UTF-16 text, as Windows PowerShell's > writes it; write UTF-8 (Out-File -Encoding utf8)";
        return Err(invalid(why));
    }
    String::from_utf8(bytes).map_err(|_| invalid("not UTF-8 text"))
}

fn read_bytes(file: &Path) -> io::Result<Vec<u8>> {
    if !is_stream(file) {
        return files::read(file);
    }
    let mut bytes = Vec::new();
    let opened = open_stream(file)?;
    opened.take(files::LIMIT.saturating_add(1)).read_to_end(&mut bytes)?;
    files::check_length(u64::try_from(bytes.len()).unwrap_or(u64::MAX))?;
    Ok(bytes)
}

/// Whether a file is a stream that the shell has opened: standard input, or a process substitution, `<(aws iam get-role …)`.
fn is_stream(file: &Path) -> bool {
    let is_descriptor = ["/dev/fd", "/proc/self/fd"]
        .iter()
        .any(|parent| file.starts_with(parent));
    is_descriptor || file.as_os_str() == "-" || file.as_os_str() == "/dev/stdin"
}
