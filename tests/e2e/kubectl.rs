//! kubectl and helm as users type them, and their output.

use std::cell::RefCell;
use std::fmt;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;

use serde_json::Value;

use crate::process::RunGuard;

/// kubectl with the administrator's kubeconfig.
#[derive(Clone, Debug)]
pub(crate) struct Kubectl {
    pub(crate) run: Arc<RunGuard>,
    pub(crate) program: PathBuf,
    pub(crate) kubeconfig: PathBuf,
}

impl Kubectl {
    pub(crate) fn run(&self, args: &[&str]) -> CommandOutput {
        self.run_with_input(args, "")
    }

    /// With something on standard input, for `-f -`.
    pub(crate) fn run_with_input(&self, args: &[&str], input: &str) -> CommandOutput {
        let mut command = self.run.command(&self.program);
        command.env("KUBECONFIG", &self.kubeconfig).args(args);
        run_command("kubectl", command, args, input)
    }

    /// `kubectl apply -f -` of YAML or JSON, one document or many.
    pub(crate) fn apply(&self, manifests: &str) -> CommandOutput {
        self.run_with_input(&["apply", "-f", "-"], manifests)
    }

    /// What `kubectl … -o json` prints.
    #[track_caller]
    pub(crate) fn json(&self, args: &[&str]) -> Value {
        self.run(&[args, &["-o", "json"]].concat()).json()
    }
}

/// The output of a command, and how it ended.
#[derive(Clone, Debug)]
pub(crate) struct CommandOutput {
    pub(crate) command: String,
    /// None when a signal ended it.
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl CommandOutput {
    pub(crate) fn succeeded(&self) -> bool {
        self.code == Some(0)
    }

    /// What it printed; a failure of the test when it failed.
    #[track_caller]
    pub(crate) fn ok(self) -> String {
        assert!(self.succeeded(), "it failed:\n{self}");
        self.stdout
    }

    /// What it printed to standard error; a failure of the test when it succeeded.
    #[track_caller]
    pub(crate) fn refused(self) -> String {
        assert!(!self.succeeded(), "it should have failed:\n{self}");
        self.stderr
    }

    #[track_caller]
    pub(crate) fn json(self) -> Value {
        let text = self.ok();
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("this is not JSON ({error}):\n{text}"))
    }

    /// The lines `Warning: …`, without that word.
    pub(crate) fn warnings(&self) -> Vec<&str> {
        self.stderr
            .lines()
            .filter_map(|line| line.strip_prefix("Warning: "))
            .collect()
    }
}

impl fmt::Display for CommandOutput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            command,
            code,
            stdout,
            stderr,
        } = self;
        write!(f, "$ {command}")?;
        for text in [stdout, stderr].map(|text| text.trim_end()) {
            if !text.is_empty() {
                write!(f, "\n{}", shortened(text))?;
            }
        }
        if *code != Some(0) {
            write!(f, "\n(exit code {code:?})")?;
        }
        Ok(())
    }
}

/// Shortens output, because a whole pod as JSON does not help the reader of a failure.
fn shortened(text: &str) -> String {
    const SHOWN: usize = 3000;
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{} … ({} bytes)", &text[..end], text.len()),
        None => text.to_owned(),
    }
}

thread_local! {
    static TRANSCRIPT: RefCell<Vec<CommandOutput>> = const { RefCell::new(Vec::new()) };
}

/// What was typed on this thread since the last call.
pub(crate) fn take_transcript() -> Vec<CommandOutput> {
    TRANSCRIPT.take()
}

/// Runs a command to its end.
pub(crate) fn run_command(shown_as: &str, mut command: Command, args: &[&str], input: &str) -> CommandOutput {
    if !input.is_empty() {
        command.stdin(Stdio::piped());
    }
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{shown_as} cannot be started: {error}"));
    if let Some(mut stdin) = child.stdin.take() {
        // A command that ends without reading says itself what was wrong.
        let _ = stdin.write_all(input.as_bytes());
    }
    let ended = child.wait_with_output().unwrap();
    let output = CommandOutput {
        command: format!("{shown_as} {}", args.join(" ")),
        code: ended.status.code(),
        stdout: String::from_utf8_lossy(&ended.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&ended.stderr).into_owned(),
    };
    TRANSCRIPT.with_borrow_mut(|transcript| {
        // For a command that is repeated until a condition holds, the last answer is enough.
        let repeats = |last: &CommandOutput| last.command == output.command;
        if transcript.last().is_some_and(repeats) {
            transcript.pop();
        }
        transcript.push(output.clone());
    });
    output
}
