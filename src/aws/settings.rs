//! What AWS is accessed with.

use crate::trust::{AccountId, RoleArn};

/// The flags that configure AWS access.
#[derive(Clone, Debug, Default)]
pub struct AwsSettings {
    /// `--assume-role`: accounts whose roles are read under a role of theirs.
    pub assume: Vec<(AccountId, RoleArn)>,
    /// The Region whose endpoints are used when neither environment nor profile set one.
    pub region: Option<String>,
    /// `--profile`: the profile of the shared configuration whose credentials are used, whatever the environment holds.
    pub profile: Option<String>,
    /// Who uses AWS.
    pub user: AwsUser,
}

/// Who uses AWS, and so what messages advise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AwsUser {
    /// A pod, which keeps running: credentials come with its ServiceAccount, and calls that fail are retried.
    #[default]
    Pod,
    /// A person at a terminal, for one command: credentials come with a profile, and the person runs it again.
    Person,
}
