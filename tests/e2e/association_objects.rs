//! EKS Pod Identity associations that ACK's and Crossplane's controllers manage: their objects are written with kubectl, and their
//! status as the controllers write it.

use serde_json::{Value, json};

use crate::cluster::{ACCOUNT, ExclusiveCluster, Gate, Namespace, environment, trust_policy};
use crate::kubectl::CommandOutput;
use crate::objects::{ACK_CRD, each_permission_is_used_and_needed, settle};
use crate::scenarios::Scenarios;
use crate::wait::{until, until_ok};

const ACK_EKS_CRD: &str = include_str!("crds/ack-eks.yaml");
const CROSSPLANE_EKS_CRDS: &str = include_str!("crds/crossplane-eks.yaml");

const CLUSTER: &str = "prod";

pub(crate) fn register(scenarios: &mut Scenarios) {
    scenarios.serial(associations_of_objects_count_once_settled);
}

fn associations_of_objects_count_once_settled(cluster: &ExclusiveCluster<'_>) {
    // No CRD of associations is installed yet.
    let before = cluster.audit_events().len();
    let release = cluster.install(json!({"podIdentity": {"clusterName": CLUSTER, "sources": ["ack", "crossplane"]}}));
    let jobs = cluster.namespace("associations", Gate::Enforce);
    let kinds = [
        Kind::Ack,
        Kind::Crossplane("eks.aws.upbound.io"),
        Kind::Crossplane("eks.aws.m.upbound.io"),
    ];
    let trusting = jobs.role_arn("trusting");
    release.put_role(&trusting, &trusting_eks());
    let closed = jobs.role_arn("closed");
    release.put_role(&closed, &trust_policy(&jobs.name, "somebody-else"));
    let dry = Dry::default();
    for kind in kinds {
        jobs.kubectl(&["create", "serviceaccount", kind.name()]).ok();
        // Nothing is known of an association.
        let output = dry.create_pod(&jobs, kind.name());
        assert!(output.succeeded() && output.warnings().is_empty(), "{output:?}");
        assert!(!is_injected(&output), "{output:?}");
    }
    until("the log says that the objects are not served", || {
        (release.log().matches("PodIdentityAssociation objects").count() >= 3).then_some(())
    });

    for crds in [ACK_CRD, ACK_EKS_CRD, CROSSPLANE_EKS_CRDS] {
        cluster.apply(crds).ok();
    }
    for kind in kinds {
        let (name, object) = (kind.name(), kind.reference());
        until_ok("the object is taken", || {
            let output = jobs.apply(&kind.object(&jobs, &closed).to_string());
            output.succeeded().then_some(()).ok_or(output.stderr)
        });
        let becomes = |what: &str, is_so: &dyn Fn(&CommandOutput) -> bool| {
            until(&format!("{name}: {what}"), || {
                let output = dry.create_pod(&jobs, name);
                is_so(&output).then_some(())
            });
        };
        let is_unknown = |output: &CommandOutput| output.succeeded() && warns_unknown(output) && !is_injected(output);
        becomes("an object without a status proves nothing", &is_unknown);
        settle(&jobs, &object, &kind.status(&jobs, &closed, "False"));
        becomes("an object that is not in sync proves nothing", &is_unknown);

        settle(&jobs, &object, &kind.status(&jobs, &closed, "True"));
        becomes("the role does not trust EKS", &|output| {
            !output.succeeded() && output.stderr.contains("(wrong-principal-type)")
        });
        let shows = |labels: &[&str]| {
            for replica in release.replicas() {
                until(&format!("{name}: the verdict after admission"), || {
                    (replica.metric("rolegate_service_account_verdicts", labels) == 1.0).then_some(())
                });
            }
        };
        shows(&["verdict=\"not-trusted\"", "cause=\"wrong-principal-type\""]);

        jobs.apply(&kind.object(&jobs, &trusting).to_string()).ok();
        settle(&jobs, &object, &kind.status(&jobs, &trusting, "True"));
        becomes("the role of the edited object trusts EKS", &|output| {
            output.succeeded() && output.warnings().is_empty() && is_injected(output)
        });
        shows(&["verdict=\"trusted\""]);
        until(&format!("{name}: an Event of the change"), || {
            let restored = [
                "get",
                "events.v1.events.k8s.io",
                "--field-selector=reason=TrustRestored",
            ];
            let events = jobs.json(&restored)["items"].to_string();
            events.contains(&format!("\"name\":\"{name}\"")).then_some(())
        });

        settle(&jobs, &object, &kind.status(&jobs, &trusting, "False"));
        becomes("an object that is not in sync any more proves nothing", &is_unknown);
        jobs.kubectl(&["delete", &object]).ok();
        becomes("a deleted object is forgotten", &|output| {
            output.succeeded() && output.warnings().is_empty() && !is_injected(output)
        });
    }
    a_reference_of_ack_is_followed(&jobs, &trusting, &dry);
    each_permission_is_used_and_needed(
        cluster,
        &release,
        before,
        "podidentityassociations",
        &[
            ("eks.services.k8s.aws", "eks.services.k8s.aws"),
            ("eks.aws.upbound.io", "eks.aws.upbound.io"),
            ("eks.aws.m.upbound.io", "eks.aws.upbound.io"),
        ],
    );
    each_permission_is_used_and_needed(
        cluster,
        &release,
        before,
        "roles",
        &[("iam.services.k8s.aws", "iam.services.k8s.aws")],
    );
    drop(release);
    // The scenario of roles begins without it. The others go with the cluster.
    cluster.kubectl(&["delete", "crd", "roles.iam.services.k8s.aws"]).ok();
}

/// The association names its role by a `Role` object.
fn a_reference_of_ack_is_followed(jobs: &Namespace, trusting: &str, dry: &Dry) {
    let name = Kind::Ack.name();
    let role = json!({
        "apiVersion": "iam.services.k8s.aws/v1alpha1", "kind": "Role", "metadata": {"name": "referenced"},
        "spec": {"name": "trusting", "assumeRolePolicyDocument": trusting_eks().to_string()},
    });
    jobs.apply(&role.to_string()).ok();
    let mut object = Kind::Ack.object(jobs, trusting);
    object["spec"].as_object_mut().unwrap().remove("roleARN");
    object["spec"]["roleRef"] = json!({"from": {"name": "referenced"}});
    jobs.apply(&object.to_string()).ok();
    settle(jobs, &Kind::Ack.reference(), &Kind::Ack.status(jobs, trusting, "True"));
    // EKS has an association, so the pod gets its variables; which role it is of is not known.
    until("an association without a role", || {
        let output = dry.create_pod(jobs, name);
        (output.succeeded() && is_injected(&output) && warns_unknown(&output)).then_some(())
    });
    let status =
        json!({"status": {"ackResourceMetadata": {"arn": trusting, "ownerAccountID": ACCOUNT, "region": "us-west-2"}}});
    settle(jobs, "roles.iam.services.k8s.aws/referenced", &status);
    until("the role of the reference", || {
        let output = dry.create_pod(jobs, name);
        (output.succeeded() && is_injected(&output) && output.warnings().is_empty()).then_some(())
    });
}

/// Creates pods that are not stored.
#[derive(Default)]
struct Dry {
    created: std::cell::Cell<usize>,
}

impl Dry {
    fn create_pod(&self, jobs: &Namespace, service_account: &str) -> CommandOutput {
        self.created.set(self.created.get() + 1);
        let name = format!("{service_account}-{}", self.created.get());
        jobs.create_pod(&name, service_account, &["--dry-run=server"])
    }
}

fn is_injected(output: &CommandOutput) -> bool {
    let pod: Value = serde_json::from_str(&output.stdout).unwrap_or_default();
    environment(&pod, "AWS_CONTAINER_CREDENTIALS_FULL_URI").is_some()
}

fn warns_unknown(output: &CommandOutput) -> bool {
    output.warnings().iter().any(|warning| warning.ends_with("(unknown)"))
}

/// A trust policy that trusts EKS Pod Identity.
fn trusting_eks() -> Value {
    json!({"Version": "2012-10-17", "Statement": [{
        "Effect": "Allow",
        "Principal": {"Service": "pods.eks.amazonaws.com"},
        "Action": ["sts:AssumeRole", "sts:TagSession"],
    }]})
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Ack,
    /// By its group.
    Crossplane(&'static str),
}

impl Kind {
    /// The name of the object, and of its ServiceAccount.
    fn name(self) -> &'static str {
        match self {
            Self::Ack => "by-ack",
            Self::Crossplane("eks.aws.upbound.io") => "by-crossplane",
            Self::Crossplane(_) => "by-crossplane-namespaced",
        }
    }

    fn reference(self) -> String {
        let group = match self {
            Self::Ack => "eks.services.k8s.aws",
            Self::Crossplane(group) => group,
        };
        format!("podidentityassociations.{group}/{}", self.name())
    }

    /// The object as its author writes it.
    fn object(self, jobs: &Namespace, role: &str) -> Value {
        let name = self.name();
        match self {
            Self::Ack => json!({
                "apiVersion": "eks.services.k8s.aws/v1alpha1", "kind": "PodIdentityAssociation", "metadata": {"name": name},
                "spec": {"clusterName": CLUSTER, "namespace": jobs.name, "serviceAccount": name, "roleARN": role},
            }),
            Self::Crossplane(group) => json!({
                "apiVersion": format!("{group}/v1beta1"), "kind": "PodIdentityAssociation", "metadata": {"name": name},
                "spec": {"forProvider": {
                    "region": "us-west-2", "clusterName": CLUSTER, "namespace": jobs.name, "serviceAccount": name, "roleArn": role,
                }},
            }),
        }
    }

    /// The status as its controller writes it.
    fn status(self, jobs: &Namespace, role: &str, settled: &str) -> Value {
        let (name, id) = (self.name(), "a-abcdefghijklmnop1");
        let arn = format!("arn:aws:eks:us-west-2:{ACCOUNT}:podidentityassociation/{CLUSTER}/{id}");
        let since = "2026-11-01T10:00:00Z";
        match self {
            Self::Ack => json!({"status": {
                "ackResourceMetadata": {"arn": arn, "ownerAccountID": ACCOUNT, "region": "us-west-2"},
                "associationARN": arn, "associationID": id,
                "conditions": [{"type": "ACK.ResourceSynced", "status": settled}],
            }}),
            Self::Crossplane(_) => json!({"status": {
                "atProvider": {
                    "associationArn": arn, "associationId": id, "clusterName": CLUSTER, "namespace": jobs.name,
                    "serviceAccount": name, "roleArn": role,
                },
                "conditions": [
                    {"type": "Synced", "status": settled, "reason": "ReconcileSuccess", "lastTransitionTime": since},
                    {"type": "Ready", "status": "True", "reason": "Available", "lastTransitionTime": since},
                ],
            }}),
        }
    }
}
