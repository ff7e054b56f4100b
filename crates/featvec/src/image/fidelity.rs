//! Whether decoding may take short cuts that change pixels.

use std::fmt;
use std::str::FromStr;

use featvec_formats::{Error, ErrorKind, Result};

/// How large JPEG pictures are decoded for a small result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Fidelity {
    /// Every pixel that is read is the one that the library has for which the preset stands.
    #[default]
    Exact,
    /// A JPEG that is at least twice as large as its result is shrunk while it is decoded, to 1/2, 1/4 or 1/8: as
    /// far as it stays as large as the result. That takes a fraction of the time, and the pixels are means of
    /// several.
    Fast,
}

impl Fidelity {
    /// Both, the default first.
    pub const ALL: [Fidelity; 2] = [Fidelity::Exact, Fidelity::Fast];

    /// The name that the command line takes and [`FromStr`] reads.
    pub fn name(self) -> &'static str {
        match self {
            Fidelity::Exact => "exact",
            Fidelity::Fast => "fast",
        }
    }
}

impl fmt::Display for Fidelity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Fidelity {
    type Err = Error;

    fn from_str(name: &str) -> Result<Fidelity> {
        Fidelity::ALL.into_iter().find(|fidelity| fidelity.name() == name).ok_or_else(|| {
            Error::new(ErrorKind::Argument, "", format!("there is no decoding {name:?}"))
                .with_hint("decoding is exact or fast")
        })
    }
}
