use clap::Parser as _;

use super::*;

#[derive(clap::Parser)]
struct Typed {
    #[command(flatten)]
    serve: ServeArgs,
}

fn serve(flags: &[&str]) -> Result<ServeArgs, String> {
    let typed = Typed::try_parse_from(std::iter::once(&"serve").chain(flags)).map_err(|error| error.to_string())?;
    typed.serve.contradictions().map_err(|(_, message)| message)?;
    Ok(typed.serve)
}

#[test]
fn defaults_are_what_the_help_says() {
    let args = serve(&[]).unwrap();
    assert_eq!((args.listen.port(), args.admin_listen.port()), (8443, 8080));
    assert_eq!(args.drain, Duration::from_secs(5));
    assert_eq!(args.mode, Mode::Enforce);
    assert_eq!(
        (args.trust_ttl, args.trust_max_stale),
        (Duration::from_secs(60), Duration::from_secs(3600))
    );
    assert_eq!(args.trust_read_timeout, Duration::from_millis(700));
    assert_eq!(args.annotation_prefix.as_str(), "eks.amazonaws.com/");
    assert_eq!(
        (args.token_audience.as_str(), args.token_expiration),
        ("sts.amazonaws.com", 86_400)
    );
    assert_eq!(
        args.token_mount_path,
        "/var/run/secrets/eks.amazonaws.com/serviceaccount"
    );
    assert_eq!(
        args.container_credentials_full_uri,
        "http://169.254.170.23/v1/credentials"
    );
    assert_eq!(args.container_credentials_audience, "pods.eks.amazonaws.com");
    assert_eq!(
        args.container_credentials_token_mount_path,
        "/var/run/secrets/pods.eks.amazonaws.com/serviceaccount"
    );
    assert_eq!(args.container_credentials_token_volume_name, "eks-pod-identity-token");
    assert_eq!(args.container_credentials_token_path, "eks-pod-identity-token");
    assert!(args.honor_skip_label);
    for off in [
        args.admin_allow_remote_roles,
        args.sts_regional_endpoints,
        args.compose_role_arn,
        args.role_session_name,
        args.disable_instance_metadata,
        args.metrics_namespace,
    ] {
        assert!(!off);
    }
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
        let parsed = serve(&["--listen", text]).map(|args| args.listen.to_string());
        assert_eq!(parsed.ok().as_deref(), address, "{text}");
    }
}

#[test]
fn role_sources_keep_their_order_repeated_or_in_a_list() {
    let wanted = [
        RoleSourceSpec::Ack,
        RoleSourceSpec::Files("/a/b=c".into()),
        RoleSourceSpec::Iam,
    ];
    for flags in [
        &["--role-source", "ack,files=/a/b=c", "--role-source", "iam"][..],
        &["--role-source=ack", "--role-source=files=/a/b=c", "--role-source=iam"],
    ] {
        assert_eq!(serve(flags).unwrap().role_source, wanted);
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
        let parsed = serve(&["--annotation-prefix", text]).map(|args| args.annotation_prefix.as_str().to_owned());
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
            serve(&[&format!("--token-expiration={text}")])
                .map(|args| args.token_expiration)
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
            serve(&["--token-mount-path", text])
                .map(|args| args.token_mount_path)
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
        serve(&["--aws-region", "auto"]).unwrap().aws_region,
        Some(AwsRegion::Auto)
    );
    assert_eq!(
        serve(&["--aws-region", "us-west-2"]).unwrap().aws_region,
        Some(AwsRegion::Named("us-west-2".into()))
    );
    for bad in ["", "US-WEST-2", "us west", "a\n"] {
        assert!(serve(&["--aws-region", bad]).is_err(), "{bad:?}");
    }
}

#[test]
fn certificates_look_after_themselves_for_so_long() {
    let args = serve(&[
        "--tls-secret",
        "rolegate/rolegate-tls",
        "--tls-names",
        "rolegate.rolegate.svc",
    ])
    .unwrap();
    let secret = args.tls_secret.unwrap();
    assert_eq!(
        (secret.namespace.as_str(), secret.name.as_str()),
        ("rolegate", "rolegate-tls")
    );
    let days = |days: u64| Duration::from_secs(days * 86_400);
    assert_eq!((args.ca_lifetime, args.certificate_lifetime), (days(365), days(30)));
}

#[test]
fn the_identity_config_map_is_a_namespace_and_a_name() {
    let named = serve(&["--identity-config-map", "kube-system/pod-identity-webhook"])
        .unwrap()
        .identity_config_map;
    let wanted = NamespacedName {
        namespace: "kube-system".into(),
        name: "pod-identity-webhook".into(),
    };
    assert_eq!(named, Some(wanted));
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
        assert_eq!(serve(&[flag]).map(|args| args.role_session_name), Ok(on), "{flag}");
    }
    for bad in [
        "--role-session-name=yes",
        "--role-session-name=",
        "--role-session-name=tRUE",
    ] {
        assert!(serve(&[bad]).is_err(), "{bad}");
    }
    assert!(!serve(&["--honor-skip-label=false"]).unwrap().honor_skip_label);
}

#[test]
fn what_contradicts_itself_is_told() {
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
