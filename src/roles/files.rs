//! Trust policies from a directory of JSON files.
//!
//! Every `*.json` below the directory is read; `formats` recognizes its format by its content. At startup, an invalid file is an error.
//! Later, the source looks for changes as follows. A file is read again only if its metadata does not prove that it is unchanged, so the
//! cost depends on the number of changes, not on the number of files.
//!
//! - Every two seconds, it checks each directory, and a share of the files in turn. New, replaced and deleted files change their directory;
//!   only a file that is written in place does not. The mount of a ConfigMap is updated by swapping a symbolic link in its directory.
//! - When a role is requested, it checks the files that define this role, and all files if one of them has changed. If there are none, it
//!   checks each directory, and the files that a role could have been added to. Files that define a single role seldom become files of
//!   another role, so these are not checked in a directory with more than 10,000 files: before a refusal, there is no time to check each of
//!   them.
//!
//! Then
//!
//! - a file that became invalid keeps its last valid content, and the changes of every other file count;
//! - two files that contradict each other keep the whole directory as it was, since either may be the correct one;
//! - the roles of a file that was deleted are deleted with it, but only while the directory has other files: a directory that becomes empty
//!   is more often a volume that is not mounted than an intended change.
//!
//! Only complete content proves that a role does not exist. While a directory has no role file at all, or while a change could not be taken
//! over, a role that no file defines is not known, and the error is the reason.

mod error;
mod formats;
mod found;
mod index;
mod terraform;
mod watched;

use std::collections::BTreeMap;
use std::ops::Bound;
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
use self::watched::{Cost, Look, WatchedFile};
use super::source::{Answer, Listing, Pace, RoleSource, SourceHealth};
use crate::support::coalesce::{Caller, Coalescer, Reading};
use crate::support::files::Stamp;
use crate::support::reload;
use crate::support::state_log::StateLog;
use crate::support::tree::{self, Tree};
use crate::trust::RoleArn;

/// How many files are looked at each time at least, and after how many times every file was looked at.
const SHARE: usize = 1000;
const ROUND: usize = 15;

/// Up to how many files are all looked at before a role counts as missing. A look takes up to 7 µs on a busy machine.
const ALL: usize = 10_000;

/// What the source answers for a role that no file defines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenMissing {
    /// Another source may know it.
    NotMine,
    /// It does not exist: for the last source.
    NoSuchRole,
}

/// Whether the source looks for changes after it was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Changes {
    Followed,
    Ignored,
}

/// What is looked at before an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Wanted {
    /// Every file.
    AllFiles,
    /// Every file that could now define a role that no file has defined.
    NewRoles,
}

/// The role source `files=DIR`.
#[derive(Debug)]
pub struct FileRoles {
    shared: Arc<Shared>,
    /// Why it had no role file when it was opened.
    without_files: Option<RoleFilesError>,
    when_missing: WhenMissing,
    changes: Changes,
    poll: Duration,
    /// Looks at many files.
    reads: Coalescer<Wanted, ()>,
    tasks: TaskTracker,
    end: CancellationToken,
    _end_on_drop: DropGuard,
}

impl FileRoles {
    /// How often the source looks for changes when no role is asked for.
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
        let (opened, cost) = (Instant::now(), Arc::new(Cost::default()));
        let Tree {
            files: paths,
            other,
            directories,
        } = tree::walk(&directory).map_err(RoleFilesError::unreadable)?;
        let mut files = BTreeMap::new();
        for path in paths {
            let mut file = RoleFile::new(path.into(), &cost);
            if let Look::New { read, seen } = file.file.look() {
                file.file.record(seen);
                let bytes = read.map_err(|error| RoleFilesError::unreadable((file.file.path().to_owned(), error)))?;
                file.roles = understand(&directory, file.file.path(), &bytes)?;
            }
            files.insert(file.file.path().into(), file);
        }
        let index = Arc::new(index_of(&files)?);
        let without_files = files
            .is_empty()
            .then(|| RoleFilesError::none(&directory, other.as_deref()));
        let doubt = without_files.as_ref().map(reason);
        let (tasks, end) = (TaskTracker::new(), CancellationToken::new());
        Ok(Self {
            shared: Arc::new(Shared {
                directory,
                content: ArcSwap::from_pointee(Content { index, doubt }),
                files: Mutex::new(Files {
                    files,
                    other,
                    directories,
                    looked_until: Path::new("").into(),
                    directory: ReloadState::default(),
                    contradiction: ReloadState::default(),
                }),
                cost,
                opened,
                read_at: AtomicU64::new(0),
                failures: AtomicU64::new(0),
                broken: AtomicUsize::new(0),
                changes: watch::Sender::new(0),
            }),
            without_files,
            when_missing,
            changes: Changes::Followed,
            poll,
            reads: Coalescer::new(tasks.clone(), end.clone()),
            tasks,
            _end_on_drop: end.clone().drop_guard(),
            end,
        })
    }

    /// Answers with what was read when it was opened, for commands that end soon.
    #[must_use]
    pub fn without_changes(self) -> Self {
        Self {
            changes: Changes::Ignored,
            ..self
        }
    }

    /// Why no file was read when the source was opened, if the directory had none: until it has one, no role is known.
    #[must_use]
    pub const fn without_files(&self) -> Option<&RoleFilesError> {
        self.without_files.as_ref()
    }

    /// How many files are invalid now, plus one when the directory cannot be read, plus one when two files contradict each other.
    #[must_use]
    pub fn broken_files(&self) -> usize {
        self.shared.broken.load(Ordering::Relaxed)
    }

    /// How many roles the files define.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shared.content.load().index.len()
    }

    /// Whether the files define no role at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How often a file was looked at since the source was opened.
    #[must_use]
    pub fn looks(&self) -> u64 {
        self.shared.cost.looks.load(Ordering::Relaxed)
    }

    /// How often the content of a file was read, which a look avoids if it can.
    #[must_use]
    pub fn content_reads(&self) -> u64 {
        self.shared.cost.reads.load(Ordering::Relaxed)
    }

    /// Looks at every file now, and takes over what is new and valid. Blocks on the file system.
    pub fn reload(&self) {
        self.shared.reload(Wanted::AllFiles);
    }

    /// Looks for changes as the source does every [`FileRoles::POLL`] by itself. Blocks on the file system.
    pub fn poll(&self) {
        self.shared.poll();
    }

    /// Looks at files on a thread that may block, shared with all callers that it is good for.
    async fn read_again(&self, wanted: Wanted, caller: Caller) {
        let shared = Arc::clone(&self.shared);
        let read = move |reading: Reading| {
            let shared = Arc::clone(&shared);
            async move {
                reading.begin(Duration::ZERO);
                if let Err(error) = tokio::task::spawn_blocking(move || shared.reload(wanted)).await {
                    warn!(%error, "failed to read the role files again");
                }
            }
        };
        self.reads.ask(wanted, caller, read).await;
    }

    /// Whether the files that define a role are the same as when the index was made.
    async fn is_same(&self, files: Vec<Arc<WatchedFile>>) -> bool {
        let look = move || files.iter().all(|file| matches!(file.look(), Look::Same));
        self.tasks.spawn_blocking(look).await.unwrap_or(false)
    }
}

impl RoleSource for FileRoles {
    fn name(&self) -> &'static str {
        "files"
    }

    fn read<'a>(&'a self, role: &'a RoleArn, as_of: Instant) -> BoxFuture<'a, Answer> {
        async move {
            let mut content = self.shared.content.load_full();
            let is_known = self.changes == Changes::Ignored || self.shared.read_at() >= as_of;
            if !is_known {
                let files = content.index.files_of(role);
                let wanted = match files.is_empty() {
                    true => Some(Wanted::NewRoles),
                    false => (!self.is_same(files).await).then_some(Wanted::AllFiles),
                };
                if let Some(wanted) = wanted {
                    self.read_again(wanted, Caller::as_of(as_of)).await;
                    content = self.shared.content.load_full();
                }
            }
            let Content { index, doubt } = &*content;
            index
                .answer(role)
                .unwrap_or_else(|| match (self.when_missing, doubt.clone()) {
                    // Another source may know it.
                    (WhenMissing::NotMine, Some(doubt)) => Answer::CannotRead(doubt),
                    (WhenMissing::NotMine, None) => Answer::NotMine,
                    (WhenMissing::NoSuchRole, Some(doubt)) => Answer::Failed(doubt),
                    (WhenMissing::NoSuchRole, None) => Answer::NoSuchRole { hint: index.hint(role) },
                })
        }
        .boxed()
    }

    fn list(&self) -> Option<Listing<'_>> {
        Some(once(ready(Ok(self.shared.content.load().index.documents()))).boxed())
    }

    fn changes(&self) -> Option<watch::Receiver<u64>> {
        Some(self.shared.changes.subscribe())
    }

    fn pace(&self) -> Pace {
        Pace::Memory
    }

    fn run(&self, stop: CancellationToken) -> BoxFuture<'_, ()> {
        async move {
            if self.changes == Changes::Ignored {
                stop.cancelled().await;
            }
            while stop.run_until_cancelled(tokio::time::sleep(self.poll)).await.is_some() {
                let shared = Arc::clone(&self.shared);
                if let Err(error) = self.tasks.spawn_blocking(move || shared.poll()).await {
                    warn!(%error, "failed to look for changes of role files");
                }
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
    content: ArcSwap<Content>,
    files: Mutex<Files>,
    cost: Arc<Cost>,
    opened: Instant,
    /// When the last look at all files began, in nanoseconds after they were opened; set when it has ended.
    read_at: AtomicU64,
    failures: AtomicU64,
    broken: AtomicUsize,
    changes: watch::Sender<u64>,
}

/// What the files define, and whether that is all.
#[derive(Debug)]
struct Content {
    index: Arc<Index>,
    /// Why a role that is not in the index may exist; none if it does not.
    doubt: Option<Arc<str>>,
}

type FilesByPath = BTreeMap<Arc<Path>, RoleFile>;

/// The files as they were seen last.
#[derive(Debug)]
struct Files {
    files: FilesByPath,
    /// A file in the directory whose name does not end in `.json`.
    other: Option<PathBuf>,
    /// The directory and those below it, as they were when their files were listed. Empty: they must be listed again.
    directories: Vec<(PathBuf, Stamp)>,
    /// The last file of the share that was looked at last.
    looked_until: Arc<Path>,
    /// Whether the directory and those below it can be read.
    directory: ReloadState,
    /// Whether two files define a role differently.
    contradiction: ReloadState,
}

/// Whether a change can be taken over.
#[derive(Debug, Default)]
struct ReloadState {
    log: StateLog,
    /// Why it cannot.
    failure: Option<RoleFilesError>,
}

impl ReloadState {
    fn is_failing(&self) -> bool {
        self.log.is_failing()
    }

    /// It can: what failed before is logged as recovered.
    fn recovered(&mut self, path: &Path) {
        self.failure = None;
        if self.log.recovered().is_some() {
            info!(path = %path.display(), "role files reloaded after a failure");
        }
    }
}

#[derive(Debug)]
struct RoleFile {
    file: Arc<WatchedFile>,
    /// What it defined when it was last valid.
    roles: Vec<FoundRole>,
    /// Whether its present content is valid.
    state: ReloadState,
}

/// The result of listing the files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Listed {
    /// Files could not be listed.
    Failed,
    /// No directory has changed.
    AsBefore,
    /// Files were listed again: none was added or deleted.
    SameFiles,
    /// Files were added or deleted.
    OtherFiles,
}

impl RoleFile {
    fn new(path: Arc<Path>, cost: &Arc<Cost>) -> Self {
        Self {
            file: Arc::new(WatchedFile::new(path, Arc::clone(cost))),
            roles: Vec::new(),
            state: ReloadState::default(),
        }
    }

    /// Whether the last check does not prove the current contents of the file.
    fn is_uncertain(&self) -> bool {
        self.state.is_failing() || self.file.must_be_read()
    }
}

impl Files {
    /// Whether no file was added to, replaced in or deleted from any directory since files were listed.
    fn are_listed(&self) -> bool {
        let is_same =
            |(path, stamp): &(PathBuf, Stamp)| Stamp::read(path).is_ok_and(|now| stamp.proves_unchanged(&now));
        !self.directories.is_empty() && self.directories.iter().all(is_same)
    }

    /// The next share of files to look at in turn, and those that cannot be trusted without.
    fn due(&mut self) -> Vec<Arc<Path>> {
        let share = self.files.len().div_ceil(ROUND).max(SHARE);
        let after = (Bound::Excluded(Arc::clone(&self.looked_until)), Bound::Unbounded);
        let rest = self.files.range(after).map(|(path, _)| path);
        let mut due: Vec<_> = rest.chain(self.files.keys()).take(share).cloned().collect();
        if let Some(last) = due.last() {
            self.looked_until = Arc::clone(last);
        }
        due.extend(self.those(RoleFile::is_uncertain));
        due
    }

    /// The files to look at before a role counts as missing, while no directory has changed.
    fn that_could_define_new_roles(&self) -> Vec<Arc<Path>> {
        let takes_roles = |file: &RoleFile| file.roles.len() != 1 || file.is_uncertain();
        match self.files.len() {
            ..=ALL => self.those(|_| true),
            _ => self.those(takes_roles),
        }
    }

    /// What cannot be taken over now.
    fn failures(&self) -> impl Iterator<Item = &RoleFilesError> {
        let files = self.files.values().map(|file| &file.state);
        let states = [&self.directory, &self.contradiction].into_iter().chain(files);
        states.filter_map(|state| state.failure.as_ref())
    }

    /// Why a role that no file defines may exist: a change that cannot be taken over may define it, and no file at all is more often a
    /// wrong directory than an account without roles.
    fn doubt(&self, directory: &Path) -> Option<Arc<str>> {
        match self.files.is_empty() && !self.directory.is_failing() {
            true => Some(reason(&RoleFilesError::none(directory, self.other.as_deref()))),
            false => self.failures().next().map(reason),
        }
    }

    fn those(&self, are_meant: impl Fn(&RoleFile) -> bool) -> Vec<Arc<Path>> {
        let files = self.files.iter().filter(|(_, file)| are_meant(file));
        files.map(|(path, _)| Arc::clone(path)).collect()
    }
}

impl Shared {
    /// The moment as of which the index is true.
    fn read_at(&self) -> Instant {
        self.opened + Duration::from_nanos(self.read_at.load(Ordering::Acquire))
    }

    /// Looks at the directories, and at these files; at all files if a directory has changed.
    fn reload(&self, wanted: Wanted) {
        let mut state = self.files.lock();
        let began = u64::try_from(self.opened.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let listed = self.list(&mut state);
        let due = match (listed, wanted) {
            (Listed::Failed, _) => Vec::new(),
            (Listed::AsBefore, Wanted::NewRoles) => state.that_could_define_new_roles(),
            (Listed::AsBefore | Listed::SameFiles | Listed::OtherFiles, _) => state.those(|_| true),
        };
        let are_all = listed == Listed::Failed || due.len() == state.files.len();
        self.look_at(&mut state, listed, due);
        if are_all {
            self.read_at.store(began, Ordering::Release);
        }
    }

    /// Looks at the directories, and at all files if one has changed, else at a share of them.
    fn poll(&self) {
        let mut state = self.files.lock();
        let listed = self.list(&mut state);
        let due = match listed {
            Listed::Failed => Vec::new(),
            Listed::AsBefore => state.due(),
            Listed::SameFiles | Listed::OtherFiles => state.those(|_| true),
        };
        self.look_at(&mut state, listed, due);
    }

    /// Lists the files again if a directory has changed.
    fn list(&self, state: &mut Files) -> Listed {
        if state.are_listed() {
            return Listed::AsBefore;
        }
        // Until it has succeeded.
        state.directories.clear();
        let tree = match tree::walk(&self.directory) {
            Ok(tree) if tree.files.is_empty() && !state.files.is_empty() => {
                self.failed(&mut state.directory, RoleFilesError::emptied(&self.directory));
                return Listed::Failed;
            }
            Ok(tree) => tree,
            Err(unreadable) => {
                self.failed(&mut state.directory, RoleFilesError::unreadable(unreadable));
                return Listed::Failed;
            }
        };
        state.directory.recovered(&self.directory);
        state.other = tree.other;
        let mut listed = Listed::SameFiles;
        state.files.retain(|path, file| {
            let is_listed = tree.files.binary_search_by(|listed| (**listed).cmp(path)).is_ok();
            let stays = is_listed || !tree::is_deleted(path);
            if !stays {
                // Nothing is wrong with a file that is gone.
                file.state.recovered(path);
                listed = Listed::OtherFiles;
            }
            stays
        });
        for path in tree.files {
            if !state.files.contains_key(&*path) {
                let path: Arc<Path> = path.into();
                state.files.insert(Arc::clone(&path), RoleFile::new(path, &self.cost));
                listed = Listed::OtherFiles;
            }
        }
        state.directories = tree.directories;
        listed
    }

    /// Looks at these files, and takes over what has changed.
    fn look_at(&self, state: &mut Files, listed: Listed, paths: Vec<Arc<Path>>) {
        let mut changed = listed == Listed::OtherFiles;
        for path in paths {
            if let Some(file) = state.files.get_mut(&path) {
                changed |= self.look_at_one(file);
            }
        }
        // A contradiction is looked at again only when a file changes.
        if changed {
            self.take_over(state);
        }
        self.set_doubt(state.doubt(&self.directory));
        self.broken.store(state.failures().count(), Ordering::Relaxed);
    }

    /// Keeps the index, and whether it is complete.
    fn set_doubt(&self, doubt: Option<Arc<str>>) {
        let content = self.content.load();
        if content.doubt != doubt {
            let index = Arc::clone(&content.index);
            self.content.store(Arc::new(Content { index, doubt }));
            self.changes.send_modify(|version| *version += 1);
        }
    }

    /// True when the file has valid new content.
    fn look_at_one(&self, RoleFile { file, roles, state }: &mut RoleFile) -> bool {
        let Look::New { read, seen } = file.look() else {
            return false;
        };
        let path = file.path();
        // Deleted since files were listed: the next list shows it.
        if read.is_err() && tree::is_deleted(path) {
            return false;
        }
        file.record(seen);
        let read = read.map_err(|error| RoleFilesError::unreadable((path.to_owned(), error)));
        match read.and_then(|bytes| understand(&self.directory, path, &bytes)) {
            Ok(found) => {
                *roles = found;
                state.recovered(path);
                true
            }
            Err(error) => {
                self.failed(state, error);
                false
            }
        }
    }

    fn take_over(&self, state: &mut Files) {
        match index_of(&state.files) {
            Ok(index) => {
                state.contradiction.recovered(&self.directory);
                let doubt = state.doubt(&self.directory);
                let index = Arc::new(index);
                self.content.store(Arc::new(Content { index, doubt }));
                self.changes.send_modify(|version| *version += 1);
            }
            Err(error) => self.failed(&mut state.contradiction, error),
        }
    }

    fn failed(&self, state: &mut ReloadState, error: RoleFilesError) {
        if state.log.failed_because(&error.to_string()) {
            self.failures.fetch_add(1, Ordering::Relaxed);
            warn!(%error, "failed to reload role files; keeping the previous contents");
        }
        state.failure = Some(error);
    }
}

fn reason(error: &RoleFilesError) -> Arc<str> {
    error.to_string().into()
}

fn understand(directory: &Path, path: &Path, bytes: &[u8]) -> Result<Vec<FoundRole>, RoleFilesError> {
    let below = path.strip_prefix(directory).unwrap_or(path);
    formats::read(bytes, below).map_err(|Flaw { position, problem }| RoleFilesError {
        file: path.to_owned(),
        position,
        problem,
    })
}

fn index_of(files: &FilesByPath) -> Result<Index, RoleFilesError> {
    Index::build(files.values().map(|file| (&file.file, file.roles.as_slice())))
}

#[cfg(fuzzing)]
pub(crate) fn read_for_fuzzing(bytes: &[u8], below: &Path) {
    drop(formats::read(bytes, below));
}
