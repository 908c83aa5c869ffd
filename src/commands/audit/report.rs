//! The report of `audit`: a row per role annotation and per EKS Pod Identity association, worst first.

use std::fmt::Write as _;

use jiff::Timestamp;
use serde::Serialize;

use crate::commands::exit::Exit;
use crate::commands::judgment::report::Report;
use crate::commands::output::{BAD, COMMAND, DIM, DOUBT, GOOD, STRONG, Styled};
use crate::reports::{Findings, Location};
use crate::support::text;
use crate::trust::Association;

/// The whole report. Its JSON is documented in `docs/reference/audit.md`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Audit {
    summary: Summary,
    service_accounts: Vec<Row>,
}

/// What gives a ServiceAccount its role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Kind {
    Annotation,
    Association,
}

/// The number of rows by result.
#[derive(Clone, Copy, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Summary {
    /// With a role annotation.
    service_accounts: usize,
    associations: usize,
    findings: usize,
    unclear: usize,
    trusted: usize,
    /// Trusted, by a policy that trusts more than was probably meant.
    too_wide: usize,
}

/// One ServiceAccount with a role annotation or an association.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Row {
    kind: Kind,
    namespace: String,
    service_account: String,
    target_role_arn: Option<String>,
    #[serde(flatten)]
    report: Report,
    #[serde(skip)]
    location: Option<Location>,
}

impl Row {
    pub(super) const fn new(
        namespace: String,
        service_account: String,
        report: Report,
        location: Option<Location>,
    ) -> Self {
        Self {
            kind: Kind::Annotation,
            namespace,
            service_account,
            target_role_arn: None,
            report,
            location,
        }
    }

    /// Of an association, with the report of its role with the worse verdict.
    pub(super) fn of_association(association: &Association, report: Report) -> Self {
        Self {
            kind: Kind::Association,
            namespace: association.namespace.to_string(),
            service_account: association.service_account.to_string(),
            target_role_arn: association.target_role.as_ref().map(ToString::to_string),
            report: report.with_role(association.role.to_string()),
            location: None,
        }
    }

    fn name(&self) -> String {
        let (namespace, name) = (text::value(&self.namespace), text::value(&self.service_account));
        match self.kind {
            Kind::Annotation => format!("{namespace}/{name}"),
            Kind::Association => format!("{namespace}/{name} (association)"),
        }
    }

    fn roles(&self) -> String {
        let role = text::value(self.report.role());
        match &self.target_role_arn {
            Some(target) => format!("{role}, {}", text::value(target)),
            None => role,
        }
    }

    /// Worst first: findings, undetermined, trusted with remarks, trusted.
    fn rank(&self) -> u8 {
        match (self.report.exit(), self.report.lints().is_empty()) {
            (Exit::No, _) => 0,
            (Exit::Unclear, _) => 1,
            (Exit::Yes, false) => 2,
            (Exit::Yes, true) => 3,
        }
    }
}

impl Audit {
    pub(super) fn of(mut rows: Vec<Row>) -> Self {
        rows.sort_by(|left, right| {
            let key = |row: &Row| (row.rank(), row.namespace.clone(), row.service_account.clone(), row.kind);
            key(left).cmp(&key(right))
        });
        let count = |wanted: fn(&Row) -> bool| rows.iter().filter(|row| wanted(row)).count();
        let summary = Summary {
            service_accounts: count(|row| row.kind == Kind::Annotation),
            associations: count(|row| row.kind == Kind::Association),
            findings: count(|row| row.rank() == 0),
            unclear: count(|row| row.rank() == 1),
            trusted: count(|row| row.rank() >= 2),
            too_wide: count(|row| row.rank() == 2),
        };
        Self {
            summary,
            service_accounts: rows,
        }
    }

    /// That of the worst row; 0 without rows.
    pub(super) fn exit(&self) -> Exit {
        let worst = self.service_accounts.iter().map(|row| row.report.exit()).max();
        worst.unwrap_or(Exit::Yes)
    }

    /// For the formats of other programs.
    pub(super) fn findings(&self, time: Timestamp, docs_url: Option<String>) -> Findings {
        let items = self.service_accounts.iter().map(|row| {
            let kind = match row.kind {
                Kind::Annotation => "ServiceAccount",
                Kind::Association => "PodIdentityAssociation",
            };
            row.report
                .item(kind, &row.namespace, &row.service_account)
                .at(row.location.clone())
        });
        Findings {
            version: env!("CARGO_PKG_VERSION"),
            time,
            docs_url,
            items: items.collect(),
        }
    }

    /// For people: a table, and below each finding the reason and the fix.
    pub(super) fn text(&self) -> String {
        if self.service_accounts.is_empty() {
            return "no ServiceAccount has a role annotation\n".to_owned();
        }
        let mut cells = vec![["VERDICT", "SERVICE ACCOUNT", "ROLE", "CAUSE"].map(str::to_owned)];
        cells.extend(self.service_accounts.iter().map(|row| {
            let report = &row.report;
            let cause = report.cause().unwrap_or_default().to_owned();
            [report.word().to_owned(), row.name(), row.roles(), cause]
        }));
        let widths = [0, 1, 2].map(|column| {
            cells
                .iter()
                .filter_map(|row| row.get(column))
                .map(|cell| cell.chars().count())
                .max()
                .unwrap_or(0)
        });
        let [verdict, account, role] = widths;
        let mut text = String::new();
        for (line, [word, name, arn, cause]) in cells.iter().enumerate() {
            let row = line.checked_sub(1).and_then(|place| self.service_accounts.get(place));
            let (sign, style) = match row.map(Row::rank) {
                None => (" ", DIM),
                Some(0) => ("✗", BAD),
                Some(1) => ("?", DOUBT),
                Some(_) => ("✓", GOOD),
            };
            let head = format!("{style}{sign} {word:verdict$}{style:#}  {name:account$}  {arn:role$}");
            // Writing to a String cannot fail.
            let _ = match row {
                None => writeln!(
                    text,
                    "{DIM}{sign} {word:verdict$}  {name:account$}  {arn:role$}  {cause}{DIM:#}"
                ),
                Some(_) if cause.is_empty() => writeln!(text, "{}", head.trim_end()),
                Some(_) => writeln!(text, "{head}  {STRONG}{cause}{STRONG:#}"),
            };
            if let Some(row) = row {
                text.push_str(&row.below());
            }
        }
        let _ = writeln!(text, "\n{}", self.sentence());
        text
    }

    fn sentence(&self) -> String {
        let Summary {
            service_accounts,
            associations,
            findings,
            unclear,
            trusted,
            too_wide,
        } = self.summary;
        let accounts = if service_accounts == 1 {
            "ServiceAccount has"
        } else {
            "ServiceAccounts have"
        };
        let mut text = format!("{service_accounts} {accounts} a role annotation");
        // Writing to a String cannot fail.
        let _ = match associations {
            0 => Ok(()),
            1 => write!(text, ", 1 has an EKS Pod Identity association"),
            more => write!(text, ", {more} have an EKS Pod Identity association"),
        };
        let _ = write!(
            text,
            ": {findings} not trusted, {unclear} undetermined, {trusted} trusted"
        );
        if too_wide > 0 {
            let _ = write!(text, " ({too_wide} with notes)");
        }
        text
    }
}

impl Row {
    /// The reason and the fix; nothing for a ServiceAccount without a finding.
    fn below(&self) -> String {
        let report = &self.report;
        let mut text = String::new();
        // Writing to a String cannot fail.
        if self.rank() < 2 {
            let message = report.message();
            let _ = writeln!(text, "    {}", message.first());
            for (label, value) in message.rows().filter(|(label, _)| *label != "role") {
                let _ = match label {
                    "fix" => writeln!(text, "      {label:7}  {}", Styled(COMMAND, value)),
                    _ => writeln!(text, "      {label:7}  {value}"),
                };
            }
        }
        for lint in report.lints() {
            let _ = writeln!(text, "    {} {lint}", Styled(DOUBT, "note:"));
        }
        text
    }
}
