//! Events for refusals, against an API server that stores them as Kubernetes does. Time is paused: nothing here waits.

mod support;

use std::sync::Arc;
use std::time::Duration;

use rolegate::kubernetes::list_watch::WatchTiming;
use rolegate::kubernetes::namespaces::Namespaces;
use rolegate::kubernetes::service_accounts::ServiceAccounts;
use rolegate::kubernetes::service_accounts::live::LiveServiceAccounts;
use rolegate::pod::identity::AnnotationRules;
use rolegate::telemetry::events::{EventTiming, Events, Refusal};
use rolegate::telemetry::metrics::{ByNamespace, Metrics};
use rolegate::trust::Cause;
use serde_json::{Value, json};
use support::fake_api::{FakeApi, Fault};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

const MINUTE: Duration = Duration::from_secs(60);
const REFUSED: &str =
    "role api does not trust ServiceAccount jobs/api (wrong-subject): why\n  fix      rolegate trust-policy";

/// One replica of the webhook.
struct Replica {
    events: Events,
    metrics: Arc<Metrics>,
    namespaces: Arc<Namespaces>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Replica {
    fn of(api: &FakeApi) -> Self {
        let rules = Arc::new(AnnotationRules {
            prefix: "eks.amazonaws.com/".to_owned(),
            compose: None,
        });
        let namespaces = Arc::new(Namespaces::start(api.client(), WatchTiming::default()));
        let accounts = LiveServiceAccounts::start(api.client(), rules, WatchTiming::default())
            .shared_between(Arc::clone(&namespaces));
        let metrics = Metrics::new(ByNamespace::No);
        let (events, writer) = Events::new(
            api.client(),
            Arc::new(ServiceAccounts::Live(accounts)),
            "rolegate-7d4b9-x2x4q",
            EventTiming::default(),
            metrics.events(),
        );
        let stop = CancellationToken::new();
        let task = tokio::spawn(writer.run(stop.clone()));
        Self {
            events,
            metrics,
            namespaces,
            stop,
            task,
        }
    }

    /// Waits until these namespaces are known.
    async fn knows(&self, names: &[String]) {
        while !names.iter().all(|name| self.namespaces.contains(name)) {
            sleep(Duration::from_millis(1)).await;
        }
    }

    fn refuse(&self, account: &str, cause: Cause) {
        self.refuse_saying(account, cause, REFUSED);
    }

    fn refuse_saying(&self, account: &str, cause: Cause, message: &str) {
        self.refuse_in("jobs", account, cause, message);
    }

    fn refuse_in(&self, namespace: &str, account: &str, cause: Cause, message: &str) {
        let uid = Arc::from(format!("uid-of-{namespace}-{account}"));
        self.events.record(&Refusal {
            namespace,
            service_account: account,
            uid: Some(&uid),
            cause: Some(cause),
            message,
        });
    }

    async fn ends(self) -> Arc<Metrics> {
        self.stop.cancel();
        self.task.await.unwrap();
        self.metrics
    }
}

fn stored(api: &FakeApi) -> Vec<Value> {
    api.events(|events| events.stored.clone())
}

fn calls(api: &FakeApi) -> Vec<&'static str> {
    api.events(|events| events.calls.iter().map(|call| call.verb).collect())
}

fn counted(metrics: &Metrics, result: &str) -> u64 {
    let sample = format!("rolegate_events_total{{result=\"{result}\"}} ");
    let text = metrics.text();
    text.lines()
        .find_map(|line| line.strip_prefix(&sample)?.parse().ok())
        .unwrap_or_else(|| panic!("no {sample} in {text}"))
}

async fn a_moment() {
    sleep(Duration::from_millis(50)).await;
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_an_event_about_its_service_account() {
    let api = FakeApi::start().await;
    let replica = Replica::of(&api);
    replica.refuse("api", Cause::WrongSubject);
    a_moment().await;
    let mut event = stored(&api).remove(0);
    for volatile in ["/eventTime", "/metadata/name"] {
        *event.pointer_mut(volatile).unwrap() = json!("…");
    }
    assert_eq!(
        event,
        json!({
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": {"name": "…", "namespace": "jobs", "resourceVersion": "1"},
            "eventTime": "…",
            "type": "Warning",
            "reason": "PodRefused",
            "action": "Admitting",
            "note": "role api does not trust ServiceAccount jobs/api (wrong-subject): why; fix: rolegate trust-policy",
            "regarding": {
                "apiVersion": "v1", "kind": "ServiceAccount", "namespace": "jobs", "name": "api", "uid": "uid-of-jobs-api",
            },
            "reportingController": "rolegate.io/webhook",
            "reportingInstance": "rolegate-7d4b9-x2x4q",
        })
    );
    replica.ends().await;
}

#[tokio::test(start_paused = true)]
async fn many_refusals_are_one_event_with_a_series_count() {
    let api = FakeApi::start().await;
    let replica = Replica::of(&api);
    for _ in 0..600 {
        replica.refuse("api", Cause::WrongSubject);
        sleep(Duration::from_millis(10)).await;
    }
    sleep(Duration::from_secs(6)).await;
    let events = stored(&api);
    assert_eq!(events.len(), 1, "{events:#?}");
    assert_eq!(events[0]["series"]["count"], 600);
    assert_eq!(calls(&api), ["create", "patch", "patch"], "one update in five seconds");
    let metrics = replica.ends().await;
    assert_eq!((counted(&metrics, "created"), counted(&metrics, "updated")), (1, 2));
    assert_eq!((counted(&metrics, "failed"), counted(&metrics, "dropped")), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn each_service_account_and_each_cause_has_its_own() {
    let api = FakeApi::start().await;
    let replica = Replica::of(&api);
    for account in ["api", "worker"] {
        for cause in [Cause::WrongSubject, Cause::WrongAudience] {
            for _ in 0..3 {
                replica.refuse(account, cause);
            }
        }
    }
    sleep(Duration::from_secs(6)).await;
    let events = stored(&api);
    assert_eq!(events.len(), 4);
    assert!(events.iter().all(|event| event["series"]["count"] == 3), "{events:#?}");
    replica.ends().await;
}

#[tokio::test(start_paused = true)]
async fn after_ten_minutes_other_words_are_another_event_and_the_same_words_are_not() {
    let api = FakeApi::start().await;
    let replica = Replica::of(&api);
    // As a Job's controller tries.
    for minute in 0..10 {
        let words = if minute < 5 {
            REFUSED
        } else {
            "other words\n  fix      correct it"
        };
        replica.refuse_saying("api", Cause::WrongSubject, words);
        sleep(MINUTE).await;
    }
    assert_eq!(stored(&api).len(), 1);
    assert_eq!(stored(&api)[0]["series"]["count"], 10);
    // The fake keeps wall time out of it: an Event that began ten minutes ago.
    api.events(|events| events.stored[0]["eventTime"] = json!("2026-01-01T00:00:00.000000Z"));
    replica.refuse_saying("api", Cause::WrongSubject, REFUSED);
    sleep(10 * MINUTE).await;
    assert_eq!(stored(&api).len(), 1, "the same words go on");
    assert_eq!(stored(&api)[0]["series"]["count"], 11);
    replica.refuse_saying("api", Cause::WrongSubject, "other words\n  fix      correct it");
    sleep(MINUTE).await;
    let events = stored(&api);
    assert_eq!(events.len(), 2);
    assert_eq!(events[1]["note"], "other words; fix: correct it");
    replica.ends().await;
}

#[tokio::test(start_paused = true)]
async fn replicas_and_restarted_processes_share_an_event() {
    let api = FakeApi::start().await;
    let (one, two) = (Replica::of(&api), Replica::of(&api));
    for _ in 0..20 {
        one.refuse("api", Cause::WrongSubject);
        two.refuse("api", Cause::WrongSubject);
        sleep(Duration::from_millis(700)).await;
    }
    sleep(MINUTE).await;
    assert_eq!(stored(&api).len(), 1);
    assert_eq!(stored(&api)[0]["series"]["count"], 40, "no count is overwritten");
    one.ends().await;
    two.ends().await;
    let again = Replica::of(&api);
    again.refuse("api", Cause::WrongSubject);
    again.ends().await;
    assert_eq!(stored(&api).len(), 1);
    assert_eq!(stored(&api)[0]["series"]["count"], 41);
}

#[tokio::test(start_paused = true)]
async fn refusals_right_before_the_end_are_reported() {
    let api = FakeApi::start().await;
    let replica = Replica::of(&api);
    replica.refuse("api", Cause::WrongSubject);
    a_moment().await;
    for _ in 0..4 {
        replica.refuse("api", Cause::WrongSubject);
    }
    replica.refuse("worker", Cause::WrongSubject);
    replica.ends().await;
    let counts: Vec<u64> = stored(&api)
        .iter()
        .map(|event| event["series"]["count"].as_u64().unwrap_or(1))
        .collect();
    assert_eq!(counts, [5, 1]);
}

#[tokio::test(start_paused = true)]
async fn the_end_does_not_wait_for_a_server_that_does_not_answer() {
    let api = FakeApi::start().await;
    let replica = Replica::of(&api);
    api.events(|events| events.create_fault = Some(Fault::Slow(60 * MINUTE)));
    for account in ["a", "b", "c"] {
        replica.refuse(account, Cause::WrongSubject);
    }
    a_moment().await;
    let begun = Instant::now();
    replica.ends().await;
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_series_whose_event_was_deleted_starts_again() {
    let api = FakeApi::start().await;
    let replica = Replica::of(&api);
    replica.refuse("api", Cause::WrongSubject);
    a_moment().await;
    let deleted = api.events(|events| events.stored.remove(0));
    // Times of Events are wall time, which is not paused.
    std::thread::sleep(Duration::from_millis(2));
    replica.refuse("api", Cause::WrongSubject);
    replica.refuse("api", Cause::WrongSubject);
    sleep(Duration::from_secs(6)).await;
    let events = stored(&api);
    assert_eq!(events.len(), 1);
    assert!(events[0]["eventTime"].as_str() > deleted["eventTime"].as_str());
    assert_eq!(events[0]["series"]["count"], 2, "of those refused since: {events:#?}");
    replica.ends().await;
}

#[tokio::test(start_paused = true)]
async fn a_service_account_that_was_created_again_has_its_own_event() {
    let api = FakeApi::start().await;
    let replica = Replica::of(&api);
    for uid in ["first", "second"] {
        replica.events.record(&Refusal {
            namespace: "jobs",
            service_account: "api",
            uid: Some(&Arc::from(uid)),
            cause: None,
            message: REFUSED,
        });
        a_moment().await;
    }
    let uids: Vec<Value> = stored(&api)
        .iter()
        .map(|event| event["regarding"]["uid"].clone())
        .collect();
    assert_eq!(uids, ["first", "second"]);
    replica.ends().await;
}

#[tokio::test(start_paused = true)]
async fn a_failing_api_server_is_retried_less_and_less_often_and_no_event_is_lost() {
    for fault in [
        Fault::Status(403),
        Fault::Status(429),
        Fault::Status(500),
        Fault::Slow(60 * MINUTE),
        Fault::Cut,
    ] {
        let api = FakeApi::start().await;
        let replica = Replica::of(&api);
        api.events(|events| events.create_fault = Some(fault));
        for _ in 0..300 {
            replica.refuse("api", Cause::WrongSubject);
            replica.refuse("worker", Cause::WrongSubject);
            sleep(Duration::from_secs(1)).await;
        }
        let tried = calls(&api).len();
        assert!((3..20).contains(&tried), "{fault:?}: {tried} requests in five minutes");
        api.events(|events| events.create_fault = None);
        sleep(2 * MINUTE).await;
        let events = stored(&api);
        assert_eq!(events.len(), 2, "{fault:?}");
        assert!(
            events.iter().all(|event| event["series"]["count"] == 300),
            "{events:#?}"
        );
        let metrics = replica.ends().await;
        assert_eq!(counted(&metrics, "failed"), tried as u64);
    }
}

#[tokio::test(start_paused = true)]
async fn a_missing_right_to_patch_does_not_hold_up_new_events() {
    let api = FakeApi::start().await;
    let replica = Replica::of(&api);
    api.events(|events| events.patch_fault = Some(Fault::Status(403)));
    for number in 0..20 {
        replica.refuse("api", Cause::WrongSubject);
        replica.refuse(&format!("sa-{number}"), Cause::WrongSubject);
        sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(stored(&api).len(), 21);
    let patches = calls(&api).iter().filter(|verb| **verb == "patch").count();
    assert!(patches < 8, "{patches}");
    replica.ends().await;
}

#[tokio::test(start_paused = true)]
async fn a_terminating_namespace_gets_no_events_after_one_attempt() {
    let api = FakeApi::start().await;
    let replica = Replica::of(&api);
    api.events(|events| events.terminating.push("jobs".to_owned()));
    for _ in 0..100 {
        replica.refuse("api", Cause::WrongSubject);
        sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(calls(&api), ["create"]);
    assert_eq!(counted(&*replica.ends().await, "failed"), 0);
}

#[tokio::test(start_paused = true)]
async fn an_unknown_uid_is_read_once_per_series() {
    let api = FakeApi::start().await;
    api.put_account("jobs", "api", &[]);
    let replica = Replica::of(&api);
    for account in ["api", "missing"] {
        for _ in 0..50 {
            replica.events.record(&Refusal {
                namespace: "jobs",
                service_account: account,
                uid: None,
                cause: Some(Cause::Conflict),
                message: REFUSED,
            });
        }
        sleep(Duration::from_secs(6)).await;
    }
    let events = stored(&api);
    assert_eq!(events.len(), 1, "a ServiceAccount that does not exist has no Events");
    assert_eq!(events[0]["regarding"]["uid"], "uid-of-jobs-api");
    assert_eq!(events[0]["series"]["count"], 50);
    assert_eq!(api.asked().gets, 2);
    replica.ends().await;
}

#[tokio::test(start_paused = true)]
async fn many_service_accounts_at_once_are_reported_at_a_limited_rate() {
    let api = FakeApi::start().await;
    let replica = Replica::of(&api);
    let namespaces = with_namespaces(&api, &replica, 10).await;
    for number in 0..200 {
        let namespace = &namespaces[number % 10];
        replica.refuse_in(namespace, &format!("sa-{number}"), Cause::WrongSubject, REFUSED);
    }
    sleep(Duration::from_secs(1)).await;
    let at_once = calls(&api).len();
    assert!((50..=65).contains(&at_once), "{at_once}");
    sleep(Duration::from_secs(20)).await;
    assert_eq!(stored(&api).len(), 200);
    replica.ends().await;
}

/// Namespaces that exist, and that the replica knows.
async fn with_namespaces(api: &FakeApi, replica: &Replica, count: usize) -> Vec<String> {
    let names: Vec<String> = (0..count).map(|number| format!("jobs-{number}")).collect();
    for name in &names {
        api.put_namespace(name, &[]);
    }
    replica.knows(&names).await;
    names
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_one_namespace_neither_delays_nor_displaces_the_events_of_others() {
    let api = FakeApi::start().await;
    let replica = Replica::of(&api);
    let namespaces = with_namespaces(&api, &replica, 2).await;
    for round in 0..4 {
        for number in 0..1000 {
            let account = format!("forged-{round}-{number}");
            replica.refuse_in(&namespaces[0], &account, Cause::WrongSubject, REFUSED);
        }
        a_moment().await;
    }
    replica.refuse_in(&namespaces[1], "api", Cause::WrongSubject, REFUSED);
    sleep(Duration::from_secs(1)).await;
    let about = |events: &[Value], namespace: &str| {
        let of_namespace = |event: &&Value| event["metadata"]["namespace"] == namespace;
        events.iter().filter(of_namespace).count()
    };
    assert_eq!(about(&stored(&api), &namespaces[1]), 1);
    let before = about(&stored(&api), &namespaces[0]);
    assert!((25..=30).contains(&before), "{before}");
    sleep(MINUTE).await;
    let more = about(&stored(&api), &namespaces[0]) - before;
    assert!((55..=65).contains(&more), "{more} in a minute");
    replica.ends().await;
}

/// A forged review can name any namespace, so those that are not known to exist share the pace of one.
#[tokio::test(start_paused = true)]
async fn refusals_in_namespaces_that_do_not_exist_share_one_pace() {
    let api = FakeApi::start().await;
    let replica = Replica::of(&api);
    let namespaces = with_namespaces(&api, &replica, 1).await;
    for number in 0..200 {
        replica.refuse_in(&format!("invented-{number}"), "api", Cause::WrongSubject, REFUSED);
    }
    replica.refuse_in(&namespaces[0], "api", Cause::WrongSubject, REFUSED);
    sleep(Duration::from_secs(1)).await;
    let about_known = |event: &&Value| event["metadata"]["namespace"] == *namespaces[0];
    assert_eq!(stored(&api).iter().filter(about_known).count(), 1);
    let at_once = calls(&api).len();
    assert!((25..=30).contains(&at_once), "{at_once}");
    sleep(Duration::from_secs(20)).await;
    let more = calls(&api).len() - at_once;
    assert!((15..=25).contains(&more), "{more} in 20 s");
    replica.ends().await;
}

#[tokio::test(start_paused = true)]
async fn refusals_that_do_not_fit_the_queue_are_counted_without_waiting() {
    let api = FakeApi::start().await;
    let replica = Replica::of(&api);
    // The writer does not run in between, so it takes none of them.
    for _ in 0..1500 {
        replica.refuse("api", Cause::WrongSubject);
    }
    let metrics = replica.ends().await;
    assert_eq!(counted(&metrics, "dropped"), 1500 - 1024);
    assert_eq!(stored(&api)[0]["series"]["count"], 1024);
}

#[tokio::test(start_paused = true)]
async fn the_longest_names_make_an_event_that_is_taken() {
    let api = FakeApi::start().await;
    let replica = Replica::of(&api);
    let long = format!("{}.{}", "a".repeat(235), "b".repeat(17));
    for account in [long.as_str(), "a", "a.b-c"] {
        replica.refuse_saying(account, Cause::WrongSubject, &"é".repeat(5000));
    }
    sleep(Duration::from_secs(1)).await;
    assert_eq!(stored(&api).len(), 3);
    replica.ends().await;
}
