//! `docs/troubleshooting.md` and the error messages in `docs/aws-iam.md`: readers search for the words of a message, so these are the
//! program's.

use std::fs;
use std::path::Path;

use super::{read, root};

/// Parts of the pages with messages of rolegate and of its chart. Messages of Kubernetes and of AWS are not in this repository.
const PARTS: [(&str, &str); 5] = [
    ("docs/troubleshooting.md", "Messages that authors of pods see"),
    ("docs/troubleshooting.md", "Messages of the command line"),
    ("docs/troubleshooting.md", "Log lines of rolegate"),
    ("docs/troubleshooting.md", "Helm"),
    ("docs/aws-iam.md", "Error messages"),
];

/// What others write, or add, in these parts.
const OF_OTHERS: [&str; 14] = [
    // The API server, kubectl and the Job controller.
    "failed calling webhook \"enforce.rolegate.io\"",
    "admission webhook \"enforce.rolegate.io\" denied the request",
    "Warning: IAM role",
    "Forbidden",
    "backoffLimit",
    // The AWS SDK.
    "failed to load IMDS session token",
    // Helm.
    "chart requires kubeVersion: >=1.30",
    "additional properties '",
    "' not allowed",
    "at '/",
    "': got string, want null or array",
    "': got null, want",
    "missing property '",
    "does not match pattern",
];

/// Text in which messages are found: the source without comments, the chart's templates, and what tests expect, because some messages
/// are put together from parts.
fn texts() -> String {
    fn add(folder: &Path, text: &mut String) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let extension = path.extension().and_then(|extension| extension.to_str());
            if path.is_dir() {
                // These tests read the pages.
                if !path.ends_with("tests/documents") {
                    add(&path, text);
                }
            } else if ["rs", "snap", "tpl", "yaml"].map(Some).contains(&extension) {
                let file = fs::read_to_string(path).unwrap();
                let lines = file.lines().filter(|line| !line.trim_start().starts_with("//"));
                lines.for_each(|line| {
                    *text += line;
                    text.push('\n');
                });
            }
        }
    }
    let mut text = String::new();
    for folder in ["src", "charts/rolegate/templates", "tests"] {
        add(&root().join(folder), &mut text);
    }
    // A message that continues on the next line of the source.
    let parts: Vec<&str> = text.split("\\\n").collect();
    let (first, rest) = parts.split_first().unwrap();
    rest.iter()
        .fold((*first).to_owned(), |joined, part| joined + part.trim_start())
}

/// The words of the messages in the first column of a part's tables.
fn messages(page: &str, part: &str) -> Vec<String> {
    let page = read(page);
    let (_, text) = page.split_once(&format!("\n## {part}\n")).unwrap();
    let text = text.split("\n## ").next().unwrap();
    let rows = text
        .lines()
        .filter(|line| line.starts_with("| ") && !line.starts_with("| ---"));
    let cells = rows.skip(1).filter_map(|row| row.split(" | ").next());
    let quoted = cells.flat_map(|cell| {
        cell.split('`')
            .skip(1)
            .step_by(2)
            .map(str::to_owned)
            .collect::<Vec<_>>()
    });
    quoted.collect()
}

#[test]
fn messages_on_the_page_are_those_of_the_program() {
    let texts = texts();
    for (page, part) in PARTS {
        let messages = messages(page, part);
        assert!(messages.len() >= 3, "{part}: {messages:?}");
        for message in messages {
            // `…` is what differs.
            for words in message.split('…').map(|words| words.trim_matches([' ', ':'])) {
                assert!(
                    OF_OTHERS.contains(&words) || texts.contains(words),
                    "{page}: {part}: {message:?}: rolegate does not write {words:?}"
                );
            }
        }
    }
}
