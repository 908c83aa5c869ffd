//! Paths inside a pod's containers, compared as text, because the contents of the image are not known.

use std::borrow::Cow;

use super::view::PodView;

/// How paths are written and compared inside the pod's containers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PathStyle {
    Posix,
    /// `C:\a\b`, though mount paths are written `/a/b` there too; case does not matter.
    Windows,
}

/// Where one path is, seen from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Relation<'p> {
    Same,
    /// A folder that holds the other path.
    Above,
    /// Inside the other path; the rest of it, without a slash at its beginning.
    Below(&'p str),
    Apart,
}

/// An absolute path in one spelling: `/` between its parts, no `.`, `..` or empty part, no slash at its end (the root is empty),
/// `/run` for `/var/run`, which nearly all images link to it; on Windows lowercase and without `c:`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CanonicalPath<'p>(Cow<'p, str>);

impl CanonicalPath<'_> {
    /// Where `self` is, seen from `other`.
    pub(super) fn seen_from(&self, other: &CanonicalPath<'_>) -> Relation<'_> {
        let (own, other) = (&*self.0, &*other.0);
        if own == other {
            return Relation::Same;
        }
        if let Some(rest) = own.strip_prefix(other).and_then(|rest| rest.strip_prefix('/')) {
            return Relation::Below(rest);
        }
        let is_above = other.strip_prefix(own).is_some_and(|rest| rest.starts_with('/'));
        if is_above { Relation::Above } else { Relation::Apart }
    }

    /// A measure of depth: of two paths that hold a third one, the deeper is longer.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
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

    /// The one spelling of an absolute path; none for a relative one, which depends on the container's working directory.
    pub(super) fn canonical(self, path: &str) -> Option<CanonicalPath<'_>> {
        let path = match self {
            Self::Posix => path,
            Self::Windows => without_drive_c(path),
        };
        let is_absolute = path.starts_with('/') || (self == Self::Windows && path.starts_with('\\'));
        if !is_absolute {
            return None;
        }
        let is_clean = self == Self::Posix && !path.contains("//") && !path.contains("/.") && !path.ends_with('/');
        let path = if is_clean {
            Cow::Borrowed(path)
        } else {
            let mut parts: Vec<&str> = Vec::new();
            for part in self.parts(path) {
                if part == ".." {
                    parts.pop();
                } else {
                    parts.push(part);
                }
            }
            let mut clean = String::with_capacity(path.len());
            for part in parts {
                clean.push('/');
                clean.push_str(part);
            }
            if self == Self::Windows {
                clean.make_ascii_lowercase();
            }
            Cow::Owned(clean)
        };
        Some(CanonicalPath(match self {
            Self::Posix => run_for_var_run(path),
            Self::Windows => path,
        }))
    }

    /// Relative to a folder, in one spelling: `token` for `./token`.
    pub(super) fn relative(self, path: &str) -> String {
        self.parts(path).collect::<Vec<_>>().join("/")
    }

    fn parts(self, path: &str) -> impl Iterator<Item = &str> {
        let path = match self {
            Self::Posix => path,
            Self::Windows => without_drive_c(path),
        };
        path.split(move |character| character == '/' || (self == Self::Windows && character == '\\'))
            .filter(|part| !part.is_empty() && *part != ".")
    }
}

fn without_drive_c(path: &str) -> &str {
    path.strip_prefix("C:")
        .or_else(|| path.strip_prefix("c:"))
        .unwrap_or(path)
}

fn run_for_var_run(path: Cow<'_, str>) -> Cow<'_, str> {
    let is_var_run = path
        .strip_prefix("/var/run")
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    if !is_var_run {
        return path;
    }
    let start = "/var".len();
    match path {
        Cow::Borrowed(path) => Cow::Borrowed(path.get(start..).unwrap_or_default()),
        Cow::Owned(mut path) => {
            path.drain(..start);
            Cow::Owned(path)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical(style: PathStyle, path: &str) -> Option<String> {
        style.canonical(path).map(|path| path.0.into_owned())
    }

    #[test]
    fn spellings_of_one_path_are_one() {
        for path in [
            "/run/secrets/eks",
            "/var/run/secrets/eks",
            "/var/run/secrets/eks/",
            "//var/run//secrets/./eks",
            "/var/run/secrets/other/../eks",
            "/var/./run/secrets/eks/.",
            "/../var/run/secrets/eks",
        ] {
            assert_eq!(
                canonical(PathStyle::Posix, path).as_deref(),
                Some("/run/secrets/eks"),
                "{path}"
            );
        }
        for path in [
            "/var/run/secrets/EKS",
            r"C:\var\run\secrets\eks",
            r"c:/var\run//secrets\x\..\eks",
        ] {
            let path = canonical(PathStyle::Windows, path);
            assert_eq!(path.as_deref(), Some("/var/run/secrets/eks"));
        }
        for (path, other) in [
            ("/", ""),
            ("/var/running", "/var/running"),
            ("/var/run", "/run"),
            ("/a/..b/.c", "/a/..b/.c"),
        ] {
            assert_eq!(canonical(PathStyle::Posix, path).as_deref(), Some(other), "{path}");
        }
        for path in ["", "token", "./token", r"C:\token"] {
            assert_eq!(canonical(PathStyle::Posix, path), None, "{path}");
        }
        assert_eq!(canonical(PathStyle::Windows, r"D:\token"), None);
    }

    #[test]
    fn relations_end_at_slashes() {
        let relation = |own: &str, other: &str| {
            let style = PathStyle::Posix;
            let (own, other) = (style.canonical(own).unwrap(), style.canonical(other).unwrap());
            match own.seen_from(&other) {
                Relation::Below(rest) => format!("below by {rest}"),
                other => format!("{other:?}"),
            }
        };
        assert_eq!(relation("/a/b", "/a/b/"), "Same");
        assert_eq!(relation("/a", "/a/b"), "Above");
        assert_eq!(relation("/", "/a/b"), "Above");
        assert_eq!(relation("/a/b/c", "/a"), "below by b/c");
        assert_eq!(relation("/a/b", "/"), "below by a/b");
        assert_eq!(relation("/ab", "/a"), "Apart");
        assert_eq!(relation("/a", "/ab"), "Apart");
    }
}
