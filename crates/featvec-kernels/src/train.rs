//! What training needs beside inference: the operations of a network over a batch of [`Maps`](crate::Maps), forward and
//! backward, and the updates of weights.
//!
//! All are safe functions that check shapes and lengths once, by panicking, since what does not fit is a bug of the
//! caller. A team shares out the work, and the results have the same bits for any number of its members: sums over a
//! batch are added up in one order, whoever computed their parts.

pub(crate) mod batch_norm;
pub(crate) mod lrn;
mod mean;
mod optimizer;
pub(crate) mod planes;
pub(crate) mod pool;

pub use batch_norm::{Moments, Normal, Statistics, moments, normalize, normalize_backward};
pub use lrn::{lrn, lrn_backward};
pub use mean::{global_mean, global_mean_backward};
pub use optimizer::{Optimizer, Update, average};
pub use pool::{max_pool, max_pool_backward};
