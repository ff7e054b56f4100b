//! `featvec fetch`: modules into the cache.

use std::io::{Write, stdout};
use std::path::PathBuf;

use clap::Args;
use featvec::handle::Handle;
use featvec::{Cache, Error};

use crate::line;
use crate::options::FetchArgs;
use crate::stop::{Outcome, Stop, wrong_usage};
use crate::talk::Talk;

/// Download modules and print where they lie
#[derive(Args)]
#[command(after_help = "\
Examples:
  featvec fetch https://tfhub.dev/google/imagenet/inception_v1/feature_vector/1
  featvec fetch --mirror 'https://example.org/modules/{path}.tar.gz' \\
      https://tfhub.dev/google/imagenet/inception_v1/feature_vector/1
  featvec fetch --from downloaded.tar.gz \\
      https://tfhub.dev/google/imagenet/inception_v1/feature_vector/1

The cache is laid out as Python's tensorflow_hub lays out its own: with TFHUB_CACHE_DIR both
use one folder.")]
pub struct Fetch {
    /// URLs of modules; paths are printed as they are
    #[arg(required = true, value_name = "HANDLE")]
    handles: Vec<String>,

    /// Put this archive or folder into the cache under the name HANDLE, in place of what is there
    #[arg(long, value_name = "FILE", conflicts_with_all = ["offline", "mirror"])]
    from: Option<PathBuf>,

    #[command(flatten)]
    fetch: FetchArgs,
}

impl Fetch {
    pub fn run(self, talk: &Talk) -> Result<Outcome, Stop> {
        if self.from.is_some() && self.handles.len() > 1 {
            return Err(wrong_usage("--from gives one module, so it goes with one HANDLE").into());
        }
        let cache = self.fetch.cache()?;
        let mut failed = 0;
        for handle in &self.handles {
            let path = self.fetch(handle, &cache, talk);
            talk.end();
            match path {
                Ok(path) => {
                    let line = [line::field(path.as_os_str()), b"\n".to_vec()].concat();
                    stdout().write_all(&line).map_err(Stop::from_stdout)?;
                }
                Err(error) => {
                    talk.failure(error);
                    failed += 1;
                }
            }
        }
        Ok(Outcome::of(failed))
    }

    fn fetch(&self, handle: &str, cache: &Cache, talk: &Talk) -> Result<PathBuf, Error> {
        let handle = Handle::parse(handle)?;
        let options = self.fetch.options();
        match &self.from {
            Some(file) => cache.import(&handle, file, &options, &mut |progress| talk.download(progress)),
            None => cache.resolve(&handle, &options, &mut |progress| talk.download(progress)),
        }
    }
}
