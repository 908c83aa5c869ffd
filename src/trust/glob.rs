//! Patterns with `*` and `?`, as in IAM: `*` matches any number of characters, including none and including `:` and `/`, `?` matches
//! exactly one, and the pattern must match the whole text.

use super::ternary::Ternary;

/// A step of a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Token {
    /// This character.
    Char(char),
    /// `?`.
    One,
    /// `*`.
    Run,
}

/// The steps of a pattern as it is written in a policy.
pub(crate) fn tokens(pattern: &str) -> impl Iterator<Item = Token> + Clone + '_ {
    pattern.chars().map(|c| match c {
        '*' => Token::Run,
        '?' => Token::One,
        c => Token::Char(c),
    })
}

/// Whether a text has wildcards.
pub(crate) fn has_wildcard(pattern: &str) -> bool {
    pattern.contains(['*', '?'])
}

/// Whether the whole text fits the pattern.
pub(crate) fn matches(pattern: &str, text: &str) -> bool {
    matches_tokens(tokens(pattern), text)
}

/// Whether the whole text fits the steps.
///
/// Only the last `*` is ever widened: whatever an earlier one could take besides, the last can take as well. So no
/// pattern makes this explode; the time is at most the product of the two lengths, and no memory is needed.
pub(crate) fn matches_tokens<P: Iterator<Item = Token> + Clone>(pattern: P, text: &str) -> bool {
    let mut pattern = pattern;
    let mut text = text.chars();
    let mut after_run = None;
    loop {
        let mut steps = pattern.clone();
        let mut rest = text.clone();
        let fits = match (steps.next(), rest.next()) {
            (Some(Token::Run), _) => {
                after_run = Some((steps.clone(), text.clone()));
                pattern = steps;
                continue;
            }
            (None, None) => return true,
            (Some(_), None) => return false,
            (None, Some(_)) => false,
            (Some(Token::One), Some(_)) => true,
            (Some(Token::Char(wanted)), Some(found)) => wanted == found,
        };
        if fits {
            (pattern, text) = (steps, rest);
            continue;
        }
        let Some((steps, from)) = &mut after_run else {
            return false;
        };
        from.next();
        (pattern, text) = (steps.clone(), from.clone());
    }
}

/// Which of the texts that begin so fit the steps: all, none, or some.
///
/// Follows the places in the pattern at which the beginning can end. The time is at most the product of the two lengths.
pub(crate) fn reach_after(pattern: &[Token], beginning: &str) -> Ternary {
    // Whether each place of the pattern can be reached; a `*` may also take nothing.
    let pass_runs = |places: &mut Vec<bool>| {
        for (at, token) in pattern.iter().enumerate() {
            if *token == Token::Run && places.get(at) == Some(&true) {
                mark(places, at.saturating_add(1));
            }
        }
    };
    let mut places = vec![false; pattern.len().saturating_add(1)];
    mark(&mut places, 0);
    pass_runs(&mut places);
    for c in beginning.chars() {
        let mut next = vec![false; places.len()];
        for (at, token) in pattern.iter().enumerate() {
            if places.get(at) != Some(&true) {
                continue;
            }
            match token {
                Token::Run => mark(&mut next, at),
                Token::One => mark(&mut next, at.saturating_add(1)),
                Token::Char(wanted) if *wanted == c => mark(&mut next, at.saturating_add(1)),
                Token::Char(_) => {}
            }
        }
        pass_runs(&mut next);
        places = next;
        if !places.contains(&true) {
            return Ternary::False;
        }
    }
    // Whatever follows fits where only runs are left, and at least one.
    let runs = pattern.iter().rev().take_while(|token| **token == Token::Run).count();
    let from = pattern.len().saturating_sub(runs);
    let takes_all = runs > 0 && places.iter().skip(from).take(runs).any(|reached| *reached);
    if takes_all { Ternary::True } else { Ternary::Unknown }
}

fn mark(places: &mut [bool], at: usize) {
    if let Some(place) = places.get_mut(at) {
        *place = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_beginning_decides_what_no_end_can_change() {
        for (pattern, beginning, reach) in [
            ("nightly-*", "nightly-", Ternary::True),
            ("nightly-*", "nightly-report-", Ternary::True),
            ("*", "", Ternary::True),
            ("n*y-*", "nightly-", Ternary::True),
            ("??*", "ab", Ternary::True),
            ("nightly-a*", "nightly-", Ternary::Unknown),
            ("nightly-?????", "nightly-", Ternary::Unknown),
            ("*-a", "nightly-", Ternary::Unknown),
            ("nightly-", "nightly-", Ternary::Unknown),
            ("", "", Ternary::Unknown),
            ("hourly-*", "nightly-", Ternary::False),
            ("night", "nightly-", Ternary::False),
            ("?", "ab", Ternary::False),
            ("", "a", Ternary::False),
        ] {
            let tokens: Vec<Token> = tokens(pattern).collect();
            assert_eq!(reach_after(&tokens, beginning), reach, "{pattern} {beginning}");
        }
    }

    #[test]
    fn stars_take_any_run_and_question_marks_one_character() {
        for (pattern, text, fits) in [
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("*", "a:b/c", true),
            ("**", "x", true),
            ("?", "", false),
            ("?", "é", true),
            ("?", "ab", false),
            ("a?c", "abc", true),
            ("a*", "b", false),
            ("*a", "ba", true),
            ("*a", "ab", false),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-c-b", false),
            ("*ab", "aab", true),
            ("?*", "", false),
            ("*?", "x", true),
            ("system:serviceaccount:*:app", "system:serviceaccount:a:b:app", true),
            ("app", "app ", false),
            ("App", "app", false),
        ] {
            assert_eq!(matches(pattern, text), fits, "{pattern} {text}");
        }
    }

    #[test]
    fn no_pattern_explodes() {
        let text = "a".repeat(300);
        assert!(!matches(&format!("{}b", "*a".repeat(100_000)), &text));
        assert!(!matches(&format!("{}b", "a*".repeat(250)), &text));
        assert!(matches(&"*".repeat(500_000), &text));
    }
}
