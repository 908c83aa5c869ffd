//! Recognizes the text of a policy that was parsed before, without keeping the text.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::LazyLock;

use crate::roles::source::RoleDocument;
use crate::trust::Origin;

/// Two random keys of this process: no author of a policy can write another one with the same hashes.
static KEYS: LazyLock<[RandomState; 2]> = LazyLock::new(|| [RandomState::new(), RandomState::new()]);

/// Equal for documents with the same policy text from the same kind of origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fingerprint {
    length: usize,
    hashes: [u64; 2],
    origin: Origin,
}

impl Fingerprint {
    pub(super) fn of(document: &RoleDocument) -> Self {
        let text = &*document.policy;
        Self {
            length: text.len(),
            hashes: KEYS.each_ref().map(|key| key.hash_one(text)),
            origin: document.origin,
        }
    }
}
