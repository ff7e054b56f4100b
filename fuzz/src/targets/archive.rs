use std::fs::{self, File};
use std::path::Path;

use featvec_formats::{archive, source};

use super::{LIMIT_BYTES, Reached, Target, limits};
use crate::corpus;
use crate::mutate::{bytes, tar};
use crate::rng::Rng;

/// Archives of a module, unpacked to a folder and opened in memory.
pub struct Archive {
    members: Vec<tar::Member>,
}

impl Archive {
    pub fn new() -> Archive {
        let fixture = |end: &str| corpus::fixture(&format!("featvec-formats/tests/fixtures/v2.ckpt{end}"));
        let members = vec![
            tar::Member::new("./", b'5', Vec::new()),
            tar::Member::new("pax_global_header", b'g', tar::record("comment", "nothing")),
            tar::Member::file("./tfhub_module.pb", vec![0x08, 0x03]),
            tar::Member::file("saved_model.pb", vec![0x12, 0x04, 0x0a, 0x00, 0x12, 0x00]),
            tar::Member::new("././@LongLink", b'L', b"variables/variables.index\0".to_vec()),
            tar::Member::file("variables/var", fixture(".index")),
            tar::Member::new("pax", b'x', tar::record("path", "variables/variables.data-00000-of-00001")),
            tar::Member::file("data", fixture(".data-00000-of-00001")[..4096].to_vec()),
            tar::Member::file("tokens.txt", b"text\n".to_vec()).with_prefix("assets"),
        ];
        Archive { members }
    }
}

impl Target for Archive {
    fn name(&self) -> &'static str {
        "archive"
    }

    fn most_bytes(&self, _: &[u8]) -> u64 {
        // The members in memory, the last of them still growing; buffers and the decompressor.
        4 * LIMIT_BYTES + (1 << 20)
    }

    fn mutate(&self, rng: &mut Rng) -> Vec<u8> {
        let mut members = self.members.clone();
        tar::mutate(&mut members, rng);
        let mut file = tar::write(&members);
        if rng.one_in(10) {
            bytes::mutate(&mut file, rng);
        }
        if rng.one_in(2) {
            file = tar::gzip(&file, rng);
            if rng.one_in(10) {
                bytes::mutate(&mut file, rng);
            }
        }
        file
    }

    /// The first check is the first header's: errors of after it name a member by its name, or are not of the first.
    fn read(&self, input: &Path, bytes: &[u8], scratch: &Path) -> Reached {
        let folder = scratch.join("folder");
        fs::create_dir(&folder).expect("the scratch folder is empty");
        let extracted = archive::extract(bytes, &folder, &limits());
        let reached = Reached::new(&extracted, |error| !matches!(error.place(), "" | "member 1"));
        for file in extracted.iter().flatten() {
            let length =
                File::open(folder.join(&file.name)).and_then(|file| file.metadata()).map(|data| data.len());
            assert_eq!(length.ok(), Some(file.bytes), "{file:?} is not as it was said to be");
        }
        let outside = fs::read_dir(scratch).expect("the scratch folder is there").count();
        assert_eq!(outside, 1, "something was written outside the folder");
        // In memory the same members are kept or refused, but what is in them must be a module too.
        let opened = source::open(input, &limits());
        assert!(opened.is_err() || extracted.is_ok(), "opened, but not extracted: {:?}", extracted.err());
        reached
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::targets::tests::read;

    #[test]
    fn the_corpus_is_sound() {
        let target = Archive::new();
        assert_eq!(read(&target, &tar::write_sound(target.members.clone())), Reached::End);
    }
}
