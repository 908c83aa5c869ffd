//! Trust policies as in guides and with common mistakes, each with a web identity and the correct verdict.
//!
//! A case is a file in `tests/trust-cases`: `why` it is there, `role`, `issuer`, `subject` and `audience`, the correct `verdict` and, if it
//! is not trusted, `cause`, and the `policy` as written (including repeated keys).

use std::fmt::Write as _;
use std::path::Path;

use rolegate::decision::messages::explanation::ExplanationText;
use rolegate::decision::messages::{FIRST_LINE_CHARS, about_judged};
use rolegate::decision::{Judged, Why};
use rolegate::trust::{Audience, Context, Issuer, Policy, RoleArn, Subject, WebIdentity, judge};
use serde::Deserialize;
use serde_json::value::RawValue;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    why: String,
    role: String,
    issuer: String,
    subject: String,
    audience: String,
    verdict: String,
    cause: Option<String>,
    /// What an undecided evaluation hangs on.
    #[serde(default)]
    keys: Vec<String>,
    policy: Box<RawValue>,
}

struct Answer {
    verdict: String,
    cause: Option<String>,
    keys: Vec<String>,
    words: String,
}

fn cases() -> Vec<(String, Case)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/trust-cases");
    let mut cases: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .map(|path| {
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            let case = serde_json::from_str(&std::fs::read_to_string(&path).unwrap());
            let case: Case = case.unwrap_or_else(|error| panic!("{name}: {error}"));
            assert!(!case.why.is_empty(), "{name}");
            (name, case)
        })
        .collect();
    cases.sort_by(|left, right| left.0.cmp(&right.0));
    cases
}

fn asked(case: &Case) -> (RoleArn, WebIdentity) {
    let identity = WebIdentity {
        issuer: Issuer::parse(&case.issuer).unwrap(),
        subject: Subject::from_text(&case.subject),
        audience: Audience::new(&case.audience),
    };
    (RoleArn::parse(&case.role).unwrap(), identity)
}

fn answer(case: &Case) -> Answer {
    let (role, identity) = asked(case);
    let policy = match Policy::parse_written(case.policy.get()) {
        Ok(policy) => policy,
        Err(error) => {
            return Answer {
                verdict: "malformed".to_owned(),
                cause: None,
                keys: Vec::new(),
                words: error.to_string(),
            };
        }
    };
    let judgment = judge(&policy, &role, &identity, &Context::default());
    let verdict = judgment.verdict.to_string();
    match judgment.explanation {
        None => Answer {
            verdict,
            cause: None,
            keys: Vec::new(),
            words: String::new(),
        },
        Some(explanation) => Answer {
            verdict,
            cause: explanation.cause.map(|cause| cause.to_string()),
            words: {
                let words = ExplanationText {
                    role: &role,
                    identity: &identity,
                    explanation: &explanation,
                };
                match words.hint() {
                    Some(hint) => format!("{}\n  {hint}", words.reason()),
                    None => words.reason(),
                }
            },
            keys: explanation.undecided_keys,
        },
    }
}

#[test]
fn every_case_is_judged_correctly() {
    let cases = cases();
    assert!(cases.len() >= 65, "only {} cases were found", cases.len());
    let mut wrong = String::new();
    for (name, case) in &cases {
        let answer = answer(case);
        if (&answer.verdict, &answer.cause, &answer.keys) != (&case.verdict, &case.cause, &case.keys) {
            let Answer {
                verdict,
                cause,
                keys,
                words,
            } = answer;
            writeln!(
                wrong,
                "{name}: {verdict} {cause:?} {keys:?} instead of {} {:?}: {words}",
                case.verdict, case.cause
            )
            .unwrap();
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn what_people_read_of_each_case() {
    let mut read = String::new();
    for (name, case) in cases() {
        let words = answer(&case).words;
        if !words.is_empty() {
            writeln!(read, "{name}\n  {words}").unwrap();
        }
    }
    insta::assert_snapshot!(read);
}

/// Line 1 is all that many systems show of a refusal.
#[test]
fn what_a_pods_author_reads_first() {
    let mut read = String::new();
    for (name, case) in cases() {
        let Ok(policy) = Policy::parse_written(case.policy.get()) else {
            continue;
        };
        let (role, identity) = asked(&case);
        let judgment = judge(&policy, &role, &identity, &Context::default());
        let Some(explanation) = judgment.explanation else {
            continue;
        };
        let judged = Judged {
            role,
            verdict: judgment.verdict,
            cause: explanation.cause,
            why: Why::Explained(explanation),
            copy_age: None,
        };
        let account = case.subject.rsplit(':').next().unwrap();
        let message = about_judged(&judged, &identity, "team", account);
        let first = message.first();
        assert!(first.chars().count() <= FIRST_LINE_CHARS, "{name}: {first}");
        writeln!(read, "{name}\n  {first}").unwrap();
    }
    insta::assert_snapshot!(read);
}
