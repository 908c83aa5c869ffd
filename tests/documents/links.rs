//! Links from one document to another, and to files.

use std::fs;

use super::{anchors, documents, links, read, root};

/// A section of `docs/causes.md` has the anchor that refusals and other pages link to: the cause.
#[test]
fn the_anchor_of_a_cause_is_its_word() {
    let anchors = anchors(&read("docs/causes.md"));
    for cause in rolegate::trust::Cause::ALL {
        let count = anchors.iter().filter(|anchor| *anchor == cause.as_str()).count();
        assert_eq!(count, 1, "{cause}: {anchors:?}");
    }
}

#[test]
fn what_documents_link_to_exists() {
    let mut broken = Vec::new();
    let mut count = 0;
    let documents = documents(root());
    for known in [
        "README.md",
        ".github/pull_request_template.md",
        "docs/SUMMARY.md",
        "charts/rolegate/README.md",
    ] {
        assert!(documents.contains(&root().join(known)), "{known}");
    }
    for document in documents {
        let text = fs::read_to_string(&document).unwrap();
        for link in links(&text) {
            if link.contains("://") || link.starts_with("mailto:") {
                continue;
            }
            count += 1;
            let (path, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let target = if path.is_empty() {
                document.clone()
            } else {
                document.parent().unwrap().join(path)
            };
            let is_there = match fs::read_to_string(&target) {
                Ok(text) => anchor.is_empty() || anchors(&text).iter().any(|known| known == anchor),
                // A folder, or a picture.
                Err(_) => target.exists() && anchor.is_empty(),
            };
            if !is_there {
                broken.push(format!("{}: {link}", document.display()));
            }
        }
    }
    assert!(count > 300, "{count}");
    assert!(broken.is_empty(), "links to nothing:\n{}", broken.join("\n"));
}
