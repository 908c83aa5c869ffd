//! The roles of all files together, by ARN.

use std::cmp::Ordering;
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
    /// The keys of `by_arn` in the order of their names, in any case: many missing roles must not each cost a look at all roles.
    arns: Vec<RoleArn>,
    /// The keys of `by_parts` in the order of their names.
    parts: Vec<(Arc<str>, Arc<str>)>,
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
        index.arns = index.by_arn.keys().cloned().collect();
        index
            .arns
            .sort_unstable_by(|one, other| ignoring_case(one.name(), other.name()));
        index.parts = index.by_parts.keys().cloned().collect();
        index
            .parts
            .sort_unstable_by(|one, other| last_name(one).cmp(last_name(other)));
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
                    "{} and {} plan different roles of that path and name and do not specify the account",
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
        let name = missing.name();
        // The most likely: of the same account, then the first in the order of their ARNs, so that the answer does not vary.
        let of_name = equal_range(&self.arns, |role| ignoring_case(role.name(), name));
        if let Some(role) = of_name.min_by_key(|role| (role.account() != missing.account(), *role)) {
            let differs = differing_part(role, missing);
            return Some(format!("a role of that name exists as {role}: the {differs} differs").into());
        }
        let of_name = equal_range(&self.parts, |parts| last_name(parts).cmp(name));
        let (account, path_and_name) =
            of_name.min_by_key(|(account, path_and_name)| (**account != *missing.account(), path_and_name, account))?;
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

/// The elements that compare as equal, of a slice that is sorted by this comparison.
fn equal_range<T>(sorted: &[T], compare: impl Fn(&T) -> Ordering) -> impl Iterator<Item = &T> {
    let first = sorted.partition_point(|element| compare(element) == Ordering::Less);
    let from_first = sorted.iter().skip(first);
    from_first.take_while(move |element| compare(element) == Ordering::Equal)
}

fn ignoring_case(one: &str, other: &str) -> Ordering {
    let [one, other] = [one, other].map(|text| text.bytes().map(|byte| byte.to_ascii_lowercase()));
    one.cmp(other)
}

/// The name in a path and name.
fn last_name((_, path_and_name): &(Arc<str>, Arc<str>)) -> &str {
    path_and_name.rsplit('/').next().unwrap_or_default()
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::watched::Cost;
    use super::*;

    /// A hint for a missing role, by a look at all roles.
    fn scanned(index: &Index, missing: &RoleArn) -> Option<Arc<str>> {
        let mut roles: Vec<_> = index.by_arn.keys().collect();
        roles.retain(|role| role.name().eq_ignore_ascii_case(missing.name()));
        roles.sort_by_key(|role| (role.account() != missing.account(), role.as_str()));
        if let Some(role) = roles.first() {
            let differs = differing_part(role, missing);
            return Some(format!("a role of that name exists as {role}: the {differs} differs").into());
        }
        let ending = format!("/{}", missing.name());
        let mut parts: Vec<_> = index.by_parts.keys().collect();
        parts.retain(|(_, path_and_name)| path_and_name.ends_with(&ending));
        parts.sort_by_key(|(account, path_and_name)| (**account != *missing.account(), path_and_name, account));
        let (account, path_and_name) = parts.first()?;
        let differs = if **account == *missing.account() {
            "path"
        } else {
            "account"
        };
        Some(format!("a role of that name exists as role{path_and_name} in {account}: the {differs} differs").into())
    }

    fn arn() -> impl Strategy<Value = RoleArn> {
        ("(111122223333|444455556666)", "(|a/|A/b/)", "[aAbB_]{1,2}").prop_map(|(account, path, name)| {
            RoleArn::parse(&format!("arn:aws:iam::{account}:role/{path}{name}")).unwrap()
        })
    }

    proptest! {
        #[test]
        fn a_hint_is_that_of_a_look_at_all_roles(
            roles in prop::collection::vec((arn(), any::<bool>()), 0..20),
            missing in arn(),
        ) {
            let file = Arc::new(WatchedFile::new(Path::new("roles.json").into(), Arc::new(Cost::default())));
            let found: Vec<FoundRole> = roles
                .into_iter()
                .map(|(arn, is_whole)| {
                    let (account, path_and_name) = parts(&arn);
                    let account = Some(account);
                    FoundRole {
                        key: if is_whole { RoleKey::Arn(arn) } else { RoleKey::Parts { account, path_and_name } },
                        trust: FoundTrust::Unknown("not read".into()),
                    }
                })
                .collect();
            let index = Index::build([(&file, found.as_slice())].into_iter()).unwrap();
            prop_assert_eq!(index.hint(&missing), scanned(&index, &missing));
        }
    }
}
