//! TensorFlow's changes of colour (`tf.image.adjust_*`), on values that need not lie in [0, 1].

/// A change of all colours of a picture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Colour {
    /// This much is added.
    Brightness(f32),
    /// Saturations, in [0, 1], are multiplied by this.
    Saturation(f32),
    /// Hues are turned by this part of the circle.
    Hue(f32),
    /// Distances from the channel's mean are multiplied by this.
    Contrast(f32),
}

impl Colour {
    /// Changes `values`, three a pixel: red, green, blue.
    pub fn apply(self, values: &mut [f32]) {
        let (pixels, _) = values.as_chunks_mut::<3>();
        match self {
            Colour::Brightness(delta) => values.iter_mut().for_each(|value| *value += delta),
            Colour::Saturation(factor) => pixels.iter_mut().for_each(|pixel| saturate(pixel, factor)),
            Colour::Hue(delta) => pixels.iter_mut().for_each(|pixel| turn_hue(pixel, delta)),
            Colour::Contrast(factor) => {
                for channel in 0..3 {
                    let sum: f64 = pixels.iter().map(|pixel| f64::from(pixel[channel])).sum();
                    let mean = (sum / pixels.len().max(1) as f64) as f32;
                    pixels.iter_mut().for_each(|p| p[channel] = (p[channel] - mean) * factor + mean);
                }
            }
        }
    }
}

fn extremes([red, green, blue]: [f32; 3]) -> (f32, f32) {
    (red.min(green).min(blue), red.max(green).max(blue))
}

/// Hue and value stay, so the distances between the channels are all multiplied by one number.
fn saturate(pixel: &mut [f32; 3], factor: f32) {
    let (least, most) = extremes(*pixel);
    let range = most - least;
    // What has no light has no saturation, and becomes grey.
    let saturation = if most > 0.0 { range / most } else { 0.0 };
    let chroma = (saturation * factor).clamp(0.0, 1.0) * most;
    let stretch = if range > 0.0 { chroma / range } else { 0.0 };
    *pixel = pixel.map(|value| most - (most - value) * stretch);
}

/// The largest and the smallest channel keep their values, and change places.
fn turn_hue(pixel: &mut [f32; 3], delta: f32) {
    let [red, green, blue] = *pixel;
    let (least, most) = extremes(*pixel);
    let range = most - least;
    if range <= 0.0 {
        return;
    }
    // Red is at 0, green at 2, blue at 4.
    let hue = if most == red {
        (green - blue) / range
    } else if most == green {
        2.0 + (blue - red) / range
    } else {
        4.0 + (red - green) / range
    };
    let hue = (hue + 6.0 * delta).rem_euclid(6.0);
    let shares = [(hue - 3.0).abs() - 1.0, 2.0 - (hue - 2.0).abs(), 2.0 - (hue - 4.0).abs()];
    *pixel = shares.map(|share| least + range * share.clamp(0.0, 1.0));
}
