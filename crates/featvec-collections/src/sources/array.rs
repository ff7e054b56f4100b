//! Batches of images that another program has prepared, in numpy's files: each row is an item.

use featvec::pictures::{check_images_shape, images};
use featvec::{Error, Result, Tensor, npy};

use super::layout::too_large;
use super::place::Place;
use super::stream::Stream;
use super::{Draft, Located, Source, SourceOptions, Wanted};
use crate::Content;

/// A file being read, an image at a time.
pub(super) struct Array {
    rows: npy::RowReader<Box<dyn Stream>>,
    key: String,
    next: u64,
    is_over: bool,
}

impl Array {
    pub(super) fn open(place: &Place, options: &SourceOptions) -> Result<Array> {
        let rows = npy::RowReader::new(place.stream(options)?, &options.limits)?;
        check_images_shape(rows.shape())?;
        let image = rows.shape().get(1..).unwrap_or_default();
        // Of images without pixels any number would be there.
        if image.contains(&0) {
            return Err(Error::corrupt("", "the images in it have no pixels"));
        }
        let numbers = image.iter().fold(1u64, |numbers, size| numbers.saturating_mul(*size as u64));
        if numbers.saturating_mul(size_of::<f32>() as u64) > options.max_picture_bytes {
            return Err(too_large(options.max_picture_bytes));
        }
        Ok(Array { rows, key: place.key(), next: 0, is_over: false })
    }

    /// # Errors
    /// A file that breaks off or goes on.
    fn row(&mut self, wanted: &mut Wanted<'_>) -> Result<Option<Draft>> {
        while self.rows.rows_left() > 0 {
            let key = format!("{}#{}", self.key, self.next);
            self.next += 1;
            if !wanted(&key) {
                self.rows.pass_over()?;
                continue;
            }
            let Some(row) = self.rows.next_row()? else { break };
            return Ok(Some(match image(row) {
                Ok(image) => Draft::located(&key, Located::Here(Content::Image(image))),
                Err(error) => Draft::failed(key, error),
            }));
        }
        self.rows.next_row().map(|_| None)
    }
}

impl Source for Array {
    fn next(&mut self, wanted: &mut Wanted<'_>) -> Option<Draft> {
        if self.is_over {
            return None;
        }
        let row = self.row(wanted);
        self.is_over = !matches!(row, Ok(Some(_)));
        row.unwrap_or_else(|error| {
            Some(Draft::failed(self.key.clone(), error)).filter(|draft| wanted(&draft.key))
        })
    }
}

/// One row of an array as a batch of one image.
fn image(row: featvec_formats::Tensor) -> Result<Tensor> {
    let image = images(row)?;
    let shape = [&[1], image.shape()].concat();
    Tensor::new(shape, image.into_data())
}
