//! How members of a team share the maps of a batch: each works on blocks of channels of one image at a time.

use core::marker::PhantomData;
use std::sync::OnceLock;

use crate::map::Map;
use crate::maps::Maps;
use crate::team::Team;

/// A block of channels of one image: `h` rows of `w` pixels, `pitch` elements apart.
#[derive(Clone, Copy)]
pub(crate) struct Plane {
    pub start: *mut f32,
    pub pitch: usize,
    pub h: usize,
    pub w: usize,
}

impl Plane {
    /// Where row `y` begins.
    #[inline(always)]
    pub(crate) fn row(&self, y: usize) -> *mut f32 {
        self.start.wrapping_add(y * self.pitch)
    }
}

/// The planes of a batch without the borrow of its maps, so that members can write to different ones.
pub(crate) struct Planes<'a> {
    start: *mut f32,
    map: Map,
    /// Elements from one image to the next.
    step: usize,
    images: usize,
    maps: PhantomData<&'a mut Maps>,
}

// SAFETY: a pointer into maps that are borrowed for as long as this lives. Whoever writes through it vouches for
// writing planes of its own.
unsafe impl Sync for Planes<'_> {}

impl<'a> Planes<'a> {
    /// Planes that are only read.
    pub(crate) fn of(maps: &'a Maps) -> Planes<'a> {
        Planes::at(maps.as_ptr().cast_mut(), maps)
    }

    /// Planes that may be written.
    pub(crate) fn of_mut(maps: &'a mut Maps) -> Planes<'a> {
        Planes::at(maps.as_mut_ptr(), maps)
    }

    fn at(start: *mut f32, maps: &Maps) -> Planes<'a> {
        let (map, step, images) = (*maps.map(), maps.step(), maps.images());
        Planes { start, map, step, images, maps: PhantomData }
    }

    /// Blocks of channels of an image.
    pub(crate) fn blocks(&self) -> usize {
        self.map.blocks()
    }

    /// The block `block` of the image `image`.
    #[inline]
    pub(crate) fn plane(&self, image: usize, block: usize) -> Plane {
        assert!(image < self.images && block < self.map.blocks(), "a plane outside the maps");
        let [_, h, w] = self.map.shape();
        let start = self.start.wrapping_add(image * self.step + self.map.origin(block));
        Plane { start, pitch: self.map.pitch(), h, w }
    }
}

/// Asserts that maps are of the same images, in blocks of the same instruction set.
pub(crate) fn check_alike(maps: &Maps, others: &[&Maps]) {
    for other in others {
        assert_eq!(maps.images(), other.images(), "maps of another number of images");
        let same = core::ptr::eq(maps.kernels(), other.kernels());
        assert!(same, "maps in blocks of another instruction set");
    }
}

/// Elements of maps that are worth an item of its own: some microseconds, so that claiming it costs little.
const ITEM: usize = 1 << 14;

/// Calls `work(image, block)` for `blocks` blocks of each image of `maps`, shared out over the team: in the order of memory,
/// so that what is asked for ahead of need is what comes next.
pub(crate) fn share(team: &Team, maps: &Planes<'_>, blocks: usize, work: &(dyn Fn(usize, usize) + Sync)) {
    let planes = maps.images * blocks;
    let each = (ITEM / maps.map.plane()).max(1);
    team.share(planes.div_ceil(each), &|item| {
        for plane in item * each..((item + 1) * each).min(planes) {
            work(plane / blocks, plane % blocks);
        }
    });
}

/// As [`share`], but with the last image first: for a second pass, because what the first saw last is in the cache.
pub(crate) fn share_back(
    team: &Team,
    maps: &Planes<'_>,
    blocks: usize,
    work: &(dyn Fn(usize, usize) + Sync),
) {
    share(team, maps, blocks, &|image, block| work(maps.images - 1 - image, block));
}

/// What `work(image, block)` returns for `blocks` blocks of each image, joined over the images of each block: in their
/// order, so that rounded sums do not depend on the team.
pub(crate) fn join<T: Send + Sync, J: Default>(
    team: &Team,
    (maps, blocks): (&Planes<'_>, usize),
    work: &(dyn Fn(usize, usize) -> T + Sync),
    join: impl Fn(&mut J, &T),
) -> Vec<J> {
    let parts: Vec<OnceLock<T>> = (0..maps.images * blocks).map(|_| OnceLock::new()).collect();
    share(team, maps, blocks, &|image, block| {
        parts[image * blocks + block].get_or_init(|| work(image, block));
    });
    let of_block = |block| {
        let mut joined = J::default();
        let parts = parts.iter().skip(block).step_by(blocks).filter_map(OnceLock::get);
        parts.for_each(|part| join(&mut joined, part));
        joined
    };
    (0..blocks).map(of_block).collect()
}
