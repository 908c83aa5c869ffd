//! Trust policies from a directory of JSON files.
//!
//! Every `*.json` below the directory is read; `formats` recognizes its format by its content. At the start an invalid file is an
//! error. Later, files are read again every two seconds and when a role is asked for, by content, because the mount of a ConfigMap is
//! swapped by a symbolic link that no watch on a file sees. Then
//!
//! - a file that became invalid keeps its last valid content, and the changes of every other file count;
//! - two files that contradict each other keep the whole directory as it was, since either may be the correct one;
//! - the roles of a file that was removed are removed with it.

mod error;
mod formats;
mod found;
mod index;
mod terraform;
mod tree;

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use futures::future::{BoxFuture, ready};
use futures::stream::once;
use futures::{FutureExt, StreamExt};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

pub use self::error::RoleFilesError;
use self::formats::Flaw;
use self::found::FoundRole;
use self::index::Index;
use super::source::{Answer, Listing, Pace, RoleSource, SourceHealth};
use crate::support::coalesce::{Caller, Coalescer, Reading};
use crate::support::reload;
use crate::support::state_log::StateLog;
use crate::trust::RoleArn;

/// What the source answers for a role that no file defines.
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
    /// Reads of the directory.
    reads: Coalescer<(), ()>,
    tasks: TaskTracker,
    end: CancellationToken,
    _end_on_drop: DropGuard,
}

impl FileRoles {
    /// How often files are read again when no role is asked for.
    pub const POLL: Duration = reload::INTERVAL;

    /// Reads a directory.
    ///
    /// # Errors
    /// The first invalid file, and where; two files that define a role differently; a directory that cannot be read.
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
                    log: StateLog::default(),
                },
            );
        }
        let index = index_of(&files)?;
        let (tasks, end) = (TaskTracker::new(), CancellationToken::new());
        Ok(Self {
            shared: Arc::new(Shared {
                directory,
                index: ArcSwap::from_pointee(index),
                files: Mutex::new(Files {
                    files,
                    directory: StateLog::default(),
                    contradiction: StateLog::default(),
                }),
                opened,
                read_at: AtomicU64::new(0),
                failures: AtomicU64::new(0),
                broken: AtomicUsize::new(0),
                changes: watch::Sender::new(0),
            }),
            when_missing,
            poll,
            reads: Coalescer::new(tasks.clone(), end.clone()),
            tasks,
            _end_on_drop: end.clone().drop_guard(),
            end,
        })
    }

    /// How many files are invalid now, plus one when the directory cannot be read, plus one when two files contradict each other.
    #[must_use]
    pub fn broken_files(&self) -> usize {
        self.shared.broken.load(Ordering::Relaxed)
    }

    /// How many roles the files define.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shared.index.load().len()
    }

    /// Whether the files define no role at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Reads the directory again now, and takes over what is valid. Blocks on the file system.
    pub fn reload(&self) {
        self.shared.reload();
    }

    /// The same on a thread that may block, shared with all callers that it is good for.
    async fn read_again(&self, caller: Caller) {
        let shared = Arc::clone(&self.shared);
        let read = move |reading: Reading| {
            let shared = Arc::clone(&shared);
            async move {
                reading.begin(Duration::ZERO);
                if let Err(error) = tokio::task::spawn_blocking(move || shared.reload()).await {
                    warn!(%error, "failed to read the role files again");
                }
            }
        };
        self.reads.ask((), caller, read).await;
    }
}

impl RoleSource for FileRoles {
    fn name(&self) -> &'static str {
        "files"
    }

    fn read<'a>(&'a self, role: &'a RoleArn, as_of: Instant) -> BoxFuture<'a, Answer> {
        async move {
            if self.shared.read_at() < as_of {
                self.read_again(Caller::as_of(as_of)).await;
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
                self.read_again(Caller::as_of(Instant::now()).in_background()).await;
            }
            self.end.cancel();
            self.tasks.close();
            self.tasks.wait().await;
        }
        .boxed()
    }

    fn health(&self) -> SourceHealth {
        SourceHealth {
            reload_failures: self.shared.failures.load(Ordering::Relaxed),
        }
    }
}

/// What the source shares with its reads.
#[derive(Debug)]
struct Shared {
    directory: PathBuf,
    index: ArcSwap<Index>,
    files: Mutex<Files>,
    opened: Instant,
    /// When the last read of the directory began, in nanoseconds after it was opened; set when it has ended.
    read_at: AtomicU64,
    failures: AtomicU64,
    broken: AtomicUsize,
    changes: watch::Sender<u64>,
}

/// The files as they were read last.
#[derive(Debug)]
struct Files {
    files: BTreeMap<PathBuf, RoleFile>,
    /// Whether the directory and those below it can be read.
    directory: StateLog,
    /// Whether two files define a role differently.
    contradiction: StateLog,
}

#[derive(Debug)]
struct RoleFile {
    /// Of the content that was read last, valid or not; none when it could not be read.
    fingerprint: Option<u64>,
    /// What it defined when it was last valid.
    roles: Vec<FoundRole>,
    /// Whether its present content is valid.
    log: StateLog,
}

impl Shared {
    /// The moment as of which the index is true.
    fn read_at(&self) -> Instant {
        self.opened + Duration::from_nanos(self.read_at.load(Ordering::Acquire))
    }

    fn reload(&self) {
        let mut state = self.files.lock();
        let began = u64::try_from(self.opened.elapsed().as_nanos()).unwrap_or(u64::MAX);
        match tree::json_files(&self.directory) {
            Err(unreadable) => self.failed(&mut state.directory, &RoleFilesError::unreadable(unreadable)),
            Ok(paths) => {
                recovered(&mut state.directory, &self.directory);
                // A contradiction is looked at again only when a file changes.
                if self.read_files(&paths, &mut state.files) {
                    self.take_over(&mut state);
                }
            }
        }
        let files = state.files.values().map(|file| &file.log);
        let failing = files.chain([&state.directory, &state.contradiction]);
        self.broken
            .store(failing.filter(|log| log.is_failing()).count(), Ordering::Relaxed);
        self.read_at.store(began, Ordering::Release);
    }

    /// Reads every file that is there. True when a file has valid new content or is gone.
    fn read_files(&self, paths: &[PathBuf], files: &mut BTreeMap<PathBuf, RoleFile>) -> bool {
        let known = files.len();
        files.retain(|path, file| {
            let stays = paths.binary_search(path).is_ok();
            if !stays {
                // Nothing is wrong with a file that is gone.
                recovered(&mut file.log, path);
            }
            stays
        });
        let mut changed = files.len() != known;
        for path in paths {
            let read = std::fs::read(path);
            if is_gone(path, &read) {
                if let Some(mut file) = files.remove(path) {
                    recovered(&mut file.log, path);
                    changed = true;
                }
                continue;
            }
            let file = files.entry(path.clone()).or_insert_with(|| RoleFile {
                fingerprint: None,
                roles: Vec::new(),
                log: StateLog::default(),
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
                    recovered(&mut file.log, path);
                }
                Err(error) => self.failed(&mut file.log, &error),
            }
        }
        changed
    }

    fn take_over(&self, state: &mut Files) {
        match index_of(&state.files) {
            Ok(index) => {
                self.index.store(Arc::new(index));
                self.changes.send_modify(|version| *version += 1);
                recovered(&mut state.contradiction, &self.directory);
            }
            Err(error) => self.failed(&mut state.contradiction, &error),
        }
    }

    fn failed(&self, log: &mut StateLog, error: &RoleFilesError) {
        if log.failed_because(&error.to_string()) {
            self.failures.fetch_add(1, Ordering::Relaxed);
            warn!(%error, "failed to reload role files; keeping the previous contents");
        }
    }
}

fn recovered(log: &mut StateLog, path: &Path) {
    if log.recovered().is_some() {
        info!(path = %path.display(), "role files reloaded after a failure");
    }
}

/// Whether a file was removed since its directory was read. A symbolic link to nothing is there, and broken.
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

/// Distinguishes contents. Not a defense against forgery: a process that writes the files may write anything.
fn fingerprint(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    hasher.finish()
}
#[cfg(fuzzing)]
pub(crate) fn read_for_fuzzing(bytes: &[u8], below: &Path) {
    drop(formats::read(bytes, below));
}

