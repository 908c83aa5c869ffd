//! When a certificate ends. The TLS library does not say, and a whole X.509 parser is much for one date: this reads the
//! DER only as far as `validity.notAfter` (RFC 5280 §4.1).

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

const INTEGER: u8 = 0x02;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
/// `[0] EXPLICIT`, which holds the version.
const VERSION: u8 = 0xa0;

/// The last moment at which a certificate is valid. None for what is not a certificate.
#[must_use]
pub fn not_after(der: &[u8]) -> Option<Timestamp> {
    let (certificate, _) = value(der, SEQUENCE)?;
    let (to_be_signed, _) = value(certificate, SEQUENCE)?;
    let rest = value(to_be_signed, VERSION).map_or(to_be_signed, |(_, rest)| rest);
    let (_serial, rest) = value(rest, INTEGER)?;
    let (_signature, rest) = value(rest, SEQUENCE)?;
    let (_issuer, rest) = value(rest, SEQUENCE)?;
    let (validity, _) = value(rest, SEQUENCE)?;
    let (_not_before, rest) = time(validity)?;
    time(rest).map(|(not_after, _)| not_after)
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

    proptest::proptest! {
        #[test]
        fn no_bytes_panic(at in 0_usize..300, byte: u8) {
            let mut bytes = certificate(2030);
            bytes[at] = byte;
            let _ = not_after(&bytes);
        }
    }
}
