//! Text inside workflow commands, the lines `::error file=…::MESSAGE` that GitHub Actions reads from the output of a step.

use super::escape_lines;

/// The message of a command. Line breaks are encoded, so the text cannot begin another command.
#[must_use]
pub(crate) fn message(text: &str) -> String {
    escape_lines(text).replace('%', "%25").replace('\n', "%0A")
}

/// The value of a property of a command.
#[must_use]
pub(crate) fn property(text: &str) -> String {
    message(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_stays_inside_its_command() {
        assert_eq!(message("50%\n::error::x\r"), "50%25%0A::error::x\\r");
        assert_eq!(property("a,line=1::b%\n"), "a%2Cline=1%3A%3Ab%25%0A");
    }
}
