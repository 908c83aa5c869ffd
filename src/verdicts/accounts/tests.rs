use super::*;
use crate::kubernetes::identity_map::IdentityMap;
use crate::pod::identity::{AnnotationRules, ServiceAccountIdentity};
use crate::verdicts::accounts::namespace::Account;

const LOST: Outcome = Outcome::Verdict {
    verdict: Verdict::NotTrusted,
    cause: Some(Cause::WrongSubject),
    basis: Basis::WebIdentity,
    is_rechecked: false,
};
const TRUSTED: Outcome = Outcome::Verdict {
    verdict: Verdict::Trusted,
    cause: None,
    basis: Basis::WebIdentity,
    is_rechecked: false,
};

fn role(name: &str) -> RoleArn {
    RoleArn::parse(&format!("arn:aws:iam::111122223333:role/{name}")).unwrap()
}

fn identity(role: &RoleArn) -> ServiceAccountIdentity {
    let rules = AnnotationRules {
        prefix: "eks.amazonaws.com/".to_owned(),
        compose: None,
    };
    let annotations = [("eks.amazonaws.com/role-arn", role.as_str())];
    ServiceAccountIdentity::from_annotations(&rules, annotations).unwrap()
}

/// The watch reports a ServiceAccount whose annotations name this role; `""` for none.
fn put(accounts: &Accounts, namespace: &str, name: &str, of_role: &str) {
    report(accounts, namespace, name, "uid", of_role, true);
}

/// The same, of annotations that were not changed.
fn put_unchanged(accounts: &Accounts, namespace: &str, name: &str, of_role: &str) {
    report(accounts, namespace, name, "uid", of_role, false);
}

fn report(accounts: &Accounts, namespace: &str, name: &str, uid: &str, of_role: &str, is_changed: bool) {
    let identity = (!of_role.is_empty()).then(|| identity(&role(of_role)));
    accounts.exists(&Observed {
        namespace,
        name,
        uid: Some(uid),
        identity: identity.as_ref(),
        is_changed,
    });
}

fn without_sources() -> Arc<Accounts> {
    Accounts::new(IdentitySources::default())
}

/// With a ConfigMap that has an entry for these, as `NAMESPACE/NAME`.
fn with_map(names: &[&str]) -> Arc<Accounts> {
    let entry = |name: &&str| format!(r#""{name}": {{"RoleARN": "{}"}}"#, role("mapped").as_str());
    let entries: Vec<String> = names.iter().map(entry).collect();
    Accounts::new(IdentitySources {
        identity_map: Some(Arc::new(IdentityMap::of(&format!("{{{}}}", entries.join(","))))),
        ..IdentitySources::default()
    })
}

fn gate(accounts: &Accounts, namespaces: &[&str]) {
    accounts.set_gated(namespaces.iter().map(|name| Arc::from(*name)).collect());
}

/// Evaluates all that is queued, each by the role of its own name, and returns the names.
fn judge_all(accounts: &Accounts, outcome: Outcome) -> Vec<(String, Option<TrustChange>)> {
    judge_all_by(accounts, |name| vec![role(name)], outcome)
}

fn judge_all_by(
    accounts: &Accounts,
    roles: impl Fn(&str) -> Vec<RoleArn>,
    outcome: Outcome,
) -> Vec<(String, Option<TrustChange>)> {
    let candidates = accounts.take(usize::MAX);
    let record = |candidate: &Candidate| {
        let roles = roles(&candidate.name);
        (candidate.name.to_string(), accounts.record(candidate, &roles, outcome))
    };
    let mut judged: Vec<_> = candidates.iter().map(record).collect();
    judged.sort_by(|left, right| left.0.cmp(&right.0));
    judged
}

fn names(judged: &[(String, Option<TrustChange>)]) -> Vec<&str> {
    judged.iter().map(|(name, _)| name.as_str()).collect()
}

/// Namespace, verdict and number.
fn counts(accounts: &Accounts) -> Vec<(String, Verdict, usize)> {
    let mut counts: Vec<_> = accounts
        .counts()
        .into_iter()
        .map(|counted| (counted.namespace.to_string(), counted.verdict, counted.count))
        .collect();
    counts.sort();
    counts
}

#[test]
fn only_service_accounts_of_gated_namespaces_are_judged() {
    let accounts = without_sources();
    put(&accounts, "jobs", "api", "a");
    put(&accounts, "other", "api", "a");
    assert_eq!(accounts.take(9), []);
    gate(&accounts, &["jobs"]);
    assert_eq!(names(&judge_all(&accounts, TRUSTED)), ["api"]);
    assert_eq!(counts(&accounts), [("jobs".to_owned(), Verdict::Trusted, 1)]);
    put(&accounts, "jobs", "worker", "b");
    assert_eq!(names(&judge_all(&accounts, LOST)), ["worker"]);
    gate(&accounts, &["other"]);
    assert_eq!(names(&judge_all(&accounts, LOST)), ["api"]);
    assert_eq!(counts(&accounts), [("other".to_owned(), Verdict::NotTrusted, 1)]);
    // The first evaluation since the label is back.
    gate(&accounts, &["jobs"]);
    assert_eq!(
        judge_all(&accounts, LOST),
        [("api".to_owned(), None), ("worker".to_owned(), None)]
    );
}

#[test]
fn a_changed_role_concerns_those_that_depend_on_it() {
    let accounts = without_sources();
    gate(&accounts, &["jobs"]);
    for name in ["api", "worker", "both", "other"] {
        put(&accounts, "jobs", name, "annotated");
    }
    let roles = |name: &str| match name {
        "other" => vec![role("b")],
        "both" => vec![role("b"), role("a")],
        _ => vec![role("a")],
    };
    assert_eq!(judge_all_by(&accounts, roles, TRUSTED).len(), 4);
    accounts.roles_changed([&role("a"), &role("a"), &role("annotated")]);
    let lost = Some(TrustChange::Lost);
    assert_eq!(
        judge_all_by(&accounts, roles, LOST),
        ["api", "both", "worker"].map(|name| (name.to_owned(), lost))
    );
    accounts.all_changed();
    accounts.all_changed();
    let roles = |name: &str| if name == "other" { Vec::new() } else { vec![role("c")] };
    assert_eq!(judge_all_by(&accounts, roles, LOST).len(), 4);
    accounts.roles_changed([&role("a"), &role("b")]);
    assert_eq!(accounts.take(9), [], "they depend on other roles by now");
}

#[test]
fn a_role_that_was_not_read_yet_counts_for_those_that_wait_for_it() {
    let accounts = without_sources();
    gate(&accounts, &["jobs"]);
    put(&accounts, "jobs", "api", "api");
    judge_all(&accounts, Outcome::NotYet);
    assert_eq!(counts(&accounts), []);
    accounts.roles_changed([&role("api")]);
    assert_eq!(names(&judge_all(&accounts, TRUSTED)), ["api"]);
}

#[test]
fn changed_annotations_are_judged_and_other_edits_are_not() {
    let accounts = without_sources();
    gate(&accounts, &["jobs"]);
    put(&accounts, "jobs", "api", "a");
    judge_all(&accounts, TRUSTED);
    put_unchanged(&accounts, "jobs", "api", "a");
    assert_eq!(accounts.take(9), [], "nothing that counts was edited");
    put(&accounts, "jobs", "api", "b");
    assert_eq!(
        judge_all(&accounts, LOST),
        [("api".to_owned(), Some(TrustChange::Lost))]
    );
}

#[test]
fn a_service_account_that_was_created_again_is_another_one() {
    let accounts = without_sources();
    gate(&accounts, &["jobs"]);
    put(&accounts, "jobs", "api", "a");
    judge_all(&accounts, TRUSTED);
    accounts.is_gone("jobs", "api");
    assert_eq!(counts(&accounts), []);
    put(&accounts, "jobs", "api", "a");
    assert_eq!(judge_all(&accounts, LOST), [("api".to_owned(), None)]);
    // Within a list after a broken watch, only the uid shows it.
    report(&accounts, "jobs", "api", "second", "a", false);
    assert_eq!(counts(&accounts), []);
    assert_eq!(judge_all(&accounts, TRUSTED), [("api".to_owned(), None)]);
    assert_eq!(counts(&accounts), [("jobs".to_owned(), Verdict::Trusted, 1)]);
}

#[test]
fn a_list_removes_what_it_does_not_contain() {
    let accounts = with_map(&["jobs/mapped", "jobs/mapped-and-gone"]);
    gate(&accounts, &["jobs"]);
    for name in ["api", "gone"] {
        put(&accounts, "jobs", name, "a");
    }
    for name in ["mapped", "mapped-and-gone"] {
        put(&accounts, "jobs", name, "");
    }
    judge_all(&accounts, TRUSTED);
    accounts.list_began();
    put_unchanged(&accounts, "jobs", "api", "a");
    put_unchanged(&accounts, "jobs", "mapped", "");
    assert_eq!(counts(&accounts), [("jobs".to_owned(), Verdict::Trusted, 4)]);
    accounts.list_ended();
    assert_eq!(counts(&accounts), [("jobs".to_owned(), Verdict::Trusted, 2)]);
    assert_eq!(accounts.take(9), [], "a list of what is known leads to no judgment");
    accounts.all_changed();
    assert_eq!(names(&judge_all(&accounts, TRUSTED)), ["api", "mapped"]);
    accounts.list_began();
    accounts.list_ended();
    assert!(accounts.known.lock().namespaces.is_empty());
}

#[test]
fn a_judgment_of_what_has_changed_meanwhile_is_discarded() {
    let accounts = without_sources();
    gate(&accounts, &["jobs"]);
    put(&accounts, "jobs", "api", "a");
    let candidates = accounts.take(9);
    accounts.is_gone("jobs", "api");
    put(&accounts, "jobs", "other", "a");
    assert_eq!(accounts.record(&candidates[0], &[], TRUSTED), None);
    assert_eq!(counts(&accounts), []);
    assert_eq!(names(&judge_all(&accounts, TRUSTED)), ["other"]);
    accounts.all_changed();
    let candidates = accounts.take(9);
    report(&accounts, "jobs", "other", "second", "a", false);
    assert_eq!(accounts.record(&candidates[0], &[], LOST), None);
    assert_eq!(counts(&accounts), []);
    let candidates = accounts.take(9);
    gate(&accounts, &[]);
    assert_eq!(accounts.record(&candidates[0], &[], LOST), None);
    assert_eq!(counts(&accounts), []);
}

#[test]
fn what_is_not_known_yet_leaves_the_last_verdict_and_an_unused_role_has_none() {
    let accounts = without_sources();
    gate(&accounts, &["jobs"]);
    put(&accounts, "jobs", "api", "a");
    judge_all(&accounts, TRUSTED);
    accounts.all_changed();
    judge_all(&accounts, Outcome::NotYet);
    assert_eq!(counts(&accounts), [("jobs".to_owned(), Verdict::Trusted, 1)]);
    accounts.all_changed();
    assert_eq!(
        judge_all(&accounts, LOST),
        [("api".to_owned(), Some(TrustChange::Lost))]
    );
    accounts.all_changed();
    judge_all(&accounts, Outcome::NotJudged);
    assert_eq!(counts(&accounts), []);
    // It stays known: once its role is used again, it is evaluated without a report of the watch.
    accounts.all_changed();
    assert_eq!(judge_all(&accounts, TRUSTED), [("api".to_owned(), None)]);
}

#[test]
fn only_what_depends_on_the_time_is_judged_as_time_passes() {
    let accounts = without_sources();
    gate(&accounts, &["jobs"]);
    put(&accounts, "jobs", "api", "a");
    judge_all(&accounts, TRUSTED);
    accounts.time_passed();
    assert_eq!(accounts.take(9), []);
    accounts.all_changed();
    judge_all(
        &accounts,
        Outcome::Verdict {
            verdict: Verdict::Trusted,
            cause: None,
            basis: Basis::WebIdentity,
            is_rechecked: true,
        },
    );
    accounts.time_passed();
    assert_eq!(names(&judge_all(&accounts, LOST)), ["api"]);
}

#[test]
fn an_identity_that_is_in_doubt_is_judged_again_once_more_is_known_of_associations() {
    let accounts = without_sources();
    gate(&accounts, &["jobs"]);
    put(&accounts, "jobs", "api", "a");
    let trusted = |basis| Outcome::Verdict {
        verdict: Verdict::Trusted,
        cause: None,
        basis,
        is_rechecked: false,
    };
    judge_all(&accounts, trusted(Basis::PerhapsWebIdentity));
    accounts.associations_changed();
    assert_eq!(names(&judge_all(&accounts, trusted(Basis::WebIdentity))), ["api"]);
    accounts.associations_changed();
    assert_eq!(accounts.take(9), []);
}

#[test]
fn without_annotations_those_are_kept_that_a_source_names_in_gated_namespaces() {
    let accounts = with_map(&["jobs/api", "other/api", "*/anywhere"]);
    gate(&accounts, &["jobs"]);
    for namespace in ["jobs", "other"] {
        for name in ["api", "anywhere", "unnamed"] {
            put(&accounts, namespace, name, "");
        }
    }
    assert_eq!(names(&judge_all(&accounts, TRUSTED)), ["anywhere", "api"]);
    assert_eq!(counts(&accounts), [("jobs".to_owned(), Verdict::Trusted, 2)]);
    // The namespace is gated no longer, and again.
    assert!(accounts.set_gated(HashSet::new()).is_empty());
    assert!(accounts.known.lock().namespaces.is_empty());
    let jobs: HashSet<Arc<str>> = [Arc::from("jobs")].into();
    assert_eq!(accounts.set_gated(jobs.clone()), jobs);
    for (name, exists) in [("api", true), ("anywhere", false), ("unnamed", true)] {
        accounts.discover("jobs", name, || exists);
        accounts.discover("other", name, || true);
    }
    assert_eq!(judge_all(&accounts, TRUSTED), [("api".to_owned(), None)]);
    accounts.discover("jobs", "api", || true);
    assert_eq!(accounts.take(9), [], "it is known");
    // The uid, which the watch reports later, is not that of another one.
    report(&accounts, "jobs", "api", "uid", "", false);
    assert_eq!(counts(&accounts), [("jobs".to_owned(), Verdict::Trusted, 1)]);
}

#[test]
fn one_without_annotations_is_forgotten_once_nothing_names_it() {
    let accounts = with_map(&["jobs/api"]);
    gate(&accounts, &["jobs"]);
    put(&accounts, "jobs", "api", "");
    put(&accounts, "jobs", "annotated", "a");
    judge_all(&accounts, TRUSTED);
    for name in ["api", "annotated", "unnamed"] {
        accounts.identity_changed("jobs", name, || true);
    }
    assert_eq!(names(&judge_all(&accounts, Outcome::NotJudged)), ["annotated", "api"]);
    accounts.all_changed();
    assert_eq!(names(&judge_all(&accounts, TRUSTED)), ["annotated"]);
}

#[test]
fn annotations_that_are_taken_away_leave_the_other_identity() {
    let accounts = with_map(&["jobs/api"]);
    gate(&accounts, &["jobs"]);
    for name in ["api", "other"] {
        put(&accounts, "jobs", name, "a");
        put(&accounts, "ungated", name, "a");
    }
    judge_all(&accounts, TRUSTED);
    for name in ["api", "other"] {
        put(&accounts, "jobs", name, "");
        put(&accounts, "ungated", name, "");
    }
    assert!(!accounts.known.lock().namespaces.contains_key("ungated"));
    assert_eq!(names(&judge_all(&accounts, LOST)), ["api", "other"]);
}

#[test]
fn namespaces_take_turns() {
    let accounts = without_sources();
    gate(&accounts, &["jobs", "other"]);
    for number in 0..100 {
        put(&accounts, "jobs", &format!("job-{number:03}"), "a");
    }
    put(&accounts, "other", "api", "a");
    let batch = accounts.take(4);
    let names: Vec<&str> = batch.iter().map(|candidate| &*candidate.name).collect();
    assert_eq!(names, ["job-000", "api", "job-001", "job-002"]);
    // Those before the last one that was taken have their turn, too.
    accounts.identity_changed("jobs", "job-001", || true);
    let mut rest: Vec<_> = accounts
        .take(usize::MAX)
        .into_iter()
        .map(|candidate| candidate.name)
        .collect();
    rest.sort();
    assert_eq!((rest.len(), &*rest[0], &*rest[1]), (98, "job-001", "job-003"));
    assert_eq!(accounts.take(9), []);
}

/// The memory of 100,000 ServiceAccounts with 5,000 roles, all of them gated and evaluated, from the sizes of what is kept.
#[test]
fn a_service_account_costs_at_most_85_bytes_and_a_changed_role_concerns_only_its_own() {
    let accounts = without_sources();
    let namespaces: Vec<String> = (0..2_000).map(|number| format!("team-{number:04}-jobs")).collect();
    accounts.set_gated(namespaces.iter().map(|name| Arc::from(name.as_str())).collect());
    accounts.list_began();
    for number in 0..100_000 {
        let name = format!("batch-worker-{number:06}");
        put(&accounts, &namespaces[number / 50], &name, "annotated");
    }
    accounts.list_ended();
    let (all, mut batches) = (100_000, 0);
    let role_of = |name: &str| {
        let number: usize = name.rsplit_once('-').unwrap().1.parse().unwrap();
        role(&format!("role-{}", number % 5_000))
    };
    loop {
        let batch = accounts.take(10);
        if batch.is_empty() {
            break;
        }
        assert!(batch.len() <= 10);
        batches += 1;
        for candidate in &batch {
            accounts.record(candidate, &[role_of(&candidate.name)], TRUSTED);
        }
    }
    assert_eq!((batches, accounts.judged()), (10_000, all as u64));
    accounts.roles_changed([&role("role-7")]);
    assert_eq!(accounts.take(usize::MAX).len(), 20);

    let known = accounts.known.lock();
    let mut bytes = known.turns.capacity() * size_of::<Arc<str>>();
    for namespace in known.namespaces.values() {
        let (accounts, counts) = namespace.parts();
        // Each name is an allocation of its own, with a header and rounded up.
        let names = accounts
            .iter()
            .map(|account| (account.name.len() + 8).next_multiple_of(16));
        bytes += names.sum::<usize>();
        bytes += accounts.capacity() * size_of::<Account>();
        bytes += counts.capacity() * size_of_val(&counts[0]);
    }
    // Namespaces: their entries in a hash table that is at least 7/16 full, and their names.
    let entry = size_of::<(Arc<str>, Namespace)>() + 1;
    bytes += known.namespaces.len() * (entry * 16 / 7 + 48);
    assert!(bytes / all <= 85, "{} bytes", bytes / all);
}
