//! ServiceAccounts of a live cluster: a watch on their metadata into a map of our own, and the direct GET.

/// ServiceAccounts watched on an API server.
#[derive(Debug)]
pub struct LiveServiceAccounts {}
