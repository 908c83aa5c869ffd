//! Differences between operating systems: how files are opened, and what their metadata contains. Windows is for the commands that people
//! run, such as `check` and `audit`. `serve` compiles there and is not supported.

pub(crate) use self::system::{
    Stream, duplicate, file_id, is_out_of_descriptors, kind, non_blocking, times, with_mode,
};

/// What distinguishes a file or directory from all others: device and inode.
pub(crate) type FileId = (u64, u64);

/// What a path leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(unix), expect(dead_code, reason = "other systems do not report all of them"))]
pub(crate) enum FileKind {
    Regular,
    Directory,
    Fifo,
    Socket,
    CharacterDevice,
    BlockDevice,
    Other,
}

/// When a file was last changed, in seconds and nanoseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Times {
    /// Its content. Programs can set it.
    pub(crate) modified: (i64, i64),
    /// Its content, owner or mode. No program can set it.
    pub(crate) changed: (i64, i64),
}

#[cfg(unix)]
mod system {
    use std::fs::{File, FileType, Metadata, OpenOptions};
    use std::io;
    pub(crate) use std::os::fd::AsFd as Stream;
    use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};

    use rustix::io::Errno;

    use super::{FileId, FileKind, Times};

    /// Opening does not wait for the other end of a FIFO, and a terminal does not become that of the process.
    pub(crate) fn non_blocking(options: &mut OpenOptions) -> &mut OpenOptions {
        options.custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
    }

    /// Another handle of a standard stream, without its lock and its buffer.
    ///
    /// # Errors
    /// There is no free file descriptor.
    pub(crate) fn duplicate(stream: &impl Stream) -> io::Result<File> {
        Ok(File::from(stream.as_fd().try_clone_to_owned()?))
    }

    /// Sets the mode of a file that is created.
    pub(crate) fn with_mode(options: &mut OpenOptions, mode: u32) -> &mut OpenOptions {
        options.mode(mode)
    }

    pub(crate) fn kind(file: FileType) -> FileKind {
        if file.is_file() {
            FileKind::Regular
        } else if file.is_dir() {
            FileKind::Directory
        } else if file.is_fifo() {
            FileKind::Fifo
        } else if file.is_socket() {
            FileKind::Socket
        } else if file.is_char_device() {
            FileKind::CharacterDevice
        } else if file.is_block_device() {
            FileKind::BlockDevice
        } else {
            FileKind::Other
        }
    }

    /// The identity of a file; none where the system does not report it.
    #[expect(clippy::unnecessary_wraps, reason = "other systems do not report it")]
    pub(crate) fn file_id(data: &Metadata) -> Option<FileId> {
        Some((data.dev(), data.ino()))
    }

    /// When a file was last changed; none where the system does not report all of it.
    #[expect(clippy::unnecessary_wraps, reason = "other systems do not report all of it")]
    pub(crate) fn times(data: &Metadata) -> Option<Times> {
        Some(Times {
            modified: (data.mtime(), data.mtime_nsec()),
            changed: (data.ctime(), data.ctime_nsec()),
        })
    }

    /// Whether the process (`EMFILE`) or the machine (`ENFILE`) has no descriptor left.
    pub(crate) fn is_out_of_descriptors(error: &io::Error) -> bool {
        matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE))
    }
}

#[cfg(not(unix))]
mod system {
    use std::fs::{File, FileType, Metadata, OpenOptions};
    use std::io;
    pub(crate) use std::os::windows::io::AsHandle as Stream;

    use super::{FileId, FileKind, Times};

    pub(crate) fn non_blocking(options: &mut OpenOptions) -> &mut OpenOptions {
        options
    }

    pub(crate) fn duplicate(stream: &impl Stream) -> io::Result<File> {
        Ok(File::from(stream.as_handle().try_clone_to_owned()?))
    }

    pub(crate) fn with_mode(options: &mut OpenOptions, _: u32) -> &mut OpenOptions {
        options
    }

    pub(crate) fn kind(file: FileType) -> FileKind {
        if file.is_file() {
            FileKind::Regular
        } else if file.is_dir() {
            FileKind::Directory
        } else {
            FileKind::Other
        }
    }

    pub(crate) fn file_id(_: &Metadata) -> Option<FileId> {
        None
    }

    pub(crate) fn times(_: &Metadata) -> Option<Times> {
        None
    }

    pub(crate) fn is_out_of_descriptors(_: &io::Error) -> bool {
        false
    }
}
