//! The list of kernels: one table per instruction set, from which dispatch, tests and benches all draw.

use crate::conv::Tile;
use crate::convert::Conversion;
use crate::lrn::LrnRow;
use crate::map::{Element, Map};
use crate::matrix::Matrix;
use crate::norm::NormBlock;
use crate::pool::{MeanBlock, PoolRow};
use crate::train::batch_norm::{Gradient, Normalization, Sums};
use crate::train::filter_gradient::GradientTile;
use crate::train::lrn::LrnGradientRow;
use crate::train::planes::Plane;
use crate::train::pool::PoolGradientRow;
use crate::winograd::{FilterPanel, InputRow, OutputRow, TapRows};

pub(crate) type TileFn = unsafe fn(&Tile<'_>);
pub(crate) type GradientTileFn = unsafe fn(&GradientTile);

/// The kernels of one instruction set. Holding a reference to one is the proof that the processor has it:
/// the only ways to get one are [`Kernels::best`] and [`Kernels::present`], which ask the processor.
pub struct Kernels {
    pub(crate) name: &'static str,
    pub(crate) tiles: Tiles,
    pub(crate) byte_tiles: Tiles,
    /// The unit for products of matrices of bytes, where the processor has one.
    pub(crate) matrix: Option<&'static Matrix>,
    /// Of the gradient to a filter: `[vectors - 1][rows - 1]`.
    pub(crate) gradient_tiles: &'static [&'static [GradientTileFn]],
    pub(crate) convert: unsafe fn(&Conversion<'_>),
    pub(crate) convert_to_bytes: unsafe fn(&Conversion<'_>),
    pub(crate) convert_to_squares: unsafe fn(&Conversion<'_>),
    pub(crate) winograd_input: unsafe fn(&InputRow),
    pub(crate) winograd_image: unsafe fn(&InputRow),
    pub(crate) winograd_gradient: unsafe fn(&InputRow),
    pub(crate) winograd_filter: unsafe fn(&mut FilterPanel<'_>),
    pub(crate) winograd_taps: unsafe fn(&mut TapRows<'_>),
    pub(crate) winograd_output: unsafe fn(&OutputRow),
    pub(crate) winograd_image_output: unsafe fn(&OutputRow),
    pub(crate) max_pool_row: unsafe fn(&PoolRow),
    pub(crate) max_pool_bytes: unsafe fn(&PoolRow),
    pub(crate) mean_block: unsafe fn(&MeanBlock),
    pub(crate) lrn_row: unsafe fn(&LrnRow),
    pub(crate) batch_norm_block: unsafe fn(&NormBlock),
    pub(crate) moments: unsafe fn(&Plane) -> Sums,
    pub(crate) normalize: unsafe fn(&Normalization<'_>),
    pub(crate) gradient_sums: unsafe fn(&Gradient<'_>) -> Sums,
    pub(crate) normalize_backward: unsafe fn(&Gradient<'_>),
    pub(crate) max_pool_backward: unsafe fn(&PoolGradientRow),
    pub(crate) lrn_backward: unsafe fn(&LrnGradientRow),
    pub(crate) peak: unsafe fn(),
    pub(crate) detect: fn() -> bool,
}

/// The micro-kernels of convolution for one type of numbers.
pub(crate) struct Tiles {
    pub name: &'static str,
    /// Output channels of a vector.
    pub lanes: usize,
    /// Pixels of a run: [`Dot::RUN`](crate::simd::Dot::RUN).
    pub run: usize,
    /// For maps in blocks: `of_map[vectors - 1][rows - 1]`.
    pub of_map: Sizes,
    /// For the picture, with stride 2.
    pub of_image: Sizes,
}

type Sizes = &'static [&'static [TileFn]];

impl Tiles {
    /// Pixels of the tallest tile.
    pub(crate) fn rows(&self) -> usize {
        self.of_map[0].len()
    }

    /// Vectors of output channels of the widest tile.
    pub(crate) fn vectors(&self) -> usize {
        self.of_map.len()
    }
}

/// Every instruction set that this program was built with, the fastest first.
static ALL: &[&Kernels] = &[
    #[cfg(all(target_arch = "x86_64", target_os = "linux", target_pointer_width = "64"))]
    &crate::arch::amx::KERNELS,
    #[cfg(target_arch = "x86_64")]
    &crate::arch::avx512vnni::KERNELS,
    #[cfg(target_arch = "x86_64")]
    &crate::arch::avx512::KERNELS,
    #[cfg(target_arch = "x86_64")]
    &crate::arch::avxvnni::KERNELS,
    #[cfg(target_arch = "x86_64")]
    &crate::arch::avx2::KERNELS,
    #[cfg(target_arch = "aarch64")]
    &crate::arch::neon::KERNELS,
    &crate::arch::portable::KERNELS,
];

impl Kernels {
    /// The fastest kernels that this processor can run.
    pub fn best() -> &'static Kernels {
        Kernels::present().next().expect("the portable kernels run everywhere")
    }

    /// All kernels that this processor can run, the fastest first.
    pub fn present() -> impl Iterator<Item = &'static Kernels> {
        ALL.iter().copied().filter(|kernels| kernels.is_present())
    }

    pub(crate) fn is_present(&self) -> bool {
        (self.detect)()
    }

    /// The instruction set: `amx`, `avx512vnni`, `avx512`, `avxvnni`, `avx2`, `neon` or `portable`.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The name of the convolution micro-kernel: data type, rows x output channels of a tile, instruction set.
    pub fn tile_name(&self) -> &'static str {
        self.tiles.name
    }

    /// The name of the micro-kernel for bytes.
    pub fn byte_tile_name(&self) -> &'static str {
        self.matrix.map_or(self.byte_tiles.name, |matrix| matrix.name)
    }

    /// Channels of a block of a [`Map`](crate::Map) of `f32`.
    pub fn lanes(&self) -> usize {
        self.tiles.lanes
    }

    /// Channels of a block of a map.
    pub(crate) fn lanes_of(&self, element: Element) -> usize {
        match element {
            Element::F32 => self.lanes(),
            Element::U8 { .. } => Map::BYTE_LANES,
        }
    }
}

impl core::fmt::Debug for Kernels {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.name)
    }
}

/// Writes the entry points of one instruction set and its table. The generic arithmetic is inlined into each entry
/// point, which is where the compiler is told the instruction set.
macro_rules! entry_points {
    (
        simd: $simd:ident, $(#[$feature:meta])* name: $name:literal, tile: $tile:literal,
        rows: $rows:tt, vectors: [$($vectors:literal)*], gradient_rows: $gradient_rows:tt,
        byte_tiles: $byte_tiles:expr,
        detect: $detect:expr,
    ) => {
        $(#[$feature])*
        unsafe fn tile<const STEP: usize, const ROWS: usize, const VECTORS: usize>(tile: &crate::conv::Tile<'_>) {
            // SAFETY: forwarded to the caller.
            unsafe { crate::conv::tile::<$simd, STEP, ROWS, VECTORS>($simd { _proof: () }, tile) }
        }
        $(#[$feature])*
        unsafe fn gradient_tile<const ROWS: usize, const VECTORS: usize>(tile: &crate::train::filter_gradient::GradientTile) {
            // SAFETY: forwarded to the caller.
            unsafe { crate::train::filter_gradient::gradient_tile::<$simd, ROWS, VECTORS>($simd { _proof: () }, tile) }
        }
        $(#[$feature])*
        unsafe fn convert(conversion: &crate::convert::Conversion<'_>) {
            // SAFETY: forwarded to the caller.
            unsafe { crate::convert::convert(conversion) }
        }
        $(#[$feature])*
        unsafe fn convert_to_bytes(conversion: &crate::convert::Conversion<'_>) {
            // SAFETY: forwarded to the caller.
            unsafe { crate::bytes::convert(conversion) }
        }
        $(#[$feature])*
        unsafe fn convert_to_squares(conversion: &crate::convert::Conversion<'_>) {
            // SAFETY: forwarded to the caller.
            unsafe { crate::convert::convert_to_squares(conversion) }
        }
        $(#[$feature])*
        unsafe fn winograd_input(row: &crate::winograd::InputRow) {
            // SAFETY: forwarded to the caller.
            unsafe { crate::winograd::input_row($simd { _proof: () }, row) }
        }
        $(#[$feature])*
        unsafe fn winograd_image(row: &crate::winograd::InputRow) {
            // SAFETY: forwarded to the caller.
            unsafe { crate::winograd::image_row($simd { _proof: () }, row) }
        }
        $(#[$feature])*
        unsafe fn winograd_gradient(row: &crate::winograd::InputRow) {
            // SAFETY: forwarded to the caller.
            unsafe { crate::winograd::gradient_row($simd { _proof: () }, row) }
        }
        $(#[$feature])*
        unsafe fn winograd_filter(panel: &mut crate::winograd::FilterPanel<'_>) {
            crate::winograd::filter_panel(panel);
        }
        $(#[$feature])*
        unsafe fn winograd_taps(rows: &mut crate::winograd::TapRows<'_>) {
            crate::winograd::tap_rows(rows);
        }
        $(#[$feature])*
        unsafe fn winograd_output(row: &crate::winograd::OutputRow) {
            // SAFETY: forwarded to the caller.
            unsafe { crate::winograd::output_row::<$simd, { crate::winograd::WINDOW }>($simd { _proof: () }, row) }
        }
        $(#[$feature])*
        unsafe fn winograd_image_output(row: &crate::winograd::OutputRow) {
            // SAFETY: forwarded to the caller.
            unsafe { crate::winograd::output_row::<$simd, { crate::winograd::IMAGE_WINDOW }>($simd { _proof: () }, row) }
        }
        $(#[$feature])*
        unsafe fn max_pool_row(row: &crate::pool::PoolRow) {
            // SAFETY: forwarded to the caller.
            unsafe { crate::pool::max_pool_row($simd { _proof: () }, row) }
        }
        $(#[$feature])*
        unsafe fn max_pool_bytes(row: &crate::pool::PoolRow) {
            // SAFETY: forwarded to the caller.
            unsafe { crate::bytes::max_pool_row(row) }
        }
        $(#[$feature])*
        unsafe fn mean_block(block: &crate::pool::MeanBlock) {
            // SAFETY: forwarded to the caller.
            unsafe { crate::pool::mean_block($simd { _proof: () }, block) }
        }
        $(#[$feature])*
        unsafe fn lrn_row(row: &crate::lrn::LrnRow) {
            // SAFETY: forwarded to the caller.
            unsafe { crate::lrn::lrn_row($simd { _proof: () }, row) }
        }
        $(#[$feature])*
        unsafe fn batch_norm_block(block: &crate::norm::NormBlock) {
            // SAFETY: forwarded to the caller.
            unsafe { crate::norm::batch_norm_block($simd { _proof: () }, block) }
        }
        $(#[$feature])*
        unsafe fn moments(plane: &crate::train::planes::Plane) -> crate::train::batch_norm::Sums {
            // SAFETY: forwarded to the caller.
            unsafe { crate::train::batch_norm::moments_of_plane($simd { _proof: () }, plane) }
        }
        $(#[$feature])*
        unsafe fn normalize(plane: &crate::train::batch_norm::Normalization<'_>) {
            // SAFETY: forwarded to the caller.
            unsafe { crate::train::batch_norm::normalize_plane($simd { _proof: () }, plane) }
        }
        $(#[$feature])*
        unsafe fn gradient_sums(
            plane: &crate::train::batch_norm::Gradient<'_>,
        ) -> crate::train::batch_norm::Sums {
            // SAFETY: forwarded to the caller.
            unsafe { crate::train::batch_norm::gradient_sums($simd { _proof: () }, plane) }
        }
        $(#[$feature])*
        unsafe fn normalize_backward(plane: &crate::train::batch_norm::Gradient<'_>) {
            // SAFETY: forwarded to the caller.
            unsafe { crate::train::batch_norm::gradient_of_plane($simd { _proof: () }, plane) }
        }
        $(#[$feature])*
        unsafe fn max_pool_backward(row: &crate::train::pool::PoolGradientRow) {
            // SAFETY: forwarded to the caller.
            unsafe { crate::train::pool::gradient_row($simd { _proof: () }, row) }
        }
        $(#[$feature])*
        unsafe fn lrn_backward(row: &crate::train::lrn::LrnGradientRow) {
            // SAFETY: forwarded to the caller.
            unsafe { crate::train::lrn::gradient_row($simd { _proof: () }, row) }
        }
        $(#[$feature])*
        unsafe fn peak() {
            const CHAINS: usize = [$($vectors),*].len() * crate::kernels::count!($rows);
            crate::peak::peak::<$simd, CHAINS>($simd { _proof: () });
        }
        pub(crate) const KERNELS: crate::Kernels = crate::Kernels {
            name: $name,
            tiles: crate::kernels::Tiles {
                name: $tile,
                lanes: <$simd as Simd>::LANES,
                run: <$simd as crate::simd::Dot>::RUN,
                of_map: &[$(crate::kernels::tiles!(tile, <$simd as crate::simd::Dot>::PIXEL, $vectors $rows)),*],
                of_image: &[$(crate::kernels::tiles!(tile, <$simd as crate::simd::Dot>::IMAGE_STEP, $vectors $rows)),*],
            },
            byte_tiles: $byte_tiles,
            matrix: None,
            gradient_tiles: &[$(crate::kernels::gradient_tiles!(gradient_tile, $vectors $gradient_rows)),*],
            convert,
            convert_to_bytes,
            convert_to_squares,
            winograd_input,
            winograd_image,
            winograd_gradient,
            winograd_filter,
            winograd_taps,
            winograd_output,
            winograd_image_output,
            max_pool_row,
            max_pool_bytes,
            mean_block,
            lrn_row,
            batch_norm_block,
            moments,
            normalize,
            gradient_sums,
            normalize_backward,
            max_pool_backward,
            lrn_backward,
            peak,
            detect: || $detect,
        };
    };
}

/// Writes the entry points of the tiles of bytes of one instruction set, and their table.
macro_rules! byte_entry_points {
    (
        dot: $dot:ident, $(#[$feature:meta])* tile: $tile:literal,
        rows: $rows:tt, vectors: [$($vectors:literal)*],
    ) => {
        $(#[$feature])*
        unsafe fn byte_tile<const STEP: usize, const ROWS: usize, const VECTORS: usize>(
            tile: &crate::conv::Tile<'_>,
        ) {
            // SAFETY: forwarded to the caller.
            unsafe { crate::bytes::byte_tile::<$dot, STEP, ROWS, VECTORS>($dot { _proof: () }, tile) }
        }
        pub(crate) const BYTE_TILES: crate::kernels::Tiles = crate::kernels::Tiles {
            name: $tile,
            lanes: <$dot as crate::simd::Dot>::LANES,
            run: <$dot as crate::simd::Dot>::RUN,
            of_map: &[$(crate::kernels::tiles!(byte_tile, <$dot as crate::simd::Dot>::PIXEL, $vectors $rows)),*],
            of_image: &[$(crate::kernels::tiles!(byte_tile, <$dot as crate::simd::Dot>::IMAGE_STEP, $vectors $rows)),*],
        };
    };
}

/// The tiles of one width, from one row up.
macro_rules! tiles {
    ($tile:ident, $step:expr, $vectors:literal [$($rows:literal)*]) => { &[$($tile::<{ $step }, $rows, $vectors>),*] };
}

/// The tiles of a filter's gradient of one width, from one row up.
macro_rules! gradient_tiles {
    ($tile:ident, $vectors:literal [$($rows:literal)*]) => { &[$($tile::<$rows, $vectors>),*] };
}

/// How many literals a list has.
macro_rules! count {
    ([$($item:literal)*]) => { [$($item),*].len() };
}

pub(crate) use byte_entry_points;
pub(crate) use count;
pub(crate) use entry_points;
pub(crate) use gradient_tiles;
pub(crate) use tiles;
