//! Trust policies of roles in EKS Pod Identity associations, as in guides and with common mistakes.
//!
//! A case is a file in `tests/pod-identity-cases`: `why` it is there, the association with the hop that is evaluated, what is known of the
//! pod's name, the correct `verdict` and, if it is not trusted, `cause`, and the `policy`.

use std::fmt::Write as _;
use std::path::Path;

use rolegate::decision::Judged;
use rolegate::decision::messages::{FIRST_LINE_CHARS, MAX_LINES, about_association};
use rolegate::trust::{
    Association, ClusterArn, Context, Hop, Judgment, PodName, Policy, RoleArn, SessionTags, judge_association,
};
use serde::Deserialize;
use serde_json::value::RawValue;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Case {
    why: String,
    hop: String,
    cluster: Option<String>,
    namespace: String,
    service_account: String,
    pod_name: Option<String>,
    generate_name: Option<String>,
    role: String,
    target_role: Option<String>,
    #[serde(default)]
    disable_session_tags: bool,
    external_id: Option<String>,
    verdict: String,
    cause: Option<String>,
    /// What an undecided evaluation depends on.
    #[serde(default)]
    keys: Vec<String>,
    policy: Box<RawValue>,
}

impl Case {
    fn hop(&self) -> Hop {
        match self.hop.as_str() {
            "primary" => Hop::Primary,
            "target" => Hop::Target,
            other => panic!("{other}"),
        }
    }

    fn association(&self) -> Association {
        let role = |arn: &str| RoleArn::parse(arn).unwrap();
        Association {
            cluster: self.cluster.as_deref().map(|arn| ClusterArn::parse(arn).unwrap()),
            namespace: self.namespace.as_str().into(),
            service_account: self.service_account.as_str().into(),
            id: None,
            role: role(&self.role),
            target_role: self.target_role.as_deref().map(role),
            session_tags: match self.disable_session_tags {
                true => SessionTags::Disabled,
                false => SessionTags::Enabled,
            },
            external_id: self.external_id.as_deref().map(Into::into),
        }
    }

    fn judgment(&self) -> Judgment {
        let pod_name = match (&self.pod_name, &self.generate_name) {
            (Some(name), _) => PodName::Known(name),
            (None, Some(beginning)) => PodName::Beginning(beginning),
            (None, None) => PodName::Unknown,
        };
        let policy = Policy::parse_written(self.policy.get()).unwrap_or_else(|error| panic!("{}: {error}", self.why));
        judge_association(self.hop(), &policy, &self.association(), pod_name, &Context::default())
    }
}

fn cases() -> Vec<(String, Case)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pod-identity-cases");
    let mut cases: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .map(|path| {
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            let case = serde_json::from_str(&std::fs::read_to_string(&path).unwrap());
            (name.clone(), case.unwrap_or_else(|error| panic!("{name}: {error}")))
        })
        .collect();
    cases.sort_by(|left, right| left.0.cmp(&right.0));
    cases
}

#[test]
fn every_case_is_judged_correctly() {
    let cases = cases();
    assert!(cases.len() >= 46, "only {} cases were found", cases.len());
    let mut wrong = String::new();
    for (name, case) in &cases {
        let judgment = case.judgment();
        let (cause, keys) = match &judgment.explanation {
            Some(explanation) => (
                explanation.cause.map(|cause| cause.to_string()),
                explanation.undecided_keys.clone(),
            ),
            None => (None, Vec::new()),
        };
        let verdict = judgment.verdict.to_string();
        if (&verdict, &cause, &keys) != (&case.verdict, &case.cause, &case.keys) {
            writeln!(
                wrong,
                "{name}: {verdict} {cause:?} {keys:?} instead of {} {:?} {:?}: {}",
                case.verdict, case.cause, case.keys, case.why
            )
            .unwrap();
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

/// The whole message of each case, of which line 1 is all that many systems show.
#[test]
fn what_people_read_of_each_case() {
    let mut read = String::new();
    for (name, case) in cases() {
        let association = case.association();
        let hop = case.hop();
        let judged = Judged::of(association.role_of(hop).unwrap().clone(), case.judgment());
        let message = about_association(&judged, &association, hop);
        let first = message.first();
        assert!(first.chars().count() <= FIRST_LINE_CHARS, "{name}: {first}");
        let text = message.text();
        assert!(text.lines().count() <= MAX_LINES, "{name}: {text}");
        writeln!(read, "{name}\n{text}\n").unwrap();
    }
    insta::assert_snapshot!(read);
}
