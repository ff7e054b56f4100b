//! Names in an archive, which may have several members of one.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

/// How often each name was there so far. It takes some 20 bytes a name.
#[derive(Default)]
pub(super) struct Names(HashMap<u64, u32>);

impl Names {
    /// `name`, with `#2` and so on behind it if it was there before.
    pub(super) fn unique(&mut self, name: String) -> String {
        let mut hasher = DefaultHasher::new();
        name.hash(&mut hasher);
        let count = self.0.entry(hasher.finish()).or_default();
        *count = count.saturating_add(1);
        if *count == 1 { name } else { format!("{name}#{count}") }
    }
}
