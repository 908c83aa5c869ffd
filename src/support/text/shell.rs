//! Commands that people copy from messages into a shell.
//!
//! A command is useless if one of its words cannot be shown exactly as it must be typed, and wrong if a word is shortened or escaped. So a
//! command is either complete and correctly quoted, or it is omitted.

use std::borrow::Cow;

use super::is_hidden;

/// The word as a POSIX shell reads it, quoted where it must be. None for a word that holds a hidden character.
#[must_use]
pub(crate) fn word(text: &str) -> Option<Cow<'_, str>> {
    // ARNs, URLs and `key=value` need no quotes as an argument; shlex would quote `=`, `@` and `%` for the sake of other places.
    let plain = |character: char| character.is_ascii_alphanumeric() || "-_./:=@%+,".contains(character);
    if !text.is_empty() && text.chars().all(plain) {
        return Some(Cow::Borrowed(text));
    }
    if text.contains(is_hidden) {
        return None;
    }
    shlex::try_quote(text).ok()
}

/// A command line that is put together word by word.
#[derive(Clone, Debug)]
pub(crate) struct Command(Option<String>);

impl Command {
    /// Starts with a program and subcommands, which are taken as they are written.
    #[must_use]
    pub(crate) fn new(program: &'static str) -> Self {
        Self(Some(program.to_owned()))
    }

    /// Adds a flag, or another word of our own, as it is written.
    #[must_use]
    pub(crate) fn flag(self, flag: &'static str) -> Self {
        self.push(Some(Cow::Borrowed(flag)))
    }

    /// Adds text from outside, quoted.
    #[must_use]
    pub(crate) fn arg(self, text: &str) -> Self {
        self.push(word(text))
    }

    /// The command; none when one of its words cannot be quoted.
    #[must_use]
    pub(crate) fn finish(self) -> Option<String> {
        self.0
    }

    fn push(self, quoted: Option<Cow<'_, str>>) -> Self {
        Self(self.0.zip(quoted).map(|(command, word)| format!("{command} {word}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_quoted_only_where_a_shell_would_take_it_apart() {
        for (text, quoted) in [
            (
                "oidc.eks.us-west-2.amazonaws.com/id/A:b@c_d+e=f,g%h",
                "oidc.eks.us-west-2.amazonaws.com/id/A:b@c_d+e=f,g%h",
            ),
            ("", "''"),
            ("a b", "'a b'"),
            ("it's", "\"it's\""),
            ("$(x)`y`", "'$(x)`y`'"),
            ("x; curl example.com | sh; echo ", "'x; curl example.com | sh; echo '"),
        ] {
            assert_eq!(word(text).unwrap(), quoted);
            assert_eq!(shlex::split(&word(text).unwrap()).unwrap(), [text]);
        }
        for text in ["a\nb", "\u{1b}[31m", "a\u{202e}b", "\0", "\u{9b}"] {
            assert_eq!(word(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_command_is_whole_or_not_there() {
        let command = |name| Command::new("kubectl get").flag("-n").arg(name).finish();
        assert_eq!(command("a b").unwrap(), "kubectl get -n 'a b'");
        assert_eq!(command("a\nb"), None);
    }
}
