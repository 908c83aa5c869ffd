//! Literals of typed condition operators: numbers, dates, networks. Parsing returns none for any other text.

use std::cmp::Ordering;
use std::net::IpAddr;

use ipnet::IpNet;
use jiff::civil::Date;

/// A decimal number of any size, compared exactly: `0.DIGITS × 10^point`, without zeros at either end of the digits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Decimal {
    negative: bool,
    point: i64,
    digits: Box<[u8]>,
}

impl Decimal {
    /// `-12`, `+1.50`, `.5`, `1e3`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (negative, unsigned) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, parse_exponent(exponent)?),
            None => (unsigned, 0),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let is_number = (!whole.is_empty() || !fraction.is_empty()) && all_digits(whole) && all_digits(fraction);
        if !is_number {
            return None;
        }
        let leading_zeros = whole
            .bytes()
            .chain(fraction.bytes())
            .take_while(|digit| *digit == b'0')
            .count();
        let mut digits: Vec<u8> = whole.bytes().chain(fraction.bytes()).skip(leading_zeros).collect();
        let trailing_zeros = digits.iter().rev().take_while(|digit| **digit == b'0').count();
        digits.truncate(digits.len() - trailing_zeros);
        if digits.is_empty() {
            return Some(Self {
                negative: false,
                point: 0,
                digits: Box::default(),
            });
        }
        let point = i64::try_from(whole.len()).ok()? - i64::try_from(leading_zeros).ok()? + exponent;
        Some(Self {
            negative,
            point,
            digits: digits.into(),
        })
    }
}

impl From<i64> for Decimal {
    fn from(number: i64) -> Self {
        Self::parse(&number.to_string()).unwrap_or(Self {
            negative: false,
            point: 0,
            digits: Box::default(),
        })
    }
}

impl Ord for Decimal {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self.sign(), other.sign()) {
            (1, 1) => self.magnitude().cmp(&other.magnitude()),
            (-1, -1) => other.magnitude().cmp(&self.magnitude()),
            (left, right) => left.cmp(&right),
        }
    }
}

impl PartialOrd for Decimal {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Decimal {
    fn sign(&self) -> i8 {
        match (self.digits.is_empty(), self.negative) {
            (true, _) => 0,
            (false, true) => -1,
            (false, false) => 1,
        }
    }
    /// As no digits begin with zero, the place of the point decides first, then the digits from the left.
    fn magnitude(&self) -> (i64, &[u8]) {
        (self.point, &self.digits)
    }
}

fn parse_exponent(text: &str) -> Option<i64> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    // Far beyond any number that a policy means; the sum with a document's length cannot overflow.
    if digits.is_empty() || digits.len() > 15 || !all_digits(digits) {
        return None;
    }
    let exponent: i64 = digits.parse().ok()?;
    Some(if text.starts_with('-') { -exponent } else { exponent })
}

fn all_digits(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

/// A point in time: seconds since the epoch, and nanoseconds. Seconds may be any number that a policy holds, such as
/// milliseconds written by mistake, and the last day of the year 9999 counts, too; jiff's own type has neither.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Timestamp {
    pub(crate) seconds: i64,
    pub(crate) nanoseconds: u32,
}

impl Timestamp {
    /// Seconds since the epoch (digits alone are always these, `2030` too), or ISO 8601 as far as W3C's note on date and
    /// time takes it: `2030-01`, `2030-01-31`, `2030-01-31T12:00Z`, `2030-01-31T12:00:00.5+02:00`. Without a zone it is
    /// UTC.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        Self::parse_epoch(text).or_else(|| parse_iso(text))
    }

    fn parse_epoch(text: &str) -> Option<Self> {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
        // A sign that is not minus would be taken.
        if !all_digits(whole.strip_prefix('-').unwrap_or(whole)) {
            return None;
        }
        let nanoseconds = nanoseconds(fraction)?;
        let seconds: i64 = whole.parse().ok()?;
        if whole.starts_with('-') && nanoseconds > 0 {
            return Some(Self {
                seconds: seconds.checked_sub(1)?,
                nanoseconds: 1_000_000_000 - nanoseconds,
            });
        }
        Some(Self { seconds, nanoseconds })
    }
}

fn parse_iso(text: &str) -> Option<Timestamp> {
    let (date, time) = match text.split_once('T') {
        Some((date, time)) => (date, Some(time)),
        None => (text, None),
    };
    let days = parse_date(date, time.is_some())?;
    let Some(time) = time else {
        return Some(Timestamp {
            seconds: days * 86_400,
            nanoseconds: 0,
        });
    };
    let (clock, offset) = split_zone(time)?;
    let (clock, fraction) = clock
        .split_once(['.', ','])
        .map_or((clock, None), |(clock, fraction)| (clock, Some(fraction)));
    let mut parts = colon_parts(clock)?.into_iter();
    let (hour, minute, second) = (parts.next()?, parts.next()?, parts.next());
    // 60 is a leap second.
    if parts.next().is_some() || hour > 23 || minute > 59 || second.unwrap_or(0) > 60 {
        return None;
    }
    let nanoseconds = match fraction {
        Some(_) if second.is_none() => return None,
        Some(fraction) => nanoseconds(fraction)?,
        None => 0,
    };
    let seconds = days * 86_400 + hour * 3_600 + minute * 60 + second.unwrap_or(0) - offset;
    Some(Timestamp { seconds, nanoseconds })
}

/// `2030-01-31`, `2030-01` or, before a time, `20300131`; the days since the epoch.
fn parse_date(date: &str, before_time: bool) -> Option<i64> {
    let mut parts = date.split('-');
    let first = parts.next()?;
    let (year, month, day) = if before_time && first.len() == 8 {
        (first.get(..4)?, first.get(4..6)?, first.get(6..)?)
    } else {
        (first, parts.next()?, parts.next().unwrap_or("01"))
    };
    if parts.next().is_some() || year.len() != 4 || (before_time && first.len() == 4 && date.len() != 10) {
        return None;
    }
    if [month, day].iter().any(|part| part.len() != 2) || ![year, month, day].iter().all(|part| all_digits(part)) {
        return None;
    }
    let date = Date::new(year.parse().ok()?, month.parse().ok()?, day.parse().ok()?).ok()?;
    let since_epoch = Date::constant(1970, 1, 1).until(date).ok()?;
    Some(since_epoch.get_days().into())
}

/// The clock and its zone's offset in seconds.
fn split_zone(time: &str) -> Option<(&str, i64)> {
    if let Some(clock) = time.strip_suffix('Z') {
        return Some((clock, 0));
    }
    let Some(at) = time.find(['+', '-']) else {
        return Some((time, 0));
    };
    let (clock, zone) = time.split_at_checked(at)?;
    let sign = if zone.starts_with('-') { -1 } else { 1 };
    let mut parts = colon_parts(zone.get(1..)?)?.into_iter();
    let (hours, minutes) = (parts.next()?, parts.next().unwrap_or(0));
    if parts.next().is_some() || hours > 23 || minutes > 59 {
        return None;
    }
    Some((clock, sign * (hours * 3_600 + minutes * 60)))
}

/// `12:30:00`, `123000` and the shorter ones, as numbers of two digits each.
fn colon_parts(text: &str) -> Option<Vec<i64>> {
    if text.len() > 8 {
        return None;
    }
    if text.contains(':') {
        return text.split(':').map(two_digits).collect();
    }
    if !text.len().is_multiple_of(2) {
        return None;
    }
    (0..text.len() / 2)
        .map(|pair| two_digits(text.get(2 * pair..2 * pair + 2)?))
        .collect()
}

fn two_digits(text: &str) -> Option<i64> {
    if text.len() == 2 { number(text) } else { None }
}

fn number(text: &str) -> Option<i64> {
    if all_digits(text) { text.parse().ok() } else { None }
}

fn nanoseconds(fraction: &str) -> Option<u32> {
    if fraction.is_empty() || !all_digits(fraction) {
        return None;
    }
    let nine: String = fraction.chars().chain(std::iter::repeat('0')).take(9).collect();
    nine.parse().ok()
}

/// CIDR, or an address alone, which is a network of one. Bits behind the prefix do not count.
pub(crate) fn parse_network(text: &str) -> Option<IpNet> {
    let (address, prefix) = match text.split_once('/') {
        Some((address, prefix)) => (address, Some(prefix)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().ok()?;
    match prefix {
        None => Some(address.into()),
        Some(digits) if digits.len() <= 3 && all_digits(digits) => IpNet::new(address, digits.parse().ok()?).ok(),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_compare_exactly_at_any_size() {
        let ascending = [
            "-1e20",
            "-9007199254740993",
            "-9007199254740992",
            "-1.5",
            "-1",
            "-.5",
            "0",
            "1e-9",
            "0.5",
            "1",
            "1.5",
            "9",
            "10",
            "9007199254740992",
            "9007199254740993",
            "1e20",
        ];
        for pair in ascending.windows(2) {
            let (low, high) = (Decimal::parse(pair[0]).unwrap(), Decimal::parse(pair[1]).unwrap());
            assert!(low < high, "{pair:?}");
        }
        for (left, right) in [
            ("1", "1.0"),
            ("007", "7"),
            ("1e3", "1000"),
            ("-0", "0"),
            ("+5", "5"),
            ("12.50E1", "125"),
            ("1e000000000000003", "1000"),
        ] {
            assert_eq!(Decimal::parse(left), Decimal::parse(right), "{left} {right}");
        }
        assert_eq!(Decimal::from(-86_400), Decimal::parse("-86400").unwrap());
        for text in [
            "",
            " 1",
            "1 ",
            "1,5",
            "0x10",
            "NaN",
            "inf",
            ".",
            "-",
            "e5",
            "1e",
            "1.2.3",
            "1e9999999999999999",
            "1e0000000000000003",
            "*",
        ] {
            assert_eq!(Decimal::parse(text), None, "{text}");
        }
    }

    #[test]
    fn timestamps_are_read_as_iso_8601_or_epoch_seconds() {
        for (text, seconds) in [
            ("0", 0),
            ("1700000000", 1_700_000_000),
            ("-5", -5),
            ("1970-01-01T00:00:00Z", 0),
            ("1970-01-02", 86_400),
            ("2000-03", 951_868_800),
            ("2000-02-29T12:34:56Z", 951_827_696),
            ("2024-02-29", 1_709_164_800),
            ("2026-11-22T13:00:00+01:00", 1_795_348_800),
            ("2026-11-22T07:00-0500", 1_795_348_800),
            ("2026-11-22T17:30:00+05:30", 1_795_348_800),
            ("2026-11-23T11:59:00+23:59", 1_795_348_800),
            ("20261122T120000Z", 1_795_348_800),
            ("2026-11-22T12:00:00", 1_795_348_800),
            ("2016-12-31T23:59:60Z", 1_483_228_800),
            ("9999-12-31T23:59:59Z", 253_402_300_799),
            ("9999-12-31T23:59:59-23:59", 253_402_387_139),
            ("0000-01-01", -62_167_219_200),
            ("0000-02-29T00:00:00+23:59", -62_162_208_000 + 86_400 - 86_340),
            ("1700000000000", 1_700_000_000_000),
            ("2030", 2_030),
        ] {
            assert_eq!(
                Timestamp::parse(text),
                Some(Timestamp {
                    seconds,
                    nanoseconds: 0
                }),
                "{text}"
            );
        }
        assert_eq!(
            Timestamp::parse("2026-11-22T12:00:00.25Z"),
            Some(Timestamp {
                seconds: 1_795_348_800,
                nanoseconds: 250_000_000
            })
        );
        assert_eq!(
            Timestamp::parse("-0.25"),
            Some(Timestamp {
                seconds: -1,
                nanoseconds: 750_000_000
            })
        );
        for text in [
            "",
            "tomorrow",
            "2026-13-01",
            "2026-00-01",
            "2025-02-29",
            "1900-02-29",
            "2100-02-29",
            "2026-11-31",
            "2026-11-22T24:00:00Z",
            "2026-11-22T12:60Z",
            "2026-1-2",
            "2026-11-22 12:00:00Z",
            "2026-11-22T",
            "2026-11-22T12",
            "2026-11-22T12:00:00+25:00",
            "2026-11-22T12:00:00+24:00",
            "2026-11-22T12:00:00+01:60",
            "2026-11-22-01",
            "26-11-22",
            "22.11.2026",
            "2026-11T12:00Z",
            "é026-11-22",
            "2026-11-22T1é:00Z",
            "99999999999999999999",
            "1.",
            ".5",
            "-",
            "+5",
            "1.5.",
            "1.+5",
            "2026-11-22T12:00.5Z",
            "*",
        ] {
            assert_eq!(Timestamp::parse(text), None, "{text}");
        }
    }

    #[test]
    fn networks_hold_the_addresses_of_their_prefix() {
        for (network, address, holds) in [
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.1.2.3/8", "10.0.0.1", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("192.0.2.1", "192.0.2.1", true),
            ("192.0.2.1", "192.0.2.2", false),
            ("0.0.0.0/0", "255.255.255.255", true),
            ("0.0.0.0/0", "::1", false),
            ("2001:db8::/32", "2001:db8:1::1", true),
            ("2001:db8::1", "2001:db8::2", false),
            ("::/0", "2001:db8::2", true),
            ("255.255.255.255/31", "255.255.255.254", true),
            ("192.0.2.0/31", "192.0.2.2", false),
            ("2001:db8::/127", "2001:db8::1", true),
            ("2001:db8::/127", "2001:db8::2", false),
        ] {
            assert_eq!(
                parse_network(network)
                    .unwrap()
                    .contains(&address.parse::<IpAddr>().unwrap()),
                holds,
                "{network} {address}"
            );
        }
        for text in [
            "",
            "10.0.0.0/33",
            "10.0.0.0/0008",
            "10.0.0.0/",
            "10.0.0.0/+8",
            "10.0.0/8",
            "10.0.0.256",
            "::/129",
            "10.0.0.0/8/8",
            "host",
        ] {
            assert_eq!(parse_network(text), None, "{text}");
        }
    }
}
