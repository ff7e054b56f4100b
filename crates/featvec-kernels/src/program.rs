//! A forward pass as a list of phases over one arena, and its execution by a team.
//!
//! The steps of a phase are independent of each other; their items of work are shared out over the team, with a
//! barrier after each phase. When a batch has at least as many images as the team has members, whole images are
//! shared out instead and no barrier is needed. Both ways compute every element by the same instructions in the
//! same order.

use core::ops::Range;
use core::sync::atomic::{AtomicU64, Ordering};

use crate::arena::{Aligned, Workspace};
use crate::claims::Claims;
use crate::conv::{Branch, Conv};
use crate::convert;
use crate::kernels::Kernels;
use crate::lrn::LrnRow;
use crate::map::{Image, Map};
use crate::norm::NormBlock;
use crate::pool::{MeanBlock, PoolRow};
use crate::problem::{Problem, StepInfo};
use crate::team::{Member, Team};

/// What a network does to its input picture first: `x * scale + offset` for each of red, green and blue.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Affine {
    /// Factors of red, green, blue.
    pub scale: [f32; 3],
    /// Summands of red, green, blue.
    pub offset: [f32; 3],
}

/// The parameters of local response normalisation across channels: `x / (k + alpha / size * sum)^0.75`, where the
/// sum is that of the squares of the `size` channels around `x`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lrn {
    /// Channels of the window, odd.
    pub size: usize,
    /// Weight of the sum of squares.
    pub alpha: f32,
    /// The constant under the power.
    pub k: f32,
}

/// One step of a phase.
#[derive(Clone, Debug)]
pub enum Step<'a> {
    /// The caller's picture `[h, w, 3]`, scaled, into the arena.
    Convert {
        /// Where to.
        image: Image,
        /// The scaling.
        affine: Affine,
    },
    /// Convolution of the picture.
    ConvImage {
        /// What to read.
        image: Image,
        /// Pixels from one output to the next, in both directions.
        stride: usize,
        /// Filter and output.
        branch: Branch<'a>,
    },
    /// Convolutions with stride 1 of one map, zero-padded by half the filter's size.
    Conv {
        /// What to read.
        input: Map,
        /// Filters and outputs.
        branches: Vec<Branch<'a>>,
    },
    /// Maximum over windows; pixels outside the map do not take part.
    MaxPool {
        /// What to read.
        input: Map,
        /// What to write: as many channels as the input.
        output: Map,
        /// Rows and columns of a window.
        size: usize,
        /// Pixels from one window to the next.
        stride: usize,
        /// Rows and columns by which the first window begins outside the map.
        before: [usize; 2],
    },
    /// Local response normalisation.
    Lrn {
        /// What to read.
        input: Map,
        /// What to write: the input's shape.
        output: Map,
        /// Its parameters.
        lrn: Lrn,
    },
    /// The mean over all pixels, `[c, 1, 1]`.
    GlobalMean {
        /// What to read.
        input: Map,
        /// What to write.
        output: Map,
    },
    /// Batch normalisation with the statistics of the whole batch, then ReLU, in place.
    BatchNorm {
        /// What to normalise.
        map: Map,
        /// What to add to each channel after dividing by the standard deviation.
        beta: &'a [f32],
        /// What is added to the variance.
        epsilon: f32,
    },
    /// A map into the caller's output buffer as `[h, w, c]`.
    Store {
        /// What to read.
        map: Map,
        /// Which of the output buffers.
        output: usize,
    },
}

/// A step made ready to run.
enum Ready {
    Convert { image: Image, affine: Affine },
    Conv(Conv),
    MaxPool { input: Map, output: Map, size: usize, stride: usize, before: [usize; 2] },
    Lrn { input: Map, output: Map, lrn: Lrn },
    GlobalMean { input: Map, output: Map },
    BatchNorm { map: Map, beta: Aligned, epsilon: f32 },
    Store { map: Map, output: usize },
}

struct Phase {
    steps: Vec<Ready>,
}

/// A forward pass, checked and packed for one instruction set.
pub struct Program {
    kernels: &'static Kernels,
    id: u64,
    image: Option<Image>,
    phases: Vec<Phase>,
    /// What the steps of all phases are, in order.
    steps: Vec<StepInfo>,
    arena_len: usize,
    /// Elements per image of each output buffer.
    outputs: Vec<usize>,
    /// Whether some step needs all images of a batch at once.
    whole_batch: bool,
}

/// Rows of the picture that are converted as one item.
const CONVERT_ROWS: usize = 16;

impl Program {
    /// An empty program.
    pub fn new(kernels: &'static Kernels) -> Program {
        Program {
            kernels,
            id: next_id(),
            image: None,
            phases: Vec::new(),
            steps: Vec::new(),
            arena_len: 0,
            outputs: Vec::new(),
            whole_batch: false,
        }
    }

    /// Adds a phase: steps that read nothing that another step of the phase writes.
    ///
    /// # Panics
    /// Where shapes do not fit together, or the steps of the phase are not independent: a bug of the caller.
    pub fn push(&mut self, steps: Vec<Step<'_>>) {
        let (problems, steps): (Vec<Problem>, Vec<Ready>) =
            steps.into_iter().map(|step| (Problem::of(&step), self.prepare(step))).unzip();
        // Every place that the phase writes, and what it reads of other steps' (batch normalisation reads its own).
        let writes: Vec<(usize, Range<usize>)> = steps
            .iter()
            .enumerate()
            .flat_map(|(index, step)| step.writes().into_iter().map(move |w| (index, w)))
            .collect();
        for (position, (index, write)) in writes.iter().enumerate() {
            let others = writes[..position].iter().map(|(_, other)| other);
            assert!(!others.into_iter().any(|other| overlap(other, write)), "two steps write one place");
            for (reader, step) in steps.iter().enumerate() {
                let in_place = reader == *index && matches!(step, Ready::BatchNorm { .. });
                let conflict = !in_place && step.reads().iter().any(|read| overlap(read, write));
                assert!(!conflict, "a step reads what is written");
            }
        }
        for range in steps.iter().flat_map(Ready::reads).chain(writes.into_iter().map(|(_, write)| write)) {
            self.arena_len = self.arena_len.max(range.end);
        }
        // Another layout: what a workspace holds of this program so far are no zero halos of the new one.
        self.id = next_id();
        let phase = self.phases.len();
        self.steps.extend(problems.iter().zip(&steps).map(|(problem, step)| StepInfo {
            phase,
            problem: problem.to_string(),
            kernel: step.kernel(self.kernels),
            multiply_adds: problem.multiply_adds,
        }));
        self.phases.push(Phase { steps });
    }

    fn prepare(&mut self, step: Step<'_>) -> Ready {
        let lanes = self.kernels.lanes;
        let blocked = |map: Map| assert_eq!(map.lanes(), lanes, "a map in blocks of another instruction set");
        match step {
            Step::Convert { image, affine } => {
                assert!(self.image.is_none(), "a program has one input picture");
                self.image = Some(image);
                Ready::Convert { image, affine }
            }
            Step::ConvImage { image, stride, branch } => {
                Ready::Conv(Conv::over_image(self.kernels, image, stride, branch))
            }
            Step::Conv { input, branches } => Ready::Conv(Conv::over_map(self.kernels, input, &branches)),
            Step::MaxPool { input, output, size, stride, before } => {
                blocked(input);
                blocked(output);
                let ([ic, h, w], [oc, oh, ow]) = (input.shape(), output.shape());
                assert_eq!(ic, oc, "a pool keeps its channels");
                for (before, [out, len]) in before.into_iter().zip([[oh, h], [ow, w]]) {
                    assert!(stride > 0 && before < size, "a window wholly in the padding");
                    let last = (out - 1) * stride;
                    assert!(last < before + len, "the last window begins outside the map");
                }
                Ready::MaxPool { input, output, size, stride, before }
            }
            Step::Lrn { input, output, lrn } => {
                blocked(input);
                blocked(output);
                assert_eq!(input.shape(), output.shape(), "normalisation keeps the shape");
                assert!(lrn.size % 2 == 1, "an even window has no middle");
                Ready::Lrn { input, output, lrn }
            }
            Step::GlobalMean { input, output } => {
                blocked(input);
                blocked(output);
                assert_eq!(output.shape(), [input.shape()[0], 1, 1], "a mean has one pixel");
                Ready::GlobalMean { input, output }
            }
            Step::BatchNorm { map, beta, epsilon } => {
                blocked(map);
                assert_eq!(beta.len(), map.shape()[0], "beta does not fit the map");
                self.whole_batch = true;
                let mut padded = Aligned::zeroed(map.blocks() * lanes);
                padded[..beta.len()].copy_from_slice(beta);
                Ready::BatchNorm { map, beta: padded, epsilon }
            }
            Step::Store { map, output } => {
                blocked(map);
                let len = map.shape().iter().product();
                assert!(output < OutputPointers::MAX, "at most {} outputs", OutputPointers::MAX);
                if self.outputs.len() <= output {
                    self.outputs.resize(output + 1, 0);
                }
                assert_eq!(self.outputs[output], 0, "two steps store to one output");
                self.outputs[output] = len;
                Ready::Store { map, output }
            }
        }
    }

    /// The kernels that the program runs on.
    pub fn kernels(&self) -> &'static Kernels {
        self.kernels
    }

    /// The steps of all phases in order.
    pub fn steps(&self) -> &[StepInfo] {
        &self.steps
    }

    /// Bytes of memory that a run of `n` images by a team of `members` works in; none if no machine has them. Batch
    /// normalisation with statistics of the batch needs all images at the same time.
    pub fn workspace_bytes(&self, n: usize, members: usize) -> Option<usize> {
        self.arena_stride().checked_mul(self.share(n, members).arenas)?.checked_mul(size_of::<f32>())
    }

    /// How `n` images are shared out: those that members take one by one, and what is left over, on which they work
    /// together.
    fn share(&self, n: usize, members: usize) -> Share {
        let apart = if self.whole_batch { 0 } else { n - n % members };
        let together = n - apart;
        Share { apart, together, arenas: together.max(if apart > 0 { members } else { 0 }) }
    }

    /// Runs the program over `images`, `[n, h, w, 3]`, and fills each buffer of `outputs` with the maps stored
    /// to it, `[n, h, w, c]`.
    ///
    /// After the first run with a given team and batch size nothing is allocated.
    ///
    /// # Panics
    /// Where a buffer has another length than `n` images take.
    pub fn run(&self, team: &Team, workspace: &mut Workspace, images: &[f32], outputs: &mut [&mut [f32]]) {
        let image = self.image.expect("a program converts a picture first");
        let image_len = image.h * image.w * Image::CHANNELS;
        assert!(images.len().is_multiple_of(image_len), "not a whole number of images");
        let n = images.len() / image_len;
        assert_eq!(outputs.len(), self.outputs.len(), "as many output buffers as the program stores to");
        for (buffer, len) in outputs.iter().zip(&self.outputs) {
            assert_eq!(Some(buffer.len()), n.checked_mul(*len), "an output buffer of another length");
        }
        if n == 0 {
            return;
        }

        let Share { apart, together, arenas } = self.share(n, team.members());
        workspace.prepare(self, arenas);
        let shared = Shared {
            program: self,
            // `prepare` made the arenas.
            arenas: workspace.arenas.as_mut().expect("arenas").as_mut_ptr(),
            images,
            image_len,
            outputs: &OutputPointers::new(outputs),
        };
        let (next_image, step_claims, times) = (&workspace.next_image, &workspace.claims, &workspace.times);
        team.run(&|member: &Member<'_>| {
            let mut clock = times.clock(member.index);
            loop {
                let image = next_image.fetch_add(1, Ordering::Relaxed);
                if image >= apart {
                    break;
                }
                clock.begin();
                for phase in &self.phases {
                    for step in &phase.steps {
                        for item in 0..step.items() {
                            // SAFETY: this member's arena is used by nobody else before the barrier below, and
                            // no other member has this image.
                            unsafe {
                                shared.run(step, item, Place { image, arena: member.index, images: 1 })
                            };
                        }
                        clock.step_done();
                    }
                }
            }
            if together == 0 {
                return;
            }
            member.barrier();
            clock.begin();
            let mut claims = step_claims.iter();
            for phase in &self.phases {
                for (step, claims) in phase.steps.iter().zip(&mut claims) {
                    let copies = if step.spans_batch() { 1 } else { together };
                    while let Some(item) = claims.next(member.index, step.items() * copies) {
                        // Items of one place in all images follow each other.
                        let index = item % copies;
                        let place = Place { image: apart + index, arena: index, images: together };
                        // SAFETY: each item is claimed once, items of a phase write different places and read
                        // nothing that the phase writes (`push`), and the barrier ends the phase for all.
                        unsafe { shared.run(step, item / copies, place) };
                    }
                    clock.step_done();
                }
                member.barrier();
                clock.phase_done();
            }
        });
    }

    fn arena_stride(&self) -> usize {
        // Whole cache lines, so that threads never share one.
        self.arena_len.next_multiple_of(16)
    }
}

/// How the images of a run are shared out, and the arenas that this takes.
struct Share {
    apart: usize,
    together: usize,
    arenas: usize,
}

impl Workspace {
    fn prepare(&mut self, program: &Program, arenas: usize) {
        let len = program.arena_stride().checked_mul(arenas).expect("arenas beyond the address space");
        let fits = self.arenas.as_ref().is_some_and(|held| held.len() >= len);
        if self.owner != Some(program.id) || !fits {
            self.arenas = None; // freed before the new ones are asked for
            self.arenas = Some(Aligned::zeroed(len));
            self.owner = Some(program.id);
        }
        *self.next_image.get_mut() = 0;
        self.times.reset(program.steps.len());
        self.claims.resize_with(program.steps.len(), Claims::default);
        for claims in &mut self.claims {
            claims.reset();
        }
    }
}

/// A number that no other state of any program has.
fn next_id() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

fn overlap(a: &Range<usize>, b: &Range<usize>) -> bool {
    a.start < b.end && b.start < a.end
}

/// The output buffers without their borrow, so that members can write to different parts of them. At most
/// [`OutputPointers::MAX`], to need no allocation.
struct OutputPointers {
    starts: [*mut f32; OutputPointers::MAX],
}

// SAFETY: members write disjoint parts (see `Program::run`).
unsafe impl Sync for OutputPointers {}

impl OutputPointers {
    const MAX: usize = 32;

    fn new(outputs: &mut [&mut [f32]]) -> OutputPointers {
        let mut starts = [core::ptr::null_mut(); OutputPointers::MAX];
        for (start, output) in starts.iter_mut().zip(outputs) {
            *start = output.as_mut_ptr();
        }
        OutputPointers { starts }
    }
}

/// What all members see of a run.
struct Shared<'a> {
    program: &'a Program,
    arenas: *mut f32,
    images: &'a [f32],
    image_len: usize,
    outputs: &'a OutputPointers,
}

// SAFETY: members use the arenas as `Program::run` shares them out.
unsafe impl Sync for Shared<'_> {}

/// Which image an item is about, in which arena, and how many arenas are in step with each other.
#[derive(Clone, Copy)]
struct Place {
    image: usize,
    arena: usize,
    images: usize,
}

impl Shared<'_> {
    /// Runs one item of a step.
    ///
    /// # Safety
    /// Nobody writes what the item reads or touches what it writes meanwhile.
    unsafe fn run(&self, step: &Ready, item: usize, place: Place) {
        let kernels = self.program.kernels;
        // SAFETY: `prepare` made this many arenas.
        let arena = unsafe { self.arenas.add(place.arena * self.program.arena_stride()) };
        // SAFETY, for every block below: `push` checked that the maps lie inside the arena and fit together, the
        // processor has the instruction set (`kernels` proves it), and the caller vouches for exclusive access.
        match step {
            Ready::Convert { image, affine } => {
                let from = &self.images[place.image * self.image_len..][..self.image_len];
                let rows = item * CONVERT_ROWS..((item + 1) * CONVERT_ROWS).min(image.h);
                // SAFETY: see above.
                unsafe { convert::convert(image, affine, from, (arena, rows)) }
            }
            // SAFETY: see above.
            Ready::Conv(conv) => unsafe { conv.run(kernels, arena, item) },
            Ready::MaxPool { input, output, size, stride, before: [top, left] } => {
                let [_, _, ow] = output.shape();
                // Row by row, so that members that start at opposite ends stay in their own part of the map.
                let (y, block) = (item / output.blocks(), item % output.blocks());
                let [_, h, w] = input.shape();
                let rows = (y * stride).saturating_sub(*top)..(y * stride + size - top).min(h);
                // SAFETY: see above.
                unsafe {
                    (kernels.max_pool_row)(&PoolRow {
                        input: arena.add(input.origin(block)),
                        input_pitch: input.pitch(),
                        input_w: w,
                        rows,
                        output: arena.add(output.origin(block) + y * output.pitch()),
                        output_w: ow,
                        size: *size,
                        stride: *stride,
                        left: *left,
                    });
                }
            }
            Ready::Lrn { input, output, lrn } => {
                let [channels, _, w] = input.shape();
                // SAFETY: see above.
                unsafe {
                    (kernels.lrn_row)(&LrnRow {
                        input: arena.add(input.origin(0) + item * input.pitch()),
                        input_plane: input.plane(),
                        output: arena.add(output.origin(0) + item * output.pitch()),
                        output_plane: output.plane(),
                        w,
                        channels,
                        size: lrn.size,
                        alpha: lrn.alpha,
                        k: lrn.k,
                    });
                }
            }
            Ready::GlobalMean { input, output } => {
                let [_, h, w] = input.shape();
                // SAFETY: see above.
                unsafe {
                    (kernels.mean_block)(&MeanBlock {
                        input: arena.add(input.origin(item)),
                        pitch: input.pitch(),
                        h,
                        w,
                        output: arena.add(output.origin(item)),
                    });
                }
            }
            Ready::BatchNorm { map, beta, epsilon } => {
                let [_, h, w] = map.shape();
                // SAFETY: see above; the arenas of the batch follow each other from the first.
                unsafe {
                    (kernels.batch_norm_block)(&NormBlock {
                        map: self.arenas.add(map.origin(item)),
                        image_step: self.program.arena_stride(),
                        images: place.images,
                        pitch: map.pitch(),
                        h,
                        w,
                        beta: beta[item * map.lanes()..].as_ptr(),
                        epsilon: *epsilon,
                    });
                }
            }
            Ready::Store { map, output } => {
                let [channels, _, w] = map.shape();
                let start = place.image * self.program.outputs[*output] + item * w * channels;
                // SAFETY: row `item` of this image's part of the output buffer, whose length `Program::run` checked;
                // and see above.
                let (row, pixels) = unsafe {
                    let row = core::slice::from_raw_parts_mut(
                        self.outputs.starts[*output].add(start),
                        w * channels,
                    );
                    (row, arena.cast_const())
                };
                for (x, pixel) in row.chunks_exact_mut(channels).enumerate() {
                    for (block, values) in pixel.chunks_mut(map.lanes()).enumerate() {
                        let from = map.origin(block) + item * map.pitch() + x * map.lanes();
                        // SAFETY: see above.
                        let source = unsafe { core::slice::from_raw_parts(pixels.add(from), values.len()) };
                        values.copy_from_slice(source);
                    }
                }
            }
        }
    }
}

impl Ready {
    /// Independent items of work for one image, or for the whole batch where the step spans it.
    fn items(&self) -> usize {
        match self {
            Ready::Convert { image, .. } => image.h.div_ceil(CONVERT_ROWS),
            Ready::Conv(conv) => conv.items(),
            Ready::MaxPool { output, .. } => output.blocks() * output.shape()[1],
            Ready::Lrn { input, .. } => input.shape()[1],
            Ready::GlobalMean { input, .. } => input.blocks(),
            Ready::BatchNorm { map, .. } => map.blocks(),
            Ready::Store { map, .. } => map.shape()[1],
        }
    }

    /// The name of what computes it.
    fn kernel(&self, kernels: &Kernels) -> &'static str {
        match self {
            Ready::Convert { .. } => "convert",
            Ready::Conv(_) => kernels.tile_name,
            Ready::MaxPool { .. } => "max_pool",
            Ready::Lrn { .. } => "lrn",
            Ready::GlobalMean { .. } => "global_mean",
            Ready::BatchNorm { .. } => "batch_norm",
            Ready::Store { .. } => "store",
        }
    }

    fn spans_batch(&self) -> bool {
        matches!(self, Ready::BatchNorm { .. })
    }

    fn reads(&self) -> Vec<Range<usize>> {
        match self {
            Ready::Convert { .. } => Vec::new(),
            Ready::Conv(conv) => vec![conv.reads()],
            Ready::MaxPool { input, .. } | Ready::Lrn { input, .. } | Ready::GlobalMean { input, .. } => {
                vec![input.range()]
            }
            Ready::BatchNorm { map, .. } | Ready::Store { map, .. } => vec![map.range()],
        }
    }

    fn writes(&self) -> Vec<Range<usize>> {
        match self {
            Ready::Convert { image, .. } => vec![image.range()],
            Ready::Conv(conv) => conv.writes().to_vec(),
            Ready::MaxPool { output, .. } | Ready::Lrn { output, .. } | Ready::GlobalMean { output, .. } => {
                vec![output.range()]
            }
            Ready::BatchNorm { map, .. } => vec![map.range()],
            Ready::Store { .. } => Vec::new(),
        }
    }
}
