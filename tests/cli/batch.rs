//! `rolegate check --batch`.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::Stdio;

use serde_json::{Value, json};

use super::schema::faults;
use super::{ISSUER, ROLE, command, correct_policy, policy, rolegate, rolegate_with_input};

const SUBJECT: &str = "system:serviceaccount:jobs:default";

fn line(policy: &str) -> String {
    format!(
        r#"{{"policy":{policy},"roleArn":"{ROLE}","issuer":"https://{ISSUER}","subject":"{SUBJECT}","audience":"sts.amazonaws.com"}}"#
    )
}

fn trusted() -> String {
    line(&correct_policy())
}

fn not_trusted() -> String {
    line(&policy("StringEquals", "system:serviceaccount:prod:default"))
}

fn undecided() -> String {
    line(&correct_policy().replace(
        r#""Condition":{"#,
        r#""Condition":{"IpAddress":{"aws:SourceIp":"203.0.113.0/24"},"#,
    ))
}

/// The answers, each checked against the schema, and the exit code.
fn answers(input: &str) -> (Vec<Value>, i32) {
    let ran = rolegate_with_input(&["check", "--batch", "-"], input);
    assert_eq!(ran.err, "");
    let answers: Vec<Value> = ran
        .out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    for answer in &answers {
        assert_eq!(faults("answer", answer), [""; 0]);
    }
    (answers, ran.code)
}

fn verdicts(input: &str) -> (Vec<String>, i32) {
    let (answers, code) = answers(input);
    (
        answers
            .iter()
            .map(|answer| answer["verdict"].as_str().unwrap().to_owned())
            .collect(),
        code,
    )
}

#[test]
fn each_line_is_answered_in_order() {
    let (answers, code) = answers(&[trusted(), not_trusted(), undecided(), trusted()].join("\n"));
    let reported: Vec<_> = answers
        .iter()
        .map(|answer| (answer["verdict"].clone(), answer["cause"].clone()))
        .collect();
    assert_eq!(
        reported,
        [
            (json!("trusted"), Value::Null),
            (json!("not-trusted"), json!("wrong-subject")),
            (json!("undecided"), Value::Null),
            (json!("trusted"), Value::Null),
        ]
    );
    assert_eq!(code, 1);
    assert!(
        answers[1]["reason"]
            .as_str()
            .unwrap()
            .contains("system:serviceaccount:prod:default")
    );
    assert!(answers[2]["reason"].as_str().unwrap().contains("aws:SourceIp"));
}

#[test]
fn the_exit_code_is_that_of_the_worst_line() {
    let (yes, no, perhaps, bad) = (trusted(), not_trusted(), undecided(), "{".to_owned());
    for (lines, code) in [
        (vec![], 0),
        (vec![&yes, &yes], 0),
        (vec![&yes, &no, &yes], 1),
        (vec![&perhaps, &yes], 2),
        (vec![&yes, &bad], 2),
        (vec![&no, &perhaps, &bad], 1),
        (vec![&bad, &no], 1),
    ] {
        let input: String = lines.iter().map(|line| format!("{line}\n")).collect();
        let (answers, exit) = answers(&input);
        assert_eq!((answers.len(), exit), (lines.len(), code), "{lines:?}");
    }
}

#[test]
fn a_line_that_cannot_be_read_is_malformed_and_the_next_is_read() {
    let bad = [
        "not JSON".to_owned(),
        "[]".to_owned(),
        "{}".to_owned(),
        "null".to_owned(),
        trusted().replace(r#""subject""#, r#""subjekt""#),
        trusted().replace(ROLE, "arn:aws:iam::111122223333:user/job"),
        trusted().replace("https://", "ftp://"),
        trusted().replace(SUBJECT, "\u{1}"),
        line("null"),
        line("7"),
        line(r#""no policy""#),
        line(&correct_policy().replace("2012-10-17", "today")),
        line(&correct_policy().replace(r#""Effect":"Allow""#, r#""Effect":"Allow","Effect":"Allow""#)),
        trusted().replace(r#""audience":"#, r#""issuer":"twice","audience":"#),
        format!("{}x", trusted()),
    ];
    for line in &bad {
        let (verdicts, code) = verdicts(&format!("{line}\n{}\n", trusted()));
        assert_eq!((verdicts.join(" ").as_str(), code), ("malformed trusted", 2), "{line}");
    }
}

#[test]
fn an_empty_line_is_skipped() {
    let (verdicts, code) = verdicts(&format!("\n{}\n  \n", trusted()));
    assert_eq!((verdicts.join(" ").as_str(), code), ("trusted", 0));
}

#[test]
fn a_policy_can_be_a_string_as_iam_returns_it() {
    let encoded: String = correct_policy().bytes().map(|byte| format!("%{byte:02x}")).collect();
    let texts = [correct_policy(), encoded];
    for text in texts {
        assert_eq!(
            verdicts(&line(&json!(text).to_string())),
            (vec!["trusted".to_owned()], 0)
        );
    }
}

#[test]
fn fields_of_a_line_are_optional_or_unknown() {
    for line in [
        trusted().replace("https://", ""),
        trusted().replace(r#","audience":"sts.amazonaws.com""#, ""),
        trusted().replace(r#"{"policy""#, r#"{"id": 7, "policy""#),
        format!("  {}\r", trusted()),
        trusted().replace("jobs:default\",", r#"jobs:def\u0061ult","#),
    ] {
        assert_eq!(verdicts(&line), (vec!["trusted".to_owned()], 0), "{line}");
    }
}

#[test]
fn any_subject_text_is_judged() {
    for subject in ["repo:org/name:ref:refs/heads/main", "", "ü"] {
        let line = trusted().replace(
            &format!(r#""subject":"{SUBJECT}""#),
            &format!(r#""subject":"{subject}""#),
        );
        assert_eq!(verdicts(&line), (vec!["not-trusted".to_owned()], 1), "{line}");
    }
}

#[test]
fn an_answer_does_not_wait_for_the_next_line() {
    let mut child = command(&["check", "--batch", "-"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    for _ in 0..3 {
        writeln!(input, "{}", trusted()).unwrap();
        let mut answer = String::new();
        output.read_line(&mut answer).unwrap();
        assert!(answer.contains("trusted"), "{answer}");
    }
    drop(input);
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn an_endless_line_is_not_kept_in_memory() {
    let huge = format!("\n{0}\n{1}\n{0}\n", trusted(), " ".repeat(40 * 1024 * 1024));
    let (answers, code) = answers(&huge);
    assert_eq!(answers.len(), 3);
    assert_eq!(answers[1]["reason"], "line 3 is longer than 16 MiB");
    assert_eq!((&answers[2]["verdict"], code), (&json!("trusted"), 2));
}

#[test]
fn a_file_must_be_regular_and_bounded() {
    let directory = tempfile::tempdir().unwrap();
    let (fifo, long) = (directory.path().join("fifo"), directory.path().join("long"));
    let made = std::process::Command::new("mkfifo").arg(&fifo).status().unwrap();
    assert!(made.success());
    std::fs::File::create(&long)
        .unwrap()
        .set_len(16 * 1024 * 1024 + 1)
        .unwrap();
    for (file, why) in [
        (fifo.as_path(), "it is a FIFO, not a regular file"),
        (directory.path(), "it is a directory, not a regular file"),
        ("/dev/zero".as_ref(), "it is a device, not a regular file"),
        (&long, "it is longer than 16 MiB; pass it on standard input, as -"),
    ] {
        let file = file.to_str().unwrap();
        // A program that opened the FIFO would wait for its writer.
        let mut child = command(&["check", "--batch", file]).spawn().unwrap();
        let started = std::time::Instant::now();
        while child.try_wait().unwrap().is_none() {
            if started.elapsed() > std::time::Duration::from_secs(30) {
                child.kill().unwrap();
            }
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        let output = child.wait_with_output().unwrap();
        let err = String::from_utf8_lossy(&output.stderr);
        assert_eq!(
            (output.status.code(), output.stdout.len()),
            (Some(2), 0),
            "{file}: {err}"
        );
        assert!(err.contains(file) && err.contains(why), "{err}");
    }
}

#[test]
fn deep_nesting_and_bytes_that_are_not_text_are_malformed() {
    let deep = line(&format!("{}{}", "[".repeat(100_000), "]".repeat(100_000)));
    assert_eq!(verdicts(&deep).0, ["malformed"]);
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("lines");
    std::fs::write(
        &file,
        [b"{\"policy\":\"\xff\"}\n".as_slice(), trusted().as_bytes()].concat(),
    )
    .unwrap();
    let ran = rolegate(&["check", "--batch", file.to_str().unwrap()]);
    assert_eq!((ran.out.lines().count(), ran.code), (2, 2), "{}", ran.err);
}

#[test]
fn a_reader_that_leaves_is_not_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("lines");
    std::fs::write(&file, format!("{}\n", trusted()).repeat(20_000)).unwrap();
    let mut child = command(&["check", "--batch", file.to_str().unwrap()]).spawn().unwrap();
    let mut first = [0; 16];
    child.stdout.take().unwrap().read_exact(&mut first).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(
        (output.status.code(), output.stderr.len()),
        (Some(0), 0),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn a_missing_file_is_a_usage_error() {
    let ran = rolegate(&["check", "--batch", "/does/not/exist"]);
    assert_eq!((ran.code, ran.out.as_str()), (2, ""));
    assert!(ran.err.contains("/does/not/exist"), "{}", ran.err);
}

/// A line about the primary role of an association, with fields changed or, where null, left out.
fn association_line(changes: &Value) -> String {
    let mut line = json!({
        "mechanism": "pod-identity",
        "hop": "primary",
        "clusterArn": "arn:aws:eks:us-west-2:111122223333:cluster/prod",
        "namespace": "shop",
        "serviceAccount": "api",
        "podName": null,
        "generateName": "api-",
        "association": {
            "clusterName": "prod",
            "namespace": "shop",
            "serviceAccount": "api",
            "roleArn": ROLE,
            "disableSessionTags": false,
            "createdAt": 1.5,
        },
        "roleArn": ROLE,
        "policy": {"Version": "2012-10-17", "Statement": {
            "Effect": "Allow",
            "Principal": {"Service": "pods.eks.amazonaws.com"},
            "Action": ["sts:AssumeRole", "sts:TagSession"],
        }},
    });
    for (field, value) in changes.as_object().unwrap() {
        line[field] = value.clone();
    }
    line.to_string()
}

#[test]
fn lines_about_associations_are_answered_among_the_others() {
    let without_tagging = json!({"policy": {"Version": "2012-10-17", "Statement": {
        "Effect": "Allow", "Principal": {"Service": "pods.eks.amazonaws.com"}, "Action": "sts:AssumeRole"}}});
    let lines = [
        trusted(),
        association_line(&json!({})),
        association_line(&without_tagging),
        association_line(&json!({"clusterArn": null, "namespace": null, "roleArn": null, "hop": null})),
        trusted().replacen('{', r#"{"mechanism": null, "#, 1),
    ];
    let (answers, code) = answers(&lines.join("\n"));
    let reported: Vec<_> = answers
        .iter()
        .map(|answer| (answer["verdict"].as_str().unwrap(), answer["cause"].as_str()))
        .collect();
    assert_eq!(
        reported,
        [
            ("trusted", None),
            ("trusted", None),
            ("not-trusted", Some("tag-session-not-allowed")),
            ("trusted", None),
            ("trusted", None),
        ]
    );
    assert_eq!(code, 1);
}

#[test]
fn a_wrong_field_of_an_association_is_an_error_of_its_line() {
    for (changes, named) in [
        (json!({"mechanism": "irsa"}), "mechanism"),
        (json!({"mechanism": 7}), "mechanism"),
        (json!({"hop": "third"}), "hop"),
        (json!({"clusterArn": "prod"}), "clusterArn"),
        (json!({"namespace": 7}), "namespace"),
        (json!({"namespace": "other"}), "namespace"),
        (json!({"serviceAccount": ["api"]}), "serviceAccount"),
        (json!({"podName": {}}), "podName"),
        (json!({"generateName": true}), "generateName"),
        (json!({"association": "a-1"}), "association"),
        (json!({"association": {"roleArn": "job"}}), "association.roleArn"),
        (
            json!({"association": {"disableSessionTags": "yes"}}),
            "association.disableSessionTags",
        ),
        (json!({"roleArn": "arn:aws:iam::111122223333:role/other"}), "roleArn"),
        (json!({"hop": "target", "roleArn": null}), "roleArn"),
        (json!({"association": null, "namespace": null}), "namespace"),
        (json!({"policy": null}), "policy"),
        (json!({"judgedRoleArn": ROLE}), "judgedRoleArn"),
    ] {
        let (answers, code) = answers(&format!("{}\n{}", association_line(&changes), trusted()));
        let reason = answers[0]["reason"].as_str().unwrap();
        assert_eq!(answers[0]["verdict"], "malformed", "{changes}: {reason}");
        assert!(reason.contains(named), "{changes}: {reason}");
        assert_eq!((&answers[1]["verdict"], code), (&json!("trusted"), 2), "{changes}");
    }
}
