//! The list of kernels: one table per instruction set, from which dispatch, tests and benches all draw.

use crate::conv::Tile;
use crate::lrn::LrnRow;
use crate::norm::NormBlock;
use crate::pool::{MeanBlock, PoolRow};

pub(crate) type TileFn = unsafe fn(&Tile<'_>);

/// The kernels of one instruction set. Holding a reference to one is the proof that the processor has it:
/// the only ways to get one are [`Kernels::best`] and [`Kernels::present`], which ask the processor.
pub struct Kernels {
    pub(crate) name: &'static str,
    pub(crate) tile_name: &'static str,
    pub(crate) lanes: usize,
    /// `tiles[vectors - 1][rows - 1]`.
    pub(crate) tiles: &'static [&'static [TileFn]],
    pub(crate) max_pool_row: unsafe fn(&PoolRow),
    pub(crate) mean_block: unsafe fn(&MeanBlock),
    pub(crate) lrn_row: unsafe fn(&LrnRow),
    pub(crate) batch_norm_block: unsafe fn(&NormBlock),
    pub(crate) peak: unsafe fn(),
    pub(crate) detect: fn() -> bool,
}

/// Every instruction set that this program was built with, the fastest first.
static ALL: &[&Kernels] = &[
    #[cfg(target_arch = "x86_64")]
    &crate::arch::avx512::KERNELS,
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

    /// The instruction set: `avx512`, `avx2`, `neon` or `portable`.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The name of the convolution micro-kernel: data type, rows x output channels of a tile, instruction set.
    pub fn tile_name(&self) -> &'static str {
        self.tile_name
    }

    /// Channels of a block of a [`Map`](crate::Map).
    pub fn lanes(&self) -> usize {
        self.lanes
    }

    /// Pixels of the tallest tile.
    pub(crate) fn tile_rows(&self) -> usize {
        self.tiles[0].len()
    }

    /// Vectors of output channels of the widest tile.
    pub(crate) fn tile_vectors(&self) -> usize {
        self.tiles.len()
    }
}

impl core::fmt::Debug for Kernels {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.tile_name)
    }
}

/// Writes the entry points of one instruction set and its table. The generic arithmetic is inlined into each entry
/// point, which is where the compiler is told the instruction set.
macro_rules! entry_points {
    (
        simd: $simd:ident, $(#[$feature:meta])* name: $name:literal, tile: $tile:literal,
        rows: $rows:tt, vectors: [$($vectors:literal)*],
        detect: $detect:expr,
    ) => {
        $(#[$feature])*
        unsafe fn tile<const ROWS: usize, const VECTORS: usize>(tile: &crate::conv::Tile<'_>) {
            // SAFETY: forwarded to the caller.
            unsafe { crate::conv::tile::<$simd, ROWS, VECTORS>($simd { _proof: () }, tile) }
        }
        $(#[$feature])*
        unsafe fn max_pool_row(row: &crate::pool::PoolRow) {
            // SAFETY: forwarded to the caller.
            unsafe { crate::pool::max_pool_row($simd { _proof: () }, row) }
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
        unsafe fn peak() {
            const CHAINS: usize = [$($vectors),*].len() * crate::kernels::count!($rows);
            crate::peak::peak::<$simd, CHAINS>($simd { _proof: () });
        }
        pub(crate) static KERNELS: crate::Kernels = crate::Kernels {
            name: $name,
            tile_name: $tile,
            lanes: <$simd as Simd>::LANES,
            tiles: &[$(crate::kernels::tiles!($vectors $rows)),*],
            max_pool_row,
            mean_block,
            lrn_row,
            batch_norm_block,
            peak,
            detect: || $detect,
        };
    };
}

/// The tiles of one width, from one row up.
macro_rules! tiles {
    ($vectors:literal [$($rows:literal)*]) => { &[$(tile::<$rows, $vectors>),*] };
}

/// How many literals a list has.
macro_rules! count {
    ([$($item:literal)*]) => { [$($item),*].len() };
}

pub(crate) use count;
pub(crate) use entry_points;
pub(crate) use tiles;
