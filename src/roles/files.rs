//! Trust policies from a directory of JSON files.
//!
//! Every `*.json` below the directory is read; `formats` tells by its content what it is. A file that cannot be understood
//! stops the start. Later it does not: files are read again every two seconds and when a role is asked for, by content,
//! because the mount of a ConfigMap is swapped by a symbolic link that no watch on a file sees; then
//!
//! - a file that became unreadable keeps what it said last, and every other file's changes count;
//! - two files that contradict each other keep the whole directory as it was, since neither is known to be the right one;
//! - a file that is gone takes its roles with it.

mod formats;
mod index;
mod terraform;
mod tree;

use std::collections::BTreeMap;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use futures::future::{BoxFuture, ready};
use futures::stream::once;
use futures::{FutureExt, StreamExt};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use self::formats::{Flaw, FoundRole};
use self::index::Index;
use super::source::{Answer, Listing, Pace, RoleSource, SourceHealth};
use crate::support::text;
use crate::trust::RoleArn;

/// What the source says of a role that no file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenMissing {
    /// Another source may know it.
    NotMine,
    /// It does not exist: for the last source.
    NoSuchRole,
}

/// The role source `files=DIR`.
#[derive(Debug)]
pub struct FileRoles {
    shared: Arc<Shared>,
    when_missing: WhenMissing,
    poll: Duration,
}

impl FileRoles {
    /// How often files are read again when nobody asks, unless a test is in a hurry.
    pub const POLL: Duration = Duration::from_secs(2);

    /// Reads a directory.
    ///
    /// # Errors
    /// The first file that is not understood, and where; two files that define a role differently; a directory that cannot
    /// be read.
    pub fn open(
        directory: impl Into<PathBuf>,
        when_missing: WhenMissing,
        poll: Duration,
    ) -> Result<Self, RoleFilesError> {
        let directory = directory.into();
        let opened = Instant::now();
        let mut files = BTreeMap::new();
        for path in tree::json_files(&directory).map_err(RoleFilesError::unreadable)? {
            let bytes = std::fs::read(&path).map_err(|error| RoleFilesError::unreadable((path.clone(), error)))?;
            let roles = understand(&directory, &path, &bytes)?;
            files.insert(
                path,
                RoleFile {
                    fingerprint: Some(fingerprint(&bytes)),
                    roles,
                    broken: None,
                },
            );
        }
        let index = index_of(&files)?;
        Ok(Self {
            shared: Arc::new(Shared {
                directory,
                index: ArcSwap::from_pointee(index),
                files: Mutex::new(Files {
                    files,
                    unreadable: None,
                    contradiction: None,
                }),
                opened,
                looked: AtomicU64::new(0),
                failures: AtomicU64::new(0),
                broken: AtomicUsize::new(0),
                changes: watch::Sender::new(0),
            }),
            when_missing,
            poll,
        })
    }

    /// How many files (and the directory as a whole, where it cannot be read or contradicts itself) are in a state now that could not be taken over: for a metric.
    #[must_use]
    pub fn broken_files(&self) -> usize {
        self.shared.broken.load(Ordering::Relaxed)
    }

    /// How many roles the files hold.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shared.index.load().len()
    }

    /// Whether the files hold no role at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Reads the directory again now, and takes over what can be understood. Blocks on the file system.
    pub fn reload(&self) {
        self.shared.reload(None);
    }

    /// The same where blocking harms nobody, unless somebody has looked since.
    async fn reload_elsewhere(&self, unless_since: Option<Instant>) {
        let shared = Arc::clone(&self.shared);
        if let Err(error) = tokio::task::spawn_blocking(move || shared.reload(unless_since)).await {
            warn!(%error, "the role files could not be read again");
        }
    }
}

impl RoleSource for FileRoles {
    fn name(&self) -> &'static str {
        "files"
    }

    fn read<'a>(&'a self, role: &'a RoleArn, as_of: Instant) -> BoxFuture<'a, Answer> {
        async move {
            if !self.shared.has_looked_since(as_of) {
                self.reload_elsewhere(Some(as_of)).await;
            }
            let index = self.shared.index.load();
            index.answer(role).unwrap_or_else(|| match self.when_missing {
                WhenMissing::NotMine => Answer::NotMine,
                WhenMissing::NoSuchRole => Answer::NoSuchRole { hint: index.hint(role) },
            })
        }
        .boxed()
    }

    fn list(&self) -> Option<Listing<'_>> {
        Some(once(ready(Ok(self.shared.index.load().documents()))).boxed())
    }

    fn changes(&self) -> Option<watch::Receiver<u64>> {
        Some(self.shared.changes.subscribe())
    }

    fn pace(&self) -> Pace {
        Pace::Memory
    }

    fn run(&self, stop: CancellationToken) -> BoxFuture<'_, ()> {
        async move {
            while stop.run_until_cancelled(tokio::time::sleep(self.poll)).await.is_some() {
                self.reload_elsewhere(None).await;
            }
        }
        .boxed()
    }

    fn health(&self) -> SourceHealth {
        SourceHealth {
            reload_failures: self.shared.failures.load(Ordering::Relaxed),
            broken: self.broken_files(),
        }
    }
}

/// Why a directory of role files could not be read. `Display` is one line: file, line, column, what is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoleFilesError {
    /// The file, or the directory.
    pub file: PathBuf,
    /// Line and column, both from 1, where they are known.
    pub position: Option<(usize, usize)>,
    /// What was found and what was expected.
    pub problem: String,
}

impl RoleFilesError {
    fn unreadable((path, error): (PathBuf, io::Error)) -> Self {
        Self {
            file: path,
            position: None,
            problem: format!("cannot be read: {error}"),
        }
    }
}

impl fmt::Display for RoleFilesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&text::line(&self.file.display().to_string()))?;
        if let Some((line, column)) = self.position {
            write!(f, ":{line}:{column}")?;
        }
        write!(f, ": {}", text::line(&self.problem))
    }
}

impl std::error::Error for RoleFilesError {}

/// What the source and its background work share.
#[derive(Debug)]
struct Shared {
    directory: PathBuf,
    index: ArcSwap<Index>,
    files: Mutex<Files>,
    opened: Instant,
    /// When the last look at the directory began, in nanoseconds after it was opened; set when it has ended.
    looked: AtomicU64,
    failures: AtomicU64,
    broken: AtomicUsize,
    changes: watch::Sender<u64>,
}

/// The files as they were read last.
#[derive(Debug)]
struct Files {
    files: BTreeMap<PathBuf, RoleFile>,
    /// Why the directory, or one below it, could not be looked into.
    unreadable: Option<RoleFilesError>,
    /// Two files that define a role differently.
    contradiction: Option<RoleFilesError>,
}

#[derive(Debug)]
struct RoleFile {
    /// Of the content that was looked at last, good or bad; none when it could not be read.
    fingerprint: Option<u64>,
    /// What it said when it was last understood.
    roles: Vec<FoundRole>,
    /// Why its present content is not understood.
    broken: Option<RoleFilesError>,
}

impl Shared {
    /// Whether a look has ended that began after this moment.
    fn has_looked_since(&self, moment: Instant) -> bool {
        let looked = Duration::from_nanos(self.looked.load(Ordering::Acquire));
        looked > moment.saturating_duration_since(self.opened)
    }

    fn reload(&self, unless_since: Option<Instant>) {
        let mut state = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        // Those who waited for the lock find the work done.
        if unless_since.is_some_and(|moment| self.has_looked_since(moment)) {
            return;
        }
        let began = u64::try_from(self.opened.elapsed().as_nanos()).unwrap_or(u64::MAX);
        match tree::json_files(&self.directory) {
            Err(unreadable) => {
                let error = RoleFilesError::unreadable(unreadable);
                self.tell(&mut state.unreadable, Err(error));
            }
            Ok(paths) => {
                self.tell(&mut state.unreadable, Ok(&self.directory));
                // A contradiction is looked at anew only when a file changes.
                if self.look_at(&paths, &mut state.files) {
                    self.take_over(&mut state);
                }
            }
        }
        let files = state.files.values().filter(|file| file.broken.is_some()).count();
        let as_a_whole = [&state.unreadable, &state.contradiction]
            .iter()
            .filter(|broken| broken.is_some())
            .count();
        self.broken.store(files + as_a_whole, Ordering::Relaxed);
        self.looked.store(began, Ordering::Release);
    }

    /// Reads every file that is there; whether any said something new or is gone.
    fn look_at(&self, paths: &[PathBuf], files: &mut BTreeMap<PathBuf, RoleFile>) -> bool {
        let known = files.len();
        files.retain(|path, file| {
            let stays = paths.binary_search(path).is_ok();
            if !stays {
                // Nothing is wrong with a file that is gone.
                self.tell(&mut file.broken, Ok(path));
            }
            stays
        });
        let mut changed = files.len() != known;
        for path in paths {
            let read = std::fs::read(path);
            if is_gone(path, &read) {
                if let Some(mut file) = files.remove(path) {
                    self.tell(&mut file.broken, Ok(path));
                    changed = true;
                }
                continue;
            }
            let file = files.entry(path.clone()).or_insert_with(|| RoleFile {
                fingerprint: None,
                roles: Vec::new(),
                broken: None,
            });
            let understood = match &read {
                Err(error) => {
                    file.fingerprint = None;
                    let error = io::Error::new(error.kind(), error.to_string());
                    Err(RoleFilesError::unreadable((path.clone(), error)))
                }
                Ok(bytes) => {
                    let now = Some(fingerprint(bytes));
                    if file.fingerprint == now {
                        continue;
                    }
                    file.fingerprint = now;
                    understand(&self.directory, path, bytes)
                }
            };
            match understood {
                Ok(roles) => {
                    file.roles = roles;
                    changed = true;
                    self.tell(&mut file.broken, Ok(path));
                }
                Err(error) => self.tell(&mut file.broken, Err(error)),
            }
        }
        changed
    }

    fn take_over(&self, state: &mut Files) {
        match index_of(&state.files) {
            Ok(index) => {
                self.index.store(Arc::new(index));
                self.changes.send_modify(|version| *version += 1);
                self.tell(&mut state.contradiction, Ok(&self.directory));
            }
            Err(error) => self.tell(&mut state.contradiction, Err(error)),
        }
    }

    /// Notes whether a file is good, and logs when that changed.
    fn tell(&self, broken: &mut Option<RoleFilesError>, now: Result<&Path, RoleFilesError>) {
        match now {
            Ok(path) => {
                if broken.take().is_some() {
                    info!(path = %path.display(), "the role files are good again");
                }
            }
            Err(error) => {
                if broken.as_ref() == Some(&error) {
                    return;
                }
                self.failures.fetch_add(1, Ordering::Relaxed);
                warn!(%error, "a change of the role files is not taken over; what they said before still counts");
                *broken = Some(error);
            }
        }
    }
}

/// Whether a file left between the look at its directory and now. A symbolic link to nothing is there, and broken.
fn is_gone(path: &Path, read: &io::Result<Vec<u8>>) -> bool {
    let not_found = matches!(read, Err(error) if error.kind() == io::ErrorKind::NotFound);
    not_found && path.symlink_metadata().is_err()
}

fn understand(directory: &Path, path: &Path, bytes: &[u8]) -> Result<Vec<FoundRole>, RoleFilesError> {
    let below = path.strip_prefix(directory).unwrap_or(path);
    formats::read(bytes, below).map_err(|Flaw { position, problem }| RoleFilesError {
        file: path.to_owned(),
        position,
        problem,
    })
}

fn index_of(files: &BTreeMap<PathBuf, RoleFile>) -> Result<Index, RoleFilesError> {
    Index::build(files.iter().map(|(path, file)| (path.as_path(), file.roles.as_slice())))
}

/// Tells contents apart. Not a defense against forgery: whoever writes the files may write what they like.
fn fingerprint(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    hasher.finish()
}
