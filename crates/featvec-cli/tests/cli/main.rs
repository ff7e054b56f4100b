//! The program as its users meet it: the real binary, its output, its exit codes and its files.

mod bench;
mod cache;
mod classify;
mod compare;
mod distill;
mod embed;
mod export;
mod help;
mod inspect;
mod support;
mod usage;
