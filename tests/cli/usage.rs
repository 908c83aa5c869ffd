//! Help, the version, and the errors of invalid flags and variables.

use std::os::unix::fs::PermissionsExt as _;

use super::commands_of_the_program::COMMANDS;
use super::{rolegate, rolegate_with_variables};

#[test]
fn the_version_is_printed() {
    for arguments in [&["--version"][..], &["version"]] {
        let ran = rolegate(arguments);
        assert_eq!(
            (ran.code, ran.out),
            (0, format!("rolegate {}\n", env!("CARGO_PKG_VERSION")))
        );
    }
    let ran = rolegate(&["version", "-o", "json"]);
    let version: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(version["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(
        rolegate(&["version", "-o", "yaml"]).out.lines().next(),
        Some(format!("version: \"{}\"", env!("CARGO_PKG_VERSION")).as_str())
    );
}

#[test]
fn without_a_command_the_help_is_shown_as_a_usage_error() {
    let ran = rolegate(&[]);
    assert_eq!(ran.code, 2);
    for command in COMMANDS {
        assert!(ran.err.contains(command), "{command}: {}", ran.err);
    }
}

#[test]
fn every_command_documents_examples_and_exit_codes() {
    for command in COMMANDS {
        let ran = rolegate(&[command, "--help"]);
        assert_eq!(ran.code, 0);
        let examples = command == "demo" || ran.out.contains("Examples:");
        let codes = ["completions", "version"].contains(&command) || ran.out.contains("Exit codes:");
        assert!(examples && codes, "{command}: {}", ran.out);
    }
}

/// Help is wrapped at the terminal's width. The command of an example must not be: a copy of it would be incomplete.
#[test]
fn examples_can_be_copied_from_a_terminal_of_80_columns() {
    for command in COMMANDS {
        let examples = |columns: &str| {
            let help = rolegate_with_variables(&[command, "--help"], &[("COLUMNS", columns)]).out;
            let (_, examples) = help.split_once("Examples:\n").unwrap_or_default();
            let commands = examples.lines().filter(|line| line.starts_with("    "));
            commands.map(str::to_owned).collect::<Vec<_>>()
        };
        let narrow = examples("80");
        assert_eq!(narrow, examples("1000"), "{command}: a line is too long");
        for pair in narrow.windows(2) {
            let continues = pair[1].starts_with("      ");
            let expects_more = pair[0].ends_with('\\') || pair[0].ends_with('|');
            assert_eq!(continues, expects_more, "{command}: {pair:#?}");
        }
        for line in narrow {
            let inside = line.trim_end_matches('\\').trim();
            assert!(!inside.contains("  "), "{command}: two lines have become one: {line}");
        }
    }
}

#[test]
fn every_flag_names_its_variable() {
    for command in COMMANDS {
        let help = rolegate(&[command, "--help"]).out;
        let help = help.split("\nExamples:").next().unwrap();
        let flags = help
            .lines()
            .filter_map(|line| line.trim_start().split("--").nth(1).filter(|_| is_flag(line)));
        let names = flags.map(|flag| flag.split([' ', '[', '=']).next().unwrap().to_owned());
        let names: Vec<String> = names.filter(|name| name != "help").collect();
        assert!(command == "completions" || !names.is_empty(), "{command}: {help}");
        // Flags that write to AWS, those that say what `trust-policy` is about, and the default of `audit` have no variable.
        for name in names.into_iter().filter(|name| {
            ![
                "apply",
                "yes",
                "pod-identity",
                "target",
                "disable-session-tags",
                "all-namespaces",
            ]
            .contains(&name.as_str())
        }) {
            let variable = format!("[env: ROLEGATE_{}]", name.to_uppercase().replace('-', "_"));
            assert!(help.contains(&variable), "{command} --{name}: {variable}");
        }
    }
}

/// A line of help that begins a flag's paragraph.
fn is_flag(line: &str) -> bool {
    let indented = line.len() - line.trim_start().len();
    indented <= 6 && (line.trim_start().starts_with("--") || line.trim_start().starts_with('-'))
}

#[test]
fn the_error_of_an_invalid_flag_names_it_and_what_it_takes() {
    let cases: [(&[&str], &[&str]); 16] = [
        (&["serve", "--listen", "here"], &["--listen", "'here'", "0.0.0.0:8443"]),
        (&["serve", "--mode", "strict"], &["--mode", "enforce, warn or audit"]),
        (&["serve", "--drain", "5x"], &["--drain", "500ms, 5s, 1m or 1h"]),
        (&["serve", "--drain", "11m"], &["--drain", "from 0s to 10m"]),
        (
            &["serve", "--token-expiration", "599"],
            &["--token-expiration", "600 to 86400"],
        ),
        (
            &["serve", "--trust-read-timeout", "0"],
            &["--trust-read-timeout", "from 1ms to 30s"],
        ),
        (
            &["serve", "--trust-ttl", "2h"],
            &["--trust-max-stale (1h)", "--trust-ttl (2h)"],
        ),
        (&["serve", "--role-source", "s3"], &["--role-source", "files=DIR"]),
        (&["serve", "--role-source", "files="], &["--role-source", "files=DIR"]),
        (
            &["serve", "--honor-skip-label=maybe"],
            &["--honor-skip-label", "true or false"],
        ),
        (&["serve", "--standalone", "."], &["--issuer"]),
        (&["serve", "--tls-cert", "x"], &["--tls-key"]),
        (&["serve", "--on-unknown", "pass"], &["--on-unknown", "inject", "deny"]),
        (&["serve", "--lisen", "x"], &["--lisen", "--listen"]),
        (
            &["serve", "--aws-account-id", "1234"],
            &["--aws-account-id", "twelve digits"],
        ),
        (&["certs", "--days", "0"], &["--days", "1..=3650"]),
    ];
    for (arguments, words) in cases {
        let ran = rolegate(arguments);
        assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{arguments:?}");
        for word in words {
            assert!(ran.err.contains(word), "{arguments:?}: {word}: {}", ran.err);
        }
    }
}

#[test]
fn the_error_of_an_invalid_variable_names_it_its_flag_and_what_it_takes() {
    for (name, value, words) in [
        ("ROLEGATE_DRAIN", "5x", ["--drain", "500ms, 5s"]),
        (
            "ROLEGATE_METRICS_NAMESPACE",
            "maybe",
            ["--metrics-namespace", "true or false"],
        ),
        ("ROLEGATE_ON_UNKNOWN", "pass", ["--on-unknown", "inject, deny"]),
        ("ROLEGATE_ROLE_SOURCE", "files=a,s3", ["--role-source", "files=DIR"]),
        ("ROLEGATE_ISSUER", "", ["--issuer", "empty"]),
    ] {
        let ran = rolegate_with_variables(&["serve"], &[(name, value)]);
        assert_eq!(ran.code, 2, "{name}: {}", ran.err);
        for word in [name, words[0], words[1]] {
            assert!(ran.err.contains(word), "{name}: {word}: {}", ran.err);
        }
    }
}

#[test]
fn a_flag_wins_over_its_variable() {
    let wrong = [("ROLEGATE_DRAIN", "5x")];
    let ran = rolegate_with_variables(&["serve", "--drain", "6y"], &wrong);
    assert!(ran.err.contains("'6y' for '--drain <DURATION>'"), "{}", ran.err);
    let ran = rolegate_with_variables(&["serve", "--drain", "5s", "--mode", "strict"], &wrong);
    assert!(
        ran.err.contains("--mode") && !ran.err.contains("ROLEGATE_DRAIN"),
        "{}",
        ran.err
    );
}

#[test]
fn variables_satisfy_required_flags() {
    let variables = [
        ("ROLEGATE_ACCOUNT", "111122223333"),
        ("ROLEGATE_ISSUER", "issuer.example.com"),
        ("ROLEGATE_NAMESPACE", "jobs"),
        ("ROLEGATE_SERVICE_ACCOUNT", "default"),
    ];
    let ran = rolegate_with_variables(&["trust-policy"], &variables);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(ran.out.contains("system:serviceaccount:jobs:default"));
}

#[test]
fn a_trust_policy_without_a_role_names_both_ways_to_set_its_account() {
    let ran = rolegate(&[
        "trust-policy",
        "--issuer",
        super::ISSUER,
        "-n",
        "jobs",
        "--service-account",
        "default",
    ]);
    assert_eq!((ran.code, ran.out.as_str()), (2, ""));
    assert!(
        ran.err.contains("<--role-arn <ARN>|--account <ACCOUNT>>"),
        "{}",
        ran.err
    );
}

#[test]
fn colors_are_for_terminals_and_on_request() {
    let arguments = [
        "check",
        "--policy",
        "-",
        "--role-arn",
        super::ROLE,
        "--issuer",
        super::ISSUER,
    ];
    let arguments = [&arguments[..], &["--namespace", "jobs", "--service-account", "default"]].concat();
    let colored = |variables: &[(&str, &str)]| {
        let mut command = super::command(&arguments);
        command.env_remove("NO_COLOR").envs(variables.iter().copied());
        super::finish(command, &super::correct_policy()).out.contains('\u{1b}')
    };
    assert!(!colored(&[]), "a pipe has none");
    assert!(colored(&[("CLICOLOR_FORCE", "1")]));
    assert!(!colored(&[("NO_COLOR", "1")]));
}

#[test]
fn every_shell_gets_a_completion_of_every_command() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let ran = rolegate(&["completions", shell]);
        assert_eq!(ran.code, 0);
        for command in COMMANDS {
            assert!(ran.out.contains(command), "{shell}: {command}");
        }
    }
    let ran = rolegate(&["completions", "tcsh"]);
    assert_eq!(ran.code, 2);
    assert!(ran.err.contains("bash"), "{}", ran.err);
}

#[test]
fn variables_that_were_meant_for_a_flag_are_reported_and_others_are_not() {
    let ran = rolegate_with_variables(
        &["completions", "bash"],
        &[
            ("ROLEGATE_ISSUER", "https://issuer.example.com"),
            ("ROLEGATE_LISTNE", "x"),
            ("ROLEGATE_POD_IDENTITY", "true"),
            ("ROLEGATE_VERSION", "0.1.0"),
            ("ROLEGATE_SERVICE_HOST", "10.0.0.1"),
            ("ROLEGATE_SERVICE_PORT", "443"),
            ("ROLEGATE_SERVICE_PORT_HTTPS", "443"),
            ("ROLEGATE_PORT", "tcp://10.0.0.1:443"),
            ("ROLEGATE_PORT_443_TCP", "tcp://10.0.0.1:443"),
            ("ROLEGATE_PORT_443_TCP_ADDR", "10.0.0.1"),
            ("ROLEGATE_CANARY_SERVICE_HOST", "10.0.0.2"),
            ("ROLEGATE_CANARY_PORT_443_TCP_PROTO", "tcp"),
        ],
    );
    let mut warnings: Vec<&str> = ran.err.lines().collect();
    warnings.sort_unstable();
    let expected = [
        "warning: ROLEGATE_LISTNE is not a setting; did you mean ROLEGATE_LISTEN?",
        "warning: ROLEGATE_POD_IDENTITY is not a setting; --pod-identity has no environment variable, pass the flag instead",
    ];
    assert_eq!(warnings, expected);
    assert_eq!(ran.code, 0);
}

#[test]
fn completions_offer_values() {
    let bash = rolegate(&["completions", "bash"]).out;
    for values in [
        "enforce warn audit",
        "\"text json\"",
        "error warn info debug trace off",
        "never hourly",
        "iam ack crossplane files=",
        "eks ack crossplane files=",
        "text json yaml",
        "wrong-subject",
    ] {
        assert!(bash.contains(values), "{values}");
    }
}

/// The completions that kubectl reads from the script for the words after `kubectl rolegate`, of which the last is incomplete.
fn completed_by_kubectl(words: &[&str]) -> Vec<String> {
    let directory = tempfile::tempdir().unwrap();
    let script = directory.path().join("kubectl_complete-rolegate");
    std::fs::write(&script, rolegate(&["completions", "kubectl"]).out).unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    let output = std::process::Command::new(&script)
        .args(words)
        .current_dir(directory.path())
        .output()
        .unwrap();
    assert!(
        output.status.success() && output.stderr.is_empty(),
        "{words:?}: {output:?}"
    );
    let printed = String::from_utf8(output.stdout).unwrap();
    printed.lines().map(str::to_owned).collect()
}

/// The script runs the completion of bash, so this is also what bash offers.
#[test]
fn kubectl_completes_commands_flags_and_values() {
    for (words, expected) in [
        (&["au"][..], &["audit"][..]),
        (
            &["audit", "--output", ""],
            &[
                "text",
                "json",
                "yaml",
                "junit",
                "sarif",
                "github",
                "openreports",
                "html",
            ],
        ),
        (&["audit", "-o", "j"], &["json", "junit"]),
        (&["audit", "-A", "--output=js"], &["json"]),
        (&["audit", "--group-by", ""], &["role", "namespace"]),
        (&["check", "--output", ""], &["text", "json", "yaml"]),
        (&["serve", "--mode", ""], &["enforce", "warn", "audit"]),
        (&["inject", "--mode", "en"], &["enforce"]),
        (&["serve", "--role-source", ""], &["iam", "ack", "crossplane", "files="]),
        (&["trust-policy", "--partition", "aws-us"], &["aws-us-gov"]),
        (&["inject", "--aws-partition", "aws-c"], &["aws-cn"]),
        (&["audit", "--contex"], &["--context"]),
        (&["explain", "wrong-su"], &["wrong-subject"]),
        (&["completions", "ku"], &["kubectl"]),
    ] {
        assert_eq!(completed_by_kubectl(words), expected, "{words:?}");
    }
    let all = completed_by_kubectl(&[""]);
    for command in COMMANDS {
        assert!(all.iter().any(|word| word == command), "{command}: {all:?}");
    }
}

#[test]
fn a_plugin_of_kubectl_is_called_by_its_name() {
    let directory = tempfile::tempdir().unwrap();
    let plugin = directory.path().join("kubectl-rolegate");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_rolegate"), &plugin).unwrap();
    let run = |arguments: &[&str]| {
        let output = std::process::Command::new(&plugin).args(arguments).output().unwrap();
        (
            output.status.code().unwrap(),
            String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap(),
        )
    };
    let (code, help) = run(&["check", "--help"]);
    assert!(code == 0 && help.contains("Usage: kubectl rolegate check "), "{help}");
    for command in COMMANDS {
        for arguments in [[command, "--help"], [command, "-h"]] {
            let (code, help) = run(&arguments);
            assert_eq!(code, 0, "{help}");
            for line in help.lines() {
                let begins = |start: &str| line.trim_start().starts_with(start) || line.contains(&format!("| {start}"));
                assert!(
                    !begins("rolegate ") && !line.contains("`rolegate "),
                    "{command}: {line}"
                );
            }
        }
    }
    for arguments in [&["--help"][..], &["help", "check"]] {
        let (_, help) = run(arguments);
        assert!(
            help.contains("kubectl rolegate ") && !help.contains("`rolegate "),
            "{help}"
        );
    }
    let (code, error) = run(&["audit", "--contxt", "x"]);
    assert!(code == 2 && error.contains("Usage: kubectl rolegate audit"), "{error}");
    let (code, error) = run(&["serve", "--service-name", "x"]);
    assert!(code == 2 && error.contains("Usage: kubectl rolegate serve"), "{error}");
    let (code, error) = run(&["serve", "--trust-ttl", "2h"]);
    assert!(code == 2 && error.contains("Usage: kubectl rolegate serve"), "{error}");
    // The commands to copy are those of the plugin, too: who installed it with krew has no other.
    let files = "--role-source=files=examples/standalone/roles";
    let issuer = ["--issuer", super::ISSUER];
    let role = "--role-arn=arn:aws:iam::111122223333:role/api";
    let check = ["check", files, role, "-n", "staging", "--service-account", "api"];
    let audit = ["audit", "--standalone", "examples/standalone"];
    for arguments in [&check[..], &audit] {
        let (code, report) = run(&[arguments, &issuer].concat());
        assert_eq!(code, 1, "{report}");
        for command in [
            "kubectl rolegate trust-policy --role-arn ",
            "kubectl rolegate explain wrong-",
        ] {
            assert!(report.contains(command), "{arguments:?}: {command}: {report}");
        }
        assert_eq!(
            report.matches("rolegate trust-policy").count(),
            report.matches("kubectl rolegate trust-policy").count()
        );
        assert_eq!(
            report.matches("rolegate explain").count(),
            report.matches("kubectl rolegate explain").count()
        );
    }
    let manifest = "apiVersion: v1\nkind: Pod\nmetadata: {name: a, namespace: staging}\nspec:\n  serviceAccountName: api\n  containers: [{name: main}]\n";
    let file = directory.path().join("pod.yaml");
    std::fs::write(&file, manifest).unwrap();
    let refused = [
        "inject",
        files,
        "--role-arn=arn:aws:iam::111122223333:role/api",
        "-f",
        file.to_str().unwrap(),
    ];
    let pages = ["wrong-subject", "malformed", "no-role"].map(|cause| run(&["explain", cause]).1);
    let (code, report) = run(&[&refused[..], &issuer].concat());
    assert_eq!(code, 1, "{report}");
    for text in pages.iter().chain([&report]) {
        for command in ["rolegate trust-policy --", "rolegate explain", "rolegate check --"] {
            let of_plugin = text.matches(&format!("kubectl {command}")).count();
            assert_eq!(text.matches(command).count(), of_plugin, "{command}: {text}");
        }
    }
    assert!(report.contains("kubectl rolegate trust-policy"), "{report}");
    let (_, causes) = run(&["explain"]);
    assert!(causes.contains("Run kubectl rolegate explain CAUSE"), "{causes}");
    assert!(rolegate(&["--help"]).out.contains("kubectl-rolegate"));
}

#[test]
fn flags_of_the_webhook_that_is_replaced_are_accepted_with_a_note_or_refused_with_ours() {
    let directory = tempfile::tempdir().unwrap();
    let missing = directory.path().join("missing");
    let missing = missing.to_str().unwrap();
    let ran = rolegate(&[
        "serve",
        "--in-cluster=false",
        "--port=8443",
        "--metrics-port",
        "9999",
        "--aws-default-region",
        "us-west-2",
        "--logtostderr",
        "--annotation-prefix=eks.amazonaws.com",
        "--standalone",
        missing,
        "--issuer",
        super::ISSUER,
    ]);
    assert_eq!(ran.code, 2);
    let peer = "of amazon-eks-pod-identity-webhook";
    for note in [
        format!("warning: --in-cluster=false {peer} is not needed\n"),
        format!("warning: --port 8443 {peer} has the name --listen=:8443 in rolegate\n"),
        format!("warning: --metrics-port 9999 {peer} has the name --admin-listen=:9999 in rolegate\n"),
        format!("warning: --aws-default-region {peer} has the name --aws-region in rolegate\n"),
        format!("warning: --logtostderr=true {peer} is not needed\n"),
        format!("cannot start: --standalone {missing}: no such directory"),
    ] {
        assert!(ran.err.contains(&note), "{note}: {}", ran.err);
    }
    // All that is refused is reported at once.
    let ran = rolegate(&["serve", "--service-name", "x", "--namespace=eks", "-v=4", "--port", "1"]);
    assert_eq!((ran.code, ran.out.as_str()), (2, ""));
    for words in [
        "--service-name of amazon-eks-pod-identity-webhook: set --tls-names",
        "--namespace of amazon-eks-pod-identity-webhook: the namespace is part of",
        "-v of amazon-eks-pod-identity-webhook: set --log-level",
    ] {
        assert!(ran.err.contains(words), "{words}: {}", ran.err);
    }
    // Only `serve` replaces it.
    let ran = rolegate(&["audit", "--port", "1"]);
    assert!(ran.code == 2 && ran.err.contains("unexpected argument"), "{}", ran.err);
}

#[test]
fn a_file_that_cannot_be_read_is_named_with_its_flag() {
    let of_check = [
        "check",
        "--role-arn",
        super::ROLE,
        "--issuer",
        super::ISSUER,
        "-n",
        "jobs",
    ];
    let of_check = [&of_check[..], &["--service-account", "default"]].concat();
    let of_policy = [
        "trust-policy",
        "--account",
        "111122223333",
        "--issuer",
        super::ISSUER,
        "-n",
        "jobs",
    ];
    let of_policy = [&of_policy[..], &["--service-account", "default"]].concat();
    let with = |command: &[&'static str], more: &[&'static str]| [command, more].concat();
    for (arguments, words) in [
        (
            with(&of_check, &["--policy", "gone"]),
            "--policy gone: no such file; specify a file that exists",
        ),
        (
            with(&of_check, &["--policy", "."]),
            "--policy .: it is a directory, not a regular file; name a file in it",
        ),
        (
            with(&of_check, &["--role-source", "files=gone"]),
            "role source files=gone: no such directory; create it, or set other sources with --role-source",
        ),
        (
            with(&of_check, &["--role-source", "files=Cargo.toml"]),
            "role source files=Cargo.toml: it is not a directory; name the directory that the file is in",
        ),
        (
            vec!["audit", "--issuer", super::ISSUER, "--standalone", "Cargo.toml"],
            "--standalone Cargo.toml: it is not a directory; name the directory that the file is in",
        ),
        (vec!["check", "--batch", "gone"], "--batch gone: no such file"),
        (
            vec!["check", "--association", "gone"],
            "--association gone: no such file",
        ),
        (with(&of_policy, &["--merge", "gone"]), "--merge gone: no such file"),
        (
            vec!["inject", "--issuer", super::ISSUER, "--file", "gone"],
            "--file gone: no such file",
        ),
        (
            vec!["inject", "--issuer", super::ISSUER, "--file", "src"],
            "--file src: it is a directory, not a regular file; name a file in it",
        ),
        (
            vec!["audit", "--issuer", super::ISSUER, "--standalone", "gone"],
            "--standalone gone: no such directory; specify a directory that contains manifests of ServiceAccounts",
        ),
    ] {
        let ran = rolegate(&arguments);
        assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{arguments:?}");
        assert!(
            ran.err.contains(words) && !ran.err.contains("os error"),
            "{arguments:?}: {}",
            ran.err
        );
    }
}

/// Each start fails before it serves, and says with which flag, why and what to do, without numbers of the operating system.
#[test]
fn a_start_that_fails_names_the_flag_the_reason_and_the_next_step() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (gone, not_json, log) = (path("gone"), path("not.json"), path("gone/audit.log"));
    std::fs::write(&not_json, "{").unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let certs = path("certs");
    assert_eq!(rolegate(&["certs", "--dir", &certs]).code, 0);
    let (certificate, key) = (path("certs/tls.crt"), path("certs/tls.key"));
    for (flags, words) in [
        (
            vec!["--listen", &*taken],
            format!("cannot listen on --listen {taken}: another process uses the port; stop it, or set another port"),
        ),
        (
            vec!["--admin-listen", &taken],
            format!("cannot listen on --admin-listen {taken}: another process uses the port"),
        ),
        (
            vec!["--tls-cert", &gone, "--tls-key", &key],
            format!("cannot read --tls-cert {gone}: no such file; name a file that exists"),
        ),
        (
            vec!["--tls-cert", &certificate, "--tls-key", &gone],
            format!("cannot read --tls-key {gone}: no such file; name a file that exists"),
        ),
        (
            vec!["--client-ca", &gone],
            format!("cannot read --client-ca {gone}: no such file; name a file that exists"),
        ),
        (
            vec!["--tls-cert", &certificate, "--tls-key", &key, "--client-ca", &gone],
            format!("cannot read --client-ca {gone}: no such file; name a file that exists"),
        ),
        (
            vec!["--container-credentials-config", &gone],
            format!("--container-credentials-config {gone}: cannot be read: no such file"),
        ),
        (
            vec!["--container-credentials-config", &not_json],
            format!("--container-credentials-config {not_json}: expected {{\"identities\""),
        ),
        (
            vec!["--audit-log", &log],
            format!("cannot write --audit-log {log}: no such directory; name a file in a directory that exists"),
        ),
    ] {
        let serve = [
            "serve",
            "--standalone",
            "examples/standalone",
            "--issuer",
            super::ISSUER,
        ];
        let mut arguments = [&serve[..], &flags].concat();
        for flag in ["--listen", "--admin-listen"] {
            if !flags.contains(&flag) {
                arguments.extend([flag, "127.0.0.1:0"]);
            }
        }
        let ran = rolegate(&arguments);
        assert_eq!(ran.code, 2, "{flags:?}: {}", ran.err);
        assert!(
            ran.err.contains(&words) && !ran.err.contains("os error"),
            "{flags:?}: {words}: {}",
            ran.err
        );
    }
    let ran = rolegate(&["certs", "--dir", "/proc/nowhere"]);
    assert_eq!((ran.code, ran.out.as_str()), (2, ""));
    let words = "--dir /proc/nowhere: the directory cannot be created (no such file); name another one";
    assert!(ran.err.contains(words), "{}", ran.err);
}

/// Lines break at words, and commands so that a shell joins their lines.
#[test]
fn reports_fit_the_terminal() {
    let check = [
        "check",
        "--policy",
        "-",
        "--role-arn",
        super::ROLE,
        "--issuer",
        super::ISSUER,
    ];
    let check = [&check[..], &["-n", "reports", "--service-account", "default"]].concat();
    for columns in [60, 80] {
        let width = columns.to_string();
        let run = |arguments: &[&str], columns: Option<&str>| {
            let mut command = super::command(arguments);
            command.env_remove("COLUMNS");
            command.envs(columns.map(|columns| ("COLUMNS", columns)));
            super::finish(command, &super::correct_policy()).out
        };
        for arguments in [&check[..], &["demo"]] {
            let narrow = run(arguments, Some(&width));
            for line in narrow.lines().filter(|line| line.chars().count() > columns) {
                // A word that does not fit next to its label, at most 46 columns in the demo, cannot break.
                let words = line.trim_start_matches([' ', '│']).split_whitespace();
                let longest = words.map(|word| word.chars().count()).max().unwrap_or(0);
                assert!(longest + 46 > columns, "{columns}: {line}");
            }
            // The same text, and the same commands.
            let joined = |text: &str| {
                let text = text.replace("\\\n", " ").replace('│', " ");
                text.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
            };
            let differs = |word: &String| word.contains("127.0.0.1") || word.parse::<f64>().is_ok();
            let without = |words: Vec<String>| words.into_iter().filter(|word| !differs(word)).collect::<Vec<_>>();
            let (narrow, wide) = (without(joined(&narrow)), without(joined(&run(arguments, None))));
            assert_eq!(narrow, wide, "{columns}: {arguments:?}");
        }
        let narrow = run(&check, Some(&width));
        assert!(narrow.contains("rolegate trust-policy \\\n"), "{narrow}");
    }
}

#[test]
fn a_misspelled_command_and_a_whole_account_name_have_a_suggestion() {
    let run = |arguments: &[&str]| {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_rolegate"))
            .args(arguments)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(2));
        String::from_utf8(output.stderr).unwrap()
    };
    for (arguments, command) in [
        (&["help", "explan"][..], "'explain'"),
        (&["help", "audti"], "'audit'"),
        (&["audti"], "'audit'"),
    ] {
        let error = run(arguments);
        assert!(
            error.contains("a similar subcommand exists") && error.contains(command),
            "{error}"
        );
    }
    assert!(!run(&["help", "nothing-like-it"]).contains("similar"));
    for name in ["production/api", "system:serviceaccount:production:api"] {
        for command in ["check", "trust-policy"] {
            let error = run(&[command, "--service-account", name]);
            assert!(error.contains("use -n production --service-account api"), "{error}");
        }
    }
    assert!(run(&["check", "--service-account", "a/B"]).contains("expected the name of a ServiceAccount"));
}

#[test]
fn a_name_that_yaml_reads_as_something_else_is_to_be_quoted() {
    let directory = tempfile::tempdir().unwrap();
    for (metadata, field) in [
        ("{name: y, namespace: jobs}", "name"),
        ("{name: 12, namespace: jobs}", "name"),
        ("{name: api, namespace: true}", "namespace"),
    ] {
        let file = directory.path().join("account.yaml");
        std::fs::write(
            &file,
            format!("apiVersion: v1\nkind: ServiceAccount\nmetadata: {metadata}\n"),
        )
        .unwrap();
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_rolegate"))
            .args([
                "audit",
                "--role-source=files=examples/standalone/roles",
                "--issuer",
                super::ISSUER,
                "--file",
            ])
            .arg(&file)
            .output()
            .unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        let expected = format!("ServiceAccount: expected metadata.{field} to be a string: put it in quotes");
        assert!(error.contains(&expected), "{metadata}: {error}");
    }
}
