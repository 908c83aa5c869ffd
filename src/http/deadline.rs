//! How long a request may take: the API server's timeout, minus a margin for the response.

use std::time::Duration;

use axum::extract::Request;
use percent_encoding::percent_decode_str;
use tokio::time::Instant;

/// When a request arrived, and when it must be answered: an extension of the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline {
    /// When its head was read.
    pub arrived: Instant,
    /// `?timeout=` of its URL, less a margin.
    pub due: Instant,
}

impl Deadline {
    /// Starts the time of a request that arrives now.
    #[must_use]
    pub fn start(mut request: Request) -> Request {
        let arrived = Instant::now();
        let due = arrived + budget(request.uri().query());
        request.extensions_mut().insert(Self { arrived, due });
        request
    }
}

/// The timeout of requests without `?timeout=`: `timeoutSeconds` of the chart's webhook configurations.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(2);

/// The largest `timeoutSeconds` of a webhook configuration.
const MAX_TIMEOUT: Duration = Duration::from_secs(30);

/// The margin for the network, and because the API server rounds its timeout up to whole seconds in the URL.
const MARGIN: Duration = Duration::from_millis(500);

/// The time in which a request must be answered, from its query (`timeout=5s`): the timeout less 500 ms, at least half of
/// it. Without a usable timeout 2 s is taken; more than 30 s counts as 30 s.
fn budget(query: Option<&str>) -> Duration {
    let timeout = query.and_then(timeout).unwrap_or(DEFAULT_TIMEOUT).min(MAX_TIMEOUT);
    timeout.saturating_sub(MARGIN).max(timeout / 2)
}

fn timeout(query: &str) -> Option<Duration> {
    let value = query.split('&').find_map(|pair| pair.strip_prefix("timeout="))?;
    let decoded = percent_decode_str(value).decode_utf8().ok()?;
    go_duration(&decoded).filter(|duration| !duration.is_zero())
}

/// A positive duration as Go's `time.ParseDuration` reads it: `5s`, `1m30s`, `1.5h`, `500ms`. None for anything else.
///
/// jiff's parser, which flags use, reads what Go prints (`1m30.5s`), but not all that Go reads: not `.5s` and `5.s`, a fraction before the
/// last unit (`1.5h30m`), units that repeat or increase (`1s1m`), the Greek `μs`, or more than nine decimals. It also reads what Go rejects
/// (`5 seconds`).
fn go_duration(text: &str) -> Option<Duration> {
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest.is_empty() {
        return None;
    }
    if rest == "0" {
        return Some(Duration::ZERO);
    }
    let mut nanos = 0_u64;
    while !rest.is_empty() {
        let (whole, after) = digits(rest);
        let (fraction, after) = after.strip_prefix('.').map_or(("", after), digits);
        if whole.is_empty() && fraction.is_empty() {
            return None;
        }
        let (unit, after) = unit(after)?;
        let whole = if whole.is_empty() {
            0
        } else {
            whole.parse::<u64>().ok()?
        };
        nanos = nanos
            .checked_add(whole.checked_mul(unit)?)?
            .checked_add(fraction_of(fraction, unit))?;
        rest = after;
    }
    Some(Duration::from_nanos(nanos))
}

fn digits(text: &str) -> (&str, &str) {
    let end = text.bytes().take_while(u8::is_ascii_digit).count();
    text.split_at_checked(end).unwrap_or(("", text))
}

/// Nanoseconds of the unit that a text begins with, and what follows it. Longer names first: `ms` is not `m`.
fn unit(text: &str) -> Option<(u64, &str)> {
    const UNITS: [(&str, u64); 8] = [
        ("ns", 1),
        ("us", 1_000),
        ("µs", 1_000),
        ("μs", 1_000),
        ("ms", 1_000_000),
        ("s", 1_000_000_000),
        ("m", 60_000_000_000),
        ("h", 3_600_000_000_000),
    ];
    UNITS
        .iter()
        .find_map(|(name, nanos)| text.strip_prefix(name).map(|rest| (*nanos, rest)))
}

/// The nanoseconds of `.fraction` units. Digits below a nanosecond say nothing.
fn fraction_of(fraction: &str, unit: u64) -> u64 {
    let mut scale = unit;
    let mut nanos = 0;
    for digit in fraction.bytes() {
        scale /= 10;
        nanos += scale * u64::from(digit - b'0');
    }
    nanos
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_budget_is_the_timeout_less_half_a_second_and_at_least_half_of_it() {
        let cases = [
            (Some("timeout=5s"), 4500),
            (Some("timeout=10s"), 9500),
            (Some("timeout=1s"), 500),
            (Some("timeout=2s"), 1500),
            (Some("timeout=700ms"), 350),
            (Some("timeout=1m30s"), 29_500),
            (Some("timeout=30s"), 29_500),
            (Some("timeout=900h"), 29_500),
            (Some("dryRun=All&timeout=5s"), 4500),
            (Some("timeout=2.5s"), 2000),
            (Some("timeout=.5s"), 250),
            (Some("timeout=800000%C2%B5s"), 400),
            // Missing or not a duration: the timeout that the chart configures for the API server.
            (None, 1500),
            (Some(""), 1500),
            (Some("timeout="), 1500),
            (Some("timeout=5"), 1500),
            (Some("timeout=s"), 1500),
            (Some("timeout=.s"), 1500),
            (Some("timeout=5x"), 1500),
            (Some("timeout=-5s"), 1500),
            (Some("timeout=0s"), 1500),
            (Some("timeout=0"), 1500),
            (Some("timeout=5s garbage"), 1500),
            (Some("timeout=99999999999999999999s"), 1500),
            (Some("timeout=%ff"), 1500),
            (Some("xtimeout=5s"), 1500),
        ];
        for (query, millis) in cases {
            assert_eq!(budget(query), Duration::from_millis(millis), "{query:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_query_has_a_budget_between_nothing_and_thirty_seconds(query in ".{0,60}", tail in "[0-9.smhnuµ+-]{0,30}") {
            for query in [query, format!("timeout={tail}")] {
                let budget = budget(Some(&query));
                assert!(budget < Duration::from_secs(30), "{query}");
            }
        }
    }
}
