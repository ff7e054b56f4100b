//! Labelled pictures: folders of classes, or TFRecord files as TF-Slim writes them.

use std::path::{Path, PathBuf};

use featvec_formats::example::{ENCODED, LABEL};
use featvec_formats::{Example, RecordFile};

use crate::class_folder::ClassFolder;
use crate::image::{self, DecodeOptions, Rgb8};
use crate::pictures::read_picture;
use crate::{Error, ErrorKind, Limits, Result};

/// Labelled pictures, none of which is in memory.
#[derive(Debug)]
pub struct Examples {
    classes: Vec<String>,
    source: Source,
}

#[derive(Debug)]
enum Source {
    Files(Vec<(PathBuf, usize)>),
    Records {
        files: Vec<RecordFile>,
        /// How many records there are up to and with each file.
        ends: Vec<usize>,
        labels_offset: i64,
        limits: Limits,
    },
}

/// What a labelled picture turned out to be.
#[derive(Debug)]
pub enum Loaded {
    /// The picture and its label.
    Picture(Rgb8, usize),
    /// Nothing that can be used, and why.
    Unreadable(Error),
}

impl Examples {
    /// The pictures below `folder`, in which each sub-folder is a class, in the order of their names.
    ///
    /// # Errors
    /// A folder that cannot be read, has no sub-folders with pictures, or one without any picture.
    pub fn from_folder(folder: &Path) -> Result<Examples> {
        let place = folder.display().to_string();
        let found = ClassFolder::read(folder).map_err(|error| match error.kind() {
            ErrorKind::Io => error.with_hint("give a folder in which each sub-folder is a class"),
            _ => error,
        })?;
        if found.classes.is_empty() {
            return Err(Error::new(ErrorKind::Argument, place, "no sub-folder with pictures in it")
                .with_hint("each class is a sub-folder"));
        }
        if let Some(empty) = found.empty.first() {
            return Err(Error::new(ErrorKind::Argument, place, format!("class {empty:?} has no pictures"))
                .with_hint("put pictures into the sub-folder, or remove it"));
        }
        let classes = found.labels();
        let pictures = found.classes.into_iter().enumerate();
        let files =
            pictures.flat_map(|(label, class)| class.pictures.into_iter().map(move |path| (path, label)));
        Ok(Examples { classes, source: Source::Files(files.collect()) })
    }

    /// The pictures `files`, each with the index of its class among `classes`.
    ///
    /// # Panics
    /// If a picture is of none of the classes.
    pub fn from_pictures(files: Vec<(PathBuf, usize)>, classes: Vec<String>) -> Examples {
        assert!(files.iter().all(|(_, class)| *class < classes.len()));
        Examples { classes, source: Source::Files(files) }
    }

    /// The records of the TFRecord `files`, each a `tf.Example` with TF-Slim's features `image/encoded` and
    /// `image/class/label`, for the classes `classes`. `labels_offset` is taken off each label.
    ///
    /// # Errors
    /// A file that is no TFRecord file; no records at all. What is wrong with one record is found when it is
    /// [loaded](Examples::load).
    pub fn from_tfrecords(
        files: &[PathBuf],
        classes: Vec<String>,
        labels_offset: i64,
        limits: &Limits,
    ) -> Result<Examples> {
        let files: Vec<RecordFile> =
            files.iter().map(|path| RecordFile::open(path, limits)).collect::<Result<_>>()?;
        let mut count = 0;
        let ends: Vec<usize> = files
            .iter()
            .map(|file| {
                count += file.len();
                count
            })
            .collect();
        if count == 0 {
            let place = files.first().map(|file| file.path().display().to_string()).unwrap_or_default();
            return Err(Error::new(ErrorKind::Argument, place, "no records"));
        }
        let source = Source::Records { files, ends, labels_offset, limits: limits.clone() };
        Ok(Examples { classes, source })
    }

    /// The names of the classes, by label.
    pub fn classes(&self) -> &[String] {
        &self.classes
    }

    /// How many pictures there are.
    pub fn len(&self) -> usize {
        match &self.source {
            Source::Files(files) => files.len(),
            Source::Records { ends, .. } => ends.last().copied().unwrap_or(0),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many pictures each class has, where that is known before they are loaded.
    pub fn class_sizes(&self) -> Option<Vec<usize>> {
        let Source::Files(files) = &self.source else { return None };
        let mut sizes = vec![0; self.classes.len()];
        files.iter().for_each(|(_, label)| sizes[*label] += 1);
        Some(sizes)
    }

    /// Gives the pictures the labels of other classes, `classes`: `labels` has the new label of each.
    ///
    /// # Errors
    /// Labels of records are numbers of their own classes, and cannot be changed; as many labels as classes, all of them
    /// below the number of the new classes.
    pub fn relabel(&mut self, labels: &[usize], classes: Vec<String>) -> Result<()> {
        let Source::Files(files) = &mut self.source else {
            return Err(Error::new(ErrorKind::Argument, "", "records have labels of their own"));
        };
        if labels.len() != self.classes.len() || labels.iter().any(|label| *label >= classes.len()) {
            return Err(Error::new(ErrorKind::Argument, "", "the new labels do not fit the classes"));
        }
        files.iter_mut().for_each(|(_, label)| *label = labels[*label]);
        self.classes = classes;
        Ok(())
    }

    /// Where picture `index` is, for people.
    ///
    /// # Panics
    /// If there is no such picture; also below.
    pub fn place(&self, index: usize) -> String {
        match &self.source {
            Source::Files(files) => files[index].0.display().to_string(),
            Source::Records { files, ends, .. } => {
                let (file, record) = locate(ends, index);
                format!("{}: record {record}", files[file].path().display())
            }
        }
    }

    /// Loads and decodes picture `index`.
    ///
    /// # Errors
    /// What makes all of a source doubtful: a record without a picture or a label, or a label that is no class. A file or
    /// a record that is damaged, or no picture, is [`Loaded::Unreadable`].
    pub fn load(&self, index: usize, decode: &DecodeOptions) -> Result<Loaded> {
        let decoded = |bytes: &[u8], label| match image::decode(bytes, decode) {
            Ok(decoded) => Loaded::Picture(decoded.image, label),
            Err(error) => Loaded::Unreadable(error.within(&self.place(index))),
        };
        match &self.source {
            Source::Files(files) => {
                let (path, label) = &files[index];
                Ok(match read_picture(path, decode.limits.max_memory_bytes) {
                    Ok(bytes) => decoded(&bytes, *label),
                    Err(error) => Loaded::Unreadable(error.within(&self.place(index))),
                })
            }
            Source::Records { files, ends, labels_offset, limits } => {
                let (file, record) = locate(ends, index);
                let bytes = match files[file].read(record) {
                    Ok(bytes) => bytes,
                    Err(error) => return Ok(Loaded::Unreadable(error)),
                };
                let (picture, label) = Example::parse(&bytes, limits)
                    .and_then(|example| Ok((example.bytes(ENCODED)?, example.int64(LABEL)?)))
                    .and_then(|(picture, label)| Ok((picture, self.label(label, *labels_offset)?)))
                    .map_err(|error| error.within(&self.place(index)))?;
                Ok(decoded(picture, label))
            }
        }
    }

    fn label(&self, stored: i64, offset: i64) -> Result<usize> {
        let label = stored.checked_sub(offset).and_then(|label| usize::try_from(label).ok());
        label.filter(|label| *label < self.classes.len()).ok_or_else(|| {
            let less = if offset == 0 { String::new() } else { format!(" less {offset}") };
            let message = format!("its label {stored}{less} is none of the {} classes", self.classes.len());
            Error::new(ErrorKind::Mismatch, "", message)
                .with_hint("labels count from 0; set --labels-offset, or the number of classes")
        })
    }
}

/// The file of record `index`, and its number in it.
fn locate(ends: &[usize], index: usize) -> (usize, usize) {
    let file = ends.partition_point(|end| *end <= index);
    (file, index - if file == 0 { 0 } else { ends[file - 1] })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_numbered_through_all_files() {
        let ends = [2, 2, 5];
        let found: Vec<_> = (0..5).map(|index| locate(&ends, index)).collect();
        assert_eq!(found, [(0, 0), (0, 1), (2, 0), (2, 1), (2, 2)]);
    }
}
