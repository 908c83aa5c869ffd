//! Reads the references of an object with its row of the table.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};

use serde::Deserialize;
use serde_json::value::RawValue;

use super::path::{Found, Location, Path, Start};
use super::{Absent, Listed, Place, Resource, json, lookup};
use crate::pod::view::PodView;
use crate::support::dns;

/// The most places of an object that are read: the lists of an object of 1.5 MB, the most that etcd stores, can be longer.
pub const MAX_PLACES: usize = 10_000;

/// How many objects may be inside each other: a Sensor that creates a Job.
const MAX_DEPTH: usize = 3;

/// The ServiceAccount that a reference names.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Account<'a> {
    /// Its name is in the object.
    Written(Cow<'a, str>),
    /// The object's controller creates it and names it after the object.
    Derived(String),
    /// None is written: it is `default`.
    Default,
}

impl Account<'_> {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Written(name) => name,
            Self::Derived(name) => name,
            Self::Default => "default",
        }
    }
}

/// A reference of an object to a ServiceAccount.
#[derive(Clone, Debug)]
pub struct Reference<'a> {
    /// Where it is: `spec.templates[3]`. Empty for the object itself.
    pub path: String,
    /// The same as a JSON pointer: `/spec/templates/3`.
    pub pointer: String,
    /// The ServiceAccount.
    pub account: Account<'a>,
    template: Option<&'a RawValue>,
    annotations: Option<&'a RawValue>,
}

impl<'a> Reference<'a> {
    /// The pod template that refers to the ServiceAccount, if the object has one.
    ///
    /// # Errors
    /// What in it is not as in a pod.
    pub fn pod(&self) -> Result<Option<PodView<'a>>, serde_json::Error> {
        self.template
            .map(|template| serde_json::from_str(template.get()))
            .transpose()
    }

    /// The same as text.
    #[must_use]
    pub const fn template(&self) -> Option<&'a RawValue> {
        self.template
    }

    /// The annotations that the object's controller writes to the ServiceAccount, if the object has them.
    #[must_use]
    pub fn annotations(&self) -> Option<BTreeMap<String, Option<String>>> {
        serde_json::from_str(self.annotations?.get()).ok()
    }
}

/// What an object refers to: each distinct pair of ServiceAccount and pod template once. What is decided elsewhere is left out, and so
/// is a name that no object can have, such as the placeholder `{{inputs.parameters.account}}`.
#[must_use]
pub fn references<'a>(resource: &Resource, object: &'a RawValue) -> Vec<Reference<'a>> {
    Reading::new(Listing::Distinct).references(resource, object)
}

/// What an object refers to: each place by itself, also of an object that a controller created, and with names in pod templates that no
/// object can have.
#[must_use]
pub fn every_reference<'a>(resource: &Resource, object: &'a RawValue) -> Vec<Reference<'a>> {
    Reading::new(Listing::EveryPlace).references(resource, object)
}

/// Which references are listed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Listing {
    /// Each distinct pair of ServiceAccount and pod template, of objects that people apply.
    Distinct,
    EveryPlace,
}

struct Reading<'a> {
    listing: Listing,
    references: Vec<Reference<'a>>,
    seen: HashSet<(Account<'a>, Option<&'a str>)>,
    places: usize,
}

impl<'a> Reading<'a> {
    fn new(listing: Listing) -> Self {
        Self {
            listing,
            references: Vec::new(),
            seen: HashSet::new(),
            places: 0,
        }
    }

    fn references(mut self, resource: &Resource, object: &'a RawValue) -> Vec<Reference<'a>> {
        self.read(resource, object, &Location::default(), 0);
        self.references
    }

    fn read(&mut self, resource: &Resource, object: &'a RawValue, outer: &Location, depth: usize) {
        let metadata = || json::field(object, "metadata");
        let leaves_out = resource.skip_controlled && self.listing == Listing::Distinct;
        if leaves_out && metadata().is_some_and(is_controlled) {
            return;
        }
        for place in &resource.references {
            self.place(place, object, outer);
        }
        if depth < MAX_DEPTH {
            for objects in &resource.objects {
                for Found { at, value } in objects.find(object, self.room()) {
                    self.places += 1;
                    if let Some(resource) = row(value) {
                        self.read(resource, value, &outer.join(&at), depth + 1);
                    }
                }
            }
        }
    }

    fn place(&mut self, place: &Place, object: &'a RawValue, outer: &Location) {
        let is_unset = |value: &RawValue| matches!(value.get(), "false" | "\"\"");
        let is_set = |path: &Path, at: &'a RawValue| path.first(at).is_some_and(|value| !is_unset(value));
        let starts_at = |paths: &'_ [Path], start: Start, at: &'a RawValue| {
            paths.iter().any(|path| path.start == start && is_set(path, at))
        };
        if !place.when.is_empty() && !starts_at(&place.when, Start::Object, object) {
            return;
        }
        if starts_at(&place.unless, Start::Object, object) {
            return;
        }
        // What is the same for every place is read once, so that the cost grows with the object and not with its square.
        let of_object: Vec<Option<Cow<'a, str>>> = place
            .accounts
            .iter()
            .map(|path| (path.start == Start::Object).then(|| name(path, object)).flatten())
            .collect();
        let absent = match &place.absent {
            Absent::Default => Some(Account::Default),
            Absent::Unknown => None,
            Absent::Derived(suffix) => derived(object, suffix),
        };
        let annotations = place.annotations.as_ref().and_then(|path| path.first(object));
        for Found { at, value } in place.at.find(object, self.room()) {
            self.places += 1;
            if starts_at(&place.unless, Start::Place, value) {
                continue;
            }
            let template = place.pod.then_some(value);
            if template.is_some_and(|template| json::field(template, "spec").is_none()) {
                continue;
            }
            let written = if place.pod && place.accounts.is_empty() {
                pod_account(value)
            } else {
                let mut names = place.accounts.iter().zip(&of_object);
                names.find_map(|(path, of_object)| match path.start {
                    Start::Object => of_object.clone(),
                    Start::Place => name(path, value),
                })
            };
            let account = match written {
                // A pod template that names something else is refused by the API server; its author should see it in a list of places.
                Some(name) if dns::is_subdomain(&name) || (place.pod && self.listing == Listing::EveryPlace) => {
                    Account::Written(name)
                }
                Some(_) => continue,
                None => match &absent {
                    Some(account) => account.clone(),
                    None => continue,
                },
            };
            let is_new =
                self.listing == Listing::EveryPlace || self.seen.insert((account.clone(), template.map(RawValue::get)));
            if is_new {
                let Location { path, pointer } = outer.join(&at);
                self.references.push(Reference {
                    path,
                    pointer,
                    account,
                    template,
                    annotations,
                });
            }
        }
    }

    const fn room(&self) -> usize {
        MAX_PLACES.saturating_sub(self.places)
    }
}

/// The row of an object inside another.
fn row(object: &RawValue) -> Option<&'static Resource> {
    let api_version = json::text(json::field(object, "apiVersion")?)?;
    let kind = json::text(json::field(object, "kind")?)?;
    let (group, version) = api_version.split_once('/').unwrap_or(("", &api_version));
    match lookup(group, version, &kind) {
        Listed::As(resource) => Some(resource),
        Listed::InOtherVersions | Listed::No => None,
    }
}

/// The name that a path leads to; None if it is absent or empty.
fn name<'a>(path: &Path, value: &'a RawValue) -> Option<Cow<'a, str>> {
    path.first(value).and_then(json::text).filter(|name| !name.is_empty())
}

/// The name in a pod template; `serviceAccount` is its deprecated alias.
fn pod_account(template: &RawValue) -> Option<Cow<'_, str>> {
    let spec = json::field(template, "spec")?;
    let name = |field| {
        json::field(spec, field)
            .and_then(json::text)
            .filter(|name| !name.is_empty())
    };
    name("serviceAccountName").or_else(|| name("serviceAccount"))
}

/// Named after the object; None while the API server has not generated its name.
fn derived<'a>(object: &RawValue, suffix: &str) -> Option<Account<'a>> {
    let name = json::text(json::field(json::field(object, "metadata")?, "name")?)?;
    let name = format!("{name}{suffix}");
    dns::is_subdomain(&name).then_some(Account::Derived(name))
}

fn is_controlled(metadata: &RawValue) -> bool {
    #[derive(Deserialize)]
    struct Owner {
        #[serde(default)]
        controller: Option<bool>,
    }
    let Some(owners) = json::field(metadata, "ownerReferences") else {
        return false;
    };
    let owners: Vec<Owner> = serde_json::from_str(owners.get()).unwrap_or_default();
    owners.iter().any(|owner| owner.controller == Some(true))
}
