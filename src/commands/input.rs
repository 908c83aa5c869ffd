//! Files that flags name; `-` is standard input.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use anyhow::{Context as _, Result, bail};

/// The longest file that is read, in bytes. A trust policy has at most 8192 characters, so a longer file is a mistake.
const LIMIT: u64 = 16 * 1024 * 1024;

/// Opens a file, or standard input for `-`.
///
/// # Errors
/// Which file, and why not.
pub(super) fn open(file: &Path) -> Result<Box<dyn Read>> {
    if file.as_os_str() == "-" {
        return Ok(Box::new(io::stdin().lock()));
    }
    let opened = File::open(file).with_context(|| name(file))?;
    Ok(Box::new(opened))
}

/// The name of the file in messages.
pub(super) fn name(file: &Path) -> String {
    if file.as_os_str() == "-" {
        "standard input".to_owned()
    } else {
        file.display().to_string()
    }
}

/// Reads a whole text.
///
/// # Errors
/// Which file, and why not.
pub(super) fn read(file: &Path) -> Result<String> {
    let mut bytes = Vec::new();
    let mut opened = open(file)?.take(LIMIT.saturating_add(1));
    opened.read_to_end(&mut bytes).with_context(|| name(file))?;
    let name = name(file);
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > LIMIT {
        bail!("{name}: longer than {} MiB, which no policy is", LIMIT / 1024 / 1024);
    }
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        bail!("{name}: UTF-16 text, as Windows PowerShell's > writes it; write UTF-8 (Out-File -Encoding utf8)");
    }
    match String::from_utf8(bytes) {
        Ok(text) => Ok(text),
        Err(_) => bail!("{name}: not UTF-8 text"),
    }
}
