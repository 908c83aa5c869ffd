//! Text in lines that fit the terminal.

/// Appends a text, which can contain styles, in lines of at most `width` columns where its words allow that. The first line begins with
/// `first`, the others with `indent`.
pub(super) fn wrap(shown: &mut String, text: &str, width: usize, first: &str, indent: &str) {
    shown.push_str(first);
    let mut column = columns(first);
    // As it is, spaces included.
    if column.saturating_add(columns(text)) <= width && !text.contains('\n') {
        shown.push_str(text);
        shown.push('\n');
        return;
    }
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

/// Programs that commands in messages begin with.
const PROGRAMS: [&str; 5] = ["aws ", "curl ", "helm ", "kubectl ", "rolegate "];

/// Appends what follows a label. A command breaks only before a flag, after a backslash, so that all of its lines can be copied into a
/// shell; other text breaks at any word.
pub(super) fn wrap_value(shown: &mut String, value: &str, width: usize, first: &str, indent: &str) {
    let plain = anstream::adapter::strip_str(value).to_string();
    if !PROGRAMS.iter().any(|program| plain.starts_with(program)) {
        return wrap(shown, value, width, first, indent);
    }
    shown.push_str(first);
    let mut column = columns(first);
    let mut is_first = true;
    for part in parts(value) {
        // A space and a backslash follow it.
        let length = columns(part).saturating_add(3);
        if is_first {
            is_first = false;
        } else if column.saturating_add(length) <= width {
            shown.push(' ');
            column = column.saturating_add(1);
        } else {
            let continued = format!("{indent}  ");
            shown.push_str(" \\\n");
            shown.push_str(&continued);
            column = columns(&continued);
        }
        shown.push_str(part);
        column = column.saturating_add(columns(part));
    }
    shown.push('\n');
}

/// A command, split before each flag that is not inside quotes.
fn parts(command: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut rest = command;
    let mut from = 0;
    while let Some(found) = rest.get(from..).and_then(|searched| searched.find(" -")) {
        let at = from.saturating_add(found);
        let (part, next) = (rest.get(..at).unwrap_or(rest), rest.get(at.saturating_add(1)..));
        let is_quoted = ['\'', '"'].iter().any(|quote| part.matches(*quote).count() % 2 == 1);
        match next {
            Some(next) if !is_quoted => {
                parts.push(part);
                rest = next;
                from = 0;
            }
            _ => from = at.saturating_add(1),
        }
    }
    parts.push(rest);
    parts
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
    fn a_command_breaks_before_flags_and_is_the_same_for_a_shell() {
        let command = "rolegate trust-policy --role-arn arn:aws:iam::111122223333:role/job --merge 'a -b c' -n jobs";
        let mut shown = String::new();
        wrap_value(
            &mut shown,
            &Styled(COMMAND, command).to_string(),
            40,
            "  fix  ",
            "       ",
        );
        let shown = anstream::adapter::strip_str(&shown).to_string();
        assert_eq!(
            shown,
            "  fix  rolegate trust-policy \\\n         \
             --role-arn arn:aws:iam::111122223333:role/job \\\n         \
             --merge 'a -b c' -n jobs\n"
        );
        let typed = shown.trim_start().strip_prefix("fix").unwrap();
        // As a shell does.
        let typed = typed.replace("\\\n", "");
        assert_eq!(shlex::split(&typed), shlex::split(command));
    }

    #[test]
    fn what_is_not_a_command_breaks_at_any_word() {
        let mut shown = String::new();
        wrap_value(&mut shown, "correct the role, or create it", 20, "  fix  ", "       ");
        assert_eq!(shown, "  fix  correct the\n       role, or\n       create it\n");
    }

    #[test]
    fn a_word_that_is_longer_than_the_line_has_a_line_of_its_own() {
        assert_eq!(wrapped("a bcdefghij k", 5, "", ""), "a\nbcdefghij\nk\n");
    }
}
