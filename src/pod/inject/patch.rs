//! The patch: typed operations, each of which is written as JSON for the API server when it is added.

use crate::pod::json::{write_number, write_text};
use crate::pod::view::ContainerList;

/// A JSON patch (RFC 6902) of `add` operations only.
#[derive(Debug, Default, PartialEq)]
pub struct Patch {
    /// The whole array; empty while it has no operation.
    json: Vec<u8>,
    operations: usize,
}

/// Room for the patch of a pod with one container, as most have, so that the text is not moved as it grows. No larger: the
/// system's allocator hands out up to this much without a search.
const ROOM: usize = 1024;

impl Patch {
    /// Whether nothing is added; then neither `patch` nor `patchType` belongs in the answer.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.operations == 0
    }

    /// How many operations it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.operations
    }

    /// The patch as JSON: an array.
    #[must_use]
    pub fn as_json(&self) -> &[u8] {
        if self.is_empty() { b"[]" } else { &self.json }
    }

    pub(super) fn add(&mut self, at: Pointer, value: Value<'_>) {
        let out = &mut self.json;
        // Continues the array.
        if out.pop().is_some() {
            out.push(b',');
        } else {
            out.reserve(ROOM);
            out.push(b'[');
        }
        out.extend_from_slice(br#"{"op":"add","path":""#);
        at.write(out);
        out.extend_from_slice(br#"","value":"#);
        value.write(out);
        out.extend_from_slice(b"}]");
        self.operations += 1;
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

impl Pointer {
    /// As the inside of a JSON string: none of its characters is one that JSON escapes.
    fn write(self, out: &mut Vec<u8>) {
        let mut container = |list: ContainerList, index: usize, rest: &[u8]| {
            out.extend_from_slice(match list {
                ContainerList::Init => b"/spec/initContainers/".as_slice(),
                ContainerList::Main => b"/spec/containers/",
                ContainerList::Ephemeral => b"/spec/ephemeralContainers/",
            });
            write_number(out, index as u64);
            out.extend_from_slice(rest);
        };
        match self {
            Self::Metadata => out.extend_from_slice(b"/metadata"),
            Self::Labels => out.extend_from_slice(b"/metadata/labels"),
            Self::Label(key) => {
                out.extend_from_slice(b"/metadata/labels/");
                // RFC 6901: `~` and `/` inside a token.
                for byte in key.bytes() {
                    match byte {
                        b'~' => out.extend_from_slice(b"~0"),
                        b'/' => out.extend_from_slice(b"~1"),
                        other => out.push(other),
                    }
                }
            }
            Self::Volumes => out.extend_from_slice(b"/spec/volumes"),
            Self::FirstVolume => out.extend_from_slice(b"/spec/volumes/0"),
            Self::Env(list, index) => container(list, index, b"/env"),
            Self::EnvEnd(list, index) => container(list, index, b"/env/-"),
            Self::Mounts(list, index) => container(list, index, b"/volumeMounts"),
            Self::MountsEnd(list, index) => container(list, index, b"/volumeMounts/-"),
        }
    }
}

/// What may be added.
#[derive(Debug)]
pub(super) enum Value<'a> {
    Text(&'static str),
    Labels(OneEntry),
    Metadata { labels: OneEntry },
    Volume(Volume<'a>),
    Volumes([Volume<'a>; 1]),
    Variable(Variable<'a>),
    Variables(&'a [Variable<'a>]),
    Mount(Mount<'a>),
    Mounts([Mount<'a>; 1]),
}

impl Value<'_> {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Text(text) => write_text(out, text),
            Self::Labels(labels) => labels.write(out),
            Self::Metadata { labels } => {
                out.extend_from_slice(br#"{"labels":"#);
                labels.write(out);
                out.push(b'}');
            }
            Self::Volume(volume) => volume.write(out),
            Self::Volumes(volumes) => write_list(out, volumes, Volume::write),
            Self::Variable(variable) => variable.write(out),
            Self::Variables(variables) => write_list(out, variables, Variable::write),
            Self::Mount(mount) => mount.write(out),
            Self::Mounts(mounts) => write_list(out, mounts, Mount::write),
        }
    }
}

fn write_list<T>(out: &mut Vec<u8>, items: &[T], write: impl Fn(&T, &mut Vec<u8>)) {
    out.push(b'[');
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write(item, out);
    }
    out.push(b']');
}

/// An object of one entry.
#[derive(Debug)]
pub(super) struct OneEntry(pub(super) &'static str, pub(super) &'static str);

impl OneEntry {
    fn write(&self, out: &mut Vec<u8>) {
        out.push(b'{');
        write_text(out, self.0);
        out.push(b':');
        write_text(out, self.1);
        out.push(b'}');
    }
}

/// A projected volume with one ServiceAccount token.
#[derive(Debug)]
pub(super) struct Volume<'a> {
    pub(super) name: &'a str,
    pub(super) audience: &'a str,
    pub(super) expiration_seconds: u32,
    pub(super) path: &'a str,
}

impl Volume<'_> {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(br#"{"name":"#);
        write_text(out, self.name);
        out.extend_from_slice(br#","projected":{"sources":[{"serviceAccountToken":{"audience":"#);
        write_text(out, self.audience);
        out.extend_from_slice(br#","expirationSeconds":"#);
        write_number(out, self.expiration_seconds.into());
        out.extend_from_slice(br#","path":"#);
        write_text(out, self.path);
        out.extend_from_slice(b"}}]}}");
    }
}

/// A mount of the token volume, which is read-only.
#[derive(Debug)]
pub(super) struct Mount<'a> {
    pub(super) name: &'a str,
    pub(super) mount_path: &'a str,
}

impl Mount<'_> {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(br#"{"name":"#);
        write_text(out, self.name);
        out.extend_from_slice(br#","readOnly":true,"mountPath":"#);
        write_text(out, self.mount_path);
        out.push(b'}');
    }
}

/// An environment variable.
#[derive(Clone, Copy, Debug)]
pub(super) struct Variable<'a> {
    pub(super) name: &'static str,
    pub(super) value: VariableValue<'a>,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum VariableValue<'a> {
    Text(&'a str),
    /// The pod's name, by the downward API.
    PodName,
}

impl Variable<'_> {
    fn write(&self, out: &mut Vec<u8>) {
        // The names of our variables need no escapes.
        out.extend_from_slice(br#"{"name":""#);
        out.extend_from_slice(self.name.as_bytes());
        out.push(b'"');
        match self.value {
            VariableValue::Text(text) => {
                out.extend_from_slice(br#","value":"#);
                write_text(out, text);
                out.push(b'}');
            }
            VariableValue::PodName => {
                out.extend_from_slice(br#","valueFrom":{"fieldRef":{"fieldPath":"metadata.name"}}}"#);
            }
        }
    }
}
