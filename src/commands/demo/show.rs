//! The demo's report for people.

use std::fmt::Write as _;

use super::pod::{Added, Container, Token};
use super::report::{PodReport, Report};
use crate::commands::output::{BAD, COMMAND, DIM, DOUBT, GOOD, STRONG, Styled};
use crate::commands::wrap::wrap;

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

fn write_wrapped(text: &mut String, prose: &str) {
    let gutter = GUTTER.to_string();
    wrap(text, prose, WIDTH, &gutter, &gutter);
}

/// The prefix of text that the pod's author reads.
const GUTTER: Styled<&str> = Styled(DIM, "     │ ");
