//! The convolution that reads the pictures.

use crate::arena::Aligned;
use crate::conv::{Branch, Conv, Filter, LINE};
use crate::convert::Conversion;
use crate::group::Group;
use crate::kernels::Kernels;
use crate::map::{Image, Pixels, checked_end};
use crate::maps::Maps;
use crate::program::Affine;
use crate::team::Team;
use crate::train::filter_gradient::{FilterGradient, Walk};
use crate::train::pass::{behind, run_direct};
use crate::train::{Scratch, Strided};

/// The first convolution of a network, of pictures, with any stride and padding, and without bias. Nobody asks for the
/// gradient to its input.
///
/// All results have the same bits for any number of threads.
pub struct ImageConvolution {
    kernels: &'static Kernels,
    image: Image,
    shape: [usize; 4],
    stride: usize,
    affine: Affine,
    weights: Vec<f32>,
    /// The pictures of the last pass forward, scaled and padded.
    pictures: Aligned,
    /// How many they are.
    images: usize,
}

impl ImageConvolution {
    /// A convolution with a filter of `shape`, `[kh, kw, 3, oc]`, which is zero at first, over pictures of the size and with
    /// the padding of `image`, scaled by `affine`.
    ///
    /// # Panics
    /// Where the filter does not read pictures, is empty or larger than the padded picture, or does not move.
    pub fn new(
        kernels: &'static Kernels,
        (image, affine): (Image, Affine),
        shape: [usize; 4],
        stride: usize,
    ) -> ImageConvolution {
        let [kh, kw, ic, oc] = shape;
        assert!(kh > 0 && kw > 0 && oc > 0, "an empty filter: {kh}x{kw} to {oc} channels");
        assert_eq!(ic, Image::CHANNELS, "the filter reads other channels than a picture has");
        assert!(kh <= image.padded_h() && kw <= image.padded_w(), "a filter larger than the picture");
        assert!(stride > 0, "a filter that does not move");
        let image = Image { offset: 0, pixels: Pixels::Single, ..image };
        let weights = vec![0.0; checked_end(0, shape.map(Some))];
        let pictures = Aligned::zeroed(0);
        ImageConvolution { kernels, image, shape, stride, affine, weights, pictures, images: 0 }
    }

    /// `[oc, h, w]` of the output.
    pub fn output(&self) -> [usize; 3] {
        let [kh, kw, _, oc] = self.shape;
        let out = |len, k| (len - k) / self.stride + 1;
        [oc, out(self.image.padded_h(), kh), out(self.image.padded_w(), kw)]
    }

    /// Takes the filter, `[kh, kw, 3, oc]`.
    ///
    /// # Panics
    /// Where `weights` has another length.
    pub fn set_filter(&mut self, weights: &[f32]) {
        self.weights.copy_from_slice(weights);
    }

    /// Fills `output`, [`[oc, h, w]`](ImageConvolution::output), with the sums over `images`, `[n, h, w, 3]`.
    ///
    /// # Panics
    /// Where the maps do not fit the pictures.
    pub fn forward(&mut self, team: &Team, images: &[f32], output: &mut Maps) {
        self.check(output);
        let (image, step, count) = (&self.image, self.image.len().next_multiple_of(LINE), output.images());
        let room = checked_end(0, [Some(step), Some(count)]);
        let len = image.h * image.w * Image::CHANNELS;
        assert_eq!(images.len(), len * count, "not as many numbers as the pictures have");
        if self.pictures.len() < room {
            self.pictures = Aligned::zeroed(room);
        }
        self.images = count;
        let bias = vec![0.0; self.shape[3]];
        let filter = Filter { weights: &self.weights, bias: &bias, shape: self.shape };
        let branch = Branch { filter, output: behind(image.len(), output), relu: false };
        let conv = Conv::over_image(self.kernels, *image, self.stride, branch);
        let pictures = Strided { first: self.pictures.as_mut_ptr(), step };
        team.share(count, &|index| {
            let slot = Group::new((pictures.at(index), pictures.at(index)), usize::MAX).first;
            let from = &images[index * len..][..len];
            let conversion = Conversion { image, affine: &self.affine, from, slot, rows: 0..image.h };
            // SAFETY: the processor has the instruction set (`kernels` proves it); each picture is converted once, to
            // its own place.
            unsafe { (self.kernels.convert)(&conversion) };
        });
        // SAFETY: the convolution was told that the output lies behind the picture.
        unsafe { run_direct(team, &conv, (pictures, Strided::outputs(output)), count) };
    }

    /// Fills `dfilter`, `[kh, kw, 3, oc]`, with the gradient to the filter from the gradient to the output of the last pass
    /// forward.
    ///
    /// # Panics
    /// Where the maps do not fit that pass, or `dfilter` the filter.
    pub fn backward_filter(&self, team: &Team, scratch: &mut Scratch, doutput: &Maps, dfilter: &mut [f32]) {
        self.check(doutput);
        assert_eq!(doutput.images(), self.images, "as many gradients as pictures");
        assert_eq!(dfilter.len(), self.weights.len(), "a gradient that does not fit the filter");
        let step = self.image.len().next_multiple_of(LINE);
        let walk = Walk::of_image(&self.image, self.shape, self.stride);
        let gradient = FilterGradient::new(self.kernels, walk, doutput);
        let pictures = Strided { first: self.pictures.as_ptr().cast_mut(), step };
        gradient.run(team, scratch, (pictures, doutput), &mut [dfilter]);
    }

    fn check(&self, output: &Maps) {
        assert_eq!(output.shape(), self.output(), "maps that do not fit the convolution");
        let lanes = [output.kernels().lanes(), self.kernels.lanes()];
        assert_eq!(lanes[0], lanes[1], "maps in blocks of another instruction set");
    }
}

impl core::fmt::Debug for ImageConvolution {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("ImageConvolution").field("shape", &self.shape).finish_non_exhaustive()
    }
}
