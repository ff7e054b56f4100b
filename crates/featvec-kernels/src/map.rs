//! Where things lie in the arena: feature maps in channel blocks, and the padded input picture.

use core::ops::Range;

use crate::program::Affine;
use crate::quantize::Channel;

/// Elements beyond which no arena can go: byte offsets must fit an `isize`.
const MAX_ELEMENTS: usize = isize::MAX as usize / size_of::<f32>();

/// The product of `factors`, plus `offset`; below [`MAX_ELEMENTS`], so that no arithmetic on places inside wraps.
pub(crate) fn checked_end<const N: usize>(offset: usize, factors: [Option<usize>; N]) -> usize {
    let len = factors.into_iter().try_fold(1usize, |len, factor| len.checked_mul(factor?));
    let end = len.and_then(|len| len.checked_add(offset)).filter(|end| *end <= MAX_ELEMENTS);
    end.expect("a place beyond the address space")
}

/// `len` and `before` and `after` it.
fn padded(len: usize, before: usize, after: usize) -> Option<usize> {
    len.checked_add(before)?.checked_add(after)
}

/// Pixels added around a map or a picture.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Padding {
    /// Rows above.
    pub top: usize,
    /// Columns to the left.
    pub left: usize,
    /// Rows below.
    pub bottom: usize,
    /// Columns to the right.
    pub right: usize,
}

/// What the numbers of a map are stored as.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Element {
    /// As they are.
    F32,
    /// As bytes: `q` stands for `q * step`. What would be negative is zero, which a ReLU makes of it anyway.
    U8 {
        /// The difference between neighbouring numbers.
        step: f32,
    },
}

impl Element {
    /// How many fit in a word of the arena.
    pub(crate) fn per_word(self) -> usize {
        match self {
            Element::F32 => 1,
            Element::U8 { .. } => 4,
        }
    }
}

/// A feature map `[c, h, w]` in the arena, stored as `[c / lanes][h + 2 * halo][w + 2 * halo][lanes]`.
///
/// The arena consists of words of 32 bits, so that a byte map takes a quarter of the places. The last block is filled
/// up with channels of no meaning, zero in maps of `f32`. The halo is never written: it is zero because the arena
/// starts as zeros and the caller lets only maps of the same `h`, `w`, `halo` and element share its place.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Map {
    offset: usize,
    element: Element,
    lanes: usize,
    channels: usize,
    h: usize,
    w: usize,
    halo: usize,
}

impl Map {
    /// The map whose first element lies `offset` elements into the arena, in blocks of `lanes` channels
    /// ([`Kernels::lanes`](crate::Kernels::lanes)), around it `halo` zero pixels on each side.
    ///
    /// # Panics
    /// Where the map is empty, or ends beyond the address space.
    pub fn new(offset: usize, lanes: usize, shape: [usize; 3], halo: usize) -> Map {
        Map::of(Element::F32, offset, lanes, (shape, halo))
    }

    /// Channels of a block of a byte map, with all instruction sets.
    pub const BYTE_LANES: usize = 16;

    /// Like [`new`](Map::new), a map whose numbers are stored as bytes, `step` apart.
    ///
    /// # Panics
    /// As [`new`](Map::new), and where `step` is not a positive number.
    pub fn bytes(step: f32, offset: usize, shape: [usize; 3], halo: usize) -> Map {
        assert!(step > 0.0 && step.is_finite(), "steps of {step}");
        Map::of(Element::U8 { step }, offset, Map::BYTE_LANES, (shape, halo))
    }

    fn of(
        element: Element,
        offset: usize,
        lanes: usize,
        ([channels, h, w], halo): ([usize; 3], usize),
    ) -> Map {
        assert!(lanes > 0 && channels > 0 && h > 0 && w > 0, "an empty map: {channels}x{h}x{w}");
        let blocks = channels.div_ceil(lanes);
        checked_end(offset, [Some(blocks), padded(h, halo, halo), padded(w, halo, halo), Some(lanes)]);
        Map { offset, element, lanes, channels, h, w, halo }
    }

    /// The part of the map from `channel` on, `channels` wide.
    ///
    /// # Panics
    /// Where the part does not begin and end at a block, or leaves the map.
    pub fn slice(&self, channel: usize, channels: usize) -> Map {
        assert!(channel.is_multiple_of(self.lanes), "channel {channel} does not begin a block");
        assert!(
            channels > 0 && channel < self.channels && channels <= self.channels - channel,
            "no channels, or channels outside the map"
        );
        assert!(
            channels.is_multiple_of(self.lanes) || channel + channels == self.channels,
            "{channels} channels end inside a block that others share"
        );
        Map { offset: self.offset + channel / self.lanes * self.plane(), channels, ..*self }
    }

    /// Words that the map takes in the arena.
    #[allow(clippy::len_without_is_empty)] // a map is never empty
    pub fn len(&self) -> usize {
        self.blocks() * self.plane()
    }

    /// Channels, rows and columns.
    pub fn shape(&self) -> [usize; 3] {
        [self.channels, self.h, self.w]
    }

    /// The place of the first element in the arena.
    pub fn offset(&self) -> usize {
        self.offset
    }

    /// Zero pixels on each side.
    pub fn halo(&self) -> usize {
        self.halo
    }

    /// What its numbers are stored as.
    pub fn element(&self) -> Element {
        self.element
    }

    /// # Panics
    /// Where a filter of `[kh, kw, ic]` does not fit the map and its halo.
    pub(crate) fn check(&self, [kh, kw, ic]: [usize; 3]) {
        assert_eq!(ic, self.channels, "the filter reads other channels than the map has");
        assert!(kh % 2 == 1 && kw % 2 == 1, "an even filter has no middle: {kh}x{kw}");
        assert!(kh / 2 <= self.halo && kw / 2 <= self.halo, "the halo is too thin for {kh}x{kw}");
    }

    pub(crate) fn lanes(&self) -> usize {
        self.lanes
    }

    /// Words of a pixel of a block.
    pub(crate) fn words(&self) -> usize {
        self.lanes / self.element.per_word()
    }

    pub(crate) fn range(&self) -> Range<usize> {
        self.offset..self.offset + self.len()
    }

    pub(crate) fn blocks(&self) -> usize {
        self.channels.div_ceil(self.lanes)
    }

    /// Words from one row to the next.
    pub(crate) fn pitch(&self) -> usize {
        (self.w + 2 * self.halo) * self.words()
    }

    /// Words from one block to the next.
    pub(crate) fn plane(&self) -> usize {
        (self.h + 2 * self.halo) * self.pitch()
    }

    /// The offset of pixel (0, 0) of block `block`, behind the halo.
    pub(crate) fn origin(&self, block: usize) -> usize {
        self.offset + block * self.plane() + self.halo * (self.pitch() + self.words())
    }
}

/// How the colours of a picture are stored as bytes: `q` stands for `(q - zero) * step`, one of each for red, green and
/// blue. The colour 0, of which the padding consists, is a byte exactly.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Levels {
    pub step: [f32; Image::CHANNELS],
    pub zero: [u8; Image::CHANNELS],
}

impl Levels {
    /// Those that what `affine` makes of `[0, 1]` fits into.
    fn of(affine: &Affine) -> Levels {
        let mut levels = Levels { step: [1.0; Image::CHANNELS], zero: [0; Image::CHANNELS] };
        for c in 0..Image::CHANNELS {
            let ends = [affine.offset[c], affine.offset[c] + affine.scale[c]];
            let (low, high) = (ends[0].min(ends[1]).min(0.0), ends[0].max(ends[1]).max(0.0));
            if low < high {
                let zero = (255.0 * -low / (high - low)).round_ties_even();
                levels.zero[c] = zero as u8;
                // One of the divisors may be zero, and then so is what it divides.
                levels.step[c] = (-low / zero.max(1.0)).max(high / (255.0 - zero).max(1.0));
            }
        }
        levels
    }
}

/// The input picture `[h, w, 3]` in the arena with its padding, not in blocks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Image {
    pub(crate) offset: usize,
    pub(crate) h: usize,
    pub(crate) w: usize,
    pub(crate) padding: Padding,
    pub(crate) pixels: Pixels,
}

/// How the pixels of a picture are stored.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Pixels {
    /// A word a colour.
    Single,
    /// A word a pixel, of three bytes and one without meaning.
    Bytes(Levels),
    /// A square of 2x2 pixels together: two of the upper row, two of the lower, and words that are zero.
    Squares,
}

impl Image {
    /// Colour channels: red, green, blue.
    pub const CHANNELS: usize = 3;

    /// Words of a square of 2x2 pixels: the colours of four pixels, filled up to whole vectors of any instruction set.
    pub(crate) const SQUARE: usize = 16;

    /// The picture of `h` x `w` pixels whose padding begins `offset` elements into the arena. Like a halo, the
    /// padding must keep what it holds (zeros, or the byte that stands for zero), so nothing else may share its place.
    ///
    /// # Panics
    /// Where the picture is empty, or ends beyond the address space.
    pub fn new(offset: usize, h: usize, w: usize, padding: Padding) -> Image {
        assert!(h > 0 && w > 0, "an empty picture: {h}x{w}");
        let Padding { top, left, bottom, right } = padding;
        checked_end(offset, [padded(h, top, bottom), padded(w, left, right), Some(Image::CHANNELS)]);
        Image { offset, h, w, padding, pixels: Pixels::Single }
    }

    /// The same picture with its colours stored as bytes, as they are after `affine` of pictures in [0, 1].
    pub fn bytes(self, affine: &Affine) -> Image {
        Image { pixels: Pixels::Bytes(Levels::of(affine)), ..self }
    }

    /// The same picture in squares of 2x2 pixels, as Winograd's algorithm reads it.
    ///
    /// # Panics
    /// Where it ends beyond the address space.
    pub fn squares(self) -> Image {
        let image = Image { pixels: Pixels::Squares, ..self };
        checked_end(self.offset, [image.lines(), image.columns(), image.words()].map(Some));
        image
    }

    /// What bytes stand for, where colours are stored as bytes.
    pub(crate) fn levels(&self) -> Option<&Levels> {
        match &self.pixels {
            Pixels::Bytes(levels) => Some(levels),
            _ => None,
        }
    }

    /// What the bytes of each channel stand for, where colours are stored as bytes.
    pub(crate) fn channels(&self) -> Option<Vec<Channel>> {
        let Levels { step, zero } = *self.levels()?;
        Some(step.into_iter().zip(zero).map(|(step, zero)| Channel { step, zero }).collect())
    }

    /// # Panics
    /// Where a convolution by a filter of `[kh, kw, ic]` with `stride`, to an output of `[h, w]`, does not fit the picture
    /// and its padding.
    pub(crate) fn check(&self, [kh, kw, ic]: [usize; 3], [h, w]: [usize; 2], stride: usize) {
        assert!(kh > 0 && kw > 0, "a filter without taps");
        assert_eq!(ic, Image::CHANNELS, "the filter reads other channels than a picture has");
        for (out, size, len) in [(h, kh, self.padded_h()), (w, kw, self.padded_w())] {
            let reach = (out - 1).checked_mul(stride).and_then(|last| last.checked_add(size));
            assert!(reach.is_some_and(|reach| reach <= len), "the picture's padding is too thin");
        }
    }

    /// Words that the picture takes in the arena.
    #[allow(clippy::len_without_is_empty)] // a picture is never empty
    pub fn len(&self) -> usize {
        self.lines() * self.pitch()
    }

    pub(crate) fn padded_h(&self) -> usize {
        self.padding.top + self.h + self.padding.bottom
    }

    pub(crate) fn padded_w(&self) -> usize {
        self.padding.left + self.w + self.padding.right
    }

    /// Words of a pixel, or of a square.
    pub(crate) fn words(&self) -> usize {
        match self.pixels {
            Pixels::Single => Image::CHANNELS,
            Pixels::Bytes(_) => 1,
            Pixels::Squares => Image::SQUARE,
        }
    }

    /// Rows of pixels, or of squares.
    pub(crate) fn lines(&self) -> usize {
        if self.pixels == Pixels::Squares { self.padded_h().div_ceil(2) } else { self.padded_h() }
    }

    /// Columns of pixels, or of squares.
    pub(crate) fn columns(&self) -> usize {
        if self.pixels == Pixels::Squares { self.padded_w().div_ceil(2) } else { self.padded_w() }
    }

    /// Words from a row of pixels, or of squares, to the next.
    pub(crate) fn pitch(&self) -> usize {
        self.columns() * self.words()
    }

    pub(crate) fn range(&self) -> Range<usize> {
        self.offset..self.offset + self.len()
    }
}
