use super::bundles::UNLISTED;
use super::*;

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(86_400);
const CA_LIFETIME: Duration = Duration::from_secs(90 * 86_400);
const CERTIFICATE_LIFETIME: Duration = Duration::from_secs(15 * 86_400);

/// One replica with one configuration of one entry, and the current time.
struct Scenario {
    rotation: Rotation,
    now: Moment,
    bundle: Vec<Ca>,
}

impl Scenario {
    fn new() -> Self {
        let now = Moment {
            wall: SystemTime::UNIX_EPOCH + 20_000 * DAY,
            steady: Duration::ZERO,
        };
        Self {
            rotation: Rotation::new(CERTIFICATE_LIFETIME, 1),
            now,
            bundle: Vec::new(),
        }
    }

    /// A replica that serves a certificate of this CA, which is the Secret's.
    fn serving(name: &str) -> (Self, Ca) {
        let mut scenario = Self::new();
        let ca = scenario.ca(name);
        scenario.secret(Secret::Holds(Content::of(ca.clone())));
        scenario.bundles(&[&ca]);
        scenario.serve(&ca);
        (scenario, ca)
    }

    fn ca(&self, name: &str) -> Ca {
        Ca::new(name.as_bytes(), self.now.wall - BACKDATED, self.now.wall + CA_LIFETIME)
    }

    fn secret(&mut self, secret: Secret) -> &mut Self {
        self.rotation.see_secret(secret, self.now);
        self
    }

    fn bundles(&mut self, bundle: &[&Ca]) -> &mut Self {
        self.bundle = bundle.iter().map(|ca| (*ca).clone()).collect();
        self.rotation
            .see_configuration(0, Configuration::Entries(vec![self.bundle.clone()]), self.now);
        self
    }

    fn serve(&mut self, ca: &Ca) -> &mut Self {
        let served = Served {
            ca: ca.clone(),
            not_before: self.now.wall - BACKDATED,
            not_after: (self.now.wall + CERTIFICATE_LIFETIME).min(ca.not_after()),
        };
        self.rotation.see_served(served, self.now);
        self
    }

    fn wait(&mut self, time: Duration) -> &mut Self {
        self.now.wall += time;
        self.now.steady += time;
        self
    }

    fn plan(&mut self) -> Plan {
        self.rotation.plan(self.now)
    }

    fn writes(&mut self) -> Option<Vec<Ca>> {
        self.plan().bundles.into_iter().next().map(|write| write.bundle)
    }
}

#[test]
fn an_empty_secret_gets_a_ca_once_the_bundles_were_read() {
    let mut scenario = Scenario::new();
    assert_eq!(scenario.secret(Secret::Empty).plan().secret, None);
    let begin = SecretWrite::Begin {
        previous: Vec::new(),
        previous_until: None,
    };
    assert_eq!(scenario.bundles(&[]).plan().secret, Some(begin));
}

#[test]
fn replicas_that_hold_the_ca_have_time_to_write_it_back() {
    let mut scenario = Scenario::new();
    let lost = scenario.ca("lost");
    scenario.secret(Secret::Empty).bundles(&[&lost]);
    let plan = scenario.plan();
    assert_eq!(plan.secret, None);
    assert_eq!(plan.look_again, LEFT_TO_OTHERS);
    assert!(matches!(
        scenario.wait(LEFT_TO_OTHERS).plan().secret,
        Some(SecretWrite::Begin { .. })
    ));
}

#[test]
fn a_replica_without_a_ca_leaves_a_missing_or_unusable_secret_alone() {
    let mut scenario = Scenario::new();
    scenario.bundles(&[]);
    for secret in [Secret::Missing, Secret::Unusable] {
        scenario.secret(secret).wait(DAY);
        assert!(scenario.plan().is_idle());
    }
}

#[test]
fn a_lost_ca_is_written_back_with_all_that_was_held() {
    let (mut scenario, ca) = Scenario::serving("ca");
    let content = Content {
        next: Some(scenario.ca("next")),
        ..Content::of(ca)
    };
    scenario.secret(Secret::Holds(content.clone()));
    for lost in [Secret::Empty, Secret::Unusable] {
        let back = SecretWrite::WriteBack(content.clone());
        assert_eq!(scenario.secret(lost).plan().secret, Some(back));
    }
    assert_eq!(scenario.secret(Secret::Missing).plan().secret, None);
}

#[test]
fn the_first_certificate_is_served_once_its_ca_is_in_every_entry() {
    let mut scenario = Scenario::new();
    let ca = scenario.ca("ca");
    scenario.secret(Secret::Holds(Content::of(ca.clone()))).bundles(&[]);
    assert_eq!(scenario.plan().serve, None);
    assert_eq!(scenario.writes(), Some(vec![ca.clone()]));
    assert_eq!(scenario.bundles(&[&ca]).plan().serve, Some(ca));
}

#[test]
fn configurations_that_do_not_exist_need_no_trust() {
    let mut scenario = Scenario::new();
    let ca = scenario.ca("ca");
    scenario.secret(Secret::Holds(Content::of(ca.clone())));
    assert_eq!(scenario.plan().serve, None, "not read yet");
    scenario
        .rotation
        .see_configuration(0, Configuration::Absent, scenario.now);
    assert_eq!(scenario.plan().serve, Some(ca.clone()));
    assert!(scenario.serve(&ca).rotation.is_trusted());
}

#[test]
fn a_new_entry_is_filled_and_the_others_left_as_they_are() {
    let (mut scenario, ca) = Scenario::serving("ca");
    let entries = vec![vec![ca.clone()], Vec::new(), vec![ca.clone()]];
    scenario
        .rotation
        .see_configuration(0, Configuration::Entries(entries), scenario.now);
    let write = BundleWrite {
        configuration: 0,
        entries: vec![1],
        bundle: vec![ca],
    };
    assert_eq!(scenario.plan().bundles, [write]);
}

#[test]
fn certificate_and_ca_are_renewed_at_two_thirds_of_their_life() {
    let (mut scenario, ca) = Scenario::serving("ca");
    let second = Duration::from_secs(1);
    scenario.wait(CERTIFICATE_LIFETIME * 2 / 3 - second);
    assert!(scenario.plan().is_idle());
    scenario.wait(second);
    assert!(
        scenario.plan().read_secret,
        "signed is only with a Secret that was just read"
    );
    scenario.secret(Secret::Holds(Content::of(ca.clone())));
    assert_eq!(scenario.plan().serve, Some(ca.clone()));
    scenario.serve(&ca);

    scenario.wait(CA_LIFETIME * 2 / 3 - CERTIFICATE_LIFETIME * 2 / 3 - second);
    scenario.secret(Secret::Holds(Content::of(ca.clone()))).serve(&ca);
    assert!(scenario.plan().is_idle());
    let announce = SecretWrite::Announce(Content::of(ca));
    assert_eq!(scenario.wait(second).plan().secret, Some(announce));
}

#[test]
fn a_new_ca_is_announced_for_two_minutes_then_promoted_then_served() {
    let (mut scenario, old) = Scenario::serving("old");
    scenario.wait(CA_LIFETIME * 2 / 3);
    scenario.serve(&old);
    let new = scenario.ca("new");
    let announced = Content {
        next: Some(new.clone()),
        ..Content::of(old.clone())
    };
    scenario.secret(Secret::Holds(announced));
    assert_eq!(scenario.writes(), Some(vec![old.clone(), new.clone()]));
    scenario.bundles(&[&old, &new]).wait(ANNOUNCED - Duration::from_secs(1));
    let plan = scenario.plan();
    assert!(plan.is_idle());
    assert_eq!(plan.look_again, scenario.now.steady + Duration::from_secs(1));

    scenario.wait(Duration::from_secs(1));
    let Some(SecretWrite::Promote(promoted)) = scenario.plan().secret else {
        panic!("{:?}", scenario.plan());
    };
    assert_eq!((&promoted.ca, &promoted.next), (&new, &None));
    assert_eq!(promoted.previous, std::slice::from_ref(&old));
    let until = scenario.now.wall + CERTIFICATE_LIFETIME + BACKDATED;
    assert_eq!(promoted.previous_until, Some(until));
    assert_eq!(scenario.plan().serve, None, "not before the Secret says so");

    scenario.secret(Secret::Holds(promoted.clone()));
    assert_eq!(scenario.plan().serve, Some(new.clone()));
    scenario.serve(&new);
    assert!(scenario.plan().is_idle(), "the old CA stays in the bundle");

    scenario.wait(CERTIFICATE_LIFETIME * 2 / 3);
    scenario.secret(Secret::Holds(promoted.clone())).serve(&new);
    scenario.wait(CERTIFICATE_LIFETIME / 3 + BACKDATED);
    scenario.secret(Secret::Holds(promoted));
    let Some(SecretWrite::Retire(retired)) = scenario.plan().secret else {
        panic!("{:?}", scenario.plan());
    };
    assert_eq!(retired, Content::of(new.clone()));
    scenario.secret(Secret::Holds(retired));
    assert_eq!(scenario.writes(), Some(vec![new]));
}

#[test]
fn a_bundle_that_was_wrong_in_between_restarts_the_two_minutes() {
    let (mut scenario, old) = Scenario::serving("old");
    let new = scenario.ca("new");
    let announced = Content {
        next: Some(new.clone()),
        ..Content::of(old.clone())
    };
    scenario.secret(Secret::Holds(announced)).bundles(&[&old, &new]);
    scenario.wait(ANNOUNCED - Duration::from_secs(1)).bundles(&[&old]);
    scenario.bundles(&[&old, &new]).wait(MINUTE);
    assert_eq!(scenario.plan().secret, None);
    assert!(matches!(
        scenario.wait(MINUTE).plan().secret,
        Some(SecretWrite::Promote(_))
    ));
}

#[test]
fn a_replica_that_missed_the_announcement_waits_for_itself() {
    let (mut scenario, old) = Scenario::serving("old");
    let new = scenario.ca("new");
    let promoted = Content::of(new.clone()).with_previous(&old, scenario.now.wall + DAY);
    scenario.secret(Secret::Holds(promoted)).bundles(&[&new, &old]);
    assert_eq!(scenario.plan().serve, None);
    scenario.wait(ANNOUNCED);
    assert!(scenario.plan().read_secret);
}

#[test]
fn an_unknown_ca_in_the_secret_is_adopted_and_the_serving_ca_stays_listed() {
    let (mut scenario, ours) = Scenario::serving("ours");
    let theirs = scenario.ca("theirs");
    scenario.secret(Secret::Holds(Content::of(theirs.clone())));
    let plan = scenario.plan();
    let Some(SecretWrite::List(listed)) = plan.secret else {
        panic!("{plan:?}");
    };
    assert_eq!((&listed.ca, &listed.previous), (&theirs, &vec![ours.clone()]));
    assert_eq!(plan.serve, None);
    assert_eq!(plan.bundles[0].bundle, [theirs.clone(), ours.clone()]);
    scenario
        .secret(Secret::Holds(listed))
        .bundles(&[&theirs, &ours])
        .wait(ANNOUNCED);
    assert!(scenario.plan().read_secret);
}

#[test]
fn a_ca_that_is_no_longer_listed_is_removed_at_once() {
    let (mut scenario, new) = Scenario::serving("new");
    let leaked = scenario.ca("leaked");
    let content = Content::of(new.clone()).with_previous(&leaked, scenario.now.wall + DAY);
    scenario.secret(Secret::Holds(content)).bundles(&[&new, &leaked]);
    assert!(scenario.plan().is_idle());
    scenario.secret(Secret::Holds(Content::of(new.clone())));
    assert_eq!(scenario.writes(), Some(vec![new]));
}

#[test]
fn an_unknown_ca_stays_in_the_bundle_for_an_hour() {
    let (mut scenario, ca) = Scenario::serving("ca");
    let theirs = scenario.ca("theirs");
    scenario.bundles(&[&theirs]);
    assert_eq!(scenario.writes(), Some(vec![ca.clone(), theirs.clone()]));
    scenario
        .bundles(&[&ca, &theirs])
        .wait(UNLISTED - Duration::from_secs(1));
    assert_eq!(scenario.writes(), None);
    scenario.wait(Duration::from_secs(1));
    assert_eq!(scenario.writes(), Some(vec![ca]));
}

#[test]
fn an_expired_ca_is_replaced_at_once() {
    let (mut scenario, old) = Scenario::serving("old");
    scenario
        .wait(CA_LIFETIME + MINUTE)
        .secret(Secret::Holds(Content::of(old.clone())));
    assert!(matches!(scenario.plan().secret, Some(SecretWrite::Begin { .. })));
    let new = scenario.ca("new");
    scenario
        .secret(Secret::Holds(Content::of(new.clone())))
        .bundles(&[&old]);
    assert_eq!(
        scenario.writes(),
        Some(vec![new.clone()]),
        "what has ended is not left in the bundle"
    );
    scenario.bundles(&[&new]);
    assert_eq!(scenario.plan().serve, Some(new));
}

#[test]
fn a_clock_that_was_ahead_leaves_nothing_that_is_not_valid_yet() {
    let (mut scenario, ca) = Scenario::serving("ca");
    scenario.now.wall -= DAY;
    let plan = scenario.plan();
    assert_eq!(plan.secret, Some(SecretWrite::Announce(Content::of(ca.clone()))));
    assert_eq!(plan.serve, Some(ca));
}

#[test]
fn a_certificate_that_ends_with_its_ca_is_not_signed_again_and_again() {
    let (mut scenario, ca) = Scenario::serving("ca");
    let next = scenario.ca("next");
    let announced = Content {
        next: Some(next),
        ..Content::of(ca.clone())
    };
    scenario.wait(CA_LIFETIME - DAY).serve(&ca);
    scenario.secret(Secret::Holds(announced.clone())).bundles(&[&ca]);
    scenario.wait(DAY - MINUTE).secret(Secret::Holds(announced));
    assert_eq!(scenario.plan().serve, None);
}
