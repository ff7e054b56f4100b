//! `featvec inspect`: what a module is, and what would run it.

mod statistics;

use std::collections::BTreeMap;
use std::io::{self, Write, stdout};

use clap::Args;
use featvec::builtin::{self, BUILTIN};
use featvec::module::{Format, Signature, TensorInfo};
use featvec::network::DEFAULT_SIZE;
use featvec::{Kernels, Module, Precision, grouped};
use serde_json::{Value, json};

use crate::line;
use crate::options::{LoadArgs, TextOrJson};
use crate::stop::{Outcome, Stop};
use crate::talk::Talk;
use statistics::{Statistics, by_stage, by_variable};

/// Say what a module is: format, tags, signatures, variables, cost, and which checks it passed
#[derive(Args)]
#[command(after_help = "\
Examples:
  featvec inspect builtin
  featvec inspect feature_vector.tar.gz
  featvec inspect --tags train --format json module/
  featvec inspect --all-variables bvlc_googlenet.caffemodel
  featvec inspect --cpu")]
pub struct Inspect {
    /// The module: a folder, a .tar.gz, a checkpoint, a .caffemodel, a URL, or the one that comes with featvec [default:
    /// builtin]
    #[arg(value_name = "HANDLE", env = "FEATVEC_MODULE", hide_env_values = true)]
    handle: Option<String>,

    /// As text or as one JSON object
    #[arg(long, value_enum, default_value_t)]
    format: TextOrJson,

    /// List each variable instead of the sums of each stage of the network
    #[arg(long)]
    all_variables: bool,

    /// List the kernels that run on this processor, the one in use first; needs no module
    #[arg(long, conflicts_with = "all_variables")]
    cpu: bool,

    #[command(flatten)]
    load: LoadArgs,
}

impl Inspect {
    pub fn run(self, talk: &Talk) -> Result<Outcome, Stop> {
        let mut out = stdout().lock();
        if self.cpu {
            print_kernels(&mut out, self.format).map_err(Stop::from_stdout)?;
            return Ok(Outcome::Done);
        }
        let handle = self.handle.as_deref().filter(|handle| !handle.is_empty()).unwrap_or(BUILTIN);
        let module = self.load.load(handle, (Precision::F32, false), talk)?;
        let statistics = if self.all_variables { by_variable(&module) } else { by_stage(&module) };
        match self.format {
            TextOrJson::Text => print_text(&mut out, &module, &statistics),
            TextOrJson::Json => writeln!(out, "{:#}", to_json(&module, &statistics)),
        }
        .map_err(Stop::from_stdout)?;
        Ok(Outcome::Done)
    }
}

fn print_kernels(out: &mut impl Write, format: TextOrJson) -> io::Result<()> {
    for (kernels, mark) in Kernels::present().zip(["in use"].into_iter().chain(std::iter::repeat("present")))
    {
        let (name, tile, byte_tile) = (kernels.name(), kernels.tile_name(), kernels.byte_tile_name());
        let lanes = kernels.lanes();
        match format {
            TextOrJson::Text => {
                writeln!(out, "{name:10} {tile:22} {byte_tile:24} {lanes:2} channels a block  {mark}")
            }
            TextOrJson::Json => {
                let line = json!({
                    "name": name,
                    "convolution": tile,
                    "byte_convolution": byte_tile,
                    "channels_per_block": lanes,
                    "in_use": mark == "in use",
                });
                writeln!(out, "{line}")
            }
        }?;
    }
    Ok(())
}

/// The size that costs are told for.
fn size(module: &Module) -> [usize; 2] {
    module.expected_image_size().unwrap_or(DEFAULT_SIZE)
}

/// The hash of the file of the module that comes with featvec, by which it can be told from others.
fn sha256(module: &Module) -> Option<String> {
    if module.handle() == BUILTIN { builtin::sha256() } else { None }
}

fn print_text(out: &mut impl Write, module: &Module, statistics: &[Statistics]) -> io::Result<()> {
    let variables = module.variables();
    let network = variables.network;
    let [h, w] = size(module);
    let fact = |out: &mut dyn Write, name: &str, value: &str| writeln!(out, "{name:14} {value}");
    fact(out, "module", &line::shown(module.handle()))?;
    fact(out, "format", &module.format().to_string())?;
    for (what, text) in module.about() {
        fact(out, &line::shown(what), &line::shown(text))?;
    }
    if let Some(sha256) = sha256(module) {
        fact(out, "SHA-256", &sha256)?;
    }
    let graphs: Vec<_> = module.tag_sets().iter().map(|tags| format!("{tags:?}")).collect();
    fact(out, "tags", &format!("{}; in use {:?}", graphs.join(" "), module.tags()))?;
    match module.expected_image_size() {
        Ok([h, w]) => fact(out, "image size", &format!("{h}x{w}"))?,
        Err(_) => fact(out, "image size", "any from 32x32 on")?,
    }
    let channels = variables.affine.scale.iter().zip(variables.affine.offset);
    let channels: Vec<_> = channels.map(|(scale, offset)| format!("x * {scale} + {offset}")).collect();
    let input =
        if channels.iter().all(|channel| *channel == channels[0]) { &channels[..1] } else { &channels };
    fact(out, "input", &format!("{} for x in [0, 1]", input.join(", ").replace("+ -", "- ")))?;
    if module.format() != Format::Caffemodel {
        fact(out, "batch norm", &format!("epsilon {}", variables.epsilon))?;
    }
    if let Some(classes) = network.classes {
        fact(out, "classes", &classes.to_string())?;
    }
    fact(out, "parameters", &grouped(network.parameters() as u64))?;
    let cost = grouped(network.multiply_adds([h, w]) as u64);
    fact(out, "multiply-adds", &format!("{cost} a picture of {h}x{w}"))?;

    print_signatures(out, module.signatures())?;

    let width = statistics.iter().map(|row| row.name.len()).max().unwrap_or(0);
    writeln!(
        out,
        "\n{:width$} {:>9} {:>9} {:>9} {:>9}  shape",
        "variables", "numbers", "min", "max", "mean"
    )?;
    for row in statistics {
        let [min, max, mean] = [f64::from(row.min), f64::from(row.max), row.mean].map(|x| format!("{x:.4}"));
        write!(out, "{:width$} {:>9} {min:>9} {max:>9} {mean:>9}", row.name, row.count)?;
        match &row.variable {
            Some(variable) => {
                let kind = if variable.trainable { "" } else { ", not trainable" };
                writeln!(out, "  {:?}{kind}", variable.shape)?;
            }
            None => writeln!(out)?,
        }
    }

    writeln!(out, "\nchecks passed")?;
    for check in checks(module) {
        writeln!(out, "  {check}")?;
    }
    Ok(())
}

/// The signatures; outputs that several of them have in common are listed once.
fn print_signatures(out: &mut impl Write, signatures: &BTreeMap<String, Signature>) -> io::Result<()> {
    let is_common = |output: &(&str, &TensorInfo)| {
        signatures.len() > 1
            && signatures.values().all(|signature| signature.outputs().any(|other| other == *output))
    };
    let print = |out: &mut dyn Write, what: &str, (name, info): (&str, &TensorInfo)| {
        writeln!(out, "  {what:3}  {name:28} {info}")
    };
    for (name, signature) in signatures {
        writeln!(out, "\nsignature {name}")?;
        for (name, info) in signature.inputs() {
            print(out, "in", (name, info))?;
        }
        for output in signature.outputs().filter(|output| !is_common(output)) {
            print(out, "out", output)?;
        }
    }
    let mut common = signatures.values().take(1).flat_map(Signature::outputs).filter(is_common).peekable();
    if common.peek().is_some() {
        writeln!(out, "\noutputs of every signature")?;
    }
    common.try_for_each(|output| print(out, "out", output))
}

fn to_json(module: &Module, statistics: &[Statistics]) -> Value {
    let variables = module.variables();
    let network = variables.network;
    let signatures: serde_json::Map<_, _> = module
        .signatures()
        .iter()
        .map(|(name, signature)| (name.clone(), signature_to_json(signature)))
        .collect();
    json!({
        "handle": module.handle(),
        "format": module.format().to_string(),
        "about": module.about(),
        "sha256": sha256(module),
        "tags": module.tag_sets(),
        "tags_in_use": module.tags(),
        "image_size": module.expected_image_size().ok(),
        "input": { "scale": variables.affine.scale, "offset": variables.affine.offset },
        "batch_norm_epsilon": (module.format() != Format::Caffemodel).then_some(variables.epsilon),
        "classes": network.classes,
        "parameters": network.parameters(),
        "multiply_adds": { "image_size": size(module), "count": network.multiply_adds(size(module)) },
        "signatures": signatures,
        "variables": statistics.iter().map(Statistics::to_json).collect::<Vec<_>>(),
        "checks_passed": checks(module),
    })
}

fn signature_to_json(signature: &Signature) -> Value {
    let info = |name: &str, info: &TensorInfo| {
        (name.to_string(), json!({ "dtype": info.dtype.to_string(), "shape": info.shape }))
    };
    let inputs = signature.inputs().iter().map(|(name, tensor)| info(name, tensor));
    let outputs = signature.outputs().map(|(name, tensor)| info(name, tensor));
    json!({
        "inputs": inputs.collect::<serde_json::Map<_, _>>(),
        "outputs": outputs.collect::<serde_json::Map<_, _>>(),
    })
}

/// What was verified when the module was loaded; a module that fails a check does not load.
fn checks(module: &Module) -> Vec<String> {
    let network = module.variables().network;
    let mut checks = Vec::new();
    if module.format() == Format::HubModule {
        checks.push(format!(
            "the graph, walked from its outputs to the images, is Inception V1: {} convolutions, each with its \
             batch normalisation, pools and concatenations",
            network.convs().len()
        ));
        checks.push("scale, epsilon, signatures and endpoints were read from the graph".to_string());
    }
    checks.push(
        match module.format() {
            Format::Caffemodel => {
                "every layer has weights and biases of its shape; none missing, none surplus"
            }
            _ => "every variable has its shape; none missing, none surplus",
        }
        .to_string(),
    );
    match module.format() {
        Format::Caffemodel => {}
        Format::Compact => checks.push("the checksum of the file".to_string()),
        _ => checks.push("the checksums of all blocks and tensors that were read".to_string()),
    }
    checks.push("all numbers are finite".to_string());
    if module.format() != Format::Caffemodel {
        checks.push("every variance plus epsilon is above zero".to_string());
    }
    checks
}
