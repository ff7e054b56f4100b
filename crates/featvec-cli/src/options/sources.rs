//! What is looked at in folders, shards and tables.

use std::sync::Arc;

use clap::Args;
#[cfg(feature = "object-store")]
use featvec::pictures::EXTENSIONS;
use featvec::pictures::Preparation;
use featvec::{Limits, Result};
use featvec_collections::sources::{Input, Opener, SourceOptions};

#[cfg(feature = "object-store")]
use super::path;

/// Options of every command that reads a collection.
#[derive(Args)]
#[command(next_help_heading = "Inputs")]
pub struct SourceArgs {
    /// Column of a table, or feature of a record, with the pictures, their paths or their URLs [default: one with a usual
    /// name, or the only one of bytes]
    #[arg(long, value_name = "NAME")]
    image_column: Option<String>,

    /// Leave out what matches in folders: a pattern as in a .gitignore; may be repeated. A file .featvecignore in a folder
    /// holds such patterns too
    #[arg(long, value_name = "PATTERN")]
    exclude: Vec<String>,

    /// Look at files and folders in folders whose names begin with a dot, too
    #[arg(long)]
    hidden: bool,

    /// Do not follow symbolic links in folders
    #[arg(long)]
    no_follow: bool,

    /// Pictures behind URLs that are asked for at once; each may be of 64 MB [default: 16]
    #[cfg(feature = "object-store")]
    #[arg(long, value_name = "N")]
    requests: Option<std::num::NonZeroUsize>,

    /// Lines of lists end in zero bytes, as `find -print0` writes them
    #[arg(long)]
    null: bool,
}

impl SourceArgs {
    /// The same for the library, for pictures of `inputs` that `preparation` prepares.
    ///
    /// # Errors
    /// What keeps URLs from being opened: a file of certificates that cannot be used.
    pub fn options(
        &self,
        inputs: &[Input],
        preparation: &Preparation,
        limits: Limits,
    ) -> Result<SourceOptions> {
        Ok(SourceOptions {
            max_picture_bytes: preparation.decode.limits.max_memory_bytes,
            limits,
            image_column: self.image_column.clone(),
            follow_links: !self.no_follow,
            hidden: self.hidden,
            exclude: self.exclude.clone(),
            null_separated: self.null,
            opener: self.opener(inputs)?,
            ..SourceOptions::default()
        })
    }

    /// What opens URLs, where `inputs` may have any.
    #[cfg(feature = "object-store")]
    fn opener(&self, inputs: &[Input]) -> Result<Option<Arc<dyn Opener>>> {
        use featvec_collections::remote::{RemoteOnDemand, RemoteOptions};
        use featvec_collections::sources::Place;
        let has_none = |input| path(input).is_some_and(|path| path.is_dir() || is_picture(path));
        if inputs.iter().all(has_none) {
            return Ok(None);
        }
        let defaults = RemoteOptions::from_env();
        let requests = self.requests.map_or(defaults.requests, |requests| requests.get());
        let remote = RemoteOnDemand::new(RemoteOptions { requests, ..defaults });
        let is_url = |input: &Input| match input {
            Input::Place(place) | Input::List(place) => matches!(place, Place::Url(_)),
            Input::Pattern(pattern) => pattern.contains("://"),
            Input::Stdin => false,
        };
        // What is wrong is said at once where it is sure to matter, and by the first URL in a list or table otherwise.
        if inputs.iter().any(is_url) {
            remote.get()?;
        }
        Ok(Some(Arc::new(remote)))
    }

    #[cfg(not(feature = "object-store"))]
    fn opener(&self, _: &[Input]) -> Result<Option<Arc<dyn Opener>>> {
        Ok(None)
    }
}

#[cfg(feature = "object-store")]
fn is_picture(path: &std::path::Path) -> bool {
    path.extension().is_some_and(|end| EXTENSIONS.iter().any(|known| end.eq_ignore_ascii_case(known)))
}
