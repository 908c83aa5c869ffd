//! The text of an SDK error: its causes on one line, bounded.

use std::error::Error;

use aws_sdk_iam::error::ErrorMetadata;

use crate::support::text;

/// The longest text of AWS that is passed on, in characters: reasons become part of warnings that authors read.
const LONGEST: usize = 300;

/// An error and its causes on one line, each once.
pub(crate) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut message = String::new();
    for text in causes(error).filter_map(text_of) {
        if message.is_empty() {
            message = text;
        } else if !message.contains(&text) {
            message = format!("{message}: {text}");
        }
    }
    message
}

/// An error, its cause, the cause of that.
pub(crate) fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error| (*error).source())
}

/// What one error adds to the line. Some of the SDK's errors print as Rust values, some add nothing.
fn text_of(error: &(dyn Error + 'static)) -> Option<String> {
    if let Some(answer) = error.downcast_ref::<ErrorMetadata>() {
        return answer.message().map(|message| text::line(message).into_owned());
    }
    let message = error.to_string();
    let message = text::line(&message.lines().map(str::trim).collect::<Vec<_>>().join(" ")).into_owned();
    let code = message
        .strip_prefix("unhandled error (")
        .and_then(|rest| rest.strip_suffix(')'));
    match code {
        Some(code) => Some(code.to_owned()),
        None if message == "service error" => None,
        None => Some(message),
    }
}

pub(crate) fn shortened(message: &str) -> String {
    text::truncate(&text::escape(message), LONGEST).into_owned()
}
