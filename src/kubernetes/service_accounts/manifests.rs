//! ServiceAccounts read from a directory of YAML manifests (`--standalone DIR`).
//!
//! The files `*.yaml` and `*.yml` of the directory itself are read, with all their documents. The items of a `List` or `ServiceAccountList`
//! count as documents; of other kinds, only the kind is read. At startup, a malformed file is an error. While serving, the directory is
//! read again. After an invalid edit, the last good content stays in use. The same applies to a directory that becomes empty, because this
//! is more often a volume that is not mounted than an intended change.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use tokio::time::Instant;

use super::yaml::{self, Node, Wrong};
use super::{Counts, Fetched, Stored};
use crate::pod::identity::{AnnotationRules, ServiceAccountIdentity};
use crate::support::coalesce::{Caller, Coalescer, Outcome};
use crate::support::files::{self, Stamp};
use crate::support::reload::{Reload, Reloaded, Source};
use crate::support::tasks::OwnedTasks;
use crate::support::text;
use crate::trust::RoleArn;

/// The ServiceAccounts of a directory.
#[derive(Debug)]
pub struct ManifestServiceAccounts {
    directory: Arc<Directory>,
    reads: Coalescer<(), ()>,
    tasks: OwnedTasks,
}

impl ManifestServiceAccounts {
    /// Reads the directory. It is not read again until [`ManifestServiceAccounts::keep_reading`] is called or a ServiceAccount is
    /// fetched.
    ///
    /// # Errors
    /// When the directory or a file cannot be read, or a file is not a valid manifest: file, line and what was expected.
    pub fn load(dir: &Path, rules: Arc<AnnotationRules>) -> Result<Self, ManifestError> {
        let tasks = OwnedTasks::new();
        Ok(Self {
            directory: Arc::new(Directory {
                manifests: Reloaded::load(Manifests {
                    dir: dir.to_owned(),
                    given: None,
                    rules,
                    known: Mutex::default(),
                })?,
                listeners: Mutex::default(),
            }),
            // There is a single directory to read.
            reads: Coalescer::limited(1, tasks.tracker(), tasks.end()),
            tasks,
        })
    }

    /// The objects of one text, for example of standard input. It is never read again. `name` is its name in errors.
    ///
    /// # Errors
    /// When it is not a valid manifest: line and what was expected.
    pub(crate) fn of_text(name: &Path, text: &str, rules: Arc<AnnotationRules>) -> Result<Self, ManifestError> {
        Self::of(name, Given::Text(text.as_bytes().into()), rules)
    }

    /// ServiceAccounts that were read elsewhere. They are never read again. `name` is their origin in errors.
    ///
    /// # Errors
    /// None; the type is that of the other sources.
    pub(crate) fn of_accounts(
        name: &Path,
        accounts: impl IntoIterator<Item = (String, String, Option<Arc<ServiceAccountIdentity>>)>,
        rules: Arc<AnnotationRules>,
    ) -> Result<Self, ManifestError> {
        Self::of(name, Given::Accounts(accounts.into_iter().collect()), rules)
    }

    fn of(name: &Path, given: Given, rules: Arc<AnnotationRules>) -> Result<Self, ManifestError> {
        let tasks = OwnedTasks::new();
        Ok(Self {
            directory: Arc::new(Directory {
                manifests: Reloaded::load(Manifests {
                    dir: name.to_owned(),
                    given: Some(given),
                    rules,
                    known: Mutex::default(),
                })?,
                listeners: Mutex::default(),
            }),
            reads: Coalescer::limited(1, tasks.tracker(), tasks.end()),
            tasks,
        })
    }

    /// Starts to read the directory again at this interval. Must be called within a Tokio runtime.
    pub fn keep_reading(&self, every: Duration) {
        let directory = Arc::clone(&self.directory);
        let manifests = Arc::clone(&directory.manifests);
        self.tasks
            .spawn(manifests.poll(every, move |content| directory.notify(content)));
    }

    /// Stops reading the directory, and waits until that is done.
    pub async fn stop(&self) {
        self.tasks.stop().await;
    }

    /// From memory; never waits.
    #[must_use]
    pub fn stored(&self, namespace: &str, name: &str) -> Stored {
        match self.directory.manifests.peek().accounts.get(&key(namespace, name)) {
            None => Stored::Missing,
            Some(Account { identity: None, .. }) => Stored::Plain,
            Some(Account {
                identity: Some(identity),
                ..
            }) => Stored::Identity(Arc::clone(identity)),
        }
    }

    /// Whether a namespace has a ServiceAccount.
    #[must_use]
    pub fn has_namespace(&self, namespace: &str) -> bool {
        self.directory.manifests.peek().namespaces.contains(namespace)
    }

    /// Reads the directory again and looks the ServiceAccount up. Callers share a read only if it began after their call.
    pub async fn fetch(&self, namespace: &str, name: &str, deadline: Instant) -> Fetched {
        let directory = Arc::clone(&self.directory);
        let read = move |_reading| {
            let directory = Arc::clone(&directory);
            async move { directory.reload().await }
        };
        let caller = Caller::as_of(Instant::now()).by(deadline);
        match self.reads.ask((), caller, read).await {
            Outcome::Done { .. } => {}
            Outcome::Busy | Outcome::TimedOut => {
                return Fetched::Unavailable(format!(
                    "{} could not be read in time",
                    self.directory.manifests.source().dir.display()
                ));
            }
        }
        match self.directory.manifests.peek().accounts.get(&key(namespace, name)) {
            None => Fetched::NotFound,
            Some(Account { uid, identity, .. }) => Fetched::Found {
                uid: uid.clone(),
                identity: identity.clone(),
            },
        }
    }

    /// The number of ServiceAccounts, by state.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for account in self.directory.manifests.peek().accounts.values() {
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
        let content = self.directory.manifests.value();
        let roles: std::collections::BTreeSet<&RoleArn> = content
            .accounts
            .values()
            .filter_map(|account| account.identity.as_ref()?.role())
            .collect();
        roles.into_iter().for_each(each);
    }

    /// Every ServiceAccount, by namespace and name.
    pub(crate) fn for_each_account(&self, each: &mut dyn FnMut(&str, &str, Option<&ServiceAccountIdentity>)) {
        for ((namespace, name), account) in &self.directory.manifests.value().accounts {
            each(namespace, name, account.identity.as_deref());
        }
    }

    /// Where a ServiceAccount is written: the file, and the line of its role annotation from 1, or else that of the object.
    pub(crate) fn location(&self, namespace: &str, name: &str) -> Option<(PathBuf, u64)> {
        let content = self.directory.manifests.value();
        let (file, line) = &content.accounts.get(&key(namespace, name))?.location;
        Some((file.to_path_buf(), *line))
    }

    /// The number of edits since the start that could not be used.
    #[must_use]
    pub fn reload_failures(&self) -> u64 {
        self.directory.manifests.failures()
    }

    /// The `data` of a ConfigMap of the directory.
    #[must_use]
    pub fn config_map(&self, namespace: &str, name: &str) -> Option<BTreeMap<String, String>> {
        self.directory
            .manifests
            .peek()
            .config_maps
            .get(&key(namespace, name))
            .cloned()
    }

    /// Calls `listener` after each change with the `data` of a ConfigMap, or none if the directory does not contain it.
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
        self.directory.listeners.lock().push(listener);
    }
}

/// Why a directory of manifests cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{}: {message}", path.display(), line.map(|line| format!(":{line}")).unwrap_or_default())]
pub struct ManifestError {
    /// The file, or the directory itself.
    pub path: PathBuf,
    /// The line, from 1.
    pub line: Option<u64>,
    /// What is wrong and what was expected.
    pub message: String,
}

/// The manifests, and those who are notified when they change.
#[derive(Debug)]
struct Directory {
    manifests: Arc<Reloaded<Manifests>>,
    listeners: Mutex<Vec<Listener>>,
}

impl Directory {
    async fn reload(&self) {
        if self.manifests.reload().await == Reload::Changed {
            self.notify(&self.manifests.value());
        }
    }

    fn notify(&self, content: &Content) {
        for Listener(call) in self.listeners.lock().iter() {
            call(content);
        }
    }
}

struct Listener(Box<dyn Fn(&Content) + Send + Sync>);

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Listener")
    }
}

/// Files by path, in order, with their content.
type Files = BTreeMap<PathBuf, Arc<[u8]>>;

/// The content of a file, and its metadata when it was read.
type Stamped = (Stamp, Arc<[u8]>);

type Key = (Box<str>, Box<str>);

/// What was read elsewhere.
#[derive(Debug)]
enum Given {
    Text(Arc<[u8]>),
    /// Namespace, name and identity of each.
    Accounts(Vec<(String, String, Option<Arc<ServiceAccountIdentity>>)>),
}

#[derive(Debug)]
struct Manifests {
    dir: PathBuf,
    /// In place of the directory, if it was read elsewhere.
    given: Option<Given>,
    rules: Arc<AnnotationRules>,
    /// The files that were read last. A file is not read again if its metadata prove that it is the same.
    known: Mutex<HashMap<PathBuf, Stamped>>,
}

impl Manifests {
    /// The content of a file.
    fn content(&self, path: &Path) -> std::io::Result<Stamped> {
        let now = Stamp::read(path)?;
        let known = self.known.lock().get(path).cloned();
        if let Some(known) = known.filter(|(stamp, _)| stamp.proves_unchanged(&now)) {
            return Ok(known);
        }
        let read = SystemTime::now();
        let (file, data) = files::open(path)?;
        Ok((Stamp::of(&data, read), files::read_opened(file, &data)?.into()))
    }
}

impl Source for Manifests {
    type Content = Files;
    type Value = Content;
    type Error = ManifestError;

    fn name(&self) -> String {
        format!("manifests of {}", self.dir.display())
    }

    fn read(&self) -> Result<Files, ManifestError> {
        match &self.given {
            Some(Given::Text(text)) => return Ok(BTreeMap::from([(self.dir.clone(), Arc::clone(text))])),
            Some(Given::Accounts(_)) => return Ok(BTreeMap::new()),
            None => {}
        }
        let mut read = HashMap::new();
        for path in manifests_of(&self.dir)? {
            // A directory may have any name, but a file does not become one by an edit.
            if path.is_dir() && !self.known.lock().contains_key(&path) {
                continue;
            }
            let content = self.content(&path).map_err(|error| cannot_read(&path, &error))?;
            read.insert(path, content);
        }
        let mut known = self.known.lock();
        if read.is_empty() && !known.is_empty() {
            return Err(ManifestError {
                path: self.dir.clone(),
                line: None,
                message: "no longer has any manifests; to remove all ServiceAccounts, leave an empty .yaml file in it"
                    .to_owned(),
            });
        }
        let files = read
            .iter()
            .map(|(path, (_, content))| (path.clone(), Arc::clone(content)));
        let files = files.collect();
        *known = read;
        Ok(files)
    }

    fn parse(&self, files: &Files) -> Result<Content, ManifestError> {
        if let Some(Given::Accounts(accounts)) = &self.given {
            return Ok(Content::of_accounts(&self.dir, accounts));
        }
        parse(files, &self.rules)
    }
}

/// The objects of the manifests.
#[derive(Debug, Default)]
struct Content {
    accounts: HashMap<Key, Account>,
    /// Those of the ServiceAccounts.
    namespaces: HashSet<Box<str>>,
    config_maps: HashMap<Key, BTreeMap<String, String>>,
}

#[derive(Debug)]
struct Account {
    uid: Option<Arc<str>>,
    identity: Option<Arc<ServiceAccountIdentity>>,
    /// Where its role annotation is, or else where the object begins: the file, and the line from 1.
    location: (Arc<Path>, u64),
}

fn key(namespace: &str, name: &str) -> Key {
    (namespace.into(), name.into())
}

fn cannot_read(path: &Path, error: &std::io::Error) -> ManifestError {
    ManifestError {
        path: path.to_owned(),
        line: None,
        message: format!("cannot be read: {error}"),
    }
}

/// What is a manifest by its name.
fn manifests_of(dir: &Path) -> Result<Vec<PathBuf>, ManifestError> {
    let mut paths = Vec::new();
    for (count, entry) in std::fs::read_dir(dir)
        .map_err(|error| cannot_read(dir, &error))?
        .enumerate()
    {
        if count >= files::MOST_ENTRIES {
            let why = std::io::Error::other(format!("it has more than {} entries", files::MOST_ENTRIES));
            return Err(cannot_read(dir, &why));
        }
        let path = entry.map_err(|error| cannot_read(dir, &error))?.path();
        if is_manifest(&path) {
            paths.push(path);
        }
    }
    Ok(paths)
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
            .add_file(&Arc::from(path.as_path()), bytes, rules)
            .map_err(|Wrong { line, message }| ManifestError {
                path: path.clone(),
                line,
                message: text::line(&message).into_owned(),
            })?;
    }
    Ok(content)
}

impl Content {
    fn of_accounts(origin: &Path, accounts: &[(String, String, Option<Arc<ServiceAccountIdentity>>)]) -> Self {
        let origin: Arc<Path> = origin.into();
        let mut content = Self::default();
        for (namespace, name, identity) in accounts {
            content.namespaces.insert(namespace.as_str().into());
            let account = Account {
                uid: None,
                identity: identity.clone(),
                location: (Arc::clone(&origin), 1),
            };
            content.accounts.insert(key(namespace, name), account);
        }
        content
    }

    fn add_file(&mut self, file: &Arc<Path>, bytes: &[u8], rules: &AnnotationRules) -> Result<(), Wrong> {
        let text = std::str::from_utf8(bytes).map_err(|error| {
            let before = bytes.get(..error.valid_up_to()).unwrap_or_default();
            let line = 1 + before.iter().filter(|byte| **byte == b'\n').count() as u64;
            Wrong {
                line: Some(line),
                message: "expected UTF-8 text".to_owned(),
            }
        })?;
        for document in yaml::documents(text)? {
            // `---` at the end of a file, or twice, is an empty document.
            if document.value != yaml::Value::Null {
                self.add(file, &document, None, rules)?;
            }
        }
        Ok(())
    }

    /// Adds an object; `in_list_of` is the kind of its list's items, for items without one.
    fn add(
        &mut self,
        file: &Arc<Path>,
        object: &Node,
        in_list_of: Option<&str>,
        rules: &AnnotationRules,
    ) -> Result<(), Wrong> {
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
                .try_for_each(|item| self.add(file, item, kind, rules));
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
        let role_annotation = format!("{}role-arn", rules.prefix);
        let line = metadata
            .field("annotations")
            .and_then(|annotations| annotations.field(&role_annotation))
            .map_or(object.line, |annotation| annotation.line);
        let annotations = texts(metadata.field("annotations"), "annotations")?;
        let annotations = annotations.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        let identity = ServiceAccountIdentity::from_annotations(rules, annotations).map(Arc::new);
        self.namespaces.insert(namespace.into());
        let location = (Arc::clone(file), line);
        self.accounts.insert(
            key(namespace, name),
            Account {
                uid,
                identity,
                location,
            },
        );
        Ok(())
    }
}

/// Whether it belongs to the core group: a `ServiceAccount` of another group is another kind.
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
