//! The Rust of the README, run. The lines below are the README's own; the second test holds that.

mod common;

use common::shared;

fn run(handle: &str, paths: &[std::path::PathBuf]) -> Result<(), featvec::Error> {
    let threads = std::num::NonZeroUsize::MIN;
    use featvec::Module;

    let module = Module::load(handle)?;
    let [height, width] = module.expected_image_size()?;

    use featvec::{Preset, pictures::Preparation};

    let batch = Preparation::new(Preset::default(), [height, width]).prepare_batch(paths, threads)?;
    let vectors = module.run(&batch.images)?;
    assert_eq!(vectors.shape(), [paths.len(), 1024]);

    let images = batch.images;
    let vectors = module.run(&images)?;
    assert_eq!(vectors.shape(), [paths.len(), 1024]);

    use featvec::LoadOptions;

    let outputs = module.run_signature("image_feature_vector", &images)?;
    let mixed = &outputs["InceptionV1/Mixed_5c"];
    assert_eq!(mixed.shape(), [paths.len(), 7, 7, 1024]);
    let some = module.run_outputs("image_feature_vector", &images, &["default", "InceptionV1/Mixed_4f"])?;
    assert!(some[0] == vectors && some[1].shape() == [paths.len(), 14, 14, 832]);

    let options = LoadOptions { tags: ["train".to_string()].into(), ..LoadOptions::default() };
    let training = Module::load_with(handle, &options, &mut |_| {})?;
    assert!(training.run(&images)? != vectors);
    Ok(())
}

#[test]
fn the_examples_run() {
    let Some(module) = shared("reference/feature_vector.tar.gz") else { return };
    let photos = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/photos");
    let paths = ["chelsea.jpg", "rocket.jpg"].map(|name| std::path::Path::new(photos).join(name));
    run(module.to_str().unwrap(), &paths).unwrap();
}

#[test]
fn the_lines_are_those_of_the_readme() {
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../README.md")).unwrap();
    let mut lines = 0;
    for block in readme.split("```rust\n").skip(1) {
        for line in block.split("```").next().unwrap().lines() {
            // Handles and slices of paths are the reader's own.
            let code = line.split("//").next().unwrap().trim().replace("\"feature_vector.tar.gz\"", "handle");
            let code = code.replace("&paths", "paths");
            assert!(include_str!("readme.rs").contains(&code), "the README has {line:?}");
            lines += usize::from(!code.is_empty());
        }
    }
    assert!(lines > 8, "the README has lost its examples");
}
