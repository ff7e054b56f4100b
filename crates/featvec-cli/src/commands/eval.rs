//! `featvec eval`: how often a classifying module is right.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use featvec::crops::Crops;
use featvec::evaluate::Share;
use featvec::examples::Examples;
use featvec::recognition::{Recognition, RecognitionOptions, Score, measure};
use featvec::{Error, ErrorKind, Labels, Module, Preset, Result};
use serde_json::{Value, json};

use crate::line;
use crate::options::{ExampleArgs, ModuleArgs, Size, TextOrJson};
use crate::stop::{Outcome, Stop, wrong_usage};
use crate::talk::Talk;

/// Say how often a classifying module is right about labelled pictures: top-1, top-5, per class
#[derive(Args)]
#[command(after_help = "\
Examples:
  featvec eval imagenet/val/
  featvec eval --module classification.tar.gz imagenet/val/
  featvec eval --module bvlc_googlenet.caffemodel --crops 10 --per-class photos/
  featvec eval --module flowers/ --format json 'records/flowers_validation_*.tfrecord'

Each sub-folder of a folder is a class of the module, called by its WordNet id (n02124075), its name
(Egyptian cat, egyptian_cat) or its index; --class-map names others. In TFRecord files the labels are
indices, less --labels-offset.

--crops 10 averages the probabilities of the four corners and the centre, each 87.5 % of the sides,
and their mirror images; --crops 144 those of the paper (four sizes, three squares, six views,
mirrored). They are cut from the picture and resized once.")]
pub struct Eval {
    #[command(flatten)]
    examples: ExampleArgs,

    #[command(flatten)]
    module: ModuleArgs,

    /// How pictures are resized and scaled: see `featvec presets`
    #[arg(long, value_name = "NAME", default_value = "slim-eval", help_heading = "Pictures", value_parser = clap::builder::PossibleValuesParser::new(Preset::ALL.map(Preset::name)))]
    preset: String,

    /// Height and width to run the network at instead of the module's, at least 32x32
    #[arg(long, value_name = "HxW", help_heading = "Pictures")]
    size: Option<Size>,

    /// How many views of a picture are averaged: 1, 10 or 144
    #[arg(long, value_name = "N", default_value_t, help_heading = "Pictures")]
    crops: Crops,

    /// Views that go through the network at once
    #[arg(long, value_name = "N", default_value = "32", help_heading = "Pictures")]
    batch: NonZeroUsize,

    /// A file with the names of the module's classes, one a line
    #[arg(long, value_name = "FILE", help_heading = "Classes")]
    labels: Option<PathBuf>,

    /// A file with lines `FOLDER<TAB>CLASS`, for folders that are not called like their class
    #[arg(long, value_name = "FILE", help_heading = "Classes")]
    class_map: Option<PathBuf>,

    /// Tell about each class too
    #[arg(long, help_heading = "Output")]
    per_class: bool,

    /// As text, or a JSON object (with each class)
    #[arg(long, value_enum, default_value_t, help_heading = "Output")]
    format: TextOrJson,
}

impl Eval {
    pub fn run(self, talk: &Talk) -> std::result::Result<Outcome, Stop> {
        // What can be refused is refused before a module is downloaded.
        let folder = self.examples.folder()?.map(Examples::from_folder).transpose()?;
        let module = self.module.load(self.size.is_some(), talk)?;
        let labels = self.labels(&module)?;
        let names = labels.names();
        let examples = match folder {
            None => self.examples.records(names, &self.module.load.fetch.limits())?,
            Some(mut examples) => {
                let found = self.match_classes(examples.classes(), &labels)?;
                examples.relabel(&found, names)?;
                examples
            }
        };
        let preset: Preset = self.preset.parse()?;
        let options = RecognitionOptions {
            preset,
            decode: preset.decode_options(),
            crops: self.crops,
            size: match self.size {
                Some(Size(size)) => size,
                None => module.expected_image_size()?,
            },
            batch: self.batch,
        };
        let examples = Arc::new(examples);
        talk.begin(examples.len());
        let mut see = |count, unreadable: &[Error]| {
            unreadable.iter().for_each(|error| talk.failure(line::shown(error.to_string())));
            talk.advance(count);
        };
        let recognition = measure(module.extractor(), &examples, &options, &mut see);
        talk.end();
        let recognition = recognition?;
        let mut stdout = io::stdout().lock();
        match self.format {
            TextOrJson::Text => self.print(&mut stdout, &recognition, &examples),
            TextOrJson::Json => writeln!(stdout, "{}", self.json(&recognition, &examples, options.size)),
        }
        .map_err(Stop::from_stdout)?;
        Ok(Outcome::of(recognition.unreadable))
    }

    /// What the module's classes are called.
    fn labels(&self, module: &Module) -> Result<Labels> {
        let mismatch =
            |message: String| Error::new(ErrorKind::Mismatch, format!("module {}", module.handle()), message);
        let Some(classes) = module.variables().network.classes else {
            let message = "it gives feature vectors only: it has no classifying layer".to_string();
            return Err(mismatch(message).with_hint("give a classification module"));
        };
        let named = self.labels.clone().or_else(|| Labels::beside(module));
        match named {
            Some(file) => {
                let labels = Labels::read(&file)?;
                if labels.len() != classes {
                    let message =
                        format!("{} labels in {}, and {classes} classes", labels.len(), file.display());
                    return Err(mismatch(message).with_hint("one label a line, the first for class 0"));
                }
                Ok(labels)
            }
            None => Ok(Labels::imagenet(classes).unwrap_or_else(|| {
                let names: Vec<String> = (0..classes).map(|index| index.to_string()).collect();
                Labels::from_names(names.iter().map(String::as_str))
            })),
        }
    }

    /// The class of the module for each of the folders `names`.
    fn match_classes(&self, names: &[String], labels: &Labels) -> Result<Vec<usize>> {
        let map = match &self.class_map {
            Some(file) => read_map(file)?,
            None => BTreeMap::new(),
        };
        let mut found = Vec::with_capacity(names.len());
        let mut lost = Vec::new();
        for name in names {
            match labels.find(map.get(name).unwrap_or(name)) {
                Ok(class) => found.push(class),
                Err(error) => lost.push(error.message().to_string()),
            }
        }
        if let Some(first) = lost.first() {
            let count = format!("{} of {} folders are no class of the module", lost.len(), names.len());
            return Err(Error::new(ErrorKind::Mismatch, "", format!("{count}: {first}")).with_hint(
                "call folders by WordNet id, name or index, or say with --class-map which class is meant",
            ));
        }
        Ok(found)
    }

    fn print(&self, stream: &mut impl Write, found: &Recognition, examples: &Examples) -> io::Result<()> {
        let pictures = found.total.pictures;
        writeln!(stream, "pictures  {pictures}, and {} that could not be read", found.unreadable)?;
        for (name, share) in [("top-1", found.total.top1_share()), ("top-5", found.total.top5_share())] {
            let [low, high] = share.interval().map(|share| 100.0 * share);
            let share = 100.0 * share.value();
            writeln!(stream, "{name}  {share:8.2} %  ({low:.2} to {high:.2} with 95 % confidence)")?;
        }
        if !self.per_class {
            return Ok(());
        }
        writeln!(stream, "\npictures    top-1    top-5  class")?;
        for (name, score) in examples.classes().iter().zip(&found.classes) {
            if score.pictures > 0 {
                let [top1, top5] =
                    [score.top1_share(), score.top5_share()].map(|share| 100.0 * share.value());
                writeln!(stream, "{:8} {top1:6.2} % {top5:6.2} %  {}", score.pictures, line::shown(name))?;
            }
        }
        Ok(())
    }

    fn json(&self, found: &Recognition, examples: &Examples, [height, width]: [usize; 2]) -> Value {
        let share = |share: Share| json!({ "correct": share.count, "share": share.value(), "confidence95": share.interval() });
        let classes = examples.classes().iter().zip(&found.classes).enumerate();
        let classes = classes.filter(|(_, (_, score))| score.pictures > 0).map(|(index, (name, score))| {
            let Score { pictures, top1, top5 } = score;
            json!({ "index": index, "label": name, "pictures": pictures, "top1": top1, "top5": top5 })
        });
        json!({
            "pictures": found.total.pictures,
            "unreadable": found.unreadable,
            "top1": share(found.total.top1_share()),
            "top5": share(found.total.top5_share()),
            "preset": self.preset,
            "crops": self.crops.count(),
            "size": [height, width],
            "classes": classes.collect::<Vec<_>>(),
        })
    }
}

/// The lines `FOLDER<TAB>CLASS` of a file; further columns do not count.
fn read_map(file: &Path) -> Result<BTreeMap<String, String>> {
    let place = file.display().to_string();
    let text = std::fs::read_to_string(file).map_err(|error| Error::io(&*place, error))?;
    let mut map = BTreeMap::new();
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let mut columns = line.split('\t').map(str::trim);
        let (Some(folder), Some(class)) = (columns.next(), columns.next()) else {
            let message = format!("{place}: line {} has no tab between folder and class", number + 1);
            return Err(wrong_usage(message));
        };
        map.insert(folder.to_string(), class.to_string());
    }
    Ok(map)
}
