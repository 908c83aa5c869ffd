use serde_json::{Value as Json, json};

use super::*;
use crate::pod::concerns::Concerns;
use crate::trust::{Audience, RoleArn};

const ROLE: &str = "arn:aws:iam::111122223333:role/s3-reader";
const MOUNT_PATH: &str = "/var/run/secrets/eks.amazonaws.com/serviceaccount";
const TOKEN_FILE: &str = "/var/run/secrets/eks.amazonaws.com/serviceaccount/token";

/// Everything an injection takes, with the defaults of the flags.
#[derive(Clone)]
struct Webhook {
    rules: AnnotationRules,
    request: WebIdentityRequest,
    settings: WebIdentitySettings,
    session_name: SetSessionName,
}

fn webhook() -> Webhook {
    Webhook {
        rules: AnnotationRules {
            prefix: "eks.amazonaws.com/".to_owned(),
            compose: None,
        },
        request: WebIdentityRequest {
            role: RoleArn::parse(ROLE).unwrap(),
            audience: Audience::new("sts.amazonaws.com"),
            expiration_seconds: 86_400,
            regional_sts: false,
        },
        settings: WebIdentitySettings {
            mount_path: MOUNT_PATH.to_owned(),
            region: None,
            disable_instance_metadata: false,
            role_session_name: false,
            api_audience: None,
        },
        session_name: SetSessionName::No,
    }
}

impl Webhook {
    fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    fn with_everything(self) -> Self {
        self.with(|webhook| {
            webhook.request.regional_sts = true;
            webhook.settings.region = Some("us-west-2".to_owned());
        })
    }

    fn answer(&self, pod: &Json) -> Result<(Json, Vec<String>), Box<Conflict>> {
        let text = pod.to_string();
        let view: PodView<'_> = serde_json::from_str(&text).unwrap();
        let identities = EffectiveIdentities::of_pod(&self.rules, &view, &self.settings, &pod_identity_settings());
        let injection = web_identity(
            &self.rules,
            &view,
            &identities,
            &self.request,
            &self.settings,
            self.session_name,
        );
        injection.map(|injection| read(injection, &self.concerns(&identities)))
    }

    fn concerns(&self, identities: &EffectiveIdentities<'_>) -> Vec<Warning> {
        Concerns::of(identities, Some(&self.request.role), &self.settings).warnings
    }

    fn patch(&self, pod: &Json) -> Json {
        self.answer(pod).unwrap().0
    }

    /// The pod after the patch.
    fn inject(&self, pod: &Json) -> Json {
        apply(pod, &self.patch(pod))
    }

    fn warnings(&self, pod: &Json) -> Vec<String> {
        self.answer(pod).unwrap().1
    }

    fn conflict(&self, pod: &Json) -> Conflict {
        *self.answer(pod).unwrap_err()
    }

    fn ephemeral(&self, old: &Json, new: &Json) -> (Json, Vec<String>) {
        let (old, new) = (old.to_string(), new.to_string());
        let old: PodView<'_> = serde_json::from_str(&old).unwrap();
        let new: PodView<'_> = serde_json::from_str(&new).unwrap();
        let identities =
            EffectiveIdentities::of_new_ephemeral(&self.rules, &old, &new, &self.settings, &pod_identity_settings());
        let injection = ephemeral_web_identity(&self.rules, &new, &identities, &self.request, &self.settings);
        read(injection, &self.concerns(&identities))
    }
}

fn read(injection: Injection, concerns: &[Warning]) -> (Json, Vec<String>) {
    let patch: Json = serde_json::from_slice(injection.patch.as_json()).unwrap();
    let operations = patch.as_array().unwrap();
    assert_eq!(operations.len(), injection.patch.len());
    assert_eq!(operations.is_empty(), injection.patch.is_empty());
    assert!(operations.iter().all(|operation| operation["op"] == "add"));
    (
        patch,
        injection
            .warnings
            .iter()
            .chain(concerns)
            .map(|warning| warning.as_str().to_owned())
            .collect(),
    )
}

fn apply(pod: &Json, patch: &Json) -> Json {
    let mut pod = pod.clone();
    let patch: json_patch::Patch = serde_json::from_value(patch.clone()).unwrap();
    json_patch::patch(&mut pod, &patch).unwrap();
    pod
}

/// A pod of one container with this environment.
fn pod_with_env(env: Json) -> Json {
    json!({"metadata": {"name": "job-1"}, "spec": {"containers": [{"name": "app", "env": env}]}})
}

fn env(name: &str, value: &str) -> Json {
    json!({"name": name, "value": value})
}

fn env_names(container: &Json) -> Vec<&str> {
    container["env"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|variable| variable["name"].as_str().unwrap())
        .collect()
}

fn mount() -> Json {
    json!({"name": "aws-iam-token", "readOnly": true, "mountPath": MOUNT_PATH})
}

fn token_volume(audience: &str) -> Json {
    json!({
        "name": "aws-iam-token",
        "projected": {"sources": [
            {"serviceAccountToken": {"audience": audience, "expirationSeconds": 86400, "path": "token"}},
        ]},
    })
}

#[test]
fn the_smallest_pod_gets_its_volume_its_variables_and_its_mount_with_their_parents() {
    let patch = webhook().patch(&json!({"spec": {"containers": [{"name": "app"}]}}));
    assert_eq!(
        patch,
        json!([
            {"op": "add", "path": "/spec/volumes", "value": [token_volume("sts.amazonaws.com")]},
            {"op": "add", "path": "/spec/containers/0/env", "value": [
                env("AWS_ROLE_ARN", ROLE), env("AWS_WEB_IDENTITY_TOKEN_FILE", TOKEN_FILE),
            ]},
            {"op": "add", "path": "/spec/containers/0/volumeMounts", "value": [mount()]},
        ])
    );
}

#[test]
fn the_bytes_of_a_patch_keep_the_order_of_fields_that_the_reference_webhook_writes() {
    let pod = json!({"spec": {"containers": [{"name": "app", "env": [], "volumeMounts": []}], "volumes": []}});
    let text = pod.to_string();
    let view: PodView<'_> = serde_json::from_str(&text).unwrap();
    let webhook = webhook();
    let identities = EffectiveIdentities::of_pod(&webhook.rules, &view, &webhook.settings, &pod_identity_settings());
    let injection = web_identity(
        &webhook.rules,
        &view,
        &identities,
        &webhook.request,
        &webhook.settings,
        SetSessionName::No,
    )
    .unwrap();
    assert_eq!(
        std::str::from_utf8(injection.patch.as_json()).unwrap(),
        concat!(
            r#"[{"op":"add","path":"/spec/volumes/0","value":{"name":"aws-iam-token","projected":{"sources":"#,
            r#"[{"serviceAccountToken":{"audience":"sts.amazonaws.com","expirationSeconds":86400,"path":"token"}}]}}},"#,
            r#"{"op":"add","path":"/spec/containers/0/env/-","value":{"name":"AWS_ROLE_ARN","#,
            r#""value":"arn:aws:iam::111122223333:role/s3-reader"}},"#,
            r#"{"op":"add","path":"/spec/containers/0/env/-","value":{"name":"AWS_WEB_IDENTITY_TOKEN_FILE","#,
            r#""value":"/var/run/secrets/eks.amazonaws.com/serviceaccount/token"}},"#,
            r#"{"op":"add","path":"/spec/containers/0/volumeMounts/-","value":{"name":"aws-iam-token","readOnly":true,"#,
            r#""mountPath":"/var/run/secrets/eks.amazonaws.com/serviceaccount"}}]"#,
        )
    );
}

#[test]
fn the_volume_comes_first_and_what_the_pod_has_keeps_its_order() {
    let pod = json!({"spec": {
        "containers": [{
            "name": "app", "image": "x", "newField": {"kept": [1, null]},
            "env": [env("B", "2"), env("A", "1")],
            "volumeMounts": [{"name": "data", "mountPath": "/data"}],
        }],
        "volumes": [{"name": "data", "emptyDir": {}}, {"name": "more", "unheardOf": {}}],
    }});
    let injected = webhook().with_everything().inject(&pod);
    assert_eq!(
        injected,
        json!({"spec": {
            "containers": [{
                "name": "app", "image": "x", "newField": {"kept": [1, null]},
                "env": [
                    env("B", "2"), env("A", "1"),
                    env("AWS_STS_REGIONAL_ENDPOINTS", "regional"),
                    env("AWS_DEFAULT_REGION", "us-west-2"), env("AWS_REGION", "us-west-2"),
                    env("AWS_ROLE_ARN", ROLE), env("AWS_WEB_IDENTITY_TOKEN_FILE", TOKEN_FILE),
                ],
                "volumeMounts": [{"name": "data", "mountPath": "/data"}, mount()],
            }],
            "volumes": [token_volume("sts.amazonaws.com"), {"name": "data", "emptyDir": {}}, {"name": "more", "unheardOf": {}}],
        }})
    );
}

#[test]
fn init_containers_and_sidecars_are_served_too() {
    let pod = json!({"spec": {
        "initContainers": [{"name": "init"}, {"name": "sidecar", "restartPolicy": "Always"}],
        "containers": [{"name": "app"}, {"name": "second"}],
    }});
    let injected = webhook().inject(&pod);
    for path in [
        "/spec/initContainers/0",
        "/spec/initContainers/1",
        "/spec/containers/0",
        "/spec/containers/1",
    ] {
        let container = injected.pointer(path).unwrap();
        assert_eq!(
            env_names(container),
            ["AWS_ROLE_ARN", "AWS_WEB_IDENTITY_TOKEN_FILE"],
            "{path}"
        );
        assert_eq!(container["volumeMounts"], json!([mount()]), "{path}");
    }
    assert_eq!(injected["spec"]["initContainers"][1]["restartPolicy"], "Always");
}

#[test]
fn the_token_has_the_requested_audience_and_lifetime() {
    let webhook = webhook().with(|webhook| {
        webhook.request.audience = Audience::new("sts.amazonaws.com.cn");
        webhook.request.expiration_seconds = 3600;
        webhook.settings.mount_path = "/secrets/aws/".to_owned();
    });
    let injected = webhook.inject(&json!({"spec": {"containers": [{"name": "app"}]}}));
    let token = &injected["spec"]["volumes"][0]["projected"]["sources"][0]["serviceAccountToken"];
    assert_eq!(
        *token,
        json!({"audience": "sts.amazonaws.com.cn", "expirationSeconds": 3600, "path": "token"})
    );
    let container = &injected["spec"]["containers"][0];
    assert_eq!(
        container["env"][1],
        env("AWS_WEB_IDENTITY_TOKEN_FILE", "/secrets/aws/token")
    );
    assert_eq!(container["volumeMounts"][0]["mountPath"], "/secrets/aws/");
}

#[test]
fn null_and_empty_parents_are_filled() {
    for (parent, path) in [
        (json!(null), "/spec/containers/0/env"),
        (json!([]), "/spec/containers/0/env/-"),
    ] {
        let pod = json!({"spec": {
            "initContainers": parent, "volumes": parent,
            "containers": [{"name": "app", "env": parent, "volumeMounts": parent}],
        }});
        assert_eq!(webhook().patch(&pod)[1]["path"], path);
        let injected = webhook().inject(&pod);
        assert_eq!(injected["spec"]["volumes"], json!([token_volume("sts.amazonaws.com")]));
        assert_eq!(injected["spec"]["containers"][0]["volumeMounts"], json!([mount()]));
        assert_eq!(
            env_names(&injected["spec"]["containers"][0]),
            ["AWS_ROLE_ARN", "AWS_WEB_IDENTITY_TOKEN_FILE"]
        );
        assert_eq!(injected["spec"]["initContainers"], parent);
    }
}

#[test]
fn what_the_author_set_wins_group_by_group() {
    const STS: &str = "AWS_STS_REGIONAL_ENDPOINTS";
    const DEFAULT: &str = "AWS_DEFAULT_REGION";
    const FILE: &str = "AWS_WEB_IDENTITY_TOKEN_FILE";
    for (set, added) in [
        (vec![], vec![STS, DEFAULT, "AWS_REGION", "AWS_ROLE_ARN", FILE]),
        (vec![STS], vec![DEFAULT, "AWS_REGION", "AWS_ROLE_ARN", FILE]),
        (vec![DEFAULT], vec![STS, "AWS_ROLE_ARN", FILE]),
        (vec!["AWS_REGION"], vec![STS, "AWS_ROLE_ARN", FILE]),
        (vec!["AWS_ROLE_ARN"], vec![STS, DEFAULT, "AWS_REGION"]),
        (vec![FILE], vec![STS, DEFAULT, "AWS_REGION"]),
        (vec!["AWS_ROLE_ARN", "AWS_REGION"], vec![STS]),
        (vec![DEFAULT, STS], vec!["AWS_ROLE_ARN", FILE]),
        (
            vec!["aws_region", "AWS_REGIONS", "X_AWS_ROLE_ARN"],
            vec![STS, DEFAULT, "AWS_REGION", "AWS_ROLE_ARN", FILE],
        ),
    ] {
        let own: Vec<Json> = set.iter().map(|name| env(name, "mine")).collect();
        let injected = webhook().with_everything().inject(&pod_with_env(json!(own)));
        let container = &injected["spec"]["containers"][0];
        let expected: Vec<&str> = set.iter().chain(&added).copied().collect();
        assert_eq!(env_names(container), expected);
        assert_eq!(container["volumeMounts"], json!([mount()]), "{set:?}");
    }
}

#[test]
fn a_variable_without_a_value_or_from_elsewhere_is_set_all_the_same() {
    for variable in [
        json!({"name": "AWS_ROLE_ARN"}),
        json!({"name": "AWS_ROLE_ARN", "value": null}),
        json!({"name": "AWS_ROLE_ARN", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}),
    ] {
        let injected = webhook().inject(&pod_with_env(json!([variable])));
        assert_eq!(env_names(&injected["spec"]["containers"][0]), ["AWS_ROLE_ARN"]);
    }
}

#[test]
fn a_container_with_all_three_groups_is_left_alone_but_the_pod_has_the_volume() {
    let pod = pod_with_env(json!([
        env("AWS_WEB_IDENTITY_TOKEN_FILE", "/own"),
        env("AWS_REGION", "eu-west-1"),
        env("AWS_STS_REGIONAL_ENDPOINTS", "legacy"),
    ]));
    let volume = json!({"op": "add", "path": "/spec/volumes", "value": [token_volume("sts.amazonaws.com")]});
    let webhook = webhook().with_everything();
    assert_eq!(webhook.patch(&pod), json!([volume]));
    // What keeps the node's role away is added all the same.
    let disabling = webhook.with(|webhook| webhook.settings.disable_instance_metadata = true);
    let variable = json!({
        "op": "add", "path": "/spec/containers/0/env/-", "value": env("AWS_EC2_METADATA_DISABLED", "true"),
    });
    assert_eq!(disabling.patch(&pod), json!([volume, variable]));
}

#[test]
fn a_container_that_copies_all_variables_still_gets_the_mount_that_its_token_file_needs() {
    for file in [TOKEN_FILE, "/run/secrets/eks.amazonaws.com/serviceaccount/token"] {
        let pod = pod_with_env(json!([
            env("AWS_ROLE_ARN", ROLE),
            env("AWS_WEB_IDENTITY_TOKEN_FILE", file),
            env("AWS_REGION", "eu-west-1"),
            env("AWS_DEFAULT_REGION", "eu-west-1"),
            env("AWS_STS_REGIONAL_ENDPOINTS", "regional"),
        ]));
        let injected = webhook().with_everything().inject(&pod);
        let container = &injected["spec"]["containers"][0];
        assert_eq!(container["env"], pod["spec"]["containers"][0]["env"]);
        assert_eq!(container["volumeMounts"], json!([mount()]), "{file}");
        assert_eq!(webhook().warnings(&pod), [""; 0]);
        assert_eq!(webhook().with_everything().patch(&injected), json!([]));
    }
}

#[test]
fn a_region_of_another_partition_than_the_roles_is_not_injected() {
    let in_china = RoleArn::parse("arn:aws-cn:iam::111122223333:role/s3-reader").unwrap();
    let webhook = |region: &str| {
        let region = region.to_owned();
        webhook().with(|webhook| {
            webhook.request.role = in_china.clone();
            webhook.settings.region = Some(region);
        })
    };
    let names = |webhook: &Webhook, pod: &Json| {
        let injected = webhook.inject(pod);
        env_names(&injected["spec"]["containers"][0]).join(" ")
    };
    let plain = json!({"spec": {"containers": [{"name": "app"}]}});
    let identity = "AWS_ROLE_ARN AWS_WEB_IDENTITY_TOKEN_FILE";
    assert_eq!(names(&webhook("us-west-2"), &plain), identity);
    assert_eq!(
        names(&webhook("cn-north-1"), &plain),
        format!("AWS_DEFAULT_REGION AWS_REGION {identity}")
    );
    // The role of a container of its own decides for that container.
    let own = pod_with_env(json!([
        env("AWS_ROLE_ARN", ROLE),
        env("AWS_WEB_IDENTITY_TOKEN_FILE", TOKEN_FILE)
    ]));
    assert_eq!(
        names(&webhook("us-west-2"), &own),
        format!("{identity} AWS_DEFAULT_REGION AWS_REGION")
    );
    assert_eq!(names(&webhook("cn-north-1"), &own), identity);
}

#[test]
fn a_mount_of_the_volume_is_not_doubled() {
    let pod = json!({"spec": {"containers": [{
        "name": "app", "volumeMounts": [{"name": "aws-iam-token", "mountPath": MOUNT_PATH}],
    }]}});
    let injected = webhook().inject(&pod);
    let container = &injected["spec"]["containers"][0];
    assert_eq!(container["volumeMounts"], pod["spec"]["containers"][0]["volumeMounts"]);
    assert_eq!(env_names(container).len(), 2);
    assert_eq!(webhook().warnings(&pod), [""; 0]);
}

#[test]
fn skip_and_include_choose_containers_and_skip_wins() {
    let injected_names = |annotations: Json| -> Vec<String> {
        let pod = json!({
            "metadata": {"annotations": annotations},
            "spec": {
                "initContainers": [{"name": "init"}],
                "containers": [{"name": "app"}, {"name": "proxy"}],
            },
        });
        let injected = webhook().inject(&pod);
        assert_eq!(
            injected["spec"]["volumes"].as_array().unwrap().len(),
            1,
            "the volume comes whatever is skipped"
        );
        let lists = ["initContainers", "containers"].map(|list| injected["spec"][list].as_array().unwrap().clone());
        let all = lists
            .into_iter()
            .flatten()
            .filter(|container| container.get("env").is_some());
        all.map(|container| container["name"].as_str().unwrap().to_owned())
            .collect()
    };
    let skip = |value: &str| json!({"eks.amazonaws.com/skip-containers": value});
    let include = |value: &str| json!({"eks.amazonaws.com/include-containers": value});
    for (annotations, names) in [
        (json!({}), vec!["init", "app", "proxy"]),
        (skip("proxy"), vec!["init", "app"]),
        (skip(" init ,\tproxy,"), vec!["app"]),
        (skip("\"init\",\"proxy\"\n"), vec!["app"]),
        (skip("init,app,proxy"), vec![]),
        (skip("pro"), vec!["init", "app", "proxy"]),
        (skip(""), vec!["init", "app", "proxy"]),
        (include("app"), vec!["app"]),
        (include(" app , init "), vec!["init", "app"]),
        (include(" ,"), vec!["init", "app", "proxy"]),
        (include("other"), vec![]),
        (
            json!({"eks.amazonaws.com/include-containers": "app,proxy", "eks.amazonaws.com/skip-containers": "proxy"}),
            vec!["app"],
        ),
        (
            json!({"example.com/skip-containers": "app"}),
            vec!["init", "app", "proxy"],
        ),
    ] {
        assert_eq!(injected_names(annotations.clone()), names, "{annotations}");
    }
}

#[test]
fn another_prefix_has_its_own_annotations() {
    let webhook = webhook().with(|webhook| webhook.rules.prefix = "example.com/".to_owned());
    let pod = json!({
        "metadata": {"annotations": {"example.com/skip-containers": "app", "eks.amazonaws.com/include-containers": "none"}},
        "spec": {"containers": [{"name": "app"}, {"name": "other"}]},
    });
    let injected = webhook.inject(&pod);
    assert!(injected["spec"]["containers"][0].get("env").is_none());
    assert!(injected["spec"]["containers"][1].get("env").is_some());
}

#[test]
fn an_included_name_that_the_pod_lacks_is_warned_about() {
    for (include, warning) in [
        ("app,init,debug", None),
        (
            "ap",
            Some(r#"eks.amazonaws.com/include-containers names "ap", but the pod has no such container"#),
        ),
        (
            "b\u{7}b,app,cc,dd",
            Some(
                r#"eks.amazonaws.com/include-containers names "b\u{7}b" and 2 more, but the pod has no such container"#,
            ),
        ),
    ] {
        let pod = json!({
            "metadata": {"annotations": {"eks.amazonaws.com/include-containers": include}},
            "spec": {
                "initContainers": [{"name": "init"}], "containers": [{"name": "app"}],
                "ephemeralContainers": [{"name": "debug"}],
            },
        });
        assert_eq!(webhook().warnings(&pod), Vec::from_iter(warning));
    }
}

#[test]
fn a_skip_list_that_is_not_a_list_of_names_is_warned_about() {
    let pod = |skip: &str| {
        json!({
            "metadata": {"annotations": {"eks.amazonaws.com/skip-containers": skip}},
            "spec": {"containers": [{"name": "app"}]},
        })
    };
    for skip in ["app;proxy", "[\"app\"]", "app proxy"] {
        let warnings = webhook().warnings(&pod(skip));
        assert_eq!(warnings.len(), 1, "{skip}");
        assert!(
            warnings[0].contains("which cannot be a container name: separate names by commas"),
            "{warnings:?}"
        );
    }
    // A container of another name may come with another webhook.
    for skip in ["later", "istio-proxy", " app , \"proxy\" ", "ap,app", "ab", ""] {
        assert_eq!(webhook().warnings(&pod(skip)), [""; 0], "{skip}");
    }
    for skip in ["apps", "x,apps,istio-proxy"] {
        let warnings = webhook().warnings(&pod(skip));
        assert!(
            warnings.len() == 1 && warnings[0].ends_with("but the pod has no such container; did you mean \"app\"?"),
            "{warnings:?}"
        );
    }
}

#[test]
fn windows_pods_get_a_windows_token_path_and_the_usual_mount() {
    for spec in [
        json!({"os": {"name": "windows"}}),
        json!({"nodeSelector": {"kubernetes.io/os": "windows"}}),
        json!({"nodeSelector": {"beta.kubernetes.io/os": "windows"}}),
    ] {
        let mut pod = json!({"spec": spec});
        pod["spec"]["containers"] = json!([{"name": "app"}]);
        let injected = webhook().inject(&pod);
        let container = &injected["spec"]["containers"][0];
        assert_eq!(
            container["env"][1]["value"],
            r"C:\var\run\secrets\eks.amazonaws.com\serviceaccount\token"
        );
        assert_eq!(container["volumeMounts"], json!([mount()]));
    }
}

#[test]
fn a_pod_that_is_served_already_gets_an_empty_patch() {
    let pods = [
        json!({"spec": {"containers": [{"name": "app"}], "initContainers": [{"name": "init", "env": []}]}}),
        json!({"metadata": {"name": "job-1"}, "spec": {"os": {"name": "windows"}, "containers": [{"name": "app", "env": null}]}}),
        pod_with_env(json!([env("AWS_REGION", "eu-west-1")])),
        pod_with_env(json!([env("AWS_ROLE_ARN", "other")])),
    ];
    let webhooks = [
        webhook(),
        webhook().with_everything(),
        webhook().with_everything().with(|webhook| {
            webhook.settings.disable_instance_metadata = true;
            webhook.settings.role_session_name = true;
            webhook.session_name = SetSessionName::FromPodName;
        }),
    ];
    for (pod, webhook) in pods
        .iter()
        .flat_map(|pod| webhooks.iter().map(move |webhook| (pod, webhook)))
    {
        let injected = webhook.inject(pod);
        assert_ne!(injected, *pod);
        assert_eq!(webhook.patch(&injected), json!([]), "{injected}");
    }
}

#[test]
fn a_pod_that_the_managed_webhook_served_gets_an_empty_patch() {
    let pod = json!({"spec": {
        "containers": [{
            "name": "app",
            "env": [
                env("AWS_STS_REGIONAL_ENDPOINTS", "regional"), env("AWS_DEFAULT_REGION", "us-west-2"),
                env("AWS_REGION", "us-west-2"), env("AWS_ROLE_ARN", ROLE), env("AWS_WEB_IDENTITY_TOKEN_FILE", TOKEN_FILE),
            ],
            "volumeMounts": [
                {"mountPath": "/var/run/secrets/kubernetes.io/serviceaccount", "name": "kube-api-access-x", "readOnly": true},
                {"mountPath": MOUNT_PATH, "name": "aws-iam-token", "readOnly": true},
            ],
        }],
        "volumes": [token_volume("sts.amazonaws.com")],
    }});
    for webhook in [webhook(), webhook().with_everything()] {
        assert_eq!(webhook.patch(&pod), json!([]));
    }
}

#[test]
fn an_authors_own_token_volume_is_used_as_it_is() {
    let pod = json!({"spec": {"containers": [{"name": "app"}], "volumes": [{"name": "a"}, token_volume("vault")]}});
    let injected = webhook().inject(&pod);
    assert_eq!(injected["spec"]["volumes"], pod["spec"]["volumes"]);
    assert_eq!(injected["spec"]["containers"][0]["volumeMounts"], json!([mount()]));
}

#[test]
fn another_volume_of_the_name_is_a_conflict() {
    let with_volume = |volume: Json| json!({"spec": {"containers": [{"name": "app"}], "volumes": [volume]}});
    for (volume, what) in [
        (
            json!({"name": "aws-iam-token", "hostPath": {"path": "/x"}}),
            "is of kind hostPath",
        ),
        (
            json!({"name": "aws-iam-token", "secret": {"secretName": "x"}, "projected": null}),
            "is of kind secret",
        ),
        (json!({"name": "aws-iam-token"}), "is of kind emptyDir"),
        (json!({"name": "aws-iam-token", "b\ta": {}}), r"is of kind b\ta"),
        (
            json!({"name": "aws-iam-token", "projected": {"sources": [{"configMap": {}}]}}),
            r#"contains no token for an audience at path "token""#,
        ),
        (
            json!({"name": "aws-iam-token", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}}),
            r#"contains no token for an audience at path "token""#,
        ),
    ] {
        let conflict = webhook().conflict(&with_volume(volume));
        assert_eq!((conflict.volume.as_str(), conflict.mount_path), ("aws-iam-token", None));
        assert_eq!(
            conflict.message,
            format!(
                "volume \"aws-iam-token\" of the pod {what}, but the token volume mounted at {MOUNT_PATH} has that name: \
                 rename the pod's volume"
            )
        );
    }
}

#[test]
fn another_volume_mounted_at_the_tokens_place_is_a_conflict() {
    let pod = |path: &str| {
        json!({"spec": {
            "containers": [
                {"name": "first"},
                {"name": "app", "volumeMounts": [{"name": "ok", "mountPath": "/ok"}, {"name": "da\nta", "mountPath": path}]},
            ],
        }})
    };
    for path in [
        MOUNT_PATH.to_owned(),
        format!("{MOUNT_PATH}/"),
        format!("/{MOUNT_PATH}//"),
        format!("/.{MOUNT_PATH}/."),
        format!("{MOUNT_PATH}/../serviceaccount"),
        MOUNT_PATH.replace("/var/run", "/run"),
    ] {
        let conflict = webhook().conflict(&pod(&path));
        assert_eq!(conflict.volume, r"da\nta");
        assert_eq!(conflict.mount_path.as_deref(), Some(path.as_str()));
        assert_eq!(
            conflict.message,
            format!(
                r#"container "app" mounts volume "da\nta" at {path}, where the token volume aws-iam-token belongs: mount it "#
            ) + "elsewhere, or list the container in the pod's annotation eks.amazonaws.com/skip-containers"
        );
    }
    for path in [
        "/var/run/secrets/eks.amazonaws.com",
        "/var/run/secrets/eks.amazonaws.com/serviceaccounts",
        "/VAR",
    ] {
        assert!(webhook().answer(&pod(path)).is_ok(), "{path}");
    }
    let mut windows = pod(r"C:\Var\run\secrets\eks.amazonaws.com\serviceaccount\");
    assert!(webhook().answer(&windows).is_ok());
    windows["spec"]["os"] = json!({"name": "windows"});
    assert!(webhook().answer(&windows).is_err());
}

#[test]
fn a_mount_that_keeps_the_runtime_from_mounting_the_token_is_a_conflict() {
    let volumes = json!([
        {"name": "secret", "secret": {"secretName": "s"}},
        {"name": "config", "configMap": {"name": "c"}},
        {"name": "api", "downwardAPI": {}},
        {"name": "projected", "projected": {"sources": []}},
        {"name": "empty", "emptyDir": {}},
        {"name": "host", "hostPath": {"path": "/"}},
        {"name": "csi", "csi": {"driver": "d", "readOnly": true}},
        {"name": "claim", "persistentVolumeClaim": {"claimName": "c", "readOnly": true}},
        {"name": "written", "persistentVolumeClaim": {"claimName": "c", "readOnly": false}},
    ]);
    let answer = |mounts: Json| {
        let pod = json!({"spec": {"containers": [{"name": "app", "volumeMounts": mounts}], "volumes": volumes}});
        webhook().answer(&pod).map(drop).map_err(|conflict| conflict.message)
    };
    let mount = |name: &str, path: &str| json!({"name": name, "mountPath": path});
    for above in [
        "/var/run/secrets",
        "/run/secrets",
        "/var/run",
        "/run/secrets/eks.amazonaws.com/",
        "/var/./run",
        "/",
    ] {
        for name in ["secret", "config", "api", "projected", "csi", "claim"] {
            let message = answer(json!([mount(name, above)])).unwrap_err();
            assert!(
                message.contains("which is read-only, so the token volume cannot be mounted"),
                "{message}"
            );
        }
        for name in ["empty", "host", "written", "unknown"] {
            assert_eq!(answer(json!([mount(name, above)])), Ok(()), "{name} at {above}");
            let mut read_only = mount(name, above);
            read_only["readOnly"] = json!(true);
            assert!(answer(json!([read_only])).is_err(), "{name} at {above}");
        }
    }
    for below in ["sub", "token", "../serviceaccount/x"] {
        let path = format!("{MOUNT_PATH}/{below}");
        let message = answer(json!([mount("empty", &path)])).unwrap_err();
        assert!(message.contains("below the mount of the token volume"), "{message}");
    }
    // The deepest mount above decides: the folder is made there.
    let both = |first: &str, second: &str| answer(json!([mount(first, "/var/run"), mount(second, "/run/secrets")]));
    assert_eq!(both("secret", "empty"), Ok(()));
    assert!(both("empty", "secret").is_err());
    assert_eq!(
        answer(json!([mount(
            "secret",
            "/var/run/secrets/kubernetes.io/serviceaccount"
        )])),
        Ok(())
    );
}

/// A container that does not need the token is not refused for its mounts.
#[test]
fn a_container_with_other_credentials_has_no_conflict() {
    for env in [
        json!([
            env("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"),
            env("AWS_SECRET_ACCESS_KEY", "s")
        ]),
        json!([env("AWS_WEB_IDENTITY_TOKEN_FILE", TOKEN_FILE)]),
        json!([env("AWS_ROLE_ARN", "")]),
    ] {
        for mount_path in ["/var/run/secrets", MOUNT_PATH] {
            let pod = json!({"spec": {
                "containers": [{"name": "app", "env": env, "volumeMounts": [{"name": "s", "mountPath": mount_path}]}],
                "volumes": [{"name": "s", "secret": {"secretName": "s"}}],
            }});
            let injected = webhook().inject(&pod);
            let mounts = &injected["spec"]["containers"][0]["volumeMounts"];
            assert_eq!(*mounts, pod["spec"]["containers"][0]["volumeMounts"], "{env}");
        }
    }
}

/// Another file in the folder of the mount would be hidden by it.
#[test]
fn the_token_is_not_mounted_over_a_file_of_the_authors() {
    let pod = json!({"spec": {
        "containers": [{
            "name": "app",
            "env": [env("AWS_ROLE_ARN", ROLE), env("AWS_WEB_IDENTITY_TOKEN_FILE", &format!("{MOUNT_PATH}/mine"))],
            "volumeMounts": [{"name": "shared", "mountPath": "/var/run/secrets/eks.amazonaws.com"}],
        }],
        "volumes": [{"name": "shared", "emptyDir": {}}],
    }});
    assert_eq!(webhook().inject(&pod)["spec"]["containers"], pod["spec"]["containers"]);
}

/// Where only the reference webhook would mount the token, something in the way is not a conflict.
#[test]
fn a_mount_that_no_container_needs_is_left_out_where_something_is_in_the_way() {
    let pod = json!({"spec": {
        "containers": [{
            "name": "app",
            "env": [env("AWS_ROLE_ARN", ROLE), env("AWS_WEB_IDENTITY_TOKEN_FILE", TOKEN_FILE)],
            "volumeMounts": [{"name": "aws-user-token", "mountPath": MOUNT_PATH}],
        }],
        "volumes": [{"name": "aws-user-token", "projected": {"sources": [
            {"serviceAccountToken": {"audience": "sts.amazonaws.com", "path": "token"}},
        ]}}],
    }});
    let injected = webhook().inject(&pod);
    assert_eq!(injected["spec"]["containers"], pod["spec"]["containers"]);
    let injected = webhook().with_everything().inject(&pod);
    let container = &injected["spec"]["containers"][0];
    assert_eq!(container["volumeMounts"], pod["spec"]["containers"][0]["volumeMounts"]);
    assert_eq!(env_names(container).len(), 5);
}

#[test]
fn a_mount_conflicts_only_where_the_container_would_get_something_there() {
    let mounts = json!([{"name": "data", "mountPath": MOUNT_PATH}]);
    let container = |env: Json, mounts: &Json| {
        json!({
            "metadata": {"annotations": {"eks.amazonaws.com/skip-containers": "skipped"}},
            "spec": {"containers": [
                {"name": "skipped", "volumeMounts": [{"name": "data", "mountPath": MOUNT_PATH}]},
                {"name": "app", "env": env, "volumeMounts": mounts},
            ]},
        })
    };
    let own = [env("AWS_ROLE_ARN", ROLE), env("AWS_WEB_IDENTITY_TOKEN_FILE", "/own")];
    let all = [
        &own[..],
        &[env("AWS_REGION", "r"), env("AWS_STS_REGIONAL_ENDPOINTS", "regional")],
    ]
    .concat();
    let both_mounts =
        json!([{"name": "aws-iam-token", "mountPath": "/mine"}, {"name": "data", "mountPath": MOUNT_PATH}]);
    for (env, mounts, conflicts) in [
        (json!([]), &mounts, true),
        (json!(own), &mounts, false),
        (json!(all), &mounts, false),
        (
            json!([env("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://x")]),
            &mounts,
            false,
        ),
        (json!([]), &both_mounts, true),
        (json!(own), &both_mounts, false),
    ] {
        assert_eq!(
            webhook().answer(&container(env.clone(), mounts)).is_err(),
            conflicts,
            "{env} {mounts}"
        );
    }
}

#[test]
fn a_container_with_an_eks_pod_identity_association_is_left_as_it_is() {
    for name in [
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    ] {
        let pod = json!({"spec": {"containers": [{"name": "app", "env": [env(name, "x")]}, {"name": "other"}]}});
        let injected = webhook().with_everything().inject(&pod);
        assert_eq!(injected["spec"]["containers"][0], pod["spec"]["containers"][0]);
        assert_eq!(env_names(&injected["spec"]["containers"][1]).len(), 5);
        // Unless instance metadata is to be disabled: only for the agent, SDKs are sure to get an answer.
        let disabling = webhook().with(|webhook| webhook.settings.disable_instance_metadata = true);
        let injected = disabling.inject(&pod);
        assert_eq!(
            env_names(&injected["spec"]["containers"][0]),
            [name, "AWS_EC2_METADATA_DISABLED"]
        );
        // With a web identity of its own SDKs take that one: nothing special.
        let pod = pod_with_env(json!([env(name, "x"), env("AWS_ROLE_ARN", ROLE)]));
        let injected = webhook().inject(&pod);
        assert_eq!(injected["spec"]["containers"][0]["volumeMounts"], json!([mount()]));
    }
}

#[test]
fn instance_metadata_is_switched_off_unless_the_author_decided() {
    let webhook = webhook()
        .with_everything()
        .with(|webhook| webhook.settings.disable_instance_metadata = true);
    let injected = webhook.inject(&json!({"spec": {"containers": [{"name": "app"}]}}));
    let container = &injected["spec"]["containers"][0];
    assert_eq!(container["env"].as_array().unwrap().len(), 6);
    assert_eq!(container["env"][5], env("AWS_EC2_METADATA_DISABLED", "true"));
    let own = json!([env("AWS_EC2_METADATA_DISABLED", "false")]);
    let injected = webhook.inject(&pod_with_env(own));
    assert_eq!(injected["spec"]["containers"][0]["env"].as_array().unwrap().len(), 6);
    assert_eq!(injected["spec"]["containers"][0]["env"][0]["value"], "false");
}

#[test]
fn the_session_name_is_the_pods_name_where_it_surely_fits() {
    let webhook = webhook().with(|webhook| webhook.session_name = SetSessionName::FromPodName);
    let from_pod = json!({"name": "AWS_ROLE_SESSION_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}});
    let long = "a".repeat(64);
    let too_long = "a".repeat(65);
    for (metadata, added) in [
        (json!({"name": "job-1"}), Some(env("AWS_ROLE_SESSION_NAME", "job-1"))),
        (
            json!({"name": "job-1", "generateName": "job-"}),
            Some(env("AWS_ROLE_SESSION_NAME", "job-1")),
        ),
        (
            json!({"name": "a.b-c_d+e=f,g@h"}),
            Some(env("AWS_ROLE_SESSION_NAME", "a.b-c_d+e=f,g@h")),
        ),
        (json!({"name": "ab"}), Some(env("AWS_ROLE_SESSION_NAME", "ab"))),
        (json!({"name": "a"}), None),
        (json!({ "name": long }), Some(env("AWS_ROLE_SESSION_NAME", &long))),
        (json!({ "name": too_long }), None),
        (json!({"name": "a/b"}), None),
        (json!({"name": "jöb"}), None),
        (json!({"generateName": "job-"}), Some(from_pod.clone())),
        (json!({"generateName": too_long}), Some(from_pod.clone())),
        (json!({"generateName": "j b"}), None),
        (json!({}), None),
    ] {
        let pod = json!({"metadata": metadata, "spec": {"containers": [{"name": "app"}]}});
        let injected = webhook.inject(&pod);
        let env = injected["spec"]["containers"][0]["env"].as_array().unwrap().clone();
        assert_eq!(env.get(2), added.as_ref(), "{metadata}");
    }
}

#[test]
fn a_session_name_goes_only_with_our_identity_and_never_over_the_authors() {
    let webhook = webhook().with(|webhook| {
        webhook.session_name = SetSessionName::FromPodName;
        webhook.settings.disable_instance_metadata = true;
    });
    for (own, names) in [
        (
            json!([]),
            vec![
                "AWS_ROLE_ARN",
                "AWS_WEB_IDENTITY_TOKEN_FILE",
                "AWS_EC2_METADATA_DISABLED",
                "AWS_ROLE_SESSION_NAME",
            ],
        ),
        (
            json!([env("AWS_ROLE_SESSION_NAME", "me")]),
            vec![
                "AWS_ROLE_SESSION_NAME",
                "AWS_ROLE_ARN",
                "AWS_WEB_IDENTITY_TOKEN_FILE",
                "AWS_EC2_METADATA_DISABLED",
            ],
        ),
        (
            json!([env("AWS_ROLE_ARN", ROLE)]),
            vec!["AWS_ROLE_ARN", "AWS_EC2_METADATA_DISABLED"],
        ),
    ] {
        let injected = webhook.inject(&pod_with_env(own));
        assert_eq!(env_names(&injected["spec"]["containers"][0]), names);
    }
}

fn pod_identity_settings() -> PodIdentitySettings {
    PodIdentitySettings {
        full_uri: "http://169.254.170.23/v1/credentials".to_owned(),
        audience: "pods.eks.amazonaws.com".to_owned(),
        mount_path: "/var/run/secrets/pods.eks.amazonaws.com/serviceaccount".to_owned(),
        volume_name: "eks-pod-identity-token".to_owned(),
        token_path: "eks-pod-identity-token".to_owned(),
        region: None,
        disable_instance_metadata: false,
    }
}

const POD_IDENTITY: PodIdentityRequest = PodIdentityRequest {
    expiration_seconds: 80_000,
    regional_sts: false,
};

fn give_pod_identity(
    pod: &Json,
    request: &PodIdentityRequest,
    settings: &PodIdentitySettings,
) -> Result<(Json, Vec<String>), Box<Conflict>> {
    let text = pod.to_string();
    let view: PodView<'_> = serde_json::from_str(&text).unwrap();
    pod_identity(&webhook().rules, &view, request, settings).map(|injection| read(injection, &[]))
}

fn pod_identity_volume(audience: &str) -> Json {
    json!({"name": "eks-pod-identity-token", "projected": {"sources": [{"serviceAccountToken": {
        "audience": audience, "expirationSeconds": 80000, "path": "eks-pod-identity-token",
    }}]}})
}

#[test]
fn pod_identity_has_its_own_variables_volume_mount_and_label() {
    let pod = json!({"metadata": {"name": "x"}, "spec": {"containers": [{"name": "app"}]}});
    let (patch, warnings) = give_pod_identity(&pod, &POD_IDENTITY, &pod_identity_settings()).unwrap();
    let token_file = "/var/run/secrets/pods.eks.amazonaws.com/serviceaccount/eks-pod-identity-token";
    assert_eq!(warnings, [""; 0]);
    assert_eq!(
        patch,
        json!([
            {"op": "add", "path": "/metadata/labels", "value": {"eks.amazonaws.com/pod-identity": "enabled"}},
            {"op": "add", "path": "/spec/volumes", "value": [pod_identity_volume("pods.eks.amazonaws.com")]},
            {"op": "add", "path": "/spec/containers/0/env", "value": [
                env("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://169.254.170.23/v1/credentials"),
                env("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", token_file),
            ]},
            {"op": "add", "path": "/spec/containers/0/volumeMounts", "value": [{
                "name": "eks-pod-identity-token", "readOnly": true,
                "mountPath": "/var/run/secrets/pods.eks.amazonaws.com/serviceaccount",
            }]},
        ])
    );
    assert_eq!(
        give_pod_identity(&apply(&pod, &patch), &POD_IDENTITY, &pod_identity_settings())
            .unwrap()
            .0,
        json!([])
    );
}

#[test]
fn pod_identity_adds_region_and_sts_before_its_variables_and_metadata_after_them() {
    let settings = PodIdentitySettings {
        region: Some("eu-west-1".to_owned()),
        disable_instance_metadata: true,
        full_uri: "http://uri".to_owned(),
        audience: "aud".to_owned(),
        mount_path: "/m".to_owned(),
        volume_name: "vol".to_owned(),
        token_path: "tok".to_owned(),
    };
    let request = PodIdentityRequest {
        regional_sts: true,
        ..POD_IDENTITY
    };
    let pod = json!({"spec": {"containers": [{"name": "app"}], "nodeSelector": {"kubernetes.io/os": "windows"}}});
    let (patch, _) = give_pod_identity(&pod, &request, &settings).unwrap();
    let injected = apply(&pod, &patch);
    assert_eq!(
        injected["metadata"],
        json!({"labels": {"eks.amazonaws.com/pod-identity": "enabled"}})
    );
    let container = &injected["spec"]["containers"][0];
    assert_eq!(
        container["env"],
        json!([
            env("AWS_STS_REGIONAL_ENDPOINTS", "regional"),
            env("AWS_DEFAULT_REGION", "eu-west-1"),
            env("AWS_REGION", "eu-west-1"),
            env("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://uri"),
            env("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", r"C:\m\tok"),
            env("AWS_EC2_METADATA_DISABLED", "true"),
        ])
    );
    assert_eq!(
        container["volumeMounts"],
        json!([{"name": "vol", "readOnly": true, "mountPath": "/m"}])
    );
    assert_eq!(
        injected["spec"]["volumes"][0]["projected"]["sources"][0]["serviceAccountToken"],
        json!({"audience": "aud", "expirationSeconds": 80000, "path": "tok"})
    );
    assert_eq!(give_pod_identity(&injected, &request, &settings).unwrap().0, json!([]));
}

#[test]
fn the_pod_identity_label_is_added_where_labels_are_and_an_authors_value_stays() {
    for (metadata, first) in [
        (
            json!(null),
            json!({"op": "add", "path": "/metadata", "value": {"labels": {"eks.amazonaws.com/pod-identity": "enabled"}}}),
        ),
        (
            json!({"labels": null}),
            json!({"op": "add", "path": "/metadata/labels", "value": {"eks.amazonaws.com/pod-identity": "enabled"}}),
        ),
        (
            json!({"labels": {}}),
            json!({"op": "add", "path": "/metadata/labels/eks.amazonaws.com~1pod-identity", "value": "enabled"}),
        ),
        (
            json!({"labels": {"app": "x"}}),
            json!({"op": "add", "path": "/metadata/labels/eks.amazonaws.com~1pod-identity", "value": "enabled"}),
        ),
        (
            json!({"labels": {"eks.amazonaws.com/pod-identity": "mine"}}),
            json!({"op": "add", "path": "/spec/volumes", "value": [pod_identity_volume("pods.eks.amazonaws.com")]}),
        ),
    ] {
        let pod = json!({"metadata": metadata, "spec": {}});
        let (patch, _) = give_pod_identity(&pod, &POD_IDENTITY, &pod_identity_settings()).unwrap();
        assert_eq!(patch[0], first);
        apply(&pod, &patch);
    }
}

#[test]
fn in_pod_identity_mode_too_the_author_wins_and_containers_can_be_skipped() {
    let pod = json!({
        "metadata": {"annotations": {"eks.amazonaws.com/skip-containers": "skipped"}},
        "spec": {"containers": [
            {"name": "skipped"},
            {"name": "uri", "env": [env("AWS_CONTAINER_CREDENTIALS_FULL_URI", "x")]},
            {"name": "file", "env": [env("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "x")]},
            {"name": "web", "env": [env("AWS_ROLE_ARN", ROLE)]},
            {"name": "all", "env": [
                env("AWS_CONTAINER_CREDENTIALS_FULL_URI", "x"), env("AWS_REGION", "x"), env("AWS_STS_REGIONAL_ENDPOINTS", "x"),
            ]},
        ]},
    });
    let (patch, warnings) = give_pod_identity(&pod, &POD_IDENTITY, &pod_identity_settings()).unwrap();
    let injected = apply(&pod, &patch);
    let counts = injected["spec"]["containers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|container| {
            let mounts = container["volumeMounts"].as_array().map_or(0, Vec::len);
            (env_names(container).len(), mounts)
        });
    assert_eq!(counts.collect::<Vec<_>>(), [(0, 0), (1, 1), (1, 1), (3, 1), (3, 0)]);
    assert_eq!(
        warnings,
        [
            r#"container "uri" sets AWS_CONTAINER_CREDENTIALS_FULL_URI itself but not AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE: neither is added"#,
            r#"container "file" sets AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE itself but not AWS_CONTAINER_CREDENTIALS_FULL_URI: neither is added"#,
        ]
    );
}

#[test]
fn the_agent_of_pod_identity_takes_one_audience_so_another_is_a_conflict() {
    let pod = |volume: Json| json!({"spec": {"containers": [{"name": "app"}], "volumes": [volume]}});
    let answer = |volume| give_pod_identity(&pod(volume), &POD_IDENTITY, &pod_identity_settings());
    let (patch, _) = answer(pod_identity_volume("pods.eks.amazonaws.com")).unwrap();
    assert!(
        patch
            .as_array()
            .unwrap()
            .iter()
            .all(|operation| !operation["path"].as_str().unwrap().contains("volumes"))
    );
    let conflict = answer(pod_identity_volume("vault")).unwrap_err();
    assert_eq!(
        conflict.message,
        "volume \"eks-pod-identity-token\" of the pod contains no token for audience \"pods.eks.amazonaws.com\" at path \
         \"eks-pod-identity-token\", but the token volume mounted at \
         /var/run/secrets/pods.eks.amazonaws.com/serviceaccount has that name: rename the pod's volume"
    );
}

/// A running pod that was injected, with ephemeral containers.
fn running(ephemeral: Json) -> Json {
    json!({
        "metadata": {"annotations": {"eks.amazonaws.com/skip-containers": "skipped"}},
        "spec": {
            "containers": [{"name": "app"}], "ephemeralContainers": ephemeral,
            "volumes": [token_volume("sts.amazonaws.com")],
        },
    })
}

#[test]
fn only_new_ephemeral_containers_are_served_and_nothing_else_is_touched() {
    let old = running(json!([{"name": "older"}]));
    let new = running(json!([{"name": "older"}, {"name": "skipped"}, {"name": "debug", "env": []}]));
    let (patch, warnings) = webhook().ephemeral(&old, &new);
    assert_eq!(warnings, [""; 0]);
    assert_eq!(
        patch,
        json!([
            {"op": "add", "path": "/spec/ephemeralContainers/2/env/-", "value": env("AWS_ROLE_ARN", ROLE)},
            {"op": "add", "path": "/spec/ephemeralContainers/2/env/-", "value": env("AWS_WEB_IDENTITY_TOKEN_FILE", TOKEN_FILE)},
            {"op": "add", "path": "/spec/ephemeralContainers/2/volumeMounts", "value": [mount()]},
        ])
    );
    assert_eq!(webhook().ephemeral(&old, &apply(&new, &patch)).0, json!([]));
    assert_eq!(webhook().ephemeral(&new, &new).0, json!([]));
}

#[test]
fn an_ephemeral_container_of_a_pod_without_the_token_volume_is_left_alone() {
    let old = running(json!(null));
    for volumes in [
        json!(null),
        json!([]),
        json!([{"name": "aws-iam-token", "hostPath": {"path": "/"}}]),
    ] {
        let mut new = running(json!([{"name": "debug"}]));
        new["spec"]["volumes"] = volumes;
        assert_eq!(webhook().ephemeral(&old, &new), (json!([]), vec![]));
    }
}

#[test]
fn a_conflict_in_an_ephemeral_container_leaves_that_one_alone_with_a_warning() {
    let new = running(json!([
        {"name": "bad", "volumeMounts": [{"name": "data", "mountPath": MOUNT_PATH}]},
        {"name": "good"},
    ]));
    let (patch, warnings) = webhook().ephemeral(&running(json!([])), &new);
    assert_eq!(warnings.len(), 1);
    assert!(
        warnings[0].starts_with(r#"container "bad" mounts volume "data" at "#),
        "{warnings:?}"
    );
    let paths: Vec<&str> = patch
        .as_array()
        .unwrap()
        .iter()
        .map(|op| op["path"].as_str().unwrap())
        .collect();
    assert_eq!(
        paths,
        [
            "/spec/ephemeralContainers/1/env",
            "/spec/ephemeralContainers/1/volumeMounts"
        ]
    );
}

#[test]
fn ephemeral_containers_get_pod_identity_too() {
    let pod = |containers: Json| json!({"spec": {"ephemeralContainers": containers, "volumes": [pod_identity_volume("pods.eks.amazonaws.com")]}});
    let (old, new) = (pod(json!([])).to_string(), pod(json!([{"name": "debug"}])).to_string());
    let old: PodView<'_> = serde_json::from_str(&old).unwrap();
    let new: PodView<'_> = serde_json::from_str(&new).unwrap();
    let injection = ephemeral_pod_identity(&webhook().rules, &old, &new, &POD_IDENTITY, &pod_identity_settings());
    let (patch, _) = read(injection, &[]);
    assert_eq!(patch[0]["path"], "/spec/ephemeralContainers/0/env");
    assert_eq!(patch[0]["value"][0]["name"], "AWS_CONTAINER_CREDENTIALS_FULL_URI");
    assert_eq!(patch[1]["path"], "/spec/ephemeralContainers/0/volumeMounts");
    assert_eq!(patch.as_array().unwrap().len(), 2);
}

#[test]
fn a_pod_without_a_spec_or_without_containers_is_fine() {
    assert_eq!(webhook().patch(&json!({})), json!([]));
    assert_eq!(
        webhook()
            .patch(&json!({"spec": {"containers": [null]}}))
            .as_array()
            .unwrap()
            .len(),
        1
    );
}
