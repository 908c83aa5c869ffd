//! `docs/causes.md`, compiled in: what each cause and each verdict means and how to fix it.
//!
//! The page is the only source. A section begins with `` ## `word` `` and a summary: one sentence in a paragraph of its own.

use serde::Serialize;

const PAGE: &str = include_str!("../../docs/causes.md");

/// A section of the page.
#[derive(Serialize)]
pub(crate) struct Section {
    /// The cause or the verdict.
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
