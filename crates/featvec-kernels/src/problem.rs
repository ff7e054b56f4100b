//! What a step computes, in a word: the name under which its time is told.

use core::fmt::{self, Display, Formatter};

use crate::conv::Branch;
use crate::map::Image;
use crate::program::Step;
use crate::winograd::{IMAGE_FILTER, IMAGE_STRIDE};

/// One step of a program, as tables of times list it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepInfo {
    /// Which phase it belongs to, counted from 0; the steps of a phase run side by side.
    pub phase: usize,
    /// Shapes, like `ic64ih56iw56_oc192kh3kw3_sh1sw1`: the input, the window, and its strides as far as there are any.
    /// Convolutions that read one map in one step are one problem, with their output channels added up.
    pub problem: String,
    /// What computes it, like `f32_conv_14x32_avx512` or `max_pool`.
    pub kernel: &'static str,
    /// Multiplications (each with an addition) of direct convolution; 0 for other steps.
    pub multiply_adds: usize,
}

/// The shapes of a step.
pub(crate) struct Problem {
    input: [usize; 3],
    /// Rows, columns, and stride.
    window: Option<([usize; 2], usize)>,
    /// Of the convolutions, together.
    oc: Option<usize>,
    pub multiply_adds: usize,
}

impl Problem {
    pub(crate) fn of(step: &Step<'_>) -> Problem {
        let plain = |input| Problem { input, window: None, oc: None, multiply_adds: 0 };
        let convs = |input, branches: &[Branch<'_>], stride| {
            let multiply_adds = |branch: &Branch<'_>| {
                let [_, h, w] = branch.output.shape();
                branch.filter.shape.iter().product::<usize>() * h * w
            };
            Problem {
                input,
                window: branches
                    .first()
                    .map(|Branch { filter, .. }| ([filter.shape[0], filter.shape[1]], stride)),
                oc: Some(branches.iter().map(|branch| branch.filter.shape[3]).sum()),
                multiply_adds: branches.iter().map(multiply_adds).sum(),
            }
        };
        let picture = |image: &Image| [Image::CHANNELS, image.h, image.w];
        match step {
            Step::Convert { image, .. } => plain(picture(image)),
            Step::ConvImage { image, stride, branch } => {
                convs(picture(image), core::slice::from_ref(branch), *stride)
            }
            Step::WinogradImage { image, filter, output, .. } => {
                let [kh, kw, ic] = IMAGE_FILTER;
                let [_, oc] = filter.channels();
                let [_, h, w] = output.shape();
                Problem {
                    input: picture(image),
                    window: Some(([kh, kw], IMAGE_STRIDE)),
                    oc: Some(oc),
                    multiply_adds: kh * kw * ic * oc * h * w,
                }
            }
            Step::Conv { input, branches } => convs(input.shape(), branches, 1),
            Step::WinogradInput { input, .. } => {
                Problem { window: Some(([3; 2], 1)), ..plain(input.shape()) }
            }
            Step::WinogradOutput { tiles, filter, .. } => {
                let [ic, oc] = filter.channels();
                let [h, w] = tiles.covered();
                Problem {
                    input: [ic, h, w],
                    window: Some(([3; 2], 1)),
                    oc: Some(oc),
                    multiply_adds: 9 * ic * oc * h * w,
                }
            }
            Step::MaxPool { input, size, stride, .. } => {
                Problem { window: Some(([*size; 2], *stride)), ..plain(input.shape()) }
            }
            Step::Lrn { input: map, .. }
            | Step::GlobalMean { input: map, .. }
            | Step::BatchNorm { map, .. }
            | Step::Store { map, .. } => plain(map.shape()),
        }
    }
}

impl Display for Problem {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let [c, h, w] = self.input;
        write!(f, "ic{c}ih{h}iw{w}")?;
        if let Some(([kh, kw], stride)) = self.window {
            let oc = self.oc.map(|oc| format!("oc{oc}")).unwrap_or_default();
            write!(f, "_{oc}kh{kh}kw{kw}_sh{stride}sw{stride}")?;
        }
        Ok(())
    }
}
