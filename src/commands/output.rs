//! What commands print: text for people, JSON and YAML for programs.
//!
//! Colors are always written; anstream removes them for pipes and honors `NO_COLOR`, `CLICOLOR` and `CLICOLOR_FORCE`. A closed
//! pipe (`| head`) is not an error.

use std::borrow::Cow;
use std::env;
use std::fmt;
use std::io::{self, IsTerminal as _, Write};
use std::sync::LazyLock;

use anstyle::{AnsiColor, Style};
use anyhow::{Context as _, Result};
use serde::Serialize;
use serde_json::json;

use super::wrap::wrap_value;
use crate::args;
use crate::args::output::{FindingsFormat, Format};
use crate::reports::{self, Findings};
use crate::support::text;

/// Success.
pub(super) const GOOD: Style = AnsiColor::Green.on_default().bold();
/// Failure.
pub(super) const BAD: Style = AnsiColor::Red.on_default().bold();
/// Undetermined, and warnings.
pub(super) const DOUBT: Style = AnsiColor::Yellow.on_default().bold();
/// What a reader copies or looks for.
pub(super) const STRONG: Style = Style::new().bold();
/// Labels.
pub(super) const DIM: Style = Style::new().dimmed();
/// Commands to type.
pub(super) const COMMAND: Style = AnsiColor::Cyan.on_default();

/// A text in a style.
pub(super) struct Styled<T>(pub(super) Style, pub(super) T);

impl<T: fmt::Display> fmt::Display for Styled<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(style, text) = self;
        write!(f, "{style}{text}{style:#}")
    }
}

/// Prints a report in this format; `to_text` makes the one for people, colors included.
///
/// # Errors
/// When standard output cannot be written; not when its reader went away.
pub(super) fn report<T: Serialize>(format: Format, value: &T, to_text: impl FnOnce(&T) -> String) -> Result<()> {
    let report = match format {
        Format::Text => return print(&to_text(value)),
        Format::Json => format!("{}\n", serde_json::to_string_pretty(value)?),
        Format::Yaml => serde_saphyr::to_string(value)?,
    };
    print(&text::json::escape(&report))
}

/// Prints findings in this format; `to_findings` makes the value of the formats for other programs.
///
/// # Errors
/// As [`report`].
pub(super) fn findings<T: Serialize>(
    format: FindingsFormat,
    value: &T,
    to_text: impl FnOnce(&T) -> String,
    to_findings: impl FnOnce(&T) -> Findings,
) -> Result<()> {
    let report = match format {
        FindingsFormat::Text => return report(Format::Text, value, to_text),
        FindingsFormat::Json => return report(Format::Json, value, to_text),
        FindingsFormat::Yaml => return report(Format::Yaml, value, to_text),
        FindingsFormat::Junit => reports::junit::render(&to_findings(value)),
        FindingsFormat::Github => reports::github::render(&to_findings(value)),
        FindingsFormat::Html => reports::html::render(&to_findings(value)),
        FindingsFormat::Sarif => {
            let log = serde_json::to_string_pretty(&reports::sarif::log(&to_findings(value)))?;
            format!("{}\n", text::json::escape(&log))
        }
        FindingsFormat::Openreports => {
            let mut documents = String::new();
            let mut reports = reports::openreports::reports(&to_findings(value));
            if reports.is_empty() {
                // For programs that expect an object.
                reports.push(json!({"apiVersion": "v1", "kind": "List", "items": []}));
            }
            for report in reports {
                documents.push_str("---\n");
                documents.push_str(&text::json::escape(&serde_saphyr::to_string(&report)?));
            }
            documents
        }
    };
    print(&report)
}

/// Prints to standard output. Line breaks and styles are the only hidden characters that get there.
///
/// # Errors
/// As [`report`].
pub(super) fn print(report: &str) -> Result<()> {
    let mut out = anstream::stdout().lock();
    let written = out
        .write_all(text::terminal(report).as_bytes())
        .and_then(|()| out.flush());
    unless_reader_left(written).context("standard output")
}

/// Prints manifests to standard output: byte for byte to a pipe or a file, as [`print`] to a terminal.
///
/// # Errors
/// As [`report`].
pub(super) fn print_manifests(manifests: &str) -> Result<()> {
    if io::stdout().is_terminal() {
        return print(manifests);
    }
    let mut out = io::stdout().lock();
    let written = out.write_all(manifests.as_bytes()).and_then(|()| out.flush());
    unless_reader_left(written).context("standard output")
}

/// Commands of rolegate in text for people, as they can be typed here: who installed the kubectl plugin does not have `rolegate` in PATH.
pub(super) fn as_typed(text: &str) -> Cow<'_, str> {
    static IS_PLUGIN: LazyLock<bool> = LazyLock::new(|| args::is_kubectl_plugin(&env::args_os().collect::<Vec<_>>()));
    if *IS_PLUGIN {
        of_plugin(text)
    } else {
        Cow::Borrowed(text)
    }
}

/// With `kubectl` before each command.
fn of_plugin(text: &str) -> Cow<'_, str> {
    const PROGRAM: &str = "rolegate ";
    let mut typed = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(PROGRAM) {
        let (before, from_program) = rest.split_at(at);
        let after = from_program.get(PROGRAM.len()..).unwrap_or_default();
        typed.push_str(before);
        // In a path or another word, it is not the program.
        let is_word = |character: char| character.is_alphanumeric() || matches!(character, '-' | '_' | '/' | '.');
        if is_command(after) && !typed.ends_with("kubectl ") && !typed.ends_with(is_word) {
            typed.push_str("kubectl ");
        }
        typed.push_str(PROGRAM);
        rest = after;
    }
    if typed.is_empty() {
        return Cow::Borrowed(text);
    }
    typed.push_str(rest);
    Cow::Owned(typed)
}

/// Whether a text begins with a command of rolegate, or with what represents one.
fn is_command(text: &str) -> bool {
    static COMMANDS: LazyLock<Vec<String>> = LazyLock::new(|| {
        let program = args::clap();
        let commands = program.get_subcommands().map(|command| command.get_name().to_owned());
        commands.chain(["help".to_owned(), "COMMAND".to_owned()]).collect()
    });
    let is_whole = |after: &str| !after.starts_with(|character: char| character.is_alphanumeric() || character == '-');
    let mut commands = COMMANDS.iter();
    text.starts_with("--") || commands.any(|command| text.strip_prefix(command.as_str()).is_some_and(is_whole))
}

/// Prints a line to standard error, next to the report.
pub(super) fn note(note: &str) {
    // There is nowhere left to report that standard error is closed.
    let _ = writeln!(anstream::stderr().lock(), "{}", text::terminal(note));
}

/// Prints a warning to standard error.
pub(super) fn warn(message: &str) {
    note(&format!("{} {}", Styled(DOUBT, "warning:"), text::escape(message)));
}

/// Asks something on standard error; the answer is typed on the same line.
#[cfg(feature = "aws")]
pub(super) fn ask(question: &str) {
    let mut out = anstream::stderr().lock();
    let _ = write!(out, "{}", text::terminal(question)).and_then(|()| out.flush());
}

/// Prints an error to standard error.
pub(super) fn error(text: impl fmt::Display) {
    note(&format!("{} {text}", Styled(BAD, "error:")));
}

/// The columns of the terminal on standard output, or `COLUMNS`; none for pipes and files.
pub(super) fn width() -> Option<usize> {
    let terminal = terminal_size::terminal_size_of(io::stdout()).map(|(width, _)| usize::from(width.0));
    let variable = || std::env::var("COLUMNS").ok()?.parse().ok();
    terminal.or_else(variable).filter(|columns| *columns > 0)
}

/// A broken pipe is not an error: the reader has what it needs.
fn unless_reader_left(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

/// Lines of `label  value`, the values aligned, each line indented by two. Values are wrapped at a number of columns.
pub(super) fn fields(rows: &[(&str, String)], columns: Option<usize>) -> String {
    let width = rows.iter().map(|(label, _)| label.chars().count()).max().unwrap_or(0);
    let mut lines = String::new();
    for (label, value) in rows {
        let first = format!("  {DIM}{label:width$}{DIM:#}  ");
        let indent = " ".repeat(width.saturating_add(4));
        wrap_value(&mut lines, value, columns.unwrap_or(usize::MAX), &first, &indent);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_aligned() {
        let text = fields(&[("role", "a".to_owned()), ("subject", "b".to_owned())], None);
        assert_eq!(
            anstream::adapter::strip_str(&text).to_string(),
            "  role     a\n  subject  b\n"
        );
    }

    #[test]
    fn commands_are_those_of_the_plugin() {
        for (text, typed) in [
            (
                "rolegate explain wrong-subject",
                "kubectl rolegate explain wrong-subject",
            ),
            (
                "create the role; its trust policy: rolegate trust-policy --account 111122223333",
                "create the role; its trust policy: kubectl rolegate trust-policy --account 111122223333",
            ),
            (
                "make sure that rolegate can read the role",
                "make sure that rolegate can read the role",
            ),
            (
                "helm template r ./chart | rolegate audit --file -\nrolegate --version",
                "helm template r ./chart | kubectl rolegate audit --file -\nkubectl rolegate --version",
            ),
            (
                "Usage: kubectl rolegate check --all",
                "Usage: kubectl rolegate check --all",
            ),
            ("rolegate checks; ./rolegate check", "rolegate checks; ./rolegate check"),
        ] {
            assert_eq!(of_plugin(text), typed);
        }
    }

    #[test]
    fn a_reader_that_leaves_is_not_an_error() {
        assert!(unless_reader_left(Err(io::ErrorKind::BrokenPipe.into())).is_ok());
        assert!(unless_reader_left(Err(io::ErrorKind::StorageFull.into())).is_err());
    }
}
