//! Places that threads share out among each other.

use crate::maps::Maps;

/// Memory of which each image, or each member of a team, has a part.
#[derive(Clone, Copy)]
pub(crate) struct Strided {
    pub first: *mut f32,
    /// Elements from one part to the next.
    pub step: usize,
}

// SAFETY: a pointer by itself touches nothing; who uses it vouches that no two threads use a place at a time.
unsafe impl Send for Strided {}
// SAFETY: as above.
unsafe impl Sync for Strided {}

impl Strided {
    /// The maps of a batch, to be read only.
    pub(crate) fn inputs(maps: &Maps) -> Strided {
        Strided { first: maps.as_ptr().cast_mut(), step: maps.step() }
    }

    /// The maps of a batch.
    pub(crate) fn outputs(maps: &mut Maps) -> Strided {
        Strided { first: maps.as_mut_ptr(), step: maps.step() }
    }

    /// The part `index`.
    pub(crate) fn at(&self, index: usize) -> *mut f32 {
        self.first.wrapping_add(index * self.step)
    }
}
