//! What is reported when a role stops trusting a ServiceAccount, or trusts it again, against an API server that keeps Events as Kubernetes
//! does. Time is paused: nothing here waits.

mod support;

use std::collections::HashMap;
use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::{BoxFuture, ready};
use rolegate::kubernetes::container_credentials::ContainerCredentials;
use rolegate::kubernetes::list_watch::WatchTiming;
use rolegate::kubernetes::namespaces::Namespaces;
use rolegate::kubernetes::service_accounts::ServiceAccounts;
use rolegate::kubernetes::service_accounts::live::LiveServiceAccounts;
use rolegate::pod::identity::AnnotationRules;
use rolegate::roles::{Answer, Listing, Pace, ProviderAnswer, RoleCache, RoleCacheSettings, RoleDocument, RoleSource};
use rolegate::telemetry::events::{EventTiming, Events};
use rolegate::telemetry::metrics::{ByNamespace, Metrics};
use rolegate::trust::{Audience, Issuer, Origin, RoleArn};
use rolegate::verdicts::{Accounts, BATCH, Known, PAUSE, Settings, Verdicts};
use serde_json::{Value, json};
use support::fake_api::FakeApi;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

const ISSUER: &str = "https://oidc.eks.us-west-2.amazonaws.com/id/EXAMPLED539D4633E53DE1B71EXAMPLE";
const TTL: Duration = Duration::from_secs(60);
const GATED: (&str, &str) = ("rolegate.io/gate", "enforce");

/// Trust policies that the test changes, read from memory when they are due.
#[derive(Debug, Default)]
struct Roles {
    answers: Mutex<HashMap<String, Answer>>,
    /// None: providers are not read.
    provider: Mutex<Option<ProviderAnswer>>,
    reads: AtomicUsize,
}

impl Roles {
    fn answer(&self, role: &str, answer: Answer) {
        self.answers.lock().unwrap().insert(arn(role), answer);
    }

    /// From now on, the role trusts the ServiceAccount of this name in namespace `jobs`.
    fn trust(&self, role: &str, name: &str) {
        self.answer(role, trusting(name));
    }
}

impl RoleSource for Roles {
    fn name(&self) -> &'static str {
        "test"
    }

    fn read<'a>(&'a self, role: &'a RoleArn, _as_of: Instant) -> BoxFuture<'a, Answer> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        let answer = self.answers.lock().unwrap().get(role.as_str()).cloned();
        ready(answer.unwrap_or(Answer::NoSuchRole { hint: None })).boxed()
    }

    fn list(&self) -> Option<Listing<'_>> {
        None
    }

    fn reads_providers(&self) -> bool {
        self.provider.lock().unwrap().is_some()
    }

    fn provider<'a>(&'a self, _role: &'a RoleArn, _issuer: &'a Issuer) -> BoxFuture<'a, ProviderAnswer> {
        let answer = self.provider.lock().unwrap().clone();
        ready(answer.unwrap_or(ProviderAnswer::NotMine)).boxed()
    }

    fn changes(&self) -> Option<tokio::sync::watch::Receiver<u64>> {
        None
    }

    fn pace(&self) -> Pace {
        Pace::Memory
    }
}

fn arn(name: &str) -> String {
    format!("arn:aws:iam::111122223333:role/{name}")
}

fn trusting(name: &str) -> Answer {
    let issuer = ISSUER.trim_start_matches("https://");
    let policy = json!({"Version": "2012-10-17", "Statement": [{
        "Effect": "Allow",
        "Principal": {"Federated": format!("arn:aws:iam::111122223333:oidc-provider/{issuer}")},
        "Action": "sts:AssumeRoleWithWebIdentity",
        "Condition": {"StringLike": {
            format!("{issuer}:sub"): format!("system:serviceaccount:jobs:{name}"),
            format!("{issuer}:aud"): "sts.amazonaws.com",
        }},
    }]});
    Answer::Role(RoleDocument {
        origin: Origin::Stored,
        policy: policy.to_string().into(),
        tags: None,
    })
}

/// One replica of the webhook.
struct Replica {
    accounts: Arc<Accounts>,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
}

impl Replica {
    fn start(api: &FakeApi, roles: &Arc<Roles>) -> Self {
        Self::start_with(api, roles, ByNamespace::No, None)
    }

    fn start_with(
        api: &FakeApi,
        roles: &Arc<Roles>,
        by_namespace: ByNamespace,
        container_credentials: Option<Arc<ContainerCredentials>>,
    ) -> Self {
        let (rules, timing) = (
            AnnotationRules {
                prefix: "eks.amazonaws.com/".to_owned(),
                compose: None,
            },
            WatchTiming::default(),
        );
        let namespaces = Arc::new(Namespaces::start(api.client(), timing));
        let judged = Accounts::new();
        let accounts = LiveServiceAccounts::start_observed(
            api.client(),
            Arc::new(rules),
            WatchTiming::default(),
            Arc::<Accounts>::clone(&judged),
        )
        .shared_between(Arc::clone(&namespaces));
        let accounts = Arc::new(ServiceAccounts::Live(accounts));
        let issuer = Issuer::parse(ISSUER).unwrap();
        let cache = RoleCache::new(
            vec![Arc::<Roles>::clone(roles)],
            RoleCacheSettings {
                ttl: TTL,
                max_stale: 3 * TTL,
                read_timeout: Duration::from_millis(700),
                capacity: 10_000,
            },
        );
        cache.check_providers_of(issuer.clone());
        let metrics = Metrics::new(by_namespace);
        let (events, writer) = Events::new(
            api.client(),
            Arc::clone(&accounts),
            "rolegate-7d4b9-x2x4q",
            EventTiming::default(),
            metrics.events(),
        );
        let verdicts = Verdicts::new(
            Arc::clone(&judged),
            namespaces,
            Known {
                accounts: Arc::clone(&accounts),
                cache: Arc::clone(&cache),
                container_credentials,
                associations: None,
            },
            Settings {
                issuer,
                audience: Audience::new("sts.amazonaws.com"),
                prefix: "eks.amazonaws.com/".to_owned(),
                docs_url: None,
            },
            Arc::clone(&metrics),
            Some(events),
        );
        let stop = CancellationToken::new();
        let referenced = move || {
            let mut roles = Vec::new();
            accounts.for_each_role(&mut |role| roles.push(role.clone()));
            roles
        };
        let tasks = vec![
            tokio::spawn(writer.run(stop.clone())),
            tokio::spawn(cache.run(referenced, stop.clone())),
            tokio::spawn(verdicts.run(stop.clone())),
        ];
        Self {
            accounts: judged,
            metrics,
            stop,
            tasks,
        }
    }

    /// The series that are not zero, without the name of the metric.
    fn verdicts(&self) -> Vec<String> {
        let text = self.metrics.text();
        let series = text
            .lines()
            .filter_map(|line| line.strip_prefix("rolegate_service_account_verdicts"));
        series
            .filter(|line| !line.ends_with(" 0.0"))
            .map(str::to_owned)
            .collect()
    }

    async fn shows(&self, series: &[&str]) {
        let limit = Instant::now() + 10 * TTL;
        while self.verdicts() != series {
            assert!(Instant::now() < limit, "{:?} instead of {series:?}", self.verdicts());
            sleep(Duration::from_millis(100)).await;
        }
    }

    fn changes(&self, change: &str) -> u64 {
        let sample = format!("rolegate_trust_changes_total{{change=\"{change}\"}} ");
        let text = self.metrics.text();
        text.lines()
            .find_map(|line| line.strip_prefix(&sample)?.parse().ok())
            .unwrap_or_else(|| panic!("no {sample} in {text}"))
    }

    async fn ends(self) {
        self.stop.cancel();
        for task in self.tasks {
            task.await.unwrap();
        }
    }
}

const TRUSTED: &str = r#"{verdict="trusted",cause=""} 1.0"#;
const UNKNOWN: &str = r#"{verdict="unknown",cause=""} 1.0"#;
const LOST: &str = r#"{verdict="not-trusted",cause="wrong-subject"} 1.0"#;

/// An API server with one gated namespace, and a ServiceAccount in it.
async fn cluster() -> FakeApi {
    let api = FakeApi::start().await;
    api.put_namespace("jobs", &[GATED]);
    annotate(&api, "api", "api");
    api
}

fn annotate(api: &FakeApi, name: &str, role: &str) {
    api.put_account("jobs", name, &[("eks.amazonaws.com/role-arn", &arn(role))]);
}

fn stored(api: &FakeApi) -> Vec<Value> {
    api.events(|events| events.stored.clone())
}

fn reasons(api: &FakeApi) -> Vec<String> {
    let text = |event: &Value| event["reason"].as_str().unwrap().to_owned();
    stored(api).iter().map(text).collect()
}

/// Events are written by now.
async fn written() {
    sleep(Duration::from_secs(10)).await;
}

#[tokio::test(start_paused = true)]
async fn trust_that_is_taken_away_and_given_back_is_one_event_each_for_two_replicas() {
    let (api, roles) = (cluster().await, Arc::new(Roles::default()));
    roles.trust("api", "api");
    let replicas = [Replica::start(&api, &roles), Replica::start(&api, &roles)];
    for replica in &replicas {
        replica.shows(&[TRUSTED]).await;
    }
    written().await;
    assert_eq!(stored(&api), [] as [Value; 0], "the first judgment is not a change");

    let taken = Instant::now();
    roles.trust("api", "worker");
    for replica in &replicas {
        replica.shows(&[LOST]).await;
    }
    let within = TTL + Duration::from_secs(1);
    assert!(
        taken.elapsed() <= within,
        "{:?}: the time to live of a copy",
        taken.elapsed()
    );
    written().await;
    let event = match stored(&api).as_slice() {
        [event] => event.clone(),
        events => panic!("{events:#?}"),
    };
    assert_eq!(
        (&event["reason"], &event["type"]),
        (&json!("TrustLost"), &json!("Warning"))
    );
    assert_eq!(
        event["regarding"],
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "namespace": "jobs", "name": "api", "uid": "uid-of-jobs-api"})
    );
    let note = event["note"].as_str().unwrap();
    let line = r#"IAM role "api" does not trust ServiceAccount jobs/api: its trust policy allows jobs/worker (wrong-subject); fix: "#;
    assert!(note.starts_with(line), "{note}");
    assert_eq!(event["series"]["count"], 2, "each replica saw it");

    roles.trust("api", "api");
    for replica in &replicas {
        replica.shows(&[TRUSTED]).await;
    }
    written().await;
    assert_eq!(reasons(&api), ["TrustLost", "TrustRestored"]);
    let restored = &stored(&api)[1];
    assert_eq!(restored["type"], "Normal");
    assert_eq!(restored["note"], r#"IAM role "api" trusts ServiceAccount jobs/api"#);

    // The same policy again continues its series; another one is another Event.
    roles.trust("api", "worker");
    for replica in &replicas {
        replica.shows(&[LOST]).await;
    }
    written().await;
    assert_eq!(reasons(&api), ["TrustLost", "TrustRestored"]);
    assert_eq!(stored(&api)[0]["series"]["count"], 4);
    roles.trust("api", "a*");
    for replica in &replicas {
        replica.shows(&[TRUSTED]).await;
    }
    written().await;
    assert_eq!(reasons(&api), ["TrustLost", "TrustRestored", "TrustRestored"]);
    for replica in replicas {
        assert_eq!((replica.changes("lost"), replica.changes("restored")), (2, 2));
        replica.ends().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_restart_and_a_new_service_account_are_not_changes() {
    let (api, roles) = (cluster().await, Arc::new(Roles::default()));
    roles.trust("api", "worker");
    let replica = Replica::start(&api, &roles);
    replica.shows(&[LOST]).await;
    replica.ends().await;
    let replica = Replica::start(&api, &roles);
    replica.shows(&[LOST]).await;
    annotate(&api, "late", "nobody");
    let missing = r#"{verdict="not-trusted",cause="role-not-found"} 1.0"#;
    replica.shows(&[missing, LOST]).await;
    api.delete_account("jobs", "late");
    replica.shows(&[LOST]).await;
    annotate(&api, "late", "api");
    let both = r#"{verdict="not-trusted",cause="wrong-subject"} 2.0"#;
    replica.shows(&[both]).await;
    written().await;
    assert_eq!(stored(&api), [] as [Value; 0]);
    assert_eq!((replica.changes("lost"), replica.changes("restored")), (0, 0));
    replica.ends().await;
}

#[tokio::test(start_paused = true)]
async fn an_outage_in_between_is_shown_and_is_not_a_change() {
    let (api, roles) = (cluster().await, Arc::new(Roles::default()));
    roles.trust("api", "api");
    let replica = Replica::start(&api, &roles);
    replica.shows(&[TRUSTED]).await;
    roles.answer("api", Answer::Failed("the source is away".into()));
    replica.shows(&[UNKNOWN]).await;
    roles.trust("api", "api");
    replica.shows(&[TRUSTED]).await;
    written().await;
    assert_eq!(stored(&api), [] as [Value; 0]);

    roles.answer("api", Answer::Failed("the source is away".into()));
    replica.shows(&[UNKNOWN]).await;
    roles.trust("api", "worker");
    replica.shows(&[LOST]).await;
    written().await;
    assert_eq!(reasons(&api), ["TrustLost"]);
    replica.ends().await;
}

#[tokio::test(start_paused = true)]
async fn another_role_of_the_service_account_is_a_change_too() {
    let (api, roles) = (cluster().await, Arc::new(Roles::default()));
    roles.trust("api", "api");
    roles.trust("other", "worker");
    let replica = Replica::start(&api, &roles);
    replica.shows(&[TRUSTED]).await;
    annotate(&api, "api", "other");
    replica.shows(&[LOST]).await;
    annotate(&api, "api", "api");
    replica.shows(&[TRUSTED]).await;
    written().await;
    assert_eq!(reasons(&api), ["TrustLost", "TrustRestored"]);
    replica.ends().await;
}

#[tokio::test(start_paused = true)]
async fn a_lost_oidc_provider_is_a_change_and_one_that_never_was_there_is_not() {
    let (api, roles) = (cluster().await, Arc::new(Roles::default()));
    roles.trust("api", "api");
    *roles.provider.lock().unwrap() = Some(ProviderAnswer::NoSuchProvider);
    let missing = r#"{verdict="not-trusted",cause="provider-not-found"} 1.0"#;
    let replica = Replica::start(&api, &roles);
    replica.shows(&[missing]).await;
    written().await;
    assert_eq!(
        stored(&api),
        [] as [Value; 0],
        "nothing was judged before the provider was read"
    );
    *roles.provider.lock().unwrap() = Some(ProviderAnswer::Provider {
        client_ids: ["sts.amazonaws.com".into()].into(),
    });
    replica.shows(&[TRUSTED]).await;
    *roles.provider.lock().unwrap() = Some(ProviderAnswer::NoSuchProvider);
    replica.shows(&[missing]).await;
    written().await;
    assert_eq!(reasons(&api), ["TrustRestored", "TrustLost"]);
    replica.ends().await;
}

#[tokio::test(start_paused = true)]
async fn a_namespace_that_is_no_longer_gated_or_gone_has_no_series() {
    let (api, roles) = (cluster().await, Arc::new(Roles::default()));
    roles.trust("api", "*");
    api.put_namespace("other", &[]);
    api.put_account("other", "api", &[("eks.amazonaws.com/role-arn", &arn("api"))]);
    let replica = Replica::start_with(&api, &roles, ByNamespace::Yes, None);
    let of_jobs = r#"{verdict="trusted",cause="",namespace="jobs"} 1.0"#;
    let of_other = r#"{verdict="not-trusted",cause="wrong-subject",namespace="other"} 1.0"#;
    replica.shows(&[of_jobs]).await;
    api.put_namespace("other", &[("rolegate.io/gate", "audit")]);
    replica.shows(&[of_jobs, of_other]).await;
    api.put_namespace("jobs", &[]);
    replica.shows(&[of_other]).await;
    api.delete("namespaces", "", "other");
    replica.shows(&[]).await;
    written().await;
    assert_eq!(stored(&api), [] as [Value; 0]);
    replica.ends().await;
}

#[tokio::test(start_paused = true)]
async fn a_role_that_container_credentials_replace_is_not_judged() {
    let (api, roles) = (cluster().await, Arc::new(Roles::default()));
    roles.trust("api", "*");
    annotate(&api, "agent", "api");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("identities.json");
    let identities = json!({"identities": [{"namespace": "jobs", "serviceAccount": "agent"}]});
    fs::write(&file, identities.to_string()).unwrap();
    let credentials = Arc::new(ContainerCredentials::load(&file).unwrap());
    let replica = Replica::start_with(&api, &roles, ByNamespace::No, Some(credentials));
    replica.shows(&[TRUSTED]).await;
    written().await;
    assert_eq!(replica.verdicts(), [TRUSTED]);
    replica.ends().await;
}

/// 3,000 ServiceAccounts share 30 roles.
#[tokio::test(start_paused = true)]
async fn judgments_keep_their_pace_and_only_what_changed_is_judged() {
    const ACCOUNTS: u64 = 3_000;
    const ROLES: u64 = 30;
    let (api, roles) = (FakeApi::start().await, Arc::new(Roles::default()));
    api.put_namespace("jobs", &[GATED]);
    for number in 0..ACCOUNTS {
        annotate(&api, &format!("job-{number}"), &format!("role-{}", number % ROLES));
    }
    for number in 0..ROLES {
        roles.trust(&format!("role-{number}"), "job-*");
    }
    let replica = Replica::start(&api, &roles);
    let all = format!(r#"{{verdict="trusted",cause=""}} {ACCOUNTS}.0"#);
    let mut before = 0;
    while replica.verdicts() != [all.as_str()] {
        sleep(PAUSE).await;
        let judged = replica.accounts.judged();
        // The end of one pause and of the next can be in one step of this loop.
        assert!(
            judged - before <= 2 * BATCH as u64,
            "{} judgments in {PAUSE:?}",
            judged - before
        );
        before = judged;
    }
    sleep(2 * TTL).await;

    // Roles are read again as they were before this existed, and what did not change is not judged.
    let (judged, reads) = (replica.accounts.judged(), roles.reads.load(Ordering::SeqCst));
    sleep(10 * TTL).await;
    assert_eq!(replica.accounts.judged(), judged);
    let more = roles.reads.load(Ordering::SeqCst) - reads;
    assert!(
        more <= 11 * ROLES as usize,
        "{more} reads of {ROLES} roles in ten times their time to live"
    );

    roles.trust("role-7", "nobody");
    let lost = ACCOUNTS / ROLES;
    let trusted = format!(r#"{{verdict="trusted",cause=""}} {}.0"#, ACCOUNTS - lost);
    let not_trusted = format!(r#"{{verdict="not-trusted",cause="wrong-subject"}} {lost}.0"#);
    replica.shows(&[&trusted, &not_trusted]).await;
    assert_eq!(replica.accounts.judged() - judged, lost);

    // The Events of one namespace have the pace of those of refusals.
    sleep(Duration::from_secs(20)).await;
    let at_first = stored(&api).len();
    assert!(at_first <= 50, "{at_first} Events");
    sleep(Duration::from_secs(300)).await;
    assert_eq!(stored(&api).len() as u64, lost);
    replica.ends().await;
}
