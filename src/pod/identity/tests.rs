use super::*;

const ROLE: &str = "arn:aws:iam::111122223333:role/team/s3-reader";

fn rules() -> AnnotationRules {
    AnnotationRules {
        prefix: "eks.amazonaws.com/".to_owned(),
        compose: None,
    }
}

fn defaults() -> Defaults {
    Defaults {
        audience: Audience::new("sts.amazonaws.com"),
        expiration_seconds: 86_400,
        regional_sts: false,
    }
}

fn account(annotations: &[(&str, &str)]) -> Option<ServiceAccountIdentity> {
    ServiceAccountIdentity::from_annotations(&rules(), annotations.iter().copied())
}

/// What a pod with these annotations requests under a ServiceAccount with those.
fn ask(account_annotations: &[(&str, &str)], pod_annotations: &[(&str, &str)]) -> (Requested, Vec<String>) {
    ask_with(&rules(), account_annotations, pod_annotations, &defaults())
}

fn ask_with(
    rules: &AnnotationRules,
    account_annotations: &[(&str, &str)],
    pod_annotations: &[(&str, &str)],
    defaults: &Defaults,
) -> (Requested, Vec<String>) {
    let account = ServiceAccountIdentity::from_annotations(rules, account_annotations.iter().copied());
    let annotations: std::collections::BTreeMap<_, _> = pod_annotations.iter().copied().collect();
    let pod = serde_json::json!({"metadata": {"annotations": annotations}, "spec": {}}).to_string();
    let pod: PodView<'_> = serde_json::from_str(&pod).unwrap();
    let (requested, warnings) = resolve(rules, account.as_ref(), &pod, defaults);
    assert!(warnings.iter().all(|warning| warning.as_str().chars().count() <= 256));
    (
        requested,
        warnings.iter().map(|warning| warning.as_str().to_owned()).collect(),
    )
}

fn web_identity((requested, warnings): (Requested, Vec<String>)) -> (WebIdentityRequest, Vec<String>) {
    match requested {
        Requested::WebIdentity(request) => (request, warnings),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_role_alone_takes_the_defaults() {
    let (request, warnings) = web_identity(ask(&[("eks.amazonaws.com/role-arn", ROLE), ("other/key", "x")], &[]));
    assert_eq!(
        request,
        WebIdentityRequest {
            role: RoleArn::parse(ROLE).unwrap(),
            audience: Audience::new("sts.amazonaws.com"),
            expiration_seconds: 86_400,
            regional_sts: false,
        }
    );
    assert_eq!(warnings, [""; 0]);
}

#[test]
fn annotations_win_over_the_defaults_and_the_pods_over_the_service_accounts() {
    let annotations = [
        ("eks.amazonaws.com/role-arn", ROLE),
        ("eks.amazonaws.com/audience", "sts.amazonaws.com.cn"),
        ("eks.amazonaws.com/sts-regional-endpoints", "true"),
        ("eks.amazonaws.com/token-expiration", "3600"),
    ];
    let (request, warnings) = web_identity(ask(&annotations, &[]));
    assert_eq!(request.audience.as_str(), "sts.amazonaws.com.cn");
    assert_eq!((request.expiration_seconds, request.regional_sts), (3600, true));
    assert_eq!(warnings, [""; 0]);

    let (request, warnings) = web_identity(ask(&annotations, &[("eks.amazonaws.com/token-expiration", "7200")]));
    assert_eq!(request.expiration_seconds, 7200);
    assert_eq!(warnings, [""; 0]);
}

#[test]
fn without_a_role_nothing_is_requested() {
    for annotations in [
        &[][..],
        &[("eks.amazonaws.com/audience", "x")],
        &[("eks.amazonaws.com/role-arn", "")],
        &[
            ("eks.amazonaws.com/role-arn", ""),
            ("eks.amazonaws.com/token-expiration", "nonsense"),
        ],
    ] {
        assert_eq!(
            ask(annotations, &[("eks.amazonaws.com/token-expiration", "x")]),
            (Requested::Nothing, vec![])
        );
    }
    assert_eq!(account(&[("example.com/role-arn", ROLE), ("team", "x")]), None);
    assert_eq!(account(&[("eks.amazonaws.com/role-arn", "")]), None);
    assert!(!account(&[("eks.amazonaws.com/audience", "x")]).unwrap().asks_for_role());
}

#[test]
fn an_empty_audience_is_the_default() {
    let annotations = [("eks.amazonaws.com/role-arn", ROLE), ("eks.amazonaws.com/audience", "")];
    assert_eq!(
        web_identity(ask(&annotations, &[])).0.audience.as_str(),
        "sts.amazonaws.com"
    );
}

#[test]
fn a_value_that_is_not_a_role_arn_is_malformed_with_its_key_and_value() {
    for value in [
        "s3-reader",
        " ",
        "arn:aws:iam::123:role/x",
        "arn:aws:iam::111122223333:user/x",
    ] {
        let (requested, warnings) = ask(&[("eks.amazonaws.com/role-arn", value)], &[]);
        let Requested::Malformed(malformed) = requested else {
            panic!("{value}: {requested:?}")
        };
        assert_eq!(
            (malformed.key.as_str(), malformed.value.as_str()),
            ("eks.amazonaws.com/role-arn", value)
        );
        assert_eq!(malformed.error, RoleArn::parse(value).unwrap_err().into());
        assert_eq!(warnings, [""; 0]);
    }
    let malformed = account(&[("eks.amazonaws.com/role-arn", "x")]).unwrap();
    assert!(malformed.asks_for_role() && malformed.role().is_none());
    let good = account(&[("eks.amazonaws.com/role-arn", ROLE)]).unwrap();
    assert!(good.asks_for_role() && good.role() == Some(&RoleArn::parse(ROLE).unwrap()));
}

#[test]
fn a_bare_name_is_composed_only_when_enabled() {
    let compose = (
        Partition::parse("aws-cn").unwrap(),
        AccountId::parse("111122223333").unwrap(),
    );
    let rules = AnnotationRules {
        compose: Some(compose),
        ..rules()
    };
    for (value, role) in [
        ("s3-reader", "arn:aws-cn:iam::111122223333:role/s3-reader"),
        ("team/s3-reader", "arn:aws-cn:iam::111122223333:role/team/s3-reader"),
        (ROLE, ROLE),
    ] {
        let (request, _) = web_identity(ask_with(
            &rules,
            &[("eks.amazonaws.com/role-arn", value)],
            &[],
            &defaults(),
        ));
        assert_eq!(request.role.as_str(), role);
    }
    // An ARN with something before it is a mistake, not a path.
    let misspelled = format!("x{ROLE}");
    assert!(
        matches!(
            ask_with(&rules, &[("eks.amazonaws.com/role-arn", &misspelled)], &[], &defaults()).0,
            Requested::Malformed(malformed) if malformed.error == AnnotationError::Role(RoleArnError::NotAnArn)
        ),
        "{misspelled}"
    );
    assert!(matches!(
        ask(&[("eks.amazonaws.com/role-arn", "s3-reader")], &[]).0,
        Requested::Malformed(_)
    ));
}

#[test]
fn the_words_for_a_switch_are_those_of_go() {
    let read = |value: &str, default: bool| {
        let defaults = Defaults {
            regional_sts: default,
            ..defaults()
        };
        let annotations = [
            ("eks.amazonaws.com/role-arn", ROLE),
            ("eks.amazonaws.com/sts-regional-endpoints", value),
        ];
        let (request, warnings) = web_identity(ask_with(&rules(), &annotations, &[], &defaults));
        (request.regional_sts, warnings)
    };
    for value in ["1", "t", "T", "TRUE", "true", "True"] {
        assert_eq!(read(value, false), (true, vec![]), "{value}");
    }
    for value in ["0", "f", "F", "FALSE", "false", "False"] {
        assert_eq!(read(value, true), (false, vec![]), "{value}");
    }
    for (value, shown) in [
        ("yes", "yes"),
        ("", ""),
        ("tRUE", "tRUE"),
        (" true", " true"),
        ("on\n", r"on\n"),
    ] {
        for default in [true, false] {
            let warning = format!(
                "eks.amazonaws.com/sts-regional-endpoints \"{shown}\" is neither true nor false: {default} is used"
            );
            assert_eq!(read(value, default), (default, vec![warning]), "{value}");
        }
    }
}

#[test]
fn a_lifetime_is_clamped_or_defaulted_with_a_warning() {
    let outside = |value: &str, used: u32| {
        Some(format!(
            "eks.amazonaws.com/token-expiration \"{value}\" is outside 600 to 86400 seconds: {used} is used"
        ))
    };
    let no_number = |value: &str| {
        Some(format!(
            "eks.amazonaws.com/token-expiration \"{value}\" is not a number of seconds: 43200 is used"
        ))
    };
    for (value, seconds, warning) in [
        ("600", 600, None),
        ("86400", 86_400, None),
        ("3600", 3600, None),
        ("+3600", 3600, None),
        ("03600", 3600, None),
        ("599", 600, outside("599", 600)),
        ("86401", 86_400, outside("86401", 86_400)),
        ("0", 600, outside("0", 600)),
        ("-1", 600, outside("-1", 600)),
        ("4294967896", 86_400, outside("4294967896", 86_400)),
        ("99999999999999999999", 86_400, outside("99999999999999999999", 86_400)),
        ("-99999999999999999999", 600, outside("-99999999999999999999", 600)),
        ("", 43_200, no_number("")),
        ("1h", 43_200, no_number("1h")),
        ("3_600", 43_200, no_number("3_600")),
        ("3600.0", 43_200, no_number("3600.0")),
        (" 3600", 43_200, no_number(" 3600")),
        ("0x1000", 43_200, no_number("0x1000")),
        ("+", 43_200, no_number("+")),
        ("a\tb", 43_200, no_number(r"a\tb")),
    ] {
        let defaults = Defaults {
            expiration_seconds: 43_200,
            ..defaults()
        };
        let role = ("eks.amazonaws.com/role-arn", ROLE);
        let expiration = ("eks.amazonaws.com/token-expiration", value);
        for (account, pod) in [(&[role, expiration][..], &[][..]), (&[role], &[expiration])] {
            let (request, warnings) = web_identity(ask_with(&rules(), account, pod, &defaults));
            assert_eq!(request.expiration_seconds, seconds, "{value}");
            assert_eq!(warnings, Vec::from_iter(warning.clone()), "{value}");
        }
    }
}

#[test]
fn an_unreadable_lifetime_of_the_pod_leaves_the_service_accounts() {
    let ask = |of_account: &str, of_pod: &str| {
        let annotations = [
            ("eks.amazonaws.com/role-arn", ROLE),
            ("eks.amazonaws.com/token-expiration", of_account),
        ];
        let (request, warnings) = web_identity(ask(&annotations, &[("eks.amazonaws.com/token-expiration", of_pod)]));
        (request.expiration_seconds, warnings)
    };
    let unreadable =
        |used: u32| format!("eks.amazonaws.com/token-expiration \"soon\" is not a number of seconds: {used} is used");
    assert_eq!(ask("3600", "soon"), (3600, vec![unreadable(3600)]));
    assert_eq!(ask("soon", "7200"), (7200, vec![]));
    assert_eq!(
        ask("soon", "soon"),
        (86_400, vec![unreadable(86_400), unreadable(86_400)])
    );
    // What the pod's own annotation overrides is not the author's concern.
    assert_eq!(ask("1", "7200"), (7200, vec![]));
}

#[test]
fn pod_identity_takes_the_same_annotations_with_or_without_a_role() {
    let ask = |account: Option<&ServiceAccountIdentity>, pod: &str| {
        let pod: PodView<'_> = serde_json::from_str(pod).unwrap();
        let (request, warnings) = resolve_pod_identity(&rules(), account, &pod, &defaults(), 80_000);
        (request.expiration_seconds, request.regional_sts, warnings.len())
    };
    let pod = r#"{"metadata":{"annotations":{"eks.amazonaws.com/token-expiration":"7200"}}}"#;
    let account = account(&[
        ("eks.amazonaws.com/token-expiration", "1"),
        ("eks.amazonaws.com/sts-regional-endpoints", "true"),
    ]);
    assert_eq!(ask(None, "{}"), (80_000, false, 0));
    assert_eq!(ask(None, pod), (7200, false, 0));
    assert_eq!(ask(account.as_ref(), pod), (7200, true, 0));
    assert_eq!(ask(account.as_ref(), "{}"), (600, true, 1));
}

#[test]
fn a_look_alike_without_the_real_key_earns_a_warning_and_nothing_else() {
    for key in [
        "eks.amazon.com/role-arn",
        "iam.amazonaws.com/role",
        "eks.amazonaws.com/role_arn",
        "eks.amazonaws.com/roleArn",
        "eks.amazonaws.com/ROLE-ARN",
        "eks.amazonaws.com/role",
        "EKS.amazonaws.com/role-arn",
        "eks.amazonaws.com/role-arns",
        "eks.amazonaws.com/role-arm",
        "eks.amazonaws.com/role-ar",
        "eks.amazonaws.com/role-anr",
        "eks.amazonaws.com/rol-arn",
        "eks.amazonaws.com/role-am",
        "eks.amazonaws.com/role-name",
        "eks.amazonaws.com/rol",
        "eks.amazonaws.com/arn",
        "eks.amazonaws.com/iam-role-arn",
        "eks.amazonaws.com.role-arn",
        "eks.amazonaws.com-role-arn",
        "eks.amazonaws.comrole-arn",
        "eks.aws.amazon.com/role-arn",
        "aws.amazonaws.com/role-arn",
        "eksamazonaws.com/role-arn",
        "esk.amazonaws.com/role-arn",
        "eks.amazonaws.co/role-arn",
        "eks.amazonaws.com.cn/role-arn",
        "iam.amazonaws.com/role-arn",
        "role-arn",
        "roleArn",
        "iam-role-arn",
    ] {
        let warning = format!("annotation {key} is ignored; did you mean eks.amazonaws.com/role-arn?");
        assert_eq!(ask(&[(key, ROLE)], &[]), (Requested::Nothing, vec![warning]), "{key}");
        assert!(!account(&[(key, ROLE)]).unwrap().asks_for_role());
        // Next to the real key it belongs to another program.
        assert_eq!(
            web_identity(ask(&[(key, "x"), ("eks.amazonaws.com/role-arn", ROLE)], &[])).1,
            [""; 0]
        );
        assert!(
            matches!(ask(&[(key, "x"), ("eks.amazonaws.com/role-arn", "bad")], &[]), (Requested::Malformed(_), none) if none.is_empty())
        );
        // And costs nothing: 100,000 ServiceAccounts are kept in memory.
        for role in [ROLE, "bad"] {
            let real = ("eks.amazonaws.com/role-arn", role);
            assert_eq!(account(&[(key, "x"), real]), account(&[real]), "{key}");
        }
        // An empty real key requests nothing, so the look-alike may be what was meant.
        assert_eq!(ask(&[("eks.amazonaws.com/role-arn", ""), (key, ROLE)], &[]).1.len(), 1);
    }
}

#[test]
fn annotations_of_eks_and_of_other_programs_are_not_look_alikes() {
    for key in [
        "role",
        "arn",
        "role-name",
        "example.com/role-arn",
        "example.com/role",
        "rbac.io/role",
        // EKS.
        "eks.amazonaws.com/skip-containers",
        "eks.amazonaws.com/include-containers",
        "eks.amazonaws.com/compute-type",
        "eks.amazonaws.com/nodegroup",
        "eks.amazonaws.com/target-role-arn",
        // kube2iam and kiam.
        "iam.amazonaws.com/allowed-roles",
        "iam.amazonaws.com/permitted",
        "iam.amazonaws.com/session-name",
        "iam.amazonaws.com/external-id",
        // The controllers of AWS load balancers.
        "service.beta.kubernetes.io/aws-load-balancer-type",
        "service.beta.kubernetes.io/aws-load-balancer-ssl-cert",
        "alb.ingress.kubernetes.io/certificate-arn",
        "alb.ingress.kubernetes.io/wafv2-acl-arn",
        "alb.ingress.kubernetes.io/auth-type",
        // external-dns.
        "external-dns.alpha.kubernetes.io/hostname",
        "external-dns.alpha.kubernetes.io/target",
        "external-dns.alpha.kubernetes.io/aws-weight",
        // cert-manager and its AWS Private CA issuer.
        "cert-manager.io/cluster-issuer",
        "cert-manager.io/issuer-kind",
        "cert-manager.io/common-name",
        // Karpenter.
        "karpenter.sh/do-not-disrupt",
        "karpenter.sh/nodepool-hash",
        "karpenter.k8s.aws/ec2nodeclass-hash",
        // ACK.
        "services.k8s.aws/owner-account-id",
        "services.k8s.aws/region",
        "services.k8s.aws/adoption-policy",
        "iam.services.k8s.aws/role-arn",
        // IAM Roles Anywhere.
        "rolesanywhere.amazonaws.com/trust-anchor-arn",
        "rolesanywhere.amazonaws.com/role-arn",
        // Crossplane, Kubernetes, Google.
        "crossplane.io/external-name",
        "kubectl.kubernetes.io/last-applied-configuration",
        "kubernetes.io/enforce-mountable-secrets",
        "meta.helm.sh/release-name",
        "iam.gke.io/gcp-service-account",
        "azure.workload.identity/client-id",
    ] {
        assert_eq!(account(&[(key, ROLE)]), None, "{key}");
    }
    for (key, value) in [
        ("eks.amazonaws.com/audience", "sts.amazonaws.com"),
        ("eks.amazonaws.com/sts-regional-endpoints", "true"),
        ("eks.amazonaws.com/token-expiration", "3600"),
    ] {
        assert_eq!(ask(&[(key, value)], &[]), (Requested::Nothing, vec![]), "{key}");
    }
    // What is not an annotation key costs nothing either.
    assert_eq!(account(&[(&"role-arn".repeat(100_000), ROLE)]), None);
}

#[test]
fn with_another_prefix_the_usual_key_is_itself_a_look_alike() {
    let rules = AnnotationRules {
        prefix: "example.com/".to_owned(),
        ..rules()
    };
    let ask = |key: &str| ask_with(&rules, &[(key, ROLE)], &[], &defaults());
    assert_eq!(web_identity(ask("example.com/role-arn")).0.role.as_str(), ROLE);
    for key in ["eks.amazonaws.com/role-arn", "example.com/role_arn"] {
        let warning = format!("annotation {key} is ignored; did you mean example.com/role-arn?");
        assert_eq!(ask(key), (Requested::Nothing, vec![warning]));
    }
}

#[test]
fn an_entry_of_the_config_map_is_read_like_annotations() {
    let entry = |role: &str, audience: Option<&str>, regional: Option<bool>, seconds: Option<i64>| {
        ServiceAccountIdentity::from_config_map_entry(&rules(), role, audience, regional, seconds)
    };
    let resolved = |entry: Option<ServiceAccountIdentity>| {
        let (requested, warnings) = resolve(&rules(), entry.as_ref(), &PodView::default(), &defaults());
        let warnings = warnings.iter().map(|warning| warning.as_str().to_owned()).collect();
        web_identity((requested, warnings))
    };
    let (request, warnings) = resolved(entry(ROLE, Some("a"), Some(true), Some(3600)));
    assert_eq!(
        (
            request.audience.as_str(),
            request.regional_sts,
            request.expiration_seconds
        ),
        ("a", true, 3600)
    );
    assert_eq!(warnings, [""; 0]);

    let (request, warnings) = resolved(entry(ROLE, Some(""), None, Some(0)));
    assert_eq!(
        (request.audience.as_str(), request.expiration_seconds),
        ("sts.amazonaws.com", 86_400)
    );
    assert_eq!(warnings, [""; 0]);

    let (request, warnings) = resolved(entry(ROLE, None, None, Some(1)));
    assert_eq!(request.expiration_seconds, 600);
    assert_eq!(
        warnings,
        ["TokenExpiration \"1\" is outside 600 to 86400 seconds: 600 is used"]
    );

    assert_eq!(entry("", None, None, None), None);
    assert!(!entry("", Some("a"), None, None).unwrap().asks_for_role());
    assert_eq!(
        entry("bad", None, None, None).unwrap().malformed().unwrap().key,
        "RoleARN"
    );
}

#[test]
fn the_common_case_costs_a_few_words() {
    assert!(
        size_of::<ServiceAccountIdentity>() <= 32,
        "{}",
        size_of::<ServiceAccountIdentity>()
    );
    assert!(
        account(&[("eks.amazonaws.com/role-arn", ROLE), ("example.com/x", "y")])
            .unwrap()
            .rare
            .is_none()
    );
}

#[test]
fn a_misspelled_setting_next_to_a_role_is_warned_about() {
    let role = ("eks.amazonaws.com/role-arn", ROLE);
    for (key, meant) in [
        ("sts-regional-endpoint", "sts-regional-endpoints"),
        ("regional-sts", "sts-regional-endpoints"),
        ("api-audience", "audience"),
        ("audiance", "audience"),
        ("expiration", "token-expiration"),
        ("token-expiry-expiration", "token-expiration"),
    ] {
        let key = format!("eks.amazonaws.com/{key}");
        let (_, warnings) = ask(&[role, (&key, "x")], &[]);
        assert_eq!(
            warnings,
            [format!(
                "annotation {key} is ignored; did you mean eks.amazonaws.com/{meant}?"
            )]
        );
        let (_, warnings) = ask(&[(&key, "x")], &[]);
        assert_eq!(warnings, [""; 0], "without a role nothing has an effect");
    }
    for key in [
        "eks.amazonaws.com/fargate-profile",
        "example.com/audience",
        "eks.amazonaws.com/component",
    ] {
        assert_eq!(ask(&[role, (key, "x")], &[]).1, [""; 0], "{key}");
    }
}

#[test]
fn an_audience_that_no_provider_can_have_is_malformed_next_to_a_role() {
    let role = ("eks.amazonaws.com/role-arn", ROLE);
    let audience = "ö".repeat(MAX_AUDIENCE_CHARS);
    let (request, _) = web_identity(ask(&[role, ("eks.amazonaws.com/audience", &audience)], &[]));
    assert_eq!(request.audience.as_str(), audience);
    let longer = format!("{audience}a");
    let (requested, _) = ask(&[role, ("eks.amazonaws.com/audience", &longer)], &[]);
    let Requested::Malformed(malformed) = requested else {
        panic!("{requested:?}")
    };
    assert_eq!(
        (malformed.key.as_str(), malformed.error),
        ("eks.amazonaws.com/audience", AnnotationError::AudienceTooLong(256))
    );
    assert_eq!(
        ask(&[("eks.amazonaws.com/audience", &longer)], &[]).0,
        Requested::Nothing
    );
}
