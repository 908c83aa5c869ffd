//! A file, with its state at the last check.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use parking_lot::Mutex;

use crate::support::files::{self, Stamp};

/// A file of the directory. The index shares it, so that a role can be checked without the others.
#[derive(Debug)]
pub(super) struct WatchedFile {
    path: Arc<Path>,
    seen: Mutex<Option<Seen>>,
    cost: Arc<Cost>,
}

/// What looking at files has cost since the source was opened.
#[derive(Debug, Default)]
pub(super) struct Cost {
    /// How often a file was looked at.
    pub(super) looks: AtomicU64,
    /// How often the content of a file was read.
    pub(super) reads: AtomicU64,
}

/// What was seen of a file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    /// None when it could not be read.
    stamp: Option<Stamp>,
    /// The hash of its content, or of the error.
    fingerprint: u64,
}

/// What a look found.
#[derive(Debug)]
pub(super) enum Look {
    /// The same as before.
    Same,
    /// Something else, which is to be recorded with [`WatchedFile::record`].
    New { read: io::Result<Vec<u8>>, seen: Seen },
}

impl WatchedFile {
    /// A file that was not looked at yet.
    pub(super) fn new(path: Arc<Path>, cost: Arc<Cost>) -> Self {
        Self {
            path,
            seen: Mutex::default(),
            cost,
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Looks at the file, and reads it unless its metadata prove that it has not changed. Blocks.
    pub(super) fn look(&self) -> Look {
        self.cost.looks.fetch_add(1, Ordering::Relaxed);
        let before = *self.seen.lock();
        let now = SystemTime::now();
        let stamped = before.and_then(|seen| seen.stamp);
        if let (Some(stamp), Ok(data)) = (stamped, fs::metadata(&self.path))
            && stamp.proves_unchanged(&Stamp::of(&data, now))
        {
            return Look::Same;
        }
        let opened = files::open(&self.path);
        let (stamp, read) = match opened {
            Err(error) => (None, Err(error)),
            Ok((file, data)) => {
                self.cost.reads.fetch_add(1, Ordering::Relaxed);
                let read = files::read_opened(file, &data);
                (read.is_ok().then(|| Stamp::of(&data, now)), read)
            }
        };
        let seen = Seen {
            stamp,
            fingerprint: fingerprint(&read),
        };
        if before.is_none_or(|before| before.fingerprint != seen.fingerprint) {
            return Look::New { read, seen };
        }
        let mut last = self.seen.lock();
        if last.is_some_and(|last| last.fingerprint == seen.fingerprint) {
            *last = Some(seen);
        }
        Look::Same
    }

    /// Records what was seen and understood, or reported.
    pub(super) fn record(&self, seen: Seen) {
        *self.seen.lock() = Some(seen);
    }

    /// Whether the next look must read the file, because it changed recently or could not be read.
    pub(super) fn must_be_read(&self) -> bool {
        let stamp = self.seen.lock().and_then(|seen| seen.stamp);
        !stamp.is_some_and(|stamp| stamp.is_settled())
    }
}

/// Distinguishes contents. Not a defense against forgery: a process that writes the files may write anything.
fn fingerprint(read: &io::Result<Vec<u8>>) -> u64 {
    let mut hasher = DefaultHasher::new();
    match read {
        Ok(bytes) => bytes.hash(&mut hasher),
        Err(error) => error.to_string().hash(&mut hasher),
    }
    hasher.finish()
}
