//! Runs the guides as written: each `$ ` command of their console blocks in order, in one folder, each until it works and
//! prints what the guide shows. A guide that drifts from the program fails here. AWS is moto, with the real AWS CLI.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::aws::Aws;
use crate::cluster::{Cluster, ExclusiveCluster, Gate, Namespace, Shell, role_of, trust_policy};
use crate::moto::program;
use crate::node::Node;
use crate::release::{NAME, NAMESPACE};
use crate::scenarios::Scenarios;
use crate::wait::{until, until_ok};

pub(crate) fn register(scenarios: &mut Scenarios) {
    scenarios.parallel(an_ack_controller_gets_its_role_as_the_guide_says);
    scenarios.serial(jobs_get_a_role_as_the_guide_says);
    scenarios.serial(a_workload_gets_a_role_of_its_own_as_the_guide_says);
    scenarios.serial(a_refused_pod_is_fixed_as_the_guide_says);
    scenarios.serial(the_tutorial_and_the_page_about_upgrades_work_as_written);
}

fn jobs_get_a_role_as_the_guide_says(cluster: &ExclusiveCluster<'_>) {
    let Some(aws) = Aws::start("the guide jobs.md") else {
        return;
    };
    let release = aws.install(cluster, json!({}));
    let reader = Reader::new(cluster, "jobs").with(&aws);
    let ecs = json!({
        "Effect": "Allow",
        "Principal": {"Service": "ecs-tasks.amazonaws.com"},
        "Action": "sts:AssumeRole",
    });
    reader.has_role("my-jobs-role", &json!({"Version": "2012-10-17", "Statement": [&ecs]}));
    let jobs = cluster.namespace_to_come("my-jobs");

    reader.follow("jobs.md");

    let role = "arn:aws:iam::111122223333:role/my-jobs-role";
    assert_eq!(role_of(&jobs.pod_of_job("management")).as_deref(), Some(role));
    let statements = &reader.policy_of("my-jobs-role")["Statement"];
    assert_eq!(statements[0], ecs, "ECS lost the role");
    assert_eq!(statements.as_array().map(Vec::len), Some(2), "{statements}");
    drop(release);
}

fn a_workload_gets_a_role_of_its_own_as_the_guide_says(cluster: &ExclusiveCluster<'_>) {
    let Some(aws) = Aws::start("the guide service-account-role.md") else {
        return;
    };
    let release = aws.install(cluster, json!({}));
    let reader = Reader::new(cluster, "service-account-role").with(&aws);
    let shop = cluster.namespace_to_come("shop");

    reader.follow("service-account-role.md");

    assert_eq!(role_of_last_pod(&shop), "arn:aws:iam::111122223333:role/catalog");
    drop(release);
}

fn an_ack_controller_gets_its_role_as_the_guide_says(cluster: &Cluster) {
    let release = cluster.release();
    let reader = Reader::new(cluster, "ack");
    let mut policy = trust_policy("ack-system", "ack-s3-controller");
    // As ACK's guides write it.
    let equals = policy["Statement"][0]["Condition"]["StringEquals"]
        .as_object_mut()
        .unwrap();
    equals.retain(|key, _| key.ends_with(":sub"));
    let role = "arn:aws:iam::111122223333:role/ack-s3-controller";
    release.put_role(role, &policy);
    // What ACK's chart has installed.
    let ack = cluster.namespace_named("ack-system", Gate::None);
    ack.kubectl(&["create", "serviceaccount", "ack-s3-controller"]).ok();
    ack.create(
        &deployment("ack-s3-controller", "app.kubernetes.io/name", "s3-chart"),
        &[],
    )
    .ok();

    reader.follow("ack-controller.md");

    assert_eq!(role_of_last_pod(&ack), role);
}

fn a_refused_pod_is_fixed_as_the_guide_says(cluster: &ExclusiveCluster<'_>) {
    let Some(aws) = Aws::start("the guide refused.md") else {
        return;
    };
    let release = aws.install(cluster, json!({}));
    let reader = Reader::new(cluster, "refused").with(&aws);
    reader.has_role("api", &trust_policy("production", "api"));
    let staging = cluster.namespace_named("staging", Gate::Enforce);
    staging.kubectl(&["create", "serviceaccount", "api"]).ok();
    staging.annotate("api", "arn:aws:iam::111122223333:role/api");
    staging.create(&deployment("api", "app", "api"), &[]).ok();

    reader.follow("refused.md");

    assert_eq!(role_of_last_pod(&staging), "arn:aws:iam::111122223333:role/api");
    let mut both = trust_policy("production", "api");
    let equals = both["Statement"][0]["Condition"]["StringEquals"]
        .as_object_mut()
        .unwrap();
    for (_, subject) in equals.iter_mut().filter(|(key, _)| key.ends_with(":sub")) {
        *subject = json!([subject, "system:serviceaccount:staging:api"]);
    }
    assert_eq!(reader.policy_of("api"), both);
    drop(release);
}

/// With `helm install --wait`, on a simulated node. The image and the cluster are there, and the issuer is that of kind.
fn the_tutorial_and_the_page_about_upgrades_work_as_written(cluster: &ExclusiveCluster<'_>) {
    cluster.remove_shared_release();
    cluster
        .kubectl(&["delete", "namespace", NAMESPACE, "--ignore-not-found"])
        .ok();
    let around = cluster.surroundings();
    let _node = Node::start(around);
    let _staging = cluster.namespace_to_come("staging");
    let reader = Reader::new(cluster, "tutorial");
    reader.shell.put_on_path("helm", &around.helm);
    let reader = InstallingReader(reader);

    reader.0.follow_with("tutorial.md", |command| {
        let is_elsewhere = ["cargo ", "kind ", "docker "]
            .iter()
            .any(|tool| command.starts_with(tool));
        let issuer = "--set issuer=https://kubernetes.default.svc.cluster.local";
        match command {
            _ if is_elsewhere => None,
            _ if command.starts_with("helm install ") => Some(format!("{command} {issuer}")),
            _ => Some(command.to_owned()),
        }
    });
    reader.0.follow_with("guides/install-eks.md", |command| {
        let checks = ["kubectl --namespace rolegate-system rollout status ", "helm test "];
        let is_check = checks.iter().any(|check| command.starts_with(check));
        is_check.then(|| command.to_owned())
    });
    reader.0.follow_with("runbooks.md", |command| {
        command.starts_with("kubectl get --raw ").then(|| command.to_owned())
    });
    reader.0.follow_with("upgrading.md", |command| {
        // What must be done if the webhook was removed without `helm uninstall`.
        (!command.starts_with("kubectl delete ")).then(|| command.to_owned())
    });

    let left = cluster.json(&["get", "mutatingwebhookconfigurations,validatingwebhookconfigurations"]);
    assert_eq!(left["items"], json!([]));
}

/// Uninstalls what it has installed, also when the scenario fails.
struct InstallingReader(Reader);

impl Drop for InstallingReader {
    fn drop(&mut self) {
        let uninstall =
            format!("helm uninstall {NAME} --namespace {NAMESPACE} --ignore-not-found --wait --timeout 60s");
        self.0.shell.run(&uninstall);
    }
}

/// Of the pod that was made last, once one has a role.
fn role_of_last_pod(namespace: &Namespace) -> String {
    until("a pod with a role", || {
        let pods = namespace.json(&["get", "pods", "--sort-by=metadata.creationTimestamp"]);
        let mut roles = pods["items"].as_array()?.iter().filter_map(role_of);
        roles.next_back()
    })
}

/// A Deployment with a ServiceAccount of its name, as a chart or another user creates it.
fn deployment(name: &str, label: &str, value: &str) -> Value {
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "selector": {"matchLabels": {label: value}},
            "template": {
                "metadata": {"labels": {label: value}},
                "spec": {"serviceAccountName": name, "containers": [{"name": "controller", "image": "example"}]},
            },
        },
    })
}

/// A user who types the commands of a guide.
struct Reader {
    shell: Shell,
}

impl Reader {
    /// In a folder with these parts of the repository.
    fn new(cluster: &Cluster, name: &str) -> Self {
        let shell = cluster.shell(name);
        for part in ["charts", "docs", "examples"] {
            let original = Path::new(env!("CARGO_MANIFEST_DIR")).join(part);
            std::os::unix::fs::symlink(original, shell.folder.join(part)).unwrap();
        }
        Self { shell }
    }

    /// With the AWS CLI and credentials.
    fn with(mut self, aws: &Aws) -> Self {
        self.shell.put_on_path("aws", &program("aws"));
        self.shell.environment.clone_from(&aws.environment);
        self
    }

    /// What AWS has before the guide begins.
    fn has_role(&self, name: &str, policy: &Value) {
        fs::write(self.shell.folder.join("before.json"), policy.to_string()).unwrap();
        let create = format!("aws iam create-role --role-name {name} --assume-role-policy-document file://before.json");
        self.shell.run(&create).ok();
    }

    /// What AWS has in the end.
    fn policy_of(&self, name: &str) -> Value {
        let get = format!("aws iam get-role --role-name {name} --query Role.AssumeRolePolicyDocument");
        self.shell.run(&get).json()
    }

    #[track_caller]
    fn follow(&self, guide: &str) {
        // There is no terminal to answer on.
        self.follow_with(&format!("guides/{guide}"), |command| {
            Some(command.replace(" --apply", " --apply --yes"))
        });
    }

    /// The adapted form of each command; commands without one are skipped.
    #[track_caller]
    fn follow_with(&self, page: &str, adapted: impl Fn(&str) -> Option<String>) {
        let steps = steps(page).into_iter();
        let steps: Vec<(String, Step)> = steps.filter_map(|step| Some((adapted(&step.command)?, step))).collect();
        assert!(!steps.is_empty(), "{page} types nothing");
        for (command, step) in steps {
            until_ok(&format!("{page}: {command}"), || {
                // In the order in which a terminal shows it.
                let output = self.shell.run(&format!("{{ {command}\n}} 2>&1"));
                let has_findings = command.starts_with("rolegate audit ") && output.code == Some(1);
                match (output.succeeded() || has_findings).then(|| step.missing(&output.stdout)) {
                    None => Err(output.to_string()),
                    Some(Some(line)) => Err(format!("{line:?} is not shown\n{output}")),
                    Some(None) => Ok(()),
                }
            });
        }
    }
}

/// A command, and the lines that the guide shows below it.
#[derive(Debug)]
struct Step {
    command: String,
    shown: Vec<String>,
}

impl Step {
    /// The first line that was not printed, in this order. Blanks count as one, and `…` matches anything.
    fn missing(&self, printed: &str) -> Option<&str> {
        let mut lines = printed.lines().map(one_blank);
        let is_printed = |shown: &String| lines.any(|line| fits(&line, &one_blank(shown)));
        let mut shown = self.shown.iter().filter(|line| one_blank(line) != "…");
        let mut is_printed = is_printed;
        shown.find(|line| !is_printed(line)).map(String::as_str)
    }
}

fn one_blank(line: &str) -> String {
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn fits(line: &str, shown: &str) -> bool {
    let mut rest = line;
    for (number, part) in shown.split('…').enumerate() {
        let Some(at) = rest.find(part).filter(|at| number > 0 || *at == 0) else {
            return false;
        };
        rest = &rest[at + part.len()..];
    }
    rest.is_empty() || shown.ends_with('…')
}

/// The console blocks of a page.
fn steps(page: &str) -> Vec<Step> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(page);
    let text = fs::read_to_string(path).unwrap();
    let mut steps: Vec<Step> = Vec::new();
    let mut is_console = false;
    for line in text.lines() {
        if line.starts_with("```") {
            is_console = line == "```console";
        } else if let Some(command) = line.strip_prefix("$ ").filter(|_| is_console) {
            steps.push(Step {
                command: command.to_owned(),
                shown: Vec::new(),
            });
        } else if let Some(step) = steps.last_mut().filter(|_| is_console) {
            if step.command.ends_with('\\') {
                step.command.push('\n');
                step.command.push_str(line);
            } else {
                step.shown.push(line.to_owned());
            }
        }
    }
    steps
}
