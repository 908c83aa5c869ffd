//! `docs/SUMMARY.md`, the contents page: mdBook renders no page that is missing there.

use std::collections::BTreeSet;

use super::{documents, links, read, root};

const PARTS: [&str; 5] = ["Tutorial", "How-to guides", "Reference", "Explanation", "Operation"];

#[test]
fn each_page_is_in_the_summary_once() {
    let docs = root().join("docs");
    let pages = documents(&docs)
        .into_iter()
        .map(|page| page.strip_prefix(&docs).unwrap().to_str().unwrap().to_owned());
    let pages: BTreeSet<String> = pages.filter(|page| page != "SUMMARY.md").collect();
    let listed = links(&read("docs/SUMMARY.md"));
    let unique: BTreeSet<String> = listed.iter().cloned().collect();
    assert_eq!(unique.len(), listed.len(), "a page is listed twice: {listed:?}");
    let missing: Vec<_> = pages.difference(&unique).collect();
    assert!(missing.is_empty(), "docs/SUMMARY.md does not list {missing:?}");
    let unknown: Vec<_> = unique.difference(&pages).collect();
    assert!(
        unknown.is_empty(),
        "docs/SUMMARY.md lists {unknown:?}, which do not exist"
    );
}

#[test]
fn the_summary_has_the_parts_that_readers_look_for() {
    let summary = read("docs/SUMMARY.md");
    let parts: Vec<&str> = summary.lines().filter_map(|line| line.strip_prefix("# ")).collect();
    assert_eq!(parts, [&["Summary"], PARTS.as_slice()].concat());
    for page in ["faq.md", "troubleshooting.md", "upgrading.md", "runbooks.md"] {
        assert!(links(&summary).iter().any(|link| link == page), "{page}");
    }
}

#[test]
fn the_guides_page_lists_every_guide() {
    let docs = root().join("docs/guides");
    let listed = links(&read("docs/guides/README.md"));
    for page in documents(&docs) {
        let name = page.file_name().unwrap().to_str().unwrap();
        assert!(name == "README.md" || listed.iter().any(|link| link == name), "{name}");
    }
}
