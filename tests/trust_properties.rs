//! Properties of the evaluator that are true for every policy: order never matters, a Deny never helps, more information never reverses a
//! verdict, and no input causes a panic or exponential cost.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use rolegate::decision::messages::explanation::ExplanationText;
use rolegate::trust::{
    Audience, Context, Issuer, Judgment, Policy, RoleArn, SessionName, Subject, Verdict, WebIdentity, judge, lint,
};
use serde_json::{Value, json};

const ISSUER: &str = "issuer.example/id/A";
const PROVIDER: &str = "arn:aws:iam::111122223333:oidc-provider/issuer.example/id/A";

fn role() -> RoleArn {
    RoleArn::parse("arn:aws:iam::111122223333:role/app").unwrap()
}

fn identity() -> WebIdentity {
    WebIdentity {
        issuer: Issuer::parse(ISSUER).unwrap(),
        subject: Subject::service_account("jobs", "app"),
        audience: Audience::new("sts.amazonaws.com"),
    }
}

fn judged(document: &Value, context: &Context<'_>) -> Judgment {
    let policy = Policy::parse(&document.to_string()).unwrap_or_else(|error| panic!("{document}: {error}"));
    judge(&policy, &role(), &identity(), context)
}

fn verdict(document: &Value) -> Verdict {
    judged(document, &Context::default()).verdict
}

/// Keys of every kind: known, absent, unknowable, of time, of tags, of the session.
fn key() -> impl Strategy<Value = &'static str> {
    select(vec![
        "issuer.example/id/A:sub",
        "issuer.example/id/A:aud",
        "issuer.example/id/A:amr",
        "other.example:sub",
        "aws:SourceIp",
        "aws:CurrentTime",
        "aws:EpochTime",
        "aws:ResourceAccount",
        "aws:ResourceTag/team",
        "aws:userid",
        "aws:SecureTransport",
        "sts:RoleSessionName",
    ])
}

fn text_value() -> impl Strategy<Value = String> {
    select(vec![
        "*",
        "?*",
        "system:serviceaccount:jobs:app",
        "system:serviceaccount:jobs:*",
        "System:ServiceAccount:Jobs:App",
        "sts.amazonaws.com",
        "111122223333",
        "app-?",
        "blue",
        "true",
        "a:b",
        "",
        "${issuer.example/id/A:sub}",
        "${aws:SourceIp}",
        "${aws:ResourceTag/team}",
        "${aws:ResourceTag/team, 'blue'}",
        "${sts:RoleSessionName}",
        "*${aws:username}",
        "${aws:username, '*'}",
        "${*}",
    ])
    .prop_map(str::to_owned)
}

/// A condition entry: operator, key, values that the operator takes.
fn entry() -> impl Strategy<Value = (String, String, Vec<Value>)> {
    let typed = |operators: Vec<&'static str>, values: Vec<&'static str>| {
        (select(operators), vec(select(values).prop_map(Value::from), 0..4))
    };
    let texts = (
        select(vec![
            "StringEquals",
            "StringNotEquals",
            "StringEqualsIgnoreCase",
            "StringNotEqualsIgnoreCase",
            "StringLike",
            "StringNotLike",
        ]),
        vec(text_value().prop_map(Value::from), 0..4),
    );
    let family = prop_oneof![
        4 => texts,
        1 => typed(
            vec!["ArnLike", "ArnNotLike", "ArnEquals", "ArnNotEquals"],
            vec!["*", "arn:*:*:*:*:*", PROVIDER, "arn:aws:iam::${aws:ResourceTag/team}:x", "${aws:userid}"],
        ),
        2 => typed(
            vec!["DateEquals", "DateNotEquals", "DateLessThan", "DateLessThanEquals", "DateGreaterThan", "DateGreaterThanEquals"],
            vec!["2020-01-01", "2026-01-01T00:00:00Z", "2030-01-01", "1767225600", "*"],
        ),
        2 => typed(
            vec!["NumericEquals", "NumericNotEquals", "NumericLessThan", "NumericLessThanEquals", "NumericGreaterThan", "NumericGreaterThanEquals"],
            vec!["0", "111122223333", "1767225600", "9e99", "*"],
        ),
        1 => typed(vec!["IpAddress", "NotIpAddress"], vec!["0.0.0.0/0", "::/0", "10.0.0.0/8", "*"]),
        1 => typed(vec!["Bool"], vec!["true", "false", "x"]),
        1 => typed(vec!["BinaryEquals"], vec!["YQ==", "YmI=", "*"]),
    ];
    let decorated = (
        family,
        select(vec!["", "", "ForAllValues:", "ForAnyValue:"]),
        select(vec!["", "", "IfExists"]),
    )
        .prop_map(|((operator, values), prefix, suffix)| (format!("{prefix}{operator}{suffix}"), values));
    let null =
        vec(select(vec!["true", "false"]).prop_map(Value::from), 0..3).prop_map(|values| ("Null".to_owned(), values));
    (prop_oneof![8 => decorated, 1 => null], key())
        .prop_map(|((operator, values), key)| (operator, key.to_owned(), values))
}

fn statement(effects: &'static [&'static str]) -> impl Strategy<Value = Value> {
    let principal = prop_oneof![
        8 => Just(json!({"Federated": PROVIDER})),
        1 => Just(json!({"Federated": ["x", PROVIDER]})),
        1 => Just(json!({"AWS": "*"})),
        1 => Just(json!({"Service": "ec2.amazonaws.com"})),
    ];
    let action = prop_oneof![
        8 => Just(("Action", json!("sts:AssumeRoleWithWebIdentity"))),
        1 => Just(("Action", json!(["sts:TagSession", "STS:*"]))),
        1 => Just(("NotAction", json!("sts:AssumeRole*"))),
    ];
    (select(effects), principal, action, vec(entry(), 0..3)).prop_map(|(effect, principal, (form, action), entries)| {
        let mut condition = json!({});
        for (operator, key, values) in entries {
            condition[operator][key] = values.into();
        }
        json!({"Effect": effect, "Principal": principal, form: action, "Condition": condition})
    })
}

fn policy() -> impl Strategy<Value = Value> {
    let version = select(vec!["2012-10-17", "2012-10-17", "2008-10-17"]);
    (version, vec(statement(&["Allow", "Allow", "Deny"]), 1..4))
        .prop_map(|(version, statements)| json!({"Version": version, "Statement": statements}))
}

/// From refusal to trust.
fn permissiveness(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::NotTrusted => 0,
        Verdict::Undecided | Verdict::Unknown => 1,
        Verdict::Trusted => 2,
    }
}

fn reverse_lists_of_values(document: &mut Value) {
    for statement in document["Statement"].as_array_mut().unwrap() {
        for operator in statement["Condition"].as_object_mut().unwrap().values_mut() {
            for values in operator.as_object_mut().unwrap().values_mut() {
                values.as_array_mut().unwrap().reverse();
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn the_order_of_statements_and_values_never_matters(mut document in policy(), at in any::<Index>()) {
        let before = verdict(&document);
        let statements = document["Statement"].as_array_mut().unwrap();
        let middle = at.index(statements.len());
        statements.rotate_left(middle);
        prop_assert_eq!(verdict(&document), before);
        document["Statement"].as_array_mut().unwrap().reverse();
        reverse_lists_of_values(&mut document);
        prop_assert_eq!(verdict(&document), before);
    }

    #[test]
    fn a_deny_never_makes_a_verdict_more_permissive(mut document in policy(), deny in statement(&["Deny"])) {
        let before = verdict(&document);
        document["Statement"].as_array_mut().unwrap().push(deny);
        prop_assert!(permissiveness(verdict(&document)) <= permissiveness(before));
    }

    #[test]
    fn an_allow_never_makes_a_verdict_less_permissive(mut document in policy(), allow in statement(&["Allow"])) {
        let before = verdict(&document);
        document["Statement"].as_array_mut().unwrap().push(allow);
        prop_assert!(permissiveness(verdict(&document)) >= permissiveness(before));
    }

    #[test]
    fn more_knowledge_only_settles_what_was_undecided(
        document in policy(),
        now in prop_oneof![Just(None), select(vec![0, 1_577_836_800, 1_767_225_600, 4_000_000_000]).prop_map(Some)],
        tags in prop_oneof![Just(None), Just(Some(vec![])), Just(Some(vec![("Team".to_owned(), "blue".to_owned())]))],
        name in prop_oneof![Just(None), select(vec!["app-1", "aa", "true", "bb", "10.0.0.1", "111122223333"]).prop_map(Some)],
    ) {
        let known = Context {
            now,
            role_tags: tags.as_deref(),
            session_name: name.map_or(SessionName::Unknown, SessionName::Assumed),
        };
        let before = verdict(&document);
        let after = judged(&document, &known).verdict;
        prop_assert!(before == Verdict::Undecided || before == after, "{before} became {after}");
        if let Some(name) = name {
            let suggested = Context { session_name: SessionName::Suggested(name), ..Context::default() };
            prop_assert_eq!(judged(&document, &suggested).verdict, before);
        }
    }

    #[test]
    fn later_never_undoes_what_time_has_settled(document in policy(), now in 0_i64..4_000_000_000, more in 0_i64..4_000_000_000) {
        let at = |now| judged(&document, &Context { now: Some(now), ..Context::default() }).verdict;
        let (before, after) = (at(now), at(now + more));
        prop_assert!(before == Verdict::Undecided || before == after, "{before} became {after}");
    }

    #[test]
    fn every_judgment_but_a_trusting_one_says_why_in_one_short_line(document in policy()) {
        let judgment = judged(&document, &Context::default());
        prop_assert_ne!(judgment.verdict, Verdict::Unknown);
        match judgment.explanation {
            None => prop_assert_eq!(judgment.verdict, Verdict::Trusted),
            Some(explanation) => {
                prop_assert_eq!(explanation.cause.is_some(), judgment.verdict == Verdict::NotTrusted);
                let (role, identity) = (role(), identity());
                let words = ExplanationText { role: &role, identity: &identity, explanation: &explanation };
                prop_assert!(!words.reason().is_empty());
                for line in words.hint().iter().chain([&words.reason()]) {
                    prop_assert!(line.chars().count() <= 600 && !line.contains(char::is_control), "{line}");
                }
            }
        }
    }

    #[test]
    fn no_text_panics(text in any::<String>(), bytes in vec(any::<u8>(), 0..200)) {
        let bytes = String::from_utf8_lossy(&bytes).into_owned();
        for text in [text, bytes] {
            let _ = Policy::parse(&text).map_err(|error| error.to_string());
            let _ = Policy::parse_encoded(&text).map_err(|error| error.to_string());
            let _ = RoleArn::parse(&text).map_err(|error| error.to_string());
            let _ = RoleArn::parse(&format!("arn:aws:iam::111122223333:role/{text}")).map(|arn| (arn.path().len(), arn.name().len()));
            let _ = Issuer::parse(&text).map(|issuer| issuer.region().map(str::len));
            survives(&json!({"Version": "2012-10-17", "Statement": {
                "Sid": text, "Effect": "Allow", "Principal": {"Federated": [text, PROVIDER]}, "Action": [text, "*"],
                "Condition": {"StringLike": {&text: text, "issuer.example/id/A:sub": text, "aws:SourceIp": text}}}}).to_string());
        }
    }

    #[test]
    fn a_document_truncated_anywhere_is_refused_in_one_line(document in policy(), at in any::<Index>()) {
        let text = document.to_string();
        let torn: String = text.chars().take(at.index(text.chars().count())).collect();
        let error = Policy::parse(&torn).map(|_| ()).unwrap_err().to_string();
        prop_assert!(!error.contains(char::is_control) && error.chars().count() <= 400, "{error}");
    }

    #[test]
    fn every_well_formed_role_arn_is_taken_apart_as_it_was_put_together(
        partition in "[a-z0-9-]{1,20}", account in "[0-9]{12}", path in "(/[!-~]{1,60}){0,3}", name in "[A-Za-z0-9_+=,.@-]{1,64}",
    ) {
        // `/` alone is not a segment, and two paths are AWS's own.
        prop_assume!(!path.starts_with("/aws-service-role/") && !path.starts_with("/aws-reserved/"));
        prop_assume!(path.is_empty() || path.len() > 1 && path != "//");
        let text = format!("arn:{partition}:iam::{account}:role{path}/{name}");
        let arn = RoleArn::parse(&text).unwrap_or_else(|error| panic!("{text}: {error}"));
        prop_assert_eq!((arn.partition(), arn.account(), arn.name()), (&*partition, &*account, &*name));
        prop_assert_eq!(arn.path(), format!("{path}/"));
    }
}

/// Evaluates and lints whatever parses.
fn survives(text: &str) {
    if let Ok(policy) = Policy::parse(text) {
        let context = Context {
            now: Some(0),
            role_tags: Some(&[]),
            session_name: SessionName::Suggested("a"),
        };
        let judgment = judge(&policy, &role(), &identity(), &context);
        let (role, identity) = (role(), identity());
        assert!(judgment.explanation.is_none_or(|explanation| {
            let words = ExplanationText {
                role: &role,
                identity: &identity,
                explanation: &explanation,
            };
            words.reason().chars().count() <= 600
        }));
        drop(lint(&policy, &role, &identity));
    }
}

#[test]
fn documents_of_a_megabyte_built_to_explode_do_not() {
    const MEGABYTE: usize = 1 << 20;
    let filled = |unit: &str| unit.repeat(MEGABYTE / unit.len());
    let in_values = |operator: &str, values: &str| {
        format!(
            r#"{{"Version": "2012-10-17", "Statement": {{"Effect": "Allow", "Principal": {{"Federated": "{PROVIDER}"}}, "Action": "*",
                "Condition": {{"{operator}": {{"issuer.example/id/A:sub": {values}}}}}}}}}"#
        )
    };
    let keys: String = (0..MEGABYTE / 40)
        .map(|number| format!(r#""issuer.example:{number}": "${{a.b:{number}}}","#))
        .collect();
    // Each of another issuer, and each a mistake that could be corrected.
    let owners: String = (0..MEGABYTE / 40)
        .map(|number| format!(r#""${{I}}.{number}:sub": "a","#))
        .collect();
    for document in [
        in_values("StringEquals", &format!(r#""a", {owners} "x": "y""#)),
        filled("["),
        filled("{\"a\":"),
        format!("{}{}", filled("["), filled("]")),
        in_values("StringLike", &format!("\"{}b\"", filled("*a"))),
        in_values("StringLike", &format!("\"{}\"", filled("*"))),
        in_values("StringLike", &format!("\"{}\"", filled("?*"))),
        in_values("StringLike", &format!("\"{}\"", filled("${"))),
        in_values("StringLike", &format!("\"{}\"", filled("${a,"))),
        in_values("StringLike", &format!("\"{}\"", filled("${a,'"))),
        in_values("StringLike", &format!("\"{}\"", filled("${a.b:c, 'x'}"))),
        in_values("StringLike", &format!("\"{}\"", filled("*${aws:SourceIp}"))),
        in_values("StringLike", &format!("\"{}\"", filled("*s${aws:SourceIp}"))),
        in_values("StringNotEqualsIgnoreCase", &format!("\"{}\"", filled("İ"))),
        in_values("StringEquals", &format!("[{}\"x\"]", filled("1,"))),
        in_values("NumericEquals", &format!("\"{}\"", filled("9"))),
        in_values("NumericEquals", &format!("[{}1]", filled("0.1e-5,"))),
        in_values("ArnLike", &format!("\"{}\"", filled("*:"))),
        in_values("BinaryEquals", &format!("\"{}\"", filled("AAAA"))),
        in_values(&filled("ForAnyValue:"), "1"),
        format!(
            r#"{{"Version": "2012-10-17", "Statement": {{"Effect": "Allow", "Principal": {{"Federated": "{PROVIDER}"}}, "Action": "*",
                "Condition": {{"StringLike": {{{keys}"x": "y"}}}}}}}}"#
        ),
        format!(
            r#"{{"Statement": [{}{{"Effect": "Allow", "Principal": "*", "Action": "{}"}}]}}"#,
            filled(r#"{"Effect": "Allow", "Principal": "*", "Action": "*"},"#),
            filled("*s")
        ),
    ] {
        survives(&document);
        survives(document.get(..document.len() / 2).unwrap_or_default());
    }
}
