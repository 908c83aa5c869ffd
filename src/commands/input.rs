//! Files that flags name; `-` is standard input.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use anyhow::{Context as _, Result, bail};

use crate::support::files;

/// Opens a regular file of bounded length, or a stream of any length (`-` is standard input), for a reader that works line by line.
///
/// # Errors
/// Which file, and why not.
pub(super) fn open(file: &Path) -> Result<Box<dyn Read>> {
    if is_stream(file) {
        return open_stream(file).with_context(|| name(file));
    }
    match files::open(file) {
        // It may grow while it is read.
        Ok((opened, _)) => Ok(Box::new(opened.take(files::LIMIT))),
        Err(error) if error.kind() == io::ErrorKind::FileTooLarge => {
            bail!("{}: {error}; pass it on standard input, as -", name(file))
        }
        Err(error) => Err(error).with_context(|| name(file)),
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

/// Reads a whole text. A trust policy has at most 8,192 characters, so a file over the limit is a mistake.
///
/// # Errors
/// Which file, and why not.
pub(super) fn read(file: &Path) -> Result<String> {
    let bytes = read_bytes(file).with_context(|| name(file))?;
    let name = name(file);
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        bail!("{name}: UTF-16 text, as Windows PowerShell's > writes it; write UTF-8 (Out-File -Encoding utf8)");
    }
    match String::from_utf8(bytes) {
        Ok(text) => Ok(text),
        Err(_) => bail!("{name}: not UTF-8 text"),
    }
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
