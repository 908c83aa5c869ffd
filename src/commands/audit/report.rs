//! The report of `audit`: a row per role annotation, EKS Pod Identity association and reference of a workload, worst first.

use std::collections::HashSet;

use jiff::Timestamp;
use serde::Serialize;

use super::accounts::Key;
use crate::commands::exit::Exit;
use crate::commands::judgment::report::Report;
use crate::reports::{Findings, Location};
use crate::support::text;
use crate::trust::{Association, Cause};

/// The whole report. Its JSON is documented in `docs/reference/audit.md`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Audit {
    pub(super) summary: Summary,
    #[serde(rename = "serviceAccounts")]
    rows: Vec<Row>,
    #[serde(skip)]
    exit: Exit,
    /// Why nothing was audited.
    error: Option<String>,
}

/// What gives a ServiceAccount its role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Kind {
    Annotation,
    /// An entry in the identity ConfigMap.
    ConfigMap,
    Association,
    /// A workload that refers to the ServiceAccount.
    Workload,
}

/// Which formats have a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shown {
    Everywhere,
    /// JSON and YAML: it says nothing that another row does not say, or nothing is wrong.
    InJson,
}

/// The object that refers to a ServiceAccount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ObjectName {
    pub(super) kind: String,
    pub(super) name: String,
    /// Where in it the reference is. Empty for the object itself.
    pub(super) path: String,
}

/// The number of rows by result.
#[derive(Clone, Copy, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Summary {
    /// Those of `service_accounts` whose annotation only resembles the role annotation.
    #[serde(skip)]
    pub(super) look_alikes: usize,
    /// With a role annotation or an entry in the identity ConfigMap.
    pub(super) service_accounts: usize,
    pub(super) associations: usize,
    /// References of workloads to ServiceAccounts.
    pub(super) workloads: usize,
    /// As the numbers after it, without the rows that only JSON has.
    pub(super) findings: usize,
    pub(super) unclear: usize,
    pub(super) trusted: usize,
    /// Trusted, by a policy that trusts more than was probably meant.
    pub(super) too_wide: usize,
    /// The workloads that the references are in.
    #[serde(skip)]
    pub(super) objects: usize,
}

/// One ServiceAccount with a role annotation, an association or a workload.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Row {
    kind: Kind,
    pub(super) namespace: String,
    pub(super) service_account: String,
    object_kind: Option<String>,
    object_name: Option<String>,
    object_path: Option<String>,
    target_role_arn: Option<String>,
    #[serde(flatten)]
    pub(super) report: Report,
    #[serde(skip)]
    location: Option<Location>,
    #[serde(skip)]
    shown: Shown,
}

impl Row {
    pub(super) fn new(
        kind: Kind,
        (namespace, service_account): Key,
        report: Report,
        location: Option<Location>,
    ) -> Self {
        Self {
            kind,
            namespace,
            service_account,
            object_kind: None,
            object_name: None,
            object_path: None,
            target_role_arn: None,
            report,
            location,
            shown: Shown::Everywhere,
        }
    }

    /// Of an object that refers to a ServiceAccount.
    pub(super) fn of_object(
        ObjectName { kind, name, path }: ObjectName,
        key: Key,
        (report, shown): (Report, Shown),
        location: Option<Location>,
    ) -> Self {
        Self {
            object_kind: Some(kind),
            object_name: Some(name),
            object_path: Some(path),
            shown,
            ..Self::new(Kind::Workload, key, report, location)
        }
    }

    /// Of an association, with the report of its role with the worse verdict.
    pub(super) fn of_association(association: &Association, report: Report) -> Self {
        Self {
            target_role_arn: association.target_role.as_ref().map(ToString::to_string),
            ..Self::new(
                Kind::Association,
                (
                    association.namespace.to_string(),
                    association.service_account.to_string(),
                ),
                report.with_role(association.role.to_string()),
                None,
            )
        }
    }

    pub(super) fn name(&self) -> String {
        let (namespace, name) = (text::value(&self.namespace), text::value(&self.service_account));
        match self.kind {
            Kind::Annotation => format!("{namespace}/{name}"),
            Kind::ConfigMap => format!("{namespace}/{name} (ConfigMap)"),
            Kind::Association => format!("{namespace}/{name} (association)"),
            Kind::Workload => {
                let [kind, object] =
                    [&self.object_kind, &self.object_name].map(|part| text::value(part.as_deref().unwrap_or_default()));
                format!("{namespace}/{name} ({kind} {object})")
            }
        }
    }

    /// The workload of the row: its namespace, kind and name.
    fn object(&self) -> Option<(&str, &str, &str)> {
        Some((
            &self.namespace,
            self.object_kind.as_deref()?,
            self.object_name.as_deref()?,
        ))
    }

    pub(super) fn roles(&self) -> String {
        let role = text::value(self.report.role());
        match &self.target_role_arn {
            Some(target) => format!("{role}, {}", text::value(target)),
            None => role,
        }
    }

    /// Worst first: findings, undetermined, trusted with remarks, trusted.
    pub(super) fn rank(&self) -> u8 {
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
        rows.sort_by_cached_key(|row| {
            (
                row.shown == Shown::InJson,
                row.rank(),
                row.namespace.clone(),
                row.service_account.clone(),
                row.kind,
                row.object_kind.clone(),
                row.object_name.clone(),
            )
        });
        let count = |wanted: &dyn Fn(&Row) -> bool| rows.iter().filter(|row| wanted(row)).count();
        let shown = |wanted: &dyn Fn(u8) -> bool| count(&|row| row.shown == Shown::Everywhere && wanted(row.rank()));
        let summary = Summary {
            look_alikes: count(&|row| {
                row.kind == Kind::Annotation && row.report.cause() == Some(Cause::NoRole.as_str())
            }),
            service_accounts: count(&|row| matches!(row.kind, Kind::Annotation | Kind::ConfigMap)),
            associations: count(&|row| row.kind == Kind::Association),
            workloads: count(&|row| row.kind == Kind::Workload),
            findings: shown(&|rank| rank == 0),
            unclear: shown(&|rank| rank == 1),
            trusted: shown(&|rank| rank >= 2),
            too_wide: shown(&|rank| rank == 2),
            objects: rows.iter().filter_map(Row::object).collect::<HashSet<_>>().len(),
        };
        let worst = rows.iter().map(|row| row.report.exit()).max();
        Self {
            summary,
            rows,
            exit: worst.unwrap_or(Exit::Yes),
            error: None,
        }
    }

    /// That nothing was audited, which is an error, and why.
    pub(super) fn of_nothing(why: String) -> Self {
        Self {
            error: Some(text::escape(&why).into_owned()),
            ..Self::of(Vec::new())
        }
    }

    /// Without what is trusted; the totals stay.
    pub(super) fn without_trusted(mut self) -> Self {
        self.rows.retain(|row| row.rank() < 2);
        self
    }

    /// That of the worst row; 0 without rows.
    pub(super) const fn exit(&self) -> Exit {
        self.exit
    }

    /// What people and other programs read.
    pub(super) fn shown(&self) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(|row| row.shown == Shown::Everywhere)
    }

    /// For the formats of other programs.
    pub(super) fn findings(&self, time: Timestamp, docs_url: Option<String>) -> Findings {
        let items = self.shown().map(|row| {
            let (kind, name) = match (row.kind, &row.object_kind, &row.object_name) {
                (Kind::Association, _, _) => ("PodIdentityAssociation", &row.service_account),
                (Kind::Workload, Some(kind), Some(name)) => (kind.as_str(), name),
                (Kind::Annotation | Kind::ConfigMap | Kind::Workload, _, _) => ("ServiceAccount", &row.service_account),
            };
            row.report.item(kind, &row.namespace, name).at(row.location.clone())
        });
        Findings {
            version: env!("CARGO_PKG_VERSION"),
            time,
            docs_url,
            items: items.collect(),
            failure: self.error.clone(),
        }
    }
}
