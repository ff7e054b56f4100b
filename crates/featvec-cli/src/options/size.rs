//! Sizes of pictures and amounts of memory as people write them.

use std::str::FromStr;

/// Height and width of pictures: `224x320`, or `224` for a square.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size(pub [usize; 2]);

impl FromStr for Size {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Size, Self::Err> {
        let (height, width) = text.split_once(['x', 'X']).unwrap_or((text, text));
        match (height.parse(), width.parse()) {
            (Ok(height), Ok(width)) => Ok(Size([height, width])),
            _ => Err("write it HEIGHTxWIDTH, like 224x320, or 224 for a square"),
        }
    }
}

/// A number that may end in K, M, G or T: powers of 1024.
pub fn parse_bytes(text: &str) -> Result<u64, &'static str> {
    const WRONG: &str = "write a number, like 5000000, 512M or 4G";
    let digits = text.trim_end_matches(|unit: char| unit.is_ascii_alphabetic());
    let shift = match text[digits.len()..].to_ascii_uppercase().as_str() {
        "" => 0,
        "K" => 10,
        "M" => 20,
        "G" => 30,
        "T" => 40,
        _ => return Err(WRONG),
    };
    digits.parse().ok().and_then(|number: u64| number.checked_mul(1 << shift)).ok_or(WRONG)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_height_times_width() {
        assert_eq!("96x160".parse(), Ok(Size([96, 160])));
        assert_eq!("160".parse(), Ok(Size([160, 160])));
        for wrong in ["", "x", "96x", "96 x 160", "-1x5", "96x160x3"] {
            assert!(wrong.parse::<Size>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn bytes_have_units() {
        assert_eq!(parse_bytes("17"), Ok(17));
        assert_eq!(parse_bytes("4g"), Ok(4 << 30));
        for wrong in ["", "G", "4GB", "1.5G", "99999999999999T", "-1"] {
            assert!(parse_bytes(wrong).is_err(), "{wrong}");
        }
    }
}
