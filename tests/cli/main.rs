//! The commands as users type them: their output and exit codes for given arguments and variables.

mod audit;
mod batch;
mod certs;
mod check;
mod ci;
mod cluster;
#[path = "../support/commands.rs"]
mod commands_of_the_program;
mod demo;
mod explain;
mod inject;
mod reports;
mod schema;
mod terraform;
mod trust_policy;
mod usage;

use std::io::Write as _;
use std::process::{Command, Stdio};

const ISSUER: &str = "oidc.eks.us-west-2.amazonaws.com/id/EXAMPLED539D4633E53DE1B71EXAMPLE";
const ROLE: &str = "arn:aws:iam::111122223333:role/job";

/// The outcome of a command.
struct Ran {
    code: i32,
    out: String,
    err: String,
}

/// `rolegate` with these arguments and a clean environment.
fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rolegate"));
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("ROLEGATE_")
            || name.to_string_lossy().starts_with("AWS_")
            || name.to_string_lossy().to_uppercase().ends_with("_PROXY")
            || name == "CLICOLOR_FORCE"
        {
            command.env_remove(name);
        }
    }
    // No test reaches AWS: nothing listens there.
    command
        .env("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
        .env("AWS_EC2_METADATA_DISABLED", "true");
    command
}

fn rolegate(arguments: &[&str]) -> Ran {
    finish(command(arguments), "")
}

fn rolegate_with_input(arguments: &[&str], input: &str) -> Ran {
    finish(command(arguments), input)
}

fn rolegate_with_variables(arguments: &[&str], variables: &[(&str, &str)]) -> Ran {
    let mut command = command(arguments);
    command.envs(variables.iter().copied());
    finish(command, "")
}

fn finish(mut command: Command, input: &str) -> Ran {
    let mut child = command.stdin(Stdio::piped()).spawn().expect("the program starts");
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_owned();
    // In a separate thread, because a full pipe would block both processes. A command that does not read closes the pipe.
    let writer = std::thread::spawn(move || drop(stdin.write_all(input.as_bytes())));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    Ran {
        code: output.status.code().expect("an exit code, not a signal"),
        out: String::from_utf8(output.stdout).expect("UTF-8"),
        err: String::from_utf8(output.stderr).expect("UTF-8"),
    }
}

/// The correct policy for `jobs/default`.
fn correct_policy() -> String {
    policy("StringEquals", "system:serviceaccount:jobs:default")
}

fn policy(operator: &str, subject: &str) -> String {
    format!(
        r#"{{"Version":"2012-10-17","Statement":{{"Effect":"Allow","Principal":{{"Federated":"arn:aws:iam::111122223333:oidc-provider/{ISSUER}"}},"Action":"sts:AssumeRoleWithWebIdentity","Condition":{{"{operator}":{{"{ISSUER}:sub":"{subject}","{ISSUER}:aud":"sts.amazonaws.com"}}}}}}}}"#
    )
}
