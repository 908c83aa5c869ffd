use serde_json::{Value as Json, json};

use super::*;

const ROLE: &str = "arn:aws:iam::111122223333:role/other";
const MOUNT_PATH: &str = "/var/run/secrets/eks.amazonaws.com/serviceaccount";
const TOKEN_FILE: &str = "/var/run/secrets/eks.amazonaws.com/serviceaccount/token";
const API_SERVER_TOKEN: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";
const AGENT: &str = "http://169.254.170.23/v1/credentials";

fn rules() -> AnnotationRules {
    AnnotationRules {
        prefix: "eks.amazonaws.com/".to_owned(),
        compose: None,
    }
}

fn web_settings() -> WebIdentitySettings {
    WebIdentitySettings {
        mount_path: MOUNT_PATH.to_owned(),
        region: None,
        disable_instance_metadata: false,
        role_session_name: false,
        api_audience: None,
    }
}

fn agent_settings() -> PodIdentitySettings {
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

/// An identity in a few words.
fn words(identity: &Identity<'_>) -> String {
    match identity {
        Identity::Skipped => "skipped".to_owned(),
        Identity::Injected => "injected".to_owned(),
        Identity::WebIdentity(own) => match &own.audience {
            None => format!("{} by our token", own.role.name()),
            Some(audience) => format!("{} by a token for {audience}", own.role.name()),
        },
        Identity::PodIdentity => "agent".to_owned(),
        Identity::ContainerCredentials { variable } => format!(
            "server of {}",
            variable.trim_start_matches("AWS_CONTAINER_CREDENTIALS_")
        ),
        Identity::StaticKeys => "keys".to_owned(),
        Identity::None(NoIdentity::Incomplete(_)) => "none: incomplete".to_owned(),
        Identity::None(NoIdentity::RefusedUri) => "none: refused".to_owned(),
        Identity::None(NoIdentity::NoAgentToken) => "none: no token".to_owned(),
        Identity::Unknown(Unverifiable::Value(variable)) => format!("unknown {variable}"),
        Identity::Unknown(Unverifiable::NotARoleArn(_)) => "unknown: no ARN".to_owned(),
        Identity::Unknown(Unverifiable::ApiServerToken) => "unknown: API server".to_owned(),
        Identity::Unknown(Unverifiable::TokenFile(_)) => "unknown: token".to_owned(),
    }
}

fn of_pod(pod: &Json, web: &WebIdentitySettings) -> Vec<String> {
    let text = pod.to_string();
    let view: PodView<'_> = serde_json::from_str(&text).unwrap();
    let identities = EffectiveIdentities::of_pod(&rules(), &view, web, &agent_settings());
    identities
        .containers()
        .map(|container| words(container.identity()))
        .collect()
}

/// The identity of a container with this environment.
fn of_env(env: &[Json]) -> String {
    let pod = json!({"spec": {"containers": [{"name": "app", "env": env}]}});
    of_pod(&pod, &web_settings()).remove(0)
}

fn set(name: &str, value: &str) -> Json {
    json!({"name": name, "value": value})
}

fn from(name: &str) -> Json {
    json!({"name": name, "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}})
}

/// The states of static keys, of a web identity and of a container credentials server, each with what it means alone.
fn keys() -> Vec<(&'static str, Vec<Json>)> {
    let (id, secret) = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY");
    vec![
        ("", vec![]),
        ("keys", vec![set(id, "AKIDEXAMPLE"), set(secret, "s")]),
        ("keys", vec![set(id, ""), set(secret, "s"), set(id, "AKIDEXAMPLE")]),
        ("", vec![set(id, ""), set(secret, "")]),
        ("", vec![set(id, ""), set(secret, "s")]),
        ("", vec![set(id, "AKIDEXAMPLE")]),
        ("", vec![set(id, "AKIDEXAMPLE"), set(secret, "")]),
        ("", vec![set(secret, "s")]),
        ("", vec![from(id), from(secret)]),
        ("", vec![set(id, "AKIDEXAMPLE"), from(secret)]),
        (
            "",
            vec![set("AWS_ACCESS_KEY", "AKIDEXAMPLE"), set("AWS_SECRET_KEY", "s")],
        ),
    ]
}

fn web_identities() -> Vec<(&'static str, Vec<Json>)> {
    let (role, file) = ("AWS_ROLE_ARN", "AWS_WEB_IDENTITY_TOKEN_FILE");
    vec![
        ("", vec![]),
        ("other by our token", vec![set(role, ROLE), set(file, TOKEN_FILE)]),
        (
            "other by our token",
            vec![set(role, "no"), set(file, TOKEN_FILE), set(role, ROLE)],
        ),
        (
            "other by our token",
            vec![
                set("ACCOUNT", "111122223333"),
                set(role, "arn:aws:iam::$(ACCOUNT):role/other"),
                set(file, TOKEN_FILE),
            ],
        ),
        ("unknown: no ARN", vec![set(role, "runner"), set(file, TOKEN_FILE)]),
        (
            "unknown: no ARN",
            vec![set(role, "arn:aws:iam::$(NOT_THERE):role/x"), set(file, TOKEN_FILE)],
        ),
        ("unknown: no ARN", vec![set(role, "$$(ROLE)"), set(file, TOKEN_FILE)]),
        ("unknown AWS_ROLE_ARN", vec![from(role), set(file, TOKEN_FILE)]),
        (
            "unknown AWS_ROLE_ARN",
            vec![set(role, ROLE), from(role), set(file, TOKEN_FILE)],
        ),
        ("unknown AWS_WEB_IDENTITY_TOKEN_FILE", vec![set(role, ROLE), from(file)]),
        ("unknown: token", vec![set(role, ROLE), set(file, "/own/token")]),
        ("unknown: token", vec![set(role, ROLE), set(file, "token")]),
        (
            "unknown: API server",
            vec![set(role, ROLE), set(file, API_SERVER_TOKEN)],
        ),
        ("incomplete", vec![set(role, ROLE)]),
        ("incomplete", vec![from(role)]),
        ("incomplete", vec![set(file, TOKEN_FILE)]),
        ("incomplete", vec![set(role, ""), set(file, "")]),
        ("incomplete", vec![set(role, ROLE), set(file, "")]),
        ("incomplete", vec![json!({"name": role}), set(file, TOKEN_FILE)]),
        ("incomplete", vec![from(role), set(file, "")]),
    ]
}

fn servers() -> Vec<(&'static str, Vec<Json>)> {
    let (full, relative) = (
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    );
    let token = set("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "/token");
    vec![
        ("", vec![]),
        ("", vec![set(full, ""), set(relative, "")]),
        ("agent", vec![set(full, AGENT), token.clone()]),
        (
            "agent",
            vec![
                set(full, "http://[fd00:ec2::23]/v1/credentials"),
                token.clone(),
                set(relative, ""),
            ],
        ),
        (
            "agent",
            vec![set(full, AGENT), set("AWS_CONTAINER_AUTHORIZATION_TOKEN", "t")],
        ),
        ("none: no token", vec![set(full, AGENT)]),
        (
            "none: no token",
            vec![set(full, AGENT), set("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "")],
        ),
        (
            "server of FULL_URI",
            vec![set(full, "http://127.0.0.1:8080/c"), token.clone()],
        ),
        ("server of FULL_URI", vec![set(full, "http://localhost/c")]),
        ("server of FULL_URI", vec![set(full, "http://[::1]:1/c")]),
        ("server of FULL_URI", vec![set(full, "http://169.254.170.2/c")]),
        ("server of FULL_URI", vec![set(full, "https://vault.example.com/c")]),
        ("none: refused", vec![set(full, "http://x"), token.clone()]),
        ("none: refused", vec![set(full, "http://127.0.0.1.example.com/c")]),
        ("none: refused", vec![set(full, "http://169.254.169.254/c")]),
        ("none: refused", vec![set(full, "127.0.0.1")]),
        (
            "server of RELATIVE_URI",
            vec![set(relative, "/c"), set(full, AGENT), token],
        ),
        ("unknown AWS_CONTAINER_CREDENTIALS_FULL_URI", vec![from(full)]),
        (
            "unknown AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
            vec![from(relative), set(full, AGENT)],
        ),
    ]
}

/// What changes nothing about which identity is used.
fn unrelated() -> Vec<Vec<Json>> {
    vec![
        vec![],
        vec![set("AWS_PROFILE", "p")],
        vec![set("AWS_REGION", ""), set("AWS_ROLE_SESSION_NAME", "")],
        vec![set("AWS_EC2_METADATA_DISABLED", "false"), set("AWS_SESSION_TOKEN", "t")],
    ]
}

/// The order of the SDKs: static keys, a complete web identity, a container credentials server, and then what is injected.
#[test]
fn every_combination_of_keys_web_identity_and_server_ends_where_the_sdks_end() {
    for (keys_mean, keys) in keys() {
        for (web_means, web) in web_identities() {
            for (server_means, server) in servers() {
                for unrelated in unrelated() {
                    let env = [keys.clone(), web.clone(), server.clone(), unrelated].concat();
                    let expected = match (keys_mean, web_means, server_means) {
                        ("keys", ..) => "keys",
                        (_, "incomplete", "" | "none: no token" | "none: refused") => "none: incomplete",
                        (_, "", "") => "injected",
                        (_, "" | "incomplete", server) => server,
                        (_, web, _) => web,
                    };
                    assert_eq!(of_env(&env), expected, "{env:?}");
                }
            }
        }
    }
}

#[test]
fn env_from_hides_what_a_reference_means_and_nothing_else() {
    let of = |env: Json| {
        let container = json!({"name": "app", "env": env, "envFrom": [{"configMapRef": {"name": "c"}}]});
        of_pod(&json!({"spec": {"containers": [container]}}), &web_settings()).remove(0)
    };
    let file = set("AWS_WEB_IDENTITY_TOKEN_FILE", TOKEN_FILE);
    assert_eq!(of(json!([])), "injected");
    assert_eq!(of(json!([set("AWS_ROLE_ARN", ROLE), file])), "other by our token");
    assert_eq!(
        of(json!([set("AWS_ROLE_ARN", "$(ROLE)"), file])),
        "unknown AWS_ROLE_ARN"
    );
    assert_eq!(
        of(json!([set("ROLE", ROLE), set("AWS_ROLE_ARN", "$(ROLE)"), file])),
        "other by our token"
    );
}

/// A pod whose container reads its token from `file` and has these mounts.
fn with_mounts(file: &str, mounts: Json, volumes: Json) -> Json {
    json!({"spec": {
        "containers": [{
            "name": "app",
            "env": [set("AWS_ROLE_ARN", ROLE), set("AWS_WEB_IDENTITY_TOKEN_FILE", file)],
            "volumeMounts": mounts,
        }],
        "volumes": volumes,
    }})
}

fn projected(name: &str, audience: Option<&str>, path: &str) -> Json {
    let mut token = json!({"path": path});
    if let Some(audience) = audience {
        token["audience"] = json!(audience);
    }
    json!({"name": name, "projected": {"sources": [{"configMap": {"name": "ca"}}, {"serviceAccountToken": token}]}})
}

#[test]
fn the_token_is_the_one_that_is_mounted_at_the_path() {
    let ours = "other by our token";
    let own = projected("own", Some("amazonaws.com"), "token");
    let at = |path: &str| json!([{"name": "own", "mountPath": path}]);
    for (file, mounts, volumes, expected) in [
        // Spellings of our path, with no mount there yet.
        (TOKEN_FILE, json!([]), json!([]), ours),
        (
            "/run/secrets/eks.amazonaws.com/serviceaccount/token",
            json!([]),
            json!([]),
            ours,
        ),
        (
            "//var/run//secrets/./eks.amazonaws.com/x/../serviceaccount/token",
            json!([]),
            json!([]),
            ours,
        ),
        (
            "/var/run/secrets/eks.amazonaws.com/serviceaccount/token/",
            json!([]),
            json!([]),
            "unknown: token",
        ),
        (
            "/var/run/secrets/eks.amazonaws.com/serviceaccount/other",
            json!([]),
            json!([]),
            "unknown: token",
        ),
        // Another projected token at our path, or elsewhere.
        (
            TOKEN_FILE,
            at(MOUNT_PATH),
            json!([own]),
            "other by a token for amazonaws.com",
        ),
        (
            TOKEN_FILE,
            at("/run/secrets/eks.amazonaws.com/serviceaccount"),
            json!([own]),
            "other by a token for amazonaws.com",
        ),
        (
            "/own/token",
            at("/own"),
            json!([own]),
            "other by a token for amazonaws.com",
        ),
        (
            "/own/./token",
            at("/own/"),
            json!([own]),
            "other by a token for amazonaws.com",
        ),
        ("/own/other", at("/own"), json!([own]), "unknown: token"),
        (
            "/own/a/b",
            at("/own"),
            json!([projected("own", Some("x"), "a/b")]),
            "other by a token for x",
        ),
        // The deepest mount decides; a writable one above ours does not.
        (TOKEN_FILE, at("/var/run"), json!([own]), ours),
        (
            "/own/deep/token",
            json!([{"name": "secret", "mountPath": "/own/deep"}, {"name": "own", "mountPath": "/own"}]),
            json!([own, {"name": "secret", "secret": {}}]),
            "unknown: token",
        ),
        (
            "/own/t",
            json!([{"name": "own", "mountPath": "/own/t", "subPath": "token"}]),
            json!([own]),
            "other by a token for amazonaws.com",
        ),
        (
            "/own/t",
            json!([{"name": "own", "mountPath": "/own/t", "subPathExpr": "$(X)"}]),
            json!([own]),
            "unknown: token",
        ),
        // A volume above with a token exactly there.
        (
            TOKEN_FILE,
            at("/var/run/secrets/eks.amazonaws.com"),
            json!([projected("own", Some("x"), "serviceaccount/token")]),
            "other by a token for x",
        ),
        // The link that the kubelet makes.
        (
            "/var/run/secrets/eks.amazonaws.com/serviceaccount/..data/token",
            json!([]),
            json!([]),
            ours,
        ),
        (
            "/own/..data/token",
            at("/own"),
            json!([own]),
            "other by a token for amazonaws.com",
        ),
        // Our volume where the author mounts it.
        (
            "/mine/token",
            json!([{"name": "aws-iam-token", "mountPath": "/mine"}]),
            json!([]),
            ours,
        ),
        (
            TOKEN_FILE,
            json!([{"name": "aws-iam-token", "mountPath": TOKEN_FILE, "subPath": "token"}]),
            json!([]),
            ours,
        ),
        (
            TOKEN_FILE,
            json!([{"name": "aws-iam-token", "mountPath": "/mine"}]),
            json!([]),
            ours,
        ),
        // The token for the API server.
        (API_SERVER_TOKEN, json!([]), json!([]), "unknown: API server"),
        (
            "/run/secrets/kubernetes.io/serviceaccount/token",
            json!([]),
            json!([]),
            "unknown: API server",
        ),
        (
            "/k/token",
            json!([{"name": "own", "mountPath": "/k"}]),
            json!([projected("own", None, "token")]),
            "unknown: API server",
        ),
        // No volume of that name, and others.
        ("/own/token", at("/own"), json!([]), "unknown: token"),
        (
            "/own/token",
            at("/own"),
            json!([{"name": "own", "hostPath": {"path": "/"}}]),
            "unknown: token",
        ),
    ] {
        let pod = with_mounts(file, mounts, volumes);
        assert_eq!(of_pod(&pod, &web_settings()), [expected], "{pod}");
    }
}

#[test]
fn the_audience_of_the_api_server_can_be_configured() {
    let settings = WebIdentitySettings {
        api_audience: Some(Audience::new("sts.amazonaws.com")),
        ..web_settings()
    };
    let pod = with_mounts(API_SERVER_TOKEN, json!([]), json!([]));
    assert_eq!(of_pod(&pod, &settings), ["other by a token for sts.amazonaws.com"]);
}

#[test]
fn windows_paths_are_compared_as_windows_does() {
    let pod = |file: &str, proof: (&str, Json)| {
        let mut pod = with_mounts(file, json!([]), json!([]));
        pod["spec"][proof.0] = proof.1;
        pod
    };
    let file = r"C:\var\run\secrets\eks.amazonaws.com\serviceaccount\token";
    for proof in [
        ("os", json!({"name": "windows"})),
        ("nodeSelector", json!({"kubernetes.io/os": "windows"})),
        ("securityContext", json!({"windowsOptions": {"hostProcess": false}})),
    ] {
        assert_eq!(
            of_pod(&pod(file, proof.clone()), &web_settings()),
            ["other by our token"]
        );
        assert_eq!(
            of_pod(&pod(&file.to_uppercase(), proof), &web_settings()),
            ["other by our token"]
        );
    }
    assert_eq!(
        of_pod(&pod(file, ("os", json!({"name": "linux"}))), &web_settings()),
        ["unknown: token"]
    );
}

#[test]
fn each_container_has_its_own_and_those_left_out_have_none() {
    let own = json!([
        set("AWS_ROLE_ARN", ROLE),
        set("AWS_WEB_IDENTITY_TOKEN_FILE", TOKEN_FILE)
    ]);
    let pod = json!({
        "metadata": {"annotations": {"eks.amazonaws.com/skip-containers": "left-out"}},
        "spec": {
            "initContainers": [{"name": "init", "env": own}, {"name": "sidecar", "restartPolicy": "Always"}],
            "containers": [{"name": "app"}, {"name": "left-out", "env": own}, null],
        },
    });
    let expected = ["other by our token", "injected", "injected", "skipped"];
    assert_eq!(of_pod(&pod, &web_settings()), expected);
}

#[test]
fn of_ephemeral_containers_only_new_ones_count() {
    let own = json!([
        set("AWS_ROLE_ARN", ROLE),
        set("AWS_WEB_IDENTITY_TOKEN_FILE", TOKEN_FILE)
    ]);
    let pod = |ephemeral: Json| {
        json!({"spec": {"containers": [{"name": "app"}], "ephemeralContainers": ephemeral}}).to_string()
    };
    let (old, new) = (
        pod(json!([{"name": "old"}])),
        pod(json!([{"name": "old"}, {"name": "new", "env": own}])),
    );
    let (old, new): (PodView<'_>, PodView<'_>) =
        (serde_json::from_str(&old).unwrap(), serde_json::from_str(&new).unwrap());
    let identities = EffectiveIdentities::of_new_ephemeral(&rules(), &old, &new, &web_settings(), &agent_settings());
    let found: Vec<_> = identities
        .containers()
        .map(|found| (found.name(), words(found.identity())))
        .collect();
    assert_eq!(found, [("new", "other by our token".to_owned())]);
}

#[test]
fn a_pod_of_nothing_but_pod_identity_is_ekss() {
    let token = set("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "/token");
    let agent = |name: &str| json!({"name": name, "env": [set("AWS_CONTAINER_CREDENTIALS_FULL_URI", AGENT), token]});
    let other =
        |name: &str| json!({"name": name, "env": [set("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://x"), token]});
    let plain = |name: &str| json!({"name": name});
    for (containers, all) in [
        (json!([]), false),
        (json!([agent("a")]), true),
        (json!([agent("a"), agent("b")]), true),
        (json!([agent("a"), plain("skipped")]), true),
        (json!([plain("skipped")]), false),
        (json!([agent("a"), plain("b")]), false),
        (json!([other("a")]), false),
        (json!([plain("a")]), false),
    ] {
        let text = json!({
            "metadata": {"annotations": {"eks.amazonaws.com/skip-containers": "skipped"}},
            "spec": {"containers": containers},
        })
        .to_string();
        let view: PodView<'_> = serde_json::from_str(&text).unwrap();
        let identities = EffectiveIdentities::of_pod(&rules(), &view, &web_settings(), &agent_settings());
        assert_eq!(identities.are_all_pod_identity(), all, "{containers}");
    }
}

#[test]
fn uris_are_accepted_as_the_sdks_accept_them() {
    for uri in [
        AGENT,
        "http://169.254.170.2/x",
        "http://127.0.0.1",
        "http://127.9.9.9:80/x?y#z",
        "http://localhost:8080",
        "http://[::1]/x",
        "http://[fd00:ec2::23]/v1/credentials",
        "https://example.com",
        "http://user@127.0.0.1/",
    ] {
        assert!(is_accepted_by_sdks(uri), "{uri}");
    }
    for uri in [
        "",
        "/relative",
        "http://",
        "https:///x",
        "http://example.com",
        "http://127.0.0.1.nip.example",
        "http://127.0.0.1@example.com/",
        "http://169.254.169.254/",
        "http://[::2]/",
        "ftp://127.0.0.1/",
    ] {
        assert!(!is_accepted_by_sdks(uri), "{uri}");
    }
}

/// Each container asks for the last of many tokens in one volume: the sources are looked through once.
#[test]
fn many_containers_and_many_tokens_are_not_multiplied() {
    let sources: Vec<Json> = (0..20_000)
        .map(|n| json!({"serviceAccountToken": {"audience": format!("a{n}"), "path": format!("t{n}")}}))
        .collect();
    let containers: Vec<Json> = (0..20_000)
        .map(|n| {
            json!({
                "name": format!("c{n}"),
                "env": [set("AWS_ROLE_ARN", ROLE), set("AWS_WEB_IDENTITY_TOKEN_FILE", "/own/t19999")],
                "volumeMounts": [{"name": "own", "mountPath": "/own"}],
            })
        })
        .collect();
    let pod =
        json!({"spec": {"containers": containers, "volumes": [{"name": "own", "projected": {"sources": sources}}]}});
    let found = of_pod(&pod, &web_settings());
    assert_eq!(found.len(), 20_000);
    assert!(found.iter().all(|identity| identity == "other by a token for a19999"));
}
