//! The ServiceAccounts and workloads of manifests (`--file`): files, directories and standard input.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::value::to_raw_value;
use serde_json::{Map, Value};

use super::accounts::{ServiceAccount, ServiceAccounts, is_selected};
use super::mapped::Data;
use super::report::ObjectName;
use super::workloads::Workload;
use crate::args::namespaced_name::NamespacedName;
use crate::commands::documents::{self, Document, Object};
use crate::commands::input;
use crate::kubernetes::identity_map;
use crate::kubernetes::service_accounts::yaml::{self, Node};
use crate::pod::identity::{AnnotationRules, ServiceAccountIdentity};
use crate::reports::Location;
use crate::support::text::shell::Command;
use crate::support::{text, tree};
use crate::workloads::{self, Listed};

/// The files of a directory that are read.
const EXTENSIONS: [&str; 3] = ["yaml", "yml", "json"];

/// How many other namespaces an error names.
const NAMED: usize = 5;

/// What was read.
#[derive(Debug, Default)]
pub(super) struct Manifests {
    pub(super) accounts: ServiceAccounts,
    pub(super) workloads: Vec<Workload>,
    /// The `data` of the identity ConfigMap, and where it is written.
    pub(super) identity_config_map: Option<(Data, Option<Location>)>,
    /// What could not be read, and why.
    pub(super) unreadable: Vec<String>,
    /// The namespaces, other than those that are selected, of ServiceAccounts and workloads.
    elsewhere: BTreeSet<String>,
    files: usize,
    documents: usize,
    objects: usize,
}

/// How manifests are read.
pub(super) struct Rules<'a> {
    pub(super) annotations: &'a AnnotationRules,
    /// Empty for all.
    pub(super) namespaces: &'a [String],
    pub(super) identity_config_map: Option<&'a NamespacedName>,
}

impl Rules<'_> {
    /// The namespace of objects that name none.
    fn namespace(&self) -> &str {
        match self.namespaces {
            [one] => one,
            _ => "default",
        }
    }

    fn is_identity_config_map(&self, namespace: &str, name: &str) -> bool {
        let named = self.identity_config_map;
        named.is_some_and(|named| named.namespace == namespace && named.name == name)
    }
}

/// Reads all manifests. One that cannot be read does not hide the others.
pub(super) fn read(paths: &[PathBuf], rules: &Rules<'_>) -> Manifests {
    let mut manifests = Manifests::default();
    for file in files_of(paths, &mut manifests.unreadable) {
        match input::read("--file", &file) {
            Ok(text) => {
                manifests.files += 1;
                let name = input::name(&file);
                let source = Source {
                    name: &name,
                    is_file: file.as_os_str() != "-",
                };
                manifests.add_text(source, &text, rules);
            }
            Err(error) => manifests
                .unreadable
                .push(text::line(&format!("{error:#}")).into_owned()),
        }
    }
    manifests
}

/// Each file once, those of a directory sorted.
fn files_of(paths: &[PathBuf], unreadable: &mut Vec<String>) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut seen = BTreeSet::new();
    for path in paths {
        let found = if path.is_dir() {
            match tree::walk_for(path, &EXTENSIONS) {
                Ok(tree) => without_charts(tree.files, unreadable),
                Err((directory, error)) => {
                    unreadable.push(format!("{}: cannot be read: {error}", directory.display()));
                    Vec::new()
                }
            }
        } else {
            vec![path.clone()]
        };
        files.extend(found.into_iter().filter(|file| seen.insert(file.clone())));
    }
    files
}

/// Without the templates of Helm charts, which are not manifests before they are rendered: one line about each chart.
fn without_charts(files: Vec<PathBuf>, unreadable: &mut Vec<String>) -> Vec<PathBuf> {
    let is_chart = |file: &&PathBuf| file.file_name().is_some_and(|name| name == "Chart.yaml");
    let charts: BTreeSet<PathBuf> = files
        .iter()
        .filter(is_chart)
        .filter_map(|file| file.parent().map(Path::to_owned))
        .collect();
    let chart_of = |file: &Path| charts.iter().find(|chart| file.starts_with(chart.join("templates")));
    let mut skipped = BTreeSet::new();
    let kept = files.into_iter().filter(|file| match chart_of(file) {
        Some(chart) => {
            skipped.insert(chart.clone());
            false
        }
        None => true,
    });
    let kept = kept.collect();
    unreadable.extend(skipped.iter().map(|chart| {
        let render = Command::new("helm template").arg(&chart.display().to_string()).finish();
        let render = render.unwrap_or_else(|| "helm template".to_owned());
        format!(
            "{}: a Helm chart, whose templates are not manifests before they are rendered; run: {render} | rolegate audit --file -",
            text::value(&chart.display().to_string())
        )
    }));
    kept
}

impl Manifests {
    /// Whether there is nothing to audit.
    pub(super) fn is_empty(&self) -> bool {
        self.accounts.is_empty() && self.workloads.is_empty()
    }

    /// What was read and what to check, for an error.
    pub(super) fn nothing(&self, namespaces: &[String]) -> String {
        let count = |number: usize, what: &str| match number {
            1 => format!("1 {what}"),
            more => format!("{more} {what}s"),
        };
        let read = format!(
            "{}, {}, {}",
            count(self.files, "file"),
            count(self.documents, "document"),
            count(self.objects, "Kubernetes object")
        );
        if self.elsewhere.is_empty() {
            return format!("no ServiceAccount and no workload in {read}; check the paths and --namespace");
        }
        let some: Vec<_> = self
            .elsewhere
            .iter()
            .take(NAMED)
            .map(|name| text::value(name))
            .collect();
        let more = if self.elsewhere.len() > NAMED { ", …" } else { "" };
        format!(
            "no ServiceAccount and no workload of namespace {} in {read}; they are in namespace {}{more}; check --namespace",
            namespaces.join(", "),
            some.join(", ")
        )
    }

    fn add_text(&mut self, source: Source<'_>, text: &str, rules: &Rules<'_>) {
        let mut is_reported = false;
        for document in documents::read_each(text) {
            match document {
                Ok(document) => self.add_document(source, &document, rules),
                // In a template that is not rendered, each document can be one.
                Err(_) if is_reported && text.contains("{{") => {}
                Err(error) => {
                    is_reported = true;
                    self.unreadable.push(format!("{}: {error}", source.name));
                }
            }
        }
    }

    fn add_document(&mut self, source: Source<'_>, document: &Document<'_>, rules: &Rules<'_>) {
        // `---` at the end, and a document of comments, as Helm writes it for a template without output.
        if document.object().is_none() {
            return;
        }
        self.documents += 1;
        let lines = Lines {
            document,
            tree: OnceCell::new(),
        };
        for object in document.objects() {
            let place = Place {
                source,
                lines: &lines,
                path: &object.path,
            };
            self.add(&object, &place, rules);
        }
    }

    fn add(&mut self, object: &Object<'_>, place: &Place<'_>, rules: &Rules<'_>) {
        // Values files and other YAML.
        let (Some(api_version), Some(kind)) = (object.api_version, object.kind) else {
            return;
        };
        // A request to a webhook, as in examples: the pod in it is in no cluster and in no manifest.
        if api_version.starts_with("admission.k8s.io/") {
            return;
        }
        self.objects += 1;
        let (group, version) = object.group_version();
        let name = object.name();
        let namespace = object.namespace().unwrap_or_else(|| rules.namespace());
        let object = object.value;
        if let Some(resource) = workloads::token_resource(group, version, kind) {
            if let Ok(raw) = to_raw_value(object) {
                let tokens = workloads::tokens(resource, &raw);
                let tokens = tokens
                    .iter()
                    .map(|token| Workload::of_token((kind, namespace, name), token, place.location(&[])))
                    .filter(|workload| is_selected(rules.namespaces, &workload.namespace));
                self.workloads.extend(tokens);
            }
            return;
        }
        if (group, kind) == ("", "ConfigMap") && rules.is_identity_config_map(namespace, name) {
            self.add_identity_config_map(object, place);
            return;
        }
        let is_workload = || matches!(workloads::lookup(group, version, kind), Listed::As(_));
        if let Some(field) = not_text(object)
            && ((group, kind) == ("", "ServiceAccount") || is_workload())
        {
            self.unreadable.push(format!(
                "{}: {kind}: expected metadata.{field} to be a string: put it in quotes",
                place.text()
            ));
            return;
        }
        if !is_selected(rules.namespaces, namespace) {
            if (group, kind) == ("", "ServiceAccount") || is_workload() {
                self.elsewhere.insert(namespace.to_owned());
            }
            return;
        }
        if (group, kind) == ("", "ServiceAccount") {
            self.add_account(object, (namespace, name), place, rules);
            return;
        }
        let location = || place.location(&[]);
        let listed = workloads::lookup(group, version, kind);
        let Listed::As(resource) = listed else {
            let written = workloads::written_accounts(object);
            if let (Listed::InOtherVersions, true) = (listed, written.is_empty()) {
                self.unreadable.push(format!(
                    "{}: {} {}/{}: {} is not supported (supported: {})",
                    place.text(),
                    text::value(kind),
                    text::value(namespace),
                    text::value(name),
                    text::value(api_version),
                    workloads::versions(group, kind).join(", ")
                ));
            }
            for (path, account) in written {
                let object = ObjectName {
                    kind: kind.to_owned(),
                    name: name.to_owned(),
                    path,
                };
                self.workloads
                    .push(Workload::written(object, namespace, account, location()));
            }
            return;
        };
        // The namespaces of its pods are not known.
        if resource.resource_type.cluster {
            return;
        }
        let Ok(raw) = to_raw_value(object) else { return };
        for reference in workloads::references(resource, &raw) {
            let workload = Workload::of((kind, namespace, name), &reference, location());
            // The controller creates the ServiceAccount.
            if let Some(annotations) = reference.annotations() {
                let pairs = annotations.iter();
                let pairs = pairs.filter_map(|(key, value)| Some((key.as_str(), value.as_deref()?)));
                let identity = ServiceAccountIdentity::from_annotations(rules.annotations, pairs).map(Arc::new);
                self.accounts.entry(workload.key()).or_insert(ServiceAccount {
                    identity,
                    is_mapped: false,
                    location: location(),
                });
            }
            self.workloads.push(workload);
        }
    }

    fn add_identity_config_map(&mut self, object: &Value, place: &Place<'_>) {
        let data = match object.get("data") {
            None | Some(Value::Null) => Ok(Data::new()),
            Some(Value::Object(data)) => texts(data, "key"),
            Some(_) => Err("expected data to be a mapping".to_owned()),
        };
        let data = data.unwrap_or_else(|why| {
            let what = format!("{}: the identity ConfigMap: {why}", place.text());
            self.unreadable.push(what);
            // Without entries, the rest is still evaluated.
            Data::from([(identity_map::KEY.to_owned(), "{}".to_owned())])
        });
        self.identity_config_map = Some((data, place.location(&["data", identity_map::KEY])));
    }

    fn add_account(&mut self, object: &Value, (namespace, name): (&str, &str), place: &Place<'_>, rules: &Rules<'_>) {
        if name.is_empty() {
            let what = format!("{}: a ServiceAccount without metadata.name", place.text());
            self.unreadable.push(what);
            return;
        }
        let annotations = match annotations(object) {
            Ok(annotations) => annotations,
            Err(why) => {
                let account = format!("{}/{}", text::value(namespace), text::value(name));
                self.unreadable
                    .push(format!("{}: ServiceAccount {account}: {why}", place.text()));
                return;
            }
        };
        let key = format!("{}role-arn", rules.annotations.prefix);
        let location = if annotations.contains_key(&key) {
            place.location(&["metadata", "annotations", &key])
        } else {
            place.location(&[])
        };
        let pairs = annotations.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        let identity = ServiceAccountIdentity::from_annotations(rules.annotations, pairs).map(Arc::new);
        let account = ServiceAccount {
            identity,
            is_mapped: false,
            location,
        };
        self.accounts.insert((namespace.to_owned(), name.to_owned()), account);
    }
}

/// The name or the namespace of an object that YAML reads as a number or a boolean, such as `y`.
fn not_text(object: &Value) -> Option<&'static str> {
    let metadata = object.get("metadata")?;
    let is_other = |field: &&str| {
        let value = metadata.get(field);
        value.is_some_and(|value| value.is_boolean() || value.is_number())
    };
    ["name", "namespace"].into_iter().find(is_other)
}

/// The annotations of an object.
fn annotations(object: &Value) -> Result<BTreeMap<String, String>, String> {
    let annotations = object.get("metadata").and_then(|metadata| metadata.get("annotations"));
    match annotations {
        None | Some(Value::Null) => Ok(BTreeMap::new()),
        Some(Value::Object(annotations)) => texts(annotations, "annotation"),
        Some(_) => Err("expected metadata.annotations to be a mapping".to_owned()),
    }
}

/// The texts of a mapping. A null is what an empty template value leaves; the API server reads it as an empty string.
fn texts(fields: &Map<String, Value>, what: &str) -> Result<BTreeMap<String, String>, String> {
    let text = |(key, value): (&String, &Value)| match value {
        Value::String(text) => Ok((key.clone(), text.clone())),
        Value::Null => Ok((key.clone(), String::new())),
        _ => Err(format!(
            "expected {what} {} to be a string: put it in quotes",
            text::value(key)
        )),
    };
    fields.iter().map(text).collect()
}

/// The origin of a text.
#[derive(Clone, Copy)]
struct Source<'a> {
    name: &'a str,
    /// Whether reports can point to it.
    is_file: bool,
}

/// Where an object is written.
struct Place<'a> {
    source: Source<'a>,
    lines: &'a Lines<'a>,
    /// The fields that lead to it from the document.
    path: &'a [String],
}

impl Place<'_> {
    /// The line of a field, or else of what is nearest to it.
    fn line(&self, fields: &[&str]) -> u64 {
        let path: Vec<&str> = self
            .path
            .iter()
            .map(String::as_str)
            .chain(fields.iter().copied())
            .collect();
        self.lines.of(&path)
    }

    /// The same with the file, if there is one.
    fn location(&self, fields: &[&str]) -> Option<Location> {
        self.source.is_file.then(|| Location {
            file: self.source.name.to_owned(),
            line: Some(self.line(fields)),
        })
    }

    fn text(&self) -> String {
        format!("{}: line {}", self.source.name, self.line(&[]))
    }
}

/// The lines of a document, which are read when they are needed.
struct Lines<'a> {
    document: &'a Document<'a>,
    tree: OnceCell<Option<Node>>,
}

impl Lines<'_> {
    fn of(&self, path: &[&str]) -> u64 {
        if path.is_empty() {
            return self.document.first_line();
        }
        let (source, first) = self.document.source();
        let tree = self
            .tree
            .get_or_init(|| yaml::documents(source).ok()?.into_iter().next());
        let Some(mut node) = tree.as_ref() else {
            return self.document.first_line();
        };
        for field in path {
            let below = match &node.value {
                yaml::Value::Sequence(items) => field.parse().ok().and_then(|index: usize| items.get(index)),
                _ => node.field(field),
            };
            match below {
                Some(below) => node = below,
                None => break,
            }
        }
        first.saturating_add(node.line).saturating_sub(1)
    }
}
