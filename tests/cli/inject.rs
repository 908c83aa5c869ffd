//! `rolegate inject`: manifests in, manifests with identities out.

use std::fs;

use serde_json::{Value, json};

use super::{ISSUER, ROLE, Ran, correct_policy, finish, rolegate_with_input};

const VOLUME: &str = "aws-iam-token";

/// Roles `job`, which trusts `jobs/default`, and `other`, which does not.
fn roles() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let account = folder.path().join("111122223333");
    fs::create_dir_all(&account).unwrap();
    fs::write(account.join("job.json"), correct_policy()).unwrap();
    fs::write(
        account.join("other.json"),
        super::policy("StringEquals", "system:serviceaccount:other:default"),
    )
    .unwrap();
    fs::write(
        account.join("network.json"),
        correct_policy().replace(
            "\"Condition\":{",
            "\"Condition\":{\"IpAddress\":{\"aws:SourceIp\":\"203.0.113.0/24\"},",
        ),
    )
    .unwrap();
    folder
}

fn inject(input: &str, more: &[&str]) -> Ran {
    let roles = roles();
    let source = format!("files={}", roles.path().display());
    let arguments = ["inject", "--file", "-", "--issuer", ISSUER, "--role-source", &source];
    rolegate_with_input(&[&arguments, more].concat(), input)
}

fn account(role: &str) -> String {
    format!(
        "---\n# Source: chart/templates/account.yaml\napiVersion: v1\nkind: ServiceAccount\nmetadata:\n  name: default\n  namespace: jobs\n  annotations: {{ \"eks.amazonaws.com/role-arn\": \"arn:aws:iam::111122223333:role/{role}\" }} # the role\n"
    )
}

const CRON_JOB: &str = "---\n# Source: chart/templates/job.yaml\napiVersion: batch/v1\nkind: CronJob\nmetadata:\n  name: nightly\n  namespace: jobs\nspec:\n  schedule: \"0 3 * * *\"\n  suspend: no\n  jobTemplate:\n    spec:\n      template:\n        spec:\n          restartPolicy: Never\n          volumes:\n          - name: keys\n            secret: {secretName: keys, defaultMode: 0400}\n          containers:\n          - name: main\n            image: example.com/app:1\n            env:\n            - {name: DEBUG, value: \"yes\"}\n";

const CONFIG: &str = "---\n# kept, with its comments:\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}   # spaces too\ndata:\n  text: |\n    --- not a marker\n    hidden: \u{200b}\u{e9}\n";

fn documents(out: &str) -> Vec<Value> {
    serde_saphyr::from_multiple(out).unwrap_or_else(|error| panic!("{error}: {out}"))
}

fn template(document: &Value) -> &Value {
    document.pointer("/spec/jobTemplate/spec/template").unwrap()
}

#[test]
fn a_pod_template_gets_its_identity_and_other_documents_keep_their_bytes() {
    let input = format!("{}{CONFIG}{CRON_JOB}", account("job"));
    let ran = inject(&input, &[]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    let unchanged = format!("{}{CONFIG}", account("job"));
    assert!(ran.out.starts_with(&unchanged), "{}", ran.out);
    let all = documents(&ran.out);
    let spec = &template(&all[2])["spec"];
    assert_eq!(spec["volumes"][0]["name"], VOLUME, "{}", ran.out);
    assert_eq!(spec["volumes"][1]["name"], "keys");
    let container = &spec["containers"][0];
    assert_eq!(container["volumeMounts"][0]["name"], VOLUME);
    let env: Vec<(&str, &str)> = container["env"]
        .as_array()
        .unwrap()
        .iter()
        .map(|variable| (variable["name"].as_str().unwrap(), variable["value"].as_str().unwrap()))
        .collect();
    assert_eq!(env[0], ("DEBUG", "yes"));
    assert!(env.contains(&("AWS_ROLE_ARN", ROLE)), "{env:?}");
    // What kubectl reads otherwise than YAML 1.2 keeps its meaning.
    assert_eq!(spec["volumes"][1]["secret"]["defaultMode"], 0o400);
    assert_eq!(all[2]["spec"]["suspend"], false);
    let job = ran.out.strip_prefix(&unchanged).unwrap();
    assert!(
        job.starts_with("---\n# Source: chart/templates/job.yaml\napiVersion: batch/v1\nkind: CronJob\n"),
        "{job}"
    );
    assert!(ran.err.contains("CronJob jobs/nightly: injected"), "{}", ran.err);
}

#[test]
fn the_result_is_not_changed_again() {
    let once = inject(&format!("{}{CRON_JOB}", account("job")), &[]).out;
    let twice = inject(&once, &[]);
    assert_eq!((twice.code, twice.out), (0, once), "{}", twice.err);
    assert!(twice.err.contains("has its identity already"), "{}", twice.err);
}

#[test]
fn a_refused_pod_is_printed_unchanged_with_the_refusal_on_standard_error() {
    let input = format!("{}{CRON_JOB}", account("other"));
    let ran = inject(&input, &[]);
    assert_eq!((ran.code, &ran.out), (1, &input), "{}", ran.err);
    for text in [
        "IAM role \"other\" does not trust ServiceAccount jobs/default",
        "(wrong-subject)",
        "rolegate trust-policy --role-arn",
        "CronJob jobs/nightly: refused",
    ] {
        assert!(ran.err.contains(text), "{text}: {}", ran.err);
    }
    // In a namespace that only warns, it would be injected.
    let ran = inject(&input, &["--mode", "warn"]);
    assert_eq!(ran.code, 1);
    assert!(ran.out.contains(VOLUME), "{}", ran.out);
}

#[test]
fn the_reason_is_printed_in_every_mode() {
    let input = format!("{}{CRON_JOB}", account("other"));
    for mode in ["enforce", "warn", "audit"] {
        let ran = inject(&input, &["--mode", mode]);
        assert_eq!(ran.code, 1, "{mode}: {}", ran.err);
        assert!(ran.err.contains("(wrong-subject)"), "{mode}: {}", ran.err);
    }
}

#[test]
fn the_exit_code_is_that_of_the_worst_pod() {
    for (manifests, more, code) in [
        (account("network") + CRON_JOB, &[][..], 2),
        (account("none") + CRON_JOB, &[], 1),
        (
            account("job") + CRON_JOB + &CRON_JOB.replace("jobs", "elsewhere"),
            &[],
            0,
        ),
        (CRON_JOB.to_owned(), &[], 0),
        (CRON_JOB.to_owned(), &["--require-role", "enforce"], 1),
        (CRON_JOB.to_owned(), &["--role-arn", ROLE], 0),
        (
            CRON_JOB.replace("restartPolicy: Never", "serviceAccountName: absent"),
            &[],
            2,
        ),
        (String::new(), &[], 0),
    ] {
        let ran = inject(&manifests, more);
        assert_eq!(ran.code, code, "{more:?}\n{manifests}\n{}", ran.err);
    }
    let absent = CRON_JOB.replace("restartPolicy: Never", "serviceAccountName: absent");
    let ran = inject(&absent, &[]);
    assert_eq!(ran.out, absent);
    assert!(
        ran.err.contains("ServiceAccount jobs/absent is not in the input"),
        "{}",
        ran.err
    );
}

#[test]
fn every_kind_with_a_pod_template_and_the_items_of_a_list_are_injected() {
    let spec = serde_json::json!({"containers": [{"name": "main", "image": "example.com/app:1"}]});
    let templated = |version: &str, kind: &str| serde_json::json!({"apiVersion": version, "kind": kind, "metadata": {"name": "a"}, "spec": {"template": {"spec": spec}}});
    let objects = vec![
        serde_json::json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "spec": spec}),
        templated("apps/v1", "Deployment"),
        templated("apps/v1", "ReplicaSet"),
        templated("apps/v1", "StatefulSet"),
        templated("apps/v1", "DaemonSet"),
        templated("batch/v1", "Job"),
        templated("v1", "ReplicationController"),
        // A kind of the same name in another group is another kind.
        templated("example.com/v1", "Job"),
    ];
    let list = serde_json::json!({"apiVersion": "v1", "kind": "List", "items": objects});
    let ran = inject(&list.to_string(), &["--role-arn", ROLE, "--namespace", "jobs"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    let printed: Value = serde_json::from_str(&ran.out).expect("JSON stays JSON");
    for (index, item) in printed["items"].as_array().unwrap().iter().enumerate() {
        let has = item.to_string().contains(VOLUME);
        assert_eq!(has, index < 7, "{item:#}");
    }
}

fn pod() -> Value {
    json!({"spec": {"containers": [{"name": "main", "image": "example.com/app:1"}]}})
}

/// Pod templates in resources of job systems: where each one is.
#[test]
fn pod_templates_in_custom_resources_are_injected_where_the_table_says() {
    let object = |api: &str, kind: &str, spec: Value| json!({"apiVersion": api, "kind": kind, "metadata": {"name": "train"}, "spec": spec});
    for (object, templates) in [
        (
            // Twice the same pods: both are injected.
            object(
                "jobset.x-k8s.io/v1alpha2",
                "JobSet",
                json!({"replicatedJobs": [
                {"name": "a", "template": {"spec": {"template": pod()}}}, {"name": "b", "template": {"spec": {"template": pod()}}}]}),
            ),
            &[
                "/spec/replicatedJobs/0/template/spec/template",
                "/spec/replicatedJobs/1/template/spec/template",
            ][..],
        ),
        (
            object(
                "ray.io/v1",
                "RayCluster",
                json!({"headGroupSpec": {"template": pod()}, "workerGroupSpecs": [{"template": pod()}]}),
            ),
            &["/spec/headGroupSpec/template", "/spec/workerGroupSpecs/0/template"],
        ),
        (
            object(
                "ray.io/v1",
                "RayJob",
                json!({"submitterPodTemplate": pod(), "rayClusterSpec": {"headGroupSpec": {"template": pod()}}}),
            ),
            &[
                "/spec/submitterPodTemplate",
                "/spec/rayClusterSpec/headGroupSpec/template",
            ],
        ),
        (
            object(
                "ray.io/v1",
                "RayService",
                json!({"rayClusterConfig": {"headGroupSpec": {"template": pod()}}}),
            ),
            &["/spec/rayClusterConfig/headGroupSpec/template"],
        ),
        (
            object(
                "kubeflow.org/v2beta1",
                "MPIJob",
                json!({"mpiReplicaSpecs": {"Launcher": {"template": pod()}, "Worker": {"template": pod()}}}),
            ),
            &[
                "/spec/mpiReplicaSpecs/Launcher/template",
                "/spec/mpiReplicaSpecs/Worker/template",
            ],
        ),
        (
            object(
                "kubeflow.org/v1",
                "PyTorchJob",
                json!({"pytorchReplicaSpecs": {"Master": {"template": pod()}}}),
            ),
            &["/spec/pytorchReplicaSpecs/Master/template"],
        ),
        (
            object(
                "batch.volcano.sh/v1alpha1",
                "Job",
                json!({"tasks": [{"name": "a", "template": pod()}]}),
            ),
            &["/spec/tasks/0/template"],
        ),
        (
            object("argoproj.io/v1alpha1", "Rollout", json!({"template": pod()})),
            &["/spec/template"],
        ),
        (
            object(
                "serving.knative.dev/v1",
                "Service",
                json!({"template": {"spec": {"containers": [{"image": "example.com/app:1"}]}}}),
            ),
            &["/spec/template"],
        ),
        (
            object(
                "triggers.tekton.dev/v1beta1",
                "TriggerTemplate",
                json!({"resourcetemplates": [
                {"apiVersion": "batch/v1", "kind": "Job", "spec": {"template": pod()}}]}),
            ),
            &["/spec/resourcetemplates/0/spec/template"],
        ),
    ] {
        let ran = inject(&object.to_string(), &["--role-arn", ROLE, "--namespace", "jobs"]);
        assert_eq!(ran.code, 0, "{object}\n{}", ran.err);
        assert_eq!(ran.err.matches(": injected").count(), templates.len(), "{}", ran.err);
        let printed: Value = serde_json::from_str(&ran.out).unwrap();
        assert_eq!(
            ran.out.matches("serviceAccountToken").count(),
            templates.len(),
            "{}",
            ran.out
        );
        for at in templates {
            let template = printed.pointer(at).unwrap();
            assert_eq!(template["spec"]["volumes"][0]["name"], VOLUME, "{at}: {printed:#}");
            assert!(
                template["spec"]["containers"][0].to_string().contains(ROLE),
                "{at}: {printed:#}"
            );
            // Nothing that the author did not write and the pod does not need.
            assert_eq!(template.get("metadata"), None, "{at}: {printed:#}");
            assert_eq!(template["spec"].get("serviceAccountName"), None);
        }
    }
}

/// Argo's templates and Tekton's runs are not pod templates: their pods get the identity from the webhook.
#[test]
fn what_has_no_pod_template_is_judged_and_keeps_its_bytes() {
    let account = account("other").replace("name: default", "name: runner");
    let workflow = "---\n# kept\napiVersion: argoproj.io/v1alpha1\nkind: Workflow\nmetadata: {generateName: etl-, namespace: jobs} # spaces   too\nspec:\n  serviceAccountName: runner\n  entrypoint: main\n  templates:\n  - name: main\n    container: {image: example.com/app:1}\n";
    let input = format!("{account}{workflow}");
    let ran = inject(&input, &[]);
    assert_eq!((ran.code, &ran.out), (1, &input), "{}", ran.err);
    for text in [
        "Workflow jobs/etl-: refused, printed unchanged",
        "does not trust ServiceAccount jobs/runner",
        "(wrong-subject)",
    ] {
        assert!(ran.err.contains(text), "{text}: {}", ran.err);
    }
    let trusted = input.replace("role/other", "role/job").replace("runner", "default");
    let ran = inject(&trusted, &[]);
    assert_eq!((ran.code, &ran.out), (0, &trusted), "{}", ran.err);
    assert!(
        ran.err
            .contains("Workflow jobs/etl-: no pod template to inject, printed unchanged"),
        "{}",
        ran.err
    );

    // Decided by the controller's configuration: nothing is reported.
    let unknown = workflow.replace("  serviceAccountName: runner\n", "");
    let ran = inject(&unknown, &["--role-arn", ROLE]);
    assert_eq!((ran.code, &*ran.out, &*ran.err), (0, &*unknown, ""));

    // Each place is named where an object has several.
    let runs = r#"{"apiVersion": "tekton.dev/v1", "kind": "PipelineRun", "metadata": {"name": "build", "namespace": "jobs"},
        "spec": {"taskRunTemplate": {"serviceAccountName": "absent"}, "taskRunSpecs": [{"pipelineTaskName": "push", "serviceAccountName": "push"}]}}"#;
    let ran = inject(runs, &[]);
    assert_eq!((ran.code, &*ran.out), (2, runs), "{}", ran.err);
    for text in [
        "PipelineRun jobs/build spec: ServiceAccount jobs/absent is not in the input",
        "PipelineRun jobs/build spec.taskRunSpecs[0]: ServiceAccount jobs/push is not in the input",
    ] {
        assert!(ran.err.contains(text), "{text}: {}", ran.err);
    }
}

#[test]
fn accounts_that_a_controller_creates_need_no_manifest() {
    // Strimzi writes these annotations to the account that it creates.
    let connect = |role: &str| {
        format!(
            "apiVersion: kafka.strimzi.io/v1\nkind: KafkaConnect\nmetadata: {{name: sink, namespace: jobs}}\nspec:\n  template:\n    serviceAccount:\n      metadata: {{annotations: {{eks.amazonaws.com/role-arn: \"arn:aws:iam::111122223333:role/{role}\"}}}}\n"
        )
    };
    let ran = inject(&connect("other"), &[]);
    assert_eq!((ran.code, &ran.out), (1, &connect("other")), "{}", ran.err);
    assert!(
        ran.err.contains("does not trust ServiceAccount jobs/sink-connect"),
        "{}",
        ran.err
    );
    // KubeRay creates one without annotations for a cluster that scales itself.
    let cluster = json!({"apiVersion": "ray.io/v1", "kind": "RayCluster", "metadata": {"name": "ray", "namespace": "jobs"},
        "spec": {"enableInTreeAutoscaling": true, "headGroupSpec": {"template": pod()}}});
    let ran = inject(&cluster.to_string(), &[]);
    assert_eq!((ran.code, &ran.out), (0, &cluster.to_string()), "{}", ran.err);
    assert!(
        ran.err.contains("RayCluster jobs/ray: no role, printed unchanged"),
        "{}",
        ran.err
    );
}

#[test]
fn a_version_whose_fields_are_not_known_is_reported_and_printed_unchanged() {
    let job = CRON_JOB.replace("batch/v1", "batch/v1beta1");
    let ran = inject(&job, &["--role-arn", ROLE]);
    assert_eq!((ran.code, &ran.out), (2, &job), "{}", ran.err);
    assert!(
        ran.err
            .contains("CronJob jobs/nightly: batch/v1beta1 is not supported (supported: v1), printed unchanged"),
        "{}",
        ran.err
    );
}

#[test]
fn templates_for_the_whole_cluster_are_printed_unchanged() {
    let template = json!({"apiVersion": "argoproj.io/v1alpha1", "kind": "ClusterAnalysisTemplate", "metadata": {"name": "a"},
        "spec": {"metrics": [{"name": "a", "provider": {"job": {"spec": {"template": pod()}}}}]}});
    let ran = inject(&template.to_string(), &["--role-arn", ROLE]);
    assert_eq!((ran.code, &ran.out, &*ran.err), (0, &template.to_string(), ""));
}

#[test]
fn accounts_of_the_identity_config_map_need_no_manifest() {
    let map = |namespace: &str| {
        format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: map, namespace: kube-system}}\ndata:\n  config: '{{\"{namespace}/worker\": {{\"RoleARN\": \"{ROLE}\"}}}}'\n"
        )
    };
    let job = CRON_JOB.replace(
        "restartPolicy: Never",
        "restartPolicy: Never\n          serviceAccountName: worker",
    );
    let flags = ["--identity-config-map", "kube-system/map", "--mode", "warn"];
    for namespace in ["jobs", "*"] {
        let ran = inject(&format!("{}{job}", map(namespace)), &flags);
        assert_eq!(ran.code, 1, "{}", ran.err);
        assert!(
            ran.out.contains(VOLUME) && ran.err.contains("jobs/worker"),
            "{}",
            ran.err
        );
    }
    let ran = inject(&format!("{}{job}", map("other")), &flags);
    assert_eq!(ran.code, 2);
    assert!(
        ran.err.contains("ServiceAccount jobs/worker is not in the input"),
        "{}",
        ran.err
    );
    let ran = inject(&job, &flags);
    assert_eq!((ran.code, &*ran.out), (2, ""));
    assert!(
        ran.err.contains("the input has no ConfigMap kube-system/map"),
        "{}",
        ran.err
    );
}

#[test]
fn lists_in_lists_and_streams_of_json_are_injected() {
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": "jobs",
        "annotations": {"eks.amazonaws.com/role-arn": ROLE}}});
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "namespace": "jobs"},
        "spec": {"containers": [{"name": "main"}]}});
    let list = |item: &Value| json!({"apiVersion": "v1", "kind": "List", "items": [item]});
    let nested = list(&list(&pod));
    for input in [format!("{account}\n{pod}\n"), format!("{account}\n{nested}")] {
        let ran = inject(&input, &[]);
        assert_eq!(ran.code, 0, "{}", ran.err);
        let values = serde_json::Deserializer::from_str(&ran.out).into_iter::<Value>();
        let values: Vec<Value> = values.map(Result::unwrap).collect();
        assert_eq!(values.len(), 2);
        assert!(values[1].to_string().contains(VOLUME), "{}", ran.out);
    }
}

#[test]
fn each_value_of_a_json_stream_begins_a_line() {
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": "jobs",
        "annotations": {"eks.amazonaws.com/role-arn": ROLE}}});
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "namespace": "jobs"},
        "spec": {"containers": [{"name": "main"}]}});
    for between in ["", "\n"] {
        let ran = inject(&[&account, &pod, &account].map(Value::to_string).join(between), &[]);
        assert_eq!(ran.code, 0, "{}", ran.err);
        let (first, rest) = ran.out.split_once('\n').unwrap();
        assert_eq!(first, account.to_string(), "{}", ran.out);
        assert!(rest.starts_with("{\n"), "{}", ran.out);
        assert!(rest.ends_with(&format!("\n}}\n{account}")), "{}", ran.out);
    }
    // As YAML, kubectl would read only the first one.
    for before in ["---\n", "# a comment\n"] {
        let ran = inject(&format!("{before}{account}\n{pod}\n"), &[]);
        assert_eq!(ran.code, 0, "{}", ran.err);
        assert!(
            ran.out.starts_with(&format!("{before}{account}\n---\n{{\n")),
            "{}",
            ran.out
        );
    }
    let ran = inject(&format!("\u{feff}{pod}\n{account}\n"), &[]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(
        ran.out.starts_with("{\n") && ran.out.ends_with(&format!("\n}}\n{account}\n")),
        "{}",
        ran.out
    );
}

/// The API server leaves out the kind of the items: `kubectl get --raw /api/v1/namespaces/jobs/serviceaccounts`.
#[test]
fn items_of_typed_lists_need_no_kind() {
    let annotations = json!({"eks.amazonaws.com/role-arn": ROLE});
    let accounts = json!({"kind": "ServiceAccountList", "apiVersion": "v1", "metadata": {"resourceVersion": "1"}, "items": [
        {"metadata": {"name": "default", "namespace": "jobs", "annotations": annotations}},
        {"metadata": {"name": "other", "namespace": "jobs"}}]});
    let spec = |account: &str| json!({"serviceAccountName": account, "containers": [{"name": "main"}]});
    let pods = json!({"kind": "PodList", "apiVersion": "v1", "items": [
        {"metadata": {"name": "a", "namespace": "jobs"}, "spec": spec("default")},
        {"metadata": {"name": "b", "namespace": "jobs"}, "spec": spec("other")}]});
    let deployments = json!({"kind": "DeploymentList", "apiVersion": "apps/v1", "items": [
        {"metadata": {"name": "c", "namespace": "jobs"}, "spec": {"template": {"spec": spec("default")}}}]});
    let ran = inject(&format!("{accounts}\n{pods}\n{deployments}\n"), &[]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    for report in [
        "Pod jobs/a: injected",
        "Pod jobs/b: no role",
        "Deployment jobs/c: injected",
    ] {
        assert!(ran.err.contains(report), "{report}: {}", ran.err);
    }
    assert!(!ran.err.contains("not in the input"), "{}", ran.err);
    assert_eq!(ran.out.matches("\"AWS_ROLE_ARN\"").count(), 2, "{}", ran.out);
    // Nothing else is added to the items.
    let values = serde_json::Deserializer::from_str(&ran.out).into_iter::<Value>();
    let values: Vec<Value> = values.map(Result::unwrap).collect();
    assert_eq!(values[0], accounts);
    assert_eq!(values[1]["items"][0].get("kind"), None);
}

#[test]
fn flags_of_the_injection_are_those_of_the_webhook() {
    let ran = inject(
        CRON_JOB,
        &[
            "--role-arn",
            ROLE,
            "--aws-region",
            "auto",
            "--token-expiration",
            "1h",
            "--disable-instance-metadata",
        ],
    );
    for text in ["us-west-2", "expirationSeconds: 3600", "AWS_EC2_METADATA_DISABLED"] {
        assert!(ran.out.contains(text), "{text}: {}{}", ran.out, ran.err);
    }
}

/// Names are text of users; standard error is often a terminal.
#[test]
fn a_name_forges_no_line_and_no_escape_sequence() {
    let name = "x\\n\u{2713} Job jobs/forged: injected\\e[2J\\u202e";
    let named = CRON_JOB.replace("name: nightly", &format!("name: \"{name}\""));
    let absent = named.replace("restartPolicy: Never", &format!("serviceAccountName: \"{name}\""));
    let invalid = named.replace("containers:\n", "containers: none\n          more:\n");
    for (input, more) in [
        (&named, &["--role-arn", ROLE][..]),
        (&absent, &[]),
        (&invalid, &["--role-arn", ROLE]),
    ] {
        let ran = inject(input, more);
        assert_eq!(ran.err.trim_end().lines().count(), 1, "{}", ran.err);
        assert!(!ran.err.contains(['\u{1b}', '\u{202e}']), "{:?}", ran.err);
        assert!(ran.err.contains("forged"), "{}", ran.err);
    }
}

#[test]
fn bad_input_is_reported_with_its_line() {
    for (input, line) in [
        ("a: 1\n---\nb: [\n", "line "),
        ("kind: Pod\n...\nkind: Job\n", "put --- between documents"),
    ] {
        let ran = inject(input, &[]);
        assert_eq!((ran.code, &*ran.out), (2, ""), "{}", ran.err);
        assert!(
            ran.err.contains(line) && ran.err.contains("standard input"),
            "{}",
            ran.err
        );
    }
    let not_a_template = CRON_JOB.replace("containers:\n", "containers: none\n          more:\n");
    let ran = inject(&not_a_template, &["--role-arn", ROLE]);
    assert_eq!(ran.code, 2);
    assert!(ran.err.contains("CronJob jobs/nightly"), "{}", ran.err);
    let ran = finish(
        super::command(&["inject", "--file", "/nonexistent", "--issuer", ISSUER]),
        "",
    );
    assert_eq!(ran.code, 2);
    assert!(ran.err.contains("/nonexistent"), "{}", ran.err);
    let ran = finish(super::command(&["inject", "--file", "-"]), "");
    assert_eq!(ran.code, 2);
    assert!(ran.err.contains("--issuer"), "{}", ran.err);
}
