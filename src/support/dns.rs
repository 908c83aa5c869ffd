//! DNS names as Kubernetes writes them (RFC 1123, lower case), by which its objects are named.

/// Whether a text is a DNS label, such as the name of a namespace or a volume: at most 63 characters.
pub(crate) fn is_label(text: &str) -> bool {
    text.len() <= 63 && is_part(text)
}

/// Whether a text is a DNS subdomain, such as the name of most objects or the prefix of an annotation key: at most 253 characters.
/// Kubernetes does not bound the labels in it.
pub(crate) fn is_subdomain(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(is_part)
}

fn is_part(text: &str) -> bool {
    let is_end = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = text.as_bytes();
    bytes.first().is_some_and(is_end)
        && bytes.last().is_some_and(is_end)
        && bytes.iter().all(|byte| is_end(byte) || *byte == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subdomains_are_labels_with_dots() {
        for name in ["a", "default", "a-b.c-d", "0", "x1.y2", &"a".repeat(253)] {
            assert!(is_subdomain(name), "{name}");
        }
        for text in [
            "",
            ".",
            "a.",
            ".a",
            "a..b",
            "-a",
            "a-",
            "A",
            "a/b",
            "a?b",
            "../x",
            "a b",
            "a\nb",
            "é",
            &"a".repeat(254),
        ] {
            assert!(!is_subdomain(text), "{text}");
        }
    }

    #[test]
    fn labels_have_no_dots() {
        assert!(is_label("team-a"));
        assert!(is_label(&"a".repeat(63)));
        for text in ["", "team.a", "-a", "a-", &"a".repeat(64)] {
            assert!(!is_label(text), "{text}");
        }
    }
}
