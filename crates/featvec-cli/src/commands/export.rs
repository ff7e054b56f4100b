//! `featvec export`: a module in the format of another program.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use featvec::export::{ExportOptions, to_onnx};
use featvec::module::DEFAULT;
use featvec::{Error, Module, grouped};

use crate::line;
use crate::options::{ModuleArgs, Size};
use crate::staged::Staged;
use crate::stop::{Outcome, Stop, wrong_usage};
use crate::talk::Talk;

/// Write a module's network in the format of another program
#[derive(Args)]
#[command(after_help = "\
Examples:
  featvec export --module feature_vector.tar.gz --format onnx -o features.onnx
  featvec export --module bvlc_googlenet.caffemodel --signature image_classification \\
      --format onnx -o logits.onnx
  featvec export --module module/ --endpoint default --endpoint global_pool --format onnx -o two.onnx

The ONNX model (operators of version 13) takes `images`, [n,h,w,3] in [0,1], red first, for any n, and
gives outputs named and shaped as the signature has them. Batch normalisation is folded. The file is
read back and compared, number by number, before it takes its place.")]
pub struct Export {
    #[command(flatten)]
    module: ModuleArgs,

    /// What to write
    #[arg(long, value_enum, help_heading = "Output")]
    format: Format,

    /// The file to write
    #[arg(short, long, value_name = "FILE", help_heading = "Output")]
    output: PathBuf,

    /// Signature of the module
    #[arg(long, value_name = "NAME", default_value = DEFAULT, help_heading = "Output")]
    signature: String,

    /// Output of the signature, again for each one that is wanted; `featvec inspect` lists them [default: default]
    #[arg(long, value_name = "NAME", help_heading = "Output")]
    endpoint: Vec<String>,

    /// Height and width of the pictures instead of the module's, at least 32x32
    #[arg(long, value_name = "HxW", help_heading = "Output")]
    size: Option<Size>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// One .onnx file
    Onnx,
}

impl Export {
    pub fn run(self, talk: &Talk) -> Result<Outcome, Stop> {
        let module = self.module.load(self.size.is_some(), talk)?;
        refuse_overwriting(&module, &self.output)?;
        let options = ExportOptions {
            signature: self.signature.clone(),
            outputs: self.outputs(&module)?,
            size: self.size.map(|Size(size)| size),
        };
        match self.format {
            Format::Onnx => self.write_onnx(&module, &options, talk)?,
        }
        Ok(Outcome::Done)
    }

    /// The outputs wanted, each once.
    fn outputs(&self, module: &Module) -> Result<Vec<String>, Error> {
        let endpoints: Vec<&str> = match self.endpoint.as_slice() {
            [] => vec![DEFAULT],
            endpoints => endpoints.iter().map(String::as_str).collect(),
        };
        let mut outputs = Vec::new();
        for endpoint in endpoints {
            let name = module.output_name(&self.signature, endpoint)?;
            if !outputs.contains(&name) {
                outputs.push(name);
            }
        }
        Ok(outputs)
    }

    fn write_onnx(&self, module: &Module, options: &ExportOptions, talk: &Talk) -> Result<(), Error> {
        let model = to_onnx(module, options)?;
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
}

/// The module's own file must not be replaced.
fn refuse_overwriting(module: &Module, output: &Path) -> Result<(), Error> {
    let canonical = |path: &Path| path.canonicalize().ok();
    if canonical(output).is_some_and(|output| canonical(Path::new(module.handle())) == Some(output)) {
        return Err(wrong_usage(format!("{} is the module and cannot be the output too", output.display())));
    }
    Ok(())
}
