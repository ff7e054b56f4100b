//! Zeroed, aligned memory, and the workspace that a program runs in.

use core::ops::{Deref, DerefMut};
use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use crate::claims::Claims;
use crate::program::Places;
use crate::times::Times;

/// A slice of `f32` that starts at a cache line, or at a huge page where it is large enough to use one.
///
/// Large ones take memory from the system only as they are written: the allocator gets zeroed pages from the system,
/// and is asked for no alignment, because it would write zeros itself to memory that it has to align.
pub(crate) struct Aligned {
    allocated: *mut u8,
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
        let (layout, align) = Aligned::layout(len);
        // SAFETY: the layout's size is not zero: it has room to align.
        let allocated = unsafe { alloc_zeroed(layout) };
        if allocated.is_null() {
            handle_alloc_error(layout);
        }
        // SAFETY: less than `align` bytes on, which the layout has room for beside the elements.
        let start = unsafe { allocated.add(allocated.addr().wrapping_neg() % align) }.cast::<f32>();
        if align == HUGE_PAGE_BYTES {
            ask_for_huge_pages(start, len * size_of::<f32>());
        }
        Aligned { allocated, start, len }
    }

    /// The elements as words without a type.
    pub(crate) fn words_mut(&mut self) -> &mut [u32] {
        // SAFETY: as in `deref_mut`; every word is an `f32`, and every `f32` a word, of the same size and alignment.
        unsafe { core::slice::from_raw_parts_mut(self.start.cast(), self.len) }
    }

    /// The memory for `len` elements, and to what they are aligned inside it.
    fn layout(len: usize) -> (Layout, usize) {
        let bytes = len.checked_mul(size_of::<f32>()).expect("an arena beyond the address space");
        let align = if bytes >= HUGE_PAGE_BYTES { HUGE_PAGE_BYTES } else { CACHE_LINE_BYTES };
        let size = bytes.checked_add(align).expect("an arena beyond the address space");
        let layout = Layout::from_size_align(size, align_of::<f32>());
        (layout.expect("an arena beyond the address space"), align)
    }
}

/// Many systems give huge pages to those who ask only; without them the kernels lose some 4 % to address translation.
#[cfg(target_os = "linux")]
fn ask_for_huge_pages(start: *mut f32, bytes: usize) {
    use core::ffi::{c_int, c_void};
    unsafe extern "C" {
        fn madvise(start: *mut c_void, len: usize, advice: c_int) -> c_int;
    }
    const MADV_HUGEPAGE: c_int = 14;
    // SAFETY: advice about whole pages of our own memory. Where the system does not take it, nothing is lost, so the
    // answer does not matter.
    unsafe { madvise(start.cast(), bytes / HUGE_PAGE_BYTES * HUGE_PAGE_BYTES, MADV_HUGEPAGE) };
}

#[cfg(not(target_os = "linux"))]
fn ask_for_huge_pages(_start: *mut f32, _bytes: usize) {}

impl Drop for Aligned {
    fn drop(&mut self) {
        // SAFETY: allocated in `zeroed` with the same layout.
        unsafe { dealloc(self.allocated, Aligned::layout(self.len).0) }
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
/// work. The first run at a given thread count allocates it (where a batch is run together, at a given batch size), and
/// further ones allocate nothing.
#[derive(Default)]
pub struct Workspace {
    pub(crate) arenas: Option<Aligned>,
    /// The next group of images that a member takes for itself.
    pub(crate) next_group: AtomicUsize,
    /// For each step, what members have claimed of it.
    pub(crate) claims: Vec<Claims>,
    /// How long each step took, where that is wanted.
    pub(crate) times: Times,
    /// The program whose zero halos the arenas hold, and where.
    pub(crate) owner: Option<(u64, Places)>,
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
