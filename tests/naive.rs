//! Compares the evaluator with a second one that was written only from the rules, on random policies and web identities.
//!
//! `PROPTEST_CASES=20000 cargo test --test naive` draws more.

#[path = "naive/evaluate.rs"]
mod evaluate;
#[path = "naive/generate.rs"]
mod generate;
#[path = "naive/json.rs"]
mod json;

use evaluate::{Answer, Request, evaluate};
use generate::{conditional, policy, request};
use json::Json;
use proptest::prelude::*;
use rolegate::trust::{
    AccountId, Audience, Context, Grant, Issuer, Partition, Policy, RoleArn, Subject, Verdict, WebIdentity, judge,
};

/// What `rolegate::trust` answers.
fn judged(document: &str, request: &Request) -> Answer {
    let Ok(policy) = Policy::parse(document) else {
        return Answer::Malformed;
    };
    let role = format!("arn:{}:iam::{}:role/any", request.partition, request.account);
    let role = RoleArn::parse(&role).expect("a role ARN");
    let context = Context {
        now: request.now,
        role_tags: request.tags.as_deref(),
        ..Context::default()
    };
    match judge(&policy, &role, &identity(request), &context).verdict {
        Verdict::Trusted => Answer::Trusted,
        Verdict::NotTrusted => Answer::NotTrusted,
        Verdict::Undecided => Answer::Undecided,
        Verdict::Unknown => panic!("the evaluator never answers unknown"),
    }
}

fn identity(request: &Request) -> WebIdentity {
    WebIdentity {
        issuer: Issuer::parse(&request.issuer).expect("an issuer"),
        subject: Subject::from_text(&request.subject),
        audience: Audience::new(&request.audience),
    }
}

fn grant(request: &Request) -> Grant {
    Grant {
        partition: Partition::parse(&request.partition).expect("a partition"),
        account: AccountId::parse(&request.account).expect("an account"),
        identity: identity(request),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Both say the same of any policy.
    #[test]
    fn two_evaluators_agree(policy in policy(), request in request()) {
        let document = policy.to_string();
        prop_assert_eq!(judged(&document, &request), evaluate(&policy, &request), "{}", document);
    }

    /// Both say the same of single conditions, where nothing else hides their result.
    #[test]
    fn two_evaluators_agree_on_conditions((request, policy) in conditional()) {
        let document = policy.to_string();
        prop_assert_eq!(judged(&document, &request), evaluate(&policy, &request), "{}", document);
    }

    /// The policy that is written for an identity is trusted, and is trusted by the other evaluator's rules, too.
    #[test]
    fn a_written_policy_is_trusted(request in request()) {
        let document = grant(&request).policy();
        prop_assert_eq!(judged(&document, &request), Answer::Trusted);
        let policy = read(&serde_json::from_str(&document).expect("JSON"));
        prop_assert_eq!(evaluate(&policy, &request), Answer::Trusted);
    }

    /// Merging trusts the identity unless a Deny refuses it, changes nothing for others, and is done once.
    #[test]
    fn merging_adds_one_trust_and_changes_nothing_else(policy in policy(), request in request(), other in request()) {
        let document = policy.to_string();
        let grant = grant(&request);
        match grant.merge(&document) {
            Err(_) => prop_assert_eq!(judged(&document, &request), Answer::Malformed),
            Ok(merged) => {
                let no_time_or_tags = Request { now: None, tags: None, ..request.clone() };
                let after = judged(&merged.json, &no_time_or_tags);
                prop_assert_eq!(after == Answer::Trusted, merged.obstacle.is_none(), "{}", merged.json);
                let again = grant.merge(&merged.json).expect("still well-formed");
                prop_assert_eq!(&again.json, &merged.json);
                let same_identity = (&other.issuer, &other.subject, &other.audience)
                    == (&request.issuer, &request.subject, &request.audience);
                if !same_identity {
                    prop_assert_eq!(judged(&document, &other), judged(&merged.json, &other), "{}", merged.json);
                }
            }
        }
    }
}

/// How often each answer comes up: a generator that nearly always draws malformed policies would test nothing.
#[test]
fn every_answer_is_drawn_often() {
    use proptest::strategy::ValueTree;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut counts = std::collections::BTreeMap::new();
    for _ in 0..1000 {
        let (policy, request) = (policy(), request()).new_tree(&mut runner).expect("a draw").current();
        *counts.entry(format!("{:?}", evaluate(&policy, &request))).or_insert(0) += 1;
        let (request, policy) = conditional().new_tree(&mut runner).expect("a draw").current();
        *counts.entry(format!("{:?}", evaluate(&policy, &request))).or_insert(0) += 1;
    }
    for answer in [
        Answer::Malformed,
        Answer::Trusted,
        Answer::NotTrusted,
        Answer::Undecided,
    ] {
        let count = counts.get(&format!("{answer:?}")).copied().unwrap_or(0);
        assert!(count >= 100, "{answer:?} came up {count} times in 2000: {counts:?}");
    }
}

fn read(value: &serde_json::Value) -> Json {
    match value {
        serde_json::Value::Null => Json::Null,
        serde_json::Value::Bool(value) => Json::Bool(*value),
        serde_json::Value::Number(number) => Json::Number(number.to_string()),
        serde_json::Value::String(text) => Json::text(text.as_str()),
        serde_json::Value::Array(values) => Json::List(values.iter().map(read).collect()),
        serde_json::Value::Object(entries) => {
            Json::Object(entries.iter().map(|(key, value)| (key.clone(), read(value))).collect())
        }
    }
}
