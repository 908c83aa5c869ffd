//! Durations as flags and environment variables write them: `500ms`, `5s`, `1m`, `1h`, `1h30m`; a bare number is seconds.

use std::time::Duration;

/// What a duration flag takes, for error messages.
const FORMS: &str = "expected a duration such as 500ms, 5s, 1m or 1h (a bare number is seconds)";

/// Parses a duration.
///
/// # Errors
/// What is wrong with it and what is taken.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    if let Some(seconds) = whole_number(text) {
        return Ok(Duration::from_secs(seconds));
    }
    let mut total = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or(FORMS)?;
        let (number, tail) = rest.split_at_checked(digits).ok_or(FORMS)?;
        let letters = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at_checked(letters).ok_or(FORMS)?;
        let number = whole_number(number).ok_or(FORMS)?;
        let part = match unit {
            "ms" => Some(Duration::from_millis(number)),
            "s" => Some(Duration::from_secs(number)),
            "m" => number.checked_mul(60).map(Duration::from_secs),
            "h" => number.checked_mul(3600).map(Duration::from_secs),
            _ => None,
        };
        total = part.and_then(|part| total.checked_add(part)).ok_or(FORMS)?;
        rest = tail;
    }
    if text.is_empty() {
        Err(FORMS.to_owned())
    } else {
        Ok(total)
    }
}

/// A parser of durations from `least` to `most`, both included, for clap.
pub(crate) fn between(
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

/// The shortest way to write a duration that [`parse`] takes back.
pub(crate) fn display(duration: Duration) -> String {
    let millis = duration.as_millis();
    match millis {
        0 => "0s".to_owned(),
        _ if millis.is_multiple_of(3_600_000) => format!("{}h", millis / 3_600_000),
        _ if millis.is_multiple_of(60_000) => format!("{}m", millis / 60_000),
        _ if millis.is_multiple_of(1000) => format!("{}s", millis / 1000),
        _ => format!("{millis}ms"),
    }
}

/// Digits only: `u64::from_str` alone would take a sign.
fn whole_number(text: &str) -> Option<u64> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        text.parse().ok()
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_what_the_help_says() {
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
    fn refuses_the_rest_and_says_what_it_takes() {
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
