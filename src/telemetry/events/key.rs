//! What refusals of one Event have in common.

use crate::trust::Cause;

/// The subject of a series.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct SeriesKey {
    pub(super) namespace: Box<str>,
    pub(super) service_account: Box<str>,
    pub(super) cause: Option<Cause>,
}
