//! `rolegate serve` keeps its cache from IAM.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use futures::future::join_all;
use serde_json::{Value, json};

use super::Aws;
use super::program::{Folder, ISSUER, Program};
use super::proxy::Fault;

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(30);

const ROUTE: &str = "/mutate/enforce?timeout=2s";

struct Served {
    folder: Folder,
    program: Program,
}

/// Serves ServiceAccounts of namespace `jobs` that name these roles.
fn serve(aws: &Aws, accounts: &[(&str, &str)], flags: &[&str]) -> Served {
    let folder = Folder::new();
    for (name, role) in accounts {
        folder.account("jobs", name, &[("eks.amazonaws.com/role-arn", role)]);
    }
    let mut command = aws.rolegate();
    command.args([
        "serve",
        "--standalone",
        folder.path().to_str().unwrap(),
        "--issuer",
        ISSUER,
    ]);
    command.args(["--role-source", "iam"]);
    let program = Program::start(command, &folder, flags).unwrap_or_else(|(status, log)| panic!("{status}:\n{log}"));
    Served { folder, program }
}

/// The review of a pod with these containers.
fn review_of(service_account: &str, containers: &Value) -> Value {
    json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": "705ab4f5-6393-11e8-b7cc-42010a800002",
            "kind": {"group": "", "version": "v1", "kind": "Pod"},
            "resource": {"group": "", "version": "v1", "resource": "pods"},
            "name": "p", "namespace": "jobs", "operation": "CREATE", "dryRun": false,
            "object": {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "jobs"},
                "spec": {"serviceAccountName": service_account, "containers": containers}},
        },
    })
}

impl Served {
    /// Creates a pod of this ServiceAccount; returns whether it is allowed, the messages, and how long it took.
    async fn pod(&self, service_account: &str) -> (bool, String, Duration) {
        let begun = Instant::now();
        let review = review_of(service_account, &json!([{"name": "c", "image": "i"}]));
        let response = self.program.review(ROUTE, &review).await;
        let message = format!("{} {}", response["status"]["message"], response["warnings"]);
        (response["allowed"] == Value::Bool(true), message, begun.elapsed())
    }

    async fn admits(&self, service_account: &str) {
        let (allowed, message, _) = self.pod(service_account).await;
        assert!(allowed && !message.contains("rolegate"), "{service_account}: {message}");
    }

    async fn refuses(&self, service_account: &str, cause: &str) {
        let (allowed, message, _) = self.pod(service_account).await;
        assert!(!allowed && message.contains(cause), "{service_account}: {message}");
    }

    /// Polls `/roles` until its roles are as expected.
    async fn until(&self, expected: impl Fn(&[Value]) -> bool) {
        let begun = Instant::now();
        loop {
            let (_, text) = self.program.get("/roles").await;
            let roles: Vec<Value> = serde_json::from_str(&text).unwrap();
            if expected(&roles) {
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "{text}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until no copy is as good as a read of now, which it is for 1 s: then a refusal reads again.
    async fn until_refusals_read_again(&self) {
        let is_old = |role: &Value| role["ageSeconds"].as_u64().is_some_and(|age| age >= 1);
        self.until(|roles| roles.iter().all(is_old)).await;
    }
}

/// Lets IAM fail, and waits until a call has met the fault.
async fn fail(aws: &Aws, fault: Fault) {
    let calls = || aws.proxy.calls().iter().filter(|call| call.starts_with("iam:")).count();
    aws.proxy.suffers(fault);
    let before = calls();
    let begun = Instant::now();
    while calls() == before {
        assert!(begun.elapsed() < PATIENCE, "no call");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_of_roles_fill_the_cache_page_by_page() {
    let Some(aws) = Aws::start("listing thousands of roles") else {
        return;
    };
    for number in 0..2100 {
        aws.create_role("/many/", &format!("role-{number:04}"), "loader");
    }
    let account = |number: usize| format!("arn:aws:iam::111122223333:role/many/role-{number:04}");
    let served = serve(&aws, &[("loader", &account(2099)), ("other", &account(3))], &[]);
    served.until(|roles| roles.len() == 2100).await;
    served.admits("loader").await;
    served.refuses("other", "wrong-subject").await;
    // The listing saves one call per role. The refusal alone costs one, unless the listing is less than a second old.
    let listed = aws.proxy.calls_of("iam:ListRoles");
    assert!(listed > 0 && listed % 3 == 0, "{listed} pages are not whole listings");
    assert!(aws.proxy.calls_of("iam:GetRole") <= 1, "{:?}", aws.proxy.calls());
    assert!(!served.program.log_lines("listed roles").is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fix_in_iam_takes_effect_at_once() {
    let Some(aws) = Aws::start("roles that change") else {
        return;
    };
    let role = aws.create_role("/", "loader", "somebody-else");
    let absent = "arn:aws:iam::111122223333:role/late";
    let served = serve(&aws, &[("loader", &role), ("late", absent)], &[]);
    served.until(|roles| roles.len() == 2).await;
    served.refuses("loader", "wrong-subject").await;
    served.refuses("late", "role-not-found").await;
    served.until_refusals_read_again().await;
    aws.update_trust_policy("loader", "loader");
    aws.create_role("/", "late", "late");
    served.admits("loader").await;
    served.admits("late").await;

    // Deleted, and created again under the same name for another owner.
    aws.delete_role("late");
    aws.create_role("/", "late", "somebody-else");
    served.folder.account(
        "jobs",
        "newcomer",
        &[("eks.amazonaws.com/role-arn", "arn:aws:iam::111122223333:role/new")],
    );
    aws.create_role("/", "new", "newcomer");
    served
        .until(|roles| roles.iter().any(|role| role["arn"].as_str().unwrap().ends_with("/new")))
        .await;
    served.admits("newcomer").await;

    // The calls made are those that the documentation requires, and vice versa.
    let documented = documented_actions();
    let called: BTreeSet<String> = aws
        .proxy
        .calls()
        .into_iter()
        .filter(|call| call.starts_with("iam:"))
        .collect();
    assert_eq!(called, documented);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_with_many_unknown_roles_do_not_prevent_the_refusal_of_another() {
    let Some(aws) = Aws::start("roles that nobody has created") else {
        return;
    };
    let names = ["one", "two", "three", "four"];
    let roles = names.map(|name| aws.create_role("/", name, "somebody-else"));
    let mut accounts: Vec<_> = names.into_iter().zip(roles.iter().map(String::as_str)).collect();
    accounts.push(("flood", &roles[0]));
    let served = serve(&aws, &accounts, &[]);
    served.until(|roles| roles.len() == names.len()).await;

    let end = Instant::now() + Duration::from_secs(20);
    let clients = (0..8).map(|client| {
        let served = &served;
        async move {
            let mut pods = 0;
            while Instant::now() < end {
                pods += 1;
                let containers: Vec<_> = (0..3).map(|container| own_role(client, pods, container)).collect();
                // Its own answer may be any, also 503.
                let review = review_of("flood", &Value::from(containers));
                served.program.post(ROUTE, review.to_string()).await;
            }
        }
    });
    let retries = async {
        // Far more than the time for which a copy is as good as a read.
        let pause = Duration::from_secs(6);
        for _ in 0..3 {
            tokio::time::sleep(pause).await;
            join_all(names.map(|name| served.refuses(name, "wrong-subject"))).await;
        }
    };
    tokio::join!(join_all(clients), retries);
    assert!(aws.proxy.calls_of("iam:GetRole") > 0, "the flood made no call");
}

/// A container that assumes a role of its own with the token that rolegate mounts.
fn own_role(client: usize, pod: usize, container: usize) -> Value {
    let role = format!("arn:aws:iam::111122223333:role/unknown-{client}-{pod}-{container}");
    json!({"name": format!("c{container}"), "image": "i", "env": [
        {"name": "AWS_ROLE_ARN", "value": role},
        {"name": "AWS_WEB_IDENTITY_TOKEN_FILE", "value": "/var/run/secrets/eks.amazonaws.com/serviceaccount/token"},
    ]})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_is_logged_once_and_known_roles_keep_their_latency() {
    let Some(aws) = Aws::start("an outage of IAM") else {
        return;
    };
    let role = aws.create_role("/", "loader", "loader");
    let wrong = aws.create_role("/", "wrong", "somebody-else");
    let served = serve(&aws, &[("loader", &role), ("wrong", &wrong)], &["--trust-ttl", "1s"]);
    served.until(|roles| roles.len() == 2).await;
    served.admits("loader").await;
    for fault in [
        Fault::Error(500, "InternalFailure", "oops"),
        Fault::Error(400, "Throttling", "Rate exceeded"),
        Fault::Late(Duration::from_secs(5)),
    ] {
        fail(&aws, fault.clone()).await;
        served.program.wait_for_log("role source is failing");
        served.until_refusals_read_again().await;
        let (allowed, message, took) = served.pod("loader").await;
        assert!(allowed && !message.contains("rolegate"), "{fault:?}: {message}");
        assert!(
            // Far below the time that AWS takes: no pod waited for it.
            took < Duration::from_secs(3),
            "{fault:?}: {took:?} for a role that is known"
        );
        if matches!(fault, Fault::Late(_)) {
            continue; // A read in flight may end just in time.
        }
        // What cannot be read again is not refused.
        let (allowed, message, took) = served.pod("wrong").await;
        assert!(allowed && message.contains("unknown"), "{fault:?}: {message}");
        assert!(took < Duration::from_secs(3), "{fault:?}: {took:?}");
    }
    assert_eq!(served.program.log_lines("role source is failing").len(), 1);
    aws.proxy.suffers(Fault::None);
    served.program.wait_for_log("role source recovered");
    served
        .until(|roles| roles.iter().all(|role| role["reason"].is_null()))
        .await;
    served.refuses("wrong", "wrong-subject").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bare_role_names_are_of_the_account_that_sts_names() {
    let Some(aws) = Aws::start("composed role ARNs") else {
        return;
    };
    aws.create_role("/tools/", "loader", "loader");
    let served = serve(&aws, &[("loader", "tools/loader")], &["--compose-role-arn"]);
    served.admits("loader").await;
    served
        .until(|roles| {
            roles
                .iter()
                .any(|role| role["arn"] == "arn:aws:iam::111122223333:role/tools/loader")
        })
        .await;
}

/// The actions of IAM in the policy of the documentation.
fn documented_actions() -> BTreeSet<String> {
    let policy: Value = serde_json::from_str(include_str!("../../docs/aws-iam-policy.json")).unwrap();
    let statements = policy["Statement"].as_array().unwrap().iter();
    let actions = statements.flat_map(|statement| statement["Action"].as_array().unwrap());
    let actions = actions.map(|action| action.as_str().unwrap().to_owned());
    // `tests/eks_source` compares the others.
    actions.filter(|action| action.starts_with("iam:")).collect()
}
