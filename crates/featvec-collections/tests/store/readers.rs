//! Other people's libraries read what we write. They are Python's: `tools/readers/readers.py` installs them and sets
//! FEATVEC_PYTHON.

use std::path::Path;
use std::process::Command;

use featvec_collections::{Dtype, Format, Identity, Row, Status};
use serde_json::json;
use tempfile::tempdir;

use crate::support::{identity, make_with, row, targets};

/// The exit code of the script where a library is not there.
const MISSING: i32 = 77;

#[test]
fn readers_of_other_people_find_every_value() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tools/readers/readers.py");
    let python = std::env::var_os("FEATVEC_PYTHON").unwrap_or_else(|| "python3".into());
    for dtype in [Dtype::F32, Dtype::F16] {
        let folder = tempdir().unwrap();
        // Some text that is a number, and enough rows for two record batches.
        let rows = || (0..1500).map(|i| Row { key: format!("{i:04}, \"ü\".jpg"), ..row(i) });
        for target in targets(folder.path()).iter().filter(|target| Format::of(target) != Some(Format::Text))
        {
            make_with(target, &Identity { dtype, ..identity() }, rows());
            for entry in std::fs::read_dir(target.parent().unwrap()).unwrap() {
                let entry = entry.unwrap();
                std::fs::rename(entry.path(), folder.path().join(entry.file_name())).unwrap();
            }
        }
        let wanted =
            json!({"dtype": dtype.name(), "rows": rows().map(|row| wanted(row, dtype)).collect::<Vec<_>>()});
        std::fs::write(folder.path().join("wanted.json"), wanted.to_string()).unwrap();
        let run = match Command::new(&python).arg(&script).arg("--check").arg(folder.path()).output() {
            Ok(run) if run.status.code() != Some(MISSING) => run,
            _ => return eprintln!("SKIPPED: Python's libraries are missing; run tools/readers/readers.py"),
        };
        let said = [run.stdout, run.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
        assert!(run.status.success(), "{said}");
        println!("{said}");
    }
}

fn wanted(row: Row, dtype: Dtype) -> serde_json::Value {
    let rounded = |x: f32| if dtype == Dtype::F16 { half::f16::from_f32(x).to_f32() } else { x };
    let (i, _) = row.key.split_once(',').unwrap();
    let i: i64 = i.parse().unwrap();
    let carried = row.columns.is_some();
    json!({
        "key": row.key,
        "content_hash": row.content_hash.map(|hash| hash.iter().map(|byte| format!("{byte:02x}")).collect::<String>()),
        "width": row.size.map(|[width, _]| width),
        "height": row.size.map(|[_, height]| height),
        "status": row.status.name(),
        "error": row.error,
        "vector": row.vector.filter(|_| row.status == Status::Ok).map(|vector| vector.into_iter().map(rounded).collect::<Vec<_>>()),
        "id": carried.then_some(i),
        "input_Status": carried.then(|| ["cat", "dog", "owl"][i as usize % 3]),
    })
}
