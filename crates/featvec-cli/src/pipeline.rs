//! From files to rows: pictures are prepared and run batch by batch, in the order of the inputs.

use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Instant;

use featvec::image::{ExifPolicy, Orientation};
use featvec::pictures::{Found, Preparation, range_doubt, read_array};
use featvec::{Error, ErrorKind, Limits, Module, Tensor};

use crate::line;
use crate::stop::Stop;
use crate::talk::Talk;

/// What runs, and on what.
pub struct Pipeline<'a> {
    /// The module.
    pub module: &'a Module,
    /// Its signature.
    pub signature: &'a str,
    /// The output of the signature.
    pub output: &'a str,
    /// How pictures are prepared.
    pub preparation: Preparation,
    /// Pictures in a batch.
    pub batch: NonZeroUsize,
    /// Limits for arrays.
    pub limits: Limits,
    /// Who is told about failures.
    pub talk: &'a Talk,
}

/// Where rows go: their names, and `[n, ...]` values.
pub type Sink<'a> = dyn FnMut(&[OsString], &Tensor) -> Result<(), Stop> + 'a;

/// What came of the inputs.
#[derive(Debug, Default)]
pub struct Tally {
    /// How many rows there are.
    pub rows: usize,
    /// Inputs without rows, and why.
    pub failures: Vec<(PathBuf, String)>,
    sideways: usize,
    doubted: bool,
}

impl Pipeline<'_> {
    /// The shape of a row. To ask for it is also to check that the module can run as asked.
    ///
    /// # Errors
    /// A signature, an output or a size that cannot be had.
    pub fn row_shape(&self) -> Result<Vec<usize>, Error> {
        let [height, width] = self.preparation.size;
        let nothing = Tensor::new([0, height, width, 3], Vec::new())?;
        Ok(self.run_module(&nothing)?.shape()[1..].to_vec())
    }

    /// Runs all of `found` and gives the rows to `sink`, a batch at a time. What fails is told and tallied.
    ///
    /// # Errors
    /// Those of `sink`, and failures that do not lie in the inputs.
    pub fn run(&self, found: Vec<Found>, sink: &mut Sink<'_>) -> Result<Tally, Stop> {
        let start = Instant::now();
        let mut tally = Tally::default();
        let mut pictures = Vec::new();
        self.talk.begin(found.len());
        for found in found {
            // An array or a failure ends the batch before it, which keeps rows and messages in order.
            match found {
                Found::Picture(path) => pictures.push(path),
                Found::Array(path) => {
                    self.run_pictures(&mut pictures, &mut tally, sink)?;
                    self.run_array(path, &mut tally, sink)?;
                }
                Found::Failed(path, error) => {
                    self.run_pictures(&mut pictures, &mut tally, sink)?;
                    self.fail(path, &error, &mut tally);
                    self.talk.advance(1);
                }
            }
            if pictures.len() == self.batch.get() {
                self.run_pictures(&mut pictures, &mut tally, sink)?;
            }
        }
        self.run_pictures(&mut pictures, &mut tally, sink)?;
        self.talk.end();
        tally.tell(self, start.elapsed().as_secs_f64());
        Ok(tally)
    }

    fn run_pictures(
        &self,
        paths: &mut Vec<PathBuf>,
        tally: &mut Tally,
        sink: &mut Sink<'_>,
    ) -> Result<(), Stop> {
        let threads = NonZeroUsize::new(self.module.extractor().threads()).unwrap_or(NonZeroUsize::MIN);
        let paths = std::mem::take(paths);
        let batch = self.preparation.prepare_batch(&paths, threads)?;
        let count = paths.len();
        let mut names = Vec::with_capacity(count);
        for (path, outcome) in paths.into_iter().zip(batch.outcomes) {
            match outcome {
                Ok(orientation) => {
                    self.note_orientation(&path, orientation, tally);
                    names.push(path.into_os_string());
                }
                Err(error) => self.fail(path, &error, tally),
            }
        }
        if !names.is_empty() {
            sink(&names, &self.run_module(&batch.images)?)?;
        }
        tally.rows += names.len();
        self.talk.advance(count);
        Ok(())
    }

    fn run_array(&self, path: PathBuf, tally: &mut Tally, sink: &mut Sink<'_>) -> Result<(), Stop> {
        let mut row = 0;
        match self.batches(&path, tally) {
            Err(error) => self.fail(path, &error, tally),
            Ok(batches) => {
                for batch in batches {
                    let values = match self.run_array_batch(&batch) {
                        Ok(values) => values,
                        // It lies in the shape, so it is the first batch that fails.
                        Err(error) => {
                            self.fail(path, &error, tally);
                            break;
                        }
                    };
                    let names: Vec<_> = (row..row + batch.rows()).map(|row| row_name(&path, row)).collect();
                    sink(&names, &values)?;
                    row += batch.rows();
                }
            }
        }
        tally.rows += row;
        self.talk.advance(1);
        Ok(())
    }

    /// The images of an array, a batch at a time.
    fn batches(&self, path: &Path, tally: &mut Tally) -> Result<impl Iterator<Item = Tensor> + use<>, Error> {
        let images = read_array(path, &self.limits)?;
        if let Some(doubt) = range_doubt(&images).filter(|_| !tally.doubted) {
            self.talk.note(format_args!("{}: {doubt}", line::shown(path)));
            tally.doubted = true;
        }
        let row_shape = images.shape()[1..].to_vec();
        let row_len: usize = row_shape.iter().product();
        if row_len == 0 {
            return Err(Error::new(ErrorKind::Mismatch, "", "the images in it have no pixels"));
        }
        let (batch, mut data) = (self.batch.get(), images.into_data().into_iter());
        Ok(std::iter::from_fn(move || {
            let values: Vec<f32> = data.by_ref().take(batch.saturating_mul(row_len)).collect();
            let rows = values.len() / row_len;
            let shape = [&[rows], row_shape.as_slice()].concat();
            Tensor::new(shape, values).ok().filter(|_| rows > 0)
        }))
    }

    fn run_array_batch(&self, images: &Tensor) -> Result<Tensor, Error> {
        let values = self.run_module(images)?;
        let (shape, expected) = (&values.shape()[1..], self.row_shape()?);
        if shape != expected {
            let message =
                format!("its images give rows of {shape:?}, and the other inputs rows of {expected:?}");
            return Err(Error::new(ErrorKind::Mismatch, "", message).with_hint("give each size its own run"));
        }
        Ok(values)
    }

    fn run_module(&self, images: &Tensor) -> Result<Tensor, Error> {
        let mut outputs = self.module.run_outputs(self.signature, images, &[self.output])?;
        Ok(outputs.remove(0))
    }

    fn fail(&self, path: PathBuf, error: &Error, tally: &mut Tally) {
        let reason = error.to_string();
        self.talk.failure(format_args!("{}: {reason}", line::shown(&path)));
        tally.failures.push((path, reason));
    }

    /// Tells once that a picture lies on its side and is left so.
    fn note_orientation(&self, path: &Path, orientation: Orientation, tally: &mut Tally) {
        if orientation == Orientation::Normal || self.preparation.decode.exif == ExifPolicy::Apply {
            return;
        }
        if tally.sideways == 0 {
            self.talk.note(format_args!(
                "{}: by its EXIF orientation this picture is to be turned, which --exif apply would do",
                line::shown(path)
            ));
        }
        tally.sideways += 1;
    }
}

impl Tally {
    fn tell(&self, pipeline: &Pipeline<'_>, seconds: f64) {
        let (talk, failed) = (pipeline.talk, self.failures.len());
        if self.sideways > 1 {
            talk.note(format_args!(
                "{} pictures were left lying as their EXIF orientation says",
                self.sideways
            ));
        }
        let rate = self.rows as f64 / seconds.max(f64::EPSILON);
        talk.note(format_args!("{} done, {failed} failed, {rate:.1} pictures/s", self.rows));
    }
}

/// The name of a row of an array.
fn row_name(path: &Path, row: usize) -> OsString {
    let mut name = path.as_os_str().to_owned();
    name.push(format!("#{row}"));
    name
}
