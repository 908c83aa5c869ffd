//! The rules for the evaluation of the roles of an EKS Pod Identity association. For each rule, there are policies that differ in one
//! detail.

use rolegate::trust::{
    Association, AssociationGrant, Cause, ClusterArn, Context, Edit, Hop, PodName, Policy, RoleArn, SessionTags,
    Verdict, judge_association, lint_association,
};

const CLUSTER: &str = "arn:aws:eks:us-west-2:111122223333:cluster/prod";
const PRIMARY: &str = "arn:aws:iam::111122223333:role/eks/api";
const TARGET: &str = "arn:aws:iam::444455556666:role/data";
const SERVICE: &str = r#"{"Service": "pods.eks.amazonaws.com"}"#;
const BOTH: &str = r#"["sts:AssumeRole", "sts:TagSession"]"#;

fn association() -> Association {
    Association {
        cluster: Some(ClusterArn::parse(CLUSTER).unwrap()),
        namespace: "shop".into(),
        service_account: "api".into(),
        id: Some("a-abcdefghijklmnop1".into()),
        role: RoleArn::parse(PRIMARY).unwrap(),
        target_role: Some(RoleArn::parse(TARGET).unwrap()),
        session_tags: SessionTags::Enabled,
        external_id: Some("us-west-2/111122223333/prod/shop/api".into()),
    }
}

fn without_tags() -> Association {
    Association {
        session_tags: SessionTags::Disabled,
        ..association()
    }
}

fn statement(effect: &str, principal: &str, action: &str, condition: &str) -> String {
    format!(r#"{{"Effect": "{effect}", "Principal": {principal}, "Action": {action}, "Condition": {condition}}}"#)
}

fn policy(statements: &[String]) -> Policy {
    let document = format!(
        r#"{{"Version": "2012-10-17", "Statement": [{}]}}"#,
        statements.join(", ")
    );
    Policy::parse(&document).unwrap_or_else(|error| panic!("{document}: {error}"))
}

/// The verdict in one word, or the cause where it is not trusted.
fn word(hop: Hop, statements: &[String], association: &Association, pod_name: PodName<'_>) -> &'static str {
    let context = Context {
        now: Some(1_790_000_000),
        ..Context::default()
    };
    let judgment = judge_association(hop, &policy(statements), association, pod_name, &context);
    let explanation = judgment.explanation.as_deref();
    assert_eq!(judgment.verdict == Verdict::Trusted, explanation.is_none());
    match judgment.verdict {
        Verdict::NotTrusted => explanation.unwrap().cause.map_or("no cause", Cause::as_str),
        verdict => {
            assert_eq!(explanation.and_then(|explanation| explanation.cause), None);
            verdict.as_str()
        }
    }
}

/// Of one statement for the primary role with this condition.
fn primary(condition: &str) -> &'static str {
    primary_of(condition, &association(), PodName::Unknown)
}

fn primary_of(condition: &str, association: &Association, pod_name: PodName<'_>) -> &'static str {
    let statements = [statement("Allow", SERVICE, BOTH, condition)];
    word(Hop::Primary, &statements, association, pod_name)
}

/// Of one statement for the target role with this condition, which trusts the primary role.
fn target_of(condition: &str, association: &Association) -> &'static str {
    let principal = format!(r#"{{"AWS": "{PRIMARY}"}}"#);
    let statements = [statement("Allow", &principal, BOTH, condition)];
    word(Hop::Target, &statements, association, PodName::Unknown)
}

#[test]
fn the_service_of_pod_identity_is_trusted_by_its_exact_name() {
    let of = |principal: &str| {
        let statements = [statement("Allow", principal, BOTH, "{}")];
        word(Hop::Primary, &statements, &association(), PodName::Unknown)
    };
    for (principal, expected) in [
        (SERVICE, "trusted"),
        (
            r#"{"Service": ["ec2.amazonaws.com", "pods.eks.amazonaws.com"]}"#,
            "trusted",
        ),
        (r#"{"Service": "eks.amazonaws.com"}"#, "wrong-principal-type"),
        (r#"{"Service": "ec2.amazonaws.com"}"#, "wrong-principal-type"),
        (r#"{"AWS": "arn:aws:iam::111122223333:root"}"#, "wrong-principal-type"),
        (r#"{"AWS": "pods.eks.amazonaws.com"}"#, "wrong-principal-type"),
        (
            r#"{"Federated": "arn:aws:iam::111122223333:oidc-provider/oidc.eks.us-west-2.amazonaws.com/id/EXAMPLE"}"#,
            "wrong-principal-type",
        ),
        // Whether the case of a service's name counts is not documented, and neither is what `*` says of a service.
        (r#"{"Service": "Pods.eks.amazonaws.com"}"#, "undecided"),
        (r#"{"AWS": "*"}"#, "undecided"),
        (r#""*""#, "undecided"),
    ] {
        assert_eq!(of(principal), expected, "{principal}");
    }
    let chinese = Association {
        cluster: Some(ClusterArn::parse("arn:aws-cn:eks:cn-north-1:111122223333:cluster/prod").unwrap()),
        role: RoleArn::parse("arn:aws-cn:iam::111122223333:role/api").unwrap(),
        ..association()
    };
    assert_eq!(primary_of("{}", &chinese, PodName::Unknown), "trusted");
}

#[test]
fn both_actions_are_needed_by_whatever_statements() {
    let of = |actions: &[&str], association: &Association| {
        let statements: Vec<String> = actions
            .iter()
            .map(|action| statement("Allow", SERVICE, action, "{}"))
            .collect();
        word(Hop::Primary, &statements, association, PodName::Unknown)
    };
    let (with, without) = (association(), without_tags());
    for (actions, tags, no_tags) in [
        (&[BOTH][..], "trusted", "trusted"),
        (&[r#""sts:*""#], "trusted", "trusted"),
        (&[r#"["STS:assumerole", "sts:tagSESSION"]"#], "trusted", "trusted"),
        (&[r#""sts:AssumeRole""#, r#""sts:TagSession""#], "trusted", "trusted"),
        (&[r#""sts:AssumeRole*""#], "tag-session-not-allowed", "undecided"),
        (&[r#""sts:AssumeRole""#], "tag-session-not-allowed", "undecided"),
        (&[r#""sts:TagSession""#], "wrong-action", "wrong-action"),
        (&[r#""sts:AssumeRoleWithWebIdentity""#], "wrong-action", "wrong-action"),
        (
            &[r#"["sts:AssumeRoleWithWebIdentity", "sts:TagSession"]"#],
            "wrong-action",
            "wrong-action",
        ),
    ] {
        assert_eq!(of(actions, &with), tags, "{actions:?}");
        assert_eq!(of(actions, &without), no_tags, "{actions:?}");
    }
    let excluding = |action: &str| {
        let statement = statement("Allow", SERVICE, action, "{}").replace("\"Action\"", "\"NotAction\"");
        word(Hop::Primary, &[statement], &with, PodName::Unknown)
    };
    assert_eq!(excluding(r#""sts:AssumeRoleWithSAML""#), "trusted");
    assert_eq!(excluding(r#""sts:TagSession""#), "tag-session-not-allowed");
    assert_eq!(excluding(r#""sts:AssumeRole""#), "wrong-action");
}

#[test]
fn a_deny_of_either_action_decides() {
    let of = |principal: &str, action: &str, condition: &str, association: &Association| {
        let statements = [
            statement("Allow", SERVICE, BOTH, "{}"),
            statement("Deny", principal, action, condition),
        ];
        word(Hop::Primary, &statements, association, PodName::Unknown)
    };
    let with = association();
    assert_eq!(of(SERVICE, r#""sts:AssumeRole""#, "{}", &with), "explicit-deny");
    assert_eq!(of(SERVICE, r#""sts:TagSession""#, "{}", &with), "explicit-deny");
    assert_eq!(of(SERVICE, r#""sts:TagSession""#, "{}", &without_tags()), "undecided");
    assert_eq!(of(r#"{"AWS": "*"}"#, r#""sts:AssumeRole""#, "{}", &with), "undecided");
    assert_eq!(
        of(r#"{"Service": "ec2.amazonaws.com"}"#, r#""sts:*""#, "{}", &with),
        "trusted"
    );
    let of_source = r#"{"StringNotEquals": {"aws:SourceAccount": "111122223333"}}"#;
    assert_eq!(of(SERVICE, r#""sts:AssumeRole""#, of_source, &with), "trusted");
    let by_ip = r#"{"NotIpAddress": {"aws:SourceIp": "192.0.2.0/24"}}"#;
    assert_eq!(of(SERVICE, r#""sts:AssumeRole""#, by_ip, &with), "undecided");
}

#[test]
fn the_cluster_and_its_account_are_the_source() {
    for (condition, expected) in [
        (format!(r#"{{"StringEquals": {{"aws:SourceArn": "{CLUSTER}"}}}}"#), "trusted"),
        (format!(r#"{{"ArnEquals": {{"AWS:sourcearn": "{CLUSTER}"}}}}"#), "trusted"),
        (r#"{"ArnLike": {"aws:SourceArn": "arn:aws:eks:us-west-2:111122223333:cluster/*"}}"#.into(), "trusted"),
        (r#"{"StringEquals": {"aws:SourceAccount": "111122223333"}}"#.into(), "trusted"),
        (r#"{"StringEquals": {"aws:SourceAccount": ["444455556666"]}}"#.into(), "wrong-cluster"),
        (format!(r#"{{"StringEquals": {{"aws:SourceArn": "{CLUSTER}-2"}}}}"#), "wrong-cluster"),
        (
            r#"{"StringEquals": {"aws:SourceArn": "arn:aws:eks:us-west-2:111122223333:podidentityassociation/prod/a-abcdefghijklmnop1"}}"#.into(),
            "wrong-cluster",
        ),
        (
            r#"{"StringEquals": {"aws:SourceArn": "arn:aws:eks:us-west-2:111122223333:cluster/*"}}"#.into(),
            "wildcard-in-string-equals",
        ),
        (r#"{"ArnNotLike": {"aws:SourceArn": "arn:aws:eks:*:*:cluster/prod"}}"#.into(), "wrong-cluster"),
        (r#"{"StringEquals": {"aws:SourceOrgID": "${aws:ResourceOrgID}"}}"#.into(), "undecided"),
        (r#"{"StringEquals": {"aws:SourceOrgID": "o-example"}}"#.into(), "undecided"),
    ] {
        assert_eq!(primary(&condition), expected, "{condition}");
    }
}

#[test]
fn without_its_cluster_nothing_that_depends_on_it_is_known() {
    let unknown = Association {
        cluster: None,
        ..association()
    };
    for condition in [
        format!(r#"{{"StringEquals": {{"aws:SourceArn": "{CLUSTER}"}}}}"#),
        r#"{"StringEquals": {"aws:SourceAccount": "111122223333"}}"#.to_owned(),
        r#"{"StringEquals": {"aws:RequestTag/eks-cluster-name": "prod"}}"#.to_owned(),
        format!(r#"{{"ArnLike": {{"aws:RequestTag/eks-cluster-arn": "{CLUSTER}"}}}}"#),
    ] {
        assert_eq!(
            primary_of(&condition, &unknown, PodName::Unknown),
            "undecided",
            "{condition}"
        );
        assert_eq!(primary(&condition), "trusted", "{condition}");
    }
    let there = r#"{"Null": {"aws:RequestTag/eks-cluster-name": "false"}}"#;
    assert_eq!(primary_of(there, &unknown, PodName::Unknown), "trusted");
    let namespace = r#"{"StringEquals": {"aws:RequestTag/kubernetes-namespace": "shop"}}"#;
    assert_eq!(primary_of(namespace, &unknown, PodName::Unknown), "trusted");
}

#[test]
fn the_request_has_the_six_tags_and_no_other() {
    for (condition, expected) in [
        (
            r#"{"StringEquals": {"aws:RequestTag/kubernetes-namespace": "shop"}}"#,
            "trusted",
        ),
        // The name of a condition key ignores case, the key of a tag included; the value does not.
        (
            r#"{"StringEquals": {"AWS:requesttag/Kubernetes-Namespace": "shop"}}"#,
            "trusted",
        ),
        (
            r#"{"StringEquals": {"aws:RequestTag/kubernetes-namespace": "Shop"}}"#,
            "wrong-subject",
        ),
        (
            r#"{"StringEqualsIgnoreCase": {"aws:RequestTag/kubernetes-namespace": "Shop"}}"#,
            "trusted",
        ),
        (
            r#"{"StringEquals": {"aws:RequestTag/kubernetes-service-account": ["web", "api"]}}"#,
            "trusted",
        ),
        (
            r#"{"StringEquals": {"aws:RequestTag/kubernetes-service-account": "web"}}"#,
            "wrong-subject",
        ),
        (
            r#"{"StringEquals": {"aws:RequestTag/kubernetes-service-account": "a*"}}"#,
            "wildcard-in-string-equals",
        ),
        (
            r#"{"StringLike": {"aws:RequestTag/kubernetes-service-account": "a*"}}"#,
            "trusted",
        ),
        (
            r#"{"StringEquals": {"aws:RequestTag/eks-cluster-name": "prod"}}"#,
            "trusted",
        ),
        (
            r#"{"StringEquals": {"aws:RequestTag/eks-cluster-name": "test"}}"#,
            "wrong-cluster",
        ),
        (
            r#"{"StringNotEquals": {"aws:RequestTag/eks-cluster-name": "prod"}}"#,
            "wrong-cluster",
        ),
        (
            r#"{"StringEquals": {"aws:RequestTag/team": "blue"}}"#,
            "other-condition",
        ),
        (
            r#"{"StringEqualsIfExists": {"aws:RequestTag/team": "blue"}}"#,
            "trusted",
        ),
        (
            r#"{"Null": {"aws:RequestTag/kubernetes-namespace": "false"}}"#,
            "trusted",
        ),
        (
            r#"{"StringEquals": {"aws:RequestTag/kubernetes-pod-uid": "6c3f2a6e-0000-0000-0000-000000000000"}}"#,
            "undecided",
        ),
        (
            r#"{"StringLike": {"aws:RequestTag/kubernetes-pod-uid": "*"}}"#,
            "trusted",
        ),
    ] {
        assert_eq!(primary(condition), expected, "{condition}");
    }
}

#[test]
fn the_keys_of_the_tags_are_a_set() {
    const SIX: &str = r#"["eks-cluster-arn", "eks-cluster-name", "kubernetes-namespace", "kubernetes-service-account",
        "kubernetes-pod-name", "kubernetes-pod-uid"]"#;
    for key in ["aws:TagKeys", "sts:TransitiveTagKeys"] {
        for (operator, values, expected) in [
            ("ForAllValues:StringEquals", SIX, "trusted"),
            ("ForAllValues:StringLike", r#"["eks-*", "kubernetes-*"]"#, "trusted"),
            (
                "ForAllValues:StringEquals",
                r#""kubernetes-namespace""#,
                "other-condition",
            ),
            ("ForAnyValue:StringEquals", r#""kubernetes-namespace""#, "trusted"),
            ("ForAnyValue:StringEquals", r#""team""#, "other-condition"),
            ("ForAnyValue:StringNotEquals", r#""eks-cluster-arn""#, "trusted"),
            (
                "ForAllValues:StringNotEquals",
                r#""eks-cluster-arn""#,
                "other-condition",
            ),
            ("ForAllValues:StringNotEquals", r#""team""#, "trusted"),
            // An operator for one value matches no set; whether a negated one then holds is not documented.
            ("StringEquals", r#""kubernetes-namespace""#, "other-condition"),
            ("StringEqualsIfExists", r#""kubernetes-namespace""#, "other-condition"),
            ("StringLike", r#""*""#, "other-condition"),
            ("StringNotEquals", r#""team""#, "undecided"),
            ("Null", r#""false""#, "trusted"),
            ("Null", r#""true""#, "other-condition"),
        ] {
            let condition = format!(r#"{{"{operator}": {{"{key}": {values}}}}}"#);
            assert_eq!(primary(&condition), expected, "{condition}");
        }
    }
}

#[test]
fn a_pods_name_is_known_or_begins_as_generate_name_says() {
    use PodName::{Beginning, Known, Unknown};
    let equals = r#"{"StringEquals": {"aws:RequestTag/kubernetes-pod-name": "nightly-abcde"}}"#;
    let like = r#"{"StringLike": {"aws:RequestTag/kubernetes-pod-name": "nightly-*"}}"#;
    let not_like = r#"{"StringNotLike": {"aws:RequestTag/kubernetes-pod-name": "nightly-*"}}"#;
    for (condition, pod_name, expected) in [
        (equals, Known("nightly-abcde"), "trusted"),
        (equals, Known("nightly-other"), "wrong-subject"),
        (equals, Beginning("nightly-"), "undecided"),
        (equals, Beginning("hourly-"), "wrong-subject"),
        (equals, Unknown, "undecided"),
        (like, Beginning("nightly-"), "trusted"),
        (like, Beginning("nightly-report-"), "trusted"),
        (like, Beginning("night"), "undecided"),
        (like, Beginning("hourly-"), "wrong-subject"),
        (like, Unknown, "undecided"),
        (not_like, Beginning("nightly-"), "wrong-subject"),
        (not_like, Beginning("hourly-"), "trusted"),
    ] {
        assert_eq!(
            primary_of(condition, &association(), pod_name),
            expected,
            "{condition} {pod_name:?}"
        );
    }
    // The API server keeps 58 characters of generateName.
    let (long, kept) = ("a".repeat(80), "a".repeat(58));
    let condition = format!(r#"{{"StringLike": {{"aws:RequestTag/kubernetes-pod-name": "{kept}?????"}}}}"#);
    assert_eq!(primary_of(&condition, &association(), Beginning(&long)), "undecided");
}

#[test]
fn disabled_session_tags_are_absent() {
    for (condition, expected) in [
        (
            r#"{"StringEquals": {"aws:RequestTag/kubernetes-namespace": "shop"}}"#,
            "session-tags-disabled",
        ),
        (
            r#"{"StringEqualsIfExists": {"aws:RequestTag/kubernetes-namespace": "shop"}}"#,
            "trusted",
        ),
        (
            r#"{"StringNotEquals": {"aws:RequestTag/kubernetes-namespace": "shop"}}"#,
            "trusted",
        ),
        (
            r#"{"Null": {"aws:RequestTag/kubernetes-namespace": "true"}}"#,
            "trusted",
        ),
        (r#"{"Null": {"aws:TagKeys": "false"}}"#, "session-tags-disabled"),
        (r#"{"ForAllValues:StringEquals": {"aws:TagKeys": "x"}}"#, "trusted"),
        (
            r#"{"ForAnyValue:StringEquals": {"sts:TransitiveTagKeys": "x"}}"#,
            "session-tags-disabled",
        ),
        (r#"{"StringEquals": {"aws:SourceAccount": "111122223333"}}"#, "trusted"),
    ] {
        assert_eq!(
            primary_of(condition, &without_tags(), PodName::Unknown),
            expected,
            "{condition}"
        );
    }
    let at_target = r#"{"StringEquals": {"aws:RequestTag/kubernetes-namespace": "shop"}}"#;
    assert_eq!(target_of(at_target, &without_tags()), "session-tags-disabled");
    assert_eq!(target_of(at_target, &association()), "trusted");
}

#[test]
fn what_only_sts_knows_is_not_refused() {
    for condition in [
        r#"{"StringLike": {"sts:RoleSessionName": "eks-*"}}"#,
        r#"{"StringEquals": {"sts:ExternalId": "x"}}"#,
        r#"{"Null": {"sts:ExternalId": "true"}}"#,
        r#"{"StringEquals": {"aws:PrincipalOrgID": "o-example"}}"#,
        r#"{"Bool": {"aws:MultiFactorAuthPresent": "true"}}"#,
        r#"{"IpAddress": {"aws:SourceIp": "192.0.2.0/24"}}"#,
        r#"{"StringEquals": {"aws:PrincipalAccount": "444455556666"}}"#,
        r#"{"StringEquals": {"aws:PrincipalTag/kubernetes-namespace": "other"}}"#,
        r#"{"NumericLessThan": {"sts:DurationSeconds": "900"}}"#,
    ] {
        assert_eq!(primary(condition), "undecided", "{condition}");
    }
    for (condition, expected) in [
        // Claims are keys of a request with a token.
        (
            r#"{"StringEquals": {"oidc.eks.us-west-2.amazonaws.com/id/EXAMPLE:sub": "x"}}"#,
            "other-condition",
        ),
        (r#"{"Bool": {"aws:SecureTransport": "true"}}"#, "trusted"),
        (r#"{"Bool": {"aws:PrincipalIsAWSService": "true"}}"#, "undecided"),
        (
            r#"{"DateLessThan": {"aws:CurrentTime": "2020-01-01T00:00:00Z"}}"#,
            "other-condition",
        ),
        (
            r#"{"StringEquals": {"aws:ResourceAccount": "111122223333"}}"#,
            "trusted",
        ),
    ] {
        assert_eq!(primary(condition), expected, "{condition}");
    }
}

#[test]
fn the_target_role_trusts_the_primary_role_or_its_account() {
    let of = |principal: &str| {
        let statements = [statement("Allow", principal, BOTH, "{}")];
        word(Hop::Target, &statements, &association(), PodName::Unknown)
    };
    for (principal, expected) in [
        (r#"{"AWS": "arn:aws:iam::111122223333:role/eks/api"}"#, "trusted"),
        (r#"{"AWS": "111122223333"}"#, "trusted"),
        (
            r#"{"AWS": ["arn:aws:iam::444455556666:root", "arn:aws:iam::111122223333:root"]}"#,
            "trusted",
        ),
        (r#"{"AWS": "*"}"#, "trusted"),
        (r#"{"AWS": "arn:aws:iam::111122223333:role/api"}"#, "wrong-primary-role"),
        (
            r#"{"AWS": "arn:aws:iam::111122223333:role/eks/API"}"#,
            "wrong-primary-role",
        ),
        (r#"{"AWS": "arn:aws:iam::444455556666:root"}"#, "wrong-primary-role"),
        (r#"{"AWS": "arn:aws-cn:iam::111122223333:root"}"#, "wrong-primary-role"),
        (r#"{"AWS": "arn:aws:iam::111122223333:user/api"}"#, "wrong-primary-role"),
        (
            r#"{"AWS": "arn:aws:sts::111122223333:assumed-role/api/eks-prod-api-1"}"#,
            "undecided",
        ),
        (
            r#"{"AWS": "arn:aws:sts::111122223333:assumed-role/web/eks-prod-api-1"}"#,
            "wrong-primary-role",
        ),
        (r#"{"AWS": "AROAEXAMPLEEXAMPLE001"}"#, "undecided"),
        (r#"{"AWS": "AIDAEXAMPLEEXAMPLE001"}"#, "wrong-primary-role"),
        (SERVICE, "wrong-principal-type"),
    ] {
        assert_eq!(of(principal), expected, "{principal}");
    }
    let statements = [statement(
        "Allow",
        r#"{"AWS": "111122223333"}"#,
        r#""sts:AssumeRole""#,
        "{}",
    )];
    let of = |association: &Association| word(Hop::Target, &statements, association, PodName::Unknown);
    assert_eq!(of(&association()), "tag-session-not-allowed");
    assert_eq!(of(&without_tags()), "undecided");
}

#[test]
fn the_target_role_sees_the_primary_role_and_its_tags() {
    for (condition, expected) in [
        (
            r#"{"ArnEquals": {"aws:PrincipalARN": "arn:aws:iam::111122223333:role/eks/api"}}"#,
            "trusted",
        ),
        (
            r#"{"ArnLike": {"aws:PrincipalArn": "arn:aws:iam::*:role/eks/*"}}"#,
            "trusted",
        ),
        (
            r#"{"ArnEquals": {"aws:PrincipalArn": "arn:aws:iam::111122223333:role/api"}}"#,
            "wrong-primary-role",
        ),
        (
            r#"{"StringEquals": {"aws:PrincipalAccount": "111122223333"}}"#,
            "trusted",
        ),
        (
            r#"{"StringEquals": {"aws:PrincipalAccount": "444455556666"}}"#,
            "wrong-primary-role",
        ),
        (
            r#"{"StringEquals": {"aws:PrincipalTag/kubernetes-namespace": "shop"}}"#,
            "trusted",
        ),
        (
            r#"{"StringEquals": {"aws:PrincipalTag/kubernetes-namespace": "other"}}"#,
            "wrong-subject",
        ),
        (r#"{"StringEquals": {"aws:PrincipalTag/team": "blue"}}"#, "undecided"),
        (
            r#"{"StringEquals": {"aws:RequestTag/kubernetes-service-account": "api"}}"#,
            "trusted",
        ),
        (
            r#"{"StringEquals": {"aws:RequestTag/kubernetes-service-account": "web"}}"#,
            "wrong-subject",
        ),
        (
            r#"{"StringEquals": {"aws:RequestTag/eks-cluster-name": "test"}}"#,
            "wrong-cluster",
        ),
        (
            r#"{"StringEquals": {"aws:SourceArn": "arn:aws:eks:us-west-2:111122223333:cluster/test"}}"#,
            "undecided",
        ),
        (
            r#"{"StringEquals": {"aws:SourceAccount": "444455556666"}}"#,
            "undecided",
        ),
        (
            r#"{"StringEquals": {"sts:ExternalId": "us-west-2/111122223333/prod/shop/api"}}"#,
            "undecided",
        ),
        (
            r#"{"StringEquals": {"aws:ResourceAccount": "444455556666"}}"#,
            "trusted",
        ),
    ] {
        assert_eq!(target_of(condition, &association()), expected, "{condition}");
    }
    let of_role = r#"{"StringEquals": {"aws:PrincipalTag/kubernetes-namespace": "other"}}"#;
    assert_eq!(
        target_of(of_role, &without_tags()),
        "undecided",
        "a tag of the role itself"
    );
}

#[test]
fn an_external_id_is_sent_to_the_target_role_without_session_tags() {
    let principal = format!(r#"{{"AWS": "{PRIMARY}"}}"#);
    let of = |id: &str, association: &Association| {
        let condition = format!(r#"{{"StringEquals": {{"sts:ExternalId": "{id}"}}}}"#);
        let statements = [
            statement("Allow", &principal, r#""sts:AssumeRole""#, &condition),
            statement("Allow", &principal, r#""sts:TagSession""#, "{}"),
        ];
        word(Hop::Target, &statements, association, PodName::Unknown)
    };
    let right = "us-west-2/111122223333/prod/shop/api";
    assert_eq!(of(right, &without_tags()), "trusted");
    assert_eq!(
        of("us-west-2/111122223333/prod/shop/web", &without_tags()),
        "wrong-external-id"
    );
    assert_eq!(of(right, &association()), "undecided");
    let not_read = Association {
        external_id: None,
        ..without_tags()
    };
    assert_eq!(of(right, &not_read), "undecided");
    // TagSession does not have this key.
    let over_both = format!(r#"{{"StringEquals": {{"sts:ExternalId": "{right}"}}}}"#);
    assert_eq!(target_of(&over_both, &without_tags()), "undecided");
}

#[test]
fn all_faults_of_the_nearest_statement_are_found() {
    let statements = [
        statement(
            "Allow",
            r#"{"Service": "ec2.amazonaws.com"}"#,
            r#""sts:AssumeRole""#,
            "{}",
        ),
        statement(
            "Allow",
            SERVICE,
            r#""sts:AssumeRole""#,
            r#"{"StringEquals": {"aws:RequestTag/kubernetes-namespace": "web", "aws:SourceAccount": "444455556666"}}"#,
        ),
    ];
    let judgment = judge_association(
        Hop::Primary,
        &policy(&statements),
        &association(),
        PodName::Unknown,
        &Context::default(),
    );
    let explanation = judgment.explanation.unwrap();
    assert_eq!(explanation.statement.unwrap().number, 2);
    let causes: Vec<_> = explanation
        .faults
        .iter()
        .filter_map(rolegate::trust::Fault::cause)
        .collect();
    assert_eq!(
        causes,
        [Cause::TagSessionNotAllowed, Cause::WrongCluster, Cause::WrongSubject]
    );
}

#[test]
fn a_hop_that_the_association_does_not_have_refuses_nothing() {
    let one = Association {
        target_role: None,
        ..association()
    };
    let statements = [statement("Deny", SERVICE, BOTH, "{}")];
    assert_eq!(word(Hop::Target, &statements, &one, PodName::Unknown), "trusted");
    assert_eq!(word(Hop::Primary, &statements, &one, PodName::Unknown), "explicit-deny");
}

fn grant(association: Association, hop: Hop) -> AssociationGrant {
    AssociationGrant { association, hop }
}

/// The same association, but for one thing.
fn others() -> Vec<Association> {
    vec![
        Association {
            namespace: "other".into(),
            ..association()
        },
        Association {
            service_account: "other".into(),
            ..association()
        },
        Association {
            cluster: Some(ClusterArn::parse("arn:aws:eks:us-west-2:111122223333:cluster/other").unwrap()),
            ..association()
        },
    ]
}

#[test]
fn what_is_printed_lets_this_association_in_and_no_other() {
    for hop in [Hop::Primary, Hop::Target] {
        let policy = Policy::parse_written(&grant(association(), hop).policy()).unwrap();
        let verdict = |association: &Association| {
            judge_association(hop, &policy, association, PodName::Unknown, &Context::default()).verdict
        };
        assert_eq!(verdict(&association()), Verdict::Trusted, "{hop}");
        for other in others() {
            assert_eq!(verdict(&other), Verdict::NotTrusted, "{hop}: {other:?}");
        }
    }
    for hop in [Hop::Primary, Hop::Target] {
        for external_id in [None, association().external_id] {
            let one = Association {
                external_id,
                ..without_tags()
            };
            let policy = Policy::parse_written(&grant(one.clone(), hop).policy()).unwrap();
            let judgment = judge_association(hop, &policy, &one, PodName::Unknown, &Context::default());
            assert_eq!(judgment.verdict, Verdict::Trusted, "{hop}: {one:?}");
        }
    }
    let by_cluster = grant(without_tags(), Hop::Primary).policy();
    assert!(!by_cluster.contains("RequestTag"), "{by_cluster}");
}

/// Every association that was trusted is still trusted, and merging again changes nothing.
#[test]
fn an_addition_takes_nothing_away() {
    let right = |effect: &str, account: &str| {
        statement(
            effect,
            SERVICE,
            BOTH,
            &format!(
                r#"{{"StringEquals": {{"aws:SourceArn": "{CLUSTER}", "aws:RequestTag/kubernetes-namespace": "shop",
                    "aws:RequestTag/kubernetes-service-account": {account}}}}}"#
            ),
        )
    };
    let statements = [
        right("Allow", r#""web""#),
        right("Allow", r#"["web", "jobs"]"#),
        right("Allow", r#""api""#),
        right("Deny", r#""api""#),
        right("Allow", r#""web""#).replace("\"StringEquals\"", "\"StringLike\""),
        statement("Allow", SERVICE, r#""sts:AssumeRole""#, "{}"),
        statement("Allow", r#"{"AWS": "111122223333"}"#, BOTH, "{}"),
        statement(
            "Allow",
            r#"{"Service": "ec2.amazonaws.com"}"#,
            r#""sts:AssumeRole""#,
            "{}",
        ),
        statement(
            "Allow",
            SERVICE,
            BOTH,
            r#"{"IpAddress": {"aws:SourceIp": "192.0.2.0/24"}}"#,
        ),
    ];
    let mut joined = 0;
    for first in &statements {
        for second in &statements {
            let document = format!(r#"{{"Version": "2012-10-17", "Statement": [{first}, {second}]}}"#);
            for hop in [Hop::Primary, Hop::Target] {
                let one = grant(association(), hop);
                let merged = one.merge(&document).unwrap();
                let (before, after) = (Policy::parse(&document).unwrap(), Policy::parse(&merged.json).unwrap());
                for asked in others().into_iter().chain([association(), without_tags()]) {
                    for hop in [Hop::Primary, Hop::Target] {
                        let of = |policy: &Policy| {
                            judge_association(hop, policy, &asked, PodName::Unknown, &Context::default()).verdict
                        };
                        assert!(of(&after) <= of(&before), "{document} {asked:?}");
                    }
                }
                let verdict =
                    judge_association(hop, &after, &association(), PodName::Unknown, &Context::default()).verdict;
                let is_denied = document.contains("Deny") && hop == Hop::Primary;
                assert_eq!(verdict == Verdict::Trusted, !is_denied, "{document}");
                assert_eq!(merged.obstacle.is_some(), is_denied);
                let again = one.merge(&merged.json).unwrap();
                assert_eq!((again.json, again.edit), (merged.json, None));
                joined += usize::from(matches!(merged.edit, Some(Edit::AddSubject { .. })));
            }
        }
    }
    assert!(joined >= 10, "only {joined} ServiceAccounts joined a list");
}

#[test]
fn what_is_wide_or_has_no_effect_is_reported() {
    let of = |hop: Hop, association: &Association, principal: &str, condition: &str| {
        let policy = policy(&[statement("Allow", principal, BOTH, condition)]);
        let lints = lint_association(&policy, association, hop);
        lints.into_iter().map(|lint| lint.code).collect::<Vec<_>>()
    };
    let none: [&str; 0] = [];
    let (with, without) = (association(), without_tags());
    assert_eq!(of(Hop::Primary, &with, SERVICE, "{}"), ["any-association"]);
    let by_pod = r#"{"StringLike": {"aws:RequestTag/kubernetes-pod-name": "*"}}"#;
    assert_eq!(of(Hop::Primary, &with, SERVICE, by_pod), ["any-association"]);
    let is_there = r#"{"Null": {"aws:SourceArn": "false"}}"#;
    assert_eq!(of(Hop::Primary, &with, SERVICE, is_there), ["any-association"]);
    for condition in [
        r#"{"StringEquals": {"aws:SourceAccount": "111122223333"}}"#,
        r#"{"StringEquals": {"aws:RequestTag/kubernetes-namespace": "other"}}"#,
        r#"{"ArnLike": {"aws:SourceArn": "arn:aws:eks:*:*:cluster/prod"}}"#,
        // No association can use it.
        r#"{"StringEquals": {"aws:RequestTag/team": "blue"}}"#,
    ] {
        assert_eq!(of(Hop::Primary, &with, SERVICE, condition), none, "{condition}");
    }
    assert_eq!(
        of(Hop::Primary, &with, r#"{"Service": "ec2.amazonaws.com"}"#, "{}"),
        none
    );
    let namespace = r#"{"StringEqualsIfExists": {"aws:RequestTag/kubernetes-namespace": "shop"}}"#;
    assert_eq!(
        of(Hop::Primary, &without, SERVICE, namespace),
        ["condition-on-disabled-tag"]
    );
    for (principal, expected) in [
        (
            r#"{"AWS": "arn:aws:iam::111122223333:root"}"#,
            &["delegates-to-caller-policy"][..],
        ),
        (r#"{"AWS": "111122223333"}"#, &["delegates-to-caller-policy"]),
        (r#"{"AWS": "*"}"#, &["delegates-to-caller-policy"]),
        (r#"{"AWS": "arn:aws:iam::111122223333:role/eks/api"}"#, &[]),
        (r#"{"AWS": "arn:aws:iam::444455556666:root"}"#, &[]),
    ] {
        assert_eq!(of(Hop::Target, &with, principal, "{}"), expected, "{principal}");
    }
}
