//! The environment variable of every flag: `--some-flag` is `ROLEGATE_SOME_FLAG`.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, Command};

use super::output::{self, DOUBT, Styled};

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

/// clap names the flag whose value is wrong; whoever set the environment variable should see its name, too.
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
            let told = format!("{} (environment variable of {shown})", variable(flag));
            error.insert(kind, ContextValue::String(told));
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

/// Tells of variables that are nearly a setting. Others with our prefix are none of our business: Kubernetes makes
/// `ROLEGATE_SERVICE_HOST`, `ROLEGATE_PORT_443_TCP` and more of a Service that is named like the program.
pub(super) fn warn_of_misspelt(command: &Command) {
    let settings: Vec<String> = command
        .get_subcommands()
        .flat_map(Command::get_arguments)
        .filter_map(|argument| argument.get_env()?.to_str().map(str::to_owned))
        .collect();
    let set = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    for name in set.filter(|name| name.starts_with(PREFIX) && !settings.contains(name)) {
        if let Some(meant) = settings.iter().find(|setting| is_misspelt(&name, setting)) {
            output::note(&format!(
                "{} {name} is no setting; did you mean {meant}?",
                Styled(DOUBT, "warning:")
            ));
        }
    }
}

/// Whether at most two letters differ (one, in a short name).
fn is_misspelt(name: &str, setting: &str) -> bool {
    let long = setting.len() >= PREFIX.len().saturating_add(6);
    (1..=if long { 2 } else { 1 }).contains(&distance(name, setting))
}

/// Letters to insert, remove or replace (Levenshtein).
fn distance(one: &str, other: &str) -> usize {
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (index, letter) in one.bytes().enumerate() {
        let mut diagonal = index;
        let mut left = index.saturating_add(1);
        if let Some(first) = row.first_mut() {
            *first = left;
        }
        for (cell, wanted) in row.iter_mut().skip(1).zip(other.bytes()) {
            let replaced = diagonal.saturating_add(usize::from(letter != wanted));
            diagonal = *cell;
            left = replaced.min(left.saturating_add(1)).min(diagonal.saturating_add(1));
            *cell = left;
        }
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_that_differ_are_counted() {
        for (one, other, count) in [
            ("", "", 0),
            ("a", "", 1),
            ("", "ab", 2),
            ("kitten", "sitting", 3),
            ("LISTNE", "LISTEN", 2),
            ("MODE", "MODES", 1),
        ] {
            assert_eq!(
                (distance(one, other), distance(other, one)),
                (count, count),
                "{one} {other}"
            );
        }
    }

    #[test]
    fn what_kubernetes_sets_is_no_misspelt_setting() {
        let command = super::super::command();
        let settings: Vec<_> = command
            .get_subcommands()
            .flat_map(Command::get_arguments)
            .filter_map(Arg::get_env)
            .collect();
        assert!(settings.len() > 40);
        for service in ["", "METRICS_", "WEBHOOK_", "ADMIN_"] {
            for end in [
                "SERVICE_HOST",
                "SERVICE_PORT",
                "SERVICE_PORT_HTTPS",
                "PORT",
                "PORT_443_TCP",
                "PORT_443_TCP_PROTO",
                "PORT_443_TCP_PORT",
                "PORT_443_TCP_ADDR",
            ] {
                let name = format!("{PREFIX}{service}{end}");
                assert!(
                    !settings
                        .iter()
                        .any(|setting| is_misspelt(&name, setting.to_str().unwrap())),
                    "{name}"
                );
            }
        }
    }

    #[test]
    fn every_flag_has_its_variable() {
        assert_eq!(variable("some-flag"), "ROLEGATE_SOME_FLAG");
        let command = super::super::command();
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
