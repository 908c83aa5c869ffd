//! Reports in each format: valid according to its published schema, deterministic, and safe with hostile text.

mod browser;
mod formats;
mod schemas;
#[path = "../support/tools.rs"]
#[allow(dead_code, unreachable_pub, reason = "other test programs use the rest")]
mod tools;

use rolegate::reports::{Findings, Item, Level, Location, Object, Remark};

const ROLE: &str = "arn:aws:iam::111122223333:role/api";

fn findings(items: Vec<Item>) -> Findings {
    Findings {
        version: "1.2.3",
        time: "2026-11-28T20:00:00Z".parse().unwrap(),
        docs_url: None,
        items,
        failure: None,
    }
}

/// That nothing was checked.
fn nothing() -> Findings {
    Findings {
        failure: Some("nothing to audit: 1 file, \\u{1b}<a> & \"b\" %0A".to_owned()),
        ..findings(Vec::new())
    }
}

/// A finding, an undetermined verdict, a trusted ServiceAccount with a lint, and an object without a namespace.
fn sample() -> Findings {
    findings(vec![
        item("staging", "api", Level::Fail).at(Some(Location {
            file: "deploy/staging, v2/accounts.yaml".to_owned(),
            line: Some(7),
        })),
        item("staging", "worker", Level::Unclear).at(Some(Location {
            file: "./deploy/worker.yaml".to_owned(),
            line: None,
        })),
        item("", "issuer", Level::Fail),
        item("production", "wide", Level::Pass).with_lints(
            [Remark {
                code: "no-subject-condition",
                message: "statement 1 has no condition on the subject".to_owned(),
            }]
            .into_iter(),
        ),
        item("production", "api", Level::Pass),
    ])
}

fn item(namespace: &str, name: &str, level: Level) -> Item {
    let object = Object {
        kind: "ServiceAccount",
        namespace,
        name,
        role: ROLE,
    };
    let (first, verdict, cause) = match level {
        Level::Fail => (
            format!(
                "IAM role \"api\" does not trust ServiceAccount {namespace}/{name}: its trust policy allows production/api (wrong-subject)"
            ),
            "not-trusted",
            Some("wrong-subject"),
        ),
        Level::Unclear => (
            format!(
                "IAM role \"api\" might not trust ServiceAccount {namespace}/{name}: it depends on aws:SourceIp (undecided)"
            ),
            "undecided",
            None,
        ),
        Level::Pass => (
            format!("IAM role \"api\" trusts ServiceAccount {namespace}/{name}"),
            "trusted",
            None,
        ),
    };
    let rows = [
        ("role", "arn:aws:iam::111122223333:role/api, statement 1"),
        ("allowed", "system:serviceaccount:production:api"),
        (
            "fix",
            "rolegate trust-policy --role-arn arn:aws:iam::111122223333:role/api -n staging --service-account 'api'",
        ),
        ("docs", "rolegate explain wrong-subject"),
    ];
    let rows = match level {
        Level::Pass => &rows[..0],
        _ => &rows[..],
    };
    Item::new(object, (level, verdict, cause), &first, rows.iter().copied())
}

/// Texts that would do harm if a format let them through.
const HOSTILE: [&str; 12] = [
    "</script><script>window.harmed = true</script>",
    "\"><img src=x onerror=\"window.harmed = true\">",
    "' onmouseover='window.harmed = true",
    "]]></failure><failure>",
    "&lt;&amp;&#60;",
    "a\n::error file=x::forged\r\n::set-output name=a::b",
    "100%0A::error::forged",
    "\u{1b}[2J\u{1b}]0;title\u{7}",
    "\u{202e}reversed\u{2066}\u{200b}\u{feff}\u{fffe}\u{0}",
    "- a: b\n---\nkind: Secret # {{ 7 * 7 }}",
    "*anchor &anchor !!binary |",
    "größer 🚀 日本",
];

/// Findings that contain these texts in every field that users can write.
fn hostile() -> Findings {
    let items = HOSTILE.iter().map(|text| {
        let object = Object {
            kind: text,
            namespace: text,
            name: text,
            role: text,
        };
        let rows = [("found", *text), ("fix", *text)];
        Item::new(
            object,
            (Level::Fail, "not-trusted", Some("wrong-subject")),
            text,
            rows.into_iter(),
        )
        .with_lints(
            [Remark {
                code: "wildcard-subject",
                message: (*text).to_owned(),
            }]
            .into_iter(),
        )
        .at(Some(Location {
            file: (*text).to_owned(),
            line: Some(1),
        }))
    });
    findings(items.collect())
}

/// `count` findings in some namespaces, of each level.
fn many(count: usize) -> Findings {
    let levels = [Level::Fail, Level::Unclear, Level::Pass];
    let items = (0..count).map(|n| {
        item(
            &format!("team-{}", n % 40),
            &format!("account-{n}"),
            levels[n * levels.len() / count],
        )
    });
    findings(items.collect())
}
