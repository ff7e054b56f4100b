//! Pictures with labels, each for training, validation or testing.

use std::path::{Path, PathBuf};

use crate::class_folder::{ClassFolder, sub_folders};
use crate::split::{Percentages, Split};
use crate::{Error, ErrorKind, Result};

/// Pictures of classes, split.
#[derive(Debug)]
pub struct DataSet {
    /// The names of the classes.
    pub labels: Vec<String>,
    /// Every picture, class by class: first those of the folder, then those of folders for validation and testing.
    pub pictures: Vec<Picture>,
    /// Where the test pictures come from, for people.
    pub test_source: String,
    /// What could not be read.
    pub failures: Vec<(PathBuf, Error)>,
    /// What is odd about the folders, a sentence each.
    pub warnings: Vec<String>,
}

/// A picture whose class is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// The file.
    pub path: PathBuf,
    /// Index of its class.
    pub class: usize,
    /// What it is for.
    pub split: Split,
}

/// How a data set is split.
#[derive(Clone, Debug, Default)]
pub struct SplitOptions {
    /// How much of the folder is held out by hash, where no folder is named for it.
    pub percentages: Percentages,
    /// A folder with the same classes for validation.
    pub validation_folder: Option<PathBuf>,
    /// A folder with the same classes for testing.
    pub test_folder: Option<PathBuf>,
}

/// Fewer pictures of a class than this are too few, says `retrain.py`.
const FEW: usize = 20;

/// What people call the parts of a data set that is split already.
const TRAINING_NAMES: [&str; 2] = ["train", "training"];
const VALIDATION_NAMES: [&str; 3] = ["val", "valid", "validation"];
const TEST_NAMES: [&str; 2] = ["test", "testing"];

impl DataSet {
    /// Reads `folder`, in which each sub-folder is a class.
    ///
    /// A folder that holds `train` and `val` or `test`, each with classes, is taken as it is split. Where such a folder,
    /// or the options, name pictures for validation but none for testing, those are for testing, and validation takes
    /// its share of the training pictures: what decides between heads cannot judge the one that is kept.
    ///
    /// # Errors
    /// A folder that cannot be read, or that has no class or one only; a class that only a folder for validation or
    /// testing has; a class without any picture left for training.
    pub fn read(folder: &Path, options: &SplitOptions) -> Result<DataSet> {
        let place = folder.display().to_string();
        let Parts { training, mut validation, mut test } = Parts::of(folder, options)?;
        if test.is_none() {
            test = validation.take();
        }
        let percentages = Percentages {
            validation: if validation.is_some() { 0.0 } else { options.percentages.validation },
            test: if test.is_some() { 0.0 } else { options.percentages.test },
        };
        let read = ClassFolder::read(&training)?;
        let labels = read.labels();
        check_classes(&place, &labels, &read)?;
        let mut set = DataSet {
            labels,
            pictures: Vec::new(),
            test_source: match &test {
                Some(folder) => folder.display().to_string(),
                None => format!("{} % of {}, by hash", percentages.test, training.display()),
            },
            failures: Vec::new(),
            warnings: Vec::new(),
        };
        for class in &read.classes {
            if class.pictures.len() < FEW {
                let count = class.pictures.len();
                set.warnings.push(format!(
                    "class {:?} has {count} pictures: fewer than {FEW} may be too few",
                    class.label
                ));
            }
        }
        set.extend(read, &training, &|path| percentages.split(path.as_os_str().as_encoded_bytes()))?;
        for (named, split) in [(validation, Split::Validation), (test, Split::Test)] {
            if let Some(folder) = named {
                set.extend(ClassFolder::read(&folder)?, &folder, &|_| split)?;
            }
        }
        for (class, label) in set.labels.iter().enumerate() {
            if !set.pictures.iter().any(|picture| picture.class == class && picture.split == Split::Training)
            {
                let message =
                    format!("all pictures of class {label:?} are held out, none is left to train with");
                return Err(Error::new(ErrorKind::Argument, place, message)
                    .with_hint("add pictures, or hold out a smaller percentage"));
            }
        }
        Ok(set)
    }

    /// Indices of the pictures of `split`.
    pub fn of(&self, split: Split) -> impl Iterator<Item = usize> + '_ {
        self.pictures
            .iter()
            .enumerate()
            .filter(move |(_, picture)| picture.split == split)
            .map(|(index, _)| index)
    }

    fn extend(&mut self, read: ClassFolder, folder: &Path, split: &dyn Fn(&Path) -> Split) -> Result<()> {
        for label in read.empty {
            self.warnings
                .push(format!("{}: no picture in it, so it is left out", folder.join(label).display()));
        }
        for class in read.classes {
            let Ok(index) = self.labels.binary_search(&class.label) else {
                let message = format!("its class {:?} is none of those that are trained", class.label);
                return Err(Error::new(ErrorKind::Mismatch, folder.display().to_string(), message)
                    .with_hint("all folders of a data set have the same sub-folders"));
            };
            self.pictures.extend(class.pictures.into_iter().map(|path| {
                let split = split(&path);
                Picture { path, class: index, split }
            }));
        }
        self.failures.extend(read.failures);
        Ok(())
    }
}

fn check_classes(place: &str, labels: &[String], read: &ClassFolder) -> Result<()> {
    let message = match labels {
        [] => "no sub-folder with pictures in it".to_string(),
        [only] => format!("one class only, {only:?}: there is nothing to tell it from"),
        _ => return Ok(()),
    };
    let mut hint = "each class is a sub-folder of FOLDER".to_string();
    if !read.empty.is_empty() {
        hint.push_str(&format!("; without pictures: {}", read.empty.join(", ")));
    }
    Err(Error::new(ErrorKind::Argument, place, message).with_hint(hint))
}

/// The folders that a data set lies in.
struct Parts {
    training: PathBuf,
    validation: Option<PathBuf>,
    test: Option<PathBuf>,
}

impl Parts {
    fn of(folder: &Path, options: &SplitOptions) -> Result<Parts> {
        let mut parts = Parts {
            training: folder.to_owned(),
            validation: options.validation_folder.clone(),
            test: options.test_folder.clone(),
        };
        let found = sub_folders(folder)?;
        let named = |names: &[&str]| {
            found
                .iter()
                .find(|path| path.file_name().is_some_and(|name| names.iter().any(|known| name == *known)))
        };
        let [training, validation, test] = [&TRAINING_NAMES[..], &VALIDATION_NAMES, &TEST_NAMES].map(named);
        let split_already: Vec<&PathBuf> = [training, validation, test].into_iter().flatten().collect();
        let holds_classes = |path: &&PathBuf| sub_folders(path).is_ok_and(|classes| !classes.is_empty());
        if let Some(training) = training
            && split_already.len() > 1
            && split_already.len() == found.len()
            && split_already.iter().all(holds_classes)
        {
            parts.training = training.clone();
            parts.validation = parts.validation.or(validation.cloned());
            parts.test = parts.test.or(test.cloned());
        }
        Ok(parts)
    }
}
