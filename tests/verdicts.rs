//! What is reported when a role stops trusting a ServiceAccount, or trusts it again, against an API server that stores Events as Kubernetes
//! does. Time is paused: nothing here waits.

mod support;

use std::collections::HashMap;
use std::fs;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::{BoxFuture, ready};
use rolegate::associations::{
    AccountName, Associations, ClusterId, Failure, Found, HeldAssociations, Listed, Page, RemoteAssociations,
    RemoteSettings, Scope, Source,
};
use rolegate::kubernetes::container_credentials::ContainerCredentials;
use rolegate::kubernetes::identity_map::IdentityMap;
use rolegate::kubernetes::list_watch::WatchTiming;
use rolegate::kubernetes::namespaces::Namespaces;
use rolegate::kubernetes::service_accounts::ServiceAccounts;
use rolegate::kubernetes::service_accounts::live::LiveServiceAccounts;
use rolegate::pod::identity::AnnotationRules;
use rolegate::roles::{Answer, Listing, Pace, ProviderAnswer, RoleCache, RoleCacheSettings, RoleDocument, RoleSource};
use rolegate::telemetry::events::{EventTiming, Events};
use rolegate::telemetry::metrics::{ByNamespace, Metrics};
use rolegate::trust::{Association, Audience, Issuer, Origin, RoleArn, SessionTags};
use rolegate::verdicts::{Accounts, BATCH, IdentitySources, Known, PAUSE, Settings, Verdicts};
use serde_json::{Value, json};
use support::fake_api::FakeApi;
use tokio::sync::watch;
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
    with_policy(&policy)
}

fn with_policy(policy: &Value) -> Answer {
    Answer::Role(RoleDocument {
        origin: Origin::Stored,
        policy: policy.to_string().into(),
        tags: None,
    })
}

/// A policy that lets these principals assume the role and tag the session.
fn assumed_by(principal: &Value) -> Answer {
    with_policy(&json!({"Version": "2012-10-17", "Statement": [{
        "Effect": "Allow",
        "Principal": principal,
        "Action": ["sts:AssumeRole", "sts:TagSession"],
    }]}))
}

/// Policies of the primary role of an association: one that trusts EKS Pod Identity, and one that trusts EC2.
fn of_pods() -> Answer {
    assumed_by(&json!({"Service": "pods.eks.amazonaws.com"}))
}

fn of_instances() -> Answer {
    assumed_by(&json!({"Service": "ec2.amazonaws.com"}))
}

/// EKS, with associations that the test changes.
#[derive(Debug, Default)]
struct Eks {
    associations: Mutex<Vec<Association>>,
    /// Calls of one kind fail.
    fails_lists: AtomicBool,
    fails_describes: AtomicBool,
}

fn association(name: &str, role: &str, target: Option<&str>) -> Association {
    let parsed = |name: &str| RoleArn::parse(&arn(name)).unwrap();
    Association {
        cluster: None,
        namespace: "jobs".into(),
        service_account: name.into(),
        id: Some(format!("a-{name}").into()),
        role: parsed(role),
        target_role: target.map(parsed),
        session_tags: SessionTags::Enabled,
        external_id: None,
    }
}

impl Eks {
    fn associate(&self, name: &str, role: &str, target: Option<&str>) {
        self.disassociate(name);
        let association = association(name, role, target);
        self.associations.lock().unwrap().push(association);
    }

    fn disassociate(&self, name: &str) {
        self.associations
            .lock()
            .unwrap()
            .retain(|one| *one.service_account != *name);
    }

    fn failure(fails: &AtomicBool) -> Result<(), Failure> {
        if fails.load(Ordering::SeqCst) {
            return Err(Failure::Failed("EKS is away".into()));
        }
        Ok(())
    }
}

impl RemoteAssociations for Eks {
    fn name(&self) -> &'static str {
        "eks"
    }

    fn page<'a>(&'a self, _scope: &'a Scope, _token: Option<&'a str>) -> BoxFuture<'a, Result<Page, Failure>> {
        let listed = |one: &Association| Listed {
            namespace: Arc::clone(&one.namespace),
            service_account: Arc::clone(&one.service_account),
            id: one.id.clone().unwrap(),
        };
        let page = Self::failure(&self.fails_lists).map(|()| Page {
            listed: self.associations.lock().unwrap().iter().map(listed).collect(),
            next: None,
        });
        ready(page).boxed()
    }

    fn describe<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Option<Association>, Failure>> {
        let associations = self.associations.lock().unwrap();
        let found = associations.iter().find(|one| one.id.as_deref() == Some(id)).cloned();
        ready(Self::failure(&self.fails_describes).map(|()| found)).boxed()
    }
}

/// The objects of a controller that manages the association of `jobs/api`.
#[derive(Debug)]
struct Objects {
    say: Mutex<Found>,
    version: watch::Sender<u64>,
}

impl Objects {
    fn now_say(&self, found: Found) {
        *self.say.lock().unwrap() = found;
        self.version.send_modify(|version| *version += 1);
    }
}

impl HeldAssociations for Objects {
    fn name(&self) -> &'static str {
        "ack"
    }

    fn find(&self, namespace: &str, service_account: &str) -> Found {
        match (namespace, service_account) {
            ("jobs", "api") => self.say.lock().unwrap().clone(),
            _ => Found::Unlisted,
        }
    }

    fn all(&self) -> Vec<Arc<Association>> {
        match &*self.say.lock().unwrap() {
            Found::Association(association) => vec![Arc::clone(association)],
            _ => Vec::new(),
        }
    }

    fn accounts(&self) -> Vec<AccountName> {
        vec![("jobs".into(), "api".into())]
    }

    fn changes(&self) -> Vec<watch::Receiver<u64>> {
        vec![self.version.subscribe()]
    }
}

/// What a replica knows besides ServiceAccounts and roles.
#[derive(Default)]
struct Sources {
    by_namespace: bool,
    /// The ConfigMap `identities` of namespace `jobs`.
    has_identity_map: bool,
    container_credentials: Option<Arc<ContainerCredentials>>,
    associations: Option<Source>,
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
        Self::start_with(api, roles, Sources::default())
    }

    fn start_with(api: &FakeApi, roles: &Arc<Roles>, sources: Sources) -> Self {
        let (rules, timing) = (
            Arc::new(AnnotationRules {
                prefix: "eks.amazonaws.com/".to_owned(),
                compose: None,
            }),
            WatchTiming::default(),
        );
        let namespaces = Arc::new(Namespaces::start(api.client(), timing));
        let identity_map = sources.has_identity_map.then(|| {
            let map = IdentityMap::start(api.client(), "jobs", "identities", Arc::clone(&rules), timing);
            Arc::new(map)
        });
        let associations = sources.associations.map(|source| {
            let id = ClusterId {
                name: "prod".into(),
                arn: None,
            };
            Associations::new(id, vec![source], &RemoteSettings::default())
        });
        let judged = Accounts::new(IdentitySources {
            associations: associations.clone(),
            identity_map: identity_map.clone(),
        });
        let accounts = LiveServiceAccounts::start_observed(
            api.client(),
            rules,
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
        let metrics = Metrics::new(if sources.by_namespace {
            ByNamespace::Yes
        } else {
            ByNamespace::No
        });
        let (events, writer) = Events::new(
            api.client(),
            Arc::clone(&accounts),
            "rolegate-7d4b9-x2x4q",
            EventTiming::default(),
            metrics.events(),
        );
        let verdicts = Verdicts::new(
            Arc::clone(&judged),
            Arc::clone(&namespaces),
            Known {
                accounts: Arc::clone(&accounts),
                cache: Arc::clone(&cache),
                container_credentials: sources.container_credentials,
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
        let referenced = {
            let associations = associations.clone();
            move || {
                let mut roles = associations.as_ref().map_or_else(Vec::new, |known| known.roles());
                let mut push = |role: &RoleArn| roles.push(role.clone());
                if let Some(map) = &identity_map {
                    map.for_each_role(&mut push);
                }
                accounts.for_each_role(&mut push);
                roles
            }
        };
        let mut tasks = vec![
            tokio::spawn(writer.run(stop.clone())),
            tokio::spawn(cache.run(referenced, stop.clone())),
            tokio::spawn(verdicts.run(stop.clone())),
        ];
        if let Some(associations) = associations {
            let stop = stop.clone();
            tasks.push(tokio::spawn(async move {
                associations.run(|| namespaces.gated(), stop).await;
            }));
        }
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
    let by_namespace = Sources {
        by_namespace: true,
        ..Sources::default()
    };
    let replica = Replica::start_with(&api, &roles, by_namespace);
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
    roles.trust("api", "api");
    annotate(&api, "agent", "api");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("identities.json");
    let identities = |names: &[&str]| {
        let identity = |name: &&str| json!({"namespace": "jobs", "serviceAccount": name});
        let identities: Vec<Value> = names.iter().map(identity).collect();
        fs::write(&file, json!({"identities": identities}).to_string()).unwrap();
    };
    identities(&["agent"]);
    let credentials = Arc::new(ContainerCredentials::load(&file).unwrap());
    credentials.keep_reading(Duration::from_secs(2));
    let sources = Sources {
        container_credentials: Some(Arc::clone(&credentials)),
        ..Sources::default()
    };
    let replica = Replica::start_with(&api, &roles, sources);
    replica.shows(&[TRUSTED]).await;
    written().await;
    assert_eq!(replica.verdicts(), [TRUSTED]);

    identities(&[]);
    let edited = Instant::now();
    replica.shows(&[TRUSTED, LOST]).await;
    identities(&["api"]);
    replica.shows(&[LOST]).await;
    assert!(edited.elapsed() <= TTL, "the edits are noticed: {:?}", edited.elapsed());
    written().await;
    assert_eq!(stored(&api), [] as [Value; 0]);
    credentials.stop().await;
    replica.ends().await;
}

/// Replaces the entries of the identity ConfigMap.
fn map(api: &FakeApi, entries: &[(&str, &str)]) {
    let entry = |(key, role): &(&str, &str)| ((*key).to_owned(), json!({"RoleARN": arn(role)}));
    let entries: serde_json::Map<String, Value> = entries.iter().map(entry).collect();
    api.put_config_map("jobs", "identities", &[("config", &json!(entries).to_string())]);
}

fn with_map() -> Sources {
    Sources {
        has_identity_map: true,
        ..Sources::default()
    }
}

#[tokio::test(start_paused = true)]
async fn a_role_of_the_identity_config_map_is_judged_like_one_of_an_annotation() {
    let (api, roles) = (FakeApi::start().await, Arc::new(Roles::default()));
    api.put_namespace("jobs", &[GATED]);
    for name in ["api", "plain"] {
        api.put_account("jobs", name, &[]);
    }
    map(&api, &[("jobs/api", "mapped"), ("jobs/missing", "mapped")]);
    roles.trust("mapped", "api");
    roles.trust("other", "worker");
    let replicas = [(); 2].map(|()| Replica::start_with(&api, &roles, with_map()));
    let show = async |series: &[&str]| {
        for replica in &replicas {
            replica.shows(series).await;
        }
        written().await;
    };
    show(&[TRUSTED]).await;
    assert_eq!(stored(&api), [] as [Value; 0], "the first judgment is not a change");

    // The policy of the role, then the entry, then the annotation, which comes before the entry.
    roles.trust("mapped", "worker");
    show(&[LOST]).await;
    roles.trust("mapped", "api");
    show(&[TRUSTED]).await;
    assert_eq!(reasons(&api), ["TrustLost", "TrustRestored"]);
    assert_eq!(stored(&api)[0]["series"]["count"], 2, "each replica saw it");
    assert_eq!(stored(&api)[0]["regarding"]["uid"], "uid-of-jobs-api");
    map(&api, &[("jobs/api", "other")]);
    show(&[LOST]).await;
    annotate(&api, "api", "mapped");
    show(&[TRUSTED]).await;
    let changes = replicas
        .each_ref()
        .map(|replica| (replica.changes("lost"), replica.changes("restored")));
    assert_eq!(changes, [(2, 2); 2]);
    annotate(&api, "api", "other");
    show(&[LOST]).await;
    map(&api, &[("jobs/api", "mapped")]);
    written().await;
    show(&[LOST]).await;

    // One that is malformed comes before the entry, too, and leaves nothing to evaluate.
    api.put_account("jobs", "api", &[("eks.amazonaws.com/role-arn", "api")]);
    show(&[]).await;
    let changes = replicas
        .each_ref()
        .map(|replica| (replica.changes("lost"), replica.changes("restored")));
    assert_eq!(changes, [(3, 2); 2]);
    for replica in replicas {
        replica.ends().await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_entries_of_the_identity_config_map_and_the_service_accounts_come_in_any_order() {
    let (api, roles) = (FakeApi::start().await, Arc::new(Roles::default()));
    api.put_namespace("jobs", &[GATED]);
    api.put_account("jobs", "api", &[]);
    roles.trust("mapped", "api");
    let replica = Replica::start_with(&api, &roles, with_map());
    written().await;
    replica.shows(&[]).await;
    map(&api, &[("*/api", "mapped")]);
    replica.shows(&[TRUSTED]).await;
    // A namespace that is gated later, and a ServiceAccount that is created after its entry.
    api.put_namespace("other", &[]);
    api.put_account("other", "api", &[]);
    written().await;
    replica.shows(&[TRUSTED]).await;
    api.put_namespace("other", &[GATED]);
    replica.shows(&[TRUSTED, LOST]).await;
    api.put_namespace("other", &[]);
    replica.shows(&[TRUSTED]).await;
    map(&api, &[("*/api", "mapped"), ("jobs/late", "mapped")]);
    written().await;
    api.put_account("jobs", "late", &[]);
    replica.shows(&[TRUSTED, LOST]).await;
    api.delete_account("jobs", "late");
    replica.shows(&[TRUSTED]).await;
    api.delete_config_map("jobs", "identities");
    replica.shows(&[]).await;
    map(&api, &[("jobs/api", "mapped")]);
    replica.shows(&[TRUSTED]).await;
    written().await;
    assert_eq!(stored(&api), [] as [Value; 0], "each of these is a first judgment");
    replica.ends().await;
}

fn with_eks(eks: &Arc<Eks>) -> Sources {
    let eks: Arc<dyn RemoteAssociations> = Arc::<Eks>::clone(eks);
    Sources {
        associations: Some(Source::Remote(eks)),
        ..Sources::default()
    }
}

const WRONG_PRINCIPAL: &str = r#"{verdict="not-trusted",cause="wrong-principal-type"} 1.0"#;

#[tokio::test(start_paused = true)]
async fn both_roles_of_an_association_are_judged_and_the_worst_counts() {
    let (api, roles, eks) = (
        FakeApi::start().await,
        Arc::new(Roles::default()),
        Arc::new(Eks::default()),
    );
    api.put_namespace("jobs", &[GATED]);
    api.put_account("jobs", "api", &[]);
    eks.associate("api", "primary", Some("target"));
    let of_primary = || assumed_by(&json!({"AWS": arn("primary")}));
    roles.answer("primary", of_pods());
    roles.answer("target", of_primary());
    let replicas = [(); 2].map(|()| Replica::start_with(&api, &roles, with_eks(&eks)));
    let show = async |series: &[&str]| {
        for replica in &replicas {
            replica.shows(series).await;
        }
        written().await;
    };
    show(&[TRUSTED]).await;
    assert_eq!(stored(&api), [] as [Value; 0], "the first judgment is not a change");

    roles.answer("primary", of_instances());
    show(&[WRONG_PRINCIPAL]).await;
    let note = stored(&api)[0]["note"].as_str().unwrap().to_owned();
    let line = r#"IAM role "primary" does not trust EKS Pod Identity for ServiceAccount jobs/api: "#;
    assert!(note.starts_with(line), "{note}");
    roles.answer("primary", of_pods());
    show(&[TRUSTED]).await;
    roles.answer("target", assumed_by(&json!({"AWS": arn("stranger")})));
    let replica = &replicas[0];
    let limit = Instant::now() + 3 * TTL;
    while replica.verdicts() == [TRUSTED] {
        assert!(Instant::now() < limit, "the target role is judged");
        sleep(Duration::from_millis(100)).await;
    }
    written().await;
    roles.answer("target", of_primary());
    show(&[TRUSTED]).await;
    assert_eq!(
        reasons(&api),
        ["TrustLost", "TrustRestored", "TrustLost"],
        "the same policies again continue a series"
    );
    let events = stored(&api);
    assert!(events[2]["note"].as_str().unwrap().starts_with(r#"IAM role "target" "#));
    for event in &events {
        assert_eq!(event["regarding"]["uid"], "uid-of-jobs-api");
    }
    assert_eq!(
        [&events[0], &events[1], &events[2]].map(|event| &event["series"]["count"]),
        [2, 4, 2]
    );
    for replica in replicas {
        assert_eq!((replica.changes("lost"), replica.changes("restored")), (2, 2));
        replica.ends().await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_association_comes_before_the_annotation_and_its_edits_are_followed() {
    let (api, roles, eks) = (cluster().await, Arc::new(Roles::default()), Arc::new(Eks::default()));
    roles.trust("api", "worker");
    roles.answer("associated", of_pods());
    roles.answer("other", of_instances());
    let replica = Replica::start_with(&api, &roles, with_eks(&eks));
    replica.shows(&[LOST]).await;
    written().await;
    let created = Instant::now();
    eks.associate("api", "associated", None);
    replica.shows(&[TRUSTED]).await;
    assert!(created.elapsed() <= TTL, "{:?}", created.elapsed());
    // An edit is read after five minutes.
    eks.associate("api", "other", None);
    replica.shows(&[WRONG_PRINCIPAL]).await;
    eks.disassociate("api");
    replica.shows(&[LOST]).await;
    written().await;
    // From not trusted by the annotation to trusted by the association, and back by its edit.
    assert_eq!(reasons(&api), ["TrustRestored", "TrustLost"]);

    // Without an annotation, nothing is left to evaluate.
    annotate(&api, "api", "api");
    eks.associate("late", "associated", None);
    sleep(TTL).await;
    api.put_account("jobs", "late", &[]);
    replica.shows(&[TRUSTED, LOST]).await;
    eks.disassociate("late");
    replica.shows(&[LOST]).await;
    replica.ends().await;
}

#[tokio::test(start_paused = true)]
async fn associations_that_are_not_read_yet_or_not_described_make_no_change_of_trust() {
    let (api, roles, eks) = (cluster().await, Arc::new(Roles::default()), Arc::new(Eks::default()));
    roles.trust("api", "worker");
    roles.answer("associated", of_pods());
    eks.associate("api", "associated", None);
    eks.fails_lists.store(true, Ordering::SeqCst);
    let replica = Replica::start_with(&api, &roles, with_eks(&eks));
    // As at an admission: while it is not known whether there is an association, the annotation counts.
    replica.shows(&[LOST]).await;
    eks.fails_describes.store(true, Ordering::SeqCst);
    eks.fails_lists.store(false, Ordering::SeqCst);
    replica.shows(&[UNKNOWN]).await;
    eks.fails_describes.store(false, Ordering::SeqCst);
    replica.shows(&[TRUSTED]).await;
    written().await;
    assert_eq!(stored(&api), [] as [Value; 0]);
    assert_eq!((replica.changes("lost"), replica.changes("restored")), (0, 0));
    replica.ends().await;
}

#[tokio::test(start_paused = true)]
async fn an_object_of_an_association_that_is_not_in_sync_keeps_the_last_certain_verdict() {
    let (api, roles) = (FakeApi::start().await, Arc::new(Roles::default()));
    api.put_namespace("jobs", &[GATED]);
    api.put_account("jobs", "api", &[]);
    api.put_account("jobs", "other", &[]);
    roles.answer("open", of_pods());
    roles.answer("closed", of_instances());
    let with_role = |role| Found::Association(Arc::new(association("api", role, None)));
    let objects = Arc::new(Objects {
        say: Mutex::new(with_role("open")),
        version: watch::Sender::new(0),
    });
    let held: Arc<dyn HeldAssociations> = Arc::<Objects>::clone(&objects);
    let sources = Sources {
        associations: Some(Source::Held(held)),
        ..Sources::default()
    };
    let replica = Replica::start_with(&api, &roles, sources);
    replica.shows(&[TRUSTED]).await;
    for doubt in [
        Found::Unknown("not in sync".into()),
        Found::Undescribed("no role".into()),
    ] {
        let edited = Instant::now();
        objects.now_say(doubt);
        replica.shows(&[UNKNOWN]).await;
        assert!(edited.elapsed() < Duration::from_secs(1), "{:?}", edited.elapsed());
    }
    written().await;
    assert_eq!(stored(&api), [] as [Value; 0]);
    objects.now_say(with_role("closed"));
    replica.shows(&[WRONG_PRINCIPAL]).await;
    written().await;
    assert_eq!(reasons(&api), ["TrustLost"]);
    objects.now_say(Found::Unlisted);
    replica.shows(&[]).await;
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

    // Roles are read again as they were before this existed, and what did not change is not evaluated.
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
