//! Associations that controllers in the cluster manage: `PodIdentityAssociation` objects of ACK's EKS controller and of Crossplane's AWS
//! provider.
//!
//! An object is used only if its controller reports that it is in sync with EKS. Until then, it proves neither that its ServiceAccount has
//! an association nor that it has none. Other ServiceAccounts can have associations without an object, so a missing object proves nothing.

mod ack;
mod crossplane;
mod state;

use std::sync::Arc;

use futures::FutureExt as _;
use futures::future::{BoxFuture, join};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use self::state::{Pair, RoleObject, State};
use super::source::{AccountName, ClusterId, Found, HeldAssociations};
use crate::kubernetes::list_watch::WatchTiming;
use crate::kubernetes::managed_objects::{ManagedObjects, Store};
use crate::support::text;
use crate::trust::Association;

/// Associations that a controller in the cluster manages.
#[derive(Debug)]
pub struct AssociationObjects {
    name: &'static str,
    associations: ManagedObjects<Pair, State>,
    /// The roles that associations of ACK refer to, by namespace and name of their objects.
    roles: ManagedObjects<Pair, RoleObject>,
}

impl AssociationObjects {
    /// Objects of the ACK controller for EKS. Nothing is asked before [`HeldAssociations::run`].
    #[must_use]
    pub fn ack(client: kube::Client, cluster: ClusterId, timing: WatchTiming) -> Self {
        Self {
            name: "ack",
            associations: ManagedObjects::new(client.clone(), timing, vec![ack::associations(cluster)]),
            roles: ManagedObjects::new(client, timing, vec![ack::roles()]),
        }
    }

    /// Objects of provider-upjet-aws, of the cluster and of its namespaces. Nothing is asked before [`HeldAssociations::run`].
    #[must_use]
    pub fn crossplane(client: kube::Client, cluster: &ClusterId, timing: WatchTiming) -> Self {
        Self {
            name: "crossplane",
            associations: ManagedObjects::new(client.clone(), timing, crossplane::associations(cluster)),
            roles: ManagedObjects::new(client, timing, Vec::new()),
        }
    }
}

impl HeldAssociations for AssociationObjects {
    fn name(&self) -> &'static str {
        self.name
    }

    fn find(&self, namespace: &str, service_account: &str) -> Found {
        let pair = (namespace.into(), service_account.into());
        find(self.associations.store(), self.roles.store(), &pair)
    }

    fn all(&self) -> Vec<Arc<Association>> {
        let (associations, roles) = (self.associations.store(), self.roles.store());
        let pairs = associations.keys().into_iter();
        let found = pairs.map(|pair| find(associations, roles, &pair));
        found
            .filter_map(|found| match found {
                Found::Association(association) => Some(association),
                Found::Undescribed(_) | Found::Absent | Found::Unlisted | Found::Unknown(_) => None,
            })
            .collect()
    }

    fn accounts(&self) -> Vec<AccountName> {
        self.associations.store().keys()
    }

    fn changes(&self) -> Vec<watch::Receiver<u64>> {
        vec![self.associations.store().changes(), self.roles.store().changes()]
    }

    /// What is watched is known only while it is watched.
    fn read_once(&self) -> BoxFuture<'_, Result<(), Arc<str>>> {
        let listed = async {
            let stores = (self.associations.store(), self.roles.store());
            join(stores.0.first_listed(), stores.1.first_listed()).await;
            match stores.0.failure() {
                Some(why) => Err(not_listed(&why)),
                None => Ok(()),
            }
        };
        let watches = self.run(CancellationToken::new());
        async move {
            tokio::select! {
                listed = listed => listed,
                () = watches => Ok(()),
            }
        }
        .boxed()
    }

    fn run(&self, stop: CancellationToken) -> BoxFuture<'_, ()> {
        let (associations, roles) = (self.associations.run(stop.clone()), self.roles.run(stop));
        join(associations, roles).map(drop).boxed()
    }
}

/// What the objects of a ServiceAccount say. One that is settled counts: EKS has at most one association per ServiceAccount, and a
/// second object never gets settled.
fn find(associations: &Store<Pair, State>, roles: &Store<Pair, RoleObject>, pair: &Pair) -> Found {
    let mut found: Option<(Arc<str>, Arc<Association>)> = None;
    let mut undescribed = None;
    let mut unsettled = None;
    for (object, state) in associations.find(pair) {
        match state {
            State::Settled(settled) => match settled.association(pair, |reference| referenced(roles, reference)) {
                Ok(association) => match &found {
                    None => found = Some((object, Arc::new(association))),
                    Some((_, other)) if **other == association => {}
                    Some((other, _)) => {
                        let [first, second] = [other, &object].map(|name| text::value(name));
                        let why = format!(
                            "two PodIdentityAssociation objects, {first} and {second}, specify different associations for this ServiceAccount; let only one object manage the association (deleting an object also deletes the association in AWS, unless its deletion policy retains it), or set --cluster-arn if they belong to different clusters with the same name"
                        );
                        return Found::Unknown(why.into());
                    }
                },
                Err(problem) => {
                    let object = text::value(&object);
                    undescribed = Some(format!("PodIdentityAssociation {object}: {problem}"));
                }
            },
            State::Unsettled(why) => {
                let object = text::value(&object);
                unsettled = Some(format!("PodIdentityAssociation {object} {why}"));
            }
        }
    }
    match (found, undescribed, unsettled) {
        (Some((_, association)), ..) => Found::Association(association),
        (None, Some(why), _) => Found::Undescribed(why.into()),
        (None, None, Some(why)) => Found::Unknown(why.into()),
        (None, None, None) => match associations.failure() {
            Some(why) => Found::Unknown(not_listed(&why)),
            None if associations.is_first_listed() => Found::Unlisted,
            None => Found::Unknown("the PodIdentityAssociation objects have not been listed yet".into()),
        },
    }
}

fn not_listed(why: &str) -> Arc<str> {
    format!("the PodIdentityAssociation objects could not be listed: {why}").into()
}

/// The role of a `Role` object of ACK.
fn referenced(roles: &Store<Pair, RoleObject>, reference: &Pair) -> Result<RoleObject, String> {
    let mut found = roles.find(reference).into_iter();
    if let Some((_, role)) = found.next() {
        return Ok(role);
    }
    let (namespace, name) = reference;
    let name = text::value(&format!("{namespace}/{name}"));
    let problem = match roles.failure() {
        Some(why) => format!("the Role objects could not be listed: {why}"),
        None if roles.is_first_listed() => "it does not exist, is being deleted, or has no ARN yet".to_owned(),
        None => "the Role objects have not been listed yet".to_owned(),
    };
    Err(format!("the role is that of the Role object {name}: {problem}"))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::kubernetes::managed_objects::{Kind, ManagedObject};
    use crate::trust::{ClusterArn, RoleArn, SessionTags};

    const CLUSTER: &str = "arn:aws:eks:us-west-2:111122223333:cluster/prod";
    const ID: &str = "a-abcdefghijklmnop1";
    const ROLE: &str = "arn:aws:iam::111122223333:role/loader";
    const TARGET: &str = "arn:aws:iam::444455556666:role/reader";

    fn cluster() -> ClusterId {
        ClusterId {
            name: "prod".into(),
            arn: None,
        }
    }

    fn association_arn(cluster: &str) -> String {
        format!("arn:aws:eks:us-west-2:111122223333:podidentityassociation/{cluster}/{ID}")
    }

    /// An object of ACK, as the controller leaves it.
    fn ack() -> Value {
        json!({
            "metadata": {"name": "loader", "namespace": "infra", "generation": 2},
            "spec": {
                "clusterName": "prod", "namespace": "jobs", "serviceAccount": "loader",
                "roleARN": ROLE, "targetRoleARN": TARGET, "disableSessionTags": true,
            },
            "status": {
                "ackResourceMetadata": {"arn": association_arn("prod"), "ownerAccountID": "111122223333", "region": "us-west-2"},
                "associationARN": association_arn("prod"), "associationID": ID,
                "externalID": "us-west-2/111122223333/prod/jobs/loader",
                "conditions": [
                    {"type": "ACK.ReferencesResolved", "status": "True"},
                    {"type": "ACK.ResourceSynced", "status": "True", "lastTransitionTime": "2026-11-01T10:00:00Z"},
                ],
            },
        })
    }

    /// An object of Crossplane, as the provider leaves it.
    fn crossplane() -> Value {
        json!({
            "metadata": {"name": "loader", "generation": 3},
            "spec": {"forProvider": {
                "region": "us-west-2", "clusterName": "prod", "namespace": "jobs", "serviceAccount": "loader",
                "roleArn": "arn:aws:iam::111122223333:role/asked-for",
            }},
            "status": {
                "atProvider": {
                    "associationArn": association_arn("prod"), "associationId": ID, "clusterName": "prod",
                    "namespace": "jobs", "serviceAccount": "loader", "roleArn": ROLE, "targetRoleArn": TARGET,
                    "disableSessionTags": true, "externalId": "us-west-2/111122223333/prod/jobs/loader",
                },
                "conditions": [
                    {"type": "Ready", "status": "True"},
                    {"type": "Synced", "status": "True", "observedGeneration": 3},
                ],
            },
        })
    }

    fn edited(mut object: Value, edit: impl FnOnce(&mut Value)) -> Value {
        edit(&mut object);
        object
    }

    /// What is found of `jobs/loader` in these objects.
    fn found_in<'a>(kind: &Kind<Pair, State>, objects: impl IntoIterator<Item = &'a Value>) -> Found {
        found_with(kind, objects, &[])
    }

    fn found_with<'a>(
        kind: &Kind<Pair, State>,
        objects: impl IntoIterator<Item = &'a Value>,
        roles: &[Value],
    ) -> Found {
        let associations = stored(kind, objects);
        find(
            &associations,
            &stored(&ack::roles(), roles),
            &("jobs".into(), "loader".into()),
        )
    }

    fn stored<'a, V: Clone>(kind: &Kind<Pair, V>, objects: impl IntoIterator<Item = &'a Value>) -> Store<Pair, V> {
        let read = |object: &Value| {
            let object: ManagedObject = serde_json::from_value(object.clone()).unwrap();
            let (pair, says) = (kind.read)(&object)?;
            Some((object.name(), pair, says))
        };
        let read: Vec<_> = objects.into_iter().filter_map(read).collect();
        let read: Vec<_> = read
            .iter()
            .map(|(name, pair, says)| (name.as_str(), pair.clone(), says.clone()))
            .collect();
        Store::with(&read)
    }

    fn of_ack() -> Kind<Pair, State> {
        ack::associations(cluster())
    }

    fn expected() -> Association {
        Association {
            cluster: Some(ClusterArn::parse(CLUSTER).unwrap()),
            namespace: "jobs".into(),
            service_account: "loader".into(),
            id: Some(ID.into()),
            role: RoleArn::parse(ROLE).unwrap(),
            target_role: Some(RoleArn::parse(TARGET).unwrap()),
            session_tags: SessionTags::Disabled,
            external_id: Some("us-west-2/111122223333/prod/jobs/loader".into()),
        }
    }

    fn association(found: Found) -> Association {
        let Found::Association(association) = found else {
            panic!("{found:?}")
        };
        Association::clone(&association)
    }

    fn unknown(found: Found) -> String {
        let Found::Unknown(why) = found else {
            panic!("{found:?}")
        };
        why.to_string()
    }

    fn undescribed(found: Found) -> String {
        let Found::Undescribed(why) = found else {
            panic!("{found:?}")
        };
        why.to_string()
    }

    #[test]
    fn a_settled_object_is_an_association() {
        assert_eq!(association(found_in(&of_ack(), [&ack()])), expected());
        for kind in crossplane::associations(&cluster()) {
            assert_eq!(association(found_in(&kind, [&crossplane()])), expected());
        }
        let plain = edited(ack(), |object| {
            for field in ["targetRoleARN", "disableSessionTags"] {
                object["spec"].as_object_mut().unwrap().remove(field);
            }
        });
        let plain = association(found_in(&of_ack(), [&plain]));
        assert_eq!((plain.target_role, plain.session_tags), (None, SessionTags::Enabled));
    }

    #[test]
    fn what_is_not_settled_proves_nothing() {
        let conditions = |conditions: Value| edited(ack(), |object| object["status"]["conditions"] = conditions);
        let cases = [
            (
                conditions(
                    json!([{"type": "ACK.ResourceSynced", "status": "False", "message": "ResourceInUseException\n"}]),
                ),
                "PodIdentityAssociation infra/loader has the condition ACK.ResourceSynced=False: ResourceInUseException\\n",
            ),
            (
                conditions(json!([])),
                "PodIdentityAssociation infra/loader has no condition Ready or ACK.ResourceSynced yet",
            ),
            (
                conditions(json!([{"type": "Ready", "status": "True"}, {"type": "ACK.Terminal", "status": "True"}])),
                "PodIdentityAssociation infra/loader has the condition ACK.Terminal",
            ),
            (
                edited(ack(), |object| {
                    object["metadata"]["deletionTimestamp"] = json!("2026-11-22T10:00:00Z")
                }),
                "PodIdentityAssociation infra/loader is being deleted",
            ),
            (
                edited(ack(), |object| {
                    object["status"]["ackResourceMetadata"] = json!({});
                    object["status"]["associationARN"] = json!(null);
                }),
                "PodIdentityAssociation infra/loader has no ARN of an association yet",
            ),
            // Which cluster it is of is not known yet.
            (
                edited(conditions(json!(null)), |object| {
                    object["spec"]["clusterRef"] = json!({"from": {"name": "main"}});
                    object["spec"].as_object_mut().unwrap().remove("clusterName");
                    object["status"] = json!({});
                }),
                "PodIdentityAssociation infra/loader has no condition Ready or ACK.ResourceSynced yet",
            ),
        ];
        for (object, why) in cases {
            assert_eq!(unknown(found_in(&of_ack(), [&object])), why);
        }
        let cases = [
            (
                edited(crossplane(), |object| {
                    object["status"]["conditions"][1]["observedGeneration"] = json!(2)
                }),
                "PodIdentityAssociation loader was edited after its controller wrote the condition Synced",
            ),
            (
                edited(crossplane(), |object| {
                    object["status"]["conditions"][1]["status"] = json!("False")
                }),
                "PodIdentityAssociation loader has the condition Synced=False",
            ),
            (
                edited(crossplane(), |object| object["status"]["atProvider"] = json!({})),
                "PodIdentityAssociation loader has no observed association in status.atProvider yet",
            ),
        ];
        for kind in crossplane::associations(&cluster()) {
            for (object, why) in &cases {
                assert_eq!(unknown(found_in(&kind, [object])), *why);
            }
        }
    }

    #[test]
    fn objects_of_other_clusters_do_not_count() {
        let elsewhere = edited(ack(), |object| {
            object["spec"]["clusterName"] = json!("test");
            object["status"]["ackResourceMetadata"]["arn"] = json!(association_arn("test"));
        });
        assert_eq!(found_in(&of_ack(), [&elsewhere]), Found::Unlisted);
        let elsewhere = edited(elsewhere, |object| object["status"] = json!({}));
        assert_eq!(found_in(&of_ack(), [&elsewhere]), Found::Unlisted);
        let observed_elsewhere = edited(crossplane(), |object| {
            object["status"]["atProvider"]["clusterName"] = json!("test");
            object["status"]["atProvider"]["associationArn"] = json!(association_arn("test"));
        });
        for kind in crossplane::associations(&cluster()) {
            assert_eq!(found_in(&kind, [&observed_elsewhere]), Found::Unlisted);
        }
        // The same name in another Region: the ARN decides where it is known.
        let abroad = edited(ack(), |object| {
            let arn = association_arn("prod").replace("us-west-2", "eu-west-1");
            object["status"]["ackResourceMetadata"]["arn"] = json!(arn);
            object["metadata"]["name"] = json!("abroad");
        });
        let with_arn = ack::associations(ClusterId {
            arn: Some(ClusterArn::parse(CLUSTER).unwrap()),
            ..cluster()
        });
        assert_eq!(found_in(&with_arn, [&abroad]), Found::Unlisted);
        assert_eq!(association(found_in(&with_arn, [&abroad, &ack()])), expected());
        let why = unknown(found_in(&of_ack(), [&abroad, &ack()]));
        assert!(
            why.contains("infra/abroad and infra/loader") && why.contains("--cluster-arn"),
            "{why}"
        );
    }

    #[test]
    fn an_object_that_is_refused_by_eks_does_not_hide_the_one_that_is_settled() {
        let second = edited(ack(), |object| {
            object["metadata"]["name"] = json!("again");
            object["spec"]["roleARN"] = json!(TARGET);
            object["status"]["conditions"] = json!([{"type": "ACK.Terminal", "status": "True"}]);
        });
        for objects in [[&second, &ack()], [&ack(), &second]] {
            assert_eq!(association(found_in(&of_ack(), objects)), expected());
        }
    }

    #[test]
    fn references_of_ack_to_roles_are_followed() {
        let referring = edited(ack(), |object| {
            let spec = object["spec"].as_object_mut().unwrap();
            spec.remove("roleARN");
            spec.remove("targetRoleARN");
            spec.insert("roleRef".to_owned(), json!({"from": {"name": "loader"}}));
            spec.insert(
                "targetRoleRef".to_owned(),
                json!({"from": {"name": "reader", "namespace": "data"}}),
            );
        });
        let role = |namespace: &str, name: &str, arn: &str, created: &str| {
            json!({
                "metadata": {"name": name, "namespace": namespace, "creationTimestamp": created},
                "status": {"ackResourceMetadata": {"arn": arn}},
            })
        };
        let before = "2026-11-01T09:00:00Z";
        let reader = role("data", "reader", TARGET, before);
        let roles = [role("infra", "loader", ROLE, before), reader.clone()];
        assert_eq!(association(found_with(&of_ack(), [&referring], &roles)), expected());

        // EKS still has the role of the object that had this name before.
        let again = role(
            "infra",
            "loader",
            "arn:aws:iam::111122223333:role/new",
            "2026-11-01T11:00:00Z",
        );
        let deleted = edited(role("infra", "loader", ROLE, before), |role| {
            role["metadata"]["deletionTimestamp"] = json!("2026-11-01T12:00:00Z");
        });
        for (role, words) in [
            (Some(again), "infra/loader was created after the association"),
            (
                Some(deleted),
                "infra/loader: it does not exist, is being deleted, or has no ARN yet",
            ),
            (
                None,
                "infra/loader: it does not exist, is being deleted, or has no ARN yet",
            ),
        ] {
            let roles: Vec<_> = role.into_iter().chain([reader.clone()]).collect();
            let why = undescribed(found_with(&of_ack(), [&referring], &roles));
            assert!(why.contains(words), "{why}");
        }
    }

    #[test]
    fn a_settled_object_without_a_usable_role_proves_the_association_alone() {
        for (role, words) in [
            (json!(null), "PodIdentityAssociation infra/loader: it has no role"),
            (
                json!("loader"),
                "PodIdentityAssociation infra/loader: its role \"loader\" is not a role ARN",
            ),
        ] {
            let object = edited(ack(), |object| object["spec"]["roleARN"] = role);
            let why = undescribed(found_in(&of_ack(), [&object]));
            assert!(why.starts_with(words), "{why}");
        }
    }

    #[test]
    fn nothing_is_known_before_the_first_list() {
        let pair: Pair = ("jobs".into(), "loader".into());
        let roles = Store::with(&[]);
        let failed: Store<Pair, State> = Store::that_failed("403 Forbidden");
        assert!(unknown(find(&failed, &roles, &pair)).ends_with("could not be listed: 403 Forbidden"));
        let kinds = Store::<Pair, State>::new(1);
        assert!(unknown(find(&kinds, &roles, &pair)).ends_with("have not been listed yet"));
        assert_eq!(find(&Store::with(&[]), &roles, &pair), Found::Unlisted);
    }

    #[test]
    fn objects_of_any_shape_are_read() {
        for kind in crossplane::associations(&cluster()).iter().chain([&of_ack()]) {
            for field in ["metadata", "spec", "status"] {
                for shape in [
                    json!(null),
                    json!([]),
                    json!("text"),
                    json!({"conditions": [3], "forProvider": 1}),
                ] {
                    let mut object = ack();
                    if field == "metadata" {
                        object["metadata"] = json!({});
                    } else {
                        object[field] = shape;
                    }
                    let object: ManagedObject = serde_json::from_value(object).unwrap();
                    let _ = (kind.read)(&object);
                }
            }
        }
    }

    /// A Kubernetes API that answers lists of associations with this status, and does not serve other kinds. Watches never report.
    fn api(status: u16, list: impl std::fmt::Display) -> kube::Client {
        let list = list.to_string();
        let service = tower::service_fn(move |request: hyper::Request<kube::client::Body>| {
            let is_watch = request.uri().query().is_some_and(|query| query.contains("watch="));
            let is_association = request.uri().path().ends_with("/podidentityassociations");
            let list = list.clone();
            async move {
                if is_watch {
                    std::future::pending::<()>().await;
                }
                let (status, body) = if is_association {
                    (status, list)
                } else {
                    (404, String::new())
                };
                let body = http_body_util::Full::new(hyper::body::Bytes::from(body));
                Ok::<_, hyper::Error>(hyper::Response::builder().status(status).body(body).unwrap())
            }
        });
        kube::Client::new(service, "default")
    }

    #[tokio::test]
    async fn a_command_reads_everything_once() {
        let list = json!({
            "kind": "PodIdentityAssociationList", "apiVersion": "eks.services.k8s.aws/v1alpha1",
            "metadata": {"resourceVersion": "7"}, "items": [ack()],
        });
        let source = AssociationObjects::ack(api(200, &list), cluster(), WatchTiming::default());
        assert_eq!(source.all(), []);
        source.read_once().await.unwrap();
        let all = source.all();
        assert_eq!(all.len(), 1);
        assert_eq!(*all[0], expected());
        assert_eq!(source.find("jobs", "stranger"), Found::Unlisted);

        let forbidden = json!({
            "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 403, "reason": "Forbidden",
            "message": "podidentityassociations.eks.services.k8s.aws is forbidden",
        });
        let source = AssociationObjects::ack(api(403, &forbidden), cluster(), WatchTiming::default());
        let why = source.read_once().await.unwrap_err();
        assert!(
            why.contains("could not be listed") && why.contains("is forbidden"),
            "{why}"
        );

        // The controller is not installed.
        let source =
            AssociationObjects::crossplane(api(404, "404 page not found\n"), &cluster(), WatchTiming::default());
        source.read_once().await.unwrap();
        assert_eq!(source.all(), []);
    }
}
