//! Reads a certificate: its validity, whether it is a CA certificate, and the fields that the certificates it signs repeat.

use jiff::Timestamp;
use rcgen::{DistinguishedName, DnType, DnValue};
use x509_parser::asn1_rs::Tag;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::ParsedExtension;
use x509_parser::prelude::FromDer as _;
use x509_parser::x509::{AttributeTypeAndValue, X509Name};

/// When a certificate is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Validity {
    /// From this moment on.
    pub(crate) not_before: Timestamp,
    /// Until this moment.
    pub(crate) not_after: Timestamp,
}

/// The last moment at which a certificate is valid. None for anything but a certificate.
#[must_use]
pub fn not_after(der: &[u8]) -> Option<Timestamp> {
    validity(der).map(|validity| validity.not_after)
}

/// When a certificate is valid. None for anything but a certificate.
#[must_use]
pub(crate) fn validity(der: &[u8]) -> Option<Validity> {
    let certificate = parse(der)?;
    let validity = certificate.validity();
    Some(Validity {
        not_before: Timestamp::from_second(validity.not_before.timestamp()).ok()?,
        not_after: Timestamp::from_second(validity.not_after.timestamp()).ok()?,
    })
}

/// Whether the certificate may sign others: `basicConstraints` with `cA` true.
#[must_use]
pub fn is_ca(der: &[u8]) -> bool {
    parse(der).is_some_and(|certificate| certificate.is_ca())
}

/// What the certificates of a CA repeat of it.
#[derive(Debug)]
pub(super) struct CaIdentity {
    /// Its subject, which is their issuer.
    pub(super) subject: DistinguishedName,
    /// The identifier of its key, if it has one.
    pub(super) key_identifier: Option<Vec<u8>>,
}

/// None for a subject that cannot be written again: with several attributes in one part, an attribute that is there twice, or a text
/// that is not a UTF-8, printable or IA5 string.
pub(super) fn ca_identity(der: &[u8]) -> Option<CaIdentity> {
    let certificate = parse(der)?;
    let key_identifier = certificate
        .iter_extensions()
        .find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::SubjectKeyIdentifier(identifier) => Some(identifier.0.to_vec()),
            _ => None,
        });
    Some(CaIdentity {
        subject: distinguished_name(certificate.subject())?,
        key_identifier,
    })
}

/// Whether the issuer of a certificate is another certificate's subject, byte by byte.
pub(super) fn is_issued_by(certificate: &[u8], ca: &[u8]) -> bool {
    let (Some(certificate), Some(ca)) = (parse(certificate), parse(ca)) else {
        return false;
    };
    certificate.issuer().as_raw() == ca.subject().as_raw()
}

fn parse(der: &[u8]) -> Option<X509Certificate<'_>> {
    X509Certificate::from_der(der)
        .ok()
        .map(|(_rest, certificate)| certificate)
}

fn distinguished_name(name: &X509Name<'_>) -> Option<DistinguishedName> {
    let mut copy = DistinguishedName::new();
    for part in name.iter() {
        let mut attributes = part.iter();
        let (Some(attribute), None) = (attributes.next(), attributes.next()) else {
            return None;
        };
        let kind = DnType::from_oid(&attribute.attr_type().iter()?.collect::<Vec<_>>());
        if copy.get(&kind).is_some() {
            return None;
        }
        copy.push(kind, value(attribute)?);
    }
    Some(copy)
}

fn value(attribute: &AttributeTypeAndValue<'_>) -> Option<DnValue> {
    let text = attribute.as_str().ok()?;
    match attribute.attr_value().tag() {
        Tag::Utf8String => Some(DnValue::Utf8String(text.to_owned())),
        Tag::PrintableString => text.try_into().ok().map(DnValue::PrintableString),
        Tag::Ia5String => text.try_into().ok().map(DnValue::Ia5String),
        _ => None,
    }
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
    fn both_forms_of_time_are_read() {
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
    fn a_truncated_certificate_has_no_validity() {
        let whole = certificate(2030);
        for length in 0..60 {
            assert_eq!(not_after(&whole[..length]), None, "{length}");
        }
    }

    fn ca(subject: &[(rcgen::DnType, rcgen::DnValue)], is_ca: rcgen::IsCa) -> Vec<u8> {
        let mut params = rcgen::CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        for (kind, value) in subject {
            params.distinguished_name.push(kind.clone(), value.clone());
        }
        params.is_ca = is_ca;
        let key = rcgen::KeyPair::generate().unwrap();
        params.self_signed(&key).unwrap().der().to_vec()
    }

    #[test]
    fn a_ca_is_recognized_and_its_subject_is_copied_with_its_string_types() {
        let subject = [
            (
                rcgen::DnType::CountryName,
                rcgen::DnValue::PrintableString("DE".try_into().unwrap()),
            ),
            (
                rcgen::DnType::OrganizationName,
                rcgen::DnValue::Utf8String("Größe".to_owned()),
            ),
            (
                rcgen::DnType::CommonName,
                rcgen::DnValue::Ia5String("rolegate".try_into().unwrap()),
            ),
        ];
        let signs = ca(&subject, rcgen::IsCa::Ca(rcgen::BasicConstraints::Constrained(0)));
        let leaf = ca(&subject, rcgen::IsCa::ExplicitNoCa);
        assert!(is_ca(&signs) && !is_ca(&leaf) && !is_ca(&certificate(2030)) && !is_ca(b"0"));
        let identity = ca_identity(&signs).unwrap();
        assert!(
            identity
                .subject
                .iter()
                .eq(subject.iter().map(|(kind, value)| (kind, value)))
        );
        assert!(identity.key_identifier.is_some());
        assert!(is_issued_by(&leaf, &signs) && !is_issued_by(&certificate(2030), &signs));

        let teletex = rcgen::DnValue::TeletexString("rolegate".try_into().unwrap());
        let teletex = ca(&[(rcgen::DnType::CommonName, teletex)], rcgen::IsCa::ExplicitNoCa);
        assert!(ca_identity(&teletex).is_none());
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_panic(at in 0_usize..330, byte: u8) {
            let mut bytes = certificate(2030);
            bytes[at] = byte;
            let _ = (not_after(&bytes), ca_identity(&bytes).is_some(), is_ca(&bytes));
        }
    }
}
