//! What is looked at in folders, shards and tables.

use clap::Args;
use featvec::Limits;
use featvec::pictures::Preparation;
use featvec_collections::sources::SourceOptions;

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

    /// Lines of lists end in zero bytes, as `find -print0` writes them
    #[arg(long)]
    null: bool,
}

impl SourceArgs {
    /// The same for the library, for pictures that `preparation` prepares.
    pub fn options(&self, preparation: &Preparation, limits: Limits) -> SourceOptions {
        SourceOptions {
            max_picture_bytes: preparation.decode.limits.max_memory_bytes,
            limits,
            image_column: self.image_column.clone(),
            follow_links: !self.no_follow,
            hidden: self.hidden,
            exclude: self.exclude.clone(),
            null_separated: self.null,
            ..SourceOptions::default()
        }
    }
}
