//! Examples (`tf.Example`): named features of a record, each a list of bytes, of floats or of whole numbers.

use std::collections::BTreeMap;

use crate::limits::check_limit;
use crate::protobuf::{Field, Message};
use crate::{Error, ErrorKind, Limits, Result};

/// The picture as a file has it, in TF-Slim's records.
pub const ENCODED: &str = "image/encoded";
/// The class of the picture, in TF-Slim's records.
pub const LABEL: &str = "image/class/label";

/// One record's features. Values are decoded when they are asked for, so a record takes little more than its names.
#[derive(Clone, Debug)]
pub struct Example<'a> {
    features: BTreeMap<&'a str, Option<List<'a>>>,
}

#[derive(Clone, Debug)]
struct List<'a> {
    kind: Kind,
    list: Field<'a>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Bytes,
    Floats,
    Ints,
}

impl Kind {
    fn of(number: u32) -> Option<Kind> {
        [(1, Kind::Bytes), (2, Kind::Floats), (3, Kind::Ints)]
            .into_iter()
            .find_map(|(known, kind)| (known == number).then_some(kind))
    }

    fn name(self) -> &'static str {
        match self {
            Kind::Bytes => "bytes",
            Kind::Floats => "floats",
            Kind::Ints => "whole numbers",
        }
    }
}

impl<'a> Example<'a> {
    /// Reads the record `bytes`.
    ///
    /// # Errors
    /// Bytes that are no `tf.Example`; more features than `tensors` of [`Limits`].
    pub fn parse(bytes: &'a [u8], limits: &Limits) -> Result<Example<'a>> {
        let mut features = BTreeMap::new();
        let mut example = Message::new("Example", bytes, limits);
        while let Some(field) = example.next_field()? {
            if field.number != 1 {
                continue;
            }
            let mut message = field.message("Features")?;
            while let Some(field) = message.next_field()? {
                if field.number == 1 {
                    let (name, value) = field.map_entry()?;
                    features.insert(name, value.map(list).transpose()?.flatten());
                    check_limit("Features", "features", features.len() as u64, limits.tensors())?;
                }
            }
        }
        Ok(Example { features })
    }

    /// The names of the features, in alphabetical order.
    pub fn names(&self) -> impl Iterator<Item = &'a str> {
        self.features.keys().copied()
    }

    /// The only value of the feature `name`, bytes.
    ///
    /// # Errors
    /// No such feature, one of another type, or one with more or fewer values.
    pub fn bytes(&self, name: &str) -> Result<&'a [u8]> {
        let mut values = self.list(name, Kind::Bytes)?;
        let mut found = None;
        while let Some(field) = values.next_field()? {
            if field.number == 1 && found.replace(field.bytes()?).is_some() {
                return Err(not_one(name, "several values"));
            }
        }
        found.ok_or_else(|| not_one(name, "no value"))
    }

    /// The only value of the feature `name`, a whole number.
    ///
    /// # Errors
    /// As [`bytes`](Example::bytes).
    pub fn int64(&self, name: &str) -> Result<i64> {
        let mut values = self.list(name, Kind::Ints)?;
        let mut found = None;
        while let Some(field) = values.next_field()? {
            if field.number != 1 {
                continue;
            }
            for value in field.varints()? {
                if found.replace(value?.cast_signed()).is_some() {
                    return Err(not_one(name, "several values"));
                }
            }
        }
        found.ok_or_else(|| not_one(name, "no value"))
    }

    fn list(&self, name: &str, expected: Kind) -> Result<Message<'a>> {
        let Some(list) = self.features.get(name) else {
            let mut names: Vec<_> = self.names().take(8).map(|name| format!("{name:?}")).collect();
            if self.features.len() > names.len() {
                names.push("others".to_string());
            }
            let has = if names.is_empty() { "nothing".to_string() } else { names.join(", ") };
            return Err(Error::new(ErrorKind::Mismatch, "Example", format!("no feature {name:?}"))
                .with_hint(format!("it has {has}")));
        };
        match list {
            Some(List { kind, list }) if *kind == expected => list.message("Feature's list"),
            Some(List { kind, .. }) => {
                let message = format!("{} expected, {} found", expected.name(), kind.name());
                Err(Error::new(ErrorKind::Mismatch, place(name), message))
            }
            None => Err(not_one(name, "no value")),
        }
    }
}

/// The list in a `Feature`; of several the last counts, as in every `oneof`.
fn list(feature: Field<'_>) -> Result<Option<List<'_>>> {
    let mut message = feature.message("Feature")?;
    let mut last = None;
    while let Some(list) = message.next_field()? {
        if let Some(kind) = Kind::of(list.number) {
            last = Some(List { kind, list });
        }
    }
    Ok(last)
}

fn not_one(name: &str, found: &str) -> Error {
    Error::new(ErrorKind::Mismatch, place(name), format!("one value expected, {found} found"))
}

fn place(name: &str) -> String {
    format!("Example: feature {name:?}")
}
