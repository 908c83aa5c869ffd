//! What the webhook reports: log, audit log, Events, metrics.

use std::str::FromStr as _;

use clap::Args;

use crate::args::switch::{
    Default::{Off, On},
    SwitchArg as _,
};
use crate::args::usage::UsageError;
use crate::args::values;
use crate::telemetry::audit::{AuditTarget, Rotation};
use crate::telemetry::log::{LogFormat, LogLevel};

const HEADING: &str = "Logs, metrics and audit";

/// The log, which begins before anything else.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = HEADING)]
pub(crate) struct LogArgs {
    /// Log format on standard error: text or json
    #[arg(long, value_name = "FORMAT", default_value = "text", hide_possible_values = true, value_parser = values::suggesting::<LogFormat>(&["text", "json"]))]
    log_format: LogFormat,

    /// Log level
    ///
    /// error, warn, info, debug, trace or off; also for single modules: `info,rolegate::roles=debug`. Refusals and
    /// warnings are info, other decisions debug.
    #[arg(long, value_name = "LEVEL", default_value = "info", hide_possible_values = true, value_parser = values::suggesting::<LogLevel>(&["error", "warn", "info", "debug", "trace", "off"]))]
    log_level: LogLevel,
}

impl LogArgs {
    pub(crate) fn settings(self) -> (LogFormat, LogLevel) {
        let Self { log_format, log_level } = self;
        (log_format, log_level)
    }
}

/// The audit log, Events and metrics.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = HEADING)]
pub(crate) struct TelemetryArgs {
    /// Write one JSON line per response to a file, or to standard output (-)
    #[arg(long, value_name = "FILE|-", value_parser = AuditTarget::from_str)]
    pub(crate) audit_log: Option<AuditTarget>,

    /// When to begin a new audit log file: never, or hourly as FILE.2026-01-31T13
    #[arg(long, value_name = "WHEN", default_value = "never", hide_possible_values = true, value_parser = values::suggesting::<Rotation>(&["never", "hourly"]))]
    pub(crate) audit_log_rotate: Rotation,

    /// Report refusals and changes of trust as Events on the ServiceAccount
    ///
    /// `kubectl describe serviceaccount` shows them: one Event per ServiceAccount and cause in 10 minutes, whose series counts
    /// further refusals. Disable with `--events=false`. Not available with --standalone.
    #[arg(long, switch = On)]
    pub(crate) events: bool,

    /// Add a namespace label to rolegate_decisions_total and rolegate_service_account_verdicts
    #[arg(long, switch = Off)]
    pub(crate) metrics_namespace: bool,
}

impl TelemetryArgs {
    pub(super) fn validate(&self) -> Result<(), UsageError> {
        if self.audit_log_rotate == Rotation::Hourly && !matches!(self.audit_log, Some(AuditTarget::File(_))) {
            return Err(UsageError::missing(
                "--audit-log-rotate=hourly requires --audit-log FILE",
            ));
        }
        Ok(())
    }
}
