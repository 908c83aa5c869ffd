//! Selects the containers that a pod's annotations choose.

use std::collections::BTreeSet;

use super::identity::AnnotationRules;
use super::view::PodView;
use super::warning::{Warning, quoted};
use crate::support::{dns, text};

pub(super) const SKIP_CONTAINERS: &str = "skip-containers";
pub(super) const INCLUDE_CONTAINERS: &str = "include-containers";

/// How many names of a list, and of the pod's containers, are compared for typing errors.
const COMPARED: usize = 32;

/// Which containers a pod's annotations choose.
pub(super) struct Selection<'p> {
    /// Sorted. None: all.
    include: Option<Vec<&'p str>>,
    /// Sorted.
    skip: Vec<&'p str>,
}

impl<'p> Selection<'p> {
    pub(super) fn of(rules: &AnnotationRules, pod: &'p PodView<'_>) -> Self {
        let names = |annotation| {
            let csv = pod.annotation(&rules.prefix, annotation);
            csv.map(sorted_names).unwrap_or_default()
        };
        // An include list without a name is what a template leaves behind: it chooses nothing, so all are taken.
        let include = Some(names(INCLUDE_CONTAINERS)).filter(|include| !include.is_empty());
        Self {
            include,
            skip: names(SKIP_CONTAINERS),
        }
    }

    pub(super) fn takes(&self, name: &str) -> bool {
        self.skip.binary_search(&name).is_err()
            && self
                .include
                .as_ref()
                .is_none_or(|include| include.binary_search(&name).is_ok())
    }

    /// At most one warning about each list: names that leave out, or choose, nothing.
    pub(super) fn warnings(&self, rules: &AnnotationRules, pod: &PodView<'_>) -> impl Iterator<Item = Warning> {
        if self.include.is_none() && self.skip.is_empty() {
            return None.into_iter().chain(None);
        }
        let known: BTreeSet<&str> = pod
            .containers()
            .map(|(_, _, container)| container.name())
            .chain(pod.ephemeral_containers().map(|(_, container)| container.name()))
            .collect();
        let skipped = self.invalid_name(rules).or_else(|| self.misspelled_name(rules, &known));
        let included = self.include.as_ref();
        let included = included.and_then(|include| unknown_names(include, &known, rules));
        skipped.into_iter().chain(included)
    }

    /// A skipped name that is nearly that of a container, which is therefore not skipped. Other webhooks may add containers with other
    /// names after this one.
    fn misspelled_name(&self, rules: &AnnotationRules, known: &BTreeSet<&str>) -> Option<Warning> {
        let is_skipped = |name: &str| self.skip.binary_search(&name).is_ok();
        let unknown = self.skip.iter().filter(|name| name.len() > 2 && !known.contains(*name));
        let (name, meant) = unknown.take(COMPARED).find_map(|name| {
            let others = known.iter().copied().filter(|known| !is_skipped(known)).take(COMPARED);
            Some((name, text::nearest_word(name, others)?))
        })?;
        Some(Warning::new(&format!(
            "{}{SKIP_CONTAINERS} names {}, but the pod has no such container; did you mean {}?",
            rules.prefix,
            quoted(name),
            quoted(meant)
        )))
    }

    /// A skipped name that no container can have: the list is not written as a list of names, and leaves no container out. An included
    /// one is unknown.
    fn invalid_name(&self, rules: &AnnotationRules) -> Option<Warning> {
        let name = self.skip.iter().find(|name| !dns::is_label(name))?;
        Some(Warning::new(&format!(
            "{}{SKIP_CONTAINERS} contains {}, which cannot be a container name: separate names by commas",
            rules.prefix,
            quoted(name)
        )))
    }
}

fn unknown_names(names: &[&str], known: &BTreeSet<&str>, rules: &AnnotationRules) -> Option<Warning> {
    let mut unknown = names.iter().filter(|name| !known.contains(*name));
    let first = quoted(unknown.next()?);
    let others = match unknown.count() {
        0 => String::new(),
        count => format!(" and {count} more"),
    };
    Some(Warning::new(&format!(
        "{}{INCLUDE_CONTAINERS} names {first}{others}, but the pod has no such container",
        rules.prefix
    )))
}

/// The names of a CSV text. A container's name holds no comma, blank or quote, so quoting needs no more than this.
fn sorted_names(csv: &str) -> Vec<&str> {
    let mut names: Vec<&str> = csv
        .split([',', '\n'])
        .map(|name| name.trim().trim_matches('"').trim())
        .filter(|name| !name.is_empty())
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}
