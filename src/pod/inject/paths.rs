//! Paths inside a pod's containers.

use crate::pod::view::PodView;

/// How paths are written and compared inside the pod's containers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum PathStyle {
    Posix,
    /// `C:\a\b`, though mount paths are written `/a/b` there too; case does not matter.
    Windows,
}

impl PathStyle {
    pub(super) fn of(pod: &PodView<'_>) -> Self {
        if pod.is_windows() { Self::Windows } else { Self::Posix }
    }

    /// A file in a directory, without doubled slashes.
    pub(super) fn file(self, directory: &str, file: &str) -> String {
        let (drive, separator) = match self {
            Self::Posix => ("", '/'),
            Self::Windows => ("C:", '\\'),
        };
        let mut path = String::with_capacity(directory.len().saturating_add(file.len()).saturating_add(4));
        path.push_str(drive);
        for part in self.parts(directory).chain(self.parts(file)) {
            path.push(separator);
            path.push_str(part);
        }
        path
    }

    pub(super) fn same(self, one: &str, other: &str) -> bool {
        if one == other {
            return true;
        }
        match self {
            Self::Posix => self.parts(one).eq(self.parts(other)),
            Self::Windows => {
                let lower = |part: &str| part.to_ascii_lowercase();
                self.parts(one).map(lower).eq(self.parts(other).map(lower))
            }
        }
    }

    fn parts(self, path: &str) -> impl Iterator<Item = &str> {
        let path = match self {
            Self::Posix => path,
            Self::Windows => path
                .strip_prefix("C:")
                .or_else(|| path.strip_prefix("c:"))
                .unwrap_or(path),
        };
        let is_separator = move |byte: u8| byte == b'/' || (self == Self::Windows && byte == b'\\');
        let mut rest = Some(path);
        std::iter::from_fn(move || {
            let path = rest?;
            // A separator is one byte, and part of no other character.
            let end = path.bytes().position(is_separator);
            let (part, after) = match end {
                Some(end) => (path.get(..end), path.get(end + 1..)),
                None => (Some(path), None),
            };
            rest = after;
            part
        })
        .filter(|part| !part.is_empty() && *part != ".")
    }
}
