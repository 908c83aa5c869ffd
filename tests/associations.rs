//! The cache of EKS Pod Identity associations, with a source that is slow, fails, throttles and counts calls. Time is paused.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::{BoxFuture, join_all};
use rolegate::associations::{
    Asker, Associations, ClusterId, Failure, Found, HeldAssociations, Listed, Lookup, Page, Presence,
    RemoteAssociations, RemoteSettings, Scope, Source,
};
use rolegate::trust::{Association, RoleArn, SessionTags};
use tokio::time::{Instant, advance, sleep};
use tokio_util::sync::CancellationToken;

const SECOND: Duration = Duration::from_secs(1);

/// The time for which an answer is as good as one of now, and a bit more.
const A_SECOND: Duration = Duration::from_millis(1001);

/// A source over the network whose associations, answers and response times the test sets.
#[derive(Debug, Default)]
struct Scripted {
    associations: Mutex<Vec<Arc<Association>>>,
    page_size: Mutex<Option<usize>>,
    takes: Mutex<Duration>,
    /// What calls of one kind get, from a page of a list on.
    list_failure: Mutex<Option<(usize, Failure)>>,
    describe_failure: Mutex<Option<Failure>>,
    /// Associations whose descriptions are throttled so many times.
    throttled: Mutex<HashMap<String, usize>>,
    pages: Mutex<Vec<(Instant, Scope)>>,
    describes: Mutex<Vec<(Instant, String)>>,
}

impl RemoteAssociations for Scripted {
    fn name(&self) -> &'static str {
        "eks"
    }

    fn page<'a>(&'a self, scope: &'a Scope, token: Option<&'a str>) -> BoxFuture<'a, Result<Page, Failure>> {
        self.pages.lock().unwrap().push((Instant::now(), scope.clone()));
        let takes = *self.takes.lock().unwrap();
        async move {
            sleep(takes).await;
            let place: usize = token.map_or(0, |token| token.parse().unwrap());
            if let Some((from, failure)) = &*self.list_failure.lock().unwrap()
                && place >= *from
            {
                return Err(failure.clone());
            }
            let is_in = |one: &&Arc<Association>| match scope {
                Scope::Cluster => true,
                Scope::Namespace(namespace) => one.namespace == *namespace,
                Scope::ServiceAccount {
                    namespace,
                    service_account,
                } => one.namespace == *namespace && one.service_account == *service_account,
            };
            let associations = self.associations.lock().unwrap();
            let found: Vec<_> = associations.iter().filter(is_in).collect();
            let size = self.page_size.lock().unwrap().unwrap_or(100);
            let page = found.chunks(size).nth(place).unwrap_or_default();
            Ok(Page {
                listed: page
                    .iter()
                    .map(|one| Listed {
                        namespace: Arc::clone(&one.namespace),
                        service_account: Arc::clone(&one.service_account),
                        id: one.id.clone().unwrap(),
                    })
                    .collect(),
                next: ((place + 1) * size < found.len()).then(|| (place + 1).to_string()),
            })
        }
        .boxed()
    }

    fn describe<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Option<Association>, Failure>> {
        self.describes.lock().unwrap().push((Instant::now(), id.to_owned()));
        let takes = *self.takes.lock().unwrap();
        async move {
            sleep(takes).await;
            if let Some(failure) = &*self.describe_failure.lock().unwrap() {
                return Err(failure.clone());
            }
            if let Some(times) = self.throttled.lock().unwrap().get_mut(id)
                && *times > 0
            {
                *times -= 1;
                return Err(Failure::Throttled("throttled".into()));
            }
            let associations = self.associations.lock().unwrap();
            let found = associations.iter().find(|one| one.id.as_deref() == Some(id));
            Ok(found.map(|one| Association::clone(one)))
        }
        .boxed()
    }
}

impl Scripted {
    fn create(&self, namespace: &str, service_account: &str, id: &str, role: &str) {
        let association = association(namespace, service_account, id, role);
        self.associations.lock().unwrap().push(Arc::new(association));
    }

    fn edit(&self, id: &str, role: &str) {
        let mut associations = self.associations.lock().unwrap();
        let found = associations
            .iter_mut()
            .find(|one| one.id.as_deref() == Some(id))
            .unwrap();
        Arc::make_mut(found).role = role_arn(role);
    }

    fn delete(&self, id: &str) {
        self.associations
            .lock()
            .unwrap()
            .retain(|one| one.id.as_deref() != Some(id));
    }

    fn fails_lists(&self, from_page: usize, failure: Failure) {
        *self.list_failure.lock().unwrap() = Some((from_page, failure));
    }

    fn fails_describes(&self, reason: &str) {
        *self.describe_failure.lock().unwrap() = Some(Failure::Failed(reason.into()));
    }

    fn works(&self) {
        *self.list_failure.lock().unwrap() = None;
        *self.describe_failure.lock().unwrap() = None;
        self.takes(Duration::ZERO);
    }

    fn takes(&self, takes: Duration) {
        *self.takes.lock().unwrap() = takes;
    }

    /// How many calls were made: pages of lists, and single associations.
    fn calls(&self) -> (usize, usize) {
        (self.pages.lock().unwrap().len(), self.describes.lock().unwrap().len())
    }
}

fn association(namespace: &str, service_account: &str, id: &str, role: &str) -> Association {
    Association {
        cluster: None,
        namespace: namespace.into(),
        service_account: service_account.into(),
        id: Some(id.into()),
        role: role_arn(role),
        target_role: None,
        session_tags: SessionTags::Enabled,
        external_id: None,
    }
}

fn role_arn(name: &str) -> RoleArn {
    RoleArn::parse(&format!("arn:aws:iam::111122223333:role/{name}")).unwrap()
}

fn cluster() -> ClusterId {
    ClusterId {
        name: "prod".into(),
        arn: None,
    }
}

fn over(source: &Arc<Scripted>) -> Arc<Associations> {
    let source: Arc<dyn RemoteAssociations> = Arc::<Scripted>::clone(source);
    Associations::new(cluster(), vec![Source::Remote(source)], &RemoteSettings::default())
}

fn soon() -> Instant {
    Instant::now() + 2 * SECOND
}

/// The role of a lookup that has one.
fn role_of(lookup: &Lookup) -> &str {
    let Lookup::Association(association) = lookup else {
        panic!("{lookup:?}")
    };
    association.role.name()
}

async fn role_in_memory_or_read(associations: &Associations, service_account: &str) -> String {
    let lookup = associations.association("jobs", service_account, soon()).await;
    role_of(&lookup).to_owned()
}

#[tokio::test(start_paused = true)]
async fn an_hour_of_a_thousand_associations_in_fifty_namespaces_costs_a_bounded_number_of_calls() {
    const NAMESPACES: usize = 50;
    const ASSOCIATIONS: usize = 1000;
    const HOUR: Duration = Duration::from_secs(3600);
    let source = Arc::new(Scripted::default());
    for number in 0..ASSOCIATIONS {
        let namespace = format!("team-{}", number % NAMESPACES);
        source.create(
            &namespace,
            &format!("account-{number}"),
            &format!("a-{number}"),
            "loader",
        );
    }
    source.takes(Duration::from_millis(50));
    let associations = over(&source);
    let (running, stop) = (Arc::clone(&associations), CancellationToken::new());
    let stopped = stop.clone();
    let task = tokio::spawn(async move {
        let namespaces = || (0..NAMESPACES).map(|number| format!("team-{number}").into()).collect();
        running.run(namespaces, stopped).await;
    });
    sleep(HOUR).await;
    assert_eq!(associations.counts(), (ASSOCIATIONS, ASSOCIATIONS));
    let (pages, describes) = source.calls();
    println!("{pages} calls of List, {describes} calls of Describe");
    // The cluster is listed as a whole, in ten pages, every 30 s; its lists take up to 2 s.
    assert!((1100..=1210).contains(&pages), "{pages} calls of List");
    // Two calls per second at most, for as long as something is older than 5 minutes.
    assert!((6000..=7210).contains(&describes), "{describes} calls of Describe");
    let mut last: HashMap<String, Instant> = HashMap::new();
    for (at, id) in &*source.describes.lock().unwrap() {
        last.insert(id.clone(), *at);
    }
    let oldest = last.values().map(Instant::elapsed).max().unwrap();
    // A thousand at two per second.
    assert!(
        oldest <= Duration::from_secs(520),
        "the content of an association is {oldest:?} old"
    );
    stop.cancel();
    task.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_few_namespaces_are_listed_by_themselves() {
    let source = Arc::new(Scripted::default());
    source.create("jobs", "loader", "a-1", "loader");
    source.create("kube-system", "dns", "a-2", "dns");
    let associations = over(&source);
    let (running, stop) = (Arc::clone(&associations), CancellationToken::new());
    let stopped = stop.clone();
    let task = tokio::spawn(async move { running.run(|| vec!["jobs".into()], stopped).await });
    sleep(Duration::from_secs(605)).await;
    let (pages, describes) = source.calls();
    assert!((19..=21).contains(&pages), "{pages} calls of List in ten minutes");
    assert!(
        (2..=4).contains(&describes),
        "{describes} calls of Describe in ten minutes"
    );
    assert_eq!(associations.cached("kube-system", "dns"), None);
    assert_eq!(role_of(&associations.cached("jobs", "loader").unwrap()), "loader");
    assert_eq!(associations.cached("jobs", "stranger"), Some(Lookup::Absent));
    assert_eq!(associations.roles(), [role_arn("loader")]);
    stop.cancel();
    task.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn pods_that_arrive_together_share_a_list() {
    let source = Arc::new(Scripted::default());
    source.create("jobs", "loader", "a-1", "loader");
    source.takes(Duration::from_millis(100));
    let associations = over(&source);
    let names: Vec<_> = (0..100).map(|number| format!("account-{number}")).collect();
    let presence = |name| associations.presence("jobs", name, Asker::Pod, soon());
    let answers = join_all(names.iter().map(|name| presence(name)).chain([presence("loader")])).await;
    let (last, others) = answers.split_last().unwrap();
    assert_eq!(*last, Presence::Present);
    assert!(others.iter().all(|answer| *answer == Presence::Absent), "{others:?}");
    assert_eq!(source.calls(), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_negative_answer_is_good_for_a_second() {
    let source = Arc::new(Scripted::default());
    let associations = over(&source);
    for _ in 0..50 {
        assert_eq!(
            associations.presence("jobs", "loader", Asker::Pod, soon()).await,
            Presence::Absent
        );
    }
    assert_eq!(source.calls(), (1, 0));
    source.create("jobs", "loader", "a-1", "loader");
    advance(A_SECOND).await;
    // The association is newer than the pod by less than the list takes.
    assert_eq!(
        associations.presence("jobs", "loader", Asker::Pod, soon()).await,
        Presence::Present
    );
    assert_eq!(source.calls(), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn advice_about_a_service_account_leaves_no_answer_for_its_pod() {
    let source = Arc::new(Scripted::default());
    let associations = over(&source);
    assert_eq!(
        associations.presence("jobs", "loader", Asker::Advice, soon()).await,
        Presence::Absent
    );
    source.create("jobs", "loader", "a-1", "loader");
    assert_eq!(
        associations.presence("jobs", "loader", Asker::Pod, soon()).await,
        Presence::Present
    );
}

#[tokio::test(start_paused = true)]
async fn an_edit_under_the_same_id_is_seen_before_a_refusal() {
    let source = Arc::new(Scripted::default());
    source.create("jobs", "loader", "a-1", "old");
    let associations = over(&source);
    assert_eq!(role_in_memory_or_read(&associations, "loader").await, "old");
    source.edit("a-1", "new");
    // From memory; and what was read less than a second ago is fresh.
    assert_eq!(role_in_memory_or_read(&associations, "loader").await, "old");
    let calls = source.calls();
    assert_eq!(role_of(&associations.fresh("jobs", "loader", soon()).await), "old");
    assert_eq!(source.calls(), calls);
    advance(A_SECOND).await;
    assert_eq!(role_of(&associations.fresh("jobs", "loader", soon()).await), "new");
    assert_eq!(source.calls(), (calls.0 + 1, calls.1 + 1));
    assert_eq!(role_in_memory_or_read(&associations, "loader").await, "new");
}

#[tokio::test(start_paused = true)]
async fn an_association_that_is_deleted_and_made_again_is_the_new_one() {
    let source = Arc::new(Scripted::default());
    source.create("jobs", "loader", "a-1", "old");
    let associations = over(&source);
    assert_eq!(role_in_memory_or_read(&associations, "loader").await, "old");
    advance(A_SECOND).await;
    source.delete("a-1");
    assert_eq!(associations.fresh("jobs", "loader", soon()).await, Lookup::Absent);
    assert_eq!(associations.cached("jobs", "loader"), Some(Lookup::Absent));
    advance(A_SECOND).await;
    source.create("jobs", "loader", "a-2", "new");
    assert_eq!(
        associations.presence("jobs", "loader", Asker::Pod, soon()).await,
        Presence::Present
    );
    assert_eq!(role_of(&associations.fresh("jobs", "loader", soon()).await), "new");
    assert_eq!(associations.all().len(), 1);

    // Deleted between the list and the description.
    advance(A_SECOND).await;
    associations.presence("jobs", "loader", Asker::Pod, soon()).await;
    source.delete("a-2");
    advance(Duration::from_millis(10)).await;
    let lookup = associations.fresh("jobs", "loader", soon()).await;
    assert_eq!(lookup, Lookup::Absent);
}

#[tokio::test(start_paused = true)]
async fn a_list_that_breaks_off_proves_no_absence_and_forgets_nothing() {
    let source = Arc::new(Scripted::default());
    for number in 0..30 {
        source.create("jobs", &format!("account-{number}"), &format!("a-{number}"), "loader");
    }
    *source.page_size.lock().unwrap() = Some(10);
    let associations = over(&source);
    assert_eq!(role_in_memory_or_read(&associations, "account-29").await, "loader");
    assert_eq!(source.calls().0, 3);

    advance(A_SECOND).await;
    source.fails_lists(2, Failure::Failed("ServerException".into()));
    for _ in 0..2 {
        let presence = associations.presence("jobs", "stranger", Asker::Pod, soon()).await;
        assert_eq!(presence, Presence::Unknown("ServerException".into()));
    }
    let lookup = associations.fresh("jobs", "account-3", soon()).await;
    assert_eq!(lookup, Lookup::Unknown("ServerException".into()));
    // What was known stays, and no admission calls again before the pause is over.
    assert_eq!(
        associations.presence("jobs", "account-29", Asker::Pod, soon()).await,
        Presence::Present
    );
    assert_eq!(role_in_memory_or_read(&associations, "account-29").await, "loader");
    assert_eq!(source.calls().0, 6);

    source.works();
    advance(Duration::from_secs(10)).await;
    assert_eq!(
        associations.presence("jobs", "stranger", Asker::Pod, soon()).await,
        Presence::Absent
    );
}

#[tokio::test(start_paused = true)]
async fn a_list_without_an_end_is_a_failure() {
    let source = Arc::new(Scripted::default());
    for number in 0..300 {
        source.create("jobs", &format!("account-{number}"), &format!("a-{number}"), "loader");
    }
    *source.page_size.lock().unwrap() = Some(1);
    let settings = RemoteSettings {
        read_timeout: Duration::from_secs(60),
        ..RemoteSettings::default()
    };
    let remote: Arc<dyn RemoteAssociations> = Arc::<Scripted>::clone(&source);
    let associations = Associations::new(cluster(), vec![Source::Remote(remote)], &settings);
    let deadline = Instant::now() + Duration::from_secs(60);
    let presence = associations.presence("jobs", "stranger", Asker::Pod, deadline).await;
    assert!(matches!(presence, Presence::Unknown(_)), "{presence:?}");
    assert!(source.calls().0 <= 100, "{:?}", source.calls());
}

#[tokio::test(start_paused = true)]
async fn while_the_source_throttles_admissions_do_not_call() {
    let source = Arc::new(Scripted::default());
    source.create("jobs", "loader", "a-1", "loader");
    let associations = over(&source);
    source.fails_lists(0, Failure::Throttled("throttled".into()));
    let began = Instant::now();
    for number in 0..100 {
        let name = format!("account-{number}");
        let presence = associations.presence("jobs", &name, Asker::Pod, soon()).await;
        assert_eq!(presence, Presence::Unknown("throttled".into()));
    }
    assert_eq!(source.calls(), (1, 0));
    // The first one alone has called, and none has waited for the end of the pause.
    assert_eq!(began.elapsed(), Duration::ZERO);
    source.works();
    advance(Duration::from_secs(10)).await;
    assert_eq!(
        associations.presence("jobs", "loader", Asker::Pod, soon()).await,
        Presence::Present
    );
}

#[tokio::test(start_paused = true)]
async fn a_description_that_fails_or_is_slow_leaves_the_presence() {
    let source = Arc::new(Scripted::default());
    source.create("jobs", "loader", "a-1", "loader");
    let associations = over(&source);
    source.fails_describes("eks:DescribePodIdentityAssociation is not allowed");
    assert_eq!(
        associations.presence("jobs", "loader", Asker::Pod, soon()).await,
        Presence::Present
    );
    let lookup = associations.association("jobs", "loader", soon()).await;
    assert_eq!(
        lookup,
        Lookup::Undescribed("eks:DescribePodIdentityAssociation is not allowed".into())
    );
    assert_eq!(associations.counts(), (1, 0));

    source.works();
    advance(Duration::from_secs(10)).await;
    assert_eq!(
        associations.presence("jobs", "loader", Asker::Pod, soon()).await,
        Presence::Present
    );
    source.takes(Duration::from_secs(5));
    let began = Instant::now();
    let lookup = associations.association("jobs", "loader", soon()).await;
    assert!(matches!(lookup, Lookup::Undescribed(_)), "{lookup:?}");
    assert_eq!(began.elapsed(), RemoteSettings::default().read_timeout);
    // A read whose caller has given up is kept.
    sleep(Duration::from_secs(6)).await;
    assert_eq!(role_of(&associations.cached("jobs", "loader").unwrap()), "loader");
}

#[tokio::test(start_paused = true)]
async fn what_was_read_long_ago_does_not_serve_for_ever() {
    let source = Arc::new(Scripted::default());
    source.create("jobs", "loader", "a-1", "loader");
    let associations = over(&source);
    assert_eq!(role_in_memory_or_read(&associations, "loader").await, "loader");
    source.fails_lists(0, Failure::Failed("down".into()));
    source.fails_describes("down");
    advance(Duration::from_secs(3590)).await;
    assert_eq!(role_in_memory_or_read(&associations, "loader").await, "loader");
    advance(Duration::from_secs(20)).await;
    let lookup = associations.association("jobs", "loader", soon()).await;
    assert_eq!(lookup, Lookup::Unknown("down".into()));
    assert_eq!(associations.cached("jobs", "loader"), None);
}

/// A source in memory that says the same of every ServiceAccount.
#[derive(Debug)]
struct Says(Found);

impl HeldAssociations for Says {
    fn name(&self) -> &'static str {
        "ack"
    }

    fn find(&self, _namespace: &str, _service_account: &str) -> Found {
        self.0.clone()
    }

    fn all(&self) -> Vec<Arc<Association>> {
        match &self.0 {
            Found::Association(association) => vec![Arc::clone(association)],
            _ => Vec::new(),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn sources_are_asked_in_their_order() {
    let source = Arc::new(Scripted::default());
    source.create("jobs", "loader", "a-1", "by-eks");
    let behind = |found: Found| {
        let remote: Arc<dyn RemoteAssociations> = Arc::<Scripted>::clone(&source);
        let sources = vec![Source::Held(Arc::new(Says(found))), Source::Remote(remote)];
        Associations::new(cluster(), sources, &RemoteSettings::default())
    };
    let by_ack = association("jobs", "loader", "a-1", "by-ack");
    let associations = behind(Found::Association(Arc::new(by_ack)));
    assert_eq!(role_in_memory_or_read(&associations, "loader").await, "by-ack");
    assert_eq!(source.calls(), (0, 0));
    assert_eq!(associations.all().len(), 1);

    // One that does not know the roles, and one that does not know every association.
    for found in [Found::Undescribed("a list has no roles".into()), Found::Unlisted] {
        let associations = behind(found);
        assert_eq!(role_in_memory_or_read(&associations, "loader").await, "by-eks");
    }
    assert_eq!(
        behind(Found::Unlisted).presence("jobs", "x", Asker::Pod, soon()).await,
        Presence::Absent
    );
    // What an object that is not settled is about, another source that lists everything decides.
    let unsettled = behind(Found::Unknown("not in sync".into()));
    assert_eq!(role_in_memory_or_read(&unsettled, "loader").await, "by-eks");
}

#[tokio::test(start_paused = true)]
async fn a_command_describes_at_the_rate_of_its_settings() {
    let mut took = Vec::new();
    for per_second in [2, 10] {
        let source = Arc::new(Scripted::default());
        for number in 0..200 {
            source.create("jobs", &format!("account-{number}"), &format!("a-{number}"), "loader");
        }
        let settings = RemoteSettings {
            describes_per_second: per_second.try_into().unwrap(),
            ..RemoteSettings::default()
        };
        let remote: Arc<dyn RemoteAssociations> = Arc::<Scripted>::clone(&source);
        let associations = Associations::new(cluster(), vec![Source::Remote(remote)], &settings);
        let began = Instant::now();
        let read = associations.read_all(began + Duration::from_secs(600)).await;
        assert_eq!((read, associations.all().len()), (Ok(None), 200));
        took.push(began.elapsed().as_secs());
    }
    // The clock is that of the test: every wait is for a turn.
    assert!(matches!(took[..], [80..=110, 15..=25]), "{took:?}");
}

/// What a command reads of 20 associations, of which some are throttled so many times: how many it has, and how many are missing.
async fn read_with(throttled: impl Iterator<Item = usize>, times: usize) -> Result<(usize, usize), Arc<str>> {
    let source = Arc::new(Scripted::default());
    for number in 0..20 {
        source.create("jobs", &format!("account-{number}"), &format!("a-{number}"), "loader");
    }
    *source.throttled.lock().unwrap() = throttled.map(|number| (format!("a-{number}"), times)).collect();
    let remote: Arc<dyn RemoteAssociations> = Arc::<Scripted>::clone(&source);
    let associations = Associations::new(cluster(), vec![Source::Remote(remote)], &RemoteSettings::default());
    let deadline = Instant::now() + Duration::from_secs(600);
    let missing = associations.read_all(deadline).await?;
    // A source that fails costs a bounded number of calls.
    assert!(source.calls().1 <= 40, "{:?}", source.calls());
    assert!(
        missing.as_ref().is_none_or(|missing| &*missing.reason == "throttled"),
        "{missing:?}"
    );
    Ok((associations.all().len(), missing.map_or(0, |missing| missing.count)))
}

#[tokio::test(start_paused = true)]
async fn a_command_keeps_what_it_read_before_and_after_a_throttled_call() {
    assert_eq!(read_with(0..0, 0).await, Ok((20, 0)));
    // Once is not enough to lose one.
    assert_eq!(read_with(3..6, 1).await, Ok((20, 0)));
    assert_eq!(read_with(3..6, 9).await, Ok((17, 3)));
    assert_eq!(read_with([19].into_iter(), 9).await, Ok((19, 1)));
    assert_eq!(read_with(0..20, 9).await, Err("throttled".into()));
}
