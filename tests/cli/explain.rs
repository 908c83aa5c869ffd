//! `rolegate explain` and the page that it prints, `docs/causes.md`.

use insta::assert_snapshot;
use rolegate::trust::{Cause, Verdict};
use serde_json::{Value, json};

use super::{Ran, command, finish, rolegate, rolegate_with_input, rolegate_with_variables};

const PAGE: &str = include_str!("../../docs/causes.md");
const LINTS: &str = include_str!("../../docs/reference/check.md");
const LONGEST_SUMMARY: usize = 120;

/// Every word that has a section, in the order of the page. `malformed` is a verdict of `rolegate check` only.
fn words() -> Vec<&'static str> {
    let verdicts = [
        Verdict::Trusted,
        Verdict::NotTrusted,
        Verdict::Undecided,
        Verdict::Unknown,
    ];
    let causes = Cause::ALL.map(Cause::as_str);
    let verdicts = verdicts.map(Verdict::as_str);
    [&causes[..], &verdicts, &["malformed"]].concat()
}

/// The word, the summary and the text of each section.
fn sections() -> Vec<(&'static str, &'static str, &'static str)> {
    let sections = PAGE.split("\n## ").skip(1);
    sections
        .map(|section| {
            let (heading, text) = section.split_once('\n').unwrap();
            let word = heading.strip_prefix('`').and_then(|rest| rest.strip_suffix('`'));
            let summary = text.trim().split("\n\n").next().unwrap();
            (word.unwrap_or_else(|| panic!("{heading}")), summary, text.trim())
        })
        .collect()
}

/// `rolegate explain` with its output in a pipe and without `COLUMNS`.
fn explain(arguments: &[&str]) -> Ran {
    let mut command = command(&[&["explain"], arguments].concat());
    command.env_remove("COLUMNS");
    finish(command, "")
}

#[test]
fn each_cause_and_each_verdict_has_one_section_in_order() {
    let explained: Vec<&str> = sections().into_iter().map(|(word, ..)| word).collect();
    assert_eq!(explained, words());
}

#[test]
fn each_section_starts_with_a_summary_of_one_sentence() {
    for (word, summary, _) in sections() {
        assert!(summary.chars().count() <= LONGEST_SUMMARY, "{word}: {summary}");
        let is_sentence = summary.ends_with('.') && !summary.contains(". ") && !summary.contains('\n');
        assert!(is_sentence, "{word}: {summary}");
    }
}

#[test]
fn each_section_says_how_to_fix_it_and_what_aws_answers() {
    for (word, _, text) in sections() {
        assert_eq!(text.matches("\n### Fix\n").count(), 1, "{word}");
        let answers =
            text.matches("\n### What STS answers\n").count() + text.matches("\n### What IAM answers\n").count();
        assert_eq!(answers, 1, "{word}");
    }
}

/// The JSON examples of a section.
fn examples(text: &str) -> Vec<Value> {
    let blocks = text.split("```json\n").skip(1);
    blocks
        .map(|block| {
            let (json, _) = block.split_once("```").unwrap();
            serde_json::from_str(json).unwrap_or_else(|error| panic!("{error}: {json}"))
        })
        .collect()
}

/// A statement with the parts that an example shows; an example without any of them is a condition.
fn with_example(statement: &Value, example: &Value) -> Value {
    let mut statement = statement.clone();
    let parts = ["Effect", "Principal", "Action", "Condition"];
    if example
        .as_object()
        .unwrap()
        .keys()
        .any(|key| parts.contains(&key.as_str()))
    {
        for (key, part) in example.as_object().unwrap() {
            statement[key] = part.clone();
        }
    } else {
        statement["Condition"] = example.clone();
    }
    statement
}

/// The first example of a cause has that cause, and the second one is trusted.
#[test]
fn examples_have_the_cause_that_they_illustrate() {
    let mut illustrated = Vec::new();
    for (word, _, text) in sections() {
        let examples = examples(text);
        let ([wrong, correct], true) = (&examples[..], word != "malformed") else {
            assert!(examples.is_empty() || word == "malformed", "{word}: {examples:?}");
            continue;
        };
        illustrated.push(word);
        let (partition, issuer) = if text.contains("oidc.eks.cn-north-1") {
            ("aws-cn", "oidc.eks.cn-north-1.amazonaws.com.cn/id/EXAMPLE")
        } else {
            ("aws", "oidc.eks.us-west-2.amazonaws.com/id/EXAMPLE")
        };
        let (namespace, name) = if text.contains("staging:api") {
            ("staging", "api")
        } else {
            ("jobs", "worker")
        };
        let allow = json!({
            "Effect": "Allow",
            "Principal": {"Federated": format!("arn:{partition}:iam::111122223333:oidc-provider/{issuer}")},
            "Action": "sts:AssumeRoleWithWebIdentity",
            "Condition": {"StringEquals": {(format!("{issuer}:sub")): format!("system:serviceaccount:{namespace}:{name}")}},
        });
        let check = |statements: &[&Value]| {
            let policy = json!({"Version": "2012-10-17", "Statement": statements}).to_string();
            let role = format!("arn:{partition}:iam::111122223333:role/job");
            let flags = ["check", "-o", "json", "--policy", "-", "--role-arn", &role];
            let identity = ["--issuer", issuer, "-n", namespace, "--service-account", name];
            let ran = rolegate_with_input(&[&flags[..], &identity].concat(), &policy);
            let report: Value = serde_json::from_str(&ran.out).unwrap();
            (report["verdict"].clone(), report["cause"].clone())
        };
        let wrong = with_example(&allow, wrong);
        let (before, after) = if wrong["Effect"] == "Deny" {
            let correct = with_example(&wrong, correct);
            (check(&[&allow, &wrong]), check(&[&allow, &correct]))
        } else {
            (check(&[&wrong]), check(&[&with_example(&allow, correct)]))
        };
        assert_eq!(before, (json!("not-trusted"), json!(word)), "{word}");
        assert_eq!(after, (json!("trusted"), Value::Null), "{word}");
    }
    let causes = Cause::ALL.map(Cause::as_str);
    let of_policies = causes.iter().skip_while(|cause| **cause != "explicit-deny");
    let of_policies: Vec<&str> = of_policies.copied().take_while(|cause| *cause != "no-role").collect();
    assert_eq!(illustrated, of_policies);
}

#[test]
fn without_a_cause_all_of_them_are_listed() {
    let ran = explain(&[]);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    assert_snapshot!("explain", ran.out);
    for (word, ..) in sections() {
        let lines = ran
            .out
            .lines()
            .filter(|line| line.split_whitespace().next() == Some(word));
        assert_eq!(lines.count(), 1, "{word}");
    }
}

#[test]
fn a_cause_is_explained() {
    let ran = explain(&["wrong-subject"]);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    assert_snapshot!("explain_wrong_subject", ran.out);
}

/// The codes and meanings of the table of lints.
fn lints() -> Vec<(&'static str, &'static str)> {
    let (_, section) = LINTS.split_once("\n## Lints\n").unwrap();
    let rows = section.lines().skip_while(|line| !line.starts_with("| ---")).skip(1);
    let rows = rows.take_while(|line| !line.is_empty());
    rows.map(|row| {
        let row = row.trim_start_matches("| `").trim_end_matches(" |");
        row.split_once("` | ").unwrap_or_else(|| panic!("{row}"))
    })
    .collect()
}

/// They are in parentheses at the end of a note, as a cause is at the end of a message.
#[test]
fn a_lint_is_explained() {
    assert!(lints().len() > 10, "{:?}", lints());
    for (code, meaning) in lints() {
        let ran = explain(&[code]);
        assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{code}");
        let shown = ran.out.split_whitespace().collect::<Vec<_>>().join(" ");
        let expected = format!(
            "{code} {} This is a lint: a remark that does not change the verdict.",
            meaning.replace('`', "")
        );
        assert_eq!(shown, expected);
    }
    let ran = explain(&["no-audience-conditions"]);
    assert!(
        ran.err.contains("similar value") && ran.err.contains("'no-audience-condition'"),
        "{}",
        ran.err
    );
}

#[test]
fn no_markdown_is_left_for_people() {
    for word in words().into_iter().chain(lints().into_iter().map(|(code, _)| code)) {
        let ran = explain(&[word]);
        assert_eq!(ran.code, 0, "{word}: {}", ran.err);
        for mark in ["`", "](", "**", "##", "| "] {
            assert!(!ran.out.contains(mark), "{word}: {mark}: {}", ran.out);
        }
    }
}

#[test]
fn prose_fits_the_width_and_commands_are_not_wrapped() {
    for columns in [40, 60, 80, 200] {
        let variable = columns.to_string();
        let ran = rolegate_with_variables(&["explain", "wrong-provider"], &[("COLUMNS", &variable)]);
        assert!(
            ran.out
                .contains("    $ rolegate trust-policy --role-arn ARN --issuer ISSUER \\\n        -n NAMESPACE"),
            "{columns}: {}",
            ran.out
        );
        for line in ran.out.lines().filter(|line| !line.starts_with("    ")) {
            let is_one_word = line.trim_start_matches("  - ").split_whitespace().count() == 1;
            let length = line.chars().count();
            assert!(length <= columns.min(100) || is_one_word, "{columns}: {length}: {line}");
        }
    }
}

#[test]
fn the_list_is_wrapped_below_its_summaries() {
    let list = rolegate_with_variables(&["explain"], &[("COLUMNS", "70")]).out;
    let indent = " ".repeat(33);
    assert!(list.lines().any(|line| line.starts_with(&indent)), "{list}");
    for line in list.lines() {
        assert!(line.chars().count() <= 70, "{line}");
        let is_continued = line.starts_with("   ");
        assert!(!is_continued || line.starts_with(&indent), "{line}");
    }
}

#[test]
fn an_unknown_word_is_a_usage_error_that_suggests_the_nearest_one() {
    let ran = explain(&["wrong-subjct"]);
    assert_eq!((ran.code, ran.out.as_str()), (2, ""));
    assert!(
        ran.err.contains("a similar value exists: 'wrong-subject'"),
        "{}",
        ran.err
    );
    for word in words() {
        assert!(ran.err.contains(word), "{word}: {}", ran.err);
    }
    assert_eq!(explain(&["wrong-subject", "no-role"]).code, 2);
}

#[test]
fn programs_get_the_markdown() {
    let ran = explain(&["wrong-subject", "-o", "json"]);
    let json: Value = serde_json::from_str(&ran.out).unwrap();
    let (word, summary, text) = sections()
        .into_iter()
        .find(|(word, ..)| *word == "wrong-subject")
        .unwrap();
    assert_eq!(json, json!({"cause": word, "summary": summary, "text": text}));

    let yaml = explain(&["wrong-subject", "-o", "yaml"]).out;
    assert_eq!(serde_saphyr::from_str::<Value>(&yaml).unwrap(), json);

    let list: Value = serde_json::from_str(&explain(&["--output", "json"]).out).unwrap();
    let listed: Vec<&str> = list
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["cause"].as_str().unwrap())
        .collect();
    let of_lints = lints().into_iter().map(|(code, _)| code);
    assert_eq!(listed, words().into_iter().chain(of_lints).collect::<Vec<_>>());
    assert!(list.as_array().unwrap().contains(&json));
}

#[test]
fn colors_are_for_terminals_and_on_request() {
    let colored = |variables: &[(&str, &str)]| {
        let mut command = command(&["explain", "no-role"]);
        command.env_remove("NO_COLOR").envs(variables.iter().copied());
        finish(command, "").out.contains('\u{1b}')
    };
    assert!(!colored(&[]));
    assert!(colored(&[("CLICOLOR_FORCE", "1")]));
    assert!(!colored(&[("NO_COLOR", "1")]));
}

/// `clap_complete` does not generate values of arguments without a flag for the other shells.
#[test]
fn completions_offer_every_word() {
    for shell in ["bash", "zsh", "fish"] {
        let script = rolegate(&["completions", shell]).out;
        for word in words() {
            assert!(script.contains(word), "{shell}: {word}");
        }
    }
}
