//! Lines that are written by a thread of their own, so that no caller ever waits for a reader.
//!
//! A pipe that is not read (a stuck log shipper, a paused container runtime) and a hung file system block the thread that writes to them,
//! for as long as it takes. Callers put lines into a bounded queue; what does not fit is dropped and counted.

use std::fs::File;
use std::io;
use std::mem;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use prometheus_client::metrics::counter::Counter;

use crate::support::platform::{self, Stream};

/// The pause after a write that would block, on a descriptor that another process made non-blocking.
const WOULD_BLOCK_PAUSE: Duration = Duration::from_millis(20);

/// The queue, for those that write lines. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct LineQueue(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    capacity: usize,
    dropped: Counter,
    queue: Mutex<Queue>,
    /// Lines were added, or the queue was closed.
    changed: Condvar,
    /// The thread has ended.
    ended: Condvar,
}

#[derive(Debug, Default)]
struct Queue {
    lines: Vec<u8>,
    is_closed: bool,
    has_ended: bool,
}

/// Where the thread writes.
pub(super) trait LineSink: Send + 'static {
    /// Writes whole lines, and returns how many of them were lost and why.
    fn write(&mut self, lines: &[u8]) -> Written;

    /// Reports the result of a write. It is called from the thread after the lines that arrived in the meantime were taken from the
    /// queue, so that there is room for a line that the report itself writes to it. `dropped` is the number of lines that were lost
    /// so far.
    fn report(&mut self, written: io::Result<()>, dropped: u64);

    /// Finishes what is written in part. Returns how many lines are lost.
    fn close(&mut self) -> u64;
}

/// The result of a write.
#[derive(Debug)]
pub(super) struct Written {
    /// The number of lines that were lost.
    pub(super) lost: u64,
    /// Why.
    pub(super) result: io::Result<()>,
}

/// Whether everything was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Finished {
    /// Everything was written, or counted as lost.
    Completely,
    /// The writer is still blocked.
    Blocked,
}

/// How lines are written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Writing {
    /// The name of the thread.
    pub(super) thread: &'static str,
    /// The capacity of the queue, in bytes. As much again is in the hands of the thread.
    pub(super) capacity: usize,
    /// How long lines are collected after a write, so that a busy webhook does not wake the thread for each line.
    pub(super) gather: Duration,
}

impl LineQueue {
    /// Starts the thread. `dropped` counts lost lines.
    ///
    /// # Errors
    /// No thread can be started.
    pub(super) fn start(writing: Writing, sink: impl LineSink, dropped: Counter) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            capacity: writing.capacity,
            dropped,
            queue: Mutex::default(),
            changed: Condvar::new(),
            ended: Condvar::new(),
        });
        let queue = Self(shared.clone());
        thread::Builder::new()
            .name(writing.thread.to_owned())
            .spawn(move || shared.write_all(sink, writing.gather))?;
        Ok(queue)
    }

    /// Adds a line, which ends with a line feed. Never waits.
    pub(super) fn push(&self, line: &[u8]) {
        let Shared {
            capacity,
            dropped,
            queue,
            changed,
            ..
        } = &*self.0;
        let mut queue = queue.lock();
        if queue.is_closed || queue.lines.len().saturating_add(line.len()) > *capacity {
            drop(queue);
            dropped.inc();
            return;
        }
        let was_empty = queue.lines.is_empty();
        queue.lines.extend_from_slice(line);
        drop(queue);
        if was_empty {
            changed.notify_one();
        }
    }

    /// Counts a line that could not be made.
    pub(super) fn count_lost(&self) {
        self.0.dropped.inc();
    }

    /// Accepts no more lines, and waits until those in the queue are written, for at most `patience`. A thread that is blocked for longer
    /// is left alone: it ends with the process.
    pub(super) fn finish(&self, patience: Duration) -> Finished {
        let Shared {
            queue, changed, ended, ..
        } = &*self.0;
        let until = Instant::now().checked_add(patience);
        let mut queue = queue.lock();
        queue.is_closed = true;
        changed.notify_one();
        while !queue.has_ended {
            let timed_out = match until {
                Some(until) => ended.wait_until(&mut queue, until).timed_out(),
                None => {
                    ended.wait(&mut queue);
                    false
                }
            };
            if timed_out && !queue.has_ended {
                return Finished::Blocked;
            }
        }
        Finished::Completely
    }
}

impl Shared {
    fn write_all(&self, mut sink: impl LineSink, gather: Duration) {
        let mut batch = Vec::new();
        let mut result = None;
        loop {
            let is_closed = self.take(&mut batch, result.is_some());
            if let Some(result) = result.take() {
                sink.report(result, self.dropped.get());
            }
            if !batch.is_empty() {
                let written = sink.write(&batch);
                self.dropped.inc_by(written.lost);
                result = Some(written.result);
                batch.clear();
                self.gather(gather);
            } else if is_closed {
                break;
            }
        }
        self.dropped.inc_by(sink.close());
        self.queue.lock().has_ended = true;
        self.ended.notify_all();
    }

    /// Exchanges the empty batch for what is queued. Waits for lines, unless there is something to report. Returns whether the queue is
    /// closed.
    fn take(&self, batch: &mut Vec<u8>, has_report: bool) -> bool {
        let mut queue = self.queue.lock();
        while queue.lines.is_empty() && !queue.is_closed && !has_report {
            self.changed.wait(&mut queue);
        }
        mem::swap(&mut queue.lines, batch);
        queue.is_closed
    }

    /// Waits, but not for longer than the queue is open.
    fn gather(&self, time: Duration) {
        let Some(until) = Instant::now().checked_add(time) else {
            return;
        };
        let mut queue = self.queue.lock();
        while !queue.is_closed && !self.changed.wait_until(&mut queue, until).timed_out() {}
    }
}

/// A file, pipe or terminal that receives whole lines. A line that was written in part, for example because the disk became full, is
/// completed before anything else is written.
#[derive(Debug)]
pub(super) struct WholeLines<W> {
    to: W,
    /// The part of a line that is not written yet.
    rest: Vec<u8>,
}

impl<W: io::Write> WholeLines<W> {
    pub(super) const fn new(to: W) -> Self {
        Self { to, rest: Vec::new() }
    }

    pub(super) const fn get(&self) -> &W {
        &self.to
    }

    /// Whether the last line is written in part.
    pub(super) const fn is_torn(&self) -> bool {
        !self.rest.is_empty()
    }

    /// Writes lines. The line that is written in part after an error is not counted as lost.
    pub(super) fn write(&mut self, lines: &[u8]) -> Written {
        let rest = mem::take(&mut self.rest);
        if let Err((written, error)) = self.write_bytes(&rest) {
            self.rest = rest.get(written..).unwrap_or_default().to_vec();
            return Written {
                lost: count_lines(lines),
                result: Err(error),
            };
        }
        let Err((written, error)) = self.write_bytes(lines) else {
            return Written {
                lost: 0,
                result: Ok(()),
            };
        };
        let (done, missing) = lines.split_at_checked(written).unwrap_or((lines, &[]));
        let is_torn = done.last().is_some_and(|byte| *byte != b'\n');
        if is_torn {
            let end = missing
                .iter()
                .position(|byte| *byte == b'\n')
                .map_or(missing.len(), |at| at + 1);
            self.rest = missing.get(..end).unwrap_or_default().to_vec();
        }
        Written {
            lost: count_lines(missing).saturating_sub(u64::from(is_torn)),
            result: Err(error),
        }
    }

    /// Writes the part of a line that is missing, once more. Returns the number of lines that are lost.
    pub(super) fn close(&mut self) -> u64 {
        u64::from(self.is_torn() && self.write(&[]).result.is_err())
    }

    /// Writes bytes; after an error, also returns how many were written.
    fn write_bytes(&mut self, bytes: &[u8]) -> Result<(), (usize, io::Error)> {
        let mut written = 0;
        while let Some(rest) = bytes.get(written..).filter(|rest| !rest.is_empty()) {
            match self.to.write(rest) {
                Ok(0) => return Err((written, io::ErrorKind::WriteZero.into())),
                Ok(count) => written += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => thread::sleep(WOULD_BLOCK_PAUSE),
                Err(error) => return Err((written, error)),
            }
        }
        self.to.flush().map_err(|error| (written, error))
    }
}

/// A standard stream without its lock and its buffer: a writer that is blocked in it must not block the end of the process.
///
/// # Errors
/// There is no free file descriptor.
pub(super) fn unbuffered(stream: &impl Stream) -> io::Result<WholeLines<File>> {
    Ok(WholeLines::new(platform::duplicate(stream)?))
}

/// The number of lines.
pub(super) fn count_lines(lines: &[u8]) -> u64 {
    lines.iter().map(|byte| u64::from(*byte == b'\n')).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    const LONG: Duration = Duration::from_secs(30);

    /// A disk with this many bytes of room.
    #[derive(Debug, Default)]
    struct Disk {
        content: Vec<u8>,
        room: usize,
    }

    impl io::Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let count = bytes.len().min(self.room);
            if count == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.room -= count;
            self.content.extend_from_slice(&bytes[..count]);
            Ok(count)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_torn_line_is_completed_and_only_lost_lines_are_counted() {
        for room in 0..=20 {
            let mut lines = WholeLines::new(Disk {
                content: Vec::new(),
                room,
            });
            let mut lost = lines.write(b"one\ntwo\nthree\n").lost;
            lost += lines.write(b"four\n").lost;
            lines.to.room = 100;
            lost += lines.write(b"five\nsix\n").lost;
            lost += lines.close();
            let text = String::from_utf8(lines.to.content).unwrap();
            let known = ["one", "two", "three", "four", "five", "six"];
            assert!(text.lines().all(|line| known.contains(&line)), "{room}: {text:?}");
            assert!(text.ends_with("five\nsix\n"), "{room}: {text:?}");
            assert_eq!(text.lines().count() as u64 + lost, 6, "{room}: {text:?}");
        }
    }

    #[test]
    fn a_line_that_stays_torn_at_the_end_is_lost() {
        let mut lines = WholeLines::new(Disk {
            content: Vec::new(),
            room: 5,
        });
        assert_eq!(lines.write(b"one\ntwo\nthree\n").lost, 1);
        assert_eq!(lines.close(), 1);
    }

    /// A sink that takes lines only when the test lets it.
    struct Blocked {
        go: mpsc::Receiver<()>,
        content: Arc<Mutex<Vec<u8>>>,
        reports: Arc<Mutex<Vec<u64>>>,
    }

    impl LineSink for Blocked {
        fn write(&mut self, lines: &[u8]) -> Written {
            // After the test has ended, nothing blocks.
            let _ = self.go.recv();
            self.content.lock().extend_from_slice(lines);
            Written {
                lost: 0,
                result: Ok(()),
            }
        }

        fn report(&mut self, _written: io::Result<()>, dropped: u64) {
            self.reports.lock().push(dropped);
        }

        fn close(&mut self) -> u64 {
            0
        }
    }

    const WRITING: Writing = Writing {
        thread: "test",
        capacity: 100,
        gather: Duration::ZERO,
    };

    #[test]
    fn a_blocked_writer_blocks_no_caller_and_what_does_not_fit_is_counted() {
        let (go, gate) = mpsc::channel();
        let (content, reports) = <(Arc<Mutex<Vec<u8>>>, Arc<Mutex<Vec<u64>>>)>::default();
        let sink = Blocked {
            go: gate,
            content: content.clone(),
            reports: reports.clone(),
        };
        let dropped = Counter::default();
        let queue = LineQueue::start(WRITING, sink, dropped.clone()).unwrap();
        for _ in 0..1000 {
            queue.push(b"123456789\n");
        }
        // The thread holds up to ten lines, and the queue ten.
        assert!((980..=990).contains(&dropped.get()), "{}", dropped.get());
        assert_eq!(queue.finish(Duration::from_millis(20)), Finished::Blocked);
        queue.push(b"after the end\n");
        drop(go);
        assert_eq!(queue.finish(LONG), Finished::Completely);
        let written = content.lock().iter().filter(|byte| **byte == b'\n').count() as u64;
        assert_eq!(written + dropped.get(), 1001);
        assert_eq!(reports.lock().last(), Some(&dropped.get()));
    }

    #[test]
    fn what_is_queued_is_written_without_waiting_for_more() {
        let (go, gate) = mpsc::channel();
        let content = Arc::<Mutex<Vec<u8>>>::default();
        let sink = Blocked {
            go: gate,
            content: content.clone(),
            reports: Arc::default(),
        };
        let writing = Writing {
            gather: LONG * 100,
            ..WRITING
        };
        let queue = LineQueue::start(writing, sink, Counter::default()).unwrap();
        drop(go);
        queue.push(b"a line\n");
        assert_eq!(
            queue.finish(LONG),
            Finished::Completely,
            "the end does not wait for more lines"
        );
        assert_eq!(*content.lock(), b"a line\n");
    }
}
