//! How much of somebody else's bytes may be believed.

use crate::{Error, ErrorKind, Result, grouped};

/// A limit as [`check_limit`] takes it: its name, which the error tells, and the most that it allows.
pub(crate) type Limit = (&'static str, u64);

macro_rules! limits {
    ($($(#[$doc:meta])* $name:ident: $number:ty = $default:expr;)*) => {
        /// Upper bounds that are checked before anything is allocated.
        ///
        /// The defaults leave Inception V1 (22 MB of variables, a graph of about 3 MB) dozens of times the room it
        /// needs; whoever has larger honest files raises the one limit that the error names.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct Limits {
            $($(#[$doc])* pub $name: $number,)*
        }

        impl Default for Limits {
            fn default() -> Limits {
                Limits { $($name: $default,)* }
            }
        }

        impl Limits {
            /// The names of all limits: those of the fields, which errors use too.
            pub const NAMES: &[&str] = &[$(stringify!($name)),*];

            /// Sets the limit `name`, one of [`NAMES`](Self::NAMES), to `value`, or to the largest number that it can
            /// hold; false if there is no such limit.
            ///
            /// ```
            /// let mut limits = featvec_formats::Limits::default();
            /// assert!(limits.set("tensor_bytes", 4 << 30));
            /// assert_eq!(limits.tensor_bytes, 4 << 30);
            /// assert!(!limits.set("patience", 1));
            /// ```
            pub fn set(&mut self, name: &str, value: u64) -> bool {
                match name {
                    $(stringify!($name) => self.$name = <$number>::try_from(value).unwrap_or(<$number>::MAX),)*
                    _ => return false,
                }
                true
            }

            $(pub(crate) fn $name(&self) -> Limit {
                (stringify!($name), self.$name as u64)
            })*
        }
    };
}

limits! {
    /// Bytes of one file that is read into memory: a checkpoint, a shard, a caffemodel, an archive.
    file_bytes: u64 = 1 << 30;
    /// Bytes of one `saved_model.pb`; its decoded form may take thirty times as much.
    graph_bytes: u64 = 32 << 20;
    /// Bytes that an archive may unpack to, member headers and padding included.
    archive_bytes: u64 = 1 << 30;
    /// Members of one archive, directories and long-name headers included.
    archive_entries: usize = 10_000;
    /// Tensors (and slices of partitioned tensors) in one checkpoint or caffemodel.
    tensors: usize = 100_000;
    /// Bytes of all tensors of one checkpoint or caffemodel together, decoded; also of one constant in a graph.
    tensor_bytes: u64 = 1 << 30;
    /// Bytes of the name of one tensor, or of one member of an archive.
    name_bytes: usize = 1024;
    /// How deep protobuf messages may be nested.
    message_depth: usize = 64;
    /// Nodes of all graphs in one SavedModel, layers in one caffemodel, or nodes, names and sizes in one ONNX model.
    graph_nodes: usize = 200_000;
}

/// Refuses `have` of `what` where `limit` is smaller.
pub(crate) fn check_limit(place: &str, what: &str, have: u64, (name, limit): Limit) -> Result<()> {
    if have <= limit {
        return Ok(());
    }
    let message = format!("{} {what}, and the limit is {}", grouped(have), grouped(limit));
    Err(Error::new(ErrorKind::Limit, place, message)
        .with_hint(format!("if the file is to be trusted, raise the limit {name}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_limit_can_be_set_by_the_name_that_errors_use() {
        let mut limits = Limits::default();
        for &name in Limits::NAMES {
            assert!(limits.set(name, 7), "{name}");
        }
        let Limits { file_bytes, graph_bytes, archive_bytes, archive_entries, .. } = limits;
        let Limits { tensors, tensor_bytes, name_bytes, message_depth, graph_nodes, .. } = limits;
        assert_eq!([file_bytes, graph_bytes, archive_bytes, tensor_bytes], [7; 4]);
        assert_eq!([archive_entries, tensors, name_bytes, message_depth, graph_nodes], [7; 5]);
        assert_eq!(Limits::NAMES.len(), 9);
        assert_eq!(limits.tensors(), ("tensors", 7));
    }
}
