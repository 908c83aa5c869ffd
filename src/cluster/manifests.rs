//! ServiceAccounts read from a folder of YAML manifests (`--standalone DIR`).

/// ServiceAccounts of a folder.
#[derive(Debug)]
pub struct ManifestServiceAccounts {}
