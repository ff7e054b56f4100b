//! Batches of pictures, where the system is short of what they need.

use std::num::NonZeroUsize;
use std::path::Path;
use std::process::Command;

use featvec::Preset;
use featvec::pictures::Preparation;

/// Tells the test that it is the child process.
const CHILD: &str = "FEATVEC_TEST_CHILD";

/// A stack that fits into no memory: with it the system refuses every thread.
const HUGE_STACK: &str = "70368744177664";

#[test]
fn a_system_without_threads_prepares_pictures_all_the_same() {
    if std::env::var_os(CHILD).is_some() {
        assert!(std::thread::Builder::new().spawn(|| {}).is_err(), "there must be no threads");
        let picture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/images/rgb8.png");
        let paths = vec![picture; 5];
        let preparation = Preparation::new(Preset::default(), [8, 8]);
        let batch = preparation.prepare_batch(&paths, NonZeroUsize::new(4).unwrap()).unwrap();
        assert_eq!(batch.images.shape(), [5, 8, 8, 3]);
        return;
    }
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_system_without_threads_prepares_pictures_all_the_same"])
        .args(["--test-threads", "1"])
        .env(CHILD, "1")
        .env("RUST_MIN_STACK", HUGE_STACK)
        .status()
        .unwrap();
    assert!(status.success());
}
