//! Which way of preparing pictures gave which vectors: all of them are tried.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use featvec::compare::Encoding;
use featvec::module::DEFAULT;
use featvec::pictures::{Found, Preparation};
use featvec::{Error, Module, Preset, Tensor};

use crate::inputs;
use crate::stop::wrong_usage;

/// What an array was most likely made by.
pub struct Finding {
    /// `A` or `B`.
    pub array: &'static str,
    /// The preparation that comes nearest.
    pub made_by: String,
    /// How near: the length of the difference of two rows of length 1, on average. Noise is below 1e-4.
    pub distance: f64,
}

/// So many pictures tell the preparations apart.
const PICTURES: usize = 2;

/// Runs the first of `paths` through `module`, prepared in every way, and tells which way comes nearest to each of
/// `arrays`, `[n, features]`.
///
/// # Errors
/// Arrays that are no feature vectors of the module; pictures that cannot be read.
pub fn experiment(module: &Module, paths: &[PathBuf], arrays: [&Tensor; 2]) -> Result<Vec<Finding>, Error> {
    let features = module.variables().network.features();
    if arrays.iter().any(|array| !matches!(array.shape(), [_, columns] if *columns == features)) {
        return Err(wrong_usage(format!("--images explains vectors [n, {features}] only")));
    }
    let mut pictures = Vec::new();
    for found in inputs::expand(paths)?.into_iter().take(PICTURES.min(arrays[0].rows())) {
        match found {
            Found::Picture(path) => pictures.push(path),
            Found::Array(path) => {
                return Err(wrong_usage(format!("{}: --images takes pictures", path.display())));
            }
            Found::Failed(path, error) => return Err(error.within(&path.display().to_string())),
        }
    }
    if pictures.is_empty() {
        return Err(wrong_usage("--images names no pictures"));
    }

    let mut nearest = [("A", arrays[0]), ("B", arrays[1])].map(|(name, array)| {
        (array, Finding { array: name, made_by: String::new(), distance: f64::INFINITY })
    });
    for preset in Preset::ALL {
        let prepared = prepare(module, preset, &pictures)?;
        for (encoding, reversed) in
            Encoding::ALL.iter().flat_map(|encoding| [(encoding, false), (encoding, true)])
        {
            let images = encoded(&prepared, encoding, reversed)?;
            let vectors = module.run_outputs(module.feature_signature(), &images, &[DEFAULT])?.remove(0);
            for (array, finding) in &mut nearest {
                let distance = distance(&vectors, array);
                if distance < finding.distance {
                    let made_by = format!("{preset}, {}", encoding.describe(reversed));
                    *finding = Finding { made_by, distance, ..*finding };
                }
            }
        }
    }
    Ok(nearest.map(|(_, finding)| finding).into())
}

fn prepare(module: &Module, preset: Preset, pictures: &[PathBuf]) -> Result<Tensor, Error> {
    let preparation = Preparation::new(preset, module.expected_image_size()?);
    let batch = preparation.prepare_batch(pictures, NonZeroUsize::MIN)?;
    for (path, outcome) in pictures.iter().zip(batch.outcomes) {
        outcome.map_err(|error| error.within(&path.display().to_string()))?;
    }
    Ok(batch.images)
}

/// `images`, RGB in [0, 1], in another encoding, and with the channels in the other order if `reversed`.
fn encoded(images: &Tensor, encoding: &Encoding, reversed: bool) -> Result<Tensor, Error> {
    let mut data = images.data().to_vec();
    for pixel in data.as_chunks_mut::<3>().0 {
        *pixel = encoding.encode(*pixel);
        if reversed {
            pixel.reverse();
        }
    }
    Tensor::new(images.shape(), data)
}

/// The average distance between the rows of `vectors` and the first rows of `array`, scaled to length 1, which makes
/// it blind to normalisation.
fn distance(vectors: &Tensor, array: &Tensor) -> f64 {
    let distances = vectors.iter_rows().zip(array.iter_rows()).map(|(a, b)| {
        let [unit_a, unit_b] = [a, b].map(unit);
        unit_a.zip(unit_b).map(|(x, y)| (x - y).powi(2)).sum::<f64>().sqrt()
    });
    distances.sum::<f64>() / vectors.rows().max(1) as f64
}

/// The elements of `row` scaled to length 1.
fn unit(row: &[f32]) -> impl Iterator<Item = f64> + '_ {
    let length = row.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt().max(f64::MIN_POSITIVE);
    row.iter().map(move |x| f64::from(*x) / length)
}
