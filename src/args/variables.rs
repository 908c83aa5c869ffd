//! The environment variable of every flag: `--some-flag` is `ROLEGATE_SOME_FLAG`.

use std::collections::BTreeSet;
use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, Command};

/// What precedes the name of a flag in its environment variable.
const PREFIX: &str = "ROLEGATE_";

/// Gives a flag its variable.
pub(super) fn with_variable(argument: Arg) -> Arg {
    match argument.get_long().map(variable) {
        Some(name) if argument.get_action().takes_values() => argument.env(name).hide_env_values(true),
        _ => argument,
    }
}

/// `--some-flag` is `ROLEGATE_SOME_FLAG`.
fn variable(flag: &str) -> String {
    let mut name = String::from(PREFIX);
    name.extend(
        flag.chars()
            .map(|c| if c == '-' { '_' } else { c.to_ascii_uppercase() }),
    );
    name
}

/// clap names the flag whose value is wrong. Where the value came from the environment, the error names the variable, too.
pub(super) fn name(mut error: clap::Error, command: &Command, arguments: &[OsString]) -> clap::Error {
    if !matches!(
        error.kind(),
        ErrorKind::ValueValidation | ErrorKind::InvalidValue | ErrorKind::ArgumentConflict
    ) {
        return error;
    }
    for kind in [ContextKind::InvalidArg, ContextKind::PriorArg] {
        let Some(ContextValue::String(shown)) = error.get(kind) else {
            continue;
        };
        let Some(flag) = shown
            .split([' ', '=', '['])
            .next()
            .and_then(|word| word.strip_prefix("--"))
        else {
            continue;
        };
        if is_from_environment(flag, command, arguments) {
            let named = format!("{} (environment variable of {shown})", variable(flag));
            error.insert(kind, ContextValue::String(named));
        }
    }
    error
}

fn is_from_environment(flag: &str, command: &Command, arguments: &[OsString]) -> bool {
    let short = command
        .get_subcommands()
        .flat_map(Command::get_arguments)
        .find(|argument| argument.get_long() == Some(flag))
        .and_then(Arg::get_short);
    let typed = arguments
        .iter()
        .filter_map(|argument| argument.to_str())
        .any(|argument| {
            let long = argument
                .strip_prefix("--")
                .map(|rest| rest.split_once('=').map_or(rest, |(name, _)| name));
            let letter = argument
                .strip_prefix('-')
                .filter(|rest| !rest.starts_with('-'))
                .and_then(|rest| rest.chars().next());
            long == Some(flag) || (short.is_some() && letter == short)
        });
    !typed && std::env::var_os(variable(flag)).is_some()
}

/// What to do about each variable that is set and was probably meant for a flag, as `NAME is not a setting; …`. Other variables with our
/// prefix are left alone: scripts have their own, such as `ROLEGATE_VERSION`, and Kubernetes sets `ROLEGATE_SERVICE_HOST`,
/// `ROLEGATE_PORT_443_TCP` and more for a Service whose name begins like the program's.
pub(super) fn unknown(command: &Command) -> Vec<String> {
    let flags = Flags::of(command);
    let set = std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value)));
    set.filter(|(name, value)| name.starts_with(PREFIX) && !is_of_kubernetes(name, &value.to_string_lossy()))
        .filter_map(|(name, _)| flags.unknown(&name))
        .collect()
}

/// The flags of all commands.
struct Flags {
    /// The variables that are read.
    settings: Vec<String>,
    /// The flags without one: they take no value, so that a variable could not turn them off.
    without_variable: Vec<String>,
}

impl Flags {
    fn of(command: &Command) -> Self {
        let arguments = || command.get_subcommands().flat_map(Command::get_arguments);
        let set = arguments().filter_map(|argument| argument.get_env()?.to_str().map(str::to_owned));
        let without = arguments().filter(|argument| argument.get_env().is_none());
        Self {
            settings: set.collect(),
            without_variable: without.filter_map(Arg::get_long).map(str::to_owned).collect(),
        }
    }

    /// None for a variable that is read, and for one that is like none of them.
    fn unknown(&self, name: &str) -> Option<String> {
        if self.settings.iter().any(|setting| setting == name) {
            return None;
        }
        if let Some(flag) = self.without_variable.iter().find(|flag| variable(flag) == name) {
            return Some(format!(
                "{name} is not a setting; --{flag} has no environment variable, pass the flag instead"
            ));
        }
        let meant = self.meant(name);
        let (last, others) = meant.split_last()?;
        let meant = if others.is_empty() {
            (*last).to_owned()
        } else {
            format!("{} or {last}", others.join(", "))
        };
        Some(format!("{name} is not a setting; did you mean {meant}?"))
    }

    /// None for a name that is like no variable, or like too many to be meant for one.
    fn meant(&self, name: &str) -> Vec<&str> {
        let settings: BTreeSet<&str> = self.settings.iter().map(String::as_str).collect();
        let Some(best) = settings.iter().copied().max_by_key(|setting| similarity(name, setting)) else {
            return Vec::new();
        };
        if is_misspelled(name, best) {
            return vec![best];
        }
        let is_one_word = !without_prefix(name).contains('_');
        let having: Vec<&str> = settings
            .iter()
            .copied()
            .filter(|setting| has_words(setting, name))
            .collect();
        // `ROLEGATE_LOG`: its letters do not tell which of several is meant.
        if is_one_word && having.len() > 1 {
            return if having.len() > MOST_OFFERED {
                Vec::new()
            } else {
                having
            };
        }
        if similarity(name, best) >= SIMILAR {
            vec![best]
        } else {
            Vec::new()
        }
    }
}

/// How many names are offered.
const MOST_OFFERED: usize = 4;

/// How similar a name must be to be offered.
const SIMILAR: usize = 70;

/// In percent, without what all names begin with. A name that lacks words of the other, or has more, is similar.
fn similarity(name: &str, setting: &str) -> usize {
    let (name, setting) = (without_prefix(name), without_prefix(setting));
    let longest = name.chars().count().max(setting.chars().count());
    let differing = strsim::damerau_levenshtein(name, setting) * 100;
    let letters = 100_usize.saturating_sub(differing.checked_div(longest).unwrap_or(0));
    if has_words(name, setting) || has_words(setting, name) {
        // Of several, the one with the most letters in common.
        SIMILAR + letters * (100 - SIMILAR) / 100
    } else {
        letters
    }
}

/// Whether a name has all words of another.
fn has_words(name: &str, other: &str) -> bool {
    let (name, other) = (without_prefix(name), without_prefix(other));
    other.split('_').all(|word| name.split('_').any(|own| own == word))
}

fn without_prefix(name: &str) -> &str {
    name.strip_prefix(PREFIX).unwrap_or(name)
}

/// Whether at most two letters differ (one, in a short name).
fn is_misspelled(name: &str, setting: &str) -> bool {
    let long = setting.len() >= PREFIX.len().saturating_add(6);
    (1..=if long { 2 } else { 1 }).contains(&strsim::levenshtein(name, setting))
}

/// Whether Kubernetes sets a variable of this form for a Service, in each container of the Service's namespace.
fn is_of_kubernetes(name: &str, value: &str) -> bool {
    let is_port = |rest: &str| {
        let mut parts = rest.split('_');
        let number = parts.next().unwrap_or_default();
        let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
        let is_protocol = matches!(parts.next(), Some("TCP" | "UDP" | "SCTP"));
        let is_part = matches!(parts.next(), None | Some("PROTO" | "PORT" | "ADDR"));
        is_number && is_protocol && is_part && parts.next().is_none()
    };
    name.ends_with("_SERVICE_HOST")
        || name.ends_with("_SERVICE_PORT")
        || name.contains("_SERVICE_PORT_")
        // `tcp://10.0.0.1:443`.
        || (name.ends_with("_PORT") && value.contains("://"))
        || name.match_indices("_PORT_").any(|(at, found)| name.get(at + found.len()..).is_some_and(is_port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unknown(name: &str) -> Option<String> {
        Flags::of(&super::super::clap()).unknown(name)
    }

    #[test]
    fn variables_that_kubernetes_sets_are_recognized() {
        for service in ["", "METRICS_", "WEBHOOK_", "ADMIN_", "EXPORT_1_TCP_"] {
            for (end, value) in [
                ("SERVICE_HOST", "10.0.0.1"),
                ("SERVICE_PORT", "443"),
                ("SERVICE_PORT_HTTPS", "443"),
                ("PORT", "tcp://10.0.0.1:443"),
                ("PORT_443_TCP", "tcp://10.0.0.1:443"),
                ("PORT_443_TCP_PROTO", "tcp"),
                ("PORT_443_TCP_PORT", "443"),
                ("PORT_443_TCP_ADDR", "10.0.0.1"),
                ("PORT_53_UDP", "udp://10.0.0.1:53"),
            ] {
                let name = format!("{PREFIX}{service}{end}");
                assert!(is_of_kubernetes(&name, value), "{name}");
            }
        }
    }

    #[test]
    fn no_variable_of_a_flag_looks_like_one_of_kubernetes() {
        let flags = Flags::of(&super::super::clap());
        assert!(flags.settings.len() > 40);
        let without = flags.without_variable.iter().map(|flag| variable(flag));
        for name in flags.settings.iter().cloned().chain(without) {
            assert!(!is_of_kubernetes(&name, "x"), "{name}");
        }
        for (name, value) in [
            ("ROLEGATE_PORT", "8443"),
            ("ROLEGATE_PORT_TCP", "8443"),
            ("ROLEGATE_PORT_443", "x"),
            ("ROLEGATE_PORT_443_TCP_PORTS", "x"),
        ] {
            assert!(!is_of_kubernetes(name, value), "{name}");
        }
    }

    #[test]
    fn an_unknown_variable_is_reported_with_what_to_do() {
        for (name, expected) in [
            ("ROLEGATE_LISTNE", "did you mean ROLEGATE_LISTEN?"),
            ("ROLEGATE_MDOE", "did you mean ROLEGATE_MODE?"),
            ("ROLEGATE_TRUST_TLL", "did you mean ROLEGATE_TRUST_TTL?"),
            ("ROLEGATE_TRUST_TIMEOUT", "did you mean ROLEGATE_TRUST_READ_TIMEOUT?"),
            ("ROLEGATE_AWS_DEFAULT_REGION", "did you mean ROLEGATE_AWS_REGION?"),
            ("ROLEGATE_LOGLEVEL", "did you mean ROLEGATE_LOG_LEVEL?"),
            ("ROLEGATE_REGION", "did you mean ROLEGATE_AWS_REGION?"),
            (
                "ROLEGATE_CLUSTER",
                "did you mean ROLEGATE_CLUSTER_ARN or ROLEGATE_CLUSTER_NAME?",
            ),
            (
                "ROLEGATE_LOG",
                "did you mean ROLEGATE_AUDIT_LOG, ROLEGATE_AUDIT_LOG_ROTATE, ROLEGATE_LOG_FORMAT or ROLEGATE_LOG_LEVEL?",
            ),
            (
                "ROLEGATE_POD_IDENTITY",
                "--pod-identity has no environment variable, pass the flag instead",
            ),
            (
                "ROLEGATE_ALL_NAMESPACES",
                "--all-namespaces has no environment variable, pass the flag instead",
            ),
        ] {
            let message = unknown(name).unwrap_or_else(|| panic!("{name} is known"));
            assert!(message.starts_with(&format!("{name} is not a setting; ")), "{message}");
            assert!(message.ends_with(expected), "{message}");
        }
        let read = ["ROLEGATE_LISTEN", "ROLEGATE_OUTPUT"];
        let of_scripts = [
            "ROLEGATE_",
            "ROLEGATE_IMAGE",
            "ROLEGATE_VERSION",
            "ROLEGATE_HOME",
            "ROLEGATE_UPDATE",
            // A word of many flags.
            "ROLEGATE_TOKEN",
            "ROLEGATE_ROLE",
        ];
        for name in read.into_iter().chain(of_scripts) {
            assert_eq!(unknown(name), None, "{name}");
        }
    }

    #[test]
    fn every_flag_has_its_variable() {
        assert_eq!(variable("some-flag"), "ROLEGATE_SOME_FLAG");
        let command = super::super::clap();
        for argument in command.get_subcommands().flat_map(Command::get_arguments) {
            let Some(long) = argument.get_long().filter(|_| argument.get_action().takes_values()) else {
                continue;
            };
            assert_eq!(
                argument.get_env().and_then(|name| name.to_str()),
                Some(variable(long).as_str())
            );
        }
    }
}
