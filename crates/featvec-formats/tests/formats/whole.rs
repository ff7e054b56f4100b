//! Files and folders that appear whole or not at all.

use std::fs;
use std::path::Path;

use featvec_formats::{
    BundleWriter, Error, ErrorKind, HubModule, ImageModuleInfo, Limits, MetaGraph, NamedFiles, SavedModel,
    Source, archive, bundle_files, source, with_scratch_folder, write_file, write_folder, write_whole,
};

use crate::support::{assert_error, floats, small_limits};

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_file_replaces_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x");
    write_file(&path, b"one").unwrap();
    write_file(&path, b"two").unwrap();
    assert_eq!((fs::read(&path).unwrap(), names(folder.path())), (b"two".to_vec(), vec!["x".to_string()]));
}

#[test]
fn what_fails_leaves_what_was_there() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x");
    write_file(&path, b"one").unwrap();
    for is_folder in [false, true] {
        let result = write_whole(&path, |place| {
            if is_folder {
                write_folder(place, &vec![("a/b".to_string(), vec![1])])?;
            } else {
                write_file(place, b"half")?;
            }
            Err(Error::corrupt("", "no good"))
        });
        assert_error(result, ErrorKind::Corrupt, "no good");
    }
    assert_eq!((fs::read(&path).unwrap(), names(folder.path())), (b"one".to_vec(), vec!["x".to_string()]));
}

#[test]
fn a_folder_replaces_none_with_things_in_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x");
    let files: NamedFiles = vec![("a/b".to_string(), vec![1]), ("c".to_string(), vec![2])];
    fs::create_dir(&path).unwrap();
    write_folder(&path, &files).unwrap();
    assert_eq!(fs::read(path.join("a/b")).unwrap(), [1]);
    let error = write_folder(&path, &files).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io);
    assert_eq!(names(folder.path()), ["x"]);
    assert_error(write_folder(&folder.path().join("no/such"), &files), ErrorKind::Io, "no/such");
}

/// As shells complete the name of a folder.
#[test]
fn a_slash_may_follow_the_name() {
    let folder = tempfile::tempdir().unwrap();
    let files: NamedFiles = vec![("a".to_string(), vec![1])];
    fs::create_dir(folder.path().join("empty")).unwrap();
    for name in ["empty/", "new/"] {
        write_folder(&folder.path().join(name), &files).unwrap();
        assert_eq!(names(&folder.path().join(name)), ["a"]);
    }
    assert_eq!(names(folder.path()), ["empty", "new"]);
    assert_eq!(bundle_files(Path::new("run/x/")), bundle_files(Path::new("run/x")));
}

#[test]
fn a_scratch_folder_goes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x");
    with_scratch_folder(&path, |scratch| write_file(&scratch.join("y"), b"")).unwrap();
    let missing = with_scratch_folder(&folder.path().join("no/such"), |_| Ok(()));
    assert_error(missing, ErrorKind::Io, "no/such");
    assert!(names(folder.path()).is_empty());
}

#[test]
fn modules_come_back_from_folders_and_archives() {
    let mut graph = MetaGraph::default();
    graph.attach_image_module_info(ImageModuleInfo { height: 224, width: 192 });
    let model = SavedModel { graphs: vec![graph], ..SavedModel::default() };
    let mut variables = BundleWriter::new();
    variables.add("v", &floats(&[2], &[1.0, 2.0])).unwrap();
    let files = HubModule::files(&model, variables).unwrap();
    assert_eq!(*files.last().unwrap(), ("tfhub_module.pb".to_string(), vec![0x08, 0x03]));

    let folder = tempfile::tempdir().unwrap();
    let packed = archive::pack(&files).unwrap();
    assert!(packed == archive::pack(&files).unwrap());
    write_file(&folder.path().join("x.tar.gz"), &packed).unwrap();
    write_folder(&folder.path().join("x"), &files).unwrap();
    for name in ["x.tar.gz", "x"] {
        let Source::HubModule(module) = source::open(&folder.path().join(name), &small_limits()).unwrap()
        else {
            panic!("not a module")
        };
        let [graph] = module.graphs() else { panic!("one graph") };
        let info = graph.image_module_info(&Limits::default()).unwrap();
        assert_eq!(info, Some(ImageModuleInfo { height: 224, width: 192 }));
        assert_eq!(module.checkpoint().unwrap().read("v").unwrap(), floats(&[2], &[1.0, 2.0]));
    }
    let long = vec![("x".repeat(101), Vec::new())];
    assert_error(archive::pack(&long), ErrorKind::Argument, "a name of 101 bytes");
}
