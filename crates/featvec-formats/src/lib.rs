//! Bounded readers for TF-Hub modules, TensorFlow checkpoints, safetensors, compact modules and caffemodels; writers of
//! all but the last, and of ONNX models.
//!
//! Somebody else's bytes go in, named tensors come out. Every length is compared with what is left and with a
//! [`Limits`] budget before anything is allocated; every checksum is verified; every error says which file, and where
//! in it. What the tensors mean, this crate does not know.
//!
//! ```no_run
//! use featvec_formats::{Limits, Source, source};
//!
//! let path = std::path::Path::new("inception_v1.ckpt");
//! match source::open(path, &Limits::default())? {
//!     Source::Checkpoint(checkpoint) => {
//!         for entry in checkpoint.entries() {
//!             println!("{} {:?}", entry.name, entry.shape);
//!         }
//!     }
//!     Source::HubModule(module) => println!("{} graphs", module.graphs().len()),
//!     Source::Caffemodel(model) => println!("{} layers", model.layers.len()),
//! }
//! # Ok::<(), featvec_formats::Error>(())
//! ```
#![forbid(unsafe_code)]

pub mod archive;
mod bundle;
mod caffemodel;
mod catalog;
mod checkpoint;
mod checksum;
mod compact;
mod data_type;
mod error;
pub mod events;
pub mod example;
mod files;
mod grouped;
mod hub_module;
mod limits;
pub mod npy;
pub mod onnx;
pub mod ordered_code;
pub mod protobuf;
mod record_file;
mod safetensors;
mod saved_model;
mod skip;
pub mod source;
pub mod table;
pub mod tar;
mod tensor;
mod tensor_proto;
mod tensor_slice;
pub mod tfrecord;
mod v1_checkpoint;
mod varint;
mod whole;

pub use bundle::{BundleWriter, bundle_files, write_checkpoint_state};
pub use caffemodel::{Caffemodel, Layer};
pub use checkpoint::{Checkpoint, CheckpointFormat, Entry};
pub use checksum::masked_crc32c;
pub use compact::{About, compact, compact_steps};
pub use data_type::DataType;
pub use error::{Error, ErrorKind, Result};
pub use example::Example;
pub use grouped::grouped;
pub use hub_module::{HubModule, ImageModuleInfo};
pub use limits::Limits;
pub use record_file::RecordFile;
pub use safetensors::safetensors;
pub use saved_model::{
    Attr, AttrList, Collection, Graph, Input, MetaGraph, Node, SaveSlice, SavedModel, Saver, Signature,
    TensorInfo, TensorName, VariableDef,
};
pub use skip::{FileStream, Skip};
pub use source::Source;
pub use tensor::{PartialShape, Tensor, TensorData};
pub use tensor_proto::TensorProto;
pub use tensor_slice::{Extent, TensorSlice};
pub use v1_checkpoint::v1_checkpoint;
pub use whole::{NamedFiles, temporary_beside, with_scratch_folder, write_file, write_folder, write_whole};
