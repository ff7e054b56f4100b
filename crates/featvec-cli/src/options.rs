//! Options that several commands share.

mod examples;
mod fetch;
mod module;
mod pictures;
mod precision;
mod preparation;
mod size;
mod sources;
mod training;

pub use examples::ExampleArgs;
pub use fetch::{FetchArgs, LimitArgs};
pub use module::{LoadArgs, ModuleArgs, or_builtin};
pub use pictures::{PictureArgs, path};
pub use precision::{Choice as PrecisionChoice, PrecisionArgs, some_pictures};
pub use preparation::{BATCH, PreparationArgs};
pub use size::{Size, parse_bytes};
pub use sources::SourceArgs;
pub use training::{Augment, BatchNormKind};

/// How a command prints its result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum TextOrJson {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
}
