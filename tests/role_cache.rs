//! The role cache with a source that is slow, fails, throttles and counts calls. Time is paused.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::{BoxFuture, join_all, ready};
use futures::stream::{once, repeat};
use futures::{FutureExt, StreamExt};
use rolegate::admission::pods::{
    Admission, AdmissionSettings, Answer as ReviewAnswer, ClusterState, Endpoint, Record, Recorder, SkipLabel,
};
use rolegate::admission::review_kind::PathMode;
use rolegate::decision::{DecisionSettings, Mode};
use rolegate::kubernetes::service_accounts::ServiceAccounts;
use rolegate::kubernetes::service_accounts::manifests::ManifestServiceAccounts;
use rolegate::pod::identity::{AnnotationRules, Defaults};
use rolegate::pod::settings::{PodIdentitySettings, WebIdentitySettings};
use rolegate::roles::{
    Answer, Listing, ListingFailure, Pace, ProviderAnswer, ReadObserver, ReadResult, RoleCache, RoleCacheSettings,
    RoleDocument, RoleEntry, RoleSource, RoleState, Trust,
};
use rolegate::trust::{Audience, Issuer, Origin, Policy, RoleArn};
use serde_json::json;
use tokio::sync::watch;
use tokio::time::{Instant, advance, sleep};
use tokio_util::sync::CancellationToken;

const MILLI: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

type Roles = Vec<(RoleArn, RoleDocument)>;

/// A source whose answers and response times the test sets.
#[derive(Debug)]
struct Scripted {
    name: &'static str,
    pace: Pace,
    takes: Mutex<Duration>,
    answers: Mutex<HashMap<String, Answer>>,
    otherwise: Mutex<Answer>,
    listing: Mutex<Option<Result<Roles, ListingFailure>>>,
    reads: Mutex<Vec<(Instant, String)>>,
    finished: AtomicUsize,
    at_once: AtomicUsize,
    most_at_once: AtomicUsize,
    listings: AtomicUsize,
    /// Requests for a page that failed.
    failed_pages: AtomicUsize,
    /// What a complete listing did not name does not exist.
    names_all: AtomicBool,
    providers: AtomicUsize,
    changes: watch::Sender<u64>,
}

impl Scripted {
    fn new(name: &'static str, pace: Pace) -> Arc<Self> {
        Arc::new(Self {
            name,
            pace,
            takes: Mutex::new(Duration::ZERO),
            answers: Mutex::default(),
            otherwise: Mutex::new(trusting("everyone")),
            listing: Mutex::new(None),
            reads: Mutex::default(),
            finished: AtomicUsize::new(0),
            at_once: AtomicUsize::new(0),
            most_at_once: AtomicUsize::new(0),
            listings: AtomicUsize::new(0),
            failed_pages: AtomicUsize::new(0),
            names_all: AtomicBool::new(false),
            providers: AtomicUsize::new(0),
            changes: watch::Sender::new(0),
        })
    }

    fn remote() -> Arc<Self> {
        Self::new(
            "iam",
            Pace::Remote {
                per_second: NonZeroU32::new(5).unwrap(),
            },
        )
    }

    fn memory() -> Arc<Self> {
        Self::new("files", Pace::Memory)
    }

    fn answers(&self, answer: Answer) {
        *self.otherwise.lock().unwrap() = answer;
    }

    fn answers_for(&self, role: &RoleArn, answer: Answer) {
        self.answers.lock().unwrap().insert(role.to_string(), answer);
    }

    fn takes(&self, duration: Duration) {
        *self.takes.lock().unwrap() = duration;
    }

    fn reads(&self) -> usize {
        self.reads.lock().unwrap().len()
    }

    fn times(&self) -> Vec<Instant> {
        self.reads.lock().unwrap().iter().map(|(at, _)| *at).collect()
    }

    fn reads_of(&self, role: &RoleArn) -> usize {
        self.reads
            .lock()
            .unwrap()
            .iter()
            .filter(|(_, read)| read == role.as_str())
            .count()
    }
}

impl RoleSource for Scripted {
    fn name(&self) -> &'static str {
        self.name
    }

    fn read<'a>(&'a self, role: &'a RoleArn, _as_of: Instant) -> BoxFuture<'a, Answer> {
        struct Leaving<'a>(&'a AtomicUsize);
        impl Drop for Leaving<'_> {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Ordering::SeqCst);
            }
        }
        async move {
            self.reads.lock().unwrap().push((Instant::now(), role.to_string()));
            let at_once = self.at_once.fetch_add(1, Ordering::SeqCst) + 1;
            let _leaving = Leaving(&self.at_once);
            self.most_at_once.fetch_max(at_once, Ordering::SeqCst);
            let takes = *self.takes.lock().unwrap();
            let answer = self.answers.lock().unwrap().get(role.as_str()).cloned();
            let answer = answer.unwrap_or_else(|| self.otherwise.lock().unwrap().clone());
            if !takes.is_zero() {
                sleep(takes).await;
            }
            self.finished.fetch_add(1, Ordering::SeqCst);
            answer
        }
        .boxed()
    }

    fn list(&self) -> Option<Listing<'_>> {
        let listing = self.listing.lock().unwrap().clone()?;
        self.listings.fetch_add(1, Ordering::SeqCst);
        Some(match listing {
            Ok(roles) => once(ready(Ok(roles))).boxed(),
            Err(failure) => repeat(Err(failure))
                .inspect(|_| _ = self.failed_pages.fetch_add(1, Ordering::SeqCst))
                .boxed(),
        })
    }

    fn lists_every_role_like(&self, _role: &RoleArn) -> bool {
        self.names_all.load(Ordering::SeqCst)
    }

    fn reads_providers(&self) -> bool {
        self.names_all.load(Ordering::SeqCst)
    }

    fn provider<'a>(&'a self, _role: &'a RoleArn, _issuer: &'a Issuer) -> BoxFuture<'a, ProviderAnswer> {
        self.providers.fetch_add(1, Ordering::SeqCst);
        ready(ProviderAnswer::NoSuchProvider).boxed()
    }

    fn changes(&self) -> Option<watch::Receiver<u64>> {
        Some(self.changes.subscribe())
    }

    fn pace(&self) -> Pace {
        self.pace
    }
}

#[derive(Debug, Default)]
struct Counted(Mutex<Vec<(&'static str, ReadResult)>>);

impl ReadObserver for Counted {
    fn role_read(&self, source: &'static str, result: ReadResult, _took: Duration) {
        self.0.lock().unwrap().push((source, result));
    }
}

fn role(name: &str) -> RoleArn {
    RoleArn::parse(&format!("arn:aws:iam::111122223333:role/{name}")).unwrap()
}

/// A policy that is recognized by its Sid.
fn document(sid: &str) -> RoleDocument {
    let policy = format!(
        r#"{{"Version":"2012-10-17","Statement":[{{"Sid":"{sid}","Effect":"Allow","Principal":{{"AWS":"*"}},"Action":"sts:AssumeRole"}}]}}"#
    );
    RoleDocument {
        origin: Origin::Stored,
        policy: policy.into(),
        tags: Some(Arc::from([("sid".to_owned(), sid.to_owned())])),
    }
}

fn trusting(sid: &str) -> Answer {
    Answer::Role(document(sid))
}

fn failing(reason: &str) -> Answer {
    Answer::Failed(reason.into())
}

fn settings() -> RoleCacheSettings {
    RoleCacheSettings {
        ttl: 60 * SECOND,
        max_stale: 3600 * SECOND,
        read_timeout: 700 * MILLI,
        capacity: 100,
    }
}

fn cache(sources: &[&Arc<Scripted>]) -> Arc<RoleCache> {
    cache_with(sources, settings())
}

fn cache_with(sources: &[&Arc<Scripted>], settings: RoleCacheSettings) -> Arc<RoleCache> {
    let sources = sources
        .iter()
        .map(|source| Arc::clone(*source) as Arc<dyn RoleSource>)
        .collect();
    RoleCache::new(sources, settings)
}

fn soon() -> Instant {
    Instant::now() + 2 * SECOND
}

/// An entry in a few words.
fn summary(entry: &RoleEntry) -> String {
    match &entry.trust {
        Trust::Policy { tags, .. } => {
            let sid = tags.as_ref().and_then(|tags| tags.first()).map_or("?", |(_, sid)| sid);
            format!("policy {sid}")
        }
        Trust::NoSuchRole { hint: None } => "no such role".to_owned(),
        Trust::NoSuchRole { hint: Some(hint) } => format!("no such role; {hint}"),
        Trust::Malformed(reason) => format!("malformed: {reason}"),
        Trust::Unknown(reason) => format!("unknown: {reason}"),
    }
}

/// A running cache, stopped and awaited at the end of a test.
struct Running {
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl Running {
    fn start(cache: &Arc<RoleCache>, referenced: Vec<RoleArn>) -> Self {
        let stop = CancellationToken::new();
        let task = tokio::spawn(Arc::clone(cache).run(move || referenced.clone(), stop.clone()));
        Self { stop, task }
    }

    async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }
}

/// Lets time pass in steps, so that timers fire in their order.
async fn pass(duration: Duration) {
    sleep(duration).await;
}

#[tokio::test(start_paused = true)]
async fn a_role_is_read_once_and_then_served_from_memory() {
    let source = Scripted::remote();
    let cache = cache(&[&source]);
    let loader = role("loader");

    assert!(cache.cached(&loader).is_none());
    let entry = cache.entry(&loader, soon()).await;
    assert_eq!(
        (summary(&entry).as_str(), entry.source),
        ("policy everyone", Some("iam"))
    );
    assert_eq!(entry.read_at, Some(Instant::now()));

    advance(59 * SECOND).await;
    assert_eq!(summary(&cache.entry(&loader, soon()).await), "policy everyone");
    assert_eq!(summary(&cache.cached(&loader).unwrap()), "policy everyone");
    assert_eq!(source.reads(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_thousand_callers_at_once_share_one_read() {
    let source = Scripted::remote();
    source.takes(100 * MILLI);
    let cache = cache(&[&source]);
    let loader = role("loader");

    let entries = join_all((0..1000).map(|_| cache.entry(&loader, soon()))).await;
    assert!(entries.iter().all(|entry| summary(entry) == "policy everyone"));
    assert_eq!(source.reads(), 1, "entry");

    advance(30 * SECOND).await;
    let entries = join_all((0..1000).map(|_| cache.fresh(&loader, soon()))).await;
    assert!(entries.iter().all(|entry| summary(entry) == "policy everyone"));
    assert_eq!(source.reads(), 2, "fresh");
    assert_eq!(source.most_at_once.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn before_a_refusal_only_a_copy_under_one_second_old_is_used() {
    let source = Scripted::remote();
    let cache = cache(&[&source]);
    let loader = role("loader");
    cache.entry(&loader, soon()).await;
    source.answers(trusting("edited"));

    advance(999 * MILLI).await;
    assert_eq!(summary(&cache.fresh(&loader, soon()).await), "policy everyone");
    advance(MILLI).await;
    assert_eq!(summary(&cache.fresh(&loader, soon()).await), "policy edited");
    assert_eq!(source.reads(), 2);
}

#[tokio::test(start_paused = true)]
async fn before_a_refusal_a_source_that_costs_no_call_is_always_read() {
    let (memory, remote) = (Scripted::memory(), Scripted::remote());
    let cache = cache(&[&memory, &remote]);
    let (loader, far) = (role("loader"), role("far"));
    memory.answers_for(&far, Answer::NotMine);
    memory.answers_for(&loader, Answer::NoSuchRole { hint: None });
    assert_eq!(summary(&cache.entry(&loader, soon()).await), "no such role");
    memory.answers_for(&loader, trusting("fixed"));
    pass(Duration::from_millis(1)).await;
    assert_eq!(summary(&cache.fresh(&loader, soon()).await), "policy fixed");

    cache.fresh(&far, soon()).await;
    pass(Duration::from_millis(1)).await;
    cache.fresh(&far, soon()).await;
    assert_eq!(remote.reads(), 1, "a call over the network is not repeated so soon");
}

#[tokio::test(start_paused = true)]
async fn before_a_refusal_a_read_that_began_long_ago_is_not_used() {
    let source = Scripted::remote();
    source.takes(8 * SECOND);
    let patient = RoleCacheSettings {
        read_timeout: 60 * SECOND,
        ..settings()
    };
    let cache = cache_with(&[&source], patient);
    let loader = role("loader");

    let patience = Instant::now() + 60 * SECOND;
    let first = cache.entry(&loader, patience);
    let second = async {
        sleep(6 * SECOND).await;
        source.answers(trusting("edited"));
        source.takes(SECOND);
        cache.fresh(&loader, patience).await
    };
    let (first, second) = tokio::join!(first, second);
    assert_eq!(
        (summary(&first).as_str(), summary(&second).as_str()),
        ("policy everyone", "policy edited")
    );
    assert_eq!(
        source.most_at_once.load(Ordering::SeqCst),
        1,
        "one read of a role at a time"
    );
}

#[tokio::test(start_paused = true)]
async fn a_failed_read_before_a_refusal_is_unknown_while_the_old_copy_still_serves() {
    let source = Scripted::remote();
    let cache = cache(&[&source]);
    let loader = role("loader");
    cache.entry(&loader, soon()).await;
    source.answers(failing("AccessDenied: not allowed to call iam:GetRole"));

    advance(10 * SECOND).await;
    let entry = cache.fresh(&loader, soon()).await;
    assert_eq!(
        summary(&entry),
        "unknown: AccessDenied: not allowed to call iam:GetRole"
    );
    assert_eq!(summary(&cache.cached(&loader).unwrap()), "policy everyone");
    assert_eq!(summary(&cache.entry(&loader, soon()).await), "policy everyone");

    source.answers(trusting("edited"));
    advance(10 * SECOND).await;
    assert_eq!(summary(&cache.fresh(&loader, soon()).await), "policy edited");
    assert_eq!(
        cache.snapshot()[0].reason,
        None,
        "a failure is forgotten when a read succeeds"
    );
}

/// 24 clients that request roles without a pause, for `duration`. `name` returns the role of a client in a round.
async fn flood(cache: &Arc<RoleCache>, duration: Duration, name: impl Fn(usize, usize) -> String) {
    let end = Instant::now() + duration;
    let name = &name;
    let clients = (0..24).map(|client| async move {
        for round in 0.. {
            if Instant::now() >= end {
                return;
            }
            let role = role(&name(client, round));
            cache.entry(&role, soon()).await;
            cache.fresh(&role, soon()).await;
            sleep(20 * MILLI).await;
        }
    });
    join_all(clients).await;
}

/// The answers of `fresh` for a role, once every 1.1 s for `duration`. The policy changes each time just before.
async fn retries(cache: &Arc<RoleCache>, source: &Arc<Scripted>, role: &RoleArn, duration: Duration) -> Vec<String> {
    let end = Instant::now() + duration;
    let mut wrong = Vec::new();
    for number in 0.. {
        sleep(1100 * MILLI).await;
        if Instant::now() >= end {
            break;
        }
        let edited = format!("edit-{number}");
        source.answers_for(role, trusting(&edited));
        let began = Instant::now();
        let entry = cache.fresh(role, soon()).await;
        if summary(&entry) != format!("policy {edited}") || began.elapsed() > 700 * MILLI {
            wrong.push(format!("{number}: {} after {:?}", summary(&entry), began.elapsed()));
        }
    }
    wrong
}

#[tokio::test(start_paused = true)]
async fn reads_of_roles_that_were_never_read_do_not_delay_a_refusal() {
    let source = Scripted::remote();
    source.takes(20 * MILLI);
    source.answers(Answer::NoSuchRole { hint: None });
    let cache = cache(&[&source]);
    let api = role("api");
    source.answers_for(&api, trusting("first"));
    cache.entry(&api, soon()).await;
    let new_roles = |client, round| format!("new-{client}-{round}");
    let (wrong, ()) = tokio::join!(
        retries(&cache, &source, &api, 30 * SECOND),
        flood(&cache, 30 * SECOND, new_roles)
    );
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test(start_paused = true)]
async fn refusals_of_other_roles_do_not_turn_a_refusal_into_unknown() {
    let source = Scripted::remote();
    source.takes(20 * MILLI);
    source.answers(Answer::NoSuchRole { hint: None });
    let cache = cache(&[&source]);
    let api = role("api");
    source.answers_for(&api, trusting("first"));
    cache.entry(&api, soon()).await;
    let refused = |client, _| format!("refused-{client}");
    let ours = async {
        sleep(10 * SECOND).await;
        let mut answers = Vec::new();
        for _ in 0..20 {
            answers.push(summary(&cache.fresh(&api, soon()).await));
            sleep(SECOND).await;
        }
        // The role that was not read for the longest time is the next.
        sleep(6 * SECOND).await;
        source.answers_for(&api, trusting("fixed"));
        answers.push(summary(&cache.fresh(&api, soon()).await));
        answers
    };
    let (answers, ()) = tokio::join!(ours, flood(&cache, 50 * SECOND, refused));
    let (last, others) = answers.split_last().unwrap();
    assert!(others.iter().all(|answer| answer == "policy first"), "{others:#?}");
    assert_eq!(last, "policy fixed");
}

#[tokio::test(start_paused = true)]
async fn a_refusal_whose_files_are_not_read_in_time_uses_a_fresh_copy_and_states_its_age() {
    let source = Scripted::memory();
    let cache = cache(&[&source]);
    let api = role("api");
    assert_eq!(cache.entry(&api, soon()).await.copy_age, None);
    // Other work keeps the processors.
    source.takes(2 * SECOND);
    pass(10 * SECOND).await;
    let entry = cache.fresh(&api, soon()).await;
    assert_eq!(summary(&entry), "policy everyone");
    assert_eq!(entry.copy_age, Some(10_700 * MILLI));
    // A role that was never read is not known by it.
    assert_eq!(
        summary(&cache.fresh(&role("other"), soon()).await),
        "unknown: files did not respond within 700 ms"
    );
}

#[tokio::test(start_paused = true)]
async fn a_refusal_whose_read_gets_no_turn_uses_a_fresh_copy_and_states_its_age() {
    let source = Scripted::new(
        "iam",
        Pace::Remote {
            per_second: NonZeroU32::MIN,
        },
    );
    let cache = cache(&[&source]);
    let api = role("api");
    let fresh_without_turn = |other: &'static str| {
        let (cache, api) = (&cache, &api);
        async move {
            // The one call of this second.
            cache.entry(&role(other), soon()).await;
            cache.fresh(api, soon()).await
        }
    };
    assert_eq!(cache.entry(&api, soon()).await.copy_age, None);
    pass(10 * SECOND).await;
    let entry = fresh_without_turn("one").await;
    assert_eq!(summary(&entry), "policy everyone");
    assert_eq!(entry.copy_age, Some(10_700 * MILLI));
    // The read continues without its caller.
    pass(SECOND).await;
    assert_eq!(source.reads_of(&api), 2);

    pass(59 * SECOND).await;
    assert_eq!(
        summary(&fresh_without_turn("two").await),
        "unknown: the rate limit for calls to iam allowed no read of this role within 700 ms",
        "a copy that is older than --trust-ttl"
    );

    pass(10 * SECOND).await;
    source.answers_for(&api, failing("AccessDenied"));
    assert_eq!(summary(&cache.fresh(&api, soon()).await), "unknown: AccessDenied");
    pass(10 * SECOND).await;
    assert_eq!(
        summary(&fresh_without_turn("three").await),
        "unknown: AccessDenied",
        "the last read failed"
    );
}

#[tokio::test(start_paused = true)]
async fn a_read_whose_requests_have_left_yields_to_others_and_is_made_all_the_same() {
    let source = Scripted::remote();
    let cache = cache(&[&source]);
    let left = join_all((0..30).map(|number| {
        let (cache, role) = (&cache, role(&format!("left-{number}")));
        async move { cache.entry(&role, Instant::now() + 100 * MILLI).await }
    }));
    left.await;
    sleep(300 * MILLI).await;
    let start = Instant::now();
    let entry = cache.entry(&role("api"), start + 700 * MILLI).await;
    assert_eq!(summary(&entry), "policy everyone", "after {:?}", start.elapsed());
    pass(12 * SECOND).await;
    assert_eq!(source.reads(), 31);
}

#[tokio::test(start_paused = true)]
async fn refusals_that_wait_share_one_listing() {
    let source = Scripted::remote();
    source.names_all.store(true, Ordering::SeqCst);
    source.takes(20 * MILLI);
    let roles: Vec<_> = (0..30).map(|number| role(&format!("role-{number}"))).collect();
    let lists = |sid: &str| {
        let listed = roles.iter().skip(1).map(|role| (role.clone(), document(sid)));
        *source.listing.lock().unwrap() = Some(Ok(listed.collect()));
    };
    lists("listed");
    let cache = cache(&[&source]);
    let running = Running::start(&cache, roles.clone());
    pass(10 * SECOND).await;
    lists("edited");
    source.answers(trusting("edited"));
    source.answers_for(&roles[0], Answer::NoSuchRole { hint: None });

    let began = Instant::now();
    let entries = join_all(roles.iter().map(|role| cache.fresh(role, soon()))).await;
    assert!(began.elapsed() <= 700 * MILLI, "{:?}", began.elapsed());
    assert_eq!(summary(&entries[0]), "no such role");
    let others: Vec<_> = entries.iter().skip(1).map(summary).collect();
    assert!(others.iter().all(|answer| answer == "policy edited"), "{others:#?}");
    assert!(source.reads() <= 5, "{} calls of their own", source.reads());
    assert_eq!(source.listings.load(Ordering::SeqCst), 2);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_stale_copy_serves_and_is_read_again_in_the_background() {
    let source = Scripted::remote();
    source.takes(300 * MILLI);
    let cache = cache(&[&source]);
    let loader = role("loader");
    let running = Running::start(&cache, vec![]);
    cache.entry(&loader, soon()).await;
    source.answers(trusting("edited"));

    pass(600 * SECOND).await;
    assert_eq!(source.reads(), 1, "a role that is not in use is not read again");
    let before = Instant::now();
    assert_eq!(summary(&cache.entry(&loader, soon()).await), "policy everyone");
    assert_eq!(Instant::now(), before, "a stale copy is served without waiting");

    pass(SECOND).await;
    assert_eq!(summary(&cache.cached(&loader).unwrap()), "policy edited");
    assert_eq!(source.reads(), 2);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_copy_that_is_too_old_does_not_serve() {
    let source = Scripted::remote();
    let cache = cache(&[&source]);
    let loader = role("loader");
    cache.entry(&loader, soon()).await;
    source.answers(failing("no route to host"));

    advance(3600 * SECOND).await;
    assert!(cache.cached(&loader).is_some());
    assert_eq!(cache.snapshot()[0].state, RoleState::Stale);
    advance(MILLI).await;
    assert!(cache.cached(&loader).is_none());
    assert_eq!(cache.snapshot()[0].state, RoleState::TooOld);
    let entry = cache.entry(&loader, soon()).await;
    assert_eq!(summary(&entry), "unknown: no route to host");
    assert_eq!(entry.read_at, None);
}

#[tokio::test(start_paused = true)]
async fn referenced_roles_are_read_ahead_and_refreshed_at_their_time_to_live() {
    let source = Scripted::remote();
    let cache = cache(&[&source]);
    let referenced = vec![role("loader"), role("team/trainer")];
    let running = Running::start(&cache, referenced.clone());

    pass(SECOND).await;
    assert!(referenced.iter().all(|role| cache.cached(role).is_some()));
    assert_eq!(source.reads(), 2);

    source.answers(trusting("edited"));
    pass(61 * SECOND).await;
    assert!(
        referenced
            .iter()
            .all(|role| summary(&cache.cached(role).unwrap()) == "policy edited")
    );
    assert_eq!(source.reads(), 4);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_source_over_the_network_is_read_at_its_pace_and_admissions_go_first() {
    let source = Scripted::remote();
    let cache = cache(&[&source]);
    let referenced: Vec<_> = (0..15).map(|number| role(&format!("ahead-{number}"))).collect();
    let start = Instant::now();
    let running = Running::start(&cache, referenced.clone());
    pass(500 * MILLI).await;

    let entry = cache.entry(&role("urgent"), soon()).await;
    assert_eq!(summary(&entry), "policy everyone");
    assert!(
        Instant::now() < start + 600 * MILLI,
        "an admission does not queue behind read-ahead"
    );

    pass(10 * SECOND).await;
    assert!(referenced.iter().all(|role| cache.cached(role).is_some()));
    let times = source.times();
    for (index, first) in times.iter().enumerate() {
        let within = times.iter().skip(index).filter(|time| **time < *first + SECOND).count();
        assert!(within <= 5, "{within} reads in the second after read {index}");
    }
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_source_in_memory_is_not_limited() {
    let source = Scripted::memory();
    let cache = cache(&[&source]);
    let start = Instant::now();
    for number in 0..50 {
        cache.entry(&role(&format!("role-{number}")), soon()).await;
    }
    assert_eq!(Instant::now(), start);
    assert_eq!(source.reads(), 50);
}

#[tokio::test(start_paused = true)]
async fn an_admission_waits_for_its_read_timeout_or_its_deadline_whichever_is_sooner() {
    let source = Scripted::remote();
    source.takes(5 * SECOND);
    let cache = cache(&[&source]);
    for (name, budget, waited) in [
        ("one", 2 * SECOND, 700 * MILLI),
        ("two", 300 * MILLI, 300 * MILLI),
        ("three", Duration::ZERO, Duration::ZERO),
    ] {
        for ask in ["entry", "fresh"] {
            let start = Instant::now();
            let role = role(&format!("{name}-{ask}"));
            let entry = match ask {
                "entry" => cache.entry(&role, start + budget).await,
                _ => cache.fresh(&role, start + budget).await,
            };
            let expected = match waited {
                Duration::ZERO => {
                    "unknown: the rate limit for calls to iam allowed no read of this role within 0 ms".to_owned()
                }
                _ => format!("unknown: iam did not respond within {} ms", waited.as_millis()),
            };
            assert_eq!(summary(&entry), expected);
            assert_eq!(start.elapsed(), waited, "{ask} with {budget:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_read_that_outlasts_its_admission_still_fills_the_cache() {
    let source = Scripted::remote();
    source.takes(900 * MILLI);
    let cache = cache(&[&source]);
    let loader = role("loader");
    let running = Running::start(&cache, vec![]);
    pass(MILLI).await;

    assert_eq!(
        summary(&cache.entry(&loader, soon()).await),
        "unknown: iam did not respond within 700 ms"
    );
    pass(300 * MILLI).await;
    assert_eq!(summary(&cache.cached(&loader).unwrap()), "policy everyone");
    assert_eq!(source.reads(), 1);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn the_caller_that_began_a_read_may_leave_and_the_others_get_the_answer() {
    let source = Scripted::remote();
    source.takes(500 * MILLI);
    let cache = cache(&[&source]);
    let loader = role("loader");

    let first = tokio::spawn({
        let (cache, loader) = (Arc::clone(&cache), loader.clone());
        async move { cache.entry(&loader, soon()).await }
    });
    sleep(100 * MILLI).await;
    let second = tokio::spawn({
        let (cache, loader) = (Arc::clone(&cache), loader.clone());
        async move { cache.entry(&loader, soon()).await }
    });
    sleep(100 * MILLI).await;
    first.abort();
    assert_eq!(summary(&second.await.unwrap()), "policy everyone");
    assert_eq!(source.reads(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_read_goes_on_when_all_callers_have_left_and_the_next_caller_joins_it() {
    let source = Scripted::remote();
    source.takes(500 * MILLI);
    let cache = cache(&[&source]);
    let loader = role("loader");
    assert!(
        tokio::time::timeout(100 * MILLI, cache.entry(&loader, soon()))
            .await
            .is_err()
    );
    assert_eq!(summary(&cache.entry(&loader, soon()).await), "policy everyone");
    assert_eq!(
        source.most_at_once.load(Ordering::SeqCst),
        1,
        "one read of a role at a time"
    );
    assert_eq!(source.reads(), 1);
}

#[tokio::test(start_paused = true)]
async fn pauses_after_failures_grow_and_admissions_do_not_wait_in_vain() {
    let source = Scripted::remote();
    source.answers(failing("no route to host"));
    let cache = cache(&[&source]);
    let loader = role("loader");
    let running = Running::start(&cache, vec![loader.clone()]);

    pass(60 * SECOND).await;
    let times = source.times();
    let pauses: Vec<_> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(pauses.iter().all(|pause| *pause >= 200 * MILLI), "{pauses:?}");
    assert!(
        pauses.iter().all(|pause| *pause <= 5 * SECOND + 300 * MILLI),
        "{pauses:?}"
    );
    assert!(
        pauses.len() >= 10 && pauses.len() <= 40,
        "{} reads in a minute",
        pauses.len()
    );

    let start = Instant::now();
    let entry = cache.entry(&loader, soon()).await;
    assert_eq!(summary(&entry), "unknown: no route to host");
    assert!(start.elapsed() <= 700 * MILLI);

    source.answers(trusting("everyone"));
    pass(6 * SECOND).await;
    assert_eq!(
        summary(&cache.cached(&loader).unwrap()),
        "policy everyone",
        "recovery is noticed within five seconds"
    );
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn throttling_of_one_role_slows_the_reads_of_all() {
    let source = Scripted::remote();
    source.answers(Answer::Throttled("Throttling: Rate exceeded".into()));
    let cache = cache(&[&source]);
    assert_eq!(
        summary(&cache.entry(&role("one"), soon()).await),
        "unknown: Throttling: Rate exceeded"
    );
    source.answers(trusting("everyone"));
    let start = Instant::now();
    assert_eq!(summary(&cache.entry(&role("two"), soon()).await), "policy everyone");
    assert!(start.elapsed() >= 200 * MILLI, "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn sources_are_asked_in_order_until_one_does_not_pass_on() {
    let first = Scripted::new("ack", Pace::Memory);
    let second = Scripted::new("iam", Pace::Memory);
    first.answers(Answer::NotMine);
    first.answers_for(&role("first"), trusting("first"));
    first.answers_for(&role("broken"), failing("not synchronised yet"));
    first.answers_for(&role("gone"), Answer::NoSuchRole { hint: None });
    second.answers(trusting("second"));
    let cache = cache(&[&first, &second]);
    for (name, expected, source) in [
        ("first", "policy first", Some("ack")),
        ("second", "policy second", Some("iam")),
        ("broken", "unknown: not synchronised yet", None),
        ("gone", "no such role", Some("ack")),
    ] {
        let entry = cache.entry(&role(name), soon()).await;
        assert_eq!((summary(&entry).as_str(), entry.source), (expected, source), "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_role_that_no_source_knows_is_unknown_and_the_reason_names_them() {
    let ack = Scripted::new("ack", Pace::Memory);
    let crossplane = Scripted::new("crossplane", Pace::Memory);
    ack.answers(Answer::NotMine);
    crossplane.answers(Answer::NotMine);
    let entry = cache(&[&ack, &crossplane]).entry(&role("loader"), soon()).await;
    assert_eq!(
        summary(&entry),
        "unknown: no role source knows this role (asked: ack, crossplane)"
    );
    let entry = cache(&[]).entry(&role("loader"), soon()).await;
    assert_eq!(summary(&entry), "unknown: no role source is set");
}

#[tokio::test(start_paused = true)]
async fn a_malformed_policy_is_reported_as_such_with_the_reason() {
    let source = Scripted::memory();
    source.answers(Answer::Role(RoleDocument {
        origin: Origin::Stored,
        policy: r#"{"Statement": 7"#.into(),
        tags: None,
    }));
    let entry = cache(&[&source]).entry(&role("loader"), soon()).await;
    let summarized = summary(&entry);
    assert!(summarized.starts_with("malformed: it ends too early"), "{summarized}");
}

#[tokio::test(start_paused = true)]
async fn a_percent_encoded_policy_is_understood() {
    let source = Scripted::memory();
    let Answer::Role(plain) = trusting("everyone") else {
        unreachable!()
    };
    let encoded = percent_encoding::utf8_percent_encode(&plain.policy, percent_encoding::NON_ALPHANUMERIC).to_string();
    source.answers(Answer::Role(RoleDocument {
        origin: Origin::Stored,
        policy: encoded.into(),
        tags: plain.tags,
    }));
    assert_eq!(
        summary(&cache(&[&source]).entry(&role("loader"), soon()).await),
        "policy everyone"
    );
}

fn policy_of(entry: RoleEntry) -> Arc<Policy> {
    match entry.trust {
        Trust::Policy { policy, .. } => policy,
        other => panic!("{other:?}"),
    }
}

fn retagged(document: RoleDocument) -> RoleDocument {
    RoleDocument {
        tags: Some([("team".to_owned(), "a".to_owned())].into()),
        ..document
    }
}

fn is_retagged(entry: &RoleEntry) -> bool {
    matches!(&entry.trust, Trust::Policy { tags: Some(tags), .. } if tags[0].0 == "team")
}

#[tokio::test(start_paused = true)]
async fn a_policy_whose_text_was_read_before_is_not_parsed_again() {
    let source = Scripted::memory();
    let cache = cache(&[&source]);
    let role = role("a");
    let read = async |document: RoleDocument| {
        source.answers(Answer::Role(document));
        pass(2 * SECOND).await;
        cache.fresh(&role, soon()).await
    };
    let first = policy_of(read(document("before")).await);
    let second = read(retagged(document("before"))).await;
    assert!(is_retagged(&second), "{second:?}");
    assert!(Arc::ptr_eq(&first, &policy_of(second)));
    assert_eq!(summary(&read(document("after")).await), "policy after");
    assert_eq!(source.reads(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_policy_whose_text_was_listed_before_is_not_parsed_again() {
    let source = Scripted::remote();
    let referenced: Vec<_> = (0..90).map(|number| role(&format!("role-{number}"))).collect();
    let list = |document: RoleDocument| {
        let listed = referenced.iter().map(|role| (role.clone(), document.clone()));
        *source.listing.lock().unwrap() = Some(Ok(listed.collect()));
    };
    list(document("before"));
    let cache = cache(&[&source]);
    let running = Running::start(&cache, referenced.clone());
    pass(SECOND).await;
    let first = policy_of(cache.cached(&referenced[0]).unwrap());

    list(retagged(document("before")));
    pass(61 * SECOND).await;
    let second = cache.cached(&referenced[0]).unwrap();
    assert!(is_retagged(&second), "{second:?}");
    assert!(Arc::ptr_eq(&first, &policy_of(second)));

    list(document("after"));
    pass(61 * SECOND).await;
    assert_eq!(summary(&cache.cached(&referenced[0]).unwrap()), "policy after");
    assert_eq!((source.listings.load(Ordering::SeqCst), source.reads()), (3, 0));
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_a_source_reports_as_changed_is_read_again_at_once() {
    let source = Scripted::memory();
    let cache = cache(&[&source]);
    let (used, gone) = (role("used"), role("gone"));
    source.answers_for(&gone, Answer::NoSuchRole { hint: None });
    let running = Running::start(&cache, vec![used.clone(), gone.clone()]);
    pass(SECOND).await;
    assert_eq!(summary(&cache.cached(&gone).unwrap()), "no such role");

    source.answers(trusting("edited"));
    source.answers_for(&gone, trusting("created"));
    source.changes.send_modify(|version| *version += 1);
    pass(200 * MILLI).await;
    assert_eq!(summary(&cache.cached(&used).unwrap()), "policy edited");
    assert_eq!(summary(&cache.cached(&gone).unwrap()), "policy created");
    assert_eq!((source.reads_of(&used), source.reads_of(&gone)), (2, 2));
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_listing_fills_the_cache_in_one_go() {
    let source = Scripted::remote();
    let referenced: Vec<_> = (0..90).map(|number| role(&format!("role-{number}"))).collect();
    let listed = referenced
        .iter()
        .map(|role| (role.clone(), document("listed")))
        .collect();
    *source.listing.lock().unwrap() = Some(Ok(listed));
    let cache = cache(&[&source]);
    let running = Running::start(&cache, referenced.clone());
    pass(SECOND).await;
    assert!(
        referenced
            .iter()
            .all(|role| summary(&cache.cached(role).unwrap()) == "policy listed")
    );
    assert_eq!(source.reads(), 0);

    // So many roles are due at the same time that they are listed again and not read one by one.
    pass(61 * SECOND).await;
    assert_eq!((source.listings.load(Ordering::SeqCst), source.reads()), (2, 0));
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_hour_of_a_thousand_roles_costs_at_most_120_calls() {
    let source = Scripted::remote();
    source.names_all.store(true, Ordering::SeqCst);
    source.answers(Answer::NoSuchRole { hint: None });
    // 10,000 ServiceAccounts name a thousand roles; fifty of these do not exist, and the account has some that no ServiceAccount names.
    let named: Vec<_> = (0..1000).map(|number| role(&format!("role-{number}"))).collect();
    let exists = (50..1050).map(|number| (role(&format!("role-{number}")), document("listed")));
    *source.listing.lock().unwrap() = Some(Ok(exists.collect()));
    let cache = cache_with(
        &[&source],
        RoleCacheSettings {
            capacity: 20_000,
            ..settings()
        },
    );
    cache.check_providers_of(Issuer::parse("issuer.example").unwrap());
    let running = Running::start(&cache, named.clone());
    pass(SECOND).await;
    for second in 0..3600 {
        pass(SECOND).await;
        // Pods of all of them, again and again; none waits.
        for role in named.iter().skip(second % 7).step_by(97) {
            assert!(cache.cached(role).is_some(), "{role} after {second} s");
            let _provider = cache.provider(role, soon()).await;
        }
    }
    assert_eq!(summary(&cache.cached(&role("role-7")).unwrap()), "no such role");
    let lists = source.listings.load(Ordering::SeqCst);
    let providers = source.providers.load(Ordering::SeqCst);
    // And STS once.
    let calls = lists + providers + source.reads() + 1;
    println!(
        "{lists} ListRoles, {} GetRole, {providers} GetOpenIDConnectProvider, 1 GetCallerIdentity",
        source.reads()
    );
    assert!(calls <= 120, "{calls} calls");
    assert!(
        lists >= 55,
        "a role must be read every minute, not {lists} times an hour"
    );
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_a_complete_listing_does_not_name_does_not_exist_until_it_is_read() {
    let source = Scripted::remote();
    source.names_all.store(true, Ordering::SeqCst);
    *source.listing.lock().unwrap() = Some(Ok(vec![(role("tools/loader"), document("listed"))]));
    let cache = cache(&[&source]);
    let running = Running::start(&cache, vec![role("loader"), role("gone")]);
    pass(SECOND).await;
    assert_eq!(summary(&cache.cached(&role("gone")).unwrap()), "no such role");
    assert_eq!(
        summary(&cache.cached(&role("loader")).unwrap()),
        "no such role; a role of that name exists as arn:aws:iam::111122223333:role/tools/loader"
    );
    assert_eq!(source.reads(), 0);
    // Before a refusal the role itself is read: it may have been created a moment ago.
    pass(5 * SECOND).await;
    assert_eq!(summary(&cache.fresh(&role("gone"), soon()).await), "policy everyone");
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_role_whose_policy_depends_on_tags_is_read() {
    let source = Scripted::remote();
    let asks = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"*"},"Action":"sts:AssumeRole","Condition":{"StringEquals":{"aws:ResourceTag/team":"data"}}}]}"#;
    let untagged = RoleDocument {
        origin: Origin::Stored,
        policy: asks.into(),
        tags: None,
    };
    *source.listing.lock().unwrap() = Some(Ok(vec![
        (role("tagged"), untagged.clone()),
        (role("plain"), document("listed")),
    ]));
    source.names_all.store(true, Ordering::SeqCst);
    let tagged = RoleDocument {
        origin: Origin::Stored,
        tags: Some(Arc::from([("sid".to_owned(), "read".to_owned())])),
        ..untagged
    };
    source.answers(Answer::Role(tagged));
    let cache = cache(&[&source]);
    let running = Running::start(&cache, vec![role("tagged"), role("plain")]);
    pass(SECOND).await;
    assert_eq!(summary(&cache.cached(&role("tagged")).unwrap()), "policy read");
    assert_eq!(
        (source.reads_of(&role("tagged")), source.reads_of(&role("plain"))),
        (1, 0)
    );
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_source_that_is_down_is_called_every_few_seconds_and_not_once_per_role() {
    let source = Scripted::remote();
    source.answers(failing("InternalFailure"));
    *source.listing.lock().unwrap() = Some(Err(ListingFailure::Failed("InternalFailure".into())));
    let cache = cache(&[&source]);
    let referenced: Vec<_> = (0..90).map(|number| role(&format!("role-{number}"))).collect();
    let running = Running::start(&cache, referenced);
    pass(60 * SECOND).await;
    let before = source.reads();
    pass(600 * SECOND).await;
    let reads = source.reads() - before;
    assert!((100..=900).contains(&reads), "{reads} reads in ten minutes");
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_page_is_requested_again_only_if_that_might_help() {
    for (failure, requests) in [
        (ListingFailure::Failed("InternalFailure".into()), 5),
        (ListingFailure::Throttled("Throttling".into()), 5),
        (ListingFailure::Denied("AccessDenied".into()), 1),
        (ListingFailure::Credentials("ExpiredToken".into()), 1),
    ] {
        let source = Scripted::remote();
        *source.listing.lock().unwrap() = Some(Err(failure.clone()));
        let cache = cache(&[&source]);
        cache.list(&[role("loader")], |_| ()).await;
        let failed_pages = source.failed_pages.load(Ordering::SeqCst);
        assert_eq!(failed_pages, requests, "{failure:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_failed_listing_leaves_roles_to_be_read_one_by_one() {
    let source = Scripted::remote();
    *source.listing.lock().unwrap() = Some(Err(ListingFailure::Failed("InternalFailure".into())));
    let cache = cache(&[&source]);
    let loader = role("loader");
    let running = Running::start(&cache, vec![loader.clone()]);
    pass(SECOND).await;
    assert_eq!(summary(&cache.cached(&loader).unwrap()), "policy everyone");
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_listing_of_a_later_source_does_not_overrule_an_earlier_one() {
    let first = Scripted::new("ack", Pace::Memory);
    let second = Scripted::remote();
    first.answers(Answer::NotMine);
    first.answers_for(&role("both"), trusting("first"));
    let listed = vec![(role("both"), document("second")), (role("second"), document("second"))];
    *second.listing.lock().unwrap() = Some(Ok(listed));
    let cache = cache(&[&first, &second]);
    let running = Running::start(&cache, vec![role("both"), role("second")]);
    pass(SECOND).await;
    assert_eq!(summary(&cache.cached(&role("both")).unwrap()), "policy first");
    assert_eq!(summary(&cache.cached(&role("second")).unwrap()), "policy second");
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn the_cache_is_bounded_and_removes_the_longest_unused_unreferenced_role() {
    let source = Scripted::memory();
    let cache = cache_with(
        &[&source],
        RoleCacheSettings {
            capacity: 4,
            ..settings()
        },
    );
    let named = role("named");
    let running = Running::start(&cache, vec![named.clone()]);
    pass(SECOND).await;
    for name in ["a", "b", "c"] {
        cache.entry(&role(name), soon()).await;
        pass(10 * MILLI).await;
    }
    assert!(cache.cached(&role("a")).is_some(), "a is used again, b is not");
    pass(10 * MILLI).await;
    cache.entry(&role("d"), soon()).await;

    let held: Vec<_> = cache.snapshot().into_iter().map(|summary| summary.arn).collect();
    let expected: Vec<_> = ["a", "c", "d", "named"]
        .into_iter()
        .map(|name| role(name).to_string())
        .collect();
    assert_eq!(held, expected);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn more_referenced_roles_than_fit_do_not_evict_each_other() {
    let source = Scripted::memory();
    let cache = cache_with(
        &[&source],
        RoleCacheSettings {
            capacity: 4,
            ..settings()
        },
    );
    let running = Running::start(&cache, (0..10).map(|number| role(&format!("role-{number}"))).collect());
    pass(30 * SECOND).await;
    assert_eq!((cache.snapshot().len(), source.reads()), (4, 4));
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn roles_that_are_no_longer_in_use_leave_the_cache() {
    let source = Scripted::memory();
    let cache = cache(&[&source]);
    let running = Running::start(&cache, vec![role("named")]);
    cache.entry(&role("once"), soon()).await;
    pass(2 * 3600 * SECOND).await;
    let held: Vec<_> = cache.snapshot().into_iter().map(|summary| summary.arn).collect();
    assert_eq!(held, [role("named").to_string()]);
    running.stop().await;
}

/// Such as the role of `helm test`, whose ServiceAccount exists for a few seconds.
#[tokio::test(start_paused = true)]
async fn roles_that_do_not_exist_leave_the_cache_soon_after_their_last_use() {
    let source = Scripted::memory();
    source.answers_for(&role("gone"), Answer::NoSuchRole { hint: None });
    source.answers_for(&role("named"), Answer::NoSuchRole { hint: None });
    source.answers_for(&role("elsewhere"), Answer::NotMine);
    let cache = cache(&[&source]);
    let running = Running::start(&cache, vec![role("named")]);
    for name in ["gone", "elsewhere", "here"] {
        cache.entry(&role(name), soon()).await;
    }
    let held = || {
        let mut held: Vec<_> = cache.snapshot().into_iter().map(|summary| summary.arn).collect();
        held.sort_unstable();
        held
    };
    pass(30 * SECOND).await;
    assert_eq!(held().len(), 4);
    pass(50 * SECOND).await;
    assert_eq!(held(), [role("here").to_string(), role("named").to_string()]);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_read_of_a_silent_source_times_out_after_ten_seconds_and_is_counted() {
    let source = Scripted::remote();
    source.takes(3600 * SECOND);
    let observer = Arc::new(Counted::default());
    let sources = vec![Arc::clone(&source) as Arc<dyn RoleSource>];
    let cache = RoleCache::with_observer(sources, settings(), Arc::clone(&observer) as Arc<dyn ReadObserver>);
    let running = Running::start(&cache, vec![role("loader")]);
    pass(11 * SECOND).await;
    assert_eq!(*observer.0.lock().unwrap(), [("iam", ReadResult::TimedOut)]);
    let summary = &cache.snapshot()[0];
    assert_eq!(
        (summary.state, summary.reason.as_deref()),
        (RoleState::Failed, Some("iam did not respond within 10 s"))
    );
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn every_read_is_counted_by_source_and_result() {
    let (ack, iam) = (Scripted::new("ack", Pace::Memory), Scripted::new("iam", Pace::Memory));
    ack.answers(Answer::NotMine);
    iam.answers_for(&role("gone"), Answer::NoSuchRole { hint: None });
    iam.answers_for(&role("broken"), failing("why"));
    let observer = Arc::new(Counted::default());
    let sources = vec![ack as Arc<dyn RoleSource>, iam];
    let cache = RoleCache::with_observer(sources, settings(), Arc::clone(&observer) as Arc<dyn ReadObserver>);
    for name in ["here", "gone", "broken"] {
        cache.entry(&role(name), soon()).await;
    }
    let counted: Vec<_> = observer
        .0
        .lock()
        .unwrap()
        .iter()
        .map(|(source, result)| format!("{source} {}", result.as_str()))
        .collect();
    assert_eq!(
        counted,
        [
            "ack not-mine",
            "iam role",
            "ack not-mine",
            "iam no-such-role",
            "ack not-mine",
            "iam failed"
        ]
    );
    assert_eq!(
        cache.counts(),
        [
            (RoleState::Fresh, 2),
            (RoleState::Stale, 0),
            (RoleState::TooOld, 0),
            (RoleState::Failed, 1)
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn the_page_of_roles_shows_what_is_known_and_why_not() {
    let source = Scripted::memory();
    source.answers_for(
        &role("gone"),
        Answer::NoSuchRole {
            hint: Some("a role of that name exists as …: the path differs".into()),
        },
    );
    source.answers_for(&role("unread"), failing("known only after apply"));
    let cache = cache(&[&source]);
    for name in ["unread", "here", "gone"] {
        cache.entry(&role(name), soon()).await;
    }
    advance(61 * SECOND).await;
    let page = serde_json::to_value(cache.snapshot()).unwrap();
    let expected = serde_json::json!([
        {"arn": role("gone").as_str(), "state": "stale", "holds": "no-such-role", "ageSeconds": 61, "source": "files",
         "reason": "a role of that name exists as …: the path differs"},
        {"arn": role("here").as_str(), "state": "stale", "holds": "policy", "ageSeconds": 61, "source": "files",
         "reason": null},
        {"arn": role("unread").as_str(), "state": "failed", "holds": null, "ageSeconds": null, "source": null,
         "reason": "known only after apply"},
    ]);
    assert_eq!(page, expected);
}

#[tokio::test(start_paused = true)]
async fn the_cache_stops_at_once_although_a_read_is_in_flight() {
    let source = Scripted::remote();
    source.takes(3600 * SECOND);
    let cache = cache(&[&source]);
    let running = Running::start(&cache, vec![role("loader")]);
    pass(SECOND).await;
    let start = Instant::now();
    running.stop().await;
    assert_eq!(
        start.elapsed(),
        Duration::ZERO,
        "a read in flight does not delay the stop"
    );
}

/// Ignores what is recorded.
struct Unrecorded;

impl Recorder for Unrecorded {
    fn record(&self, _record: &Record<'_>) {}
}

/// Reviews pods of ServiceAccount `jobs/worker`; the directory has its manifest.
fn admission(directory: &Path, cache: Arc<RoleCache>) -> Admission {
    let manifest = "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: worker, namespace: jobs, annotations: \
                    {eks.amazonaws.com/role-arn: arn:aws:iam::111122223333:role/worker}}\n";
    std::fs::write(directory.join("accounts.yaml"), manifest).unwrap();
    let rules = AnnotationRules {
        prefix: "eks.amazonaws.com/".to_owned(),
        compose: None,
    };
    let manifests = ManifestServiceAccounts::load(directory, Arc::new(rules.clone())).unwrap();
    let state = ClusterState {
        issuer: Issuer::parse("oidc.eks.us-west-2.amazonaws.com/id/EXAMPLED539D4633E53DE1B71EXAMPLE").unwrap(),
        accounts: Arc::new(ServiceAccounts::Manifests(manifests)),
        namespaces: None,
        identity_map: None,
        container_credentials: None,
        associations: None,
        cache,
    };
    let settings = AdmissionSettings {
        mode: Mode::Warn,
        rules,
        defaults: Defaults {
            audience: Audience::new("sts.amazonaws.com"),
            expiration_seconds: 86_400,
            regional_sts: false,
        },
        web_identity: WebIdentitySettings {
            mount_path: "/var/run/secrets/eks.amazonaws.com/serviceaccount".to_owned(),
            region: None,
            disable_instance_metadata: false,
            role_session_name: false,
            api_audience: None,
        },
        pod_identity: PodIdentitySettings {
            full_uri: "http://169.254.170.23/v1/credentials".to_owned(),
            audience: "pods.eks.amazonaws.com".to_owned(),
            mount_path: "/var/run/secrets/pods.eks.amazonaws.com/serviceaccount".to_owned(),
            volume_name: "eks-pod-identity-token".to_owned(),
            token_path: "eks-pod-identity-token".to_owned(),
            region: None,
            disable_instance_metadata: false,
        },
        decision: DecisionSettings::default(),
        skip_label: SkipLabel::Honored,
        docs_url: None,
    };
    Admission::new(settings, state)
}

#[tokio::test(start_paused = true)]
async fn the_roles_of_one_pod_share_one_read_timeout() {
    let container = |name: &str| {
        let set = |name: &str, value: &str| json!({"name": name, "value": value});
        let token = "/var/run/secrets/eks.amazonaws.com/serviceaccount/token";
        let env = [
            set("AWS_ROLE_ARN", role(name).as_str()),
            set("AWS_WEB_IDENTITY_TOKEN_FILE", token),
        ];
        json!({"name": name, "image": "i", "env": env})
    };
    let review = json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": "705ab4f5-6393-11e8-b7cc-42010a800002",
            "kind": {"group": "", "version": "v1", "kind": "Pod"},
            "resource": {"group": "", "version": "v1", "resource": "pods"},
            "name": "p", "namespace": "jobs", "operation": "CREATE", "dryRun": false,
            "object": {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "jobs"},
                "spec": {"serviceAccountName": "worker", "containers": [container("a"), container("b"), container("c")]}},
        },
    });
    let directory = tempfile::tempdir().unwrap();
    // Slow, and too slow.
    for (takes, waits) in [(500 * MILLI, 500 * MILLI), (5 * SECOND, 700 * MILLI)] {
        let source = Scripted::memory();
        source.takes(takes);
        let admission = admission(directory.path(), cache(&[&source]));
        let asked = Instant::now();
        let answer = admission
            .review(
                review.to_string().as_bytes(),
                PathMode::Configured,
                Endpoint::Mutating,
                asked + 10 * SECOND,
                &Unrecorded,
            )
            .await;
        assert!(matches!(answer, ReviewAnswer::Review(_)), "{answer:?}");
        assert_eq!((source.reads(), source.most_at_once.load(Ordering::SeqCst)), (3, 3));
        let waited = asked.elapsed();
        assert!(waited >= waits && waited < waits + 100 * MILLI, "{waited:?}");
    }
}
