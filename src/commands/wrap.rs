//! Text in lines that fit the terminal.

/// Appends a text, which can contain styles, in lines of at most `width` columns where its words allow that. The first line begins with
/// `first`, the others with `indent`.
pub(super) fn wrap(shown: &mut String, text: &str, width: usize, first: &str, indent: &str) {
    shown.push_str(first);
    let mut column = columns(first);
    let mut is_first = true;
    for word in text.split_whitespace() {
        let length = columns(word);
        if is_first {
            is_first = false;
        } else if column.saturating_add(length) < width {
            shown.push(' ');
            column = column.saturating_add(1);
        } else {
            shown.push('\n');
            shown.push_str(indent);
            column = columns(indent);
        }
        shown.push_str(word);
        column = column.saturating_add(length);
    }
    shown.push('\n');
}

fn columns(styled: &str) -> usize {
    anstream::adapter::strip_str(styled).to_string().chars().count()
}

#[cfg(test)]
mod tests {
    use super::super::output::{COMMAND, DIM, Styled};
    use super::*;

    fn wrapped(text: &str, width: usize, first: &str, indent: &str) -> String {
        let mut shown = String::new();
        wrap(&mut shown, text, width, first, indent);
        anstream::adapter::strip_str(&shown).to_string()
    }

    #[test]
    fn lines_are_as_long_as_the_width_allows() {
        assert_eq!(wrapped("one two three", 9, "- ", "  "), "- one two\n  three\n");
        assert_eq!(wrapped("one two three", 8, "- ", "  "), "- one\n  two\n  three\n");
        assert_eq!(wrapped("", 8, "- ", "  "), "- \n");
    }

    #[test]
    fn styles_do_not_count_as_columns() {
        let text = format!("{} {}", Styled(COMMAND, "abc"), Styled(COMMAND, "def"));
        assert_eq!(wrapped(&text, 7, "", ""), "abc def\n");
        let gutter = Styled(DIM, "│ ").to_string();
        assert_eq!(wrapped("abc def", 9, &gutter, &gutter), "│ abc def\n");
        assert_eq!(wrapped("abc def", 8, &gutter, &gutter), "│ abc\n│ def\n");
    }

    #[test]
    fn a_word_that_is_longer_than_the_line_has_a_line_of_its_own() {
        assert_eq!(wrapped("a bcdefghij k", 5, "", ""), "a\nbcdefghij\nk\n");
    }
}
