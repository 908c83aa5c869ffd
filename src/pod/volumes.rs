//! A pod's volumes by their names.

use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;

use super::paths::PathStyle;
use super::view::{PodView, TokenSource, Volume};

/// A pod's volumes by their names. The index is made when it is first asked: most pods never need it, and for a pod with
/// thousands of containers and volumes each search of the list would cost too much.
pub(super) struct Volumes<'p> {
    pod: &'p PodView<'p>,
    by_name: OnceCell<HashMap<&'p str, &'p Volume<'p>>>,
    /// The projected tokens of a volume by their paths.
    tokens: RefCell<HashMap<&'p str, HashMap<String, &'p TokenSource<'p>>>>,
}

impl<'p> Volumes<'p> {
    pub(super) fn of(pod: &'p PodView<'p>) -> Self {
        Self {
            pod,
            by_name: OnceCell::new(),
            tokens: RefCell::default(),
        }
    }

    /// The projected token of a volume at a path within it; of several at one path the first.
    pub(super) fn token(&self, volume: &'p Volume<'p>, path: &str, paths: PathStyle) -> Option<&'p TokenSource<'p>> {
        let mut tokens = self.tokens.borrow_mut();
        let of_volume = tokens.entry(volume.name()).or_insert_with(|| {
            let mut by_path = HashMap::new();
            for token in volume.tokens() {
                by_path.entry(paths.relative(token.path())).or_insert(token);
            }
            by_path
        });
        of_volume.get(path).copied()
    }

    /// The volume of a name; of several the first, as [`PodView::volume`] has it.
    pub(super) fn get(&self, name: &str) -> Option<&'p Volume<'p>> {
        let by_name = self.by_name.get_or_init(|| {
            let mut by_name = HashMap::new();
            for volume in self.pod.volumes() {
                by_name.entry(volume.name()).or_insert(volume);
            }
            by_name
        });
        by_name.get(name).copied()
    }
}
