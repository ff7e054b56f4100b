//! How well decoding and the network overlap: a collection through the pipeline, against decoding alone plus the network
//! alone, each on all cores, in turns.
//!
//!     cargo bench -p featvec-collections -- MODULE FOLDER [ROUNDS]

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use featvec::module::DEFAULT;
use featvec::pictures::{Found, Preparation, find};
use featvec::{Module, Preset, Tensor};
use featvec_collections::Row;
use featvec_collections::run::{BATCH, Pipeline, Sink};
use featvec_collections::sources::{Input, SourceOptions, open};

/// Forgets rows.
struct Nowhere;

impl Sink for Nowhere {
    type Error = featvec::Error;

    fn write(&mut self, _: Row) -> featvec::Result<()> {
        Ok(())
    }
}

/// Pictures that are prepared at once where that is done alone.
const CHUNK: usize = 32;

fn main() -> featvec::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with("--")).collect();
    let [handle, folder, rounds @ ..] = &args[..] else {
        eprintln!("SKIPPED: give MODULE FOLDER [ROUNDS] after --");
        return Ok(());
    };
    let rounds: usize = rounds.first().and_then(|rounds| rounds.parse().ok()).unwrap_or(5);
    let module = Module::load(handle)?;
    let preparation = Preparation::new(Preset::default(), module.expected_image_size()?);
    let paths: Vec<PathBuf> = find([folder.into()])
        .into_iter()
        .filter_map(|found| if let Found::Picture(path) = found { Some(path) } else { None })
        .collect();
    let threads = NonZeroUsize::new(module.extractor().threads()).unwrap_or(NonZeroUsize::MIN);
    let pipeline = Pipeline {
        module: &module,
        signature: module.feature_signature(),
        output: DEFAULT,
        preparation: &preparation,
        batch: BATCH,
        normalize: false,
    };
    let run = |module: &Module, images: &Tensor| module.run_outputs(pipeline.signature, images, &[DEFAULT]);
    let chunk = preparation.prepare_batch(&paths[..paths.len().min(CHUNK)], threads)?.images;
    run(&module, &chunk)?;

    let mut ratios = Vec::new();
    for _ in 0..rounds {
        let mut decoding = 0.0;
        let mut network = 0.0;
        for paths in paths.chunks(CHUNK) {
            let start = Instant::now();
            let prepared = preparation.prepare_batch(paths, threads)?;
            decoding += start.elapsed().as_secs_f64();
            let start = Instant::now();
            run(&module, &prepared.images)?;
            network += start.elapsed().as_secs_f64();
        }
        let start = Instant::now();
        let mut collection = open(&Input::parse(folder.as_ref())?, &SourceOptions::default())?;
        let summary = pipeline.run(&mut collection, &mut Nowhere, &AtomicBool::new(false), &mut |_| {})?;
        let whole = start.elapsed().as_secs_f64();
        ratios.push(whole / (decoding + network));
        println!(
            "{} pictures on {threads} threads: decoding {decoding:.2} s + network {network:.2} s, pipeline {whole:.2} s",
            summary.ok
        );
    }
    ratios.sort_by(f64::total_cmp);
    println!("pipeline / (decoding + network), median: {:.3}", ratios[ratios.len() / 2]);
    Ok(())
}
