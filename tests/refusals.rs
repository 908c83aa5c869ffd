//! Refusals, warnings and notes as the author of a pod sees them: one for each cause, their length, and hostile text in them.

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Command, Stdio};

use proptest::prelude::*;
use rolegate::decision::messages::{self, FIRST_LINE_CHARS, MAX_LINES};
use rolegate::decision::{
    DecisionSettings, Finding, Judged, Mode, OnUnknown, Owner, RequireRole, Restart, Why, decide,
};
use rolegate::pod::effective::{Incomplete, NoIdentity, Unverifiable};
use rolegate::pod::identity::{AnnotationError, MalformedAnnotation};
use rolegate::pod::inject::Conflict;
use rolegate::support::text;
use rolegate::trust::{
    Audience, Cause, Context, Issuer, Policy, Provider, RoleArn, Subject, Verdict, WebIdentity, judge, judge_provider,
};

const ISSUER: &str = "oidc.eks.us-west-2.amazonaws.com/id/EXAMPLED539D4633E53DE1B71EXAMPLE";
const ROLE: &str = "arn:aws:iam::111122223333:role/api";

fn provider() -> String {
    format!("arn:aws:iam::111122223333:oidc-provider/{ISSUER}")
}

fn identity(namespace: &str, name: &str, audience: &str) -> WebIdentity {
    WebIdentity {
        issuer: Issuer::parse(ISSUER).unwrap(),
        subject: Subject::service_account(namespace, name),
        audience: Audience::new(audience),
    }
}

fn owner<'a>(namespace: &'a str, service_account: &'a str) -> Owner<'a> {
    Owner {
        namespace,
        service_account,
        prefix: "eks.amazonaws.com/",
        docs_url: None,
        restart: None,
    }
}

const STRICT: DecisionSettings = DecisionSettings {
    on_unknown: OnUnknown::Deny,
    require_role: RequireRole::Enforce,
};

fn refusal(finding: &Finding<'_>, owner: &Owner<'_>) -> String {
    decide(STRICT, Mode::Enforce, finding, owner).refusal.unwrap()
}

fn warnings(finding: &Finding<'_>, owner: &Owner<'_>) -> Vec<String> {
    let warnings = decide(STRICT, Mode::Warn, finding, owner).warnings;
    warnings.iter().map(ToString::to_string).collect()
}

/// A statement of the cluster's provider; `I:` is short for its issuer.
fn statement(condition: &str) -> String {
    format!(
        r#"{{"Effect": "Allow", "Principal": {{"Federated": "{}"}}, "Action": "sts:AssumeRoleWithWebIdentity", "Condition": {}}}"#,
        provider(),
        condition.replace("I:", &format!("{ISSUER}:"))
    )
}

fn judged(statements: &str, identity: &WebIdentity) -> Judged {
    let document = format!(r#"{{"Version": "2012-10-17", "Statement": [{statements}]}}"#);
    let policy = Policy::parse(&document).unwrap_or_else(|error| panic!("{document}: {error}"));
    let role = RoleArn::parse(ROLE).unwrap();
    let judgment = judge(&policy, &role, identity, &Context::default());
    Judged::of(role, judgment)
}

/// One evaluated role for each cause of `not-trusted`, and for the verdicts that are neither yes nor no.
fn cases(identity: &WebIdentity) -> Vec<(&'static str, Judged)> {
    let role = || RoleArn::parse(ROLE).unwrap();
    let right_audience = r#""I:aud": "sts.amazonaws.com""#;
    let of = |statements: &str| judged(statements, identity);
    let with = |condition: String| judged(&statement(&condition), identity);
    let of_provider = |provider| Judged::of(role(), judge_provider(provider, identity).unwrap());
    let old_cluster = statement(&format!(r#"{{"StringEquals": {{{right_audience}}}}}"#))
        .replace("EXAMPLED539D4633E53DE1B71EXAMPLE", "EXAMPLE0OLD0CLUSTER0000000EXAMPLE");
    let allowed = format!(r#"{{"StringEquals": {{"I:sub": "system:serviceaccount:staging:api", {right_audience}}}}}"#);
    vec![
        ("role-not-found", Judged::no_such_role(role(), None)),
        (
            "role-not-found",
            Judged::no_such_role(role(), Some("a role of that name exists as arn:aws:iam::111122223333:role/jobs/api")),
        ),
        ("provider-not-found", of_provider(Provider::Missing)),
        (
            "audience-not-registered",
            of_provider(Provider::Registered(&["openshift".into()])),
        ),
        (
            "explicit-deny",
            of(&format!(
                "{}, {}",
                statement(&allowed),
                statement(r#"{"StringLike": {"I:sub": "system:serviceaccount:staging:*"}}"#).replace("Allow", "Deny")
            )),
        ),
        (
            "wrong-principal-type",
            of(r#"{"Effect": "Allow", "Principal": {"Service": "ecs-tasks.amazonaws.com"}, "Action": "sts:AssumeRole"}"#),
        ),
        ("wrong-provider", of(&old_cluster)),
        (
            "wrong-provider",
            of(&statement(&allowed).replace("oidc-provider/", "oidc-provider/https://")),
        ),
        (
            "wrong-action",
            of(&statement(&allowed).replace("AssumeRoleWithWebIdentity", "AssumeRole")),
        ),
        (
            "provider-arn-in-condition-key",
            of(&statement(&allowed).replace(&format!("\"{ISSUER}:sub"), &format!("\"{}:sub", provider()))),
        ),
        (
            "audience-key-for-subject",
            with(r#"{"StringEquals": {"I:aud": "system:serviceaccount:staging:api"}}"#.to_owned()),
        ),
        (
            "wildcard-in-string-equals",
            with(format!(
                r#"{{"StringEquals": {{"I:sub": "system:serviceaccount:staging:*", {right_audience}}}}}"#
            )),
        ),
        (
            "wrong-subject",
            with(format!(
                r#"{{"StringEquals": {{"I:sub": "system:serviceaccount:production:api", {right_audience}}}}}"#
            )),
        ),
        (
            "wrong-subject",
            with(r#"{"StringEquals": {"I:sub": ["system:serviceaccount:production:api", "system:serviceaccount:dev:api"], "I:aud": "openshift"}}"#.to_owned()),
        ),
        ("wrong-audience", with(r#"{"StringEquals": {"I:aud": "openshift"}}"#.to_owned())),
        (
            "other-condition",
            with(r#"{"StringEquals": {"aws:PrincipalOrgID": "o-example"}}"#.to_owned()),
        ),
        ("undecided", with(r#"{"IpAddress": {"aws:SourceIp": "192.0.2.0/24"}}"#.to_owned())),
        (
            "unknown",
            Judged::unknown(
                role(),
                Why::Unreadable("iam:GetRole is not allowed to rolegate: allow it in its IAM policy".to_owned()),
            ),
        ),
        (
            "malformed",
            Judged::unknown(role(), Why::Malformed("statement 1: Principal is missing".to_owned())),
        ),
    ]
}

fn malformed_role(key: &str, value: &str) -> MalformedAnnotation {
    MalformedAnnotation {
        key: key.to_owned(),
        value: value.to_owned(),
        error: RoleArn::parse(value).unwrap_err().into(),
    }
}

fn conflict(message: &str) -> Conflict {
    Conflict {
        volume: "aws-iam-token".to_owned(),
        mount_path: None,
        message: message.to_owned(),
        fix: "rename the volume of the pod",
    }
}

#[test]
fn one_refusal_of_each_cause() {
    let identity = identity("staging", "api", "sts.amazonaws.com");
    let owner = owner("staging", "api");
    let mut read = String::new();
    for (word, judged) in &cases(&identity) {
        let finding = Finding::Judged(judged, &identity);
        let message = match judged.verdict {
            Verdict::Undecided => warnings(&finding, &owner).join("\n"),
            _ => refusal(&finding, &owner),
        };
        assert!(
            message.lines().next().unwrap().ends_with(&format!("({word})")),
            "{message}"
        );
        writeln!(read, "{message}\n").unwrap();
    }
    let malformed = malformed_role("eks.amazonaws.com/role-arn", "api");
    let elsewhere = malformed_role("RoleARN", "api");
    let conflict = conflict("volume \"aws-iam-token\" of the pod is of kind hostPath");
    let audience = MalformedAnnotation {
        key: "eks.amazonaws.com/audience".to_owned(),
        value: "a".repeat(256),
        error: AnnotationError::AudienceTooLong(256),
    };
    let unverifiable = [
        Unverifiable::Value("AWS_ROLE_ARN"),
        Unverifiable::NotARoleArn("runner".into()),
        Unverifiable::ApiServerToken,
        Unverifiable::TokenFile("/own/token".into()),
    ];
    let reasons = [
        NoIdentity::Incomplete(Incomplete::Empty("AWS_ROLE_ARN")),
        NoIdentity::Incomplete(Incomplete::Missing {
            set: "AWS_ROLE_ARN",
            unset: "AWS_WEB_IDENTITY_TOKEN_FILE",
        }),
        NoIdentity::RefusedUri,
        NoIdentity::NoAgentToken,
    ];
    let container = "main";
    let of_containers = unverifiable
        .iter()
        .map(|why| Finding::Unverifiable {
            container,
            others: 2,
            why,
        })
        .chain([Finding::OwnCredentials {
            container,
            others: 0,
            variable: "AWS_CONTAINER_CREDENTIALS_FULL_URI",
        }])
        .chain(
            reasons
                .map(Some)
                .into_iter()
                .chain([None])
                .map(|why| Finding::NoIdentity {
                    container,
                    others: 0,
                    why,
                }),
        );
    for finding in [
        Finding::NoRole {
            account_exists: true,
            of_pod: None,
        },
        Finding::NoRole {
            account_exists: false,
            of_pod: None,
        },
        Finding::Malformed(&malformed),
        Finding::Malformed(&elsewhere),
        Finding::Malformed(&audience),
        Finding::Conflict(&conflict),
    ]
    .into_iter()
    .chain(of_containers)
    {
        writeln!(read, "{}\n", refusal(&finding, &owner)).unwrap();
    }
    insta::assert_snapshot!(read);
}

#[test]
fn every_cause_is_shown() {
    let identity = identity("staging", "api", "sts.amazonaws.com");
    let shown: Vec<Cause> = cases(&identity).iter().filter_map(|(_, judged)| judged.cause).collect();
    for cause in Cause::ALL {
        let is_of_policies = !matches!(
            cause,
            Cause::NoRole
                | Cause::MalformedAnnotation
                | Cause::Conflict
                | Cause::AssociationNotInjected
                | Cause::NoAssociation
                | Cause::UnsupportedCompute
                | Cause::WrongPrimaryRole
                | Cause::TagSessionNotAllowed
                | Cause::SessionTagsDisabled
                | Cause::WrongCluster
                | Cause::WrongExternalId
                | Cause::IdentityNotUsed
        );
        assert_eq!(shown.contains(&cause), is_of_policies, "{cause}");
    }
}

#[test]
fn one_warning_and_one_note_of_each_cause() {
    let identity = identity("staging", "api", "sts.amazonaws.com");
    let owner = owner("staging", "api");
    let mut read = String::new();
    for (_, judged) in &cases(&identity) {
        let finding = Finding::Judged(judged, &identity);
        let warnings = warnings(&finding, &owner);
        assert!(warnings.len() <= 2 && warnings.iter().all(|warning| warning.chars().count() <= 256));
        assert!(
            warnings.get(1).is_none_or(|fix| fix.starts_with("fix: ")),
            "{warnings:?}"
        );
        writeln!(read, "{}", warnings.join("\n")).unwrap();
    }
    let finding = Finding::NoRole {
        account_exists: true,
        of_pod: None,
    };
    let note = messages::one_line(&refusal(&finding, &owner), 1024);
    writeln!(read, "\n{note}").unwrap();
    insta::assert_snapshot!(read);
}

#[test]
fn mode_audit_says_nothing() {
    let identity = identity("staging", "api", "sts.amazonaws.com");
    let owner = owner("staging", "api");
    for (_, judged) in &cases(&identity) {
        let decision = decide(STRICT, Mode::Audit, &Finding::Judged(judged, &identity), &owner);
        assert!(decision.warnings.is_empty() && decision.refusal.is_none());
    }
}

#[test]
fn a_controller_that_backs_off_is_restarted_and_a_page_is_named_if_there_is_one() {
    let identity = identity("staging", "api", "sts.amazonaws.com");
    let owner = Owner {
        docs_url: Some("https://docs.example.com/causes"),
        restart: Some(Restart {
            kind: "deployment",
            name: "api",
        }),
        ..owner("staging", "api")
    };
    for (word, judged) in &cases(&identity) {
        if judged.verdict == Verdict::Undecided {
            continue;
        }
        let message = refusal(&Finding::Judged(judged, &identity), &owner);
        assert!(
            message.contains("\n  then     kubectl rollout restart deployment/api -n staging\n"),
            "{message}"
        );
        assert!(
            message.ends_with(&format!("\n  docs     https://docs.example.com/causes#{word}")),
            "{message}"
        );
        assert!(message.lines().count() <= MAX_LINES, "{message}");
    }
}

/// Names as long as Kubernetes and IAM take them.
#[test]
fn the_first_line_stays_short_and_keeps_the_cause() {
    let (namespace, name) = ("n".repeat(63), "s".repeat(253));
    let identity = identity(&namespace, &name, "sts.amazonaws.com");
    let owner = owner(&namespace, &name);
    for (word, judged) in cases(&identity) {
        let judged = Judged {
            role: RoleArn::parse(&format!("arn:aws:iam::111122223333:role/{}", "r".repeat(64))).unwrap(),
            ..judged
        };
        let finding = Finding::Judged(&judged, &identity);
        let lines = match judged.verdict {
            Verdict::Undecided => warnings(&finding, &owner),
            _ => refusal(&finding, &owner).lines().map(str::to_owned).collect(),
        };
        let first = &lines[0];
        assert!(first.chars().count() <= FIRST_LINE_CHARS, "{first}");
        let word = judged.cause.map_or(word, Cause::as_str);
        assert!(first.ends_with(&format!("({word})")), "{first}");
        assert!(first.contains("/s") && first.contains("nn"), "{first}");
    }
}

/// The commands of a message: what follows `fix` and `then`, where it is a command.
fn commands(message: &str) -> Vec<String> {
    let rows = message.lines().skip(1);
    rows.filter_map(|line| line.strip_prefix("  fix      ").or(line.strip_prefix("  then     ")))
        .filter_map(|value| {
            let start = ["rolegate ", "kubectl ", "aws "]
                .iter()
                .filter_map(|program| value.find(program))
                .min()?;
            value.get(start..).map(str::to_owned)
        })
        .collect()
}

/// Has a real shell read a command; what a hostile name would run is a syntax error or shows in `words`.
fn shell_words(command: &str) -> Vec<String> {
    let mut shell = Command::new("bash")
        .arg("-n")
        .stdin(Stdio::piped())
        .spawn()
        .expect("bash");
    shell.stdin.take().unwrap().write_all(command.as_bytes()).unwrap();
    assert!(shell.wait().unwrap().success(), "{command}");
    // Prints each word on its own line; shell functions replace the programs and do this.
    let script = format!(
        "rolegate() {{ printf '%s\\n' rolegate \"$@\"; }}; kubectl() {{ printf '%s\\n' kubectl \"$@\"; }}; aws() {{ printf '%s\\n' aws \"$@\"; }}\n{command}\n"
    );
    let ran = Command::new("bash")
        .arg("-c")
        .arg(&script)
        .env_clear()
        .output()
        .unwrap();
    assert!(ran.status.success() && ran.stderr.is_empty(), "{command}: {ran:?}");
    String::from_utf8(ran.stdout)
        .unwrap()
        .lines()
        .map(str::to_owned)
        .collect()
}

fn is_clean(text: &str) -> bool {
    !text.contains(|character| character != '\n' && text::is_hidden(character))
}

fn hostile() -> impl Strategy<Value = String> {
    let parts = prop::sample::select(vec![
        "x; touch pwned; echo ",
        "$(touch pwned)",
        "`touch pwned`",
        "\n  fix      kubectl delete ns production",
        "\u{1b}[31m",
        "\u{1b}]0;title\u{7}",
        "\u{202e}",
        "\u{200b}",
        "\u{9b}2J",
        "\u{ad}",
        "\u{e0041}",
        "\u{2028}",
        "'",
        "\"",
        "\\",
        "|",
        "&&",
        ">pwned",
        "#",
        "!",
        "~",
        "*",
        "{a,b}",
        "$HOME",
        "\r",
        "\0",
        "-rf",
        "a",
        "é",
        "日本",
        " ",
        "\t",
    ]);
    prop_oneof![
        8 => prop::collection::vec(parts, 0..6).prop_map(|parts| parts.concat()),
        1 => any::<String>(),
        1 => (1_usize..40_000).prop_map(|length| "\u{1b}x".repeat(length)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is in a pod, an annotation or a policy: messages are clean, bounded, and their commands run one program.
    #[test]
    fn hostile_text_leaves_escaped_quoted_and_bounded(
        namespace in hostile(), name in hostile(), audience in hostile(), owner_name in hostile(), key in hostile(),
        value in hostile(), sid in hostile(), message in hostile(),
    ) {
        let identity = identity(&namespace, &name, &audience);
        let owner = Owner {
            restart: Some(Restart { kind: "statefulset", name: &owner_name }),
            ..owner(&namespace, &name)
        };
        let json = |text: &str| serde_json::Value::from(text).to_string();
        let hostile_statement = format!(
            r#"{{"Sid": {}, "Effect": "Allow", "Principal": {{"Federated": ["{}", {}]}}, "Action": ["sts:AssumeRoleWithWebIdentity", {}], "Condition": {{"StringEquals": {{{}: {}, {}: "x"}}}}}}"#,
            json(&sid), provider(), json(&value), json(&value), json(&format!("{ISSUER}:sub")), json(&value), json(&format!("other.example/{key}:sub")),
        );
        let mut judgments = cases(&identity);
        judgments.push(("", judged(&hostile_statement, &identity)));
        judgments.push(("", Judged::no_such_role(RoleArn::parse(ROLE).unwrap(), Some(&message))));
        judgments.push(("", Judged::unknown(RoleArn::parse(ROLE).unwrap(), Why::Unreadable(message.clone()))));
        judgments.push(("", Judged::unknown(RoleArn::parse(ROLE).unwrap(), Why::Malformed(message.clone()))));
        let conflict = conflict(&text::value(&message));
        let mut findings: Vec<Finding<'_>> = judgments.iter().map(|(_, judged)| Finding::Judged(judged, &identity)).collect();
        findings.extend([Finding::NoRole { account_exists: true, of_pod: None }, Finding::NoRole { account_exists: false, of_pod: None }, Finding::Conflict(&conflict)]);
        let malformed = RoleArn::parse(&value).err().map(|error| MalformedAnnotation { key: "eks.amazonaws.com/role-arn".to_owned(), value: value.clone(), error: error.into() });
        findings.extend(malformed.iter().map(Finding::Malformed));
        let mut scripts = Vec::new();
        for finding in &findings {
            for warning in warnings(finding, &owner) {
                prop_assert!(is_clean(&warning) && !warning.contains('\n') && warning.chars().count() <= 256, "{warning:?}");
            }
            let decision = decide(STRICT, Mode::Enforce, finding, &owner);
            let Some(message) = decision.refusal else { continue };
            prop_assert!(is_clean(&message) && message.len() <= text::MAX_MESSAGE_BYTES, "{message:?}");
            prop_assert!(message.lines().count() <= MAX_LINES, "{message}");
            prop_assert!(message.lines().next().unwrap().chars().count() <= FIRST_LINE_CHARS, "{message}");
            // A forged row would be a line that does not begin with a label of ours.
            for row in message.lines().skip(1) {
                let label = row.strip_prefix("  ").and_then(|row| row.split(' ').next()).unwrap_or_default();
                prop_assert!(
                    ["role", "allowed", "needed", "also", "found", "problem", "note", "reason", "edit", "fix", "then", "docs"].contains(&label),
                    "{message}"
                );
            }
            prop_assert!(messages::one_line(&message, 1024).len() <= 1024);
            scripts.extend(commands(&message));
        }
        scripts.sort();
        scripts.dedup();
        for command in scripts {
            let words = shell_words(&command);
            prop_assert!(["rolegate", "kubectl", "aws"].contains(&words[0].as_str()), "{words:?}");
            for word in words.iter().filter(|word| word.contains("pwned")) {
                // It arrives as an argument, as it was written.
                prop_assert!([&namespace, &name, &audience].iter().any(|text| word.contains(text.as_str()) || text.contains(word.as_str())), "{words:?}");
            }
        }
        prop_assert!(!std::path::Path::new("pwned").exists());
    }
}

/// `kubectl apply` shows no rows, so the problem is in the two warnings.
#[test]
fn warnings_about_a_malformed_role_contain_the_problem_and_the_role_that_was_meant() {
    const KEY: &str = "eks.amazonaws.com/role-arn";
    let owner = owner("staging", "api");
    let arn = "arn:aws:iam::111122223333:role/api";
    let command = "fix: kubectl annotate serviceaccount api -n staging --overwrite eks.amazonaws.com/role-arn=";
    let placeholder = "arn:aws:iam::ACCOUNT:role/NAME";
    for (value, problem, role) in [
        (
            "arn:aws:iam::11112222333:role/api".to_owned(),
            "its account has 11 digits; an account has twelve",
            placeholder,
        ),
        (
            format!("\"{arn}\""),
            "it is wrapped in quotation marks; remove them",
            arn,
        ),
        (format!("'{arn}'"), "it is wrapped in quotation marks; remove them", arn),
        (
            format!("\u{201c}{arn}\u{201d}"),
            "it is wrapped in quotation marks; remove them",
            arn,
        ),
        (
            format!("{arn} "),
            "it contains whitespace or another character that does not print; remove it",
            arn,
        ),
        (
            format!("\n\" {arn}\""),
            "it contains whitespace or another character that does not print; remove it",
            arn,
        ),
        (
            "\"api\"".to_owned(),
            "it is wrapped in quotation marks; remove them",
            placeholder,
        ),
    ] {
        let malformed = malformed_role(KEY, &value);
        let finding = Finding::Malformed(&malformed);
        let shown = warnings(&finding, &owner);
        assert_eq!(shown.len(), 2, "{shown:#?}");
        // A command that is complete is left as it is, so that it can be copied.
        let expected = match role == placeholder {
            true => format!("{command}{role} ({problem})"),
            false => format!("{command}{role}"),
        };
        assert_eq!(shown[1], expected);
        let refusal = refusal(&finding, &owner);
        assert!(refusal.contains(&format!("{}{role}\n", &command[5..])), "{refusal}");
    }
    // Long names leave no room for the command.
    let name = "n".repeat(253);
    let long = Owner {
        service_account: &name,
        ..owner
    };
    let malformed = malformed_role(KEY, "arn:aws:iam::1:role/api");
    let shown = warnings(&Finding::Malformed(&malformed), &long);
    assert!(shown[1].starts_with("fix: its account has 1 digit;"), "{shown:#?}");
    let elsewhere = malformed_role("RoleARN", &format!(" {arn}"));
    assert!(warnings(&Finding::Malformed(&elsewhere), &owner)[1].starts_with(&format!("fix: set RoleARN to {arn} (")));
}
