//! A batch of feature maps with memory of their own: what the operations of training read and write.
//!
//! Inference lays all maps of a pass out in one arena, so that few of them take memory at a time. Training needs most of
//! them again on the way back, so each batch of maps is a value like any other, and the borrow checker does what
//! [`Program::push`](crate::Program::push) does for an arena.

use crate::arena::Aligned;
use crate::conv::LINE;
use crate::kernels::Kernels;
use crate::map::{Map, checked_end};

/// Feature maps of a batch of images, `[n][c / lanes][h + 2 * halo][w + 2 * halo][lanes]`.
///
/// The halo, and the channels that fill up the last block, are zero, and no operation writes anything else to them.
pub struct Maps {
    kernels: &'static Kernels,
    /// The map of each image, at offset 0.
    map: Map,
    images: usize,
    /// Elements from one image to the next.
    step: usize,
    data: Aligned,
}

impl Maps {
    /// Maps of `shape` `[c, h, w]` for `images` images, all zero, with `halo` zero pixels on each side.
    ///
    /// # Panics
    /// Where there are no images, a map is empty, or they do not fit the address space.
    pub fn new(kernels: &'static Kernels, images: usize, shape: [usize; 3], halo: usize) -> Maps {
        assert!(images > 0, "no images");
        let map = Map::new(0, kernels.lanes(), shape, halo);
        // Whole cache lines, so that threads that work on different images never share one.
        let step = map.len().next_multiple_of(LINE);
        let data = Aligned::zeroed(checked_end(0, [Some(step), Some(images)]));
        Maps { kernels, map, images, step, data }
    }

    /// Channels, rows and columns of each map.
    pub fn shape(&self) -> [usize; 3] {
        self.map.shape()
    }

    /// How many images there are.
    pub fn images(&self) -> usize {
        self.images
    }

    /// Zero pixels on each side.
    pub fn halo(&self) -> usize {
        self.map.halo()
    }

    /// The kernels whose blocks the channels are stored in.
    pub fn kernels(&self) -> &'static Kernels {
        self.kernels
    }

    /// Bytes of memory.
    pub fn bytes(&self) -> usize {
        size_of_val::<[f32]>(&self.data)
    }

    /// Sets everything to zero.
    pub fn clear(&mut self) {
        self.data.fill(0.0);
    }

    /// Makes of the same memory maps of another shape without halo, whose numbers mean nothing; takes more memory where
    /// there is not enough.
    ///
    /// # Panics
    /// As [`new`](Maps::new).
    pub fn reshape(&mut self, shape: [usize; 3]) {
        let map = Map::new(0, self.kernels.lanes(), shape, 0);
        let step = map.len().next_multiple_of(LINE);
        let len = checked_end(0, [Some(step), Some(self.images)]);
        if len > self.data.len() {
            self.data = Aligned::zeroed(len);
        } else if !shape[0].is_multiple_of(map.lanes()) {
            self.clear();
        }
        (self.map, self.step) = (map, step);
    }

    /// Takes the numbers of all images from `values`, `[n, h, w, c]`.
    ///
    /// # Panics
    /// Where `values` has another length.
    pub fn load(&mut self, values: &[f32]) {
        self.check_len(values.len());
        let channels = self.map.shape()[0];
        for (pixel, values) in values.chunks_exact(channels).enumerate() {
            for (block, values) in values.chunks(self.map.lanes()).enumerate() {
                let start = self.place(pixel, block);
                self.data[start..start + values.len()].copy_from_slice(values);
            }
        }
    }

    /// Writes the numbers of all images to `values`, `[n, h, w, c]`.
    ///
    /// # Panics
    /// Where `values` has another length.
    pub fn store(&self, values: &mut [f32]) {
        self.check_len(values.len());
        let channels = self.map.shape()[0];
        for (pixel, values) in values.chunks_exact_mut(channels).enumerate() {
            for (block, values) in values.chunks_mut(self.map.lanes()).enumerate() {
                let start = self.place(pixel, block);
                values.copy_from_slice(&self.data[start..start + values.len()]);
            }
        }
    }

    fn check_len(&self, len: usize) {
        let [c, h, w] = self.map.shape();
        assert_eq!(len, self.images * h * w * c, "not as many numbers as the maps have");
    }

    /// Where the block `block` of a pixel lies, counting pixels through all images.
    fn place(&self, pixel: usize, block: usize) -> usize {
        let [_, h, w] = self.map.shape();
        let (image, y, x) = (pixel / (h * w), pixel / w % h, pixel % w);
        image * self.step + self.map.origin(block) + y * self.map.pitch() + x * self.map.lanes()
    }

    /// The geometry of each image's map, as if it began an arena.
    pub(crate) fn map(&self) -> &Map {
        &self.map
    }

    /// Elements from one image to the next.
    pub(crate) fn step(&self) -> usize {
        self.step
    }

    /// The first image's map.
    pub(crate) fn as_ptr(&self) -> *const f32 {
        self.data.as_ptr()
    }

    /// As [`as_ptr`](Maps::as_ptr), for writing.
    pub(crate) fn as_mut_ptr(&mut self) -> *mut f32 {
        self.data.as_mut_ptr()
    }
}

impl core::fmt::Debug for Maps {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{} maps of {:?}, halo {}", self.images, self.shape(), self.halo())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_loaded_is_stored_and_nothing_else_is_touched() {
        for kernels in Kernels::present() {
            for (shape, halo) in [([3, 2, 5], 0), ([16, 1, 1], 1), ([35, 3, 4], 2)] {
                let mut maps = Maps::new(kernels, 3, shape, halo);
                let len = 3 * shape.iter().product::<usize>();
                let values: Vec<f32> = (1..=len).map(|x| x as f32).collect();
                maps.load(&values);
                let mut stored = vec![0.0; len];
                maps.store(&mut stored);
                assert_eq!(stored, values);
                assert_eq!(maps.data.iter().filter(|x| **x != 0.0).count(), len);
                maps.clear();
                assert!(maps.data.iter().all(|x| *x == 0.0));

                maps.load(&values);
                maps.reshape([5, 1, 1]);
                maps.load(&values[..15]);
                assert_eq!((maps.shape(), maps.halo()), ([5, 1, 1], 0));
                let held = &maps.data[..3 * maps.step];
                assert_eq!(held.iter().filter(|x| **x != 0.0).count(), 15);
                maps.reshape([50, 4, 4]);
                maps.load(&vec![1.0; 3 * 50 * 16]);
            }
        }
    }
}
