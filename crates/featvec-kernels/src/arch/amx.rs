//! AMX: products of matrices of bytes, in registers of 16 rows of 64 bytes; everything else as on AVX-512 with VNNI.
//!
//! Stable Rust has no intrinsics for AMX, so its few instructions are `asm!`. What [`open`] sets up stays from one block
//! of it to the next, because the compiler makes no use of these registers by itself.

use core::arch::asm;
use core::arch::x86_64::*;
use core::ffi::c_long;
use std::sync::OnceLock;

use crate::matrix::{Matrix, PANEL, Product, Run};

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
    unsafe {
        asm!(
            "ldtilecfg [{}]",
            in(reg) &shapes,
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack, readonly),
        );
    }
}

/// # Safety
/// As [`open`].
unsafe fn close() {
    // SAFETY: nobody needs the registers any more.
    unsafe {
        asm!(
            "tilerelease",
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack, nomem),
        );
    }
}

/// # Safety
/// After [`open`]; all pointers of `product` are valid.
unsafe fn product(product: &Product) {
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

#[target_feature(enable = "avx512f")]
unsafe fn store(run: &Run<'_>) {
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

static MATRIX: Matrix = Matrix { name: "u8_conv_32x32_amx", open, product, store, close };

/// Whether the processor has AMX for bytes, and the system lets this process use it: the registers are so large that
/// Linux wants to be asked. From then on it refuses alternative signal stacks smaller than `AT_MINSIGSTKSZ` in the whole
/// process; where there is one already, it refuses AMX.
fn is_usable() -> bool {
    static USABLE: OnceLock<bool> = OnceLock::new();
    const FEATURES: u32 = 1 << 24 | 1 << 25; // registers, bytes
    const ARCH_PRCTL: c_long = 158;
    const ARCH_REQ_XCOMP_PERM: c_long = 0x1023;
    const XFEATURE_XTILEDATA: c_long = 18;
    unsafe extern "C" {
        fn syscall(number: c_long, ...) -> c_long;
    }
    *USABLE.get_or_init(|| {
        // SAFETY: every x86-64 processor has the instruction. Newer versions of Rust know, and need no `unsafe`.
        #[allow(unused_unsafe)]
        let has_amx = unsafe { __cpuid(0).eax >= 7 && __cpuid_count(7, 0).edx & FEATURES == FEATURES };
        // SAFETY: asks for a permission; an old system answers with an error.
        has_amx && unsafe { syscall(ARCH_PRCTL, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0 }
    })
}

pub(crate) const KERNELS: crate::Kernels = crate::Kernels {
    name: "amx",
    matrix: Some(&MATRIX),
    detect: || super::avx512vnni::KERNELS.is_present() && is_usable(),
    ..super::avx512vnni::KERNELS
};
