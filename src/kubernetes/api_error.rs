//! Errors of the API server and of connections to it, in one line.

use std::error::Error;

use kube::core::Status;

use crate::support::text;

/// One line: `403 Forbidden: serviceaccounts is forbidden …`, or the chain of causes of a failed connection.
pub(crate) fn one_line(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status_line(status),
        other => chain(other),
    }
}

/// One line: code, reason, message.
pub(crate) fn status_line(status: &Status) -> String {
    let line = match (status.reason.as_str(), status.message.as_str()) {
        ("", "") => status.code.to_string(),
        ("", message) => format!("{}: {message}", status.code),
        (reason, "") => format!("{} {reason}", status.code),
        (reason, message) => format!("{} {reason}: {message}", status.code),
    };
    text::line(&line).into_owned()
}

/// The error and its causes, without causes that repeat the text so far.
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if !line.contains(&text) {
            line = format!("{line}: {text}");
        }
        cause = error.source();
    }
    text::line(&line).into_owned()
}
