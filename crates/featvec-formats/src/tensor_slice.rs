//! Which part of a partitioned tensor a stored piece is.

use crate::protobuf::{Message, Writer};
use crate::tensor::element_count;
use crate::{Error, Limits, Result};

/// The half-open range that a slice covers in one dimension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// The first index.
    pub start: u64,
    /// How many indices; `None` is the whole dimension.
    pub length: Option<u64>,
}

/// A rectangular part of a tensor, one [`Extent`] a dimension.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TensorSlice(Vec<Extent>);

impl TensorSlice {
    /// The whole of a tensor with `rank` dimensions.
    pub fn full(rank: usize) -> TensorSlice {
        TensorSlice(vec![Extent { start: 0, length: None }; rank])
    }

    /// Adds a dimension.
    pub fn push(&mut self, start: u64, length: Option<u64>) {
        self.0.push(Extent { start, length });
    }

    /// The dimensions.
    pub fn extents(&self) -> &[Extent] {
        &self.0
    }

    /// Whether the slice is written as a whole tensor.
    pub fn is_full(&self) -> bool {
        self.0.iter().all(|extent| extent.length.is_none())
    }

    /// Reads a `TensorSliceProto`.
    pub(crate) fn parse(mut message: Message<'_>, limits: &Limits) -> Result<TensorSlice> {
        let mut slice = TensorSlice::default();
        while let Some(field) = message.next_field()? {
            if field.number != 1 {
                continue;
            }
            let (mut start, mut length) = (0, None);
            let mut extent = field.message("TensorSliceProto.Extent")?;
            while let Some(field) = extent.next_field()? {
                match field.number {
                    1 => start = field.int64()?,
                    2 => length = Some(field.int64()?),
                    _ => {}
                }
            }
            let negative = |_| field.error("a negative start or length".into());
            let start = u64::try_from(start).map_err(negative)?;
            let length = length.map(u64::try_from).transpose().map_err(negative)?;
            if length.is_none() && start != 0 {
                return Err(field.error(format!("a start of {start} without a length")));
            }
            if slice.0.len() >= limits.message_depth {
                return Err(field.error("more dimensions than a tensor can have".into()));
            }
            slice.push(start, length);
        }
        Ok(slice)
    }

    /// Writes a `TensorSliceProto`'s fields.
    pub(crate) fn write(&self, writer: &mut Writer) {
        for extent in &self.0 {
            writer.message(1, |writer| {
                if extent.start != 0 {
                    writer.uint64(1, extent.start);
                }
                if let Some(length) = extent.length {
                    writer.uint64(2, length);
                }
            });
        }
    }

    /// The slice as explicit ranges within a tensor of `shape`.
    pub(crate) fn within(&self, shape: &[usize]) -> Result<Region> {
        let misfit = |message: String| Error::corrupt("", message);
        if self.0.len() != shape.len() {
            return Err(misfit(format!(
                "a slice of {} dimensions in a tensor of {}",
                self.0.len(),
                shape.len()
            )));
        }
        let mut region = Region { starts: Vec::new(), lengths: Vec::new() };
        for (extent, &size) in self.0.iter().zip(shape) {
            let length = extent.length.unwrap_or(size as u64);
            match extent.start.checked_add(length) {
                Some(end) if end <= size as u64 => {}
                _ => {
                    let start = extent.start;
                    return Err(misfit(format!("a slice of {length} from {start} in a dimension of {size}")));
                }
            }
            // Both are at most `size`, a usize.
            region.starts.push(extent.start as usize);
            region.lengths.push(length as usize);
        }
        Ok(region)
    }
}

/// A slice whose every start and length is known and fits its tensor.
#[derive(Clone, Debug)]
pub(crate) struct Region {
    pub(crate) starts: Vec<usize>,
    pub(crate) lengths: Vec<usize>,
}

impl Region {
    /// The number of elements; the tensor's own count bounds it.
    fn elements(&self) -> usize {
        element_count(&self.lengths).unwrap_or(usize::MAX)
    }

    fn overlaps(&self, other: &Region) -> bool {
        let disjoint = |a: usize, al: usize, b: usize, bl: usize| a + al <= b || b + bl <= a;
        !(0..self.starts.len())
            .any(|d| disjoint(self.starts[d], self.lengths[d], other.starts[d], other.lengths[d]))
    }
}

/// Refuses a tensor of more slices than anybody makes: comparing each with each takes quadratic time.
pub(crate) fn check_slice_count(count: usize) -> Result<()> {
    const MOST: usize = 1024;
    if count > MOST {
        return Err(Error::unsupported("", format!("a tensor in more than {MOST} slices")));
    }
    Ok(())
}

/// Checks that `regions` cover a tensor of `elements` elements exactly once.
pub(crate) fn check_partition(regions: &[Region], elements: usize) -> Result<()> {
    check_slice_count(regions.len())?;
    for (i, a) in regions.iter().enumerate() {
        if regions[..i].iter().any(|b| a.overlaps(b)) {
            return Err(Error::corrupt("", "two of its slices overlap"));
        }
    }
    let covered = regions.iter().map(Region::elements).fold(0, usize::saturating_add);
    if covered != elements {
        return Err(Error::corrupt("", format!("its slices hold {covered} of {elements} elements")));
    }
    Ok(())
}
