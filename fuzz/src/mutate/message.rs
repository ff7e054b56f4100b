//! Protobuf messages as trees, so that a change deep inside leaves the lengths around it right.

use std::mem;

use crate::mutate::bytes;
use crate::rng::Rng;

/// A message of whatever type: its fields, in the order of the file.
pub type Message = Vec<Field>;

#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    pub number: u32,
    pub value: Value,
    /// What the length that is written lacks to be the true one.
    lie: u64,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Varint(u64),
    Fixed64([u8; 8]),
    Bytes(Vec<u8>),
    /// Bytes that are a message, as far as can be told without knowing the type.
    Message(Message),
    Fixed32([u8; 4]),
}

/// Most bytes that one change adds.
const MOST_GROWTH: usize = 128 << 10;
const MOST_DEPTH: usize = 48;

/// Reads `bytes` as a message; `None` unless [`encode`] gives the very same bytes back.
pub fn parse(bytes: &[u8]) -> Option<Message> {
    parse_nested(bytes, MOST_DEPTH)
}

fn parse_nested(mut rest: &[u8], depth_left: usize) -> Option<Message> {
    let mut message = Vec::new();
    while !rest.is_empty() {
        let tag = take_varint(&mut rest)?;
        let number = u32::try_from(tag >> 3).ok().filter(|number| (1..1 << 29).contains(number))?;
        let value = match tag & 7 {
            0 => Value::Varint(take_varint(&mut rest)?),
            1 => {
                let (word, after) = rest.split_first_chunk()?;
                rest = after;
                Value::Fixed64(*word)
            }
            2 => {
                let length = usize::try_from(take_varint(&mut rest)?).ok()?;
                let (content, after) = rest.split_at_checked(length)?;
                rest = after;
                let is_text = content.iter().all(|byte| (b' '..=b'~').contains(byte));
                let nested = if is_text { None } else { depth_left.checked_sub(1) };
                match nested.and_then(|depth_left| parse_nested(content, depth_left)) {
                    Some(message) => Value::Message(message),
                    None => Value::Bytes(content.to_vec()),
                }
            }
            5 => {
                let (word, after) = rest.split_first_chunk()?;
                rest = after;
                Value::Fixed32(*word)
            }
            _ => return None,
        };
        message.push(Field::new(number, value));
    }
    Some(message)
}

/// Takes a varint in its shortest form.
fn take_varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, after) = rest.split_first()?;
        *rest = after;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            let is_shortest = byte != 0 || shift == 0;
            return (is_shortest && (shift < 63 || byte == 1)).then_some(value);
        }
    }
    None
}

fn put_varint(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

/// The message's bytes.
pub fn encode(message: &[Field]) -> Vec<u8> {
    let mut bytes = Vec::new();
    message.iter().for_each(|field| field.encode(&mut bytes));
    bytes
}

impl Field {
    pub fn new(number: u32, value: Value) -> Field {
        Field { number, value, lie: 0 }
    }

    fn encode(&self, bytes: &mut Vec<u8>) {
        let tag = |wire_type: u64| u64::from(self.number) << 3 | wire_type;
        let put_content = |bytes: &mut Vec<u8>, content: &[u8]| {
            put_varint(bytes, tag(2));
            put_varint(bytes, (content.len() as u64).wrapping_add(self.lie));
            bytes.extend(content);
        };
        match &self.value {
            Value::Varint(value) => {
                put_varint(bytes, tag(0));
                put_varint(bytes, *value);
            }
            Value::Fixed64(word) => {
                put_varint(bytes, tag(1));
                bytes.extend(word);
            }
            Value::Bytes(content) => put_content(bytes, content),
            Value::Message(message) => put_content(bytes, &encode(message)),
            Value::Fixed32(word) => {
                put_varint(bytes, tag(5));
                bytes.extend(word);
            }
        }
    }

    fn encoded_bytes(&self) -> usize {
        let mut bytes = Vec::new();
        self.encode(&mut bytes);
        bytes.len()
    }
}

/// Changes `message` in one place or a few, at any depth.
pub fn mutate(message: &mut Message, rng: &mut Rng) {
    for _ in 0..rng.few() {
        mutate_once(message, rng);
    }
}

fn mutate_once(message: &mut Message, rng: &mut Rng) {
    let donors = pick_message(message, rng);
    let donor = donors.get(rng.below(donors.len())).cloned();
    let fields = pick_message(message, rng);
    let Some(donor) = donor.filter(|donor| donor.encoded_bytes() <= MOST_GROWTH) else { return };
    let at = rng.below(fields.len());
    let Some(field) = fields.get_mut(at) else { return fields.push(donor) };
    match rng.below(14) {
        0 => {
            let copy = field.clone();
            fields.insert(at, copy);
        }
        1 => {
            fields.remove(at);
        }
        2 => {
            let other = rng.below(fields.len());
            fields.swap(at, other);
        }
        3 => {
            let near = rng.integer(field.number.into());
            field.number = (near as u32 % (1 << 29)).max(1);
        }
        4 => field.value = donor.value,
        5 => fields.insert(at, donor),
        6 => nest(field, rng),
        7 => field.lie = rng.integer(0),
        8 if rng.one_in(8) => {
            let copies = rng.below(2000).min(MOST_GROWTH / field.encoded_bytes());
            let copy = field.clone();
            fields.splice(at..at, std::iter::repeat_n(copy, copies));
        }
        _ => change_value(&mut field.value, rng),
    }
}

/// The message itself or one within it, found by walking down at random.
fn pick_message<'m>(message: &'m mut Message, rng: &mut Rng) -> &'m mut Message {
    let at = rng.below(message.len());
    let has_more = matches!(message.get(at), Some(Field { value: Value::Message(_), .. }));
    if !has_more || rng.one_in(6) {
        return message;
    }
    match &mut message[at].value {
        Value::Message(inner) => pick_message(inner, rng),
        _ => unreachable!("it was a message above"),
    }
}

/// Wraps the field's value in messages with only that field.
fn nest(field: &mut Field, rng: &mut Rng) {
    let levels = if rng.one_in(4) { rng.below(200) } else { 1 };
    for _ in 0..levels {
        let inner = mem::replace(&mut field.value, Value::Bytes(Vec::new()));
        field.value = Value::Message(vec![Field::new(field.number, inner)]);
    }
}

fn change_value(value: &mut Value, rng: &mut Rng) {
    const TEXTS: [&[u8]; 8] = [b"", b":0", b"^", b"../x", b"a/part_0", b"\xff\xfe", b"\0", b"x:4294967296"];
    if rng.one_in(12) {
        *value = match rng.below(4) {
            0 => Value::Varint(rng.integer(1)),
            1 => Value::Fixed64(rng.next().to_le_bytes()),
            2 => Value::Bytes(rng.pick(&TEXTS).to_vec()),
            _ => Value::Fixed32((rng.next() as u32).to_le_bytes()),
        };
        return;
    }
    match value {
        Value::Varint(number) => *number = rng.integer(*number),
        Value::Fixed32(word) => {
            let floats = [0.0, -0.0, 1.0, f32::NAN, f32::INFINITY, f32::MAX, f32::MIN_POSITIVE];
            *word = rng.pick(&floats).to_le_bytes();
        }
        Value::Fixed64(word) => bytes::overwrite(word, rng),
        Value::Bytes(content) => match rng.below(4) {
            0 => *content = rng.pick(&TEXTS).to_vec(),
            1 => content.resize(rng.below(3000), b'x'),
            _ => bytes::mutate(content, rng),
        },
        Value::Message(message) => {
            let mut content = encode(message);
            bytes::mutate(&mut content, rng);
            *value = Value::Bytes(content);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corpus;

    #[test]
    fn a_graph_made_by_tensorflow_comes_back_byte_for_byte() {
        let graph = corpus::fixture("featvec-formats/tests/fixtures/tf2_saved_model/saved_model.pb");
        let tree = parse(&graph).unwrap();
        assert!(matches!(tree[1].value, Value::Message(_)), "the graph's own fields are seen");
        assert_eq!(encode(&tree), graph);
    }

    #[test]
    fn lengths_stay_right_around_a_change() {
        // Field 1 holds a message, the fields 1 and 2 of which are the number 1 and two bytes.
        let mut tree = parse(b"\x0a\x06\x08\x01\x12\x02\x00\x00").unwrap();
        let Value::Message(inner) = &mut tree[0].value else { panic!("{tree:?}") };
        inner[0].value = Value::Varint(300);
        assert_eq!(encode(&tree), b"\x0a\x07\x08\xac\x02\x12\x02\x00\x00");
        tree[0].lie = 1;
        assert_eq!(encode(&tree)[..2], *b"\x0a\x08");
    }

    #[test]
    fn varints_in_a_longer_form_than_needed_are_not_taken_for_a_message() {
        assert_eq!(parse(b"\x08\x81\x00"), None);
        assert_eq!(
            parse(b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01").unwrap()[0].value,
            Value::Varint(u64::MAX)
        );
    }
}
