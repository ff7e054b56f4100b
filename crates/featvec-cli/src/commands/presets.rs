//! `featvec presets`: the ways to prepare a picture.

use std::io::{Write, stdout};

use clap::Args;
use featvec::Preset;
use serde_json::json;

use crate::options::TextOrJson;
use crate::stop::{Outcome, Stop};

/// List the ways to resize and scale a picture
#[derive(Args)]
#[command(after_help = "\
Examples:
  featvec presets
  featvec embed --module module/ --preset keras-pil photos/

Take the preset that the vectors you compare with were made with: between two presets the
vectors of one photograph differ visibly.")]
pub struct Presets {
    /// How to print them
    #[arg(long, value_enum, default_value_t)]
    format: TextOrJson,
}

impl Presets {
    pub fn run(self) -> Result<Outcome, Stop> {
        let mut out = stdout().lock();
        for preset in Preset::ALL {
            let is_default = preset == Preset::default();
            match self.format {
                TextOrJson::Text => {
                    let mark = if is_default { " (default)" } else { "" };
                    writeln!(out, "{:12} {}{mark}", preset.name(), preset.description())
                }
                TextOrJson::Json => {
                    let line = json!({
                        "name": preset.name(),
                        "description": preset.description(),
                        "default": is_default,
                    });
                    writeln!(out, "{line}")
                }
            }
            .map_err(Stop::from_stdout)?;
        }
        Ok(Outcome::Done)
    }
}
