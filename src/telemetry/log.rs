//! Logs: one line per event on standard error, as text for people or JSON for programs.
//!
//! Nothing that logs waits for standard error: a thread writes the lines. If standard error is not read, lines are dropped and counted, and
//! the number is logged when it is read again.
//!
//! Many logged values were written by users of the cluster. Hidden characters in them could break a line in two or control a terminal; they
//! are escaped in text and in JSON, and a value of a text line is truncated at 2 KiB.

use std::fmt;
use std::fs::File;
use std::io;
use std::str::FromStr;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Subscriber, warn};
use tracing_subscriber::Layer;
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::{self, FormatFields};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;

use super::line_writer::{LineQueue, LineSink, WholeLines, Writing, Written, unbuffered};
use crate::support::text;

/// `--log-format`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

impl FromStr for LogFormat {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err("expected text or json".to_owned()),
        }
    }
}

/// Whether text has colors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Color {
    /// For a terminal.
    Always,
    /// For a file or a pipe.
    Never,
}

/// `--log-level`: which events are logged. A level for all modules (`info`), or also levels of single modules
/// (`info,rolegate::admission=debug`).
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct LogLevel(Targets);

/// The Kubernetes client and the credentials of the AWS SDK log each failed request, some with the whole response. rolegate itself logs
/// once that the API server or AWS cannot be reached, and why, so the events of these clients are logged only when they are named.
const CLIENTS: [&str; 2] = ["kube_client", "aws_config"];

impl Default for LogLevel {
    fn default() -> Self {
        Self(without_clients(Targets::new().with_default(LevelFilter::INFO), ""))
    }
}

impl FromStr for LogLevel {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let expected =
            "expected error, warn, info, debug, trace or off, or a list such as info,rolegate::admission=debug";
        // `Targets` parses a word that is not a level as the name of a module, and then logs nothing.
        let level = |word: &str| !word.trim().is_empty() && word.trim().parse::<LevelFilter>().is_ok();
        if text
            .split(',')
            .any(|part| !level(part.rsplit('=').next().unwrap_or_default()))
        {
            return Err(expected.to_owned());
        }
        // It does not trim, either: ` rolegate` would be another module.
        let trimmed: Vec<&str> = text.split(',').map(str::trim).collect();
        let targets: Targets = trimmed.join(",").parse().map_err(|_| expected.to_owned())?;
        Ok(Self(without_clients(targets, text)))
    }
}

/// Without the events of clients that the text does not name.
fn without_clients(targets: Targets, text: &str) -> Targets {
    let unnamed = CLIENTS.into_iter().filter(|client| !text.contains(client));
    unnamed.fold(targets, |targets, client| targets.with_target(client, LevelFilter::OFF))
}

/// The queue holds about a thousand refusals.
const WRITING: Writing = Writing {
    thread: "log",
    capacity: 1024 * 1024,
    gather: Duration::ZERO,
};

/// The log on standard error. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Log {
    queue: LineQueue,
    dropped: Counter,
}

impl Log {
    /// Starts the log of the process. Only the first one receives events.
    ///
    /// # Errors
    /// The operating system refuses a thread or a file descriptor.
    pub(crate) fn start(level: LogLevel, format: LogFormat, color: Color) -> io::Result<Self> {
        let dropped = Counter::default();
        let sink = StandardError {
            lines: unbuffered(&io::stderr())?,
            reported: 0,
        };
        let queue = LineQueue::start(WRITING, sink, dropped.clone())?;
        let lines = queue.clone();
        // It fails when logging has already been started.
        let _ = tracing_subscriber::registry()
            .with(layer(level, format, color, move || QueuedLine(lines.clone())))
            .try_init();
        Ok(Self { queue, dropped })
    }

    /// The counter of dropped lines.
    pub(crate) fn dropped(&self) -> Counter {
        self.dropped.clone()
    }

    /// Writes what is queued, for at most `patience`. Later events are dropped.
    pub(crate) fn finish(&self, patience: Duration) {
        // There is nowhere left to report that standard error is not read.
        let _ = self.queue.finish(patience);
    }
}

/// Queues each event, which is written with a single call.
struct QueuedLine(LineQueue);

impl io::Write for QueuedLine {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct StandardError {
    lines: WholeLines<File>,
    /// The number of dropped lines that was logged.
    reported: u64,
}

impl LineSink for StandardError {
    fn write(&mut self, lines: &[u8]) -> Written {
        self.lines.write(lines)
    }

    fn report(&mut self, written: io::Result<()>, dropped: u64) {
        if written.is_ok() && dropped > self.reported {
            self.reported = dropped;
            warn!(
                dropped,
                "log lines were lost because standard error could not be written, or not in time; `dropped` lines were lost in total"
            );
        }
    }

    fn close(&mut self) -> u64 {
        self.lines.close()
    }
}

fn layer<S, W>(level: LogLevel, format: LogFormat, color: Color, writer: W) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let layer = tracing_subscriber::fmt::layer();
    match format {
        LogFormat::Text => layer
            .with_writer(writer)
            .with_ansi(color == Color::Always)
            .fmt_fields(OneLine)
            .with_filter(level.0)
            .boxed(),
        LogFormat::Json => layer
            .with_writer(JsonWriters(writer))
            .json()
            .flatten_event(true)
            .with_span_list(false)
            .with_filter(level.0)
            .boxed(),
    }
}

/// Writes the fields of an event so that they stay on its line.
struct OneLine;

impl<'writer> FormatFields<'writer> for OneLine {
    fn format_fields<R: RecordFields>(&self, writer: format::Writer<'writer>, fields: R) -> fmt::Result {
        let mut visitor = Visitor {
            writer,
            first: true,
            result: Ok(()),
        };
        fields.record(&mut visitor);
        visitor.result
    }
}

struct Visitor<'writer> {
    writer: format::Writer<'writer>,
    first: bool,
    result: fmt::Result,
}

impl Visit for Visitor<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            self.record_debug(field, &format_args!("{value}"));
        } else {
            self.record_debug(field, &value);
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if self.result.is_err() {
            return;
        }
        self.result = (|| {
            if !std::mem::take(&mut self.first) {
                self.writer.write_char(' ')?;
            }
            if field.name() != "message" {
                write!(self.writer, "{}=", field.name())?;
            }
            self.writer.write_str(&text::line(&format!("{value:?}")))
        })();
    }
}

/// Escapes hidden characters in JSON events. An event is written with a single call.
struct JsonWriter<W>(W);

impl<W: io::Write> io::Write for JsonWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let event = String::from_utf8_lossy(bytes);
        self.0.write_all(text::json::escape(&event).as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Makes writers for JSON events.
struct JsonWriters<M>(M);

impl<'a, M: MakeWriter<'a>> MakeWriter<'a> for JsonWriters<M> {
    type Writer = JsonWriter<M::Writer>;

    fn make_writer(&'a self) -> Self::Writer {
        JsonWriter(self.0.make_writer())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Memory(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Memory {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(level: &str, format: LogFormat) -> String {
        let memory = Memory::default();
        let writer = memory.clone();
        let layer = layer(level.parse().unwrap(), format, Color::Never, move || writer.clone());
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            tracing::info!(pod = %"a\nb\u{1b}[31m\u{202e}", name = "c\td", count = 3, "refused: {}", "e\r\nf\u{9b}g");
            tracing::debug!("details");
            tracing::warn!(target: "aws_config::web_identity_token", "of a client");
            tracing::warn!(target: "kube_client::client", "of a client");
        });
        String::from_utf8(memory.0.lock().unwrap().clone()).unwrap()
    }

    #[test]
    fn text_of_users_stays_on_its_line() {
        let text = logged("info", LogFormat::Text);
        let (_, line) = text.split_once(" INFO ").unwrap();
        assert_eq!(
            line,
            "rolegate::telemetry::log::tests: refused: e\\r\\nf\\u{9b}g pod=a\\nb\\u{1b}[31m\\u{202e} name=\"c\\td\" count=3\n"
        );
    }

    #[test]
    fn events_of_clients_are_logged_where_they_are_named() {
        for (level, lines) in [
            ("info", 0),
            ("warn", 0),
            ("info,aws_config=warn", 1),
            ("off,kube_client=warn", 1),
        ] {
            assert_eq!(
                logged(level, LogFormat::Text).matches("of a client").count(),
                lines,
                "{level}"
            );
        }
    }

    #[test]
    fn json_is_one_object_per_line() {
        let text = logged("off,rolegate=debug", LogFormat::Json);
        let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0]["level"], "INFO");
        assert_eq!(lines[0]["pod"], "a\nb\u{1b}[31m\u{202e}");
        assert!(text.lines().all(|line| !line.contains(text::is_hidden)), "{text:?}");
        assert_eq!(lines[0]["count"], 3);
    }

    #[test]
    fn a_level_applies_to_all_or_to_modules() {
        assert_eq!(logged("warn", LogFormat::Text), "");
        assert_eq!(logged("debug", LogFormat::Text).lines().count(), 2);
        assert_eq!(logged("info,hyper=off", LogFormat::Text).lines().count(), 1);
        for wrong in ["", "loud", "rolegate=loud", "info,", "rolegate"] {
            assert!(wrong.parse::<LogLevel>().is_err(), "{wrong:?}");
        }
    }
}
