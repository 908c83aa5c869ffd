//! The patch: typed operations that serialise straight to the JSON that the API server takes.

use std::fmt;
use std::sync::Arc;

use serde::ser::{Serialize, SerializeStruct, Serializer};

use super::super::view::ContainerList;

/// A JSON patch (RFC 6902) of `add` operations only; serialises to the array that the API server takes.
#[derive(Debug, Default, PartialEq)]
pub struct Patch {
    operations: Vec<Operation>,
}

impl Patch {
    /// Whether nothing is added; then neither `patch` nor `patchType` belongs in the answer.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.operations.is_empty()
    }

    /// How many operations it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.operations.len()
    }

    /// Appends the patch as JSON.
    ///
    /// # Errors
    /// None that this crate knows of: every key is a string and memory takes every write. The signature is `serde_json`'s.
    pub fn write_json(&self, out: &mut Vec<u8>) -> serde_json::Result<()> {
        // Room for what an operation usually takes, so that the text is not moved as it grows.
        out.reserve(self.operations.len().saturating_mul(160));
        serde_json::to_writer(out, self)
    }

    pub(super) fn add(&mut self, at: Pointer, value: Value) {
        self.operations.push(Operation { at, value });
    }
}

impl Serialize for Patch {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(&self.operations)
    }
}

#[derive(Debug, PartialEq)]
struct Operation {
    at: Pointer,
    value: Value,
}

impl Serialize for Operation {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut operation = serializer.serialize_struct("Operation", 3)?;
        operation.serialize_field("op", "add")?;
        operation.serialize_field("path", &self.at)?;
        operation.serialize_field("value", &self.value)?;
        operation.end()
    }
}

/// The places where something may be added: the whole of what rolegate touches in a pod.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Pointer {
    Metadata,
    Labels,
    Label(&'static str),
    Volumes,
    FirstVolume,
    Env(ContainerList, usize),
    EnvEnd(ContainerList, usize),
    Mounts(ContainerList, usize),
    MountsEnd(ContainerList, usize),
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let container = |list: ContainerList| match list {
            ContainerList::Init => "/spec/initContainers",
            ContainerList::Main => "/spec/containers",
            ContainerList::Ephemeral => "/spec/ephemeralContainers",
        };
        match *self {
            Self::Metadata => f.write_str("/metadata"),
            Self::Labels => f.write_str("/metadata/labels"),
            Self::Label(key) => {
                f.write_str("/metadata/labels/")?;
                // RFC 6901: `~` and `/` inside a token.
                key.chars().try_for_each(|character| match character {
                    '~' => f.write_str("~0"),
                    '/' => f.write_str("~1"),
                    other => fmt::Write::write_char(f, other),
                })
            }
            Self::Volumes => f.write_str("/spec/volumes"),
            Self::FirstVolume => f.write_str("/spec/volumes/0"),
            Self::Env(list, index) => write!(f, "{}/{index}/env", container(list)),
            Self::EnvEnd(list, index) => write!(f, "{}/{index}/env/-", container(list)),
            Self::Mounts(list, index) => write!(f, "{}/{index}/volumeMounts", container(list)),
            Self::MountsEnd(list, index) => write!(f, "{}/{index}/volumeMounts/-", container(list)),
        }
    }
}

impl Serialize for Pointer {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// What may be added.
#[derive(Debug, PartialEq, serde::Serialize)]
#[serde(untagged)]
pub(super) enum Value {
    Text(&'static str),
    Labels(OneEntry),
    Metadata { labels: OneEntry },
    Volume(Volume),
    Volumes([Volume; 1]),
    Variable(Variable),
    Variables(Vec<Variable>),
    Mount(Mount),
    Mounts([Mount; 1]),
}

/// An object of one entry.
#[derive(Debug, PartialEq)]
pub(super) struct OneEntry(pub(super) &'static str, pub(super) &'static str);

impl Serialize for OneEntry {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map([(self.0, self.1)])
    }
}

/// A projected volume with one ServiceAccount token.
#[derive(Debug, PartialEq)]
pub(super) struct Volume {
    pub(super) name: Arc<str>,
    pub(super) audience: Arc<str>,
    pub(super) expiration_seconds: u32,
    pub(super) path: Arc<str>,
}

impl Serialize for Volume {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(serde::Serialize)]
        struct Wire<'a> {
            name: &'a str,
            projected: Projected<'a>,
        }
        #[derive(serde::Serialize)]
        struct Projected<'a> {
            sources: [Source<'a>; 1],
        }
        #[derive(serde::Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Source<'a> {
            service_account_token: Token<'a>,
        }
        #[derive(serde::Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Token<'a> {
            audience: &'a str,
            expiration_seconds: u32,
            path: &'a str,
        }
        let token = Token {
            audience: &self.audience,
            expiration_seconds: self.expiration_seconds,
            path: &self.path,
        };
        let sources = [Source {
            service_account_token: token,
        }];
        Wire {
            name: &self.name,
            projected: Projected { sources },
        }
        .serialize(serializer)
    }
}

/// A mount of the token volume.
#[derive(Debug, PartialEq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Mount {
    pub(super) name: Arc<str>,
    pub(super) read_only: bool,
    pub(super) mount_path: Arc<str>,
}

/// An environment variable.
#[derive(Debug, PartialEq)]
pub(super) struct Variable {
    pub(super) name: &'static str,
    pub(super) value: VariableValue,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum VariableValue {
    Fixed(&'static str),
    Text(Arc<str>),
    /// The pod's name, by the downward API.
    PodName,
}

impl Serialize for Variable {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(serde::Serialize)]
        #[serde(rename_all = "camelCase")]
        struct ValueFrom {
            field_ref: FieldRef,
        }
        #[derive(serde::Serialize)]
        #[serde(rename_all = "camelCase")]
        struct FieldRef {
            field_path: &'static str,
        }
        let mut variable = serializer.serialize_struct("Variable", 2)?;
        variable.serialize_field("name", self.name)?;
        match &self.value {
            VariableValue::Fixed(text) => variable.serialize_field("value", text)?,
            VariableValue::Text(text) => variable.serialize_field("value", &**text)?,
            VariableValue::PodName => variable.serialize_field(
                "valueFrom",
                &ValueFrom {
                    field_ref: FieldRef {
                        field_path: "metadata.name",
                    },
                },
            )?,
        }
        variable.end()
    }
}
