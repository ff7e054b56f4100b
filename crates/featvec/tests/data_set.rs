//! Folders of classes, and how their pictures are split.

use std::fs;
use std::path::Path;

use featvec::data_set::{DataSet, SplitOptions};
use featvec::split::{Percentages, Split};

/// Makes empty files; nothing opens them here.
fn folder(files: &[String]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for file in files {
        let path = folder.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "").unwrap();
    }
    folder
}

fn numbered(class: &str, count: usize) -> Vec<String> {
    (0..count).map(|index| format!("{class}/{index}.jpg")).collect()
}

fn refused(folder: &Path, options: &SplitOptions, reason: &str) {
    let error = DataSet::read(folder, options).unwrap_err().to_string();
    assert!(error.contains(reason), "{error}");
}

#[test]
fn each_sub_folder_with_pictures_is_a_class() {
    let mut files = [numbered("b", 30), numbered("a b", 25), numbered("B", 15)].concat();
    files.extend(
        ["loose.jpg", ".hidden/0.jpg", "b/notes.txt", "b/deep/er/0.PNG", "empty/readme.txt"]
            .map(String::from),
    );
    let folder = folder(&files);
    let set = DataSet::read(folder.path(), &SplitOptions::default()).unwrap();
    assert_eq!(set.labels, ["B", "a b", "b"]);
    assert_eq!(set.pictures.len(), 30 + 25 + 15 + 1);
    assert!(
        set.pictures
            .iter()
            .all(|picture| picture.path.starts_with(folder.path().join(&set.labels[picture.class])))
    );
    assert_eq!(set.warnings.len(), 2, "{:?}", set.warnings);
    assert!(set.warnings[0].contains(r#"class "B" has 15 pictures"#) && set.warnings[1].contains("empty"));
    assert!(set.failures.is_empty());
}

#[test]
fn the_split_goes_by_the_path_as_it_was_written_and_by_nothing_else() {
    let folder = folder(&[numbered("a", 300), numbered("b", 300)].concat());
    let all = DataSet::read(folder.path(), &SplitOptions::default()).unwrap();
    let counts = [Split::Training, Split::Validation, Split::Test].map(|split| all.of(split).count());
    assert!(counts[0] > 420 && counts[1..].iter().all(|count| (30..90).contains(count)), "{counts:?}");
    for picture in &all.pictures {
        let path = format!(
            "{}/{}",
            folder.path().display(),
            picture.path.strip_prefix(folder.path()).unwrap().display()
        );
        assert_eq!(Percentages::default().split(path.as_bytes()), picture.split);
    }
    (0..150).for_each(|index| fs::remove_file(folder.path().join(format!("a/{index}.jpg"))).unwrap());
    let fewer = DataSet::read(folder.path(), &SplitOptions::default()).unwrap();
    assert!(fewer.pictures.iter().all(|picture| all.pictures.contains(picture)));
}

#[test]
fn what_is_split_already_stays_so() {
    let part = |part: &str| [numbered(&format!("{part}/a"), 40), numbered(&format!("{part}/b"), 40)].concat();
    let count = |set: &DataSet, split| set.of(split).count();

    let three = folder(&[part("train"), part("valid"), part("test")].concat());
    let set = DataSet::read(three.path(), &SplitOptions::default()).unwrap();
    assert_eq!([Split::Training, Split::Validation, Split::Test].map(|split| count(&set, split)), [80; 3]);
    assert!(set.of(Split::Test).all(|index| set.pictures[index].path.starts_with(three.path().join("test"))));

    // One that is held out is the test.
    let two = folder(&[part("train"), part("val")].concat());
    let set = DataSet::read(two.path(), &SplitOptions::default()).unwrap();
    assert_eq!(count(&set, Split::Test), 80);
    assert!(set.of(Split::Test).all(|index| set.pictures[index].path.starts_with(two.path().join("val"))));
    let validation = count(&set, Split::Validation);
    assert!((0..30).contains(&validation) && count(&set, Split::Training) == 80 - validation);

    // Classes may be called so.
    let classes = folder(&[numbered("train", 40), numbered("test", 40), numbered("ship", 40)].concat());
    let set = DataSet::read(classes.path(), &SplitOptions::default()).unwrap();
    assert_eq!(set.labels, ["ship", "test", "train"]);
    let trains = folder(&[numbered("train", 40), numbered("test", 40)].concat());
    assert_eq!(DataSet::read(trains.path(), &SplitOptions::default()).unwrap().labels, ["test", "train"]);
}

#[test]
fn what_cannot_be_trained_is_refused() {
    let options = SplitOptions::default();
    let one = folder(&numbered("only", 30));
    refused(one.path(), &options, r#"one class only, "only""#);
    refused(&one.path().join("only"), &options, "no sub-folder with pictures in it");
    refused(&one.path().join("absent"), &options, "absent");

    let two = folder(&[numbered("a", 30), numbered("b", 30)].concat());
    let held_out =
        SplitOptions { percentages: Percentages { validation: 0.0, test: 100.1 }, ..options.clone() };
    refused(two.path(), &held_out, r#"all pictures of class "a" are held out"#);
    let other = folder(&numbered("c", 3));
    let test = SplitOptions { test_folder: Some(other.path().to_owned()), ..options };
    refused(two.path(), &test, r#"its class "c" is none of those"#);
}

#[cfg(unix)]
#[test]
fn a_name_that_is_no_label_is_refused_and_a_lost_link_is_told() {
    let folder = folder(&[numbered("a", 30), numbered("b", 30)].concat());
    std::os::unix::fs::symlink("nowhere.jpg", folder.path().join("a/link.jpg")).unwrap();
    let set = DataSet::read(folder.path(), &SplitOptions::default()).unwrap();
    assert_eq!(set.failures.len(), 1);
    assert!(set.failures[0].0.ends_with("a/link.jpg"));
    for name in ["two\nlines", " spaces "] {
        let path = folder.path().join(name);
        fs::create_dir(&path).unwrap();
        fs::write(path.join("0.jpg"), "").unwrap();
        refused(folder.path(), &SplitOptions::default(), "rename the folder");
        fs::remove_dir_all(path).unwrap();
    }
}
