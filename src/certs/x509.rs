//! What is read of a certificate beyond what the TLS library says: when it begins and ends, its subject's name, and whether
//! it is a CA's. A whole X.509 parser is much for that: this reads the DER only as far as it must (RFC 5280 §4.1).

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

const BOOLEAN: u8 = 0x01;
const INTEGER: u8 = 0x02;
const OCTET_STRING: u8 = 0x04;
const OBJECT_IDENTIFIER: u8 = 0x06;
const UTF8_STRING: u8 = 0x0c;
const PRINTABLE_STRING: u8 = 0x13;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
/// `[0] EXPLICIT`, which holds the version.
const VERSION: u8 = 0xa0;
/// `[3] EXPLICIT`, which holds the extensions.
const EXTENSIONS: u8 = 0xa3;

/// `2.5.4.3`, the attribute `commonName`.
const COMMON_NAME: [u8; 3] = [0x55, 0x04, 0x03];
/// `2.5.29.19`, the extension `basicConstraints`.
const BASIC_CONSTRAINTS: [u8; 3] = [0x55, 0x1d, 0x13];

/// When a certificate is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// From this moment on.
    pub not_before: Timestamp,
    /// Until this moment.
    pub not_after: Timestamp,
}

/// The text of a subject that is a lone common name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommonName {
    /// Written as `UTF8String`.
    Utf8(String),
    /// Written as `PrintableString`; another certificate's issuer must be written likewise to be the same name.
    Printable(String),
}

/// The last moment at which a certificate is valid. None for what is not a certificate.
#[must_use]
pub fn not_after(der: &[u8]) -> Option<Timestamp> {
    validity(der).map(|validity| validity.not_after)
}

/// When a certificate is valid. None for what is not a certificate.
#[must_use]
pub fn validity(der: &[u8]) -> Option<Validity> {
    let (validity, _) = value(from_validity(der)?, SEQUENCE)?;
    let (not_before, rest) = time(validity)?;
    let (not_after, _) = time(rest)?;
    Some(Validity { not_before, not_after })
}

/// The subject, if it is a common name and nothing else.
#[must_use]
pub fn lone_common_name(der: &[u8]) -> Option<CommonName> {
    let (_validity, rest) = value(from_validity(der)?, SEQUENCE)?;
    let (subject, _) = value(rest, SEQUENCE)?;
    let (set, others) = value(subject, SET)?;
    let (attribute, more) = value(set, SEQUENCE)?;
    let (kind, text) = value(attribute, OBJECT_IDENTIFIER)?;
    if !others.is_empty() || !more.is_empty() || kind != COMMON_NAME {
        return None;
    }
    let as_text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).ok();
    if let Some((text, _)) = value(text, UTF8_STRING) {
        return as_text(text).map(CommonName::Utf8);
    }
    let (text, _) = value(text, PRINTABLE_STRING)?;
    as_text(text).map(CommonName::Printable)
}

/// Whether the certificate may sign others: `basicConstraints` with `cA` true.
#[must_use]
pub fn is_ca(der: &[u8]) -> bool {
    says_ca(der).unwrap_or(false)
}

fn says_ca(der: &[u8]) -> Option<bool> {
    let (_validity, rest) = value(from_validity(der)?, SEQUENCE)?;
    let (_subject, rest) = value(rest, SEQUENCE)?;
    let (_public_key, rest) = value(rest, SEQUENCE)?;
    let (extensions, _) = value(rest, EXTENSIONS)?;
    let (mut extensions, _) = value(extensions, SEQUENCE)?;
    while let Some((extension, rest)) = value(extensions, SEQUENCE) {
        extensions = rest;
        let (kind, content) = value(extension, OBJECT_IDENTIFIER)?;
        if kind != BASIC_CONSTRAINTS {
            continue;
        }
        let content = value(content, BOOLEAN).map_or(content, |(_critical, content)| content);
        let (constraints, _) = value(content, OCTET_STRING)?;
        let (constraints, _) = value(constraints, SEQUENCE)?;
        return value(constraints, BOOLEAN).map(|(ca, _)| ca.first().is_some_and(|byte| *byte != 0));
    }
    Some(false)
}

/// A certificate's bytes from `validity` on.
fn from_validity(der: &[u8]) -> Option<&[u8]> {
    let (certificate, _) = value(der, SEQUENCE)?;
    let (to_be_signed, _) = value(certificate, SEQUENCE)?;
    let rest = value(to_be_signed, VERSION).map_or(to_be_signed, |(_, rest)| rest);
    let (_serial, rest) = value(rest, INTEGER)?;
    let (_signature, rest) = value(rest, SEQUENCE)?;
    let (_issuer, rest) = value(rest, SEQUENCE)?;
    Some(rest)
}

/// The contents of the element of this tag that the bytes begin with, and what follows it.
fn value(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let rest = bytes.strip_prefix(&[tag])?;
    let (&first, rest) = rest.split_first()?;
    if first < 0x80 {
        return rest.split_at_checked(usize::from(first));
    }
    // Four bytes of length are more than any certificate has.
    let (length, rest) = rest
        .split_at_checked(usize::from(first & 0x7f))
        .filter(|(length, _)| length.len() <= 4)?;
    let length = length
        .iter()
        .fold(0_usize, |length, byte| length << 8 | usize::from(*byte));
    rest.split_at_checked(length)
}

fn time(bytes: &[u8]) -> Option<(Timestamp, &[u8])> {
    if let Some((text, rest)) = value(bytes, UTC_TIME) {
        let text = std::str::from_utf8(text).ok()?;
        // RFC 5280 §4.1.2.5.1: years from 50 on belong to the last century.
        let century = if text.as_bytes().first()? < &b'5' { "20" } else { "19" };
        return Some((timestamp(&format!("{century}{text}"))?, rest));
    }
    let (text, rest) = value(bytes, GENERALIZED_TIME)?;
    Some((timestamp(std::str::from_utf8(text).ok()?)?, rest))
}

fn timestamp(text: &str) -> Option<Timestamp> {
    let time = DateTime::strptime("%Y%m%d%H%M%SZ", text).ok()?;
    time.to_zoned(TimeZone::UTC).ok().map(|zoned| zoned.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate(year: i32) -> Vec<u8> {
        let mut params = rcgen::CertificateParams::new(vec!["rolegate.example".to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(year, 3, 7);
        let key = rcgen::KeyPair::generate().unwrap();
        params.self_signed(&key).unwrap().der().to_vec()
    }

    #[test]
    fn the_end_is_read_from_either_form_of_time() {
        // 2050 on is GeneralizedTime.
        for (year, expected) in [
            (2030, "2030-03-07T00:00:00Z"),
            (1999, "1999-03-07T00:00:00Z"),
            (2077, "2077-03-07T00:00:00Z"),
        ] {
            assert_eq!(not_after(&certificate(year)), Some(expected.parse().unwrap()), "{year}");
        }
    }

    #[test]
    fn what_is_cut_short_has_no_end() {
        let whole = certificate(2030);
        for length in 0..60 {
            assert_eq!(not_after(&whole[..length]), None, "{length}");
        }
    }

    #[test]
    fn a_ca_is_told_from_a_leaf_and_its_name_is_read() {
        let ca = |name: rcgen::DnValue, is_ca| {
            let mut params = rcgen::CertificateParams::default();
            params.distinguished_name = rcgen::DistinguishedName::new();
            params.distinguished_name.push(rcgen::DnType::CommonName, name);
            params.is_ca = is_ca;
            let key = rcgen::KeyPair::generate().unwrap();
            params.self_signed(&key).unwrap().der().to_vec()
        };
        let signs = rcgen::IsCa::Ca(rcgen::BasicConstraints::Constrained(0));
        let utf8 = ca(rcgen::DnValue::Utf8String("rolegate".to_owned()), signs);
        let printable = ca(
            rcgen::DnValue::PrintableString("rolegate".try_into().unwrap()),
            rcgen::IsCa::ExplicitNoCa,
        );
        assert!(is_ca(&utf8) && !is_ca(&printable) && !is_ca(&certificate(2030)) && !is_ca(b"0"));
        assert_eq!(lone_common_name(&utf8), Some(CommonName::Utf8("rolegate".to_owned())));
        assert_eq!(
            lone_common_name(&printable),
            Some(CommonName::Printable("rolegate".to_owned()))
        );

        let mut params = rcgen::CertificateParams::default();
        params
            .distinguished_name
            .push(rcgen::DnType::OrganizationName, "rolegate");
        let key = rcgen::KeyPair::generate().unwrap();
        assert_eq!(lone_common_name(params.self_signed(&key).unwrap().der()), None);
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_panic(at in 0_usize..330, byte: u8) {
            let mut bytes = certificate(2030);
            bytes[at] = byte;
            let _ = (not_after(&bytes), lone_common_name(&bytes), is_ca(&bytes));
        }
    }
}
