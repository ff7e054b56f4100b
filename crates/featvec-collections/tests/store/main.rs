//! Parts, outputs, and what is done with them.

mod disk;
mod hostile;
mod merged;
mod outputs;
mod parts;
mod readers;
mod sanity;
mod support;
