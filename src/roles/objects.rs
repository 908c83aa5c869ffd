//! Roles that controllers in the cluster manage: `Role` objects of ACK's IAM controller and of Crossplane's AWS provider.
//!
//! An object is used only if its controller reports that it is in sync with AWS. For any other role, the next source is used.

mod role;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::role::{ACK, CROSSPLANE, RoleKind};
use super::source::{Answer, Listing, Pace, RoleDocument, RoleSource};
use crate::kubernetes::list_watch::WatchTiming;
use crate::kubernetes::managed_objects::{ManagedObjects, Named, Store};
use crate::support::text;
use crate::trust::RoleArn;

/// Roles that a controller in the cluster manages.
#[derive(Debug)]
pub struct RoleObjects {
    name: &'static str,
    objects: ManagedObjects<RoleArn, RoleDocument>,
}

impl RoleObjects {
    /// `Role` objects of the ACK controller for IAM. Nothing is asked before [`RoleSource::run`].
    #[must_use]
    pub fn ack(client: kube::Client, timing: WatchTiming) -> Self {
        Self::of("ack", client, ACK, timing)
    }

    /// `Role` objects of provider-upjet-aws, of the cluster and of its namespaces. Nothing is asked before
    /// [`RoleSource::run`].
    #[must_use]
    pub fn crossplane(client: kube::Client, timing: WatchTiming) -> Self {
        Self::of("crossplane", client, CROSSPLANE, timing)
    }

    fn of(name: &'static str, client: kube::Client, kinds: &'static [RoleKind], timing: WatchTiming) -> Self {
        let kinds = kinds.iter().map(RoleKind::watched).collect();
        Self {
            name,
            objects: ManagedObjects::new(client, timing, kinds),
        }
    }
}

impl RoleSource for RoleObjects {
    fn name(&self) -> &'static str {
        self.name
    }

    fn read<'a>(&'a self, role: &'a RoleArn, _as_of: Instant) -> BoxFuture<'a, Answer> {
        async move {
            let store = self.objects.store();
            // Waits at the start only; the caller bounds the wait.
            store.first_listed().await;
            answer(store, role)
        }
        .boxed()
    }

    fn list(&self) -> Option<Listing<'_>> {
        None
    }

    fn changes(&self) -> Option<watch::Receiver<u64>> {
        Some(self.objects.store().changes())
    }

    fn pace(&self) -> Pace {
        Pace::Memory
    }

    fn run(&self, stop: CancellationToken) -> BoxFuture<'_, ()> {
        self.objects.run(stop).boxed()
    }
}

fn answer(store: &Store<RoleArn, RoleDocument>, role: &RoleArn) -> Answer {
    let mut found = store.find(role).into_iter();
    let Some((first, document)) = found.next() else {
        let failure = store.failure();
        let failed = |why| Answer::Failed(format!("the Role objects could not be listed: {why}").into());
        return failure.map_or(Answer::NotMine, failed);
    };
    match found.find(|(_, other)| *other != document) {
        None => Answer::Role(document),
        Some(second) => Answer::Failed(disagreement(&first, &second).into()),
    }
}

/// Each controller would undo what the other does.
fn disagreement(first: &str, (second, _): &Named<RoleDocument>) -> String {
    let [first, second] = [first, second].map(text::value);
    format!(
        "two Role objects, {first} and {second}, specify different policies for this role; let only one object manage it (deleting an object also deletes the role in AWS, unless its deletion policy retains it)"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trust::Origin;

    #[test]
    fn two_objects_of_one_role_must_agree() {
        let document = |policy: &str| RoleDocument {
            origin: Origin::Stored,
            policy: policy.into(),
            tags: None,
        };
        let role = RoleArn::parse("arn:aws:iam::111122223333:role/r").unwrap();
        let store = Store::with(&[("a", role.clone(), document("{}")), ("b", role.clone(), document("{}"))]);
        assert_eq!(answer(&store, &role), Answer::Role(document("{}")));
        let store = Store::with(&[("a", role.clone(), document("{}")), ("b", role.clone(), document("[]"))]);
        let Answer::Failed(why) = answer(&store, &role) else {
            panic!("{:?}", answer(&store, &role))
        };
        assert!(why.contains("a and b"), "{why}");
        let other = RoleArn::parse("arn:aws:iam::111122223333:role/other").unwrap();
        assert_eq!(answer(&store, &other), Answer::NotMine);
    }

    #[test]
    fn a_list_that_never_succeeded_is_a_failure() {
        let role = RoleArn::parse("arn:aws:iam::111122223333:role/r").unwrap();
        let store = Store::that_failed("403 Forbidden");
        let Answer::Failed(why) = answer(&store, &role) else {
            panic!("it was never listed")
        };
        assert_eq!(&*why, "the Role objects could not be listed: 403 Forbidden");
    }
}
