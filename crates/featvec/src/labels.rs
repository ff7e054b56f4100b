//! The names of classes.

use std::path::{Path, PathBuf};

use crate::{Error, ErrorKind, Module, Result};

/// The 1000 classes of ILSVRC-2012 in ascending order of their WordNet ids: `id names`, one a line.
const SYNSETS: &str = include_str!("labels/ilsvrc_2012_synsets.txt");

/// The class that TF-Slim put before the thousand.
const BACKGROUND: &str = "background";

/// The file beside a module's graphs that names its classes, a line each.
pub const LABELS_FILE: &str = "labels.txt";

/// The longest label file that is read: a thousand bytes for each of ten thousand classes.
const MAX_BYTES: u64 = 10_000_000;

/// What the classes of a network are called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Labels(Vec<Label>);

/// What one class is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    /// The name, without synonyms: `tench`.
    pub name: String,
    /// The WordNet id of an ImageNet class: `n01440764`.
    pub synset: Option<String>,
}

impl Labels {
    /// The labels of a network trained on ImageNet: 1001 classes with a background class at index 0 (TF-Slim), or the
    /// 1000 alone (Caffe). None for any other number.
    pub fn imagenet(classes: usize) -> Option<Labels> {
        let background = (classes == 1001).then(|| Label { name: BACKGROUND.to_string(), synset: None });
        let labels: Vec<Label> = background
            .into_iter()
            .chain(SYNSETS.lines().filter_map(|line| {
                let (synset, names) = line.split_once(' ')?;
                let name = names.split(", ").next()?;
                Some(Label { name: name.to_string(), synset: Some(synset.to_string()) })
            }))
            .collect();
        (labels.len() == classes).then_some(Labels(labels))
    }

    /// Reads one name a line, the first for index 0.
    ///
    /// # Errors
    /// No readable text file, or one of more than ten megabytes.
    pub fn read(path: &Path) -> Result<Labels> {
        let place = path.display().to_string();
        let bytes = std::fs::metadata(path).map_err(|error| Error::io(&place, error))?.len();
        if bytes > MAX_BYTES {
            let message = format!("{bytes} bytes are more than a list of labels has");
            return Err(
                Error::new(ErrorKind::Limit, place, message).with_hint("give a text file, one name a line")
            );
        }
        let text = std::fs::read_to_string(path).map_err(|error| Error::io(&place, error))?;
        Ok(Labels(text.lines().map(|name| Label { name: name.trim().to_string(), synset: None }).collect()))
    }

    /// The file `labels.txt` in the folder of `module`, if it has one.
    pub fn beside(module: &Module) -> Option<PathBuf> {
        module.folder().map(|folder| folder.join(LABELS_FILE)).filter(|file| file.is_file())
    }

    /// The label of class `index`.
    pub fn get(&self, index: usize) -> Option<&Label> {
        self.0.get(index)
    }

    /// How many classes have a label.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are no labels.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Facts of the published lists: spec A16.
    #[test]
    fn both_lists_are_in_their_published_order() {
        let (tf, caffe) = (Labels::imagenet(1001).unwrap(), Labels::imagenet(1000).unwrap());
        assert_eq!(tf.get(0).unwrap().name, "background");
        assert_eq!(tf.get(1).unwrap().name, "tench");
        assert_eq!(tf.get(2).unwrap().synset.as_deref(), Some("n01443537"));
        assert_eq!(caffe.get(0).unwrap().name, "tench");
        assert_eq!(caffe.get(281).unwrap().name, "tabby");
        assert_eq!(caffe.get(999).unwrap().name, "toilet tissue");
        assert!((0..1000).all(|index| caffe.get(index) == tf.get(index + 1)));
        let synsets: Vec<_> = (0..1000).map(|index| caffe.get(index).unwrap().synset.clone()).collect();
        assert!(synsets.is_sorted() && synsets.iter().all(Option::is_some));
        assert_eq!(Labels::imagenet(999), None);
    }
}
