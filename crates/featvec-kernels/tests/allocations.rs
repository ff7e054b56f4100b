//! A program that has run once allocates nothing when it runs again.

use std::alloc::{GlobalAlloc, Layout, System};
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};

use featvec_kernels::{Affine, Branch, Filter, Image, Kernels, Map, Padding, Program, Step, Team, Workspace};

struct Counting;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

// SAFETY: forwards to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's contract is ours.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's contract is ours.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn running_allocates_nothing() {
    let kernels = Kernels::best();
    let (h, w, oc) = (20, 20, 32);
    let image = Image::new(0, h, w, Padding { top: 1, left: 1, bottom: 1, right: 1 });
    let output = Map::new(image.len().next_multiple_of(16), kernels.lanes(), [oc, h, w], 0);
    let (weights, bias) = (vec![0.5; 27 * oc], vec![0.0; oc]);
    let filter = Filter { weights: &weights, bias: &bias, shape: [3, 3, 3, oc] };
    let mut program = Program::new(kernels);
    program.push(vec![Step::Convert { image, affine: Affine { scale: [1.0; 3], offset: [0.0; 3] } }]);
    program.push(vec![Step::ConvImage { image, stride: 1, branch: Branch { filter, output, relu: true } }]);
    program.push(vec![Step::Store { map: output, output: 0 }]);

    let team = Team::new(NonZeroUsize::new(2).unwrap()).unwrap();
    let mut workspace = Workspace::new();
    let pictures = vec![1.0; 5 * h * w * 3];
    let mut stored = vec![0.0; 5 * h * w * oc];
    let mut run = || program.run(&team, &mut workspace, &pictures, &mut [&mut stored]);
    run();
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    run();
    run();
    assert_eq!(ALLOCATIONS.load(Ordering::Relaxed), before);
}
