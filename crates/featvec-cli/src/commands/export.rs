//! `featvec export`: a module in the format of another program.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use featvec::export::{self, ExportOptions, GraphOptions, to_onnx};
use featvec::module::{DEFAULT, Notes, read_about};
use featvec::{Error, ErrorKind, Labels, Module, Precision, grouped};

use crate::line;
use crate::options::{ModuleArgs, Size};
use crate::staged::{Staged, StagedFolder};
use crate::stop::{Outcome, Stop, wrong_usage};
use crate::talk::Talk;

/// The text file of V2 checkpoints that names the latest.
const CHECKPOINT_STATE: &str = "checkpoint";

/// Write a module for other programs: TensorFlow Hub, TensorFlow, TF Serving, ONNX, safetensors; or in featvec's own compact form
#[derive(Args)]
#[command(after_help = "\
Examples:
  featvec export builtin --format hub -o inception_v1
  featvec export --module inception_v1.ckpt --format hub -o inception_v1
  featvec export --module bvlc_googlenet.caffemodel --format saved-model -o serving/googlenet/1
  featvec export --module classification.tar.gz --format checkpoint-v2 -o run/model.ckpt
  featvec export --module feature_vector.tar.gz --format onnx -o features.onnx
  featvec export --module module/ --endpoint default --endpoint global_pool --format onnx -o two.onnx

A Hub module has graphs for inference (no tags) and for training (`train`), with the signatures that
TF Hub's own modules have. A SavedModel (tag `serve`) has the signature `serving_default`. A frozen
graph takes `images` and gives `feature_vector`, `logits` and `probabilities`. The ONNX model
(operators of version 13) takes `images`, [n,h,w,3] in [0,1], red first, for any n, and gives outputs
named and shaped as the signature has them; batch normalisation is folded. Whatever is written is
read back and compared, number by number, before it takes its place. A compact file holds filters in
11 bits a number, with a scale for each output channel: a third of a checkpoint's size.")]
pub struct Export {
    /// The module, instead of --module
    #[arg(value_name = "HANDLE")]
    handle: Option<String>,

    #[command(flatten)]
    module: ModuleArgs,

    /// What to write
    #[arg(long, value_enum, help_heading = "Output")]
    format: Format,

    /// The file or folder to write; of a V2 checkpoint, what its files' names begin with
    #[arg(short, long, value_name = "PATH", help_heading = "Output")]
    output: PathBuf,

    /// Replace what is there
    #[arg(long, help_heading = "Output")]
    overwrite: bool,

    /// ONNX: signature of the module [default: default]
    #[arg(long, value_name = "NAME", help_heading = "Output")]
    signature: Option<String>,

    /// ONNX: output of the signature, again for each one that is wanted; `featvec inspect` lists them [default: default]
    #[arg(long, value_name = "NAME", help_heading = "Output")]
    endpoint: Vec<String>,

    /// Height and width of the pictures instead of the module's, at least 32x32
    #[arg(long, value_name = "HxW", help_heading = "Output")]
    size: Option<Size>,

    /// Leave out the classifying layer
    #[arg(long, help_heading = "Output")]
    features_only: bool,

    /// Compact modules: a text file with what the file is to say of itself, in lines like `licence: MIT` [default: what the
    /// module says]
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    about: Option<PathBuf>,

    /// Hub modules: a file with the names of the classes, one a line, to put beside the graphs [default: the module's own]
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    labels: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// The folder of a TF1 Hub module
    Hub,
    /// A TF1 Hub module as one .tar.gz
    HubTar,
    /// TF-Slim's checkpoint of version 1, one file
    CheckpointV1,
    /// TF-Slim's checkpoint of version 2: PATH.index, PATH.data-00000-of-00001, and `checkpoint`
    CheckpointV2,
    /// The folder of a SavedModel for TF Serving and tf.saved_model.load
    SavedModel,
    /// One GraphDef with all numbers in it
    FrozenGraph,
    /// One .safetensors file with TF-Slim's names
    Safetensors,
    /// One .fvm file, which featvec alone reads: filters in 11 bits a number
    Compact,
    /// One .onnx file
    Onnx,
}

impl Format {
    fn has_graph(self) -> bool {
        let without = [Format::CheckpointV1, Format::CheckpointV2, Format::Safetensors, Format::Compact];
        !without.contains(&self)
    }

    fn is_hub(self) -> bool {
        matches!(self, Format::Hub | Format::HubTar)
    }

    fn is_folder(self) -> bool {
        matches!(self, Format::Hub | Format::SavedModel)
    }

    /// What to do with `place` now.
    fn next_step(self, place: &str) -> String {
        match self {
            Format::Hub => {
                format!("next: featvec embed --module {place}, or hub.Module({place:?}) in Python")
            }
            Format::HubTar => {
                format!("next: featvec embed --module {place}, or unpack it for hub.Module in Python")
            }
            Format::CheckpointV1 | Format::CheckpointV2 => {
                format!(
                    "next: featvec embed --module {place}, or tf.train.load_checkpoint({place:?}) in Python"
                )
            }
            Format::SavedModel => format!(
                "next: tf.saved_model.load({place:?}) in Python, or TF Serving with a folder around it whose \
                 sub-folders are versions"
            ),
            Format::FrozenGraph => {
                "next: tf.graph_util.import_graph_def in Python; input images:0".to_string()
            }
            Format::Safetensors => {
                format!("next: featvec embed --module {place}, or safetensors' load_file in Python")
            }
            Format::Compact => format!("next: featvec embed --module {place}"),
            Format::Onnx => "next: run it with ONNX Runtime or the like".to_string(),
        }
    }
}

impl Export {
    pub fn run(self, talk: &Talk) -> Result<Outcome, Stop> {
        self.check_options()?;
        let any_size = self.format == Format::Onnx && self.size.is_some();
        let module = match &self.handle {
            Some(handle) => self.module.load.load(handle, (Precision::F32, any_size), talk)?,
            None => self.module.load(any_size, talk)?,
        };
        self.refuse_overwriting(&module)?;
        if self.format == Format::Onnx {
            self.write_onnx(&module, talk)?;
        } else {
            self.write(&module, talk)?;
        }
        talk.note(format_args!("{}", self.format.next_step(&line::shown(&self.output))));
        Ok(Outcome::Done)
    }

    /// Options that the format has no use for are mistakes.
    fn check_options(&self) -> Result<(), Error> {
        let onnx = self.format == Format::Onnx;
        let whole = self.format != Format::Onnx;
        let hub = self.format.is_hub();
        for (given, option, useful, what) in [
            (self.signature.is_some(), "--signature", onnx, "an ONNX model"),
            (!self.endpoint.is_empty(), "--endpoint", onnx, "an ONNX model"),
            (self.size.is_some(), "--size", self.format.has_graph(), "a format with a graph"),
            (
                self.features_only,
                "--features-only",
                whole,
                "formats other than ONNX, where the outputs decide,",
            ),
            (self.about.is_some(), "--about", self.format == Format::Compact, "a compact module"),
            (self.labels.is_some(), "--labels", hub, "a Hub module"),
        ] {
            if given && !useful {
                return Err(wrong_usage(format!("{option} is for {what} only")));
            }
        }
        Ok(())
    }

    fn write(&self, module: &Module, talk: &Talk) -> Result<(), Error> {
        if !module.tags().is_empty() {
            let message = "this format is made from the module's graph for inference";
            return Err(wrong_usage(message).with_hint("leave out --tags: a Hub module gets both graphs"));
        }
        let without_logits;
        let variables = if self.features_only {
            without_logits = module.variables().without_logits();
            &without_logits
        } else {
            module.variables()
        };
        let options = self.graph_options(module)?;
        let about = match &self.about {
            Some(file) => read_about(file)?,
            // What is said of the whole may not be true of a part.
            None if self.features_only => Vec::new(),
            None => module.about().to_vec(),
        };
        let notes = Notes::beside(module)?;
        let staged = StagedFolder::beside(&self.output)?;
        let path = staged.path();
        match self.format {
            Format::Hub => export::to_hub_module(variables, &options, &path)
                .and_then(|()| notes.map_or(Ok(()), |notes| notes.write(&path))),
            Format::HubTar => export::to_hub_archive(variables, &options, &path),
            Format::CheckpointV1 => export::to_checkpoint_v1(variables, &path),
            Format::CheckpointV2 => export::to_checkpoint_v2(variables, &path),
            Format::SavedModel => export::to_saved_model(variables, &options, &path),
            Format::FrozenGraph => export::to_frozen_graph(variables, &options, &path),
            Format::Safetensors => export::to_safetensors(variables, &path),
            Format::Compact => export::to_compact(variables, &about, &path),
            Format::Onnx => unreachable!("written elsewhere"),
        }
        .map_err(|error| match error.kind() {
            // The place is a temporary one that nobody has seen.
            ErrorKind::Io => Error::new(ErrorKind::Io, line::shown(&self.output), error.message()),
            _ => error.within(&line::shown(&self.output)),
        })?;
        staged.commit(CHECKPOINT_STATE)?;
        if let Some(notes) = notes.filter(|_| self.format != Format::Hub) {
            let preset = notes.preset;
            talk.note(format_args!(
                "this format does not say how the module wants its pictures: use it with --preset {preset}"
            ));
        }
        let run = match self.format {
            Format::SavedModel | Format::FrozenGraph => "",
            _ => ", and run on a picture",
        };
        let rounding = if self.format == Format::Compact { " (filters within their rounding)" } else { "" };
        talk.note(format_args!(
            "wrote {}: {} variables, {} numbers; read back and compared, number by number{rounding}{run}",
            line::shown(&self.output),
            variables.network.variables().len(),
            grouped(variables.network.parameters() as u64),
        ));
        Ok(())
    }

    fn graph_options(&self, module: &Module) -> Result<GraphOptions, Error> {
        let mut options = GraphOptions::default();
        if self.format.has_graph() {
            options = GraphOptions::of(module)?;
        }
        if let Some(Size(size)) = self.size {
            options = GraphOptions { size, any_size: false, ..options };
        }
        let own = || Labels::beside(module).filter(|_| self.format.is_hub() && !self.features_only);
        if let Some(file) = self.labels.clone().or_else(own) {
            options.labels = Labels::read(&file)?.names();
        }
        Ok(options)
    }

    /// The outputs wanted, each once.
    fn outputs(&self, module: &Module, signature: &str) -> Result<Vec<String>, Error> {
        let endpoints: Vec<&str> = match self.endpoint.as_slice() {
            [] => vec![DEFAULT],
            endpoints => endpoints.iter().map(String::as_str).collect(),
        };
        let mut outputs = Vec::new();
        for endpoint in endpoints {
            let name = module.output_name(signature, endpoint)?;
            if !outputs.contains(&name) {
                outputs.push(name);
            }
        }
        Ok(outputs)
    }

    fn write_onnx(&self, module: &Module, talk: &Talk) -> Result<(), Error> {
        let signature = self.signature.clone().unwrap_or_else(|| DEFAULT.to_string());
        let options = ExportOptions {
            outputs: self.outputs(module, &signature)?,
            signature,
            size: self.size.map(|Size(size)| size),
        };
        let model = to_onnx(module, &options)?;
        let mut file = Staged::create(&self.output)?;
        file.write_all(&model.encode()).map_err(|error| file.error(error))?;
        let bytes = file.read_back()?;
        let place = line::shown(&self.output);
        model.verify(&bytes, &self.module.load.fetch.limits()).map_err(|error| error.within(&place))?;
        Staged::commit_all(vec![file])?;
        talk.note(format_args!(
            "wrote {place}: {} bytes, {} nodes, {} constants; read back and compared, number by number",
            grouped(bytes.len() as u64),
            model.graph.nodes.len(),
            model.graph.initializers.len(),
        ));
        Ok(())
    }

    /// The files and folders that will be there.
    fn targets(&self) -> Vec<PathBuf> {
        if self.format != Format::CheckpointV2 {
            return vec![self.output.clone()];
        }
        let [shard, index] = export::checkpoint_v2_files(&self.output);
        vec![shard, index, self.output.with_file_name(CHECKPOINT_STATE)]
    }

    /// What is there stays there unless the user says otherwise; the module's own files stay in any case.
    fn refuse_overwriting(&self, module: &Module) -> Result<(), Error> {
        let canonical = |path: &Path| path.canonicalize().ok();
        let own: Vec<PathBuf> = module
            .path()
            .into_iter()
            .flat_map(|path| [path.to_owned(), export::checkpoint_v2_files(path)[1].clone()])
            .collect();
        for target in self.targets() {
            let Some(found) = canonical(&target) else { continue };
            if own
                .iter()
                .filter_map(|own| canonical(own))
                .any(|own| own.starts_with(&found) || found.starts_with(&own))
            {
                let message = format!("{} is the module and cannot be the output too", target.display());
                return Err(wrong_usage(message));
            }
            let argument =
                |message: &str| Err(Error::new(ErrorKind::Argument, target.display().to_string(), message));
            match (self.format.is_folder(), found.is_dir()) {
                (true, true) => {
                    let names =
                        fs::read_dir(&found).map_err(|error| Error::io(line::shown(&target), error))?;
                    let is_empty = names.count() == 0;
                    if !is_empty && !found.join("saved_model.pb").is_file() {
                        return argument("a folder with other things in it, which is not replaced");
                    }
                    if !is_empty && !self.overwrite {
                        return argument("it is there already").map_err(|error| error.with_hint(OVERWRITE));
                    }
                }
                (true, false) => return argument("a file, which a folder does not replace"),
                (false, _) if !found.is_file() => {
                    return argument("not a plain file, so it cannot be replaced by one");
                }
                (false, _) if !self.overwrite => {
                    return argument("it is there already").map_err(|error| error.with_hint(OVERWRITE));
                }
                (false, _) => {}
            }
        }
        Ok(())
    }
}

const OVERWRITE: &str = "give another --output, or --overwrite";
