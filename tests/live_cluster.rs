//! The watches and reads of a live cluster, against a Kubernetes API served over HTTP.

mod support;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use rolegate::decision::{Mode, RequireRole};
use rolegate::kubernetes::client;
use rolegate::kubernetes::identity_map::IdentityMap;
use rolegate::kubernetes::issuer;
use rolegate::kubernetes::list_watch::WatchTiming;
use rolegate::kubernetes::namespaces::{GATE_LABEL, GateLabel, Namespaces, REQUIRE_ROLE_LABEL, RequireRoleLabel};
use rolegate::kubernetes::service_accounts::live::LiveServiceAccounts;
use rolegate::kubernetes::service_accounts::{Counts, Fetched, Stored};
use rolegate::pod::identity::AnnotationRules;
use support::fake_api::{FakeApi, Fault, Watches};
use tokio::time::{Instant, sleep, timeout};

const ROLE_ARN: &str = "eks.amazonaws.com/role-arn";

/// How long a test waits for what must happen: long enough for a busy machine, since no test may fail on time alone.
const PATIENCE: Duration = Duration::from_secs(60);

fn arn(role: &str) -> String {
    format!("arn:aws:iam::111122223333:role/{role}")
}

fn rules() -> Arc<AnnotationRules> {
    Arc::new(AnnotationRules {
        prefix: "eks.amazonaws.com/".to_owned(),
        compose: None,
    })
}

fn quick() -> WatchTiming {
    WatchTiming {
        shortest_pause: Duration::from_millis(5),
        longest_pause: Duration::from_millis(50),
        ..WatchTiming::default()
    }
}

fn start(api: &FakeApi, timing: WatchTiming) -> LiveServiceAccounts {
    LiveServiceAccounts::start(client(&api.config()).unwrap(), rules(), timing)
}

async fn synced(api: &FakeApi, timing: WatchTiming) -> LiveServiceAccounts {
    let accounts = start(api, timing);
    timeout(PATIENCE, accounts.synced())
        .await
        .expect("the first list is complete");
    accounts
}

async fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let waiting = async {
        while !is_so() {
            sleep(Duration::from_millis(2)).await;
        }
    };
    assert!(timeout(PATIENCE, waiting).await.is_ok(), "never happened: {what}");
}

fn soon() -> Instant {
    Instant::now() + PATIENCE
}

fn role_of(stored: &Stored) -> Option<String> {
    match stored {
        Stored::Identity(identity) => identity.role().map(ToString::to_string),
        Stored::Missing | Stored::Plain => None,
    }
}

fn fetched_role(fetched: &Fetched) -> Option<String> {
    match fetched {
        Fetched::Found { identity, .. } => identity.as_ref()?.role().map(ToString::to_string),
        other => panic!("{other:?}"),
    }
}

fn reason(fetched: Fetched) -> String {
    match fetched {
        Fetched::Unavailable(reason) => reason,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_list_of_several_pages_is_known_when_synced() {
    let api = FakeApi::start().await;
    for number in 0..1_234 {
        let (namespace, name) = (format!("team-{}", number % 7), format!("job-{number}"));
        match number % 3 {
            0 => api.put_account(&namespace, &name, &[(ROLE_ARN, &arn(&format!("role-{}", number % 10)))]),
            1 => api.put_account(&namespace, &name, &[]),
            _ => api.put_account(&namespace, &name, &[(ROLE_ARN, "no-arn")]),
        }
    }
    let accounts = start(&api, quick());
    assert!(!accounts.is_synced());
    assert_eq!(accounts.stored("team-0", "job-0"), Stored::Missing);
    timeout(PATIENCE, accounts.synced()).await.unwrap();

    assert_eq!(role_of(&accounts.stored("team-3", "job-3")).unwrap(), arn("role-3"));
    assert_eq!(accounts.stored("team-1", "job-1"), Stored::Plain);
    assert!(matches!(accounts.stored("team-2", "job-2"), Stored::Identity(identity) if identity.role().is_none()));
    assert_eq!(accounts.stored("team-3", "job-2"), Stored::Missing);
    assert_eq!(
        accounts.counts(),
        Counts {
            with_role: 412,
            malformed: 411,
            without_role: 411
        }
    );
    let mut roles = Vec::new();
    accounts.for_each_role(&mut |role| roles.push(role.to_string()));
    roles.sort();
    assert_eq!(
        roles,
        (0..10).map(|number| arn(&format!("role-{number}"))).collect::<Vec<_>>(),
        "each role once"
    );
    assert_eq!((api.asked().lists, api.asked().pages), (1, 3));
    assert_eq!(api.asked().whole, 0, "only metadata is asked for");
    accounts.stop().await;
}

#[tokio::test]
async fn the_watch_follows_creation_change_and_deletion() {
    let api = FakeApi::start().await;
    let accounts = synced(&api, quick()).await;
    api.put_account("jobs", "trainer", &[(ROLE_ARN, &arn("first"))]);
    eventually("created", || {
        role_of(&accounts.stored("jobs", "trainer")) == Some(arn("first"))
    })
    .await;
    api.put_account("jobs", "trainer", &[(ROLE_ARN, &arn("second"))]);
    eventually("changed", || {
        role_of(&accounts.stored("jobs", "trainer")) == Some(arn("second"))
    })
    .await;
    api.put_account("jobs", "trainer", &[]);
    eventually("annotation removed", || {
        accounts.stored("jobs", "trainer") == Stored::Plain
    })
    .await;
    assert_eq!(
        accounts.counts(),
        Counts {
            with_role: 0,
            malformed: 0,
            without_role: 1
        }
    );
    api.delete_account("jobs", "trainer");
    eventually("deleted", || accounts.stored("jobs", "trainer") == Stored::Missing).await;
    assert_eq!(accounts.counts(), Counts::default());
    assert_eq!(api.asked().lists, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_1000_service_accounts_each_followed_at_once_by_its_lookup_1000_are_found() {
    let api = FakeApi::start().await;
    let accounts = synced(&api, quick()).await;
    let (api, accounts) = (&api, &accounts);
    let lookups = (0..1_000).map(|number| async move {
        let (name, role) = (format!("job-{number}"), arn(&format!("role-{number}")));
        api.put_account("jobs", &name, &[(ROLE_ARN, &role)]);
        let found = match accounts.stored("jobs", &name) {
            Stored::Missing => fetched_role(&accounts.fetch("jobs", &name, soon()).await),
            stored => role_of(&stored),
        };
        usize::from(found == Some(role))
    });
    assert_eq!(join_all(lookups).await.iter().sum::<usize>(), 1_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_1000_roles_changed_right_before_the_lookup_1000_are_the_new_ones() {
    let api = FakeApi::start().await;
    for number in 0..1_000 {
        api.put_account("jobs", &format!("job-{number}"), &[(ROLE_ARN, &arn("old"))]);
    }
    let accounts = synced(&api, quick()).await;
    // The watch never catches up, so only a GET can return the current state.
    api.hold_events();
    let (api, accounts) = (&api, &accounts);
    let lookups = (0..1_000).map(|number| async move {
        let (name, role) = (format!("job-{number}"), arn(&format!("role-{number}")));
        // Another caller's read is already in flight and must not be shared: it began before the change.
        let earlier = accounts.fetch("jobs", &name, soon());
        let later = async {
            tokio::task::yield_now().await;
            api.put_account("jobs", &name, &[(ROLE_ARN, &role)]);
            fetched_role(&accounts.fetch("jobs", &name, soon()).await)
        };
        let (_, later) = tokio::join!(earlier, later);
        usize::from(later == Some(role))
    });
    assert_eq!(join_all(lookups).await.iter().sum::<usize>(), 1_000);
    assert_eq!(
        role_of(&accounts.stored("jobs", "job-0")),
        Some(arn("old")),
        "the map is left to the watch"
    );
    api.release_events();
    eventually("the watch catches up", || {
        role_of(&accounts.stored("jobs", "job-999")) == Some(arn("role-999"))
    })
    .await;
}

#[tokio::test]
async fn a_burst_of_lookups_of_one_account_makes_two_gets() {
    let api = FakeApi::start().await;
    let accounts = synced(&api, quick()).await;
    api.hold_events();
    api.put_account("jobs", "trainer", &[]);
    api.fail_gets(Some(Fault::Slow(Duration::from_millis(300))));
    let first = accounts.fetch("jobs", "trainer", soon());
    let burst = async {
        eventually("the first GET is in flight", || api.asked().gets == 1).await;
        join_all((0..100).map(|_| accounts.fetch("jobs", "trainer", soon()))).await
    };
    let (first, burst) = tokio::join!(first, burst);
    let found = Fetched::Found {
        uid: Some("uid-of-jobs-trainer".into()),
        identity: None,
    };
    assert_eq!(first, found);
    assert!(burst.iter().all(|fetched| *fetched == found));
    assert_eq!(api.asked().gets, 2);
}

#[tokio::test]
async fn a_caller_that_gives_up_does_not_cancel_the_read_of_the_others() {
    let api = FakeApi::start().await;
    let accounts = synced(&api, quick()).await;
    api.put_account("jobs", "trainer", &[]);
    api.fail_gets(Some(Fault::Slow(Duration::from_millis(300))));
    let (hasty, patient) = tokio::join!(
        accounts.fetch("jobs", "trainer", Instant::now() + Duration::from_millis(50)),
        accounts.fetch("jobs", "trainer", soon())
    );
    assert!(reason(hasty).contains("GET ServiceAccount jobs/trainer: the API server did not respond in time"));
    assert!(matches!(patient, Fetched::Found { .. }));
    assert_eq!(api.asked().gets, 1);
}

/// ServiceAccounts whose GETs are shared between these namespaces.
async fn shared_between(api: &FakeApi, names: &[String]) -> LiveServiceAccounts {
    for name in names {
        api.put_namespace(name, &[]);
    }
    let namespaces = Arc::new(Namespaces::start(client(&api.config()).unwrap(), quick()));
    eventually("every namespace is known", || {
        names.iter().all(|name| namespaces.contains(name))
    })
    .await;
    synced(api, quick()).await.shared_between(namespaces)
}

#[tokio::test]
async fn concurrency_is_limited_and_the_rest_wait_or_are_busy() {
    let api = FakeApi::start().await;
    let namespaces: Vec<String> = (0..300).map(|number| format!("jobs-{number}")).collect();
    let accounts = shared_between(&api, &namespaces).await;
    api.fail_gets(Some(Fault::Slow(Duration::from_secs(2))));
    let deadline = Instant::now() + Duration::from_millis(500);
    let fetched = join_all(namespaces.iter().map(|name| accounts.fetch(name, "default", deadline))).await;
    let busy = fetched.iter().filter(|fetched| **fetched == Fetched::Busy).count();
    let unavailable = fetched
        .iter()
        .filter(|fetched| matches!(fetched, Fetched::Unavailable(_)))
        .count();
    assert_eq!(
        (busy + unavailable, api.asked().gets_at_once),
        (300, 64),
        "{busy} busy, {unavailable} unavailable"
    );
    assert!(busy >= 100, "{busy} busy, {unavailable} unavailable");

    api.fail_gets(None);
    let fetched = join_all(namespaces.iter().map(|name| accounts.fetch(name, "default", soon()))).await;
    assert!(
        fetched.iter().all(|fetched| *fetched == Fetched::NotFound),
        "turns were given back"
    );
    assert_eq!(api.asked().gets_at_once, 64);
}

#[tokio::test]
async fn a_flood_for_one_namespace_leaves_gets_for_another() {
    let api = FakeApi::start().await;
    let accounts = shared_between(&api, &["flooded".to_owned(), "calm".to_owned()]).await;
    api.put_account("calm", "trainer", &[]);
    // No GET of the flood ends before the question about the other namespace is answered.
    api.fail_gets(Some(Fault::Slow(Duration::from_secs(3600))));
    let names: Vec<String> = (0..1000).map(|number| format!("forged-{number}")).collect();
    let deadline = Instant::now() + Duration::from_secs(5);
    let flood = join_all(names.iter().map(|name| accounts.fetch("flooded", name, deadline)));
    let calm = async {
        eventually("the flood has as many GETs as it can have", || api.asked().gets == 32).await;
        api.fail_gets(None);
        accounts.fetch("calm", "trainer", deadline).await
    };
    let (flood, calm) = tokio::join!(flood, calm);
    assert!(matches!(calm, Fetched::Found { .. }), "{calm:?}");
    assert!(!flood.contains(&Fetched::NotFound), "answered");
    assert_eq!(api.asked().gets, 33);
}

#[tokio::test]
async fn gets_have_a_pace_per_namespace_and_invented_namespaces_have_one_together() {
    let api = FakeApi::start().await;
    let accounts = shared_between(&api, &["jobs".to_owned()]).await;
    // At most a burst, and what the pace allows until the deadlines: half of the time is for the answer.
    let allowed = |from: Instant| 1000 + from.elapsed().as_millis() as usize / 5 + 50;
    for invented in [false, true] {
        let before = api.asked().gets;
        let from = Instant::now();
        for round in 0..40 {
            let fetched = (0..100).map(|number| {
                let accounts = &accounts;
                let namespace = if invented {
                    format!("invented-{round}-{number}")
                } else {
                    "jobs".to_owned()
                };
                let name = format!("forged-{round}-{number}");
                async move {
                    accounts
                        .fetch(&namespace, &name, Instant::now() + Duration::from_millis(100))
                        .await
                }
            });
            join_all(fetched).await;
        }
        let gets = api.asked().gets - before;
        assert!(gets >= 50, "{gets}");
        assert!(gets <= allowed(from), "{gets} of 4000 reviews, invented: {invented}");
    }
}

#[tokio::test]
async fn errors_of_the_api_server_are_unavailable_and_never_not_found() {
    let api = FakeApi::start().await;
    let accounts = synced(&api, quick()).await;
    for (fault, expected) in [
        (
            Fault::Status(403),
            "403 Forbidden: serviceaccounts is forbidden: User \"x\" cannot; rolegate needs `get`",
        ),
        (Fault::Status(429), "429 TooManyRequests"),
        (Fault::Status(500), "500 InternalError: something is broken"),
        (Fault::Status(503), "503 InternalError"),
        (Fault::Cut, "GET ServiceAccount jobs/trainer: "),
    ] {
        api.fail_gets(Some(fault));
        let before = api.asked().gets;
        let reason = reason(accounts.fetch("jobs", "trainer", soon()).await);
        assert!(
            reason.starts_with("GET ServiceAccount jobs/trainer: ") && reason.contains(expected),
            "{fault:?}: {reason}"
        );
        assert_eq!(reason.lines().count(), 1, "{reason}");
        assert_eq!(api.asked().gets, before + 1, "{fault:?}: not asked again");
    }
    api.fail_gets(None);
    assert_eq!(accounts.fetch("jobs", "trainer", soon()).await, Fetched::NotFound);
}

#[tokio::test]
async fn a_lookup_ends_by_its_deadline() {
    let api = FakeApi::start().await;
    let accounts = synced(&api, quick()).await;
    api.fail_gets(Some(Fault::Slow(Duration::from_secs(3600))));
    let deadline = Instant::now() + Duration::from_millis(100);
    let fetched = timeout(PATIENCE, accounts.fetch("jobs", "trainer", deadline))
        .await
        .expect("over by its deadline");
    assert!(reason(fetched).contains("in time"));
}

#[tokio::test]
async fn invalid_names_are_not_found_without_a_request() {
    let api = FakeApi::start().await;
    let accounts = synced(&api, quick()).await;
    for (namespace, name) in [
        ("jobs", "../../secrets/x"),
        ("jobs", "a/b"),
        ("jobs", "a?watch=true"),
        ("a/b", "c"),
        ("jobs", ""),
        ("", "a"),
    ] {
        assert_eq!(
            accounts.fetch(namespace, name, soon()).await,
            Fetched::NotFound,
            "{namespace} {name}"
        );
    }
    assert_eq!(api.asked().gets, 0);
}

#[tokio::test]
async fn without_the_api_server_memory_still_answers_and_lookups_are_unavailable() {
    let mut api = FakeApi::start().await;
    api.put_account("jobs", "trainer", &[(ROLE_ARN, &arn("first"))]);
    let accounts = synced(&api, quick()).await;
    eventually("the watch is open", || accounts.is_current()).await;
    api.stop();
    eventually("the loss is noticed", || !accounts.is_current()).await;

    assert_eq!(role_of(&accounts.stored("jobs", "trainer")), Some(arn("first")));
    assert!(
        accounts.is_synced(),
        "a watch that fails later does not make it unready"
    );
    for name in ["trainer", "unknown"] {
        let reason = reason(accounts.fetch("jobs", name, soon()).await);
        assert!(
            reason.starts_with(&format!("GET ServiceAccount jobs/{name}: ")),
            "{reason}"
        );
    }

    api.restart().await;
    api.put_account("jobs", "trainer", &[(ROLE_ARN, &arn("second"))]);
    eventually("it recovers on its own", || {
        role_of(&accounts.stored("jobs", "trainer")) == Some(arn("second"))
    })
    .await;
    assert!(accounts.is_current());
}

#[tokio::test]
async fn it_starts_without_an_api_server_and_syncs_when_it_is_up() {
    let mut api = FakeApi::start().await;
    api.put_account("jobs", "trainer", &[]);
    api.stop();
    let accounts = start(&api, quick());
    sleep(Duration::from_millis(100)).await;
    assert!(!accounts.is_synced());
    api.restart().await;
    timeout(PATIENCE, accounts.synced()).await.unwrap();
    assert_eq!(accounts.stored("jobs", "trainer"), Stored::Plain);
}

#[tokio::test]
async fn a_watch_that_is_cut_resumes_where_it_was() {
    let api = FakeApi::start().await;
    let accounts = synced(&api, quick()).await;
    api.put_account("jobs", "a", &[]);
    eventually("a is seen", || accounts.stored("jobs", "a") == Stored::Plain).await;
    let seen = api.version();
    api.cut_watches();
    api.put_account("jobs", "b", &[]);
    eventually("b is seen", || accounts.stored("jobs", "b") == Stored::Plain).await;
    assert_eq!(api.asked().lists, 1, "no list is needed");
    assert!(api.watched_from().contains(&seen), "{seen}: {:?}", api.watched_from());
}

#[tokio::test]
async fn a_bookmark_moves_the_version_that_a_watch_resumes_from() {
    let api = FakeApi::start().await;
    api.set_watches(Watches::Bookmarked(Duration::from_millis(20)));
    let accounts = synced(&api, quick()).await;
    // Versions advance without an event for a ServiceAccount.
    api.put_config_map("kube-system", "unrelated", &[]);
    let far = api.version();
    eventually("a bookmark says so", || api.asked().bookmarked == far).await;
    api.cut_watches();
    eventually("the watch is opened again", || api.watched_from().last() == Some(&far)).await;
    assert_eq!(api.asked().lists, 1);
    assert!(accounts.is_synced());
}

#[tokio::test]
async fn after_410_everything_is_listed_again_and_swapped_in() {
    let api = FakeApi::start().await;
    for number in 0..600 {
        api.put_account("jobs", &format!("job-{number}"), &[(ROLE_ARN, &arn("old"))]);
    }
    let accounts = synced(&api, quick()).await;
    eventually("the watch is open", || accounts.is_current()).await;
    // These changes are not sent, and are compacted before they can be.
    api.hold_events();
    api.delete_account("jobs", "job-0");
    api.put_account("jobs", "job-1", &[(ROLE_ARN, &arn("new"))]);
    api.put_account("jobs", "new", &[]);
    api.fail_lists(Some(Fault::Slow(Duration::from_millis(100))));
    api.compact();
    api.release_events();
    eventually("a list begins", || api.asked().lists == 2).await;
    assert!(accounts.is_synced());
    assert_ne!(
        accounts.stored("jobs", "job-599"),
        Stored::Missing,
        "known objects stay known during the list"
    );
    eventually("deleted objects are gone", || {
        accounts.stored("jobs", "job-0") == Stored::Missing
    })
    .await;
    assert_eq!(role_of(&accounts.stored("jobs", "job-1")), Some(arn("new")));
    assert_eq!(accounts.stored("jobs", "new"), Stored::Plain);
    assert_eq!(
        accounts.counts(),
        Counts {
            with_role: 599,
            malformed: 0,
            without_role: 1
        }
    );

    api.put_account("jobs", "later", &[]);
    eventually("the watch continues", || {
        accounts.stored("jobs", "later") == Stored::Plain
    })
    .await;
}

#[tokio::test]
async fn a_list_whose_continue_token_expires_is_started_again() {
    let api = FakeApi::start().await;
    for number in 0..1_100 {
        api.put_account("jobs", &format!("job-{number}"), &[]);
    }
    api.expire_continue_token();
    let accounts = synced(&api, quick()).await;
    assert_eq!(accounts.counts().without_role, 1_100);
    assert_eq!(api.asked().lists, 2);
}

#[tokio::test]
async fn a_silent_watch_is_opened_again_and_lookups_ask_until_then() {
    let api = FakeApi::start().await;
    let accounts = synced(
        &api,
        WatchTiming {
            silence: Duration::from_millis(300),
            ..quick()
        },
    )
    .await;
    eventually("the watch is open", || accounts.is_current()).await;
    api.set_watches(Watches::Silent);
    api.put_account("jobs", "trainer", &[(ROLE_ARN, &arn("first"))]);
    assert_eq!(accounts.stored("jobs", "trainer"), Stored::Missing);
    let fetched = accounts.fetch("jobs", "trainer", soon()).await;
    assert_eq!(fetched_role(&fetched), Some(arn("first")));

    let watches = api.asked().watches;
    eventually("it is opened again", || api.asked().watches > watches).await;
    eventually("it is known to lag", || !accounts.is_current()).await;
    api.set_watches(Watches::Bookmarked(Duration::from_millis(50)));
    eventually("it catches up", || {
        role_of(&accounts.stored("jobs", "trainer")) == Some(arn("first"))
    })
    .await;
    eventually("it is known to follow", || accounts.is_current()).await;
    assert_eq!(api.asked().lists, 1);
}

#[tokio::test]
async fn bookmarks_keep_a_watch_in_which_nothing_happens_open() {
    let api = FakeApi::start().await;
    api.set_watches(Watches::Bookmarked(Duration::from_millis(50)));
    let accounts = synced(
        &api,
        WatchTiming {
            silence: Duration::from_secs(20),
            ..quick()
        },
    )
    .await;
    eventually("the watch is open", || accounts.is_current()).await;
    sleep(Duration::from_millis(600)).await;
    assert_eq!(api.asked().watches, 1);
}

#[tokio::test]
async fn a_failing_watch_is_retried_with_growing_pauses() {
    let api = FakeApi::start().await;
    api.set_watches(Watches::Refused(500));
    let timing = WatchTiming {
        shortest_pause: Duration::from_millis(100),
        longest_pause: Duration::from_secs(10),
        ..WatchTiming::default()
    };
    let begun = Instant::now();
    let accounts = synced(&api, timing).await;
    eventually("six attempts", || api.asked().watches >= 6).await;
    // Of pauses of 100, 200, 400, 800 and 1600 ms, jitter takes off at most half.
    assert!(begun.elapsed() >= Duration::from_millis(1500), "{:?}", begun.elapsed());
    assert!(!accounts.is_current());
    api.set_watches(Watches::Bookmarked(Duration::from_secs(60)));
    api.put_account("jobs", "trainer", &[]);
    eventually("it follows again", || {
        accounts.stored("jobs", "trainer") == Stored::Plain
    })
    .await;
}

#[tokio::test]
async fn stopping_ends_every_task() {
    let api = FakeApi::start().await;
    let accounts = synced(&api, quick()).await;
    timeout(PATIENCE, accounts.stop()).await.expect("stopped");
    let before = api.asked();
    api.cut_watches();
    sleep(Duration::from_millis(100)).await;
    assert_eq!(api.asked(), before);
}

async fn map_of(api: &FakeApi, timing: WatchTiming) -> IdentityMap {
    let map = IdentityMap::start(
        client(&api.config()).unwrap(),
        "kube-system",
        "pod-identity-webhook",
        rules(),
        timing,
    );
    timeout(PATIENCE, map.synced()).await.unwrap();
    map
}

fn mapped(map: &IdentityMap, namespace: &str, name: &str) -> Option<String> {
    map.lookup(namespace, name)?.role().map(ToString::to_string)
}

#[tokio::test]
async fn the_identity_map_follows_its_config_map_and_keeps_its_last_good_content() {
    let api = FakeApi::start().await;
    api.put_config_map("kube-system", "other", &[("config", "{}")]);
    let map = map_of(&api, quick()).await;
    assert_eq!(mapped(&map, "jobs", "trainer"), None);

    let put = |config: &str| api.put_config_map("kube-system", "pod-identity-webhook", &[("config", config)]);
    put(&format!(
        r#"{{"jobs/trainer": {{"RoleARN": "{}"}}, "*/reader": {{"roleArn": "{}", "Audience": "", "TokenExpiration": 0}},
            "jobs/reader": {{"RoleARN": "{}", "UseRegionalSTS": true, "TokenExpiration": 3600}}}}"#,
        arn("trainer"),
        arn("any-reader"),
        arn("reader")
    ));
    eventually("created", || mapped(&map, "jobs", "trainer") == Some(arn("trainer"))).await;
    assert_eq!(
        mapped(&map, "jobs", "reader"),
        Some(arn("reader")),
        "the namespace's own wins"
    );
    assert_eq!(mapped(&map, "elsewhere", "reader"), Some(arn("any-reader")));
    assert_eq!(mapped(&map, "elsewhere", "trainer"), None);

    for (bad, failures) in [
        ("{\"jobs/trainer\": ", 1),
        (r#"{"trainer": {"RoleARN": "x"}}"#, 2),
        (r#"{"jobs/trainer": {"RoleARN": 7}}"#, 3),
        (r#"{"jobs/trainer": {"RoleARN": "x", "TokenExpiration": "1h"}}"#, 4),
        ("[]", 5),
        ("", 6),
    ] {
        put(bad);
        eventually(bad, || map.reload_failures() == failures).await;
        assert_eq!(mapped(&map, "jobs", "trainer"), Some(arn("trainer")), "{bad}");
    }

    put(&format!(r#"{{"jobs/trainer": {{"RoleARN": "{}"}}}}"#, arn("second")));
    eventually("fixed", || mapped(&map, "jobs", "trainer") == Some(arn("second"))).await;
    assert_eq!(mapped(&map, "elsewhere", "reader"), None);
    api.delete_config_map("kube-system", "pod-identity-webhook");
    eventually("deleted", || mapped(&map, "jobs", "trainer").is_none()).await;
    assert_eq!(map.reload_failures(), 6);
    timeout(PATIENCE, map.stop()).await.unwrap();
}

async fn discovered(api: &FakeApi) -> Result<String, String> {
    let client = client(&api.config()).unwrap();
    let issuer: std::pin::Pin<Box<dyn Future<Output = _>>> = Box::pin(issuer::discover(&client, soon()));
    issuer
        .await
        .map(|issuer| issuer.as_str().to_owned())
        .map_err(|error| error.to_string())
}

#[tokio::test]
async fn the_issuer_is_what_the_api_server_publishes() {
    let api = FakeApi::start().await;
    let issuer = "oidc.eks.us-west-2.amazonaws.com/id/EXAMPLED539D4633E53DE1B71EXAMPLE";
    api.set_discovery(Some(&format!(
        r#"{{"issuer": "https://{issuer}", "jwks_uri": "https://x/jwks"}}"#
    )));
    assert_eq!(discovered(&api).await.unwrap(), issuer);
    for document in [None, Some("{}"), Some("<html>"), Some(r#"{"issuer": ""}"#)] {
        api.set_discovery(document);
        let error = discovered(&api).await.unwrap_err();
        assert!(
            error.contains("/.well-known/openid-configuration") && error.contains("--issuer"),
            "{error}"
        );
    }
}

const ENFORCED: Option<RequireRoleLabel> = Some(RequireRoleLabel::Valid(RequireRole::Enforce));
const WARNED: Option<RequireRoleLabel> = Some(RequireRoleLabel::Valid(RequireRole::Warn));

async fn namespaces(api: &FakeApi, timing: WatchTiming) -> Namespaces {
    let namespaces = Namespaces::start(client(&api.config()).unwrap(), timing);
    eventually("Namespaces are listed", || namespaces.is_ready()).await;
    namespaces
}

/// Waits until the watch has reported a namespace: the label is answered without a GET.
async fn known(api: &FakeApi, namespaces: &Namespaces, name: &str, label: Option<RequireRoleLabel>) {
    let waiting = async {
        loop {
            let gets = api.asked().gets;
            let read = namespaces.require_role(name, soon()).await;
            if read == label && api.asked().gets == gets {
                return;
            }
            sleep(Duration::from_millis(2)).await;
        }
    };
    assert!(
        timeout(PATIENCE, waiting).await.is_ok(),
        "never known: {name} {label:?}"
    );
}

#[tokio::test]
async fn labels_of_listed_namespaces_are_known_without_a_get() {
    let api = FakeApi::start().await;
    for number in 0..1_234 {
        api.put_namespace(&format!("plain-{number}"), &[]);
    }
    api.put_namespace("strict", &[(REQUIRE_ROLE_LABEL, "enforce"), (GATE_LABEL, "audit")]);
    api.put_namespace("lenient", &[(REQUIRE_ROLE_LABEL, "warn")]);
    api.put_namespace("misspelled", &[(REQUIRE_ROLE_LABEL, "on"), (GATE_LABEL, "on")]);
    let namespaces = namespaces(&api, quick()).await;

    for (name, label, mode) in [
        ("plain-1233", None, None),
        ("strict", ENFORCED, Some(GateLabel::Mode(Mode::Audit))),
        ("lenient", WARNED, None),
        (
            "misspelled",
            Some(RequireRoleLabel::Misspelled),
            Some(GateLabel::Misspelled),
        ),
    ] {
        assert_eq!(namespaces.require_role(name, soon()).await, label, "{name}");
        assert_eq!(namespaces.gate(name, soon()).await, mode, "{name}");
    }
    assert_eq!((api.asked().pages, api.asked().gets), (3, 0));
    assert_eq!(api.asked().whole, 0, "only metadata is requested");
    namespaces.stop().await;
}

#[tokio::test]
async fn the_watch_follows_the_labels_of_namespaces() {
    let api = FakeApi::start().await;
    let namespaces = namespaces(&api, quick()).await;
    api.put_namespace("jobs", &[]);
    known(&api, &namespaces, "jobs", None).await;
    api.put_namespace("jobs", &[(REQUIRE_ROLE_LABEL, "enforce")]);
    known(&api, &namespaces, "jobs", ENFORCED).await;
    api.put_namespace("jobs", &[(REQUIRE_ROLE_LABEL, "warn")]);
    known(&api, &namespaces, "jobs", WARNED).await;
    api.put_namespace("jobs", &[]);
    known(&api, &namespaces, "jobs", None).await;

    api.put_namespace("jobs", &[(REQUIRE_ROLE_LABEL, "enforce")]);
    known(&api, &namespaces, "jobs", ENFORCED).await;
    api.delete("namespaces", "", "jobs");
    let deleted = async {
        while namespaces.require_role("jobs", soon()).await.is_some() {
            sleep(Duration::from_millis(2)).await;
        }
    };
    assert!(timeout(PATIENCE, deleted).await.is_ok(), "it stays after its deletion");
    namespaces.stop().await;
}

#[tokio::test]
async fn a_namespace_that_the_watch_has_not_reported_is_read() {
    let api = FakeApi::start().await;
    let namespaces = namespaces(&api, quick()).await;
    api.hold_events();
    api.put_namespace("new", &[(REQUIRE_ROLE_LABEL, "enforce"), (GATE_LABEL, "audit")]);
    assert_eq!(namespaces.require_role("new", soon()).await, ENFORCED);
    assert_eq!(namespaces.gate("new", soon()).await, Some(GateLabel::Mode(Mode::Audit)));
    assert_eq!(api.asked().gets, 2);

    // A burst shares a GET that began after it, and the one in flight does not count.
    api.fail_gets(Some(Fault::Slow(Duration::from_millis(100))));
    let burst = join_all((0..100).map(|_| namespaces.require_role("new", soon()))).await;
    assert_eq!(burst, vec![ENFORCED; 100]);
    assert!(api.asked().gets <= 4, "{:?}", api.asked());
    assert_eq!(api.asked().whole, 0, "only metadata is requested");
    namespaces.stop().await;
}

#[tokio::test]
async fn many_new_namespaces_are_not_all_read_at_once() {
    let api = FakeApi::start().await;
    let namespaces = namespaces(&api, quick()).await;
    api.hold_events();
    let names: Vec<String> = (0..100).map(|number| format!("new-{number}")).collect();
    for name in &names {
        api.put_namespace(name, &[(REQUIRE_ROLE_LABEL, "enforce")]);
    }
    api.fail_gets(Some(Fault::Slow(Duration::from_millis(20))));
    let read = join_all(names.iter().map(|name| namespaces.require_role(name, soon()))).await;
    assert_eq!(read, vec![ENFORCED; 100]);
    assert_eq!(api.asked().gets_at_once, 16);
    namespaces.stop().await;
}

#[tokio::test]
async fn before_a_refusal_the_label_is_read_again() {
    let api = FakeApi::start().await;
    api.put_namespace("jobs", &[(REQUIRE_ROLE_LABEL, "enforce")]);
    let namespaces = namespaces(&api, quick()).await;
    api.hold_events();
    api.put_namespace("jobs", &[]);
    assert_eq!(namespaces.require_role("jobs", soon()).await, ENFORCED, "from memory");
    assert_eq!(namespaces.read_require_role("jobs", soon()).await, Ok(None));
    api.fail_gets(Some(Fault::Status(500)));
    let why = namespaces.read_require_role("jobs", soon()).await.unwrap_err();
    assert!(why.contains("GET Namespace jobs: 500 InternalError"), "{why}");
    api.fail_gets(None);
    api.forbid(&["namespaces"]);
    let why = namespaces.read_require_role("jobs", soon()).await.unwrap_err();
    assert!(why.ends_with("; rolegate needs `get` on namespaces"), "{why}");
    namespaces.stop().await;
}

#[tokio::test]
async fn a_namespace_that_cannot_be_read_has_no_label_and_lookups_end_by_their_deadline() {
    let api = FakeApi::start().await;
    let namespaces = namespaces(&api, quick()).await;
    api.hold_events();
    api.put_namespace("new", &[(REQUIRE_ROLE_LABEL, "enforce"), (GATE_LABEL, "audit")]);
    for fault in [Fault::Status(500), Fault::Cut] {
        api.fail_gets(Some(fault));
        assert_eq!(namespaces.require_role("new", soon()).await, None, "{fault:?}");
        assert_eq!(namespaces.gate("new", soon()).await, None, "{fault:?}");
    }
    api.fail_gets(Some(Fault::Slow(PATIENCE * 2)));
    let asked = namespaces.require_role("new", Instant::now() + Duration::from_millis(50));
    assert_eq!(timeout(PATIENCE, asked).await, Ok(None));
    api.fail_gets(None);
    assert_eq!(namespaces.require_role("new", soon()).await, ENFORCED);
    namespaces.stop().await;
}

#[tokio::test]
async fn names_that_are_not_names_of_namespaces_are_never_requested() {
    let api = FakeApi::start().await;
    let namespaces = namespaces(&api, quick()).await;
    for name in ["", "..", "a/b", "a.b", "A", "a?b=c", &"a".repeat(64)] {
        assert_eq!(namespaces.require_role(name, soon()).await, None, "{name:?}");
    }
    assert_eq!(api.asked().gets, 0);
    namespaces.stop().await;
}

#[tokio::test]
async fn while_the_watch_is_lost_known_labels_stay_in_use_and_a_new_list_replaces_them() {
    let mut api = FakeApi::start().await;
    api.put_namespace("kept", &[(REQUIRE_ROLE_LABEL, "enforce")]);
    api.put_namespace("deleted", &[(REQUIRE_ROLE_LABEL, "enforce")]);
    let namespaces = namespaces(&api, quick()).await;
    api.stop();
    assert_eq!(namespaces.require_role("kept", soon()).await, ENFORCED);
    assert_eq!(namespaces.require_role("unheard-of", soon()).await, None);
    assert!(namespaces.is_ready(), "a lost watch makes nothing unready");

    api.put_namespace("kept", &[(REQUIRE_ROLE_LABEL, "warn")]);
    api.delete("namespaces", "", "deleted");
    api.compact();
    api.restart().await;
    known(&api, &namespaces, "kept", WARNED).await;
    assert_eq!(namespaces.require_role("deleted", soon()).await, None);
    assert_eq!(api.asked().lists, 2);
    namespaces.stop().await;
}

#[tokio::test]
async fn without_the_right_to_list_nothing_is_read_until_the_right_is_there() {
    let api = FakeApi::start().await;
    api.put_namespace("jobs", &[(REQUIRE_ROLE_LABEL, "enforce")]);
    api.forbid(&["namespaces"]);
    let namespaces = namespaces(&api, quick()).await;
    assert_eq!(namespaces.require_role("jobs", soon()).await, None);
    assert_eq!(api.asked().gets, 0, "a GET would be forbidden, too");
    api.forbid(&[]);
    known(&api, &namespaces, "jobs", ENFORCED).await;
    namespaces.stop().await;
}

#[tokio::test]
async fn a_list_that_fails_for_another_reason_is_awaited() {
    let api = FakeApi::start().await;
    api.put_namespace("jobs", &[(REQUIRE_ROLE_LABEL, "enforce")]);
    api.fail_lists(Some(Fault::Status(500)));
    let namespaces = Namespaces::start(client(&api.config()).unwrap(), quick());
    eventually("several lists", || api.asked().lists >= 3).await;
    assert!(!namespaces.is_ready());
    assert_eq!(namespaces.require_role("jobs", soon()).await, ENFORCED, "read");
    api.fail_lists(None);
    eventually("Namespaces are listed", || namespaces.is_ready()).await;
    namespaces.stop().await;
}
