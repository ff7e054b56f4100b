//! The module that comes with featvec, as the bytes of a compact file: TF-Slim's Inception V1 with 1001 ImageNet classes,
//! distilled from BVLC GoogLeNet. These are not Google's weights. `docs/model-card.md` says how it was made, from which
//! pictures, and how good it is; the `featvec` crate loads it as the module `builtin`.
//!
//! A crate of its own, so that who brings a module can leave these nine megabytes out: `featvec` without its feature
//! `builtin` does not depend on it.
#![forbid(unsafe_code)]

/// The compact file.
pub static INCEPTION_V1: &[u8] = include_bytes!("../inception_v1.fvm");
