//! What did the user give us? Recognises by content what holds a network's variables, and opens it.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::bundle::STATE;
use crate::compact::is_compact;
use crate::error::TRUNCATED;
use crate::files::{Files, open_file, read_file};
use crate::limits::check_limit;
use crate::safetensors::is_safetensors;
use crate::{Caffemodel, Checkpoint, Error, ErrorKind, HubModule, Limits, Result, archive, table};

mod describe;
pub use describe::describe;
use describe::is_caffemodel;

const WHAT_TO_GIVE: &str = "give a TF1 Hub module (folder, .tar or .tar.gz), a checkpoint (.ckpt file, or .index with its \
                            .data files), a .safetensors or .fvm file, or a .caffemodel";

/// Something that holds a network's variables.
#[derive(Clone, Debug)]
pub enum Source {
    /// A TF1 Hub module.
    HubModule(HubModule),
    /// A checkpoint without a graph, of any of [`CheckpointFormat`](crate::CheckpointFormat).
    Checkpoint(Checkpoint),
    /// A network trained by Caffe.
    Caffemodel(Caffemodel),
}

/// Opens what `path` names: the folder or the archive of a Hub module; a checkpoint as a V1 file, as the `.index` or a
/// shard of a V2 one or the prefix of their names, as a folder with one, or as an archive with one; a safetensors file; a
/// compact module; a caffemodel.
///
/// # Errors
/// Nothing there; something else, and then the message says what it looks like; damage; anything beyond `limits`.
pub fn open(path: &Path, limits: &Limits) -> Result<Source> {
    open_path(path, limits).map_err(Error::of_a_file)
}

fn open_path(path: &Path, limits: &Limits) -> Result<Source> {
    let place = path.display().to_string();
    if path.is_dir() {
        return open_files(Files::Folder(path.to_owned()), limits);
    }
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let siblings = || {
        let parent = path.parent().unwrap_or(Path::new(""));
        Files::Folder(if parent.as_os_str().is_empty() { PathBuf::from(".") } else { parent.to_owned() })
    };
    if !path.exists() {
        return match siblings().contains(&format!("{name}.index")) {
            true => Checkpoint::open_v2(siblings(), name, limits).map(Source::Checkpoint),
            false => Err(Error::new(ErrorKind::Io, place, "does not exist").with_hint(WHAT_TO_GIVE)),
        };
    }
    // A shard is bare numbers, so only its name can tell.
    if let Some(prefix) = shard_prefix(name) {
        return Checkpoint::open_v2(siblings(), prefix, limits).map(Source::Checkpoint);
    }
    let mut head = Vec::new();
    let file = open_file(path)?;
    let length = file.metadata().map_err(|error| Error::io(&*place, error))?.len();
    check_limit(&place, "bytes", length, limits.file_bytes())?;
    file.take(512).read_to_end(&mut head).map_err(|error| Error::io(&*place, error))?;
    if archive::is_archive(&head) {
        let members = archive::unpack(open_file(path)?, limits).map_err(|error| error.within(&place))?;
        return open_files(Files::Memory { archive: path.to_owned(), members }, limits);
    }
    let bytes = read_file(path, limits.file_bytes())?;
    if is_index(&bytes, limits) {
        let prefix = name.strip_suffix(".index").ok_or_else(|| nameless_index(&place))?;
        return Checkpoint::open_v2(siblings(), prefix, limits).map(Source::Checkpoint);
    }
    open_bytes(place, bytes, limits)
}

fn nameless_index(place: &str) -> Error {
    Error::new(ErrorKind::Argument, place, "the index of a V2 checkpoint, but not called .index")
        .with_hint("rename it, so that its .data files can be found beside it")
}

/// The checkpoint's prefix if `name` is that of one of its shards.
fn shard_prefix(name: &str) -> Option<&str> {
    let (prefix, numbers) = name.rsplit_once(".data-")?;
    let (shard, count) = numbers.split_once("-of-")?;
    let is_number = |text: &str| text.len() == 5 && text.bytes().all(|byte| byte.is_ascii_digit());
    (is_number(shard) && is_number(count)).then_some(prefix)
}

/// Opens a folder or an archive.
fn open_files(files: Files, limits: &Limits) -> Result<Source> {
    if HubModule::is_in(&files) {
        return HubModule::from_files(files, limits).map(Source::HubModule);
    }
    let names = files.list("")?;
    if names.iter().any(|name| name == "saved_model.pb") {
        return HubModule::from_files(files, limits).map(Source::HubModule);
    }
    let files = match files {
        Files::Memory { archive, members } if names.is_empty() => match without_top_folder(members) {
            Ok(members) => return open_files(Files::Memory { archive, members }, limits),
            Err(members) => Files::Memory { archive, members },
        },
        files => files,
    };
    let name = match latest_checkpoint(&files, &names)? {
        Some(name) => name,
        None => {
            let candidates =
                names.iter().filter(|name| is_candidate(&files, name)).cloned().collect::<Vec<_>>();
            only_candidate(&files, candidates)?
        }
    };
    if let Some(prefix) = name.strip_suffix(".index") {
        return Checkpoint::open_v2(files, prefix, limits).map(Source::Checkpoint);
    }
    let bytes = files.read(&name, limits.file_bytes())?.into_owned();
    match is_index(&bytes, limits) {
        true => Err(nameless_index(&files.place(&name))),
        false => open_bytes(files.place(&name), bytes, limits),
    }
}

/// `members` without the one folder that is around them all; or unchanged, if there is no such folder.
fn without_top_folder(
    members: BTreeMap<String, Vec<u8>>,
) -> std::result::Result<BTreeMap<String, Vec<u8>>, BTreeMap<String, Vec<u8>>> {
    let top = members.keys().next().and_then(|name| name.split_once('/')).map(|(top, _)| format!("{top}/"));
    match top {
        Some(top) if members.keys().all(|name| name.starts_with(&top)) => {
            Ok(members.into_iter().map(|(name, bytes)| (name[top.len()..].to_owned(), bytes)).collect())
        }
        _ => Err(members),
    }
}

/// The file that the text file `checkpoint` names as the latest, if there is that text file.
fn latest_checkpoint(files: &Files, names: &[String]) -> Result<Option<String>> {
    /// It holds two names or a few.
    const MOST_BYTES: u64 = 1 << 20;
    if !names.iter().any(|name| name == STATE) || files.length(STATE)? > MOST_BYTES {
        return Ok(None);
    }
    let bytes = files.read(STATE, (STATE, MOST_BYTES))?;
    let Ok(text) = std::str::from_utf8(&bytes) else { return Ok(None) };
    let Some(path) = text.lines().find_map(|line| line.trim().strip_prefix("model_checkpoint_path:")) else {
        return Ok(None);
    };
    // Where it was when it was written matters less than that it is here now.
    let name = path.trim().trim_matches(['"', '\'']).replace("\\\"", "\"");
    let name = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let found = [format!("{name}.index"), name.to_owned()].into_iter().find(|name| files.contains(name));
    found.map(Some).ok_or_else(|| {
        Error::new(ErrorKind::Mismatch, files.place(STATE), format!("it names {name:?}, which is not here"))
            .with_hint("give the checkpoint that you mean")
    })
}

/// Whether the file `name` begins and ends like something that holds variables.
fn is_candidate(files: &Files, name: &str) -> bool {
    if shard_prefix(name).is_some() {
        return false;
    }
    let Ok(length) = files.length(name) else { return false };
    let head = files.read_range(name, 0, length.min(512) as usize);
    let tail = files.read_range(name, length.saturating_sub(48), length.min(48) as usize);
    tail.is_ok_and(|tail| table::is_table(&tail))
        || head.is_ok_and(|head| is_safetensors(&head) || is_compact(&head) || is_caffemodel(&head))
}

fn only_candidate(files: &Files, candidates: Vec<String>) -> Result<String> {
    let place = files.root().display().to_string();
    let mut candidates = candidates.into_iter();
    match (candidates.next(), candidates.next()) {
        (Some(only), None) => Ok(only),
        (Some(first), Some(second)) => {
            let message = format!("several checkpoints, among them {first:?} and {second:?}");
            Err(Error::new(ErrorKind::Argument, place, message).with_hint("give the one that you mean"))
        }
        _ => {
            Err(Error::unsupported(place, "neither a module nor a checkpoint in it").with_hint(WHAT_TO_GIVE))
        }
    }
}

/// Opens a file that stands for itself.
fn open_bytes(place: String, bytes: Vec<u8>, limits: &Limits) -> Result<Source> {
    if table::is_table(&bytes) {
        return Checkpoint::from_v1(place, bytes, limits).map(Source::Checkpoint);
    }
    if is_safetensors(&bytes) {
        return Checkpoint::from_safetensors(place, bytes, limits).map(Source::Checkpoint);
    }
    if is_compact(&bytes) {
        return Checkpoint::from_compact(place, bytes, limits).map(Source::Checkpoint);
    }
    if is_caffemodel(&bytes) {
        let model = Caffemodel::parse(&bytes, limits).map_err(|error| error.within(&place))?;
        return Ok(Source::Caffemodel(model));
    }
    if begins_as_a_table(&bytes) {
        let message = "it begins as a checkpoint does, but does not end as one";
        return Err(Error::corrupt(place, message).with_hint(TRUNCATED));
    }
    let what = describe(&bytes).unwrap_or("no format that featvec knows");
    Err(Error::unsupported(place, format!("this is {what}")).with_hint(WHAT_TO_GIVE))
}

/// Whether the first record of `bytes` is that of a checkpoint: an empty key, and as the value a message that begins
/// with a nested one (V1) or with the count of shards (the index of a V2 checkpoint, whose value is short).
fn begins_as_a_table(bytes: &[u8]) -> bool {
    match bytes {
        [0, 0, value @ ..] => matches!(
            value,
            [_, 0x0a, ..] | [_, _, 0x0a, ..] | [_, _, _, 0x0a, ..] | [2..=0x7f, 0x08, 1..=0xff, ..]
        ),
        _ => false,
    }
}

/// Whether `bytes` are the index of a V2 checkpoint rather than a V1 checkpoint: both are tables, but the first record
/// of the one begins with a number, of the other with a nested message.
fn is_index(bytes: &[u8], limits: &Limits) -> bool {
    let mut is_index = false;
    let stop = || Error::new(ErrorKind::Argument, "", "one record is enough");
    let seen = table::visit_records(bytes, limits, |_, key, _, value| {
        is_index = key.is_empty() && value.first() == Some(&0x08);
        Err(stop())
    });
    is_index && seen.is_err()
}
