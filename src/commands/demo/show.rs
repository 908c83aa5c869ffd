//! The demo's report for people.

use std::fmt::Write as _;

use super::pod::{Added, Container, Token};
use super::report::{PodReport, Report};
use crate::commands::output::{BAD, COMMAND, DIM, DOUBT, GOOD, STRONG, Styled};

/// The width of prose, in columns.
const WIDTH: usize = 100;

/// The whole demo.
pub(super) fn text(report: &Report) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = writeln!(
        text,
        "{STRONG}rolegate demo{STRONG:#}\n\n\
         A webhook listens on {}, with the ServiceAccounts, roles and trust policies of an example.\n\
         The cluster's issuer is {}.\n\
         The following pods, one per ServiceAccount, are posted to it the way an API server would.",
        report.webhook, report.issuer
    );
    for (index, pod) in report.pods.iter().enumerate() {
        text.push('\n');
        write_pod(&mut text, index.saturating_add(1), pod);
    }
    write_summary(&mut text, report);
    text
}

fn write_pod(text: &mut String, number: usize, pod: &PodReport) {
    let account = format!("{}/{}", pod.namespace, pod.service_account);
    let role = pod
        .role
        .map(|role| format!(" {DIM}requests{DIM:#} {role}"))
        .unwrap_or_default();
    let _ = writeln!(
        text,
        "{DIM}{number}.{DIM:#} {STRONG}{account}{STRONG:#}{role}\n   {DIM}{}{DIM:#}",
        pod.description
    );
    let headline = match (pod.allowed, pod.added.is_empty()) {
        (false, _) => Styled(BAD, "✗ refused".to_owned()),
        (true, true) => Styled(GOOD, "✓ admitted unchanged".to_owned()),
        (true, false) if pod.warnings.is_empty() => Styled(GOOD, "✓ admitted with its identity".to_owned()),
        (true, false) => Styled(DOUBT, "✓ admitted with its identity and a warning".to_owned()),
    };
    let _ = writeln!(text, "   {headline} {DIM}in {:.1} ms{DIM:#}", pod.milliseconds);
    for warning in &pod.warnings {
        write_wrapped(text, &format!("Warning: {warning}"));
    }
    write_refusal(text, pod.message.as_deref().unwrap_or_default());
    write_added(text, &pod.added);
    if !pod.is_as_expected() {
        let _ = writeln!(
            text,
            "     {}",
            Styled(BAD, "this is not the response that the example expects")
        );
    }
}

/// The reason is wrapped; the commands below it are not, so that they can be copied.
fn write_refusal(text: &mut String, message: &str) {
    let mut lines = message.lines();
    if let Some(reason) = lines.next() {
        write_wrapped(text, reason);
    }
    for line in lines {
        let _ = match line.split_once(": ") {
            Some((label, command)) => writeln!(text, "{GUTTER}{STRONG}{label}:{STRONG:#} {}", Styled(COMMAND, command)),
            None => writeln!(text, "{GUTTER}{line}"),
        };
    }
}

fn write_added(text: &mut String, added: &Added) {
    for Token {
        volume,
        audience,
        seconds,
    } in &added.tokens
    {
        let _ = writeln!(
            text,
            "     {DIM}volume{DIM:#}      {volume}: a token for {audience}, valid for {seconds} s"
        );
    }
    for Container {
        names,
        variables,
        mounts,
    } in &added.containers
    {
        let label = if names.len() == 1 { "container " } else { "containers" };
        let _ = writeln!(text, "     {DIM}{label}{DIM:#}  {STRONG}{}{STRONG:#}", names.join(", "));
        let width = variables.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        for (name, value) in variables {
            let _ = writeln!(text, "                 {name:width$}  {value}");
        }
        for mount in mounts {
            let _ = writeln!(
                text,
                "                 {DIM}{:width$}{DIM:#}  {mount}",
                "token mounted at"
            );
        }
    }
}

fn write_summary(text: &mut String, report: &Report) {
    let count = |wanted: fn(&PodReport) -> bool| report.pods.iter().filter(|pod| wanted(pod)).count();
    let injected = count(|pod| pod.allowed && !pod.added.is_empty());
    let (refused, unchanged) = (
        count(|pod| !pod.allowed),
        count(|pod| pod.allowed && pod.added.is_empty()),
    );
    let _ = writeln!(
        text,
        "\n{STRONG}{} pods:{STRONG:#} {} admitted with their identity, {} refused, {} left unchanged.",
        report.pods.len(),
        Styled(GOOD, injected),
        Styled(BAD, refused),
        unchanged
    );
    let _ = writeln!(
        text,
        "\nTo try it yourself, edit a policy in examples/standalone/roles and post examples/standalone/review.json\n  {}",
        Styled(
            COMMAND,
            format!(
                "rolegate serve --standalone examples/standalone --issuer {}",
                report.issuer
            )
        )
    );
}

/// Prose, indented and wrapped at spaces; a word that is longer than a line has a line of its own.
fn write_wrapped(text: &mut String, prose: &str) {
    let mut column = 0_usize;
    for word in prose.split(' ') {
        let length = word.chars().count();
        if column > 0 && column.saturating_add(length).saturating_add(1) <= WIDTH {
            text.push(' ');
            column = column.saturating_add(1);
        } else {
            if column > 0 {
                text.push('\n');
            }
            let _ = write!(text, "{GUTTER}");
            column = GUTTER_WIDTH;
        }
        text.push_str(word);
        column = column.saturating_add(length);
    }
    text.push('\n');
}

/// The prefix of text that the pod's author reads.
const GUTTER: Styled<&str> = Styled(DIM, "     │ ");

const GUTTER_WIDTH: usize = 7;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prose_is_wrapped_at_spaces() {
        let mut text = String::new();
        let long = "x".repeat(120);
        write_wrapped(&mut text, &format!("{} {long} end", "word ".repeat(25).trim()));
        let text = anstream::adapter::strip_str(&text).to_string();
        let lines: Vec<&str> = text.lines().collect();
        assert!(
            lines
                .iter()
                .all(|line| line.contains("     │ ") && !line.ends_with(' '))
        );
        assert!(
            lines
                .iter()
                .all(|line| line.chars().count() <= WIDTH || line.ends_with(&long))
        );
        assert_eq!(text.replace('│', "").split_whitespace().count(), 27);
    }
}
