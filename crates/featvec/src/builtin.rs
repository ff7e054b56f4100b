//! The module that comes with featvec.

use sha2::{Digest, Sha256};

use crate::handle::hex;

/// Its handle. A file of this name is reached as `./builtin`.
pub const BUILTIN: &str = "builtin";

/// The bytes of its file, a compact module; none where featvec was built without its feature `builtin`.
pub fn bytes() -> Option<&'static [u8]> {
    #[cfg(feature = "builtin")]
    return Some(featvec_builtin::INCEPTION_V1);
    #[cfg(not(feature = "builtin"))]
    return None;
}

/// SHA-256 of [`bytes`], as 64 hexadecimal digits.
pub fn sha256() -> Option<String> {
    bytes().map(|bytes| hex(&Sha256::digest(bytes)))
}
