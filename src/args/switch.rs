//! Switches: `--flag`, `--flag=true`, `--flag=false`, and the same words in the environment variable.

use clap::{Arg, ArgAction};

/// The value of a switch that is not set.
#[derive(Clone, Copy, Debug)]
pub(super) enum Default {
    On,
    Off,
}

/// Adds `switch = …` to what `#[arg(…)]` takes.
pub(super) trait SwitchArg {
    /// Makes the flag a switch with this default.
    fn switch(self, default: Default) -> Self;
}

impl SwitchArg for Arg {
    fn switch(self, default: Default) -> Self {
        self.action(ArgAction::Set)
            .value_name("BOOL")
            .num_args(0..=1)
            .require_equals(true)
            .value_parser(parse)
            .default_missing_value("true")
            .default_value(match default {
                Default::On => "true",
                Default::Off => "false",
            })
    }
}

/// The words of Go's `ParseBool`, which Kubernetes users know from annotations and from other webhooks' flags.
fn parse(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(false),
        _ => Err("expected true or false".to_owned()),
    }
}
