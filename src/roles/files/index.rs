//! The roles of all files together, by ARN.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

use super::error::RoleFilesError;
use super::found::{FoundRole, FoundTrust, RoleKey};
use super::watched::WatchedFile;
use crate::roles::source::{Answer, RoleDocument};
use crate::support::text;
use crate::trust::RoleArn;

/// Roles by what is known of their ARN.
#[derive(Debug, Default)]
pub(super) struct Index {
    by_arn: HashMap<RoleArn, Placed>,
    /// By account, path and name, in any partition.
    by_parts: HashMap<(Arc<str>, Arc<str>), Placed>,
    /// By path and name, in any account: planned roles. Several plans may each make one.
    by_name: HashMap<Arc<str>, Vec<Placed>>,
}

/// A role's trust and the files that define it.
#[derive(Clone, Debug)]
struct Placed {
    trust: FoundTrust,
    file: Arc<WatchedFile>,
    /// Others that define it alike.
    more: Vec<Arc<WatchedFile>>,
}

impl Index {
    /// Merges the roles of files.
    ///
    /// # Errors
    /// Two files that define the same role differently, both named.
    pub(super) fn build<'a>(
        files: impl Iterator<Item = (&'a Arc<WatchedFile>, &'a [FoundRole])>,
    ) -> Result<Self, RoleFilesError> {
        let mut index = Self::default();
        for (file, roles) in files {
            for role in roles {
                let placed = Placed {
                    trust: role.trust.clone(),
                    file: Arc::clone(file),
                    more: Vec::new(),
                };
                match &role.key {
                    RoleKey::Arn(arn) => {
                        if let Some(other) = index.by_arn.get_mut(arn) {
                            other.join(&placed, arn.as_str())?;
                        } else {
                            index.by_arn.insert(arn.clone(), placed);
                        }
                    }
                    RoleKey::Parts {
                        account: Some(account),
                        path_and_name,
                    } => {
                        let parts = (Arc::clone(account), Arc::clone(path_and_name));
                        if let Some(other) = index.by_parts.get_mut(&parts) {
                            other.join(&placed, &format!("role{path_and_name} of account {account}"))?;
                        } else {
                            index.by_parts.insert(parts, placed);
                        }
                    }
                    RoleKey::Parts {
                        account: None,
                        path_and_name,
                    } => {
                        let namesakes = index.by_name.entry(Arc::clone(path_and_name)).or_default();
                        match namesakes.iter_mut().find(|other| same(&other.trust, &placed.trust)) {
                            Some(other) => other.add_files_of(&placed),
                            None => namesakes.push(placed),
                        }
                    }
                }
            }
        }
        for (arn, placed) in &mut index.by_arn {
            if let Some(other) = index.by_parts.get(&parts(arn)) {
                placed.join(other, arn.as_str())?;
            }
        }
        Ok(index)
    }

    /// How many roles.
    pub(super) fn len(&self) -> usize {
        self.by_arn.len() + self.by_parts.len() + self.by_name.len()
    }

    /// How the files answer for a role; none when they do not define it.
    pub(super) fn answer(&self, role: &RoleArn) -> Option<Answer> {
        match self.placed(role) {
            [placed] => Some(placed.answer()),
            [first, second, ..] => {
                let why = format!(
                    "{} and {} plan different roles of that path and name and do not say in which account",
                    first.path().display(),
                    second.path().display()
                );
                Some(Answer::Failed((*text::line(&why)).into()))
            }
            [] => None,
        }
    }

    /// The files that define a role.
    pub(super) fn files_of(&self, role: &RoleArn) -> Vec<Arc<WatchedFile>> {
        let placed = self.placed(role).iter();
        placed
            .flat_map(|placed| std::iter::once(&placed.file).chain(&placed.more))
            .cloned()
            .collect()
    }

    /// The definitions of a role: several only if plans that do not say in which account define it differently.
    fn placed(&self, role: &RoleArn) -> &[Placed] {
        let parts = parts(role);
        match self.by_arn.get(role).or_else(|| self.by_parts.get(&parts)) {
            Some(placed) => std::slice::from_ref(placed),
            None => self.by_name.get(&parts.1).map(Vec::as_slice).unwrap_or_default(),
        }
    }

    /// The existing role that the name of a missing role probably refers to.
    pub(super) fn hint(&self, missing: &RoleArn) -> Option<Arc<str>> {
        let same_name = |role: &&RoleArn| role.name().eq_ignore_ascii_case(missing.name());
        let mut namesakes: Vec<_> = self.by_arn.keys().filter(same_name).collect();
        // The most likely first: of the same account, then in the order of their ARNs, so that the answer does not vary.
        namesakes.sort_unstable_by_key(|role| (role.account() != missing.account(), (*role).clone()));
        if let Some(role) = namesakes.first() {
            let differs = differing_part(role, missing);
            return Some(format!("a role of that name exists as {role}: the {differs} differs").into());
        }
        let ending = format!("/{}", missing.name());
        let mut accounts: Vec<_> = self
            .by_parts
            .keys()
            .filter(|(_, path_and_name)| path_and_name.ends_with(&ending))
            .collect();
        accounts.sort_unstable_by_key(|(account, path_and_name)| (**account != *missing.account(), path_and_name));
        let (account, path_and_name) = accounts.first()?;
        let differs = if **account == *missing.account() {
            "path"
        } else {
            "account"
        };
        Some(format!("a role of that name exists as role{path_and_name} in {account}: the {differs} differs").into())
    }

    /// Every role whose whole ARN and policy are known.
    pub(super) fn documents(&self) -> Vec<(RoleArn, RoleDocument)> {
        let known = self.by_arn.iter().filter_map(|(arn, placed)| match &placed.trust {
            FoundTrust::Document(document) => Some((arn.clone(), document.clone())),
            FoundTrust::Unknown(_) => None,
        });
        known.collect()
    }
}

/// The account, and path and name, of an ARN.
fn parts(role: &RoleArn) -> (Arc<str>, Arc<str>) {
    (role.account().into(), format!("{}{}", role.path(), role.name()).into())
}

/// The part in which two ARNs of nearly the same name differ, the most significant first.
fn differing_part(one: &RoleArn, other: &RoleArn) -> &'static str {
    if one.account() != other.account() {
        "account"
    } else if one.path() != other.path() {
        "path"
    } else if one.name() != other.name() {
        "case of the name"
    } else {
        "partition"
    }
}

impl Placed {
    fn answer(&self) -> Answer {
        match &self.trust {
            FoundTrust::Document(document) => Answer::Role(document.clone()),
            FoundTrust::Unknown(reason) => Answer::Failed(Arc::clone(reason)),
        }
    }

    fn path(&self) -> &Path {
        self.file.path()
    }

    fn add_files_of(&mut self, other: &Self) {
        let files = std::iter::once(&other.file).chain(&other.more);
        self.more
            .extend(files.filter(|file| !Arc::ptr_eq(file, &self.file)).cloned());
    }

    /// Merges a second definition of the same role.
    fn join(&mut self, other: &Self, what: &str) -> Result<(), RoleFilesError> {
        if !same(&self.trust, &other.trust) {
            let first = match self.path() == other.path() {
                true => "this file".to_owned(),
                false => self.path().display().to_string(),
            };
            return Err(RoleFilesError {
                file: other.path().to_owned(),
                position: None,
                problem: format!("defines {what} differently from {first}; keep one of the two"),
            });
        }
        self.add_files_of(other);
        // Some formats leave tags out.
        if let (FoundTrust::Document(document), FoundTrust::Document(other)) = (&mut self.trust, &other.trust)
            && document.tags.is_none()
        {
            document.tags.clone_from(&other.tags);
        }
        Ok(())
    }
}

/// Whether two definitions agree: the same policy, in whatever layout, and no contradicting tags.
fn same(one: &FoundTrust, other: &FoundTrust) -> bool {
    match (one, other) {
        (FoundTrust::Document(one), FoundTrust::Document(other)) => {
            let tags_agree = match (&one.tags, &other.tags) {
                (Some(one), Some(other)) => sorted(one) == sorted(other),
                _ => true,
            };
            tags_agree && (one.policy == other.policy || same_json(&one.policy, &other.policy))
        }
        (FoundTrust::Unknown(one), FoundTrust::Unknown(other)) => one == other,
        _ => false,
    }
}

fn sorted(tags: &[(String, String)]) -> Vec<&(String, String)> {
    let mut tags: Vec<_> = tags.iter().collect();
    tags.sort_unstable();
    tags
}

fn same_json(one: &str, other: &str) -> bool {
    let value = |text: &str| {
        let decoded = match text.trim_start().starts_with('{') {
            true => text.into(),
            false => percent_encoding::percent_decode_str(text).decode_utf8_lossy(),
        };
        serde_json::from_str::<Value>(&decoded).ok()
    };
    value(one).is_some_and(|one| Some(one) == value(other))
}
