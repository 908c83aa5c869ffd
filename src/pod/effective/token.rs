//! Which token is at a path inside a container.

use crate::pod::paths::{CanonicalPath, PathStyle, Relation};
use crate::pod::view::{Container, TOKEN_PATH, TOKEN_VOLUME, VolumeMount};
use crate::pod::volumes::Volumes;

/// Where the token for the API server is in each container, mounted by Kubernetes' admission plugin.
const API_SERVER_TOKEN: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";

/// What is at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token<'p> {
    /// The token that rolegate puts into the pod.
    Ours {
        /// Otherwise the mount is to be added.
        is_mounted: bool,
    },
    /// A projected ServiceAccount token for this audience.
    Projected(&'p str),
    /// A projected ServiceAccount token that names no audience.
    ApiServer,
    /// Something else, or nothing that is known.
    Unknown,
}

/// Where rolegate puts its token.
pub(super) struct OurToken<'s> {
    pub(super) mount_path: &'s str,
    directory: Option<CanonicalPath<'s>>,
}

impl<'s> OurToken<'s> {
    pub(super) fn new(mount_path: &'s str, paths: PathStyle) -> Self {
        Self {
            mount_path,
            directory: paths.canonical(mount_path),
        }
    }

    /// Whether a path is in the folder where the token volume is mounted.
    pub(super) fn holds(&self, path: &str, paths: PathStyle) -> bool {
        let relation = self.directory.as_ref().zip(paths.canonical(path));
        relation.is_some_and(|(directory, file)| matches!(file.seen_from(directory), Relation::Below(_)))
    }

    /// What a container finds at a path, according to the deepest mount that contains it. The mount that rolegate adds counts if it can be
    /// added.
    pub(super) fn token_at<'p>(
        &self,
        volumes: &Volumes<'p>,
        container: &'p Container<'_>,
        path: &str,
        paths: PathStyle,
    ) -> Token<'p> {
        // With a slash at its end, a path is a folder's.
        let is_folder = path.ends_with('/') || path.ends_with("/.");
        let Some(file) = paths.canonical(path).filter(|_| !is_folder) else {
            return Token::Unknown;
        };
        let mut deepest: Option<(usize, &VolumeMount<'_>, &str)> = None;
        for mount in container.mounts() {
            let Some(directory) = paths.canonical(mount.path()) else {
                continue;
            };
            let within = match file.seen_from(&directory) {
                Relation::Same => "",
                Relation::Below(rest) => rest,
                Relation::Above | Relation::Apart => continue,
            };
            if deepest.is_none_or(|(length, ..)| directory.len() >= length) {
                deepest = Some((directory.len(), mount, within));
            }
        }
        if let Some(directory) = &self.directory {
            let is_ours = match file.seen_from(directory) {
                Relation::Below(rest) => without_data_link(rest) == TOKEN_PATH,
                Relation::Same | Relation::Above | Relation::Apart => false,
            };
            if is_ours && deepest.is_none_or(|(length, ..)| length < directory.len()) {
                // Unless the author's own volume has a token exactly there.
                let own = deepest.map(|(_, mount, within)| in_volume(volumes, mount, within, paths));
                return match own {
                    Some(token @ (Token::Projected(_) | Token::ApiServer)) => token,
                    Some(Token::Ours { .. } | Token::Unknown) | None => Token::Ours { is_mounted: false },
                };
            }
        }
        match deepest {
            Some((_, mount, within)) => in_volume(volumes, mount, within, paths),
            None if paths.canonical(API_SERVER_TOKEN).as_ref() == Some(&file) => Token::ApiServer,
            None => Token::Unknown,
        }
    }
}

/// The kubelet puts the files of a volume into a folder that the link `..data` points at.
fn without_data_link(within: &str) -> &str {
    within.strip_prefix("..data/").unwrap_or(within)
}

fn in_volume<'p>(volumes: &Volumes<'p>, mount: &VolumeMount<'_>, within: &str, paths: PathStyle) -> Token<'p> {
    let Some(sub_path) = mount.sub_path() else {
        return Token::Unknown;
    };
    let within = paths.relative(&format!("{sub_path}/{}", without_data_link(within)));
    let volume = volumes.get(mount.name());
    if mount.name() == TOKEN_VOLUME
        && within == TOKEN_PATH
        && volume.is_none_or(|volume| volume.token_audience(TOKEN_PATH).is_some())
    {
        return Token::Ours { is_mounted: true };
    }
    let token = volume.and_then(|volume| volumes.token(volume, &within, paths));
    match token {
        Some(token) => token.audience().map_or(Token::ApiServer, Token::Projected),
        None => Token::Unknown,
    }
}
