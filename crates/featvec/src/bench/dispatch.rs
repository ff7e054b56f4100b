//! Whether the kernels that dispatch picks are the fastest for every convolution of the network.

use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use featvec_kernels::{
    Affine, Branch, Filter, Image, Kernels, Map, Padding, Program, Step, StepInfo, Team, Workspace,
};

use super::{SLICE, median};
use crate::network::{Conv, Network};
use crate::plan::check_size;
use crate::{Error, Result};

/// One convolution, computed by the chosen kernels and by the fastest others.
#[derive(Clone, Debug, PartialEq)]
pub struct Contest {
    /// The convolution, and the chosen kernel.
    pub chosen: StepInfo,
    /// The fastest kernel of another instruction set; the chosen one where there is no other.
    pub rival: &'static str,
    /// Seconds that the chosen one takes.
    pub chosen_seconds: f64,
    /// Seconds that its rival takes.
    pub rival_seconds: f64,
}

impl Contest {
    /// How much slower the chosen kernel is: 0.15 for 15 % more time, negative where it is faster.
    pub fn slowdown(&self) -> f64 {
        self.chosen_seconds / self.rival_seconds - 1.0
    }
}

/// So many turns each kernel has.
const TURNS: usize = 9;
/// So often a convolution is timed whose kernel seems slow.
const ATTEMPTS: usize = 4;

/// Times each distinct convolution of `network`, for a picture of `size`, by `chosen` in turns with all other kernels
/// present, on one thread. One that is slower by more than `tolerated` (0.15 for 15 %) is timed again, as it may have
/// been disturbed; the best result for the chosen kernel is returned.
///
/// # Errors
/// Those of [`check_size`]; no thread to be had.
pub fn contest(
    network: Network,
    (size, tolerated): ([usize; 2], f64),
    chosen: &'static Kernels,
) -> Result<Vec<Contest>> {
    check_size(size)?;
    let team = Team::new(NonZeroUsize::MIN).map_err(|error| Error::io("starting threads", error))?;
    let mut distinct: Vec<(Conv, [usize; 2])> = Vec::new();
    for (conv, output) in network.sized_convs(size) {
        let is_same = |(other, size): &(Conv, _)| {
            (other.shape, other.stride, *size) == (conv.shape, conv.stride, output)
        };
        if !distinct.iter().any(is_same) {
            distinct.push((conv, output));
        }
    }
    // Instruction sets that differ for bytes only have one tile for `f32`.
    let others = Kernels::present().filter(|kernels| kernels.tile_name() != chosen.tile_name());
    let kernels: Vec<_> = [chosen].into_iter().chain(others).collect();
    let contests = distinct.iter().map(|(conv, output)| {
        let mut rivals: Vec<_> = kernels.iter().map(|kernels| Rival::new(conv, *output, kernels)).collect();
        let mut best = race(&mut rivals, &team);
        for _ in 1..ATTEMPTS {
            if best.slowdown() <= tolerated {
                break;
            }
            let again = race(&mut rivals, &team);
            if again.slowdown() < best.slowdown() {
                best = again;
            }
        }
        best
    });
    Ok(contests.collect())
}

/// The convolution alone on one instruction set.
struct Rival {
    program: Program,
    /// What the program wants as its input.
    picture: Vec<f32>,
    workspace: Workspace,
}

impl Rival {
    fn new(conv: &Conv, [h, w]: [usize; 2], kernels: &'static Kernels) -> Rival {
        let [kh, kw, ic, oc] = conv.shape;
        let (weights, bias) = (vec![0.5; kh * kw * ic * oc], vec![0.0; oc]);
        let filter = Filter { weights: &weights, bias: &bias, shape: conv.shape };
        let mut program = Program::new(kernels);
        let affine = Affine { scale: [1.0; 3], offset: [0.0; 3] };
        // The first convolution strides over a picture, all others step over maps pixel by pixel.
        let over_picture = ic == Image::CHANNELS;
        let picture = if over_picture {
            let [image_h, image_w] = [(h, kh), (w, kw)].map(|(out, size)| (out - 1) * conv.stride + size);
            Image::new(0, image_h, image_w, Padding::default())
        } else {
            Image::new(0, 1, 1, Padding::default())
        };
        let align = |offset: usize| offset.next_multiple_of(16);
        let input = Map::new(align(picture.len()), kernels.lanes(), [ic, h, w], kh / 2);
        let output = Map::new(align(input.offset() + input.len()), kernels.lanes(), [oc, h, w], 0);
        let branch = Branch { filter, output, relu: true };
        program.push(vec![Step::Convert { image: picture, affine }]);
        program.push(vec![if over_picture {
            Step::ConvImage { image: picture, stride: conv.stride, branch }
        } else {
            Step::Conv { input, branches: vec![branch] }
        }]);
        let mut workspace = Workspace::new();
        workspace.time_steps(true);
        Rival { program, picture: vec![0.5; picture.len()], workspace }
    }

    /// Seconds of a pass, the mean of as many as take a few milliseconds.
    fn turn(&mut self, team: &Team) -> f64 {
        let start = Instant::now();
        let (mut time, mut passes) = (Duration::ZERO, 0);
        while passes == 0 || start.elapsed() < SLICE {
            self.program.run(team, &mut self.workspace, &self.picture, &mut []);
            time += self.workspace.step_times().last().unwrap_or_default();
            passes += 1;
        }
        time.as_secs_f64() / f64::from(passes)
    }

    fn conv(&self) -> &StepInfo {
        self.program.steps().last().expect("a convolution was pushed")
    }
}

/// Medians of turns; the first of `rivals` is the chosen one.
fn race(rivals: &mut [Rival], team: &Team) -> Contest {
    let mut times = vec![Vec::new(); rivals.len()];
    for _ in 0..TURNS {
        for (rival, times) in rivals.iter_mut().zip(&mut times) {
            times.push(rival.turn(team));
        }
    }
    let medians: Vec<f64> = times.into_iter().map(median).collect();
    let others = (1..rivals.len()).min_by(|a, b| medians[*a].total_cmp(&medians[*b]));
    let rival = others.unwrap_or(0);
    Contest {
        chosen: rivals[0].conv().clone(),
        rival: rivals[rival].conv().kernel,
        chosen_seconds: medians[0],
        rival_seconds: medians[rival],
    }
}
