//! Interblock smoothing of unfinished progressive pictures.
//!
//! Where the scans of a file leave low frequencies unknown or imprecise, libjpeg-turbo estimates those that
//! are still zero from the DC coefficients of the 5x5 blocks around. Complete files are not affected.

use crate::coefficients::{Block, Plane};
use crate::frame::{Component, Frame};
use crate::markers::{ScanHeader, ZIGZAG};

/// Coefficients, in zigzag order, that smoothing looks at.
const SMOOTHED: usize = 10;

/// Lowest bit known of each of a component's first coefficients, -1 where nothing is.
type KnownBits = [i8; SMOOTHED];

/// Weights of the DC coefficients around a block, in 1/256.
type Kernel = [[i32; 5]; 5];

/// How precisely the scans so far define each component.
#[derive(Clone, Debug)]
pub(crate) struct Precision {
    /// Now, and before the last scan of the component.
    components: Vec<(KnownBits, KnownBits)>,
    scans: usize,
}

impl Precision {
    pub(crate) fn new(frame: &Frame) -> Self {
        Self { components: vec![([-1; SMOOTHED], [-1; SMOOTHED]); frame.components.len()], scans: 0 }
    }

    /// Takes note of a progressive scan.
    pub(crate) fn add(&mut self, scan: &ScanHeader) {
        for component in &scan.components {
            let (now, before) = &mut self.components[component.index];
            *before = if self.scans > 0 { *now } else { [0; SMOOTHED] };
            let band = usize::from(scan.first)..=usize::from(scan.last);
            for (_, bits) in now.iter_mut().enumerate().filter(|(k, _)| band.contains(k)) {
                *bits = scan.low as i8;
            }
        }
        self.scans += 1;
    }
}

/// Smooths rows of MCUs of a picture whose scans are all decoded.
#[derive(Debug)]
pub(crate) struct Smoother<'f> {
    frame: &'f Frame,
    steps: Vec<[u16; 64]>,
    precision: Precision,
    /// Last row of MCUs for which the last scan had data.
    last_good_row: usize,
    rows: Vec<Plane>,
}

impl<'f> Smoother<'f> {
    /// A smoother, if the picture needs one and has what it takes: some DC bits of all components, and no
    /// steps of zero.
    pub(crate) fn new(
        frame: &'f Frame,
        steps: &[Option<[u16; 64]>],
        precision: Precision,
        last_good_row: usize,
    ) -> Option<Self> {
        let steps: Vec<[u16; 64]> = steps.iter().copied().collect::<Option<_>>()?;
        let divisible =
            |steps: &[u16; 64]| ZIGZAG[..SMOOTHED].iter().all(|&position| steps[usize::from(position)] > 0);
        let usable = precision.components.iter().all(|(now, _)| now[0] >= 0) && steps.iter().all(divisible);
        let useful = precision.components.iter().any(|(now, _)| now[1..].iter().any(|&bits| bits != 0));
        if !(usable && useful) {
            return None;
        }
        let rows = frame.components.iter().map(|c| Plane::new(c, 1)).collect();
        Some(Self { frame, steps, precision, last_good_row, rows })
    }

    /// Row `row` of MCUs with estimates in the place of unknown coefficients.
    pub(crate) fn smooth(&mut self, planes: &[Plane], row: usize) -> &mut [Plane] {
        for (c, component) in self.frame.components.iter().enumerate() {
            let (now, before) = &self.precision.components[c];
            let known = match row > self.last_good_row {
                false => now,
                true if self.precision.scans > 1 => before,
                true => &[-1; SMOOTHED],
            };
            let estimator = Estimator::new(known, &self.steps[c]);
            for y in 0..component.v.min(component.blocks_high - row * component.v) {
                let window = rows_around(self.frame, component, row, y)
                    .map(|y| &planes[c].blocks[y * component.stride..][..component.blocks_wide]);
                let out = &mut self.rows[c].blocks[y * component.stride..];
                for (x, block) in out.iter_mut().enumerate().take(component.blocks_wide) {
                    *block = window[2][x];
                    let columns = columns_around(component, x);
                    estimator.fill(block, &window.map(|row| columns.map(|x| row[x][0].into())));
                }
            }
        }
        &mut self.rows
    }
}

/// The rows of blocks two above to two below row `y` of a row of MCUs, as the reference picks them at the
/// picture's edges.
fn rows_around(frame: &Frame, component: &Component, row: usize, y: usize) -> [usize; 5] {
    let center = row * component.v + y;
    let rows = component.v.min(component.blocks_high - row * component.v);
    let last = frame.mcus_high - 1;
    let above = if y > 0 || row > 0 { center - 1 } else { center };
    let above_2 = if y > 1 || row > 1 { center - 2 } else { above };
    let below = if y + 1 < rows || row < last { center + 1 } else { center };
    let below_2 = if y + 2 < rows || row + 1 < last { center + 2 } else { below };
    [above_2, above, center, below, below_2]
}

/// The columns of blocks two to the left to two to the right of column `x`, as the reference picks them at
/// the picture's edges: in a picture of two columns (libjpeg-turbo 2.1.4, which TensorFlow builds) it takes
/// the left one for what lies beyond the right.
fn columns_around(component: &Component, x: usize) -> [usize; 5] {
    let last = component.blocks_wide - 1;
    let beyond = if last == 1 { 0 } else { last };
    let right = |x: usize| if x > last { beyond } else { x };
    [x.saturating_sub(2), x.saturating_sub(1), x, right(x + 1), right(x + 2)]
}

/// Estimates the coefficients of one component's blocks.
struct Estimator<'a> {
    known: &'a KnownBits,
    steps: &'a [u16; 64],
    /// By zigzag index; index 0 only where DC coefficients are smoothed too.
    kernels: &'static [Option<Kernel>; SMOOTHED],
}

impl<'a> Estimator<'a> {
    fn new(known: &'a KnownBits, steps: &'a [u16; 64]) -> Self {
        let dc_only = known[1..].iter().all(|&bits| bits == -1);
        Self { known, steps, kernels: if dc_only { &DC_ONLY_KERNELS } else { &KERNELS } }
    }

    /// Fills in what `block` does not know from the DC coefficients around it.
    fn fill(&self, block: &mut Block, dc: &[[i32; 5]; 5]) {
        for (k, kernel) in self.kernels.iter().enumerate() {
            let position = usize::from(ZIGZAG[k]);
            let bits = self.known[k];
            if let Some(kernel) = kernel
                && (k == 0 || bits != 0 && block[position] == 0)
            {
                let sum: i32 = kernel.iter().flatten().zip(dc.iter().flatten()).map(|(w, dc)| w * dc).sum();
                let sum = i64::from(sum) * i64::from(self.steps[0]);
                let step = i64::from(self.steps[position]);
                let mut size = ((step << 7) + sum.abs()) / (step << 8);
                if k > 0 && bits > 0 {
                    size = size.min((1 << bits) - 1);
                }
                block[position] = (size * sum.signum()) as i16;
            }
        }
    }
}

const fn transposed(kernel: Kernel) -> Kernel {
    let mut out = [[0; 5]; 5];
    let mut i = 0;
    while i < 25 {
        out[i % 5][i / 5] = kernel[i / 5][i % 5];
        i += 1;
    }
    out
}

/// The kernels for pictures of which some AC coefficients are known.
static KERNELS: [Option<Kernel>; SMOOTHED] = {
    const H1: Kernel = [[0; 5], [0; 5], [-7, 50, 0, -50, 7], [0; 5], [0; 5]];
    const H2: Kernel = [[0; 5], [0; 5], [-1, 13, -24, 13, -1], [0; 5], [0; 5]];
    const DIAGONAL: Kernel =
        [[0, -1, 0, 1, 0], [-1, 10, 0, -10, 1], [0; 5], [1, -10, 0, 10, -1], [0, 1, 0, -1, 0]];
    let (v1, v2) = (transposed(H1), transposed(H2));
    [None, Some(H1), Some(v1), Some(v2), Some(DIAGONAL), Some(H2), None, None, None, None]
};

/// The kernels for pictures of DC coefficients only, which are smoothed themselves.
static DC_ONLY_KERNELS: [Option<Kernel>; SMOOTHED] = {
    const MEAN: Kernel = [
        [-2, -6, -8, -6, -2],
        [-6, 6, 42, 6, -6],
        [-8, 42, 152, 42, -8],
        [-6, 6, 42, 6, -6],
        [-2, -6, -8, -6, -2],
    ];
    const H1: Kernel =
        [[-1, -1, 0, 1, 1], [-3, 13, 0, -13, 3], [-3, 38, 0, -38, 3], [-3, 13, 0, -13, 3], [-1, -1, 0, 1, 1]];
    const H2: Kernel = [[0; 5], [0, 2, -5, 2, 0], [1, 7, -14, 7, 1], [0, 2, -5, 2, 0], [0; 5]];
    const H3: Kernel = [[0; 5], [0, 1, 0, -1, 0], [0, 2, 0, -2, 0], [0, 1, 0, -1, 0], [0; 5]];
    const H2_V1: Kernel = [[0; 5], [0, 1, -3, 1, 0], [0; 5], [0, -1, 3, -1, 0], [0; 5]];
    const DIAGONAL: Kernel = [[-1, 0, 0, 0, 1], [0, 9, 0, -9, 0], [0; 5], [0, -9, 0, 9, 0], [1, 0, 0, 0, -1]];
    let (v1, v2, v3, h1_v2) = (transposed(H1), transposed(H2), transposed(H3), transposed(H2_V1));
    [
        Some(MEAN),
        Some(H1),
        Some(v1),
        Some(v2),
        Some(DIAGONAL),
        Some(H2),
        Some(H3),
        Some(H2_V1),
        Some(h1_v2),
        Some(v3),
    ]
};
