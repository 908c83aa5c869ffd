//! The environment variable of every flag: `--some-flag` is `ROLEGATE_SOME_FLAG`.

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

/// The variables that are set and nearly have the name of a flag's variable, each with that name. Other variables with our prefix
/// are left alone: Kubernetes sets `ROLEGATE_SERVICE_HOST`, `ROLEGATE_PORT_443_TCP` and more for a Service that is named like the
/// program.
pub(super) fn misspelled(command: &Command) -> Vec<(String, String)> {
    let settings: Vec<String> = command
        .get_subcommands()
        .flat_map(Command::get_arguments)
        .filter_map(|argument| argument.get_env()?.to_str().map(str::to_owned))
        .collect();
    let set = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    set.filter(|name| name.starts_with(PREFIX) && !settings.contains(name))
        .filter_map(|name| {
            let meant = settings.iter().find(|setting| is_misspelled(&name, setting))?.clone();
            Some((name, meant))
        })
        .collect()
}

/// Whether at most two letters differ (one, in a short name).
fn is_misspelled(name: &str, setting: &str) -> bool {
    let long = setting.len() >= PREFIX.len().saturating_add(6);
    (1..=if long { 2 } else { 1 }).contains(&strsim::levenshtein(name, setting))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_that_kubernetes_sets_are_not_taken_for_misspelled_ones() {
        let command = super::super::clap();
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
                        .any(|setting| is_misspelled(&name, setting.to_str().unwrap())),
                    "{name}"
                );
            }
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
