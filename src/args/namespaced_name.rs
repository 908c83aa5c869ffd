//! `NAMESPACE/NAME`: an object of a cluster.

use std::str::FromStr;

use crate::support::dns;

/// An object in a namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NamespacedName {
    pub(crate) namespace: String,
    pub(crate) name: String,
}

impl FromStr for NamespacedName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('/') {
            Some((namespace, name)) if dns::is_label(namespace) && dns::is_subdomain(name) => Ok(Self {
                namespace: namespace.to_owned(),
                name: name.to_owned(),
            }),
            _ => Err("expected NAMESPACE/NAME: the namespace of the object, a slash and its name".to_owned()),
        }
    }
}
