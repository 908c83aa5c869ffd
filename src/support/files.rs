//! Reads files that the operator names: regular files of bounded size, so that no reader blocks or runs out of memory.

use std::fs::{self, File, FileType, Metadata};
use std::io::{self, Read as _};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::support::platform::{self, FileId, FileKind, Times};

/// The longest file that is read, in bytes. An AWS account has at most some thousand roles, and a trust policy at most 8,192 characters.
pub(crate) const LIMIT: u64 = 16 * MIB;

const MIB: u64 = 1024 * 1024;

/// The most entries of a directory and those below it that are looked at.
pub(crate) const MOST_ENTRIES: usize = 1_000_000;

/// How long a file must have been left alone before its [`Stamp`] proves that it has not changed. Some file systems record times in
/// steps of up to two seconds, so that two writes within one step leave the same times.
const SETTLED: Duration = Duration::from_secs(3);

/// Reads a regular file of at most [`LIMIT`] bytes, following symbolic links.
///
/// # Errors
/// As the operating system reports it, or one line that says which kind of file it is, or that it is too long.
pub(crate) fn read(path: &Path) -> io::Result<Vec<u8>> {
    let (file, data) = open(path)?;
    read_opened(file, &data)
}

/// Opens a regular file of at most [`LIMIT`] bytes, following symbolic links. Does not wait for the writer of a FIFO.
///
/// # Errors
/// As [`read`].
pub(crate) fn open(path: &Path) -> io::Result<(File, Metadata)> {
    // Opening a device can have effects, and opening a socket fails with a message that does not name it.
    check(&fs::metadata(path)?)?;
    let file = platform::non_blocking(File::options().read(true)).open(path)?;
    // The path may be another file by now.
    let data = file.metadata()?;
    check(&data)?;
    Ok((file, data))
}

/// Reads what [`open`] opened.
///
/// # Errors
/// As [`read`].
pub(crate) fn read_opened(file: File, data: &Metadata) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(usize::try_from(data.len().min(LIMIT)).unwrap_or_default());
    file.take(LIMIT.saturating_add(1)).read_to_end(&mut bytes)?;
    // It may have grown, and files of /proc say that they are empty.
    check_length(u64::try_from(bytes.len()).unwrap_or(u64::MAX))?;
    Ok(bytes)
}

/// Why a file cannot be read or written, in words.
pub(crate) fn why(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "no such file".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        _ => error.to_string(),
    }
}

/// Whether a file is regular and not too long.
///
/// # Errors
/// One line that says which kind of file it is, or that it is too long.
fn check(data: &Metadata) -> io::Result<()> {
    if !data.is_file() {
        let kind = kind(data.file_type());
        let why = format!("it is {kind}, not a regular file");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
    }
    check_length(data.len())
}

/// Whether so many bytes are not too many.
///
/// # Errors
/// That they are.
pub(crate) fn check_length(bytes: u64) -> io::Result<()> {
    if bytes > LIMIT {
        let why = format!("it is longer than {} MiB", LIMIT / MIB);
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, why));
    }
    Ok(())
}

fn kind(file: FileType) -> &'static str {
    match platform::kind(file) {
        FileKind::Directory => "a directory",
        FileKind::Fifo => "a FIFO",
        FileKind::Socket => "a socket",
        FileKind::CharacterDevice | FileKind::BlockDevice => "a device",
        FileKind::Regular | FileKind::Other => "a special file",
    }
}

/// What distinguishes a file or a directory from an earlier state of it, without reading it. A swap of symbolic links, as in the mount
/// of a ConfigMap, leads to another inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    identity: Option<FileId>,
    length: u64,
    times: Option<Times>,
    /// Whether any later change leads to another stamp.
    is_settled: bool,
}

impl Stamp {
    /// Of a file whose metadata were read after the moment `read`.
    pub(crate) fn of(data: &Metadata, read: SystemTime) -> Self {
        let identity = platform::file_id(data);
        let times = platform::times(data);
        let last = times.map(|times| times.modified.max(times.changed));
        Self {
            identity,
            length: data.len(),
            times,
            is_settled: identity.is_some() && last.is_some_and(|last| is_before(last, read)),
        }
    }

    /// Reads the stamp of a path, following symbolic links.
    ///
    /// # Errors
    /// As the operating system reports it.
    pub(crate) fn read(path: &Path) -> io::Result<Self> {
        let now = SystemTime::now();
        Ok(Self::of(&fs::metadata(path)?, now))
    }

    /// The identity of the file; none where the system does not report it.
    pub(crate) const fn identity(&self) -> Option<FileId> {
        self.identity
    }

    /// Whether any later change leads to another stamp.
    pub(crate) const fn is_settled(&self) -> bool {
        self.is_settled
    }

    /// Whether it proves that the content is still what it was when `self` was taken. `now` is the stamp of now.
    pub(crate) fn proves_unchanged(&self, now: &Self) -> bool {
        self.is_settled
            && (Self {
                is_settled: true,
                ..*now
            }) == *self
    }
}

/// Whether a time is long enough before a moment. A time in the future, of another clock, never is.
fn is_before((seconds, nanoseconds): (i64, i64), moment: SystemTime) -> bool {
    let (Ok(seconds), Ok(nanoseconds)) = (u64::try_from(seconds), u32::try_from(nanoseconds)) else {
        return false;
    };
    let time = UNIX_EPOCH.checked_add(Duration::new(seconds, nanoseconds));
    let settled = time.and_then(|time| time.checked_add(SETTLED));
    settled.is_some_and(|settled| settled <= moment)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    fn error(path: &Path) -> String {
        read(path).unwrap_err().to_string()
    }

    fn fifo(path: &Path) {
        assert!(
            std::process::Command::new("mkfifo")
                .arg(path)
                .status()
                .unwrap()
                .success()
        );
    }

    #[test]
    fn only_regular_files_are_read_and_the_error_says_what_it_is_instead() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        fs::write(path("regular"), "content").unwrap();
        std::os::unix::fs::symlink("regular", path("link")).unwrap();
        assert_eq!(read(&path("regular")).unwrap(), b"content");
        assert_eq!(read(&path("link")).unwrap(), b"content");

        // Nothing writes to the FIFO: a reader that opened it as usual would wait forever.
        fifo(&path("fifo"));
        let _socket = UnixListener::bind(path("socket")).unwrap();
        for (path, expected) in [
            (path("fifo"), "it is a FIFO, not a regular file"),
            (path("socket"), "it is a socket, not a regular file"),
            (dir.path().to_owned(), "it is a directory, not a regular file"),
            ("/dev/zero".into(), "it is a device, not a regular file"),
            (path("missing"), "No such file or directory (os error 2)"),
        ] {
            assert_eq!(error(&path), expected, "{}", path.display());
        }
    }

    #[test]
    fn a_file_of_the_limit_is_read_and_a_longer_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sparse");
        let file = File::create(&path).unwrap();
        file.set_len(LIMIT).unwrap();
        assert_eq!(read(&path).unwrap().len(), usize::try_from(LIMIT).unwrap());
        for length in [LIMIT + 1, 3 << 30] {
            file.set_len(length).unwrap();
            assert_eq!(error(&path), "it is longer than 16 MiB");
        }
    }

    #[test]
    fn a_file_that_says_it_is_empty_is_read_all_the_same() {
        assert!(!read(Path::new("/proc/self/status")).unwrap().is_empty());
    }

    #[test]
    fn a_stamp_proves_nothing_about_a_file_that_was_just_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        fs::write(&path, "one").unwrap();
        let data = fs::metadata(&path).unwrap();
        let stamp = |after| Stamp::of(&data, SystemTime::now() + after);
        let (now, later) = (stamp(Duration::ZERO), stamp(SETTLED));
        assert!(!now.proves_unchanged(&now) && !now.proves_unchanged(&later));
        assert!(later.proves_unchanged(&now) && later.proves_unchanged(&later));

        // The same length, and the time of modification put back: the time of change is another.
        let modified = data.modified().unwrap();
        std::thread::sleep(Duration::from_millis(20));
        fs::write(&path, "two").unwrap();
        File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .set_modified(modified)
            .unwrap();
        assert!(!later.proves_unchanged(&Stamp::read(&path).unwrap()));
    }
}
