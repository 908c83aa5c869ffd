//! ServiceAccounts read from a folder of YAML manifests (`--standalone DIR`).
//!
//! Read are the files `*.yaml` and `*.yml` of the folder itself, each document of each; a `List` or `ServiceAccountList`
//! counts as its items; of other kinds nothing but the kind is looked at. At the start a broken file is an error. While
//! serving, the folder is read again every few seconds and compared by content, because what is watched may be the mount
//! of a ConfigMap, whose files are symlinks that are swapped; a bad edit leaves the last good content in use.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::yaml::{self, Node, Wrong};
use super::{Counts, Fetched, Stored};
use crate::pod::identity::{AnnotationRules, ServiceAccountIdentity};
use crate::support::coalesce::{Caller, Coalescer, Outcome};
use crate::support::reload::{LastGood, Refreshed};
use crate::support::text;
use crate::trust::RoleArn;

/// ServiceAccounts of a folder.
#[derive(Debug)]
pub struct ManifestServiceAccounts {
    folder: Arc<Folder>,
    reads: Coalescer<(), ()>,
    tasks: TaskTracker,
    end: CancellationToken,
    _end_on_drop: DropGuard,
}

impl ManifestServiceAccounts {
    /// Reads the folder. Nothing is read again until [`ManifestServiceAccounts::keep_reading`] is called or a
    /// ServiceAccount is fetched.
    ///
    /// # Errors
    /// When the folder or a file cannot be read, or a file is no manifest: file, line and what was expected.
    pub fn load(dir: &Path, rules: Arc<AnnotationRules>) -> Result<Self, ManifestError> {
        let files = read(dir)?;
        let content = parse(&files, &rules)?;
        let (tasks, end) = (TaskTracker::new(), CancellationToken::new());
        Ok(Self {
            folder: Arc::new(Folder {
                dir: dir.to_owned(),
                rules,
                content: LastGood::new(format!("the manifests of {}", dir.display()), content, files),
                listeners: Mutex::default(),
            }),
            // One read at a time is all there can be.
            reads: Coalescer::limited(1, tasks.clone(), end.clone()),
            tasks,
            _end_on_drop: end.clone().drop_guard(),
            end,
        })
    }

    /// Starts to read the folder again every `every`. Must be called within a Tokio runtime.
    pub fn keep_reading(&self, every: Duration) {
        let folder = Arc::clone(&self.folder);
        let poll = async move {
            let mut ticks = interval(every);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            ticks.tick().await;
            loop {
                ticks.tick().await;
                reread(&folder).await;
            }
        };
        self.tasks.spawn(self.end.clone().run_until_cancelled_owned(poll));
    }

    /// Ends the reading and waits for its end.
    pub async fn stop(&self) {
        self.end.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// From memory; never waits.
    #[must_use]
    pub fn stored(&self, namespace: &str, name: &str) -> Stored {
        match self.folder.content.peek().accounts.get(&key(namespace, name)) {
            None => Stored::Missing,
            Some(Account { identity: None, .. }) => Stored::Plain,
            Some(Account {
                identity: Some(identity),
                ..
            }) => Stored::Identity(Arc::clone(identity)),
        }
    }

    /// Reads the folder again (a read is shared only with callers that asked before it began) and looks into it.
    pub async fn fetch(&self, namespace: &str, name: &str, deadline: Instant) -> Fetched {
        let folder = Arc::clone(&self.folder);
        let read = move |_reading| {
            let folder = Arc::clone(&folder);
            async move { reread(&folder).await }
        };
        let caller = Caller::as_of(Instant::now()).by(deadline);
        match self.reads.ask((), caller, read).await {
            Outcome::Done { .. } => {}
            Outcome::Busy | Outcome::TimedOut => {
                return Fetched::Unavailable(format!("{} could not be read in time", self.folder.dir.display()));
            }
        }
        match self.folder.content.peek().accounts.get(&key(namespace, name)) {
            None => Fetched::NotFound,
            Some(Account { uid, identity }) => Fetched::Found {
                uid: uid.clone(),
                identity: identity.clone(),
            },
        }
    }

    /// How many are known.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for account in self.folder.content.peek().accounts.values() {
            match &account.identity {
                Some(identity) if identity.role().is_some() => counts.with_role += 1,
                Some(identity) if identity.asks_for_role() => counts.malformed += 1,
                Some(_) | None => counts.without_role += 1,
            }
        }
        counts
    }

    /// Calls `each` for every distinct role.
    pub fn for_each_role(&self, each: &mut dyn FnMut(&RoleArn)) {
        let content = self.folder.content.value();
        let roles: std::collections::BTreeSet<&RoleArn> = content
            .accounts
            .values()
            .filter_map(|account| account.identity.as_ref()?.role())
            .collect();
        roles.into_iter().for_each(each);
    }

    /// Every ServiceAccount, by namespace and name.
    pub fn for_each_account(&self, each: &mut dyn FnMut(&str, &str, Option<&ServiceAccountIdentity>)) {
        for ((namespace, name), account) in &self.folder.content.value().accounts {
            each(namespace, name, account.identity.as_deref());
        }
    }

    /// How many edits could not be read since the start.
    #[must_use]
    pub fn reload_failures(&self) -> u64 {
        self.folder.content.failures()
    }

    /// The `data` of a ConfigMap of the folder.
    #[must_use]
    pub fn config_map(&self, namespace: &str, name: &str) -> Option<BTreeMap<String, String>> {
        self.folder
            .content
            .peek()
            .config_maps
            .get(&key(namespace, name))
            .cloned()
    }

    /// Has `listener` called after each change with the `data` of a ConfigMap, none when the folder does not hold it.
    pub(crate) fn on_config_map_change(
        &self,
        namespace: &str,
        name: &str,
        listener: impl Fn(Option<&BTreeMap<String, String>>) + Send + Sync + 'static,
    ) {
        let key = key(namespace, name);
        let listener = Listener(Box::new(move |content: &Content| {
            listener(content.config_maps.get(&key))
        }));
        self.folder
            .listeners
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(listener);
    }
}

/// Why a folder of manifests cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestError {
    /// The file, or the folder itself.
    pub path: PathBuf,
    /// The line, from 1.
    pub line: Option<u64>,
    /// What is wrong and what was expected.
    pub message: String,
}

impl fmt::Display for ManifestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        write!(f, ": {}", self.message)
    }
}

impl std::error::Error for ManifestError {}

#[derive(Debug)]
struct Folder {
    dir: PathBuf,
    rules: Arc<AnnotationRules>,
    content: LastGood<Content, Files>,
    listeners: Mutex<Vec<Listener>>,
}

struct Listener(Box<dyn Fn(&Content) + Send + Sync>);

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Listener")
    }
}

/// Files by path, in order, with their content.
type Files = BTreeMap<PathBuf, Vec<u8>>;

type Key = (Box<str>, Box<str>);

/// What the manifests say.
#[derive(Debug, Default)]
struct Content {
    accounts: HashMap<Key, Account>,
    config_maps: HashMap<Key, BTreeMap<String, String>>,
}

#[derive(Debug)]
struct Account {
    uid: Option<Arc<str>>,
    identity: Option<Arc<ServiceAccountIdentity>>,
}

fn key(namespace: &str, name: &str) -> Key {
    (namespace.into(), name.into())
}

async fn reread(folder: &Arc<Folder>) {
    let folder = Arc::clone(folder);
    // A disk may be slow, and requests are answered on these threads. That the task was cancelled means we are stopping.
    let _ = tokio::task::spawn_blocking(move || folder.refresh()).await;
}

impl Folder {
    fn refresh(&self) {
        let refreshed = self.content.refresh_settled(
            || read(&self.dir).map_err(|error| error.to_string()),
            |files| parse(files, &self.rules).map_err(|error| error.to_string()),
        );
        if refreshed == Refreshed::Changed {
            let content = self.content.value();
            for Listener(call) in self.listeners.lock().unwrap_or_else(PoisonError::into_inner).iter() {
                call(&content);
            }
        }
    }
}

fn read(dir: &Path) -> Result<Files, ManifestError> {
    let cannot = |path: &Path, error: &std::io::Error| ManifestError {
        path: path.to_owned(),
        line: None,
        message: format!("cannot be read: {error}"),
    };
    let mut files = Files::new();
    for entry in std::fs::read_dir(dir).map_err(|error| cannot(dir, &error))? {
        let path = entry.map_err(|error| cannot(dir, &error))?.path();
        // Follows symlinks, as a mounted ConfigMap needs.
        if is_manifest(&path) && path.metadata().map_err(|error| cannot(&path, &error))?.is_file() {
            let content = std::fs::read(&path).map_err(|error| cannot(&path, &error))?;
            files.insert(path, content);
        }
    }
    Ok(files)
}

fn is_manifest(path: &Path) -> bool {
    let hidden = path
        .file_name()
        .is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
    !hidden
        && path
            .extension()
            .is_some_and(|extension| extension == "yaml" || extension == "yml")
}

fn parse(files: &Files, rules: &AnnotationRules) -> Result<Content, ManifestError> {
    let mut content = Content::default();
    for (path, bytes) in files {
        content
            .add_file(bytes, rules)
            .map_err(|Wrong { line, message }| ManifestError {
                path: path.clone(),
                line,
                message: text::line(&message).into_owned(),
            })?;
    }
    Ok(content)
}

impl Content {
    fn add_file(&mut self, bytes: &[u8], rules: &AnnotationRules) -> Result<(), Wrong> {
        let text = std::str::from_utf8(bytes).map_err(|error| {
            let before = bytes.get(..error.valid_up_to()).unwrap_or_default();
            let line = 1 + before.iter().filter(|byte| **byte == b'\n').count() as u64;
            Wrong {
                line: Some(line),
                message: "expected UTF-8 text".to_owned(),
            }
        })?;
        for document in yaml::documents(text)? {
            // `---` at the end of a file, or twice, is no document.
            if document.value != yaml::Value::Null {
                self.add(&document, None, rules)?;
            }
        }
        Ok(())
    }

    /// Adds an object; `in_list_of` is what the items of its list are when they do not say it themselves.
    fn add(&mut self, object: &Node, in_list_of: Option<&str>, rules: &AnnotationRules) -> Result<(), Wrong> {
        object.mapping("a Kubernetes object")?;
        let kind = match (object.field("kind"), in_list_of) {
            (Some(kind), _) => kind.text("kind")?,
            (None, Some(kind)) => kind,
            (None, None) => return Err(object.wrong("expected a Kubernetes object: it has no kind".to_owned())),
        };
        if let (Some(kind), Some(items)) = (kind.strip_suffix("List"), object.field("items")) {
            let kind = Some(kind).filter(|kind| !kind.is_empty());
            return items
                .sequence("items")?
                .iter()
                .try_for_each(|item| self.add(item, kind, rules));
        }
        if !matches!(kind, "ServiceAccount" | "ConfigMap") || !is_core(object, in_list_of)? {
            return Ok(());
        }
        let metadata = object
            .field("metadata")
            .ok_or_else(|| object.wrong(format!("expected {kind} to have metadata")))?;
        metadata.mapping("metadata")?;
        let name = metadata
            .field("name")
            .ok_or_else(|| metadata.wrong(format!("expected {kind} to have metadata.name")))?;
        let name = name.text("metadata.name")?;
        let namespace = match metadata.field("namespace") {
            Some(namespace) => namespace.text("metadata.namespace")?,
            None => "default",
        };
        if kind == "ConfigMap" {
            self.config_maps
                .insert(key(namespace, name), texts(object.field("data"), "data")?);
            return Ok(());
        }
        let uid = metadata
            .field("uid")
            .map(|uid| uid.text("metadata.uid"))
            .transpose()?
            .map(Arc::from);
        let annotations = texts(metadata.field("annotations"), "annotations")?;
        let annotations = annotations.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        let identity = ServiceAccountIdentity::from_annotations(rules, annotations).map(Arc::new);
        self.accounts.insert(key(namespace, name), Account { uid, identity });
        Ok(())
    }
}

/// Whether it is of the core group: a `ServiceAccount` of another group is another kind.
fn is_core(object: &Node, in_list_of: Option<&str>) -> Result<bool, Wrong> {
    match (object.field("apiVersion"), in_list_of) {
        (Some(version), _) => Ok(version.text("apiVersion")? == "v1"),
        (None, Some(_)) => Ok(true),
        (None, None) => Err(object.wrong("expected apiVersion: v1".to_owned())),
    }
}

/// A mapping of strings; absent is empty.
fn texts(node: Option<&Node>, what: &str) -> Result<BTreeMap<String, String>, Wrong> {
    let Some(node) = node else { return Ok(BTreeMap::new()) };
    let mut texts = BTreeMap::new();
    for (key, value) in node.mapping(what)? {
        // A null is what an empty template value leaves; the API server reads it as an empty string.
        let text = if value.value == yaml::Value::Null {
            ""
        } else {
            value.text(&format!("`{key}` in {what}"))?
        };
        texts.insert(key.clone(), text.to_owned());
    }
    Ok(texts)
}
