//! Compares our JSON reader with `serde_json` on random reviews.

use proptest::collection::vec;
use proptest::prelude::*;
use serde::de::IgnoredAny;

use super::{Object, Review};
use crate::pod::json::{Read, Reader, Taken, read};
use crate::pod::view::PodView;

type PodReview<'a> = Review<'a, PodView<'a>>;

/// Anything.
#[derive(Default)]
struct Skipped;

impl<'a> Read<'a> for Skipped {
    fn read(&mut self, reader: &mut Reader<'a>) -> Taken {
        reader.skip_value()
    }
}

const JOB: &str = include_str!("../../../benches/data/job-pod-review.json");

/// What is taken comes out as `serde_json` has it.
fn assert_sound(text: &str) {
    if let Some(review) = read::<PodReview<'_>>(text) {
        let theirs = serde_json::from_str::<Object<PodReview<'_>>>(text);
        let Ok(Object(theirs)) = theirs else {
            panic!("serde_json does not take {text}")
        };
        assert_eq!(format!("{review:?}"), format!("{theirs:?}"), "{text}");
    }
    let skipped = read::<Skipped>(text).is_some();
    let theirs = serde_json::from_str::<IgnoredAny>(text).is_ok();
    assert!(theirs || !skipped, "serde_json does not take {text}");
}

/// And what `serde_json` skips is skipped.
fn assert_same(text: &str) {
    assert_sound(text);
    let skipped = read::<Skipped>(text).is_some();
    let theirs = serde_json::from_str::<IgnoredAny>(text).is_ok();
    assert_eq!(skipped, theirs, "{text}");
}

#[test]
fn a_review_of_a_job_is_accepted_and_read_as_serde_json_reads_it() {
    let review = read::<PodReview<'_>>(JOB).expect("the usual review is not left to serde_json");
    let Object(request) = review.request.unwrap();
    assert_eq!(request.object().unwrap().service_account_name(), "worker");
    assert_same(JOB);
}

#[test]
fn a_review_that_is_truncated_or_has_one_byte_changed_is_never_mistaken_for_another() {
    for at in 0..JOB.len() {
        let (before, rest) = JOB.split_at(at);
        let after = rest.get(1..).unwrap();
        assert_sound(before);
        for byte in ["\"", "\\", "}", ",", "\n"] {
            let text = format!("{before}{byte}{after}");
            assert_sound(&text);
        }
    }
}

#[test]
fn valid_and_invalid_json_are_classified_as_by_serde_json() {
    for text in [
        "",
        " ",
        "null",
        " null ",
        "nul",
        "nulll",
        "true",
        "tru",
        "false",
        "fals",
        "truefalse",
        "NaN",
        "Infinity",
        "0",
        "-0",
        "-",
        "+1",
        "01",
        "-01",
        "1.",
        ".5",
        "1.5",
        "1.5.5",
        "1e5",
        "1E+5",
        "1e-5",
        "1e",
        "1e+",
        "1.e5",
        "0e0",
        "0.0",
        "00",
        "1 2",
        "1,",
        "123456789012345678901234567890",
        "1e999999",
        "-1.25e-10 ",
        "0x10",
        "\"\"",
        "\"",
        "\"a",
        "\"a\"b",
        "\"\\\"\"",
        "\"\\\"",
        "\"\\\\\"",
        "\"\\/\\b\\f\\n\\r\\t\"",
        "\"\\x\"",
        "\"\\u0041\"",
        "\"\\u004\"",
        "\"\\u00zz\"",
        "\"\\ud800\"",
        "\"\\ud83d\\ude00\"",
        "\"\\udc00\\ud800\"",
        "\"\\",
        "\"\\u",
        "\"\\u0041",
        "\"\t\"",
        "\"\u{1f}\"",
        "\"\u{7f}\"",
        "\"é€🚀\"",
        "\"\u{0}\"",
        "\"1234567\"",
        "\"12345678\"",
        "\"123456789\"",
        "\"1234567\n\"",
        "\"12345678\n\"",
        "\"é1234567\\n\"",
        "\"\u{a0}\u{a1}\u{a2}\u{a3}\"",
        "\u{feff}null",
        "\u{a0}null",
        "[]",
        "[ ]",
        "[",
        "]",
        "[1]",
        "[1,]",
        "[,1]",
        "[1 2]",
        "[1,2",
        "[[]]",
        "[[]",
        "[]]",
        "[}",
        "[{]}",
        "[1}",
        "[\"a\" , null]",
        "{}",
        "{ }",
        "{",
        "}",
        "{\"a\":1}",
        "{\"a\":1,}",
        "{,}",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\" 1}",
        "{a:1}",
        "{1:1}",
        "{\"a\":1 \"b\":2}",
        "{\"a\":1,\"b\":2}",
        "{ \"a\" : [ { } , { \"b\" : null } ] }",
        "{]",
        "{\"a\":1]",
        "{\"a\":{}}}",
        "{null:1}",
        "{\"a\\u0062\":1}",
        "{\"a\":1,,\"b\":2}",
        "{\"a\"::1}",
        "{\"a\":1:2}",
        "{\"a\",\"b\"}",
        "// a\nnull",
        "'a'",
    ] {
        assert_same(text);
    }
}

#[test]
fn each_shape_of_a_review_is_accepted_exactly_when_serde_json_accepts_it() {
    let pod = |object: &str| {
        format!(
            r#"{{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{{"uid":"u","operation":"CREATE","object":{object}}}}}"#
        )
    };
    let mut taken = 0;
    for object in [
        "null",
        "{}",
        "[]",
        "7",
        r#"{"spec":{}}"#,
        r#"{"spec":[]}"#,
        r#"{"spec":null}"#,
        r#"{"spec":{},"spec":{}}"#,
        r#"{"spec":{"serviceAccountName":"a\n\u00e9\ud83d\ude00"}}"#,
        r#"{"spec":{"serviceAccountName":"\ud800"}}"#,
        r#"{"unknown":"\ud800"}"#,
        r#"{"spec":{"serviceAccountName":7}}"#,
        r#"{"spec":{"containers":[null,{"name":"a","env":null},{"env":[{"name":"AWS_A","value":"\"b\\"},null,{"name":"AWS_C"}]}]}}"#,
        r#"{"spec":{"containers":{"name":"a"}}}"#,
        r#"{"spec":{"containers":[{"name":"a"},]}}"#,
        r#"{"metadata":{"labels":{"a":"b","c":null,"a":"d"},"annotations":{"x/skip-containers":"a","y":7}}}"#,
        r#"{"metadata":{"labels":{"a":7}}}"#,
        r#"{"metadata":{"ownerReferences":[{"kind":"Job","name":"n","controller":true},{"controller":false},{"controller":null}]}}"#,
        r#"{"metadata":{"ownerReferences":[{"controller":"true"}]}}"#,
        r#"{"spec":{"volumes":[{"name":"v","hostPath":{"path":"/"}},{"projected":{"sources":[{"serviceAccountToken":{"audience":"a","path":"token"}}]}},{"secret":null}]}}"#,
        r#"{"spec":{"volumes":[{"name":"v","name":"w"}]}}"#,
        r#"{"spec":{"volumes":[{"name":"v","csi":{"driver":"d","readOnly":true,"x":"\ud800"}}]}}"#,
        "{ \"spec\" :\t{ \"os\" : { \"name\" :\r\n\"windows\" } } }",
    ] {
        let text = pod(object);
        assert_sound(&text);
        let theirs = serde_json::from_str::<Object<PodReview<'_>>>(&text).is_ok();
        assert_eq!(read::<PodReview<'_>>(&text).is_some(), theirs, "{text}");
        taken += usize::from(theirs);
    }
    assert_eq!(taken, 12);
    // A source that is not an object is left to serde_json, whatever it is.
    for source in [
        r#""\ud800""#,
        "1e999",
        "7",
        r#"{"readOnly":"yes"}"#,
        r#"{"readOnly":true,"readOnly":true}"#,
    ] {
        let text = pod(&format!(
            r#"{{"spec":{{"volumes":[{{"name":"v","other":{source}}}]}}}}"#
        ));
        assert_sound(&text);
        assert!(read::<PodReview<'_>>(&text).is_none(), "{text}");
    }
    // The one thing that is left to serde_json although it is right.
    let spelt_with_an_escape = pod(r#"{"sp\u0065c":{}}"#);
    assert!(read::<PodReview<'_>>(&spelt_with_an_escape).is_none());
}

#[test]
fn endless_nesting_is_left_to_serde_json() {
    for brackets in ["[", "{\"a\":"] {
        for depth in [63, 64, 65, 100_000] {
            assert_sound(&brackets.repeat(depth));
        }
    }
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    // The innermost list, which is empty, does not count.
    assert_same(&nested(65));
    assert!(read::<Skipped>(&nested(66)).is_none());
    // Objects and lists are distinguished at every depth.
    let mixed = format!("{}1{}", "[{\"a\":".repeat(32), "}]".repeat(32));
    assert_same(&mixed);
    for at in mixed.len() - 64..mixed.len() {
        let mut wrong = mixed.clone();
        let bracket = if mixed.as_bytes()[at] == b'}' { "]" } else { "}" };
        wrong.replace_range(at..=at, bracket);
        assert_same(&wrong);
    }
}

/// JSON with blanks here and there, not deeply nested.
fn json() -> impl Strategy<Value = String> {
    let blank = || prop_oneof![4 => Just(""), 1 => "[ \t\r\n]{1,3}".prop_map(|blank| &*blank.leak())];
    let text = || {
        prop_oneof!["[a-z]{0,20}", "[ -~é€🚀]{0,12}", "\\PC{0,10}"]
            .prop_map(|text| serde_json::Value::from(text).to_string())
    };
    let key = prop_oneof![
        text(),
        prop::sample::select(vec![
            "kind",
            "metadata",
            "spec",
            "name",
            "labels",
            "annotations",
            "ownerReferences",
            "containers",
            "env",
            "value",
            "volumes",
            "volumeMounts",
            "projected",
            "request",
            "object",
            "uid",
            "serviceAccountName",
        ])
        .prop_map(|key| format!("\"{key}\"")),
    ];
    let leaf = prop_oneof![
        4 => text(),
        1 => "-?[0-9]{1,4}(\\.[0-9]{1,3})?([eE][+-]?[0-9]{1,2})?",
        1 => prop::sample::select(vec!["null", "true", "false"]).prop_map(str::to_owned),
        1 => "\"(\\\\[\"\\\\/bfnrtux]|\\\\u[0-9a-dA-D]{4}|[a-z]){0,6}\"",
    ];
    leaf.prop_recursive(5, 60, 5, move |inner| {
        let object = vec((key.clone(), blank(), inner.clone()), 0..5).prop_map(|entries| {
            let entries: Vec<String> = entries
                .iter()
                .map(|(key, blank, value)| format!("{blank}{key}:{blank}{value}"))
                .collect();
            format!("{{{}}}", entries.join(","))
        });
        let list =
            (vec(inner, 0..4), blank()).prop_map(|(items, blank)| format!("[{blank}{}{blank}]", items.join(",")));
        prop_oneof![2 => object, 1 => list]
    })
}

proptest! {
    #[test]
    fn random_documents_are_accepted_exactly_when_serde_json_accepts_them(object in json(), damage in vec((any::<prop::sample::Index>(), "[\"\\\\{}\\[\\]:,a0-9.eE+\u{1}\u{7f}é -]?"), 0..3)) {
        let mut texts = [object.clone(), JOB.replace(r#"{"group":"","version":"v1","resource":"pods"}"#, &object), format!(
            r#"{{"kind":"AdmissionReview","request":{{"uid":"u","object":{object}}}}}"#
        )];
        for text in &mut texts {
            assert_same(text);
            for (place, instead) in &damage {
                let at = place.index(text.len() + 1);
                let at = (0..=at).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
                let end = text.split_at(at).1.chars().next().map_or(at, |old| at + old.len_utf8());
                text.replace_range(at..end, instead);
            }
            assert_same(text);
        }
    }

    #[test]
    fn any_text_is_classified_as_by_serde_json(text in "[\"\\\\{}\\[\\]:,a0-9.eE+tnu\u{1}é -]{0,24}") {
        assert_same(&text);
        assert_same(&format!("[\"{text}\"]"));
    }
}
