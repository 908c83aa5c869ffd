//! What is in a pod once it is admitted, and that a token for it is the one that was evaluated.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::PostParams;
use serde_json::{Value, json};

use crate::cluster::{Cluster, ExclusiveCluster, Gate, ISSUER_HOST, Namespace, environment, role_of, trust_policy};
use crate::scenarios::Scenarios;
use crate::wait::{until, until_ok};

const MOUNT: &str = "/var/run/secrets/eks.amazonaws.com/serviceaccount";

pub(crate) fn register(scenarios: &mut Scenarios) {
    scenarios.parallel(a_token_for_the_volume_carries_what_was_judged);
    scenarios.parallel(kubectl_debug_gives_identity_to_the_new_container_only);
    scenarios.parallel(a_dry_run_shows_what_would_be_created);
    scenarios.parallel(a_pod_that_eks_injected_stays_as_it_is);
    scenarios.parallel(every_container_has_identity_but_those_left_out);
    scenarios.parallel(a_windows_pod_reads_its_token_by_a_windows_path);
    scenarios.parallel(a_pod_created_right_after_its_annotation_is_served);
    scenarios.parallel(each_pod_that_sdks_are_run_in_is_accepted);
    scenarios.serial(a_pod_as_large_as_etcd_takes_is_debugged);
}

/// The pods of `tests/sdk/`: what rolegate adds to them is valid, whatever they set themselves. In mode `warn` none of them is refused, so
/// that those with conflicts are accepted, too.
fn each_pod_that_sdks_are_run_in_is_accepted(cluster: &Cluster) {
    cluster.release();
    let jobs = cluster.namespace("identities", Gate::Warn);
    let rows: Vec<Value> = serde_json::from_str(include_str!("../sdk/rows.json")).unwrap();
    let mut accounts: Vec<&str> = rows.iter().map(|row| row["serviceAccount"].as_str().unwrap()).collect();
    accounts.sort_unstable();
    accounts.dedup();
    for account in accounts {
        jobs.kubectl(&["create", "serviceaccount", account]).ok();
        if account != "none" {
            jobs.annotate(account, &jobs.role_arn(account));
        }
    }
    let pods: Api<Pod> = Api::namespaced(cluster.client(), &jobs.name);
    let dry_run = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    let mut injected = 0;
    for row in &rows {
        let mut spec = row["pod"].clone();
        spec["serviceAccountName"] = row["serviceAccount"].clone();
        for (list, prefix) in [("initContainers", "init"), ("containers", "main")] {
            for (index, container) in spec[list].as_array_mut().into_iter().flatten().enumerate() {
                if container["name"].is_null() {
                    container["name"] = json!(format!("{prefix}-{index}"));
                }
                container["image"] = json!("busybox");
            }
        }
        let pod = json!({"metadata": {"generateName": "row-", "annotations": row["annotations"]}, "spec": spec});
        let pod: Pod = serde_json::from_value(pod).unwrap();
        let created = cluster.run(pods.create(&dry_run, &pod));
        let created = created.unwrap_or_else(|error| panic!("{}: {error}", row["name"]));
        injected += usize::from(role_of(&serde_json::to_value(created).unwrap()).is_some());
    }
    assert!(injected > rows.len() / 2, "{injected} of {}", rows.len());
}

fn a_token_for_the_volume_carries_what_was_judged(cluster: &Cluster) {
    let release = cluster.release();
    for (audience, seconds) in [("sts.amazonaws.com", 86_400), ("sts.example.com", 3600)] {
        let jobs = cluster.namespace("token", Gate::Enforce);
        let role = jobs.role_arn("reports");
        let mut policy = trust_policy(&jobs.name, "reports");
        policy["Statement"][0]["Condition"]["StringEquals"][format!("{ISSUER_HOST}:aud")] = json!(audience);
        release.put_role(&role, &policy);
        jobs.kubectl(&["create", "serviceaccount", "reports"]).ok();
        let annotations = [
            format!("eks.amazonaws.com/role-arn={role}"),
            format!("eks.amazonaws.com/audience={audience}"),
            format!("eks.amazonaws.com/token-expiration={seconds}"),
        ];
        let annotate = ["annotate", "serviceaccount", "reports"];
        jobs.kubectl(&[&annotate[..], &annotations.each_ref().map(String::as_str)].concat())
            .ok();

        let pod = jobs.create_pod("report", "reports", &[]).json();
        let token = &volume(&pod)["projected"]["sources"][0]["serviceAccountToken"];
        assert_eq!(
            token,
            &json!({"audience": audience, "expirationSeconds": seconds, "path": "token"})
        );

        // As the kubelet asks for it.
        let duration = format!("--duration={seconds}s");
        let output = jobs.kubectl(&[
            "create",
            "token",
            "reports",
            "--bound-object-kind=Pod",
            "--bound-object-name=report",
            &format!("--audience={audience}"),
            &duration,
        ]);
        let claims = claims(&output.ok());
        assert_eq!(claims["iss"], format!("https://{ISSUER_HOST}"));
        assert_eq!(claims["sub"], format!("system:serviceaccount:{}:reports", jobs.name));
        assert_eq!(claims["aud"], json!([audience]));
        assert_eq!(claims["kubernetes.io"]["pod"]["uid"], pod["metadata"]["uid"]);
        let lifetime = claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap();
        assert_eq!(lifetime, seconds);

        let judged = until("the review", || {
            let is_of_pod = |review: &Value| review["pod"] == "report";
            release.reviews(&jobs.name).into_iter().find(is_of_pod)
        });
        assert_eq!(judged["verdict"], "trusted");
        assert_eq!(judged["audience"], claims["aud"][0]);
        assert_eq!(judged["role"], role);
        let subject = format!(
            "system:serviceaccount:{}:{}",
            judged["namespace"].as_str().unwrap(),
            judged["serviceAccount"].as_str().unwrap()
        );
        assert_eq!(claims["sub"], subject);
    }
}

/// What a token says of itself.
fn claims(token: &str) -> Value {
    let payload = token.trim().split('.').nth(1).expect("a JWT");
    serde_json::from_slice(&BASE64.decode(payload).unwrap()).unwrap()
}

fn kubectl_debug_gives_identity_to_the_new_container_only(cluster: &Cluster) {
    let release = cluster.release();
    let jobs = cluster.namespace("debug", Gate::None);
    let role = jobs.trusted_role(&release, "reports", "default");
    jobs.annotate("default", &role);
    // A container from before the namespace was gated.
    let label = |value| {
        jobs.kubectl(&["label", "namespace", &jobs.name, value, "--overwrite"])
            .ok()
    };
    label("rolegate.io/gate=enforce");
    until("an injected pod", || {
        let output = jobs.create_pod("report", "default", &[]);
        if output.succeeded() && role_of(&output.json()).is_some() {
            return Some(());
        }
        jobs.kubectl(&["delete", "pod", "report", "--ignore-not-found"]).ok();
        None
    });
    label("rolegate.io/gate-");
    let first = until("a container without identity", || {
        let name = format!("before-{}", containers_added(&jobs).len());
        debug(&jobs, "report", &name);
        let added = containers_added(&jobs);
        let added = added.iter().find(|container| container["name"] == name.as_str())?;
        added["env"].is_null().then_some(name)
    });
    label("rolegate.io/gate=enforce");

    let second = until("a container with identity", || {
        let name = format!("after-{}", containers_added(&jobs).len());
        debug(&jobs, "report", &name);
        let added = containers_added(&jobs);
        let added = added.iter().find(|container| container["name"] == name.as_str())?;
        (!added["env"].is_null()).then(|| added.clone())
    });

    assert_identity(&second, &role);
    let added = containers_added(&jobs);
    let first = added
        .iter()
        .find(|container| container["name"] == first.as_str())
        .unwrap();
    assert!(first["env"].is_null() && first["volumeMounts"].is_null(), "{first}");
}

#[track_caller]
fn debug(namespace: &Namespace, pod: &str, container: &str) {
    let container = format!("--container={container}");
    namespace
        .kubectl(&[
            "debug",
            pod,
            "--image=example",
            &container,
            "--attach=false",
            "--profile=general",
        ])
        .ok();
}

fn containers_added(namespace: &Namespace) -> Vec<Value> {
    let output = namespace.kubectl(&["get", "pods", "-o=jsonpath={.items[0].spec.ephemeralContainers}"]);
    serde_json::from_str(&output.ok()).unwrap_or_default()
}

/// Go writes `<` as six bytes, and the review of an update holds the pod twice: 14 MB.
fn a_pod_as_large_as_etcd_takes_is_debugged(cluster: &ExclusiveCluster<'_>) {
    // A program without optimizations needs most of the usual two seconds for 14 MB. On a busy machine it might not even do with five.
    let release = cluster.install(json!({"timeoutSeconds": 5}));
    let jobs = cluster.namespace("large", Gate::Enforce);
    let role = jobs.trusted_role(&release, "reports", "default");
    jobs.annotate("default", &role);
    // kubectl would write those six bytes itself, and the API server takes 3 MB.
    let pod: Pod = serde_json::from_value(json!({
        "metadata": {"name": "report"},
        "spec": {"containers": [{
            "name": "main",
            "image": "example",
            "env": [{"name": "LARGE", "value": "<".repeat(1_200_000)}],
        }]},
    }))
    .unwrap();
    let pods: Api<Pod> = Api::namespaced(cluster.client(), &jobs.name);
    let created = until_ok("the creation", || {
        cluster.run(pods.create(&PostParams::default(), &pod))
    });
    let created = serde_json::to_value(created).unwrap();
    assert_eq!(role_of(&created).as_ref(), Some(&role));

    let added = until("a container with identity", || {
        let name = format!("shell-{}", containers_added(&jobs).len());
        debug(&jobs, "report", &name);
        let added = containers_added(&jobs).into_iter();
        added.rev().find(|container| !container["env"].is_null())
    });
    assert_identity(&added, &role);
}

fn a_dry_run_shows_what_would_be_created(cluster: &Cluster) {
    let release = cluster.release();
    let jobs = cluster.namespace("dry-run", Gate::Enforce);
    let role = jobs.trusted_role(&release, "reports", "default");
    jobs.annotate("default", &role);

    let tried = jobs.create_pod("report", "default", &["--dry-run=server"]).json();
    let created = jobs.create_pod("report", "default", &[]).json();

    let what_counts = |pod: &Value| [&pod["spec"]["containers"][0]["env"], volume(pod)].map(Value::clone);
    assert_eq!(role_of(&tried), Some(role));
    assert_eq!(what_counts(&tried), what_counts(&created));
    let reviews = until("both reviews", || {
        let mut reviews = release.reviews(&jobs.name);
        reviews.retain(|review| review["pod"] == "report");
        (reviews.len() == 2).then_some(reviews)
    });
    let dry = |dry: bool| reviews.iter().filter(|review| review["dryRun"] == dry).count();
    assert_eq!((dry(true), dry(false)), (1, 1), "{reviews:?}");
}

fn a_pod_that_eks_injected_stays_as_it_is(cluster: &Cluster) {
    let release = cluster.release();
    let jobs = cluster.namespace("eks", Gate::Enforce);
    let role = jobs.trusted_role(&release, "reports", "default");
    jobs.annotate("default", &role);
    let pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "report"},
        "spec": {
            "automountServiceAccountToken": false,
            "volumes": [{"name": "aws-iam-token", "projected": {"defaultMode": 420, "sources": [{"serviceAccountToken": {
                "audience": "sts.amazonaws.com", "expirationSeconds": 86400, "path": "token",
            }}]}}],
            "containers": [{
                "name": "main",
                "image": "example",
                "env": [
                    {"name": "AWS_STS_REGIONAL_ENDPOINTS", "value": "regional"},
                    {"name": "AWS_DEFAULT_REGION", "value": "us-west-2"},
                    {"name": "AWS_REGION", "value": "us-west-2"},
                    {"name": "AWS_ROLE_ARN", "value": role},
                    {"name": "AWS_WEB_IDENTITY_TOKEN_FILE", "value": format!("{MOUNT}/token")},
                ],
                "volumeMounts": [{"name": "aws-iam-token", "readOnly": true, "mountPath": MOUNT}],
            }],
        },
    });

    let created = jobs.create(&pod, &["-o", "json"]).json();

    for field in ["volumes", "containers"] {
        let (sent, stored) = (&pod["spec"][field][0], &created["spec"][field][0]);
        for (key, value) in sent.as_object().unwrap() {
            assert_eq!(&stored[key], value, "{field}[0].{key}");
        }
    }
    assert_eq!(created["spec"]["volumes"].as_array().map(Vec::len), Some(1));
    // It was evaluated all the same, and the API server saw no change.
    let review = until("the review", || {
        let is_of_pod = |review: &Value| review["pod"] == "report";
        release.reviews(&jobs.name).into_iter().find(is_of_pod)
    });
    assert_eq!(review["verdict"], "trusted");
    let noted = until("the call in the API server's audit log", || {
        let of_pod = |event: &Value| {
            event["objectRef"]["namespace"] == jobs.name.as_str()
                && event["objectRef"]["resource"] == "pods"
                && event["verb"] == "create"
        };
        let event = cluster.audit_events().into_iter().find(of_pod)?;
        let annotations = event["annotations"].as_object()?.clone();
        annotations.into_iter().find_map(|(key, value)| {
            key.starts_with("mutation.webhook.admission.k8s.io/")
                .then(|| value.as_str().map(str::to_owned))?
        })
    });
    assert!(
        noted.contains(r#""webhook":"enforce.rolegate.io""#) && noted.contains(r#""mutated":false"#),
        "{noted}"
    );
}

fn every_container_has_identity_but_those_left_out(cluster: &Cluster) {
    let release = cluster.release();
    let jobs = cluster.namespace("containers", Gate::Enforce);
    let role = jobs.trusted_role(&release, "reports", "default");
    jobs.annotate("default", &role);
    let pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": "report",
            "annotations": {"eks.amazonaws.com/skip-containers": "proxy, metrics"},
        },
        "spec": {
            "initContainers": [
                {"name": "prepare", "image": "example"},
                {"name": "sidecar", "image": "example", "restartPolicy": "Always"},
                {"name": "proxy", "image": "example", "restartPolicy": "Always"},
            ],
            "containers": [{"name": "main", "image": "example"}, {"name": "metrics", "image": "example"}],
        },
    });

    let created = jobs.create(&pod, &["-o", "json"]).json();

    for (path, is_left_out) in [
        ("/spec/initContainers/0", false),
        ("/spec/initContainers/1", false),
        ("/spec/initContainers/2", true),
        ("/spec/containers/0", false),
        ("/spec/containers/1", true),
    ] {
        let container = created.pointer(path).unwrap();
        if is_left_out {
            assert!(container["env"].is_null(), "{container}");
        } else {
            assert_identity(container, &role);
        }
    }
    assert_eq!(created["spec"]["initContainers"][1]["restartPolicy"], "Always");
}

fn a_windows_pod_reads_its_token_by_a_windows_path(cluster: &Cluster) {
    let release = cluster.release();
    let jobs = cluster.namespace("windows", Gate::Enforce);
    let role = jobs.trusted_role(&release, "reports", "default");
    jobs.annotate("default", &role);
    let cases = [
        ("by-os", json!({"os": {"name": "windows"}})),
        ("by-selector", json!({"nodeSelector": {"kubernetes.io/os": "windows"}})),
    ];
    for (name, mut spec) in cases {
        spec["containers"] = json!([{"name": "main", "image": "example"}]);
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec});
        let created = jobs.create(&pod, &["-o", "json"]).json();
        assert_eq!(
            environment(&created, "AWS_WEB_IDENTITY_TOKEN_FILE").as_deref(),
            Some(r"C:\var\run\secrets\eks.amazonaws.com\serviceaccount\token"),
            "{name}"
        );
    }
}

fn a_pod_created_right_after_its_annotation_is_served(cluster: &Cluster) {
    let release = cluster.release();
    let jobs = cluster.namespace("behind", Gate::Enforce);
    let role = jobs.trusted_role(&release, "reports", "late");
    // One request after the other, with nothing in between.
    let both = json!({"apiVersion": "v1", "kind": "List", "items": [
        {
            "apiVersion": "v1", "kind": "ServiceAccount",
            "metadata": {"name": "late", "annotations": {"eks.amazonaws.com/role-arn": role}},
        },
        {
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "report"},
            "spec": {"serviceAccountName": "late", "containers": [{"name": "main", "image": "example"}]},
        },
    ]});

    jobs.create(&both, &[]).ok();

    assert_eq!(role_of(&jobs.json(&["get", "pod", "report"])), Some(role));
}

fn volume(pod: &Value) -> &Value {
    let first = &pod["spec"]["volumes"][0];
    assert_eq!(first["name"], "aws-iam-token", "{}", pod["spec"]["volumes"]);
    first
}

#[track_caller]
fn assert_identity(container: &Value, role: &str) {
    let expected = [
        json!({"name": "AWS_ROLE_ARN", "value": role}),
        json!({"name": "AWS_WEB_IDENTITY_TOKEN_FILE", "value": format!("{MOUNT}/token")}),
    ];
    assert_eq!(container["env"], json!(expected), "{container}");
    let mounts = container["volumeMounts"].as_array().cloned().unwrap_or_default();
    let mount = json!({"name": "aws-iam-token", "readOnly": true, "mountPath": MOUNT});
    assert!(mounts.contains(&mount), "{container}");
}
