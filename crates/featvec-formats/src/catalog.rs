//! The tensors of a checkpoint by name, whichever format it is in.

use std::collections::BTreeMap;

use crate::checkpoint::Entry;
use crate::{Result, Tensor};

/// A tensor, and what tells the format's reader where its values are.
#[derive(Clone, Debug)]
pub(crate) struct Stored<C> {
    pub(crate) entry: Entry,
    pub(crate) content: C,
}

/// All tensors of a checkpoint.
#[derive(Clone, Debug)]
pub(crate) struct Catalog<C>(pub(crate) BTreeMap<String, Stored<C>>);

impl<C> Catalog<C> {
    /// What is said of every tensor, sorted by name.
    pub(crate) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.0.values().map(|stored| &stored.entry)
    }

    /// What is said of the tensor `name`.
    pub(crate) fn entry(&self, name: &str) -> Option<&Entry> {
        self.0.get(name).map(|stored| &stored.entry)
    }

    /// The tensor `name` as `read` reads it, whose errors get the tensor's name; `None` if there is none.
    pub(crate) fn read(
        &self,
        name: &str,
        read: impl FnOnce(&Stored<C>) -> Result<Tensor>,
    ) -> Option<Result<Tensor>> {
        let tensor = read(self.0.get(name)?);
        Some(tensor.map_err(|error| error.within(&tensor_place(name))))
    }
}

/// How errors name the tensor `name`.
pub(crate) fn tensor_place(name: &str) -> String {
    format!("tensor {name:?}")
}
