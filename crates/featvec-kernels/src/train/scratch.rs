//! Memory for the time of a call.

use crate::arena::Aligned;

/// Memory that the operations of training take for the time of a call, and that grows to what the largest of them needs:
/// one for all of them.
pub struct Scratch(Aligned);

impl Scratch {
    /// No memory yet.
    pub fn new() -> Scratch {
        Scratch(Aligned::zeroed(0))
    }

    /// Bytes held at present.
    pub fn bytes(&self) -> usize {
        size_of_val::<[f32]>(&self.0)
    }

    /// `len` numbers of any value.
    pub(crate) fn take(&mut self, len: usize) -> &mut [f32] {
        if self.0.len() < len {
            self.0 = Aligned::zeroed(0); // freed before more is asked for
            self.0 = Aligned::zeroed(len);
        }
        &mut self.0[..len]
    }
}

impl Default for Scratch {
    fn default() -> Scratch {
        Scratch::new()
    }
}

impl core::fmt::Debug for Scratch {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Scratch of {} bytes", self.bytes())
    }
}
