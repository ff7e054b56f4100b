//! The forms in which programs hand images around: ranges, means, and the order of channels.

use crate::Tensor;

/// A range of values that some network wants, as a map of red, green and blue in [0, 1].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Encoding {
    name: &'static str,
    scale: [f64; 3],
    offset: [f64; 3],
}

impl Encoding {
    /// The usual ones, the module's own first.
    pub const ALL: [Encoding; 6] = [
        Encoding { name: "in 0..1", scale: [1.0; 3], offset: [0.0; 3] },
        Encoding { name: "in 0..255", scale: [255.0; 3], offset: [0.0; 3] },
        Encoding { name: "in -1..1", scale: [2.0; 3], offset: [-1.0; 3] },
        Encoding { name: "minus Caffe's mean colour", scale: [255.0; 3], offset: [-123.0, -117.0, -104.0] },
        Encoding {
            name: "minus Keras' mean colour",
            scale: [255.0; 3],
            offset: [-123.68, -116.779, -103.939],
        },
        Encoding {
            name: "normalised as in PyTorch",
            scale: [1.0 / 0.229, 1.0 / 0.224, 1.0 / 0.225],
            offset: [-0.485 / 0.229, -0.456 / 0.224, -0.406 / 0.225],
        },
    ];

    /// Red, green and blue in [0, 1] in this encoding.
    pub fn encode(&self, rgb: [f32; 3]) -> [f32; 3] {
        std::array::from_fn(|c| (f64::from(rgb[c]) * self.scale[c] + self.offset[c]) as f32)
    }

    /// What people call it with the channels in this order or `reversed`.
    pub fn describe(&self, reversed: bool) -> String {
        format!("{} {}", if reversed { "BGR" } else { "RGB" }, self.name)
    }

    /// From values in this encoding to values in `other`.
    fn to(&self, other: &Encoding) -> Map {
        let scale: [f64; 3] = std::array::from_fn(|c| other.scale[c] / self.scale[c]);
        let offset = std::array::from_fn(|c| other.offset[c] - self.offset[c] * scale[c]);
        Map { scale, offset }
    }
}

/// One form explains another if no more than this is left of the difference: rounding to 8 bits leaves less.
const EXPLAINED: f64 = 0.02;

/// A value map for each channel.
struct Map {
    scale: [f64; 3],
    offset: [f64; 3],
}

/// The two different forms in which `a` and `b`, both `[n, h, w, 3]`, are the same images, if there are such: those that
/// leave the smallest difference, the simpler ones where several do.
///
/// Which of the two arrays is BGR cannot be told unless a mean colour does; then it is said to be `a`.
pub(super) fn explain(a: &Tensor, b: &Tensor) -> Option<[String; 2]> {
    let mut best: Option<(f64, [String; 2])> = None;
    for (reversed_a, reversed_b) in [(false, false), (true, false), (false, true), (true, true)] {
        for from in &Encoding::ALL {
            for to in &Encoding::ALL {
                let error = error(a, b, &from.to(to), [reversed_a, reversed_b]);
                // What is no better must not replace the simpler form that came first.
                let limit = best.as_ref().map_or(EXPLAINED, |(error, _)| error * 0.9);
                if error < limit {
                    best = Some((error, [from.describe(reversed_a), to.describe(reversed_b)]));
                }
            }
        }
    }
    best.map(|(_, forms)| forms).filter(|[a, b]| a != b)
}

/// What `map` leaves of the difference between `a` and `b`, relative to how much `b` varies.
fn error(a: &Tensor, b: &Tensor, map: &Map, [reversed_a, reversed_b]: [bool; 2]) -> f64 {
    // So many pixels are enough to tell forms apart.
    const STEP: usize = 4099;
    let pixels = a.data().len() / 3;
    let step = (pixels / 20_000).clamp(1, STEP);
    let at = |tensor: &Tensor, pixel: usize, channel: usize, reversed: bool| {
        let channel = if reversed { 2 - channel } else { channel };
        f64::from(tensor.data()[pixel * 3 + channel])
    };
    let (mut squares, mut sum, mut sum_of_squares, mut count) = (0.0, 0.0, 0.0, 0.0f64);
    for pixel in (0..pixels).step_by(step) {
        for channel in 0..3 {
            let (x, y) = (at(a, pixel, channel, reversed_a), at(b, pixel, channel, reversed_b));
            squares += (x * map.scale[channel] + map.offset[channel] - y).powi(2);
            sum += y;
            sum_of_squares += y * y;
            count += 1.0;
        }
    }
    let variation = sum_of_squares - sum * sum / count.max(1.0);
    if variation > 0.0 { (squares / variation).sqrt() } else { f64::INFINITY }
}
