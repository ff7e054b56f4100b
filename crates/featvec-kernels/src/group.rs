//! Where the maps of the images that run together lie.
//!
//! An arena has two parts. The *early* part holds the large maps at the beginning of a network, one image at a time,
//! so that every image finds the same memory still in the cache. The *late* part holds the small maps at the end,
//! for a group of images: filters are larger than maps there, and each number of a filter is read once a group.

/// The maps of one image.
#[derive(Clone, Copy)]
pub(crate) struct Slot {
    early: *mut f32,
    late: *mut f32,
    split: usize,
}

impl Slot {
    /// The element at `offset` of the arena.
    #[inline(always)]
    pub(crate) fn at(self, offset: usize) -> *mut f32 {
        if offset < self.split {
            self.early.wrapping_add(offset)
        } else {
            self.late.wrapping_add(offset - self.split)
        }
    }

    /// That of another image, so many elements on in either part.
    #[inline(always)]
    fn moved(self, early: usize, late: usize) -> Slot {
        Slot { early: self.early.wrapping_add(early), late: self.late.wrapping_add(late), ..self }
    }
}

/// The maps of some images.
#[derive(Clone, Copy)]
pub(crate) struct Group {
    /// The first image's slot.
    pub first: Slot,
    /// Where its transformed maps lie: there too, or in memory of the member's own.
    pub tiles: Slot,
    /// Elements from one image to the next in either part; none in the early part where images take turns in it.
    pub early_step: usize,
    pub late_step: usize,
    /// Which images of the batch.
    pub first_image: usize,
    pub images: usize,
    /// How many members of the team work on them together.
    pub members: usize,
}

impl Group {
    pub(crate) fn new((early, late): (*mut f32, *mut f32), split: usize) -> Group {
        let first = Slot { early, late, split };
        Group { first, tiles: first, early_step: 0, late_step: 0, first_image: 0, images: 1, members: 1 }
    }

    /// The slot of the image `index` of the group.
    #[inline(always)]
    pub(crate) fn slot(&self, index: usize) -> Slot {
        self.first.moved(index * self.early_step, index * self.late_step)
    }

    /// The image `index` alone.
    pub(crate) fn only(&self, index: usize) -> Group {
        let tiles = self.tiles.moved(index * self.early_step, index * self.late_step);
        Group { first: self.slot(index), tiles, first_image: self.first_image + index, images: 1, ..*self }
    }

    /// Elements from the place `offset` of one image to that of the next.
    pub(crate) fn step_at(&self, offset: usize) -> usize {
        if offset < self.first.split { self.early_step } else { self.late_step }
    }
}
