//! What commands print: text for people, JSON and YAML for programs.
//!
//! Colors are written always and taken away where they do not belong: `NO_COLOR`, `CLICOLOR`, `CLICOLOR_FORCE` and pipes
//! are honored by anstream. A closed pipe (`| head`) is not an error.

use std::fmt::{self, Write as _};
use std::io::{self, Write};

use anstyle::{AnsiColor, Style};
use clap::{Args, ValueEnum};
use serde::Serialize;

use crate::support::text;

/// Good news.
pub(crate) const GOOD: Style = AnsiColor::Green.on_default().bold();
/// Bad news.
pub(crate) const BAD: Style = AnsiColor::Red.on_default().bold();
/// Doubt.
pub(crate) const DOUBT: Style = AnsiColor::Yellow.on_default().bold();
/// What a reader copies or looks for.
pub(crate) const STRONG: Style = Style::new().bold();
/// Labels.
pub(crate) const DIM: Style = Style::new().dimmed();
/// Commands to type.
pub(crate) const COMMAND: Style = AnsiColor::Cyan.on_default();

/// How a command reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people
    Text,
    /// For programs: one JSON document
    Json,
    /// The same as YAML
    Yaml,
}

#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct OutputArgs {
    /// Form of the report
    #[arg(short, long, value_name = "FORMAT", default_value = "text", help_heading = "Output")]
    pub(crate) output: Format,
}

/// A text in a style.
pub(crate) struct Styled<T>(pub(crate) Style, pub(crate) T);

impl<T: fmt::Display> fmt::Display for Styled<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(style, text) = self;
        write!(f, "{style}{text}{style:#}")
    }
}

/// Prints a report in the format that was asked for; `to_text` makes the one for people, colors included.
///
/// # Errors
/// When standard output cannot be written; not when its reader went away.
pub(crate) fn report<T: Serialize>(format: Format, value: &T, to_text: impl FnOnce(&T) -> String) -> io::Result<()> {
    match format {
        Format::Text => print(&to_text(value)),
        Format::Json => print(&text::json::escape(&format!(
            "{}\n",
            serde_json::to_string_pretty(value)?
        ))),
        Format::Yaml => print(&text::json::escape(
            &serde_saphyr::to_string(value).map_err(io::Error::other)?,
        )),
    }
}

/// Prints to standard output. Line breaks and styles are the only hidden characters that get there.
///
/// # Errors
/// As [`report`].
pub(crate) fn print(report: &str) -> io::Result<()> {
    let mut out = anstream::stdout().lock();
    unless_reader_left(
        out.write_all(text::terminal(report).as_bytes())
            .and_then(|()| out.flush()),
    )
}

/// Tells something beside the report, on standard error.
pub(crate) fn note(note: &str) {
    // Nowhere is left to tell that telling failed.
    let _ = writeln!(anstream::stderr().lock(), "{}", text::terminal(note));
}

/// Asks something on standard error; the answer is typed on the same line.
#[cfg(feature = "aws")]
pub(crate) fn ask(question: &str) {
    let mut out = anstream::stderr().lock();
    let _ = write!(out, "{}", text::terminal(question)).and_then(|()| out.flush());
}

/// Tells an error on standard error.
pub(crate) fn error(text: impl fmt::Display) {
    note(&format!("{} {text}", Styled(BAD, "error:")));
}

/// The columns of the terminal on standard output, or `COLUMNS`; none for pipes and files.
pub(crate) fn width() -> Option<usize> {
    let terminal = terminal_size::terminal_size_of(io::stdout()).map(|(width, _)| usize::from(width.0));
    let variable = || std::env::var("COLUMNS").ok()?.parse().ok();
    terminal.or_else(variable).filter(|columns| *columns > 0)
}

/// A broken pipe is the reader's way to say "enough".
pub(crate) fn unless_reader_left(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

/// Lines of `label  value`, the values aligned, each line indented by two.
pub(crate) fn fields(rows: &[(&str, String)]) -> String {
    let width = rows.iter().map(|(label, _)| label.chars().count()).max().unwrap_or(0);
    let mut lines = String::new();
    for (label, value) in rows {
        // Writing to a String cannot fail.
        let _ = writeln!(lines, "  {DIM}{label:width$}{DIM:#}  {value}");
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_aligned() {
        let text = fields(&[("role", "a".to_owned()), ("subject", "b".to_owned())]);
        assert_eq!(
            anstream::adapter::strip_str(&text).to_string(),
            "  role     a\n  subject  b\n"
        );
    }

    #[test]
    fn a_reader_who_leaves_is_no_error() {
        assert!(unless_reader_left(Err(io::ErrorKind::BrokenPipe.into())).is_ok());
        assert!(unless_reader_left(Err(io::ErrorKind::StorageFull.into())).is_err());
    }
}
