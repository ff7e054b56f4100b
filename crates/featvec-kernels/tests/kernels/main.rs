//! Every kernel on every instruction set of this machine against naive loops.

mod bytes;
mod optimizers;
mod steps;
mod support;
mod times;
mod train_convolutions;
mod train_layers;
