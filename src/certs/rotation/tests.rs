use super::*;

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(86_400);
const CA_LIFETIME: Duration = Duration::from_secs(90 * 86_400);
const CERTIFICATE_LIFETIME: Duration = Duration::from_secs(15 * 86_400);

/// One replica with one configuration of one entry, and the hands of both clocks.
struct Story {
    rotation: Rotation,
    now: Moment,
    bundle: Vec<Ca>,
}

impl Story {
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
        let mut story = Self::new();
        let ca = story.ca(name);
        story.secret(Secret::Holds(Content::of(ca.clone())));
        story.bundles(&[&ca]);
        story.serve(&ca);
        (story, ca)
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
    let mut story = Story::new();
    assert_eq!(story.secret(Secret::Empty).plan().secret, None);
    let begin = SecretWrite::Begin {
        previous: Vec::new(),
        previous_until: None,
    };
    assert_eq!(story.bundles(&[]).plan().secret, Some(begin));
}

#[test]
fn where_there_was_a_ca_its_holders_are_given_time_to_write_it_back() {
    let mut story = Story::new();
    let lost = story.ca("lost");
    story.secret(Secret::Empty).bundles(&[&lost]);
    let plan = story.plan();
    assert_eq!(plan.secret, None);
    assert_eq!(plan.look_again, LEFT_TO_OTHERS);
    assert!(matches!(
        story.wait(LEFT_TO_OTHERS).plan().secret,
        Some(SecretWrite::Begin { .. })
    ));
}

#[test]
fn a_missing_or_spoilt_secret_is_left_alone_by_who_holds_no_ca() {
    let mut story = Story::new();
    story.bundles(&[]);
    for secret in [Secret::Missing, Secret::Unusable] {
        story.secret(secret).wait(DAY);
        assert!(story.plan().is_idle());
    }
}

#[test]
fn a_lost_ca_is_written_back_with_all_that_was_held() {
    let (mut story, ca) = Story::serving("ca");
    let content = Content {
        next: Some(story.ca("next")),
        ..Content::of(ca)
    };
    story.secret(Secret::Holds(content.clone()));
    for lost in [Secret::Empty, Secret::Unusable] {
        let back = SecretWrite::WriteBack(content.clone());
        assert_eq!(story.secret(lost).plan().secret, Some(back));
    }
    assert_eq!(story.secret(Secret::Missing).plan().secret, None);
}

#[test]
fn the_first_certificate_is_served_once_its_ca_is_in_every_entry() {
    let mut story = Story::new();
    let ca = story.ca("ca");
    story.secret(Secret::Holds(Content::of(ca.clone()))).bundles(&[]);
    assert_eq!(story.plan().serve, None);
    assert_eq!(story.writes(), Some(vec![ca.clone()]));
    assert_eq!(story.bundles(&[&ca]).plan().serve, Some(ca));
}

#[test]
fn configurations_that_do_not_exist_need_no_trust() {
    let mut story = Story::new();
    let ca = story.ca("ca");
    story.secret(Secret::Holds(Content::of(ca.clone())));
    assert_eq!(story.plan().serve, None, "not read yet");
    story.rotation.see_configuration(0, Configuration::Absent, story.now);
    assert_eq!(story.plan().serve, Some(ca.clone()));
    assert!(story.serve(&ca).rotation.is_trusted());
}

#[test]
fn a_new_entry_is_filled_and_the_others_left_as_they_are() {
    let (mut story, ca) = Story::serving("ca");
    let entries = vec![vec![ca.clone()], Vec::new(), vec![ca.clone()]];
    story
        .rotation
        .see_configuration(0, Configuration::Entries(entries), story.now);
    let write = BundleWrite {
        configuration: 0,
        entries: vec![1],
        bundle: vec![ca],
    };
    assert_eq!(story.plan().bundles, [write]);
}

#[test]
fn certificate_and_ca_are_renewed_at_two_thirds_of_their_life() {
    let (mut story, ca) = Story::serving("ca");
    let second = Duration::from_secs(1);
    story.wait(CERTIFICATE_LIFETIME * 2 / 3 - second);
    assert!(story.plan().is_idle());
    story.wait(second);
    assert!(
        story.plan().read_secret,
        "signed is only with a Secret that was just read"
    );
    story.secret(Secret::Holds(Content::of(ca.clone())));
    assert_eq!(story.plan().serve, Some(ca.clone()));
    story.serve(&ca);

    story.wait(CA_LIFETIME * 2 / 3 - CERTIFICATE_LIFETIME * 2 / 3 - second);
    story.secret(Secret::Holds(Content::of(ca.clone()))).serve(&ca);
    assert!(story.plan().is_idle());
    let announce = SecretWrite::Announce(Content::of(ca));
    assert_eq!(story.wait(second).plan().secret, Some(announce));
}

#[test]
fn a_new_ca_is_announced_for_two_minutes_then_promoted_then_served() {
    let (mut story, old) = Story::serving("old");
    story.wait(CA_LIFETIME * 2 / 3);
    story.serve(&old);
    let new = story.ca("new");
    let announced = Content {
        next: Some(new.clone()),
        ..Content::of(old.clone())
    };
    story.secret(Secret::Holds(announced));
    assert_eq!(story.writes(), Some(vec![old.clone(), new.clone()]));
    story.bundles(&[&old, &new]).wait(ANNOUNCED - Duration::from_secs(1));
    let plan = story.plan();
    assert!(plan.is_idle());
    assert_eq!(plan.look_again, story.now.steady + Duration::from_secs(1));

    story.wait(Duration::from_secs(1));
    let Some(SecretWrite::Promote(promoted)) = story.plan().secret else {
        panic!("{:?}", story.plan());
    };
    assert_eq!((&promoted.ca, &promoted.next), (&new, &None));
    assert_eq!(promoted.previous, std::slice::from_ref(&old));
    let until = story.now.wall + CERTIFICATE_LIFETIME + BACKDATED;
    assert_eq!(promoted.previous_until, Some(until));
    assert_eq!(story.plan().serve, None, "not before the Secret says so");

    story.secret(Secret::Holds(promoted.clone()));
    assert_eq!(story.plan().serve, Some(new.clone()));
    story.serve(&new);
    assert!(story.plan().is_idle(), "the old CA stays in the bundle");

    story.wait(CERTIFICATE_LIFETIME * 2 / 3);
    story.secret(Secret::Holds(promoted.clone())).serve(&new);
    story.wait(CERTIFICATE_LIFETIME / 3 + BACKDATED);
    story.secret(Secret::Holds(promoted));
    let Some(SecretWrite::Retire(retired)) = story.plan().secret else {
        panic!("{:?}", story.plan());
    };
    assert_eq!(retired, Content::of(new.clone()));
    story.secret(Secret::Holds(retired));
    assert_eq!(story.writes(), Some(vec![new]));
}

#[test]
fn a_bundle_that_was_wrong_in_between_restarts_the_two_minutes() {
    let (mut story, old) = Story::serving("old");
    let new = story.ca("new");
    let announced = Content {
        next: Some(new.clone()),
        ..Content::of(old.clone())
    };
    story.secret(Secret::Holds(announced)).bundles(&[&old, &new]);
    story.wait(ANNOUNCED - Duration::from_secs(1)).bundles(&[&old]);
    story.bundles(&[&old, &new]).wait(MINUTE);
    assert_eq!(story.plan().secret, None);
    assert!(matches!(
        story.wait(MINUTE).plan().secret,
        Some(SecretWrite::Promote(_))
    ));
}

#[test]
fn a_replica_that_missed_the_announcement_waits_for_itself() {
    let (mut story, old) = Story::serving("old");
    let new = story.ca("new");
    let promoted = Content::of(new.clone()).with_previous(&old, story.now.wall + DAY);
    story.secret(Secret::Holds(promoted)).bundles(&[&new, &old]);
    assert_eq!(story.plan().serve, None);
    story.wait(ANNOUNCED);
    assert!(story.plan().read_secret);
}

#[test]
fn a_stranger_in_the_secret_is_taken_and_what_is_served_is_listed_beside_it() {
    let (mut story, ours) = Story::serving("ours");
    let theirs = story.ca("theirs");
    story.secret(Secret::Holds(Content::of(theirs.clone())));
    let plan = story.plan();
    let Some(SecretWrite::List(listed)) = plan.secret else {
        panic!("{plan:?}");
    };
    assert_eq!((&listed.ca, &listed.previous), (&theirs, &vec![ours.clone()]));
    assert_eq!(plan.serve, None);
    assert_eq!(plan.bundles[0].bundle, [theirs.clone(), ours.clone()]);
    story
        .secret(Secret::Holds(listed))
        .bundles(&[&theirs, &ours])
        .wait(ANNOUNCED);
    assert!(story.plan().read_secret);
}

#[test]
fn what_is_taken_off_the_list_goes_at_once() {
    let (mut story, new) = Story::serving("new");
    let leaked = story.ca("leaked");
    let content = Content::of(new.clone()).with_previous(&leaked, story.now.wall + DAY);
    story.secret(Secret::Holds(content)).bundles(&[&new, &leaked]);
    assert!(story.plan().is_idle());
    story.secret(Secret::Holds(Content::of(new.clone())));
    assert_eq!(story.writes(), Some(vec![new]));
}

#[test]
fn an_unknown_ca_stays_in_the_bundle_for_an_hour() {
    let (mut story, ca) = Story::serving("ca");
    let theirs = story.ca("theirs");
    story.bundles(&[&theirs]);
    assert_eq!(story.writes(), Some(vec![ca.clone(), theirs.clone()]));
    story.bundles(&[&ca, &theirs]).wait(UNLISTED - Duration::from_secs(1));
    assert_eq!(story.writes(), None);
    story.wait(Duration::from_secs(1));
    assert_eq!(story.writes(), Some(vec![ca]));
}

#[test]
fn a_ca_that_has_ended_is_replaced_without_ceremony() {
    let (mut story, old) = Story::serving("old");
    story
        .wait(CA_LIFETIME + MINUTE)
        .secret(Secret::Holds(Content::of(old.clone())));
    assert!(matches!(story.plan().secret, Some(SecretWrite::Begin { .. })));
    let new = story.ca("new");
    story.secret(Secret::Holds(Content::of(new.clone()))).bundles(&[&old]);
    assert_eq!(
        story.writes(),
        Some(vec![new.clone()]),
        "what has ended is not left in the bundle"
    );
    story.bundles(&[&new]);
    assert_eq!(story.plan().serve, Some(new));
}

#[test]
fn a_clock_that_was_ahead_leaves_nothing_that_is_not_valid_yet() {
    let (mut story, ca) = Story::serving("ca");
    story.now.wall -= DAY;
    let plan = story.plan();
    assert_eq!(plan.secret, Some(SecretWrite::Announce(Content::of(ca.clone()))));
    assert_eq!(plan.serve, Some(ca));
}

#[test]
fn a_certificate_that_ends_with_its_ca_is_not_signed_again_and_again() {
    let (mut story, ca) = Story::serving("ca");
    let next = story.ca("next");
    let announced = Content {
        next: Some(next),
        ..Content::of(ca.clone())
    };
    story.wait(CA_LIFETIME - DAY).serve(&ca);
    story.secret(Secret::Holds(announced.clone())).bundles(&[&ca]);
    story.wait(DAY - MINUTE).secret(Secret::Holds(announced));
    assert_eq!(story.plan().serve, None);
}
