//! What is known of the associations of a source: which ServiceAccounts have one, as of when, and what is in it.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::time::Instant;

use super::PAGE;
use crate::associations::source::{AccountName, Listed, Scope};
use crate::trust::Association;

/// A question for a ServiceAccount without an association is remembered for a second; more of them than this are forgotten earlier.
const MOST_QUESTIONS: usize = 10_000;

/// By the name of the ServiceAccount: the ID of its association, and as of when.
type Ids = HashMap<Arc<str>, (Arc<str>, Instant)>;

#[derive(Debug, Default)]
pub(super) struct Known {
    /// The ID of each ServiceAccount that has one, by namespace and name, and as of when.
    ids: HashMap<Arc<str>, Ids>,
    /// When the last complete list of a namespace began.
    listed: HashMap<Arc<str>, Instant>,
    /// When the last complete list of the cluster began.
    cluster_listed: Option<Instant>,
    /// How many calls that took.
    cluster_pages: Option<usize>,
    /// ServiceAccounts that were asked for by themselves, and as of when the answer is true.
    asked: HashMap<AccountName, Instant>,
    contents: HashMap<Arc<str>, Content>,
}

/// What a list brought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ListEffect {
    /// An association came or went, or it is known for the first time which there are.
    pub(super) is_changed: bool,
    /// One is not described.
    pub(super) is_new: bool,
}

#[derive(Debug)]
struct Content {
    association: Arc<Association>,
    read_at: Instant,
}

impl Known {
    /// The ID of a ServiceAccount's association, and as of when.
    pub(super) fn id_of(&self, namespace: &str, service_account: &str) -> Option<(Arc<str>, Instant)> {
        self.ids.get(namespace)?.get(service_account).cloned()
    }

    /// As of when a ServiceAccount is known to have none; for one that has none.
    pub(super) fn absent_since(&self, namespace: &str, service_account: &str) -> Option<Instant> {
        let key = (namespace.into(), service_account.into());
        let asked = self.asked.get(&key).copied();
        asked.max(self.listed_at(namespace))
    }

    /// As of when a namespace is known as a whole.
    pub(super) fn listed_at(&self, namespace: &str) -> Option<Instant> {
        self.listed.get(namespace).copied().max(self.cluster_listed)
    }

    pub(super) const fn cluster_listed_at(&self) -> Option<Instant> {
        self.cluster_listed
    }

    pub(super) const fn cluster_pages(&self) -> Option<usize> {
        self.cluster_pages
    }

    pub(super) fn content_of(&self, id: &str) -> Option<(Arc<Association>, Instant)> {
        let content = self.contents.get(id)?;
        Some((Arc::clone(&content.association), content.read_at))
    }

    /// Whether this ServiceAccount was looked up individually, with a result that is valid as of this moment or later.
    pub(super) fn was_asked_for(&self, namespace: &str, service_account: &str, as_of: Instant) -> bool {
        let key = (namespace.into(), service_account.into());
        self.asked.get(&key).is_some_and(|at| *at >= as_of)
    }

    pub(super) fn asked_for(&mut self, namespace: &str, service_account: &str, began: Instant) {
        if self.asked.len() >= MOST_QUESTIONS {
            let oldest = crate::support::age::as_good_as_now(Instant::now());
            self.asked.retain(|_, at| *at >= oldest);
        }
        if self.asked.len() < MOST_QUESTIONS {
            self.asked.insert((namespace.into(), service_account.into()), began);
        }
    }

    /// What to list for a question about a ServiceAccount: its namespace where that takes one call, since others ask at the same time.
    pub(super) fn scope_for(&self, namespace: &str, service_account: &str) -> Scope {
        let is_one_page = self.ids.get(namespace).is_none_or(|ids| ids.len() < PAGE);
        if is_one_page {
            Scope::Namespace(namespace.into())
        } else {
            Scope::ServiceAccount {
                namespace: namespace.into(),
                service_account: service_account.into(),
            }
        }
    }

    /// Takes over a complete list that began at `began`.
    pub(super) fn store(&mut self, scope: &Scope, listed: &[Listed], pages: usize, began: Instant) -> ListEffect {
        let is_in_scope = |namespace: &str, name: &str| match scope {
            Scope::Cluster => true,
            Scope::Namespace(listed) => **listed == *namespace,
            Scope::ServiceAccount {
                namespace: listed,
                service_account,
            } => **listed == *namespace && **service_account == *name,
        };
        let mut effect = ListEffect::default();
        let mut before: HashMap<AccountName, Arc<str>> = HashMap::new();
        // The result of a list that began later stays.
        for (namespace, ids) in &mut self.ids {
            ids.retain(|name, (id, as_of)| {
                let stays = !is_in_scope(namespace, name) || *as_of >= began;
                if !stays {
                    before.insert((Arc::clone(namespace), Arc::clone(name)), Arc::clone(id));
                }
                stays
            });
        }
        for one in listed {
            effect.is_new |= !self.contents.contains_key(&one.id);
            let ids = self.ids.entry(Arc::clone(&one.namespace)).or_default();
            let known = ids.get(&one.service_account);
            if known.is_none_or(|(_, as_of)| *as_of < began) {
                let account = (Arc::clone(&one.namespace), Arc::clone(&one.service_account));
                effect.is_changed |= before.remove(&account).as_ref() != Some(&one.id);
                ids.insert(account.1, (Arc::clone(&one.id), began));
            }
        }
        effect.is_changed |= !before.is_empty();
        self.ids.retain(|_, ids| !ids.is_empty());
        match scope {
            Scope::Cluster => {
                effect.is_changed |= self.cluster_listed.is_none();
                self.cluster_listed = self.cluster_listed.max(Some(began));
                self.cluster_pages = Some(pages);
                self.drop_unlisted_contents();
            }
            Scope::Namespace(namespace) => {
                effect.is_changed |= self.listed_at(namespace).is_none();
                let at = self.listed.entry(Arc::clone(namespace)).or_insert(began);
                *at = (*at).max(began);
            }
            Scope::ServiceAccount { .. } => {}
        }
        effect
    }

    fn drop_unlisted_contents(&mut self) {
        let ids: std::collections::HashSet<&Arc<str>> = self
            .ids
            .values()
            .flat_map(|ids| ids.values().map(|(id, _)| id))
            .collect();
        self.contents.retain(|id, _| ids.contains(id));
    }

    /// Takes over the content of an association, or that there is none of this ID. Returns whether that is other than before.
    pub(super) fn store_content(&mut self, id: &Arc<str>, content: Option<Arc<Association>>, began: Instant) -> bool {
        match content {
            Some(association) => {
                let read_at = began;
                let now = Arc::clone(&association);
                let before = self.contents.insert(Arc::clone(id), Content { association, read_at });
                before.is_none_or(|before| before.association != now)
            }
            None => {
                let mut is_changed = self.contents.remove(id).is_some();
                for ids in self.ids.values_mut() {
                    let before = ids.len();
                    ids.retain(|_, (known, as_of)| known != id || *as_of >= began);
                    is_changed |= ids.len() < before;
                }
                is_changed
            }
        }
    }

    /// The IDs whose content is not known or was read before this moment, those that are not known first.
    pub(super) fn due(&self, before: Option<Instant>) -> Vec<Arc<str>> {
        let mut due: Vec<(Option<Instant>, Arc<str>)> = self
            .ids
            .values()
            .flat_map(|ids| ids.values())
            .map(|(id, _)| (self.contents.get(id).map(|content| content.read_at), Arc::clone(id)))
            .filter(|(read_at, _)| read_at.is_none_or(|read_at| before.is_some_and(|before| read_at <= before)))
            .collect();
        due.sort_unstable();
        due.into_iter().map(|(_, id)| id).collect()
    }

    /// Drops what was true before this moment and was not confirmed since. Returns whether there was such an association.
    pub(super) fn forget(&mut self, before: Option<Instant>) -> bool {
        let Some(before) = before else { return false };
        let mut has_dropped = false;
        self.ids.retain(|_, ids| {
            let known = ids.len();
            ids.retain(|_, (_, as_of)| *as_of >= before);
            has_dropped |= ids.len() < known;
            !ids.is_empty()
        });
        self.listed.retain(|_, at| *at >= before);
        self.asked.retain(|_, at| *at >= before);
        if self.contents.len() > self.ids.values().map(HashMap::len).sum() {
            self.drop_unlisted_contents();
        }
        has_dropped
    }

    /// The ServiceAccounts that are known to have an association.
    pub(super) fn accounts(&self) -> Vec<AccountName> {
        let accounts = self
            .ids
            .iter()
            .flat_map(|(namespace, ids)| ids.keys().map(move |name| (Arc::clone(namespace), Arc::clone(name))));
        accounts.collect()
    }

    pub(super) fn contents(&self) -> Vec<Arc<Association>> {
        self.contents
            .values()
            .map(|content| Arc::clone(&content.association))
            .collect()
    }

    /// How many associations are listed, and how many of them are described.
    pub(super) fn counts(&self) -> (usize, usize) {
        let listed = self.ids.values().flat_map(HashMap::values);
        listed.fold((0, 0), |(all, described), (id, _)| {
            (all + 1, described + usize::from(self.contents.contains_key(id)))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::trust::{RoleArn, SessionTags};

    fn listed(name: &str, id: &str) -> Listed {
        Listed {
            namespace: "jobs".into(),
            service_account: name.into(),
            id: id.into(),
        }
    }

    fn with_role(role: &str) -> Option<Arc<Association>> {
        Some(Arc::new(Association {
            cluster: None,
            namespace: "jobs".into(),
            service_account: "api".into(),
            id: Some("a-1".into()),
            role: RoleArn::parse(&format!("arn:aws:iam::111122223333:role/{role}")).unwrap(),
            target_role: None,
            session_tags: SessionTags::Enabled,
            external_id: None,
        }))
    }

    #[test]
    fn an_effect_is_what_differs_from_before() {
        let start = Instant::now();
        let at = |second| start + Duration::from_secs(second);
        let mut known = Known::default();
        let scope = Scope::Namespace("jobs".into());
        let mut is_changed = |second, listed: &[Listed]| known.store(&scope, listed, 1, at(second)).is_changed;
        assert!(is_changed(0, &[]), "known for the first time");
        assert!(!is_changed(1, &[]));
        let one = [listed("api", "a-1")];
        assert!(is_changed(2, &one));
        assert!(!is_changed(3, &one));
        assert!(is_changed(4, &[listed("api", "a-2")]), "created again");
        assert!(!is_changed(1, &one), "a list that began earlier");
        assert!(is_changed(5, &[listed("api", "a-2"), listed("worker", "a-3")]));
        assert!(is_changed(6, &[listed("worker", "a-3")]));
        let worker: AccountName = ("jobs".into(), "worker".into());
        assert_eq!(known.accounts(), [worker]);

        let other = Scope::Cluster;
        assert!(known.store(&other, &one, 1, at(7)).is_changed);
        assert!(!known.store(&other, &one, 1, at(8)).is_changed);
        let id = Arc::from("a-1");
        assert!(known.store_content(&id, with_role("first"), at(9)));
        assert!(!known.store_content(&id, with_role("first"), at(10)));
        assert!(known.store_content(&id, with_role("second"), at(11)));
        assert!(!known.forget(Some(at(8))));
        assert!(known.store_content(&id, None, at(12)));
        assert!(!known.store_content(&id, None, at(13)));
        assert!(known.store(&other, &[listed("api", "a-1")], 1, at(14)).is_changed);
        assert!(known.forget(Some(at(15))));
        assert!(known.accounts().is_empty());
    }
}
