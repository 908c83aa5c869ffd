//! `rolegate explain`: what a cause or a verdict means and how to fix it, from `docs/causes.md`, and what a lint means.
//!
//! The terminal form supports the Markdown that the page uses: headings, paragraphs, lists of one level, fenced blocks, code
//! spans and links. `tests/cli/explain.rs` checks that nothing else is left in the output.

use std::fmt::Write as _;

use anyhow::{Context as _, Result};

use super::exit::Exit;
use super::output::{self, COMMAND, STRONG, Styled};
use super::wrap::wrap;
use crate::args::explain::ExplainArgs;
use crate::args::output::OutputArgs;
use crate::decision::causes::{Section, lints, sections};
use crate::trust::Cause;

/// Column width for pipes and files. Prose in wider lines is hard to read, so terminals get at most [`WIDEST`].
const DEFAULT_WIDTH: usize = 80;
const WIDEST: usize = 100;
const NARROWEST: usize = 40;

/// What follows the meaning of a lint.
const LINT: &str = "\n\nThis is a lint: a remark that does not change the verdict.";

/// Runs the command.
pub(super) fn run(args: ExplainArgs) -> Result<Exit> {
    let ExplainArgs {
        cause,
        output: OutputArgs { output: format },
    } = args;
    let width = output::width();
    match cause {
        None => {
            let all: Vec<Section> = sections().chain(lints()).collect();
            output::report(format, &all, |all| list(all, width.unwrap_or(usize::MAX)))?;
        }
        Some(word) => {
            let lint = lints().find(|section| section.cause == word);
            let note = lint.as_ref().map_or("", |_| LINT);
            let section = sections().find(|section| section.cause == word).or(lint);
            let section = section.with_context(|| format!("no section explains {word}"))?;
            let width = width.unwrap_or(DEFAULT_WIDTH).clamp(NARROWEST, WIDEST);
            output::report(format, &section, |section| {
                let text = format!("{}{note}", section.text);
                format!("{}\n\n{}", Styled(STRONG, section.cause), render(&text, width))
            })?;
        }
    }
    Ok(Exit::Yes)
}

/// All words with their summaries, aligned.
fn list(sections: &[Section], width: usize) -> String {
    let is_lint = |section: &&Section| lints().any(|lint| lint.cause == section.cause);
    let (remarks, others): (Vec<&Section>, Vec<&Section>) = sections.iter().partition(is_lint);
    let (causes, verdicts): (Vec<&Section>, Vec<&Section>) = others
        .into_iter()
        .partition(|section| Cause::ALL.iter().any(|cause| cause.as_str() == section.cause));
    let longest = sections.iter().map(|section| section.cause.len()).max().unwrap_or(0);
    let indent = " ".repeat(longest.saturating_add(4));
    let mut shown = String::new();
    for (title, sections) in [("Causes", causes), ("Verdicts", verdicts), ("Lints", remarks)] {
        let _ = writeln!(shown, "{}", Styled(STRONG, title));
        for section in sections {
            let word = format!("  {COMMAND}{:longest$}{COMMAND:#}  ", section.cause);
            wrap(&mut shown, &inline(section.summary), width, &word, &indent);
        }
        shown.push('\n');
    }
    let next =
        "Run `rolegate explain CAUSE` for the explanation of one of them and, unless it is a lint, how to fix it.";
    wrap(&mut shown, &inline(&output::as_typed(next)), width, "", "");
    shown
}

/// Markdown for a terminal: fenced blocks as they are, everything else wrapped.
fn render(markdown: &str, width: usize) -> String {
    let mut shown = String::new();
    let mut lines = markdown.lines().peekable();
    while let Some(line) = lines.next() {
        if is_fence(line) {
            for code in lines.by_ref().take_while(|line| !is_fence(line)) {
                let _ = writeln!(shown, "    {}", output::as_typed(code));
            }
        } else if let Some(heading) = line.strip_prefix("### ") {
            let _ = writeln!(shown, "{}", Styled(STRONG, heading));
        } else if line.is_empty() {
            shown.push('\n');
        } else {
            let (first, text, indent) = match line.strip_prefix("- ") {
                Some(item) => ("  - ", item, "    "),
                None => ("", line, ""),
            };
            let mut text = text.to_owned();
            while let Some(more) = lines.next_if(|line| continues(line)) {
                text.push(' ');
                text.push_str(more.trim());
            }
            wrap(&mut shown, &inline(&text), width, first, indent);
        }
    }
    shown
}

fn is_fence(line: &str) -> bool {
    line.starts_with("```")
}

/// Whether a line continues the paragraph or the list item before it.
fn continues(line: &str) -> bool {
    !line.is_empty() && !line.starts_with("- ") && !line.starts_with('#') && !is_fence(line)
}

/// Code spans in color, links as `text (target)`.
fn inline(markdown: &str) -> String {
    let mut shown = String::new();
    for (index, part) in markdown.split('`').enumerate() {
        if index % 2 == 1 {
            let _ = write!(shown, "{}", Styled(COMMAND, part));
            continue;
        }
        for (index, part) in part.split("](").enumerate() {
            let part = match part.split_once(')') {
                Some((link, rest)) if index > 0 => {
                    let _ = write!(shown, " ({})", target(link));
                    rest
                }
                _ => part,
            };
            shown.push_str(&part.replace('[', ""));
        }
    }
    shown
}

/// The target of a link for a reader who is not in `docs/`.
fn target(link: &str) -> String {
    if let Some(word) = link.strip_prefix('#') {
        output::as_typed(&format!("rolegate explain {word}")).into_owned()
    } else if link.contains("://") {
        link.to_owned()
    } else if let Some(path) = link.strip_prefix("../") {
        path.to_owned()
    } else {
        format!("docs/{link}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(markdown: &str, width: usize) -> String {
        anstream::adapter::strip_str(&render(markdown, width)).to_string()
    }

    #[test]
    fn paragraphs_and_items_are_wrapped_and_blocks_are_not() {
        let markdown =
            "One two\nthree four.\n\n### Fix\n\n- five six\n  seven\n- eight\n\n```console\n$ a long command line\n```";
        assert_eq!(
            plain(markdown, 13),
            "One two three\nfour.\n\nFix\n\n  - five six\n    seven\n  - eight\n\n    $ a long command line\n"
        );
    }

    #[test]
    fn code_spans_lose_their_backticks_and_links_name_their_target() {
        for (markdown, shown) in [
            ("See [`no-role`](#no-role).", "See no-role (rolegate explain no-role)."),
            ("[IAM](aws-iam.md) (a)", "IAM (docs/aws-iam.md) (a)"),
            ("a ([b](../README.md#c))", "a (b (README.md#c))"),
            ("[d](https://example.com/)", "d (https://example.com/)"),
            ("`[0-9A-Za-z]*` and `](`", "[0-9A-Za-z]* and ]("),
        ] {
            assert_eq!(plain(markdown, 80), format!("{shown}\n"));
        }
    }
}
