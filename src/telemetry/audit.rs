//! The audit log: one JSON line per response.
//!
//! An admission never waits for it. Lines go through a bounded queue to a thread that writes them in batches. If the disk is full or too
//! slow, whole lines are dropped, and this is counted and logged. `docs/reference/audit-log.md` documents the fields.

use std::fmt::{self, Display};
use std::fs::{self, File, FileType, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use jiff::Timestamp;
use prometheus_client::metrics::counter::Counter;
use serde::{Serialize, Serializer};
use tracing::{info, warn};

use super::line_writer::{Finished, LineQueue, LineSink, WholeLines, Writing, Written, count_lines, unbuffered};
use crate::decision::{Action, Mode};
use crate::support::files;
use crate::support::platform::{self, FileKind};
use crate::support::state_log::StateLog;
use crate::support::text;
use crate::trust::{Cause, Verdict};

/// The queue holds about 8,000 lines.
const WRITING: Writing = Writing {
    thread: "audit-log",
    capacity: 4 * 1024 * 1024,
    gather: Duration::from_millis(20),
};

/// A line of the audit log. Every field is always present; a value that is not known or does not apply is `null`.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AuditRecord<'a> {
    /// When the review was answered, UTC.
    #[serde(serialize_with = "word")]
    pub time: Timestamp,
    /// The uid of the admission request; none for a request that is not a valid AdmissionReview.
    #[serde(serialize_with = "value")]
    pub uid: Option<&'a str>,
    /// The pod's namespace.
    #[serde(serialize_with = "value")]
    pub namespace: Option<&'a str>,
    /// The pod's name; its `generateName` where it has no name yet.
    #[serde(serialize_with = "value")]
    pub pod: Option<&'a str>,
    /// The name of its ServiceAccount.
    #[serde(serialize_with = "value")]
    pub service_account: Option<&'a str>,
    /// The ARN of the role.
    pub role: Option<&'a str>,
    /// The audience of the token.
    #[serde(serialize_with = "value")]
    pub audience: Option<&'a str>,
    /// The verdict.
    #[serde(serialize_with = "optional_word")]
    pub verdict: Option<Verdict>,
    /// Its cause.
    #[serde(serialize_with = "optional_word")]
    pub cause: Option<Cause>,
    /// The mode.
    #[serde(serialize_with = "optional_word")]
    pub mode: Option<Mode>,
    /// What was done.
    #[serde(serialize_with = "action_word")]
    pub action: Action,
    /// The age of the trust policy, in seconds.
    #[serde(serialize_with = "seconds")]
    pub policy_age_seconds: Option<Duration>,
    /// The time from the request headers to the response, in seconds.
    #[serde(serialize_with = "latency")]
    pub latency_seconds: Duration,
    /// Whether the request was a dry run.
    pub dry_run: bool,
    /// The containers that do not, or might not, use their identity.
    #[serde(serialize_with = "names")]
    pub identity_not_used: &'a [String],
}

/// `--audit-log`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuditTarget {
    /// `-` or `/dev/stdout`: standard output. In a container it is a pipe, which cannot be opened as a file.
    Stdout,
    /// A file, which lines are appended to. After it is moved or removed, the next line creates it again.
    File(PathBuf),
}

impl FromStr for AuditTarget {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "" => Err("expected a file name, or - for standard output".to_owned()),
            "-" | "/dev/stdout" => Ok(Self::Stdout),
            file => Ok(Self::File(file.into())),
        }
    }
}

/// `--audit-log-rotate`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rotation {
    /// One file.
    #[default]
    Never,
    /// A file per hour (UTC), `NAME.2026-11-22T13`; the operator removes old ones.
    Hourly,
}

impl Rotation {
    /// The value of the flag.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Never => "never",
            Self::Hourly => "hourly",
        }
    }
}

impl FromStr for Rotation {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "never" => Ok(Self::Never),
            "hourly" => Ok(Self::Hourly),
            _ => Err("expected never or hourly".to_owned()),
        }
    }
}

/// Where admissions record responses. It must be finished, otherwise the last lines might be lost.
#[derive(Clone, Debug)]
pub struct AuditLog(LineQueue);

impl AuditLog {
    /// Opens the log; `dropped` counts lost lines.
    ///
    /// # Errors
    /// The file cannot be opened for appending, or is not a regular file or a character device, or no thread can be started.
    pub fn open(target: AuditTarget, rotation: Rotation, dropped: Counter) -> io::Result<Self> {
        let sink = AuditSink {
            output: Output::open(target, rotation)?,
            losses: LossLog::default(),
        };
        LineQueue::start(WRITING, sink, dropped).map(Self)
    }

    /// Queues a line; never waits.
    pub fn record(&self, record: &AuditRecord<'_>) {
        let Ok(json) = serde_json::to_string(record) else {
            self.0.count_lost();
            return;
        };
        let mut line = text::json::escape(&json).into_owned();
        line.push('\n');
        self.0.push(line.as_bytes());
    }

    /// Writes what is queued and ends. Blocks for at most `patience`, so it must be called after the servers have ended.
    pub fn finish(&self, patience: Duration) {
        if self.0.finish(patience) == Finished::Blocked {
            warn!("the audit log could not be written in time; its last lines are lost");
        }
    }
}

struct AuditSink {
    output: Output,
    losses: LossLog,
}

impl LineSink for AuditSink {
    fn write(&mut self, lines: &[u8]) -> Written {
        self.output.write(lines, Timestamp::now())
    }

    fn report(&mut self, written: io::Result<()>, dropped: u64) {
        self.losses.observe(written, dropped);
    }

    fn close(&mut self) -> u64 {
        self.output.close()
    }
}

/// Logs when lines begin to be lost, and when all lines are written again.
#[derive(Debug, Default)]
struct LossLog {
    dropped: u64,
    log: StateLog,
}

impl LossLog {
    fn observe(&mut self, written: io::Result<()>, dropped: u64) {
        let is_losing = dropped > std::mem::replace(&mut self.dropped, dropped);
        match written {
            Err(error) => {
                if self.log.failed() {
                    warn!(%error, "failed to write the audit log; its lines are lost");
                }
            }
            Ok(()) if is_losing => {
                if self.log.failed() {
                    warn!("the audit log cannot keep up; lines are lost");
                }
            }
            Ok(()) => {
                if self.log.recovered().is_some() {
                    info!(
                        dropped,
                        "the audit log is written again; `dropped` lines were lost in total"
                    );
                }
            }
        }
    }
}

/// Where lines go.
#[derive(Debug)]
enum Output {
    Stdout(WholeLines<File>),
    File {
        path: PathBuf,
        rotation: Rotation,
        open: Option<OpenFile>,
    },
}

impl Output {
    fn open(target: AuditTarget, rotation: Rotation) -> io::Result<Self> {
        match target {
            AuditTarget::Stdout => Ok(Self::Stdout(unbuffered(&io::stdout())?)),
            AuditTarget::File(path) => {
                let open = Some(OpenFile::append(file_name(&path, rotation, Timestamp::now()))?);
                Ok(Self::File { path, rotation, open })
            }
        }
    }

    fn write(&mut self, lines: &[u8], now: Timestamp) -> Written {
        let (path, rotation, open) = match self {
            Self::Stdout(stdout) => return stdout.write(lines),
            Self::File { path, rotation, open } => (path, *rotation, open),
        };
        let name = file_name(path, rotation, now);
        let mut lost = 0;
        if let Some(mut other) = open.take_if(|current| !current.is_still(&name)) {
            lost += other.close();
        }
        let current = match open.take().map_or_else(|| OpenFile::append(name), Ok) {
            Ok(current) => open.insert(current),
            Err(error) => {
                return Written {
                    lost: lost + count_lines(lines),
                    result: Err(error),
                };
            }
        };
        let written = current.write(lines);
        if written.result.is_err() && !current.lines.is_torn() {
            // The next batch opens it again.
            *open = None;
        }
        Written {
            lost: lost + written.lost,
            ..written
        }
    }

    fn close(&mut self) -> u64 {
        match self {
            Self::Stdout(stdout) => stdout.close(),
            Self::File { open, .. } => open.as_mut().map_or(0, OpenFile::close),
        }
    }
}

/// A file that lines are appended to.
#[derive(Debug)]
struct OpenFile {
    name: PathBuf,
    lines: WholeLines<File>,
    /// Whether it ends with a part of a line that another writer left, such as a process that was killed.
    ends_in_line: bool,
    /// The length of the file after its last line was written in part.
    torn_at: Option<u64>,
}

impl OpenFile {
    fn append(name: PathBuf) -> io::Result<Self> {
        match Self::open(&name) {
            Ok((file, ends_in_line)) => Ok(Self {
                name,
                lines: WholeLines::new(file),
                ends_in_line,
                torn_at: None,
            }),
            Err(error) => {
                let why = match error.kind() {
                    // The file itself is created.
                    io::ErrorKind::NotFound => "no such directory".to_owned(),
                    _ => files::why(&error),
                };
                Err(io::Error::new(error.kind(), format!("{}: {why}", name.display())))
            }
        }
    }

    fn open(name: &Path) -> io::Result<(File, bool)> {
        if let Ok(found) = fs::metadata(name) {
            require_writable_type(found.file_type())?;
        }
        // A named pipe that takes the place of the file must not block the start. For files, it has no effect.
        let file = platform::non_blocking(OpenOptions::new().create(true).append(true)).open(name)?;
        let metadata = file.metadata()?;
        require_writable_type(metadata.file_type())?;
        let ends_in_line = metadata.is_file() && last_byte(name, metadata.len()).is_some_and(|byte| byte != b'\n');
        Ok((file, ends_in_line))
    }

    fn write(&mut self, lines: &[u8]) -> Written {
        if self.ends_in_line
            && let Err(error) = self.lines.write(b"\n").result
        {
            return Written {
                lost: count_lines(lines),
                result: Err(error),
            };
        }
        self.ends_in_line = false;
        let written = self.lines.write(lines);
        self.torn_at = self.lines.is_torn().then(|| self.length()).flatten();
        written
    }

    /// Whether the name still refers to this file, because log rotation moves files away, and a line that was written in part can be
    /// completed.
    fn is_still(&self, name: &Path) -> bool {
        self.name == name
            && self.can_continue()
            && match (fs::metadata(name), self.lines.get().metadata()) {
                (Ok(there), Ok(here)) => platform::file_id(&there) == platform::file_id(&here),
                _ => false,
            }
    }

    /// Whether the file still ends where the last line was written in part: it might have been truncated, or another writer might have
    /// appended to it.
    fn can_continue(&self) -> bool {
        !self.lines.is_torn() || self.torn_at == self.length()
    }

    /// Completes a line that was written in part, where possible. Returns the number of lines that are lost.
    fn close(&mut self) -> u64 {
        if self.can_continue() { self.lines.close() } else { 1 }
    }

    fn length(&self) -> Option<u64> {
        self.lines.get().metadata().ok().map(|metadata| metadata.len())
    }
}

fn require_writable_type(file: FileType) -> io::Result<()> {
    let found = match platform::kind(file) {
        FileKind::Regular | FileKind::CharacterDevice => return Ok(()),
        FileKind::Directory => "a directory",
        FileKind::Fifo => "a named pipe",
        FileKind::Socket => "a socket",
        FileKind::BlockDevice => "a block device",
        FileKind::Other => "another kind of file",
    };
    Err(io::Error::new(
        io::ErrorKind::InvalidInput,
        format!(
            "this is {found}; set --audit-log to a regular file, to a character device, or to - for standard output"
        ),
    ))
}

/// The last byte of a file of this length; none if it is empty or cannot be read.
fn last_byte(name: &Path, length: u64) -> Option<u8> {
    let at = length.checked_sub(1)?;
    let mut byte = [0];
    let mut file = File::open(name).ok()?;
    file.seek(SeekFrom::Start(at)).ok()?;
    file.read_exact(&mut byte).ok()?;
    let [byte] = byte;
    Some(byte)
}

fn file_name(path: &Path, rotation: Rotation, now: Timestamp) -> PathBuf {
    match rotation {
        Rotation::Never => path.to_owned(),
        Rotation::Hourly => {
            let mut name = path.as_os_str().to_owned();
            name.push(now.strftime(".%Y-%m-%dT%H").to_string());
            name.into()
        }
    }
}

fn word<T: Display, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

/// A value of a user, shortened: a pod can have an audience of a megabyte.
fn value<S: Serializer>(value: &Option<&str>, serializer: S) -> Result<S::Ok, S::Error> {
    value
        .map(|value| text::shorten(value, text::MAX_VALUE_CHARS))
        .serialize(serializer)
}

fn names<S: Serializer>(names: &[String], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(names.iter().map(|name| text::shorten(name, text::MAX_VALUE_CHARS)))
}

fn optional_word<T: Display, S: Serializer>(value: &Option<T>, serializer: S) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => serializer.collect_str(value),
        None => serializer.serialize_none(),
    }
}

fn action_word<S: Serializer>(action: &Action, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(action.as_str())
}

fn seconds<S: Serializer>(duration: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    match duration {
        Some(duration) => latency(duration, serializer),
        None => serializer.serialize_none(),
    }
}

fn latency<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(duration.as_secs_f64())
}

impl fmt::Display for Rotation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    fn record(pod: &str) -> AuditRecord<'_> {
        AuditRecord {
            time: Timestamp::UNIX_EPOCH,
            uid: Some("u"),
            namespace: Some("jobs"),
            pod: Some(pod),
            service_account: None,
            role: None,
            audience: None,
            verdict: Some(Verdict::Unknown),
            cause: None,
            mode: Some(Mode::Warn),
            action: Action::Inject,
            policy_age_seconds: Some(Duration::from_millis(1500)),
            latency_seconds: Duration::from_micros(250),
            dry_run: false,
            identity_not_used: &[],
        }
    }

    #[test]
    fn what_is_queued_at_the_end_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.log");
        let dropped = Counter::default();
        let log = AuditLog::open(AuditTarget::File(path.clone()), Rotation::Never, dropped.clone()).unwrap();
        for _ in 0..1000 {
            log.record(&record("a\"b\nc"));
        }
        log.finish(PATIENCE);
        let text = std::fs::read_to_string(path).unwrap();
        assert_eq!((text.lines().count(), dropped.get()), (1000, 0));
        insta::assert_snapshot!(
            text.lines().next().unwrap(),
            @r#"{"time":"1970-01-01T00:00:00Z","uid":"u","namespace":"jobs","pod":"a\"b\nc","serviceAccount":null,"role":null,"audience":null,"verdict":"unknown","cause":null,"mode":"warn","action":"inject","policyAgeSeconds":1.5,"latencySeconds":0.00025,"dryRun":false,"identityNotUsed":[]}"#
        );
        log.record(&record("late"));
        assert_eq!(dropped.get(), 1, "a line after the end is lost, and counted");
    }

    #[test]
    fn lines_that_do_not_fit_on_a_full_disk_are_counted() {
        let dropped = Counter::default();
        let target = AuditTarget::File("/dev/full".into());
        let log = AuditLog::open(target, Rotation::Never, dropped.clone()).unwrap();
        for _ in 0..10 {
            log.record(&record("p"));
        }
        log.finish(PATIENCE);
        assert_eq!(dropped.get(), 10);
    }

    #[test]
    fn a_file_that_cannot_be_opened_is_named() {
        let target = AuditTarget::File("/nonexistent/audit.log".into());
        let error = AuditLog::open(target, Rotation::Hourly, Counter::default())
            .unwrap_err()
            .to_string();
        assert!(error.contains("/nonexistent/audit.log."), "{error}");
    }

    fn lines_after(folder: &Path, prepare: impl FnOnce(&mut Output)) -> String {
        let path = folder.join("audit.log");
        let mut output = Output::open(AuditTarget::File(path.clone()), Rotation::Never).unwrap();
        prepare(&mut output);
        let written = output.write(b"new\n", Timestamp::now());
        assert!(written.result.is_ok());
        fs::read_to_string(path).unwrap()
    }

    #[test]
    fn no_line_is_appended_to_a_part_of_another() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.log");
        fs::write(&path, "whole\npart").unwrap();
        assert_eq!(lines_after(folder.path(), |_| {}), "whole\npart\nnew\n");
        assert_eq!(lines_after(folder.path(), |_| {}), "whole\npart\nnew\nnew\n");
        fs::write(&path, "").unwrap();
        assert_eq!(lines_after(folder.path(), |_| {}), "new\n");
    }
}
