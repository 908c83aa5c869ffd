//! Profiles of the shared configuration: which credentials they give, and what a person reads when they give none.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{Aws, ISSUER, finish_check, is_foreign, trusting};

const ROLE: &str = "arn:aws:iam::111122223333:role/loader";

/// `[sso-session company]`, and the hash of its name that the SDK and the AWS CLI name the cached token after.
const SESSION: &str =
    "[sso-session company]\nsso_region = us-east-1\nsso_start_url = https://company.awsapps.com/start\n";
const SESSION_HASH: &str = "71b21161ffa1e6516bcc072aaf5ef38cbe85b511";
/// The same of its start URL, for profiles without a session.
const START_URL_HASH: &str = "b7037568a7e4f6fba9450af24427009b78703b33";

const WORK: &str = "[profile work]\nsso_session = company\nsso_account_id = 111122223333\nsso_role_name = Reader\n";
const OLD: &str = "[profile old]\nsso_start_url = https://company.awsapps.com/start\nsso_region = us-east-1\n\
                   sso_account_id = 111122223333\nsso_role_name = Reader\n";

/// A home directory with this `~/.aws/config`.
fn home(config: &str) -> TempDir {
    let home = tempfile::tempdir().unwrap();
    fs::create_dir_all(home.path().join(".aws/sso/cache")).unwrap();
    fs::write(home.path().join(".aws/config"), config).unwrap();
    home
}

/// Stores an access token as `aws sso login` does.
fn login(home: &Path, hash: &str, expires: &str) {
    let token = json!({
        "startUrl": "https://company.awsapps.com/start", "region": "us-east-1", "accessToken": "the-access-token",
        "expiresAt": expires,
    });
    fs::write(home.join(format!(".aws/sso/cache/{hash}.json")), token.to_string()).unwrap();
}

/// The program of a person with this home, whose AWS endpoint is a port that nothing listens on.
fn rolegate(home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rolegate"));
    let inherited = std::env::vars_os().map(|(name, _)| name);
    for name in inherited.filter(|name| is_foreign(&name.to_string_lossy())) {
        command.env_remove(name);
    }
    command
        .env("HOME", home)
        .env("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
        .env("AWS_EC2_METADATA_DISABLED", "true");
    command
}

/// Why `rolegate check` does not know.
fn reason(command: Command, more: &[&str]) -> String {
    let (code, report) = finish_check(command, ROLE, more);
    assert_eq!((code, &report["verdict"]), (2, &json!("unknown")), "{report}");
    let reason = report["reason"].as_str().unwrap().to_owned();
    // What the SDK writes for programmers stays inside.
    for word in ["{", "Some(", "Error(", "CredentialsError", "\n"] {
        assert!(!reason.contains(word), "{word:?} in {reason}");
    }
    reason
}

const NOT_LOGGED_IN: &str =
    "profile \"work\": the SSO session has expired or was never started; run: aws sso login --profile work";

#[test]
fn a_session_that_was_never_started_or_has_expired_says_how_to_log_in() {
    let home = home(&format!("{WORK}{OLD}{SESSION}"));
    assert_eq!(reason(rolegate(home.path()), &["--profile", "work"]), NOT_LOGGED_IN);
    let mut by_variable = rolegate(home.path());
    by_variable.env("ROLEGATE_PROFILE", "work");
    assert_eq!(reason(by_variable, &[]), NOT_LOGGED_IN);
    let mut by_variable = rolegate(home.path());
    by_variable.env("AWS_PROFILE", "work");
    assert_eq!(reason(by_variable, &[]), NOT_LOGGED_IN);
    let old = NOT_LOGGED_IN.replace("work", "old");
    assert_eq!(reason(rolegate(home.path()), &["--profile", "old"]), old);

    login(home.path(), SESSION_HASH, "2020-01-01T00:00:00Z");
    assert_eq!(reason(rolegate(home.path()), &["--profile", "work"]), NOT_LOGGED_IN);
    fs::write(home.path().join(format!(".aws/sso/cache/{SESSION_HASH}.json")), "{").unwrap();
    assert_eq!(reason(rolegate(home.path()), &["--profile", "work"]), NOT_LOGGED_IN);
}

#[test]
fn the_profile_to_log_in_to_is_the_one_that_has_the_session() {
    let admin = "[profile admin]\nrole_arn = arn:aws:iam::444455556666:role/admin\nsource_profile = work\n";
    let home = home(&format!("{admin}{WORK}{SESSION}"));
    assert_eq!(
        reason(rolegate(home.path()), &["--profile", "admin"]),
        "profile \"admin\": the SSO session of its source profile \"work\" has expired or was never started; run: aws sso \
         login --profile work"
    );
}

#[test]
fn a_profile_that_does_not_exist_is_named_with_the_files_that_lack_it() {
    let home = home(WORK);
    let message = reason(rolegate(home.path()), &["--profile", "wrok"]);
    assert_eq!(
        message,
        "profile \"wrok\" does not exist in ~/.aws/config or ~/.aws/credentials; list the profiles: aws configure list-profiles"
    );
    let config = home.path().join("elsewhere");
    fs::write(&config, "[profile other]\nregion = us-west-2\n").unwrap();
    let mut command = rolegate(home.path());
    command.env("AWS_CONFIG_FILE", &config).env("AWS_PROFILE", "wrok");
    let message = reason(command, &[]);
    assert!(
        message.contains(&format!(
            "profile \"wrok\" does not exist in {} or ~/.aws/credentials",
            config.display()
        )),
        "{message}"
    );
}

#[test]
fn without_any_credentials_the_ways_to_have_some_are_named() {
    let nothing = "no AWS credentials found; set AWS_PROFILE or --profile, or run: aws configure";
    assert_eq!(reason(rolegate(home("").path()), &[]), nothing);
    assert_eq!(
        reason(rolegate(home("[default]\nregion = us-west-2\n").path()), &[]),
        nothing
    );
    assert_eq!(
        reason(
            rolegate(home("[profile work]\nregion = us-west-2\n").path()),
            &["--profile", "work"]
        ),
        "profile \"work\": it contains no credentials; compare with: aws sts get-caller-identity --profile work"
    );
    // In a pod there is no profile.
    let mut in_a_pod = rolegate(home("").path());
    in_a_pod.env("KUBERNETES_SERVICE_HOST", "10.96.0.1");
    assert_eq!(
        reason(in_a_pod, &[]),
        "sts:GetCallerIdentity: rolegate has no AWS credentials; give its ServiceAccount a role"
    );
}

#[test]
fn a_pod_with_a_role_that_does_not_reach_sts_is_not_advised_to_give_it_one() {
    let home = home("");
    let token = home.path().join("token");
    fs::write(&token, "token").unwrap();
    let mut in_a_pod = rolegate(home.path());
    in_a_pod
        .env("KUBERNETES_SERVICE_HOST", "10.96.0.1")
        .env("AWS_ROLE_ARN", "arn:aws:iam::111122223333:role/rolegate")
        .env("AWS_WEB_IDENTITY_TOKEN_FILE", &token)
        .env("AWS_ENDPOINT_URL", "http://127.0.0.1:9");
    let message = reason(in_a_pod, &[]);
    assert!(
        message.starts_with("sts:GetCallerIdentity: rolegate did not get the credentials of its role: ")
            && message.contains("and that rolegate can reach AWS STS"),
        "{message}"
    );
}

#[test]
fn a_configuration_that_is_wrong_is_named() {
    for (config, expected) in [
        ("[profile work\n", &["configuration cannot be read", "config"][..]),
        (
            "[profile work]\nsso_session = company\nsso_account_id = 111122223333\nsso_role_name = Reader\n",
            &["profile \"work\"", "sso-session", "company"],
        ),
        (
            "[profile work]\nrole_arn = arn:aws:iam::111122223333:role/x\nsource_profile = base\n",
            &["profile \"work\"", "base"],
        ),
        (
            "[profile work]\nrole_arn = arn:aws:iam::111122223333:role/x\nsource_profile = b\n[profile b]\nrole_arn = \
             arn:aws:iam::111122223333:role/x\nsource_profile = work\n",
            &["profile \"work\"", "infinite loop"],
        ),
        (
            "[profile work]\ncredential_process = /bin/false\n",
            &[
                "profile \"work\"",
                "credential_process",
                "aws configure export-credentials --profile work --format env",
            ],
        ),
        (
            "[profile work]\nlogin_session = arn:aws:iam::111122223333:user/me\n",
            &[
                "profile \"work\"",
                "login_session",
                "aws configure export-credentials --profile work --format env",
            ],
        ),
    ] {
        let home = home(config);
        let message = reason(rolegate(home.path()), &["--profile", "work"]);
        for word in expected {
            assert!(message.contains(word), "no {word:?} in {message}");
        }
    }
}

#[test]
fn the_name_of_a_profile_is_data() {
    let name = "a;rm -rf ~\u{1b}[31m\n'\u{202e}";
    let home = home(WORK);
    for format in ["text", "json"] {
        let output = rolegate(home.path())
            .args([
                "check",
                "-o",
                format,
                "--namespace",
                "jobs",
                "--service-account",
                "loader",
            ])
            .args(["--issuer", ISSUER, "--role-arn", ROLE, "--profile", name])
            .output()
            .unwrap();
        let printed = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert!(printed.contains("does not exist"), "{printed}");
        assert!(
            !printed.contains(['\u{1b}', '\u{202e}']) && !printed.contains("m\n'"),
            "{printed:?}"
        );
    }
}

/// AWS SSO's portal, which answers every request like this until the test program ends; its URL.
fn portal(status: &'static str, body: String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let mut lines = BufReader::new(&stream).lines().map_while(Result::ok);
            let head: Vec<String> = lines.by_ref().take_while(|line| !line.is_empty()).collect();
            let is_expected = head.first().is_some_and(|line| {
                line.starts_with("GET /federation/credentials?")
                    && line.contains("role_name=Reader")
                    && line.contains("account_id=111122223333")
            }) && head
                .iter()
                .any(|line| line == "x-amz-sso_bearer_token: the-access-token");
            let (status, body) = if is_expected {
                (status, &*body)
            } else {
                ("400 Bad Request", "{}")
            };
            let error = match status.split_once(' ') {
                Some(("401", _)) => "x-amzn-errortype: UnauthorizedException\r\n",
                Some(("403", _)) => "x-amzn-errortype: ForbiddenException\r\n",
                _ => "",
            };
            let answer = format!(
                "HTTP/1.1 {status}\r\n{error}content-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            );
            let _ = (&stream).write_all(answer.as_bytes());
        }
    });
    format!("http://{address}")
}

#[test]
fn a_session_gives_credentials() {
    let Some(aws) = Aws::start("credentials of AWS SSO") else {
        return;
    };
    let role = aws.create_role("/", "loader", "loader");
    let credentials = json!({"roleCredentials": {
        "accessKeyId": aws.own.key, "secretAccessKey": aws.own.secret, "sessionToken": aws.own.token,
        "expiration": 4_102_444_800_000_u64,
    }});
    let portal = portal("200 OK", credentials.to_string());
    let home = home(&format!("{WORK}{OLD}{SESSION}"));
    login(home.path(), SESSION_HASH, "2100-01-01T00:00:00Z");
    login(home.path(), START_URL_HASH, "2100-01-01T00:00:00Z");
    for profile in ["work", "old"] {
        let mut command = aws.rolegate();
        command
            .env("HOME", home.path())
            .env_remove("AWS_CONFIG_FILE")
            // The command line takes precedence.
            .env("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE")
            .env("AWS_PROFILE", "nonexistent")
            .env("AWS_ENDPOINT_URL_SSO", &portal);
        let (code, report) = finish_check(command, &role, &["--profile", profile]);
        assert_eq!((code, report["verdict"].as_str()), (0, Some("trusted")), "{report}");
    }
}

#[test]
fn the_portal_may_refuse_a_session_or_an_account() {
    let home = home(&format!("{WORK}{OLD}{SESSION}"));
    login(home.path(), SESSION_HASH, "2100-01-01T00:00:00Z");
    login(home.path(), START_URL_HASH, "2100-01-01T00:00:00Z");
    let refused = |profile: &str, status, message: &str| {
        let mut command = rolegate(home.path());
        command.env(
            "AWS_ENDPOINT_URL_SSO",
            portal(status, json!({"message": message}).to_string()),
        );
        reason(command, &["--profile", profile])
    };
    // The token is cached but has been revoked.
    let unauthorized = "401 Unauthorized";
    assert_eq!(
        refused("work", unauthorized, "Session token not found or invalid"),
        NOT_LOGGED_IN
    );
    let old = NOT_LOGGED_IN.replace("work", "old");
    assert_eq!(refused("old", unauthorized, "Session token not found or invalid"), old);
    let message = refused("work", "403 Forbidden", "No access");
    for word in ["profile \"work\"", "not assigned", "sso_account_id", "No access"] {
        assert!(message.contains(word), "{message}");
    }
}

#[test]
fn a_portal_that_cannot_be_reached_is_not_taken_for_a_session_that_ended() {
    let home = home(&format!("{WORK}{SESSION}"));
    login(home.path(), SESSION_HASH, "2100-01-01T00:00:00Z");
    let message = reason(rolegate(home.path()), &["--profile", "work"]);
    assert!(
        message.contains("profile \"work\"") && message.contains("aws sts get-caller-identity --profile work"),
        "{message}"
    );
    assert!(!message.contains("expired"), "{message}");
}

#[test]
fn an_audit_without_credentials_reports_it_once() {
    let home = home("");
    let account = |name: &str| {
        format!(
            "---\napiVersion: v1\nkind: ServiceAccount\nmetadata:\n  name: {name}\n  namespace: jobs\n  annotations:\n    \
             eks.amazonaws.com/role-arn: arn:aws:iam::111122223333:role/{name}\n"
        )
    };
    let directory = |accounts: usize| {
        let manifests = tempfile::tempdir().unwrap();
        let accounts: String = (0..accounts).map(|number| account(&format!("job-{number}"))).collect();
        fs::write(manifests.path().join("accounts.yaml"), accounts).unwrap();
        manifests
    };
    let (some, many) = (directory(40), directory(400));
    let audit = |manifests: &tempfile::TempDir, more: &[&str]| {
        let output = rolegate(home.path())
            .args(["audit", "--issuer", ISSUER, "--standalone"])
            .arg(manifests.path())
            .args(more)
            .output()
            .unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    let expected = "error: no AWS credentials found; set AWS_PROFILE or --profile, or run: aws configure\n";
    let timed = |manifests: &tempfile::TempDir, output: &str| {
        let begun = Instant::now();
        let (code, out, error) = audit(manifests, &["--role-source", "iam", "-o", output]);
        assert_eq!((code, &*error), (Some(2), expected));
        assert_eq!(out.contains("no AWS credentials found"), output == "json", "{out}");
        begun.elapsed()
    };
    // Reads of roles are paced, at 5 per second: one by one, 400 would take 80 s.
    for (manifests, output) in [(&some, "text"), (&many, "json")] {
        let took = timed(manifests, output);
        assert!(took < Duration::from_secs(40), "{took:?}");
    }

    // What another source knows is reported.
    let roles = tempfile::tempdir().unwrap();
    fs::create_dir(roles.path().join("111122223333")).unwrap();
    fs::write(
        roles.path().join("111122223333/job-7.json"),
        trusting("111122223333", "job-7").to_string(),
    )
    .unwrap();
    let files = format!("files={}", roles.path().display());
    let (code, out, _) = audit(&some, &["--role-source", &files, "--role-source", "iam", "-o", "json"]);
    let report: Value = serde_json::from_str(&out).unwrap();
    let summary = &report["summary"];
    assert_eq!(
        (code, &summary["trusted"], &summary["unclear"]),
        (Some(2), &json!(1), &json!(39))
    );
}

/// STS, which accepts no credentials until the test program ends: its URL, and the number of requests.
fn sts(code: &'static str) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let requests = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&requests);
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let lines = BufReader::new(&stream).lines().map_while(Result::ok);
            let head: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
            if head.is_empty() {
                continue;
            }
            counted.fetch_add(1, Ordering::SeqCst);
            let body = format!(
                "<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>no</Message></Error></ErrorResponse>"
            );
            let answer = format!(
                "HTTP/1.1 403 Forbidden\r\ncontent-type: text/xml\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            );
            let _ = (&stream).write_all(answer.as_bytes());
        }
    });
    (format!("http://{address}"), requests)
}

#[test]
fn credentials_that_aws_does_not_accept_are_used_once() {
    let manifests = tempfile::tempdir().unwrap();
    let account = |number: usize| {
        format!(
            "---\napiVersion: v1\nkind: ServiceAccount\nmetadata:\n  name: job-{number}\n  annotations:\n    \
             eks.amazonaws.com/role-arn: arn:aws:iam::111122223333:role/job-{number}\n"
        )
    };
    let accounts: String = (0..100).map(account).collect();
    fs::write(manifests.path().join("accounts.yaml"), accounts).unwrap();
    for (code, words) in [
        ("ExpiredToken", "have expired (ExpiredToken); renew them"),
        ("InvalidClientTokenId", "does not know the credentials in use"),
    ] {
        let (url, requests) = sts(code);
        let home = home("");
        let output = rolegate(home.path())
            .args(["audit", "--role-source", "iam", "--issuer", ISSUER, "--standalone"])
            .arg(manifests.path())
            .env("AWS_ENDPOINT_URL", url)
            .env("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE")
            .env("AWS_SECRET_ACCESS_KEY", "example")
            .output()
            .unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), &*output.stdout), (Some(2), &b""[..]), "{error}");
        assert!(error.contains(words) && error.lines().count() == 1, "{error}");
        assert_eq!(requests.load(Ordering::SeqCst), 1, "{code}");
    }
}
