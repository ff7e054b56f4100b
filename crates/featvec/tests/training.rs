//! Batches of labelled pictures, and training runs that stop and go on.

mod common;

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use featvec::augment::Augmentation;
use featvec::batches::{Batch, BatchOptions, Batches};
use featvec::examples::Examples;
use featvec::extractor::{FeatureExtractor, RunOptions};
use featvec::network::{Network, Variant};
use featvec::teacher::{Teacher, TeacherOptions};
use featvec::train::{LearningRate, TrainOptions, Trainer};
use featvec::training::{Training, TrainingOptions};
use featvec::variables::Variables;
use featvec::{ErrorKind, Limits, Preset};
use featvec_formats::protobuf::Writer;
use featvec_formats::tfrecord::RecordWriter;

use common::bmp;

const CLASSES: [&str; 3] = ["ash", "birch", "cedar"];
const PER_CLASS: usize = 5;
const SIZE: [usize; 2] = [32, 40];

/// What makes the pictures of a data set distinct.
fn shade(class: usize, picture: usize) -> u8 {
    (class * PER_CLASS + picture) as u8 * 16
}

/// A folder of three classes with five pictures each: a gradient, and one shade of blue for each.
fn data_set() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (class, name) in CLASSES.iter().enumerate() {
        std::fs::create_dir(folder.path().join(name)).unwrap();
        for picture in 0..PER_CLASS {
            let blue = shade(class, picture);
            let bytes = bmp(60, 50, |x, y| [(x * 4) as u8, (y * 5) as u8, blue]);
            std::fs::write(folder.path().join(name).join(format!("{picture}.bmp")), bytes).unwrap();
        }
    }
    folder
}

fn examples(folder: &Path) -> Arc<Examples> {
    Arc::new(Examples::from_folder(folder).unwrap())
}

fn options(augmentation: Augmentation, threads: usize) -> BatchOptions {
    BatchOptions {
        batch: NonZeroUsize::new(4).unwrap(),
        augmentation,
        seed: 3,
        threads: NonZeroUsize::new(threads).unwrap(),
        ..BatchOptions::new(SIZE)
    }
}

fn batches(examples: &Arc<Examples>, options: BatchOptions, first: u64, count: usize) -> Vec<Batch> {
    Batches::new(Arc::clone(examples), options, first).unwrap().take(count).map(Result::unwrap).collect()
}

fn shades(batch: &Batch) -> Vec<u8> {
    batch.images.iter_rows().map(|row| (row[2] * 255.0).round() as u8).collect()
}

#[test]
fn batches_depend_on_seed_and_step_alone() {
    let folder = data_set();
    let examples = examples(folder.path());
    for augmentation in [Augmentation::Fast, Augmentation::Full] {
        let alone = batches(&examples, options(augmentation, 1), 0, 9);
        let together = batches(&examples, options(augmentation, 3), 0, 9);
        let resumed = batches(&examples, options(augmentation, 2), 5, 4);
        for (a, b) in alone.iter().zip(&together).chain(alone[5..].iter().zip(&resumed)) {
            assert_eq!((&a.images, &a.labels), (&b.images, &b.labels));
        }
        let others = batches(&examples, BatchOptions { seed: 4, ..options(augmentation, 1) }, 0, 9);
        assert!(alone.iter().zip(&others).all(|(a, b)| a.images != b.images));
        let values = alone.iter().flat_map(|batch| batch.images.data());
        assert!(values.clone().all(|value| (0.0..=1.0).contains(value)));
    }
}

#[test]
fn an_epoch_has_each_picture_once_in_an_order_of_its_own() {
    let folder = data_set();
    let examples = examples(folder.path());
    let prepared = batches(&examples, options(Augmentation::Preset(Preset::SlimEval), 2), 0, 15);
    let pairs: Vec<(u8, usize)> =
        prepared.iter().flat_map(|batch| shades(batch).into_iter().zip(batch.labels.clone())).collect();
    let expected: BTreeSet<(u8, usize)> =
        (0..15).map(|index| (shade(index / PER_CLASS, index % PER_CLASS), index / PER_CLASS)).collect();
    let epochs: Vec<&[(u8, usize)]> = pairs.chunks(15).collect();
    assert_eq!(epochs.len(), 4);
    for epoch in &epochs {
        assert_eq!(BTreeSet::from_iter(epoch.iter().copied()), expected);
    }
    assert!(epochs.windows(2).all(|two| two[0] != two[1]));
}

#[test]
fn unreadable_pictures_are_passed_over_and_told_once() {
    let folder = data_set();
    let bad = folder.path().join("birch/2.bmp");
    std::fs::write(&bad, b"no picture").unwrap();
    let examples = examples(folder.path());
    let prepared = batches(&examples, options(Augmentation::Preset(Preset::SlimEval), 2), 0, 20);
    assert!(prepared.iter().all(|batch| batch.labels.len() == 4 && !shades(batch).contains(&shade(1, 2))));
    let told: Vec<String> =
        prepared.iter().flat_map(|batch| &batch.unreadable).map(|(_, error)| error.to_string()).collect();
    assert_eq!(told.len(), 1);
    assert!(told[0].starts_with(&bad.display().to_string()), "{told:?}");
    // The same pictures take its place after a restart.
    let resumed = batches(&examples, options(Augmentation::Preset(Preset::SlimEval), 1), 13, 7);
    assert!(prepared[13..].iter().zip(&resumed).all(|(a, b)| a.images == b.images && a.labels == b.labels));
}

#[test]
fn without_a_readable_picture_there_are_no_batches() {
    let folder = tempfile::tempdir().unwrap();
    for class in ["a", "b"] {
        std::fs::create_dir(folder.path().join(class)).unwrap();
        std::fs::write(folder.path().join(class).join("x.jpg"), b"no picture").unwrap();
    }
    let mut batches = Batches::new(examples(folder.path()), options(Augmentation::Fast, 1), 0).unwrap();
    let error = batches.next().unwrap().unwrap_err();
    assert!(error.to_string().contains("none of the 2 pictures can be read"), "{error}");
}

#[test]
fn folders_that_are_no_data_set_are_refused() {
    let folder = data_set();
    let message = |path: &Path| Examples::from_folder(path).unwrap_err().to_string();
    assert!(message(&folder.path().join("ash")).contains("no sub-folder with pictures"));
    assert!(message(&folder.path().join("nowhere")).contains("nowhere"));
    std::fs::create_dir(folder.path().join("yew")).unwrap();
    assert!(message(folder.path()).contains("class \"yew\" has no pictures"));
}

/// Features of a TF-Slim record.
fn record(picture: Option<&[u8]>, label: Option<i64>) -> Vec<u8> {
    let mut example = Writer::new();
    example.message(1, |features| {
        let mut feature = |name: &str, list: u32, fill: &dyn Fn(&mut Writer)| {
            features.message(1, |entry| {
                entry.bytes(1, name).message(2, |feature| _ = feature.message(list, fill));
            });
        };
        feature("image/format", 1, &|list| _ = list.bytes(1, "bmp"));
        if let Some(picture) = picture {
            feature("image/encoded", 1, &|list| _ = list.bytes(1, picture));
        }
        if let Some(label) = label {
            feature("image/class/label", 3, &|list| _ = list.packed_int64(1, &[label]));
        }
    });
    example.finish()
}

fn shard(folder: &Path, name: &str, records: &[Vec<u8>]) -> PathBuf {
    let path = folder.join(name);
    let mut writer = RecordWriter::new(Vec::new());
    records.iter().for_each(|record| writer.write(record).unwrap());
    std::fs::write(&path, writer.get_mut()).unwrap();
    path
}

fn names() -> Vec<String> {
    CLASSES.map(String::from).into()
}

#[test]
fn records_give_the_batches_that_files_give() {
    let folder = data_set();
    let mut records = Vec::new();
    for (class, name) in CLASSES.iter().enumerate() {
        for picture in 0..PER_CLASS {
            let bytes = std::fs::read(folder.path().join(name).join(format!("{picture}.bmp"))).unwrap();
            records.push(record(Some(&bytes), Some(class as i64 + 1)));
        }
    }
    let shards = [
        shard(folder.path(), "a-00000-of-00002", &records[..7]),
        shard(folder.path(), "a-00001-of-00002", &records[7..]),
    ];
    let from_records = Examples::from_tfrecords(&shards, names(), 1, &Limits::default()).unwrap();
    assert_eq!((from_records.len(), from_records.class_sizes()), (15, None));
    assert_eq!(from_records.place(8), format!("{}: record 1", shards[1].display()));
    let from_records = batches(&Arc::new(from_records), options(Augmentation::Fast, 2), 0, 6);
    let from_files = batches(&examples(folder.path()), options(Augmentation::Fast, 2), 0, 6);
    for (a, b) in from_records.iter().zip(&from_files) {
        assert_eq!((&a.images, &a.labels), (&b.images, &b.labels));
    }
}

#[test]
fn records_that_are_no_examples_are_errors() {
    let folder = tempfile::tempdir().unwrap();
    let picture = bmp(40, 40, |_, _| [9, 9, 9]);
    for (records, offset, expected) in [
        (vec![record(Some(&picture), Some(3))], 0, "its label 3 is none of the 3 classes"),
        (vec![record(Some(&picture), Some(0))], 1, "its label 0 less 1 is none of the 3 classes"),
        (vec![record(Some(&picture), Some(-1))], 0, "its label -1 is none"),
        (vec![record(Some(&picture), Some(i64::MIN))], 1, "none of the 3 classes"),
        (vec![record(Some(&picture), None)], 0, "no feature \"image/class/label\""),
        (vec![record(None, Some(1))], 0, "no feature \"image/encoded\""),
        (vec![b"\x0a\xff".to_vec()], 0, "record 0"),
    ] {
        let path = shard(folder.path(), "a.tfrecord", &records);
        let examples = Examples::from_tfrecords(&[path], names(), offset, &Limits::default()).unwrap();
        let mut batches = Batches::new(Arc::new(examples), options(Augmentation::Fast, 1), 0).unwrap();
        let error = batches.next().unwrap().unwrap_err().to_string();
        assert!(error.contains(expected) && error.contains("a.tfrecord"), "{error}");
    }
    let empty = shard(folder.path(), "a.tfrecord", &[]);
    let error = Examples::from_tfrecords(&[empty], names(), 0, &Limits::default()).unwrap_err();
    assert!(error.to_string().contains("no records"), "{error}");
}

#[test]
fn damaged_records_are_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    let picture = bmp(40, 40, |_, _| [9, 9, 9]);
    let records: Vec<_> = (0..3).map(|label| record(Some(&picture), Some(label))).collect();
    let path = shard(folder.path(), "a.tfrecord", &records);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[300] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let examples = Examples::from_tfrecords(&[path], names(), 0, &Limits::default()).unwrap();
    let prepared = batches(&Arc::new(examples), options(Augmentation::Fast, 1), 0, 3);
    assert!(prepared.iter().all(|batch| !batch.labels.contains(&0)));
    assert_eq!(prepared.iter().map(|batch| batch.unreadable.len()).sum::<usize>(), 1);
}

fn training(data: &Path, run: &Path, threads: usize, teacher: bool) -> Training {
    let network = Network { variant: Variant::Slim, classes: Some(CLASSES.len()) };
    let options_of_trainer = TrainOptions { size: SIZE, accumulate: 2, seed: 3, ..TrainOptions::default() };
    let threads_of_trainer = NonZeroUsize::new(threads).unwrap();
    let trainer =
        Trainer::new(Variables::random(network, 1), options_of_trainer, threads_of_trainer).unwrap();
    let teacher = teacher.then(|| {
        let mut variables = Variables::random(network, 9);
        // TF-Slim's first weights are so small that, without the batch's statistics, hardly anything gets through.
        variables.convs.iter_mut().flat_map(|conv| &mut conv.weights).for_each(|weight| *weight *= 10.0);
        let extractor = FeatureExtractor::new(variables, &RunOptions::default()).unwrap();
        Teacher::new(extractor, TeacherOptions::default(), CLASSES.len()).unwrap()
    });
    let schedule = LearningRate::Exponential { factor: 0.5, decay_steps: 2, staircase: true };
    let options_of_run = TrainingOptions { learning_rate: 0.01, schedule, keep: 2 };
    let data = (examples(data), options(Augmentation::Fast, threads));
    Training::begin((trainer, teacher), data, run, options_of_run).unwrap()
}

#[test]
fn a_run_that_stopped_goes_on_to_the_bit() {
    let (data, runs) = (data_set(), tempfile::tempdir().unwrap());
    for teacher in [false, true] {
        let straight = runs.path().join(format!("straight-{teacher}"));
        let mut whole = training(data.path(), &straight, 1, teacher);
        let losses: Vec<f32> = (0..5).map(|_| whole.step().unwrap().loss).collect();
        assert_eq!(whole.resumed(), None);

        let stopped = runs.path().join(format!("stopped-{teacher}"));
        let mut first = training(data.path(), &stopped, 2, teacher);
        (0..3).for_each(|_| _ = first.step().unwrap());
        first.save().unwrap();
        // What comes after the last checkpoint is lost and made again.
        first.step().unwrap();
        drop(first);
        let mut second = training(data.path(), &stopped, 2, teacher);
        assert_eq!((second.resumed(), second.steps()), (Some(3), 3));
        let rest: Vec<f32> = (3..5).map(|_| second.step().unwrap().loss).collect();
        assert_eq!(rest, losses[3..]);
        let (a, b) = (whole.trainer().state(), second.trainer().state());
        assert!(a == b, "the states after five steps differ");
        assert!(losses.iter().all(|loss| loss.is_finite()));
    }
}

#[test]
fn a_checkpoint_of_another_network_is_refused() {
    let (data, run) = (data_set(), tempfile::tempdir().unwrap());
    let mut first = training(data.path(), run.path(), 1, false);
    first.step().unwrap();
    first.save().unwrap();
    std::fs::remove_dir_all(data.path().join("ash")).unwrap();
    let network = Network { variant: Variant::Slim, classes: Some(2) };
    let options_of_trainer = TrainOptions { size: SIZE, ..TrainOptions::default() };
    let trainer = Trainer::new(Variables::random(network, 1), options_of_trainer, NonZeroUsize::MIN).unwrap();
    let options_of_run = TrainingOptions { learning_rate: 0.01, schedule: LearningRate::Fixed, keep: 2 };
    let data = (examples(data.path()), options(Augmentation::Fast, 1));
    let error = Training::begin((trainer, None), data, run.path(), options_of_run).map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Mismatch);
    assert!(error.to_string().contains("of other classes"), "{error}");
}

#[test]
fn a_loss_that_is_no_number_leaves_the_last_checkpoint() {
    let (data, run) = (data_set(), tempfile::tempdir().unwrap());
    let mut good = training(data.path(), run.path(), 1, false);
    good.step().unwrap();
    good.save().unwrap();
    let state = good.trainer().state();
    drop(good);

    let network = Network { variant: Variant::Slim, classes: Some(CLASSES.len()) };
    let options_of_trainer = TrainOptions { size: SIZE, accumulate: 2, seed: 3, ..TrainOptions::default() };
    let trainer = Trainer::new(Variables::random(network, 1), options_of_trainer, NonZeroUsize::MIN).unwrap();
    let options_of_run = TrainingOptions { learning_rate: 1e30, schedule: LearningRate::Fixed, keep: 2 };
    let pictures = (examples(data.path()), options(Augmentation::Fast, 1));
    let mut bad = Training::begin((trainer, None), pictures, run.path(), options_of_run).unwrap();
    let error = (0..5).find_map(|_| bad.step().err()).expect("it diverges");
    assert!(error.to_string().contains("the checkpoint of step 1 is kept"), "{error}");
    drop(bad);
    let again = training(data.path(), run.path(), 1, false);
    assert!(again.trainer().state() == state);
}
