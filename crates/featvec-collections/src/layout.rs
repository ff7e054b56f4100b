//! The columns of a table of rows, and rows as record batches.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float16Type, Float32Type, UInt32Type};
use arrow_array::{
    Array, ArrayRef, FixedSizeBinaryArray, FixedSizeListArray, Float16Array, Float32Array, RecordBatch,
    StringArray, UInt32Array, new_null_array,
};
use arrow_buffer::NullBuffer;
use arrow_schema::{ArrowError, DataType, Field, Fields, Schema, SchemaRef};
use arrow_select::concat::concat;
use arrow_select::take::take;
use featvec::{Error, ErrorKind, Result};
use half::f16;

use crate::{Dtype, Identity, Row, Status};

pub(crate) const KEY: &str = "key";
pub(crate) const CONTENT_HASH: &str = "content_hash";
pub(crate) const WIDTH: &str = "width";
pub(crate) const HEIGHT: &str = "height";
pub(crate) const STATUS: &str = "status";
pub(crate) const ERROR: &str = "error";
pub(crate) const VECTOR: &str = "vector";
/// The place of a row in the order of the inputs; parts have it, outputs do not.
pub(crate) const ORDINAL: &str = "ordinal";

/// Names that carried columns cannot have.
const TAKEN: [&str; 8] = [KEY, CONTENT_HASH, WIDTH, HEIGHT, STATUS, ERROR, VECTOR, ORDINAL];
/// What such a column is called instead: this and its name.
const PREFIX: &str = "input_";
/// Where a schema holds the identity of the vectors.
const IDENTITY: &str = "featvec.identity";

const HASH_BYTES: i32 = 32;
/// About how many bytes of vectors a record batch holds, and at most as many of its other columns, if it has several rows.
pub(crate) const BATCH_BYTES: usize = 1 << 20;
const MOST_BATCH_ROWS: usize = 1024;
/// Most numbers of a vector: twenty times what the largest endpoint has at 224x224.
pub(crate) const MOST_VALUES: usize = 1 << 24;

/// Most bytes of the carried columns of a row. The texts of a record batch must not have more than 2 GiB.
const MOST_CARRIED_BYTES: usize = 64 << 20;

/// The columns of a table of rows.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    /// All columns, without the ordinal.
    pub schema: SchemaRef,
    /// Numbers in a vector.
    pub values: usize,
    pub dtype: Dtype,
}

impl Layout {
    /// Columns for vectors as `identity` says, and the other columns `carried`.
    pub fn new(identity: &Identity, carried: &Schema) -> Result<Layout> {
        Layout::of((identity.values(), identity.dtype), carried, Some(identity))
    }

    /// Columns for vectors of `values` numbers, which may have an identity, and the other columns `carried`.
    pub fn of(
        (values, dtype): (usize, Dtype),
        carried: &Schema,
        identity: Option<&Identity>,
    ) -> Result<Layout> {
        let width = i32::try_from(values).ok().filter(|width| *width > 0).ok_or_else(|| {
            Error::new(ErrorKind::Argument, "", format!("vectors of {values} numbers do not fit in a table"))
        })?;
        if values > MOST_VALUES {
            let message = format!("vectors of {values} numbers, and the limit is {MOST_VALUES}");
            return Err(Error::new(ErrorKind::Limit, "", message));
        }
        let item = match dtype {
            Dtype::F32 => DataType::Float32,
            Dtype::F16 => DataType::Float16,
        };
        let vector = DataType::FixedSizeList(Arc::new(Field::new_list_field(item, false)), width);
        let mut fields = vec![
            Field::new(KEY, DataType::Utf8, false),
            Field::new(CONTENT_HASH, DataType::FixedSizeBinary(HASH_BYTES), true),
            Field::new(WIDTH, DataType::UInt32, true),
            Field::new(HEIGHT, DataType::UInt32, true),
            Field::new(STATUS, DataType::Utf8, false),
            Field::new(ERROR, DataType::Utf8, true),
            Field::new(VECTOR, vector, true),
        ];
        for field in carried.fields() {
            let name = free_name(field.name(), &fields);
            fields.push(Field::new(name, unpacked_type(field.data_type()).clone(), true));
        }
        let metadata: HashMap<_, _> =
            identity.map(|identity| (IDENTITY.to_string(), identity.to_json())).into_iter().collect();
        Ok(Layout { schema: Arc::new(Schema::new_with_metadata(fields, metadata)), values, dtype })
    }

    /// The layout of a table that was found; nothing if it is not one of ours.
    pub fn found(schema: &SchemaRef) -> Option<Layout> {
        let DataType::FixedSizeList(item, width) = schema.fields().get(VECTOR_COLUMN)?.data_type() else {
            return None;
        };
        let dtype = match item.data_type() {
            DataType::Float32 => Dtype::F32,
            DataType::Float16 => Dtype::F16,
            _ => return None,
        };
        let carried =
            Schema::new(schema.fields().iter().skip(VECTOR_COLUMN + 1).cloned().collect::<Vec<_>>());
        let ours = Layout::of((usize::try_from(*width).ok()?, dtype), &carried, None).ok()?;
        (ours.schema.fields() == schema.fields()).then(|| Layout { schema: schema.clone(), ..ours })
    }

    /// How many rows a record batch has, so that it is small whatever the vectors are.
    pub fn batch_rows(&self) -> usize {
        (BATCH_BYTES / self.vector_bytes()).clamp(1, MOST_BATCH_ROWS)
    }

    /// Bytes of a vector.
    pub fn vector_bytes(&self) -> usize {
        self.values * self.dtype.bytes()
    }

    /// `row`, if it fits. What no output can hold makes it one that failed: a number beyond those of 16-bit floats, which would
    /// be infinite among them, and carried columns without bounds.
    pub fn admit(&self, row: Row) -> Result<Row> {
        self.check(&row)?;
        let is_beyond = |value: &f32| value.is_finite() && f16::from_f32(*value).is_infinite();
        let vector = row.vector.as_ref().filter(|_| self.dtype == Dtype::F16);
        let failed =
            |row, error| Row { status: Status::Undecodable, error: Some(error), vector: None, ..row };
        if let Some(value) = vector.and_then(|vector| vector.iter().copied().find(is_beyond)) {
            let error = format!("{value}, a number of its vector, does not fit in f16: use --dtype f32");
            return Ok(failed(row, error));
        }
        let bytes = carried_bytes(&row);
        if bytes > MOST_CARRIED_BYTES {
            let error =
                format!("its other columns have {bytes} bytes, and the limit is {MOST_CARRIED_BYTES}");
            return Ok(failed(Row { columns: None, ..row }, error));
        }
        Ok(row)
    }

    /// Refuses a row that does not fit: a vector of another length, other columns than were promised.
    pub fn check(&self, row: &Row) -> Result<()> {
        if let Some(length) = row.vector.as_ref().map(Vec::len).filter(|length| *length != self.values) {
            let message = format!("a vector of {length} numbers, {} expected", self.values);
            return Err(Error::new(ErrorKind::Argument, &row.key, message));
        }
        if row.vector.is_some() != (row.status == Status::Ok) {
            let message = format!("a vector is there or not, and its status is {}", row.status.name());
            return Err(Error::new(ErrorKind::Argument, &row.key, message));
        }
        let carried = self.schema.fields().iter().skip(VECTOR_COLUMN + 1).enumerate();
        carried.map(|(i, field)| carried_value(row, i, field)).try_for_each(|value| value.map(drop))
    }

    /// `rows`, each of which fits, as a record batch.
    pub fn batch(&self, rows: &[&Row]) -> Result<RecordBatch> {
        let texts = |text: fn(&Row) -> Option<&str>| StringArray::from_iter(rows.iter().map(|row| text(row)));
        let numbers =
            |number: fn(&Row) -> Option<u32>| UInt32Array::from_iter(rows.iter().map(|row| number(row)));
        let hashes = rows.iter().map(|row| row.content_hash);
        let mut columns: Vec<ArrayRef> = vec![
            Arc::new(texts(|row| Some(&row.key))),
            Arc::new(
                FixedSizeBinaryArray::try_from_sparse_iter_with_size(hashes, HASH_BYTES).map_err(internal)?,
            ),
            Arc::new(numbers(|row| row.size.map(|[width, _]| width))),
            Arc::new(numbers(|row| row.size.map(|[_, height]| height))),
            Arc::new(texts(|row| Some(row.status.name()))),
            Arc::new(texts(|row| row.error.as_deref())),
            self.vectors(rows)?,
        ];
        let ours = columns.len();
        for (i, field) in self.schema.fields().iter().skip(ours).enumerate() {
            let values = rows.iter().map(|row| carried_value(row, i, field)).collect::<Result<Vec<_>>>()?;
            columns.push(concat(&values.iter().map(AsRef::as_ref).collect::<Vec<_>>()).map_err(internal)?);
        }
        RecordBatch::try_new(self.schema.clone(), columns).map_err(internal)
    }

    fn vectors(&self, rows: &[&Row]) -> Result<ArrayRef> {
        let mut values = Vec::with_capacity(rows.len() * self.values);
        for row in rows {
            match &row.vector {
                Some(vector) => values.extend(vector),
                None => values.resize(values.len() + self.values, 0.0),
            }
        }
        let present = NullBuffer::from_iter(rows.iter().map(|row| row.vector.is_some()));
        self.vector_array(values, Some(present))
    }

    /// A column of vectors whose numbers lie end to end in `values`.
    pub fn vector_array(&self, values: Vec<f32>, present: Option<NullBuffer>) -> Result<ArrayRef> {
        let DataType::FixedSizeList(item, width) = self.schema.field(VECTOR_COLUMN).data_type() else {
            unreachable!("the layout made the column so");
        };
        let values: ArrayRef = match self.dtype {
            Dtype::F32 => Arc::new(Float32Array::from(values)),
            Dtype::F16 => Arc::new(Float16Array::from_iter_values(values.into_iter().map(f16::from_f32))),
        };
        Ok(Arc::new(FixedSizeListArray::try_new(item.clone(), *width, values, present).map_err(internal)?))
    }
}

/// Where the vectors are among the columns.
pub(crate) const VECTOR_COLUMN: usize = 6;

/// The identity that a schema holds, if it holds one.
pub(crate) fn identity_of(schema: &Schema) -> Option<Identity> {
    serde_json::from_str(schema.metadata().get(IDENTITY)?).ok()
}

/// Names and types of `fields`, for people.
pub(crate) fn listed(fields: &Fields) -> String {
    fields
        .iter()
        .map(|field| format!("{} {}", field.name(), field.data_type()))
        .collect::<Vec<_>>()
        .join(", ")
}

/// `name`, or what a column is called whose name another has, in capital letters or small: DuckDB knows no difference.
fn free_name(name: &str, fields: &[Field]) -> String {
    let mut name = name.to_string();
    let taken = |name: &str| {
        let fields = fields.iter().map(|field| field.name().as_str());
        TAKEN.into_iter().chain(fields).any(|other| other.eq_ignore_ascii_case(name))
    };
    while taken(&name) {
        name.insert_str(0, PREFIX);
    }
    name
}

/// The type of the values, where the column holds them by number: files of several batches cannot have such columns
/// with other values in each.
fn unpacked_type(data_type: &DataType) -> &DataType {
    match data_type {
        DataType::Dictionary(_, values) => unpacked_type(values),
        other => other,
    }
}

/// The value of `row` in the carried column `i`.
fn carried_value(row: &Row, i: usize, field: &Field) -> Result<ArrayRef> {
    let Some(columns) = &row.columns else {
        return Ok(new_null_array(field.data_type(), 1));
    };
    let mut value = columns.columns().get(i).filter(|column| column.len() == 1).cloned();
    while let Some(dictionary) = value.as_ref().and_then(|value| value.as_any_dictionary_opt()) {
        value = Some(take(dictionary.values(), dictionary.keys(), None).map_err(internal)?);
    }
    value.filter(|value| value.data_type() == field.data_type()).ok_or_else(|| {
        let message = format!("no single value of the column {}, {}", field.name(), field.data_type());
        Error::new(ErrorKind::Argument, &row.key, message)
    })
}

/// Bytes of the carried columns of a row.
fn carried_bytes(row: &Row) -> usize {
    let columns = row.columns.iter().flat_map(RecordBatch::columns).filter(|column| !column.is_empty());
    columns.map(|column| value_bytes(column, 0)).sum()
}

/// Bytes of the vector and of the carried columns of a row.
pub(crate) fn held_bytes(row: &Row) -> usize {
    row.vector.as_ref().map_or(0, |vector| size_of_val(&vector[..])) + carried_bytes(row)
}

/// Bytes of a row of a table but for its vector.
pub(crate) fn row_bytes(batch: &RecordBatch, row: usize) -> usize {
    let others = batch.columns().iter().enumerate().filter(|(i, _)| *i != VECTOR_COLUMN);
    others.map(|(_, column)| value_bytes(column, row)).sum()
}

/// Bytes of the value of `row`, whatever else its column holds; of rare types not exactly.
fn value_bytes(column: &dyn Array, row: usize) -> usize {
    let all = |values: ArrayRef| match values.data_type().primitive_width() {
        Some(width) => values.len() * width,
        None => (0..values.len()).map(|row| value_bytes(&values, row)).sum(),
    };
    if column.is_null(row) {
        return 1;
    }
    match column.data_type() {
        DataType::Utf8 => column.as_string::<i32>().value(row).len(),
        DataType::LargeUtf8 => column.as_string::<i64>().value(row).len(),
        DataType::Utf8View => column.as_string_view().value(row).len(),
        DataType::Binary => column.as_binary::<i32>().value(row).len(),
        DataType::LargeBinary => column.as_binary::<i64>().value(row).len(),
        DataType::BinaryView => column.as_binary_view().value(row).len(),
        DataType::FixedSizeBinary(_) => column.as_fixed_size_binary().value(row).len(),
        DataType::List(_) => all(column.as_list::<i32>().value(row)),
        DataType::LargeList(_) => all(column.as_list::<i64>().value(row)),
        DataType::FixedSizeList(..) => all(column.as_fixed_size_list().value(row)),
        DataType::Map(..) => all(Arc::new(column.as_map().value(row))),
        DataType::Struct(_) => {
            column.as_struct().columns().iter().map(|column| value_bytes(column, row)).sum()
        }
        DataType::Dictionary(..) => {
            let value = column.slice(row, 1);
            let dictionary = value.as_any_dictionary();
            let number = dictionary.normalized_keys().first().copied();
            number.map_or(1, |number| value_bytes(dictionary.values(), number))
        }
        other => other.primitive_width().unwrap_or(1),
    }
}

/// Record batches that we make ourselves and Arrow refuses all the same.
pub(crate) fn internal(error: ArrowError) -> Error {
    Error::new(ErrorKind::Argument, "", error.to_string()).with_source(error)
}

/// The columns of a record batch of rows, typed.
pub(crate) struct Columns<'a> {
    pub keys: &'a StringArray,
    pub hashes: &'a FixedSizeBinaryArray,
    pub statuses: &'a StringArray,
    errors: &'a StringArray,
    sizes: [&'a UInt32Array; 2],
    vectors: &'a FixedSizeListArray,
}

impl<'a> Columns<'a> {
    /// The columns of `batch` by their names; nothing if one is not there or has another type.
    pub fn of(batch: &'a RecordBatch) -> Option<Columns<'a>> {
        let column = |name| batch.column_by_name(name).map(AsRef::as_ref);
        Some(Columns {
            keys: column(KEY)?.as_string_opt()?,
            hashes: column(CONTENT_HASH)?.as_fixed_size_binary_opt()?,
            statuses: column(STATUS)?.as_string_opt()?,
            errors: column(ERROR)?.as_string_opt()?,
            sizes: [column(WIDTH)?.as_primitive_opt()?, column(HEIGHT)?.as_primitive_opt()?],
            vectors: column(VECTOR)?.as_fixed_size_list_opt()?,
        })
    }

    pub fn status(&self, row: usize) -> Option<Status> {
        self.statuses.is_valid(row).then(|| Status::from_name(self.statuses.value(row)))?
    }

    pub fn content_hash(&self, row: usize) -> Option<[u8; 32]> {
        self.hashes.is_valid(row).then(|| self.hashes.value(row).try_into().ok())?
    }

    pub fn error(&self, row: usize) -> Option<&'a str> {
        self.errors.is_valid(row).then(|| self.errors.value(row))
    }

    /// Width and height in pixels.
    pub fn size(&self, row: usize) -> Option<[u32; 2]> {
        let size = self.sizes.map(|column: &arrow_array::PrimitiveArray<UInt32Type>| {
            column.is_valid(row).then(|| column.value(row))
        });
        Some([size[0]?, size[1]?])
    }

    /// The rows of `batch`, to which these columns belong.
    pub fn rows(&self, batch: &RecordBatch) -> impl Iterator<Item = Result<Row>> {
        let carried: Vec<usize> = (VECTOR_COLUMN + 1..batch.num_columns()).collect();
        (0..batch.num_rows()).map(move |i| {
            let key = self.keys.value(i).to_string();
            let status = self.status(i).ok_or_else(|| Error::corrupt(&key, "an unknown status"))?;
            let columns = batch.slice(i, 1).project(&carried).map_err(internal)?;
            Ok(Row {
                key,
                content_hash: self.content_hash(i),
                size: self.size(i),
                status,
                error: self.error(i).map(str::to_string),
                vector: self.vector(i),
                columns: (columns.num_columns() > 0).then_some(columns),
            })
        })
    }

    /// Appends the bytes of the numbers of a vector, little-endian, as the column has them.
    pub fn vector_bytes(&self, row: usize, bytes: &mut Vec<u8>) {
        let values = self.vectors.value(row);
        if let Some(values) = values.as_primitive_opt::<Float32Type>() {
            bytes.extend(values.values().iter().flat_map(|x| x.to_le_bytes()));
        } else if let Some(values) = values.as_primitive_opt::<Float16Type>() {
            bytes.extend(values.values().iter().flat_map(|x| x.to_le_bytes()));
        }
    }

    /// The numbers of a vector.
    pub fn vector(&self, row: usize) -> Option<Vec<f32>> {
        let values = self.vectors.is_valid(row).then(|| self.vectors.value(row))?;
        match values.as_primitive_opt::<Float32Type>() {
            Some(values) => Some(values.values().to_vec()),
            None => {
                Some(values.as_primitive_opt::<Float16Type>()?.values().iter().map(|x| x.to_f32()).collect())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use arrow_array::types::Int8Type;
    use arrow_array::{DictionaryArray, ListArray, StructArray};
    use arrow_buffer::OffsetBuffer;

    use super::*;
    use crate::identity::tests::identity;

    #[test]
    fn a_carried_column_never_takes_the_name_of_another() {
        let carried = Schema::new(
            ["label", "Status", "input_status", "LABEL"]
                .map(|name| Field::new(name, DataType::Int64, false))
                .to_vec(),
        );
        let layout = Layout::new(&identity(2), &carried).unwrap();
        let names: Vec<_> =
            layout.schema.fields().iter().skip(7).map(|field| field.name().as_str()).collect();
        assert_eq!(names, ["label", "input_Status", "input_input_status", "input_LABEL"]);
        assert_eq!(layout.schema.field(VECTOR_COLUMN).name(), VECTOR);
    }

    #[test]
    fn a_batch_is_small_whatever_the_vectors_are() {
        let rows = |values| Layout::new(&identity(values), &Schema::empty()).unwrap().batch_rows();
        assert_eq!([rows(1), rows(1024), rows(112 * 112 * 64)], [1024, 256, 1]);
        let none = Layout::new(&Identity { shape: vec![0], ..identity(1) }, &Schema::empty());
        assert!(none.unwrap_err().to_string().contains("do not fit"));
        let absurd = Layout::new(&identity((1 << 24) + 1), &Schema::empty());
        assert!(absurd.unwrap_err().to_string().contains("the limit is"));
    }

    #[test]
    fn a_table_that_promises_absurd_vectors_is_none_of_ours() {
        let layout = Layout::new(&identity(3), &Schema::empty()).unwrap();
        let found = |width| {
            let mut fields = layout.schema.fields().to_vec();
            let item = Arc::new(Field::new_list_field(DataType::Float32, false));
            fields[VECTOR_COLUMN] = Arc::new(Field::new(VECTOR, DataType::FixedSizeList(item, width), true));
            Layout::found(&Arc::new(Schema::new(fields))).is_some()
        };
        assert_eq!([found(3), found(i32::MAX), found(-1)], [true, false, false]);
    }

    #[test]
    fn the_bytes_of_a_value_are_counted_however_it_is_nested() {
        let words = || StringArray::from(vec!["a", "bcd", "ef", ""]);
        let lists = ListArray::new(
            Arc::new(Field::new_list_field(DataType::Utf8, true)),
            OffsetBuffer::from_lengths([1, 3]),
            Arc::new(words()),
            None,
        );
        let numbers = ListArray::from_iter_primitive::<Float32Type, _, _>([None, Some(vec![Some(1.0); 3])]);
        let labels: DictionaryArray<Int8Type> = ["cat", "horse", "cat", "horse"].into_iter().collect();
        let pairs = StructArray::from(vec![
            (
                Arc::new(Field::new("list", lists.data_type().clone(), true)),
                Arc::new(lists.clone()) as ArrayRef,
            ),
            (Arc::new(Field::new("n", DataType::UInt32, true)), Arc::new(UInt32Array::from(vec![1, 2]))),
        ]);
        let bytes = |column: &dyn Array| [value_bytes(column, 0), value_bytes(column, 1)];
        assert_eq!(bytes(&words()), [1, 3]);
        assert_eq!(bytes(&words().slice(1, 2)), [3, 2]);
        assert_eq!(bytes(&lists), [1, 5]);
        assert_eq!(bytes(&numbers), [1, 12]);
        assert_eq!(bytes(&labels.slice(1, 2)), [5, 3]);
        assert_eq!(bytes(&pairs), [5, 9]);
    }

    #[test]
    fn a_number_that_16_bits_do_not_reach_makes_a_row_that_failed() {
        let half = Layout::new(&Identity { dtype: Dtype::F16, ..identity(2) }, &Schema::empty()).unwrap();
        let row = |value: f32| Row {
            key: "a.jpg".into(),
            content_hash: None,
            size: None,
            status: Status::Ok,
            error: None,
            vector: Some(vec![0.0, value]),
            columns: None,
        };
        let failed = half.admit(row(-65520.0)).unwrap();
        assert_eq!((failed.status, failed.vector), (Status::Undecodable, None));
        assert!(failed.error.unwrap().starts_with("-65520, a number of its vector, does not fit in f16"));
        // The largest that is rounded down, and what the network itself made infinite, which verify tells.
        assert_eq!([65519.0, f32::INFINITY].map(|x| half.admit(row(x)).unwrap().status), [Status::Ok; 2]);
        let whole = Layout::new(&identity(2), &Schema::empty()).unwrap();
        assert_eq!(whole.admit(row(65520.0)).unwrap().status, Status::Ok);
    }

    #[test]
    fn a_row_whose_columns_have_no_bounds_is_one_that_failed() {
        let carried = Arc::new(Schema::new(vec![Field::new("text", DataType::Utf8, true)]));
        let layout = Layout::new(&identity(1), &carried).unwrap();
        let admitted = |bytes: usize| {
            let text: ArrayRef = Arc::new(StringArray::from(vec!["a".repeat(bytes)]));
            let row = Row {
                key: "a.jpg".into(),
                content_hash: None,
                size: None,
                status: Status::Ok,
                error: None,
                vector: Some(vec![1.0]),
                columns: Some(RecordBatch::try_new(carried.clone(), vec![text]).unwrap()),
            };
            layout.admit(row).unwrap()
        };
        assert_eq!(admitted(64 << 20).status, Status::Ok);
        let failed = admitted((64 << 20) + 1);
        assert!(failed.status == Status::Undecodable && failed.vector.is_none() && failed.columns.is_none());
        assert!(failed.error.unwrap().contains("the limit is 67108864"));
    }

    #[test]
    fn a_vector_of_another_length_is_refused() {
        let layout = Layout::new(&identity(3), &Schema::empty()).unwrap();
        let row = Row {
            key: "a.jpg".into(),
            content_hash: None,
            size: None,
            status: Status::Ok,
            error: None,
            vector: Some(vec![1.0; 2]),
            columns: None,
        };
        assert_eq!(layout.check(&row).unwrap_err().to_string(), "a.jpg: a vector of 2 numbers, 3 expected");
        let error = layout.check(&Row { vector: None, ..row }).unwrap_err();
        assert_eq!(error.to_string(), "a.jpg: a vector is there or not, and its status is ok");
    }
}
