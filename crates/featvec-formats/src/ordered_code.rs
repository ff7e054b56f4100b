//! The order-preserving encoding of names and numbers in the keys of slices of partitioned tensors.
//!
//! A key is the number 0, the tensor's name, its rank, and a signed start and length for each dimension.

use crate::tensor_slice::TensorSlice;

/// The key under which a checkpoint stores `slice` of the tensor `name`.
pub fn slice_key(name: &str, slice: &TensorSlice) -> Vec<u8> {
    let mut key = Vec::with_capacity(name.len() + 16);
    put_unsigned(&mut key, 0);
    put_string(&mut key, name.as_bytes());
    put_unsigned(&mut key, slice.extents().len() as u64);
    for extent in slice.extents() {
        put_signed(&mut key, extent.start as i64);
        put_signed(&mut key, extent.length.map_or(-1, |length| length as i64));
    }
    key
}

/// Appends a number: the count of its bytes, then those bytes, most significant first.
pub fn put_unsigned(key: &mut Vec<u8>, value: u64) {
    let skipped = value.leading_zeros() as usize / 8;
    key.push(8 - skipped as u8);
    key.extend(&value.to_be_bytes()[skipped..]);
}

/// Appends text. Zero and 255 are escaped so that the terminator sorts before every continuation.
pub fn put_string(key: &mut Vec<u8>, text: &[u8]) {
    for &byte in text {
        key.push(byte);
        match byte {
            0 => key.push(0xff),
            0xff => key.push(0),
            _ => {}
        }
    }
    key.extend([0, 1]);
}

/// Appends a signed number: as many leading one-bits as the form has bytes, a zero, then seven payload bits for each
/// byte less one; negative numbers are the complement of that.
pub fn put_signed(key: &mut Vec<u8>, value: i64) {
    let magnitude = if value < 0 { !value } else { value } as u128;
    let bits = 128 - magnitude.leading_zeros() as usize;
    // The sign bit takes one of the 7n payload bits of n bytes.
    let length = bits / 7 + 1;
    let prefix = ((1u128 << length) - 1) << (7 * length);
    // The prefix of n ones and a zero fills n + 1 bits of 8n; the zero coincides with the (clear) sign bit.
    let code = prefix | magnitude;
    let code = if value < 0 { !code } else { code };
    key.extend(&code.to_be_bytes()[16 - length..]);
}

/// Reads a whole slice key back; `None` if it is not one.
pub fn parse_slice_key(mut key: &[u8]) -> Option<(String, TensorSlice)> {
    let rest = &mut key;
    if take_unsigned(rest)? != 0 {
        return None;
    }
    let name = String::from_utf8(take_string(rest)?).ok()?;
    let rank = take_unsigned(rest)?;
    let mut slice = TensorSlice::default();
    for _ in 0..rank {
        let start = u64::try_from(take_signed(rest)?).ok()?;
        let length = match take_signed(rest)? {
            -1 => None,
            length => Some(u64::try_from(length).ok()?),
        };
        slice.push(start, length);
    }
    rest.is_empty().then_some((name, slice))
}

/// Takes a number off the front of `key`; `None` if it is cut short or longer than 64 bits.
pub fn take_unsigned(key: &mut &[u8]) -> Option<u64> {
    let (&length, rest) = key.split_first()?;
    let (digits, rest) = rest.split_at_checked(usize::from(length))?;
    *key = rest;
    if digits.len() > 8 || digits.first() == Some(&0) {
        return None;
    }
    Some(digits.iter().fold(0, |value, &digit| value << 8 | u64::from(digit)))
}

/// Takes text off the front of `key`; `None` without a terminator or with an unknown escape.
pub fn take_string(key: &mut &[u8]) -> Option<Vec<u8>> {
    let mut text = Vec::new();
    loop {
        let (&byte, rest) = key.split_first()?;
        *key = rest;
        if byte != 0 && byte != 0xff {
            text.push(byte);
            continue;
        }
        let (&escape, rest) = key.split_first()?;
        *key = rest;
        match (byte, escape) {
            (0, 1) => return Some(text),
            (0, 0xff) | (0xff, 0) => text.push(byte),
            _ => return None,
        }
    }
}

/// Takes a signed number off the front of `key`; `None` if it is cut short or longer than 64 bits.
pub fn take_signed(key: &mut &[u8]) -> Option<i64> {
    let invert = if key.first()? & 0x80 == 0 { 0xff } else { 0 };
    let first_two = [key.first()? ^ invert, key.get(1).map_or(0, |byte| byte ^ invert)];
    let length = u16::from_be_bytes(first_two).leading_ones() as usize;
    let (bytes, rest) = key.split_at_checked(length)?;
    *key = rest;
    if length > 10 {
        return None;
    }
    let code = bytes.iter().fold(0u128, |code, &byte| code << 8 | u128::from(byte ^ invert));
    let magnitude = i64::try_from(code & ((1 << (7 * length)) - 1)).ok()?;
    Some(if invert == 0 { magnitude } else { !magnitude })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signed(value: i64) -> Vec<u8> {
        let mut key = Vec::new();
        put_signed(&mut key, value);
        key
    }

    #[test]
    fn signed_numbers_have_the_bytes_that_tensorflow_writes() {
        for (value, bytes) in [
            (0, &[0x80][..]),
            (2, &[0x82]),
            (3, &[0x83]),
            (-1, &[0x7f]),
            (-64, &[0x40]),
            (1500, &[0xc5, 0xdc]),
        ] {
            assert_eq!(signed(value), bytes, "{value}");
        }
    }

    #[test]
    fn the_first_filter_has_the_key_that_tensorflow_writes() {
        let mut slice = TensorSlice::default();
        (0..4).for_each(|_| slice.push(0, None));
        let key = slice_key("InceptionV1/Conv2d_1a_7x7/weights", &slice);
        let mut expected = b"\0InceptionV1/Conv2d_1a_7x7/weights\0\x01\x01\x04".to_vec();
        expected.extend([0x80, 0x7f].repeat(4));
        assert_eq!(key, expected);
        assert_eq!(parse_slice_key(&key), Some(("InceptionV1/Conv2d_1a_7x7/weights".into(), slice)));
    }

    #[test]
    fn every_truncation_of_a_key_is_refused() {
        let mut slice = TensorSlice::default();
        slice.push(1500, Some(1500));
        let key = slice_key("a\0b\u{ff}", &slice);
        assert!(parse_slice_key(&key).is_some());
        for length in 0..key.len() {
            assert_eq!(parse_slice_key(&key[..length]), None, "{length} bytes");
        }
    }
}
