//! Component rows to rows of RGB.

use crate::markers::Color;

/// Pixels converted together.
const CHUNK: usize = 64;

/// Converts a row; each of `rows` has at least as many samples as `out` has pixels, and there are as many
/// rows as `color` has components.
pub(crate) fn convert(color: Color, rows: &[&[u8]], out: &mut [u8]) {
    match (color, rows) {
        (Color::Grey, [grey, ..]) => {
            for (pixel, &level) in out.as_chunks_mut::<3>().0.iter_mut().zip(*grey) {
                *pixel = [level; 3];
            }
        }
        (Color::Rgb, [red, green, blue, ..]) => {
            let pixels = out.as_chunks_mut::<3>().0.iter_mut();
            for (((pixel, &r), &g), &b) in pixels.zip(*red).zip(*green).zip(*blue) {
                *pixel = [r, g, b];
            }
        }
        (Color::YCbCr, [y, cb, cr, ..]) => convert_ycc(y, cb, cr, out),
        (Color::Cmyk { inverted }, [c, m, y, k, ..]) => {
            let pixels = out.as_chunks_mut::<3>().0.iter_mut();
            for ((((pixel, &c), &m), &y), &k) in pixels.zip(*c).zip(*m).zip(*y).zip(*k) {
                *pixel = [c, m, y].map(|ink| print(ink, k, inverted));
            }
        }
        (Color::Ycck { inverted }, [y, cb, cr, k, ..]) => {
            convert_ycc(y, cb, cr, out);
            for (pixel, &k) in out.as_chunks_mut::<3>().0.iter_mut().zip(*k) {
                *pixel = pixel.map(|light| print(255 - light, k, inverted));
            }
        }
        _ => {}
    }
}

/// Light that an ink and black leave, as TensorFlow computes it.
fn print(ink: u8, black: u8, inverted: bool) -> u8 {
    let (a, b) = if inverted { (ink, black) } else { (255 - ink, 255 - black) };
    (u16::from(a) * u16::from(b) / 255) as u8
}

fn convert_ycc(y: &[u8], cb: &[u8], cr: &[u8], out: &mut [u8]) {
    let pixels = out.len() / 3;
    let (y, cb, cr) = (&y[..pixels], &cb[..pixels], &cr[..pixels]);
    let (y_chunks, y_rest) = y.as_chunks::<CHUNK>();
    let (cb_chunks, cb_rest) = cb.as_chunks::<CHUNK>();
    let (cr_chunks, cr_rest) = cr.as_chunks::<CHUNK>();
    let (out_chunks, out_rest) = out.as_chunks_mut::<{ 3 * CHUNK }>();
    for (((out, y), cb), cr) in out_chunks.iter_mut().zip(y_chunks).zip(cb_chunks).zip(cr_chunks) {
        interleave(&rgb_planes(y, cb, cr), out);
    }
    let pad = |rest: &[u8]| {
        let mut chunk = [0; CHUNK];
        chunk[..rest.len()].copy_from_slice(rest);
        chunk
    };
    interleave(&rgb_planes(&pad(y_rest), &pad(cb_rest), &pad(cr_rest)), out_rest);
}

fn interleave([red, green, blue]: &[[u8; CHUNK]; 3], out: &mut [u8]) {
    let pixels = out.as_chunks_mut::<3>().0.iter_mut();
    for (((pixel, &r), &g), &b) in pixels.zip(red).zip(green).zip(blue) {
        *pixel = [r, g, b];
    }
}

/// The JFIF equations with 16 fractional bits, rounded as libjpeg's tables are:
/// R = Y + 1.402 Cr, G = Y - 0.34414 Cb - 0.71414 Cr, B = Y + 1.772 Cb.
///
/// Whole parts of the factors are taken out, so that every constant fits 16 bits and the products vectorise
/// without AVX. A function of its own, as the loop is not vectorised amid others.
#[inline(never)]
fn rgb_planes(y: &[u8; CHUNK], cb: &[u8; CHUNK], cr: &[u8; CHUNK]) -> [[u8; CHUNK]; 3] {
    const HALF: i32 = 1 << 15;
    let mut planes = [[0; CHUNK]; 3];
    let [red, green, blue] = &mut planes;
    for (((((&y, &cb), &cr), red), green), blue) in y.iter().zip(cb).zip(cr).zip(red).zip(green).zip(blue) {
        let y = i16::from(y);
        let cb = i16::from(cb) - 128;
        let cr = i16::from(cr) - 128;
        let times = |value: i16, constant: i16| i32::from(value) * i32::from(constant);
        // With one bit more first, the rounding is done in 16 bits.
        let rounded = |value: i16, constant: i16| ((times(2 * value, constant) >> 16) as i16 + 1) >> 1;
        let r = y + cr + rounded(cr, 26_345);
        let g = y - cr + ((times(cr, 18_734) + times(cb, -22_554) + HALF) >> 16) as i16;
        let b = y + 2 * cb + rounded(cb, -14_942);
        (*red, *green, *blue) = (r.clamp(0, 255) as u8, g.clamp(0, 255) as u8, b.clamp(0, 255) as u8);
    }
    planes
}
