//! Properties of every interleaving: replicas read and act at any moment, with any other events in between.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const MINUTE: u64 = 60;
const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;

const CA_LIFETIME: Duration = Duration::from_secs(90 * DAY);
const CERTIFICATE_LIFETIME: Duration = Duration::from_secs(10 * DAY);
const REPLICAS: usize = 3;
const CONFIGURATIONS: usize = 2;

/// An event.
#[derive(Clone, Debug)]
enum Event {
    /// A replica reads everything.
    Read(usize),
    /// A replica performs the next step of its plan.
    Act(usize),
    /// A replica reads and acts until it has nothing to do.
    Settle(usize),
    /// A replica restarts and knows nothing.
    Restart(usize),
    /// Seconds pass.
    Wait(u64),
    /// The chart adds an entry without a bundle at this position.
    AddEntry(usize, usize),
    /// The chart removes an entry.
    DropEntry(usize, usize),
    /// A configuration is deleted, or created again.
    Toggle(usize),
    /// Another writer changes what rolegate writes.
    Tamper(Tampering),
}

#[derive(Clone, Debug)]
enum Tampering {
    EmptySecret,
    SpoilSecret,
    DeleteSecret,
    /// What the Secret held before, as from a backup.
    RestoreSecret(usize),
    EmptyBundle(usize),
    /// A bundle with another CA, alone.
    ForeignBundle(usize),
    /// A replica's clock is set wrong by this many seconds.
    SetClock(usize, i64),
}

/// An entry's bundle, and whether a replica has filled it yet.
#[derive(Clone, Debug, Default)]
struct Entry {
    bundle: Vec<Ca>,
    filled: bool,
}

#[derive(Clone, Debug)]
struct Versioned<T> {
    version: u64,
    value: T,
}

#[derive(Debug)]
struct Replica {
    rotation: Rotation,
    skew: i64,
    secret_version: u64,
    configuration_versions: [u64; CONFIGURATIONS],
    /// When each CA was first read in every entry, without a break.
    announced: BTreeMap<Ca, u64>,
    /// What it last read.
    seen: [Option<Vec<Vec<Ca>>>; CONFIGURATIONS],
    read_at: Option<u64>,
}

#[derive(Debug)]
struct World {
    seconds: u64,
    secret: Versioned<Secret>,
    past: Vec<Content>,
    configurations: Vec<Versioned<Option<Vec<Entry>>>>,
    replicas: Vec<Replica>,
    made: u32,
}

impl World {
    fn new(skews: [i64; REPLICAS]) -> Self {
        let entries = vec![Entry::default(), Entry::default()];
        Self {
            seconds: 0,
            secret: Versioned {
                version: 1,
                value: Secret::Empty,
            },
            past: Vec::new(),
            configurations: vec![
                Versioned {
                    version: 1,
                    value: Some(entries),
                };
                CONFIGURATIONS
            ],
            replicas: skews.map(Replica::new).into(),
            made: 0,
        }
    }

    fn now(&self, replica: usize) -> Moment {
        let base = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000 + self.seconds);
        let skew = self.replicas[replica].skew;
        let wall = match u64::try_from(skew) {
            Ok(ahead) => base + Duration::from_secs(ahead),
            Err(_) => base - Duration::from_secs(skew.unsigned_abs()),
        };
        Moment {
            wall,
            steady: Duration::from_secs(self.seconds),
        }
    }

    fn happens(&mut self, event: &Event) {
        match event {
            Event::Read(replica) => self.read(*replica),
            Event::Act(replica) => {
                self.act(*replica);
            }
            Event::Settle(replica) => self.settle(*replica),
            Event::Restart(replica) => self.replicas[*replica] = Replica::new(self.replicas[*replica].skew),
            Event::Wait(seconds) => self.seconds += seconds,
            Event::AddEntry(index, at) => self.edit(*index, |entries| {
                let at = at % (entries.len() + 1);
                entries.insert(at, Entry::default());
            }),
            Event::DropEntry(index, at) => self.edit(*index, |entries| {
                if !entries.is_empty() {
                    entries.remove(at % entries.len());
                }
            }),
            Event::Toggle(index) => {
                let configuration = &mut self.configurations[*index];
                configuration.version += 1;
                configuration.value = match configuration.value {
                    Some(_) => None,
                    None => Some(vec![Entry::default()]),
                };
            }
            Event::Tamper(tampering) => self.tamper(tampering),
        }
    }

    fn tamper(&mut self, tampering: &Tampering) {
        match tampering {
            Tampering::EmptySecret => self.put_secret(Secret::Empty),
            Tampering::SpoilSecret => self.put_secret(Secret::Unusable),
            Tampering::DeleteSecret => self.put_secret(Secret::Missing),
            Tampering::RestoreSecret(which) => {
                if !self.past.is_empty() {
                    let content = self.past[which % self.past.len()].clone();
                    self.put_secret(Secret::Holds(content));
                }
            }
            Tampering::EmptyBundle(index) => self.edit(*index, |entries| entries.fill(Entry::default())),
            Tampering::ForeignBundle(index) => {
                let foreign = self.make_ca(0);
                self.edit(*index, |entries| {
                    for entry in entries {
                        entry.bundle = vec![foreign.clone()];
                    }
                });
            }
            Tampering::SetClock(replica, skew) => self.replicas[*replica].skew = *skew,
        }
    }

    fn put_secret(&mut self, value: Secret) {
        if let Secret::Holds(content) = &value {
            self.past.push(content.clone());
        }
        self.secret.version += 1;
        self.secret.value = value;
    }

    fn edit(&mut self, index: usize, edit: impl FnOnce(&mut Vec<Entry>)) {
        let configuration = &mut self.configurations[index];
        if let Some(entries) = &mut configuration.value {
            edit(entries);
            configuration.version += 1;
        }
    }

    fn make_ca(&mut self, replica: usize) -> Ca {
        self.made += 1;
        let now = self.now(replica).wall;
        Ca::new(self.made.to_be_bytes(), now - BACKDATED, now + CA_LIFETIME)
    }

    fn read(&mut self, replica: usize) {
        self.read_secret(replica);
        for index in 0..CONFIGURATIONS {
            self.read_configuration(replica, index);
        }
        self.replicas[replica].read_at = Some(self.seconds);
    }

    fn read_secret(&mut self, replica: usize) {
        let now = self.now(replica);
        let secret = self.secret.clone();
        let replica = &mut self.replicas[replica];
        replica.secret_version = secret.version;
        replica.rotation.see_secret(secret.value, now);
    }

    fn read_configuration(&mut self, replica: usize, index: usize) {
        let now = self.now(replica);
        let configuration = self.configurations[index].clone();
        let bundles = configuration
            .value
            .map(|entries| entries.into_iter().map(|entry| entry.bundle).collect::<Vec<_>>());
        let replica = &mut self.replicas[replica];
        replica.configuration_versions[index] = configuration.version;
        replica.seen[index].clone_from(&bundles);
        let everywhere = |ca: &Ca| {
            replica
                .seen
                .iter()
                .flatten()
                .flatten()
                .all(|bundle| bundle.contains(ca))
        };
        replica.announced.retain(|ca, _| everywhere(ca));
        for ca in replica.seen.iter().flatten().flatten().flatten() {
            if everywhere(ca) {
                replica.announced.entry(ca.clone()).or_insert(self.seconds);
            }
        }
        let read = bundles.map_or(Configuration::Absent, Configuration::Entries);
        replica.rotation.see_configuration(index, read, now);
    }

    /// One plan, carried out as far as the API server takes it. False when there was nothing to do.
    fn act(&mut self, replica: usize) -> bool {
        let now = self.now(replica);
        let plan = self.replicas[replica].rotation.plan(now);
        if plan.is_idle() {
            assert!(plan.look_again > now.steady, "it would look again at once, and again");
            return false;
        }
        // What is done answers to what was just read.
        let just_read = self.replicas[replica]
            .read_at
            .is_some_and(|at| self.seconds - at <= JUST_READ.as_secs());
        if plan.read_secret || !just_read {
            self.read(replica);
            return true;
        }
        if let Some(ca) = plan.serve {
            self.serve(replica, ca, now);
        }
        if let Some(write) = plan.secret {
            self.write_secret(replica, write);
        }
        for write in plan.bundles {
            self.write_bundle(replica, &write);
        }
        true
    }

    fn serve(&mut self, index: usize, ca: Ca, now: Moment) {
        let replica = &mut self.replicas[index];
        for bundle in replica.seen.iter().flatten().flatten() {
            let same_ca = replica.rotation.served().is_some_and(|served| served.ca == ca);
            assert!(
                same_ca || bundle.contains(&ca),
                "replica {index} goes over to a CA that is not in the bundle it last read"
            );
        }
        let seen = || replica.seen.iter().flatten().flatten();
        let could_stay = replica.rotation.served().is_some_and(|served| {
            now.wall <= served.not_after && served.ca != ca && seen().all(|bundle| bundle.contains(&served.ca))
        });
        if could_stay && seen().count() > 0 {
            let since = replica.announced.get(&ca).map(|since| self.seconds - since);
            assert!(
                since >= Some(ANNOUNCED.as_secs()),
                "replica {index} goes over to a CA that was announced {since:?} seconds ago"
            );
        }
        let served = Served {
            not_before: now.wall - BACKDATED,
            not_after: (now.wall + CERTIFICATE_LIFETIME).min(ca.not_after()),
            ca,
        };
        replica.rotation.see_served(served, now);
    }

    fn write_secret(&mut self, replica: usize, write: SecretWrite) {
        let content = match write {
            SecretWrite::Begin {
                previous,
                previous_until,
            } => Content {
                previous,
                previous_until,
                ..Content::of(self.make_ca(replica))
            },
            SecretWrite::Announce(content) => Content {
                next: Some(self.make_ca(replica)),
                ..content
            },
            SecretWrite::Promote(content)
            | SecretWrite::WriteBack(content)
            | SecretWrite::List(content)
            | SecretWrite::Retire(content) => content,
        };
        let exists = self.secret.value != Secret::Missing;
        if exists && self.secret.version == self.replicas[replica].secret_version {
            self.put_secret(Secret::Holds(content));
        }
        self.read_secret(replica);
    }

    fn write_bundle(&mut self, replica: usize, write: &BundleWrite) {
        let index = write.configuration;
        if self.configurations[index].version == self.replicas[replica].configuration_versions[index] {
            self.edit(index, |entries| {
                for at in &write.entries {
                    entries[*at] = Entry {
                        bundle: write.bundle.clone(),
                        filled: true,
                    };
                }
            });
        }
        self.read_configuration(replica, index);
    }

    fn settle(&mut self, replica: usize) {
        self.read(replica);
        for _ in 0..50 {
            if !self.act(replica) {
                return;
            }
        }
        panic!("replica {replica} finds no end: {:?}", self.replicas[replica]);
    }

    /// What an API server would find: every replica's certificate, while it is valid, is trusted by each entry that was ever
    /// filled.
    fn assert_trusted(&self) {
        let filled = self
            .configurations
            .iter()
            .filter_map(|configuration| configuration.value.as_ref())
            .flatten()
            .filter(|entry| entry.filled);
        for entry in filled {
            for (index, replica) in self.replicas.iter().enumerate() {
                let Some(served) = replica.rotation.served() else {
                    continue;
                };
                let is_valid = self.now(index).wall <= served.not_after;
                assert!(
                    !is_valid || entry.bundle.contains(&served.ca),
                    "replica {index} serves a CA that is in no bundle"
                );
            }
        }
    }

    /// Lets all replicas read and act, and time pass, until they must have converged.
    fn heal(&mut self) {
        let holders = self.replicas.iter().any(|replica| replica.rotation.held().is_some());
        if self.secret.value == Secret::Missing || (self.secret.value == Secret::Unusable && !holders) {
            // What the log instructs the operator to do.
            self.put_secret(Secret::Empty);
        }
        for replica in &mut self.replicas {
            replica.skew = 0;
        }
        for _ in 0..8 {
            for replica in 0..REPLICAS {
                self.settle(replica);
            }
            self.seconds += 65;
        }
        for replica in 0..REPLICAS {
            self.settle(replica);
        }
    }
}

impl Replica {
    fn new(skew: i64) -> Self {
        Self {
            rotation: Rotation::new(CERTIFICATE_LIFETIME, CONFIGURATIONS),
            skew,
            secret_version: 0,
            configuration_versions: [0; CONFIGURATIONS],
            announced: BTreeMap::new(),
            seen: [None, None],
            read_at: None,
        }
    }
}

fn ordinary() -> impl Strategy<Value = Event> {
    let replica = 0..REPLICAS;
    let configuration = 0..CONFIGURATIONS;
    prop_oneof![
        4 => replica.clone().prop_map(Event::Read),
        6 => replica.clone().prop_map(Event::Act),
        4 => replica.clone().prop_map(Event::Settle),
        1 => replica.prop_map(Event::Restart),
        3 => prop_oneof![0..20_u64, Just(2 * MINUTE), Just(2 * HOUR), Just(5 * DAY), Just(31 * DAY)].prop_map(Event::Wait),
        1 => (configuration.clone(), 0..4_usize).prop_map(|(index, at)| Event::AddEntry(index, at)),
        1 => (configuration.clone(), 0..4_usize).prop_map(|(index, at)| Event::DropEntry(index, at)),
        1 => configuration.prop_map(Event::Toggle),
    ]
}

fn tampering() -> impl Strategy<Value = Event> {
    let configuration = 0..CONFIGURATIONS;
    prop_oneof![
        Just(Tampering::EmptySecret),
        Just(Tampering::SpoilSecret),
        Just(Tampering::DeleteSecret),
        (0..20_usize).prop_map(Tampering::RestoreSecret),
        configuration.clone().prop_map(Tampering::EmptyBundle),
        configuration.prop_map(Tampering::ForeignBundle),
        (0..REPLICAS, prop_oneof![-100_000_000_i64..100_000_000, -900..900_i64])
            .prop_map(|(replica, skew)| Tampering::SetClock(replica, skew)),
    ]
    .prop_map(Event::Tamper)
}

fn skews() -> impl Strategy<Value = [i64; REPLICAS]> {
    [-120..120_i64, -120..120_i64, -120..120_i64]
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 20_000, ..ProptestConfig::default() })]

    #[test]
    fn the_certificate_in_service_is_trusted_in_every_interleaving(
        skews in skews(),
        events in prop::collection::vec(ordinary(), 1..120),
    ) {
        let mut world = World::new(skews);
        for event in &events {
            world.happens(event);
            world.assert_trusted();
        }
    }

    #[test]
    fn replicas_agree_again_after_any_change_by_others(
        skews in skews(),
        events in prop::collection::vec(prop_oneof![4 => ordinary(), 1 => tampering()], 1..120),
    ) {
        let mut world = World::new(skews);
        for event in &events {
            world.happens(event);
        }
        world.heal();
        let Secret::Holds(content) = world.secret.value.clone() else {
            panic!("the Secret holds no CA: {:?}", world.secret);
        };
        world.assert_trusted();
        for (index, replica) in world.replicas.iter().enumerate() {
            let now = world.now(index).wall;
            prop_assert!(replica.rotation.is_trusted());
            prop_assert_eq!(replica.rotation.held(), Some(&content));
            let served = replica.rotation.served().unwrap();
            prop_assert!(served.not_before <= now && now <= served.not_after);
            prop_assert!(!content.ca.has_ended(now));
        }
    }
}
