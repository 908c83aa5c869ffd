//! What the demo reports.

use serde::Serialize;

use super::example::Scenario;
use super::pod::Added;

/// The report of the demo.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Report {
    /// Where reviews were posted.
    pub(super) webhook: String,
    pub(super) issuer: &'static str,
    pub(super) pods: Vec<PodReport>,
}

/// The response to one pod.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PodReport {
    pub(super) namespace: &'static str,
    pub(super) service_account: &'static str,
    pub(super) role: Option<&'static str>,
    /// What the example shows with it.
    pub(super) description: &'static str,
    pub(super) allowed: bool,
    pub(super) code: Option<u16>,
    /// Why it was refused.
    pub(super) message: Option<String>,
    pub(super) warnings: Vec<String>,
    /// What the patch added, for people.
    #[serde(skip)]
    pub(super) added: Added,
    /// The patch itself.
    pub(super) patch: serde_json::Value,
    /// From the request's first byte to the response's last, milliseconds.
    pub(super) milliseconds: f64,
    #[serde(skip)]
    pub(super) scenario: &'static Scenario,
}

impl PodReport {
    pub(super) fn is_as_expected(&self) -> bool {
        self.scenario
            .expected
            .holds(self.allowed, !self.added.is_empty(), self.warnings.len())
    }
}
