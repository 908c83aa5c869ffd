//! Automatically managed certificates, against a Kubernetes API served over HTTP and a clock that the tests advance.

mod support;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use rolegate::certs::bundle_file::BundleFile;
use rolegate::certs::clock::{HandClock, SystemClock};
use rolegate::certs::issue::{Authority, SubjectName};
use rolegate::certs::self_managed::{ConfigurationKind, ConfigurationName, SelfManaged, Settings};
use rolegate::certs::serving::Serving;
use rolegate::certs::status::Status;
use rolegate::kubernetes::client;
use rolegate::kubernetes::list_watch::WatchTiming;
use serde_json::{Value, json};
use support::fake_api::{FakeApi, Fault, Watches};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

/// How long a test waits for what must happen: long enough for a busy machine, since no test may fail on time alone.
const PATIENCE: Duration = Duration::from_secs(60);

const DAY: Duration = Duration::from_secs(86_400);
const CA_LIFETIME: Duration = Duration::from_secs(90 * 86_400);
const CERTIFICATE_LIFETIME: Duration = Duration::from_secs(9 * 86_400);

const WEBHOOKS: &str = "mutatingwebhookconfigurations";

/// A replica of this process; dropping it ends it.
struct Replica {
    status: Arc<Status>,
    serving: Arc<Serving>,
    task: JoinHandle<()>,
}

impl Replica {
    fn start(api: &FakeApi, clock: &HandClock) -> Self {
        let serving = Serving::new();
        let settings = Settings {
            secret_namespace: "rolegate".to_owned(),
            secret_name: "rolegate-tls".to_owned(),
            configurations: configurations(),
            names: SubjectName::loopback(),
            ca_lifetime: CA_LIFETIME,
            certificate_lifetime: CERTIFICATE_LIFETIME,
        };
        let client = client(&api.config()).unwrap();
        let managed = SelfManaged::new(&client, settings, Arc::new(clock.clone()), quick(), serving.clone());
        Self {
            status: managed.status(),
            serving,
            task: tokio::spawn(managed.run()),
        }
    }

    async fn trusted(&self) {
        until("the replica is trusted", || self.status.is_trusted()).await;
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn configurations() -> Vec<ConfigurationName> {
    vec![ConfigurationName {
        kind: ConfigurationKind::Mutating,
        name: "rolegate".to_owned(),
    }]
}

fn quick() -> WatchTiming {
    WatchTiming {
        shortest_pause: Duration::from_millis(5),
        longest_pause: Duration::from_millis(50),
        ..WatchTiming::default()
    }
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "waited in vain: {what}");
        sleep(Duration::from_millis(5)).await;
    }
}

/// An API with an empty Secret and a configuration of so many entries.
async fn api(entries: usize) -> (FakeApi, HandClock) {
    let api = FakeApi::start().await;
    api.put_secret("rolegate", "rolegate-tls", None);
    api.put_webhooks("rolegate", &vec![None; entries]);
    (api, HandClock::new(SystemTime::now()))
}

/// The data of the Secret.
fn secret(api: &FakeApi) -> BTreeMap<String, String> {
    let Some(object) = api.object("secrets", "rolegate", "rolegate-tls") else {
        return BTreeMap::new();
    };
    let data = object["data"].as_object().cloned().unwrap_or_default();
    data.into_iter()
        .map(|(key, value)| (key, decoded(&value).replace("\r\n", "\n")))
        .collect()
}

fn keys(api: &FakeApi) -> String {
    let keys: Vec<_> = secret(api).into_keys().collect();
    keys.join(" ")
}

/// The bundle of each entry.
fn bundles(api: &FakeApi) -> Vec<String> {
    let object = api.object(WEBHOOKS, "", "rolegate").unwrap();
    let entries = object["webhooks"].as_array().unwrap().iter();
    entries
        .map(|entry| decoded(&entry["clientConfig"]["caBundle"]))
        .collect()
}

fn decoded(value: &Value) -> String {
    String::from_utf8(BASE64.decode(value.as_str().unwrap_or_default()).unwrap()).unwrap()
}

async fn until_bundles(api: &FakeApi, expected: &str) {
    until("the bundles", || bundles(api).iter().all(|bundle| bundle == expected)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_that_start_together_agree_on_one_ca() {
    for _ in 0..20 {
        let (api, clock) = api(3).await;
        let replicas: Vec<_> = (0..4).map(|_| Replica::start(&api, &clock)).collect();
        for replica in &replicas {
            replica.trusted().await;
        }
        // What each serves is signed by a CA that is in the bundles, and they hold one.
        let ca = secret(&api)["ca.crt"].clone();
        assert_eq!(ca.matches("BEGIN").count(), 1);
        assert_eq!(bundles(&api), vec![ca; 3]);
        assert_eq!(keys(&api), "ca.crt ca.key");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_missing_is_waited_for() {
    let api = FakeApi::start().await;
    let clock = HandClock::new(SystemTime::now());
    let replica = Replica::start(&api, &clock);
    sleep(Duration::from_millis(200)).await;
    assert!(!replica.status.is_trusted() && !replica.serving.is_ready());

    // Without a configuration, no API server has to trust it.
    api.put_secret("rolegate", "rolegate-tls", None);
    replica.trusted().await;
    assert!(replica.serving.is_ready());
    api.put_webhooks("rolegate", &[None, None]);
    until_bundles(&api, &secret(&api)["ca.crt"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_other_writers_remove_is_written_back() {
    let (api, clock) = api(2).await;
    let replica = Replica::start(&api, &clock);
    replica.trusted().await;
    let before = secret(&api);
    let ca = before["ca.crt"].clone();

    api.put_secret("rolegate", "rolegate-tls", None);
    until("the Secret is back", || secret(&api) == before).await;
    let nonsense = json!({"ca.crt": BASE64.encode("nonsense"), "theirs": BASE64.encode("theirs")});
    api.put_secret("rolegate", "rolegate-tls", Some(nonsense));
    until("the Secret is back", || secret(&api)["ca.crt"] == ca).await;
    assert_eq!(secret(&api)["theirs"], "theirs", "what is not ours stays");

    let good = BASE64.encode(&ca);
    for wrong in [
        &[None, Some(good.as_str()), None][..],
        &[Some("Cg=="), Some("bm9uc2Vuc2U=")],
        &[None],
    ] {
        api.put_webhooks("rolegate", wrong);
        until_bundles(&api, &ca).await;
        assert_eq!(bundles(&api).len(), wrong.len(), "entries are the chart's");
    }
    api.delete(WEBHOOKS, "", "rolegate");
    api.put_webhooks("rolegate", &[None]);
    until_bundles(&api, &ca).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_resume_after_refusals_and_outages() {
    for fault in [Fault::Status(403), Fault::Status(500), Fault::Cut] {
        let (mut api, clock) = api(1).await;
        api.fail_patches(Some(fault));
        let replica = Replica::start(&api, &clock);
        sleep(Duration::from_millis(100)).await;
        assert!(!replica.status.is_trusted(), "{fault:?}");
        api.fail_patches(None);
        replica.trusted().await;

        let ca = secret(&api)["ca.crt"].clone();
        api.stop();
        sleep(Duration::from_millis(100)).await;
        api.restart().await;
        api.put_webhooks("rolegate", &[None]);
        until_bundles(&api, &ca).await;
        assert!(replica.status.is_trusted());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_watch_objects_are_read_every_few_seconds() {
    let (api, clock) = api(1).await;
    api.set_watches(Watches::Refused(403));
    let replica = Replica::start(&api, &clock);
    replica.trusted().await;
    api.put_webhooks("rolegate", &[None, None]);
    until_bundles(&api, &secret(&api)["ca.crt"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ca_is_announced_promoted_and_retired() {
    let (api, clock) = api(2).await;
    let replicas = [Replica::start(&api, &clock), Replica::start(&api, &clock)];
    for replica in &replicas {
        replica.trusted().await;
    }
    let old = secret(&api)["ca.crt"].clone();
    let ends = |replica: &Replica| replica.serving.not_after().unwrap();

    // Certificates are renewed at two thirds of their nine days, and the CA stays what it is.
    let first = replicas.each_ref().map(ends);
    for _ in 0..7 {
        clock.advance(DAY);
        sleep(Duration::from_millis(10)).await;
    }
    until("new certificates", || {
        replicas.iter().zip(first).all(|(replica, first)| ends(replica) > first)
    })
    .await;
    assert_eq!((keys(&api).as_str(), &secret(&api)["ca.crt"]), ("ca.crt ca.key", &old));

    for _ in 7..60 {
        clock.advance(DAY);
        sleep(Duration::from_millis(10)).await;
    }
    until("an announcement", || keys(&api) == "ca.crt ca.key next.crt next.key").await;
    let new = secret(&api)["next.crt"].clone();
    until_bundles(&api, &format!("{old}{new}")).await;
    assert_eq!(secret(&api)["ca.crt"], old);

    // The replica that read the bundles last waits two minutes from then on.
    until("the promotion", || {
        clock.advance(Duration::from_secs(1));
        keys(&api) == "ca.crt ca.key previous.crt previous.until"
    })
    .await;
    assert_eq!((&secret(&api)["ca.crt"], &secret(&api)["previous.crt"]), (&new, &old));
    until("the new CA's certificates", || {
        clock.advance(Duration::from_secs(1));
        let now = jiff::Timestamp::try_from(rolegate::certs::clock::Clock::now(&clock).wall).unwrap();
        let fresh = now + (CERTIFICATE_LIFETIME - Duration::from_secs(3600));
        replicas.iter().all(|replica| ends(replica) > fresh)
    })
    .await;
    assert_eq!(
        bundles(&api)[0].matches("BEGIN").count(),
        2,
        "the old one stays for a while"
    );

    for _ in 0..10 {
        clock.advance(DAY);
        sleep(Duration::from_millis(10)).await;
    }
    // However late a replica notices that the time of the old CA is over, it waits from then on.
    until("the end of the old CA", || {
        clock.advance(Duration::from_secs(1));
        keys(&api) == "ca.crt ca.key"
    })
    .await;
    until("bundles with the new CA only", || {
        clock.advance(Duration::from_secs(1));
        bundles(&api).iter().all(|bundle| *bundle == new)
    })
    .await;
    for replica in &replicas {
        let ca = replica.status.ca_not_after().unwrap();
        assert!(ca > ends(replica), "the CA outlives what it signs");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leaked_ca_is_replaced_by_hand() {
    let (api, clock) = api(2).await;
    let replicas = [Replica::start(&api, &clock), Replica::start(&api, &clock)];
    for replica in &replicas {
        replica.trusted().await;
    }
    let leaked = secret(&api)["ca.crt"].clone();
    let new = Authority::generate("new", SystemTime::now(), 30 * DAY).unwrap();
    let data = json!({"ca.crt": BASE64.encode(new.certificate_pem()), "ca.key": BASE64.encode(new.key_pem())});
    api.put_secret("rolegate", "rolegate-tls", Some(data.clone()));
    let new = new.certificate_pem().replace("\r\n", "\n");
    until("the leaked one is listed as what signed before", || {
        secret(&api).get("previous.crt") == Some(&leaked)
    })
    .await;
    until_bundles(&api, &format!("{new}{leaked}")).await;

    let before = replicas.each_ref().map(|replica| replica.serving.not_after());
    until("both serve a certificate of the new one", || {
        clock.advance(Duration::from_secs(1));
        replicas
            .iter()
            .zip(before)
            .all(|(replica, before)| replica.serving.not_after() != before)
    })
    .await;
    api.put_secret("rolegate", "rolegate-tls", Some(data));
    until_bundles(&api, &new).await;
    assert_eq!(keys(&api), "ca.crt ca.key");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bundle_file_is_written_and_read_again() {
    let api = FakeApi::start().await;
    api.put_webhooks("rolegate", &[None, None]);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ca.crt");
    let first = put_authority(&file);
    let client = client(&api.config()).unwrap();
    let clock = Arc::new(SystemClock::new());
    let bundle = BundleFile::load(file.clone(), &client, &configurations(), clock, quick()).unwrap();
    let status = bundle.status();
    let failures = bundle.reload_failures();
    let task = tokio::spawn(bundle.run(Duration::from_millis(10)));
    until_bundles(&api, &first).await;
    until("it is trusted", || status.is_trusted()).await;

    std::fs::write(&file, "nonsense").unwrap();
    until("the failure is counted", || failures() == 1).await;
    sleep(Duration::from_millis(100)).await;
    assert_eq!(failures(), 1, "once, not at each look");
    assert_eq!(bundles(&api)[0], first);

    // Other replicas may serve what the former one signed for a while.
    let second = put_authority(&file);
    until_bundles(&api, &format!("{second}{first}")).await;
    task.abort();
}

#[tokio::test]
async fn a_bundle_file_that_cannot_be_used_stops_the_start() {
    let api = FakeApi::start().await;
    let client = client(&api.config()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    for (name, content, why) in [
        ("missing.crt", None, "cannot read"),
        ("wrong.crt", Some("nonsense"), "no PEM block CERTIFICATE"),
    ] {
        let file = folder.path().join(name);
        if let Some(content) = content {
            std::fs::write(&file, content).unwrap();
        }
        let clock = Arc::new(SystemClock::new());
        let error = BundleFile::load(file, &client, &configurations(), clock, quick())
            .unwrap_err()
            .to_string();
        assert!(error.contains(name) && error.contains(why), "{error}");
    }
}

/// Writes the certificate of a new CA to a file.
fn put_authority(file: &Path) -> String {
    let authority = Authority::generate("ours", SystemTime::now(), DAY).unwrap();
    std::fs::write(file, authority.certificate_pem()).unwrap();
    authority.certificate_pem().replace("\r\n", "\n")
}
