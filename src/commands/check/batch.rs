//! `check --batch`: one JSON line out for each JSON line in, in order, in constant memory.

use std::borrow::Cow;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::path::Path;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::association;
use super::line::{policy_of, unreadable};
use crate::admission::judgment::now;
use crate::commands::exit::Exit;
use crate::commands::input;
use crate::commands::judgment::report::{MALFORMED, TRUSTED};
use crate::decision::Judged;
use crate::decision::messages::commands::DEFAULT_AUDIENCE;
use crate::support::text;
use crate::trust::{Audience, Cause, Context, Issuer, RoleArn, Subject, Verdict, WebIdentity, judge};

/// The longest line that is read, in bytes: two thousand times what IAM stores. A longer one is reported as malformed and
/// skipped, so that memory stays bounded.
const LONGEST_LINE: usize = 16 * 1024 * 1024;

/// Runs the command.
pub(super) fn run(file: &Path) -> Result<Exit> {
    let lines = BufReader::with_capacity(64 * 1024, input::open("--batch", file)?);
    let mut out = BufWriter::new(io::stdout().lock());
    answer_all(lines, &mut out, now()).with_context(|| file.display().to_string())
}

/// One answer, with exactly these keys.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct AnswerLine<'a> {
    verdict: &'a str,
    cause: Option<&'static str>,
    reason: Cow<'a, str>,
}

/// One request. Unknown keys are ignored, so that a line can carry what its writer needs to recognize it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RequestLine<'a> {
    /// Kept as text: a key that is repeated in the policy makes it malformed, and a parsed value would have lost it.
    #[serde(borrow)]
    policy: &'a RawValue,
    #[serde(borrow)]
    role_arn: Cow<'a, str>,
    #[serde(borrow)]
    issuer: Cow<'a, str>,
    #[serde(borrow)]
    subject: Cow<'a, str>,
    #[serde(borrow, default)]
    audience: Option<Cow<'a, str>>,
}

fn answer_all(mut lines: impl Lines, out: &mut impl Write, now: Option<i64>) -> io::Result<Exit> {
    let mut worst = Exit::Yes;
    let mut line = Vec::new();
    let mut number: u64 = 0;
    loop {
        // A writer that waits for the answer to its line must get it; one that pipes a file loses nothing.
        if lines.may_block() && reader_left(out.flush())? {
            return Ok(worst);
        }
        line.clear();
        number = number.saturating_add(1);
        let (exit, written) = match read_line(&mut lines, &mut line)? {
            Line::End => break,
            Line::TooLong => {
                let reason = format!("line {number} is longer than {} MiB", LONGEST_LINE / 1024 / 1024);
                (Exit::Unclear, write_answer(out, &malformed(reason)))
            }
            // An empty line, such as an editor leaves at the end of a file, is skipped.
            Line::Read if line.trim_ascii().is_empty() => continue,
            Line::Read => answer(&line, now, |exit, answer| (exit, write_answer(out, answer))),
        };
        worst = worst.max(exit);
        if reader_left(written)? {
            return Ok(worst);
        }
    }
    reader_left(out.flush())?;
    Ok(worst)
}

fn answer<T>(line: &[u8], now: Option<i64>, answer: impl FnOnce(Exit, &AnswerLine<'_>) -> T) -> T {
    match judge_line(line, now) {
        Ok((judged, reason)) => {
            let exit = match judged.verdict {
                Verdict::Trusted => Exit::Yes,
                Verdict::NotTrusted => Exit::No,
                Verdict::Undecided | Verdict::Unknown => Exit::Unclear,
            };
            answer(
                exit,
                &AnswerLine {
                    verdict: judged.verdict.as_str(),
                    cause: judged.cause.map(Cause::as_str),
                    reason,
                },
            )
        }
        Err(reason) => answer(Exit::Unclear, &malformed(reason)),
    }
}

fn malformed(reason: String) -> AnswerLine<'static> {
    AnswerLine {
        verdict: MALFORMED,
        cause: None,
        reason: reason.into(),
    }
}

/// Evaluates one line.
///
/// # Errors
/// Why it cannot be read, in one line.
fn judge_line(line: &[u8], now: Option<i64>) -> Result<(Judged, Cow<'static, str>), String> {
    const MECHANISM: &[u8] = b"\"mechanism\"";
    if line.windows(MECHANISM.len()).any(|text| text == MECHANISM) && names_mechanism(line)? {
        return association::judge_line(line, now);
    }
    let request: RequestLine<'_> = serde_json::from_slice(line).map_err(|error| unreadable(&error))?;
    let role = RoleArn::parse(&request.role_arn).map_err(|error| format!("roleArn: {error}"))?;
    let issuer = Issuer::parse(&request.issuer).map_err(|error| format!("issuer: {error}"))?;
    let audience = Audience::new(request.audience.as_deref().unwrap_or(DEFAULT_AUDIENCE));
    let identity = WebIdentity {
        issuer,
        subject: Subject::from_text(&request.subject),
        audience,
    };
    let policy = policy_of(request.policy)?;
    let context = Context {
        now,
        ..Context::default()
    };
    let judgment = judge(&policy, &role, &identity, &context);
    let judged = Judged::of(role, judgment);
    let reason = match (judged.verdict, judged.hint(&identity)) {
        (Verdict::Trusted, _) => Cow::Borrowed(TRUSTED),
        (_, Some(hint)) => Cow::Owned(format!("{}; {hint}", judged.reason(&identity))),
        (_, None) => Cow::Owned(judged.reason(&identity)),
    };
    Ok((judged, reason))
}

/// Whether a line has a `mechanism` of its own, at its top level; without one it is about a web identity.
fn names_mechanism(line: &[u8]) -> Result<bool, String> {
    #[derive(Deserialize)]
    struct Named<'a> {
        #[serde(borrow, default)]
        mechanism: Option<&'a RawValue>,
    }
    let named: Named<'_> = serde_json::from_slice(line).map_err(|error| unreadable(&error))?;
    Ok(named.mechanism.is_some_and(|raw| raw.get() != "null"))
}

/// Input that knows whether reading the next line might block.
trait Lines: BufRead {
    /// Whether no whole line is buffered.
    fn may_block(&self) -> bool;
}

impl<R: Read> Lines for BufReader<R> {
    fn may_block(&self) -> bool {
        !self.buffer().contains(&b'\n')
    }
}

enum Line {
    Read,
    TooLong,
    End,
}

/// Reads a line without its end; of one that is too long, everything is skipped.
fn read_line(input: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<Line> {
    let limit = u64::try_from(LONGEST_LINE).unwrap_or(u64::MAX).saturating_add(1);
    let read = input.by_ref().take(limit).read_until(b'\n', line)?;
    if read == 0 {
        return Ok(Line::End);
    }
    if line.last() == Some(&b'\n') {
        line.pop();
        return Ok(Line::Read);
    }
    if read <= LONGEST_LINE {
        return Ok(Line::Read);
    }
    skip_line(input)?;
    Ok(Line::TooLong)
}

fn skip_line(input: &mut impl BufRead) -> io::Result<()> {
    loop {
        let buffer = input.fill_buf()?;
        match buffer.iter().position(|byte| *byte == b'\n') {
            Some(end) => {
                input.consume(end.saturating_add(1));
                return Ok(());
            }
            None if buffer.is_empty() => return Ok(()),
            None => {
                let length = buffer.len();
                input.consume(length);
            }
        }
    }
}

fn write_answer(out: &mut impl Write, answer: &AnswerLine<'_>) -> io::Result<()> {
    let json = serde_json::to_string(answer)?;
    out.write_all(text::json::escape(&json).as_bytes())?;
    out.write_all(b"\n")
}

/// Whether the reader of the answers has gone away.
fn reader_left(written: io::Result<()>) -> io::Result<bool> {
    match written {
        Ok(()) => Ok(false),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(true),
        Err(error) => Err(error),
    }
}
