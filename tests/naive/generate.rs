//! Random requests and policies, drawn from small pools so that they meet often.
//!
//! Left out is what the rules of trust policies leave open: empty lists of principals or actions, `*` alone under a
//! numeric operator over a number, variables that are never closed.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::evaluate::{Request, date};
use super::json::Json;

const ISSUERS: [&str; 4] = [
    "oidc.eks.us-west-2.amazonaws.com/id/EXAMPLED539D4633E53DE1B71EXAMPLE",
    "oidc.eks.eu-central-1.amazonaws.com/id/EXAMPLED539D4633E53DE1B71EXAMPLE",
    "issuer.example.com",
    "issuer.example.com/",
];
const ACCOUNTS: [&str; 2] = ["111122223333", "444455556666"];
const PARTITIONS: [&str; 2] = ["aws", "aws-cn"];
const SUBJECTS: [&str; 4] = [
    "system:serviceaccount:jobs:default",
    "system:serviceaccount:jobs:runner",
    "system:serviceaccount:prod:default",
    "repo",
];
const AUDIENCES: [&str; 2] = ["sts.amazonaws.com", "other"];
const DATES: [&str; 6] = [
    "2026-01-01T00:00:00Z",
    "2027-06-01",
    "2027-06-01T00:00:00Z",
    "2027-06-01T02:00:00+02:00",
    "2030-01-01T00:00:00Z",
    "1800000000",
];

/// Mostly the first, so that what is drawn apart fits together.
fn mostly_first(pool: &'static [&'static str]) -> BoxedStrategy<&'static str> {
    prop_oneof![4 => Just(pool[0]), 1 => select(pool)].boxed()
}

pub(crate) fn request() -> impl Strategy<Value = Request> {
    let tags = vec(
        (select(&["team", "stage"][..]), select(&["jobs", "default", "5"][..])),
        0..3,
    );
    let now = prop_oneof![
        Just(None),
        select(&DATES[..]).prop_flat_map(|text| {
            #[allow(clippy::cast_possible_truncation)]
            let bound = date(text).expect("a date") as i64;
            (bound - 1..=bound + 1).prop_map(Some)
        }),
    ];
    (
        mostly_first(&PARTITIONS),
        mostly_first(&ACCOUNTS),
        mostly_first(&ISSUERS),
        mostly_first(&SUBJECTS),
        mostly_first(&AUDIENCES),
        now,
        proptest::option::of(tags),
    )
        .prop_map(|(partition, account, issuer, subject, audience, now, tags)| Request {
            partition: partition.to_owned(),
            account: account.to_owned(),
            issuer: issuer.to_owned(),
            subject: subject.to_owned(),
            audience: audience.to_owned(),
            now,
            tags: tags.map(|tags| {
                let mut tags: Vec<(String, String)> = tags
                    .into_iter()
                    .map(|(key, value)| (key.to_owned(), value.to_owned()))
                    .collect();
                tags.sort();
                tags.dedup_by(|one, other| one.0 == other.0);
                tags
            }),
        })
}

/// A policy document, now and then malformed.
pub(crate) fn policy() -> BoxedStrategy<Json> {
    let version = prop_oneof![
        40 => Just(Some(Json::text("2012-10-17"))),
        6 => Just(Some(Json::text("2008-10-17"))),
        8 => Just(None),
        1 => select(vec![Json::text("2012-10-18"), Json::Null, Json::Number("2012".into()), Json::text("")]).prop_map(Some),
    ];
    let statements = prop_oneof![
        10 => statement(),
        40 => vec(statement(), 1..4).prop_map(Json::List),
        1 => select(vec![Json::List(vec![]), Json::Null, Json::text("Allow"), Json::List(vec![Json::Null])]),
    ];
    let id = prop_oneof![9 => Just(None), 1 => Just(Some(Json::text("id")))];
    (version, id, rarely_absent(statements), rarely(element()))
        .prop_flat_map(|(version, id, statements, stray)| {
            let entries = [("Version", version), ("Id", id), ("Statement", statements)];
            document(entries, stray)
        })
        .boxed()
}

/// A request, and a policy that would trust it but for one or two conditions: the verdict depends on them.
pub(crate) fn conditional() -> impl Strategy<Value = (Request, Json)> {
    let version = prop_oneof![3 => Just("2012-10-17"), 1 => Just("2008-10-17")];
    (request(), version, vec(entry(), 1..3)).prop_map(|(request, version, entries)| {
        let statement = Json::object(&[
            ("Effect", Json::text("Allow")),
            (
                "Principal",
                Json::object(&[("Federated", Json::text(request.provider_arn()))]),
            ),
            ("Action", Json::text("sts:AssumeRoleWithWebIdentity")),
            ("Condition", Json::Object(by_operator(entries))),
        ]);
        (
            request,
            Json::object(&[("Version", Json::text(version)), ("Statement", statement)]),
        )
    })
}

/// An object of what is there, in any order, now and then with a key twice.
fn document<const N: usize>(
    entries: [(&'static str, Option<Json>); N],
    stray: Option<(String, Json)>,
) -> BoxedStrategy<Json> {
    let entries: Vec<(String, Json)> = entries
        .into_iter()
        .filter_map(|(key, value)| value.map(|value| (key.to_owned(), value)))
        .chain(stray)
        .collect();
    let repeat = prop_oneof![200 => Just(None), 1 => any::<prop::sample::Index>().prop_map(Some)];
    (Just(entries).prop_shuffle(), repeat)
        .prop_map(|(mut entries, repeat)| {
            if let Some(index) = repeat.filter(|_| !entries.is_empty()) {
                let again = index.get(&entries).clone();
                entries.push(again);
            }
            Json::Object(entries)
        })
        .boxed()
}

fn rarely<T: Clone + std::fmt::Debug + 'static>(
    strategy: impl Strategy<Value = T> + 'static,
) -> BoxedStrategy<Option<T>> {
    prop_oneof![150 => Just(None), 1 => strategy.prop_map(Some)].boxed()
}

fn rarely_absent(strategy: impl Strategy<Value = Json> + 'static) -> BoxedStrategy<Option<Json>> {
    prop_oneof![150 => strategy.prop_map(Some), 1 => Just(None)].boxed()
}

/// What no trust policy may hold.
fn element() -> impl Strategy<Value = (String, Json)> {
    let key = select(
        &[
            "Resource",
            "NotResource",
            "NotPrincipal",
            "version",
            "effect",
            "Comment",
            "statement",
        ][..],
    );
    (key, select(vec![Json::text("*"), Json::Null])).prop_map(|(key, value)| (key.to_owned(), value))
}

fn statement() -> BoxedStrategy<Json> {
    let sid = prop_oneof![
        6 => Just(None),
        2 => select(&["", "A", "B"][..]).prop_map(|sid| Some(Json::text(sid))),
    ];
    let effect = prop_oneof![
        120 => Just(Json::text("Allow")),
        32 => Just(Json::text("Deny")),
        1 => select(vec![Json::text("allow"), Json::text(""), Json::Bool(true)]),
    ];
    let one_form = prop_oneof![
        8 => action().prop_map(|action| (Some(action), None)),
        1 => action().prop_map(|action| (None, Some(action))),
    ];
    let forms = prop_oneof![
        150 => one_form,
        1 => Just((None, None)),
        1 => (action(), action()).prop_map(|(one, other)| (Some(one), Some(other))),
    ];
    let condition = prop_oneof![1 => Just(None), 5 => conditions().prop_map(Some)];
    (
        sid,
        rarely_absent(effect),
        rarely_absent(principal()),
        forms,
        condition,
        rarely(element()),
    )
        .prop_flat_map(|(sid, effect, principal, (action, not_action), condition, stray)| {
            let entries = [
                ("Sid", sid),
                ("Effect", effect),
                ("Principal", principal),
                ("Action", action),
                ("NotAction", not_action),
                ("Condition", condition),
            ];
            document(entries, stray)
        })
        .boxed()
}

fn one_or_list(one: impl Strategy<Value = Json> + Clone + 'static, least: usize) -> BoxedStrategy<Json> {
    prop_oneof![3 => one.clone(), 2 => vec(one, least..4).prop_map(Json::List)].boxed()
}

fn principal() -> BoxedStrategy<Json> {
    let provider = (
        mostly_first(&PARTITIONS),
        mostly_first(&ACCOUNTS),
        mostly_first(&ISSUERS),
    )
        .prop_map(|(partition, account, issuer)| {
            Json::text(format!("arn:{partition}:iam::{account}:oidc-provider/{issuer}"))
        })
        .boxed();
    let others = select(vec![
        Json::text("*"),
        Json::text("arn:aws:iam::111122223333:root"),
        Json::text("ecs-tasks.amazonaws.com"),
        Json::text("cognito-identity.amazonaws.com"),
        Json::text(format!(
            "arn:aws:iam::111122223333:oidc-provider/https://{}",
            ISSUERS[0]
        )),
    ])
    .boxed();
    let named = |kind: &'static str, values: BoxedStrategy<Json>| {
        one_or_list(values, 1).prop_map(move |value| (kind.to_owned(), value))
    };
    let federated = prop_oneof![9 => provider, 1 => others.clone()].boxed();
    let kinds = prop_oneof![
        12 => named("Federated", federated.clone()).prop_map(|one| vec![one]),
        1 => named("AWS", others.clone()).prop_map(|one| vec![one]),
        1 => named("Service", others.clone()).prop_map(|one| vec![one]),
        2 => (named("AWS", others.clone()), named("Federated", federated)).prop_map(|(one, other)| vec![one, other]),
    ];
    prop_oneof![
        120 => kinds.prop_map(Json::Object),
        8 => Just(Json::text("*")),
        1 => select(vec![
            Json::text("arn:aws:iam::111122223333:root"),
            Json::Null,
            Json::object(&[("Everyone", Json::text("*"))]),
            Json::object(&[("Federated", Json::Null)]),
            Json::object(&[("Federated", Json::List(vec![Json::Number("1".into())]))]),
        ]),
    ]
    .boxed()
}

fn action() -> BoxedStrategy<Json> {
    let good = select(
        &[
            "sts:AssumeRoleWithWebIdentity",
            "STS:assumerolewithwebidentity",
            "sts:*",
            "*",
            "sts:AssumeRole*",
            "sts:AssumeRoleWith???Identity",
        ][..],
    );
    let bad = select(
        &[
            "sts:AssumeRole",
            "sts:TagSession",
            "s3:*",
            "sts:AssumeRoleWithWebIdentity?",
            "sts:AssumeRoleWithSAML",
            "",
        ][..],
    );
    let text = prop_oneof![5 => good, 2 => bad].prop_map(Json::text).boxed();
    prop_oneof![
        150 => one_or_list(text, 1),
        1 => select(vec![Json::Null, Json::Number("1".into()), Json::List(vec![Json::Bool(true)])]),
    ]
    .boxed()
}

/// `{operator: {key: value or list}}`.
fn conditions() -> BoxedStrategy<Json> {
    let usual = vec(entry(), 0..4);
    let entries = prop_oneof![
        3 => usual.clone(),
        // What a right policy has, and perhaps more.
        2 => (right_entries(), usual).prop_map(|(mut right, more)| {
            right.extend(more);
            right
        }),
    ];
    prop_oneof![
        100 => entries.prop_map(|entries| Json::Object(by_operator(entries))),
        1 => select(vec![
            Json::Null,
            Json::List(vec![]),
            Json::object(&[("StringEquals", Json::text("x"))]),
            Json::object(&[("StringEquals", Json::object(&[("aws:username", Json::Null)]))]),
            Json::object(&[("StringEquals", Json::object(&[("aws:username", Json::List(vec![Json::List(vec![])]))]))]),
        ]),
    ]
    .boxed()
}

type Entry = (String, String, Json);

fn right_entries() -> BoxedStrategy<Vec<Entry>> {
    (
        mostly_first(&ISSUERS),
        mostly_first(&SUBJECTS),
        mostly_first(&AUDIENCES),
        any::<bool>(),
    )
        .prop_map(|(issuer, subject, audience, like)| {
            let operator = if like { "StringLike" } else { "StringEquals" };
            vec![
                (operator.to_owned(), format!("{issuer}:sub"), Json::text(subject)),
                (operator.to_owned(), format!("{issuer}:aud"), Json::text(audience)),
            ]
        })
        .boxed()
}

/// Entries of the same operator go into one object; of the same key, the first stays (mostly: see below).
fn by_operator(entries: Vec<Entry>) -> Vec<(String, Json)> {
    let mut operators: Vec<(String, Vec<(String, Json)>)> = Vec::new();
    for (operator, key, value) in entries {
        let place = operators
            .iter()
            .position(|(name, _)| *name == operator)
            .unwrap_or_else(|| {
                operators.push((operator, Vec::new()));
                operators.len() - 1
            });
        let keys = &mut operators[place].1;
        // A key that is there already makes the document malformed; once in a while that is wanted.
        if !keys.iter().any(|(other, _)| *other == key) || value == Json::text("twice") {
            keys.push((key, value));
        }
    }
    operators
        .into_iter()
        .map(|(operator, keys)| (operator, Json::Object(keys)))
        .collect()
}

fn entry() -> BoxedStrategy<Entry> {
    prop_oneof![
        96 => of_family(STRING_OPERATORS, string_keys(), string_values()),
        16 => of_family(ARN_OPERATORS, keys(&["aws:userid", "aws:Referer", "aws:SourceArn", "sts:RoleSessionName"]), from_pool(&[
            "arn:aws:iam::111122223333:oidc-provider/oidc.eks.us-west-2.amazonaws.com/id/EXAMPLED539D4633E53DE1B71EXAMPLE",
            "arn:aws:iam::*:oidc-provider/*", "arn:*:iam:*:1111????3333:oidc-provider/issuer.example.com*", "*",
            "arn:aws:iam::111122223333:role/a:b", "arn:aws:iam::${aws:ResourceAccount}:oidc-provider/*",
            "arn:aws:iam::${aws:RequestTag/x}:*",
        ], &["no-arn", "arn:aws:iam", ""])),
        16 => of_family(NUMERIC_OPERATORS, keys(&["aws:ResourceAccount", "sts:DurationSeconds", "aws:Referer", "aws:EpochTime", "aws:ResourceTag/team"]), prop_oneof![
            4 => from_pool(&["5", "-1", "2.5", "111122223333", "1800000000", "1e3"], &["abc", "", "1,5", "0x10"]),
            1 => select(&["5", "111122223333", "0"][..]).prop_map(|number| Json::Number(number.to_owned())),
        ].boxed()),
        20 => of_family(DATE_OPERATORS, keys(&["aws:CurrentTime", "aws:EpochTime", "aws:TokenIssueTime", "aws:Referer"]), prop_oneof![
            4 => from_pool(&DATES, &["yesterday", "2027-13-01", "2027-06-01T25:00:00Z", ""]),
            1 => Just(Json::Number("1800000000".to_owned())),
        ].boxed()),
        16 => of_family(&["Bool"], string_keys(), booleans()),
        8 => of_family(&["BinaryEquals"], keys(&["aws:Referer", "aws:username"]), from_pool(&[
            "c3RzLmFtYXpvbmF3cy5jb20=", "c3lzdGVtOnNlcnZpY2VhY2NvdW50OmpvYnM6ZGVmYXVsdA==", "",
        ], &["!!", "abc"])),
        12 => of_family(&["IpAddress", "NotIpAddress"], keys(&["aws:SourceIp", "aws:username", "aws:ResourceTag/stage"]), from_pool(&[
            "10.0.0.0/8", "203.0.113.7", "0.0.0.0/0", "2001:db8::/32", "::1",
        ], &["10.0.0.0/33", "10.0.0", "", "localhost"])),
        16 => null(),
        // Values that are not literals of their operator and still well-formed, over a key that is surely absent.
        4 => of_family(&["NumericEquals", "DateLessThan", "IpAddress", "NotIpAddress", "DateNotEquals", "NumericNotEquals"], keys(&["aws:username"]), from_pool(&["*", "${aws:SourceIp}"], &["**"])),
        1 => of_family(&["StringEqual", "Equals", "", "StringRegex", "NotBool", "NotNull", "ArnNotBool"], string_keys(), string_values()),
    ]
    .boxed()
}

/// Neither prefix nor suffix fits: mostly there is none, or nearly every document with `Null` were malformed.
fn null() -> BoxedStrategy<Entry> {
    let operator = prop_oneof![
        40 => Just("Null"),
        1 => select(&["NullIfExists", "ForAllValues:Null", "ForAnyValue:Null"][..]),
    ];
    (operator, string_keys(), one_or_list(booleans(), 1))
        .prop_map(|(operator, key, values)| (operator.to_owned(), key, values))
        .boxed()
}

const STRING_OPERATORS: &[&str] = &[
    "StringEquals",
    "StringNotEquals",
    "StringEqualsIgnoreCase",
    "StringNotEqualsIgnoreCase",
    "StringLike",
    "StringNotLike",
    "StringEquals",
    "StringLike",
    "stringequals",
    "STRINGLIKE",
];
const ARN_OPERATORS: &[&str] = &["ArnEquals", "ArnLike", "ArnNotEquals", "ArnNotLike", "arnlike"];
const NUMERIC_OPERATORS: &[&str] = &[
    "NumericEquals",
    "NumericNotEquals",
    "NumericLessThan",
    "NumericLessThanEquals",
    "NumericGreaterThan",
    "NumericGreaterThanEquals",
];
const DATE_OPERATORS: &[&str] = &[
    "DateEquals",
    "DateNotEquals",
    "DateLessThan",
    "DateLessThanEquals",
    "DateGreaterThan",
    "DateGreaterThanEquals",
];

fn of_family(
    operators: &'static [&'static str],
    keys: BoxedStrategy<String>,
    values: BoxedStrategy<Json>,
) -> BoxedStrategy<Entry> {
    let prefix =
        prop_oneof![10 => Just(""), 1 => Just("ForAllValues:"), 1 => Just("ForAnyValue:"), 1 => Just("forallvalues:")];
    let suffix = prop_oneof![8 => Just(""), 2 => Just("IfExists"), 1 => Just("ifexists")];
    let values =
        prop_oneof![80 => one_or_list(values, 1), 3 => Just(Json::List(vec![])), 1 => Just(Json::text("twice"))];
    (prefix, select(operators), suffix, keys, values)
        .prop_map(|(prefix, operator, suffix, key, values)| {
            // Mostly without, or nearly every document with Null were malformed.
            let (prefix, suffix) = if operator == "Null" && key.len() % 5 != 0 {
                ("", "")
            } else {
                (prefix, suffix)
            };
            (format!("{prefix}{operator}{suffix}"), key, values)
        })
        .boxed()
}

fn string_keys() -> BoxedStrategy<String> {
    let of_issuer = (
        mostly_first(&ISSUERS),
        select(&["sub", "sub", "sub", "aud", "aud", "amr", "SUB"][..]),
    )
        .prop_map(|(issuer, claim)| format!("{issuer}:{claim}"));
    let whole_case = of_issuer.clone().prop_map(|key| key.to_uppercase());
    let others = select(
        &[
            "sts:RoleAuthorizedByIdp",
            "aws:RequestTag/x",
            "aws:TagKeys",
            "sts:TransitiveTagKeys",
            "aws:PrincipalTag/a",
            "sts:SourceIdentity",
            "sts:ExternalId",
            "sts:DurationSeconds",
            "aws:PrincipalArn",
            "aws:MultiFactorAuthPresent",
            "aws:SourceIdentity",
            "aws:username",
            "aws:PrincipalOrgID",
            "aws:SourceArn",
            "aws:SourceAccount",
            "aws:SourceOrgID",
            "aws:CalledViaFirst",
            "aws:ResourceAccount",
            "aws:PrincipalAccount",
            "aws:PrincipalType",
            "aws:userid",
            "sts:RoleSessionName",
            "STS:rolesessionname",
            "aws:ResourceTag/team",
            "iam:ResourceTag/stage",
            "aws:ResourceTag/none",
            "aws:SecureTransport",
            "aws:SourceIp",
            "aws:SourceVpc",
            "aws:RequestedRegion",
            "aws:UserAgent",
            "aws:Referer",
            "aws:FederatedProvider",
            "aws:PrincipalIsAWSService",
            "aws:ViaAWSService",
            "aws:ResourceOrgID",
            "aws:Unheard",
            "unheard",
            "token.actions.example.com:sub",
            "accounts.example.com",
            "https://localhost:sub",
            "https://localhost",
            "sub",
            "aud",
            "arn:aws:iam::111122223333:oidc-provider/localhost:sub",
        ][..],
    )
    .prop_map(str::to_owned);
    prop_oneof![8 => of_issuer, 1 => whole_case, 5 => others].boxed()
}

/// These, and the subject, which typed operators do not compare.
fn keys(pool: &'static [&'static str]) -> BoxedStrategy<String> {
    prop_oneof![
        4 => select(pool).prop_map(str::to_owned),
        1 => mostly_first(&ISSUERS).prop_map(|issuer| format!("{issuer}:sub")),
    ]
    .boxed()
}

fn string_values() -> BoxedStrategy<Json> {
    let subjects = mostly_first(&SUBJECTS);
    let patterns = select(
        &[
            "system:serviceaccount:jobs:*",
            "system:serviceaccount:*:default",
            "system:serviceaccount:????:default",
            "*",
            "**",
            "?*",
            "???*",
            "??",
            "SYSTEM:serviceaccount:jobs:default",
            "system:serviceaccount:jobs:default ",
            "*:*",
            "repo*",
        ][..],
    );
    let audiences = mostly_first(&AUDIENCES);
    let facts = select(
        &[
            "111122223333",
            "User",
            "true",
            "false",
            "",
            "a",
            "ci-runner",
            "jobs",
            "default",
            "ci_runner@*",
        ][..],
    );
    let variables = [
        "${aws:ResourceAccount}",
        "${AWS:resourceaccount}",
        "${aws:RequestTag/x}",
        "${aws:RequestTag/x, 'sts.amazonaws.com'}",
        "${*}",
        "system:serviceaccount:jobs:${*}",
        "system:serviceaccount:${aws:username, 'jobs'}:default",
        "system:serviceaccount:${aws:ResourceTag/team, 'jobs'}:*",
        "${aws:SourceIp}",
        "${?}*",
        "${$}",
        "${aws:username, '*'}",
        "*${aws:username}",
    ];
    let of_issuer = mostly_first(&ISSUERS).prop_map(|issuer| format!("${{{issuer}:sub}}"));
    let variables = prop_oneof![select(variables.to_vec()).prop_map(str::to_owned), of_issuer];
    prop_oneof![
        8 => subjects.prop_map(Json::text),
        6 => audiences.prop_map(Json::text),
        5 => patterns.prop_map(Json::text),
        4 => facts.prop_map(Json::text),
        4 => variables.prop_map(Json::text),
        1 => select(vec![Json::Bool(true), Json::Bool(false), Json::Number("111122223333".into()), Json::Number("5".into())]),
    ]
    .boxed()
}

fn booleans() -> BoxedStrategy<Json> {
    select(vec![
        Json::text("true"),
        Json::text("false"),
        Json::text("True"),
        Json::text("FALSE"),
        Json::Bool(true),
        Json::Bool(false),
        Json::text("yes"),
        Json::text(""),
    ])
    .boxed()
}

/// Mostly what an operator takes.
fn from_pool(good: &'static [&'static str], bad: &'static [&'static str]) -> BoxedStrategy<Json> {
    prop_oneof![80 => select(good), 1 => select(bad)]
        .prop_map(Json::text)
        .boxed()
}
