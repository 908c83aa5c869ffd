//! The prose of a file, at its place: a text of the same length in which everything else is blanked out.

/// What a character that is not prose becomes: no pattern matches across it.
const BARRIER: char = '\u{1}';
/// What a character of a code span, a link target or a placeholder becomes: a word that no pattern knows.
const WORD: char = 'x';

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Everything outside code blocks.
    Markdown,
    /// Everything: JSON, YAML, templates.
    Whole,
    /// Rust: comments and string literals.
    Program,
    /// Rust: comments.
    Test,
    /// Lines that begin with `#`.
    Script,
}

impl Kind {
    /// How a file is read; `None` leaves it out.
    pub(crate) fn of(path: &str) -> Option<Self> {
        let (directory, rest) = path.split_once('/').unwrap_or(("", path));
        let extension = rest.rsplit_once('.').map_or("", |(_, extension)| extension);
        match (directory, extension) {
            (_, "md") => Some(Self::Markdown),
            // Pictures have no text.
            (_, "png") => None,
            ("docs" | "charts", _) => Some(Self::Whole),
            ("src" | "benches", "rs") => Some(Self::Program),
            ("tests", "rs") => Some(Self::Test),
            (_, "sh") | (".ci" | ".cargo", _) | ("", "toml") => Some(Self::Script),
            ("", _) if path == "Dockerfile" => Some(Self::Script),
            _ => None,
        }
    }
}

/// The prose of a file. Every character keeps its offset, so that a match can be traced to its line.
pub(crate) fn prose(kind: Kind, source: &str) -> String {
    let kept = match kind {
        Kind::Markdown | Kind::Whole => source.to_owned(),
        Kind::Program => rust(source, true),
        Kind::Test => rust(source, false),
        Kind::Script => script(source),
    };
    let kept = match kind {
        Kind::Whole | Kind::Script => kept,
        Kind::Markdown | Kind::Program | Kind::Test => without_code_blocks(&kept),
    };
    let kept = without_code_spans(&kept);
    let kept = without_targets(&kept);
    assert_eq!(kept.len(), source.len(), "an offset has moved");
    kept
}

/// The names of declared items and of variables bound by a plain `let`, with their offsets.
pub(crate) fn identifiers(source: &str) -> Vec<(usize, String)> {
    let keywords = [
        "fn", "struct", "enum", "mod", "const", "static", "trait", "type", "let", "mut",
    ];
    let mut names = Vec::new();
    let mut after_keyword = false;
    for token in tokens(source) {
        let text = &source[token.start..token.end];
        match token.kind {
            TokenKind::Word if keywords.contains(&text) => after_keyword = true,
            TokenKind::Word if after_keyword => {
                names.push((token.start, text.to_owned()));
                after_keyword = false;
            }
            TokenKind::Other => after_keyword = after_keyword && text.trim().is_empty(),
            _ => {}
        }
    }
    names
}

/// Replaces every character but white space; as many bytes as before.
fn blank(text: &str, with: char) -> String {
    let mut blanked = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_ascii_whitespace() {
            blanked.push(c);
        } else {
            blanked.extend(std::iter::repeat_n(with, c.len_utf8()));
        }
    }
    blanked
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TokenKind {
    Comment,
    /// A string literal; `escapes` unless it is raw.
    Text {
        escapes: bool,
    },
    Word,
    Other,
}

#[derive(Debug)]
struct Token {
    kind: TokenKind,
    start: usize,
    end: usize,
}

/// The tokens of Rust source, as far as prose needs them: everything belongs to one of them.
fn tokens(source: &str) -> Vec<Token> {
    let mut tokens: Vec<Token> = Vec::new();
    let mut start = 0;
    while let Some(first) = source[start..].chars().next() {
        let rest = &source[start..];
        let is_word = |c: char| c.is_alphanumeric() || c == '_';
        let word = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
        let after_word = &rest[word..];
        let (kind, length) = if rest.starts_with("//") {
            (TokenKind::Comment, rest.find('\n').unwrap_or(rest.len()))
        } else if rest.starts_with("/*") {
            (TokenKind::Comment, block_comment(rest))
        } else if first == '"' {
            (TokenKind::Text { escapes: true }, quoted(rest, '"'))
        } else if first == '\'' {
            (TokenKind::Other, character(rest).unwrap_or(1))
        } else if matches!(&rest[..word], "r" | "br" | "cr") && raw_hashes(after_word).is_some() {
            (TokenKind::Text { escapes: false }, word + raw(after_word))
        } else if matches!(&rest[..word], "b" | "c") && after_word.starts_with('"') {
            (TokenKind::Text { escapes: true }, word + quoted(after_word, '"'))
        } else if &rest[..word] == "b" && after_word.starts_with('\'') {
            (TokenKind::Other, word + quoted(after_word, '\''))
        } else if word > 0 {
            (TokenKind::Word, word)
        } else {
            (TokenKind::Other, first.len_utf8())
        };
        let end = start + length;
        tokens.push(Token { kind, start, end });
        start = end;
    }
    tokens
}

/// The length of a block comment, which may contain others.
fn block_comment(rest: &str) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < rest.len() {
        if rest[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += rest[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    rest.len()
}

/// The length of a literal with escapes, up to and including the closing quotation mark.
fn quoted(rest: &str, mark: char) -> usize {
    let mut is_escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            c if c == mark => return at + c.len_utf8(),
            _ => {}
        }
    }
    rest.len()
}

/// The length of a character literal; `None` for a lifetime or a label.
fn character(rest: &str) -> Option<usize> {
    let mut chars = rest.chars().skip(1);
    let (first, second) = (chars.next()?, chars.next());
    match (first, second) {
        ('\\', _) => Some(quoted(rest, '\'')),
        (_, Some('\'')) => Some(first.len_utf8() + 2),
        _ => None,
    }
}

/// How many `#` precede the opening quotation mark of a raw string; `None` for a raw identifier.
fn raw_hashes(rest: &str) -> Option<usize> {
    let hashes = rest.find(|c| c != '#')?;
    rest[hashes..].starts_with('"').then_some(hashes)
}

/// The length of a raw string, from its first `#` or its quotation mark.
fn raw(rest: &str) -> usize {
    let hashes = raw_hashes(rest).unwrap_or(0);
    let close = format!("\"{}", "#".repeat(hashes));
    let inner = hashes + 1;
    rest[inner..]
        .find(&close)
        .map_or(rest.len(), |at| inner + at + close.len())
}

/// The comments of Rust source, and its string literals where these count.
fn rust(source: &str, with_strings: bool) -> String {
    let mut kept = String::with_capacity(source.len());
    for token in tokens(source) {
        let text = &source[token.start..token.end];
        match token.kind {
            TokenKind::Comment => kept += &comment(text),
            TokenKind::Text { escapes } if with_strings => kept += &literal(text, escapes),
            _ => kept += &blank(text, BARRIER),
        }
    }
    kept
}

/// A comment without its marks.
fn comment(text: &str) -> String {
    let marks = text.len() - text.trim_start_matches(['/', '*', '!']).len();
    let (marks, body) = text.split_at(marks);
    " ".repeat(marks.len()) + body
}

/// The content of a string literal. Escapes become white space, and placeholders of `format!` become words.
fn literal(text: &str, escapes: bool) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut chars = text.char_indices().peekable();
    let (first, last) = (text.find('"').unwrap_or(0), text.rfind('"').unwrap_or(text.len()));
    while let Some((at, c)) = chars.next() {
        if at <= first || at >= last {
            kept.push(if c.is_ascii_whitespace() { c } else { BARRIER });
        } else if c == '\\' && escapes {
            kept.push(' ');
            if let Some((_, c)) = chars.next() {
                kept += &if c == '\n' {
                    "\n".to_owned()
                } else {
                    " ".repeat(c.len_utf8())
                };
            }
        } else {
            kept.push(c);
        }
    }
    let is_placeholder = |inner: &str| {
        inner
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "_.:?#$*".contains(c))
    };
    let mut from = 0;
    while let Some(open) = kept[from..].find('{').map(|at| from + at) {
        let Some(close) = kept[open..].find('}').map(|at| open + at) else {
            break;
        };
        if is_placeholder(&kept[open + 1..close]) {
            kept.replace_range(open..=close, &WORD.to_string().repeat(close - open + 1));
            from = close + 1;
        } else {
            from = open + 1;
        }
    }
    kept
}

/// The lines that begin with `#`, without the mark.
fn script(source: &str) -> String {
    let lines = source.split_inclusive('\n').map(|line| {
        let text = line.trim_start();
        let indent = line.len() - text.len();
        match text.strip_prefix('#') {
            Some(text) => format!("{} {text}", &line[..indent]),
            None => blank(line, BARRIER),
        }
    });
    lines.collect()
}

/// Blanks out what is fenced by lines of three backticks.
fn without_code_blocks(text: &str) -> String {
    let mut is_code = false;
    let lines = text.split_inclusive('\n').map(|line| {
        let is_fence = line.trim_start().starts_with("```");
        is_code ^= is_fence;
        if is_code || is_fence {
            blank(line, BARRIER)
        } else {
            line.to_owned()
        }
    });
    lines.collect()
}

/// Replaces code spans by words. A span ends in the paragraph and in the literal that it begins in.
fn without_code_spans(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(open) = rest.find('`') {
        let (before, span) = rest.split_at(open);
        kept += before;
        let close = span[1..].find('`').map(|at| at + 1);
        let is_span =
            |inner: &str| !inner.contains(BARRIER) && inner.lines().skip(1).all(|line| !line.trim().is_empty());
        let end = match close {
            Some(close) if is_span(&span[1..close]) => close + 1,
            _ => 1,
        };
        kept += &blank(&span[..end], WORD);
        rest = &span[end..];
    }
    kept + rest
}

/// Replaces link targets and URLs by words.
fn without_targets(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    loop {
        let target = rest.find("](").map(|at| (at + 2, ')'));
        let url = rest.find("://").map(|at| (at + 3, ' '));
        let Some((start, end)) = [target, url].into_iter().flatten().min() else {
            return kept + rest;
        };
        let length = rest[start..]
            .find(|c: char| c == end || c.is_whitespace())
            .unwrap_or(rest.len() - start);
        kept += &rest[..start];
        kept += &blank(&rest[start..start + length], WORD);
        rest = &rest[start + length..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The words that are left of Rust source.
    fn words(source: &str) -> Vec<String> {
        let prose = prose(Kind::Program, source);
        let words = prose.split(|c: char| c.is_whitespace() || c == BARRIER);
        words.filter(|word| !word.is_empty()).map(str::to_owned).collect()
    }

    #[test]
    fn comments_are_kept_without_their_marks() {
        assert_eq!(words("let a = 1; // one two\n"), ["one", "two"]);
        assert_eq!(words("//! one\n/// two\n// three"), ["one", "two", "three"]);
        assert_eq!(
            words("/* one /* two */ three */ four"),
            ["one", "/*", "two", "*/", "three", "*/"]
        );
        assert_eq!(words("a /* open"), ["open"]);
    }

    #[test]
    fn strings_are_kept_and_their_escapes_are_not() {
        assert_eq!(
            words(r#"f("one\ntwo", b"three", c"four")"#),
            ["one", "two", "three", "four"]
        );
        assert_eq!(words(r#"f("one \" two")"#), ["one", "two"]);
        assert_eq!(words(r#"f("one \\"); g("two")"#), ["one", "two"]);
        assert_eq!(words("f(\"one \\\n    two\")"), ["one", "two"]);
        assert_eq!(
            words(r#"f("a // b"); g("c /* d"); e"#),
            ["a", "//", "b", "c", "/*", "d"]
        );
    }

    #[test]
    fn raw_strings_end_at_their_own_mark() {
        assert_eq!(words(r###"f(r"one \"); g"###), ["one", "\\"]);
        assert_eq!(
            words(r###"f(r#"one " two"#); g(br##"three "# four"##)"###),
            ["one", "\"", "two", "three", "\"#", "four"]
        );
        assert_eq!(words("let r#type = 1; // one"), ["one"]);
        assert_eq!(words("for_r\"one\""), ["one"]);
    }

    #[test]
    fn a_lifetime_does_not_open_a_character() {
        assert_eq!(words("fn f<'a>(x: &'a str) -> &'a str { 'b: loop {} } // one"), ["one"]);
        assert_eq!(words(r#"f('"', '\'', b'"', '\u{22}', 'é'); g("one")"#), ["one"]);
    }

    #[test]
    fn code_is_a_barrier_and_code_spans_are_words() {
        assert_eq!(words("// is `no a` told\n"), ["is", "xxx", "xx", "told"]);
        assert_eq!(words("f(\"`one\", \"two`\")"), ["xone", "twox"]);
        assert_eq!(words("// one\n// ```\n// told();\n// ```\n// two\n"), ["one", "two"]);
        assert_eq!(
            words(r#"f("is no {what:?}, {\"a\": 1}")"#),
            ["is", "no", "xxxxxxxx,", "{", "a", ":", "1}"]
        );
        let test = prose(Kind::Test, "f(\"told\"); // one");
        assert!(!test.contains("told") && test.contains("one"), "{test}");
    }

    #[test]
    fn markdown_loses_code_and_link_targets() {
        let text = "One `told`,\n\n```\ntold\n```\n[two](told.md#told) https://told.example/told three `a\nb`.\n";
        let kept = prose(Kind::Markdown, text);
        assert!(!kept.contains("told"), "{kept}");
        for word in ["One", "[two](", "three"] {
            assert!(kept.contains(word), "{kept}");
        }
    }

    #[test]
    fn a_script_keeps_its_comments() {
        let kept = prose(Kind::Script, "#!/bin/sh\n  # one\ntold=1 # told\n");
        assert!(kept.contains("one") && !kept.contains("told"), "{kept}");
    }

    #[test]
    fn the_names_of_items_are_found() {
        let source = "pub(crate) async fn one<'a>() {}\nstruct Two;\nconst fn three() {}\nmod r#four {}\n// fn no\nlet f: fn(no) = \"fn no\";";
        let names: Vec<String> = identifiers(source).into_iter().map(|(_, name)| name).collect();
        assert_eq!(names[..3], ["one", "Two", "three"]);
        assert!(!names.contains(&"no".to_owned()), "{names:?}");
        let variables: Vec<String> = identifiers("let one = 1; let mut two = &mut three; static mut FOUR: u8 = 0;")
            .into_iter()
            .map(|(_, name)| name)
            .collect();
        assert_eq!(variables[..2], ["one", "two"]);
        assert!(variables.contains(&"FOUR".to_owned()), "{variables:?}");
    }
}
