use super::*;

#[test]
fn every_hidden_character_is_escaped_and_nothing_else_is_changed() {
    for (text, escaped) in [
        ("plain", "plain"),
        ("größer “quoted” \\n 🚀 日本", "größer “quoted” \\n 🚀 日本"),
        ("a\nb\tc\rd", "a\\nb\\tc\\rd"),
        (
            "\u{0}\u{1b}[31m\u{7f}\u{85}\u{9f}",
            "\\u{0}\\u{1b}[31m\\u{7f}\\u{85}\\u{9f}",
        ),
        ("a\u{2028}b\u{2029}c\u{202e}d", "a\\u{2028}b\\u{2029}c\\u{202e}d"),
        (
            "\u{ad}\u{61c}\u{180e}\u{200b}\u{feff}",
            "\\u{ad}\\u{61c}\\u{180e}\\u{200b}\\u{feff}",
        ),
        ("\u{e0000}\u{e0041}", "\\u{e0000}\\u{e0041}"),
    ] {
        assert_eq!(escape(text), escaped);
    }
    assert!(matches!(escape("plain"), Cow::Borrowed(_)));
    for character in ('\0'..=char::MAX).filter(|character| character.is_control()) {
        assert!(is_hidden(character), "{character:?}");
    }
}

#[test]
fn only_line_breaks_and_styles_reach_a_terminal() {
    assert_eq!(escape_lines("a\nb\u{1b}[31m"), "a\nb\\u{1b}[31m");
    for (text, shown) in [
        ("plain\n", "plain\n"),
        ("\u{1b}[1;31mred\u{1b}[0m\n", "\u{1b}[1;31mred\u{1b}[0m\n"),
        ("a\u{202e}b\u{1b}[0m", "a\\u{202e}b\u{1b}[0m"),
        ("\u{1b}[2J\u{1b}]0;title\u{7}", "\\u{1b}[2J\\u{1b}]0;title\\u{7}"),
        ("\u{1b}[", "\\u{1b}["),
        ("\u{1b}", "\\u{1b}"),
        ("\u{1b}\u{1b}[m", "\\u{1b}\u{1b}[m"),
        ("a\rb\u{9b}31m", "a\\rb\\u{9b}31m"),
    ] {
        assert_eq!(terminal(text), shown, "{text:?}");
    }
}

#[test]
fn a_value_loses_its_middle_and_a_message_its_end() {
    assert_eq!(value("a\nb"), "a\\nb");
    assert_eq!(quote("a\nb\t\u{1b}\"\\\u{202e}"), r#""a\nb\t\u{1b}\"\\\u{202e}""#);
    assert_eq!(value_within("abcdefghij", 5), "ab…ij");
    assert_eq!(value_within("abcdefghij", 10), "abcdefghij");
    assert_eq!(value_within("abcdefghij", 1), "…");
    assert_eq!(shorten("abcdefghij", 6), "ab…ij");
    assert_eq!(shorten("éé", 2), "éé");
    assert_eq!(truncate("abcdef", 4), "abc…");
    assert_eq!(truncate("abcd", 4), "abcd");
    assert_eq!(truncate_bytes("日本語", 9), "日本語");
    assert_eq!(truncate_bytes("日本語x", 9), "日本…");
    assert_eq!(list(["a", "b\n", "c"].into_iter(), 2), "a, b\\n and 1 more");
    assert_eq!(
        quoted_list(["a", "b\"", "c"].into_iter(), 2),
        "\"a\", \"b\\\"\" and 1 more"
    );
    assert_eq!(quoted_list(["a"].into_iter(), 2), "\"a\"");
    for long in ["ab".repeat(1_000_000), "\u{7f}".repeat(500), "🦀\"".repeat(5_000)] {
        assert_eq!(value(&long).chars().count(), MAX_VALUE_CHARS - 1);
        assert!(quote(&long).chars().count() <= MAX_VALUE_CHARS + 2);
        assert!(message(&long).len() <= MAX_MESSAGE_BYTES && line(&long).len() <= MAX_MESSAGE_BYTES);
    }
    assert_eq!(message("a\n  b\u{7}"), "a\n  b\\u{7}");
    assert_eq!(line("a\n  b"), "a\\n  b");
}

#[test]
fn a_misspelled_word_finds_its_neighbor() {
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
    for (word, near) in [
        ("____ngEquals", true),
        ("_____gEquals", false),
        ("StringEqu", true),
        ("StringEq", false),
    ] {
        assert_eq!(nearest_word(word, ["StringEquals"]).is_some(), near, "{word}");
    }
    let (long, longer) = ("a".repeat(64), "a".repeat(65));
    assert_eq!(nearest_word(&long, [long.as_str()]), Some(long.as_str()));
    assert_eq!(nearest_word(&longer, [longer.as_str()]), None);
    assert_eq!(nearest_word("ab", [""]), None);
}

#[test]
fn whitespace_around_a_value_is_visible() {
    for (text, shown) in [
        ("a b", "a b"),
        ("a ", "\"a \""),
        (" a", "\" a\""),
        ("a\u{a0}", "\"a\u{a0}\""),
        ("a\"\t ", "\"a\\\"\\t \""),
        ("a\n", "a\n"),
        ("", ""),
    ] {
        assert_eq!(visible(text), shown);
    }
    assert_eq!(list(["a", "b "].into_iter(), 5), "a, \"b \"");
}
