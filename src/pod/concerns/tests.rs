use serde_json::{Value as Json, json};

use super::*;
use crate::pod::identity::AnnotationRules;
use crate::pod::settings::PodIdentitySettings;
use crate::pod::view::PodView;

const OWN_ROLE: &str = "arn:aws-cn:iam::444455556666:role/own";
const TOKEN_FILE: &str = "/var/run/secrets/eks.amazonaws.com/serviceaccount/token";

struct Case {
    role: &'static str,
    settings: WebIdentitySettings,
}

fn case() -> Case {
    Case {
        role: "arn:aws:iam::111122223333:role/runner",
        settings: WebIdentitySettings {
            mount_path: "/var/run/secrets/eks.amazonaws.com/serviceaccount".to_owned(),
            region: None,
            disable_instance_metadata: false,
            role_session_name: false,
            api_audience: None,
        },
    }
}

impl Case {
    fn of_pod(&self, pod: &Json) -> (Vec<String>, Vec<String>) {
        let text = pod.to_string();
        let view: PodView<'_> = serde_json::from_str(&text).unwrap();
        let rules = AnnotationRules {
            prefix: "eks.amazonaws.com/".to_owned(),
            compose: None,
        };
        let agent = PodIdentitySettings {
            full_uri: "http://169.254.170.23/v1/credentials".to_owned(),
            audience: "pods.eks.amazonaws.com".to_owned(),
            mount_path: "/var/run/secrets/pods.eks.amazonaws.com/serviceaccount".to_owned(),
            volume_name: "eks-pod-identity-token".to_owned(),
            token_path: "eks-pod-identity-token".to_owned(),
            region: None,
            disable_instance_metadata: false,
        };
        let identities = EffectiveIdentities::of_pod(&rules, &view, &self.settings, &agent);
        let role = RoleArn::parse(self.role).unwrap();
        let concerns = Concerns::of(&identities, Some(&role), &self.settings);
        (
            concerns
                .warnings
                .iter()
                .map(|warning| warning.as_str().to_owned())
                .collect(),
            concerns.not_used.into_iter().map(str::to_owned).collect(),
        )
    }

    /// The first line of each warning about a container with this environment.
    fn lines(&self, env: &[Json]) -> Vec<String> {
        let (warnings, not_used) = self.of_pod(&json!({"spec": {"containers": [{"name": "app", "env": env}]}}));
        let lines: Vec<String> = warnings
            .into_iter()
            .filter(|warning| !warning.starts_with("fix: "))
            .collect();
        let about_identity = lines
            .iter()
            .filter(|line| line.ends_with(" (identity-not-used)"))
            .count();
        assert_eq!(about_identity > 0, !not_used.is_empty(), "{lines:?}");
        lines
    }
}

fn set(name: &str, value: &str) -> Json {
    json!({"name": name, "value": value})
}

fn from(name: &str) -> Json {
    json!({"name": name, "valueFrom": {"configMapKeyRef": {"name": "c", "key": "k"}}})
}

#[test]
fn each_row_is_warned_about_in_its_words() {
    let (role, file) = ("AWS_ROLE_ARN", "AWS_WEB_IDENTITY_TOKEN_FILE");
    let (id, secret) = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY");
    let uri = "AWS_CONTAINER_CREDENTIALS_FULL_URI";
    let own = [set(role, "arn:aws:iam::111122223333:role/own"), set(file, TOKEN_FILE)];
    let node = "AWS SDKs fail or use the role of the node";
    for (env, expected) in [
        (vec![], vec![]),
        (own.to_vec(), vec![]),
        (vec![set(role, "")], vec![format!("sets AWS_ROLE_ARN to an empty value: {node}")]),
        (vec![set(role, ""), set(file, "")], vec![format!("sets AWS_ROLE_ARN to an empty value: {node}")]),
        (
            vec![own[0].clone(), set(file, "")],
            vec![format!("sets AWS_WEB_IDENTITY_TOKEN_FILE to an empty value: {node}")],
        ),
        (
            vec![own[0].clone()],
            vec![format!("sets AWS_ROLE_ARN but not AWS_WEB_IDENTITY_TOKEN_FILE: {node}")],
        ),
        (
            vec![own[1].clone(), set("AWS_REGION", "us-west-2"), set("AWS_STS_REGIONAL_ENDPOINTS", "regional")],
            vec![format!("sets AWS_WEB_IDENTITY_TOKEN_FILE but not AWS_ROLE_ARN: {node}")],
        ),
        (
            vec![set(id, "AKIDEXAMPLE"), set(secret, "s")],
            vec!["sets AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY: most AWS SDKs use these and not the IAM role".to_owned()],
        ),
        (vec![set(id, ""), set(secret, "")], vec![]),
        (
            vec![from(id), from(secret)],
            vec!["gets AWS_ACCESS_KEY_ID or AWS_SECRET_ACCESS_KEY from outside the pod: if both exist, most AWS SDKs use them".to_owned()],
        ),
        (
            vec![set(id, "AKIDEXAMPLE")],
            vec!["sets AWS_ACCESS_KEY_ID without AWS_SECRET_ACCESS_KEY: boto3 and the AWS CLI fail".to_owned()],
        ),
        (
            vec![set("AWS_ACCESS_KEY", "AKIDEXAMPLE"), set("AWS_SECRET_KEY", "s")],
            vec!["sets static keys by older names (AWS_ACCESS_KEY, AWS_SECRET_KEY): some AWS SDKs use these".to_owned()],
        ),
        (
            vec![set("AWS_PROFILE", "p"), set("AWS_SHARED_CREDENTIALS_FILE", "/c")],
            vec![
                "sets AWS_PROFILE: the IAM role might not be used".to_owned(),
                "sets AWS_SHARED_CREDENTIALS_FILE: the IAM role might not be used".to_owned(),
            ],
        ),
        (
            vec![set("AWS_PROFILE", ""), set("AWS_REGION", ""), set("AWS_ROLE_SESSION_NAME", "")],
            ["AWS_PROFILE", "AWS_REGION", "AWS_ROLE_SESSION_NAME"]
                .map(|name| format!("sets {name} to an empty value: some AWS SDKs fail"))
                .to_vec(),
        ),
        (
            vec![set(uri, "http://x")],
            vec!["sets AWS_CONTAINER_CREDENTIALS_FULL_URI to an address that AWS SDKs refuse: they fail".to_owned()],
        ),
        (
            vec![set(uri, "http://169.254.170.23/v1/credentials")],
            vec![
                "sets AWS_CONTAINER_CREDENTIALS_FULL_URI, but no token for the EKS Pod Identity agent: the agent refuses \
                 requests without one"
                    .to_owned(),
            ],
        ),
        (
            vec![
                set(uri, "http://169.254.170.23/v1/credentials"),
                set("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "/not/there"),
            ],
            vec!["sets AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE to \"/not/there\", where nothing is mounted: AWS SDKs fail".to_owned()],
        ),
        (vec![set(uri, "http://127.0.0.1/c")], vec![]),
        (
            vec![set(uri, "http://127.0.0.1/c"), own[0].clone()],
            vec!["sets AWS_ROLE_ARN but not AWS_WEB_IDENTITY_TOKEN_FILE: its web identity is not used".to_owned()],
        ),
        (
            vec![set("AWS_ENDPOINT_URL", "http://minio:9000"), set("AWS_ENDPOINT_URL_STS", "https://sts.us-west-2.amazonaws.com")],
            vec!["sets AWS_ENDPOINT_URL: AWS SDKs might ask another server than AWS STS for the role's credentials".to_owned()],
        ),
    ] {
        let lines = case().lines(&env);
        let expected: Vec<String> = expected
            .into_iter()
            .map(|line| format!("container \"app\" {line} (identity-not-used)"))
            .collect();
        assert_eq!(lines, expected, "{env:?}");
    }
}

#[test]
fn the_token_for_the_agent_may_be_in_any_mount() {
    let env = [
        set(
            "AWS_CONTAINER_CREDENTIALS_FULL_URI",
            "http://169.254.170.23/v1/credentials",
        ),
        set(
            "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
            "/var/run/secrets/pods.eks.amazonaws.com/serviceaccount/eks-pod-identity-token",
        ),
    ];
    for path in ["/run/secrets/pods.eks.amazonaws.com/serviceaccount", "/var/run"] {
        let container = json!({"name": "app", "env": env, "volumeMounts": [{"name": "x", "mountPath": path}]});
        assert_eq!(
            case().of_pod(&json!({"spec": {"containers": [container]}})).0,
            Vec::<String>::new(),
            "{path}"
        );
    }
}

#[test]
fn a_role_outside_partition_aws_needs_a_region_of_its_partition() {
    let in_china = |region: Option<&str>| Case {
        role: OWN_ROLE,
        settings: WebIdentitySettings {
            region: region.map(str::to_owned),
            ..case().settings
        },
    };
    let missing = |variables: &str| {
        vec![format!(
            "container \"app\" does not set {variables}: some AWS SDKs find no Region of partition aws-cn, where the IAM role is \
             (identity-not-used)"
        )]
    };
    let both = "AWS_REGION and AWS_DEFAULT_REGION";
    let (region, default) = (set("AWS_REGION", "cn-north-1"), set("AWS_DEFAULT_REGION", "cn-north-1"));
    assert_eq!(in_china(Some("cn-north-1")).lines(&[]), Vec::<String>::new());
    // Ours is of another partition, so it is not injected.
    assert_eq!(in_china(Some("us-west-2")).lines(&[]), missing(both));
    assert_eq!(in_china(None).lines(&[]), missing(both));
    assert_eq!(
        in_china(Some("cn-north-1")).lines(std::slice::from_ref(&region)),
        missing("AWS_DEFAULT_REGION")
    );
    assert_eq!(
        in_china(None).lines(std::slice::from_ref(&default)),
        missing("AWS_REGION")
    );
    assert_eq!(in_china(None).lines(&[default, region]), Vec::<String>::new());
    let own = [
        set("AWS_ROLE_ARN", OWN_ROLE),
        set("AWS_WEB_IDENTITY_TOKEN_FILE", TOKEN_FILE),
    ];
    assert_eq!(case().lines(&own), missing(both));
    let elsewhere = [set("AWS_REGION", "us-west-2"), set("AWS_DEFAULT_REGION", "cn-north-1")];
    assert_eq!(
        in_china(None).lines(&elsewhere),
        [
            "container \"app\" sets AWS_REGION to \"us-west-2\", but the IAM role is in partition aws-cn: AWS SDKs call STS in another partition \
             (identity-not-used)"
        ]
    );
    let (warnings, _) = in_china(None).of_pod(&json!({"spec": {"containers": [
        {"name": "app", "envFrom": [{"configMapRef": {"name": "c"}}]},
    ]}}));
    assert_eq!(warnings, Vec::<String>::new(), "the ConfigMap may hold the Region");
}

#[test]
fn instance_metadata_that_stays_enabled_is_reported_where_it_would_be_disabled() {
    let disabling = Case {
        settings: WebIdentitySettings {
            disable_instance_metadata: true,
            ..case().settings
        },
        ..case()
    };
    let variable = |value| [set("AWS_EC2_METADATA_DISABLED", value)];
    assert_eq!(
        disabling.lines(&variable("false")),
        ["container \"app\" sets AWS_EC2_METADATA_DISABLED to \"false\": AWS SDKs can use the role of the node"]
    );
    assert_eq!(
        disabling.lines(&[from("AWS_EC2_METADATA_DISABLED")]),
        [
            "container \"app\" sets AWS_EC2_METADATA_DISABLED to a value from outside the pod: AWS SDKs can use the role of the node"
        ]
    );
    let own_server = [
        set("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://127.0.0.1/c"),
        variable("false")[0].clone(),
    ];
    assert_eq!(disabling.lines(&own_server).len(), 1);
    assert_eq!(disabling.lines(&variable("true")), Vec::<String>::new());
    assert_eq!(case().lines(&variable("false")), Vec::<String>::new());
    // JavaScript then has no other place to find the Region.
    let default_alone = [set("AWS_DEFAULT_REGION", "us-west-2")];
    assert_eq!(disabling.lines(&default_alone).len(), 1);
    assert_eq!(case().lines(&default_alone), Vec::<String>::new());
}

#[test]
fn containers_with_the_same_concern_share_a_warning_and_all_is_bounded() {
    let containers: Vec<Json> = (0..5_000)
        .map(|n| json!({"name": format!("c{n}"), "env": [set("AWS_ROLE_ARN", "")]}))
        .collect();
    let (warnings, not_used) = case().of_pod(&json!({"spec": {"containers": containers}}));
    assert_eq!(
        warnings,
        [
            "containers \"c0\" and 4999 more set AWS_ROLE_ARN to an empty value: AWS SDKs fail or use the role of the node \
             (identity-not-used)",
            "fix: remove AWS_ROLE_ARN and AWS_WEB_IDENTITY_TOKEN_FILE, which rolegate then sets, or give both a value",
        ]
    );
    assert_eq!(not_used.len(), MOST_NAMED);
    let different: Vec<Json> = (0..5_000)
        .map(|n| json!({"name": format!("c{n}"), "env": [set("AWS_REGION", &format!("cn-{n}"))]}))
        .collect();
    let (warnings, _) = case().of_pod(&json!({"spec": {"containers": different}}));
    assert_eq!(warnings.len(), 2 * MOST_REPORTED + 1);
    assert_eq!(
        warnings.last().unwrap(),
        "4994 more warnings about containers are not shown"
    );
    assert!(warnings.iter().map(|warning| warning.len()).sum::<usize>() < 4096);
}

#[test]
fn a_mount_of_the_token_volume_is_reported_only_where_it_hides_the_token() {
    let with_mounts = |mounts: Json| {
        case()
            .of_pod(&json!({"spec": {"containers": [{"name": "app", "volumeMounts": mounts}]}}))
            .0
    };
    let directory = "/var/run/secrets/eks.amazonaws.com/serviceaccount";
    assert_eq!(
        with_mounts(json!([{"name": "aws-iam-token", "mountPath": directory, "subPath": "other"}])),
        [
            "container \"app\" mounts aws-iam-token at \"/var/run/secrets/eks.amazonaws.com/serviceaccount\", but \
             AWS_WEB_IDENTITY_TOKEN_FILE is /var/run/secrets/eks.amazonaws.com/serviceaccount/token: AWS SDKs fail or use the role of \
             the node (identity-not-used)",
            "fix: remove the mount of aws-iam-token; rolegate adds its own",
        ]
    );
    for mounts in [
        json!([{"name": "aws-iam-token", "mountPath": "/run/secrets/eks.amazonaws.com/serviceaccount/"}]),
        json!([{"name": "aws-iam-token", "mountPath": TOKEN_FILE, "subPath": "token"}]),
        // A second mount is added.
        json!([{"name": "aws-iam-token", "mountPath": "/mine"}]),
    ] {
        assert_eq!(with_mounts(mounts.clone()), Vec::<String>::new(), "{mounts}");
    }
}

/// What is injected is used, or a warning says why not: no combination is silent.
#[test]
fn every_container_that_does_not_use_the_injected_identity_is_reported_or_has_another() {
    let values = |name: &'static str, values: &[&str]| -> Vec<Option<Json>> {
        let mut all = vec![None, Some(from(name))];
        all.extend(values.iter().map(|value| Some(set(name, value))));
        all
    };
    let (role, file) = ("AWS_ROLE_ARN", "AWS_WEB_IDENTITY_TOKEN_FILE");
    for role in values(role, &["", "runner", "arn:aws:iam::111122223333:role/own"]) {
        for file in values(file, &["", TOKEN_FILE, "/own/token"]) {
            for id in values("AWS_ACCESS_KEY_ID", &["", "AKIDEXAMPLE"]) {
                for secret in values("AWS_SECRET_ACCESS_KEY", &["", "s"]) {
                    let env: Vec<Json> = [role.clone(), file.clone(), id.clone(), secret]
                        .into_iter()
                        .flatten()
                        .collect();
                    let pod = json!({"spec": {"containers": [{"name": "app", "env": env}]}});
                    let (_, not_used) = case().of_pod(&pod);
                    let is_set = |name: &str| {
                        let last = env.iter().rfind(|variable| variable["name"] == name);
                        last.is_some_and(|variable| variable["value"] != "")
                    };
                    let mentioned = [role.is_some(), file.is_some()];
                    let complete = is_set("AWS_ROLE_ARN") && is_set("AWS_WEB_IDENTITY_TOKEN_FILE");
                    let has_web_identity = mentioned == [false, false] || complete;
                    if !has_web_identity || is_set("AWS_ACCESS_KEY_ID") {
                        assert_eq!(not_used, ["app"], "{pod}");
                    } else {
                        assert!(not_used.is_empty(), "{pod}");
                    }
                }
            }
        }
    }
}
