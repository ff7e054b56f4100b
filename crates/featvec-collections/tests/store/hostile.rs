//! Files that are not what their names say.

use std::fs::{self, File};

use arrow_ipc::CompressionType;
use arrow_ipc::reader::FileReader;
use arrow_ipc::writer::{FileWriter, IpcWriteOptions};
use featvec_collections::{Manifest, merge, stats, verify};
use tempfile::tempdir;

use crate::support::{make, row, targets};

#[test]
fn damage_anywhere_is_an_error_or_changes_figures_and_never_panics() {
    let folder = tempdir().unwrap();
    // Without a manifest, whose hashes would tell before anything is read.
    let bare = folder.path().join("bare");
    fs::create_dir(&bare).unwrap();
    for target in targets(folder.path()) {
        make(&target, (0..30).map(row));
        let copy = bare.join(target.file_name().unwrap());
        let whole = fs::read(&target).unwrap();
        let mut errors = 0;
        for step in 0..150 {
            let at = step * whole.len() / 150;
            for bits in [0xff, 0x01, 0x80] {
                let mut damaged = whole.clone();
                damaged[at] ^= bits;
                fs::write(&copy, &damaged).unwrap();
                errors += u32::from(stats(&copy).is_err());
            }
            fs::write(&copy, &whole[..at]).unwrap();
            errors += u32::from(stats(&copy).is_err());
        }
        assert!(errors > 100, "{}: {errors}", target.display());
        let mut damaged = whole.clone();
        damaged[whole.len() / 2] ^= 1;
        fs::write(&target, &damaged).unwrap();
        assert_eq!(verify(&target).unwrap().count, 1);
        assert!(stats(&target).unwrap_err().to_string().contains("other bytes than were written"));
        fs::write(&target, &whole).unwrap();
        assert_eq!(verify(&target).unwrap().count, 0);
    }
}

#[test]
fn absurd_sizes_are_refused_before_memory_is_taken() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("x.npy");
    let sizes = ["1, 99999999999", "9, 4294967296, 4294967296, 4294967296", "1, 16777217", "5,", "3"];
    for (sizes, wanted) in sizes.into_iter().zip(["limit", "limit", "limit", "no rows", "not understood"]) {
        let header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({sizes}), }}\n");
        let header = if wanted == "not understood" { header.replace(')', "") } else { header };
        let bytes =
            [&b"\x93NUMPY\x01\x00"[..], &(header.len() as u16).to_le_bytes(), header.as_bytes()].concat();
        fs::write(&path, bytes).unwrap();
        let error = stats(&path).unwrap_err().to_string();
        assert!(error.contains("x.npy") && error.contains(wanted), "{error}");
    }
    let path = folder.path().join("x.safetensors");
    for (header, wanted) in [
        (r#"{"vectors":{"dtype":"F32","shape":[1,99999999999],"data_offsets":[0,4]}}"#, "limit"),
        (r#"{"vectors":{"dtype":"F32","shape":[1,4],"data_offsets":[0,16]}}"#, "fewer vectors"),
        (
            r#"{"vectors":{"dtype":"I64","shape":[1,4],"data_offsets":[0,32]}}"#,
            "featvec reads 32- and 16-bit floats",
        ),
        (r#"{"weights":{"dtype":"F32","shape":[1,4],"data_offsets":[0,16]}}"#, "other tensors"),
        ("nonsense", "header"),
    ] {
        fs::write(&path, [&(header.len() as u64).to_le_bytes(), header.as_bytes()].concat()).unwrap();
        let error = stats(&path).unwrap_err().to_string();
        assert!(error.contains("x.safetensors") && error.contains(wanted), "{error}");
    }
    fs::write(&path, u64::MAX.to_le_bytes()).unwrap();
    assert!(stats(&path).unwrap_err().to_string().contains("bytes long"));
}

#[test]
fn compressed_batches_are_refused_before_they_are_unpacked() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("x.arrow");
    make(&path, (0..4).map(row));
    let whole = FileReader::try_new(File::open(&path).unwrap(), None).unwrap();
    let (schema, batches) = (whole.schema(), whole.map(Result::unwrap).collect::<Vec<_>>());
    fs::remove_file(Manifest::path_of(&path)).unwrap();
    for (compression, wanted) in [(None, None), (Some(CompressionType::ZSTD), Some("a compressed batch"))] {
        let options = IpcWriteOptions::default().try_with_compression(compression).unwrap();
        let file = File::create(&path).unwrap();
        let mut writer = FileWriter::try_new_with_options(file, &schema, options).unwrap();
        batches.iter().for_each(|batch| writer.write(batch).unwrap());
        writer.finish().unwrap();
        let said = stats(&path).err().map(|error| error.to_string());
        assert_eq!(said.is_some(), wanted.is_some());
        assert!(
            said.iter().all(|said| said.contains("x.arrow") && said.contains(wanted.unwrap())),
            "{said:?}"
        );
    }
}

#[cfg(unix)]
#[test]
fn a_manifest_that_never_ends_is_refused() {
    let folder = tempdir().unwrap();
    let output = folder.path().join("x.npy");
    make(&output, (0..3).map(row));
    fs::remove_file(Manifest::path_of(&output)).unwrap();
    std::os::unix::fs::symlink("/dev/zero", Manifest::path_of(&output)).unwrap();
    let error = verify(&output).unwrap_err().to_string();
    assert!(error.contains("x.npy.manifest.json: not a plain file"), "{error}");
}

#[test]
fn what_is_missing_or_foreign_is_told() {
    let folder = tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let told = |name: &str, wanted: &str| {
        let error = stats(&at(name)).unwrap_err().to_string();
        assert!(error.contains(name) && error.contains(wanted), "{error}");
    };
    told("x.npy", "No such file");
    told("x.tiff", "let it end in .parquet");
    for (name, text, wanted) in [
        ("x.parquet", "PAR1 not really", "damaged"),
        ("x.arrow", "ARROW1 not really", "damaged"),
        ("x.csv", "path,f0\na.jpg,one\n", "line 2: no key and vector"),
        ("x.csv", "path,f0\na.jpg,1\nb.jpg,1,2\n", "b.jpg: a vector of 2 numbers, 1 expected"),
        ("x.csv", "path,f0\na.jpg,1", "line 2: it breaks off"),
        ("x.jsonl", "{\"path\":\"a\"}\n", "line 1: no key and vector"),
        ("x.txt", "a.jpg 1 2 3\n", "line 1: no key and vector"),
    ] {
        fs::write(at(name), text).unwrap();
        told(name, wanted);
    }
    let output = at("y.npy");
    make(&output, (0..4).map(row));
    fs::write(at("y.paths.txt"), "one\n").unwrap();
    assert!(stats(&output).unwrap_err().to_string().contains("y.paths.txt: 4 bytes"));
    let manifest = fs::read(Manifest::path_of(&output)).unwrap();
    fs::remove_file(Manifest::path_of(&output)).unwrap();
    told("y.npy", "fewer names than rows");
    fs::write(Manifest::path_of(&output), manifest).unwrap();
    fs::write(Manifest::path_of(&output), "{}").unwrap();
    let error = verify(&output).unwrap_err().to_string();
    assert!(error.contains("y.npy.manifest.json: no manifest"), "{error}");
    fs::remove_file(Manifest::path_of(&output)).unwrap();
    let error = verify(&output).unwrap_err().to_string();
    assert!(error.contains("no manifest is there") && error.contains("copy it"), "{error}");
    let error = merge(&[output], &at("z.npy"), featvec_collections::Format::Npy, folder.path())
        .unwrap_err()
        .to_string();
    assert!(error.contains("no manifest is there"), "{error}");
}
