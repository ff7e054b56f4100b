//! A forward pass as a list of phases over one arena, and its execution by a team.
//!
//! The steps of a phase are independent of each other; their items of work are shared out over the team, with a
//! barrier after each phase. When a batch has at least as many images as the team has members, groups of whole
//! images are shared out instead and no barrier is needed, but for the rest of the batch. Both ways compute every
//! element by the same instructions in the same order.

use core::ops::Range;
use core::sync::atomic::{AtomicU64, Ordering};

use crate::arena::{Aligned, Workspace};
use crate::bytes;
use crate::claims::Claims;
use crate::conv::{Branch, Conv};
use crate::convert::Conversion;
use crate::group::Group;
use crate::kernels::Kernels;
use crate::lrn::LrnRow;
use crate::map::{Element, Image, Map, Pixels};
use crate::matrix::MatrixConv;
use crate::norm::NormBlock;
use crate::pool::{MeanBlock, Pool, PoolRow};
use crate::problem::{Problem, StepInfo};
use crate::team::{Member, Team};
use crate::times::Clock;
use crate::winograd::{ImageProducts, InputTransform, Products, TransformedFilter, TransformedMap};

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

impl Lrn {
    /// The power.
    pub const BETA: f32 = 0.75;
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
    /// Convolution of the picture with stride 2 by Winograd's algorithm.
    WinogradImage {
        /// What to read, in [squares](Image::squares): with its padding at least `2 h + 5` rows and `2 w + 5` columns.
        image: Image,
        /// What to convolve with: [`TransformedFilter::of_image`].
        filter: TransformedFilter,
        /// Where the result goes: `[oc, h, w]`.
        output: Map,
        /// Whether negative results become zero.
        relu: bool,
    },
    /// Convolutions with stride 1 of one map, zero-padded by half the filter's size.
    Conv {
        /// What to read.
        input: Map,
        /// Filters and outputs.
        branches: Vec<Branch<'a>>,
    },
    /// The first half of a 3x3 convolution with stride 1 by Winograd's algorithm.
    WinogradInput {
        /// What to read.
        input: Map,
        /// Where the transformed map goes.
        tiles: TransformedMap,
    },
    /// The second half.
    WinogradOutput {
        /// What to read.
        tiles: TransformedMap,
        /// What to convolve with.
        filter: TransformedFilter,
        /// Where the result goes: `[oc, h, w]`; the rows that the tiles cover are written.
        output: Map,
        /// Whether negative results become zero.
        relu: bool,
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
    MatrixConv(MatrixConv),
    WinogradImage(ImageProducts),
    WinogradInput(InputTransform),
    WinogradOutput(Products),
    MaxPool { input: Map, output: Map, pool: Pool },
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
    /// All places that are read or written.
    used: Vec<Range<usize>>,
    /// Where the phases for groups begin, if there are any.
    split: Option<Split>,
    /// Elements that each member needs for itself.
    scratch_len: usize,
    /// Elements per image of each output buffer.
    outputs: Vec<usize>,
    /// Whether some step needs all images of a batch at once.
    whole_batch: bool,
}

/// About how often a member claims items of a step: each claim has to wait for the other cores' caches.
const CLAIMS: usize = 8;

/// Up to so many members, each transforms a map for itself: its numbers are as many as those of 2.25 maps, and fetching
/// half of them from another core's cache takes longer.
const OWN_TILES: usize = 4;

/// Elements of the early part of an arena, of which there is then one for each member, at most.
const OWN_TILES_ARENA: usize = 16 << 20;

/// How many items the rows of a map are pooled in.
const POOL_BANDS: usize = 4;

/// Rows of the picture that are converted as one item.
const CONVERT_ROWS: usize = 16;

impl Program {
    /// Images that a member takes through the late phases at a time. More would make each number of a filter serve more
    /// images, but their maps would no longer fit the second-level cache.
    pub const GROUP: usize = 4;

    /// An empty program.
    pub fn new(kernels: &'static Kernels) -> Program {
        Program {
            kernels,
            id: next_id(),
            image: None,
            phases: Vec::new(),
            steps: Vec::new(),
            arena_len: 0,
            used: Vec::new(),
            split: None,
            scratch_len: 0,
            outputs: Vec::new(),
            whole_batch: false,
        }
    }

    /// Ends the early phases: those added from now on run for a group of images at a time. Their maps, and those before
    /// that they read, lie from `offset` on; only transformed maps lie below, and have room for
    /// [`GROUP`](Program::GROUP) images.
    ///
    /// # Panics
    /// Where a place so far begins below `offset` and ends above, or the early phases have ended.
    pub fn split(&mut self, offset: usize) {
        let straddles = self.used.iter().any(|place| place.start < offset && offset < place.end);
        assert!(!straddles, "a place on both sides of the split");
        let early = self.transformed().all(|tiles| tiles.range().end <= offset);
        assert!(early, "a place on the wrong side of the split");
        assert!(self.split.is_none(), "a program is split once");
        self.split = Some(Split { offset, early_phases: self.phases.len(), transformed: Vec::new() });
        self.id = next_id();
    }

    /// Where the late part of the arena begins.
    fn late_offset(&self) -> usize {
        self.split.as_ref().map_or(usize::MAX, |split| split.offset)
    }

    /// Adds a phase: steps that read nothing that another step of the phase writes.
    ///
    /// # Panics
    /// Where shapes or types of numbers do not fit together, or the steps of the phase are not independent: a bug of
    /// the caller.
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
            self.used.push(range);
        }
        if let Some(split) = &mut self.split {
            steps.iter().for_each(|step| split.check(step));
        }
        // Another layout: what a workspace holds of this program so far are no zero halos of the new one.
        self.id = next_id();
        let phase = self.phases.len();
        self.steps.extend(problems.iter().zip(&steps).map(|(problem, step)| StepInfo {
            phase,
            problem: problem.to_string(),
            kernel: step.kernel(),
            multiply_adds: problem.multiply_adds,
        }));
        self.phases.push(Phase { steps });
    }

    fn matrix(&mut self, conv: MatrixConv) -> Ready {
        self.scratch_len = self.scratch_len.max(conv.scratch_len());
        Ready::MatrixConv(conv)
    }

    fn prepare(&mut self, step: Step<'_>) -> Ready {
        let kernels = self.kernels;
        let blocked = |map: Map| {
            assert_eq!(
                map.lanes(),
                kernels.lanes_of(map.element()),
                "a map in blocks of another instruction set"
            );
        };
        let floats = |map: Map| assert_eq!(map.element(), Element::F32, "bytes where `f32` are expected");
        match step {
            Step::Convert { image, affine } => {
                assert!(self.image.is_none(), "a program has one input picture");
                self.image = Some(image);
                Ready::Convert { image, affine }
            }
            Step::ConvImage { image, stride, branch } => match kernels.matrix {
                Some(matrix) if image.levels().is_some() => {
                    self.matrix(MatrixConv::over_image(matrix, image, stride, branch))
                }
                _ => Ready::Conv(Conv::over_image(kernels, image, stride, branch)),
            },
            Step::Conv { input, branches } => match kernels.matrix {
                Some(matrix) if input.element() != Element::F32 => {
                    self.matrix(MatrixConv::over_map(matrix, input, &branches))
                }
                _ => Ready::Conv(Conv::over_map(kernels, input, &branches)),
            },
            Step::WinogradImage { image, filter, output, relu } => {
                floats(output);
                let products = ImageProducts::new(kernels, image, (filter, output, relu));
                self.scratch_len = self.scratch_len.max(products.scratch_len(kernels));
                Ready::WinogradImage(products)
            }
            Step::WinogradInput { input, tiles } => {
                blocked(input);
                floats(input);
                Ready::WinogradInput(InputTransform::new(input, tiles))
            }
            Step::WinogradOutput { tiles, filter, output, relu } => {
                floats(output);
                let products = Products::new(kernels, tiles, (filter, output, relu));
                self.scratch_len = self.scratch_len.max(products.scratch_len(kernels));
                Ready::WinogradOutput(products)
            }
            Step::MaxPool { input, output, size, stride, before } => {
                blocked(input);
                blocked(output);
                let ([ic, h, w], [oc, oh, ow]) = (input.shape(), output.shape());
                assert_eq!(ic, oc, "a pool keeps its channels");
                assert_eq!(input.element(), output.element(), "a pool keeps the type of its numbers");
                let pool = Pool { size, stride, before };
                pool.check([h, w], [oh, ow]);
                Ready::MaxPool { input, output, pool }
            }
            Step::Lrn { input, output, lrn } => {
                blocked(input);
                blocked(output);
                assert_eq!(input.shape(), output.shape(), "normalisation keeps the shape");
                let bytes = [input, output].map(|map| map.element() != Element::F32);
                assert_eq!(bytes[0], bytes[1], "normalisation keeps the type of its numbers");
                assert!(lrn.size % 2 == 1, "an even window has no middle");
                Ready::Lrn { input, output, lrn }
            }
            Step::GlobalMean { input, output } => {
                blocked(input);
                blocked(output);
                floats(output);
                let [channels, h, w] = input.shape();
                assert_eq!(output.shape(), [channels, 1, 1], "a mean has one pixel");
                let sum_fits = input.element() == Element::F32 || h * w <= u32::MAX as usize / 255;
                assert!(sum_fits, "a sum of bytes that may overflow");
                Ready::GlobalMean { input, output }
            }
            Step::BatchNorm { map, beta, epsilon } => {
                blocked(map);
                floats(map);
                assert_eq!(beta.len(), map.shape()[0], "beta does not fit the map");
                self.whole_batch = true;
                let mut padded = Aligned::zeroed(map.blocks() * map.lanes());
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
        self.places(n, members)?.end.checked_mul(size_of::<f32>())
    }

    /// The transformed maps of all steps.
    fn transformed(&self) -> impl Iterator<Item = &TransformedMap> {
        self.phases.iter().flat_map(|phase| &phase.steps).filter_map(Ready::transformed)
    }

    /// Whether members that work on an image together transform maps each for itself.
    fn own_tiles(&self, n: usize, members: usize) -> bool {
        let small = self.arena_len.min(self.late_offset()) <= OWN_TILES_ARENA;
        let alone = self.share(n, members).together == 1;
        alone && small && members <= OWN_TILES && self.transformed().next().is_some()
    }

    /// How `n` images are shared out: those that members take group by group, and what is left over, on which they
    /// work together.
    fn share(&self, n: usize, members: usize) -> Share {
        let apart = if self.whole_batch { 0 } else { n - n % members };
        let each = apart / members;
        let groups = each.div_ceil(Program::GROUP);
        Share { each, groups, apart, together: n - apart }
    }

    /// Where everything lies in the workspace; none if that is beyond the address space. The same for all numbers of
    /// images where possible, so that a workspace need not be cleared between batches.
    fn places(&self, n: usize, members: usize) -> Option<Places> {
        // Whole cache lines, so that threads never share one.
        let line = |len: usize| len.next_multiple_of(16);
        let early_step = line(self.arena_len.min(self.late_offset()));
        let late_step = line(self.arena_len.saturating_sub(self.late_offset()));
        let scratch_step = line(self.scratch_len);
        let together = self.whole_batch || n < members;
        let (earlies, lates) = match together {
            true => (if self.own_tiles(n, members) { members } else { n }, n),
            false => (members, members.checked_mul(Program::GROUP)?),
        };
        let late = early_step.checked_mul(earlies)?;
        let scratch = late_step.checked_mul(lates)?.checked_add(late)?;
        let end = scratch_step.checked_mul(members)?.checked_add(scratch)?;
        Some(Places { early_step, late, late_step, scratch, scratch_step, end })
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

        let share = self.share(n, team.members());
        let own_tiles = self.own_tiles(n, team.members());
        let places = self.places(n, team.members()).expect("a workspace beyond the address space");
        workspace.prepare(self, places);
        let shared = Shared {
            program: self,
            // `prepare` made the arenas.
            arenas: workspace.arenas.as_mut().expect("arenas").as_mut_ptr(),
            places,
            images,
            image_len,
            outputs: &OutputPointers::new(outputs),
        };
        let (next_group, step_claims, times) = (&workspace.next_group, &workspace.claims, &workspace.times);
        let early_phases = self.split.as_ref().map_or(self.phases.len(), |split| split.early_phases);
        let (early, late) = self.phases.split_at(early_phases);
        team.run(&|member: &Member<'_>| {
            let mut clock = times.clock(member.index);
            while let Some(images) = share.group(next_group.fetch_add(1, Ordering::Relaxed)) {
                let group = shared.own_group(member.index);
                let group = Group { first_image: images.start, images: images.len(), ..group };
                // SAFETY: this member's part of the workspace is used by nobody else before the barrier below, and no
                // other member has these images.
                unsafe {
                    for image in 0..group.images {
                        clock.begin(0);
                        shared.run_all(early, (group.only(image), member.index), &mut clock);
                    }
                    shared.run_all(late, (group, member.index), &mut clock);
                }
            }
            if share.together == 0 {
                return;
            }
            member.barrier();
            let first = shared.own_group(0);
            let group = Group {
                first_image: share.apart,
                images: share.together,
                tiles: if own_tiles { shared.own_group(member.index).first } else { first.first },
                early_step: shared.places.early_step,
                members: team.members(),
                ..first
            };
            clock.begin(0);
            let mut claims = step_claims.iter();
            for phase in &self.phases {
                for (step, claims) in phase.steps.iter().zip(&mut claims) {
                    let copies = if step.spans_batch() { 1 } else { share.together };
                    let items = step.items(&group.only(0)) * copies;
                    let run = |items: Range<usize>| {
                        for item in items {
                            // SAFETY: each item is claimed once, items of a phase write different places and read
                            // nothing that the phase writes (`push`), and the barrier ends the phase for all. Or all
                            // transform a map, each into the early part of its own, which has a place for it (`split`).
                            unsafe {
                                let group = if copies == 1 { group } else { group.only(item % copies) };
                                shared.run(step, item / copies, (group, member.index));
                            }
                        }
                    };
                    if own_tiles && matches!(step, Ready::WinogradInput(_)) {
                        run(0..items);
                    } else {
                        let grain = (items / (CLAIMS * team.members())).max(1);
                        while let Some(claim) = claims.next(member.index, items.div_ceil(grain)) {
                            run(claim * grain..items.min((claim + 1) * grain));
                        }
                    }
                    clock.step_done();
                }
                member.barrier();
                clock.phase_done();
            }
        });
    }
}

/// Where a program begins to run for groups of images.
struct Split {
    /// The first place of the late part of the arena.
    offset: usize,
    /// How many phases run for one image at a time.
    early_phases: usize,
    /// Maps that have been transformed since, for all images of a group.
    transformed: Vec<Range<usize>>,
}

impl Split {
    /// # Panics
    /// Where a step of a late phase has a place in the early part, other than a map transformed for a group.
    fn check(&mut self, step: &Ready) {
        let tiles = step.transformed();
        if let Some(tiles) = tiles {
            assert!(tiles.images() >= Program::GROUP, "a transformed map without room for a group");
            assert!(tiles.range().end <= self.offset, "a place on the wrong side of the split");
            match step {
                Ready::WinogradInput(_) => self.transformed.push(tiles.range()),
                _ => {
                    assert!(self.transformed.contains(&tiles.range()), "a map that no late phase transformed")
                }
            }
        }
        for range in step.reads().into_iter().chain(step.writes()) {
            let is_late = range.start >= self.offset || tiles.is_some_and(|tiles| tiles.range() == range);
            assert!(is_late, "a place on the wrong side of the split");
        }
    }
}

/// How the images of a run are shared out: `apart` of them by groups, as many images to each member, `together` by the
/// whole team.
struct Share {
    /// Images and groups of a member.
    each: usize,
    groups: usize,
    apart: usize,
    together: usize,
}

impl Share {
    /// The images of the group `index`; none where there are no more. Those of a member are nearly equal.
    fn group(&self, index: usize) -> Option<Range<usize>> {
        let member = index.checked_div(self.groups)?;
        let size = self.each.div_ceil(self.groups);
        let first = member * self.each + index % self.groups * size;
        let end = (first + size).min((member + 1) * self.each);
        (first < self.apart).then(|| first..end.max(first))
    }
}

/// A workspace: early parts, from `late` on late parts, from `scratch` on what members have for themselves.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Places {
    early_step: usize,
    late: usize,
    late_step: usize,
    scratch: usize,
    scratch_step: usize,
    end: usize,
}

impl Workspace {
    fn prepare(&mut self, program: &Program, places: Places) {
        if self.owner != Some((program.id, places)) {
            (self.arenas, self.owner) = (None, None); // freed before the new ones are asked for
            self.arenas = Some(Aligned::zeroed(places.end));
            self.owner = Some((program.id, places));
        }
        *self.next_group.get_mut() = 0;
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

/// Rows that a conversion writes: the padding of bytes is not zero, so it is written too.
fn converted_rows(image: &Image) -> usize {
    if image.levels().is_some() { image.padded_h() } else { image.h }
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
    const MAX: usize = 64;

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
    places: Places,
    images: &'a [f32],
    image_len: usize,
    outputs: &'a OutputPointers,
}

// SAFETY: members use the arenas as `Program::run` shares them out.
unsafe impl Sync for Shared<'_> {}

impl Shared<'_> {
    /// The places that the member `index` has for its groups.
    fn own_group(&self, index: usize) -> Group {
        let Places { early_step, late, late_step, .. } = self.places;
        let early = self.arenas.wrapping_add(index * early_step);
        let late = self.arenas.wrapping_add(late + index * Program::GROUP * late_step);
        Group { late_step, ..Group::new((early, late), self.program.late_offset()) }
    }

    /// What the member `index` has for itself.
    fn scratch(&self, index: usize) -> *mut f32 {
        self.arenas.wrapping_add(self.places.scratch + index * self.places.scratch_step)
    }

    /// Runs phases for a group, alone.
    ///
    /// # Safety
    /// Nobody else uses the group's places or the member's scratch memory.
    unsafe fn run_all(&self, phases: &[Phase], (group, member): (Group, usize), clock: &mut Clock<'_>) {
        for step in phases.iter().flat_map(|phase| &phase.steps) {
            let (items, copies) = (step.items(&group), if step.spans_group() { 1 } else { group.images });
            // Where a filter is larger than a map, it should serve all images before the next one comes.
            let in_turn = step.items_of_panel().unwrap_or(items);
            for turn in 0..items / in_turn * copies {
                let (first, copy) = (turn / copies * in_turn, turn % copies);
                let group = if copies == 1 { group } else { group.only(copy) };
                for item in first..first + in_turn {
                    // SAFETY: forwarded to the caller.
                    unsafe { self.run(step, item, (group, member)) }
                }
            }
            clock.step_done();
        }
    }

    /// Runs one item of a step.
    ///
    /// # Safety
    /// Nobody writes what the item reads or touches what it writes meanwhile; the scratch memory of `member` is the
    /// caller's.
    unsafe fn run(&self, step: &Ready, item: usize, (group, member): (Group, usize)) {
        let kernels = self.program.kernels;
        let slot = group.first;
        // SAFETY, for every block below: `push` checked that the maps lie inside the slot and fit together, the
        // processor has the instruction set (`kernels` proves it), and the caller vouches for exclusive access.
        match step {
            Ready::Convert { image, affine } => {
                let from = &self.images[group.first_image * self.image_len..][..self.image_len];
                let rows = item * CONVERT_ROWS..((item + 1) * CONVERT_ROWS).min(converted_rows(image));
                let convert = match image.pixels {
                    Pixels::Single => kernels.convert,
                    Pixels::Bytes(_) => kernels.convert_to_bytes,
                    Pixels::Squares => kernels.convert_to_squares,
                };
                // SAFETY: see above.
                unsafe { convert(&Conversion { image, affine, from, slot, rows }) }
            }
            // SAFETY: see above.
            Ready::Conv(conv) => unsafe { conv.run((slot, group.members > 1), item) },
            // SAFETY: see above.
            Ready::WinogradInput(transform) => unsafe { transform.run(kernels, group, item) },
            // SAFETY: see above.
            Ready::WinogradImage(products) => unsafe {
                products.run(kernels, (group, self.scratch(member)), item);
            },
            // SAFETY: see above.
            Ready::MatrixConv(conv) => unsafe { conv.run((group, self.scratch(member)), item) },
            // SAFETY: see above.
            Ready::WinogradOutput(products) => unsafe {
                products.run(kernels, (group, self.scratch(member)), item);
            },
            Ready::MaxPool { input, output, pool } => {
                let [_, oh, ow] = output.shape();
                // Bands of rows, so that members that start at opposite ends stay in their own part of the map.
                let band = oh.div_ceil(POOL_BANDS);
                let (first, block) = (item / output.blocks() * band, item % output.blocks());
                let [_, h, w] = input.shape();
                let max_pool_row = match input.element() {
                    Element::F32 => kernels.max_pool_row,
                    Element::U8 { .. } => kernels.max_pool_bytes,
                };
                for y in first..(first + band).min(oh) {
                    // SAFETY: see above.
                    unsafe {
                        max_pool_row(&PoolRow {
                            input: slot.at(input.origin(block)),
                            input_pitch: input.pitch(),
                            input_w: w,
                            rows: pool.rows(y, h),
                            output: slot.at(output.origin(block) + y * output.pitch()),
                            output_w: ow,
                            pool: *pool,
                        });
                    }
                }
            }
            Ready::Lrn { input, output, lrn } => {
                let [channels, _, w] = input.shape();
                // SAFETY: see above.
                unsafe {
                    let row = LrnRow {
                        input: slot.at(input.origin(0) + item * input.pitch()),
                        input_plane: input.plane(),
                        output: slot.at(output.origin(0) + item * output.pitch()),
                        output_plane: output.plane(),
                        w,
                        channels,
                        size: lrn.size,
                        alpha: lrn.alpha,
                        k: lrn.k,
                    };
                    match (input.element(), output.element()) {
                        (Element::U8 { step }, Element::U8 { step: output_step }) => {
                            bytes::lrn_row(&row, [step, output_step]);
                        }
                        _ => (kernels.lrn_row)(&row),
                    }
                }
            }
            Ready::GlobalMean { input, output } => {
                let [_, h, w] = input.shape();
                if let Element::U8 { step } = input.element() {
                    // SAFETY: see above.
                    return unsafe { bytes::mean_block(slot, (input, step), output, item) };
                }
                // SAFETY: see above.
                unsafe {
                    (kernels.mean_block)(&MeanBlock {
                        input: slot.at(input.origin(item)),
                        pitch: input.pitch(),
                        h,
                        w,
                        output: slot.at(output.origin(item)),
                    });
                }
            }
            Ready::BatchNorm { map, beta, epsilon } => {
                let [_, h, w] = map.shape();
                // SAFETY: see above.
                unsafe {
                    (kernels.batch_norm_block)(&NormBlock {
                        map: slot.at(map.origin(item)),
                        image_step: group.step_at(map.offset()),
                        images: group.images,
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
                let start = group.first_image * self.program.outputs[*output] + item * w * channels;
                // SAFETY: row `item` of this image's part of the output buffer, whose length `Program::run` checked;
                // and see above.
                let row = unsafe {
                    core::slice::from_raw_parts_mut(self.outputs.starts[*output].add(start), w * channels)
                };
                if let Element::U8 { step } = map.element() {
                    // SAFETY: see above.
                    return unsafe { bytes::store_row(slot, (map, step), item, row) };
                }
                for (x, pixel) in row.chunks_exact_mut(channels).enumerate() {
                    for (block, values) in pixel.chunks_mut(map.lanes()).enumerate() {
                        let from = map.origin(block) + item * map.pitch() + x * map.lanes();
                        // SAFETY: see above.
                        let source = unsafe { core::slice::from_raw_parts(slot.at(from), values.len()) };
                        values.copy_from_slice(source);
                    }
                }
            }
        }
    }
}

impl Ready {
    /// Independent items of work for one image, or for a whole group where the step spans it.
    fn items(&self, group: &Group) -> usize {
        match self {
            Ready::Convert { image, .. } => converted_rows(image).div_ceil(CONVERT_ROWS),
            Ready::Conv(conv) => conv.items(),
            Ready::MatrixConv(conv) => conv.items(group),
            Ready::WinogradImage(products) => products.items(),
            Ready::WinogradInput(transform) => transform.items(),
            Ready::WinogradOutput(products) => products.items(),
            Ready::MaxPool { output, .. } => {
                let h = output.shape()[1];
                output.blocks() * h.div_ceil(h.div_ceil(POOL_BANDS))
            }
            Ready::Lrn { input, .. } => input.shape()[1],
            Ready::GlobalMean { input, .. } => input.blocks(),
            Ready::BatchNorm { map, .. } => map.blocks(),
            Ready::Store { map, .. } => map.shape()[1],
        }
    }

    /// The name of what computes it.
    fn kernel(&self) -> &'static str {
        match self {
            Ready::Convert { .. } => "convert",
            Ready::Conv(conv) => conv.tile_name(),
            Ready::MatrixConv(conv) => conv.name(),
            Ready::WinogradInput(_) => "winograd_input",
            Ready::WinogradOutput(_) => "winograd_4x4_3x3",
            Ready::WinogradImage(_) => "winograd_4x4_4x4",
            Ready::MaxPool { .. } => "max_pool",
            Ready::Lrn { .. } => "lrn",
            Ready::GlobalMean { .. } => "global_mean",
            Ready::BatchNorm { .. } => "batch_norm",
            Ready::Store { .. } => "store",
        }
    }

    /// Whether an item is about all images of a member's group rather than one.
    fn spans_group(&self) -> bool {
        matches!(self, Ready::MatrixConv(_) | Ready::WinogradInput(_) | Ready::WinogradOutput(_))
            || self.spans_batch()
    }

    /// Whether an item is about all images of a batch.
    fn spans_batch(&self) -> bool {
        matches!(self, Ready::BatchNorm { .. })
    }

    /// The transformed map that the step reads or writes.
    fn transformed(&self) -> Option<&TransformedMap> {
        match self {
            Ready::WinogradInput(transform) => Some(transform.tiles()),
            Ready::WinogradOutput(products) => Some(products.tiles()),
            _ => None,
        }
    }

    /// Items that have a filter in common which is larger than the map.
    fn items_of_panel(&self) -> Option<usize> {
        match self {
            Ready::Conv(conv) => conv.items_of_panel(),
            _ => None,
        }
    }

    fn reads(&self) -> Vec<Range<usize>> {
        match self {
            Ready::Convert { .. } => Vec::new(),
            Ready::Conv(conv) => vec![conv.reads()],
            Ready::MatrixConv(conv) => vec![conv.reads()],
            Ready::WinogradImage(products) => vec![products.reads()],
            Ready::WinogradInput(transform) => vec![transform.reads()],
            Ready::WinogradOutput(products) => vec![products.tiles().range()],
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
            Ready::MatrixConv(conv) => conv.writes().to_vec(),
            Ready::WinogradInput(transform) => vec![transform.tiles().range()],
            Ready::WinogradOutput(products) => vec![products.writes()],
            Ready::WinogradImage(products) => vec![products.writes()],
            Ready::MaxPool { output, .. } | Ready::Lrn { output, .. } | Ready::GlobalMean { output, .. } => {
                vec![output.range()]
            }
            Ready::BatchNorm { map, .. } => vec![map.range()],
            Ready::Store { .. } => Vec::new(),
        }
    }
}
