//! The program as its users meet it: the real binary, its output, its exit codes and its files.

mod bench;
mod builtin;
mod cache;
mod classify;
mod collection;
mod compare;
mod distill;
mod embed;
mod eval;
mod export;
mod help;
mod inspect;
mod outputs;
mod retrain;
mod support;
mod train;
mod usage;
