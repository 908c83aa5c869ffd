//! Reads and writes the data of the Secret: CAs with their keys as PEM. Other keys in the data are not changed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use pem::{EncodeConfig, LineEnding, Pem};
use serde_json::{Value, json};

use super::issue::{Authority, AuthorityError};
use super::rotation::{Ca, Content};
use super::serving::{BundleError, certificates};
use super::x509;

const CA: &str = "ca.crt";
const CA_KEY: &str = "ca.key";
const NEXT: &str = "next.crt";
const NEXT_KEY: &str = "next.key";
const PREVIOUS: &str = "previous.crt";
const PREVIOUS_UNTIL: &str = "previous.until";

/// The CAs with the keys that go with a [`Content`].
#[derive(Clone, Debug)]
pub(super) struct Keyring {
    /// What rotation decides on.
    pub(super) content: Content,
    /// Signs for `content.ca`.
    pub(super) ca: Arc<Authority>,
    /// Signs for `content.next`.
    pub(super) next: Option<Arc<Authority>>,
}

/// What was read of the Secret's data.
#[derive(Debug)]
pub(super) enum Read {
    /// None of the keys, or all of them are empty.
    Empty,
    /// CAs, and what else in the data is not usable.
    Keyring(Box<Keyring>, Option<String>),
    /// Why the data has no usable CA.
    Unusable(String),
}

/// Reads the data of a Secret.
pub(super) fn read<'a>(value: impl Fn(&str) -> Option<&'a [u8]>) -> Read {
    let text = |key: &str| {
        let bytes = value(key).unwrap_or_default();
        String::from_utf8_lossy(bytes).into_owned()
    };
    if [CA, CA_KEY].iter().all(|key| text(key).trim().is_empty()) {
        return Read::Empty;
    }
    let (ca, authority) = match authority(&text(CA), &text(CA_KEY)) {
        Ok(read) => read,
        Err(why) => return Read::Unusable(format!("{CA} with {CA_KEY}: {why}")),
    };
    let mut useless = None;
    let next = match (text(NEXT), text(NEXT_KEY)) {
        (next, key) if next.is_empty() && key.is_empty() => None,
        (next, key) => match self::authority(&next, &key) {
            Ok(read) => Some(read),
            Err(why) => {
                useless = Some(format!("{NEXT} with {NEXT_KEY}: {why}"));
                None
            }
        },
    };
    let previous = text(PREVIOUS);
    let previous = match previous.is_empty() {
        true => Vec::new(),
        false => cas(previous.as_bytes()).unwrap_or_else(|why| {
            useless = Some(format!("{PREVIOUS}: {why}"));
            Vec::new()
        }),
    };
    let (next, next_authority) = next.unzip();
    let content = Content {
        previous_until: until(&text(PREVIOUS_UNTIL), &previous),
        previous: previous
            .into_iter()
            .filter(|previous| *previous != ca && Some(previous) != next.as_ref())
            .collect(),
        ca,
        next,
    };
    let keyring = Keyring {
        content,
        ca: authority,
        next: next_authority,
    };
    Read::Keyring(Box::new(keyring), useless)
}

impl Keyring {
    /// A CA alone.
    pub(super) fn of(authority: Arc<Authority>) -> Option<Self> {
        Some(Self {
            content: Content::of(ca_of(&authority)?),
            ca: authority,
            next: None,
        })
    }

    /// The CA that signs for one that the content lists.
    pub(super) fn authority_of(&self, ca: &Ca) -> Option<&Arc<Authority>> {
        if *ca == self.content.ca {
            return Some(&self.ca);
        }
        self.next.as_ref().filter(|_| self.content.next.as_ref() == Some(ca))
    }

    /// The values of the keys; none for those that are removed.
    fn values(&self) -> [(&'static str, Option<String>); 6] {
        let some = |text: String| Some(text).filter(|text| !text.is_empty());
        let next = self.next.as_ref();
        [
            (CA, some(self.ca.certificate_pem().to_owned())),
            (CA_KEY, some(self.ca.key_pem().to_owned())),
            (NEXT, next.map(|next| next.certificate_pem().to_owned())),
            (NEXT_KEY, next.map(|next| next.key_pem().to_owned())),
            (PREVIOUS, some(to_pem(&self.content.previous))),
            (
                PREVIOUS_UNTIL,
                self.content
                    .previous_until
                    .and_then(|until| Timestamp::try_from(until).ok())
                    .map(|until| format!("{until:.0}")),
            ),
        ]
    }

    /// The JSON patch that writes this to a Secret at the version that was read, with the data that was read.
    pub(super) fn patch<T>(&self, version: &str, data: Option<&BTreeMap<String, T>>) -> Value {
        let mut patch = vec![json!({"op": "replace", "path": "/metadata/resourceVersion", "value": version})];
        if data.is_none() {
            patch.push(json!({"op": "add", "path": "/data", "value": {}}));
        }
        for (key, value) in self.values() {
            let path = format!("/data/{key}");
            match value {
                Some(value) => patch.push(json!({"op": "add", "path": path, "value": STANDARD.encode(value)})),
                None if data.is_some_and(|data| data.contains_key(key)) => {
                    patch.push(json!({"op": "remove", "path": path}));
                }
                None => {}
            }
        }
        Value::Array(patch)
    }
}

/// The CAs of a PEM text, each once.
pub(super) fn cas(text: &[u8]) -> Result<Vec<Ca>, BundleError> {
    let mut cas: Vec<Ca> = Vec::new();
    for certificate in certificates(text)? {
        let ca = ca(&certificate).ok_or_else(|| BundleError::Certificate("its validity cannot be read".to_owned()))?;
        if !cas.contains(&ca) {
            cas.push(ca);
        }
    }
    Ok(cas)
}

/// The PEM text of CAs.
pub(super) fn to_pem(cas: &[Ca]) -> String {
    let config = EncodeConfig::new().set_line_ending(LineEnding::LF);
    cas.iter()
        .map(|ca| pem::encode_config(&Pem::new("CERTIFICATE", ca.der()), config))
        .collect()
}

/// What rotation knows of a CA.
pub(super) fn ca_of(authority: &Authority) -> Option<Ca> {
    cas(authority.certificate_pem().as_bytes()).ok()?.into_iter().next()
}

fn authority(certificate: &str, key: &str) -> Result<(Ca, Arc<Authority>), String> {
    let authority = Authority::from_pem(certificate, key).map_err(|error: AuthorityError| error.to_string())?;
    let ca = ca_of(&authority).ok_or("its validity cannot be read")?;
    Ok((ca, Arc::new(authority)))
}

fn ca(der: &[u8]) -> Option<Ca> {
    let validity = x509::validity(der)?;
    Some(Ca::new(
        der,
        SystemTime::from(validity.not_before),
        SystemTime::from(validity.not_after),
    ))
}

/// When the previous CAs are removed from the bundles: as stored, and no later than they expire.
fn until(text: &str, previous: &[Ca]) -> Option<SystemTime> {
    let written = text.trim().parse::<Timestamp>().ok().map(SystemTime::from);
    let last = previous.iter().map(Ca::not_after).max()?;
    Some(written.unwrap_or(last).min(last))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    fn now() -> SystemTime {
        SystemTime::UNIX_EPOCH + 20_000 * DAY
    }

    fn authority_until(days: u32) -> Arc<Authority> {
        Arc::new(Authority::generate("test CA", now(), days * DAY).unwrap())
    }

    fn apply(keyring: &Keyring, data: Option<BTreeMap<String, Vec<u8>>>) -> BTreeMap<String, Vec<u8>> {
        let encoded = data.as_ref().map(|data| {
            json!(
                data.iter()
                    .map(|(key, value)| (key.clone(), STANDARD.encode(value)))
                    .collect::<BTreeMap<_, _>>()
            )
        });
        let mut secret = json!({"metadata": {"resourceVersion": "7"}});
        if let Some(encoded) = encoded {
            secret["data"] = encoded;
        }
        let patch: json_patch::Patch = serde_json::from_value(keyring.patch("7", data.as_ref())).unwrap();
        json_patch::patch(&mut secret, &patch).unwrap();
        let data: BTreeMap<String, String> = serde_json::from_value(secret["data"].clone()).unwrap();
        data.into_iter()
            .map(|(key, value)| (key, STANDARD.decode(value).unwrap()))
            .collect()
    }

    fn read_of(data: &BTreeMap<String, Vec<u8>>) -> Read {
        read(|key| data.get(key).map(Vec::as_slice))
    }

    #[test]
    fn what_is_written_is_read_again() {
        let (ca, next, previous) = (authority_until(30), authority_until(60), authority_until(10));
        let mut keyring = Keyring::of(ca).unwrap();
        keyring.content.next = ca_of(&next);
        keyring.next = Some(next);
        keyring.content.previous = vec![ca_of(&previous).unwrap()];
        keyring.content.previous_until = Some(now() + 3 * DAY);

        let data = apply(&keyring, None);
        assert_eq!(
            data.keys().collect::<Vec<_>>(),
            [
                "ca.crt",
                "ca.key",
                "next.crt",
                "next.key",
                "previous.crt",
                "previous.until"
            ]
        );
        let Read::Keyring(read, None) = read_of(&data) else {
            panic!()
        };
        assert_eq!(read.content, keyring.content);

        let alone = Keyring::of(keyring.ca.clone()).unwrap();
        let mut data = data;
        data.insert("theirs".to_owned(), b"theirs".to_vec());
        let data = apply(&alone, Some(data));
        assert_eq!(
            data.keys().collect::<Vec<_>>(),
            ["ca.crt", "ca.key", "theirs"],
            "others' keys stay"
        );
    }

    #[test]
    fn without_a_ca_it_is_empty_and_with_a_wrong_one_it_says_why() {
        let (ca, other) = (authority_until(30), authority_until(30));
        let data = |pairs: &[(&str, &str)]| -> BTreeMap<String, Vec<u8>> {
            pairs
                .iter()
                .map(|(key, value)| ((*key).to_owned(), value.as_bytes().to_vec()))
                .collect()
        };
        for empty in [
            data(&[]),
            data(&[("ca.crt", ""), ("ca.key", "\n")]),
            data(&[("tls.crt", "x")]),
        ] {
            assert!(matches!(read_of(&empty), Read::Empty), "{empty:?}");
        }
        for (wrong, expected) in [
            (data(&[("ca.crt", ca.certificate_pem())]), "ca.key"),
            (data(&[("ca.key", ca.key_pem())]), "CERTIFICATE"),
            (
                data(&[("ca.crt", ca.certificate_pem()), ("ca.key", other.key_pem())]),
                "does not belong",
            ),
            (data(&[("ca.crt", "nonsense"), ("ca.key", "nonsense")]), "CERTIFICATE"),
        ] {
            let Read::Unusable(why) = read_of(&wrong) else {
                panic!("{wrong:?}")
            };
            assert!(why.contains(expected) && !why.contains("PRIVATE"), "{why}");
        }
    }

    #[test]
    fn unusable_values_next_to_the_ca_are_ignored() {
        let ca = authority_until(30);
        let mut data = apply(&Keyring::of(ca).unwrap(), None);
        data.insert("next.crt".to_owned(), b"nonsense".to_vec());
        data.insert("previous.crt".to_owned(), b"nonsense".to_vec());
        let Read::Keyring(read, Some(useless)) = read_of(&data) else {
            panic!()
        };
        assert_eq!((read.content.next, read.content.previous), (None, Vec::new()));
        assert!(useless.contains("previous.crt"), "{useless}");
    }

    #[test]
    fn pem_is_formatted_as_by_others() {
        let ca = authority_until(30);
        let text = to_pem(&[ca_of(&ca).unwrap()]);
        assert_eq!(text, ca.certificate_pem().replace("\r\n", "\n"));
    }
}
