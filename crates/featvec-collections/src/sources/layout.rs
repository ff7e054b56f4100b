//! Which column of a table has the pictures, and rows as items.

use std::ffi::OsStr;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, RecordBatch, RecordBatchOptions};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use arrow_select::concat::concat_batches;
use arrow_select::take::take;
use featvec::{Error, ErrorKind, Result};

use super::columns::{self, free_name};
use super::place::Place;
use super::{Draft, Located, SourceOptions};
use crate::Content;

/// Usual names of columns with pictures, in any case, the likelier ones first.
const USUAL_NAMES: [&str; 14] = [
    "image",
    "img",
    "picture",
    "jpg",
    "jpeg",
    "png",
    "webp",
    "image_bytes",
    "bytes",
    "content",
    "path",
    "file",
    "url",
    "image_url",
];

/// The columns of a table: where its pictures are, and what comes with them.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    /// The column with the pictures.
    pub(super) image: usize,
    /// The other columns, as the output has them.
    pub(super) carried: SchemaRef,
    /// Whether the rows hold no pictures, but where they are.
    pub(super) is_of_paths: bool,
}

impl Layout {
    /// The layout of a table with the columns of `schema`.
    ///
    /// # Errors
    /// No column with pictures, or none that can be told.
    pub(super) fn of(schema: &Schema, options: &SourceOptions) -> Result<Layout> {
        let image = match &options.image_column {
            Some(name) => named(schema, name)?,
            None => usual(schema).ok_or_else(|| {
                Error::new(
                    ErrorKind::Mismatch,
                    "",
                    format!("no column with pictures that can be told; {}", list(schema)),
                )
                .with_hint("--image-column names it; it holds bytes, paths or URLs")
            })?,
        };
        let field = schema.field(image);
        let others = schema.fields().iter().enumerate().filter(|(index, _)| *index != image);
        let mut carried: Vec<Field> = Vec::new();
        // Where a picture was is worth keeping; what is in it is not.
        for field in others.map(|(_, other)| other.as_ref().clone()).chain(path_field(field)) {
            let name = free_name(field.name(), &carried);
            carried.push(field.with_name(name).with_nullable(true));
        }
        Ok(Layout { image, carried: Arc::new(Schema::new(carried)), is_of_paths: is_text(field.data_type()) })
    }

    /// The rows of `batch` as items: their keys come from `key`, by the number of the row in the batch.
    ///
    /// # Errors
    /// A batch that is not of this layout; a carried column of another type than in `wanted`.
    pub(super) fn rows(&self, batch: &RecordBatch, wanted: &SchemaRef) -> Result<Rows> {
        let image = batch.column(self.image).clone();
        let others = batch.columns().iter().enumerate().filter(|(index, _)| *index != self.image);
        let mut carried: Vec<ArrayRef> = others.map(|(_, column)| column.clone()).collect();
        if carried.len() < self.carried.fields().len() {
            carried.extend(image.as_struct_opt().and_then(|image| image.column_by_name("path")).cloned());
        }
        let columns = if self.is_carried(wanted) {
            let rows = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
            let carried = RecordBatch::try_new_with_options(self.carried.clone(), carried, &rows)
                .map_err(|error| Error::corrupt("", error.to_string()))?;
            Some(columns::conform(&carried, wanted)?)
        } else {
            None
        };
        Ok(Rows { image, columns })
    }

    fn is_carried(&self, wanted: &SchemaRef) -> bool {
        !wanted.fields().is_empty() && !self.carried.fields().is_empty()
    }
}

/// Rows of a table.
pub(super) struct Rows {
    image: ArrayRef,
    columns: Option<RecordBatch>,
}

impl Rows {
    /// The row `row` of the table at `table` as an item.
    pub(super) fn draft(&self, row: usize, key: String, (table, most_bytes): (&Place, u64)) -> Draft {
        let content = located(&self.image, row, (table, most_bytes));
        // A slice would keep all of the batch.
        let columns =
            self.columns.as_ref().map(|columns| concat_batches(&columns.schema(), [&columns.slice(row, 1)]));
        match columns.transpose() {
            Ok(columns) => Draft { key, content, columns },
            Err(error) => Draft::failed(key, Error::unsupported("", error.to_string())),
        }
    }
}

/// The picture in row `row` of a column.
fn located(column: &ArrayRef, row: usize, (table, most_bytes): (&Place, u64)) -> Result<Located> {
    let nothing = || Error::new(ErrorKind::Argument, "", "this row has no picture");
    if column.is_null(row) {
        return Err(nothing());
    }
    if let Some(parts) = column.as_struct_opt() {
        let part = |name: &str| parts.column_by_name(name).filter(|part| part.is_valid(row));
        return match (part("bytes"), part("path")) {
            (Some(bytes), _) => located(bytes, row, (table, most_bytes)),
            (None, Some(path)) => located(path, row, (table, most_bytes)),
            (None, None) => Err(nothing()),
        };
    }
    if let Some(dictionary) = column.as_any_dictionary_opt() {
        // All rows at once could take far more than the dictionary.
        let value = take(dictionary.values(), &dictionary.keys().slice(row, 1), None)
            .map_err(|error| Error::corrupt("", error.to_string()))?;
        return located(&value, 0, (table, most_bytes));
    }
    if let Some(bytes) = bytes_at(column, row) {
        if bytes.len() as u64 > most_bytes {
            return Err(too_large(most_bytes));
        }
        return Ok(Located::Here(Content::Bytes(bytes.to_vec())));
    }
    let text = text_at(column, row).filter(|text| !text.is_empty()).ok_or_else(nothing)?;
    match (Place::parse(OsStr::new(text)), table) {
        (Place::Url(url), _) => Ok(Located::Url(url)),
        (Place::Path(path), Place::Path(_)) => Ok(Located::Here(Content::File(path))),
        // Whoever serves the table has no business with files here.
        (Place::Path(_), Place::Url(_)) => {
            Err(Error::new(ErrorKind::Argument, "", format!("a path, {text:?}, in a table from elsewhere"))
                .with_hint("fetch the table, or give it URLs"))
        }
    }
}

/// A picture of too many bytes.
pub(super) fn too_large(most_bytes: u64) -> Error {
    Error::new(ErrorKind::Limit, "", format!("more than {most_bytes} bytes, which is the limit"))
        .with_hint("--max-memory raises it")
}

fn bytes_at(column: &ArrayRef, row: usize) -> Option<&[u8]> {
    Some(match column.data_type() {
        DataType::Binary => column.as_binary::<i32>().value(row),
        DataType::LargeBinary => column.as_binary::<i64>().value(row),
        DataType::BinaryView => column.as_binary_view().value(row),
        DataType::FixedSizeBinary(_) => column.as_fixed_size_binary().value(row),
        _ => return None,
    })
}

fn text_at(column: &ArrayRef, row: usize) -> Option<&str> {
    Some(match column.data_type() {
        DataType::Utf8 => column.as_string::<i32>().value(row),
        DataType::LargeUtf8 => column.as_string::<i64>().value(row),
        DataType::Utf8View => column.as_string_view().value(row),
        _ => return None,
    })
}

fn is_bytes(data_type: &DataType) -> bool {
    use DataType::{Binary, BinaryView, FixedSizeBinary, LargeBinary, Struct};
    match data_type {
        Binary | LargeBinary | BinaryView | FixedSizeBinary(_) => true,
        Struct(fields) => fields
            .find("bytes")
            .is_some_and(|(_, bytes)| !bytes.data_type().is_nested() && is_bytes(bytes.data_type())),
        _ => false,
    }
}

fn is_text(data_type: &DataType) -> bool {
    use DataType::{Dictionary, LargeUtf8, Utf8, Utf8View};
    match data_type {
        Utf8 | LargeUtf8 | Utf8View => true,
        Dictionary(_, values) => !matches!(**values, Dictionary(..)) && is_text(values),
        _ => false,
    }
}

/// What a struct of bytes and a path, as Hugging Face's libraries write it, keeps of the path.
fn path_field(image: &Field) -> Option<Field> {
    let DataType::Struct(fields) = image.data_type() else { return None };
    let (_, path) = fields.find("path").filter(|(_, path)| is_text(path.data_type()))?;
    Some(Field::new(format!("{}.path", image.name()), path.data_type().clone(), true))
}

fn named(schema: &Schema, name: &str) -> Result<usize> {
    let index = schema.index_of(name).map_err(|_| {
        Error::new(ErrorKind::Mismatch, "", format!("no column {name:?}; {}", list(schema)))
            .with_hint("--image-column names one of them")
    })?;
    let found = schema.field(index).data_type();
    if is_bytes(found) || is_text(found) {
        return Ok(index);
    }
    Err(Error::new(ErrorKind::Mismatch, "", format!("column {name:?} is of type {found}; {}", list(schema)))
        .with_hint("pictures are in a column of bytes, or of paths or URLs"))
}

/// A column with a usual name or the only one of bytes; bytes before paths.
fn usual(schema: &Schema) -> Option<usize> {
    let with_name = |fits: fn(&DataType) -> bool| {
        USUAL_NAMES.iter().find_map(|name| {
            schema
                .fields()
                .iter()
                .position(|field| field.name().eq_ignore_ascii_case(name) && fits(field.data_type()))
        })
    };
    let only_one = || {
        let mut found = schema.fields().iter().enumerate().filter(|(_, field)| is_bytes(field.data_type()));
        found.next().filter(|_| found.next().is_none()).map(|(index, _)| index)
    };
    with_name(is_bytes).or_else(only_one).or_else(|| with_name(is_text))
}

/// The columns in words.
fn list(schema: &Schema) -> String {
    const MOST: usize = 20;
    let fields = schema.fields();
    let mut names: Vec<_> = fields
        .iter()
        .take(MOST)
        .map(|field| match field.data_type() {
            DataType::Struct(_) => format!("{:?} (struct)", field.name()),
            DataType::List(_) | DataType::LargeList(_) => format!("{:?} (list)", field.name()),
            data_type => format!("{:?} ({data_type})", field.name()),
        })
        .collect();
    if fields.len() > MOST {
        names.push(format!("and {} more", fields.len() - MOST));
    }
    if names.is_empty() { "it has no columns".to_owned() } else { format!("it has {}", names.join(", ")) }
}
