//! The phrases that readers stumble over, and what to write instead.

use regex::{Regex, RegexBuilder, RegexSet, RegexSetBuilder};

/// A phrase, where it is right all the same, and one sentence of each kind that proves the rule.
struct Rule {
    /// A regular expression between word boundaries; case does not matter, and a space is white space, also a line end.
    pattern: &'static str,
    instead: &'static str,
    /// Phrases around a match that are plain English, or that quote something outside the repository.
    unless: &'static [&'static str],
    bad: &'static str,
    good: &'static str,
}

const fn rule(pattern: &'static str, instead: &'static str, bad: &'static str, good: &'static str) -> Rule {
    Rule {
        pattern,
        instead,
        unless: &[],
        bad,
        good,
    }
}

impl Rule {
    const fn unless(mut self, phrases: &'static [&'static str]) -> Self {
        self.unless = phrases;
        self
    }
}

#[rustfmt::skip]
const PHRASES: &[Rule] = &[
    rule("told|tells|telling|untold", "reports, logs, records, passes, returns",
        "The change is told once.", "The change exceeds the threshold once."),
    rule("tell (?:of|about|on|people|it|him|them|the (?:user|author|operator|log|reader)|users|authors|operators|readers)",
        "report, log",
        "Events tell of refusals.", "Users tell both apart by their name."),
    rule("heed(?:s|ed|ing|less)?", "observe, update, follow",
        "The cache heeds the event.", "The cache needs the event."),
    rule("said", "logged, reported, written",
        "The failure is said once.", "The failure was read aside."),
    rule("anew|afresh", "again, new, from scratch",
        "The file is read anew.", "The file is a new one."),
    rule("whoever|whomever|whosoever|somebody|nobody", "the actor: the caller, another writer, no client",
        "Nobody waits for the log.", "No pod waits for the log, and someone reads it."),
    rule("under[ -]way|underway", "in progress, in flight",
        "Answers that are under\nway are awaited.", "Answers that are in flight are awaited, under a way that works."),
    rule("beside", "next to, in addition to, alongside",
        "It runs beside another webhook.", "Besides, it runs alongside another webhook."),
    rule("at (?:one's|his|her|its|their|our|your) side", "alongside, with",
        "A lock is at its side.", "A lock is on its side of the connection."),
    rule("(?:stand|stands|stood|standing) (?:in|at|for|beside|behind|above|below|under|before|there|here)",
        "is in, is at, is listed in, represents",
        "The role stands in the annotation.", "The standing rule applies as it stands."),
    rule("(?:there )?(?:is|are|was|were) no [a-z_]+", "is not a valid X, is not an X, has no X",
        "The value is no role ARN.", "The value is not a role ARN, and there is no default.")
        .unless(&["there is no", "there are no", "there was no", "there were no", "is no longer", "are no longer", "was no longer",
            "were no longer", "is no more", "are no more", "is no less", "is no fewer", "is no later", "is no earlier", "is no older"]),
    rule("(?:there )?(?:is|are|was|were) none", "is not one, is not set, does not exist",
        "The last of them is none.", "The value is nonempty, and there is none of the others.")
        .unless(&["there is none", "there are none", "there was none", "there were none"]),
    rule("may not", "must not, might not, cannot",
        "The role may not trust it.", "The role may well not trust it."),
    rule("mend(?:s|ed|ing)?", "fix, correct",
        "Mend the policy.", "Amend the policy that we recommend."),
    rule("cur(?:e|es|ed)", "fix",
        "Each fault is named with its cure.", "Each fault is secure, and curl reads it."),
    rule("troubles?|troubled", "failure, error, problem",
        "The trouble is logged.", "Troubleshooting starts at the log."),
    rule("quarrel(?:s|ed|ing)?", "write conflict",
        "Two replicas quarrel.", "Two replicas conflict; one has the squirrel."),
    rule("truces?", "backoff",
        "A truce follows.", "A structure follows."),
    rule("ledgers?", "budget, table",
        "The ledger counts bytes.", "The ledge counts bytes."),
    rule("seats?", "permit",
        "A request takes a seat.", "A request seeks a permit."),
    rule("(?:a|an|the|its|each|every|one) holding|holdings", "permit, budget",
        "The holding is given back.", "The writer waits while holding the lock."),
    rule("wants", "requires, expects, asks for",
        "The statement wants another audience.", "The statement is what the owner want."),
    rule("got", "has, was, read, received",
        "It got another audience.", "It has gotten another audience."),
    rule("(?:polic(?:y|ies)|statements?|conditions?|annotations?|serviceaccounts?) (?:that )?asks? for", "requires, requests",
        "The policy asks for an audience.", "The command asks for confirmation."),
    rule(r"(?:once|one [a-z]+|(?:two|three|four|\d[\d,]*) [a-z]+s) an? (?:account|answer|bundle|call|cause|cluster|connection|container|creation|entry|file|job|key|line|list|namespace|object|partition|pass|pod|provider|read|refusal|replica|request|review|role|source|serviceaccount|volume|watch|write)",
        "per",
        "It costs 48 bytes an entry.", "It costs 48 bytes per entry, once a day; one has a role.")
        .unless(&["one for a", "one has a", "one in a", "one is a", "one of a", "one that a", "one when a", "one with a"]),
    rule("bells?", "notification",
        "A change rings the bell.", "A change of the label notifies the watch."),
    rule("rings?|rang|ringing", "notify",
        "It rings when the map changes.", "It brings the map up to date.")
        .unless(&["ring buffer"]),
    rule("sound|sounds", "in sync, valid",
        "The list is sound again.", "The bound is a resounding success."),
    rule("house|houses", "project, repository",
        "That is a rule of the house.", "That is a warehouse."),
    rule("(?:a|the|this|that|each|every|other|another|own|one) room|rooms", "module, layer",
        "Each room has its own errors.", "This leaves room for a suffix."),
    rule("floors", "layers",
        "Modules are floors.", "The floor of the number is taken."),
    rule("laws?", "property, rule",
        "The laws hold for every policy.", "The flaws of the policy hold.")
        .unless(&["De Morgan's law"]),
    rule("story|stories", "scenario",
        "The story ends with a Job.", "The history ends with a Job."),
    rule("(?:role|the|a) books?", "role cache",
        "The book holds each role.", "The bookmark holds each role."),
    rule("shelf|shelves", "store",
        "It is kept on a shelf.", "It is kept by itself."),
    rule("keepers?", "refresher",
        "The keeper reads it again.", "The timekeeper reads it again."),
    rule("nudg(?:e|es|ed|ing)", "notify",
        "A refusal nudges it.", "A refusal notifies it."),
    rule("turned away", "rejected, refused",
        "The request is turned away.", "The request returned a way to retry."),
    rule("till|lest|thereof|whence|thence|whither|whereof", "until, so that … not, of it, from where",
        "It waits till then.", "It waits until then, still at the latest."),
    rule("not to be had|is to be had|are to be had|can be had|cannot be had|to be had", "available, not available",
        "The lock is not to be had.", "The lock is available."),
    rule("(?:what|that which) (?:becomes?|comes?|came|became) of", "what happens to, the result of",
        "It says what becomes of a pod.", "It says what happens to a pod."),
    rule("so it is with", "the same applies to",
        "So it is with the others.", "So it is logged with the others."),
];

/// British spellings, as the beginnings of words, and the American ones.
#[rustfmt::skip]
const SPELLINGS: &[(&str, &str)] = &[
    ("analyse", "analyze"), ("behaviour", "behavior"), ("catalogue", "catalog"), ("centre", "center"), ("colour", "color"),
    ("defence", "defense"), ("endeavour", "endeavor"), ("favour", "favor"), ("flavour", "flavor"), ("grey", "gray"),
    ("honour", "honor"), ("judgement", "judgment"), ("labelled", "labeled"), ("labelling", "labeling"), ("learnt", "learned"),
    ("licence", "license"), ("modelled", "modeled"), ("modelling", "modeling"),
    ("neighbour", "neighbor"), ("offence", "offense"), ("rumour", "rumor"), ("signalled", "signaled"),
    ("signalling", "signaling"), ("spelt", "spelled"), ("travelled", "traveled"), ("whilst", "while"), ("amongst", "among"),
];

/// Verbs that British spelling may end in -ise, up to that ending.
#[rustfmt::skip]
const ISE: &[&str] = &[
    "author", "canonical", "capital", "categor", "central", "character", "custom", "deserial", "emphas", "final", "general",
    "initial", "local", "material", "maxim", "memo", "minim", "modern", "normal", "optim", "organ", "parallel", "penal", "priorit",
    "random", "real", "recogn", "reorgan", "sanit", "serial", "special", "stabil", "standard", "summar", "synchron", "token",
    "uninitial", "unrecogn", "unauthor", "util", "visual",
];

/// The beginnings of words that no name may contain: the old vocabulary of the code.
#[rustfmt::skip]
const NAMES: &[(&str, &str)] = &[
    ("told", "outcome, reported"), ("said", "logged, printed, reported"), ("tell", "report, name, list"),
    ("heed", "observe, update"), ("mend", "fix, update"), ("trouble", "failure"),
    ("ledger", "budget, table"), ("quarrel", "conflict"), ("truce", "backoff"), ("stumbl", "failure, retry"),
    ("shelf", "store"), ("shelves", "stores"), ("keeper", "refresher, guard"), ("wish", "annotation, request"),
    ("story", "scenario"), ("stories", "scenarios"), ("naked", "without role, without identity"),
    ("labelled", "labeled"), ("beside", "next to"), ("anew", "again"), ("afresh", "again"),
    ("whoever", "the actor"), ("somebody", "the actor"), ("nobody", "no client, only"), ("everybody", "all clients, all principals"),
];

/// A phrase in a text.
pub(crate) struct Finding {
    pub(crate) start: usize,
    pub(crate) phrase: String,
    pub(crate) instead: String,
}

struct Compiled {
    regex: Regex,
    instead: String,
    unless: &'static [&'static str],
}

impl Compiled {
    fn of(rule: &Rule) -> Self {
        Self {
            regex: compile(rule.pattern),
            instead: rule.instead.to_owned(),
            unless: rule.unless,
        }
    }

    fn of_spelling((british, american): &(&str, &str)) -> Self {
        Self {
            regex: compile(&format!("{british}[a-z]*")),
            instead: format!("`{american}`"),
            unless: &[],
        }
    }

    fn find(&self, text: &str) -> Vec<Finding> {
        let matches = self.regex.find_iter(text).filter(|found| {
            let is_around = |phrase: &&str| {
                let from = text.floor_char_boundary(found.start().saturating_sub(phrase.len()));
                let to = text.ceil_char_boundary((found.end() + phrase.len()).min(text.len()));
                one_line(&text[from..to])
                    .to_lowercase()
                    .contains(&phrase.to_lowercase())
            };
            !self.unless.iter().any(is_around)
        });
        let finding = |found: regex::Match<'_>| Finding {
            start: found.start(),
            phrase: one_line(found.as_str()),
            instead: self.instead.clone(),
        };
        matches.map(finding).collect()
    }
}

/// Every rule, ready to be used.
pub(crate) struct Rules {
    /// All of them in one pass: most files match none.
    any: RegexSet,
    each: Vec<Compiled>,
}

impl Rules {
    pub(crate) fn new() -> Self {
        let phrases = PHRASES.iter().map(Compiled::of);
        let spellings = SPELLINGS.iter().map(Compiled::of_spelling);
        let verbs = ISE.iter().map(|stem| Compiled {
            regex: compile(&format!("{stem}is(?:e|es|ed|er|ers|ing|ation|ations)")),
            instead: format!("`{stem}iz…`"),
            unless: &[],
        });
        let each: Vec<Compiled> = phrases.chain(spellings).chain(verbs).collect();
        let any = RegexSetBuilder::new(each.iter().map(|rule| rule.regex.as_str()))
            .case_insensitive(true)
            .unicode(false)
            .build()
            .unwrap();
        Self { any, each }
    }

    pub(crate) fn findings(&self, prose: &str) -> Vec<Finding> {
        let matching = self.any.matches(prose);
        matching.iter().flat_map(|index| self.each[index].find(prose)).collect()
    }
}

/// What to write in a name instead; `None` when it is fine.
pub(crate) fn of_identifier(name: &str) -> Option<String> {
    let mut words = String::new();
    let mut was_lowercase = false;
    for c in name.chars() {
        if c.is_uppercase() && was_lowercase {
            words.push('_');
        }
        was_lowercase = c.is_lowercase();
        words.extend(c.to_lowercase());
    }
    let found = words
        .split('_')
        .find_map(|word| NAMES.iter().find(|(root, _)| word.starts_with(root)));
    found.map(|(_, instead)| (*instead).to_owned())
}

fn compile(pattern: &str) -> Regex {
    let pattern = pattern.replace(' ', r"(?:[ \t]+|[ \t]*\n[ \t]*)");
    let pattern = format!(r"\b(?:{pattern})\b");
    RegexBuilder::new(&pattern)
        .case_insensitive(true)
        .unicode(false)
        .build()
        .unwrap()
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn every_rule_finds_its_phrase_and_nothing_that_resembles_it() {
    for rule in PHRASES {
        let compiled = Compiled::of(rule);
        assert!(
            !compiled.find(rule.bad).is_empty(),
            "not found by {}: {}",
            rule.pattern,
            rule.bad
        );
        let found: Vec<String> = compiled.find(rule.good).into_iter().map(|one| one.phrase).collect();
        assert!(found.is_empty(), "{}: {found:?} in: {}", rule.pattern, rule.good);
    }
}

#[test]
fn every_good_sentence_passes_every_rule() {
    let rules = Rules::new();
    for rule in PHRASES {
        let found: Vec<String> = rules.findings(rule.good).into_iter().map(|one| one.phrase).collect();
        assert!(found.is_empty(), "{found:?} in: {}", rule.good);
    }
}

#[test]
fn british_spellings_are_found_and_american_ones_are_not() {
    let rules = Rules::new();
    let phrases = |text: &str| rules.findings(text).len();
    for (british, american) in SPELLINGS {
        assert_eq!(phrases(&format!("The {british}s of it.")), 1, "{british}");
        assert_eq!(phrases(&format!("The {american}s of it.")), 0, "{american}");
    }
    for stem in ISE {
        for ending in ["ise", "ised", "ising", "isation"] {
            assert_eq!(phrases(&format!("To {stem}{ending} it.")), 1, "{stem}{ending}");
            let american = ending.replacen("is", "iz", 1);
            assert_eq!(phrases(&format!("To {stem}{american} it.")), 0, "{stem}{american}");
        }
    }
    assert_eq!(
        phrases("A realist makes promises, otherwise precise; a specialist is on the premises."),
        0
    );
}

#[test]
fn names_are_taken_apart_into_words() {
    for name in [
        "told",
        "is_told",
        "ToldOnce",
        "BytesLedger",
        "TRUCE_BASE",
        "wishes",
        "Keeper",
        "troubled",
        "mend_role",
        "a_role_is_told",
        "Story",
        "USER_STORIES",
        "bound_to_nobody",
    ] {
        assert!(of_identifier(name).is_some(), "{name}");
    }
    for name in [
        "threshold",
        "Threshold",
        "BookKept",
        "swish",
        "housekeeping",
        "shelter",
        "amended",
        "History",
        "restored",
    ] {
        assert!(of_identifier(name).is_none(), "{name}");
    }
}
