//! Tests of every reader: files made by TensorFlow and Caffe, and one test per way in which a file can be wrong.

mod archive;
mod bundle;
mod caffemodel;
mod compact;
mod example;
mod fixtures;
mod hub_module;
mod npy;
mod onnx;
mod properties;
mod protobuf;
mod record_file;
mod reference;
mod safetensors;
mod saved_model;
mod source;
mod support;
mod table;
mod v1_checkpoint;
mod whole;
