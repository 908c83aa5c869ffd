//! `docs/causes.md`, compiled in: what each cause and each verdict means and how to fix it. And the lints, which `docs/reference/check.md`
//! lists.
//!
//! The pages are the only source. A section begins with `` ## `word` `` and a summary: one sentence in a paragraph of its own.

use serde::Serialize;

const PAGE: &str = include_str!("../../docs/causes.md");

/// The page with a table of lints.
const LINTS: &str = include_str!("../../docs/reference/check.md");

/// A section of the page.
#[derive(Serialize)]
pub(crate) struct Section {
    /// The cause, the verdict or the lint.
    pub(crate) cause: &'static str,
    pub(crate) summary: &'static str,
    /// Markdown, without the heading.
    pub(crate) text: &'static str,
}

/// The sections in the order of the page.
pub(crate) fn sections() -> impl Iterator<Item = Section> {
    PAGE.split("\n## ").skip(1).map(|section| {
        let (heading, text) = section.split_once('\n').unwrap_or((section, ""));
        let text = text.trim();
        Section {
            cause: heading.trim_matches('`'),
            summary: text.lines().next().unwrap_or_default(),
            text,
        }
    })
}

/// The lints in the order of their table: a row is all that there is to say.
pub(crate) fn lints() -> impl Iterator<Item = Section> {
    let (_, section) = LINTS.split_once("\n## Lints\n").unwrap_or_default();
    let rows = section.lines().take_while(|line| !line.starts_with("## "));
    rows.filter_map(|row| {
        let (code, meaning) = row.strip_prefix("| `")?.strip_suffix(" |")?.split_once("` | ")?;
        Some(Section {
            cause: code,
            summary: meaning,
            text: meaning,
        })
    })
}
