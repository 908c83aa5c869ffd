//! How long a policy document is, as IAM counts.

/// Characters that a trust policy may have by default (an IAM quota of the account).
pub(crate) const DEFAULT_QUOTA: usize = 2048;

/// Characters that a trust policy may have when the quota was raised as far as AWS raises it.
pub(crate) const LARGEST_QUOTA: usize = 8192;

/// The characters of a document as IAM counts them against its quota: white space between tokens is free.
#[must_use]
pub fn size(json: &str) -> usize {
    let mut count = 0_usize;
    let (mut in_text, mut escaped) = (false, false);
    for character in json.chars() {
        if in_text {
            match character {
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                '"' => in_text = false,
                _ => {}
            }
        } else if character == '"' {
            in_text = true;
        } else if matches!(character, ' ' | '\t' | '\n' | '\r') {
            continue;
        }
        count = count.saturating_add(1);
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_space_between_tokens_is_free() {
        for (json, characters) in [
            ("", 0),
            ("{}", 2),
            (" { \"a b\" :\t[ 1 ,\r\n2 ] } ", 13),
            (r#"{"a\" b": "c\\"}"#, 15),
            (r#"{"a\"  b":1}"#, 12),
            (r#"{"a\\"  : 1}"#, 9),
            (r#"{"é": "日"}"#, 9),
        ] {
            assert_eq!(size(json), characters, "{json}");
        }
    }
}
