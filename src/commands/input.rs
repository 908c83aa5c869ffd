//! Files that are named on the command line; `-` is standard input.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// The most that is read of one file, in bytes. A trust policy has at most 8192 characters; what is far beyond it was not
/// meant.
const LIMIT: u64 = 16 * 1024 * 1024;

/// Opens a file, or standard input for `-`.
///
/// # Errors
/// One line: which file, and why not.
pub(crate) fn open(file: &Path) -> Result<Box<dyn Read>, String> {
    if file.as_os_str() == "-" {
        return Ok(Box::new(io::stdin().lock()));
    }
    let opened = File::open(file).map_err(|error| format!("{}: {error}", file.display()))?;
    Ok(Box::new(opened))
}

/// What messages call it.
pub(crate) fn name(file: &Path) -> String {
    if file.as_os_str() == "-" {
        "standard input".to_owned()
    } else {
        file.display().to_string()
    }
}

/// Reads a whole text.
///
/// # Errors
/// One line: which file, and why not.
pub(crate) fn read(file: &Path) -> Result<String, String> {
    let name = name(file);
    let mut bytes = Vec::new();
    let read = open(file)?.take(LIMIT.saturating_add(1)).read_to_end(&mut bytes);
    read.map_err(|error| format!("{name}: {error}"))?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > LIMIT {
        return Err(format!(
            "{name}: longer than {} MiB, which no policy is",
            LIMIT / 1024 / 1024
        ));
    }
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return Err(format!(
            "{name}: UTF-16 text, as Windows PowerShell's > writes it; write UTF-8 (Out-File -Encoding utf8)"
        ));
    }
    String::from_utf8(bytes).map_err(|_| format!("{name}: not UTF-8 text"))
}
