//! Which module, and how it runs.

use std::num::NonZeroUsize;

use clap::Args;
use featvec::builtin::BUILTIN;
use featvec::extractor::RunOptions;
use featvec::{LoadOptions, Module, Precision, Result};

use super::FetchArgs;
use crate::talk::Talk;

/// A module named with `--module`.
#[derive(Args)]
#[command(next_help_heading = "Module")]
pub struct ModuleArgs {
    /// The module: a folder, a .tar.gz, a checkpoint, a .caffemodel, a URL, or the one that comes with featvec [default:
    /// builtin]
    #[arg(long, value_name = "HANDLE", env = "FEATVEC_MODULE", hide_env_values = true)]
    module: Option<String>,

    #[command(flatten)]
    pub load: LoadArgs,
}

impl ModuleArgs {
    /// Loads the module; with `any_size` it takes pictures of any size.
    ///
    /// # Errors
    /// Those of [`Module::load`].
    pub fn load(&self, any_size: bool, talk: &Talk) -> Result<Module> {
        self.load_for(Precision::F32, any_size, talk)
    }

    /// Like [`load`](ModuleArgs::load), a module that computes in `precision`.
    ///
    /// # Errors
    /// As there.
    pub fn load_for(&self, precision: Precision, any_size: bool, talk: &Talk) -> Result<Module> {
        self.load.load(or_builtin(self.module.as_deref(), talk), (precision, any_size), talk)
    }
}

/// The `handle` that was given, or the module that comes with featvec, of which is then told what it is.
pub fn or_builtin<'a>(handle: Option<&'a str>, talk: &Talk) -> &'a str {
    handle.filter(|handle| !handle.is_empty()).unwrap_or_else(|| {
        talk.note(format_args!(
            "module {BUILTIN}: distilled from BVLC GoogLeNet, not Google's weights; --module takes others"
        ));
        BUILTIN
    })
}

/// How a module is loaded and run.
#[derive(Args)]
#[command(next_help_heading = "Module")]
pub struct LoadArgs {
    /// Tags of the module's graph, separated by commas: none for inference, `train` for the statistics of each batch
    #[arg(long, value_name = "TAG,..", value_delimiter = ',')]
    tags: Vec<String>,

    /// Threads [default: as many as this process may run at once]
    #[arg(long, value_name = "N")]
    pub threads: Option<NonZeroUsize>,

    /// Instruction set to use instead of the fastest
    #[arg(long, hide = true)]
    isa: Option<String>,

    #[command(flatten)]
    pub fetch: FetchArgs,
}

impl LoadArgs {
    /// For inference, and otherwise as by default.
    pub fn inference(fetch: FetchArgs) -> LoadArgs {
        LoadArgs { tags: Vec::new(), threads: None, isa: None, fetch }
    }

    /// Loads the module `handle`.
    ///
    /// # Errors
    /// Those of [`Module::load`].
    pub fn load(
        &self,
        handle: &str,
        (precision, any_size): (Precision, bool),
        talk: &Talk,
    ) -> Result<Module> {
        let options = LoadOptions {
            tags: self.tags.iter().filter(|tag| !tag.is_empty()).cloned().collect(),
            any_size,
            // Only a handle that is a URL needs a cache, and only then it matters that there is none.
            cache: self.fetch.cache().ok(),
            fetch: self.fetch.options(),
            run: RunOptions { threads: self.threads, isa: self.isa.clone(), precision },
        };
        let module = Module::load_with(handle, &options, &mut |progress| talk.download(progress));
        talk.end();
        module
    }
}
