//! The documents of the repository: their links work, the table of contents lists every page, and their statements about the program and
//! the chart are accurate.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "tests say what they expect by panicking"
)]

mod alerts;
mod book;
mod command_line;
mod commands;
#[path = "../support/commands.rs"]
mod commands_of_the_program;
mod guides;
mod links;
mod messages;
mod readme;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every Markdown document below a directory, but for what was built.
fn documents(directory: &Path) -> Vec<PathBuf> {
    let mut folders = vec![directory.to_owned()];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            let is_of_the_project = name == ".github" || !name.starts_with('.') && name != "target";
            if path.is_dir() && is_of_the_project {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// The lines outside fenced code.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut is_code = false;
    text.lines().filter(move |line| {
        let is_fence = line.trim_start().starts_with("```");
        is_code ^= is_fence;
        !is_code && !is_fence
    })
}

/// The targets of `[text](target)`, outside code.
fn links(text: &str) -> Vec<String> {
    let prose = prose(text).collect::<Vec<_>>().join("\n");
    let targets = prose.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
    targets.map(|(target, _)| target.to_owned()).collect()
}

/// The anchors of a document's headings, as GitHub makes them: the second heading of the same words ends with `-1`.
fn anchors(text: &str) -> Vec<String> {
    let headings = prose(text).filter(|line| line.starts_with('#'));
    let slug = |heading: &str| -> String {
        let text = heading.trim_start_matches('#').trim().to_lowercase();
        let kept = text
            .chars()
            .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    };
    let mut found: Vec<String> = Vec::new();
    let mut slugs: Vec<String> = Vec::new();
    for heading in headings {
        let slug = slug(heading);
        let number = slugs.iter().filter(|known| **known == slug).count();
        found.push(if number == 0 {
            slug.clone()
        } else {
            format!("{slug}-{number}")
        });
        slugs.push(slug);
    }
    found
}

/// The fenced blocks of a language, without the indentation of a list that they are in.
fn blocks(text: &str, language: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let Some(opened) = line.trim_start().strip_prefix("```") else {
            continue;
        };
        let indentation = line.len() - line.trim_start().len();
        let block = lines.by_ref().take_while(|line| line.trim() != "```");
        let block = block.map(|line| format!("{}\n", line.get(indentation..).unwrap_or_default()));
        let block: String = block.collect();
        if opened == language {
            found.push(block);
        }
    }
    found
}

/// The program, without settings of the environment that the tests run in.
fn rolegate(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rolegate"));
    command.args(arguments).env("COLUMNS", "100").env("NO_COLOR", "1");
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| name.starts_with("ROLEGATE_")) {
            command.env_remove(name);
        }
    }
    command.output().unwrap()
}

fn help(command: &[&str]) -> String {
    let output = rolegate(&[command, &["--help"]].concat());
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_comment_in_a_code_block_is_not_an_anchor() {
    let text = "# One\n```console\n# two\n```\n## `three-four`\n## One\n";
    assert_eq!(anchors(text), ["one", "three-four", "one-1"]);
}

#[test]
fn a_block_in_a_list_has_no_indentation() {
    let text = "- a\n\n  ```yaml\n  b:\n    c: 1\n  ```\n\n```sh\nd\n```\n";
    assert_eq!(blocks(text, "yaml"), ["b:\n  c: 1\n"]);
    assert_eq!(blocks(text, "sh"), ["d\n"]);
}
