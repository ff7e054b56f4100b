//! Training.

pub mod learning_rate;
pub mod loss;
