//! `rolegate serve` with associations from the EKS API.

use std::collections::BTreeSet;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::program::{Folder, ISSUER, Program, eventually};
use super::stand_in::{ACCOUNT, CLUSTER, DESCRIBE, Eks, Fault, LIST, REGION};
use super::validate;

const ROUTE: &str = "/mutate/enforce?timeout=2s";

/// The longest time for which an answer of EKS is as good as one of now.
const A_SECOND: Duration = Duration::from_millis(1100);

struct Served {
    eks: Eks,
    folder: Folder,
    program: Program,
}

/// The answer for a pod.
#[derive(Debug)]
struct Pod {
    is_admitted: bool,
    is_injected: bool,
    message: String,
    took: Duration,
}

#[derive(Clone, Copy, Debug)]
enum As {
    /// As EKS's webhook leaves it.
    Injected,
    /// EKS's webhook has missed it.
    Plain,
}

/// Serves with a role `loader` that trusts EKS Pod Identity, and a role `closed` that does not.
fn serve(eks: Eks, flags: &[&str]) -> Served {
    let folder = Folder::new();
    folder.role(
        "loader",
        &json!({"Version": "2012-10-17", "Statement": [{
            "Effect": "Allow", "Principal": {"Service": "pods.eks.amazonaws.com"}, "Action": ["sts:AssumeRole", "sts:TagSession"],
        }]}),
    );
    folder.role("closed", &Folder::trusting("jobs", "loader"));
    let mut command = Command::new(env!("CARGO_BIN_EXE_rolegate"));
    let inherited = std::env::vars_os().map(|(name, _)| name);
    for name in inherited.filter(|name| is_foreign(&name.to_string_lossy())) {
        command.env_remove(name);
    }
    command
        .env("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE")
        .env("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
        .env("AWS_ENDPOINT_URL_EKS", eks.url())
        .env("AWS_REGION", REGION)
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env("AWS_CONFIG_FILE", "/dev/null")
        .env("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
        .stdin(Stdio::null());
    command.args([
        "serve",
        "--standalone",
        folder.path().to_str().unwrap(),
        "--issuer",
        ISSUER,
    ]);
    command.args(["--association-source", "eks"]);
    let flags: Vec<_> = match flags {
        [] => vec!["--cluster-name", CLUSTER],
        flags => flags.to_vec(),
    };
    let program = Program::start(command, &folder, &flags).unwrap_or_else(|(status, log)| panic!("{status}:\n{log}"));
    Served { eks, folder, program }
}

/// Variables that the program would inherit from the person who runs the tests.
fn is_foreign(name: &str) -> bool {
    name.starts_with("AWS_")
        || name.starts_with("ROLEGATE_")
        || name == "KUBERNETES_SERVICE_HOST"
        || name.to_ascii_lowercase().ends_with("_proxy")
}

fn role(name: &str) -> String {
    format!("arn:aws:iam::{ACCOUNT}:role/{name}")
}

impl Served {
    /// Creates a pod of this ServiceAccount of namespace `jobs`.
    async fn pod(&self, service_account: &str, state: As) -> Pod {
        let mut spec = json!({"serviceAccountName": service_account, "containers": [{"name": "c", "image": "i"}]});
        if let As::Injected = state {
            let folder = "/var/run/secrets/pods.eks.amazonaws.com/serviceaccount";
            spec["containers"][0]["env"] = json!([
                {"name": "AWS_CONTAINER_CREDENTIALS_FULL_URI", "value": "http://169.254.170.23/v1/credentials"},
                {"name": "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "value": format!("{folder}/eks-pod-identity-token")},
            ]);
            spec["containers"][0]["volumeMounts"] =
                json!([{"name": "eks-pod-identity-token", "mountPath": folder, "readOnly": true}]);
            spec["volumes"] = json!([{"name": "eks-pod-identity-token", "projected": {"sources": [{"serviceAccountToken": {
                "audience": "pods.eks.amazonaws.com", "expirationSeconds": 86400, "path": "eks-pod-identity-token"}}]}}]);
        }
        let review = json!({
            "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
            "request": {
                "uid": "705ab4f5-6393-11e8-b7cc-42010a800002",
                "kind": {"group": "", "version": "v1", "kind": "Pod"},
                "resource": {"group": "", "version": "v1", "resource": "pods"},
                "name": "p", "namespace": "jobs", "operation": "CREATE", "dryRun": false,
                "object": {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "jobs"}, "spec": spec},
            },
        });
        let begun = Instant::now();
        let response = self.program.review(ROUTE, &review).await;
        let patch = response["patch"].as_str().map(|patch| STANDARD.decode(patch).unwrap());
        let patch = String::from_utf8(patch.unwrap_or_default()).unwrap();
        Pod {
            is_admitted: response["allowed"] == Value::Bool(true),
            is_injected: patch.contains("AWS_CONTAINER_CREDENTIALS_FULL_URI"),
            message: format!("{} {}", response["status"]["message"], response["warnings"]),
            took: begun.elapsed(),
        }
    }

    async fn admits(&self, service_account: &str, state: As) {
        let pod = self.pod(service_account, state).await;
        assert!(
            pod.is_admitted && !pod.message.contains("rolegate"),
            "{service_account}: {pod:?}"
        );
        assert_eq!(
            pod.is_injected,
            matches!(state, As::Plain),
            "{service_account}: {pod:?}"
        );
    }

    async fn refuses(&self, service_account: &str, state: As, cause: &str) {
        let pod = self.pod(service_account, state).await;
        assert!(
            !pod.is_admitted && pod.message.contains(cause),
            "{service_account}: {pod:?}"
        );
    }

    /// The pod has no association, and no credentials.
    async fn leaves_alone(&self, service_account: &str) {
        let pod = self.pod(service_account, As::Plain).await;
        assert!(
            pod.is_admitted && !pod.is_injected && !pod.message.contains("rolegate"),
            "{service_account}: {pod:?}"
        );
    }
}

async fn until_answers_are_old() {
    tokio::time::sleep(A_SECOND).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_are_judged_by_the_association_as_it_is_now() {
    let eks = Eks::start();
    let id = eks.create("jobs", "loader", &role("closed"));
    let served = serve(eks, &[]);
    served.refuses("loader", As::Injected, "(wrong-principal-type)").await;
    served.refuses("stranger", As::Injected, "(no-association)").await;
    served.leaves_alone("stranger").await;

    // An edit keeps the ID, and no list shows it.
    until_answers_are_old().await;
    served.eks.update(&id, &json!({"roleArn": role("loader")}));
    served.admits("loader", As::Injected).await;
    served.admits("loader", As::Plain).await;

    // Deleted: a pod without credentials is not injected any more.
    until_answers_are_old().await;
    served.eks.delete(&id);
    served.leaves_alone("loader").await;
    served.refuses("loader", As::Injected, "(no-association)").await;

    // Made again, with another ID and another role.
    until_answers_are_old().await;
    served.eks.create("jobs", "loader", &role("closed"));
    served.refuses("loader", As::Plain, "(wrong-principal-type)").await;
    served.folder.role(
        "closed",
        &json!({"Version": "2012-10-17", "Statement": [{
            "Effect": "Allow", "Principal": {"Service": "pods.eks.amazonaws.com"}, "Action": ["sts:AssumeRole", "sts:TagSession"],
        }]}),
    );
    eventually("the edited role", || async {
        served.pod("loader", As::Plain).await.is_injected.then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_roles_of_an_association_are_judged() {
    let eks = Eks::start();
    let id = eks.create("jobs", "loader", &role("loader"));
    eks.update(&id, &json!({"targetRoleArn": role("target")}));
    let served = serve(eks, &[]);
    served.folder.role(
        "target",
        &json!({"Version": "2012-10-17", "Statement": [{
            "Effect": "Allow", "Principal": {"AWS": role("loader")}, "Action": "sts:AssumeRole",
        }]}),
    );
    served
        .refuses("loader", As::Injected, "(tag-session-not-allowed)")
        .await;
    // Without session tags, the target role need not allow them.
    until_answers_are_old().await;
    served.eks.update(
        &id,
        &json!({"disableSessionTags": true, "externalId": "us-west-2/111122223333/prod/jobs/loader"}),
    );
    let pod = served.pod("loader", As::Injected).await;
    assert!(pod.is_admitted, "{pod:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_right_behind_its_association_gets_its_credentials() {
    const PODS: usize = 40;
    let served = serve(Eks::start(), &[]);
    for number in 0..PODS {
        let name = format!("racer-{number}");
        served.eks.create("jobs", &name, &role("loader"));
        let pod = served.pod(&name, As::Plain).await;
        assert!(pod.is_admitted && pod.is_injected, "{name}: {pod:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn absence_is_proven_by_a_list_that_came_to_its_end() {
    let eks = Eks::start();
    for number in 0..250 {
        eks.create("jobs", &format!("account-{number}"), &role("loader"));
    }
    eks.begin_lists_with_an_empty_page();
    let served = serve(eks, &[]);
    served.admits("account-249", As::Injected).await;
    served.admits("account-0", As::Plain).await;
    let pages = served.eks.calls_of(LIST);
    assert!(
        pages >= 4,
        "an empty page, and three pages of 100: {:?}",
        served.eks.calls()
    );

    // A list that breaks off says nothing about what it has not come to.
    until_answers_are_old().await;
    served.eks.suffers(Fault::LaterPages(500, "ServerException", "oops"));
    let pod = served.pod("stranger", As::Injected).await;
    assert!(pod.is_admitted && pod.message.contains("(unknown)"), "{pod:?}");
    // What was known stays.
    let pod = served.pod("account-249", As::Plain).await;
    assert!(pod.is_admitted && pod.is_injected, "{pod:?}");

    served.eks.suffers(Fault::None);
    eventually("a list to its end", || async {
        let pod = served.pod("stranger", As::Injected).await;
        pod.message.contains("(no-association)").then_some(())
    })
    .await;
}

/// Bad days of the EKS API: a pod whose association is not known is admitted with a warning that says why, within its time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_read_is_unknown_and_refuses_nothing() {
    const LIST_DENIED: &str = "User: arn:aws:iam::111122223333:user/rolegate is not authorized to perform: \
                               eks:ListPodIdentityAssociations on resource: arn:aws:eks:us-west-2:111122223333:cluster/prod";
    const DESCRIBE_DENIED: &str = "User: arn:aws:iam::111122223333:user/rolegate is not authorized to perform: \
                                   eks:DescribePodIdentityAssociation on resource: arn:aws:eks:us-west-2:111122223333:podidentityassociation/prod/a-1";
    let faults = [
        (
            Fault::Error(LIST, 403, "AccessDeniedException", LIST_DENIED),
            "eks:ListPodIdentityAssociations is not allowed",
            "failed",
        ),
        (
            Fault::Error(DESCRIBE, 403, "AccessDeniedException", DESCRIBE_DENIED),
            "eks:DescribePodIdentityAssociation is not allowed",
            "failed",
        ),
        (
            Fault::Error(LIST, 429, "ThrottlingException", "Rate exceeded"),
            "AWS is throttling requests",
            "throttled",
        ),
        (
            Fault::Error(LIST, 400, "ThrottlingException", "Rate exceeded"),
            "AWS is throttling requests",
            "throttled",
        ),
        (
            Fault::Error(LIST, 429, "TooManyRequestsException", "Too Many Requests"),
            "AWS is throttling requests",
            "throttled",
        ),
        (
            Fault::Error(LIST, 500, "ServerException", "oops"),
            "AWS returned a server error",
            "failed",
        ),
        (Fault::Status(503), "AWS returned a server error", "failed"),
        (Fault::Late(Duration::from_secs(12)), "no response in time", "timed-out"),
        (Fault::Cut, "no connection to AWS", "failed"),
        (Fault::Half, "truncated or is not a response from EKS", "failed"),
        (Fault::Torn, "eks:ListPodIdentityAssociations: ", "failed"),
        (Fault::NoJson, "truncated or is not a response from EKS", "failed"),
    ];
    for (fault, words, result) in faults {
        let eks = Eks::start();
        eks.create("jobs", "loader", &role("closed"));
        eks.suffers(fault.clone());
        let served = serve(eks, &[]);
        for _ in 0..3 {
            let pod = served.pod("loader", As::Injected).await;
            assert!(pod.is_admitted, "{fault:?}: {pod:?}");
            assert!(
                pod.message.contains("(unknown)") && pod.message.contains(words),
                "{fault:?}: {pod:?}"
            );
            // The deadline of the review is at 1.5 s.
            assert!(pod.took < Duration::from_secs(5), "{fault:?}: {pod:?}");
        }
        let line = served.program.wait_for_log("association source is failing");
        assert!(line.contains("eks"), "{line}");
        let call = if matches!(fault, Fault::Error(DESCRIBE, ..)) {
            "describe"
        } else {
            "list"
        };
        let sample = format!("rolegate_association_reads_total{{source=\"eks\",call=\"{call}\",result=\"{result}\"}} ");
        let counted = served.program.metric(&sample).await;
        assert!(
            counted.is_some_and(|count| count >= 1.0),
            "{fault:?}: {sample}{counted:?}"
        );

        served.eks.suffers(Fault::None);
        eventually("the refusal", || async {
            let pod = served.pod("loader", As::Injected).await;
            assert!(
                pod.is_admitted || pod.message.contains("(wrong-principal-type)"),
                "{fault:?}: {pod:?}"
            );
            (!pod.is_admitted).then_some(())
        })
        .await;
        served.program.wait_for_log("association source recovered");
        let failing = served.program.log_lines("association source is failing");
        assert_eq!(failing.len(), 1, "{fault:?}: {failing:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_name_of_the_cluster_is_not_an_absent_association() {
    let served = serve(Eks::start(), &["--cluster-name", "prd"]);
    let pod = served.pod("loader", As::Injected).await;
    assert!(pod.is_admitted && pod.message.contains("(unknown)"), "{pod:?}");
    let line = served.program.wait_for_log("EKS has no cluster prd");
    assert!(line.contains("--cluster-name"), "{line}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_arn_of_the_cluster_sets_the_region() {
    // The stand-in refuses signatures for another Region than its own.
    let eks = Eks::start();
    eks.create("jobs", "loader", &role("loader"));
    let served = serve(
        eks,
        &["--cluster-arn", "arn:aws:eks:eu-west-1:111122223333:cluster/prod"],
    );
    let pod = served.pod("loader", As::Injected).await;
    assert!(pod.is_admitted && pod.message.contains("(unknown)"), "{pod:?}");
    let eks = Eks::start();
    eks.create("jobs", "loader", &role("loader"));
    let served = serve(
        eks,
        &["--cluster-arn", "arn:aws:eks:us-west-2:111122223333:cluster/prod"],
    );
    served.admits("loader", As::Injected).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_does_not_slow_down_pods_of_associations_that_are_known() {
    let eks = Eks::start();
    eks.create("jobs", "loader", &role("loader"));
    let served = serve(eks, &[]);
    served.admits("loader", As::Plain).await;
    until_answers_are_old().await;
    served.eks.suffers(Fault::Late(Duration::from_secs(12)));
    // The first one waits for the answer, for a limited time; it is injected all the same.
    served.admits("loader", As::Plain).await;
    let mut slowest = Duration::ZERO;
    for _ in 0..20 {
        for state in [As::Plain, As::Injected] {
            let pod = served.pod("loader", state).await;
            assert!(pod.is_admitted && !pod.message.contains("rolegate"), "{pod:?}");
            slowest = slowest.max(pod.took);
        }
    }
    // No pod waited as long as the first one might: 700 ms. The bound allows for a busy machine.
    assert!(slowest < Duration::from_secs(3), "{slowest:?}");
    let calls = served.eks.calls_of(LIST);
    assert!(calls <= 8, "40 pods during the outage made {calls} calls");
}

/// The calls made are those that the documentation requires, with its resources, and vice versa; and boto3 makes them the same way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_are_those_of_the_documented_policy() {
    let eks = Eks::start();
    let id = eks.create("jobs", "loader", &role("loader"));
    let by_boto3 = validate::calls_of_boto3(&eks, "jobs", &id);
    let served = serve(eks, &[]);
    served.admits("loader", As::Plain).await;
    let calls = served.eks.calls();
    let made: BTreeSet<_> = calls.iter().map(|call| call.action.to_owned()).collect();
    let documented = documented();
    let actions: BTreeSet<_> = documented.iter().map(|(action, _)| action.clone()).collect();
    assert_eq!(made, actions);
    for call in &calls {
        let covers = |resource: &str| is_covered(resource, &call.resource);
        let resources = documented.iter().filter(|(action, _)| action == call.action);
        assert!(
            resources.clone().any(|(_, resource)| covers(resource)),
            "{call:?}: {documented:?}"
        );
    }
    if let Some(by_boto3) = by_boto3 {
        let targets: BTreeSet<_> = calls.into_iter().map(|call| call.target).collect();
        assert_eq!(targets, by_boto3.into_iter().collect());
    }
}

/// The actions of EKS in the policy of the documentation, each with its resources.
fn documented() -> Vec<(String, String)> {
    let policy: Value = serde_json::from_str(include_str!("../../docs/aws-iam-policy.json")).unwrap();
    let mut found = Vec::new();
    for statement in policy["Statement"].as_array().unwrap() {
        for action in statement["Action"].as_array().unwrap() {
            let action = action.as_str().unwrap();
            let resource = statement["Resource"].as_str().unwrap();
            if action.starts_with("eks:") {
                found.push((action.to_owned(), resource.to_owned()));
            }
        }
    }
    found
}

/// Whether a pattern of ARNs whose wildcards are whole parts, or what is left of the last one, covers an ARN of the same service.
fn is_covered(pattern: &str, arn: &str) -> bool {
    let (pattern, arn): (Vec<_>, Vec<_>) = (pattern.splitn(6, ':').collect(), arn.splitn(6, ':').collect());
    pattern.len() == 6
        && arn.len() == 6
        && pattern
            .iter()
            .zip(&arn)
            .all(|(pattern, part)| match pattern.strip_suffix('*') {
                Some(beginning) => part.starts_with(beginning),
                None => pattern == part,
            })
}
