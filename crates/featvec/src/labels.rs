//! The names of classes.

use std::fs::File;
use std::io::Read;
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

    /// Reads one name a line, the first for index 0; or `index:name`, as TF-Slim writes it beside its records.
    ///
    /// # Errors
    /// No readable text file, or one of more than ten megabytes.
    pub fn read(path: &Path) -> Result<Labels> {
        let place = path.display().to_string();
        let mut text = String::new();
        // Not by its length, which a device or a pipe does not have.
        File::open(path)
            .and_then(|file| file.take(MAX_BYTES + 1).read_to_string(&mut text))
            .map_err(|error| Error::io(&place, error))?;
        if text.len() as u64 > MAX_BYTES {
            let message = format!("more than {MAX_BYTES} bytes, which no list of labels has");
            return Err(
                Error::new(ErrorKind::Limit, place, message).with_hint("give a text file, one name a line")
            );
        }
        Ok(Labels::from_names(without_indices(&text).unwrap_or_else(|| text.lines().collect())))
    }

    /// Labels of these names, the first for index 0.
    pub fn from_names<'a>(names: impl IntoIterator<Item = &'a str>) -> Labels {
        let label = |name: &str| Label { name: name.trim().to_string(), synset: None };
        Labels(names.into_iter().map(label).collect())
    }

    /// The class that `text` means: by its WordNet id, by its name (in any case; all but letters and digits count as
    /// spaces), or by its index.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] where no class or more than one is meant.
    pub fn find(&self, text: &str) -> Result<usize> {
        let error = |message: String| {
            let hint = "give a WordNet id, a name as the module's labels have it, or an index";
            Error::new(ErrorKind::Argument, "", message).with_hint(hint)
        };
        let by_synset = self.0.iter().position(|label| label.synset.as_deref() == Some(text));
        if let Some(index) = by_synset {
            return Ok(index);
        }
        let wanted = plain(text);
        let mut named = (0..self.len()).filter(|index| plain(&self.0[*index].name) == wanted);
        match (named.next(), named.next()) {
            (Some(index), None) => Ok(index),
            (Some(first), Some(second)) => {
                Err(error(format!("{text:?} is the name of the classes {first} and {second}")))
            }
            (None, _) => {
                let index = text.parse().ok().filter(|index| *index < self.len());
                index.ok_or_else(|| error(format!("no class is called {text:?}")))
            }
        }
    }

    /// The file `labels.txt` in the folder of `module`, if it has one.
    pub fn beside(module: &Module) -> Option<PathBuf> {
        module.folder().map(|folder| folder.join(LABELS_FILE)).filter(|file| file.is_file())
    }

    /// The label of class `index`.
    pub fn get(&self, index: usize) -> Option<&Label> {
        self.0.get(index)
    }

    /// The name of each class.
    pub fn names(&self) -> Vec<String> {
        self.0.iter().map(|label| label.name.clone()).collect()
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

/// The names in `text`, if each line begins with its own number and a colon.
fn without_indices(text: &str) -> Option<Vec<&str>> {
    let mut names = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let (number, name) = line.split_once(':')?;
        if number.trim().parse() != Ok(index) {
            return None;
        }
        names.push(name);
    }
    (!names.is_empty()).then_some(names)
}

/// Lower case, with one space for whatever is between letters and digits.
fn plain(name: &str) -> String {
    let words = name.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    words.map(str::to_lowercase).collect::<Vec<_>>().join(" ")
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
    #[test]
    fn classes_are_found_by_id_name_and_index() {
        let labels = Labels::imagenet(1001).unwrap();
        for text in ["n02124075", "Egyptian cat", "egyptian_cat", "EGYPTIAN-CAT", "286"] {
            assert_eq!(labels.find(text).unwrap(), 286, "{text}");
        }
        // A bird and a machine.
        let message = labels.find("crane").unwrap_err().to_string();
        assert!(message.contains("the classes 135 and 518"), "{message}");
        for text in ["unicorn", "1001", "", "n99999999"] {
            assert!(labels.find(text).is_err(), "{text:?}");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_list_without_end_is_refused() {
        let error = Labels::read(Path::new("/dev/zero")).unwrap_err();
        assert!(error.kind() == ErrorKind::Limit, "{error}");
    }

    #[test]
    fn lists_of_tf_slim_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let read = |text: &str| {
            let path = folder.path().join("labels.txt");
            std::fs::write(&path, text).unwrap();
            Labels::read(&path).unwrap()
        };
        assert_eq!(read("0:daisy\n1:oxeye: a daisy\n"), Labels::from_names(["daisy", "oxeye: a daisy"]));
        assert_eq!(read("1:daisy\n2:rose\n"), Labels::from_names(["1:daisy", "2:rose"]));
        assert_eq!(read("daisy\r\nrose"), Labels::from_names(["daisy", "rose"]));
    }
}
