//! How texts from users and policies are shown to people: escaped, quoted, never longer than a line bears.

/// The longest a quoted value may get, in characters; a ServiceAccount's subject and an EKS provider ARN fit.
const LONGEST_QUOTE: usize = 140;

/// The text in double quotes, what does not print escaped, the middle left out where it is long.
pub(crate) fn quote(text: &str) -> String {
    format!("\"{}\"", printable(text, LONGEST_QUOTE))
}

/// The text with what does not print escaped and at most `longest` characters of it, the middle left out.
pub(crate) fn printable(text: &str, longest: usize) -> String {
    let half = longest.saturating_sub(1) / 2;
    let mut shown = String::with_capacity(text.len().min(4 * longest));
    // Escaping only lengthens, so this much of the ends is enough, however long the text is.
    let length = text.chars().take(longest + 1).count();
    if length <= longest {
        text.chars().for_each(|c| escape_into(c, &mut shown));
        return shorten(shown, longest);
    }
    text.chars().take(half).for_each(|c| escape_into(c, &mut shown));
    let mut tail: Vec<char> = text.chars().rev().take(half).collect();
    tail.reverse();
    shown.push('…');
    tail.into_iter().for_each(|c| escape_into(c, &mut shown));
    shorten(shown, longest)
}

/// Leaves out the middle of what is longer than `longest` characters.
pub(crate) fn shorten(text: String, longest: usize) -> String {
    let length = text.chars().count();
    if length <= longest {
        return text;
    }
    let half = longest.saturating_sub(1) / 2;
    let head = text.chars().take(half);
    let tail = text.chars().skip(length - half);
    head.chain(['…']).chain(tail).collect()
}

/// Cuts what is longer than `longest` characters at its end.
pub(crate) fn cut(text: String, longest: usize) -> String {
    if text.chars().nth(longest).is_none() {
        return text;
    }
    text.chars().take(longest.saturating_sub(1)).chain(['…']).collect()
}

/// Several texts as `a, b and 3 more`.
pub(crate) fn list<'a>(texts: impl ExactSizeIterator<Item = &'a str>, longest: usize) -> String {
    let count = texts.len();
    let shown: Vec<String> = texts.take(longest).map(|text| printable(text, LONGEST_QUOTE)).collect();
    match count.saturating_sub(shown.len()) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// The candidate that was probably meant, if one is near enough. Case does not count.
pub(crate) fn nearest_word<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if word.len() > 64 {
        return None;
    }
    candidates
        .into_iter()
        .map(|candidate| (distance(word, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= candidate.len().min(word.len()) / 4 + 1)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Levenshtein's distance of two short words, ignoring ASCII case.
fn distance(left: &str, right: &str) -> usize {
    let mut row: Vec<usize> = (0..=right.chars().count()).collect();
    for (above, a) in left.chars().enumerate() {
        let mut diagonal = above;
        let mut previous = above + 1;
        let mut next = vec![previous];
        for (b, up) in right.chars().zip(row.iter().skip(1)) {
            let substitution = diagonal + usize::from(!a.eq_ignore_ascii_case(&b));
            previous = substitution.min(previous + 1).min(up + 1);
            diagonal = *up;
            next.push(previous);
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

fn escape_into(c: char, shown: &mut String) {
    match c {
        '"' => shown.push_str("\\\""),
        '\\' => shown.push_str("\\\\"),
        c if c.is_control() || is_invisible(c) => shown.extend(c.escape_default()),
        c => shown.push(c),
    }
}

/// Marks that reorder or hide text on a terminal, and separators that end a line.
pub(crate) const fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_print_is_escaped_and_what_is_long_loses_its_middle() {
        assert_eq!(quote("a\nb\t\u{1b}[31m\"\u{202e}"), r#""a\nb\t\u{1b}[31m\"\u{202e}""#);
        let long = quote(&"ab".repeat(1_000_000));
        assert!(
            long.chars().count() <= LONGEST_QUOTE + 2 && long.contains('…'),
            "{long}"
        );
        assert!(quote(&"\u{7f}".repeat(500)).chars().count() <= LONGEST_QUOTE + 2);
        assert_eq!(printable("abcdefghij", 5), "ab…ij");
        assert_eq!(shorten("abcdefghij".to_owned(), 6), "ab…ij");
        assert_eq!(cut("abcdef".to_owned(), 4), "abc…");
        assert_eq!(cut("abcd".to_owned(), 4), "abcd");
        assert_eq!(list(["a", "b", "c"].into_iter(), 2), "a, b and 1 more");
    }

    #[test]
    fn a_misspelt_word_finds_its_neighbour() {
        let operators = ["StringEquals", "StringLike", "Null"];
        for (word, meant) in [
            ("StringEqual", Some("StringEquals")),
            ("stringlikes", Some("StringLike")),
            ("__doc_comment", None),
            ("__Null", Some("Null")),
            ("___Null", None),
            ("", None),
        ] {
            assert_eq!(nearest_word(word, operators), meant, "{word}");
        }
    }

    #[test]
    fn a_word_is_near_while_no_more_than_a_quarter_of_the_shorter_and_one_letter_differ() {
        for (word, near) in [
            ("____ngEquals", true),
            ("_____gEquals", false),
            ("StringEqu", true),
            ("StringEq", false),
        ] {
            let meant = nearest_word(word, ["StringEquals"]);
            assert_eq!(meant.is_some(), near, "{word}");
        }
        let (long, longer) = ("a".repeat(64), "a".repeat(65));
        assert_eq!(nearest_word(&long, [long.as_str()]), Some(long.as_str()));
        assert_eq!(nearest_word(&longer, [longer.as_str()]), None);
        assert_eq!(nearest_word("ab", [""]), None);
    }
}
