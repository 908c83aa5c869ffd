//! Durations as flags and environment variables write them: `500ms`, `5s`, `1m`, `1h`, `1h30m`; a bare number is seconds.

use std::time::Duration;

use jiff::fmt::friendly::{Designator, Spacing, SpanParser, SpanPrinter};

/// What a duration flag takes, for error messages.
const FORMS: &str = "expected a duration such as 500ms, 5s, 1m or 1h (a bare number is seconds)";

/// Parses a duration.
///
/// # Errors
/// What is taken.
pub(super) fn parse(text: &str) -> Result<Duration, String> {
    // jiff takes signs, spaces, fractions, clock times and shorter units, too.
    let is_plain = text
        .bytes()
        .all(|byte| matches!(byte, b'0'..=b'9' | b'h' | b'm' | b's'));
    let parsed = match text.parse() {
        _ if !is_plain => None,
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => SpanParser::new().parse_unsigned_duration(text).ok(),
    };
    parsed.ok_or_else(|| FORMS.to_owned())
}

/// A parser of durations from `least` to `most`, both included, for clap.
pub(super) fn between(
    least: Duration,
    most: Duration,
) -> impl Fn(&str) -> Result<Duration, String> + Clone + Send + Sync + 'static {
    move |text| {
        let duration = parse(text)?;
        if (least..=most).contains(&duration) {
            return Ok(duration);
        }
        Err(format!(
            "expected a duration from {} to {}",
            display(least),
            display(most)
        ))
    }
}

/// A duration as [`parse`] takes it.
pub(super) fn display(duration: Duration) -> String {
    const PRINTER: SpanPrinter = SpanPrinter::new()
        .designator(Designator::Compact)
        .spacing(Spacing::None);
    PRINTER.unsigned_duration_to_string(&duration)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_what_the_help_says() {
        let cases = [
            ("500ms", 500),
            ("5s", 5_000),
            ("1m", 60_000),
            ("1h", 3_600_000),
            ("90", 90_000),
            ("0", 0),
            ("0s", 0),
            ("1h30m", 5_400_000),
            ("1m500ms", 60_500),
        ];
        for (text, millis) in cases {
            assert_eq!(parse(text), Ok(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn rejects_everything_else_and_says_what_it_takes() {
        for text in [
            "",
            " ",
            "s",
            "5 s",
            "-5s",
            "+5",
            "1d",
            "1.5s",
            "5S",
            "ms",
            "1m30",
            "18446744073709551616",
            "18446744073709551615h",
            "18446744073709551615s18446744073709551615s",
            "٣s",
            "5µs",
        ] {
            assert_eq!(parse(text), Err(FORMS.to_owned()), "{text:?}");
        }
    }

    #[test]
    fn bounds_are_included_and_named() {
        let parser = between(Duration::from_millis(10), Duration::from_secs(3600));
        assert_eq!(parser("10ms"), Ok(Duration::from_millis(10)));
        assert_eq!(parser("1h"), Ok(Duration::from_secs(3600)));
        assert_eq!(parser("9ms"), Err("expected a duration from 10ms to 1h".to_owned()));
        assert_eq!(parser("3601"), Err("expected a duration from 10ms to 1h".to_owned()));
    }

    #[test]
    fn what_is_displayed_is_parsed_back() {
        for millis in [0, 1, 999, 1000, 1001, 60_000, 61_000, 3_600_000, 86_400_000, 5_400_000] {
            let duration = Duration::from_millis(millis);
            assert_eq!(parse(&display(duration)), Ok(duration));
        }
    }
}
