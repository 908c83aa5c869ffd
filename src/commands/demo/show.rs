//! The demo's report for people.

use std::fmt::Write as _;

use super::pod::{Added, Container, Token};
use super::report::{PodReport, Report};
use crate::commands::output::{BAD, COMMAND, DIM, DOUBT, GOOD, STRONG, Styled};
use crate::commands::wrap::{wrap, wrap_value};

/// The widest that prose is, in columns.
const WIDTH: usize = 100;

/// Puts `rolegate` on the path, from the root of the repository.
const INSTALL: &str = "cargo install --path .";

/// Posts a review to the webhook that `rolegate serve` starts, as examples/standalone/README.md has it.
const POST: &str = "curl --insecure --header 'Content-Type: application/json' --data @examples/standalone/review.json \
                    'https://localhost:8443/mutate?timeout=2s'";

/// How wide lines are.
#[derive(Clone, Copy)]
struct Width {
    prose: usize,
    /// Of what people copy, such as commands: it breaks only on a terminal.
    rows: usize,
}

impl Width {
    fn of(columns: Option<usize>) -> Self {
        Self {
            prose: columns.unwrap_or(WIDTH).min(WIDTH),
            rows: columns.unwrap_or(usize::MAX),
        }
    }
}

/// The whole demo, for a terminal of this many columns, if it is one.
pub(super) fn text(report: &Report, columns: Option<usize>) -> String {
    let width = Width::of(columns);
    let mut text = format!("{STRONG}rolegate demo{STRONG:#}\n\n");
    for sentence in [
        format!(
            "A webhook listens on {}, with the ServiceAccounts, roles and trust policies of an example.",
            report.webhook
        ),
        format!("The cluster's issuer is {}.", report.issuer),
        "The following pods, one per ServiceAccount, are posted to it the way an API server would.".to_owned(),
    ] {
        wrap(&mut text, &sentence, width.rows, "", "");
    }
    for (index, pod) in report.pods.iter().enumerate() {
        text.push('\n');
        write_pod(&mut text, index.saturating_add(1), pod, width);
    }
    write_summary(&mut text, report, width);
    text
}

fn write_pod(text: &mut String, number: usize, pod: &PodReport, width: Width) {
    let account = format!("{}/{}", pod.namespace, pod.service_account);
    let role = pod
        .role
        .map(|role| format!(" {DIM}requests{DIM:#} {role}"))
        .unwrap_or_default();
    let title = format!("{STRONG}{account}{STRONG:#}{role}");
    wrap(text, &title, width.rows, &format!("{DIM}{number}.{DIM:#} "), "   ");
    let description = Styled(DIM, pod.description).to_string();
    wrap(text, &description, width.rows, "   ", "   ");
    let headline = match (pod.allowed, pod.added.is_empty()) {
        (false, _) => Styled(BAD, "✗ refused".to_owned()),
        (true, true) => Styled(GOOD, "✓ admitted unchanged".to_owned()),
        (true, false) if pod.warnings.is_empty() => Styled(GOOD, "✓ admitted with its identity".to_owned()),
        (true, false) => Styled(DOUBT, "✓ admitted with its identity and a warning".to_owned()),
    };
    let _ = writeln!(text, "   {headline} {DIM}in {:.1} ms{DIM:#}", pod.milliseconds);
    for warning in &pod.warnings {
        write_wrapped(text, &format!("Warning: {warning}"), width);
    }
    write_refusal(text, pod.message.as_deref().unwrap_or_default(), width);
    write_added(text, &pod.added, width);
    if !pod.is_as_expected() {
        let _ = writeln!(
            text,
            "     {}",
            Styled(BAD, "this is not the response that the example expects")
        );
    }
}

/// The reason, and below it the rows of labels and values.
fn write_refusal(text: &mut String, message: &str, width: Width) {
    let mut lines = message.lines();
    if let Some(reason) = lines.next() {
        write_wrapped(text, reason, width);
    }
    for line in lines {
        let Some((label, value)) = line.trim_start().split_once("  ") else {
            let _ = writeln!(text, "{GUTTER}{line}");
            continue;
        };
        let value = value.trim_start();
        let column = line.chars().count().saturating_sub(value.chars().count());
        let shown = match label {
            "fix" => Styled(COMMAND, value).to_string(),
            _ => value.to_owned(),
        };
        let first = format!(
            "{GUTTER}  {STRONG}{label}{STRONG:#}{}",
            " ".repeat(column.saturating_sub(label.len() + 2))
        );
        // The lines of a command can be copied together, so only the first one has the gutter.
        let gutter = if label == "fix" {
            GUTTER_SPACES.to_owned()
        } else {
            GUTTER.to_string()
        };
        let indent = format!("{gutter}{}", " ".repeat(column));
        wrap_value(text, &shown, width.rows, &first, &indent);
    }
}

fn write_added(text: &mut String, added: &Added, width: Width) {
    for Token {
        volume,
        audience,
        seconds,
    } in &added.tokens
    {
        let volume = format!("{volume}: a token for {audience}, valid for {seconds} s");
        let first = format!("     {DIM}volume{DIM:#}      ");
        wrap(text, &volume, width.rows, &first, "                 ");
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

fn write_summary(text: &mut String, report: &Report, width: Width) {
    let count = |wanted: fn(&PodReport) -> bool| report.pods.iter().filter(|pod| wanted(pod)).count();
    let injected = count(|pod| pod.allowed && !pod.added.is_empty());
    let (refused, unchanged) = (
        count(|pod| !pod.allowed),
        count(|pod| pod.allowed && pod.added.is_empty()),
    );
    let counts = format!(
        "{STRONG}{} pods:{STRONG:#} {} admitted with their identity, {} refused, {} left unchanged.",
        report.pods.len(),
        Styled(GOOD, injected),
        Styled(BAD, refused),
        unchanged
    );
    text.push('\n');
    wrap(text, &counts, width.rows, "", "");
    text.push('\n');
    let serve = format!(
        "rolegate serve --standalone examples/standalone --issuer {}",
        report.issuer
    );
    for (step, command) in [
        ("To try it yourself, install the program:", INSTALL),
        ("Start the webhook:", serve.as_str()),
        (
            "Post the review of a pod to it, edit a policy in examples/standalone/roles, and post it again:",
            POST,
        ),
    ] {
        wrap(text, step, width.rows, "", "");
        wrap_value(text, &Styled(COMMAND, command).to_string(), width.rows, "  ", "  ");
    }
}

fn write_wrapped(text: &mut String, prose: &str, width: Width) {
    let gutter = GUTTER.to_string();
    wrap(text, prose, width.prose, &gutter, &gutter);
}

/// As wide as [`GUTTER`].
const GUTTER_SPACES: &str = "       ";

/// The prefix of text that the pod's author reads.
const GUTTER: Styled<&str> = Styled(DIM, "     │ ");
