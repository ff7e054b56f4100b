//! Zeroed, aligned memory, and the workspace that a program runs in.

use core::ops::{Deref, DerefMut};
use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use crate::claims::Claims;
use crate::times::Times;

/// A slice of `f32` that starts at a cache line, or at a huge page where it is large enough to use one.
pub(crate) struct Aligned {
    start: *mut f32,
    len: usize,
}

const CACHE_LINE_BYTES: usize = 64;
const HUGE_PAGE_BYTES: usize = 2 << 20;

// SAFETY: `Aligned` owns its memory, as a boxed slice does.
unsafe impl Send for Aligned {}
// SAFETY: as above; shared access only reads.
unsafe impl Sync for Aligned {}

impl Aligned {
    pub(crate) fn zeroed(len: usize) -> Aligned {
        if len == 0 {
            return Aligned { start: core::ptr::without_provenance_mut(CACHE_LINE_BYTES), len };
        }
        let layout = Aligned::layout(len);
        // SAFETY: the layout's size is not zero.
        let start = unsafe { alloc_zeroed(layout) }.cast::<f32>();
        if start.is_null() {
            handle_alloc_error(layout);
        }
        Aligned { start, len }
    }

    fn layout(len: usize) -> Layout {
        let bytes = len.checked_mul(size_of::<f32>()).expect("an arena beyond the address space");
        let align = if bytes >= HUGE_PAGE_BYTES { HUGE_PAGE_BYTES } else { CACHE_LINE_BYTES };
        Layout::from_size_align(bytes, align).expect("an arena beyond the address space")
    }
}

impl Drop for Aligned {
    fn drop(&mut self) {
        if self.len > 0 {
            // SAFETY: allocated in `zeroed` with the same layout.
            unsafe { dealloc(self.start.cast(), Aligned::layout(self.len)) }
        }
    }
}

impl Deref for Aligned {
    type Target = [f32];
    fn deref(&self) -> &[f32] {
        // SAFETY: `start` points to `len` initialised elements (zero of them: a dangling, aligned pointer).
        unsafe { core::slice::from_raw_parts(self.start, self.len) }
    }
}

impl DerefMut for Aligned {
    fn deref_mut(&mut self) -> &mut [f32] {
        // SAFETY: as in `deref`, and `self` is borrowed mutably.
        unsafe { core::slice::from_raw_parts_mut(self.start, self.len) }
    }
}

/// The memory of a running [`Program`](crate::Program): its arenas, and the counters by which threads share out
/// work. It grows with the first run at a given thread count and batch, and allocates nothing afterwards.
#[derive(Default)]
pub struct Workspace {
    pub(crate) arenas: Option<Aligned>,
    /// The next image that a member takes for itself.
    pub(crate) next_image: AtomicUsize,
    /// For each step, what members have claimed of it.
    pub(crate) claims: Vec<Claims>,
    /// How long each step took, where that is wanted.
    pub(crate) times: Times,
    /// The program whose zero halos the arenas hold.
    pub(crate) owner: Option<u64>,
}

impl Workspace {
    /// An empty workspace.
    pub fn new() -> Workspace {
        Workspace::default()
    }

    /// Whether the next runs tell how long each step takes; no cost where they do not.
    pub fn time_steps(&mut self, wanted: bool) {
        self.times.wanted = wanted;
    }

    /// How long each step of the last run took, in the order of [`Program::steps`](crate::Program::steps): the time
    /// of the team's first member for all images that it took part in. Nothing where no times were wanted.
    pub fn step_times(&self) -> impl Iterator<Item = Duration> {
        self.times.steps()
    }

    /// Bytes held at present.
    pub fn bytes(&self) -> usize {
        self.arenas.as_ref().map_or(0, |arenas| size_of_val::<[f32]>(arenas))
    }
}
