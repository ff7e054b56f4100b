//! Making a student, on pictures that are few and small: how near it comes with many is in docs/model-card.md.

use std::collections::BTreeMap;
use std::fs;
use std::num::{NonZeroU64, NonZeroUsize};
use std::path::{Path, PathBuf};

use featvec::distill::{
    DistillOptions, Progress, RefineOptions, Student, distill, hold_out, measure, refine,
};
use featvec::extractor::{FeatureExtractor, RunOptions};
use featvec::network::{Network, Variant};
use featvec::pictures::Preparation;
use featvec::plan::{Mode, Value};
use featvec::variables::{ConvVariables, Shift, Variables};
use featvec::{Error, ErrorKind, Preset, Tensor};
use featvec_formats::{Checkpoint, Limits, safetensors};

/// Numbers in [-1, 1), the same at every run.
fn numbers(len: usize, seed: u32) -> Vec<f32> {
    let number = |i: u32| (i.wrapping_add(seed << 20).wrapping_mul(2_654_435_761) >> 8) as f32;
    (0..len as u32).map(|i| number(i) / (1 << 23) as f32 - 1.0).collect()
}

/// A teacher of random numbers that keep maps at the size of one.
fn teacher() -> Variables {
    let network = Network { variant: Variant::Paper, classes: Some(10) };
    let affine = network.variant.affine();
    let layer = |(seed, conv): (usize, featvec::network::Conv)| {
        let [kh, kw, ic, oc] = conv.shape;
        let mut scale = (6.0 / (kh * kw * ic) as f32).sqrt();
        if ic == 3 {
            scale /= 100.0; // the picture has no numbers of the size of one
        }
        let weights = numbers(kh * kw * ic * oc, seed as u32).iter().map(|x| x * scale).collect();
        ConvVariables { weights, shift: Shift::Bias(numbers(oc, 1000 + seed as u32)) }
    };
    let convs = network.convs().into_iter().enumerate().map(layer).collect();
    let logits = network.logits().map(|conv| layer((99, conv)));
    Variables { network, affine, epsilon: network.variant.epsilon(), convs, logits }
}

/// Pictures of 60x40 pixels: waves of many widths and colours.
fn photographs(folder: &Path, count: usize) -> Vec<PathBuf> {
    let picture = |index: usize| {
        let (w, h) = (60u32, 40u32);
        let mut bytes = b"BM\0\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0".to_vec();
        bytes.extend([w, h].map(u32::to_le_bytes).concat());
        bytes.extend(b"\x01\0\x18\0");
        bytes.extend([0; 24]);
        for y in 0..h {
            for x in 0..w {
                for channel in 0..3 {
                    let phase = (x as f32 + index as f32) / (2.0 + 3.0 * channel as f32)
                        + y as f32 / (1.5 + index as f32);
                    bytes.push((127.0 + 120.0 * phase.sin()) as u8);
                }
            }
        }
        let path = folder.join(format!("{index}.bmp"));
        fs::write(&path, bytes).unwrap();
        path
    };
    (0..count).map(picture).collect()
}

fn options() -> DistillOptions {
    DistillOptions {
        views: NonZeroUsize::new(2).unwrap(),
        pixels: NonZeroUsize::new(10).unwrap(),
        passes: NonZeroUsize::new(2).unwrap(),
        ..DistillOptions::default()
    }
}

fn make(teacher: &Variables, paths: &[PathBuf], options: &DistillOptions) -> Result<Variables, Error> {
    distill(teacher, paths, options, (&mut |_| {}, &mut |_, error| panic!("{error}")))
        .map(|student| student.variables)
}

fn same(a: &Variables, b: &Variables) -> bool {
    a.named().zip(b.named()).all(|(a, b)| a == b)
}

#[test]
fn a_student_is_the_same_on_any_threads_and_after_a_break() {
    let folder = tempfile::tempdir().unwrap();
    let (teacher, paths) = (teacher(), photographs(folder.path(), 3));
    let file = folder.path().join("partial");
    let mut options =
        DistillOptions { checkpoint: Some(file.clone()), threads: NonZeroUsize::MIN, ..options() };
    let student = make(&teacher, &paths, &options).unwrap();
    student.check().unwrap();
    assert_eq!(student.network, Network { variant: Variant::Slim, classes: Some(11) });

    // As a run leaves it that ends in the middle.
    let checkpoint = Checkpoint::from_safetensors("", fs::read(&file).unwrap(), &Limits::default()).unwrap();
    let conv = |name: &str| name.split('/').next().and_then(|conv| conv.parse().ok()).unwrap_or(0);
    let kept = checkpoint.entries().filter(|entry| conv(&entry.name) < 3 + 4 * 6);
    let kept: Vec<_> =
        kept.map(|entry| (entry.name.clone(), checkpoint.read(&entry.name).unwrap())).collect();
    assert!(kept.len() < checkpoint.entries().count());
    fs::write(&file, safetensors(&kept).unwrap()).unwrap();
    options.threads = NonZeroUsize::new(3).unwrap();
    assert!(same(&student, &make(&teacher, &paths, &options).unwrap()));

    // With all layers there, photographs are not looked at again.
    let mut told = 0;
    let whole = distill(&teacher, &paths, &options, (&mut |_| told += 1, &mut |_, _| {})).unwrap();
    assert!(same(&student, &whole.variables));
    assert_eq!(told, student.convs.len());

    let error = make(&teacher, &paths, &DistillOptions { seed: 1, ..options.clone() }).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Mismatch);
    assert!(error.to_string().contains("begun with another teacher"), "{error}");
    fs::write(&file, "no checkpoint").unwrap();
    assert_eq!(make(&teacher, &paths, &options).unwrap_err().kind(), ErrorKind::Corrupt);
}

#[test]
fn the_student_is_near_its_teacher_and_its_statistics_are_true() {
    let folder = tempfile::tempdir().unwrap();
    let (teacher, paths) = (teacher(), photographs(folder.path(), 6));
    let student = make(&teacher, &paths, &options()).unwrap();
    for numbers in &student.convs {
        let Shift::BatchNorm { moving_variance, .. } = &numbers.shift else { panic!("a bias") };
        assert!(moving_variance.iter().all(|variance| (0.0..1.001).contains(variance)));
    }
    let run = |variables: Variables| FeatureExtractor::new(variables, &RunOptions::default()).unwrap();
    let [teacher, student] = [teacher, student].map(run);

    // The first convolution is the teacher's, one pixel apart, but for the scale of each channel.
    let image = numbers(225 * 225 * 3, 7).iter().map(|x| x / 2.0 + 0.5).collect::<Vec<f32>>();
    let crop = |skipped: usize| {
        let rows =
            (skipped..skipped + 224).flat_map(|y| (skipped..skipped + 224).map(move |x| (y * 225 + x) * 3));
        Tensor::new([1, 224, 224, 3], rows.flat_map(|at| image[at..at + 3].to_vec()).collect()).unwrap()
    };
    let first = |extractor: &FeatureExtractor, skipped| {
        extractor.run(&crop(skipped), Mode::Inference, &[Value::Stage(0)]).unwrap().remove(0)
    };
    let (wanted, found) = (first(&teacher, 1), first(&student, 0));
    let mut scales: BTreeMap<usize, f32> = BTreeMap::new();
    // Borders differ, since the two pad with different colours.
    for y in 2..110 {
        for x in 2..110 {
            for channel in 0..64 {
                let at = (y * 112 + x) * 64 + channel;
                let (wanted, found) = (wanted.data()[at], found.data()[at]);
                if wanted > 0.5 {
                    let scale = *scales.entry(channel).or_insert(wanted / found);
                    assert!((found * scale - wanted).abs() < 1e-3 * wanted.max(1.0), "channel {channel}");
                }
            }
        }
    }
    assert!(scales.len() > 32, "the teacher's first layer is dead");

    let preparation = Preparation::new(Preset::KerasPil, [224, 224]);
    let agreement = measure([&teacher, &student], &paths, &preparation, &mut |_, _| {}).unwrap();
    assert_eq!(agreement.pictures, paths.len());
    assert!(agreement.cosine > 0.9 && agreement.cosine < 1.0, "{agreement:?}");
    assert!(agreement.top1 <= agreement.top5, "{agreement:?}");
    let own = measure([&teacher, &teacher], &paths, &preparation, &mut |_, _| {}).unwrap_err();
    assert_eq!(own.kind(), ErrorKind::Mismatch);

    let image = Tensor::new([1, 224, 224, 3], vec![0.5; 224 * 224 * 3]).unwrap();
    let logits = student.run(&image, Mode::Inference, &[Value::Logits]).unwrap().remove(0);
    assert!(logits.data()[1..].iter().all(|logit| *logit > logits.data()[0]), "background is the likeliest");
}

#[test]
fn a_student_that_learns_by_gradients_comes_nearer_and_a_break_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (teacher, paths) = (teacher(), photographs(folder.path(), 4));
    let few = DistillOptions { views: NonZeroUsize::MIN, passes: NonZeroUsize::MIN, ..options() };
    let student = distill(&teacher, &paths, &few, (&mut |_| {}, &mut |_, error| panic!("{error}"))).unwrap();
    let teacher = FeatureExtractor::new(teacher, &RunOptions::default()).unwrap();
    let options = RefineOptions {
        steps: 6,
        batch: NonZeroUsize::new(4).unwrap(),
        learning_rate: 1e-6,
        threads: NonZeroUsize::MIN,
        checkpoints: Some(folder.path().join("steps")),
        checkpoint_every: NonZeroU64::new(2).unwrap(),
        ..RefineOptions::default()
    };
    let learn = |student: &Student, options: &RefineOptions| {
        let mut losses = Vec::new();
        let mut progress = |progress| match progress {
            Progress::Step { step, loss } => losses.push((step, loss)),
            other => panic!("{other:?}"),
        };
        let told = (&mut progress as &mut dyn FnMut(_), &mut |_: &Path, error: &Error| panic!("{error}"));
        let Student { variables, scales } =
            refine(&teacher, student.clone(), &paths, options, (told.0, told.1)).unwrap();
        assert_eq!(scales, student.scales);
        (variables, losses)
    };
    let (straight, losses) = learn(&student, &options);
    assert_eq!(losses.iter().map(|(step, _)| *step).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6]);
    // The first batch again.
    let taught = Student { variables: straight.clone(), ..student.clone() };
    let again = RefineOptions { steps: 1, checkpoints: None, ..options.clone() };
    let loss = learn(&taught, &again).1[0].1;
    assert!(loss < losses[0].1, "{loss} after {losses:?}");
    let same_classes =
        straight.logits.iter().zip(&student.variables.logits).all(|(a, b)| a.weights == b.weights);
    assert!(same_classes && !same(&straight, &student.variables));

    // As a run leaves it that was killed after step 4; it goes on with other threads.
    let steps = fs::read_dir(folder.path().join("steps")).unwrap().next().unwrap().unwrap().path();
    fs::remove_file(steps.join("model.ckpt-6.index")).unwrap();
    let (resumed, losses) =
        learn(&student, &RefineOptions { threads: NonZeroUsize::new(2).unwrap(), ..options.clone() });
    assert_eq!(losses.iter().map(|(step, _)| *step).collect::<Vec<_>>(), [5, 6]);
    assert!(same(&straight, &resumed));

    let (none, losses) = learn(&student, &RefineOptions { steps: 0, ..options });
    assert!(losses.is_empty() && same(&none, &student.variables));
}

#[test]
fn teachers_and_photographs_that_will_not_do_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let paths = photographs(folder.path(), 1);
    let mut slim = teacher();
    slim.network.variant = Variant::Slim;
    let error = make(&slim, &paths, &options()).unwrap_err();
    assert!(error.to_string().contains("must be the paper's network"), "{error}");
    let mut without_classes = teacher();
    (without_classes.network.classes, without_classes.logits) = (None, None);
    let error = make(&without_classes, &paths, &options()).unwrap_err();
    assert!(error.to_string().contains("no classes"), "{error}");

    let text = folder.path().join("text.jpg");
    fs::write(&text, "no picture").unwrap();
    let mut failed = Vec::new();
    let mut fail = |path: &Path, _: &Error| failed.push(path.to_owned());
    let result = distill(&teacher(), std::slice::from_ref(&text), &options(), (&mut |_| {}, &mut fail));
    assert!(result.unwrap_err().to_string().contains("no photographs that could be read"));
    assert_eq!(failed, [text]);
}

#[test]
fn a_share_is_held_out_by_the_seed() {
    let paths: Vec<PathBuf> = (0..50).map(|i| PathBuf::from(i.to_string())).collect();
    let (held_out, others) = hold_out(&paths, 0.1, 3);
    assert_eq!((held_out.len(), others.len()), (5, 45));
    assert!(held_out.iter().all(|path| !others.contains(path)));
    assert_eq!(hold_out(&paths, 0.1, 3), (held_out.clone(), others));
    assert_ne!(hold_out(&paths, 0.1, 4).0, held_out);
    assert_eq!(hold_out(&paths, 0.0, 3).1, paths);
}
