//! AMX: products of matrices of bytes, and of `f32` in three pieces of bfloat16, in registers of 16 rows of 64 bytes;
//! everything else as on AVX-512 with VNNI.
//!
//! Stable Rust has no intrinsics for AMX, so the two loops over the depth are `asm!`.

use core::arch::asm;
use core::arch::x86_64::*;
use core::ffi::c_long;
use std::sync::OnceLock;

use crate::matrix::{BlockRow, ImageRow, Matrix, PANEL, Product, Run, Unit};

/// What `ldtilecfg` reads: sums in registers 0 to 3, the input in 4 and 5, the filter in 6 and 7.
#[repr(C, align(64))]
struct Shapes {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

/// Gives the registers of sums and of input `rows` rows.
///
/// # Safety
/// The processor has AMX, the system lets this process use it, and there are 1 to 16 rows.
unsafe fn open(rows: usize) {
    let mut shapes =
        Shapes { palette: 1, start_row: 0, reserved: [0; 14], row_bytes: [0; 16], rows: [0; 16] };
    shapes.row_bytes[..8].fill(64);
    shapes.rows[..6].fill(rows as u8);
    shapes.rows[6..8].fill(16);
    // SAFETY: reads 64 bytes that describe eight registers; nobody but `Product`s uses them (contract for the rest).
    unsafe { asm!("ldtilecfg [{}]", in(reg) &shapes, options(nostack, readonly)) }
}

/// # Safety
/// As [`open`].
unsafe fn close() {
    // SAFETY: nobody needs the registers any more.
    unsafe { asm!("tilerelease", options(nostack, nomem)) }
}

/// # Safety
/// After [`open`]; all pointers of `product` are valid.
unsafe fn byte_product(product: &Product) {
    // SAFETY: reads input and filter and writes the sums (contract).
    unsafe {
        asm!(
            "tilezero tmm0",
            "tilezero tmm1",
            "tilezero tmm2",
            "tilezero tmm3",
            "2:",
            "mov {input}, [{steps}]",
            "add {steps}, 8",
            "add {input}, {from}",
            "tileloadd tmm6, [{panel} + {line}*1]",
            "tileloadd tmm4, [{input} + {pixel}*1]",
            "add {input}, {half}",
            "tdpbusd tmm0, tmm4, tmm6",
            "tileloadd tmm7, [{panel} + {line}*1 + 1024]",
            "tdpbusd tmm1, tmm4, tmm7",
            "tileloadd tmm5, [{input} + {pixel}*1]",
            "add {panel}, 2048",
            "tdpbusd tmm2, tmm5, tmm6",
            "tdpbusd tmm3, tmm5, tmm7",
            "dec {count}",
            "jnz 2b",
            "add {line}, {line}",
            "tilestored [{sums} + {line}*1], tmm0",
            "tilestored [{sums} + {line}*1 + 64], tmm1",
            "tilestored [{sums} + {line}*1 + 2048], tmm2",
            "tilestored [{sums} + {line}*1 + 2112], tmm3",
            input = out(reg) _,
            steps = inout(reg) product.steps.as_ptr() => _,
            count = inout(reg) product.steps.len() => _,
            from = in(reg) product.from,
            pixel = in(reg) product.pixel,
            half = in(reg) product.rows * product.pixel,
            panel = inout(reg) product.panel => _,
            line = inout(reg) 64usize => _,
            sums = in(reg) product.sums,
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack),
        );
    }
}

/// Asks for four lines of the filter of the next step.
macro_rules! ahead {
    ($group:literal) => {
        concat!(
            "prefetcht0 [{panel} + 6144 + 256*", $group, "]\n",
            "prefetcht0 [{panel} + 6208 + 256*", $group, "]\n",
            "prefetcht0 [{panel} + 6272 + 256*", $group, "]\n",
            "prefetcht0 [{panel} + 6336 + 256*", $group, "]\n",
        )
    };
}

/// Every `f32` is the sum of three numbers of bfloat16, `high + middle + low`. Of the nine products of two such sums, the
/// three smallest are below the rounding of `f32`. Of the others, all but `high * high` are summed first, while the
/// sums are small and so is what rounding takes from them.
///
/// # Safety
/// After [`open`]; all pointers of `product` are valid.
unsafe fn float_product(product: &Product) {
    // SAFETY: reads input and filter and writes the sums (contract).
    unsafe {
        asm!(
            "tilezero tmm0",
            "tilezero tmm1",
            "tilezero tmm2",
            "tilezero tmm3",
            "2:",
            "mov {input}, [{steps}]",
            "add {steps}, 8",
            "add {input}, {from}",
            "lea {second}, [{input} + {half}]",
            // high x low
            "tileloadd tmm6, [{panel} + {line}*1]",
            "tileloadd tmm4, [{input} + {pixel}*1]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            ahead!(0),
            "tileloadd tmm7, [{panel} + {line}*1 + 1024]",
            "tdpbf16ps tmm1, tmm4, tmm7",
            ahead!(1),
            "tileloadd tmm5, [{second} + {pixel}*1]",
            "tdpbf16ps tmm2, tmm5, tmm6",
            ahead!(2),
            "tdpbf16ps tmm3, tmm5, tmm7",
            ahead!(3),
            // high x middle
            "tileloadd tmm6, [{panel} + {line}*1 + 2048]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            ahead!(4),
            "tileloadd tmm7, [{panel} + {line}*1 + 3072]",
            "tdpbf16ps tmm1, tmm4, tmm7",
            ahead!(5),
            "tdpbf16ps tmm2, tmm5, tmm6",
            ahead!(6),
            "tdpbf16ps tmm3, tmm5, tmm7",
            ahead!(7),
            // middle x middle
            "add {input}, {plane}",
            "add {second}, {plane}",
            "tileloadd tmm4, [{input} + {pixel}*1]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            ahead!(8),
            "tdpbf16ps tmm1, tmm4, tmm7",
            ahead!(9),
            "tileloadd tmm5, [{second} + {pixel}*1]",
            "tdpbf16ps tmm2, tmm5, tmm6",
            ahead!(10),
            "tdpbf16ps tmm3, tmm5, tmm7",
            ahead!(11),
            // middle x high
            "tileloadd tmm6, [{panel} + {line}*1 + 4096]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            ahead!(12),
            "tileloadd tmm7, [{panel} + {line}*1 + 5120]",
            "tdpbf16ps tmm1, tmm4, tmm7",
            ahead!(13),
            "tdpbf16ps tmm2, tmm5, tmm6",
            ahead!(14),
            "tdpbf16ps tmm3, tmm5, tmm7",
            ahead!(15),
            // low x high
            "add {input}, {plane}",
            "add {second}, {plane}",
            "tileloadd tmm4, [{input} + {pixel}*1]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            ahead!(16),
            "tdpbf16ps tmm1, tmm4, tmm7",
            ahead!(17),
            "tileloadd tmm5, [{second} + {pixel}*1]",
            "tdpbf16ps tmm2, tmm5, tmm6",
            ahead!(18),
            "tdpbf16ps tmm3, tmm5, tmm7",
            ahead!(19),
            "add {panel}, 6144",
            "dec {count}",
            "jnz 2b",
            // high x high, from the end, which the cache still has
            "3:",
            "sub {panel}, 6144",
            "sub {steps}, 8",
            "mov {input}, [{steps}]",
            "add {input}, {from}",
            "tileloadd tmm6, [{panel} + {line}*1 + 4096]",
            "tileloadd tmm4, [{input} + {pixel}*1]",
            "add {input}, {half}",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tileloadd tmm7, [{panel} + {line}*1 + 5120]",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "tileloadd tmm5, [{input} + {pixel}*1]",
            "tdpbf16ps tmm2, tmm5, tmm6",
            "tdpbf16ps tmm3, tmm5, tmm7",
            "dec {again}",
            "jnz 3b",
            "add {line}, {line}",
            "tilestored [{sums} + {line}*1], tmm0",
            "tilestored [{sums} + {line}*1 + 64], tmm1",
            "tilestored [{sums} + {line}*1 + 2048], tmm2",
            "tilestored [{sums} + {line}*1 + 2112], tmm3",
            input = out(reg) _,
            second = out(reg) _,
            steps = inout(reg) product.steps.as_ptr() => _,
            count = inout(reg) product.steps.len() => _,
            again = inout(reg) product.steps.len() => _,
            from = in(reg) product.from,
            pixel = in(reg) product.pixel,
            half = in(reg) product.rows * product.pixel,
            plane = in(reg) product.plane,
            panel = inout(reg) product.panel => _,
            line = inout(reg) 64usize => _,
            sums = in(reg) product.sums,
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack),
        );
    }
}

/// `x` as `[high, middle, low]`, each in the upper half of its words: `x` rounded to bfloat16, what is left, rounded, and
/// what is left then, which is exact.
#[inline]
#[target_feature(enable = "avx512f")]
fn pieces(x: __m512) -> [__m512i; 3] {
    let round = |x: __m512| {
        let rounded = _mm512_add_epi32(_mm512_castps_si512(x), _mm512_set1_epi32(1 << 15));
        _mm512_and_si512(rounded, _mm512_set1_epi32(-1 << 16))
    };
    let high = round(x);
    let left = _mm512_sub_ps(x, _mm512_castsi512_ps(high));
    let middle = round(left);
    [high, middle, _mm512_castps_si512(_mm512_sub_ps(left, _mm512_castsi512_ps(middle)))]
}

/// The upper halves of the words of both vectors, in order.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn upper_halves(first: __m512i, second: __m512i) -> __m512i {
    let mut odd = [0i16; 32];
    for (lane, index) in odd.iter_mut().enumerate() {
        *index = 2 * lane as i16 + 1;
    }
    // SAFETY: an array of a vector's size.
    let odd = unsafe { _mm512_loadu_si512(odd.as_ptr().cast()) };
    _mm512_permutex2var_epi16(first, odd, second)
}

/// # Safety
/// The vectors at `from` that `count` words take can be read, and 64 bytes of each plane be written.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn store_pieces(first: __m512, second: __m512, to: *mut u8, plane: usize) {
    let (first, second) = (pieces(first), pieces(second));
    for piece in 0..3 {
        // SAFETY: contract.
        unsafe {
            let to = to.add(piece * plane);
            _mm512_storeu_si512(to.cast(), upper_halves(first[piece], second[piece]));
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn float_blocks(row: &BlockRow) {
    for block in (0..row.blocks).step_by(2) {
        // SAFETY: two blocks of the row, or the last, and a place for two (contract).
        unsafe {
            let from = row.from.add(block * row.block_step);
            let to = row.to.add(block / 2 * row.chunk);
            for pixel in 0..row.pixels {
                let second = if block + 1 < row.blocks {
                    _mm512_loadu_ps(from.add(row.block_step + pixel * 16))
                } else {
                    _mm512_setzero_ps()
                };
                store_pieces(_mm512_loadu_ps(from.add(pixel * 16)), second, to.add(pixel * 64), row.plane);
            }
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn float_image(row: &ImageRow) {
    for start in (0..row.words).step_by(32) {
        let mask = |start: usize| {
            let left = row.words.saturating_sub(start).min(16);
            ((1u32 << left) - 1) as __mmask16
        };
        // SAFETY: the words that the masks leave are the row's; there is room for the last 32 (contract).
        unsafe {
            let first = _mm512_maskz_loadu_ps(mask(start), row.from.wrapping_add(start));
            let second = _mm512_maskz_loadu_ps(mask(start + 16), row.from.wrapping_add(start + 16));
            store_pieces(first, second, row.to.add(2 * start), row.plane);
        }
    }
}

unsafe fn byte_blocks(row: &BlockRow) {
    for block in 0..row.blocks {
        // SAFETY: a block of the row, and its place (contract).
        unsafe {
            let from = row.from.add(block * row.block_step).cast::<[u8; 16]>();
            let to = row.to.add(block / 4 * row.chunk + block % 4 * 16);
            for pixel in 0..row.pixels {
                to.add(pixel * 64).cast::<[u8; 16]>().write(from.add(pixel).read());
            }
        }
    }
}

unsafe fn byte_image(row: &ImageRow) {
    // SAFETY: contract.
    unsafe { row.from.cast::<u8>().copy_to_nonoverlapping(row.to, row.words * 4) }
}

#[target_feature(enable = "avx512f")]
unsafe fn store_floats(run: &Run<'_>) {
    let floor = _mm512_set1_ps(run.floor);
    for (vector, output) in run.outputs.iter().enumerate() {
        // SAFETY: a vector of biases and of each position's sums, and the outputs' pixels (contract).
        unsafe {
            let bias = _mm512_loadu_ps(run.bias.add(vector * 16));
            for position in 0..run.count {
                let sum = _mm512_loadu_ps(run.sums.add(position * PANEL + vector * 16));
                // In this order, what is not a number comes through.
                let result = _mm512_max_ps(floor, _mm512_add_ps(sum, bias));
                _mm512_storeu_ps(output.to.add(position * output.pixel_step), result);
            }
        }
    }
}

#[target_feature(enable = "avx512f")]
unsafe fn store_bytes(run: &Run<'_>) {
    for (vector, output) in run.outputs.iter().enumerate() {
        // SAFETY: a vector of biases, factors and of each position's sums, and the outputs' pixels (contract).
        unsafe {
            let bias = _mm512_loadu_si512(run.bias.add(vector * 16).cast());
            let factors = _mm512_loadu_ps(run.factors.add(vector * 16));
            for position in 0..run.count {
                let sum = _mm512_loadu_si512(run.sums.add(position * PANEL + vector * 16).cast());
                let to = output.to.add(position * output.pixel_step);
                super::avx512vnni::store_bytes(_mm512_add_epi32(sum, bias), factors, to);
            }
        }
    }
}

static MATRIX: Matrix = Matrix {
    bytes: Unit {
        name: "u8_conv_32x32_amx",
        number_bytes: 1,
        pieces: 1,
        product: byte_product,
        gather_blocks: byte_blocks,
        gather_image: byte_image,
        store: store_bytes,
    },
    floats: Unit {
        name: "f32_conv_32x32_amx",
        number_bytes: 2,
        pieces: 3,
        product: float_product,
        gather_blocks: float_blocks,
        gather_image: float_image,
        store: store_floats,
    },
    open,
    close,
};

/// Whether the processor has AMX for bytes and bfloat16, and the system lets this process use it: the registers are so
/// large that Linux wants to be asked.
fn is_usable() -> bool {
    static USABLE: OnceLock<bool> = OnceLock::new();
    const FEATURES: u32 = 1 << 22 | 1 << 24 | 1 << 25; // bfloat16, registers, bytes
    const ARCH_PRCTL: c_long = 158;
    const ARCH_REQ_XCOMP_PERM: c_long = 0x1023;
    const XFEATURE_XTILEDATA: c_long = 18;
    unsafe extern "C" {
        fn syscall(number: c_long, ...) -> c_long;
    }
    *USABLE.get_or_init(|| {
        let highest = __cpuid(0).eax;
        highest >= 7
            && __cpuid_count(7, 0).edx & FEATURES == FEATURES
            && is_x86_feature_detected!("avx512bw")
            // SAFETY: asks for a permission; an old system answers with an error.
            && unsafe { syscall(ARCH_PRCTL, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0 }
    })
}

pub(crate) const KERNELS: crate::Kernels = crate::Kernels {
    name: "amx",
    matrix: Some(&MATRIX),
    detect: || super::avx512vnni::KERNELS.is_present() && is_usable(),
    ..super::avx512vnni::KERNELS
};
