//! The report of `audit` for people: a table, or groups of rows with the same cause, and below each finding the reason and the fix.

use std::collections::HashMap;
use std::fmt::Write as _;

use super::report::{Audit, Row, Summary};
use crate::args::audit::GroupBy;
use crate::commands::output::{self, BAD, COMMAND, DIM, DOUBT, GOOD, STRONG, Styled};
use crate::commands::wrap::wrap;
use crate::support::text;

/// How many names of a group are shown.
const NAMES: usize = 3;

/// The narrowest column of names and of roles.
const NARROWEST: usize = 16;

/// Above this number of findings, the last line names the flag that makes them readable.
const MANY: usize = 100;

/// How the report is shown.
#[derive(Clone, Copy, Debug)]
pub(super) struct View {
    /// The columns of the terminal; None for pipes and files.
    pub(super) width: Option<usize>,
    pub(super) group_by: Option<GroupBy>,
    /// Whether associations were read.
    pub(super) with_associations: bool,
    /// Whether the identity ConfigMap was read.
    pub(super) with_identity_config_map: bool,
}

/// The report.
pub(super) fn text(audit: &Audit, view: &View) -> String {
    let mut text = String::new();
    let rows: Vec<&Row> = audit.shown().collect();
    if !rows.is_empty() {
        match view.group_by {
            None => table(&mut text, &rows, view.width),
            Some(key) => groups(&mut text, &rows, key, view.width),
        }
        text.push('\n');
    }
    let sentence = sentence(&audit.summary, view);
    paragraph(&mut text, &sentence, view.width, "", "");
    if view.group_by.is_none() && audit.summary.findings > MANY {
        let _ = writeln!(
            text,
            "{DIM}--group-by role prints findings of the same role and cause together{DIM:#}"
        );
    }
    text
}

fn table(text: &mut String, rows: &[&Row], width: Option<usize>) {
    let cells: Vec<[String; 4]> = rows
        .iter()
        .map(|row| {
            let cause = row.report.cause().unwrap_or_default().to_owned();
            [row.report.word().to_owned(), row.name(), row.roles(), cause]
        })
        .collect();
    let heads = ["VERDICT", "SERVICE ACCOUNT", "ROLE", "CAUSE"];
    let natural = |column: usize| {
        let cells = cells
            .iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count());
        let head = heads.get(column).map_or(0, |head| head.chars().count());
        cells.max().unwrap_or(0).max(head)
    };
    let (verdict, mut account, mut role, cause) = (natural(0), natural(1), natural(2), natural(3));
    if let Some(width) = width {
        // The sign, and two spaces between columns.
        let left = width.saturating_sub(verdict.saturating_add(cause).saturating_add(8));
        (account, role) = shares(left, account, role);
    }
    let [first, second, third, fourth] = heads;
    // Writing to a String cannot fail.
    let _ = writeln!(
        text,
        "{DIM}  {first:verdict$}  {second:account$}  {third:role$}  {fourth}{DIM:#}"
    );
    for (row, [word, name, arn, cause]) in rows.iter().zip(&cells) {
        let (sign, style) = sign(row);
        let (name, arn) = (text::shorten(name, account), text::shorten(arn, role));
        let head = format!("{style}{sign} {word:verdict$}{style:#}  {name:account$}  {arn:role$}");
        let _ = match &**cause {
            "" => writeln!(text, "{}", head.trim_end()),
            cause => writeln!(text, "{head}  {STRONG}{cause}{STRONG:#}"),
        };
        below(text, row, width);
    }
}

/// The widths of two columns that share so many characters: what they need, or else the longer one is narrower.
fn shares(left: usize, first: usize, second: usize) -> (usize, usize) {
    if first.saturating_add(second) <= left {
        return (first, second);
    }
    let half = left / 2;
    let (first, second) = if first <= half {
        (first, left.saturating_sub(first))
    } else if second <= half {
        (left.saturating_sub(second), second)
    } else {
        (half, left.saturating_sub(half))
    };
    (first.max(NARROWEST), second.max(NARROWEST))
}

/// Rows that have the key and the cause in common.
fn groups(text: &mut String, rows: &[&Row], key: GroupBy, width: Option<usize>) {
    let mut places: HashMap<(String, &str, Option<&str>), usize> = HashMap::new();
    let mut groups: Vec<(String, Vec<&Row>)> = Vec::new();
    for row in rows {
        let of = match key {
            GroupBy::Role if row.report.role().is_empty() => "no role".to_owned(),
            GroupBy::Role => row.roles(),
            GroupBy::Namespace => text::value(&row.namespace),
        };
        let place = *places
            .entry((of.clone(), row.report.word(), row.report.cause()))
            .or_insert_with(|| {
                groups.push((of, Vec::new()));
                groups.len().saturating_sub(1)
            });
        if let Some((_, members)) = groups.get_mut(place) {
            members.push(row);
        }
    }
    for (of, members) in &groups {
        let Some(first) = members.first() else { continue };
        let (sign, style) = sign(first);
        let word = first.report.word();
        let cause = match first.report.cause() {
            Some(cause) => format!("  {STRONG}{cause}{STRONG:#}"),
            None => String::new(),
        };
        let _ = writeln!(text, "{style}{sign} {word}{style:#}{cause}  {of}");
        let names: Vec<String> = members.iter().take(NAMES).map(|row| row.name()).collect();
        let more = match members.len().saturating_sub(names.len()) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let rows = if members.len() == 1 { "row" } else { "rows" };
        let line = format!("{} {rows}: {}{more}", members.len(), names.join(", "));
        paragraph(text, &line, width, "    ", "    ");
        below(text, first, width);
    }
}

fn sign(row: &Row) -> (&'static str, anstyle::Style) {
    match row.rank() {
        0 => ("✗", BAD),
        1 => ("?", DOUBT),
        _ => ("✓", GOOD),
    }
}

/// The reason and the fix; nothing for a ServiceAccount without a finding.
fn below(text: &mut String, row: &Row, width: Option<usize>) {
    let report = &row.report;
    if row.rank() < 2 {
        let message = report.message();
        paragraph(text, message.first(), width, "    ", "    ");
        for (label, value) in message.rows().filter(|(label, _)| *label != "role") {
            match label {
                // A command stays on one line, which can be copied.
                "fix" | "then" => {
                    let _ = writeln!(text, "      {label:7}  {}", Styled(COMMAND, output::as_typed(value)));
                }
                _ => {
                    let first = format!("      {label:7}  ");
                    paragraph(text, &output::as_typed(value), width, &first, &" ".repeat(first.len()));
                }
            }
        }
    }
    for lint in report.lints() {
        let note = format!("    {} ", Styled(DOUBT, "note:"));
        paragraph(text, &lint.to_string(), width, &note, "          ");
    }
}

fn paragraph(text: &mut String, line: &str, width: Option<usize>, first: &str, indent: &str) {
    match width {
        Some(width) => wrap(text, line, width, first, indent),
        None => {
            let _ = writeln!(text, "{first}{line}");
        }
    }
}

/// The totals.
fn sentence(summary: &Summary, view: &View) -> String {
    let Summary {
        look_alikes,
        service_accounts,
        associations,
        workloads: _,
        findings,
        unclear,
        trusted,
        too_wide,
        objects,
    } = *summary;
    let what = if view.with_identity_config_map {
        "a role annotation or an entry in the identity ConfigMap"
    } else {
        "a role annotation"
    };
    let mut text = match service_accounts.saturating_sub(look_alikes) {
        0 if view.with_associations && associations == 0 => {
            format!("no ServiceAccount has {what} or an EKS Pod Identity association")
        }
        0 => format!("no ServiceAccount has {what}"),
        1 => format!("1 ServiceAccount has {what}"),
        more => format!("{more} ServiceAccounts have {what}"),
    };
    // Writing to a String cannot fail.
    let _ = match look_alikes {
        0 => Ok(()),
        1 => write!(text, ", 1 has an annotation that resembles it"),
        more => write!(text, ", {more} have an annotation that resembles it"),
    };
    let _ = match associations {
        0 => Ok(()),
        1 => write!(text, ", 1 has an EKS Pod Identity association"),
        more => write!(text, ", {more} have an EKS Pod Identity association"),
    };
    let _ = match objects {
        0 => Ok(()),
        1 => write!(text, ", 1 workload was checked"),
        more => write!(text, ", {more} workloads were checked"),
    };
    if findings + unclear + trusted == 0 {
        let _ = match objects {
            0 => Ok(()),
            _ => write!(text, " without a finding"),
        };
        return text;
    }
    let _ = write!(
        text,
        ": {findings} not trusted, {unclear} undetermined, {trusted} trusted"
    );
    if too_wide > 0 {
        let _ = write!(text, " ({too_wide} with notes)");
    }
    text
}
