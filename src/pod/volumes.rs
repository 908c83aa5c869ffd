//! A pod's volumes by their names.

use std::cell::OnceCell;
use std::collections::HashMap;

use super::view::{PodView, Volume};

/// A pod's volumes by their names. The index is made when it is first asked: most pods never need it, and for a pod with
/// thousands of containers and volumes each search of the list would cost too much.
pub(super) struct Volumes<'p> {
    pod: &'p PodView<'p>,
    by_name: OnceCell<HashMap<&'p str, &'p Volume<'p>>>,
}

impl<'p> Volumes<'p> {
    pub(super) const fn of(pod: &'p PodView<'p>) -> Self {
        Self {
            pod,
            by_name: OnceCell::new(),
        }
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
