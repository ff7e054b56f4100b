//! How much of somebody else's bytes may be believed.

use crate::{Error, ErrorKind, Result};

/// Upper bounds that are checked before anything is allocated.
///
/// The defaults leave Inception V1 (22 MB of variables, a graph of about 3 MB) dozens of times the room it needs;
/// whoever has larger honest files raises the one limit that the error names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one file that is read into memory: a checkpoint, a shard, a caffemodel, an archive.
    pub file_bytes: u64,
    /// Bytes of one `saved_model.pb`; its decoded form may take thirty times as much.
    pub graph_bytes: u64,
    /// Bytes that an archive may unpack to, member headers and padding included.
    pub archive_bytes: u64,
    /// Members of one archive, directories and long-name headers included.
    pub archive_entries: usize,
    /// Tensors (and slices of partitioned tensors) in one checkpoint or caffemodel.
    pub tensors: usize,
    /// Bytes of all tensors of one checkpoint or caffemodel together, decoded; also of one constant in a graph.
    pub tensor_bytes: u64,
    /// Bytes of the name of one tensor, or of one member of an archive.
    pub name_bytes: usize,
    /// How deep protobuf messages may be nested.
    pub message_depth: usize,
    /// Nodes of all graphs in one SavedModel, or layers in one caffemodel.
    pub graph_nodes: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            file_bytes: 1 << 30,
            graph_bytes: 32 << 20,
            archive_bytes: 1 << 30,
            archive_entries: 10_000,
            tensors: 100_000,
            tensor_bytes: 1 << 30,
            name_bytes: 1024,
            message_depth: 64,
            graph_nodes: 200_000,
        }
    }
}

impl Limits {
    /// The limit on a whole file, with its name.
    pub(crate) fn file(&self) -> (&'static str, u64) {
        ("file_bytes", self.file_bytes)
    }

    /// The limit on what an archive unpacks to, with its name.
    pub(crate) fn archive(&self) -> (&'static str, u64) {
        ("archive_bytes", self.archive_bytes)
    }

    /// The limit on a graph, with its name.
    pub(crate) fn graph(&self) -> (&'static str, u64) {
        ("graph_bytes", self.graph_bytes)
    }
}

/// Refuses `have` of `what` where `limit`, the field `name` of [`Limits`], is smaller.
pub(crate) fn check_limit(place: &str, what: &str, have: u64, (name, limit): (&str, u64)) -> Result<()> {
    if have <= limit {
        return Ok(());
    }
    let message = format!("{} {what}, and the limit is {}", grouped(have), grouped(limit));
    Err(Error::new(ErrorKind::Limit, place, message)
        .with_hint(format!("if the file is to be trusted, raise the limit {name}")))
}

/// A number with its digits in groups of three, as people read byte counts: `36 864`.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_come_in_threes() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(512), "512");
        assert_eq!(grouped(36_864), "36 864");
        assert_eq!(grouped(u64::MAX), "18 446 744 073 709 551 615");
    }
}
