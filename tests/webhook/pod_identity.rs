//! EKS Pod Identity: what happens to a pod, by what it has when it arrives and by the association of its ServiceAccount.

use std::fs;

use serde_json::{Value, json};

use crate::injection::patched;
use crate::program::{Folder, Program, eventually};
use crate::reviews::{applied, creation, ephemeral, job_pod};

const ROLE: &str = "arn:aws:iam::111122223333:role/pods";
const AGENT: &str = "http://169.254.170.23/v1/credentials";
const TOKEN_FILE: &str = "/var/run/secrets/pods.eks.amazonaws.com/serviceaccount/eks-pod-identity-token";

/// ServiceAccounts `jobs/NAME`: `associated` has an association whose role trusts EKS, `tagless` one whose role forgets `sts:TagSession`,
/// `listed` one of which only the presence is known, `both` one and an annotation, `plain` has none.
fn folder() -> Folder {
    let folder = Folder::new();
    fs::create_dir(folder.path().join("associations")).unwrap();
    folder.role("pods", &letting_in(&["sts:AssumeRole", "sts:TagSession"]));
    folder.role("tagless", &letting_in(&["sts:AssumeRole"]));
    folder.role("runner", &Folder::trusting("jobs", "both"));
    folder.role("stranger", &Folder::trusting("elsewhere", "stranger"));
    folder.account(
        "jobs",
        "both",
        &[("eks.amazonaws.com/role-arn", "arn:aws:iam::111122223333:role/runner")],
    );
    folder.account(
        "jobs",
        "mistaken",
        &[("eks.amazonaws.com/role-arn", "arn:aws:iam::111122223333:role/stranger")],
    );
    for name in ["associated", "tagless", "listed", "plain"] {
        folder.account("jobs", name, &[]);
    }
    associate(&folder, "associated", "pods");
    associate(&folder, "both", "pods");
    associate(&folder, "mistaken", "pods");
    associate(&folder, "tagless", "tagless");
    let listed = json!({"associations": [{
        "clusterName": "my-cluster", "namespace": "jobs", "serviceAccount": "listed", "associationId": "a-listed",
    }]});
    folder.write("associations/list.json", &listed.to_string());
    folder
}

/// A trust policy that allows the service of EKS Pod Identity these actions.
pub(crate) fn letting_in(actions: &[&str]) -> Value {
    json!({"Version": "2012-10-17", "Statement": [{
        "Effect": "Allow", "Principal": {"Service": "pods.eks.amazonaws.com"}, "Action": actions,
    }]})
}

/// What `aws eks describe-pod-identity-association` prints.
pub(crate) fn associate(folder: &Folder, service_account: &str, role: &str) {
    let association = json!({"association": {
        "clusterName": "my-cluster", "namespace": "jobs", "serviceAccount": service_account,
        "roleArn": format!("arn:aws:iam::111122223333:role/{role}"),
        "associationArn": format!("arn:aws:eks:us-west-2:111122223333:podidentityassociation/my-cluster/a-{service_account}"),
        "associationId": format!("a-{service_account}"), "disableSessionTags": false,
    }});
    folder.write(
        &format!("associations/{service_account}.json"),
        &association.to_string(),
    );
}

fn serve(folder: &Folder, flags: &[&str]) -> Program {
    let source = format!("files={}", folder.path().join("associations").display());
    let mut all = vec!["--association-source", &source, "--cluster-name", "my-cluster"];
    all.extend(flags);
    Program::serve(folder, &all)
}

/// As EKS's own webhook injects it.
pub(crate) fn with_agent(service_account: &str) -> Value {
    with_env(
        service_account,
        &[
            ("AWS_CONTAINER_CREDENTIALS_FULL_URI", AGENT),
            ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", TOKEN_FILE),
        ],
    )
}

fn with_env(service_account: &str, env: &[(&str, &str)]) -> Value {
    let mut pod = job_pod("jobs", service_account);
    let env: Vec<Value> = env
        .iter()
        .map(|(name, value)| json!({"name": name, "value": value}))
        .collect();
    let container = &mut pod["spec"]["containers"][0];
    container["env"] = json!(env);
    let mount = json!({"name": "eks-pod-identity-token", "readOnly": true,
                       "mountPath": "/var/run/secrets/pods.eks.amazonaws.com/serviceaccount"});
    container["volumeMounts"].as_array_mut().unwrap().push(mount);
    let volume = json!({"name": "eks-pod-identity-token", "projected": {"sources": [{"serviceAccountToken": {
        "audience": "pods.eks.amazonaws.com", "expirationSeconds": 80000, "path": "eks-pod-identity-token"}}]}});
    pod["spec"]["volumes"].as_array_mut().unwrap().push(volume);
    pod
}

fn plain(service_account: &str) -> Value {
    job_pod("jobs", service_account)
}

fn on_fargate(mut pod: Value) -> Value {
    pod["spec"]["schedulerName"] = json!("fargate-scheduler");
    pod
}

/// What a review comes to.
#[derive(Debug, PartialEq)]
struct Seen {
    allowed: bool,
    /// The word in brackets of the refusal, or of the first warning that has one.
    word: Option<String>,
    /// Whether the pod that is created has the variables of the agent, or of a web identity.
    agent: bool,
    web: bool,
}

fn seen(pod: &Value, response: &Value) -> Seen {
    let word = |line: &str| Some(line.strip_suffix(')')?.rsplit_once('(')?.1.to_owned());
    let message = response["status"]["message"]
        .as_str()
        .and_then(|message| word(message.lines().next()?));
    let warnings = response["warnings"].as_array().into_iter().flatten();
    let warned = warnings.filter_map(|warning| word(warning.as_str()?)).next();
    let created = if response["allowed"] == true {
        patched(pod, response)
    } else {
        pod.clone()
    };
    let has = |name: &str| {
        let containers = created["spec"]["containers"].as_array().unwrap();
        let env = containers
            .iter()
            .flat_map(|container| container["env"].as_array().into_iter().flatten());
        env.into_iter().any(|variable| variable["name"] == name)
    };
    Seen {
        allowed: response["allowed"] == true,
        word: message.or(warned),
        agent: has("AWS_CONTAINER_CREDENTIALS_FULL_URI"),
        web: has("AWS_ROLE_ARN"),
    }
}

fn outcome(allowed: bool, word: &str, agent: bool, web: bool) -> Seen {
    Seen {
        allowed,
        word: (!word.is_empty()).then(|| word.to_owned()),
        agent,
        web,
    }
}

#[tokio::test]
async fn the_association_decides_in_each_mode() {
    let folder = folder();
    let program = serve(&folder, &[]);
    // Pod; in `enforce`, in `warn`: allowed, word; what the created pod has in `warn`.
    for (pod, enforce, warn, (agent, web)) in [
        // EKS injected it.
        (with_agent("associated"), (true, ""), (true, ""), (true, false)),
        (
            with_agent("tagless"),
            (false, "tag-session-not-allowed"),
            (true, "tag-session-not-allowed"),
            (true, false),
        ),
        (
            with_agent("plain"),
            (false, "no-association"),
            (true, "no-association"),
            (true, false),
        ),
        (
            with_agent("listed"),
            (true, "unknown"),
            (true, "unknown"),
            (true, false),
        ),
        // EKS missed it: it is injected here.
        (plain("associated"), (true, ""), (true, ""), (true, false)),
        (plain("listed"), (true, "unknown"), (true, "unknown"), (true, false)),
        (
            plain("tagless"),
            (false, "tag-session-not-allowed"),
            (true, "tag-session-not-allowed"),
            (true, false),
        ),
        // An association comes before an annotation, as with EKS's webhook.
        (plain("both"), (true, ""), (true, ""), (true, false)),
        // Nothing to do with associations.
        (plain("plain"), (true, ""), (true, ""), (false, false)),
        // No agent runs there: the annotation is used, if there is one.
        (
            on_fargate(plain("associated")),
            (false, "unsupported-compute"),
            (true, "unsupported-compute"),
            (false, false),
        ),
        (
            on_fargate(with_agent("associated")),
            (false, "unsupported-compute"),
            (true, "unsupported-compute"),
            (true, false),
        ),
        (on_fargate(plain("both")), (true, ""), (true, ""), (false, true)),
        (
            on_fargate(plain("mistaken")),
            (false, "wrong-subject"),
            (true, "wrong-subject"),
            (false, true),
        ),
    ] {
        for (mode, (allowed, word)) in [("enforce", enforce), ("warn", warn), ("audit", (true, ""))] {
            let response = program.review(&format!("/mutate/{mode}"), &creation(&pod)).await;
            let mut expected = outcome(allowed, word, agent, web);
            if !allowed {
                // A refusal has no patch.
                let arrived = pod["spec"]["containers"][0]["env"].to_string();
                (expected.agent, expected.web) = (arrived.contains("FULL_URI"), false);
            }
            assert_eq!(
                seen(&pod, &response),
                expected,
                "{mode}: {:#}\n{response:#}",
                pod["spec"]["serviceAccountName"]
            );
        }
    }
}

#[tokio::test]
async fn associations_of_other_clusters_only_are_a_warning_in_the_log() {
    let folder = folder();
    let source = format!("files={}", folder.path().join("associations").display());
    let flags = ["--association-source", &source, "--cluster-name", "other-cluster"];
    let program = Program::serve(&folder, &flags);
    let line = program.wait_for_log("associations of cluster my-cluster, none of other-cluster; check --cluster-name");
    assert!(line.contains("WARN") && line.contains("/associations has 5 "), "{line}");
}

#[tokio::test]
async fn what_is_injected_is_left_alone_the_next_time() {
    let folder = folder();
    let program = serve(&folder, &[]);
    let pod = plain("associated");
    let response = program.review("/mutate/enforce", &creation(&pod)).await;
    let created = patched(&pod, &response);
    assert_eq!(
        created["metadata"]["labels"]["eks.amazonaws.com/pod-identity"], "enabled",
        "{created:#}"
    );
    let again = program.review("/mutate/enforce", &creation(&created)).await;
    assert_eq!(again["allowed"], true);
    assert!(again.get("patch").is_none(), "{again:#}");
}

#[tokio::test]
async fn only_containers_without_credentials_are_injected() {
    let folder = folder();
    let program = serve(&folder, &[]);
    let mut pod = plain("associated");
    let more = [
        json!({"name": "keys", "image": "x", "env": [{"name": "AWS_ACCESS_KEY_ID", "value": "AKIDEXAMPLE"}, {"name": "AWS_SECRET_ACCESS_KEY", "value": "s"}]}),
        json!({"name": "own", "image": "x", "env": [{"name": "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "value": "/own"}]}),
        json!({"name": "server", "image": "x", "env": [{"name": "AWS_CONTAINER_CREDENTIALS_FULL_URI", "value": "http://127.0.0.1/x"},
                                                        {"name": "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "value": "/t"}]}),
    ];
    pod["spec"]["containers"].as_array_mut().unwrap().extend(more);
    let response = program.review("/mutate/enforce", &creation(&pod)).await;
    let created = patched(&pod, &response);
    let with_agent: Vec<&str> = created["spec"]["containers"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|container| container["env"].to_string().contains(AGENT))
        .map(|container| container["name"].as_str().unwrap())
        .collect();
    assert_eq!(
        with_agent,
        [pod["spec"]["containers"][0]["name"].as_str().unwrap()],
        "{created:#}"
    );
    for container in created["spec"]["containers"].as_array().unwrap().iter().skip(1) {
        let before = pod["spec"]["containers"]
            .as_array()
            .unwrap()
            .iter()
            .find(|one| one["name"] == container["name"]);
        assert_eq!(Some(container), before);
    }
}

#[tokio::test]
async fn a_webhook_that_does_not_inject_refuses_what_eks_missed() {
    let folder = folder();
    let program = serve(&folder, &[]);
    for (mode, allowed) in [("enforce", false), ("warn", true), ("audit", true)] {
        let pod = plain("associated");
        let response = program.review(&format!("/validate/pods/{mode}"), &creation(&pod)).await;
        assert_eq!(response["allowed"], allowed, "{response:#}");
        assert!(response.get("patch").is_none(), "{response:#}");
        let shown = response.to_string();
        assert_eq!(
            shown.contains("(association-not-injected)"),
            mode != "audit",
            "{response:#}"
        );
        let injected = program
            .review(&format!("/validate/pods/{mode}"), &creation(&with_agent("associated")))
            .await;
        assert_eq!(injected["allowed"], true, "{injected:#}");
    }
}

#[tokio::test]
async fn an_association_that_is_made_or_changed_counts_for_the_next_pod() {
    let folder = folder();
    let program = serve(&folder, &[]);
    let pod = plain("plain");
    let before = program.review("/mutate/enforce", &creation(&pod)).await;
    assert!(before.get("patch").is_none(), "{before:#}");
    associate(&folder, "plain", "pods");
    let after = program.review("/mutate/enforce", &creation(&pod)).await;
    assert!(seen(&pod, &after).agent, "{after:#}");
    // Edited: the role of the association is another one now. Before a refusal it is read again.
    associate(&folder, "plain", "tagless");
    eventually("the edit is seen", async || {
        let response = program.review("/mutate/enforce", &creation(&with_agent("plain"))).await;
        (response["allowed"] == false).then_some(())
    })
    .await;
    associate(&folder, "plain", "pods");
    let fixed = program.review("/mutate/enforce", &creation(&with_agent("plain"))).await;
    assert_eq!(fixed["allowed"], true, "{fixed:#}");
    // A file that cannot be used changes nothing.
    folder.write("associations/plain.json", "{");
    let kept = program.review("/mutate/enforce", &creation(&with_agent("plain"))).await;
    assert_eq!(kept["allowed"], true, "{kept:#}");
    fs::remove_file(folder.path().join("associations/plain.json")).unwrap();
    // Memory serves until the files are looked at.
    eventually("the deletion is seen", async || {
        let pod = with_agent("plain");
        let gone = program.review("/mutate/enforce", &creation(&pod)).await;
        (seen(&pod, &gone).word.as_deref() == Some("no-association")).then_some(())
    })
    .await;
}

#[tokio::test]
async fn what_is_unknown_is_refused_only_by_strict_settings() {
    let folder = folder();
    let program = serve(&folder, &["--on-unknown", "deny", "--require-role", "enforce"]);
    for (pod, word) in [
        (plain("listed"), Some("unknown")),
        (with_agent("listed"), Some("unknown")),
        (plain("associated"), None),
        (with_agent("associated"), None),
        (plain("plain"), Some("no-role")),
    ] {
        let response = program.review("/mutate/enforce", &creation(&pod)).await;
        let found = seen(&pod, &response);
        assert_eq!(
            (found.allowed, found.word.as_deref()),
            (word.is_none(), word),
            "{response:#}"
        );
    }
}

#[tokio::test]
async fn static_keys_in_place_of_an_association_are_warned_about() {
    let folder = folder();
    let program = serve(&folder, &[]);
    let keys = [
        ("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE"),
        ("AWS_SECRET_ACCESS_KEY", "example"),
    ];
    let agent = [
        (
            "AWS_CONTAINER_CREDENTIALS_FULL_URI",
            "http://169.254.170.23/v1/credentials",
        ),
        (
            "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
            "/var/run/secrets/pods.eks.amazonaws.com/serviceaccount/eks-pod-identity-token",
        ),
    ];
    for (service_account, variables, expected) in [
        ("associated", keys.to_vec(), true),
        ("associated", [keys, agent].concat(), true),
        ("plain", keys.to_vec(), false),
    ] {
        let pod = with_env(service_account, &variables);
        let response = program.review("/mutate/enforce", &creation(&pod)).await;
        assert_eq!(response["allowed"], true, "{response:#}");
        let warned = response["warnings"].to_string().contains("identity-not-used");
        assert_eq!(warned, expected, "{service_account}: {response:#}");
        let response = program.review("/mutate/audit", &creation(&pod)).await;
        assert!(response.get("warnings").is_none(), "{response:#}");
    }
}

#[tokio::test]
async fn a_web_identity_of_the_pods_own_comes_first() {
    let folder = folder();
    let program = serve(&folder, &[]);
    let own = |role: &str| {
        with_env(
            "both",
            &[
                ("AWS_ROLE_ARN", role),
                (
                    "AWS_WEB_IDENTITY_TOKEN_FILE",
                    "/var/run/secrets/eks.amazonaws.com/serviceaccount/token",
                ),
            ],
        )
    };
    let response = program
        .review(
            "/mutate/enforce",
            &creation(&own("arn:aws:iam::111122223333:role/runner")),
        )
        .await;
    assert_eq!(response["allowed"], true, "{response:#}");
    assert!(
        response["warnings"].to_string().contains("is not used by container"),
        "{response:#}"
    );
    let refused = program.review("/mutate/enforce", &creation(&own(ROLE))).await;
    assert!(
        refused["status"]["message"]
            .to_string()
            .contains("(wrong-principal-type)"),
        "{refused:#}"
    );
}

#[tokio::test]
async fn a_web_identity_of_the_pods_own_is_evaluated_without_an_annotation_too() {
    let folder = folder();
    folder.role("own", &Folder::trusting("jobs", "associated"));
    let program = serve(&folder, &[]);
    let own_of = |service_account: &str, role: &str| {
        let mut pod = plain(service_account);
        for list in ["containers", "initContainers"] {
            for container in pod["spec"][list].as_array_mut().into_iter().flatten() {
                container["env"] = json!([
                    {"name": "AWS_ROLE_ARN", "value": format!("arn:aws:iam::111122223333:role/{role}")},
                    {"name": "AWS_WEB_IDENTITY_TOKEN_FILE", "value": "/var/run/secrets/own/token"},
                ]);
                container["volumeMounts"] =
                    json!([{"name": "own", "mountPath": "/var/run/secrets/own", "readOnly": true}]);
            }
        }
        pod["spec"]["volumes"] = json!([{"name": "own", "projected": {"sources": [
            {"serviceAccountToken": {"audience": "sts.amazonaws.com", "path": "token"}},
        ]}}]);
        pod
    };
    let own = |role: &str| own_of("associated", role);
    let trusted = program.review("/mutate/enforce", &creation(&own("own"))).await;
    assert_eq!(trusted["allowed"], true, "{trusted:#}");
    assert!(trusted.get("patch").is_none(), "{trusted:#}");
    assert!(trusted["warnings"].to_string().contains("is not used by container"));
    let refused = program.review("/mutate/enforce", &creation(&own("runner"))).await;
    assert_eq!(refused["allowed"], false, "{refused:#}");
    assert!(
        refused["status"]["message"].to_string().contains("(wrong-subject)"),
        "{refused:#}"
    );
    let warned = program.review("/mutate/warn", &creation(&own("runner"))).await;
    assert_eq!(warned["allowed"], true, "{warned:#}");
    assert!(warned["warnings"].to_string().contains("(wrong-subject)"), "{warned:#}");

    // Next to a container that gets the credentials of the association.
    let mut pod = own("runner");
    let containers = pod["spec"]["containers"].as_array_mut().unwrap();
    containers.push(json!({"name": "other", "image": "example"}));
    let refused = program.review("/mutate/enforce", &creation(&pod)).await;
    assert!(
        refused["status"]["message"].to_string().contains("(wrong-subject)"),
        "{refused:#}"
    );

    // The token would have been mounted with an annotation.
    let mut pod = own("own");
    for list in ["containers", "initContainers"] {
        for container in pod["spec"][list].as_array_mut().into_iter().flatten() {
            container["env"][1]["value"] = json!("/var/run/secrets/eks.amazonaws.com/serviceaccount/token");
        }
    }
    let response = program.review("/mutate/enforce", &creation(&pod)).await;
    assert_eq!(response["allowed"], true, "{response:#}");
    assert!(response["warnings"].to_string().contains("(unknown)"), "{response:#}");

    // Other containers are warned about as without a web identity.
    let mut pod = own("own");
    let env =
        json!([{"name": "AWS_ACCESS_KEY_ID", "value": "EXAMPLE"}, {"name": "AWS_SECRET_ACCESS_KEY", "value": "x"}]);
    let containers = pod["spec"]["containers"].as_array_mut().unwrap();
    containers.push(json!({"name": "keys", "image": "example", "env": env}));
    let response = program.review("/mutate/enforce", &creation(&pod)).await;
    assert!(
        response["warnings"].to_string().contains("(identity-not-used)"),
        "{response:#}"
    );

    // Without an association, pods of a ServiceAccount without an annotation are left alone.
    let response = program
        .review("/mutate/enforce", &creation(&own_of("plain", "runner")))
        .await;
    assert_eq!(response["allowed"], true, "{response:#}");
    assert!(response.get("warnings").is_none(), "{response:#}");
}

#[tokio::test]
async fn annotations_that_request_no_role_are_as_good_as_none() {
    let folder = folder();
    let lifetime = [("eks.amazonaws.com/token-expiration", "3600")];
    for (name, role) in [("lifetime", "pods"), ("keys", "pods")] {
        folder.account("jobs", name, &lifetime);
        associate(&folder, name, role);
    }
    let program = serve(&folder, &[]);
    let response = program
        .review("/mutate/enforce", &creation(&on_fargate(plain("lifetime"))))
        .await;
    assert!(
        response["status"]["message"]
            .to_string()
            .contains("(unsupported-compute)"),
        "{response:#}"
    );

    let mut pod = plain("keys");
    for list in ["containers", "initContainers"] {
        for container in pod["spec"][list].as_array_mut().into_iter().flatten() {
            container["env"] = json!([
                {"name": "AWS_ACCESS_KEY_ID", "value": "EXAMPLE"}, {"name": "AWS_SECRET_ACCESS_KEY", "value": "x"},
            ]);
        }
    }
    let response = program.review("/mutate/enforce", &creation(&pod)).await;
    assert!(
        response["warnings"].to_string().contains("(identity-not-used)"),
        "{response:#}"
    );
}

#[tokio::test]
async fn the_author_of_a_workload_is_warned_in_the_same_words() {
    let folder = folder();
    let program = serve(&folder, &["--mode", "enforce"]);
    let job = |service_account: &str| {
        let template = json!({"metadata": {}, "spec": plain(service_account)["spec"]});
        let object = json!({"apiVersion": "batch/v1", "kind": "Job",
                            "metadata": {"name": "j", "namespace": "jobs"}, "spec": {"template": template}});
        applied("batch", "v1", "Job", "jobs", &object)
    };
    let tagless = program.review("/validate/workloads", &job("tagless")).await;
    assert!(
        tagless["warnings"].to_string().contains("(tag-session-not-allowed)"),
        "{tagless:#}"
    );
    let fine = program.review("/validate/workloads", &job("associated")).await;
    assert!(fine.get("warnings").is_none(), "{fine:#}");
}

#[tokio::test]
async fn kubectl_debug_gets_the_identity_of_the_pod() {
    let folder = folder();
    let program = serve(&folder, &[]);
    let old = with_agent("associated");
    let mut new = old.clone();
    new["spec"]["ephemeralContainers"] = json!([{"name": "debug", "image": "x"}]);
    let response = program.review("/mutate/enforce", &ephemeral(&old, &new)).await;
    let created = patched(&new, &response);
    let env = created["spec"]["ephemeralContainers"][0]["env"].to_string();
    assert!(env.contains(AGENT) && env.contains(TOKEN_FILE), "{created:#}");
}
