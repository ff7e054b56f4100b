//! Caffe's trained networks: layers with their blobs of numbers.

use crate::limits::check_limit;
use crate::protobuf::{Field, Message};
use crate::tensor::{check_size, element_count};
use crate::{Error, Limits, Result, Tensor, TensorData, grouped};

/// A decoded caffemodel.
#[derive(Clone, Debug)]
pub struct Caffemodel {
    /// The network's name, such as `GoogleNet`.
    pub name: String,
    /// The layers, in the file's order.
    pub layers: Vec<Layer>,
}

/// A layer of a caffemodel.
#[derive(Clone, Debug)]
pub struct Layer {
    /// Its name, such as `inception_3a/1x1`.
    pub name: String,
    /// What it computes, such as `Convolution`.
    pub kind: String,
    /// Its trained numbers: for a convolution the filters `[oc, ic, kh, kw]` and the bias `[oc]` (in old files padded
    /// with leading sizes of 1 to four dimensions).
    pub blobs: Vec<Tensor>,
}

impl Caffemodel {
    /// Decodes a caffemodel.
    ///
    /// # Errors
    /// Damage; a blob whose numbers are not as many as its shape says; no layers; anything beyond `limits`.
    pub fn parse(bytes: &[u8], limits: &Limits) -> Result<Caffemodel> {
        check_limit("", "bytes", bytes.len() as u64, limits.file_bytes())?;
        let mut model = Caffemodel { name: String::new(), layers: Vec::new() };
        let mut budget = Budget { limits, blobs: 0, bytes: 0 };
        let mut message = Message::new("NetParameter", bytes, limits);
        while let Some(field) = message.next_field()? {
            let layer = match field.number {
                1 => {
                    model.name = field.string()?.to_owned();
                    continue;
                }
                2 => Layer::parse(&field, &V1_FIELDS, &mut budget)?,
                100 => Layer::parse(&field, &FIELDS, &mut budget)?,
                _ => continue,
            };
            model.layers.push(layer);
            let layers = model.layers.len() as u64;
            check_limit("", "layers", layers, limits.graph_nodes())?;
        }
        if model.layers.is_empty() {
            return Err(Error::corrupt("", "a network without layers"));
        }
        Ok(model)
    }

    /// The layer `name`.
    pub fn layer(&self, name: &str) -> Option<&Layer> {
        self.layers.iter().find(|layer| layer.name == name)
    }
}

/// The field numbers of one of the two layer messages.
struct LayerFields {
    message: &'static str,
    name: u32,
    kind: u32,
    blobs: u32,
}

const FIELDS: LayerFields = LayerFields { message: "LayerParameter", name: 1, kind: 2, blobs: 7 };
/// Before 2014, when the kind was a number.
const V1_FIELDS: LayerFields = LayerFields { message: "V1LayerParameter", name: 4, kind: 5, blobs: 6 };

/// What has been decoded of the whole file.
struct Budget<'l> {
    limits: &'l Limits,
    blobs: usize,
    bytes: u64,
}

impl Layer {
    fn parse(field: &Field<'_>, fields: &LayerFields, budget: &mut Budget<'_>) -> Result<Layer> {
        let mut layer = Layer { name: String::new(), kind: String::new(), blobs: Vec::new() };
        let mut message = field.message(fields.message)?;
        while let Some(field) = message.next_field()? {
            if field.number == fields.name {
                layer.name = field.string()?.to_owned();
            } else if field.number == fields.kind {
                layer.kind = match fields.message == V1_FIELDS.message {
                    true => v1_kind(field.int32()?),
                    false => field.string()?.to_owned(),
                };
            } else if field.number == fields.blobs {
                let place = format!("layer {:?}, blob {}", layer.name, layer.blobs.len());
                let blob = parse_blob(&field, budget).map_err(|error| error.within(&place))?;
                layer.blobs.push(blob);
            }
        }
        Ok(layer)
    }
}

fn v1_kind(code: i32) -> String {
    match code {
        3 => "Concat",
        4 => "Convolution",
        5 => "Data",
        6 => "Dropout",
        8 => "Flatten",
        14 => "InnerProduct",
        15 => "LRN",
        17 => "Pooling",
        18 => "ReLU",
        20 => "Softmax",
        21 => "SoftmaxWithLoss",
        22 => "Split",
        code => return format!("V1 layer type {code}"),
    }
    .to_owned()
}

fn parse_blob(field: &Field<'_>, budget: &mut Budget<'_>) -> Result<Tensor> {
    budget.blobs += 1;
    check_limit("", "blobs", budget.blobs as u64, budget.limits.tensors())?;
    let mut legacy: [Option<i64>; 4] = [None; 4];
    let mut shape: Option<Vec<i64>> = None;
    let (mut floats, mut doubles): (Vec<f32>, Vec<f64>) = (Vec::new(), Vec::new());
    let mut message = field.message("BlobProto")?;
    while let Some(field) = message.next_field()? {
        match field.number {
            1..=4 => legacy[field.number as usize - 1] = Some(field.int32()?.into()),
            5 => {
                let words = field.words32()?;
                budget.charge(words.len() * 4)?;
                floats.extend(words.iter().map(|&word| f32::from_le_bytes(word)));
            }
            7 => shape = Some(parse_blob_shape(&field, budget.limits)?),
            8 => {
                let words = field.words64()?;
                budget.charge(words.len() * 8)?;
                doubles.extend(words.iter().map(|&word| f64::from_le_bytes(word)));
            }
            _ => {}
        }
    }
    // A blob of before BlobShape has its four sizes, of which those not written are 0.
    let sizes = shape.unwrap_or_else(|| match legacy {
        [None, None, None, None] => Vec::new(),
        sizes => sizes.iter().map(|size| size.unwrap_or(0)).collect(),
    });
    let shape = sizes
        .iter()
        .map(|&size| usize::try_from(size).ok())
        .collect::<Option<Vec<_>>>()
        .filter(|shape| element_count(shape).is_some())
        .ok_or_else(|| Error::corrupt("", format!("impossible sizes {sizes:?}")))?;
    let data = match (floats.is_empty(), doubles.is_empty()) {
        (_, true) => TensorData::F32(floats),
        (true, false) => TensorData::F64(doubles),
        (false, false) => return Err(Error::corrupt("", "both floats and doubles")),
    };
    let needed = check_size(data.dtype(), &shape, budget.limits)?;
    if needed != data.len() {
        let (needed, found) = (grouped(needed as u64), grouped(data.len() as u64));
        return Err(Error::corrupt("", format!("{needed} numbers promised by {shape:?}, {found} found")));
    }
    Tensor::new(shape, data)
}

fn parse_blob_shape(field: &Field<'_>, limits: &Limits) -> Result<Vec<i64>> {
    let mut sizes = Vec::new();
    let mut message = field.message("BlobShape")?;
    while let Some(field) = message.next_field()? {
        if field.number == 1 {
            for size in field.varints()? {
                sizes.push(size?.cast_signed());
                if sizes.len() > limits.message_depth {
                    return Err(field.error("more dimensions than a blob can have".into()));
                }
            }
        }
    }
    Ok(sizes)
}

impl Budget<'_> {
    fn charge(&mut self, bytes: usize) -> Result<()> {
        self.bytes = self.bytes.saturating_add(bytes as u64);
        check_limit("", "bytes of blobs", self.bytes, self.limits.tensor_bytes())
    }
}
