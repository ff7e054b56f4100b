//! The feature vectors of many files, computed once: what a [`FeatureCache`] has is taken from there.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use crate::extractor::FeatureExtractor;
use crate::feature_cache::{FeatureCache, FeatureKey, FeatureSource};
use crate::parallel::share_out;
use crate::pictures::Preparation;
use crate::plan::{Mode, Value, check_size};
use crate::tensor::first_not_finite;
use crate::{Error, ErrorKind, Module, Result, Tensor};

/// How vectors are computed.
pub struct Features<'a> {
    network: &'a FeatureExtractor,
    preparation: &'a Preparation,
    batch: NonZeroUsize,
    source: FeatureSource,
    cache: Option<FeatureCache>,
}

/// Where a vector came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// It was in the cache.
    Cached,
    /// It was computed, and is in the cache now, if there is one.
    Computed,
}

/// A file that has been read: a vector that the cache has, or a picture prepared for the network.
enum Read {
    Cached(FeatureKey),
    Prepared(FeatureKey, Vec<f32>),
}

/// A vector, or why there is none.
type Vector = Result<(Vec<f32>, Origin)>;

impl<'a> Features<'a> {
    /// Vectors of `module` for pictures that `preparation` prepares, `batch` of them at a time.
    ///
    /// # Errors
    /// A size of pictures that the module does not run at.
    pub fn new(
        module: &'a Module,
        preparation: &'a Preparation,
        batch: NonZeroUsize,
        cache: Option<FeatureCache>,
    ) -> Result<Features<'a>> {
        let [height, width] = preparation.size;
        check_size([height, width])?;
        module.check_images(module.feature_signature(), &[0, height, width, 3])?;
        let mut features = Features::of_network(module.extractor(), preparation, batch);
        features.cache = cache;
        Ok(features)
    }

    /// Vectors of a `network` that is no module yet, of which none are kept.
    pub fn of_network(
        network: &'a FeatureExtractor,
        preparation: &'a Preparation,
        batch: NonZeroUsize,
    ) -> Features<'a> {
        let source = FeatureSource::new(network, preparation);
        Features { network, preparation, batch, source, cache: None }
    }

    /// The vectors of `paths`, in their order, or why there is none. `watch` is told of each as it comes. What has been
    /// computed is in the cache at once, so that a run that is ended goes on where it was.
    ///
    /// # Errors
    /// What does not lie in single files: a full disk.
    pub fn read(
        &mut self,
        paths: &[PathBuf],
        watch: &mut dyn FnMut(&Path, std::result::Result<Origin, &Error>),
    ) -> Result<Vec<Result<Vec<f32>>>> {
        let mut vectors = Vec::with_capacity(paths.len());
        for paths in paths.chunks(self.batch.get()) {
            for (path, vector) in paths.iter().zip(self.read_batch(paths)?) {
                watch(path, vector.as_ref().map(|(_, origin)| *origin));
                vectors.push(vector.map(|(vector, _)| vector));
            }
        }
        Ok(vectors)
    }

    fn read_batch(&mut self, paths: &[PathBuf]) -> Result<Vec<Vector>> {
        let mut files: Vec<Option<Result<Read>>> = paths.iter().map(|_| None).collect();
        let threads = NonZeroUsize::new(self.network.threads()).unwrap_or(NonZeroUsize::MIN);
        share_out(threads, paths.iter().zip(&mut files), |(path, file)| *file = Some(self.read_file(path)));
        let mut files: Vec<Result<Read>> = files.into_iter().flatten().collect();
        let prepared = files.iter_mut().filter_map(|file| match file {
            Ok(Read::Prepared(_, pixels)) => Some(std::mem::take(pixels)),
            _ => None,
        });
        let computed = self.compute(prepared.collect())?;
        let mut computed = computed.iter_rows();
        let mut fresh = Vec::new();
        let mut vectors = Vec::with_capacity(files.len());
        for file in files {
            vectors.push(match file {
                Err(error) => Err(error),
                Ok(Read::Cached(key)) => {
                    let cache = self.cache.as_ref().expect("the key is one of the cache");
                    let vector = cache.get(&key, self.len())?;
                    Ok((vector.expect("the cache has said that it has it"), Origin::Cached))
                }
                Ok(Read::Prepared(key, _)) => {
                    let vector = computed.next().expect("a vector for each picture that was prepared");
                    match first_not_finite(vector) {
                        None => {
                            fresh.push((key, vector));
                            Ok((vector.to_vec(), Origin::Computed))
                        }
                        Some(at) => {
                            let message = format!("feature {at} of this picture is {}", vector[at]);
                            Err(Error::new(ErrorKind::Corrupt, "", message)
                                .with_hint("the module's variables are too large, or damaged"))
                        }
                    }
                }
            });
        }
        if let Some(cache) = &mut self.cache {
            cache.append(fresh)?;
        }
        Ok(vectors)
    }

    /// Numbers in a vector.
    fn len(&self) -> usize {
        self.network.variables().network.features()
    }

    fn read_file(&self, path: &Path) -> Result<Read> {
        let bytes = self.preparation.read(path)?;
        let key = self.source.key(&bytes);
        if self.cache.as_ref().is_some_and(|cache| cache.contains(&key, self.len())) {
            return Ok(Read::Cached(key));
        }
        let [height, width] = self.preparation.size;
        let mut pixels = vec![0.0; height * width * 3];
        self.preparation.prepare_bytes(&bytes, &mut pixels)?;
        Ok(Read::Prepared(key, pixels))
    }

    /// The vectors of prepared pictures, `[n, features]`.
    fn compute(&self, pictures: Vec<Vec<f32>>) -> Result<Tensor> {
        let [height, width] = self.preparation.size;
        let images = Tensor::new([pictures.len(), height, width, 3], pictures.concat())?;
        let mut outputs = self.network.run(&images, Mode::Inference, &[Value::Features])?;
        Ok(outputs.remove(0))
    }
}
