//! The columns that come with items: what an output can have, the same for every item.

use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, RecordBatchOptions, new_null_array};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use featvec::{Error, ErrorKind, Result};

/// `name`, or another that no column of the table before it has. Names that the output's own columns have are changed where
/// the output is written.
pub(super) fn free_name(name: &str, before: &[Field]) -> String {
    let mut free = name.to_owned();
    while before.iter().any(|field| *field.name() == free) {
        free.insert_str(0, "input_");
    }
    free
}

/// The columns of several tables together.
#[derive(Default)]
pub(super) struct Union {
    fields: Vec<Field>,
}

impl Union {
    /// Adds the columns of one more table.
    ///
    /// # Errors
    /// A column that another table has with another type.
    pub(super) fn add(&mut self, schema: &Schema) -> Result<()> {
        for field in schema.fields() {
            match self.fields.iter().find(|known| known.name() == field.name()) {
                Some(known) => check_type(field, known.data_type())?,
                None => self.fields.push(field.as_ref().clone().with_nullable(true)),
            }
        }
        Ok(())
    }

    pub(super) fn finish(self) -> SchemaRef {
        Arc::new(Schema::new(self.fields))
    }
}

fn check_type(field: &Field, expected: &DataType) -> Result<()> {
    let found = field.data_type();
    if found == expected || *found == DataType::Null {
        return Ok(());
    }
    let message =
        format!("column {:?} is of type {found}, and {expected} in an input before it", field.name());
    Err(Error::new(ErrorKind::Mismatch, "", message)
        .with_hint("give inputs with different columns runs of their own"))
}

/// Whether a table with the columns `found` can give those of `wanted`.
///
/// # Errors
/// A column of another type.
pub(super) fn check(found: &Schema, wanted: &Schema) -> Result<()> {
    for field in found.fields() {
        if let Ok(known) = wanted.field_with_name(field.name()) {
            check_type(field, known.data_type())?;
        }
    }
    Ok(())
}

/// The rows of `batch` with the columns of `wanted`, in its order; null where `batch` lacks one.
///
/// # Errors
/// A column of another type.
pub(super) fn conform(batch: &RecordBatch, wanted: &SchemaRef) -> Result<RecordBatch> {
    let rows = batch.num_rows();
    let columns: Vec<ArrayRef> = wanted
        .fields()
        .iter()
        .map(|field| match batch.column_by_name(field.name()) {
            Some(column) if column.data_type() == field.data_type() => column.clone(),
            _ => new_null_array(field.data_type(), rows),
        })
        .collect();
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(wanted.clone(), columns, &options)
        .map_err(|error| Error::corrupt("", error.to_string()))
}
