//! Processes that never outlive the tests, whatever ends them.
//!
//! All belong to one process group. A watchdog, a shell that reads from a pipe, kills that group and removes the folder when
//! the pipe closes: at the end of a good run, and just the same when the test process is killed and the system closes it.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::Mutex;

use crate::wait::until;

/// Kills the group $1 and removes the folder $2 once its standard input ends. A folder may be written to until the last
/// process is gone, so removing it is tried again.
const WATCHDOG: &str = r#"
    cat >/dev/null
    kill -KILL "-$1" 2>/dev/null
    for _ in 1 2 3 4 5 6 7 8 9 10; do
        rm -rf -- "$2" 2>/dev/null
        [ -e "$2" ] || exit 0
        sleep 0.1
    done
"#;

/// The folder and the process group of a run.
#[derive(Debug)]
pub(crate) struct RunGuard {
    folder: PathBuf,
    /// A process that only keeps the process group's ID in use.
    anchor: Mutex<Child>,
    group: i32,
    watchdog: Mutex<Option<(Child, ChildStdin)>>,
}

impl RunGuard {
    pub(crate) fn start() -> Self {
        let folder = tempfile::Builder::new()
            .prefix("rolegate-cluster-")
            .tempdir()
            .unwrap()
            .keep();
        for inner in ["home", "logs"] {
            fs::create_dir(folder.join(inner)).unwrap();
        }
        let anchor = Command::new("sleep")
            .arg("2147483647")
            .stdin(Stdio::null())
            .process_group(0)
            .spawn()
            .unwrap();
        let group = i32::try_from(anchor.id()).unwrap();
        let mut watchdog = Command::new("sh")
            .args(["-c", WATCHDOG, "watchdog", &group.to_string()])
            .arg(&folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .unwrap();
        let pipe = watchdog.stdin.take().unwrap();
        Self {
            folder,
            anchor: Mutex::new(anchor),
            group,
            watchdog: Mutex::new(Some((watchdog, pipe))),
        }
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// A command of this run: in its group, in its folder, with nothing of the user's environment but the path.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.folder.join("home"))
            .current_dir(&self.folder)
            .stdin(Stdio::null())
            .process_group(self.group);
        command
    }

    /// Starts a command that runs until it is stopped; its output goes to `logs/NAME.log` (standard error) and
    /// `logs/NAME.out`.
    pub(crate) fn start_process(&self, name: &str, command: Command) -> Process {
        self.start_logging_process(name, command, Log::File)
    }

    /// The same, with a choice of what standard error is.
    pub(crate) fn start_logging_process(&self, name: &str, mut command: Command, log_to: Log) -> Process {
        let open = |ending: &str| {
            let path = self.folder.join("logs").join(format!("{name}.{ending}"));
            let file = File::options().create(true).append(true).open(&path).unwrap();
            (path, file)
        };
        let ((log, stderr), (output, stdout)) = (open("log"), open("out"));
        let (stderr, reader) = match log_to {
            Log::File => (Stdio::from(stderr), None),
            Log::Pipe => {
                let mut copy = self.command("cat");
                let mut reader = copy.stdin(Stdio::piped()).stdout(stderr).spawn().unwrap();
                (Stdio::from(reader.stdin.take().unwrap()), Some(reader))
            }
        };
        let child = command
            .stdout(stdout)
            .stderr(stderr)
            .spawn()
            .unwrap_or_else(|error| panic!("{name} cannot be started: {error}"));
        Process {
            name: name.to_owned(),
            pid: child.id(),
            child: Mutex::new(child),
            reader,
            log,
            output,
        }
    }

    /// Kills what runs and removes the folder.
    pub(crate) fn end(&self) {
        let Some((mut watchdog, pipe)) = self.watchdog.lock().unwrap().take() else {
            return;
        };
        drop(pipe);
        let _ = watchdog.wait();
        let _ = self.anchor.lock().unwrap().wait();
    }
}

impl Drop for RunGuard {
    fn drop(&mut self) {
        self.end();
    }
}

/// What standard error of a process is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Log {
    #[default]
    File,
    /// A pipe, as with a container runtime, whose reader can be stopped.
    Pipe,
}

/// A signal by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signal {
    Terminate,
    Kill,
    Stop,
    Continue,
    HangUp,
    User1,
}

fn send(name: &str, pid: u32, signal: Signal) {
    let signal = match signal {
        Signal::Terminate => "TERM",
        Signal::Kill => "KILL",
        Signal::Stop => "STOP",
        Signal::Continue => "CONT",
        Signal::HangUp => "HUP",
        Signal::User1 => "USR1",
    };
    // The shell's own `kill`: a bare machine may have no other.
    let sent = Command::new("sh")
        .args(["-c", "kill -\"$1\" \"$2\"", "kill", signal, &pid.to_string()])
        .stderr(Stdio::null())
        .status();
    assert!(sent.is_ok(), "{name} cannot be signalled: {sent:?}");
}

/// A process that was started; dropping it kills it.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) name: String,
    pub(crate) pid: u32,
    child: Mutex<Child>,
    /// Copies standard error to the log, with [`Log::Pipe`].
    reader: Option<Child>,
    log: PathBuf,
    output: PathBuf,
}

impl Process {
    pub(crate) fn signal(&self, signal: Signal) {
        if self.exit_status().is_some() {
            return;
        }
        send(&self.name, self.pid, signal);
    }

    /// Signals the reader of its log, which must be a pipe.
    #[track_caller]
    pub(crate) fn signal_reader(&self, signal: Signal) {
        let reader = self.reader.as_ref().expect("the log is not a pipe");
        send(&format!("the reader of {}", self.name), reader.id(), signal);
    }

    /// None while it runs.
    pub(crate) fn exit_status(&self) -> Option<ExitStatus> {
        self.child.lock().unwrap().try_wait().unwrap()
    }

    pub(crate) fn is_running(&self) -> bool {
        self.exit_status().is_none()
    }

    /// Waits until it has ended by itself or by a signal sent before.
    #[track_caller]
    pub(crate) fn wait(&self) -> ExitStatus {
        until(&format!("the end of {}", self.name), || self.exit_status())
    }

    /// Everything on its standard error so far.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Everything on its standard output so far.
    pub(crate) fn output(&self) -> String {
        fs::read_to_string(&self.output).unwrap_or_default()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let mut child = self.child.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let _ = child.kill();
        let _ = child.wait();
        if let Some(reader) = &mut self.reader {
            let _ = reader.kill();
            let _ = reader.wait();
        }
    }
}
