//! The audit log: one JSON line per answer.
//!
//! An admission never waits for it. Lines go through a bounded queue to a thread that writes them in batches; when the disk is slower than
//! the cluster, lines are lost, counted and logged. `docs/reference/audit-log.md` documents the fields.

use std::fmt::{self, Display};
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use jiff::Timestamp;
use prometheus_client::metrics::counter::Counter;
use serde::{Serialize, Serializer};
use tracing::{info, warn};

use crate::decision::{Action, Mode};
use crate::support::state_log::StateLog;
use crate::support::text;
use crate::trust::{Cause, Verdict};

/// The capacity of the queue, about 4 MB.
const QUEUE_LINES: usize = 8192;

/// How long lines are collected after a write, so that a busy webhook does not wake the writer for each line.
const GATHER: Duration = Duration::from_millis(20);

/// The size of a batch.
const BATCH_BYTES: usize = 256 * 1024;

/// A line of the audit log. Every field is always present; a value that is not known or does not apply is `null`.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AuditRecord<'a> {
    /// When the review was answered, UTC.
    #[serde(serialize_with = "word")]
    pub time: Timestamp,
    /// The uid of the admission request; none for a request that is not a valid AdmissionReview.
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
    /// The time from the request's head to its answer, in seconds.
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
    /// `-`: standard output.
    Stdout,
    /// A file, which lines are appended to. After it is moved or removed, the next line creates it again.
    File(PathBuf),
}

impl FromStr for AuditTarget {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "" => Err("expected a file name, or - for standard output".to_owned()),
            "-" => Ok(Self::Stdout),
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

/// Where admissions record answers.
#[derive(Clone, Debug)]
pub struct AuditLog {
    queue: SyncSender<Message>,
    dropped: Counter,
}

/// The writer. It must be finished, otherwise the last lines might be lost.
#[derive(Debug)]
pub struct AuditWriter {
    queue: SyncSender<Message>,
    thread: JoinHandle<()>,
}

#[derive(Debug)]
enum Message {
    Line(Vec<u8>),
    Finish,
}

impl AuditLog {
    /// Opens the log; `dropped` counts lost lines.
    ///
    /// # Errors
    /// The file cannot be opened for appending, or no thread can be started.
    pub fn open(target: AuditTarget, rotation: Rotation, dropped: Counter) -> io::Result<(Self, AuditWriter)> {
        let sink = Sink::open(target, rotation)?;
        let (queue, lines) = sync_channel(QUEUE_LINES);
        let log = Self {
            queue: queue.clone(),
            dropped: dropped.clone(),
        };
        let thread = thread::Builder::new()
            .name("audit-log".to_owned())
            .spawn(move || write_all(&lines, sink, &dropped))?;
        Ok((log, AuditWriter { queue, thread }))
    }

    /// Queues a line; never waits.
    pub fn record(&self, record: &AuditRecord<'_>) {
        let mut line = Vec::with_capacity(512);
        let queued = serde_json::to_string(record).is_ok_and(|json| {
            line.extend_from_slice(text::json::escape(&json).as_bytes());
            line.push(b'\n');
            self.queue.try_send(Message::Line(line)).is_ok()
        });
        if !queued {
            self.dropped.inc();
        }
    }
}

impl AuditWriter {
    /// Writes what is queued and ends. Blocks, so it must be called after the servers have ended.
    pub fn finish(self) {
        // Both fail only when the thread has already ended.
        let _ = self.queue.send(Message::Finish);
        let _ = self.thread.join();
    }
}

fn write_all(lines: &Receiver<Message>, mut sink: Sink, dropped: &Counter) {
    let mut losses = LossLog::default();
    let mut batch = Vec::with_capacity(BATCH_BYTES);
    while let Ok(Message::Line(first)) = lines.recv() {
        batch.extend_from_slice(&first);
        let mut count = 1;
        let last = loop {
            if batch.len() >= BATCH_BYTES {
                break None;
            }
            match lines.try_recv() {
                Ok(Message::Line(line)) => {
                    batch.extend_from_slice(&line);
                    count += 1;
                }
                Err(TryRecvError::Empty) => break None,
                Ok(Message::Finish) | Err(TryRecvError::Disconnected) => break Some(()),
            }
        };
        let written = sink.write(&batch, Timestamp::now());
        if written.is_err() {
            dropped.inc_by(count);
        }
        losses.observe(written, dropped.get());
        batch.clear();
        if last.is_some() {
            return;
        }
        thread::sleep(GATHER);
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
enum Sink {
    Stdout,
    File {
        path: PathBuf,
        rotation: Rotation,
        open: Option<OpenFile>,
    },
}

#[derive(Debug)]
struct OpenFile {
    name: PathBuf,
    file: File,
}

impl Sink {
    fn open(target: AuditTarget, rotation: Rotation) -> io::Result<Self> {
        match target {
            AuditTarget::Stdout => Ok(Self::Stdout),
            AuditTarget::File(path) => {
                let open = Some(OpenFile::append(file_name(&path, rotation, Timestamp::now()))?);
                Ok(Self::File { path, rotation, open })
            }
        }
    }

    fn write(&mut self, lines: &[u8], now: Timestamp) -> io::Result<()> {
        match self {
            Self::Stdout => {
                let mut stdout = io::stdout().lock();
                stdout.write_all(lines)?;
                stdout.flush()
            }
            Self::File { path, rotation, open } => {
                let name = file_name(path, *rotation, now);
                let mut current = match open.take() {
                    Some(current) if current.is_still(&name) => current,
                    _ => OpenFile::append(name)?,
                };
                // After an error it remains closed, and the next batch opens it again.
                current.file.write_all(lines)?;
                *open = Some(current);
                Ok(())
            }
        }
    }
}

impl OpenFile {
    fn append(name: PathBuf) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(&name);
        let file = file.map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", name.display())))?;
        Ok(Self { name, file })
    }

    /// Whether the name still refers to this file: log rotation moves files away.
    fn is_still(&self, name: &Path) -> bool {
        let identity = |data: &std::fs::Metadata| (data.dev(), data.ino());
        self.name == name
            && match (std::fs::metadata(name), self.file.metadata()) {
                (Ok(there), Ok(here)) => identity(&there) == identity(&here),
                _ => false,
            }
    }
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
        let (log, writer) = AuditLog::open(AuditTarget::File(path.clone()), Rotation::Never, dropped.clone()).unwrap();
        for _ in 0..1000 {
            log.record(&record("a\"b\nc"));
        }
        writer.finish();
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
        let (log, writer) = AuditLog::open(target, Rotation::Never, dropped.clone()).unwrap();
        for _ in 0..10 {
            log.record(&record("p"));
        }
        writer.finish();
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
}
