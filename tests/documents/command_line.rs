//! `docs/reference/command-line.md` is generated from the program: `ROLEGATE_UPDATE=1 cargo test --test documents`.

use std::fmt::Write as _;
use std::fs;

use super::{help, read, root};

const PAGE: &str = "docs/reference/command-line.md";
const BEGIN: &str = "<!-- Generated from --help; see tests/documents/command_line.rs. -->\n";
const UPDATE: &str = "ROLEGATE_UPDATE";

/// The commands that `rolegate --help` lists, with what they do.
fn commands() -> Vec<(String, String)> {
    let help = help(&[]);
    let (_, list) = help.split_once("\nCommands:\n").unwrap();
    let lines = list.lines().take_while(|line| !line.is_empty());
    let mut commands: Vec<(String, String)> = Vec::new();
    for line in lines {
        match line.strip_prefix("  ").and_then(|line| line.split_once(' ')) {
            Some((name, purpose)) if !name.is_empty() => commands.push((name.to_owned(), purpose.trim().to_owned())),
            // A long text continues on the next line.
            _ => {
                let (_, purpose) = commands.last_mut().unwrap();
                *purpose += " ";
                *purpose += line.trim();
            }
        }
    }
    commands.retain(|(name, _)| name != "help");
    assert!(commands.len() >= 9, "{commands:?}");
    commands
}

fn generated() -> String {
    let commands = commands();
    let mut page = String::from("\n| command | purpose |\n| --- | --- |\n");
    for (name, purpose) in &commands {
        writeln!(page, "| [`rolegate {name}`](#rolegate-{name}) | {purpose} |").unwrap();
    }
    for (name, _) in &commands {
        let help = help(&[name]);
        let lines = help.lines().map(str::trim_end).collect::<Vec<_>>().join("\n");
        write!(page, "\n## `rolegate {name}`\n\n```text\n{lines}\n```\n").unwrap();
    }
    page
}

#[test]
fn the_page_is_the_help_of_the_program() {
    let page = read(PAGE);
    let (head, _) = page
        .split_once(BEGIN)
        .expect("the mark where the generated part begins");
    let expected = format!("{head}{BEGIN}{}", generated());
    if page != expected && std::env::var_os(UPDATE).is_some() {
        fs::write(root().join(PAGE), expected).unwrap();
        return;
    }
    assert!(
        page == expected,
        "{PAGE} is not what --help prints: run {UPDATE}=1 cargo test --test documents"
    );
}
