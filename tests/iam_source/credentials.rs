//! Where rolegate's own credentials come from: what EKS gives its pods.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::process::Command;
use std::thread;

use serde_json::json;

use super::{Aws, finish_check};

/// The program without credentials of its own.
fn without_keys(aws: &Aws) -> Command {
    let mut command = aws.rolegate();
    for name in ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"] {
        command.env_remove(name);
    }
    command
}

#[test]
fn its_role_may_be_assumed_with_a_web_identity_token() {
    let Some(aws) = Aws::start("rolegate's own role by a web identity token") else {
        return;
    };
    let role = aws.create_role("/", "loader", "loader");
    aws.create_role("/", "rolegate", "rolegate");
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    fs::write(&token, "e30.e30.e30").unwrap();
    let mut command = without_keys(&aws);
    command
        .env("AWS_ROLE_ARN", "arn:aws:iam::111122223333:role/rolegate")
        .env("AWS_WEB_IDENTITY_TOKEN_FILE", &token);

    let (code, report) = finish_check(command, &role, &[]);

    assert_eq!((code, report["verdict"].as_str()), (0, Some("trusted")), "{report}");
    let calls = aws.proxy.calls();
    assert!(
        calls.iter().any(|call| call.ends_with(":AssumeRoleWithWebIdentity")),
        "{calls:?}"
    );
}

#[test]
fn they_may_come_from_the_agent_of_eks_pod_identity() {
    let Some(aws) = Aws::start("rolegate's own role by EKS Pod Identity") else {
        return;
    };
    let role = aws.create_role("/", "loader", "loader");
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    fs::write(&token, "the-pods-token").unwrap();
    let agent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = agent.local_addr().unwrap();
    let credentials = json!({
        "AccessKeyId": aws.own.key, "SecretAccessKey": aws.own.secret, "Token": aws.own.token,
        "Expiration": "2100-01-01T00:00:00Z", "AccountId": "111122223333",
    })
    .to_string();
    // Ends with the test program.
    thread::spawn(move || {
        for stream in agent.incoming().map_while(Result::ok) {
            let mut lines = BufReader::new(&stream).lines().map_while(Result::ok);
            let head: Vec<String> = lines.by_ref().take_while(|line| !line.is_empty()).collect();
            let has_token = head
                .iter()
                .any(|line| line.eq_ignore_ascii_case("authorization: the-pods-token"));
            let (status, body) = if has_token {
                ("200 OK", &*credentials)
            } else {
                ("401 Unauthorized", "{}")
            };
            let answer = format!(
                "HTTP/1.1 {status}\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            );
            let _ = (&stream).write_all(answer.as_bytes());
        }
    });
    let mut command = without_keys(&aws);
    command
        .env(
            "AWS_CONTAINER_CREDENTIALS_FULL_URI",
            format!("http://{address}/v1/credentials"),
        )
        .env("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", &token);

    let (code, report) = finish_check(command, &role, &[]);

    assert_eq!((code, report["verdict"].as_str()), (0, Some("trusted")), "{report}");
}
