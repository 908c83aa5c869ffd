use std::time::Duration;

use super::identity::{AwsRegion, BareNames, IdentitySettings};
use super::*;
use crate::args::namespaced_name::NamespacedName;
use crate::decision::Mode;

fn serve(flags: &[&str]) -> Result<ServeArgs, String> {
    let args = ServeArgs::from_flags(flags).map_err(|error| error.to_string())?;
    args.validate().map_err(|error| error.message)?;
    Ok(args)
}

fn identity(flags: &[&str]) -> Result<IdentitySettings, String> {
    serve(flags).map(|args| args.identity.settings())
}

#[test]
fn defaults_are_what_the_help_says() {
    let ServeArgs {
        serving,
        decision,
        trust_policies,
        identity,
        pod_identity,
        telemetry,
        ..
    } = serve(&[]).unwrap();
    assert_eq!((serving.listen.port(), serving.admin_listen.port()), (8443, 8080));
    assert_eq!(serving.drain, Duration::from_secs(5));
    assert!(!serving.admin_allow_remote_roles);
    assert_eq!(decision.mode, Mode::Enforce);
    assert!(decision.honor_skip_label);
    let cache = trust_policies.settings(1).cache;
    assert_eq!(
        (cache.ttl, cache.max_stale, cache.read_timeout),
        (
            Duration::from_secs(60),
            Duration::from_secs(3600),
            Duration::from_millis(700)
        )
    );
    let identity = identity.settings();
    assert_eq!(identity.annotation_prefix.as_str(), "eks.amazonaws.com/");
    assert!(matches!(identity.bare_names, BareNames::Rejected));
    let defaults = identity.defaults;
    assert_eq!(
        (
            defaults.audience.as_str(),
            defaults.expiration_seconds,
            defaults.regional_sts
        ),
        ("sts.amazonaws.com", 86_400, false)
    );
    let web_identity = identity.web_identity;
    assert_eq!(
        web_identity.mount_path,
        "/var/run/secrets/eks.amazonaws.com/serviceaccount"
    );
    assert!(!web_identity.role_session_name && !web_identity.disable_instance_metadata);
    let (config, pod_identity) = pod_identity.settings(&web_identity);
    assert_eq!(config, None);
    assert_eq!(pod_identity.full_uri, "http://169.254.170.23/v1/credentials");
    assert_eq!(pod_identity.audience, "pods.eks.amazonaws.com");
    assert_eq!(
        pod_identity.mount_path,
        "/var/run/secrets/pods.eks.amazonaws.com/serviceaccount"
    );
    assert_eq!(pod_identity.volume_name, "eks-pod-identity-token");
    assert_eq!(pod_identity.token_path, "eks-pod-identity-token");
    assert!(telemetry.events && !telemetry.metrics_namespace);
}

#[test]
fn addresses() {
    for (text, address) in [
        (":9443", Some("0.0.0.0:9443")),
        ("localhost:0", Some("127.0.0.1:0")),
        ("[::]:8443", Some("[::]:8443")),
        ("10.0.0.1:1", Some("10.0.0.1:1")),
        ("8443", None),
        ("example.com:8443", None),
        ("10.0.0.1:65536", None),
        ("10.0.0.1", None),
    ] {
        let parsed = serve(&["--listen", text]).map(|args| args.serving.listen.to_string());
        assert_eq!(parsed.ok().as_deref(), address, "{text}");
    }
}

#[test]
fn role_sources_keep_their_order_repeated_or_in_a_list() {
    let expected = [
        RoleSourceSpec::Ack,
        RoleSourceSpec::Files("/a/b=c".into()),
        RoleSourceSpec::Iam,
    ];
    for flags in [
        &["--role-source", "ack,files=/a/b=c", "--role-source", "iam"][..],
        &["--role-source=ack", "--role-source=files=/a/b=c", "--role-source=iam"],
    ] {
        assert_eq!(serve(flags).unwrap().trust_policies.role_source, expected);
    }
}

#[test]
fn the_annotation_prefix_goes_with_or_without_its_slash() {
    for (text, prefix) in [
        ("example.com", Some("example.com/")),
        ("example.com/", Some("example.com/")),
        ("", None),
        ("/", None),
        ("a/b/", None),
        ("Example.com", None),
    ] {
        let parsed =
            identity(&["--annotation-prefix", text]).map(|identity| identity.annotation_prefix.as_str().to_owned());
        assert_eq!(parsed.ok().as_deref(), prefix, "{text}");
    }
}

#[test]
fn token_lifetimes_are_seconds_or_durations_from_ten_minutes_to_a_day() {
    for (text, seconds) in [
        ("600", Some(600)),
        ("10m", Some(600)),
        ("86400", Some(86_400)),
        ("24h", Some(86_400)),
        ("599", None),
        ("86401", None),
        ("600500ms", None),
        ("-600", None),
        ("99999999999999999999", None),
    ] {
        assert_eq!(
            identity(&[&format!("--token-expiration={text}")])
                .map(|identity| identity.defaults.expiration_seconds)
                .ok(),
            seconds,
            "{text}"
        );
    }
}

#[test]
fn mount_paths_are_absolute_and_without_a_colon() {
    for (text, path) in [
        ("/var/run/x", Some("/var/run/x")),
        ("/var/run/x/", Some("/var/run/x")),
        ("/", None),
        ("var/run", None),
        ("/a:b", None),
        ("", None),
        ("/a\nb", None),
    ] {
        assert_eq!(
            identity(&["--token-mount-path", text])
                .map(|identity| identity.web_identity.mount_path)
                .ok()
                .as_deref(),
            path,
            "{text:?}"
        );
    }
}

#[test]
fn the_region_is_a_name_or_auto() {
    assert_eq!(
        identity(&["--aws-region", "auto"]).unwrap().region,
        Some(AwsRegion::Auto)
    );
    assert_eq!(
        identity(&["--aws-region", "us-west-2"]).unwrap().region,
        Some(AwsRegion::Named("us-west-2".into()))
    );
    for bad in ["", "US-WEST-2", "us west", "a\n", "us-west", "us-west-2a", "uswest2"] {
        assert!(serve(&["--aws-region", bad]).is_err(), "{bad:?}");
    }
}

#[test]
fn certificates_can_be_managed_automatically() {
    let args = serve(&[
        "--tls-secret",
        "rolegate/rolegate-tls",
        "--tls-names",
        "rolegate.rolegate.svc",
    ])
    .unwrap();
    let certificates = args.certificates;
    let secret = certificates.tls_secret.unwrap();
    assert_eq!(
        (secret.namespace.as_str(), secret.name.as_str()),
        ("rolegate", "rolegate-tls")
    );
    let days = |days: u64| Duration::from_secs(days * 86_400);
    assert_eq!(
        (certificates.ca_lifetime, certificates.certificate_lifetime),
        (days(365), days(30))
    );
}

#[test]
fn the_identity_config_map_is_a_namespace_and_a_name() {
    let named = identity(&["--identity-config-map", "kube-system/pod-identity-webhook"])
        .unwrap()
        .config_map;
    let expected = NamespacedName {
        namespace: "kube-system".into(),
        name: "pod-identity-webhook".into(),
    };
    assert_eq!(named, Some(expected));
    for bad in ["", "x", "/x", "x/", "a/b/c", "A/b"] {
        assert!(serve(&["--identity-config-map", bad]).is_err(), "{bad}");
    }
}

#[test]
fn switches_take_the_words_of_go() {
    for (flag, on) in [
        ("--role-session-name", true),
        ("--role-session-name=true", true),
        ("--role-session-name=T", true),
        ("--role-session-name=1", true),
        ("--role-session-name=false", false),
        ("--role-session-name=F", false),
        ("--role-session-name=0", false),
    ] {
        assert_eq!(
            identity(&[flag]).map(|identity| identity.web_identity.role_session_name),
            Ok(on),
            "{flag}"
        );
    }
    for bad in [
        "--role-session-name=yes",
        "--role-session-name=",
        "--role-session-name=tRUE",
    ] {
        assert!(serve(&[bad]).is_err(), "{bad}");
    }
    assert!(!serve(&["--honor-skip-label=false"]).unwrap().decision.honor_skip_label);
}

#[test]
fn contradictions_are_reported() {
    for (flags, words) in [
        (&["--trust-ttl", "2h"][..], "--trust-max-stale"),
        (&["--listen", ":1000", "--admin-listen", ":1000"], "--admin-listen"),
        (
            &["--standalone", ".", "--issuer", "a.example", "--role-source", "ack"],
            "ack",
        ),
        (
            &["--tls-names", "a.example", "--tls-cert", "x", "--tls-key", "y"],
            "--tls-names",
        ),
        (&["--tls-secret", "a/b"], "--tls-names"),
        (&["--tls-secret", "b", "--tls-names", "a.b.svc"], "NAMESPACE/NAME"),
        (
            &["--tls-secret", "a/b", "--tls-cert", "x", "--tls-key", "y"],
            "--tls-secret",
        ),
        (
            &[
                "--tls-secret",
                "a/b",
                "--tls-names",
                "a.b.svc",
                "--standalone",
                ".",
                "--issuer",
                "a.example",
            ],
            "--standalone",
        ),
        (&["--ca-bundle", "x"], "--tls-cert"),
        (
            &["--ca-bundle", "x", "--tls-cert", "y", "--tls-key", "z"],
            "--mutating-webhook-configuration",
        ),
        (&["--ca-lifetime", "9m"], "--ca-lifetime"),
        (
            &["--ca-lifetime", "24h", "--certificate-lifetime", "25h"],
            "must be at most --ca-lifetime (24h)",
        ),
    ] {
        let error = serve(flags).map(|_| ()).unwrap_err();
        assert!(error.contains(words), "{flags:?}: {error}");
    }
    assert!(serve(&["--listen", ":0", "--admin-listen", ":0"]).is_ok());
}
