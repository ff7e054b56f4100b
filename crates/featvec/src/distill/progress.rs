//! How far the making of a student has come.

use std::path::Path;

use crate::Error;

/// Who is told of progress.
pub type Watch<'a> = &'a mut dyn FnMut(Progress);

/// Who is told of a photograph that cannot be read, and why.
pub type Fail<'a> = &'a mut dyn FnMut(&Path, &Error);

/// What has just been done.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Progress {
    /// So many photographs have been read.
    Pictures {
        /// How many.
        done: usize,
    },
    /// A convolution has been fitted.
    Fitted {
        /// Which, in the order of [`Network::convs`](crate::network::Network::convs).
        conv: usize,
        /// The squared error left behind its ReLU, as a part of the squares of what the teacher computes there.
        error: f64,
    },
    /// A step of refining is done.
    Step {
        /// Steps until now.
        step: u64,
        /// The loss before this step.
        loss: f64,
    },
}
